//! What became of the messages in this run's outbox (spec 04 §3–4).
//!
//! A delivery may be told twice, and after the run has closed: what is not pending any more is left alone.

use alloc::string::String;

use crate::{
    Refusal, Reply, callbacks, child, nexus,
    planted::{self, Bug},
    state::{ExternalInfo, ExternalKind},
    step::Step,
    task,
    transition::Delivery,
};
use sempre_api::v1::history::{
    ExternalWorkflowExecutionCancelRequestedEventAttributes, ExternalWorkflowExecutionSignaledEventAttributes,
    RequestCancelExternalWorkflowExecutionFailedEventAttributes, SignalExternalWorkflowExecutionFailedEventAttributes,
    history_event::Attributes,
};

/// Request id of a signal or cancel request to another workflow: the same when a reset sends it again, so that it has
/// one effect. `writer` is the run that wrote the Initiated event.
pub(crate) fn request_id(writer: &str, initiated_event_id: i64) -> String {
    alloc::format!("{writer}:{initiated_event_id}")
}

/// The message has been dealt with: removes its row; a start of a child, a signal or a cancel gets its result event.
pub(crate) fn delivered(step: &mut Step<'_, '_>, outbox_id: u64, delivery: Delivery) -> Result<Result<Reply, Refusal>, Refusal> {
    if let Delivery::ChildStarted { initiated_event_id, run_id } = &delivery
        && child::is_unknown(&step.run.state, *initiated_event_id, run_id)
    {
        // The row stays until the engine has ended that run.
        return Ok(Ok(Reply::Obsolete));
    }
    if let Delivery::ChildStarted { initiated_event_id, .. } = &delivery
        && let Some(run) = child::heir(&step.run.state, *initiated_event_id)
    {
        // The row stays until the engine has asked that one.
        return Ok(Ok(Reply::ResetTo(run)));
    }
    step.out.outbox_gone.push(outbox_id);
    step.touch();
    match delivery {
        Delivery::Ok => {}
        Delivery::Operation { scheduled_event_id, attempt, result } => nexus::start_answered(step, scheduled_event_id, attempt, result),
        Delivery::OperationCancel { scheduled_event_id, attempt, result } => {
            nexus::cancel_answered(step, scheduled_event_id, attempt, result);
        }
        Delivery::Callback { number, attempt, result } => callbacks::attempted(step, number, attempt, result),
        Delivery::ChildStarted { initiated_event_id, run_id } | Delivery::ChildLeft { initiated_event_id, run_id } => {
            child::started(step, initiated_event_id, run_id);
        }
        Delivery::ChildNotStarted { initiated_event_id, cause } => child::not_started(step, initiated_event_id, cause),
        Delivery::Done { initiated_event_id } => answered(step, initiated_event_id, succeeded),
        Delivery::Failed { initiated_event_id, cause } => answered(step, initiated_event_id, |info| failed(info, cause)),
    }
    Ok(Ok(Reply::Done))
}

/// Writes the result of a pending signal or cancel request. A closed sender does not learn it.
fn answered(step: &mut Step<'_, '_>, initiated_event_id: i64, result: impl FnOnce(&ExternalInfo) -> Attributes) {
    let state = &step.run.state;
    if planted::is(Bug::ExternalAnswersDropped) || !step.run.is_open() || state.progress.buffer.answers_external(initiated_event_id) {
        return;
    }
    let Some(info) = state.derived.externals.get(&initiated_event_id) else { return };
    let mut info = ExternalInfo::clone(info);
    if info.namespace.is_empty() {
        info.namespace.clone_from(&step.cx.namespace.name);
    }
    let attributes = result(&info);
    step.buffer(attributes);
    task::schedule_if_needed(step);
}

fn succeeded(info: &ExternalInfo) -> Attributes {
    match info.kind() {
        ExternalKind::Signal => {
            Attributes::ExternalWorkflowExecutionSignaledEventAttributes(ExternalWorkflowExecutionSignaledEventAttributes {
                initiated_event_id: info.initiated_event_id,
                namespace: info.namespace.clone(),
                namespace_id: info.namespace_id.clone(),
                workflow_execution: info.target.clone(),
                ..Default::default()
            })
        }
        ExternalKind::Cancel => {
            Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(ExternalWorkflowExecutionCancelRequestedEventAttributes {
                initiated_event_id: info.initiated_event_id,
                namespace: info.namespace.clone(),
                namespace_id: info.namespace_id.clone(),
                workflow_execution: info.target.clone(),
            })
        }
    }
}

/// `workflow_task_completed_event_id` of these events is 0 (spec 01 §16).
fn failed(info: &ExternalInfo, cause: i32) -> Attributes {
    match info.kind() {
        ExternalKind::Signal => {
            Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(SignalExternalWorkflowExecutionFailedEventAttributes {
                cause,
                workflow_task_completed_event_id: 0,
                namespace: info.namespace.clone(),
                namespace_id: info.namespace_id.clone(),
                workflow_execution: info.target.clone(),
                initiated_event_id: info.initiated_event_id,
                ..Default::default()
            })
        }
        ExternalKind::Cancel => Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(
            RequestCancelExternalWorkflowExecutionFailedEventAttributes {
                cause,
                workflow_task_completed_event_id: 0,
                namespace: info.namespace.clone(),
                namespace_id: info.namespace_id.clone(),
                workflow_execution: info.target.clone(),
                initiated_event_id: info.initiated_event_id,
                ..Default::default()
            },
        ),
    }
}
