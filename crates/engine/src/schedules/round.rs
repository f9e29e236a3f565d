//! What comes in between two commits: calls of clients, ends of runs, outcomes of what was carried out.

use std::collections::BTreeSet;

use bytes::Bytes;
use sempre_core::{
    Refusal, Timestamp,
    keys::schedules::ScheduleKey,
    schedule::{Ended, Schedule, StartFailure, not_found, state::Watch},
};
use sempre_store::StoreError;
use tokio::sync::oneshot;

use super::{
    Call, Message, UNAVAILABLE, Update,
    effects::Outcome,
    rows::{self, LoadError},
    runner::{Live, Runner, Task, Waiting, Work},
};
use crate::zones::Database;

/// What leaves after the commit.
pub(super) enum Answer {
    Call(oneshot::Sender<Result<Bytes, Refusal>>, Result<Bytes, Refusal>),
    Heard(oneshot::Sender<()>),
}

/// One round.
#[derive(Default)]
pub(super) struct Round {
    /// Looked at.
    pub(super) loaded: BTreeSet<ScheduleKey>,
    /// Changed.
    pub(super) touched: BTreeSet<ScheduleKey>,
    pub(super) answers: Vec<Answer>,
    /// Rows that say that something is due, and must go though there is no schedule.
    pub(super) stray: Vec<(Timestamp, ScheduleKey)>,
    /// Damaged schedules that are deleted.
    pub(super) damaged: Vec<ScheduleKey>,
    pub(super) slots: BTreeSet<u16>,
    pub(super) bytes: usize,
}

impl Runner {
    /// Brings a schedule into memory. `Ok(false)`: there is none.
    pub(super) async fn load(&mut self, key: &ScheduleKey) -> Result<bool, LoadError> {
        if let Some(live) = self.live.get(key) {
            return Ok(!live.is_deleted);
        }
        let Some(schedule) = rows::load(&*self.shared.store, key).await? else { return Ok(false) };
        self.insert(key.clone(), schedule, false);
        Ok(true)
    }

    /// As [`Runner::load`]; a damaged schedule is as good as none, but told of.
    pub(super) async fn load_usable(&mut self, key: &ScheduleKey) -> Result<bool, StoreError> {
        match self.load(key).await {
            Ok(known) => Ok(known),
            Err(LoadError::Store(error)) => Err(error),
            Err(LoadError::Damaged) => {
                tracing::error!(schedule = key.schedule_id, "the rows of a schedule are damaged: it does nothing any more");
                Ok(false)
            }
        }
    }

    pub(super) fn carried_out(&mut self, task: Task, outcome: Outcome, round: &mut Round) {
        let Task { key, uid, work } = task;
        let now = self.shared.now();
        // Another schedule of the same id may have taken its place.
        let Some(live) = self.live.get_mut(&key).filter(|live| live.schedule.definition.uid == uid) else { return };
        live.under_way.remove(&work);
        round.bytes += live.bytes;
        let schedule = &mut live.schedule;
        match (work, outcome) {
            (Work::Start(number), Outcome::Started { workflow_id, run_id }) => {
                self.shared.stats.scheduled_starts.add(1);
                schedule.started(number, &workflow_id, &run_id, now);
            }
            (Work::Start(number), Outcome::AlreadyStarted) => schedule.already_started(number, now),
            (Work::Start(number), Outcome::NotThere) => schedule.start_failed(number, StartFailure::NotThere, now),
            (Work::Start(number), Outcome::Failed { text, for_good }) => {
                let failure = if for_good { StartFailure::Refused(&text) } else { StartFailure::Unknown };
                schedule.start_failed(number, failure, now);
            }
            (Work::Stop(number), Outcome::Stopped) => schedule.stopped(number),
            (Work::Look, Outcome::Looked { ended, gone }) => schedule.checked(ended, &gone, now),
            (Work::Look, _) => schedule.check_failed(),
            // A stop that failed is tried again.
            _ => {}
        }
        round.touched.insert(key);
    }

