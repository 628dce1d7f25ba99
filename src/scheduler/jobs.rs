//! Verbs on jobs: each checks what a user gave, lets `plan` decide, and stores the answer.

use std::pin::pin;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use jiff::Timestamp;

use crate::job::{Coalesce, Job, JobKey, JobSpec, Limits, LimitsSpec, Pause, RunId, RunState, TenantId};
use crate::plan;
use crate::store::StoreError;
use crate::trigger::{Salt, Trigger, TriggerSpec};

use super::steps::Steps;
use super::{AddedJob, EventKind, Inner, JobFilter, OnConflict, Options, Page, PageRequest, PauseRequest, ResumeFrom, RunFilter, Scheduler, SchedulerError};

/// Changes of one job by others that a verb puts up with before it says so.
const CONFLICT_TRIES: usize = 5;
/// Jobs added in one transaction, which holds up other writes for some milliseconds.
const STORED_AT_ONCE: usize = 500;
/// Jobs that are replaced at the same time, so that the store can commit many at once.
const REPLACED_AT_ONCE: usize = 256;

impl Scheduler {
    /// Adds a job, or by `on_conflict` replaces or keeps the one with this id. Everything is checked now, never first when
    /// it fires: the component and its entry exist, the arguments fit it, the limits are within the caps, the trigger fires some day.
    pub async fn add_job(&self, key: JobKey, spec: JobSpec, on_conflict: OnConflict) -> Result<AddedJob, SchedulerError> {
        self.add_shared(key, Arc::new(spec), on_conflict).await
    }

