//! The one time at which a run wants to be woken: the earliest of everything that waits for the clock.

use crate::{Span, Timestamp, activity, callbacks, flow, nexus, state::State, time_skipping};

/// The earliest time, by the run's own clock, at which [`crate::wake::wake`] has something to do; `None` if never.
pub(crate) fn next(state: &State) -> Option<Timestamp> {
    let progress = &state.progress.main;
    if !state.derived.is_open() {
        let mut next = Earliest(at(progress.delete_at));
        next.add(callbacks::next_deadline(state));
        return next.0;
    }
    let mut next = Earliest(None);
    next.add(flow::hold::run_expiration(state));
    next.add(state.derived.execution_expiration());
    next.add(at(progress.first_task_at));
    next.add(at(progress.tell_wait_at));
    // A speculative task's timeouts are the engine's to remember: they have no row.
    if progress.task.as_ref().is_some_and(|task| !task.speculative) {
        next.add(task(state).map(|(time, _)| time));
    }
    for timer in state.derived.timers.values() {
        if !state.progress.buffer.fires_timer(timer.started_event_id) {
            next.add(Some(Timestamp(timer.fire_at)));
        }
    }
    next.add(activity::next_deadline(state));
    next.add(time_skipping::next_deadline(state));
    next.add(nexus::next_deadline(state));
    next.add(callbacks::next_deadline(state));
    next.0
}

/// The same by the wall clock: for the deadline row.
pub(crate) fn on_the_wall(state: &State) -> Option<Timestamp> {
    next(state).map(|at| time_skipping::on_the_wall(state, at))
}

/// Which timeout of the pending workflow task comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TaskTimeout {
    /// Nobody took it from the sticky queue, or it was born speculative and nobody took it at all.
    ScheduleToStart,
    /// The worker did not answer.
    StartToClose,
}

/// When the pending workflow task times out, if ever.
pub(crate) fn task(state: &State) -> Option<(Timestamp, TaskTimeout)> {
    let task = state.progress.main.task.as_ref().filter(|task| !task.lost)?;
    if task.is_started() {
        return Some((Timestamp(task.started_time) + Span(task.timeout), TaskTimeout::StartToClose));
    }
    let wait = task.start_timeout()?;
    Some((Timestamp(task.scheduled_time) + wait, TaskTimeout::ScheduleToStart))
}

fn at(nanos: i64) -> Option<Timestamp> {
    (nanos != 0).then_some(Timestamp(nanos))
}

struct Earliest(Option<Timestamp>);

impl Earliest {
    fn add(&mut self, time: Option<Timestamp>) {
        self.0 = match (self.0, time) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}
