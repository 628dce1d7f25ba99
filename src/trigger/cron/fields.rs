//! The evaluator of every cron dialect: field bitmaps, asked forwards, backwards and for a number.
//!
//! A day is looked for month by month in bitmaps, a time of day in a few bit operations. The calendar repeats after 400
//! years, so no search looks at more months than that: a bound that no expression can stretch.

use super::days::Days;
use crate::trigger::gregorian::{self, CYCLE_YEARS, DAY, LAST_YEAR};
use crate::trigger::wall::WallTimes;

/// The months that a search looks at, at most.
const MONTHS_MAX: u32 = CYCLE_YEARS as u32 * 12 + 12;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    /// Bit `n` is second, minute, hour, month `n`. None is empty.
    pub seconds: u64,
    pub minutes: u64,
    pub hours: u32,
    pub months: u16,
    pub days: Days,
    /// `None` is every year.
    pub years: Option<Box<Years>>,
}

/// A set of the years 1970 to 2225.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Years([u64; 4]);

impl Years {
    pub const FIRST: i32 = 1_970;
    pub const LAST: i32 = 2_225;

    /// `year` is between `FIRST` and `LAST`.
    pub fn insert(&mut self, year: i32) {
        let n = (year - Self::FIRST) as usize;
        self.0[n / 64] |= 1 << (n % 64);
    }

    pub fn contains(&self, year: i32) -> bool {
        (Self::FIRST..=Self::LAST).contains(&year) && self.0[(year - Self::FIRST) as usize / 64] >> ((year - Self::FIRST) % 64) & 1 == 1
    }

    fn next_from(&self, year: i32) -> Option<i32> {
        (year.max(Self::FIRST)..=Self::LAST).find(|&year| self.contains(year))
    }

    fn last_until(&self, year: i32) -> Option<i32> {
        (Self::FIRST..=year.min(Self::LAST)).rev().find(|&year| self.contains(year))
    }
}

impl Fields {
    /// How many times of day there are.
    pub fn per_day(&self) -> u64 {
        u64::from(self.hours.count_ones()) * u64::from(self.minutes.count_ones()) * u64::from(self.seconds.count_ones())
    }

    /// Whether there is any day at all.
    pub fn has_days(&self) -> bool {
        self.next_day(gregorian::from_date(Years::FIRST, 1, 1)).is_some()
    }

    fn days_of(&self, year: i32, month: u32) -> u32 {
        #[cfg(test)]
        tests::MONTHS_LOOKED_AT.with(|count| count.set(count.get() + 1));
        if self.months >> month & 1 == 0 || self.years.as_ref().is_some_and(|years| !years.contains(year)) { 0 } else { self.days.in_month(year, month) }
    }

    /// The first day at or after `day`.
    fn next_day(&self, day: i64) -> Option<i64> {
        let (mut year, mut month, from) = gregorian::to_date(day);
        let mut allowed = u32::MAX << from;
        for _ in 0..MONTHS_MAX {
            let days = self.days_of(year, month) & allowed;
            if days != 0 {
                return Some(gregorian::from_date(year, month, days.trailing_zeros()));
            }
            allowed = u32::MAX;
            let later = u32::from(self.months) & (u32::MAX << (month + 1));
            if later != 0 {
                month = later.trailing_zeros();
            } else {
                month = self.months.trailing_zeros();
                year += 1;
                if let Some(years) = &self.years {
                    year = years.next_from(year)?;
                }
                if year > LAST_YEAR {
                    return None;
                }
            }
        }
        None
    }

    /// The last day at or before `day`.
    fn last_day(&self, day: i64) -> Option<i64> {
        let (mut year, mut month, until) = gregorian::to_date(day);
        let mut allowed = u32::MAX >> (31 - until);
        for _ in 0..MONTHS_MAX {
            let days = self.days_of(year, month) & allowed;
            if days != 0 {
                return Some(gregorian::from_date(year, month, days.ilog2()));
            }
            allowed = u32::MAX;
            let earlier = u32::from(self.months) & ((1 << month) - 1);
            if earlier != 0 {
                month = earlier.ilog2();
            } else {
                month = self.months.ilog2();
                year -= 1;
                if let Some(years) = &self.years {
                    year = years.last_until(year)?;
                }
                if year < -LAST_YEAR {
                    return None;
                }
            }
        }
        None
    }

