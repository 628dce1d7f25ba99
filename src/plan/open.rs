//! A trigger's instants in a range of time, less those that fall into exclusion calendars.

use jiff::Timestamp;

use crate::job::{SkipReason, Skipped};
use crate::trigger::{Count, Excluded, Stretch, Trigger};

use super::fire::before;

/// Stretches that are looked at for one firing. Instants further back than so many are not looked at: they are missed.
const STRETCHES_MAX: usize = 1_000;

/// Asked only about the range that it was made for.
pub(super) struct Open<'a> {
    trigger: &'a Trigger,
    /// In order of time, none overlaps another.
    closed: Vec<Stretch>,
    /// Instants before this are not among it.
    from: Timestamp,
}

/// The instants from `first` to `now` that are open, and the records of those that are not.
pub(super) fn open<'a>(trigger: &'a Trigger, calendars: &[(String, Excluded)], first: Timestamp, now: Timestamp) -> (Open<'a>, Vec<Skipped>) {
    let mut open = Open { trigger, closed: Vec::new(), from: first };
    if calendars.is_empty() {
        return (open, Vec::new());
    }
    let (from, stretches) = closed(calendars, first, now);
    let mut skips = Vec::new();
    let mut skip = |reason, detail: String, first: Timestamp, end: Timestamp| {
        let (after, last) = (before(first), before(end).min(now));
        let count = trigger.count_between(after, last);
        if let (Some(first), Some(last), 1..) = (trigger.next_after(after), trigger.last_at_or_before(last), count.n) {
            skips.push(Skipped { reason, detail: Some(detail), count: count.n, exact: count.exact, first, last, recorded_at: now });
        }
    };
    if from > first {
        skip(SkipReason::Missed, format!("its calendars changed more than {STRETCHES_MAX} times since"), first, from);
    }
    for (name, stretch) in stretches {
        skip(SkipReason::Skipped, format!("calendar {name}"), stretch.from.max(from), stretch.to);
        open.closed.push(stretch);
    }
    open.from = from;
    (open, skips)
}

/// The closed stretches that reach into `from..=now`, and the `from` that few enough of them begin at.
fn closed(calendars: &[(String, Excluded)], first: Timestamp, now: Timestamp) -> (Timestamp, Vec<(&str, Stretch)>) {
    // Near things first: looked at from ever further back, until all is seen or it is too much.
    let mut seen = (now, Vec::new());
    for doubling in 20..63 {
        let from = now.saturating_sub(jiff::SignedDuration::from_micros(1 << doubling)).unwrap_or(Timestamp::MIN).max(first);
        match closed_from(calendars, from, now) {
            Some(stretches) => seen = (from, stretches),
            None => break,
        }
        if from == first {
            break;
        }
    }
    seen
}

fn closed_from(calendars: &[(String, Excluded)], from: Timestamp, now: Timestamp) -> Option<Vec<(&str, Stretch)>> {
    let mut stretches = Vec::new();
    let mut t = from;
    while t <= now {
        let covering = calendars.iter().filter_map(|(name, c)| Some((name.as_str(), c.covering(t)?))).max_by_key(|(_, s)| s.to);
        match covering {
            Some((name, stretch)) => {
                stretches.push((name, Stretch { from: t, to: stretch.to }));
                t = stretch.to;
            }
            None => match calendars.iter().filter_map(|(_, c)| c.next(t)).map(|s| s.from).min() {
                Some(next) => t = next,
                None => break,
            },
        }
        if stretches.len() > STRETCHES_MAX {
            return None;
        }
    }
    Some(stretches)
}

impl<'a> Open<'a> {
    /// Every instant of `trigger`.
    pub fn always(trigger: &'a Trigger) -> Self {
        Self { trigger, closed: Vec::new(), from: Timestamp::MIN }
    }

    fn closed_at(&self, t: Timestamp) -> Option<&Stretch> {
        let after = self.closed.partition_point(|s| s.from <= t);
        self.closed[..after].last().filter(|s| t < s.to)
    }

    pub fn next_after(&self, t: Timestamp) -> Option<Timestamp> {
        let mut next = self.trigger.next_after(t.max(before(self.from)))?;
        while let Some(stretch) = self.closed_at(next) {
            next = self.trigger.next_after(before(stretch.to))?;
        }
        Some(next)
    }

    pub fn last_at_or_before(&self, t: Timestamp) -> Option<Timestamp> {
        let mut last = self.trigger.last_at_or_before(t)?;
        while let Some(stretch) = self.closed_at(last) {
            last = self.trigger.last_at_or_before(before(stretch.from))?;
        }
        Some(last).filter(|&last| last >= self.from)
    }

    /// How many are in `(after, until]`.
    pub fn count_between(&self, after: Timestamp, until: Timestamp) -> Count {
        let after = after.max(before(self.from));
        let mut count = self.trigger.count_between(after, until);
        for stretch in &self.closed {
            let (from, to) = (before(stretch.from).max(after), before(stretch.to).min(until));
            if from < to {
                let inside = self.trigger.count_between(from, to);
                count = Count { n: count.n.saturating_sub(inside.n), exact: count.exact && inside.exact };
            }
        }
        count
    }
}
