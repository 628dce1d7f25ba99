//! What the writer keeps in memory beside the database, since it alone writes: leases on jobs, the runs that are
//! running, counts, and the jobs that it touched lately. Bounded by what is leased and running, and by `JOBS_MAX`;
//! opening a store reads nothing but the tally and the running runs.
//!
//! Leases on jobs are nowhere else: one server has the file, and when it is gone nobody holds its jobs. Those on runs
//! are in the database too, because a run that was running when its server died must be found.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use rusqlite::{CachedStatement, params};

use super::definitions::Definitions;
use super::rows::{self, At, Count, JOB, JobRow, RECEIPT, RUN, RUN_COLUMNS};
use super::writer::Db;
use crate::job::{Cause, JobKey, Run, RunId, TenantId};
use crate::store::starts::Starts;
use crate::store::{Lease, Owner, StoreCounts};

/// Jobs kept decoded, in each of two generations.
const JOBS_MAX: usize = 32_768;
/// Tenants whose number is remembered.
const TENANTS_MAX: usize = 10_000;
/// Fencing tokens reserved at once, so that giving out one is no write.
const TOKENS_RESERVED: u64 = 1 << 20;

#[derive(Default)]
pub(super) struct Live {
    /// By the job's row.
    leases: ByRow<Held>,
    /// The job's row by the token of its lease.
    leased: HashMap<u64, i64, Spread>,
    /// Leases as they were before this transaction changed them.
    undo: Vec<(i64, Option<Held>)>,
    running: HashMap<RunId, Running, Spread>,
    running_by_job: ByRow<u32>,
    /// The same of their backfills, which are not counted there.
    backfilling_by_job: ByRow<u32>,
    jobs: Jobs,
    pub definitions: Definitions,
    /// Jobs that have runs held back, perhaps.
    pub held_back: Rows,
    /// The same, of backfills.
    pub backfills_held: Rows,
    /// Of these two, jobs that may have runs held back for want of a process of their own.
    pub alone_held: BTreeSet<i64>,
    /// After this one of them it goes on with the next.
    pub alone_last: i64,
    /// Jobs that may have runs that wait for their rate limit.
    pub rate_held: Rows,
    /// The latest starts of jobs with a rate limit, of those that were asked for.
    pub starts: ByRow<Starts>,
    tenants: HashMap<TenantId, i64>,
    /// Some job may follow another one.
    pub followers: bool,
    pub tally: Tally,
    stored_tally: Tally,
    /// Jobs that may have more ended runs than are to be kept.
    pub surplus: Rows,
    /// How many are to be kept, as far as retention has said so.
    pub runs_kept: u64,
    /// The last job's row that retention has gone through.
    pub looked_at: i64,
    /// True until what is kept here has been read from the database, and after a transaction was undone.
    stale: bool,
    published: Arc<Published>,
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    pub owner: Owner,
    pub lease: Lease,
}

/// A run in state running: what is needed of each. The rest stands in its row.
pub(super) struct Running {
    pub id: RunId,
    pub tenant: i64,
    pub job: i64,
    pub cause: Cause,
    /// The number of the attempt that is going.
    pub attempt: u32,
    pub started_at: Option<Timestamp>,
    /// Why a cancellation was asked for.
    pub cancel: Option<String>,
    pub held: Held,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub jobs: u64,
    pub unfinished: u64,
    next_token: u64,
    /// Tokens below this are reserved.
    tokens: u64,
}

/// The counts of the last transaction, for everybody.
#[derive(Default)]
pub(super) struct Published {
    jobs: AtomicU64,
    unfinished: AtomicU64,
}

impl Published {
    pub(super) fn counts(&self) -> StoreCounts {
        StoreCounts { jobs: self.jobs.load(Ordering::Relaxed), runs_unfinished: self.unfinished.load(Ordering::Relaxed) }
    }
}

impl Live {
    pub(super) fn new(published: Arc<Published>) -> Self {
        Self { stale: true, published, ..Self::default() }
    }

