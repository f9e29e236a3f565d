//! `workflow describe`: state, times and all that a run waits for.

use clap::Args;
use sempre_api::v1::{
    common::{TimeSkippingInfo, WorkflowExecution},
    enums::{CallbackState, PendingActivityState, PendingNexusOperationState, PendingWorkflowTaskState, WorkflowExecutionStatus},
    workflow::{PendingActivityInfo, WorkflowExecutionInfo},
    workflowservice::{DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse},
};
use serde_json::Value;

use super::{Reference, list, result};
use crate::cli::{
    Failure,
    history::{Events, Read},
    output::{Cell, Table, short_name},
    session::Session,
};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reference: Reference,
    /// Show the points that the workflow can be reset to, one for each build of its workers
    #[arg(long)]
    reset_points: bool,
    /// Print the answer as JSON
    #[arg(long)]
    raw: bool,
}

/// Asks for the description of a run.
pub(crate) async fn ask(session: &mut Session, execution: WorkflowExecution) -> Result<DescribeWorkflowExecutionResponse, Failure> {
    let request = DescribeWorkflowExecutionRequest { namespace: session.namespace(), execution: Some(execution) };
    Ok(session.client().await?.workflow.describe_workflow_execution(request).await?.into_inner())
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let answer = ask(session, options.reference.execution()).await?;
    if options.raw {
        return session.out.raw_message(&answer);
    }
    let info = answer.workflow_execution_info.clone().unwrap_or_default();
    if options.reset_points {
        return reset_points(session, &info);
    }
    let open = matches!(info.status(), WorkflowExecutionStatus::Running | WorkflowExecutionStatus::Paused);
    let close = if open {
        None
    } else {
        let execution = info.execution.clone().unwrap_or_default();
        Events::new(session.client().await?, session.namespace(), execution, Read::Close).next().await?
    };
    if session.out.is_json() {
        let mut value = session.out.json_of(&answer);
        if let (Value::Object(object), Some(close)) = (&mut value, &close) {
            object.insert("closeEvent".to_owned(), session.out.json_of(close));
            if let Some(payloads) = result::payloads(close) {
                object.insert("result".to_owned(), result::friendly(session, Some(payloads)));
            }
        }
        return session.out.value(&value);
    }
    execution(session, &info)?;
    extended(session, &answer)?;
    metadata(session, &answer)?;
    callbacks(session, &answer)?;
    match close {
        None => pending(session, &answer),
        Some(close) => {
            session.out.line("")?;
            let millis = |time: &Option<sempre_api::Timestamp>| time.as_ref().map(|t| t.seconds * 1_000 + i64::from(t.nanos) / 1_000_000);
            let took = millis(&info.close_time).zip(millis(&info.start_time)).map(|(end, start)| end - start);
            result::print_text(session, took, &close)
        }
    }
}

