//! What guests reach outside of their sandbox, where they were granted it: the answers to what an executor asks.
//!
//! ```text
//! executor's gate (the grant is checked) ─► World ─► key_value: the store, or a namespace that passes with the process
//! ```
//! Nothing here knows of wasm, of worker processes or of jobs beyond whose namespace is meant.

mod key_value;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::executor::{Answer, Asker, Call, Outside, Refusal};
use crate::store::{Namespace, Store};

/// Bounds that hold for every job.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// Keys of one namespace.
    pub kv_keys: u64,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self { kv_keys: 10_000 }
    }
}

/// The world outside.
pub struct World {
    config: WorldConfig,
    keys: Keys,
}

/// Where namespaces are.
enum Keys {
    Kept(Arc<dyn Store>),
    /// One for whoever asks, gone with this.
    Passing(Mutex<Namespace>),
}

impl World {
    /// Namespaces are kept in `store`, where jobs are.
    pub fn of_store(store: Arc<dyn Store>, config: WorldConfig) -> Self {
        Self { config, keys: Keys::Kept(store) }
    }

    /// For attempts without a job: one namespace, empty at first, kept nowhere.
    pub fn passing(config: WorldConfig) -> Self {
        Self { config, keys: Keys::Passing(Mutex::default()) }
    }
}

#[async_trait]
impl Outside for World {
    async fn ask(&self, asker: &Asker, call: Call) -> Result<Answer, Refusal> {
        match call {
            Call::KeyValue(call) => self.key_value(asker, call).await,
        }
    }
}
