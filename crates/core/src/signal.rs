//! Signals into a run (spec 04 §2).

use alloc::string::{String, ToString};

use prost::Message;
use sempre_api::v1::{
    enums::EventType,
    history::{HistoryEvent, WorkflowExecutionSignaledEventAttributes, history_event::Attributes},
    workflowservice::SignalWorkflowExecutionResponse,
};

use crate::{
    Refusal, Reply,
    input::SignalRequest,
    planted::{self, Bug},
    refusal::text,
    start::request_link,
    step::Step,
    task, validate,
};

/// Applies a signal, once per request id.
pub(crate) fn signal(step: &mut Step<'_, '_>, request: SignalRequest) -> Result<Result<Reply, Refusal>, Refusal> {
    if request.source.is_none() {
        let limits = step.cx.limits;
        validate::signal(&request.name, &request.request_id, &request.identity, request.input.as_ref(), limits)?;
        validate::links(&request.links)?;
    }
    let (key, run_id) = (&step.run.key.workflow, step.run.key.run.to_string());
    let link = request_link(key, &run_id, &request.request_id, EventType::WorkflowExecutionSignaled, step.cx);
    let done = Ok(Ok(Reply::Signaled(SignalWorkflowExecutionResponse { link: Some(link) })));
    if !planted::is(Bug::SignalsForgotten) && !request.request_id.is_empty() && step.run.signal_ids.contains(&request.request_id) {
        return done;
    }
    step.require_open()?;
    match &request.source {
        Some(source) => crate::cancel::check_source(step, source)?,
        // What runs goes on: only clients are asked.
        None => step.cx.gate.room_for_more(step.cx.namespace, step.cx.limits)?,
    }
    let received = step.run.state.derived.main.signal_count + step.run.state.progress.buffer.signals() as i64;
    if received >= step.cx.limits.signals_max {
        return Err(Refusal::invalid("exceeded workflow execution limit for signal events"));
    }
    if step.run.state.progress.main.closing && step.task_started() {
        return Err(Refusal::busy(text::CLOSING));
    }
    if request.input.as_ref().is_some_and(|i| i.encoded_len() > step.cx.limits.blob_size_max) {
        return Err(Refusal::invalid(text::BLOB_TOO_LARGE));
    }
    record(step, request);
    done
}

/// Writes (or buffers) the Signaled event and schedules a task for it.
pub(crate) fn record(step: &mut Step<'_, '_>, request: SignalRequest) {
    let with_start = request.with_start;
    record_only(step, request);
    if with_start && step.run.state.progress.main.first_task_at != 0 {
        step.run.state.progress.main.first_task_at = 0;
    }
    task::schedule_if_needed(step);
}

/// Whoever comes with this request id has been here.
pub(crate) fn remember(step: &mut Step<'_, '_>, request_id: String) {
    if step.run.signal_ids.insert(request_id.clone()) {
        let main = &mut step.run.state.progress.main;
        main.signal_rows += 1;
        step.run.state.dirty.signal_ids.push((main.signal_rows, request_id));
    }
}

/// Writes (or buffers) the Signaled event.
pub(crate) fn record_only(step: &mut Step<'_, '_>, request: SignalRequest) {
    if !request.request_id.is_empty() {
        remember(step, request.request_id.clone());
    }
    let now = step.now();
    step.buffer_event(HistoryEvent {
        event_time: Some(now.to_api()),
        links: request.links,
        attributes: Some(Attributes::WorkflowExecutionSignaledEventAttributes(WorkflowExecutionSignaledEventAttributes {
            signal_name: request.name,
            input: request.input,
            identity: request.identity,
            header: request.header,
            external_workflow_execution: request.source.map(|s| s.run.to_api()),
            request_id: request.request_id,
            ..Default::default()
        })),
        ..Default::default()
    });
}
