//! Verbs on components.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::component::{Artefact, ComponentError, Inspection, Need};
use crate::job::{ComponentName, Digest, Job, Reference, TenantId, Version};
use crate::store::StoreError;

use super::{Accept, BrokenJob, ComponentDetail, ComponentVersion, EventKind, Inner, Page, PageRequest, Pinned, PushReport, Scheduler, SchedulerError};

/// References that are remembered at most.
const RESOLVED_MAX: usize = 10_000;

impl Scheduler {
    /// Compiles, inspects and stores a component; the next run of every job that follows its name runs this version.
    /// Nothing is stored when it is refused. A version that jobs which follow the name could not run any more (their entry
    /// is gone, their arguments no longer fit) is refused as `BreaksJobs`, and one that asks for grants which the newest one
    /// does not ask for is held as `AsksForMore`, unless `accept` says so. Of the jobs that use the name, at most 1,000 are looked at.
    pub async fn push_component(&self, tenant: &TenantId, name: &ComponentName, bytes: Vec<u8>, accept: Accept) -> Result<PushReport, SchedulerError> {
        let inner = &self.inner;
        let (artefact, inspection) = inner.cache.ensure_for(tenant, Need::Push, &inner.compiler, &bytes).await?;
        let before = inner.before(tenant, name, &artefact.digest).await?;
        let broken = match &before {
            Some((_, before)) => inner.broken_by(tenant, name, before, &inspection).await?,
            None => Vec::new(),
        };
        if !broken.is_empty() && !accept.broken_jobs {
            return Err(SchedulerError::BreaksJobs { component: name.clone(), jobs: broken });
        }
        let new_grants = before.as_ref().map_or_else(Vec::new, |(_, before)| inspection.asks_more_than(before));
        if let Some((version, _)) = before.filter(|_| !new_grants.is_empty() && !accept.new_grants) {
            return Err(SchedulerError::AsksForMore { component: name.clone(), version, grants: new_grants });
        }
        let stored = serde_json::to_value(&inspection).map_err(|e| StoreError::Backend(e.to_string()))?;
        let now = inner.clock.now();
        let pushed = inner.store.push_component(tenant, name, bytes, stored, now).await?;
        inner.resolved().forget();
        if pushed.new {
            inner.events.emit(now, tenant, EventKind::ComponentPushed { name: name.clone(), version: pushed.component.version });
        }
        Ok(PushReport { component: pushed.component, new: pushed.new, inspection, broken, new_grants })
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

    /// Compiles the newest version of each component that has no artefact for this engine, one after the other, so that no run
    /// waits for that: after an update of bellcage, with other caps, or where the artefacts are gone. How many it compiled. What
    /// cannot be compiled any more is told in the log; its runs are refused with the reason.
    pub async fn compile_missing(&self, tenant: &TenantId) -> Result<u64, SchedulerError> {
        let inner = &self.inner;
        let mut compiled = 0;
        let mut page = PageRequest { after: None, limit: PageRequest::LIMIT_MAX };
        loop {
            let found = self.components(tenant, page).await?;
            for component in found.items.iter().filter(|component| !inner.cache.has(&component.digest)) {
                match inner.compiled(tenant, &component.digest).await {
                    Ok(_) => compiled += 1,
                    Err(error) => tracing::warn!(component = %component.name, %error, "a component has no compiled form for this server, and cannot get one"),
                }
            }
            match found.next {
                Some(next) => page = PageRequest { after: Some(next), limit: PageRequest::LIMIT_MAX },
                None => return Ok(compiled),
            }
        }
    }

    /// Removes a component, or one version; refused while jobs need it. Returns how many versions went.
    pub async fn remove_component(&self, tenant: &TenantId, name: &ComponentName, version: Option<u32>) -> Result<u32, SchedulerError> {
        let removed =
            self.inner.store.remove_component(tenant, name, version).await.map_err(|e| missing(e, name, version.map_or(Version::Newest, Version::Number)))?;
        self.inner.resolved().forget();
        Ok(removed)
    }
}

/// What references of components meant lately, until a component is pushed or removed.
#[derive(Default)]
pub(super) struct Resolved {
    artefacts: HashMap<Pinned, Artefact>,
    inspections: HashMap<Pinned, Arc<Inspection>>,
    /// Pushes and removals so far: what was read before one of them is not kept after it.
    changes: u64,
}

impl Resolved {
    fn artefact(&self, pinned: &Pinned) -> (Option<Artefact>, u64) {
        (self.artefacts.get(pinned).cloned(), self.changes)
    }

    fn inspection(&self, pinned: &Pinned) -> (Option<Arc<Inspection>>, u64) {
        (self.inspections.get(pinned).cloned(), self.changes)
    }

    fn keep(&mut self, as_of: u64, keep: impl FnOnce(&mut Self)) {
        if as_of != self.changes {
            return;
        }
        if self.artefacts.len().max(self.inspections.len()) >= RESOLVED_MAX {
            (self.artefacts, self.inspections) = Default::default();
        }
        keep(self);
    }

