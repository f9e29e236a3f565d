//! The half of the state that history does not determine.

use alloc::{boxed::Box, collections::BTreeMap, string::String, sync::Arc, vec::Vec};

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::{
    activity::ActivityOptions,
    common::{Payloads, WorkerVersionStamp},
    deployment::WorkerDeploymentVersion,
    failure::Failure,
};

use super::{Buffer, ResetInfo, callback::CallbackProgress, operation::OperationProgress};
use crate::{Span, Timestamp, flow::FlowProgress, standalone::Standalone, versioning::VersioningProgress};

/// What history does not determine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The small part, one row with the derived half's main record.
    pub main: ProgressMain,
    /// Attempts of the pending activities, by scheduled event id.
    pub activities: BTreeMap<i64, Arc<ActivityProgress>>,
    /// Requests for the pending Nexus operations, by scheduled event id; none for those that nothing was asked for yet.
    pub operations: BTreeMap<i64, OperationProgress>,
    /// Events that wait for the started workflow task to end.
    pub buffer: Buffer,
    /// What resets have to do with the run; `None` for most runs.
    pub reset: Option<Box<ResetInfo>>,
    /// Completion callbacks that have been sent, by number.
    pub callbacks: BTreeMap<i64, CallbackProgress>,
}

/// The small part.
#[derive(Clone, PartialEq, Message)]
pub struct ProgressMain {
    /// The pending workflow task, in history or not.
    #[prost(message, optional, boxed, tag = "1")]
    pub task: Option<Box<Task>>,
    /// Attempt the next workflow task has; 0 counts as 1.
    #[prost(int32, tag = "2")]
    pub attempt: i32,
    /// The worker that holds the run.
    #[prost(message, optional, tag = "3")]
    pub sticky: Option<Sticky>,
    /// Last stamp given to an offer.
    #[prost(uint32, tag = "4")]
    pub stamp: u32,
    /// Last number given to an outbox message.
    #[prost(uint64, tag = "5")]
    pub outbox: u64,
    /// Committed transitions.
    #[prost(int64, tag = "6")]
    pub transitions: i64,
    /// Time of the deadline row in the store, ns; 0 = none.
    #[prost(int64, tag = "7")]
    pub armed: i64,
    /// When the first workflow task is due (start delay, cron, retry back-off), ns; 0 = not waiting.
    #[prost(int64, tag = "8")]
    pub first_task_at: i64,
    /// The first task waits until the parent has recorded the start.
    #[prost(bool, tag = "9")]
    pub held: bool,
    /// Request id of the start that made the run.
    #[prost(string, tag = "10")]
    pub start_request_id: String,
    /// A close command was refused because of buffered events; no new signals until the next try.
    #[prost(bool, tag = "11")]
    pub closing: bool,
    /// Request id of the cancel request.
    #[prost(string, tag = "12")]
    pub cancel_request_id: String,
    /// When the run is to be deleted, ns; 0 = open.
    #[prost(int64, tag = "13")]
    pub delete_at: i64,
    /// Consecutive failures and timeouts of workflow tasks.
    #[prost(int32, tag = "14")]
    pub task_problems: i32,
    /// Number of the next signal request id row.
    #[prost(uint64, tag = "15")]
    pub signal_rows: u64,
    /// Namespace id, 16 bytes: rows are found by run id, so a run knows whose it is.
    #[prost(bytes = "bytes", tag = "16")]
    pub namespace_id: Bytes,
    /// Numbers of the update rows whose update an event admitted (after a reset) and the workflow rejected: no event
    /// says that. At most one for each such event.
    #[prost(int64, repeated, tag = "20")]
    pub rejected_updates: Vec<i64>,
    /// Why workflow tasks have failed so often in a row that it is told.
    #[prost(message, optional, tag = "50")]
    pub problem: Option<TaskProblem>,
    /// Why the last workflow task came to nothing, until one is completed.
    #[prost(message, optional, tag = "60")]
    pub last_problem: Option<TaskProblem>,
    /// The failure's message, cut.
    #[prost(string, tag = "61")]
    pub last_problem_message: String,
    /// Since when the run waits, with no workflow task, ns; 0 = it does not.
    #[prost(int64, tag = "62")]
    pub waiting_since: i64,
    /// When that is to be told in lists, ns; 0 = it is told, or it does not wait.
    #[prost(int64, tag = "63")]
    pub tell_wait_at: i64,
    /// It is told.
    #[prost(bool, tag = "64")]
    pub wait_told: bool,
    /// Set in an activity that belongs to no workflow.
    #[prost(message, optional, boxed, tag = "80")]
    pub standalone: Option<Box<Standalone>>,
    /// Attempt logs ever written (rows of kind AttemptLog are used in turn).
    #[prost(uint64, tag = "41")]
    pub attempt_logs: u64,
    /// What history does not say of the versions of workers.
    #[prost(message, optional, boxed, tag = "70")]
    pub versioning: Option<Box<VersioningProgress>>,
    /// Request id of the start that began the chain, when another run began it; empty for a chain's first run.
    #[prost(string, tag = "75")]
    pub chain_request_id: String,
    /// The flow rules that are about the run; `None` for most runs.
    #[prost(message, optional, boxed, tag = "90")]
    pub flow: Option<Box<FlowProgress>>,
}

