//! The scheduler: what library users (and the server) call. It owns a store, an executor and the components, and
//! runs the driver that carries out what `plan` decides.
//!
//! A handle is cheap to clone. Every verb is asynchronous and safe to call from any task. Nothing here knows
//! HTTP, the command line or any database.

mod backfill;
mod calendars;
mod components;
mod directories;
mod driver;
mod error;
mod events;
mod follow;
mod jobs;
mod runs;
mod seal;
mod secrets;
pub mod simulate;
mod steps;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::component::Inspection;
use crate::component::cache::Cache;
use crate::component::compile::Compiler;
use crate::executor::Executor;
use crate::job::{
    ComponentName, DirectoryGrant, DirectoryName, Enough, GrantKind, Job, JobId, JobKey, JobSpec, LimitCaps, Limits, LimitsSpec, Progress, Run, RunId, RunKey,
    TenantId, UpstreamEnd, Version,
};
use crate::store::{Owner, Store};

use crate::trigger::Trigger;

pub use crate::store::{Calendar, CancelFound, ComponentVersion, JobFilter, OnConflict, Page, PageRequest, RunFilter, StoreCounts};
pub use backfill::{BackfillRequest, Backfilled, CancelledRuns};
pub use directories::{DirectoryRefusal, ListedDirectory};
pub use error::{ErrorKind, SchedulerError, SecretError};
pub use events::{Event, EventKind, Events};
pub use seal::SecretsKey;
pub use secrets::{SECRETS_MAX, SecretInfo};

use jobs::compile;

/// What a scheduler is made of.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub executor: Arc<dyn Executor>,
    pub compiler: Compiler,
    pub cache: Cache,
    pub clock: Arc<dyn Clock>,
    pub options: Options,
}

/// Every bound of the scheduler. The defaults are those of the configuration file.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names this server in receipts.
    pub node: String,
    /// Limits of jobs that ask for none.
    pub limits: Limits,
    /// The most that a job may ask for.
    pub limit_caps: Limits,
    /// Whether a grant may name addresses that are not on the public internet.
    pub http_private: bool,
    /// The most that a job of a tenant may ask for, where that is less.
    pub tenant_caps: BTreeMap<TenantId, LimitsSpec>,
    /// How long a claimed run stays ours without a sign of life. Renewed at a third of this.
    pub lease: SignedDuration,
    /// Jobs fired and runs claimed per turn of the driver.
    pub batch_max: usize,
    /// The shortest interval that a job's `every` may have.
    pub every_min: SignedDuration,
    /// The store is ours alone, so runs of any other owner are lost as soon as we start.
    pub exclusive_store: bool,
    /// Ended runs and skipped firings are kept so long…
    pub keep_for: SignedDuration,
    /// …and at most so many runs per job.
    pub keep_runs_per_job: u64,
    /// What secrets are sealed under; without one there are none.
    pub secrets_key: Option<SecretsKey>,
    /// Directories of this machine that jobs may be granted.
    pub directories: BTreeMap<DirectoryName, ListedDirectory>,
    /// Bytes of a scratch directory at most: they are in memory.
    pub scratch_max: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node: "local".to_owned(),
            limits: Limits::default(),
            limit_caps: Limits {
                fuel: 1_000_000_000_000,
                memory: 1 << 30,
                timeout: SignedDuration::from_hours(1),
                result: 16 << 20,
                logs: 16 << 20,
                table_elements: 20_000,
                instances: 32,
                host_calls: 1_000_000_000,
                resources: 10_000,
                host_call_bytes: 16 << 20,
                random: 1 << 20,
                checkpoint: 16 << 20,
                kv_bytes: 64 << 20,
                kv_keys: 100_000,
                http_body: 16 << 20,
                http_requests: 16,
            },
            http_private: true,
            tenant_caps: BTreeMap::new(),
            lease: SignedDuration::from_secs(15),
            batch_max: 500,
            every_min: SignedDuration::from_secs(1),
            exclusive_store: true,
            keep_for: SignedDuration::from_hours(24 * 30),
            keep_runs_per_job: 10_000,
            secrets_key: None,
            directories: BTreeMap::new(),
            scratch_max: 256 << 20,
        }
    }
}

