//! Requests to endpoints at URLs (spec 08 §5.4): POST to `<url>/<service>/<operation>`, and `…/cancel`.
//!
//! | answer to a start | result |
//! |---|---|
//! | 200 | done: the body is the result |
//! | 201 | started: the body names the operation |
//! | 424 | the operation has failed, or was canceled |
//! | 400, 401, 403, 404, 409, 501 | refused for good |
//! | all others, no connection, no whole answer in time | tried again |
//!
//! Header `nexus-request-retryable` of the answer (`true`, `false`) overrules the table for 400, 401, 403, 404, 408, 409, 429,
//! 500, 501, 503 and 520, whatever body they have; a handler's failure in the body says it itself. Of other statuses, of
//! successes that cannot be read, and where there was no whole answer, it is not asked.
#![expect(clippy::disallowed_methods, reason = "the other side answers by the wall clock")]

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

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
use tokio::time::{Instant, timeout_at};

use super::{content, failure};
use crate::http_client::{self, Answer, Cut, Permits, Tls};

const USER_AGENT: &str = concat!("sempre/", env!("CARGO_PKG_VERSION"));
/// Bytes of an answer beside a result.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const TOO_LARGE: &str = "http: response body too large";
const BROKEN: &str = "the connection ended within the answer";

/// See the module.
pub(crate) struct HttpOperations {
    permits: Arc<Permits>,
    tls: Arc<Tls>,
    /// URL of callbacks; `{{.NamespaceName}}` and `{{.NamespaceID}}` stand for the caller's namespace. `None`: nobody could call back.
    callback_template: Option<String>,
    /// Callbacks go to this machine's own address, and nobody was warned yet.
    warns: AtomicBool,
}

impl HttpOperations {
    pub(crate) fn new(callback_template: Option<String>) -> Self {
        let warns = AtomicBool::new(callback_template.as_deref().is_some_and(leads_to_loopback));
        Self { permits: Arc::new(Permits::new()), tls: Arc::default(), callback_template, warns }
    }

    /// The request is told the time that is left when its turn has come. `Err`: why there was no answer.
    fn send(
        &self,
        uri: Uri,
        mut request: Request<Full<Bytes>>,
        time: Span,
        bytes_max: usize,
    ) -> BoxFuture<'static, Result<Answer, String>> {
        let (permits, tls) = (self.permits.clone(), self.tls.clone());
        async move {
            let until = Instant::now() + Duration::from_nanos(u64::try_from(time.0).unwrap_or_default());
            let answer = async {
                let _permit = permits.of(&uri).await;
                set(&mut request, "request-timeout", &format!("{}ms", until.duration_since(Instant::now()).as_millis()))?;
                http_client::send(&uri, request, &tls, bytes_max).await
            };
            timeout_at(until, answer).await.unwrap_or_else(|_| Err("request timed out".into()))
        }
        .boxed()
    }
}

/// The host of a URL is this machine's own name for itself.
fn leads_to_loopback(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.parse::<http::uri::Authority>().map(|authority| authority.host().trim_matches(['[', ']']).to_ascii_lowercase());
    host.is_ok_and(|host| host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

fn undelivered(text: String) -> Box<Failure> {
    Box::new(call_failure(text, true))
}

impl OperationSender for HttpOperations {
    fn start(&self, request: RequestToStart) -> BoxFuture<'static, OperationResult> {
        let Some(template) = &self.callback_template else {
            let text = "callbacks have no URL: start the server with --http-port at one address, or set component.nexusoperations.callback.endpoint.template";
            return futures::future::ready(OperationResult::Undelivered(undelivered(text.into()))).boxed();
        };
        if !leads_to_loopback(&request.url) && self.warns.swap(false, Ordering::Relaxed) {
            tracing::warn!(
                template,
                "an endpoint on another machine cannot call back to this address: set component.nexusoperations.callback.endpoint.template"
            );
        }
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
                Ok(Answer { body: Err(Cut::Broken), .. }) => undelivered(BROKEN.into()),
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
    let host = http_client::host_of(authority.as_str()).to_owned();
    let mut target = base.path().trim_end_matches('/').to_owned();
    for part in path {
        target.push('/');
        target.push_str(&link::escaped(part));
    }
    // What the endpoint's own query says stays, but for a parameter that is set here.
    let set_here = query.split_once('=').map(|(name, _)| name);
    let own = base.query().unwrap_or_default().split('&').filter(|pair| pair.split('=').next() != set_here);
    let pairs: Vec<&str> = own.chain([query]).filter(|pair| !pair.is_empty()).collect();
    if !pairs.is_empty() {
        target.push('?');
        target.push_str(&pairs.join("&"));
    }
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.parse().map_err(|e| format!("the endpoint's URL cannot be used: {e}"))?;
    set(&mut request, "user-agent", USER_AGENT)?;
    for (name, value) in header {
        if !HeaderName::try_from(name).is_ok_and(|name| http_client::is_of_connection(&name)) {
            set(&mut request, name, value)?;
        }
    }
    http_client::authorize(&base, request.headers_mut());
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

fn to_start(request: &RequestToStart, callback: &str) -> Result<(Uri, Request<Full<Bytes>>), String> {
    let asked = &request.request;
    let (body, content) = asked.payload.as_ref().map_or_else(Default::default, content::of_payload);
    let query = format!("callback={}", link::escaped(callback));
    let (uri, mut built) = post(&request.url, &[&asked.service, &asked.operation], &query, &request.header, body)?;
    built.headers_mut().extend(content);
    let own = [
        ("nexus-request-id", asked.request_id.clone()),
        ("nexus-link", content::of_links(&asked.links)),
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
    Ok((uri, built))
}

/// What an answer to a start means.
fn started(answer: &Answer, result_bytes_max: usize, token_bytes_max: usize) -> OperationResult {
    let refused = |text: String| OperationResult::Refused(Box::new(call_failure(text, false)));
    let links = || link::all_from_nexus(&content::to_links(&answer.headers).unwrap_or_default());
    let body = match &answer.body {
        Ok(body) => body,
        Err(Cut::TooLarge) => return refused(TOO_LARGE.into()),
        Err(Cut::Broken) => return OperationResult::Undelivered(undelivered(BROKEN.into())),
    };
    match answer.status.as_u16() {
        200 => match content::to_payload(&answer.headers, body.clone()) {
            Ok(result) if prost::Message::encoded_len(&result) > result_bytes_max => refused(TOO_LARGE.into()),
            Ok(result) => OperationResult::Completed { result: Some(result), links: links() },
            Err(text) => OperationResult::Undelivered(undelivered(text)),
        },
        201 => {
            let info: Option<serde_json::Value> = serde_json::from_slice(body).ok();
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
        424 => match unsuccessful(&answer.headers, body) {
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

#[cfg(test)]
mod tests;
