//! Key-value namespaces.

use super::State;
use crate::store::{KvBounds, KvKeys, KvOwner, KvUsage, Namespace, StoreError};

impl State {
    pub(super) fn kv_set(&mut self, of: &KvOwner, key: &str, value: Vec<u8>, bounds: KvBounds) -> Result<(), StoreError> {
        Ok(self.own_namespace(of)?.set(key, value, bounds)?)
    }

    pub(super) fn kv_add(&mut self, of: &KvOwner, key: &str, delta: u64, bounds: KvBounds) -> Result<u64, StoreError> {
        Ok(self.own_namespace(of)?.add(key, delta, bounds)?)
    }

    pub(super) fn kv_get(&self, of: &KvOwner, key: &str) -> Option<Vec<u8>> {
        self.namespace(of).and_then(|namespace| namespace.get(key)).map(<[u8]>::to_vec)
    }

    pub(super) fn kv_delete(&mut self, of: &KvOwner, key: &str) -> bool {
        self.has(of) && self.namespaces.get_mut(&of.job).is_some_and(|namespace| namespace.delete(key))
    }

    pub(super) fn kv_list(&self, of: &KvOwner, after: Option<u64>) -> KvKeys {
        self.namespace(of).map(|namespace| namespace.list(after)).unwrap_or_default()
    }

    pub(super) fn kv_usage(&self, of: &KvOwner) -> KvUsage {
        self.namespace(of).map(Namespace::usage).unwrap_or_default()
    }

    fn namespace(&self, of: &KvOwner) -> Option<&Namespace> {
        self.namespaces.get(&of.job).filter(|_| self.has(of))
    }

    fn own_namespace(&mut self, of: &KvOwner) -> Result<&mut Namespace, StoreError> {
        if !self.has(of) {
            return Err(StoreError::NotFound { what: format!("job {:?}", of.job.id) });
        }
        Ok(self.namespaces.entry(of.job.clone()).or_default())
    }

    fn has(&self, of: &KvOwner) -> bool {
        self.jobs.get(&of.job).is_some_and(|stored| stored.job.created_at == of.since)
    }
}
