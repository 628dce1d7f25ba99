//! Components: their versions by name, their bytes by digest.

use jiff::Timestamp;
use rusqlite::{Row, params};

use super::live::find_tenant;
use super::rows::{At, Count, Json, Text};
use super::writer::{Db, Done, Writer};
use crate::job::{ComponentName, Digest, JobId, JobKey, TenantId, Version};
use crate::store::{ComponentVersion, Page, PageRequest, Pushed, StoreError, apply};

/// The columns that `read_version` reads, in its order.
const VERSION: &str =
    "component.name, version, digest, size, pushed_at, inspection FROM component JOIN component_version ON component_version.component = component.id";

fn read_version(row: &Row<'_>, tenant: &TenantId) -> rusqlite::Result<ComponentVersion> {
    Ok(ComponentVersion {
        tenant: tenant.clone(),
        name: row.get::<_, Text<_>>(0)?.0,
        version: row.get(1)?,
        digest: Digest(row.get(2)?),
        size: row.get::<_, Count>(3)?.0,
        pushed_at: row.get::<_, At>(4)?.0,
        inspection: row.get::<_, Json<_>>(5)?.0,
    })
}

impl Writer {
    pub(super) fn push_component(
        &mut self,
        tenant: &TenantId,
        name: &ComponentName,
        bytes: &[u8],
        digest: Digest,
        inspection: &serde_json::Value,
        now: Timestamp,
    ) -> Done<Pushed> {
        if let Some(newest) = self.db.find_component(tenant, name, Version::Newest)?.filter(|newest| newest.digest == digest) {
            return Ok(Pushed { component: newest, new: false });
        }
        let number = self.live.tenant(&self.db, tenant)?;
        let db = &self.db;
        let sql = "INSERT INTO component (tenant, name, last_version) VALUES (?, ?, 1) \
                   ON CONFLICT DO UPDATE SET last_version = last_version + 1 RETURNING id, last_version";
        let named = db.query_opt(sql, params![number, name.as_str()], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))?;
        let (component, version) = named.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let size = bytes.len() as u64;
        db.execute("INSERT INTO component_bytes (digest, bytes) VALUES (?, ?) ON CONFLICT DO NOTHING", params![digest.0, bytes])?;
        db.execute(
            "INSERT INTO component_version (component, version, digest, size, pushed_at, inspection) VALUES (?, ?, ?, ?, ?, ?)",
            params![component, version, digest.0, Count(size), At(now), Json(inspection)],
        )?;
        let (tenant, name, inspection) = (tenant.clone(), name.clone(), inspection.clone());
        Ok(Pushed { component: ComponentVersion { tenant, name, version, digest, size, pushed_at: now, inspection }, new: true })
    }

    pub(super) fn remove_component(&mut self, tenant: &TenantId, name: &ComponentName, version: Option<u32>) -> Done<u32> {
        let db = &self.db;
        let missing = || apply::no_component(name, version.map_or(Version::Newest, Version::Number));
        let newest = db.find_component(tenant, name, Version::Newest)?.ok_or_else(missing)?;
        let jobs = match version {
            None => db.jobs_using(tenant, name, None)?,
            Some(n) => {
                let digest = db.find_component(tenant, name, Version::Number(n))?.ok_or_else(missing)?.digest;
                let others = db.component_versions(tenant, name)?.iter().any(|v| v.digest == digest && v.version != n);
                let mut pins = vec![n.to_string()];
                pins.extend((n == newest.version).then(String::new));
                pins.extend((!others).then(|| digest.to_string()));
                db.jobs_using(tenant, name, Some(pins))?
            }
        };
        if !jobs.is_empty() {
            return Err(StoreError::InUse { name: name.to_string(), jobs }.into());
        }
        let number = self.live.tenant(db, tenant)?;
        let component = db.query_opt("SELECT id FROM component WHERE tenant = ? AND name = ?", params![number, name.as_str()], |row| row.get::<_, i64>(0))?;
        let component = component.ok_or_else(missing)?;
        let sql = "DELETE FROM component_version WHERE component = ?1 AND (?2 IS NULL OR version = ?2)";
        let removed = db.execute(sql, params![component, version])?;
        let orphans = "DELETE FROM component WHERE id = ? AND NOT EXISTS (SELECT 1 FROM component_version WHERE component = component.id)";
        db.execute(orphans, [component])?;
        db.execute(
            "DELETE FROM component_bytes WHERE NOT EXISTS (SELECT 1 FROM component_version WHERE component_version.digest = component_bytes.digest)",
            (),
        )?;
        Ok(u32::try_from(removed).unwrap_or(u32::MAX))
    }
}

