//! What a verb does to a stored value: one text for all implementations, so that they cannot differ.

use jiff::Timestamp;

use crate::job::{
    Attempt, CalendarName, Cause, ComponentName, Job, JobId, Outcome, Pause, Run, RunError, RunId, RunState, SecretName, SkipReason, Skipped, UpstreamEnd,
    Version,
};

use super::{Settled, StoreError};

/// Carries `settled` over to the run of an attempt that ended. The caller takes care of `Settled::Missed`, which leaves no run.
pub(super) fn settle(run: &mut Run, attempt: Option<&Attempt>, settled: &Settled, job_exists: bool, now: Timestamp) {
    run.error = attempt.and_then(|a| a.error.clone());
    if let Some(attempt) = attempt {
        run.receipt = Some(attempt.receipt.clone());
    }
    match settled {
        Settled::Ended { outcome, error } => {
            run.error = error.clone().or(run.error.take());
            end(run, *outcome, now);
        }
        Settled::Retry { at, lost } => {
            run.state = RunState::WaitingRetry;
            run.start_at = *at;
            run.lost_attempts += u32::from(*lost);
            // What was asked for while the attempt ran holds for the run that now waits.
            match run.cancel_requested.take() {
                Some(reason) => cancel(run, &reason, now),
                None if !job_exists => cancel(run, JOB_REMOVED, now),
                None => {}
            }
        }
        Settled::Missed(_) => {}
    }
}

/// Why the waiting runs of a removed job end.
pub(super) const JOB_REMOVED: &str = "its job was removed";

/// Ends a run that is not running as cancelled.
pub(super) fn cancel(run: &mut Run, reason: &str, now: Timestamp) {
    run.error = Some(RunError { code: "cancelled".to_owned(), message: reason.to_owned(), ..RunError::default() });
    end(run, Outcome::Cancelled, now);
}

/// Ends a run whose node died and whose job has been removed: nobody is left to say whether it should be tried again.
pub(super) fn lose(run: &mut Run, now: Timestamp) {
    let message = "the server that ran it died or lost its lease, and its job was removed meanwhile".to_owned();
    run.error = Some(RunError { code: "lost".to_owned(), message, ..RunError::default() });
    end(run, Outcome::Lost, now);
}

fn end(run: &mut Run, outcome: Outcome, now: Timestamp) {
    run.state = RunState::Ended;
    run.outcome = Some(outcome);
    run.ended_at = Some(now);
    run.cancel_requested = None;
}

/// Whether a run with a key stands for another one of that key.
pub(super) fn is_current(run: &Run, since: Option<Timestamp>) -> bool {
    since.map_or(run.state != RunState::Ended, |since| run.created_at >= since)
}

/// A first attempt, which its job's rate limit allows since `opened`.
pub(super) fn allow(run: &mut Run, opened: Option<Timestamp>) {
    if let Some(opened) = opened.filter(|&opened| opened > run.start_at) {
        run.start_at = opened;
        run.rate_limited = true;
    }
}

/// The number of the attempt that a run has once it is set going, and when its first one started.
pub(super) fn going(run: &Run, now: Timestamp) -> (u32, Timestamp) {
    (run.attempt + 1, run.started_at.unwrap_or(now))
}

/// Sets a claimed run going.
pub(super) fn start(run: &mut Run, now: Timestamp) {
    let (attempt, started_at) = going(run, now);
    run.state = RunState::Running;
    run.attempt = attempt;
    run.started_at = Some(started_at);
}

/// That a run ended, and how.
#[derive(Clone, Copy)]
pub(super) struct RunEnd {
    pub run: RunId,
    pub cause: Cause,
    pub outcome: Outcome,
    pub started_at: Option<Timestamp>,
    pub ended_at: Timestamp,
}

impl RunEnd {
    /// `None` while it goes on.
    pub fn of(run: &Run) -> Option<Self> {
        Some(Self { run: run.id, cause: run.cause, outcome: run.outcome?, started_at: run.started_at, ended_at: run.ended_at? })
    }

    /// As the jobs that follow `job`, whose run it was, are told it; `None` of a backfill: that is its job's alone.
    pub fn for_downstream(&self, job: &JobId) -> Option<UpstreamEnd> {
        let &Self { run, outcome, ended_at, .. } = self;
        (self.cause != Cause::Backfill).then(|| UpstreamEnd { job: job.clone(), run, outcome, ended_at })
    }
}

/// What a job remembers of its run that ended after an attempt. A cancelled one neither is a failure nor ends a row of them; one of
/// a backfill tells nothing of how the job does now.
pub(super) fn remember(job: &mut Job, end: &RunEnd) {
    if end.cause == Cause::Backfill {
        return;
    }
    job.last_outcome = Some(end.outcome);
    job.last_run_at = end.started_at.or(Some(end.ended_at));
    match end.outcome {
        Outcome::Succeeded => job.failures_in_row = 0,
        Outcome::Cancelled => {}
        _ => job.failures_in_row = job.failures_in_row.saturating_add(1),
    }
}

/// A job's `wake_at` with an end that no firing has seen.
pub(super) fn wake_for(wake_at: Option<Timestamp>, unseen: Timestamp) -> Timestamp {
    wake_at.map_or(unseen, |wake_at| wake_at.min(unseen))
}

