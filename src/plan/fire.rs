//! What a due job's firings become.
//!
//! Every instant of the trigger from `job.next_fire` to `now` ends here in a run or in a record of why there is none:
//!
//! ```text
//! next_fire ────────── edge ─────────────────── newest ── now
//!   past the grace: missed │ within it: coalesce picks       then overlap: run, wait, replace, or skip
//! ```
//! What falls into one of the job's calendars is taken out first, and recorded with the calendar's name.
//! Ranges are counted by the trigger's arithmetic, not enumerated: a 1-second job down for a month is three records.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::job::{After, Cause, Coalesce, Job, JobState, Overlap, Pause, Run, RunId, SkipReason, Skipped, UpstreamEnd};
use crate::trigger::{Excluded, Salt, Trigger, jitter_offset};

use super::after;
use super::open::{self, Open};

/// Runs of a job with `overlap = "allow"` that may wait for their turn; past it a firing is recorded as skipped.
const ALLOW_WAITING_MAX: u64 = 1_000;

/// A grace is never held against the scheduler's own resolution.
const RESOLUTION: SignedDuration = SignedDuration::from_secs(1);

/// A job that came due.
#[derive(Clone, Copy, Debug)]
pub struct Due<'a> {
    pub job: &'a Job,
    pub trigger: &'a Trigger,
    /// The exclusion calendars that it refers to, by name.
    pub calendars: &'a [(String, Excluded)],
    /// Its unfinished runs, oldest first.
    pub unfinished: &'a [RunId],
    /// How many there are in all (at least as many as are listed).
    pub unfinished_count: u64,
    /// Set where its trigger is `after`.
    pub after: Option<Ends<'a>>,
}

/// What has come in for a job that follows others.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    pub after: &'a After,
    /// In order of arrival.
    pub arrived: &'a [UpstreamEnd],
}

/// An instant that is to be a run, and the ends that make it one.
pub(super) struct Named {
    pub at: Timestamp,
    pub upstream: Vec<UpstreamEnd>,
}

/// What is to be done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Firing {
    /// In order of time.
    pub steps: Vec<Step>,
    /// Unfinished runs to cancel.
    pub cancel: Vec<RunId>,
    pub next_fire: Option<Timestamp>,
    pub wake_at: Option<Timestamp>,
    pub state: JobState,
    pub pause: Option<Pause>,
    /// The ends, by their place in `arrived`, that a later firing has no use for.
    pub consumed: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Run(Box<Run>),
    Skip(Skipped),
}

/// Decides a due job's firings as of `now`.
pub fn fire(due: Due<'_>, now: Timestamp) -> Firing {
    if let Some(ends) = due.after {
        return after::fire(due, ends, now);
    }
    let Due { job, trigger, .. } = due;
    let mut firing = Firing::of(job);
    let mut first = job.next_fire;

    if let Some(pause) = &job.pause {
        match pause.until {
            Some(until) if until <= now => {
                firing.pause = None;
                if let Some(paused) = first.filter(|&t| t <= until) {
                    firing.steps.push(Step::Skip(skipped(&Open::always(trigger), SkipReason::Paused, pause.reason.clone(), paused, until, now)));
                    first = trigger.next_after(until);
                }
            }
            until => {
                firing.wake_at = until;
                return firing;
            }
        }
    }

    if let Some(first) = first.filter(|&t| t <= now) {
        let (open, skips) = open::open(trigger, due.calendars, first, now);
        firing.steps.extend(skips.into_iter().map(Step::Skip));
        let chosen = open.next_after(before(first)).filter(|&t| t <= now).map_or_else(Vec::new, |first| choose(due, &open, first, now, &mut firing.steps));
        overlap(due, chosen.into_iter().map(|at| Named { at, upstream: Vec::new() }).collect(), now, &mut firing);
        firing.next_fire = trigger.next_after(now);
    } else {
        firing.next_fire = first;
    }
    firing.wake_at = firing.next_fire;
    if firing.next_fire.is_none() {
        firing.state = without_next(trigger, now);
    }
    firing.sort();
    firing
}

