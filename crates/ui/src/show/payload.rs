//! Payloads: as the JSON or text that they are, else with a way for the browser to have them decoded.

use maud::{Markup, html};
use sempre_api::{
    json::{self, Payloads as Form},
    v1::common::{Payload, Payloads},
};
use serde_json::Value;

/// What is shown of one payload; the JSON view of an event has all of it.
const SHOWN_BYTES_MAX: usize = 64 << 10;

/// All payloads, one below the other.
pub(crate) fn payloads(all: Option<&Payloads>) -> Markup {
    let all = all.map_or(&[][..], |all| &all.payloads);
    html! {
        @if all.is_empty() { p.muted { "None" } }
        @for payload in all { (one(payload)) }
    }
}

/// One payload.
pub(crate) fn one(payload: &Payload) -> Markup {
    let encoding = encoding(payload);
    let text = match encoding.as_str() {
        "binary/null" => Some("null".to_owned()),
        kind if kind.starts_with("json/") => pretty(&payload.data),
        _ => None,
    };
    match text {
        Some(text) => code(&text),
        None => html! {
            pre.payload.encoded data-payload=(encoded(payload)) tabindex="0" {
                (if encoding.is_empty() { "no encoding".to_owned() } else { encoding })
                ", " (super::bytes(i64::try_from(payload.data.len()).unwrap_or(i64::MAX)))
            }
        },
    }
}

/// Text in fixed width, cut if it is very long. Scrolls by the keyboard, too.
fn code(text: &str) -> Markup {
    let cut = text.floor_char_boundary(SHOWN_BYTES_MAX.min(text.len()));
    html! {
        pre.payload tabindex="0" { (text[..cut]) @if cut < text.len() { "\n…" } }
        @if cut < text.len() { p.muted { "The first " (super::bytes(cut as i64)) " of " (super::bytes(text.len() as i64)) "." } }
    }
}

fn pretty(data: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(data).ok()?;
    serde_json::to_string_pretty(&value).ok()
}

fn encoding(payload: &Payload) -> String {
    payload.metadata.get("encoding").map(|name| String::from_utf8_lossy(name).into_owned()).unwrap_or_default()
}

/// The payload as codec servers take it.
fn encoded(payload: &Payload) -> String {
    if payload.data.len() > SHOWN_BYTES_MAX * 4 {
        return String::new();
    }
    json::to_value(payload, Form::Full).to_string()
}

/// A payload in one line: a string without its quotes, other JSON as it is.
pub(crate) fn plain_text(payload: &Payload) -> String {
    match serde_json::from_slice(&payload.data) {
        Ok(Value::String(text)) => text,
        Ok(value) => value.to_string(),
        Err(_) if encoding(payload) == "binary/null" => "null".to_owned(),
        Err(_) => format!("{} ({})", encoding(payload), super::bytes(payload.data.len() as i64)),
    }
}

/// A search attribute in a cell: strings without quotes, lists with commas.
pub(crate) fn search_attribute(payload: &Payload) -> String {
    match serde_json::from_slice(&payload.data) {
        Ok(Value::Array(list)) => {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            list.iter().map(text).collect::<Vec<_>>().join(", ")
        }
        _ => plain_text(payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(encoding: &str, data: &str) -> Payload {
        Payload {
            metadata: [("encoding".to_owned(), encoding.to_owned().into())].into(),
            data: data.to_owned().into(),
            ..Default::default()
        }
    }

    #[test]
    fn json_is_shown_as_such_and_escaped() {
        let text = one(&payload("json/plain", r#"{"a":"<b>&\"x"}"#)).into_string();
        assert!(text.contains("&lt;b&gt;&amp;") && !text.contains("<b>"), "{text}");
        let text = one(&payload("binary/encrypted", "xyz")).into_string();
        assert!(text.contains("binary/encrypted, 3 B") && text.contains("data-payload"), "{text}");
        assert!(one(&payload("json/plain", "{")).into_string().contains("json/plain, 1 B"), "what is no JSON is not shown as such");
        let evil = one(&payload("\"><script>", "x")).into_string();
        assert!(!evil.contains("<script"), "{evil}");
    }

    #[test]
    fn very_long_ones_are_cut() {
        let text = one(&payload("json/plain", &format!("\"{}\"", "ä".repeat(100_000)))).into_string();
        assert!(text.len() < 140_000 && text.contains("65.5 kB of 200.0 kB"));
    }

    #[test]
    fn attributes_in_a_cell() {
        let texts = [r#"["a","b"]"#, r#""x""#, "3", "true"].map(|data| search_attribute(&payload("json/plain", data)));
        assert_eq!(texts, ["a, b", "x", "3", "true"]);
    }
}
