//! The half of the state that history determines.

use alloc::{collections::BTreeMap, string::String, sync::Arc, vec::Vec};

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::{
    common::{Callback, Link, Memo, Payload, Priority, SearchAttributes, WorkflowExecution},
    enums::{ContinueAsNewInitiator, EventType, WorkflowExecutionStatus, WorkflowTaskFailedCause},
    history::{
        ActivityTaskScheduledEventAttributes, HistoryEvent, WorkflowExecutionOptionsUpdatedEventAttributes,
        WorkflowExecutionStartedEventAttributes, history_event::Attributes,
    },
    sdk::UserMetadata,
    update,
};

use super::{
    callback::{CallbackInfo, Outcome},
    operation::{CancelAnswer, OperationInfo},
    reset_points::ResetPoints,
    rows::{Dirty, Kind, OUTCOME},
    time_skipping::TimeSkipping,
    updates::Updates,
};
use crate::{
    Span, Timestamp,
    limits::ATTACHED_REQUEST_IDS_MAX,
    planted::{self, Bug},
    versioning::Versioning,
    visibility::health,
};

/// What history determines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Derived {
    /// From event 1; never changes.
    pub start: Arc<StartInfo>,
    /// The small, often changing part.
    pub main: Main,
    /// Memo and search attributes as they stand now.
    pub attributes: Arc<Fields>,
    /// Pending activities by scheduled event id.
    pub activities: BTreeMap<i64, Arc<ActivityInfo>>,
    /// Scheduled event id by activity id, of the pending ones.
    pub activity_ids: BTreeMap<String, i64>,
    /// Pending timers by started event id.
    pub timers: BTreeMap<i64, TimerInfo>,
    /// Started event id by timer id, of the pending ones.
    pub timer_ids: BTreeMap<String, i64>,
    /// Pending children by initiated event id.
    pub children: BTreeMap<i64, Arc<ChildInfo>>,
    /// Pending signals and cancels to other workflows by initiated event id.
    pub externals: BTreeMap<i64, Arc<ExternalInfo>>,
    /// Pending Nexus operations by scheduled event id.
    pub operations: BTreeMap<i64, Arc<OperationInfo>>,
    /// Request ids that later calls attached or linked signals brought, by the event that says so; the newest of them.
    pub request_ids: BTreeMap<i64, Arc<AttachedId>>,
    /// Updates that history knows of, completed ones too.
    pub updates: Updates,
    /// Where each build of the workers first completed a task.
    pub reset_points: ResetPoints,
    /// Completion callbacks by number, from 1 in the order of their registration.
    pub callbacks: BTreeMap<i64, Arc<CallbackInfo>>,
    /// How the chain ended, if it did with this run and somebody is to be told.
    pub outcome: Option<Arc<Outcome>>,
}

/// From event 1.
#[derive(Clone, PartialEq, Message)]
pub struct StartInfo {
    /// The event's attributes. Input, header, memo, search attributes, failure and last result are kept
    /// only for runs with a retry policy or a cron schedule, which need them to start their successor.
    #[prost(message, optional, boxed, tag = "1")]
    pub attributes: Option<alloc::boxed::Box<WorkflowExecutionStartedEventAttributes>>,
    /// The event's time, ns.
    #[prost(int64, tag = "2")]
    pub start_time: i64,
    /// `user_metadata` of the start.
    #[prost(message, optional, tag = "3")]
    pub user_metadata: Option<UserMetadata>,
    /// Links of the start: those of the next run of the chain too.
    #[prost(message, repeated, tag = "50")]
    pub links: Vec<Link>,
}

