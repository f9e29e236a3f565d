//! RequestCancelActivityTask.

use alloc::format;

use sempre_api::v1::{
    command::RequestCancelActivityTaskCommandAttributes,
    enums::WorkflowTaskFailedCause as Cause,
    history::{ActivityTaskCancelRequestedEventAttributes, history_event::Attributes},
};

use super::{CommandFailure, Completion, Notes, invalid_state, write};
use crate::{activity, step::Step};

const CAUSE: Cause = Cause::BadRequestCancelActivityAttributes;

pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &mut Completion,
    a: RequestCancelActivityTaskCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    let id = a.scheduled_event_id;
    if id <= 0 {
        return Err(CommandFailure::new(CAUSE, "ScheduledEventId is not set on RequestCancelActivityTaskCommand."));
    }
    let state = &step.run.state;
    let known = state.derived.activities.get(&id).is_some_and(|a| a.cancel_requested_event_id == 0);
    if !known {
        return Err(CommandFailure::new(
            CAUSE,
            format!("{}, ScheduledEventID: {id}", invalid_state("add-activitytask-cancel-requested-event")),
        ));
    }
    // Its end waits in the buffer: the workflow could not know, so the request is recorded and has no effect.
    let closed = state.progress.buffer.closes_activity(id);
    let attributes = ActivityTaskCancelRequestedEventAttributes {
        scheduled_event_id: id,
        workflow_task_completed_event_id: completion.completed_event_id,
    };
    write(step, Attributes::ActivityTaskCancelRequestedEventAttributes(attributes), notes);
    if !closed {
        completion.force_task |= activity::cancel_if_not_started(step, id, &completion.identity);
    }
    Ok(())
}
