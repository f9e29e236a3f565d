//! Task queues: offers wait for pollers, pollers wait for offers, both in order.
//!
//! All of it is memory. What is offered is already durable as a row of the Offer table, or is handed
//! over in the transition that makes it (sync match) and then never becomes a row. A queue keeps a
//! bounded window of its line; what is behind it stays in the store and is paged in ([`paging`]).
//!
//! No offer is lost to a poller that has gone: an offer travels as [`HeldOffer`], which goes back to its
//! queue when it is dropped before the run has decided about it.

pub(crate) mod caller;
pub(crate) mod fair;
mod goodbye;
pub(crate) mod held;
mod home;
pub(crate) mod levels;
pub(crate) mod limiter;
mod nexus;
pub(crate) mod paging;
pub(crate) mod pollers;
pub(crate) mod queries;
pub(crate) mod queue;
pub(crate) mod rates;
mod routes;
pub(crate) mod scaling;
mod version_view;
pub(crate) mod window;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use sempre_core::{
    NamespaceId, Span, Timestamp,
    input::Poller,
    transition::{Fairness, Offer, OfferKey, QueueKind, QueueName, Ranks},
};
use tokio::sync::oneshot;

use crate::{Clock, Spawner, Stats, homes::Homes, shards::Here};
use caller::Caller;
use fair::{Budget, Fair, KEYS_MAX};
use goodbye::Goodbyes;
use held::{HeldNexus, HeldOffer, HeldQuery, Queued};
use levels::LevelView;
use limiter::RateSource;
use pollers::SeenPoller;
use queue::{Next, Queue, Queues, Waiter};
use rates::Rates;
use routes::Routes;
use window::{Place, Side};

/// Locks that queues are spread over.
const STRIPES: usize = 16;
/// A queue without offers and polls is forgotten after this time.
const IDLE_MAX: Span = Span::seconds(300);
/// How often idle queues are looked for.
const SWEEP_INTERVAL: Span = Span::seconds(30);
/// A sticky queue without a poller for this long has lost its worker.
pub(crate) const STICKY_POLLER_WINDOW: Span = Span::seconds(10);
/// A queue that was polled within this time has workers.
const POLLED_LATELY: Span = Span::seconds(1);
/// A query fails when no poller came for this long.
pub(crate) const QUERY_POLLER_WINDOW: Span = Span::seconds(20);

/// What a poll is answered with.
#[derive(Debug)]
pub(crate) enum Handed<S: Send + 'static> {
    /// An offer; the run has not decided yet.
    Offer(HeldOffer<S>),
    /// A task that was started for this poll in the transition that made it.
    Started(S),
    /// A query to answer without a workflow task.
    Query(HeldQuery<S>),
    /// A request to a Nexus handler.
    Nexus(HeldNexus<S>),
    /// The server stops, or the queue was unloaded: answer empty.
    Closed,
}

/// What a poll finds.
#[allow(clippy::large_enum_variant, reason = "taken apart at once; a box would be one more allocation for every task")]
pub(crate) enum Polled<S: Send + 'static> {
    Handed(Handed<S>),
    Wait(Waiting<S>),
}

/// A poller taken out of its line for a task that is about to be started.
#[derive(Debug)]
pub(crate) struct Reserved<S: Send + 'static> {
    queue: Arc<QueueName>,
    waiter: Waiter<S>,
    priority: u8,
    fairness: Option<Box<Fairness>>,
    /// The line it waited on, if that is not the queue's own.
    line: Option<QueueName>,
}

impl<S: Send + 'static> Reserved<S> {
    pub(crate) fn poller(&self) -> &Poller {
        &self.waiter.poller
    }

    /// Hands over the started task. One whose client left in the meantime tells its run when it is dropped here.
    pub(crate) fn hand(self, started: S) {
        let _ = self.waiter.sender.send(Handed::Started(started));
    }
}

/// How an offer comes to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// For the first time.
    New,
    /// From a poller that did not take it.
    Back,
    /// From the store or from another queue.
    Known,
}

