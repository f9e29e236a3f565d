//! A structured calendar as sets of bits, and the first second of local time that it matches.

use sempre_api::v1::schedule::StructuredCalendarSpec;

use super::{
    civil::{self, DAY},
    parse::{YEARS, values},
};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Calendar {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// From the first of [`YEARS`]; `None`: every year.
    years: Option<u128>,
}

const SIXTY: u64 = (1 << 60) - 1;
const HOURS: u64 = (1 << 24) - 1;

/// The lowest bit that is set, from `from` on.
fn from(bits: u64, from: i64) -> Option<i64> {
    let rest = if from < 64 { bits >> from << from } else { 0 };
    (rest != 0).then(|| i64::from(rest.trailing_zeros()))
}

fn has(bits: u64, bit: u8) -> bool {
    bits & 1 << bit != 0
}

impl Calendar {
    /// Of a calendar that was checked.
    pub(super) fn new(calendar: &StructuredCalendarSpec) -> Self {
        let bits = |ranges| values(ranges).filter(|v| (0..64).contains(v)).fold(0_u64, |bits, v| bits | 1 << v);
        let years = |ranges| values(ranges).filter(|v| YEARS.contains(v)).fold(0_u128, |bits, v| bits | 1 << (v - YEARS.start()));
        Self {
            seconds: bits(&calendar.second),
            minutes: bits(&calendar.minute),
            hours: bits(&calendar.hour),
            days: bits(&calendar.day_of_month),
            months: bits(&calendar.month),
            weekdays: bits(&calendar.day_of_week),
            years: (!calendar.year.is_empty()).then(|| years(&calendar.year)),
        }
    }

    fn year_matches(&self, year: i64) -> bool {
        let Some(years) = self.years else { return true };
        let bit = year - i64::from(*YEARS.start());
        (0..128).contains(&bit) && years & 1 << bit != 0
    }

    fn day_matches(&self, day: i64) -> bool {
        let date = civil::date(day);
        self.year_matches(date.year) && has(self.months, date.month) && has(self.days, date.day) && has(self.weekdays, civil::weekday(day))
    }

    /// The first second of local time that matches, at or after `local` and before `until`.
    pub(super) fn first(&self, local: i64, until: i64) -> Option<i64> {
        let (mut day, mut second) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        loop {
            if day.checked_mul(DAY).is_none_or(|begin| begin >= until) {
                return None;
            }
            let date = civil::date(day);
            if !self.year_matches(date.year) {
                day = civil::first_of_month(date.year + 1, 1);
            } else if !has(self.months, date.month) {
                day = civil::first_of_month(date.year, date.month + 1);
            } else {
                let matches = has(self.days, date.day) && has(self.weekdays, civil::weekday(day));
                if let Some(at) = matches.then(|| self.second_of_day(second)).flatten() {
                    return Some(day * DAY + at).filter(|at| *at < until);
                }
                day += 1;
            }
            second = 0;
        }
    }

    /// The first second of a day that matches, at or after `second`.
    fn second_of_day(&self, second: i64) -> Option<i64> {
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let of_minute = |h: i64, m: i64, s: i64| from(self.seconds, s).map(|s| h * 3600 + m * 60 + s);
        let of_hour = |h: i64, m: i64, s: i64| {
            let now = from(self.minutes, m).and_then(|found| of_minute(h, found, if found == m { s } else { 0 }));
            now.or_else(|| from(self.minutes, m + 1).and_then(|m| of_minute(h, m, 0)))
        };
        let found = from(self.hours, hour)?;
        let now = if found == hour { of_hour(hour, minute, second) } else { of_hour(found, 0, 0) };
        now.or_else(|| from(self.hours, hour + 1).and_then(|h| of_hour(h, 0, 0)))
    }

    /// Whether a second of local time matches.
    pub(super) fn matches(&self, local: i64) -> bool {
        let second = local.rem_euclid(DAY);
        self.day_matches(local.div_euclid(DAY)) && self.second_of_day(second) == Some(second)
    }

    /// The last second of local time up to which everything surely matches, from one that matches on.
    pub(super) fn matches_until(&self, local: i64) -> i64 {
        let end_of = |unit: i64| local - local.rem_euclid(unit) + unit - 1;
        if self.seconds != SIXTY {
            local
        } else if self.minutes != SIXTY {
            end_of(60)
        } else if self.hours != HOURS {
            end_of(3600)
        } else {
            end_of(DAY)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::parse::{every_second, range};

    #[test]
    fn the_first_match_is_what_second_by_second_finds() {
        let mut calendar = every_second();
        calendar.second = range(7, 40, 11);
        calendar.minute = range(3, 50, 13);
        calendar.hour = range(2, 23, 9);
        let calendar = Calendar::new(&calendar);
        let mut expected = None;
        // Backwards, so that the next match is always known. 1970-01-01 to 03.
        for local in (0..3 * DAY).rev() {
            if calendar.matches(local) {
                expected = Some(local);
            }
            let found = calendar.first(local, 3 * DAY);
            assert_eq!(found, expected, "{local}");
        }
        assert_eq!(calendar.first(0, 2 * 3600), None, "before the end only");
    }

    #[test]
    fn what_matches_for_long_is_skipped_at_once() {
        let all = every_second();
        assert_eq!(Calendar::new(&all).matches_until(100), DAY - 1);
        let hours = StructuredCalendarSpec { hour: range(0, 22, 0), ..all.clone() };
        assert_eq!(Calendar::new(&hours).matches_until(100), 3599);
        let minutes = StructuredCalendarSpec { minute: range(0, 58, 0), ..all.clone() };
        assert_eq!(Calendar::new(&minutes).matches_until(100), 119);
        let seconds = StructuredCalendarSpec { second: range(0, 58, 0), ..all };
        assert_eq!(Calendar::new(&seconds).matches_until(100), 100);
    }

    #[test]
    fn years_and_days_that_never_come() {
        let leap =
            StructuredCalendarSpec { day_of_month: range(29, 0, 0), month: range(2, 0, 0), year: range(2001, 2009, 0), ..every_second() };
        let found = Calendar::new(&leap).first(0, i64::MAX).expect("in 2004");
        assert_eq!(civil::date(found.div_euclid(DAY)), civil::Date { year: 2004, month: 2, day: 29 });
        let never = StructuredCalendarSpec { day_of_month: range(31, 0, 0), month: range(2, 0, 0), ..every_second() };
        assert_eq!(Calendar::new(&never).first(0, 4_200_000_000), None);
        let nothing = StructuredCalendarSpec { hour: Default::default(), ..every_second() };
        assert_eq!(Calendar::new(&nothing).first(0, 4_200_000_000), None);
    }
}
