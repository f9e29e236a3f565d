//! The index answers as a plain scan of the records by `Filter::matches` does.

use std::collections::BTreeSet;

use fastrand::Rng;
use futures::executor::block_on;
use sempre_core::visibility::Filter;
use sempre_engine::visibility::{Change, Groups, Index, memory::MemoryIndex, sqlite::Tuning};

use crate::{
    data::{change, filter, namespace, pick, place, ready, run, scalar_field},
    indexes::{Make, postgres, sqlite},
};

const RUNS: u8 = 40;

/// Groups in an order of their own. Which of the two zeros stands for both is open.
pub(crate) fn sorted(groups: Groups) -> Vec<String> {
    let mut groups: Vec<String> = groups.iter().map(|group| format!("{group:?}").replace("(-0.0)", "(0.0)")).collect();
    groups.sort();
    groups
}

/// Asks two indexes the same question in all ways.
pub(crate) fn compare(rng: &mut Rng, index: &dyn Index, plain: &dyn Index, filter: Option<&Filter>, story: &str) {
    let namespace = namespace(rng.u8(1..3));
    let hidden: BTreeSet<_> = (0..rng.u8(..4)).map(|_| run(rng.u8(..RUNS))).collect();
    let all = block_on(plain.list(namespace, filter, None, usize::MAX, &hidden)).unwrap();
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let limit = rng.usize(1..15);
        let page = block_on(index.list(namespace, filter, after.as_ref(), limit, &hidden)).unwrap();
        let last_page = page.len() < limit;
        after = page.last().map(|record| place(record)).or(after);
        pages.extend(page);
        if last_page {
            break;
        }
    }
    assert_eq!(pages, all, "list of {filter:?} without {hidden:?}; {story}");
    assert_eq!(
        block_on(index.count(namespace, filter, &hidden)).unwrap(),
        all.len() as u64,
        "count of {filter:?} without {hidden:?}; {story}"
    );
    let by = scalar_field(rng);
    let groups = sorted(block_on(index.count_by(namespace, filter, &by, &hidden)).unwrap());
    assert_eq!(
        groups,
        sorted(block_on(plain.count_by(namespace, filter, &by, &hidden)).unwrap()),
        "count of {filter:?} by {by:?}; {story}"
    );
    let one = run(rng.u8(..RUNS));
    assert_eq!(block_on(index.get(namespace, one)).unwrap(), block_on(plain.get(namespace, one)).unwrap(), "{story}");
}

fn random_changes(seed: u64, tuning: Tuning, make: Make) {
    let mut rng = Rng::with_seed(seed);
    let Some(made) = make(tuning) else { return };
    let index = &*made.index;
    let plain = MemoryIndex::new();
    ready(index);
    ready(&plain);
    let story = format!("seed {seed}, {tuning:?}");
    let mut version = 0;
    for step in 0..8 {
        let changes: Vec<Change> = (0..rng.usize(..30))
            .map(|_| {
                version += 1;
                // Some come late, and are ignored by both.
                let version = if rng.u8(..8) == 0 { version / 2 } else { version };
                change(&mut rng, version, RUNS)
            })
            .collect();
        for _ in 0..1 + usize::from(rng.u8(..4) == 0) {
            block_on(index.apply(changes.clone())).unwrap();
        }
        block_on(plain.apply(changes)).unwrap();
        if rng.u8(..12) == 0 {
            let gone = namespace(rng.u8(1..3));
            while block_on(index.purge(gone)).unwrap() {}
            while block_on(plain.purge(gone)).unwrap() {}
        }
        let story = format!("{story}, step {step}");
        compare(&mut rng, index, &plain, None, &story);
        for _ in 0..12 {
            let depth = rng.u8(..4);
            let filter = filter(&mut rng, depth);
            compare(&mut rng, index, &plain, Some(&filter), &story);
        }
    }
}

/// How many seeds; more with the environment's `SEEDS`.
pub(crate) fn seeds(few: u64) -> u64 {
    std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(few)
}

fn usual(few: u64, make: Make) {
    for seed in 0..seeds(few) {
        random_changes(seed, Tuning::default(), make);
    }
}

/// Everything is too much: each of the ways that a read can go is gone.
fn narrow(few: u64, make: Make) {
    for seed in 0..seeds(few) {
        let mut rng = Rng::with_seed(seed);
        let tuning = Tuning {
            sort_runs_max: pick(&mut rng, &[0, 1, 5, 20]),
            branches_max: pick(&mut rng, &[0, 1, 2, 5]),
            first_turn_steps: pick(&mut rng, &[0, 20, 200, 1000]),
            sample_rows: pick(&mut rng, &[0, 3, 100]),
            ..Tuning::default()
        };
        random_changes(1_000_000 + seed, tuning, make);
    }
}

#[test]
fn every_answer_is_that_of_a_plain_scan() {
    usual(40, sqlite);
}

#[test]
fn every_answer_is_that_of_a_plain_scan_in_postgres() {
    usual(6, postgres);
}

#[test]
fn every_answer_is_that_of_a_plain_scan_when_indexes_find_too_much() {
    narrow(40, sqlite);
}

#[test]
fn every_answer_is_that_of_a_plain_scan_when_indexes_in_postgres_find_too_much() {
    narrow(8, postgres);
}
