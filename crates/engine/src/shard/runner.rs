//! The loop of one shard.
//!
//! | state | what happens |
//! |---|---|
//! | owning | takes messages, applies them, closes a batch per round, keeps a few commits in flight |
//! | commit failed | everything is forgotten and the shard begins again ([`super::recover`]) |
//! | leaving | takes no new messages, finishes what it has taken on, and gives its place to the keeper ([`super::leave`]) |
//! | stopping | takes no new messages, answers what is in the inbox, waits for the commits in flight, ends |

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    future::Future,
    sync::Arc,
    task::Poll,
};

use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{FuturesOrdered, FuturesUnordered},
};
use prost::Message as _;
use sempre_core::{
    Busy, Execution, Refusal, Reply, RunId, RunKey, SlotId, Span, Timestamp, WorkflowKey,
    ids::SLOT_COUNT,
    keys,
    planted::{self, Bug},
    transition::UpdateNews,
};
use sempre_store::{CommitBatch, CommitError, Fence, StoreError, Table};
use tokio::sync::{mpsc, oneshot};

use super::{
    batch::{InFlight, OpenBatch, Output},
    cache::{Cache, Current, Run},
    deadlines::{self, Deadlines, Kind, SlotRows},
    leave::{self, Leaving},
    listing::Listed,
    load::{self, Loaded},
    message::{Answer, Ask, Body, Message, ReplyTo, RunMessage},
    outbox::Outbox,
    settle::kind_of,
    updates::UpdateWatchers,
    usage::ShardUsage,
};
use crate::{
    VirtualTime,
    ids::SeededIds,
    notices::rows,
    shared::{SHARD_UNAVAILABLE, Shared},
    stats::KnownTypes,
    usage::Counted,
    virtual_time::Part,
};

/// Deadlines fired in one round: a backlog of them must not starve the inbox.
const DEADLINES_A_ROUND: usize = 64;
/// Runs whose retention has ended that are deleted in one round of a shard without much to do.
const EXPIRED_A_ROUND: usize = 16;
/// Calls for each of which one such run may go in a busy round: a workflow takes more calls than that to run.
const CALLS_PER_EXPIRED: usize = 4;
/// Bytes of commits under way after which nothing more is taken on.
const IN_FLIGHT_BYTES_MAX: u64 = 16 << 20;
/// Messages that may wait for one workflow to be read.
const WAITING_MAX: usize = 4096;
/// Watchers of one run's history.
const WATCHERS_MAX: usize = 1000;

type DeadlineRead = (Vec<(u16, Timestamp)>, Result<Vec<SlotRows>, StoreError>);

/// Loads that are under way for the shard, with the workflow each is for.
type Loads = FuturesUnordered<BoxFuture<'static, (WorkflowKey, Loaded)>>;

/// See the module. The parts are changed by the shard's own task only.
pub(crate) struct Runner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) shard: u32,
    pub(super) fence: Fence,
    pub(super) inbox: mpsc::Receiver<Message>,
    pub(crate) cache: Cache,
    pub(crate) open: OpenBatch,
    /// Number of the open batch.
    pub(crate) batch_number: u64,
    pub(super) in_flight: VecDeque<InFlight>,
    pub(super) commits: FuturesOrdered<BoxFuture<'static, Result<(), CommitError>>>,
    pub(super) loads: Loads,
    pub(crate) deadlines: Deadlines,
    pub(super) deadline_reads: FuturesUnordered<BoxFuture<'static, DeadlineRead>>,
    pub(crate) outbox: Outbox,
    pub(crate) watchers: HashMap<RunKey, Vec<oneshot::Sender<()>>>,
    pub(crate) buffered_queries: HashSet<u64>,
    pub(crate) updates: UpdateWatchers,
    /// Runs that have, or had, pages of a completion in memory.
    pub(crate) paged: BTreeSet<RunKey>,
    /// Runs that exist only as copied events, with the time at which those are given up (see [`super::reset`]).
    pub(crate) staged: HashMap<RunId, Timestamp>,
    /// Messages of the shard to itself, and those that have waited for a read: older than what is pending.
    pub(super) again: VecDeque<Box<RunMessage>>,
    /// Messages out of the inbox.
    pub(super) pending: VecDeque<Message>,
    /// Reads of the shard's outbox rows under way.
    pub(super) rereads: usize,
    /// What such a read of this life of the shard is known by.
    pub(super) life: Arc<()>,
    /// Failed commits since the last one that succeeded.
    pub(super) failures: u32,
    /// Rows of what lists show.
    pub(crate) listed: Listed,
    /// Some of these rows may go, if need be in a commit of their own.
    pub(crate) taken: bool,
    /// Counters of the types it has seen.
    pub(crate) types: KnownTypes,
    /// What it has of each namespace.
    pub(crate) usage: ShardUsage,
    pub(crate) ids: SeededIds,
    /// Tells virtual time what this shard waits for.
    part: Option<Part>,
    /// What its runs have in hand, as virtual time was told; only of those that have something.
    pub(crate) in_hand: HashMap<RunId, Busy>,
    /// The index of runs was far behind when this round began: no commits, as what it has not taken is in memory.
    lists_full: bool,
    /// The shard is to be somebody else's.
    pub(super) leaving: Option<Leaving>,
    pub(super) stopping: bool,
}

