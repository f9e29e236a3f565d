//! What ends an operation without workflow, and what comes before: cancel requests, its start by the handler.

use alloc::{boxed::Box, format, string::String, vec::Vec};

use bytes::Bytes;
use sempre_api::v1::{
    common::{Link, Payload, Payloads},
    enums::WorkflowExecutionStatus,
    failure::{Failure, failure::FailureInfo},
    history::{
        NexusOperationCancelRequestedEventAttributes, WorkflowExecutionCanceledEventAttributes, WorkflowExecutionCompletedEventAttributes,
        WorkflowExecutionFailedEventAttributes, WorkflowExecutionTimedOutEventAttributes, history_event::Attributes,
    },
};

use super::{Outcome, SCHEDULED_EVENT_ID, info, part};
use crate::{
    Refusal, Reply, Timestamp,
    alone::close::{terminated, was_terminated_by},
    close,
    nexus::{self, End, HANDLER_LINKS_MAX},
    step::Step,
};

type Answer = Result<Result<Reply, Refusal>, Refusal>;

/// RequestCancelNexusOperationExecution.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CancelOperationRun {
    /// Idempotency key; never empty.
    pub request_id: String,
    /// Why.
    pub reason: String,
}

/// TerminateNexusOperationExecution.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TerminateOperationRun {
    /// Who asks.
    pub identity: String,
    /// Idempotency key; never empty.
    pub request_id: String,
    /// Why.
    pub reason: String,
}

/// Records a cancel request. It goes to the handler at once, or when the handler has started the operation.
pub(crate) fn cancel(step: &mut Step<'_, '_>, request: CancelOperationRun) -> Answer {
    let before = step.run.state.progress.main.cancel_request_id.as_str();
    if !before.is_empty() && before == request.request_id {
        return Ok(Ok(Reply::Done));
    }
    if !step.run.is_open() {
        return Err(Refusal::FailedPrecondition("operation already completed".into()));
    }
    if !before.is_empty() {
        return Err(Refusal::FailedPrecondition(format!("cancellation already requested with request ID {before}")));
    }
    step.event(Attributes::NexusOperationCancelRequestedEventAttributes(NexusOperationCancelRequestedEventAttributes {
        scheduled_event_id: SCHEDULED_EVENT_ID,
        workflow_task_completed_event_id: 0,
    }));
    let main = &mut step.run.state.progress.main;
    main.cancel_request_id = request.request_id;
    if let Some(own) = &mut main.operation {
        own.cancel_reason = request.reason;
    }
    step.touch();
    nexus::send_cancel_if_due(step, SCHEDULED_EVENT_ID);
    Ok(Ok(Reply::Done))
}

/// Closes the operation now. Its handler does not hear of it.
pub(crate) fn terminate(step: &mut Step<'_, '_>, request: TerminateOperationRun) -> Answer {
    let before = part(&step.run.state).map_or("", |own| own.terminate_request_id.as_str());
    if was_terminated_by(before, &request.request_id)? {
        return Ok(Ok(Reply::Done));
    }
    if !step.run.is_open() {
        return Err(Refusal::FailedPrecondition(format!("invalid transition from {}", state_name(step.run.status()))));
    }
    if let Some(own) = &mut step.run.state.progress.main.operation {
        own.terminate_request_id = request.request_id;
    }
    let (failure, event) = terminated(request.identity, request.reason);
    end(step, failed(failure), event);
    Ok(Ok(Reply::Done))
}

/// The name of a closed operation's state.
fn state_name(status: WorkflowExecutionStatus) -> String {
    match status {
        WorkflowExecutionStatus::Completed => "Succeeded".into(),
        other => format!("{other:?}"),
    }
}

/// The handler has started it, as a Started event tells.
pub(crate) fn started(step: &mut Step<'_, '_>, time: Timestamp, links: Vec<Link>) {
    keep_links(step, links);
    // This ends an attempt even if the answer to it never comes.
    let Some(mut progress) = step.run.state.progress.operations.get(&SCHEDULED_EVENT_ID).cloned() else { return };
    progress.start.last_complete_time = time.0;
    progress.start.last_failure = None;
    progress.start.next_time = 0;
    progress.start.blocked = false;
    nexus::put(step, SCHEDULED_EVENT_ID, progress);
}

fn keep_links(step: &mut Step<'_, '_>, links: Vec<Link>) {
    if let Some(own) = &mut step.run.state.progress.main.operation {
        let room = HANDLER_LINKS_MAX.saturating_sub(own.links.len());
        own.links.extend(links.into_iter().take(room));
    }
}

/// The operation has ended, which in a workflow would be an event of it: that is the end of the run.
pub(crate) fn closed(step: &mut Step<'_, '_>, ended: End) {
    // Whoever waits for it by a callback is told by what the closing event says. Nobody else reads that.
    let told = !step.run.state.derived.callbacks.is_empty();
    let (outcome, event) = match ended {
        End::Completed(result, links) => {
            keep_links(step, links);
            let result = result.unwrap_or_else(null);
            let event = WorkflowExecutionCompletedEventAttributes {
                result: told.then(|| Payloads { payloads: Vec::from([result.clone()]) }),
                ..Default::default()
            };
            let outcome = Outcome { result: Some(result), failure: None };
            (outcome, Attributes::WorkflowExecutionCompletedEventAttributes(event))
        }
        End::Failed(failure) => {
            let failure = nexus::cut(failure);
            let event = WorkflowExecutionFailedEventAttributes { failure: told.then(|| failure.clone()), ..Default::default() };
            (failed(failure), Attributes::WorkflowExecutionFailedEventAttributes(event))
        }
        End::Canceled(failure) => {
            let failure = nexus::cut(failure);
            let details = match &failure.failure_info {
                Some(FailureInfo::CanceledFailureInfo(info)) if told => info.details.clone(),
                _ => None,
            };
            let event = WorkflowExecutionCanceledEventAttributes { details, ..Default::default() };
            (failed(failure), Attributes::WorkflowExecutionCanceledEventAttributes(event))
        }
        End::TimedOut(timeout) => {
            let event = WorkflowExecutionTimedOutEventAttributes::default();
            (failed(nexus::timed_out(timeout)), Attributes::WorkflowExecutionTimedOutEventAttributes(event))
        }
    };
    end(step, outcome, event);
}

/// The payload that stands for nothing.
fn null() -> Payload {
    Payload { metadata: [("encoding".into(), Bytes::from_static(b"binary/null"))].into(), ..Payload::default() }
}

fn failed(failure: Failure) -> Outcome {
    Outcome { result: None, failure: Some(Box::new(failure)) }
}

fn end(step: &mut Step<'_, '_>, outcome: Outcome, event: Attributes) {
    debug_assert!(info(&step.run.state).is_some(), "its second event has scheduled it");
    if let Some(own) = &mut step.run.state.progress.main.operation {
        own.outcome = Some(Box::new(outcome));
    }
    // Its start may have become known just now.
    step.flush();
    close::standalone(step, event);
}
