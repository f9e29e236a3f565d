//! Random inputs against what must hold of every run (level 2 of the tests).
//!
//! A case is a list of [`acts::Act`]s over a few workflow ids: what clients, workers, the clock and the mail between
//! runs can do, in any order, right and wrong. After each act every run is checked ([`invariants`]); at the end the
//! world is healed and every run must be able to end ([`driver::Driver::heal`]). What a case does depends on its acts
//! only, so it is run twice and must give the same bytes.
//!
//! The cases are the same each time. `PROPERTY_SEED=<number>` gives others, `PROPTEST_CASES=<number>` more.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

#[path = "properties/acts.rs"]
mod acts;
#[path = "properties/driver.rs"]
mod driver;
#[path = "properties/invariants.rs"]
mod invariants;
#[path = "properties/records.rs"]
mod records;

use acts::Act;
use driver::Driver;
use proptest::{
    collection::vec,
    strategy::Strategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

/// Cases of a property unless `PROPTEST_CASES` says otherwise.
const CASES: u32 = 300;
/// Acts of a case.
const ACTS: usize = 40;

/// Checks a property over values of a strategy; a failure shrinks and is shown.
fn check<S: Strategy>(strategy: &S, property: impl Fn(S::Value)) {
    let config = Config { failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if asked { config.cases } else { CASES };
    let seed: u64 = std::env::var("PROPERTY_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config { cases, ..config }, rng);
    let outcome = runner.run(strategy, |value| {
        property(value);
        Ok::<_, TestCaseError>(())
    });
    if let Err(failure) = outcome {
        panic!("seed {seed}: {failure}");
    }
}

#[test]
fn whatever_happens_runs_stay_sound_and_can_end() {
    check(&vec(acts::act(), 1..=ACTS), |list: Vec<Act>| {
        let first = driver::play(&list);
        let second = driver::play(&list);
        assert!(first == second, "the same acts give the same bytes");
    });
}

/// The acts are no good if most of them are refused or never lead anywhere.
#[test]
fn the_acts_reach_every_kind_of_event() {
    use std::{cell::RefCell, collections::BTreeSet};
    let seen = RefCell::new(BTreeSet::new());
    check(&vec(acts::act(), 2 * ACTS), |list: Vec<Act>| {
        let mut driver = Driver::new();
        list.iter().for_each(|act| driver.act(act));
        driver.heal();
        seen.borrow_mut().extend(driver.event_types());
    });
    let seen = seen.into_inner();
    for expected in invariants::ALL_EVENTS {
        assert!(seen.contains(expected.as_str_name()), "no {} in {seen:?}", expected.as_str_name());
    }
}
