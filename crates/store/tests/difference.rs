//! Random batches give the same contents in every store, whatever happens in between: checkpoints, restarts, closes.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod support;

use std::collections::BTreeMap;

use futures::executor::block_on;
use sempre_store::{CommitBatch, Fence, Store, Table, embedded::EmbeddedStore, memory::MemoryStore, stream_key};
use support::{Random, TestFolder, acquire, contents, get, open};

const STEPS: u64 = 400;
const STREAMS: u64 = 6;

struct World {
    random: Random,
    memory: MemoryStore,
    embedded: Option<EmbeddedStore>,
    folder: TestFolder,
    fence: Fence,
    /// The last ordinal of each stream.
    ordinals: BTreeMap<u64, u64>,
}

impl World {
    fn new(seed: u64) -> Self {
        let folder = TestFolder::new();
        let (memory, embedded) = (MemoryStore::new(), open(folder.path()));
        let fence = acquire(&memory, 1);
        assert_eq!(acquire(&embedded, 1), fence);
        World { random: Random::new(seed), memory, embedded: Some(embedded), folder, fence, ordinals: BTreeMap::new() }
    }

    fn embedded(&self) -> &EmbeddedStore {
        self.embedded.as_ref().unwrap()
    }

    fn key(&mut self) -> Vec<u8> {
        let len = 2 + self.random.below(3) as usize;
        (0..len).map(|_| self.random.below(4) as u8 * 85).collect()
    }

    fn prefix(stream: u64) -> Vec<u8> {
        // One prefix begins with another.
        [&[0, 1], &vec![0; (stream % 3 * 4) as usize][..], &[stream as u8 / 3]].concat()
    }

    fn change(&mut self, batch: &mut CommitBatch, other: &mut CommitBatch) {
        let table = Table::ALL[self.random.below(Table::ALL.len() as u64) as usize];
        if table == Table::History {
            let stream = self.random.below(STREAMS);
            let ordinal = self.ordinals.entry(stream).or_default();
            *ordinal += 1 + self.random.below(3);
            let key = stream_key(&Self::prefix(stream), *ordinal);
            let len = self.random.below(if ordinal.is_multiple_of(7) { 40_000 } else { 60 }) as usize;
            let value = self.random.bytes(len);
            batch.put(table, &key, &value);
            other.put(table, &key, &value);
            return;
        }
        let key = self.key();
        if self.random.below(3) == 0 {
            batch.delete(table, &key);
            other.delete(table, &key);
        } else {
            let len = self.random.below(300) as usize;
            let value = self.random.bytes(len);
            batch.put(table, &key, &value);
            other.put(table, &key, &value);
        }
    }

    /// Deletes a stream as callers do: by the keys of a scan, each store by its own.
    fn delete_stream(&mut self) {
        let stream = self.random.below(STREAMS);
        self.ordinals.remove(&stream);
        let prefix = Self::prefix(stream);
        let len = prefix.len() + 8;
        let (from, to) = (stream_key(&prefix, 0), stream_key(&prefix, u64::MAX));
        let checkpoint_between = self.random.below(2) == 0;
        let stores: [&dyn Store; 2] = [&self.memory, self.embedded()];
        for store in stores {
            let rows = block_on(store.scan(Table::History, &from, &to, usize::MAX)).unwrap();
            if checkpoint_between {
                block_on(self.embedded().checkpoint()).unwrap();
            }
            let mut batch = CommitBatch::new(self.fence);
            rows.iter().filter(|(key, _)| key.len() == len).for_each(|(key, _)| batch.delete(Table::History, key));
            block_on(store.commit(batch)).unwrap();
        }
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0 => block_on(self.embedded().checkpoint()).unwrap(),
            1 => drop(self.embedded().checkpoint()),
            2 | 3 => self.reopen(),
            4 => self.delete_stream(),
            5 => {
                // Ends, like a kill, with some slices of a checkpoint written.
                let before = self.embedded().stats();
                drop(self.embedded().checkpoint());
                while self.embedded().stats().checkpoints == before.checkpoints && self.embedded().stats().cold_rows == before.cold_rows {
                    if self.embedded().stats().overlay_bytes == 0 {
                        break;
                    }
                    std::thread::yield_now();
                }
                drop(self.embedded.take());
                self.embedded = Some(open(self.folder.path()));
                self.own_again();
            }
            _ => {
                let (mut batch, mut other) = (CommitBatch::new(self.fence), CommitBatch::new(self.fence));
                for _ in 0..self.random.below(12) {
                    self.change(&mut batch, &mut other);
                }
                block_on(self.memory.commit(batch)).unwrap();
                let pending = self.embedded().commit(other);
                block_on(pending).unwrap();
            }
        }
    }

    fn reopen(&mut self) {
        if self.random.below(2) == 0 {
            block_on(self.embedded().close()).unwrap();
        }
        drop(self.embedded.take());
        self.embedded = Some(open(self.folder.path()));
        self.own_again();
    }

    fn own_again(&mut self) {
        self.fence = acquire(self.embedded(), 1);
        assert_eq!(acquire(&self.memory, 1), self.fence);
    }

    fn compare_reads(&mut self) {
        let table = Table::ALL[self.random.below(Table::ALL.len() as u64) as usize];
        if table == Table::History {
            return self.compare_stream();
        }
        let (from, to, limit) = (self.key(), self.key(), self.random.below(20) as usize);
        assert_eq!(get(&self.memory, table, &from), get(self.embedded(), table, &from));
        let memory = block_on(self.memory.scan(table, &from, &to, limit)).unwrap();
        assert_eq!(memory, block_on(self.embedded().scan(table, &from, &to, limit)).unwrap());
    }

    /// Merging may show rows before the one asked for, and longer ones; the bytes behind are the same.
    fn compare_stream(&mut self) {
        let stream = self.random.below(STREAMS);
        let from = self.random.below(self.ordinals.get(&stream).copied().unwrap_or(0) + 3);
        let prefix = Self::prefix(stream);
        let memory = block_on(self.memory.stream(&prefix, from, usize::MAX)).unwrap();
        let embedded = block_on(self.embedded().stream(&prefix, from, usize::MAX)).unwrap();
        let join = |rows: &[(u64, bytes::Bytes)]| rows.iter().flat_map(|(_, value)| value.to_vec()).collect::<Vec<u8>>();
        assert!(join(&embedded).ends_with(&join(&memory)));
        assert_eq!(memory.is_empty(), embedded.is_empty());
        if let (Some((floor, _)), Some((first, _))) = (memory.first(), embedded.first()) {
            assert!(first <= floor && (*first <= from || first == floor));
        }
    }
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for step in 0..STEPS {
        world.step();
        world.compare_reads();
        if step % 20 == 19 {
            let (memory, embedded) = (contents(&world.memory), contents(world.embedded()));
            for ((table, expected), (_, found)) in memory.iter().zip(&embedded) {
                let differs = expected.iter().zip(found).find(|(expected, found)| expected != found);
                assert!(expected == found, "seed {seed}, step {step}, {table:?}, {} and {} rows: {differs:?}", expected.len(), found.len());
            }
        }
    }
    let failures = world.embedded().stats().checkpoint_failures;
    assert_eq!(failures, 0);
}

#[test]
fn memory_and_embedded_agree() {
    let seeds = match std::env::var("SEMPRE_STORE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=10).collect(),
    };
    for seed in seeds {
        println!("SEMPRE_STORE_SEED={seed}");
        run(seed);
    }
}
