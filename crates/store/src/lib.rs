//! Ordered bytes, committed atomically and durably under a fencing token.
//!
//! The store does not know what a workflow is. It keeps rows (key and value, both bytes) in the tables of [`Table`], each table
//! ordered by key, and changes them only by [`CommitBatch`]es. Every store keeps this contract; `tests/contract.rs` has one test
//! per number and runs over every store.
//!
//! # Contract
//!
//! 1. **Atomic.** A batch is committed as a whole or not at all, also across a crash.
//! 2. **Latest wins.** Operations of a batch act in the order in which they were added. A put replaces, a delete of a row that
//!    is not there does nothing.
//! 3. **Enqueued by the call.** [`Store::commit`] enqueues before it returns, so the order of the calls is the order of the
//!    commits of one shard. Dropping the future cancels nothing.
//! 4. **Acknowledged means durable.** The future of a commit resolves to `Ok` only after the batch would survive a crash.
//! 5. **An empty batch is a barrier.** It changes nothing and resolves after all batches enqueued before it by its shard.
//! 6. **Ownership.** [`Store::acquire`] gives an epoch greater than any given before for this shard, also across restarts, and
//!    resolves when that is durable.
//! 7. **Fencing.** From the call of `acquire` on, a batch enqueued with any other epoch than the newest one of its shard is
//!    refused with [`CommitError::Fenced`] and changes nothing. Batches enqueued before the call are still committed. A shard
//!    that was never acquired refuses everything.
//! 8. **No gap.** After a batch of a shard was answered with an error, all later batches of the same epoch fail too, whatever
//!    the reason was; the owner acquires the shard again.
//! 9. **Honest failures.** `Fenced`, `Rejected` and `TooLarge` mean surely not committed, now and after a restart. `Unknown`
//!    means that a restart decides. `Failed` means that nothing will be committed any more until the process is started again;
//!    that batch was surely not committed.
//! 10. **Reads see what was acknowledged** before the read was called, and may see more. One read of several rows is not a
//!     snapshot across shards; of one shard that is quiet it is.
//! 11. **Get** gives the value of the latest put, or `None` after a delete.
//! 12. **Scan** gives rows with `from <= key < to` in key order, at most `limit`; an empty or reversed range gives none.
//! 13. **Streams.** Rows of [`Table::History`] are streams: key = stream prefix ++ [`stream_key`]'s 8 bytes of ordinal. Rows of
//!     a stream are put in growing order of ordinals and each is put once, unless the whole stream was deleted in between. The
//!     store may merge neighbouring rows of a stream into one row under the key of the first, the value being the
//!     concatenation. Keys that are not exactly prefix ++ 8 bytes are not of the stream. [`Store::stream`] gives rows from
//!     the one that contains `from` on (greatest ordinal <= `from`; the first one if there is none), in order, until
//!     `max_bytes` is passed, at least one row if there is one.
//! 14. **Deleting a stream** is deleting all keys that a scan gave, with no put to it in between: it removes the stream wholly, however
//!     rows were merged before, between or after. A delete of a row that was merged into an earlier one does nothing; a merged
//!     row vanishes with the first key. Rows put after the scan must be deleted by their own keys too.
//! 15. **Bounds.** A key has at most [`Store::key_bytes_max`] bytes (else `Rejected`), which is between [`KEY_BYTES_SAFE`] and
//!     [`KEY_BYTES_MAX`]; a batch at most [`BATCH_BYTES_MAX`] (else `TooLarge`; a store may allow less, and says so in the
//!     error). What is enqueued is bounded by the store; beyond that the answer is `Rejected`.
//! 16. **Close** commits what is enqueued, then refuses: commits with `Rejected`, all else with [`StoreError::Closed`]. Closing
//!     twice is fine.
//! 17. **A snapshot** is the content at one moment that is not before the call, between two batches: all of each batch that was
//!     acknowledged before the call, all or nothing of any other. What changes later does not show in it. History rows may be
//!     merged (13). It holds resources until it is dropped, and outlives neither the store nor its close for sure.
//!
//! Keys begin with a 2-byte slot except in `Meta` and `Namespace`; no store depends on that.

#![forbid(unsafe_code)]

pub mod backup;
mod batch;
pub mod copy;
pub mod embedded;
mod error;
mod fence;
pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
mod snapshot;

pub use batch::{BATCH_BYTES_MAX, CommitBatch, Fence, KEY_BYTES_MAX, KEY_BYTES_SAFE, OpRef};
pub use error::{CommitError, StoreError};
pub use snapshot::{Snapshot, SnapshotRows};

use bytes::Bytes;
use futures::future::BoxFuture;

/// The result of something that goes on whether or not it is waited for.
pub type Pending<T> = BoxFuture<'static, T>;

/// Rows in key order: key and value.
pub type Rows = Vec<(Bytes, Bytes)>;

