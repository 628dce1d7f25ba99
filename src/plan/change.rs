//! A job's definition or its pause changes: the job as it is to be kept, and the firings that this accounts for.

use std::sync::Arc;

use jiff::Timestamp;

use crate::job::{Job, JobKey, JobSpec, JobState, Pause, SkipReason, Skipped};
use crate::trigger::{Salt, Trigger};

use super::fire::{before, skipped, without_next};
use super::open::Open;

/// A new job. `trigger` is `spec`'s, compiled with `now` as its anchor.
pub fn create(key: JobKey, spec: impl Into<Arc<JobSpec>>, trigger: &Trigger, now: Timestamp) -> Job {
    let spec = spec.into();
    let next_fire = trigger.next_after(before(now));
    let pause = spec.paused.then(|| Pause { since: now, reason: Some("added paused".to_owned()), by: None, until: None });
    Job {
        key,
        revision: 1,
        state: JobState::Active,
        wake_at: if pause.is_some() { None } else { next_fire },
        pause,
        anchor: now,
        next_fire,
        failures_in_row: 0,
        created_at: now,
        updated_at: now,
        last_outcome: None,
        last_run_at: None,
        spec,
    }
}

/// `existing` with the definition `spec`. An unchanged trigger keeps its anchor and its next firing, so that adding the
/// same definition again and again does not put off a job for ever; a changed one counts from now. `compile` gives
/// `spec`'s trigger for an anchor.
pub fn replace<E>(
    existing: &Job,
    spec: impl Into<Arc<JobSpec>>,
    now: Timestamp,
    compile: impl Fn(Timestamp) -> Result<Trigger, E>,
) -> Result<(Job, Option<Skipped>), E> {
    let mut job = Job { spec: spec.into(), updated_at: now, ..existing.clone() };
    let same_trigger = job.spec.trigger == existing.spec.trigger && matches!(existing.state, JobState::Active | JobState::Finished);
    if same_trigger {
        return Ok((job, None));
    }
    // The stored trigger compiled when it was stored; where it does not any more, one firing is known to be owed.
    let salt = Salt { tenant: existing.key.tenant.as_str(), job: existing.key.id.as_str() };
    let former = existing.spec.trigger.clone().anchored(existing.anchor).compile(salt).ok();
    let owed = owed(existing, former.as_ref(), "the trigger was changed", now);
    let trigger = compile(now)?;
    job.anchor = now;
    job.state = JobState::Active;
    job.next_fire = trigger.next_after(before(now));
    job.wake_at = match &job.pause {
        Some(pause) => job.wake_in_pause(pause),
        None => job.next_fire,
    };
    Ok((job, owed))
}

/// `job` paused. Its next firing stands, unaccounted, until it is resumed.
pub fn pause(job: &Job, pause: Pause, now: Timestamp) -> Job {
    let since = job.pause.as_ref().map_or(pause.since, |earlier| earlier.since);
    let wake_at = job.wake_in_pause(&pause);
    Job { pause: Some(Pause { since, ..pause }), wake_at, updated_at: now, ..job.clone() }
}

/// `job` going on; one that was parked is tried again. With `from_missed`, what came due meanwhile is treated as after downtime; else it is recorded as paused.
pub fn resume(job: &Job, trigger: &Trigger, from_missed: bool, now: Timestamp) -> (Job, Option<Skipped>) {
    let mut resumed = Job { pause: None, failures_in_row: 0, updated_at: now, ..job.clone() };
    let mut owed = None;
    if resumed.next_fire.is_some() || job.spec.trigger.is_after() {
        resumed.state = JobState::Active;
    }
    if let Some(first) = job.next_fire.filter(|&first| first <= now && !from_missed && job.pause.is_some()) {
        owed = Some(skipped(&Open::always(trigger), SkipReason::Paused, job.pause.as_ref().and_then(|p| p.reason.clone()), first, now, now));
        resumed.next_fire = trigger.next_after(now);
        if resumed.next_fire.is_none() {
            resumed.state = without_next(trigger, now);
        }
    }
    resumed.wake_at = resumed.next_fire;
    (resumed, owed)
}

/// `job` as it is just before it is removed: it names no further instant, and what it owed is recorded.
pub fn retire(job: &Job, trigger: &Trigger, now: Timestamp) -> (Job, Option<Skipped>) {
    let retired = Job { state: JobState::Finished, next_fire: None, wake_at: None, updated_at: now, ..job.clone() };
    (retired, owed(job, Some(trigger), "the job was removed", now))
}

/// The record of what came due and was not looked at before the job's trigger goes.
fn owed(job: &Job, trigger: Option<&Trigger>, why: &str, now: Timestamp) -> Option<Skipped> {
    let first = job.next_fire.filter(|&first| first <= now)?;
    let reason = if job.pause.is_some() { SkipReason::Paused } else { SkipReason::Missed };
    let detail = Some(why.to_owned());
    Some(match trigger {
        Some(trigger) => skipped(&Open::always(trigger), reason, detail, first, now, now),
        None => Skipped { reason, detail, count: 1, exact: false, first, last: first, recorded_at: now },
    })
}