impl Inner {
    /// What a job of `tenant` may ask for at most: one that is defined so, or one that asks for nothing else.
    fn caps_of<'a>(&'a self, tenant: &'a TenantId, spec: Option<&JobSpec>) -> LimitCaps<'a> {
        let Options { limit_caps: server, tenant_caps, .. } = &self.options;
        let scratch = spec.map_or(0, |spec| DirectoryGrant::scratch_bytes(&spec.grants.dirs));
        let executor_memory = self.executor.memory_of_one(spec.is_some_and(JobSpec::is_alone)).map(|most| most.saturating_sub(scratch));
        LimitCaps { server, tenant: tenant_caps.get(tenant).map(|own| (tenant, own)), executor_memory }
    }
}

/// A handle on a running scheduler.
#[derive(Clone)]
pub struct Scheduler {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    executor: Arc<dyn Executor>,
    compiler: Compiler,
    cache: Cache,
    clock: Arc<dyn Clock>,
    options: Options,
    steps: steps::Steps,
    events: Events,
    /// Something came due by a call rather than by time: the driver looks at once.
    wake: Notify,
    phase: watch::Sender<Phase>,
    /// Set when the driver and its last attempt are gone.
    stopped: watch::Sender<bool>,
    /// What references of components meant lately.
    resolved: Mutex<components::Resolved>,
    in_flight: Mutex<HashMap<RunId, InFlight>>,
    /// Held from the check of what a job follows until it is stored, so that no two together make a cycle.
    following: tokio::sync::Mutex<()>,
}

/// A run that is being attempted here.
#[derive(Clone)]
struct InFlight {
    /// The fencing token.
    token: u64,
    job: JobKey,
    attempt: u32,
}

/// A component version as a run names it.
type Pinned = (TenantId, ComponentName, Version);

/// How far the shutdown has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Running,
    /// Nothing new is started; attempts go on.
    Draining,
    /// Attempts are cancelled and recorded.
    Cancelling,
}

/// What a push may bring about, where it would be refused else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accept {
    /// Jobs that follow the name and cannot run the new version.
    pub broken_jobs: bool,
    /// A version that asks for grants which the one before did not ask for.
    pub new_grants: bool,
}

/// What a push did.
#[derive(Clone, Debug)]
pub struct PushReport {
    pub component: ComponentVersion,
    /// False when the newest version already had these bytes.
    pub new: bool,
    pub inspection: Inspection,
    /// The jobs that this push broke, by force.
    pub broken: Vec<BrokenJob>,
    /// What it asks for and the version before did not, as was accepted. Of a first version: nothing.
    pub new_grants: Vec<GrantKind>,
}

/// A job that could not run a new version of its component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenJob {
    pub job: JobId,
    /// For people.
    pub why: String,
}

/// A component with everything that `component show` prints.
#[derive(Clone, Debug)]
pub struct ComponentDetail {
    /// The version asked for.
    pub component: ComponentVersion,
    pub inspection: Inspection,
    /// Newest first.
    pub versions: Vec<ComponentVersion>,
    pub jobs: Vec<JobKey>,
}

/// An upstream job, as the job that follows it sees it.
#[derive(Clone, Debug)]
pub struct WaitsFor {
    pub job: JobId,
    /// False where there is no such job any more.
    pub exists: bool,
    /// The run of it that ended as asked for since the last firing.
    pub ended: Option<UpstreamEnd>,
}

/// A job that was added, and what its owner should know about it.
#[derive(Clone, Debug)]
pub struct AddedJob {
    pub job: Job,
    /// The job's, for showing it; `None` where the job was kept and its trigger cannot be read any more.
    pub trigger: Option<Trigger>,
    /// For people: what clock changes will do, policies that do not go together.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PauseRequest {
    pub reason: Option<String>,
    pub by: Option<String>,
    pub until: Option<Timestamp>,
}

/// What becomes of the firings that came due while a job was paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResumeFrom {
    /// They are recorded as paused; the job goes on from now.
    #[default]
    Now,
    /// They are treated as after downtime, by misfire grace and coalesce.
    Missed,
}

/// A run on demand.
#[derive(Clone, Debug, Default)]
pub struct TriggerRequest {
    /// In place of the job's arguments.
    pub args: Option<serde_json::Value>,
    /// Not started before this, which is to come.
    pub at: Option<Timestamp>,
    /// There is one run of a key as long as it has not ended, or within the window.
    pub key: Option<RunKey>,
    /// From when the first was made.
    pub key_window: Option<SignedDuration>,
}

