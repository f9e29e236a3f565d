//! The end of a round: its rows, their commit, and what follows from it.

use std::sync::atomic::Ordering;

use prost::Message as _;
use sempre_core::{
    SlotId, Timestamp,
    keys::schedules::{self as keys, ScheduleKey},
};
use sempre_store::{CommitBatch, StoreError, Table};

use super::{
    round::{Answer, Round},
    rows,
    runner::{Live, OWNER, RETRY, Runner, TRIES_MAX, Task, Work},
};

impl Runner {
    /// Writes the round, then lets its answers go and finds what is to be carried out. `Err`: the engine has failed.
    pub(super) async fn commit(&mut self, round: Round, read: Result<(), StoreError>) -> Result<(), String> {
        let batch = self.batch(&round);
        if !batch.is_empty()
            && let Err(error) = self.shared.store.commit(batch).await
        {
            self.shared.stats.commit_failures.add(1);
            tracing::warn!(%error, "changes of schedules could not be written");
            // Whoever waits hears of it by the drop of his sender.
            drop(round);
            return self.acquire().await;
        }
        for answer in round.answers {
            // Nobody may wait any more.
            match answer {
                Answer::Call(reply, result) => drop(reply.send(result)),
                Answer::Heard(reply) => drop(reply.send(())),
            }
        }
        for key in round.touched.iter().chain(&round.loaded) {
            self.plan(key);
        }
        let mut read = read;
        for slot in round.slots {
            match rows::next_due(&*self.shared.store, SlotId(slot)).await {
                Ok(Some(at)) => drop(self.next_due.insert(slot, at)),
                Ok(None) => drop(self.next_due.remove(&slot)),
                Err(error) => read = Err(error),
            }
        }
        match read {
            Ok(()) => {
                self.failed_reads = 0;
                self.retry_at = None;
                Ok(())
            }
            Err(StoreError::Closed) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "schedules that are due could not be read");
                self.failed_reads += 1;
                self.retry_at = Some(self.shared.now() + RETRY);
                if self.failed_reads < TRIES_MAX { Ok(()) } else { Err(format!("schedules that are due could not be read: {error}")) }
            }
        }
    }

    fn batch(&mut self, round: &Round) -> CommitBatch {
        let now = self.shared.now();
        let mut batch = CommitBatch::new(self.fence);
        for (at, key) in &round.stray {
            batch.delete(Table::Schedule, &keys::due(key, *at));
        }
        for key in &round.damaged {
            // Its due row, if it has one, goes when it is due: only the damaged row knows the time.
            [keys::owes(key), keys::definition(key), keys::state(key)].iter().for_each(|row| batch.delete(Table::Schedule, row));
        }
        for key in &round.touched {
            let Some(live) = self.live.get_mut(key) else { continue };
            if let Some(wake) = rows_of(&mut batch, key, live, now) {
                let next = self.next_due.entry(keys::slot_of_schedules(key.namespace).0).or_insert(wake);
                *next = (*next).min(wake);
            }
        }
        batch
    }

    /// After the commit: what a schedule owes gets under way; one with nothing under way leaves memory.
    pub(super) fn plan(&mut self, key: &ScheduleKey) {
        let now = self.shared.now();
        let Some(live) = self.live.get_mut(key) else { return };
        live.redefined = false;
        let schedule = &live.schedule;
        let mut works: Vec<Work> = Vec::new();
        if !live.is_deleted {
            works.extend(schedule.starts(now).map(|starting| Work::Start(starting.number)));
            works.extend(schedule.stops().map(|running| Work::Stop(running.number)));
            works.extend(schedule.wants_check().then_some(Work::Look));
        }
        let so_far = schedule.state.starts;
        live.waiting.retain_mut(|waiting| {
            if waiting.starts.is_none() && !schedule.is_unsure() {
                waiting.starts = Some(so_far);
            }
            !waiting.settled.is_closed() && waiting.starts.is_none_or(|starts| !schedule.is_settled(starts))
        });
        for work in works {
            if live.under_way.insert(work) {
                let uid = live.schedule.definition.uid.clone();
                self.waiting.push_back(Task { key: key.clone(), uid, work });
            }
        }
        if live.under_way.is_empty() && live.waiting.is_empty() || live.is_deleted {
            self.remove(key);
        }
    }

    /// Takes the rows back after a failed commit, and reads again what is owed; or leaves them to the node that has them.
    async fn acquire(&mut self) -> Result<(), String> {
        self.forget();
        loop {
            match self.shared.store.acquire(OWNER).await {
                Ok(epoch) => {
                    self.fence.epoch = epoch;
                    return Ok(());
                }
                Err(StoreError::Elsewhere { .. }) => {
                    self.leaving.get_or_insert_default();
                    return Ok(());
                }
                Err(StoreError::Rejected { reason }) => {
                    tracing::warn!(reason, "schedules cannot be written");
                    if self.shared.stopping.load(Ordering::Acquire) {
                        self.stopping = true;
                        self.inbox.close();
                        return Ok(());
                    }
                    self.shared.clock.sleep_until(self.shared.now() + RETRY).await;
                }
                Err(error) => return Err(format!("schedules could not be acquired: {error}")),
            }
        }
    }
}

/// The rows of one schedule. Gives the time of its due row, if it has another than before.
fn rows_of(batch: &mut CommitBatch, key: &ScheduleKey, live: &mut Live, now: Timestamp) -> Option<Timestamp> {
    let (old_wake, old_owes) = (live.schedule.state.wake_at, live.schedule.state.owes);
    if live.is_deleted {
        if old_wake != 0 {
            batch.delete(Table::Schedule, &keys::due(key, Timestamp(old_wake)));
        }
        if old_owes {
            batch.delete(Table::Schedule, &keys::owes(key));
        }
        batch.delete(Table::Schedule, &keys::definition(key));
        batch.delete(Table::Schedule, &keys::state(key));
        return None;
    }
    let owes = live.schedule.owes();
    let wake = live.schedule.wake_at(now).map_or(0, |at| at.0.max(1));
    (live.schedule.state.wake_at, live.schedule.state.owes) = (wake, owes);
    if wake != old_wake {
        if old_wake != 0 {
            batch.delete(Table::Schedule, &keys::due(key, Timestamp(old_wake)));
        }
        if wake != 0 {
            batch.put(Table::Schedule, &keys::due(key, Timestamp(wake)), &[]);
        }
    }
    match (owes, old_owes) {
        (true, false) => batch.put(Table::Schedule, &keys::owes(key), &[]),
        (false, true) => batch.delete(Table::Schedule, &keys::owes(key)),
        _ => {}
    }
    if live.redefined {
        batch.put(Table::Schedule, &keys::definition(key), &live.schedule.definition.encode_to_vec());
    }
    batch.put(Table::Schedule, &keys::state(key), &live.schedule.state.encode_to_vec());
    (wake != old_wake && wake != 0).then_some(Timestamp(wake))
}
