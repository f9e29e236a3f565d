//! RequestCancelNexusOperation (spec 08 §5.2).

use alloc::format;

use sempre_api::v1::{
    command::RequestCancelNexusOperationCommandAttributes,
    enums::WorkflowTaskFailedCause as Cause,
    history::{NexusOperationCancelRequestedEventAttributes, history_event::Attributes},
};

use super::{CommandFailure, Completion, Notes, write};
use crate::{nexus, step::Step};

const CAUSE: Cause = Cause::BadRequestCancelNexusOperationAttributes;
/// What a command without attributes is told.
pub(super) const NOT_SET: &str = "empty CancelNexusOperationCommandAttributes";

pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &mut Completion,
    a: RequestCancelNexusOperationCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    let id = a.scheduled_event_id;
    // An operation whose end waits in the buffer is still there: the workflow could not know.
    let Some(info) = step.run.state.derived.operations.get(&id) else {
        let text = format!("requested cancelation for a non-existing or already completed operation with scheduled event ID of {id}");
        return Err(CommandFailure::new(CAUSE, text));
    };
    if info.cancel_requested_event_id != 0 {
        let text = format!("cancelation was already requested for an operation with scheduled event ID {id}");
        return Err(CommandFailure::new(CAUSE, text));
    }
    write(
        step,
        Attributes::NexusOperationCancelRequestedEventAttributes(NexusOperationCancelRequestedEventAttributes {
            scheduled_event_id: id,
            workflow_task_completed_event_id: completion.completed_event_id,
        }),
        notes,
    );
    nexus::send_cancel_if_due(step, id);
    Ok(())
}
