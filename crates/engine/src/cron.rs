//! Cron expressions (spec 01 §9): five fields, `@every`, `@hourly` …, with `CRON_TZ=` or `TZ=` before.
//!
//! Fields are bit sets; days are searched in local time, and each local time is turned into the instants
//! it names: none in the gap of a clock put forward, two when a clock is put back.

use jiff::{
    civil::{Date, DateTime, Time},
    tz::{AmbiguousOffset, TimeZone},
};
use sempre_core::{
    Timestamp,
    cron::{CronTable, InvalidCron},
};

const NANOS: i64 = 1_000_000_000;
/// How far to look for the next tick: a leap day on a fixed weekday comes back within 40 years.
const YEARS_MAX: i16 = 41;

/// The engine's [`CronTable`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Cron;

impl CronTable for Cron {
    fn next(&self, spec: &str, after: Timestamp) -> Result<Option<Timestamp>, InvalidCron> {
        let (zone, spec) = split_zone(spec.trim())?;
        if let Some(every) = spec.strip_prefix("@every ") {
            let step = every_seconds(every.trim()).ok_or(InvalidCron)?;
            return Ok(after.0.div_euclid(NANOS).checked_add(step).and_then(|s| s.checked_mul(NANOS)).map(Timestamp));
        }
        Fields::parse(spec).ok_or(InvalidCron)?.next(&zone, after)
    }
}

fn split_zone(spec: &str) -> Result<(TimeZone, &str), InvalidCron> {
    let Some(rest) = spec.strip_prefix("CRON_TZ=").or_else(|| spec.strip_prefix("TZ=")) else { return Ok((TimeZone::UTC, spec)) };
    let (name, rest) = rest.split_once(' ').ok_or(InvalidCron)?;
    Ok((TimeZone::get(name).map_err(|_| InvalidCron)?, rest.trim()))
}

/// A duration such as `1h30m` in whole seconds, at least one.
fn every_seconds(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 7] = [("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let mut rest = text;
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, factor) = UNITS.iter().filter(|(unit, _)| rest.starts_with(unit)).max_by_key(|(unit, _)| unit.len())?;
        seconds += number * factor;
        rest = &rest[unit.len()..];
    }
    // Truncation is meant: parts of a second do not count.
    (seconds < 1e10).then_some((seconds as i64).max(1))
}

struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Neither day field is a star: either may match.
    either_day: bool,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Fields {
    fn parse(spec: &str) -> Option<Self> {
        let spec = match spec {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<&str> = spec.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else { return None };
        let (days, any_day) = field(days, 1, 31, &[], 0)?;
        let (weekdays, any_weekday) = field(weekdays, 0, 6, &WEEKDAYS, 0)?;
        Some(Self {
            minutes: field(minutes, 0, 59, &[], 0)?.0,
            hours: field(hours, 0, 23, &[], 0)?.0,
            days,
            months: field(months, 1, 12, &MONTHS, 1)?.0,
            weekdays,
            either_day: !any_day && !any_weekday,
        })
    }

    fn day_matches(&self, date: Date) -> bool {
        let day = self.days & 1 << date.day() != 0;
        let weekday = self.weekdays & 1 << date.weekday().to_sunday_zero_offset() != 0;
        if self.either_day { day || weekday } else { day && weekday }
    }

    fn next(&self, zone: &TimeZone, after: Timestamp) -> Result<Option<Timestamp>, InvalidCron> {
        let from = jiff::Timestamp::from_second(after.0.div_euclid(NANOS)).map_err(|_| InvalidCron)?;
        let from = zone.to_datetime(from);
        let mut date = from.date();
        let last_year = date.year().saturating_add(YEARS_MAX);
        while date.year() <= last_year {
            if self.months & 1 << date.month() == 0 {
                let Ok(first) = date.last_of_month().tomorrow() else { return Ok(None) };
                date = first;
                continue;
            }
            // Clocks are put back by two hours at most: what is earlier by more has passed.
            let first_hour = if date == from.date() { (from.hour() - 2).max(0) } else { 0 };
            if self.day_matches(date)
                && let Some(at) = self.first_of_day(zone, date, first_hour, after)
            {
                return Ok(Some(at));
            }
            let Ok(next) = date.tomorrow() else { return Ok(None) };
            date = next;
        }
        Ok(None)
    }

    /// The earliest instant of this local day, from an hour on, that matches and is after `after`.
    fn first_of_day(&self, zone: &TimeZone, date: Date, first_hour: i8, after: Timestamp) -> Option<Timestamp> {
        let mut best: Option<(Timestamp, i8)> = None;
        for hour in (first_hour..24).filter(|h| self.hours & 1 << h != 0) {
            // Clocks are put back by two hours at most: what comes later than that cannot be earlier.
            if best.is_some_and(|(_, found)| hour > found + 2) {
                break;
            }
            for minute in (0..60i8).filter(|m| self.minutes & 1 << m != 0) {
                let local = DateTime::from_parts(date, Time::constant(hour, minute, 0, 0));
                for at in instants(zone, local).into_iter().flatten().filter(|at| *at > after) {
                    best = Some(best.filter(|(b, _)| *b <= at).unwrap_or((at, hour)));
                }
            }
        }
        best.map(|(at, _)| at)
    }
}

/// The instants that a local time names.
fn instants(zone: &TimeZone, local: DateTime) -> [Option<Timestamp>; 2] {
    let at = |offset: jiff::tz::Offset| Some(Timestamp(offset.to_timestamp(local).ok()?.as_second().checked_mul(NANOS)?));
    match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => [at(offset), None],
        AmbiguousOffset::Gap { .. } => [None, None],
        AmbiguousOffset::Fold { before, after } => [at(before), at(after)],
    }
}

