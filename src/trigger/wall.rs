//! Wall-clock times mapped to instants: the rules at clock changes, in one place for every trigger that names wall time.
//!
//! ```text
//! forwards (a gap):   01:59 │ 03:00   a fixed time in the gap runs once, at its end; several merge; with dst_gap = skip,
//!                                     or where the gap is longer than 3 hours (a zone skipped a day), it does not run
//! back (an overlap):  01:59 │ 01:00   a fixed time runs once, in the first pass
//! ```
//! Times that `follow` the clock (a `*` in minute or hour) run whenever the wall shows them: never in a gap, in both passes of
//! an overlap. Instants are whole seconds here.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::changes::{Stretch, Zone};
use super::gregorian::DAY;

/// A gap longer than this many seconds does not run what it swallowed.
const GAP_MAX: i64 = 3 * 3_600;

/// What becomes of a fixed time that a clock change skips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DstGap {
    /// It runs at the end of the gap.
    #[default]
    Run,
    Skip,
}

/// How wall times become instants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// They follow the clock instead of being fixed.
    pub follow: bool,
    pub gap: DstGap,
}

/// A set of wall-clock times, in seconds since 1970-01-01T00:00 on the wall.
pub(super) trait WallTimes {
    /// The first at or after `wall`.
    fn next_from(&self, wall: i64) -> Option<i64>;
    /// The last at or before `wall`.
    fn last_until(&self, wall: i64) -> Option<i64>;
    /// How many there are from `from` up to, not including, `to`.
    fn count(&self, from: i64, to: i64) -> u64;
}

impl Rule {
    pub fn fixed(gap: DstGap) -> Self {
        Self { follow: false, gap }
    }

    /// Whether what was in the gap before `stretch` runs at its end.
    fn runs_gap(self, stretch: &Stretch) -> bool {
        let gap = stretch.offset - stretch.before;
        !self.follow && self.gap == DstGap::Run && gap > 0 && gap <= GAP_MAX
    }

    /// The first wall time that counts in `stretch`: what the wall showed before the clock went back has had its turn.
    fn first_wall(self, stretch: &Stretch) -> i64 {
        if self.follow { stretch.wall_start() } else { stretch.wall_start().max(stretch.wall_before()) }
    }
}

/// The first instant strictly after `t`.
pub(super) fn next_after(times: &impl WallTimes, rule: Rule, zone: &Zone, t: Timestamp) -> Option<Timestamp> {
    let t = floor_second(t);
    let mut stretch = zone.stretch(t);
    let mut from = (t + 1 + stretch.offset).max(rule.first_wall(&stretch));
    loop {
        let wall = times.next_from(from)?;
        if wall < stretch.wall_end() {
            return Timestamp::from_second(wall - stretch.offset).ok();
        }
        let next = zone.stretch(stretch.end);
        if wall < next.wall_start() && rule.runs_gap(&next) {
            return Timestamp::from_second(next.start).ok();
        }
        if wall - 2 * DAY > next.end {
            // No offset reaches two days: nothing before this is due, so the stretches between are passed over.
            stretch = zone.stretch(wall - 2 * DAY);
            from = wall;
        } else {
            stretch = next;
            from = if rule.follow { next.wall_start() } else { wall.max(next.wall_start()) };
        }
    }
}

/// The last instant at or before `t`.
pub(super) fn last_at_or_before(times: &impl WallTimes, rule: Rule, zone: &Zone, t: Timestamp) -> Option<Timestamp> {
    let t = floor_second(t);
    let mut stretch = zone.stretch(t);
    let mut until = t + stretch.offset;
    loop {
        let wall = times.last_until(until)?;
        if wall >= rule.first_wall(&stretch) {
            return Timestamp::from_second(wall - stretch.offset).ok();
        }
        if wall >= stretch.wall_before() && rule.runs_gap(&stretch) {
            return Timestamp::from_second(stretch.start).ok();
        }
        let previous = zone.stretch(stretch.start - 1);
        if wall + 2 * DAY < previous.start {
            stretch = zone.stretch(wall + 2 * DAY);
            until = wall;
        } else {
            stretch = previous;
            until = previous.wall_end() - 1;
        }
    }
}

