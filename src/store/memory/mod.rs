//! The memory store: everything in one process, nothing kept beyond it. For tests, simulations and library users who
//! need no memory of the past.
//!
//! It is the plain reading of the trait's rules, and the SQLite store is compared with it: one lock, ordered maps, and
//! no index beyond what keeps a verb from looking at every job.

mod calendars;
mod components;
mod ends;
mod firing;
mod history;
mod jobs;
mod key_value;
mod runs;
mod secrets;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::job::{Attempt, CalendarName, Cause, ComponentName, Digest, Job, JobKey, Run, RunId, RunState, SecretName, Skipped, TenantId, UpstreamEnd, Version};

use super::{
    AddedRun, AttemptEnd, Calendar, CancelFound, ClaimedRun, ComponentVersion, Fenced, FiringCommit, JobFilter, KvBounds, KvKeys, KvOwner, KvUsage, Lease,
    LeasedJob, Namespace, OnConflict, Owner, Page, PageRequest, Pushed, Renewed, Retention, RunClaim, RunFilter, Secret, Store, StoreCounts, StoreError, apply,
    starts::Starts,
};

/// A store that forgets everything when it is dropped.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The newest fencing token.
    tokens: u64,
    components: BTreeMap<(TenantId, ComponentName), components::Component>,
    bytes: BTreeMap<Digest, Vec<u8>>,
    calendars: BTreeMap<(TenantId, CalendarName), Calendar>,
    secrets: BTreeMap<(TenantId, SecretName), Secret>,
    jobs: BTreeMap<JobKey, StoredJob>,
    namespaces: BTreeMap<JobKey, Namespace>,
    /// Jobs that have a `wake_at`, soonest first.
    due: BTreeSet<(Timestamp, JobKey)>,
    runs: BTreeMap<RunId, StoredRun>,
    /// The runs of firings.
    scheduled: BTreeMap<(JobKey, Timestamp), RunId>,
    unfinished: BTreeMap<JobKey, BTreeSet<RunId>>,
    /// How many runs of a job are running; no entry for none. Outlives the job.
    running: BTreeMap<JobKey, u32>,
    /// The same of its backfills, which are not counted there.
    backfilling: BTreeMap<JobKey, u32>,
    /// Runs that a claim passed over for want of a process of their own.
    alone_held: BTreeSet<RunId>,
    /// Runs that wait, in the order in which they are claimed.
    waiting: BTreeSet<(Reverse<i32>, Timestamp, RunId)>,
    /// The latest starts of jobs with a rate limit.
    starts: BTreeMap<JobKey, Starts>,
    /// The jobs that follow a job, also one that is gone or was never there.
    downstream: BTreeMap<JobKey, BTreeSet<JobKey>>,
    /// What has come in for jobs that follow others, by number.
    ends: BTreeMap<JobKey, BTreeMap<u64, ends::Arrived>>,
    /// How many records there have been: a number is not given twice, or a job would take another's record for its own.
    records: u64,
    skipped: BTreeMap<u64, (JobKey, Skipped)>,
}

struct StoredJob {
    job: Job,
    held: Option<Held>,
    /// The newest record of firings without a run, while no run of a firing came after it.
    last_skip: Option<u64>,
}

struct StoredRun {
    run: Run,
    /// Set exactly while the run is running.
    held: Option<Held>,
    attempts: Vec<Attempt>,
    /// What attempts saved for later ones, until the run ends.
    checkpoint: Option<Vec<u8>>,
}

