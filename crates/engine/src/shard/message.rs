//! What a shard is asked, and what it answers.

use std::sync::Arc;

use sempre_api::v1::{
    common::TimeSkippingFastForwardInfo,
    enums::NexusOperationWaitStage as Stage,
    history::HistoryEvent,
    workflowservice::{DescribeWorkflowExecutionResponse, StartActivityExecutionRequest, StartNexusOperationExecutionRequest},
};
use sempre_core::{
    ChildHeir, ChildStart, Input, Refusal, Reply, RunId, RunKey, StartInput, Timestamp, WorkflowKey,
    chain_end::ChainLink,
    input::{Poller, TerminateRequest, UpdateRequest},
    nexus::alone::{Described as DescribedOperation, Shows as OperationShows},
    reset::ResetRequest,
    standalone::{Described, Shows},
    state::{AttemptLog, EarlierReset},
    time_skipping::FastForwardStatus,
    transition::{Delivery, HistoryBatch, HistoryWindow, OutboxEntry, UpdateNews},
};
use sempre_store::StoreError;
use tokio::sync::oneshot;

use super::{
    claim::Claim,
    reset::{ResetOrder, ResetPlan},
    taken::TakenOffer,
};
use crate::history::slice::Page;

/// Where an answer goes. A closed one means that nobody waits any more.
pub(crate) type ReplyTo = oneshot::Sender<Result<Answer, Refusal>>;

/// Where news of an update goes. A dropped one means: the news is lost, ask again.
pub(crate) type UpdateWatcher = oneshot::Sender<UpdateNews>;

/// A message to a shard's inbox.
pub(crate) enum Message {
    /// About one workflow.
    Run(Box<RunMessage>),
    /// An outbox row found in the store: deliver it, if that is not under way.
    Redeliver(RunKey, OutboxEntry),
    /// A read of the shard's own outbox rows has ended, in the life of the shard in which it began.
    Reread(Arc<()>),
    /// The index of runs has news for the shard: rows that it need not keep.
    Taken,
    /// Tell the shard's epoch once every commit sent so far is durable; 0 of a shard that is not here. Dropped: one of them has
    /// failed, or the shard has ended.
    Settled(oneshot::Sender<u64>),
    /// Take the shard up, and say so when it serves.
    TakeUp(oneshot::Sender<Result<(), StoreError>>),
    /// Finish what has been taken on, forget the shard, and say so when that is done.
    GiveUp(oneshot::Sender<()>),
    /// Finish what is in flight, then end.
    Stop,
}

/// A question or order for one run.
pub(crate) struct RunMessage {
    pub(crate) workflow: WorkflowKey,
    /// `None`: the current run.
    pub(crate) run: Option<RunId>,
    pub(crate) ask: Ask,
    /// `None` for the shard's own messages.
    pub(crate) reply: Option<ReplyTo>,
}

/// What is asked.
pub(crate) enum Ask {
    /// Apply an input.
    Apply(Input),
    /// Apply an input about an update, and tell the watcher what becomes of it unless the answer says all.
    Update(Input, UpdateWatcher),
    /// Update the current run, or one that is started for it.
    UpdateWithStart(Box<(StartInput, UpdateRequest)>, UpdateWatcher),
    /// Start a run of the workflow.
    Start(Box<StartInput>),
    /// Start an activity that belongs to no workflow.
    StartActivity(Box<StartActivityExecutionRequest>),
    /// Start a Nexus operation that belongs to no workflow.
    StartOperation(Box<StartNexusOperationExecutionRequest>),
    /// A poller wants the task of an offer.
    StartOffer(Box<TakenOffer>, Poller),
    /// Look at history.
    View(ViewRequest),
    /// Describe the run.
    Describe,
    /// Describe an activity that belongs to no workflow. The sender is told of its next change, unless there is already what
    /// the watch is for.
    DescribeActivity(Shows, Option<(ActivityWatch, oneshot::Sender<()>)>),
    /// As [`Ask::DescribeActivity`], a Nexus operation.
    DescribeOperation(OperationShows, Option<(OperationWatch, oneshot::Sender<()>)>),
    /// Look at the fast-forward of that name. The sender is told of the run's next change while it is under way.
    FastForward(String, oneshot::Sender<()>),
    /// Look at the runs that a reset is about.
    PlanReset(Box<ResetRequest>),
    /// Write copied events of a run that does not exist yet.
    Stage(RunId, Vec<HistoryBatch>),
    /// Make the run of a reset.
    Reset(Box<ResetOrder>),
    /// The attempts of its pending activities.
    Attempts,
    /// Terminate the run if it is open, then delete it.
    Delete,
    /// Delete the rows of a run whose last commit is durable.
    Purge,
    /// A message from the run's outbox has been dealt with.
    Delivered(u64, Delivery),
    /// A deadline has passed.
    Wake(Timestamp),
    /// The deadline of what the run has in memory only has passed.
    WakeMemory,
    /// What it knows of the start of the child that it asked for by this event.
    ChildStart(i64),
    /// Whether it lets this run of the child go that this event asked for, in the place of a run that a reset has ended.
    ChildHeir(i64, String),
    /// Its part in its chain.
    ChainPart,
    /// Whether the workflow's current chain was begun by this request.
    WasStartedBy(String),
    /// Whether a signal with this request id has come to the run.
    SawSignal(String),
    /// Its turn has come by the flow rules, if this is the newest permit.
    Release(u64),
    /// A newer start has its place by the flow rules, if this is the newest permit.
    Replace(u64, Box<TerminateRequest>),
}

