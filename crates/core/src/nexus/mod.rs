//! Nexus operations as their caller sees them (spec 08 §5.3–5.4).
//!
//! | operation | news | next |
//! |---|---|---|
//! | scheduled | the command | a request to start it goes out |
//! | scheduled | started by the handler | started: Started event; a cancel asked for before goes out now |
//! | scheduled | done by the handler, or not | gone: Completed, Failed or Canceled event |
//! | scheduled | cannot be asked just now | waits, 1 s doubling to 1 h, and is asked again by the same request id |
//! | scheduled | its endpoint seems to be down | waits, no attempt counted, until it may be asked again |
//! | scheduled | refused for good | gone: Failed event |
//! | scheduled | its end is told before the answer to the start | Started event, and gone: closing event |
//! | started | its end is told | gone: closing event |
//! | any | a timeout passes | gone: TimedOut event |
//! | any | cancel requested | once it is started a request to cancel goes out, repeated as a start is |
//! | any | the handler answers the request to cancel | CancelRequestCompleted or …Failed event; the operation goes on |
//! | any | the run closes | forgotten: what is under way is not waited for |
//! | any | the run is reset | pending before the reset point: what is not known of it is asked again |
//!
//! All events but Scheduled and CancelRequested wait in the buffer while a workflow task runs. A request that was
//! answered twice, or after the operation's end, changes nothing.

pub mod alone;
pub mod link;
pub(crate) mod schedule;
pub mod system;
pub mod token;

use alloc::{boxed::Box, string::String, vec::Vec};

use sempre_api::v1::{
    common::{Link, Payload},
    enums::{EventType, NexusOperationCancellationState, PendingNexusOperationState, TimeoutType},
    failure::{CanceledFailureInfo, Failure, NexusOperationFailureInfo, TimeoutFailureInfo, failure::FailureInfo},
    history::{
        HistoryEvent, NexusOperationCancelRequestCompletedEventAttributes, NexusOperationCancelRequestFailedEventAttributes,
        NexusOperationCanceledEventAttributes, NexusOperationCompletedEventAttributes, NexusOperationFailedEventAttributes,
        NexusOperationStartedEventAttributes, NexusOperationTimedOutEventAttributes, history_event::Attributes,
    },
    workflow::{NexusOperationCancellationInfo, PendingNexusOperationInfo},
};

use crate::{
    Refusal, Reply, Span, Timestamp,
    input::OperationCompletion,
    retry,
    start::event_link,
    state::{Attempts, CancelAnswer, OperationInfo, OperationProgress, State, callback::OutcomeState, rows::Kind},
    step::Step,
    task,
    transition::{OperationCall, OperationCancelResult, OperationResult, OutboxMessage},
};

/// The endpoint that is the server itself.
pub const SYSTEM_ENDPOINT: &str = "__temporal_system";

/// Why a request is put off.
const BLOCKED: &str = "The circuit breaker is open.";
/// First wait after a failed request (`component.nexusoperations.retryPolicy.initialInterval`).
const BACKOFF_FIRST: Span = Span::seconds(1);
/// Longest wait (`component.nexusoperations.retryPolicy.maxInterval`).
const BACKOFF_MAX: Span = Span::seconds(3600);

/// Links of its handler that an operation without workflow keeps.
pub(crate) const HANDLER_LINKS_MAX: usize = 100;

/// What a completion is told whose operation is over, or another one (spec 08 §5.4 step 6).
pub const NOT_FOUND: &str = "operation not found";

/// The endpoints that commands may name.
pub trait EndpointTable {
    /// Id of the endpoint with this name.
    fn id_of(&self, name: &str) -> Option<String>;
}

/// There are none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEndpoints;

impl EndpointTable for NoEndpoints {
    fn id_of(&self, _: &str) -> Option<String> {
        None
    }
}

/// The operation if its end is neither in history nor in the buffer.
pub(crate) fn pending(state: &State, scheduled_event_id: i64) -> Option<&OperationInfo> {
    let info = state.derived.operations.get(&scheduled_event_id)?;
    (!state.progress.buffer.closes_operation(scheduled_event_id)).then_some(info.as_ref())
}

/// Pending operations without those whose end waits in the buffer (looked at only near the limit).
pub(crate) fn pending_count(state: &State, limit: usize) -> usize {
    let operations = &state.derived.operations;
    if operations.len() < limit {
        return operations.len();
    }
    operations.keys().filter(|id| !state.progress.buffer.closes_operation(**id)).count()
}

