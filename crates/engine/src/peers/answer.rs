//! The bytes between nodes: what is answered.

use bytes::Bytes;
use prost::{Message, Oneof};
use sempre_api::v1::{
    common::{Link, Payload, Payloads},
    enums::{SignalExternalWorkflowExecutionFailedCause as SignalCause, StartChildWorkflowExecutionFailedCause as ChildCause},
    failure::Failure,
};
use sempre_core::{
    Timestamp,
    schedule::Ended,
    transition::{CallbackResult, Delivery, OperationResult},
};

use super::refusal::RefusalRecord;

/// What is answered.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AnswerRecord {
    /// `None`: of a newer version.
    #[prost(oneof = "Answer", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14")]
    pub(crate) answer: Option<Answer>,
}

/// See [`super::record::Request`].
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Answer {
    #[prost(message, tag = "1")]
    Refused(RefusalRecord),
    /// The question cannot be read.
    #[prost(message, tag = "2")]
    Unreadable(()),
    #[prost(message, tag = "3")]
    Done(()),
    #[prost(message, tag = "4")]
    Delivery(DeliveryRecord),
    /// What a parent is told of its child, as a message is stored.
    #[prost(bytes = "bytes", tag = "5")]
    News(Bytes),
    #[prost(bytes = "bytes", tag = "6")]
    Run(Bytes),
    #[prost(message, tag = "7")]
    Callback(CallbackRecord),
    #[prost(message, boxed, tag = "8")]
    Operation(Box<OperationRecord>),
    #[prost(string, tag = "9")]
    Text(String),
    #[prost(int32, tag = "10")]
    Status(i32),
    #[prost(message, boxed, tag = "11")]
    Ended(Box<EndedRecord>),
    /// Whether the job has dealt with the target before.
    #[prost(bool, tag = "12")]
    Acted(bool),
    /// The answer of the poll that has it.
    #[prost(bytes = "bytes", tag = "13")]
    Task(Bytes),
    #[prost(message, tag = "14")]
    Lines(LinesRecord),
}

/// What a home knows of lines of its queues, in the order in which it was asked.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LinesRecord {
    #[prost(message, repeated, tag = "1")]
    pub(crate) lines: Vec<LineRecord>,
}

/// What a home knows of a line.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct LineRecord {
    /// Workers have polled it lately.
    #[prost(bool, tag = "1")]
    pub(crate) is_polled: bool,
    /// Tasks wait in it, or come; of a queue itself only.
    #[prost(bool, tag = "2")]
    pub(crate) has_work: bool,
}

/// See [`Delivery`]: what may come of a message to a run.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeliveryRecord {
    #[prost(enumeration = "DeliveryKind", tag = "1")]
    kind: i32,
    #[prost(int64, tag = "2")]
    initiated_event_id: i64,
    #[prost(string, tag = "3")]
    run_id: String,
    #[prost(int32, tag = "4")]
    cause: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum DeliveryKind {
    Unknown = 0,
    Ok = 1,
    ChildStarted = 2,
    ChildNotStarted = 3,
    Done = 4,
    Failed = 5,
}

/// See [`CallbackResult`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CallbackRecord {
    #[prost(enumeration = "CallbackKind", tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    text: String,
    #[prost(int64, tag = "3")]
    at: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum CallbackKind {
    Unknown = 0,
    Delivered = 1,
    Refused = 2,
    Undelivered = 3,
    Blocked = 4,
}

/// See [`OperationResult`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OperationRecord {
    #[prost(enumeration = "OperationKind", tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    result: Option<Payload>,
    #[prost(message, repeated, tag = "3")]
    links: Vec<Link>,
    #[prost(string, tag = "4")]
    token: String,
    #[prost(message, optional, tag = "5")]
    failure: Option<Failure>,
    /// `TimeoutType`, or nanoseconds.
    #[prost(int64, tag = "6")]
    number: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum OperationKind {
    Unknown = 0,
    Completed = 1,
    Started = 2,
    Failed = 3,
    Canceled = 4,
    Refused = 5,
    Undelivered = 6,
    NoTime = 7,
    Blocked = 8,
}

/// See [`Ended`].
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EndedRecord {
    #[prost(string, tag = "1")]
    workflow_id: String,
    #[prost(string, tag = "2")]
    run_id: String,
    #[prost(int32, tag = "3")]
    status: i32,
    #[prost(message, optional, tag = "4")]
    result: Option<Payloads>,
    #[prost(message, optional, tag = "5")]
    failure: Option<Failure>,
}

impl DeliveryRecord {
    /// `None`: nothing that comes of a message to a run.
    pub(crate) fn new(delivery: Delivery) -> Option<Self> {
        let of = |kind: DeliveryKind, initiated_event_id, run_id, cause| Self { kind: kind as i32, initiated_event_id, run_id, cause };
        Some(match delivery {
            Delivery::Ok => of(DeliveryKind::Ok, 0, String::new(), 0),
            Delivery::ChildStarted { initiated_event_id, run_id } => of(DeliveryKind::ChildStarted, initiated_event_id, run_id, 0),
            Delivery::ChildNotStarted { initiated_event_id, cause } => {
                of(DeliveryKind::ChildNotStarted, initiated_event_id, String::new(), cause)
            }
            Delivery::Done { initiated_event_id } => of(DeliveryKind::Done, initiated_event_id, String::new(), 0),
            Delivery::Failed { initiated_event_id, cause } => of(DeliveryKind::Failed, initiated_event_id, String::new(), cause),
            Delivery::Callback { .. } | Delivery::Operation { .. } | Delivery::OperationCancel { .. } | Delivery::ChildLeft { .. } => {
                return None;
            }
        })
    }

