//! Snapshots (contract 17) and backups made of them.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod support;

use std::{
    io::Cursor,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures::executor::block_on;
use sempre_store::{
    CommitBatch, Store, Table,
    backup::{BackupError, Head, Reader, Totals, Writer, restore},
    embedded::{EmbeddedOptions, EmbeddedStore},
    memory::MemoryStore,
    stream_key,
};
use support::{Random, Subject, TestFolder, acquire, contents, get, open, put, small_options};

fn taken(store: &dyn Store) -> Vec<u8> {
    let snapshot = block_on(store.snapshot()).unwrap();
    let mut writer = Writer::new(snapshot, Head { taken_ms: 7, program: "test".into() });
    let mut bytes = Vec::new();
    while let Some(next) = writer.next_piece().unwrap() {
        bytes.extend_from_slice(&next);
    }
    assert!(writer.next_piece().unwrap().is_none());
    bytes
}

fn read(bytes: &[u8]) -> Result<Totals, BackupError> {
    let mut reader = Reader::open(Cursor::new(bytes))?;
    while reader.next_rows()?.is_some() {}
    Ok(reader.totals())
}

fn restored(bytes: &[u8]) -> MemoryStore {
    let store = MemoryStore::new();
    block_on(restore(Reader::open(Cursor::new(bytes)).unwrap(), &store, |_| {})).unwrap();
    store
}

fn subjects() -> Vec<Subject> {
    [Subject::memory(), Subject::embedded(false), Subject::embedded(true)].into_iter().chain(Subject::postgres()).collect()
}

/// Random changes of few keys in all tables, streams in history.
fn change(store: &dyn Store, fence: sempre_store::Fence, random: &mut Random, ordinal: u64) {
    let mut batch = CommitBatch::new(fence);
    for _ in 0..=random.below(12) {
        let table = Table::ALL[random.below(Table::ALL.len() as u64) as usize];
        let key = random.below(40).to_be_bytes();
        let len = random.below(300) as usize;
        match table {
            Table::History => batch.put(table, &stream_key(&key[7..], ordinal), &random.bytes(len)),
            _ if random.below(4) == 0 => batch.delete(table, &key),
            _ => batch.put(table, &key, &random.bytes(len)),
        }
    }
    block_on(store.commit(batch)).unwrap();
}

#[test]
fn a_backup_gives_back_every_row() {
    for (seed, mut subject) in subjects().into_iter().enumerate() {
        let mut random = Random::new(seed as u64);
        let fence = acquire(&*subject.store, 3);
        for ordinal in 1..400 {
            change(&*subject.store, fence, &mut random, ordinal);
            if ordinal % 150 == 0 {
                subject.settle();
            }
        }
        let expected = contents(&*subject.store);
        assert!(expected == contents(&restored(&taken(&*subject.store))));
        subject.reopen();
        if !subject.is_volatile() {
            assert!(expected == contents(&restored(&taken(&*subject.store))));
        }
    }
}

#[test]
fn what_comes_after_a_snapshot_does_not_show_in_it() {
    for subject in subjects() {
        let store = &*subject.store;
        let fence = acquire(store, 1);
        for n in 0_u8..200 {
            put(store, fence, Table::State, &[n], &[1; 500]).unwrap();
        }
        let mut snapshot = block_on(store.snapshot()).unwrap();
        let first = snapshot.next(1000).unwrap();
        for n in 0_u8..=255 {
            put(store, fence, Table::State, &[n], &[2; 500]).unwrap();
        }
        subject.settle();
        let mut rows = first;
        loop {
            let page = snapshot.next(5000).unwrap();
            if page.is_empty() {
                break;
            }
            rows.extend(page);
        }
        assert_eq!(rows.len(), 200);
        assert!(rows.iter().all(|(table, _, value)| *table == Table::State && value[..] == [1; 500]));
        drop(snapshot);
        assert_eq!(get(store, Table::State, &[255]).unwrap(), [2; 500]);
    }
}

/// Two rows change together in each batch, and the acknowledged number only grows: a snapshot between must show both halves of
/// one batch, no older than what was acknowledged before it was asked for.
#[test]
fn a_snapshot_under_load_is_between_two_batches() {
    let folder = TestFolder::new();
    let store = Arc::new(open(folder.path()));
    let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let writer = std::thread::spawn({
        let (store, acknowledged, stop) = (store.clone(), acknowledged.clone(), stop.clone());
        move || {
            let fence = acquire(&*store, 9);
            let mut number = 0_u64;
            while !stop.load(Ordering::SeqCst) {
                number += 1;
                let mut batch = CommitBatch::new(fence);
                batch.put(Table::Current, b"first", &number.to_be_bytes());
                batch.put(Table::Outbox, b"second", &number.to_be_bytes());
                batch.put(Table::State, &(number % 500).to_be_bytes(), &[3; 700]);
                block_on(store.commit(batch)).unwrap();
                acknowledged.store(number, Ordering::SeqCst);
            }
        }
    });
    while acknowledged.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    for _ in 0..20 {
        let before = acknowledged.load(Ordering::SeqCst);
        let copy = restored(&taken(&*store));
        let (first, second) = (get(&copy, Table::Current, b"first").unwrap(), get(&copy, Table::Outbox, b"second").unwrap());
        assert_eq!(first, second);
        assert!(u64::from_be_bytes(first.try_into().unwrap()) >= before);
    }
    stop.store(true, Ordering::SeqCst);
    writer.join().unwrap();
}

fn small() -> Vec<u8> {
    let store = MemoryStore::new();
    let fence = acquire(&store, 1);
    put(&store, fence, Table::State, b"k", b"value").unwrap();
    put(&store, fence, Table::Meta, b"m", b"").unwrap();
    taken(&store)
}

#[test]
fn no_cut_and_no_changed_byte_passes() {
    let whole = small();
    assert_eq!(read(&whole).unwrap(), Totals { rows: 2, bytes: 7 });
    for cut in 0..whole.len() {
        let error = read(&whole[..cut]).unwrap_err();
        assert!(matches!(error, BackupError::NotABackup | BackupError::Incomplete { .. }), "cut at {cut}: {error}");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut bad = whole.clone();
            bad[at] ^= 1 << bit;
            assert!(read(&bad).is_err(), "bit {bit} of byte {at}");
        }
    }
    let more = [&whole[..], b"x"].concat();
    assert_eq!(read(&more).unwrap_err().to_string(), "the backup is damaged in frame 2: something follows the last frame; use another");
}

