//! Batches that show whether each was committed once, wholly, and in its turn.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use sempre_store::{CommitBatch, CommitError, Fence, Pending, Store, Table, stream_key};

use crate::support::{acquire, get};

/// The batches of one shard.
#[derive(Clone)]
pub struct Ledger {
    pub fence: Fence,
    next: u64,
}

impl Ledger {
    /// Takes the shard, and goes on after what is there.
    pub fn open(store: &dyn Store, shard: u32) -> Self {
        let fence = acquire(store, shard);
        let last = get(store, Table::State, &Self::key(shard, 0)).map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()));
        Ledger { fence, next: last + 1 }
    }

    fn key(shard: u32, number: u64) -> Vec<u8> {
        [&shard.to_be_bytes()[..], &number.to_be_bytes()].concat()
    }

    fn batch(&self, number: u64) -> CommitBatch {
        let shard = self.fence.shard;
        let mut batch = CommitBatch::new(self.fence);
        batch.put(Table::State, &Self::key(shard, 0), &number.to_be_bytes());
        batch.put(Table::History, &stream_key(&shard.to_be_bytes(), number), &number.to_be_bytes());
        batch.delete(Table::Offer, &Self::key(shard, number - 1));
        batch.put(Table::Offer, &Self::key(shard, number), b"");
        batch
    }

    /// Commits the next batch.
    pub fn commit(&mut self, store: &dyn Store) -> Result<(), CommitError> {
        block_on(store.commit(self.batch(self.next)))?;
        self.next += 1;
        Ok(())
    }

    /// Has the next batch committed, which must be.
    pub fn begin(&mut self, store: &dyn Store) -> Pending<Result<(), CommitError>> {
        self.next += 1;
        store.commit(self.batch(self.next - 1))
    }

    /// Commits until a time, several batches under way at once; all must be acknowledged. Gives the number.
    pub fn commit_until(&mut self, store: &dyn Store, end: Instant) -> u64 {
        let first = self.next;
        while Instant::now() < end {
            let pending: Vec<_> = (0..4).map(|ahead| store.commit(self.batch(self.next + ahead))).collect();
            for (ahead, pending) in pending.into_iter().enumerate() {
                block_on(pending).unwrap_or_else(|error| panic!("batch {ahead} after {}: {error}", self.next));
            }
            self.next += 4;
        }
        self.next - first
    }

    /// What was acknowledged is there, once, and nothing else.
    pub fn check(&self, store: &dyn Store) {
        let (shard, last) = (self.fence.shard, self.next - 1);
        assert_eq!(get(store, Table::State, &Self::key(shard, 0)), (last > 0).then(|| last.to_be_bytes().to_vec()));
        let history = block_on(store.stream(&shard.to_be_bytes(), 0, usize::MAX)).unwrap();
        let numbers: Vec<u64> = history.iter().map(|(ordinal, _)| *ordinal).collect();
        assert_eq!(numbers, (1..=last).collect::<Vec<_>>());
        let offers = block_on(store.scan(Table::Offer, &Self::key(shard, 0), &Self::key(shard, u64::MAX), usize::MAX)).unwrap();
        assert_eq!(offers.len() as u64, last.min(1));
    }
}

/// Several shards commit at once for a while; then each is checked.
pub fn load(store: &dyn Store, shards: u32, time: Duration, meanwhile: impl FnOnce()) -> u64 {
    let end = Instant::now() + time;
    let count = std::thread::scope(|scope| {
        let shards: Vec<_> = (1..=shards)
            .map(|shard| {
                scope.spawn(move || {
                    let mut ledger = Ledger::open(store, shard);
                    let count = ledger.commit_until(store, end);
                    ledger.check(store);
                    count
                })
            })
            .collect();
        meanwhile();
        shards.into_iter().map(|shard| shard.join().unwrap()).sum()
    });
    assert!(count > 0);
    count
}
