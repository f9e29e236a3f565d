//! The end of an attempt: another one, or the activity's closing events (spec 03 §5–6, §8).

use alloc::{boxed::Box, string::String, sync::Arc, vec, vec::Vec};

use sempre_api::v1::{
    common::{Payload, Payloads},
    enums::{RetryState, TimeoutType},
    failure::Failure,
    history::{
        ActivityTaskCanceledEventAttributes, ActivityTaskCompletedEventAttributes, ActivityTaskFailedEventAttributes,
        ActivityTaskStartedEventAttributes, ActivityTaskTimedOutEventAttributes, HistoryEvent, history_event::Attributes,
    },
};

use super::{change, dispatch::withdraw, failure, log, operate, options::Options, pending};
use crate::{
    Span, Timestamp,
    retry::{self, Decision},
    rules, standalone,
    step::Step,
    task,
    visibility::health,
};

/// Details of the Canceled event of an activity that no worker had (JSON).
const NOT_STARTED: &[u8] = b"\"ACTIVITY_ID_NOT_STARTED\"";

/// The started attempt has failed: schedules the next one or closes the activity.
pub(super) fn attempt_failed(step: &mut Step<'_, '_>, scheduled_event_id: i64, failure: Option<Failure>, identity: String) {
    let Some(retry_state) = retry_or_stop(step, scheduled_event_id, failure.as_ref()) else { return };
    write_closing(
        step,
        scheduled_event_id,
        Attributes::ActivityTaskFailedEventAttributes(ActivityTaskFailedEventAttributes {
            failure,
            scheduled_event_id,
            identity,
            retry_state: retry_state as i32,
            ..Default::default()
        }),
    );
    task::schedule_if_needed(step);
}

/// One of the four timeouts has passed. True when the activity is closed by it.
pub(super) fn timed_out(step: &mut Step<'_, '_>, scheduled_event_id: i64, kind: TimeoutType) -> bool {
    let mut failure = failure::timeout(kind);
    let Some(retry_state) = retry_or_stop(step, scheduled_event_id, Some(&failure)) else { return false };
    if retry_state == RetryState::Timeout && kind != TimeoutType::ScheduleToStart {
        failure = failure::no_time_to_retry();
    }
    let Some(progress) = step.run.state.progress.activities.get(&scheduled_event_id) else { return false };
    let attributes = ActivityTaskTimedOutEventAttributes {
        failure: Some(failure::closing_timeout(failure, progress)),
        scheduled_event_id,
        started_event_id: 0,
        retry_state: retry_state as i32,
    };
    write_closing(step, scheduled_event_id, Attributes::ActivityTaskTimedOutEventAttributes(attributes));
    true
}

/// A worker has done it. A completion by id may come before any start: then the start is made up.
pub(super) fn completed(step: &mut Step<'_, '_>, scheduled_event_id: i64, result: Option<Payloads>, identity: String) {
    let started = step.run.state.progress.activities.get(&scheduled_event_id).is_some_and(|p| p.is_started());
    if !started {
        withdraw(step, scheduled_event_id);
        let now = step.now();
        change(step, scheduled_event_id, |p| {
            p.started_time = now.0;
            p.identity.clone_from(&identity);
            p.request_id = String::new();
        });
    }
    write_closing(
        step,
        scheduled_event_id,
        Attributes::ActivityTaskCompletedEventAttributes(ActivityTaskCompletedEventAttributes {
            result,
            scheduled_event_id,
            identity,
            ..Default::default()
        }),
    );
    task::schedule_if_needed(step);
}

/// A worker has honoured the cancel request.
pub(super) fn canceled(
    step: &mut Step<'_, '_>,
    scheduled_event_id: i64,
    cancel_requested_event_id: i64,
    details: Option<Payloads>,
    identity: String,
) {
    write_canceled(step, scheduled_event_id, cancel_requested_event_id, details, identity);
    task::schedule_if_needed(step);
}

fn write_canceled(step: &mut Step<'_, '_>, scheduled_event_id: i64, requested: i64, details: Option<Payloads>, identity: String) {
    let attributes = ActivityTaskCanceledEventAttributes {
        details,
        latest_cancel_requested_event_id: requested,
        scheduled_event_id,
        identity,
        ..Default::default()
    };
    write_closing(step, scheduled_event_id, Attributes::ActivityTaskCanceledEventAttributes(attributes));
}

/// RequestCancelActivityTask was written for an activity that is not started: cancel it now (spec 03 §8).
/// True when it was (a new workflow task is then forced).
///
/// The Canceled event goes through the buffer, so it follows the events of the remaining commands.
pub(crate) fn cancel_if_not_started(step: &mut Step<'_, '_>, scheduled_event_id: i64, identity: &str) -> bool {
    let Some((info, _)) = pending(&step.run.state, scheduled_event_id).filter(|(_, progress)| !progress.is_started()) else { return false };
    let requested = info.cancel_requested_event_id;
    let details = Payload {
        metadata: [("encoding".into(), bytes::Bytes::from_static(b"json/plain"))].into(),
        data: bytes::Bytes::from_static(NOT_STARTED),
        ..Default::default()
    };
    write_canceled(step, scheduled_event_id, requested, Some(Payloads { payloads: vec![details] }), identity.into());
    true
}