#[test]
fn what_cannot_be_read_says_why() {
    assert_eq!(read(b"PK\x03\x04 and so on").unwrap_err().to_string(), "this is not a backup: it does not begin as one");
    let whole = small();
    let cut = read(&whole[..whole.len() - 3]).unwrap_err().to_string();
    assert_eq!(cut, "the backup is not whole: it ends after 2 frames without its last one; take it again or use another");
    let reader = Reader::open(Cursor::new(&whole[..])).unwrap();
    assert_eq!(*reader.head(), Head { taken_ms: 7, program: "test".into() });
}

#[test]
fn a_snapshot_that_makes_the_log_too_long_is_given_up() {
    let folder = TestFolder::new();
    let options = EmbeddedOptions { snapshot_log_bytes: 1 << 20, ..small_options() };
    let store = EmbeddedStore::open(folder.path(), options).unwrap();
    let fence = acquire(&store, 1);
    let fill = |value: u8| {
        for key in 0..40u32 {
            put(&store, fence, Table::State, &key.to_be_bytes(), &[value; 8000]).unwrap();
        }
        block_on(store.checkpoint()).unwrap();
    };
    fill(0);
    let mut snapshot = block_on(store.snapshot()).unwrap();
    assert_eq!(snapshot.next(1).unwrap().len(), 1);
    for value in 1..8 {
        fill(value);
    }
    let error = snapshot.next(1).unwrap_err().to_string();
    assert!(error.contains("go on with a snapshot of") && error.contains("so much was written meanwhile"), "{error}");
    drop(snapshot);
    let whole = taken(&store);
    assert_eq!(get(&restored(&whole), Table::State, &7u32.to_be_bytes()), Some(vec![7; 8000]), "the store goes on, and the next is whole");
}

#[test]
fn a_snapshot_of_a_closed_store_is_refused() {
    for subject in subjects() {
        block_on(subject.store.close()).unwrap();
        assert!(block_on(subject.store.snapshot()).is_err());
    }
}
