//! Nexus over HTTP (spec 08 §5.6): operations of this server's handlers for callers elsewhere, and callbacks of operations
//! that this server's workflows have asked others for.
//!
//! | POST | is |
//! |---|---|
//! | `/nexus/endpoints/<id>/services/<service>/<operation>` | a start |
//! | `/namespaces/<namespace>/task-queues/<queue>/nexus-services/<service>/<operation>` | the same |
//! | either with `/cancel` | a cancel; header `Nexus-Operation-Token`, of old `?token=<token>` |
//! | either with `/<token>/cancel` | a cancel of old |
//! | `/namespaces/<namespace>/nexus/callback`, `/nexus/callback` | the end of an operation; header `Temporal-Callback-Token` |

#![expect(clippy::disallowed_methods, reason = "the other side sends by the wall clock")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use sempre_api::v1::{
    failure::{Failure, failure::FailureInfo},
    nexus::{
        self, CancelOperationRequest, StartOperationRequest, StartOperationResponse,
        request::{Capabilities, Variant},
        response, start_operation_response,
    },
};
use sempre_core::{
    Refusal, Span, Timestamp,
    nexus::{link, token::CALLBACK_TOKEN_HEADER},
    state::callback::{Outcome, OutcomeState},
};
use sempre_engine::{
    CallClass, Engine,
    nexus::{Completion, Destination, Handled, handler_failure},
};
use serde_json::json;
use tokio::time::timeout;
use tonic::Status;

use super::{client::canceled, content, failure};
use crate::{
    access::{Access, Roles},
    callbacks,
    classes::Kind,
    long_calls::LongCalls,
    ports::Peer,
    room::{Counted, Room},
};

/// An answer, whole.
type Answer = Response<Full<Bytes>>;

/// Bytes of a request beside its payload.
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Time for a request's body to come.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// What a request to a handler counts as, among the calls that may take long.
const DISPATCH: &str = "DispatchNexusTask";
/// Headers that the callback shall have begin so.
const CALLBACK_HEADERS: &str = "nexus-callback-";
const OPERATION_TOKEN: &str = "nexus-operation-token";
/// Headers that are between servers, or by which the caller is known: a handler is not told of them.
const NOT_FOR_HANDLERS: [&str; 11] = [
    "accept-encoding",
    "authorization",
    "authorization-extras",
    "cookie",
    "host",
    "proxy-authorization",
    FAILURE_SUPPORT,
    "transfer-encoding",
    "x-forwarded-for",
    "xdc-redirection",
    "xdc-redirection-api",
];
/// Says that failures may be told in the form of today.
const FAILURE_SUPPORT: &str = "temporal-nexus-failure-support";

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Start {
        destination: Place,
        service: String,
        operation: String,
    },
    /// `token`: it is in the path.
    Cancel {
        destination: Place,
        service: String,
        operation: String,
        token: Option<String>,
    },
    Callback {
        namespace: Option<String>,
    },
}

/// As [`Destination`], owned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Endpoint(String),
    Queue { namespace: String, task_queue: String },
}

impl Place {
    fn borrowed(&self) -> Destination<'_> {
        match self {
            Self::Endpoint(id) => Destination::Endpoint(id),
            Self::Queue { namespace, task_queue } => Destination::Queue { namespace, task_queue },
        }
    }
}

pub(crate) fn route(path: &str) -> Option<Route> {
    let parts: Option<Vec<String>> = path.trim_start_matches('/').split('/').map(link::unescaped).collect();
    let parts = parts?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (destination, rest) = match parts[..] {
        ["nexus", "callback"] => return Some(Route::Callback { namespace: None }),
        ["namespaces", namespace, "nexus", "callback"] => return Some(Route::Callback { namespace: Some(namespace.into()) }),
        ["nexus", "endpoints", id, "services", ..] => (Place::Endpoint(id.into()), &parts[4..]),
        ["namespaces", namespace, "task-queues", task_queue, "nexus-services", ..] => {
            (Place::Queue { namespace: namespace.into(), task_queue: task_queue.into() }, &parts[5..])
        }
        _ => return None,
    };
    match rest {
        [service, operation] => Some(Route::Start { destination, service: (*service).into(), operation: (*operation).into() }),
        [service, operation, "cancel"] => {
            Some(Route::Cancel { destination, service: (*service).into(), operation: (*operation).into(), token: None })
        }
        [service, operation, token, "cancel"] => {
            let token = Some((*token).into());
            Some(Route::Cancel { destination, service: (*service).into(), operation: (*operation).into(), token })
        }
        _ => None,
    }
}

