//! Dialect `cron7`: seconds, minutes, hours, day of month, month, weekday (1 = Sunday) and perhaps a year, as the `cron`
//! crate reads them. Only its reading is used: evaluated here, the expression keeps our rules at clock changes.

use std::str::FromStr;

use cron::{Schedule, TimeUnitSpec};

use super::days::{Days, DaysOfMonth, DaysOfWeek, Nth};
use super::fields::{Fields, Years};
use super::unix::{check_text, split};
use super::{Parsed, refuse};
use crate::trigger::TriggerError;

const FIELDS: [&str; 7] = ["second", "minute", "hour", "day of the month", "month", "weekday", "year"];

pub(super) fn parse(source: &str) -> Result<Parsed, TriggerError> {
    check_text(source)?;
    let schedule = Schedule::from_str(source).map_err(|error| explain(source, &error))?;
    let bits = |unit: &dyn Fn() -> Vec<u32>| unit().into_iter().fold(0_u64, |bits, n| bits | 1 << n);
    let years = (!schedule.years().is_all()).then(|| {
        let mut years = Years::default();
        schedule.years().iter().for_each(|year| years.insert(year as i32));
        Box::new(years)
    });
    let fields = Fields {
        seconds: bits(&|| schedule.seconds().iter().collect()),
        minutes: bits(&|| schedule.minutes().iter().collect()),
        hours: bits(&|| schedule.hours().iter().collect()) as u32,
        months: bits(&|| schedule.months().iter().collect()) as u16,
        days: Days {
            of_month: DaysOfMonth { days: bits(&|| schedule.days_of_month().iter().collect()) as u32, ..DaysOfMonth::default() },
            of_week: DaysOfWeek { days: (bits(&|| schedule.days_of_week().iter().collect()) >> 1) as u8, nth: Nth::default() },
            weeks: None,
            either: false,
        },
        years,
    };
    let words = split(source);
    let star = |n: usize| words.get(n).is_some_and(|&(start, _)| source[start..].starts_with('*'));
    let follow = match words.len() {
        6 | 7 => star(1) || star(2),
        // The crate lets fields stand without spaces between them, and knows nicknames.
        _ => schedule.minutes().is_all() || schedule.hours().is_all(),
    };
    let dates = if words.len() >= 6 { (words[3].0, words[5].1) } else { (0, source.len()) };
    Ok(Parsed { fields, follow, dates })
}

/// The crate's errors name no place, so each field is read by itself, with stars for the others.
fn explain(source: &str, error: &cron::error::Error) -> TriggerError {
    let words = split(source);
    let [first, .., last] = words[..] else { return wrong_number(source, &words) };
    if !(6..=7).contains(&words.len()) {
        return wrong_number(source, &words);
    }
    let reads_alone = |n: usize| {
        let alone: Vec<&str> = words.iter().enumerate().map(|(i, &(start, end))| if i == n { &source[start..end] } else { "*" }).collect();
        Schedule::from_str(&alone.join(" ")).is_ok()
    };
    match (0..words.len()).find(|&n| !reads_alone(n)) {
        Some(n) => {
            let (start, end) = words[n];
            let shown: String = source[start..end].chars().take(40).collect();
            refuse(source, start, end, format!("{shown:?} is not {} {} in the dialect cron7", if n == 2 { "an" } else { "a" }, FIELDS[n]))
                .hint(hint(n, &source[start..end]))
        }
        None => refuse(source, first.0, last.1, format!("not an expression of the dialect cron7: {}", error.to_string().lines().last().unwrap_or_default())),
    }
}

fn hint(field: usize, typed: &str) -> String {
    let unix_only = typed.to_ascii_uppercase().split(',').any(|item| {
        let place = item.starts_with(|c: char| c.is_ascii_digit()) && item.ends_with(['L', 'W']);
        place || matches!(item, "L" | "LW") || item.starts_with("L-") || item.starts_with('H') || item.contains('#')
    });
    match field {
        _ if unix_only => "L, W, # and H are of the dialect unix".to_owned(),
        5 => "a weekday is 1 (Sunday) to 7 (Saturday), or a name".to_owned(),
        0 | 1 => format!("a {} is 0 to 59; a range must not go round, a step not be 0", FIELDS[field]),
        2 => "an hour is 0 to 23; a range must not go round, a step not be 0".to_owned(),
        3 => "a day of the month is 1 to 31; a range must not go round, a step not be 0".to_owned(),
        4 => "a month is 1 to 12, or a name; a range must not go round, a step not be 0".to_owned(),
        _ => "a year is 1970 to 2100".to_owned(),
    }
}

