//! When a schedule acts: flags into a specification, and a specification into words.

use clap::Args;
use sempre_api::{
    Duration, Timestamp,
    json::{self, Payloads},
    v1::schedule::{CalendarSpec, IntervalSpec, Range, ScheduleSpec, StructuredCalendarSpec},
};

use crate::cli::values;

/// When, and under which conditions, a schedule acts.
#[derive(Args, Clone, Debug)]
pub(super) struct Configuration {
    /// Calendar as JSON, such as {"dayOfWeek":"Fri","hour":"17","minute":"5"}; may be given several times
    #[arg(long, value_name = "JSON", value_parser = parse_calendar)]
    calendar: Vec<CalendarSpec>,
    /// How late an action may still be taken
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    pub(super) catchup_window: Option<Duration>,
    /// Cron expression, such as "30 12 * * Fri"; may be given several times
    #[arg(long, value_name = "EXPRESSION")]
    cron: Vec<String>,
    /// Not after this time
    #[arg(long, value_name = "TIME", value_parser = values::parse_time)]
    end_time: Option<Timestamp>,
    /// Interval, such as 90m or 60m/15m for a quarter past each hour; may be given several times
    #[arg(long, value_name = "DURATION", value_parser = parse_interval)]
    interval: Vec<IntervalSpec>,
    /// Longest random delay of an action
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    jitter: Option<Duration>,
    /// Notes
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) notes: String,
    /// Make it paused
    #[arg(long)]
    pub(super) paused: bool,
    /// Pause it after a workflow that failed
    #[arg(long)]
    pub(super) pause_on_failure: bool,
    /// Take so many actions; 0 is no limit
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    pub(super) remaining_actions: i64,
    /// Not before this time
    #[arg(long, value_name = "TIME", value_parser = values::parse_time)]
    start_time: Option<Timestamp>,
    /// Time zone of calendars and cron expressions, such as Europe/Berlin
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    time_zone: String,
}

impl Configuration {
    pub(super) fn spec(&self) -> ScheduleSpec {
        ScheduleSpec {
            cron_string: self.cron.clone(),
            calendar: self.calendar.clone(),
            interval: self.interval.clone(),
            start_time: self.start_time,
            end_time: self.end_time,
            jitter: self.jitter,
            timezone_name: self.time_zone.clone(),
            ..ScheduleSpec::default()
        }
    }
}

fn parse_calendar(text: &str) -> Result<CalendarSpec, String> {
    let value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    json::from_value(value, Payloads::Full).map_err(|error| format!("it is not a calendar: {error}"))
}

/// `every` or `every/offset`.
fn parse_interval(text: &str) -> Result<IntervalSpec, String> {
    let (every, offset) = match text.split_once('/') {
        Some((every, offset)) => (every, Some(values::parse_duration(offset)?)),
        None => (text, None),
    };
    Ok(IntervalSpec { interval: Some(values::parse_duration(every)?), phase: offset })
}

/// Each part of a specification in a few words.
pub(super) fn words(spec: &ScheduleSpec) -> Vec<String> {
    let mut words: Vec<String> = spec.structured_calendar.iter().map(calendar_words).collect();
    words.extend(spec.cron_string.iter().map(|cron| format!("cron {cron}")));
    words.extend(spec.interval.iter().map(|interval| {
        let every = interval.interval.as_ref().map(values::duration_text).unwrap_or_default();
        match interval.phase.as_ref().filter(|phase| phase.seconds != 0 || phase.nanos != 0) {
            Some(phase) => format!("every {every}, {} after", values::duration_text(phase)),
            None => format!("every {every}"),
        }
    }));
    words
}

fn calendar_words(spec: &StructuredCalendarSpec) -> String {
    let part = |name: &str, ranges: &[Range]| (!ranges.is_empty()).then(|| format!("{name} {}", ranges_words(ranges)));
    let parts = [
        part("year", &spec.year),
        part("month", &spec.month),
        part("day", &spec.day_of_month),
        part("weekday", &spec.day_of_week),
        part("hour", &spec.hour),
        part("minute", &spec.minute),
        part("second", &spec.second),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// `1-5/2,7`.
fn ranges_words(ranges: &[Range]) -> String {
    let words = ranges.iter().map(|range| {
        let mut text = range.start.to_string();
        if range.end > range.start {
            text += &format!("-{}", range.end);
            if range.step > 1 {
                text += &format!("/{}", range.step);
            }
        }
        text
    });
    words.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        let parsed = parse_interval("60m/15m").expect("an interval");
        assert_eq!((parsed.interval.map(|d| d.seconds), parsed.phase.map(|d| d.seconds)), (Some(3_600), Some(900)));
        assert!(parse_interval("60m/15m/1m").is_err() && parse_interval("/").is_err());
    }

    #[test]
    fn calendars_are_json() {
        let parsed = parse_calendar(r#"{"dayOfWeek":"Fri","hour":"17"}"#).expect("a calendar");
        assert_eq!((parsed.day_of_week.as_str(), parsed.hour.as_str()), ("Fri", "17"));
        assert!(parse_calendar("Fri").unwrap_err().starts_with("it is not JSON"));
        assert!(parse_calendar("[]").unwrap_err().starts_with("it is not a calendar"));
    }

    #[test]
    fn a_specification_in_words() {
        let range = |start, end, step| vec![Range { start, end, step }];
        let calendar = StructuredCalendarSpec { hour: range(9, 17, 2), minute: range(5, 5, 1), ..Default::default() };
        let interval = parse_interval("90m/1m").expect("an interval");
        let spec = ScheduleSpec { structured_calendar: vec![calendar], interval: vec![interval], ..Default::default() };
        assert_eq!(words(&spec), ["hour 9-17/2, minute 5", "every 1h 30m, 1m after"]);
    }
}
