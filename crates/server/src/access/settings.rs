//! How callers are known: settings, and the file of rules that they may name.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::roles::Grants;
use crate::reload::{Print, print_of};

/// How callers are known. API keys count wherever anything of this is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthSettings {
    /// File of a key whose holder may do everything; made with a new key if it is not there.
    pub admin_key_file: Option<PathBuf>,
    /// File of rules for JWTs and certificates (TOML, docs/security.md).
    pub rules_file: Option<PathBuf>,
}

impl AuthSettings {
    /// Of what the files hold now.
    pub(super) fn print(&self) -> Print {
        let read = |path: &Option<PathBuf>| path.as_deref().map(fs::read).and_then(Result::ok).unwrap_or_default();
        let (key, rules) = (read(&self.admin_key_file), read(&self.rules_file));
        print_of([&key[..], &rules])
    }
}

/// Rules that cannot be used. The text is for an operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuthError(pub(crate) String);

/// Where an issuer has its configuration, below its own URL.
pub(super) const CONFIGURATION: &str = "/.well-known/openid-configuration";

/// The file of rules.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RulesFile {
    #[serde(default)]
    pub(crate) jwt: Vec<Issuer>,
    #[serde(default)]
    pub(crate) certificates: Vec<CertificateRule>,
}

/// Somebody whose JWTs are believed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Issuer {
    /// Must be claim `iss`.
    pub(crate) issuer: String,
    /// One of these must be in claim `aud`.
    pub(crate) audiences: Vec<String>,
    /// URL or file of its keys, a JSON Web Key Set; or the URL of its configuration (OpenID Connect Discovery), which names them. Left
    /// out, that is where the issuer has it.
    #[serde(default)]
    pub(crate) keys: String,
    /// Claim with texts such as `orders:write`.
    #[serde(default = "permissions")]
    pub(crate) permissions_claim: String,
    /// What other claims allow.
    #[serde(default)]
    pub(crate) claims: Vec<ClaimRule>,
}

fn permissions() -> String {
    "permissions".into()
}

/// Who has this value in this claim (or among its values, if it is a list) has these grants.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClaimRule {
    pub(crate) claim: String,
    pub(crate) value: String,
    grants: Vec<String>,
    #[serde(skip)]
    pub(crate) granted: Grants,
}

/// Whose certificate has all these names has these grants.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateRule {
    pub(crate) common_name: Option<String>,
    pub(crate) dns: Option<String>,
    pub(crate) uri: Option<String>,
    grants: Vec<String>,
    #[serde(skip)]
    pub(crate) granted: Grants,
}

