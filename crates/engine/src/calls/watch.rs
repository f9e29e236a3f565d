//! A list that stays true: the runs that a list query selects, and then each change of them.
//!
//! Nobody waits for the one who watches: changes come out of a bounded line ([`Engine::watch_runs`]), and who falls behind
//! is told so and gets the list anew.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use sempre_api::v1::{common::WorkflowExecution, workflow::WorkflowExecutionInfo};
use sempre_core::{
    NamespaceId, Refusal, RunId,
    visibility::{Filter, ParseOptions, Record, parse},
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::named;
use crate::{Engine, history::token::HistoryToken};

/// Runs that are remembered as told. Of more, all that leave the list are told, known or not.
const TOLD_MAX: usize = 10_000;

/// What happens to a watched list.
#[derive(Clone, Debug, PartialEq)]
pub enum ListChange {
    /// The run is in the list, and looks like this now.
    Run(Box<WorkflowExecutionInfo>),
    /// The run is not in the list any more.
    Left(WorkflowExecution),
    /// The first runs of the list have been told; from here on come changes.
    Ready,
    /// So many changes were missed. The list begins anew: forget what was told.
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
    told: HashSet<Bytes>,
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
            // Before the list is read: what happens in between is told twice rather than not at all.
            changes: self.watch_runs(),
            told: HashSet::new(),
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
    async fn begin(&mut self) -> Result<(), Refusal> {
        self.told.clear();
        let runs = match self.first {
            0 => Vec::new(),
            first => self.engine.runs(self.id, self.filter.as_ref(), None, first).await?.records,
        };
        for record in runs {
            let change = self.shown(&record);
            self.waiting.push_back(change);
        }
        self.waiting.push_back(ListChange::Ready);
        Ok(())
    }

    /// The next change. `None`: there will be none, because the engine has stopped or the list cannot be read any more.
    pub async fn next(&mut self) -> Option<ListChange> {
        loop {
            if let Some(change) = self.waiting.pop_front() {
                return Some(change);
            }
            match self.changes.recv().await {
                Ok(record) => {
                    if let Some(change) = self.look(&record) {
                        return Some(change);
                    }
                }
                Err(RecvError::Lagged(lost)) => {
                    self.waiting.push_back(ListChange::Lagged(lost));
                    self.begin().await.ok()?;
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn look(&mut self, record: &Record) -> Option<ListChange> {
        if record.namespace_id.as_ref() != self.id.0.0.as_slice() {
            return None;
        }
        if self.filter.as_ref().is_none_or(|filter| filter.matches(record)) {
            return Some(self.shown(record));
        }
        let was_told = self.told.remove(&record.run_id) || self.told.len() >= TOLD_MAX;
        let key = record.run_key().filter(|_| was_told)?;
        Some(ListChange::Left(WorkflowExecution { workflow_id: key.workflow.workflow_id, run_id: key.run.to_string() }))
    }

    fn shown(&mut self, record: &Record) -> ListChange {
        if self.told.len() < TOLD_MAX {
            self.told.insert(record.run_id.clone());
        }
        let mut info = record.to_api();
        // A namespace that is gone has no names any more.
        if let Ok(namespace) = self.engine.namespace(&self.namespace) {
            named::shown(&namespace, info.search_attributes.as_mut());
        }
        ListChange::Run(Box::new(info))
    }
}
