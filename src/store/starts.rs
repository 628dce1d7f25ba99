//! The latest starts of a job with a rate limit: what the window of the limit is counted by.

use std::collections::VecDeque;

use jiff::Timestamp;

use crate::job::RateLimit;

/// Oldest first; no more are kept than the limit allows in one window.
#[derive(Clone, Debug, Default)]
pub(super) struct Starts {
    starts: VecDeque<Start>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Start {
    /// Grows by one with each.
    pub number: u64,
    pub at: Timestamp,
}

impl Starts {
    pub fn of(starts: impl IntoIterator<Item = Start>) -> Self {
        Self { starts: starts.into_iter().collect() }
    }

    /// From when on one more may start; `None`: at any time.
    pub fn opens_at(&self, limit: RateLimit) -> Option<Timestamp> {
        let oldest = self.starts.len().checked_sub(limit.runs as usize)?;
        Some(self.starts.get(oldest)?.at.saturating_add(limit.per).unwrap_or(Timestamp::MAX))
    }

    /// How many may start now.
    pub fn room(&mut self, limit: RateLimit, now: Timestamp) -> u32 {
        // What is said to have started later did so before the clock was set back.
        self.starts.iter_mut().rev().take_while(|start| start.at > now).for_each(|start| start.at = now);
        let edge = now.saturating_sub(limit.per).unwrap_or(Timestamp::MIN);
        let within = self.starts.len() - self.starts.partition_point(|start| start.at <= edge);
        limit.runs.saturating_sub(u32::try_from(within).unwrap_or(u32::MAX))
    }

    /// One starts. Returns its record, and the number below which none is needed any more.
    pub fn add(&mut self, limit: RateLimit, now: Timestamp) -> (Start, u64) {
        let start = Start { number: self.starts.back().map_or(1, |last| last.number + 1), at: self.starts.back().map_or(now, |last| last.at.max(now)) };
        self.starts.push_back(start);
        while self.starts.len() > limit.runs as usize {
            self.starts.pop_front();
        }
        (start, self.starts.front().map_or(0, |first| first.number))
    }

    /// What was counted as a start at `at` was none. Returns its number.
    pub fn take_back(&mut self, at: Timestamp) -> Option<u64> {
        self.starts.back().filter(|last| last.at == at)?;
        self.starts.pop_back().map(|last| last.number)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    const THREE: RateLimit = RateLimit { runs: 3, per: SignedDuration::from_secs(10) };

    #[test]
    fn no_window_of_the_length_has_more_starts_than_allowed() {
        let mut starts = Starts::default();
        let mut started = Vec::new();
        for now in 0..200 {
            // Bursts and pauses.
            let wanted = if now % 7 < 3 { 2 } else { 0 };
            for _ in 0..starts.room(THREE, at(now)).min(wanted) {
                starts.add(THREE, at(now));
                started.push(now);
            }
        }
        for from in 0..200 {
            assert!(started.iter().filter(|&&t| (from..from + 10).contains(&t)).count() <= 3, "from {from}: {started:?}");
        }
        assert_eq!(starts.starts.len(), 3);
    }

    #[test]
    fn a_full_window_opens_when_its_oldest_start_has_left_it() {
        let mut starts = Starts::default();
        for t in [0, 4, 5] {
            assert_eq!(starts.opens_at(THREE), None);
            starts.add(THREE, at(t));
        }
        assert_eq!((starts.opens_at(THREE), starts.room(THREE, at(9)), starts.room(THREE, at(10))), (Some(at(10)), 0, 1));
        starts.take_back(at(5));
        assert_eq!(starts.room(THREE, at(9)), 1);
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nothing_for_longer_than_a_window() {
        let mut starts = Starts::default();
        for _ in 0..3 {
            starts.add(THREE, at(3_600));
        }
        assert_eq!(starts.room(THREE, at(0)), 0);
        assert_eq!((starts.opens_at(THREE), starts.room(THREE, at(10))), (Some(at(10)), 3));
    }
}
