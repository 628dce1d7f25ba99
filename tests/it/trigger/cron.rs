//! Cron expressions against the naive scan.

use bellcage::trigger::Trigger;
use jiff::civil::Date;
use jiff::tz::TimeZoneDatabase;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::naive::{Expression, expression, expression_with_seconds};
use super::{ZONES, at, backwards, clock_change, compile, config, forwards, seconds, trigger, zone};

fn json(expression: &Expression, zone: &str, skip: bool) -> String {
    format!(r#"{{"cron":"{expression}","timezone":"{zone}","dst_gap":"{}"}}"#, if skip { "skip" } else { "run" })
}

/// The trigger of an expression; none where it names no day of any year, which is refused.
fn compiled(expression: &Expression, zone: &str, skip: bool) -> Option<Trigger> {
    match compile(&json(expression, zone, skip)) {
        Ok(trigger) => Some(trigger),
        Err(error) => {
            assert_eq!(error.code, "never-fires", "{expression}: {error}");
            let first = Date::constant(2000, 1, 1);
            let named = first.series(jiff::Span::new().days(1)).take(28 * 366).find(|&date| expression.names_day(date));
            // With gaps skipped, a day that always lies in one is never reached.
            assert!(named.is_none() || skip, "{expression} names {named:?}");
            None
        }
    }
}

fn agrees(trigger: &Trigger, want: &[Timestamp], (after, until): (Timestamp, Timestamp)) -> Result<(), TestCaseError> {
    prop_assert_eq!(&forwards(trigger, after, until), want);
    prop_assert_eq!(&backwards(trigger, after, until), want);
    let count = trigger.count_between(after, until);
    prop_assert_eq!((count.n, count.exact), (want.len() as u64, true));
    // Asked and counted from every second hour too.
    for hours in (0..until.duration_since(after).as_hours()).step_by(2) {
        let middle = after + SignedDuration::from_hours(hours) + SignedDuration::from_micros(1_234_567);
        let before = want.partition_point(|&t| t <= middle);
        prop_assert_eq!(trigger.next_after(middle).filter(|&t| t <= until), want.get(before).copied());
        prop_assert_eq!(trigger.last_at_or_before(middle).filter(|&t| t > after), before.checked_sub(1).map(|n| want[n]));
        prop_assert_eq!(trigger.count_between(after, middle).n, before as u64);
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(300))]
    #[test]
    fn the_evaluator_is_the_naive_scan_minute_by_minute_around_clock_changes(expression in expression(), (name, change) in clock_change(), skip in prop::bool::weighted(0.2)) {
        let Some(trigger) = compiled(&expression, name, skip) else { return Ok(()) };
        let window = (change - SignedDuration::from_hours(36), change + SignedDuration::from_hours(36));
        let want = expression.fires(&zone(name), skip, window, SignedDuration::from_hours(26));
        agrees(&trigger, &want, window)?;
    }

    #[test]
    fn the_evaluator_is_the_naive_scan_minute_by_minute_anywhere(expression in expression(), name in prop::sample::select(&ZONES[..]), second in seconds()) {
        let Some(trigger) = compiled(&expression, name, false) else { return Ok(()) };
        let window = (at(second), at(second) + SignedDuration::from_hours(72));
        let want = expression.fires(&zone(name), false, window, SignedDuration::from_hours(26));
        agrees(&trigger, &want, window)?;
    }
}

proptest! {
    #![proptest_config(config(120))]
    #[test]
    fn the_evaluator_is_the_naive_scan_second_by_second_around_clock_changes(expression in expression_with_seconds(), (name, change) in clock_change()) {
        let Some(trigger) = compiled(&expression, name, false) else { return Ok(()) };
        let window = (change - SignedDuration::from_mins(100), change + SignedDuration::from_mins(100));
        // A margin past the longest change that runs anything; longer ones skip it.
        let want = expression.fires(&zone(name), false, window, SignedDuration::from_mins(200));
        agrees(&trigger, &want, window)?;
    }

    #[test]
    fn the_days_are_the_naive_ones_for_years(expression in expression(), year in 1990_i16..2090) {
        let expression = Expression { minutes: vec![super::naive::Item::Value(0)], hours: vec![super::naive::Item::Value(12)], ..expression };
        let Some(trigger) = compiled(&expression, "UTC", false) else { return Ok(()) };
        let first = Date::constant(year, 1, 1);
        let want: Vec<Timestamp> = first.series(jiff::Span::new().days(1)).take(4 * 365 + 1).filter(|&date| expression.names_day(date))
            .map(|date| jiff::tz::TimeZone::UTC.to_timestamp(date.at(12, 0, 0, 0)).unwrap()).collect();
        let window = (jiff::tz::TimeZone::UTC.to_timestamp(first.at(0, 0, 0, 0)).unwrap(), at(0) + SignedDuration::from_hours(24 * (365 * (i64::from(year) - 1970 + 4) + (i64::from(year) - 1969) / 4 + 1)));
        let want: Vec<Timestamp> = want.into_iter().filter(|&t| t <= window.1).collect();
        let window = (window.0, want.last().copied().unwrap_or(window.0));
        prop_assert_eq!(forwards(&trigger, window.0, window.1), want.clone());
        prop_assert_eq!(backwards(&trigger, window.0, window.1), want.clone());
        prop_assert_eq!(trigger.count_between(window.0, window.1).n, want.len() as u64);
    }
}

#[test]
fn a_daily_job_fires_once_on_every_date_in_every_zone() {
    for name in TimeZoneDatabase::bundled().available() {
        let zone = zone(name.as_str());
        for time in ["0 0", "30 2"] {
            let trigger = trigger(&format!(r#"{{"cron":"{time} * * *","timezone":"{name}"}}"#));
            let mut date = Date::constant(2007, 1, 1);
            let mut t = zone.to_timestamp(date.at(0, 0, 0, 0)).unwrap() - SignedDuration::from_micros(1);
            // The job of an odd change at the window's beginning belongs to the day before.
            for _ in 0..5 * 365 {
                t = trigger.next_after(t).unwrap();
                let fired = zone.to_datetime(t).date();
                if fired != date {
                    // Only a date that the zone left out has none.
                    assert!(zone.to_ambiguous_timestamp(date.at(12, 0, 0, 0)).is_ambiguous(), "{name}: {time} did not fire on {date}");
                    date = date.tomorrow().unwrap();
                }
                assert_eq!(fired, date, "{name}: {time}");
                date = date.tomorrow().unwrap();
            }
        }
    }
}
