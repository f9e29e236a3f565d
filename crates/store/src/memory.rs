//! A store in memory: ordered maps, applied in the call, gone with the process.
//!
//! Deterministic and without threads, for tests, simulation and a development server without a folder.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound::{Excluded, Included},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{self, BoxFuture},
};

use crate::{
    BATCH_BYTES_MAX, CommitBatch, CommitError, OpRef, Pending, Rows, Snapshot, SnapshotRows, Store, StoreError, StoreStats, Table,
    fence::Fences, split_stream_key, stream_key,
};

/// See the module.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    tables: [BTreeMap<Bytes, Bytes>; Table::ALL.len()],
    fences: Fences,
    commits: u64,
    closed: bool,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes calls again after [`Store::close`], as a folder is opened by the next process: what was committed is there, and whoever
    /// was at work before is fenced by whoever acquires its shards.
    pub fn reopen(&self) {
        self.lock().closed = false;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<MutexGuard<'_, Inner>, StoreError> {
        let inner = self.lock();
        if inner.closed { Err(StoreError::Closed) } else { Ok(inner) }
    }
}

impl Inner {
    fn commit(&mut self, batch: &CommitBatch) -> Result<(), CommitError> {
        if self.closed {
            return Err(CommitError::Rejected { reason: StoreError::Closed.to_string() });
        }
        self.fences.admit(batch, BATCH_BYTES_MAX)?;
        for op in batch.ops() {
            match op {
                OpRef::Put { table, key, value } => {
                    self.tables[usize::from(table.id())].insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
                }
                OpRef::Delete { table, key } => {
                    self.tables[usize::from(table.id())].remove(key);
                }
            }
        }
        self.commits += 1;
        Ok(())
    }

    fn stream(&self, prefix: &[u8], from: u64, max_bytes: usize) -> Vec<(u64, Bytes)> {
        let table = &self.tables[usize::from(Table::History.id())];
        let (low, high) = (stream_key(prefix, 0), stream_key(prefix, u64::MAX));
        let wanted = stream_key(prefix, from);
        let of_stream = |key: &Bytes| key.len() == prefix.len() + 8;
        let floor =
            table.range::<[u8], _>((Included(&low[..]), Included(&wanted[..]))).rev().map(|(key, _)| key).find(|key| of_stream(key));
        let start = floor.map_or(&low[..], |key| &key[..]);
        let mut rows = Vec::new();
        let mut bytes = 0;
        for (key, value) in table.range::<[u8], _>((Included(start), Included(&high[..]))) {
            let Some((_, ordinal)) = split_stream_key(key).filter(|_| of_stream(key)) else { continue };
            rows.push((ordinal, value.clone()));
            bytes += value.len();
            if bytes > max_bytes {
                break;
            }
        }
        rows
    }
}

/// All rows, shared with the store.
struct MemorySnapshot {
    rows: VecDeque<(Table, Bytes, Bytes)>,
}

impl Snapshot for MemorySnapshot {
    fn next(&mut self, max_bytes: usize) -> Result<SnapshotRows, StoreError> {
        let mut page = SnapshotRows::new();
        let mut bytes = 0;
        while bytes < max_bytes.max(1)
            && let Some(row) = self.rows.pop_front()
        {
            bytes += row.1.len() + row.2.len();
            page.push(row);
        }
        Ok(page)
    }
}

impl Store for MemoryStore {
    fn acquire(&self, shard: u32) -> Pending<Result<u64, StoreError>> {
        future::ready(self.read().map(|mut inner| inner.fences.acquire(shard))).boxed()
    }

    fn commit(&self, batch: CommitBatch) -> Pending<Result<(), CommitError>> {
        future::ready(self.lock().commit(&batch)).boxed()
    }

    fn get(&self, table: Table, key: &[u8]) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        future::ready(self.read().map(|inner| inner.tables[usize::from(table.id())].get(key).cloned())).boxed()
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> BoxFuture<'_, Result<Rows, StoreError>> {
        let rows = self.read().map(|inner| {
            if from >= to {
                return Vec::new();
            }
            let range = inner.tables[usize::from(table.id())].range::<[u8], _>((Included(from), Excluded(to)));
            range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
        });
        future::ready(rows).boxed()
    }

    fn stream(&self, prefix: &[u8], from: u64, max_bytes: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StoreError>> {
        future::ready(self.read().map(|inner| inner.stream(prefix, from, max_bytes))).boxed()
    }

    fn snapshot(&self) -> Pending<Result<Box<dyn Snapshot>, StoreError>> {
        let rows = self.read().map(|inner| {
            let rows = Table::ALL.into_iter().flat_map(|table| {
                let rows = inner.tables[usize::from(table.id())].iter();
                rows.map(move |(key, value)| (table, key.clone(), value.clone()))
            });
            Box::new(MemorySnapshot { rows: rows.collect() }) as Box<dyn Snapshot>
        });
        future::ready(rows).boxed()
    }

    fn stats(&self) -> StoreStats {
        StoreStats { commits: self.lock().commits, ..StoreStats::default() }
    }

    fn close(&self) -> Pending<Result<(), StoreError>> {
        self.lock().closed = true;
        future::ready(Ok(())).boxed()
    }
}
