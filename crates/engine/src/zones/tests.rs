//! Schedules over years of real time zones, against calculations of their own: each step of time is shown on the clock by
//! the library and held against the rules, as they were given or, of cron strings, as they were written.

use jiff::civil::Weekday;
use sempre_api::v1::schedule::{IntervalSpec, Range, ScheduleSpec, StructuredCalendarSpec};
use sempre_core::{
    Span, Timestamp,
    schedule::{Next, Spec, canonical},
};

use super::*;

const NANOS: i64 = 1_000_000_000;
/// With gaps and folds in both halves of the year, of an hour and of half of one, at midnight, and without any.
const ZONES: [&str; 14] = [
    "UTC",
    "Antarctica/Troll",
    "Asia/Tehran",
    "Africa/Cairo",
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

// --- cron strings ---

/// A field as it is written, and the values that whoever wrote it means.
struct Written(String, Vec<i32>);

/// One part of a field, by chance.
fn part(rng: &mut fastrand::Rng, min: i32, max: i32, names: &[&str], first: i32) -> Written {
    let name = |rng: &mut fastrand::Rng, value: i32| match usize::try_from(value - first).ok().and_then(|at| names.get(at)) {
        Some(name) if rng.bool() => {
            let short = &name[..3];
            [short.to_owned(), short.to_uppercase(), (*name).to_owned()][rng.usize(..3)].clone()
        }
        _ => value.to_string(),
    };
    let (start, step) = (rng.i32(min..=max), rng.i32(1..=7));
    let end = rng.i32(start..=max);
    let every = |from: i32, to: i32, step: i32| (from..=to).filter(|value| (value - from) % step == 0).collect::<Vec<i32>>();
    match rng.u8(..6) {
        0 => Written("*".into(), every(min, max, 1)),
        1 => Written(format!("*/{step}"), every(min, max, step)),
        2 => Written(name(rng, start), vec![start]),
        // Up to the maximum, which of weekdays is the other Sunday.
        3 if first == 0 && !names.is_empty() => {
            Written(format!("{start}/{step}"), every(start, 7, step).into_iter().map(|day| day % 7).collect())
        }
        3 => Written(format!("{start}/{step}"), every(start, max, step)),
        4 => Written(format!("{}-{}", name(rng, start), name(rng, end)), every(start, end, 1)),
        _ => Written(format!("{start}-{end}/{step}"), every(start, end, step)),
    }
}

fn field(rng: &mut fastrand::Rng, min: i32, max: i32, names: &[&str], first: i32) -> Written {
    let parts: Vec<Written> = (0..rng.usize(1..=3)).map(|_| part(rng, min, max, names, first)).collect();
    let text: Vec<&str> = parts.iter().map(|part| part.0.as_str()).collect();
    Written(text.join(","), parts.iter().flat_map(|part| part.1.clone()).collect())
}

/// A cron string of 5, 6 or 7 fields, with a zone and a comment where chance wants them.
struct Cron {
    text: String,
    zone: &'static str,
    /// Second, minute, hour, day, month, weekday, year.
    values: [Vec<i32>; 7],
}

impl Cron {
    fn new(rng: &mut fastrand::Rng) -> Self {
        const MONTHS: [&str; 12] =
            ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];
        const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
        let fields = rng.usize(5..=7);
        let seconds = if fields == 7 { field(rng, 0, 59, &[], 0) } else { Written(String::new(), vec![0]) };
        let five = [
            field(rng, 0, 59, &[], 0),
            field(rng, 0, 23, &[], 0),
            field(rng, 1, 31, &[], 0),
            field(rng, 1, 12, &MONTHS, 1),
            field(rng, 0, 6, &DAYS, 0),
        ];
        let years = if fields > 5 { field(rng, 2000, 2100, &[], 0) } else { Written(String::new(), (2000..=2100).collect()) };
        let zone = ZONES[rng.usize(..ZONES.len())];
        let begin = [String::new(), format!("TZ={zone} "), format!("CRON_TZ={zone}  ")][rng.usize(..3)].clone();
        let zone = if begin.is_empty() { "UTC" } else { zone };
        let comment = ["", " # every * now and then", "#"][rng.usize(..3)];
        let all: Vec<&str> = [&seconds].into_iter().chain(&five).chain([&years]).map(|field| field.0.as_str()).collect();
        let text = format!("{begin}{}{comment}", all.join([" ", "  ", "\t"][rng.usize(..3)]).trim());
        let [minutes, hours, days, months, weekdays] = five.map(|field| field.1);
        Self { text, zone, values: [seconds.1, minutes, hours, days, months, weekdays, years.1] }
    }

    /// The whole minute of it, but for the seconds.
    fn matches(&self, local: jiff::civil::DateTime) -> bool {
        let shown = [
            local.minute().into(),
            local.hour().into(),
            local.day().into(),
            local.month().into(),
            local.weekday().to_sunday_zero_offset().into(),
            local.year().into(),
        ];
        self.values[1..].iter().zip(shown).all(|(values, shown): (_, i32)| values.contains(&shown))
    }
}

