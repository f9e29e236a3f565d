//! What operators do to pending activities: pause, unpause, reset (spec 03 §9), run now (ours).
//!
//! | call | no worker has it | a worker has it |
//! |---|---|---|
//! | pause | its offer goes; nothing is due any more, timeouts included | goes on; heartbeats say so; a failure raises the attempt and waits |
//! | unpause | offered now (or after the jitter) | no longer paused |
//! | reset | attempt 1, unpaused unless told otherwise, offered now (or after the jitter) | attempt 1; heartbeats say so; goes on |
//! | run now | offered now, the same attempt; left as it is if it is on offer; refused if it or its run is paused | refused |

use alloc::{boxed::Box, string::String, vec::Vec};

use super::{
    Answer, change, dispatch, options, pending,
    select::{ActivitySelector, select},
};
use crate::{
    Refusal, Reply, Span,
    input::PauseRequest,
    state::{ActivityPause, ActivityProgress, State},
    step::Step,
};

/// Pause of a paused activity by another request.
const ALREADY_PAUSED: &str = "activity is already paused";
/// To be run now, but it runs.
const A_WORKER_HAS_IT: &str = "a worker has the activity now";
/// To be run now, but it is paused.
const IS_PAUSED: &str = "activity is paused: unpause it to have it run";
/// To be run now, but nothing of the run is offered.
const RUN_IS_PAUSED: &str = "workflow is paused: unpause it to have its activities run";

/// UnpauseActivity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnpauseActivity {
    /// Attempt 1 again.
    pub reset_attempts: bool,
    /// Forget the last heartbeat.
    pub reset_heartbeat: bool,
    /// Dispatch at a random time up to this one.
    pub jitter: Span,
    /// Idempotency key; the last one of an activity is remembered. Empty disables deduplication.
    pub request_id: String,
}

/// ResetActivity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResetActivity {
    /// Forget the last heartbeat; of a running attempt when it ends.
    pub reset_heartbeat: bool,
    /// Paused activities stay paused.
    pub keep_paused: bool,
    /// Dispatch at a random time up to this one.
    pub jitter: Span,
    /// Back to the options of the Scheduled event.
    pub restore_original_options: bool,
    /// Idempotency key; the last one of an activity is remembered. Empty disables deduplication.
    pub request_id: String,
}

/// Types of the pending activities that are paused.
pub(crate) fn paused_types(state: &State) -> Vec<&str> {
    let paused = state.progress.activities.iter().filter(|(_, progress)| progress.pause.is_some());
    let infos = paused.filter_map(|(id, _)| pending(state, *id).map(|(info, _)| info));
    infos.filter_map(|info| info.scheduled().activity_type.as_ref()).map(|t| t.name.as_str()).collect()
}

/// The pending activity with the highest attempt above 1, and its type's name.
pub(crate) fn most_tried(state: &State) -> Option<(&ActivityProgress, &str)> {
    let retried = state.progress.activities.iter().filter(|(_, progress)| progress.attempt > 1);
    let pending = retried.filter_map(|(id, _)| pending(state, *id));
    let (info, progress) = pending.max_by_key(|(info, progress)| (progress.attempt, core::cmp::Reverse(info.scheduled_event_id)))?;
    Some((progress, info.scheduled().activity_type.as_ref().map_or("", |t| t.name.as_str())))
}

/// PauseActivity. Of several, those that are paused already stay as they are.
pub(crate) fn pause(step: &mut Step<'_, '_>, which: &ActivitySelector, request: &PauseRequest) -> Answer {
    crate::pause::check(step, request)?;
    step.require_open()?;
    let ids = select(&step.run.state, which)?;
    if let (ActivitySelector::Id(_), [id]) = (which, &ids[..]) {
        let paused = pending(&step.run.state, *id).and_then(|(_, progress)| progress.pause.as_ref());
        if paused.is_some_and(|pause| request.request_id.is_empty() || pause.request_id != request.request_id) {
            return Err(Refusal::FailedPrecondition(ALREADY_PAUSED.into()));
        }
    }
    let now = step.now();
    for id in ids {
        if pending(&step.run.state, id).is_none_or(|(_, progress)| progress.pause.is_some()) {
            continue;
        }
        let pause = ActivityPause {
            time: now.0,
            identity: request.identity.clone(),
            reason: request.reason.clone(),
            request_id: request.request_id.clone(),
            rule_id: String::new(),
        };
        put_pause(step, id, pause);
    }
    Ok(Ok(Reply::Done))
}

