//! From a `TriggerSpec` to a `Trigger`: everything that was written is read and checked here.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::read::refuse;
use super::{AllSpec, AnySpec, CalendarSpec, CronSpec, Dialect, EverySpec, FieldsSpec, MonthDay, Period, TriggerSpec};
use crate::trigger::calendar::{Calendar, DAYS_MAX, MONTHS_MAX};
use crate::trigger::changes::Zone;
use crate::trigger::combine::{All, Any, STEPS_MAX, Steps};
use crate::trigger::cron::Cron;
use crate::trigger::every::Every;
use crate::trigger::zone::{parse_date, parse_end, parse_instant};
use crate::trigger::{Kind, MICRO, Salt, Trigger, TriggerError, at, parse_duration};

/// The shortest interval.
const EVERY_MIN: SignedDuration = SignedDuration::from_millis(100);

/// How many triggers any and all may hold, those in theirs included, and how deep.
const MEMBERS_MAX: usize = 64;
const DEPTH_MAX: usize = 4;

/// The longest tolerance of `all`: a day.
const TOLERANCE_MAX: SignedDuration = SignedDuration::from_hours(24);

impl TriggerSpec {
    /// Reads what was written. An interval without a start that was not `anchored` counts from 1970. Refused is also what
    /// can never fire. `salt` spreads `H`.
    pub fn compile(self, salt: Salt<'_>) -> Result<Trigger, TriggerError> {
        self.check_members(0, &mut 0)?;
        self.compile_checked(salt)
    }

    fn check_members(&self, depth: usize, total: &mut usize) -> Result<(), TriggerError> {
        *total += 1;
        if *total > MEMBERS_MAX || depth > DEPTH_MAX {
            return Err(refuse(format!("any and all hold at most {MEMBERS_MAX} triggers in all, at most {DEPTH_MAX} deep")));
        }
        match self {
            Self::Any(AnySpec { any: members, .. }) | Self::All(AllSpec { all: members, .. }) => {
                members.iter().try_for_each(|member| member.check_members(depth + 1, total))
            }
            _ => Ok(()),
        }
    }

    fn compile_checked(self, salt: Salt<'_>) -> Result<Trigger, TriggerError> {
        match self {
            Self::At(spec) => {
                let zone = zone_or_utc(spec.timezone.as_deref())?;
                let at = at::instant(&spec.at, spec.timezone.as_deref())?;
                Ok(Trigger { kind: Kind::At(at), start: None, end: None, zone })
            }
            Self::Every(spec) => every(&spec),
            Self::Cron(spec) => cron(&spec, salt),
            Self::Fields(spec) => fields(&spec),
            Self::Calendar(spec) => calendar(&spec),
            Self::Any(spec) => any(spec, salt),
            Self::All(spec) => all(spec, salt),
            Self::After(spec) => Ok(Trigger { kind: Kind::After(Arc::new(spec)), start: None, end: None, zone: Zone::utc() }),
            Self::Manual => Ok(Trigger { kind: Kind::Manual, start: None, end: None, zone: Zone::utc() }),
        }
    }
}

fn every(spec: &EverySpec) -> Result<Trigger, TriggerError> {
    let every = parse_duration(&spec.every)?;
    if every < EVERY_MIN {
        let error = TriggerError::new("bad-duration", format!("an interval of {} is too short", spec.every)).at(&spec.every, 0, spec.every.len());
        return Err(error.hint("the shortest is 100ms"));
    }
    let zone = zone_or_utc(spec.timezone.as_deref())?;
    let bounds = Bounds::read(spec.start.as_deref(), spec.end.as_deref(), spec.timezone.is_some().then_some(&*zone))?;
    let start = bounds.start.unwrap_or(Timestamp::UNIX_EPOCH);
    Ok(bounds.around(Kind::Every(Every { start: start.as_microsecond(), every }), zone))
}

