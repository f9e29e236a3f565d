//! Calendars as text, and cron strings: into structured calendars and intervals (spec 07 §2.1).

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use sempre_api::v1::schedule::{CalendarSpec, IntervalSpec, Range, StructuredCalendarSpec};

use crate::Span;

/// Years that a calendar may name.
pub const YEARS: core::ops::RangeInclusive<i32> = 2000..=2100;

/// Several time zones in one spec.
pub const CONFLICTING_ZONES: &str = "conflicting timezone names";

const MONTHS: [&str; 12] =
    ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// One field of a calendar.
struct Field {
    name: &'static str,
    min: i32,
    max: i32,
    default: &'static str,
    /// Names of values, the number of the first, and how many letters make one.
    names: (&'static [&'static str], i32, usize),
}

const NO_NAMES: (&[&str], i32, usize) = (&[], 0, 0);
const SECOND: Field = Field { name: "Second", min: 0, max: 59, default: "0", names: NO_NAMES };
const MINUTE: Field = Field { name: "Minute", min: 0, max: 59, default: "0", names: NO_NAMES };
const HOUR: Field = Field { name: "Hour", min: 0, max: 23, default: "0", names: NO_NAMES };
const DAY_OF_MONTH: Field = Field { name: "DayOfMonth", min: 1, max: 31, default: "*", names: NO_NAMES };
const MONTH: Field = Field { name: "Month", min: 1, max: 12, default: "*", names: (&MONTHS, 1, 3) };
const YEAR: Field = Field { name: "Year", min: *YEARS.start(), max: *YEARS.end(), default: "*", names: NO_NAMES };
/// 7 is Sunday too.
const DAY_OF_WEEK: Field = Field { name: "DayOfWeek", min: 0, max: 7, default: "*", names: (&WEEKDAYS, 0, 2) };

impl Field {
    fn value(&self, text: &str, min: i32) -> Option<i32> {
        let (names, first, letters) = self.names;
        let named = (!names.is_empty() && text.len() >= letters).then(|| text.to_ascii_lowercase());
        let named = named.and_then(|text| names.iter().position(|name| name.starts_with(&text))).map(|at| at as i32 + first);
        named.or_else(|| text.parse().ok()).filter(|value| (min..=self.max).contains(value))
    }

    /// The ranges of one field; single values and steps of one are written short.
    fn ranges(&self, text: &str) -> Result<Vec<Range>, String> {
        let (name, min, max) = (self.name, self.min, self.max);
        let text = if text.trim().is_empty() { self.default } else { text.trim() };
        if text == "*" && name == YEAR.name {
            return Ok(Vec::new());
        }
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let mut halves = part.split('/');
            let range = halves.next().unwrap_or_default();
            let step = halves.next();
            if halves.next().is_some() {
                return Err(format!("{name} has too many slashes"));
            }
            let by = step.map_or(Some(1), |step| step.parse::<i32>().ok().filter(|by| *by >= 1));
            let by = by.ok_or_else(|| format!("{name} has invalid Step"))?;
            let mut ends = range.split('-');
            let (start, end) = match (range, ends.next(), ends.next(), ends.next()) {
                ("*", ..) => (min, max),
                (_, Some(start), Some(end), None) => {
                    let start = self.value(start, min).ok_or_else(|| format!("{name} Start is not in range [{min}-{max}]"))?;
                    let end = self.value(end, start);
                    (start, end.ok_or_else(|| format!("{name} End is before Start or not in range [{min}-{max}]"))?)
                }
                (_, _, Some(_), Some(_)) => return Err(format!("{name} has too many dashes")),
                _ => {
                    let start = self.value(range, min).ok_or_else(|| format!("{name} is not in range [{min}-{max}]"))?;
                    (start, if step.is_some() { max } else { start })
                }
            };
            push(&mut ranges, start, end, by, max == 7);
        }
        Ok(ranges)
    }
}

/// Adds a range; of weekdays, Sunday as 7 becomes 0.
fn push(ranges: &mut Vec<Range>, mut start: i32, mut end: i32, step: i32, weekdays: bool) {
    if weekdays && end == 7 {
        if step == 1 && start <= 1 {
            start = 0;
        } else if (7 - start) % step == 0 {
            ranges.push(Range::default());
        }
        if start == 7 {
            return;
        }
        end = 6;
    }
    ranges.push(Range { start, end: if end == start { 0 } else { end }, step: if step == 1 { 0 } else { step } });
}

