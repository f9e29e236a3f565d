//! The bytes between nodes: what is asked.
//!
//! Fields are added and never given another meaning. A question that a node cannot read is answered so, and asked again.

use bytes::Bytes;
use prost::{Message, Oneof};
use sempre_api::v1::{common::Callback, nexus, workflowservice::StartWorkflowExecutionRequest};
use sempre_core::{
    NamespaceId, RunId, RunKey, WorkflowKey,
    ids::Uuid,
    keys::{OutboxRecord, RunRecord},
    transition::{OutboxEntry, OutboxMessage},
};

pub(crate) use super::answer::Answer;
use crate::{
    batch::OrderRecord,
    homes::record::{OfferMessage, PollerRecord, QueueRecord},
    shard::delivery::Tried,
};

/// What is asked.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestRecord {
    /// `None`: of a newer version.
    #[prost(oneof = "Request", tags = "1, 2, 3, 10, 11, 12, 13, 14, 20, 21, 30, 40, 41, 42, 43, 44, 45, 50")]
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
    /// Offers to task queues, told to the home of these: [`Answer::Done`].
    #[prost(message, tag = "40")]
    Offers(Offers),
    /// Start the task of an offer for a poll: [`Answer::Task`]; [`Answer::Done`]: it is not wanted any more.
    #[prost(message, boxed, tag = "41")]
    Claim(Box<Claim>),
    /// A task that was started for a poll did not reach it: [`Answer::Done`].
    #[prost(message, tag = "42")]
    Lost(Lost),
    /// Ask a worker a query. What it says goes elsewhere; [`Answer::Done`]: there is no worker, or time is over.
    #[prost(message, boxed, tag = "43")]
    Query(Box<Query>),
    /// As [`Request::Query`], a request to a Nexus handler.
    #[prost(message, boxed, tag = "44")]
    Nexus(Box<Nexus>),
    /// What the homes of these lines of task queues know of them: [`Answer::Lines`].
    #[prost(message, tag = "45")]
    Lines(Lines),
    /// A version's workers poll this line of a queue for the first time: [`Answer::Done`] when it is on record.
    #[prost(message, tag = "50")]
    Worker(QueueRecord),
}

/// A query.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Query {
    #[prost(message, optional, tag = "1")]
    pub(crate) queue: Option<QueueRecord>,
    #[prost(string, tag = "2")]
    pub(crate) workflow_id: String,
    /// What the poll is answered that gets it.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) answer: Bytes,
    /// Nanoseconds that the asker waits.
    #[prost(int64, tag = "4")]
    pub(crate) left: i64,
}

/// A request to a Nexus handler.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Nexus {
    #[prost(message, optional, tag = "1")]
    pub(crate) queue: Option<QueueRecord>,
    #[prost(string, tag = "2")]
    pub(crate) ramped_by: String,
    #[prost(message, optional, tag = "3")]
    pub(crate) request: Option<nexus::Request>,
    /// The asker's.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) token: Bytes,
    /// Nanoseconds that the asker waits.
    #[prost(int64, tag = "5")]
    pub(crate) left: i64,
    /// Nanoseconds that the operation has, if the request does not say it.
    #[prost(int64, optional, tag = "6")]
    pub(crate) operation_left: Option<i64>,
}

/// Lines of queues of one home.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Lines {
    #[prost(message, repeated, tag = "1")]
    pub(crate) lines: Vec<QueueRecord>,
}

/// Offers to queues of one home.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Offers {
    #[prost(message, repeated, tag = "1")]
    pub(crate) offers: Vec<OfferMessage>,
    /// Rows that have gone, as their keys.
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub(crate) gone: Vec<Bytes>,
}

/// An offer, and a poll that is to have its task.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Claim {
    #[prost(message, optional, tag = "1")]
    pub(crate) offer: Option<OfferMessage>,
    #[prost(message, optional, tag = "2")]
    pub(crate) poller: Option<PollerRecord>,
}

/// A task that did not reach its poll.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Lost {
    #[prost(message, optional, tag = "1")]
    pub(crate) run: Option<Letterhead>,
    #[prost(bool, tag = "2")]
    pub(crate) is_activity: bool,
    #[prost(int64, tag = "3")]
    pub(crate) scheduled_event_id: i64,
    /// The poll's.
    #[prost(string, tag = "4")]
    pub(crate) request_id: String,
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
    #[prost(message, optional, tag = "1")]
    sender: Option<Letterhead>,
    /// As it is stored: by itself, as what it holds may be nested as deep as a message may.
    #[prost(bytes = "bytes", tag = "2")]
    row: Bytes,
    /// It may have come before.
    #[prost(bool, tag = "3")]
    is_repeated: bool,
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

pub(crate) fn run_bytes(run: RunId) -> Bytes {
    Bytes::copy_from_slice(&run.0.0)
}

pub(crate) fn run_of(bytes: &[u8]) -> Option<RunId> {
    Some(RunId(Uuid(bytes.try_into().ok()?)))
}

pub(crate) fn workflow_of(record: Option<&RunRecord>) -> Option<WorkflowKey> {
    record?.workflow()
}

impl Request {
    /// The namespace of the run that it is about. `None`: of none, or it is found out by its name.
    pub(crate) fn namespace(&self) -> Option<NamespaceId> {
        let workflow = match self {
            Self::Letter(letter) => letter.sender.as_ref()?.workflow.as_ref(),
            Self::StartedBy(asked) | Self::Find(asked) => asked.workflow.as_ref(),
            Self::Abandon(asked) => asked.workflow.as_ref(),
            Self::Start(start) => start.workflow.as_ref(),
            Self::Stop(stop) => stop.workflow.as_ref(),
            Self::Chain(chain) | Self::End(chain) => chain.workflow.as_ref(),
            Self::ChainOf(asked) => asked.target.as_ref(),
            Self::Delete(run) => run.workflow.as_ref(),
            Self::Claim(_)
            | Self::Offers(_)
            | Self::Lost(_)
            | Self::Query(_)
            | Self::Nexus(_)
            | Self::Lines(_)
            | Self::Worker(_)
            | Self::Act(_) => None,
        };
        Some(workflow?.workflow()?.namespace)
    }
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
        Box::new(Self { sender: Some(Letterhead::new(sender)), row: row_of(sender, message), is_repeated: false })
    }

    pub(crate) fn tried(mut self: Box<Self>, tried: Tried) -> Box<Self> {
        self.is_repeated = tried == Tried::Perhaps;
        self
    }

    /// `None`: damaged, or of a newer version.
    pub(crate) fn open(self) -> Option<(RunKey, OutboxMessage, Tried)> {
        let tried = if self.is_repeated { Tried::Perhaps } else { Tried::Never };
        Some((self.sender?.key()?, message_of(self.row)?, tried))
    }
}

/// A message as it is stored.
pub(crate) fn row_of(sender: &RunKey, message: OutboxMessage) -> Bytes {
    OutboxRecord::new(sender, &OutboxEntry { id: 0, message }).encode_to_vec().into()
}

/// `None`: damaged, or of a newer version.
pub(crate) fn message_of(row: Bytes) -> Option<OutboxMessage> {
    OutboxRecord::decode(row).ok()?.message()
}
