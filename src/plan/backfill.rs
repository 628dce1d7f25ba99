//! Which runs make up for a past period.

use jiff::Timestamp;

use crate::job::{Cause, Job, Run};
use crate::trigger::{Excluded, Trigger};

use super::fire::{Due, Named, before, run};

/// What a past period named.
#[derive(Clone, Debug, PartialEq)]
pub struct Backfill {
    /// A run for each instant that is open, in order of time; they start in that order, behind everything else.
    pub runs: Vec<Run>,
    /// Instants that fall into one of the job's calendars.
    pub excluded: u64,
}

/// A past period of a job.
#[derive(Clone, Copy, Debug)]
pub struct Past<'a> {
    pub job: &'a Job,
    pub trigger: &'a Trigger,
    /// The exclusion calendars that it refers to, by name.
    pub calendars: &'a [(String, Excluded)],
    /// Both inclusive.
    pub from: Timestamp,
    pub to: Timestamp,
    /// Instants that are looked at, at most.
    pub most: usize,
}

/// The runs that make up for a past period, of which at most `running_max` go at once.
pub fn backfill(past: Past<'_>, running_max: u32, now: Timestamp) -> Backfill {
    let Past { job, trigger, calendars, from, to, most } = past;
    let due = Due { job, trigger, calendars, unfinished: &[], unfinished_count: 0, after: None };
    let mut backfill = Backfill { runs: Vec::new(), excluded: 0 };
    let instants = std::iter::successors(trigger.next_after(before(from)), |&t| trigger.next_after(t)).take_while(|&t| t <= to).take(most);
    for at in instants {
        if calendars.iter().any(|(_, calendar)| calendar.covering(at).is_some()) {
            backfill.excluded += 1;
            continue;
        }
        backfill.runs.push(Run {
            cause: Cause::Backfill,
            backfill_max: Some(running_max),
            start_at: now,
            start_deadline: None,
            priority: i32::MIN,
            ..run(due, Named { at, upstream: Vec::new() }, now)
        });
    }
    // All may start at once; a microsecond between each keeps them in order. They are listed in it too.
    let mut start_at = now;
    for (place, run) in backfill.runs.iter_mut().enumerate().rev() {
        run.id = run.id.in_place(place);
        run.start_at = start_at;
        start_at = before(start_at);
    }
    backfill
}
