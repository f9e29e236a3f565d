//! Random batches give the same contents in every store, whatever happens in between: checkpoints, restarts, closes.

#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod support;

use std::collections::BTreeMap;

use futures::executor::block_on;
use sempre_store::{CommitBatch, Fence, Store, Table, embedded::EmbeddedStore, memory::MemoryStore, postgres::PostgresStore, stream_key};
use support::{Random, TestFolder, acquire, contents, get, open, postgres::Database};

const STEPS: u64 = 400;
const STREAMS: u64 = 6;

/// The store that is held against the one in memory; `None` between two openings.
enum Subject {
    Embedded(Option<EmbeddedStore>, TestFolder),
    Postgres(Option<PostgresStore>, Database),
}

impl Subject {
    fn embedded() -> Self {
        let folder = TestFolder::new();
        Subject::Embedded(Some(open(folder.path())), folder)
    }

    fn postgres() -> Option<Self> {
        let database = Database::new()?;
        Some(Subject::Postgres(Some(database.open()), database))
    }

    fn store(&self) -> &dyn Store {
        match self {
            Subject::Embedded(store, _) => store.as_ref().unwrap(),
            Subject::Postgres(store, _) => store.as_ref().unwrap(),
        }
    }

    /// Ends as a kill does, and opens again.
    fn reopen(&mut self) {
        match self {
            Subject::Embedded(store, folder) => {
                drop(store.take());
                *store = Some(open(folder.path()));
            }
            Subject::Postgres(store, database) => {
                drop(store.take());
                *store = Some(database.open());
            }
        }
    }

    /// Asks for a checkpoint, where there are any, whether or not somebody waits for it.
    fn checkpoint(&self) -> sempre_store::Pending<Result<(), sempre_store::StoreError>> {
        match self {
            Subject::Embedded(store, _) => store.as_ref().unwrap().checkpoint(),
            Subject::Postgres(..) => Box::pin(std::future::ready(Ok(()))),
        }
    }
}

struct World {
    random: Random,
    memory: MemoryStore,
    subject: Subject,
    fence: Fence,
    /// The last ordinal of each stream.
    ordinals: BTreeMap<u64, u64>,
}

impl World {
    fn new(seed: u64, subject: Subject) -> Self {
        let memory = MemoryStore::new();
        let fence = Fence { shard: 1, epoch: 0 };
        let mut world = World { random: Random::new(seed), memory, subject, fence, ordinals: BTreeMap::new() };
        world.own_again();
        world
    }

    fn store(&self) -> &dyn Store {
        self.subject.store()
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
        let stores: [&dyn Store; 2] = [&self.memory, self.store()];
        for store in stores {
            let rows = block_on(store.scan(Table::History, &from, &to, usize::MAX)).unwrap();
            if checkpoint_between {
                block_on(self.subject.checkpoint()).unwrap();
            }
            let mut batch = CommitBatch::new(self.fence);
            rows.iter().filter(|(key, _)| key.len() == len).for_each(|(key, _)| batch.delete(Table::History, key));
            block_on(store.commit(batch)).unwrap();
        }
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0 => block_on(self.subject.checkpoint()).unwrap(),
            1 => drop(self.subject.checkpoint()),
            2 | 3 => self.reopen(),
            4 => self.delete_stream(),
            5 => {
                // Ends, like a kill, with some slices of a checkpoint written.
                let before = self.store().stats();
                drop(self.subject.checkpoint());
                while self.store().stats().checkpoints == before.checkpoints && self.store().stats().cold_rows == before.cold_rows {
                    if self.store().stats().overlay_bytes == 0 {
                        break;
                    }
                    std::thread::yield_now();
                }
                self.subject.reopen();
                self.own_again();
            }
            _ => {
                let (mut batch, mut other) = (CommitBatch::new(self.fence), CommitBatch::new(self.fence));
                for _ in 0..self.random.below(12) {
                    self.change(&mut batch, &mut other);
                }
                block_on(self.memory.commit(batch)).unwrap();
                let pending = self.store().commit(other);
                block_on(pending).unwrap();
            }
        }
    }

    fn reopen(&mut self) {
        if self.random.below(2) == 0 {
            block_on(self.store().close()).unwrap();
        }
        self.subject.reopen();
        self.own_again();
    }

    fn own_again(&mut self) {
        let (mut subject, mut memory) = (acquire(self.store(), 1), acquire(&self.memory, 1));
        // An opening may raise epochs too.
        while subject != memory {
            if subject < memory { subject = acquire(self.store(), 1) } else { memory = acquire(&self.memory, 1) }
        }
        self.fence = subject;
    }

    fn compare_reads(&mut self) {
        let table = Table::ALL[self.random.below(Table::ALL.len() as u64) as usize];
        if table == Table::History {
            return self.compare_stream();
        }
        let (from, to, limit) = (self.key(), self.key(), self.random.below(20) as usize);
        assert_eq!(get(&self.memory, table, &from), get(self.store(), table, &from));
        let memory = block_on(self.memory.scan(table, &from, &to, limit)).unwrap();
        assert_eq!(memory, block_on(self.store().scan(table, &from, &to, limit)).unwrap());
    }

    /// Merging may show rows before the one asked for, and longer ones; the bytes behind are the same.
    fn compare_stream(&mut self) {
        let stream = self.random.below(STREAMS);
        let from = self.random.below(self.ordinals.get(&stream).copied().unwrap_or(0) + 3);
        let prefix = Self::prefix(stream);
        let memory = block_on(self.memory.stream(&prefix, from, usize::MAX)).unwrap();
        let subject = block_on(self.store().stream(&prefix, from, usize::MAX)).unwrap();
        let join = |rows: &[(u64, bytes::Bytes)]| rows.iter().flat_map(|(_, value)| value.to_vec()).collect::<Vec<u8>>();
        assert!(join(&subject).ends_with(&join(&memory)));
        assert_eq!(memory.is_empty(), subject.is_empty());
        if let (Some((floor, _)), Some((first, _))) = (memory.first(), subject.first()) {
            assert!(first <= floor && (*first <= from || first == floor));
        }
    }
}

fn run(seed: u64, subject: Subject) {
    println!("SEMPRE_STORE_SEED={seed}");
    let mut world = World::new(seed, subject);
    for step in 0..STEPS {
        world.step();
        world.compare_reads();
        if step % 20 == 19 {
            let (memory, subject) = (contents(&world.memory), contents(world.store()));
            for ((table, expected), (_, found)) in memory.iter().zip(&subject) {
                let differs = expected.iter().zip(found).find(|(expected, found)| expected != found);
                assert!(expected == found, "seed {seed}, step {step}, {table:?}, {} and {} rows: {differs:?}", expected.len(), found.len());
            }
        }
    }
    let failures = world.store().stats().checkpoint_failures;
    assert_eq!(failures, 0);
}

fn seeds(count: u64) -> Vec<u64> {
    match std::env::var("SEMPRE_STORE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=count).collect(),
    }
}

#[test]
fn memory_and_embedded_agree() {
    seeds(10).into_iter().for_each(|seed| run(seed, Subject::embedded()));
}

#[test]
fn memory_and_postgres_agree() {
    for seed in seeds(4) {
        let Some(subject) = Subject::postgres() else { return };
        run(seed, subject);
    }
}
