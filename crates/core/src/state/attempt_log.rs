//! What is kept of ended activity attempts beside history (never in it).
//!
//! An attempt that is retried is no event. Its record stays with the activity's progress while the activity is pending
//! (the row that the end of an attempt writes anyway), and moves to a row of its own when the activity closes. An
//! activity whose first attempt closes it writes no record at all: history has everything but the heartbeat.
//!
//! Bounds: [`ATTEMPTS_KEPT`] newest attempts of an activity, [`LOGS_KEPT`] activities of a run that closed after more
//! than one attempt (the oldest row is overwritten), and the lengths below.

use alloc::{string::String, vec::Vec};

use bytes::Bytes;
use prost::Message;

/// Newest attempts kept of one activity.
pub const ATTEMPTS_KEPT: usize = 10;
/// Rows kept of one run: closed activities with their attempts, so 1,000 attempts at most.
pub const LOGS_KEPT: u64 = 100;
/// Bytes of a failure's message.
pub const MESSAGE_BYTES_MAX: usize = 512;
/// Bytes of a failure's type, and of a worker's identity.
pub const NAME_BYTES_MAX: usize = 256;
/// Encoded bytes of heartbeat details; larger ones are left out, only their size is kept.
pub const HEARTBEAT_BYTES_MAX: usize = 1024;

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
#[allow(missing_docs, reason = "the names say it")]
pub enum AttemptOutcome {
    Unspecified = 0,
    Completed = 1,
    Failed = 2,
    Canceled = 3,
    TimedOutStartToClose = 4,
    TimedOutScheduleToStart = 5,
    TimedOutScheduleToClose = 6,
    TimedOutHeartbeat = 7,
    /// The run closed over it.
    RunClosed = 8,
    /// A worker has it.
    Running = 9,
    /// No worker has it yet.
    Waiting = 10,
}

/// One attempt.
#[derive(Clone, PartialEq, Message)]
pub struct AttemptRecord {
    /// Its number, from 1; a reset begins anew.
    #[prost(int32, tag = "1")]
    pub attempt: i32,
    /// When it was due, ns; 0 = not known.
    #[prost(int64, tag = "2")]
    pub scheduled_time: i64,
    /// When a worker took it, ns; 0 = never.
    #[prost(int64, tag = "3")]
    pub started_time: i64,
    /// When it ended, ns; 0 = it has not.
    #[prost(int64, tag = "4")]
    pub ended_time: i64,
    /// The worker.
    #[prost(string, tag = "5")]
    pub identity: String,
    /// What became of it.
    #[prost(enumeration = "AttemptOutcome", tag = "6")]
    pub outcome: i32,
    /// The failure's message, cut.
    #[prost(string, tag = "7")]
    pub failure_message: String,
    /// The application failure's type, cut.
    #[prost(string, tag = "8")]
    pub failure_type: String,
    /// Time of its last heartbeat, ns; 0 = none.
    #[prost(int64, tag = "9")]
    pub heartbeat_time: i64,
    /// Details of that heartbeat: encoded `Payloads`; empty when over [`HEARTBEAT_BYTES_MAX`].
    #[prost(bytes = "bytes", tag = "10")]
    pub heartbeat_details: Bytes,
    /// Encoded size of those details.
    #[prost(int64, tag = "11")]
    pub heartbeat_bytes: i64,
}

/// The attempts of one activity, oldest first.
#[derive(Clone, PartialEq, Message)]
pub struct AttemptLog {
    /// Its Scheduled event.
    #[prost(int64, tag = "1")]
    pub scheduled_event_id: i64,
    /// Its id.
    #[prost(string, tag = "2")]
    pub activity_id: String,
    /// Its type.
    #[prost(string, tag = "3")]
    pub activity_type: String,
    /// Its attempts.
    #[prost(message, repeated, tag = "4")]
    pub attempts: Vec<AttemptRecord>,
    /// Earlier attempts that are no longer kept.
    #[prost(int64, tag = "5")]
    pub dropped: i64,
}

impl AttemptLog {
    /// Adds an attempt; the oldest goes when there are too many.
    pub fn push(&mut self, record: AttemptRecord) {
        push_bounded(&mut self.attempts, &mut self.dropped, record);
    }
}

/// Adds an attempt; the oldest goes when there are too many.
pub(crate) fn push_bounded(attempts: &mut Vec<AttemptRecord>, dropped: &mut i64, record: AttemptRecord) {
    if attempts.len() >= ATTEMPTS_KEPT {
        attempts.remove(0);
        *dropped += 1;
    }
    attempts.push(record);
}
