//! The store as the parts of the engine have it: whichever of them is told that nothing will be committed any more, the
//! engine ends.
//!
//! Shards, records, namespaces, schedules, alerts … all write rows of their own, and would only try again. A store that has
//! failed stays so until the process is started anew (contract 9), and what is tried for ever is work that never ends.
//!
//! Failed reads are not looked at: who reads tries again, and knows how often.

use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use sempre_store::{CommitBatch, CommitError, Pending, Rows, Snapshot, Store, StoreError, StoreStats, Table};

use crate::shared::Shared;

/// See the module.
pub(crate) struct Watched {
    store: Arc<dyn Store>,
    told: Told,
}

/// The engine; none as long as it opens, which ends by any failure.
type Told = Arc<OnceLock<Weak<Shared>>>;

impl Watched {
    pub(crate) fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store, told: Told::default() })
    }

    /// Tells this engine from now on.
    pub(crate) fn tell(&self, shared: &Arc<Shared>) {
        // Set twice, the first would stay: a store is of one engine.
        let _ = self.told.set(Arc::downgrade(shared));
    }
}

/// Before whoever has asked hears of it, so that he finds the engine stopping.
fn failed(told: &Told, reason: &str) {
    if let Some(shared) = told.get().and_then(Weak::upgrade) {
        shared.fail(format!("the store has failed: {reason}"));
    }
}

impl Store for Watched {
    fn acquire(&self, shard: u32) -> Pending<Result<u64, StoreError>> {
        let told = self.told.clone();
        let look = move |result: &Result<u64, StoreError>| {
            if let Err(StoreError::Failed { reason }) = result {
                failed(&told, reason);
            }
        };
        self.store.acquire(shard).inspect(look).boxed()
    }

    fn commit(&self, batch: CommitBatch) -> Pending<Result<(), CommitError>> {
        let told = self.told.clone();
        let look = move |result: &Result<(), CommitError>| {
            if let Err(CommitError::Failed { reason }) = result {
                failed(&told, reason);
            }
        };
        self.store.commit(batch).inspect(look).boxed()
    }

    fn get(&self, table: Table, key: &[u8]) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        self.store.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> BoxFuture<'_, Result<Rows, StoreError>> {
        self.store.scan(table, from, to, limit)
    }

    fn stream(&self, prefix: &[u8], from: u64, max_bytes: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StoreError>> {
        self.store.stream(prefix, from, max_bytes)
    }

    fn snapshot(&self) -> Pending<Result<Box<dyn Snapshot>, StoreError>> {
        self.store.snapshot()
    }

    fn key_bytes_max(&self) -> usize {
        self.store.key_bytes_max()
    }

    fn until_failed(&self) -> Option<BoxFuture<'static, String>> {
        self.store.until_failed()
    }

    fn stats(&self) -> StoreStats {
        self.store.stats()
    }

    fn close(&self) -> Pending<Result<(), StoreError>> {
        self.store.close()
    }
}
