//! What happened: runs and their attempts, firings that made no run, and what is forgotten of them.

use rusqlite::params;
use rusqlite::types::Value;

use super::live::find_tenant;
use super::rows::{self, ATTEMPT, At, Count, RECEIPT, RUN, RUN_COLUMNS, SKIP};
use super::runs::no_run;
use super::writer::{Db, Done, Writer};
use crate::job::{Attempt, JobId, JobKey, Run, RunId, RunState, Skipped, TenantId};
use crate::store::{Page, PageRequest, Retention, RunFilter};

/// Jobs that one call of `prune` looks at for having too many runs.
const JOBS_PER_PRUNE: usize = 5_000;
/// Rows of jobs that one call of `prune` goes through at most, to find such jobs.
const ROWS_PER_PRUNE: u32 = 50_000;

/// Runs with what their last attempt used.
fn select_runs(chosen: &str) -> String {
    let receipt = RECEIPT.split(", ").map(|column| format!("last.{column}")).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT {RUN}, tenant.name, job.name, {receipt} FROM run JOIN job ON job.id = run.job JOIN tenant ON tenant.id = run.tenant \
         LEFT JOIN attempt AS last ON last.run = run.id AND last.number = (SELECT max(number) FROM attempt WHERE attempt.run = run.id) {chosen}"
    )
}

fn read_run(row: &rusqlite::Row<'_>) -> rusqlite::Result<Run> {
    let mut run = rows::read_run(row, rows::key(row, RUN_COLUMNS, RUN_COLUMNS + 1)?)?;
    let from = RUN_COLUMNS + 2;
    if row.get::<_, Option<i64>>(from)?.is_some() {
        run.receipt = Some(rows::read_receipt(row, from)?);
    }
    Ok(run)
}

impl Db {
    pub(super) fn run(&self, tenant: &TenantId, id: RunId) -> Done<Run> {
        let number = find_tenant(self, tenant)?.ok_or_else(|| no_run(id))?;
        let found = self.query_opt(&select_runs("WHERE run.tenant = ? AND run.id = ?"), params![number, id], read_run)?;
        found.ok_or_else(|| no_run(id).into())
    }

    pub(super) fn runs(&self, filter: &RunFilter, page: &PageRequest) -> Done<Page<Run>> {
        let after = page.after::<RunId>()?;
        let RunFilter { tenant, job, state, outcome, cause, since, until } = filter;
        let limit = page.limit();
        let nothing = Page { items: Vec::new(), next: None };
        let Some(tenant) = find_tenant(self, tenant)? else { return Ok(nothing) };
        let mut conditions = vec!["tenant = ?1".to_owned()];
        let mut values = vec![Value::from(tenant)];
        let mut condition = |text: &str, value: Value| {
            values.push(value);
            conditions.push(format!("{text} ?{}", values.len()));
        };
        if let Some(job) = job {
            let Some(job) = self.job_row(tenant, job)? else { return Ok(nothing) };
            condition("job =", job.into());
        }
        if let Some(state) = state {
            condition("state =", rows::code(*state).into());
        }
        if let Some(outcome) = outcome {
            condition("outcome =", rows::code(*outcome).into());
        }
        if let Some(cause) = cause {
            condition("cause =", rows::code(*cause).into());
        }
        if let Some(since) = since {
            condition("scheduled_at >=", since.as_microsecond().into());
        }
        if let Some(until) = until {
            condition("scheduled_at <", until.as_microsecond().into());
        }
        if let Some(after) = after {
            condition("id <", after.0.as_bytes().to_vec().into());
        }
        // The ids alone are looked for, in the narrowest index that has them; only the page's rows are read.
        let index = match (job, state) {
            (_, Some(RunState::Queued | RunState::Running | RunState::WaitingRetry)) => {
                conditions.push("state <> 3".to_owned());
                "INDEXED BY run_unfinished"
            }
            (Some(_), _) => "INDEXED BY run_firing",
            (None, _) => "",
        };
        let conditions = conditions.join(" AND ");
        let chosen = format!("WHERE run.tenant = ?1 AND run.id IN (SELECT id FROM run {index} WHERE {conditions} ORDER BY id DESC LIMIT {})", limit + 1);
        let items = self.query_all(&select_runs(&format!("{chosen} ORDER BY run.id DESC")), rusqlite::params_from_iter(values), read_run)?;
        Ok(Page::cut(items, limit, |run: &Run| run.id.to_string()))
    }