fn cron(spec: &CronSpec, salt: Salt<'_>) -> Result<Trigger, TriggerError> {
    let zone = zone_or_utc(spec.timezone.as_deref())?;
    let bounds = Bounds::read(spec.start.as_deref(), spec.end.as_deref(), Some(&zone))?;
    let cron = match spec.dialect {
        Dialect::Unix => Cron::unix(&spec.cron, salt, spec.dst_gap)?,
        Dialect::Cron7 => Cron::cron7(&spec.cron, spec.dst_gap)?,
    };
    bounds.around(Kind::Cron(Arc::new(cron)), zone).that_fires()
}

fn fields(spec: &FieldsSpec) -> Result<Trigger, TriggerError> {
    let zone = zone_or_utc(spec.timezone.as_deref())?;
    let bounds = Bounds::read(spec.start.as_deref(), spec.end.as_deref(), Some(&zone))?;
    let cron = Cron::named(&spec.fields, spec.dst_gap)?;
    bounds.around(Kind::Cron(Arc::new(cron)), zone).that_fires()
}

fn calendar(spec: &CalendarSpec) -> Result<Trigger, TriggerError> {
    let Period { years, months, weeks, days, time, day } = &spec.calendar;
    let zone = zone_or_utc(spec.timezone.as_deref())?;
    let months = years.saturating_mul(12).saturating_add(*months);
    let days = weeks.saturating_mul(7).saturating_add(*days);
    let last = *day == Some(MonthDay::Last);
    match (months, days) {
        (0, 0) => {
            return Err(
                refuse("a calendar needs years, months, weeks or days of at least 1").hint("for example { calendar = { months = 1, time = \"09:00\" } }")
            );
        }
        (0, _) if last => {
            return Err(refuse("day = \"last\" is a day of the month, and this calendar counts no months").hint("add months or years, or leave it out"));
        }
        (MONTHS_OVER.., _) | (_, DAYS_OVER..) => return Err(refuse("a calendar's period is 1,000 years at most")),
        _ => {}
    }
    let time = time.as_deref().map_or(Ok(0), time_of_day)?;
    // A date is the first date and no bound: firings go by the date, also where the clock moves one.
    let date = spec.start.as_deref().and_then(parse_date);
    let bounds = Bounds::read(spec.start.as_deref().filter(|_| date.is_none()), spec.end.as_deref(), Some(&zone))?;
    let first = date.unwrap_or_else(|| zone.tz.to_datetime(bounds.start.unwrap_or(Timestamp::UNIX_EPOCH)).date());
    let first = (first.year().into(), first.month().unsigned_abs().into(), first.day().unsigned_abs().into());
    let calendar = Calendar { first, months, days, last, time };
    bounds.around(Kind::Calendar(Arc::new(calendar), spec.dst_gap), zone).that_fires()
}

const MONTHS_OVER: u32 = MONTHS_MAX + 1;
const DAYS_OVER: u32 = DAYS_MAX + 1;

/// Seconds since midnight of `HH:MM` or `HH:MM:SS`.
fn time_of_day(typed: &str) -> Result<i64, TriggerError> {
    let number = |text: &str, most: i64| {
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
        text.parse::<i64>().ok().filter(|&n| digits && n <= most)
    };
    let mut parts = typed.split(':');
    let time = (|| {
        let (hour, minute) = (number(parts.next()?, 23)?, number(parts.next()?, 59)?);
        let second = parts.next().map_or(Some(0), |text| number(text, 59))?;
        parts.next().is_none().then_some(hour * 3_600 + minute * 60 + second)
    })();
    time.ok_or_else(|| {
        let shown: String = typed.chars().take(40).collect();
        refuse(format!("{shown:?} is not a time of day")).hint("write it as 09:00 or 09:00:30").at(typed, 0, typed.len())
    })
}

fn any(spec: AnySpec, salt: Salt<'_>) -> Result<Trigger, TriggerError> {
    let members = compile_members(spec.any, salt)?;
    let (bounds, zone) = around_members(&members, spec.timezone.as_deref(), spec.start.as_deref(), spec.end.as_deref())?;
    bounds.around(Kind::Any(Arc::new(Any(members))), zone).that_fires()
}

