//! `every`: an interval of elapsed time, on the grid `start + k × every`, so that it neither drifts nor feels daylight saving.

use jiff::{SignedDuration, Timestamp};

#[derive(Clone, Copy, Debug)]
pub(super) struct Every {
    /// The grid's first firing, in microseconds since 1970.
    pub start: i64,
    /// At least 1 microsecond.
    pub every: SignedDuration,
}

impl Every {
    fn micros(&self) -> i128 {
        self.every.as_micros().max(1)
    }

    /// Firings of the grid at or before `t`.
    fn until(&self, t: Timestamp) -> i128 {
        let since = i128::from(t.as_microsecond()) - i128::from(self.start);
        if since < 0 { 0 } else { since / self.micros() + 1 }
    }

    /// The `n`-th firing, from 0.
    fn nth(&self, n: i128) -> Option<Timestamp> {
        let micros = i128::from(self.start) + n * self.micros();
        Timestamp::from_microsecond(i64::try_from(micros).ok()?).ok()
    }

    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        self.nth(self.until(t))
    }

    pub fn last_at_or_before(&self, t: Timestamp) -> Option<Timestamp> {
        match self.until(t) {
            0 => None,
            n => self.nth(n - 1),
        }
    }

    pub fn count_between(&self, after: Timestamp, until: Timestamp) -> u64 {
        u64::try_from(self.until(until) - self.until(after)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firings_stand_on_the_grid_and_are_counted_by_division() {
        let every = Every { start: 10_000_000, every: SignedDuration::from_secs(7) };
        let at = |s| Timestamp::from_second(s).unwrap();
        assert_eq!(every.next_after(at(0)), Some(at(10)));
        assert_eq!(every.next_after(at(10)), Some(at(17)));
        assert_eq!(every.last_at_or_before(at(9)), None);
        assert_eq!(every.last_at_or_before(at(23)), Some(at(17)));
        assert_eq!(every.count_between(at(0), at(24)), 3);
        assert_eq!(every.next_after(Timestamp::MAX), None);
    }
}
