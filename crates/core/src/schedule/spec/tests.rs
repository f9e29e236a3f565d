use alloc::{
    string::{String, ToString},
    vec,
    vec::Vec,
};

use proptest::prelude::*;
use sempre_api::v1::schedule::{CalendarSpec, StructuredCalendarSpec};

use super::*;
use crate::schedule::{
    parse::{every_second, range},
    zone::Stretch,
};

/// Zones of which every stretch is known: changes of the offset at seconds since 1970.
struct Table(Vec<(i64, i64)>);

impl Zone for Table {
    fn stretch(&self, at: i64) -> Stretch {
        let next = self.0.partition_point(|(from, _)| *from <= at);
        Stretch { offset: self.0[next - 1].1, until: self.0.get(next).map_or(i64::MAX, |(from, _)| *from) }
    }
}

struct Tables(Vec<(i64, i64)>);

impl Zones for Tables {
    fn named(&self, name: &str) -> Option<Box<dyn Zone>> {
        (name == "Table").then(|| Box::new(Table(self.0.clone())) as Box<dyn Zone>)
    }

    fn read(&self, data: &[u8]) -> Option<Box<dyn Zone>> {
        (data == b"table").then(|| Box::new(Table(self.0.clone())) as Box<dyn Zone>)
    }
}

fn spec_in(spec: ScheduleSpec, zones: Tables) -> Spec {
    Spec::new(&canonical(spec).expect("valid"), "seed".into(), &zones).expect("valid")
}

fn spec(spec: ScheduleSpec) -> Spec {
    spec_in(spec, Tables(Vec::new()))
}

fn seconds(at: i64) -> Timestamp {
    Timestamp(at * NANOS)
}

fn nominals(spec: &Spec, mut after: Timestamp, most: usize) -> Vec<i64> {
    let mut all = Vec::new();
    while all.len() < most
        && let Next::At(time) = spec.next(after)
    {
        all.push(time.nominal.0 / NANOS);
        after = time.nominal;
    }
    all
}

fn every(interval: i64, phase: i64) -> IntervalSpec {
    IntervalSpec { interval: Some(Span::seconds(interval).to_api()), phase: Some(Span::seconds(phase).to_api()) }
}

fn cron(text: &str) -> ScheduleSpec {
    ScheduleSpec { cron_string: vec![text.into()], ..Default::default() }
}

/// Nobody makes a server go through very many of them each time.
#[test]
fn a_spec_has_so_many_parts_at_most() {
    let never = StructuredCalendarSpec { day_of_week: Vec::new(), ..every_second() };
    let of = |count| ScheduleSpec { structured_calendar: vec![never.clone(); count], ..Default::default() };
    assert!(canonical(of(SPEC_PARTS_MAX)).is_ok());
    let mut over = of(SPEC_PARTS_MAX - 1);
    over.cron_string = vec!["* * * * *".into()];
    over.exclude_structured_calendar = vec![never.clone()];
    assert_eq!(canonical(over).unwrap_err(), "a schedule can have 1000 calendars, exclusions, intervals and cron strings, not 1001");
}

#[test]
fn intervals_are_counted_from_the_epoch() {
    let spec = spec(ScheduleSpec { interval: vec![every(60, 7), every(45, 0)], ..Default::default() });
    assert_eq!(nominals(&spec, Timestamp(-1), 6), [0, 7, 45, 67, 90, 127]);
    assert_eq!(nominals(&spec, Timestamp(7 * NANOS - 1), 1), [7]);
    assert_eq!(nominals(&spec, seconds(7), 1), [45], "strictly after");
    assert_eq!(nominals(&spec, Timestamp(7 * NANOS + 1), 1), [45]);
}

/// Ticks of longer ones would be beyond all numbers, and such a schedule due without end.
#[test]
fn an_interval_lasts_a_hundred_years_at_most() {
    let all = |seconds: i64| Some(sempre_api::Duration { seconds, nanos: 999_999_999 });
    let spec =
        |phase| spec(ScheduleSpec { interval: vec![IntervalSpec { interval: all(i64::MAX), phase: all(phase) }], ..Default::default() });
    let century = Span::MAX.0 / NANOS;
    assert_eq!(nominals(&spec(5), seconds(10), 3), [century + 5]);
    assert_eq!(nominals(&spec(century - 1), seconds(10), 3), [century - 1]);
    let phase =
        canonical(ScheduleSpec { interval: vec![IntervalSpec { interval: all(i64::MAX), phase: all(century) }], ..Default::default() });
    assert_eq!(phase.err().as_deref(), Some("phase cannot be greater than Interval"));
}

