//! The way of batches into the database: a queue and a task per shard, everything that waits in one statement.
//!
//! | the database answers | the batches |
//! |---|---|
//! | done, or done before | acknowledged |
//! | fenced | `Fenced`; what waits behind them too |
//! | not done, may work in a moment | asked again |
//! | nothing: the connection is gone or silent | asked again: number and epoch of the statement tell whether it was done |
//! | not done, does not work | `Rejected` |
//! | nothing of all that for [`SETTLE_MAX`] | `Unknown` if a statement may have arrived, else `Rejected` |
//!
//! While a statement is under way the next group gathers by itself; there are no timers.
#![expect(clippy::disallowed_methods, reason = "how long a database may be silent is a matter of the wall clock")]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use futures::channel::oneshot;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tokio_postgres::types::Type;

use super::{
    connections::{Connections, longer},
    gets::Gets,
    group::Group,
    limits::{GIVE_TRIES_MAX, GROUP_BYTES_MAX, KEY_MAX, PAUSE_FIRST, PAUSE_MAX, QUEUE_BYTES_MAX, SETTLE_MAX},
    placement::NodeId,
    statements::Statements,
    trouble::Trouble,
};
use crate::{
    BATCH_BYTES_MAX, CommitBatch, CommitError, Fence, StoreError,
    fence::{EARLIER_FAILED, Fences},
};

type Answer<T, E> = oneshot::Sender<Result<T, E>>;

/// A batch and who waits for it.
struct Entry {
    batch: CommitBatch,
    answer: Answer<(), CommitError>,
}

enum Item {
    Batch(Entry),
    /// The number of the call, and who waits for the epoch.
    Acquire(u64, Answer<u64, StoreError>),
    /// To whom, and who waits for it.
    Give(NodeId, Answer<(), StoreError>),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    #[default]
    Open,
    /// What is enqueued is finished, nothing new is taken.
    Closing,
}

#[derive(Default)]
struct State {
    phase: Phase,
    fences: Fences,
    /// Bytes that wait, of all shards.
    bytes: usize,
    shards: BTreeMap<u32, Queue>,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    changed: Arc<Notify>,
}

/// What a store has done.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) commits: AtomicU64,
    pub(super) statements: AtomicU64,
    pub(super) bytes: AtomicU64,
}

/// What callers and the tasks of a store share.
pub(super) struct Shared {
    pub(super) connections: Connections,
    pub(super) statements: Statements,
    /// The id under which this process is in the schema.
    pub(super) holder: String,
    pub(super) counters: Counters,
    pub(super) gets: Gets,
    state: Mutex<State>,
    /// Why the store takes no more commits.
    failed: watch::Sender<Option<String>>,
}

impl Shared {
    pub(super) fn new(connections: Connections, holder: String) -> Self {
        let statements = Statements::new(&connections.options().schema);
        Self {
            connections,
            statements,
            holder,
            counters: Counters::default(),
            gets: Gets::default(),
            state: Mutex::default(),
            failed: watch::Sender::new(None),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of the store.
    pub(super) fn fail(&self, reason: &str) {
        let first = self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert_with(|| reason.to_owned());
            first
        });
        if first {
            tracing::error!(reason, "the store has failed");
        }
    }

    /// Why it has failed, when it has.
    pub(super) fn until_failed(&self) -> impl Future<Output = String> + use<> {
        let mut failed = self.failed.subscribe();
        async move {
            let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
            reason.unwrap_or_else(|| "it was dropped".into())
        }
    }

    pub(super) fn check_failed(&self) -> Result<(), CommitError> {
        self.failed.borrow().as_ref().map_or(Ok(()), |reason| Err(CommitError::Failed { reason: reason.clone() }))
    }

    pub(super) fn check_open(&self) -> Result<(), StoreError> {
        if self.state().phase == Phase::Open { Ok(()) } else { Err(StoreError::Closed) }
    }

    /// Takes nothing more. The tasks of the shards end when they have finished what waits.
    pub(super) fn begin_close(&self) {
        let mut state = self.state();
        state.phase = Phase::Closing;
        state.shards.values().for_each(|queue| queue.changed.notify_one());
    }

