//! Everything a run can be asked to apply.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    string::String,
    sync::Arc,
    vec::Vec,
};

use sempre_api::v1::{
    common::{Header, Link, Payloads, WorkflowExecution},
    failure::Failure,
    history::HistoryEvent,
    query::WorkflowQuery,
    update,
    workflowservice::{RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskFailedRequest, SignalWorkflowExecutionRequest},
};

pub use crate::activity::{ActivitySelector, OptionsUpdate, ResetActivity, UnpauseActivity};
pub use crate::nexus::alone::{CancelOperationRun, TerminateOperationRun};
pub use crate::standalone::{CancelActivityRun, TerminateActivityRun};
use crate::{
    Deployments, IdSource, Limits, NamespaceId, RunId, RunKey, Span, TaskToken, Timestamp, Version, cron::CronTable, flow,
    nexus::EndpointTable, options::OptionsRequest, rules::WorkflowRule, state::callback, transition::Delivery, transition::Ranks,
    visibility::AttributeType,
};

/// What an input is applied with: the time and everything that is not the run's own.
pub struct Context<'a> {
    /// Now. Never before an earlier `now` of the same run.
    pub now: Timestamp,
    /// Where new ids come from.
    pub ids: &'a mut dyn IdSource,
    /// Bounds.
    pub limits: &'a Limits,
    /// Cron arithmetic.
    pub cron: &'a dyn CronTable,
    /// Nexus endpoints.
    pub endpoints: &'a dyn EndpointTable,
    /// Places of tasks that name a fairness key.
    pub ranks: &'a dyn Ranks,
    /// Lets starts in that flow rules are about.
    pub gate: &'a dyn flow::Gate,
    /// The run's namespace.
    pub namespace: &'a NamespaceView,
}

/// What core needs to know of a namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceView {
    /// Its id.
    pub id: NamespaceId,
    /// Its name.
    pub name: String,
    /// How long a closed run is kept.
    pub retention: Span,
    /// Its own search attributes, by the field that histories and state have them under.
    pub search_attributes: BTreeMap<String, AttributeType>,
    /// Its worker deployments.
    pub deployments: Arc<Deployments>,
    /// Its flow rules.
    pub flow: Arc<flow::FlowRules>,
    /// Its workflow rules, by id.
    pub rules: Arc<[WorkflowRule]>,
    /// What clients call them, where that differs: for texts.
    pub search_attribute_names: BTreeMap<String, String>,
    /// Checksums of binaries whose workflow tasks are not taken (spec 02 §2.2 step 4, 05 §12).
    pub bad_binaries: BTreeSet<String>,
}

impl NamespaceView {
    /// What clients call a search attribute.
    pub fn search_attribute_name<'a>(&'a self, field: &'a str) -> &'a str {
        self.search_attribute_names.get(field).map_or(field, String::as_str)
    }
}

/// Who polled: the part of a poll request that a started task remembers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Poller {
    /// The worker's identity.
    pub identity: String,
    /// Fresh id of this poll; a repeated start with the same id gets the same answer.
    pub request_id: String,
    /// `worker_version_capabilities` as `worker_version` of events.
    pub worker_version: Option<sempre_api::v1::common::WorkerVersionStamp>,
    /// The worker's version; `None`: it takes unversioned work.
    pub version: Option<Arc<Version>>,
    /// The SDK it says it is; kept for activities without workflow only.
    pub sdk: Sdk,
}

/// What a client says it is (`client-name` and `client-version` of its calls); empty if it does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sdk {
    /// Such as `temporal-go`.
    pub name: String,
    /// Such as `1.30.0`.
    pub version: String,
}

/// Which activity attempt a worker's call means.
#[derive(Clone, Debug, PartialEq)]
pub enum ActivityTarget {
    /// By task token: run, scheduled event and attempt must match.
    Token(TaskToken),
    /// By id: whatever attempt is pending.
    Id(String),
}

/// How a Nexus operation ended, as its handler's side tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationCompletion {
    /// The operation's Scheduled event.
    pub scheduled_event_id: i64,
    /// Request id of that event.
    pub request_id: String,
    /// The handler's name for it; may be empty.
    pub token: String,
    /// When it was started, if that is known.
    pub start_time: Option<Timestamp>,
    /// What the handler's side points to.
    pub links: Vec<Link>,
    /// How.
    pub outcome: callback::Outcome,
}

