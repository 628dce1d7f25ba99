//! Key-value namespaces.

use super::State;
use crate::job::JobKey;
use crate::store::{KvBounds, KvKeys, KvUsage, Namespace, StoreError};

impl State {
    pub(super) fn kv_set(&mut self, job: &JobKey, key: &str, value: Vec<u8>, bounds: KvBounds) -> Result<(), StoreError> {
        Ok(self.namespace(job)?.set(key, value, bounds)?)
    }

    pub(super) fn kv_add(&mut self, job: &JobKey, key: &str, delta: u64, bounds: KvBounds) -> Result<u64, StoreError> {
        Ok(self.namespace(job)?.add(key, delta, bounds)?)
    }

    pub(super) fn kv_get(&self, job: &JobKey, key: &str) -> Option<Vec<u8>> {
        self.namespaces.get(job).and_then(|namespace| namespace.get(key)).map(<[u8]>::to_vec)
    }

    pub(super) fn kv_delete(&mut self, job: &JobKey, key: &str) -> bool {
        self.namespaces.get_mut(job).is_some_and(|namespace| namespace.delete(key))
    }

    pub(super) fn kv_list(&self, job: &JobKey, after: Option<u64>) -> KvKeys {
        self.namespaces.get(job).map(|namespace| namespace.list(after)).unwrap_or_default()
    }

    pub(super) fn kv_usage(&self, job: &JobKey) -> KvUsage {
        self.namespaces.get(job).map(Namespace::usage).unwrap_or_default()
    }

    fn namespace(&mut self, job: &JobKey) -> Result<&mut Namespace, StoreError> {
        self.stored_job(job)?;
        Ok(self.namespaces.entry(job.clone()).or_default())
    }
}
