//! Activities: attempts, completion, retries, heartbeats, cancellation, timeouts (spec 03).

use alloc::{boxed::Box, string::String};

use sempre_api::v1::{common::Payloads, failure::Failure, workflowservice::PollActivityTaskQueueResponse};

use crate::{Refusal, Reply, Timestamp, input::{ActivityTarget, Poller}, state::State, step::Step};

type Answer = Result<Result<Reply, Refusal>, Refusal>;

/// After ActivityTaskScheduled was written: makes its progress and offers the first attempt (unless eager).
pub(crate) fn schedule(_step: &mut Step<'_, '_>, _scheduled_event_id: i64, _eager: bool) {}

/// Starts an eager attempt in the completing worker's hands (spec 03 §10). Call after all commands.
pub(crate) fn start_eager(_step: &mut Step<'_, '_>, _scheduled_event_id: i64, _identity: &str) -> Option<PollActivityTaskQueueResponse> {
    None
}

pub(crate) fn start(_step: &mut Step<'_, '_>, _scheduled_event_id: i64, _stamp: u32, _poller: Poller) -> Answer {
    Ok(Ok(Reply::Obsolete))
}

pub(crate) fn complete(_step: &mut Step<'_, '_>, _target: &ActivityTarget, _result: Option<Payloads>, _identity: String) -> Answer {
    Ok(Ok(Reply::Done))
}

pub(crate) fn fail(_step: &mut Step<'_, '_>, _target: &ActivityTarget, _failure: Option<Box<Failure>>, _details: Option<Payloads>, _identity: String) -> Answer {
    Ok(Ok(Reply::Done))
}

pub(crate) fn cancel(_step: &mut Step<'_, '_>, _target: &ActivityTarget, _details: Option<Payloads>, _identity: String) -> Answer {
    Ok(Ok(Reply::Done))
}

pub(crate) fn heartbeat(_step: &mut Step<'_, '_>, _target: &ActivityTarget, _details: Option<Payloads>, _identity: String) -> Answer {
    Ok(Ok(Reply::Done))
}

/// RequestCancelActivityTask was written for an activity that is not started: cancel it now (spec 03 §8).
/// True when it was (a new workflow task is then forced).
pub(crate) fn cancel_if_not_started(_step: &mut Step<'_, '_>, _scheduled_event_id: i64) -> bool {
    false
}

/// Does what is due now: retries to dispatch, timeouts, ordered by (time, scheduled event id, timeout type).
pub(crate) fn wake(_step: &mut Step<'_, '_>) {}

/// The earliest time at which [`wake`] has something to do.
pub(crate) fn next_deadline(_state: &State) -> Option<Timestamp> {
    None
}

/// The run has closed: withdraws all offers and drops all progress.
pub(crate) fn drop_all(_step: &mut Step<'_, '_>) {}