/// When an operation was started, and the handler's token, if its Started event is in history or in the buffer.
pub(crate) fn started<'s>(state: &'s State, info: &'s OperationInfo) -> Option<(Timestamp, &'s str)> {
    if info.started_event_id != 0 {
        return Some((Timestamp(info.started_time), &info.token));
    }
    state.progress.buffer.operation_started(info.scheduled_event_id).map(|(time, token)| (Timestamp(time), token))
}

/// How an operation ends.
pub(crate) enum End {
    /// With a result; links to what has made it.
    Completed(Option<Payload>, Vec<Link>),
    Failed(Failure),
    Canceled(Failure),
    TimedOut(TimeoutType),
}

/// Asks the endpoint to start the operation.
pub(crate) fn send_start(step: &mut Step<'_, '_>, scheduled_event_id: i64) {
    send(step, scheduled_event_id, Request::Start);
}

/// Asks the endpoint to cancel the operation, if that is wanted, it is started, and nothing was asked or answered yet.
pub(crate) fn send_cancel_if_due(step: &mut Step<'_, '_>, scheduled_event_id: i64) {
    let state = &step.run.state;
    let Some(info) = pending(state, scheduled_event_id) else { return };
    let asked = state.progress.operations.get(&scheduled_event_id).is_some_and(|p| p.cancel.message != 0 || p.cancel.next_time != 0);
    let answered = info.cancel_answer() != CancelAnswer::None || state.progress.buffer.answers_operation_cancel(scheduled_event_id);
    if info.cancel_requested_event_id != 0 && started(state, info).is_some() && !asked && !answered {
        send(step, scheduled_event_id, Request::Cancel);
    }
}

/// The two kinds of requests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Request {
    Start,
    Cancel,
}

impl Request {
    fn of(self, progress: &mut OperationProgress) -> &mut Attempts {
        match self {
            Self::Start => &mut progress.start,
            Self::Cancel => &mut progress.cancel,
        }
    }
}

fn send(step: &mut Step<'_, '_>, scheduled_event_id: i64, request: Request) {
    let state = &step.run.state;
    let Some(info) = pending(state, scheduled_event_id) else { return };
    let mut attributes = info.scheduled().clone();
    if request == Request::Cancel && attributes.endpoint != SYSTEM_ENDPOINT {
        attributes.input = None;
    }
    let started = started(state, info);
    let mut progress = state.progress.operations.get(&scheduled_event_id).cloned().unwrap_or_default();
    let call = Box::new(OperationCall {
        scheduled_event_id,
        attempt: request.of(&mut progress).ended,
        attributes: Some(Box::new(attributes)),
        scheduled_time: (Timestamp(info.scheduled_time) - step.skipped).0,
        started_time: started.map_or(0, |(time, _)| (time - step.skipped).0),
        token: started.map_or_else(String::new, |(_, token)| token.into()),
        link: Some(scheduled_link(step, scheduled_event_id)),
    });
    let message = step.numbered_message(match request {
        Request::Start => OutboxMessage::StartOperation(call),
        Request::Cancel => OutboxMessage::CancelOperation(call),
    });
    let attempts = request.of(&mut progress);
    attempts.message = message;
    attempts.next_time = 0;
    attempts.blocked = false;
    put(step, scheduled_event_id, progress);
}

pub(crate) fn put(step: &mut Step<'_, '_>, scheduled_event_id: i64, progress: OperationProgress) {
    step.run.state.progress.operations.insert(scheduled_event_id, progress);
    step.run.state.dirty.mark(Kind::OperationRequests, scheduled_event_id);
    step.touch();
}

/// A link to the operation's Scheduled event, or to the operation itself if it is no workflow's.
fn scheduled_link(step: &Step<'_, '_>, event_id: i64) -> Link {
    if step.run.is_operation() {
        return step.run.operation_link(step.cx);
    }
    use sempre_api::v1::common::link::workflow_event::{EventReference, Reference};
    let reference = EventReference { event_id, event_type: EventType::NexusOperationScheduled as i32 };
    let run_id = alloc::format!("{}", step.run.key.run);
    event_link(&step.run.key.workflow, &run_id, Reference::EventRef(reference), step.cx)
}

