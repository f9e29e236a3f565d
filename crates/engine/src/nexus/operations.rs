//! Requests of a caller's outbox: to start an operation, and to cancel one (spec 08 §5.4).

use std::collections::BTreeMap;

use bytes::Bytes;
use sempre_api::v1::{
    common::Payload,
    enums::TimeoutType,
    failure::{Failure, failure::FailureInfo},
    history::NexusOperationScheduledEventAttributes,
    nexus::{
        CancelOperationRequest, Request, Response, StartOperationRequest, StartOperationResponse,
        request::{Capabilities, Variant},
        response, start_operation_response,
    },
};
use sempre_core::{
    RunKey, Span, Timestamp,
    nexus::{SYSTEM_ENDPOINT, link, token},
    transition::{OperationCall, OperationCancelResult, OperationResult, QueueKind, QueueName},
    validate::SYSTEM_CALLBACK_URL,
};

use super::{
    call_failure,
    calls::{Answer, Dispatch, OPERATION_TIMEOUT, milliseconds},
    endpoints::{Route, Target},
    handler_failure, is_retryable,
    sender::{RequestToCancel, RequestToStart},
    system,
};
use crate::shared::Shared;

/// Time for one request (`component.nexusoperations.request.timeout`).
const REQUEST_MAX: Span = Span::seconds(10);
/// With less time left no request is made (`component.nexusoperations.limit.request.timeout.min`).
const REQUEST_MIN: Span = Span::millis(1500);
/// Bytes of an operation token (`component.nexusoperations.limit.operation.token.length`).
pub(crate) const TOKEN_MAX: usize = 4096;
/// Says that failures may be told in the form of today.
const FAILURE_SUPPORT: &str = "temporal-nexus-failure-support";

/// Time left of a timeout that began at `from`.
fn left(timeout: Option<&sempre_api::Duration>, from: i64, now: Timestamp) -> Option<Span> {
    let span = Span::from_api(timeout).ok().and_then(Span::some)?;
    Some((Timestamp(from) + span).since(now))
}

/// Time for a request, and the timeout that cuts it; schedule-to-start counts before schedule-to-close, which it cannot pass.
fn start_timeout(a: &NexusOperationScheduledEventAttributes, call: &OperationCall, now: Timestamp) -> (Span, TimeoutType) {
    let to_start = left(a.schedule_to_start_timeout.as_ref(), call.scheduled_time, now);
    let to_close = left(a.schedule_to_close_timeout.as_ref(), call.scheduled_time, now);
    match (to_start, to_close) {
        (Some(left), _) => (left.min(REQUEST_MAX), TimeoutType::ScheduleToStart),
        (None, Some(left)) => (left.min(REQUEST_MAX), TimeoutType::ScheduleToClose),
        (None, None) => (REQUEST_MAX, TimeoutType::Unspecified),
    }
}

/// As [`start_timeout`], for a cancel: whichever ends first.
fn cancel_timeout(a: &NexusOperationScheduledEventAttributes, call: &OperationCall, now: Timestamp) -> (Span, TimeoutType) {
    let from_start = left(a.start_to_close_timeout.as_ref(), call.started_time, now).unwrap_or(Span::MAX);
    let to_close = left(a.schedule_to_close_timeout.as_ref(), call.scheduled_time, now).unwrap_or(Span::MAX);
    let kind = if to_close <= from_start { TimeoutType::ScheduleToClose } else { TimeoutType::StartToClose };
    (from_start.min(to_close).min(REQUEST_MAX), kind)
}

/// Time that the operation has from now on.
fn operation_timeout(a: &NexusOperationScheduledEventAttributes, call: &OperationCall, now: Timestamp) -> Option<Span> {
    let from_start = Span::from_api(a.start_to_close_timeout.as_ref()).ok().and_then(Span::some);
    let to_close = left(a.schedule_to_close_timeout.as_ref(), call.scheduled_time, now);
    from_start.into_iter().chain(to_close).min()
}

/// The payload that stands for nothing.
fn null() -> Payload {
    Payload { metadata: [("encoding".to_owned(), Bytes::from_static(b"binary/null"))].into(), ..Payload::default() }
}

fn not_registered() -> Box<Failure> {
    Box::new(handler_failure("NOT_FOUND", "endpoint not registered"))
}

fn no_answer() -> Failure {
    handler_failure("UPSTREAM_TIMEOUT", "upstream timeout")
}

