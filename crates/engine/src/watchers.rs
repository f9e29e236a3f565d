//! Those who watch runs, of one namespace or of all: a change wakes only those who may see it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use sempre_core::{NamespaceId, ids::Uuid, visibility::Record};
use tokio::sync::broadcast;

/// Changes that wait for one who watches all runs; who is further behind misses some, and is told so.
const ALL_MAX: usize = 4096;
/// The same of one who watches a namespace. Each namespace that is watched takes room for so many.
const OF_NAMESPACE_MAX: usize = 1024;

/// See the module.
pub(crate) struct Watchers {
    all: broadcast::Sender<Arc<Record>>,
    /// Of namespaces that somebody watches, or has lately.
    by_namespace: Mutex<BTreeMap<NamespaceId, broadcast::Sender<Arc<Record>>>>,
}

impl Watchers {
    pub(crate) fn new() -> Self {
        Self { all: broadcast::Sender::new(ALL_MAX), by_namespace: Mutex::default() }
    }

    /// Changes of all runs, from now on.
    pub(crate) fn all(&self) -> broadcast::Receiver<Arc<Record>> {
        self.all.subscribe()
    }

    /// Changes of the runs of a namespace, from now on.
    pub(crate) fn of(&self, namespace: NamespaceId) -> broadcast::Receiver<Arc<Record>> {
        let mut by_namespace = self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner);
        by_namespace.retain(|_, sender| sender.receiver_count() > 0);
        by_namespace.entry(namespace).or_insert_with(|| broadcast::Sender::new(OF_NAMESPACE_MAX)).subscribe()
    }

    /// Tells of changes.
    pub(crate) fn tell<'r>(&self, records: impl Iterator<Item = &'r Arc<Record>>) {
        let is_watched = self.all.receiver_count() > 0;
        let by_namespace = self.by_namespace.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_watched && by_namespace.is_empty() {
            return;
        }
        for record in records {
            let namespace = record.namespace_id.as_ref().try_into().ok().map(|id| NamespaceId(Uuid(id)));
            let own = namespace.and_then(|namespace| by_namespace.get(&namespace));
            for watchers in own.into_iter().chain(is_watched.then_some(&self.all)) {
                // Nobody watches any more.
                let _ = watchers.send(record.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn record(namespace: NamespaceId) -> Arc<Record> {
        Arc::new(Record { namespace_id: Bytes::copy_from_slice(&namespace.0.0), ..Record::default() })
    }

    #[test]
    fn a_change_wakes_those_of_its_namespace_and_those_of_all() {
        let watchers = Watchers::new();
        let (a, b) = (NamespaceId(Uuid([1; 16])), NamespaceId(Uuid([2; 16])));
        let (mut of_a, mut of_b, mut of_all) = (watchers.of(a), watchers.of(b), watchers.all());
        watchers.tell([record(a), record(b), record(a)].iter());
        assert_eq!((of_a.len(), of_b.len(), of_all.len()), (2, 1, 3));
        assert_eq!(of_b.try_recv().map(|record| record.namespace_id.clone()), Ok(Bytes::copy_from_slice(&b.0.0)));
        assert!(of_a.try_recv().is_ok() && of_all.try_recv().is_ok());
    }

    #[test]
    fn a_namespace_that_nobody_watches_takes_no_room() {
        let watchers = Watchers::new();
        for n in 0..100 {
            drop(watchers.of(NamespaceId(Uuid([n; 16]))));
        }
        let _last = watchers.of(NamespaceId(Uuid([200; 16])));
        assert_eq!(watchers.by_namespace.lock().unwrap().len(), 1);
    }
}