#[derive(Clone)]
struct Held {
    owner: Owner,
    lease: Lease,
}

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hold(&mut self, owner: &Owner, until: Timestamp) -> Held {
        self.tokens += 1;
        Held { owner: owner.clone(), lease: Lease { token: self.tokens, until } }
    }

    fn stored_job(&self, key: &JobKey) -> Result<&StoredJob, StoreError> {
        self.jobs.get(key).ok_or_else(|| StoreError::NotFound { what: format!("job {:?}", key.id) })
    }

    /// Changes a job and what is indexed of it.
    fn change_job<T>(&mut self, key: &JobKey, change: impl FnOnce(&mut StoredJob) -> T) -> Option<T> {
        let stored = self.jobs.get_mut(key)?;
        let before = stored.job.wake_at;
        let changed = change(stored);
        let after = stored.job.wake_at;
        if before != after {
            if let Some(at) = before {
                self.due.remove(&(at, key.clone()));
            }
            if let Some(at) = after {
                self.due.insert((at, key.clone()));
            }
        }
        Some(changed)
    }

    fn stored_run(&self, tenant: &TenantId, id: RunId) -> Result<&StoredRun, StoreError> {
        self.runs.get(&id).filter(|stored| stored.run.job.tenant == *tenant).ok_or_else(|| StoreError::NotFound { what: format!("run {id}") })
    }

    /// Adds a run. False where the firing has one already, or the id is taken.
    fn insert_run(&mut self, run: Run) -> bool {
        let firing = (run.job.clone(), run.scheduled_at);
        let scheduled = run.cause.is_of_instant();
        if self.runs.contains_key(&run.id) || scheduled && self.scheduled.contains_key(&firing) {
            return false;
        }
        if scheduled {
            self.scheduled.insert(firing, run.id);
        }
        self.index(&run);
        self.runs.insert(run.id, StoredRun { run, held: None, attempts: Vec::new(), checkpoint: None });
        true
    }

    /// Changes a run and what is indexed of it.
    fn change_run(&mut self, id: RunId, change: impl FnOnce(&mut StoredRun)) {
        let Some(mut stored) = self.runs.remove(&id) else { return };
        self.unindex(&stored.run);
        let before = stored.run.state;
        change(&mut stored);
        if stored.run.state == RunState::Ended {
            stored.checkpoint = None;
        }
        self.index(&stored.run);
        if before != RunState::Ended {
            self.tell_downstream(&stored.run);
        }
        self.runs.insert(id, stored);
    }

    fn delete_run(&mut self, id: RunId) {
        let Some(StoredRun { run, .. }) = self.runs.remove(&id) else { return };
        self.unindex(&run);
        let firing = (run.job, run.scheduled_at);
        if self.scheduled.get(&firing) == Some(&id) {
            self.scheduled.remove(&firing);
        }
    }

    fn index(&mut self, run: &Run) {
        match run.state {
            RunState::Ended => return,
            RunState::Running => *self.lane(run).entry(run.job.clone()).or_default() += 1,
            RunState::Queued | RunState::WaitingRetry => {
                self.waiting.insert((Reverse(run.priority), run.start_at, run.id));
            }
        }
        self.unfinished.entry(run.job.clone()).or_default().insert(run.id);
    }

    fn unindex(&mut self, run: &Run) {
        self.waiting.remove(&(Reverse(run.priority), run.start_at, run.id));
        if let Some(runs) = self.unfinished.get_mut(&run.job) {
            runs.remove(&run.id);
            if runs.is_empty() {
                self.unfinished.remove(&run.job);
            }
        }
        if run.state == RunState::Running
            && let Some(running) = self.lane(run).get_mut(&run.job)
        {
            *running -= 1;
            if *running == 0 {
                self.lane(run).remove(&run.job);
            }
        }
    }

    /// How many runs of each job are running, of those that are counted with this one.
    fn lane(&mut self, run: &Run) -> &mut BTreeMap<JobKey, u32> {
        if run.cause == Cause::Backfill { &mut self.backfilling } else { &mut self.running }
    }

    /// Records firings that made no run, in the job's newest record where they fold into it.
    fn record_skip(&mut self, key: &JobKey, skip: Skipped) {
        let job = self.jobs.get_mut(key);
        let last = job.as_ref().and_then(|stored| stored.last_skip).and_then(|id| self.skipped.get_mut(&id));
        if last.is_some_and(|(_, last)| apply::fold(last, &skip)) {
            return;
        }
        self.records += 1;
        let id = self.records;
        self.skipped.insert(id, (key.clone(), skip));
        if let Some(stored) = job {
            stored.last_skip = Some(id);
        }
    }
}

#[async_trait]
impl Store for Memory {
    async fn push_component(
        &self,
        tenant: &TenantId,
        name: &ComponentName,
        bytes: Vec<u8>,
        inspection: serde_json::Value,
        now: Timestamp,
    ) -> Result<Pushed, StoreError> {
        Ok(self.state().push_component(tenant, name, bytes, inspection, now))
    }

    async fn component(&self, tenant: &TenantId, name: &ComponentName, version: Version) -> Result<ComponentVersion, StoreError> {
        self.state().component(tenant, name, version)
    }

    async fn components(&self, tenant: &TenantId, page: PageRequest) -> Result<Page<ComponentVersion>, StoreError> {
        self.state().components(tenant, page)
    }

    async fn component_versions(&self, tenant: &TenantId, name: &ComponentName) -> Result<Vec<ComponentVersion>, StoreError> {
        Ok(self.state().component_versions(tenant, name))
    }

