//! `calendar`: every so many years, months, weeks and days, at a time of the wall.
//!
//! The k-th date is the first one moved by k times the years and months, the day of the month kept (a month without it is
//! skipped, or with `last` its last day is taken), and then by k times the weeks and days. So a date needs no other date
//! to be known, and the first at or after a day is found by division.

use super::gregorian::{self, CYCLE_DAYS, CYCLE_YEARS, DAY, LAST_YEAR};
use super::wall::WallTimes;

/// The mean length of a month in seconds, which is whole.
const MONTH: i64 = CYCLE_DAYS * DAY / (CYCLE_YEARS as i64 * 12);

#[derive(Clone, Debug)]
pub(super) struct Calendar {
    /// The first date, as year, month and day of the month.
    pub first: (i32, u32, u32),
    /// Years are 12 of them. At most `MONTHS_MAX`.
    pub months: u32,
    /// Weeks are 7 of them. At most `DAYS_MAX`; not both are 0.
    pub days: u32,
    /// The last day of the month instead of the first date's.
    pub last: bool,
    /// Seconds since midnight on the wall.
    pub time: i64,
}

/// 1,000 years.
pub(super) const MONTHS_MAX: u32 = 12_000;
pub(super) const DAYS_MAX: u32 = 366_000;

impl Calendar {
    /// The k-th wall time, and whether there is such a date. Where there is none, the month's last day stands in its
    /// place, so that the order is kept.
    fn nth(&self, k: i64) -> (i64, bool) {
        let (year, month, day) = self.first;
        let months = i64::from(year) * 12 + i64::from(month) - 1 + k * i64::from(self.months);
        let (year, month) = (months.div_euclid(12) as i32, months.rem_euclid(12) as u32 + 1);
        let length = gregorian::in_month(year, month);
        let day = if self.last { length } else { day };
        let date = gregorian::from_date(year, month, day.min(length)) + k * i64::from(self.days);
        (date * DAY + self.time, day <= length)
    }

    /// The least k, from 0, whose wall time is at or after `wall`.
    fn first_from(&self, wall: i64) -> i64 {
        let step = i64::from(self.months) * MONTH + i64::from(self.days) * DAY;
        // No month's beginning is more than some days off the mean, so a few steps mend the estimate.
        let mut k = ((wall - self.nth(0).0).div_euclid(step)).max(0);
        while k > 0 && self.nth(k - 1).0 >= wall {
            k -= 1;
        }
        while self.nth(k).0 < wall {
            k += 1;
        }
        k
    }

    /// Whether every date exists.
    fn is_dense(&self) -> bool {
        self.last || self.months == 0 || self.first.2 <= 28
    }

    /// In words, without the zone.
    pub fn describe(&self) -> String {
        let every = |n: u32, unit: &str| match n {
            0 => None,
            1 => Some(format!("1 {unit}")),
            n => Some(format!("{n} {unit}s")),
        };
        let parts = [every(self.months / 12, "year"), every(self.months % 12, "month"), every(self.days / 7, "week"), every(self.days % 7, "day")];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        let period = match &parts[..] {
            [one] => one.strip_prefix("1 ").unwrap_or(one).to_owned(),
            several => several.join(" and "),
        };
        let (year, month, day) = self.first;
        let on = match self.months {
            0 => String::new(),
            _ if self.last => " on the last day of the month".to_owned(),
            _ if !self.is_dense() => format!(" on day {day} (a month without it is skipped)"),
            _ => format!(" on day {day}"),
        };
        let (hour, minute, second) = (self.time / 3_600, self.time / 60 % 60, self.time % 60);
        let seconds = if second == 0 { String::new() } else { format!(":{second:02}") };
        format!("at {hour:02}:{minute:02}{seconds}, every {period}{on}, from {year}-{month:02}-{day:02}")
    }
}

impl WallTimes for Calendar {
    fn next_from(&self, wall: i64) -> Option<i64> {
        let end = gregorian::from_date(LAST_YEAR + 1, 1, 1) * DAY;
        (self.first_from(wall)..).map(|k| self.nth(k)).take_while(|&(wall, _)| wall < end).find_map(|(wall, exists)| exists.then_some(wall))
    }

    fn last_until(&self, wall: i64) -> Option<i64> {
        (0..self.first_from(wall.saturating_add(1))).rev().map(|k| self.nth(k)).find_map(|(wall, exists)| exists.then_some(wall))
    }

