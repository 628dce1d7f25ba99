//! Ends of upstream runs, in the jobs that follow them.

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::live::{Live, find_tenant};
use super::rows::{At, Code, Count, Text};
use super::writer::{Db, Done, Writer};
use crate::job::{Job, JobId, JobKey, UpstreamEnd};
use crate::store::apply::RunEnd;
use crate::store::{ArrivedEnd, ENDS_MAX, apply};

/// Which jobs a job follows, where nothing is known of it yet.
pub(super) fn index(db: &Db, live: &mut Live, tenant: i64, id: i64, job: &Job) -> rusqlite::Result<()> {
    for upstream in job.spec.trigger.upstream() {
        live.followers = true;
        db.execute("INSERT INTO job_after (tenant, upstream, job) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", params![tenant, upstream, id])?;
    }
    Ok(())
}

const END: &str = "number, upstream, run, outcome, ended_at";

fn read(row: &Row<'_>) -> rusqlite::Result<ArrivedEnd> {
    let end = UpstreamEnd { job: row.get::<_, Text<_>>(1)?.0, run: row.get(2)?, outcome: row.get::<_, Code<_>>(3)?.0, ended_at: row.get::<_, At>(4)?.0 };
    Ok(ArrivedEnd { number: row.get::<_, Count>(0)?.0, end })
}

impl Writer {
    /// Where a run has ended, the jobs that follow its job are told.
    pub(super) fn tell_downstream(&mut self, tenant: i64, job: i64, end: &RunEnd) -> Done<()> {
        if !self.live.followers {
            return Ok(());
        }
        // The job may have been removed: its name stays as long as its runs.
        let name: Option<Text<JobId>> = self.db.query_opt("SELECT name FROM job WHERE id = ?", [job], |row| row.get(0))?;
        let Some(end) = name.and_then(|Text(name)| end.for_downstream(&name)) else { return Ok(()) };
        let sql = "SELECT job FROM job_after WHERE tenant = ? AND upstream = ?";
        let followers: Vec<i64> = self.db.query_all(sql, params![tenant, end.job.as_str()], |row| row.get(0))?;
        for id in followers {
            if self.live.job(&self.db, id)?.is_none_or(|row| row.unreadable.is_some()) {
                tracing::error!(upstream = %end.job, run = %end.run, "a job that follows this one cannot be read, so it is not told of this run's end");
                continue;
            }
            let sql = "INSERT INTO arrived_end (job, number, upstream, run, outcome, ended_at) \
                       VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM arrived_end WHERE job = ?1), ?2, ?3, ?4, ?5)";
            self.db.execute(sql, params![id, end.job.as_str(), end.run, Code(end.outcome), At(end.ended_at)])?;
            self.wake(id, end.ended_at)?;
        }
        Ok(())
    }

    fn wake(&mut self, id: i64, unseen: Timestamp) -> Done<()> {
        let Self { db, live } = self;
        if let Some(row) = live.job(db, id)? {
            let wake_at = apply::wake_for(row.job.wake_at, unseen);
            row.job.wake_at = Some(wake_at);
            db.execute("UPDATE job SET wake_at = ? WHERE id = ?", params![At(wake_at), id])?;
        }
        Ok(())
    }

    /// A job is due while there are ends that no firing has looked at.
    pub(super) fn wake_for_ends(&mut self, id: i64) -> Done<()> {
        let follows = self.live.job(&self.db, id)?.is_some_and(|row| row.job.spec.trigger.is_after());
        match follows.then(|| self.unseen(id)).transpose()?.unwrap_or_default().into_iter().min() {
            Some(unseen) => self.wake(id, unseen),
            None => Ok(()),
        }
    }

    fn unseen(&self, id: i64) -> Done<Vec<Timestamp>> {
        Ok(self.db.query_all("SELECT ended_at FROM arrived_end WHERE job = ? AND seen = 0", [id], |row| Ok(row.get::<_, At>(0)?.0))?)
    }

    pub(super) fn arrived(&self, id: i64) -> Done<Vec<ArrivedEnd>> {
        let sql = format!("SELECT {END} FROM arrived_end WHERE job = ? ORDER BY number LIMIT {ENDS_MAX}");
        Ok(self.db.query_all(&sql, [id], read)?)
    }

    /// A firing was committed that looked at all up to `seen` and needs these no more.
    pub(super) fn settle_ends(&mut self, id: i64, consumed: &[u64], seen: u64) -> Done<()> {
        for &number in consumed {
            self.db.execute("DELETE FROM arrived_end WHERE job = ? AND number = ?", params![id, Count(number)])?;
        }
        if seen > 0 {
            self.db.execute("UPDATE arrived_end SET seen = 1 WHERE job = ? AND number <= ? AND seen = 0", params![id, Count(seen)])?;
        }
        self.wake_for_ends(id)
    }

    /// The trigger that the ends came in for goes.
    pub(super) fn drop_ends(&mut self, id: i64, key: &JobKey, why: &str, now: Timestamp) -> Done<()> {
        if let Some(skip) = apply::unseen(&self.unseen(id)?, why, now) {
            let tenant = self.live.tenant(&self.db, &key.tenant)?;
            self.record_skip(tenant, id, &skip)?;
        }
        self.db.execute("DELETE FROM arrived_end WHERE job = ?", [id])?;
        Ok(())
    }
}

impl Db {
    pub(super) fn arrived_ends(&self, key: &JobKey) -> Done<Vec<UpstreamEnd>> {
        let Some(tenant) = find_tenant(self, &key.tenant)? else { return Ok(Vec::new()) };
        let sql = format!("SELECT {END} FROM arrived_end WHERE job = (SELECT id FROM job WHERE tenant = ? AND name = ?) ORDER BY number LIMIT {ENDS_MAX}");
        let arrived = self.query_all(&sql, params![tenant, key.id.as_str()], read)?;
        Ok(arrived.into_iter().map(|arrived| arrived.end).collect())
    }
}
