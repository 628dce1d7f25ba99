//! How long the driver may sleep.

use jiff::{SignedDuration, Timestamp};

/// When to look again: when the next thing comes due, but after `longest` at the latest.
pub fn wake(next_due: Option<Timestamp>, now: Timestamp, longest: SignedDuration) -> Timestamp {
    let latest = now.saturating_add(longest).unwrap_or(now);
    next_due.map_or(latest, |due| due.clamp(now, latest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_driver_looks_again_after_the_longest_wait_and_an_overdue_one_at_once() {
        let now = Timestamp::UNIX_EPOCH;
        let longest = SignedDuration::from_secs(60);
        let at = |s| Timestamp::from_second(s).unwrap();
        assert_eq!(wake(None, now, longest), at(60));
        assert_eq!(wake(Some(at(90)), now, longest), at(60));
        assert_eq!(wake(Some(at(30)), now, longest), at(30));
        assert_eq!(wake(Some(at(-30)), now, longest), now);
    }
}