/// True for paths that name something here.
pub(crate) fn is_route(path: &str) -> bool {
    route(path).is_some()
}

/// Who answers, and whether failures may be told in the form of today.
struct Desk<'a> {
    engine: &'a Engine,
    long_calls: &'a Arc<LongCalls>,
    support: bool,
}

/// Answers one request.
pub(crate) async fn answer(
    engine: &Engine,
    access: Option<&Access>,
    (long_calls, room): (&Arc<LongCalls>, &Arc<Room>),
    request: Request<Incoming>,
) -> Answer {
    let (parts, body) = request.into_parts();
    let support = parts.headers.get(FAILURE_SUPPORT).is_some_and(|value| value == "true");
    let desk = Desk { engine, long_calls, support };
    let told = async {
        let route = route(parts.uri.path()).ok_or_else(|| refusal("NOT_FOUND", "not found"))?;
        if parts.method != Method::POST {
            let text = format!("invalid request method: expected POST, got {:?}", parts.method.as_str());
            return Err(refusal("BAD_REQUEST", &text));
        }
        if let Some(access) = access {
            let peer = parts.extensions.get::<Arc<Peer>>();
            let allowed = match &route {
                Route::Start { destination, .. } | Route::Cancel { destination, .. } => match destination {
                    Place::Endpoint(id) => access.require_endpoint(id, &parts.headers, peer).await,
                    Place::Queue { namespace, .. } => access.require_in(namespace, Roles::WRITE, &parts.headers, peer).await.map(drop),
                },
                // Its token is what proves that it may come.
                Route::Callback { .. } => Ok(()),
            };
            allowed.map_err(|_| refusal("UNAUTHORIZED", "permission denied"))?;
        }
        let too_large = match route {
            Route::Callback { .. } => "result exceeds size limit",
            _ => "input exceeds size limit",
        };
        // A start waits for its handler.
        let kind = Kind { class: CallClass::Advance, waits: matches!(route, Route::Start { .. }), by_anybody: false };
        let no_room = |_| refusal("RESOURCE_EXHAUSTED", "resource exhausted");
        let held = room.enter(kind, 0).map_err(no_room)?;
        count(engine, &route).map_err(|refused| of_refusal(&refused))?;
        let body = whole(Counted::new(body, &held), engine.payload_bytes_max() + REQUEST_BYTES_MAX, too_large, BODY_WAIT).await?;
        let query = parts.uri.query().unwrap_or_default();
        match route {
            Route::Start { destination, service, operation } => {
                start(&desk, &destination, (service, operation), query, &parts.headers, body).await
            }
            Route::Cancel { destination, service, operation, token } => {
                cancel(&desk, &destination, (service, operation, token), query, &parts.headers).await
            }
            Route::Callback { namespace } => callback(engine, namespace.as_deref(), &parts.headers, body).await,
        }
    };
    told.await.unwrap_or_else(|failure| refused(&failure, support))
}

/// Counts a request against the rates of the namespace whose workers it is for. What a callback is for its token says, which nobody has
/// looked at yet: who has none must not use up what others may.
fn count(engine: &Engine, route: &Route) -> Result<(), Refusal> {
    let (destination, class) = match route {
        Route::Start { destination, .. } => (destination, CallClass::Start),
        Route::Cancel { destination, .. } => (destination, CallClass::Change),
        Route::Callback { .. } => return Ok(()),
    };
    if !engine.has_rates() {
        return Ok(());
    }
    // What there is not is told in its turn.
    engine.namespace_of(destination.borrowed()).map_or(Ok(()), |namespace| engine.count_call(&namespace, class))
}

