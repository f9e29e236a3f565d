//! Takes notices away: those that are too old, and those of a namespace that is deleted.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
};

use futures::FutureExt;
use prost::Message as _;
use sempre_core::{NamespaceId, Refusal, Span};
use sempre_store::{CommitBatch, CommitError, Fence, Store, StoreError, Table};

use super::rows::{self, GONE, NoticeRecord};
use crate::shared::{Shared, give_way};

/// The number under which rows of notices are changed; far from those of shards, which write them.
pub(crate) const OWNER: u32 = u32::MAX - 61;
/// Rows that are deleted or rewritten in one commit.
const ROWS: usize = 256;
/// After a failure.
const RETRY: Span = Span::seconds(5);

/// The right to change rows.
pub(crate) struct Writer {
    fence: Fence,
    /// A commit failed: the right may be lost. Or another node has it.
    doubt: bool,
}

impl Writer {
    pub(super) async fn acquire(store: &dyn Store) -> Result<Self, StoreError> {
        Ok(Self { fence: Fence { shard: OWNER, epoch: store.acquire(OWNER).await? }, doubt: false })
    }

    /// At the begin, when another node may have the right.
    pub(super) async fn open(store: &dyn Store) -> Result<Self, StoreError> {
        match Self::acquire(store).await {
            Err(StoreError::Elsewhere { .. }) => Ok(Self { fence: Fence { shard: OWNER, epoch: 0 }, doubt: true }),
            acquired => acquired,
        }
    }

    /// Writes down that nothing above this number was taken away.
    pub(super) async fn keep_gone(&mut self, store: &dyn Store, gone: u64) -> Result<(), StoreError> {
        let done = self.commit(store, |batch| batch.put(Table::Notice, GONE, &gone.to_be_bytes())).await;
        done.map_err(|trouble| match trouble {
            Trouble::Store(error) => error,
            Trouble::Commit(CommitError::Rejected { reason }) => StoreError::Rejected { reason },
            Trouble::Commit(other) => StoreError::Failed { reason: other.to_string() },
        })
    }

    async fn commit(&mut self, store: &dyn Store, fill: impl FnOnce(&mut CommitBatch)) -> Result<(), Trouble> {
        if self.doubt {
            *self = Self::acquire(store).await?;
        }
        let mut batch = CommitBatch::new(self.fence);
        fill(&mut batch);
        self.doubt = true;
        store.commit(batch).await?;
        self.doubt = false;
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Works until the engine stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    if AssertUnwindSafe(work(&shared)).catch_unwind().await.is_err() {
        shared.fail("the keeper of notices has stopped by a panic".into());
    }
}

async fn work(shared: &Shared) {
    let notices = &shared.notices;
    // A tenth more than is to be kept: many go at once.
    let slack = (notices.kept / 10).max(1);
    // What readers were told is gone may still be there, if it could not be deleted.
    let mut deleted = notices.gone();
    while !shared.stopping.load(Ordering::Acquire) {
        notices.trim_at(deleted.saturating_add(slack));
        // Looked at after it has said what it waits for, so that nothing is missed.
        let old = notices.old(notices.shown());
        if old < deleted.saturating_add(slack) {
            notices.trim.notified().await;
            continue;
        }
        match trim(shared, old).await {
            Ok(()) => deleted = old,
            Err(_) if shared.stopping.load(Ordering::Acquire) => return,
            Err(error) => {
                tracing::warn!(%error, "old notices could not be taken away yet");
                shared.wall.sleep_until(shared.wall_now() + RETRY).await;
            }
        }
    }
}

/// Deletes rows whose numbers are all up to `to`. The last row stays, so that numbers go on behind it.
async fn trim(shared: &Shared, to: u64) -> Result<(), Trouble> {
    let notices = &shared.notices;
    // Readers learn first; of a row with greater numbers, too, only those are given.
    notices.gone.fetch_max(to, Ordering::AcqRel);
    let mut writer = notices.writer.lock().await;
    loop {
        let store = &*shared.store;
        let found = store.scan(Table::Notice, &rows::key(0), &rows::key(to.min(notices.shown().saturating_sub(1)) + 1), ROWS).await?;
        if found.is_empty() {
            return Ok(());
        }
        let fill = |batch: &mut CommitBatch| {
            batch.put(Table::Notice, GONE, &notices.gone().to_be_bytes());
            found.iter().for_each(|(key, _)| batch.delete(Table::Notice, key));
        };
        writer.commit(store, fill).await?;
        if found.len() < ROWS {
            return Ok(());
        }
        give_way().await;
    }
}

/// Takes the notices of a namespace out of their rows. Their numbers stay.
pub(crate) async fn forget(shared: &Shared, namespace: NamespaceId) -> Result<(), Refusal> {
    let done = forget_all(shared, namespace).await;
    done.map_err(|error| Refusal::Unavailable(format!("notices could not be taken away: {error}")))
}

async fn forget_all(shared: &Shared, namespace: NamespaceId) -> Result<(), Trouble> {
    let mut writer = shared.notices.writer.lock().await;
    let store = &*shared.store;
    let (mut after, to) = (0, shared.notices.shown());
    loop {
        let found = rows::page(store, after, to, ROWS).await?;
        let Some(read) = found.last() else { return Ok(()) };
        after = read.last;
        let named: Vec<_> =
            found.into_iter().filter(|read| read.row.notices.iter().any(|one| one.namespace() == Some(namespace))).collect();
        if !named.is_empty() {
            let fill = |batch: &mut CommitBatch| {
                for mut read in named {
                    let of_it = |one: &&mut NoticeRecord| one.namespace() == Some(namespace);
                    read.row.notices.iter_mut().filter(of_it).for_each(|one| *one = NoticeRecord::default());
                    batch.put(Table::Notice, &rows::key(read.last), &read.row.encode_to_vec());
                }
            };
            writer.commit(store, fill).await?;
        }
        give_way().await;
    }
}
