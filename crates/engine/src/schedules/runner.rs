//! The loop that owns the rows of schedules.
//!
//! | state | what happens |
//! |---|---|
//! | owning | a round: what came in, what was carried out (`round`), what is due (`due`); one commit, then answers and effects (`commit`) |
//! | commit failed | everybody waiting is told Unavailable, what is in memory is dropped, the rows are acquired anew, what is owed is read again |
//! | acquire refused (the disk is full) | tried again |
//! | acquire failed | the engine has failed: the process should exit |
//! | given up, or another node has the rows | the commit at hand is finished; what is under way is dropped, as if the process had died; the keeper answers |
//! | stopping | answers what is in the inbox, ends; what is owed is carried out after the next start |
//!
//! In memory are only schedules with something under way, or that a client waits for. What is due is found by the first
//! due row of each slot.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, atomic::Ordering},
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use sempre_core::{
    Span, Timestamp,
    keys::schedules::{self as keys, ScheduleKey},
    schedule::{Schedule, start_request},
};
use sempre_store::Fence;
use tokio::sync::{mpsc, oneshot};

use super::{
    Message,
    effects::{Effect, Outcome, Start, StopRun, carry_out},
    keeper,
    round::Round,
};
use crate::{VirtualTime, shared::Shared, virtual_time::Part};

/// The number under which schedules are committed; far from those of shards, and not that of namespaces or of Meta.
pub(crate) const OWNER: u32 = u32::MAX - 2;
/// Messages and outcomes of one round.
const ROUND_MAX: usize = 256;
/// Bytes of rows after which a round takes no more.
pub(super) const ROUND_BYTES_MAX: usize = 1 << 20;
/// Starts, stops and looks under way at once: few enough that shards serve others beside.
const ACTIVE_MAX: usize = 128;
/// And those that wait for that, after which nothing more that is due is taken.
const WAITING_MAX: usize = 512;
/// Bytes of schedules in memory after which nothing more that is due is taken.
const LIVE_BYTES_MAX: usize = 32 << 20;
/// Pause after a read or an acquisition that failed.
pub(super) const RETRY: Span = Span::seconds(1);
/// Tries of a read before the engine gives up.
pub(super) const TRIES_MAX: usize = 30;

/// A schedule with something under way.
pub(super) struct Live {
    pub(super) schedule: Schedule,
    pub(super) under_way: BTreeSet<Work>,
    pub(super) bytes: usize,
    /// Its definition has changed.
    pub(super) redefined: bool,
    pub(super) is_deleted: bool,
    pub(super) waiting: Vec<Waiting>,
}

/// Somebody waits until what he asked for is carried out.
pub(super) struct Waiting {
    /// The last start that it can be; `None`: not known before the schedule knows what runs.
    pub(super) starts: Option<u64>,
    pub(super) settled: oneshot::Sender<()>,
}

/// Something that a schedule wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    /// The start of this number.
    Start(u64),
    /// A stop of the run of this start.
    Stop(u64),
    /// A look at what runs.
    Look,
}

/// That, of one schedule.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) key: ScheduleKey,
    /// Of the schedule that wants it.
    pub(super) uid: String,
    pub(super) work: Work,
}

