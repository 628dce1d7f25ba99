//! Dialect `unix`: crontab text, with optional seconds, `L`, `W`, `#` and `H`.

use super::days::{Days, DaysOfMonth, DaysOfWeek, EVERY_DAY, EVERY_WEEKDAY};
use super::field::{Cursor, Field, Value};
use super::fields::Fields;
use super::{EXPRESSION_MAX, Parsed, refuse};
use crate::trigger::{Salt, TriggerError, stable_hash};

const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// `H` in day-of-month stays where every month has a day.
const HASHED_DAY_MAX: u32 = 28;

pub(super) fn parse(source: &str, salt: Salt<'_>) -> Result<Parsed, TriggerError> {
    check_text(source)?;
    let trimmed = source.trim();
    if trimmed.starts_with('@') {
        let (_, expression) = NICKNAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(trimmed)).ok_or_else(|| unknown_nickname(source))?;
        return parse_fields(expression, salt);
    }
    parse_fields(source, salt)
}

/// Refuses what no dialect can mean: too long, or with characters that no expression has.
pub(super) fn check_text(source: &str) -> Result<(), TriggerError> {
    if source.len() > EXPRESSION_MAX {
        return Err(TriggerError::new("bad-cron", format!("the expression has {} bytes, above the most that is allowed, {EXPRESSION_MAX}", source.len())));
    }
    match source.char_indices().find(|&(_, c)| !(c == '\t' || c == ' ' || c.is_ascii_graphic())) {
        Some((at, c)) => Err(refuse(source, at, at + c.len_utf8(), format!("{c:?} has no meaning in a cron expression"))),
        None => Ok(()),
    }
}

fn unknown_nickname(source: &str) -> TriggerError {
    let typed = source.trim();
    let start = source.len() - source.trim_start().len();
    let shown: String = typed.chars().take(40).collect();
    let error = refuse(source, start, start + typed.len(), format!("{shown} is not a nickname"));
    match typed.split_whitespace().next() {
        Some("@reboot") => {
            let message = "@reboot names no time: a trigger says when by the clock, whatever a server does";
            let error = TriggerError { message: message.to_owned(), ..error };
            error.hint("trigger the job from what starts the server: bellcage trigger JOB")
        }
        Some("@every") => error.hint("an interval is a trigger of its own: { every = \"5m\" }"),
        _ => error.hint("the nicknames are @yearly, @annually, @monthly, @weekly, @daily, @midnight and @hourly"),
    }
}

fn parse_fields(source: &str, salt: Salt<'_>) -> Result<Parsed, TriggerError> {
    let words = split(source);
    let seconds = words.len() == 6;
    if !(5..=6).contains(&words.len()) {
        return Err(wrong_number(source, &words));
    }
    let at = |n: usize| words[n + usize::from(seconds)];
    let parser = |field, (start, end)| FieldParser { cursor: Cursor::new(source, start, end), field, salt };

    let seconds = if seconds { parser(Field::SECOND, words[0]).plain()?.bits } else { 1 };
    let minutes = parser(Field::MINUTE, at(0)).plain()?;
    let hours = parser(Field::HOUR, at(1)).plain()?;
    let (of_month, month_star) = parser(Field::DAY_OF_MONTH, at(2)).days_of_month()?;
    let months = parser(Field::MONTH, at(3)).plain()?;
    let (of_week, week_star) = parser(Field::DAY_OF_WEEK, at(4)).days_of_week()?;

    let days = Days { of_month, of_week, weeks: None, either: !month_star && !week_star };
    let fields = Fields { seconds, minutes: minutes.bits, hours: hours.bits as u32, months: months.bits as u16, days, years: None };
    Ok(Parsed { fields, follow: minutes.star || hours.star, dates: (at(2).0, at(3).1) })
}

/// Where each word of the expression begins and ends.
pub(super) fn split(source: &str) -> Vec<(usize, usize)> {
    let mut words = Vec::with_capacity(8);
    let mut at = 0;
    for word in source.split([' ', '\t']) {
        if !word.is_empty() {
            words.push((at, at + word.len()));
        }
        at += word.len() + 1;
    }
    words
}

