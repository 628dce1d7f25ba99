//! Time zones and instants as users write them. The zone database is the one compiled in, never the host's, so that
//! every node and every test agrees.

use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ZonedDateTime, civil};

use super::TriggerError;

static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// An IANA time zone, such as `Europe/Stockholm`.
pub fn parse_timezone(typed: &str) -> Result<TimeZone, TriggerError> {
    if let Ok(zone) = DATABASE.get(typed) {
        return Ok(zone);
    }
    let shown: String = typed.chars().take(60).collect();
    let error = TriggerError::new("unknown-timezone", format!("{shown:?} is not a time zone")).at(typed, 0, typed.len());
    Err(match nearest(typed) {
        Some(name) => error.hint(format!("did you mean {name}?")),
        None => error.hint("use an IANA name, such as Europe/Stockholm, America/New_York or UTC"),
    })
}

/// The zone whose name, or whose city, is nearest to what was typed.
fn nearest(typed: &str) -> Option<String> {
    let typed = typed.get(..typed.len().min(40))?.to_ascii_lowercase().replace(' ', "_");
    let city = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    DATABASE
        .available()
        .map(|name| {
            let lower = name.as_str().to_ascii_lowercase();
            (distance(&lower, &typed).min(distance(&city(&lower), &city(&typed))), name.to_string())
        })
        .min()
        .filter(|(distance, _)| *distance <= 2)
        .map(|(_, name)| name)
}

/// The one of `names` that was probably meant.
pub(super) fn nearest_of<'a>(typed: &str, names: &[&'a str]) -> Option<&'a str> {
    let typed = typed.get(..typed.len().min(40))?.to_ascii_lowercase().replace('-', "_");
    let near = names.iter().map(|name| (distance(name, &typed), *name)).min()?;
    (near.0 <= 2 && near.0 < near.1.len()).then_some(near.1)
}

/// Levenshtein's distance, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// An instant: RFC 3339 (`2026-03-29T03:30:00+02:00`), RFC 9557, or, with a zone, a local time. A local time that does not
/// exist is moved to behind the gap; one that exists twice is the first.
pub fn parse_instant(typed: &str, zone: Option<&TimeZone>) -> Result<Timestamp, TriggerError> {
    let shown: String = typed.chars().take(60).collect();
    let refuse = |what: String| TriggerError::new("bad-instant", what).at(typed, 0, typed.len());
    let text = typed.trim();
    // An RFC 9557 time names its zone, which is looked up in our database, not the host's.
    let instant = if text.contains('[') {
        jiff::fmt::temporal::DateTimeParser::new().parse_zoned_datetime_with(&DATABASE, text).map(|zoned| zoned.timestamp()).ok()
    } else {
        text.parse::<Timestamp>().ok().or_else(|| {
            let local: civil::DateTime = text.parse().ok()?;
            zone.and_then(|zone| zone.to_timestamp(local).ok())
        })
    };
    match instant {
        Some(t) => Ok(crate::clock::whole_micros(t)),
        None if text.parse::<civil::DateTime>().is_ok() => Err(refuse(format!("{shown:?} is a local time, and no time zone was given"))
            .hint("add a timezone, or an offset such as 2026-03-29T03:30:00+02:00 or …Z")),
        None => {
            Err(refuse(format!("{shown:?} is not an instant"))
                .hint("write it as 2026-03-29T03:30:00Z, 2026-03-29T03:30:00+02:00, or a local time with a timezone"))
        }
    }
}

/// A date and nothing else: `2026-12-31`.
pub(super) fn parse_date(typed: &str) -> Option<civil::Date> {
    let text = typed.trim();
    (text.len() == "2026-12-31".len()).then(|| text.parse().ok()).flatten()
}

/// As `parse_instant`, but a date alone is the last microsecond of that day.
pub fn parse_end(typed: &str, zone: Option<&TimeZone>) -> Result<Timestamp, TriggerError> {
    let Some(next_day) = parse_date(typed).and_then(|date| date.tomorrow().ok()) else { return parse_instant(typed, zone) };
    // Refuses a date without a zone in the words for all local times.
    parse_instant(typed, zone)?;
    let midnight = zone.and_then(|zone| zone.to_timestamp(next_day.at(0, 0, 0, 0)).ok()).unwrap_or(Timestamp::MAX);
    Ok(crate::clock::whole_micros(midnight.saturating_sub(jiff::SignedDuration::from_micros(1)).unwrap_or(midnight)))
}

/// RFC 9557 in a zone, to the second where that is exact.
pub fn show(t: Timestamp, zone: &TimeZone) -> String {
    ZonedDateTime::new(t, zone.clone()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_zone_gets_a_suggestion() {
        let hint = |typed: &str| parse_timezone(typed).unwrap_err().hint.unwrap();
        assert_eq!(hint("Europe/Stokholm"), "did you mean Europe/Stockholm?");
        assert_eq!(hint("berlin"), "did you mean Europe/Berlin?");
        assert!(hint("Mars/Olympus").contains("IANA"));
        assert!(parse_timezone("").is_err());
    }

    #[test]
    fn a_local_time_needs_a_zone() {
        let zone = parse_timezone("Europe/Berlin").unwrap();
        let want = "2026-07-01T10:00:00Z".parse().unwrap();
        assert_eq!(parse_instant("2026-07-01T12:00:00", Some(&zone)), Ok(want));
        assert_eq!(parse_instant("2026-07-01T12:00:00+02:00", None), Ok(want));
        assert_eq!(parse_instant("2026-07-01T12:00:00+02:00[Europe/Berlin]", None), Ok(want));
        assert!(parse_instant("2026-07-01T12:00:00", None).unwrap_err().message.contains("no time zone"));
        assert!(parse_instant("tomorrow", None).unwrap_err().message.contains("not an instant"));
    }
}