/// What woke the loop.
enum Event {
    Committed(Result<(), CommitError>),
    Loaded(WorkflowKey, Loaded),
    Deadlines(DeadlineRead),
    Delivered,
    Messages,
    /// The index of runs has caught up.
    Room,
    /// The index of runs is far behind and takes nothing.
    Stuck,
    /// It may have taken what a shard that leaves has put.
    Listed,
    Timer,
}

impl Runner {
    /// A runner for a shard that was just acquired.
    pub(crate) fn new(shared: Arc<Shared>, shard: u32, epoch: u64, inbox: mpsc::Receiver<Message>, listed: Listed) -> Self {
        let fence = Fence { shard, epoch };
        let cache = Cache::new(shared.settings.cache_bytes_max / shared.shards.count());
        // The epoch is part of the stream: ids of a restarted process differ from those of the one before.
        let ids = SeededIds::new(shared.seed, 1 << 40 | epoch << 16 | u64::from(shard));
        Self {
            shard,
            fence,
            inbox,
            cache,
            open: OpenBatch::new(fence),
            batch_number: 1,
            in_flight: VecDeque::new(),
            commits: FuturesOrdered::new(),
            loads: FuturesUnordered::new(),
            deadlines: new_deadlines(&shared, shard),
            deadline_reads: FuturesUnordered::new(),
            outbox: Outbox::new(),
            watchers: HashMap::new(),
            buffered_queries: HashSet::new(),
            updates: UpdateWatchers::default(),
            paged: BTreeSet::new(),
            staged: HashMap::new(),
            again: VecDeque::new(),
            pending: VecDeque::new(),
            rereads: 0,
            life: Arc::new(()),
            failures: 0,
            listed,
            taken: false,
            types: KnownTypes::default(),
            usage: ShardUsage::default(),
            ids,
            part: shared.virtual_time.as_ref().map(VirtualTime::part),
            in_hand: HashMap::new(),
            lists_full: false,
            leaving: None,
            stopping: false,
            shared,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Serves until told to stop, or until the shard cannot be owned any more: then there is no inbox any more. One that has been
    /// given up gives it back.
    pub(crate) async fn run(mut self) -> Option<mpsc::Receiver<Message>> {
        let mut received = Vec::new();
        let mut timer: Option<(Timestamp, BoxFuture<'static, ()>)> = None;
        // The index of runs was found stuck, and still is: who waited was told, and so is who comes.
        let mut told_stuck = false;
        loop {
            self.read_deadlines();
            let wake_at = self.deadlines.next();
            if timer.as_ref().map(|(at, _)| *at) != wake_at {
                timer = wake_at.map(|at| (at, self.shared.clock.sleep_until(at)));
            }
            self.lists_full = !self.is_ending() && !self.shared.listing.visibility.has_room();
            let lists_full = self.lists_full;
            told_stuck &= lists_full && self.shared.listing.visibility.is_stuck();
            let room = self.has_room();
            let shared = self.shared.clone();
            let batch_max = self.shared.settings.batch_inputs_max;
            let busy = !self.again.is_empty() || !self.pending.is_empty() || self.stopping && !self.inbox.is_empty();
            self.hold_time(busy);
            let (stopping, ending) = (self.stopping, self.is_ending());
            // Without room nothing is taken on, but who is to be told so, or ends the shard, is heard.
            let listening = !stopping && (!busy || told_stuck && self.pending.len() < batch_max);
            let unlists = self.leaving.is_some() && self.is_quiet();
            let starts = self.leaving.is_none();
            let event = {
                let Self { commits, loads, deadline_reads, outbox, inbox, leaving, .. } = &mut self;
                tokio::select! {
                    biased;
                    Some(result) = commits.next(), if !commits.is_empty() => Event::Committed(result),
                    Some((workflow, loaded)) = loads.next(), if !loads.is_empty() => Event::Loaded(workflow, loaded),
                    Some(read) = deadline_reads.next(), if !deadline_reads.is_empty() => Event::Deadlines(read),
                    () = outbox.next(starts), if outbox.is_active() => Event::Delivered,
                    () = async { shared.listing.visibility.room().await }, if lists_full => Event::Room,
                    () = async { shared.listing.visibility.until_stuck(true).await }, if lists_full && !told_stuck => Event::Stuck,
                    () = leave::until_listed(leaving, &shared), if unlists => Event::Listed,
                    () = expire(&mut timer), if room && timer.is_some() && !ending => Event::Timer,
                    _ = inbox.recv_many(&mut received, batch_max), if (room || told_stuck) && listening => Event::Messages,
                    () = std::future::ready(()), if busy && room => Event::Messages,
                }
            };
            self.part.iter_mut().for_each(Part::work);
            match event {
                Event::Committed(Ok(())) => self.committed(),
                Event::Committed(Err(CommitError::Unknown { .. })) if planted::is(Bug::UnknownIsDone) => self.committed(),
                Event::Committed(Err(error)) => {
                    if let Err(reason) = self.recover(error).await {
                        self.shared.fail(reason);
                        return None;
                    }
                    timer = None;
                }
                Event::Loaded(workflow, loaded) => self.loaded(&workflow, loaded),
                Event::Deadlines((slots, rows)) => {
                    let now = self.now();
                    self.deadlines.take(&slots, rows, now);
                }
                Event::Messages if listening => after_others().await,
                Event::Delivered | Event::Messages => {}
                Event::Room => self.lists_full = false,
                Event::Stuck => told_stuck = true,
                Event::Listed => self.taken = true,
                Event::Timer => timer = None,
            }
            // Whatever woke the loop: what is in the inbox joins the batch, so that nothing can starve it.
            self.pending.extend(received.drain(..));
            if told_stuck && self.lists_full {
                self.refuse_waiting();
            }
            while self.has_room() && self.pending.len() < batch_max {
                let Ok(message) = self.inbox.try_recv() else { break };
                self.pending.push_back(message);
            }
            self.fire_deadlines();
            self.fire_memory_deadlines();
            let calls = self.again.len() + self.pending.len();
            self.take_messages();
            self.fire_expired(calls);
            self.close_batch();
            if self.leaving.is_none() {
                self.outbox.start(&self.shared);
                if self.outbox.runs_low() && self.rereads == 0 {
                    self.outbox.left_over = false;
                    self.reread(false);
                }
            }
            if self.stopping && self.is_quiet() {
                return None;
            }
            if self.leaving.is_some() && self.is_quiet() && self.is_unlisted() {
                return Some(self.leave());
            }
        }
    }

    /// Nothing can be done for who knows how long: whoever waits for an answer gets one, and who ends the shard is heard. What is
    /// ours stays.
    fn refuse_waiting(&mut self) {
        let mut all: VecDeque<Message> = std::mem::take(&mut self.pending);
        while let Ok(message) = self.inbox.try_recv() {
            all.push_back(message);
        }
        for message in all {
            match message {
                Message::Run(mut message) if message.reply.is_some() => {
                    if let Some(reply) = message.reply.take() {
                        // A caller that has gone away needs no answer.
                        let _ = reply.send(Err(self.shared.listing.held_back()));
                    }
                }
                Message::GiveUp(told) => self.give_up(told),
                Message::Stop => self.stop(),
                other => self.pending.push_back(other),
            }
        }
    }

    /// Another commit may be sent.
    fn has_room(&self) -> bool {
        if self.lists_full && !self.is_ending() {
            return false;
        }
        let bytes: u64 = self.in_flight.iter().map(|batch| batch.bytes).sum();
        self.in_flight.len() < self.shared.settings.commits_in_flight_max && bytes < IN_FLIGHT_BYTES_MAX
    }

    /// A batch that is large enough goes at once, so that it stays below what the store takes.
    fn close_if_full(&mut self) {
        if self.open.bytes() >= self.shared.settings.batch_bytes_max {
            self.close_batch();
        }
    }

    /// Applies the messages at hand, in several batches if they are large. What there is no room for stays.
    fn take_messages(&mut self) {
        let own = self.again.len();
        for turn in 0..own {
            if turn >= self.shared.settings.batch_inputs_max || !self.has_room() {
                return;
            }
            let Some(message) = self.again.pop_front() else { break };
            self.handle(message);
            self.close_if_full();
        }
        while self.has_room()
            && let Some(message) = self.pending.pop_front()
        {
            match message {
                Message::Run(message) if self.leaving.is_some() => self.handle_last(message),
                Message::Run(message) => self.handle(message),
                Message::Redeliver(sender, entry) => self.outbox.push_again(sender, entry),
                Message::Reread(life) => self.reread_ended(&life),
                Message::Taken => self.taken = true,
                Message::Settled(asks) => self.tell_settled(asks),
                Message::TakeUp(told) => self.take_up_again(told),
                Message::GiveUp(told) => self.give_up(told),
                Message::Stop => self.stop(),
            }
            self.close_if_full();
        }
    }

    /// Nothing new is begun.
    pub(super) fn is_ending(&self) -> bool {
        self.stopping || self.leaving.is_some()
    }

    pub(super) fn stop(&mut self) {
        self.stopping = true;
        self.inbox.close();
    }

    /// Before the wait for the next round: does virtual time have to wait too?
    fn hold_time(&mut self, busy: bool) {
        if self.part.is_none() {
            return;
        }
        let working = busy || !self.is_quiet() || self.taken || self.outbox.is_delivering() || self.outbox.left_over;
        let next = self.deadlines.next_of_runs();
        if let Some(part) = self.part.as_mut().filter(|_| !working) {
            part.rest(next);
        }
    }

    /// Tells virtual time what a run has in hand now.
    pub(crate) fn note_in_hand(&mut self, place: usize, run: RunId) {
        let Some(virtual_time) = &self.shared.virtual_time else { return };
        let execution = self.cache.at(place).run(run).and_then(|run| run.execution.as_deref());
        let new = execution.map(Execution::busy).unwrap_or_default();
        let old = if new == Busy::default() { self.in_hand.remove(&run) } else { self.in_hand.insert(run, new) };
        virtual_time.change(old.unwrap_or_default(), new);
    }

    /// The memory of the shard is lost: nothing is known of what its runs have in hand.
    pub(super) fn forget_in_hand(&mut self) {
        for (_, old) in self.in_hand.drain() {
            if let Some(virtual_time) = &self.shared.virtual_time {
                virtual_time.change(old, Busy::default());
            }
        }
    }

    /// Nothing is under way that somebody waits for.
    pub(super) fn is_quiet(&self) -> bool {
        self.in_flight.is_empty()
            && self.open.is_idle()
            && self.loads.is_empty()
            && self.again.is_empty()
            && self.pending.is_empty()
            && self.inbox.is_empty()
    }

    fn fire_deadlines(&mut self) {
        if self.is_ending() {
            return;
        }
        let now = self.now();
        for _ in 0..DEADLINES_A_ROUND {
            if !self.has_room() {
                return;
            }
            let Some((at, run, workflow)) = self.deadlines.pop_due(now) else { return };
            self.handle(Box::new(RunMessage { workflow, run: Some(run), ask: Ask::Wake(at), reply: None }));
            self.close_if_full();
        }
    }

    /// Deletes runs whose retention has ended: a share of the calls of this round whatever comes, so that a shard that is
    /// always busy gets rid of what it makes, and more within the second's budget.
    fn fire_expired(&mut self, calls: usize) {
        let now = self.now();
        let share = calls / CALLS_PER_EXPIRED;
        for n in 0..share.max(EXPIRED_A_ROUND) {
            if self.is_ending() || !self.has_room() {
                return;
            }
            let Some((at, run, workflow)) = self.deadlines.pop_expired(now, n < share) else { return };
            self.handle(Box::new(RunMessage { workflow, run: Some(run), ask: Ask::Wake(at), reply: None }));
            self.close_if_full();
        }
    }

    fn fire_memory_deadlines(&mut self) {
        let now = self.now();
        for _ in 0..DEADLINES_A_ROUND {
            if self.is_ending() || !self.has_room() {
                return;
            }
            let Some((run, workflow)) = self.deadlines.pop_memory(now) else { return };
            self.handle(Box::new(RunMessage { workflow, run: Some(run), ask: Ask::WakeMemory, reply: None }));
            self.close_if_full();
        }
    }

    fn read_deadlines(&mut self) {
        if !self.is_ending()
            && let Some((slots, to)) = self.deadlines.claim(self.now())
        {
            // Rows beyond the old cover may be in flight and nowhere else. The open batch is empty here.
            let barrier = (!self.in_flight.is_empty()).then(|| self.shared.store.commit(CommitBatch::new(self.fence)));
            self.deadline_reads.push(deadlines::read(self.shared.store.clone(), barrier, slots, to).boxed());
        }
    }

    /// Finds out what a message needs that is not in memory. `Ok`: nothing; the place of the workflow.
    pub(crate) fn handle(&mut self, message: Box<RunMessage>) {
        let place = self.cache.place(&message.workflow);
        if let Some(waiting) = &mut self.cache.at(place).waiting {
            if waiting.len() < WAITING_MAX || message.reply.is_none() {
                waiting.push_back(message);
            } else if let Some(reply) = message.reply {
                let _ = reply.send(Err(Refusal::Overloaded("too many requests wait for this workflow")));
            }
            return;
        }
        let mut hit = true;
        while let Some(read) = self.missing(place, &message) {
            hit = false;
            let key = message.workflow.clone();
            let mut read = read.map(move |loaded| (key, loaded)).boxed();
            match (&mut read).now_or_never() {
                Some((_, loaded)) => {
                    if let Some((reason, told)) = loaded.failure() {
                        tracing::error!(reason, workflow = message.workflow.workflow_id, "a run could not be read");
                        return self.refuse(message, Refusal::Unavailable(told.into()));
                    }
                    self.take_loaded(place, loaded);
                }
                None => {
                    self.cache.at(place).waiting = Some(VecDeque::from([message]));
                    self.loads.push(read);
                    return;
                }
            }
        }
        if hit {
            self.shared.stats.cache_hits.add(1)
        } else {
            self.shared.stats.cache_misses.add(1)
        }
        self.dispatch(place, message);
    }

    /// The next read that a message needs.
    fn missing(&mut self, place: usize, message: &RunMessage) -> Option<BoxFuture<'static, Loaded>> {
        let store = self.shared.store.clone();
        let workflow = self.cache.at(place);
        let starts = matches!(message.ask, Ask::Start(_) | Ask::StartActivity(_) | Ask::StartOperation(_));
        let run = match message.run {
            Some(run) => run,
            None => match &workflow.current {
                Current::Unknown => return Some(load::current(store, message.workflow.clone()).boxed()),
                Current::None => return None,
                // A closed run in the way of a start is judged by the pointer alone.
                Current::Is(record) if starts && !is_open(record.status) => return None,
                Current::Is(record) => record.run(),
            },
        };
        if workflow.run(run).is_none() {
            let key = RunKey { workflow: message.workflow.clone(), run };
            return Some(load::run(store, key).boxed());
        }
        // A reset is about the current run too, and about the pointer.
        if matches!(message.ask, Ask::PlanReset(_) | Ask::Reset(_)) {
            match &workflow.current {
                Current::Unknown => return Some(load::current(store, message.workflow.clone()).boxed()),
                Current::Is(record) if workflow.runs.iter().all(|run| run.id != record.run()) => {
                    let key = RunKey { workflow: message.workflow.clone(), run: record.run() };
                    return Some(load::run(store, key).boxed());
                }
                _ => {}
            }
        }
        // Deleting a run must know whether the pointer names it.
        if matches!(message.ask, Ask::Purge) && workflow.current == Current::Unknown {
            return Some(load::current(store, message.workflow.clone()).boxed());
        }
        None
    }

    fn take_loaded(&mut self, place: usize, loaded: Loaded) {
        let workflow = self.cache.at(place);
        match loaded {
            Loaded::Current(None) => workflow.current = Current::None,
            Loaded::Current(Some(record)) => workflow.current = Current::Is(record),
            Loaded::Run(id, execution, row_bytes) => {
                if workflow.run(id).is_none() {
                    let mut run = Run::new(id, execution, row_bytes);
                    run.noticed = run.execution.as_deref().map(|execution| execution.status() as i32);
                    run.counted = Counted::of(run.execution.as_deref());
                    workflow.runs.insert(0, run);
                }
            }
            Loaded::Rows(run, rows, reply) => self.delete_rows(place, run, rows, reply),
            Loaded::Unpurged(run, error) => {
                tracing::error!(%error, %run, "a run could not be deleted yet");
                let key = workflow.key.clone();
                self.look_again(&key, run, self.now());
            }
            Loaded::Failed(_) | Loaded::Damaged(_) => {}
        }
        self.cache.reweigh(place);
    }

    /// A read beside the loop has ended: go on with what waited for it.
    fn loaded(&mut self, key: &WorkflowKey, loaded: Loaded) {
        let Some(place) = self.cache.find(key) else { return };
        let waiting = self.cache.at(place).waiting.take().unwrap_or_default();
        if let Some((reason, told)) = loaded.failure() {
            tracing::error!(reason, workflow = key.workflow_id, "a run could not be read");
            for message in waiting {
                self.refuse(message, Refusal::Unavailable(told.into()));
            }
            return;
        }
        self.take_loaded(place, loaded);
        // In their order, before what came later.
        for message in waiting.into_iter().rev() {
            self.again.push_front(message);
        }
    }

    pub(crate) fn refuse(&mut self, message: Box<RunMessage>, refusal: Refusal) {
        if let Some(reply) = message.reply {
            self.open.outputs.push(Output::Answer(reply, Err(refusal)));
        } else if let Some(run) = message.run {
            match message.ask {
                Ask::Wake(at) => self.look_again(&message.workflow, run, at),
                Ask::Purge => self.look_again(&message.workflow, run, self.now()),
                Ask::WakeMemory => {
                    let again = self.now() + Span::seconds(1);
                    self.deadlines.change_memory(&message.workflow, run, None, Some(again));
                }
                _ => {}
            }
        }
    }

    /// What a run's deadline asked for could not be done and must not be lost: a second later.
    fn look_again(&mut self, workflow: &WorkflowKey, run: RunId, at: Timestamp) {
        let again = self.now().max(at) + Span::seconds(1);
        self.deadlines.retry(workflow, run, again);
    }

    /// Waits for the rows of a run that is to be deleted.
    pub(crate) fn purge(&mut self, place: usize, run: RunId, reply: Option<ReplyTo>) {
        let workflow = self.cache.at(place);
        if workflow.in_flight > 0 {
            // Rows that are on their way would be missed.
            if reply.is_some() || !workflow.purge.iter().any(|(waiting, _)| *waiting == run) {
                workflow.purge.push((run, reply));
            }
            return;
        }
        let key = RunKey { workflow: workflow.key.clone(), run };
        let name = workflow.key.clone();
        let mut read = load::rows(self.shared.store.clone(), key, reply).map(move |loaded| (name, loaded)).boxed();
        match (&mut read).now_or_never() {
            Some((_, loaded)) => self.take_loaded(place, loaded),
            None => {
                self.cache.at(place).waiting = Some(VecDeque::new());
                self.loads.push(read);
            }
        }
    }

    fn delete_rows(&mut self, place: usize, run: RunId, rows: Vec<(Table, bytes::Bytes)>, reply: Option<ReplyTo>) {
        let workflow = self.cache.at(place);
        let key = workflow.key.clone();
        let current = matches!(&workflow.current, Current::Is(record) if record.run() == run);
        let deadline = workflow.run(run).and_then(|r| r.execution.as_ref()).and_then(|e| e.armed_deadline());
        self.pin(place);
        for (table, row) in &rows {
            self.open.commit.delete(*table, row);
        }
        if let Some(at) = deadline {
            self.open.commit.delete(Table::Deadline, &deadlines::row_key(&key, at, run));
            self.deadlines.change(&key, run, Some(at), None);
        }
        if current {
            self.set_current(place, Current::None);
        }
        // Copied events of a reset that never came have no run.
        if rows.iter().any(|(table, _)| *table == Table::State) {
            self.unlist(&key, run);
        }
        if let Some(reply) = reply {
            self.open.outputs.push(Output::Answer(reply, Ok(Answer { run, body: Body::Reply(Reply::Done, None) })));
        }
        if let Some(run) = self.cache.at(place).run(run) {
            run.execution = None;
            run.tail = Default::default();
            run.deadline = None;
        }
        self.count_usage(place, run);
        self.note_in_hand(place, run);
    }

    /// Sends the open batch to the store, with its outputs behind it.
    pub(crate) fn close_batch(&mut self) {
        if self.open.is_idle() && !self.taken {
            return;
        }
        self.commit_batch();
        let Self { cache, updates, .. } = self;
        self.shared.stats.cache_evictions.add(cache.evict(|workflow| updates.relieve(workflow)));
    }

    /// As [`Runner::close_batch`], for use in the middle of an input: all entries stay in the cache.
    pub(crate) fn commit_batch(&mut self) {
        if self.open.is_idle() && !self.taken {
            return;
        }
        let mut open = std::mem::replace(&mut self.open, OpenBatch::new(self.fence));
        self.batch_number += 1;
        self.write_rows(&mut open);
        self.write_listed(&mut open);
        self.write_usage(&mut open.commit);
        let notice_of = std::mem::take(&mut open.notice_of);
        let notices = (open.notice_count > 0).then(|| self.shared.notices.begin(self.shard, open.notice_count, notice_of));
        if let Some(last) = notices {
            open.commit.put(Table::Notice, &rows::key(last), &open.notices);
        }
        for (_, offer) in std::mem::take(&mut open.offers) {
            let slot = offer.run.workflow.slot();
            if !planted::is(Bug::OfferRowsLost) {
                open.commit.put(Table::Offer, &keys::offer(slot, &offer.key), &keys::OfferRecord::new(&offer).encode_to_vec());
            }
            open.outputs.push(Output::Offer(offer));
        }
        for place in &open.workflows {
            self.cache.reweigh(*place);
        }
        self.release_early(&mut open.outputs);
        if open.commit.is_empty() {
            // Nothing to write: what was said still waits for the commits before it.
            self.release_workflows(&open.workflows);
            match self.in_flight.back_mut() {
                Some(last) => last.unproved.append(&mut open.outputs),
                None => self.release_unproved(open.outputs),
            }
        } else {
            let bytes = open.commit.bytes() as u64;
            // The next one is likely to be as large.
            self.open.commit.expect(open.commit.bytes() / 4 * 5);
            self.commits.push_back(self.shared.store.commit(open.commit));
            self.in_flight.push_back(InFlight {
                notices,
                updates: open.updates,
                outputs: open.outputs,
                unproved: Vec::new(),
                workflows: open.workflows,
                inputs: open.inputs,
                bytes,
                sent: self.shared.wall_now(),
            });
        }
    }

    /// State rows, pointers and deadlines of everything the batch has touched.
    fn write_rows(&mut self, open: &mut OpenBatch) {
        for (place, id) in open.runs.drain(..) {
            let workflow = self.cache.at(place);
            let slot = workflow.key.slot();
            let Some(run) = workflow.run(id) else { continue };
            let Some(execution) = &mut run.execution else { continue };
            run.row_bytes = 0;
            for row in execution.take_rows() {
                run.row_bytes += row.value.as_ref().map_or(0, |value| value.len());
                let key = keys::state(slot, id, row.kind, row.number);
                match &row.value {
                    Some(value) => open.commit.put(Table::State, &key, value),
                    None if planted::is(Bug::StateRowsStay) => {}
                    None => open.commit.delete(Table::State, &key),
                }
            }
        }
        for place in open.currents.drain(..) {
            let workflow = self.cache.at(place);
            let key = keys::current(&workflow.key);
            match &workflow.current {
                Current::Is(_) if planted::is(Bug::PointerRowsLost) => {}
                Current::Is(record) => open.commit.put(Table::Current, &key, &record.encode_to_vec()),
                Current::None => open.commit.delete(Table::Current, &key),
                Current::Unknown => {}
            }
        }
        for (place, id) in open.deadlines.drain(..) {
            let workflow = self.cache.at(place);
            let key = workflow.key.clone();
            let Some(run) = workflow.run(id) else { continue };
            let Some((old, new)) = run.deadline.take() else { continue };
            let retained = kind_of(run, new) == Kind::Retained;
            if old == new {
                continue;
            }
            if let Some(old) = old.filter(|_| !planted::is(Bug::DeadlineRowsStay)) {
                open.commit.delete(Table::Deadline, &deadlines::row_key(&key, old, id));
            }
            if let Some(new) = new.filter(|_| !planted::is(Bug::DeadlineRowsLost)) {
                let record = keys::RunRecord { retained, ..keys::RunRecord::new(&key) };
                open.commit.put(Table::Deadline, &deadlines::row_key(&key, new, id), &record.encode_to_vec());
            }
        }
    }

    /// The oldest commit in flight is durable.
    fn committed(&mut self) {
        let Some(done) = self.in_flight.pop_front() else { return };
        self.failures = 0;
        self.shared.stats.commits.add(1);
        self.shared.stats.commit_inputs.add(done.inputs);
        self.shared.stats.commit_bytes.add(done.bytes);
        self.shared.stats.commit_waits.observe(self.shared.wall_now().since(done.sent));
        // Who is told of a change finds it in lists.
        if !planted::is(Bug::ListsNotTold) {
            self.shared.listing.show(done.updates);
        }
        if let Some(last) = done.notices {
            self.shared.notices.written(last);
        }
        self.release_workflows(&done.workflows);
        self.release(done.outputs);
        self.release_unproved(done.unproved);
    }

    /// Nothing leaves before its commit, unless a bug is planted.
    fn release_early(&mut self, outputs: &mut Vec<Output>) {
        let is_reply = |output: &Output, is: fn(&Reply) -> bool| match output {
            Output::Hand(_, started) => is(&started.reply),
            Output::Answer(_, Ok(Answer { body: Body::Reply(reply, _), .. })) => is(reply),
            _ => false,
        };
        let leaves = |output: &Output| {
            planted::is(Bug::EffectsBeforeCommit)
                || planted::is(Bug::TasksBeforeCommit) && matches!(output, Output::Hand(..))
                || planted::is(Bug::AttemptsBeforeCommit) && is_reply(output, |reply| matches!(reply, Reply::ActivityTask(_)))
                || planted::is(Bug::FailuresBeforeCommit) && is_reply(output, |reply| matches!(reply, Reply::ActivityFailed { .. }))
                || planted::is(Bug::HeartbeatsBeforeCommit) && is_reply(output, |reply| matches!(reply, Reply::Heartbeat { .. }))
        };
        if outputs.iter().any(leaves) {
            let (early, rest) = std::mem::take(outputs).into_iter().partition(leaves);
            *outputs = rest;
            self.release(early);
        }
    }

    fn release_workflows(&mut self, places: &[usize]) {
        for place in places {
            let workflow = self.cache.at(*place);
            workflow.in_flight -= 1;
            if workflow.in_flight > 0 {
                continue;
            }
            let purge = std::mem::take(&mut workflow.purge);
            workflow.forget_old_runs();
            let key = workflow.key.clone();
            self.again.extend(
                purge
                    .into_iter()
                    .map(|(run, reply)| Box::new(RunMessage { workflow: key.clone(), run: Some(run), ask: Ask::Purge, reply })),
            );
        }
    }

    /// Lets outputs go that no commit stands behind: where somebody else may have the shard by now, answers may be out of date.
    fn release_unproved(&mut self, mut outputs: Vec<Output>) {
        if !self.shared.is_current() {
            outputs = outputs.into_iter().filter_map(out_of_date).collect();
        }
        self.release(outputs);
    }

    /// Lets outputs go.
    fn release(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Answer(reply, answer) => {
                    // The caller may have gone; what was done stays done.
                    let _ = reply.send(answer);
                }
                Output::Hand(reserved, started) => reserved.hand(*started),
                Output::Offer(offer) => self.shared.matching.offer(offer),
                Output::Withdraw(row) => self.shared.matching.withdraw(&row),
                Output::Deliver(sender, entry) if self.rereads > 0 => self.outbox.push_later(sender, entry),
                Output::Deliver(sender, entry) => self.outbox.push(sender, entry),
                Output::QueryAnswer(id, answer) => {
                    self.shared.queries.resolve(id, crate::matching::queries::Outcome::Answer(answer, 0));
                }
                Output::QueryDirect(id, route) => {
                    self.shared.queries.resolve(id, crate::matching::queries::Outcome::Direct(route));
                }
                Output::Notify(watcher) => {
                    let _ = watcher.send(());
                }
                Output::UpdateNews(watcher, news) => {
                    let _ = watcher.send(news);
                }
                Output::FlowNoted(run) => self.shared.flow.settled(run),
                Output::FlowGone(run) => self.shared.flow.gone(run),
                Output::Settled(asks, epoch) => {
                    let _ = asks.send(epoch);
                }
                Output::Again(message) => self.again.push_back(message),
            }
        }
    }

