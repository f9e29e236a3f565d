//! Completion callbacks: whom a chain of runs, or an update, tells that it has ended, and how (spec 01 §11, 08 §5.7).
//!
//! | state | input | next |
//! |---|---|---|
//! | standby, of a chain | the run closes and nothing follows it | scheduled: a message goes out |
//! | standby, of a chain | continue-as-new, retry | standby for ever; the successor has it |
//! | standby, of a chain | a reset ends the run, and the new one has the callback | standby for ever |
//! | standby, of a chain | a reset ends the run, and the new one does not have it | scheduled: the run was terminated |
//! | standby, of an update | the update is completed, or rejected | scheduled |
//! | standby, of an update | its run closes, whatever follows it | scheduled: the update has failed |
//! | standby, of an update | a reset ends the run, and the new one has the update | standby for ever |
//! | scheduled | delivered | succeeded |
//! | scheduled | refused for good | failed |
//! | scheduled | could not be delivered | backing off |
//! | backing off | its time has come | scheduled |
//! | scheduled | the circuit breaker of the other side is open | scheduled, and shown as blocked; no attempt |

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};

use sempre_api::v1::{
    common::{Callback, Link, callback},
    enums::{CallbackState, EventType, RetryState},
    failure::{ApplicationFailureInfo, CanceledFailureInfo, Failure, TerminatedFailureInfo, TimeoutFailureInfo, failure::FailureInfo},
    history::{HistoryEvent, history_event::Attributes},
    update::{Outcome as UpdateOutcome, outcome::Value},
    workflow::{CallbackInfo as ApiCallbackInfo, callback_info},
};

use crate::{
    Span, Timestamp, attach,
    start::{request_link, started_link},
    state::{
        State,
        callback::{CallbackInfo, Outcome, OutcomeState},
        rows::Kind,
    },
    step::Step,
    transition::{CallbackCall, CallbackResult, OutboxMessage},
    update,
};

/// First wait after a failed attempt (`component.callbacks.retryPolicy.initialInterval`).
const BACKOFF_FIRST: Span = Span::seconds(1);
/// Longest wait (`component.callbacks.retryPolicy.maxInterval`).
const BACKOFF_MAX: Span = Span::seconds(3600);
/// Why a callback is blocked.
const BLOCKED: &str = "The circuit breaker is open.";

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

/// What the outcome of an update, as its UpdateCompleted event has it, means to those who wait for it.
pub fn update_outcome(outcome: UpdateOutcome, close_time: i64) -> Outcome {
    match outcome.value {
        Some(Value::Failure(failure)) => {
            Outcome { state: OutcomeState::Failed as i32, failure: Some(failure), close_time, ..Default::default() }
        }
        success => {
            let result = match success {
                Some(Value::Success(payloads)) => payloads.payloads.into_iter().next(),
                _ => None,
            };
            Outcome { state: OutcomeState::Succeeded as i32, result, close_time, ..Default::default() }
        }
    }
}

/// The run has closed: tells everybody who asked for it, unless the chain goes on.
pub(crate) fn fire(step: &mut Step<'_, '_>) {
    if step.run.state.derived.outcome.is_none() {
        return;
    }
    for number in standing_by(step, CallbackInfo::is_of_chain) {
        send(step, number);
    }
}

/// An update is completed: tells everybody who asked for that.
pub(crate) fn update_completed(step: &mut Step<'_, '_>, update_id: &str) {
    for number in standing_by(step, |info| info.update_id == update_id) {
        send(step, number);
    }
}

/// An update that an event had admitted is rejected. No event says so.
pub(crate) fn update_rejected(step: &mut Step<'_, '_>, update_id: &str, outcome: &UpdateOutcome) {
    let now = step.now().0;
    for number in standing_by(step, |info| info.update_id == update_id) {
        let rejection = Box::new(update_outcome(outcome.clone(), now));
        step.run.state.progress.callbacks.entry(number).or_default().rejection = Some(rejection);
        send(step, number);
    }
}

