//! Those who wait for notices of a namespace: notices of others wake nobody of them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use sempre_core::NamespaceId;
use tokio::sync::watch;

/// See the module.
#[derive(Default)]
pub(super) struct Waiters(Mutex<BTreeMap<NamespaceId, watch::Sender<()>>>);

impl Waiters {
    fn all(&self) -> MutexGuard<'_, BTreeMap<NamespaceId, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes when there is a notice of the namespace, from now on.
    pub(super) fn of(&self, namespace: NamespaceId) -> watch::Receiver<()> {
        let mut all = self.all();
        all.retain(|_, sender| sender.receiver_count() > 0);
        all.entry(namespace).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// There are notices of these.
    pub(super) fn wake<'n>(&self, namespaces: impl Iterator<Item = &'n NamespaceId>) {
        let all = self.all();
        namespaces.filter_map(|namespace| all.get(namespace)).for_each(|sender| sender.send_modify(|_| {}));
    }

    /// Everybody is to look.
    pub(super) fn wake_all(&self) {
        self.all().values().for_each(|sender| sender.send_modify(|_| {}));
    }
}
