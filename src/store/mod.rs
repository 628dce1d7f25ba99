//! The store: everything bellcage must not forget, behind one trait.
//!
//! A store keeps and finds; it never decides. What becomes of a firing is decided in `plan` and handed in as
//! values; a store carries them out, all or nothing, and answers with what it found. It reads no clock: every
//! verb that needs the time is told it. Two rules bind every implementation, and `tests/it/store` holds each
//! to them:
//!
//! * An acknowledged write survives a crash (the memory store keeps nothing and says so).
//! * Work is claimed under a lease: an owner, an end, and a **fencing token** that grows with each claim. A verb
//!   that finishes leased work carries the token; where it is stale, nothing changes and the answer is `LeaseLost`.
//!   So a node that was taken for dead, and comes back, can never overwrite what its successor did.
//!
//! Deliberately absent: waiting, notification, retries, policies.

mod apply;
mod error;
mod key_value;
mod lease;
mod memory;
mod query;
pub(crate) mod sqlite;
mod starts;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::job::{
    Attempt, CalendarName, ComponentName, Digest, Job, JobKey, JobState, Outcome, Pause, Run, RunError, RunId, SecretName, Skipped, TenantId, UpstreamEnd,
    Version,
};
use crate::trigger::Exclusions;

pub use error::StoreError;
pub use key_value::{KEY_BYTES_MAX, KEYS_LISTED_MAX, KvBounds, KvKeys, KvOwner, KvRefused, KvUsage, Namespace};
pub use lease::{Lease, Owner};
pub use memory::Memory;
pub use query::{JobFilter, Page, PageRequest, RunFilter, StoreCounts};
pub use sqlite::{Sqlite, SqliteOptions};

/// A component version as it is kept, without its bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct ComponentVersion {
    pub tenant: TenantId,
    pub name: ComponentName,
    /// From 1, one more at each push of other bytes.
    pub version: u32,
    /// Of the bytes as uploaded.
    pub digest: Digest,
    pub size: u64,
    pub pushed_at: Timestamp,
    /// What inspection found (entries, imports): opaque to the store.
    pub inspection: serde_json::Value,
}

/// What a push did.
#[derive(Clone, Debug, PartialEq)]
pub struct Pushed {
    pub component: ComponentVersion,
    /// False when the newest version already had these bytes: then nothing was written.
    pub new: bool,
}

/// An exclusion calendar as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Calendar {
    pub tenant: TenantId,
    pub name: CalendarName,
    pub exclusions: Exclusions,
    pub updated_at: Timestamp,
}

/// A secret as it is kept: sealed by who can open it, which the store cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub tenant: TenantId,
    pub name: SecretName,
    pub sealed: Vec<u8>,
    pub updated_at: Timestamp,
}

/// What to do when a job's id exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    Error,
    Replace,
    Keep,
}

/// A job that came due, leased to the caller.
#[derive(Clone, Debug)]
pub struct LeasedJob {
    pub job: Job,
    pub lease: Lease,
    /// Its unfinished runs (queued, running, waiting-retry) that are in the way of firings, oldest first, at most `UNFINISHED_MAX` of them.
    pub unfinished: Vec<Unfinished>,
    /// How many such runs there are in all.
    pub unfinished_count: u64,
    /// Ends of upstream runs that have come in, oldest first, at most `ENDS_MAX` of them.
    pub ends: Vec<ArrivedEnd>,
}

/// An end of an upstream run, in the job that follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrivedEnd {
    /// Grows with each that comes in.
    pub number: u64,
    pub end: UpstreamEnd,
}

/// How many ends of upstream runs a `LeasedJob` lists at most.
pub const ENDS_MAX: usize = 1_000;

/// How many unfinished runs a `LeasedJob` lists at most.
pub const UNFINISHED_MAX: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    pub run: RunId,
    /// In state running (else it waits for its turn).
    pub running: bool,
}

/// One firing's decisions, to be carried out in one transaction.
#[derive(Clone, Debug)]
pub struct FiringCommit {
    pub job: JobKey,
    /// From the lease; stale: nothing of this firing is carried out.
    pub token: u64,
    /// In order of time.
    pub steps: Vec<FiringStep>,
    /// Unfinished runs to cancel, and why.
    pub cancel: Vec<RunId>,
    pub cancel_reason: Option<String>,
    /// Ends of upstream runs that go, by number.
    pub consumed: Vec<u64>,
    /// The greatest number of an end that was looked at, 0 where there was none. Later ones keep the job due.
    pub ends_seen: u64,
    pub next_fire: Option<Timestamp>,
    pub wake_at: Option<Timestamp>,
    pub state: JobState,
    pub pause: Option<Pause>,
    pub now: Timestamp,
}