/// A body, if it comes in time and is not too large.
async fn whole<B>(body: B, bytes_max: usize, too_large: &str, wait: Duration) -> Result<Bytes, Box<Failure>>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
{
    match timeout(wait, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(refusal("BAD_REQUEST", too_large)),
        Ok(Err(error)) if error.is::<Status>() => Err(refusal("RESOURCE_EXHAUSTED", "resource exhausted")),
        Ok(Err(_)) => Err(refusal("BAD_REQUEST", "the request ended within its body")),
        Err(_) => Err(refusal("REQUEST_TIMEOUT", "the request did not come in time")),
    }
}

/// A handler's failure that is made here.
fn refusal(kind: &str, text: &str) -> Box<Failure> {
    Box::new(handler_failure(kind, text))
}

fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// `10s`, `1500ms`, `2m`; nothing and `0s` are none.
fn request_timeout(headers: &HeaderMap) -> Result<Option<Span>, Box<Failure>> {
    let text = header(headers, "request-timeout");
    if text.is_empty() {
        return Ok(None);
    }
    let bad = || refusal("BAD_REQUEST", "invalid request timeout header");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
    let value: f64 = text[..digits].parse().map_err(|_| bad())?;
    let unit = match &text[digits..] {
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        _ => return Err(bad()),
    };
    let span = Span((value * unit) as i64);
    Ok((span.0 > 0).then_some(span))
}

/// What a handler is told of a request's headers: all but those of the content, of the callback, and between servers. Of one
/// that is there twice, the first.
fn handler_header(headers: &HeaderMap) -> BTreeMap<String, String> {
    let told = headers.keys().filter(|name| {
        let name = name.as_str();
        !name.starts_with("content-") && !name.starts_with(CALLBACK_HEADERS) && !NOT_FOR_HANDLERS.contains(&name)
    });
    told.filter_map(|name| Some((name.as_str().to_owned(), headers.get(name)?.to_str().ok()?.to_owned()))).collect()
}

/// A parameter of a query.
fn parameter(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| link::unescaped(&value.replace('+', "%20")))
}