/// Another run as the origin of a signal or cancel request.
#[derive(Clone, Debug, PartialEq)]
pub struct ExternalSource {
    /// The run that asks.
    pub run: RunKey,
    /// Its `…Initiated` event.
    pub initiated_event_id: i64,
    /// Only if that run is this run's parent.
    pub child_only: bool,
    /// The parent in whose place a reset has put that run.
    pub reset_parent: Option<RunId>,
}

/// A request to cancel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CancelRequest {
    /// Why.
    pub reason: String,
    /// Who.
    pub identity: String,
    /// Idempotency key.
    pub request_id: String,
    /// When set, the run must belong to this chain.
    pub first_run_id: String,
    /// Links of the request.
    pub links: Vec<Link>,
    /// Set when a workflow asks.
    pub source: Option<ExternalSource>,
    /// Set when a parent's close policy asks: the run must be a child of this one.
    pub parent: Option<RunKey>,
    /// The parent in whose place a reset has put `parent`.
    pub reset_parent: Option<RunId>,
}

/// A request to terminate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TerminateRequest {
    /// Why.
    pub reason: String,
    /// Details for the event.
    pub details: Option<Payloads>,
    /// Who.
    pub identity: String,
    /// When set, the run must belong to this chain.
    pub first_run_id: String,
    /// Links of the request.
    pub links: Vec<Link>,
    /// Set when a parent's close policy asks: the run must be a child of this one.
    pub parent: Option<RunKey>,
    /// The parent in whose place a reset has put `parent`.
    pub reset_parent: Option<RunId>,
}

/// A signal from a client or from another workflow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SignalRequest {
    /// Its name.
    pub name: String,
    /// Its payloads.
    pub input: Option<Payloads>,
    /// Headers.
    pub header: Option<Header>,
    /// Who.
    pub identity: String,
    /// Idempotency key; empty disables deduplication.
    pub request_id: String,
    /// Links of the request.
    pub links: Vec<Link>,
    /// Set when a workflow signals.
    pub source: Option<ExternalSource>,
    /// Signal-with-start: schedules a task even while the first one is delayed (spec 01 §3.5).
    pub with_start: bool,
}

impl From<SignalWorkflowExecutionRequest> for SignalRequest {
    fn from(r: SignalWorkflowExecutionRequest) -> Self {
        Self {
            name: r.signal_name,
            input: r.input,
            header: r.header,
            identity: r.identity,
            request_id: r.request_id,
            links: r.links,
            source: None,
            with_start: false,
        }
    }
}

/// A request to pause or unpause, a run or activities of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PauseRequest {
    /// Who.
    pub identity: String,
    /// Why.
    pub reason: String,
    /// Idempotency key; empty disables deduplication.
    pub request_id: String,
}

/// How a child ended, told to its parent.
#[derive(Clone, Debug, PartialEq)]
pub struct ChildClosed {
    /// The parent's Initiated event.
    pub initiated_event_id: i64,
    /// The run that closed.
    pub child: WorkflowExecution,
    /// First run of the child's chain.
    pub first_run_id: String,
    /// Its workflow type.
    pub workflow_type: String,
    /// Its close event.
    pub close_event: Box<HistoryEvent>,
}

/// An update for a run. The same id means the same update for the whole life of the run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateRequest {
    /// The request as the worker gets it; its id, input and name are set ([`crate::update::validate`]).
    pub request: Box<update::Request>,
    /// When set, the run must belong to this chain.
    pub first_run_id: String,
}

