//! Whose callback tokens are: those that this server has given out carry a code that only its data's key makes.
//!
//! What a token says can be read in histories; who can read one could otherwise end the operations in it. A token is
//! `<hexadecimal text>-<HMAC-SHA256 of that text, hexadecimal>`.

use ring::hmac::{self, HMAC_SHA256};
use sempre_core::nexus::token::CompletionToken;

/// Between a token and its code.
const MARK: char = '-';

/// See the module.
pub(crate) struct Signer {
    key: hmac::Key,
}

impl Signer {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self { key: hmac::Key::new(HMAC_SHA256, key) }
    }

    /// The text that the operation's handler is given.
    pub(crate) fn text(&self, token: &CompletionToken) -> String {
        let text = token.to_string();
        let code = hmac::sign(&self.key, text.as_bytes());
        let code: String = code.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{text}{MARK}{code}")
    }

    /// What a text says; `None` if this server has not given it out.
    pub(crate) fn read(&self, text: &str) -> Option<CompletionToken> {
        let (text, code) = text.split_once(MARK)?;
        let code: Option<Vec<u8>> = (0..code.len()).step_by(2).map(|at| u8::from_str_radix(code.get(at..at + 2)?, 16).ok()).collect();
        hmac::verify(&self.key, text.as_bytes(), &code?).ok()?;
        CompletionToken::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use sempre_core::{RunKey, WorkflowKey};

    use super::*;

    fn token(request_id: &str) -> CompletionToken {
        let workflow = WorkflowKey { workflow_id: "w".into(), ..WorkflowKey::default() };
        CompletionToken::new(&RunKey { workflow, ..RunKey::default() }, 5, request_id.into())
    }

    #[test]
    fn only_what_was_given_out_is_believed() {
        let (signer, other) = (Signer::new(&[1; 32]), Signer::new(&[2; 32]));
        let given = signer.text(&token("r"));
        assert_eq!(signer.read(&given), Some(token("r")));
        assert_eq!(other.read(&given), None, "another server's");
        let (_, code) = given.split_once('-').unwrap();
        let forged = token("another");
        let junk = [
            token("r").to_string(),
            forged.to_string(),
            format!("{forged}-{code}"),
            format!("{forged}-"),
            format!("{}-{}", token("r"), &code[2..]),
            format!("{}-{code}0", token("r")),
            format!("{}-ü{}", token("r"), &code[2..]),
            format!("-{code}"),
            String::new(),
        ];
        for text in junk {
            assert_eq!(signer.read(&text), None, "{text}");
        }
    }
}
