//! An index that is a map and reads every record: the plainest that keeps the contract. For tests and simulations.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{FutureExt, future::ready};
use sempre_core::{
    NamespaceId, RunId,
    visibility::{Field, Filter, Record},
};
use sempre_store::Pending;

use super::index::{Change, Groups, Index, IndexError, IndexStats, Position, add_to_group, namespace_of, run_of};

/// Runs that one call of `purge` removes.
const PURGE_RUNS_MAX: usize = 1000;

struct Row {
    version: u64,
    /// The rebuild that wrote it last.
    generation: u64,
    record: Arc<Record>,
}

struct State {
    rows: BTreeMap<(NamespaceId, RunId), Row>,
    generation: u64,
    needs_rebuild: Option<String>,
    failing: bool,
    /// Rebuilds that have to begin before it takes changes again.
    damages: usize,
    closed: bool,
}

/// See the module.
pub struct MemoryIndex {
    state: Mutex<State>,
}

impl Default for MemoryIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryIndex {
    /// An empty index, in need of a rebuild like any new one.
    pub fn new() -> Self {
        let needs_rebuild = Some("it is new".to_owned());
        let state = State { rows: BTreeMap::new(), generation: 0, needs_rebuild, failing: false, damages: 0, closed: false };
        Self { state: Mutex::new(state) }
    }

    /// From now on every change fails, or none does any more.
    pub fn set_failing(&self, failing: bool) {
        self.state().failing = failing;
    }

    /// From now on changes are refused as by a damaged file, and what is there is lost, until so many rebuilds have begun:
    /// with two of them, it is damaged again while it is made anew.
    pub fn damage(&self, times: usize) {
        self.state().damages = times;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T: Send + 'static>(&self, work: impl FnOnce(&mut State) -> T) -> Pending<Result<T, IndexError>> {
        let mut state = self.state();
        let result = if state.closed {
            Err(IndexError::Closed)
        } else if state.failing {
            Err(IndexError::Failed { action: "take changes", reason: "it was told to fail".to_owned() })
        } else if state.damages > 0 {
            state.rows.clear();
            let reason = state.needs_rebuild.insert("it was told to be damaged".to_owned()).clone();
            Err(IndexError::NeedsRebuild { reason })
        } else {
            Ok(work(&mut state))
        };
        ready(result).boxed()
    }

    fn read<T>(
        &self,
        namespace: NamespaceId,
        filter: Option<&Filter>,
        hidden: &BTreeSet<RunId>,
        take: impl FnOnce(Vec<&Arc<Record>>) -> T,
    ) -> Result<T, IndexError> {
        let state = self.state();
        state.readable()?;
        let matching =
            state.of(namespace).filter(|record| !hidden.contains(&run_of(record)) && filter.is_none_or(|filter| filter.matches(record)));
        Ok(take(matching.collect()))
    }
}

/// An answer that is there already.
trait Now<T> {
    fn now(self) -> Pending<T>;
}

impl<T: Send + 'static> Now<T> for T {
    fn now(self) -> Pending<T> {
        ready(self).boxed()
    }
}

impl State {
    fn readable(&self) -> Result<(), IndexError> {
        match &self.needs_rebuild {
            _ if self.closed => Err(IndexError::Closed),
            Some(reason) => Err(IndexError::NeedsRebuild { reason: reason.clone() }),
            None => Ok(()),
        }
    }

    fn of(&self, namespace: NamespaceId) -> impl Iterator<Item = &Arc<Record>> {
        let last = RunId(sempre_core::ids::Uuid([0xff; 16]));
        self.rows.range((namespace, RunId::default())..=(namespace, last)).map(|(_, row)| &row.record)
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Put { version, record } => {
                let id = (namespace_of(&record), run_of(&record));
                let generation = self.generation;
                if self.rows.get(&id).is_none_or(|row| row.generation < generation || row.version <= version) {
                    self.rows.insert(id, Row { version, generation, record });
                }
            }
            Change::Delete { namespace, run } => {
                self.rows.remove(&(namespace, run));
            }
        }
    }
}

impl Index for MemoryIndex {
    fn apply(&self, changes: Vec<Change>) -> Pending<Result<(), IndexError>> {
        self.write(|state| changes.into_iter().for_each(|change| state.apply(change)))
    }

    fn purge(&self, namespace: NamespaceId) -> Pending<Result<bool, IndexError>> {
        self.write(|state| {
            let gone: Vec<RunId> = state.of(namespace).take(PURGE_RUNS_MAX).map(|record| run_of(record)).collect();
            for run in &gone {
                state.rows.remove(&(namespace, *run));
            }
            !gone.is_empty()
        })
    }

    fn list(
        &self,
        namespace: NamespaceId,
        filter: Option<&Filter>,
        after: Option<&Position>,
        limit: usize,
        hidden: &BTreeSet<RunId>,
    ) -> Pending<Result<Vec<Arc<Record>>, IndexError>> {
        self.read(namespace, filter, hidden, |records| {
            let mut places: Vec<(Position, &Arc<Record>)> = records.into_iter().map(|record| (Position::of(record), record)).collect();
            places.retain(|(place, _)| after.is_none_or(|after| place > after));
            places.sort_by_key(|(place, _)| *place);
            places.into_iter().take(limit).map(|(_, record)| record.clone()).collect()
        })
        .now()
    }

    fn count(&self, namespace: NamespaceId, filter: Option<&Filter>, hidden: &BTreeSet<RunId>) -> Pending<Result<u64, IndexError>> {
        self.read(namespace, filter, hidden, |records| records.len() as u64).now()
    }

    fn count_by(
        &self,
        namespace: NamespaceId,
        filter: Option<&Filter>,
        field: &Field,
        hidden: &BTreeSet<RunId>,
    ) -> Pending<Result<Groups, IndexError>> {
        self.read(namespace, filter, hidden, |records| {
            let mut groups = Groups::new();
            for record in records {
                add_to_group(&mut groups, record.value(field));
            }
            groups
        })
        .now()
    }

    fn get(&self, namespace: NamespaceId, run: RunId) -> Pending<Result<Option<Arc<Record>>, IndexError>> {
        let state = self.state();
        state.readable().map(|()| state.rows.get(&(namespace, run)).map(|row| row.record.clone())).now()
    }

    fn needs_rebuild(&self) -> Option<String> {
        self.state().needs_rebuild.clone()
    }

    fn begin_rebuild(&self) -> Pending<Result<(), IndexError>> {
        let again = {
            let mut state = self.state();
            std::mem::take(&mut state.damages).saturating_sub(1)
        };
        let begun = self.write(|state| state.generation += 1);
        self.state().damages = again;
        begun
    }

    fn finish_rebuild(&self) -> Pending<Result<(), IndexError>> {
        self.write(|state| {
            let generation = state.generation;
            state.rows.retain(|_, row| row.generation == generation);
            state.needs_rebuild = None;
        })
    }

    fn stats(&self) -> Pending<Result<IndexStats, IndexError>> {
        let state = self.state();
        let bytes = state.rows.values().map(|row| prost::Message::encoded_len(row.record.as_ref()) as u64).sum();
        Ok(IndexStats { records: state.rows.len() as u64, bytes }).now()
    }

    fn close(&self) -> Pending<()> {
        self.state().closed = true;
        ready(()).boxed()
    }
}
