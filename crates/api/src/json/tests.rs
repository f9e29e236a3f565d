use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::{
    Duration, History, Timestamp,
    v1::{
        common::{Memo, Payload, Payloads as PayloadList, RetryPolicy, WorkflowType},
        enums::EventType,
        history::{HistoryEvent, WorkflowExecutionSignaledEventAttributes, history_event::Attributes},
        workflow::WorkflowExecutionInfo,
        workflowservice::{GetWorkflowExecutionHistoryResponse, StartWorkflowExecutionRequest},
    },
};

fn payload(encoding: &'static str, data: &'static str) -> Payload {
    Payload {
        metadata: [("encoding".to_owned(), Bytes::from_static(encoding.as_bytes()))].into(),
        data: Bytes::from_static(data.as_bytes()),
        ..Default::default()
    }
}

fn start(input: Vec<Payload>) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest { input: Some(PayloadList { payloads: input }), ..Default::default() }
}

#[test]
fn names_numbers_times_and_enums() {
    let info = WorkflowExecutionInfo {
        r#type: Some(WorkflowType { name: "Order".into() }),
        start_time: Some(Timestamp { seconds: 1_500_000_000, nanos: 250_000_000 }),
        status: 2,
        history_length: 11,
        ..Default::default()
    };
    let value = to_value(&info, Payloads::Full);
    let expected = json!({
        "type": { "name": "Order" },
        "startTime": "2017-07-14T02:40:00.250Z",
        "status": "WORKFLOW_EXECUTION_STATUS_COMPLETED",
        "historyLength": "11",
    });
    assert_eq!(value, expected);
    assert_eq!(from_value::<WorkflowExecutionInfo>(value, Payloads::Full).expect("its own JSON"), info);
    let policy = RetryPolicy { initial_interval: Some(Duration { seconds: 1, nanos: 500_000_000 }), ..Default::default() };
    assert_eq!(to_value(&policy, Payloads::Full), json!({ "initialInterval": "1.500s" }));
}

