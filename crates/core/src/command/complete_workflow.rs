//! CompleteWorkflowExecution.

use prost::Message;
use sempre_api::v1::{command::CompleteWorkflowExecutionCommandAttributes, enums::WorkflowTaskFailedCause as Cause};

use super::{CommandFailure, Completion, Notes, refuse_close_over_buffer};
use crate::{close, step::Step};

pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &Completion,
    a: CompleteWorkflowExecutionCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    refuse_close_over_buffer(step, completion)?;
    if a.result.as_ref().is_some_and(|p| p.encoded_len() > step.cx.limits.blob_size_max) {
        // The cause looks wrong, but it is the one clients know (spec 09 §2.2).
        let text = "CompleteWorkflowExecutionCommandAttributes.Result exceeds size limit.";
        return Err(CommandFailure::too_large(Cause::BadScheduleActivityAttributes, text));
    }
    close::complete_workflow(step, completion.completed_event_id, a.result, notes);
    Ok(())
}
