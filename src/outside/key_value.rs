//! Key-value: a question as a verb of the store.

use std::sync::PoisonError;

use super::{Keys, World};
use crate::executor::{Answer, Asker, KeyValueCall, Raw, Refusal, Space};
use crate::store::{KvBounds, KvKeys, KvOwner, KvRefused, Namespace, Store, StoreError};

impl World {
    pub(super) async fn key_value(&self, asker: &Asker, call: KeyValueCall) -> Result<Answer, Refusal> {
        // The gate lets nobody by who has none.
        let space = asker.reach.kv.as_ref().ok_or(Refusal::NotGranted)?;
        let bounds = KvBounds { bytes: asker.limits.kv_bytes, keys: asker.limits.kv_keys };
        match &self.keys {
            Keys::Kept(store) => of_store(&**store, space, bounds, call).await.map_err(refusal),
            Keys::Passing(namespace) => {
                let namespace = &mut namespace.lock().unwrap_or_else(PoisonError::into_inner);
                of_namespace(namespace, bounds, call).map_err(Refusal::from)
            }
        }
    }
}

async fn of_store(store: &dyn Store, space: &Space, bounds: KvBounds, call: KeyValueCall) -> Result<Answer, StoreError> {
    let of = &KvOwner { job: space.job.clone(), since: space.since };
    Ok(match call {
        KeyValueCall::Get { key } => Answer::Value(store.kv_get(of, &key).await?.map(Raw)),
        KeyValueCall::Set { key, value } => {
            store.kv_set(of, &key, value.0, bounds).await?;
            Answer::Done
        }
        KeyValueCall::Delete { key } => {
            store.kv_delete(of, &key).await?;
            Answer::Done
        }
        KeyValueCall::List { after } => keys(store.kv_list(of, after).await?),
        KeyValueCall::Add { key, delta } => Answer::Number(store.kv_add(of, &key, delta, bounds).await?),
    })
}

fn of_namespace(namespace: &mut Namespace, bounds: KvBounds, call: KeyValueCall) -> Result<Answer, KvRefused> {
    Ok(match call {
        KeyValueCall::Get { key } => Answer::Value(namespace.get(&key).map(|value| Raw(value.to_vec()))),
        KeyValueCall::Set { key, value } => {
            namespace.set(&key, value.0, bounds)?;
            Answer::Done
        }
        KeyValueCall::Delete { key } => {
            namespace.delete(&key);
            Answer::Done
        }
        KeyValueCall::List { after } => keys(namespace.list(after)),
        KeyValueCall::Add { key, delta } => Answer::Number(namespace.add(&key, delta, bounds)?),
    })
}

fn keys(found: KvKeys) -> Answer {
    Answer::Keys { keys: found.keys, next: found.next }
}

impl From<KvRefused> for Refusal {
    fn from(refused: KvRefused) -> Self {
        match refused {
            KvRefused::Quota { needed, quota } => Self::KvBytes { asked: needed, max: quota },
            KvRefused::Keys { max } => Self::KvKeys { max },
            KvRefused::Key { .. } | KvRefused::NotANumber { .. } => Self::Bound(refused.to_string()),
        }
    }
}

/// What a database says of itself is for the log, not for guests.
fn refusal(error: StoreError) -> Refusal {
    match error {
        StoreError::KeyValue(refused) => refused.into(),
        StoreError::NotFound { .. } => Refusal::Failed("the job was removed".to_owned()),
        error => {
            tracing::error!(%error, "a guest's key-value call failed");
            Refusal::Failed("the store failed".to_owned())
        }
    }
}
