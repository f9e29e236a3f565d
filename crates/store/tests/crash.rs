//! A crash, a short write, an error or a full disk at every write and sync of the log: nothing acknowledged is lost, and what was
//! not acknowledged is there as a whole or not at all, in order.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod support;

use std::{path::Path, sync::Arc};

use futures::executor::block_on;
use sempre_store::{CommitBatch, CommitError, Fence, Store, Table, embedded::EmbeddedStore, memory::MemoryStore, stream_key};
use support::{
    Random, TestFolder, acquire, contents,
    disk::{Disk, Fault},
    get, put, small_options,
};

const BATCHES: u64 = 50;
/// How many batches are enqueued before the first is waited for.
const AHEAD: u64 = 3;

fn open(path: &Path, disk: &Disk) -> EmbeddedStore {
    EmbeddedStore::open_with_log(path, small_options(), Arc::new(disk.clone())).unwrap()
}

/// The batch of a number: always the same, and the numbers of a prefix of all batches give its contents.
fn batch(fence: Fence, number: u64) -> CommitBatch {
    let mut random = Random::new(number);
    let mut batch = CommitBatch::new(fence);
    batch.put(Table::Meta, b"last", &number.to_be_bytes());
    for _ in 0..random.below(4) {
        let len = random.below(9000) as usize;
        batch.put(Table::State, &[0, random.below(8) as u8], &random.bytes(len));
        batch.put(Table::Offer, &[0, 1, number as u8], b"offer");
        batch.delete(Table::Offer, &[0, 1, random.below(number + 1) as u8]);
    }
    batch.put(Table::History, &stream_key(&[0, (number % 3) as u8], number), &number.to_be_bytes());
    batch
}

fn last(store: &dyn Store) -> u64 {
    get(store, Table::Meta, b"last").map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()))
}

/// What a store holds after batches 1 to `last`.
fn expected(last: u64) -> support::Contents {
    let store = MemoryStore::new();
    let fence = acquire(&store, 1);
    (1..=last).for_each(|number| block_on(store.commit(batch(fence, number))).unwrap());
    contents(&store)
}

/// Commits batches until the end or the first error; gives the last that was acknowledged.
fn run(store: &dyn Store, from: u64, to: u64) -> (u64, Option<CommitError>) {
    let Ok(epoch) = block_on(store.acquire(1)) else {
        return (from - 1, Some(CommitError::Failed { reason: "acquire".into() }));
    };
    let fence = Fence { shard: 1, epoch };
    let mut acknowledged = from - 1;
    let mut error = None;
    for first in (from..=to).step_by(AHEAD as usize) {
        let pending: Vec<_> = (first..=to.min(first + AHEAD - 1)).map(|number| (number, store.commit(batch(fence, number)))).collect();
        for (number, pending) in pending {
            match block_on(pending) {
                Ok(()) => {
                    assert_eq!(acknowledged + 1, number, "a gap in what was acknowledged");
                    acknowledged = number;
                }
                Err(found) => {
                    error.get_or_insert(found);
                }
            }
        }
        if error.is_some() {
            break;
        }
    }
    (acknowledged, error)
}

fn check(store: &dyn Store, acknowledged: u64, what: &str) -> u64 {
    let found = last(store);
    assert!(found >= acknowledged, "{what}: batch {acknowledged} was acknowledged, but only {found} are there");
    assert!(found <= acknowledged + AHEAD, "{what}: {found} batches are there, which cannot be");
    assert_eq!(contents(store), expected(found), "{what}: the contents are not those of {found} whole batches");
    found
}

/// One run with a fault at operation `op`; false if the run ended before it.
fn fault_at(op: u64, fault: Fault, seed: u64) -> bool {
    let what = format!("{fault:?} at operation {op}, seed {seed}");
    let folder = TestFolder::new();
    let disk = Disk::new();
    disk.fail_at(op, fault);
    let store = open(folder.path(), &disk);
    let (acknowledged, error) = run(&store, 1, BATCHES);
    if error.is_none() {
        return false;
    }
    assert!(matches!(error, Some(CommitError::Unknown { .. } | CommitError::Failed { .. })), "{what}: {error:?}");
    if acknowledged > 0 {
        assert!(last(&store) >= acknowledged, "{what}: a failed store goes on reading");
    }
    drop(store);

    let mut random = Random::new(seed ^ op);
    let disk = if random.below(4) == 0 { disk.after_kill() } else { disk.after_power_loss(&mut random) };
    let store = open(folder.path(), &disk);
    let found = check(&store, acknowledged, &what);
    let (acknowledged, error) = run(&store, found + 1, found + 10);
    assert_eq!((acknowledged, error), (found + 10, None), "{what}");
    drop(store);
    let store = open(folder.path(), &disk.after_power_loss(&mut random));
    assert_eq!(check(&store, found + 10, &what), found + 10);
    true
}

