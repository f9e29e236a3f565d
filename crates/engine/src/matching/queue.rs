//! One task queue: its lines of offers, and the line of pollers.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use sempre_core::{
    Route, Span, Timestamp,
    input::Poller,
    transition::{Fairness, Offer, QueueKind, QueueName},
};
use tokio::sync::oneshot;

use super::{
    Handed,
    caller::{Caller, Instance},
    fair::{self, Fair, KeyLimits, Weights},
    held::Queued,
    levels::Levels,
    limiter::Limiter,
    nexus::WaitingNexus,
    pollers::Pollers,
    queries::QueryTask,
    routes,
    scaling::AdviceGate,
    window::{Place, Side, Window},
};

/// The next offer to go to a poll of one side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Next {
    side: Side,
    place: Place,
}

/// One waiting poll.
#[derive(Debug)]
pub(crate) struct Waiter<S: Send + 'static> {
    pub(crate) id: u64,
    pub(crate) poller: Poller,
    pub(crate) instance: Option<Instance>,
    pub(crate) sender: oneshot::Sender<Handed<S>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue<S: Send + 'static> {
    pub(crate) name: Arc<QueueName>,
    /// Offers in the order of their age.
    pub(crate) plain: Window,
    /// Offers that have ranks, once there were any.
    pub(crate) fair: Option<Box<Fair>>,
    /// What each fairness key may have.
    pub(crate) key_limits: Option<Box<KeyLimits>>,
    /// Weights set by hand.
    pub(crate) weights: Weights,
    pub(crate) waiters: VecDeque<Waiter<S>>,
    pub(crate) queries: VecDeque<QueryTask>,
    pub(crate) nexus: WaitingNexus,
    pub(crate) pollers: Pollers,
    pub(crate) levels: Levels,
    pub(crate) limiter: Limiter,
    pub(crate) advice: AdviceGate,
    /// The one timer that counts, and when it rings: somebody may be given an offer then.
    pub(crate) alarm: Option<(u64, Timestamp)>,
    pub(crate) last_poll: Option<Timestamp>,
    pub(crate) used: Timestamp,
    /// Where its tasks go; `None`: to workers without a version. Lines have none.
    pub(crate) route: Option<Arc<Route>>,
}

