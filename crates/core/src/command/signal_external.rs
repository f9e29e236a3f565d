//! SignalExternalWorkflowExecution (spec 04 §3).

use alloc::{boxed::Box, format, string::ToString};

use prost::Message;
use sempre_api::v1::{
    command::SignalExternalWorkflowExecutionCommandAttributes,
    enums::{SignalExternalWorkflowExecutionFailedCause, WorkflowTaskFailedCause as Cause},
    history::{
        SignalExternalWorkflowExecutionFailedEventAttributes, SignalExternalWorkflowExecutionInitiatedEventAttributes,
        history_event::Attributes,
    },
};

use super::{CommandFailure, Completion, Notes, target, within_limit, write};
use crate::{
    child, external,
    state::ExternalKind,
    step::Step,
    transition::{ExternalSignal, OutboxMessage},
};

const CAUSE: Cause = Cause::BadSignalWorkflowExecutionAttributes;

#[expect(deprecated, reason = "the namespace is refused unless it is the run's own")]
pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &mut Completion,
    a: SignalExternalWorkflowExecutionCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    check(step, &a)?;
    let limit = step.cx.limits.pending_signals_max;
    let pending = target::pending(step, ExternalKind::Signal);
    within_limit(Cause::PendingSignalsLimitExceeded, "pending signals to external workflows", pending, limit)?;
    if a.input.as_ref().is_some_and(|p| p.encoded_len() > step.cx.limits.blob_size_max) {
        let text = "SignalExternalWorkflowExecutionCommandAttributes.Input exceeds size limit.";
        return Err(CommandFailure::too_large(CAUSE, text));
    }

    let (namespace, namespace_id) = target::namespace(step);
    let execution = a.execution.clone().unwrap_or_default();
    let attributes = SignalExternalWorkflowExecutionInitiatedEventAttributes {
        workflow_task_completed_event_id: completion.completed_event_id,
        // As the command names it; the answer names it in full.
        namespace: a.namespace.clone(),
        namespace_id: namespace_id.clone(),
        workflow_execution: a.execution.clone(),
        signal_name: a.signal_name.clone(),
        input: a.input.clone(),
        child_workflow_only: a.child_workflow_only,
        header: a.header.clone(),
        ..Default::default()
    };
    let id = write(step, Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(attributes), notes);
    if execution.workflow_id == step.run.key.workflow.workflow_id {
        // A run does not reach itself this way.
        step.buffer(Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(
            SignalExternalWorkflowExecutionFailedEventAttributes {
                cause: SignalExternalWorkflowExecutionFailedCause::ExternalWorkflowExecutionNotFound as i32,
                workflow_task_completed_event_id: 0,
                namespace,
                namespace_id,
                workflow_execution: a.execution,
                initiated_event_id: id,
                ..Default::default()
            },
        ));
        completion.force_task = true;
        return Ok(());
    }
    let request_id = external::request_id(&step.run.key.run.to_string(), id);
    let target = &execution.workflow_id;
    let parent = a.child_workflow_only.then(|| child::known_parent_of(step, target)).flatten();
    step.message(OutboxMessage::Signal(Box::new(ExternalSignal {
        initiated_event_id: id,
        workflow_id: execution.workflow_id,
        run_id: execution.run_id,
        child_only: a.child_workflow_only,
        parent,
        request_id,
        name: a.signal_name,
        input: a.input,
        header: a.header,
    })));
    Ok(())
}

#[expect(deprecated, reason = "the namespace is refused unless it is the run's own")]
fn check(step: &Step<'_, '_>, a: &SignalExternalWorkflowExecutionCommandAttributes) -> Result<(), CommandFailure> {
    const COMMAND: &str = "SignalExternalWorkflowExecutionCommand";
    let bad = |text: alloc::string::String| Err(CommandFailure::new(CAUSE, text));
    let Some(execution) = &a.execution else { return bad(format!("Execution is not set on {COMMAND}.")) };
    target::own_namespace(step, &a.namespace).map_err(|text| CommandFailure::new(CAUSE, text))?;
    let limit = step.cx.limits.id_length_max;
    // Texts show the namespace as the command has it.
    let (id, run, name, namespace) = (&execution.workflow_id, &execution.run_id, &a.signal_name, &a.namespace);
    if id.is_empty() {
        return bad(format!("WorkflowId is not set on {COMMAND}. Namespace={namespace} RunId={run} SignalName={name}"));
    }
    if id.len() > limit {
        let length = id.len();
        return bad(format!(
            "WorkflowId on {COMMAND} exceeds length limit. WorkflowId={id} Length={length} Limit={limit} Namespace={namespace} RunId={run} SignalName={name}"
        ));
    }
    if !target::is_run_id(run) {
        return bad(format!("Invalid RunId set on {COMMAND}. WorkflowId={id} Namespace={namespace} RunId={run} SignalName={name}"));
    }
    if name.is_empty() {
        return bad(format!("SignalName is not set on {COMMAND}. WorkflowId={id} Namespace={namespace} RunId={run}"));
    }
    Ok(())
}
