//! The SQLite store: one file, for one server.
//!
//! ```text
//! verbs that change ──► queue ──► writer: one thread, one connection, one transaction for all that wait
//! verbs that read   ──► queue ──► readers: a few threads, each with a connection, beside the writer
//!                                 carrier: one thread that copies the log into the file, beside them all
//! ```
//! WAL with `synchronous = FULL`: what was answered has been synced to the disk. No verb blocks the caller's runtime, and
//! nothing here grows with the number of jobs: opening reads a handful of pages, whatever the store holds.
//!
//! A second server on the same file is refused; so are a file of a newer version and one that is not ours.

/// Not a store, but what the benchmark holds against this one.
#[path = "../../../benches/limits/sqlite.rs"]
pub(crate) mod bare;
mod calendars;
mod check;
mod components;
mod definitions;
mod ends;
mod firing;
mod history;
mod jobs;
mod key_value;
mod live;
mod log;
mod open;
mod rate;
mod reader;
mod record;
mod rows;
mod runs;
mod secrets;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use self::live::{Live, Published};
use self::reader::Read;
use self::writer::{Db, Done, Request, Write, Writer};
use super::{
    AddedRun, AttemptEnd, Calendar, CancelFound, ClaimedRun, ComponentVersion, Fenced, FiringCommit, JobFilter, KvBounds, KvKeys, KvOwner, KvUsage, LeasedJob,
    OnConflict, Owner, Page, PageRequest, Pushed, Renewed, Retention, RunClaim, RunFilter, Secret, Store, StoreCounts, StoreError,
};
use crate::job::{Attempt, CalendarName, ComponentName, Digest, Job, JobKey, Run, RunId, SecretName, Skipped, TenantId, UpstreamEnd, Version};

/// Bounds of a SQLite store.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// Connections that read beside the writer; at least 1.
    pub readers: usize,
    /// Requests that wait for the writer, and for the readers; past that, callers wait to be let in.
    pub queue_max: usize,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { readers: 2, queue_max: 1_024 }
    }
}

/// A store in one file. Dropping it waits until what was asked for has been carried out, and closes the file.
pub struct Sqlite {
    file: PathBuf,
    /// `None` only while it is dropped.
    writes: Option<mpsc::Sender<Box<dyn Request>>>,
    reads: Option<mpsc::Sender<Read>>,
    counts: Arc<Published>,
    writer: Option<JoinHandle<Option<Db>>>,
    carrier: Option<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
    /// Held as long as this lives.
    _lock: File,
}