/// Everything a run can be asked to apply.
#[derive(Debug)]
pub enum Input {
    /// Spec 04 §2.
    Signal(Box<SignalRequest>),
    /// Spec 01 §6.2.
    RequestCancel(Box<CancelRequest>),
    /// Spec 01 §6.1.
    Terminate(Box<TerminateRequest>),
    /// A poller takes the pending workflow task (spec 02 §1.2). `stamp` is the offer's.
    StartWorkflowTask {
        /// The offer's scheduled event id.
        scheduled_event_id: i64,
        /// The offer's stamp.
        stamp: u32,
        /// The offer was on the sticky queue and so was the poll.
        sticky: bool,
        /// Who.
        poller: Poller,
    },
    /// The poll that took the workflow task has gone without it.
    WorkflowTaskLost {
        /// That poll's request id.
        request_id: String,
    },
    /// Spec 02 §2.
    CompleteWorkflowTask(TaskToken, Box<RespondWorkflowTaskCompletedRequest>),
    /// Spec 02 §4.
    FailWorkflowTask(TaskToken, Box<RespondWorkflowTaskFailedRequest>),
    /// A poller takes an activity attempt (spec 03 §4).
    StartActivityTask {
        /// The offer's scheduled event id.
        scheduled_event_id: i64,
        /// The offer's stamp.
        stamp: u32,
        /// Who.
        poller: Poller,
    },
    /// The poll that took an activity attempt has gone without it.
    ActivityTaskLost {
        /// Which.
        scheduled_event_id: i64,
        /// That poll's request id.
        request_id: String,
    },
    /// Spec 03 §5.
    CompleteActivity {
        /// Which.
        target: ActivityTarget,
        /// Result.
        result: Option<Payloads>,
        /// Who.
        identity: String,
    },
    /// Spec 03 §5–6.
    FailActivity {
        /// Which.
        target: ActivityTarget,
        /// Why.
        failure: Option<Box<Failure>>,
        /// Recorded first, as a heartbeat.
        last_heartbeat_details: Option<Payloads>,
        /// Who.
        identity: String,
    },
    /// Spec 03 §5, §8.
    CancelActivity {
        /// Which.
        target: ActivityTarget,
        /// Details.
        details: Option<Payloads>,
        /// Who.
        identity: String,
    },
    /// Spec 03 §7.
    Heartbeat {
        /// Which.
        target: ActivityTarget,
        /// Details; replace the old ones.
        details: Option<Payloads>,
        /// Who.
        identity: String,
    },
    /// PauseWorkflowExecution (spec 01 §15).
    Pause(Box<PauseRequest>),
    /// UnpauseWorkflowExecution (spec 01 §15).
    Unpause(Box<PauseRequest>),
    /// PauseActivity (spec 03 §9).
    PauseActivity(ActivitySelector, Box<PauseRequest>),
    /// UnpauseActivity (spec 03 §9).
    UnpauseActivity(ActivitySelector, Box<UnpauseActivity>),
    /// ResetActivity (spec 03 §9).
    ResetActivity(ActivitySelector, Box<ResetActivity>),
    /// RunActivityNow, a call of ours.
    RunActivityNow(ActivitySelector),
    /// UpdateActivityOptions (spec 03 §9).
    UpdateActivityOptions(ActivitySelector, Box<OptionsUpdate>),
    /// RequestCancelActivityExecution of an activity without workflow (spec 03 §12.2).
    CancelActivityRun(Box<CancelActivityRun>),
    /// TerminateActivityExecution of one.
    TerminateActivityRun(Box<TerminateActivityRun>),
    /// Asks a Nexus operation that belongs to no workflow to end.
    CancelOperationRun(Box<CancelOperationRun>),
    /// Closes a Nexus operation that belongs to no workflow.
    TerminateOperationRun(Box<TerminateOperationRun>),
    /// ResetStickyTaskQueue, or the engine found that the sticky worker is gone: forget it.
    ResetSticky,
    /// A query (spec 06 of 02). `id` is the engine's; the answer comes back under it.
    Query {
        /// Engine's id of this query.
        id: u64,
        /// The query.
        query: Box<WorkflowQuery>,
        /// `query_reject_condition`.
        reject_condition: i32,
        /// When the asker gives up.
        until: Timestamp,
    },
    /// The asker of a buffered query has gone.
    DropQuery {
        /// Engine's id of the query.
        id: u64,
    },
    /// An update (spec 02 §7.1–7.2). What becomes of it comes as `update_news`.
    Update(Box<UpdateRequest>),
    /// How far an update is; NOT_FOUND when the run knows none of that id.
    PollUpdate {
        /// Its id.
        update_id: String,
    },
    /// The armed deadline has passed (or may have): do whatever is due.
    Wake,
    /// The child's parent has recorded the start: schedule the first task (spec 04 §4.2 step 4).
    ReleaseFirstTask,
    /// Its turn has come by the flow rules that held it.
    FlowRelease,
    /// A child has closed (spec 04 §4.3).
    ChildClosed(Box<ChildClosed>),
    /// A Nexus operation of the run has ended (spec 08 §5.4 step 6).
    CompleteOperation(Box<OperationCompletion>),
    /// Spec 01 §13.
    UpdateOptions(Box<OptionsRequest>),
    /// What became of a message in this run's outbox.
    Delivered {
        /// The message.
        outbox_id: u64,
        /// The outcome.
        delivery: Delivery,
    },
}
