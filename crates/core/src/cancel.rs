//! Requests to cancel a run (spec 01 §6.2, 04 §3).

use sempre_api::v1::history::{HistoryEvent, WorkflowExecutionCancelRequestedEventAttributes, history_event::Attributes};

use crate::{
    Refusal, Reply, RunId, RunKey, flow,
    input::{CancelRequest, ExternalSource},
    refusal::text,
    step::Step,
    task, validate,
};

/// Records a cancel request: once; a closed run takes it without effect.
pub(crate) fn request_cancel(step: &mut Step<'_, '_>, request: CancelRequest) -> Result<Result<Reply, Refusal>, Refusal> {
    if request.source.is_none() && request.parent.is_none() {
        // As long as they like: the reason is what a person has to say.
        validate::links(&request.links)?;
    }
    // Whose run it was does not matter any more.
    if !step.run.is_open() {
        return Ok(Ok(Reply::Done));
    }
    check_chain(step, &request.first_run_id)?;
    if let Some(parent) = &request.parent {
        check_parent(step, parent, request.reset_parent)?;
    }
    if let Some(source) = &request.source {
        check_source(step, source)?;
    }
    let state = &step.run.state;
    if state.derived.main.cancel_requested || state.progress.buffer.cancel_requested() {
        return Ok(Ok(Reply::Done));
    }
    let now = step.now();
    let source = request.source;
    step.buffer_event(HistoryEvent {
        event_time: Some(now.to_api()),
        links: request.links,
        attributes: Some(Attributes::WorkflowExecutionCancelRequestedEventAttributes(WorkflowExecutionCancelRequestedEventAttributes {
            cause: request.reason,
            identity: request.identity,
            external_initiated_event_id: source.as_ref().map_or(0, |s| s.initiated_event_id),
            external_workflow_execution: source.map(|s| s.run).or(request.parent).map(|run| run.to_api()),
        })),
        ..Default::default()
    });
    let main = &mut step.run.state.progress.main;
    main.cancel_request_id = request.request_id;
    // A delayed first task comes at once (spec 01 §3.5).
    main.first_task_at = 0;
    task::schedule_if_needed(step);
    flow::hold::cancel(step);
    Ok(Ok(Reply::Done))
}

/// The run must belong to the chain that the request names.
pub(crate) fn check_chain(step: &Step<'_, '_>, first_run_id: &str) -> Result<(), Refusal> {
    if first_run_id.is_empty() || step.run.first_run_id() == first_run_id {
        return Ok(());
    }
    Err(Refusal::not_found(text::EXECUTION_NOT_FOUND))
}

/// The run must be a child of the workflow that asks, if it asked for that.
pub(crate) fn check_source(step: &Step<'_, '_>, source: &ExternalSource) -> Result<(), Refusal> {
    if source.child_only { check_parent(step, &source.run, source.reset_parent) } else { Ok(()) }
}

/// The run must be a child of that run, or of the one in whose place a reset has put it.
pub(crate) fn check_parent(step: &Step<'_, '_>, parent: &RunKey, reset_parent: Option<RunId>) -> Result<(), Refusal> {
    let own = step.run.state.derived.start.event().parent_workflow_execution.as_ref();
    let is_parent = |run: RunId| own.is_some_and(|own| *own == RunKey { run, ..parent.clone() }.to_api());
    if is_parent(parent.run) || reset_parent.is_some_and(is_parent) {
        return Ok(());
    }
    Err(Refusal::not_found("workflow parent does not match"))
}
