//! Triggers: when a job fires, as pure functions from an instant to the next one.
//!
//! A `TriggerSpec` is what a user wrote; compiled, it is a `Trigger`, which can be asked forwards (`next_after`),
//! backwards (`last_at_or_before`) and for a number (`count_between`), so that catching up after downtime jumps
//! instead of looping. No clock is read here and there is no state: the same question has the same answer, on
//! every machine, since the time-zone database is the one compiled in.

mod at;
mod calendar;
mod changes;
mod combine;
mod cron;
mod duration;
mod error;
mod every;
mod exclusions;
mod gregorian;
mod spec;
mod wall;
mod zone;

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use changes::Zone;
use combine::{STEPS_MAX, Steps};
use wall::Rule;

pub use duration::parse_duration;
pub use error::{Span, TriggerError};
pub use exclusions::{DailyRule, DateRule, Excluded, Exclusion, Exclusions, Stretch, WeekdaysRule, WindowRule, YearlyRule};
pub use spec::{
    AfterSpec, AllSpec, AnySpec, AtSpec, CalendarSpec, CronSpec, Dialect, EverySpec, FieldsSpec, First, Join, MonthDay, NamedFields, Period, TriggerSpec,
};
pub use wall::DstGap;
pub use zone::{parse_end, parse_instant, parse_timezone, show};

/// Whose trigger it is: what spreads `H` and jitter, always in the same way.
#[derive(Clone, Copy, Debug)]
pub struct Salt<'a> {
    pub tenant: &'a str,
    pub job: &'a str,
}

/// A compiled trigger.
#[derive(Clone, Debug)]
pub struct Trigger {
    kind: Kind,
    /// Firings are at or after `start` and at or before `end`.
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    zone: Arc<Zone>,
}

#[derive(Clone, Debug)]
enum Kind {
    At(Timestamp),
    Every(every::Every),
    Cron(Arc<cron::Cron>),
    Calendar(Arc<calendar::Calendar>, DstGap),
    Any(Arc<combine::Any>),
    All(Arc<combine::All>),
    After(Arc<AfterSpec>),
    Manual,
}

/// How many firings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    pub n: u64,
    /// False where `n` is a lower bound.
    pub exact: bool,
}

const MICRO: SignedDuration = SignedDuration::from_micros(1);

impl Trigger {
    /// The first firing strictly after `t`; `None` when there is none.
    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        self.next(t, &mut Steps::new(STEPS_MAX))
    }

    /// Whether `next_after` finds none because it gives up, so that there may be one. Only of `any` and `all`.
    pub fn gives_up_after(&self, t: Timestamp) -> bool {
        let mut steps = Steps::new(STEPS_MAX);
        self.next(t, &mut steps).is_none() && steps.used_up()
    }

    /// The last firing at or before `t`; `None` when there was none.
    pub fn last_at_or_before(&self, t: Timestamp) -> Option<Timestamp> {
        self.last(t, &mut Steps::new(STEPS_MAX))
    }

    fn next(&self, t: Timestamp, steps: &mut Steps) -> Option<Timestamp> {
        let t = self.after_start(t);
        let next = match &self.kind {
            Kind::At(at) => Some(*at).filter(|&at| at > t),
            Kind::Every(every) => every.next_after(t),
            Kind::Cron(cron) => cron.next_after(t, &self.zone),
            Kind::Calendar(calendar, gap) => wall::next_after(&**calendar, Rule::fixed(*gap), &self.zone, t),
            Kind::Any(any) => any.next(t, steps),
            Kind::All(all) => all.next(t, steps),
            Kind::After(_) | Kind::Manual => None,
        };
        next.filter(|&next| self.end.is_none_or(|end| next <= end))
    }

    fn last(&self, t: Timestamp, steps: &mut Steps) -> Option<Timestamp> {
        let t = self.end.map_or(t, |end| t.min(end));
        let last = match &self.kind {
            Kind::At(at) => Some(*at).filter(|&at| at <= t),
            Kind::Every(every) => every.last_at_or_before(t),
            Kind::Cron(cron) => cron.last_at_or_before(t, &self.zone),
            Kind::Calendar(calendar, gap) => wall::last_at_or_before(&**calendar, Rule::fixed(*gap), &self.zone, t),
            Kind::Any(any) => any.last(t, steps),
            Kind::All(all) => all.last(t, steps),
            Kind::After(_) | Kind::Manual => None,
        };
        last.filter(|&last| self.start.is_none_or(|start| last >= start))
    }

    /// How many firings are in `(after, until]`. Counted by arithmetic: a year of a 1-second job costs no more than its months.
    /// Only `any` and `all` are asked firing by firing, up to a bound, past which the number is a lower bound.
    pub fn count_between(&self, after: Timestamp, until: Timestamp) -> Count {
        let after = self.after_start(after);
        let until = self.end.map_or(until, |end| until.min(end));
        let n = match &self.kind {
            _ if until <= after => 0,
            Kind::At(at) => u64::from(*at > after && *at <= until),
            Kind::Every(every) => every.count_between(after, until),
            Kind::Cron(cron) => cron.count_between(after, until, &self.zone),
            Kind::Calendar(calendar, gap) => wall::count_between(&**calendar, Rule::fixed(*gap), &self.zone, after, until),
            Kind::Any(any) => {
                let of_members = || any.0.iter().map(|member| member.count_between(after, until).n).max();
                return combine::count(self, after, until, || of_members().unwrap_or(0));
            }
            Kind::All(_) => return combine::count(self, after, until, || 0),
            Kind::After(_) | Kind::Manual => 0,
        };
        Count { n, exact: true }
    }

    /// `t`, or the last microsecond before the start.
    fn after_start(&self, t: Timestamp) -> Timestamp {
        self.start.map_or(t, |start| t.max(start.saturating_sub(MICRO).unwrap_or(start)))
    }

    /// The zone that its times are meant in: for showing them to people. UTC where none was given.
    pub fn timezone(&self) -> &TimeZone {
        &self.zone.tz
    }

    /// In words: `at 02:30, Monday to Friday, Europe/Stockholm time`.
    pub fn describe(&self) -> String {
        let zone = self.zone.tz.iana_name().unwrap_or("UTC");
        let joined = |members: &[Self]| members.iter().map(|member| format!("({})", member.describe())).collect::<Vec<_>>();
        let in_zone = |mut words: String| {
            [", ", zone, " time"].into_iter().for_each(|part| words.push_str(part));
            words
        };
        let (mut words, shows_start) = match &self.kind {
            Kind::At(at) => (format!("once, at {}", zone::show(*at, &self.zone.tz)), false),
            Kind::Every(every) => (format!("every {}", crate::job::duration::format(every.every)), false),
            Kind::Cron(cron) => (in_zone(cron.describe()), true),
            Kind::Calendar(calendar, _) => (in_zone(calendar.describe()), false),
            Kind::Any(any) => (joined(&any.0).join(" or "), true),
            Kind::All(all) => (format!("whenever these agree: {}", joined(&all.members).join(" and ")), true),
            Kind::After(after) => (after.describe(), false),
            Kind::Manual => ("on demand only".to_owned(), false),
        };
        if let Some(start) = self.start.filter(|_| shows_start) {
            words.push_str(&format!(", from {}", zone::show(start, &self.zone.tz)));
        }
        if let Some(end) = self.end {
            words.push_str(&format!(", until {}", zone::show(end, &self.zone.tz)));
        }
        words
    }

    /// What the zone's clock changes of the coming 400 days will do to it, in words.
    pub fn notes(&self, now: Timestamp) -> Vec<String> {
        let of_members = |members: &[Self]| {
            let mut notes: Vec<String> = members.iter().flat_map(|member| member.notes(now)).collect();
            notes.sort();
            notes.dedup();
            notes
        };
        match &self.kind {
            Kind::Cron(cron) => cron.notes(now, &self.zone),
            Kind::Calendar(calendar, gap) => wall::notes(&**calendar, Rule::fixed(*gap), &self.zone, now),
            Kind::Any(any) => of_members(&any.0),
            Kind::All(all) => of_members(&all.members),
            Kind::At(_) | Kind::Every(_) | Kind::After(_) | Kind::Manual => Vec::new(),
        }
    }
}