    /// Reads what is kept here, where that has not been done or was undone.
    pub(super) fn refresh(&mut self, db: &Db) -> rusqlite::Result<()> {
        if !self.stale {
            return Ok(());
        }
        self.running.clear();
        self.running_by_job.clear();
        self.backfilling_by_job.clear();
        self.jobs = Jobs::default();
        self.tenants.clear();
        let tally = db.query_opt("SELECT jobs, unfinished, tokens FROM tally", (), |row| {
            let [jobs, unfinished, tokens] = [row.get::<_, Count>(0)?.0, row.get::<_, Count>(1)?.0, row.get::<_, Count>(2)?.0];
            Ok(Tally { jobs, unfinished, next_token: tokens, tokens })
        })?;
        self.stored_tally = tally.unwrap_or_default();
        self.tally = self.stored_tally;
        let sql = format!(
            "SELECT {RUN}, tenant.name, job.name, run.tenant, job.id, owner, token, lease_until \
             FROM run JOIN job ON job.id = run.job JOIN tenant ON tenant.id = run.tenant WHERE run.state <> 3 AND run.state = 1"
        );
        let running = db.query_all(&sql, (), |row| {
            let run = rows::read_run(row, rows::key(row, RUN_COLUMNS, RUN_COLUMNS + 1)?)?;
            let lease = Lease { token: row.get::<_, Count>(RUN_COLUMNS + 5)?.0, until: row.get::<_, At>(RUN_COLUMNS + 6)?.0 };
            let held = Held { owner: Owner(row.get(RUN_COLUMNS + 4)?), lease };
            let Run { id, cause, attempt, started_at, cancel_requested: cancel, .. } = run;
            Ok(Running { id, tenant: row.get(RUN_COLUMNS + 2)?, job: row.get(RUN_COLUMNS + 3)?, cause, attempt, started_at, cancel, held })
        })?;
        self.held_back.clear();
        self.backfills_held.clear();
        self.backfills_held.extend(db.query_all("SELECT DISTINCT job FROM run WHERE turn = 3", (), |row| row.get::<_, i64>(0))?);
        self.rate_held.clear();
        self.starts.clear();
        self.followers = db.query_opt("SELECT 1 FROM job_after LIMIT 1", (), |_| Ok(()))?.is_some();
        self.rate_held.extend(db.query_all("SELECT DISTINCT job FROM run WHERE turn = 2", (), |row| row.get::<_, i64>(0))?);
        let next = "SELECT min(job) FROM run WHERE turn = 0 AND job > ?";
        let mut last = 0;
        while let Some(job) = db.query_opt(next, [last], |row| row.get::<_, Option<i64>>(0))?.flatten() {
            self.held_back.insert(job);
            last = job;
        }
        // Whether their runs wait for that is found out when they are looked at.
        self.alone_held = self.held_back.union(&self.backfills_held).copied().collect();
        running.into_iter().for_each(|running| self.start(running));
        self.stale = false;
        Ok(())
    }

    pub(super) fn committed(&mut self) {
        self.undo.clear();
        self.stored_tally = self.tally;
        self.published.jobs.store(self.tally.jobs, Ordering::Relaxed);
        self.published.unfinished.store(self.tally.unfinished, Ordering::Relaxed);
    }

    pub(super) fn undone(&mut self) {
        while let Some((job, held)) = self.undo.pop() {
            self.swap_lease(job, held);
        }
        self.stale = true;
    }

    pub(super) fn write_tally(&mut self, db: &Db) -> rusqlite::Result<()> {
        if self.tally.next_token > self.tally.tokens {
            self.tally.tokens = self.tally.next_token + TOKENS_RESERVED;
        }
        let Tally { jobs, unfinished, tokens, .. } = self.tally;
        let Tally { jobs: stored_jobs, unfinished: stored_unfinished, tokens: stored_tokens, .. } = self.stored_tally;
        if (jobs, unfinished, tokens) != (stored_jobs, stored_unfinished, stored_tokens) {
            db.execute("UPDATE tally SET jobs = ?, unfinished = ?, tokens = ?", (Count(jobs), Count(unfinished), Count(tokens)))?;
        }
        Ok(())
    }

    pub(super) fn hold(&mut self, owner: &Owner, until: Timestamp) -> Held {
        let token = self.tally.next_token;
        self.tally.next_token += 1;
        Held { owner: owner.clone(), lease: Lease { token, until } }
    }

    pub(super) fn lease(&self, job: i64) -> Option<&Held> {
        self.leases.get(&job)
    }

    /// The job that is leased under a token.
    pub(super) fn leased(&self, token: u64) -> Option<i64> {
        self.leased.get(&token).copied()
    }

