//! The check of a store at rest. Every other test of the engine ends with it, too ([`World`]'s drop).

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::command::{Command, ScheduleActivityTaskCommandAttributes, command::Attributes};
use sempre_api::v1::{
    common::ActivityType,
    enums::{CommandType, ScheduleOverlapPolicy as Policy},
};
use sempre_core::{
    Span, Timestamp,
    keys::{
        self,
        schedules::{self, Row},
    },
    schedule::state::Definition,
    state::rows::MainRow,
    transition::CurrentRecord,
};
use sempre_store::{CommitBatch, Fence, Store, Table, memory::MemoryStore};

use crate::support::*;

fn activity(id: &str) -> Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: id.into(),
        activity_type: Some(ActivityType { name: "Act".into() }),
        task_queue: Some(queue()),
        start_to_close_timeout: Some(Span::seconds(10).to_api()),
        ..Default::default()
    };
    command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(Box::new(attributes)))
}

/// A copy of a world's store with one closed run and one that waits for a worker, an activity and a timer; the copy may
/// be damaged.
async fn copy() -> MemoryStore {
    let w = world().await;
    w.start("closed").await;
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    w.start("open").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![activity("a"), timer("t", Span::seconds(60))]).await;
    w.signal("open", "hello").await.unwrap();
    w.settle().await;
    let copy = MemoryStore::new();
    for table in Table::ALL {
        for (key, value) in w.store.rows(table) {
            put(&copy, table, &key, Some(&value)).await;
        }
    }
    copy
}

async fn put(store: &MemoryStore, table: Table, key: &[u8], value: Option<&[u8]>) {
    let epoch = store.acquire(0).await.unwrap();
    let mut batch = CommitBatch::new(Fence { shard: 0, epoch });
    match value {
        Some(value) => batch.put(table, key, value),
        None => batch.delete(table, key),
    }
    store.commit(batch).await.unwrap();
}

async fn rows(store: &MemoryStore, table: Table) -> Vec<(Bytes, Bytes)> {
    store.scan(table, &[], &[0xff; 40], usize::MAX).await.unwrap()
}

/// Changes the main rows of all runs.
async fn change_main(store: &MemoryStore, change: impl Fn(&mut MainRow)) {
    for (key, value) in rows(store, Table::State).await {
        if keys::parse_state(&key).unwrap().0 == 2 {
            let mut row = MainRow::decode(value).unwrap();
            change(&mut row);
            put(store, Table::State, &key, Some(&row.encode_to_vec())).await;
        }
    }
}

#[tokio::test]
async fn a_healthy_store_has_no_problem_and_all_of_it_is_looked_at() {
    let store = copy().await;
    let (counts, found) = problems(&store);
    assert_eq!(found, [""; 0]);
    assert_eq!((counts.slots, counts.runs, counts.open), (1024, 2, 1));
    // 5 of the closed run; 2 + 4 + signal and task of the open one.
    assert_eq!((counts.events, counts.pointers, counts.offers, counts.deadlines), (5 + 8, 2, 2, 2));
}

#[tokio::test]
async fn a_state_that_history_does_not_give_is_told_by_field() {
    let store = copy().await;
    change_main(&store, |row| row.derived.as_mut().unwrap().signal_count += 7).await;
    let (counts, found) = problems(&store);
    assert_eq!(counts.problems, 2);
    assert!(
        found.iter().any(|f| f.starts_with("run ") && f.ends_with("of \"open\": main.signal_count: stored 8, by history 1")),
        "{found:?}"
    );
    assert!(found.iter().any(|f| f.ends_with("of \"closed\": main.signal_count: stored 7, by history 0")), "{found:?}");
}

#[tokio::test]
async fn rows_that_are_missing_or_too_many_are_found() {
    let store = copy().await;
    for (key, _) in rows(&store, Table::Offer).await {
        put(&store, Table::Offer, &key, None).await;
    }
    let (_, found) = problems(&store);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|f| f.contains(": offer: ") && f.ends_with("waits for a worker with 0 offer rows of its own and 0 others")));

    let store = copy().await;
    for (key, _) in rows(&store, Table::Deadline).await {
        put(&store, Table::Deadline, &key, None).await;
    }
    let (_, found) = problems(&store);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|f| f.contains(": deadline: wants to be woken at ")));

    // Without their state rows, what is left of the runs belongs to nobody.
    let store = copy().await;
    for (key, _) in rows(&store, Table::State).await {
        put(&store, Table::State, &key, None).await;
    }
    let (counts, found) = problems(&store);
    assert_eq!(counts.runs, 0);
    for (what, times) in [
        (": events: history without a run", 2),
        ("is offered in 1 rows", 2),
        ("to wake it, but no such run", 2),
        ("is the current run, but", 2),
    ] {
        assert_eq!(found.iter().filter(|f| f.contains(what)).count(), times, "{what}: {found:?}");
    }
}

