//! What a cron expression means, written as plainly as can be: whether it names a minute is asked of every minute on the
//! wall, and jiff says when, and how often, a zone's wall shows it. Nothing is shared with the code under test.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub enum Item {
    Star,
    StarStep(u32),
    Value(u32),
    /// Goes round where the first is above the last.
    Range(u32, u32),
    RangeStep(u32, u32, u32),
    From(u32, u32),
}

#[derive(Clone, Debug)]
pub enum DayItem {
    Plain(Item),
    Last,
    LastMinus(u32),
    LastWorkday,
    Nearest(u32),
}

#[derive(Clone, Debug)]
pub enum WeekdayItem {
    Plain(Item),
    Nth(u32, u32),
    LastOf(u32),
}

#[derive(Clone, Debug)]
pub struct Expression {
    pub seconds: Option<Vec<Item>>,
    pub minutes: Vec<Item>,
    pub hours: Vec<Item>,
    pub days: Vec<DayItem>,
    pub months: Vec<Item>,
    pub weekdays: Vec<WeekdayItem>,
}

impl Item {
    fn is_star(&self) -> bool {
        matches!(self, Self::Star | Self::StarStep(_))
    }

    /// `size` is how many values the field has, from `low`.
    fn holds(&self, value: u32, low: u32, size: u32) -> bool {
        let walk = |first: u32, last: u32, step: u32| {
            let last = if first <= last { last } else { last + size };
            (first..=last).filter(|n| (n - first).is_multiple_of(step)).any(|n| (n - low) % size == value - low)
        };
        match *self {
            Self::Star => true,
            Self::StarStep(step) => (value - low).is_multiple_of(step),
            Self::Value(n) => (n - low) % size == value - low,
            Self::Range(first, last) => walk(first, last, 1),
            Self::RangeStep(first, last, step) => walk(first, last, step),
            Self::From(first, step) => value >= first && (value - first).is_multiple_of(step),
        }
    }
}

fn any_holds(items: &[Item], value: u32, low: u32, size: u32) -> bool {
    items.iter().any(|item| item.holds(value, low, size))
}

fn is_weekend(date: Date) -> bool {
    weekday(date).is_multiple_of(6)
}

fn weekday(date: Date) -> u32 {
    date.weekday().to_sunday_zero_offset() as u32
}

impl DayItem {
    fn holds(&self, date: Date) -> bool {
        let last = date.last_of_month();
        match *self {
            Self::Plain(ref item) => item.holds(date.day() as u32, 1, 31),
            Self::Last => date == last,
            Self::LastMinus(n) => i64::from(date.day()) == i64::from(last.day()) - i64::from(n),
            Self::LastWorkday => {
                let mut day = last;
                while is_weekend(day) {
                    day = day.yesterday().unwrap();
                }
                date == day
            }
            Self::Nearest(n) => {
                let Ok(wanted) = date.with().day(n as i8).build() else { return false };
                // The nearest day that is no weekend and in the month, looked for outwards.
                let nearest = [0, -1, 1, -2, 2].iter().map(|&days| wanted + SignedDuration::from_hours(24 * days));
                nearest.into_iter().find(|day| !is_weekend(*day) && day.month() == date.month()) == Some(date)
            }
        }
    }
}

impl WeekdayItem {
    fn holds(&self, date: Date) -> bool {
        let week = SignedDuration::from_hours(7 * 24);
        match *self {
            Self::Plain(ref item) => item.holds(weekday(date), 0, 7),
            Self::Nth(day, n) => weekday(date) == day % 7 && (date.day() as u32).div_ceil(7) == n,
            Self::LastOf(day) => weekday(date) == day % 7 && (date + week).month() != date.month(),
        }
    }
}

impl Expression {
    /// It follows the clock instead of being fixed.
    pub fn follows(&self) -> bool {
        self.minutes[0].is_star() || self.hours[0].is_star()
    }

