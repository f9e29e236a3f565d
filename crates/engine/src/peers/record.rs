//! The bytes between nodes: what is asked, and what is answered.
//!
//! Fields are added and never given another meaning. A question that a node cannot read is answered so, and asked again.

use bytes::Bytes;
use prost::{Message, Oneof};
use sempre_api::v1::{
    common::{Callback, Link, Payload, Payloads},
    failure::Failure,
    workflowservice::StartWorkflowExecutionRequest,
};
use sempre_core::{
    RunId, RunKey, Timestamp, WorkflowKey,
    ids::Uuid,
    keys::{OutboxRecord, RunRecord},
    schedule::Ended,
    transition::{CallbackResult, Delivery, OperationResult, OutboxEntry, OutboxMessage},
};

use super::refusal::RefusalRecord;
use crate::batch::OrderRecord;

/// What is asked.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestRecord {
    /// `None`: of a newer version.
    #[prost(oneof = "Request", tags = "1, 2, 3, 10, 11, 12, 13, 14, 20, 21, 30")]
    pub(crate) request: Option<Request>,
}

/// Questions. Which answers they have is said beside.
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum Request {
    /// A message of a run's outbox: [`Answer::Delivery`]; of one that asks for a child, [`Answer::News`], or [`Answer::Done`] while that
    /// goes on; of a callback, [`Answer::Callback`]; of an operation of the server itself, [`Answer::Operation`].
    #[prost(message, boxed, tag = "1")]
    Letter(Box<Letter>),
    /// Whether the workflow's current chain was begun by a request: [`Answer::Run`], else [`Answer::Done`].
    #[prost(message, tag = "2")]
    StartedBy(StartedBy),
    /// End a child that nobody waits for: [`Answer::Done`].
    #[prost(message, tag = "3")]
    Abandon(Abandon),
    /// A schedule's start: [`Answer::Text`], the first run of its chain.
    #[prost(message, boxed, tag = "10")]
    Start(Box<Start>),
    /// The first run of the chain that a schedule's start has begun: [`Answer::Text`], else [`Answer::Done`].
    #[prost(message, tag = "11")]
    Find(StartedBy),
    /// A schedule stops a run: [`Answer::Done`].
    #[prost(message, tag = "12")]
    Stop(Stop),
    /// How a chain stands: [`Answer::Status`]; [`Answer::Done`]: it is gone.
    #[prost(message, tag = "13")]
    Chain(Chain),
    /// How it has ended, with the status that it was said to have: [`Answer::Ended`]; [`Answer::Done`]: it is gone.
    #[prost(message, tag = "14")]
    End(Chain),
    /// A batch job acts on a run: [`Answer::Acted`].
    #[prost(message, boxed, tag = "20")]
    Act(Box<Act>),
    /// The chain that a target of a batch job means: [`Answer::Text`].
    #[prost(message, tag = "21")]
    ChainOf(ChainOf),
    /// Delete a run: [`Answer::Done`].
    #[prost(message, tag = "30")]
    Delete(Letterhead),
}

/// A run.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Letterhead {
    #[prost(message, optional, tag = "1")]
    workflow: Option<RunRecord>,
    #[prost(bytes = "bytes", tag = "2")]
    run: Bytes,
}

/// A message of an outbox.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Letter {
    /// As it is stored, with the sender's workflow.
    #[prost(message, optional, tag = "1")]
    outbox: Option<OutboxRecord>,
    /// The sender's run.
    #[prost(bytes = "bytes", tag = "2")]
    run: Bytes,
}

/// A workflow, and a request id.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StartedBy {
    #[prost(message, optional, tag = "1")]
    pub(crate) workflow: Option<RunRecord>,
    #[prost(string, tag = "2")]
    pub(crate) request_id: String,
}

/// A child, and the run that was its parent.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Abandon {
    #[prost(message, optional, tag = "1")]
    pub(crate) parent: Option<Letterhead>,
    #[prost(message, optional, tag = "2")]
    pub(crate) workflow: Option<RunRecord>,
    #[prost(string, tag = "3")]
    pub(crate) run_id: String,
}

