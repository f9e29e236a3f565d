//! Deadlines of activities: the four timeouts and the dispatch of retries (spec 03 §3).

use alloc::vec::Vec;

use sempre_api::v1::enums::TimeoutType;

use super::{close, dispatch, options::Options, pending};
use crate::{
    Span, Timestamp,
    pause::is_paused,
    planted::{self, Bug},
    rules,
    state::{ActivityInfo, ActivityProgress, State},
    step::Step,
    task, versioning,
};

/// What can be due. At equal times in this order: the dispatch of a retry, what counts from the scheduling, what counts
/// from the start. An eager activity is scheduled and started at one instant of this clock, and of two timeouts of
/// equal length schedule-to-close fires (spec 03 §17.7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Dispatch,
    ScheduleToStart,
    ScheduleToClose,
    StartToClose,
    Heartbeat,
}

/// The deadlines of an activity as it stands: those of a gone attempt are not among them. A paused one has none.
///
/// `held`: the run is paused, nothing is offered.
fn deadlines(info: &ActivityInfo, progress: &ActivityProgress, held: bool) -> [Option<(Timestamp, Due)>; 5] {
    if progress.pause.is_some() {
        return [None; 5];
    }
    let options = Options::of(info, progress);
    let after = |from: i64, due: Due, timeout: TimeoutType| options.timeout(timeout).map(|span| (Timestamp(from) + shortened(span), due));
    let started = progress.is_started();
    let beat = progress.started_time.max(progress.heartbeat_time);
    [
        (progress.waits_for_retry() && !held && !planted::is(Bug::RetriesForgotten)).then(|| (progress.due(), Due::Dispatch)),
        after(progress.started_time, Due::StartToClose, TimeoutType::StartToClose).filter(|_| started),
        after(progress.scheduled_time, Due::ScheduleToStart, TimeoutType::ScheduleToStart).filter(|_| !started),
        after(progress.first_scheduled(info).0, Due::ScheduleToClose, TimeoutType::ScheduleToClose),
        after(beat, Due::Heartbeat, TimeoutType::Heartbeat).filter(|_| started),
    ]
}

/// The whole time, unless a bug is planted.
fn shortened(span: Span) -> Span {
    if planted::is(Bug::ActivityTimeoutsEarly) { Span(span.0 / 4 * 3) } else { span }
}

/// The earliest time at which [`wake`] has something to do.
pub(crate) fn next_deadline(state: &State) -> Option<Timestamp> {
    let held = is_paused(state) || versioning::in_transition(state);
    let ids = state.progress.activities.keys();
    let all = ids.filter_map(|id| pending(state, *id)).flat_map(|(info, progress)| deadlines(info, progress, held));
    all.flatten().map(|(time, _)| time).min()
}

/// Does what is due now: retries to dispatch, timeouts, ordered by (time, scheduled event id, timeout type).
pub(crate) fn wake(step: &mut Step<'_, '_>) {
    let now = step.now();
    let mut closed = false;
    for (time, id, due) in due_items(&step.run.state, now) {
        // An earlier item may have closed the activity, and with it the run that is nothing else, or begun another attempt.
        if !step.run.is_open() {
            return;
        }
        let held = is_paused(&step.run.state) || versioning::in_transition(&step.run.state);
        let holds =
            pending(&step.run.state, id).is_some_and(|(info, progress)| deadlines(info, progress, held).contains(&Some((time, due))));
        if !holds {
            continue;
        }
        let kind = match due {
            Due::Dispatch => {
                if !rules::pauses(step, id) {
                    dispatch::offer(step, id);
                }
                continue;
            }
            Due::StartToClose => TimeoutType::StartToClose,
            Due::ScheduleToStart => TimeoutType::ScheduleToStart,
            Due::ScheduleToClose => TimeoutType::ScheduleToClose,
            Due::Heartbeat => TimeoutType::Heartbeat,
        };
        closed |= close::timed_out(step, id, kind);
    }
    if closed {
        task::schedule_if_needed(step);
    }
}

fn due_items(state: &State, now: Timestamp) -> Vec<(Timestamp, i64, Due)> {
    let held = is_paused(state) || versioning::in_transition(state);
    let mut items: Vec<_> = state
        .progress
        .activities
        .keys()
        .filter_map(|id| pending(state, *id).map(|(info, progress)| (*id, deadlines(info, progress, held))))
        .flat_map(|(id, all)| all.into_iter().flatten().map(move |(time, due)| (time, id, due)))
        .filter(|(time, ..)| *time <= now)
        .collect();
    items.sort_unstable();
    items
}
