//! What a message has no JSON for is left out, so that the rest of it can be told.

use prost_reflect::{DynamicMessage, Kind, ReflectMessage, SerializeOptions, Value as Field};
use serde_json::{Map, Value};

/// The message as standard JSON. Fields, and elements of lists and maps, that JSON has no form for are left out: times
/// outside of the years 1 to 9999, durations beyond 10,000 years, an `Any` of an unknown type.
pub(super) fn to_value(message: &DynamicMessage) -> Value {
    written(message).or_else(|| written(&trimmed(message)?)).unwrap_or_else(|| Value::Object(Map::new()))
}

fn written(message: &DynamicMessage) -> Option<Value> {
    message.serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new()).ok()
}

/// The message without what cannot be written. `None`: that is all of it.
fn trimmed(message: &DynamicMessage) -> Option<DynamicMessage> {
    if written(message).is_some() {
        return Some(message.clone());
    }
    // Messages with a form of their own are whole or not at all.
    if message.descriptor().full_name().starts_with("google.protobuf.") {
        return None;
    }
    let mut kept = DynamicMessage::new(message.descriptor());
    for (field, value) in message.fields() {
        let of_messages = match field.kind() {
            Kind::Message(of) if field.is_map() => matches!(of.map_entry_value_field().kind(), Kind::Message(_)),
            Kind::Message(_) => true,
            _ => false,
        };
        let value = if of_messages { part(value) } else { Some(value.clone()) };
        if let Some(value) = value {
            kept.set_field(&field, value);
        }
    }
    Some(kept)
}

fn part(value: &Field) -> Option<Field> {
    match value {
        Field::Message(message) => trimmed(message).map(Field::Message),
        Field::List(list) => Some(Field::List(list.iter().filter_map(part).collect())),
        Field::Map(map) => Some(Field::Map(map.iter().filter_map(|(key, value)| Some((key.clone(), part(value)?))).collect())),
        other => Some(other.clone()),
    }
}
