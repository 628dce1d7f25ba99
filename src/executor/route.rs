//! Which worker an attempt is given to.
//!
//! A component has a worker of its own (by digest), which keeps its memory warm; others take its attempts when that one has
//! work and they have none, or far less, or when it is stuck (`pulse`). What counts is what a worker has yet to do: reports that nobody has fetched yet are none of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::pulse::Pulse;
use crate::job::Digest;

/// How many attempts more than another a component's own worker may have to do before that other is given one.
const AHEAD: usize = 8;
/// One that is stuck counts as having so much more to do.
const STUCK: usize = 2 * AHEAD;

/// Counts an attempt that its worker has not finished, until it is dropped.
pub(super) struct Unfinished(Arc<AtomicUsize>);

impl Unfinished {
    pub fn one_of(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count.clone())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a worker has to do, for who chooses one.
pub(super) fn load(unfinished: &AtomicUsize, pulse: &Pulse) -> usize {
    match unfinished.load(Ordering::Acquire) {
        0 => 0,
        unfinished if pulse.is_stuck() => unfinished + STUCK,
        unfinished => unfinished,
    }
}

/// One of those `workers` that `can_take` an attempt of the component. `load` is what each has to do.
pub(super) fn choose<'a, W>(workers: &'a [W], digest: &Digest, can_take: impl Fn(&W) -> bool, load: impl Fn(&W) -> usize) -> Option<&'a W> {
    if let [only] = workers {
        return Some(only).filter(|only| can_take(only));
    }
    let own = (usize::from(digest.0[0]) << 8 | usize::from(digest.0[1])) % workers.len();
    let others = workers.iter().enumerate().filter(|(at, _)| *at != own).map(|(_, worker)| worker);
    let own = workers.get(own).filter(|own| can_take(own)).map(|own| (own, load(own)));
    if let Some((own, 0)) = own {
        return Some(own);
    }
    let least = others.filter(|other| can_take(other)).map(|other| (other, load(other))).min_by_key(|(_, load)| *load);
    match (own, least) {
        (Some((own, busy)), Some((_, least))) if least > 0 && busy <= least + AHEAD => Some(own),
        (own, least) => least.or(own).map(|(worker, _)| worker),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Which of workers with so much to do each, or no room, an attempt of the first one's component is given to.
    fn chosen(workers: &[Option<usize>]) -> Option<usize> {
        let numbered: Vec<_> = workers.iter().copied().enumerate().collect();
        choose(&numbered, &Digest([0; 32]), |worker| worker.1.is_some(), |worker| worker.1.unwrap_or_default()).map(|worker| worker.0)
    }

    #[test]
    fn a_component_stays_with_its_worker_until_another_has_nothing_or_far_less_to_do() {
        assert_eq!(chosen(&[Some(0), Some(0)]), Some(0));
        assert_eq!(chosen(&[Some(AHEAD), Some(1)]), Some(0));
        assert_eq!(chosen(&[Some(1), Some(0)]), Some(1));
        assert_eq!(chosen(&[Some(AHEAD + 2), Some(1)]), Some(1));
    }

    #[test]
    fn one_that_is_stuck_is_avoided_unless_the_others_have_far_more_to_do() {
        assert_eq!(chosen(&[Some(STUCK + 1), Some(AHEAD)]), Some(1));
        assert_eq!(chosen(&[Some(1), Some(STUCK + 1)]), Some(0));
        assert_eq!(chosen(&[Some(STUCK + 1), Some(AHEAD + 1)]), Some(0));
        assert_eq!(chosen(&[Some(STUCK + 1), Some(STUCK + 1)]), Some(0));
    }

    #[test]
    fn what_a_stuck_worker_has_to_do_counts_for_more_and_nothing_for_nothing() {
        let pulse = Pulse::new();
        assert_eq!(load(&AtomicUsize::new(3), &pulse), 3);
        pulse.beat(Instant::now());
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(load(&AtomicUsize::new(3), &pulse), 3 + STUCK);
        assert_eq!(load(&AtomicUsize::new(0), &pulse), 0);
    }

    #[test]
    fn one_without_room_is_never_chosen_however_little_it_has_to_do() {
        assert_eq!(chosen(&[None, Some(50)]), Some(1));
        assert_eq!(chosen(&[Some(50), None, Some(49)]), Some(0));
        assert_eq!(chosen(&[None, None]), None);
    }
}
