//! The end of a run: close events, successors, and what every end has in common (spec 01 §6.4–10).

use alloc::{boxed::Box, string::String, vec::Vec};

use sempre_api::v1::{
    command::ContinueAsNewWorkflowExecutionCommandAttributes,
    common::{Link, Payloads},
    enums::{ContinueAsNewInitiator, RetryState, TimeoutType, WorkflowExecutionStatus},
    failure::{Failure, TimeoutFailureInfo, failure::FailureInfo},
    history::{
        HistoryEvent, WorkflowExecutionCanceledEventAttributes, WorkflowExecutionCompletedEventAttributes,
        WorkflowExecutionContinuedAsNewEventAttributes, WorkflowExecutionFailedEventAttributes, WorkflowExecutionStartedEventAttributes,
        WorkflowExecutionTerminatedEventAttributes, WorkflowExecutionTimedOutEventAttributes, history_event::Attributes,
    },
};

use crate::{
    NamespaceId, RunId, RunKey, Span, Timestamp, WorkflowKey, activity, callbacks, child,
    command::Notes,
    cron::CronTable,
    flow,
    ids::Uuid,
    input::ChildClosed,
    nexus, query,
    retry::{self, Decision},
    start::{NewRun, create},
    state::{
        ResetInfo,
        derived::{memo_of_start, search_of_start},
    },
    step::{Continues, Step},
    task, time_skipping,
    transition::OutboxMessage,
    versioning,
};

/// CompleteWorkflowExecution: closes the run, or lets cron go on.
pub(crate) fn complete_workflow(step: &mut Step<'_, '_>, completed_event_id: i64, result: Option<Payloads>, notes: Notes) {
    let next = cron_delay(step).map(|backoff| {
        let mut attributes = successor_attributes(step, ContinueAsNewInitiator::CronSchedule);
        attributes.last_completion_result = result.clone();
        attributes.continued_failure = None;
        attributes.first_workflow_task_backoff = Some(backoff.to_api());
        attributes
    });
    let new_execution_run_id = next.map_or_else(String::new, |attributes| successor(step, attributes));
    let event = Attributes::WorkflowExecutionCompletedEventAttributes(WorkflowExecutionCompletedEventAttributes {
        result,
        workflow_task_completed_event_id: completed_event_id,
        new_execution_run_id: new_execution_run_id.clone(),
    });
    let event = write(step, event, notes);
    closed(step, event, End::continuing(&new_execution_run_id));
}

/// FailWorkflowExecution: closes the run, retries it, or lets cron go on.
pub(crate) fn fail_workflow(step: &mut Step<'_, '_>, completed_event_id: i64, failure: Failure, notes: Notes) {
    let (retry_state, next) = after_failure(step, &failure, false);
    let new_execution_run_id = next.map_or_else(String::new, |attributes| successor(step, attributes));
    let event = Attributes::WorkflowExecutionFailedEventAttributes(WorkflowExecutionFailedEventAttributes {
        failure: Some(failure),
        retry_state: retry_state as i32,
        workflow_task_completed_event_id: completed_event_id,
        new_execution_run_id: new_execution_run_id.clone(),
    });
    let event = write(step, event, notes);
    closed(step, event, End::continuing(&new_execution_run_id));
}

/// CancelWorkflowExecution.
pub(crate) fn cancel_workflow(step: &mut Step<'_, '_>, completed_event_id: i64, details: Option<Payloads>, notes: Notes) {
    let event = Attributes::WorkflowExecutionCanceledEventAttributes(WorkflowExecutionCanceledEventAttributes {
        workflow_task_completed_event_id: completed_event_id,
        details,
    });
    let event = write(step, event, notes);
    closed(step, event, End::Chain);
}