async fn start(
    desk: &Desk<'_>,
    destination: &Place,
    (service, operation): (String, String),
    query: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Answer, Box<Failure>> {
    let bad = |text: &str| refusal("BAD_REQUEST", text);
    let links = content::to_links(headers).ok_or_else(|| bad("invalid \"Nexus-Link\" header"))?;
    let payload = content::to_payload(headers, body).map_err(|_| bad("invalid input"))?;
    if prost::Message::encoded_len(&payload) > desk.engine.payload_bytes_max() {
        return Err(bad("input exceeds size limit"));
    }
    let callback_header = headers.keys().filter_map(|name| {
        let value = headers.get(name)?.to_str().ok()?;
        Some((name.as_str().strip_prefix(CALLBACK_HEADERS)?.to_owned(), value.to_owned()))
    });
    let request = StartOperationRequest {
        service,
        operation,
        request_id: header(headers, "nexus-request-id").to_owned(),
        callback: parameter(query, "callback").unwrap_or_default(),
        payload: Some(payload),
        callback_header: callback_header.collect(),
        links,
    };
    let response = handled(desk, destination, handler_header(headers), headers, Variant::StartOperation(request)).await?;
    let Some(response::Variant::StartOperation(StartOperationResponse { variant: Some(variant) })) = response.variant else {
        return Err(refusal("INTERNAL", "empty outcome"));
    };
    match variant {
        start_operation_response::Variant::SyncSuccess(success) => {
            let (body, headers) = success.payload.as_ref().map(content::of_payload).unwrap_or_default();
            let mut answer = with_headers(StatusCode::OK, body, &[("nexus-link", &content::of_links(&success.links))]);
            answer.headers_mut().extend(headers);
            Ok(answer)
        }
        start_operation_response::Variant::AsyncSuccess(success) => {
            #[allow(deprecated, reason = "old workers name only the id")]
            let token = if success.operation_token.is_empty() { success.operation_id } else { success.operation_token };
            let body = json!({ "token": token, "state": "running" }).to_string();
            let own = [("content-type", "application/json"), ("nexus-link", &content::of_links(&success.links))];
            Ok(with_headers(StatusCode::CREATED, body.into(), &own))
        }
        start_operation_response::Variant::Failure(cause) => Ok(unsuccessful(&cause, desk.support)),
        #[allow(deprecated, reason = "answers of workers have been brought into the form of today")]
        start_operation_response::Variant::OperationError(_) => Err(refusal("INTERNAL", "empty outcome")),
    }
}

async fn cancel(
    desk: &Desk<'_>,
    destination: &Place,
    (service, operation, token): (String, String, Option<String>),
    query: &str,
    headers: &HeaderMap,
) -> Result<Answer, Box<Failure>> {
    let mut told = handler_header(headers);
    let operation_token = match (token, header(headers, OPERATION_TOKEN)) {
        (Some(token), _) => token,
        (None, "") => parameter(query, "token").unwrap_or_default(),
        (None, token) => {
            told.remove(OPERATION_TOKEN);
            token.to_owned()
        }
    };
    if operation_token.is_empty() {
        return Err(refusal("BAD_REQUEST", "missing operation token"));
    }
    #[allow(deprecated, reason = "operation_id is what old workers read")]
    let request = CancelOperationRequest { service, operation, operation_id: operation_token.clone(), operation_token };
    handled(desk, destination, told, headers, Variant::CancelOperation(request)).await?;
    Ok(with_headers(StatusCode::ACCEPTED, Bytes::new(), &[]))
}

/// What a handler made of a request with this header; `headers` are all.
async fn handled(
    desk: &Desk<'_>,
    destination: &Place,
    header: BTreeMap<String, String>,
    headers: &HeaderMap,
    variant: Variant,
) -> Result<nexus::Response, Box<Failure>> {
    let engine = desk.engine;
    let request = nexus::Request {
        header,
        capabilities: Some(Capabilities { temporal_failure_responses: desk.support }),
        variant: Some(variant),
        ..nexus::Request::default()
    };
    let namespace = engine.namespace_of(destination.borrowed()).map_err(|refusal| of_refusal(&refusal))?;
    let _long = desk.long_calls.begin(&namespace, DISPATCH).map_err(|_| refusal("RESOURCE_EXHAUSTED", "resource exhausted"))?;
    match engine.dispatch_nexus(destination.borrowed(), request, request_timeout(headers)?).await {
        Ok(Handled::Answered(response)) => Ok(*response),
        Ok(Handled::Failed(failure)) => Err(failure),
        Ok(Handled::NotInTime) => Err(refusal("UPSTREAM_TIMEOUT", "upstream timeout")),
        Err(refusal) => Err(of_refusal(&refusal)),
    }
}

async fn callback(engine: &Engine, namespace: Option<&str>, headers: &HeaderMap, body: Bytes) -> Result<Answer, Box<Failure>> {
    let bad = |text: &str| refusal("BAD_REQUEST", text);
    let state = header(headers, "nexus-operation-state");
    let links = content::to_links(headers).ok_or_else(|| bad("failed to decode links from request headers"))?;
    let start_time = match header(headers, "nexus-operation-start-time") {
        "" => None,
        text => Some(start_time(text).ok_or_else(|| bad("failed to parse operation start time header"))?),
    };
    let outcome = match state {
        "succeeded" => {
            let result = content::to_payload(headers, body).map_err(|_| bad("invalid result content"))?;
            Outcome { state: OutcomeState::Succeeded as i32, result: Some(result), ..Outcome::default() }
        }
        "failed" | "canceled" => {
            if !failure::is_json(headers) {
                return Err(bad(&format!("invalid request content type: {:?}", header(headers, "content-type"))));
            }
            let failure = failure::of_body(headers, &body).map_err(|_| bad("failed to decode Failure from request body"))?;
            let (failure, is_canceled) =
                failure::of_operation(&failure, state).map_err(|_| bad("failed to decode Failure from request body"))?;
            let (state, failure) = if is_canceled { (OutcomeState::Canceled, canceled(failure)) } else { (OutcomeState::Failed, failure) };
            Outcome { state: state as i32, failure: Some(failure), ..Outcome::default() }
        }
        other => return Err(bad(&format!("invalid request operation state: {other:?}"))),
    };
    let completion = Completion {
        operation_token: header(headers, OPERATION_TOKEN).to_owned(),
        start_time,
        links: link::all_from_nexus(&links),
        outcome,
    };
    let told = engine.complete_nexus_operation(namespace, header(headers, CALLBACK_TOKEN_HEADER), completion).await;
    told.map(|()| with_headers(StatusCode::OK, Bytes::new(), &[])).map_err(|refusal| of_refusal(&refusal))
}

/// A date of HTTP. `None`: it is none, or beyond what times of events can be.
fn start_time(text: &str) -> Option<Timestamp> {
    let time = httpdate::parse_http_date(text).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).ok().map(Timestamp)
}