/// A cancel request was recorded for an activity that belongs to no workflow: if no worker has it, that is its end.
pub(crate) fn cancel_unless_started(step: &mut Step<'_, '_>, scheduled_event_id: i64, requested: i64, details: Payloads) {
    if pending(&step.run.state, scheduled_event_id).is_some_and(|(_, progress)| !progress.is_started()) {
        write_canceled(step, scheduled_event_id, requested, Some(details), String::new());
    }
}

/// The run has closed: withdraws all offers and drops all progress.
pub(crate) fn drop_all(step: &mut Step<'_, '_>) {
    let ids: Vec<i64> = step.run.state.progress.activities.keys().copied().collect();
    for id in ids {
        withdraw(step, id);
        if step.run.is_standalone() {
            // It is shown as long as its run is kept.
            continue;
        }
        log::run_closed(step, id);
        step.forget_activity(id);
    }
}

/// Decides about another attempt. `None`: it is scheduled; `Some`: there is none, and why.
fn retry_or_stop(step: &mut Step<'_, '_>, scheduled_event_id: i64, failure: Option<&Failure>) -> Option<RetryState> {
    let now = step.now();
    let (info, progress) = pending(&step.run.state, scheduled_event_id)?;
    let options = Options::of(info, progress);
    let mut paused = progress.pause.is_some();
    let decision = retry::decide(
        options.retry_policy(),
        progress.attempt,
        now,
        options.expiration(),
        failure,
        info.cancel_requested_event_id != 0,
        retry::Kind::Activity,
    );
    // As Temporal's server: rules are not asked about what no retry would help.
    let stops = matches!(&decision, Decision::Stop(state) if !matches!(state, RetryState::MaximumAttemptsReached | RetryState::Timeout));
    if !paused && !stops {
        paused = rules::pauses(step, scheduled_event_id);
    }
    let after = match decision {
        Decision::Retry { after } => after,
        // A paused activity has no timeouts and no last attempt: it waits for whoever paused it (spec 03 §6.5).
        Decision::Stop(RetryState::MaximumAttemptsReached | RetryState::Timeout) if paused => Span::ZERO,
        Decision::Stop(retry_state) => return Some(retry_state),
    };
    withdraw(step, scheduled_event_id);
    let stamp = step.next_stamp();
    let limit = step.cx.limits.activity_failure_max;
    change(step, scheduled_event_id, |p| {
        log::retried(p, now, failure);
        p.attempt += 1;
        p.stamp = stamp;
        p.scheduled_time = (now + after).0;
        p.started_time = 0;
        // The worker that had it, whoever says how it went. An attempt that none had leaves the one before.
        if !p.identity.is_empty() {
            p.last_identity = core::mem::take(&mut p.identity);
        }
        p.request_id = String::new();
        p.worker_version = None;
        p.reset = false;
        p.token_attempt = 0;
        if core::mem::take(&mut p.reset_heartbeat) {
            operate::forget_heartbeat(p);
        }
        p.last_failure = failure.map(|f| Box::new(retry::truncate_failure(f.clone(), limit)));
        p.last_attempt_complete_time = now.0;
    });
    if step.run.state.progress.activities.get(&scheduled_event_id).is_some_and(|p| health::is_told(p.attempt)) {
        step.listed();
    }
    None
}

/// Writes the closing event, before it the start that history does not know yet. The offer goes.
#[allow(deprecated, reason = "worker_version is old, but old workers send it")]
fn write_closing(step: &mut Step<'_, '_>, scheduled_event_id: i64, closing: Attributes) {
    withdraw(step, scheduled_event_id);
    if step.run.is_standalone() {
        log::closed(step, scheduled_event_id, &closing);
        return standalone::closed(step, closing);
    }
    let state = &step.run.state;
    let known = state.derived.activities.get(&scheduled_event_id).is_none_or(|info| info.started_event_id != 0);
    let started = state.progress.activities.get(&scheduled_event_id).filter(|p| p.is_started() && !known).map(Arc::clone);
    if let Some(p) = started {
        step.buffer_event(HistoryEvent {
            event_time: Some(Timestamp(p.started_time).to_api()),
            attributes: Some(Attributes::ActivityTaskStartedEventAttributes(ActivityTaskStartedEventAttributes {
                scheduled_event_id,
                identity: p.identity.clone(),
                request_id: p.request_id.clone(),
                attempt: p.attempt,
                last_failure: p.last_failure.as_deref().cloned(),
                worker_version: p.worker_version.clone(),
                ..Default::default()
            })),
            ..Default::default()
        });
    }
    log::closed(step, scheduled_event_id, &closing);
    if step.run.state.progress.activities.get(&scheduled_event_id).is_some_and(|p| p.pause.is_some() || p.attempt > 1) {
        step.listed();
    }
    step.buffer(closing);
}
