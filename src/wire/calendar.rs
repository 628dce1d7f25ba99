//! Exclusion calendars.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CalendarName, Exclusions};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calendar {
    pub name: CalendarName,
    #[serde(flatten)]
    pub exclusions: Exclusions,
    pub updated_at: Timestamp,
}

/// By name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalendarList {
    pub calendars: Vec<Calendar>,
    pub next: Option<String>,
}

/// What became of a calendar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemovedCalendar {
    pub removed: CalendarName,
}
