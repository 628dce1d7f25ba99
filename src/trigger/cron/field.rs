//! What a field may hold, and the reading of values, ranges and steps, shared by the dialects that we parse ourselves.

use super::fields::Years;
use super::refuse;
use crate::trigger::TriggerError;

/// One field of a cron expression.
#[derive(Debug)]
pub(super) struct Field {
    pub name: &'static str,
    /// The values are `low` to `high`, both included.
    pub low: u32,
    pub high: u32,
    /// The names of the values, from `low` on.
    names: &'static [&'static str],
    /// A range whose first value is above its last goes round.
    wraps: bool,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Field {
    pub const SECOND: &Self = &Self { name: "second", low: 0, high: 59, names: &[], wraps: false };
    pub const MINUTE: &Self = &Self { name: "minute", low: 0, high: 59, names: &[], wraps: false };
    pub const HOUR: &Self = &Self { name: "hour", low: 0, high: 23, names: &[], wraps: false };
    pub const DAY_OF_MONTH: &Self = &Self { name: "day of the month", low: 1, high: 31, names: &[], wraps: false };
    pub const MONTH: &Self = &Self { name: "month", low: 1, high: 12, names: &MONTHS, wraps: true };
    pub const DAY_OF_WEEK: &Self = &Self { name: "weekday", low: 0, high: 7, names: &WEEKDAYS, wraps: true };
    pub const YEAR: &Self = &Self { name: "year", low: Years::FIRST as u32, high: Years::LAST as u32, names: &[], wraps: false };
    pub const WEEK: &Self = &Self { name: "week", low: 1, high: 53, names: &[], wraps: false };

    pub fn is(&self, other: &Self) -> bool {
        self.name == other.name
    }

    /// The highest value that is not another one's second name.
    pub fn highest(&self) -> u32 {
        if self.is(Self::DAY_OF_WEEK) { 6 } else { self.high }
    }

    /// How many values there are, of one name each.
    fn size(&self) -> u32 {
        self.highest() - self.low + 1
    }

    /// `an hour`, `a minute`.
    pub fn with_article(&self) -> String {
        format!("{} {}", if self.is(Self::HOUR) { "an" } else { "a" }, self.name)
    }

    fn allowed(&self) -> String {
        match (self.names, self.low) {
            ([], low) => format!("{} is {low} to {}", self.with_article(), self.high),
            (_, 0) => "a weekday is 0 to 7 (0 and 7 are Sunday) or sun, mon, tue, wed, thu, fri, sat".to_owned(),
            (_, low) => format!("a month is {low} to {} or jan, feb, mar … dec", self.high),
        }
    }
}

/// A value and the place where it stood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub number: u32,
    pub start: usize,
}

