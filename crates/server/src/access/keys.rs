//! API keys: how they look, and what is kept of them.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use sempre_engine::KeyHash;

/// What keys begin with, so that tools that look for secrets in texts find them.
const PREFIX: &str = "sempre_";

/// A new key of 256 random bits. `None`: the system gives no random bits.
pub(crate) fn new_key() -> Option<String> {
    random().map(|bits| format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bits)))
}

/// 256 random bits. `None`: the system gives none.
pub(crate) fn random() -> Option<[u8; 32]> {
    let mut bits = [0; 32];
    SystemRandom::new().fill(&mut bits).ok()?;
    Some(bits)
}

/// What is kept of a key.
pub(crate) fn hash(key: &str) -> KeyHash {
    digest(&SHA256, key.as_bytes()).as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_long_and_each_is_another() {
        let (a, b) = (new_key().unwrap(), new_key().unwrap());
        assert!(a.starts_with(PREFIX) && a.len() == PREFIX.len() + 43 && a != b);
        assert_ne!(hash(&a), hash(&b));
        assert_eq!(hash("abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
