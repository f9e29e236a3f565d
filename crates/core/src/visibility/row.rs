//! What the store keeps of a run for the index of runs, until the index has it.

use prost::Message;

use super::Record;
use crate::{Execution, WorkflowKey, keys::RunRecord};

/// Version of the news that a run is deleted: nothing comes after it.
pub const DELETED: u64 = u64::MAX;

/// Value of a row of table Visibility; its key is that of the run ([`crate::keys::run`]).
#[derive(Clone, PartialEq, Message)]
pub struct Row {
    /// Grows with each change of the run ([`Execution::version`]).
    #[prost(uint64, tag = "1")]
    pub version: u64,
    /// What lists show of the run; unset when it is deleted.
    #[prost(message, optional, tag = "2")]
    pub record: Option<Record>,
    /// Of a deleted run: its workflow.
    #[prost(message, optional, tag = "3")]
    pub deleted: Option<RunRecord>,
}

impl Row {
    /// Of a run as it is.
    pub fn of(run: &Execution) -> Self {
        Self { version: run.version(), record: Some(run.record()), deleted: None }
    }

    /// Of a run that is deleted.
    pub fn deleted(workflow: &WorkflowKey) -> Self {
        Self { version: DELETED, record: None, deleted: Some(RunRecord::new(workflow)) }
    }

    /// The workflow that the run is of; `None` when damaged.
    pub fn workflow(&self) -> Option<WorkflowKey> {
        match &self.record {
            Some(record) => record.run_key().map(|key| key.workflow),
            None => self.deleted.as_ref()?.workflow(),
        }
    }
}