/// The run has closed before these updates were completed; `elsewhere` has those that another run goes on with.
pub(crate) fn updates_closed(step: &mut Step<'_, '_>, elsewhere: impl Fn(&str) -> bool) {
    let state = &step.run.state;
    let ended = |id: &str| state.derived.updates.get(id).is_some_and(|update| update.completed_event_id != 0);
    let waiting = standing_by(step, |info| !info.is_of_chain() && !ended(&info.update_id) && !elsewhere(&info.update_id));
    for number in waiting {
        send(step, number);
    }
}

/// A reset has ended the run: tells those of whom the run that goes on does not know. So it is with one that was attached after the reset
/// point where nothing is applied again, and where another run of the workflow goes on.
pub(crate) fn ended_by_reset(step: &mut Step<'_, '_>, next: &State) {
    let goes_on = |info: &CallbackInfo| {
        // A successor has those of the run before without the ids of the requests that attached them.
        let one_request =
            |other: &CallbackInfo| other.request_id == info.request_id || other.request_id.is_empty() || info.request_id.is_empty();
        let same = |other: &Arc<CallbackInfo>| other.is_of_chain() && other.callback == info.callback && one_request(other);
        next.derived.callbacks.values().any(same)
    };
    for number in standing_by(step, |info| info.is_of_chain() && !goes_on(info)) {
        send(step, number);
    }
}

fn standing_by(step: &Step<'_, '_>, which: impl Fn(&CallbackInfo) -> bool) -> Vec<i64> {
    let state = &step.run.state;
    let untold = state.derived.callbacks.iter().filter(|(number, info)| !state.progress.callbacks.contains_key(number) && which(info));
    untold.map(|(number, _)| *number).collect()
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
    let Some(info) = state.derived.callbacks.get(&number) else { return };
    let (outcome, outcome_event_id) = match told(state, number, info) {
        Some(Told::Outcome(outcome)) => (Some(*outcome), 0),
        Some(Told::Event(event_id)) => (None, event_id),
        None => return,
    };
    let mut call = CallbackCall {
        number,
        attempt: 0,
        callback: info.callback.clone(),
        outcome,
        link: Some(link(step, info)),
        start_time: if info.is_of_chain() { state.derived.start.start_time } else { info.registration_time },
        outcome_event_id,
        status: step.run.status() as i32,
    };
    let progress = step.run.state.progress.callbacks.entry(number).or_default();
    call.attempt = progress.attempt;
    progress.state = CallbackState::Scheduled as i32;
    (progress.next_attempt_time, progress.blocked) = (0, false);
    step.run.state.dirty.mark(Kind::Callback, number);
    step.message(OutboxMessage::Callback(Box::new(call)));
}

/// What a callback is told.
enum Told {
    Outcome(Box<Outcome>),
    /// What this UpdateCompleted event has. Outcomes may be large: state does not keep a copy.
    Event(i64),
}

fn told(state: &State, number: i64, info: &CallbackInfo) -> Option<Told> {
    if info.is_of_chain() {
        return state.derived.outcome.as_deref().map(|outcome| Told::Outcome(Box::new(outcome.clone())));
    }
    let rejection = state.progress.callbacks.get(&number).and_then(|progress| progress.rejection.as_deref());
    let completed = state.derived.updates.get(&info.update_id).map_or(0, |update| update.completed_event_id);
    Some(match (rejection, completed) {
        (Some(rejection), _) => Told::Outcome(Box::new(rejection.clone())),
        (None, 0) => Told::Outcome(Box::new(update_outcome(update::closed_before_completion(), state.derived.main.close_time))),
        (None, event_id) => Told::Event(event_id),
    })
}

/// The event that registered the callback.
fn link(step: &Step<'_, '_>, info: &CallbackInfo) -> Link {
    if step.run.is_operation() {
        return step.run.operation_link(step.cx);
    }
    let (key, run_id) = (&step.run.key.workflow, alloc::format!("{}", step.run.key.run));
    if info.attached {
        return attach::link(key, &run_id, &info.request_id, step.cx);
    }
    if info.is_of_chain() {
        return started_link(key, &run_id, step.cx);
    }
    let admitted = step.run.state.derived.updates.get(&info.update_id).is_some_and(|update| update.admitted_event_id != 0);
    let event_type = if admitted { EventType::WorkflowExecutionUpdateAdmitted } else { EventType::WorkflowExecutionUpdateAccepted };
    request_link(key, &run_id, &info.request_id, event_type, step.cx)
}

