//! Activities that belong to no workflow (spec 03 §12).
//!
//! Such an activity is a run that has no workflow: its history, which no call shows, is its start, its one
//! ActivityTaskScheduled event, what later starts attached to it, a cancel request if there was one, and the event of its end. Attempts, timeouts, retries,
//! heartbeats, and what operators do are those of [`crate::activity`]; the shard, the rows and the deadline are those of any
//! run. What differs is here: how it starts (`start`), what ends it (`close`), how it is shown (`describe`).
//!
//! | state | input | next |
//! |---|---|---|
//! | — | StartActivityExecution | scheduled: offered, or waiting for its start delay |
//! | scheduled | cancel request | closed: canceled |
//! | scheduled | result by id | closed: completed |
//! | started | cancel request | started; heartbeats say so; no retry follows |
//! | started | result, last failure, cancellation | closed: completed, failed, canceled |
//! | scheduled, started | a timeout that is not retried | closed: timed out |
//! | scheduled, started | terminate | closed: terminated |
//! | closed | its retention ends, or it is deleted | gone |
//!
//! Its runs are filed under a workflow id that no workflow can have ([`key`]), so that an activity and a workflow of the
//! same id have nothing to do with each other. A closed one keeps what its description shows.

mod close;
mod describe;
mod start;

use alloc::{format, string::String, vec::Vec};

use prost::Message;
use sempre_api::v1::{activity::ActivityExecutionOutcome, common::Link};

use crate::{Execution, Input, NamespaceId, Refusal, WorkflowKey, state::State};

pub use close::{CancelActivityRun, TerminateActivityRun};
pub(crate) use close::{cancel, closed, terminate};
pub use describe::{Described, Shows};
pub use start::{length, start};

/// What the ids begin with under which these activities are filed. No workflow can have such an id.
const PREFIX: &str = "\0activity\0";
/// The division of their records in lists.
pub const DIVISION: &str = "SempreActivity";
/// A workflow id that begins like those of activities.
const RESERVED: &str = "WorkflowId is reserved for activities.";
/// The one event that schedules it: its second.
pub(crate) const SCHEDULED_EVENT_ID: i64 = 2;

/// Where the runs of an activity are filed.
pub fn key(namespace: NamespaceId, activity_id: &str) -> WorkflowKey {
    WorkflowKey { namespace, workflow_id: format!("{PREFIX}{activity_id}") }
}

/// The activity's id; `None` for a workflow.
pub fn activity_id(key: &WorkflowKey) -> Option<&str> {
    key.workflow_id.strip_prefix(PREFIX)
}

/// A workflow id that a client has chosen must not be one of ours.
pub fn check_workflow_id(workflow_id: &str) -> Result<(), Refusal> {
    if workflow_id.starts_with(PREFIX) { Err(Refusal::invalid(RESERVED)) } else { Ok(()) }
}

/// NOT_FOUND for an activity, a run of it, or a task of it that a worker answers too late.
pub fn not_found(key: &WorkflowKey) -> Refusal {
    Refusal::NotFound(format!("activity not found for ID: {}", activity_id(key).unwrap_or_default()))
}

/// What history does not say of such an activity.
#[derive(Clone, PartialEq, Message)]
pub struct Standalone {
    /// How it has ended; `None` while it is open.
    #[prost(message, optional, boxed, tag = "1")]
    pub outcome: Option<alloc::boxed::Box<ActivityExecutionOutcome>>,
    /// Who asked for its cancellation.
    #[prost(string, tag = "2")]
    pub cancel_identity: String,
    /// Why.
    #[prost(string, tag = "3")]
    pub cancel_reason: String,
    /// Request id of its termination.
    #[prost(string, tag = "4")]
    pub terminate_request_id: String,
    /// Heartbeats so far, of all attempts.
    #[prost(int64, tag = "5")]
    pub heartbeats: i64,
    /// Start delay, ns.
    #[prost(int64, tag = "6")]
    pub start_delay: i64,
    /// SDK of the worker that took its last attempt; empty if that is not known.
    #[prost(string, tag = "7")]
    pub sdk_name: String,
    /// Version of that SDK.
    #[prost(string, tag = "8")]
    pub sdk_version: String,
    /// Links of later starts that found it open; the newest of them.
    #[prost(message, repeated, tag = "9")]
    pub attached_links: Vec<Link>,
}

impl Execution {
    /// It is an activity that belongs to no workflow.
    pub fn is_standalone(&self) -> bool {
        activity_id(&self.key.workflow).is_some()
    }
}

/// The part that only such an activity has.
pub(crate) fn part(state: &State) -> Option<&Standalone> {
    state.progress.main.standalone.as_deref()
}

/// Whether an input means something to an activity without workflow.
pub(crate) fn admits(input: &Input) -> bool {
    matches!(
        input,
        Input::CancelActivityRun(_)
            | Input::TerminateActivityRun(_)
            | Input::StartActivityTask { .. }
            | Input::ActivityTaskLost { .. }
            | Input::CompleteActivity { .. }
            | Input::FailActivity { .. }
            | Input::CancelActivity { .. }
            | Input::Heartbeat { .. }
            | Input::PauseActivity(..)
            | Input::UnpauseActivity(..)
            | Input::ResetActivity(..)
            | Input::RunActivityNow(_)
            | Input::UpdateActivityOptions(..)
            | Input::Wake
            | Input::Delivered { .. }
    )
}
