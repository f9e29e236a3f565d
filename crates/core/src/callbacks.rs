//! Completion callbacks: whom a chain of runs tells that it has ended, and how (spec 01 §11, 08 §5.7).
//!
//! | state | input | next |
//! |---|---|---|
//! | standby | the run closes and nothing follows it | scheduled: a message goes out |
//! | standby | continue-as-new, retry | standby for ever; the successor has it |
//! | scheduled | delivered | succeeded |
//! | scheduled | refused for good | failed |
//! | scheduled | could not be delivered | backing off |
//! | backing off | its time has come | scheduled |

use alloc::{boxed::Box, string::String, vec::Vec};

use sempre_api::v1::{
    common::Callback,
    enums::{CallbackState, RetryState},
    failure::{ApplicationFailureInfo, CanceledFailureInfo, Failure, TerminatedFailureInfo, TimeoutFailureInfo, failure::FailureInfo},
    history::{HistoryEvent, history_event::Attributes},
    workflow::{CallbackInfo as ApiCallbackInfo, callback_info},
};

use crate::{
    Span, Timestamp, attach,
    start::started_link,
    state::{
        State,
        callback::{Outcome, OutcomeState},
        rows::Kind,
    },
    step::Step,
    transition::{CallbackCall, CallbackResult, OutboxMessage},
};

/// First wait after a failed attempt (`component.callbacks.retryPolicy.initialInterval`).
const BACKOFF_FIRST: Span = Span::seconds(1);
/// Longest wait (`component.callbacks.retryPolicy.maxInterval`).
const BACKOFF_MAX: Span = Span::seconds(3600);

/// What a close event means to those who wait for the chain; `None` if the chain goes on.
pub(crate) fn outcome(event: &HistoryEvent) -> Option<Outcome> {
    let failed = |failure| Outcome { state: OutcomeState::Failed as i32, failure: Some(failure), ..Default::default() };
    let failure = |message: &str, info| Failure { message: message.into(), failure_info: Some(info), ..Default::default() };
    let mut outcome = match event.attributes.as_ref()? {
        Attributes::WorkflowExecutionCompletedEventAttributes(a) => {
            // A Nexus operation has one result, and so have the workflows of all SDKs.
            let result = a.result.as_ref().and_then(|result| result.payloads.first().cloned());
            Outcome { state: OutcomeState::Succeeded as i32, result, ..Default::default() }
        }
        Attributes::WorkflowExecutionFailedEventAttributes(a) if a.retry_state() != RetryState::InProgress => {
            failed(a.failure.clone().unwrap_or_default())
        }
        Attributes::WorkflowExecutionTimedOutEventAttributes(a) if a.retry_state() != RetryState::InProgress => {
            failed(failure("operation exceeded internal timeout", FailureInfo::TimeoutFailureInfo(TimeoutFailureInfo::default())))
        }
        Attributes::WorkflowExecutionTerminatedEventAttributes(_) => {
            failed(failure("operation terminated", FailureInfo::TerminatedFailureInfo(TerminatedFailureInfo::default())))
        }
        Attributes::WorkflowExecutionCanceledEventAttributes(a) => {
            let info = CanceledFailureInfo { details: a.details.clone(), ..Default::default() };
            let canceled = failure("operation canceled", FailureInfo::CanceledFailureInfo(info));
            Outcome { state: OutcomeState::Canceled as i32, failure: Some(canceled), ..Default::default() }
        }
        _ => return None,
    };
    outcome.close_time = event.event_time.as_ref().map_or(0, |time| Timestamp::from_api(time).0);
    Some(outcome)
}

/// The run has closed: tells everybody who asked for it, unless the chain goes on.
pub(crate) fn fire(step: &mut Step<'_, '_>) {
    if step.run.state.derived.outcome.is_none() {
        return;
    }
    let numbers: Vec<i64> = step.run.state.derived.callbacks.keys().copied().collect();
    for number in numbers {
        send(step, number);
    }
}

/// Sends again what has waited long enough.
pub(crate) fn wake(step: &mut Step<'_, '_>) {
    let now = step.now().0;
    let waits = step.run.state.progress.callbacks.iter();
    let due: Vec<i64> = waits.filter(|(_, p)| p.next_attempt_time != 0 && p.next_attempt_time <= now).map(|(n, _)| *n).collect();
    for number in due {
        send(step, number);
    }
}

