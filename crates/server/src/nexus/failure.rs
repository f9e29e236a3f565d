//! Failures of Nexus' form, read as Temporal's. The way back: `callbacks::failure`.
//!
//! | metadata `type` | is |
//! |---|---|
//! | `temporal.api.failure.v1.Failure` | that message, in the details, without text and stack |
//! | `nexus.HandlerError` | a handler's failure: type and retry behaviour in the details |
//! | `nexus.OperationError` | canceled, or an application's failure of type `OperationError`: state in the details |
//! | another, or none but details | an application's failure of type `NexusFailure` that has all of it as details |
//! | none | text and stack only |

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::HeaderMap;
use sempre_api::{
    json::{Payloads as PayloadForm, from_value},
    v1::{
        common::{Payload, Payloads},
        enums::NexusHandlerErrorRetryBehavior as Retry,
        failure::{ApplicationFailureInfo, CanceledFailureInfo, Failure, NexusHandlerFailureInfo, failure::FailureInfo},
        nexus,
    },
};
use sempre_engine::nexus::call_failure;
use serde_json::{Map, Value};

use crate::http_client::Answer;

/// Causes of a failure that are read; one with more is none.
const CAUSES_MAX: usize = 100;
/// Types of handlers' errors, and the statuses that stand for them.
const KINDS: [(&str, u16); 11] = [
    ("BAD_REQUEST", 400),
    ("UNAUTHENTICATED", 401),
    ("UNAUTHORIZED", 403),
    ("NOT_FOUND", 404),
    ("REQUEST_TIMEOUT", 408),
    ("CONFLICT", 409),
    ("RESOURCE_EXHAUSTED", 429),
    ("INTERNAL", 500),
    ("NOT_IMPLEMENTED", 501),
    ("UNAVAILABLE", 503),
    ("UPSTREAM_TIMEOUT", 520),
];

pub(crate) const TEMPORAL: &str = "temporal.api.failure.v1.Failure";
pub(crate) const HANDLER: &str = "nexus.HandlerError";
pub(crate) const OPERATION: &str = "nexus.OperationError";

/// As Temporal writes it. `Err`: the details are not what the type says.
pub(crate) fn temporal(from: &nexus::Failure) -> Result<Failure, String> {
    let mut failure = match from.metadata.get("type").map(String::as_str) {
        Some(TEMPORAL) => from_value::<Failure>(details(from)?, PayloadForm::Full).map_err(|error| error.to_string())?,
        Some(HANDLER) => handler(&details(from)?)?,
        Some(OPERATION) => operation(&details(from)?),
        None if from.metadata.is_empty() && from.details.is_empty() => Failure::default(),
        _ => other(from)?,
    };
    failure.message.clone_from(&from.message);
    failure.stack_trace.clone_from(&from.stack_trace);
    if let Some(cause) = &from.cause {
        failure.cause = Some(Box::new(temporal(cause)?));
    }
    Ok(failure)
}

fn details(from: &nexus::Failure) -> Result<Value, String> {
    serde_json::from_slice(&from.details).map_err(|error| error.to_string())
}

fn handler(details: &Value) -> Result<Failure, String> {
    let retry = match details.get("retryableOverride").and_then(Value::as_bool) {
        Some(true) => Retry::Retryable,
        Some(false) => Retry::NonRetryable,
        None => Retry::Unspecified,
    };
    let kind = details.get("type").and_then(Value::as_str).unwrap_or_default();
    let encoded_attributes = match details.get("encodedAttributes").and_then(Value::as_str) {
        Some(text) if !text.is_empty() => {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|error| error.to_string())?;
            let value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
            Some(from_value::<Payload>(value, PayloadForm::Full).map_err(|error| error.to_string())?)
        }
        _ => None,
    };
    let info = NexusHandlerFailureInfo { r#type: kind.into(), retry_behavior: retry as i32 };
    Ok(Failure { failure_info: Some(FailureInfo::NexusHandlerFailureInfo(info)), encoded_attributes, ..Failure::default() })
}

fn operation(details: &Value) -> Failure {
    let info = match details.get("state").and_then(Value::as_str) {
        Some("canceled") => FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default()),
        _ => FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
            r#type: "OperationError".into(),
            non_retryable: true,
            ..ApplicationFailureInfo::default()
        }),
    };
    Failure { failure_info: Some(info), ..Failure::default() }
}

