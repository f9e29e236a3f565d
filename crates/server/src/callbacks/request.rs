//! The request that tells of a finished operation.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use sempre_api::v1::common::callback::{Nexus, Variant};
use sempre_core::{
    Timestamp,
    nexus::link,
    state::callback::{Outcome, OutcomeState},
    transition::CallbackCall,
};

use crate::{
    http_client::{authorize, host_of, is_of_connection},
    nexus::content::{of_links, of_payload},
};

use super::failure;

const USER_AGENT: &str = concat!("sempre/", env!("CARGO_PKG_VERSION"));

/// The Nexus part of a callback.
pub(super) fn nexus(call: &CallbackCall) -> Option<&Nexus> {
    match &call.callback.as_ref()?.variant {
        Some(Variant::Nexus(nexus)) => Some(nexus),
        _ => None,
    }
}

/// Where it goes, and what. `Err`: it cannot be put into a request.
pub(super) fn of(nexus: &Nexus, call: &CallbackCall) -> Result<(Uri, Request<Full<Bytes>>), String> {
    let uri: Uri = nexus.url.parse().map_err(|e| format!("the callback's URL cannot be used: {e}"))?;
    let authority = uri.authority().ok_or("the callback's URL names no host")?;
    let host = host_of(authority.as_str()).to_owned();
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let outcome = call.outcome.clone().unwrap_or_default();
    let (body, content, state) = content(&outcome)?;
    let state = HeaderValue::from_static(state);
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse().map_err(|e| format!("the callback's URL cannot be used: {e}"))?;
    let headers = request.headers_mut();
    headers.extend(content);
    headers.insert(HeaderName::from_static("nexus-operation-state"), state);
    for (name, value) in &nexus.header {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| format!("{name:?} is no name of a header"))?;
        if !is_of_connection(&name) {
            headers.insert(name, text(value)?);
        }
    }
    authorize(&uri, headers);
    // What the caller did not say itself.
    let rest = [
        (header::USER_AGENT, USER_AGENT.to_owned()),
        (HeaderName::from_static("nexus-operation-start-time"), http_date(Timestamp(call.start_time))),
        (HeaderName::from_static("nexus-operation-close-time"), Timestamp(outcome.close_time).to_api().to_string()),
        (
            HeaderName::from_static("nexus-link"),
            call.link.as_ref().and_then(link::to_nexus).map(|link| of_links(&[link])).unwrap_or_default(),
        ),
    ];
    for (name, value) in rest {
        if !headers.contains_key(&name) && !value.is_empty() {
            headers.insert(name, text(&value)?);
        }
    }
    headers.insert(header::HOST, text(&host)?);
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    Ok((uri, request))
}

fn text(value: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(value).map_err(|_| format!("{value:?} cannot be the value of a header"))
}