impl<S: Send + 'static> Queue<S> {
    fn new(name: QueueName, now: Timestamp) -> Self {
        Self {
            name: Arc::new(name),
            plain: Window::new(false),
            fair: None,
            key_limits: None,
            weights: Weights::default(),
            waiters: VecDeque::new(),
            queries: VecDeque::new(),
            nexus: WaitingNexus::default(),
            pollers: Pollers::default(),
            levels: Levels::default(),
            limiter: Limiter::default(),
            advice: AdviceGate::default(),
            alarm: None,
            last_poll: None,
            used: now,
            route: None,
        }
    }

    /// Its tasks are those of workflows, for any worker.
    pub(crate) fn is_of_workflows(&self) -> bool {
        self.name.kind == QueueKind::Workflow && !self.name.sticky
    }

    /// Offers in memory.
    pub(crate) fn len(&self) -> usize {
        self.plain.len() + self.fair.as_ref().map_or(0, |fair| fair.window.len())
    }

    /// Older offers than a new one exist, in memory or in the store.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.plain.is_empty() || self.fair.as_ref().is_some_and(|fair| !fair.window.is_empty())
    }

    /// Tasks that wait, in memory and in the store.
    pub(crate) fn backlog(&self) -> u64 {
        let (waiting, stored) = self.levels.counts();
        waiting + stored
    }

    /// When the oldest in memory of a level was offered.
    pub(crate) fn oldest_of(&self, level: u8) -> Option<Timestamp> {
        let ranked = self.fair.as_ref().and_then(|fair| fair.window.oldest(level));
        [self.plain.oldest(level), ranked, self.nexus.oldest(level)].into_iter().flatten().min()
    }

    /// When the oldest that waits was offered.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.levels.oldest(|level| self.oldest_of(level))
    }

    /// The part of a task's key, and the weight that counts for it.
    pub(super) fn share<'f>(&self, fairness: Option<&'f Fairness>) -> (&'f str, f64) {
        (fairness.map_or("", |fairness| fairness.key.as_str()), fair::weight(&self.weights, fairness))
    }

    /// Adds an offer in its place. The window may push its last out.
    pub(crate) fn insert(&mut self, queued: Queued, window_max: usize, now: Timestamp) {
        let side = routes::side(self.route.as_deref(), &queued.offer);
        let window = match &mut self.fair {
            Some(fair) if queued.row.is_ranked() => &mut fair.window,
            _ => &mut self.plain,
        };
        window.insert(queued, side, window_max, &mut self.levels, now);
    }

    /// Nothing is in the store that is not in memory.
    pub(crate) fn is_whole(&self) -> bool {
        self.plain.end().is_none() && self.fair.as_ref().is_none_or(|fair| fair.window.end().is_none())
    }

    /// The offer that a poll of this side has next. `None` too when it is not known, because the line that may have it is being
    /// read.
    pub(crate) fn next(&mut self, side: Side) -> Option<Next> {
        let plain = self.plain.first(side).map(|(place, _)| *place);
        let Some(fair) = &mut self.fair else { return plain.map(|place| Next { side, place }) };
        let ranked = fair.window.first(side).map(|(place, _)| *place);
        let place = match (plain, ranked) {
            (None, None) => return None,
            (Some(plain), None) if fair.window.unread_level().is_some_and(|level| level <= plain.level()) => return None,
            (None, Some(ranked)) if self.plain.unread_level().is_some_and(|level| level <= ranked.level()) => return None,
            (Some(place), None) | (None, Some(place)) => place,
            (Some(plain), Some(ranked)) if plain.level() != ranked.level() => {
                if plain.level() < ranked.level() {
                    plain
                } else {
                    ranked
                }
            }
            (Some(plain), Some(ranked)) => {
                if fair.turns.unkeyed(plain.level(), side) <= ranked.time.0 {
                    plain
                } else {
                    ranked
                }
            }
        };
        Some(Next { side, place })
    }

    fn fairness_of(&self, next: &Next) -> Option<&Fairness> {
        let window = match &self.fair {
            Some(fair) if next.place.is_ranked() => &fair.window,
            _ => &self.plain,
        };
        window.first(next.side).and_then(|(_, queued)| queued.offer.fairness.as_deref())
    }

    /// When a task may go, by the rates of the queue and of its key. `None`: not before one of them changes.
    fn ready_at(&self, fairness: Option<&Fairness>) -> Option<Timestamp> {
        let queue = self.limiter.next()?;
        let Some(limits) = &self.key_limits else { return Some(queue) };
        let (key, weight) = self.share(fairness);
        Some(limits.ready_at(key, weight)?.max(queue))
    }

    /// As [`Queue::ready_at`], of the next offer.
    pub(crate) fn next_at(&self, next: &Next) -> Option<Timestamp> {
        self.ready_at(self.fairness_of(next))
    }

    /// Lets a task go, if the rates allow it.
    pub(crate) fn admit(&mut self, fairness: Option<&Fairness>, now: Timestamp) -> bool {
        if self.key_limits.is_none() {
            return self.limiter.take(now);
        }
        let (key, weight) = self.share(fairness);
        let ready = self.key_limits.as_ref().and_then(|limits| limits.ready_at(key, weight)).is_some_and(|at| at <= now);
        let goes = ready && self.limiter.take(now);
        if let Some(limits) = self.key_limits.as_mut().filter(|_| goes) {
            limits.take(key, weight, now);
        }
        goes
    }

    /// The task did not go after all.
    pub(crate) fn give_back(&mut self, fairness: Option<&Fairness>) {
        self.limiter.give_back();
        let (key, weight) = self.share(fairness);
        if let Some(limits) = &mut self.key_limits {
            limits.give_back(key, weight);
        }
    }

    /// As [`Queue::admit`], of the next offer.
    pub(crate) fn admit_next(&mut self, next: &Next, now: Timestamp) -> bool {
        if self.key_limits.is_none() {
            return self.limiter.take(now);
        }
        let fairness = self.fairness_of(next).cloned();
        self.admit(fairness.as_ref(), now)
    }

    /// Takes the next offer, and counts its turn.
    pub(crate) fn pop(&mut self, next: &Next) -> Option<Queued> {
        let level = next.place.level();
        let Some(fair) = &mut self.fair else { return self.plain.pop(next.side, &next.place, &mut self.levels) };
        let queued = if next.place.is_ranked() {
            let queued = fair.window.pop(next.side, &next.place, &mut self.levels)?;
            fair.turns.handed(level, next.place.time.0);
            queued
        } else {
            let queued = self.plain.pop(next.side, &next.place, &mut self.levels)?;
            fair.turns.unkeyed_handed(level, next.side, unkeyed_weight(&self.weights, &queued.offer));
            queued
        };
        if self.plain.is_empty() && fair.window.is_empty() {
            fair.turns.settle();
        }
        Some(queued)
    }

    /// How urgent the next offer of a side is, and since when it waits: the smaller goes first.
    pub(crate) fn next_since(&mut self, side: Side) -> Option<(u8, Timestamp)> {
        let place = self.next(side)?.place;
        let window = if place.is_ranked() { &self.fair.as_ref()?.window } else { &self.plain };
        Some((place.level(), window.first(side)?.1.offer.offered))
    }

    /// The offer that was taken goes back, as if it had not been.
    pub(crate) fn undo(&mut self, next: &Next, queued: Queued, window_max: usize, now: Timestamp) {
        self.give_back(queued.offer.fairness.as_deref());
        self.levels.not_dispatched(next.place.level());
        if let Some(fair) = self.fair.as_mut().filter(|_| !next.place.is_ranked()) {
            fair.turns.unkeyed_not_handed(next.place.level(), next.side, unkeyed_weight(&self.weights, &queued.offer));
        }
        self.insert(queued, window_max, now);
    }

    /// Forgets an offer. True when it was in memory.
    pub(crate) fn remove(&mut self, place: &Place) -> bool {
        match &mut self.fair {
            Some(fair) if place.is_ranked() => fair.window.remove(place, &mut self.levels),
            _ => self.plain.remove(place, &mut self.levels),
        }
    }

    /// Forgets the offers that are not to stay. Gives how many of them were in memory.
    pub(crate) fn retain(&mut self, stays: impl Fn(&Offer) -> bool) -> usize {
        let plain = self.plain.retain(&stays, &mut self.levels);
        plain + self.fair.as_mut().map_or(0, |fair| fair.window.retain(&stays, &mut self.levels))
    }

    /// Another route: what waits goes to other sides.
    pub(crate) fn set_route(&mut self, route: Option<Arc<Route>>) -> Option<Arc<Route>> {
        self.plain.split(route.as_deref());
        if let Some(fair) = &mut self.fair {
            fair.window.split(route.as_deref());
        }
        std::mem::replace(&mut self.route, route)
    }

    /// The longest waiting poll whose client is still there.
    pub(crate) fn next_waiter(&mut self, now: Timestamp) -> Option<Waiter<S>> {
        loop {
            let waiter = self.waiters.pop_front()?;
            if !waiter.sender.is_closed() {
                self.still_there(&waiter.poller.identity, now);
                return Some(waiter);
            }
        }
    }

    fn still_there(&mut self, identity: &str, now: Timestamp) {
        self.last_poll = Some(now);
        self.pollers.still_there(identity, now);
    }

    pub(crate) fn drop_gone_waiters(&mut self) {
        self.waiters.retain(|w| !w.sender.is_closed());
    }

    /// Takes a poll out of the line. False when it was not in it.
    pub(crate) fn leave(&mut self, id: u64, now: Timestamp) -> bool {
        self.used = now;
        let Some(at) = self.waiters.iter().position(|w| w.id == id) else { return false };
        if let Some(waiter) = self.waiters.remove(at) {
            self.still_there(&waiter.poller.identity, now);
        }
        true
    }

    pub(crate) fn saw_poller(&mut self, identity: &str, caller: &Caller, now: Timestamp) {
        self.last_poll = Some(now);
        self.used = now;
        self.pollers.saw(identity, caller, now);
    }

    /// Counts waiting polls as seen now, and forgets pollers that are long gone.
    pub(crate) fn refresh_pollers(&mut self, now: Timestamp) {
        self.drop_gone_waiters();
        for waiter in &self.waiters {
            self.pollers.still_there(&waiter.poller.identity, now);
        }
        self.pollers.expire(now);
    }

    pub(crate) fn is_idle(&mut self, now: Timestamp, idle_max: Span) -> bool {
        self.drop_gone_waiters();
        self.queries.retain(QueryTask::is_wanted);
        self.nexus.drop_unwanted(&mut self.levels);
        !self.has_backlog()
            && !self.plain.is_paging()
            && self.fair.as_ref().is_none_or(|fair| !fair.window.is_paging())
            && self.waiters.is_empty()
            && self.queries.is_empty()
            && self.nexus.is_empty()
            && now.since(self.used) >= idle_max
    }
}