/// Makes one request to start an operation, if its endpoint does not seem to be down.
pub(crate) async fn start(shared: &Shared, caller: &RunKey, call: &OperationCall) -> OperationResult {
    let (namespace, endpoint) = (caller.workflow.namespace, endpoint_of(call));
    if let Some(until) = shared.breakers.blocked(namespace, endpoint, shared.now()) {
        return OperationResult::Blocked(until);
    }
    match ask_to_start(shared, caller, call).await {
        Asked::Yes(result) => {
            match &result {
                OperationResult::Undelivered(failure) if is_endpoints(failure) => shared.breakers.failed(namespace, endpoint, shared.now()),
                _ => shared.breakers.answered(namespace, endpoint),
            }
            result
        }
        Asked::No(result) => result,
    }
}

/// Whether a request was made. What becomes of one that was not says nothing of the endpoint.
enum Asked<T> {
    Yes(T),
    No(T),
}

/// The endpoint's name.
fn endpoint_of(call: &OperationCall) -> &str {
    call.attributes.as_deref().map_or("", |a| &a.endpoint)
}

/// It says that the endpoint could not be asked, or could not answer; not that the server itself is busy.
fn is_endpoints(failure: &Failure) -> bool {
    !matches!(failure.failure_info, Some(FailureInfo::ServerFailureInfo(_)))
}

async fn ask_to_start(shared: &Shared, caller: &RunKey, call: &OperationCall) -> Asked<OperationResult> {
    let a = call.scheduled();
    if a.endpoint == SYSTEM_ENDPOINT {
        return match start_timeout(&a, call, shared.now()) {
            (timeout, kind) if timeout < REQUEST_MIN => Asked::No(OperationResult::NoTime(kind as i32)),
            _ => Asked::Yes(system::start(shared, caller, call).await),
        };
    }
    let Some(route) = shared.route_of(&a.endpoint_id, &a.endpoint) else {
        return Asked::No(OperationResult::Refused(not_registered()));
    };
    let now = shared.now();
    let (timeout, kind) = start_timeout(&a, call, now);
    if timeout < REQUEST_MIN {
        return Asked::No(OperationResult::NoTime(kind as i32));
    }
    let mut header = a.nexus_header.clone();
    let operation_timeout = operation_timeout(&a, call, now).filter(|_| !header.contains_key(OPERATION_TIMEOUT));
    if let Some(span) = operation_timeout {
        header.insert(OPERATION_TIMEOUT.into(), milliseconds(span));
    }
    header.insert(FAILURE_SUPPORT.into(), "true".into());
    let callback_token = token::CompletionToken::new(caller, call.scheduled_event_id, a.request_id.clone());
    let callback_token = shared.meta.signer().text(&callback_token);
    let mut request = StartOperationRequest {
        service: a.service,
        operation: a.operation,
        request_id: a.request_id,
        // Handlers have never seen none at all.
        payload: Some(a.input.unwrap_or_else(null)),
        links: call.link.as_ref().and_then(link::to_nexus).into_iter().collect(),
        ..Default::default()
    };
    match route.target {
        Target::External { url } => {
            let namespace = caller.workflow.namespace;
            let caller_namespace = (shared.namespaces.view(namespace).name.clone(), namespace.to_string());
            let result_bytes_max = shared.settings.limits.blob_size_max;
            let token_bytes_max = TOKEN_MAX;
            let request =
                RequestToStart { url, caller_namespace, request, callback_token, header, timeout, result_bytes_max, token_bytes_max };
            Asked::Yes(shared.operations.start(request).await)
        }
        Target::Worker { namespace, task_queue } => {
            request.callback = SYSTEM_CALLBACK_URL.into();
            request.callback_header = BTreeMap::from([(token::CALLBACK_TOKEN_HEADER.into(), callback_token)]);
            let queue = QueueName { namespace, name: task_queue, kind: QueueKind::Nexus, sticky: false, version: None };
            let capabilities = Some(Capabilities { temporal_failure_responses: true });
            let request = Request {
                header,
                capabilities,
                endpoint: route.name,
                variant: Some(Variant::StartOperation(request)),
                ..Default::default()
            };
            let answer = shared.dispatch_nexus(Dispatch { queue, request, timeout, operation_timeout }).await;
            Asked::Yes(started(answer, shared.settings.limits.blob_size_max))
        }
    }
}

