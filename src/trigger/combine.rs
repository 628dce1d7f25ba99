//! `any` and `all`: the union and the intersection of triggers.
//!
//! `all` counts in whole seconds: its members agree on a second, or, with a tolerance, within as many seconds; the earliest
//! of the agreeing seconds is the firing. It is found by leaping: asked from the latest candidate, each member passes over
//! what cannot agree. A firing stands for one latest member: of several earliest ones that agree with the same latest, the
//! first is taken.
//!
//! Members may be anything, so a search is given a number of steps and ends where they are used up.

use jiff::Timestamp;

use super::wall::floor_second;
use super::{Count, MICRO, Trigger};

/// The steps of one search.
pub(super) const STEPS_MAX: u32 = 100_000;
/// The steps of one count.
const COUNT_STEPS_MAX: u32 = 10_000;
/// Firings that are counted one by one, at most.
const COUNT_MAX: u64 = 2_000;
/// A search for a second on which all agree goes no farther than the calendar's cycle.
const SECONDS_MAX: i64 = super::gregorian::CYCLE_DAYS * super::gregorian::DAY;

/// What is left of the steps of a search.
#[derive(Debug)]
pub(super) struct Steps {
    left: u32,
    used_up: bool,
}

impl Steps {
    pub fn new(most: u32) -> Self {
        Self { left: most, used_up: false }
    }

    /// Some part of the search was given up: it may have passed over what it sought.
    pub fn used_up(&self) -> bool {
        self.used_up
    }

    /// Takes a step; `None` where none is left.
    fn take(&mut self) -> Option<()> {
        self.used_up |= self.left == 0;
        self.left = self.left.checked_sub(1)?;
        Some(())
    }
}

#[derive(Debug)]
pub(super) struct Any(pub Vec<Trigger>);

impl Any {
    pub fn next(&self, t: Timestamp, steps: &mut Steps) -> Option<Timestamp> {
        self.each(steps, |member, steps| member.next(t, steps)).min()
    }

    pub fn last(&self, t: Timestamp, steps: &mut Steps) -> Option<Timestamp> {
        self.each(steps, |member, steps| member.last(t, steps)).max()
    }

    /// What each member finds with an equal part of the steps: one that seeks in vain keeps no other from being found.
    fn each<'a>(&'a self, steps: &'a mut Steps, find: impl Fn(&Trigger, &mut Steps) -> Option<Timestamp> + 'a) -> impl Iterator<Item = Timestamp> {
        let part = steps.left / u32::try_from(self.0.len()).unwrap_or(u32::MAX).max(1);
        self.0.iter().filter_map(move |member| {
            let mut own = Steps::new(part);
            let found = find(member, &mut own);
            steps.left -= part - own.left;
            steps.used_up |= own.used_up;
            found
        })
    }
}

#[derive(Debug)]
pub(super) struct All {
    /// At least one.
    pub members: Vec<Trigger>,
    /// Seconds.
    pub tolerance: i64,
}

impl All {
    pub fn next(&self, t: Timestamp, steps: &mut Steps) -> Option<Timestamp> {
        let from = floor_second(t).checked_add(1)?;
        let mut at = from;
        while at - from <= SECONDS_MAX {
            steps.take()?;
            let (low, high) = self.next_of_each(at, steps)?;
            if high - low > self.tolerance {
                at = high - self.tolerance;
            } else if self.is_first(low, high, steps) {
                return Timestamp::from_second(low).ok();
            } else {
                at = low + 1;
            }
        }
        None
    }

    pub fn last(&self, t: Timestamp, steps: &mut Steps) -> Option<Timestamp> {
        let until = floor_second(t);
        let mut at = until;
        while until - at <= SECONDS_MAX {
            steps.take()?;
            // None agrees later than its own last one, so nothing after the least of these is the earliest of agreeing ones.
            let latest = self.earliest_last(at + self.tolerance, steps)?;
            let low = self.last_of_any(at.min(latest), steps)?;
            if let Some((_, high)) = self.next_of_each(low, steps).filter(|&(_, high)| high - low <= self.tolerance)
                && self.is_first(low, high, steps)
            {
                return Timestamp::from_second(low).ok();
            }
            at = low - 1;
        }
        None
    }

    /// Whether no earlier second agrees with the same latest one.
    fn is_first(&self, low: i64, high: i64, steps: &mut Steps) -> bool {
        if self.tolerance == 0 {
            return true;
        }
        !self
            .last_of_any(low - 1, steps)
            .is_some_and(|before| high - before <= self.tolerance && self.next_of_each(before, steps).is_some_and(|(_, latest)| latest == high))
    }

    /// The earliest and the latest of the members' next seconds at or after `at`.
    fn next_of_each(&self, at: i64, steps: &mut Steps) -> Option<(i64, i64)> {
        let before = Timestamp::from_second(at).ok()?.checked_sub(MICRO).ok()?;
        self.members.iter().try_fold((i64::MAX, i64::MIN), |(low, high), member| {
            let next = floor_second(member.next(before, steps)?);
            Some((low.min(next), high.max(next)))
        })
    }