/// The request that is under way has ended; false if it is not the one that is meant.
fn ended(step: &mut Step<'_, '_>, scheduled_event_id: i64, attempt: i32, request: Request, failure: Option<Failure>) -> bool {
    let now = step.now();
    if !step.run.is_open() || pending(&step.run.state, scheduled_event_id).is_none() {
        return false;
    }
    let Some(mut progress) = step.run.state.progress.operations.get(&scheduled_event_id).cloned() else { return false };
    let attempts = request.of(&mut progress);
    if attempts.message == 0 || attempts.ended != attempt {
        return false;
    }
    attempts.message = 0;
    attempts.ended = attempts.ended.saturating_add(1);
    attempts.last_complete_time = now.0;
    attempts.last_failure = failure.map(Box::new);
    put(step, scheduled_event_id, progress);
    true
}

/// The request under way was not made, because its endpoint seems to be down: it is tried at `until`, as the same attempt.
fn put_off(step: &mut Step<'_, '_>, scheduled_event_id: i64, attempt: i32, request: Request, until: Timestamp) {
    let state = &step.run.state;
    let Some(info) = pending(state, scheduled_event_id).filter(|_| step.run.is_open()) else { return };
    // What its end has told before need not be asked.
    let known = request == Request::Start && started(state, info).is_some();
    let Some(mut progress) = state.progress.operations.get(&scheduled_event_id).cloned() else { return };
    let attempts = request.of(&mut progress);
    if attempts.message == 0 || attempts.ended != attempt {
        return;
    }
    attempts.message = 0;
    if !known {
        attempts.next_time = (until + step.skipped).0;
        attempts.blocked = true;
    }
    put(step, scheduled_event_id, progress);
}

/// The request is made again when its back-off has passed.
fn retry_later(step: &mut Step<'_, '_>, scheduled_event_id: i64, request: Request) {
    let now = step.now();
    let Some(mut progress) = step.run.state.progress.operations.get(&scheduled_event_id).cloned() else { return };
    let attempts = request.of(&mut progress);
    attempts.next_time = (now + backoff(attempts.ended)).0;
    put(step, scheduled_event_id, progress);
}

/// Wait after the `attempt`th try: doubles from one second to one hour.
fn backoff(attempt: i32) -> Span {
    let doublings = attempt.clamp(1, 32) as u32 - 1;
    Span(BACKOFF_FIRST.0.saturating_mul(1 << doublings)).min(BACKOFF_MAX)
}

/// What became of a request to start.
pub(crate) fn start_answered(step: &mut Step<'_, '_>, scheduled_event_id: i64, attempt: i32, result: OperationResult) {
    if let OperationResult::Blocked(until) = result {
        return put_off(step, scheduled_event_id, attempt, Request::Start, until);
    }
    let alone = step.run.is_operation();
    let failure = match &result {
        OperationResult::Undelivered(failure) => Some(cut(failure.as_ref().clone())),
        // A workflow's operation is gone with its end. Another one goes on to show what became of its last attempt.
        OperationResult::Failed(failure) | OperationResult::Refused(failure) if alone => Some(cut(failure.as_ref().clone())),
        OperationResult::Canceled(failure) if alone => Some(cut(as_canceled(failure.as_ref().clone()))),
        OperationResult::NoTime(timeout) if alone => Some(timed_out(cut_by(*timeout))),
        _ => None,
    };
    if !ended(step, scheduled_event_id, attempt, Request::Start, failure) {
        return;
    }
    // Told by its end, or by what a reset applied again.
    let known = pending(&step.run.state, scheduled_event_id).is_none_or(|info| started(&step.run.state, info).is_some());
    match result {
        OperationResult::Started { .. } if known => return,
        OperationResult::Started { token, links } => record_start(step, scheduled_event_id, token, None, links),
        OperationResult::Completed { result, links } => end(step, scheduled_event_id, End::Completed(result, links)),
        OperationResult::Failed(cause) | OperationResult::Refused(cause) => end(step, scheduled_event_id, End::Failed(*cause)),
        OperationResult::Canceled(cause) => end(step, scheduled_event_id, End::Canceled(*cause)),
        OperationResult::NoTime(timeout) => end(step, scheduled_event_id, End::TimedOut(cut_by(timeout))),
        OperationResult::Undelivered(_) | OperationResult::Blocked(_) if known => return,
        OperationResult::Undelivered(_) | OperationResult::Blocked(_) => return retry_later(step, scheduled_event_id, Request::Start),
    }
    task::schedule_if_needed(step);
}