/// How many instants are in `(after, until]`: each stretch is counted whole.
pub(super) fn count_between(times: &impl WallTimes, rule: Rule, zone: &Zone, after: Timestamp, until: Timestamp) -> u64 {
    let (from, to) = (floor_second(after) + 1, floor_second(until) + 1);
    let mut count = 0;
    let mut at = from;
    while at < to {
        let stretch = zone.stretch(at);
        let first = (at + stretch.offset).max(rule.first_wall(&stretch));
        let end = stretch.end.min(to) + stretch.offset;
        if first < end {
            count += times.count(first, end);
        }
        // What merged into the end of the gap is one firing, unless that second is a firing by itself.
        if at == stretch.start && rule.runs_gap(&stretch) {
            let swallowed = times.next_from(stretch.wall_before()).is_some_and(|wall| wall < stretch.wall_start());
            count += u64::from(swallowed && times.count(stretch.wall_start(), stretch.wall_start() + 1) == 0);
        }
        at = stretch.end;
    }
    count
}

/// The second that `t` is in, since 1970.
pub(super) fn floor_second(t: Timestamp) -> i64 {
    t.as_second() - i64::from(t.subsec_nanosecond() < 0)
}

/// How far ahead clock changes are spoken of: a year and some weeks.
const NOTES_AHEAD: i64 = 400 * DAY;

/// What the clock changes of the coming 400 days do to these times, in words.
pub(super) fn notes(times: &impl WallTimes, rule: Rule, zone: &Zone, now: Timestamp) -> Vec<String> {
    let now = floor_second(now);
    let mut notes = Vec::new();
    let mut at = zone.stretch(now).end;
    while at < now.saturating_add(NOTES_AHEAD) {
        let stretch = zone.stretch(at);
        notes.extend(note(times, rule, zone, &stretch));
        at = stretch.end;
    }
    notes
}

fn note(times: &impl WallTimes, rule: Rule, zone: &Zone, stretch: &Stretch) -> Option<String> {
    let (before, after) = (stretch.wall_before(), stretch.wall_start());
    let (low, high) = (before.min(after), before.max(after));
    let first = times.next_from(low).filter(|&wall| wall < high)?;
    let what = match times.count(low, high) {
        1 => format!("the firing at {}", clock(first)),
        n => format!("the {n} firings from {} to {}", clock(first), clock(times.last_until(high - 1)?)),
    };
    let one = times.count(low, high) == 1;
    let effect = match before < after {
        true if rule.runs_gap(stretch) && one => format!("{what} runs at {}", clock(after)),
        true if rule.runs_gap(stretch) => format!("{what} run once, at {}", clock(after)),
        true if one => format!("{what} does not run"),
        true => format!("{what} do not run"),
        false if rule.follow && one => format!("{what} runs twice, in both passes"),
        false if rule.follow => format!("{what} run twice, in both passes"),
        false if one => format!("{what} runs once, in the first pass"),
        false => format!("{what} run once, in the first pass"),
    };
    let date = Timestamp::from_second(before).ok()?.strftime("%Y-%m-%d").to_string();
    let direction = if before < after { "forward" } else { "back" };
    let name = zone.tz.iana_name().unwrap_or("UTC");
    Some(format!("on {date} clocks go {direction} from {} to {} ({name}): {effect}", clock(before), clock(after)))
}

/// `02:30`, or with seconds where there are any.
fn clock(wall: i64) -> String {
    let time = wall.rem_euclid(DAY);
    let (hour, minute, second) = (time / 3_600, time / 60 % 60, time % 60);
    if second == 0 { format!("{hour:02}:{minute:02}") } else { format!("{hour:02}:{minute:02}:{second:02}") }
}

#[cfg(test)]
mod tests {
    use crate::trigger::testing::{fires, fires_back, trigger};

