//! What holds of every trigger, and calendars, `any` and `all` against brute force.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Span, Timestamp};
use proptest::prelude::*;

use super::naive::{expression, expression_with_seconds, instants};
use super::{MICRO, ZONES, at, backwards, compile, config, forwards, seconds, trigger, zone};

/// A trigger that is not made of others, in JSON.
fn simple() -> impl Strategy<Value = String> {
    let zone = || prop::sample::select(&ZONES[..]);
    prop_oneof![
        3 => (expression(), zone()).prop_map(|(cron, zone)| format!(r#"{{"cron":"{cron}","timezone":"{zone}"}}"#)),
        1 => (expression_with_seconds(), zone()).prop_map(|(cron, zone)| format!(r#"{{"cron":"{cron}","timezone":"{zone}"}}"#)),
        2 => (100_i64..1_000_000_000, seconds(), 0_u32..1_000_000).prop_map(|(millis, start, micros)| format!(r#"{{"every":"{millis}ms","start":"{}"}}"#, at(start) + SignedDuration::from_micros(micros.into()))),
        1 => (calendar(), zone(), seconds()).prop_map(|(calendar, zone, start)| calendar.json(zone, date_of(start))),
        1 => seconds().prop_map(|second| format!(r#"{{"at":"{}"}}"#, at(second))),
        1 => (0_u32..24, 1_u32..=5, prop::sample::select(&["mon", "sun", "thu"][..]), zone()).prop_map(|(hour, nth, day, zone)| {
            let nth = ["1st", "2nd", "3rd", "4th", "last"][nth as usize - 1];
            format!(r#"{{"fields":{{"day":"{nth} {day}","hour":{hour}}},"timezone":"{zone}"}}"#)
        }),
        1 => (0_u32..60, 0_u32..24, 1_u32..=7, zone()).prop_map(|(minute, hour, day, zone)| format!(r#"{{"cron":"0 {minute} {hour} * * {day}","dialect":"cron7","timezone":"{zone}"}}"#)),
    ]
}

fn any_trigger() -> impl Strategy<Value = String> {
    let some = || prop::collection::vec(simple(), 1..=3);
    prop_oneof![
        4 => simple(),
        1 => some().prop_map(|members| format!(r#"{{"any":[{}]}}"#, members.join(","))),
        1 => some().prop_map(|members| format!(r#"{{"all":[{}],"tolerance":"1h"}}"#, members.join(","))),
        1 => (simple(), seconds(), 1_i64..100_000_000).prop_map(|(member, start, length)| format!(r#"{{"any":[{member}],"start":"{}","end":"{}"}}"#, at(start), at(start + length))),
    ]
}

fn date_of(second: i64) -> Date {
    jiff::tz::TimeZone::UTC.to_datetime(at(second)).date()
}

proptest! {
    #![proptest_config(config(400))]
    #[test]
    fn the_next_firing_is_later_and_nothing_is_between(json in any_trigger(), second in seconds(), micros in 0_i64..1_000_000) {
        let Ok(trigger) = compile(&json) else { return Ok(()) };
        let t = at(second) + SignedDuration::from_micros(micros);
        let last = trigger.last_at_or_before(t);
        if let Some(last) = last {
            prop_assert!(last <= t);
            prop_assert_eq!(trigger.next_after(last - MICRO), Some(last));
        }
        if let Some(next) = trigger.next_after(t) {
            prop_assert!(next > t);
            prop_assert_eq!(trigger.last_at_or_before(next), Some(next));
            prop_assert_eq!(trigger.last_at_or_before(next - MICRO), last);
            let count = trigger.count_between(t, next);
            // Only an `all` with a tolerance may need more steps than a count is given; then it says so.
            if count.exact || !json.contains("tolerance") {
                prop_assert_eq!((count.n, count.exact), (1, true));
            }
            prop_assert_eq!(trigger.count_between(t, next - MICRO).n, 0);
        }
    }

    #[test]
    fn a_count_is_what_enumeration_gives(json in any_trigger(), second in seconds(), length in 1_i64..40_000_000) {
        let Ok(trigger) = compile(&json) else { return Ok(()) };
        let after = at(second);
        let mut fires = Vec::new();
        while fires.len() < 500 {
            match trigger.next_after(fires.last().copied().unwrap_or(after)).filter(|&t| t <= after + SignedDuration::from_secs(length)) {
                Some(next) => fires.push(next),
                None => break,
            }
        }
        for n in [fires.len() / 2, fires.len()] {
            let Some(&until) = n.checked_sub(1).map(|n| &fires[n]) else { continue };
            let count = trigger.count_between(after, until);
            // Only an `all` with a tolerance may need more steps than a count is given; then it says so.
            if count.exact || !json.contains("tolerance") {
                prop_assert_eq!((count.n, count.exact), (n as u64, true));
                prop_assert_eq!(trigger.count_between(after, until - MICRO).n, n as u64 - 1);
            } else {
                prop_assert!(count.n <= n as u64);
            }
        }
        if let (Some(&first), Some(&last)) = (fires.first(), fires.last()) {
            prop_assert_eq!(backwards(&trigger, first - MICRO, last), fires);
        }
    }
}

#[derive(Clone, Debug)]
struct Calendar {
    years: u32,
    months: u32,
    weeks: u32,
    days: u32,
    last: bool,
    hour: u32,
}

impl Calendar {
    fn json(&self, zone: &str, start: Date) -> String {
        let Self { years, months, weeks, days, last, hour } = self;
        let day = if *last { r#","day":"last""# } else { "" };
        format!(
            r#"{{"calendar":{{"years":{years},"months":{months},"weeks":{weeks},"days":{days},"time":"{hour:02}:30"{day}}},"timezone":"{zone}","start":"{start}"}}"#
        )
    }

    /// The wall times of the first `n` dates, one by one with jiff's own arithmetic.
    fn walls(&self, start: Date, n: u32) -> Vec<DateTime> {
        let date = |k: i64| {
            let months = Span::new().months(k * i64::from(self.years * 12 + self.months));
            let moved = start.checked_add(months).ok()?;
            let moved = if self.last { moved.last_of_month() } else { Some(moved).filter(|date| date.day() == start.day())? };
            moved.checked_add(Span::new().days(k * i64::from(self.weeks * 7 + self.days))).ok()
        };
        (0..i64::from(n)).filter_map(date).map(|date| date.at(self.hour as i8, 30, 0, 0)).collect()
    }
}

fn calendar() -> impl Strategy<Value = Calendar> {
    (0_u32..2, 0_u32..14, 0_u32..3, 0_u32..10, any::<bool>(), 0_u32..24)
        .prop_filter("a period is not nothing", |(years, months, weeks, days, ..)| years + months + weeks + days > 0)
        .prop_map(|(years, months, weeks, days, last, hour)| Calendar { years, months, weeks, days, last: last && years + months > 0, hour })
}

proptest! {
    #![proptest_config(config(200))]
    #[test]
    fn a_calendar_is_its_dates_one_by_one(calendar in calendar(), name in prop::sample::select(&ZONES[..]), start in seconds()) {
        let start = date_of(start);
        let trigger = trigger(&calendar.json(name, start));
        let zone = zone(name);
        let want: Vec<Timestamp> = calendar.walls(start, 300).into_iter().flat_map(|wall| instants(wall, &zone, false, false)).collect();
        let (first, last) = (want[0] - MICRO, *want.last().unwrap());
        prop_assert_eq!(&forwards(&trigger, Timestamp::MIN, last), &want);
        prop_assert_eq!(&backwards(&trigger, first, last), &want);
        prop_assert_eq!(trigger.count_between(first, last).n, want.len() as u64);
    }

    #[test]
    fn any_is_the_union_of_its_members(members in prop::collection::vec(simple(), 1..=4), second in seconds()) {
        let members: Vec<String> = members.into_iter().filter(|json| compile(json).is_ok()).collect();
        prop_assume!(!members.is_empty());
        let window = (at(second), at(second) + SignedDuration::from_hours(8));
        let want: BTreeSet<Timestamp> = members.iter().flat_map(|json| forwards(&trigger(json), window.0, window.1)).collect();
        prop_assume!(want.len() < 2_000);
        let want: Vec<Timestamp> = want.into_iter().collect();
        let union = trigger(&format!(r#"{{"any":[{}]}}"#, members.join(",")));
        prop_assert_eq!(&forwards(&union, window.0, window.1), &want);
        prop_assert_eq!(&backwards(&union, window.0, window.1), &want);
        prop_assert_eq!(union.count_between(window.0, window.1).n, want.len() as u64);
    }
}

/// Members that meet often: steps of minutes and seconds on the same day.
fn meeting() -> impl Strategy<Value = String> {
    prop_oneof![
        (2_u32..30).prop_map(|n| format!(r#"{{"cron":"*/{n} * * * *"}}"#)),
        (2_u32..30, 0_u32..30).prop_map(|(n, from)| format!(r#"{{"cron":"{from}-59/{n} * * * * *"}}"#)),
        (1_i64..200, 0_i64..2_000_000).prop_map(|(n, micros)| format!(r#"{{"every":"{n}s","start":"{}"}}"#, at(0) + SignedDuration::from_micros(micros))),
    ]
}

proptest! {
    #![proptest_config(config(200))]
    #[test]
    fn all_is_the_seconds_on_which_its_members_agree(members in prop::collection::vec(meeting(), 2..=3), tolerance in prop_oneof![2 => Just(0_i64), 1 => 1_i64..5], second in 1_000_000_000_i64..1_100_000_000) {
        let window = (second, second + 3_600);
        // The seconds of each member, around the window too.
        let seconds: Vec<BTreeSet<i64>> = members.iter().map(|json| forwards(&trigger(json), at(window.0 - 60), at(window.1 + 60)).into_iter().map(|t| t.as_second()).collect()).collect();
        // A second agrees with the latest of the members' next ones, if that is near; of several with one latest, the first.
        let mut want: Vec<(i64, i64)> = Vec::new();
        for earliest in seconds.iter().flatten().copied().collect::<BTreeSet<i64>>() {
            let next: Option<Vec<i64>> = seconds.iter().map(|member| member.range(earliest..).next().copied()).collect();
            let Some(latest) = next.and_then(|next| next.into_iter().max()) else { break };
            if latest - earliest <= tolerance && want.last().is_none_or(|&(_, last)| last != latest) {
                want.push((earliest, latest));
            }
        }
        let want: Vec<Timestamp> = want.into_iter().map(|(earliest, _)| earliest).filter(|&s| s > window.0 && s <= window.1).map(at).collect();
        let json = format!(r#"{{"all":[{}],"tolerance":"{tolerance}s"}}"#, members.join(","));
        let Ok(all) = compile(&json) else {
            prop_assert_eq!(want, vec![]);
            return Ok(());
        };
        prop_assert_eq!(&forwards(&all, at(window.0), at(window.1)), &want);
        prop_assert_eq!(&backwards(&all, at(window.0), at(window.1)), &want);
        prop_assert_eq!(all.count_between(at(window.0), at(window.1)).n, want.len() as u64);
    }
}
