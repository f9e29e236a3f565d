//! The stored form of an outbox message.

use alloc::{boxed::Box, string::String};

use bytes::Bytes;
use prost::{Message, Oneof};
use sempre_api::v1::{
    common::{Header, Payloads, TimeSkippingStatePropagation, WorkflowExecution},
    history::HistoryEvent,
    workflowservice::StartWorkflowExecutionRequest,
};

use super::RunRecord;
use crate::{
    RunId, RunKey,
    chain_end::AskedChild,
    ids::Uuid,
    input::ChildClosed,
    transition::{CallbackCall, ExternalCancel, ExternalSignal, OperationCall, OutboxEntry, OutboxMessage, StartChild},
    versioning::inherit::Inherited,
};

/// Value of an outbox row.
#[derive(Clone, PartialEq, Message)]
pub struct OutboxRecord {
    /// The workflow the sender belongs to.
    #[prost(message, optional, tag = "1")]
    pub sender: Option<RunRecord>,
    /// The message.
    #[prost(oneof = "MessageRecord", tags = "2, 3, 4, 5, 6, 7, 8, 9, 50, 60, 61")]
    pub message: Option<MessageRecord>,
}

/// One stored message.
#[derive(Clone, PartialEq, Oneof)]
#[allow(missing_docs, reason = "the names say it")]
pub enum MessageRecord {
    #[prost(message, boxed, tag = "2")]
    StartChild(Box<StartChildRecord>),
    #[prost(message, tag = "3")]
    Signal(SignalRecord),
    #[prost(message, tag = "4")]
    Cancel(CancelRecord),
    #[prost(message, tag = "5")]
    ReleaseChild(ChildRecord),
    #[prost(message, boxed, tag = "6")]
    ChildClosed(Box<ChildClosedRecord>),
    #[prost(message, tag = "7")]
    TerminateChild(ChildRecord),
    #[prost(message, tag = "8")]
    CancelChild(ChildRecord),
    #[prost(message, tag = "9")]
    AskChild(AskChildRecord),
    #[prost(message, boxed, tag = "50")]
    Callback(Box<CallbackCall>),
    #[prost(message, boxed, tag = "60")]
    StartOperation(Box<OperationCall>),
    #[prost(message, boxed, tag = "61")]
    CancelOperation(Box<OperationCall>),
}

/// See [`StartChild`].
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names say it")]
pub struct StartChildRecord {
    #[prost(int64, tag = "1")]
    pub initiated_event_id: i64,
    #[prost(message, optional, tag = "2")]
    pub request: Option<StartWorkflowExecutionRequest>,
    #[prost(message, optional, tag = "3")]
    pub parent: Option<RunRecord>,
    #[prost(bytes = "bytes", tag = "4")]
    pub parent_run: Bytes,
    #[prost(string, tag = "5")]
    pub parent_namespace: String,
    #[prost(message, optional, tag = "6")]
    pub root: Option<WorkflowExecution>,
    #[prost(bytes = "bytes", tag = "30")]
    pub replaces_child_of: Bytes,
    #[prost(message, optional, tag = "31")]
    pub inherited: Option<Inherited>,
    #[prost(message, optional, tag = "32")]
    pub time: Option<TimeSkippingStatePropagation>,
}

/// See [`ExternalSignal`].
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SignalRecord {
    #[prost(int64, tag = "1")]
    pub initiated_event_id: i64,
    #[prost(string, tag = "2")]
    pub workflow_id: String,
    #[prost(string, tag = "3")]
    pub run_id: String,
    #[prost(bool, tag = "4")]
    pub child_only: bool,
    #[prost(string, tag = "5")]
    pub request_id: String,
    #[prost(string, tag = "6")]
    pub name: String,
    #[prost(message, optional, tag = "7")]
    pub input: Option<Payloads>,
    #[prost(message, optional, tag = "8")]
    pub header: Option<Header>,
    #[prost(bytes = "bytes", tag = "30")]
    pub parent: Bytes,
}

/// See [`ExternalCancel`].
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names say it")]
pub struct CancelRecord {
    #[prost(int64, tag = "1")]
    pub initiated_event_id: i64,
    #[prost(string, tag = "2")]
    pub workflow_id: String,
    #[prost(string, tag = "3")]
    pub run_id: String,
    #[prost(bool, tag = "4")]
    pub child_only: bool,
    #[prost(string, tag = "5")]
    pub request_id: String,
    #[prost(string, tag = "6")]
    pub reason: String,
    #[prost(bytes = "bytes", tag = "30")]
    pub parent: Bytes,
}

