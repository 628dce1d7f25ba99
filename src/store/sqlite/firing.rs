//! Firings: leasing jobs that came due, and carrying out what was decided about them.

use jiff::Timestamp;
use rusqlite::params;

use super::live::Running;
use super::record::{MovedJobs, NewRuns};
use super::rows::{At, Code, Json, Rules, job_state};
use super::writer::{Done, Writer};
use crate::job::{Cause, Job, JobKey, Run, RunId, RunState};
use crate::store::{ClaimedRun, Fenced, FiringCommit, FiringStep, Lease, LeasedJob, Owner, RunClaim, UNFINISHED_MAX, Unfinished, apply};

fn runs_of(firing: &FiringCommit) -> usize {
    firing.steps.iter().filter(|step| matches!(step, FiringStep::Run(_))).count()
}

/// Runs that firings start as they make them.
struct Starting<'a> {
    claim: &'a RunClaim,
    /// How many more may have a process of their own.
    alone: usize,
}

/// A run that started as its firing made it.
pub(super) struct Started {
    /// By its place.
    firing: usize,
    lease: Lease,
    job: Job,
}

/// What `commit_and_claim` found.
pub(super) struct Committed {
    answers: Vec<Fenced>,
    started: Vec<Started>,
    claimed: Vec<ClaimedRun>,
}

impl Committed {
    /// The answers, and what was claimed in all: the runs that started at once are taken out of their firings, which nobody needs any more.
    pub(super) fn told(self, mut firings: Vec<FiringCommit>, now: Timestamp) -> (Vec<Fenced>, Vec<ClaimedRun>) {
        let Self { answers, started, mut claimed } = self;
        claimed.extend(started.into_iter().filter_map(|Started { firing, lease, job }| {
            let mut run = firings.get_mut(firing)?.steps.drain(..).find_map(|step| match step {
                FiringStep::Run(run) => Some(run),
                FiringStep::Skip(_) => None,
            })?;
            apply::start(&mut run, now);
            Some(ClaimedRun { run, job, lease, checkpoint: None })
        }));
        claimed.sort_by(|a, b| (b.run.priority, a.run.start_at, a.run.id).cmp(&(a.run.priority, b.run.start_at, b.run.id)));
        (answers, claimed)
    }
}

/// A job whose firing is being carried out.
struct Firing {
    job: i64,
    started: Option<Lease>,
}

impl Writer {
    pub(super) fn lease_due(&mut self, owner: &Owner, now: Timestamp, until: Timestamp, max: usize) -> Done<Vec<LeasedJob>> {
        let db = self.db.clone();
        let (due, mut stored) = (self.due(now, max)?, db.stored_jobs()?);
        let mut leased = Vec::with_capacity(due.len());
        for (id, has_unfinished) in due {
            let live = &mut self.live;
            let Some(row) = live.job_or(id, |definitions| stored.read(id, definitions))? else { continue };
            if let Some(reason) = row.unreadable.clone() {
                self.park(id, &reason)?;
                continue;
            }
            let (job, rules) = (row.job.clone(), row.rules);
            let held = live.hold(owner, until);
            let lease = held.lease;
            live.set_lease(id, Some(held));
            let has_unfinished = has_unfinished || live.running_of(id) > 0;
            let (unfinished, unfinished_count) = if has_unfinished { self.unfinished(id, now)? } else { (Vec::new(), 0) };
            let ends = if rules.follows { self.arrived(id)? } else { Vec::new() };
            leased.push(LeasedJob { job, lease, unfinished, unfinished_count, ends });
        }
        Ok(leased)
    }

    /// At most `max` jobs that are due and that nobody holds, soonest first; and of each whether it has runs that wait.
    fn due(&self, now: Timestamp, max: usize) -> Done<Vec<(i64, bool)>> {
        let sql = match self.live.waiting() {
            0 => "SELECT id, 0 FROM job WHERE wake_at <= ? ORDER BY wake_at",
            _ => {
                "SELECT id, EXISTS (SELECT 1 FROM run WHERE run.job = job.id AND run.cause < 3 AND run.state <> 3) FROM job WHERE wake_at <= ? ORDER BY wake_at"
            }
        };
        let mut statement = self.db.statement(sql)?;
        let mut rows = statement.query([At(now)])?;
        let mut due = Vec::new();
        while due.len() < max
            && let Some(row) = rows.next()?
        {
            let id = row.get(0)?;
            if self.live.lease(id).is_none_or(|held| held.lease.until <= now) {
                due.push((id, row.get(1)?));
            }
        }
        Ok(due)
    }

    /// A job that cannot be read rests; its rows stay as they are.
    fn park(&mut self, id: i64, reason: &str) -> Done<()> {
        self.db.execute("UPDATE job SET state = 2, reason = ?, wake_at = NULL WHERE id = ?", params![reason, id])?;
        self.live.forget_job(id);
        Ok(())
    }

