//! Requests to endpoints at URLs (spec 08 §5.4): POST to `<url>/<service>/<operation>`, and `…/cancel`.
//!
//! | answer to a start | result |
//! |---|---|
//! | 200 | done: the body is the result |
//! | 201 | started: the body names the operation |
//! | 424 | the operation has failed, or was canceled |
//! | 400, 401, 403, 404, 409, 501 | refused for good |
//! | all others, no connection, no answer in time | tried again |
//!
//! Header `nexus-request-retryable` of the answer (`true`, `false`) overrules the last two lines.
#![expect(clippy::disallowed_methods, reason = "the other side answers by the wall clock")]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use sempre_api::v1::failure::{CanceledFailureInfo, Failure, failure::FailureInfo};
use sempre_core::{
    Span,
    nexus::{link, token::CALLBACK_TOKEN_HEADER},
    transition::{OperationCancelResult, OperationResult},
};
use sempre_engine::nexus::{OperationSender, RequestToCancel, RequestToStart, call_failure, is_retryable};
use tokio::{sync::Semaphore, time::timeout};

use super::{content, failure};
use crate::http_client::{self, Answer, Tls};

const USER_AGENT: &str = concat!("sempre/", env!("CARGO_PKG_VERSION"));
/// Requests of one server under way at once; more wait, within their time.
const REQUESTS_MAX: usize = 64;
/// Bytes of an answer beside a result.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// See the module.
pub(crate) struct HttpOperations {
    permits: Arc<Semaphore>,
    tls: Arc<Tls>,
    /// URL of callbacks; `{{.NamespaceName}}` and `{{.NamespaceID}}` stand for the caller's namespace. `None`: nobody could call back.
    callback_template: Option<String>,
}

impl HttpOperations {
    pub(crate) fn new(callback_template: Option<String>) -> Self {
        Self { permits: Arc::new(Semaphore::new(REQUESTS_MAX)), tls: Arc::default(), callback_template }
    }

    /// `Err`: why there was no answer.
    fn send(&self, uri: Uri, request: Request<Full<Bytes>>, time: Span, bytes_max: usize) -> BoxFuture<'static, Result<Answer, String>> {
        let (permits, tls) = (self.permits.clone(), self.tls.clone());
        async move {
            let answer = async {
                // The semaphore is never closed.
                let _permit = permits.acquire_owned().await;
                http_client::send(&uri, request, &tls, bytes_max).await
            };
            match timeout(Duration::from_nanos(time.0.unsigned_abs()), answer).await {
                Ok(answer) => answer,
                Err(_) => Err("request timed out".into()),
            }
        }
        .boxed()
    }
}

fn undelivered(text: String) -> Box<Failure> {
    Box::new(call_failure(text, true))
}

impl OperationSender for HttpOperations {
    fn start(&self, request: RequestToStart) -> BoxFuture<'static, OperationResult> {
        let Some(template) = &self.callback_template else {
            let text =
                "callbacks have no URL: start the server with --http-port, or set component.nexusoperations.callback.endpoint.template";
            return futures::future::ready(OperationResult::Undelivered(undelivered(text.into()))).boxed();
        };
        let (name, id) = &request.caller_namespace;
        let callback = template.replace("{{.NamespaceName}}", &link::escaped(name)).replace("{{.NamespaceID}}", id);
        let (result_bytes_max, token_bytes_max) = (request.result_bytes_max, request.token_bytes_max);
        let (uri, built) = match to_start(&request, &callback) {
            Ok(built) => built,
            Err(text) => return futures::future::ready(OperationResult::Refused(Box::new(call_failure(text, false)))).boxed(),
        };
        let sent = self.send(uri, built, request.timeout, result_bytes_max + ANSWER_BYTES_MAX);
        async move {
            match sent.await {
                Ok(answer) => started(&answer, result_bytes_max, token_bytes_max),
                Err(text) => OperationResult::Undelivered(undelivered(text)),
            }
        }
        .boxed()
    }

    fn cancel(&self, request: RequestToCancel) -> BoxFuture<'static, OperationCancelResult> {
        let (uri, built) = match to_cancel(&request) {
            Ok(built) => built,
            Err(text) => return futures::future::ready(OperationCancelResult::Refused(Box::new(call_failure(text, false)))).boxed(),
        };
        let sent = self.send(uri, built, request.timeout, ANSWER_BYTES_MAX);
        async move {
            let failure = match sent.await {
                Ok(answer) if answer.status.as_u16() == 202 => return OperationCancelResult::Taken,
                Ok(answer) => Box::new(failure::of_answer(&answer)),
                Err(text) => undelivered(text),
            };
            if is_retryable(&failure) { OperationCancelResult::Undelivered(failure) } else { OperationCancelResult::Refused(failure) }
        }
        .boxed()
    }
}

/// A POST to a path below an endpoint's URL. `Err`: it cannot be put into a request.
fn post(
    url: &str,
    path: &[&str],
    query: &str,
    header: &BTreeMap<String, String>,
    body: Bytes,
) -> Result<(Uri, Request<Full<Bytes>>), String> {
    let base: Uri = url.parse().map_err(|e| format!("the endpoint's URL cannot be used: {e}"))?;
    let authority = base.authority().ok_or("the endpoint's URL names no host")?;
    let host = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host).to_owned();
    let mut target = base.path().trim_end_matches('/').to_owned();
    for part in path {
        target.push('/');
        target.push_str(&link::escaped(part));
    }
    if !query.is_empty() {
        target.push('?');
        target.push_str(query);
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.parse().map_err(|e| format!("the endpoint's URL cannot be used: {e}"))?;
    set(&mut request, "user-agent", USER_AGENT)?;
    for (name, value) in header {
        set(&mut request, name, value)?;
    }
    set(&mut request, header::HOST.as_str(), &host)?;
    set(&mut request, header::CONNECTION.as_str(), "close")?;
    Ok((base, request))
}