#[tokio::test]
async fn a_pointer_that_says_something_else_is_found() {
    let store = copy().await;
    for (key, value) in rows(&store, Table::Current).await {
        let mut record = CurrentRecord::decode(value).unwrap();
        record.status = 6;
        put(&store, Table::Current, &key, Some(&record.encode_to_vec())).await;
    }
    let (_, found) = problems(&store);
    assert_eq!(found.iter().filter(|f| f.contains(": current: the pointer says (6, ")).count(), 2, "{found:?}");
}

#[tokio::test]
async fn records_that_cannot_be_read_are_found() {
    let store = copy().await;
    let (key, whole) = rows(&store, Table::Namespace).await.remove(0);
    put(&store, Table::Namespace, &key, Some(&[0xff])).await;
    let (_, found) = problems(&store);
    assert!(found.len() == 1 && found[0].contains(": namespaces: the record of the namespace with the id "), "{found:?}");
    put(&store, Table::Namespace, &key, Some(&whole)).await;

    let (key, _) = rows(&store, Table::Meta).await.into_iter().find(|(key, _)| key.starts_with(b"u") && key.len() > 1).unwrap();
    put(&store, Table::Meta, &key, Some(&[0xff])).await;
    let (_, found) = problems(&store);
    assert!(found.len() == 1 && found[0].contains(": usage: 1 rows with the number of open runs cannot be read"), "{found:?}");
}

#[tokio::test]
async fn damaged_history_is_found_and_nothing_is_concluded_from_it() {
    let store = copy().await;
    let history = rows(&store, Table::History).await;
    let (key, value) = history.iter().max_by_key(|(_, value)| value.len()).unwrap();
    put(&store, Table::History, key, Some(&value[..value.len() - 3])).await;
    let (_, found) = problems(&store);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(": events: history behind event "), "{found:?}");

    // A row in the middle is gone.
    let store = copy().await;
    let (key, _) = rows(&store, Table::History).await.into_iter().find(|(key, _)| key.ends_with(&[0, 0, 0, 4])).unwrap();
    put(&store, Table::History, &key, None).await;
    let (_, found) = problems(&store);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains(": events: event 4 is missing"), "{found:?}");
}

/// A copy of a world's store with a schedule whose run is open and whose next start waits for a look.
async fn copy_with_schedule() -> MemoryStore {
    let w = world().await;
    crate::schedules::create(&w, "s", crate::schedules::every_minute(Policy::Skip)).await;
    w.advance(Span::seconds(40)).await;
    crate::schedules::until_actions(&w, "s", 1).await;
    let copy = MemoryStore::new();
    for table in Table::ALL {
        for (key, value) in w.store.rows(table) {
            put(&copy, table, &key, Some(&value)).await;
        }
    }
    copy
}

#[tokio::test]
async fn rows_of_schedules_are_held_against_each_other() {
    let store = copy_with_schedule().await;
    let (counts, found) = problems(&store);
    assert_eq!((counts.schedules, found), (1, vec![]));
    let all = rows(&store, Table::Schedule).await;
    let row = |kind: Row| {
        let same = |key: &Bytes| std::mem::discriminant(&schedules::parse(key).unwrap().0) == std::mem::discriminant(&kind);
        all.iter().find(|(key, _)| same(key)).unwrap().clone()
    };
    let (definition, state) = (row(Row::Definition), row(Row::State));
    let due = row(Row::Due(Timestamp(0))).0;
    let whose = "schedule \"s\"";
    // Each damage, and what is said of it; healed before the next.
    let cases: [(&Bytes, Option<&[u8]>, &str); 6] = [
        (&definition.0, None, "it has a state and no definition"),
        (&state.0, None, "it has a definition and no state"),
        (&definition.0, Some(&[0xff]), "its definition cannot be read: "),
        (&state.0, Some(&[0xff]), "its state cannot be read: "),
        (&due, None, "wants to be looked at at Some("),
        (
            &Bytes::from(schedules::owes(&schedules::parse(&due).unwrap().1)),
            Some(&[]),
            "owes something: false, there is a row that says so: true",
        ),
    ];
    for (key, value, said) in cases {
        let before = all.iter().find(|(other, _)| other == key).map(|(_, value)| value.clone());
        put(&store, Table::Schedule, key, value).await;
        let found = problems(&store).1;
        assert!(found.len() == 1 && found[0].contains(&format!("{whose}: {said}")), "{said}: {found:?}");
        put(&store, Table::Schedule, key, before.as_deref()).await;
    }
    let mut other = Definition::decode(definition.1.clone()).unwrap();
    other.spec.as_mut().unwrap().timezone_name = "Mars/Base".into();
    put(&store, Table::Schedule, &definition.0, Some(&other.encode_to_vec())).await;
    let found = problems(&store).1;
    assert!(found.len() == 1 && found[0].ends_with("schedule \"s\": cannot be used here: unknown time zone Mars/Base"), "{found:?}");
    put(&store, Table::Schedule, &definition.0, Some(&definition.1)).await;
    put(&store, Table::Schedule, &[0, 0, 9], Some(&[])).await;
    assert!(problems(&store).1[0].contains("is damaged"));
}