/// What became of a request to cancel.
pub(crate) fn cancel_answered(step: &mut Step<'_, '_>, scheduled_event_id: i64, attempt: i32, result: OperationCancelResult) {
    if let OperationCancelResult::Blocked(until) = result {
        return put_off(step, scheduled_event_id, attempt, Request::Cancel, until);
    }
    let failure = match &result {
        OperationCancelResult::Taken | OperationCancelResult::Blocked(_) => None,
        OperationCancelResult::Refused(failure) | OperationCancelResult::Undelivered(failure) => Some(cut(failure.as_ref().clone())),
    };
    if !ended(step, scheduled_event_id, attempt, Request::Cancel, failure) {
        return;
    }
    let requested_event_id = step.run.state.derived.operations.get(&scheduled_event_id).map_or(0, |info| info.cancel_requested_event_id);
    let attributes = match result {
        OperationCancelResult::Undelivered(_) | OperationCancelResult::Blocked(_) => {
            return retry_later(step, scheduled_event_id, Request::Cancel);
        }
        OperationCancelResult::Taken => {
            Attributes::NexusOperationCancelRequestCompletedEventAttributes(NexusOperationCancelRequestCompletedEventAttributes {
                requested_event_id,
                scheduled_event_id,
                ..Default::default()
            })
        }
        OperationCancelResult::Refused(failure) => {
            Attributes::NexusOperationCancelRequestFailedEventAttributes(NexusOperationCancelRequestFailedEventAttributes {
                requested_event_id,
                scheduled_event_id,
                failure: Some(cut(*failure)),
                ..Default::default()
            })
        }
    };
    let event_time = Some(step.now().to_api());
    // Workers that do not know these events need not.
    step.buffer_event(HistoryEvent { event_time, worker_may_ignore: true, attributes: Some(attributes), ..Default::default() });
    task::schedule_if_needed(step);
}

/// The operation has ended, as its handler's side tells.
pub(crate) fn completed(step: &mut Step<'_, '_>, completion: OperationCompletion) -> Result<Result<Reply, Refusal>, Refusal> {
    step.require_open()?;
    let id = completion.scheduled_event_id;
    let state = &step.run.state;
    let info = pending(state, id).filter(|info| info.scheduled().request_id == completion.request_id);
    let info = info.ok_or_else(|| Refusal::not_found(NOT_FOUND))?;
    if started(state, info).is_none() {
        record_start(step, id, completion.token, completion.start_time, completion.links);
    }
    let outcome = completion.outcome;
    match outcome.state() {
        OutcomeState::Succeeded => end(step, id, End::Completed(outcome.result, Vec::new())),
        OutcomeState::Failed => end(step, id, End::Failed(outcome.failure.unwrap_or_default())),
        OutcomeState::Canceled => end(step, id, End::Canceled(outcome.failure.unwrap_or_default())),
    }
    task::schedule_if_needed(step);
    Ok(Ok(Reply::Done))
}

#[allow(deprecated, reason = "operation_id is what old workers read")]
fn record_start(step: &mut Step<'_, '_>, scheduled_event_id: i64, token: String, time: Option<Timestamp>, links: Vec<Link>) {
    let attributes = NexusOperationStartedEventAttributes {
        scheduled_event_id,
        operation_id: token.clone(),
        request_id: request_id(step, scheduled_event_id),
        operation_token: token,
    };
    if step.run.is_operation() {
        alone::started(step, time.unwrap_or(step.now()), links.clone());
    }
    buffer(step, Attributes::NexusOperationStartedEventAttributes(attributes), time, links);
    send_cancel_if_due(step, scheduled_event_id);
}

fn request_id(step: &Step<'_, '_>, scheduled_event_id: i64) -> String {
    let info = step.run.state.derived.operations.get(&scheduled_event_id);
    info.map_or_else(String::new, |info| info.scheduled().request_id.clone())
}

fn buffer(step: &mut Step<'_, '_>, attributes: Attributes, time: Option<Timestamp>, links: Vec<Link>) {
    // Others tell the time by the wall clock.
    let event_time = Some(time.map_or(step.now(), |time| time + step.skipped).to_api());
    step.buffer_event(HistoryEvent { event_time, links, attributes: Some(attributes), ..Default::default() });
}

