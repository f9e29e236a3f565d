//! The clock has reached the run's deadline: does whatever is due, in a fixed order.

use alloc::vec::Vec;

use sempre_api::v1::history::{TimerFiredEventAttributes, history_event::Attributes};

use crate::{
    Refusal, Reply, Span, activity, callbacks, close, flow, nexus,
    planted::{self, Bug},
    step::Step,
    task, time_skipping,
};

/// Does what is due. Early or spurious wake-ups do nothing but re-arm.
pub(crate) fn wake(step: &mut Step<'_, '_>) -> Result<Result<Reply, Refusal>, Refusal> {
    let now = step.now();
    if step.run.armed_deadline().is_some_and(|armed| armed <= step.wall()) {
        step.touch();
    }
    if !step.run.is_open() {
        let delete_at = step.run.state.progress.main.delete_at;
        step.out.delete_run = delete_at != 0 && delete_at <= now.0;
        if !step.out.delete_run {
            callbacks::wake(step);
        }
        return Ok(Ok(Reply::Done));
    }
    if flow::hold::run_expiration(&step.run.state).is_some_and(|end| end <= now + early(Bug::RunTimeoutsEarly, Span::seconds(5)))
        || step.run.state.derived.execution_expiration().is_some_and(|end| end <= now)
    {
        close::run_timed_out(step);
        return Ok(Ok(Reply::Done));
    }
    let first_task_at = step.run.state.progress.main.first_task_at;
    if first_task_at != 0 && first_task_at <= now.0 {
        step.run.state.progress.main.first_task_at = 0;
        step.touch();
        task::schedule_if_needed(step);
    }
    time_skipping::wake(step);
    fire_timers(step);
    activity::wake(step);
    nexus::wake(step);
    callbacks::wake(step);
    task::wake(step);
    Ok(Ok(Reply::Done))
}

/// No time, unless this bug is planted.
fn early(bug: Bug, span: Span) -> Span {
    if planted::is(bug) { span } else { Span::ZERO }
}

/// Fires all due timers in order of (time, started event id); one task follows (spec 04 §1.2).
fn fire_timers(step: &mut Step<'_, '_>) {
    let now = step.now();
    let state = &step.run.state;
    let mut due: Vec<_> = state
        .derived
        .timers
        .values()
        .filter(|t| {
            t.fire_at <= (now + early(Bug::TimersEarly, Span::seconds(1))).0 && !state.progress.buffer.fires_timer(t.started_event_id)
        })
        .map(|t| (t.fire_at, t.started_event_id, t.timer_id.clone()))
        .collect();
    if due.is_empty() {
        return;
    }
    due.sort_unstable();
    for (_, started_event_id, timer_id) in due {
        step.buffer(Attributes::TimerFiredEventAttributes(TimerFiredEventAttributes { timer_id, started_event_id }));
    }
    task::schedule_if_needed(step);
}
