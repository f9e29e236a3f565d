//! StartChildWorkflowExecution (spec 04 §4).

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    format,
    string::{String, ToString},
};

use prost::Message;
use sempre_api::v1::{
    command::StartChildWorkflowExecutionCommandAttributes,
    enums::{ParentClosePolicy, WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowTaskFailedCause as Cause},
    history::{StartChildWorkflowExecutionInitiatedEventAttributes, history_event::Attributes},
    workflowservice::StartWorkflowExecutionRequest,
};

use super::{CommandFailure, Completion, Notes, target, within_limit, write};
use crate::{
    alone, child,
    state::derived::{memo_of_start, search_of_start},
    step::Step,
    time_skipping,
    transition::{OutboxMessage, StartChild},
    validate, versioning,
};

const CAUSE: Cause = Cause::BadStartChildExecutionAttributes;
const COMMAND: &str = "StartChildWorkflowExecutionCommand";

pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &mut Completion,
    mut a: StartChildWorkflowExecutionCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    validate::search_attribute_names(a.search_attributes.as_ref(), step.cx.namespace, &BTreeMap::new())
        .map_err(|text| CommandFailure::new(Cause::BadSearchAttributes, text))?;
    normalize(step, &mut a)?;
    check_sizes(step, &a)?;
    let limit = step.cx.limits.pending_children_max;
    let what = "pending child workflow executions";
    within_limit(Cause::PendingChildWorkflowsLimitExceeded, what, pending(step, limit), limit)?;

    a.memo = memo_of_start(a.memo);
    a.search_attributes = search_of_start(a.search_attributes);
    let (config, time) = time_skipping::to_child(&step.run.state);
    let mut request = request(step, &a);
    request.time_skipping_config.clone_from(&config);
    request.user_metadata = notes.user_metadata.clone();
    completion.children_started.push(a.workflow_id.clone());
    let event = StartChildWorkflowExecutionInitiatedEventAttributes {
        time_skipping_config: config,
        time_skipping_state_propagation: time,
        ..initiated(step, completion, a)
    };
    let id = write(step, Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(Box::new(event)), notes);
    request.request_id = child::request_id(&step.run.key.run.to_string(), id);
    let replaces_child_of = child::undone_by_reset(step, id);

    let start = StartChild { replaces_child_of, time, ..message(step, id, request) };
    step.message(OutboxMessage::StartChild(Box::new(start)));
    Ok(())
}

fn message(step: &Step<'_, '_>, initiated_event_id: i64, request: StartWorkflowExecutionRequest) -> StartChild {
    let parent = step.run.key.clone();
    let queue = request.task_queue.as_ref().map_or_else(String::new, |queue| queue.name.clone());
    let root = step.run.state.derived.start.event().root_workflow_execution.clone();
    StartChild {
        initiated_event_id,
        request,
        root: root.unwrap_or_else(|| parent.to_api()),
        parent,
        parent_namespace: step.cx.namespace.name.clone(),
        replaces_child_of: None,
        inherited: versioning::inherit::of_child(step, &queue).0,
        time: None,
    }
}

/// The start of a child from its Initiated event, for a run that a reset made. The request id is the caller's.
pub(crate) fn again(step: &Step<'_, '_>, initiated_event_id: i64, a: StartChildWorkflowExecutionInitiatedEventAttributes) -> StartChild {
    let (config, time) = (a.time_skipping_config, a.time_skipping_state_propagation);
    let command = StartChildWorkflowExecutionCommandAttributes {
        workflow_id: a.workflow_id,
        workflow_type: a.workflow_type,
        task_queue: a.task_queue,
        input: a.input,
        workflow_execution_timeout: a.workflow_execution_timeout,
        workflow_run_timeout: a.workflow_run_timeout,
        workflow_task_timeout: a.workflow_task_timeout,
        parent_close_policy: a.parent_close_policy,
        workflow_id_reuse_policy: a.workflow_id_reuse_policy,
        retry_policy: a.retry_policy,
        cron_schedule: a.cron_schedule,
        header: a.header,
        memo: a.memo,
        search_attributes: a.search_attributes,
        priority: a.priority,
        versioning_override: a.versioning_override,
        ..Default::default()
    };
    let request = StartWorkflowExecutionRequest { time_skipping_config: config, ..request(step, &command) };
    StartChild { time, ..message(step, initiated_event_id, request) }
}

