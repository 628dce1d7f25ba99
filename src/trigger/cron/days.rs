//! Which days of a month a cron expression names, as one bitmap per month: bit `d` is day `d`.

use crate::trigger::gregorian;

/// All of a field's weekdays.
pub(super) const EVERY_WEEKDAY: u8 = 0x7f;
/// Bits 1 to 31.
pub(super) const EVERY_DAY: u32 = 0xffff_fffe;

/// The two day fields, and how they go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Days {
    pub of_month: DaysOfMonth,
    pub of_week: DaysOfWeek,
    /// Bit `w` is ISO week `w`.
    pub weeks: Option<u64>,
    /// A day that either field names is enough; else both must.
    pub either: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DaysOfMonth {
    pub days: u32,
    /// Bit `n` is the n-th day before the last (`L` is bit 0).
    pub from_last: u32,
    /// Bit `d` is the weekday nearest to day `d` (`15W`).
    pub nearest: u32,
    /// The last weekday (`LW`).
    pub last_workday: bool,
    /// `2nd tue`, `last fri` of a fields trigger.
    pub nth: Nth,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DaysOfWeek {
    /// Bit 0 is Sunday.
    pub days: u8,
    pub nth: Nth,
}

/// Weekdays by their place in the month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Nth {
    /// `nth[n]`: the weekdays of which the (n + 1)-th is meant.
    pub nth: [u8; 5],
    /// The weekdays of which the last is meant.
    pub last: u8,
}

/// A month, as far as days need it.
#[derive(Clone, Copy)]
struct Month {
    /// Day number of its first day, and the weekday of that.
    first: i64,
    weekday: u32,
    days: u32,
}

impl Days {
    /// The days of a month.
    pub fn in_month(&self, year: i32, month: u32) -> u32 {
        let first = gregorian::from_date(year, month, 1);
        let month = Month { first, weekday: gregorian::weekday(first), days: gregorian::in_month(year, month) };
        let (of_month, of_week) = (self.of_month.in_month(month), self.of_week.in_month(month));
        let named = if self.either { of_month | of_week } else { of_month & of_week };
        let named = self.weeks.map_or(named, |weeks| named & month.in_weeks(weeks));
        named & month.every_day()
    }
}

impl DaysOfMonth {
    fn in_month(&self, month: Month) -> u32 {
        let mut days = self.days;
        if self.from_last != 0 {
            // Bit n becomes bit `days - n`: mirrored, then moved to end at the month's last day.
            days |= self.from_last.reverse_bits() >> (31 - month.days);
        }
        if self.nearest != 0 {
            days |= (1..=month.days).filter(|day| self.nearest >> day & 1 == 1).fold(0, |bits, day| bits | 1 << month.nearest_workday(day));
        }
        if self.last_workday {
            days |= 1 << month.nearest_workday(month.days);
        }
        days | self.nth.in_month(month)
    }
}

impl DaysOfWeek {
    fn in_month(&self, month: Month) -> u32 {
        if self.days == EVERY_WEEKDAY { EVERY_DAY } else { month.weekdays(self.days) | self.nth.in_month(month) }
    }
}

impl Nth {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn in_month(&self, month: Month) -> u32 {
        if self.is_empty() {
            return 0;
        }
        let nth = self.nth.iter().enumerate().fold(0, |bits, (n, &weekdays)| bits | month.weekdays(weekdays) & (0xfe_u32 << (7 * n)));
        let last_seven = (0x7f_u32 << (month.days - 7)) << 1;
        nth | month.weekdays(self.last) & last_seven
    }
}

impl Month {
    fn every_day(self) -> u32 {
        EVERY_DAY & (u32::MAX >> (31 - self.days))
    }

    /// The days that fall on the given weekdays. May go past the month's end.
    fn weekdays(self, weekdays: u8) -> u32 {
        // Seven bits beginning with the first day's weekday, repeated.
        let week = (u64::from(weekdays) >> self.weekday | u64::from(weekdays) << (7 - self.weekday)) & 0x7f;
        (((week * 0x1020_4081) & 0x7fff_ffff) << 1) as u32
    }

    /// The day, Monday to Friday, that is nearest to `day` and in the same month.
    fn nearest_workday(self, day: u32) -> u32 {
        match (self.weekday + day - 1) % 7 {
            6 if day == 1 => 3,
            6 => day - 1,
            0 if day == self.days => day - 2,
            0 => day + 1,
            _ => day,
        }
    }

    fn in_weeks(self, weeks: u64) -> u32 {
        (1..=self.days).filter(|day| weeks >> gregorian::iso_week(self.first + i64::from(*day) - 1) & 1 == 1).fold(0, |bits, day| bits | 1 << day)
    }
}
