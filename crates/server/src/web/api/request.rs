//! The message that a request over HTTP stands for: its body, the fields in its path, the rest from its query.

use std::collections::HashMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sempre_api::json::{
    self, Payloads, UnknownFields,
    reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value},
};
use serde_json::Value as Json;
use tonic::Status;

use super::routes::Compiled;

/// Builds the request of a route. Refuses with INVALID_ARGUMENT.
pub(crate) fn build(
    route: &Compiled,
    in_path: Vec<(&'static str, String)>,
    query: &[(String, String)],
    body: &[u8],
    payloads: Payloads,
) -> Result<DynamicMessage, Status> {
    let mut message = match (route.route.body, route.body_field()) {
        ("*", _) => body_message(&route.input, body, payloads)?,
        (_, Some(field)) => {
            let mut message = DynamicMessage::new(route.input.clone());
            if let Kind::Message(of) = field.kind() {
                message.set_field(&field, Value::Message(body_message(&of, body, payloads)?));
            }
            message
        }
        _ => DynamicMessage::new(route.input.clone()),
    };
    for (path, value) in in_path {
        let path: Vec<&str> = path.split('.').collect();
        set(&mut message, &path, &[&value])?;
    }
    if route.route.body != "*" {
        for (name, values) in grouped(query) {
            let path: Vec<&str> = name.split('.').collect();
            if !is_taken(route, &path) {
                set(&mut message, &path, &values)?;
            }
        }
    }
    Ok(message)
}

fn invalid(text: impl Into<String>) -> Status {
    Status::invalid_argument(text)
}

fn body_message(descriptor: &MessageDescriptor, body: &[u8], payloads: Payloads) -> Result<DynamicMessage, Status> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(DynamicMessage::new(descriptor.clone()));
    }
    let value: Json = serde_json::from_slice(body).map_err(|error| invalid(format!("the body is not JSON: {error}")))?;
    if !value.is_object() && !descriptor.full_name().starts_with("google.protobuf.") {
        return Err(invalid("the body is not a JSON object"));
    }
    json::dynamic_from_value(descriptor.clone(), value, payloads, UnknownFields::Refused)
        .map_err(|error| invalid(format!("the body is not a {}: {error}", descriptor.name())))
}

/// The values of each name, in order. `map[key]=value` is `map` with two values.
fn grouped(query: &[(String, String)]) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    let mut places: HashMap<(&str, Option<&str>), usize> = HashMap::new();
    for (name, value) in query {
        let (name, key) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
            Some((name, key)) => (name, Some(key)),
            None => (name.as_str(), None),
        };
        match places.get(&(name, key)) {
            Some(place) => groups[*place].1.push(value),
            None => {
                places.insert((name, key), groups.len());
                groups.push((name, key.into_iter().chain([value.as_str()]).collect()));
            }
        }
    }
    groups
}

/// True for what the path or the body says already.
fn is_taken(route: &Compiled, path: &[&str]) -> bool {
    let mut of = Some(route.input.clone());
    let names: Vec<String> = path
        .iter()
        .map(|name| {
            let field = of.as_ref().and_then(|of| field(of, name));
            of = field.as_ref().and_then(|field| field.kind().as_message().cloned());
            field.map_or_else(|| (*name).to_owned(), |field| field.name().to_owned())
        })
        .collect();
    let begins_with = |taken: &str| taken.split('.').count() <= names.len() && taken.split('.').zip(&names).all(|(a, b)| a == b);
    route.path_fields().any(begins_with) || route.body_field().is_some_and(|field| begins_with(field.name()))
}

fn field(of: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    of.get_field_by_name(name).or_else(|| of.get_field_by_json_name(name))
}

