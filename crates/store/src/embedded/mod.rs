//! A store in one folder: own write-ahead log, the latest rows in memory, SQLite behind.
//!
//! ```text
//! commit ─► queue ─► committer: one record, one sync ─► active overlay ─► answer
//!                                                          │ put aside when full or idle
//!                                                   swapped overlay ─► checkpoint ─► cold store (SQLite)
//! reads: active overlay, swapped overlay, cold store; the first that knows the key wins
//! ```
//!
//! `docs/storage-format.md` describes every byte. Two threads per store; the caller's thread does reads.

mod checkpoint;
mod cold;
mod committer;
pub mod files;
mod filter;
mod folder;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod limits;
mod log;
mod overlay;
mod read;
mod record;
mod recovery;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    FutureExt,
    channel::oneshot,
    future::{self, BoxFuture},
};

use crate::{
    BATCH_BYTES_MAX, CommitBatch, CommitError, Fence, Pending, Rows, Snapshot, Store, StoreError, StoreStats, Table,
    batch::{self, Ops},
    fence::Fences,
};

use checkpoint::{Checkpoints, Waiter};
use cold::{ColdReader, ColdSnapshot, ColdWriter};
use committer::{Committer, Entry, Item, Phase, Queue, Reply};
use files::{DiskFiles, LogFiles};
use filter::ColdKeys;
use folder::Folder;
use limits::{BLOCK_BYTES, FORMAT, QUEUE_BYTES_MAX, SEGMENT_BYTES_MIN};
use log::Log;
use overlay::Overlay;
use read::View;

/// What may be set; the defaults are for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedOptions {
    /// The size of a segment of the log; also bounds the size of a batch.
    pub segment_bytes: u64,
    /// Memory for rows that are not in the cold store yet; at most some three times of it are used while a checkpoint is running.
    pub overlay_bytes: usize,
    /// Length of the log at which a checkpoint begins; bounds the time of the next opening.
    pub log_bytes: u64,
    /// How long after the last commit a checkpoint begins.
    pub idle_checkpoint: Duration,
    /// Rows that a checkpoint writes in one transaction; fewer disturb others less and take longer.
    pub slice_rows: usize,
    /// SQLite's cache for checkpoints.
    pub cold_cache_bytes: usize,
    /// By how much SQLite's own log may grow before a snapshot that is being read is given up: as long as it stands, that log
    /// cannot be used anew.
    pub snapshot_log_bytes: u64,
    /// A folder of an older format is brought up to the newest, which older programs refuse; else it is refused.
    pub brings_up: bool,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        EmbeddedOptions {
            segment_bytes: 64 << 20,
            overlay_bytes: 32 << 20,
            log_bytes: 64 << 20,
            idle_checkpoint: Duration::from_secs(30),
            slice_rows: 4000,
            cold_cache_bytes: 16 << 20,
            snapshot_log_bytes: 4 << 30,
            brings_up: true,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    committer: Option<JoinHandle<()>>,
}

/// The two overlays; a read takes both at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlays {
    pub(crate) active: Arc<Overlay>,
    pub(crate) swapped: Option<Arc<Overlay>>,
}

