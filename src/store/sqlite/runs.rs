//! Runs: added, claimed, renewed, finished, cancelled.
//!
//! A waiting run either has its turn (it stands in the index that claims read) or is held back, because its job runs as
//! many as it may. A run is held back when it is made, or when a claim comes upon it, once; each run of the job that
//! stops running gives the turn to the best one held. So a claim never looks twice at what it cannot start, however
//! many runs wait. Backfills are held back and given turns among themselves. What holds: a job with room for n more has at least its n best due runs, or all, in turn,
//! unless its runs need a process each: those are held back, too, where a claim comes upon more of them than there may be, and later claims
//! give turns to as many of the best as they may take.

use jiff::Timestamp;
use rusqlite::params;

use super::jobs::not_found;
use super::live::{self, Held, Running};
use super::record::{EndTexts, EndedRuns};
use super::rows::{self, At, Code, Count, Json, RUN, RUN_COLUMNS, Text, at};
use super::writer::{Done, Writer};
use crate::job::{Cause, JobKey, Outcome, Pause, Run, RunId, RunKey, RunState, TenantId};
use crate::store::apply::RunEnd;
use crate::store::{AddedRun, AttemptEnd, CancelFound, ClaimedRun, Fenced, Owner, Renewed, RunClaim, Settled, StoreError, apply};

/// Jobs with runs that wait for a process of their own that one claim looks at.
const ALONE_PER_CLAIM: usize = 1_000;
/// Runs that one claim holds back at most; what is behind them is found by the next.
const HELD_PER_CLAIM: usize = 10_000;
/// Waiting runs of jobs without room that `next_due` passes over at most, of each priority.
const PASSED_OVER: usize = 1_000;

const ONE_MORE_ENDED: &str = "UPDATE job SET ended = ended + 1 WHERE id = ?";

/// What a waiting run stands for, as its column says it.
#[derive(Clone, Copy)]
pub(super) enum Turn {
    /// One of its job must end first.
    Place = 0,
    Given = 1,
    /// A backfill of its job must end first.
    Backfill = 3,
}

/// A waiting run that may be claimed, as it is found.
struct Ready {
    tenant: i64,
    id: RunId,
    job: i64,
    /// Where it and its job can be read.
    run: Option<Run>,
}

enum Claim {
    Started(Box<ClaimedRun>),
    /// It must wait for one of its job to end.
    Held,
    /// It must wait for its job's rate limit, and leaves its turn to another one.
    Passed,
}

impl Writer {
    pub(super) fn add_run(&mut self, run: &Run) -> Done<Run> {
        let job = self.live.find_job(&self.db, &run.job)?.ok_or_else(|| not_found(&run.job))?;
        self.insert_run(job, run)?;
        Ok(run.clone())
    }

    pub(super) fn add_run_once(&mut self, run: &Run, since: Option<Timestamp>) -> Done<AddedRun> {
        let job = self.live.find_job(&self.db, &run.job)?.ok_or_else(|| not_found(&run.job))?;
        if let Some(key) = &run.key
            && let Some(found) = self.current_of_key(job, &run.job, key, since)?
        {
            return Ok(AddedRun { run: found, new: false });
        }
        self.insert_run(job, run)?;
        Ok(AddedRun { run: run.clone(), new: true })
    }