/// By how much a firing's start is moved: `0 ≤ offset ≤ jitter`, in whole microseconds, by a hash of tenant, job and instant.
pub fn jitter_offset(salt: Salt<'_>, scheduled: Timestamp, jitter: SignedDuration) -> SignedDuration {
    let Ok(most) = u64::try_from(jitter.as_micros()) else { return SignedDuration::ZERO };
    let hash = stable_hash(salt, &scheduled.as_microsecond().to_be_bytes());
    let offset = (u128::from(hash) * (u128::from(most) + 1)) >> 64;
    SignedDuration::from_micros(i64::try_from(offset).unwrap_or(0))
}

/// The first 64 bits of SHA-256 over the parts, each ended by a zero byte: the same on every machine, for ever.
fn stable_hash(salt: Salt<'_>, what: &[u8]) -> u64 {
    let hash = Sha256::new().chain_update(salt.tenant).chain_update([0]).chain_update(salt.job).chain_update([0]).chain_update(what).finalize();
    hash.iter().take(8).fold(0, |n, &byte| n << 8 | u64::from(byte))
}

#[cfg(test)]
mod testing {
    use super::*;

    pub(super) const SALT: Salt<'static> = Salt { tenant: "default", job: "nightly" };

    /// The trigger of a JSON form, anchored at 2026-01-01T00:00:00Z.
    pub(super) fn trigger(json: &str) -> Trigger {
        compile(json).unwrap_or_else(|error| panic!("{json}: {error} {:?}", error.span))
    }

    pub(super) fn compile(json: &str) -> Result<Trigger, TriggerError> {
        TriggerSpec::from_json(json)?.anchored("2026-01-01T00:00:00Z".parse().unwrap()).compile(SALT)
    }

    fn show(t: Timestamp, trigger: &Trigger) -> String {
        let shown = t.to_zoned_datetime(trigger.timezone().clone()).to_string();
        shown.split('[').next().unwrap().to_owned()
    }

    /// The first `n` firings after an instant, with the offset of the trigger's zone.
    pub(super) fn fires(json: &str, after: &str, n: usize) -> Vec<String> {
        let trigger = trigger(json);
        let mut t: Timestamp = after.parse().unwrap();
        std::iter::from_fn(|| trigger.next_after(t).inspect(|&next| t = next)).take(n).map(|t| show(t, &trigger)).collect()
    }

    /// The last `n` firings until an instant, the latest first.
    pub(super) fn fires_back(json: &str, until: &str, n: usize) -> Vec<String> {
        let trigger = trigger(json);
        let mut t: Timestamp = until.parse().unwrap();
        std::iter::from_fn(|| trigger.last_at_or_before(t).inspect(|&last| t = last - MICRO)).take(n).map(|t| show(t, &trigger)).collect()
    }
}