/// The state of a job whose trigger names no next firing.
pub(super) fn without_next(trigger: &Trigger, now: Timestamp) -> JobState {
    match trigger.gives_up_after(now) {
        true => JobState::Unresolved("no next firing was found in as many steps as a search may take, and there may be one".to_owned()),
        false => JobState::Finished,
    }
}

impl Firing {
    /// Nothing happens, and nothing changes.
    pub(super) fn of(job: &Job) -> Self {
        let (state, pause) = (job.state.clone(), job.pause.clone());
        Self { steps: Vec::new(), cancel: Vec::new(), next_fire: job.next_fire, wake_at: job.next_fire, state, pause, consumed: Vec::new() }
    }

    pub(super) fn sort(&mut self) {
        // Steps after a run (coalesced into the earliest, past the queue) come later in time, so a stable sort keeps each group.
        self.steps.sort_by_key(|step| match step {
            Step::Run(run) => run.scheduled_at,
            Step::Skip(skip) => skip.first,
        });
    }
}

/// The instants that are to run, in order of time, by misfire grace and coalesce; the others are pushed as skips.
fn choose(due: Due<'_>, open: &Open<'_>, first: Timestamp, now: Timestamp, steps: &mut Vec<Step>) -> Vec<Timestamp> {
    let Due { job, .. } = due;
    let spec = &job.spec;
    let mut skip = |reason, detail: Option<&str>, first, last| steps.push(Step::Skip(skipped(open, reason, detail.map(str::to_owned), first, last, now)));

    // The earliest instant that is still within its grace.
    let in_time = match grace(job) {
        Some(grace) => {
            let edge = now.saturating_sub(spec.jitter.saturating_add(grace)).unwrap_or(Timestamp::MIN);
            let in_time = if first >= edge { Some(first) } else { open.next_after(before(edge)).filter(|&t| t <= now) };
            if first < edge {
                skip(SkipReason::Missed, Some("later than its misfire grace"), first, in_time.map_or(now, before));
            }
            in_time
        }
        None => Some(first),
    };
    let Some(in_time) = in_time else { return Vec::new() };
    // A trigger that contradicts itself loses nothing: the instant it named is run.
    let newest = open.last_at_or_before(now).filter(|&t| t >= in_time).unwrap_or(in_time);

    match spec.coalesce {
        Coalesce::Latest => {
            if in_time < newest {
                skip(SkipReason::Coalesced, Some("a later firing ran for it"), in_time, before(newest));
            }
            vec![newest]
        }
        Coalesce::Earliest => {
            if in_time < newest {
                skip(SkipReason::Coalesced, Some("an earlier firing ran for it"), open.next_after(in_time).unwrap_or(newest), newest);
            }
            vec![in_time]
        }
        Coalesce::All => {
            let most = spec.catch_up_max as usize;
            let mut chosen = vec![newest];
            let mut oldest = newest;
            while chosen.len() < most && oldest > in_time {
                match open.last_at_or_before(before(oldest)).filter(|&t| t >= in_time && t < oldest) {
                    Some(t) => {
                        chosen.push(t);
                        oldest = t;
                    }
                    None => break,
                }
            }
            if oldest > in_time && chosen.len() == most {
                skip(SkipReason::Missed, Some("past catch_up_max"), in_time, before(oldest));
            }
            chosen.reverse();
            chosen
        }
    }
}