/// Sets a field, by the path of names that leads to it. What the message does not have is passed over.
fn set(message: &mut DynamicMessage, path: &[&str], values: &[&str]) -> Result<(), Status> {
    use sempre_api::json::reflect::ReflectMessage;
    let Some((name, rest)) = path.split_first() else { return Ok(()) };
    let Some(field) = field(&message.descriptor(), name) else { return Ok(()) };
    if let Some(oneof) = field.containing_oneof().filter(|oneof| !oneof.is_synthetic())
        && oneof.fields().any(|other| message.has_field(&other) && (other != field || field.kind().as_message().is_none()))
    {
        return Err(invalid(format!("field already set for oneof {:?}", oneof.name())));
    }
    if !rest.is_empty() {
        if field.cardinality() == sempre_api::json::reflect::Cardinality::Repeated {
            return Err(invalid(format!("invalid path: {name:?} is not a message")));
        }
        return match message.get_field_mut(&field) {
            Value::Message(inner) => set(inner, rest, values),
            _ => Err(invalid(format!("invalid path: {name:?} is not a message"))),
        };
    }
    if field.is_map() {
        return set_entry(message, &field, values);
    }
    let parsed = |value: &&str| {
        let kind = if field.is_list() { "list" } else { "field" };
        parse(&field.kind(), value).map_err(|why| invalid(format!("parsing {kind} {:?}: {why}", field.name())))
    };
    if field.is_list() {
        let more: Vec<Value> = values.iter().map(parsed).collect::<Result<_, _>>()?;
        if let Value::List(list) = message.get_field_mut(&field) {
            list.extend(more);
        }
        return Ok(());
    }
    match values {
        [value] => message.set_field(&field, parsed(value)?),
        _ => return Err(invalid(format!("too many values for field {:?}: {}", field.name(), values.join(", ")))),
    }
    Ok(())
}

fn set_entry(message: &mut DynamicMessage, field: &FieldDescriptor, values: &[&str]) -> Result<(), Status> {
    let Kind::Message(entry) = field.kind() else { return Ok(()) };
    let [key, value] = values else {
        return Err(invalid(format!("map {:?} needs one value for each key, as {}[KEY]=VALUE", field.full_name(), field.name())));
    };
    let failed = |why: String| invalid(format!("parsing map {:?}: {why}", field.full_name()));
    let (of_key, of_value) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
    let key = parse(&of_key, key).map_err(failed)?;
    let value = parse(&of_value, value).map_err(failed)?;
    let key = match key {
        Value::Bool(key) => MapKey::Bool(key),
        Value::I32(key) => MapKey::I32(key),
        Value::I64(key) => MapKey::I64(key),
        Value::U32(key) => MapKey::U32(key),
        Value::U64(key) => MapKey::U64(key),
        Value::String(key) => MapKey::String(key),
        _ => return Err(invalid(format!("map {:?} cannot be set by a query", field.full_name()))),
    };
    if let Value::Map(map) = message.get_field_mut(field) {
        map.insert(key, value);
    }
    Ok(())
}