    /// The newest run of a key that stands for another one of it.
    fn current_of_key(&self, job: i64, of: &JobKey, key: &RunKey, since: Option<Timestamp>) -> Done<Option<Run>> {
        let sql = format!("SELECT {RUN} FROM run WHERE job = ? AND key = ? ORDER BY id DESC");
        let mut statement = self.db.statement(&sql)?;
        let mut rows = statement.query(params![job, Text(key)])?;
        while let Some(row) = rows.next()? {
            let mut run = rows::read_run(row, of.clone())?;
            if apply::is_current(&run, since) {
                run.receipt = live::last_receipt(&self.db, run.id)?;
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    /// Adds a run. False where the firing has one already, or the id is taken.
    pub(super) fn insert_run(&mut self, job: i64, run: &Run) -> Done<bool> {
        let held_back = run.start_at <= run.created_at && self.room(job)? == 0;
        let turn = if held_back { Turn::Place } else { Turn::Given };
        let inserted = self.insert_run_with(job, run, turn)?;
        if held_back && inserted {
            self.live.held_back.insert(job);
        }
        Ok(inserted)
    }

    fn insert_run_with(&mut self, job: i64, run: &Run, turn: Turn) -> Done<bool> {
        let tenant = self.live.tenant(&self.db, &run.job.tenant)?;
        let inserted = self.db.new_runs()?.insert(run, tenant, job, turn)?;
        self.live.tally.unfinished += u64::from(inserted);
        Ok(inserted)
    }

    /// Writes a run that does not run, whatever changed of it.
    fn put_idle(&self, run: &Run, tenant: i64) -> Done<()> {
        let waiting = matches!(run.state, RunState::Queued | RunState::WaitingRetry);
        self.db.execute(
            "UPDATE run SET start_at = ?, rate_limited = ?, state = ?, turn = ?, attempt = ?, lost = ?, started_at = ?, ended_at = ?, outcome = ?, cancel = ?, error = ?, \
             owner = NULL, token = NULL, lease_until = NULL WHERE tenant = ? AND id = ?",
            params![
                At(run.start_at),
                run.rate_limited,
                Code(run.state),
                waiting.then_some(1),
                run.attempt,
                run.lost_attempts,
                at(run.started_at),
                at(run.ended_at),
                run.outcome.map(Code),
                run.cancel_requested,
                run.error.as_ref().map(Json),
                tenant,
                run.id
            ],
        )?;
        Ok(())
    }

    /// Writes what changes of a run when it starts to run.
    fn put_running(&self, running: &Running, run: &Run) -> Done<()> {
        let Running { tenant, held, .. } = running;
        self.db.execute(
            "UPDATE run SET state = 1, turn = NULL, attempt = ?, started_at = ?, owner = ?, token = ?, lease_until = ? WHERE tenant = ? AND id = ?",
            params![run.attempt, at(run.started_at), &*held.owner.0, Count(held.lease.token), At(held.lease.until), tenant, run.id],
        )?;
        if run.rate_limited {
            self.db.execute("UPDATE run SET start_at = ?, rate_limited = 1 WHERE tenant = ? AND id = ?", params![At(run.start_at), tenant, run.id])?;
        }
        Ok(())
    }

    pub(super) fn add_backfill(&mut self, key: &JobKey, runs: &[Run]) -> Done<u64> {
        let job = self.live.find_job(&self.db, key)?.ok_or_else(|| not_found(key))?;
        let mut added = 0;
        for run in runs {
            // Those that could not be claimed now in any case are not offered.
            let held_back = added >= u64::from(self.backfill_room(job, run)?);
            let turn = if held_back { Turn::Backfill } else { Turn::Given };
            if self.insert_run_with(job, run, turn)? {
                added += 1;
                if held_back {
                    self.live.backfills_held.insert(job);
                }
            }
        }
        Ok(added)
    }

    /// How many backfills like this one may start beside those of the job that run.
    fn backfill_room(&mut self, job: i64, run: &Run) -> Done<u32> {
        let running = self.live.backfilling_of(job);
        let readable = self.live.job(&self.db, job)?.is_some_and(|row| row.unreadable.is_none());
        Ok(if readable { run.backfill_max.unwrap_or(0).saturating_sub(running) } else { 0 })
    }

    /// The run's kind has one more place: the best one held back gets the turn.
    fn give_turn_beside(&mut self, job: i64, cause: Cause) -> Done<()> {
        if cause != Cause::Backfill {
            return self.give_turns(job, 1);
        }
        if !self.live.backfills_held.contains(&job) {
            return Ok(());
        }
        let sql = "SELECT tenant, id FROM run WHERE job = ? AND turn = 3 ORDER BY priority DESC, start_at, id LIMIT 1";
        match self.db.query_opt(sql, [job], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, RunId>(1)?)))? {
            Some((tenant, id)) => {
                self.db.execute("UPDATE run SET turn = 1 WHERE tenant = ? AND id = ?", params![tenant, id])?;
            }
            None => {
                self.live.backfills_held.remove(&job);
            }
        }
        Ok(())
    }

    /// How many runs of a job may start beside those that run; of one that is gone or cannot be read, none.
    pub(super) fn room(&mut self, job: i64) -> Done<u32> {
        let running = self.live.running_of(job);
        Ok(self.live.job(&self.db, job)?.map_or(0, |row| row.room(running)))
    }

    /// Gives the turn to the best runs held back of a job: `n` of them, as far as there is room.
    pub(super) fn give_turns(&mut self, job: i64, n: u32) -> Done<()> {
        if !self.live.held_back.contains(&job) {
            return Ok(());
        }
        let room = self.room(job)?.min(n);
        if room > 0 {
            let sql = "SELECT tenant, id FROM run WHERE job = ? AND turn = 0 ORDER BY priority DESC, start_at, id LIMIT ?";
            let best: Vec<(i64, RunId)> = self.db.query_all(sql, params![job, room], |row| Ok((row.get(0)?, row.get(1)?)))?;
            if best.len() < room as usize {
                self.live.held_back.remove(&job);
            }
            for (tenant, id) in best {
                self.db.execute("UPDATE run SET turn = 1 WHERE tenant = ? AND id = ?", params![tenant, id])?;
            }
        }
        Ok(())
    }

    /// The job's definition was changed: where its runs need no process of their own any more, none waits for one. (Those that wait for one
    /// of their own to end are looked at in any case.)
    pub(super) fn isolation_changed(&mut self, job: i64) -> Done<()> {
        if self.live.alone_held.contains(&job) && !self.is_alone(job)? {
            self.live.alone_held.remove(&job);
            self.db.execute("UPDATE run SET turn = 1 WHERE job = ? AND turn = 3", [job])?;
        }
        Ok(())
    }

    pub(super) fn is_alone(&mut self, job: i64) -> Done<bool> {
        Ok(self.live.job(&self.db, job)?.is_some_and(|row| row.rules.alone))
    }

    /// Gives the turn to at most `n` of the best runs that were held back for want of a process. Of jobs that have such, the next
    /// `ALONE_PER_CLAIM` are looked at, so that each comes to its turn however many there are.
    fn give_alone_turns(&mut self, now: Timestamp, n: usize) -> Done<()> {
        if n == 0 || self.live.alone_held.is_empty() {
            return Ok(());
        }
        let held = &self.live.alone_held;
        let jobs: Vec<i64> = held.range(self.live.alone_last + 1..).chain(held.range(..=self.live.alone_last)).take(ALONE_PER_CLAIM).copied().collect();
        let mut best = Vec::new();
        for job in jobs {
            self.live.alone_last = job;
            best.extend(self.alone_held_of(job, n, now)?);
        }
        best.sort_unstable_by_key(|(priority, start_at, id, _)| (-priority, *start_at, *id));
        for (.., id, tenant) in best.into_iter().take(n) {
            self.db.execute("UPDATE run SET turn = 1 WHERE tenant = ? AND id = ?", params![tenant, id])?;
        }
        Ok(())
    }

    /// At most `n` of the best due runs of a job that are held back, as far as it has room for them; priority, start, id and tenant. Where
    /// nothing of it is held back for want of a process any more, it is looked at no further.
    fn alone_held_of(&mut self, job: i64, n: usize, now: Timestamp) -> Done<Vec<(i64, Timestamp, RunId, i64)>> {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        let mut found = Vec::new();
        for (turn, room) in [(Turn::Place, self.room(job)?), (Turn::Backfill, u32::MAX)] {
            let sql = "SELECT priority, start_at, id, tenant, backfill_max FROM run WHERE job = ? AND turn = ? ORDER BY priority DESC, start_at, id LIMIT ?";
            let rows = self.db.query_all(sql, params![job, turn as i64, n], |row| {
                let of = (row.get(0)?, row.get::<_, At>(1)?.0, row.get(2)?, row.get(3)?);
                Ok((of, row.get::<_, Option<u32>>(4)?))
            })?;
            let running = self.live.backfilling_of(job);
            let room = rows.first().and_then(|(_, most)| *most).map_or(room, |most| most.saturating_sub(running));
            found.push((rows.len(), rows.into_iter().map(|(of, _)| of).filter(|of| of.1 <= now).take(room as usize)));
        }
        if found.iter().all(|(held, _)| *held == 0) || !self.is_alone(job)? {
            self.live.alone_held.remove(&job);
        }
        Ok(found.into_iter().flat_map(|(_, best)| best).collect())
    }

    pub(super) fn claim_runs(&mut self, claim: &RunClaim) -> Done<Vec<ClaimedRun>> {
        let &RunClaim { now, max, mut alone, .. } = claim;
        self.give_rated_turns(now)?;
        self.give_alone_turns(now, alone.min(max))?;
        let mut claimed = Vec::new();
        let mut held_back = 0;
        let mut above = i64::MAX;
        while let Some(priority) = self.priority_below(above)? {
            above = priority;
            loop {
                let wanted = max - claimed.len();
                let ready = self.ready(priority, now, wanted)?;
                let found = ready.len();
                for ready in ready {
                    match self.claim(ready, claim, &mut alone)? {
                        Claim::Started(run) => claimed.push(*run),
                        Claim::Held => held_back += 1,
                        Claim::Passed => {
                            held_back += 1;
                            // Another run of the job has the turn now, perhaps one of a higher priority.
                            above = i64::MAX;
                        }
                    }
                }
                if claimed.len() == max || held_back >= HELD_PER_CLAIM {
                    return Ok(claimed);
                }
                if found < wanted || above == i64::MAX {
                    break;
                }
            }
        }
        Ok(claimed)
    }

    /// The highest priority below another that a run in turn has.
    fn priority_below(&self, above: i64) -> Done<Option<i64>> {
        let sql = "SELECT priority FROM run WHERE turn = 1 AND priority < ? ORDER BY priority DESC LIMIT 1";
        Ok(self.db.query_opt(sql, [above], |row| row.get(0))?)
    }

    /// Whether a run in turn may start.
    pub(super) fn anything_ready(&self, now: Timestamp) -> Done<bool> {
        let mut above = i64::MAX;
        while let Some(priority) = self.priority_below(above)? {
            let sql = "SELECT 1 FROM run WHERE turn = 1 AND priority = ? AND start_at <= ? LIMIT 1";
            if self.db.query_opt(sql, params![priority, At(now)], |_| Ok(()))?.is_some() {
                return Ok(true);
            }
            above = priority;
        }
        Ok(false)
    }

    fn ready(&mut self, priority: i64, now: Timestamp, max: usize) -> Done<Vec<Ready>> {
        let Self { db, live } = self;
        let sql = format!("SELECT {RUN}, run.tenant, run.job FROM run WHERE turn = 1 AND priority = ? AND start_at <= ? ORDER BY start_at, id LIMIT ?");
        let mut statement = db.statement(&sql)?;
        let mut rows = statement.query(params![priority, At(now), Count(max as u64)])?;
        let mut ready = Vec::new();
        while let Some(row) = rows.next()? {
            let (tenant, id, job) = (row.get(RUN_COLUMNS)?, row.get(0)?, row.get(RUN_COLUMNS + 1)?);
            let run = match live.job(db, job)? {
                Some(known) if known.unreadable.is_none() => match rows::read_run(row, known.job.key.clone()) {
                    Ok(run) => Some(run),
                    Err(error) => {
                        tracing::error!(run = %id, %error, "a run cannot be read; it is held back");
                        None
                    }
                },
                _ => None,
            };
            ready.push(Ready { tenant, id, job, run });
        }
        Ok(ready)
    }

    /// Starts a run, or holds it back. `alone` more may have a process of their own.
    fn claim(&mut self, ready: Ready, claim: &RunClaim, alone: &mut usize) -> Done<Claim> {
        let now = claim.now;
        let Ready { tenant, id, job, run } = ready;
        let backfill = run.as_ref().is_some_and(|run| run.cause == Cause::Backfill);
        let room = match &run {
            Some(run) if backfill => self.backfill_room(job, run)?,
            _ => self.room(job)?,
        };
        let is_alone = self.is_alone(job)?;
        let lacks_process = is_alone && *alone == 0 && run.is_some();
        if lacks_process {
            self.live.alone_held.insert(job);
        }
        let Some(mut run) = run.filter(|_| room > 0 && !lacks_process) else {
            let (turn, held) = if backfill { (Turn::Backfill, &mut self.live.backfills_held) } else { (Turn::Place, &mut self.live.held_back) };
            held.insert(job);
            self.db.execute("UPDATE run SET turn = ? WHERE tenant = ? AND id = ?", params![turn as i64, tenant, id])?;
            return Ok(Claim::Held);
        };
        if !self.count_start(tenant, job, &mut run, now)? {
            self.give_turn_beside(job, run.cause)?;
            return Ok(Claim::Passed);
        }
        let mut checkpoint = None;
        if run.attempt > 0 {
            run.receipt = live::last_receipt(&self.db, id)?;
            checkpoint = self.db.query_opt("SELECT data FROM checkpoint WHERE run = ?", params![id], |row| row.get(0))?;
        }
        apply::start(&mut run, now);
        *alone -= usize::from(is_alone);
        let held = self.live.hold(&claim.owner, claim.until);
        let Run { cause, attempt, started_at, .. } = run;
        let claimed = self.hold_run(Running { id, tenant, job, cause, attempt, started_at, cancel: None, held }, run)?;
        Ok(claimed.map_or(Claim::Held, |claimed| Claim::Started(Box::new(ClaimedRun { checkpoint, ..claimed }))))
    }

    /// Writes a running run with its new lease. `None` where its job is gone.
    fn hold_run(&mut self, running: Running, run: Run) -> Done<Option<ClaimedRun>> {
        let Some(job) = self.live.job(&self.db, running.job)?.map(|row| row.job.clone()) else { return Ok(None) };
        self.put_running(&running, &run)?;
        let lease = running.held.lease;
        self.live.start(running);
        Ok(Some(ClaimedRun { run: Box::new(run), job, lease, checkpoint: None }))
    }

    /// All of a run that is running.
    fn running_run(&self, tenant: i64, id: RunId) -> Done<Run> {
        let sql = format!(
            "SELECT {RUN}, tenant.name, job.name FROM run JOIN job ON job.id = run.job JOIN tenant ON tenant.id = run.tenant WHERE run.tenant = ? AND run.id = ?"
        );
        let read = |row: &rusqlite::Row<'_>| rows::read_run(row, rows::key(row, RUN_COLUMNS, RUN_COLUMNS + 1)?);
        let mut run = self.db.query_opt(&sql, params![tenant, id], read)?.ok_or_else(|| no_run(id))?;
        run.receipt = live::last_receipt(&self.db, id)?;
        Ok(run)
    }

    /// The soonest start of a run that its job has room for.
    pub(super) fn next_run(&mut self) -> Done<Option<Timestamp>> {
        let mut soonest = self.next_rated()?;
        let mut above = i64::MAX;
        while let Some(priority) = self.priority_below(above)? {
            above = priority;
            let Self { db, live } = self;
            let mut rated = Vec::new();
            let mut statement = db.statement("SELECT start_at, job, attempt, backfill_max FROM run WHERE turn = 1 AND priority = ? ORDER BY start_at")?;
            let mut rows = statement.query([priority])?;
            let mut passed_over = 0;
            while let Some(row) = rows.next()? {
                let (start_at, job, attempt, backfill_max) = (row.get::<_, At>(0)?.0, row.get(1)?, row.get::<_, u32>(2)?, row.get::<_, Option<u32>>(3)?);
                let running = if backfill_max.is_some() { live.backfilling_of(job) } else { live.running_of(job) };
                let spec = live.job(db, job)?.map(|row| &row.job.spec);
                let most = backfill_max.or_else(|| spec.and_then(|spec| spec.running_max()));
                let full = running > 0 && most.is_some_and(|most| running >= most);
                let limited = attempt == 0 && spec.is_some_and(|spec| spec.rate_limit.is_some());
                // Past the bound, the answer may be too soon, which costs its caller a look.
                if !full && !limited || passed_over >= PASSED_OVER {
                    soonest = Some(soonest.map_or(start_at, |soonest| soonest.min(start_at)));
                    break;
                }
                if !full {
                    rated.push((start_at, job));
                }
                passed_over += 1;
            }
            drop(rows);
            drop(statement);
            for (start_at, job) in rated {
                let due = self.opens_at(job)?.map_or(start_at, |opens_at| opens_at.max(start_at));
                soonest = Some(soonest.map_or(due, |soonest| soonest.min(due)));
            }
        }
        Ok(soonest)
    }

    pub(super) fn renew_runs(&mut self, owner: &Owner, runs: &[(RunId, u64)], until: Timestamp) -> Done<Renewed> {
        let Self { db, live } = self;
        let mut renewed = Renewed::default();
        for &(id, token) in runs {
            match live.running_mut(id).filter(|running| running.held.lease.token == token && running.held.owner == *owner) {
                None => renewed.lost.push(id),
                Some(running) => {
                    running.held.lease.until = until;
                    db.execute("UPDATE run SET lease_until = ? WHERE tenant = ? AND id = ?", params![At(until), running.tenant, id])?;
                    renewed.cancel.extend(running.cancel.clone().map(|reason| (id, reason)));
                }
            }
        }
        Ok(renewed)
    }

    /// Table by table: what is written next lies beside what was written last.
    pub(super) fn finish_attempts(&mut self, ends: &[AttemptEnd], texts: &[EndTexts]) -> Done<Vec<Fenced>> {
        let db = self.db.clone();
        let mut rows = db.ended_runs()?;
        let mut stopped: Vec<_> = ends.iter().map(|end| self.live.stop_held(end.run, end.token)).collect();
        for ((end, texts), stopped) in ends.iter().zip(texts).zip(&stopped) {
            if let (Some(_), Some(attempt), Settled::Ended { .. } | Settled::Retry { .. }) = (stopped, &end.attempt, &end.settled) {
                rows.insert_attempt(end.run, attempt, texts)?;
            }
        }
        let mut ended = Vec::with_capacity(ends.len());
        for ((end, texts), stopped) in ends.iter().zip(texts).zip(&stopped) {
            ended.push(stopped.as_ref().map(|running| self.settle(end, texts, running, &mut rows)).transpose()?.flatten());
        }
        for ((end, stopped), ended) in ends.iter().zip(&stopped).zip(ended) {
            if let Some(running) = stopped {
                self.after_attempt(end, running, ended, &mut rows)?;
            }
        }
        Ok(stopped.drain(..).map(|stopped| if stopped.is_some() { Fenced::Done } else { Fenced::LeaseLost }).collect())
    }

    /// Writes what becomes of the run. `None` where it does not end.
    fn settle(&mut self, end: &AttemptEnd, texts: &EndTexts, running: &Running, rows: &mut EndedRuns<'_>) -> Done<Option<RunEnd>> {
        let &Running { id, tenant, job, cause, attempt, started_at, .. } = running;
        match &end.settled {
            Settled::Missed(_) => Ok(None),
            Settled::Ended { outcome, .. } => {
                rows.put(tenant, id, *outcome, texts.run_error.as_deref(), end.now)?;
                // One that ends in its first attempt has none.
                if attempt > 1 {
                    self.forget_checkpoint(id)?;
                }
                Ok(Some(RunEnd { run: id, cause, outcome: *outcome, started_at, ended_at: end.now }))
            }
            Settled::Retry { .. } => {
                let mut run = self.running_run(tenant, id)?;
                let job_exists = self.live.job(&self.db, job)?.is_some();
                apply::settle(&mut run, end.attempt.as_ref(), &end.settled, job_exists, end.now);
                self.put_idle(&run, tenant)?;
                self.keep_checkpoint(&run, end.checkpoint.as_deref())?;
                Ok(RunEnd::of(&run))
            }
        }
    }

    /// What an attempt that ended leaves in its job, and to other runs of it.
    fn after_attempt(&mut self, end: &AttemptEnd, running: &Running, ended: Option<RunEnd>, rows: &mut EndedRuns<'_>) -> Done<()> {
        let &Running { id, tenant, job, cause, started_at, .. } = running;
        if let Settled::Missed(skip) = &end.settled {
            self.uncount_start(job, started_at)?;
            self.delete_run(tenant, id)?;
            self.live.tally.unfinished -= 1;
            self.record_skip(tenant, job, skip)?;
            return self.give_turn_beside(job, cause);
        }
        if let Some(ended) = &ended {
            self.remember(tenant, job, ended, rows)?;
        }
        if let Some(pause) = &end.pause_job {
            self.pause_job(job, pause)?;
        }
        self.give_turn_beside(job, cause)
    }

    /// Keeps what an attempt saved for the next one, until the run ends.
    fn keep_checkpoint(&self, run: &Run, saved: Option<&[u8]>) -> Done<()> {
        match saved {
            Some(data) if run.state == RunState::WaitingRetry => {
                self.db.execute("INSERT OR REPLACE INTO checkpoint (run, data) VALUES (?, ?)", params![run.id, data])?;
            }
            _ if run.state == RunState::Ended => self.forget_checkpoint(run.id)?,
            _ => {}
        }
        Ok(())
    }

    fn forget_checkpoint(&self, run: RunId) -> Done<()> {
        self.db.execute("DELETE FROM checkpoint WHERE run = ?", params![run])?;
        Ok(())
    }

    /// What a job keeps of a run of its that ended after an attempt.
    fn remember(&mut self, tenant: i64, id: i64, end: &RunEnd, rows: &mut EndedRuns<'_>) -> Done<()> {
        let Self { db, live } = self;
        match live.job(db, id)? {
            Some(row) => {
                apply::remember(&mut row.job, end);
                rows.remember(id, &row.job)?;
            }
            None => _ = db.execute(ONE_MORE_ENDED, [id])?,
        }
        live.count_ended(db, id)?;
        self.tell_downstream(tenant, id, end)
    }

    fn pause_job(&mut self, id: i64, pause: &Pause) -> Done<()> {
        let Self { db, live } = self;
        let Some(row) = live.job(db, id)? else { return Ok(()) };
        if apply::pause(&mut row.job, pause.clone()) {
            db.execute("UPDATE job SET pause = ?, wake_at = ? WHERE id = ?", params![Json(pause), at(row.job.wake_at), id])?;
            live.set_lease(id, None);
            self.wake_for_ends(id)?;
        }
        Ok(())
    }

    pub(super) fn claim_lost(&mut self, owner: &Owner, now: Timestamp, until: Timestamp, max: usize) -> Done<Vec<ClaimedRun>> {
        let lost = self.live.all_running().map(|running| (running.held.lease.until, running.id)).filter(|(end, _)| *end <= now);
        let mut lost: Vec<_> = lost.collect();
        lost.sort_unstable();
        lost.truncate(max);
        let (db, mut claimed) = (self.db.clone(), Vec::new());
        for (_, id) in lost {
            let Some(mut running) = self.live.stop(id) else { continue };
            running.held = self.live.hold(owner, until);
            let (tenant, job) = (running.tenant, running.job);
            let mut run = self.running_run(tenant, id)?;
            if self.live.job(&self.db, job)?.is_some() {
                claimed.extend(self.hold_run(running, run)?);
                continue;
            }
            apply::lose(&mut run, now);
            let mut rows = db.ended_runs()?;
            let error = serde_json::to_string(&run.error).map_err(|e| StoreError::Refused(e.to_string()))?;
            rows.put(tenant, id, Outcome::Lost, Some(&error), now)?;
            self.forget_checkpoint(id)?;
            if let Some(end) = RunEnd::of(&run) {
                self.remember(tenant, job, &end, &mut rows)?;
            }
        }
        Ok(claimed)
    }

    pub(super) fn end_other_leases(&mut self, owner: &Owner, now: Timestamp) -> Done<u64> {
        let ends = |held: &Held| held.owner != *owner && held.lease.until > now;
        let runs: Vec<RunId> = self.live.all_running().filter(|running| ends(&running.held)).map(|running| running.id).collect();
        let jobs: Vec<(i64, Held)> = self.live.leases().filter(|(_, held)| ends(held)).map(|(job, held)| (job, held.clone())).collect();
        let ended = (runs.len() + jobs.len()) as u64;
        for id in runs {
            if let Some(running) = self.live.running_mut(id) {
                running.held.lease.until = now;
                self.db.execute("UPDATE run SET lease_until = ? WHERE tenant = ? AND id = ?", params![At(now), running.tenant, id])?;
            }
        }
        for (job, mut held) in jobs {
            held.lease.until = now;
            self.live.set_lease(job, Some(held));
        }
        Ok(ended)
    }

    pub(super) fn cancel_run(&mut self, tenant: &TenantId, id: RunId, reason: &str, now: Timestamp) -> Done<CancelFound> {
        let number = self.live.find_tenant(&self.db, tenant)?.ok_or_else(|| no_run(id))?;
        let Self { db, live } = self;
        if let Some(running) = live.running_mut(id).filter(|running| running.tenant == number) {
            if running.cancel.is_none() {
                running.cancel = Some(reason.to_owned());
                db.execute("UPDATE run SET cancel = ? WHERE tenant = ? AND id = ?", params![reason, number, id])?;
            }
            return Ok(CancelFound::Requested);
        }
        let sql = "SELECT run.state, job.id FROM run JOIN job ON job.id = run.job WHERE run.tenant = ? AND run.id = ?";
        match db.query_opt(sql, params![number, id], |row| Ok((row.get::<_, Code<RunState>>(0)?.0, row.get(1)?)))? {
            None => Err(no_run(id).into()),
            Some((RunState::Ended | RunState::Running, _)) => Ok(CancelFound::AlreadyEnded),
            Some((RunState::Queued | RunState::WaitingRetry, job)) => {
                self.end_waiting(job, tenant, id, reason, now)?;
                Ok(CancelFound::Ended)
            }
        }
    }

    /// Ends a waiting run as cancelled.
    pub(super) fn end_waiting(&mut self, job: i64, tenant: &TenantId, id: RunId, reason: &str, now: Timestamp) -> Done<()> {
        let number = self.live.tenant(&self.db, tenant)?;
        let sql = format!("SELECT {RUN}, job.name FROM run JOIN job ON job.id = run.job WHERE run.tenant = ? AND run.id = ?");
        let read = |row: &rusqlite::Row<'_>| rows::read_run(row, JobKey { tenant: tenant.clone(), id: row.get::<_, Text<_>>(RUN_COLUMNS)?.0 });
        let Some(mut run) = self.db.query_opt(&sql, params![number, id], read)? else { return Ok(()) };
        apply::cancel(&mut run, reason, now);
        self.put_idle(&run, number)?;
        if run.attempt > 0 {
            self.forget_checkpoint(id)?;
        }
        self.db.execute(ONE_MORE_ENDED, [job])?;
        self.live.count_ended(&self.db, job)?;
        if let Some(end) = RunEnd::of(&run) {
            self.tell_downstream(number, job, &end)?;
        }
        self.give_turn_beside(job, run.cause)
    }

    pub(super) fn delete_run(&self, tenant: i64, id: RunId) -> Done<()> {
        self.db.execute("DELETE FROM output WHERE run = ?", params![id])?;
        self.db.execute("DELETE FROM attempt WHERE run = ?", params![id])?;
        self.db.execute("DELETE FROM run WHERE tenant = ? AND id = ?", params![tenant, id])?;
        Ok(())
    }
}

pub(super) fn no_run(id: RunId) -> StoreError {
    StoreError::NotFound { what: format!("run {id}") }
}