/// ContinueAsNewWorkflowExecution (spec 01 §10).
#[allow(deprecated, reason = "old fields that workers and clients still send and read")]
pub(crate) fn continue_as_new(
    step: &mut Step<'_, '_>,
    completed_event_id: i64,
    command: ContinueAsNewWorkflowExecutionCommandAttributes,
    notes: Notes,
) {
    let initiator = match command.initiator() {
        ContinueAsNewInitiator::Unspecified => ContinueAsNewInitiator::Workflow,
        other => other,
    };
    let initial = command.initial_versioning_behavior();
    let own = step.run.state.derived.start.event().clone();
    let asked = Span::from_api(command.backoff_start_interval.as_ref()).unwrap_or_default();
    let derived = &step.run.state.derived;
    // From when it could begin: a back-off is no life.
    let lived = step.now().since(derived.execution_time());
    let backoff = asked.max(Span(step.cx.limits.continue_as_new_interval_min.0 - lived.0));
    let mut attributes = successor_attributes(step, initiator);
    attributes.attempt = if initiator == ContinueAsNewInitiator::Retry { own.attempt + 1 } else { 1 };
    attributes.workflow_type = command.workflow_type.filter(|t| !t.name.is_empty()).or(own.workflow_type);
    attributes.task_queue = command.task_queue.filter(|q| !q.name.is_empty()).or(own.task_queue);
    attributes.workflow_run_timeout = command.workflow_run_timeout.filter(|d| *d != Default::default()).or(own.workflow_run_timeout);
    attributes.workflow_task_timeout = command.workflow_task_timeout.filter(|d| *d != Default::default()).or(own.workflow_task_timeout);
    attributes.input = command.input;
    attributes.header = command.header;
    attributes.memo = memo_of_start(command.memo);
    attributes.search_attributes = search_of_start(command.search_attributes);
    attributes.retry_policy = command.retry_policy;
    attributes.cron_schedule = command.cron_schedule;
    attributes.continued_failure = command.failure;
    attributes.last_completion_result = command.last_completion_result;
    attributes.first_workflow_task_backoff = backoff.to_api_option();
    versioning::inherit::continue_as_new(step, &mut attributes, initial);
    let mut event = WorkflowExecutionContinuedAsNewEventAttributes {
        workflow_type: attributes.workflow_type.clone(),
        task_queue: attributes.task_queue.clone(),
        input: attributes.input.clone(),
        workflow_run_timeout: attributes.workflow_run_timeout,
        workflow_task_timeout: attributes.workflow_task_timeout,
        workflow_task_completed_event_id: completed_event_id,
        // As the command has them: what the server adds is seen in the next run's first event.
        backoff_start_interval: command.backoff_start_interval,
        initiator: command.initiator,
        failure: attributes.continued_failure.clone(),
        last_completion_result: attributes.last_completion_result.clone(),
        header: attributes.header.clone(),
        memo: attributes.memo.clone(),
        search_attributes: attributes.search_attributes.clone(),
        inherit_build_id: command.inherit_build_id,
        ..Default::default()
    };
    event.new_execution_run_id = successor(step, attributes);
    let event = write(step, Attributes::WorkflowExecutionContinuedAsNewEventAttributes(Box::new(event)), notes);
    closed(step, event, End::Run);
}

/// Writes the close event that a command made, with the command's notes.
fn write(step: &mut Step<'_, '_>, attributes: Attributes, notes: Notes) -> HistoryEvent {
    let now = step.now();
    step.write_closing(HistoryEvent {
        event_time: Some(now.to_api()),
        user_metadata: notes.user_metadata,
        event_group_markers: notes.event_group_markers,
        attributes: Some(attributes),
        ..Default::default()
    })
}

/// Writes Terminated. The caller has dealt with a started workflow task.
pub(crate) fn terminate(step: &mut Step<'_, '_>, reason: String, details: Option<Payloads>, identity: String, links: Vec<Link>) {
    let now = step.now();
    let event = step.write_closing(HistoryEvent {
        event_time: Some(now.to_api()),
        links,
        attributes: Some(Attributes::WorkflowExecutionTerminatedEventAttributes(WorkflowExecutionTerminatedEventAttributes {
            reason,
            details,
            identity,
        })),
        ..Default::default()
    });
    closed(step, event, End::Chain);
}

/// Writes Terminated for a run that a reset ends: its parent is not told, because the new run goes on in its place.
/// `keeps_children`: the new run is made from this one and shares its children; no close policy is applied.
pub(crate) fn terminate_by_reset(step: &mut Step<'_, '_>, reason: String, identity: String, keeps_children: bool) {
    let event = step.closing_event(Attributes::WorkflowExecutionTerminatedEventAttributes(WorkflowExecutionTerminatedEventAttributes {
        reason,
        details: None,
        identity,
    }));
    closed(step, event, if keeps_children { End::Reset } else { End::Run });
}

/// Writes the event that ends an activity or an operation without workflow.
pub(crate) fn standalone(step: &mut Step<'_, '_>, attributes: Attributes) {
    let event = step.closing_event(attributes);
    closed(step, event, End::Chain);
}