/// One field as a bit set, and whether it is a plain star.
fn field(text: &str, min: u32, max: u32, names: &[&str], names_from: u32) -> Option<(u64, bool)> {
    let mut bits = 0;
    let mut star = false;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|s| *s > 0)?)),
            None => (part, None),
        };
        let value = |text: &str| {
            let named = names.iter().position(|n| text.eq_ignore_ascii_case(n)).map(|at| at as u32 + names_from);
            named.or_else(|| text.parse().ok()).filter(|v| (min..=max).contains(v))
        };
        let (low, high) = if range == "*" || range == "?" {
            star |= step.is_none_or(|s| s == 1);
            (min, max)
        } else if let Some((low, high)) = range.split_once('-') {
            (value(low)?, value(high)?)
        } else {
            let low = value(range)?;
            (low, if step.is_some() { max } else { low })
        };
        if low > high {
            return None;
        }
        for v in (low..=high).step_by(step.unwrap_or(1) as usize) {
            bits |= 1 << v;
        }
    }
    Some((bits, star))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let t: jiff::Timestamp = text.parse().unwrap();
        Timestamp(t.as_nanosecond() as i64)
    }

    #[test]
    fn next_tick() {
        let cases = [
            ("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("* * * * *", "2026-01-01T00:00:59.5Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "2026-01-01T00:16:00Z", "2026-01-01T00:30:00Z"),
            ("0 9-17/4 * * mon-fri", "2026-01-03T00:00:00Z", "2026-01-05T09:00:00Z"),
            ("30 2 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T02:30:00Z"),
            ("0 0 1 * MON", "2026-01-01T00:00:00Z", "2026-01-05T00:00:00Z"),
            ("0 0 13 * ?", "2026-01-14T00:00:00Z", "2026-02-13T00:00:00Z"),
            ("5,35 1 * jan,Dec *", "2026-02-01T00:00:00Z", "2026-12-01T01:05:00Z"),
            ("10/20 * * * *", "2026-01-01T00:31:00Z", "2026-01-01T00:50:00Z"),
            ("@hourly", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
            ("@daily", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"),
            ("@weekly", "2026-01-01T00:00:00Z", "2026-01-04T00:00:00Z"),
            ("@monthly", "2026-01-15T00:00:00Z", "2026-02-01T00:00:00Z"),
            ("@yearly", "2026-01-15T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("@every 1h30m", "2026-01-01T00:00:00.7Z", "2026-01-01T01:30:00Z"),
            ("@every 10ms", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
            ("CRON_TZ=America/New_York 0 9 * * *", "2026-01-01T00:00:00Z", "2026-01-01T14:00:00Z"),
            ("TZ=Europe/Berlin 0 9 * * *", "2026-07-01T00:00:00Z", "2026-07-01T07:00:00Z"),
            // 02:30 does not exist on 2026-03-08 in New York: that day is skipped.
            ("CRON_TZ=America/New_York 30 2 * * *", "2026-03-08T00:00:00-05:00", "2026-03-09T02:30:00-04:00"),
            // 01:30 comes twice on 2026-11-01.
            ("CRON_TZ=America/New_York 30 1 * * *", "2026-11-01T01:30:00-04:00", "2026-11-01T01:30:00-05:00"),
            ("CRON_TZ=America/New_York 0 * * * *", "2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00"),
        ];
        for (spec, after, expected) in cases {
            assert_eq!(Cron.next(spec, at(after)), Ok(Some(at(expected))), "{spec} after {after}");
        }
    }

    #[test]
    fn never() {
        assert_eq!(Cron.next("0 0 31 2 *", at("2026-01-01T00:00:00Z")), Ok(None));
    }

    #[test]
    fn invalid() {
        for spec in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "5-1 * * * *",
            "*/0 * * * *",
            "@never",
            "@every",
            "@every x",
            "CRON_TZ=Mars/Base 0 * * * *",
            "a * * * *",
        ] {
            assert_eq!(Cron.next(spec, Timestamp(0)), Err(InvalidCron), "{spec}");
        }
    }
}
