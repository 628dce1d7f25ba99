//! Named fields, as APScheduler's cron trigger has them: all must match. Left of the least significant field that is given
//! a missing one is `*`, right of it its least value; `week` and `day_of_week` are `*` wherever they are missing.

use super::days::{Days, DaysOfMonth, DaysOfWeek, EVERY_DAY, EVERY_WEEKDAY, Nth};
use super::field::{Cursor, Field};
use super::fields::{Fields, Years};
use super::unix::{check_text, weekdays};
use super::{Parsed, refuse};
use crate::trigger::TriggerError;
use crate::trigger::spec::NamedFields;

const ORDINALS: [&str; 5] = ["1st", "2nd", "3rd", "4th", "5th"];

pub(super) fn parse(named: &NamedFields) -> Result<Parsed, TriggerError> {
    // From the most to the least significant.
    let all = [&named.year, &named.month, &named.day, &named.week, &named.day_of_week, &named.hour, &named.minute, &named.second];
    let Some(least) = all.iter().rposition(|field| field.is_some()) else {
        return Err(TriggerError::new("bad-trigger", "fields names no field").hint("for example { fields = { hour = \"3\" } }: every day at 03:00"));
    };
    for text in all.iter().filter_map(|field| field.as_deref()) {
        check_text(text)?;
    }
    let starred = |n: usize| all[n].as_deref().map_or(n < least, |text| text.trim_start().starts_with('*'));
    // A missing field: every value, or the least one.
    let bits = |n: usize, field: &Field, every: u64| match all[n].as_deref() {
        Some(text) => items(text)?.into_iter().try_fold(0, |bits, (start, end)| Ok(bits | whole(text, start, end, |cursor| cursor.range(field))?)),
        None if n < least => Ok(every),
        None => Ok(1 << field.low),
    };
    let days = Days {
        of_month: match named.day.as_deref() {
            Some(text) => days_of_month(text)?,
            None => DaysOfMonth { days: if least > 2 { EVERY_DAY } else { 1 << 1 }, ..DaysOfMonth::default() },
        },
        of_week: DaysOfWeek { days: if named.day_of_week.is_some() { weekdays(bits(4, Field::DAY_OF_WEEK, 0)?) } else { EVERY_WEEKDAY }, nth: Nth::default() },
        weeks: named.week.as_ref().map(|_| bits(3, Field::WEEK, 0)).transpose()?,
        either: false,
    };
    let fields = Fields {
        years: named.year.as_deref().map(years).transpose()?.flatten(),
        months: bits(1, Field::MONTH, 0x1ffe)? as u16,
        days,
        hours: bits(5, Field::HOUR, (1 << 24) - 1)? as u32,
        minutes: bits(6, Field::MINUTE, (1 << 60) - 1)?,
        seconds: bits(7, Field::SECOND, 0)?,
    };
    Ok(Parsed { fields, follow: starred(5) || starred(6), dates: (0, 0) })
}

/// Where each item of a list begins and ends, without the blanks around it.
fn items(text: &str) -> Result<Vec<(usize, usize)>, TriggerError> {
    let mut items = Vec::new();
    let mut at = 0;
    for item in text.split(',') {
        let start = at + (item.len() - item.trim_start().len());
        let end = at + item.trim_end().len();
        if start >= end {
            return Err(refuse(text, at, at + item.len().max(1), "a value is missing here"));
        }
        items.push((start, end));
        at += item.len() + 1;
    }
    Ok(items)
}

/// What `read` makes of bytes `start..end`, of which it must leave nothing.
fn whole<'a, T>(text: &'a str, start: usize, end: usize, read: impl FnOnce(&mut Cursor<'a>) -> Result<T, TriggerError>) -> Result<T, TriggerError> {
    let mut cursor = Cursor::new(text, start, end);
    let value = read(&mut cursor)?;
    cursor.end()?;
    Ok(value)
}

/// `None` is every year.
fn years(text: &str) -> Result<Option<Box<Years>>, TriggerError> {
    if text.trim() == "*" {
        return Ok(None);
    }
    let mut years = Years::default();
    for (start, end) in items(text)? {
        whole(text, start, end, |cursor| cursor.values(Field::YEAR))?.for_each(|year| years.insert(year as i32));
    }
    Ok(Some(Box::new(years)))
}

/// Beside values: `last`, `last fri`, `2nd tue`.
fn days_of_month(text: &str) -> Result<DaysOfMonth, TriggerError> {
    let mut days = DaysOfMonth::default();
    for (start, end) in items(text)? {
        let item = &text[start..end];
        let (place, weekday) = item.split_once([' ', '\t']).unwrap_or((item, ""));
        let last = place.eq_ignore_ascii_case("last");
        let nth = ORDINALS.iter().position(|ordinal| ordinal.eq_ignore_ascii_case(place));
        if weekday.is_empty() {
            match nth {
                _ if last => days.from_last |= 1,
                Some(_) => return Err(refuse(text, end, end + 1, format!("{item} of which weekday?")).hint(format!("for example {place} tue"))),
                None => days.days |= whole(text, start, end, |cursor| cursor.range(Field::DAY_OF_MONTH))? as u32,
            }
            continue;
        }
        let weekday_start = end - weekday.trim_start().len();
        if !last && nth.is_none() {
            let error = refuse(text, start, start + place.len(), format!("{place:?} is not a place in the month"));
            return Err(error.hint("1st, 2nd, 3rd, 4th, 5th and last can stand before a weekday"));
        }
        let value = whole(text, weekday_start, end, |cursor| cursor.value(Field::DAY_OF_WEEK))?;
        let bit = 1 << (value.number % 7);
        match nth {
            Some(n) => days.nth.nth[n] |= bit,
            None => days.nth.last |= bit,
        }
    }
    Ok(days)
}

