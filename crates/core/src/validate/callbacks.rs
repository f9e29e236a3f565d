//! Which addresses completion callbacks may go to (`component.callbacks.allowedAddresses`), and what a callback must
//! be to be taken (spec 01 §3.1.13, 08 §5.7).

use alloc::{borrow::ToOwned, collections::BTreeMap, format, string::String};

use sempre_api::v1::common::{Callback, callback::Variant};

use crate::{Limits, Refusal};

/// Bytes of a callback's URL (`frontend.callbackURLMaxLength`).
pub const CALLBACK_URL_MAX: usize = 1000;
/// Bytes of a callback's header names and values (`frontend.callbackHeaderMaxLength`).
pub const CALLBACK_HEADER_MAX: usize = 8 << 10;
/// Where Nexus operations of this server's own workflows are completed; always allowed.
pub const SYSTEM_CALLBACK_URL: &str = "temporal://system";

/// Addresses that callbacks may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressRule {
    /// `host:port` as the URL writes it; `*` stands for any characters.
    pub pattern: String,
    /// Also without TLS.
    pub allow_insecure: bool,
}

impl AddressRule {
    fn matches(&self, host: &str) -> bool {
        let mut parts = self.pattern.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = host.strip_prefix(first) else { return false };
        let mut last = None;
        for part in parts {
            if let Some(middle) = last.replace(part) {
                let middle: &str = middle;
                let Some(at) = rest.find(middle) else { return false };
                rest = &rest[at + middle.len()..];
            }
        }
        last.map_or(rest.is_empty(), |end| rest.ends_with(end))
    }
}

/// Checks a start's callbacks and brings their header names to lower case.
pub fn callbacks(callbacks: &mut [Callback], limits: &Limits) -> Result<(), Refusal> {
    at_most(callbacks, limits.callbacks_max, "a workflow")?;
    each(callbacks, limits)
}

/// As [`callbacks`], those of an update.
pub fn update_callbacks(callbacks: &mut [Callback], limits: &Limits) -> Result<(), Refusal> {
    at_most(callbacks, limits.update_callbacks_max, "an update")?;
    each(callbacks, limits)
}

/// As [`callbacks`], those of a Nexus operation that belongs to no workflow.
pub fn operation_callbacks(callbacks: &mut [Callback], limits: &Limits) -> Result<(), Refusal> {
    at_most(callbacks, limits.callbacks_max, "a Nexus operation")?;
    each(callbacks, limits)
}

fn at_most(callbacks: &[Callback], limit: usize, what: &str) -> Result<(), Refusal> {
    if callbacks.len() > limit {
        return Err(Refusal::InvalidArgument(format!("cannot attach more than {limit} callbacks to {what}")));
    }
    Ok(())
}

fn each(callbacks: &mut [Callback], limits: &Limits) -> Result<(), Refusal> {
    for callback in callbacks {
        match &mut callback.variant {
            Some(Variant::Nexus(nexus)) => {
                url(&nexus.url, limits)?;
                let bytes: usize = nexus.header.iter().map(|(name, value)| name.len() + value.len()).sum();
                if bytes > CALLBACK_HEADER_MAX {
                    let text = format!("invalid header: header size longer than max allowed size of {CALLBACK_HEADER_MAX}");
                    return Err(Refusal::InvalidArgument(text));
                }
                let header = core::mem::take(&mut nexus.header);
                nexus.header = header.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect::<BTreeMap<_, _>>();
            }
            // Of use only inside a cluster of servers; ours has no such parts.
            Some(Variant::Internal(_)) => return Err(Refusal::invalid("unknown callback variant: *common.Callback_Internal_")),
            Some(Variant::NexusHandler(_)) => {
                return Err(Refusal::Unimplemented("unknown callback variant: *common.Callback_NexusHandler_".into()));
            }
            None => return Err(Refusal::Unimplemented("unknown callback variant: <nil>".into())),
        }
    }
    Ok(())
}

/// Checks that the server may send something to an address: by the same rules as callbacks.
pub fn webhook(url: &str, limits: &Limits) -> Result<(), Refusal> {
    if url == SYSTEM_CALLBACK_URL {
        return Err(Refusal::InvalidArgument("invalid url: this address is of the server itself".into()));
    }
    self::url(url, limits)
}

