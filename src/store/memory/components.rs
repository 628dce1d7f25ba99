//! Components: their versions by name, their bytes by digest.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::State;
use crate::job::{ComponentName, Digest, Job, JobKey, TenantId, Version};
use crate::store::{ComponentVersion, Page, PageRequest, Pushed, StoreError, apply};

pub(super) struct Component {
    /// Numbers are never given twice, so that a pinned reference never means other bytes.
    last_version: u32,
    versions: BTreeMap<u32, ComponentVersion>,
}

impl State {
    pub(super) fn push_component(
        &mut self,
        tenant: &TenantId,
        name: &ComponentName,
        bytes: Vec<u8>,
        inspection: serde_json::Value,
        pushed_at: Timestamp,
    ) -> Pushed {
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        let component = self.components.entry((tenant.clone(), name.clone())).or_insert_with(|| Component { last_version: 0, versions: BTreeMap::new() });
        if let Some((_, newest)) = component.versions.last_key_value()
            && newest.digest == digest
        {
            return Pushed { component: newest.clone(), new: false };
        }
        component.last_version += 1;
        let version = component.last_version;
        let pushed = ComponentVersion { tenant: tenant.clone(), name: name.clone(), version, digest, size, pushed_at, inspection };
        component.versions.insert(version, pushed.clone());
        self.bytes.entry(digest).or_insert(bytes);
        Pushed { component: pushed, new: true }
    }

    pub(super) fn component(&self, tenant: &TenantId, name: &ComponentName, version: Version) -> Result<ComponentVersion, StoreError> {
        let versions = self.components.get(&(tenant.clone(), name.clone())).map(|c| &c.versions);
        let found = versions.and_then(|versions| match version {
            Version::Newest => versions.values().next_back(),
            Version::Number(n) => versions.get(&n),
            Version::Digest(digest) => versions.values().rfind(|v| v.digest == digest),
        });
        found.cloned().ok_or_else(|| apply::no_component(name, version))
    }

    pub(super) fn components(&self, tenant: &TenantId, page: PageRequest) -> Result<Page<ComponentVersion>, StoreError> {
        let after = page.after::<ComponentName>()?;
        let newest = self.components.iter().filter(|((t, name), _)| t == tenant && after.as_ref().is_none_or(|after| name > after));
        let items = newest.filter_map(|(_, c)| c.versions.values().next_back().cloned()).take(page.limit() + 1).collect();
        Ok(Page::cut(items, page.limit(), |v| v.name.to_string()))
    }

    pub(super) fn component_versions(&self, tenant: &TenantId, name: &ComponentName) -> Vec<ComponentVersion> {
        let versions = self.components.get(&(tenant.clone(), name.clone())).map(|c| &c.versions);
        versions.into_iter().flat_map(|v| v.values().rev()).take(PageRequest::LIMIT_MAX).cloned().collect()
    }

    pub(super) fn component_bytes(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        self.bytes.get(digest).cloned().ok_or_else(|| StoreError::NotFound { what: format!("component {digest}") })
    }

    pub(super) fn jobs_using(&self, tenant: &TenantId, name: &ComponentName, which: impl Fn(&Job) -> bool) -> Vec<JobKey> {
        let using = self.jobs.values().map(|stored| &stored.job).filter(|job| job.key.tenant == *tenant && job.spec.component.name == *name && which(job));
        using.take(PageRequest::LIMIT_MAX).map(|job| job.key.clone()).collect()
    }

    pub(super) fn remove_component(&mut self, tenant: &TenantId, name: &ComponentName, version: Option<u32>) -> Result<u32, StoreError> {
        let id = (tenant.clone(), name.clone());
        let missing = || apply::no_component(name, version.map_or(Version::Newest, Version::Number));
        let versions = &self.components.get(&id).ok_or_else(missing)?.versions;
        let jobs = match version {
            None => self.jobs_using(tenant, name, |_| true),
            Some(n) => {
                let digest = versions.get(&n).ok_or_else(missing)?.digest;
                let newest = versions.last_key_value().is_some_and(|(&newest, _)| newest == n);
                let last_with_digest = versions.values().filter(|v| v.digest == digest).count() == 1;
                self.jobs_using(tenant, name, |job| match job.spec.component.version {
                    Version::Newest => newest,
                    Version::Number(pinned) => pinned == n,
                    Version::Digest(pinned) => pinned == digest && last_with_digest,
                })
            }
        };
        if !jobs.is_empty() {
            return Err(StoreError::InUse { name: name.to_string(), jobs });
        }
        let Some(component) = self.components.get_mut(&id) else { return Err(missing()) };
        let before = component.versions.len();
        component.versions.retain(|n, _| version.is_some_and(|gone| gone != *n));
        let removed = before - component.versions.len();
        if component.versions.is_empty() {
            self.components.remove(&id);
        }
        let components = &self.components;
        self.bytes.retain(|digest, _| components.values().any(|c| c.versions.values().any(|v| v.digest == *digest)));
        Ok(u32::try_from(removed).unwrap_or(u32::MAX))
    }
}