/// What callers and the two threads share. Locks are taken in the order queue, checkpoints, overlays.
pub(crate) struct Shared {
    options: EmbeddedOptions,
    batch_bytes_max: usize,
    queue: Mutex<Queue>,
    queue_changed: Condvar,
    overlays: RwLock<Overlays>,
    cold_keys: ColdKeys,
    reader: ColdReader,
    checkpoints: Checkpoints,
    /// Why the store takes no more commits.
    failed: OnceLock<String>,
    is_closed: AtomicBool,
    counters: Counters,
    /// Held for its lock until the store is closed.
    folder: Mutex<Option<Folder>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("folder", &self.folder).field("failed", &self.failed).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Counters {
    commits: AtomicU64,
    syncs: AtomicU64,
    log_bytes: AtomicU64,
    log_bytes_live: AtomicU64,
    checkpoints: AtomicU64,
    checkpoint_failures: AtomicU64,
    delay_us: AtomicU64,
    cold_rows: AtomicU64,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn overlays(&self) -> Overlays {
        self.overlays.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn view(&self) -> Result<View<'_>, StoreError> {
        if self.is_closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed);
        }
        let Overlays { active, swapped } = self.overlays();
        Ok(View { active, swapped, cold: &self.reader })
    }

    fn fail(&self, reason: &str) {
        // The first reason stays.
        let _ = self.failed.set(reason.to_owned());
    }

    fn check_failed(&self) -> Result<(), CommitError> {
        self.failed.get().map_or(Ok(()), |reason| Err(CommitError::Failed { reason: reason.clone() }))
    }

    fn enqueue(&self, batch: CommitBatch, sender: oneshot::Sender<Result<(), CommitError>>) -> Result<(), CommitError> {
        self.check_failed()?;
        let mut queue = self.queue();
        if queue.phase != Phase::Open {
            return Err(CommitError::Rejected { reason: StoreError::Closed.to_string() });
        }
        queue.fences.admit(&batch, self.batch_bytes_max)?;
        let fence = batch.fence();
        if queue.bytes + batch.bytes() > QUEUE_BYTES_MAX {
            queue.fences.fail(fence);
            return Err(CommitError::Rejected { reason: format!("more than {QUEUE_BYTES_MAX} bytes wait to be committed") });
        }
        queue.push(Entry { fence, encoded: batch.into_encoded(), reply: Reply::Commit(sender) });
        drop(queue);
        self.queue_changed.notify_all();
        Ok(())
    }

    /// Answers everything after a bug in the committer.
    fn abandon(&self) {
        self.fail("the committer thread ended by a bug");
        let mut queue = self.queue();
        queue.phase = Phase::Closed;
        queue.bytes = 0;
        let items = std::mem::take(&mut queue.items);
        queue.closers.clear();
        drop(queue);
        for item in items {
            if let Item::Batch(entry) = item {
                entry.answer(self.check_failed());
            }
        }
        self.checkpoints.stop();
    }
}

impl Queue {
    fn push(&mut self, entry: Entry) {
        self.bytes += entry.encoded.len();
        self.items.push_back(Item::Batch(entry));
    }
}

impl EmbeddedStore {
    /// Opens a data folder, or makes one of an empty or missing folder.
    pub fn open(path: &Path, options: EmbeddedOptions) -> Result<EmbeddedStore, StoreError> {
        let folder = Folder::open(path)?;
        let files = Arc::new(DiskFiles::new(folder.log()));
        Self::open_folder(folder, options, files)
    }

    /// Like [`EmbeddedStore::open`] with the log somewhere else: for tests of a disk with faults.
    pub fn open_with_log(path: &Path, options: EmbeddedOptions, files: Arc<dyn LogFiles>) -> Result<EmbeddedStore, StoreError> {
        Self::open_folder(Folder::open(path)?, options, files)
    }

    fn open_folder(folder: Folder, mut options: EmbeddedOptions, files: Arc<dyn LogFiles>) -> Result<EmbeddedStore, StoreError> {
        options.segment_bytes = options.segment_bytes.next_multiple_of(BLOCK_BYTES);
        if options.segment_bytes < SEGMENT_BYTES_MIN || options.overlay_bytes == 0 || options.log_bytes == 0 || options.slice_rows == 0 {
            let what = format!("segment_bytes is at least {SEGMENT_BYTES_MIN}, overlay_bytes, log_bytes and slice_rows are more than 0");
            return Err(StoreError::Options { what });
        }
        let (cold, info) = ColdWriter::open(&folder.cold(), options.cold_cache_bytes)?;
        if info.store_id != folder.store_id {
            let what = "its id differs from the one in FORMAT: the files are of two different folders".into();
            return Err(StoreError::Damaged { path: folder.cold(), what });
        }
        let found = folder.format.min(info.format);
        if found < FORMAT && !options.brings_up {
            return Err(StoreError::OlderFormat { path: folder.path.clone(), found, newest: FORMAT });
        }
        let mut fences = Fences::default();
        info.epochs.iter().for_each(|&fence| fences.restore(fence));
        let overlay = Overlay::default();
        let recovered = recovery::recover(files.clone(), info.store_id, info.checkpoint, |payload, batches| {
            replay(payload, batches, &overlay, &mut fences)
        })?;
        // Not before it is known to be whole. First the file that older programs look at: one that stops in between leaves a folder that the
        // next opening brings up.
        folder.bring_up()?;
        cold.bring_up(&info)?;
        let log = Log::new(files, info.store_id, options.segment_bytes, recovered.chain);
        let batch_bytes_max = usize::try_from(options.segment_bytes - BLOCK_BYTES).unwrap_or(usize::MAX).min(BATCH_BYTES_MAX);
        let reader = ColdReader::new(folder.cold(), options.snapshot_log_bytes);
        let shared = Arc::new(Shared {
            options,
            batch_bytes_max,
            queue: Mutex::new(Queue { fences, ..Queue::default() }),
            queue_changed: Condvar::new(),
            overlays: RwLock::new(Overlays { active: Arc::new(overlay), swapped: None }),
            cold_keys: ColdKeys::new(),
            reader,
            checkpoints: Checkpoints::default(),
            failed: OnceLock::new(),
            is_closed: AtomicBool::new(false),
            counters: Counters { log_bytes_live: recovered.bytes.into(), ..Counters::default() },
            folder: Mutex::new(None),
        });
        let path = folder.path.clone();
        *shared.folder.lock().unwrap_or_else(PoisonError::into_inner) = Some(folder);
        let committer = start(&shared, cold, log, info.checkpoint, recovered.bytes).map_err(|source| StoreError::Io {
            action: "start the threads for",
            path,
            source,
        })?;
        Ok(EmbeddedStore { shared, committer: Some(committer) })
    }

