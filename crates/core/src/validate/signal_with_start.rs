//! Checks of SignalWithStartWorkflowExecution: those of a start in another order (spec 01 §4).

use alloc::format;

use sempre_api::v1::{enums::WorkflowIdConflictPolicy, workflowservice::StartWorkflowExecutionRequest};

use super::{
    WORKFLOW_ID_NOT_SET, WORKFLOW_TYPE_NOT_SET, at_most, blob, cron, default_policies, id_policies, links, priority, required,
    retry_policy, search_attributes, start_delay, start_payloads, start_timeouts, task_queue,
};
use crate::{Context, Refusal, input::SignalRequest};

/// Checks both halves and brings the start to its normal form. The request id is both the start's and the signal's.
pub fn signal_with_start(
    request: &mut StartWorkflowExecutionRequest,
    signal: &mut SignalRequest,
    cx: &mut Context<'_>,
) -> Result<(), Refusal> {
    let limits = cx.limits;
    default_policies(request, WorkflowIdConflictPolicy::UseExisting);
    required(&request.workflow_id, WORKFLOW_ID_NOT_SET)?;
    at_most(&request.workflow_id, "WorkflowId length exceeds limit.", limits)?;
    required(&signal.name, "SignalName is not set on request.")?;
    at_most(&signal.name, "SignalName length exceeds limit.", limits)?;
    let workflow_type = request.workflow_type.as_ref().map_or("", |t| &t.name);
    required(workflow_type, WORKFLOW_TYPE_NOT_SET)?;
    at_most(workflow_type, "WorkflowType length exceeds limit.", limits)?;
    task_queue(&mut request.task_queue, None, limits).map_err(Refusal::InvalidArgument)?;
    if request.request_id.is_empty() {
        request.request_id = cx.ids.uuid();
    }
    at_most(&request.request_id, "RequestId length exceeds limit.", limits)?;
    signal.request_id.clone_from(&request.request_id);
    start_timeouts(request, limits)?;
    if let Some(policy) = &mut request.retry_policy {
        retry_policy(policy).map_err(Refusal::InvalidArgument)?;
    }
    start_delay(request)?;
    id_policies(request)?;
    if request.workflow_id_conflict_policy() == WorkflowIdConflictPolicy::Fail {
        let name = WorkflowIdConflictPolicy::Fail.as_str_name();
        let text = format!("Invalid WorkflowIDConflictPolicy: {name} is not supported for this operation.");
        return Err(Refusal::InvalidArgument(text));
    }
    cron(&request.cron_schedule, cx.now, cx.cron).map_err(Refusal::invalid)?;
    search_attributes(request.search_attributes.as_ref()).map_err(Refusal::InvalidArgument)?;
    priority(request.priority.as_ref()).map_err(Refusal::InvalidArgument)?;
    links(&request.links)?;
    start_payloads(request, limits)?;
    blob(signal.input.as_ref(), limits)
}