/// The operation has ended: an event of its workflow, or the end of the run that it is by itself.
fn end(step: &mut Step<'_, '_>, scheduled_event_id: i64, end: End) {
    let end = match end {
        End::Canceled(cause) => End::Canceled(as_canceled(cause)),
        other => other,
    };
    if step.run.is_operation() {
        return alone::closed(step, end);
    }
    let request_id = request_id(step, scheduled_event_id);
    let (attributes, links) = match end {
        End::Completed(result, links) => {
            let attributes = NexusOperationCompletedEventAttributes { scheduled_event_id, result, request_id };
            (Attributes::NexusOperationCompletedEventAttributes(attributes), links)
        }
        End::Failed(cause) => {
            let failure = unsuccessful(step, scheduled_event_id, cause);
            let attributes = NexusOperationFailedEventAttributes { scheduled_event_id, failure, request_id };
            (Attributes::NexusOperationFailedEventAttributes(attributes), Vec::new())
        }
        End::Canceled(cause) => {
            let failure = unsuccessful(step, scheduled_event_id, cause);
            let attributes = NexusOperationCanceledEventAttributes { scheduled_event_id, failure, request_id };
            (Attributes::NexusOperationCanceledEventAttributes(attributes), Vec::new())
        }
        End::TimedOut(timeout) => {
            let failure = unsuccessful(step, scheduled_event_id, timed_out(timeout));
            let attributes = NexusOperationTimedOutEventAttributes { scheduled_event_id, failure, request_id };
            (Attributes::NexusOperationTimedOutEventAttributes(attributes), Vec::new())
        }
    };
    buffer(step, attributes, None, links);
}

/// Old handlers tell it as any other failure.
fn as_canceled(cause: Failure) -> Failure {
    if matches!(cause.failure_info, Some(FailureInfo::CanceledFailureInfo(_))) {
        return cause;
    }
    Failure {
        message: cause.message,
        stack_trace: cause.stack_trace,
        failure_info: Some(FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default())),
        cause: cause.cause,
        ..Default::default()
    }
}

/// The failure of a timeout.
pub(crate) fn timed_out(timeout: TimeoutType) -> Failure {
    let info = TimeoutFailureInfo { timeout_type: timeout as i32, ..Default::default() };
    Failure { message: "operation timed out".into(), failure_info: Some(FailureInfo::TimeoutFailureInfo(info)), ..Default::default() }
}

/// The timeout that left no time for a request.
fn cut_by(timeout: i32) -> TimeoutType {
    TimeoutType::try_from(timeout).unwrap_or(TimeoutType::ScheduleToClose)
}

/// The failure of a closing event.
#[allow(deprecated, reason = "operation_id is what old workers read")]
fn unsuccessful(step: &Step<'_, '_>, scheduled_event_id: i64, cause: Failure) -> Option<Failure> {
    let state = &step.run.state;
    let info = state.derived.operations.get(&scheduled_event_id)?;
    let token = started(state, info).map_or("", |(_, token)| token);
    let scheduled = info.scheduled();
    let info = NexusOperationFailureInfo {
        scheduled_event_id,
        endpoint: scheduled.endpoint.clone(),
        service: scheduled.service.clone(),
        operation: scheduled.operation.clone(),
        operation_id: token.into(),
        operation_token: token.into(),
    };
    Some(cut(Failure {
        message: "nexus operation completed unsuccessfully".into(),
        failure_info: Some(FailureInfo::NexusOperationExecutionFailureInfo(info)),
        cause: Some(Box::new(cause)),
        ..Default::default()
    }))
}

/// Not deeper than failures may be.
pub(crate) fn cut(mut failure: Failure) -> Failure {
    retry::cut_causes(&mut failure);
    failure
}

/// The first timeout of a pending operation that is still to come, or has just passed.
fn next_timeout(state: &State, info: &OperationInfo) -> Option<(Timestamp, TimeoutType)> {
    let scheduled = info.scheduled_at();
    let to_close = info.timeout(|a| &a.schedule_to_close_timeout).map(|span| (scheduled + span, TimeoutType::ScheduleToClose));
    let other = match started(state, info) {
        None => info.timeout(|a| &a.schedule_to_start_timeout).map(|span| (scheduled + span, TimeoutType::ScheduleToStart)),
        Some((at, _)) => info.timeout(|a| &a.start_to_close_timeout).map(|span| (at + span, TimeoutType::StartToClose)),
    };
    match (to_close, other) {
        (Some(a), Some(b)) => Some(if a.0 <= b.0 { a } else { b }),
        (a, b) => a.or(b),
    }
}

