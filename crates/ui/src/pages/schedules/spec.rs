//! When a schedule acts, as people read and write it.

use sempre_api::{
    json::{self, Payloads},
    v1::schedule::{IntervalSpec, Range, ScheduleSpec, StructuredCalendarSpec},
};

use crate::{
    json::{duration, written},
    visit::Problem,
};

/// Each rule in a line.
pub(crate) fn text(spec: &ScheduleSpec) -> Vec<String> {
    let calendars = spec.structured_calendar.iter().map(|calendar| match calendar.comment.as_str() {
        "" => cron(calendar),
        comment => format!("{} ({comment})", cron(calendar)),
    });
    let intervals = spec.interval.iter().map(|interval| match written(interval.phase.as_ref()).as_str() {
        "" => format!("every {}", written(interval.interval.as_ref())),
        phase => format!("every {}, {phase} after", written(interval.interval.as_ref())),
    });
    let excluded = spec.exclude_structured_calendar.iter().map(|calendar| format!("not {}", cron(calendar)));
    spec.cron_string.iter().cloned().chain(calendars).chain(intervals).chain(excluded).collect()
}

/// A calendar in the form of cron, with the year behind it where it counts.
fn cron(calendar: &StructuredCalendarSpec) -> String {
    let field = |ranges: &[Range], first: i32, last: i32| -> String {
        let all = |range: &Range| range.start <= first && range.end.max(range.start) >= last && range.step <= 1;
        if ranges.iter().any(all) {
            return "*".into();
        }
        let one = |range: &Range| {
            let span = if range.end > range.start { format!("{}-{}", range.start, range.end) } else { range.start.to_string() };
            if range.step > 1 { format!("{span}/{}", range.step) } else { span }
        };
        ranges.iter().map(one).collect::<Vec<_>>().join(",")
    };
    let mut parts = vec![
        field(&calendar.minute, 0, 59),
        field(&calendar.hour, 0, 23),
        field(&calendar.day_of_month, 1, 31),
        field(&calendar.month, 1, 12),
        field(&calendar.day_of_week, 0, 6),
    ];
    let second = field(&calendar.second, 0, 59);
    if second != "0" {
        parts.insert(0, format!("second {second} of"));
    }
    if !calendar.year.is_empty() {
        parts.push(field(&calendar.year, 0, i32::MAX));
    }
    parts.join(" ")
}

/// Intervals from lines such as `1h` or `1h/10m`.
pub(crate) fn intervals(text: &str) -> Result<Vec<IntervalSpec>, Problem> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let read = |line: &str| {
        let (every, phase) = line.split_once('/').unwrap_or((line, ""));
        Ok(IntervalSpec { interval: duration(every)?, phase: duration(phase)? })
    };
    lines.map(read).collect()
}

/// As [`intervals`] reads them.
pub(crate) fn intervals_text(spec: &ScheduleSpec) -> String {
    let line = |interval: &IntervalSpec| match written(interval.phase.as_ref()).as_str() {
        "" => written(interval.interval.as_ref()),
        phase => format!("{}/{phase}", written(interval.interval.as_ref())),
    };
    spec.interval.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Calendars from lines of JSON.
pub(crate) fn calendars(text: &str) -> Result<Vec<StructuredCalendarSpec>, Problem> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let read = |line: &str| {
        let value = serde_json::from_str(line).map_err(|error| Problem::invalid(format!("The calendar {line} is not JSON: {error}")))?;
        json::from_value(value, Payloads::Full).map_err(|error| Problem::invalid(format!("{line} is not a calendar: {error}")))
    };
    lines.map(read).collect()
}

/// As [`calendars`] reads them.
pub(crate) fn calendars_text(spec: &ScheduleSpec) -> String {
    spec.structured_calendar.iter().map(|calendar| json::to_value(calendar, Payloads::Full).to_string()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: i32, end: i32, step: i32) -> Vec<Range> {
        vec![Range { start, end, step }]
    }

    #[test]
    fn rules_are_read_as_they_are_written() {
        let calendar = StructuredCalendarSpec {
            second: range(0, 0, 1),
            minute: range(30, 0, 0),
            hour: range(9, 17, 2),
            day_of_month: range(1, 31, 1),
            month: range(1, 12, 1),
            day_of_week: range(1, 5, 1),
            ..Default::default()
        };
        let spec =
            ScheduleSpec { structured_calendar: vec![calendar], interval: intervals("1h/10m\n\n90s").unwrap(), ..Default::default() };
        assert_eq!(text(&spec), ["30 9-17/2 * * 1-5", "every 1h, 10m after", "every 1m30s"]);
        assert_eq!(intervals_text(&spec), "1h/10m\n1m30s");
        assert_eq!(calendars(&calendars_text(&spec)).unwrap(), spec.structured_calendar);
        assert!(calendars("{").is_err() && calendars("[]").is_err() && intervals("soon").is_err());
    }
}