/// The run's own time is up: retry, cron or the end (spec 01 §7).
pub(crate) fn run_timed_out(step: &mut Step<'_, '_>) {
    // First: what was buffered beside a task (callbacks, options) is of the next run too.
    task::force_close(step);
    step.flush();
    let over = step.run.state.derived.execution_expiration().is_some_and(|end| end <= step.now());
    let (retry_state, next) = if over { (RetryState::Timeout, None) } else { after_failure(step, &workflow_timeout(), true) };
    let new_execution_run_id = next.map_or_else(String::new, |attributes| successor(step, attributes));
    let event = step.closing_event(Attributes::WorkflowExecutionTimedOutEventAttributes(WorkflowExecutionTimedOutEventAttributes {
        retry_state: retry_state as i32,
        new_execution_run_id: new_execution_run_id.clone(),
    }));
    closed(step, event, End::continuing(&new_execution_run_id));
}

/// The failure that a run's timeout counts as.
pub(crate) fn workflow_timeout() -> Failure {
    Failure {
        message: "workflow timeout".into(),
        source: "Server".into(),
        failure_info: Some(FailureInfo::TimeoutFailureInfo(TimeoutFailureInfo {
            timeout_type: TimeoutType::StartToClose as i32,
            last_heartbeat_details: None,
        })),
        ..Default::default()
    }
}

/// Retry, else cron, else nothing; with the retry state for the close event.
fn after_failure(step: &Step<'_, '_>, failure: &Failure, timed_out: bool) -> (RetryState, Option<WorkflowExecutionStartedEventAttributes>) {
    let own = step.run.state.derived.start.event();
    let decision = retry::decide(
        own.retry_policy.as_ref(),
        own.attempt,
        step.now(),
        step.run.state.derived.execution_expiration(),
        Some(failure),
        false,
        retry::Kind::Workflow,
    );
    let state = match decision {
        Decision::Retry { after } => {
            let mut attributes = successor_attributes(step, ContinueAsNewInitiator::Retry);
            attributes.attempt = own.attempt + 1;
            attributes.continued_failure = Some(failure.clone());
            attributes.first_workflow_task_backoff = Some(after.to_api());
            if !timed_out {
                attributes.last_completion_result = None;
            }
            return (RetryState::InProgress, Some(attributes));
        }
        Decision::Stop(state) => state,
    };
    let next = cron_delay(step).map(|backoff| {
        let mut attributes = successor_attributes(step, ContinueAsNewInitiator::CronSchedule);
        attributes.continued_failure = Some(failure.clone());
        attributes.first_workflow_task_backoff = Some(backoff.to_api());
        attributes
    });
    (state, next)
}

/// Time until the next cron run, whole seconds (spec 01 §9). `None` without a schedule or a next tick.
fn cron_delay(step: &Step<'_, '_>) -> Option<Span> {
    let derived = &step.run.state.derived;
    let spec = derived.start.event().cron_schedule.as_str();
    if spec.is_empty() {
        return None;
    }
    next_cron(step.cx.cron, spec, derived.execution_time(), step.now())
}

/// From a run's execution time to the first tick that is not before `now`, as a delay from `now`.
pub(crate) fn next_cron(cron: &dyn CronTable, spec: &str, from: Timestamp, now: Timestamp) -> Option<Span> {
    let mut tick = cron.next(spec, from).ok()??;
    if tick < now {
        tick = if spec.contains("@every") {
            // Counted from tick to tick: as many whole periods further as are missing.
            let period = cron.next(spec, tick).ok()??.since(tick).0.max(1);
            let missing = (now.since(tick).0 + period - 1) / period;
            tick + Span(missing.saturating_mul(period))
        } else {
            cron.next(spec, Timestamp(now.0 - 1)).ok()??
        };
    }
    const SECOND: i64 = 1_000_000_000;
    Some(Span((tick.since(now).0 + SECOND - 1) / SECOND * SECOND))
}

/// Started attributes of the next run of the chain, as this run's were; the caller changes the rest.
fn successor_attributes(step: &Step<'_, '_>, initiator: ContinueAsNewInitiator) -> WorkflowExecutionStartedEventAttributes {
    let derived = &step.run.state.derived;
    let mut attributes = derived.start.event().clone();
    attributes.workflow_execution_expiration_time = derived.execution_expiration().map(Timestamp::to_api);
    attributes.priority = derived.priority().cloned();
    let own = alloc::format!("{}", step.run.key.run);
    (attributes.time_skipping_config, attributes.time_skipping_state_propagation) = time_skipping::to_next_run(&step.run.state);
    attributes.prev_auto_reset_points = derived.reset_points.to_api(&own, Some(step.now() + step.cx.namespace.retention));
    attributes.continued_execution_run_id = alloc::format!("{}", step.run.key.run);
    attributes.initiator = initiator as i32;
    attributes.attempt = 1;
    attributes.identity = String::new();
    attributes.first_workflow_task_backoff = None;
    attributes.eager_execution_accepted = false;
    versioning::inherit::again(step, &mut attributes, initiator == ContinueAsNewInitiator::Retry);
    // A run that cron starts is another story (spec 01 §9).
    if initiator != ContinueAsNewInitiator::CronSchedule {
        attributes.completion_callbacks = callbacks::of_chain(&step.run.state);
    }
    attributes
}