    fn forget(&mut self) {
        *self = Self { changes: self.changes + 1, ..Self::default() };
    }
}

impl Inner {
    async fn component_version(&self, tenant: &TenantId, name: &ComponentName, version: Version) -> Result<ComponentVersion, SchedulerError> {
        self.store.component(tenant, name, version).await.map_err(|e| missing(e, name, version))
    }

    /// Refuses what no run could honour: an unknown component, version or entry, arguments that do not fit the entry.
    pub(super) async fn check_call(&self, tenant: &TenantId, reference: &Reference, args: &Value) -> Result<(), SchedulerError> {
        let pinned = (tenant.clone(), reference.name.clone(), reference.version);
        let (known, as_of) = self.resolved().inspection(&pinned);
        let inspection = match known {
            Some(inspection) => inspection,
            None => {
                let component = self.component_version(tenant, &reference.name, reference.version).await?;
                let inspection = Arc::new(inspection_of(&component)?);
                self.resolved().keep(as_of, |resolved| drop(resolved.inspections.insert(pinned, inspection.clone())));
                inspection
            }
        };
        fits(&inspection, reference, args)
    }

    /// The newest version of `name`, by its number, that one with this digest would come after. None where it is the first, or the same again.
    async fn before(&self, tenant: &TenantId, name: &ComponentName, digest: &Digest) -> Result<Option<(u32, Inspection)>, SchedulerError> {
        match self.store.component(tenant, name, Version::Newest).await {
            Ok(newest) if newest.digest != *digest => Ok(Some((newest.version, inspection_of(&newest)?))),
            Ok(_) | Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The jobs that run the newest version of `name`, and could not run a new one.
    async fn broken_by(&self, tenant: &TenantId, name: &ComponentName, newest: &Inspection, new: &Inspection) -> Result<Vec<BrokenJob>, SchedulerError> {
        let mut broken = Vec::new();
        for key in self.store.jobs_using(tenant, name).await? {
            let Job { spec, .. } = match self.store.job(&key).await {
                Err(StoreError::NotFound { .. }) => continue,
                job => job?,
            };
            let (reference, args) = (&spec.component, &spec.args);
            // One that does not run today is not broken by what comes.
            if reference.version != Version::Newest || fits(newest, reference, args).is_err() {
                continue;
            }
            if let Err(error) = fits(new, reference, args) {
                broken.push(BrokenJob { job: key.id, why: error.to_string() });
            }
        }
        Ok(broken)
    }

    /// The artefact that a run of `reference` maps. Compiles only where the cache has lost it (a new engine version, a
    /// cleared directory), from the stored bytes.
    pub(super) async fn artefact(&self, tenant: &TenantId, reference: &Reference) -> Result<Artefact, SchedulerError> {
        let pinned = (tenant.clone(), reference.name.clone(), reference.version);
        let (known, as_of) = self.resolved().artefact(&pinned);
        if let Some(artefact) = known {
            return Ok(artefact);
        }
        let digest = self.component_version(tenant, &reference.name, reference.version).await?.digest;
        let artefact = self.compiled(tenant, &digest).await?;
        self.resolved().keep(as_of, |resolved| drop(resolved.artefacts.insert(pinned, artefact.clone())));
        Ok(artefact)
    }

    async fn compiled(&self, tenant: &TenantId, digest: &Digest) -> Result<Artefact, SchedulerError> {
        if let Some((artefact, _)) = self.cache.find(digest)? {
            return Ok(artefact);
        }
        let bytes = self.store.component_bytes(digest).await?;
        Ok(self.cache.ensure_for(tenant, Need::Run, &self.compiler, &bytes).await?.0)
    }
}

/// Whether a component offers what `reference` names, and takes these arguments.
fn fits(inspection: &Inspection, reference: &Reference, args: &Value) -> Result<(), SchedulerError> {
    let name = || reference.name.to_string();
    let entry = inspection.entry(&reference.entry).map_err(|error| SchedulerError::Entry { component: name(), error })?;
    match &entry.types {
        // A command's are looked at with the rest of the definition.
        None => Ok(()),
        Some(types) => {
            types.check(args).map_err(|error| SchedulerError::Args { entry: entry.name.clone(), signature: entry.signature.clone(), error: error.into() })
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_before_a_push_is_not_kept_after_it() {
        let pinned: Pinned = (TenantId::default(), "reports".parse().unwrap(), Version::Newest);
        let artefact = Artefact { digest: Digest::of(b""), path: "former.cwasm".into() };
        let mut resolved = Resolved::default();
        let (_, as_of) = resolved.artefact(&pinned);
        resolved.forget();
        resolved.keep(as_of, |resolved| drop(resolved.artefacts.insert(pinned.clone(), artefact.clone())));
        assert!(resolved.artefact(&pinned).0.is_none());
        let (_, as_of) = resolved.artefact(&pinned);
        resolved.keep(as_of, |resolved| drop(resolved.artefacts.insert(pinned.clone(), artefact)));
        assert!(resolved.artefact(&pinned).0.is_some());
    }
}
