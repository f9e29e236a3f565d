//! Failures as JSON: Nexus' own form, and in it the proto3 JSON form of `temporal.api.failure.v1.Failure`.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sempre_api::{
    Duration,
    v1::{
        common::{Payload, Payloads},
        enums::{ApplicationErrorCategory, NexusHandlerErrorRetryBehavior, RetryState, TimeoutType},
        failure::{Failure, failure::FailureInfo},
    },
};
use serde_json::{Map, Value, json};

/// What the details of a Nexus failure are.
const DETAILS_TYPE: &str = "temporal.api.failure.v1.Failure";

/// A failure as Nexus writes it: text and stack outside, the rest as details, the cause the same way.
pub(crate) fn nexus(failure: &Failure) -> Value {
    let mut object = Object::default();
    object.text("message", &failure.message);
    object.text("stackTrace", &failure.stack_trace);
    match &failure.failure_info {
        Some(FailureInfo::NexusHandlerFailureInfo(info)) => {
            object.value("metadata", json!({ "type": "nexus.HandlerError" }));
            let mut details = Object::default();
            details.text("type", &info.r#type);
            match info.retry_behavior() {
                NexusHandlerErrorRetryBehavior::Retryable => details.value("retryableOverride", Value::Bool(true)),
                NexusHandlerErrorRetryBehavior::NonRetryable => details.value("retryableOverride", Value::Bool(false)),
                NexusHandlerErrorRetryBehavior::Unspecified => {}
            }
            if let Some(attributes) = &failure.encoded_attributes {
                details.text("encodedAttributes", &BASE64_URL_SAFE_NO_PAD.encode(payload(attributes).to_string()));
            }
            object.value("details", details.into());
        }
        _ => {
            object.value("metadata", json!({ "type": DETAILS_TYPE }));
            let rest = Failure { message: String::new(), stack_trace: String::new(), ..failure.clone() };
            object.value("details", proto(&rest));
        }
    }
    if let Some(cause) = &failure.cause {
        object.value("cause", nexus(cause));
    }
    object.into()
}

/// A failure in the proto3 JSON form.
fn proto(failure: &Failure) -> Value {
    let mut object = Object::default();
    object.text("message", &failure.message);
    object.text("source", &failure.source);
    object.text("stackTrace", &failure.stack_trace);
    object.some("encodedAttributes", failure.encoded_attributes.as_ref().map(payload));
    object.some("cause", failure.cause.as_deref().map(proto));
    if let Some(info) = &failure.failure_info {
        let (name, info) = failure_info(info);
        object.value(name, info.into());
    }
    object.into()
}

#[allow(deprecated, reason = "operation_id is what old callers read")]
fn failure_info(info: &FailureInfo) -> (&'static str, Object) {
    let mut o = Object::default();
    let name = match info {
        FailureInfo::ApplicationFailureInfo(i) => {
            o.text("type", &i.r#type);
            o.flag("nonRetryable", i.non_retryable);
            o.some("details", i.details.as_ref().map(payloads));
            o.some("nextRetryDelay", i.next_retry_delay.as_ref().map(duration));
            o.name("category", i.category, i.category().as_str_name(), ApplicationErrorCategory::Unspecified as i32);
            "applicationFailureInfo"
        }
        FailureInfo::TimeoutFailureInfo(i) => {
            o.name("timeoutType", i.timeout_type, i.timeout_type().as_str_name(), TimeoutType::Unspecified as i32);
            o.some("lastHeartbeatDetails", i.last_heartbeat_details.as_ref().map(payloads));
            "timeoutFailureInfo"
        }
        FailureInfo::CanceledFailureInfo(i) => {
            o.some("details", i.details.as_ref().map(payloads));
            o.text("identity", &i.identity);
            "canceledFailureInfo"
        }
        FailureInfo::TerminatedFailureInfo(i) => {
            o.text("identity", &i.identity);
            "terminatedFailureInfo"
        }
        FailureInfo::ServerFailureInfo(i) => {
            o.flag("nonRetryable", i.non_retryable);
            "serverFailureInfo"
        }
        FailureInfo::ResetWorkflowFailureInfo(i) => {
            o.some("lastHeartbeatDetails", i.last_heartbeat_details.as_ref().map(payloads));
            "resetWorkflowFailureInfo"
        }
        FailureInfo::ActivityFailureInfo(i) => {
            o.number("scheduledEventId", i.scheduled_event_id);
            o.number("startedEventId", i.started_event_id);
            o.text("identity", &i.identity);
            o.some("activityType", i.activity_type.as_ref().map(|t| named(&t.name)));
            o.text("activityId", &i.activity_id);
            o.name("retryState", i.retry_state, i.retry_state().as_str_name(), RetryState::Unspecified as i32);
            "activityFailureInfo"
        }
        FailureInfo::ChildWorkflowExecutionFailureInfo(i) => {
            o.text("namespace", &i.namespace);
            let execution = i.workflow_execution.as_ref().map(|execution| {
                let mut o = Object::default();
                o.text("workflowId", &execution.workflow_id);
                o.text("runId", &execution.run_id);
                o.into()
            });
            o.some("workflowExecution", execution);
            o.some("workflowType", i.workflow_type.as_ref().map(|t| named(&t.name)));
            o.number("initiatedEventId", i.initiated_event_id);
            o.number("startedEventId", i.started_event_id);
            o.name("retryState", i.retry_state, i.retry_state().as_str_name(), RetryState::Unspecified as i32);
            "childWorkflowExecutionFailureInfo"
        }
        FailureInfo::NexusOperationExecutionFailureInfo(i) => {
            o.number("scheduledEventId", i.scheduled_event_id);
            o.text("endpoint", &i.endpoint);
            o.text("service", &i.service);
            o.text("operation", &i.operation);
            o.text("operationId", &i.operation_id);
            o.text("operationToken", &i.operation_token);
            "nexusOperationExecutionFailureInfo"
        }
        FailureInfo::NexusHandlerFailureInfo(i) => {
            o.text("type", &i.r#type);
            let unset = NexusHandlerErrorRetryBehavior::Unspecified as i32;
            o.name("retryBehavior", i.retry_behavior, i.retry_behavior().as_str_name(), unset);
            "nexusHandlerFailureInfo"
        }
    };
    (name, o)
}

fn named(name: &str) -> Value {
    let mut object = Object::default();
    object.text("name", name);
    object.into()
}

fn payloads(payloads: &Payloads) -> Value {
    let mut object = Object::default();
    if !payloads.payloads.is_empty() {
        object.value("payloads", payloads.payloads.iter().map(payload).collect());
    }
    object.into()
}

fn payload(payload: &Payload) -> Value {
    let mut object = Object::default();
    if !payload.metadata.is_empty() {
        let metadata = payload.metadata.iter().map(|(name, value)| (name.clone(), Value::String(base64(value))));
        object.value("metadata", Value::Object(metadata.collect()));
    }
    object.text("data", &base64(&payload.data));
    if !payload.external_payloads.is_empty() {
        let details = payload.external_payloads.iter().map(|external| {
            let mut object = Object::default();
            object.number("sizeBytes", external.size_bytes);
            Value::from(object)
        });
        object.value("externalPayloads", details.collect());
    }
    object.into()
}

/// `1.500s`: no, three, six or nine places.
fn duration(duration: &Duration) -> Value {
    let sign = if duration.seconds < 0 || duration.nanos < 0 { "-" } else { "" };
    let (seconds, nanos) = (duration.seconds.unsigned_abs(), duration.nanos.unsigned_abs());
    let text = match nanos {
        0 => format!("{sign}{seconds}s"),
        n if n % 1_000_000 == 0 => format!("{sign}{seconds}.{:03}s", n / 1_000_000),
        n if n % 1_000 == 0 => format!("{sign}{seconds}.{:06}s", n / 1_000),
        n => format!("{sign}{seconds}.{n:09}s"),
    };
    Value::String(text)
}

/// The usual alphabet, padded.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for place in 0..4 {
            let six = (bits >> (18 - 6 * place) & 63) as usize;
            out.push(if place <= chunk.len() { ALPHABET[six] as char } else { '=' });
        }
    }
    out
}