    /// The first firings of a cron expression after an instant, as the wall of its zone shows them.
    fn cron(expression: &str, zone: &str, after: &str, n: usize) -> Vec<String> {
        fires(&format!(r#"{{"cron":"{expression}","timezone":"{zone}"}}"#), after, n)
    }

    #[test]
    fn a_fixed_time_in_the_spring_gap_runs_once_at_its_end() {
        assert_eq!(
            cron("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3),
            ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
        );
    }

    #[test]
    fn several_times_in_one_gap_merge_also_with_a_firing_at_its_end() {
        assert_eq!(cron("5,10,50 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2), ["2026-03-29T03:00:00+02:00", "2026-03-30T02:05:00+02:00"]);
        assert_eq!(cron("0,30 2,3 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2), ["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]);
        let trigger = trigger(r#"{"cron":"0,30 2,3 * * *","timezone":"Europe/Berlin"}"#);
        let at = |t: &str| t.parse().unwrap();
        assert_eq!(trigger.count_between(at("2026-03-29T00:00:00Z"), at("2026-03-29T10:00:00Z")).n, 2);
        assert_eq!(trigger.count_between(at("2026-03-29T01:00:00Z"), at("2026-03-29T10:00:00Z")).n, 1);
    }

    #[test]
    fn a_skipped_day_is_skipped() {
        assert_eq!(
            cron("30 10 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 3),
            ["2011-12-29T10:30:00-10:00", "2011-12-31T10:30:00+14:00", "2012-01-01T10:30:00+14:00"]
        );
        assert_eq!(
            fires_back(r#"{"cron":"30 10 * * *","timezone":"Pacific/Apia"}"#, "2011-12-31T00:00:00Z", 2),
            ["2011-12-31T10:30:00+14:00", "2011-12-29T10:30:00-10:00"]
        );
    }

    #[test]
    fn with_dst_gap_skip_the_missed_time_does_not_run() {
        let json = r#"{"cron":"30 2 * * *","timezone":"Europe/Berlin","dst_gap":"skip"}"#;
        assert_eq!(fires(json, "2026-03-28T12:00:00Z", 1), ["2026-03-30T02:30:00+02:00"]);
        assert_eq!(fires_back(json, "2026-03-29T12:00:00Z", 1), ["2026-03-28T02:30:00+01:00"]);
    }

    #[test]
    fn in_autumn_a_fixed_time_runs_in_the_first_pass_only() {
        assert_eq!(cron("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2), ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]);
        let back = fires_back(r#"{"cron":"30 2 * * *","timezone":"Europe/Berlin"}"#, "2026-10-25T01:45:00Z", 1);
        assert_eq!(back, ["2026-10-25T02:30:00+02:00"]);
        // Asked in the middle of the second pass, nothing of it is left.
        assert_eq!(cron("*/30 2 * * *", "Europe/Berlin", "2026-10-25T01:00:00Z", 1), ["2026-10-25T02:30:00+01:00"]);
        assert_eq!(cron("0,30 2 * * *", "Europe/Berlin", "2026-10-25T01:00:00Z", 1), ["2026-10-26T02:00:00+01:00"]);
    }

    #[test]
    fn a_star_in_minute_or_hour_follows_the_clock_through_both_passes_and_over_the_gap() {
        assert_eq!(
            cron("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 3),
            ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"]
        );
        assert_eq!(
            cron("*/30 2 * * *", "Europe/Berlin", "2026-10-25T00:15:00Z", 3),
            ["2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00"]
        );
        assert_eq!(cron("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", 2), ["2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"]);
    }

    #[test]
    fn a_half_hour_change_moves_only_what_is_in_it() {
        assert_eq!(cron("0,15,45 2 * * *", "Australia/Lord_Howe", "2026-10-03T13:00:00Z", 2), ["2026-10-04T02:30:00+11:00", "2026-10-04T02:45:00+11:00"]);
    }

    #[test]
    fn notes_say_what_the_next_clock_changes_do() {
        let notes = |json| trigger(json).notes("2026-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(
            notes(r#"{"cron":"30 2 * * *","timezone":"Europe/Berlin"}"#),
            [
                "on 2026-03-29 clocks go forward from 02:00 to 03:00 (Europe/Berlin): the firing at 02:30 runs at 03:00",
                "on 2026-10-25 clocks go back from 03:00 to 02:00 (Europe/Berlin): the firing at 02:30 runs once, in the first pass"
            ]
        );
        assert_eq!(
            notes(r#"{"cron":"*/15 * * * *","timezone":"Europe/Berlin"}"#),
            [
                "on 2026-03-29 clocks go forward from 02:00 to 03:00 (Europe/Berlin): the 4 firings from 02:00 to 02:45 do not run",
                "on 2026-10-25 clocks go back from 03:00 to 02:00 (Europe/Berlin): the 4 firings from 02:00 to 02:45 run twice, in both passes"
            ]
        );
        assert_eq!(notes(r#"{"cron":"30 12 * * *","timezone":"Europe/Berlin"}"#), [""; 0]);
        assert_eq!(notes(r#"{"cron":"30 2 * * *"}"#), [""; 0]);
    }
}