fn wrong_number(source: &str, words: &[(usize, usize)]) -> TriggerError {
    let expected = "5 fields (minute, hour, day of month, month, weekday), or 6 with seconds first";
    let error = match words {
        [] => refuse(source, 0, source.len().max(1), format!("the expression is empty: it needs {expected}")),
        [.., (_, end)] if words.len() < 5 => {
            let found = if words.len() == 1 { "1 field".to_owned() } else { format!("{} fields", words.len()) };
            refuse(source, *end, end + 1, format!("{found} where {expected}, were expected"))
        }
        _ => refuse(source, words[6].0, words[words.len() - 1].1, format!("{} fields where {expected}, were expected", words.len())),
    };
    match words.len() {
        0..5 => error.hint("for example 30 2 * * mon-fri: at 02:30, Monday to Friday"),
        7 => error.hint("an expression with a year is of the dialect cron7: add dialect = \"cron7\""),
        _ => error.hint("what follows the weekday is not part of a trigger: a command goes in the component and its args"),
    }
}

/// A field's values as bits.
pub(super) struct Bits {
    pub bits: u64,
    /// It begins with `*`, or is `?`.
    pub star: bool,
}

struct FieldParser<'a> {
    cursor: Cursor<'a>,
    field: &'static Field,
    salt: Salt<'a>,
}

impl FieldParser<'_> {
    fn plain(mut self) -> Result<Bits, TriggerError> {
        let star = self.cursor.peek() == Some(b'*');
        let mut bits = 0;
        loop {
            bits |= self.item()?;
            if !self.cursor.comma()? {
                return Ok(Bits { bits, star });
            }
        }
    }

    fn days_of_month(mut self) -> Result<(DaysOfMonth, bool), TriggerError> {
        let mut days = DaysOfMonth::default();
        if self.question_mark()? {
            return Ok((DaysOfMonth { days: EVERY_DAY, ..days }, true));
        }
        let star = self.cursor.peek() == Some(b'*');
        loop {
            if self.cursor.take(b'l') {
                if self.cursor.take(b'w') {
                    days.last_workday = true;
                } else if self.cursor.take(b'-') {
                    let before = self.cursor.number_between(0, 30, "days before the last of the month")?;
                    days.from_last |= 1 << before;
                } else {
                    days.from_last |= 1;
                }
            } else if let Some(day) = self.day_with(b'w')? {
                days.nearest |= 1 << day.number;
            } else {
                days.days |= self.item()? as u32;
            }
            if !self.cursor.comma()? {
                return Ok((days, star));
            }
        }
    }

    fn days_of_week(mut self) -> Result<(DaysOfWeek, bool), TriggerError> {
        let mut days = DaysOfWeek::default();
        if self.question_mark()? {
            return Ok((DaysOfWeek { days: EVERY_WEEKDAY, ..days }, true));
        }
        let star = self.cursor.peek() == Some(b'*');
        loop {
            if self.cursor.peek() == Some(b'l') {
                let (at, end) = self.cursor.rest_of_item();
                return Err(self.cursor.refuse(at, end, "L alone is not a weekday").hint("friL is the last Friday of the month"));
            }
            if let Some(day) = self.day_with(b'#')? {
                let nth = self.cursor.number_between(1, 5, "weekdays of a kind in a month")?;
                days.nth.nth[nth as usize - 1] |= 1 << (day.number % 7);
            } else if let Some(day) = self.day_with(b'l')? {
                days.nth.last |= 1 << (day.number % 7);
            } else {
                days.days |= weekdays(self.item()?);
            }
            if !self.cursor.comma()? {
                return Ok((days, star));
            }
        }
    }

    /// A value followed by `mark`, which is taken too; nothing is taken where there is none.
    fn day_with(&mut self, mark: u8) -> Result<Option<Value>, TriggerError> {
        let before = self.cursor.clone();
        if self.cursor.peek().is_some_and(|c| c.is_ascii_alphanumeric() && c != b'h') {
            let value = self.cursor.value(self.field)?;
            if self.cursor.take(mark) {
                return Ok(Some(value));
            }
        }
        self.cursor = before;
        Ok(None)
    }

    /// `?`, which stands alone.
    fn question_mark(&mut self) -> Result<bool, TriggerError> {
        if !self.cursor.take(b'?') {
            return Ok(false);
        }
        self.cursor.end()?;
        Ok(true)
    }

    /// One item of a list: `*`, a value, a range or a hash, with or without a step.
    fn item(&mut self) -> Result<u64, TriggerError> {
        if self.cursor.peek() == Some(b'h') { self.hashed() } else { self.cursor.range(self.field) }
    }

    /// `H`, `H(a-b)`, `H/n`, `H(a-b)/n`: spread by a hash of tenant, job and field.
    fn hashed(&mut self) -> Result<u64, TriggerError> {
        let field = self.field;
        self.cursor.take(b'h');
        let (mut low, mut high) = (field.low, if field.is(Field::DAY_OF_MONTH) { HASHED_DAY_MAX } else { field.highest() });
        if self.cursor.take(b'(') {
            let start = self.cursor.at();
            low = self.cursor.value(field)?.number;
            self.cursor.expect(b'-', "H takes a range: H(a-b)")?;
            high = self.cursor.value(field)?.number;
            if low > high {
                return Err(self.cursor.refuse(start, self.cursor.at(), "this range is empty").hint("its first value must not be above its last"));
            }
            self.cursor.expect(b')', "the bracket is not closed")?;
        }
        let hash = stable_hash(self.salt, field.name.as_bytes());
        let spread = |n: u32| ((u128::from(hash) * u128::from(n)) >> 64) as u32;
        if !self.cursor.take(b'/') {
            return Ok(1 << (low + spread(high - low + 1)));
        }
        let step = self.cursor.step(high - low)?;
        Ok((low + spread(step)..=high).step_by(step as usize).fold(0, |bits, n| bits | 1 << n))
    }
}