/// Why the last workflow task came to nothing.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct TaskProblem {
    /// It timed out; else it failed.
    #[prost(bool, tag = "1")]
    pub timed_out: bool,
    /// `TimeoutType`, or `WorkflowTaskFailedCause`.
    #[prost(int32, tag = "2")]
    pub kind: i32,
}

/// The worker that holds the run in its cache.
#[derive(Clone, PartialEq, Message)]
pub struct Sticky {
    /// Its queue.
    #[prost(string, tag = "1")]
    pub queue: String,
    /// How long a task may wait there, ns.
    #[prost(int64, tag = "2")]
    pub schedule_to_start: i64,
}

/// The pending workflow task.
#[derive(Clone, PartialEq, Message)]
pub struct Task {
    /// Its events are not in history (a retry): ids are the next free ones, until it completes.
    #[prost(bool, tag = "1")]
    pub transient: bool,
    /// Scheduled event id, real or virtual.
    #[prost(int64, tag = "2")]
    pub scheduled_event_id: i64,
    /// Started event id, real or virtual; 0 = not started.
    #[prost(int64, tag = "3")]
    pub started_event_id: i64,
    /// Attempt, from 1.
    #[prost(int32, tag = "4")]
    pub attempt: i32,
    /// When scheduled, ns.
    #[prost(int64, tag = "5")]
    pub scheduled_time: i64,
    /// When the first task of a heartbeat chain was scheduled, ns.
    #[prost(int64, tag = "6")]
    pub original_scheduled_time: i64,
    /// When started, ns; 0 = not started.
    #[prost(int64, tag = "7")]
    pub started_time: i64,
    /// Start-to-close timeout, ns.
    #[prost(int64, tag = "8")]
    pub timeout: i64,
    /// Stamp of its offer.
    #[prost(uint32, tag = "9")]
    pub stamp: u32,
    /// Queue it was scheduled on.
    #[prost(string, tag = "10")]
    pub queue: String,
    /// That queue is sticky; its schedule-to-start timeout in ns (0 = normal queue).
    #[prost(int64, tag = "11")]
    pub sticky_timeout: i64,
    /// When its offer was made, ns; 0 = no offer row.
    #[prost(int64, tag = "12")]
    pub offered_at: i64,
    /// The poll that took it.
    #[prost(string, tag = "13")]
    pub request_id: String,
    /// Who took it.
    #[prost(string, tag = "14")]
    pub identity: String,
    /// Bytes of history when it was started.
    #[prost(int64, tag = "15")]
    pub history_size: i64,
    /// Continue-as-new was suggested.
    #[prost(bool, tag = "16")]
    pub suggest_continue_as_new: bool,
    /// `worker_version` of the poller.
    #[prost(message, optional, tag = "17")]
    pub worker_version: Option<WorkerVersionStamp>,
    /// Reasons of the suggestion.
    #[prost(int32, repeated, tag = "18")]
    pub suggest_reasons: alloc::vec::Vec<i32>,
    /// Longest wait for a poller on the normal queue, ns; 0 = none. Only tasks that were born speculative have one.
    #[prost(int64, tag = "20")]
    pub start_within: i64,
    /// In memory only: no events, no offer row, no deadline row. Never true in a stored row.
    #[prost(bool, tag = "21")]
    pub speculative: bool,
    /// It was started for a poll that has gone without it, and is on offer again: nobody has it, no timeout runs.
    #[prost(bool, tag = "22")]
    pub lost: bool,
    /// The worker was told that the run, which is pinned, could go to another version.
    #[prost(bool, tag = "23")]
    pub target_changed: bool,
    /// The version whose line its offer is on; `None`: the queue itself.
    #[prost(message, optional, tag = "24")]
    pub line: Option<WorkerDeploymentVersion>,
    /// `offered_at` is the rank of its offer, whenever that was made.
    #[prost(bool, tag = "25")]
    pub ranked: bool,
}

impl Task {
    /// A worker has it.
    pub fn is_started(&self) -> bool {
        self.started_event_id != 0
    }

    /// Its events are not in history: a retry, or speculative.
    pub fn is_virtual(&self) -> bool {
        self.transient || self.speculative
    }

    /// How long it may wait for a poller, if that is bounded.
    pub fn start_timeout(&self) -> Option<Span> {
        self.sticky().or_else(|| Span(self.start_within).some())
    }

    /// Its sticky schedule-to-start timeout, if on a sticky queue.
    pub fn sticky(&self) -> Option<Span> {
        Span(self.sticky_timeout).some()
    }
}