/// Turns the chosen instants into runs as far as the job's unfinished runs allow.
pub(super) fn overlap(due: Due<'_>, mut chosen: Vec<Named>, now: Timestamp, firing: &mut Firing) {
    let Due { job, unfinished, unfinished_count, .. } = due;
    let spec = &job.spec;
    let running_max = spec.running_max().map_or(u64::MAX, u64::from);
    let room = match spec.overlap {
        // What is due at once is one batch, run in its order: only runs made before it are in the way.
        Overlap::Skip if unfinished_count >= running_max => 0,
        Overlap::Skip => u64::MAX,
        Overlap::Queue => running_max.saturating_add(spec.queue_max.into()).saturating_sub(unfinished_count),
        Overlap::Allow => running_max.saturating_add(ALLOW_WAITING_MAX).saturating_sub(unfinished_count),
        Overlap::CancelRunning => {
            if let Some(last) = chosen.pop() {
                firing.steps.extend(skipped_named(&chosen, SkipReason::Coalesced, "a later firing replaced it".to_owned(), now));
                chosen = vec![last];
                firing.cancel = unfinished.to_vec();
            }
            u64::MAX
        }
    };
    let runs = chosen.len().min(usize::try_from(room).unwrap_or(usize::MAX));
    let too_many = chosen.split_off(runs);
    firing.steps.extend(chosen.into_iter().map(|named| Step::Run(Box::new(run(due, named, now)))));
    if !too_many.is_empty() {
        let detail = match (spec.overlap, unfinished.first()) {
            (Overlap::Skip, Some(run)) => format!("run {run} was in the way"),
            (Overlap::Queue, _) => format!("the queue was full (queue_max = {})", spec.queue_max),
            _ => "too many runs were waiting".to_owned(),
        };
        firing.steps.extend(skipped_named(&too_many, SkipReason::Skipped, detail, now));
    }
}

/// The record of instants that are known one by one; `None` where there are none.
pub(super) fn skipped_named(named: &[Named], reason: SkipReason, detail: impl Into<Option<String>>, now: Timestamp) -> Option<Step> {
    let (first, last) = (named.iter().map(|n| n.at).min()?, named.iter().map(|n| n.at).max()?);
    Some(Step::Skip(Skipped { reason, detail: detail.into(), count: named.len() as u64, exact: true, first, last, recorded_at: now }))
}

pub(super) fn run(due: Due<'_>, Named { at, upstream }: Named, now: Timestamp) -> Run {
    let Due { job, trigger, .. } = due;
    let spec = &job.spec;
    let mut start_at = at;
    if !spec.jitter.is_zero() {
        let salt = Salt { tenant: job.key.tenant.as_str(), job: job.key.id.as_str() };
        let moved = at.saturating_add(jitter_offset(salt, at, spec.jitter)).unwrap_or(at);
        start_at = trigger.next_after(at).map_or(moved, |next| moved.min(next));
    }
    let cause = if due.after.is_some() { Cause::After } else { Cause::Scheduled };
    let fresh = Run::new(run_id(job, at, &upstream, now), job, cause, now);
    Run {
        upstream,
        scheduled_at: at,
        start_at,
        start_deadline: grace(job).map(|grace| at.saturating_add(spec.jitter.saturating_add(grace)).unwrap_or(Timestamp::MAX)),
        ..fresh
    }
}

/// A version-7 UUID (RFC 9562, §5.7) whose random bits are a hash of the job, the instant and the runs that it follows, so
/// that the same decision taken twice names the same run.
fn run_id(job: &Job, at: Timestamp, upstream: &[UpstreamEnd], now: Timestamp) -> RunId {
    let hash = Sha256::new()
        .chain_update(job.key.tenant.as_str())
        .chain_update("/")
        .chain_update(job.key.id.as_str())
        .chain_update(job.created_at.as_microsecond().to_be_bytes())
        .chain_update(at.as_microsecond().to_be_bytes());
    let hash = upstream.iter().fold(hash, |hash, end| hash.chain_update(end.run.0.as_bytes())).finalize();
    let mut random = [0; 10];
    random.copy_from_slice(&hash[..10]);
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    RunId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
}

pub(super) fn grace(job: &Job) -> Option<SignedDuration> {
    job.spec.misfire_grace.map(|grace| grace.max(RESOLUTION))
}

/// The last microsecond before `t`.
pub(super) fn before(t: Timestamp) -> Timestamp {
    t.saturating_sub(SignedDuration::from_micros(1)).unwrap_or(t)
}

/// The record of the instants from `first` to `last`, both inclusive; `first` is one of them, `last` need not be.
pub(super) fn skipped(open: &Open<'_>, reason: SkipReason, detail: Option<String>, first: Timestamp, last: Timestamp, now: Timestamp) -> Skipped {
    let count = open.count_between(before(first), last);
    let last = open.last_at_or_before(last).filter(|&t| t >= first).unwrap_or(first);
    Skipped { reason, detail, count: count.n.max(1), exact: count.exact, first, last, recorded_at: now }
}