fn set(request: &mut Request<Full<Bytes>>, name: &str, value: &str) -> Result<(), String> {
    let name = HeaderName::try_from(name).map_err(|_| format!("{name:?} is no name of a header"))?;
    let value = HeaderValue::from_str(value).map_err(|_| format!("{value:?} cannot be the value of a header"))?;
    request.headers_mut().insert(name, value);
    Ok(())
}

fn milliseconds(span: Span) -> String {
    format!("{}ms", span.0 / 1_000_000)
}

fn to_start(request: &RequestToStart, callback: &str) -> Result<(Uri, Request<Full<Bytes>>), String> {
    let asked = &request.request;
    let (body, kind) = asked.payload.as_ref().map_or_else(Default::default, content::of_payload);
    let query = format!("callback={}", link::escaped(callback));
    let (uri, mut built) = post(&request.url, &[&asked.service, &asked.operation], &query, &request.header, body)?;
    let own = [
        ("content-type", kind),
        ("nexus-request-id", asked.request_id.clone()),
        ("nexus-link", content::of_links(&asked.links)),
        ("request-timeout", milliseconds(request.timeout)),
        (&format!("nexus-callback-{CALLBACK_TOKEN_HEADER}"), request.callback_token.clone()),
    ];
    for (name, value) in own.into_iter().filter(|(_, value)| !value.is_empty()) {
        set(&mut built, name, &value)?;
    }
    Ok((uri, built))
}

fn to_cancel(request: &RequestToCancel) -> Result<(Uri, Request<Full<Bytes>>), String> {
    let asked = &request.request;
    let path = [asked.service.as_str(), &asked.operation, "cancel"];
    let (uri, mut built) = post(&request.url, &path, "", &request.header, Bytes::new())?;
    set(&mut built, "nexus-operation-token", &asked.operation_token)?;
    set(&mut built, "request-timeout", &milliseconds(request.timeout))?;
    Ok((uri, built))
}

/// What an answer to a start means.
fn started(answer: &Answer, result_bytes_max: usize, token_bytes_max: usize) -> OperationResult {
    let refused = |text: String| OperationResult::Refused(Box::new(call_failure(text, false)));
    let links = || link::all_from_nexus(&content::to_links(&answer.headers).unwrap_or_default());
    match (answer.status.as_u16(), &answer.body) {
        (200, None) => refused("http: response body too large".into()),
        (200, Some(body)) => match content::to_payload(&answer.headers, body.clone()) {
            Ok(result) if prost::Message::encoded_len(&result) > result_bytes_max => refused("http: response body too large".into()),
            Ok(result) => OperationResult::Completed { result: Some(result), links: links() },
            Err(text) => OperationResult::Undelivered(undelivered(text)),
        },
        (201, body) => {
            let info: Option<serde_json::Value> = body.as_ref().and_then(|body| serde_json::from_slice(body).ok());
            let field = |name: &str| info.as_ref().and_then(|info| info.get(name)?.as_str()).filter(|text| !text.is_empty());
            if field("state") != Some("running") {
                let text = format!("invalid operation state in response info: {:?}", field("state").unwrap_or_default());
                return OperationResult::Undelivered(undelivered(text));
            }
            // Old handlers name only the id.
            match field("token").or_else(|| field("id")) {
                Some(token) if token.len() > token_bytes_max => {
                    refused(format!("invalid operation token: length exceeds allowed limit ({}/{token_bytes_max})", token.len()))
                }
                Some(token) => OperationResult::Started { token: token.into(), links: links() },
                None => OperationResult::Undelivered(undelivered("empty operation token in response".into())),
            }
        }
        (424, body) => match unsuccessful(&answer.headers, body.as_deref().unwrap_or_default()) {
            Ok((failure, true)) => OperationResult::Canceled(Box::new(canceled(failure))),
            Ok((failure, false)) => OperationResult::Failed(Box::new(failure)),
            Err(text) => OperationResult::Undelivered(undelivered(text)),
        },
        _ => {
            let failure = Box::new(failure::of_answer(answer));
            if is_retryable(&failure) { OperationResult::Undelivered(failure) } else { OperationResult::Refused(failure) }
        }
    }
}

/// Why an operation has failed, and whether it was canceled.
fn unsuccessful(headers: &HeaderMap, body: &[u8]) -> Result<(Failure, bool), String> {
    let state = headers.get("nexus-operation-state").and_then(|state| state.to_str().ok()).unwrap_or_default();
    let failure = failure::of_body(headers, body)?;
    if !failure::names_state(&failure) && !["failed", "canceled"].contains(&state) {
        return Err(format!("invalid operation state header: {state:?}"));
    }
    failure::of_operation(&failure, state)
}

/// The failure of an operation that was canceled, whatever its handler made of it.
pub(crate) fn canceled(failure: Failure) -> Failure {
    if matches!(failure.failure_info, Some(FailureInfo::CanceledFailureInfo(_))) {
        return failure;
    }
    Failure {
        message: failure.message,
        stack_trace: failure.stack_trace,
        failure_info: Some(FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default())),
        cause: failure.cause,
        ..Failure::default()
    }
}
