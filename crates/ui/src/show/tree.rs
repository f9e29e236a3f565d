//! Messages as nested names and values; payloads in them as payloads.

use maud::{Markup, html};
use sempre_api::{
    json::{self, Payloads},
    v1::common::Payload,
};
use serde_json::{Map, Value};

use super::one;

/// How deep a tree is shown.
const DEPTH_MAX: usize = 12;

/// A message's JSON in full form.
pub(crate) fn tree(value: &Value) -> Markup {
    node(value, 0)
}

fn node(value: &Value, depth: usize) -> Markup {
    match value {
        Value::Object(object) if depth >= DEPTH_MAX => html! { code { (Value::Object(object.clone())) } },
        Value::Object(object) => match payload(object) {
            Some(payload) => one(&payload),
            None => match object.get("payloads") {
                Some(Value::Array(all)) if object.len() == 1 => html! { @for one in all { (node(one, depth + 1)) } },
                _ => fields(object, depth),
            },
        },
        Value::Array(all) => html! { @for one in all { div.tree-item { (node(one, depth + 1)) } } },
        Value::String(text) => html! { span.text { (text) } },
        other => html! { (other) },
    }
}

fn fields(object: &Map<String, Value>, depth: usize) -> Markup {
    html! { dl.tree { @for (name, value) in object { div { dt { (spaced(name)) } dd { (node(value, depth + 1)) } } } } }
}

/// A payload by its form, which nothing else has.
fn payload(object: &Map<String, Value>) -> Option<Payload> {
    object.get("metadata")?.as_object()?.get("encoding")?.as_str()?;
    json::from_value(Value::Object(object.clone()), Payloads::Full).ok()
}

/// `workflowTaskCompletedEventId` → `Workflow task completed event id`. Names that users gave stand as they are.
fn spaced(name: &str) -> String {
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric()) || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return name.to_owned();
    }
    let mut text = String::new();
    for (at, letter) in name.chars().enumerate() {
        match letter {
            letter if at == 0 => text.extend(letter.to_uppercase()),
            letter if letter.is_ascii_uppercase() => text.extend([' ', letter.to_ascii_lowercase()]),
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_in_a_tree_are_shown_as_such() {
        // {"encoding": "json/plain"}, "<b>"
        let value = serde_json::json!({ "input": { "payloads": [{ "metadata": { "encoding": "anNvbi9wbGFpbg==" }, "data": "Ijxi PiI=".replace(' ', "") }] }, "workflowTaskId": "<7>" });
        let text = tree(&value).into_string();
        assert!(text.contains("&quot;&lt;b&gt;&quot;") && text.contains("Workflow task id") && text.contains("&lt;7&gt;"), "{text}");
    }
}
