//! Makes the index of runs anew from the runs themselves, slot by slot, while everything else goes on.
//!
//! | the index | lists and counts meanwhile |
//! |---|---|
//! | is new, damaged or of an older format | refused as UNAVAILABLE, after a short wait, with how far the rebuild is |
//! | is whole, and somebody asks for a rebuild | answered from it as ever |
//!
//! What is read may be older than what the shards show at the same time: versions decide. What was deleted since is left
//! out ([`crate::listing::Listing::show_read`]). It may be newer, too: reads may see a commit before it is durable, and it may
//! fail. So it is put when the shards say that no commit has failed since before the read; else it is read again. A shard that
//! comes or goes meanwhile is one whose commit has failed; if what waited of its runs was forgotten, all begins again. Runs
//! whose rows are damaged are left out and counted.
//!
//! Of several nodes the one that has the single shard [`listing::OWNER`] does this, and no longer than it has it.

use std::{
    ops::Range,
    panic::AssertUnwindSafe,
    sync::{Arc, Weak, atomic::Ordering},
};

use bytes::Bytes;
use futures::{FutureExt, future};
use sempre_core::{Execution, Refusal, RunId, Span, ids::SLOT_COUNT, keys, visibility};
use sempre_store::{StoreError, Table};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    listing,
    shard::{listing::add_types, message::Message},
    shared::{Shared, give_way},
    visibility::{IndexError, Update},
};

/// State rows read at once.
const ROWS: usize = 1000;
/// Runs that are put at once.
const RUNS: usize = 256;
/// Records that wait for the index before the rebuild goes on: the rest of the room is the shards'.
const WAITING_MAX: usize = 2048;
const PAUSE: Span = Span::millis(2);
/// Pause after a failure, before it begins again.
const RETRY: Span = Span::seconds(5);
/// Slots between two lines in the log.
const LOG_SLOTS: u16 = 64;
/// Slots that are read between two questions to the shards, unless they have many runs.
const SLOTS: u16 = 16;
const _: () = assert!(LOG_SLOTS.is_multiple_of(SLOTS) && SLOT_COUNT.is_multiple_of(LOG_SLOTS), "whole steps");
/// Pause before a shard that had to begin again is asked again.
const ASK_AGAIN: Span = Span::millis(50);
/// How long lists wait for a rebuild before they are refused.
const READ_WAIT: Span = Span::seconds(2);

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RebuildProgress {
    /// One is under way.
    pub running: bool,
    /// Slots done, of 1,024.
    pub slots: u16,
    /// Runs put into the index.
    pub runs: u64,
    /// Runs left out because their rows are damaged.
    pub damaged: u64,
    /// Rebuilds finished since the start of the process.
    pub finished: u64,
}

/// The rebuild that is under way, or the last one.
#[derive(Default)]
pub(crate) struct Rebuild {
    progress: watch::Sender<RebuildProgress>,
}

#[derive(Debug, thiserror::Error)]
enum RebuildError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the index was found damaged again")]
    DamagedAgain,
    #[error("too many runs were deleted meanwhile")]
    Deletions,
    #[error("a shard has left meanwhile")]
    ShardLeft,
    #[error("it is another node's to make the index whole")]
    Elsewhere,
    #[error("the server is shutting down")]
    Stopping,
}

impl Rebuild {
    pub(crate) fn progress(&self) -> RebuildProgress {
        *self.progress.borrow()
    }

    /// Begins one beside everything else, unless one is under way.
    pub(crate) fn start(shared: &Arc<Shared>, reason: &str) {
        let began = shared.listing.rebuild.progress.send_if_modified(|progress| {
            let begins = !progress.running;
            if begins {
                *progress = RebuildProgress { running: true, finished: progress.finished, ..Default::default() };
            }
            begins
        });
        if began {
            tracing::info!(reason, "the index of runs is rebuilt");
            shared.spawner.spawn("sempre rebuild of the index", run(shared.clone()).boxed());
        }
    }

