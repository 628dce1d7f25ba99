//! Verbs on secrets. A value goes in, and comes out only into an attempt that was granted it.

use jiff::Timestamp;

use crate::job::{SecretName, SecretText, TenantId};
use crate::store::{Secret, StoreError};

use super::error::SecretError;
use super::{Inner, Page, PageRequest, Scheduler, SchedulerError, SecretsKey};

/// Secrets of a tenant at most.
pub const SECRETS_MAX: u64 = 1_000;

/// What may be known of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretInfo {
    pub name: SecretName,
    pub updated_at: Timestamp,
    /// False where it was stored under another key than this server has, so that no attempt can be given it.
    pub readable: bool,
}

impl Scheduler {
    /// Adds a secret, or puts the value in the place of the one it has: every later attempt is given it.
    pub async fn put_secret(&self, tenant: &TenantId, name: &SecretName, value: SecretText) -> Result<SecretInfo, SchedulerError> {
        let inner = &self.inner;
        check(name, &value)?;
        let sealed = inner.secrets_key()?.seal(tenant, name, &value).map_err(|e| StoreError::Backend(e.to_string()))?;
        let secret = Secret { tenant: tenant.clone(), name: name.clone(), sealed, updated_at: inner.clock.now() };
        let info = inner.info(&secret);
        if !inner.store.put_secret(secret, SECRETS_MAX).await? {
            return Err(SecretError::TooMany { cap: SECRETS_MAX }.into());
        }
        Ok(info)
    }

    /// By name, without their values.
    pub async fn secrets(&self, tenant: &TenantId, page: PageRequest) -> Result<Page<SecretInfo>, SchedulerError> {
        let page = self.inner.store.secrets(tenant, page).await?;
        Ok(page.map(|secret| self.inner.info(&secret)))
    }

    /// Removes a secret. Attempts of jobs that are granted it are refused from then on.
    pub async fn remove_secret(&self, tenant: &TenantId, name: &SecretName) -> Result<(), SchedulerError> {
        Ok(self.inner.store.remove_secret(tenant, name).await?)
    }
}

fn check(name: &SecretName, value: &SecretText) -> Result<(), SecretError> {
    let name = name.clone();
    match value.expose() {
        "" => Err(SecretError::Value { name, why: "is empty".to_owned() }),
        value if value.len() > SecretText::BYTES_MAX => {
            Err(SecretError::Value { name, why: format!("has {} bytes, above the most that is allowed, {}", value.len(), SecretText::BYTES_MAX) })
        }
        value if value.contains('\0') => Err(SecretError::Value { name, why: "contains a NUL character, which no variable can carry".to_owned() }),
        _ => Ok(()),
    }
}

impl Inner {
    fn secrets_key(&self) -> Result<&SecretsKey, SecretError> {
        self.options.secrets_key.as_ref().ok_or(SecretError::NoKey)
    }

    fn info(&self, secret: &Secret) -> SecretInfo {
        let readable = self.options.secrets_key.as_ref().is_some_and(|key| key.fits(&secret.sealed));
        SecretInfo { name: secret.name.clone(), updated_at: secret.updated_at, readable }
    }

    /// Each name with its value. The first that is not there, or cannot be opened, is the error.
    pub(super) async fn open_secrets(&self, tenant: &TenantId, names: &[SecretName]) -> Result<Vec<(String, SecretText)>, SchedulerError> {
        let mut values = Vec::with_capacity(names.len());
        for name in names {
            let secret = match self.store.secret(tenant, name).await {
                Err(StoreError::NotFound { .. }) => return Err(SecretError::Missing { name: name.clone() }.into()),
                secret => secret?,
            };
            values.push((name.to_string(), self.secrets_key()?.open(tenant, name, &secret.sealed)?));
        }
        Ok(values)
    }

    /// Secrets of the first tenant that this server's key does not open are told when it starts.
    pub(super) async fn look_at_secrets(&self) -> Result<(), StoreError> {
        let page = self.store.secrets(&TenantId::default(), PageRequest { after: None, limit: PageRequest::LIMIT_MAX }).await?;
        let unreadable: Vec<_> = page.items.iter().filter(|secret| !self.info(secret).readable).map(|secret| secret.name.as_str()).collect();
        if !unreadable.is_empty() {
            tracing::error!("these secrets were stored under another key than this server has, and no run can be given them: {}", unreadable.join(", "));
        }
        Ok(())
    }
}
