//! Reads that take too long, that nobody waits for, or that are too many.

use std::{collections::BTreeSet, time::Duration};

use fastrand::Rng;
use futures::{executor::block_on, future::join_all};
use sempre_core::{
    RunId,
    ids::Uuid,
    visibility::{Comparison, Field, Filter, SystemField, Value},
};
use sempre_engine::visibility::{Change, IndexError, sqlite::Tuning};

use crate::{
    data::{namespace, ready, record},
    indexes::{Made, Make, postgres, sqlite},
};

const RUNS: u32 = 3000;

fn filled(make: Make, tuning: Tuning) -> Option<Made> {
    let made = make(tuning)?;
    let index = &*made.index;
    ready(index);
    let mut rng = Rng::with_seed(1);
    let run = |n: u32| RunId(Uuid([[0; 12].as_slice(), &n.to_be_bytes()].concat().try_into().unwrap()));
    let changes = (0..RUNS).map(|n| Change::Put { version: 1, record: record(&mut rng, namespace(1), run(n)).into() });
    block_on(index.apply(changes.collect())).unwrap();
    Some(made)
}

/// No index has the history length, and no run has this one.
fn unindexed() -> Filter {
    Filter::Compare(Field::System(SystemField::HistoryLength), Comparison::Equal, Value::Int(-7))
}

fn one_run() -> Filter {
    Filter::Compare(Field::System(SystemField::WorkflowId), Comparison::Equal, Value::Keyword("no such id".into()))
}

fn a_read_that_takes_too_long_says_what_to_do_on(make: Make) {
    let Some(made) = filled(make, Tuning { read_time_max: Duration::ZERO, ..Tuning::default() }) else { return };
    let index = &*made.index;
    let list = block_on(index.list(namespace(1), Some(&unindexed()), None, 10, &BTreeSet::new()));
    assert_eq!(list, Err(IndexError::TooLong { seconds: 0 }));
    let text = "the query was given up after 0 s because no index answers it. Add a condition that few runs pass, with = or IN on \
        WorkflowId, WorkflowType, ExecutionStatus or a search attribute, or a narrow range of StartTime or CloseTime";
    assert_eq!(list.unwrap_err().to_string(), text);
}

fn a_slow_read_goes_on_among_the_slow_ones_and_is_answered_on(make: Make) {
    // Nothing is quick enough: all that is looked at goes to the slow threads.
    let Some(made) = filled(make, Tuning { quick_time: Duration::ZERO, ..Tuning::default() }) else { return };
    let index = &*made.index;
    assert_eq!(block_on(index.list(namespace(1), Some(&unindexed()), None, 10, &BTreeSet::new())), Ok(vec![]));
    assert_eq!(block_on(index.count(namespace(1), None, &BTreeSet::new())), Ok(u64::from(RUNS)));
}

fn too_many_reads_at_once_are_refused_and_the_others_answered_on(make: Make) {
    let Some(made) = filled(make, Tuning { read_time_max: Duration::from_secs(120), ..Tuning::default() }) else { return };
    let index = &*made.index;
    let (slow, none) = (unindexed(), BTreeSet::new());
    let asked: Vec<_> = (0..2000).map(|_| index.list(namespace(1), Some(&slow), None, 1, &none)).collect();
    let answers = block_on(join_all(asked));
    let refused = answers.iter().filter(|answer| **answer == Err(IndexError::Busy)).count();
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(IndexError::Busy))), "{answers:?}");
    assert!((1..=2000 - 512).contains(&refused), "{refused} of 2000, 512 may wait");
    assert_eq!(block_on(index.list(namespace(1), Some(&one_run()), None, 1, &none)), Ok(vec![]));
}

fn closing_stops_what_is_under_way_on(make: Make) {
    let Some(made) = filled(make, Tuning::default()) else { return };
    let index = &*made.index;
    let (slow, none) = (unindexed(), BTreeSet::new());
    let asked: Vec<_> = (0..100).map(|_| index.list(namespace(1), Some(&slow), None, 1, &none)).collect();
    block_on(index.close());
    let answers = block_on(join_all(asked));
    assert!(answers.contains(&Err(IndexError::Closed)));
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(IndexError::Closed))), "{answers:?}");
}

#[test]
fn a_read_that_takes_too_long_says_what_to_do() {
    a_read_that_takes_too_long_says_what_to_do_on(sqlite);
}

#[test]
fn a_read_that_takes_too_long_says_what_to_do_in_postgres() {
    a_read_that_takes_too_long_says_what_to_do_on(postgres);
}

#[test]
fn a_slow_read_goes_on_among_the_slow_ones_and_is_answered() {
    a_slow_read_goes_on_among_the_slow_ones_and_is_answered_on(sqlite);
}

#[test]
fn a_slow_read_goes_on_among_the_slow_ones_and_is_answered_in_postgres() {
    a_slow_read_goes_on_among_the_slow_ones_and_is_answered_on(postgres);
}

#[test]
fn too_many_reads_at_once_are_refused_and_the_others_answered() {
    too_many_reads_at_once_are_refused_and_the_others_answered_on(sqlite);
}

#[test]
fn too_many_reads_at_once_are_refused_and_the_others_answered_in_postgres() {
    too_many_reads_at_once_are_refused_and_the_others_answered_on(postgres);
}

#[test]
fn closing_stops_what_is_under_way() {
    closing_stops_what_is_under_way_on(sqlite);
}

#[test]
fn closing_stops_what_is_under_way_in_postgres() {
    closing_stops_what_is_under_way_on(postgres);
}
