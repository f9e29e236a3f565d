//! All rows of one store into another, and the proof that both have the same.

use std::collections::VecDeque;

use bytes::Bytes;
use crc32fast::Hasher;
use futures::{StreamExt, stream::FuturesOrdered};

use crate::{
    CommitBatch, Fence, Snapshot, SnapshotRows, Store, StoreError, Table,
    backup::{RESTORE_BATCH_BYTES, RESTORE_COMMITS, RESTORE_OWNER, Totals},
    split_stream_key,
};

/// Bytes that are read at once.
const PAGE_BYTES: usize = 1 << 20;

/// Writes all rows of a snapshot to a store that is empty, and tells of each step how much it was. The caller throws the copy
/// away when this fails.
pub async fn copy(mut from: Box<dyn Snapshot>, to: &dyn Store, mut tell: impl FnMut(Totals)) -> Result<Totals, StoreError> {
    let fence = Fence { shard: RESTORE_OWNER, epoch: to.acquire(RESTORE_OWNER).await? };
    let (mut commits, mut batch, mut totals) = (FuturesOrdered::new(), CommitBatch::new(fence), Totals::default());
    loop {
        let rows = from.next(PAGE_BYTES)?;
        if rows.is_empty() {
            break;
        }
        for (table, key, value) in rows {
            totals.rows += 1;
            totals.bytes += (key.len() + value.len()) as u64;
            batch.put(table, &key, &value);
            if batch.bytes() >= RESTORE_BATCH_BYTES {
                commits.push_back(to.commit(std::mem::replace(&mut batch, CommitBatch::new(fence))));
            }
            if commits.len() > RESTORE_COMMITS
                && let Some(result) = commits.next().await
            {
                result?;
            }
        }
        tell(totals);
    }
    commits.push_back(to.commit(batch));
    while let Some(result) = commits.next().await {
        result?;
    }
    Ok(totals)
}

/// Whether a store has no row.
pub async fn is_empty(store: &dyn Store) -> Result<bool, StoreError> {
    for table in Table::ALL {
        if !store.scan(table, &[], &[u8::MAX; 64], 1).await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The first thing that one snapshot has and the other has not, in plain words; `None` when they have the same rows. Rows of
/// a history may be merged in one and not in the other.
pub fn difference(one: Box<dyn Snapshot>, other: Box<dyn Snapshot>) -> Result<Option<String>, StoreError> {
    let (mut one, mut other) = (Entries::new(one), Entries::new(other));
    loop {
        let (left, right) = (one.next()?, other.next()?);
        if left != right {
            let first = match (&left, &right) {
                (Some(left), Some(right)) if (right.table, &right.key) < (left.table, &left.key) => right,
                (Some(entry), _) | (None, Some(entry)) => entry,
                (None, None) => return Ok(None),
            };
            return Ok(Some(format!("they differ at key {:?} of {:?}", first.key, first.table)));
        }
        if left.is_none() {
            return Ok(None);
        }
    }
}

/// A row, or all of a history.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    table: Table,
    key: Bytes,
    bytes: u64,
    checksum: u32,
}

/// The rows of a snapshot, neighbours of one history as one.
struct Entries {
    from: Box<dyn Snapshot>,
    page: VecDeque<(Table, Bytes, Bytes)>,
}

impl Entries {
    fn new(from: Box<dyn Snapshot>) -> Self {
        Self { from, page: VecDeque::new() }
    }

    fn peek(&mut self) -> Result<Option<&(Table, Bytes, Bytes)>, StoreError> {
        if self.page.is_empty() {
            let page: SnapshotRows = self.from.next(PAGE_BYTES)?;
            self.page = page.into();
        }
        Ok(self.page.front())
    }

    fn next(&mut self) -> Result<Option<Entry>, StoreError> {
        self.peek()?;
        let Some((table, key, value)) = self.page.pop_front() else { return Ok(None) };
        let mut hasher = Hasher::new();
        hasher.update(&value);
        let mut bytes = value.len() as u64;
        let prefix = match split_stream_key(&key) {
            Some((prefix, _)) if table == Table::History => key.slice(..prefix.len()),
            _ => return Ok(Some(Entry { table, key, bytes, checksum: hasher.finalize() })),
        };
        while let Some((next, key, value)) = self.peek()?
            && *next == table
            && split_stream_key(key).is_some_and(|(other, _)| other == prefix)
        {
            hasher.update(value);
            bytes += value.len() as u64;
            self.page.pop_front();
        }
        Ok(Some(Entry { table, key: prefix, bytes, checksum: hasher.finalize() }))
    }
}
