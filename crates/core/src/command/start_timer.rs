//! StartTimer.

use alloc::format;

use sempre_api::v1::{
    command::StartTimerCommandAttributes,
    enums::WorkflowTaskFailedCause as Cause,
    history::{TimerStartedEventAttributes, history_event::Attributes},
};

use super::{CommandFailure, Completion, Notes, invalid_state, write};
use crate::{Span, step::Step};

const CAUSE: Cause = Cause::BadStartTimerAttributes;

pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &mut Completion,
    a: StartTimerCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    let id = &a.timer_id;
    if id.is_empty() {
        return Err(CommandFailure::new(CAUSE, "TimerId is not set on StartTimerCommand."));
    }
    let limit = step.cx.limits.id_length_max;
    if id.len() > limit {
        let length = id.len();
        let text = format!("TimerId on StartTimerCommand exceeds length limit. TimerId={id} Length={length} Limit={limit}");
        return Err(CommandFailure::new(CAUSE, text));
    }
    let timeout = Span::from_api(a.start_to_fire_timeout.as_ref())
        .map_err(|e| CommandFailure::new(CAUSE, format!("An invalid StartToFireTimeout is set on StartTimerCommand: {e}. TimerId={id}")))?;
    let state = &step.run.state;
    if state.derived.timer_ids.get(id).is_some_and(|started| !state.progress.buffer.fires_timer(*started)) {
        return Err(CommandFailure::new(
            Cause::StartTimerDuplicateId,
            format!("{}, TimerID: {id}", invalid_state("add-timer-started-event")),
        ));
    }
    let attributes = TimerStartedEventAttributes {
        timer_id: a.timer_id,
        start_to_fire_timeout: Some(timeout.to_api()),
        workflow_task_completed_event_id: completion.completed_event_id,
    };
    write(step, Attributes::TimerStartedEventAttributes(attributes), notes);
    Ok(())
}