#[expect(deprecated, reason = "the namespace is refused unless it is the run's own")]
fn normalize(step: &Step<'_, '_>, a: &mut StartChildWorkflowExecutionCommandAttributes) -> Result<(), CommandFailure> {
    let bad = |text: String| CommandFailure::new(CAUSE, text);
    if a.namespace.is_empty() {
        a.namespace.clone_from(&step.cx.namespace.name);
    }
    target::own_namespace(step, &a.namespace).map_err(|text| bad(text.into()))?;
    let shown = required(step, a).map_err(bad)?;
    let limits = step.cx.limits;
    validate::workflow_timeouts(&mut a.workflow_execution_timeout, &mut a.workflow_run_timeout, &mut a.workflow_task_timeout, limits)
        .map_err(|e| bad(format!("Invalid {} on {COMMAND}: {}. {shown}", e.field, e.why)))?;
    if let Some(policy) = &mut a.retry_policy {
        validate::retry_policy(policy).map_err(|e| bad(format!("invalid WorkflowRetryPolicy on {COMMAND}: {e}. {shown}")))?;
    }
    validate::cron(&a.cron_schedule, step.now(), step.cx.cron)
        .map_err(|e| bad(format!("invalid CronSchedule on {COMMAND}: {e}. {shown}")))?;
    validate::search_attribute_types(a.search_attributes.as_mut(), step.cx.namespace, &BTreeMap::new()).map_err(|e| {
        // Named without `Execution`, as the SDKs' users know it.
        let text = format!("invalid SearchAttributes on StartChildWorkflowCommand: {e}. {shown}");
        CommandFailure::new(Cause::BadSearchAttributes, text)
    })?;
    validate::priority(a.priority.as_ref()).map_err(bad)?;
    if let Err(e) = validate::task_queue(&mut a.task_queue, Some(step.run.state.derived.start.task_queue()), limits) {
        let queue = validate::shown_queue(a.task_queue.as_ref());
        return Err(bad(format!("invalid TaskQueue on {COMMAND}: {e}. {shown} TaskQueue={queue}")));
    }
    if a.parent_close_policy() == ParentClosePolicy::Unspecified {
        a.set_parent_close_policy(ParentClosePolicy::Terminate);
    }
    if a.workflow_id_reuse_policy() == WorkflowIdReusePolicy::Unspecified {
        a.set_workflow_id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate);
    }
    Ok(())
}

/// Id and type: there, and not too long. What the texts of later refusals end with; or such a text.
#[expect(deprecated, reason = "texts show the namespace as the command has it")]
fn required(step: &Step<'_, '_>, a: &StartChildWorkflowExecutionCommandAttributes) -> Result<String, String> {
    let limit = step.cx.limits.id_length_max;
    let namespace = &a.namespace;
    let id = &a.workflow_id;
    let workflow_type = a.workflow_type.as_ref().map_or("", |t| &t.name);
    if id.is_empty() {
        return Err(format!("Required field WorkflowId is not set on {COMMAND}. WorkflowType={workflow_type} Namespace={namespace}"));
    }
    // Its start would be refused for it, again and again.
    if alone::check_workflow_id(id).is_err() {
        return Err(format!(
            "WorkflowId on {COMMAND} is one that the server keeps for itself. WorkflowId={id:?} WorkflowType={workflow_type} Namespace={namespace}"
        ));
    }
    if workflow_type.is_empty() {
        return Err(format!("Required field WorkflowType is not set on {COMMAND}. WorkflowId={id} Namespace={namespace}"));
    }
    let length = id.len();
    if length > limit {
        return Err(format!(
            "WorkflowId on {COMMAND} exceeds length limit. WorkflowId={id} Length={length} Limit={limit} WorkflowType={workflow_type} Namespace={namespace}"
        ));
    }
    let length = workflow_type.len();
    if length > limit {
        return Err(format!(
            "WorkflowType on {COMMAND} exceeds length limit. WorkflowId={id} WorkflowType={workflow_type} Length={length} Limit={limit} Namespace={namespace}"
        ));
    }
    Ok(format!("WorkflowId={id} WorkflowType={workflow_type} Namespace={namespace}"))
}