    pub(super) async fn take(&mut self, message: Message, round: &mut Round) {
        match message {
            Message::Stop => {
                self.stopping = true;
                self.inbox.close();
            }
            Message::TakeUp(told) => {
                if self.leaving.is_none() {
                    // They are here. The asker may have gone.
                    let _ = told.send(Ok(()));
                }
            }
            Message::GiveUp(told) => self.leaving.get_or_insert_default().push(told),
            Message::Call(key, call, reply, settled) => {
                round.loaded.insert(key.clone());
                let result = match self.load(&key).await {
                    Ok(known) => self.call(&key, known, call, round),
                    Err(LoadError::Damaged) if matches!(call, Call::Delete) => {
                        round.damaged.push(key.clone());
                        Ok(Bytes::new())
                    }
                    Err(LoadError::Damaged) => Err(rows::damaged()),
                    Err(LoadError::Store(error)) => {
                        tracing::error!(%error, "a schedule could not be read");
                        Err(Refusal::Unavailable(UNAVAILABLE.into()))
                    }
                };
                if let (Ok(_), Some(settled), Some(live)) = (&result, settled, self.live.get_mut(&key)) {
                    live.waiting.push(Waiting { starts: None, settled });
                }
                round.answers.push(Answer::Call(reply, result));
            }
            Message::Ended(key, watch, ended, reply) => {
                round.loaded.insert(key.clone());
                match self.load_usable(&key).await {
                    Ok(known) => {
                        if known {
                            self.ended(key, &watch, *ended, round);
                        }
                        round.answers.push(Answer::Heard(reply));
                    }
                    // The sender is dropped: it is told again.
                    Err(error) => tracing::error!(%error, "a schedule could not be read"),
                }
            }
        }
    }

    fn ended(&mut self, key: ScheduleKey, watch: &Watch, ended: Ended, round: &mut Round) {
        let now = self.shared.now();
        let Some(live) = self.live.get_mut(&key).filter(|live| live.schedule.definition.uid == watch.uid) else { return };
        live.schedule.ended(watch.number, ended, now);
        round.bytes += live.bytes;
        round.touched.insert(key);
    }

    fn call(&mut self, key: &ScheduleKey, known: bool, call: Call, round: &mut Round) -> Result<Bytes, Refusal> {
        let now = self.shared.now();
        let live = match call {
            Call::Create(create) => return self.create(key, known, *create, round),
            _ => self.live.get_mut(key).filter(|_| known).ok_or_else(not_found)?,
        };
        match call {
            Call::Create(_) => {}
            Call::Update(update) => update_one(live, *update, now)?,
            Call::Patch(patch, request_id) => {
                if !live.schedule.is_repeated(&request_id) {
                    live.schedule.patch(&patch, now)?;
                    live.schedule.remember(request_id);
                }
            }
            Call::Delete => live.is_deleted = true,
            Call::Seen(statuses) => statuses.into_iter().for_each(|(number, status)| live.schedule.seen(number, status)),
        }
        let token = live.schedule.conflict_token();
        round.bytes += live.schedule.size();
        round.touched.insert(key.clone());
        Ok(token)
    }

    fn create(&mut self, key: &ScheduleKey, known: bool, create: super::Create, round: &mut Round) -> Result<Bytes, Refusal> {
        let now = self.shared.now();
        // Deleted since the call was admitted: what goes with a namespace may have gone already.
        if self.shared.namespaces.is_gone(key.namespace) {
            return Err(Refusal::NamespaceNotFound(self.shared.namespaces.view(key.namespace).name.clone()));
        }
        let (definition, state, patch) = create;
        if known && let Some(live) = self.live.get(key) {
            let there = &live.schedule.definition;
            if there.request_id == definition.request_id {
                return Ok(live.schedule.conflict_token());
            }
            return Err(Refusal::AlreadyStarted {
                message: format!("schedule {:?} is already registered", key.schedule_id),
                start_request_id: there.request_id.clone(),
                run_id: there.uid.clone(),
                first_run_id: there.uid.clone(),
            });
        }
        let mut schedule = Schedule::new(definition, state, &Database, now).map_err(Refusal::InvalidArgument)?;
        let token = schedule.conflict_token();
        if let Some(patch) = patch {
            schedule.patch(&patch, now)?;
        }
        // One of the same id that was deleted in this round: its rows are replaced, and found by its state.
        let old = self.live.get(key).map(|live| (live.schedule.state.wake_at, live.schedule.state.owes));
        if let Some((wake_at, owes)) = old {
            (schedule.state.wake_at, schedule.state.owes) = (wake_at, owes);
        }
        round.bytes += schedule.size();
        self.insert(key.clone(), schedule, true);
        round.touched.insert(key.clone());
        Ok(token)
    }
}

fn update_one(live: &mut Live, update: Update, now: Timestamp) -> Result<(), Refusal> {
    // First: a repeated call names the token from before the one that was carried out.
    if live.schedule.is_repeated(&update.request_id) {
        return Ok(());
    }
    if !update.conflict_token.is_empty() && update.conflict_token != live.schedule.conflict_token() {
        return Err(Refusal::FailedPrecondition("mismatched conflict token".into()));
    }
    let mut definition = live.schedule.definition.clone();
    definition.spec = update.definition.spec;
    definition.action = update.definition.action;
    definition.policies = update.definition.policies;
    definition.search_attributes = update.search_attributes.or(definition.search_attributes);
    definition.memo = update.memo.or(definition.memo);
    live.schedule.update(definition, update.state, &Database, now).map_err(Refusal::InvalidArgument)?;
    live.schedule.remember(update.request_id);
    live.redefined = true;
    Ok(())
}