/// Bits 0 to 13 folded onto Sunday to Saturday.
pub(super) fn weekdays(bits: u64) -> u8 {
    ((bits | bits >> 7) & 0x7f) as u8
}

#[cfg(test)]
mod tests {
    use crate::trigger::testing::{SALT, compile, fires, trigger};
    use crate::trigger::{Salt, TriggerSpec};

    /// The next firings in UTC after 2026-01-01T00:00:00Z, as `MM-DD HH:MM`, with seconds where there are any.
    fn next(expression: &str, n: usize) -> Vec<String> {
        let short = |t: String| {
            let t = t.replace("2026-", "").replace("+00:00", "").replace('T', " ");
            t.strip_suffix(":00").map(str::to_owned).unwrap_or(t)
        };
        fires(&format!(r#"{{"cron":"{expression}"}}"#), "2026-01-01T00:00:00Z", n).into_iter().map(short).collect()
    }

    fn refused(expression: &str) -> (String, String) {
        let error = TriggerSpec::cron(expression, None).compile(SALT).expect_err(expression);
        (error.message, error.span.expect(expression).caret())
    }

    /// The marked part of a refused expression.
    fn marked(expression: &str) -> String {
        let error = TriggerSpec::cron(expression, None).compile(SALT).expect_err(expression);
        let span = error.span.expect(expression);
        span.source.get(span.start..span.end).unwrap_or_default().to_owned()
    }

    #[test]
    fn lists_ranges_and_steps_name_their_values() {
        assert_eq!(next("*/20 9-10 * * *", 6), ["01-01 09:00", "01-01 09:20", "01-01 09:40", "01-01 10:00", "01-01 10:20", "01-01 10:40"]);
        assert_eq!(next("5/25 3 1 1,7 *", 3), ["01-01 03:05", "01-01 03:30", "01-01 03:55"]);
        assert_eq!(next("10-50/20 3 * JAN Mon", 3), ["01-05 03:10", "01-05 03:30", "01-05 03:50"]);
    }

    #[test]
    fn a_sixth_field_in_front_is_seconds() {
        assert_eq!(next("15,45 0 12 * * *", 2), ["01-01 12:00:15", "01-01 12:00:45"]);
        assert_eq!(next("*/30 * * * * *", 2), ["01-01 00:00:30", "01-01 00:01"]);
    }

    #[test]
    fn sunday_is_0_and_7_and_ranges_of_weekdays_and_months_go_round() {
        for expression in ["0 0 * * 0", "0 0 * * 7", "0 0 * * sun", "0 0 * * 7-7"] {
            assert_eq!(next(expression, 2), ["01-04 00:00", "01-11 00:00"], "{expression}");
        }
        for expression in ["0 12 * * fri-mon", "0 12 * * 5-1", "0 12 * * 5-7,1"] {
            assert_eq!(next(expression, 4), ["01-02 12:00", "01-03 12:00", "01-04 12:00", "01-05 12:00"], "{expression}");
        }
        assert_eq!(next("0 12 1 nov-feb *", 4), ["01-01 12:00", "02-01 12:00", "11-01 12:00", "12-01 12:00"]);
        assert_eq!(next("0 12 * * */3", 4), ["01-03 12:00", "01-04 12:00", "01-07 12:00", "01-10 12:00"]);
    }

    #[test]
    fn both_day_fields_restricted_means_either() {
        assert_eq!(next("0 12 13 * fri", 3), ["01-02 12:00", "01-09 12:00", "01-13 12:00"]);
    }

    #[test]
    fn a_day_field_that_begins_with_a_star_is_a_star_so_both_must_match() {
        assert_eq!(next("0 12 */2 * fri", 3), ["01-09 12:00", "01-23 12:00", "02-13 12:00"]);
        assert_eq!(next("0 12 13 * */2", 2), ["01-13 12:00", "06-13 12:00"]);
        assert_eq!(next("0 12 13 * ?", 2), ["01-13 12:00", "02-13 12:00"]);
        // A star further back does not make it one.
        assert_eq!(next("0 12 13,*/10 * fri", 3), ["01-01 12:00", "01-02 12:00", "01-09 12:00"]);
    }

    #[test]
    fn l_w_and_number_signs_name_days_by_their_place() {
        assert_eq!(next("0 12 L * *", 3), ["01-31 12:00", "02-28 12:00", "03-31 12:00"]);
        assert_eq!(next("0 12 L-3 * *", 2), ["01-28 12:00", "02-25 12:00"]);
        assert_eq!(next("0 12 LW * *", 3), ["01-30 12:00", "02-27 12:00", "03-31 12:00"]);
        assert_eq!(next("0 12 15W * *", 4), ["01-15 12:00", "02-16 12:00", "03-16 12:00", "04-15 12:00"]);
        // The nearest weekday stays in its month: 1 August 2026 is a Saturday, 31 May a Sunday.
        assert_eq!(next("0 12 1W 8 *", 1), ["08-03 12:00"]);
        assert_eq!(next("0 12 31W 5 *", 1), ["05-29 12:00"]);
        assert_eq!(next("0 12 * * fri#2", 2), ["01-09 12:00", "02-13 12:00"]);
        assert_eq!(next("0 12 * * 5#5", 2), ["01-30 12:00", "05-29 12:00"]);
        assert_eq!(next("0 12 * * friL", 2), ["01-30 12:00", "02-27 12:00"]);
        assert_eq!(next("0 12 * * 5L,mon#1", 3), ["01-05 12:00", "01-30 12:00", "02-02 12:00"]);
        assert_eq!(next("0 12 L,15 * *", 3), ["01-15 12:00", "01-31 12:00", "02-15 12:00"]);
    }

    #[test]
    fn h_is_spread_by_tenant_and_job_and_always_the_same() {
        let fires = |job: &str, expression: &str| {
            let trigger = TriggerSpec::cron(expression, None).compile(Salt { tenant: "default", job }).unwrap();
            trigger.next_after("2026-01-01T00:00:00Z".parse().unwrap()).unwrap()
        };
        assert_eq!(fires("a", "H H * * *"), fires("a", "H H * * *"));
        let different: std::collections::BTreeSet<_> = (0..50).map(|n| fires(&format!("job-{n}"), "H H * * *")).collect();
        assert!(different.len() > 40, "{}", different.len());
        for n in 0..50 {
            let job = format!("job-{n}");
            let t = fires(&job, "H(10-20) H(3-5) H * *").to_zoned_datetime(jiff::tz::TimeZone::UTC);
            assert!((10..=20).contains(&t.minute()) && (3..=5).contains(&t.hour()) && t.day() <= 28, "{t}");
        }
        let trigger = trigger(r#"{"cron":"H/15 * * * *"}"#);
        let day = ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"].map(|t| t.parse().unwrap());
        assert_eq!(trigger.count_between(day[0], day[1]).n, 96);
    }

    #[test]
    fn nicknames_are_expressions_in_any_case() {
        for (nickname, expression) in super::NICKNAMES {
            assert_eq!(next(nickname, 3), next(expression, 3));
            assert_eq!(next(&format!(" {} ", nickname.to_uppercase()), 3), next(expression, 3));
        }
    }

    #[test]
    fn what_is_wrong_is_marked() {
        for (expression, place) in [
            ("60 * * * *", "60"),
            ("* 24 * * *", "24"),
            ("* * 0 * *", "0"),
            ("* * 32 * *", "32"),
            ("* * * 13 *", "13"),
            ("* * * * 8", "8"),
            ("* * * * mon-fri/2/3", "/3"),
            ("* * * * mon#2x", "x"),
            ("* * * * mon#6", "6"),
            ("* * * * mon-fri#2", "#2"),
            ("* * * * friday", "friday"),
            ("* * * janner *", "janner"),
            ("*/0 * * * *", "0"),
            ("*/60 * * * *", "60"),
            ("* */24 * * *", "24"),
            ("10-20/15 * * * *", "15"),
            ("20-10 * * * *", "20-10"),
            ("1,,2 * * * *", ","),
            ("1, * * * *", ","),
            (",1 * * * *", ","),
            ("a * * * *", "a"),
            ("-1 * * * *", "-1"),
            ("? * * * *", "?"),
            ("* * ?,1 * *", ","),
            ("* * * * L", "L"),
            ("* * L-31 * *", "31"),
            ("* * 15WW * *", "W"),
            ("* * W * *", "W"),
            ("H(5-3) * * * *", "5-3"),
            ("H(5-60) * * * *", "60"),
            ("H/90 * * * *", "90"),
            ("99999999999999999999 * * * *", "99999999999999999999"),
            ("* * * * * * 2026", "2026"),
            ("* * * * mon é", "é"),
            ("0 0 30 2 *", "30 2"),
            ("0 0 31 4,6,9,11 *", "31 4,6,9,11"),
            ("@reboot", "@reboot"),
            ("@dayly", "@dayly"),
        ] {
            assert_eq!(marked(expression), place, "{expression}");
        }
        // The place where something is missing is behind what is there.
        assert_eq!(refused("* * * *").1, "* * * *\n       ^");
        assert_eq!(refused("* * * * 1-").1, "* * * * 1-\n          ^");
        assert_eq!(refused("*/ * * * *").1, "*/ * * * *\n  ^");
        assert!(TriggerSpec::cron("", None).compile(SALT).is_err());
    }

    #[test]
    fn hints_say_what_would_be_right() {
        let hint = |expression: &str| compile(&format!(r#"{{"cron":"{expression}"}}"#)).unwrap_err().hint.unwrap_or_default();
        assert_eq!(hint("* * * * friday"), "write fri");
        assert!(hint("* 22-6 * * *").contains("22-23,0-6"));
        assert!(hint("* * * * * * 2026").contains("cron7"));
        assert!(hint("@reboot").contains("bellcage trigger"));
        assert!(hint("@every 5m").contains("every"));
        assert!(hint("* * * * 8").contains("0 and 7 are Sunday"));
        assert_eq!(compile(r#"{"cron":"0 0 30 2 *"}"#).unwrap_err().code, "never-fires");
    }

    #[test]
    fn an_expression_of_more_than_1000_bytes_is_refused() {
        let list = format!("{}1 * * * *", "1,".repeat(495));
        assert!(list.len() <= 1_000 && TriggerSpec::cron(&list, None).compile(SALT).is_ok());
        let error = TriggerSpec::cron(&format!("{list}{}", " ".repeat(20)), None).compile(SALT).unwrap_err();
        assert!(error.message.contains("1000"), "{error}");
    }
}
