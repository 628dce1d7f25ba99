//! Instants for people: in a zone, with the weekday, and how far away.

use std::collections::HashMap;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ZonedDateTime};

use crate::client::Client;
use crate::trigger::{parse_duration, parse_instant};
use crate::wire::JobId;

use super::error::Result;

/// `Sun 2026-03-29 03:30:00 CEST`; with milliseconds where the instant has a fraction.
pub fn local(t: Timestamp, zone: &TimeZone) -> String {
    let format = if t.subsec_nanosecond() == 0 { "%a %Y-%m-%d %H:%M:%S %Z" } else { "%a %Y-%m-%d %H:%M:%S%.3f %Z" };
    t.to_zoned_datetime(zone.clone()).strftime(format).to_string()
}

/// RFC 9557, for programs: `2026-03-29T03:30:00+02:00[Europe/Berlin]`.
pub fn rfc9557(t: Timestamp, zone: &TimeZone) -> String {
    ZonedDateTime::new(t, zone.clone()).to_string()
}

/// `in 3 min 20 s`, `2 h 5 min ago`, `now`: the two largest units.
pub fn relative(t: Timestamp, now: Timestamp) -> String {
    let away = t.duration_since(now);
    match away.as_secs() {
        0 => "now".to_owned(),
        n if n > 0 => format!("in {}", rough(away)),
        _ => format!("{} ago", rough(away.abs())),
    }
}

fn rough(d: SignedDuration) -> String {
    let seconds = d.as_secs();
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let first = parts.iter().position(|(n, _)| *n > 0).unwrap_or(3);
    // Beyond a month, hours say nothing.
    let most = if parts[0].0 >= 30 { 1 } else { 2 };
    parts[first..].iter().take(most).filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n} {unit}")).collect::<Vec<_>>().join(" ")
}

/// A time on a command line: an instant, a local time in `zone`, or how long ago (`90m`).
pub fn parse(typed: &str, zone: &TimeZone, now: Timestamp) -> Result<Timestamp> {
    if let Ok(ago) = parse_duration(typed) {
        return Ok(now.saturating_sub(ago).unwrap_or(Timestamp::MIN));
    }
    Ok(parse_instant(typed, Some(zone))?)
}

/// The zones of jobs, each asked for once. A job that is gone, or cannot be asked for, is shown in UTC.
pub struct Zones<'a> {
    client: &'a Client,
    known: HashMap<JobId, TimeZone>,
}

impl<'a> Zones<'a> {
    pub fn new(client: &'a Client) -> Self {
        Self { client, known: HashMap::new() }
    }

    pub fn of(&mut self, job: &JobId) -> TimeZone {
        if let Some(zone) = self.known.get(job) {
            return zone.clone();
        }
        let zone = self.client.job(job).map_or(TimeZone::UTC, |job| job.zone());
        self.known.insert(job.clone(), zone.clone());
        zone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_shown_in_its_zone_with_its_weekday() {
        let zone = crate::trigger::parse_timezone("Europe/Berlin").unwrap();
        let t: Timestamp = "2026-03-29T01:30:00Z".parse().unwrap();
        assert_eq!(local(t, &zone), "Sun 2026-03-29 03:30:00 CEST");
        assert_eq!(rfc9557(t, &zone), "2026-03-29T03:30:00+02:00[Europe/Berlin]");
        assert_eq!(local(t + SignedDuration::from_millis(5), &TimeZone::UTC), "Sun 2026-03-29 01:30:00.005 UTC");
    }

    #[test]
    fn distances_name_the_two_largest_units() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |s: i64| relative(Timestamp::from_second(s).unwrap(), now);
        assert_eq!((at(0), at(200), at(-7_500), at(86_400 * 3 + 60)), ("now".into(), "in 3 min 20 s".into(), "2 h 5 min ago".into(), "in 3 d".into()));
        assert_eq!(at(86_400 * 40 + 3_600), "in 40 d");
    }
}
