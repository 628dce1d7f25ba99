//! Rate limits: a run that its job's limit does not allow yet waits without a turn, and gets one when the window opens.

use jiff::Timestamp;
use rusqlite::params;

use super::rows::{At, Count};
use super::writer::{Db, Done, Writer};
use crate::job::{JobKey, RateLimit, Run, RunId};
use crate::store::starts::{Start, Starts};
use crate::store::{StoreError, apply};

/// Jobs whose latest starts are kept in memory.
const JOBS_MAX: usize = 1_000;

impl Db {
    fn starts(&self, job: i64) -> rusqlite::Result<Starts> {
        let read = |row: &rusqlite::Row<'_>| Ok(Start { number: row.get::<_, Count>(0)?.0, at: row.get::<_, At>(1)?.0 });
        Ok(Starts::of(self.query_all("SELECT number, at FROM job_start WHERE job = ? ORDER BY number", [job], read)?))
    }

    pub(super) fn rate_opens_at(&self, key: &JobKey) -> Done<Option<Timestamp>> {
        let Some(limit) = (match self.job(key) {
            Err(super::writer::Failure::Refused(StoreError::NotFound { .. })) => None,
            found => found?.spec.rate_limit,
        }) else {
            return Ok(None);
        };
        let sql = "SELECT job.id FROM job JOIN tenant ON tenant.id = job.tenant WHERE tenant.name = ? AND job.name = ?";
        let id: Option<i64> = self.query_opt(sql, params![key.tenant.as_str(), key.id.as_str()], |row| row.get(0))?;
        Ok(id.map(|id| self.starts(id)).transpose()?.and_then(|starts| starts.opens_at(limit)))
    }
}

impl Writer {
    fn rate_limit(&mut self, job: i64) -> Done<Option<RateLimit>> {
        Ok(self.live.job(&self.db, job)?.and_then(|row| row.job.spec.rate_limit))
    }

    fn starts(&mut self, job: i64) -> Done<&mut Starts> {
        let Self { db, live } = self;
        if !live.starts.contains_key(&job) {
            if live.starts.len() >= JOBS_MAX {
                live.starts.clear();
            }
            live.starts.insert(job, db.starts(job)?);
        }
        Ok(live.starts.entry(job).or_default())
    }

    /// Counts the start of a first attempt. False where the job's rate limit does not allow it: it waits without a turn.
    pub(super) fn count_start(&mut self, tenant: i64, job: i64, run: &mut Run, now: Timestamp) -> Done<bool> {
        let Some(limit) = self.rate_limit(job)?.filter(|_| run.attempt == 0) else { return Ok(true) };
        let starts = self.starts(job)?;
        if starts.room(limit, now) == 0 {
            self.db.execute("UPDATE run SET turn = 2 WHERE tenant = ? AND id = ?", params![tenant, run.id])?;
            self.live.rate_held.insert(job);
            return Ok(false);
        }
        apply::allow(run, starts.opens_at(limit));
        let (start, needed) = starts.add(limit, now);
        self.db.execute("INSERT INTO job_start (job, number, at) VALUES (?, ?, ?)", params![job, Count(start.number), At(start.at)])?;
        self.db.execute("DELETE FROM job_start WHERE job = ? AND number < ?", params![job, Count(needed)])?;
        Ok(true)
    }

    /// A run that was counted did not start.
    pub(super) fn uncount_start(&mut self, job: i64, started_at: Option<Timestamp>) -> Done<()> {
        if self.rate_limit(job)?.is_some()
            && let Some(at) = started_at
            && let Some(number) = self.starts(job)?.take_back(at)
        {
            self.db.execute("DELETE FROM job_start WHERE job = ? AND number = ?", params![job, Count(number)])?;
        }
        Ok(())
    }

    /// Gives the turn to as many of the best runs as their rate limits allow now.
    pub(super) fn give_rated_turns(&mut self, now: Timestamp) -> Done<()> {
        let jobs: Vec<i64> = self.live.rate_held.iter().copied().collect();
        for job in jobs {
            let room = match self.rate_limit(job)? {
                Some(limit) => self.starts(job)?.room(limit, now),
                None => u32::MAX,
            };
            self.give_rated(job, room)?;
        }
        Ok(())
    }

    fn give_rated(&mut self, job: i64, room: u32) -> Done<()> {
        if room == 0 {
            return Ok(());
        }
        let sql = "SELECT tenant, id FROM run WHERE job = ? AND turn = 2 ORDER BY priority DESC, start_at, id LIMIT ?";
        let best: Vec<(i64, RunId)> = self.db.query_all(sql, params![job, room], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if best.len() < room as usize {
            self.live.rate_held.remove(&job);
        }
        for (tenant, id) in best {
            self.db.execute("UPDATE run SET turn = 1 WHERE tenant = ? AND id = ?", params![tenant, id])?;
        }
        Ok(())
    }

    /// The job's definition was changed: its runs are looked at anew, and without a limit nothing is counted.
    pub(super) fn rate_changed(&mut self, job: i64) -> Done<()> {
        if self.live.rate_held.contains(&job) {
            self.give_rated(job, u32::MAX)?;
        }
        if self.rate_limit(job)?.is_none() {
            self.forget_starts(job)?;
        }
        Ok(())
    }

    pub(super) fn forget_starts(&mut self, job: i64) -> Done<()> {
        self.live.starts.remove(&job);
        self.db.execute("DELETE FROM job_start WHERE job = ?", [job])?;
        Ok(())
    }

    /// When a run in turn, or one that waits for the rate limit, may start as far as the limit is concerned.
    pub(super) fn opens_at(&mut self, job: i64) -> Done<Option<Timestamp>> {
        let Some(limit) = self.rate_limit(job)? else { return Ok(None) };
        Ok(self.starts(job)?.opens_at(limit))
    }

    /// Backfills have places of their own: with one among those that wait, the answer may be too soon, which costs a look.
    fn has_rated_backfill(&self, job: i64) -> Done<bool> {
        Ok(self.db.query_opt("SELECT 1 FROM run WHERE job = ? AND turn = 2 AND cause = 3 LIMIT 1", [job], |_| Ok(()))?.is_some())
    }

    /// The soonest instant at which a run that waits for its rate limit may start, of jobs with a free place.
    pub(super) fn next_rated(&mut self) -> Done<Option<Timestamp>> {
        let jobs: Vec<i64> = self.live.rate_held.iter().copied().collect();
        let mut soonest: Option<Timestamp> = None;
        for job in jobs {
            let waits = self.db.query_opt("SELECT 1 FROM run WHERE job = ? AND turn = 2 LIMIT 1", [job], |_| Ok(()))?.is_some();
            if !waits {
                self.live.rate_held.remove(&job);
            } else if self.room(job)? > 0 || self.has_rated_backfill(job)? {
                let opens_at = self.opens_at(job)?.unwrap_or(Timestamp::MIN);
                soonest = Some(soonest.map_or(opens_at, |soonest| soonest.min(opens_at)));
            }
        }
        Ok(soonest)
    }
}
