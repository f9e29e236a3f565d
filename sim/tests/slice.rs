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

/// A world of two nodes, with shards that move.
fn nodes(seed: u64) -> Plan {
    Plan { nodes: 2, moves: 3, ..Plan::of(seed) }
}

#[test]
fn two_nodes_over_one_disk_hold_every_invariant_and_one_owner_writes_at_a_time() {
    let (mut runs, mut processes, mut fenced) = (0, 0, 0);
    for seed in 0..60 {
        let outcome = run(&nodes(seed), false);
        assert_eq!(outcome.violations, [""; 0], "cargo run --release -p sempre-sim -- run {seed} --log --set nodes=2 --set moves=3");
        runs += outcome.numbers.runs;
        processes += outcome.numbers.processes;
        fenced += outcome.numbers.commits_fenced;
    }
    assert!(runs > 200 && processes > 200 && fenced > 5, "{runs} runs, {processes} processes, {fenced} commits of who had lost the shard");
}

#[test]
fn the_same_seed_gives_the_same_bytes_with_two_nodes() {
    for seed in 1000..1006 {
        assert_eq!(run(&nodes(seed), false).hash, run(&nodes(seed), false).hash, "seed {seed}");
    }
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
