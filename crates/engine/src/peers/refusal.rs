//! Refusals on their way from node to node.

use prost::Message;
use sempre_api::v1::enums::ResourceExhaustedCause;
use sempre_core::Refusal;

use crate::shared::{SHARD_UNAVAILABLE, internal};

/// What is full there is said in these words.
const FULL: &str = "too many requests wait at another node";

/// A refusal in bytes. What none of the questions between nodes is answered with is told as a bug, and may pass.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RefusalRecord {
    #[prost(enumeration = "Kind", tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    text: String,
    #[prost(string, tag = "3")]
    start_request_id: String,
    #[prost(string, tag = "4")]
    run_id: String,
    #[prost(string, tag = "5")]
    first_run_id: String,
    /// `ResourceExhaustedCause`.
    #[prost(int32, tag = "6")]
    cause: i32,
    #[prost(uint32, tag = "7")]
    shard: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum Kind {
    Unavailable = 0,
    InvalidArgument = 1,
    NotFound = 2,
    NamespaceNotFound = 3,
    AlreadyStarted = 4,
    ActivityAlreadyStarted = 5,
    OperationAlreadyStarted = 6,
    AlreadyExists = 7,
    ResourceExhausted = 8,
    Overloaded = 9,
    FailedPrecondition = 10,
    WorkflowNotReady = 11,
    PermissionDenied = 12,
    Aborted = 13,
    Unimplemented = 14,
    Elsewhere = 15,
    OutOfRange = 16,
    DeadlineExceeded = 17,
}

impl RefusalRecord {
    pub(crate) fn new(refusal: Refusal) -> Self {
        let of = |kind: Kind, text: String| Self { kind: kind as i32, text, ..Self::default() };
        let started =
            |kind: Kind, text: String, start_request_id: String, run_id: String| Self { start_request_id, run_id, ..of(kind, text) };
        match refusal {
            Refusal::InvalidArgument(text) => of(Kind::InvalidArgument, text),
            Refusal::NotFound(text) => of(Kind::NotFound, text),
            Refusal::NamespaceNotFound(name) => of(Kind::NamespaceNotFound, name),
            Refusal::NamespaceAlreadyExists(text) | Refusal::AlreadyExists(text) => of(Kind::AlreadyExists, text),
            Refusal::NamespaceInvalidState { namespace, state, allowed } => {
                of(Kind::FailedPrecondition, format!("Namespace has invalid state: {state}. Must be {allowed} ({namespace})."))
            }
            Refusal::AlreadyStarted { message, start_request_id, run_id, first_run_id } => {
                Self { first_run_id, ..started(Kind::AlreadyStarted, message, start_request_id, run_id) }
            }
            Refusal::ActivityAlreadyStarted { message, start_request_id, run_id } => {
                started(Kind::ActivityAlreadyStarted, message, start_request_id, run_id)
            }
            Refusal::OperationAlreadyStarted { message, start_request_id, run_id } => {
                started(Kind::OperationAlreadyStarted, message, start_request_id, run_id)
            }
            Refusal::ResourceExhausted { cause, message } => Self { cause: cause as i32, ..of(Kind::ResourceExhausted, message) },
            Refusal::Overloaded(_) => of(Kind::Overloaded, String::new()),
            Refusal::FailedPrecondition(text) => of(Kind::FailedPrecondition, text),
            Refusal::WorkflowNotReady(text) => of(Kind::WorkflowNotReady, text),
            Refusal::PermissionDenied(text) => of(Kind::PermissionDenied, text),
            Refusal::Aborted(text) => of(Kind::Aborted, text),
            Refusal::Unimplemented(text) => of(Kind::Unimplemented, text),
            Refusal::Unavailable(text) => of(Kind::Unavailable, text),
            Refusal::Elsewhere { shard } => Self { shard, ..of(Kind::Elsewhere, String::new()) },
            Refusal::OutOfRange(text) => of(Kind::OutOfRange, text),
            Refusal::DeadlineExceeded(text) => of(Kind::DeadlineExceeded, text),
            Refusal::QueryFailed { .. } | Refusal::BufferLost(_) | Refusal::MultiOperation(_) => {
                Self::new(internal("a refusal that goes between nodes"))
            }
        }
    }