/// The weight of a task that stands in the line of age. One that names a key does so only on its way from a sticky queue.
fn unkeyed_weight(weights: &Weights, offer: &Offer) -> f64 {
    fair::weight(weights, offer.fairness.as_deref().filter(|fairness| fairness.key.is_empty()))
}

/// Queues by the hash of their name. Names that share a hash share nothing else: the hash is no secret and can be
/// made to collide.
#[derive(Debug)]
pub(crate) struct Queues<S: Send + 'static> {
    by_hash: HashMap<u64, Vec<Queue<S>>>,
}

impl<S: Send + 'static> Queues<S> {
    pub(crate) fn new() -> Self {
        Self { by_hash: HashMap::new() }
    }

    pub(crate) fn get(&mut self, hash: u64, name: &QueueName) -> Option<&mut Queue<S>> {
        self.with_hash(hash).find(|queue| *queue.name == *name)
    }

    /// The queue, and whether it is a new one because there was none yet.
    pub(crate) fn open(&mut self, hash: u64, name: &QueueName, now: Timestamp) -> (&mut Queue<S>, bool) {
        let queues = self.by_hash.entry(hash).or_default();
        let known = queues.iter().position(|queue| *queue.name == *name);
        let at = known.unwrap_or_else(|| {
            queues.push(Queue::new(name.clone(), now));
            queues.len() - 1
        });
        (&mut queues[at], known.is_none())
    }

    pub(crate) fn remove(&mut self, hash: u64, name: &QueueName) -> Option<Queue<S>> {
        let queues = self.by_hash.get_mut(&hash)?;
        let at = queues.iter().position(|queue| *queue.name == *name)?;
        let queue = queues.swap_remove(at);
        if queues.is_empty() {
            self.by_hash.remove(&hash);
        }
        Some(queue)
    }

    pub(crate) fn with_hash(&mut self, hash: u64) -> impl Iterator<Item = &mut Queue<S>> {
        self.by_hash.get_mut(&hash).into_iter().flatten()
    }

    pub(crate) fn all(&mut self) -> impl Iterator<Item = &mut Queue<S>> {
        self.by_hash.values_mut().flatten()
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut Queue<S>) -> bool) {
        self.by_hash.retain(|_, queues| {
            queues.retain_mut(&mut keep);
            !queues.is_empty()
        });
    }
}
