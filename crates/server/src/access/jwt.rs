//! JWTs: signatures and claims. Only signatures of public keys count: there is no `none`, and no secret that two share.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use sempre_core::Timestamp;
use serde_json::{Map, Value};

use super::{roles::Grants, settings::Issuer};

/// How far clocks may differ, seconds.
const LEEWAY: f64 = 30.0;
/// Longest token that is looked at.
pub(super) const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Keys of a set that are looked at.
const KEYS_MAX: usize = 100;

/// Why a token is not believed. Told to whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotBelieved {
    NoCredentials,
    NoToken,
    KeyExpired,
    Algorithm,
    /// No key of the issuer's fits; it may have new ones.
    UnknownKey,
    Signature,
    Issuer,
    Audience,
    Expired,
    NotYet,
    Claims,
}

impl NotBelieved {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::NoCredentials => "there are no credentials: send `authorization: Bearer` with a key or token, or show a certificate",
            Self::KeyExpired => "the key has expired",
            Self::NoToken => "the credentials are neither a key nor a token of this server",
            Self::Algorithm => "the token is not signed in a way that is taken here",
            Self::UnknownKey => "the token is signed by a key that its issuer does not have",
            Self::Signature => "the token's signature is wrong",
            Self::Issuer => "the token is of an issuer that is not believed here",
            Self::Audience => "the token is for somebody else",
            Self::Expired => "the token has expired",
            Self::NotYet => "the token is not valid yet",
            Self::Claims => "the token's claims are not those of a JWT",
        }
    }
}

/// A public key of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    /// The only algorithm that it is for.
    algorithm: Option<String>,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// The public keys of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeySet(Vec<Key>);

impl KeySet {
    /// Reads a JSON Web Key Set; keys of kinds that are not taken here are passed over. `None`: it is none, or has no key.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let set: Value = serde_json::from_slice(bytes).ok()?;
        let keys: Vec<_> = set.get("keys")?.as_array()?.iter().filter_map(key).take(KEYS_MAX).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }
}

fn bits(value: &Value, name: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(value.get(name)?.as_str()?).ok()
}

fn key(value: &Value) -> Option<Key> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|used| used != "sig") {
        return None;
    }
    let point = |length: usize| {
        let (x, y) = (bits(value, "x")?, bits(value, "y")?);
        (x.len() == length && y.len() == length).then(|| [&[4][..], &x, &y].concat())
    };
    let kind = match (text("kty")?, text("crv")) {
        ("RSA", _) => Kind::Rsa { n: bits(value, "n")?, e: bits(value, "e")? },
        ("EC", Some("P-256")) => Kind::P256(point(32)?),
        ("EC", Some("P-384")) => Kind::P384(point(48)?),
        ("OKP", Some("Ed25519")) => Kind::Ed25519(bits(value, "x").filter(|x| x.len() == 32)?),
        _ => return None,
    };
    Some(Key { id: text("kid").map(str::to_owned), algorithm: text("alg").map(str::to_owned), kind })
}

impl Key {
    /// True if tokens that are signed so can be of this key.
    fn fits(&self, algorithm: &str) -> bool {
        let of_kind = match self.kind {
            Kind::Rsa { .. } => rsa(algorithm).is_some(),
            Kind::P256(_) => algorithm == "ES256",
            Kind::P384(_) => algorithm == "ES384",
            Kind::Ed25519(_) => algorithm == "EdDSA",
        };
        of_kind && self.algorithm.as_ref().is_none_or(|own| own == algorithm)
    }

    fn verify(&self, algorithm: &str, message: &[u8], signature: &[u8]) -> bool {
        match &self.kind {
            Kind::Rsa { n, e } => {
                rsa(algorithm).is_some_and(|parameters| RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok())
            }
            Kind::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature).is_ok(),
            Kind::P384(point) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(message, signature).is_ok(),
            Kind::Ed25519(x) => UnparsedPublicKey::new(&ED25519, x).verify(message, signature).is_ok(),
        }
    }
}

fn rsa(algorithm: &str) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
        "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
        "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
        "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// A token, taken apart and not believed yet.
pub(crate) struct Token<'t> {
    algorithm: String,
    key_id: Option<String>,
    claims: Map<String, Value>,
    signed: &'t str,
    signature: Vec<u8>,
}

/// What a token that is believed says of who sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    pub(crate) subject: String,
    pub(crate) grants: Grants,
    pub(crate) expires: Timestamp,
}

