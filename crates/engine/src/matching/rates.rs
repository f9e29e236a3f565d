//! Rates set for queues by hand, and the timers of queues that wait for their rate.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, atomic::Ordering},
};

use futures::FutureExt;
use sempre_core::transition::QueueName;

use super::{
    Matching,
    limiter::{Limiter, RateSource},
    queue::Queue,
    routes::is_line,
};

/// Tasks per second by queue, as UpdateTaskQueueConfig set them; what has none is not in here.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    by_name: RwLock<HashMap<QueueName, f64>>,
}

impl Rates {
    pub(super) fn get(&self, name: &QueueName) -> Option<f64> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    fn set(&self, name: &QueueName, rate: Option<f64>) {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        match rate {
            Some(rate) => drop(by_name.insert(name.clone(), rate)),
            None => drop(by_name.remove(name)),
        }
    }
}

impl<S: Send + 'static> Matching<S> {
    /// Sets how many tasks a second a queue gives out, or takes that back.
    pub(crate) fn set_rate(self: &Arc<Self>, name: &QueueName, rate: Option<f64>) {
        // First: a queue that is opened from now on has it.
        self.rates.set(name, rate);
        let hash = name.hash64();
        let mut stripe = self.stripe(hash);
        let mut faster = Vec::new();
        for queue in stripe.all().filter(|queue| is_line(&queue.name, name)) {
            if queue.limiter.set_api(rate, self.clock.now()) {
                faster.push(queue.name.clone());
            }
        }
        for name in faster {
            self.pump_name(&mut stripe, name.hash64(), &name);
        }
    }

    /// The rate that a queue nobody uses would have.
    pub(crate) fn rate_of_unused(&self, name: &QueueName) -> (f64, RateSource) {
        let mut limiter = Limiter::default();
        limiter.set_api(self.rates.get(name), self.clock.now());
        limiter.rate()
    }

    /// A queue has offers and pollers, and must wait: at most one timer rings when it may go on.
    pub(super) fn set_alarm(self: &Arc<Self>, queue: &mut Queue<S>) {
        // None: until the rate changes.
        let Some(at) = queue.limiter.next() else { return };
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
            self.pump_name(&mut stripe, hash, name);
        }
    }
}