    /// Registers a watcher of a run's history.
    pub(crate) fn watch(&mut self, key: RunKey, watcher: oneshot::Sender<()>) {
        let watchers = self.watchers.entry(key).or_default();
        watchers.retain(|w| !w.is_closed());
        // Beyond the bound the watcher is dropped: its caller looks again, at the end of its wait at the latest.
        if watchers.len() < WATCHERS_MAX {
            watchers.push(watcher);
        }
        if self.watchers.len() > 1024 && self.watchers.len().is_power_of_two() {
            self.watchers.retain(|_, watchers| {
                watchers.retain(|w| !w.is_closed());
                !watchers.is_empty()
            });
        }
    }
}

/// What becomes of an output of a node whose lease may have run out. Who is told nothing looks again, or finds the shard lost.
fn out_of_date(output: Output) -> Option<Output> {
    let refusal = || Refusal::Unavailable(SHARD_UNAVAILABLE.into());
    match output {
        Output::Answer(reply, Ok(_)) => Some(Output::Answer(reply, Err(refusal()))),
        Output::QueryAnswer(id, Ok(_)) => Some(Output::QueryAnswer(id, Err(refusal()))),
        Output::UpdateNews(watcher, _) => Some(Output::UpdateNews(watcher, UpdateNews::Lost)),
        Output::Settled(..) => None,
        other => Some(other),
    }
}

