//! The full result of one applied input, as data: what to write, whom to tell, what to answer.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::{
    common::{Callback, Header, Link, Payload, Payloads, TimeSkippingStatePropagation},
    failure::Failure,
    history::{HistoryEvent, NexusOperationScheduledEventAttributes},
    query::WorkflowQuery,
    update::Outcome,
    workflowservice::{
        PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse, RespondWorkflowTaskCompletedResponse,
        SignalWorkflowExecutionResponse, StartActivityExecutionResponse, StartNexusOperationExecutionResponse,
        StartWorkflowExecutionRequest, StartWorkflowExecutionResponse, UpdateWorkflowExecutionOptionsResponse,
    },
};

use crate::{
    Execution, NamespaceId, Refusal, Routing, RunId, RunKey, SlotId, Timestamp, Version, chain_end::AskedChild, flow::FlowChange,
    state::callback, versioning::inherit::Inherited,
};

/// The full result of one applied input. Replies and effects leave only after the commit that holds
/// the run's rows (`Execution::take_rows`) and everything listed here.
#[derive(Debug)]
pub struct Transition {
    /// The answer. An `Err` here is an answer too: the run *has* changed (for example a workflow task
    /// failed because of its commands, and the worker is told so).
    pub reply: Result<Reply, Refusal>,
    /// Encoded events to append to history, in order.
    pub history: Vec<HistoryBatch>,
    /// New content of the current-run pointer of this workflow id.
    pub current: Option<CurrentRecord>,
    /// Offers to task queues to write down and hand to matching.
    pub offers: Vec<Offer>,
    /// Offers that are no longer wanted: their rows go.
    pub offers_gone: Vec<OfferKey>,
    /// Messages to other runs, to write down and deliver.
    pub outbox: Vec<OutboxEntry>,
    /// Messages that have been dealt with: their rows go.
    pub outbox_gone: Vec<u64>,
    /// Change of the run's one deadline row.
    pub deadline: Option<DeadlineChange>,
    /// Answers to buffered queries, by the engine's id.
    pub query_answers: Vec<(u64, Result<Option<Payloads>, Refusal>)>,
    /// Buffered queries that no task will carry: dispatch them directly.
    pub queries_released: Vec<(u64, QueryRoute)>,
    /// The offer of a speculative task: for matching only, never a row.
    pub volatile_offer: Option<Box<Offer>>,
    /// What became of updates, the last news of each; for those who wait.
    pub update_news: Vec<(String, UpdateNews)>,
    /// The next run of the chain, created in the same commit.
    pub successor: Option<Box<(Execution, Transition)>>,
    /// The run's retention has passed: delete its rows, history, deadline, and the current pointer if it
    /// still names this run.
    pub delete_run: bool,
    /// True when something must be committed. False: the reply may leave at once (but not before
    /// earlier transitions of this run are durable).
    pub durable: bool,
    /// Events were appended or the run closed: wake the watchers of history.
    pub history_changed: bool,
    /// What lists show of the run has changed: [`Execution::record`] belongs into the commit too.
    pub listed: bool,
    /// Change of the run's row in table Flow.
    pub flow: Option<FlowChange>,
}

impl Default for Transition {
    fn default() -> Self {
        Self::answer(Ok(Reply::Done))
    }
}

impl Transition {
    /// A transition that only answers.
    pub fn answer(reply: Result<Reply, Refusal>) -> Self {
        Self {
            reply,
            history: Vec::new(),
            current: None,
            offers: Vec::new(),
            offers_gone: Vec::new(),
            outbox: Vec::new(),
            outbox_gone: Vec::new(),
            deadline: None,
            query_answers: Vec::new(),
            queries_released: Vec::new(),
            volatile_offer: None,
            update_news: Vec::new(),
            successor: None,
            delete_run: false,
            durable: false,
            history_changed: false,
            listed: false,
            flow: None,
        }
    }
}

/// Events committed together.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryBatch {
    /// Id of the first event.
    pub first_event_id: i64,
    /// Id of the last event.
    pub last_event_id: i64,
    /// The events as frames of `History.events` ([`sempre_api::next_frame`]).
    pub frames: Bytes,
}

/// Change of the run's one deadline row: `Execution` wants [`crate::Input::Wake`] at that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadlineChange {
    /// The row to delete.
    pub old: Option<Timestamp>,
    /// The row to put.
    pub new: Option<Timestamp>,
}

