//! When a schedule is due: the canonical form of a spec, and the next time (spec 07 §2).
//!
//! Calendars are looked for stretch by stretch of time with one offset from UTC: a local time in the gap of a clock
//! put forward is in no stretch, one that comes twice is in two.

use alloc::{boxed::Box, format, string::String, vec::Vec};

use sempre_api::v1::schedule::{IntervalSpec, ScheduleSpec};

use super::{
    EXCLUDED_MAX,
    calendar::Calendar,
    parse::{self, CONFLICTING_ZONES, Cron},
    zone::{Utc, Zone, Zones},
};
use crate::{Span, Timestamp, ids::Fnv};

const NANOS: i64 = 1_000_000_000;
/// The first second after the year 2100: nothing is due from there on.
const END: i64 = 4_133_980_800;

/// Calendars, times that are excluded, intervals and cron texts of one spec, together. Who asks for the next time goes through all of them.
pub const SPEC_PARTS_MAX: usize = 1000;
/// How far calendars are looked at first; each further look goes [`LOOK_GROWS`] times as far. So one without a time near keeps nobody long
/// who has another with one.
const LOOK_FIRST: i64 = 86_400;
const LOOK_GROWS: i64 = 16;

/// A time at which a schedule is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// As the spec says.
    pub nominal: Timestamp,
    /// With jitter.
    pub actual: Timestamp,
}

/// The next time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This one.
    At(Time),
    /// There is none any more.
    Never,
    /// So much is excluded that the search was given up: there is none up to this time.
    NotUntil(Timestamp),
}

/// A spec made ready to be asked.
pub struct Spec {
    calendars: Vec<Calendar>,
    excluded: Vec<Calendar>,
    /// Interval and phase, seconds.
    intervals: Vec<(i64, i64)>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    jitter: Span,
    zone: Box<dyn Zone>,
    seed: String,
}

/// Turns every form of a spec into structured calendars and intervals. The text says what is wrong.
#[expect(deprecated, reason = "clients may still send exclude_calendar")]
pub fn canonical(mut spec: ScheduleSpec) -> Result<ScheduleSpec, String> {
    let times = spec.calendar.len() + spec.structured_calendar.len() + spec.cron_string.len() + spec.interval.len();
    let parts = times + spec.exclude_calendar.len() + spec.exclude_structured_calendar.len();
    if parts > SPEC_PARTS_MAX {
        return Err(format!("a schedule can have {SPEC_PARTS_MAX} calendars, exclusions, intervals and cron strings, not {parts}"));
    }
    for calendar in core::mem::take(&mut spec.calendar) {
        spec.structured_calendar.push(parse::calendar(&calendar)?);
    }
    for calendar in core::mem::take(&mut spec.exclude_calendar) {
        spec.exclude_structured_calendar.push(parse::calendar(&calendar)?);
    }
    // What the strings before say: all name the same zone, or none does.
    let mut zone: Option<Option<String>> = None;
    for text in core::mem::take(&mut spec.cron_string) {
        let (cron, cron_zone) = parse::cron(&text)?;
        match cron {
            Cron::Calendar(calendar) => spec.structured_calendar.push(calendar),
            Cron::Interval(interval) => spec.interval.push(interval),
        }
        if zone.as_ref().is_some_and(|known| *known != cron_zone) {
            return Err(CONFLICTING_ZONES.into());
        }
        zone = Some(cron_zone);
    }
    if let Some(zone) = zone.flatten() {
        if !spec.timezone_data.is_empty() || !spec.timezone_name.is_empty() && spec.timezone_name != zone {
            return Err(CONFLICTING_ZONES.into());
        }
        spec.timezone_name = zone;
    }
    spec.structured_calendar.iter().chain(&spec.exclude_structured_calendar).try_for_each(parse::check_structured)?;
    spec.interval.iter().try_for_each(|interval| read_interval(interval).map(drop))?;
    Ok(spec)
}

/// Interval and phase in whole seconds.
fn read_interval(spec: &IntervalSpec) -> Result<(i64, i64), &'static str> {
    let seconds = |duration: &Option<sempre_api::Duration>| Span::from_api(duration.as_ref()).map(|span| span.0 / NANOS);
    let interval = seconds(&spec.interval).ok().filter(|interval| *interval >= 1).ok_or("interval is too small")?;
    let phase = seconds(&spec.phase).map_err(|_| "phase is negative")?;
    if phase >= interval { Err("phase cannot be greater than Interval") } else { Ok((interval, phase)) }
}

