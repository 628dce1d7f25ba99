//! Verbs on components.

use serde_json::Value;

use crate::component::{Artefact, ComponentError, Inspection};
use crate::job::{ComponentName, Digest, Job, Reference, TenantId, Version};
use crate::store::StoreError;

use super::{BrokenJob, ComponentDetail, ComponentVersion, EventKind, Inner, Page, PageRequest, PushReport, Scheduler, SchedulerError};

/// References whose artefact is remembered at most.
const RESOLVED_MAX: usize = 10_000;

impl Scheduler {
    /// Compiles, inspects and stores a component; the next run of every job that follows its name runs this version.
    /// Nothing is stored when it is refused. A version that jobs which follow the name could not run any more (their entry
    /// is gone, their arguments no longer fit) is refused as `BreaksJobs`, and with `force` stored all the same. Of the
    /// jobs that use the name, at most 1,000 are looked at.
    pub async fn push_component(&self, tenant: &TenantId, name: &ComponentName, bytes: Vec<u8>, force: bool) -> Result<PushReport, SchedulerError> {
        let inner = &self.inner;
        let (artefact, inspection) = inner.cache.ensure(&inner.compiler, &bytes).await?;
        let broken = inner.broken_by(tenant, name, &artefact.digest, &inspection).await?;
        if !broken.is_empty() && !force {
            return Err(SchedulerError::BreaksJobs { component: name.clone(), jobs: broken });
        }
        let stored = serde_json::to_value(&inspection).map_err(|e| StoreError::Backend(e.to_string()))?;
        let now = inner.clock.now();
        let pushed = inner.store.push_component(tenant, name, bytes, stored, now).await?;
        inner.resolved().clear();
        if pushed.new {
            inner.events.emit(now, tenant, EventKind::ComponentPushed { name: name.clone(), version: pushed.component.version });
        }
        Ok(PushReport { component: pushed.component, new: pushed.new, inspection, broken })
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

    /// Refuses what no run could honour: an unknown component, version or entry, arguments that do not fit the entry.
    pub(super) async fn check_call(&self, tenant: &TenantId, reference: &Reference, args: &Value) -> Result<(), SchedulerError> {
        let component = self.component_version(tenant, &reference.name, reference.version).await?;
        fits(&inspection_of(&component)?, reference, args)
    }

    /// The jobs that run the newest version of `name`, and could not run one with this digest and inspection.
    async fn broken_by(&self, tenant: &TenantId, name: &ComponentName, digest: &Digest, new: &Inspection) -> Result<Vec<BrokenJob>, SchedulerError> {
        let newest = match self.store.component(tenant, name, Version::Newest).await {
            Ok(newest) if newest.digest != *digest => newest,
            // The same again, or the first version: nobody uses another.
            Ok(_) | Err(StoreError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let newest = inspection_of(&newest)?;
        let mut broken = Vec::new();
        for key in self.store.jobs_using(tenant, name).await? {
            let Job { spec, .. } = match self.store.job(&key).await {
                Err(StoreError::NotFound { .. }) => continue,
                job => job?,
            };
            let (reference, args) = (&spec.component, &spec.args);
            // One that does not run today is not broken by what comes.
            if reference.version != Version::Newest || fits(&newest, reference, args).is_err() {
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
