//! Firings: leasing jobs that came due, and carrying out what was decided about them.

use jiff::Timestamp;
use rusqlite::params;

use super::rows::{self, At, Code, Json, at};
use super::writer::{Done, Writer};
use crate::job::{Cause, JobKey, RunId, RunState};
use crate::store::{Fenced, FiringCommit, FiringStep, LeasedJob, Owner, UNFINISHED_MAX, Unfinished};

impl Writer {
    pub(super) fn lease_due(&mut self, owner: &Owner, now: Timestamp, until: Timestamp, max: usize) -> Done<Vec<LeasedJob>> {
        let mut leased = Vec::new();
        for id in self.due(now, max)? {
            let Self { db, live } = self;
            let Some(row) = live.job(db, id)? else { continue };
            if let Some(reason) = row.unreadable.clone() {
                self.park(id, &reason)?;
                continue;
            }
            let job = row.job.clone();
            let held = live.hold(owner, until);
            let lease = held.lease;
            live.set_lease(id, Some(held));
            let (unfinished, unfinished_count) = self.unfinished(id, now)?;
            let ends = if job.spec.trigger.is_after() { self.arrived(id)? } else { Vec::new() };
            leased.push(LeasedJob { job, lease, unfinished, unfinished_count, ends });
        }
        Ok(leased)
    }

    /// At most `max` jobs that are due and that nobody holds, soonest first.
    fn due(&self, now: Timestamp, max: usize) -> Done<Vec<i64>> {
        let mut statement = self.db.statement("SELECT id FROM job WHERE wake_at <= ? ORDER BY wake_at")?;
        let mut rows = statement.query([At(now)])?;
        let mut due = Vec::new();
        while due.len() < max
            && let Some(row) = rows.next()?
        {
            let id = row.get(0)?;
            if self.live.lease(id).is_none_or(|held| held.lease.until <= now) {
                due.push(id);
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
        firings.iter().map(|firing| self.commit_firing(firing)).collect()
    }

    fn commit_firing(&mut self, firing: &FiringCommit) -> Done<Fenced> {
        let Some(id) = self.live.find_job(&self.db, &firing.job)? else { return Ok(Fenced::LeaseLost) };
        if self.live.lease(id).is_none_or(|held| held.lease.token != firing.token) {
            return Ok(Fenced::LeaseLost);
        }
        for step in &firing.steps {
            match step {
                FiringStep::Skip(skip) => self.record_skip(id, &firing.job, skip)?,
                FiringStep::Run(run) => {
                    if self.insert_run(id, run)?
                        && let Some(row) = self.live.job(&self.db, id)?
                    {
                        row.last_skip = None;
                    }
                }
            }
        }
        for run in &firing.cancel {
            self.cancel_of_job(id, &firing.job, *run, firing)?;
        }
        self.live.set_lease(id, None);
        let Self { db, live } = self;
        let Some(row) = live.job(db, id)? else { return Ok(Fenced::LeaseLost) };
        let (state, reason) = rows::job_state(&firing.state);
        db.execute(
            "UPDATE job SET next_fire = ?, wake_at = ?, state = ?, reason = ?, pause = ?, last_skip = ? WHERE id = ?",
            params![at(firing.next_fire), at(firing.wake_at), state, reason, firing.pause.as_ref().map(Json), row.last_skip, id],
        )?;
        let job = &mut row.job;
        (job.next_fire, job.wake_at) = (firing.next_fire, firing.wake_at);
        job.state.clone_from(&firing.state);
        job.pause.clone_from(&firing.pause);
        if job.spec.trigger.is_after() {
            self.settle_ends(id, &firing.consumed, firing.ends_seen)?;
        }
        Ok(Fenced::Done)
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
