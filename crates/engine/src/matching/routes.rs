//! Queues whose work goes to versions of workers (spec 05 §9).
//!
//! A queue has lines beside itself, one for each version whose workers poll it: names with a version. A line holds the
//! tasks of runs that are pinned to its version, and the polls of its workers. All other tasks stay in the queue itself;
//! where each of them goes is asked of the queue's [`Route`] when there is a poll, so that a change of the route moves
//! nothing, on disk or in memory. A queue and its lines share a lock.
//!
//! | poll of | is given |
//! |---|---|
//! | a version | its line's tasks, then the queue's own that the route sends to it |
//! | no version | the queue's own tasks that the route sends to workers without a version; all, if there is no route |
//!
//! A queue without a route is served as if there were no versions at all.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, atomic::Ordering},
};

use sempre_core::{
    Route, Timestamp, Version,
    transition::{Offer, QueueKind, QueueName},
};

use super::{
    Handed, Matching,
    held::{HeldOffer, Queued},
    queries::QueryTask,
    queue::{Place, Queue, Queues},
};

/// Times the window that a queue may hold in memory while the tasks of one side of a ramp wait and those of the other are
/// asked for.
const WINDOWS_MAX: usize = 16;

/// The routes in force, by queue; what has none is not in here.
#[derive(Debug, Default)]
pub(super) struct Routes {
    by_name: RwLock<HashMap<QueueName, Arc<Route>>>,
}

impl Routes {
    pub(super) fn get(&self, name: &QueueName) -> Option<Arc<Route>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// The queue itself, or one of its lines.
pub(super) fn is_line(own: &QueueName, of: &QueueName) -> bool {
    own.name == of.name && own.kind == of.kind && own.sticky == of.sticky && own.namespace == of.namespace
}

/// Where the route sends this offer.
fn target<'r>(route: &'r Route, offer: &Offer) -> Option<&'r Arc<Version>> {
    route.target(&offer.run.workflow.workflow_id, offer.routing.as_ref().is_some_and(|routing| routing.ramping)).0
}

/// The versions that a route sends anything to.
fn targets(route: &Route) -> [Option<Option<Arc<Version>>>; 2] {
    [Some(route.current.clone()), route.ramp.as_ref().map(|ramp| ramp.version.clone())]
}

impl<S: Send + 'static> Queue<S> {
    /// The first offer that workers of this version may have.
    fn first_for(&self, version: Option<&Arc<Version>>) -> Option<Place> {
        let Some(route) = &self.route else {
            return self.offers.keys().next().copied().filter(|_| version.is_none() || self.name.version.as_ref() == version);
        };
        if !targets(route).iter().flatten().any(|target| target.as_ref() == version) {
            return None;
        }
        self.offers.iter().find(|(_, queued)| target(route, &queued.offer) == version).map(|(place, _)| *place)
    }

    fn pop_at(&mut self, place: &Place) -> Option<Queued> {
        let queued = self.offers.remove(place)?;
        self.levels.leave(place.priority);
        if self.offers.is_empty() {
            self.windows = 1;
        }
        Some(queued)
    }

    /// One side of a ramp fills the window, and the other may be behind it: the window grows.
    pub(super) fn starves(&mut self, window_max: usize) -> bool {
        let Some(route) = &self.route else { return false };
        let full = self.loaded_to.is_some() && self.offers.len() >= self.windows * window_max;
        let waits = targets(route).iter().flatten().any(|version| self.first_for(version.as_ref()).is_none());
        if full && waits && self.windows < WINDOWS_MAX {
            self.windows += 1;
            return true;
        }
        false
    }
}