/// What becomes of an offer whose sticky queue is not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absent {
    /// The queue is opened: its worker has had no chance to poll yet. Core's timeout moves the task on if none comes.
    Opens,
    /// It goes on to the normal queue.
    GoesOn,
}

/// What a queue shows of itself.
#[derive(Debug)]
pub(crate) struct QueueView {
    /// By identity.
    pub(crate) pollers: Vec<(String, SeenPoller)>,
    pub(crate) levels: Vec<LevelView>,
    /// Tasks per second in force, and who set it.
    pub(crate) rate: (f64, RateSource),
    /// Offers wait because of that rate.
    pub(crate) limited: bool,
}

/// A task queue at a glance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSummary {
    /// Its namespace.
    pub namespace: NamespaceId,
    /// What it carries.
    pub kind: QueueKind,
    /// Its name.
    pub name: String,
    /// Tasks that wait.
    pub backlog: u64,
    /// When the oldest of them was offered.
    pub oldest: Option<Timestamp>,
    /// Workers that poll it, or have lately.
    pub pollers: usize,
}

impl QueueView {
    fn of<S: Send + 'static>(queue: &mut Queue<S>, now: Timestamp) -> Self {
        queue.nexus.drop_unwanted(&mut queue.levels);
        let mut levels = std::mem::take(&mut queue.levels);
        let shown = levels.view(now, |level| queue.oldest_of(level));
        queue.levels = levels;
        let waits = queue.has_backlog() || !queue.nexus.is_empty();
        Self {
            pollers: queue.pollers.iter().map(|(identity, seen)| (identity.clone(), seen.clone())).collect(),
            levels: shown,
            rate: queue.limiter.rate(),
            limited: waits && queue.limiter.is_waiting(now),
        }
    }
}

/// All task queues of the process. `S` is what a started task is.
pub(crate) struct Matching<S: Send + 'static> {
    stripes: Box<[Mutex<Queues<S>>]>,
    clock: Arc<dyn Clock>,
    spawner: Arc<dyn Spawner>,
    stats: Arc<Stats>,
    window_max: usize,
    goodbyes: Goodbyes,
    rates: Rates,
    routes: Routes,
    budget: Arc<Budget>,
    /// Offers of runs whose shards are elsewhere are not kept.
    here: Arc<Here>,
    /// Of a node among several: those of queues whose homes are elsewhere are not.
    homes: Option<Arc<Homes>>,
    /// No rank was given beyond this one.
    ranked_to: AtomicI64,
    /// What was offered later was not in the backlog of the last process.
    begun: Timestamp,
    /// The backlog of the last process has been read: offers may be handed out in order.
    loaded: AtomicBool,
    closed: AtomicBool,
    next_id: AtomicU64,
    swept: AtomicI64,
}