    pub fn names_day(&self, date: Date) -> bool {
        let star_days = matches!(&self.days[0], DayItem::Plain(item) if item.is_star());
        let star_weekdays = matches!(&self.weekdays[0], WeekdayItem::Plain(item) if item.is_star());
        let (day, weekday) = (self.days.iter().any(|item| item.holds(date)), self.weekdays.iter().any(|item| item.holds(date)));
        let days = if star_days || star_weekdays { day && weekday } else { day || weekday };
        days && any_holds(&self.months, date.month() as u32, 1, 12)
    }

    fn names(&self, wall: DateTime) -> bool {
        let second = match &self.seconds {
            Some(items) => any_holds(items, wall.second() as u32, 0, 60),
            None => wall.second() == 0,
        };
        second && any_holds(&self.minutes, wall.minute() as u32, 0, 60) && any_holds(&self.hours, wall.hour() as u32, 0, 24) && self.names_day(wall.date())
    }

    /// The firings in `(after, until]`, by asking every minute (or second) that the wall may show from `margin` before to
    /// `margin` behind.
    pub fn fires(&self, zone: &TimeZone, skip_gaps: bool, (after, until): (Timestamp, Timestamp), margin: SignedDuration) -> Vec<Timestamp> {
        let step = if self.seconds.is_some() { SignedDuration::from_secs(1) } else { SignedDuration::from_mins(1) };
        let mut wall = zone.to_datetime(after - margin).with().second(0).subsec_nanosecond(0).build().unwrap();
        let end = zone.to_datetime(until + margin);
        let mut fires = BTreeSet::new();
        while wall <= end {
            if self.names(wall) {
                fires.extend(instants(wall, zone, self.follows(), skip_gaps));
            }
            wall += step;
        }
        fires.into_iter().filter(|&t| t > after && t <= until).collect()
    }
}

/// When the wall shows this time, by the rules for clock changes.
pub fn instants(wall: DateTime, zone: &TimeZone, follows: bool, skip_gaps: bool) -> Vec<Timestamp> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => vec![offset.to_timestamp(wall).unwrap()],
        AmbiguousOffset::Fold { before, after } if follows => vec![before.to_timestamp(wall).unwrap(), after.to_timestamp(wall).unwrap()],
        AmbiguousOffset::Fold { before, .. } => vec![before.to_timestamp(wall).unwrap()],
        AmbiguousOffset::Gap { before, after } => {
            let gap = after.seconds() - before.seconds();
            if follows || skip_gaps || gap > 3 * 3_600 {
                return Vec::new();
            }
            // Read with the offset before it, the time lies behind the change; the change is the last one before that.
            let behind = before.to_timestamp(wall).unwrap() + SignedDuration::from_nanos(1);
            vec![zone.preceding(behind).next().unwrap().timestamp()]
        }
    }
}

fn list<T: Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

impl Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Star => f.write_str("*"),
            Self::StarStep(step) => write!(f, "*/{step}"),
            Self::Value(n) => write!(f, "{n}"),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
            Self::RangeStep(first, last, step) => write!(f, "{first}-{last}/{step}"),
            Self::From(first, step) => write!(f, "{first}/{step}"),
        }
    }
}

impl Display for DayItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(item) => item.fmt(f),
            Self::Last => f.write_str("L"),
            Self::LastMinus(n) => write!(f, "L-{n}"),
            Self::LastWorkday => f.write_str("LW"),
            Self::Nearest(n) => write!(f, "{n}W"),
        }
    }
}

impl Display for WeekdayItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(item) => item.fmt(f),
            Self::Nth(day, n) => write!(f, "{day}#{n}"),
            Self::LastOf(day) => write!(f, "{day}L"),
        }
    }
}

impl Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(seconds) = &self.seconds {
            write!(f, "{} ", list(seconds))?;
        }
        write!(f, "{} {} {} {} {}", list(&self.minutes), list(&self.hours), list(&self.days), list(&self.months), list(&self.weekdays))
    }
}

