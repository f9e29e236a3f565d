//! Payloads and small values of forms, as people write them.

use sempre_api::{
    Duration,
    json::{Payloads as Form, from_value},
    v1::common::{Payload, Payloads},
};
use serde_json::Value;

use crate::visit::Problem;

/// Payloads from a text field: one JSON value, or several below each other. An empty field is no payload.
pub(crate) fn input(text: &str) -> Result<Option<Payloads>, Problem> {
    let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter::<Value>().collect();
    let values = values.map_err(|error| {
        Problem::invalid(format!(
            "The input is not JSON: {error}. Write one JSON value for each argument, below each other; texts stand in quotes."
        ))
    })?;
    Ok((!values.is_empty()).then(|| Payloads { payloads: values.iter().map(payload).collect() }))
}

/// Payloads as a codec server made them, in JSON of the messages.
pub(crate) fn encoded(text: &str) -> Result<Payloads, Problem> {
    let refuse = |error: String| Problem::invalid(format!("What the codec server made of the input cannot be read: {error}"));
    let value: Value = serde_json::from_str(text).map_err(|error| refuse(error.to_string()))?;
    from_value(value, Form::Full).map_err(|error| refuse(error.to_string()))
}

/// JSON as a payload.
pub(crate) fn payload(value: &Value) -> Payload {
    let metadata = [("encoding".to_owned(), "json/plain".into())].into();
    Payload { metadata, data: value.to_string().into(), ..Payload::default() }
}

/// Payloads as a text field takes them again; `None` where one of them is not JSON.
pub(crate) fn as_input(payloads: Option<&Payloads>) -> Option<String> {
    let all = payloads.map_or(&[][..], |payloads| &payloads.payloads);
    let texts: Option<Vec<String>> = all
        .iter()
        .map(|payload| match payload.metadata.get("encoding").map(|encoding| &encoding[..]) {
            Some(b"json/plain") => serde_json::to_string_pretty(&serde_json::from_slice::<Value>(&payload.data).ok()?).ok(),
            Some(b"binary/null") => Some("null".to_owned()),
            _ => None,
        })
        .collect();
    texts.map(|texts| texts.join("\n"))
}

/// A length of time as people write it: `90`, `90s`, `1h30m`, `500ms`. An empty field is none.
pub(crate) fn duration(text: &str) -> Result<Option<Duration>, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let refuse = || Problem::invalid(format!("{text:?} is not a length of time; write it like 90s, 1h30m or 500ms."));
    let (mut rest, mut total) = (text, 0_i64);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let number: i64 = rest[..digits].parse().map_err(|_| refuse())?;
        let letters = rest[digits..].find(|letter: char| letter.is_ascii_digit() || letter == ' ').unwrap_or(rest.len() - digits);
        let factor = match &rest[digits..digits + letters] {
            "ms" => 1,
            "s" | "" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refuse()),
        };
        total = number.checked_mul(factor).and_then(|part| total.checked_add(part)).ok_or_else(refuse)?;
        rest = rest[digits + letters..].trim_start();
    }
    Ok(Some(Duration { seconds: total / 1000, nanos: i32::try_from(total % 1000).unwrap_or_default() * 1_000_000 }))
}

/// As [`duration`] reads it.
pub(crate) fn written(length: Option<&Duration>) -> String {
    let Some(length) = length.filter(|length| length.seconds > 0 || length.nanos > 0) else { return String::new() };
    let millis = length.nanos / 1_000_000;
    let units = [
        (length.seconds / 86_400, "d"),
        (length.seconds / 3600 % 24, "h"),
        (length.seconds / 60 % 60, "m"),
        (length.seconds % 60, "s"),
        (i64::from(millis), "ms"),
    ];
    units.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_json_one_below_the_other() {
        let both = input("{\"a\": 1}\n\"x\"").unwrap().unwrap();
        assert_eq!(both.payloads.iter().map(|p| p.data.clone()).collect::<Vec<_>>(), [r#"{"a":1}"#, r#""x""#]);
        assert!(input(" \n").unwrap().is_none());
        assert!(input("hello").unwrap_err().0.message().contains("texts stand in quotes"));
        assert_eq!(input(&as_input(Some(&both)).unwrap()).unwrap().unwrap(), both);
        let binary = Payloads { payloads: vec![Payload { data: "x".into(), ..Payload::default() }] };
        assert_eq!((as_input(Some(&binary)), as_input(None).as_deref()), (None, Some("")));
    }

    #[test]
    fn what_a_codec_server_made_is_taken_as_it_is() {
        let made = encoded(r#"{"payloads": [{"metadata": {"encoding": "YmluYXJ5L2VuY3J5cHRlZA=="}, "data": "AP8="}, {}]}"#).unwrap();
        assert_eq!(made.payloads[0].metadata["encoding"], "binary/encrypted");
        assert_eq!(made.payloads[0].data, [0, 255].as_slice());
        assert_eq!(made.payloads[1], Payload::default());
        for text in ["x", "[]", r#"{"payloads": [{"data": "no base64!"}]}"#] {
            assert!(encoded(text).unwrap_err().0.message().contains("cannot be read"), "{text}");
        }
    }

    #[test]
    fn lengths_of_time() {
        let read = |text: &str| duration(text).unwrap().unwrap();
        assert_eq!(read("90"), Duration { seconds: 90, nanos: 0 });
        assert_eq!(read("1h30m"), Duration { seconds: 5400, nanos: 0 });
        assert_eq!(read("1s 500ms"), Duration { seconds: 1, nanos: 500_000_000 });
        assert_eq!(written(Some(&read("1d2h500ms"))), "1d2h500ms");
        assert!(duration("").unwrap().is_none());
        for text in ["x", "-1s", "1y", "99999999999999999999s", "9999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
