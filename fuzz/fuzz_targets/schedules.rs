//! Any text as a cron expression, a spec of a schedule, a time; any bytes as a spec's message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use sempre_api::v1::schedule::{CalendarSpec, ScheduleSpec};
use sempre_core::{
    Timestamp,
    cron::CronTable,
    schedule::{Next, Spec, canonical},
    visibility,
};
use sempre_engine::{cron::Cron, zones::Database};

/// Times of one spec that are looked at.
const TIMES: usize = 5;

fn spec(spec: ScheduleSpec, after: Timestamp) {
    let Ok(canon) = canonical(spec) else { return };
    assert_eq!(canonical(canon.clone()).as_ref(), Ok(&canon), "the normal form of the normal form");
    let Ok(spec) = Spec::new(&canon, "seed".into(), &Database) else { return };
    let mut after = after;
    for _ in 0..TIMES {
        match spec.next(after) {
            Next::At(time) => {
                assert!(time.nominal > after, "{time:?} is not after {after:?}");
                assert!(time.actual >= time.nominal, "{time:?} is early");
                after = time.nominal;
            }
            Next::NotUntil(until) => {
                assert!(until > after, "{until:?} is not after {after:?}");
                after = until;
            }
            Next::Never => break,
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((at, rest)) = data.split_first_chunk::<8>() else { return };
    let after = Timestamp(i64::from_le_bytes(*at));
    if let Ok(message) = ScheduleSpec::decode(rest) {
        spec(message, after);
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if let Ok(Some(next)) = Cron.next(text, after) {
        assert!(next > after, "{next:?} is not after {after:?}");
    }
    spec(ScheduleSpec { cron_string: text.lines().map(str::to_owned).collect(), ..Default::default() }, after);
    let mut fields = text.split('|').map(str::to_owned);
    let mut field = || fields.next().unwrap_or_default();
    let calendar = CalendarSpec {
        second: field(),
        minute: field(),
        hour: field(),
        day_of_month: field(),
        month: field(),
        year: field(),
        day_of_week: field(),
        comment: field(),
    };
    let timezone_name = field();
    spec(ScheduleSpec { calendar: vec![calendar], timezone_name, ..Default::default() }, after);
    if let Some(time) = visibility::parse_datetime(text) {
        let printed = visibility::format_datetime(time);
        assert_eq!(visibility::parse_datetime(&printed), Some(time), "{printed}");
    }
    spec(ScheduleSpec { timezone_data: rest.to_vec().into(), cron_string: vec!["* * * * *".into()], ..Default::default() }, after);
});