/// One value out of its text.
fn parse(kind: &Kind, text: &str) -> Result<Value, String> {
    let number = |error: std::num::ParseIntError| format!("{text:?} is not a number that fits: {error}");
    let float = |error: std::num::ParseFloatError| format!("{text:?} is not a number: {error}");
    Ok(match kind {
        Kind::Bool => match text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Value::Bool(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Value::Bool(false),
            _ => return Err(format!("{text:?} is neither true nor false")),
        },
        Kind::Enum(of) => {
            let by_number = || text.parse().ok().and_then(|number| of.get_value(number));
            let value = of.get_value_by_name(text).or_else(by_number).ok_or_else(|| format!("{text:?} is not a valid value"))?;
            Value::EnumNumber(value.number())
        }
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(text.parse().map_err(number)?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(text.parse().map_err(number)?),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(text.parse().map_err(number)?),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(text.parse().map_err(number)?),
        Kind::Float => Value::F32(text.parse().map_err(float)?),
        Kind::Double => Value::F64(text.parse().map_err(float)?),
        Kind::String => Value::String(text.to_owned()),
        Kind::Bytes => {
            // The alphabet of URLs as well, padded or not.
            let plain = text.replace('-', "+").replace('_', "/");
            let padded = format!("{}{}", plain.trim_end_matches('='), ["", "", "==", "="][plain.trim_end_matches('=').len() % 4]);
            Value::Bytes(BASE64_STANDARD.decode(padded).map_err(|error| format!("{text:?} is not base64: {error}"))?.into())
        }
        Kind::Message(of) => {
            // Times, spans, masks and wrappers have a text in JSON; other messages have none.
            let plain = match of.full_name() {
                "google.protobuf.Timestamp"
                | "google.protobuf.FieldMask"
                | "google.protobuf.StringValue"
                | "google.protobuf.BytesValue" => Json::String(text.to_owned()),
                "google.protobuf.Duration" => Json::String(seconds(text)),
                "google.protobuf.BoolValue" => Json::Bool(text == "true"),
                name if name.starts_with("google.protobuf.") && name.ends_with("Value") => {
                    serde_json::from_str(text).map_err(|error| error.to_string())?
                }
                name => return Err(format!("unsupported message type: {name:?}")),
            };
            let message = json::dynamic_from_value(of.clone(), plain, Payloads::Full, UnknownFields::Refused);
            Value::Message(message.map_err(|error| error.to_string())?)
        }
    })
}

/// `1m30s`, as other tools write spans in queries, as the seconds of JSON; anything else as it is.
fn seconds(text: &str) -> String {
    match crate::dynamic::parse_span(text) {
        Some(span) if !text.ends_with('s') || text.bytes().filter(u8::is_ascii_alphabetic).count() > 1 => {
            format!("{}.{:09}s", span.0 / 1_000_000_000, span.0 % 1_000_000_000)
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use sempre_api::json::Payloads;
    use serde_json::json;

    use super::{
        super::routes::{Found, Routes, query_pairs},
        *,
    };

    fn built(verb: &str, target: &str, body: &str) -> Result<Json, String> {
        let routes = Routes::new();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let Found::Route(route, fields) = routes.find(verb, path) else { panic!("{verb} {path}") };
        let query = query_pairs(query).expect("a query");
        match build(route, fields, &query, body.as_bytes(), Payloads::Shorthand) {
            Ok(message) => Ok(json::dynamic_to_value(&message, Payloads::Shorthand)),
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::InvalidArgument);
                Err(status.message().to_owned())
            }
        }
    }

    #[test]
    fn path_body_and_query_come_together() {
        let start =
            built("POST", "/api/v1/namespaces/n/workflows/w", r#"{"workflowType":{"name":"T"},"input":[{"a":1}],"workflowId":"other"}"#);
        let expected = json!({ "namespace": "n", "workflowId": "w", "workflowType": { "name": "T" }, "input": [{ "a": 1 }] });
        assert_eq!(start, Ok(expected));
        let list =
            built("GET", "/api/v1/namespaces/n/workflows?query=A%3D%271%27+or+B%3D2&pageSize=7&next_page_token=AQI&namespace=x&pretty", "");
        let expected = json!({ "namespace": "n", "pageSize": 7, "nextPageToken": "AQI=", "query": "A='1' or B=2" });
        assert_eq!(list, Ok(expected));
        let target = "/api/v1/namespaces/n/workflows/w/history?execution.runId=r&execution.workflowId=x&waitNewEvent=true\
            &historyEventFilterType=HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT";
        let expected = json!({
            "namespace": "n",
            "execution": { "workflowId": "w", "runId": "r" },
            "waitNewEvent": true,
            "historyEventFilterType": "HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT",
        });
        assert_eq!(built("GET", target, ""), Ok(expected));
        assert_eq!(
            built("POST", "/api/v1/namespaces/n/workflows/w/cancel", ""),
            Ok(json!({ "namespace": "n", "workflowExecution": { "workflowId": "w" } }))
        );
    }

    #[test]
    fn every_kind_of_value_is_read_from_a_query() {
        let target = "/api/v1/namespaces/n/schedules/s/matching-times?startTime=2020-01-01T00:00:00Z";
        let expected = json!({ "namespace": "n", "scheduleId": "s", "startTime": "2020-01-01T00:00:00Z" });
        assert_eq!(built("GET", target, ""), Ok(expected));
        let cases = [("90s", "90s"), ("1m30s", "90.000000000s"), ("300ms", "0.300000000s"), ("2h", "7200.000000000s"), ("x", "x")];
        for (text, expected) in cases {
            assert_eq!(seconds(text), expected);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_name() {
        let list = |query: &str| built("GET", &format!("/api/v1/namespaces/n/workflows?{query}"), "").expect_err("refused");
        assert!(list("pageSize=x").starts_with("parsing field \"page_size\": "), "{}", list("pageSize=x"));
        assert_eq!(list("query=a&query=b"), "too many values for field \"query\": a, b");
        assert!(list("nextPageToken=!").starts_with("parsing field \"next_page_token\": "));
        assert_eq!(built("GET", "/api/v1/namespaces/n/workflows?noSuchField=1", ""), Ok(json!({ "namespace": "n" })));
        let start = |body: &str| built("POST", "/api/v1/namespaces/n/workflows/w", body).expect_err("refused");
        assert!(start("{").starts_with("the body is not JSON: "));
        assert_eq!(start("[]"), "the body is not a JSON object");
        assert!(start(r#"{"nom":1}"#).starts_with("the body is not a StartWorkflowExecutionRequest: "), "{}", start(r#"{"nom":1}"#));
        assert!(start(r#"{"workflowType":5}"#).starts_with("the body is not a StartWorkflowExecutionRequest: "));
    }
}