#[test]
fn bounds_are_inclusive() {
    let bounded = |start: i64, end: i64| {
        spec(ScheduleSpec {
            interval: vec![every(10, 0)],
            start_time: Some(Timestamp(start).to_api()),
            end_time: Some(Timestamp(end).to_api()),
            ..Default::default()
        })
    };
    assert_eq!(nominals(&bounded(20 * NANOS, 40 * NANOS), seconds(0), 9), [20, 30, 40]);
    assert_eq!(nominals(&bounded(20 * NANOS + 1, 40 * NANOS - 1), seconds(0), 9), [30]);
    assert_eq!(nominals(&bounded(0, 40 * NANOS), seconds(30), 9), [40]);
}

#[test]
fn an_empty_spec_is_never_due() {
    assert_eq!(spec(ScheduleSpec::default()).next(seconds(0)), Next::Never);
    let nothing = StructuredCalendarSpec { hour: Vec::new(), ..every_second() };
    assert_eq!(spec(ScheduleSpec { structured_calendar: vec![nothing], ..Default::default() }).next(seconds(0)), Next::Never);
}

#[test]
fn nothing_is_due_after_2100() {
    let last = END - 86_400;
    let yearly = spec(cron("0 0 31 12 *"));
    assert_eq!(nominals(&yearly, seconds(last - 1), 2), [last]);
    let hourly = spec(ScheduleSpec { interval: vec![every(3600, 0)], ..Default::default() });
    assert_eq!(nominals(&hourly, seconds(END - 7200), 5), [END - 3600]);
}

#[test]
fn a_gap_is_skipped_and_a_fold_fires_twice() {
    // An hour ahead from 1000 h to 2000 h; on the day of hour 1000, 16:00 local becomes 17:00.
    let zones = || Tables(vec![(i64::MIN, 0), (1000 * 3600, 3600), (2000 * 3600, 0)]);
    let daily = |text: &str| ScheduleSpec { timezone_name: "Table".into(), ..cron(text) };
    let gap = spec_in(daily("30 16 * * *"), zones());
    // 990 h is the day before, 16:30 is hour 976.5; the next day has none; then it is 15:30 in UTC.
    assert_eq!(nominals(&gap, seconds(970 * 3600), 2), [976 * 3600 + 1800, 1023 * 3600 + 1800]);
    // Hour 2000 is 8:00 in UTC: 8:30 local comes at 7:30 and 8:30 in UTC.
    let fold = spec_in(daily("30 8 * * *"), zones());
    assert_eq!(nominals(&fold, seconds(1990 * 3600), 3), [1999 * 3600 + 1800, 2000 * 3600 + 1800, 2024 * 3600 + 1800]);
}

#[test]
fn exclusions_are_taken_away_even_when_they_are_many() {
    let mut days = every_second();
    days.day_of_month = range(1, 30, 0);
    let mut busy = ScheduleSpec { interval: vec![every(1, 0)], exclude_structured_calendar: vec![days], ..Default::default() };
    let day_31 = 30 * 86_400;
    assert_eq!(nominals(&spec(busy.clone()), seconds(0), 2), [day_31, day_31 + 1]);
    busy.exclude_structured_calendar.push(every_second());
    // Day by day: it ends in 2100.
    assert!(matches!(spec(busy.clone()).next(seconds(0)), Next::NotUntil(_) | Next::Never));
    let odd = StructuredCalendarSpec { second: range(0, 58, 0), ..every_second() };
    let last = StructuredCalendarSpec { second: range(59, 0, 0), ..every_second() };
    busy.exclude_structured_calendar = vec![odd, last];
    let Next::NotUntil(at) = spec(busy).next(seconds(0)) else { panic!("given up") };
    assert!(at > seconds(1000));
}

