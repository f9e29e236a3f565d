//! A list that stays true: the runs that a list query selects, and then each change of them.
//!
//! Nobody waits for the one who watches: changes come out of a bounded line ([`crate::watchers`]), and who falls behind
//! is told so and gets the list anew.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use sempre_api::v1::{common::WorkflowExecution, workflow::WorkflowExecutionInfo};
use sempre_core::{
    NamespaceId, Refusal, RunId, Span, Timestamp,
    visibility::{Filter, ParseOptions, Record, parse},
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::named;
use crate::{Engine, history::token::HistoryToken};

/// Runs that are remembered as told. Of more, all that leave the list are told, known or not.
const TOLD_MAX: usize = 10_000;
/// Between two readings of a list that begins anew, at least: who always falls behind must not read all the time.
const ANEW_MIN: Span = Span::seconds(1);

/// What happens to a watched list.
#[derive(Clone, Debug, PartialEq)]
pub enum ListChange {
    /// The list begins: forget what was told.
    Begin,
    /// The run is in the list, and looks like this now.
    Run(Box<WorkflowExecutionInfo>),
    /// The run is not in the list any more.
    Left(WorkflowExecution),
    /// The first runs of the list have been told; from here on come changes.
    Ready,
    /// So many changes were missed. The list begins anew, soon.
    Lagged(u64),
}

/// A watched list. Dropping it ends the watch.
pub struct WatchedList {
    engine: Engine,
    namespace: String,
    id: NamespaceId,
    filter: Option<Filter>,
    /// Runs that are told at the beginning.
    first: usize,
    changes: Receiver<Arc<Record>>,
    told: Told,
    /// The list is to be read before the next change is looked at.
    begin_due: bool,
    /// When it was read last.
    begun: Timestamp,
    /// What is told before the next change is looked at.
    waiting: VecDeque<ListChange>,
}

impl Engine {
    /// Watches what `query`, as of ListWorkflowExecutions, selects. The `first` runs in list order are told at the
    /// beginning. Conditions on what task queues say count as they are now. A run that is deleted leaves without a word.
    pub async fn watch_list(&self, namespace: &str, query: &str, first: usize) -> Result<WatchedList, Refusal> {
        let found = self.namespace(namespace)?;
        let query = self.as_of_now(found.id(), parse(query, &*found, ParseOptions::default())?);
        let mut list = WatchedList {
            engine: self.clone(),
            namespace: namespace.to_owned(),
            id: found.id(),
            filter: query.filter,
            first,
            changes: self.shared.listing.watchers.of(found.id()),
            told: Told::new(TOLD_MAX),
            begin_due: true,
            begun: self.now(),
            waiting: VecDeque::new(),
        };
        list.begin().await?;
        Ok(list)
    }

    /// A page token of GetWorkflowExecutionHistory that begins at an event. `None`: the run id is none.
    pub fn history_from(&self, run_id: &str, event_id: i64) -> Option<Bytes> {
        let run = RunId::parse(run_id)?;
        (event_id >= 1).then(|| HistoryToken::new(run, event_id).to_bytes())
    }
}

impl WatchedList {
    /// Reads the list. Dropped on the way, it has done nothing that is not done again.
    async fn begin(&mut self) -> Result<(), Refusal> {
        // Before the list is read: what happens in between is told twice rather than not at all. What happened earlier is in it.
        self.changes = self.engine.shared.listing.watchers.of(self.id);
        self.begun = self.engine.now();
        let runs = match self.first {
            0 => Vec::new(),
            first => self.engine.runs(self.id, self.filter.as_ref(), None, first).await?.records,
        };
        self.begin_due = false;
        self.told.clear();
        self.waiting.push_back(ListChange::Begin);
        for record in runs {
            let change = self.shown(&record);
            self.waiting.push_back(change);
        }
        self.waiting.push_back(ListChange::Ready);
        Ok(())
    }

    /// The next change. Refused: the list cannot be read now; another call tries again. `None`: there will be none, because the
    /// engine has stopped. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Result<ListChange, Refusal>> {
        loop {
            if let Some(change) = self.waiting.pop_front() {
                return Some(Ok(change));
            }
            if self.begin_due {
                let clock = &self.engine.shared.clock;
                clock.sleep_until(self.begun + ANEW_MIN).await;
                if let Err(refused) = self.begin().await {
                    return Some(Err(refused));
                }
                continue;
            }
            match self.changes.recv().await {
                Ok(record) => {
                    if let Some(change) = self.look(&record) {
                        return Some(Ok(change));
                    }
                }
                Err(RecvError::Lagged(lost)) => {
                    self.waiting.push_back(ListChange::Lagged(lost));
                    self.begin_due = true;
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn look(&mut self, record: &Record) -> Option<ListChange> {
        if self.filter.as_ref().is_none_or(|filter| filter.matches(record)) {
            return Some(self.shown(record));
        }
        let was_told = self.told.remove(&record.run_id);
        let key = record.run_key().filter(|_| was_told)?;
        Some(ListChange::Left(WorkflowExecution { workflow_id: key.workflow.workflow_id, run_id: key.run.to_string() }))
    }

    fn shown(&mut self, record: &Record) -> ListChange {
        self.told.insert(&record.run_id);
        let mut info = record.to_api();
        // A namespace that is gone has no names any more.
        if let Ok(namespace) = self.engine.namespace(&self.namespace) {
            named::shown(&namespace, info.search_attributes.as_mut());
        }
        ListChange::Run(Box::new(info))
    }
}

/// The runs that were told.
struct Told {
    max: usize,
    runs: HashSet<Bytes>,
    /// There were more since the list began: any run may be one of them.
    overflowed: bool,
}

impl Told {
    fn new(max: usize) -> Self {
        Self { max, runs: HashSet::new(), overflowed: false }
    }

    fn clear(&mut self) {
        self.runs.clear();
        self.overflowed = false;
    }

    fn insert(&mut self, run: &Bytes) {
        if self.runs.len() < self.max {
            self.runs.insert(run.clone());
        } else if !self.runs.contains(run) {
            self.overflowed = true;
        }
    }

    /// True if the run was told, or may have been.
    fn remove(&mut self, run: &Bytes) -> bool {
        self.runs.remove(run) || self.overflowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_and_not_remembered_leaves_all_the_same() {
        let (a, b, c) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"), Bytes::from_static(b"c"));
        let mut told = Told::new(2);
        told.insert(&a);
        told.insert(&b);
        told.insert(&a);
        assert!(!told.remove(&c), "never told");
        told.insert(&c);
        // Room again: the one that was not remembered is still one of those told.
        assert!(told.remove(&a));
        assert!(told.remove(&c));
        told.clear();
        told.insert(&a);
        assert!(!told.remove(&c), "the list began anew");
    }
}