    /// Writes everything committed so far to the cold store; resolves when it is there, or fails at the first failure (the
    /// checkpoint is then tried again by itself).
    pub fn checkpoint(&self) -> Pending<Result<(), StoreError>> {
        let (sender, receiver) = oneshot::channel();
        self.after_checkpoint(Waiter::Done(sender));
        receiver.map(|result| result.unwrap_or(Err(StoreError::Closed))).boxed()
    }

    /// Reads all of the cold store's file and gives what SQLite finds wrong in it, at most `max` findings. Takes as long as the
    /// file is large.
    pub fn cold_findings(&self, max: usize) -> Result<Vec<String>, StoreError> {
        self.shared.reader.findings(max)
    }

    fn after_checkpoint(&self, waiter: Waiter) {
        let mut queue = self.shared.queue();
        if queue.phase != Phase::Open {
            return waiter.failed(StoreError::Closed);
        }
        queue.items.push_back(Item::Checkpoint(waiter));
        drop(queue);
        self.shared.queue_changed.notify_all();
    }

    fn read<'a, T: Send + 'a>(&'a self, read: impl FnOnce(&View<'_>) -> Result<T, StoreError>) -> BoxFuture<'a, Result<T, StoreError>> {
        future::ready(self.shared.view().and_then(|view| read(&view))).boxed()
    }
}

/// Applies one record found at the opening.
pub(crate) fn replay(payload: &[u8], batches: u32, overlay: &Overlay, fences: &mut Fences) -> Result<(), &'static str> {
    const MALFORMED: &str = "its batches are not what this program writes";
    let mut rest = payload;
    for _ in 0..batches {
        let (fence, ops, behind) = batch::split_encoded(rest).map_err(|_| MALFORMED)?;
        fences.restore(fence);
        for op in Ops::new(ops) {
            overlay.apply(op.map_err(|_| MALFORMED)?, |_, _| false);
        }
        rest = behind;
    }
    if rest.is_empty() { Ok(()) } else { Err(MALFORMED) }
}

/// Starts the two threads; the committer ends the other.
fn start(
    shared: &Arc<Shared>,
    cold: ColdWriter,
    log: Log,
    checkpoint: record::Position,
    log_bytes: u64,
) -> std::io::Result<JoinHandle<()>> {
    let for_checkpoints = shared.clone();
    let checkpoints = thread::Builder::new().name("store-checkpoint".into()).spawn(move || {
        let shared = for_checkpoints;
        if catch_unwind(AssertUnwindSafe(|| checkpoint::run(&shared, cold))).is_err() {
            shared.fail(committer::CHECKPOINT_PANIC);
            shared.checkpoints.changed.notify_all();
        }
    })?;
    let for_committer = shared.clone();
    let committer = thread::Builder::new().name("store-committer".into()).spawn(move || {
        let shared = for_committer;
        let run = || Committer::new(&shared, log, checkpoint, log_bytes).run(checkpoints);
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            shared.abandon();
        }
    });
    if committer.is_err() {
        shared.checkpoints.stop();
    }
    committer
}

