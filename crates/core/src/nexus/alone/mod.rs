//! Nexus operations that belong to no workflow (spec 08 §5.8).
//!
//! Such an operation is a run that has no workflow: its history, which no call shows, is its start, its one
//! NexusOperationScheduled event, what later starts attached to it, its start by the handler, a cancel request and the
//! handler's answer to it, and the event of its end. Requests, their retries and timeouts are those of [`crate::nexus`]; the
//! shard, the rows and the deadline are those of any run. What differs is here: how it is started by a client (`start`), what
//! ends it (`close`), how it is shown (`describe`).
//!
//! | state | input | next |
//! |---|---|---|
//! | — | StartNexusOperationExecution | scheduled: a request to start it goes out |
//! | scheduled, waiting | a cancel request | the same; the request goes out once the handler has started it |
//! | scheduled, waiting | started by the handler | started: a cancel that was asked for goes out |
//! | started | a cancel request | the same: a request to cancel goes out |
//! | scheduled, waiting, started | its result, its failure, its cancellation | closed: completed, failed, canceled |
//! | scheduled, waiting, started | a timeout | closed: timed out |
//! | scheduled, waiting, started | terminate | closed: terminated; the handler is not told |
//! | closed | its retention ends, or it is deleted | gone |
//!
//! A closed one keeps what its description shows.

mod close;
mod describe;
mod start;

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

use prost::Message;
use sempre_api::v1::{
    common::{
        Link, Payload,
        link::{self, Variant},
    },
    failure::Failure,
};

use crate::{
    Context, Execution, Input, NamespaceId, Refusal, WorkflowKey,
    alone::{Alone, keyword},
    state::{OperationInfo, State},
};

pub use close::{CancelOperationRun, TerminateOperationRun};
pub(crate) use close::{cancel, closed, started, terminate};
pub use describe::{Described, Shows};
pub use start::start;

/// What the ids begin with under which these operations are filed. No workflow can have such an id.
const PREFIX: &str = "\0operation\0";
/// The division of their records in lists.
pub const DIVISION: &str = "SempreNexusOperation";
/// A workflow id that begins like those of operations.
const RESERVED: &str = "WorkflowId is reserved for Nexus operations.";
/// The one event that schedules it: its second.
pub(crate) const SCHEDULED_EVENT_ID: i64 = 2;
/// Bytes of the reason of a cancel request or a termination (`nexusoperation.limit.reasonLength`).
pub const REASON_MAX: usize = 1000;

/// Attribute that lists find the operation's endpoint by.
pub const ENDPOINT: &str = "TemporalNexusEndpoint";
/// Attribute that lists find its service by.
pub const SERVICE: &str = "TemporalNexusService";
/// Attribute that lists find the request id by that its handler sees.
pub const REQUEST_ID: &str = "TemporalNexusRequestId";

/// Where the runs of an operation are filed.
pub fn key(namespace: NamespaceId, operation_id: &str) -> WorkflowKey {
    WorkflowKey { namespace, workflow_id: format!("{PREFIX}{operation_id}") }
}

/// The operation's id; `None` for everything else.
pub fn operation_id(key: &WorkflowKey) -> Option<&str> {
    key.workflow_id.strip_prefix(PREFIX)
}

/// A workflow id that a client has chosen must not be one of ours.
pub fn check_workflow_id(workflow_id: &str) -> Result<(), Refusal> {
    if workflow_id.starts_with(PREFIX) { Err(Refusal::invalid(RESERVED)) } else { Ok(()) }
}

/// NOT_FOUND for an operation or a run of it.
pub fn not_found(key: &WorkflowKey) -> Refusal {
    Refusal::NotFound(format!("operation not found for ID: {}", operation_id(key).unwrap_or_default()))
}

/// An id within the length limit, in the words that calls about these operations use.
pub fn length(name: &str, value: &str, limit: usize) -> Result<(), Refusal> {
    if value.len() <= limit {
        return Ok(());
    }
    Err(Refusal::InvalidArgument(format!("{name} exceeds length limit. Length={} Limit={limit}", value.len())))
}

/// What history does not say of such an operation.
#[derive(Clone, PartialEq, Message)]
pub struct OperationAlone {
    /// How it has ended; `None` while it is open.
    #[prost(message, optional, boxed, tag = "1")]
    pub outcome: Option<Box<Outcome>>,
    /// Why its cancellation was asked for.
    #[prost(string, tag = "2")]
    pub cancel_reason: String,
    /// Request id of its termination.
    #[prost(string, tag = "3")]
    pub terminate_request_id: String,
    /// What its handler points to.
    #[prost(message, repeated, tag = "4")]
    pub links: Vec<Link>,
    /// Links of later starts that found it open; the newest of them.
    #[prost(message, repeated, tag = "5")]
    pub attached_links: Vec<Link>,
}

/// How an operation has ended.
#[derive(Clone, PartialEq, Message)]
pub struct Outcome {
    /// What it has given.
    #[prost(message, optional, tag = "1")]
    pub result: Option<Payload>,
    /// Why it has given nothing.
    #[prost(message, optional, boxed, tag = "2")]
    pub failure: Option<Box<Failure>>,
}

impl Execution {
    /// It is a Nexus operation that belongs to no workflow.
    pub fn is_operation(&self) -> bool {
        Alone::of(&self.key.workflow) == Some(Alone::Operation)
    }

    /// A link to the operation that this run is.
    pub(crate) fn operation_link(&self, cx: &Context<'_>) -> Link {
        let operation = link::NexusOperation {
            namespace: cx.namespace.name.clone(),
            operation_id: operation_id(&self.key.workflow).unwrap_or_default().into(),
            run_id: self.key.run.to_string(),
        };
        Link { variant: Some(Variant::NexusOperation(operation)) }
    }
}

/// The part that only such an operation has.
pub(crate) fn part(state: &State) -> Option<&OperationAlone> {
    state.progress.main.operation.as_deref()
}

/// The operation itself.
pub(crate) fn info(state: &State) -> Option<&OperationInfo> {
    state.derived.operations.get(&SCHEDULED_EVENT_ID).map(|info| info.as_ref())
}

/// Whether an input means something to such an operation.
pub(crate) fn admits(input: &Input) -> bool {
    matches!(
        input,
        Input::CancelOperationRun(_)
            | Input::TerminateOperationRun(_)
            | Input::CompleteOperation(_)
            | Input::Wake
            | Input::Delivered { .. }
    )
}

/// What lists find it by.
pub(crate) fn add_attributes(state: &State, fields: &mut BTreeMap<String, Payload>) {
    let Some(info) = info(state) else { return };
    let scheduled = info.scheduled();
    for (name, value) in [(ENDPOINT, &scheduled.endpoint), (SERVICE, &scheduled.service), (REQUEST_ID, &scheduled.request_id)] {
        fields.insert(name.into(), keyword(value));
    }
}
