//! The core by sequences of inputs: any bytes as the acts of the property tests (`crates/core/tests/properties.rs`), with all that
//! they hold a run to after each act, and the same bytes twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use proptest::{
    collection::vec,
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

#[path = "../../crates/core/tests/properties/acts.rs"]
mod acts;
#[path = "../../crates/core/tests/properties/driver.rs"]
mod driver;
#[path = "../../crates/core/tests/harness/mod.rs"]
mod harness;
#[path = "../../crates/core/tests/properties/invariants.rs"]
mod invariants;
#[path = "../../crates/core/tests/properties/records.rs"]
mod records;

/// Acts of a case.
const ACTS: usize = 40;
/// Fewer bytes decide nothing.
const BYTES_MIN: usize = 32;

fuzz_target!(|data: &[u8]| {
    if data.len() < BYTES_MIN {
        return;
    }
    // The numbers that the strategies draw are the fuzzer's bytes.
    let rng = TestRng::from_seed(RngAlgorithm::PassThrough, data);
    let mut runner = TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
    let Ok(tree) = vec(acts::act(), 1..=ACTS).new_tree(&mut runner) else { return };
    let acts: Vec<acts::Act> = tree.current();
    let first = driver::play(&acts);
    let second = driver::play(&acts);
    assert!(first == second, "the same acts give the same bytes");
});
