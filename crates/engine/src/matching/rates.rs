//! What is set for queues by hand, rates and weights, and the timers of queues that wait for their rate.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, atomic::Ordering},
};

use futures::FutureExt;
use sempre_core::{Timestamp, transition::QueueName};

use super::{
    Matching,
    fair::{KeyLimits, Weights},
    limiter::{Limiter, RateSource},
    queue::Queue,
    routes::is_line,
};

/// What UpdateTaskQueueConfig has set for a queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Settings {
    /// Tasks per second.
    pub(crate) rate: Option<f64>,
    /// Tasks per second of each fairness key of weight 1.
    pub(crate) key_rate: Option<f64>,
    /// Weights of fairness keys, in the place of those that tasks name.
    pub(crate) weights: Weights,
}

impl Settings {
    /// True when the queue may be able to give out more now.
    pub(super) fn apply<S: Send + 'static>(self, queue: &mut Queue<S>, now: Timestamp) -> bool {
        queue.weights = self.weights;
        let known = queue.key_limits.as_ref().map(|limits| limits.rate());
        let keys_changed = known != self.key_rate;
        match (self.key_rate, &mut queue.key_limits) {
            (None, limits) => *limits = None,
            (Some(rate), None) => queue.key_limits = Some(KeyLimits::new(rate)),
            (Some(rate), Some(limits)) => {
                if keys_changed {
                    limits.set_rate(rate, now);
                }
            }
        }
        queue.limiter.set_api(self.rate, now) || keys_changed
    }
}

/// The settings of queues; what has none is not in here.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    by_name: RwLock<HashMap<QueueName, Settings>>,
}

impl Rates {
    pub(super) fn get(&self, name: &QueueName) -> Option<Settings> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn set(&self, name: &QueueName, settings: &Settings) {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        if *settings == Settings::default() {
            by_name.remove(name);
        } else {
            by_name.insert(name.clone(), settings.clone());
        }
    }
}

impl<S: Send + 'static> Matching<S> {
    /// Sets how fast a queue gives out tasks, and how its fairness keys share it.
    pub(crate) fn set_up(self: &Arc<Self>, name: &QueueName, settings: Settings) {
        // First: a queue that is opened from now on has it.
        self.rates.set(name, &settings);
        let hash = name.hash64();
        let mut stripe = self.stripe(hash);
        let mut faster = Vec::new();
        for queue in stripe.all().filter(|queue| is_line(&queue.name, name)) {
            if settings.clone().apply(queue, self.clock.now()) {
                // What it waits for is another moment now.
                queue.alarm = None;
                faster.push(queue.name.clone());
            }
        }
        for name in faster {
            if let Some(queue) = stripe.get(name.hash64(), &name) {
                self.pump_nexus(queue);
            }
            self.pump_name(&mut stripe, name.hash64(), &name);
        }
    }

    /// The rate that a queue nobody uses would have.
    pub(crate) fn rate_of_unused(&self, name: &QueueName) -> (f64, RateSource) {
        let mut limiter = Limiter::default();
        limiter.set_api(self.rates.get(name).and_then(|settings| settings.rate), self.clock.now());
        limiter.rate()
    }

    /// A queue has offers and pollers, and must wait: at most one timer rings when it may go on.
    pub(super) fn set_alarm(self: &Arc<Self>, queue: &mut Queue<S>, at: Option<Timestamp>) {
        // None: until the rate changes.
        let Some(at) = at else { return };
        if queue.alarm.is_some_and(|(_, set)| set <= at) {
            return;
        }
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        queue.alarm = Some((id, at));
        let (matching, name) = (Arc::downgrade(self), queue.name.clone());
        let ring = move |()| {
            if let Some(matching) = matching.upgrade() {
                matching.ring(&name, id);
            }
        };
        self.spawner.spawn("sempre task queue rate", self.clock.sleep_until(at).map(ring).boxed());
    }

    fn ring(self: &Arc<Self>, name: &QueueName, id: u64) {
        let hash = name.hash64();
        let mut stripe = self.stripe(hash);
        if let Some(queue) = stripe.get(hash, name)
            && queue.alarm.is_some_and(|(set, _)| set == id)
        {
            queue.alarm = None;
            self.pump_nexus(queue);
            self.pump_name(&mut stripe, hash, name);
        }
    }
}