#[derive(Clone, Debug)]
pub enum FiringStep {
    Run(Box<Run>),
    /// Folds into the job's last record where that has the same reason and kind of detail, and no run of a firing came between.
    Skip(Skipped),
}

/// Asks for runs to attempt.
#[derive(Clone, Debug)]
pub struct RunClaim {
    pub owner: Owner,
    pub now: Timestamp,
    /// The end of the leases.
    pub until: Timestamp,
    /// Runs at most.
    pub max: usize,
    /// Of these at most so many of jobs whose attempts each have a process of their own (`JobSpec::is_alone`).
    pub alone: usize,
}

/// What `add_run_once` did.
#[derive(Clone, Debug, PartialEq)]
pub struct AddedRun {
    pub run: Run,
    /// False where it was there before.
    pub new: bool,
}

/// A run claimed for starting: its state is already running and its attempt counted.
#[derive(Clone, Debug)]
pub struct ClaimedRun {
    pub run: Box<Run>,
    pub job: Job,
    pub lease: Lease,
    /// What earlier attempts saved last. Of a run that was claimed as lost: none.
    pub checkpoint: Option<Vec<u8>>,
}

/// How an attempt ended and what becomes of its run.
#[derive(Clone, Debug)]
pub struct AttemptEnd {
    pub run: RunId,
    pub token: u64,
    /// `None` for an attempt that left no record (its node died).
    pub attempt: Option<Attempt>,
    pub settled: Settled,
    /// What the attempt saved for later ones, kept until the run ends; `None`: what was kept before stays.
    pub checkpoint: Option<Vec<u8>>,
    /// Set to pause the job in the same transaction (too many failures in a row).
    pub pause_job: Option<Pause>,
    pub now: Timestamp,
}

/// What becomes of a run after an attempt: `plan::settle`'s answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// The run ended.
    Ended { outcome: Outcome, error: Option<RunError> },
    /// Another attempt, not before `at`. `lost` tells that the ended attempt was lost with its node.
    Retry { at: Timestamp, lost: bool },
    /// It was claimed after its start deadline: there is no run, but a missed firing.
    Missed(Skipped),
}

/// The answer for one item of a batch. Items are independent: one that lost its lease does not undo others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fenced {
    Done,
    /// The token was stale; nothing of this item was carried out.
    LeaseLost,
}

/// What a cancel found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelFound {
    /// It had not started: it has ended as cancelled.
    Ended,
    /// It is running: the request is noted; its owner must stop it.
    Requested,
    /// It had ended before.
    AlreadyEnded,
}

/// Runs and skipped firings older than `before` go, at most `max` rows, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub before: Timestamp,
    /// Per job, this many ended runs are kept at most, however young.
    pub runs_per_job_max: u64,
    pub max: u64,
}