fn check_sizes(step: &Step<'_, '_>, a: &StartChildWorkflowExecutionCommandAttributes) -> Result<(), CommandFailure> {
    let limits = step.cx.limits;
    if a.input.as_ref().is_some_and(|p| p.encoded_len() > limits.blob_size_max) {
        let text = "StartChildWorkflowExecutionCommandAttributes. Input exceeds size limit.";
        return Err(CommandFailure::too_large(CAUSE, text));
    }
    if validate::memo(a.memo.as_ref(), limits).is_err() {
        let text = "StartChildWorkflowExecutionCommandAttributes.Memo exceeds size limit.";
        return Err(CommandFailure::too_large(CAUSE, text));
    }
    let search = a.search_attributes.as_ref();
    search.map_or(Ok(()), |s| validate::search_attribute_sizes(&s.indexed_fields)).map_err(|text| CommandFailure::too_large(CAUSE, text))
}

/// Pending children without those whose end waits in the buffer (looked at only near the limit).
fn pending(step: &Step<'_, '_>, limit: usize) -> usize {
    let state = &step.run.state;
    if state.derived.children.len() < limit {
        return state.derived.children.len();
    }
    state.derived.children.keys().filter(|id| !state.progress.buffer.closes_child(**id)).count()
}

#[expect(deprecated, reason = "old workers read `control` back from the event")]
fn initiated(
    step: &Step<'_, '_>,
    completion: &Completion,
    a: StartChildWorkflowExecutionCommandAttributes,
) -> StartChildWorkflowExecutionInitiatedEventAttributes {
    let (namespace, namespace_id) = target::namespace(step);
    StartChildWorkflowExecutionInitiatedEventAttributes {
        namespace,
        namespace_id,
        workflow_id: a.workflow_id,
        workflow_type: a.workflow_type,
        task_queue: a.task_queue,
        input: a.input,
        workflow_execution_timeout: a.workflow_execution_timeout,
        workflow_run_timeout: a.workflow_run_timeout,
        workflow_task_timeout: a.workflow_task_timeout,
        parent_close_policy: a.parent_close_policy,
        control: a.control,
        workflow_task_completed_event_id: completion.completed_event_id,
        workflow_id_reuse_policy: a.workflow_id_reuse_policy,
        retry_policy: a.retry_policy,
        cron_schedule: a.cron_schedule,
        header: a.header,
        memo: a.memo,
        search_attributes: a.search_attributes,
        priority: a.priority,
        versioning_override: a.versioning_override,
        ..Default::default()
    }
}

/// The start as a client would make it. Its request id follows when the event has its id.
#[expect(deprecated, reason = "TERMINATE_IF_RUNNING is what old clients send")]
fn request(step: &Step<'_, '_>, a: &StartChildWorkflowExecutionCommandAttributes) -> StartWorkflowExecutionRequest {
    let (reuse, conflict) = match a.workflow_id_reuse_policy() {
        WorkflowIdReusePolicy::TerminateIfRunning => (WorkflowIdReusePolicy::AllowDuplicate, WorkflowIdConflictPolicy::TerminateExisting),
        reuse => (reuse, WorkflowIdConflictPolicy::Fail),
    };
    StartWorkflowExecutionRequest {
        namespace: step.cx.namespace.name.clone(),
        workflow_id: a.workflow_id.clone(),
        workflow_type: a.workflow_type.clone(),
        task_queue: a.task_queue.clone(),
        input: a.input.clone(),
        workflow_execution_timeout: a.workflow_execution_timeout,
        workflow_run_timeout: a.workflow_run_timeout,
        workflow_task_timeout: a.workflow_task_timeout,
        workflow_id_reuse_policy: reuse as i32,
        workflow_id_conflict_policy: conflict as i32,
        retry_policy: a.retry_policy.clone(),
        cron_schedule: a.cron_schedule.clone(),
        memo: a.memo.clone(),
        search_attributes: a.search_attributes.clone(),
        header: a.header.clone(),
        priority: validate::merge_priority(step.run.state.derived.priority(), a.priority.as_ref()),
        versioning_override: a.versioning_override.clone().or_else(|| {
            let queue = a.task_queue.as_ref().map_or("", |queue| queue.name.as_str());
            versioning::inherit::of_child(step, queue).1
        }),
        ..Default::default()
    }
}
