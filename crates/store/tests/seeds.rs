//! Worlds of chance around the embedded store: one seed is some lives of a store over a disk with faults, each ended by a crash, a power
//! loss, a full disk, an error or a close, at any write or sync. After each, the contents are those of a prefix of what was
//! enqueued, with everything acknowledged in it and nothing that was surely refused.
//!
//! `STORE_SEEDS=from..to` says which seeds; a failure names its own.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod support;

use std::{sync::Arc, time::Duration};

use futures::executor::block_on;
use sempre_store::{
    CommitBatch, CommitError, Fence, Pending, Store, Table,
    embedded::{EmbeddedOptions, EmbeddedStore},
    memory::MemoryStore,
    stream_key,
};
use support::{
    Contents, Random, TestFolder, contents,
    disk::{Disk, Fault},
    small_options,
};

/// Seeds of a test run.
const SEEDS: (u64, u64) = (0, 30);
/// Shards that commit.
const SHARDS: u64 = 3;

/// One operation on a row, as it is repeated for the model.
#[derive(Clone, Debug)]
enum Change {
    Put(Table, Vec<u8>, Vec<u8>),
    Delete(Table, Vec<u8>),
}

/// What is known of a batch that was enqueued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is there.
    There,
    /// It is not.
    Not,
    /// A restart decides.
    Open,
}

struct World {
    random: Random,
    /// Every batch that may be there, in the order in which they were enqueued.
    batches: Vec<(Vec<Change>, Fate)>,
    /// Ordinals of streams, which only grow.
    ordinal: u64,
    epochs: Vec<u64>,
}

impl World {
    fn changes(&mut self) -> Vec<Change> {
        let count = 1 + self.random.below(5);
        (0..count).map(|_| self.change()).collect()
    }

    fn change(&mut self) -> Change {
        let tables = [Table::Meta, Table::State, Table::Offer, Table::Outbox, Table::Deadline, Table::Visibility, Table::Notice];
        let table = tables[self.random.below(tables.len() as u64) as usize];
        let key = vec![0, self.random.below(4) as u8, self.random.below(12) as u8];
        match self.random.below(8) {
            0..=2 => {
                let len = [0, 10, 300, 5000, 20_000][self.random.below(5) as usize];
                Change::Put(table, key, self.random.bytes(len))
            }
            3..=4 => Change::Delete(table, key),
            _ => {
                self.ordinal += 1;
                let len = self.random.below(400) as usize;
                Change::Put(Table::History, stream_key(&[0, self.random.below(3) as u8], self.ordinal), self.random.bytes(len))
            }
        }
    }

    fn batch(fence: Fence, changes: &[Change]) -> CommitBatch {
        let mut batch = CommitBatch::new(fence);
        for change in changes {
            match change {
                Change::Put(table, key, value) => batch.put(*table, key, value),
                Change::Delete(table, key) => batch.delete(*table, key),
            }
        }
        batch
    }