/// The current-run pointer of a workflow id.
#[derive(Clone, PartialEq, Message)]
pub struct CurrentRecord {
    /// Run id, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub run_id: Bytes,
    /// `WorkflowExecutionStatus`.
    #[prost(int32, tag = "2")]
    pub status: i32,
    /// Request id of the start that made the run.
    #[prost(string, tag = "3")]
    pub start_request_id: String,
    /// First run of its chain, textual.
    #[prost(string, tag = "4")]
    pub first_run_id: String,
    /// Start time, ns.
    #[prost(int64, tag = "5")]
    pub start_time: i64,
    /// Request ids of starts that were answered with this run and attached to it (the newest of them).
    #[prost(string, repeated, tag = "50")]
    pub attached_request_ids: Vec<String>,
    /// Request id of the start that began the chain, when another run began it; empty for a chain's first run.
    #[prost(string, tag = "70")]
    pub chain_request_id: String,
}

impl CurrentRecord {
    /// The run it names; the nil id when damaged.
    pub fn run(&self) -> RunId {
        RunId(crate::ids::Uuid(self.run_id.as_ref().try_into().unwrap_or_default()))
    }

    /// An earlier run of its chain was made by the start with this request id.
    pub fn chain_was_begun_by(&self, request_id: &str) -> bool {
        !self.chain_request_id.is_empty() && self.chain_request_id == request_id
    }
}

/// What a task queue carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum QueueKind {
    /// Workflow tasks.
    Workflow,
    /// Activity tasks.
    Activity,
    /// Requests to Nexus handlers: handed to pollers, never offered.
    Nexus,
}

/// A task queue: namespace, name, kind, and whether it is one worker's sticky queue.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QueueName {
    /// Namespace.
    pub namespace: NamespaceId,
    /// Name as the worker polls it.
    pub name: String,
    /// What it carries.
    pub kind: QueueKind,
    /// One worker's own queue (TASK_QUEUE_KIND_STICKY).
    pub sticky: bool,
    /// The line of the queue whose tasks only workers of this version may have. `None`: the queue itself.
    pub version: Option<Arc<Version>>,
}

/// Bits of [`QueueName::hash64`] that all lines of a queue have in common.
pub const SHARED_HASH_BITS: u32 = 8;

/// The home of the queue, and of all its lines, that has this hash.
pub fn home_of(hash: u64) -> SlotId {
    SlotId((hash & ((1 << SHARED_HASH_BITS) - 1)) as u16)
}

impl QueueName {
    /// Fixed 64-bit hash: the queue's place in keys on disk.
    pub fn hash64(&self) -> u64 {
        let mut hash = crate::ids::Fnv::default();
        hash.write(&self.namespace.0.0);
        hash.write(self.name.as_bytes());
        let kind = match self.kind {
            QueueKind::Workflow => 0,
            QueueKind::Activity => 1,
            QueueKind::Nexus => 2,
        };
        hash.write(&[kind, self.sticky as u8]);
        let plain = hash.finish();
        let Some(version) = &self.version else { return plain };
        for part in [&version.deployment, &version.build_id] {
            hash.write(part.as_bytes());
        }
        let shared = (1 << SHARED_HASH_BITS) - 1;
        hash.finish() & !shared | plain & shared
    }

    /// The slot whose shard is the queue's home: where its polls meet its tasks, when several nodes have the shards. All its lines
    /// have the same.
    pub fn home(&self) -> SlotId {
        home_of(self.hash64())
    }

    /// The queue itself, without a version.
    pub fn plain(&self) -> Self {
        Self { version: None, ..self.clone() }
    }

    /// Its line for a version.
    pub fn line(&self, version: Option<&Arc<Version>>) -> Self {
        Self { version: version.cloned(), ..self.clone() }
    }
}

/// How a task shares its queue with others of its priority (spec 05 §5), as its run and it say.
#[derive(Clone, PartialEq, Debug)]
pub struct Fairness {
    /// Whose turn it takes; empty: that of all tasks which name nobody.
    pub key: String,
    /// How many turns the key has for one of a key of weight 1; not above 0: 1.
    pub weight: f32,
}

/// Gives tasks that name a fairness key their ranks: what is ranked lower is handed out first.
pub trait Ranks {
    /// The rank of one more task of `priority` on `queue`; 1 or more.
    fn rank(&self, queue: &QueueName, priority: u8, fairness: &Fairness) -> Timestamp;
}

/// One rank for all: they stand in the order of their runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRanks;