/// A calendar of text fields as a structured one.
pub(super) fn calendar(calendar: &CalendarSpec) -> Result<StructuredCalendarSpec, String> {
    let mut wrong = Vec::new();
    let mut ranges = |field: &Field, text: &str| field.ranges(text).map_err(|text| wrong.push(text)).unwrap_or_default();
    let structured = StructuredCalendarSpec {
        second: ranges(&SECOND, &calendar.second),
        minute: ranges(&MINUTE, &calendar.minute),
        hour: ranges(&HOUR, &calendar.hour),
        day_of_week: ranges(&DAY_OF_WEEK, &calendar.day_of_week),
        day_of_month: ranges(&DAY_OF_MONTH, &calendar.day_of_month),
        month: ranges(&MONTH, &calendar.month),
        year: ranges(&YEAR, &calendar.year),
        comment: calendar.comment.clone(),
    };
    if wrong.is_empty() { Ok(structured) } else { Err(wrong.join(", ")) }
}

/// What a cron string says.
pub(super) enum Cron {
    Calendar(StructuredCalendarSpec),
    Interval(IntervalSpec),
}

/// A cron string, and the name of its time zone.
pub(super) fn cron(text: &str) -> Result<(Cron, Option<String>), String> {
    let mut text = text.trim();
    let mut zone = None;
    if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
        let (prefix, rest) = text.split_once([' ', '\t']).ok_or("CronString has time zone but missing fields")?;
        zone = prefix.split_once('=').map(|(_, name)| name.to_string());
        text = rest;
    }
    let (text, comment) = text.split_once('#').unwrap_or((text, ""));
    let text = text.trim();
    if let Some(every) = text.strip_prefix("@every") {
        // An interval knows no zone: one that was named means nothing, as if it were not there.
        return Ok((Cron::Interval(interval(every.trim())?), None));
    }
    let text = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other => other,
    };
    let fields: Vec<&str> = text.split_whitespace().collect();
    let (second, five, year) = match fields[..] {
        [ref five @ .., year] if five.len() == 5 => ("", five, year),
        [second, ref five @ .., year] if five.len() == 5 => (second, five, year),
        ref five if five.len() == 5 => ("", five, ""),
        _ => return Err("CronString does not have 5-7 fields".into()),
    };
    let calendar_spec = CalendarSpec {
        second: second.into(),
        minute: five[0].into(),
        hour: five[1].into(),
        day_of_month: five[2].into(),
        month: five[3].into(),
        day_of_week: five[4].into(),
        year: year.into(),
        comment: comment.trim().into(),
    };
    Ok((Cron::Calendar(calendar(&calendar_spec)?), zone))
}

/// `<interval>` or `<interval>/<phase>`.
fn interval(text: &str) -> Result<IntervalSpec, String> {
    if text.is_empty() {
        return Err("CronString does not have interval after @every".into());
    }
    let (interval, phase) = text.split_once('/').map_or((text, None), |(interval, phase)| (interval, Some(phase)));
    let read = |text: &str| duration(text.trim()).ok_or_else(|| format!("time: invalid duration \"{}\"", text.trim()));
    Ok(IntervalSpec { interval: Some(read(interval)?.to_api()), phase: phase.map(read).transpose()?.map(Span::to_api) })
}

/// A duration such as `90s`, `1h30m`, `1.5h` or `2d`.
fn duration(text: &str) -> Option<Span> {
    // With the nanoseconds of each; longer names first.
    const UNITS: [(&str, i64); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ];
    let mut rest = text;
    let mut total = 0_i64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, unit) = rest.split_at(digits);
        let (name, nanos) = UNITS.iter().find(|(name, _)| unit.starts_with(name))?;
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if number.is_empty() || part.contains('.') {
            return None;
        }
        let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(*nanos)?)?;
        let mut digit_worth = *nanos;
        for digit in part.bytes() {
            digit_worth /= 10;
            total = total.checked_add(digit_worth * i64::from(digit - b'0'))?;
        }
        rest = &unit[name.len()..];
    }
    Some(Span(total))
}

