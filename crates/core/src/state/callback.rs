//! What a run keeps of its completion callbacks (row kind 13; see `callbacks`).

use alloc::{boxed::Box, string::String};

use prost::Message;
use sempre_api::v1::{
    common::{Callback, Payload},
    failure::Failure,
};

/// A callback as history has it.
#[derive(Clone, PartialEq, Message)]
pub struct CallbackInfo {
    /// Whom to tell.
    #[prost(message, optional, tag = "1")]
    pub callback: Option<Callback>,
    /// When it was registered, ns.
    #[prost(int64, tag = "2")]
    pub registration_time: i64,
    /// It was attached by a later call, not given at the start.
    #[prost(bool, tag = "3")]
    pub attached: bool,
    /// Request id of that call; of an update's callback always.
    #[prost(string, tag = "4")]
    pub request_id: String,
    /// The update whose end it waits for; empty: it waits for the end of the chain.
    #[prost(string, tag = "5")]
    pub update_id: String,
}

impl CallbackInfo {
    /// It waits for the end of the chain, not for that of an update.
    pub fn is_of_chain(&self) -> bool {
        self.update_id.is_empty()
    }
}

/// What became of it so far. A callback without this waits for the run's end.
#[derive(Clone, PartialEq, Message)]
pub struct CallbackProgress {
    /// `CallbackState`.
    #[prost(int32, tag = "1")]
    pub state: i32,
    /// Attempts made.
    #[prost(int32, tag = "2")]
    pub attempt: i32,
    /// When the last one ended, ns; 0 = never.
    #[prost(int64, tag = "3")]
    pub last_attempt_complete_time: i64,
    /// Why it did not succeed.
    #[prost(message, optional, tag = "4")]
    pub last_failure: Option<Failure>,
    /// When the next one is due, ns; 0 = not waiting.
    #[prost(int64, tag = "5")]
    pub next_attempt_time: i64,
    /// What it is told, if history does not say so: an update that an event had admitted was rejected. Gone when told.
    #[prost(message, optional, boxed, tag = "6")]
    pub rejection: Option<Box<Outcome>>,
    /// The next attempt is put off, since the other side seems to be down.
    #[prost(bool, tag = "7")]
    pub blocked: bool,
}

/// Both, as one row.
#[derive(Clone, PartialEq, Message)]
pub struct CallbackRow {
    /// Derived half.
    #[prost(message, optional, tag = "1")]
    pub info: Option<CallbackInfo>,
    /// Progress half.
    #[prost(message, optional, tag = "2")]
    pub progress: Option<CallbackProgress>,
}

/// How the chain, or an update, ended, in the terms of a Nexus operation. That of a chain is kept only for runs with
/// callbacks, from their close event.
#[derive(Clone, PartialEq, Message)]
pub struct Outcome {
    /// [`OutcomeState`].
    #[prost(enumeration = "OutcomeState", tag = "1")]
    pub state: i32,
    /// First payload of the result.
    #[prost(message, optional, tag = "2")]
    pub result: Option<Payload>,
    /// Why it did not succeed.
    #[prost(message, optional, tag = "3")]
    pub failure: Option<Failure>,
    /// Time of the close event, ns.
    #[prost(int64, tag = "4")]
    pub close_time: i64,
}

/// State of an operation that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum OutcomeState {
    /// With a result.
    Succeeded = 0,
    /// With a failure.
    Failed = 1,
    /// As asked.
    Canceled = 2,
}