impl Sqlite {
    /// The version of the SQLite that is built in.
    pub fn engine_version() -> &'static str {
        rusqlite::version()
    }

    /// Opens the store at `path`: a file that ends in `.db`, else a directory, in which it is `bellcage.db`. Makes what
    /// is missing, for its owner's eyes only, and brings the schema up to date.
    ///
    /// `Locked` where another server has it, `Newer` where a newer version wrote it, `Corrupt` where it is not a store,
    /// `ReadOnly` where it, or its directory, cannot be written.
    pub fn open(path: &Path, options: &SqliteOptions) -> Result<Self, StoreError> {
        let file = open::file_of(path);
        let lock = open::lock(&file)?;
        let mut db = open::writer(&file)?;
        let counts = Arc::new(Published::default());
        let mut live = Live::new(counts.clone());
        live.refresh(&db).map_err(|e| open::failed(&file, &e))?;
        live.committed();
        let readers = (0..options.readers.max(1)).map(|_| open::reader(&file)).collect::<Result<Vec<_>, _>>()?;

        let (writes, queue) = mpsc::channel(options.queue_max.max(1));
        let (log, carrier) = log::carried_by(&mut db.connection, open::carrier(&file)?).map_err(|e| open::failed(&file, &e))?;
        let writer = spawn("store-writer", move || Writer::new(db, live).run(queue, log))?;
        let carrier = spawn("store-carrier", move || carrier.run())?;
        let (reads, queue) = mpsc::channel(options.queue_max.max(1));
        let queue = Arc::new(std::sync::Mutex::new(queue));
        let mut threads = Vec::new();
        for db in readers {
            let queue = queue.clone();
            threads.push(spawn("store-reader", move || reader::run(&db, &queue))?);
        }
        Ok(Self { file, writes: Some(writes), reads: Some(reads), counts, writer: Some(writer), carrier: Some(carrier), readers: threads, _lock: lock })
    }

    /// The database file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Looks at everything: the file's integrity, its references, and what the verbs rely on. Returns what is wrong, in
    /// words; nothing where all is well. Takes as long as reading the whole file.
    pub async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.read(|db| db.check()).await
    }

    /// Copies the store, as it stands at one instant, to a new file. Other work goes on meanwhile.
    pub async fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let to = to.to_owned();
        self.read(move |db| db.backup(&to)).await
    }

    async fn write<T: Send + 'static>(&self, work: impl FnMut(&mut Writer) -> Done<T> + Send + 'static) -> Result<T, StoreError> {
        self.write_many(1, work).await
    }

    /// A write that counts as `size` of them.
    async fn write_many<T: Send + 'static>(&self, size: usize, work: impl FnMut(&mut Writer) -> Done<T> + Send + 'static) -> Result<T, StoreError> {
        let (to, answer) = oneshot::channel();
        let writes = self.writes.as_ref().ok_or(StoreError::Closed)?;
        writes.send(Box::new(Write { work, size, found: None, to })).await.map_err(|_| StoreError::Closed)?;
        // What is left of the request is dropped here: the writer has better things to do.
        let (answer, _left) = answer.await.map_err(|_| StoreError::Closed)?;
        answer
    }

    async fn read<T: Send + 'static>(&self, work: impl FnOnce(&Db) -> Done<T> + Send + 'static) -> Result<T, StoreError> {
        let (to, answer) = oneshot::channel();
        let reads = self.reads.as_ref().ok_or(StoreError::Closed)?;
        reads.send(reader::request(work, to)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.reads = None;
        self.readers.drain(..).for_each(|reader| _ = ended(reader));
        self.writes = None;
        let db = self.writer.take().and_then(ended).flatten();
        self.carrier.take().and_then(ended);
        // Whoever closes the file last carries the rest of the log over into it; two who do so at once leave that to each other.
        drop(db);
    }
}

/// Waits for a thread's end.
fn ended<T>(thread: JoinHandle<T>) -> Option<T> {
    let end = thread.join();
    if end.is_err() {
        tracing::error!("a thread of the store ended in a panic");
    }
    end.ok()
}

fn spawn<T: Send + 'static>(name: &str, run: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, StoreError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|e| StoreError::Backend(format!("the thread {name} could not be started: {e}")))
}

#[async_trait]
impl Store for Sqlite {
    async fn push_component(
        &self,
        tenant: &TenantId,
        name: &ComponentName,
        bytes: Vec<u8>,
        inspection: serde_json::Value,
        now: Timestamp,
    ) -> Result<Pushed, StoreError> {
        let (tenant, name) = (tenant.clone(), name.clone());
        let digest = Digest::of(&bytes);
        self.write(move |w| w.push_component(&tenant, &name, &bytes, digest, &inspection, now)).await
    }

