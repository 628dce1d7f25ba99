//! Jobs: added, read, changed, removed.

use jiff::Timestamp;
use rusqlite::params;
use rusqlite::types::Value;

use super::rows::{self, At, Code, Count, JOB, JobRow, Json, Rules, SKIP, Text, at};
use super::writer::{Db, Done, Failure, Writer};
use super::{calendars, ends};
use crate::job::{Job, JobId, JobKey, RunId, Skipped};
use crate::store::{JobFilter, OnConflict, Page, PageRequest, StoreError, apply};

impl Writer {
    pub(super) fn add_job(&mut self, job: &Job, on_conflict: OnConflict) -> Done<Job> {
        let tenant = self.live.tenant(&self.db, &job.key.tenant)?;
        let Self { db, live } = self;
        let inserted = db.execute(
            "INSERT INTO job (tenant, name, revision, state, reason, pause, anchor, next_fire, wake_at, running_max, failures, created_at, updated_at, \
             last_outcome, last_run_at, component, pin) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            params![
                tenant,
                job.key.id.as_str(),
                Count(job.revision),
                rows::job_state(&job.state).0,
                rows::job_state(&job.state).1,
                job.pause.as_ref().map(Json),
                At(job.anchor),
                at(job.next_fire),
                at(job.wake_at),
                job.spec.running_max(),
                job.failures_in_row,
                At(job.created_at),
                At(job.updated_at),
                job.last_outcome.map(Code),
                at(job.last_run_at),
                job.spec.component.name.as_str(),
                rows::pin(&job.spec.component),
            ],
        )?;
        if inserted > 0 {
            let id = db.connection.last_insert_rowid();
            let (text, spec) = live.definitions.write(&job.spec).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
            db.execute("INSERT INTO job_spec (job, spec) VALUES (?, ?)", params![id, text])?;
            insert_labels(db, tenant, id, job)?;
            calendars::index(db, tenant, id, job)?;
            ends::index(db, live, tenant, id, job)?;
            live.tally.jobs += 1;
            let job = Job { spec, ..job.clone() };
            live.keep_job(JobRow { id, tenant, rules: Rules::of(&job.spec), job: job.clone(), last_skip: None, ended: 0, unreadable: None });
            return Ok(job);
        }
        match (live.find_job(db, &job.key)?, on_conflict) {
            (Some(_), OnConflict::Error) => Err(StoreError::JobExists(job.key.clone()).into()),
            (Some(id), OnConflict::Keep) => Ok(self.stored_job(id, &job.key)?.job.clone()),
            (Some(id), OnConflict::Replace) => {
                let stored = self.stored_job(id, &job.key)?;
                let job = apply::replace(&stored.job, job.clone());
                self.put_job(id, job, true)
            }
            // A former job of this id left history behind, which the new one takes over.
            (None, _) => {
                let sql = "UPDATE job SET removed = 0 WHERE tenant = ? AND name = ? RETURNING id";
                let id = db.query_opt(sql, (tenant, job.key.id.as_str()), |row| row.get(0))?.ok_or_else(|| not_found(&job.key))?;
                db.execute("INSERT INTO job_spec (job, spec) VALUES (?, '')", [id])?;
                live.tally.jobs += 1;
                self.put_job(id, job.clone(), true)
            }
        }
    }

    pub(super) fn add_jobs(&mut self, jobs: &[Job], on_conflict: OnConflict) -> Done<Vec<Result<Job, StoreError>>> {
        let added = jobs.iter().map(|job| match self.add_job(job, on_conflict) {
            Ok(job) => Ok(Ok(job)),
            Err(Failure::Refused(error)) => Ok(Err(error)),
            Err(Failure::Database(error)) => Err(Failure::Database(error)),
        });
        added.collect()
    }

    fn stored_job(&mut self, id: i64, key: &JobKey) -> Done<&mut JobRow> {
        self.live.job(&self.db, id)?.ok_or_else(|| not_found(key).into())
    }

    pub(super) fn update_job(&mut self, job: &Job, seen: &Job, skipped: Option<&Skipped>) -> Done<Job> {
        let id = self.live.find_job(&self.db, &job.key)?.ok_or_else(|| not_found(&job.key))?;
        let stored = self.stored_job(id, &job.key)?;
        let new = apply::update(&stored.job, seen, job.clone()).ok_or_else(|| StoreError::Conflict(job.key.clone()))?;
        let tenant = stored.tenant;
        if let Some(skip) = skipped {
            self.record_skip(tenant, id, skip)?;
        }
        // A definition that cannot be read is not overwritten with what stands for it.
        self.put_job(id, new, job.spec != seen.spec)
    }

    /// Sets a job that exists; whoever had leased it will find that out. Returns what is now stored.
    fn put_job(&mut self, id: i64, job: Job, spec_changed: bool) -> Done<Job> {
        if spec_changed && self.stored_job(id, &job.key)?.job.spec.trigger != job.spec.trigger {
            self.drop_ends(id, &job.key, apply::TRIGGER_CHANGED, job.updated_at)?;
        }
        let Self { db, live } = self;
        let (state, reason) = rows::job_state(&job.state);
        db.execute(
            "UPDATE job SET revision = ?, state = ?, reason = ?, pause = ?, anchor = ?, next_fire = ?, wake_at = ?, failures = ?, created_at = ?, \
             updated_at = ?, last_outcome = ?, last_run_at = ? WHERE id = ?",
            params![
                Count(job.revision),
                state,
                reason,
                job.pause.as_ref().map(Json),
                At(job.anchor),
                at(job.next_fire),
                at(job.wake_at),
                job.failures_in_row,
                At(job.created_at),
                At(job.updated_at),
                job.last_outcome.map(Code),
                at(job.last_run_at),
                id
            ],
        )?;
        if spec_changed {
            let component = &job.spec.component;
            db.execute(
                "UPDATE job SET component = ?, pin = ?, running_max = ? WHERE id = ?",
                params![component.name.as_str(), rows::pin(component), job.spec.running_max(), id],
            )?;
            db.execute("UPDATE job_spec SET spec = ? WHERE job = ?", params![Json(&*job.spec), id])?;
            for table in ["job_label", "job_calendar", "job_after"] {
                db.execute(&format!("DELETE FROM {table} WHERE job = ?"), [id])?;
            }
            let tenant = live.tenant(db, &job.key.tenant)?;
            insert_labels(db, tenant, id, &job)?;
            calendars::index(db, tenant, id, &job)?;
            ends::index(db, live, tenant, id, &job)?;
        }
        live.set_lease(id, None);
        live.forget_job(id);
        self.give_turns(id, u32::MAX)?;
        if spec_changed {
            self.isolation_changed(id)?;
            self.rate_changed(id)?;
        }
        self.wake_for_ends(id)?;
        Ok(self.stored_job(id, &job.key)?.job.clone())
    }

    pub(super) fn remove_job(&mut self, key: &JobKey, now: Timestamp) -> Done<Vec<RunId>> {
        let id = self.live.find_job(&self.db, key)?.ok_or_else(|| not_found(key))?;
        let sql = "SELECT id FROM run WHERE job = ? AND state <> 3 AND state <> 1 ORDER BY id";
        let waiting: Vec<RunId> = self.db.query_all(sql, [id], |row| row.get(0))?;
        self.drop_ends(id, key, apply::JOB_GONE, now)?;
        self.forget_starts(id)?;
        self.drop_namespace(id)?;
        let Self { db, live } = self;
        live.set_lease(id, None);
        live.forget_job(id);
        live.tally.jobs -= 1;
        db.execute("DELETE FROM job_spec WHERE job = ?", [id])?;
        db.execute("DELETE FROM job_label WHERE job = ?", [id])?;
        db.execute("DELETE FROM job_calendar WHERE job = ?", [id])?;
        db.execute("DELETE FROM job_after WHERE job = ?", [id])?;
        db.execute("UPDATE job SET removed = 1, wake_at = NULL, last_skip = NULL WHERE id = ?", [id])?;
        for &run in &waiting {
            self.end_waiting(id, &key.tenant, run, apply::JOB_REMOVED, now)?;
        }
        self.drop_job_without_history(id)?;
        Ok(waiting)
    }

    /// A removed job is forgotten when the last run and the last record of it are gone.
    pub(super) fn drop_job_without_history(&mut self, id: i64) -> Done<()> {
        self.db.execute(
            "DELETE FROM job WHERE id = ?1 AND removed = 1 AND NOT EXISTS (SELECT 1 FROM run WHERE job = ?1) AND NOT EXISTS (SELECT 1 FROM skip WHERE job = ?1)",
            [id],
        )?;
        Ok(())
    }

    /// Records firings that made no run, in the job's newest record where they fold into it.
    pub(super) fn record_skip(&mut self, tenant: i64, id: i64, skip: &Skipped) -> Done<()> {
        let Self { db, live } = self;
        let last = live.job(db, id)?.and_then(|row| row.last_skip);
        if let Some(last) = last
            && let Some(mut record) = db.query_opt(&format!("SELECT {SKIP} FROM skip WHERE id = ?"), [last], |row| rows::read_skip(row, 0))?
            && apply::fold(&mut record, skip)
        {
            let Skipped { detail, count, exact, first, last: newest, recorded_at, .. } = record;
            db.execute(
                "UPDATE skip SET detail = ?, count = ?, exact = ?, first = ?, last = ?, recorded_at = ? WHERE id = ?",
                params![detail, Count(count), exact, At(first), At(newest), At(recorded_at), last],
            )?;
            return Ok(());
        }
        let Skipped { reason, detail, count, exact, first, last: newest, recorded_at } = skip;
        db.execute(
            "INSERT INTO skip (tenant, job, reason, detail, count, exact, first, last, recorded_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![tenant, id, Code(*reason), detail, Count(*count), exact, At(*first), At(*newest), At(*recorded_at)],
        )?;
        let record = db.connection.last_insert_rowid();
        if let Some(row) = live.job(db, id)? {
            row.last_skip = Some(record);
            db.execute("UPDATE job SET last_skip = ? WHERE id = ?", [record, id])?;
        }
        Ok(())
    }
}

