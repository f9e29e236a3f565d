//! The core by sequences of inputs: each four bytes as the seed of an act of the property tests (`crates/core/tests/properties.rs`),
//! with all that they hold a run to after each act, and the same bytes twice.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use proptest::{
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
const ACTS: usize = 64;
/// Bytes of an act: the seed that it is drawn by. So the fuzzer puts acts together, takes some away, and draws others in their place.
const ACT_BYTES: usize = 4;

/// What is the same for every act.
static CONFIG: LazyLock<Config> = LazyLock::new(|| Config { failure_persistence: None, ..Config::default() });

fn draw(strategy: &impl Strategy<Value = acts::Act>, chunk: &[u8]) -> Option<acts::Act> {
    let mut seed = [0; 32];
    seed[..ACT_BYTES].copy_from_slice(chunk);
    let mut runner = TestRunner::new_with_rng(CONFIG.clone(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    strategy.new_tree(&mut runner).ok().map(|tree| tree.current())
}

fuzz_target!(|data: &[u8]| {
    let strategy = acts::act();
    let acts: Vec<_> = data.chunks_exact(ACT_BYTES).take(ACTS).filter_map(|chunk| draw(&strategy, chunk)).collect();
    let first = driver::play(&acts);
    let second = driver::play(&acts);
    assert!(first == second, "the same acts give the same bytes");
});