    async fn add_shared(&self, key: JobKey, spec: Arc<JobSpec>, on_conflict: OnConflict) -> Result<AddedJob, SchedulerError> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let (trigger, notes) = inner.check_job(&key, &spec, now).await?;
        let _following = inner.check_follows(&key, &spec).await?;
        let job = inner.steps.add_job(&key, &spec, &trigger, on_conflict, now).await?;
        inner.wake.notify_one();
        Ok(AddedJob::new(job, &spec, (trigger, now), notes))
    }

    /// Adds many jobs, each for itself and checked as `add_job` does, those that follow others after the rest. One answer for each, in
    /// order. They are stored some hundreds in a transaction, so that nothing else waits for long.
    pub async fn add_jobs(&self, jobs: Vec<(JobKey, Arc<JobSpec>)>, on_conflict: OnConflict) -> Vec<Result<AddedJob, SchedulerError>> {
        let mut answers: Vec<_> = jobs.iter().map(|_| None).collect();
        let places = jobs.into_iter().enumerate().map(|(place, (key, spec))| (place, key, spec));
        let (following, mut others): (Vec<_>, Vec<_>) = places.partition(|(_, _, spec)| spec.trigger.is_after());
        while !others.is_empty() {
            let rest = others.split_off(others.len().min(STORED_AT_ONCE));
            for (place, added) in self.add_at_once(std::mem::replace(&mut others, rest), on_conflict).await {
                answers[place] = Some(added);
            }
        }
        for (place, key, spec) in following {
            answers[place] = Some(self.add_shared(key, spec, on_conflict).await);
        }
        answers.into_iter().flatten().collect()
    }

    /// Jobs that follow no others, in one transaction, with their answers.
    async fn add_at_once(&self, jobs: Vec<(usize, JobKey, Arc<JobSpec>)>, on_conflict: OnConflict) -> Vec<(usize, Result<AddedJob, SchedulerError>)> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let mut answers = Vec::with_capacity(jobs.len());
        let (mut wanted, mut checked) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
        for (place, key, spec) in jobs {
            match inner.check_job(&key, &spec, now).await {
                Ok((trigger, notes)) => {
                    let job = plan::create(key, spec, &trigger, now);
                    checked.push((place, job.spec.clone(), trigger, notes));
                    wanted.push(job);
                }
                Err(error) => answers.push((place, Err(error))),
            }
        }
        let stored = inner.steps.add_jobs(wanted, on_conflict, now).await;
        inner.wake.notify_one();
        for ((place, spec, trigger, notes), job) in checked.into_iter().zip(stored) {
            answers.push((place, job.map(|job| AddedJob::new(job, &spec, (trigger, now), notes))));
        }
        answers
    }

    /// Replaces the definition of a job that still has this revision (`Conflict` where it was changed), checked as a new one.
    pub async fn replace_job(&self, key: JobKey, spec: JobSpec, revision: u64) -> Result<AddedJob, SchedulerError> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let spec = Arc::new(spec);
        let (trigger, notes) = inner.check_job(&key, &spec, now).await?;
        let _following = inner.check_follows(&key, &spec).await?;
        let job = inner.steps.replace_job(&key, &spec, revision, now).await?;
        inner.wake.notify_one();
        Ok(AddedJob::new(job, &spec, (trigger, now), notes))
    }

    pub async fn job(&self, key: &JobKey) -> Result<Job, SchedulerError> {
        Ok(self.inner.store.job(key).await?)
    }

    /// The limits of an attempt of a tenant's job that does not say, and the most that one may ask for.
    pub fn limits(&self, tenant: &TenantId) -> (Limits, Limits) {
        let Options { limits, limit_caps, .. } = &self.inner.options;
        let caps = self.inner.caps_of(tenant, None);
        let resolved = |of: &Limits| LimitsSpec::default().resolve(of, caps).unwrap_or_else(|_| of.clone());
        (resolved(limits), resolved(limit_caps))
    }

    /// Bytes of memory that the guests of all attempts may hold together.
    pub fn executor_memory(&self) -> Option<u64> {
        self.inner.executor.memory()
    }

    pub async fn jobs(&self, filter: &JobFilter, page: PageRequest) -> Result<Page<Job>, SchedulerError> {
        Ok(self.inner.store.jobs(filter, page).await?)
    }

    /// Pauses a job; one that is paused gets the new reason and end.
    pub async fn pause_job(&self, key: &JobKey, request: PauseRequest) -> Result<Job, SchedulerError> {
        let job = self.inner.steps.pause_job(key, request, self.inner.clock.now()).await?;
        self.inner.wake.notify_one();
        Ok(job)
    }

    pub async fn resume_job(&self, key: &JobKey, from: ResumeFrom) -> Result<Job, SchedulerError> {
        let job = self.inner.steps.resume_job(key, from, self.inner.clock.now()).await?;
        self.inner.wake.notify_one();
        Ok(job)
    }

    /// Removes a job: its waiting runs end as cancelled, running ones finish, or with `cancel_running` are cancelled too.
    /// Returns the runs that were cancelled.
    pub async fn remove_job(&self, key: &JobKey, cancel_running: bool) -> Result<Vec<RunId>, SchedulerError> {
        let inner = &self.inner;
        let mut cancelled = inner.steps.remove_job(key, inner.clock.now()).await?;
        if cancel_running {
            let filter = RunFilter { tenant: key.tenant.clone(), job: Some(key.id.clone()), state: Some(RunState::Running), ..RunFilter::default() };
            for run in inner.store.runs(&filter, PageRequest { after: None, limit: 1_000 }).await?.items {
                self.cancel_run(&key.tenant, run.id, "its job was removed").await?;
                cancelled.push(run.id);
            }
        }
        Ok(cancelled)
    }
}

/// The same verbs once everything is checked, at a given time.
impl Steps {
    /// `trigger` is `spec`'s, compiled with `now` as its anchor.
    pub async fn add_job(&self, key: &JobKey, spec: &Arc<JobSpec>, trigger: &Trigger, on_conflict: OnConflict, now: Timestamp) -> Result<Job, SchedulerError> {
        let job = plan::create(key.clone(), spec.clone(), trigger, now);
        let job = match self.store.add_job(job.clone(), at_first(on_conflict)).await {
            Err(StoreError::JobExists(_)) if on_conflict == OnConflict::Replace => self.put_in_its_place(&job, now).await?,
            other => other?,
        };
        self.events.emit(now, &key.tenant, EventKind::JobAdded { job: key.clone() });
        Ok(job)
    }

