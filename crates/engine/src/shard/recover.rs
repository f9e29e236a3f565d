//! How a shard begins again after a commit that failed.
//!
//! | state | what happens |
//! |---|---|
//! | commit failed | everybody waiting is told Unavailable, everything cached is dropped |
//! | not owned yet, or what lists and notices show not read yet | for a moment everybody waits; then all are told Unavailable at once, also while the store is asked: the disk may be full, the database away. Orders that nobody waits for are kept |
//! | acquire or such a read failed for good | the engine has failed: the process should exit |
//! | the store says that another has the shard | nothing more is done for it here, as if it had been given up ([`super::leave`]) |
//! | owned, and read | the offers, messages and deadlines are read again beside the loop, which goes on |

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use futures::{
    FutureExt,
    stream::{FuturesOrdered, FuturesUnordered},
};
use sempre_core::{
    Refusal, Span,
    planted::{self, Bug},
    transition::UpdateNews,
};
use sempre_store::{CommitError, Fence, StoreError};
use tokio::sync::mpsc;

use super::{
    batch::{OpenBatch, Output},
    listing::{self, Listed},
    message::Message,
    runner::{Runner, new_deadlines, slots},
};
use crate::{
    flow,
    recovery::{self, Owed},
    shared::{SHARD_UNAVAILABLE, STOPPING, Shared},
    usage::rows::{self, Tallies},
};

/// First and longest pause between tries to own the shard again.
const PAUSE_FIRST: Span = Span::millis(50);
const PAUSE_MAX: Span = Span::seconds(5);
/// How long callers wait for a store that has just failed: most often it answers in that.
const PATIENCE: Span = Span::millis(100);
const DISK_FULL: &str = "the disk of the server is full, nothing can be written until there is room";

impl Runner {
    /// A commit failed: forget everything that rested on it and begin again under a new epoch.
    pub(super) async fn recover(&mut self, error: CommitError) -> Result<(), String> {
        tracing::warn!(%error, shard = self.shard, "a commit failed; the shard starts over");
        self.shared.flow.lose(&self.shared.shards.here, self.shard);
        self.shared.stats.commit_failures.add(1);
        let refusal = self.refusal(&error.to_string());
        let open = std::mem::replace(&mut self.open, OpenBatch::new(self.fence));
        let lost = self.in_flight.drain(..).flat_map(|batch| batch.outputs.into_iter().chain(batch.unproved)).chain(open.outputs);
        for output in lost {
            match output {
                Output::Answer(reply, _) => {
                    let _ = reply.send(Err(refusal.clone()));
                }
                // What the update became is undone: whoever waits sends it again.
                Output::UpdateNews(watcher, _) => {
                    let _ = watcher.send(UpdateNews::Lost);
                }
                _ => {}
            }
        }
        let waiting = if planted::is(Bug::CacheSurvivesFailure) { Vec::new() } else { self.cache.clear() };
        for message in waiting {
            if let Some(reply) = message.reply {
                let _ = reply.send(Err(refusal.clone()));
            }
        }
        for id in self.buffered_queries.drain() {
            let cleared = Refusal::Unavailable("buffered query cleared, please retry".into());
            self.shared.queries.resolve(id, crate::matching::queries::Outcome::Answer(Err(cleared), 0));
        }
        self.forget_in_hand();
        // Dropped watchers look again.
        self.watchers.clear();
        self.updates.lose_all();
        self.paged.clear();
        self.staged.clear();
        self.commits = FuturesOrdered::new();
        self.loads = FuturesUnordered::new();
        self.deadline_reads = FuturesUnordered::new();
        self.outbox.clear();
        for message in std::mem::take(&mut self.again) {
            if let Some(reply) = message.reply {
                let _ = reply.send(Err(refusal.clone()));
            }
        }
        if let CommitError::Failed { reason } = error {
            return Err(format!("the store has failed: {reason}"));
        }
        let epoch = match self.own_again(&refusal).await? {
            Owned::Again(epoch) => epoch,
            Owned::Stopped => return Ok(()),
            Owned::Elsewhere => {
                self.lose(&refusal).await;
                return Ok(());
            }
        };
        self.fence = Fence { shard: self.shard, epoch };
        self.open = OpenBatch::new(self.fence);
        self.batch_number += 1;
        if self.leaving.is_some() {
            // Whoever has the shard next reads the rest.
            self.shared.flow.leave(&self.shared.shards.here, self.shard, true);
            self.list_again();
            return Ok(());
        }
        self.shared.shards.here.come(self.fence);
        self.deadlines = new_deadlines(&self.shared, self.shard);
        self.read_all(!planted::is(Bug::NothingReadAfterFailure));
        Ok(())
    }

