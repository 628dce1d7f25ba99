//! Exclusion calendars, and which jobs refer to them.

use rusqlite::{Row, params};

use super::live::find_tenant;
use super::rows::{At, Count, Json, Text};
use super::writer::{Db, Done, Writer};
use crate::job::{CalendarName, Job, JobId, JobKey, TenantId};
use crate::store::{Calendar, Page, PageRequest, StoreError, apply};

fn read(row: &Row<'_>, tenant: &TenantId) -> rusqlite::Result<Calendar> {
    Ok(Calendar { tenant: tenant.clone(), name: row.get::<_, Text<_>>(0)?.0, exclusions: row.get::<_, Json<_>>(1)?.0, updated_at: row.get::<_, At>(2)?.0 })
}

/// Which calendars a job refers to, where nothing is known of it yet.
pub(super) fn index(db: &Db, tenant: i64, id: i64, job: &Job) -> rusqlite::Result<()> {
    for calendar in &job.spec.calendars {
        let sql = "INSERT INTO job_calendar (tenant, calendar, name, job) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
        db.execute(sql, params![tenant, calendar.as_str(), job.key.id.as_str(), id])?;
    }
    Ok(())
}

impl Writer {
    pub(super) fn put_calendar(&mut self, calendar: &Calendar) -> Done<()> {
        let tenant = self.live.tenant(&self.db, &calendar.tenant)?;
        let sql = "INSERT INTO calendar (tenant, name, exclusions, updated_at) VALUES (?, ?, ?, ?) \
                   ON CONFLICT DO UPDATE SET exclusions = excluded.exclusions, updated_at = excluded.updated_at";
        self.db.execute(sql, params![tenant, calendar.name.as_str(), Json(&calendar.exclusions), At(calendar.updated_at)])?;
        Ok(())
    }

    pub(super) fn remove_calendar(&mut self, tenant: &TenantId, name: &CalendarName) -> Done<()> {
        let number = self.live.tenant(&self.db, tenant)?;
        let sql = format!("SELECT name FROM job_calendar WHERE tenant = ? AND calendar = ? ORDER BY name LIMIT {}", PageRequest::LIMIT_MAX);
        let using: Vec<JobId> = self.db.query_all(&sql, params![number, name.as_str()], |row| Ok(row.get::<_, Text<_>>(0)?.0))?;
        if !using.is_empty() {
            let jobs = using.into_iter().map(|id| JobKey { tenant: tenant.clone(), id }).collect();
            return Err(StoreError::CalendarInUse { name: name.to_string(), jobs }.into());
        }
        match self.db.execute("DELETE FROM calendar WHERE tenant = ? AND name = ?", params![number, name.as_str()])? {
            0 => Err(apply::no_calendar(name).into()),
            _ => Ok(()),
        }
    }
}

impl Db {
    pub(super) fn calendar(&self, tenant: &TenantId, name: &CalendarName) -> Done<Calendar> {
        let Some(number) = find_tenant(self, tenant)? else { return Err(apply::no_calendar(name).into()) };
        let sql = "SELECT name, exclusions, updated_at FROM calendar WHERE tenant = ? AND name = ?";
        self.query_opt(sql, params![number, name.as_str()], |row| read(row, tenant))?.ok_or_else(|| apply::no_calendar(name).into())
    }

    pub(super) fn calendars(&self, tenant: &TenantId, page: &PageRequest) -> Done<Page<Calendar>> {
        let after = page.after::<CalendarName>()?.map(String::from).unwrap_or_default();
        let limit = page.limit();
        let Some(number) = find_tenant(self, tenant)? else { return Ok(Page { items: Vec::new(), next: None }) };
        let sql = "SELECT name, exclusions, updated_at FROM calendar WHERE tenant = ? AND name > ? ORDER BY name LIMIT ?";
        let items = self.query_all(sql, params![number, after, Count(limit as u64 + 1)], |row| read(row, tenant))?;
        Ok(Page::cut(items, limit, |c| c.name.to_string()))
    }
}