/// A schedule's start.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Start {
    #[prost(message, optional, tag = "1")]
    pub(crate) workflow: Option<RunRecord>,
    #[prost(message, optional, tag = "2")]
    pub(crate) request: Option<StartWorkflowExecutionRequest>,
    #[prost(message, optional, tag = "3")]
    pub(crate) watcher: Option<Callback>,
}

/// A schedule's stop of the current run.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Stop {
    #[prost(message, optional, tag = "1")]
    pub(crate) workflow: Option<RunRecord>,
    /// If the run is of this chain.
    #[prost(string, tag = "2")]
    pub(crate) first_run_id: String,
    #[prost(string, tag = "3")]
    pub(crate) identity: String,
    /// It is cancelled under this request id; empty: terminated.
    #[prost(string, tag = "4")]
    pub(crate) cancel_request_id: String,
}

/// A chain of runs.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Chain {
    #[prost(message, optional, tag = "1")]
    pub(crate) workflow: Option<RunRecord>,
    #[prost(string, tag = "2")]
    pub(crate) first_run_id: String,
    /// `WorkflowExecutionStatus`, where its end is asked for.
    #[prost(int32, tag = "3")]
    pub(crate) status: i32,
}

/// A target of a batch job.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TargetRecord {
    #[prost(string, tag = "1")]
    pub(crate) workflow_id: String,
    #[prost(string, tag = "2")]
    pub(crate) run_id: String,
    #[prost(string, tag = "3")]
    pub(crate) chain: String,
}

/// What a batch job does to one target.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Act {
    /// The namespace's name.
    #[prost(string, tag = "1")]
    pub(crate) namespace: String,
    #[prost(string, tag = "2")]
    pub(crate) token: String,
    #[prost(string, tag = "3")]
    pub(crate) reason: String,
    /// Without its targets.
    #[prost(message, optional, tag = "4")]
    pub(crate) order: Option<OrderRecord>,
    #[prost(message, optional, tag = "5")]
    pub(crate) target: Option<TargetRecord>,
}

/// A target that names no run.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChainOf {
    /// The target's namespace, and its id as the job has it.
    #[prost(message, optional, tag = "1")]
    pub(crate) target: Option<RunRecord>,
    /// It is an activity that belongs to no workflow.
    #[prost(bool, tag = "2")]
    pub(crate) is_activity: bool,
}

/// What is answered.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AnswerRecord {
    /// `None`: of a newer version.
    #[prost(oneof = "Answer", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12")]
    pub(crate) answer: Option<Answer>,
}

/// See [`Request`].
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
    /// What a parent is told of its child.
    #[prost(message, boxed, tag = "5")]
    News(Box<OutboxRecord>),
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

pub(crate) fn run_bytes(run: RunId) -> Bytes {
    Bytes::copy_from_slice(&run.0.0)
}

pub(crate) fn run_of(bytes: &[u8]) -> Option<RunId> {
    Some(RunId(Uuid(bytes.try_into().ok()?)))
}

pub(crate) fn workflow_of(record: Option<&RunRecord>) -> Option<WorkflowKey> {
    record?.workflow()
}

impl Letterhead {
    pub(crate) fn new(run: &RunKey) -> Self {
        Self { workflow: Some(RunRecord::new(&run.workflow)), run: run_bytes(run.run) }
    }

    /// `None`: damaged.
    pub(crate) fn key(&self) -> Option<RunKey> {
        Some(RunKey { workflow: workflow_of(self.workflow.as_ref())?, run: run_of(&self.run)? })
    }
}

impl Letter {
    pub(crate) fn new(sender: &RunKey, message: OutboxMessage) -> Box<Self> {
        let outbox = OutboxRecord::new(sender, &OutboxEntry { id: 0, message });
        Box::new(Self { outbox: Some(outbox), run: run_bytes(sender.run) })
    }

    /// `None`: damaged, or of a newer version.
    pub(crate) fn open(self) -> Option<(RunKey, OutboxMessage)> {
        let outbox = self.outbox?;
        let workflow = workflow_of(outbox.sender.as_ref())?;
        Some((RunKey { workflow, run: run_of(&self.run)? }, outbox.message()?))
    }
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
            Delivery::Callback { .. } | Delivery::Operation { .. } | Delivery::OperationCancel { .. } => return None,
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

impl CallbackRecord {
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
