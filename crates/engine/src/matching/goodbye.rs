//! Workers that have said goodbye: their polls end now, and those that come late end at once (spec 05 §14).

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use sempre_core::{Span, Timestamp, transition::QueueName};

use super::{Handed, Matching, caller::Instance, routes::is_line};

/// How long late polls of a worker are ended: longer than any that was under way.
const REMEMBERED: Span = Span::seconds(30);
/// Workers remembered; beyond, the one longest gone is forgotten.
const INSTANCES_MAX: usize = 10_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Goodbyes {
    until: Mutex<HashMap<Instance, Timestamp>>,
    /// Saves polls the lock while nobody is remembered.
    count: AtomicUsize,
}

impl Goodbyes {
    fn add(&self, instance: Instance, now: Timestamp) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.len() >= INSTANCES_MAX {
            until.retain(|_, until| *until > now);
        }
        if until.len() >= INSTANCES_MAX {
            let oldest = until.iter().min_by_key(|(_, until)| **until).map(|(instance, _)| *instance);
            oldest.and_then(|instance| until.remove(&instance));
        }
        until.insert(instance, now + REMEMBERED);
        self.count.store(until.len(), Ordering::Release);
    }

    /// Whether polls of `instance` end at once.
    pub(super) fn has(&self, instance: Option<Instance>, now: Timestamp) -> bool {
        let Some(instance) = instance else { return false };
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        match until.get(&instance) {
            Some(until) if *until > now => true,
            Some(_) => {
                until.remove(&instance);
                self.count.store(until.len(), Ordering::Release);
                false
            }
            None => false,
        }
    }
}

impl<S: Send + 'static> Matching<S> {
    /// Ends all polls of a worker, on whatever queue, and those it sends in the next half minute. One that is being
    /// given a task gets it.
    pub(crate) fn end_polls(&self, instance: Instance) {
        let now = self.clock.now();
        // First: a poll looks here when it holds the lock of its queue, so none can slip past the search below.
        self.goodbyes.add(instance, now);
        for stripe in 0..self.stripes.len() {
            for queue in self.stripe(stripe as u64).all() {
                while let Some(at) = queue.waiters.iter().position(|waiter| waiter.instance == Some(instance)) {
                    let Some(waiter) = queue.waiters.remove(at) else { break };
                    // Its client may have gone.
                    let _ = waiter.sender.send(Handed::Closed);
                }
            }
        }
    }

    /// Shows a worker no longer among the pollers of a queue. That the queue was polled is not forgotten: workers are
    /// restarted, and a query that comes in between waits for the next one.
    pub(crate) fn forget_poller(&self, name: &QueueName, identity: &str) {
        for queue in self.stripe(name.hash64()).all().filter(|queue| is_line(&queue.name, name)) {
            queue.drop_gone_waiters();
            // Another process of the same name still waits.
            if queue.waiters.iter().all(|waiter| waiter.poller.identity != identity) {
                queue.pollers.remove(identity);
            }
        }
    }
}