    fn has_day(&self, day: i64) -> bool {
        let (year, month, of_month) = gregorian::to_date(day);
        self.days_of(year, month) >> of_month & 1 == 1
    }

    /// How many days there are from `from` up to, not including, `to`.
    fn count_days(&self, from: i64, to: i64) -> u64 {
        let (mut year, mut month, first) = gregorian::to_date(from);
        let (last_year, last_month, end) = gregorian::to_date(to);
        let mut allowed = u32::MAX << first;
        let mut count = 0;
        while (year, month) < (last_year, last_month) {
            count += u64::from((self.days_of(year, month) & allowed).count_ones());
            allowed = u32::MAX;
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
        if (year, month) == (last_year, last_month) {
            count += u64::from((self.days_of(year, month) & allowed & ((1 << end) - 1)).count_ones());
        }
        count
    }

    /// The first time of day at or after `time`, in seconds since midnight on the wall.
    fn next_time(&self, time: i64) -> Option<i64> {
        let (hour, minute, second) = split(time);
        let first = |set: u64| i64::from(set.trailing_zeros());
        if self.hours >> hour & 1 == 1 {
            let here = self.seconds & (u64::MAX << second);
            if self.minutes >> minute & 1 == 1 && here != 0 {
                return Some(join(hour.into(), minute.into(), first(here)));
            }
            let later = self.minutes & (u64::MAX << (minute + 1));
            if later != 0 {
                return Some(join(hour.into(), first(later), first(self.seconds)));
            }
        }
        let later = self.hours & (u32::MAX << (hour + 1));
        (later != 0).then(|| join(later.trailing_zeros().into(), first(self.minutes), first(self.seconds)))
    }

    /// The last time of day at or before `time`.
    fn last_time(&self, time: i64) -> Option<i64> {
        let (hour, minute, second) = split(time);
        let last = |set: u64| i64::from(set.ilog2());
        if self.hours >> hour & 1 == 1 {
            let here = self.seconds & (u64::MAX >> (63 - second));
            if self.minutes >> minute & 1 == 1 && here != 0 {
                return Some(join(hour.into(), minute.into(), last(here)));
            }
            let earlier = self.minutes & ((1 << minute) - 1);
            if earlier != 0 {
                return Some(join(hour.into(), last(earlier), last(self.seconds)));
            }
        }
        let earlier = self.hours & ((1 << hour) - 1);
        (earlier != 0).then(|| join(earlier.ilog2().into(), last(self.minutes), last(self.seconds)))
    }

    /// How many times of day are before `time`.
    fn times_before(&self, time: i64) -> u64 {
        let (hour, minute, second) = split(time);
        let below = |set: u64, n: u32| u64::from((set & ((1 << n) - 1)).count_ones());
        let (minutes, seconds) = (u64::from(self.minutes.count_ones()), u64::from(self.seconds.count_ones()));
        let mut count = below(self.hours.into(), hour) * minutes * seconds;
        if self.hours >> hour & 1 == 1 {
            count += below(self.minutes, minute) * seconds;
            if self.minutes >> minute & 1 == 1 {
                count += below(self.seconds, second);
            }
        }
        count
    }
}

impl WallTimes for Fields {
    fn next_from(&self, wall: i64) -> Option<i64> {
        let (day, time) = (wall.div_euclid(DAY), wall.rem_euclid(DAY));
        // The time is looked for first: it costs less than the day.
        if let Some(time) = self.next_time(time).filter(|_| self.has_day(day)) {
            return Some(day * DAY + time);
        }
        Some(self.next_day(day + 1)? * DAY + self.next_time(0)?)
    }

    fn last_until(&self, wall: i64) -> Option<i64> {
        let (day, time) = (wall.div_euclid(DAY), wall.rem_euclid(DAY));
        if let Some(time) = self.last_time(time).filter(|_| self.has_day(day)) {
            return Some(day * DAY + time);
        }
        Some(self.last_day(day - 1)? * DAY + self.last_time(DAY - 1)?)
    }

