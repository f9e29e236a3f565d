//! Time zones of schedules, with the system's database or the bundled one.

use jiff::tz::TimeZone;
use sempre_core::schedule::{Stretch, Zone, Zones};

/// The engine's [`Zones`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Database;

impl Zones for Database {
    fn named(&self, name: &str) -> Option<Box<dyn Zone>> {
        Some(Box::new(Known(TimeZone::get(name).ok()?)))
    }

    fn read(&self, data: &[u8]) -> Option<Box<dyn Zone>> {
        Some(Box::new(Known(TimeZone::tzif("of the schedule", data).ok()?)))
    }
}

struct Known(TimeZone);

impl Zone for Known {
    fn stretch(&self, at: i64) -> Stretch {
        // Beyond what the library knows of there is UTC.
        let Ok(at) = jiff::Timestamp::from_second(at) else { return Stretch { offset: 0, until: i64::MAX } };
        let offset = i64::from(self.0.to_offset(at).seconds());
        let until = self.0.following(at).next().map_or(i64::MAX, |next| next.timestamp().as_second());
        Stretch { offset, until }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::Weekday;
    use sempre_api::v1::schedule::{IntervalSpec, Range, ScheduleSpec, StructuredCalendarSpec};
    use sempre_core::{
        Span, Timestamp,
        schedule::{Next, Spec, canonical},
    };

    use super::*;

    const NANOS: i64 = 1_000_000_000;
    /// With gaps and folds in both halves of the year, of an hour and of half of one, at midnight, and without any.
    const ZONES: [&str; 10] = [
        "America/New_York",
        "Europe/Berlin",
        "Australia/Lord_Howe",
        "America/Santiago",
        "Asia/Kathmandu",
        "Africa/Casablanca",
        "Asia/Beirut",
        "America/Sao_Paulo",
        "Pacific/Apia",
        "Europe/Dublin",
    ];

    /// A schedule made by chance, and the times it names, found by looking at every step of real time as the library
    /// shows it on the clock.
    struct Chance {
        rng: fastrand::Rng,
        zone: &'static str,
        spec: ScheduleSpec,
    }

    fn ranges(rng: &mut fastrand::Rng, min: i32, max: i32, full: f64) -> Vec<Range> {
        if rng.f64() < full {
            return vec![Range { start: min, end: max, step: 1 }];
        }
        let one = |rng: &mut fastrand::Rng| {
            let start = rng.i32(min..=max);
            Range { start, end: rng.i32(start..=max), step: rng.i32(1..=(max - min).max(1)) }
        };
        (0..rng.usize(1..3)).map(|_| one(rng)).collect()
    }

    fn single(value: i32) -> Vec<Range> {
        vec![Range { start: value, ..Default::default() }]
    }

    impl Chance {
        fn new(seed: u64, coarse: bool) -> Self {
            let mut rng = fastrand::Rng::with_seed(seed);
            let calendar = |rng: &mut fastrand::Rng| StructuredCalendarSpec {
                second: single(0),
                minute: if coarse { single([0, 30][rng.usize(..2)]) } else { ranges(rng, 0, 59, 0.2) },
                hour: ranges(rng, 0, 23, 0.3),
                day_of_month: ranges(rng, 1, 31, 0.6),
                month: ranges(rng, 1, 12, 0.6),
                day_of_week: ranges(rng, 0, 6, 0.6),
                year: if rng.bool() { Vec::new() } else { ranges(rng, 2000, 2100, 0.5) },
                ..Default::default()
            };
            let interval = |rng: &mut fastrand::Rng| IntervalSpec {
                interval: Some(Span::seconds(rng.i64(1..200) * 1800).to_api()),
                phase: Some(Span::seconds(0).to_api()),
            };
            let spec = ScheduleSpec {
                structured_calendar: (0..rng.usize(1..3)).map(|_| calendar(&mut rng)).collect(),
                exclude_structured_calendar: (0..rng.usize(0..2)).map(|_| calendar(&mut rng)).collect(),
                interval: (0..rng.usize(0..2)).map(|_| interval(&mut rng)).collect(),
                ..Default::default()
            };
            let zone = ZONES[rng.usize(..ZONES.len())];
            Self { rng, zone, spec: ScheduleSpec { timezone_name: zone.into(), ..spec } }
        }

        fn matches(calendar: &StructuredCalendarSpec, local: jiff::civil::DateTime) -> bool {
            let is = |ranges: &[Range], value: i32| {
                ranges.iter().any(|r| {
                    let (end, step) = (r.end.max(r.start), r.step.max(1));
                    (r.start..=end).contains(&value) && (value - r.start) % step == 0
                })
            };
            let weekday = match local.weekday() {
                Weekday::Sunday => 0,
                Weekday::Monday => 1,
                Weekday::Tuesday => 2,
                Weekday::Wednesday => 3,
                Weekday::Thursday => 4,
                Weekday::Friday => 5,
                Weekday::Saturday => 6,
            };
            is(&calendar.second, local.second().into())
                && is(&calendar.minute, local.minute().into())
                && is(&calendar.hour, local.hour().into())
                && is(&calendar.day_of_month, local.day().into())
                && is(&calendar.month, local.month().into())
                && is(&calendar.day_of_week, weekday)
                && (calendar.year.is_empty() || is(&calendar.year, local.year().into()))
        }

        fn is_due(&self, zone: &TimeZone, at: i64) -> bool {
            let local = zone.to_datetime(jiff::Timestamp::from_second(at).unwrap());
            let in_interval = self.spec.interval.iter().any(|i| at % i.interval.as_ref().unwrap().seconds == 0);
            (in_interval || self.spec.structured_calendar.iter().any(|c| Self::matches(c, local)))
                && !self.spec.exclude_structured_calendar.iter().any(|c| Self::matches(c, local))
        }

        /// From `begin` on, `steps` steps; at most so many times.
        fn compare(&self, begin: i64, step: i64, steps: i64, most: usize, seed: u64) {
            let zone = TimeZone::get(self.zone).unwrap();
            let expected: Vec<i64> = (1..=steps).map(|n| begin + n * step).filter(|at| self.is_due(&zone, *at)).take(most).collect();
            let spec = Spec::new(&canonical(self.spec.clone()).unwrap(), String::new(), &Database).unwrap();
            let mut found = Vec::new();
            let mut after = Timestamp(begin * NANOS);
            while found.len() < most {
                match spec.next(after) {
                    Next::At(time) if time.nominal.0 / NANOS <= begin + steps * step => {
                        found.push(time.nominal.0 / NANOS);
                        after = time.nominal;
                    }
                    Next::NotUntil(at) if at.0 / NANOS < begin + steps * step => after = at,
                    _ => break,
                }
            }
            let same = found.iter().zip(&expected).take_while(|(a, b)| a == b).count();
            let (found, expected) = (found.get(same), expected.get(same));
            assert_eq!(found, expected, "number {same}, seed {seed}, {} from {begin}: {:?}", self.zone, self.spec);
        }
    }

    /// The changes of the clock in a year.
    fn changes(zone: &str, year: i16) -> Vec<i64> {
        let from = jiff::civil::date(year, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
        let to = jiff::civil::date(year + 1, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
        let zone = TimeZone::get(zone).unwrap();
        zone.following(from).map(|change| change.timestamp()).take_while(|at| *at < to).map(|at| at.as_second()).collect()
    }

    #[test]
    fn minute_by_minute_around_changes_of_the_clock() {
        let mut looked_at = 0;
        for seed in 0..400 {
            let mut chance = Chance::new(seed, false);
            let year = chance.rng.i16(2000..2100);
            for change in changes(chance.zone, year) {
                chance.compare((change / 60 - 3 * 24 * 60) * 60, 60, 6 * 24 * 60, 2000, seed);
                looked_at += 1;
            }
        }
        assert!(looked_at > 200, "{looked_at} changes");
    }

    #[test]
    fn quarter_by_quarter_over_years() {
        for seed in 1000..1060 {
            let mut chance = Chance::new(seed, true);
            let begin = chance.rng.i64(946_684_800..3_800_000_000) / 900 * 900;
            chance.compare(begin, 900, 5 * 365 * 96, 5000, seed);
        }
    }

    #[test]
    fn a_zone_comes_out_of_the_bytes_of_a_file_too() {
        // Version 1 and 2 without a change; the rule: two hours ahead of UTC.
        let header = |version: u8| [b"TZif".as_slice(), &[version], &[0; 15], &[0; 16], &[0, 0, 0, 1], &[0, 0, 0, 4]].concat();
        let body = [0, 0, 0x1c, 0x20, 0, 0].as_slice();
        let file = [header(b'2').as_slice(), body, b"EET\0", header(b'2').as_slice(), body, b"EET\0", b"\nEET-2\n"].concat();
        let zone = Database.read(&file).unwrap();
        assert_eq!(zone.stretch(0), Stretch { offset: 7200, until: i64::MAX });
        assert!(Database.read(b"TZif").is_none());
        assert!(Database.named("Mars/Base").is_none());
    }
}