#[test]
fn jitter_is_stable_and_does_not_reach_the_following_time() {
    let jittered = |jitter: i64, seed: &str| {
        let spec = ScheduleSpec { interval: vec![every(100, 0)], jitter: Some(Span::seconds(jitter).to_api()), ..Default::default() };
        Spec::new(&spec, seed.into(), &Tables(Vec::new())).expect("valid")
    };
    let offsets = |jitter, seed: &str| -> Vec<i64> {
        let spec = jittered(jitter, seed);
        let at = |n: i64| match spec.next(seconds(n * 100)) {
            Next::At(time) => time.actual.0 - time.nominal.0,
            other => panic!("{other:?}"),
        };
        (0..200).map(at).collect()
    };
    let ten = offsets(10, "a");
    assert_eq!(ten, offsets(10, "a"));
    assert_ne!(ten, offsets(10, "b"));
    assert!(ten.iter().all(|offset| (0..10 * NANOS).contains(offset)));
    assert!(ten.iter().any(|offset| *offset < 2 * NANOS) && ten.iter().any(|offset| *offset > 8 * NANOS), "spread");
    assert!(offsets(1000, "a").iter().all(|offset| (0..100 * NANOS).contains(offset)));
}

#[test]
fn canonical_form_and_its_texts() {
    let calendar = CalendarSpec { hour: "5".into(), comment: "c".into(), ..Default::default() };
    let given = ScheduleSpec {
        structured_calendar: vec![every_second()],
        calendar: vec![calendar.clone()],
        cron_string: vec!["TZ=Table @daily".into(), "CRON_TZ=Table @weekly".into()],
        interval: vec![every(10, 0)],
        timezone_name: "Table".into(),
        ..Default::default()
    };
    let made = canonical(given.clone()).expect("valid");
    assert!(made.calendar.is_empty() && made.cron_string.is_empty());
    assert_eq!((made.structured_calendar.len(), made.interval.len(), made.timezone_name.as_str()), (4, 1, "Table"));
    assert_eq!(made.structured_calendar[1].comment, "c");
    assert_eq!(canonical(made.clone()), Ok(made), "once is enough");
    let zoned = ScheduleSpec { timezone_name: "Table".into(), ..cron("TZ=Other @every 5m/1m") };
    let made = canonical(zoned).expect("an interval knows no zone");
    assert_eq!((made.interval, made.timezone_name.as_str()), (vec![every(300, 60)], "Table"));

    let text = |change: &dyn Fn(&mut ScheduleSpec)| -> String {
        let mut spec = given.clone();
        change(&mut spec);
        let made = canonical(spec).and_then(|spec| Spec::new(&spec, String::new(), &Tables(vec![(i64::MIN, 0)])).map(drop));
        made.err().unwrap_or_default()
    };
    assert_eq!(text(&|_| {}), "");
    assert_eq!(text(&|s| s.timezone_name = "Other".into()), CONFLICTING_ZONES);
    assert_eq!(text(&|s| s.timezone_data = b"table".as_slice().into()), CONFLICTING_ZONES);
    assert_eq!(text(&|s| s.cron_string.push("CRON_TZ=Other @daily".into())), CONFLICTING_ZONES);
    // All name the same zone, or none does.
    assert_eq!(text(&|s| s.cron_string.push("@daily".into())), CONFLICTING_ZONES);
    assert_eq!(text(&|s| s.cron_string.insert(0, "@every 5m".into())), CONFLICTING_ZONES);
    assert_eq!(text(&|s| s.cron_string = vec!["@daily".into(), "@every 5m".into()]), "", "that of the whole counts for them");
    let other = |s: &mut ScheduleSpec, name: &str| {
        s.cron_string.clear();
        s.timezone_name = name.to_string();
    };
    assert_eq!(text(&|s| other(s, "Mars/Base")), "unknown time zone Mars/Base");
    assert_eq!(text(&|s| s.interval.push(every(0, 0))), "interval is too small");
    assert_eq!(text(&|s| s.interval.push(IntervalSpec::default())), "interval is too small");
    assert_eq!(text(&|s| s.interval.push(every(-5, 0))), "interval is too small");
    assert_eq!(text(&|s| s.interval.push(every(5, -1))), "phase is negative");
    let less_than_none = sempre_api::Duration { seconds: 0, nanos: -1 };
    assert_eq!(text(&|s| s.interval.push(IntervalSpec { phase: Some(less_than_none), ..every(5, 0) })), "phase is negative");
    assert_eq!(text(&|s| s.interval.push(every(5, 5))), "phase cannot be greater than Interval");
    assert_eq!(text(&|s| s.calendar.push(CalendarSpec { hour: "24".into(), ..Default::default() })), "Hour is not in range [0-23]");
    assert_eq!(text(&|s| s.structured_calendar[0].hour = range(24, 0, 0)), "invalid calendar spec: Hour Start is not in range [0-23]");
    assert_eq!(
        text(&|s| {
            s.cron_string.clear();
            s.timezone_data = b"nonsense".as_slice().into();
        }),
        "malformed time zone information"
    );
}