/// What a worker's answer to a start means.
fn started(answer: Option<Answer>, result_bytes_max: usize) -> OperationResult {
    let response = match answer {
        None => return judged(no_answer()),
        Some(Answer::Failed(failure)) => return judged(*failure),
        Some(Answer::Completed(response)) => *response,
    };
    let variant = match response {
        Response { variant: Some(response::Variant::StartOperation(StartOperationResponse { variant: Some(variant) })) } => variant,
        _ => return judged(handler_failure("INTERNAL", "empty outcome")),
    };
    match variant {
        start_operation_response::Variant::SyncSuccess(success) => {
            if success.payload.as_ref().map_or(0, prost::Message::encoded_len) > result_bytes_max {
                return OperationResult::Refused(Box::new(call_failure("http: response body too large", false)));
            }
            OperationResult::Completed { result: Some(success.payload.unwrap_or_else(null)), links: link::all_from_nexus(&success.links) }
        }
        start_operation_response::Variant::AsyncSuccess(success) => {
            #[allow(deprecated, reason = "old workers name only the id")]
            let token = if success.operation_token.is_empty() { success.operation_id } else { success.operation_token };
            if token.len() > TOKEN_MAX {
                let text = format!("invalid operation token: length exceeds allowed limit ({}/{TOKEN_MAX})", token.len());
                return OperationResult::Refused(Box::new(call_failure(text, false)));
            }
            OperationResult::Started { token, links: link::all_from_nexus(&success.links) }
        }
        start_operation_response::Variant::Failure(failure) => match &failure.failure_info {
            Some(FailureInfo::CanceledFailureInfo(_)) => OperationResult::Canceled(Box::new(failure)),
            _ => OperationResult::Failed(Box::new(failure)),
        },
        // The old form of the line above: who takes answers of workers brings it into that one.
        #[allow(deprecated, reason = "matched to say that it does not come here")]
        start_operation_response::Variant::OperationError(_) => judged(handler_failure("INTERNAL", "empty outcome")),
    }
}

fn judged(mut failure: Failure) -> OperationResult {
    // It says where a failure was made, and a handler's failure is made on the way.
    failure.source.clear();
    if is_retryable(&failure) { OperationResult::Undelivered(Box::new(failure)) } else { OperationResult::Refused(Box::new(failure)) }
}

/// Makes one request to cancel an operation, if its endpoint does not seem to be down.
pub(crate) async fn cancel(shared: &Shared, caller: &RunKey, call: &OperationCall) -> OperationCancelResult {
    let (namespace, endpoint) = (caller.workflow.namespace, endpoint_of(call));
    if let Some(until) = shared.breakers.blocked(namespace, endpoint, shared.now()) {
        return OperationCancelResult::Blocked(until);
    }
    match ask_to_cancel(shared, call).await {
        Asked::Yes(result) => {
            match &result {
                OperationCancelResult::Undelivered(failure) if is_endpoints(failure) => {
                    shared.breakers.failed(namespace, endpoint, shared.now());
                }
                _ => shared.breakers.answered(namespace, endpoint),
            }
            result
        }
        Asked::No(result) => result,
    }
}

async fn ask_to_cancel(shared: &Shared, call: &OperationCall) -> Asked<OperationCancelResult> {
    let a = call.scheduled();
    let Some(route) = shared.route_of(&a.endpoint_id, &a.endpoint) else {
        return Asked::No(OperationCancelResult::Refused(not_registered()));
    };
    let (timeout, kind) = cancel_timeout(&a, call, shared.now());
    if timeout < REQUEST_MIN {
        let text = format!("not enough time to execute another request before {} timeout", short_name(kind));
        return Asked::No(OperationCancelResult::Refused(Box::new(call_failure(text, false))));
    }
    #[allow(deprecated, reason = "operation_id is what old workers read")]
    let request = CancelOperationRequest {
        service: a.service,
        operation: a.operation,
        operation_id: call.token.clone(),
        operation_token: call.token.clone(),
    };
    let header = a.nexus_header;
    let Route { name, target } = route;
    match target {
        Target::External { url } => Asked::Yes(shared.operations.cancel(RequestToCancel { url, request, header, timeout }).await),
        Target::Worker { namespace, task_queue } => {
            let queue = QueueName { namespace, name: task_queue, kind: QueueKind::Nexus, sticky: false, version: None };
            let capabilities = Some(Capabilities { temporal_failure_responses: false });
            let request =
                Request { header, capabilities, endpoint: name, variant: Some(Variant::CancelOperation(request)), ..Default::default() };
            let dispatch = Dispatch { queue, request, timeout, operation_timeout: None };
            let mut failure = match shared.dispatch_nexus(dispatch).await {
                Some(Answer::Completed(_)) => return Asked::Yes(OperationCancelResult::Taken),
                Some(Answer::Failed(failure)) => *failure,
                None => no_answer(),
            };
            failure.source.clear();
            let failure = Box::new(failure);
            Asked::Yes(if is_retryable(&failure) {
                OperationCancelResult::Undelivered(failure)
            } else {
                OperationCancelResult::Refused(failure)
            })
        }
    }
}