/// What may be told of a refusal. What is the caller's own business is told in words, the rest by its kind.
fn of_refusal(why: &Refusal) -> Box<Failure> {
    match why {
        Refusal::InvalidArgument(text) => refusal("BAD_REQUEST", text),
        Refusal::NotFound(text) => refusal("NOT_FOUND", text),
        Refusal::NamespaceNotFound(name) => refusal("NOT_FOUND", &format!("namespace not found: {name:?}")),
        Refusal::FailedPrecondition(_) | Refusal::AlreadyExists(_) | Refusal::NamespaceInvalidState { .. } => {
            refusal("BAD_REQUEST", "bad request")
        }
        Refusal::PermissionDenied(_) => refusal("UNAUTHORIZED", "permission denied"),
        Refusal::ResourceExhausted { .. } | Refusal::Overloaded(_) => refusal("RESOURCE_EXHAUSTED", "resource exhausted"),
        Refusal::Unavailable(_) | Refusal::Elsewhere { .. } | Refusal::Aborted(_) => refusal("UNAVAILABLE", "service unavailable"),
        Refusal::Unimplemented(_) => refusal("NOT_IMPLEMENTED", "not implemented"),
        Refusal::DeadlineExceeded(_) => refusal("UPSTREAM_TIMEOUT", "request timeout"),
        _ => refusal("INTERNAL", "internal error"),
    }
}