#[cfg(test)]
mod tests {
    use crate::trigger::testing::{compile, fires, trigger};

    fn next(fields: &str, n: usize) -> Vec<String> {
        fires(&format!(r#"{{"fields":{{{fields}}}}}"#), "2026-01-01T00:00:00Z", n).into_iter().map(|t| t.replace("+00:00", "").replace('T', " ")).collect()
    }

    #[test]
    fn fields_right_of_the_least_significant_one_are_least_and_left_of_it_every() {
        assert_eq!(next(r#""hour":3"#, 2), ["2026-01-01 03:00:00", "2026-01-02 03:00:00"]);
        assert_eq!(next(r#""minute":"*/30""#, 2), ["2026-01-01 00:30:00", "2026-01-01 01:00:00"]);
        assert_eq!(next(r#""month":"6""#, 2), ["2026-06-01 00:00:00", "2027-06-01 00:00:00"]);
        assert_eq!(next(r#""year":2027"#, 2), ["2027-01-01 00:00:00"]);
        assert_eq!(next(r#""day_of_week":"mon""#, 2), ["2026-01-05 00:00:00", "2026-01-12 00:00:00"]);
        assert_eq!(next(r#""second":"15""#, 2), ["2026-01-01 00:00:15", "2026-01-01 00:01:15"]);
    }

    #[test]
    fn days_have_places_in_the_month() {
        assert_eq!(next(r#""day":"2nd tue","hour":"3""#, 2), ["2026-01-13 03:00:00", "2026-02-10 03:00:00"]);
        assert_eq!(next(r#""day":"last fri, 1st mon""#, 3), ["2026-01-05 00:00:00", "2026-01-30 00:00:00", "2026-02-02 00:00:00"]);
        assert_eq!(next(r#""day":"last,15""#, 3), ["2026-01-15 00:00:00", "2026-01-31 00:00:00", "2026-02-15 00:00:00"]);
        assert_eq!(next(r#""day":"5th sat""#, 2), ["2026-01-31 00:00:00", "2026-05-30 00:00:00"]);
    }

    #[test]
    fn all_fields_must_match_also_day_and_weekday() {
        assert_eq!(next(r#""day":"13","day_of_week":"fri""#, 2), ["2026-02-13 00:00:00", "2026-03-13 00:00:00"]);
        assert_eq!(next(r#""week":"53","day_of_week":"0""#, 1), ["2027-01-03 00:00:00"]);
        assert_eq!(next(r#""week":"1""#, 2), ["2026-01-02 00:00:00", "2026-01-03 00:00:00"]);
        assert_eq!(next(r#""year":"2026-2030/2","month":"2","day":"29""#, 3), ["2028-02-29 00:00:00"]);
    }

    #[test]
    fn a_star_in_hour_also_one_by_default_follows_the_clock() {
        let berlin = |fields: &str, n| fires(&format!(r#"{{"fields":{{{fields}}},"timezone":"Europe/Berlin"}}"#), "2026-10-25T00:10:00Z", n);
        assert_eq!(berlin(r#""minute":30"#, 2), ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]);
        assert_eq!(berlin(r#""hour":"2","minute":30"#, 2), ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]);
    }

    #[test]
    fn what_is_wrong_is_marked() {
        for (fields, place) in [
            (r#""day":"2nd tuu""#, "tuu"),
            (r#""day":"6th tue""#, "6th"),
            (r#""day":"2nd""#, ""),
            (r#""day":"2nd tue x""#, " x"),
            (r#""hour":"24""#, "24"),
            (r#""hour":"1,,2""#, ","),
            (r#""week":"54""#, "54"),
            (r#""year":"1969""#, "1969"),
            (r#""minute":"mon""#, "mon"),
            (r#""day_of_week":"mon#2""#, "#2"),
        ] {
            let span = compile(&format!(r#"{{"fields":{{{fields}}}}}"#)).expect_err(fields).span.expect(fields);
            assert_eq!(span.source.get(span.start..span.end).unwrap_or_default(), place, "{fields}");
        }
        for fields in ["", r#""hours":3"#, r#""hour":true"#, r#""month":2,"day":30"#] {
            assert!(compile(&format!(r#"{{"fields":{{{fields}}}}}"#)).is_err(), "{fields}");
        }
    }

    #[test]
    fn it_is_said_in_words() {
        let words = |fields: &str| trigger(&format!(r#"{{"fields":{{{fields}}}}}"#)).describe();
        assert_eq!(words(r#""day":"2nd tue","hour":3"#), "at 03:00, on the second Tuesday of the month, UTC time");
        assert_eq!(words(r#""week":"1-10","year":"2026-2030""#), "at 00:00, every day, in ISO week 1 to 10, from 2026 to 2030, UTC time");
    }
}