/// When a pending operation times out or something is to be asked again.
pub(crate) fn next_deadline(state: &State) -> Option<Timestamp> {
    let open = state.derived.operations.values().filter(|info| pending(state, info.scheduled_event_id).is_some());
    let timeouts = open.filter_map(|info| next_timeout(state, info)).map(|(at, _)| at);
    let requests = state.progress.operations.iter().filter(|(id, _)| pending(state, **id).is_some());
    let waits = requests.flat_map(|(_, p)| [p.start.next_time, p.cancel.next_time]).filter(|at| *at != 0).map(Timestamp);
    timeouts.chain(waits).min()
}

/// Does what is due, in the order of the Scheduled events.
pub(crate) fn wake(step: &mut Step<'_, '_>) {
    if step.run.state.derived.operations.is_empty() {
        return;
    }
    let now = step.now();
    let ids: Vec<i64> = step.run.state.derived.operations.keys().copied().collect();
    for id in ids {
        let state = &step.run.state;
        let Some(info) = pending(state, id) else { continue };
        if let Some((_, timeout)) = next_timeout(state, info).filter(|(at, _)| *at <= now) {
            end(step, id, End::TimedOut(timeout));
            task::schedule_if_needed(step);
            continue;
        }
        let Some(progress) = state.progress.operations.get(&id) else { continue };
        let due = |attempts: &Attempts| attempts.next_time != 0 && attempts.next_time <= now.0;
        let (start, cancel) = (due(&progress.start), due(&progress.cancel));
        if start {
            send(step, id, Request::Start);
        }
        if cancel {
            send(step, id, Request::Cancel);
        }
    }
}

/// The run has closed: nothing is asked any more, and what is under way is not waited for.
pub(crate) fn drop_all(step: &mut Step<'_, '_>) {
    let shown = step.run.is_operation();
    let requests = core::mem::take(&mut step.run.state.progress.operations);
    for (id, mut progress) in requests {
        step.run.state.dirty.mark(Kind::OperationRequests, id);
        for attempts in [&mut progress.start, &mut progress.cancel] {
            let message = core::mem::take(&mut attempts.message);
            attempts.next_time = 0;
            let begun = core::mem::take(&mut attempts.blocked) || message != 0;
            attempts.ended = attempts.ended.saturating_add(i32::from(begun));
            if message == 0 {
                continue;
            }
            let before = step.out.outbox.len();
            step.out.outbox.retain(|entry| entry.id != message);
            if step.out.outbox.len() == before {
                step.out.outbox_gone.push(message);
            }
        }
        if shown {
            step.run.state.progress.operations.insert(id, progress);
        }
    }
}

/// A reset has made the run from another one's events: asks for what is not known of the operations it has.
pub(crate) fn take_over(step: &mut Step<'_, '_>) {
    let ids: Vec<i64> = step.run.state.derived.operations.keys().copied().collect();
    for id in ids {
        let state = &step.run.state;
        let Some(info) = pending(state, id) else { continue };
        match started(state, info) {
            None => send_start(step, id),
            Some(_) => send_cancel_if_due(step, id),
        }
    }
}

/// An event that tells of an operation: of its start or its end.
pub(crate) fn is_news(attributes: &Attributes) -> bool {
    news_of(attributes).is_some()
}

/// The operation that an event tells of, its request id, and whether the event is its end.
fn news_of(attributes: &Attributes) -> Option<(i64, &str, bool)> {
    Some(match attributes {
        Attributes::NexusOperationStartedEventAttributes(a) => (a.scheduled_event_id, &a.request_id, false),
        Attributes::NexusOperationCompletedEventAttributes(a) => (a.scheduled_event_id, &a.request_id, true),
        Attributes::NexusOperationFailedEventAttributes(a) => (a.scheduled_event_id, &a.request_id, true),
        Attributes::NexusOperationCanceledEventAttributes(a) => (a.scheduled_event_id, &a.request_id, true),
        Attributes::NexusOperationTimedOutEventAttributes(a) => (a.scheduled_event_id, &a.request_id, true),
        _ => return None,
    })
}