impl<'t> Token<'t> {
    pub(crate) fn parse(text: &'t str) -> Result<Self, NotBelieved> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(NotBelieved::NoToken);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(NotBelieved::NoToken)?;
        let (header, claims) = signed.split_once('.').ok_or(NotBelieved::NoToken)?;
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| NotBelieved::NoToken);
        let object = |part| serde_json::from_slice::<Map<String, Value>>(&decode(part)?).map_err(|_| NotBelieved::NoToken);
        let header = object(header)?;
        let text = |name: &str| header.get(name).and_then(Value::as_str).map(str::to_owned);
        // What must be understood is not: there are no extensions here.
        if header.contains_key("crit") {
            return Err(NotBelieved::Algorithm);
        }
        let algorithm = text("alg").ok_or(NotBelieved::NoToken)?;
        Ok(Self { algorithm, key_id: text("kid"), claims: object(claims)?, signed, signature: decode(signature)? })
    }

    /// Who says that he has issued it.
    pub(crate) fn issuer(&self) -> &str {
        self.claims.get("iss").and_then(Value::as_str).unwrap_or_default()
    }

    /// Believes it, or says why not.
    pub(crate) fn check(&self, issuer: &Issuer, keys: &KeySet, now: Timestamp) -> Result<Claimed, NotBelieved> {
        if self.issuer() != issuer.issuer {
            return Err(NotBelieved::Issuer);
        }
        if rsa(&self.algorithm).is_none() && !["ES256", "ES384", "EdDSA"].contains(&self.algorithm.as_str()) {
            return Err(NotBelieved::Algorithm);
        }
        // A token that names its key is of that one or of none.
        let named = |key: &&Key| self.key_id.is_none() || self.key_id == key.id;
        let mut fitting = keys.0.iter().filter(named).filter(|key| key.fits(&self.algorithm)).peekable();
        if fitting.peek().is_none() {
            return Err(NotBelieved::UnknownKey);
        }
        if !fitting.any(|key| key.verify(&self.algorithm, self.signed.as_bytes(), &self.signature)) {
            return Err(NotBelieved::Signature);
        }
        self.check_claims(issuer, now)
    }

    fn check_claims(&self, issuer: &Issuer, now: Timestamp) -> Result<Claimed, NotBelieved> {
        let now = now.0 as f64 / 1e9;
        // What is there must be what it should be.
        let time = |name: &str| self.claims.get(name).map(|value| value.as_f64().ok_or(NotBelieved::Claims)).transpose();
        let expires = time("exp")?.ok_or(NotBelieved::Claims)?;
        if expires + LEEWAY <= now {
            return Err(NotBelieved::Expired);
        }
        if time("nbf")?.is_some_and(|not_before| not_before - LEEWAY > now) {
            return Err(NotBelieved::NotYet);
        }
        let audiences = self.claims.get("aud").map(texts).ok_or(NotBelieved::Audience)?;
        if !audiences.iter().any(|audience| issuer.audiences.iter().any(|ours| ours == audience)) {
            return Err(NotBelieved::Audience);
        }
        let mut grants = Grants::default();
        for permission in self.claims.get(&issuer.permissions_claim).map(texts).unwrap_or_default() {
            // An issuer tells others of their permissions, too: what is none of ours grants nothing.
            let _ = grants.add(permission);
        }
        for rule in &issuer.claims {
            if self.claims.get(&rule.claim).map(texts).unwrap_or_default().contains(&rule.value.as_str()) {
                grants.join(&rule.granted);
            }
        }
        let subject = self.claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        let expires = Timestamp(((expires + LEEWAY) * 1e9).min(i64::MAX as f64) as i64);
        Ok(Claimed { subject, grants, expires })
    }
}