fn insert_labels(db: &Db, tenant: i64, id: i64, job: &Job) -> rusqlite::Result<()> {
    for (label, value) in &job.spec.labels {
        let sql = "INSERT INTO job_label (tenant, label, value, name, job) VALUES (?, ?, ?, ?, ?)";
        db.execute(sql, params![tenant, label, value, job.key.id.as_str(), id])?;
    }
    Ok(())
}

pub(super) fn not_found(key: &JobKey) -> StoreError {
    StoreError::NotFound { what: format!("job {:?}", key.id) }
}

impl Db {
    pub(super) fn job(&self, key: &JobKey) -> Done<Job> {
        let sql = format!("SELECT {JOB} WHERE tenant.name = ? AND job.name = ?");
        let found = self.query_opt(&sql, params![Text(&key.tenant), Text(&key.id)], rows::read_job)?;
        found.map(|row| row.job).ok_or_else(|| not_found(key).into())
    }

    pub(super) fn jobs(&self, filter: &JobFilter, page: &PageRequest) -> Done<Page<Job>> {
        let after = page.after::<JobId>()?.map(String::from).unwrap_or_default();
        let limit = page.limit();
        let mut values = vec![Value::from(filter.tenant.to_string()), after.into(), i64::try_from(limit + 1).unwrap_or(i64::MAX).into()];
        let mut chosen =
            "SELECT job.id FROM job JOIN tenant ON tenant.id = job.tenant WHERE tenant.name = ?1 AND job.name > ?2 AND removed = 0 ORDER BY job.name LIMIT ?3"
                .to_owned();
        if !filter.labels.is_empty() {
            chosen = "SELECT l.job FROM job_label AS l JOIN tenant ON tenant.id = l.tenant WHERE tenant.name = ?1 AND l.name > ?2".to_owned();
            for (n, (label, value)) in filter.labels.iter().enumerate() {
                let (l, v) = (values.len() + 1, values.len() + 2);
                chosen += &match n {
                    0 => format!(" AND l.label = ?{l} AND l.value = ?{v}"),
                    _ => format!(" AND EXISTS (SELECT 1 FROM job_label WHERE tenant = l.tenant AND label = ?{l} AND value = ?{v} AND name = l.name)"),
                };
                values.extend([label.clone().into(), value.clone().into()]);
            }
            chosen += " ORDER BY l.name LIMIT ?3";
        }
        let sql = format!("SELECT {JOB} WHERE job.id IN ({chosen}) ORDER BY job.name");
        let items = self.query_all(&sql, rusqlite::params_from_iter(values), |row| rows::read_job(row).map(|row| row.job))?;
        Ok(Page::cut(items, limit, |job: &Job| job.key.id.to_string()))
    }
}
