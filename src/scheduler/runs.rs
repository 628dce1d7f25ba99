//! Verbs on runs and firings.

use std::time::Duration;

use jiff::Timestamp;

use crate::job::{Cause, Enough, Job, JobKey, JobSpec, Outcome, Run, RunId, RunState, Skipped, TenantId};
use crate::store::{AddedRun, CancelFound, StoreError};

use super::{Event, EventKind, Page, PageRequest, RunDetail, RunFilter, Scheduler, SchedulerError, TriggerRequest, Triggered};

/// A waiter looks at the store this often besides following the events, which may lag or be another node's.
const WAIT_LOOK: Duration = Duration::from_secs(1);

impl Scheduler {
    /// Makes a run on demand: it starts as soon as its time, a slot and the job's `max_running` allow, paused or not.
    pub async fn trigger(&self, key: &JobKey, request: TriggerRequest) -> Result<Triggered, SchedulerError> {
        let inner = &self.inner;
        if self.is_shutting_down() {
            return Err(SchedulerError::ShuttingDown);
        }
        let job = inner.store.job(key).await?;
        if let Some(args) = &request.args {
            JobSpec::validate_args(&job.spec.component.entry, args)?;
            inner.check_call(&key.tenant, &job.spec.component, args).await?;
        }
        let now = inner.clock.now();
        if let Some(at) = request.at.filter(|&at| at <= now) {
            return Err(SchedulerError::PastStart { at });
        }
        let start_at = request.at.unwrap_or(now);
        let run = Run { key: request.key, scheduled_at: start_at, start_at, ..on_demand(&job, request.args, now) };
        let since = request.key_window.map(|window| now.saturating_sub(window).unwrap_or(Timestamp::MIN));
        let AddedRun { run, new } = inner.store.add_run_once(run, since).await?;
        inner.wake.notify_one();
        Ok(Triggered { run, new })
    }

    pub async fn run(&self, tenant: &TenantId, id: RunId) -> Result<RunDetail, SchedulerError> {
        let store = &self.inner.store;
        let run = store.run(tenant, id).await?;
        let attempts = store.attempts(tenant, id).await?;
        let job = match store.job(&run.job).await {
            Ok(job) => Some(job),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let now = self.inner.clock.now();
        let waiting_for = match run.state {
            RunState::Ended | RunState::Running => None,
            RunState::WaitingRetry if run.start_at > now => Some("the time of its next attempt".to_owned()),
            RunState::Queued if run.start_at > now => Some("its start time".to_owned()),
            RunState::WaitingRetry | RunState::Queued => Some(match job.as_ref().and_then(|job| job.spec.running_max()) {
                Some(most) if self.running(&run.job).await? >= u64::from(most) => format!("a running run of the same job to end (at most {most} at once)"),
                _ => self.rate_wait(&run, job.as_ref(), now).await?.unwrap_or_else(|| self.slot_wait(job.as_ref())),
            }),
        };
        let progress = if run.state == RunState::Running { self.inner.executor.progress(id) } else { None };
        let enough = self.enough(&run).await?;
        Ok(RunDetail { run, attempts, job, waiting_for, progress, enough })
    }

    /// Of a run that a limit ended: what its job's last runs that succeeded needed of it.
    async fn enough(&self, run: &Run) -> Result<Option<Enough>, SchedulerError> {
        if !Enough::is_asked(run) {
            return Ok(None);
        }
        let JobKey { tenant, id } = run.job.clone();
        let filter = RunFilter { tenant, job: Some(id), outcome: Some(Outcome::Succeeded), ..RunFilter::default() };
        let succeeded = self.inner.store.runs(&filter, PageRequest { after: None, limit: Enough::RUNS }).await?;
        Ok(Enough::of(run, &succeeded.items))
    }

    /// Of a run whose time has come: the rate limit, where that is what keeps it.
    async fn rate_wait(&self, run: &Run, job: Option<&Job>, now: Timestamp) -> Result<Option<String>, SchedulerError> {
        let Some(limit) = job.and_then(|job| job.spec.rate_limit).filter(|_| run.attempt == 0) else { return Ok(None) };
        let opens_at = self.inner.store.rate_opens_at(&run.job).await?.filter(|&opens_at| opens_at > now);
        Ok(opens_at.map(|opens_at| format!("its job's rate limit ({limit}), until {opens_at} at least")))
    }

    fn slot_wait(&self, job: Option<&Job>) -> String {
        match job {
            Some(job) if job.spec.is_alone() => format!("a process of its own (executor.processes: at most {} at once)", self.inner.executor.processes()),
            _ => "a free slot".to_owned(),
        }
    }

    async fn running(&self, key: &JobKey) -> Result<u64, SchedulerError> {
        let filter = RunFilter { tenant: key.tenant.clone(), job: Some(key.id.clone()), state: Some(RunState::Running), ..RunFilter::default() };
        Ok(self.inner.store.runs(&filter, PageRequest { after: None, limit: 1_000 }).await?.items.len() as u64)
    }

    pub async fn runs(&self, filter: &RunFilter, page: PageRequest) -> Result<Page<Run>, SchedulerError> {
        Ok(self.inner.store.runs(filter, page).await?)
    }

    pub async fn skipped(&self, tenant: &TenantId, job: Option<&JobKey>, page: PageRequest) -> Result<Page<(JobKey, Skipped)>, SchedulerError> {
        Ok(self.inner.store.skipped(tenant, job, page).await?)
    }

    /// Ends a run that has not started, asks one that runs to stop; one that has ended stays as it is.
    pub async fn cancel_run(&self, tenant: &TenantId, id: RunId, reason: &str) -> Result<CancelFound, SchedulerError> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let found = inner.store.cancel_run(tenant, id, reason, now).await?;
        match found {
            CancelFound::Requested => inner.executor.cancel(id, reason),
            CancelFound::Ended => {
                let run = inner.store.run(tenant, id).await?;
                inner.events.emit(now, tenant, EventKind::run_ended(&run, crate::job::Outcome::Cancelled, run.error.as_ref(), run.receipt.clone()));
                inner.wake.notify_one();
            }
            CancelFound::AlreadyEnded => {}
        }
        Ok(found)
    }

    /// Returns once the run has ended. Dropping the future just stops waiting.
    pub async fn wait_run(&self, tenant: &TenantId, id: RunId) -> Result<RunDetail, SchedulerError> {
        let (_, mut events) = self.inner.events.subscribe(None);
        loop {
            if self.inner.store.run(tenant, id).await?.state == RunState::Ended {
                return self.run(tenant, id).await;
            }
            let ended = |event: &Event| matches!(&event.kind, EventKind::RunEnded { run, .. } if *run == id);
            let follow = async {
                // An error is a lag or the hub's end: then the store is asked.
                while let Ok(event) = events.recv().await {
                    if ended(&event) {
                        break;
                    }
                }
            };
            let _ = tokio::time::timeout(WAIT_LOOK, follow).await;
        }
    }
}

/// A run of `job` that is to start at once.
pub(super) fn on_demand(job: &Job, args: Option<serde_json::Value>, now: Timestamp) -> Run {
    let unix = uuid::Timestamp::from_unix(uuid::NoContext, u64::try_from(now.as_second()).unwrap_or(0), now.subsec_nanosecond().unsigned_abs());
    Run { args, ..Run::new(RunId(uuid::Uuid::new_v7(unix)), job, Cause::OnDemand, now) }
}