impl<S: Send + 'static> Matching<S> {
    /// Where a queue's tasks go from now on. `None`: to workers without a version.
    pub(crate) fn set_route(self: &Arc<Self>, name: &QueueName, route: Option<Arc<Route>>) {
        {
            let mut by_name = self.routes.by_name.write().unwrap_or_else(PoisonError::into_inner);
            // First: a queue that is opened from now on has it.
            match &route {
                Some(route) => drop(by_name.insert(name.clone(), route.clone())),
                None => drop(by_name.remove(name)),
            }
        }
        let hash = name.hash64();
        let mut stripe = self.stripe(hash);
        let Some(queue) = stripe.get(hash, name) else { return };
        let old = std::mem::replace(&mut queue.route, route);
        queue.windows = 1;
        let mut waiting: Vec<QueryTask> = queue.queries.drain(..).collect();
        for version in old.iter().flat_map(|old| targets(old)).flatten() {
            let line = name.line(version.as_ref());
            let Some(queue) = stripe.get(line.hash64(), &line).filter(|_| version.is_some()) else { continue };
            let (own, moved) = queue.queries.drain(..).partition(|query| query.queue().version.is_some());
            queue.queries = own;
            waiting.extend::<std::collections::VecDeque<_>>(moved);
        }
        for query in waiting {
            let line = self.line_of(&mut stripe, query.queue(), &query.run.workflow.workflow_id);
            let queue = self.open(&mut stripe, line.hash64(), &line, self.clock.now());
            self.give_query(queue, query);
        }
        self.pump_name(&mut stripe, hash, name);
    }

    /// The line of a queue on which a workflow's queries and polls for its tasks meet.
    pub(super) fn line_of(&self, stripe: &mut Queues<S>, name: &QueueName, workflow_id: &str) -> QueueName {
        if name.sticky || name.version.is_some() {
            return name.clone();
        }
        let route = match stripe.get(name.hash64(), name) {
            Some(queue) => queue.route.clone(),
            None => self.routes.get(name),
        };
        let version = route.and_then(|route| route.target(workflow_id, false).0.cloned());
        name.line(version.as_ref())
    }

    /// What a poll of this line finds: pinned tasks first.
    pub(super) fn take_routed(&self, stripe: &mut Queues<S>, name: &QueueName, now: Timestamp) -> Option<Queued> {
        if name.version.is_some()
            && let Some(queue) = stripe.get(name.hash64(), name)
            && queue.len() > 0
            && queue.limiter.take(now)
        {
            return self.take(queue, now);
        }
        let plain = name.plain();
        let queue = stripe.get(plain.hash64(), &plain)?;
        if name.version.is_some() && queue.route.is_none() {
            return None;
        }
        let place = queue.first_for(name.version.as_ref())?;
        if !queue.limiter.take(now) {
            return None;
        }
        self.take_at(queue, &place, now)
    }

    fn take_at(&self, queue: &mut Queue<S>, place: &Place, now: Timestamp) -> Option<Queued> {
        let queued = queue.pop_at(place)?;
        queue.levels.dispatched(queued.row.priority, now);
        self.stats.backlog.sub(1);
        self.stats.backlog_matches.add(1);
        Some(queued)
    }

    /// Hands the offers of a queue to polls, on whatever lines they wait.
    pub(super) fn pump_name(self: &Arc<Self>, stripe: &mut Queues<S>, hash: u64, name: &QueueName) {
        let Some(queue) = stripe.get(hash, name) else { return };
        match queue.route.clone() {
            None => self.pump(queue),
            Some(route) => self.pump_lines(stripe, hash, name, &route),
        }
    }

    fn pump_lines(self: &Arc<Self>, stripe: &mut Queues<S>, hash: u64, name: &QueueName, route: &Route) {
        if !self.loaded.load(Ordering::Acquire) {
            return;
        }
        let now = self.clock.now();
        for version in targets(route).into_iter().flatten() {
            let line = name.line(version.as_ref());
            let line_hash = line.hash64();
            while let Some(place) = stripe.get(hash, name).and_then(|queue| queue.first_for(version.as_ref())) {
                let Some(waiter) = stripe.get(line_hash, &line).and_then(|queue| queue.next_waiter(now)) else { break };
                let Some(queue) = stripe.get(hash, name) else { return };
                if !queue.limiter.take(now) {
                    self.set_alarm(queue);
                    if let Some(queue) = stripe.get(line_hash, &line) {
                        queue.waiters.push_front(waiter);
                    }
                    return;
                }
                let Some(queued) = self.take_at(queue, &place, now) else { break };
                if let Err(Handed::Offer(held)) = waiter.sender.send(Handed::Offer(HeldOffer::new(queued, self.clone()))) {
                    // Gone between the look and the send: the offer keeps its place.
                    let queued = held.into_queued();
                    queue.limiter.give_back();
                    queue.levels.not_dispatched(queued.row.priority);
                    queue.insert(queued, self.window_max, now);
                    self.stats.backlog.add(1);
                    self.stats.backlog_matches.sub(1);
                }
            }
        }
    }

    /// A version's worker asks for a rate: it holds for what the queue itself gives to versions, too.
    pub(super) fn set_worker_rate(self: &Arc<Self>, stripe: &mut Queues<S>, name: &QueueName, rate: Option<f64>, now: Timestamp) {
        if name.version.is_none() || name.kind != QueueKind::Activity {
            return;
        }
        let plain = name.plain();
        let hash = plain.hash64();
        let Some(queue) = stripe.get(hash, &plain).filter(|queue| queue.route.is_some()) else { return };
        if queue.limiter.set_worker(rate, now) {
            self.pump_name(stripe, hash, &plain);
        }
    }

    /// The versions whose workers have polled a queue in the last minutes.
    pub(crate) fn polled_lately(&self, line: &QueueName) -> bool {
        let hash = line.hash64();
        let now = self.clock.now();
        self.stripe(hash).get(hash, line).is_some_and(|queue| {
            queue.refresh_pollers(now);
            queue.pollers.len() > 0
        })
    }
}

/// Where an offer that no poll takes at once would be taken.
pub(super) fn waits_on<S: Send + 'static>(queue: &Queue<S>, offer: &Offer) -> Option<QueueName> {
    let route = queue.route.as_ref()?;
    Some(offer.queue.line(target(route, offer)))
}
