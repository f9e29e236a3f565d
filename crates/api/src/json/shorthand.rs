//! Payloads as the JSON they hold.

use base64::{Engine, prelude::BASE64_STANDARD};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use super::NotThatMessage;

pub(super) const PAYLOAD: &str = "temporal.api.common.v1.Payload";
pub(super) const PAYLOADS: &str = "temporal.api.common.v1.Payloads";
/// Bytes that the payloads in short of one JSON may have as messages, all together: the largest message over gRPC.
const SHORT_BYTES_MAX: usize = 4 << 20;
/// What a payload has besides its data, at least: the name of its encoding, and lengths.
const PAYLOAD_BYTES_MIN: usize = 28;
/// Names the type of a protobuf message in shorthand.
const MESSAGE_TYPE: &str = "_protoMessageType";

/// Puts every payload inside `value`, which is JSON of a message of `descriptor`, into its short form where it has one.
pub(super) fn shorten(descriptor: &MessageDescriptor, value: &mut Value) {
    match descriptor.full_name() {
        PAYLOAD => {
            if let Some(short) = short_form(value) {
                *value = short;
            }
        }
        PAYLOADS => {
            let all: Option<Vec<Value>> = match value.get("payloads").and_then(Value::as_array) {
                Some(payloads) => payloads.iter().map(short_form).collect(),
                None => Some(Vec::new()),
            };
            // All or none, so that the form of one does not depend on its place.
            if let Some(all) = all {
                *value = Value::Array(all);
            }
        }
        _ => each_message(descriptor, value, &mut shorten),
    }
}

/// Goes through the messages that are fields of a message.
pub(super) fn each_message(descriptor: &MessageDescriptor, value: &mut Value, visit: &mut dyn FnMut(&MessageDescriptor, &mut Value)) {
    let Value::Object(object) = value else { return };
    for field in descriptor.fields() {
        let Some(value) = field_of(object, &field) else { continue };
        if field.is_map() {
            let Kind::Message(entry) = field.kind() else { continue };
            if let (Kind::Message(of), Value::Object(map)) = (entry.map_entry_value_field().kind(), value) {
                map.values_mut().for_each(|value| visit(&of, value));
            }
        } else if let Kind::Message(of) = field.kind() {
            match value {
                Value::Array(list) if field.is_list() => list.iter_mut().for_each(|value| visit(&of, value)),
                value => visit(&of, value),
            }
        }
    }
}

/// A field's value, by either of its names.
pub(super) fn field_of<'v>(object: &'v mut Map<String, Value>, field: &FieldDescriptor) -> Option<&'v mut Value> {
    let name = if object.contains_key(field.json_name()) { field.json_name() } else { field.name() };
    object.get_mut(name)
}

/// `None`: the payload has no short form, or would lose something by it.
fn short_form(payload: &Value) -> Option<Value> {
    let metadata = payload.get("metadata")?.as_object()?;
    let text = |name: &str| String::from_utf8(BASE64_STANDARD.decode(metadata.get(name)?.as_str()?).ok()?).ok();
    let data = || BASE64_STANDARD.decode(payload.get("data").and_then(Value::as_str).unwrap_or_default()).ok();
    match (text("encoding")?.as_str(), metadata.len()) {
        ("binary/null", 1) => Some(Value::Null),
        ("json/plain", 1) => serde_json::from_slice(&data()?).ok(),
        ("json/protobuf", 2) => {
            let kind = text("messageType")?;
            let mut object: Map<String, Value> = serde_json::from_slice(&data()?).ok()?;
            object.insert(MESSAGE_TYPE.to_owned(), Value::String(kind));
            Some(Value::Object(object))
        }
        _ => None,
    }
}

/// Bytes that payloads in short may still have.
pub(super) struct Room(usize);

impl Default for Room {
    fn default() -> Self {
        Self(SHORT_BYTES_MAX)
    }
}

impl Room {
    fn take(&mut self, bytes: usize) -> Result<(), NotThatMessage> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(|| NotThatMessage(format!("its payloads have more than {SHORT_BYTES_MAX} bytes")))?;
        Ok(())
    }
}

/// The payload that a short form stands for; a full form is left as it is.
pub(super) fn long_form(value: &mut Value, room: &mut Room) -> Result<(), NotThatMessage> {
    if value.as_object().is_some_and(|object| !object.is_empty() && object.keys().all(|key| key == "metadata" || key == "data")) {
        return Ok(());
    }
    room.take(PAYLOAD_BYTES_MIN + if value.is_null() { 0 } else { text_bytes(value) })?;
    let encoded = |text: &str| BASE64_STANDARD.encode(text);
    *value = match value.take() {
        Value::Null => json!({ "metadata": { "encoding": encoded("binary/null") } }),
        Value::Object(mut object) => match object.get(MESSAGE_TYPE).and_then(Value::as_str).map(str::to_owned) {
            Some(kind) => {
                object.remove(MESSAGE_TYPE);
                let metadata = json!({ "encoding": encoded("json/protobuf"), "messageType": encoded(&kind) });
                json!({ "metadata": metadata, "data": encoded(&Value::Object(object).to_string()) })
            }
            None => plain(&Value::Object(object)),
        },
        other => plain(&other),
    };
    Ok(())
}

/// Bytes of a value's JSON, which is not made.
fn text_bytes(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Neither a value nor counting can fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

fn plain(value: &Value) -> Value {
    json!({ "metadata": { "encoding": BASE64_STANDARD.encode("json/plain") }, "data": BASE64_STANDARD.encode(value.to_string()) })
}
