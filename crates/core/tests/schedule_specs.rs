//! Specs of schedules as a whole. Rule by rule they are in `src/schedule/spec/tests.rs`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use sempre_api::v1::schedule::{ScheduleSpec, StructuredCalendarSpec};
use sempre_core::{
    Timestamp,
    schedule::{Next, SPEC_PARTS_MAX, Spec, Zone, Zones, canonical},
};

struct Utc;

impl Zones for Utc {
    fn named(&self, _: &str) -> Option<Box<dyn Zone>> {
        None
    }

    fn read(&self, _: &[u8]) -> Option<Box<dyn Zone>> {
        None
    }
}

/// Calendars without a time near keep nobody who has another with one: each was looked through up to the year 2100, each time.
#[test]
#[expect(clippy::disallowed_methods, reason = "what is asked is whether it ends soon, by the wall clock")]
fn what_is_due_soon_is_found_soon_among_many_that_are_never_due() {
    let each_second = canonical(ScheduleSpec { cron_string: vec!["* * * * * * *".into()], ..Default::default() }).unwrap();
    let each_second = each_second.structured_calendar[0].clone();
    let never = StructuredCalendarSpec { day_of_week: Vec::new(), ..each_second.clone() };
    let mut calendars = vec![never; SPEC_PARTS_MAX - 1];
    calendars.push(each_second);
    let spec = ScheduleSpec { structured_calendar: calendars, ..Default::default() };
    let spec = Spec::new(&canonical(spec).unwrap(), "seed".into(), &Utc).unwrap();
    let begun = std::time::Instant::now();
    for second in 1..300 {
        let Next::At(time) = spec.next(Timestamp(second * 1_000_000_000)) else { panic!("each second is due") };
        assert_eq!(time.nominal, Timestamp((second + 1) * 1_000_000_000));
    }
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}
