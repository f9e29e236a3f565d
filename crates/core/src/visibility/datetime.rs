//! Points in time as text: RFC 3339, with up to nine digits of fraction.

use alloc::{format, string::String};

use crate::Timestamp;

/// The close time of open runs where it is compared: later than every other time.
pub const END_OF_TIME: Timestamp = Timestamp(i64::MAX);

const NANOS: i128 = 1_000_000_000;
const DAY: i64 = 24 * 3600;

/// Reads RFC 3339 text. Times outside the range of [`Timestamp`] become its ends, so that "before the year 9999"
/// means what it says.
pub fn parse_datetime(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let number = |from: usize, digits: usize| {
        let digits = bytes.get(from..from + digits)?;
        digits.iter().try_fold(0i64, |n, d| d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0')))
    };
    let is = |at: usize, byte: u8| bytes.get(at) == Some(&byte);
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let marks = is(4, b'-') && is(7, b'-') && is(10, b'T') && is(13, b':') && is(16, b':');
    if !marks || !(1..=12).contains(&month) || day < 1 || day > days_of(year, month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if is(at, b'.') {
        let digits = bytes[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        let used = digits.min(9);
        nanos = number(at + 1, used)? * 10i64.pow(9 - used as u32);
        at += 1 + digits;
    }
    let offset = match bytes.get(at)? {
        b'Z' if bytes.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if bytes.len() == at + 6 && is(at + 3, b':') => {
            let (hours, minutes) = (number(at + 1, 2)?, number(at + 4, 2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if *sign == b'+' { 1 } else { -1 }
        }
        _ => return None,
    };
    let seconds = days_since_1970(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
    let ns = i128::from(seconds) * NANOS + i128::from(nanos);
    Some(Timestamp(ns.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64))
}

/// Writes RFC 3339 text in UTC, with as much fraction as is needed. [`parse_datetime`] reads it back.
pub fn format_datetime(time: Timestamp) -> String {
    let (seconds, nanos) = (time.0.div_euclid(NANOS as i64), time.0.rem_euclid(NANOS as i64));
    let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if nanos != 0 {
        text.push_str(format!(".{nanos:09}").trim_end_matches('0'));
    }
    text.push('Z');
    text
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar, in years that begin in March so that the leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ns(text: &str) -> Option<i64> {
        parse_datetime(text).map(|t| t.0)
    }

    #[test]
    fn known_points() {
        assert_eq!(ns("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(ns("2001-09-09T01:46:40Z"), Some(1_000_000_000_000_000_000));
        assert_eq!(ns("2000-02-29T23:59:59.5+00:00"), Some(951_868_799_500_000_000));
        assert_eq!(ns("1969-12-31T23:59:59.999999999Z"), Some(-1));
        assert_eq!(ns("2026-01-01T01:00:00+01:00"), ns("2026-01-01T00:00:00Z"));
        assert_eq!(ns("2025-12-31T16:30:00-07:30"), ns("2026-01-01T00:00:00Z"));
        assert_eq!(ns("2026-01-01T00:00:00.1234567899Z"), ns("2026-01-01T00:00:00.123456789Z"));
    }

    #[test]
    fn outside_the_range_means_its_ends() {
        assert_eq!(parse_datetime("9999-12-31T23:59:59Z"), Some(END_OF_TIME));
        assert_eq!(ns("0001-01-01T00:00:00Z"), Some(i64::MIN));
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "2026",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01 00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00Z ",
            "2026-01-01T00:00:00+0100",
            "2026-01-01T00:00:00+24:00",
            "2026-1-01T00:00:00Z",
            "+026-01-01T00:00:00Z",
            "2026-01-01T00:00:00é",
        ] {
            assert_eq!(ns(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_there_and_back() {
        for day in (-106_000i64..106_000).step_by(7) {
            let time = Timestamp(day * DAY * NANOS as i64 + 1);
            assert_eq!(parse_datetime(&format_datetime(time)), Some(time), "{}", format_datetime(time));
        }
        for extreme in [Timestamp(i64::MAX), Timestamp(i64::MIN), Timestamp(0)] {
            assert_eq!(parse_datetime(&format_datetime(extreme)), Some(extreme));
        }
        assert_eq!(format_datetime(Timestamp(951_868_799_500_000_000)), "2000-02-29T23:59:59.5Z");
    }
}