    fn count(&self, from: i64, to: i64) -> u64 {
        let (first, last) = (from.div_euclid(DAY), to.div_euclid(DAY));
        let before = |day: i64, wall: i64| if self.has_day(day) { self.times_before(wall.rem_euclid(DAY)) } else { 0 };
        self.count_days(first, last) * self.per_day() + before(last, to) - before(first, from)
    }
}

fn split(time: i64) -> (u32, u32, u32) {
    // Less than a day.
    let time = time as u32;
    (time / 3_600, time / 60 % 60, time % 60)
}

fn join(hour: i64, minute: i64, second: i64) -> i64 {
    hour * 3_600 + minute * 60 + second
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::trigger::cron::unix;
    use crate::trigger::testing::SALT;

    thread_local! {
        pub(super) static MONTHS_LOOKED_AT: Cell<u32> = const { Cell::new(0) };
    }

    fn fields(expression: &str) -> Fields {
        unix::parse(expression, SALT).unwrap().fields
    }

    /// How many months are looked at.
    fn cost<T>(question: impl FnOnce() -> T) -> u32 {
        MONTHS_LOOKED_AT.set(0);
        question();
        MONTHS_LOOKED_AT.get()
    }

    #[test]
    fn a_usual_question_looks_at_a_few_months_and_no_question_at_more_than_the_calendar_has() {
        let noon = gregorian::from_date(2026, 7, 15) * DAY + 43_200;
        for expression in ["* * * * * *", "*/15 * * * *", "30 2 * * *", "0 9 * * mon-fri", "0 0 1 * *", "0 12 L * *"] {
            let fields = fields(expression);
            assert!(cost(|| fields.next_from(noon)) <= 3, "{expression}");
            assert!(cost(|| fields.last_until(noon)) <= 3, "{expression}");
        }
        // 29 February, 30 February, the 31st of short months, a fifth Monday in a February that begins on one.
        for expression in ["0 0 29 2 *", "0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 */29 2 mon#5", "0 0 L-30 2 *"] {
            let fields = fields(expression);
            assert!(cost(|| fields.next_from(noon)) <= MONTHS_MAX + 1, "{expression}");
            assert!(cost(|| fields.last_until(noon)) <= MONTHS_MAX + 1, "{expression}");
            assert!(cost(|| fields.has_days()) <= MONTHS_MAX, "{expression}");
        }
    }

    #[test]
    fn a_count_looks_at_each_month_once() {
        let (from, to) = (gregorian::from_date(2026, 1, 1) * DAY, gregorian::from_date(2027, 1, 1) * DAY);
        let every_second = fields("* * * * * *");
        assert_eq!(every_second.count(from, to), 365 * 86_400);
        assert!(cost(|| every_second.count(from, to)) <= 15);
    }

    #[test]
    fn a_count_is_the_difference_of_counts() {
        let fields = fields("*/7 3,50 */5 * * mon,thu");
        let start = gregorian::from_date(2026, 3, 1) * DAY;
        let whole = fields.count(start, start + 40 * DAY);
        for cut in (0..40 * DAY).step_by(77_777) {
            assert_eq!(fields.count(start, start + cut) + fields.count(start + cut, start + 40 * DAY), whole);
        }
    }

    #[test]
    fn years_bound_both_ways() {
        let mut years = Years::default();
        [1_970, 2_000, 2_225].into_iter().for_each(|year| years.insert(year));
        let fields = Fields { years: Some(Box::new(years)), ..fields("0 0 1 1 *") };
        let new_year = |year| gregorian::from_date(year, 1, 1) * DAY;
        assert_eq!(fields.next_from(new_year(-5_000)), Some(new_year(1_970)));
        assert_eq!(fields.next_from(new_year(1_970) + 1), Some(new_year(2_000)));
        assert_eq!(fields.next_from(new_year(2_225) + 1), None);
        assert_eq!(fields.last_until(new_year(9_999)), Some(new_year(2_225)));
        assert_eq!(fields.last_until(new_year(1_970) - 1), None);
    }
}