impl Ranks for NoRanks {
    fn rank(&self, _: &QueueName, _: u8, _: &Fairness) -> Timestamp {
        Timestamp(1)
    }
}

/// Set in the priority of an [`OfferKey`] whose `time` is a rank.
pub const RANKED: u8 = 8;

/// The place of an offer: queue, priority, age, and the task it stands for. Orders a queue's line, and that of its ranked
/// offers, which is another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct OfferKey {
    /// [`QueueName::hash64`].
    pub queue: u64,
    /// 1 (first) to 5 (last); with [`RANKED`] added, the offer has a rank.
    pub priority: u8,
    /// When it was offered, or its rank.
    pub time: Timestamp,
    /// The run.
    pub run: RunId,
    /// The Scheduled event.
    pub scheduled_event_id: i64,
}

impl OfferKey {
    /// 1 (first) to 5 (last).
    pub fn level(&self) -> u8 {
        self.priority & !RANKED
    }

    /// It stands in the line of the ranked.
    pub fn is_ranked(&self) -> bool {
        self.priority & RANKED != 0
    }
}

/// A task that waits for a poller.
#[derive(Clone, PartialEq, Debug)]
pub struct Offer {
    /// Its place.
    pub key: OfferKey,
    /// The queue.
    pub queue: QueueName,
    /// The normal queue's name when `queue` is sticky: where it goes if the worker is gone.
    pub normal_name: String,
    /// The run.
    pub run: RunKey,
    /// Tells it from earlier offers of the same task; an obsolete one is dropped silently.
    pub stamp: u32,
    /// It has no row: the task is speculative.
    pub volatile: bool,
    /// How it finds its worker on the normal queue; `None` for runs without a version.
    pub routing: Option<Arc<Routing>>,
    /// How it shares the queue; `None`: neither a key nor a weight is named.
    pub fairness: Option<Box<Fairness>>,
    /// When it was offered.
    pub offered: Timestamp,
}

/// A message this run owes another, durable until [`crate::Input::Delivered`] names it.
#[derive(Clone, PartialEq, Debug)]
pub struct OutboxEntry {
    /// Number within the run, from 1.
    pub id: u64,
    /// What to deliver.
    pub message: OutboxMessage,
}

/// What one run tells another.
#[derive(Clone, PartialEq, Debug)]
pub enum OutboxMessage {
    /// Start a child (spec 04 §4.2 step 2). Answer: [`Delivery::ChildStarted`] or [`Delivery::ChildNotStarted`].
    StartChild(Box<StartChild>),
    /// Signal a run (spec 04 §3). Answer: [`Delivery::Done`] or [`Delivery::Failed`].
    Signal(Box<ExternalSignal>),
    /// Cancel a run (spec 04 §3). Answer: as for a signal.
    Cancel(Box<ExternalCancel>),
    /// Let a child's first task go (spec 04 §4.2 step 4). Answer: [`Delivery::Ok`].
    ReleaseChild {
        /// The child's workflow id (same namespace).
        workflow_id: String,
        /// Its run id.
        run_id: String,
    },
    /// Tell the parent that this chain closed (spec 04 §4.3). Answer: [`Delivery::Ok`], also when the parent is gone.
    ChildClosed {
        /// The parent.
        parent: RunKey,
        /// The news.
        news: Box<crate::input::ChildClosed>,
    },
    /// Ask a child that a run before this one has started whether its chain has ended, and be told so as by
    /// [`OutboxMessage::ChildClosed`] ([`crate::chain_end`]). Answer: [`Delivery::Ok`].
    AskChild(Box<AskedChild>),
    /// Terminate a child by close policy (spec 01 §14). Answer: [`Delivery::Ok`], also when it is gone.
    TerminateChild {
        /// The child's workflow id.
        workflow_id: String,
        /// First run of the child's chain.
        first_run_id: String,
        /// The run the child knows as its parent, if a reset has put the sender in its place.
        parent: Option<RunId>,
    },
    /// Cancel a child by close policy. Answer: as for terminate.
    CancelChild {
        /// The child's workflow id.
        workflow_id: String,
        /// First run of the child's chain.
        first_run_id: String,
        /// As for [`OutboxMessage::TerminateChild`].
        parent: Option<RunId>,
    },
    /// Tell somebody outside that the chain has ended (spec 01 §11). Answer: [`Delivery::Callback`].
    Callback(Box<CallbackCall>),
    /// Ask an endpoint to start a Nexus operation (spec 08 §5.4). Answer: [`Delivery::Operation`].
    StartOperation(Box<OperationCall>),
    /// Ask it to cancel one. Answer: [`Delivery::OperationCancel`].
    CancelOperation(Box<OperationCall>),
}

