//! Times as people read them.

use sempre_api::Timestamp;

use crate::cli::flags::TimeFormat;

const UNITS: &[(&str, i64)] =
    &[("year", 31_536_000), ("month", 2_592_000), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)];

/// The time in the wanted form; nothing for a time that is not set.
pub(crate) fn text(time: Option<&Timestamp>, format: TimeFormat, now_millis: i64) -> String {
    let Some(time) = time else { return String::new() };
    match format {
        TimeFormat::Relative => relative(time.seconds - now_millis.div_euclid(1_000)),
        TimeFormat::Iso => Timestamp { seconds: time.seconds, nanos: 0 }.to_string(),
        TimeFormat::Raw => time.to_string(),
    }
}

/// `2 hours ago` or `2 hours from now`, by the largest unit that fits.
fn relative(seconds: i64) -> String {
    let away = seconds.saturating_abs();
    let Some((unit, each)) = UNITS.iter().find(|(_, each)| away >= *each) else { return "now".to_owned() };
    let count = away / each;
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural} {}", if seconds < 0 { "ago" } else { "from now" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_three_forms() {
        let time = Timestamp { seconds: 100, nanos: 500_000_000 };
        let told = |format, now_seconds: i64| text(Some(&time), format, now_seconds * 1_000);
        assert_eq!(told(TimeFormat::Relative, 100), "now");
        assert_eq!(told(TimeFormat::Relative, 101), "1 second ago");
        assert_eq!(told(TimeFormat::Relative, 40), "1 minute from now");
        assert_eq!(told(TimeFormat::Relative, 100 + 2 * 86_400 + 5), "2 days ago");
        assert_eq!(told(TimeFormat::Iso, 0), "1970-01-01T00:01:40Z");
        assert_eq!(told(TimeFormat::Raw, 0), "1970-01-01T00:01:40.500Z");
        assert_eq!(text(None, TimeFormat::Iso, 0), "");
    }
}
