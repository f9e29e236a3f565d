//! Polls that no task can come to: they only wait to be ended, by their worker's goodbye or by the server's stop.
//!
//! They stand in no queue, so that many of them cost a queue nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use tokio::sync::oneshot;

use super::{Matching, caller::Instance};

/// Names one idle poll. Ordered by worker first, so that those of one worker lie together.
type IdleKey = (Option<Instance>, u64);

/// All idle polls. A sender is only kept to be dropped: that ends its poll.
#[derive(Debug, Default)]
pub(super) struct IdlePolls {
    waiting: Mutex<BTreeMap<IdleKey, oneshot::Sender<()>>>,
}

impl IdlePolls {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<IdleKey, oneshot::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends those of one worker.
    pub(super) fn end(&self, instance: Instance) {
        let mut waiting = self.lock();
        while let Some(key) = waiting.range((Some(instance), 0)..=(Some(instance), u64::MAX)).next().map(|(key, _)| *key) {
            waiting.remove(&key);
        }
    }

    /// Ends all.
    pub(super) fn end_all(&self) {
        self.lock().clear();
    }
}

impl<S: Send + 'static> Matching<S> {
    /// A poll that no task can come to. `None`: it ends at once, for its worker has said goodbye or the server stops.
    pub(crate) fn idle(self: &Arc<Self>, instance: Option<Instance>) -> Option<Idle<S>> {
        let now = self.clock.now();
        let mut waiting = self.idle.lock();
        // Under the lock: whoever ends polls says so first and then looks here, so none can slip past.
        if self.closed.load(Ordering::Acquire) || self.goodbyes.has(instance, now) {
            return None;
        }
        let key = (instance, self.next_id.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = oneshot::channel();
        waiting.insert(key, sender);
        self.stats.pollers.add(1);
        Some(Idle { receiver, matching: self.clone(), key })
    }
}

/// A poll that waits for its end. Forgotten when dropped.
pub(crate) struct Idle<S: Send + 'static> {
    receiver: oneshot::Receiver<()>,
    matching: Arc<Matching<S>>,
    key: IdleKey,
}

impl<S: Send + 'static> Idle<S> {
    /// Resolves when its worker has said goodbye or the server stops.
    pub(crate) async fn ended(&mut self) {
        // Nothing is ever sent: the sender is dropped.
        let _ = (&mut self.receiver).await;
    }
}

impl<S: Send + 'static> Drop for Idle<S> {
    fn drop(&mut self) {
        self.matching.idle.lock().remove(&self.key);
        self.matching.stats.pollers.sub(1);
    }
}