fn other(from: &nexus::Failure) -> Result<Failure, String> {
    let rest = nexus::Failure { message: String::new(), stack_trace: String::new(), ..from.clone() };
    let data = Bytes::from(serde_json::to_vec(&to_json(&rest)?).map_err(|error| error.to_string())?);
    let metadata = [("encoding".to_owned(), Bytes::from_static(b"json/plain"))].into();
    let details = Payloads { payloads: vec![Payload { metadata, data, ..Payload::default() }] };
    let info = ApplicationFailureInfo { r#type: "NexusFailure".into(), details: Some(details), ..ApplicationFailureInfo::default() };
    Ok(Failure { failure_info: Some(FailureInfo::ApplicationFailureInfo(info)), ..Failure::default() })
}

/// As it stands in bodies of requests and answers.
fn to_json(from: &nexus::Failure) -> Result<Value, String> {
    let mut object = Map::new();
    object.insert("message".into(), from.message.clone().into());
    if !from.stack_trace.is_empty() {
        object.insert("stackTrace".into(), from.stack_trace.clone().into());
    }
    if !from.metadata.is_empty() {
        object.insert("metadata".into(), from.metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect());
    }
    if !from.details.is_empty() {
        object.insert("details".into(), details(from)?);
    }
    if let Some(cause) = &from.cause {
        object.insert("cause".into(), to_json(cause)?);
    }
    Ok(object.into())
}

fn content_type(headers: &HeaderMap) -> &str {
    headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default()
}

/// The content says that it is JSON.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    content_type(headers).split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// What a body has that is a failure of Nexus' form. `Err`: it is none.
pub(crate) fn of_body(headers: &HeaderMap, body: &[u8]) -> Result<nexus::Failure, String> {
    if !is_json(headers) {
        return Err(format!("invalid response content type: {:?}", content_type(headers)));
    }
    let value: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    from_json(&value, 0).ok_or_else(|| "the body is no failure".into())
}

/// `None`: it is not an object, or its causes are too many.
pub(crate) fn from_json(value: &Value, depth: usize) -> Option<nexus::Failure> {
    let object = value.as_object().filter(|_| depth < CAUSES_MAX)?;
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let metadata = object.get("metadata").and_then(Value::as_object).into_iter().flatten();
    Some(nexus::Failure {
        message: text("message"),
        stack_trace: text("stackTrace"),
        metadata: metadata.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect(),
        details: object.get("details").map(|details| details.to_string().into()).unwrap_or_default(),
        cause: match object.get("cause") {
            Some(cause) if !cause.is_null() => Some(Box::new(from_json(cause, depth + 1)?)),
            _ => None,
        },
    })
}

/// The type of a handler's error that a status stands for.
pub(crate) fn kind_of(status: u16) -> Option<&'static str> {
    KINDS.iter().find(|(_, of)| *of == status).map(|(kind, _)| *kind)
}

/// The status that stands for a type of a handler's error.
pub(crate) fn status_of(kind: &str) -> u16 {
    KINDS.iter().find(|(name, _)| *name == kind).map_or(500, |(_, status)| *status)
}

