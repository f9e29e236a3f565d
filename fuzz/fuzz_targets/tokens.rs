//! Any bytes as tokens: of tasks, pages, long polls, callbacks of operations; and as the keys of rows.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sempre_core::{TaskToken, nexus::token::CompletionToken};

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    if let Some(token) = TaskToken::parse(&bytes) {
        assert!(token.run_key().is_some());
        assert_eq!(TaskToken::parse(&token.to_bytes()), Some(token));
    }
    // As text of an operation's callback: these bytes in hexadecimal, and these bytes.
    let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
    for text in [Some(hex.as_str()), std::str::from_utf8(data).ok()].into_iter().flatten() {
        if let Some(token) = CompletionToken::parse(text) {
            let _ = token.run();
            assert_eq!(CompletionToken::parse(&token.to_string()), Some(token));
        }
    }
    sempre_engine::fuzzing::tokens(data);
});