/// What a row is about; each table has its own order of keys.
///
/// The numbers are on disk and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Facts about the whole: cluster name, format of the rows, settings that must not change.
    Meta = 0,
    /// The current run of each workflow id.
    Current = 1,
    /// Mutable state by run.
    State = 2,
    /// Event batches by run; rows are streams (contract 13).
    History = 3,
    /// Tasks offered to task queues.
    Offer = 4,
    /// What a shard still owes others.
    Outbox = 5,
    /// At this time, look at this.
    Deadline = 6,
    /// Namespaces.
    Namespace = 7,
    /// What the index of runs has not taken over yet.
    Visibility = 8,
    /// Schedules, and when they are due.
    Schedule = 9,
    /// Open runs that flow rules are about.
    Flow = 10,
    /// What happened to runs, in order, and whom alerts of it reach.
    Notice = 11,
}

impl Table {
    /// Every table, in the order of the numbers.
    pub const ALL: [Table; 12] = [
        Table::Meta,
        Table::Current,
        Table::State,
        Table::History,
        Table::Offer,
        Table::Outbox,
        Table::Deadline,
        Table::Namespace,
        Table::Visibility,
        Table::Schedule,
        Table::Flow,
        Table::Notice,
    ];

    /// The table of an on-disk number.
    #[must_use]
    pub fn from_id(id: u8) -> Option<Table> {
        Table::ALL.get(usize::from(id)).copied()
    }

    /// The on-disk number.
    #[must_use]
    pub fn id(self) -> u8 {
        self as u8
    }
}

/// The key of a history row: stream prefix and ordinal, so that rows of a stream are in the order of ordinals.
#[must_use]
pub fn stream_key(prefix: &[u8], ordinal: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(prefix.len() + 8);
    key.extend_from_slice(prefix);
    key.extend_from_slice(&ordinal.to_be_bytes());
    key
}

/// The prefix and the ordinal of a history key; `None` if it is too short to be one.
#[must_use]
pub fn split_stream_key(key: &[u8]) -> Option<(&[u8], u64)> {
    let (prefix, ordinal) = key.split_last_chunk::<8>()?;
    Some((prefix, u64::from_be_bytes(*ordinal)))
}

/// What a store has done since it was opened, and how full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Batches committed.
    pub commits: u64,
    /// Times the disk was asked to make something durable for commits; several commits share one.
    pub syncs: u64,
    /// Bytes written to the log, padding included.
    pub log_bytes: u64,
    /// Bytes of the log that a restart would read again.
    pub log_bytes_live: u64,
    /// Bytes held in memory because the cold store does not have them yet.
    pub overlay_bytes: u64,
    /// Checkpoints finished.
    pub checkpoints: u64,
    /// Attempts at a checkpoint that failed and were or will be repeated.
    pub checkpoint_failures: u64,
    /// Microseconds for which commits were held back because the checkpoint could not keep up.
    pub delay_us: u64,
    /// Rows written to or deleted from the cold store.
    pub cold_rows: u64,
}

/// A store that keeps the contract at the top of this crate; used as `Arc<dyn Store>`.
///
/// Reads of memory and of a disk of this machine are done in the call, and their futures are ready; those of a database elsewhere
/// are not.
pub trait Store: Send + Sync + 'static {
    /// Takes ownership of a shard and gives the new epoch (contract 6, 7).
    fn acquire(&self, shard: u32) -> Pending<Result<u64, StoreError>>;

    /// Enqueues a batch at once; the future resolves when it is durable (contract 1 to 9).
    fn commit(&self, batch: CommitBatch) -> Pending<Result<(), CommitError>>;

    /// The value of one row (contract 10, 11).
    fn get(&self, table: Table, key: &[u8]) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>>;

    /// Rows with `from <= key < to` in key order, at most `limit` (contract 10, 12).
    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> BoxFuture<'_, Result<Rows, StoreError>>;

    /// Rows of a history stream from the one that contains `from` on, with their ordinals (contract 13).
    fn stream(&self, prefix: &[u8], from: u64, max_bytes: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StoreError>>;

    /// The content at one moment (contract 17).
    fn snapshot(&self) -> Pending<Result<Box<dyn Snapshot>, StoreError>>;

    /// The longest key it takes (contract 15).
    fn key_bytes_max(&self) -> usize {
        KEY_BYTES_MAX
    }

    /// Resolves with the reason when the store can commit nothing any more although nobody has committed. `None` for one that
    /// finds that out by commits alone.
    fn until_failed(&self) -> Option<BoxFuture<'static, String>> {
        None
    }

    /// Numbers for metrics and tests.
    fn stats(&self) -> StoreStats;

    /// Finishes what is enqueued, makes the next opening fast, releases what is held (contract 16).
    fn close(&self) -> Pending<Result<(), StoreError>>;
}
