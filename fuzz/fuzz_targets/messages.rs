//! Any bytes as what one node asks of another, and as what is answered.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sempre_engine::fuzzing::messages(data));