/// Lets the other tasks run that are ready, once. A shard is woken by the first of many callers; behind the others it finds
/// the messages of all, and commits them together.
fn after_others() -> impl Future<Output = ()> {
    let mut has_waited = false;
    futures::future::poll_fn(move |cx| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

pub(super) fn new_deadlines(shared: &Shared, shard: u32) -> Deadlines {
    let slots = slots(shard, shared.shards.count());
    if shared.virtual_time.is_some() { Deadlines::of_virtual_time(slots) } else { Deadlines::new(slots) }
}

/// The slots of a shard.
pub(crate) fn slots(shard: u32, shards: usize) -> impl Iterator<Item = u16> {
    (0..SLOT_COUNT).filter(move |slot| usize::from(*slot) % shards == shard as usize).map(|slot| SlotId(slot).0)
}

pub(crate) fn is_open(status: i32) -> bool {
    use sempre_api::v1::enums::WorkflowExecutionStatus::{Paused, Running};
    status == Running as i32 || status == Paused as i32
}

fn expire<'a>(timer: &'a mut Option<(Timestamp, BoxFuture<'static, ()>)>) -> impl Future<Output = ()> + 'a {
    futures::future::poll_fn(|cx| match timer {
        Some((_, sleep)) => sleep.poll_unpin(cx),
        None => Poll::Pending,
    })
}
