//! What a schedule is and what it remembers: two rows. Numbers of fields never change.
//!
//! | row | changes |
//! |---|---|
//! | [`Definition`] | when a client changes the schedule |
//! | [`State`] | with everything the schedule does |
//!
//! What the schedule owes others is part of its state: a start that was decided stays in `starting` until its outcome
//! is known, a run that is to be stopped is marked so until it was asked. So whoever reads the rows knows what to do.

use alloc::{string::String, vec::Vec};

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::{
    common::{Memo, Payloads, SearchAttributes},
    failure::Failure,
    schedule::{SchedulePolicies, ScheduleSpec},
    workflow::NewWorkflowExecutionInfo,
};

use crate::Timestamp;

/// What a client has said.
#[derive(Clone, PartialEq, Message)]
pub struct Definition {
    /// Namespace id, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub namespace_id: Bytes,
    /// Schedule id.
    #[prost(string, tag = "2")]
    pub schedule_id: String,
    /// Tells this schedule from earlier ones of the same id; part of the request ids of its starts.
    #[prost(string, tag = "3")]
    pub uid: String,
    /// Request id of the call that made it.
    #[prost(string, tag = "4")]
    pub request_id: String,
    /// When, ns.
    #[prost(int64, tag = "5")]
    pub create_time: i64,
    /// In its canonical form.
    #[prost(message, optional, tag = "6")]
    pub spec: Option<ScheduleSpec>,
    /// What is started.
    #[prost(message, optional, tag = "7")]
    pub action: Option<NewWorkflowExecutionInfo>,
    /// With defaults filled in.
    #[prost(message, optional, tag = "8")]
    pub policies: Option<SchedulePolicies>,
    /// The schedule's own memo.
    #[prost(message, optional, tag = "9")]
    pub memo: Option<Memo>,
    /// The schedule's own search attributes.
    #[prost(message, optional, tag = "10")]
    pub search_attributes: Option<SearchAttributes>,
}

/// What the schedule remembers.
#[derive(Clone, PartialEq, Message)]
pub struct State {
    /// See the API.
    #[prost(string, tag = "1")]
    pub notes: String,
    /// See the API.
    #[prost(bool, tag = "2")]
    pub paused: bool,
    /// See the API.
    #[prost(bool, tag = "3")]
    pub limited: bool,
    /// See the API.
    #[prost(int64, tag = "4")]
    pub remaining: i64,
    /// Grows with each change that a client's update must not undo unseen.
    #[prost(uint64, tag = "5")]
    pub conflict_token: u64,
    /// Last update, ns; 0 = never.
    #[prost(int64, tag = "6")]
    pub update_time: i64,
    /// Nominal times up to this one (ns) are dealt with.
    #[prost(int64, tag = "7")]
    pub cursor: i64,
    /// When something last happened, ns: counts for the end of idle schedules.
    #[prost(int64, tag = "8")]
    pub touched: i64,
    /// Actions taken.
    #[prost(int64, tag = "9")]
    pub action_count: i64,
    /// Times that came too late.
    #[prost(int64, tag = "10")]
    pub missed_catchup_window: i64,
    /// Starts left out because a run was open.
    #[prost(int64, tag = "11")]
    pub overlap_skipped: i64,
    /// Starts left out because too many waited.
    #[prost(int64, tag = "12")]
    pub buffer_dropped: i64,
    /// The last starts, oldest first.
    #[prost(message, repeated, tag = "13")]
    pub recent: Vec<Recent>,
    /// Starts that wait for a run to end.
    #[prost(message, repeated, tag = "14")]
    pub buffered: Vec<Buffered>,
    /// Starts that are decided.
    #[prost(message, repeated, tag = "15")]
    pub starting: Vec<Starting>,
    /// Open runs that starts wait for.
    #[prost(message, repeated, tag = "16")]
    pub running: Vec<Running>,
    /// Starts decided so far.
    #[prost(uint64, tag = "17")]
    pub starts: u64,
    /// Backfills that are not done.
    #[prost(message, repeated, tag = "18")]
    pub backfills: Vec<Backfill>,
    /// Result of the last run that completed.
    #[prost(message, optional, tag = "19")]
    pub last_completion_result: Option<Payloads>,
    /// Failure of the last run, if it failed.
    #[prost(message, optional, tag = "20")]
    pub continued_failure: Option<Failure>,
    /// Why the last start was refused; empty when it was not.
    #[prost(string, tag = "21")]
    pub start_refusal: String,
    /// Time of its due row, ns; 0 = it has none.
    #[prost(int64, tag = "22")]
    pub wake_at: i64,
    /// It has a row that says that it owes something.
    #[prost(bool, tag = "23")]
    pub owes: bool,
    /// Request ids of the last patches and updates.
    #[prost(string, repeated, tag = "24")]
    pub requests: Vec<String>,
    /// Actions that were not taken, oldest first.
    #[prost(message, repeated, tag = "25")]
    pub left_out: Vec<LeftOut>,
}