    pub(super) fn leases(&self) -> impl Iterator<Item = (i64, &Held)> {
        self.leases.iter().map(|(job, held)| (*job, held))
    }

    pub(super) fn set_lease(&mut self, job: i64, held: Option<Held>) {
        let before = self.swap_lease(job, held);
        self.undo.push((job, before));
    }

    fn swap_lease(&mut self, job: i64, held: Option<Held>) -> Option<Held> {
        if let Some(held) = &held {
            self.leased.insert(held.lease.token, job);
        }
        let after = held.as_ref().map(|held| held.lease.token);
        let before = match held {
            Some(held) => self.leases.insert(job, held),
            None => self.leases.remove(&job),
        };
        if let Some(before) = &before
            && after != Some(before.lease.token)
        {
            self.leased.remove(&before.lease.token);
        }
        before
    }

    pub(super) fn running_mut(&mut self, run: RunId) -> Option<&mut Running> {
        self.running.get_mut(&run)
    }

    pub(super) fn all_running(&self) -> impl Iterator<Item = &Running> {
        self.running.values()
    }

    /// How many runs of a job are running, backfills left out.
    pub(super) fn running_of(&self, job: i64) -> u32 {
        self.running_by_job.get(&job).copied().unwrap_or(0)
    }

    /// How many backfills of a job are running.
    pub(super) fn backfilling_of(&self, job: i64) -> u32 {
        self.backfilling_by_job.get(&job).copied().unwrap_or(0)
    }

    /// How many runs wait, for whatever it is.
    pub(super) fn waiting(&self) -> u64 {
        self.tally.unfinished.saturating_sub(self.running.len() as u64)
    }

    fn lane(&mut self, cause: Cause) -> &mut ByRow<u32> {
        if cause == Cause::Backfill { &mut self.backfilling_by_job } else { &mut self.running_by_job }
    }

    pub(super) fn start(&mut self, running: Running) {
        *self.lane(running.cause).entry(running.job).or_default() += 1;
        self.running.insert(running.id, running);
    }

    pub(super) fn stop(&mut self, run: RunId) -> Option<Running> {
        let stopped = self.running.remove(&run)?;
        if let Entry::Occupied(mut running) = self.lane(stopped.cause).entry(stopped.job) {
            *running.get_mut() -= 1;
            if *running.get() == 0 {
                running.remove();
            }
        }
        Some(stopped)
    }

    /// `stop` of a run that is held under this token. `None` where it is not.
    pub(super) fn stop_held(&mut self, run: RunId, token: u64) -> Option<Running> {
        self.running.get(&run).filter(|running| running.held.lease.token == token)?;
        self.stop(run)
    }

    /// One run less is unfinished, one more of its job has ended.
    pub(super) fn count_ended(&mut self, db: &Db, job: i64) -> rusqlite::Result<()> {
        self.tally.unfinished -= 1;
        let ended = match self.job(db, job)? {
            Some(row) => {
                row.ended += 1;
                Some(row.ended)
            }
            None => db.query_opt("SELECT ended FROM job WHERE id = ?", [job], |row| Ok(row.get::<_, Count>(0)?.0))?,
        };
        if ended.is_some_and(|ended| ended > self.runs_kept) {
            self.surplus.insert(job);
        }
        Ok(())
    }

    /// A job by its row; `None` where it is gone.
    pub(super) fn job(&mut self, db: &Db, id: i64) -> rusqlite::Result<Option<&mut JobRow>> {
        self.job_or(id, |definitions| db.stored_jobs()?.read(id, definitions))
    }

    /// The same, where `read` is how it is read if it is not known.
    pub(super) fn job_or(&mut self, id: i64, read: impl FnOnce(&mut Definitions) -> rusqlite::Result<Option<JobRow>>) -> rusqlite::Result<Option<&mut JobRow>> {
        self.jobs.make_room();
        let Jobs { young, old } = &mut self.jobs;
        match young.entry(id) {
            Entry::Occupied(known) => Ok(Some(known.into_mut())),
            Entry::Vacant(place) => {
                let known = match old.remove(&id) {
                    Some(known) => Some(known),
                    None => read(&mut self.definitions)?.map(Box::new),
                };
                Ok(known.map(|known| &mut **place.insert(known)))
            }
        }
    }

    /// A job that was just added is known as it will be read.
    pub(super) fn keep_job(&mut self, row: JobRow) {
        self.jobs.put(row);
    }

