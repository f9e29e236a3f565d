//! Any text as a request to the API over HTTP: verb, path and query, body, a line each.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use sempre_api::json::Payloads;
use sempre_server::fuzzing::Api;

fuzz_target!(|text: &str| {
    static API: OnceLock<Api> = OnceLock::new();
    let (line, body) = text.split_once('\n').unwrap_or((text, ""));
    let Some((verb, target)) = line.split_once(' ') else { return };
    let api = API.get_or_init(Api::default);
    for payloads in [Payloads::Full, Payloads::Shorthand] {
        api.request(verb, target, body.as_bytes(), payloads);
    }
});