/// One attempt to tell a completion callback how the chain ended. Also the stored form.
#[derive(Clone, PartialEq, Message)]
pub struct CallbackCall {
    /// The callback's number in its run.
    #[prost(int64, tag = "1")]
    pub number: i64,
    /// Attempts made before this one.
    #[prost(int32, tag = "2")]
    pub attempt: i32,
    /// Whom to tell.
    #[prost(message, optional, tag = "3")]
    pub callback: Option<Callback>,
    /// What. The outcome of a completed update is read from its event ([`CallbackCall::outcome_event_id`]).
    #[prost(message, optional, tag = "4")]
    pub outcome: Option<callback::Outcome>,
    /// The event that registered the callback.
    #[prost(message, optional, tag = "5")]
    pub link: Option<Link>,
    /// When the run started, or the callback of an update was registered, ns.
    #[prost(int64, tag = "6")]
    pub start_time: i64,
    /// The UpdateCompleted event that has what to tell, if `outcome` has not; 0 = none.
    #[prost(int64, tag = "7")]
    pub outcome_event_id: i64,
    /// `WorkflowExecutionStatus` of the run that ended the chain.
    #[prost(int32, tag = "8")]
    pub status: i32,
}

/// One request to an endpoint, to start a Nexus operation or to cancel it. Also the stored form.
#[derive(Clone, PartialEq, Message)]
pub struct OperationCall {
    /// The operation's Scheduled event.
    #[prost(int64, tag = "1")]
    pub scheduled_event_id: i64,
    /// Requests of the kind that ended before this one.
    #[prost(int32, tag = "2")]
    pub attempt: i32,
    /// Attributes of the Scheduled event; without the input in a request to cancel.
    #[prost(message, optional, boxed, tag = "3")]
    pub attributes: Option<Box<NexusOperationScheduledEventAttributes>>,
    /// Time of that event, ns.
    #[prost(int64, tag = "4")]
    pub scheduled_time: i64,
    /// When the operation was started, ns; 0 = it was not.
    #[prost(int64, tag = "5")]
    pub started_time: i64,
    /// The handler's name for the operation; empty: it was not started.
    #[prost(string, tag = "6")]
    pub token: String,
    /// The Scheduled event.
    #[prost(message, optional, tag = "7")]
    pub link: Option<Link>,
}

impl OperationCall {
    /// Attributes of the Scheduled event.
    pub fn scheduled(&self) -> NexusOperationScheduledEventAttributes {
        self.attributes.as_deref().cloned().unwrap_or_default()
    }
}

/// What became of a request to start a Nexus operation.
#[derive(Clone, Debug, PartialEq)]
pub enum OperationResult {
    /// It is done.
    Completed {
        /// Its result.
        result: Option<Payload>,
        /// What the handler points to.
        links: Vec<Link>,
    },
    /// It goes on; its end will be told by the callback.
    Started {
        /// The handler's name for it.
        token: String,
        /// What the handler points to.
        links: Vec<Link>,
    },
    /// The operation has failed: why.
    Failed(Box<Failure>),
    /// The operation was cancelled: why.
    Canceled(Box<Failure>),
    /// The handler, or what is between, will never take it: why.
    Refused(Box<Failure>),
    /// It may be taken later: why not now.
    Undelivered(Box<Failure>),
    /// Too little time is left to ask: `TimeoutType`.
    NoTime(i32),
    /// The endpoint was not asked, because it seems to be down. It may be at this time.
    Blocked(Timestamp),
}