/// The small, often changing part.
#[derive(Clone, PartialEq, Message)]
pub struct Main {
    /// Id the next event gets.
    #[prost(int64, tag = "1")]
    pub next_event_id: i64,
    /// `WorkflowExecutionStatus`.
    #[prost(int32, tag = "2")]
    pub status: i32,
    /// Scheduled event of the pending workflow task that is in history; 0 = none.
    #[prost(int64, tag = "3")]
    pub task_scheduled_event_id: i64,
    /// Started event of that task; 0 = not started.
    #[prost(int64, tag = "4")]
    pub task_started_event_id: i64,
    /// Started event of the last completed workflow task; 0 = none.
    #[prost(int64, tag = "5")]
    pub previous_started_event_id: i64,
    /// A cancel request is in history.
    #[prost(bool, tag = "6")]
    pub cancel_requested: bool,
    /// Signals in history.
    #[prost(int64, tag = "7")]
    pub signal_count: i64,
    /// Bytes of all events.
    #[prost(int64, tag = "8")]
    pub history_size: i64,
    /// Time of the close event, ns; 0 = open.
    #[prost(int64, tag = "9")]
    pub close_time: i64,
    /// `new_execution_run_id` of the close event.
    #[prost(string, tag = "10")]
    pub successor_run_id: String,
    /// Completed workflow tasks.
    #[prost(int64, tag = "11")]
    pub completed_tasks: i64,
    /// A workflow task was ever scheduled.
    #[prost(bool, tag = "12")]
    pub had_task: bool,
    /// When the run was made by a reset, ns; 0 = it was not. Its timeouts count from here, not from event 1.
    #[prost(int64, tag = "31")]
    pub reset_time: i64,
    /// The priority that replaced that of event 1 (options update); see [`Derived::priority`].
    #[prost(message, optional, boxed, tag = "32")]
    pub priority: Option<alloc::boxed::Box<Priority>>,
    /// The pause in history that is not over (spec 01 §15). Stays when the run closes.
    #[prost(message, optional, boxed, tag = "40")]
    pub pause: Option<alloc::boxed::Box<PauseInfo>>,
    /// Versions of workers; `None` for runs that have nothing to do with them.
    #[prost(message, optional, boxed, tag = "60")]
    pub versioning: Option<alloc::boxed::Box<Versioning>>,
    /// The run's own clock; `None` for runs that go by the wall clock.
    #[prost(message, optional, boxed, tag = "90")]
    pub time_skipping: Option<alloc::boxed::Box<TimeSkipping>>,
    /// What the failure says that the run ended with, cut; empty for runs that did not fail.
    #[prost(string, tag = "100")]
    pub close_failure: String,
}

impl Main {
    /// Folders of before this version do not say what a run failed of: leaves it out where they left it out. For a check
    /// of what is stored.
    pub(crate) fn as_written_before(&mut self, stored: &Self) {
        if stored.close_failure.is_empty() {
            self.close_failure = String::new();
        }
    }
}

/// Who paused a run, and why.
#[derive(Clone, PartialEq, Message)]
pub struct PauseInfo {
    /// When, ns.
    #[prost(int64, tag = "1")]
    pub time: i64,
    /// Who.
    #[prost(string, tag = "2")]
    pub identity: String,
    /// Why.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// Idempotency key of the request.
    #[prost(string, tag = "4")]
    pub request_id: String,
}

/// Memo and search attributes.
#[derive(Clone, PartialEq, Message)]
pub struct Fields {
    /// Memo fields.
    #[prost(btree_map = "string, message", tag = "1")]
    pub memo: BTreeMap<String, Payload>,
    /// Search attributes.
    #[prost(btree_map = "string, message", tag = "2")]
    pub search: BTreeMap<String, Payload>,
}

/// A pending activity as history has it.
#[derive(Clone, PartialEq, Message)]
pub struct ActivityInfo {
    /// Its Scheduled event.
    #[prost(int64, tag = "1")]
    pub scheduled_event_id: i64,
    /// Time of that event, ns.
    #[prost(int64, tag = "2")]
    pub scheduled_time: i64,
    /// Attributes of that event: what the worker is given.
    #[prost(message, optional, boxed, tag = "3")]
    pub attributes: Option<alloc::boxed::Box<ActivityTaskScheduledEventAttributes>>,
    /// Its Started event; 0 = not in history.
    #[prost(int64, tag = "4")]
    pub started_event_id: i64,
    /// Its CancelRequested event; 0 = none.
    #[prost(int64, tag = "5")]
    pub cancel_requested_event_id: i64,
}

impl ActivityInfo {
    /// Attributes of the Scheduled event.
    pub fn scheduled(&self) -> &ActivityTaskScheduledEventAttributes {
        self.attributes.as_deref().expect("an activity is made from its Scheduled event")
    }

    /// One of the timeouts of its Scheduled event; `None` when unset.
    pub fn timeout(&self, of: impl Fn(&ActivityTaskScheduledEventAttributes) -> &Option<sempre_api::Duration>) -> Option<Span> {
        Span::from_api(of(self.scheduled()).as_ref()).ok().and_then(Span::some)
    }
}

/// A pending timer.
#[derive(Clone, PartialEq, Message)]
pub struct TimerInfo {
    /// Its id.
    #[prost(string, tag = "1")]
    pub timer_id: String,
    /// Its Started event.
    #[prost(int64, tag = "2")]
    pub started_event_id: i64,
    /// When it fires, ns.
    #[prost(int64, tag = "3")]
    pub fire_at: i64,
}

