//! A zone's clock changes as a table, so that finding the offset of an instant is a binary search and not a walk
//! through rules. Built once for each zone that is used, then shared; it holds no more than the compiled-in database says.
//!
//! Rules that go on for ever repeat with the calendar, every 400 years. The table reaches one such cycle past `STEADY`, and
//! later instants are looked up a whole number of cycles earlier.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::TriggerError;
use super::gregorian::{CYCLE_DAYS, DAY, from_date};
use super::zone::parse_timezone;

/// From this year on, every zone follows an unchanging rule.
const STEADY: i32 = 2_100;
const CYCLE: i64 = CYCLE_DAYS * DAY;

/// A time zone with its clock changes.
#[derive(Debug)]
pub(super) struct Zone {
    pub tz: TimeZone,
    /// In order of time; the first is at `i64::MIN`.
    changes: Box<[Change]>,
    /// From this instant on the changes repeat every cycle; `i64::MAX` where there are none any more.
    repeats_from: i64,
}

/// From `at` (seconds since 1970) on, wall time is UTC + `offset` seconds.
#[derive(Clone, Copy, Debug)]
struct Change {
    at: i64,
    offset: i32,
}

/// A time between two clock changes: the offset is the same throughout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    /// Its first second; `i64::MIN` if no change came before.
    pub start: i64,
    /// The first second after it; `i64::MAX` if no change follows.
    pub end: i64,
    pub offset: i64,
    /// The offset before `start`.
    pub before: i64,
}

impl Stretch {
    /// What the wall shows when it begins.
    pub fn wall_start(&self) -> i64 {
        self.start.saturating_add(self.offset)
    }

    /// What the wall would show when it ends.
    pub fn wall_end(&self) -> i64 {
        if self.end == i64::MAX { i64::MAX } else { self.end + self.offset }
    }

    /// What the wall would have shown when it begins, had the clock not been changed.
    pub fn wall_before(&self) -> i64 {
        if self.start == i64::MIN { i64::MIN } else { self.start + self.before }
    }
}

static ZONES: LazyLock<RwLock<HashMap<String, Arc<Zone>>>> = LazyLock::new(RwLock::default);
static UTC: LazyLock<Arc<Zone>> = LazyLock::new(|| Arc::new(Zone::new(TimeZone::UTC)));

impl Zone {
    pub fn utc() -> Arc<Self> {
        UTC.clone()
    }

    /// The zone of that name. At most as many are kept as there are names.
    pub fn named(typed: &str) -> Result<Arc<Self>, TriggerError> {
        if let Some(zone) = ZONES.read().unwrap_or_else(PoisonError::into_inner).get(typed) {
            return Ok(zone.clone());
        }
        let zone = parse_timezone(typed)?;
        let name = zone.iana_name().unwrap_or("UTC").to_owned();
        let mut zones = ZONES.write().unwrap_or_else(PoisonError::into_inner);
        Ok(zones.entry(name).or_insert_with(|| Arc::new(Self::new(zone))).clone())
    }

    fn new(tz: TimeZone) -> Self {
        let repeats_from = from_date(STEADY, 1, 1) * DAY;
        // Two years more, so that the stretch at the end of the cycle has its end in the table.
        let last = repeats_from + CYCLE + 2 * 366 * DAY;
        let first = Change { at: i64::MIN, offset: tz.to_offset(Timestamp::MIN).seconds() };
        let mut changes = vec![first];
        let mut offset = first.offset;
        for change in tz.following(Timestamp::MIN) {
            let at = change.timestamp().as_second();
            if at > last {
                break;
            }
            // A change of name alone moves no clock.
            if change.offset().seconds() != offset {
                offset = change.offset().seconds();
                changes.push(Change { at, offset });
            }
        }
        let goes_on = changes.last().is_some_and(|change| change.at > repeats_from);
        Self { tz, changes: changes.into(), repeats_from: if goes_on { repeats_from } else { i64::MAX } }
    }

    /// The stretch that the second `at` is in.
    pub fn stretch(&self, at: i64) -> Stretch {
        let shift = match at.checked_sub(self.repeats_from) {
            Some(past) if past >= CYCLE => past / CYCLE * CYCLE,
            _ => 0,
        };
        let after = self.changes.partition_point(|change| change.at <= at - shift);
        // The first change is at the beginning of time, so there is one at or before any second.
        let this = after.max(1) - 1;
        let before = self.changes[this.max(1) - 1].offset;
        let moved = |at: i64| if at == i64::MIN { at } else { at + shift };
        Stretch {
            start: moved(self.changes[this].at),
            end: self.changes.get(after).map_or(i64::MAX, |change| change.at + shift),
            offset: i64::from(self.changes[this].offset),
            before: i64::from(before),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every zone of the database.
    fn names() -> Vec<String> {
        jiff::tz::TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect()
    }

    #[test]
    fn the_table_says_what_jiff_says_in_every_zone() {
        for name in names() {
            let zone = Zone::named(&name).unwrap();
            // An odd step of some 20 days meets every stretch.
            for at in (-4_000_000_000..16_000_000_000).step_by(1_777_777 * 5) {
                let stretch = zone.stretch(at);
                let offset = |at: i64| i64::from(zone.tz.to_offset(Timestamp::from_second(at).unwrap()).seconds());
                assert_eq!(stretch.offset, offset(at), "{name} at {at}");
                assert!(stretch.start <= at && at < stretch.end);
                if stretch.start != i64::MIN {
                    assert_eq!((stretch.before, stretch.offset), (offset(stretch.start - 1), offset(stretch.start)), "{name} at {at}");
                }
            }
        }
    }

    #[test]
    fn rules_go_on_in_the_far_future() {
        let zone = Zone::named("America/New_York").unwrap();
        for year in [2_499, 2_500, 2_501, 3_333, 9_998] {
            for day in 0..366 {
                let at = (from_date(year, 1, 1) + day) * DAY;
                let t = Timestamp::from_second(at).unwrap();
                let stretch = zone.stretch(at);
                assert_eq!(stretch.offset, i64::from(zone.tz.to_offset(t).seconds()), "{t}");
                assert_eq!(
                    stretch.start,
                    zone.tz.preceding(t.checked_add(jiff::SignedDuration::from_nanos(1)).unwrap()).next().unwrap().timestamp().as_second()
                );
                assert_eq!(stretch.end, zone.tz.following(t).next().unwrap().timestamp().as_second());
            }
        }
    }

    #[test]
    fn clock_changes_are_so_far_apart_that_no_two_touch_the_same_wall_time() {
        for name in names() {
            let zone = Zone::named(&name).unwrap();
            for three in zone.changes.windows(3).skip(1) {
                let moved = i64::from((three[1].offset - three[0].offset).abs()) + i64::from((three[2].offset - three[1].offset).abs());
                assert!(three[2].at - three[1].at > moved, "{name}: {three:?}");
            }
        }
    }
}