/// Pauses a pending activity that is not paused.
pub(crate) fn put_pause(step: &mut Step<'_, '_>, id: i64, pause: ActivityPause) {
    let started = pending(&step.run.state, id).is_some_and(|(_, progress)| progress.is_started());
    if !started {
        dispatch::withdraw(step, id);
        let stamp = step.next_stamp();
        change(step, id, |p| p.stamp = stamp);
    }
    change(step, id, |p| p.pause = Some(Box::new(pause)));
    step.listed();
}

/// UnpauseActivity. Those that are not paused stay as they are.
pub(crate) fn unpause(step: &mut Step<'_, '_>, which: &ActivitySelector, request: &UnpauseActivity) -> Answer {
    step.require_open()?;
    for id in select(&step.run.state, which)? {
        let Some((_, progress)) = pending(&step.run.state, id).filter(|(_, progress)| progress.pause.is_some()) else { continue };
        let started = progress.is_started();
        change(step, id, |p| {
            p.pause = None;
            p.operation_request_id.clone_from(&request.request_id);
            if request.reset_attempts {
                first_attempt(p);
            }
            if request.reset_heartbeat {
                forget_heartbeat(p);
            }
        });
        step.listed();
        if !started {
            dispatch_soon(step, id, request.jitter);
        }
    }
    Ok(Ok(Reply::Done))
}

/// ResetActivity.
pub(crate) fn reset(step: &mut Step<'_, '_>, which: &ActivitySelector, request: &ResetActivity) -> Answer {
    step.require_open()?;
    for id in select(&step.run.state, which)? {
        let Some((_, progress)) = pending(&step.run.state, id) else { continue };
        if !request.request_id.is_empty() && progress.operation_request_id == request.request_id {
            continue;
        }
        let (started, was_paused, was_retried) = (progress.is_started(), progress.pause.is_some(), progress.attempt > 1);
        change(step, id, |p| {
            p.operation_request_id.clone_from(&request.request_id);
            first_attempt(p);
            p.reset = started;
            if !request.keep_paused {
                p.pause = None;
            }
            if started {
                p.reset_heartbeat |= request.reset_heartbeat;
            } else if request.reset_heartbeat {
                forget_heartbeat(p);
            }
        });
        if was_retried || was_paused && !request.keep_paused {
            step.listed();
        }
        if request.restore_original_options {
            options::replace(step, id, None);
        }
        let held = pending(&step.run.state, id).is_some_and(|(_, progress)| progress.pause.is_some());
        if !started && !held {
            dispatch_soon(step, id, request.jitter);
        }
    }
    Ok(Ok(Reply::Done))
}

/// RunActivityNow. What is on offer keeps its place in the line, and its ScheduleToStart timeout.
pub(crate) fn run_now(step: &mut Step<'_, '_>, which: &ActivitySelector) -> Answer {
    step.require_open()?;
    let ids = select(&step.run.state, which)?;
    if step.run.is_paused() {
        return Err(Refusal::FailedPrecondition(RUN_IS_PAUSED.into()));
    }
    for (_, progress) in ids.iter().filter_map(|id| pending(&step.run.state, *id)) {
        if progress.is_started() {
            return Err(Refusal::FailedPrecondition(A_WORKER_HAS_IT.into()));
        }
        if progress.pause.is_some() {
            return Err(Refusal::FailedPrecondition(IS_PAUSED.into()));
        }
    }
    for id in ids {
        if pending(&step.run.state, id).is_some_and(|(_, progress)| progress.offered_at == 0) {
            dispatch_soon(step, id, Span::default());
        }
    }
    Ok(Ok(Reply::Done))
}

/// The worker that has the current attempt keeps its token, which names the attempt as it was. One that no worker has
/// begins with nothing that failed before it.
fn first_attempt(progress: &mut ActivityProgress) {
    if !progress.is_started() {
        progress.last_failure = None;
    } else if progress.token_attempt == 0 {
        progress.token_attempt = progress.attempt;
    }
    progress.attempt = 1;
}

/// No details for the next attempt.
pub(super) fn forget_heartbeat(progress: &mut ActivityProgress) {
    progress.heartbeat_details = None;
    progress.heartbeat_time = 0;
}

/// Due now, or at a random time within the jitter.
fn dispatch_soon(step: &mut Step<'_, '_>, id: i64, jitter: Span) {
    let offset = match jitter.0 {
        ..=0 => 0,
        jitter => {
            let random = step.cx.ids.random();
            let random = random.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            (random % jitter.unsigned_abs()) as i64
        }
    };
    let due = step.now() + Span(offset);
    dispatch::reschedule(step, id, due);
}
