//! What workers say about activities: done, failed, cancelled, still alive (spec 03 §5, §7, §16).

use alloc::{boxed::Box, format, string::String, vec::Vec};

use sempre_api::v1::{
    common::Payloads,
    failure::{Failure, failure::FailureInfo},
};

use super::{Answer, change, close, failure, pending};
use crate::{
    Refusal, Reply, Span, TaskToken,
    input::ActivityTarget,
    planted::{self, Bug},
    refusal::text,
    retry, standalone,
    step::Step,
};

/// A worker's failure without ApplicationFailureInfo.
const NOT_AN_APPLICATION_FAILURE: &str = "Failure must have ApplicationFailureInfo.";
/// RespondActivityTaskCanceled without a cancel request.
const CANCEL_NOT_REQUESTED: &str = "unable to mark activity as canceled without activity being request canceled first";

/// The same of an activity that belongs to no workflow.
const NOT_CANCEL_REQUESTED: &str = "invalid transition from Started";

/// Whether the call needs an attempt in a worker's hands.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Started,
    /// A completion by id is accepted before any start.
    StartedOrById,
}

/// RespondActivityTaskCompleted.
pub(crate) fn complete(step: &mut Step<'_, '_>, target: &ActivityTarget, result: Option<Payloads>, identity: String) -> Answer {
    if failure::too_large(result.as_ref(), step.cx.limits.blob_size_max) {
        let id = find(step, target, Needs::Started)?;
        close::attempt_failed(step, id, Some(retry::too_large_failure(failure::RESULT_TOO_LARGE, None)), identity);
        return Ok(Ok(Reply::Done));
    }
    let id = find(step, target, Needs::StartedOrById)?;
    close::completed(step, id, result, identity);
    Ok(Ok(Reply::Done))
}

/// RespondActivityTaskFailed.
pub(crate) fn fail(
    step: &mut Step<'_, '_>,
    target: &ActivityTarget,
    sent: Option<Box<Failure>>,
    details: Option<Payloads>,
    identity: String,
) -> Answer {
    check_failure(sent.as_deref())?;
    let id = find(step, target, Needs::Started)?;
    let limit = step.cx.limits.blob_size_max;
    let mut problems = Vec::new();
    if failure::too_large(details.as_ref(), limit) {
        problems.push(retry::too_large_failure(failure::HEARTBEAT_TOO_LARGE, None));
    } else if details.is_some() {
        record(step, id, details);
    }
    let sent = sent.map(|f| *f);
    let recorded = sent.clone().map(|f| failure::limited(f, limit));
    if recorded != sent {
        problems.extend(recorded.clone());
    }
    close::attempt_failed(step, id, recorded, identity);
    Ok(Ok(Reply::ActivityFailed { failures: problems }))
}

/// RespondActivityTaskCanceled.
pub(crate) fn cancel(step: &mut Step<'_, '_>, target: &ActivityTarget, details: Option<Payloads>, identity: String) -> Answer {
    let id = find(step, target, Needs::Started)?;
    let requested = step.run.state.derived.activities.get(&id).map_or(0, |info| info.cancel_requested_event_id);
    if requested == 0 && step.run.is_standalone() {
        return Err(Refusal::FailedPrecondition(NOT_CANCEL_REQUESTED.into()));
    }
    if requested == 0 {
        return Err(Refusal::invalid(CANCEL_NOT_REQUESTED));
    }
    if failure::too_large(details.as_ref(), step.cx.limits.blob_size_max) {
        close::attempt_failed(step, id, Some(retry::too_large_failure(failure::CANCEL_DETAILS_TOO_LARGE, None)), identity);
    } else {
        close::canceled(step, id, requested, details, identity);
    }
    Ok(Ok(Reply::Done))
}

/// RecordActivityTaskHeartbeat.
pub(crate) fn heartbeat(step: &mut Step<'_, '_>, target: &ActivityTarget, details: Option<Payloads>, identity: String) -> Answer {
    let id = find(step, target, Needs::Started)?;
    if failure::too_large(details.as_ref(), step.cx.limits.blob_size_max) {
        close::attempt_failed(step, id, Some(retry::too_large_failure(failure::HEARTBEAT_TOO_LARGE, None)), identity);
        return Ok(Ok(Reply::Heartbeat { cancel_requested: true, paused: false, reset: false }));
    }
    record(step, id, details);
    step.lazy_deadline();
    let Some((info, progress)) = pending(&step.run.state, id) else { return Ok(Ok(Reply::Done)) };
    Ok(Ok(Reply::Heartbeat {
        cancel_requested: info.cancel_requested_event_id != 0,
        paused: progress.pause.is_some(),
        reset: progress.reset,
    }))
}

/// Replaces the details, even by nothing.
fn record(step: &mut Step<'_, '_>, scheduled_event_id: i64, details: Option<Payloads>) {
    let now = step.now();
    change(step, scheduled_event_id, |p| {
        p.heartbeat_details = details;
        p.heartbeat_time = now.0;
    });
    if let Some(own) = &mut step.run.state.progress.main.standalone {
        own.heartbeats += 1;
    }
}

fn check_failure(failure: Option<&Failure>) -> Result<(), Refusal> {
    let Some(failure) = failure else { return Ok(()) };
    let Some(FailureInfo::ApplicationFailureInfo(info)) = &failure.failure_info else {
        return Err(Refusal::invalid(NOT_AN_APPLICATION_FAILURE));
    };
    match Span::from_api(info.next_retry_delay.as_ref()) {
        Ok(_) => Ok(()),
        Err(why) => Err(Refusal::invalid(format!("Invalid NextRetryDelay set on failure: {why}."))),
    }
}

/// The scheduled event id of the pending activity that is meant.
fn find(step: &Step<'_, '_>, target: &ActivityTarget, needs: Needs) -> Result<i64, Refusal> {
    let open = step.require_open();
    let found = open.and_then(|()| match target {
        ActivityTarget::Token(token) => find_by_token(step, token),
        ActivityTarget::Id(id) => find_by_id(step, id, needs),
    });
    if step.run.is_standalone() { found.map_err(|_| standalone::not_found(&step.run.key.workflow)) } else { found }
}

/// A token is good for one attempt only: a worker that was given up loses.
fn find_by_token(step: &Step<'_, '_>, token: &TaskToken) -> Result<i64, Refusal> {
    let gone = || Refusal::not_found(text::ACTIVITY_NOT_FOUND);
    let (_, progress) = pending(&step.run.state, token.scheduled_event_id).ok_or_else(gone)?;
    let same_run = token.run_id.as_ref() == step.run.key.run.0.0;
    let same_attempt =
        planted::is(Bug::StaleActivityTokens) || token.attempt == progress.token_attempt() && token.started_time == progress.started_time;
    if same_run && same_attempt && progress.is_started() { Ok(token.scheduled_event_id) } else { Err(gone()) }
}

fn find_by_id(step: &Step<'_, '_>, activity_id: &str, needs: Needs) -> Result<i64, Refusal> {
    let unknown = || {
        Refusal::not_found(format!(
            "cannot find pending activity with ActivityID {activity_id}, check workflow execution history for more details"
        ))
    };
    let id = *step.run.state.derived.activity_ids.get(activity_id).ok_or_else(unknown)?;
    let (_, progress) = pending(&step.run.state, id).ok_or_else(unknown)?;
    if needs == Needs::Started && !progress.is_started() {
        return Err(Refusal::not_found(text::ACTIVITY_NOT_FOUND));
    }
    Ok(id)
}
