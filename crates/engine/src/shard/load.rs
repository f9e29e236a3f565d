//! Reads of the store on behalf of a shard. None of them blocks its loop: what is not ready at once is
//! waited for beside the loop, while messages for that workflow queue up.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use sempre_core::{Execution, Refusal, RunId, RunKey, WorkflowKey, alone, keys, state::rows::LoadError, transition::CurrentRecord};
use sempre_store::{Store, StoreError, Table};

use super::message::ReplyTo;

/// Rows of one table read at once while a run is deleted.
const PURGE_ROWS: usize = 1000;

/// Refusal of what is asked of a run whose rows, or whose workflow's pointer, cannot be had from the store.
pub(crate) const UNREADABLE: &str = "the run could not be read";
/// As [`UNREADABLE`], when asking again changes nothing.
pub(crate) const DAMAGED: &str = "the run could not be read, its data is damaged";

/// What was read.
pub(crate) enum Loaded {
    Current(Option<CurrentRecord>),
    /// A run, and the bytes of its rows.
    Run(RunId, Option<Box<Execution>>, usize),
    /// Keys of all rows of a run, by table, and who waits for their deletion.
    Rows(RunId, Vec<(Table, Bytes)>, Option<ReplyTo>),
    /// The rows of a run that is to be deleted could not be read.
    Unpurged(RunId, StoreError),
    Failed(String),
    /// As `Failed`, for good.
    Damaged(String),
}

impl Loaded {
    /// What went wrong, and what callers are told.
    pub(crate) fn failure(&self) -> Option<(&str, &'static str)> {
        match self {
            Self::Failed(reason) => Some((reason, UNREADABLE)),
            Self::Damaged(reason) => Some((reason, DAMAGED)),
            _ => None,
        }
    }

    fn of(error: &StoreError) -> Self {
        match error {
            StoreError::Damaged { .. } => Self::Damaged(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// The answer to who names a run that the store does not have.
pub(crate) fn no_such_run(key: &RunKey) -> Refusal {
    if let Some(refusal) = alone::not_found(&key.workflow) {
        return refusal;
    }
    Refusal::NotFound(format!("workflow execution not found for workflow ID {:?} and run ID \"{}\"", key.workflow.workflow_id, key.run))
}

/// The end of the range of keys that begin with `prefix`.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

pub(crate) async fn current(store: Arc<dyn Store>, workflow: WorkflowKey) -> Loaded {
    match store.get(Table::Current, &keys::current(&workflow)).await {
        Ok(None) => Loaded::Current(None),
        Ok(Some(row)) => match CurrentRecord::decode(row) {
            Ok(record) => Loaded::Current(Some(record)),
            Err(error) => Loaded::Damaged(error.to_string()),
        },
        Err(error) => Loaded::of(&error),
    }
}

pub(crate) async fn run(store: Arc<dyn Store>, key: RunKey) -> Loaded {
    let prefix = keys::run(key.workflow.slot(), key.run);
    let end = keys::state_end(key.workflow.slot(), key.run);
    let rows = match store.scan(Table::State, &prefix, &end, usize::MAX).await {
        Ok(rows) => rows,
        Err(error) => return Loaded::of(&error),
    };
    let id = key.run;
    if rows.is_empty() {
        return Loaded::Run(id, None, 0);
    }
    let bytes = rows.iter().map(|(_, value)| value.len()).sum();
    let mut parsed = Vec::with_capacity(rows.len());
    for (key, value) in rows {
        let Some((kind, number)) = keys::parse_state(&key) else {
            return Loaded::Damaged(format!("run {id}: a state row has a damaged key"));
        };
        parsed.push((kind, number, value));
    }
    match Execution::load(key, parsed) {
        Ok(execution) => Loaded::Run(id, Some(Box::new(execution)), bytes),
        // Rows are found by slot and run id alone; under this name there is no such run.
        Err(LoadError::OtherWorkflow) => Loaded::Run(id, None, 0),
        Err(error) => Loaded::Damaged(format!("run {id}: {error:?}")),
    }
}

/// Every row of a run, for deletion. What it still owes to others stays: those rows go when they are delivered.
pub(crate) async fn rows(store: Arc<dyn Store>, key: RunKey, reply: Option<ReplyTo>) -> Loaded {
    let prefix = keys::run(key.workflow.slot(), key.run);
    match all_keys(&*store, &prefix).await {
        Ok(rows) => Loaded::Rows(key.run, rows, reply),
        Err(error) => Loaded::Unpurged(key.run, error),
    }
}

async fn all_keys(store: &dyn Store, prefix: &[u8]) -> Result<Vec<(Table, Bytes)>, StoreError> {
    let end = prefix_end(prefix);
    let mut keys = Vec::new();
    for table in [Table::State, Table::History] {
        let mut from = prefix.to_vec();
        loop {
            let rows = store.scan(table, &from, &end, PURGE_ROWS).await?;
            let more = rows.len() == PURGE_ROWS;
            if let Some((last, _)) = rows.last() {
                from = last.to_vec();
                from.push(0);
            }
            keys.extend(rows.into_iter().map(|(key, _)| (table, key)));
            if !more {
                break;
            }
        }
    }
    Ok(keys)
}