    fn unfinished(&self, job: i64, now: Timestamp) -> Done<(Vec<Unfinished>, u64)> {
        let mut statement = self.db.statement("SELECT id, state, cause FROM run WHERE job = ? AND cause < 3 AND state <> 3 ORDER BY id")?;
        let mut rows = statement.query([job])?;
        let (mut listed, mut count) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let (run, state) = (row.get(0)?, row.get::<_, Code<RunState>>(1)?.0);
            if state == RunState::Queued && row.get::<_, Code<Cause>>(2)?.0 == Cause::OnDemand && !self.is_in_the_way(job, run, now)? {
                continue;
            }
            if listed.len() < UNFINISHED_MAX {
                listed.push(Unfinished { run, running: state == RunState::Running });
            }
            count += 1;
        }
        Ok((listed, count))
    }

    /// Of a queued run on demand. Few, so each is looked at for itself.
    fn is_in_the_way(&self, job: i64, run: RunId, now: Timestamp) -> Done<bool> {
        let sql = "SELECT start_at FROM run WHERE tenant = (SELECT tenant FROM job WHERE id = ?) AND id = ?";
        Ok(self.db.query_opt(sql, params![job, run], |row| row.get::<_, At>(0))?.is_none_or(|start_at| start_at.0 <= now))
    }

    pub(super) fn commit_firings(&mut self, firings: &[FiringCommit]) -> Done<Vec<Fenced>> {
        Ok(self.commit(firings, None)?.0)
    }

    /// Where no run waits that could go first, those that the firings make are written once, as running, instead of twice.
    pub(super) fn commit_and_claim(&mut self, firings: &[FiringCommit], claim: &RunClaim) -> Done<Committed> {
        let mut starting = Starting { claim, alone: claim.alone };
        let at_once = self.nothing_goes_before(firings, claim)?;
        let (answers, started) = self.commit(firings, at_once.then_some(&mut starting))?;
        let mut claimed = Vec::new();
        if !at_once || started.len() < firings.iter().map(runs_of).sum() {
            claimed = self.claim_runs(&RunClaim { max: claim.max - started.len(), alone: starting.alone, ..claim.clone() })?;
        }
        Ok(Committed { answers, started, claimed })
    }

    /// All runs first and then all jobs: what is written next lies beside what was written last.
    fn commit(&mut self, firings: &[FiringCommit], mut starting: Option<&mut Starting<'_>>) -> Done<(Vec<Fenced>, Vec<Started>)> {
        let db = self.db.clone();
        let (mut runs, mut jobs) = (db.new_runs()?, db.moved_jobs()?);
        let begun = firings.iter().map(|firing| self.take_steps(firing, starting.as_deref_mut(), &mut runs)).collect::<Done<Vec<_>>>()?;
        let mut started = Vec::with_capacity(firings.len());
        for (place, (firing, begun)) in firings.iter().zip(&begun).enumerate() {
            let Some(Firing { job, started: lease }) = *begun else { continue };
            let follows = self.move_job(firing, job, &mut jobs)?;
            if let Some(lease) = lease
                && let Some(row) = self.live.job(&self.db, job)?
            {
                started.push(Started { firing: place, lease, job: row.job.clone() });
            }
            if follows {
                self.settle_ends(job, &firing.consumed, firing.ends_seen)?;
            }
        }
        Ok((begun.iter().map(|begun| if begun.is_some() { Fenced::Done } else { Fenced::LeaseLost }).collect(), started))
    }

    /// Whether a claim would take every run that these firings make and that may start: which of them goes first is no question then.
    fn nothing_goes_before(&self, firings: &[FiringCommit], claim: &RunClaim) -> Done<bool> {
        let plain = firings.iter().all(|firing| firing.cancel.is_empty() && runs_of(firing) <= 1);
        let room = firings.iter().map(runs_of).sum::<usize>() <= claim.max;
        let none_held = self.live.rate_held.is_empty() && (claim.alone == 0 || self.live.alone_held.is_empty());
        Ok(plain && room && none_held && !self.anything_ready(claim.now)?)
    }

    /// Carries out what a firing says but of its job itself, whose lease ends. `None` where that is not held under the firing's token.
    fn take_steps(&mut self, firing: &FiringCommit, mut starting: Option<&mut Starting<'_>>, rows: &mut NewRuns<'_>) -> Done<Option<Firing>> {
        let Some(id) = self.live.leased(firing.token) else { return Ok(None) };
        let Some((tenant, rules)) = self.live.job(&self.db, id)?.filter(|row| row.job.key == firing.job).map(|row| (row.tenant, row.rules)) else {
            return Ok(None);
        };
        self.live.set_lease(id, None);
        let mut begun = Firing { job: id, started: None };
        for step in &firing.steps {
            match step {
                FiringStep::Skip(skip) => self.record_skip(tenant, id, skip)?,
                FiringStep::Run(run) => {
                    let inserted = match &mut starting {
                        Some(starting) if self.may_start(id, rules, run, starting)? => {
                            begun.started = self.insert_running((tenant, id), run, starting.claim, rows)?;
                            starting.alone -= usize::from(rules.alone && begun.started.is_some());
                            begun.started.is_some()
                        }
                        _ => self.insert_run(id, run)?,
                    };
                    if inserted && let Some(row) = self.live.job(&self.db, id)? {
                        row.last_skip = None;
                    }
                }
            }
        }
        for run in &firing.cancel {
            self.cancel_of_job(id, &firing.job, *run, firing)?;
        }
        Ok(Some(begun))
    }

    /// Moves a job to its next firing. True where it follows others.
    fn move_job(&mut self, firing: &FiringCommit, id: i64, rows: &mut MovedJobs<'_>) -> Done<bool> {
        let Self { db, live } = self;
        let Some(row) = live.job(db, id)? else { return Ok(false) };
        let job = &mut row.job;
        (job.next_fire, job.wake_at) = (firing.next_fire, firing.wake_at);
        rows.put(id, firing, row.last_skip)?;
        if job.state != firing.state || job.pause != firing.pause {
            job.state.clone_from(&firing.state);
            job.pause.clone_from(&firing.pause);
            let (state, reason) = job_state(&firing.state);
            db.execute("UPDATE job SET state = ?, reason = ?, pause = ? WHERE id = ?", params![state, reason, firing.pause.as_ref().map(Json), id])?;
        }
        Ok(row.rules.follows)
    }

    /// Whether a claim would start this run of a firing, but for others that it could take first.
    fn may_start(&mut self, job: i64, rules: Rules, run: &Run, starting: &Starting<'_>) -> Done<bool> {
        let in_turn = run.state == RunState::Queued && run.cause != Cause::Backfill && run.start_at <= starting.claim.now;
        let has_process = !rules.alone || (starting.alone > 0 && self.live.alone_held.is_empty());
        Ok(in_turn && !rules.rate_limited && has_process && self.room(job)? > 0)
    }

    /// Adds a run as one that is running. `None` where the firing has one already.
    fn insert_running(&mut self, (tenant, job): (i64, i64), run: &Run, claim: &RunClaim, rows: &mut NewRuns<'_>) -> Done<Option<Lease>> {
        let held = self.live.hold(&claim.owner, claim.until);
        let (lease, going) = (held.lease, apply::going(run, claim.now));
        if !rows.insert_started(run, tenant, job, &held, going)? {
            return Ok(None);
        }
        self.live.tally.unfinished += 1;
        let (attempt, started_at) = going;
        self.live.start(Running { id: run.id, tenant, job, cause: run.cause, attempt, started_at: Some(started_at), cancel: None, held });
        Ok(Some(lease))
    }

    fn cancel_of_job(&mut self, id: i64, key: &JobKey, run: RunId, firing: &FiringCommit) -> Done<()> {
        let tenant = self.live.tenant(&self.db, &key.tenant)?;
        let sql = "SELECT 1 FROM run WHERE tenant = ? AND id = ? AND job = ?";
        if self.db.query_opt(sql, params![tenant, run, id], |_| Ok(()))?.is_some() {
            let reason = firing.cancel_reason.as_deref().unwrap_or("a later firing replaced it");
            self.cancel_run(&key.tenant, run, reason, firing.now)?;
        }
        Ok(())
    }

    pub(super) fn next_due(&mut self) -> Done<Option<Timestamp>> {
        let running = self.live.all_running().map(|running| running.held.lease.until).min();
        Ok([self.next_job()?, self.next_run()?, running].into_iter().flatten().min())
    }

    fn next_job(&self) -> Done<Option<Timestamp>> {
        let mut statement = self.db.statement("SELECT id, wake_at FROM job WHERE wake_at IS NOT NULL ORDER BY wake_at")?;
        let mut rows = statement.query(())?;
        let mut soonest = None;
        while let Some(row) = rows.next()? {
            let (id, wake_at) = (row.get(0)?, row.get::<_, At>(1)?.0);
            let lease_end = self.live.lease(id).map(|held| held.lease.until);
            let due = lease_end.map_or(wake_at, |end| wake_at.max(end));
            soonest = Some(soonest.map_or(due, |soonest: Timestamp| soonest.min(due)));
            if lease_end.is_none() {
                break;
            }
        }
        Ok(soonest)
    }
}