impl Spec {
    /// Of a canonical spec. `seed` names the schedule: its jitter is always the same.
    pub fn new(spec: &ScheduleSpec, seed: String, zones: &dyn Zones) -> Result<Self, String> {
        let zone = match (spec.timezone_name.as_str(), spec.timezone_data.as_ref()) {
            ("" | "UTC", []) => Box::new(Utc),
            (name, []) => zones.named(name).ok_or_else(|| format!("unknown time zone {name}"))?,
            (_, data) => zones.read(data).ok_or("malformed time zone information")?,
        };
        let jitter = Span::from_api(spec.jitter.as_ref()).map_err(|_| "jitter is negative")?;
        Ok(Self {
            calendars: spec.structured_calendar.iter().map(Calendar::new).collect(),
            excluded: spec.exclude_structured_calendar.iter().map(Calendar::new).collect(),
            intervals: spec.interval.iter().map(read_interval).collect::<Result<_, _>>()?,
            start: spec.start_time.as_ref().map(Timestamp::from_api),
            end: spec.end_time.as_ref().map(Timestamp::from_api),
            jitter,
            zone,
            seed,
        })
    }

    /// One that is never due.
    pub(super) fn never() -> Self {
        let (calendars, excluded, intervals) = Default::default();
        Self { calendars, excluded, intervals, start: None, end: None, jitter: Span::ZERO, zone: Box::new(Utc), seed: String::new() }
    }

    /// How far an actual time can be behind its nominal one.
    pub(super) fn jitter(&self) -> Span {
        self.jitter
    }

    /// The first time whose nominal time is after `after`.
    pub fn next(&self, after: Timestamp) -> Next {
        let mut after = after.0.div_euclid(NANOS);
        if let Some(start) = self.start {
            // The second before the first one that is not before the start.
            let before_start = start.0.saturating_add(NANOS - 1).div_euclid(NANOS) - 1;
            after = after.max(before_start);
        }
        for _ in 0..EXCLUDED_MAX {
            let Some(at) = self.raw(after) else { return Next::Never };
            let nominal = Timestamp(at.saturating_mul(NANOS));
            if self.end.is_some_and(|end| nominal > end) {
                return Next::Never;
            }
            match self.excluded_until(at) {
                Some(until) => after = until,
                None => return Next::At(Time { nominal, actual: self.jittered(at) }),
            }
        }
        Next::NotUntil(Timestamp(after.saturating_mul(NANOS)))
    }

    /// The first second after `after` of a calendar or an interval.
    fn raw(&self, after: i64) -> Option<i64> {
        let interval = self.intervals.iter().filter_map(|(interval, phase)| {
            let ticks = (after - phase).div_euclid(*interval) + 1;
            ticks.checked_mul(*interval)?.checked_add(*phase)
        });
        let until = interval.min().unwrap_or(END).min(END);
        let found = self.raw_calendar(after + 1, until);
        found.or((until < END).then_some(until))
    }

    /// The first second of a calendar at or after `at` and before `until`.
    fn raw_calendar(&self, mut at: i64, until: i64) -> Option<i64> {
        let mut look = LOOK_FIRST;
        while !self.calendars.is_empty() && at < until {
            let stretch = self.zone.stretch(at);
            let end = stretch.until.min(until).min(at.saturating_add(look));
            look = look.saturating_mul(LOOK_GROWS);
            let (local, mut local_end) = (at + stretch.offset, end + stretch.offset);
            let mut found = None;
            for calendar in &self.calendars {
                if let Some(first) = calendar.first(local, local_end) {
                    found = Some(first - stretch.offset);
                    local_end = first;
                }
            }
            if found.is_some() {
                return found;
            }
            at = end;
        }
        None
    }

    /// The last second up to which everything is excluded, if `at` is.
    fn excluded_until(&self, at: i64) -> Option<i64> {
        if self.excluded.is_empty() {
            return None;
        }
        let stretch = self.zone.stretch(at);
        let local = at + stretch.offset;
        let untils = self.excluded.iter().filter(|calendar| calendar.matches(local)).map(|calendar| calendar.matches_until(local));
        untils.max().map(|until| (until - stretch.offset).min(stretch.until - 1))
    }

    /// A nominal time with its jitter: at most up to the following time.
    fn jittered(&self, at: i64) -> Timestamp {
        let nominal = Timestamp(at.saturating_mul(NANOS));
        if self.jitter.is_zero() {
            return nominal;
        }
        let gap = self.raw(at).map_or(self.jitter, |following| Span::seconds(following - at));
        let millis = self.jitter.min(gap).0 / 1_000_000;
        let mut hash = Fnv::default();
        hash.write(&nominal.0.to_be_bytes());
        hash.write(self.seed.as_bytes());
        let fraction = hash.finish() >> 32;
        let millis = (i128::from(fraction) * i128::from(millis)) >> 32;
        nominal + Span::millis(millis as i64)
    }
}

#[cfg(test)]
mod tests;