    /// The earliest of the members' last seconds at or before `at`.
    fn earliest_last(&self, at: i64, steps: &mut Steps) -> Option<i64> {
        self.members.iter().try_fold(i64::MAX, |earliest, member| Some(earliest.min(last_second(member, at, steps)?)))
    }

    /// The last second at or before `at` in which any member fires.
    fn last_of_any(&self, at: i64, steps: &mut Steps) -> Option<i64> {
        self.members.iter().filter_map(|member| last_second(member, at, steps)).max()
    }
}

/// The last second at or before `at` in which the member fires.
fn last_second(member: &Trigger, at: i64, steps: &mut Steps) -> Option<i64> {
    let end = Timestamp::from_second(at + 1).ok()?.checked_sub(MICRO).ok()?;
    member.last(end, steps).map(floor_second)
}

/// The number of firings in `(after, until]` of a trigger that must be asked for one after the other; a lower bound where
/// they are many, or far apart for what it takes to find them. There are surely as many as `at_least` says, which is asked only
/// then. What `next_after` finds is always
/// counted, so that 0 says that it finds none.
pub(super) fn count(trigger: &Trigger, after: Timestamp, until: Timestamp, at_least: impl Fn() -> u64) -> Count {
    let Some(first) = trigger.next_after(after).filter(|&first| first <= until) else { return Count { n: 0, exact: true } };
    let mut steps = Steps::new(COUNT_STEPS_MAX);
    let (mut n, mut at) = (1, first);
    while n < COUNT_MAX {
        match trigger.next(at, &mut steps).filter(|&next| next <= until) {
            Some(next) => (n, at) = (n + 1, next),
            None if steps.used_up() => break,
            None => return Count { n, exact: true },
        }
    }
    Count { n: n.max(at_least()), exact: false }
}

#[cfg(test)]
mod tests {
    use crate::trigger::testing::{compile, fires, fires_back, trigger};

    fn short(fires: Vec<String>) -> Vec<String> {
        fires.into_iter().map(|t| t[5..19].replace('T', " ")).collect()
    }

    fn next(json: &str, n: usize) -> Vec<String> {
        short(fires(json, "2026-01-01T00:00:00Z", n))
    }

    fn last(json: &str, until: &str, n: usize) -> Vec<String> {
        short(fires_back(json, until, n))
    }

    #[test]
    fn any_is_the_earliest_of_its_members_equal_instants_once() {
        let json = r#"{"any":[{"cron":"0 */6 * * *"},{"cron":"0 12 * * *"},{"at":"2026-01-01T13:00:00Z"}]}"#;
        assert_eq!(next(json, 4), ["01-01 06:00:00", "01-01 12:00:00", "01-01 13:00:00", "01-01 18:00:00"]);
        assert_eq!(last(json, "2026-01-01T18:00:00Z", 3), ["01-01 18:00:00", "01-01 13:00:00", "01-01 12:00:00"]);
    }

    #[test]
    fn any_ends_when_all_have_ended() {
        let json = r#"{"any":[{"at":"2026-01-01T01:00:00Z"},{"every":"1h","end":"2026-01-01T03:00:00Z"}]}"#;
        assert_eq!(next(json, 9), ["01-01 01:00:00", "01-01 02:00:00", "01-01 03:00:00"]);
    }

    #[test]
    fn all_is_the_seconds_on_which_all_fire() {
        let json = r#"{"all":[{"cron":"0 0 13 * *"},{"cron":"0 0 * * fri"}]}"#;
        assert_eq!(next(json, 3), ["02-13 00:00:00", "03-13 00:00:00", "11-13 00:00:00"]);
        assert_eq!(last(json, "2026-12-01T00:00:00Z", 3), ["11-13 00:00:00", "03-13 00:00:00", "02-13 00:00:00"]);
    }

    #[test]
    fn an_interval_anchored_within_a_second_agrees_with_that_second() {
        let json = r#"{"all":[{"every":"7s","start":"2026-01-01T00:00:00.9Z"},{"cron":"*/2 * * * * *"}]}"#;
        assert_eq!(next(json, 3), ["01-01 00:00:14", "01-01 00:00:28", "01-01 00:00:42"]);
        assert_eq!(last(json, "2026-01-01T00:00:30Z", 3), ["01-01 00:00:28", "01-01 00:00:14", "01-01 00:00:00"]);
    }