/// A place in an expression, moving to the end of its field.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    source: &'a str,
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    /// Bytes `start..end` of `source`, which is ASCII.
    pub fn new(source: &'a str, start: usize, end: usize) -> Self {
        Self { source, at: start, end }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    /// The next character, in lower case.
    pub fn peek(&self) -> Option<u8> {
        (self.at < self.end).then(|| self.source.as_bytes()[self.at].to_ascii_lowercase())
    }

    /// Takes the character `c` if it is the next one; letters in either case.
    pub fn take(&mut self, c: u8) -> bool {
        let next = self.peek() == Some(c);
        self.at += usize::from(next);
        next
    }

    pub fn expect(&mut self, c: u8, what: &str) -> Result<(), TriggerError> {
        if self.take(c) { Ok(()) } else { Err(self.refuse(self.at, self.at + 1, what)) }
    }

    pub fn refuse(&self, start: usize, end: usize, what: impl Into<String>) -> TriggerError {
        refuse(self.source, start, end, what)
    }

    /// Where the item that the cursor is in goes on and ends.
    pub fn rest_of_item(&self) -> (usize, usize) {
        let rest = &self.source[self.at..self.end];
        (self.at, self.at + rest.find(',').unwrap_or(rest.len()).max(1))
    }

    /// Whether another item follows. Anything else than the field's end is refused.
    pub fn comma(&mut self) -> Result<bool, TriggerError> {
        if !self.take(b',') {
            self.end()?;
            return Ok(false);
        }
        if self.at == self.end { Err(self.refuse(self.at - 1, self.at, "a value is missing after the comma")) } else { Ok(true) }
    }

    /// Refuses anything left over.
    pub fn end(&self) -> Result<(), TriggerError> {
        if self.at == self.end {
            return Ok(());
        }
        let (start, end) = self.rest_of_item();
        Err(self.refuse(start, end, format!("{:?} has no meaning here", &self.source[start..end])))
    }

    fn word(&self, is: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.source[self.at..self.end];
        &rest[..rest.bytes().position(|c| !is(c)).unwrap_or(rest.len())]
    }

    /// A number or name of the field.
    pub fn value(&mut self, field: &Field) -> Result<Value, TriggerError> {
        let start = self.at;
        let digits = self.word(|c| c.is_ascii_digit());
        if !digits.is_empty() {
            self.at += digits.len();
            return match digits.parse() {
                Ok(number) if (field.low..=field.high).contains(&number) => Ok(Value { number, start }),
                _ => Err(self.refuse(start, self.at, format!("{} is not {}", shorten(digits), field.with_article())).hint(field.allowed())),
            };
        }
        let letters = self.word(|c| c.is_ascii_alphabetic());
        let known = letters.get(..3).and_then(|three| field.names.iter().position(|name| name.eq_ignore_ascii_case(three)));
        // A letter behind a name can only be the L of friL.
        if let Some(n) = known.filter(|_| letters.len() == 3 || letters[3..].eq_ignore_ascii_case("l")) {
            self.at += 3;
            return Ok(Value { number: field.low + n as u32, start });
        }
        if !letters.is_empty() {
            let error = self.refuse(start, start + letters.len(), format!("{} is not {}", shorten(letters), field.with_article()));
            return Err(match known {
                Some(n) => error.hint(format!("write {}", field.names[n])),
                None => error.hint(field.allowed()),
            });
        }
        let what = match self.peek() {
            Some(_) => {
                let (start, end) = self.rest_of_item();
                format!("{:?} is not {}", &self.source[start..end.min(start + 20)], field.with_article())
            }
            None => format!("{} is missing here", field.with_article()),
        };
        let end = if self.at < self.end { self.rest_of_item().1 } else { self.at + 1 };
        Err(self.refuse(self.at, end, what).hint(field.allowed()))
    }

    /// A number of at least `low` and at most `high`; `what` says of what, in the plural.
    pub fn number_between(&mut self, low: u32, high: u32, what: &str) -> Result<u32, TriggerError> {
        let start = self.at;
        let digits = self.word(|c| c.is_ascii_digit());
        self.at += digits.len();
        match digits.parse() {
            Ok(number) if (low..=high).contains(&number) => Ok(number),
            _ => Err(self.refuse(start, self.at.max(start + 1), format!("a number from {low} to {high} was expected here: {what}"))),
        }
    }

    /// A step of at most `most`; 1 is always one.
    pub fn step(&mut self, most: u32) -> Result<u32, TriggerError> {
        let start = self.at;
        let digits = self.word(|c| c.is_ascii_digit());
        self.at += digits.len();
        let refuse = |what: String| self.refuse(start, self.at.max(start + 1), what);
        match digits.parse::<u32>() {
            Ok(0) => Err(refuse("a step of 0 never moves".to_owned()).hint("a step is 1 or more")),
            Ok(step) if step <= most.max(1) => Ok(step),
            _ if digits.is_empty() => Err(refuse("a step is missing here".to_owned()).hint("for example */5")),
            _ => Err(refuse(format!("a step of {} is larger than the range", shorten(digits))).hint(format!("it can be {} at most", most.max(1)))),
        }
    }

    /// `*`, a value or a range, with or without a step, as bits. Weekdays that went round stand at bits 7 to 13.
    pub fn range(&mut self, field: &Field) -> Result<u64, TriggerError> {
        let bits = self.values(field)?.fold(0, |bits: u64, n| bits | 1 << n);
        // Months go round behind December.
        Ok(if field.is(Field::MONTH) { (bits | bits >> 12) & 0x1ffe } else { bits })
    }

    /// The same as numbers.
    pub fn values(&mut self, field: &Field) -> Result<std::iter::StepBy<std::ops::RangeInclusive<u32>>, TriggerError> {
        let (low, high) = if self.take(b'*') {
            (field.low, None)
        } else {
            let first = self.value(field)?;
            if self.take(b'-') {
                let (low, high) = self.last_of_range(field, first)?;
                (low, Some(high))
            } else if self.peek() == Some(b'/') {
                (first.number, None)
            } else {
                (first.number, Some(first.number))
            }
        };
        // To the end of the field (`*/15`, `5/15`), a step is measured against the whole field.
        let most = high.map_or(field.high, |high| high - low);
        let high = high.unwrap_or(low.max(field.highest()));
        let step = if self.take(b'/') { self.step(most)? } else { 1 };
        Ok((low..=high).step_by(step as usize))
    }

    fn last_of_range(&mut self, field: &Field, first: Value) -> Result<(u32, u32), TriggerError> {
        let last = self.value(field)?.number;
        if first.number <= last {
            return Ok((first.number, last));
        }
        if field.wraps {
            return Ok((first.number, last + field.size()));
        }
        let typed = &self.source[first.start..self.at];
        let around = format!("{}-{},{}-{last}", first.number, field.high, field.low);
        Err(self
            .refuse(first.start, self.at, format!("the range {typed} is empty"))
            .hint(format!("its first value must not be above its last; to go round, write {around}")))
    }
}

/// At most 20 characters of what was typed.
fn shorten(typed: &str) -> String {
    if typed.len() <= 20 { typed.to_owned() } else { format!("{}…", &typed[..20]) }
}
