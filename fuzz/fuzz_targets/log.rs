//! Any bytes as the store's log: as a story of how the segments came about, as the payload of a record, as the FORMAT file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sempre_store::embedded::fuzzing;

fuzz_target!(|data: &[u8]| {
    let Some((what, rest)) = data.split_first() else { return };
    match what % 3 {
        0 => fuzzing::log(rest),
        1 => fuzzing::batches(rest),
        _ => {
            if let Ok(text) = std::str::from_utf8(rest) {
                fuzzing::format(text);
            }
        }
    }
});
