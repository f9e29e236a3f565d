//! Those who wait for notices of a namespace: notices of others wake nobody of them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use sempre_core::NamespaceId;
use tokio::sync::Notify;

/// One who waits.
#[derive(Default)]
pub(crate) struct Waiter {
    /// What was shown before the first wake since [`Waiter::mark`]: up to there nothing of the namespace came since then.
    before: Mutex<Option<u64>>,
    notify: Notify,
}

impl Waiter {
    fn before(&self) -> MutexGuard<'_, Option<u64>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is shown from now on wakes; what was shown before is about to be read.
    pub(crate) fn mark(&self) {
        *self.before() = None;
    }

    /// It was woken since it was marked.
    pub(super) fn is_woken(&self) -> bool {
        self.before().is_some()
    }

    /// Resolves when there is a notice of the namespace: up to which number there is none behind what was read.
    pub(crate) async fn woken(&self) -> u64 {
        loop {
            let before = *self.before();
            if let Some(before) = before {
                return before;
            }
            self.notify.notified().await;
        }
    }

    fn wake(&self, before: u64) {
        self.before().get_or_insert(before);
        // One waits; a wake that comes before is kept.
        self.notify.notify_one();
    }
}

/// All who wait.
#[derive(Default)]
pub(super) struct Waiters(Mutex<BTreeMap<NamespaceId, Vec<Weak<Waiter>>>>);

impl Waiters {
    fn all(&self) -> MutexGuard<'_, BTreeMap<NamespaceId, Vec<Weak<Waiter>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new one, woken by notices of the namespace.
    pub(super) fn of(&self, namespace: NamespaceId) -> Arc<Waiter> {
        let mut all = self.all();
        all.retain(|_, waiters| {
            waiters.retain(|waiter| waiter.strong_count() > 0);
            !waiters.is_empty()
        });
        let waiter = Arc::new(Waiter::default());
        all.entry(namespace).or_default().push(Arc::downgrade(&waiter));
        waiter
    }

    /// There are notices of these; up to `before` all were shown earlier.
    pub(super) fn wake<'n>(&self, namespaces: impl Iterator<Item = &'n NamespaceId>, before: u64) {
        let all = self.all();
        let waiters = namespaces.filter_map(|namespace| all.get(namespace)).flatten().filter_map(Weak::upgrade);
        waiters.for_each(|waiter| waiter.wake(before));
    }

    /// Everybody is to look.
    pub(super) fn wake_all(&self) {
        self.all().values().flatten().filter_map(Weak::upgrade).for_each(|waiter| waiter.wake(0));
    }
}
