//! What of a message may be written down: not what users have put into it, nor what proves who somebody is.

use sempre_api::json::reflect::{DynamicMessage, FieldDescriptor, Kind, Value};

/// Messages that hold users' data or what is sent to others with it.
const LEFT_OUT: [&str; 9] = [
    "temporal.api.common.v1.Payload",
    "temporal.api.common.v1.Payloads",
    "temporal.api.common.v1.Header",
    "temporal.api.common.v1.Memo",
    "temporal.api.common.v1.SearchAttributes",
    "temporal.api.common.v1.Callback",
    "temporal.api.common.v1.DataBlob",
    "temporal.api.failure.v1.Failure",
    "temporal.api.sdk.v1.UserMetadata",
];
/// Fields, whatever they hold.
const FIELDS_LEFT_OUT: [&str; 5] = ["secret", "header", "nexus_header", "callback_header", "task_token"];

/// Takes out of a message what must not be written down.
pub(super) fn redact(message: &mut DynamicMessage) {
    let fields: Vec<FieldDescriptor> = message.fields().map(|(field, _)| field).collect();
    for field in fields {
        if is_left_out(&field) {
            message.clear_field(&field);
            continue;
        }
        let url = ["temporal.api.nexus.v1.EndpointTarget.External.url", "sempre.v1.AlertWebhook.url"].contains(&field.full_name());
        match message.get_field_mut(&field) {
            Value::Message(inner) => redact(inner),
            Value::List(all) => all.iter_mut().for_each(within),
            Value::Map(all) => all.values_mut().for_each(within),
            Value::String(text) if url => *text = without_password(text),
            _ => {}
        }
    }
}

fn within(value: &mut Value) {
    if let Value::Message(inner) = value {
        redact(inner);
    }
}

fn is_left_out(field: &FieldDescriptor) -> bool {
    let kind = match field.kind() {
        Kind::Message(entry) if field.is_map() => entry.map_entry_value_field().kind(),
        kind => kind,
    };
    FIELDS_LEFT_OUT.contains(&field.name()) || kind.as_message().is_some_and(|message| LEFT_OUT.contains(&message.full_name()))
}

/// A URL without the user and password in it, and without its query, which can be a key as well.
fn without_password(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(url, _)| url);
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_what_is_secret() {
        assert_eq!(without_password("https://me:pass@host:1/a/b?key=x"), "https://host:1/a/b");
        assert_eq!(without_password("http://host"), "http://host");
        assert_eq!(without_password("http://host/a@b"), "http://host/a@b");
    }
}