    /// Begins one whenever the index is found damaged by a write, or not whole, until it is closed. Of several nodes: whenever that is so and
    /// it is this node's to make it whole.
    pub(crate) async fn watch(shared: Weak<Shared>) {
        loop {
            let Some(engine) = shared.upgrade() else { return };
            let (visibility, once) = (&engine.listing.visibility, engine.once.clone());
            let (damaged, not_whole, closed) = (visibility.until_damaged(), visibility.until_needs_rebuild(), visibility.until_closed());
            drop(engine);
            let is_needed = tokio::select! {
                biased;
                is_damaged = damaged => is_damaged,
                () = not_whole => true,
            };
            if !is_needed {
                return;
            }
            tokio::select! {
                biased;
                () = closed => return,
                () = once.until(listing::OWNER) => {}
            }
            let Some(engine) = shared.upgrade() else { return };
            let visibility = &engine.listing.visibility;
            let closed = visibility.until_closed();
            let Some(reason) = visibility.needs_rebuild() else {
                // Another node has done it. A write here finds that out when it comes.
                let (mended, not_whole) = (visibility.until_mended(), visibility.until_needs_rebuild());
                drop(engine);
                tokio::select! {
                    biased;
                    () = closed => return,
                    () = mended => {}
                    () = not_whole => {}
                }
                give_way().await;
                continue;
            };
            let mut progress = engine.listing.rebuild.progress.subscribe();
            Self::start(&engine, &reason);
            drop(engine);
            tokio::select! {
                _ = progress.wait_for(|now| !now.running) => {}
                () = closed => return,
            }
            give_way().await;
        }
    }

    /// Lists can be answered, or why not. Begins a rebuild if only that helps.
    pub(crate) async fn ready(shared: &Arc<Shared>) -> Result<(), Refusal> {
        let Some(reason) = shared.listing.visibility.needs_rebuild() else { return Ok(()) };
        // Of several nodes one makes it whole; the others find out.
        if shared.once.has(listing::OWNER) {
            Self::start(shared, &reason);
        }
        let mut progress = shared.listing.rebuild.progress.subscribe();
        let sleep = shared.clock.sleep_until(shared.now() + READ_WAIT);
        tokio::select! {
            biased;
            _ = progress.wait_for(|_| shared.listing.visibility.needs_rebuild().is_none()) => return Ok(()),
            () = sleep => {}
        }
        let slots = shared.listing.rebuild.progress().slots;
        Err(Refusal::Unavailable(format!(
            "the visibility index is being rebuilt, {slots} of {SLOT_COUNT} slots are done; lists and counts are answered when all are"
        )))
    }
}

async fn run(shared: Arc<Shared>) {
    loop {
        let done = AssertUnwindSafe(rebuild(&shared)).catch_unwind().await;
        shared.listing.end_reading();
        match done {
            Ok(Ok(())) => break,
            Ok(Err(RebuildError::Stopping | RebuildError::Store(StoreError::Closed) | RebuildError::Index(IndexError::Closed))) => return,
            Ok(Err(error)) if !shared.once.has(listing::OWNER) => {
                tracing::warn!(%error, "the index of runs is not rebuilt here any more; if it needs to be, another node does it");
                return shared.listing.rebuild.progress.send_modify(|progress| progress.running = false);
            }
            Ok(Err(error)) => tracing::error!(%error, "the index of runs could not be rebuilt; it is tried again"),
            Err(_) => return shared.fail("the rebuild of the index of runs has stopped by a panic".into()),
        }
        shared.clock.sleep_until(shared.now() + RETRY).await;
    }
    shared.listing.rebuild.progress.send_modify(|progress| {
        progress.running = false;
        progress.finished += 1;
    });
    let RebuildProgress { runs, damaged, .. } = shared.listing.rebuild.progress();
    tracing::info!(runs, damaged, "the index of runs is rebuilt");
}

async fn rebuild(shared: &Shared) -> Result<(), RebuildError> {
    if !shared.once.has(listing::OWNER) {
        return Err(RebuildError::Elsewhere);
    }
    let (listing, progress) = (&shared.listing, &shared.listing.rebuild.progress);
    progress.send_modify(|p| (p.slots, p.runs, p.damaged) = (0, 0, 0));
    listing.begin_reading();
    listing.visibility.begin_rebuild().await?;
    let all = async {
        let mut epochs = settled(shared).await?;
        while listing.rebuild.progress().slots < SLOT_COUNT {
            let before = listing.rebuild.progress();
            let next = before.slots + SLOTS;
            if !slots_runs(shared, before.slots..next, &mut epochs).await? {
                progress.send_modify(|p| *p = before);
                continue;
            }
            progress.send_modify(|p| p.slots = next);
            if next.is_multiple_of(LOG_SLOTS) {
                let p = listing.rebuild.progress();
                tracing::info!(slots = p.slots, of = SLOT_COUNT, runs = p.runs, "rebuilding the index of runs");
            }
        }
        // What is put of a shard's runs after this is that shard's news, which it keeps until the index has it.
        listing.visibility.flush().await;
        if listing.has_let_go() {
            return Err(RebuildError::ShardLeft);
        }
        Ok(listing.visibility.finish_rebuild().await?)
    };
    // What waits would wait for ever for an index that only a rebuild helps.
    tokio::select! {
        biased;
        true = listing.visibility.until_damaged() => Err(RebuildError::DamagedAgain),
        () = shared.once.until_gone(listing::OWNER) => Err(RebuildError::Elsewhere),
        done = all => done,
    }
}