    /// The row of a job, also of a removed one that left history behind.
    fn job_row(&self, tenant: i64, job: &JobId) -> rusqlite::Result<Option<i64>> {
        self.query_opt("SELECT id FROM job WHERE tenant = ? AND name = ?", params![tenant, job.as_str()], |row| row.get(0))
    }

    pub(super) fn attempts(&self, tenant: &TenantId, id: RunId) -> Done<Vec<Attempt>> {
        let number = find_tenant(self, tenant)?.ok_or_else(|| no_run(id))?;
        self.query_opt("SELECT 1 FROM run WHERE tenant = ? AND id = ?", params![number, id], |_| Ok(()))?.ok_or_else(|| no_run(id))?;
        let sql = format!(
            "SELECT {ATTEMPT}, {RECEIPT} FROM attempt LEFT JOIN output ON output.run = attempt.run AND output.number = attempt.number \
             WHERE attempt.run = ? ORDER BY attempt.number"
        );
        Ok(self.query_all(&sql, params![id], rows::read_attempt)?)
    }

    pub(super) fn skipped(&self, tenant: &TenantId, job: Option<&JobKey>, page: &PageRequest) -> Done<Page<(JobKey, Skipped)>> {
        let after = page.after::<u64>()?.map_or(i64::MAX, |after| i64::try_from(after).unwrap_or(i64::MAX));
        let limit = page.limit();
        let nothing = Page { items: Vec::new(), next: None };
        let Some(tenant) = find_tenant(self, tenant)? else { return Ok(nothing) };
        let (condition, value) = match job {
            None => ("skip.tenant", tenant),
            Some(key) => {
                let Some(job) = find_tenant(self, &key.tenant)?.filter(|of_key| *of_key == tenant).map(|t| self.job_row(t, &key.id)).transpose()?.flatten()
                else {
                    return Ok(nothing);
                };
                ("skip.job", job)
            }
        };
        let sql = format!(
            "SELECT skip.id, tenant.name, job.name, {SKIP} FROM skip JOIN job ON job.id = skip.job JOIN tenant ON tenant.id = skip.tenant \
             WHERE {condition} = ? AND skip.id < ? ORDER BY skip.id DESC LIMIT ?"
        );
        let params = params![value, after, Count(limit as u64 + 1)];
        let items = self.query_all(&sql, params, |row| Ok((row.get::<_, i64>(0)?, rows::key(row, 1, 2)?, rows::read_skip(row, 3)?)))?;
        let page = Page::cut(items, limit, |(id, ..)| id.to_string());
        Ok(page.map(|(_, key, skip)| (key, skip)))
    }
}

impl Writer {
    pub(super) fn prune(&mut self, retention: Retention) -> Done<u64> {
        let mut gone = self.prune_old_runs(retention)?;
        gone += self.prune_old_skips(retention, retention.max - gone)?;
        gone += self.prune_surplus_runs(retention, retention.max - gone)?;
        Ok(gone)
    }