/// A pending activity's attempts.
#[derive(Clone, PartialEq, Message)]
pub struct ActivityProgress {
    /// Current attempt, from 1.
    #[prost(int32, tag = "1")]
    pub attempt: i32,
    /// Stamp of its offer.
    #[prost(uint32, tag = "2")]
    pub stamp: u32,
    /// When the current attempt is (was) due, ns.
    #[prost(int64, tag = "3")]
    pub scheduled_time: i64,
    /// When the current attempt was started, ns; 0 = not.
    #[prost(int64, tag = "4")]
    pub started_time: i64,
    /// Who has it.
    #[prost(string, tag = "5")]
    pub identity: String,
    /// The poll that took it.
    #[prost(string, tag = "6")]
    pub request_id: String,
    /// Failure of the last attempt.
    #[prost(message, optional, boxed, tag = "7")]
    pub last_failure: Option<Box<Failure>>,
    /// Who had the last attempt.
    #[prost(string, tag = "8")]
    pub last_identity: String,
    /// Details of the last heartbeat of any attempt.
    #[prost(message, optional, tag = "9")]
    pub heartbeat_details: Option<Payloads>,
    /// When it came, ns; 0 = never.
    #[prost(int64, tag = "10")]
    pub heartbeat_time: i64,
    /// When the last attempt ended, ns; 0 = none ended.
    #[prost(int64, tag = "11")]
    pub last_attempt_complete_time: i64,
    /// When its offer was made, ns; 0 = no offer row.
    #[prost(int64, tag = "12")]
    pub offered_at: i64,
    /// The version whose line that offer is on; `None`: the queue itself.
    #[prost(message, optional, tag = "50")]
    pub line: Option<WorkerDeploymentVersion>,
    /// `offered_at` is the rank of that offer, whenever that was made.
    #[prost(bool, tag = "51")]
    pub ranked: bool,
    // Tag 13 was the latest start of any attempt.
    /// `worker_version` of the poller.
    #[prost(message, optional, tag = "14")]
    pub worker_version: Option<WorkerVersionStamp>,
    /// Set while an operator keeps it paused.
    #[prost(message, optional, boxed, tag = "40")]
    pub pause: Option<Box<ActivityPause>>,
    /// The running attempt was reset; its worker is told by heartbeats.
    #[prost(bool, tag = "41")]
    pub reset: bool,
    /// The running attempt's heartbeat is forgotten when it ends.
    #[prost(bool, tag = "42")]
    pub reset_heartbeat: bool,
    /// Options that an operator has put in the place of the Scheduled event's; all of them.
    #[prost(message, optional, boxed, tag = "43")]
    pub options: Option<Box<ActivityOptions>>,
    /// Attempt in the running worker's token, when the count began anew under it; 0 = as `attempt`.
    #[prost(int32, tag = "44")]
    pub token_attempt: i32,
    /// Request id of the last unpause, reset or update of options.
    #[prost(string, tag = "45")]
    pub operation_request_id: String,
    /// When the activity was taken over by a reset, ns; 0 = scheduled by this run. Its timeouts count from here.
    #[prost(int64, tag = "30")]
    pub taken_over: i64,
    /// Ended attempts, oldest first; at most [`super::attempt_log::ATTEMPTS_KEPT`].
    #[prost(message, repeated, tag = "46")]
    pub attempts: alloc::vec::Vec<super::AttemptRecord>,
    /// Ended attempts before those.
    #[prost(int64, tag = "47")]
    pub attempts_dropped: i64,
}

/// Who paused an activity, and why.
#[derive(Clone, PartialEq, Message)]
pub struct ActivityPause {
    /// When, ns.
    #[prost(int64, tag = "1")]
    pub time: i64,
    /// Who.
    #[prost(string, tag = "2")]
    pub identity: String,
    /// Why.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// Idempotency key of the request.
    #[prost(string, tag = "4")]
    pub request_id: String,
    /// The workflow rule that paused it, whose maker and description are `identity` and `reason`; empty: somebody did.
    #[prost(string, tag = "5")]
    pub rule_id: String,
}

impl ActivityProgress {
    /// A worker has the current attempt.
    pub fn is_started(&self) -> bool {
        self.started_time != 0
    }

    /// Waits for the back-off of a retry to pass.
    pub fn waits_for_retry(&self) -> bool {
        !self.is_started() && self.offered_at == 0
    }

    /// Attempt number in the token of whoever has it.
    pub fn token_attempt(&self) -> i32 {
        if self.token_attempt != 0 { self.token_attempt } else { self.attempt }
    }

    /// When the first attempt was scheduled, as far as timeouts go: a reset gives the full time again.
    pub fn first_scheduled(&self, info: &super::ActivityInfo) -> Timestamp {
        Timestamp(if self.taken_over != 0 { self.taken_over } else { info.scheduled_time })
    }

    /// When the current attempt is (was) due.
    pub fn due(&self) -> Timestamp {
        Timestamp(self.scheduled_time)
    }
}
