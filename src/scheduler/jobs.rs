//! Verbs on jobs: each checks what a user gave, lets `plan` decide, and stores the answer.

use jiff::Timestamp;

use crate::job::{Job, JobKey, JobSpec, Pause, RunId, RunState};
use crate::plan;
use crate::store::StoreError;
use crate::trigger::{Salt, Trigger, TriggerSpec};

use super::{AddedJob, EventKind, Inner, JobFilter, OnConflict, Page, PageRequest, PauseRequest, ResumeFrom, RunFilter, Scheduler, SchedulerError};

/// Changes of one job by others that a verb puts up with before it says so.
const CONFLICT_TRIES: usize = 5;

impl Scheduler {
    /// Adds a job, or by `on_conflict` replaces or keeps the one with this id. Everything is checked now, never first when
    /// it fires: the component and its entry exist, the limits are within the caps, the trigger fires some day.
    pub async fn add_job(&self, key: JobKey, spec: JobSpec, on_conflict: OnConflict) -> Result<AddedJob, SchedulerError> {
        let inner = &self.inner;
        let now = inner.clock.now();
        spec.validate()?;
        let trigger = inner.check_trigger(&key, &spec.trigger, now)?;
        spec.limits.resolve(&inner.options.limits, &inner.options.limit_caps)?;
        inner.check_reference(&key.tenant, &spec.component).await?;

        let notes = trigger.notes(now);
        let wanted = plan::create(key.clone(), spec.clone(), &trigger, now);
        for _ in 0..CONFLICT_TRIES {
            let first = if on_conflict == OnConflict::Keep { OnConflict::Keep } else { OnConflict::Error };
            let added = match inner.store.add_job(wanted.clone(), first).await {
                Err(StoreError::JobExists(_)) if on_conflict == OnConflict::Replace => {
                    let existing = match inner.store.job(&key).await {
                        Err(StoreError::NotFound { .. }) => continue,
                        other => other?,
                    };
                    let (job, owed) = plan::replace(&existing, spec.clone(), now, |anchor| compile(&key, &spec.trigger, anchor))?;
                    match inner.store.update_job(job, existing.revision, owed).await {
                        Err(StoreError::Conflict(_) | StoreError::NotFound { .. }) => continue,
                        other => other?,
                    }
                }
                other => other?,
            };
            inner.wake.notify_one();
            inner.events.emit(now, &key.tenant, EventKind::JobAdded { job: key.clone() });
            return Ok(AddedJob { job: added, notes });
        }
        Err(StoreError::Conflict(key).into())
    }

    pub async fn job(&self, key: &JobKey) -> Result<Job, SchedulerError> {
        Ok(self.inner.store.job(key).await?)
    }

    pub async fn jobs(&self, filter: &JobFilter, page: PageRequest) -> Result<Page<Job>, SchedulerError> {
        Ok(self.inner.store.jobs(filter, page).await?)
    }

    pub async fn pause_job(&self, key: &JobKey, request: PauseRequest) -> Result<Job, SchedulerError> {
        let PauseRequest { reason, by, until } = request;
        let job = self
            .change(key, |job, now| {
                let pause = Pause { since: now, reason: reason.clone(), by: by.clone(), until };
                Ok((plan::pause(job, pause, now), None))
            })
            .await?;
        self.inner.events.emit(job.updated_at, &key.tenant, EventKind::JobPaused { job: key.clone(), reason });
        Ok(job)
    }

    pub async fn resume_job(&self, key: &JobKey, from: ResumeFrom) -> Result<Job, SchedulerError> {
        let job = self
            .change(key, |job, now| {
                let trigger = compile(key, &job.spec.trigger, job.anchor)?;
                Ok(plan::resume(job, &trigger, from == ResumeFrom::Missed, now))
            })
            .await?;
        self.inner.events.emit(job.updated_at, &key.tenant, EventKind::JobResumed { job: key.clone() });
        Ok(job)
    }

    /// Removes a job: its waiting runs end as cancelled, running ones finish, or with `cancel_running` are cancelled too.
    /// Returns the runs that were cancelled.
    pub async fn remove_job(&self, key: &JobKey, cancel_running: bool) -> Result<Vec<RunId>, SchedulerError> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let mut cancelled = inner.store.remove_job(key, now).await?;
        if cancel_running {
            let filter = RunFilter { tenant: key.tenant.clone(), job: Some(key.id.clone()), state: Some(RunState::Running), ..RunFilter::default() };
            for run in inner.store.runs(&filter, PageRequest { after: None, limit: 1_000 }).await?.items {
                self.cancel_run(&key.tenant, run.id, "its job was removed").await?;
                cancelled.push(run.id);
            }
        }
        inner.events.emit(now, &key.tenant, EventKind::JobRemoved { job: key.clone() });
        Ok(cancelled)
    }

    /// Reads, decides, and stores if nobody else changed the job meanwhile; else decides anew.
    async fn change(
        &self,
        key: &JobKey,
        decide: impl Fn(&Job, Timestamp) -> Result<(Job, Option<crate::job::Skipped>), SchedulerError>,
    ) -> Result<Job, SchedulerError> {
        let inner = &self.inner;
        for _ in 0..CONFLICT_TRIES {
            let job = inner.store.job(key).await?;
            let (changed, skipped) = decide(&job, inner.clock.now())?;
            match inner.store.update_job(changed, job.revision, skipped).await {
                Err(StoreError::Conflict(_)) => {}
                other => {
                    let job = other?;
                    inner.wake.notify_one();
                    return Ok(job);
                }
            }
        }
        Err(StoreError::Conflict(key.clone()).into())
    }
}

/// `key`'s trigger, with an interval that has no start anchored at `anchor`.
pub(super) fn compile(key: &JobKey, trigger: &TriggerSpec, anchor: Timestamp) -> Result<Trigger, SchedulerError> {
    let salt = Salt { tenant: key.tenant.as_str(), job: key.id.as_str() };
    Ok(trigger.clone().anchored(anchor).compile(salt)?)
}

impl Inner {
    fn check_trigger(&self, key: &JobKey, spec: &TriggerSpec, now: Timestamp) -> Result<Trigger, SchedulerError> {
        let trigger = compile(key, spec, now)?;
        if let Some(every) = spec.shortest_interval().filter(|&every| every < self.options.every_min) {
            let text = crate::job::duration::format;
            return Err(SchedulerError::TooOften { every: text(every), min: text(self.options.every_min) });
        }
        if trigger.next_after(now).is_none() && trigger.last_at_or_before(now).is_some() {
            return Err(SchedulerError::Ended);
        }
        Ok(trigger)
    }
}