fn execution(session: &mut Session, info: &WorkflowExecutionInfo) -> Result<(), Failure> {
    let id = |execution: &Option<WorkflowExecution>| execution.clone().unwrap_or_default();
    let (this, parent, root) = (id(&info.execution), id(&info.parent_execution), id(&info.root_execution));
    let fields = |value: Option<Value>, inside: &str| value.and_then(|v| v.get(inside).map(Value::to_string)).unwrap_or_default();
    let memo = fields(info.memo.as_ref().map(|memo| session.out.json_of(memo)), "fields");
    let attributes = fields(info.search_attributes.as_ref().map(|of| session.out.json_of(of)), "indexedFields");
    let time = |time: &Option<_>| Cell::from(session.out.time(time.as_ref()));
    let card = [
        ("WorkflowId", this.workflow_id.into()),
        ("RunId", this.run_id.into()),
        ("Type", info.r#type.clone().unwrap_or_default().name.into()),
        ("Status", list::status(info.status())),
        ("Namespace", session.namespace().into()),
        ("TaskQueue", info.task_queue.clone().into()),
        ("StartTime", time(&info.start_time)),
        ("CloseTime", time(&info.close_time)),
        ("ExecutionTime", time(&info.execution_time)),
        ("Memo", memo.into()),
        ("SearchAttributes", attributes.into()),
        ("StateTransitionCount", info.state_transition_count.to_string().into()),
        ("HistoryLength", info.history_length.to_string().into()),
        ("HistorySize", info.history_size_bytes.to_string().into()),
        ("ParentWorkflowId", parent.workflow_id.into()),
        ("ParentRunId", parent.run_id.into()),
        ("RootWorkflowId", root.workflow_id.into()),
        ("RootRunId", root.run_id.into()),
    ];
    session.out.title("Execution Info:")?;
    session.out.card(&card)
}

fn extended(session: &mut Session, answer: &DescribeWorkflowExecutionResponse) -> Result<(), Failure> {
    let Some(info) = &answer.workflow_extended_info else { return Ok(()) };
    let time = |time: &Option<_>| Cell::from(session.out.time(time.as_ref()));
    let card = [
        ("CancelRequested", info.cancel_requested.to_string().into()),
        ("ExecutionExpirationTime", time(&info.execution_expiration_time)),
        ("RunExpirationTime", time(&info.run_expiration_time)),
        ("LastResetTime", time(&info.last_reset_time)),
        ("OriginalStartTime", time(&info.original_start_time)),
    ];
    session.out.title("Extended Execution Info:")?;
    session.out.card(&card)?;
    if let Some(own) = &info.time_skipping_info {
        time_skipping(session, own)?;
    }
    let Some(pause) = &info.pause_info else { return Ok(()) };
    let paused = session.out.time(pause.paused_time.as_ref());
    session.out.title("Pause Info:")?;
    session.out.card(&[
        ("Identity", pause.identity.as_str().into()),
        ("Reason", pause.reason.as_str().into()),
        ("PausedTime", paused.into()),
    ])
}

/// The run's own clock.
fn time_skipping(session: &mut Session, own: &TimeSkippingInfo) -> Result<(), Failure> {
    let config = own.effective_config.clone().unwrap_or_default();
    let skips = format!("{} of {}", own.current_session_skip_count, config.max_session_skip_count);
    let mut card = vec![
        ("CurrentTime", Cell::from(session.out.time(own.current_time.as_ref()))),
        ("Enabled", config.enabled.to_string().into()),
        ("SessionSkips", skips.into()),
    ];
    if let Some(ahead) = &own.fast_forward_info {
        card.push(("FastForwardId", ahead.fast_forward_id.as_str().into()));
        card.push(("FastForwardTarget", session.out.time(ahead.target_time.as_ref()).into()));
        card.push(("FastForwardCompleted", ahead.has_completed.to_string().into()));
    }
    session.out.title("Time Skipping Info:")?;
    session.out.card(&card)
}

fn metadata(session: &mut Session, answer: &DescribeWorkflowExecutionResponse) -> Result<(), Failure> {
    let Some(metadata) = answer.execution_config.as_ref().and_then(|config| config.user_metadata.as_ref()) else { return Ok(()) };
    let shown = |payload: &Option<_>| payload.as_ref().map(|payload| session.out.json_of(payload).to_string()).unwrap_or_default();
    let card = [("StaticSummary", shown(&metadata.summary).into()), ("StaticDetails", shown(&metadata.details).into())];
    session.out.title("Metadata:")?;
    session.out.card(&card)
}

fn callbacks(session: &mut Session, answer: &DescribeWorkflowExecutionResponse) -> Result<(), Failure> {
    if answer.callbacks.is_empty() {
        return Ok(());
    }
    session.out.line("")?;
    session.out.title(format!("Callbacks: {}", answer.callbacks.len()))?;
    for callback in &answer.callbacks {
        let state = CallbackState::try_from(callback.state).unwrap_or_default();
        let next = session.out.time(callback.next_attempt_schedule_time.as_ref());
        let failure = callback.last_attempt_failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default();
        session.out.card(&[
            ("State", short_name(state.as_str_name(), "CALLBACK_STATE_").into()),
            ("Attempt", callback.attempt.to_string().into()),
            ("NextAttemptScheduleTime", next.into()),
            ("LastAttemptFailure", failure.into()),
            ("BlockedReason", callback.blocked_reason.as_str().into()),
        ])?;
    }
    Ok(())
}

fn pending(session: &mut Session, answer: &DescribeWorkflowExecutionResponse) -> Result<(), Failure> {
    session.out.line("")?;
    if let Some(task) = &answer.pending_workflow_task {
        let state = PendingWorkflowTaskState::try_from(task.state).unwrap_or_default();
        let (scheduled, started) = (session.out.time(task.scheduled_time.as_ref()), session.out.time(task.started_time.as_ref()));
        session.out.title("Pending Workflow Task:")?;
        session.out.card(&[
            ("State", short_name(state.as_str_name(), "PENDING_WORKFLOW_TASK_STATE_").into()),
            ("Attempt", task.attempt.to_string().into()),
            ("ScheduledTime", scheduled.into()),
            ("StartedTime", started.into()),
        ])?;
    }
    session.out.title(format!("Pending Activities: {}", answer.pending_activities.len()))?;
    for activity in &answer.pending_activities {
        session.out.line("")?;
        let card = activity_card(session, activity);
        session.out.card(&card)?;
    }
    session.out.title(format!("Pending Child Workflows: {}", answer.pending_children.len()))?;
    if !answer.pending_children.is_empty() {
        let rows: Vec<_> = answer
            .pending_children
            .iter()
            .map(|child| [&child.workflow_id, &child.run_id, &child.workflow_type_name].map(|text| Cell::from(text.as_str())).to_vec())
            .collect();
        session.out.table(&mut Table::new(&["WorkflowId", "RunId", "Type"]), &rows)?;
    }
    session.out.title(format!("Pending Nexus Operations: {}", answer.pending_nexus_operations.len()))?;
    for operation in &answer.pending_nexus_operations {
        let state = PendingNexusOperationState::try_from(operation.state).unwrap_or_default();
        let next = session.out.time(operation.next_attempt_schedule_time.as_ref());
        session.out.card(&[
            ("Endpoint", operation.endpoint.as_str().into()),
            ("Service", operation.service.as_str().into()),
            ("Operation", operation.operation.as_str().into()),
            ("State", short_name(state.as_str_name(), "PENDING_NEXUS_OPERATION_STATE_").into()),
            ("Attempt", operation.attempt.to_string().into()),
            ("NextAttemptScheduleTime", next.into()),
            ("BlockedReason", operation.blocked_reason.as_str().into()),
        ])?;
    }
    Ok(())
}

fn activity_card(session: &Session, activity: &PendingActivityInfo) -> Vec<(&'static str, Cell)> {
    let state = PendingActivityState::try_from(activity.state).unwrap_or_default();
    let time = |time: &Option<_>| Cell::from(session.out.time(time.as_ref()));
    let attempts = if activity.maximum_attempts > 0 { activity.maximum_attempts.to_string() } else { "unlimited".to_owned() };
    let heartbeat = activity.heartbeat_details.as_ref().map(|details| session.out.json_of(details).to_string()).unwrap_or_default();
    vec![
        ("ActivityId", activity.activity_id.as_str().into()),
        ("Type", activity.activity_type.clone().unwrap_or_default().name.into()),
        ("State", short_name(state.as_str_name(), "PENDING_ACTIVITY_STATE_").into()),
        ("Attempt", activity.attempt.to_string().into()),
        ("MaximumAttempts", attempts.into()),
        ("ScheduledTime", time(&activity.scheduled_time)),
        ("LastStartedTime", time(&activity.last_started_time)),
        ("LastHeartbeatTime", time(&activity.last_heartbeat_time)),
        ("NextAttemptTime", time(&activity.next_attempt_schedule_time)),
        ("ExpirationTime", time(&activity.expiration_time)),
        ("LastFailure", activity.last_failure.clone().unwrap_or_default().message.into()),
        ("LastWorkerIdentity", activity.last_worker_identity.as_str().into()),
        ("LastHeartbeatDetails", heartbeat.into()),
    ]
}

fn reset_points(session: &mut Session, info: &WorkflowExecutionInfo) -> Result<(), Failure> {
    let points = info.auto_reset_points.clone().unwrap_or_default();
    session.out.message(&points)?;
    session.out.title(format!("Auto Reset Points: {}", points.points.len()))?;
    #[expect(deprecated, reason = "older workers have a checksum only")]
    let rows = points.points.iter().map(|point| {
        let build = if point.build_id.is_empty() { &point.binary_checksum } else { &point.build_id };
        let time = session.out.time(point.create_time.as_ref());
        [build.clone(), time, point.run_id.clone(), point.first_workflow_task_completed_id.to_string()].map(Cell::from).to_vec()
    });
    let rows: Vec<_> = rows.collect();
    session.out.table(&mut Table::new(&["Build", "CreateTime", "RunId", "EventId"]), &rows)
}
