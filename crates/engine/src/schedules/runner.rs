//! The loop that owns the rows of schedules.
//!
//! | state | what happens |
//! |---|---|
//! | owning | a round: what came in, what was carried out, what is due; one commit; then answers and effects |
//! | commit failed | everybody waiting is told Unavailable, what is in memory is dropped, the rows are acquired anew, what is owed is read again |
//! | acquire refused (the disk is full) | tried again |
//! | acquire failed | the engine has failed: the process should exit |
//! | stopping | answers what is in the inbox, ends; what is owed is carried out after the next start |
//!
//! In memory are only schedules with something under way. What is due is found by the first due row of each slot.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use prost::Message as _;
use sempre_core::{
    Refusal, SlotId, Span, Timestamp,
    keys::schedules::{self as keys, ScheduleKey},
    schedule::{Ended, Schedule, not_found, start_request, state::Watch},
};
use sempre_store::{CommitBatch, Fence, StoreError, Table};
use tokio::sync::{mpsc, oneshot};

use super::{
    Call, Message, UNAVAILABLE, Update,
    effects::{Effect, Outcome, Start, StopRun, carry_out},
    rows,
};
use crate::{VirtualTime, namespaces::DELETED, shared::Shared, virtual_time::Part, zones::Database};

/// The number under which schedules are committed; far from those of shards, and not that of namespaces or of Meta.
pub(crate) const OWNER: u32 = u32::MAX - 2;
/// Messages and outcomes of one round.
const ROUND_MAX: usize = 256;
/// Schedules that are due, taken in one round.
const DUE_MAX: usize = 256;
/// Bytes of rows after which a round takes no more.
const ROUND_BYTES_MAX: usize = 1 << 20;
/// Starts and stops under way at once: few enough that shards serve others beside.
const ACTIVE_MAX: usize = 128;
/// And those that wait for that, after which nothing more that is due is taken.
const WAITING_MAX: usize = 512;
/// Bytes of schedules in memory after which nothing more that is due is taken.
const LIVE_BYTES_MAX: usize = 32 << 20;
/// Pause after a read or an acquisition that failed.
const RETRY: Span = Span::seconds(1);
/// Tries of a read before the engine gives up.
const TRIES_MAX: usize = 30;

/// A schedule with something under way.
struct Live {
    schedule: Schedule,
    /// By number; `true`: a stop.
    under_way: BTreeSet<(u64, bool)>,
    bytes: usize,
    /// Its definition has changed.
    redefined: bool,
    is_deleted: bool,
    /// Read again after a restart or a failed commit: what it owes may have been carried out.
    repeated: bool,
}

/// A start or stop that is wanted.
#[derive(Clone)]
struct Task {
    key: ScheduleKey,
    /// Of the schedule that wants it.
    uid: String,
    number: u64,
    stop: bool,
}

/// What leaves after the commit.
enum Answer {
    Call(oneshot::Sender<Result<Bytes, Refusal>>, Result<Bytes, Refusal>),
    Heard(oneshot::Sender<()>),
}

#[derive(Default)]
struct Round {
    /// Looked at.
    loaded: BTreeSet<ScheduleKey>,
    /// Changed.
    touched: BTreeSet<ScheduleKey>,
    answers: Vec<Answer>,
    /// Rows that say that something is due, and must go though there is no schedule.
    stray: Vec<(Timestamp, ScheduleKey)>,
    slots: BTreeSet<u16>,
    bytes: usize,
}

/// See the module. The parts are changed by its own task only.
pub(crate) struct Runner {
    shared: Arc<Shared>,
    fence: Fence,
    inbox: mpsc::Receiver<Message>,
    live: BTreeMap<ScheduleKey, Live>,
    live_bytes: usize,
    waiting: VecDeque<Task>,
    active: FuturesUnordered<BoxFuture<'static, (Task, Outcome)>>,
    /// No row of the slot is due before.
    next_due: BTreeMap<u16, Timestamp>,
    /// What is owed is still to be read, slot by slot, from behind a schedule on.
    to_recover: VecDeque<(u16, Option<ScheduleKey>)>,
    /// Nothing is read before this time.
    retry_at: Option<Timestamp>,
    failed_reads: usize,
    /// Tells virtual time what this waits for.
    part: Option<Part>,
    stopping: bool,
}

