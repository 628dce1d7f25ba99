//! Verbs on secrets. A value goes in, and comes out only into an attempt that was granted it.

use std::sync::Arc;

use jiff::Timestamp;

use crate::job::{SecretName, SecretText, TenantId};
use crate::store::{Secret, Store, StoreError};

use super::error::SecretError;
use super::{Inner, Page, PageRequest, Scheduler, SchedulerError, SecretsKey};

/// Secrets of a tenant at most.
pub const SECRETS_MAX: u64 = 1_000;

/// What may be known of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretInfo {
    pub name: SecretName,
    pub updated_at: Timestamp,
    /// False where no attempt can be given it: it is damaged, or was stored under another key than this server has.
    pub readable: bool,
    /// What is stored of it was changed or cut off.
    pub damaged: bool,
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

/// Tells which secrets no run can be given.
pub(super) async fn tell_unreadable(inner: Arc<Inner>) {
    match Unreadable::among(&*inner.store, inner.options.secrets_key.as_ref()).await {
        Ok(unreadable) => unreadable.tell(),
        Err(error) => tracing::error!(%error, "the secrets could not be looked through for those that no run can be given"),
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
        let Secret { tenant, name, sealed, updated_at } = secret;
        let opened = self.secrets_key().and_then(|key| key.open(tenant, name, sealed));
        let damaged = matches!(opened, Err(SecretError::Damaged { .. }));
        SecretInfo { name: name.clone(), updated_at: *updated_at, readable: opened.is_ok(), damaged }
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
}

/// Secrets that no run can be given, of every tenant, whose name stands before theirs where it is not the first.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unreadable {
    other_key: Vec<String>,
    damaged: Vec<String>,
}

impl Unreadable {
    async fn among(store: &dyn Store, key: Option<&SecretsKey>) -> Result<Self, StoreError> {
        let mut unreadable = Self::default();
        let mut tenants = FIRST;
        loop {
            let page = store.tenants(tenants).await?;
            for tenant in &page.items {
                unreadable.add_those_of(tenant, store, key).await?;
            }
            match page.next {
                Some(next) => tenants = PageRequest { after: Some(next), ..FIRST },
                None => return Ok(unreadable),
            }
        }
    }

    async fn add_those_of(&mut self, tenant: &TenantId, store: &dyn Store, key: Option<&SecretsKey>) -> Result<(), StoreError> {
        let mut secrets = FIRST;
        loop {
            let page = store.secrets(tenant, secrets).await?;
            for Secret { name, sealed, .. } in &page.items {
                let full = || if *tenant == TenantId::default() { name.to_string() } else { format!("{tenant}/{name}") };
                match key.map(|key| key.open(tenant, name, sealed)) {
                    Some(Ok(_)) => {}
                    Some(Err(SecretError::Damaged { .. })) => self.damaged.push(full()),
                    Some(Err(_)) | None => self.other_key.push(full()),
                }
            }
            match page.next {
                Some(next) => secrets = PageRequest { after: Some(next), ..FIRST },
                None => return Ok(()),
            }
        }
    }

    fn tell(&self) {
        let Self { other_key, damaged } = self;
        if !other_key.is_empty() {
            tracing::error!(
                "these secrets were stored under another key than this server has, and no run can be given them: {}; start it with that key, or store them again",
                shown(other_key)
            );
        }
        if !damaged.is_empty() {
            tracing::error!("what is stored of these secrets was changed or cut off, and no run can be given them: {}; store them again", shown(damaged));
        }
    }
}

const FIRST: PageRequest = PageRequest { after: None, limit: PageRequest::LIMIT_MAX };
/// A line of the log names so many.
const SHOWN_MAX: usize = 20;

fn shown(names: &[String]) -> String {
    let more = names.len().saturating_sub(SHOWN_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names[..names.len().min(SHOWN_MAX)].join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    #[tokio::test]
    async fn every_tenants_secrets_that_cannot_be_opened_are_found() {
        let (store, ours, theirs) = (Memory::default(), SecretsKey::random().unwrap(), SecretsKey::random().unwrap());
        for (tenant, typed, key, cut) in [("default", "A", &ours, 0), ("default", "B", &theirs, 0), ("other", "A", &theirs, 0), ("other", "C", &ours, 1)] {
            let (tenant, name): (TenantId, SecretName) = (tenant.parse().unwrap(), typed.parse().unwrap());
            let mut sealed = key.seal(&tenant, &name, &SecretText::new("hush".to_owned())).unwrap();
            sealed.truncate(sealed.len() - cut);
            store.put_secret(Secret { tenant, name, sealed, updated_at: Timestamp::UNIX_EPOCH }, 10).await.unwrap();
        }
        let found = Unreadable::among(&store, Some(&ours)).await.unwrap();
        assert_eq!(found, Unreadable { other_key: vec!["B".to_owned(), "other/A".to_owned()], damaged: vec!["other/C".to_owned()] });
    }

    #[test]
    fn a_line_of_the_log_names_some_and_counts_the_rest() {
        let names: Vec<_> = (0..22).map(|n| format!("S{n}")).collect();
        assert!(shown(&names).ends_with("S18, S19 and 2 more") && shown(&names[..2]) == "S0, S1", "{}", shown(&names));
    }
}
