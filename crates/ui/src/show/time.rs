//! Times in the viewer's zone with relative ages; lengths of time and sizes.

use jiff::{Timestamp, tz::TimeZone};
use maud::{Markup, html};

/// How times stand in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeStyle {
    /// As ages; the full time is told by a tip.
    Relative,
    /// In full, in the viewer's zone.
    Local,
    /// In full, in UTC.
    Utc,
}

impl TimeStyle {
    pub(crate) const ALL: [(Self, &'static str, &'static str); 3] =
        [(Self::Relative, "relative", "Ages"), (Self::Local, "local", "Local time"), (Self::Utc, "utc", "UTC")];

    pub(crate) fn parse(text: &str) -> Self {
        Self::ALL.iter().find(|(_, name, _)| *name == text).map_or(Self::Relative, |(style, _, _)| *style)
    }
}

/// Writes times for one viewer.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    pub(crate) now: Timestamp,
    pub(crate) zone: TimeZone,
    /// The browser has said what its zone is.
    pub(crate) zone_is_known: bool,
    pub(crate) style: TimeStyle,
}

impl Times {
    /// A time, as the viewer wants times; a dash where there is none.
    pub(crate) fn show(&self, at: Option<&sempre_api::Timestamp>) -> Markup {
        self.written(at, self.style)
    }

    /// A time in full, with its age.
    pub(crate) fn full(&self, at: Option<&sempre_api::Timestamp>) -> Markup {
        let style = if self.style == TimeStyle::Utc { TimeStyle::Utc } else { TimeStyle::Local };
        html! {
            (self.written(at, style))
            @if at.is_some() { " " span.muted { "(" (self.written(at, TimeStyle::Relative)) ")" } }
        }
    }

    fn written(&self, at: Option<&sempre_api::Timestamp>, style: TimeStyle) -> Markup {
        let Some(at) = at.and_then(timestamp) else { return html! { span.muted { "–" } } };
        let full = self.absolute(at, style == TimeStyle::Utc);
        let (kind, text) = match style {
            TimeStyle::Relative => ("relative", self.age(at)),
            TimeStyle::Local => ("local", full.clone()),
            TimeStyle::Utc => ("utc", full.clone()),
        };
        html! { time datetime=(at.to_string()) data-style=(kind) title=(full) { (text) } }
    }

    /// `2026-03-01 09:30:00 UTC+01:00`, as text.
    pub(crate) fn text(&self, at: Option<&sempre_api::Timestamp>) -> String {
        at.and_then(timestamp)
            .map_or_else(|| "at an unknown time".to_owned(), |at| format!("at {}", self.absolute(at, self.style == TimeStyle::Utc)))
    }

    fn absolute(&self, at: Timestamp, utc: bool) -> String {
        let zone = if utc { TimeZone::UTC } else { self.zone.clone() };
        let zoned = at.to_zoned(zone);
        let offset = zoned.offset().seconds() / 60;
        let name = match (offset, offset % 60) {
            (0, _) => "UTC".to_owned(),
            (offset, 0) => format!("UTC{:+}", offset / 60),
            (offset, rest) => format!("UTC{:+}:{:02}", offset / 60, rest.abs()),
        };
        format!("{} {name}", zoned.strftime("%Y-%m-%d %H:%M:%S"))
    }

    /// `3m ago`, `in 2h`; the script writes the same.
    pub(crate) fn age(&self, at: Timestamp) -> String {
        let seconds = self.now.as_second() - at.as_second();
        let length = length(seconds.abs());
        match seconds {
            0 => "now".to_owned(),
            1.. => format!("{length} ago"),
            _ => format!("in {length}"),
        }
    }
}

/// The largest unit that fits, and nothing below it.
fn length(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        86_400..31_536_000 => format!("{}d", seconds / 86_400),
        _ => format!("{}y", seconds / 31_536_000),
    }
}

/// A time of the API as one to reckon with; `None` for those beyond reckoning.
pub(crate) fn timestamp(at: &sempre_api::Timestamp) -> Option<Timestamp> {
    Timestamp::new(at.seconds, at.nanos).ok()
}

/// Milliseconds since 1970.
pub(crate) fn millis(at: &sempre_api::Timestamp) -> i64 {
    at.seconds.saturating_mul(1000).saturating_add(i64::from(at.nanos) / 1_000_000)
}

/// `1h 30m`, `250ms`; a dash for none.
pub(crate) fn duration(length: Option<&sempre_api::Duration>) -> String {
    let Some(length) = length else { return "–".to_owned() };
    let (seconds, millis) = (length.seconds, i64::from(length.nanos) / 1_000_000);
    if seconds == 0 {
        return if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") };
    }
    if seconds < 10 && millis > 0 {
        return format!("{seconds}.{:01}s", millis / 100);
    }
    let units = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let parts: Vec<String> = units.iter().filter(|(n, _)| *n > 0).take(2).map(|(n, unit)| format!("{n}{unit}")).collect();
    parts.join(" ")
}

/// `1.2 MB`.
pub(crate) fn bytes(count: i64) -> String {
    let (mut value, mut unit) = (count as f64, "B");
    for next in ["kB", "MB", "GB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(zone: &str) -> Times {
        let zone = TimeZone::get(zone).expect("a zone");
        Times { now: Timestamp::from_second(1_000_000).expect("a time"), zone, zone_is_known: true, style: TimeStyle::Relative }
    }

    #[test]
    fn times_stand_in_the_viewers_zone() {
        let at = sempre_api::Timestamp { seconds: 1_000_000 - 180, nanos: 0 };
        let shown = times("Europe/Berlin").show(Some(&at)).into_string();
        assert!(shown.contains(">3m ago<") && shown.contains("1970-01-12 14:43:40 UTC+1"), "{shown}");
        assert!(times("Asia/Kolkata").show(Some(&at)).into_string().contains("19:13:40 UTC+5:30"));
        assert!(times("UTC").full(Some(&at)).into_string().contains("13:43:40 UTC<"));
        assert!(times("UTC").show(None).into_string().contains('–'));
        // Beyond all reckoning.
        assert!(times("UTC").show(Some(&sempre_api::Timestamp { seconds: i64::MAX, nanos: 0 })).into_string().contains('–'));
    }

    #[test]
    fn ages_and_lengths() {
        let times = times("UTC");
        let age = |seconds: i64| times.age(Timestamp::from_second(1_000_000 - seconds).expect("a time"));
        assert_eq!([0, 59, 61, 7200, 90_000, -30].map(age), ["now", "59s ago", "1m ago", "2h ago", "1d ago", "in 30s"]);
        let of = |seconds, nanos| duration(Some(&sempre_api::Duration { seconds, nanos }));
        assert_eq!(
            [of(0, 250_000_000), of(1, 500_000_000), of(5400, 0), of(90_061, 0), of(0, 0)],
            ["250ms", "1.5s", "1h 30m", "1d 1h", "0s"]
        );
        assert_eq!([999, 1500, 2_000_000].map(bytes), ["999 B", "1.5 kB", "2.0 MB"]);
    }
}
