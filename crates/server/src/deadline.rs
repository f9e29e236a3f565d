//! The deadline a caller gives with `grpc-timeout`, and what polls demand of it (spec 09 §3, spec 05 §2).

use http::HeaderMap;
use sempre_core::{Refusal, Span};

/// A poll with less time than this left is refused: there would be no time to answer it.
pub(crate) const POLL_SPAN_MIN: Span = Span::seconds(2);

/// How long the caller waits; `None` when it did not say or said something else than gRPC allows.
pub(crate) fn timeout(headers: &HeaderMap) -> Option<Span> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let nanos_per_unit: i64 = match unit {
        "H" => 3_600_000_000_000,
        "M" => 60_000_000_000,
        "S" => 1_000_000_000,
        "m" => 1_000_000,
        "u" => 1_000,
        "n" => 1,
        _ => return None,
    };
    Some(Span(digits.parse::<i64>().ok()?.saturating_mul(nanos_per_unit)).min(Span::MAX))
}

/// The timeout of a long poll, which must be there and long enough.
pub(crate) fn poll_timeout(headers: &HeaderMap) -> Result<Span, Refusal> {
    match timeout(headers) {
        None => Err(Refusal::invalid("Context timeout is not set.")),
        Some(span) if span < POLL_SPAN_MIN => Err(Refusal::FailedPrecondition("Context timeout is too short.".into())),
        Some(span) => Ok(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        [(http::HeaderName::from_static("grpc-timeout"), value.parse().expect("a header"))].into_iter().collect()
    }

    #[test]
    fn every_unit() {
        let cases = [
            ("1H", Span::seconds(3600)),
            ("2M", Span::seconds(120)),
            ("70S", Span::seconds(70)),
            ("1500m", Span::millis(1500)),
            ("70000000u", Span::seconds(70)),
            ("99999999n", Span(99_999_999)),
            ("99999999H", Span::MAX),
            ("0S", Span::ZERO),
        ];
        for (text, span) in cases {
            assert_eq!(timeout(&headers(text)), Some(span), "{text}");
        }
    }

    #[test]
    fn what_grpc_does_not_allow_counts_as_not_said() {
        for text in ["", "S", "10", "10s", "-1S", "+1S", "1 S", "123456789S", "1.5S"] {
            assert_eq!(timeout(&headers(text)), None, "{text}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }

    #[test]
    fn polls_need_two_seconds() {
        let text = |result: Result<Span, Refusal>| result.expect_err("refused");
        assert_eq!(text(poll_timeout(&HeaderMap::new())), Refusal::invalid("Context timeout is not set."));
        let short = Refusal::FailedPrecondition("Context timeout is too short.".into());
        assert_eq!(text(poll_timeout(&headers("1999m"))), short);
        assert_eq!(poll_timeout(&headers("2S")), Ok(Span::seconds(2)));
    }
}