    #[test]
    fn a_tolerance_widens_agreement_and_the_earliest_counts() {
        let minutes = |tolerance: &str| {
            format!(r#"{{"all":[{{"every":"1m","start":"2026-01-01T00:00:01Z"}},{{"every":"1m","start":"2026-01-01T00:00:03Z"}}],"tolerance":"{tolerance}"}}"#)
        };
        assert_eq!(next(&minutes("2s"), 2), ["01-01 00:00:01", "01-01 00:01:01"]);
        assert_eq!(last(&minutes("2s"), "2026-01-01T00:01:02Z", 2), ["01-01 00:01:01", "01-01 00:00:01"]);
        assert_eq!(compile(&minutes("1s")).unwrap_err().code, "never-fires");
    }

    #[test]
    fn members_that_agree_with_the_same_latest_one_make_one_firing() {
        let json = r#"{"all":[{"cron":"* * * * * *"},{"cron":"* * * * *"}],"tolerance":"2s"}"#;
        assert_eq!(next(json, 3), ["01-01 00:00:58", "01-01 00:01:58", "01-01 00:02:58"]);
        assert_eq!(last(json, "2026-01-01T00:02:59Z", 2), ["01-01 00:02:58", "01-01 00:01:58"]);
    }

    #[test]
    fn what_never_agrees_is_refused_within_bounds() {
        for json in [
            r#"{"all":[{"cron":"0 0 1 * *"},{"cron":"0 0 2 * *"}]}"#,
            r#"{"all":[{"cron":"* */2 * * * *"},{"cron":"* 1-59/2 * * * *"}]}"#,
            r#"{"all":[{"every":"2s","start":"2026-01-01T00:00:00Z"},{"every":"2s","start":"2026-01-01T00:00:01Z"}]}"#,
            r#"{"all":[{"at":"2026-01-01T00:00:00Z"},{"at":"2026-01-02T00:00:00Z"}]}"#,
            r#"{"all":[{"all":[{"cron":"* */2 * * * *"},{"cron":"* */3 * * * *"}]},{"all":[{"cron":"* 1-59/2 * * * *"},{"cron":"* */3 * * * *"}]}]}"#,
        ] {
            assert_eq!(compile(json).expect_err(json).code, "never-fires", "{json}");
        }
    }

    #[test]
    fn any_and_all_hold_so_many_so_deep() {
        let nested = |depth: usize| format!("{}{{\"every\":\"1s\"}}{}", "{\"any\":[".repeat(depth), "]}".repeat(depth));
        assert!(compile(&nested(4)).is_ok());
        assert!(compile(&nested(5)).unwrap_err().message.contains("deep"));
        let many = |n: usize| format!("{{\"any\":[{}]}}", vec![r#"{"every":"1s"}"#; n].join(","));
        assert!(compile(&many(63)).is_ok());
        assert!(compile(&many(64)).is_err());
    }

    #[test]
    fn a_count_past_the_bound_is_a_lower_bound() {
        let at = |t: &str| t.parse().unwrap();
        let union = trigger(r#"{"any":[{"cron":"0 12 * * *"},{"cron":"0 */12 * * *"}]}"#);
        let count = union.count_between(at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        assert_eq!((count.n, count.exact), (730, true));
        let dense = trigger(r#"{"any":[{"cron":"* * * * * *"},{"cron":"0 12 * * *"}]}"#);
        let count = dense.count_between(at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        assert_eq!((count.n, count.exact), (365 * 86_400, false));
    }

    #[test]
    fn a_firing_that_is_far_to_seek_is_counted() {
        // They agree every 9,973 × 9,967 seconds, which is three years and more steps than a count has.
        let rare = trigger(r#"{"all":[{"every":"9973s","start":"2026-01-01T00:00:00Z"},{"every":"9967s","start":"2026-01-01T00:00:00Z"}]}"#);
        let (after, until) = ("2026-01-02T00:00:00Z".parse().unwrap(), "2030-01-01T00:00:00Z".parse().unwrap());
        assert!(rare.next_after(after).is_some_and(|next| next < until));
        assert_eq!(rare.count_between(after, until).n, 1);
        let none = rare.count_between(after, "2028-01-01T00:00:00Z".parse().unwrap());
        assert_eq!((none.n, none.exact), (0, true));
    }

    #[test]
    fn a_member_that_seeks_in_vain_keeps_no_other_from_firing() {
        // After its first instant, the first member agrees again in thousands of years.
        let every = |seconds: u32| format!(r#"{{"every":"{seconds}s","start":"2026-01-01T00:00:00Z"}}"#);
        let rare = format!(r#"{{"all":[{},{},{}]}}"#, every(9_973), every(9_967), every(9_949));
        let both = trigger(&format!(r#"{{"any":[{rare},{{"all":[{{"cron":"0 * * * *"}},{{"cron":"0 12 * * *"}}]}}]}}"#));
        let after = "2026-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(both.next_after(after), Some("2026-01-02T12:00:00Z".parse().unwrap()));
        assert!(trigger(&rare).next_after(after).is_none() && trigger(&rare).gives_up_after(after));
        assert!(!trigger(r#"{"at":"2026-01-01T00:00:00Z"}"#).gives_up_after(after));
    }

    #[test]
    fn members_share_their_zone_with_the_whole() {
        let json = r#"{"any":[{"cron":"0 3 * * *","timezone":"Europe/Berlin"},{"cron":"0 4 * * *","timezone":"Europe/Berlin"}]}"#;
        assert_eq!(trigger(json).timezone().iana_name(), Some("Europe/Berlin"));
        assert_eq!(trigger(json).describe(), "(at 03:00, every day, Europe/Berlin time) or (at 04:00, every day, Europe/Berlin time)");
    }
}