/// Creates the next run in the same transition. Returns its run id.
fn successor(step: &mut Step<'_, '_>, mut attributes: WorkflowExecutionStartedEventAttributes) -> String {
    let run = step.cx.ids.run_id(step.cx.now);
    let run_id = alloc::format!("{run}");
    attributes.original_execution_run_id = run_id.clone();
    // A parent whose answer got lost asks for its child again: any run of the chain is that child.
    let request_id = match attributes.parent_workflow_execution {
        Some(_) => step.run.state.progress.main.start_request_id.clone(),
        None => step.cx.ids.uuid(),
    };
    // Whoever has not heard of its start asks again, and the chain may have gone on since.
    let main = &step.run.state.progress.main;
    let chain_request_id = if main.chain_request_id.is_empty() { &main.start_request_id } else { &main.chain_request_id }.clone();
    let chain_signaled = step.run.signal_ids.contains(&chain_request_id);
    let by_cron = attributes.initiator == ContinueAsNewInitiator::CronSchedule as i32;
    let new = NewRun {
        key: RunKey { workflow: step.run.key.workflow.clone(), run },
        flow: flow::hold::handed_on(&step.run.state, by_cron),
        request_id,
        chain_request_id,
        chain_signaled,
        earlier_resets: ResetInfo::resets_up_to(step.run.state.progress.reset.as_deref(), step.run.key.run),
        attributes,
        links: step.run.state.derived.start.links.clone(),
        user_metadata: step.run.state.derived.start.user_metadata.clone(),
        held: false,
        signal: None,
        eager: None,
    };
    let (execution, transition, _) = create(new, step.cx);
    step.out.successor = Some(Box::new((execution, transition)));
    run_id
}

/// What ends with a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The chain: the parent is told.
    Chain,
    /// The run only: another one of the same chain goes on.
    Run,
    /// As [`End::Run`], and the one that goes on has this run's children.
    Reset,
}

impl End {
    fn continuing(new_execution_run_id: &str) -> Self {
        if new_execution_run_id.is_empty() { Self::Chain } else { Self::Run }
    }
}

/// What every end has in common (spec 01 §6.4).
fn closed(step: &mut Step<'_, '_>, event: HistoryEvent, end: End) {
    task::clear(step);
    activity::drop_all(step);
    nexus::drop_all(step);
    if end != End::Reset {
        child::apply_close_policies(step);
    }
    let retention = step.cx.namespace.retention;
    let now = step.now();
    let progress = &mut step.run.state.progress;
    progress.buffer.take();
    progress.main.sticky = None;
    progress.main.first_task_at = 0;
    progress.main.held = false;
    progress.main.flow = None;
    progress.main.delete_at = (now + retention).0;
    query::release_all(step);
    // Messages of the completion that closed it are still to come. Updates that wait go to the run that goes on, also
    // to one that a reset makes.
    let by_reset = end != End::Chain && step.run.status() == WorkflowExecutionStatus::Terminated;
    step.closed = Some(match end {
        End::Chain => Continues::No,
        _ if by_reset => Continues::ByReset,
        _ => Continues::Chain,
    });
    if end == End::Chain {
        report_to_parent(step, event);
    }
    // A run that a reset ended goes on in another one: the reset tells those that this one does not have.
    if !by_reset {
        callbacks::fire(step);
    }
    step.out.current = Some(step.current_record());
    step.touch();
}

fn report_to_parent(step: &mut Step<'_, '_>, event: HistoryEvent) {
    let start = step.run.state.derived.start.event();
    let Some(parent) = &start.parent_workflow_execution else { return };
    let (Some(namespace), Some(run)) = (Uuid::parse(&start.parent_workflow_namespace_id), RunId::parse(&parent.run_id)) else {
        return;
    };
    let parent = RunKey { workflow: WorkflowKey { namespace: NamespaceId(namespace), workflow_id: parent.workflow_id.clone() }, run };
    let news = ChildClosed {
        initiated_event_id: start.parent_initiated_event_id,
        child: step.run.key.to_api(),
        first_run_id: start.first_execution_run_id.clone(),
        workflow_type: step.run.state.derived.start.workflow_type().into(),
        close_event: Box::new(event),
    };
    step.message(OutboxMessage::ChildClosed { parent, news: Box::new(news) });
}