impl Store for EmbeddedStore {
    fn acquire(&self, shard: u32) -> Pending<Result<u64, StoreError>> {
        if let Err(error) = self.shared.check_failed() {
            return future::ready(Err(error.into())).boxed();
        }
        let mut queue = self.shared.queue();
        if queue.phase != Phase::Open {
            return future::ready(Err(StoreError::Closed)).boxed();
        }
        let (sender, receiver) = oneshot::channel();
        let fence = Fence { shard, epoch: queue.fences.acquire(shard) };
        queue.push(Entry { fence, encoded: CommitBatch::new(fence).into_encoded(), reply: Reply::Acquire(sender) });
        drop(queue);
        self.shared.queue_changed.notify_all();
        receiver.map(|result| result.unwrap_or(Err(StoreError::Closed))).boxed()
    }

    fn commit(&self, batch: CommitBatch) -> Pending<Result<(), CommitError>> {
        let (sender, receiver) = oneshot::channel();
        match self.shared.enqueue(batch, sender) {
            Ok(()) => {
                let dropped = || CommitError::Unknown { reason: "the store was dropped before it answered".into() };
                receiver.map(move |result| result.unwrap_or_else(|_| Err(dropped()))).boxed()
            }
            Err(error) => future::ready(Err(error)).boxed(),
        }
    }

    fn get(&self, table: Table, key: &[u8]) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        self.read(|view| view.get(table, key))
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> BoxFuture<'_, Result<Rows, StoreError>> {
        self.read(|view| view.scan(table, from, to, limit))
    }

    fn stream(&self, prefix: &[u8], from: u64, max_bytes: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StoreError>> {
        self.read(|view| view.stream(prefix, from, max_bytes))
    }

    fn snapshot(&self) -> Pending<Result<Box<dyn Snapshot>, StoreError>> {
        let (sender, receiver) = oneshot::channel();
        self.after_checkpoint(Waiter::Snapshot(sender));
        let boxed = |snapshot: ColdSnapshot| Box::new(snapshot) as Box<dyn Snapshot>;
        receiver.map(move |result| result.unwrap_or(Err(StoreError::Closed)).map(boxed)).boxed()
    }

    fn stats(&self) -> StoreStats {
        let counters = &self.shared.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Overlays { active, swapped } = self.shared.overlays();
        StoreStats {
            commits: load(&counters.commits),
            syncs: load(&counters.syncs),
            log_bytes: load(&counters.log_bytes),
            log_bytes_live: load(&counters.log_bytes_live),
            overlay_bytes: (active.bytes() + swapped.map_or(0, |overlay| overlay.bytes())) as u64,
            checkpoints: load(&counters.checkpoints),
            checkpoint_failures: load(&counters.checkpoint_failures),
            delay_us: load(&counters.delay_us),
            cold_rows: load(&counters.cold_rows),
        }
    }

    fn close(&self) -> Pending<Result<(), StoreError>> {
        self.shared.is_closed.store(true, Ordering::Release);
        let mut queue = self.shared.queue();
        if matches!(queue.phase, Phase::Closed | Phase::Aborted) {
            return future::ready(Ok(())).boxed();
        }
        queue.phase = Phase::Closing;
        let (sender, receiver) = oneshot::channel();
        queue.closers.push(sender);
        drop(queue);
        self.shared.queue_changed.notify_all();
        receiver.map(|result| result.unwrap_or(Err(StoreError::Closed))).boxed()
    }
}

impl Drop for EmbeddedStore {
    /// Without a close before, like a kill: what is enqueued is dropped, what was acknowledged is found again.
    fn drop(&mut self) {
        {
            let mut queue = self.shared.queue();
            if queue.phase == Phase::Open {
                queue.phase = Phase::Aborted;
            }
        }
        if self.shared.queue().phase == Phase::Aborted {
            self.shared.checkpoints.stop();
        }
        self.shared.queue_changed.notify_all();
        if let Some(committer) = self.committer.take()
            && committer.thread().id() != thread::current().id()
        {
            // A panic was already noted as the failure of the store.
            let _ = committer.join();
        }
    }
}