fn fault_everywhere(fault: Fault) {
    let mut op = 0;
    while fault_at(op, fault, 17) {
        op += 1;
    }
    assert!(op > BATCHES / AHEAD * 2, "only {op} operations were tried");
}

#[test]
fn a_crash_at_every_operation() {
    fault_everywhere(Fault::Crash);
}

#[test]
fn a_short_write_at_every_operation() {
    fault_everywhere(Fault::ShortWrite);
}

#[test]
fn an_io_error_at_every_operation() {
    fault_everywhere(Fault::Eio);
}

#[test]
fn after_an_io_error_the_store_takes_nothing_but_reads() {
    let (folder, disk) = (TestFolder::new(), Disk::new());
    let store = open(folder.path(), &disk);
    let fence = acquire(&store, 1);
    put(&store, fence, Table::State, b"k", b"v").unwrap();
    disk.fail_at(disk.ops(), Fault::Eio);
    assert!(matches!(put(&store, fence, Table::State, b"k", b"lost"), Err(CommitError::Unknown { .. })));
    assert!(matches!(put(&store, fence, Table::State, b"k", b"later"), Err(CommitError::Failed { .. })));
    assert!(block_on(store.acquire(1)).is_err() && block_on(store.close()).is_err());
}

#[test]
fn a_full_disk_rejects_and_recovers() {
    let (folder, disk) = (TestFolder::new(), Disk::new());
    // No checkpoint frees a segment meanwhile, however fast it is: the log has to grow.
    let options = sempre_store::embedded::EmbeddedOptions { overlay_bytes: 1 << 30, log_bytes: 1 << 30, ..small_options() };
    let store = EmbeddedStore::open_with_log(folder.path(), options, Arc::new(disk.clone())).unwrap();
    let mut acknowledged = 0;
    let mut rejected = 0;
    for round in 0..6 {
        disk.set_full(round % 2 == 1);
        let (now, error) = run(&store, acknowledged + 1, acknowledged + 60);
        acknowledged = now;
        match error {
            Some(CommitError::Rejected { reason }) => {
                assert!(reason.contains("disk full") || reason.contains("earlier batch"), "{reason}");
                rejected += 1;
            }
            Some(CommitError::Failed { reason }) => {
                assert_eq!((reason.as_str(), disk.is_full()), ("acquire", true));
                rejected += 1;
            }
            other => assert_eq!(other, None),
        }
        assert_eq!(last(&store), acknowledged, "what was rejected is not there");
        assert_eq!(contents(&store), expected(acknowledged));
    }
    assert!(rejected > 0, "the disk was never full");
    drop(store);
    let store = open(folder.path(), &disk.after_power_loss(&mut Random::new(5)));
    assert_eq!(check(&store, acknowledged, "after a full disk"), acknowledged);
}

/// The log has to open a segment from time to time, one that it has or a new one. Anybody who opens connections can use up what a process may open.
#[test]
fn without_file_descriptors_commits_are_rejected_until_there_are_some() {
    // Segments that checkpoints free are opened again; while no checkpoint frees any, new ones are made.
    for (overlay_bytes, log_bytes) in [(small_options().overlay_bytes, small_options().log_bytes), (1 << 30, 1 << 30)] {
        let (folder, disk) = (TestFolder::new(), Disk::new());
        let options = sempre_store::embedded::EmbeddedOptions { overlay_bytes, log_bytes, ..small_options() };
        let store = EmbeddedStore::open_with_log(folder.path(), options, Arc::new(disk.clone())).unwrap();
        let (mut acknowledged, mut rejected) = (0, 0);
        for round in 0..8 {
            disk.set_out_of_files(round % 2 == 1);
            let (now, error) = run(&store, acknowledged + 1, acknowledged + 200);
            acknowledged = now;
            match error {
                Some(CommitError::Rejected { reason }) => {
                    assert!(reason.contains("may open files again") || reason.contains("earlier batch"), "{reason}");
                    rejected += 1;
                }
                Some(CommitError::Failed { reason }) => assert_eq!((reason.as_str(), round % 2), ("acquire", 1)),
                other => assert_eq!(other, None),
            }
            assert_eq!(contents(&store), expected(acknowledged), "what was rejected is not there");
        }
        assert!(rejected > 0, "no segment was needed");
        drop(store);
        let store = open(folder.path(), &disk.after_power_loss(&mut Random::new(5)));
        assert_eq!(check(&store, acknowledged, "after a time without descriptors"), acknowledged);
    }
}