    /// Adds new jobs. One answer for each, in order.
    pub async fn add_jobs(&self, jobs: Vec<Job>, on_conflict: OnConflict, now: Timestamp) -> Vec<Result<Job, SchedulerError>> {
        let wanted: Arc<[Job]> = jobs.into();
        let stored = match self.store.add_jobs(wanted.clone(), at_first(on_conflict)).await {
            Ok(stored) => stored,
            // One of them holds what the database does not take: which one, each for itself finds out.
            Err(StoreError::Refused(_)) => {
                let mut each = Vec::with_capacity(wanted.len());
                for job in wanted.iter() {
                    each.push(self.store.add_job(job.clone(), at_first(on_conflict)).await);
                }
                each
            }
            Err(error) => wanted.iter().map(|_| Err(error.clone())).collect(),
        };
        let is_replaced = |stored: &Result<Job, StoreError>| on_conflict == OnConflict::Replace && matches!(stored, Err(StoreError::JobExists(_)));
        let to_replace: Vec<_> = stored.iter().enumerate().filter(|(_, stored)| is_replaced(stored)).map(|(place, _)| place).collect();
        self.events.emit_all(now, stored.iter().flatten().map(|job| (job.key.tenant.clone(), EventKind::JobAdded { job: job.key.clone() })));
        let mut settled: Vec<Result<_, SchedulerError>> = stored.into_iter().map(|stored| stored.map_err(Into::into)).collect();
        let replaced = stream::iter(to_replace).map(|place| {
            let wanted = &wanted[place];
            async move {
                let job = self.put_in_its_place(wanted, now).await;
                if job.is_ok() {
                    self.events.emit(now, &wanted.key.tenant, EventKind::JobAdded { job: wanted.key.clone() });
                }
                (place, job)
            }
        });
        let mut replaced = pin!(replaced.buffer_unordered(REPLACED_AT_ONCE));
        while let Some((place, job)) = replaced.next().await {
            settled[place] = job;
        }
        settled
    }

    /// Gives the job that has `wanted`'s id the definition of `wanted`; where it is gone meanwhile, `wanted` is added.
    async fn put_in_its_place(&self, wanted: &Job, now: Timestamp) -> Result<Job, SchedulerError> {
        let Job { key, spec, .. } = wanted;
        for _ in 0..CONFLICT_TRIES {
            let stored = match self.store.job(key).await {
                Err(StoreError::NotFound { .. }) => self.store.add_job(wanted.clone(), OnConflict::Error).await,
                existing => {
                    let existing = existing?;
                    let (job, owed) = plan::replace(&existing, spec.clone(), now, |anchor| compile(key, &spec.trigger, anchor))?;
                    self.store.update_job(job, &existing, owed).await
                }
            };
            match stored {
                Err(StoreError::Conflict(_) | StoreError::NotFound { .. } | StoreError::JobExists(_)) => {}
                other => return Ok(other?),
            }
        }
        Err(StoreError::Conflict(key.clone()).into())
    }

    pub async fn replace_job(&self, key: &JobKey, spec: &Arc<JobSpec>, revision: u64, now: Timestamp) -> Result<Job, SchedulerError> {
        let replace = |job: &Job| {
            if job.revision != revision {
                return Err(StoreError::Conflict(key.clone()).into());
            }
            plan::replace(job, spec.clone(), now, |anchor| compile(key, &spec.trigger, anchor))
        };
        let job = self.change(key, replace).await?;
        self.events.emit(now, &key.tenant, EventKind::JobAdded { job: key.clone() });
        Ok(job)
    }

    pub async fn pause_job(&self, key: &JobKey, request: PauseRequest, now: Timestamp) -> Result<Job, SchedulerError> {
        let PauseRequest { reason, by, until } = request;
        let pause = Pause { since: now, reason: reason.clone(), by, until };
        let job = self.change(key, |job| Ok((plan::pause(job, pause.clone(), now), None))).await?;
        self.events.emit(now, &key.tenant, EventKind::JobPaused { job: key.clone(), reason });
        Ok(job)
    }

    pub async fn resume_job(&self, key: &JobKey, from: ResumeFrom, now: Timestamp) -> Result<Job, SchedulerError> {
        let resume = |job: &Job| {
            let trigger = compile(key, &job.spec.trigger, job.anchor)?;
            Ok(plan::resume(job, &trigger, from == ResumeFrom::Missed, now))
        };
        let job = self.change(key, resume).await?;
        self.events.emit(now, &key.tenant, EventKind::JobResumed { job: key.clone() });
        Ok(job)
    }