/// The failure that an answer tells of which is no success.
pub(crate) fn of_answer(answer: &Answer) -> Failure {
    let told = of_body(&answer.headers, answer.bytes());
    let told =
        told.ok().and_then(|failure| Some((failure.metadata.get("type").is_some_and(|kind| kind == HANDLER), temporal(&failure).ok()?)));
    if let Some((true, failure)) = told {
        return failure;
    }
    let Some(kind) = kind_of(answer.status.as_u16()) else {
        let words = told.map(|(_, failure)| failure.message).filter(|words| !words.is_empty());
        let words = words.map_or_else(String::new, |words| format!(": {words}"));
        return call_failure(format!("unexpected response status: \"{}\"{words}", answer.status), true);
    };
    let retry = match answer.headers.get("nexus-request-retryable").map(|value| value.as_bytes().to_ascii_lowercase()) {
        Some(value) if value == b"true" => Retry::Retryable,
        Some(value) if value == b"false" => Retry::NonRetryable,
        _ => Retry::Unspecified,
    };
    let info = NexusHandlerFailureInfo { r#type: kind.into(), retry_behavior: retry as i32 };
    let cause = told.map(|(_, failure)| Box::new(failure));
    Failure { failure_info: Some(FailureInfo::NexusHandlerFailureInfo(info)), cause, ..Failure::default() }
}

/// The failure is an operation's: whether it was canceled stands in it.
pub(crate) fn names_state(failure: &nexus::Failure) -> bool {
    failure.metadata.get("type").is_some_and(|kind| kind == OPERATION)
}

/// Why an operation failed, or was canceled, as an answer or a callback tells it. `state` counts where the failure does not name it.
pub(crate) fn of_operation(failure: &nexus::Failure, state: &str) -> Result<(Failure, bool), String> {
    let is_operation = names_state(failure);
    let named = is_operation.then(|| details(failure)).transpose()?.and_then(|details| Some(details.get("state")?.as_str()? == "canceled"));
    let is_canceled = named.unwrap_or(state == "canceled");
    let wraps = is_operation && failure.metadata.get("unwrap-error").is_some_and(|wraps| wraps == "true");
    let failure = match &failure.cause {
        Some(cause) if wraps => temporal(cause)?,
        _ => temporal(failure)?,
    };
    Ok((failure, is_canceled))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nexus(kind: &str, details: &'static str) -> nexus::Failure {
        let metadata = if kind.is_empty() { Default::default() } else { [("type".to_string(), kind.to_string())].into() };
        nexus::Failure {
            message: "text".into(),
            stack_trace: "stack".into(),
            metadata,
            details: details.into(),
            cause: Some(Box::new(nexus::Failure { message: "cause".into(), ..Default::default() })),
        }
    }

    fn info(kind: &str, details: &'static str) -> Option<FailureInfo> {
        let failure = temporal(&nexus(kind, details)).expect("sound");
        assert_eq!((failure.message.as_str(), failure.stack_trace.as_str()), ("text", "stack"));
        let cause = failure.cause.expect("it has one");
        assert_eq!((cause.message.as_str(), cause.failure_info), ("cause", None));
        failure.failure_info
    }

    #[test]
    fn each_type_is_read_as_what_it_is() {
        let canceled = info(TEMPORAL, r#"{"source":"S","canceledFailureInfo":{"details":{"payloads":[{"data":"eA=="}]}},"new":1}"#);
        assert!(matches!(canceled, Some(FailureInfo::CanceledFailureInfo(i)) if i.details.as_ref().unwrap().payloads[0].data == "x"));
        let retried = NexusHandlerFailureInfo { r#type: "BAD_REQUEST".into(), retry_behavior: Retry::Retryable as i32 };
        let given = info(HANDLER, r#"{"type":"BAD_REQUEST","retryableOverride":true}"#);
        assert_eq!(given, Some(FailureInfo::NexusHandlerFailureInfo(retried)));
        assert!(matches!(info(OPERATION, r#"{"state":"canceled"}"#), Some(FailureInfo::CanceledFailureInfo(_))));
        let failed = info(OPERATION, r#"{"state":"failed"}"#);
        assert!(matches!(failed, Some(FailureInfo::ApplicationFailureInfo(i)) if i.non_retryable && i.r#type == "OperationError"));
        let Some(FailureInfo::ApplicationFailureInfo(unknown)) = info("x", r#"{"a":[1]}"#) else { panic!("an application's") };
        let json: Value = serde_json::from_slice(&unknown.details.unwrap().payloads[0].data).unwrap();
        let expected = r#"{"message":"","metadata":{"type":"x"},"details":{"a":[1]},"cause":{"message":"cause"}}"#;
        assert_eq!((unknown.r#type.as_str(), json), ("NexusFailure", serde_json::from_str(expected).unwrap()));
        assert_eq!(info("", ""), None);
        assert!(matches!(info("", "1"), Some(FailureInfo::ApplicationFailureInfo(_))));
    }

    #[test]
    fn encoded_attributes_of_a_handlers_failure_come_along() {
        let payload = BASE64_URL_SAFE_NO_PAD.encode(r#"{"data":"eA=="}"#);
        let details = format!(r#"{{"type":"INTERNAL","encodedAttributes":"{payload}"}}"#);
        let failure = temporal(&nexus::Failure { details: details.into(), ..nexus(HANDLER, "") }).expect("sound");
        assert_eq!(failure.encoded_attributes.expect("a payload").data, "x");
    }

    #[test]
    fn details_that_are_not_json_are_refused() {
        for kind in [TEMPORAL, HANDLER, OPERATION, "x"] {
            assert!(temporal(&nexus(kind, "{")).is_err(), "{kind}");
        }
    }
}