    /// Asks for a shard; true: nobody has before, and its task is to be started.
    pub(super) fn enqueue_acquire(&self, shard: u32, answer: Answer<u64, StoreError>) -> Result<bool, StoreError> {
        self.enqueue_item(shard, |call| Item::Acquire(call, answer))
    }

    /// Gives a shard away after what is enqueued; nothing is taken for it from now on. True: as above.
    pub(super) fn enqueue_give(&self, shard: u32, to: NodeId, answer: Answer<(), StoreError>) -> Result<bool, StoreError> {
        self.enqueue_item(shard, |_| Item::Give(to, answer))
    }

    /// What ends the epoch that a shard has here.
    fn enqueue_item(&self, shard: u32, item: impl FnOnce(u64) -> Item) -> Result<bool, StoreError> {
        self.check_failed()?;
        let mut state = self.state();
        if state.phase != Phase::Open {
            return Err(StoreError::Closed);
        }
        let call = state.fences.begin_acquire(shard);
        let is_new = !state.shards.contains_key(&shard);
        let queue = state.shards.entry(shard).or_default();
        queue.items.push_back(item(call));
        queue.changed.notify_one();
        Ok(is_new)
    }

    pub(super) fn enqueue(&self, batch: CommitBatch, answer: Answer<(), CommitError>) -> Result<(), CommitError> {
        self.check_failed()?;
        let mut state = self.state();
        if state.phase != Phase::Open {
            return Err(CommitError::Rejected { reason: StoreError::Closed.to_string() });
        }
        state.fences.admit(&batch, BATCH_BYTES_MAX)?;
        let fence = batch.fence();
        let refused = if batch.key_bytes() > KEY_MAX {
            Some(format!("a key is longer than the {KEY_MAX} bytes that PostgreSQL's indexes take"))
        } else if state.bytes + batch.bytes() > QUEUE_BYTES_MAX {
            Some(format!("more than {QUEUE_BYTES_MAX} bytes wait to be committed"))
        } else {
            None
        };
        if let Some(reason) = refused {
            state.fences.fail(fence);
            return Err(CommitError::Rejected { reason });
        }
        state.bytes += batch.bytes();
        // An epoch was given, so there is a queue.
        let queue = state.shards.entry(fence.shard).or_default();
        queue.items.push_back(Item::Batch(Entry { batch, answer }));
        queue.changed.notify_one();
        Ok(())
    }

    /// What the task of a shard does next.
    fn next(&self, shard: u32) -> Next {
        let mut state = self.state();
        let closing = state.phase == Phase::Closing;
        let Some(queue) = state.shards.get_mut(&shard) else { return Next::End };
        let (mut group, mut bytes) = (Vec::new(), 0);
        while let Some(item) = queue.items.pop_front() {
            match item {
                Item::Acquire(call, answer) if group.is_empty() => return Next::Acquire(call, answer),
                Item::Give(to, answer) if group.is_empty() => return Next::Give(to, answer),
                Item::Batch(entry) if fits(&group, &entry, bytes) => {
                    bytes += entry.batch.bytes();
                    group.push(entry);
                }
                other => {
                    queue.items.push_front(other);
                    break;
                }
            }
        }
        if !group.is_empty() {
            state.bytes -= bytes;
            return Next::Group(group);
        }
        if closing { Next::End } else { Next::Wait(queue.changed.clone()) }
    }
}

/// Whether a batch can go with those before it.
fn fits(group: &[Entry], entry: &Entry, bytes: usize) -> bool {
    group.first().is_none_or(|first| first.batch.fence() == entry.batch.fence() && bytes + entry.batch.bytes() <= GROUP_BYTES_MAX)
}

enum Next {
    Acquire(u64, Answer<u64, StoreError>),
    Give(NodeId, Answer<(), StoreError>),
    /// Batches of one epoch, at least one.
    Group(Vec<Entry>),
    Wait(Arc<Notify>),
    End,
}

/// How an epoch ended.
#[derive(Clone, Debug)]
enum End {
    Fenced,
    Failed,
}