/// Checks a structured calendar.
pub(super) fn check_structured(calendar: &StructuredCalendarSpec) -> Result<(), String> {
    let mut wrong = Vec::new();
    let weekdays = Field { max: 6, ..DAY_OF_WEEK };
    let fields = [
        (&SECOND, &calendar.second),
        (&MINUTE, &calendar.minute),
        (&HOUR, &calendar.hour),
        (&DAY_OF_MONTH, &calendar.day_of_month),
        (&MONTH, &calendar.month),
        (&YEAR, &calendar.year),
        (&weekdays, &calendar.day_of_week),
    ];
    for (Field { name, min, max, .. }, ranges) in fields {
        for range in ranges {
            if !(*min..=*max).contains(&range.start) {
                wrong.push(format!("{name} Start is not in range [{min}-{max}]"));
            }
            if range.end != 0 && !(range.start..=*max).contains(&range.end) {
                wrong.push(format!("{name} End is before Start or not in range [{min}-{max}]"));
            }
            if range.step < 0 {
                wrong.push(format!("{name} has invalid Step"));
            }
        }
    }
    if calendar.comment.len() > super::COMMENT_BYTES_MAX {
        wrong.push("comment is too long".into());
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("invalid calendar spec: {}", wrong.join(", "))) }
}

/// The values of a field, in the order they are given.
pub(super) fn values(ranges: &[Range]) -> impl Iterator<Item = i32> + '_ {
    ranges.iter().flat_map(|range| (range.start..=range.end.max(range.start)).step_by(range.step.max(1) as usize))
}

/// A calendar that matches every second.
#[cfg(test)]
pub(super) fn every_second() -> StructuredCalendarSpec {
    let star = "*".to_string();
    calendar(&CalendarSpec { second: star.clone(), minute: star.clone(), hour: star, ..Default::default() }).expect("valid")
}