/// The epoch of each shard, once every commit that it had sent is durable; 0 while it is not here.
async fn settled(shared: &Shared) -> Result<Vec<u64>, RebuildError> {
    future::try_join_all(shared.shards.inboxes().iter().map(|inbox| settled_shard(shared, inbox))).await
}

async fn settled_shard(shared: &Shared, inbox: &mpsc::Sender<Message>) -> Result<u64, RebuildError> {
    loop {
        let (asks, told) = oneshot::channel();
        inbox.send(Message::Settled(asks)).await.map_err(|_| RebuildError::Stopping)?;
        if let Ok(epoch) = told.await {
            return Ok(epoch);
        }
        if shared.stopping.load(Ordering::Acquire) {
            return Err(RebuildError::Stopping);
        }
        shared.clock.sleep_until(shared.now() + ASK_AGAIN).await;
    }
}

/// State rows of one run: kind, number, value.
type StateRows = Vec<(u8, u64, Bytes)>;

/// Puts every run of these slots. False: a commit has failed since the shards told their epochs, and they have new ones; what was
/// read and not put yet may never have been.
async fn slots_runs(shared: &Shared, slots: Range<u16>, epochs: &mut Vec<u64>) -> Result<bool, RebuildError> {
    let (mut from, to) = (keys::slot(slots.start), keys::slot(slots.end));
    let mut updates = Vec::new();
    // Rows of the run that is being read.
    let mut run: Option<(RunId, StateRows)> = None;
    loop {
        let rows = shared.store.scan(Table::State, &from, &to, ROWS).await?;
        if shared.stopping.load(Ordering::Acquire) {
            return Err(RebuildError::Stopping);
        }
        let more = rows.len() == ROWS;
        if let Some((last, _)) = rows.last() {
            from = [last.as_ref(), &[0]].concat();
        }
        for (key, value) in rows {
            let (Some(id), Some((kind, number))) = (keys::parse_run(&key), keys::parse_state(&key)) else {
                tracing::error!(key = ?key, "a state row has a damaged key");
                continue;
            };
            match &mut run {
                Some((last, rows)) if *last == id => rows.push((kind, number, value)),
                _ => {
                    let before = run.replace((id, vec![(kind, number, value)]));
                    updates.extend(before.and_then(|(id, rows)| read(shared, id, rows)));
                }
            }
        }
        if !more {
            updates.extend(run.take().and_then(|(id, rows)| read(shared, id, rows)));
        }
        if !more || updates.len() >= RUNS {
            let now = settled(shared).await?;
            if std::mem::replace(epochs, now) != *epochs {
                return Ok(false);
            }
            put(shared, std::mem::take(&mut updates)).await?;
        }
        if !more {
            return Ok(true);
        }
    }
}

fn read(shared: &Shared, run: RunId, rows: Vec<(u8, u64, Bytes)>) -> Option<Update> {
    match Execution::found(run, rows) {
        Ok(execution) => {
            let mut row = visibility::Row::of(&execution);
            row.record.iter_mut().for_each(|record| add_types(record, &shared.namespaces));
            Some(Update { key: execution.key().clone(), version: row.version, record: row.record.map(Arc::new) })
        }
        Err(error) => {
            tracing::error!(%error, %run, "a run is not listed: its rows are damaged");
            shared.listing.rebuild.progress.send_modify(|progress| progress.damaged += 1);
            None
        }
    }
}

async fn put(shared: &Shared, updates: Vec<Update>) -> Result<(), RebuildError> {
    // Reads of the store do not wait.
    give_way().await;
    if updates.is_empty() {
        return Ok(());
    }
    while shared.listing.visibility.waiting().0 > WAITING_MAX {
        shared.clock.sleep_until(shared.now() + PAUSE).await;
    }
    let runs = updates.len() as u64;
    if !shared.listing.show_read(updates) {
        return Err(RebuildError::Deletions);
    }
    shared.listing.rebuild.progress.send_modify(|progress| progress.runs += runs);
    Ok(())
}
