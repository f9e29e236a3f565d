//! RequestCancelExternalWorkflowExecution (spec 04 §3).

use alloc::{
    boxed::Box,
    format,
    string::{String, ToString},
};

use sempre_api::v1::{
    command::RequestCancelExternalWorkflowExecutionCommandAttributes,
    common::WorkflowExecution,
    enums::{CancelExternalWorkflowExecutionFailedCause, WorkflowTaskFailedCause as Cause},
    history::{
        RequestCancelExternalWorkflowExecutionFailedEventAttributes, RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
        history_event::Attributes,
    },
};

use super::{CommandFailure, Completion, Notes, target, within_limit, write};
use crate::{
    child, external,
    state::ExternalKind,
    step::Step,
    transition::{ExternalCancel, OutboxMessage},
};

const CAUSE: Cause = Cause::BadRequestCancelExternalWorkflowExecutionAttributes;

#[expect(deprecated, reason = "the namespace is refused unless it is the run's own")]
pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &mut Completion,
    a: RequestCancelExternalWorkflowExecutionCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    check(step, completion, &a)?;
    let limit = step.cx.limits.pending_cancels_max;
    let pending = target::pending(step, ExternalKind::Cancel);
    let what = "pending requests to cancel external workflows";
    within_limit(Cause::PendingRequestCancelLimitExceeded, what, pending, limit)?;

    let (namespace, namespace_id) = target::namespace(step);
    let execution = WorkflowExecution { workflow_id: a.workflow_id.clone(), run_id: a.run_id.clone() };
    let attributes = RequestCancelExternalWorkflowExecutionInitiatedEventAttributes {
        workflow_task_completed_event_id: completion.completed_event_id,
        // As the command names it; the answer names it in full.
        namespace: a.namespace.clone(),
        namespace_id: namespace_id.clone(),
        workflow_execution: Some(execution.clone()),
        child_workflow_only: a.child_workflow_only,
        reason: a.reason.clone(),
        ..Default::default()
    };
    let id = write(step, Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(attributes), notes);
    if a.workflow_id == step.run.key.workflow.workflow_id {
        // A run does not reach itself this way.
        step.buffer(Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(
            RequestCancelExternalWorkflowExecutionFailedEventAttributes {
                cause: CancelExternalWorkflowExecutionFailedCause::ExternalWorkflowExecutionNotFound as i32,
                workflow_task_completed_event_id: 0,
                namespace,
                namespace_id,
                workflow_execution: Some(execution),
                initiated_event_id: id,
                ..Default::default()
            },
        ));
        completion.force_task = true;
        return Ok(());
    }
    let request_id = external::request_id(&step.run.key.run.to_string(), id);
    let target = &a.workflow_id;
    let parent = a.child_workflow_only.then(|| child::known_parent_of(step, target)).flatten();
    step.message(OutboxMessage::Cancel(Box::new(ExternalCancel {
        initiated_event_id: id,
        workflow_id: a.workflow_id,
        run_id: a.run_id,
        child_only: a.child_workflow_only,
        parent,
        request_id,
        reason: a.reason,
    })));
    Ok(())
}

#[expect(deprecated, reason = "the namespace is refused unless it is the run's own")]
fn check(
    step: &Step<'_, '_>,
    completion: &Completion,
    a: &RequestCancelExternalWorkflowExecutionCommandAttributes,
) -> Result<(), CommandFailure> {
    const COMMAND: &str = "RequestCancelExternalWorkflowExecutionCommand";
    let bad = |text: String| Err(CommandFailure::new(CAUSE, text));
    target::own_namespace(step, &a.namespace).map_err(|text| CommandFailure::new(CAUSE, text))?;
    let limit = step.cx.limits.id_length_max;
    // Texts show the namespace as the command has it.
    let (id, run, namespace) = (&a.workflow_id, &a.run_id, &a.namespace);
    if id.is_empty() {
        return bad(format!("WorkflowId is not set on {COMMAND}. Namespace={namespace} RunId={run}"));
    }
    if id.len() > limit {
        let length = id.len();
        return bad(format!(
            "WorkflowId on {COMMAND} exceeds length limit. WorkflowId={id} Length={length} Limit={limit} RunId={run} Namespace={namespace}"
        ));
    }
    if !target::is_run_id(run) {
        return bad(format!("Invalid RunId set on {COMMAND}. WorkflowId={id} RunId={run} Namespace={namespace}"));
    }
    if completion.children_started.contains(id) {
        return bad(format!(
            "Start and RequestCancel for child workflow is not allowed in same workflow task. WorkflowId={id} RunId={run} Namespace={namespace}"
        ));
    }
    Ok(())
}