/// What became of a request to cancel a Nexus operation.
#[derive(Clone, Debug, PartialEq)]
pub enum OperationCancelResult {
    /// The handler has it. How the operation ends is another matter.
    Taken,
    /// It will never be taken: why.
    Refused(Box<Failure>),
    /// It may be taken later: why not now.
    Undelivered(Box<Failure>),
    /// The endpoint was not asked, because it seems to be down. It may be at this time.
    Blocked(Timestamp),
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallbackResult {
    /// It was taken.
    Delivered,
    /// It will never be taken: why.
    Refused(String),
    /// It may be taken later: why not now.
    Undelivered(String),
    /// Nobody was asked, since the other side seems to be down: not before this time.
    Blocked(Timestamp),
}

/// A child to start.
#[derive(Clone, PartialEq, Debug)]
pub struct StartChild {
    /// The parent's Initiated event.
    pub initiated_event_id: i64,
    /// The start as a client would make it (conflict policy FAIL, request id `<run>:<event>:0`).
    pub request: StartWorkflowExecutionRequest,
    /// The parent.
    pub parent: RunKey,
    /// The parent's namespace name.
    pub parent_namespace: String,
    /// Top of the parent's tree.
    pub root: sempre_api::v1::common::WorkflowExecution,
    /// An open run of the child's id gives way if this run of the parent's workflow is its parent: a reset has undone
    /// its start (spec 01 §12.3).
    pub replaces_child_of: Option<RunId>,
    /// What it begins with of the parent's version.
    pub inherited: Inherited,
    /// How far the parent's time was ahead when it asked.
    pub time: Option<TimeSkippingStatePropagation>,
}

/// A signal to another run.
#[derive(Clone, PartialEq, Debug)]
pub struct ExternalSignal {
    /// The sender's Initiated event.
    pub initiated_event_id: i64,
    /// Target workflow id.
    pub workflow_id: String,
    /// Target run id or empty.
    pub run_id: String,
    /// Only children of the sender.
    pub child_only: bool,
    /// The run that a child started before a reset knows as its parent, in the sender's place.
    pub parent: Option<RunId>,
    /// Idempotency key made by the sender's side.
    pub request_id: String,
    /// Signal name.
    pub name: String,
    /// Payloads.
    pub input: Option<Payloads>,
    /// Headers.
    pub header: Option<Header>,
}

/// A cancel request to another run.
#[derive(Clone, PartialEq, Debug)]
pub struct ExternalCancel {
    /// The sender's Initiated event.
    pub initiated_event_id: i64,
    /// Target workflow id.
    pub workflow_id: String,
    /// Target run id or empty.
    pub run_id: String,
    /// Only children of the sender.
    pub child_only: bool,
    /// As for [`ExternalSignal::parent`].
    pub parent: Option<RunId>,
    /// Idempotency key.
    pub request_id: String,
    /// Why.
    pub reason: String,
}

/// What became of an outbox message. `initiated_event_id` is the message's.
#[derive(Clone, PartialEq, Debug)]
pub enum Delivery {
    /// Nothing more to do (close policies, releases, news to a parent).
    Ok,
    /// A completion callback was tried.
    Callback {
        /// The callback's number.
        number: i64,
        /// [`CallbackCall::attempt`].
        attempt: i32,
        /// What became of it.
        result: CallbackResult,
    },
    /// An endpoint was asked to start a Nexus operation.
    Operation {
        /// The operation's Scheduled event.
        scheduled_event_id: i64,
        /// [`OperationCall::attempt`].
        attempt: i32,
        /// What became of it.
        result: OperationResult,
    },
    /// An endpoint was asked to cancel a Nexus operation.
    OperationCancel {
        /// The operation's Scheduled event.
        scheduled_event_id: i64,
        /// [`OperationCall::attempt`].
        attempt: i32,
        /// What became of it.
        result: OperationCancelResult,
    },
    /// The child runs.
    ChildStarted {
        /// The Initiated event.
        initiated_event_id: i64,
        /// Its run id, textual (the first of its chain).
        run_id: String,
    },
    /// The child runs, and the run that a reset has made does not let it go ([`crate::ChildHeir::Closed`]).
    ChildLeft {
        /// The Initiated event.
        initiated_event_id: i64,
        /// Its run id, textual (the first of its chain).
        run_id: String,
    },
    /// The child was refused.
    ChildNotStarted {
        /// The Initiated event.
        initiated_event_id: i64,
        /// `StartChildWorkflowExecutionFailedCause`.
        cause: i32,
    },
    /// The signal or cancel request reached its target.
    Done {
        /// The Initiated event.
        initiated_event_id: i64,
    },
    /// The signal or cancel request was refused.
    Failed {
        /// The Initiated event.
        initiated_event_id: i64,
        /// `SignalExternal…FailedCause` / `CancelExternal…FailedCause` (same numbers).
        cause: i32,
    },
}

/// Which events go with a task: `from..next` of stored history, then the virtual ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryWindow {
    /// First event to send.
    pub from: i64,
    /// First event *not* to take from stored history.
    pub next: i64,
    /// Events of a transient task, which are not stored; they follow the stored ones on the last page.
    pub virtual_events: Vec<HistoryEvent>,
}