/// When the next one is to be sent again.
pub(crate) fn next_deadline(state: &State) -> Option<Timestamp> {
    state.progress.callbacks.values().map(|p| p.next_attempt_time).filter(|at| *at != 0).min().map(Timestamp)
}

fn send(step: &mut Step<'_, '_>, number: i64) {
    let state = &step.run.state;
    let (Some(info), Some(outcome)) = (state.derived.callbacks.get(&number), &state.derived.outcome) else { return };
    let (key, run_id) = (&step.run.key.workflow, alloc::format!("{}", step.run.key.run));
    let link = if info.attached { attach::link(key, &run_id, &info.request_id, step.cx) } else { started_link(key, &run_id, step.cx) };
    let mut call = CallbackCall {
        number,
        attempt: 0,
        callback: info.callback.clone(),
        outcome: Some(outcome.as_ref().clone()),
        link: Some(link),
        start_time: state.derived.start.start_time,
    };
    let progress = step.run.state.progress.callbacks.entry(number).or_default();
    call.attempt = progress.attempt;
    progress.state = CallbackState::Scheduled as i32;
    progress.next_attempt_time = 0;
    step.run.state.dirty.mark(Kind::Callback, number);
    step.message(OutboxMessage::Callback(Box::new(call)));
}

/// What became of an attempt.
pub(crate) fn attempted(step: &mut Step<'_, '_>, number: i64, attempt: i32, result: CallbackResult) {
    let now = step.now();
    let Some(progress) = step.run.state.progress.callbacks.get_mut(&number) else { return };
    // Told twice, or of an attempt before the last: known already.
    if progress.state != CallbackState::Scheduled as i32 || progress.attempt != attempt {
        return;
    }
    progress.attempt = progress.attempt.saturating_add(1);
    progress.last_attempt_complete_time = now.0;
    let state = match result {
        CallbackResult::Delivered => {
            progress.last_failure = None;
            CallbackState::Succeeded
        }
        CallbackResult::Refused(text) => {
            progress.last_failure = Some(failure(text, true));
            CallbackState::Failed
        }
        CallbackResult::Undelivered(text) => {
            progress.last_failure = Some(failure(text, false));
            progress.next_attempt_time = (now + backoff(progress.attempt)).0;
            CallbackState::BackingOff
        }
    };
    progress.state = state as i32;
    step.run.state.dirty.mark(Kind::Callback, number);
    step.touch();
}

/// Wait after the `attempt`th try: doubles from one second to one hour.
fn backoff(attempt: i32) -> Span {
    let doublings = attempt.clamp(1, 32) as u32 - 1;
    Span(BACKOFF_FIRST.0.saturating_mul(1 << doublings)).min(BACKOFF_MAX)
}

fn failure(message: String, non_retryable: bool) -> Failure {
    let info = ApplicationFailureInfo { non_retryable, ..Default::default() };
    Failure { message, failure_info: Some(FailureInfo::ApplicationFailureInfo(info)), ..Default::default() }
}

/// The run's callbacks, for its successor: those of its start and those attached since.
pub(crate) fn of_chain(state: &State) -> Vec<Callback> {
    state.derived.callbacks.values().filter_map(|info| info.callback.clone()).collect()
}

/// As DescribeWorkflowExecution shows them.
pub(crate) fn describe(state: &State) -> Vec<ApiCallbackInfo> {
    let time = |nanos: i64| (nanos != 0).then(|| Timestamp(nanos).to_api());
    let trigger =
        callback_info::Trigger { variant: Some(callback_info::trigger::Variant::WorkflowClosed(callback_info::WorkflowClosed {})) };
    let callbacks = state.derived.callbacks.iter().map(|(number, info)| {
        let progress = state.progress.callbacks.get(number).cloned().unwrap_or_default();
        let own = if info.attached { &info.request_id } else { &state.progress.main.start_request_id };
        ApiCallbackInfo {
            callback: info.callback.clone(),
            trigger: Some(trigger.clone()),
            registration_time: time(info.registration_time),
            state: if progress.state == 0 { CallbackState::Standby as i32 } else { progress.state },
            attempt: progress.attempt,
            last_attempt_complete_time: time(progress.last_attempt_complete_time),
            last_attempt_failure: progress.last_failure,
            next_attempt_schedule_time: time(progress.next_attempt_time),
            request_id: own.clone(),
            ..Default::default()
        }
    });
    callbacks.collect()
}
