//! A cron expression in words: `at 02:30, Monday to Friday`. Weekdays are always named, since their numbers differ between
//! dialects.

use super::days::{Days, EVERY_DAY, EVERY_WEEKDAY, Nth};
use super::fields::{Fields, Years};

/// Times of day that are listed one by one, at most.
const TIMES_LISTED: u64 = 6;

const MONTHS: [&str; 12] = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
/// From Monday, as ranges are read.
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

pub(super) fn describe(fields: &Fields) -> String {
    let mut parts = vec![times(fields), days(&fields.days)];
    if let Some(weeks) = fields.days.weeks {
        parts.push(format!("in ISO week {}", numbers(weeks, 53)));
    }
    if fields.months != 0x1ffe {
        let month = |n: u32| MONTHS[n as usize].to_owned();
        parts.push(format!("in {}", runs(12, month, u64::from(fields.months) >> 1, false)));
    }
    if let Some(years) = &fields.years {
        parts.push(years_in_words(years));
    }
    parts.join(", ")
}

fn times(fields: &Fields) -> String {
    let Fields { seconds, minutes, hours, .. } = *fields;
    let hours = u64::from(hours);
    if fields.per_day() <= TIMES_LISTED {
        let mut list = Vec::new();
        for hour in ones(hours) {
            for minute in ones(minutes) {
                list.extend(
                    ones(seconds).map(|second| if seconds == 1 { format!("{hour:02}:{minute:02}") } else { format!("{hour:02}:{minute:02}:{second:02}") }),
                );
            }
        }
        return format!("at {}", join(&list, "and"));
    }
    let mut parts = Vec::new();
    if seconds != 1 {
        parts.push(unit("second", seconds, 60));
        if step(seconds, 60).is_none() && minutes == (1 << 60) - 1 {
            parts.push("of".to_owned());
        }
    }
    // `every second` of every minute says itself.
    if step(seconds, 60).is_none() || minutes != (1 << 60) - 1 {
        parts.push(if seconds == 1 && minutes == 1 { String::new() } else { unit("minute", minutes, 60) });
    }
    let all_hours = hours == (1 << 24) - 1;
    match parts.iter().all(String::is_empty) {
        true if all_hours => return "every hour, on the hour".to_owned(),
        true => return format!("on the hour, {}", unit("hour", hours, 24)),
        false => {}
    }
    let single_minute = minutes.count_ones() == 1;
    match all_hours {
        true if single_minute => parts.push("of every hour".to_owned()),
        true => {}
        false => parts.push(format!("{} {}", if hours.count_ones() == 1 || step(hours, 24).is_none() { "in" } else { "of" }, unit("hour", hours, 24))),
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" ")
}

/// `every minute`, `every 15 minutes`, `every 15 minutes from 5`, `minute 5, 10 and 20`.
fn unit(name: &str, set: u64, size: u32) -> String {
    match step(set, size) {
        Some((_, 1)) => format!("every {name}"),
        Some((0, step)) => format!("every {step} {name}s"),
        Some((first, step)) => format!("every {step} {name}s from {first}"),
        None => format!("{name} {}", numbers(set, size)),
    }
}

/// First value and step of a set that goes on in equal steps to the end of a field with more than two values.
fn step(set: u64, size: u32) -> Option<(u32, u32)> {
    let first = set.trailing_zeros();
    let step = (set & set.wrapping_sub(1)).trailing_zeros().checked_sub(first).filter(|_| set.count_ones() > 1)?;
    let whole = (first..size).step_by(step as usize).fold(0, |bits, n| bits | 1_u64 << n);
    (whole == set && first < step && set.count_ones() > 2).then_some((first, step))
}

fn days(days: &Days) -> String {
    let every_of_month = days.of_month.days & EVERY_DAY == EVERY_DAY;
    let every_of_week = days.of_week.days == EVERY_WEEKDAY;
    match (every_of_month, every_of_week) {
        (true, true) => "every day".to_owned(),
        (true, false) => of_week(days),
        (false, true) => of_month(days),
        (false, false) if days.either => format!("{} or {}", of_month(days), of_week(days)),
        (false, false) => format!("{}, if it is {}", of_month(days), of_week(days)),
    }
}

fn of_month(days: &Days) -> String {
    let days = &days.of_month;
    let mut list = Vec::new();
    if days.days != 0 {
        list.push(format!("day {} of the month", numbers(days.days.into(), 32)));
    }
    for before in ones(days.from_last.into()) {
        list.push(match before {
            0 => "the last day of the month".to_owned(),
            1 => "the day before the last of the month".to_owned(),
            n => format!("{n} days before the last of the month"),
        });
    }
    for day in ones(days.nearest.into()) {
        list.push(format!("the weekday (Monday to Friday) nearest to day {day}"));
    }
    if days.last_workday {
        list.push("the last weekday (Monday to Friday) of the month".to_owned());
    }
    list.extend(nth(&days.nth));
    format!("on {}", join(&list, "and"))
}