fn url(url: &str, limits: &Limits) -> Result<(), Refusal> {
    if url.len() > CALLBACK_URL_MAX {
        let text = format!("invalid url: url length longer than max length allowed of {CALLBACK_URL_MAX}");
        return Err(Refusal::InvalidArgument(text));
    }
    if url == SYSTEM_CALLBACK_URL {
        return Ok(());
    }
    let invalid = |text: String| Err(Refusal::InvalidArgument(text));
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let secure = scheme.eq_ignore_ascii_case("https");
    if !secure && !scheme.eq_ignore_ascii_case("http") {
        return invalid(format!("invalid url: unknown scheme: {url}"));
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.is_empty() {
        return invalid("invalid url: missing host".to_owned());
    }
    if !is_host(host) {
        return invalid(format!("invalid url: invalid host or port: {url}"));
    }
    if url.bytes().any(|b| b.is_ascii_control() || b == b' ') {
        return invalid(format!("invalid callback url: {url:?}"));
    }
    match limits.callback_addresses.iter().find(|rule| rule.matches(host)) {
        Some(rule) if secure || rule.allow_insecure => Ok(()),
        Some(_) => invalid(format!("invalid url: callback address does not allow insecure connections: {url}")),
        None => invalid(format!("invalid url: url does not match any configured callback address: {url}")),
    }
}

/// Whether it is one host, with a port or without, for whoever reads it: rules are held against the text, and where it would lead is read
/// out of it by others. Of `10.0.0.5:.example` and `[::1].example` some read only what is before the colon, or between the brackets.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            if address.parse::<core::net::Ipv6Addr>().is_err() {
                return false;
            }
            match port.strip_prefix(':') {
                Some(port) => ("", Some(port)),
                None => return port.is_empty(),
            }
        }
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    !name.contains(['[', ']']) && port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec, vec::Vec};

    use sempre_api::v1::common::callback;

    use super::*;

    fn nexus(url: &str) -> Callback {
        Callback { variant: Some(Variant::Nexus(callback::Nexus { url: url.into(), header: BTreeMap::new() })), links: Vec::new() }
    }

    fn text(callback: Callback, rules: &[(&str, bool)]) -> String {
        let callback_addresses =
            rules.iter().map(|(pattern, allow_insecure)| AddressRule { pattern: pattern.to_string(), allow_insecure: *allow_insecure });
        let limits = Limits { callback_addresses: callback_addresses.collect(), ..Limits::default() };
        match callbacks(&mut [callback], &limits) {
            Ok(()) => String::new(),
            Err(Refusal::InvalidArgument(text) | Refusal::Unimplemented(text)) => text,
            Err(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn addresses_are_allowed_by_rules() {
        let nowhere = "invalid url: url does not match any configured callback address: http://foo:80/bar";
        assert_eq!(text(nexus("http://foo:80/bar"), &[]), nowhere);
        assert_eq!(text(nexus("http://foo:80/bar"), &[("bar", true), ("foo:8", true), ("oo:80", true)]), nowhere);
        assert_eq!(text(nexus("http://foo:80/bar"), &[("bar", true), ("*", true)]), "");
        assert_eq!(text(nexus("http://foo:80/bar"), &[("foo:80", true)]), "");
        assert_eq!(text(nexus("https://a.b.example:443/x?y"), &[("*.example:*", false)]), "");
        // Addresses that those who follow them would read in another way, whatever the rules.
        let two_ways = [
            "10.0.0.5:.example",
            "[::1].example",
            "10.0.0.5:443:.example",
            "10.0.0.5:x.example",
            "a]b.example",
            "[evil.example",
            ":80:80.example",
            "[evil.com].example:443",
            "[::ffff:169.254.169.254].example:443",
            "a.example:",
            "a.example:99999",
            "a.example:+443",
            "a.example:443.evil",
        ];
        for host in two_ways {
            let url = format!("http://{host}/x");
            assert_eq!(text(nexus(&url), &[("*", true)]), format!("invalid url: invalid host or port: {url}"));
        }
        for host in ["a.example", "a.example:443", "10.0.0.5:80", "[::1]", "[::1]:8080", "user:pass@a.example:80"] {
            assert_eq!(text(nexus(&format!("http://{host}/x")), &[("*", true)]), "", "{host}");
        }
        let insecure = "invalid url: callback address does not allow insecure connections: http://foo:80/bar";
        assert_eq!(text(nexus("http://foo:80/bar"), &[("*", false), ("*", true)]), insecure);
        assert_eq!(text(nexus(SYSTEM_CALLBACK_URL), &[]), "");
    }

    #[test]
    fn patterns() {
        let cases = [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acb", false),
            ("a*a", "a", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c", false),
            ("**", "x", true),
        ];
        for (pattern, host, expected) in cases {
            let rule = AddressRule { pattern: pattern.into(), allow_insecure: true };
            assert_eq!(rule.matches(host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn texts_of_refused_callbacks() {
        let all = &[("*", true)];
        let cases = [
            (nexus(""), "invalid url: unknown scheme: "),
            (nexus("ftp://foo/bar"), "invalid url: unknown scheme: ftp://foo/bar"),
            (nexus("http:///bar"), "invalid url: missing host"),
            (nexus(&format!("http://{}", "x".repeat(1000))), "invalid url: url length longer than max length allowed of 1000"),
            (Callback::default(), "unknown callback variant: <nil>"),
            (
                Callback { variant: Some(Variant::Internal(Default::default())), links: Vec::new() },
                "unknown callback variant: *common.Callback_Internal_",
            ),
        ];
        for (callback, expected) in cases {
            assert_eq!(text(callback, all), expected);
        }
        let header = [("A".to_string(), "b".repeat(9000))].into();
        let large =
            Callback { variant: Some(Variant::Nexus(callback::Nexus { url: SYSTEM_CALLBACK_URL.into(), header })), links: Vec::new() };
        assert_eq!(text(large, all), "invalid header: header size longer than max allowed size of 8192");
        let mut many = vec![nexus(SYSTEM_CALLBACK_URL); 33];
        let refused = callbacks(&mut many, &Limits::default());
        assert_eq!(refused, Err(Refusal::invalid("cannot attach more than 32 callbacks to a workflow")));
    }

    #[test]
    fn header_names_become_lower_case() {
        let header = [("Nexus-Token".to_string(), "X".to_string())].into();
        let mut callback =
            [Callback { variant: Some(Variant::Nexus(callback::Nexus { url: SYSTEM_CALLBACK_URL.into(), header })), links: Vec::new() }];
        callbacks(&mut callback, &Limits::default()).expect("valid");
        let Some(Variant::Nexus(nexus)) = &callback[0].variant else { panic!("still a Nexus callback") };
        assert_eq!(nexus.header.iter().next(), Some((&"nexus-token".to_string(), &"X".to_string())));
    }
}