/// Items of a field from `low` to `high`; ranges go round only where they may.
pub fn item(low: u32, high: u32, wraps: bool) -> impl Strategy<Value = Item> {
    let range = (low..=high, low..=high).prop_map(move |(a, b)| if wraps { (a, b) } else { (a.min(b), a.max(b)) });
    let length = move |first: u32, last: u32| if first <= last { last - first } else { last + (if low == 0 { 7 } else { 12 }) - first };
    prop_oneof![
        2 => Just(Item::Star),
        2 => (1..=high).prop_map(Item::StarStep),
        6 => (low..=high).prop_map(Item::Value),
        2 => range.clone().prop_map(|(a, b)| Item::Range(a, b)),
        2 => (range, 1..=high).prop_map(move |((a, b), n)| Item::RangeStep(a, b, 1 + n % length(a, b).max(1))),
        // 7 is another name of the weekday 0, from which nothing goes on to the field's end.
        1 => (low..=high.min(if high == 7 { 6 } else { high }), 1..=high).prop_map(|(a, n)| Item::From(a, n)),
    ]
}

fn items(low: u32, high: u32, wraps: bool) -> impl Strategy<Value = Vec<Item>> {
    prop::collection::vec(item(low, high, wraps), 1..=3)
}

fn hours() -> impl Strategy<Value = Vec<Item>> {
    // Most clocks change in the small hours.
    prop_oneof![3 => prop::collection::vec((0_u32..=4).prop_map(Item::Value), 1..=3), 2 => items(0, 23, false)]
}

/// Day fields; where both are restricted few expressions name no day at all.
fn day_fields() -> impl Strategy<Value = (Vec<DayItem>, Vec<WeekdayItem>)> {
    let day = prop_oneof![
        6 => item(1, 31, false).prop_map(DayItem::Plain),
        1 => Just(DayItem::Last),
        1 => (0_u32..=30).prop_map(DayItem::LastMinus),
        1 => Just(DayItem::LastWorkday),
        1 => (1_u32..=31).prop_map(DayItem::Nearest),
    ];
    let weekday = prop_oneof![
        5 => item(0, 7, true).prop_map(WeekdayItem::Plain),
        1 => (0_u32..=7, 1_u32..=5).prop_map(|(day, n)| WeekdayItem::Nth(day, n)),
        1 => (0_u32..=7).prop_map(WeekdayItem::LastOf),
    ];
    let (days, weekdays) = (prop::collection::vec(day, 1..=3), prop::collection::vec(weekday, 1..=3));
    let any_day = || vec![DayItem::Plain(Item::Star)];
    let any_weekday = || vec![WeekdayItem::Plain(Item::Star)];
    prop_oneof![
        3 => Just((any_day(), any_weekday())),
        2 => days.clone().prop_map(move |days| (days, any_weekday())),
        2 => weekdays.clone().prop_map(move |weekdays| (any_day(), weekdays)),
        3 => (days, weekdays),
    ]
}

/// Any expression of 5 fields.
pub fn expression() -> impl Strategy<Value = Expression> {
    let months = prop_oneof![3 => Just(vec![Item::Star]), 1 => items(1, 12, true)];
    (items(0, 59, false), hours(), day_fields(), months).prop_map(|(minutes, hours, (days, weekdays), months)| Expression {
        seconds: None,
        minutes,
        hours,
        days,
        months,
        weekdays,
    })
}

/// Any expression of 6 fields that names every day.
pub fn expression_with_seconds() -> impl Strategy<Value = Expression> {
    (items(0, 59, false), items(0, 59, false), hours()).prop_map(|(seconds, minutes, hours)| Expression {
        seconds: Some(seconds),
        minutes,
        hours,
        days: vec![DayItem::Plain(Item::Star)],
        months: vec![Item::Star],
        weekdays: vec![WeekdayItem::Plain(Item::Star)],
    })
}