impl<S: Send + 'static> Matching<S> {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        spawner: Arc<dyn Spawner>,
        stats: Arc<Stats>,
        here: Arc<Here>,
        homes: Option<Arc<Homes>>,
        window_max: usize,
    ) -> Arc<Self> {
        let begun = clock.now();
        let swept = AtomicI64::new(begun.0);
        Arc::new(Self {
            stripes: (0..STRIPES).map(|_| Mutex::new(Queues::new())).collect(),
            clock,
            spawner,
            stats,
            window_max: window_max.max(1),
            goodbyes: Goodbyes::default(),
            rates: Rates::default(),
            routes: Routes::default(),
            budget: Budget::new(KEYS_MAX),
            here,
            homes,
            ranked_to: AtomicI64::new(0),
            begun,
            loaded: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            next_id: AtomicU64::new(1),
            swept,
        })
    }

    fn stripe(&self, hash: u64) -> MutexGuard<'_, Queues<S>> {
        self.stripes[hash as usize % STRIPES].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The queue; a new one, with the rate that was set for it, if there is none yet.
    fn open<'a>(&self, stripe: &'a mut Queues<S>, hash: u64, name: &QueueName, now: Timestamp) -> &'a mut Queue<S> {
        let (queue, new) = stripe.open(hash, name, now);
        if new {
            // The rate is the queue's, whatever the line.
            let settings = if name.version.is_some() { self.rates.get(&name.plain()) } else { self.rates.get(name) };
            settings.unwrap_or_default().apply(queue, now);
            queue.route = self.routes.get(name);
        }
        queue
    }

    /// The queue's line of the ranked.
    fn ranked<'a>(&self, queue: &'a mut Queue<S>) -> &'a mut Fair {
        queue.fair.get_or_insert_with(|| {
            // Before all is loaded it is not known where the store's ranks begin.
            let begin = if self.loaded.load(Ordering::Acquire) { self.ranked_to.load(Ordering::Relaxed) } else { 0 };
            Fair::new(self.budget.clone(), begin)
        })
    }

    /// A poll: takes what is there, or joins the line.
    pub(crate) fn poll(self: &Arc<Self>, name: &QueueName, poller: Poller, caller: &Caller) -> Polled<S> {
        if self.closed.load(Ordering::Acquire) {
            return Polled::Handed(Handed::Closed);
        }
        let now = self.clock.now();
        self.sweep(now);
        let hash = name.hash64();
        let mut stripe = self.stripe(hash);
        // Again: once the stripe has been drained, nobody would answer this poll.
        if self.closed.load(Ordering::Acquire) || self.goodbyes.has(caller.instance, now) || self.home_elsewhere(hash).is_some() {
            return Polled::Handed(Handed::Closed);
        }
        let queue = self.open(&mut stripe, hash, name, now);
        queue.saw_poller(&poller.identity, caller, now);
        let faster = name.kind == QueueKind::Activity && queue.limiter.set_worker(caller.rate, now);
        while let Some(query) = queue.queries.pop_front() {
            if query.is_wanted() {
                return Polled::Handed(Handed::Query(HeldQuery::new(query, self.clone())));
            }
        }
        if queue.waiters.is_empty()
            && let Some(task) = queue.pop_nexus(now)
        {
            return Polled::Handed(Handed::Nexus(HeldNexus::new(task, self.clone())));
        }
        if name.version.is_some() || queue.route.is_some() {
            let first = self.loaded.load(Ordering::Acquire) && queue.waiters.is_empty();
            self.set_worker_rate(&mut stripe, name, caller.rate, now);
            if let Some(queued) = first.then(|| self.take_routed(&mut stripe, name, now)).flatten() {
                return Polled::Handed(Handed::Offer(HeldOffer::new(queued, self.clone())));
            }
            let queue = self.open(&mut stripe, hash, name, now);
            let waiting = self.wait(queue, poller, caller);
            if !queue.nexus.is_empty() {
                self.pump_nexus(queue);
            }
            // What waits beside it waits for the queue's rate: it has to be rung for.
            self.pump_for(&mut stripe, hash, name, faster);
            return Polled::Wait(waiting);
        }
        // Those who wait while there are offers wait for the queue's rate, and come first.
        if self.loaded.load(Ordering::Acquire)
            && queue.waiters.is_empty()
            && let Some(queued) = self.take(queue, Side::Current, now)
        {
            return Polled::Handed(Handed::Offer(HeldOffer::new(queued, self.clone())));
        }
        let waiting = self.wait(queue, poller, caller);
        if faster || queue.len() > 0 {
            self.pump(queue);
        }
        if !queue.nexus.is_empty() {
            self.pump_nexus(queue);
        }
        Polled::Wait(waiting)
    }

    /// Puts a poll into the line.
    fn wait(self: &Arc<Self>, queue: &mut Queue<S>, poller: Poller, caller: &Caller) -> Waiting<S> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        queue.waiters.push_back(Waiter { id, poller, instance: caller.instance, sender });
        self.stats.pollers.add(1);
        Waiting { receiver, matching: self.clone(), queue: queue.name.clone(), id }
    }

    /// The next offer of a side, for a poller, if it may go now.
    fn take(&self, queue: &mut Queue<S>, side: Side, now: Timestamp) -> Option<Queued> {
        let next = queue.next(side)?;
        if !queue.admit_next(&next, now) {
            return None;
        }
        Some(self.take_next(queue, &next, now))
    }

    /// The offer that was admitted.
    fn take_next(&self, queue: &mut Queue<S>, next: &Next, now: Timestamp) -> Queued {
        let queued = queue.pop(next).expect("the next offer is in memory until it is taken");
        queue.levels.dispatched(queued.row.level(), now);
        self.stats.backlog.sub(1);
        self.stats.backlog_matches.add(1);
        if queue.is_of_workflows() {
            self.stats.tasks_caught_up.add(1);
        }
        queued
    }

    /// As if [`Matching::take_next`] had not been.
    fn put_back(&self, queue: &mut Queue<S>, next: &Next, queued: Queued, now: Timestamp) {
        let before = queue.len();
        queue.undo(next, queued, self.window_max, now);
        self.stats.backlog.add(queue.len().saturating_sub(before) as u64);
        self.stats.backlog_matches.sub(1);
        if queue.is_of_workflows() {
            self.stats.tasks_caught_up.sub(1);
        }
    }

    /// Takes the poller that has waited longest for a new task of this priority, if the queue has no older offers and
    /// may give out one more.
    pub(crate) fn reserve(&self, offer: &Offer) -> Option<Reserved<S>> {
        let (name, priority) = (&offer.queue, offer.key.level());
        let hash = name.hash64();
        if self.home_elsewhere(hash).is_some() {
            return None;
        }
        let mut stripe = self.stripe(hash);
        let queue = stripe.get(hash, name)?;
        if queue.has_backlog() {
            return None;
        }
        let now = self.clock.now();
        let line = routes::waits_on(queue, offer).filter(|line| line != name);
        let waiter = match &line {
            None => queue.next_waiter(now)?,
            Some(line) => stripe.get(line.hash64(), line)?.next_waiter(now)?,
        };
        let queue = stripe.get(hash, name)?;
        let fairness = offer.fairness.as_deref();
        if !queue.admit(fairness, now) {
            let own = line.unwrap_or_else(|| name.clone());
            if let Some(queue) = stripe.get(own.hash64(), &own) {
                queue.waiters.push_front(waiter);
            }
            return None;
        }
        queue.used = now;
        queue.levels.added(priority, now);
        queue.levels.dispatched(priority, now);
        if offer.key.is_ranked() {
            let (key, weight) = queue.share(fairness);
            if let Some(fair) = &mut queue.fair {
                fair.turns.not_needed(priority, key, weight);
            }
        }
        Some(Reserved { queue: queue.name.clone(), waiter, priority, fairness: offer.fairness.clone(), line })
    }

    /// Puts a poller back that got nothing: the first in line again.
    pub(crate) fn unreserve(self: &Arc<Self>, reserved: Reserved<S>) {
        let now = self.clock.now();
        let hash = reserved.queue.hash64();
        let mut stripe = self.stripe(hash);
        if let Some(queue) = stripe.get(hash, &reserved.queue) {
            queue.give_back(reserved.fairness.as_deref());
            queue.levels.not_dispatched(reserved.priority);
            queue.levels.not_added(reserved.priority);
            let name = reserved.queue.clone();
            let own = reserved.line.unwrap_or_else(|| (*name).clone());
            if self.goodbyes.has(reserved.waiter.instance, now) {
                // Its worker has left meanwhile.
                let _ = reserved.waiter.sender.send(Handed::Closed);
            } else if let Some(queue) = stripe.get(own.hash64(), &own) {
                queue.waiters.push_front(reserved.waiter);
            }
            self.pump_name(&mut stripe, hash, &name);
        }
    }

    /// The run did not want the task that was handed out: it counts for no rate.
    pub(crate) fn not_needed(self: &Arc<Self>, offer: &Offer) {
        let hash = offer.queue.hash64();
        let mut stripe = self.stripe(hash);
        let Some(queue) = stripe.get(hash, &offer.queue) else { return };
        queue.give_back(offer.fairness.as_deref());
        self.pump_name(&mut stripe, hash, &offer.queue);
    }

    /// A durable offer. One for a sticky queue that is not loaded goes to the normal queue.
    pub(crate) fn offer(self: &Arc<Self>, offer: Offer) {
        let row = offer.key.clone();
        self.enqueue(Queued { offer, row }, Arrival::New);
    }

    /// An offer, wherever it comes from. Of a queue whose home is elsewhere that one is told.
    pub(crate) fn enqueue(self: &Arc<Self>, queued: Queued, arrival: Arrival) {
        match self.home_elsewhere(queued.offer.key.queue) {
            Some(homes) => homes.tell(queued, arrival),
            None => self.place(queued, arrival, Absent::GoesOn),
        }
    }

    /// Puts an offer into its queue.
    fn place(self: &Arc<Self>, queued: Queued, arrival: Arrival, absent: Absent) {
        let now = self.clock.now();
        if queued.offer.queue.sticky {
            let hash = queued.offer.queue.hash64();
            let mut stripe = self.stripe(hash);
            match stripe.get(hash, &queued.offer.queue) {
                Some(queue) => {
                    // A sticky queue has no route.
                    self.add(queue, queued, arrival);
                    return;
                }
                None if absent == Absent::Opens || !self.loaded.load(Ordering::Acquire) => {
                    // Recovered: its worker has had no chance to poll yet. Core's timeout moves it on if none comes.
                    let queue = self.open(&mut stripe, hash, &queued.offer.queue, now);
                    self.add(queue, queued, arrival);
                    return;
                }
                None => {}
            }
            drop(stripe);
            return self.go_on(queued, arrival);
        }
        let hash = queued.offer.queue.hash64();
        let mut stripe = self.stripe(hash);
        let queue = self.open(&mut stripe, hash, &queued.offer.queue, now);
        let name = queue.name.clone();
        if self.add(queue, queued, arrival) {
            self.pump_name(&mut stripe, hash, &name);
        }
    }

    /// True when the queue has a route: its lines are still to be looked at. The offer of a run whose shard has gone is not taken:
    /// who has the shard offers it.
    fn add(self: &Arc<Self>, queue: &mut Queue<S>, queued: Queued, arrival: Arrival) -> bool {
        let now = self.clock.now();
        queue.used = now;
        // Looked at while nobody else has the queue: either this sees that the shard has gone, or `withdraw_absent` sees the offer.
        if !self.keeps(&queued.offer) {
            return false;
        }
        match arrival {
            Arrival::New => {
                queue.levels.added(queued.row.level(), now);
                if queue.is_of_workflows() && queue.last_poll.is_some_and(|poll| now.since(poll) <= POLLED_LATELY) {
                    self.stats.tasks_left.add(1);
                }
            }
            Arrival::Back => {
                queue.levels.not_dispatched(queued.row.level());
                queue.give_back(queued.offer.fairness.as_deref());
            }
            Arrival::Known => {}
        }
        if queued.row.is_ranked() {
            let (key, weight) = queue.share(queued.offer.fairness.as_deref());
            let key = key.to_owned();
            let fair = self.ranked(queue);
            if arrival == Arrival::Known {
                let old = queued.offer.offered <= self.begun;
                fair.turns.found(queued.row.level(), &key, weight, queued.row.time.0, old);
                self.ranked_to.fetch_max(queued.row.time.0, Ordering::Relaxed);
            }
        }
        let before = queue.len();
        queue.insert(queued, self.window_max, now);
        self.stats.backlog.add((queue.len().saturating_sub(before)) as u64);
        if queue.route.is_some() {
            return true;
        }
        self.pump(queue);
        false
    }

    /// Hands offers to waiting pollers while there are both, as fast as the queue may.
    fn pump(self: &Arc<Self>, queue: &mut Queue<S>) {
        if !self.loaded.load(Ordering::Acquire) {
            return;
        }
        let now = self.clock.now();
        while let Some(next) = queue.next(Side::Current) {
            let Some(waiter) = queue.next_waiter(now) else { return };
            if !queue.admit_next(&next, now) {
                queue.waiters.push_front(waiter);
                return self.set_alarm(queue, queue.next_at(&next));
            }
            let queued = self.take_next(queue, &next, now);
            // Gone between the look and the send: the offer stays first in line.
            if let Err(Handed::Offer(held)) = waiter.sender.send(Handed::Offer(HeldOffer::new(queued, self.clone()))) {
                self.put_back(queue, &next, held.into_queued(), now);
            }
        }
    }

    /// Forgets an offer whose row is gone.
    pub(crate) fn withdraw(self: &Arc<Self>, row: &OfferKey) {
        if let Some(homes) = self.home_elsewhere(row.queue) {
            return homes.withdraw(row);
        }
        // The place names the task: at most one queue has it.
        let place = Place::of(row);
        let mut stripe = self.stripe(row.queue);
        let Some(queue) = stripe.with_hash(row.queue).find_map(|queue| queue.remove(&place).then_some(queue)) else { return };
        self.stats.backlog.sub(1);
        // The next may be of a key that may have it now.
        if queue.key_limits.is_some() {
            let name = queue.name.clone();
            self.pump_name(&mut stripe, row.queue, &name);
        }
    }

    /// Forgets the offers of runs whose shards are not here. Gives the queues that have lost some and have more in the store.
    pub(crate) fn withdraw_absent(self: &Arc<Self>) -> Vec<QueueName> {
        let mut low = Vec::new();
        if let Some(homes) = &self.homes {
            // Those of runs are told to the homes by whoever has the runs next; they are the same.
            self.forget_absent(homes);
            homes.leave();
            return low;
        }
        for stripe in &self.stripes {
            let mut stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            let mut changed = Vec::new();
            for queue in stripe.all() {
                let gone = queue.retain(|offer| self.here.has_workflow(&offer.run.workflow));
                if gone == 0 {
                    continue;
                }
                self.stats.backlog.sub(gone as u64);
                if !queue.is_whole() {
                    low.push((*queue.name).clone());
                }
                changed.push(queue.name.clone());
            }
            for name in changed {
                // The next may be of a key that may have it now.
                self.pump_name(&mut stripe, name.hash64(), &name);
            }
        }
        low
    }

    /// A direct query. Only handed to pollers, never stored.
    pub(crate) fn query(self: &Arc<Self>, name: &QueueName, task: queries::QueryTask) {
        let now = self.clock.now();
        let mut stripe = self.stripe(name.hash64());
        let line = self.line_of(&mut stripe, name, task.workflow_id());
        let queue = self.open(&mut stripe, line.hash64(), &line, now);
        self.give_query(queue, task);
    }

    /// A query whose poller has gone before it could be told.
    pub(crate) fn requeue_query(self: &Arc<Self>, task: queries::QueryTask) {
        let mut stripe = self.stripe(task.queue().hash64());
        let line = self.line_of(&mut stripe, task.queue(), task.workflow_id());
        if let Some(queue) = stripe.get(line.hash64(), &line) {
            self.give_query(queue, task);
        }
    }

    fn give_query(self: &Arc<Self>, queue: &mut Queue<S>, mut task: queries::QueryTask) {
        let now = self.clock.now();
        while let Some(waiter) = queue.next_waiter(now) {
            match waiter.sender.send(Handed::Query(HeldQuery::new(task, self.clone()))) {
                Ok(()) => return,
                Err(Handed::Query(held)) => task = held.into_task(),
                Err(_) => return,
            }
        }
        queue.queries.retain(queries::QueryTask::is_wanted);
        queue.queries.push_back(task);
    }

    /// As [`Matching::poller_seen`], of those pollers that may be given this workflow's tasks.
    pub(crate) fn poller_seen_for(&self, name: &QueueName, workflow_id: &str) -> Option<Timestamp> {
        let line = self.line_of(&mut self.stripe(name.hash64()), name, workflow_id);
        self.poller_seen(&line)
    }

    /// When a poller was last seen on the queue; now, if one waits. `None` when never.
    pub(crate) fn poller_seen(&self, name: &QueueName) -> Option<Timestamp> {
        let hash = name.hash64();
        let mut stripe = self.stripe(hash);
        let queue = stripe.get(hash, name)?;
        queue.drop_gone_waiters();
        if queue.waiters.is_empty() { queue.last_poll } else { Some(self.clock.now()) }
    }

    /// Whether a sticky queue's worker seems to be there.
    pub(crate) fn sticky_available(&self, name: &QueueName) -> bool {
        if !self.is_home_of(name) {
            // Its home knows.
            return true;
        }
        self.poller_seen(name).is_some_and(|seen| self.clock.now().since(seen) < STICKY_POLLER_WINDOW)
    }

    /// A worker has said goodbye: its offers go to the normal queues, its polls end.
    pub(crate) fn unload_sticky(self: &Arc<Self>, name: &QueueName) {
        let hash = name.hash64();
        let Some(queue) = self.stripe(hash).remove(hash, name) else { return };
        self.stats.backlog.sub(queue.len() as u64);
        for waiter in queue.waiters {
            let _ = waiter.sender.send(Handed::Closed);
        }
        // A sticky queue ranks nothing.
        for queued in queue.plain.into_offers() {
            self.go_on(queued, Arrival::Known);
        }
    }

    /// What is known of a queue; `None` when it is not in use.
    pub(crate) fn view(&self, name: &QueueName) -> Option<QueueView> {
        let hash = name.hash64();
        let now = self.clock.now();
        let mut stripe = self.stripe(hash);
        if !name.sticky && name.version.is_none() {
            return self.view_of_lines(&mut stripe, name, now);
        }
        let queue = stripe.get(hash, name)?;
        queue.refresh_pollers(now);
        Some(QueueView::of(queue, now))
    }

    /// How many workers poll each of a namespace's normal queues for workflow tasks, and since when the oldest task waits.
    pub(crate) fn workflow_queues(&self, namespace: NamespaceId) -> Vec<(String, usize, Option<Timestamp>)> {
        let now = self.clock.now();
        let mut found: BTreeMap<String, (usize, Option<Timestamp>)> = BTreeMap::new();
        for stripe in &self.stripes {
            for queue in stripe.lock().unwrap_or_else(PoisonError::into_inner).all() {
                if queue.name.namespace != namespace || queue.name.kind != QueueKind::Workflow || queue.name.sticky {
                    continue;
                }
                queue.refresh_pollers(now);
                let oldest = queue.oldest();
                // Its lines count as the queue.
                let (pollers, since) = found.entry(queue.name.name.clone()).or_default();
                *pollers += queue.pollers.iter().count();
                *since = since.iter().copied().chain(oldest).min();
            }
        }
        found.into_iter().map(|(name, (pollers, oldest))| (name, pollers, oldest)).collect()
    }

    /// All normal queues; their lines count as the queue.
    pub(crate) fn all_queues(&self) -> Vec<QueueSummary> {
        let now = self.clock.now();
        let mut found: BTreeMap<(NamespaceId, QueueKind, String), QueueSummary> = BTreeMap::new();
        for stripe in &self.stripes {
            for queue in stripe.lock().unwrap_or_else(PoisonError::into_inner).all().filter(|queue| !queue.name.sticky) {
                queue.refresh_pollers(now);
                let (namespace, kind, name) = (queue.name.namespace, queue.name.kind, queue.name.name.clone());
                let oldest = queue.oldest();
                let summary = found.entry((namespace, kind, name.clone()));
                let summary = summary.or_insert_with(|| QueueSummary { namespace, kind, name, backlog: 0, oldest: None, pollers: 0 });
                summary.backlog += queue.backlog();
                summary.oldest = summary.oldest.into_iter().chain(oldest).min();
                summary.pollers += queue.pollers.len();
            }
        }
        found.into_values().collect()
    }

    /// A queue together with its lines.
    fn view_of_lines(&self, stripe: &mut Queues<S>, name: &QueueName, now: Timestamp) -> Option<QueueView> {
        let mut whole: Option<QueueView> = None;
        for queue in stripe.all().filter(|queue| routes::is_line(&queue.name, name)) {
            queue.refresh_pollers(now);
            let view = QueueView::of(queue, now);
            let Some(whole) = &mut whole else {
                whole = Some(view);
                continue;
            };
            whole.pollers.extend(view.pollers);
            whole.limited |= view.limited;
            if queue.name.version.is_none() {
                whole.rate = view.rate;
            }
            whole.levels = levels::together(std::mem::take(&mut whole.levels), view.levels);
        }
        whole
    }

    /// Offers that wait in the queue's window.
    #[cfg(test)]
    pub(crate) fn backlog(&self, name: &QueueName) -> usize {
        let hash = name.hash64();
        self.stripe(hash).get(hash, name).map_or(0, |queue| queue.len())
    }

    /// The backlog of the last process is in the windows: start handing it out.
    pub(crate) fn finish_loading(self: &Arc<Self>) {
        let first = !self.loaded.swap(true, Ordering::AcqRel);
        for stripe in &self.stripes {
            let mut stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            let mut routed = Vec::new();
            for queue in stripe.all() {
                if let Some(fair) = queue.fair.as_mut().filter(|_| first) {
                    fair.turns.all_found();
                }
                if queue.route.is_some() { routed.push(queue.name.clone()) } else { self.pump(queue) }
            }
            for name in routed {
                self.pump_name(&mut stripe, name.hash64(), &name);
            }
        }
    }

    /// Answers all polls with nothing, now and from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for stripe in &self.stripes {
            for queue in stripe.lock().unwrap_or_else(PoisonError::into_inner).all() {
                for waiter in queue.waiters.drain(..) {
                    let _ = waiter.sender.send(Handed::Closed);
                }
            }
        }
    }

    /// Forgets idle queues, now and then, in the course of polls.
    fn sweep(&self, now: Timestamp) {
        let swept = self.swept.load(Ordering::Relaxed);
        if now.0 - swept < SWEEP_INTERVAL.0 || self.swept.compare_exchange(swept, now.0, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        for stripe in &self.stripes {
            stripe.lock().unwrap_or_else(PoisonError::into_inner).retain(|queue| !queue.is_idle(now, IDLE_MAX));
        }
    }
}