/// Everything bellcage must not forget. See the module's text for the rules.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    // Components.

    /// Stores `bytes` under their digest (once) and names them. The same bytes as the newest version of `name`: no new version.
    async fn push_component(
        &self,
        tenant: &TenantId,
        name: &ComponentName,
        bytes: Vec<u8>,
        inspection: serde_json::Value,
        now: Timestamp,
    ) -> Result<Pushed, StoreError>;
    /// `NotFound` where there is no such name or version.
    async fn component(&self, tenant: &TenantId, name: &ComponentName, version: Version) -> Result<ComponentVersion, StoreError>;
    /// The newest version of each name, by name; the cursor is a name.
    async fn components(&self, tenant: &TenantId, page: PageRequest) -> Result<Page<ComponentVersion>, StoreError>;
    /// All versions of a name, newest first, at most 1,000. Empty where there is none.
    async fn component_versions(&self, tenant: &TenantId, name: &ComponentName) -> Result<Vec<ComponentVersion>, StoreError>;
    async fn component_bytes(&self, digest: &Digest) -> Result<Vec<u8>, StoreError>;
    /// Ids of jobs that refer to a name (any version), by id, at most 1,000.
    async fn jobs_using(&self, tenant: &TenantId, name: &ComponentName) -> Result<Vec<JobKey>, StoreError>;
    /// Removes a name, or one version of it; bytes that nothing names any more go too. `InUse` where jobs refer to
    /// it: any job for a whole name, a job pinned to it or (for the newest version) following it for one version.
    async fn remove_component(&self, tenant: &TenantId, name: &ComponentName, version: Option<u32>) -> Result<u32, StoreError>;

    // Calendars.

    /// Adds a calendar, or puts it in the place of the one of its name.
    async fn put_calendar(&self, calendar: Calendar) -> Result<(), StoreError>;
    /// `NotFound` where there is none of this name.
    async fn calendar(&self, tenant: &TenantId, name: &CalendarName) -> Result<Calendar, StoreError>;
    /// By name; the cursor is a name.
    async fn calendars(&self, tenant: &TenantId, page: PageRequest) -> Result<Page<Calendar>, StoreError>;
    /// `CalendarInUse` where jobs refer to it.
    async fn remove_calendar(&self, tenant: &TenantId, name: &CalendarName) -> Result<(), StoreError>;

    /// The tenants that have a job or a secret, by name; the cursor is a name.
    async fn tenants(&self, page: PageRequest) -> Result<Page<TenantId>, StoreError>;

    // Secrets.

    /// Adds a secret, or puts it in the place of the one of its name. False where its tenant has `max` others: then nothing was stored.
    async fn put_secret(&self, secret: Secret, max: u64) -> Result<bool, StoreError>;
    /// `NotFound` where there is none of this name.
    async fn secret(&self, tenant: &TenantId, name: &SecretName) -> Result<Secret, StoreError>;
    /// By name; the cursor is a name.
    async fn secrets(&self, tenant: &TenantId, page: PageRequest) -> Result<Page<Secret>, StoreError>;
    /// Removes a secret, whoever refers to it.
    async fn remove_secret(&self, tenant: &TenantId, name: &SecretName) -> Result<(), StoreError>;

    // Jobs.

    /// Adds `job`, or by `on_conflict`: `JobExists`; the job that exists (kept); or the new one in its place with
    /// revision + 1 and its `created_at`, its history and, where trigger and pause are unchanged, its `next_fire`. Returns what is now stored.
    async fn add_job(&self, job: Job, on_conflict: OnConflict) -> Result<Job, StoreError>;
    /// `add_job` for each of `jobs`, which may be of one id, in one transaction. One answer per job, in order: one that is refused does
    /// not undo others.
    async fn add_jobs(&self, jobs: Arc<[Job]>, on_conflict: OnConflict) -> Result<Vec<Result<Job, StoreError>>, StoreError>;
    async fn job(&self, key: &JobKey) -> Result<Job, StoreError>;
    /// By id; the cursor is an id.
    async fn jobs(&self, filter: &JobFilter, page: PageRequest) -> Result<Page<Job>, StoreError>;
    /// Replaces a job with `job`, which was decided upon `seen` (the job as it was read), and records `skipped`. The revision grows
    /// by one. `Conflict` where the job's revision, state, pause or next firing moved since it was read: else a firing that was carried
    /// out meanwhile would be accounted for twice. What runs that ended meanwhile left in the job is kept. Any lease on the job is void from then on.
    async fn update_job(&self, job: Job, seen: &Job, skipped: Option<Skipped>) -> Result<Job, StoreError>;
    /// Removes a job, and what it kept in its key-value namespace. Its waiting runs end as cancelled; running ones go on. History
    /// stays until retention. Returns the ended runs.
    async fn remove_job(&self, key: &JobKey, now: Timestamp) -> Result<Vec<RunId>, StoreError>;

    /// The ends of upstream runs that wait for a later firing of a job, oldest first. Empty where there is no such job.
    async fn arrived_ends(&self, key: &JobKey) -> Result<Vec<UpstreamEnd>, StoreError>;

    // Key-value: a namespace for each job, from the first key that is set until the job is removed. Of an owner that was removed and
    // added again there is no such job.

    /// `None` where there is no such key, or no such job.
    async fn kv_get(&self, of: &KvOwner, key: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// `KeyValue` where a bound would be broken, counted in the same transaction; `NotFound` where the job is gone.
    async fn kv_set(&self, of: &KvOwner, key: &str, value: Vec<u8>, bounds: KvBounds) -> Result<(), StoreError>;
    /// Adds to a number in decimal digits, 0 where there is no such key, and gives the sum. Fails as `kv_set` does.
    async fn kv_add(&self, of: &KvOwner, key: &str, delta: u64, bounds: KvBounds) -> Result<u64, StoreError>;
    /// False where there is no such key, or no such job.
    async fn kv_delete(&self, of: &KvOwner, key: &str) -> Result<bool, StoreError>;
    /// At most `KEYS_LISTED_MAX` keys, in the order in which they were first set, after where an earlier answer's `next` says.
    async fn kv_list(&self, of: &KvOwner, after: Option<u64>) -> Result<KvKeys, StoreError>;
    async fn kv_usage(&self, of: &KvOwner) -> Result<KvUsage, StoreError>;

    // Firing.
    //
    // A run that ends tells so, in the same transaction, to each job whose `after` trigger names its job: the end is put
    // beside that job, which is due from then on until a committed firing has seen it. Where the trigger goes (the job is
    // removed, or gets another one), the ends that no firing has seen are recorded as missed.

    /// At most `max` jobs with `wake_at <= now` that nobody holds, soonest first, leased to `owner` until `until`.
    /// A job whose stored form cannot be read is parked as unresolved, with the reason, and not returned.
    async fn lease_due(&self, owner: &Owner, now: Timestamp, until: Timestamp, max: usize) -> Result<Vec<LeasedJob>, StoreError>;
    /// Carries out the firings, in one transaction, and ends the leases. One answer per firing, in order. A scheduled run that
    /// exists already for the same instant (the clock stepped back, a job was removed and added again) is left as it is.
    async fn commit_firings(&self, firings: Vec<FiringCommit>) -> Result<Vec<Fenced>, StoreError>;
    /// `commit_firings` and then `claim_runs`, in one transaction: what comes due starts as soon as it is known.
    async fn commit_and_claim(&self, firings: Vec<FiringCommit>, claim: RunClaim) -> Result<(Vec<Fenced>, Vec<ClaimedRun>), StoreError>;
    /// The soonest instant at which something comes due: a job's `wake_at`, a waiting run's `start_at`, a lease's end.
    /// Waiting runs of a job that runs as many as it may, or that wait for a process of their own, are left out: the end of another run is
    /// what they wait for. May be
    /// too soon where very many of those are retries to come.
    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError>;

    // Runs.

    /// Adds a run on demand. `NotFound` where the job is gone.
    async fn add_run(&self, run: Run) -> Result<Run, StoreError>;
    /// Adds a run on demand, unless the job has one of the same `key` that was made at or after `since`, or with `None` one that
    /// has not ended: then that is the answer, the newest of them. A run without a key is added.
    async fn add_run_once(&self, run: Run, since: Option<Timestamp>) -> Result<AddedRun, StoreError>;
    /// Adds the runs of a backfill, in one transaction, but for instants that have a run. Returns how many were added; `NotFound`
    /// where the job is gone.
    async fn add_backfill(&self, job: &JobKey, runs: Vec<Run>) -> Result<u64, StoreError>;
    /// Claims at most `max` runs, of these at most `alone` that each have a process of their own, whose `start_at` has come, highest priority first, then oldest `start_at`; never more
    /// of one job than its `running_max` allows beside those that run, nor more first attempts than its rate limit allows; of its
    /// backfills at most the run's `backfill_max` at once, counted for themselves. Each is
    /// set running, with its attempt counted. One that the rate limit kept has its `start_at` moved to when it was allowed.
    async fn claim_runs(&self, claim: RunClaim) -> Result<Vec<ClaimedRun>, StoreError>;
    /// From when on a job's rate limit allows one more start; `None` where it has none, or allows one at any time.
    async fn rate_opens_at(&self, key: &JobKey) -> Result<Option<Timestamp>, StoreError>;
    /// Moves the leases of `runs` to `until`; returns those that are no longer `owner`'s, and those asked to cancel.
    async fn renew_runs(&self, owner: &Owner, runs: &[(RunId, u64)], until: Timestamp) -> Result<Renewed, StoreError>;
    /// Records ended attempts and what becomes of their runs, in one transaction. One answer per item, in order.
    async fn finish_attempts(&self, ends: Arc<[AttemptEnd]>) -> Result<Vec<Fenced>, StoreError>;
    /// At most `max` running runs whose lease ended before `now`, leased anew to `owner`, to be settled as lost.
    async fn claim_lost(&self, owner: &Owner, now: Timestamp, until: Timestamp, max: usize) -> Result<Vec<ClaimedRun>, StoreError>;
    /// Ends every lease that is not `owner`'s. Only for a store that one server has to itself, as it starts.
    async fn end_other_leases(&self, owner: &Owner, now: Timestamp) -> Result<u64, StoreError>;
    async fn cancel_run(&self, tenant: &TenantId, run: RunId, reason: &str, now: Timestamp) -> Result<CancelFound, StoreError>;

    async fn run(&self, tenant: &TenantId, run: RunId) -> Result<Run, StoreError>;
    /// Newest first, by id and so by creation; the cursor is opaque.
    async fn runs(&self, filter: &RunFilter, page: PageRequest) -> Result<Page<Run>, StoreError>;
    /// The attempts of a run that have ended, oldest first, with results and logs.
    async fn attempts(&self, tenant: &TenantId, run: RunId) -> Result<Vec<Attempt>, StoreError>;
    /// Records of firings that made no run, newest first; the cursor is opaque. `job` `None`: of all jobs.
    async fn skipped(&self, tenant: &TenantId, job: Option<&JobKey>, page: PageRequest) -> Result<Page<(JobKey, Skipped)>, StoreError>;

    /// Removes ended runs and skipped firings by age and count. Returns how many rows went.
    async fn prune(&self, retention: Retention) -> Result<u64, StoreError>;
    async fn counts(&self) -> Result<StoreCounts, StoreError>;
}

/// What `renew_runs` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    /// No longer the caller's: stop working on them; their outcome would be refused.
    pub lost: Vec<RunId>,
    /// Somebody asked to cancel these, and why.
    pub cancel: Vec<(RunId, String)>,
}
