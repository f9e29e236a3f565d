//! Copies are whole, and what differs is found. (Into a folder: the tests of `sempre store copy`.)

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod support;

use futures::executor::block_on;
use sempre_store::{
    CommitBatch, Store, Table,
    copy::{copy, difference, is_empty},
    stream_key,
};
use support::{Random, Subject, acquire, contents};

fn subjects() -> Vec<Subject> {
    [Subject::memory(), Subject::embedded(true)].into_iter().chain(Subject::postgres()).collect()
}

fn fill(store: &dyn Store) {
    let fence = acquire(store, 1);
    let mut random = Random::new(3);
    for ordinal in 1..60u64 {
        let mut batch = CommitBatch::new(fence);
        for table in Table::ALL {
            let key = match table {
                Table::History => stream_key(&[0, random.below(5) as u8], ordinal),
                _ => random.below(1000).to_be_bytes().to_vec(),
            };
            let len = random.below(4000) as usize;
            batch.put(table, &key, &random.bytes(len));
        }
        block_on(store.commit(batch)).unwrap();
    }
}

fn compared(one: &dyn Store, other: &dyn Store) -> Option<String> {
    difference(block_on(one.snapshot()).unwrap(), block_on(other.snapshot()).unwrap()).unwrap()
}

#[test]
fn a_copy_has_what_the_original_has() {
    for from in subjects() {
        fill(&*from.store);
        from.settle();
        // The folders of these tests take small batches only.
        for to in [Subject::memory()].into_iter().chain(Subject::postgres()) {
            assert!(block_on(is_empty(&*to.store)).unwrap());
            let snapshot = block_on(from.store.snapshot()).unwrap();
            let mut told = 0;
            let totals = block_on(copy(snapshot, &*to.store, |totals| told = totals.rows)).unwrap();
            assert!(totals.rows > 300 && told == totals.rows);
            assert!(contents(&*from.store) == contents(&*to.store));
            assert!(!block_on(is_empty(&*to.store)).unwrap());
            assert_eq!(compared(&*from.store, &*to.store), None);
            to.settle();
            assert_eq!(compared(&*from.store, &*to.store), None);

            let fence = acquire(&*to.store, 2);
            let mut batch = CommitBatch::new(fence);
            let (key, value) = block_on(to.store.scan(Table::Offer, &[], &[0xff], 1)).unwrap().remove(0);
            batch.put(Table::Offer, &key, &[&value[..], b"1"].concat());
            block_on(to.store.commit(batch)).unwrap();
            let found = compared(&*from.store, &*to.store).unwrap();
            assert!(found.contains("of Offer"), "{found}");
            let mut batch = CommitBatch::new(fence);
            batch.put(Table::Offer, &key, &value);
            batch.put(Table::History, &stream_key(&[0, 1], 99), b"more");
            block_on(to.store.commit(batch)).unwrap();
            let found = compared(&*from.store, &*to.store).unwrap();
            assert!(found.contains("of History"), "{found}");
            let mut batch = CommitBatch::new(fence);
            batch.delete(Table::History, &stream_key(&[0, 1], 99));
            batch.put(Table::Schedule, b"\xfe", b"more");
            block_on(to.store.commit(batch)).unwrap();
            let found = compared(&*from.store, &*to.store).unwrap();
            assert!(found.contains("of Schedule"), "{found}");
        }
    }
}
