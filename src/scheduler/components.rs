//! Verbs on components.

use crate::component::{Artefact, ComponentError, EntryKind, Inspection};
use crate::job::{ComponentName, Digest, Entry, Reference, TenantId, Version};
use crate::store::StoreError;

use super::{ComponentDetail, ComponentVersion, EventKind, Inner, Page, PageRequest, PushReport, Scheduler, SchedulerError};

/// References whose artefact is remembered at most.
const RESOLVED_MAX: usize = 10_000;

impl Scheduler {
    /// Compiles, inspects and stores a component; the next run of every job that follows its name runs this version.
    /// Nothing is stored when it is refused.
    pub async fn push_component(&self, tenant: &TenantId, name: &ComponentName, bytes: Vec<u8>) -> Result<PushReport, SchedulerError> {
        let inner = &self.inner;
        let (_, inspection) = inner.cache.ensure(&inner.compiler, &bytes).await?;
        let stored = serde_json::to_value(&inspection).map_err(|e| StoreError::Backend(e.to_string()))?;
        let now = inner.clock.now();
        let pushed = inner.store.push_component(tenant, name, bytes, stored, now).await?;
        inner.resolved().clear();
        if pushed.new {
            inner.events.emit(now, tenant, EventKind::ComponentPushed { name: name.clone(), version: pushed.component.version });
        }
        Ok(PushReport { component: pushed.component, new: pushed.new, inspection })
    }

    pub async fn component(&self, tenant: &TenantId, name: &ComponentName, version: Version) -> Result<ComponentDetail, SchedulerError> {
        let store = &self.inner.store;
        let component = self.inner.component_version(tenant, name, version).await?;
        let inspection = inspection_of(&component)?;
        let versions = store.component_versions(tenant, name).await?;
        let jobs = store.jobs_using(tenant, name).await?;
        Ok(ComponentDetail { component, inspection, versions, jobs })
    }

    pub async fn components(&self, tenant: &TenantId, page: PageRequest) -> Result<Page<ComponentVersion>, SchedulerError> {
        Ok(self.inner.store.components(tenant, page).await?)
    }

    /// Removes a component, or one version; refused while jobs need it. Returns how many versions went.
    pub async fn remove_component(&self, tenant: &TenantId, name: &ComponentName, version: Option<u32>) -> Result<u32, SchedulerError> {
        let removed =
            self.inner.store.remove_component(tenant, name, version).await.map_err(|e| missing(e, name, version.map_or(Version::Newest, Version::Number)))?;
        self.inner.resolved().clear();
        Ok(removed)
    }
}

impl Inner {
    async fn component_version(&self, tenant: &TenantId, name: &ComponentName, version: Version) -> Result<ComponentVersion, SchedulerError> {
        self.store.component(tenant, name, version).await.map_err(|e| missing(e, name, version))
    }

    /// Refuses a reference that no run could honour: unknown component, version or entry.
    pub(super) async fn check_reference(&self, tenant: &TenantId, reference: &Reference) -> Result<(), SchedulerError> {
        let component = self.component_version(tenant, &reference.name, reference.version).await?;
        let inspection = inspection_of(&component)?;
        let entry = reference.entry.to_string();
        let Some(found) = inspection.entries.iter().find(|e| e.name == entry) else {
            let entries = inspection.entries.iter().map(|e| e.name.clone()).collect();
            return Err(SchedulerError::NoSuchEntry { component: reference.name.to_string(), entry, entries });
        };
        match (&reference.entry, found.kind) {
            (Entry::Main, EntryKind::Command) => Ok(()),
            _ => Err(SchedulerError::EntryNotCallable { component: reference.name.to_string(), entry }),
        }
    }

    /// The artefact that a run of `reference` maps. Compiles only where the cache has lost it (a new engine version, a
    /// cleared directory), from the stored bytes.
    pub(super) async fn artefact(&self, tenant: &TenantId, reference: &Reference) -> Result<Artefact, SchedulerError> {
        let pinned = (tenant.clone(), reference.name.clone(), reference.version);
        if let Some(artefact) = self.resolved().get(&pinned) {
            return Ok(artefact.clone());
        }
        let digest = self.component_version(tenant, &reference.name, reference.version).await?.digest;
        let artefact = self.compiled(&digest).await?;
        let mut resolved = self.resolved();
        if resolved.len() >= RESOLVED_MAX {
            resolved.clear();
        }
        resolved.insert(pinned, artefact.clone());
        Ok(artefact)
    }

    async fn compiled(&self, digest: &Digest) -> Result<Artefact, SchedulerError> {
        if let Some((artefact, _)) = self.cache.find(digest)? {
            return Ok(artefact);
        }
        let bytes = self.store.component_bytes(digest).await?;
        Ok(self.cache.ensure(&self.compiler, &bytes).await?.0)
    }
}

fn inspection_of(component: &ComponentVersion) -> Result<Inspection, SchedulerError> {
    serde_json::from_value(component.inspection.clone()).map_err(|e| {
        SchedulerError::Component(ComponentError::Damaged { what: format!("what is stored of component {:?}", component.name.as_str()), detail: e.to_string() })
    })
}

/// "Not found" in a store says which row; a user wants to know which component.
fn missing(error: StoreError, name: &ComponentName, version: Version) -> SchedulerError {
    match error {
        StoreError::NotFound { .. } if version == Version::Newest => SchedulerError::ComponentNotUploaded(name.clone()),
        StoreError::NotFound { .. } => SchedulerError::NoSuchVersion { name: name.clone(), version },
        other => other.into(),
    }
}
