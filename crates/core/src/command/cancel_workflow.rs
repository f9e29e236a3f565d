//! CancelWorkflowExecution: allowed also when nobody asked for it.

use prost::Message;
use sempre_api::v1::{command::CancelWorkflowExecutionCommandAttributes, enums::WorkflowTaskFailedCause as Cause};

use super::{CommandFailure, Completion, Notes, refuse_close_over_buffer};
use crate::{close, step::Step};

pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &Completion,
    a: CancelWorkflowExecutionCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    refuse_close_over_buffer(step, completion)?;
    if a.details.as_ref().is_some_and(|p| p.encoded_len() > step.cx.limits.blob_size_max) {
        let text = "CancelWorkflowExecutionCommandAttributes.Details exceeds size limit.";
        return Err(CommandFailure::too_large(Cause::BadCancelWorkflowExecutionAttributes, text));
    }
    close::cancel_workflow(step, completion.completed_event_id, a.details, notes);
    Ok(())
}
