//! CancelTimer.

use alloc::format;

use sempre_api::v1::{
    command::CancelTimerCommandAttributes,
    enums::WorkflowTaskFailedCause as Cause,
    history::{TimerCanceledEventAttributes, history_event::Attributes},
};

use super::{CommandFailure, Completion, Notes, invalid_state, unseen, write};
use crate::step::Step;

const CAUSE: Cause = Cause::BadCancelTimerAttributes;

pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &mut Completion,
    a: CancelTimerCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    let id = &a.timer_id;
    if id.is_empty() {
        return Err(CommandFailure::new(CAUSE, "TimerId is not set on CancelTimerCommand."));
    }
    let limit = step.cx.limits.id_length_max;
    if id.len() > limit {
        let length = id.len();
        let text = format!("TimerId on CancelTimerCommand exceeds length limit. TimerId={id} Length={length} Limit={limit}");
        return Err(CommandFailure::new(CAUSE, text));
    }
    let Some(&started_event_id) = step.run.state.derived.timer_ids.get(id) else {
        return Err(CommandFailure::new(CAUSE, format!("{}, TimerID: {id}", invalid_state("add-timer-canceled-event"))));
    };
    // The workflow must not see a timer fire after it has cancelled it.
    if step.run.state.progress.buffer.remove_timer_fired(started_event_id) {
        completion.had_buffered = unseen(step, completion);
        step.touch();
    }
    let attributes = TimerCanceledEventAttributes {
        timer_id: a.timer_id,
        started_event_id,
        workflow_task_completed_event_id: completion.completed_event_id,
        identity: completion.identity.clone(),
    };
    write(step, Attributes::TimerCanceledEventAttributes(attributes), notes);
    Ok(())
}
