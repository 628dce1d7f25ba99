//! Sealed secrets.

use rusqlite::{Row, params};

use super::live::find_tenant;
use super::rows::{At, Count, Text};
use super::writer::{Db, Done, Writer};
use crate::job::{SecretName, TenantId};
use crate::store::{Page, PageRequest, Secret, apply};

fn read(row: &Row<'_>, tenant: &TenantId) -> rusqlite::Result<Secret> {
    Ok(Secret { tenant: tenant.clone(), name: row.get::<_, Text<_>>(0)?.0, sealed: row.get(1)?, updated_at: row.get::<_, At>(2)?.0 })
}

impl Writer {
    pub(super) fn put_secret(&mut self, secret: &Secret, max: u64) -> Done<bool> {
        let tenant = self.live.tenant(&self.db, &secret.tenant)?;
        let sql = "INSERT INTO secret (tenant, name, sealed, updated_at) \
                   SELECT ?1, ?2, ?3, ?4 WHERE (SELECT count(*) FROM secret WHERE tenant = ?1 AND name <> ?2) < ?5 \
                       OR EXISTS (SELECT 1 FROM secret WHERE tenant = ?1 AND name = ?2) \
                   ON CONFLICT DO UPDATE SET sealed = excluded.sealed, updated_at = excluded.updated_at";
        let stored = self.db.execute(sql, params![tenant, secret.name.as_str(), secret.sealed, At(secret.updated_at), Count(max)])?;
        Ok(stored > 0)
    }

    pub(super) fn remove_secret(&mut self, tenant: &TenantId, name: &SecretName) -> Done<()> {
        let tenant = self.live.tenant(&self.db, tenant)?;
        match self.db.execute("DELETE FROM secret WHERE tenant = ? AND name = ?", params![tenant, name.as_str()])? {
            0 => Err(apply::no_secret(name).into()),
            _ => Ok(()),
        }
    }
}

impl Db {
    pub(super) fn tenants(&self, page: &PageRequest) -> Done<Page<TenantId>> {
        let after = page.after::<TenantId>()?.map(String::from).unwrap_or_default();
        let limit = page.limit();
        let sql = "SELECT name FROM tenant WHERE name > ? AND (EXISTS (SELECT 1 FROM job WHERE tenant = tenant.id AND removed = 0) \
                   OR EXISTS (SELECT 1 FROM secret WHERE tenant = tenant.id)) ORDER BY name LIMIT ?";
        let items = self.query_all(sql, params![after, Count(limit as u64 + 1)], |row| Ok(row.get::<_, Text<TenantId>>(0)?.0))?;
        Ok(Page::cut(items, limit, ToString::to_string))
    }

    pub(super) fn secret(&self, tenant: &TenantId, name: &SecretName) -> Done<Secret> {
        let Some(number) = find_tenant(self, tenant)? else { return Err(apply::no_secret(name).into()) };
        let sql = "SELECT name, sealed, updated_at FROM secret WHERE tenant = ? AND name = ?";
        self.query_opt(sql, params![number, name.as_str()], |row| read(row, tenant))?.ok_or_else(|| apply::no_secret(name).into())
    }

    pub(super) fn secrets(&self, tenant: &TenantId, page: &PageRequest) -> Done<Page<Secret>> {
        let after = page.after::<SecretName>()?.map(String::from).unwrap_or_default();
        let limit = page.limit();
        let Some(number) = find_tenant(self, tenant)? else { return Ok(Page { items: Vec::new(), next: None }) };
        let sql = "SELECT name, sealed, updated_at FROM secret WHERE tenant = ? AND name > ? ORDER BY name LIMIT ?";
        let items = self.query_all(sql, params![number, after, Count(limit as u64 + 1)], |row| read(row, tenant))?;
        Ok(Page::cut(items, limit, |s| s.name.to_string()))
    }
}