    async fn component(&self, tenant: &TenantId, name: &ComponentName, version: Version) -> Result<ComponentVersion, StoreError> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.read(move |db| db.component(&tenant, &name, version)).await
    }

    async fn components(&self, tenant: &TenantId, page: PageRequest) -> Result<Page<ComponentVersion>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |db| db.components(&tenant, &page)).await
    }

    async fn component_versions(&self, tenant: &TenantId, name: &ComponentName) -> Result<Vec<ComponentVersion>, StoreError> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.read(move |db| db.component_versions(&tenant, &name)).await
    }

    async fn component_bytes(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let digest = *digest;
        self.read(move |db| db.component_bytes(&digest)).await
    }

    async fn jobs_using(&self, tenant: &TenantId, name: &ComponentName) -> Result<Vec<JobKey>, StoreError> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.read(move |db| db.jobs_using(&tenant, &name, None)).await
    }

    async fn remove_component(&self, tenant: &TenantId, name: &ComponentName, version: Option<u32>) -> Result<u32, StoreError> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.write(move |w| w.remove_component(&tenant, &name, version)).await
    }

    async fn put_calendar(&self, calendar: Calendar) -> Result<(), StoreError> {
        self.write(move |w| w.put_calendar(&calendar)).await
    }

    async fn calendar(&self, tenant: &TenantId, name: &CalendarName) -> Result<Calendar, StoreError> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.read(move |db| db.calendar(&tenant, &name)).await
    }

    async fn calendars(&self, tenant: &TenantId, page: PageRequest) -> Result<Page<Calendar>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |db| db.calendars(&tenant, &page)).await
    }

    async fn remove_calendar(&self, tenant: &TenantId, name: &CalendarName) -> Result<(), StoreError> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.write(move |w| w.remove_calendar(&tenant, &name)).await
    }

    async fn tenants(&self, page: PageRequest) -> Result<Page<TenantId>, StoreError> {
        self.read(move |db| db.tenants(&page)).await
    }

    async fn put_secret(&self, secret: Secret, max: u64) -> Result<bool, StoreError> {
        self.write(move |w| w.put_secret(&secret, max)).await
    }

    async fn secret(&self, tenant: &TenantId, name: &SecretName) -> Result<Secret, StoreError> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.read(move |db| db.secret(&tenant, &name)).await
    }

    async fn secrets(&self, tenant: &TenantId, page: PageRequest) -> Result<Page<Secret>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |db| db.secrets(&tenant, &page)).await
    }

    async fn remove_secret(&self, tenant: &TenantId, name: &SecretName) -> Result<(), StoreError> {
        let (tenant, name) = (tenant.clone(), name.clone());
        self.write(move |w| w.remove_secret(&tenant, &name)).await
    }

    async fn add_job(&self, job: Job, on_conflict: OnConflict) -> Result<Job, StoreError> {
        self.write(move |w| w.add_job(&job, on_conflict)).await
    }

    async fn add_jobs(&self, jobs: Arc<[Job]>, on_conflict: OnConflict) -> Result<Vec<Result<Job, StoreError>>, StoreError> {
        self.write_many(jobs.len().max(1), move |w| w.add_jobs(&jobs, on_conflict)).await
    }

    async fn job(&self, key: &JobKey) -> Result<Job, StoreError> {
        let key = key.clone();
        self.read(move |db| db.job(&key)).await
    }

    async fn jobs(&self, filter: &JobFilter, page: PageRequest) -> Result<Page<Job>, StoreError> {
        let filter = filter.clone();
        self.read(move |db| db.jobs(&filter, &page)).await
    }

    async fn update_job(&self, job: Job, seen: &Job, skipped: Option<Skipped>) -> Result<Job, StoreError> {
        let seen = seen.clone();
        self.write(move |w| w.update_job(&job, &seen, skipped.as_ref())).await
    }

    async fn remove_job(&self, key: &JobKey, now: Timestamp) -> Result<Vec<RunId>, StoreError> {
        let key = key.clone();
        self.write(move |w| w.remove_job(&key, now)).await
    }

    async fn arrived_ends(&self, key: &JobKey) -> Result<Vec<UpstreamEnd>, StoreError> {
        let key = key.clone();
        self.read(move |db| db.arrived_ends(&key)).await
    }

    async fn kv_get(&self, of: &KvOwner, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let (of, key) = (of.clone(), key.to_owned());
        self.read(move |db| db.kv_get(&of, &key)).await
    }

    async fn kv_set(&self, of: &KvOwner, key: &str, value: Vec<u8>, bounds: KvBounds) -> Result<(), StoreError> {
        let (of, key) = (of.clone(), key.to_owned());
        self.write(move |w| w.kv_set(&of, &key, &value, bounds)).await
    }

    async fn kv_add(&self, of: &KvOwner, key: &str, delta: u64, bounds: KvBounds) -> Result<u64, StoreError> {
        let (of, key) = (of.clone(), key.to_owned());
        self.write(move |w| w.kv_add(&of, &key, delta, bounds)).await
    }

    async fn kv_delete(&self, of: &KvOwner, key: &str) -> Result<bool, StoreError> {
        let (of, key) = (of.clone(), key.to_owned());
        self.write(move |w| w.kv_delete(&of, &key)).await
    }

    async fn kv_list(&self, of: &KvOwner, after: Option<u64>) -> Result<KvKeys, StoreError> {
        let of = of.clone();
        self.read(move |db| db.kv_list(&of, after)).await
    }

    async fn kv_usage(&self, of: &KvOwner) -> Result<KvUsage, StoreError> {
        let of = of.clone();
        self.read(move |db| db.kv_usage(&of)).await
    }

    async fn lease_due(&self, owner: &Owner, now: Timestamp, until: Timestamp, max: usize) -> Result<Vec<LeasedJob>, StoreError> {
        let owner = owner.clone();
        self.write(move |w| w.lease_due(&owner, now, until, max)).await
    }

    async fn commit_firings(&self, firings: Vec<FiringCommit>) -> Result<Vec<Fenced>, StoreError> {
        self.write_many(firings.len().max(1), move |w| w.commit_firings(&firings)).await
    }

    async fn commit_and_claim(&self, firings: Vec<FiringCommit>, claim: RunClaim) -> Result<(Vec<Fenced>, Vec<ClaimedRun>), StoreError> {
        let now = claim.now;
        let firings = Arc::new(firings);
        let asked = firings.clone();
        let committed = self.write_many(firings.len().max(1), move |w| w.commit_and_claim(&asked, &claim)).await?;
        Ok(committed.told(Arc::unwrap_or_clone(firings), now))
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.write(|w| w.next_due()).await
    }

    async fn add_run(&self, run: Run) -> Result<Run, StoreError> {
        self.write(move |w| w.add_run(&run)).await
    }

    async fn add_run_once(&self, run: Run, since: Option<Timestamp>) -> Result<AddedRun, StoreError> {
        self.write(move |w| w.add_run_once(&run, since)).await
    }

    async fn add_backfill(&self, job: &JobKey, runs: Vec<Run>) -> Result<u64, StoreError> {
        let job = job.clone();
        self.write(move |w| w.add_backfill(&job, &runs)).await
    }

    async fn claim_runs(&self, claim: RunClaim) -> Result<Vec<ClaimedRun>, StoreError> {
        self.write(move |w| w.claim_runs(&claim)).await
    }

    async fn rate_opens_at(&self, key: &JobKey) -> Result<Option<Timestamp>, StoreError> {
        let key = key.clone();
        self.read(move |db| db.rate_opens_at(&key)).await
    }

    async fn renew_runs(&self, owner: &Owner, runs: &[(RunId, u64)], until: Timestamp) -> Result<Renewed, StoreError> {
        let (owner, runs) = (owner.clone(), runs.to_vec());
        self.write(move |w| w.renew_runs(&owner, &runs, until)).await
    }

    async fn finish_attempts(&self, ends: Arc<[AttemptEnd]>) -> Result<Vec<Fenced>, StoreError> {
        let texts = ends.iter().map(record::EndTexts::of).collect::<Result<Vec<_>, _>>()?;
        self.write_many(ends.len().max(1), move |w| w.finish_attempts(&ends, &texts)).await
    }

    async fn claim_lost(&self, owner: &Owner, now: Timestamp, until: Timestamp, max: usize) -> Result<Vec<ClaimedRun>, StoreError> {
        let owner = owner.clone();
        self.write(move |w| w.claim_lost(&owner, now, until, max)).await
    }

    async fn end_other_leases(&self, owner: &Owner, now: Timestamp) -> Result<u64, StoreError> {
        let owner = owner.clone();
        self.write(move |w| w.end_other_leases(&owner, now)).await
    }

    async fn cancel_run(&self, tenant: &TenantId, run: RunId, reason: &str, now: Timestamp) -> Result<CancelFound, StoreError> {
        let (tenant, reason) = (tenant.clone(), reason.to_owned());
        self.write(move |w| w.cancel_run(&tenant, run, &reason, now)).await
    }

    async fn run(&self, tenant: &TenantId, run: RunId) -> Result<Run, StoreError> {
        let tenant = tenant.clone();
        self.read(move |db| db.run(&tenant, run)).await
    }

    async fn runs(&self, filter: &RunFilter, page: PageRequest) -> Result<Page<Run>, StoreError> {
        let filter = filter.clone();
        self.read(move |db| db.runs(&filter, &page)).await
    }

    async fn attempts(&self, tenant: &TenantId, run: RunId) -> Result<Vec<Attempt>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |db| db.attempts(&tenant, run)).await
    }

    async fn skipped(&self, tenant: &TenantId, job: Option<&JobKey>, page: PageRequest) -> Result<Page<(JobKey, Skipped)>, StoreError> {
        let (tenant, job) = (tenant.clone(), job.cloned());
        self.read(move |db| db.skipped(&tenant, job.as_ref(), &page)).await
    }

    async fn prune(&self, retention: Retention) -> Result<u64, StoreError> {
        self.write(move |w| w.prune(retention)).await
    }

    async fn counts(&self) -> Result<StoreCounts, StoreError> {
        Ok(self.counts.counts())
    }
}
