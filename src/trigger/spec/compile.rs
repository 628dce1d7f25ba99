//! From a `TriggerSpec` to a `Trigger`: everything that was written is read and checked here.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::read::refuse;
use super::{CronSpec, Dialect, EverySpec, TriggerSpec};
use crate::trigger::changes::Zone;
use crate::trigger::cron::Cron;
use crate::trigger::every::Every;
use crate::trigger::zone::{parse_end, parse_instant};
use crate::trigger::{Kind, Salt, Trigger, TriggerError, at, parse_duration};

/// The shortest interval.
const EVERY_MIN: SignedDuration = SignedDuration::from_millis(100);

impl TriggerSpec {
    /// Reads what was written. An interval without a start that was not `anchored` counts from 1970. Refused is also what
    /// can never fire. `salt` spreads `H`.
    pub fn compile(self, salt: Salt<'_>) -> Result<Trigger, TriggerError> {
        match self {
            Self::At(spec) => {
                let zone = zone_or_utc(spec.timezone.as_deref())?;
                let at = at::instant(&spec.at, spec.timezone.as_deref())?;
                Ok(Trigger { kind: Kind::At(at), start: None, end: None, zone })
            }
            Self::Every(spec) => every(&spec),
            Self::Cron(spec) => cron(&spec, salt),
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
        Dialect::Cron7 => return Err(refuse("the dialect cron7 is not there yet")),
    };
    bounds.around(Kind::Cron(Arc::new(cron)), zone).that_fires()
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
    /// Refused where no instant of all time, within start and end, is a firing.
    fn that_fires(self) -> Result<Self, TriggerError> {
        if self.next_after(Timestamp::MIN).is_some() {
            return Ok(self);
        }
        let between = match (self.start, self.end) {
            (None, None) => String::new(),
            _ => " between its start and its end".to_owned(),
        };
        Err(TriggerError::new("never-fires", format!("the trigger would never fire{between}")).hint("see bellcage next for when a trigger fires"))
    }
}
