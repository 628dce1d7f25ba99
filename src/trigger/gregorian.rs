//! The proleptic Gregorian calendar as arithmetic on day numbers: day 0 is 1970-01-01.
//!
//! Wall-clock time is kept as seconds since 1970-01-01T00:00 on the wall, so that the evaluators work on integers; the
//! tests hold every function here against jiff.

/// Seconds of a day on the wall.
pub(super) const DAY: i64 = 86_400;

/// The Gregorian calendar, weekdays included, repeats after this many years…
pub(super) const CYCLE_YEARS: i32 = 400;
/// …which are this many days.
pub(super) const CYCLE_DAYS: i64 = 146_097;

/// The last year that instants reach.
pub(super) const LAST_YEAR: i32 = 9_999;

/// The day number of a date.
pub(super) fn from_date(year: i32, month: u32, day: u32) -> i64 {
    // Years begin in March, so that the leap day is a year's last.
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * i64::from((month + 9) % 12) + 2) / 5 + i64::from(day) - 1;
    era * CYCLE_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date (year, month, day) of a day number.
pub(super) fn to_date(day: i64) -> (i32, u32, u32) {
    let day = day + 719_468;
    let era = day.div_euclid(CYCLE_DAYS);
    let of_era = day.rem_euclid(CYCLE_DAYS);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    ((year + era * 400 + i64::from(month <= 2)) as i32, month as u32, day as u32)
}

/// How many days a month has.
pub(super) fn in_month(year: i32, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// 0 is Sunday.
pub(super) fn weekday(day: i64) -> u32 {
    (day + 4).rem_euclid(7) as u32
}

/// The ISO 8601 week of a day, from 1.
pub(super) fn iso_week(day: i64) -> u32 {
    // A week belongs to the year of its Thursday.
    let thursday = day - i64::from((weekday(day) + 6) % 7) + 3;
    let first = from_date(to_date(thursday).0, 1, 1);
    ((thursday - first) / 7 + 1) as u32
}

#[cfg(test)]
mod tests {
    use jiff::civil::Date;

    use super::*;

    #[test]
    fn every_day_of_eight_centuries_is_the_one_that_jiff_says() {
        let mut date = Date::constant(1600, 1, 1);
        let mut day = from_date(1600, 1, 1);
        while date.year() < 2400 {
            let want = (i32::from(date.year()), date.month() as u32, date.day() as u32);
            assert_eq!(to_date(day), want);
            assert_eq!(from_date(want.0, want.1, want.2), day);
            assert_eq!(weekday(day), date.weekday().to_sunday_zero_offset() as u32, "{date}");
            assert_eq!(in_month(want.0, want.1), date.days_in_month() as u32);
            assert_eq!(iso_week(day), date.iso_week_date().week() as u32, "{date}");
            date = date.tomorrow().unwrap();
            day += 1;
        }
    }

    #[test]
    fn the_ends_of_time_are_dates_too() {
        for date in [Date::MIN, Date::MAX, Date::constant(-4, 2, 29), Date::constant(0, 3, 1)] {
            let want = (i32::from(date.year()), date.month() as u32, date.day() as u32);
            assert_eq!(to_date(from_date(want.0, want.1, want.2)), want);
        }
        assert_eq!(from_date(1970, 1, 1), 0);
    }
}
