//! Key-value namespaces. What one holds is counted in the transaction that changes it.

use rusqlite::params;

use super::jobs::not_found;
use super::rows::{At, Count, Text};
use super::writer::{Db, Done, Writer};
use crate::store::key_value::{check_key, sum};
use crate::store::{KEYS_LISTED_MAX, KvBounds, KvKeys, KvOwner, KvUsage, StoreError};

/// The job of a tenant's name, its own and the time when it was added.
const JOB: &str = "(SELECT job.id FROM job JOIN tenant ON tenant.id = job.tenant WHERE tenant.name = ?1 AND job.name = ?2 AND removed = 0 AND created_at = ?3)";

impl Writer {
    pub(super) fn kv_set(&mut self, of: &KvOwner, key: &str, value: &[u8], bounds: KvBounds) -> Done<()> {
        check_key(key).map_err(StoreError::from)?;
        let id = self.owner(of)?.ok_or_else(|| not_found(&of.job))?;
        let db = &self.db;
        let old = db.query_opt("SELECT length(value) FROM kv WHERE job = ? AND key = ?", params![id, key], |row| Ok(row.get::<_, Count>(0)?.0))?;
        let usage = usage(db, id)?.after_set(key, old, value.len() as u64, bounds).map_err(StoreError::from)?;
        db.execute("INSERT INTO kv (job, key, value) VALUES (?, ?, ?) ON CONFLICT (job, key) DO UPDATE SET value = excluded.value", params![id, key, value])?;
        Ok(set_usage(db, id, usage)?)
    }

    pub(super) fn kv_add(&mut self, of: &KvOwner, key: &str, delta: u64, bounds: KvBounds) -> Done<u64> {
        check_key(key).map_err(StoreError::from)?;
        let id = self.owner(of)?.ok_or_else(|| not_found(&of.job))?;
        let value = self.db.query_opt("SELECT value FROM kv WHERE job = ? AND key = ?", params![id, key], |row| row.get::<_, Vec<u8>>(0))?;
        let sum = sum(key, value.as_deref(), delta).map_err(StoreError::from)?;
        self.kv_set(of, key, sum.to_string().as_bytes(), bounds)?;
        Ok(sum)
    }

    pub(super) fn kv_delete(&mut self, of: &KvOwner, key: &str) -> Done<bool> {
        let Some(id) = self.owner(of)? else { return Ok(false) };
        let db = &self.db;
        let sql = "DELETE FROM kv WHERE job = ? AND key = ? RETURNING length(value)";
        let Some(old) = db.query_opt(sql, params![id, key], |row| Ok(row.get::<_, Count>(0)?.0))? else { return Ok(false) };
        set_usage(db, id, usage(db, id)?.after_delete(key, old))?;
        Ok(true)
    }

    fn owner(&mut self, of: &KvOwner) -> rusqlite::Result<Option<i64>> {
        let Some(id) = self.live.find_job(&self.db, &of.job)? else { return Ok(None) };
        self.db.query_opt("SELECT id FROM job WHERE id = ? AND created_at = ?", params![id, At(of.since)], |row| row.get(0))
    }

    /// Forgets what a job kept.
    pub(super) fn drop_namespace(&mut self, id: i64) -> Done<()> {
        self.db.execute("DELETE FROM kv WHERE job = ?", [id])?;
        self.db.execute("DELETE FROM kv_usage WHERE job = ?", [id])?;
        Ok(())
    }
}

impl Db {
    pub(super) fn kv_get(&self, of: &KvOwner, key: &str) -> Done<Option<Vec<u8>>> {
        let sql = format!("SELECT value FROM kv WHERE job = {JOB} AND key = ?4");
        Ok(self.query_opt(&sql, params![Text(&of.job.tenant), Text(&of.job.id), At(of.since), key], |row| row.get(0))?)
    }

    pub(super) fn kv_list(&self, of: &KvOwner, after: Option<u64>) -> Done<KvKeys> {
        let sql = format!("SELECT number, key FROM kv WHERE job = {JOB} AND number > ?4 ORDER BY number LIMIT ?5");
        let params = params![Text(&of.job.tenant), Text(&of.job.id), At(of.since), Count(after.unwrap_or(0)), Count(KEYS_LISTED_MAX as u64 + 1)];
        Ok(KvKeys::cut(self.query_all(&sql, params, |row| Ok((row.get::<_, Count>(0)?.0, row.get(1)?)))?))
    }

    pub(super) fn kv_usage(&self, of: &KvOwner) -> Done<KvUsage> {
        let sql = format!("SELECT bytes, keys FROM kv_usage WHERE job = {JOB}");
        let found = self.query_opt(&sql, params![Text(&of.job.tenant), Text(&of.job.id), At(of.since)], read_usage)?;
        Ok(found.unwrap_or_default())
    }
}

fn usage(db: &Db, id: i64) -> rusqlite::Result<KvUsage> {
    Ok(db.query_opt("SELECT bytes, keys FROM kv_usage WHERE job = ?", [id], read_usage)?.unwrap_or_default())
}

fn read_usage(row: &rusqlite::Row<'_>) -> rusqlite::Result<KvUsage> {
    Ok(KvUsage { bytes: row.get::<_, Count>(0)?.0, keys: row.get::<_, Count>(1)?.0 })
}

fn set_usage(db: &Db, id: i64, usage: KvUsage) -> rusqlite::Result<()> {
    let sql = "INSERT INTO kv_usage (job, bytes, keys) VALUES (?, ?, ?) ON CONFLICT (job) DO UPDATE SET bytes = excluded.bytes, keys = excluded.keys";
    db.execute(sql, params![id, Count(usage.bytes), Count(usage.keys)])?;
    Ok(())
}