/// The task of one shard.
pub(super) async fn run(shared: Arc<Shared>, shard: u32) {
    let mut owned = Owned { fence: Fence { shard, epoch: 0 }, seq: 0, ended: None };
    loop {
        match shared.next(shard) {
            Next::Acquire(call, answer) => {
                let epoch = owned.acquire(&shared).await;
                if let Ok(epoch) = epoch {
                    shared.state().fences.end_acquire(shard, call, epoch);
                }
                // Who asked may have gone away.
                let _ = answer.send(epoch);
            }
            Next::Give(to, answer) => {
                // Who asked may have gone away.
                let _ = answer.send(owned.give(&shared, to).await);
            }
            Next::Group(group) => {
                let result = owned.commit(&shared, &group).await;
                for entry in group {
                    let _ = entry.answer.send(result.clone());
                }
            }
            Next::Wait(changed) => changed.notified().await,
            Next::End => return,
        }
    }
}

/// What the task of a shard knows of it.
struct Owned {
    fence: Fence,
    /// The number of the last statement.
    seq: i64,
    /// Set when a batch of this epoch was not acknowledged: none after it will be.
    ended: Option<End>,
}

impl Owned {
    async fn acquire(&mut self, shared: &Shared) -> Result<u64, StoreError> {
        let shard = self.fence.shard;
        let place = shared.connections.options().place();
        // Asking twice gives a greater epoch, and does no other harm.
        let given = until_answered(shared, || try_acquire(shared, shard)).await?;
        match given {
            Given::Epoch(epoch, seq) => {
                let epoch = u64::try_from(epoch).map_err(|_| StoreError::Failed { reason: format!("{place} gave epoch {epoch}") })?;
                *self = Owned { fence: Fence { epoch, shard }, seq, ended: None };
                Ok(epoch)
            }
            Given::Elsewhere => Err(StoreError::Elsewhere { shard }),
            Given::Removed => {
                shared.fail(&format!("another server has taken {place}"));
                shared.check_failed()?;
                Err(StoreError::Closed)
            }
        }
    }

    /// Hands the shard to another node. What is committed by then is all there will be under this epoch.
    async fn give(&mut self, shared: &Shared, to: NodeId) -> Result<(), StoreError> {
        let shard = self.fence.shard;
        for _ in 0..GIVE_TRIES_MAX {
            if self.fence.epoch == 0 {
                self.acquire(shared).await?;
            }
            let epoch = self.fence.epoch.cast_signed();
            *self = Owned { fence: Fence { epoch: 0, shard }, seq: 0, ended: None };
            // It is left alone once the epoch is another, so doing it twice does no harm.
            if until_answered(shared, || try_give(shared, shard, epoch, to)).await? {
                return Ok(());
            }
            // It was given before, by a call whose answer was lost, or taken; or a call for an epoch that was sent twice came late: then it is
            // this node's still, under a greater one.
        }
        Err(StoreError::Rejected { reason: format!("others change who has shard {shard} all the time") })
    }

    /// Commits a group, or answers as the first of an epoch that was not.
    async fn commit(&mut self, shared: &Shared, group: &[Entry]) -> Result<(), CommitError> {
        let Some(fence) = group.first().map(|entry| entry.batch.fence()) else { return Ok(()) };
        if fence != self.fence {
            return Err(CommitError::Fenced);
        }
        match &self.ended {
            Some(End::Fenced) => return Err(CommitError::Fenced),
            Some(End::Failed) => return Err(CommitError::Rejected { reason: EARLIER_FAILED.into() }),
            None => {}
        }
        shared.check_failed()?;
        shared.counters.commits.fetch_add(group.len() as u64, Ordering::Relaxed);
        // What waited for nothing but its turn has had it.
        if group.iter().all(|entry| entry.batch.is_empty()) {
            return Ok(());
        }
        let result = self.settle(shared, group).await;
        match &result {
            Ok(()) => self.seq += 1,
            Err(CommitError::Fenced) => {
                self.ended = Some(End::Fenced);
                shared.state().fences.lose(fence);
            }
            Err(_) => {
                self.ended = Some(End::Failed);
                shared.state().fences.fail(fence);
            }
        }
        result
    }

