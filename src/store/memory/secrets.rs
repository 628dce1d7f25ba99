//! Sealed secrets.

use super::State;
use crate::job::{SecretName, TenantId};
use crate::store::{Page, PageRequest, Secret, StoreError, apply};

impl State {
    pub(super) fn put_secret(&mut self, secret: Secret, max: u64) -> bool {
        let key = (secret.tenant.clone(), secret.name.clone());
        let others = self.secrets.keys().filter(|(tenant, name)| *tenant == secret.tenant && *name != secret.name).count();
        let room = self.secrets.contains_key(&key) || (others as u64) < max;
        if room {
            self.secrets.insert(key, secret);
        }
        room
    }

    pub(super) fn secret(&self, tenant: &TenantId, name: &SecretName) -> Result<Secret, StoreError> {
        self.secrets.get(&(tenant.clone(), name.clone())).cloned().ok_or_else(|| apply::no_secret(name))
    }

    pub(super) fn secrets(&self, tenant: &TenantId, page: &PageRequest) -> Result<Page<Secret>, StoreError> {
        let after = page.after::<SecretName>()?;
        let limit = page.limit();
        let of_tenant = self.secrets.values().filter(|s| s.tenant == *tenant && after.as_ref().is_none_or(|after| s.name > *after));
        Ok(Page::cut(of_tenant.take(limit + 1).cloned().collect(), limit, |s| s.name.to_string()))
    }

    pub(super) fn remove_secret(&mut self, tenant: &TenantId, name: &SecretName) -> Result<(), StoreError> {
        self.secrets.remove(&(tenant.clone(), name.clone())).map(|_| ()).ok_or_else(|| apply::no_secret(name))
    }
}
