//! Workers that send heartbeats: what they said last (spec 05 §8). Memory only; who is silent for five minutes is
//! forgotten.

pub(crate) mod filter;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prost::Message;
use sempre_api::v1::{enums::WorkerStatus, worker::WorkerHeartbeat};
use sempre_core::{NamespaceId, Span, Timestamp};

use filter::Filter;

/// A worker that has been silent for longer is gone.
const SILENCE_MAX: Span = Span::seconds(300);
/// Workers kept, over all namespaces; beyond, the one longest silent is forgotten.
const WORKERS_MAX: usize = 1_000_000;
/// Bytes of heartbeats kept, over all namespaces.
const BYTES_MAX: usize = 128 << 20;

/// One worker.
#[derive(Debug)]
struct Entry {
    heartbeat: Arc<WorkerHeartbeat>,
    heard: Timestamp,
    bytes: usize,
}

type Key = (NamespaceId, String);

#[derive(Debug, Default)]
struct Inner {
    by_key: BTreeMap<Key, Entry>,
    /// The longest silent first.
    by_time: BTreeSet<(Timestamp, Key)>,
    bytes: usize,
}

impl Inner {
    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.by_key.remove(key) {
            self.by_time.remove(&(entry.heard, key.clone()));
            self.bytes -= entry.bytes;
        }
    }

    fn put(&mut self, key: Key, heartbeat: WorkerHeartbeat, now: Timestamp) {
        self.remove(&key);
        // The key is kept twice; the rest of an entry is smaller than the smallest heartbeat with a key.
        let bytes = heartbeat.encoded_len() + 2 * key.1.len();
        self.bytes += bytes;
        self.by_time.insert((now, key.clone()));
        self.by_key.insert(key, Entry { heartbeat: Arc::new(heartbeat), heard: now, bytes });
    }

    /// Forgets the silent, and those that are too many.
    fn expire(&mut self, now: Timestamp, workers_max: usize, bytes_max: usize) {
        while let Some((heard, key)) = self.by_time.first() {
            let silent = now.since(*heard) > SILENCE_MAX;
            if !silent && self.by_key.len() <= workers_max && self.bytes <= bytes_max {
                return;
            }
            let key = key.clone();
            self.remove(&key);
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Workers {
    inner: Mutex<Inner>,
}

/// Some workers of a list, in the order of their keys.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) workers: Vec<Arc<WorkerHeartbeat>>,
    /// More come after the last one.
    pub(crate) more: bool,
}

impl Workers {
    fn lock(&self, now: Timestamp) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.expire(now, WORKERS_MAX, BYTES_MAX);
        inner
    }

    /// Takes in heartbeats. A worker that says it has shut down is forgotten.
    pub(crate) fn record(&self, namespace: NamespaceId, heartbeats: impl IntoIterator<Item = WorkerHeartbeat>, now: Timestamp) {
        let mut inner = self.lock(now);
        for heartbeat in heartbeats {
            let key = (namespace, heartbeat.worker_instance_key.clone());
            if heartbeat.status == WorkerStatus::Shutdown as i32 {
                inner.remove(&key);
            } else {
                inner.put(key, heartbeat, now);
            }
        }
        inner.expire(now, WORKERS_MAX, BYTES_MAX);
    }

    /// What a worker said last.
    pub(crate) fn get(&self, namespace: NamespaceId, instance_key: &str, now: Timestamp) -> Option<Arc<WorkerHeartbeat>> {
        self.lock(now).by_key.get(&(namespace, instance_key.to_owned())).map(|entry| entry.heartbeat.clone())
    }

    /// At most `max` workers that `filter` lets through, with keys after `after`.
    pub(crate) fn list(&self, namespace: NamespaceId, filter: &Filter, after: Option<&str>, max: usize, now: Timestamp) -> Listed {
        let inner = self.lock(now);
        let from = match after {
            Some(key) => Bound::Excluded((namespace, key.to_owned())),
            None => Bound::Included((namespace, String::new())),
        };
        let mut listed = Listed::default();
        for (_, entry) in inner.by_key.range((from, Bound::Unbounded)).take_while(|((of, _), _)| *of == namespace) {
            if !filter.accepts(&entry.heartbeat) {
                continue;
            }
            if listed.workers.len() == max {
                listed.more = true;
                break;
            }
            listed.workers.push(entry.heartbeat.clone());
        }
        listed
    }

    /// How many workers `filter` lets through.
    pub(crate) fn count(&self, namespace: NamespaceId, filter: &Filter, now: Timestamp) -> usize {
        let inner = self.lock(now);
        let all = inner.by_key.range((namespace, String::new())..).take_while(|((of, _), _)| *of == namespace);
        all.filter(|(_, entry)| filter.accepts(&entry.heartbeat)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sempre_core::ids::Uuid;

    fn ns(n: u8) -> NamespaceId {
        NamespaceId(Uuid([n; 16]))
    }

    fn heartbeat(key: &str, queue: &str) -> WorkerHeartbeat {
        WorkerHeartbeat { worker_instance_key: key.into(), task_queue: queue.into(), ..WorkerHeartbeat::default() }
    }

    fn keys(listed: &Listed) -> Vec<&str> {
        listed.workers.iter().map(|w| w.worker_instance_key.as_str()).collect()
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    #[test]
    fn lists_go_by_key_in_pages_within_a_namespace() {
        let workers = Workers::default();
        workers.record(ns(1), ["c", "a", "b", "d"].map(|key| heartbeat(key, if key == "b" { "other" } else { "q" })), at(0));
        workers.record(ns(2), [heartbeat("a", "q")], at(0));
        let filter = Filter::parse("TaskQueue = 'q'").unwrap();
        let first = workers.list(ns(1), &filter, None, 2, at(0));
        assert_eq!((keys(&first), first.more), (vec!["a", "c"], true));
        let second = workers.list(ns(1), &filter, Some("c"), 2, at(0));
        assert_eq!((keys(&second), second.more), (vec!["d"], false));
        assert_eq!((workers.count(ns(1), &filter, at(0)), workers.count(ns(1), &Filter::default(), at(0))), (3, 4));
        assert_eq!(workers.get(ns(1), "b", at(0)).unwrap().task_queue, "other");
        assert!(workers.get(ns(2), "b", at(0)).is_none());
    }

    #[test]
    fn the_silent_and_those_that_shut_down_are_forgotten() {
        let workers = Workers::default();
        workers.record(ns(1), [heartbeat("a", "q"), heartbeat("b", "q"), heartbeat("c", "q")], at(0));
        workers.record(ns(1), [heartbeat("b", "q2")], at(200));
        let stopped = WorkerHeartbeat { status: WorkerStatus::Shutdown as i32, ..heartbeat("c", "q") };
        workers.record(ns(1), [stopped], at(200));
        assert_eq!(keys(&workers.list(ns(1), &Filter::default(), None, 9, at(300))), ["a", "b"]);
        assert_eq!(keys(&workers.list(ns(1), &Filter::default(), None, 9, at(301))), ["b"]);
        assert_eq!(workers.count(ns(1), &Filter::default(), at(501)), 0);
        let inner = workers.inner.lock().unwrap();
        assert_eq!((inner.by_key.len(), inner.by_time.len(), inner.bytes), (0, 0, 0));
    }

    #[test]
    fn the_longest_silent_make_room() {
        let mut inner = Inner::default();
        for n in 0..10 {
            inner.put((ns(1), format!("{n}")), heartbeat(&format!("{n}"), "q"), at(n));
        }
        inner.put((ns(1), "0".into()), heartbeat("0", "q"), at(10));
        inner.expire(at(10), 4, usize::MAX);
        assert_eq!(inner.by_key.keys().map(|(_, key)| key.as_str()).collect::<Vec<_>>(), ["0", "7", "8", "9"]);
        let half = inner.bytes / 2;
        inner.expire(at(10), 4, half);
        assert_eq!(inner.by_key.keys().map(|(_, key)| key.as_str()).collect::<Vec<_>>(), ["0", "9"]);
    }
}