/// For two days around each change of the clock, and around the end of February in a leap year and
/// another one.
#[test]
fn cron_strings_mean_what_they_say() {
    let (mut looked_at, mut due) = (0, 0);
    for seed in 0..250 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let cron = Cron::new(&mut rng);
        let spec = ScheduleSpec { cron_string: vec![cron.text.clone()], ..Default::default() };
        let canonical = canonical(spec).unwrap_or_else(|why| panic!("{}: {why}", cron.text));
        let spec = Spec::new(&canonical, String::new(), &Database).unwrap();
        let zone = TimeZone::get(cron.zone).unwrap();
        let february = |year: i16| jiff::civil::date(year, 2, 28).to_zoned(zone.clone()).unwrap().timestamp().as_second();
        let mut around = changes(cron.zone, rng.i16(2000..2100));
        around.extend([february(2000), february(2099), february(rng.i16(2001..2099))]);
        for middle in around {
            let (begin, end) = (middle / 60 * 60 - 86_400, middle / 60 * 60 + 86_400);
            let mut seconds: Vec<i64> = cron.values[0].iter().map(|second| i64::from(*second)).collect();
            seconds.sort_unstable();
            seconds.dedup();
            // Clocks change by whole minutes in these years.
            let minutes = (begin..end).step_by(60);
            let minutes = minutes.filter(|at| cron.matches(zone.to_datetime(jiff::Timestamp::from_second(*at).unwrap())));
            let expected: Vec<i64> = minutes.flat_map(|at| seconds.iter().map(move |second| at + second)).take(500).collect();
            let mut found = Vec::new();
            let mut after = Timestamp(begin * NANOS - 1);
            while found.len() < 500
                && let Next::At(time) = spec.next(after)
                && time.nominal.0 / NANOS < end
            {
                found.push(time.nominal.0 / NANOS);
                after = time.nominal;
            }
            assert_eq!(found, expected, "seed {seed}, {:?} around {middle}", cron.text);
            (looked_at, due) = (looked_at + 1, due + found.len());
        }
    }
    assert!(looked_at > 700 && due > 5000, "{looked_at} places, {due} times");
}

#[test]
fn words_for_cron_strings_and_intervals() {
    let next = |text: &str, after: i64| {
        let canonical = canonical(ScheduleSpec { cron_string: vec![text.into()], ..Default::default() }).unwrap();
        let spec = Spec::new(&canonical, String::new(), &Database).unwrap();
        let Next::At(time) = spec.next(Timestamp(after * NANOS)) else { panic!("{text}") };
        time.nominal.0 / NANOS
    };
    // 2023-11-14 22:13:20 UTC, a Tuesday.
    let now = 1_700_000_000;
    let cases = [
        ("@hourly", "2023-11-14T23:00:00Z"),
        ("@daily", "2023-11-15T00:00:00Z"),
        ("@midnight", "2023-11-15T00:00:00Z"),
        ("@weekly", "2023-11-19T00:00:00Z"),
        ("@monthly", "2023-12-01T00:00:00Z"),
        ("@yearly", "2024-01-01T00:00:00Z"),
        ("@annually", "2024-01-01T00:00:00Z"),
        ("CRON_TZ=Europe/Berlin @daily", "2023-11-14T23:00:00Z"),
        ("TZ=Asia/Kathmandu 0 12 * * *", "2023-11-15T06:15:00Z"),
        ("@every 1h", "2023-11-14T23:00:00Z"),
        ("@every 1h/5m # five past", "2023-11-14T23:05:00Z"),
        ("@every 1d", "2023-11-15T00:00:00Z"),
        ("0 0 29 2 *", "2024-02-29T00:00:00Z"),
        ("0 0 13 * fri", "2024-09-13T00:00:00Z"),
        ("0 0 * * 7", "2023-11-19T00:00:00Z"),
        ("30 59 23 31 12 * 2024-2030/3", "2024-12-31T23:59:30Z"),
    ];
    for (text, expected) in cases {
        assert_eq!(next(text, now), expected.parse::<jiff::Timestamp>().unwrap().as_second(), "{text}");
    }
    // What the reference server does not know either.
    for text in ["0 0 L * *", "0 0 ? * *", "0 0 15W * *", "@reboot", "0 0 * * 1L"] {
        assert!(canonical(ScheduleSpec { cron_string: vec![text.into()], ..Default::default() }).is_err(), "{text}");
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