impl Db {
    pub(super) fn component(&self, tenant: &TenantId, name: &ComponentName, version: Version) -> Done<ComponentVersion> {
        self.find_component(tenant, name, version)?.ok_or_else(|| apply::no_component(name, version).into())
    }

    fn find_component(&self, tenant: &TenantId, name: &ComponentName, version: Version) -> Done<Option<ComponentVersion>> {
        let Some(number) = find_tenant(self, tenant)? else { return Ok(None) };
        let (number_asked, digest) = match version {
            Version::Newest => (None, None),
            Version::Number(n) => (Some(n), None),
            Version::Digest(digest) => (None, Some(digest.0)),
        };
        let sql = format!(
            "SELECT {VERSION} WHERE tenant = ?1 AND name = ?2 AND (?3 IS NULL OR version = ?3) AND (?4 IS NULL OR digest = ?4) ORDER BY version DESC LIMIT 1"
        );
        Ok(self.query_opt(&sql, params![number, name.as_str(), number_asked, digest], |row| read_version(row, tenant))?)
    }

    pub(super) fn components(&self, tenant: &TenantId, page: &PageRequest) -> Done<Page<ComponentVersion>> {
        let after = page.after::<ComponentName>()?.map(String::from).unwrap_or_default();
        let limit = page.limit();
        let Some(number) = find_tenant(self, tenant)? else { return Ok(Page { items: Vec::new(), next: None }) };
        let sql = format!(
            "SELECT {VERSION} WHERE tenant = ? AND name > ? AND version = (SELECT max(version) FROM component_version WHERE component = component.id) \
             ORDER BY name LIMIT ?"
        );
        let items = self.query_all(&sql, params![number, after, Count(limit as u64 + 1)], |row| read_version(row, tenant))?;
        Ok(Page::cut(items, limit, |v| v.name.to_string()))
    }

    pub(super) fn component_versions(&self, tenant: &TenantId, name: &ComponentName) -> Done<Vec<ComponentVersion>> {
        let Some(number) = find_tenant(self, tenant)? else { return Ok(Vec::new()) };
        let sql = format!("SELECT {VERSION} WHERE tenant = ? AND name = ? ORDER BY version DESC LIMIT {}", PageRequest::LIMIT_MAX);
        Ok(self.query_all(&sql, params![number, name.as_str()], |row| read_version(row, tenant))?)
    }

    pub(super) fn component_bytes(&self, digest: &Digest) -> Done<Vec<u8>> {
        let bytes = self.query_opt("SELECT bytes FROM component_bytes WHERE digest = ?", [digest.0], |row| row.get(0))?;
        bytes.ok_or_else(|| StoreError::NotFound { what: format!("component {digest}") }.into())
    }

    /// Ids of jobs that refer to a component, by id; with `pins`, of those that are pinned so. The index has them in order
    /// for each pin, so that a component of a million jobs costs no more than a page for each pin that is in use.
    pub(super) fn jobs_using(&self, tenant: &TenantId, name: &ComponentName, pins: Option<Vec<String>>) -> Done<Vec<JobKey>> {
        let Some(number) = find_tenant(self, tenant)? else { return Ok(Vec::new()) };
        let pins = match pins {
            Some(pins) => pins,
            None => self.pins_in_use(number, name)?,
        };
        let mut names: Vec<JobId> = Vec::new();
        for pin in pins {
            let sql =
                format!("SELECT name FROM job WHERE tenant = ? AND component = ? AND pin = ? AND removed = 0 ORDER BY name LIMIT {}", PageRequest::LIMIT_MAX);
            names.extend(self.query_all(&sql, params![number, name.as_str(), pin], |row| Ok(row.get::<_, Text<_>>(0)?.0))?);
        }
        names.sort_unstable();
        names.truncate(PageRequest::LIMIT_MAX);
        Ok(names.into_iter().map(|id| JobKey { tenant: tenant.clone(), id }).collect())
    }

    fn pins_in_use(&self, tenant: i64, name: &ComponentName) -> Done<Vec<String>> {
        let mut pins: Vec<String> = Vec::new();
        loop {
            let sql = match pins.last() {
                None => "SELECT min(pin) FROM job WHERE tenant = ? AND component = ? AND pin >= ? AND removed = 0",
                Some(_) => "SELECT min(pin) FROM job WHERE tenant = ? AND component = ? AND pin > ? AND removed = 0",
            };
            let after = pins.last().cloned().unwrap_or_default();
            match self.query_opt(sql, params![tenant, name.as_str(), after], |row| row.get::<_, Option<String>>(0))?.flatten() {
                Some(pin) => pins.push(pin),
                None => return Ok(pins),
            }
        }
    }
}
