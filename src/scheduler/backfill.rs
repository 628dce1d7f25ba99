//! Backfills: runs that make up for a past period, throttled, beside the job's own schedule and never in its way.

use std::collections::HashSet;

use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};

use crate::job::{Cause, Job, JobId, JobKey, Run, RunState, TenantId};
use crate::plan::{self, Past};
use crate::store::CancelFound;

use super::steps::Steps;
use super::{PageRequest, RunFilter, Scheduler, SchedulerError, compile};

/// Runs added in one transaction.
const BATCH: usize = 500;
/// The most instants that one backfill may be allowed.
const LIMIT_CAP: u64 = 100_000;
const RUNNING_CAP: u32 = 10_000;
/// Runs that one call cancels at most, and how many at the same time.
const CANCEL_MAX: usize = 1_000;
const CANCEL_AT_ONCE: usize = 256;

#[derive(Clone, Copy, Debug)]
pub struct BackfillRequest {
    /// Both inclusive; past.
    pub from: Timestamp,
    pub to: Timestamp,
    /// How many of the job's backfills may run at once. Those of an earlier backfill count too, and keep their own bound.
    pub max_running: u32,
    /// More instants than this are refused.
    pub limit: u64,
    /// Nothing is made.
    pub dry_run: bool,
}

/// What a backfill found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backfilled {
    /// Instants that the trigger named.
    pub named: u64,
    /// Of them, those that fall into one of the job's calendars…
    pub excluded: u64,
    /// …and those that have a run.
    pub existing: u64,
    /// The runs that were made; with `dry_run`, those that would be.
    pub made: u64,
}

/// What a cancellation of many found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CancelledRuns {
    /// They had not started.
    pub cancelled: u64,
    /// They run, and were asked to stop.
    pub requested: u64,
    /// There are others still: ask again.
    pub more: bool,
}

impl Scheduler {
    /// Makes a run for each instant that the job's trigger named in a past period and that has none. What was made before is
    /// not made again, so that a backfill which was cut short can be repeated.
    pub async fn backfill(&self, key: &JobKey, request: BackfillRequest) -> Result<Backfilled, SchedulerError> {
        let inner = &self.inner;
        if self.is_shutting_down() {
            return Err(SchedulerError::ShuttingDown);
        }
        let Missing { mut found, mut runs } = inner.steps.missing(key, request, inner.clock.now()).await?;
        if request.dry_run {
            return Ok(found);
        }
        found.made = 0;
        while !runs.is_empty() {
            let batch: Vec<_> = runs.drain(..runs.len().min(BATCH)).collect();
            found.made += inner.store.add_backfill(key, batch).await?;
            inner.wake.notify_one();
        }
        // What somebody else made meanwhile was there.
        found.existing = found.named - found.excluded - found.made;
        Ok(found)
    }

    /// Cancels unfinished runs of a job, of one cause or of all; those that have not started first, at most a thousand a call.
    pub async fn cancel_runs(&self, tenant: &TenantId, job: &JobId, cause: Option<Cause>, reason: &str) -> Result<CancelledRuns, SchedulerError> {
        let mut done = CancelledRuns::default();
        for state in [RunState::Queued, RunState::WaitingRetry, RunState::Running] {
            let left = CANCEL_MAX.saturating_sub(usize::try_from(done.cancelled + done.requested).unwrap_or(usize::MAX));
            if left == 0 {
                done.more = true;
                return Ok(done);
            }
            let filter = RunFilter { tenant: tenant.clone(), job: Some(job.clone()), state: Some(state), cause, ..RunFilter::default() };
            let page = self.inner.store.runs(&filter, PageRequest { after: None, limit: left }).await?;
            // Those that run stay in their list until they have stopped, so there "more" would never end.
            done.more |= page.next.is_some() && state != RunState::Running;
            let found: Vec<_> =
                stream::iter(page.items).map(|run| async move { self.cancel_run(tenant, run.id, reason).await }).buffered(CANCEL_AT_ONCE).collect().await;
            for found in found {
                match found? {
                    CancelFound::Ended => done.cancelled += 1,
                    CancelFound::Requested => done.requested += 1,
                    CancelFound::AlreadyEnded => {}
                }
            }
            if done.more {
                return Ok(done);
            }
        }
        Ok(done)
    }
}

impl BackfillRequest {
    fn check(&self, now: Timestamp) -> Result<(), SchedulerError> {
        if self.from > self.to || self.to > now {
            return Err(SchedulerError::BackfillPeriod { from: self.from, to: self.to });
        }
        for (field, asked, cap) in [("max_running", u64::from(self.max_running), u64::from(RUNNING_CAP)), ("limit", self.limit, LIMIT_CAP)] {
            if asked == 0 || asked > cap {
                return Err(SchedulerError::BackfillBound { field, asked, cap });
            }
        }
        Ok(())
    }
}

/// What a past period lacks.
pub(super) struct Missing {
    /// As if all of `runs` had been made.
    pub found: Backfilled,
    /// In the order in which they are to start.
    pub runs: Vec<Run>,
}

impl Steps {
    /// The runs that a backfill is to make.
    pub async fn missing(&self, key: &JobKey, request: BackfillRequest, now: Timestamp) -> Result<Missing, SchedulerError> {
        request.check(now)?;
        let BackfillRequest { from, to, max_running, limit, .. } = request;
        let job = self.store.job(key).await?;
        let trigger = compile(key, &job.spec.trigger, job.anchor)?;
        let count = trigger.count_between(from.saturating_sub(SignedDuration::from_micros(1)).unwrap_or(from), to);
        let refuse = |count, exact| SchedulerError::BackfillTooLarge { count, exact, limit };
        if count.n > limit {
            return Err(refuse(count.n, count.exact));
        }
        let calendars = self.calendars_of(&job).await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
        let plan::Backfill { mut runs, excluded } =
            plan::backfill(Past { job: &job, trigger: &trigger, calendars: &calendars, from, to, most }, max_running, now);
        let named = runs.len() as u64 + excluded;
        if named > limit {
            return Err(refuse(named, false));
        }
        let existing = self.instants_with_runs(key, from, to).await?;
        runs.retain(|run| !existing.contains(&run.scheduled_at));
        let made = runs.len() as u64;
        Ok(Missing { found: Backfilled { named, excluded, existing: named - excluded - made, made }, runs })
    }

    /// Every calendar of a job, compiled.
    async fn calendars_of(&self, job: &Job) -> Result<Vec<(String, crate::trigger::Excluded)>, SchedulerError> {
        let mut calendars = Vec::with_capacity(job.spec.calendars.len());
        for name in &job.spec.calendars {
            let calendar = self.store.calendar(&job.key.tenant, name).await?;
            calendars.push((name.to_string(), calendar.exclusions.compile()?));
        }
        Ok(calendars)
    }

    async fn instants_with_runs(&self, key: &JobKey, from: Timestamp, to: Timestamp) -> Result<HashSet<Timestamp>, SchedulerError> {
        let until = to.saturating_add(SignedDuration::from_micros(1)).unwrap_or(to);
        let filter = RunFilter { tenant: key.tenant.clone(), job: Some(key.id.clone()), since: Some(from), until: Some(until), ..RunFilter::default() };
        let mut instants = HashSet::new();
        let mut after = None;
        loop {
            let page = self.store.runs(&filter, PageRequest { after, limit: PageRequest::LIMIT_MAX }).await?;
            instants.extend(page.items.iter().filter(|run| run.cause.is_of_instant()).map(|run| run.scheduled_at));
            after = page.next;
            if after.is_none() {
                return Ok(instants);
            }
        }
    }
}
