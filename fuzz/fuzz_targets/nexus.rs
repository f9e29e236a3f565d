//! Any bytes as a request or answer of Nexus over HTTP: path, headers a line each, an empty line, the body.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let at = data.windows(2).position(|pair| pair == b"\n\n").unwrap_or(data.len());
    let Ok(head) = std::str::from_utf8(&data[..at]) else { return };
    let (path, headers) = head.split_once('\n').unwrap_or((head, ""));
    sempre_server::fuzzing::nexus(path, headers, data.get(at + 2..).unwrap_or_default());
});
