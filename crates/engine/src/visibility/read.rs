//! Lists and counts: what waits, merged with the index's answer.
//!
//! What waits is taken first, as one picture, with what waits at other nodes; then the index is asked to leave those runs out. A run that the index
//! takes in between is still left out, and shown as it waited: as of the begin of the read, which is not earlier than
//! the call.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use sempre_core::{
    NamespaceId, RunId,
    visibility::{Field, Filter, Record},
};

use super::{
    Update, Visibility,
    index::{Groups, IndexError, Position, add_to_group, sort_groups},
};

/// What waited of a namespace when a read began.
struct Waiting {
    runs: BTreeSet<RunId>,
    /// Those that are not gone and match.
    matching: Vec<Arc<Record>>,
}

impl Visibility {
    async fn of(&self, namespace: NamespaceId, filter: Option<&Filter>) -> Result<Waiting, IndexError> {
        let mut runs = BTreeSet::new();
        let mut records = Vec::new();
        if self.inner.of_all.is_some() {
            for (run, update) in self.waiting_of_all(namespace).await? {
                runs.insert(run);
                records.extend(update.record);
            }
        } else {
            for update in self.inner.pending().of(namespace) {
                runs.insert(update.key.run);
                records.extend(update.record.clone());
            }
        }
        // Without the lock: a filter may be long.
        records.retain(|record| filter.is_none_or(|filter| filter.matches(record)));
        Ok(Waiting { runs, matching: records })
    }

    /// What waits at any of several nodes, the newest of each run; of one alone nothing. What waits here is taken first: what leaves it
    /// meanwhile is in the index before its row goes, and a row is never older than what the index has.
    pub(super) async fn waiting_of_all(&self, namespace: NamespaceId) -> Result<BTreeMap<RunId, Update>, IndexError> {
        let Some(of_all) = &self.inner.of_all else { return Ok(BTreeMap::new()) };
        let mut waiting: BTreeMap<RunId, Update> =
            self.inner.pending().of(namespace).map(|update| (update.key.run, update.clone())).collect();
        for update in of_all(namespace).await? {
            match waiting.entry(update.key.run) {
                Entry::Occupied(known) if known.get().version >= update.version => {}
                Entry::Occupied(mut known) => drop(known.insert(update)),
                Entry::Vacant(place) => drop(place.insert(update)),
            }
        }
        Ok(waiting)
    }

    /// Runs that match, in list order after `after`, at most `limit`.
    pub async fn list(
        &self,
        namespace: NamespaceId,
        filter: Option<&Filter>,
        after: Option<&Position>,
        limit: usize,
    ) -> Result<Vec<Arc<Record>>, IndexError> {
        let waiting = self.of(namespace, filter).await?;
        let indexed = self.inner.index.list(namespace, filter, after, limit, &waiting.runs).await?;
        let mut records: Vec<(Position, Arc<Record>)> =
            waiting.matching.into_iter().chain(indexed).map(|record| (Position::of(&record), record)).collect();
        records.retain(|(place, _)| after.is_none_or(|after| place > after));
        records.sort_unstable_by_key(|(place, _)| *place);
        Ok(records.into_iter().take(limit).map(|(_, record)| record).collect())
    }

    /// How many runs match.
    pub async fn count(&self, namespace: NamespaceId, filter: Option<&Filter>) -> Result<u64, IndexError> {
        let waiting = self.of(namespace, filter).await?;
        let indexed = self.inner.index.count(namespace, filter, &waiting.runs).await?;
        Ok(indexed + waiting.matching.len() as u64)
    }

    /// How many runs match, by the value of a scalar field; the largest group first.
    pub async fn count_by(&self, namespace: NamespaceId, filter: Option<&Filter>, field: &Field) -> Result<Groups, IndexError> {
        let waiting = self.of(namespace, filter).await?;
        let mut groups = self.inner.index.count_by(namespace, filter, field, &waiting.runs).await?;
        for record in &waiting.matching {
            add_to_group(&mut groups, record.value(field));
        }
        sort_groups(&mut groups);
        Ok(groups)
    }
}