#[test]
fn fields_come_in_the_order_of_their_numbers() {
    let text = to_value(&start(vec![]), Payloads::Full).to_string();
    assert_eq!(text, r#"{"input":{}}"#);
    let info = WorkflowExecutionInfo { task_queue: "q".into(), status: 1, history_length: 3, ..Default::default() };
    let text = to_value(&info, Payloads::Full).to_string();
    assert_eq!(text, r#"{"status":"WORKFLOW_EXECUTION_STATUS_RUNNING","historyLength":"3","taskQueue":"q"}"#);
}

#[test]
fn payloads_in_short() {
    let message = start(vec![payload("json/plain", r#"{"a":1}"#), payload("binary/null", ""), payload("json/plain", "\"x\"")]);
    let value = to_value(&message, Payloads::Shorthand);
    assert_eq!(value, json!({ "input": [{ "a": 1 }, null, "x"] }));
    let back: StartWorkflowExecutionRequest = from_value(value, Payloads::Shorthand).expect("its own JSON");
    assert_eq!(back, message);
}

#[test]
fn payloads_of_other_encodings_stay_whole_and_keep_their_neighbours_whole() {
    let message = start(vec![payload("json/plain", "1"), payload("binary/plain", "\u{0}")]);
    let full = to_value(&message, Payloads::Full);
    assert_eq!(to_value(&message, Payloads::Shorthand), full);
    assert_eq!(full["input"]["payloads"][1]["data"], "AA==");
    assert_eq!(from_value::<StartWorkflowExecutionRequest>(full, Payloads::Shorthand).expect("its own JSON"), message);
    // What says that it is JSON and is not.
    let odd = start(vec![payload("json/plain", "{")]);
    assert_eq!(to_value(&odd, Payloads::Shorthand), to_value(&odd, Payloads::Full));
}

#[test]
fn payloads_in_maps_and_messages_of_protobuf_in_short() {
    let mut message = payload("json/protobuf", r#"{"name":"n"}"#);
    message.metadata.insert("messageType".into(), Bytes::from_static(b"a.B"));
    let memo = Memo { fields: [("k".to_owned(), message), ("l".to_owned(), payload("json/plain", "[1]"))].into() };
    let value = to_value(&memo, Payloads::Shorthand);
    assert_eq!(value, json!({ "fields": { "k": { "name": "n", "_protoMessageType": "a.B" }, "l": [1] } }));
    assert_eq!(from_value::<Memo>(value, Payloads::Shorthand).expect("its own JSON"), memo);
}

#[test]
fn a_history_is_read_as_sdks_wrote_it_once() {
    let attributes = WorkflowExecutionSignaledEventAttributes { signal_name: "go".into(), ..Default::default() };
    let event = HistoryEvent {
        event_id: 4,
        event_type: EventType::WorkflowExecutionSignaled as i32,
        attributes: Some(Attributes::WorkflowExecutionSignaledEventAttributes(attributes)),
        ..Default::default()
    };
    let answer = GetWorkflowExecutionHistoryResponse { history: Some(History::from_events([&event])), ..Default::default() };
    let value = to_value(&answer, Payloads::Full);
    assert_eq!(value["history"]["events"][0]["workflowExecutionSignaledEventAttributes"]["signalName"], "go");
    let old = json!({ "events": [{
        "eventId": "4",
        "eventType": "WorkflowExecutionSignaled",
        "workflowExecutionSignaledEventAttributes": { "signalName": "go" },
        "fieldOfTomorrow": 1,
    }] });
    let read: History = from_value(old, Payloads::Full).expect("a history");
    assert_eq!(read.events().expect("events"), [event]);
}

#[test]
fn what_is_not_the_message_is_said_so() {
    let wrong = from_value::<WorkflowType>(json!({ "name": 5 }), Payloads::Full).expect_err("a number is no name");
    assert!(wrong.to_string().contains("expected a string"), "{wrong}");
    // A name of tomorrow is passed over like a field of tomorrow.
    let newer = from_value::<WorkflowExecutionInfo>(json!({ "status": "NO_SUCH_STATUS" }), Payloads::Full);
    assert_eq!(newer.expect("a message").status, 0);
}

#[test]
fn fields_by_the_names_of_the_protos_are_read_in_short_too() {
    let value = json!({ "workflow_type": { "name": "T" }, "search_attributes": { "indexed_fields": { "K": "v" } }, "input": [1] });
    let read: StartWorkflowExecutionRequest = from_value(value, Payloads::Shorthand).expect("a start");
    let attributes = read.search_attributes.expect("search attributes").indexed_fields;
    assert_eq!(attributes.get("K"), Some(&payload("json/plain", "\"v\"")));
    assert_eq!(read.input.map(|input| input.payloads), Some(vec![payload("json/plain", "1")]));
}

#[test]
fn unknown_fields_are_refused_where_that_is_asked_for() {
    let descriptor = descriptors().get_message_by_name("temporal.api.common.v1.WorkflowType").expect("it is there");
    let read = |unknown| dynamic_from_value(descriptor.clone(), json!({ "name": "T", "nom": "T" }), Payloads::Full, unknown);
    assert!(read(UnknownFields::Ignored).is_ok());
    assert!(read(UnknownFields::Refused).expect_err("refused").to_string().contains("nom"));
}

#[test]
fn payloads_in_short_are_counted_before_they_are_made() {
    let read = |value| from_value::<StartWorkflowExecutionRequest>(value, Payloads::Shorthand);
    let many = |count: usize| json!({ "input": vec![1; count] });
    // Exact enough: what is let through is no larger than a message over gRPC may be, but for some bytes of each payload.
    assert_eq!(read(many(100_000)).expect("it fits").input.map(|input| input.payloads.len()), Some(100_000));
    let refused = read(many(200_000)).expect_err("refused").to_string();
    assert_eq!(refused, "its payloads have more than 4194304 bytes");
    // All of a message count together, wherever they are.
    let fields = |count: usize| (0..count).map(|at| (at.to_string(), json!(null))).collect::<serde_json::Map<_, _>>();
    let spread = json!({ "input": vec![1; 100_000], "memo": { "fields": fields(50_000) } });
    assert!(read(spread).is_err());
    let large = json!({ "input": ["x".repeat(4 << 20)] });
    assert!(read(large).is_err());
}

#[test]
fn what_json_has_no_form_for_is_left_out() {
    let late = Timestamp { seconds: 400_000_000_000, nanos: 0 };
    let info = WorkflowExecutionInfo { task_queue: "q".into(), start_time: Some(late), ..Default::default() };
    assert_eq!(to_value(&info, Payloads::Full), json!({ "taskQueue": "q" }));
    let event = |time| HistoryEvent { event_id: 1, event_time: Some(time), ..Default::default() };
    let answer = GetWorkflowExecutionHistoryResponse {
        history: Some(History::from_events([&event(late), &event(Timestamp { seconds: 1, nanos: 0 })])),
        next_page_token: Bytes::from_static(b"t"),
        ..Default::default()
    };
    let expected = json!({
        "history": { "events": [{ "eventId": "1" }, { "eventId": "1", "eventTime": "1970-01-01T00:00:01Z" }] },
        "nextPageToken": "dA==",
    });
    assert_eq!(to_value(&answer, Payloads::Full), expected);
    let unknown = prost_types::Any { type_url: "type.googleapis.com/no.such.Type".into(), value: vec![8, 1] };
    let known = prost_types::Any { type_url: "type.googleapis.com/google.protobuf.Duration".into(), value: vec![8, 1] };
    let status = crate::google::rpc::Status { code: 5, message: "m".into(), details: vec![unknown, known] };
    let value = to_value(&status, Payloads::Full);
    assert_eq!((&value["code"], value["details"].as_array().map(Vec::len)), (&json!(5), Some(1)), "{value}");
}
