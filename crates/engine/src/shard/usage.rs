//! What the shard's runs count for in their namespaces: added up as they change, written with the commit of the change.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use sempre_core::{NamespaceId, RunId};
use sempre_store::{CommitBatch, StoreError};

use super::runner::Runner;
use crate::usage::{
    Counted, Usage,
    rows::{self, Tallies},
};

/// What the shard has of each namespace.
#[derive(Default)]
pub(crate) struct ShardUsage {
    of: HashMap<NamespaceId, Tally>,
    /// Those that the open batch changes.
    changed: Vec<NamespaceId>,
}

struct Tally {
    counted: Counted,
    /// Number of the batch that has it on its list.
    batch: u64,
    /// What all shards have.
    total: Arc<Usage>,
}

impl Runner {
    /// A run has changed, come or gone: what it counts for is that of its state in memory, which goes with the open batch.
    pub(crate) fn count_usage(&mut self, place: usize, run: RunId) {
        let workflow = self.cache.at(place);
        let namespace = workflow.key.namespace;
        let Some(run) = workflow.run(run) else { return };
        let now = Counted::of(run.execution.as_deref());
        let before = std::mem::replace(&mut run.counted, now);
        if before == now {
            return;
        }
        let change = now.minus(before);
        let tally = match self.usage.of.entry(namespace) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                new.insert(Tally { counted: Counted::default(), batch: 0, total: self.shared.namespaces.usage(namespace) })
            }
        };
        tally.counted = tally.counted.plus(change);
        tally.total.add(change);
        if tally.batch != self.batch_number {
            tally.batch = self.batch_number;
            self.usage.changed.push(namespace);
        }
    }

    /// Rows of what the closing batch has changed.
    pub(crate) fn write_usage(&mut self, commit: &mut CommitBatch) {
        for namespace in self.usage.changed.drain(..) {
            if let Some(tally) = self.usage.of.get(&namespace) {
                rows::write(commit, self.shard, namespace, tally.counted);
            }
        }
    }

    /// What the store has is what counts: at the start, and after a failed commit.
    pub(crate) fn set_usage(&mut self, stored: Tallies) {
        for tally in self.usage.of.values() {
            tally.total.add(Counted::default().minus(tally.counted));
        }
        self.usage = ShardUsage::default();
        for (namespace, counted) in stored {
            let total = self.shared.namespaces.usage(namespace);
            total.add(counted);
            self.usage.of.insert(namespace, Tally { counted, batch: 0, total });
        }
    }

    /// Reads what the store has, and takes it.
    pub(crate) async fn reread_usage(&mut self) -> Result<(), StoreError> {
        let stored = rows::read_shard(&*self.shared.store, self.shard).await?;
        self.set_usage(stored);
        Ok(())
    }
}
