//! Pausing and resuming a whole run (spec 01 §15).
//!
//! | what | while paused |
//! |---|---|
//! | workflow task scheduled | ended as failed with WORKFLOW_PAUSE_REQUESTED_BEFORE_TASK_STARTED, attempt 1 again |
//! | workflow task started | the worker may answer it; nothing new is scheduled after it |
//! | news (signals, timers, results, cancel requests) | recorded, without a workflow task |
//! | activities in a worker's hands | go on; a retry waits for the end of the pause |
//! | other activities | not offered; those scheduled now are recorded and wait; their timeouts run |
//! | queries | rejected with status PAUSED |
//!
//! The Paused event may have to wait in the buffer (a worker has the workflow task): the run is paused from the
//! moment of the request all the same, which is why [`is_paused`] looks there too.

use alloc::{boxed::Box, format, string::String, vec::Vec};

use sempre_api::v1::{
    common::Payload,
    enums::{WorkflowExecutionStatus, WorkflowTaskFailedCause},
    history::{
        HistoryEvent, WorkflowExecutionPausedEventAttributes, WorkflowExecutionUnpausedEventAttributes, WorkflowTaskFailedEventAttributes,
        history_event::Attributes,
    },
    workflow::WorkflowExecutionPauseInfo,
};

use crate::{
    Refusal, Reply, Timestamp, activity,
    input::PauseRequest,
    query,
    state::{PauseInfo, State},
    step::Step,
    task,
    visibility::json_string,
};

/// Pause of a paused run.
const ALREADY_PAUSED: &str = "workflow is already paused.";
/// Unpause of a run that is not paused.
const NOT_PAUSED: &str = "workflow is not paused.";
/// A completion that forces a new task, of a paused run.
pub(crate) const NO_FORCED_TASK: &str = "Workflow is paused and force create new workflow task is not allowed.";
/// Update of a paused run.
pub const NO_UPDATE: &str = "Workflow is paused. Cannot update the workflow.";
/// Search attribute that says what of a run is paused; shown, never stored.
pub const SEARCH_ATTRIBUTE: &str = "TemporalPauseInfo";

type Answer = Result<Result<Reply, Refusal>, Refusal>;

/// The run is open and paused, be the event in history or still in the buffer.
pub(crate) fn is_paused(state: &State) -> bool {
    match state.progress.buffer.pause_change() {
        Some(event) => matches!(event.attributes, Some(Attributes::WorkflowExecutionPausedEventAttributes(_))),
        None => state.derived.main.status == WorkflowExecutionStatus::Paused as i32,
    }
}

/// Who paused the run, why and when. A run that closed while paused keeps it.
pub(crate) fn info(state: &State) -> Option<PauseInfo> {
    let Some(event) = state.progress.buffer.pause_change() else { return state.derived.main.pause.as_deref().cloned() };
    match &event.attributes {
        Some(Attributes::WorkflowExecutionPausedEventAttributes(a)) => Some(PauseInfo::new(event, a)),
        _ => None,
    }
}

/// As DescribeWorkflowExecution has it.
pub(crate) fn described(state: &State) -> Option<WorkflowExecutionPauseInfo> {
    info(state).map(|info| WorkflowExecutionPauseInfo {
        identity: info.identity,
        paused_time: Some(Timestamp(info.time).to_api()),
        reason: info.reason,
    })
}

/// Value of [`SEARCH_ATTRIBUTE`]: the run with its reason, and the types of paused activities. `None`: nothing is paused.
pub(crate) fn search_attribute(workflow_id: &str, state: &State) -> Option<Payload> {
    let mut entries = Vec::new();
    if let Some(info) = info(state) {
        entries.push(format!("Workflow:{workflow_id}"));
        if !info.reason.is_empty() {
            entries.push(format!("Reason:{}", info.reason));
        }
    }
    let mut types = activity::paused_types(state);
    types.sort_unstable();
    types.dedup();
    entries.extend(types.into_iter().map(|name| format!("property:activityType={name}")));
    (!entries.is_empty()).then(|| keyword_list(&entries))
}

/// A KeywordList as search attributes are encoded: a JSON array of strings.
fn keyword_list(entries: &[String]) -> Payload {
    let mut json = String::from("[");
    for (at, entry) in entries.iter().enumerate() {
        json.push_str(if at == 0 { "" } else { "," });
        json.push_str(&json_string(entry));
    }
    json.push(']');
    Payload {
        metadata: [
            ("encoding".into(), bytes::Bytes::from_static(b"json/plain")),
            ("type".into(), bytes::Bytes::from_static(b"KeywordList")),
        ]
        .into(),
        data: json.into_bytes().into(),
        ..Default::default()
    }
}

/// PauseWorkflowExecution. The same request id again is the same pause.
pub(crate) fn pause(step: &mut Step<'_, '_>, request: PauseRequest) -> Answer {
    check(step, &request)?;
    step.require_open()?;
    if is_paused(&step.run.state) {
        let same = !request.request_id.is_empty() && info(&step.run.state).is_some_and(|info| info.request_id == request.request_id);
        return if same { Ok(Ok(Reply::Done)) } else { Err(Refusal::FailedPrecondition(ALREADY_PAUSED.into())) };
    }
    pause_run(step, request);
    Ok(Ok(Reply::Done))
}

