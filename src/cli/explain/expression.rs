//! `bellcage explain cron`: an expression field by field, its next firings, and what clock changes do to it.
//!
//! The expression is parsed by the trigger; here its text is only put into words, so that a reader sees what each part
//! was taken for. Weekdays are always named: counting them from the wrong day is the most common way to be wrong.

use clap::Args;
use serde_json::json;

use crate::trigger::{Salt, TriggerSpec};

use super::super::error::{Exit, Result};
use super::super::next::{fires, list};
use super::super::output::fields;
use super::super::{Context, when};

#[derive(Args)]
pub struct CronArgs {
    /// 5 fields, or 6 with seconds first
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    expression: String,
    /// The IANA time zone that it is meant in [default: UTC]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
}

/// Firings shown.
const FIRES: u32 = 3;

pub fn explain(args: &CronArgs, context: &Context) -> Result {
    let spec = TriggerSpec::cron(&args.expression, args.timezone.as_deref());
    let trigger = spec.compile(Salt { tenant: "default", job: "" })?;
    let now = context.now();
    let fires = fires(&trigger, now, FIRES);
    let words = in_words(&args.expression);
    let notes = trigger.notes(now);
    let out = &context.out;
    if out.json {
        let fields: Vec<_> = words.iter().map(|(name, text, words)| json!({ "field": name, "text": text, "words": words })).collect();
        let fires: Vec<_> = fires.iter().map(|t| when::rfc9557(*t, trigger.timezone())).collect();
        out.document(&json!({ "cron": args.expression, "description": trigger.describe(), "fields": fields, "fires": fires, "notes": notes }))?;
        return Ok(Exit::OK);
    }
    out.line(&trigger.describe())?;
    let width = words.iter().map(|(_, text, _)| text.chars().count()).max().unwrap_or(0);
    let rows: Vec<_> = words.iter().map(|(name, text, words)| (*name, format!("{text:width$}  {words}"))).collect();
    out.data(&fields(out, &rows))?;
    out.data(&list(&fires, trigger.timezone(), now))?;
    for note in notes {
        out.note(&note);
    }
    Ok(Exit::OK)
}

/// A field as a reader sees it.
struct Field {
    name: &'static str,
    /// What one of its values is called.
    unit: &'static str,
    names: &'static [&'static str],
    /// The number of the first name.
    first: usize,
}

const SECOND: Field = Field { name: "second", unit: "second", names: &[], first: 0 };
const MINUTE: Field = Field { name: "minute", unit: "minute", names: &[], first: 0 };
const HOUR: Field = Field { name: "hour", unit: "hour", names: &[], first: 0 };
const DAY: Field = Field { name: "day of month", unit: "day", names: &[], first: 1 };
const MONTHS: [&str; 12] = ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"];
const MONTH: Field = Field { name: "month", unit: "month", names: &MONTHS, first: 1 };
const WEEKDAYS: [&str; 8] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const WEEKDAY: Field = Field { name: "weekday", unit: "weekday", names: &WEEKDAYS, first: 0 };

/// Each field's name, its text and what that means. `expression` is one that the trigger accepted.
fn in_words(expression: &str) -> Vec<(&'static str, String, String)> {
    let text: Vec<&str> = expression.split_whitespace().collect();
    let fields: &[Field] = match text.len() {
        5 => &[MINUTE, HOUR, DAY, MONTH, WEEKDAY],
        6 => &[SECOND, MINUTE, HOUR, DAY, MONTH, WEEKDAY],
        // A nickname: its description says all.
        _ => return Vec::new(),
    };
    let mut rows: Vec<_> = fields.iter().zip(&text).map(|(field, text)| (field.name, (*text).to_owned(), field.words(text))).collect();
    let [.., day, _, weekday] = &text[..] else { return rows };
    let restricted = |text: &str| !text.starts_with('*') && text != "?";
    if restricted(day)
        && restricted(weekday)
        && let Some((_, _, words)) = rows.last_mut()
    {
        words.push_str("; the day of month or the weekday is enough");
    }
    rows
}

