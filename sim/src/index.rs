//! The index of runs of a process: changes take their time and may fail for now; a crash loses those that were not answered.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use futures::{FutureExt, future::ready};
use sempre_core::{
    NamespaceId, RunId, Span,
    visibility::{Field, Filter, Record},
};
use sempre_engine::visibility::{
    index::{Change, Groups, Index, IndexError, IndexStats, Position},
    memory::MemoryIndex,
};
use sempre_store::Pending;

use crate::{random::Random, time::Time, world::lock};

/// Longest time that changes take, ms.
const DELAY_MS: u64 = 900;

/// See the module. The rows outlive the process.
pub(crate) struct SlowIndex {
    rows: Arc<MemoryIndex>,
    time: Time,
    /// Chance, and changes that fail in a thousand; none for an index that is quick and never fails.
    trouble: Option<(Mutex<Random>, u32)>,
}

impl SlowIndex {
    /// The index of a process.
    pub(crate) fn new(rows: Arc<MemoryIndex>, time: Time, trouble: Option<(Random, u32)>) -> Self {
        let trouble = trouble.map(|(random, failing)| (Mutex::new(random), failing));
        Self { rows, time, trouble }
    }
}

impl Index for SlowIndex {
    fn apply(&self, changes: Vec<Change>) -> Pending<Result<(), IndexError>> {
        let Some((random, failing)) = &self.trouble else { return self.rows.apply(changes) };
        let (fails, delay) = {
            let mut random = lock(random);
            (random.permille(*failing), random.below(DELAY_MS))
        };
        if fails {
            return ready(Err(IndexError::Failed { action: "take changes", reason: "simulated".into() })).boxed();
        }
        let (rows, sleep) = (self.rows.clone(), self.time.sleep(Span::millis(delay as i64)));
        async move {
            sleep.await;
            rows.apply(changes).await
        }
        .boxed()
    }

    fn purge(&self, namespace: NamespaceId) -> Pending<Result<bool, IndexError>> {
        self.rows.purge(namespace)
    }

    fn list(
        &self,
        namespace: NamespaceId,
        filter: Option<&Filter>,
        after: Option<&Position>,
        limit: usize,
        hidden: &BTreeSet<RunId>,
    ) -> Pending<Result<Vec<Arc<Record>>, IndexError>> {
        self.rows.list(namespace, filter, after, limit, hidden)
    }

    fn count(&self, namespace: NamespaceId, filter: Option<&Filter>, hidden: &BTreeSet<RunId>) -> Pending<Result<u64, IndexError>> {
        self.rows.count(namespace, filter, hidden)
    }

    fn count_by(
        &self,
        namespace: NamespaceId,
        filter: Option<&Filter>,
        field: &Field,
        hidden: &BTreeSet<RunId>,
    ) -> Pending<Result<Groups, IndexError>> {
        self.rows.count_by(namespace, filter, field, hidden)
    }

    fn get(&self, namespace: NamespaceId, run: RunId) -> Pending<Result<Option<Arc<Record>>, IndexError>> {
        self.rows.get(namespace, run)
    }

    fn needs_rebuild(&self) -> Option<String> {
        self.rows.needs_rebuild()
    }

    fn begin_rebuild(&self) -> Pending<Result<(), IndexError>> {
        self.rows.begin_rebuild()
    }

    fn finish_rebuild(&self) -> Pending<Result<(), IndexError>> {
        self.rows.finish_rebuild()
    }

    fn stats(&self) -> Pending<Result<IndexStats, IndexError>> {
        self.rows.stats()
    }

    fn close(&self) -> Pending<()> {
        ready(()).boxed()
    }
}
