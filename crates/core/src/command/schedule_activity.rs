//! ScheduleActivityTask.

use alloc::{boxed::Box, format};

use prost::Message;
use sempre_api::v1::{
    command::ScheduleActivityTaskCommandAttributes,
    enums::WorkflowTaskFailedCause as Cause,
    history::{ActivityTaskScheduledEventAttributes, history_event::Attributes},
};

use super::{CommandFailure, Completion, Notes, invalid_state, within_limit, write};
use crate::{Span, activity, step::Step, validate};

pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &mut Completion,
    mut a: ScheduleActivityTaskCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    let limits = step.cx.limits;
    let start = &step.run.state.derived.start;
    let run_timeout = Span::from_api(start.event().workflow_run_timeout.as_ref()).unwrap_or_default();
    validate::activity(&mut a, start.task_queue(), run_timeout, limits)
        .map_err(|text| CommandFailure::new(Cause::BadScheduleActivityAttributes, text))?;
    if a.input.as_ref().is_some_and(|p| p.encoded_len() > limits.blob_size_max) {
        let text = "ScheduleActivityTaskCommandAttributes.Input exceeds size limit.";
        return Err(CommandFailure::too_large(Cause::BadScheduleActivityAttributes, text));
    }
    let limit = limits.pending_activities_max;
    within_limit(Cause::PendingActivitiesLimitExceeded, "pending activities", pending(step, limit), limit)?;
    let derived = &step.run.state.derived;
    let same_id = derived.activity_ids.get(&a.activity_id);
    if same_id.is_some_and(|id| !step.run.state.progress.buffer.closes_activity(*id)) {
        let text = format!("{}, ActivityID: {}", invalid_state("add-activitytask-scheduled-event"), a.activity_id);
        return Err(CommandFailure::new(Cause::ScheduleActivityDuplicateId, text));
    }

    let eager = a.request_eager_execution && limits.eager_activities && !step.run.is_paused();
    let attributes = ActivityTaskScheduledEventAttributes {
        activity_id: a.activity_id,
        activity_type: a.activity_type,
        task_queue: a.task_queue,
        header: a.header,
        input: a.input,
        schedule_to_close_timeout: a.schedule_to_close_timeout,
        schedule_to_start_timeout: a.schedule_to_start_timeout,
        start_to_close_timeout: a.start_to_close_timeout,
        heartbeat_timeout: a.heartbeat_timeout,
        workflow_task_completed_event_id: completion.completed_event_id,
        retry_policy: a.retry_policy,
        priority: a.priority,
        ..Default::default()
    };
    let id = write(step, Attributes::ActivityTaskScheduledEventAttributes(Box::new(attributes)), notes);
    activity::schedule(step, id, eager);
    if eager {
        completion.eager.push(id);
    }
    Ok(())
}

/// Pending activities without those whose end waits in the buffer (looked at only near the limit).
fn pending(step: &Step<'_, '_>, limit: usize) -> usize {
    let state = &step.run.state;
    if state.derived.activities.len() < limit {
        return state.derived.activities.len();
    }
    state.derived.activities.keys().filter(|id| !state.progress.buffer.closes_activity(**id)).count()
}
