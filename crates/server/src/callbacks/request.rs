//! The request that tells of a finished operation.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use prost::Message;
use sempre_api::v1::{
    common::{
        Payload,
        callback::{Nexus, Variant},
        link::{self, workflow_event::Reference},
    },
    enums::EventType,
};
use sempre_core::{
    Timestamp,
    state::callback::{Outcome, OutcomeState},
    transition::CallbackCall,
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
    let host = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host).to_owned();
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let outcome = call.outcome.clone().unwrap_or_default();
    let (body, content, state) = content(&outcome)?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse().map_err(|e| format!("the callback's URL cannot be used: {e}"))?;
    let headers = request.headers_mut();
    let own = [(header::CONTENT_TYPE, content), (HeaderName::from_static("nexus-operation-state"), state.into())];
    for (name, value) in own.into_iter().filter(|(_, value)| !value.is_empty()) {
        headers.insert(name, text(&value)?);
    }
    for (name, value) in &nexus.header {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| format!("{name:?} is no name of a header"))?;
        headers.insert(name, text(value)?);
    }
    // What the caller did not say itself.
    let rest = [
        (header::USER_AGENT, USER_AGENT.to_owned()),
        (HeaderName::from_static("nexus-operation-start-time"), http_date(Timestamp(call.start_time))),
        (HeaderName::from_static("nexus-operation-close-time"), Timestamp(outcome.close_time).to_api().to_string()),
        (HeaderName::from_static("nexus-link"), call.link.as_ref().and_then(link).unwrap_or_default()),
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

/// Body, content type (empty: none) and state of the operation.
fn content(outcome: &Outcome) -> Result<(Bytes, String, &'static str), String> {
    let state = match outcome.state() {
        OutcomeState::Succeeded => {
            let (body, kind) = outcome.result.as_ref().map_or_else(Default::default, payload);
            return Ok((body, kind, "succeeded"));
        }
        OutcomeState::Failed => "failed",
        OutcomeState::Canceled => "canceled",
    };
    let failure = failure::nexus(&outcome.failure.clone().unwrap_or_default());
    let body = serde_json::to_vec(&failure).map_err(|e| e.to_string())?;
    Ok((body.into(), "application/json".into(), state))
}

/// A payload as content of its own type where its metadata says all there is to say, else as it is.
fn payload(payload: &Payload) -> (Bytes, String) {
    let of = |name: &str| payload.metadata.get(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default();
    let (encoding, message_type, count) = (of("encoding"), of("messageType"), payload.metadata.len());
    let kind = match encoding {
        "json/plain" => "application/json".to_owned(),
        "json/protobuf" if count == 2 && !message_type.is_empty() => {
            format!("application/json; format=protobuf; message-type={message_type:?}")
        }
        "binary/protobuf" if count == 2 && !message_type.is_empty() => {
            format!("application/x-protobuf; message-type={message_type:?}")
        }
        "binary/plain" if count == 1 => "application/octet-stream".to_owned(),
        "binary/null" if count == 1 => String::new(),
        _ => return (payload.encode_to_vec().into(), "application/x-temporal-payload".into()),
    };
    (payload.data.clone(), kind)
}

/// As the `Nexus-Link` header writes it.
fn link(link: &sempre_api::v1::common::Link) -> Option<String> {
    let Some(link::Variant::WorkflowEvent(event)) = &link.variant else { return None };
    let name = |event_type: i32| camel_case(EventType::try_from(event_type).unwrap_or_default());
    let query = match event.reference.as_ref()? {
        Reference::EventRef(to) => {
            format!("eventID={}&eventType={}&referenceType=EventReference", to.event_id, name(to.event_type))
        }
        Reference::RequestIdRef(to) => {
            format!("eventType={}&referenceType=RequestIdReference&requestID={}", name(to.event_type), escaped(&to.request_id))
        }
    };
    let (namespace, id, run) = (escaped(&event.namespace), escaped(&event.workflow_id), escaped(&event.run_id));
    Some(format!(
        "<temporal:///namespaces/{namespace}/workflows/{id}/{run}/history?{query}>; type=\"temporal.api.common.v1.Link.WorkflowEvent\""
    ))
}

/// `WorkflowExecutionStarted` for EVENT_TYPE_WORKFLOW_EXECUTION_STARTED.
fn camel_case(event_type: EventType) -> String {
    format!("{event_type:?}")
}

/// Everything but letters, digits and `-_.~` as `%XX`.
fn escaped(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
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
            Callback, Link,
            link::{WorkflowEvent, workflow_event},
        },
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
        ];
        for (name, value) in expected {
            assert_eq!(request.headers().get(name).map(|v| v.to_str().unwrap()), Some(value), "{name}");
        }
        let body = futures::executor::block_on(request.into_body().collect()).unwrap().to_bytes();
        assert_eq!(body, "\"done\"");
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

    #[test]
    fn payloads_keep_their_type_where_http_has_one() {
        let of = |metadata: &[(&str, &str)]| {
            let metadata = metadata.iter().map(|(k, v)| (k.to_string(), Bytes::copy_from_slice(v.as_bytes()))).collect();
            payload(&Payload { metadata, data: Bytes::from_static(b"x"), ..Default::default() }).1
        };
        assert_eq!(of(&[("encoding", "json/plain"), ("note", "x")]), "application/json");
        let typed = of(&[("encoding", "json/protobuf"), ("messageType", "a.B")]);
        assert_eq!(typed, "application/json; format=protobuf; message-type=\"a.B\"");
        assert_eq!(of(&[("encoding", "binary/plain")]), "application/octet-stream");
        assert_eq!(of(&[("encoding", "binary/null")]), "");
        assert_eq!(of(&[("encoding", "binary/encrypted")]), "application/x-temporal-payload");
        assert_eq!(of(&[("encoding", "binary/plain"), ("note", "x")]), "application/x-temporal-payload");
        assert_eq!(of(&[]), "application/x-temporal-payload");
    }
}