/// How a run's fast-forward stands.
#[derive(Debug)]
pub(crate) struct FastForward {
    pub(crate) status: FastForwardStatus,
    pub(crate) info: Option<TimeSkippingFastForwardInfo>,
    /// The run that goes on in the run's place.
    pub(crate) successor: Option<RunId>,
}

/// What somebody waits for who watches an activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ActivityWatch {
    /// Its end.
    Closed,
    /// Any change of it since this version.
    Since(u64),
}

impl ActivityWatch {
    /// There it is.
    pub(crate) fn is_over(self, described: &Described) -> bool {
        match self {
            Self::Closed => !described.is_open,
            Self::Since(version) => described.version != version,
        }
    }
}

/// What somebody waits for who watches a Nexus operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperationWatch {
    /// That its handler has started it, or its end.
    Started,
    /// Its end.
    Closed,
    /// Any change of it since this version.
    Since(u64),
}

impl OperationWatch {
    /// There it is.
    pub(crate) fn is_over(self, described: &DescribedOperation) -> bool {
        match self {
            Self::Started => described.stage != Stage::Unspecified,
            Self::Closed => described.stage == Stage::Closed,
            Self::Since(version) => described.version != version,
        }
    }
}

/// A look at history.
#[derive(Debug, Default)]
pub(crate) struct ViewRequest {
    /// First event wanted.
    pub(crate) from: i64,
    /// Events wanted at most.
    pub(crate) events_max: usize,
    /// Tell this sender when the run changes, unless it has the events or (with `until_closed`) is closed already.
    pub(crate) watch: Option<oneshot::Sender<()>>,
    /// Watch for the close, not for the next event.
    pub(crate) until_closed: bool,
}

/// History as it stands.
#[derive(Debug)]
pub(crate) struct View {
    /// Last stored event + 1.
    pub(crate) next_event_id: i64,
    pub(crate) open: bool,
    pub(crate) virtual_events: Vec<HistoryEvent>,
    /// The page asked for, when it is in memory.
    pub(crate) page: Option<Page>,
    /// What the run remembers of resets, if it was in any.
    pub(crate) resets: Option<Box<Resets>>,
}

/// What a run remembers of resets.
#[derive(Debug)]
pub(crate) struct Resets {
    /// Request id of the reset that made the run; empty: none did.
    pub(crate) made_by: String,
    /// The last event that it was made with.
    pub(crate) kept_event_id: i64,
    /// Request id of the last reset that was made from the run; empty: none was.
    pub(crate) left_by: String,
    /// Those that made runs before this one.
    pub(crate) earlier: Vec<EarlierReset>,
}

/// A shard's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The run it is about.
    pub(crate) run: RunId,
    pub(crate) body: Body,
}

/// Answers, by kind of question.
#[derive(Debug)]
pub(crate) enum Body {
    Reply(Reply, Option<Page>),
    /// The task of an offer.
    Task(Box<Started>),
    View(View),
    Description(Box<DescribeWorkflowExecutionResponse>),
    FastForward(Box<FastForward>),
    Activity(Box<Described>),
    Operation(Box<DescribedOperation>),
    ResetPlan(ResetPlan),
    /// The order was not carried out: the runs have gone on since they were read.
    ResetBehind(Box<ResetOrder>),
    Attempts(Vec<AttemptLog>),
    ChildStart(ChildStart),
    ChildHeir(ChildHeir),
    ChainPart(Box<ChainPart>),
    /// It has, or else the run in whose place the run goes on.
    SawSignal(bool, Option<RunId>),
}

/// A run's part in its chain.
#[derive(Debug)]
pub(crate) struct ChainPart {
    /// Names the chain.
    pub(crate) first_run_id: String,
    /// The run's last event + 1.
    pub(crate) next_event_id: i64,
    pub(crate) link: ChainLink,
}

/// A task that was started for a poll: the reply and as much of its history as was in memory.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) run: RunKey,
    pub(crate) reply: Reply,
    pub(crate) page: Option<Page>,
    /// Its way to the worker.
    pub(crate) claim: Claim,
}

/// The history that goes with a reply.
pub(crate) fn window(reply: &Reply) -> Option<&HistoryWindow> {
    match reply {
        Reply::WorkflowTask { window, .. } => Some(window),
        Reply::Started { eager, .. } => eager.as_ref(),
        Reply::WorkflowTaskCompleted { inline, .. } => inline.as_ref(),
        _ => None,
    }
}
