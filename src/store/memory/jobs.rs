//! Jobs: added, read, changed, removed.

use jiff::Timestamp;

use super::{State, StoredJob};
use crate::job::{Job, JobId, JobKey, RunId, RunState, Skipped};
use crate::store::{JobFilter, OnConflict, Page, PageRequest, StoreError, apply};

impl State {
    pub(super) fn add_job(&mut self, job: Job, on_conflict: OnConflict) -> Result<Job, StoreError> {
        let key = job.key.clone();
        match (self.jobs.get(&key), on_conflict) {
            (None, _) => {
                if let Some(at) = job.wake_at {
                    self.due.insert((at, key.clone()));
                }
                self.follow(&key, None, Some(&job.spec.trigger));
                self.jobs.insert(key, StoredJob { job: job.clone(), held: None, last_skip: None });
                Ok(job)
            }
            (Some(_), OnConflict::Error) => Err(StoreError::JobExists(key)),
            (Some(stored), OnConflict::Keep) => Ok(stored.job.clone()),
            (Some(stored), OnConflict::Replace) => {
                let job = apply::replace(&stored.job, job);
                Ok(self.put_job(job))
            }
        }
    }

    pub(super) fn jobs(&self, filter: &JobFilter, page: PageRequest) -> Result<Page<Job>, StoreError> {
        let after = page.after::<JobId>()?;
        let in_filter = |job: &&Job| {
            job.key.tenant == filter.tenant
                && after.as_ref().is_none_or(|after| job.key.id > *after)
                && filter.labels.iter().all(|(label, value)| job.spec.labels.get(label) == Some(value))
        };
        let items = self.jobs.values().map(|stored| &stored.job).filter(in_filter).take(page.limit() + 1).cloned().collect();
        Ok(Page::cut(items, page.limit(), |job| job.key.id.to_string()))
    }

    pub(super) fn update_job(&mut self, job: Job, seen: &Job, skipped: Option<Skipped>) -> Result<Job, StoreError> {
        let key = job.key.clone();
        let job = apply::update(&self.stored_job(&key)?.job, seen, job).ok_or_else(|| StoreError::Conflict(key.clone()))?;
        if let Some(skip) = skipped {
            self.record_skip(&key, skip);
        }
        Ok(self.put_job(job))
    }

    /// Sets a job that exists; whoever had leased it will find that out. Returns what is now stored.
    fn put_job(&mut self, job: Job) -> Job {
        let key = job.key.clone();
        if let Some(former) = self.jobs.get(&key).map(|stored| stored.job.spec.trigger.clone()).filter(|former| *former != job.spec.trigger) {
            self.drop_ends(&key, apply::TRIGGER_CHANGED, job.updated_at);
            self.follow(&key, Some(&former), Some(&job.spec.trigger));
        }
        if job.spec.rate_limit.is_none() {
            self.starts.remove(&key);
        }
        self.change_job(&key, |stored| {
            stored.job = job.clone();
            stored.held = None;
        });
        self.wake_for_ends(&key);
        self.jobs.get(&key).map_or(job, |stored| stored.job.clone())
    }

    pub(super) fn remove_job(&mut self, key: &JobKey, now: Timestamp) -> Result<Vec<RunId>, StoreError> {
        if let Some(at) = self.stored_job(key)?.job.wake_at {
            self.due.remove(&(at, key.clone()));
        }
        self.starts.remove(key);
        self.namespaces.remove(key);
        self.drop_ends(key, apply::JOB_GONE, now);
        if let Some(stored) = self.jobs.remove(key) {
            self.follow(key, Some(&stored.job.spec.trigger), None);
        }
        let unfinished = self.unfinished.get(key).into_iter().flatten().copied();
        let waiting: Vec<RunId> = unfinished.filter(|id| self.runs.get(id).is_some_and(|stored| stored.run.state != RunState::Running)).collect();
        for &id in &waiting {
            self.change_run(id, |stored| apply::cancel(&mut stored.run, apply::JOB_REMOVED, now));
        }
        Ok(waiting)
    }
}
