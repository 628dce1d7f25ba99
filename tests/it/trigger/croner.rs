//! croner as an oracle, where its rules are ours. They are not where:
//!
//! * a day field begins with `*` but is more than that (`*/2`): ours is then a star (both day fields must match), croner's
//!   only where the field is `*` and nothing else;
//! * minute and hour are lists or ranges without a `*` (`0,30 2 * * *`): ours is a fixed time, croner calls fixed only what
//!   has one second, one minute and one hour, and lets all else follow the clock;
//! * a gap is longer than two hours, where croner gives up;
//! * `L-3`, `H`, ranges that go round and `5/15` are not croner's; steps longer than their range are not ours;
//! * backwards in a gap or an overlap, where croner looks at wall times.

use std::cmp::Ordering;
use std::str::FromStr;

use croner::errors::CronError;
use croner::{CivilDateTime, CronDateTime, Resolution, Weekday};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::naive::{DayItem, Expression, Item, WeekdayItem};
use super::{ZONES, at, clock_change, compile, config, forwards, seconds, zone};

/// A time as croner's search wants it.
#[derive(Clone)]
struct Local {
    t: Timestamp,
    zone: TimeZone,
}

impl Local {
    fn wall(&self) -> DateTime {
        self.zone.to_datetime(self.t)
    }
}

impl CronDateTime for Local {
    fn to_civil(&self) -> CivilDateTime {
        let wall = self.wall();
        let [month, day, hour, minute, second] = [wall.month(), wall.day(), wall.hour(), wall.minute(), wall.second()].map(|n| n as u32);
        CivilDateTime::from_ymd_hms_opt(wall.year().into(), month, day, hour, minute, second).unwrap()
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(self.wall().weekday().to_sunday_zero_offset() as u32)
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let [month, day, hour, minute, second] = [civil.month(), civil.day(), civil.hour(), civil.minute(), civil.second()].map(|n| n as i8);
        let wall = DateTime::new(civil.year() as i16, month, day, hour, minute, second, 0).map_err(|_| CronError::InvalidDate)?;
        let local = |offset: jiff::tz::Offset| Self { t: offset.to_timestamp(wall).unwrap(), zone: self.zone.clone() };
        Ok(match self.zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => Resolution::Single(local(offset)),
            AmbiguousOffset::Fold { before, after } => Resolution::Ambiguous(local(before), local(after)),
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        let t = self.t.checked_add(SignedDuration::from_secs(seconds)).ok()?;
        Some(Self { t, zone: self.zone.clone() })
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.t.cmp(&other.t)
    }
}

fn croner_fires(expression: &Expression, name: &str, after: Timestamp, until: Timestamp) -> Vec<Timestamp> {
    let cron = croner::Cron::from_str(&expression.to_string()).unwrap_or_else(|error| panic!("{expression}: {error}"));
    let mut from = Local { t: after, zone: zone(name) };
    let mut fires = Vec::new();
    while let Ok(next) = cron.find_next_occurrence(&from, false) {
        if next.t > until {
            break;
        }
        fires.push(next.t);
        from = next;
    }
    fires
}

fn plain(low: u32, high: u32) -> impl Strategy<Value = Item> {
    prop_oneof![
        (low..=high).prop_map(Item::Value),
        (low..=high, low..=high).prop_map(|(a, b)| Item::Range(a.min(b), a.max(b))),
        (low..=high, low..=high, 1_u32..=9).prop_map(|(a, b, n)| Item::RangeStep(a.min(b), a.max(b), 1 + n % a.abs_diff(b).max(1))),
    ]
}

fn plains(low: u32, high: u32) -> impl Strategy<Value = Vec<Item>> {
    prop::collection::vec(plain(low, high), 1..=3)
}

/// Minutes and hours that are fixed, or follow the clock, by both croner's and our rules.
fn times() -> impl Strategy<Value = (Vec<Item>, Vec<Item>)> {
    let star = || prop_oneof![Just(Item::Star), (2_u32..=20).prop_map(Item::StarStep)].prop_map(|item| vec![item]);
    prop_oneof![
        (0_u32..60, 0_u32..24).prop_map(|(minute, hour)| (vec![Item::Value(minute)], vec![Item::Value(hour)])),
        (0_u32..60, 0_u32..4).prop_map(|(minute, hour)| (vec![Item::Value(minute)], vec![Item::Value(hour)])),
        (star(), plains(0, 23)),
        (plains(0, 59), star()),
        (star(), star()),
    ]
}

fn expression() -> impl Strategy<Value = Expression> {
    let day = prop_oneof![4 => plains(1, 31).prop_map(|items| items.into_iter().map(DayItem::Plain).collect()), 1 => Just(vec![DayItem::Last]), 1 => Just(vec![DayItem::LastWorkday]), 1 => (1_u32..=28).prop_map(|n| vec![DayItem::Nearest(n)])];
    let weekday = prop_oneof![
        4 => plains(0, 6).prop_map(|items| items.into_iter().map(WeekdayItem::Plain).collect()),
        1 => (0_u32..=6, 1_u32..=5).prop_map(|(day, n)| vec![WeekdayItem::Nth(day, n)]),
        1 => (0_u32..=6).prop_map(|day| vec![WeekdayItem::LastOf(day)])
    ];
    let any_day = || Just(vec![DayItem::Plain(Item::Star)]);
    let any_weekday = || Just(vec![WeekdayItem::Plain(Item::Star)]);
    let days = prop_oneof![2 => any_day(), 1 => day];
    let weekdays = prop_oneof![2 => any_weekday(), 1 => weekday];
    let months = prop_oneof![2 => Just(vec![Item::Star]), 1 => plains(1, 12)];
    (times(), days, months, weekdays).prop_map(|((minutes, hours), days, months, weekdays)| Expression {
        seconds: None,
        minutes,
        hours,
        days,
        months,
        weekdays,
    })
}

/// Whether a clock change of more than two hours is near.
fn has_long_change(name: &str, from: Timestamp, to: Timestamp) -> bool {
    let zone = zone(name);
    zone.following(from).take_while(|change| change.timestamp() <= to).any(|change| {
        let before = zone.to_offset(change.timestamp() - SignedDuration::from_secs(1)).seconds();
        (change.offset().seconds() - before).abs() > 2 * 3_600
    })
}

fn agrees(expression: &Expression, name: &str, after: Timestamp, until: Timestamp) -> Result<(), TestCaseError> {
    let json = format!(r#"{{"cron":"{expression}","timezone":"{name}"}}"#);
    let Ok(trigger) = compile(&json) else { return Ok(()) };
    let margin = SignedDuration::from_hours(48);
    if !has_long_change(name, after - margin, until + margin) {
        prop_assert_eq!(forwards(&trigger, after, until), croner_fires(expression, name, after, until));
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(200))]
    #[test]
    fn croner_agrees_around_clock_changes(expression in expression(), (name, change) in clock_change()) {
        agrees(&expression, name, change - SignedDuration::from_hours(12), change + SignedDuration::from_hours(12))?;
    }

    #[test]
    fn croner_agrees_anywhere(expression in expression(), name in prop::sample::select(&ZONES[..]), second in seconds()) {
        agrees(&expression, name, at(second), at(second) + SignedDuration::from_hours(24 * 40))?;
    }
}