/// Body, headers of its content, and state of the operation.
fn content(outcome: &Outcome) -> Result<(Bytes, HeaderMap, &'static str), String> {
    let state = match outcome.state() {
        OutcomeState::Succeeded => {
            let (body, headers) = outcome.result.as_ref().map_or_else(Default::default, of_payload);
            return Ok((body, headers, "succeeded"));
        }
        OutcomeState::Failed => "failed",
        OutcomeState::Canceled => "canceled",
    };
    let failure = failure::nexus(&outcome.failure.clone().unwrap_or_default());
    let body = serde_json::to_vec(&failure).map_err(|e| e.to_string())?;
    let headers = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((body.into(), headers.into_iter().collect(), state))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn http_date(time: Timestamp) -> String {
    let since = std::time::Duration::from_millis(time.millis().max(0) as u64);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use sempre_api::v1::{
        common::{
            Callback, Link, Payload,
            link::{
                self, WorkflowEvent,
                workflow_event::{self, Reference},
            },
        },
        enums::EventType,
        failure::Failure,
    };

    use super::*;

    fn call(outcome: Outcome) -> CallbackCall {
        let header = [("nexus-callback-token".to_string(), "secret".to_string())].into();
        let event = WorkflowEvent {
            namespace: "de fault".into(),
            workflow_id: "w/1".into(),
            run_id: "r".into(),
            reference: Some(Reference::EventRef(workflow_event::EventReference {
                event_id: 1,
                event_type: EventType::WorkflowExecutionStarted as i32,
            })),
        };
        CallbackCall {
            number: 1,
            attempt: 0,
            callback: Some(Callback {
                variant: Some(Variant::Nexus(Nexus { url: "http://me:x@host:81/a/b?c=d".into(), header })),
                ..Default::default()
            }),
            outcome: Some(outcome),
            link: Some(Link { variant: Some(link::Variant::WorkflowEvent(event)) }),
            start_time: 784_111_777_000_000_000,
            outcome_event_id: 0,
            status: 0,
        }
    }

    fn made(outcome: Outcome) -> (Uri, Request<Full<Bytes>>) {
        let call = call(outcome);
        of(nexus(&call).expect("Nexus"), &call).expect("a request")
    }

    #[test]
    fn a_success_is_told_with_its_result() {
        let result = Payload {
            metadata: [("encoding".to_string(), Bytes::from_static(b"json/plain"))].into(),
            data: Bytes::from_static(b"\"done\""),
            ..Default::default()
        };
        let (uri, request) = made(Outcome { result: Some(result), close_time: 784_111_778_500_000_000, ..Default::default() });
        assert_eq!((uri.host(), uri.port_u16()), (Some("host"), Some(81)));
        assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::POST, "/a/b?c=d"));
        let expected = [
            ("content-type", "application/json"),
            ("nexus-operation-state", "succeeded"),
            ("nexus-callback-token", "secret"),
            ("nexus-operation-start-time", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("nexus-operation-close-time", "1994-11-06T08:49:38.500Z"),
            (
                "nexus-link",
                "<temporal:///namespaces/de%20fault/workflows/w%2F1/r/history?eventID=1&eventType=WorkflowExecutionStarted&referenceType=EventReference>; type=\"temporal.api.common.v1.Link.WorkflowEvent\"",
            ),
            ("host", "host:81"),
            ("authorization", "Basic bWU6eA=="),
        ];
        for (name, value) in expected {
            assert_eq!(request.headers().get(name).map(|v| v.to_str().unwrap()), Some(value), "{name}");
        }
        let body = futures::executor::block_on(request.into_body().collect()).unwrap().to_bytes();
        assert_eq!(body, "\"done\"");
    }

    #[test]
    fn content_of_others_and_headers_of_the_connection() {
        let metadata = [("encoding", "unknown/nexus-content"), ("type", "text/plain"), ("language", "en")];
        let metadata = metadata.map(|(name, value)| (name.to_string(), Bytes::from_static(value.as_bytes())));
        let result = Payload { metadata: metadata.into(), data: Bytes::from_static(b"hi"), ..Default::default() };
        let mut call = call(Outcome { result: Some(result), ..Default::default() });
        if let Some(Variant::Nexus(nexus)) = call.callback.as_mut().and_then(|callback| callback.variant.as_mut()) {
            nexus.header.insert("Content-Length".into(), "99".into());
            nexus.header.insert("authorization".into(), "own".into());
        }
        let (_, request) = of(nexus(&call).expect("Nexus"), &call).expect("a request");
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header("content-type").as_deref(), Some("text/plain"));
        assert_eq!(header("content-language").as_deref(), Some("en"));
        assert_eq!((header("content-length"), header("authorization").as_deref()), (None, Some("own")));
        assert_eq!(futures::executor::block_on(request.into_body().collect()).unwrap().to_bytes(), "hi");
    }

    #[test]
    fn no_result_is_an_empty_body_without_a_type() {
        let (_, request) = made(Outcome::default());
        assert!(!request.headers().contains_key("content-type"));
        assert!(futures::executor::block_on(request.into_body().collect()).unwrap().to_bytes().is_empty());
    }

    #[test]
    fn a_failure_is_told_as_nexus_writes_it() {
        let failure = Failure { message: "no".into(), ..Default::default() };
        let outcome = Outcome { state: OutcomeState::Failed as i32, failure: Some(failure), ..Default::default() };
        let (_, request) = made(outcome.clone());
        assert_eq!(request.headers()["nexus-operation-state"], "failed");
        assert_eq!(request.headers()["content-type"], "application/json");
        let (_, canceled) = made(Outcome { state: OutcomeState::Canceled as i32, ..outcome });
        assert_eq!(canceled.headers()["nexus-operation-state"], "canceled");
    }
}