/// Where the next record goes, if all that there are take one block each and are in the first segment.
fn end_of_first_segment(disk: &Disk) -> usize {
    let blocks = &disk.images()[&1];
    blocks.chunks(4096).take_while(|block| block.starts_with(b"SLR1")).count() * 4096
}

/// A store with a row `k` = `v`, and a disk that took so many bytes of the next record, which was rejected.
fn rejected_after(written: usize) -> (TestFolder, Disk, EmbeddedStore) {
    let (folder, disk) = (TestFolder::new(), Disk::new());
    let store = open(folder.path(), &disk);
    let fence = acquire(&store, 1);
    put(&store, fence, Table::State, b"k", b"v").unwrap();
    disk.set_limit(Some(end_of_first_segment(&disk) + written));
    match put(&store, fence, Table::State, b"k", b"refused") {
        Err(CommitError::Rejected { reason }) => assert!(reason.contains("disk full"), "{reason}"),
        other => panic!("{written} bytes of the record were written: {other:?}"),
    }
    (folder, disk, store)
}

/// Room that the log has reserved may be refused all the same: by a limit on the sizes of files that is below theirs, by a file system that
/// writes elsewhere what is overwritten. However much of the record was written, it is not there, and commits go on when there is room.
#[test]
fn a_record_that_finds_no_room_where_it_was_reserved_is_rejected() {
    for written in [0, 1, 4, 23, 24, 60, 1000, 4095] {
        let (folder, disk, store) = rejected_after(written);
        assert!(block_on(store.acquire(1)).is_err(), "{written}: there is still no room");
        assert_eq!(get(&store, Table::State, b"k").as_deref(), Some(&b"v"[..]), "{written}: reads go on");
        disk.set_limit(None);
        let fence = acquire(&store, 1);
        put(&store, fence, Table::State, b"k", b"later").unwrap();
        drop(store);
        let store = open(folder.path(), &disk.after_power_loss(&mut Random::new(9)));
        assert_eq!(get(&store, Table::State, b"k").as_deref(), Some(&b"later"[..]), "{written}");
    }
}

#[test]
fn a_record_that_was_rejected_for_want_of_room_is_in_no_later_life() {
    for written in [0, 23, 24, 60, 1000, 4095] {
        for seed in 0..4 {
            let (folder, disk, store) = rejected_after(written);
            drop(store);
            let disk = if seed == 0 { disk.after_kill() } else { disk.after_power_loss(&mut Random::new(seed)) };
            let store = open(folder.path(), &disk);
            assert_eq!(get(&store, Table::State, b"k").as_deref(), Some(&b"v"[..]), "{written} bytes, seed {seed}");
        }
    }
}

/// What was written is a whole record, and cannot be taken back: a restart decides about it.
#[test]
fn a_record_without_room_that_cannot_be_taken_back_is_unknown() {
    let (folder, disk) = (TestFolder::new(), Disk::new());
    let store = open(folder.path(), &disk);
    let fence = acquire(&store, 1);
    disk.set_limit(Some(end_of_first_segment(&disk) + 4095));
    disk.fail_at(disk.ops() + 1, Fault::Eio);
    assert!(matches!(put(&store, fence, Table::State, b"k", b"v"), Err(CommitError::Unknown { .. })));
    assert!(matches!(put(&store, fence, Table::State, b"k", b"v"), Err(CommitError::Failed { .. })));
}