/// A pending child.
#[derive(Clone, PartialEq, Message)]
pub struct ChildInfo {
    /// Its Initiated event.
    #[prost(int64, tag = "1")]
    pub initiated_event_id: i64,
    /// Its Started event; 0 = not started.
    #[prost(int64, tag = "2")]
    pub started_event_id: i64,
    /// Its workflow id.
    #[prost(string, tag = "3")]
    pub workflow_id: String,
    /// First run of its chain; empty = not started.
    #[prost(string, tag = "4")]
    pub run_id: String,
    /// Its workflow type.
    #[prost(string, tag = "5")]
    pub workflow_type: String,
    /// `ParentClosePolicy`.
    #[prost(int32, tag = "6")]
    pub parent_close_policy: i32,
    /// Namespace name of the Initiated event.
    #[prost(string, tag = "7")]
    pub namespace: String,
    /// Namespace id of the Initiated event.
    #[prost(string, tag = "8")]
    pub namespace_id: String,
    /// Header of the Initiated event, echoed by Started.
    #[prost(message, optional, tag = "9")]
    pub header: Option<sempre_api::v1::common::Header>,
}

/// What a pending external request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum ExternalKind {
    /// SignalExternalWorkflowExecution.
    Signal = 0,
    /// RequestCancelExternalWorkflowExecution.
    Cancel = 1,
}

/// A pending signal or cancel to another workflow.
#[derive(Clone, PartialEq, Message)]
pub struct ExternalInfo {
    /// Its Initiated event.
    #[prost(int64, tag = "1")]
    pub initiated_event_id: i64,
    /// Signal or cancel.
    #[prost(enumeration = "ExternalKind", tag = "2")]
    pub kind: i32,
    /// Namespace name.
    #[prost(string, tag = "3")]
    pub namespace: String,
    /// Namespace id.
    #[prost(string, tag = "4")]
    pub namespace_id: String,
    /// Target as the command named it.
    #[prost(message, optional, tag = "5")]
    pub target: Option<WorkflowExecution>,
}

/// A request id that a later call attached to the run (spec 01 §3.3), or that a signal with links brought (spec 04 §2.2).
#[derive(Clone, PartialEq, Message)]
pub struct AttachedId {
    /// The request id.
    #[prost(string, tag = "1")]
    pub request_id: String,
    /// Type of the event that carries it.
    #[prost(int32, tag = "2")]
    pub event_type: i32,
    /// The update that it was attached to; empty: to the run itself.
    #[prost(string, tag = "3")]
    pub update_id: String,
}

impl AttachedId {
    /// It came with a signal, not with a call that attached it.
    pub(crate) fn is_of_signal(&self) -> bool {
        self.event_type == EventType::WorkflowExecutionSignaled as i32
    }
}

/// Whoever sent this signal follows the link of its answer, which names the event by the request id (spec 04 §2.2). Who sends
/// no links has nothing to come back to: their signals, of which there may be many, are not written down.
pub(crate) fn is_linked_signal(event: &HistoryEvent, request_id: &str) -> bool {
    !event.links.is_empty() && !request_id.is_empty()
}

impl StartInfo {
    /// From event 1. Drops the payloads that only a successor would need if there can be none.
    fn new(event: &HistoryEvent, attributes: &WorkflowExecutionStartedEventAttributes) -> Self {
        let mut kept = attributes.clone();
        kept.prev_auto_reset_points = None;
        // They have rows of their own.
        kept.completion_callbacks = Vec::new();
        if kept.retry_policy.is_none() && kept.cron_schedule.is_empty() {
            kept.input = None;
            kept.header = None;
            kept.last_completion_result = None;
            kept.continued_failure = None;
            kept.memo = None;
            kept.search_attributes = None;
        }
        Self {
            attributes: Some(alloc::boxed::Box::new(kept)),
            start_time: event_time(event).0,
            user_metadata: event.user_metadata.clone(),
            links: event.links.clone(),
        }
    }

    /// Attributes of event 1 (see [`StartInfo::attributes`]).
    pub fn event(&self) -> &WorkflowExecutionStartedEventAttributes {
        self.attributes.as_deref().expect("a run is made from its Started event")
    }

    /// Time of event 1. See [`Derived::start_time`] for when the run began.
    pub fn time(&self) -> Timestamp {
        Timestamp(self.start_time)
    }

    /// First-task back-off.
    pub fn backoff(&self) -> Span {
        Span::from_api(self.event().first_workflow_task_backoff.as_ref()).unwrap_or_default()
    }

    /// Workflow type name.
    pub fn workflow_type(&self) -> &str {
        self.event().workflow_type.as_ref().map_or("", |t| &t.name)
    }

    /// The normal task queue's name.
    pub fn task_queue(&self) -> &str {
        self.event().task_queue.as_ref().map_or("", |q| &q.name)
    }

    /// Workflow task timeout.
    pub fn task_timeout(&self) -> Span {
        Span::from_api(self.event().workflow_task_timeout.as_ref()).unwrap_or_default()
    }
}

pub(super) fn event_time(event: &HistoryEvent) -> Timestamp {
    event.event_time.as_ref().map(Timestamp::from_api).unwrap_or_default()
}