impl RulesFile {
    pub(crate) fn read(path: &Path) -> Result<Self, AuthError> {
        let named = |error: &dyn std::fmt::Display| AuthError(format!("{}: {error}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| AuthError(format!("cannot read {}: {error}", path.display())))?;
        Self::parse(&text).map_err(|error| named(&error))
    }

    pub(crate) fn parse(text: &str) -> Result<Self, AuthError> {
        let mut file: Self = toml_edit::de::from_str(text).map_err(|error| AuthError(error.to_string().trim_end().replace('\n', " ")))?;
        file.check()?;
        Ok(file)
    }

    fn check(&mut self) -> Result<(), AuthError> {
        for issuer in &mut self.jwt {
            let name = issuer.issuer.clone();
            let wrong = |what: &str| Err(AuthError(format!("issuer {name:?} {what}")));
            if name.is_empty() {
                return wrong("has no name");
            }
            if issuer.audiences.is_empty() || issuer.audiences.iter().any(String::is_empty) {
                return wrong("needs audiences: tokens for others must not be taken here");
            }
            if issuer.keys.is_empty() {
                let is_url = ["https://", "http://"].iter().any(|scheme| issuer.issuer.starts_with(scheme));
                if !is_url || is_in_the_clear(&issuer.issuer) {
                    return wrong("needs keys, a URL or a file: it is no https URL itself that could be asked where they are");
                }
                issuer.keys = format!("{}{CONFIGURATION}", issuer.issuer.trim_end_matches('/'));
            }
            if is_in_the_clear(&issuer.keys) {
                return wrong("has its keys at an http URL, where anybody on the way can change them; use https");
            }
            for rule in &mut issuer.claims {
                rule.granted = Grants::of(&rule.grants).map_err(|error| AuthError(error.to_string()))?;
            }
        }
        let mut names: Vec<_> = self.jwt.iter().map(|issuer| &issuer.issuer).collect();
        names.sort();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(AuthError(format!("issuer {:?} is there twice", twice[0])));
        }
        for rule in &mut self.certificates {
            if rule.common_name.is_none() && rule.dns.is_none() && rule.uri.is_none() {
                return Err(AuthError("a rule for certificates needs a common_name, dns or uri".into()));
            }
            rule.granted = Grants::of(&rule.grants).map_err(|error| AuthError(error.to_string()))?;
        }
        Ok(())
    }
}

/// Whoever is between could change what is read there.
pub(super) fn is_in_the_clear(url: &str) -> bool {
    // As whoever asks reads it: a scheme may be in capitals.
    let is_http = url.parse::<http::Uri>().is_ok_and(|uri| uri.scheme() == Some(&http::uri::Scheme::HTTP));
    is_http && !is_loopback(url)
}

/// The URL is of this machine.
pub(super) fn is_loopback(url: &str) -> bool {
    let uri = url.parse::<http::Uri>().ok();
    let host = uri.as_ref().and_then(http::Uri::host).unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The key in a file; a file that is not there is made, for its owner alone, with the key that `make` gives.
pub(crate) fn admin_key(path: &Path, make: Option<impl FnOnce() -> Result<String, AuthError>>) -> Result<String, AuthError> {
    let failed = |what: &str, error: std::io::Error| AuthError(format!("cannot {what} {}: {error}", path.display()));
    match fs::read_to_string(path) {
        Ok(text) => {
            let key = text.trim();
            // Enough that nobody guesses it.
            match key.len() >= 32 && key.bytes().all(|byte| byte.is_ascii_graphic()) {
                true => Ok(key.to_owned()),
                false => Err(AuthError(format!("{} holds no key: 32 visible characters or more are needed", path.display()))),
            }
        }
        Err(error) => {
            let Some(make) = make.filter(|_| error.kind() == std::io::ErrorKind::NotFound) else { return Err(failed("read", error)) };
            let key = make()?;
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(path).map_err(|error| failed("make", error))?;
            file.write_all(format!("{key}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(|error| failed("write", error))?;
            Ok(key)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<RulesFile, String> {
        RulesFile::parse(text).map_err(|error| error.to_string())
    }

    #[test]
    fn rules_are_read() {
        let file = parse(
            "[[jwt]]\nissuer = 'https://id.example'\naudiences = ['sempre']\nkeys = 'https://id.example/keys'\n\
             [[jwt.claims]]\nclaim = 'groups'\nvalue = 'platform'\ngrants = ['*:admin']\n\
             [[certificates]]\ncommon_name = 'worker-1'\ngrants = ['orders:worker']\n",
        );
        let file = file.unwrap();
        assert_eq!(
            (file.jwt[0].permissions_claim.as_str(), file.jwt[0].claims[0].granted.texts()),
            ("permissions", vec!["*:admin".into()])
        );
        assert_eq!(file.certificates[0].granted.texts(), ["orders:worker"]);
        assert!(parse("").is_ok());
    }

    #[test]
    fn an_issuer_without_keys_is_asked_where_they_are() {
        let keys = |issuer: &str| parse(&format!("[[jwt]]\nissuer = '{issuer}'\naudiences = ['a']")).map(|file| file.jwt[0].keys.clone());
        assert_eq!(keys("https://id.example").unwrap(), "https://id.example/.well-known/openid-configuration");
        assert_eq!(keys("https://id.example/tenant/").unwrap(), "https://id.example/tenant/.well-known/openid-configuration");
        assert!(keys("http://127.0.0.1:1").is_ok());
        assert!(keys("http://id.example").unwrap_err().contains("no https URL itself"));
    }

    #[test]
    fn rules_that_would_let_too_many_in_are_refused() {
        let issuer = |more: &str| parse(&format!("[[jwt]]\nissuer = 'i'\n{more}")).unwrap_err();
        assert!(issuer("audiences = []\nkeys = 'f'").contains("tokens for others"));
        assert!(issuer("keys = 'f'").contains("audiences"));
        assert!(issuer("audiences = ['a']\nkeys = 'http://id.example/keys'").contains("use https"));
        assert!(parse("[[jwt]]\nissuer = 'i'\naudiences = ['a']\nkeys = 'http://127.0.0.1:1/keys'").is_ok());
        assert!(issuer("audiences = ['a']\nkeys = 'HTTP://id.example/keys'").contains("use https"));
        assert!(issuer("audiences = ['a']").contains("no https URL itself"));
        assert!(issuer("audiences = ['a']\nkeys = 'f'\naudience = 'b'").contains("unknown field"));
        assert!(
            issuer("audiences = ['a']\nkeys = 'f'\n[[jwt.claims]]\nclaim = 'c'\nvalue = 'v'\ngrants = ['x:owner']").contains("no grant")
        );
        assert!(parse("[[certificates]]\ngrants = ['*:read']").unwrap_err().contains("needs a common_name"));
        let twice = "[[jwt]]\nissuer = 'i'\naudiences = ['a']\nkeys = 'f'\n".repeat(2);
        assert!(parse(&twice).unwrap_err().contains("twice"));
    }
}