/// Whether the run made by a reset is to be told this of an operation: it has it, and does not know this yet.
pub(crate) fn wants(state: &State, attributes: &Attributes) -> bool {
    let Some((id, request_id, ends)) = news_of(attributes) else { return false };
    let Some(info) = pending(state, id) else { return false };
    (request_id.is_empty() || info.scheduled().request_id == request_id) && (ends || started(state, info).is_none())
}

/// As DescribeWorkflowExecution shows the pending ones.
#[allow(deprecated, reason = "operation_id is what old clients read")]
pub(crate) fn describe(state: &State) -> Vec<PendingNexusOperationInfo> {
    if !state.derived.is_open() {
        return Vec::new();
    }
    let open = state.derived.operations.values().filter(|info| pending(state, info.scheduled_event_id).is_some());
    let shown = open.map(|info| {
        let scheduled = info.scheduled();
        let progress = state.progress.operations.get(&info.scheduled_event_id).cloned().unwrap_or_default();
        let started = started(state, info);
        let token = started.map_or("", |(_, token)| token);
        PendingNexusOperationInfo {
            endpoint: scheduled.endpoint.clone(),
            service: scheduled.service.clone(),
            operation: scheduled.operation.clone(),
            operation_id: token.into(),
            operation_token: token.into(),
            schedule_to_close_timeout: scheduled.schedule_to_close_timeout,
            schedule_to_start_timeout: scheduled.schedule_to_start_timeout,
            start_to_close_timeout: scheduled.start_to_close_timeout,
            scheduled_time: Some(info.scheduled_at().to_api()),
            state: operation_state(state, info, &progress) as i32,
            attempt: progress.start.ended,
            last_attempt_complete_time: time(progress.start.last_complete_time),
            last_attempt_failure: progress.start.last_failure.as_deref().cloned(),
            next_attempt_schedule_time: time(progress.start.backs_off_until()),
            blocked_reason: blocked_reason(&progress.start),
            cancellation_info: (info.cancel_requested_event_id != 0).then(|| cancellation(state, info, &progress.cancel)),
            scheduled_event_id: info.scheduled_event_id,
        }
    });
    shown.collect()
}

/// Why a request is put off; empty: it is not.
pub(crate) fn blocked_reason(attempts: &Attempts) -> String {
    if attempts.blocked { BLOCKED.into() } else { String::new() }
}

/// Where a pending operation stands.
pub(crate) fn operation_state(state: &State, info: &OperationInfo, progress: &OperationProgress) -> PendingNexusOperationState {
    match started(state, info) {
        Some(_) => PendingNexusOperationState::Started,
        None if progress.start.blocked => PendingNexusOperationState::Blocked,
        None if progress.start.next_time != 0 => PendingNexusOperationState::BackingOff,
        None => PendingNexusOperationState::Scheduled,
    }
}

pub(crate) fn cancellation(state: &State, info: &OperationInfo, attempts: &Attempts) -> NexusOperationCancellationInfo {
    let cancel_state = match info.cancel_answer() {
        CancelAnswer::Taken => NexusOperationCancellationState::Succeeded,
        CancelAnswer::Refused => NexusOperationCancellationState::Failed,
        CancelAnswer::None if attempts.blocked => NexusOperationCancellationState::Blocked,
        CancelAnswer::None if attempts.next_time != 0 => NexusOperationCancellationState::BackingOff,
        CancelAnswer::None if started(state, info).is_some() => NexusOperationCancellationState::Scheduled,
        // It waits for the operation's token.
        CancelAnswer::None => NexusOperationCancellationState::Unspecified,
    };
    NexusOperationCancellationInfo {
        requested_time: time(info.cancel_requested_time),
        state: cancel_state as i32,
        attempt: attempts.ended,
        last_attempt_complete_time: time(attempts.last_complete_time),
        last_attempt_failure: attempts.last_failure.as_deref().cloned(),
        next_attempt_schedule_time: time(attempts.backs_off_until()),
        blocked_reason: blocked_reason(attempts),
    }
}

/// A stored time; `None` for 0 = never.
fn time(nanos: i64) -> Option<sempre_api::Timestamp> {
    (nanos != 0).then(|| Timestamp(nanos).to_api())
}