/// A sync that failed has not written all, but the system's memory shows all of it to the next process, and no later sync writes it.
#[test]
fn what_a_failed_sync_left_in_memory_is_written_again_before_it_counts() {
    for ahead in 0..6 {
        let (folder, disk) = (TestFolder::new(), Disk::new());
        let store = open(folder.path(), &disk);
        assert_eq!(run(&store, 1, 6), (6, None));
        disk.fail_at(disk.ops() + ahead, Fault::Eio);
        let (acknowledged, error) = run(&store, 7, 18);
        assert!(error.is_some());
        drop(store);

        let disk = disk.after_kill();
        let store = open(folder.path(), &disk);
        let found = check(&store, acknowledged, "after the process died");
        drop(store);
        // What was there is still there when the machine goes down.
        let disk = disk.after_power_loss(&mut Random::new(ahead));
        assert!(last(&open(folder.path(), &disk)) >= found, "{ahead}: batch {found} was there, and is lost");
    }
}

/// A fixed log of some segments without a checkpoint, and where its records begin.
fn logged() -> (TestFolder, Disk, Vec<(u32, usize)>) {
    let (folder, disk) = (TestFolder::new(), Disk::new());
    let options = sempre_store::embedded::EmbeddedOptions { overlay_bytes: 1 << 30, log_bytes: 1 << 30, ..small_options() };
    let store = EmbeddedStore::open_with_log(folder.path(), options, Arc::new(disk.clone())).unwrap();
    assert_eq!(run(&store, 1, BATCHES), (BATCHES, None));
    drop(store);
    let mut records = Vec::new();
    for (number, bytes) in disk.images() {
        let is_record = |start: &usize| bytes[*start..].starts_with(b"SLR1");
        records.extend((0..bytes.len()).step_by(4096).filter(is_record).map(|start| (number, start)));
    }
    (folder, disk, records)
}

#[test]
fn damage_before_a_valid_record_refuses() {
    let (folder, disk, records) = logged();
    assert!(disk.images().len() > 1 && records.len() > 10);
    for (index, &(number, start)) in records.iter().enumerate() {
        for at in [start, start + 9, start + 30] {
            let mut images = disk.images();
            images.get_mut(&number).unwrap()[at] ^= 0x10;
            let damaged = Disk::from_images(images.clone());
            let opened = EmbeddedStore::open_with_log(folder.path(), small_options(), Arc::new(damaged.clone()));
            if index + 1 == records.len() {
                let found = check(&opened.unwrap(), BATCHES - AHEAD, "damage in the last record");
                assert!(found < BATCHES, "the last record is taken for a torn one");
                continue;
            }
            let text = opened.unwrap_err().to_string();
            assert!(text.contains("is damaged") && text.contains("acknowledged"), "{text}");
            assert_eq!(damaged.images(), images, "nothing was changed");
        }
    }
}

#[test]
fn a_missing_segment_refuses() {
    let (folder, disk, _) = logged();
    let count = disk.images().len() as u32;
    for number in 1..count {
        let mut images = disk.images();
        images.remove(&number);
        let opened = EmbeddedStore::open_with_log(folder.path(), small_options(), Arc::new(Disk::from_images(images)));
        assert!(opened.unwrap_err().to_string().contains("is damaged"), "segment {number}");
    }
}

#[test]
fn a_log_older_than_the_cold_store_refuses() {
    let (folder, disk, _) = logged();
    let old = Disk::from_images(disk.images());
    let store = open(folder.path(), &disk);
    assert_eq!(run(&store, BATCHES + 1, BATCHES + 9), (BATCHES + 9, None));
    block_on(store.close()).unwrap();
    drop(store);
    let opened = EmbeddedStore::open_with_log(folder.path(), small_options(), Arc::new(old));
    let text = opened.unwrap_err().to_string();
    assert!(text.contains("older than the cold store"), "{text}");
    assert_eq!(last(&open(folder.path(), &disk)), BATCHES + 9);
}

/// Segments are reused without being cleared: what is behind the last record is an older one that is whole.
#[test]
fn records_of_a_former_use_are_not_taken() {
    let (folder, disk) = (TestFolder::new(), Disk::new());
    let mut acknowledged = 0;
    for round in 0..40 {
        let store = open(folder.path(), &disk);
        assert_eq!(check(&store, acknowledged, "reopened"), acknowledged, "round {round}");
        let (now, error) = run(&store, acknowledged + 1, acknowledged + 12);
        assert_eq!(error, None);
        acknowledged = now;
        if round % 3 != 0 {
            block_on(store.checkpoint()).unwrap();
        }
    }
    assert!(disk.images().len() < 12, "segments are reused, but there are {}", disk.images().len());
}