    /// What a store holds after these batches.
    fn expected<'a>(batches: impl Iterator<Item = &'a Vec<Change>>) -> Contents {
        let store = MemoryStore::new();
        let fence = Fence { shard: 0, epoch: block_on(store.acquire(0)).unwrap() };
        for changes in batches {
            block_on(store.commit(Self::batch(fence, changes))).unwrap();
        }
        contents(&store)
    }

    /// Holds a store that was opened again against the model, and settles what was open.
    fn settle(&mut self, store: &dyn Store, what: &str) {
        let found = contents(store);
        let open: Vec<usize> = (0..self.batches.len()).filter(|at| self.batches[*at].1 == Fate::Open).collect();
        for count in 0..=open.len() {
            let there = |(at, (_, fate)): &(usize, &(Vec<Change>, Fate))| *fate == Fate::There || open[..count].contains(at);
            let expected = Self::expected(self.batches.iter().enumerate().filter(there).map(|(_, (changes, _))| changes));
            if expected == found {
                for (place, at) in open.iter().enumerate() {
                    self.batches[*at].1 = if place < count { Fate::There } else { Fate::Not };
                }
                self.batches.retain(|(_, fate)| *fate == Fate::There);
                return;
            }
        }
        panic!("{what}: the contents are those of no prefix of the {} batches whose fate was open", open.len());
    }

    fn acquire(&mut self, store: &dyn Store, shard: u64) -> Option<Fence> {
        let epoch = block_on(store.acquire(shard as u32)).ok()?;
        assert!(epoch > self.epochs[shard as usize], "epoch {epoch} of shard {shard} was given before");
        self.epochs[shard as usize] = epoch;
        Some(Fence { shard: shard as u32, epoch })
    }

    /// Commits for a while; ends when the store takes nothing more.
    fn live(&mut self, store: &EmbeddedStore, disk: &Disk, steps: u64) {
        let mut fences: Vec<Option<Fence>> = vec![None; SHARDS as usize];
        for _ in 0..steps {
            let mut pending: Vec<(usize, Pending<Result<(), CommitError>>)> = Vec::new();
            for _ in 0..=self.random.below(4) {
                let shard = self.random.below(SHARDS);
                if fences[shard as usize].is_none() || self.random.below(40) == 0 {
                    let before = fences[shard as usize].replace(match self.acquire(store, shard) {
                        Some(fence) => fence,
                        None => continue,
                    });
                    if let Some(before) = before {
                        let refused = block_on(store.commit(Self::batch(before, &[Change::Put(Table::Meta, b"old".into(), vec![1])])));
                        assert!(matches!(refused, Err(CommitError::Fenced | CommitError::Failed { .. })), "{refused:?}");
                    }
                }
                let Some(fence) = fences[shard as usize] else { continue };
                let changes = self.changes();
                let commit = store.commit(Self::batch(fence, &changes));
                self.batches.push((changes, Fate::Open));
                pending.push((self.batches.len() - 1, commit));
            }
            let mut over = false;
            for (at, commit) in pending {
                self.batches[at].1 = match block_on(commit) {
                    Ok(()) => Fate::There,
                    Err(CommitError::Unknown { .. }) => {
                        over = true;
                        Fate::Open
                    }
                    Err(CommitError::Failed { .. }) => {
                        over = true;
                        Fate::Not
                    }
                    Err(CommitError::Rejected { .. } | CommitError::Fenced | CommitError::TooLarge { .. }) => {
                        // After an error the owner acquires the shard again.
                        fences.fill(None);
                        Fate::Not
                    }
                };
            }
            self.batches.retain(|(_, fate)| *fate != Fate::Not);
            match self.random.below(30) {
                0 => drop(block_on(store.checkpoint())),
                1 => drop(store.checkpoint()),
                2 => disk.set_full(!disk.is_full()),
                3 => disk.set_limit((self.random.below(3) > 0).then(|| self.random.below(300 << 10) as usize)),
                _ => {}
            }
            if over {
                return;
            }
        }
    }
}

fn options(random: &mut Random) -> EmbeddedOptions {
    EmbeddedOptions {
        segment_bytes: [128 << 10, 256 << 10, 1 << 20][random.below(3) as usize],
        overlay_bytes: [16 << 10, 64 << 10, 1 << 20][random.below(3) as usize],
        log_bytes: [64 << 10, 256 << 10, 2 << 20][random.below(3) as usize],
        idle_checkpoint: Duration::from_secs(3600),
        slice_rows: 1 + random.below(20) as usize,
        cold_cache_bytes: 1 << 20,
        ..small_options()
    }
}

fn play(seed: u64) {
    let mut random = Random::new(seed);
    let folder = TestFolder::new();
    let mut disk = Disk::new();
    let mut world = World { random: Random::new(seed ^ 0x5eed), batches: Vec::new(), ordinal: 0, epochs: vec![0; SHARDS as usize] };
    let lives = 2 + random.below(5);
    for life in 0..lives {
        let what = format!("seed {seed}, life {life}");
        let options = options(&mut random);
        if random.below(4) != 0 {
            // The opening has operations, too.
            let fault = [Fault::Crash, Fault::ShortWrite, Fault::Eio, Fault::Full][random.below(4) as usize];
            disk.fail_at(disk.ops() + random.below(120), fault);
        }
        match EmbeddedStore::open_with_log(folder.path(), options, Arc::new(disk.clone())) {
            Ok(store) => {
                // What is found counts from now on, whatever comes.
                world.settle(&store, &what);
                world.live(&store, &disk, random.below(80));
                if random.below(4) == 0 {
                    let _ = block_on(store.close());
                }
            }
            Err(error) => assert!(disk.has_failed(), "{what}: {error}"),
        }
        disk = if random.below(3) == 0 { disk.after_kill() } else { disk.after_power_loss(&mut random) };
    }
    let store = EmbeddedStore::open_with_log(folder.path(), support::small_options(), Arc::new(disk)).unwrap();
    world.settle(&store, &format!("seed {seed}, at the end"));
}

#[test]
fn whatever_the_disk_does_a_prefix_is_there_with_all_that_was_acknowledged() {
    let asked = std::env::var("STORE_SEEDS").ok();
    let (from, to) =
        asked.as_deref().and_then(|range| range.split_once("..")).map_or(SEEDS, |(from, to)| (from.parse().unwrap(), to.parse().unwrap()));
    for seed in from..to {
        let played = std::panic::catch_unwind(|| play(seed));
        if let Err(panic) = played {
            eprintln!("to see it again: STORE_SEEDS={seed}..{} cargo test -p sempre-store --test seeds", seed + 1);
            std::panic::resume_unwind(panic);
        }
    }
}