impl Derived {
    /// Status as the API has it.
    pub fn status(&self) -> WorkflowExecutionStatus {
        WorkflowExecutionStatus::try_from(self.main.status).unwrap_or(WorkflowExecutionStatus::Unspecified)
    }

    /// Has no close event yet.
    pub fn is_open(&self) -> bool {
        self.main.close_time == 0
    }

    /// When the run began: with its first event, or when a reset made it out of another run's events.
    pub fn start_time(&self) -> Timestamp {
        if self.main.reset_time != 0 { Timestamp(self.main.reset_time) } else { self.start.time() }
    }

    /// When the first task is (or was) due. A reset waits for nothing: what its base's first task waited for is over.
    pub fn execution_time(&self) -> Timestamp {
        if self.main.reset_time != 0 { self.start_time() } else { self.start_time() + self.start.backoff() }
    }

    /// End of the chain's time, if bounded. A reset gives the full time again (spec 01 §12.2 step 1).
    pub fn execution_expiration(&self) -> Option<Timestamp> {
        if self.main.reset_time != 0 {
            let timeout = Span::from_api(self.start.event().workflow_execution_timeout.as_ref()).ok().and_then(Span::some);
            return timeout.map(|timeout| self.start_time() + timeout);
        }
        self.start.event().workflow_execution_expiration_time.as_ref().map(Timestamp::from_api).filter(|t| t.0 > 0)
    }

    /// End of the run's time, if bounded (spec 01 §3.2).
    pub fn run_expiration(&self) -> Option<Timestamp> {
        self.run_expiration_from(Timestamp(i64::MIN))
    }