/// `ScheduleToClose`.
fn short_name(kind: TimeoutType) -> String {
    format!("{kind:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(close: i64, start: i64, from_start: i64) -> NexusOperationScheduledEventAttributes {
        let span = |seconds| Span::seconds(seconds).to_api_option();
        NexusOperationScheduledEventAttributes {
            schedule_to_close_timeout: span(close),
            schedule_to_start_timeout: span(start),
            start_to_close_timeout: span(from_start),
            ..Default::default()
        }
    }

    #[test]
    fn requests_end_with_the_timeout_that_counts() {
        let call = OperationCall { scheduled_time: 0, started_time: Timestamp::from_millis(2000).0, ..Default::default() };
        let now = Timestamp::from_millis(4000);
        let seconds = Span::seconds;
        assert_eq!(start_timeout(&a(0, 0, 0), &call, now), (seconds(10), TimeoutType::Unspecified));
        assert_eq!(start_timeout(&a(0, 0, 5), &call, now).0, seconds(10), "it has not begun");
        assert_eq!(start_timeout(&a(9, 0, 0), &call, now), (seconds(5), TimeoutType::ScheduleToClose));
        assert_eq!(start_timeout(&a(9, 7, 0), &call, now), (seconds(3), TimeoutType::ScheduleToStart));
        assert_eq!(cancel_timeout(&a(0, 1, 0), &call, now).0, seconds(10));
        assert_eq!(cancel_timeout(&a(9, 0, 4), &call, now), (seconds(2), TimeoutType::StartToClose));
        assert_eq!(cancel_timeout(&a(5, 0, 4), &call, now), (seconds(1), TimeoutType::ScheduleToClose));
        assert_eq!(operation_timeout(&a(9, 0, 6), &call, now), Some(seconds(5)));
        assert_eq!(operation_timeout(&a(9, 0, 3), &call, now), Some(seconds(3)));
        assert_eq!(operation_timeout(&a(0, 1, 0), &call, now), None);
    }

    #[test]
    fn handlers_failures_are_judged_by_their_type_unless_they_say_otherwise() {
        for (kind, retryable) in
            [("BAD_REQUEST", false), ("NOT_FOUND", false), ("INTERNAL", true), ("UPSTREAM_TIMEOUT", true), ("NEW", true)]
        {
            assert_eq!(is_retryable(&handler_failure(kind, "")), retryable, "{kind}");
            for behavior in [1, 2] {
                let mut failure = handler_failure(kind, "");
                let Some(FailureInfo::NexusHandlerFailureInfo(info)) = &mut failure.failure_info else { panic!("a handler's") };
                info.retry_behavior = behavior;
                assert_eq!(is_retryable(&failure), behavior == 1);
            }
        }
    }

    #[test]
    fn answers_that_cannot_be_kept_are_final() {
        let large = start_operation_response::Variant::SyncSuccess(start_operation_response::Sync {
            payload: Some(sempre_api::v1::common::Payload { data: vec![0; 100].into(), ..Default::default() }),
            ..Default::default()
        });
        let long = start_operation_response::Variant::AsyncSuccess(start_operation_response::Async {
            operation_token: "t".repeat(TOKEN_MAX + 1),
            ..Default::default()
        });
        for (variant, text) in [
            (Some(large), "http: response body too large"),
            (Some(long), "invalid operation token: length exceeds allowed limit (4097/4096)"),
        ] {
            let start = StartOperationResponse { variant };
            let response = Response { variant: Some(response::Variant::StartOperation(start)) };
            match started(Some(Answer::Completed(Box::new(response))), 100) {
                OperationResult::Refused(failure) => assert_eq!(failure.message, text),
                other => panic!("{other:?}"),
            }
        }
        assert!(
            matches!(started(Some(Answer::Completed(Box::default())), 100), OperationResult::Undelivered(f) if f.message == "empty outcome")
        );
        assert!(matches!(started(None, 100), OperationResult::Undelivered(f) if f.message == "upstream timeout"));
    }
}
