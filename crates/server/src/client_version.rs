//! Whether client and server take each other's version, by the headers SDKs send (spec 09 §4.3).

use http::HeaderMap;
use sempre_core::Refusal;
use tonic::Status;

use crate::{SERVER_VERSION, status};

/// Clients whose versions are checked, and what is taken. Others are not checked.
pub(crate) const SUPPORTED_CLIENTS: &[(&str, &str)] = &[
    ("temporal-go", "<2.0.0"),
    ("temporal-java", "<2.0.0"),
    ("temporal-php", "<2.0.0"),
    ("temporal-typescript", "<2.0.0"),
    ("temporal-cli", "<2.0.0"),
    ("temporal-server", "<2.0.0"),
    ("Nexus-go-sdk", "<2.0.0"),
    ("temporal-ui", "<3.0.0"),
];

/// Refuses a call of a client that is too new for this server, or that finds this server unfit.
pub(crate) fn check(headers: &HeaderMap) -> Result<(), Status> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (name, version) = (header("client-name"), header("client-version"));
    if let Some((_, range)) = SUPPORTED_CLIENTS.iter().find(|(known, _)| *known == name)
        && !version.is_empty()
    {
        let parsed = Version::parse(version).ok_or_else(|| unparsable("client version", version))?;
        if !Range::parse(range).is_some_and(|range| range.contains(&parsed)) {
            return Err(status::client_version_not_supported(name, version, range));
        }
    }
    let supported = header("supported-server-versions");
    if !supported.is_empty() {
        let range = Range::parse(supported).ok_or_else(|| unparsable("supported server versions", supported))?;
        let own = Version::parse(SERVER_VERSION).expect("the server's own version is a version");
        if !range.contains(&own) {
            return Err(status::server_version_not_supported(SERVER_VERSION, supported));
        }
    }
    Ok(())
}

fn unparsable(what: &str, text: &str) -> Status {
    status::from_refusal(Refusal::invalid(format!("Unable to parse {what}: {text:?}")))
}

/// A semantic version; build metadata does not count.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Version {
    numbers: [u64; 3],
    /// A release is later than all of its pre-releases.
    release: bool,
    pre_release: Vec<Identifier>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Identifier {
    Number(u64),
    Text(String),
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let (numbers, pre_release) = text.split_once('-').map_or((text, None), |(n, pre)| (n, Some(pre)));
        let mut parts = numbers.split('.').map(number);
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        if parts.next().is_some() {
            return None;
        }
        let identifiers = pre_release.into_iter().flat_map(|pre| pre.split('.')).map(|part| match number(part) {
            Some(n) => Some(Identifier::Number(n)),
            None if part.is_empty() => None,
            None => Some(Identifier::Text(part.to_owned())),
        });
        Some(Self { numbers, release: pre_release.is_none(), pre_release: identifiers.collect::<Option<_>>()? })
    }
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Alternatives (`||`) of comparisons that must all hold (spaces or commas).
struct Range(Vec<Vec<(Comparison, Version)>>);

#[derive(Clone, Copy)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        text.split("||").map(Self::parse_all_of).collect::<Option<_>>().map(Self)
    }

    fn parse_all_of(text: &str) -> Option<Vec<(Comparison, Version)>> {
        // An operator may stand apart from its version: `>= 1.0.0`.
        let glued = ["<=", ">=", "!=", "==", "<", ">", "=", "!"]
            .iter()
            .fold(text.replace(',', " "), |text, op| text.replace(&format!("{op} "), op));
        let terms = glued.split_whitespace().map(|term| {
            let version = term.trim_start_matches(['<', '>', '=', '!']);
            let comparison = match &term[..term.len() - version.len()] {
                "<" => Comparison::Less,
                "<=" => Comparison::LessOrEqual,
                ">" => Comparison::Greater,
                ">=" => Comparison::GreaterOrEqual,
                "" | "=" | "==" => Comparison::Equal,
                "!" | "!=" => Comparison::NotEqual,
                _ => return None,
            };
            Some((comparison, Version::parse(version)?))
        });
        terms.collect::<Option<Vec<_>>>().filter(|terms| !terms.is_empty())
    }

    fn contains(&self, version: &Version) -> bool {
        let holds = |(comparison, bound): &(Comparison, Version)| match comparison {
            Comparison::Less => version < bound,
            Comparison::LessOrEqual => version <= bound,
            Comparison::Greater => version > bound,
            Comparison::GreaterOrEqual => version >= bound,
            Comparison::Equal => version == bound,
            Comparison::NotEqual => version != bound,
        };
        self.0.iter().any(|all_of| all_of.iter().all(holds))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn answer(pairs: &[(&'static str, &str)]) -> Result<(), (Code, String)> {
        let headers = pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().expect("a header")));
        check(&headers.collect()).map_err(|status| (status.code(), status.message().to_owned()))
    }

    #[test]
    fn published_clients_pass() {
        for (name, version) in [
            ("temporal-go", "1.38.0"),
            ("temporal-java", "1.32.0-rc1"),
            ("temporal-cli", "1.5.1+build"),
            ("temporal-ui", "2.44.0"),
            ("temporal-rust", "9.9.9"),
            ("temporal-python", "not a version"),
            ("temporal-go", ""),
        ] {
            let range = ("supported-server-versions", ">=1.0.0 <2.0.0");
            assert_eq!(answer(&[("client-name", name), ("client-version", version), range]), Ok(()), "{name} {version}");
        }
        assert_eq!(answer(&[]), Ok(()));
    }

    #[test]
    fn too_new_and_unreadable_clients_are_refused() {
        let refused = answer(&[("client-name", "temporal-go"), ("client-version", "2.0.0")]);
        assert_eq!(refused.map_err(|(code, _)| code), Err(Code::FailedPrecondition));
        let refused = answer(&[("client-name", "temporal-go"), ("client-version", "new")]);
        let text = "Unable to parse client version: \"new\"".to_owned();
        assert_eq!(refused, Err((Code::InvalidArgument, text)));
    }

    #[test]
    fn a_client_may_find_the_server_unfit() {
        let refused = answer(&[("supported-server-versions", ">=2.0.0")]);
        assert_eq!(refused.map_err(|(code, _)| code), Err(Code::FailedPrecondition));
        let refused = answer(&[("supported-server-versions", ">=abc")]);
        assert_eq!(refused.map_err(|(code, _)| code), Err(Code::InvalidArgument));
    }

    #[test]
    fn ranges() {
        let cases = [
            ("1.2.3", "1.2.3", true),
            ("=1.2.3", "1.2.4", false),
            ("!=1.2.3", "1.2.4", true),
            (">= 1.0.0 < 2.0.0", "1.32.0", true),
            (">=1.0.0, <2.0.0", "2.0.0", false),
            ("<1.0.0 || >=2.0.0", "2.1.0", true),
            ("<1.0.0 || >=2.0.0", "1.1.0", false),
            ("<2.0.0", "2.0.0-rc.1", true),
            (">1.0.0-rc.2", "1.0.0-rc.10", true),
            ("<=1.0.0", "1.0.0", true),
        ];
        for (range, version, holds) in cases {
            let parsed = Version::parse(version).expect("a version");
            assert_eq!(Range::parse(range).expect("a range").contains(&parsed), holds, "{version} in {range}");
        }
        for text in ["", "><1.0.0", "1.0", "1.0.0.0", "1..0", "a.b.c", ">="] {
            assert!(Range::parse(text).is_none(), "{text}");
        }
    }
}
