//! Lists and counts of runs that see every acknowledged change (spec 06).
//!
//! [`Visibility`] is an [`Index`] and, on top of it, the records that the index has not taken yet. The shards give it
//! the picture of a run ([`Visibility::put`]) between the commit that changed the run and the answer to the caller; a
//! writer task brings the pictures to the index in batches, so that a short run, open and closed within one batch, is
//! one row written once. Reads take what waits first and the index second: a record is always in one of them, and where
//! it is in both, what waits is the newer.
//!
//! What waits is memory only. Whoever calls `put` keeps it durable elsewhere until [`Taken`] names it.

pub mod index;
pub mod memory;
mod pending;
#[cfg(feature = "postgres")]
pub mod postgres;
mod read;
mod sql;
pub mod sqlite;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::{FutureExt, future::BoxFuture};
use sempre_core::{NamespaceId, RunId, RunKey, Timestamp, visibility::Record};
use tokio::sync::{Notify, watch};

use crate::{Clock, Spawner};

use self::pending::PendingRecords;
pub use self::{
    index::{Change, Groups, Index, IndexError, IndexStats, Position},
    pending::{Taken, Update},
};

/// Told what the index has taken durably, a batch at a time.
pub type OnTaken = Box<dyn Fn(Vec<Taken>) + Send + Sync>;

/// Reads what waits of a namespace at all nodes, of which this one knows only its own, out of where it is kept durable. What it answers is not
/// older than the call.
pub type OfAll = Box<dyn Fn(NamespaceId) -> BoxFuture<'static, Result<Vec<Update>, IndexError>> + Send + Sync>;

/// See the module. Dropping it ends its writer task.
pub struct Visibility {
    inner: Arc<Inner>,
}

struct Inner {
    index: Arc<dyn Index>,
    /// `None`: nobody else brings anything to the index.
    of_all: Option<OfAll>,
    clock: Arc<dyn Clock>,
    pending: Mutex<PendingRecords>,
    /// The index takes nothing, since when and why.
    failure: Mutex<Option<IndexFailure>>,
    /// Something for the writer to look at.
    changed: Notify,
    /// What the writer is asked for, and how far it is.
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Default, PartialEq, Debug)]
struct State {
    /// What waits is at its bound.
    full: bool,
    /// Nothing waits.
    empty: bool,
    /// The index did not take the last batch.
    failing: bool,
    /// It did not because only a rebuild helps.
    damaged: bool,
    /// Who waits until nothing waits: batches are not held back for more.
    flushing: usize,
    /// The writer is to end.
    stopping: bool,
    /// The writer has ended.
    ended: bool,
}

/// An index that takes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFailure {
    /// Of the first batch in a row that it did not take.
    pub since: Timestamp,
    /// Batches that it did not take since.
    pub times: u64,
    /// Of the last one.
    pub error: IndexError,
}

impl State {
    /// What lists must show has no place any more, and it is not that the index is slow: work is refused.
    fn is_stuck(&self) -> bool {
        self.full && self.failing
    }
}

impl Visibility {
    /// Puts an index to work. `on_taken` is called by the writer task.
    pub fn new(index: Arc<dyn Index>, clock: Arc<dyn Clock>, spawner: &dyn Spawner, on_taken: OnTaken) -> Self {
        Self::among(index, None, clock, spawner, on_taken)
    }

    /// As [`Visibility::new`], of one of several nodes that bring their own runs to one index.
    pub(crate) fn among(
        index: Arc<dyn Index>,
        of_all: Option<OfAll>,
        clock: Arc<dyn Clock>,
        spawner: &dyn Spawner,
        on_taken: OnTaken,
    ) -> Self {
        let state = State { empty: true, ..State::default() };
        let inner = Arc::new(Inner {
            index,
            of_all,
            clock,
            pending: Mutex::default(),
            failure: Mutex::default(),
            changed: Notify::new(),
            state: watch::Sender::new(state),
        });
        spawner.spawn("sempre visibility", writer::run(inner.clone(), on_taken).boxed());
        Self { inner }
    }

    /// Takes news of runs; lists show them from now on. Never refuses: who puts asks [`Visibility::has_room`] before.
    pub fn put(&self, updates: Vec<Update>) {
        if updates.is_empty() {
            return;
        }
        let now = self.inner.clock.now();
        let mut pending = self.inner.pending();
        for update in updates {
            pending.put(update, now);
        }
        self.inner.look(&pending);
        drop(pending);
        self.inner.changed.notify_one();
    }

    /// The picture of one run.
    pub async fn get(&self, namespace: NamespaceId, run: RunId) -> Result<Option<Arc<Record>>, IndexError> {
        if let Some(update) = self.inner.pending().get(namespace, run).filter(|_| self.inner.of_all.is_none()) {
            return Ok(update.record.clone());
        }
        if let Some(update) = self.waiting_of_all(namespace).await?.remove(&run) {
            return Ok(update.record);
        }
        self.inner.index.get(namespace, run).await
    }

    /// False while commits that change what lists show should be held back.
    pub fn has_room(&self) -> bool {
        !self.inner.state.borrow().full
    }

    /// Why the index takes nothing, while it does not.
    pub fn failure(&self) -> Option<IndexFailure> {
        self.inner.failure().clone()
    }

    /// True while it takes nothing and there is no room: no change of a run can be committed.
    pub fn is_stuck(&self) -> bool {
        self.inner.state.borrow().is_stuck()
    }

    /// Resolves when that is so, or is not so any more.
    pub async fn until_stuck(&self, stuck: bool) {
        let mut state = self.inner.state.subscribe();
        // The sender lives as long as this.
        let _ = state.wait_for(|state| state.is_stuck() == stuck).await;
    }