/// A child by workflow id and run id (of the run, or of the first of its chain).
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ChildRecord {
    #[prost(string, tag = "1")]
    pub workflow_id: String,
    #[prost(string, tag = "2")]
    pub run_id: String,
    #[prost(bytes = "bytes", tag = "30")]
    pub parent: Bytes,
}

/// See [`AskedChild`].
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names say it")]
pub struct AskChildRecord {
    #[prost(int64, tag = "1")]
    pub initiated_event_id: i64,
    #[prost(string, tag = "2")]
    pub workflow_id: String,
    #[prost(string, tag = "3")]
    pub workflow_type: String,
    #[prost(string, tag = "4")]
    pub first_run_id: String,
}

/// See [`ChildClosed`].
#[derive(Clone, PartialEq, Message)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ChildClosedRecord {
    #[prost(message, optional, tag = "1")]
    pub parent: Option<RunRecord>,
    #[prost(bytes = "bytes", tag = "2")]
    pub parent_run: Bytes,
    #[prost(int64, tag = "3")]
    pub initiated_event_id: i64,
    #[prost(message, optional, tag = "4")]
    pub child: Option<WorkflowExecution>,
    #[prost(string, tag = "5")]
    pub first_run_id: String,
    #[prost(string, tag = "6")]
    pub workflow_type: String,
    #[prost(message, optional, tag = "7")]
    pub close_event: Option<HistoryEvent>,
}

fn run_bytes(run: RunId) -> Bytes {
    Bytes::copy_from_slice(&run.0.0)
}

/// Empty for `None`.
fn run_bytes_option(run: Option<RunId>) -> Bytes {
    run.map_or_else(Bytes::new, run_bytes)
}

/// `Err`: damaged.
fn run_option(bytes: &Bytes) -> Result<Option<RunId>, ()> {
    if bytes.is_empty() {
        return Ok(None);
    }
    bytes.as_ref().try_into().map(|run| Some(RunId(Uuid(run)))).map_err(drop)
}

fn run_key(workflow: Option<RunRecord>, run: &Bytes) -> Option<RunKey> {
    Some(RunKey { workflow: workflow?.workflow()?, run: RunId(Uuid(run.as_ref().try_into().ok()?)) })
}

impl OutboxRecord {
    /// The row's value.
    pub fn new(sender: &RunKey, entry: &OutboxEntry) -> Self {
        let message = match entry.message.clone() {
            OutboxMessage::StartChild(m) => {
                let StartChild { initiated_event_id, request, parent, parent_namespace, root, replaces_child_of, inherited, time } = *m;
                MessageRecord::StartChild(Box::new(StartChildRecord {
                    initiated_event_id,
                    request: Some(request),
                    parent: Some(RunRecord::new(&parent.workflow)),
                    parent_run: run_bytes(parent.run),
                    parent_namespace,
                    root: Some(root),
                    replaces_child_of: run_bytes_option(replaces_child_of),
                    inherited: (inherited != Inherited::default()).then_some(inherited),
                    time,
                }))
            }
            OutboxMessage::Signal(m) => {
                let ExternalSignal { initiated_event_id, workflow_id, run_id, child_only, parent, request_id, name, input, header } = *m;
                let parent = run_bytes_option(parent);
                MessageRecord::Signal(SignalRecord {
                    initiated_event_id,
                    workflow_id,
                    run_id,
                    child_only,
                    request_id,
                    name,
                    input,
                    header,
                    parent,
                })
            }
            OutboxMessage::Cancel(m) => {
                let ExternalCancel { initiated_event_id, workflow_id, run_id, child_only, parent, request_id, reason } = *m;
                let parent = run_bytes_option(parent);
                MessageRecord::Cancel(CancelRecord { initiated_event_id, workflow_id, run_id, child_only, request_id, reason, parent })
            }
            OutboxMessage::ReleaseChild { workflow_id, run_id } => {
                MessageRecord::ReleaseChild(ChildRecord { workflow_id, run_id, parent: Bytes::new() })
            }
            OutboxMessage::ChildClosed { parent, news } => MessageRecord::ChildClosed(Box::new(ChildClosedRecord {
                parent: Some(RunRecord::new(&parent.workflow)),
                parent_run: run_bytes(parent.run),
                initiated_event_id: news.initiated_event_id,
                child: Some(news.child),
                first_run_id: news.first_run_id,
                workflow_type: news.workflow_type,
                close_event: Some(*news.close_event),
            })),
            OutboxMessage::AskChild(child) => {
                let AskedChild { initiated_event_id, workflow_id, workflow_type, first_run_id } = *child;
                MessageRecord::AskChild(AskChildRecord { initiated_event_id, workflow_id, workflow_type, first_run_id })
            }
            OutboxMessage::TerminateChild { workflow_id, first_run_id, parent } => {
                MessageRecord::TerminateChild(ChildRecord { workflow_id, run_id: first_run_id, parent: run_bytes_option(parent) })
            }
            OutboxMessage::CancelChild { workflow_id, first_run_id, parent } => {
                MessageRecord::CancelChild(ChildRecord { workflow_id, run_id: first_run_id, parent: run_bytes_option(parent) })
            }
            OutboxMessage::Callback(call) => MessageRecord::Callback(call),
            OutboxMessage::StartOperation(call) => MessageRecord::StartOperation(call),
            OutboxMessage::CancelOperation(call) => MessageRecord::CancelOperation(call),
        };
        Self { sender: Some(RunRecord::new(&sender.workflow)), message: Some(message) }
    }

