//! FailWorkflowExecution.

use prost::Message;
use sempre_api::v1::{command::FailWorkflowExecutionCommandAttributes, enums::WorkflowTaskFailedCause as Cause};

use super::{CommandFailure, Completion, Notes, refuse_close_over_buffer};
use crate::{close, step::Step};

const CAUSE: Cause = Cause::BadFailWorkflowExecutionAttributes;

pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &Completion,
    a: FailWorkflowExecutionCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    refuse_close_over_buffer(step, completion)?;
    let Some(failure) = a.failure else {
        return Err(CommandFailure::new(CAUSE, "Failure is not set on FailWorkflowExecutionCommand."));
    };
    if failure.encoded_len() > step.cx.limits.blob_size_max {
        return Err(CommandFailure::too_large(CAUSE, "FailWorkflowExecutionCommandAttributes.Failure exceeds size limit."));
    }
    close::fail_workflow(step, completion.completed_event_id, failure, notes);
    Ok(())
}