    /// Back to a refusal. Of a kind that a newer version has: it may pass.
    pub(crate) fn refusal(self) -> Refusal {
        let Self { kind, text, start_request_id, run_id, first_run_id, cause, shard } = self;
        match Kind::try_from(kind) {
            Ok(Kind::Unavailable) => Refusal::Unavailable(text),
            Ok(Kind::InvalidArgument) => Refusal::InvalidArgument(text),
            Ok(Kind::NotFound) => Refusal::NotFound(text),
            Ok(Kind::NamespaceNotFound) => Refusal::NamespaceNotFound(text),
            Ok(Kind::AlreadyStarted) => Refusal::AlreadyStarted { message: text, start_request_id, run_id, first_run_id },
            Ok(Kind::ActivityAlreadyStarted) => Refusal::ActivityAlreadyStarted { message: text, start_request_id, run_id },
            Ok(Kind::OperationAlreadyStarted) => Refusal::OperationAlreadyStarted { message: text, start_request_id, run_id },
            Ok(Kind::AlreadyExists) => Refusal::AlreadyExists(text),
            Ok(Kind::ResourceExhausted) => {
                let cause = ResourceExhaustedCause::try_from(cause).unwrap_or(ResourceExhaustedCause::SystemOverloaded);
                Refusal::ResourceExhausted { cause, message: text }
            }
            Ok(Kind::Overloaded) => Refusal::Overloaded(FULL),
            Ok(Kind::FailedPrecondition) => Refusal::FailedPrecondition(text),
            Ok(Kind::WorkflowNotReady) => Refusal::WorkflowNotReady(text),
            Ok(Kind::PermissionDenied) => Refusal::PermissionDenied(text),
            Ok(Kind::Aborted) => Refusal::Aborted(text),
            Ok(Kind::Unimplemented) => Refusal::Unimplemented(text),
            Ok(Kind::Elsewhere) => Refusal::Elsewhere { shard },
            Ok(Kind::OutOfRange) => Refusal::OutOfRange(text),
            Ok(Kind::DeadlineExceeded) => Refusal::DeadlineExceeded(text),
            Err(_) => Refusal::Unavailable(SHARD_UNAVAILABLE.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_the_same_at_the_other_node() {
        let text = || String::from("text");
        let same = [
            Refusal::InvalidArgument(text()),
            Refusal::NotFound(text()),
            Refusal::NamespaceNotFound(text()),
            Refusal::AlreadyStarted { message: text(), start_request_id: "a".into(), run_id: "b".into(), first_run_id: "c".into() },
            Refusal::ActivityAlreadyStarted { message: text(), start_request_id: "a".into(), run_id: "b".into() },
            Refusal::OperationAlreadyStarted { message: text(), start_request_id: "a".into(), run_id: "b".into() },
            Refusal::AlreadyExists(text()),
            Refusal::busy("text"),
            Refusal::Overloaded(FULL),
            Refusal::FailedPrecondition(text()),
            Refusal::WorkflowNotReady(text()),
            Refusal::PermissionDenied(text()),
            Refusal::Aborted(text()),
            Refusal::Unimplemented(text()),
            Refusal::Unavailable(text()),
            Refusal::Elsewhere { shard: 7 },
            Refusal::OutOfRange(text()),
            Refusal::DeadlineExceeded(text()),
        ];
        for refusal in same {
            let bytes = RefusalRecord::new(refusal.clone()).encode_to_vec();
            assert_eq!(RefusalRecord::decode(bytes.as_slice()).unwrap().refusal(), refusal);
        }
        // What passes there passes here, and what does not does not.
        let others = [
            Refusal::NamespaceInvalidState { namespace: text(), state: "Deleted", allowed: "Registered" },
            Refusal::NamespaceAlreadyExists(text()),
        ];
        for refusal in others {
            assert!(!RefusalRecord::new(refusal).refusal().may_pass());
        }
        let unknown = RefusalRecord { kind: 1000, ..RefusalRecord::default() };
        assert!(unknown.refusal().may_pass());
    }
}