    /// Sends the statement until it is known what became of it.
    async fn settle(&self, shared: &Shared, group: &[Entry]) -> Result<(), CommitError> {
        let rows = Group::of(group.iter().map(|entry| &entry.batch));
        let bytes: usize = group.iter().map(|entry| entry.batch.bytes()).sum();
        shared.counters.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let (shard, epoch, seq) = (i64::from(self.fence.shard), self.fence.epoch.cast_signed(), self.seq + 1);
        let mut parameters: Vec<(&(dyn tokio_postgres::types::ToSql + Sync), Type)> =
            vec![(&shard, Type::INT8), (&epoch, Type::INT8), (&seq, Type::INT8)];
        parameters.extend(rows.parameters());
        let (begun, mut pause, mut in_doubt) = (Instant::now(), PAUSE_FIRST, false);
        loop {
            let trouble = match shared.connections.borrow().await {
                // It was never sent.
                Err(trouble) => trouble,
                Ok(connection) => {
                    shared.counters.statements.fetch_add(1, Ordering::Relaxed);
                    match connection.get().ask(&shared.statements.commit, &parameters).await {
                        Ok(answer) => {
                            connection.keep();
                            match answer.first().and_then(|row| row.try_get(0).ok()) {
                                Some(1 | 2) => return Ok(()),
                                Some(0) => return Err(CommitError::Fenced),
                                _ => return Err(CommitError::Unknown { reason: "another server has gone on since".into() }),
                            }
                        }
                        Err(trouble) => {
                            in_doubt |= matches!(trouble, Trouble::Lost(_));
                            trouble
                        }
                    }
                }
            };
            if matches!(trouble, Trouble::Refused(_)) || begun.elapsed() > SETTLE_MAX || shared.check_failed().is_err() {
                let reason = trouble.into_reason();
                return Err(if in_doubt { CommitError::Unknown { reason } } else { CommitError::Rejected { reason } });
            }
            tracing::warn!(reason = trouble.reason(), shard, in_doubt, "a commit is tried again");
            sleep(pause).await;
            pause = longer(pause, PAUSE_MAX);
        }
    }
}

/// Asks until there is an answer, for [`SETTLE_MAX`].
pub(super) async fn until_answered<T, F: Future<Output = Result<T, Trouble>>>(
    shared: &Shared,
    ask: impl Fn() -> F,
) -> Result<T, StoreError> {
    let (begun, mut pause) = (Instant::now(), PAUSE_FIRST);
    loop {
        shared.check_failed()?;
        let trouble = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(trouble) => trouble,
        };
        if matches!(trouble, Trouble::Refused(_)) || begun.elapsed() > SETTLE_MAX {
            return Err(StoreError::Rejected { reason: trouble.into_reason() });
        }
        sleep(pause).await;
        pause = longer(pause, PAUSE_MAX);
    }
}

/// What the database says to who asks for a shard.
enum Given {
    /// It has this epoch now, and this was the number of its last commit.
    Epoch(i64, i64),
    /// It is another node's.
    Elsewhere,
    /// This server is not there any more.
    Removed,
}

async fn try_acquire(shared: &Shared, shard: u32) -> Result<Given, Trouble> {
    let connection = shared.connections.borrow().await?;
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&i64::from(shard), Type::INT8), (&shared.holder, Type::TEXT)];
    let rows = connection.get().ask(&shared.statements.acquire, &parameters).await?;
    connection.keep();
    let row = rows.first().ok_or_else(|| Trouble::Refused("it gave no epoch".into()))?;
    let (epoch, seq, is_member): (Option<i64>, Option<i64>, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(match epoch.zip(seq) {
        _ if !is_member => Given::Removed,
        Some((epoch, seq)) => Given::Epoch(epoch, seq),
        None => Given::Elsewhere,
    })
}

/// False: the shard has another epoch by now, or is another's.
async fn try_give(shared: &Shared, shard: u32, epoch: i64, to: NodeId) -> Result<bool, Trouble> {
    let connection = shared.connections.borrow().await?;
    let (shard, to) = (i64::from(shard), to.to_string());
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 4] =
        [(&shared.holder, Type::TEXT), (&shard, Type::INT8), (&epoch, Type::INT8), (&to, Type::TEXT)];
    let rows = connection.get().ask(&shared.statements.give, &parameters).await?;
    connection.keep();
    Ok(rows.first().ok_or_else(|| Trouble::Refused("it gave no row".into()))?.try_get(0)?)
}