/// A range of values between two bounds, sometimes all of them.
fn ranges(min: i32, max: i32) -> impl Strategy<Value = Vec<sempre_api::v1::schedule::Range>> {
    let some = proptest::collection::vec((min..=max, 0..=max - min, 1..=(max - min).max(1)), 1..3).prop_map(move |list| {
        let one = |(start, length, step): (i32, i32, i32)| range(start, (start + length).min(max), step);
        list.into_iter().flat_map(one).collect()
    });
    prop_oneof![some, Just(range(min, max, 0))]
}

prop_compose! {
    fn a_calendar()(
        second in ranges(0, 59),
        minute in ranges(0, 59),
        hour in ranges(0, 23),
        day_of_month in ranges(1, 31),
        month in ranges(1, 12),
        day_of_week in ranges(0, 6),
    ) -> StructuredCalendarSpec {
        StructuredCalendarSpec { second, minute, hour, day_of_month, month, day_of_week, ..Default::default() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each second of four days, with two changes of the offset in them, against the spec read literally.
    #[test]
    fn every_second_is_judged_right(
        calendars in proptest::collection::vec(a_calendar(), 0..3),
        excluded in proptest::collection::vec(a_calendar(), 0..2),
        interval in proptest::option::of((1_i64..5000, 0_i64..5000)),
        begin in 0_i64..1_000_000_000,
        changes in [(-7200_i64..7200, 0_i64..43_200), (-7200_i64..7200, 0_i64..43_200)],
    ) {
        let zone = vec![(i64::MIN, 0), (begin + 86_400 + changes[0].1, changes[0].0), (begin + 200_000 + changes[1].1, changes[1].0)];
        let table = Table(zone.clone());
        let interval = interval.map(|(interval, phase)| (interval, phase % interval));
        let spec = spec_in(
            ScheduleSpec {
                structured_calendar: calendars.clone(),
                exclude_structured_calendar: excluded.clone(),
                interval: interval.iter().map(|(interval, phase)| every(*interval, *phase)).collect(),
                timezone_name: "Table".into(),
                ..Default::default()
            },
            Tables(zone),
        );
        let end = begin + 4 * 86_400;
        let sets = |calendar: &StructuredCalendarSpec| {
            let c = calendar;
            [&c.second, &c.minute, &c.hour, &c.day_of_month, &c.month, &c.day_of_week].map(|ranges| {
                let mut set = [false; 64];
                parse::values(ranges).for_each(|value| set[value as usize] = true);
                set
            })
        };
        let literally = |[second, minute, hour, day_of_month, month, day_of_week]: &[[bool; 64]; 6], at: i64| {
            let local = at + table.stretch(at).offset;
            let (day, of_day) = (local.div_euclid(86_400), local.rem_euclid(86_400));
            let date = crate::schedule::civil::date(day);
            second[(of_day % 60) as usize]
                && minute[(of_day / 60 % 60) as usize]
                && hour[(of_day / 3600) as usize]
                && day_of_month[usize::from(date.day)]
                && month[usize::from(date.month)]
                && day_of_week[(day + 4).rem_euclid(7) as usize]
        };
        let [calendars, excluded] = [&calendars, &excluded].map(|all| all.iter().map(sets).collect::<Vec<_>>());
        let due = |at: i64| {
            let in_interval = interval.is_some_and(|(interval, phase)| (at - phase).rem_euclid(interval) == 0);
            (in_interval || calendars.iter().any(|c| literally(c, at))) && !excluded.iter().any(|c| literally(c, at))
        };
        let mut expected = Vec::new();
        for at in begin + 1..end {
            if due(at) {
                expected.push(at);
                if expected.len() == 400 {
                    break;
                }
            }
        }
        let found: Vec<i64> = nominals(&spec, seconds(begin), 400).into_iter().filter(|at| *at < end).collect();
        prop_assert_eq!(found, expected);
    }
}