impl Runner {
    /// A runner of rows that were just acquired.
    pub(crate) fn new(shared: Arc<Shared>, epoch: u64, inbox: mpsc::Receiver<Message>) -> Self {
        let mut runner = Self {
            fence: Fence { shard: OWNER, epoch },
            inbox,
            live: BTreeMap::new(),
            live_bytes: 0,
            waiting: VecDeque::new(),
            active: FuturesUnordered::new(),
            next_due: BTreeMap::new(),
            to_recover: VecDeque::new(),
            retry_at: None,
            failed_reads: 0,
            part: shared.virtual_time.as_ref().map(VirtualTime::part),
            stopping: false,
            shared,
        };
        runner.forget();
        runner
    }

    /// Drops what is in memory; all is to be read again.
    fn forget(&mut self) {
        self.live.clear();
        self.live_bytes = 0;
        self.waiting.clear();
        self.active = FuturesUnordered::new();
        let namespaces = self.shared.namespaces.list("", usize::MAX, true);
        let slots: BTreeSet<u16> = namespaces.iter().map(|namespace| keys::slot_of_schedules(namespace.id()).0).collect();
        self.next_due = slots.iter().map(|slot| (*slot, Timestamp(0))).collect();
        self.to_recover = slots.into_iter().map(|slot| (slot, None)).collect();
    }

    /// Runs until told to stop, or until the rows cannot be owned any more.
    pub(crate) async fn run(mut self) {
        let mut received = Vec::new();
        let mut pending = VecDeque::new();
        while !(self.stopping && self.inbox.is_empty() && pending.is_empty()) {
            let busy = !pending.is_empty();
            self.hold_time(busy);
            let timer = self.timer();
            let mut done = Vec::new();
            {
                let Self { active, inbox, .. } = &mut self;
                tokio::select! {
                    biased;
                    Some(one) = active.next(), if !active.is_empty() => done.push(one),
                    _ = inbox.recv_many(&mut received, ROUND_MAX), if !busy => {}
                    () = futures::future::ready(()), if busy => {}
                    () = timer => {}
                }
                while done.len() < ROUND_MAX
                    && let Some(Some(one)) = active.next().now_or_never()
                {
                    done.push(one);
                }
            }
            self.part.iter_mut().for_each(Part::work);
            pending.extend(received.drain(..));
            while pending.len() < ROUND_MAX
                && let Ok(message) = self.inbox.try_recv()
            {
                pending.push_back(message);
            }
            let mut round = Round::default();
            for (task, outcome) in done {
                self.carried_out(task, outcome, &mut round);
            }
            // What is too much for one commit waits for the next.
            while round.bytes <= ROUND_BYTES_MAX
                && let Some(message) = pending.pop_front()
            {
                self.take(message, &mut round).await;
            }
            let read = self.take_due(&mut round).await;
            if let Err(reason) = self.commit(round, read).await {
                return self.shared.fail(reason);
            }
            self.start_active();
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_MAX && self.live_bytes < LIVE_BYTES_MAX && !self.stopping
    }

    fn next_due(&self) -> Option<Timestamp> {
        if self.to_recover.is_empty() { self.next_due.values().min().copied() } else { Some(Timestamp(0)) }
    }

    /// Before the wait for the next round: does virtual time have to wait too?
    fn hold_time(&mut self, busy: bool) {
        let rests = !busy && self.active.is_empty() && self.waiting.is_empty();
        let due = self.next_due();
        if let Some(part) = self.part.as_mut().filter(|_| rests) {
            part.rest(due);
        }
    }

    /// Resolves when something is due, if there is room for it.
    fn timer(&self) -> BoxFuture<'static, ()> {
        match self.next_due().filter(|_| self.has_room()) {
            Some(at) => self.shared.clock.sleep_until(at.max(self.retry_at.unwrap_or(at))),
            None => futures::future::pending().boxed(),
        }
    }

    // --- one round ---

    /// Brings a schedule into memory. `Ok(false)`: there is none.
    async fn load(&mut self, key: &ScheduleKey) -> Result<bool, StoreError> {
        if let Some(live) = self.live.get(key) {
            return Ok(!live.is_deleted);
        }
        let Some(schedule) = rows::load(&*self.shared.store, key).await? else { return Ok(false) };
        self.insert(key.clone(), schedule, false);
        Ok(true)
    }

    fn insert(&mut self, key: ScheduleKey, schedule: Schedule, is_new: bool) {
        let bytes = schedule.size();
        self.live_bytes += bytes;
        let live = Live { schedule, under_way: BTreeSet::new(), bytes, redefined: is_new, is_deleted: false, repeated: false };
        if let Some(old) = self.live.insert(key, live) {
            self.live_bytes -= old.bytes;
        }
    }