    async fn component_bytes(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        self.state().component_bytes(digest)
    }

    async fn jobs_using(&self, tenant: &TenantId, name: &ComponentName) -> Result<Vec<JobKey>, StoreError> {
        Ok(self.state().jobs_using(tenant, name, |_| true))
    }

    async fn remove_component(&self, tenant: &TenantId, name: &ComponentName, version: Option<u32>) -> Result<u32, StoreError> {
        self.state().remove_component(tenant, name, version)
    }

    async fn put_calendar(&self, calendar: Calendar) -> Result<(), StoreError> {
        self.state().calendars.insert((calendar.tenant.clone(), calendar.name.clone()), calendar);
        Ok(())
    }

    async fn calendar(&self, tenant: &TenantId, name: &CalendarName) -> Result<Calendar, StoreError> {
        self.state().calendar(tenant, name)
    }

    async fn calendars(&self, tenant: &TenantId, page: PageRequest) -> Result<Page<Calendar>, StoreError> {
        self.state().calendars(tenant, &page)
    }

    async fn remove_calendar(&self, tenant: &TenantId, name: &CalendarName) -> Result<(), StoreError> {
        self.state().remove_calendar(tenant, name)
    }

    async fn tenants(&self, page: PageRequest) -> Result<Page<TenantId>, StoreError> {
        let (state, after, limit) = (self.state(), page.after::<TenantId>()?, page.limit());
        let jobs = state.jobs.keys().map(|key| &key.tenant);
        let all: BTreeSet<_> = jobs.chain(state.secrets.keys().map(|(tenant, _)| tenant)).collect();
        let found = all.into_iter().filter(|tenant| after.as_ref().is_none_or(|after| *tenant > after));
        Ok(Page::cut(found.take(limit + 1).cloned().collect(), limit, ToString::to_string))
    }

    async fn put_secret(&self, secret: Secret, max: u64) -> Result<bool, StoreError> {
        Ok(self.state().put_secret(secret, max))
    }

    async fn secret(&self, tenant: &TenantId, name: &SecretName) -> Result<Secret, StoreError> {
        self.state().secret(tenant, name)
    }

    async fn secrets(&self, tenant: &TenantId, page: PageRequest) -> Result<Page<Secret>, StoreError> {
        self.state().secrets(tenant, &page)
    }

    async fn remove_secret(&self, tenant: &TenantId, name: &SecretName) -> Result<(), StoreError> {
        self.state().remove_secret(tenant, name)
    }

    async fn add_job(&self, job: Job, on_conflict: OnConflict) -> Result<Job, StoreError> {
        self.state().add_job(job, on_conflict)
    }

    async fn add_jobs(&self, jobs: Arc<[Job]>, on_conflict: OnConflict) -> Result<Vec<Result<Job, StoreError>>, StoreError> {
        let mut state = self.state();
        Ok(jobs.iter().map(|job| state.add_job(job.clone(), on_conflict)).collect())
    }

    async fn job(&self, key: &JobKey) -> Result<Job, StoreError> {
        self.state().stored_job(key).map(|stored| stored.job.clone())
    }

    async fn jobs(&self, filter: &JobFilter, page: PageRequest) -> Result<Page<Job>, StoreError> {
        self.state().jobs(filter, page)
    }

    async fn update_job(&self, job: Job, seen: &Job, skipped: Option<Skipped>) -> Result<Job, StoreError> {
        self.state().update_job(job, seen, skipped)
    }

    async fn remove_job(&self, key: &JobKey, now: Timestamp) -> Result<Vec<RunId>, StoreError> {
        self.state().remove_job(key, now)
    }

    async fn arrived_ends(&self, key: &JobKey) -> Result<Vec<UpstreamEnd>, StoreError> {
        Ok(self.state().arrived(key).map(|arrived| arrived.end).collect())
    }