fn of_week(days: &Days) -> String {
    let days = &days.of_week;
    let mut list = Vec::new();
    if days.days != 0 {
        list.push(runs(7, |n| WEEKDAYS[n as usize].to_owned(), monday_first(days.days), true));
    }
    let places = nth(&days.nth);
    if !places.is_empty() {
        list.push(format!("on {}", join(&places, "and")));
    }
    join(&list, "and")
}

fn nth(nth: &Nth) -> Vec<String> {
    let named = |weekdays: u8| ones(monday_first(weekdays)).map(|n| WEEKDAYS[n as usize]);
    let mut list = Vec::new();
    for (place, &weekdays) in ["first", "second", "third", "fourth", "fifth"].iter().zip(&nth.nth) {
        list.extend(named(weekdays).map(|day| format!("the {place} {day} of the month")));
    }
    list.extend(named(nth.last).map(|day| format!("the last {day} of the month")));
    list
}

/// Bit 0 becomes Monday.
fn monday_first(weekdays: u8) -> u64 {
    u64::from(weekdays >> 1 | weekdays << 6 & 0x40)
}

fn years_in_words(years: &Years) -> String {
    let list: Vec<i32> = (Years::FIRST..=Years::LAST).filter(|&year| years.contains(year)).collect();
    match list[..] {
        [first, .., last] if last - first == list.len() as i32 - 1 => format!("from {first} to {last}"),
        [first, _, _, _, _, _, _, .., last] => format!("in {} years from {first} to {last}", list.len()),
        _ => format!("in {}", join(&list.iter().map(i32::to_string).collect::<Vec<_>>(), "and")),
    }
}

/// The numbers of a set, neighbours as ranges: `1 to 5 and 9`.
fn numbers(set: u64, size: u32) -> String {
    runs(size, |n| n.to_string(), set, false)
}

/// The names of a set, three or more neighbours as ranges. With `around`, a range may go past the end.
fn runs(size: u32, name: impl Fn(u32) -> String, set: u64, around: bool) -> String {
    let has = |n: u32| set >> (n % size) & 1 == 1;
    // Where a run goes past the end, begin behind it.
    let start = if around && has(0) && has(size - 1) { (1..size).find(|&n| !has(n)).unwrap_or(0) } else { 0 };
    let mut list = Vec::new();
    let mut n = start;
    while n < start + size {
        if !has(n) {
            n += 1;
            continue;
        }
        let mut end = n;
        while end + 1 < start + size && has(end + 1) {
            end += 1;
        }
        let name = |n: u32| name(n % size);
        if end - n >= 2 {
            list.push(format!("{} to {}", name(n), name(end)))
        } else {
            list.extend((n..=end).map(name))
        }
        n = end + 1;
    }
    join(&list, "and")
}

fn ones(mut set: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let first = (set != 0).then(|| set.trailing_zeros());
        set &= set.wrapping_sub(1);
        first
    })
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn join(list: &[String], last: &str) -> String {
    match list {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., end] => format!("{} {last} {end}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use crate::trigger::testing::trigger;

    #[test]
    fn an_expression_is_said_in_words_with_its_days_named() {
        for (expression, words) in [
            ("30 2 * * mon-fri", "at 02:30, Monday to Friday"),
            ("0 0 * * *", "at 00:00, every day"),
            ("0 8,20 * * *", "at 08:00 and 20:00, every day"),
            ("15,45 0 12 * * *", "at 12:00:15 and 12:00:45, every day"),
            ("* * * * *", "every minute, every day"),
            ("*/15 * * * *", "every 15 minutes, every day"),
            ("5/15 * * * *", "every 15 minutes from 5, every day"),
            ("0 * * * *", "every hour, on the hour, every day"),
            ("30 * * * *", "minute 30 of every hour, every day"),
            ("0 9-17 * * 1-5", "on the hour, hour 9 to 17, Monday to Friday"),
            ("*/10 9-17 * * 1-5", "every 10 minutes in hour 9 to 17, Monday to Friday"),
            ("* * * * * *", "every second, every day"),
            ("*/5 * * * * *", "every 5 seconds, every day"),
            ("30 * * * * *", "second 30 of every minute, every day"),
            ("0 0 13 * fri", "at 00:00, on day 13 of the month or Friday"),
            ("0 0 */2 * fri", "at 00:00, on day 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29 and 31 of the month, if it is Friday"),
            ("0 0 * * fri-mon", "at 00:00, Friday to Monday"),
            ("0 0 * * 0,6", "at 00:00, Saturday and Sunday"),
            (
                "0 0 L,LW,15W,L-2 * *",
                "at 00:00, on the last day of the month, 2 days before the last of the month, the weekday (Monday to Friday) nearest to day 15 and the last weekday (Monday to Friday) of the month",
            ),
            ("0 0 * * fri#2,monL", "at 00:00, on the second Friday of the month and the last Monday of the month"),
            ("0 0 1 jan,jul *", "at 00:00, on day 1 of the month, in January and July"),
            ("0 0 1 1-6 *", "at 00:00, on day 1 of the month, in January to June"),
        ] {
            assert_eq!(trigger(&format!(r#"{{"cron":"{expression}"}}"#)).describe(), format!("{words}, UTC time"), "{expression}");
        }
    }
}