fn wrong_number(source: &str, words: &[(usize, usize)]) -> TriggerError {
    let expected = "6 fields (second, minute, hour, day of month, month, weekday), or 7 with a year";
    let end = source.trim_end().len();
    let error = match words {
        [_, _, _, _, _, _, _, (start, _), ..] => refuse(source, *start, end, format!("{} fields where {expected}, were expected", words.len())),
        [] => refuse(source, 0, 1, format!("the expression is empty: it needs {expected}")),
        _ => refuse(
            source,
            end,
            end + 1,
            format!("{} where {expected}, were expected", if words.len() == 1 { "1 field".to_owned() } else { format!("{} fields", words.len()) }),
        ),
    };
    if words.len() == 5 { error.hint("an expression of 5 fields is of the dialect unix: leave the dialect out") } else { error }
}

#[cfg(test)]
mod tests {
    use crate::trigger::TriggerError;
    use crate::trigger::testing::{compile, fires};

    fn json(expression: &str) -> String {
        format!(r#"{{"cron":"{expression}","dialect":"cron7","timezone":"Europe/Berlin"}}"#)
    }

    fn refused(expression: &str) -> TriggerError {
        compile(&json(expression)).expect_err(expression)
    }

    #[test]
    fn sunday_is_1_and_both_day_fields_must_match() {
        assert_eq!(fires(&json("0 30 12 * * 1"), "2026-01-01T00:00:00Z", 1), ["2026-01-04T12:30:00+01:00"]);
        assert_eq!(fires(&json("0 30 12 13 * Fri"), "2026-01-01T00:00:00Z", 2), ["2026-02-13T12:30:00+01:00", "2026-03-13T12:30:00+01:00"]);
    }

    #[test]
    fn a_year_bounds_it() {
        assert_eq!(fires(&json("0 0 0 1 1 ? 2027,2029"), "2026-01-01T00:00:00Z", 9), ["2027-01-01T00:00:00+01:00", "2029-01-01T00:00:00+01:00"]);
    }

    #[test]
    fn clock_changes_follow_our_rules() {
        assert_eq!(fires(&json("0 30 2 * * *"), "2026-03-28T12:00:00Z", 2), ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]);
        assert_eq!(fires(&json("0 30 2 * * *"), "2026-10-24T12:00:00Z", 2), ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]);
        assert_eq!(fires(&json("@hourly"), "2026-10-25T00:00:00Z", 2), ["2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"]);
    }

    #[test]
    fn what_is_wrong_is_marked() {
        for (expression, place) in [
            ("60 * * * * *", "60"),
            ("* * 24 * * *", "24"),
            ("* * * * * 0", "0"),
            ("* * * * * 8", "8"),
            ("* * * L * *", "L"),
            ("* * * * * 6#2", "6#2"),
            ("* */0 * * * *", "*/0"),
            ("* * * * * * 1969", "1969"),
            ("* * * * * * * x", "x"),
            ("0 0 0 30 2 *", "30 2 *"),
        ] {
            let span = refused(expression).span.expect(expression);
            assert_eq!(&span.source[span.start..span.end], place, "{expression}");
        }
        assert!(refused("* * * * *").hint.unwrap().contains("unix"));
        for expression in ["* * * * * 6#2", "* * * L * *", "* * * 15W * *", "* H * * * *", "* * * * * 5L"] {
            assert!(refused(expression).hint.unwrap().contains("unix"), "{expression}");
        }
        assert_eq!(refused("0 0 0 30 2 *").code, "never-fires");
        assert!(refused(&"1,".repeat(600)).message.contains("1000"));
    }
}