    async fn kv_get(&self, of: &KvOwner, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.state().kv_get(of, key))
    }

    async fn kv_set(&self, of: &KvOwner, key: &str, value: Vec<u8>, bounds: KvBounds) -> Result<(), StoreError> {
        self.state().kv_set(of, key, value, bounds)
    }

    async fn kv_add(&self, of: &KvOwner, key: &str, delta: u64, bounds: KvBounds) -> Result<u64, StoreError> {
        self.state().kv_add(of, key, delta, bounds)
    }

    async fn kv_delete(&self, of: &KvOwner, key: &str) -> Result<bool, StoreError> {
        Ok(self.state().kv_delete(of, key))
    }

    async fn kv_list(&self, of: &KvOwner, after: Option<u64>) -> Result<KvKeys, StoreError> {
        Ok(self.state().kv_list(of, after))
    }

    async fn kv_usage(&self, of: &KvOwner) -> Result<KvUsage, StoreError> {
        Ok(self.state().kv_usage(of))
    }

    async fn lease_due(&self, owner: &Owner, now: Timestamp, until: Timestamp, max: usize) -> Result<Vec<LeasedJob>, StoreError> {
        Ok(self.state().lease_due(owner, now, until, max))
    }

    async fn commit_firings(&self, firings: Vec<FiringCommit>) -> Result<Vec<Fenced>, StoreError> {
        let mut state = self.state();
        Ok(firings.into_iter().map(|firing| state.commit_firing(firing)).collect())
    }

    async fn commit_and_claim(&self, firings: Vec<FiringCommit>, claim: RunClaim) -> Result<(Vec<Fenced>, Vec<ClaimedRun>), StoreError> {
        let mut state = self.state();
        let answers = firings.into_iter().map(|firing| state.commit_firing(firing)).collect();
        Ok((answers, state.claim_runs(&claim)))
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.state().next_due())
    }

    async fn add_run(&self, run: Run) -> Result<Run, StoreError> {
        self.state().add_run(run)
    }

    async fn add_run_once(&self, run: Run, since: Option<Timestamp>) -> Result<AddedRun, StoreError> {
        self.state().add_run_once(run, since)
    }

    async fn add_backfill(&self, job: &JobKey, runs: Vec<Run>) -> Result<u64, StoreError> {
        let mut state = self.state();
        state.stored_job(job)?;
        Ok(runs.into_iter().map(|run| u64::from(state.insert_run(run))).sum())
    }

    async fn claim_runs(&self, claim: RunClaim) -> Result<Vec<ClaimedRun>, StoreError> {
        Ok(self.state().claim_runs(&claim))
    }

    async fn rate_opens_at(&self, key: &JobKey) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.state().rate_opens_at(key))
    }

    async fn renew_runs(&self, owner: &Owner, runs: &[(RunId, u64)], until: Timestamp) -> Result<Renewed, StoreError> {
        Ok(self.state().renew_runs(owner, runs, until))
    }

    async fn finish_attempts(&self, ends: Arc<[AttemptEnd]>) -> Result<Vec<Fenced>, StoreError> {
        let mut state = self.state();
        Ok(ends.iter().map(|end| state.finish_attempt(end.clone())).collect())
    }

    async fn claim_lost(&self, owner: &Owner, now: Timestamp, until: Timestamp, max: usize) -> Result<Vec<ClaimedRun>, StoreError> {
        Ok(self.state().claim_lost(owner, now, until, max))
    }

    async fn end_other_leases(&self, owner: &Owner, now: Timestamp) -> Result<u64, StoreError> {
        Ok(self.state().end_other_leases(owner, now))
    }

    async fn cancel_run(&self, tenant: &TenantId, run: RunId, reason: &str, now: Timestamp) -> Result<CancelFound, StoreError> {
        let mut state = self.state();
        state.stored_run(tenant, run)?;
        Ok(state.cancel_run(run, reason, now))
    }

    async fn run(&self, tenant: &TenantId, run: RunId) -> Result<Run, StoreError> {
        self.state().stored_run(tenant, run).map(|stored| stored.run.clone())
    }

    async fn runs(&self, filter: &RunFilter, page: PageRequest) -> Result<Page<Run>, StoreError> {
        self.state().runs(filter, page)
    }

    async fn attempts(&self, tenant: &TenantId, run: RunId) -> Result<Vec<Attempt>, StoreError> {
        self.state().stored_run(tenant, run).map(|stored| stored.attempts.clone())
    }

    async fn skipped(&self, tenant: &TenantId, job: Option<&JobKey>, page: PageRequest) -> Result<Page<(JobKey, Skipped)>, StoreError> {
        self.state().skipped(tenant, job, page)
    }

    async fn prune(&self, retention: Retention) -> Result<u64, StoreError> {
        Ok(self.state().prune(retention))
    }

    async fn counts(&self) -> Result<StoreCounts, StoreError> {
        let state = self.state();
        let runs_unfinished = state.unfinished.values().map(|runs| runs.len() as u64).sum();
        Ok(StoreCounts { jobs: state.jobs.len() as u64, runs_unfinished })
    }
}