    /// Ids begin with the time of creation, which is before the end: nothing behind the first young id is looked at.
    fn prune_old_runs(&mut self, retention: Retention) -> Done<u64> {
        let Retention { before, max, .. } = retention;
        let Ok(millis) = u64::try_from(before.as_millisecond()) else { return Ok(0) };
        let mut young = [0; 16];
        young[..6].copy_from_slice(&(millis + 1).to_be_bytes()[2..]);
        let tenants: Vec<i64> = self.db.query_all("SELECT id FROM tenant ORDER BY id", (), |row| row.get(0))?;
        let mut gone = 0;
        for tenant in tenants {
            let sql = "SELECT id, job FROM run WHERE tenant = ? AND id < ? AND state = 3 AND ended_at < ? ORDER BY id LIMIT ?";
            let params = params![tenant, young, At(before), Count(max - gone)];
            let old: Vec<(RunId, i64)> = self.db.query_all(sql, params, |row| Ok((row.get(0)?, row.get(1)?)))?;
            gone += old.len() as u64;
            for (id, job) in old {
                self.forget_run(tenant, id, job)?;
            }
        }
        Ok(gone)
    }

    fn prune_old_skips(&mut self, retention: Retention, max: u64) -> Done<u64> {
        let sql = "SELECT id, job FROM skip WHERE recorded_at < ? ORDER BY recorded_at, id LIMIT ?";
        let old: Vec<(i64, i64)> = self.db.query_all(sql, params![At(retention.before), Count(max)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for &(id, job) in &old {
            self.db.execute("DELETE FROM skip WHERE id = ?", [id])?;
            // A row's number may be given again.
            self.db.execute("UPDATE job SET last_skip = NULL WHERE id = ? AND last_skip = ?", [job, id])?;
            self.live.forget_job(job);
            self.drop_job_without_history(job)?;
        }
        Ok(old.len() as u64)
    }

    /// Looks at the jobs that had a run end since they were last looked at: of others nothing has become too much. After a
    /// start, and where fewer runs are to be kept than so far, all jobs are gone through once, some at each call.
    fn prune_surplus_runs(&mut self, retention: Retention, max: u64) -> Done<u64> {
        let mut gone = 0;
        if retention.runs_per_job_max < self.live.runs_kept {
            self.live.looked_at = 0;
        }
        self.live.runs_kept = retention.runs_per_job_max;
        let sql = "SELECT id, ended > ? FROM job WHERE id > ? ORDER BY id LIMIT ?";
        let params = params![Count(retention.runs_per_job_max), self.live.looked_at, ROWS_PER_PRUNE];
        let looked_at: Vec<(i64, bool)> = self.db.query_all(sql, params, |row| Ok((row.get(0)?, row.get(1)?)))?;
        // Jobs that are added from here on are noticed when their runs end.
        self.live.looked_at = if looked_at.len() == ROWS_PER_PRUNE as usize { looked_at[looked_at.len() - 1].0 } else { i64::MAX };
        self.live.surplus.extend(looked_at.into_iter().filter(|(_, too_many)| *too_many).map(|(id, _)| id));
        let jobs: Vec<i64> = self.live.surplus.iter().copied().take(JOBS_PER_PRUNE).collect();
        for job in jobs {
            let ended = self.db.query_opt("SELECT ended FROM job WHERE id = ?", [job], |row| row.get::<_, Count>(0))?.map_or(0, |ended| ended.0);
            let surplus = ended.saturating_sub(retention.runs_per_job_max);
            let sql = "SELECT tenant, id FROM run INDEXED BY run_firing WHERE job = ? AND state = 3 ORDER BY id LIMIT ?";
            let most = surplus.min(max - gone);
            if most > 0 {
                let oldest: Vec<(i64, RunId)> = self.db.query_all(sql, params![job, Count(most)], |row| Ok((row.get(0)?, row.get(1)?)))?;
                gone += oldest.len() as u64;
                for (tenant, id) in oldest {
                    self.forget_run(tenant, id, job)?;
                }
            }
            if most < surplus {
                break;
            }
            self.live.surplus.remove(&job);
        }
        Ok(gone)
    }

    fn forget_run(&mut self, tenant: i64, id: RunId, job: i64) -> Done<()> {
        self.delete_run(tenant, id)?;
        self.db.execute("UPDATE job SET ended = ended - 1 WHERE id = ?", [job])?;
        self.live.forget_job(job);
        self.drop_job_without_history(job)
    }
}