    /// Back to a message. `None` when damaged.
    pub fn message(self) -> Option<OutboxMessage> {
        Some(match self.message? {
            MessageRecord::StartChild(m) => OutboxMessage::StartChild(Box::new(StartChild {
                initiated_event_id: m.initiated_event_id,
                request: m.request?,
                parent: run_key(m.parent, &m.parent_run)?,
                parent_namespace: m.parent_namespace,
                root: m.root?,
                replaces_child_of: run_option(&m.replaces_child_of).ok()?,
                inherited: m.inherited.unwrap_or_default(),
                time: m.time,
            })),
            MessageRecord::Signal(m) => OutboxMessage::Signal(Box::new(ExternalSignal {
                initiated_event_id: m.initiated_event_id,
                workflow_id: m.workflow_id,
                run_id: m.run_id,
                child_only: m.child_only,
                parent: run_option(&m.parent).ok()?,
                request_id: m.request_id,
                name: m.name,
                input: m.input,
                header: m.header,
            })),
            MessageRecord::Cancel(m) => OutboxMessage::Cancel(Box::new(ExternalCancel {
                initiated_event_id: m.initiated_event_id,
                workflow_id: m.workflow_id,
                run_id: m.run_id,
                child_only: m.child_only,
                parent: run_option(&m.parent).ok()?,
                request_id: m.request_id,
                reason: m.reason,
            })),
            MessageRecord::ReleaseChild(m) => OutboxMessage::ReleaseChild { workflow_id: m.workflow_id, run_id: m.run_id },
            MessageRecord::ChildClosed(m) => OutboxMessage::ChildClosed {
                parent: run_key(m.parent, &m.parent_run)?,
                news: Box::new(ChildClosed {
                    initiated_event_id: m.initiated_event_id,
                    child: m.child?,
                    first_run_id: m.first_run_id,
                    workflow_type: m.workflow_type,
                    close_event: Box::new(m.close_event?),
                }),
            },
            MessageRecord::AskChild(m) => {
                let AskChildRecord { initiated_event_id, workflow_id, workflow_type, first_run_id } = m;
                OutboxMessage::AskChild(Box::new(AskedChild { initiated_event_id, workflow_id, workflow_type, first_run_id }))
            }
            MessageRecord::TerminateChild(m) => {
                OutboxMessage::TerminateChild { parent: run_option(&m.parent).ok()?, workflow_id: m.workflow_id, first_run_id: m.run_id }
            }
            MessageRecord::CancelChild(m) => {
                OutboxMessage::CancelChild { parent: run_option(&m.parent).ok()?, workflow_id: m.workflow_id, first_run_id: m.run_id }
            }
            MessageRecord::Callback(call) => OutboxMessage::Callback(call),
            MessageRecord::StartOperation(call) => OutboxMessage::StartOperation(call),
            MessageRecord::CancelOperation(call) => OutboxMessage::CancelOperation(call),
        })
    }
}