    /// `None`: damaged, or of a newer version.
    pub(crate) fn delivery(self) -> Option<Delivery> {
        let Self { kind, initiated_event_id, run_id, cause } = self;
        Some(match DeliveryKind::try_from(kind).ok()? {
            DeliveryKind::Unknown => return None,
            DeliveryKind::Ok => Delivery::Ok,
            DeliveryKind::ChildStarted => Delivery::ChildStarted { initiated_event_id, run_id },
            DeliveryKind::ChildNotStarted => Delivery::ChildNotStarted { initiated_event_id, cause },
            DeliveryKind::Done => Delivery::Done { initiated_event_id },
            DeliveryKind::Failed => Delivery::Failed { initiated_event_id, cause },
        })
    }
}

impl DeliveryRecord {
    /// It was refused for good by what is known of namespaces and versions.
    pub(crate) fn is_refused(&self) -> bool {
        match DeliveryKind::try_from(self.kind) {
            Ok(DeliveryKind::ChildNotStarted) => self.cause != ChildCause::WorkflowAlreadyExists as i32,
            Ok(DeliveryKind::Failed) => self.cause == SignalCause::NamespaceNotFound as i32,
            _ => false,
        }
    }
}

impl CallbackRecord {
    /// It will never be taken.
    pub(crate) fn is_refused(&self) -> bool {
        self.kind == CallbackKind::Refused as i32
    }

    pub(crate) fn new(result: CallbackResult) -> Self {
        let of = |kind: CallbackKind, text: String, at: i64| Self { kind: kind as i32, text, at };
        match result {
            CallbackResult::Delivered => of(CallbackKind::Delivered, String::new(), 0),
            CallbackResult::Refused(text) => of(CallbackKind::Refused, text, 0),
            CallbackResult::Undelivered(text) => of(CallbackKind::Undelivered, text, 0),
            CallbackResult::Blocked(at) => of(CallbackKind::Blocked, String::new(), at.0),
        }
    }

    /// `None`: damaged, or of a newer version.
    pub(crate) fn result(self) -> Option<CallbackResult> {
        Some(match CallbackKind::try_from(self.kind).ok()? {
            CallbackKind::Unknown => return None,
            CallbackKind::Delivered => CallbackResult::Delivered,
            CallbackKind::Refused => CallbackResult::Refused(self.text),
            CallbackKind::Undelivered => CallbackResult::Undelivered(self.text),
            CallbackKind::Blocked => CallbackResult::Blocked(Timestamp(self.at)),
        })
    }
}

impl OperationRecord {
    /// It will never be taken.
    pub(crate) fn is_refused(&self) -> bool {
        self.kind == OperationKind::Refused as i32
    }

    pub(crate) fn new(result: OperationResult) -> Box<Self> {
        let of = |kind: OperationKind| Self { kind: kind as i32, ..Self::default() };
        let failed = |kind: OperationKind, failure: Box<Failure>| Self { failure: Some(*failure), ..of(kind) };
        Box::new(match result {
            OperationResult::Completed { result, links } => Self { result, links, ..of(OperationKind::Completed) },
            OperationResult::Started { token, links } => Self { token, links, ..of(OperationKind::Started) },
            OperationResult::Failed(failure) => failed(OperationKind::Failed, failure),
            OperationResult::Canceled(failure) => failed(OperationKind::Canceled, failure),
            OperationResult::Refused(failure) => failed(OperationKind::Refused, failure),
            OperationResult::Undelivered(failure) => failed(OperationKind::Undelivered, failure),
            OperationResult::NoTime(kind) => Self { number: i64::from(kind), ..of(OperationKind::NoTime) },
            OperationResult::Blocked(at) => Self { number: at.0, ..of(OperationKind::Blocked) },
        })
    }

    /// `None`: damaged, or of a newer version.
    pub(crate) fn result(self) -> Option<OperationResult> {
        let Self { kind, result, links, token, failure, number } = self;
        let failure = || failure.map(Box::new);
        Some(match OperationKind::try_from(kind).ok()? {
            OperationKind::Unknown => return None,
            OperationKind::Completed => OperationResult::Completed { result, links },
            OperationKind::Started => OperationResult::Started { token, links },
            OperationKind::Failed => OperationResult::Failed(failure()?),
            OperationKind::Canceled => OperationResult::Canceled(failure()?),
            OperationKind::Refused => OperationResult::Refused(failure()?),
            OperationKind::Undelivered => OperationResult::Undelivered(failure()?),
            OperationKind::NoTime => OperationResult::NoTime(i32::try_from(number).ok()?),
            OperationKind::Blocked => OperationResult::Blocked(Timestamp(number)),
        })
    }
}

impl EndedRecord {
    pub(crate) fn new(ended: Ended) -> Box<Self> {
        let Ended { workflow_id, run_id, status, result, failure } = ended;
        Box::new(Self { workflow_id, run_id, status, result, failure })
    }

    pub(crate) fn ended(self) -> Ended {
        let Self { workflow_id, run_id, status, result, failure } = self;
        Ended { workflow_id, run_id, status, result, failure }
    }
}