    fn carried_out(&mut self, task: Task, outcome: Outcome, round: &mut Round) {
        let Task { key, uid, number, stop } = task;
        let now = self.shared.now();
        // Another schedule of the same id may have taken its place.
        let Some(live) = self.live.get_mut(&key).filter(|live| live.schedule.definition.uid == uid) else { return };
        live.under_way.remove(&(number, stop));
        round.bytes += live.bytes;
        match outcome {
            Outcome::Started { workflow_id, run_id } => {
                self.shared.stats.scheduled_starts.add(1);
                live.schedule.started(number, &workflow_id, &run_id, now);
            }
            Outcome::AlreadyStarted => live.schedule.already_started(number, now),
            Outcome::Failed { text, for_good } if !stop => live.schedule.start_failed(number, &text, for_good, now),
            Outcome::Failed { .. } => {}
            Outcome::Stopped => live.schedule.stopped(number),
        }
        round.touched.insert(key);
    }

    async fn take(&mut self, message: Message, round: &mut Round) {
        match message {
            Message::Stop => {
                self.stopping = true;
                self.inbox.close();
            }
            Message::Call(key, call, reply) => {
                round.loaded.insert(key.clone());
                let result = match self.load(&key).await {
                    Ok(known) => self.call(&key, known, call, round),
                    Err(error) => {
                        tracing::error!(%error, "a schedule could not be read");
                        Err(Refusal::Unavailable(UNAVAILABLE.into()))
                    }
                };
                round.answers.push(Answer::Call(reply, result));
            }
            Message::Ended(key, watch, ended, reply) => {
                round.loaded.insert(key.clone());
                match self.load(&key).await {
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
        if let Call::Create(create) = call {
            let (definition, state, patch) = *create;
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
            return Ok(token);
        }
        let live = self.live.get_mut(key).filter(|_| known).ok_or_else(not_found)?;
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

    /// Takes a part of what is due, and of what is owed from before.
    async fn take_due(&mut self, round: &mut Round) -> Result<(), StoreError> {
        let now = self.shared.now();
        if self.retry_at.is_some_and(|at| at > now) {
            return Ok(());
        }
        self.recover(round).await?;
        let slots: Vec<u16> = self.next_due.iter().filter(|(_, at)| **at <= now).map(|(slot, _)| *slot).collect();
        for slot in slots {
            if !self.has_room() || round.bytes > ROUND_BYTES_MAX {
                return Ok(());
            }
            round.slots.insert(slot);
            for (at, key) in rows::due(&*self.shared.store, SlotId(slot), now, DUE_MAX).await? {
                if !self.has_room() || round.bytes > ROUND_BYTES_MAX {
                    return Ok(());
                }
                self.look_at(at, key, now, round).await;
            }
        }
        Ok(())
    }

    /// A due row says: look at this one.
    async fn look_at(&mut self, at: Timestamp, key: ScheduleKey, now: Timestamp, round: &mut Round) {
        let known = self.load(&key).await.unwrap_or_else(|error| {
            tracing::error!(%error, "a schedule that is due could not be read: it is left alone");
            false
        });
        let live = self.live.get_mut(&key).filter(|live| known && live.schedule.state.wake_at == at.0);
        let Some(live) = live else { return round.stray.push((at, key)) };
        let namespace = self.shared.namespaces.by_id(key.namespace);
        let gone = namespace.is_none_or(|namespace| namespace.record.state == DELETED);
        if gone || live.schedule.is_over(now) {
            live.is_deleted = true;
        } else {
            live.schedule.advance(now);
        }
        round.bytes += live.bytes;
        round.touched.insert(key);
    }

    async fn recover(&mut self, round: &mut Round) -> Result<(), StoreError> {
        while self.has_room()
            && round.touched.len() < DUE_MAX
            && let Some((slot, after)) = self.to_recover.pop_front()
        {
            let store = self.shared.store.clone();
            let found = rows::owing(&*store, SlotId(slot), after.as_ref(), DUE_MAX).await;
            let found = found.inspect_err(|_| self.to_recover.push_front((slot, after)))?;
            if found.len() == DUE_MAX {
                self.to_recover.push_front((slot, found.last().cloned()));
            }
            for key in found {
                match self.load(&key).await {
                    Ok(true) => {
                        if let Some(live) = self.live.get_mut(&key) {
                            live.repeated = true;
                        }
                        round.touched.insert(key);
                    }
                    Ok(false) => {}
                    Err(error) => tracing::error!(%error, "a schedule that owes something could not be read: it is left alone"),
                }
            }
        }
        Ok(())
    }

    // --- its end ---

    /// Writes the round, then lets its answers go and finds what is to be carried out. `Err`: the engine has failed.
    async fn commit(&mut self, round: Round, read: Result<(), StoreError>) -> Result<(), String> {
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
        for key in round.touched.into_iter().chain(round.loaded) {
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
        for key in &round.touched {
            let Some(live) = self.live.get_mut(key) else { continue };
            let state = &mut live.schedule.state;
            let (old_wake, old_owes) = (state.wake_at, state.owes);
            if live.is_deleted {
                if old_wake != 0 {
                    batch.delete(Table::Schedule, &keys::due(key, Timestamp(old_wake)));
                }
                if old_owes {
                    batch.delete(Table::Schedule, &keys::owes(key));
                }
                batch.delete(Table::Schedule, &keys::definition(key));
                batch.delete(Table::Schedule, &keys::state(key));
                continue;
            }
            let owes = !state.starting.is_empty() || live.schedule.stops().next().is_some();
            let wake = live.schedule.wake_at(now).map_or(0, |at| at.0.max(1));
            let state = &mut live.schedule.state;
            (state.wake_at, state.owes) = (wake, owes);
            if wake != old_wake {
                if old_wake != 0 {
                    batch.delete(Table::Schedule, &keys::due(key, Timestamp(old_wake)));
                }
                if wake != 0 {
                    batch.put(Table::Schedule, &keys::due(key, Timestamp(wake)), &[]);
                    let next = self.next_due.entry(keys::slot_of_schedules(key.namespace).0).or_insert(Timestamp(wake));
                    *next = (*next).min(Timestamp(wake));
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
        }
        batch
    }

    /// After the commit: what a schedule owes gets under way; one with nothing under way leaves memory.
    fn plan(&mut self, key: ScheduleKey) {
        let now = self.shared.now();
        let Some(live) = self.live.get_mut(&key) else { return };
        live.redefined = false;
        let mut tasks: Vec<(u64, bool)> = Vec::new();
        if !live.is_deleted {
            tasks.extend(live.schedule.starts(now).map(|starting| (starting.number, false)));
            tasks.extend(live.schedule.stops().map(|running| (running.number, true)));
        }
        for task in tasks {
            if live.under_way.insert(task) {
                let (uid, (number, stop)) = (live.schedule.definition.uid.clone(), task);
                self.waiting.push_back(Task { key: key.clone(), uid, number, stop });
            }
        }
        if live.under_way.is_empty() || live.is_deleted {
            self.live_bytes -= live.bytes;
            self.live.remove(&key);
        }
    }

    fn start_active(&mut self) {
        while self.active.len() < ACTIVE_MAX
            && !self.shared.stopping.load(Ordering::Acquire)
            && let Some(task) = self.waiting.pop_front()
        {
            let Some(effect) = self.effect(&task) else { continue };
            let carry_out = carry_out(self.shared.clone(), task.key.clone(), effect);
            self.active.push(carry_out.map(|outcome| (task, outcome)).boxed());
        }
    }

    /// `None`: it is not wanted any more.
    fn effect(&mut self, task: &Task) -> Option<Effect> {
        let Task { key, uid, number, stop } = task;
        let live = self.live.get_mut(key).filter(|live| live.schedule.definition.uid == *uid)?;
        let schedule = &live.schedule;
        let namespace = self.shared.namespaces.view(key.namespace);
        let effect = if *stop {
            let running = schedule.stops().find(|running| running.number == *number).cloned();
            let identity = format!("temporal-scheduler-{}-{}", namespace.name, key.schedule_id);
            running.map(|running| Effect::Stop(Box::new(StopRun { running, uid: schedule.definition.uid.clone(), identity })))
        } else {
            let starting = schedule.state.starting.iter().find(|starting| starting.number == *number);
            starting.map(|starting| {
                let (request, watcher) = start_request(schedule, starting, &namespace.name);
                Effect::Start(Box::new(Start { request, watcher, repeated: live.repeated || starting.failures > 0 }))
            })
        };
        if effect.is_none() {
            live.under_way.remove(&(*number, *stop));
            if live.under_way.is_empty() {
                self.live_bytes -= live.bytes;
                self.live.remove(key);
            }
        }
        effect
    }

    /// Takes the rows back after a failed commit, and reads again what is owed.
    async fn acquire(&mut self) -> Result<(), String> {
        self.forget();
        loop {
            match self.shared.store.acquire(OWNER).await {
                Ok(epoch) => {
                    self.fence.epoch = epoch;
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

fn update_one(live: &mut Live, update: Update, now: Timestamp) -> Result<(), Refusal> {
    if !update.conflict_token.is_empty() && update.conflict_token != live.schedule.conflict_token() {
        return Err(Refusal::FailedPrecondition("mismatched conflict token".into()));
    }
    if live.schedule.is_repeated(&update.request_id) {
        return Ok(());
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
