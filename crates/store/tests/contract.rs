//! The numbered contract of the crate, one test per number, over every store.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod support;

use bytes::Bytes;
use futures::executor::block_on;
use sempre_store::{
    BATCH_BYTES_MAX, CommitBatch, CommitError, Fence, KEY_BYTES_MAX, KEY_BYTES_SAFE, StoreError, Table, split_stream_key, stream_key,
};
use support::{Random, Subject, acquire, get, put, scan_all, streams};

macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        mod memory { $(#[test] fn $name() { super::$name(super::Subject::memory()); })* }
        mod embedded { $(#[test] fn $name() { super::$name(super::Subject::embedded(false)); })* }
        mod embedded_with_checkpoints { $(#[test] fn $name() { super::$name(super::Subject::embedded(true)); })* }
        mod postgres { $(#[test] fn $name() { if let Some(subject) = super::Subject::postgres() { super::$name(subject); } })* }
    };
}

suite!(
    c01_a_batch_is_atomic,
    c02_the_latest_operation_wins,
    c03_the_call_enqueues,
    c04_acknowledged_is_durable,
    c05_an_empty_batch_is_a_barrier,
    c06_epochs_grow,
    c07_other_epochs_are_fenced,
    c08_no_gap_after_a_failure,
    c09_a_refused_batch_changes_nothing,
    c10_reads_see_what_was_acknowledged,
    c11_get_gives_the_latest_put,
    c12_scan_gives_a_range_in_order,
    c13_streams_are_read_from_any_ordinal,
    c14_deleting_the_keys_of_a_scan_deletes_the_stream,
    c15_bounds_are_kept,
    c16_close_refuses_what_comes_later,
);

fn c01_a_batch_is_atomic(mut subject: Subject) {
    let fence = acquire(&*subject.store, 1);
    let mut batch = CommitBatch::new(fence);
    for table in Table::ALL {
        batch.put(table, b"00-key-12345678", &[table.id()]);
    }
    block_on(subject.store.commit(batch)).unwrap();
    subject.settle();
    let check = |subject: &Subject| {
        for table in Table::ALL {
            assert_eq!(get(&*subject.store, table, b"00-key-12345678"), Some(vec![table.id()]));
        }
    };
    check(&subject);
    subject.reopen();
    check(&subject);
}

fn c02_the_latest_operation_wins(subject: Subject) {
    let fence = acquire(&*subject.store, 1);
    put(&*subject.store, fence, Table::Offer, b"gone", b"old").unwrap();
    subject.settle();
    let mut batch = CommitBatch::new(fence);
    batch.put(Table::Offer, b"kept", b"first");
    batch.delete(Table::Offer, b"kept");
    batch.put(Table::Offer, b"kept", b"second");
    batch.put(Table::Offer, b"gone", b"new");
    batch.delete(Table::Offer, b"gone");
    batch.delete(Table::Offer, b"never");
    block_on(subject.store.commit(batch)).unwrap();
    let expected = [(Bytes::from("kept"), Bytes::from("second"))];
    assert_eq!(scan_all(&*subject.store, Table::Offer), expected);
    subject.settle();
    assert_eq!(scan_all(&*subject.store, Table::Offer), expected);
}

fn c03_the_call_enqueues(subject: Subject) {
    let fence = acquire(&*subject.store, 1);
    for value in 0..100u8 {
        let mut batch = CommitBatch::new(fence);
        batch.put(Table::State, b"k", &[value]);
        drop(subject.store.commit(batch));
    }
    block_on(subject.store.commit(CommitBatch::new(fence))).unwrap();
    assert_eq!(get(&*subject.store, Table::State, b"k"), Some(vec![99]));
}

fn c04_acknowledged_is_durable(mut subject: Subject) {
    if subject.is_volatile() {
        return;
    }
    let fence = acquire(&*subject.store, 1);
    for round in 0..5u8 {
        put(&*subject.store, fence, Table::State, &[round], &[round; 100]).unwrap();
        if round == 2 {
            subject.settle();
        }
    }
    subject.reopen();
    for round in 0..5u8 {
        assert_eq!(get(&*subject.store, Table::State, &[round]), Some(vec![round; 100]));
    }
}

fn c05_an_empty_batch_is_a_barrier(subject: Subject) {
    let fence = acquire(&*subject.store, 1);
    let batch = CommitBatch::new(fence);
    assert!(batch.is_empty());
    block_on(subject.store.commit(batch)).unwrap();
    let mut batch = CommitBatch::new(fence);
    batch.put(Table::State, b"k", b"v");
    drop(subject.store.commit(batch));
    block_on(subject.store.commit(CommitBatch::new(fence))).unwrap();
    assert_eq!(get(&*subject.store, Table::State, b"k"), Some(b"v".to_vec()));
}

fn c06_epochs_grow(mut subject: Subject) {
    let first = acquire(&*subject.store, 1);
    let second = acquire(&*subject.store, 1);
    assert!(second.epoch > first.epoch);
    assert!(acquire(&*subject.store, 2).epoch > 0);
    subject.settle();
    let third = acquire(&*subject.store, 1);
    assert!(third.epoch > second.epoch);
    if subject.is_volatile() {
        return;
    }
    subject.reopen();
    assert!(acquire(&*subject.store, 1).epoch > third.epoch);
}

fn c07_other_epochs_are_fenced(mut subject: Subject) {
    let never = Fence { shard: 9, epoch: 1 };
    assert_eq!(put(&*subject.store, never, Table::State, b"k", b"v"), Err(CommitError::Fenced));
    let old = acquire(&*subject.store, 1);
    let mut batch = CommitBatch::new(old);
    batch.put(Table::State, b"before", b"v");
    let before = subject.store.commit(batch);
    let acquired = subject.store.acquire(1);
    assert_eq!(put(&*subject.store, old, Table::State, b"k", b"v"), Err(CommitError::Fenced));
    block_on(before).unwrap();
    let new = Fence { shard: 1, epoch: block_on(acquired).unwrap() };
    let future = Fence { epoch: new.epoch + 1, ..new };
    assert_eq!(put(&*subject.store, future, Table::State, b"k", b"v"), Err(CommitError::Fenced));
    assert_eq!(get(&*subject.store, Table::State, b"k"), None);
    assert_eq!(get(&*subject.store, Table::State, b"before"), Some(b"v".to_vec()));
    put(&*subject.store, new, Table::State, b"k", b"v").unwrap();
    subject.settle();
    if subject.is_volatile() {
        return;
    }
    subject.reopen();
    assert_eq!(put(&*subject.store, old, Table::State, b"k", b"v"), Err(CommitError::Fenced));
}

/// A key that is too long is the failure that every store can be made to have.
fn c08_no_gap_after_a_failure(subject: Subject) {
    let fence = acquire(&*subject.store, 1);
    let other = acquire(&*subject.store, 2);
    let failed = put(&*subject.store, fence, Table::State, &[0; KEY_BYTES_MAX + 1], b"v");
    assert!(matches!(failed, Err(CommitError::Rejected { .. })), "{failed:?}");
    for _ in 0..3 {
        let later = put(&*subject.store, fence, Table::State, b"k", b"v");
        assert!(matches!(later, Err(CommitError::Rejected { .. })), "{later:?}");
    }
    put(&*subject.store, other, Table::State, b"other", b"v").unwrap();
    assert_eq!(get(&*subject.store, Table::State, b"k"), None);
    let fence = acquire(&*subject.store, 1);
    put(&*subject.store, fence, Table::State, b"k", b"v").unwrap();
}

fn c09_a_refused_batch_changes_nothing(mut subject: Subject) {
    let fence = acquire(&*subject.store, 1);
    let mut batch = CommitBatch::new(fence);
    batch.put(Table::State, b"k", b"v");
    batch.put(Table::State, &[0; KEY_BYTES_MAX + 1], b"v");
    assert!(block_on(subject.store.commit(batch)).is_err());
    assert_eq!(get(&*subject.store, Table::State, b"k"), None);
    subject.reopen();
    assert_eq!(get(&*subject.store, Table::State, b"k"), None);
}

fn c10_reads_see_what_was_acknowledged(subject: Subject) {
    let fence = acquire(&*subject.store, 1);
    let store = &*subject.store;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = 0;
            while seen < 200 {
                let now = get(store, Table::State, b"k").map_or(0, |value| value[0]);
                assert!(now >= seen, "a read went back from {seen} to {now}");
                seen = now;
            }
        });
        for value in 1..=200u8 {
            put(store, fence, Table::State, b"k", &[value]).unwrap();
            assert_eq!(get(store, Table::State, b"k"), Some(vec![value]));
            if value.is_multiple_of(50) {
                subject.settle();
            }
        }
        reader.join().unwrap();
    });
}

fn c11_get_gives_the_latest_put(subject: Subject) {
    let fence = acquire(&*subject.store, 1);
    for table in Table::ALL {
        assert_eq!(get(&*subject.store, table, b"k1234567"), None);
        put(&*subject.store, fence, table, b"k1234567", b"one").unwrap();
    }
    subject.settle();
    for table in Table::ALL {
        put(&*subject.store, fence, table, b"k1234567", b"").unwrap();
        assert_eq!(get(&*subject.store, table, b"k1234567"), Some(Vec::new()), "an empty value is a value");
        let mut batch = CommitBatch::new(fence);
        batch.delete(table, b"k1234567");
        block_on(subject.store.commit(batch)).unwrap();
        assert_eq!(get(&*subject.store, table, b"k1234567"), None);
    }
    subject.settle();
    assert_eq!(get(&*subject.store, Table::State, b"k1234567"), None);
}

fn c12_scan_gives_a_range_in_order(subject: Subject) {
    let fence = acquire(&*subject.store, 1);
    let key = |number: u16| [&[0, 7], &number.to_be_bytes()[..]].concat();
    for part in 0..3u16 {
        let mut batch = CommitBatch::new(fence);
        for number in (part..900).step_by(3) {
            batch.put(Table::Deadline, &key(number), &number.to_le_bytes());
        }
        if part == 2 {
            (0..900).step_by(10).for_each(|number| batch.delete(Table::Deadline, &key(number)));
        }
        block_on(subject.store.commit(batch)).unwrap();
        if part != 1 {
            subject.settle();
        }
    }
    let scan = |from: &[u8], to: &[u8], limit| -> Vec<u16> {
        let rows = block_on(subject.store.scan(Table::Deadline, from, to, limit)).unwrap();
        rows.iter().map(|(key, _)| u16::from_be_bytes([key[2], key[3]])).collect()
    };
    let all: Vec<u16> = (0..900).filter(|number| number % 10 != 0).collect();
    assert_eq!(scan(&[], &[0xff], usize::MAX), all);
    assert_eq!(scan(&key(3), &key(6), 100), [3, 4, 5]);
    assert_eq!(scan(&key(0), &key(100), 4), [1, 2, 3, 4]);
    assert_eq!(scan(&key(300), &key(900), 400), all.iter().copied().filter(|number| *number >= 300).take(400).collect::<Vec<_>>());
    assert_eq!(scan(&key(10), &key(10), 5), []);
    assert_eq!(scan(&key(10), &key(9), 5), []);
    assert_eq!(scan(&key(1), &key(9), 0), []);
}

fn c13_streams_are_read_from_any_ordinal(subject: Subject) {
    let fence = acquire(&*subject.store, 1);
    let ordinals = [1u64, 2, 5, 9, 10, 300];
    for (index, ordinal) in ordinals.into_iter().enumerate() {
        let mut batch = CommitBatch::new(fence);
        batch.put(Table::History, &stream_key(b"00run", ordinal), format!("<{ordinal}>").as_bytes());
        batch.put(Table::History, &stream_key(b"00other", ordinal), b"x");
        batch.put(Table::History, &stream_key(b"00run\0\0", ordinal), b"a longer prefix");
        block_on(subject.store.commit(batch)).unwrap();
        if index == 2 || index == 4 {
            subject.settle();
        }
    }
    let stream = |from, max_bytes| block_on(subject.store.stream(b"00run", from, max_bytes)).unwrap();
    let text = |rows: &[(u64, Bytes)]| rows.iter().flat_map(|(_, value)| value.to_vec()).map(char::from).collect::<String>();
    let whole = "<1><2><5><9><10><300>";
    assert_eq!(text(&stream(0, usize::MAX)), whole);
    assert_eq!(text(&stream(1, usize::MAX)), whole);
    for from in [1, 2, 3, 4, 5, 6, 9, 10, 11, 299, 300, 301, u64::MAX] {
        let rows = stream(from, usize::MAX);
        assert!(whole.ends_with(&text(&rows)));
        assert!(rows[0].0 <= from, "the row that contains {from} is the first");
        let wanted = ordinals.into_iter().rfind(|ordinal| *ordinal <= from).unwrap();
        assert!(text(&rows).contains(&format!("<{wanted}>")), "{from}");
        assert!(rows.is_sorted_by_key(|(ordinal, _)| *ordinal));
        let one = stream(from, 0);
        assert_eq!(one[..], rows[..1], "at least one row, and no more than asked for");
    }
    assert_eq!(block_on(subject.store.stream(b"00ru", 1, 100)).unwrap(), []);
    assert_eq!(block_on(subject.store.stream(b"none", 1, 100)).unwrap(), []);
}

fn c14_deleting_the_keys_of_a_scan_deletes_the_stream(subject: Subject) {
    let fence = acquire(&*subject.store, 1);
    let append =
        |prefix: &[u8], ordinal: u64| put(&*subject.store, fence, Table::History, &stream_key(prefix, ordinal), &[ordinal as u8]).unwrap();
    let keys = |prefix: &[u8]| -> Vec<Bytes> {
        let rows = block_on(subject.store.scan(Table::History, &stream_key(prefix, 0), &stream_key(prefix, u64::MAX), usize::MAX)).unwrap();
        rows.into_iter().map(|(key, _)| key).collect()
    };
    let delete = |keys: &[Bytes]| {
        let mut batch = CommitBatch::new(fence);
        keys.iter().for_each(|key| batch.delete(Table::History, key));
        block_on(subject.store.commit(batch)).unwrap();
    };
    (1..=3).for_each(|ordinal| append(b"0before", ordinal));
    (1..=3).for_each(|ordinal| append(b"0between", ordinal));
    subject.settle();
    (4..=6).for_each(|ordinal| append(b"0between", ordinal));
    (1..=3).for_each(|ordinal| append(b"0neighbour", ordinal));
    let (before, between) = (keys(b"0before"), keys(b"0between"));
    subject.settle();
    delete(&before);
    delete(&between);
    let rest = vec![(b"0neighbour".to_vec(), vec![1, 2, 3])];
    assert_eq!(streams(&*subject.store), rest);
    subject.settle();
    assert_eq!(streams(&*subject.store), rest);
    assert_eq!(block_on(subject.store.stream(b"0between", 5, 100)).unwrap(), []);

    (1..=2).for_each(|ordinal| append(b"0between", ordinal));
    subject.settle();
    let rows = block_on(subject.store.stream(b"0between", 9, 100)).unwrap();
    assert!(rows.iter().all(|(ordinal, _)| *ordinal <= 2), "a stream that begins anew has nothing of the old one");
    assert_eq!(streams(&*subject.store)[0], (b"0between".to_vec(), vec![1, 2]));
    assert!(keys(b"0between").iter().all(|key| split_stream_key(key).unwrap().0 == b"0between"));
}

fn c15_bounds_are_kept(subject: Subject) {
    let fence = acquire(&*subject.store, 1);
    let key_max = subject.store.key_bytes_max();
    assert!((KEY_BYTES_SAFE..=KEY_BYTES_MAX).contains(&key_max));
    let long = Random::new(15).bytes(key_max);
    put(&*subject.store, fence, Table::State, &long, b"v").unwrap();
    assert!(matches!(put(&*subject.store, fence, Table::State, &[&long[..], b"1"].concat(), b"v"), Err(CommitError::Rejected { .. })));
    let fence = acquire(&*subject.store, 1);
    let mut batch = CommitBatch::new(fence);
    batch.put(Table::State, b"k", &vec![0; BATCH_BYTES_MAX]);
    let bytes = batch.bytes();
    match block_on(subject.store.commit(batch)) {
        Err(CommitError::TooLarge { bytes: answered, max }) => assert!(answered == bytes && max <= BATCH_BYTES_MAX),
        other => panic!("{other:?}"),
    }
    let fence = acquire(&*subject.store, 1);
    put(&*subject.store, fence, Table::State, b"k", b"v").unwrap();
    subject.settle();
    assert_eq!(get(&*subject.store, Table::State, &long), Some(b"v".to_vec()));
}

fn c16_close_refuses_what_comes_later(mut subject: Subject) {
    let fence = acquire(&*subject.store, 1);
    let mut batch = CommitBatch::new(fence);
    batch.put(Table::State, b"k", b"v");
    let enqueued = subject.store.commit(batch);
    block_on(subject.store.close()).unwrap();
    block_on(enqueued).unwrap();
    let later = put(&*subject.store, fence, Table::State, b"k", b"new");
    assert!(matches!(later, Err(CommitError::Rejected { .. })), "{later:?}");
    assert!(matches!(block_on(subject.store.acquire(1)), Err(StoreError::Closed)));
    assert!(matches!(block_on(subject.store.get(Table::State, b"k")), Err(StoreError::Closed)));
    assert!(matches!(block_on(subject.store.scan(Table::State, b"", b"z", 1)), Err(StoreError::Closed)));
    assert!(matches!(block_on(subject.store.stream(b"", 1, 1)), Err(StoreError::Closed)));
    block_on(subject.store.close()).unwrap();
    if subject.is_volatile() {
        return;
    }
    subject.reopen();
    assert_eq!(get(&*subject.store, Table::State, b"k"), Some(b"v".to_vec()));
    assert_eq!(subject.store.stats().log_bytes_live, 0, "nothing is left to be read again");
}
