//! Values of flags: durations, times, pairs.

use std::str::FromStr;

use sempre_api::{Duration, Timestamp};
use serde_json::Value;

/// What one unit is in nanoseconds.
const UNITS: &[(&str, f64)] =
    &[("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3_600e9), ("d", 86_400e9)];

/// The longest duration a flag may give: a hundred years.
const DURATION_MAX_SECONDS: i64 = 36_525 * 86_400;

/// `1h30m`, `1.5s`, `3d`, `250ms`: numbers with units, added up.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "it is not a duration such as 30s, 1h30m or 7d".to_owned();
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if rest == "0" {
        return Ok(Duration::default());
    }
    let mut nanos = 0_i128;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let (_, each) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let part = (number * each).round();
        if part > DURATION_MAX_SECONDS as f64 * 1e9 {
            return Err("it is longer than a hundred years".to_owned());
        }
        nanos += part as i128;
        rest = after;
    }
    if nanos > i128::from(DURATION_MAX_SECONDS) * 1_000_000_000 {
        return Err("it is longer than a hundred years".to_owned());
    }
    if negative {
        nanos = -nanos;
    }
    let part = |value: i128| i64::try_from(value).map_err(|_| wrong());
    Ok(Duration { seconds: part(nanos / 1_000_000_000)?, nanos: part(nanos % 1_000_000_000)? as i32 })
}

/// `2026-01-31T08:00:00Z`, with any offset.
pub(crate) fn parse_time(text: &str) -> Result<Timestamp, String> {
    let dated = text.len() >= 20 && text.as_bytes()[10].eq_ignore_ascii_case(&b'T');
    Timestamp::from_str(text).ok().filter(|_| dated).ok_or_else(|| "it is not a time such as 2026-01-31T08:00:00Z".to_owned())
}

/// A number of bytes, such as `1048576`, `512MiB`, `2GiB` or `1.5GB`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a number of bytes such as 512MiB or 2GiB");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (text[..digits].parse::<f64>().map_err(|_| wrong())?, text[digits..].trim());
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let bytes = number * factor as f64;
    if bytes < 9e15 { Ok(bytes as u64) } else { Err(wrong()) }
}

/// `KEY=VALUE`.
pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "it must look like KEY=VALUE".to_owned())
}

/// `KEY=JSON`.
pub(crate) fn parse_json_pair(text: &str) -> Result<(String, Value), String> {
    let (key, value) = parse_pair(text).map_err(|_| "it must look like KEY=JSON".to_owned())?;
    let value = serde_json::from_str(&value).map_err(|_| format!("the value of {key} is not JSON; put text into double quotes"))?;
    Ok((key, value))
}

/// A duration as people write it: `1d 2h`, `1m 30s`, `250ms`.
pub(crate) fn duration_text(duration: &Duration) -> String {
    let mut millis = i128::from(duration.seconds) * 1_000 + i128::from(duration.nanos / 1_000_000);
    let mut text = String::new();
    if millis < 0 {
        text.push('-');
        millis = -millis;
    }
    let mut seconds = millis / 1_000;
    let mut parts = Vec::new();
    for (unit, each) in [("d", 86_400), ("h", 3_600), ("m", 60)] {
        if seconds >= each {
            parts.push(format!("{}{unit}", seconds / each));
            seconds %= each;
        }
    }
    match (seconds, millis % 1_000) {
        (0, 0) if parts.is_empty() => parts.push("0s".to_owned()),
        (0, 0) => {}
        (0, millis) => parts.push(format!("{millis}ms")),
        (seconds, 0) => parts.push(format!("{seconds}s")),
        (seconds, millis) => parts.push(format!("{}s", format!("{seconds}.{millis:03}").trim_end_matches('0'))),
    }
    text + &parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(text: &str) -> Option<(i64, i32)> {
        parse_duration(text).ok().map(|d| (d.seconds, d.nanos))
    }

    #[test]
    fn bytes() {
        let cases = [("1048576", 1 << 20), ("512MiB", 512 << 20), ("2g", 2 << 30), ("1.5GB", 1_500_000_000), ("0", 0), ("1 KiB", 1024)];
        for (text, bytes) in cases {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1..5", "5x", "9999999TiB"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations() {
        let cases = [
            ("0", (0, 0)),
            ("10s", (10, 0)),
            ("1h30m", (5_400, 0)),
            ("1.5s", (1, 500_000_000)),
            ("250ms", (0, 250_000_000)),
            ("7d", (604_800, 0)),
            ("0.5d12h", (86_400, 0)),
            ("-1m", (-60, 0)),
            ("1us", (0, 1_000)),
        ];
        for (text, expected) in cases {
            assert_eq!(duration(text), Some(expected), "{text}");
        }
        for text in ["", "-", "5", "s", "1x", "1.2.3s", "ten", "1e3s", "200000d", "99999999999999999999999h"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn durations_as_text() {
        for (text, expected) in [
            ("0", "0s"),
            ("90s", "1m 30s"),
            ("26h", "1d 2h"),
            ("1500ms", "1.5s"),
            ("1050ms", "1.05s"),
            ("20s", "20s"),
            ("300s", "5m"),
            ("12ms", "12ms"),
            ("-5s", "-5s"),
        ] {
            assert_eq!(duration_text(&parse_duration(text).expect("a duration")), expected, "{text}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(parse_time("1970-01-01T00:01:00Z"), Ok(Timestamp { seconds: 60, nanos: 0 }));
        assert_eq!(parse_time("1970-01-01T01:00:00+01:00"), Ok(Timestamp { seconds: 0, nanos: 0 }));
        assert_eq!(parse_time("1970-01-01T00:00:00.5Z"), Ok(Timestamp { seconds: 0, nanos: 500_000_000 }));
        for text in ["", "now", "1970-01-01", "12:00", "1970-13-01T00:00:00Z"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pairs() {
        assert_eq!(parse_pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(parse_pair("a="), Ok(("a".into(), String::new())));
        assert!(parse_pair("a").is_err() && parse_pair("=b").is_err());
        assert_eq!(parse_json_pair("a=[1]"), Ok(("a".into(), serde_json::json!([1]))));
        assert_eq!(parse_json_pair("a=b"), Err("the value of a is not JSON; put text into double quotes".into()));
    }
}
