//! Queues whose work goes to versions of workers (spec 05 §9).
//!
//! A queue has lines beside itself, one for each version whose workers poll it: names with a version. A line holds the
//! tasks of runs that are pinned to its version, and the polls of its workers. All other tasks stay in the queue itself;
//! where each of them goes is asked of the queue's [`Route`] when there is a poll, so that a change of the route moves
//! nothing, on disk or in memory. Only what waits for an answer in memory, queries and requests to Nexus handlers, waits on the line
//! that the route sends it to, and moves when that changes. A queue and its lines share a lock.
//!
//! | poll of | is given |
//! |---|---|
//! | a version | its line's tasks and the queue's own that the route sends to it: the more urgent first, then the older |
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
    queue::{Queue, Queues},
    window::Side,
};
use crate::nexus::calls::NexusTask;

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

/// Which side of the route that is. Of two sides with one version there is only the first.
pub(super) fn side(route: Option<&Route>, offer: &Offer) -> Side {
    let Some(route) = route.filter(|route| route.ramp.is_some()) else { return Side::Current };
    if target(route, offer) == route.current.as_ref() { Side::Current } else { Side::Ramp }
}

/// The versions that a route sends anything to.
fn targets(route: &Route) -> impl Iterator<Item = (Side, Option<&Arc<Version>>)> {
    let ramp = route.ramp.as_ref().map(|ramp| (Side::Ramp, ramp.version.as_ref()));
    [Some((Side::Current, route.current.as_ref())), ramp].into_iter().flatten()
}

impl<S: Send + 'static> Queue<S> {
    /// The side of the queue that workers of this version have. `None`: none of it.
    pub(super) fn side_of(&self, version: Option<&Arc<Version>>) -> Option<Side> {
        match &self.route {
            Some(route) => targets(route).find(|(_, target)| *target == version).map(|(side, _)| side),
            None => (self.name.version.as_ref() == version).then_some(Side::Current),
        }
    }

    /// What a poll that finds nothing may have to do with what is behind the window.
    pub(super) fn has_two_sides(&self) -> bool {
        self.route.as_ref().is_some_and(|route| route.ramp.is_some())
    }
}

impl<S: Send + 'static> Matching<S> {
    /// Where a queue's tasks go from now on. `None`: to workers without a version.
    pub(crate) fn set_route(self: &Arc<Self>, name: &QueueName, route: Option<Arc<Route>>) {
        let old = {
            let mut by_name = self.routes.by_name.write().unwrap_or_else(PoisonError::into_inner);
            // First: a queue that is opened from now on has it.
            match &route {
                Some(route) => by_name.insert(name.clone(), route.clone()),
                None => by_name.remove(name),
            }
        };
        let hash = name.hash64();
        let mut stripe = self.stripe(hash);
        let (mut waiting, mut requests): (Vec<QueryTask>, Vec<(NexusTask, Timestamp)>) = Default::default();
        // What waits on lines may be all there is.
        if let Some(queue) = stripe.get(hash, name) {
            queue.set_route(route);
            waiting.extend(queue.queries.drain(..));
            requests.extend(queue.drain_nexus());
        }
        for (_, version) in old.iter().flat_map(|old| targets(old)) {
            let line = name.line(version);
            let Some(queue) = stripe.get(line.hash64(), &line).filter(|_| version.is_some()) else { continue };
            let (own, moved) = queue.queries.drain(..).partition(|query| query.queue().version.is_some());
            queue.queries = own;
            waiting.extend::<std::collections::VecDeque<_>>(moved);
            requests.extend(queue.drain_nexus());
        }
        for query in waiting {
            let line = self.line_of(&mut stripe, query.queue(), query.workflow_id());
            let queue = self.open(&mut stripe, line.hash64(), &line, self.clock.now());
            self.give_query(queue, query);
        }
        for (request, since) in requests {
            let line = self.line_of(&mut stripe, &request.queue, request.ramped_by());
            let now = self.clock.now();
            let queue = self.open(&mut stripe, line.hash64(), &line, now);
            queue.join_nexus(request, since, now);
            self.pump_nexus(queue);
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

    /// What a poll of this line finds: of the line's tasks and the queue's own, what is more urgent, then what is older; the other if
    /// that may not go yet.
    pub(super) fn take_routed(&self, stripe: &mut Queues<S>, name: &QueueName, now: Timestamp) -> Option<Queued> {
        let plain = name.plain();
        let plain_hash = plain.hash64();
        let side = stripe.get(plain_hash, &plain).and_then(|queue| queue.side_of(name.version.as_ref()));
        if name.version.is_none() {
            return self.take(stripe.get(plain_hash, &plain)?, side?, now);
        }
        let line_hash = name.hash64();
        let own = stripe.get(line_hash, name).and_then(|queue| queue.next_since(Side::Current));
        let routed = side.and_then(|side| stripe.get(plain_hash, &plain)?.next_since(side));
        let take_own = |stripe: &mut Queues<S>| self.take(stripe.get(line_hash, name)?, Side::Current, now);
        let take_routed = |stripe: &mut Queues<S>| self.take(stripe.get(plain_hash, &plain)?, side?, now);
        match (own, routed) {
            (Some(own), Some(routed)) if routed < own => take_routed(stripe).or_else(|| take_own(stripe)),
            _ => take_own(stripe).or_else(|| take_routed(stripe)),
        }
    }

    /// A poll of this line has begun to wait: has it rung for when offers beside it may go. `faster`: it has raised the rate.
    pub(super) fn pump_for(self: &Arc<Self>, stripe: &mut Queues<S>, hash: u64, name: &QueueName, faster: bool) {
        if faster || stripe.get(hash, name).is_some_and(|queue| queue.len() > 0) {
            self.pump_name(stripe, hash, name);
        }
        if name.version.is_some() {
            let plain = name.plain();
            let hash = plain.hash64();
            if stripe.get(hash, &plain).is_some_and(|queue| queue.len() > 0) {
                self.pump_name(stripe, hash, &plain);
            }
        }
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
        for (side, version) in targets(route) {
            let line = name.line(version);
            let line_hash = line.hash64();
            while let Some(next) = stripe.get(hash, name).and_then(|queue| queue.next(side)) {
                let Some(waiter) = stripe.get(line_hash, &line).and_then(|queue| queue.next_waiter(now)) else { break };
                let Some(queue) = stripe.get(hash, name) else { return };
                if !queue.admit_next(&next, now) {
                    self.set_alarm(queue, queue.next_at(&next));
                    if let Some(queue) = stripe.get(line_hash, &line) {
                        queue.waiters.push_front(waiter);
                    }
                    // What keeps this one may be its key's rate, which is not the other side's.
                    break;
                }
                let queued = self.take_next(queue, &next, now);
                // Gone between the look and the send: the offer keeps its place.
                if let Err(Handed::Offer(held)) = waiter.sender.send(Handed::Offer(HeldOffer::new(queued, self.clone()))) {
                    self.put_back(queue, &next, held.into_queued(), now);
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