/// A start that waits.
#[derive(Clone, PartialEq, Message)]
pub struct Buffered {
    /// Nominal time, ns.
    #[prost(int64, tag = "1")]
    pub nominal: i64,
    /// With jitter, ns.
    #[prost(int64, tag = "2")]
    pub actual: i64,
    /// `ScheduleOverlapPolicy`; 0 = the schedule's.
    #[prost(int32, tag = "3")]
    pub policy: i32,
    /// Asked for by a client, not by the spec.
    #[prost(bool, tag = "4")]
    pub manual: bool,
    /// [`Check`].
    #[prost(enumeration = "Check", tag = "5")]
    pub check: i32,
}

/// Whether it is known what a start that waits finds running. What was told last may be behind: a run that is thought
/// to be open is looked at before a start is left out, or another run stopped, because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Check {
    /// It is, or nothing runs.
    Done = 0,
    /// The runs are to be looked at.
    Wanted = 1,
    /// They are looked at now.
    UnderWay = 2,
}

/// A start that is decided.
#[derive(Clone, PartialEq, Message)]
pub struct Starting {
    /// Its number in the schedule.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// What was waiting.
    #[prost(message, required, tag = "2")]
    pub start: Buffered,
    /// Nothing waits for the end of its run.
    #[prost(bool, tag = "3")]
    pub overlapping: bool,
    /// Failed tries.
    #[prost(uint32, tag = "4")]
    pub failures: u32,
    /// Not before this time, ns.
    #[prost(int64, tag = "5")]
    pub try_at: i64,
    /// No more tries from this time on, ns; see [`Starting::is_looked_for`].
    #[prost(int64, tag = "6")]
    pub give_up_at: i64,
    /// The workflow id that it was decided with: every try has it, and who looks for it, also when the schedule has got another
    /// action meanwhile. Empty in what was written before this field was: that of the action.
    #[prost(string, tag = "7")]
    pub workflow_id: String,
}

impl Starting {
    /// Its time is over, and tries of it have failed of which one may have been carried out: it is not tried once more, but looked for.
    /// One that nobody has tried yet is tried, be it late.
    pub fn is_looked_for(&self, now: Timestamp) -> bool {
        self.failures > 0 && now.0 >= self.give_up_at
    }
}

/// A run that was started and is not known to have ended.
#[derive(Clone, PartialEq, Message)]
pub struct Running {
    /// Number of its start.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Workflow id.
    #[prost(string, tag = "2")]
    pub workflow_id: String,
    /// First run of the chain.
    #[prost(string, tag = "3")]
    pub run_id: String,
    /// [`Stop`].
    #[prost(enumeration = "Stop", tag = "4")]
    pub stop: i32,
}

/// What is to become of a running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Stop {
    /// It runs on.
    No = 0,
    /// It is to be cancelled.
    Cancel = 1,
    /// It was asked to cancel.
    Canceled = 2,
    /// It is to be terminated.
    Terminate = 3,
    /// It was told to terminate.
    Terminated = 4,
}

/// A start that was carried out.
#[derive(Clone, PartialEq, Message)]
pub struct Recent {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// When it was due, ns.
    #[prost(int64, tag = "2")]
    pub scheduled: i64,
    /// When it was carried out, ns.
    #[prost(int64, tag = "3")]
    pub started: i64,
    /// Workflow id.
    #[prost(string, tag = "4")]
    pub workflow_id: String,
    /// First run of the chain.
    #[prost(string, tag = "5")]
    pub run_id: String,
    /// `WorkflowExecutionStatus`, as far as known.
    #[prost(int32, tag = "6")]
    pub status: i32,
}

/// Actions that were not taken, one after another for the same reason.
#[derive(Clone, PartialEq, Message)]
pub struct LeftOut {
    /// [`Why`].
    #[prost(enumeration = "Why", tag = "1")]
    pub why: i32,
    /// How many.
    #[prost(uint64, tag = "2")]
    pub count: u64,
    /// When the first of them was due, ns.
    #[prost(int64, tag = "3")]
    pub first: i64,
    /// When the last of them was due, ns.
    #[prost(int64, tag = "4")]
    pub last: i64,
    /// When that was decided about the last of them, ns.
    #[prost(int64, tag = "5")]
    pub decided: i64,
}

/// Why an action was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum Why {
    /// Of old rows.
    Unknown = 0,
    /// It came later than the catch-up window allows.
    Late = 1,
    /// A run was open, and the overlap policy said so.
    Overlap = 2,
    /// Too many starts waited.
    BufferFull = 3,
    /// The start failed again and again.
    GaveUp = 4,
    /// There is a run of the same workflow id.
    AlreadyStarted = 5,
    /// The start was refused.
    Refused = 6,
}

/// A range of time whose times are carried out now.
#[derive(Clone, PartialEq, Message)]
pub struct Backfill {
    /// Nominal times up to this one (ns) are done.
    #[prost(int64, tag = "1")]
    pub cursor: i64,
    /// The last time, ns.
    #[prost(int64, tag = "2")]
    pub end: i64,
    /// `ScheduleOverlapPolicy`; 0 = the schedule's.
    #[prost(int32, tag = "3")]
    pub policy: i32,
}

/// What the completion callback of a started run carries: whom to tell.
#[derive(Clone, PartialEq, Message)]
pub struct Watch {
    /// Schedule id.
    #[prost(string, tag = "1")]
    pub schedule_id: String,
    /// [`Definition::uid`].
    #[prost(string, tag = "2")]
    pub uid: String,
    /// Number of the start.
    #[prost(uint64, tag = "3")]
    pub number: u64,
}
