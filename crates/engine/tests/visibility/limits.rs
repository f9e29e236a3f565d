//! Reads that take too long, that nobody waits for, or that are too many.

use std::{collections::BTreeSet, time::Duration};

use fastrand::Rng;
use futures::{executor::block_on, future::join_all};
use sempre_core::{
    RunId,
    ids::Uuid,
    visibility::{Comparison, Field, Filter, SystemField, Value},
};
use sempre_engine::visibility::{
    Change, Index, IndexError,
    sqlite::{SqliteIndex, Tuning},
};

use crate::data::{namespace, ready, record};

const RUNS: u32 = 3000;

fn filled(tuning: Tuning) -> SqliteIndex {
    let index = SqliteIndex::in_memory_tuned(Uuid::default(), tuning).unwrap();
    ready(&index);
    let mut rng = Rng::with_seed(1);
    let run = |n: u32| RunId(Uuid([[0; 12].as_slice(), &n.to_be_bytes()].concat().try_into().unwrap()));
    let changes = (0..RUNS).map(|n| Change::Put { version: 1, record: record(&mut rng, namespace(1), run(n)).into() });
    block_on(index.apply(changes.collect())).unwrap();
    index
}

/// No index has the history length, and no run has this one.
fn unindexed() -> Filter {
    Filter::Compare(Field::System(SystemField::HistoryLength), Comparison::Equal, Value::Int(-7))
}

fn one_run() -> Filter {
    Filter::Compare(Field::System(SystemField::WorkflowId), Comparison::Equal, Value::Keyword("no such id".into()))
}

#[test]
fn a_read_that_takes_too_long_says_what_to_do() {
    let index = filled(Tuning { read_time_max: Duration::ZERO, ..Tuning::default() });
    let list = block_on(index.list(namespace(1), Some(&unindexed()), None, 10, &BTreeSet::new()));
    assert_eq!(list, Err(IndexError::TooLong { seconds: 0 }));
    let text = "the query was given up after 0 s because no index answers it. Add a condition that few runs pass, with = or IN on \
        WorkflowId, WorkflowType, ExecutionStatus or a search attribute, or a narrow range of StartTime or CloseTime";
    assert_eq!(list.unwrap_err().to_string(), text);
}

#[test]
fn a_slow_read_goes_on_among_the_slow_ones_and_is_answered() {
    // Nothing is quick enough: all that is looked at goes to the slow threads.
    let index = filled(Tuning { quick_time: Duration::ZERO, ..Tuning::default() });
    assert_eq!(block_on(index.list(namespace(1), Some(&unindexed()), None, 10, &BTreeSet::new())), Ok(vec![]));
    assert_eq!(block_on(index.count(namespace(1), None, &BTreeSet::new())), Ok(u64::from(RUNS)));
}

#[test]
fn too_many_reads_at_once_are_refused_and_the_others_answered() {
    let index = filled(Tuning::default());
    let (slow, none) = (unindexed(), BTreeSet::new());
    let asked: Vec<_> = (0..2000).map(|_| index.list(namespace(1), Some(&slow), None, 1, &none)).collect();
    let answers = block_on(join_all(asked));
    let refused = answers.iter().filter(|answer| **answer == Err(IndexError::Busy)).count();
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(IndexError::Busy))), "{answers:?}");
    assert!((1..=2000 - 512).contains(&refused), "{refused} of 2000, 512 may wait");
    assert_eq!(block_on(index.list(namespace(1), Some(&one_run()), None, 1, &none)), Ok(vec![]));
}

#[test]
fn closing_stops_what_is_under_way() {
    let index = filled(Tuning::default());
    let (slow, none) = (unindexed(), BTreeSet::new());
    let asked: Vec<_> = (0..100).map(|_| index.list(namespace(1), Some(&slow), None, 1, &none)).collect();
    block_on(index.close());
    let answers = block_on(join_all(asked));
    assert!(answers.contains(&Err(IndexError::Closed)));
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(IndexError::Closed))), "{answers:?}");
}
