//! cron: wall-clock times by fields, in three dialects that fill the same bitmaps.
//!
//! * `unix`: crontab text, 5 fields or 6 with leading seconds. Both day fields restricted: either is enough.
//! * `cron7`: what the `cron` crate reads, 6 fields or 7 with a trailing year. Both day fields must match.
//! * fields: named fields, as APScheduler has them. All must match.
//!
//! `fields` evaluates, `days` knows which days of a month are meant, `wall` (one level up) turns wall times into instants.

mod cron7;
mod days;
mod describe;
mod field;
mod fields;
mod named;
mod unix;

use jiff::Timestamp;

use super::changes::Zone;
use super::spec::NamedFields;
use super::wall::{self, DstGap, Rule};
use super::{Salt, TriggerError};

/// The most bytes that an expression may have.
const EXPRESSION_MAX: usize = 1_000;

/// An expression that fires some day.
#[derive(Debug)]
pub(super) struct Cron {
    fields: fields::Fields,
    rule: Rule,
}

/// What a dialect's parser makes of an expression.
struct Parsed {
    fields: fields::Fields,
    /// A `*` in minute or hour: it follows the clock through clock changes.
    follow: bool,
    /// The bytes of the expression that say on which days; empty where there is no one expression.
    dates: (usize, usize),
}

impl Cron {
    pub fn unix(source: &str, salt: Salt<'_>, gap: DstGap) -> Result<Self, TriggerError> {
        Self::checked(unix::parse(source, salt)?, gap, source)
    }

    pub fn cron7(source: &str, gap: DstGap) -> Result<Self, TriggerError> {
        Self::checked(cron7::parse(source)?, gap, source)
    }

    pub fn named(fields: &NamedFields, gap: DstGap) -> Result<Self, TriggerError> {
        Self::checked(named::parse(fields)?, gap, "")
    }

    fn checked(parsed: Parsed, gap: DstGap, source: &str) -> Result<Self, TriggerError> {
        let Parsed { fields, follow, dates } = parsed;
        if fields.has_days() {
            return Ok(Self { fields, rule: Rule { follow, gap } });
        }
        let error =
            TriggerError::new("never-fires", "no year has such a day, so this would never fire").hint("check day, month and weekday against the calendar");
        Err(if dates.0 < dates.1 { error.at(source, dates.0, dates.1) } else { error })
    }

    pub fn next_after(&self, t: Timestamp, zone: &Zone) -> Option<Timestamp> {
        wall::next_after(&self.fields, self.rule, zone, t)
    }

    pub fn last_at_or_before(&self, t: Timestamp, zone: &Zone) -> Option<Timestamp> {
        wall::last_at_or_before(&self.fields, self.rule, zone, t)
    }

    pub fn count_between(&self, after: Timestamp, until: Timestamp, zone: &Zone) -> u64 {
        wall::count_between(&self.fields, self.rule, zone, after, until)
    }

    /// In words, without the zone.
    pub fn describe(&self) -> String {
        describe::describe(&self.fields)
    }

    pub fn notes(&self, now: Timestamp, zone: &Zone) -> Vec<String> {
        wall::notes(&self.fields, self.rule, zone, now)
    }
}

fn refuse(source: &str, start: usize, end: usize, what: impl Into<String>) -> TriggerError {
    TriggerError::new("bad-cron", what).at(source, start, end)
}