/// An object that leaves out what has its default value.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn value(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    fn some(&mut self, name: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.value(name, value);
        }
    }

    fn text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.value(name, Value::String(text.to_owned()));
        }
    }

    fn flag(&mut self, name: &str, flag: bool) {
        if flag {
            self.value(name, Value::Bool(true));
        }
    }

    /// 64-bit numbers are texts in proto3 JSON.
    fn number(&mut self, name: &str, number: i64) {
        if number != 0 {
            self.value(name, Value::String(number.to_string()));
        }
    }

    /// An enum by its name.
    fn name(&mut self, field: &str, number: i32, name: &str, unset: i32) {
        if number != unset {
            self.value(field, Value::String(name.to_owned()));
        }
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object.0)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sempre_api::v1::{
        common::ActivityType,
        failure::{ActivityFailureInfo, ApplicationFailureInfo, NexusHandlerFailureInfo, TerminatedFailureInfo},
    };

    use super::*;

    #[test]
    fn base64_of_all_lengths() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("\u{ff}", "w78=")];
        for (bytes, text) in cases {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn an_activity_failure_with_its_cause() {
        let details = Payload {
            metadata: [("encoding".to_string(), Bytes::from_static(b"json/plain"))].into(),
            data: Bytes::from_static(b"1"),
            ..Default::default()
        };
        let cause = Failure {
            message: "no".into(),
            source: "GoSDK".into(),
            stack_trace: "at x".into(),
            failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo {
                r#type: "T".into(),
                non_retryable: true,
                details: Some(Payloads { payloads: vec![details] }),
                next_retry_delay: Some(Duration { seconds: 1, nanos: 500_000_000 }),
                ..Default::default()
            })),
            ..Default::default()
        };
        let failure = Failure {
            message: "activity error".into(),
            cause: Some(Box::new(cause)),
            failure_info: Some(FailureInfo::ActivityFailureInfo(ActivityFailureInfo {
                scheduled_event_id: 5,
                activity_type: Some(ActivityType { name: "A".into() }),
                retry_state: RetryState::MaximumAttemptsReached as i32,
                ..Default::default()
            })),
            ..Default::default()
        };
        let application = json!({
            "type": "T",
            "nonRetryable": true,
            "details": { "payloads": [{ "metadata": { "encoding": "anNvbi9wbGFpbg==" }, "data": "MQ==" }] },
            "nextRetryDelay": "1.500s",
        });
        let inner = json!({ "message": "no", "source": "GoSDK", "stackTrace": "at x", "applicationFailureInfo": application });
        let expected = json!({
            "message": "activity error",
            "metadata": { "type": "temporal.api.failure.v1.Failure" },
            "details": {
                "cause": inner,
                "activityFailureInfo": {
                    "scheduledEventId": "5",
                    "activityType": { "name": "A" },
                    "retryState": "RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED",
                },
            },
            "cause": {
                "message": "no",
                "stackTrace": "at x",
                "metadata": { "type": "temporal.api.failure.v1.Failure" },
                "details": { "source": "GoSDK", "applicationFailureInfo": application },
            },
        });
        assert_eq!(nexus(&failure), expected);
    }

    #[test]
    fn encoded_attributes_of_a_handlers_failure_are_told() {
        let info = NexusHandlerFailureInfo { r#type: "INTERNAL".into(), ..Default::default() };
        let attributes = Payload {
            metadata: [("encoding".to_string(), Bytes::from_static(b"binary/encrypted"))].into(),
            data: Bytes::from_static(b"\xff\xfe"),
            ..Default::default()
        };
        let failure = Failure {
            message: "encoded failure".into(),
            encoded_attributes: Some(attributes),
            failure_info: Some(FailureInfo::NexusHandlerFailureInfo(info)),
            ..Default::default()
        };
        let told = nexus(&failure);
        let read = crate::nexus::failure::from_json(&told, 0).expect("a failure");
        assert_eq!(crate::nexus::failure::temporal(&read), Ok(failure), "{told}");
    }

    #[test]
    fn an_info_without_fields_is_there() {
        let info = FailureInfo::TerminatedFailureInfo(TerminatedFailureInfo::default());
        let failure = Failure { message: "operation terminated".into(), failure_info: Some(info), ..Default::default() };
        assert_eq!(nexus(&failure)["details"], json!({ "terminatedFailureInfo": {} }));
    }
}