/// The record of ends that no firing has seen, where their trigger goes. Which of them would have made a firing nobody says.
pub(super) fn unseen(ended_at: &[Timestamp], why: &str, now: Timestamp) -> Option<Skipped> {
    let (first, last) = (*ended_at.iter().min()?, *ended_at.iter().max()?);
    let detail = Some(format!("upstream runs had ended when {why}"));
    Some(Skipped { reason: SkipReason::Missed, detail, count: ended_at.len() as u64, exact: false, first, last, recorded_at: now })
}

pub(super) const TRIGGER_CHANGED: &str = "the trigger was changed";
pub(super) const JOB_GONE: &str = "the job was removed";

/// Pauses a job because of how its runs ended; one that is paused already stays as it is. True where that changed it.
pub(super) fn pause(job: &mut Job, pause: Pause) -> bool {
    if job.pause.is_some() {
        return false;
    }
    job.wake_at = job.wake_in_pause(&pause);
    job.pause = Some(pause);
    true
}

/// `wanted` in the place of `existing`, by the rules of `OnConflict::Replace`.
pub(super) fn replace(existing: &Job, wanted: Job) -> Job {
    let mut job = Job {
        revision: existing.revision + 1,
        created_at: existing.created_at,
        failures_in_row: existing.failures_in_row,
        last_outcome: existing.last_outcome,
        last_run_at: existing.last_run_at,
        ..wanted
    };
    if job.spec.trigger == existing.spec.trigger && job.pause == existing.pause {
        job.state.clone_from(&existing.state);
        (job.anchor, job.next_fire, job.wake_at) = (existing.anchor, existing.next_fire, existing.wake_at);
    }
    job
}

/// `changed`, decided upon `seen`, in the place of `stored`; `None` where `stored` has moved since in what decisions
/// depend on. What runs that ended meanwhile left in `stored` is kept.
pub(super) fn update(stored: &Job, seen: &Job, changed: Job) -> Option<Job> {
    let depends_on = |job: &Job| (job.revision, job.created_at, job.next_fire, job.wake_at);
    if depends_on(stored) != depends_on(seen) || stored.pause != seen.pause || stored.state != seen.state {
        return None;
    }
    let failures_in_row = if changed.failures_in_row == seen.failures_in_row { stored.failures_in_row } else { changed.failures_in_row };
    Some(Job {
        revision: stored.revision + 1,
        created_at: stored.created_at,
        failures_in_row,
        last_outcome: stored.last_outcome,
        last_run_at: stored.last_run_at,
        ..changed
    })
}

/// Folds `next` into `last`, the job's newest record, where reason and kind of detail are the same. False where they are not.
pub(super) fn fold(last: &mut Skipped, next: &Skipped) -> bool {
    if last.reason != next.reason || detail_kind(last) != detail_kind(next) {
        return false;
    }
    last.count = last.count.saturating_add(next.count);
    last.exact &= next.exact;
    last.first = last.first.min(next.first);
    last.last = last.last.max(next.last);
    last.recorded_at = last.recorded_at.max(next.recorded_at);
    last.detail.clone_from(&next.detail);
    true
}

/// A detail up to its first digit: ids, instants and numbers within it do not make another kind.
fn detail_kind(skip: &Skipped) -> Option<&str> {
    let detail = skip.detail.as_deref()?;
    if detail.starts_with("calendar ") {
        return Some(detail);
    }
    Some(detail.split(|c: char| c.is_ascii_digit()).next().unwrap_or(detail))
}

pub(super) fn no_calendar(name: &CalendarName) -> StoreError {
    StoreError::NotFound { what: format!("calendar {:?}", name.as_str()) }
}

pub(super) fn no_secret(name: &SecretName) -> StoreError {
    StoreError::NotFound { what: format!("secret {:?}", name.as_str()) }
}

pub(super) fn no_component(name: &ComponentName, version: Version) -> StoreError {
    let version = match version {
        Version::Newest => String::new(),
        Version::Number(n) => format!(" version {n}"),
        Version::Digest(digest) => format!(" with {digest}"),
    };
    StoreError::NotFound { what: format!("component {:?}{version}", name.as_str()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(detail: &str, first: i64, last: i64) -> Skipped {
        let at = |s| Timestamp::from_second(s).unwrap();
        Skipped { reason: SkipReason::Skipped, detail: Some(detail.to_owned()), count: 2, exact: true, first: at(first), last: at(last), recorded_at: at(last) }
    }

    #[test]
    fn details_that_differ_in_an_id_only_fold_and_keep_the_newest() {
        let mut last = skip("run 0190aa was in the way", 10, 20);
        let next = Skipped { exact: false, ..skip("run 0190bb was in the way", 5, 30) };
        assert!(fold(&mut last, &next));
        assert_eq!(last, Skipped { count: 4, exact: false, ..skip("run 0190bb was in the way", 5, 30) });
    }

    #[test]
    fn another_kind_of_detail_does_not_fold() {
        let mut last = skip("run 0190aa was in the way", 10, 20);
        assert!(!fold(&mut last, &skip("the queue was full (queue_max = 10)", 21, 22)));
        assert_eq!(last, skip("run 0190aa was in the way", 10, 20));
    }
}
