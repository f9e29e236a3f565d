//! Task tokens: opaque to clients, checked against the run by core; prove nothing by themselves.

use alloc::string::String;

use bytes::Bytes;
use prost::Message;

use crate::{NamespaceId, RunId, RunKey, WorkflowKey, ids::Uuid};

/// What a worker gives back when it has done a task.
#[derive(Clone, PartialEq, Message)]
pub struct TaskToken {
    /// Namespace id, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub namespace_id: Bytes,
    /// Workflow id.
    #[prost(string, tag = "2")]
    pub workflow_id: String,
    /// Run id, 16 bytes.
    #[prost(bytes = "bytes", tag = "3")]
    pub run_id: Bytes,
    /// The Scheduled event.
    #[prost(int64, tag = "4")]
    pub scheduled_event_id: i64,
    /// The Started event (workflow tasks).
    #[prost(int64, tag = "5")]
    pub started_event_id: i64,
    /// Attempt, from 1.
    #[prost(int32, tag = "6")]
    pub attempt: i32,
    /// When it was started, ns since 1970: tells two starts of the same ids apart.
    #[prost(int64, tag = "7")]
    pub started_time: i64,
    /// Activity id; empty for workflow tasks.
    #[prost(string, tag = "8")]
    pub activity_id: String,
}

impl TaskToken {
    /// Decodes a token from the wire. `None` for anything that is not one of ours.
    pub fn parse(bytes: &Bytes) -> Option<Self> {
        let token = Self::decode(bytes.clone()).ok()?;
        (token.namespace_id.len() == 16 && token.run_id.len() == 16).then_some(token)
    }

    /// The encoded form.
    pub fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// The run it names. `None` when an id has the wrong length.
    pub fn run_key(&self) -> Option<RunKey> {
        Some(RunKey {
            workflow: WorkflowKey {
                namespace: NamespaceId(Uuid(self.namespace_id.as_ref().try_into().ok()?)),
                workflow_id: self.workflow_id.clone(),
            },
            run: RunId(Uuid(self.run_id.as_ref().try_into().ok()?)),
        })
    }
}