    /// The same for a run that could not begin before `from`.
    pub fn run_expiration_from(&self, from: Timestamp) -> Option<Timestamp> {
        let run = Span::from_api(self.start.event().workflow_run_timeout.as_ref()).ok().and_then(Span::some);
        let begin = self.execution_time().max(from);
        match (run.map(|run| begin + run), self.execution_expiration()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// The run's priority as it stands: of event 1, or of the last options update that changed it.
    pub fn priority(&self) -> Option<&Priority> {
        self.main.priority.as_deref().or(self.start.event().priority.as_ref())
    }

    /// Applies the next event. `bytes` is its encoded size as stored. Marks what has to be written.
    ///
    /// Live and rebuild both come through here; nothing else changes this half.
    pub fn apply_event(&mut self, event: &HistoryEvent, bytes: usize, dirty: &mut Dirty) {
        debug_assert_eq!(event.event_id, self.main.next_event_id.max(1), "event ids have no gaps");
        self.main.next_event_id = event.event_id + 1;
        self.main.history_size += bytes as i64;
        dirty.main();
        let Some(attributes) = &event.attributes else { return };
        match attributes {
            Attributes::WorkflowExecutionStartedEventAttributes(a) => {
                self.start = Arc::new(StartInfo::new(event, a));
                self.reset_points = ResetPoints::inherited(a.prev_auto_reset_points.as_ref(), event_time(event));
                self.main.status = WorkflowExecutionStatus::Running as i32;
                self.main.versioning = Versioning::started(a);
                self.main.time_skipping = TimeSkipping::started(event, a);
                self.callbacks_registered(event, &a.completion_callbacks, Origin::default(), dirty);
                let memo = a.memo.clone().unwrap_or_default().fields;
                let search = a.search_attributes.clone().unwrap_or_default().indexed_fields;
                dirty.mark(Kind::Start, 0);
                if !memo.is_empty() || !search.is_empty() {
                    self.attributes = Arc::new(Fields { memo, search });
                    dirty.mark(Kind::Attributes, 0);
                }
            }
            Attributes::WorkflowTaskScheduledEventAttributes(_) => {
                self.main.task_scheduled_event_id = event.event_id;
                self.main.task_started_event_id = 0;
                self.main.had_task = true;
            }
            Attributes::WorkflowTaskStartedEventAttributes(_) => self.main.task_started_event_id = event.event_id,
            Attributes::WorkflowTaskCompletedEventAttributes(a) => {
                self.main.previous_started_event_id = a.started_event_id;
                let resettable = self.children.is_empty() && self.externals.is_empty();
                self.reset_points.completed(a, event.event_id, event_time(event), resettable);
                self.main.completed_tasks += 1;
                self.main.versioning = Versioning::completed(self.main.versioning.take(), a);
                self.task_gone();
            }
            Attributes::WorkflowTaskTimedOutEventAttributes(_) => self.task_gone(),
            Attributes::WorkflowTaskFailedEventAttributes(a) => {
                if a.cause() == WorkflowTaskFailedCause::ResetWorkflow {
                    self.main.reset_time = event_time(event).0;
                }
                self.task_gone();
            }
            Attributes::ActivityTaskScheduledEventAttributes(a) => {
                self.activity_ids.insert(a.activity_id.clone(), event.event_id);
                let info = ActivityInfo {
                    scheduled_event_id: event.event_id,
                    scheduled_time: event_time(event).0,
                    attributes: Some(a.clone()),
                    started_event_id: 0,
                    cancel_requested_event_id: 0,
                };
                self.activities.insert(event.event_id, Arc::new(info));
                dirty.mark(Kind::Activity, event.event_id);
            }
            Attributes::ActivityTaskStartedEventAttributes(a) => {
                if let Some(info) = self.activities.get_mut(&a.scheduled_event_id) {
                    Arc::make_mut(info).started_event_id = event.event_id;
                    dirty.mark(Kind::Activity, a.scheduled_event_id);
                }
            }
            Attributes::ActivityTaskCancelRequestedEventAttributes(a) => {
                if let Some(info) = self.activities.get_mut(&a.scheduled_event_id) {
                    Arc::make_mut(info).cancel_requested_event_id = event.event_id;
                    dirty.mark(Kind::Activity, a.scheduled_event_id);
                }
            }
            Attributes::ActivityTaskCompletedEventAttributes(a) => self.activity_gone(a.scheduled_event_id, dirty),
            Attributes::ActivityTaskFailedEventAttributes(a) => self.activity_gone(a.scheduled_event_id, dirty),
            Attributes::ActivityTaskTimedOutEventAttributes(a) => self.activity_gone(a.scheduled_event_id, dirty),
            Attributes::ActivityTaskCanceledEventAttributes(a) => self.activity_gone(a.scheduled_event_id, dirty),
            Attributes::TimerStartedEventAttributes(a) => {
                let span = Span::from_api(a.start_to_fire_timeout.as_ref()).unwrap_or_default();
                let timer =
                    TimerInfo { timer_id: a.timer_id.clone(), started_event_id: event.event_id, fire_at: (event_time(event) + span).0 };
                self.timers.insert(event.event_id, timer);
                self.timer_ids.insert(a.timer_id.clone(), event.event_id);
                dirty.mark(Kind::Timer, event.event_id);
            }
            Attributes::TimerFiredEventAttributes(a) => self.timer_gone(&a.timer_id, a.started_event_id, dirty),
            Attributes::TimerCanceledEventAttributes(a) => self.timer_gone(&a.timer_id, a.started_event_id, dirty),
            Attributes::WorkflowExecutionSignaledEventAttributes(a) => {
                self.main.signal_count += 1;
                if is_linked_signal(event, &a.request_id) {
                    self.request_id_attached(event, Origin { attached: true, request_id: &a.request_id, update_id: "" }, dirty);
                }
            }
            Attributes::WorkflowExecutionCancelRequestedEventAttributes(_) => self.main.cancel_requested = true,
            Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(a) => {
                let child = ChildInfo {
                    initiated_event_id: event.event_id,
                    started_event_id: 0,
                    workflow_id: a.workflow_id.clone(),
                    run_id: String::new(),
                    workflow_type: a.workflow_type.as_ref().map_or_else(String::new, |t| t.name.clone()),
                    parent_close_policy: a.parent_close_policy,
                    namespace: a.namespace.clone(),
                    namespace_id: a.namespace_id.clone(),
                    header: a.header.clone(),
                };
                self.children.insert(event.event_id, Arc::new(child));
                dirty.mark(Kind::Child, event.event_id);
            }
            Attributes::ChildWorkflowExecutionStartedEventAttributes(a) => {
                if let Some(child) = self.children.get_mut(&a.initiated_event_id) {
                    let child = Arc::make_mut(child);
                    child.started_event_id = event.event_id;
                    child.run_id = a.workflow_execution.as_ref().map_or_else(String::new, |e| e.run_id.clone());
                    dirty.mark(Kind::Child, a.initiated_event_id);
                }
            }
            Attributes::StartChildWorkflowExecutionFailedEventAttributes(a) => self.child_gone(a.initiated_event_id, dirty),
            Attributes::ChildWorkflowExecutionCompletedEventAttributes(a) => self.child_gone(a.initiated_event_id, dirty),
            Attributes::ChildWorkflowExecutionFailedEventAttributes(a) => self.child_gone(a.initiated_event_id, dirty),
            Attributes::ChildWorkflowExecutionTimedOutEventAttributes(a) => self.child_gone(a.initiated_event_id, dirty),
            Attributes::ChildWorkflowExecutionCanceledEventAttributes(a) => self.child_gone(a.initiated_event_id, dirty),
            Attributes::ChildWorkflowExecutionTerminatedEventAttributes(a) => self.child_gone(a.initiated_event_id, dirty),
            Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(a) => {
                let info = ExternalInfo {
                    initiated_event_id: event.event_id,
                    kind: ExternalKind::Signal as i32,
                    namespace: a.namespace.clone(),
                    namespace_id: a.namespace_id.clone(),
                    target: a.workflow_execution.clone(),
                };
                self.externals.insert(event.event_id, Arc::new(info));
                dirty.mark(Kind::External, event.event_id);
            }
            Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(a) => {
                let info = ExternalInfo {
                    initiated_event_id: event.event_id,
                    kind: ExternalKind::Cancel as i32,
                    namespace: a.namespace.clone(),
                    namespace_id: a.namespace_id.clone(),
                    target: a.workflow_execution.clone(),
                };
                self.externals.insert(event.event_id, Arc::new(info));
                dirty.mark(Kind::External, event.event_id);
            }
            Attributes::ExternalWorkflowExecutionSignaledEventAttributes(a) => self.external_gone(a.initiated_event_id, dirty),
            Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(a) => {
                self.external_gone(a.initiated_event_id, dirty);
            }
            Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => {
                self.external_gone(a.initiated_event_id, dirty);
            }
            Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => {
                self.external_gone(a.initiated_event_id, dirty);
            }
            Attributes::NexusOperationScheduledEventAttributes(a) => {
                let info = OperationInfo {
                    scheduled_event_id: event.event_id,
                    scheduled_time: event_time(event).0,
                    attributes: Some(a.clone()),
                    ..Default::default()
                };
                self.operations.insert(event.event_id, Arc::new(info));
                dirty.mark(Kind::Operation, event.event_id);
            }
            Attributes::NexusOperationStartedEventAttributes(a) => self.operation_changed(a.scheduled_event_id, dirty, |info| {
                info.started_event_id = event.event_id;
                info.started_time = event_time(event).0;
                info.token.clone_from(&a.operation_token);
            }),
            Attributes::NexusOperationCancelRequestedEventAttributes(a) => self.operation_changed(a.scheduled_event_id, dirty, |info| {
                info.cancel_requested_event_id = event.event_id;
                info.cancel_requested_time = event_time(event).0;
            }),
            Attributes::NexusOperationCancelRequestCompletedEventAttributes(a) => {
                self.operation_changed(a.scheduled_event_id, dirty, |info| info.set_cancel_answer(CancelAnswer::Taken));
            }
            Attributes::NexusOperationCancelRequestFailedEventAttributes(a) => {
                self.operation_changed(a.scheduled_event_id, dirty, |info| info.set_cancel_answer(CancelAnswer::Refused));
            }
            Attributes::NexusOperationCompletedEventAttributes(a) => self.operation_gone(a.scheduled_event_id, dirty),
            Attributes::NexusOperationFailedEventAttributes(a) => self.operation_gone(a.scheduled_event_id, dirty),
            Attributes::NexusOperationCanceledEventAttributes(a) => self.operation_gone(a.scheduled_event_id, dirty),
            Attributes::NexusOperationTimedOutEventAttributes(a) => self.operation_gone(a.scheduled_event_id, dirty),
            Attributes::UpsertWorkflowSearchAttributesEventAttributes(a) => {
                if let Some(changes) = &a.search_attributes {
                    merge_fields(&mut Arc::make_mut(&mut self.attributes).search, &changes.indexed_fields);
                    dirty.mark(Kind::Attributes, 0);
                }
            }
            Attributes::WorkflowPropertiesModifiedEventAttributes(a) => {
                if let Some(changes) = &a.upserted_memo {
                    merge_fields(&mut Arc::make_mut(&mut self.attributes).memo, &changes.fields);
                    dirty.mark(Kind::Attributes, 0);
                }
            }
            Attributes::WorkflowExecutionCompletedEventAttributes(a) => {
                self.close(event, WorkflowExecutionStatus::Completed, &a.new_execution_run_id, dirty);
            }
            Attributes::WorkflowExecutionFailedEventAttributes(a) => {
                self.main.close_failure = a.failure.as_ref().map_or_else(String::new, health::told);
                self.close(event, WorkflowExecutionStatus::Failed, &a.new_execution_run_id, dirty);
            }
            Attributes::WorkflowExecutionTimedOutEventAttributes(a) => {
                self.close(event, WorkflowExecutionStatus::TimedOut, &a.new_execution_run_id, dirty);
            }
            Attributes::WorkflowExecutionCanceledEventAttributes(_) => {
                self.close(event, WorkflowExecutionStatus::Canceled, "", dirty);
            }
            Attributes::WorkflowExecutionTerminatedEventAttributes(_) => {
                self.close(event, WorkflowExecutionStatus::Terminated, "", dirty);
            }
            Attributes::WorkflowExecutionContinuedAsNewEventAttributes(a) => {
                self.close(event, WorkflowExecutionStatus::ContinuedAsNew, &a.new_execution_run_id, dirty);
            }
            Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(a) => self.options_updated(event, a, dirty),
            Attributes::WorkflowExecutionTimeSkippingTransitionedEventAttributes(_) => {
                self.main.time_skipping = TimeSkipping::apply(self.main.time_skipping.take(), event);
            }
            Attributes::WorkflowExecutionPausedEventAttributes(_) | Attributes::WorkflowExecutionUnpausedEventAttributes(_) => {
                crate::pause::applied(&mut self.main, event);
            }
            Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(a) => {
                let id = a.request.as_ref().and_then(|r| r.meta.as_ref()).map_or("", |m| &m.update_id);
                let number = self.updates.change(id, event.event_id, |u| u.admitted_event_id = event.event_id);
                dirty.mark(Kind::Update, number);
                self.update_requested(event, id, a.request.as_ref(), dirty);
            }
            Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(a) => {
                let number = self.updates.change(&a.protocol_instance_id, event.event_id, |u| u.accepted_event_id = event.event_id);
                dirty.mark(Kind::Update, number);
                self.update_requested(event, &a.protocol_instance_id, a.accepted_request.as_ref(), dirty);
            }
            Attributes::WorkflowExecutionUpdateCompletedEventAttributes(a) => {
                if let Some(id) = a.meta.as_ref().map(|m| m.update_id.as_str()).filter(|id| self.updates.get(id).is_some()) {
                    let number = self.updates.change(id, event.event_id, |u| u.completed_event_id = event.event_id);
                    dirty.mark(Kind::Update, number);
                }
            }
            // Markers change nothing; events of features that are not built are never written.
            _ => {}
        }
    }

    fn options_updated(&mut self, event: &HistoryEvent, a: &WorkflowExecutionOptionsUpdatedEventAttributes, dirty: &mut Dirty) {
        self.main.versioning = Versioning::options_updated(self.main.versioning.take(), a);
        self.main.time_skipping = TimeSkipping::apply(self.main.time_skipping.take(), event);
        if let Some(priority) = &a.priority {
            self.main.priority = Some(alloc::boxed::Box::new(priority.clone()));
        }
        if !a.attached_request_id.is_empty() {
            let from = Origin { attached: true, request_id: &a.attached_request_id, update_id: "" };
            self.callbacks_registered(event, &a.attached_completion_callbacks, from, dirty);
            self.request_id_attached(event, from, dirty);
        }
        for update in &a.workflow_update_options {
            let from = Origin { attached: true, request_id: &update.attached_request_id, update_id: &update.update_id };
            self.callbacks_registered(event, &update.attached_completion_callbacks, from, dirty);
            self.request_id_attached(event, from, dirty);
        }
    }

    /// An event brings an update's request: its callbacks, and the request id by which they are known.
    fn update_requested(&mut self, event: &HistoryEvent, update_id: &str, request: Option<&update::Request>, dirty: &mut Dirty) {
        let Some(request) = request.filter(|request| !request.completion_callbacks.is_empty()) else { return };
        let from = Origin { attached: false, request_id: &request.request_id, update_id };
        self.callbacks_registered(event, &request.completion_callbacks, from, dirty);
        self.request_id_attached(event, from, dirty);
    }

    /// Request ids of the run, those of its updates and those of its signals do not push each other out.
    fn request_id_attached(&mut self, event: &HistoryEvent, from: Origin<'_>, dirty: &mut Dirty) {
        let attached = AttachedId { request_id: from.request_id.into(), event_type: event.event_type, update_id: from.update_id.into() };
        let signal = attached.is_of_signal();
        self.request_ids.insert(event.event_id, Arc::new(attached));
        dirty.mark(Kind::RequestId, event.event_id);
        let alike = |id: &AttachedId| id.update_id.is_empty() == from.update_id.is_empty() && id.is_of_signal() == signal;
        let mut known = self.request_ids.iter().filter(|(_, id)| alike(id)).map(|(event_id, _)| *event_id);
        let oldest = known.next();
        if known.count() >= ATTACHED_REQUEST_IDS_MAX
            && let Some(oldest) = oldest
        {
            self.request_ids.remove(&oldest);
            dirty.mark(Kind::RequestId, oldest);
        }
    }

    fn callbacks_registered(&mut self, event: &HistoryEvent, callbacks: &[Callback], from: Origin<'_>, dirty: &mut Dirty) {
        for callback in callbacks {
            let number = self.callbacks.len() as i64 + 1;
            let info = CallbackInfo {
                callback: Some(callback.clone()),
                registration_time: event_time(event).0,
                attached: from.attached,
                request_id: from.request_id.into(),
                update_id: from.update_id.into(),
            };
            self.callbacks.insert(number, Arc::new(info));
            dirty.mark(Kind::Callback, number);
        }
    }

    fn close(&mut self, event: &HistoryEvent, status: WorkflowExecutionStatus, successor: &str, dirty: &mut Dirty) {
        if self.callbacks.values().any(|info| info.is_of_chain())
            && let Some(outcome) = crate::callbacks::outcome(event)
        {
            self.outcome = Some(Arc::new(outcome));
            dirty.mark(Kind::Callback, OUTCOME);
        }
        self.main.status = status as i32;
        self.main.close_time = event_time(event).0;
        self.main.successor_run_id = successor.into();
        self.task_gone();
    }

    fn task_gone(&mut self) {
        self.main.task_scheduled_event_id = 0;
        self.main.task_started_event_id = 0;
    }

    fn activity_gone(&mut self, scheduled_event_id: i64, dirty: &mut Dirty) {
        if let Some(info) = self.activities.remove(&scheduled_event_id) {
            let id = &info.scheduled().activity_id;
            if self.activity_ids.get(id) == Some(&scheduled_event_id) {
                self.activity_ids.remove(id);
            }
            dirty.mark(Kind::Activity, scheduled_event_id);
        }
    }

    fn timer_gone(&mut self, timer_id: &str, started_event_id: i64, dirty: &mut Dirty) {
        self.timers.remove(&started_event_id);
        if self.timer_ids.get(timer_id) == Some(&started_event_id) {
            self.timer_ids.remove(timer_id);
        }
        dirty.mark(Kind::Timer, started_event_id);
    }

    fn child_gone(&mut self, initiated_event_id: i64, dirty: &mut Dirty) {
        self.children.remove(&initiated_event_id);
        dirty.mark(Kind::Child, initiated_event_id);
    }

    fn operation_changed(&mut self, scheduled_event_id: i64, dirty: &mut Dirty, change: impl FnOnce(&mut OperationInfo)) {
        if let Some(info) = self.operations.get_mut(&scheduled_event_id) {
            change(Arc::make_mut(info));
            dirty.mark(Kind::Operation, scheduled_event_id);
        }
    }

    fn operation_gone(&mut self, scheduled_event_id: i64, dirty: &mut Dirty) {
        if self.operations.remove(&scheduled_event_id).is_some() {
            dirty.mark(Kind::Operation, scheduled_event_id);
        }
    }

    fn external_gone(&mut self, initiated_event_id: i64, dirty: &mut Dirty) {
        self.externals.remove(&initiated_event_id);
        dirty.mark(Kind::External, initiated_event_id);
    }
}

/// What a callback or request id came with.
#[derive(Clone, Copy, Default)]
struct Origin<'a> {
    /// Later than that which it belongs to.
    attached: bool,
    request_id: &'a str,
    /// Empty: the run.
    update_id: &'a str,
}

/// Merges upserted fields: a nil or null payload removes the key (spec 04 §5).
pub fn merge_fields(into: &mut BTreeMap<String, Payload>, changes: &BTreeMap<String, Payload>) {
    for (name, payload) in changes {
        if is_nil(payload) {
            if planted::is(Bug::AttributesStay) {
                continue;
            }
            into.remove(name);
        } else {
            into.insert(name.clone(), payload.clone());
        }
    }
}

/// A payload that stands for "no value": empty, JSON null or an empty list, or encoding `binary/null`.
pub fn is_nil(payload: &Payload) -> bool {
    let encoding = payload.metadata.get("encoding").map(Bytes::as_ref);
    encoding == Some(b"binary/null")
        || payload.data.is_empty() && encoding != Some(b"binary/plain") && encoding != Some(b"binary/protobuf")
        || encoding == Some(b"json/plain") && matches!(payload.data.as_ref(), b"null" | b"[]")
}

/// A memo as the event of a start has it (spec 01 §3.4, 04 §4): without fields of no value, which mean nothing there; none
/// if no field is left. JSON null stays: a memo of a start is the user's, as it was given.
pub(crate) fn memo_of_start(memo: Option<Memo>) -> Option<Memo> {
    memo.map(|mut memo| {
        memo.fields.retain(|_, payload| !is_nil(payload) || payload.data.as_ref() == b"null");
        memo
    })
    .filter(|memo| !memo.fields.is_empty())
}

/// Search attributes as the event of a start has them: without those of no value; none if none is left.
pub(crate) fn search_of_start(search: Option<SearchAttributes>) -> Option<SearchAttributes> {
    search
        .map(|mut search| {
            search.indexed_fields.retain(|_, payload| !is_nil(payload));
            search
        })
        .filter(|search| !search.indexed_fields.is_empty())
}

/// Why a run continues: shown in its Started event.
pub fn initiator(attributes: &WorkflowExecutionStartedEventAttributes) -> ContinueAsNewInitiator {
    attributes.initiator()
}