/// A handler's failure. Callers of yesterday are told the cause, where there is one.
fn refused(failure: &Failure, support: bool) -> Answer {
    let (kind, retry) = match &failure.failure_info {
        Some(FailureInfo::NexusHandlerFailureInfo(info)) => (info.r#type.as_str(), info.retry_behavior),
        _ => ("INTERNAL", 0),
    };
    let told = failure.cause.as_deref().filter(|_| !support).unwrap_or(failure);
    let body = callbacks::failure::nexus(told).to_string();
    let retryable = match retry {
        1 => "true",
        2 => "false",
        _ => "",
    };
    let status = StatusCode::from_u16(failure::status_of(kind)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    with_headers(status, body.into(), &[("content-type", "application/json"), ("nexus-request-retryable", retryable)])
}

/// The failure of an operation.
fn unsuccessful(cause: &Failure, support: bool) -> Answer {
    let state = if matches!(cause.failure_info, Some(FailureInfo::CanceledFailureInfo(_))) { "canceled" } else { "failed" };
    let cause = callbacks::failure::nexus(cause);
    let body = if support {
        json!({
            "message": "operation error",
            "metadata": { "type": failure::OPERATION, "unwrap-error": "true" },
            "details": { "state": state },
            "cause": cause,
        })
    } else {
        cause
    };
    let status = StatusCode::from_u16(424).unwrap_or(StatusCode::FAILED_DEPENDENCY);
    with_headers(status, body.to_string().into(), &[("content-type", "application/json"), ("nexus-operation-state", state)])
}

/// An answer with those of the headers that are not empty.
fn with_headers(status: StatusCode, body: Bytes, headers: &[(&'static str, &str)]) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        if let Ok(value) = HeaderValue::from_str(value) {
            answer.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};
    use http_body_util::StreamBody;

    use super::*;

    #[test]
    fn paths_name_what_is_meant() {
        let queue = || Place::Queue { namespace: "n s".into(), task_queue: "q/1".into() };
        let (service, operation) = ("s".to_owned(), "o".to_owned());
        let base = "/namespaces/n%20s/task-queues/q%2F1/nexus-services/s/o";
        assert_eq!(route(base), Some(Route::Start { destination: queue(), service: service.clone(), operation: operation.clone() }));
        let cancel = |token| Route::Cancel { destination: queue(), service: "s".into(), operation: "o".into(), token };
        assert_eq!(route(&format!("{base}/cancel")), Some(cancel(None)));
        assert_eq!(route(&format!("{base}/a%2Fb/cancel")), Some(cancel(Some("a/b".into()))));
        let endpoint = Route::Start { destination: Place::Endpoint("id".into()), service, operation };
        assert_eq!(route("/nexus/endpoints/id/services/s/o"), Some(endpoint));
        assert_eq!(route("/nexus/callback"), Some(Route::Callback { namespace: None }));
        assert_eq!(route("/namespaces/n/nexus/callback"), Some(Route::Callback { namespace: Some("n".into()) }));
        for path in ["/", "/nexus", "/nexus/endpoints/id/services/s", "/nexus/endpoints/id/services/s/o/x", "/api/v1/namespaces"] {
            assert_eq!(route(path), None, "{path}");
        }
    }

    #[tokio::test]
    async fn a_body_must_come_in_time_and_whole() {
        let told = |failure: Box<Failure>| match failure.failure_info {
            Some(FailureInfo::NexusHandlerFailureInfo(info)) => (info.r#type, failure.message),
            other => panic!("{other:?}"),
        };
        let read = |chunks: Vec<Result<&'static [u8], std::io::Error>>, ends: bool| async move {
            let chunks = stream::iter(chunks).chain(if ends { stream::empty().left_stream() } else { stream::pending().right_stream() });
            let body = StreamBody::new(chunks.map(|chunk| chunk.map(|bytes| http_body::Frame::data(Bytes::from_static(bytes)))));
            whole(body, 4, "large", Duration::from_millis(50)).await
        };
        assert_eq!(read(vec![Ok(&b"ab"[..]), Ok(&b"cd"[..])], true).await.map_err(told), Ok(Bytes::from_static(b"abcd")));
        assert_eq!(read(vec![Ok(&b"abcde"[..])], true).await.map_err(told), Err(("BAD_REQUEST".into(), "large".into())));
        let late = ("REQUEST_TIMEOUT".into(), "the request did not come in time".into());
        assert_eq!(read(vec![Ok(&b"ab"[..])], false).await.map_err(told), Err(late));
        let broken = vec![Ok(&b"ab"[..]), Err(std::io::ErrorKind::ConnectionReset.into())];
        assert_eq!(read(broken, true).await.map_err(told), Err(("BAD_REQUEST".into(), "the request ended within its body".into())));
        assert_eq!(failure::status_of("REQUEST_TIMEOUT"), 408);
    }

    #[test]
    fn start_times_are_dates_that_events_can_have() {
        assert_eq!(start_time("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Timestamp(784_111_777_000_000_000)));
        assert_eq!(start_time("Mon, 01 Jan 2300 00:00:00 GMT"), None);
        assert_eq!(start_time("soon"), None);
    }

    #[test]
    fn a_handler_is_told_what_is_meant_for_it() {
        let mut headers = HeaderMap::new();
        let all = NOT_FOR_HANDLERS.into_iter().chain(["content-type", "nexus-callback-token", "x-own", OPERATION_TOKEN]);
        for name in all {
            headers.append(name, HeaderValue::from_static("1"));
        }
        headers.append("x-own", HeaderValue::from_static("2"));
        let told = handler_header(&headers);
        assert_eq!(told, [(OPERATION_TOKEN.to_owned(), "1".to_owned()), ("x-own".to_owned(), "1".to_owned())].into());
        assert_eq!(parameter("a=b&token=x%2Fy+z", "token").as_deref(), Some("x/y z"));
        assert_eq!(parameter("tokens=x", "token"), None);
    }

    #[test]
    fn timeouts_of_requests_are_read() {
        let read = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("request-timeout", HeaderValue::from_static(text));
            request_timeout(&headers)
        };
        assert_eq!(request_timeout(&HeaderMap::new()), Ok(None));
        for (text, millis) in [("1500ms", 1500), ("9.987s", 9987), ("2m", 120_000)] {
            assert_eq!(read(text), Ok(Some(Span::millis(millis))), "{text}");
        }
        assert_eq!(read("0s"), Ok(None));
        for text in ["1", "s", "1h", "x"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