    fn count(&self, from: i64, to: i64) -> u64 {
        let (first, end) = (self.first_from(from), self.first_from(to));
        if self.is_dense() { end.abs_diff(first) } else { (first..end).filter(|&k| self.nth(k).1).count() as u64 }
    }
}

#[cfg(test)]
mod tests {
    use crate::trigger::testing::{compile, fires, fires_back, trigger};

    fn next(calendar: &str, start: &str, n: usize) -> Vec<String> {
        let json = format!(r#"{{"calendar":{{{calendar}}},"start":"{start}","timezone":"Europe/Berlin"}}"#);
        fires(&json, "2020-01-01T00:00:00Z", n).into_iter().map(|t| t[..16].replace('T', " ")).collect()
    }

    #[test]
    fn months_keep_the_day_and_skip_those_without_it() {
        assert_eq!(next(r#""months":1,"time":"09:00""#, "2026-01-31", 4), ["2026-01-31 09:00", "2026-03-31 09:00", "2026-05-31 09:00", "2026-07-31 09:00"]);
        assert_eq!(next(r#""years":1"#, "2024-02-29", 3), ["2024-02-29 00:00", "2028-02-29 00:00", "2032-02-29 00:00"]);
        assert_eq!(next(r#""months":1,"day":"last""#, "2026-01-15", 3), ["2026-01-31 00:00", "2026-02-28 00:00", "2026-03-31 00:00"]);
    }

    #[test]
    fn weeks_and_days_are_added() {
        assert_eq!(next(r#""weeks":2,"time":"8:30""#, "2026-01-01", 3), ["2026-01-01 08:30", "2026-01-15 08:30", "2026-01-29 08:30"]);
        assert_eq!(next(r#""months":1,"days":1"#, "2026-01-15", 3), ["2026-01-15 00:00", "2026-02-16 00:00", "2026-03-17 00:00"]);
        assert_eq!(next(r#""weeks":1,"days":3"#, "2026-01-01", 2), ["2026-01-01 00:00", "2026-01-11 00:00"]);
    }

    #[test]
    fn clock_changes_follow_the_rules_of_cron() {
        let days = r#"{"calendar":{"days":1,"time":"02:30"},"start":"2026-01-01","timezone":"Europe/Berlin"}"#;
        assert_eq!(fires(days, "2026-03-28T12:00:00Z", 2), ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]);
        assert_eq!(fires(days, "2026-10-24T12:00:00Z", 2), ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]);
    }

    #[test]
    fn without_a_start_it_begins_on_the_day_of_its_anchor() {
        let json = r#"{"calendar":{"days":2,"time":"09:00"},"timezone":"America/New_York"}"#;
        // The anchor, midnight in Greenwich, is still the day before in New York.
        assert_eq!(fires(json, "2025-01-01T00:00:00Z", 2), ["2025-12-31T09:00:00-05:00", "2026-01-02T09:00:00-05:00"]);
        assert_eq!(fires_back(json, "2025-12-31T12:00:00Z", 9), [""; 0]);
    }

    #[test]
    fn what_makes_no_calendar_is_refused() {
        for calendar in [
            r#""time":"09:00""#,
            r#""months":0"#,
            r#""months":-1"#,
            r#""months":1.5"#,
            r#""months":99999"#,
            r#""month":1"#,
            r#""days":1,"day":"last""#,
            r#""months":1,"day":"first""#,
            r#""months":1,"time":"25:00""#,
            r#""months":1,"time":"9""#,
            r#""months":1,"time":"09:00:00:00""#,
        ] {
            assert!(compile(&format!(r#"{{"calendar":{{{calendar}}}}}"#)).is_err(), "{calendar}");
        }
        assert!(compile(r#"{"calendar":{"days":1},"start":"2026-02-30"}"#).is_err());
    }

    #[test]
    fn it_is_said_in_words() {
        let words = |json| trigger(json).describe();
        assert_eq!(
            words(r#"{"calendar":{"months":1,"time":"09:00"},"start":"2026-01-31"}"#),
            "at 09:00, every month on day 31 (a month without it is skipped), from 2026-01-31, UTC time"
        );
        assert_eq!(words(r#"{"calendar":{"weeks":2},"start":"2026-01-31"}"#), "at 00:00, every 2 weeks, from 2026-01-31, UTC time");
    }
}