#[cfg(test)]
pub(super) fn range(start: i32, end: i32, step: i32) -> Vec<Range> {
    alloc::vec![Range { start, end, step }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values_of(field: &Field, text: &str) -> Vec<i32> {
        let ranges = field.ranges(text).expect("valid");
        let mut all: Vec<i32> = values(&ranges).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn fields() {
        assert_eq!(values_of(&HOUR, ""), [0]);
        assert_eq!(values_of(&HOUR, "*/7"), [0, 7, 14, 21]);
        assert_eq!(values_of(&HOUR, "20/2"), [20, 22]);
        assert_eq!(values_of(&HOUR, "1-5/2,8-16/3,2"), [1, 2, 3, 5, 8, 11, 14]);
        assert_eq!(values_of(&MONTH, "jan,Decem,MAR-5"), [1, 3, 4, 5, 12]);
        assert_eq!(values_of(&DAY_OF_WEEK, "mo,FRI-sat"), [1, 5, 6]);
        assert_eq!(values_of(&DAY_OF_WEEK, "7"), [0]);
        assert_eq!(values_of(&DAY_OF_WEEK, "0-7"), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(values_of(&DAY_OF_WEEK, "1-7"), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(values_of(&DAY_OF_WEEK, "3-7"), [0, 3, 4, 5, 6]);
        assert_eq!(values_of(&DAY_OF_WEEK, "3-7/3"), [3, 6]);
        assert_eq!(values_of(&DAY_OF_WEEK, "1-7/2"), [0, 1, 3, 5]);
        assert_eq!(YEAR.ranges("*"), Ok(Vec::new()));
        assert_eq!(HOUR.ranges("3,4-4,5-6,*/2"), Ok([range(3, 0, 0), range(4, 0, 0), range(5, 6, 0), range(0, 23, 2)].concat()));
    }

    #[test]
    fn texts_of_refused_fields() {
        let cases = [
            (&HOUR, "24", "Hour is not in range [0-23]"),
            (&HOUR, "x", "Hour is not in range [0-23]"),
            (&HOUR, "-1", "Hour Start is not in range [0-23]"),
            (&MINUTE, "70-80", "Minute Start is not in range [0-59]"),
            (&MINUTE, "20-10", "Minute End is before Start or not in range [0-59]"),
            (&MINUTE, "1-2-3", "Minute has too many dashes"),
            (&MINUTE, "1/2/3", "Minute has too many slashes"),
            (&MINUTE, "*/0", "Minute has invalid Step"),
            (&MINUTE, "*/x", "Minute has invalid Step"),
            (&YEAR, "1999", "Year is not in range [2000-2100]"),
            (&DAY_OF_WEEK, "8", "DayOfWeek is not in range [0-7]"),
            (&MONTH, "ja", "Month is not in range [1-12]"),
        ];
        for (field, text, expected) in cases {
            assert_eq!(field.ranges(text), Err(expected.to_string()), "{text}");
        }
        let wrong = CalendarSpec { hour: "25".into(), month: "13".into(), ..Default::default() };
        assert_eq!(calendar(&wrong), Err("Hour is not in range [0-23], Month is not in range [1-12]".into()));
    }

    #[test]
    fn texts_of_refused_structured_calendars() {
        let checked = |change: fn(&mut StructuredCalendarSpec)| {
            let mut calendar = every_second();
            change(&mut calendar);
            check_structured(&calendar).expect_err("refused")
        };
        assert_eq!(checked(|c| c.day_of_week = range(7, 0, 0)), "invalid calendar spec: DayOfWeek Start is not in range [0-6]");
        assert_eq!(
            checked(|c| c.hour = range(5, 3, -1)),
            "invalid calendar spec: Hour End is before Start or not in range [0-23], Hour has invalid Step"
        );
        assert_eq!(checked(|c| c.comment = "x".repeat(201)), "invalid calendar spec: comment is too long");
    }

    fn text_of(cron_text: &str) -> String {
        cron(cron_text).err().unwrap_or_default()
    }

    #[test]
    fn cron_strings() {
        let Ok((Cron::Calendar(c), zone)) = cron("CRON_TZ=Europe/Berlin 5 12 * * mon # lunch ") else { panic!("a calendar") };
        assert_eq!(zone.as_deref(), Some("Europe/Berlin"));
        assert_eq!((c.second, c.minute, c.hour), (range(0, 0, 0), range(5, 0, 0), range(12, 0, 0)));
        assert_eq!((c.day_of_month, c.month, c.day_of_week, c.year), (range(1, 31, 0), range(1, 12, 0), range(1, 0, 0), Vec::new()));
        assert_eq!(c.comment, "lunch");
        let Ok((Cron::Calendar(c), None)) = cron("1 2 3 4 5 2030") else { panic!("a calendar") };
        assert_eq!((c.minute, c.year), (range(1, 0, 0), range(2030, 0, 0)));
        let Ok((Cron::Calendar(c), None)) = cron("9 1 2 3 4 5 2030") else { panic!("a calendar") };
        assert_eq!((c.second, c.day_of_week), (range(9, 0, 0), range(5, 0, 0)));
        let Ok((Cron::Calendar(c), None)) = cron("@weekly") else { panic!("a calendar") };
        assert_eq!(c.day_of_week, range(0, 0, 0));
        let Ok((Cron::Interval(i), None)) = cron("@every 1h30m/5m") else { panic!("an interval") };
        assert_eq!((i.interval, i.phase), (Some(Span::seconds(5400).to_api()), Some(Span::seconds(300).to_api())));
        let Ok((Cron::Interval(i), None)) = cron("@every 2d") else { panic!("an interval") };
        assert_eq!((i.interval, i.phase), (Some(Span::seconds(172_800).to_api()), None));
        assert_eq!(text_of("* * * *"), "CronString does not have 5-7 fields");
        assert_eq!(text_of("* * * * * * * *"), "CronString does not have 5-7 fields");
        assert_eq!(text_of("hello"), "CronString does not have 5-7 fields");
        assert_eq!(text_of("TZ=UTC"), "CronString has time zone but missing fields");
        assert_eq!(text_of("@every"), "CronString does not have interval after @every");
        assert_eq!(text_of("@every 30"), "time: invalid duration \"30\"");
        assert_eq!(text_of("0 25 * * *"), "Hour is not in range [0-23]");
    }

    #[test]
    fn durations() {
        let cases = [
            ("90s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("250ms", Some(250)),
            ("1h2m3s", Some(3_723_000)),
            ("1", None),
            ("x", None),
            ("1..5s", None),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text), millis.map(Span::millis), "{text}");
        }
    }
}
