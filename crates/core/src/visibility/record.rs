//! The picture of one run that lists show and filters see (spec 06 §1).

use alloc::{collections::BTreeMap, string::String};

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::common::Payload;

use crate::{NamespaceId, RunId, RunKey, WorkflowKey, ids::Uuid, nexus, standalone};

/// What lists know of a run. Written with the commit of the change that it shows.
#[derive(Clone, PartialEq, Message)]
pub struct Record {
    /// Namespace id, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub namespace_id: Bytes,
    /// Workflow id, or that of an activity or an operation without workflow ([`Record::activity`], [`Record::operation`]).
    #[prost(string, tag = "2")]
    pub workflow_id: String,
    /// Run id, 16 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub run_id: Bytes,
    /// Workflow type name.
    #[prost(string, tag = "4")]
    pub workflow_type: String,
    /// The normal task queue's name.
    #[prost(string, tag = "5")]
    pub task_queue: String,
    /// `WorkflowExecutionStatus`.
    #[prost(int32, tag = "6")]
    pub status: i32,
    /// Start time, ns.
    #[prost(int64, tag = "7")]
    pub start_time: i64,
    /// Start time plus first-task back-off, ns.
    #[prost(int64, tag = "8")]
    pub execution_time: i64,
    /// Close time, ns; 0 = open.
    #[prost(int64, tag = "9")]
    pub close_time: i64,
    /// Events, as of this record.
    #[prost(int64, tag = "10")]
    pub history_length: i64,
    /// Bytes of events, as of this record.
    #[prost(int64, tag = "11")]
    pub history_size_bytes: i64,
    /// State transitions, as of this record.
    #[prost(int64, tag = "12")]
    pub state_transition_count: i64,
    /// Workflow id of the parent; empty = none.
    #[prost(string, tag = "13")]
    pub parent_workflow_id: String,
    /// Run id of the parent, textual; empty = none.
    #[prost(string, tag = "14")]
    pub parent_run_id: String,
    /// Namespace id of the parent, textual; empty = none.
    #[prost(string, tag = "15")]
    pub parent_namespace_id: String,
    /// Workflow id of the root; empty = the run itself.
    #[prost(string, tag = "16")]
    pub root_workflow_id: String,
    /// Run id of the root, textual; empty = the run itself.
    #[prost(string, tag = "17")]
    pub root_run_id: String,
    /// First run of its chain, textual.
    #[prost(string, tag = "18")]
    pub first_run_id: String,
    /// Memo.
    #[prost(btree_map = "string, message", tag = "19")]
    pub memo: BTreeMap<String, Payload>,
    /// Search attributes by name: custom ones, and those that the server sets, all with their type in the metadata.
    #[prost(btree_map = "string, message", tag = "20")]
    pub search_attributes: BTreeMap<String, Payload>,
    /// It is an activity that belongs to no workflow: `workflow_id` and `workflow_type` are its own id and type.
    #[prost(bool, tag = "21")]
    pub activity: bool,
    /// It is a Nexus operation that belongs to no workflow: `workflow_id` is its own id, `workflow_type` its operation.
    #[prost(bool, tag = "22")]
    pub operation: bool,
}

impl Record {
    /// Which run it is of; `None` when damaged.
    pub fn run_key(&self) -> Option<RunKey> {
        let namespace = NamespaceId(Uuid(self.namespace_id.as_ref().try_into().ok()?));
        let run = RunId(Uuid(self.run_id.as_ref().try_into().ok()?));
        let workflow = match (self.activity, self.operation) {
            (true, _) => standalone::key(namespace, &self.workflow_id),
            (false, true) => nexus::alone::key(namespace, &self.workflow_id),
            (false, false) => WorkflowKey { namespace, workflow_id: self.workflow_id.clone() },
        };
        Some(RunKey { workflow, run })
    }

    /// True while the run has no close event.
    pub fn is_open(&self) -> bool {
        self.close_time == 0
    }

    /// Close time minus execution time, ns; `None` while open.
    pub fn execution_duration(&self) -> Option<i64> {
        (self.close_time != 0).then(|| self.close_time.saturating_sub(self.execution_time).max(0))
    }
}
