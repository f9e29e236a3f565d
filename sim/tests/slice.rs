//! A slice of seeds for every change, and the proof that a seed is a world: twice the same bytes.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use sempre_sim::{Plan, run};

/// Seeds of the slice.
const SEEDS: u64 = 120;
/// Threads: worlds share nothing.
const JOBS: u64 = 2;

#[test]
fn every_invariant_holds_in_the_slice() {
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= SEEDS {
                        return;
                    }
                    let outcome = run(&Plan::of(seed), false);
                    assert_eq!(outcome.violations, [""; 0], "cargo run --release -p sempre-sim -- run {seed} --log");
                }
            });
        }
    });
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let mut hashes = Vec::new();
    for seed in 1000..1030 {
        let (once, again) = (run(&Plan::of(seed), false), run(&Plan::of(seed), false));
        assert_eq!(once.hash, again.hash, "seed {seed}");
        assert_eq!(once.numbers.turns, again.numbers.turns, "seed {seed}");
        hashes.push(once.hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 30, "other seeds are other worlds");
}

#[test]
fn worlds_have_work_and_trouble_in_them() {
    let (mut runs, mut events, mut processes, mut unknown, mut commits) = (0, 0, 0, 0, 0);
    for seed in 0..40 {
        let numbers = run(&Plan::of(seed), false).numbers;
        runs += numbers.runs;
        events += numbers.events;
        processes += numbers.processes;
        unknown += numbers.unknown;
        commits += numbers.commits_unknown + numbers.commits_refused;
    }
    assert!(runs > 150 && events > 2000, "{runs} runs, {events} events");
    assert!(processes > 80 && unknown > 1000 && commits > 40, "{processes} processes, {unknown} calls, {commits} commits");
}