/// What became of an attempt.
pub(crate) fn attempted(step: &mut Step<'_, '_>, number: i64, attempt: i32, result: CallbackResult) {
    let now = step.now();
    let Some(progress) = step.run.state.progress.callbacks.get_mut(&number) else { return };
    // Told twice, or of an attempt before the last: known already.
    if progress.state != CallbackState::Scheduled as i32 || progress.attempt != attempt {
        return;
    }
    if let CallbackResult::Blocked(until) = result {
        // By the run's own clock, and not before its turn: many wait for one host.
        let due = (until + step.skipped).max(now + backoff(progress.attempt.saturating_add(1)));
        (progress.next_attempt_time, progress.blocked) = (due.0, true);
        step.run.state.dirty.mark(Kind::Callback, number);
        return step.touch();
    }
    progress.attempt = progress.attempt.saturating_add(1);
    progress.last_attempt_complete_time = now.0;
    (progress.next_attempt_time, progress.blocked) = (0, false);
    let state = match result {
        CallbackResult::Delivered => {
            (progress.last_failure, progress.rejection) = (None, None);
            CallbackState::Succeeded
        }
        CallbackResult::Refused(text) => {
            (progress.last_failure, progress.rejection) = (Some(failure(text, true)), None);
            CallbackState::Failed
        }
        CallbackResult::Blocked(_) => CallbackState::Scheduled,
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
    state.derived.callbacks.values().filter(|info| info.is_of_chain()).filter_map(|info| info.callback.clone()).collect()
}

fn is_internal(callback: Option<&Callback>) -> bool {
    callback.is_some_and(|callback| matches!(callback.variant, Some(callback::Variant::Internal(_))))
}

/// As DescribeWorkflowExecution shows them.
pub(crate) fn describe(state: &State) -> Vec<ApiCallbackInfo> {
    use callback_info::{Trigger, UpdateWorkflowExecutionCompleted, WorkflowClosed, trigger::Variant};
    let time = |nanos: i64| (nanos != 0).then(|| Timestamp(nanos).to_api());
    // The update was completed before the point at which a reset made this run: the run it comes from has told it.
    let told_elsewhere = |number: &i64, info: &CallbackInfo| {
        let ended = state.derived.updates.get(&info.update_id).is_some_and(|update| update.completed_event_id != 0);
        ended && !state.progress.callbacks.contains_key(number)
    };
    let shown = state
        .derived
        .callbacks
        .iter()
        .filter(|(number, info)| !told_elsewhere(number, info))
        // Parts of the server that watch the run are no business of clients.
        .filter(|(_, info)| !is_internal(info.callback.as_ref()));
    let callbacks = shown.map(|(number, info)| {
        let progress = state.progress.callbacks.get(number).cloned().unwrap_or_default();
        let of_start = info.is_of_chain() && !info.attached;
        let own = if of_start { &state.progress.main.start_request_id } else { &info.request_id };
        let trigger = match info.is_of_chain() {
            true => Variant::WorkflowClosed(WorkflowClosed {}),
            false => Variant::UpdateWorkflowExecutionCompleted(UpdateWorkflowExecutionCompleted { update_id: info.update_id.clone() }),
        };
        ApiCallbackInfo {
            callback: info.callback.clone(),
            trigger: Some(Trigger { variant: Some(trigger) }),
            registration_time: time(info.registration_time),
            state: match progress.state {
                0 => CallbackState::Standby as i32,
                _ if progress.blocked => CallbackState::Blocked as i32,
                state => state,
            },
            blocked_reason: if progress.blocked { BLOCKED.into() } else { String::new() },
            attempt: progress.attempt,
            last_attempt_complete_time: time(progress.last_attempt_complete_time),
            last_attempt_failure: progress.last_failure,
            next_attempt_schedule_time: if progress.blocked { None } else { time(progress.next_attempt_time) },
            request_id: own.clone(),
        }
    });
    callbacks.collect()
}