fn all(spec: AllSpec, salt: Salt<'_>) -> Result<Trigger, TriggerError> {
    let members = compile_members(spec.all, salt)?;
    let (bounds, zone) = around_members(&members, spec.timezone.as_deref(), spec.start.as_deref(), spec.end.as_deref())?;
    let tolerance = spec.tolerance.as_deref().map_or(Ok(SignedDuration::ZERO), parse_duration)?;
    if tolerance > TOLERANCE_MAX {
        return Err(refuse("the tolerance of all is 24h at most"));
    }
    bounds.around(Kind::All(Arc::new(All { members, tolerance: tolerance.as_secs() })), zone).that_fires()
}

fn compile_members(members: Vec<TriggerSpec>, salt: Salt<'_>) -> Result<Vec<Trigger>, TriggerError> {
    match members.is_empty() {
        true => Err(refuse("any and all need members")),
        false => members.into_iter().map(|member| member.compile_checked(salt)).collect(),
    }
}

/// The bounds, and the zone: the one named, or the one that all members share, or UTC.
fn around_members(members: &[Trigger], timezone: Option<&str>, start: Option<&str>, end: Option<&str>) -> Result<(Bounds, Arc<Zone>), TriggerError> {
    let zone = match (timezone, members) {
        (Some(typed), _) => Zone::named(typed)?,
        (None, [first, rest @ ..]) if rest.iter().all(|member| Arc::ptr_eq(&member.zone, &first.zone)) => first.zone.clone(),
        _ => Zone::utc(),
    };
    let bounds = Bounds::read(start, end, timezone.is_some().then_some(&*zone))?;
    Ok((bounds, zone))
}

fn zone_or_utc(timezone: Option<&str>) -> Result<Arc<Zone>, TriggerError> {
    timezone.map_or_else(|| Ok(Zone::utc()), Zone::named)
}

/// `start` and `end`, both inclusive.
#[derive(Clone, Copy, Default)]
struct Bounds {
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl Bounds {
    /// Local times are of `zone`. An end that is a date includes that day.
    fn read(start: Option<&str>, end: Option<&str>, zone: Option<&Zone>) -> Result<Self, TriggerError> {
        let tz = zone.map(|zone| &zone.tz);
        let bounds = Self { start: start.map(|typed| parse_instant(typed, tz)).transpose()?, end: end.map(|typed| parse_end(typed, tz)).transpose()? };
        match (bounds.start, bounds.end) {
            (Some(start), Some(end)) if end < start => {
                Err(refuse(format!("end ({end}) is before start ({start})")).hint("both are inclusive; end must not be the earlier one"))
            }
            _ => Ok(bounds),
        }
    }

    fn around(self, kind: Kind, zone: Arc<Zone>) -> Trigger {
        Trigger { kind, start: self.start, end: self.end, zone }
    }
}

impl Trigger {
    /// Refused where no instant, within start and end, is a firing, or where none was found within the bounds of a search.
    fn that_fires(self) -> Result<Self, TriggerError> {
        let mut steps = Steps::new(STEPS_MAX);
        let from = self.start.map_or(Timestamp::UNIX_EPOCH, |start| start.saturating_sub(MICRO).unwrap_or(start));
        if self.next(from, &mut steps).is_some() || self.last(Timestamp::MAX, &mut steps).is_some() {
            return Ok(self);
        }
        let message = match (&self.kind, self.start, self.end) {
            _ if steps.used_up() => format!("no instant on which all agree was found in {STEPS_MAX} steps"),
            (Kind::All(_), None, None) => "no instant on which all agree was found in 400 years, so this would never fire".to_owned(),
            (_, None, None) => "the trigger would never fire".to_owned(),
            _ => "the trigger would never fire between its start and its end".to_owned(),
        };
        Err(TriggerError::new("never-fires", message).hint("bellcage next --trigger JSON shows when each part of it fires"))
    }
}
