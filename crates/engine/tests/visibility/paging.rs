//! Pages taken while runs change: what stays is seen once and in order.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;
use futures::executor::block_on;
use sempre_engine::visibility::{Change, index::run_of, sqlite::Tuning};

use crate::{
    answers::seeds,
    data::{change, filter, namespace, place, ready, record, run},
    indexes::{Make, postgres, sqlite},
};

const RUNS: u8 = 120;

#[test]
fn runs_that_do_not_change_are_on_exactly_one_page() {
    pages(40, sqlite);
}

#[test]
fn runs_that_do_not_change_are_on_exactly_one_page_in_postgres() {
    pages(5, postgres);
}

fn pages(few: u64, make: Make) {
    for seed in 0..seeds(few) {
        let mut rng = Rng::with_seed(seed);
        let Some(made) = make(Tuning::default()) else { return };
        let index = &*made.index;
        ready(index);
        let first = (0..RUNS).map(|n| Change::Put { version: 0, record: record(&mut rng, namespace(1), run(n)).into() }).collect();
        block_on(index.apply(first)).unwrap();
        let depth = rng.u8(..2);
        let filter = if rng.bool() { Some(filter(&mut rng, depth)) } else { None };
        let none = BTreeSet::new();
        let before = block_on(index.list(namespace(1), filter.as_ref(), None, 1000, &none)).unwrap();
        let mut changed = BTreeSet::new();
        let mut seen = BTreeMap::new();
        let mut after = None;
        loop {
            let limit = rng.usize(1..12);
            let page = block_on(index.list(namespace(1), filter.as_ref(), after.as_ref(), limit, &none)).unwrap();
            for record in &page {
                assert!(after.as_ref().is_none_or(|after| *after < place(record)), "the pages are in order; seed {seed}");
                after = Some(place(record));
                *seen.entry(run_of(record)).or_insert(0) += 1;
            }
            if page.len() < limit {
                break;
            }
            let changes: Vec<Change> = (0..rng.usize(..6)).map(|_| change(&mut rng, 1 + seed, RUNS)).collect();
            for change in &changes {
                changed.insert(match change {
                    Change::Put { record, .. } => run_of(record),
                    Change::Delete { run, .. } => *run,
                });
            }
            block_on(index.apply(changes)).unwrap();
        }
        for record in before {
            let run = run_of(&record);
            assert!(changed.contains(&run) || seen.get(&run) == Some(&1), "a run that stays is seen once; seed {seed}");
        }
    }
}