    /// Reads what the shard owes, beside the loop: offers and messages (`owed`), and what flow rules know of its runs, for which
    /// the lines wait already.
    pub(super) fn read_all(&mut self, owed: bool) {
        if owed {
            self.reread(true);
        }
        let slots = slots(self.shard, self.shared.shards.count()).map(|slot| (slot, slot + 1)).collect();
        self.shared.spawner.spawn("sempre recovery of flow rules", flow::load::read(self.shared.clone(), slots).boxed());
    }

    /// The shard is another's, and what its commits here have come to is decided: it leaves with nothing in hand.
    async fn lose(&mut self, refusal: &Refusal) {
        tracing::warn!(shard = self.shard, "another has taken the shard");
        self.be_gone();
        loop {
            let shared = self.shared.clone();
            let shard = self.shard;
            let decided = async move { shared.notices.decided(&*shared.store, shard).await };
            match self.refusing_until(decided, refusal).await {
                // Of a store that has failed, or is closed, the engine ends.
                None
                | Some(
                    Ok(())
                    | Err(StoreError::Failed { .. } | StoreError::Closed | StoreError::Damaged { .. } | StoreError::Unreadable { .. }),
                ) => return,
                Some(Err(error)) => {
                    tracing::warn!(%error, shard = self.shard, "notices of a shard that was lost cannot be read yet");
                    let sleep = self.shared.clock.sleep_until(self.now() + PAUSE_MAX);
                    if self.refusing_until(sleep, refusal).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// What callers are told while the shard cannot commit.
    fn refusal(&self, reason: &str) -> Refusal {
        let text = match reason {
            _ if self.stopping => STOPPING,
            reason if reason.contains("disk full") => DISK_FULL,
            _ => SHARD_UNAVAILABLE,
        };
        Refusal::Unavailable(text.into())
    }

    /// Owns the shard again and reads what has to be known before anything else: tries for as long as the store only refuses.
    async fn own_again(&mut self, refusal: &Refusal) -> Result<Owned, String> {
        let mut refusal = refusal.clone();
        let mut pause = PAUSE_FIRST;
        // One failure after the other: no hurry.
        for _ in 0..self.failures.min(10) {
            pause = Span((pause.0 * 2).min(PAUSE_MAX.0));
        }
        let mut waits = self.failures > 0;
        self.failures += 1;
        let mut owned = None;
        loop {
            if waits {
                let sleep = self.shared.clock.sleep_until(self.now() + pause);
                if self.refusing_until(sleep, &refusal).await.is_none() {
                    return Ok(Owned::Stopped);
                }
                pause = Span((pause.0 * 2).min(PAUSE_MAX.0));
            }
            let patience = if waits { Span::ZERO } else { PATIENCE };
            let Some(tried) = self.try_refusing(&mut owned, patience, &refusal).await else { return Ok(Owned::Stopped) };
            match tried {
                Ok(again) => {
                    self.set_usage(again.usage);
                    self.listed = again.listed;
                    return Ok(Owned::Again(again.epoch));
                }
                Err(StoreError::Elsewhere { .. }) => return Ok(Owned::Elsewhere),
                Err(
                    error @ (StoreError::Failed { .. } | StoreError::Closed | StoreError::Damaged { .. } | StoreError::Unreadable { .. }),
                ) => {
                    return Err(format!("shard {} could not begin again: {error}", self.shard));
                }
                Err(error) => {
                    tracing::warn!(%error, shard = self.shard, owned, "the shard cannot begin again yet");
                    refusal = self.refusal(&error.to_string());
                }
            }
            waits = true;
        }
    }

    /// One try; what comes is refused once patience is over. `None`: told to stop in the meantime.
    async fn try_refusing(&mut self, owned: &mut Option<u64>, patience: Span, refusal: &Refusal) -> Option<Result<Again, StoreError>> {
        let mut attempt = std::pin::pin!(try_to_own(self.shared.clone(), self.shard, owned));
        let patience = self.shared.clock.sleep_until(self.now() + patience);
        tokio::select! {
            biased;
            tried = &mut attempt => return Some(tried),
            () = patience => {}
        }
        self.refusing_until(attempt, refusal).await
    }

    /// Refuses what comes until something is done. `None`: told to stop, and nothing is left to answer.
    async fn refusing_until<T>(&mut self, done: impl Future<Output = T>, refusal: &Refusal) -> Option<T> {
        let mut done = std::pin::pin!(done);
        let (mut kept, mut taken) = (VecDeque::new(), false);
        let done = loop {
            let message = tokio::select! {
                biased;
                done = &mut done => break done,
                message = next(&mut self.pending, &mut self.inbox, self.stopping) => message,
            };
            match message {
                Some(Message::Run(mut message)) => match message.reply.take() {
                    Some(reply) => {
                        let _ = reply.send(Err(match self.leaving {
                            _ if self.stopping => Refusal::Unavailable(STOPPING.into()),
                            Some(_) => self.elsewhere(),
                            None => refusal.clone(),
                        }));
                    }
                    None if kept.len() < self.shared.settings.inbox_max => kept.push_back(Message::Run(message)),
                    // As if the inbox were full.
                    None => self.shared.stats.overloads.add(1),
                },
                // The rows are read again when the shard is owned. Who waits for commits asks again.
                Some(Message::Redeliver(..) | Message::Settled(_)) => {}
                Some(Message::Taken) => taken = true,
                Some(Message::Reread(life)) => self.reread_ended(&life),
                Some(Message::TakeUp(told)) => self.take_up_again(told),
                Some(Message::GiveUp(told)) => self.give_up(told),
                None if self.stopping => {
                    // Nothing is committed any more.
                    self.taken = false;
                    return None;
                }
                Some(Message::Stop) | None => self.stop(),
            }
        };
        kept.append(&mut self.pending);
        self.pending = kept;
        self.taken |= taken;
        Some(done)
    }

    /// A read of messages has ended. One that the shard began before it was given up and taken up again is none of it.
    pub(super) fn reread_ended(&mut self, life: &Arc<()>) {
        if Arc::ptr_eq(life, &self.life) {
            self.rereads = self.rereads.saturating_sub(1);
            if self.rereads == 0 {
                self.outbox.all_read();
            }
        }
    }

    /// Reads offers (`all`) and messages of the shard's slots again, beside the loop.
    pub(super) fn reread(&mut self, all: bool) {
        if self.shared.stopping.load(Ordering::Acquire) {
            return;
        }
        let slots: Vec<(u16, u16)> = slots(self.shard, self.shared.shards.count()).map(|slot| (slot, slot + 1)).collect();
        self.rereads += 1;
        let (shared, life) = (self.shared.clone(), self.life.clone());
        let shard = self.shard as usize;
        let read = async move {
            // First messages: those that are new wait for them, so as not to overtake them.
            recovery::read(shared.clone(), slots.clone(), Owed::Messages).await;
            // A closed inbox belongs to a shard that has ended.
            let _ = shared.shards.inboxes()[shard].send(Message::Reread(life)).await;
            if all {
                recovery::read(shared.clone(), slots, Owed::Offers).await;
            }
        };
        self.shared.spawner.spawn("sempre recovery of a shard", read.boxed());
    }
}

/// The next message; of a shard that stops, of those that are there.
async fn next(pending: &mut VecDeque<Message>, inbox: &mut mpsc::Receiver<Message>, stopping: bool) -> Option<Message> {
    match pending.pop_front() {
        Some(message) => Some(message),
        None if stopping => inbox.try_recv().ok(),
        None => inbox.recv().await,
    }
}

/// What became of a shard whose commit failed.
enum Owned {
    /// It is owned again, under this epoch.
    Again(u64),
    /// It was told to stop in the meantime.
    Stopped,
    /// Another has it.
    Elsewhere,
}

/// What a shard that begins has to know before anything else.
pub(super) struct Again {
    pub(super) epoch: u64,
    pub(super) usage: Tallies,
    pub(super) listed: Listed,
}

/// One try. `owned`: the epoch, once there is one; it stays good while what has to be read cannot be.
pub(super) async fn try_to_own(shared: Arc<Shared>, shard: u32, owned: &mut Option<u64>) -> Result<Again, StoreError> {
    let epoch = match *owned {
        Some(epoch) => epoch,
        None => {
            let for_good = |error| match error {
                refused @ (StoreError::Rejected { .. } | StoreError::Elsewhere { .. }) => refused,
                other => StoreError::Failed { reason: other.to_string() },
            };
            *owned.insert(shared.store.acquire(shard).await.map_err(for_good)?)
        }
    };
    // What was on its way is there by now, or never will be.
    shared.notices.decided(&*shared.store, shard).await?;
    let usage = rows::read_shard(&*shared.store, shard).await?;
    let listed = listing::relist(&shared, shard).await?;
    Ok(Again { epoch, usage, listed })
}