/// A run on demand.
#[derive(Clone, Debug)]
pub struct Triggered {
    pub run: Run,
    /// False where there was a run of its key.
    pub new: bool,
}

/// Everything that is known of a run, for `runs show` and `explain run`.
#[derive(Clone, Debug)]
pub struct RunDetail {
    pub run: Run,
    pub attempts: Vec<crate::job::Attempt>,
    /// The job as it is now, where it still exists.
    pub job: Option<Job>,
    /// What the run is waiting for, where it has not started: for people.
    pub waiting_for: Option<String>,
    /// How far its running attempt is, as that told last; `None` too where another server runs it.
    pub progress: Option<Progress>,
    /// Where a limit ended it.
    pub enough: Option<Enough>,
}

impl Scheduler {
    /// Starts the driver on the current tokio runtime, which is the control plane's: guests run elsewhere, in the executor.
    /// With an exclusive store, what another owner left running is lost from this moment on, and is settled as such.
    pub async fn start(parts: Parts) -> Result<Self, SchedulerError> {
        let Parts { store, executor, compiler, cache, clock, mut options } = parts;
        options.scratch_max = executor.memory_of_one(true).map_or(options.scratch_max, |most| options.scratch_max.min(most / 2));
        let owner = Owner(format!("{}-{}", options.node, uuid::Uuid::now_v7()).into());
        if options.exclusive_store {
            let ended = store.end_other_leases(&owner, clock.now()).await?;
            if ended > 0 {
                tracing::warn!(leases = ended, "a former server of this store did not shut down; what it left running is settled as lost");
            }
        }
        let events = Events::default();
        let inner = Arc::new(Inner {
            steps: steps::Steps::new(store.clone(), owner, options.lease, options.batch_max, events.clone()),
            store,
            executor,
            compiler,
            cache,
            clock,
            options,
            events,
            wake: Notify::new(),
            phase: watch::Sender::new(Phase::Running),
            stopped: watch::Sender::new(false),
            resolved: Mutex::default(),
            in_flight: Mutex::default(),
            following: tokio::sync::Mutex::default(),
        });
        tokio::spawn(driver::drive(inner.clone()));
        // Beside the rest: there may be many.
        tokio::spawn(secrets::tell_unreadable(inner.clone()));
        Ok(Self { inner })
    }

    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    pub async fn counts(&self) -> Result<StoreCounts, SchedulerError> {
        Ok(self.inner.store.counts().await?)
    }

    /// Whether `shutdown` was called: nothing new is started.
    pub fn is_shutting_down(&self) -> bool {
        *self.inner.phase.borrow() != Phase::Running
    }

    /// Starts nothing new, waits for the attempts that are going, at most `drain`, then cancels them and records that.
    /// Returns when the last outcome is stored. Calling it again with a shorter time shortens the wait.
    pub async fn shutdown(&self, drain: Duration) {
        self.inner.advance(Phase::Draining);
        let mut stopped = self.inner.stopped.subscribe();
        let done = stopped.wait_for(|stopped| *stopped);
        if tokio::time::timeout(drain, done).await.is_ok() {
            return;
        }
        self.inner.advance(Phase::Cancelling);
        for run in self.inner.in_flight().keys() {
            self.inner.executor.cancel(*run, "the server is shutting down");
        }
        let mut stopped = self.inner.stopped.subscribe();
        // A cancelled attempt ends within a tick of the executor; one that does not is settled as lost by the next server.
        if tokio::time::timeout(CANCEL_WAIT, stopped.wait_for(|stopped| *stopped)).await.is_err() {
            tracing::error!("some attempts did not end in time; the next server settles them as lost");
        }
    }
}

/// How long a cancelled attempt may take to be recorded.
const CANCEL_WAIT: Duration = Duration::from_secs(5);

impl Inner {
    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let forward = to > *phase;
            if forward {
                *phase = to;
            }
            forward
        });
        self.wake.notify_one();
    }

    /// Runs of ours that are being attempted.
    fn in_flight(&self) -> MutexGuard<'_, HashMap<RunId, InFlight>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resolved(&self) -> MutexGuard<'_, components::Resolved> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