impl<S: Send + 'static> Ranks for Matching<S> {
    fn rank(&self, name: &QueueName, priority: u8, fairness: &Fairness) -> Timestamp {
        let hash = name.hash64();
        let mut stripe = self.stripe(hash);
        let queue = self.open(&mut stripe, hash, name, self.clock.now());
        let weight = fair::weight(&queue.weights, Some(fairness));
        let rank = self.ranked(queue).turns.rank(priority, &fairness.key, weight);
        self.ranked_to.fetch_max(rank, Ordering::Relaxed);
        Timestamp(rank)
    }
}

/// A poll in the line. Leaves it when dropped.
pub(crate) struct Waiting<S: Send + 'static> {
    receiver: oneshot::Receiver<Handed<S>>,
    matching: Arc<Matching<S>>,
    queue: Arc<QueueName>,
    id: u64,
}

impl<S: Send + 'static> Waiting<S> {
    /// What came. `None`: whoever held this poll has dropped it (a commit failed); poll again.
    pub(crate) async fn handed(&mut self) -> Option<Handed<S>> {
        (&mut self.receiver).await.ok()
    }

    /// Leaves the line. False when somebody has already taken this poll: the answer is on its way.
    pub(crate) fn leave(&mut self) -> bool {
        let now = self.matching.clock.now();
        let hash = self.queue.hash64();
        let mut stripe = self.matching.stripe(hash);
        let Some(queue) = stripe.get(hash, &self.queue) else { return false };
        queue.leave(self.id, now)
    }
}

impl<S: Send + 'static> Drop for Waiting<S> {
    fn drop(&mut self) {
        self.leave();
        self.matching.stats.pollers.sub(1);
    }
}

#[cfg(test)]
mod tests;