    pub(super) fn forget_job(&mut self, id: i64) {
        self.jobs.young.remove(&id);
        self.jobs.old.remove(&id);
    }

    /// The row of a job that exists.
    pub(super) fn find_job(&mut self, db: &Db, key: &JobKey) -> rusqlite::Result<Option<i64>> {
        let Some(tenant) = self.find_tenant(db, &key.tenant)? else { return Ok(None) };
        db.query_opt("SELECT id FROM job WHERE tenant = ? AND name = ? AND removed = 0", (tenant, key.id.as_str()), |row| row.get(0))
    }

    pub(super) fn find_tenant(&mut self, db: &Db, tenant: &TenantId) -> rusqlite::Result<Option<i64>> {
        if let Some(id) = self.tenants.get(tenant) {
            return Ok(Some(*id));
        }
        let found = find_tenant(db, tenant)?;
        if let Some(id) = found {
            if self.tenants.len() >= TENANTS_MAX {
                self.tenants.clear();
            }
            self.tenants.insert(tenant.clone(), id);
        }
        Ok(found)
    }

    /// A tenant's number, given at its first use.
    pub(super) fn tenant(&mut self, db: &Db, tenant: &TenantId) -> rusqlite::Result<i64> {
        match self.find_tenant(db, tenant)? {
            Some(id) => Ok(id),
            None => {
                db.execute("INSERT INTO tenant (name) VALUES (?)", [tenant.as_str()])?;
                Ok(db.connection.last_insert_rowid())
            }
        }
    }
}

pub(super) fn find_tenant(db: &Db, tenant: &TenantId) -> rusqlite::Result<Option<i64>> {
    db.query_opt("SELECT id FROM tenant WHERE name = ?", [tenant.as_str()], |row| row.get(0))
}

pub(super) fn last_receipt(db: &Db, run: RunId) -> rusqlite::Result<Option<crate::job::Receipt>> {
    let sql = format!("SELECT {RECEIPT} FROM attempt WHERE run = ? ORDER BY number DESC LIMIT 1");
    db.query_opt(&sql, params![run], |row| rows::read_receipt(row, 0))
}

/// Jobs as they are stored. Who reads many of them finds the statement once.
pub(super) struct StoredJobs<'a>(CachedStatement<'a>);

impl Db {
    pub(super) fn stored_jobs(&self) -> rusqlite::Result<StoredJobs<'_>> {
        static BY_ROW: LazyLock<String> = LazyLock::new(|| format!("SELECT {JOB} WHERE job.id = ?"));
        Ok(StoredJobs(self.statement(&BY_ROW)?))
    }
}

impl StoredJobs<'_> {
    /// `None` where there is no such job.
    pub(super) fn read(&mut self, id: i64, definitions: &mut Definitions) -> rusqlite::Result<Option<JobRow>> {
        let mut rows = self.0.query([id])?;
        rows.next()?.map(|row| rows::read_job_with(row, |text| definitions.read(text))).transpose()
    }
}

/// Jobs that were touched lately, decoded: a definition is parsed when it is first needed, not at each of its runs. When
/// the young are too many they become the old, and the old are forgotten.
#[derive(Default)]
struct Jobs {
    young: ByRow<Box<JobRow>>,
    old: ByRow<Box<JobRow>>,
}

/// By the number of a row, or the id of a run, which nobody outside chooses: no hash has to withstand anybody.
type ByRow<T> = HashMap<i64, T, Spread>;
type Rows = HashSet<i64, Spread>;
type Spread = BuildHasherDefault<Multiply>;

#[derive(Default)]
pub(super) struct Multiply(u64);

impl Hasher for Multiply {
    fn write(&mut self, bytes: &[u8]) {
        for word in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            self.write_u64(u64::from_ne_bytes(padded));
        }
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn write_i64(&mut self, n: i64) {
        self.write_u64(n.cast_unsigned());
    }

    /// The tables take the lowest bits and the highest ones.
    fn write_u64(&mut self, n: u64) {
        let product = u128::from(self.0 ^ n) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Jobs {
    /// The tables themselves are used again: to let one grow anew is to hash each of its jobs once more at every size.
    fn make_room(&mut self) {
        if self.young.len() >= JOBS_MAX {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
    }

    fn put(&mut self, row: JobRow) {
        self.make_room();
        self.old.remove(&row.id);
        self.young.insert(row.id, Box::new(row));
    }
}