    /// Resolves with true when the index turns out to be damaged while it is written, with false when it is closed.
    pub(crate) fn until_damaged(&self) -> BoxFuture<'static, bool> {
        let mut state = self.inner.state.subscribe();
        async move {
            let found = state.wait_for(|state| state.damaged || state.stopping).await;
            found.is_ok_and(|state| !state.stopping)
        }
        .boxed()
    }

    /// Resolves when it is told to close.
    pub(crate) fn until_closed(&self) -> BoxFuture<'static, ()> {
        self.inner.wait_for(|state| state.stopping)
    }

    /// Resolves when there is room.
    pub fn room(&self) -> BoxFuture<'static, ()> {
        self.inner.wait_for(|state| !state.full)
    }

    /// Resolves when the index has taken everything; not as long as it fails.
    pub async fn flush(&self) {
        let _hurry = Hurry::new(&self.inner);
        self.inner.wait_for(|state| state.empty).await;
    }

    /// Forgets a namespace, some runs at a time. Its lists are not to be read any more.
    pub async fn purge(&self, namespace: NamespaceId) -> Result<(), IndexError> {
        {
            let mut pending = self.inner.pending();
            pending.purge(namespace);
            self.inner.look(&pending);
        }
        while self.inner.index.purge(namespace).await? {}
        Ok(())
    }

    /// Forgets what waits of these runs. Whoever put it has it durably, and others will see that the index gets it. True: there
    /// was something.
    pub(crate) fn let_go(&self, of: impl Fn(&RunKey) -> bool) -> bool {
        let mut pending = self.inner.pending();
        let waited = pending.forget(of);
        self.inner.look(&pending);
        waited > 0
    }

    /// True while news of a namespace's runs wait to be taken by the index.
    pub fn waits(&self, namespace: NamespaceId) -> bool {
        self.inner.pending().of(namespace).next().is_some()
    }

    /// Why lists are refused until a rebuild is finished.
    pub fn needs_rebuild(&self) -> Option<String> {
        self.inner.index.needs_rebuild()
    }

    /// Resolves when the index is found to need a rebuild by others than who asks it ([`Index::until_needs_rebuild`]).
    pub(crate) fn until_needs_rebuild(&self) -> BoxFuture<'static, ()> {
        self.inner.index.until_needs_rebuild()
    }

    /// Resolves when the last batch was not refused because of damage.
    pub(crate) fn until_mended(&self) -> BoxFuture<'static, ()> {
        self.inner.wait_for(|state| !state.damaged)
    }

    /// Begins a rebuild: every run there is has to be put again and flushed, then [`Visibility::finish_rebuild`].
    pub async fn begin_rebuild(&self) -> Result<(), IndexError> {
        self.inner.index.begin_rebuild().await?;
        // What was damaged is put aside; damage that is found from now on is another one.
        self.inner.state.send_if_modified(|state| std::mem::take(&mut state.damaged));
        Ok(())
    }

    /// Ends a rebuild, when the index has all that was put for it ([`Visibility::flush`]): what it was not given since the begin is gone
    /// from it.
    pub async fn finish_rebuild(&self) -> Result<(), IndexError> {
        self.inner.index.finish_rebuild().await
    }

    /// Records that wait, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        self.inner.pending().size()
    }

    /// What the index holds.
    pub async fn index_stats(&self) -> Result<IndexStats, IndexError> {
        self.inner.index.stats().await
    }

    /// Brings what waits to the index as far as it takes it, and closes it. Nothing must be put any more.
    pub async fn close(&self) {
        self.inner.state.send_modify(|state| state.stopping = true);
        self.inner.changed.notify_one();
        self.inner.wait_for(|state| state.ended).await;
        self.inner.index.close().await;
    }
}

impl Drop for Visibility {
    fn drop(&mut self) {
        self.inner.state.send_modify(|state| state.stopping = true);
        self.inner.changed.notify_one();
    }
}

/// Keeps the writer from holding batches back.
struct Hurry<'a>(&'a Inner);

impl<'a> Hurry<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.state.send_modify(|state| state.flushing += 1);
        inner.changed.notify_one();
        Self(inner)
    }
}

impl Drop for Hurry<'_> {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.flushing -= 1);
    }
}

impl Inner {
    fn failure(&self) -> MutexGuard<'_, Option<IndexFailure>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The index has taken a batch, or why not.
    fn tried(&self, result: Result<(), &IndexError>) {
        let mut failure = self.failure();
        match result {
            Ok(()) => *failure = None,
            Err(error) => {
                let before = failure.take();
                let since = before.as_ref().map_or_else(|| self.clock.now(), |before| before.since);
                *failure = Some(IndexFailure { since, times: before.map_or(1, |before| before.times + 1), error: error.clone() });
            }
        }
        drop(failure);
        let (failing, damaged) = (result.is_err(), matches!(result, Err(IndexError::NeedsRebuild { .. })));
        self.state.send_if_modified(|state| {
            let changed = (state.failing, state.damaged) != (failing, damaged);
            (state.failing, state.damaged) = (failing, damaged);
            changed
        });
    }

    fn pending(&self) -> MutexGuard<'_, PendingRecords> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows how full it is.
    fn look(&self, pending: &PendingRecords) {
        let (full, empty) = (pending.is_full(), pending.is_empty());
        self.state.send_if_modified(|state| {
            let changed = (state.full, state.empty) != (full, empty);
            (state.full, state.empty) = (full, empty);
            changed
        });
    }

    fn wait_for(&self, condition: fn(&State) -> bool) -> BoxFuture<'static, ()> {
        let mut state = self.state.subscribe();
        async move {
            // The sender is gone with everything that could wait.
            let _ = state.wait_for(condition).await;
        }
        .boxed()
    }
}