/// Where a query that needs no workflow task goes.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryRoute {
    /// The sticky queue and how long to wait there, if a worker holds the run.
    pub sticky: Option<(QueueName, crate::Span)>,
    /// The normal queue.
    pub normal: QueueName,
    /// The query.
    pub query: WorkflowQuery,
    /// Poll response without history and token: run, type, queue; `previous_started_event_id` set.
    pub task: Box<PollWorkflowTaskQueueResponse>,
    /// Full history for a worker that does not hold the run.
    pub window: HistoryWindow,
}

/// How far an update is.
#[derive(Clone, Debug, PartialEq)]
pub enum UpdateStatus {
    /// Admitted: the next workflow task brings it to a worker.
    Admitted,
    /// Accepted by the workflow.
    Accepted,
    /// Completed: the outcome is in this UpdateCompleted event.
    Completed {
        /// The event.
        event_id: i64,
    },
    /// It has an outcome that no event has: the run closed before the update was completed.
    Failed(Box<Outcome>),
}

/// What became of an update.
#[derive(Clone, Debug, PartialEq)]
pub enum UpdateNews {
    /// The workflow has accepted it.
    Accepted,
    /// It is completed.
    Completed(Box<Outcome>),
    /// It is rejected: history knows nothing of it.
    Rejected(Box<Outcome>),
    /// It will not be processed, for this reason.
    Aborted(Refusal),
    /// The run goes on as another before it has accepted the update: send it to that one, or tell the caller so.
    Continued(Refusal),
    /// It was forgotten before it was accepted: send it again.
    Lost,
}

/// Answers, by kind of input.
#[derive(Debug)]
pub enum Reply {
    /// Nothing to say.
    Done,
    /// The run has been reset: this run has taken its place, tell that one.
    ResetTo(RunId),
    /// A start or signal-with-start.
    Started {
        /// The answer; the eager task (if any) still lacks its history.
        response: Box<StartWorkflowExecutionResponse>,
        /// History of the eager task.
        eager: Option<HistoryWindow>,
    },
    /// An activity that belongs to no workflow was started, or found.
    ActivityStarted(Box<StartActivityExecutionResponse>),
    /// A Nexus operation that belongs to no workflow was started, or is known.
    OperationStarted(Box<StartNexusOperationExecutionResponse>),
    /// A signal.
    Signaled(SignalWorkflowExecutionResponse),
    /// A workflow task was started for the poller.
    WorkflowTask {
        /// All but history (and backlog hint).
        response: Box<PollWorkflowTaskQueueResponse>,
        /// Its history.
        window: HistoryWindow,
    },
    /// A workflow task was completed.
    WorkflowTaskCompleted {
        /// The answer; the inline task (if any) still lacks its history.
        response: Box<RespondWorkflowTaskCompletedResponse>,
        /// History of the inline task.
        inline: Option<HistoryWindow>,
    },
    /// An activity attempt was started for the poller.
    ActivityTask(Box<PollActivityTaskQueueResponse>),
    /// A heartbeat.
    Heartbeat {
        /// The workflow wants it cancelled.
        cancel_requested: bool,
        /// An operator paused it.
        paused: bool,
        /// An operator reset it.
        reset: bool,
    },
    /// The options that now hold for the activity (the last one of several).
    ActivityOptions(Box<sempre_api::v1::activity::ActivityOptions>),
    /// Options were updated: as they are now, and the run's time.
    Options(Box<UpdateWorkflowExecutionOptionsResponse>),
    /// A failed activity was recorded; problems with what was sent.
    ActivityFailed {
        /// `RespondActivityTaskFailedResponse.failures`.
        failures: Vec<Failure>,
    },
    /// The task is not wanted any more (closed, started by another, obsolete stamp): drop the offer, poll on. To a child's
    /// start: the parent does not know that run, it has to be ended before the message is gone.
    Obsolete,
    /// How far an update is.
    Update(UpdateStatus),
    /// An update-with-start.
    UpdateWithStart {
        /// The answer to the start.
        started: Box<StartWorkflowExecutionResponse>,
        /// How far the update is.
        update: UpdateStatus,
    },
    /// The query is rejected by its condition: `WorkflowExecutionStatus`.
    QueryRejected {
        /// The run's status.
        status: i32,
    },
    /// The query waits for the next workflow task; the answer comes as `query_answers` or `queries_released`.
    QueryBuffered,
    /// The query goes to a worker directly.
    QueryDirect(Box<QueryRoute>),
}