/// See the module. The parts are changed by its own task only.
pub(crate) struct Runner {
    pub(super) shared: Arc<Shared>,
    pub(super) fence: Fence,
    pub(super) inbox: mpsc::Receiver<Message>,
    pub(super) live: BTreeMap<ScheduleKey, Live>,
    live_bytes: usize,
    pub(super) waiting: VecDeque<Task>,
    active: FuturesUnordered<BoxFuture<'static, (Task, Outcome)>>,
    /// No row of the slot is due before.
    pub(super) next_due: BTreeMap<u16, Timestamp>,
    /// What is owed is still to be read, slot by slot, from behind a schedule on.
    pub(super) to_recover: VecDeque<(u16, Option<ScheduleKey>)>,
    /// Nothing is read before this time.
    pub(super) retry_at: Option<Timestamp>,
    pub(super) failed_reads: usize,
    /// Tells virtual time what this waits for.
    part: Option<Part>,
    pub(super) stopping: bool,
    /// The rows are to be another node's: who waits until nothing is done with them here.
    pub(super) leaving: Option<Vec<oneshot::Sender<()>>>,
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
            leaving: None,
            shared,
        };
        runner.forget();
        runner
    }

    /// Drops what is in memory; all is to be read again.
    pub(super) fn forget(&mut self) {
        self.live.clear();
        self.live_bytes = 0;
        self.waiting.clear();
        self.active = FuturesUnordered::new();
        let namespaces = self.shared.namespaces.list("", usize::MAX, true);
        let slots: BTreeSet<u16> = namespaces.iter().map(|namespace| keys::slot_of_schedules(namespace.id()).0).collect();
        self.next_due = slots.iter().map(|slot| (*slot, Timestamp(0))).collect();
        self.to_recover = slots.into_iter().map(|slot| (slot, None)).collect();
    }

    /// Runs until told to stop, or until the rows cannot be owned any more. When another node is to have them, gives the inbox back.
    pub(crate) async fn run(mut self) -> Option<mpsc::Receiver<Message>> {
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
                self.shared.fail(reason);
                return None;
            }
            if self.leaving.is_some() {
                return Some(self.leave(pending));
            }
            self.start_active();
        }
        None
    }

    /// Everything is written that was answered; the rest is for whoever has the rows next.
    fn leave(mut self, pending: VecDeque<Message>) -> mpsc::Receiver<Message> {
        self.shared.once.go(OWNER);
        pending.into_iter().for_each(keeper::refuse);
        for told in self.leaving.take().into_iter().flatten() {
            // The asker may have gone.
            let _ = told.send(());
        }
        self.inbox
    }

    pub(super) fn has_room(&self) -> bool {
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

    // --- what is in memory ---

    pub(super) fn insert(&mut self, key: ScheduleKey, schedule: Schedule, is_new: bool) {
        let bytes = schedule.size();
        self.live_bytes += bytes;
        let live = Live { schedule, under_way: BTreeSet::new(), bytes, redefined: is_new, is_deleted: false, waiting: Vec::new() };
        if let Some(old) = self.live.insert(key, live) {
            self.live_bytes -= old.bytes;
        }
    }

    pub(super) fn remove(&mut self, key: &ScheduleKey) {
        if let Some(live) = self.live.remove(key) {
            self.live_bytes -= live.bytes;
        }
    }

    // --- what is under way ---

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
        let Task { key, uid, work } = task;
        let now = self.shared.now();
        let live = self.live.get_mut(key).filter(|live| live.schedule.definition.uid == *uid)?;
        let schedule = &mut live.schedule;
        let namespace = self.shared.namespaces.view(key.namespace);
        let effect = match work {
            Work::Stop(number) => {
                let running = schedule.stops().find(|running| running.number == *number).cloned();
                let identity = format!("temporal-scheduler-{}-{}", namespace.name, key.schedule_id);
                running.map(|running| Effect::Stop(Box::new(StopRun { running, uid: schedule.definition.uid.clone(), identity })))
            }
            Work::Start(number) => {
                let starting = schedule.state.starting.iter().find(|starting| starting.number == *number);
                starting.map(|starting| {
                    let (request, watcher) = start_request(schedule, starting, &namespace.name);
                    let start = Box::new(Start { request, watcher });
                    if starting.is_looked_for(now) { Effect::Find(start) } else { Effect::Start(start) }
                })
            }
            Work::Look => schedule.wants_check().then(|| {
                schedule.check_begins();
                Effect::Look(schedule.state.running.clone())
            }),
        };
        if effect.is_none() {
            live.under_way.remove(work);
            // Another look may be wanted by now, or nothing at all.
            self.plan(key);
        }
        effect
    }
}
