//! Records that the index has not taken yet: the newest of each run, in the order in which they came to wait.
//!
//! | an entry is | put of the run | taken for a batch | batch durable | batch failed |
//! |---|---|---|---|---|
//! | queued | replaced, keeps its place | in flight | – | – |
//! | in flight | replaced, queued again | – | gone | queued, first |
//! | in flight and queued | replaced | waits for the batch before | queued | queued |

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use prost::Message;
use sempre_core::{NamespaceId, RunId, RunKey, Timestamp, visibility::Record};

use super::index::Change;

/// Records that may wait before commits are held back.
pub(crate) const RECORDS_MAX: usize = 8192;
/// Bytes of records that may wait before commits are held back.
pub(crate) const BYTES_MAX: usize = 32 << 20;
/// Runs of one batch.
pub(crate) const BATCH_RECORDS_MAX: usize = 1024;
/// Bytes after which a batch takes no more runs.
pub(crate) const BATCH_BYTES_MAX: usize = 4 << 20;
/// What an entry costs beside its record.
const ENTRY_BYTES: usize = 256;

/// News about one run: what lists show of it from now on.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The run.
    pub key: RunKey,
    /// Grows with each change of the run.
    pub version: u64,
    /// The picture; `None` = the run is gone.
    pub record: Option<Arc<Record>>,
}

/// The index holds this version of the run, or a newer one, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The run.
    pub key: RunKey,
    /// The version.
    pub version: u64,
}

struct Entry {
    update: Update,
    bytes: usize,
    /// False = in flight.
    queued: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct PendingRecords {
    entries: BTreeMap<(NamespaceId, RunId), Entry>,
    /// Queued entries by age, each once.
    queue: VecDeque<(Timestamp, (NamespaceId, RunId))>,
    bytes: usize,
}

fn id(key: &RunKey) -> (NamespaceId, RunId) {
    (key.workflow.namespace, key.run)
}

impl PendingRecords {
    /// Takes news; older ones than those that wait are dropped.
    pub(crate) fn put(&mut self, update: Update, now: Timestamp) {
        let id = id(&update.key);
        let bytes = ENTRY_BYTES + update.key.workflow.workflow_id.len() + update.record.as_ref().map_or(0, |record| record.encoded_len());
        if let Some(entry) = self.entries.get_mut(&id) {
            if entry.update.version > update.version {
                return;
            }
            self.bytes = self.bytes - entry.bytes + bytes;
            entry.update = update;
            entry.bytes = bytes;
            if !entry.queued {
                entry.queued = true;
                self.queue.push_back((now, id));
            }
            return;
        }
        self.bytes += bytes;
        self.entries.insert(id, Entry { update, bytes, queued: true });
        self.queue.push_back((now, id));
    }

    /// True when no more should come.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= RECORDS_MAX || self.bytes >= BYTES_MAX
    }

    /// True when everything has been taken by the index.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Since when the oldest one waits.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.queue.front().map(|(since, _)| *since)
    }

    /// True when a batch is full already.
    pub(crate) fn has_batch(&self) -> bool {
        self.queue.len() >= BATCH_RECORDS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// Takes the oldest ones; they stay visible until [`PendingRecords::done`].
    pub(crate) fn take(&mut self) -> Vec<Update> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH_RECORDS_MAX && bytes < BATCH_BYTES_MAX {
            let Some((_, id)) = self.queue.pop_front() else { break };
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            entry.queued = false;
            bytes += entry.bytes;
            batch.push(entry.update.clone());
        }
        batch
    }

    /// The index has taken a batch durably: what has not changed since leaves.
    pub(crate) fn done(&mut self, batch: &[Update]) {
        for update in batch {
            let id = id(&update.key);
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            if !entry.queued {
                self.bytes -= entry.bytes;
                self.entries.remove(&id);
            }
        }
    }

    /// The index has not taken a batch: it comes first again.
    pub(crate) fn failed(&mut self, batch: &[Update], now: Timestamp) {
        for update in batch.iter().rev() {
            let id = id(&update.key);
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            if !entry.queued {
                entry.queued = true;
                self.queue.push_front((now, id));
            }
        }
    }

    /// Forgets a namespace.
    pub(crate) fn purge(&mut self, namespace: NamespaceId) {
        self.forget(|key| key.workflow.namespace == namespace);
    }

    /// Forgets these runs; tells how many waited.
    pub(crate) fn forget(&mut self, of: impl Fn(&RunKey) -> bool) -> usize {
        let gone: BTreeSet<_> = self.entries.values().map(|entry| &entry.update.key).filter(|key| of(key)).map(id).collect();
        for id in &gone {
            if let Some(entry) = self.entries.remove(id) {
                self.bytes -= entry.bytes;
            }
        }
        self.queue.retain(|(_, id)| !gone.contains(id));
        gone.len()
    }

    /// What waits of a namespace, by run.
    pub(crate) fn of(&self, namespace: NamespaceId) -> impl Iterator<Item = &Update> {
        let last = RunId(sempre_core::ids::Uuid([0xff; 16]));
        self.entries.range((namespace, RunId::default())..=(namespace, last)).map(|(_, entry)| &entry.update)
    }

    /// What waits of one run.
    pub(crate) fn get(&self, namespace: NamespaceId, run: RunId) -> Option<&Update> {
        self.entries.get(&(namespace, run)).map(|entry| &entry.update)
    }

    /// How many wait, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }
}

/// What a batch changes in the index.
pub(crate) fn changes(batch: &[Update]) -> Vec<Change> {
    let change = |update: &Update| match &update.record {
        Some(record) => Change::Put { version: update.version, record: record.clone() },
        None => Change::Delete { namespace: update.key.workflow.namespace, run: update.key.run },
    };
    batch.iter().map(change).collect()
}