/// UnpauseWorkflowExecution: a workflow task follows, and activities go on.
pub(crate) fn unpause(step: &mut Step<'_, '_>, request: PauseRequest) -> Answer {
    check(step, &request)?;
    step.require_open()?;
    if !is_paused(&step.run.state) {
        return Err(Refusal::FailedPrecondition(NOT_PAUSED.into()));
    }
    record(
        step,
        Attributes::WorkflowExecutionUnpausedEventAttributes(WorkflowExecutionUnpausedEventAttributes {
            identity: request.identity,
            reason: request.reason,
            request_id: request.request_id,
        }),
    );
    activity::release_all(step);
    task::schedule_if_needed(step);
    Ok(Ok(Reply::Done))
}

/// Pauses an open run that is not paused: for a client, or for the server itself where a limit would otherwise end it.
///
/// Nothing is lost by it: the run goes on where it stood once somebody unpauses it.
pub(crate) fn pause_run(step: &mut Step<'_, '_>, request: PauseRequest) {
    debug_assert!(step.run.is_open() && !is_paused(&step.run.state), "only an open run that is not paused");
    stop_scheduled_task(step);
    record(
        step,
        Attributes::WorkflowExecutionPausedEventAttributes(WorkflowExecutionPausedEventAttributes {
            identity: request.identity,
            reason: request.reason,
            request_id: request.request_id,
        }),
    );
    activity::hold_all(step);
}

/// Writes the event, or buffers it while a worker has the workflow task; the pointer shows the new status at once.
fn record(step: &mut Step<'_, '_>, attributes: Attributes) {
    let now = step.now();
    step.buffer_event(HistoryEvent {
        event_time: Some(now.to_api()),
        worker_may_ignore: true,
        attributes: Some(attributes),
        ..Default::default()
    });
    step.out.current = Some(step.current_record());
}

/// The task that no worker has yet ends as failed. Its start is written too: a failure without a start is no history
/// that the SDKs can replay. A retry (no events yet) just goes. Queries that waited for it are refused.
fn stop_scheduled_task(step: &mut Step<'_, '_>) {
    if step.task_started() || step.run.state.progress.main.task.is_none() {
        return;
    }
    task::speculative::convert(step);
    task::withdraw_offer(step);
    let (now, request_id) = (step.now(), step.cx.ids.uuid());
    let history_size = step.run.state.derived.main.history_size;
    let Some(mut scheduled) = step.run.state.progress.main.task.take() else { return };
    if !scheduled.transient {
        scheduled.identity = task::SERVER_IDENTITY.into();
        scheduled.request_id = request_id;
        scheduled.started_time = now.0;
        scheduled.history_size = history_size;
        scheduled.started_event_id = step.event(task::started_attributes(&scheduled));
        step.run.state.progress.main.task = Some(scheduled);
        task::fail_started(
            step,
            WorkflowTaskFailedEventAttributes {
                cause: WorkflowTaskFailedCause::WorkflowPauseRequestedBeforeTaskStarted as i32,
                identity: task::SERVER_IDENTITY.into(),
                ..Default::default()
            },
        );
    }
    step.run.state.progress.main.attempt = 1;
    step.touch();
    query::refuse_waiting(step, "Workflow is paused.");
}

pub(crate) fn check(step: &Step<'_, '_>, request: &PauseRequest) -> Result<(), Refusal> {
    let limit = step.cx.limits.id_length_max;
    for (field, value) in [("reason", &request.reason), ("request id", &request.request_id), ("identity", &request.identity)] {
        if value.len() > limit {
            return Err(Refusal::invalid(format!("{field} is too long.")));
        }
    }
    Ok(())
}

impl PauseInfo {
    /// From the Paused event.
    pub(crate) fn new(event: &HistoryEvent, a: &WorkflowExecutionPausedEventAttributes) -> Self {
        Self {
            time: event.event_time.as_ref().map(Timestamp::from_api).unwrap_or_default().0,
            identity: a.identity.clone(),
            reason: a.reason.clone(),
            request_id: a.request_id.clone(),
        }
    }
}

/// What a transition of the server's own would ask.
impl PauseRequest {
    /// A pause by the server itself, for this reason.
    pub fn by_server(reason: String) -> Self {
        Self { identity: task::SERVER_IDENTITY.into(), reason, request_id: String::new() }
    }
}

/// Keeps the derived half in step with the events: called from `Derived::apply_event` only.
pub(crate) fn applied(main: &mut crate::state::Main, event: &HistoryEvent) {
    match &event.attributes {
        Some(Attributes::WorkflowExecutionPausedEventAttributes(a)) => {
            main.status = WorkflowExecutionStatus::Paused as i32;
            main.pause = Some(Box::new(PauseInfo::new(event, a)));
        }
        Some(Attributes::WorkflowExecutionUnpausedEventAttributes(_)) => {
            main.status = WorkflowExecutionStatus::Running as i32;
            main.pause = None;
        }
        _ => {}
    }
}