impl Field {
    fn words(&self, text: &str) -> String {
        let items: Vec<String> = text.split(',').map(|item| self.item(item)).collect();
        match items.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            [most @ .., last] => format!("{} and {last}", most.join(", ")),
        }
    }

    fn item(&self, item: &str) -> String {
        let lower = item.to_ascii_lowercase();
        let (range, step) = match lower.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (lower.as_str(), None),
        };
        let each = |step: &str| if step == "1" { format!("every {}", self.unit) } else { format!("every {step} {}s", self.unit) };
        if range.starts_with('h') {
            return self.hashed(range, step.map(each));
        }
        match (range, step) {
            ("*" | "?", None) => format!("every {}", self.unit),
            ("*", Some(step)) => format!("{}, from {}", each(step), self.value(&self.first.to_string())),
            _ => match (range.split_once('-'), step) {
                (Some(("l", before)), _) => format!("{before} days before the last of the month"),
                (Some((from, to)), None) => format!("{} to {}", self.value(from), self.value(to)),
                (Some((from, to)), Some(step)) => format!("{}, from {} to {}", each(step), self.value(from), self.value(to)),
                (None, Some(step)) => format!("{}, from {} on", each(step), self.value(range)),
                (None, None) => self.single(range),
            },
        }
    }

    fn single(&self, text: &str) -> String {
        let nth = |n: &str| match n {
            "1" => "first",
            "2" => "second",
            "3" => "third",
            "4" => "fourth",
            _ => "fifth",
        };
        match text {
            "l" => "the last day of the month".to_owned(),
            "lw" => "the last working day of the month".to_owned(),
            _ => match text.split_once('#') {
                Some((day, n)) => format!("the {} {} of the month", nth(n), self.value(day)),
                None => match (text.strip_suffix('w'), text.strip_suffix('l')) {
                    (Some(day), _) if self.unit == "day" => format!("the working day nearest to day {day}"),
                    (_, Some(day)) if self.unit == "weekday" => format!("the last {} of the month", self.value(day)),
                    _ => self.value(text),
                },
            },
        }
    }

    fn hashed(&self, range: &str, each: Option<String>) -> String {
        let within = range.trim_start_matches('h').trim_matches(['(', ')']);
        let within = within.split_once('-').map(|(from, to)| format!(" within {} to {}", self.value(from), self.value(to))).unwrap_or_default();
        match each {
            Some(each) => format!("{each}{within}, shifted by the job's id"),
            None => format!("one {}{within}, chosen by the job's id", self.unit),
        }
    }

    /// A number with its name, where it has one; a name in full.
    fn value(&self, text: &str) -> String {
        let by_name = |name: &&&str| text.len() == 3 && name.to_ascii_lowercase().starts_with(text);
        match text.parse::<usize>() {
            Ok(n) => match n.checked_sub(self.first).and_then(|i| self.names.get(i)) {
                Some(name) => (*name).to_owned(),
                None => n.to_string(),
            },
            Err(_) => self.names.iter().find(by_name).map_or_else(|| text.to_owned(), |name| (*name).to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_field_has_words() {
        for (field, text, words) in [
            (MINUTE, "*", "every minute"),
            (MINUTE, "*/15", "every 15 minutes, from 0"),
            (MINUTE, "5,10-20/2", "5 and every 2 minutes, from 10 to 20"),
            (HOUR, "9/4", "every 4 hours, from 9 on"),
            (HOUR, "H(2-5)", "one hour within 2 to 5, chosen by the job's id"),
            (MINUTE, "H/10", "every 10 minutes, shifted by the job's id"),
            (DAY, "L", "the last day of the month"),
            (DAY, "L-3", "3 days before the last of the month"),
            (DAY, "15W", "the working day nearest to day 15"),
            (DAY, "LW", "the last working day of the month"),
            (MONTH, "nov-feb", "November to February"),
            (MONTH, "3", "March"),
            (WEEKDAY, "1-5", "Monday to Friday"),
            (WEEKDAY, "0,7", "Sunday and Sunday"),
            (WEEKDAY, "fri#2", "the second Friday of the month"),
            (WEEKDAY, "5L", "the last Friday of the month"),
            (WEEKDAY, "?", "every weekday"),
        ] {
            assert_eq!(field.words(text), words, "{text}");
        }
    }

    #[test]
    fn two_restricted_day_fields_are_said_to_be_alternatives() {
        assert_eq!(in_words("0 0 13 * fri")[4].2, "Friday; the day of month or the weekday is enough");
        assert_eq!(in_words("0 0 * * fri")[4].2, "Friday");
        assert_eq!(in_words("0 0 0 13 * *")[0], ("second", "0".to_owned(), "0".to_owned()));
        assert!(in_words("@daily").is_empty());
    }
}
