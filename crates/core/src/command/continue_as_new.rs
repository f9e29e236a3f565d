//! ContinueAsNewWorkflowExecution (spec 01 §10): what the command leaves open comes from the old run.

use alloc::{format, string::String};

use prost::Message;
use sempre_api::v1::{command::ContinueAsNewWorkflowExecutionCommandAttributes, enums::WorkflowTaskFailedCause as Cause};

use super::{CommandFailure, Completion, Notes, refuse_close_over_buffer};
use crate::{Span, close, step::Step, validate};

const CAUSE: Cause = Cause::BadContinueAsNewAttributes;
const COMMAND: &str = "ContinueAsNewWorkflowExecutionCommand";

pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &Completion,
    mut a: ContinueAsNewWorkflowExecutionCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    refuse_close_over_buffer(step, completion)?;
    let bad_search = |text: String| CommandFailure::new(Cause::BadSearchAttributes, text);
    let carried = &step.run.state.derived.attributes.search;
    validate::search_attribute_names(a.search_attributes.as_ref(), step.cx.namespace, carried).map_err(bad_search)?;
    let shown = normalize(step, &mut a).map_err(|text| CommandFailure::new(CAUSE, text))?;
    validate::search_attribute_types(a.search_attributes.as_mut(), step.cx.namespace, carried)
        .map_err(|e| bad_search(format!("invalid SearchAttributes on {COMMAND}: {e}. {shown}")))?;
    check_sizes(step, &a)?;
    close::continue_as_new(step, completion.completed_event_id, a, notes);
    Ok(())
}

/// What the texts of refusals end with; or such a text.
fn normalize(step: &Step<'_, '_>, a: &mut ContinueAsNewWorkflowExecutionCommandAttributes) -> Result<String, String> {
    let limits = step.cx.limits;
    let start = &step.run.state.derived.start;
    let old = start.event();
    if a.workflow_type.as_ref().is_none_or(|t| t.name.is_empty()) {
        a.workflow_type = old.workflow_type.clone();
    }
    let workflow_type = a.workflow_type.as_ref().map_or("", |t| &t.name);
    let limit = limits.id_length_max;
    if workflow_type.len() > limit {
        let length = workflow_type.len();
        return Err(format!("WorkflowType on {COMMAND} exceeds length limit. WorkflowType={workflow_type} Length={length} Limit={limit}"));
    }
    let queue = validate::task_queue(&mut a.task_queue, Some(start.task_queue()), limits);
    let shown = format!("WorkflowType={workflow_type} TaskQueue={}", validate::shown_queue(a.task_queue.as_ref()));
    queue.map_err(|e| format!("error validating {COMMAND} TaskQueue: {e}. {shown}"))?;
    let unset = |d: &Option<sempre_api::Duration>| d.as_ref().is_none_or(|d| d.seconds == 0 && d.nanos == 0);
    if unset(&a.workflow_run_timeout) {
        a.workflow_run_timeout = old.workflow_run_timeout;
    }
    if unset(&a.workflow_task_timeout) {
        a.workflow_task_timeout = old.workflow_task_timeout;
    }
    let mut execution = old.workflow_execution_timeout;
    validate::workflow_timeouts(&mut execution, &mut a.workflow_run_timeout, &mut a.workflow_task_timeout, limits)
        .map_err(|e| format!("Invalid {} on {COMMAND}: {}. {shown}", e.field, e.why))?;
    let backoff = Span::from_api(a.backoff_start_interval.as_ref())
        .map_err(|e| format!("Invalid BackoffStartInterval on {COMMAND}: {e}. {shown}"))?;
    if !backoff.is_zero() {
        a.backoff_start_interval = Some(backoff.to_api());
    }
    if let Some(policy) = &mut a.retry_policy {
        validate::retry_policy(policy).map_err(|e| format!("invalid WorkflowRetryPolicy on {COMMAND}: {e}. {shown}"))?;
    }
    validate::cron(&a.cron_schedule, step.now(), step.cx.cron)?;
    Ok(shown)
}

fn check_sizes(step: &Step<'_, '_>, a: &ContinueAsNewWorkflowExecutionCommandAttributes) -> Result<(), CommandFailure> {
    let limits = step.cx.limits;
    if a.input.as_ref().is_some_and(|p| p.encoded_len() > limits.blob_size_max) {
        let text = "ContinueAsNewWorkflowExecutionCommandAttributes. Input exceeds size limit.";
        return Err(CommandFailure::too_large(CAUSE, text));
    }
    if validate::memo(a.memo.as_ref(), limits).is_err() {
        let text = "ContinueAsNewWorkflowExecutionCommandAttributes. Memo exceeds size limit.";
        return Err(CommandFailure::too_large(CAUSE, text));
    }
    let search = a.search_attributes.as_ref();
    search.map_or(Ok(()), |s| validate::search_attribute_sizes(&s.indexed_fields)).map_err(|text| CommandFailure::too_large(CAUSE, text))
}