/// One text, or the texts of a list.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
    };
    use serde_json::json;

    use super::*;

    /// Signs tokens as an issuer would.
    pub(crate) struct Signer {
        pair: EcdsaKeyPair,
        id: &'static str,
    }

    impl Signer {
        pub(crate) fn new(id: &'static str) -> Self {
            let random = SystemRandom::new();
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            Self { pair: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap(), id }
        }

        pub(crate) fn jwk(&self) -> Value {
            let point = self.pair.public_key().as_ref();
            let text = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
            json!({ "kty": "EC", "crv": "P-256", "kid": self.id, "use": "sig", "x": text(&point[1..33]), "y": text(&point[33..]) })
        }

        pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
            let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
            let signed = format!("{}.{}", part(header), part(claims));
            let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
            format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
        }

        pub(crate) fn token(&self, claims: &Value) -> String {
            self.sign(&json!({ "alg": "ES256", "kid": self.id, "typ": "JWT" }), claims)
        }
    }

    fn issuer() -> Issuer {
        toml_edit::de::from_str("issuer = 'i'\naudiences = ['sempre', 'other']\nkeys = 'f'").unwrap()
    }

    const NOW: Timestamp = Timestamp(1_000_000_000_000_000);

    fn claims(change: impl FnOnce(&mut Map<String, Value>)) -> Value {
        let mut claims = json!({
            "iss": "i", "sub": "me", "aud": "sempre", "exp": 1_000_060, "permissions": ["orders:write", "*:read", "crm:owner", "junk"],
        });
        change(claims.as_object_mut().unwrap());
        claims
    }

    fn set(keys: &[Value]) -> KeySet {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    }

    fn check(keys: &KeySet, text: &str) -> Result<Claimed, NotBelieved> {
        Token::parse(text)?.check(&issuer(), keys, NOW)
    }

    #[test]
    fn a_good_token_is_believed() {
        let signer = Signer::new("one");
        let keys = set(&[json!({ "kty": "oct", "k": "AAAA" }), signer.jwk()]);
        let claimed = check(&keys, &signer.token(&claims(|_| {}))).unwrap();
        assert_eq!((claimed.subject.as_str(), claimed.grants.texts()), ("me", vec!["*:read".into(), "orders:write".into()]));
        assert_eq!(claimed.expires, Timestamp(1_000_090_000_000_000));
        let without_id =
            signer.sign(&json!({ "alg": "ES256" }), &claims(|claims| drop(claims.insert("aud".into(), json!(["x", "other"])))));
        assert!(check(&keys, &without_id).is_ok());
    }

    #[test]
    fn ed25519_is_taken() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let text = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let keys = set(&[json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) })]);
        let signed = format!("{}.{}", text(b"{\"alg\":\"EdDSA\"}"), text(claims(|_| {}).to_string().as_bytes()));
        let token = format!("{signed}.{}", text(pair.sign(signed.as_bytes()).as_ref()));
        assert!(check(&keys, &token).is_ok());
        assert!(check(&keys, &token.replace(&signed, &signed.replace('e', "f"))).is_err());
    }

    #[test]
    fn forged_tokens_are_not_believed() {
        let (signer, thief) = (Signer::new("one"), Signer::new("one"));
        let keys = set(&[signer.jwk()]);
        let good = signer.token(&claims(|_| {}));
        assert_eq!(check(&keys, &thief.token(&claims(|_| {}))), Err(NotBelieved::Signature));
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let (header, _) = signed.split_once('.').unwrap();
        let more =
            BASE64_URL_SAFE_NO_PAD.encode(claims(|claims| drop(claims.insert("permissions".into(), json!(["*:admin"])))).to_string());
        assert_eq!(check(&keys, &format!("{header}.{more}.{signature}")), Err(NotBelieved::Signature));
        for algorithm in ["none", "None", "HS256", "RS257", ""] {
            let header = json!({ "alg": algorithm, "kid": "one" });
            let unsigned = signer.sign(&header, &claims(|_| {}));
            assert_eq!(check(&keys, &unsigned), Err(NotBelieved::Algorithm), "{algorithm}");
            let (signed, _) = unsigned.rsplit_once('.').unwrap();
            assert_eq!(check(&keys, &format!("{signed}.")), Err(NotBelieved::Algorithm), "{algorithm}");
        }
        // Of another kind than the key.
        assert_eq!(check(&keys, &signer.sign(&json!({ "alg": "RS256", "kid": "one" }), &claims(|_| {}))), Err(NotBelieved::UnknownKey));
        assert_eq!(check(&keys, &signer.sign(&json!({ "alg": "ES256", "kid": "two" }), &claims(|_| {}))), Err(NotBelieved::UnknownKey));
        let critical = json!({ "alg": "ES256", "kid": "one", "crit": ["b64"], "b64": false });
        assert_eq!(check(&keys, &signer.sign(&critical, &claims(|_| {}))), Err(NotBelieved::Algorithm));
        for junk in ["", "a", "a.b", "a.b.c", "....", &good[1..], &"a".repeat(TOKEN_BYTES_MAX + 1)] {
            assert_eq!(check(&keys, junk).map(drop), Err(NotBelieved::NoToken), "{junk}");
        }
    }

    #[test]
    fn claims_must_be_there_and_of_their_kind() {
        let signer = Signer::new("one");
        let keys = set(&[signer.jwk()]);
        let with = |name: &str, value: Value| check(&keys, &signer.token(&claims(|claims| drop(claims.insert(name.into(), value)))));
        let without = |name: &str| check(&keys, &signer.token(&claims(|claims| drop(claims.remove(name)))));
        assert_eq!(with("exp", json!(999_970)), Err(NotBelieved::Expired));
        assert!(with("exp", json!(999_971)).is_ok(), "clocks differ");
        assert_eq!(with("exp", json!("9999999999")), Err(NotBelieved::Claims));
        assert_eq!(without("exp"), Err(NotBelieved::Claims));
        assert_eq!(with("nbf", json!(1_000_031)), Err(NotBelieved::NotYet));
        assert_eq!(with("nbf", json!("1")), Err(NotBelieved::Claims));
        assert!(with("nbf", json!(1_000_030.0)).is_ok());
        assert_eq!(with("iss", json!("j")), Err(NotBelieved::Issuer));
        assert_eq!(without("iss"), Err(NotBelieved::Issuer));
        for aud in [json!("else"), json!([]), json!(7), json!({ "sempre": 1 })] {
            assert_eq!(with("aud", aud), Err(NotBelieved::Audience));
        }
        assert_eq!(without("aud"), Err(NotBelieved::Audience));
        assert_eq!(without("permissions").unwrap().grants, Grants::default());
        assert_eq!(with("permissions", json!("orders:read")).unwrap().grants.texts(), ["orders:read"]);
    }
}
