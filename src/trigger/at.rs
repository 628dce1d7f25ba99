//! `at`: one instant.

use jiff::Timestamp;

use super::TriggerError;
use super::zone::{parse_instant, parse_timezone};

/// The instant that `at` names; a local time is one of `timezone`.
pub(super) fn instant(at: &str, timezone: Option<&str>) -> Result<Timestamp, TriggerError> {
    let zone = timezone.map(parse_timezone).transpose()?;
    parse_instant(at, zone.as_ref())
}
