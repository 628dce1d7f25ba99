//! Jobs that follow jobs: what they may follow, and what they wait for.

use std::collections::HashSet;

use tokio::sync::MutexGuard;

use crate::job::{After, Job, JobId, JobKey, JobSpec};
use crate::store::StoreError;

use super::{Inner, Scheduler, SchedulerError, WaitsFor};

/// Jobs upstream of one that are looked at for a cycle.
const UPSTREAM_MAX: usize = 10_000;

impl Scheduler {
    /// The jobs that `job` follows, in the order of its trigger; empty where it follows none.
    pub async fn waits_for(&self, job: &Job) -> Result<Vec<WaitsFor>, SchedulerError> {
        let Some(after) = After::read(&job.spec.trigger)? else { return Ok(Vec::new()) };
        let ends = self.inner.store.arrived_ends(&job.key).await?;
        let mut waits_for = Vec::with_capacity(after.upstream.len());
        for upstream in &after.upstream {
            let exists = self.inner.upstream_of(&job.key, upstream).await?.is_some();
            let ended = ends.iter().rev().find(|end| end.job == *upstream && after.counts(end)).cloned();
            waits_for.push(WaitsFor { job: upstream.clone(), exists, ended });
        }
        Ok(waits_for)
    }
}

impl Inner {
    /// Checks that the jobs that `spec` follows exist and do not, by whatever way, follow `key`. What is returned is to be
    /// kept until the job is stored.
    pub(super) async fn check_follows(&self, key: &JobKey, spec: &JobSpec) -> Result<Option<MutexGuard<'_, ()>>, SchedulerError> {
        let Some(after) = After::read(&spec.trigger)? else { return Ok(None) };
        let guard = self.following.lock().await;
        // Each path begins with the job itself; the last one is looked at next.
        let mut paths: Vec<Vec<JobId>> = after.upstream.iter().rev().map(|upstream| vec![key.id.clone(), upstream.clone()]).collect();
        let mut seen = HashSet::new();
        while let Some(path) = paths.pop() {
            let Some(last) = path.last() else { continue };
            if *last == key.id {
                // Told in the direction of time: what ends first stands first.
                return Err(SchedulerError::Cycle { path: path.into_iter().rev().collect() });
            }
            if !seen.insert(last.clone()) {
                continue;
            }
            if seen.len() > UPSTREAM_MAX {
                return Err(SchedulerError::TooManyUpstream { job: key.id.clone(), cap: UPSTREAM_MAX });
            }
            let upstream = match self.upstream_of(key, last).await? {
                Some(ids) => ids,
                None if path.len() == 2 => return Err(SchedulerError::NoUpstream { job: key.id.clone(), upstream: last.clone() }),
                None => Vec::new(),
            };
            paths.extend(upstream.into_iter().rev().map(|id| path.iter().cloned().chain([id]).collect()));
        }
        Ok(Some(guard))
    }

    /// What the job `id` of `key`'s tenant follows; `None` where there is no such job.
    async fn upstream_of(&self, key: &JobKey, id: &JobId) -> Result<Option<Vec<JobId>>, SchedulerError> {
        match self.store.job(&JobKey { tenant: key.tenant.clone(), id: id.clone() }).await {
            Ok(job) => Ok(Some(job.spec.trigger.upstream().iter().filter_map(|id| id.parse().ok()).collect())),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
