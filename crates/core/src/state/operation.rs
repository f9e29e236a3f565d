//! What a run keeps of its pending Nexus operations (row kinds 20 and 21; see `nexus`).

use alloc::{boxed::Box, string::String};

use prost::Message;
use sempre_api::v1::{failure::Failure, history::NexusOperationScheduledEventAttributes};

use crate::{Span, Timestamp};

/// A pending operation as history has it.
#[derive(Clone, PartialEq, Message)]
pub struct OperationInfo {
    /// Its Scheduled event.
    #[prost(int64, tag = "1")]
    pub scheduled_event_id: i64,
    /// Time of that event, ns.
    #[prost(int64, tag = "2")]
    pub scheduled_time: i64,
    /// Attributes of that event: what the handler is given.
    #[prost(message, optional, boxed, tag = "3")]
    pub attributes: Option<Box<NexusOperationScheduledEventAttributes>>,
    /// Its Started event; 0 = not started.
    #[prost(int64, tag = "4")]
    pub started_event_id: i64,
    /// Time of that event, ns.
    #[prost(int64, tag = "5")]
    pub started_time: i64,
    /// The handler's name for it, of the Started event.
    #[prost(string, tag = "6")]
    pub token: String,
    /// Its CancelRequested event; 0 = none.
    #[prost(int64, tag = "7")]
    pub cancel_requested_event_id: i64,
    /// Time of that event, ns.
    #[prost(int64, tag = "8")]
    pub cancel_requested_time: i64,
    /// What the handler said to the request to cancel, as an event has it.
    #[prost(enumeration = "CancelAnswer", tag = "9")]
    pub cancel_answer: i32,
}

/// What a handler said to a request to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum CancelAnswer {
    /// Nothing yet.
    None = 0,
    /// It has taken it.
    Taken = 1,
    /// It will never take it.
    Refused = 2,
}

impl OperationInfo {
    /// Attributes of the Scheduled event.
    pub fn scheduled(&self) -> &NexusOperationScheduledEventAttributes {
        self.attributes.as_deref().expect("an operation is made from its Scheduled event")
    }

    /// Time of the Scheduled event.
    pub fn scheduled_at(&self) -> Timestamp {
        Timestamp(self.scheduled_time)
    }

    /// One of the timeouts of its Scheduled event; `None` when unset.
    pub fn timeout(&self, of: impl Fn(&NexusOperationScheduledEventAttributes) -> &Option<sempre_api::Duration>) -> Option<Span> {
        Span::from_api(of(self.scheduled()).as_ref()).ok().and_then(Span::some)
    }
}

/// Requests that were made for a pending operation.
#[derive(Clone, PartialEq, Message)]
pub struct OperationProgress {
    /// To start it.
    #[prost(message, required, tag = "1")]
    pub start: Attempts,
    /// To cancel it.
    #[prost(message, required, tag = "2")]
    pub cancel: Attempts,
}

impl Attempts {
    /// Those that ended, and the one under way or put off.
    pub(crate) fn begun(&self) -> i32 {
        self.ended.saturating_add(i32::from(self.message != 0 || self.blocked))
    }

    /// When the next one is due because the last one came to nothing, ns; 0 = it does not wait for that.
    pub(crate) fn backs_off_until(&self) -> i64 {
        if self.blocked { 0 } else { self.next_time }
    }
}

/// Requests of one kind, of which at most one is under way.
#[derive(Clone, PartialEq, Message)]
pub struct Attempts {
    /// Ended ones.
    #[prost(int32, tag = "1")]
    pub ended: i32,
    /// Outbox message of the one under way; 0 = none.
    #[prost(uint64, tag = "2")]
    pub message: u64,
    /// When the last one ended, ns; 0 = none did.
    #[prost(int64, tag = "3")]
    pub last_complete_time: i64,
    /// Why the last one came to nothing.
    #[prost(message, optional, boxed, tag = "4")]
    pub last_failure: Option<Box<Failure>>,
    /// When the next one is due, ns; 0 = none waits.
    #[prost(int64, tag = "5")]
    pub next_time: i64,
    /// The one that waits was put off because the endpoint seems to be down: no request was made for it yet.
    #[prost(bool, tag = "6")]
    pub blocked: bool,
}
