//! The Gregorian calendar in whole seconds: days since 1970 to year, month and day, and back.

/// Seconds of a day.
pub(super) const DAY: i64 = 86_400;

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) year: i64,
    /// 1 to 12.
    pub(super) month: u8,
    /// 1 to 31.
    pub(super) day: u8,
}

/// Days of an era of 400 years, and of the years 0 to 1969 from March on.
const ERA: i64 = 146_097;
const TO_1970: i64 = 719_468;

/// The date of a day since 1970-01-01. Years begin in March here, so that the leap day is the last of a year.
pub(super) fn date(day: i64) -> Date {
    let day = day + TO_1970;
    let of_era = day.rem_euclid(ERA);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + day.div_euclid(ERA) * 400 + i64::from(month <= 2);
    Date { year, month: month as u8, day: day_of_month as u8 }
}

/// The day of the first of a month, since 1970-01-01; month 13 is the next January.
pub(super) fn first_of_month(year: i64, month: u8) -> i64 {
    let (year, month) = if month > 12 { (year + 1, 1) } else { (year, i64::from(month)) };
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let year_of_era = year.rem_euclid(400);
    let of_year = (153 * from_march + 2) / 5;
    year.div_euclid(400) * ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - TO_1970
}

/// 0 is Sunday; 1970-01-01 was a Thursday.
pub(super) fn weekday(day: i64) -> u8 {
    (day + 4).rem_euclid(7) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        let mut expected = Date { year: 1900, month: 1, day: 1 };
        // 1900-01-01 was a Monday.
        for (n, day) in (-25_567..100_000).enumerate() {
            assert_eq!(date(day), expected, "{day}");
            assert_eq!(weekday(day), ((n + 1) % 7) as u8);
            let leap = expected.year % 4 == 0 && (expected.year % 100 != 0 || expected.year % 400 == 0);
            let length = match expected.month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            if expected.day == 1 {
                assert_eq!(first_of_month(expected.year, expected.month), day);
                assert_eq!(first_of_month(expected.year, expected.month + 1), day + i64::from(length));
            }
            if expected.day < length {
                expected.day += 1;
            } else if expected.month < 12 {
                expected = Date { month: expected.month + 1, day: 1, ..expected };
            } else {
                expected = Date { year: expected.year + 1, month: 1, day: 1 };
            }
        }
    }
}