    /// In two steps: what the job owed is recorded, then it goes. Stopped in between, it is a finished job.
    pub async fn remove_job(&self, key: &JobKey, now: Timestamp) -> Result<Vec<RunId>, SchedulerError> {
        let owes = |job: &Job| {
            // A trigger that does not compile any more owes what cannot be counted, and must not keep its job from going.
            let trigger = compile(key, &job.spec.trigger, job.anchor).ok();
            Ok(trigger.map_or_else(|| (job.clone(), None), |trigger| plan::retire(job, &trigger, now)))
        };
        self.change(key, owes).await?;
        let cancelled = self.store.remove_job(key, now).await?;
        self.events.emit(now, &key.tenant, EventKind::JobRemoved { job: key.clone() });
        Ok(cancelled)
    }

    /// Reads, decides, and stores if nobody else changed the job meanwhile; else decides anew.
    async fn change(&self, key: &JobKey, decide: impl Fn(&Job) -> Result<(Job, Option<crate::job::Skipped>), SchedulerError>) -> Result<Job, SchedulerError> {
        for _ in 0..CONFLICT_TRIES {
            let job = self.store.job(key).await?;
            let (changed, skipped) = decide(&job)?;
            match self.store.update_job(changed, &job, skipped).await {
                Err(StoreError::Conflict(_)) => {}
                other => return Ok(other?),
            }
        }
        Err(StoreError::Conflict(key.clone()).into())
    }
}

/// What the store is asked first: it alone never replaces, since what a change owes is decided here.
fn at_first(on_conflict: OnConflict) -> OnConflict {
    match on_conflict {
        OnConflict::Keep => OnConflict::Keep,
        OnConflict::Error | OnConflict::Replace => OnConflict::Error,
    }
}

impl AddedJob {
    /// `checked` is the trigger of the definition that was `asked` for, and where it is anchored: a job that was there may have another.
    fn new(job: Job, asked: &JobSpec, checked: (Trigger, Timestamp), notes: Vec<String>) -> Self {
        let (trigger, anchor) = checked;
        let is_as_asked = job.anchor == anchor && job.spec.trigger == asked.trigger;
        let trigger = if is_as_asked { Some(trigger) } else { compile(&job.key, &job.spec.trigger, job.anchor).ok() };
        Self { job, trigger, notes }
    }
}

/// `key`'s trigger, with an interval that has no start anchored at `anchor`.
pub(super) fn compile(key: &JobKey, trigger: &TriggerSpec, anchor: Timestamp) -> Result<Trigger, SchedulerError> {
    let salt = Salt { tenant: key.tenant.as_str(), job: key.id.as_str() };
    Ok(trigger.clone().anchored(anchor).compile(salt)?)
}

impl Inner {
    /// The compiled trigger, and what the job's owner should know. An error is a definition that no run could honour.
    async fn check_job(&self, key: &JobKey, spec: &JobSpec, now: Timestamp) -> Result<(Trigger, Vec<String>), SchedulerError> {
        spec.validate()?;
        let trigger = self.check_trigger(key, &spec.trigger, now)?;
        spec.grants.check_private(self.options.http_private)?;
        self.options.directories(&spec.grants.dirs)?;
        spec.limits.resolve(&self.options.limits, self.caps_of(&key.tenant, Some(spec)))?;
        self.check_call(&key.tenant, &spec.component, &spec.args).await?;
        self.open_secrets(&key.tenant, &spec.grants.secrets).await?;
        if spec.is_alone() && self.executor.processes() == 0 {
            return Err(SchedulerError::NoProcesses);
        }
        let mut notes = trigger.notes(now);
        let next = trigger.next_after(now);
        for name in &spec.calendars {
            let calendar = self.store.calendar(&key.tenant, name).await?.exclusions.compile()?;
            if let Some(next) = next.filter(|&next| calendar.covering(next).is_some()) {
                let at = crate::trigger::show(next, trigger.timezone());
                notes.push(format!("the next firing, at {at}, falls into calendar {name}: it makes no run, and is recorded as skipped"));
            }
        }
        if spec.coalesce == Coalesce::Earliest && spec.misfire_grace.is_some() {
            notes
                .push("coalesce = earliest with a misfire_grace: after a downtime longer than the grace, only what came due within it is looked at".to_owned());
        }
        Ok((trigger, notes))
    }

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
