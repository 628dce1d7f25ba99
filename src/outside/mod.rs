//! What guests reach outside of their sandbox, where they were granted it: the answers to what an executor asks.
//!
//! ```text
//! executor's gate (the grant is checked) ─► World ─► key_value: the store, or a namespace that passes with the process
//!                                                 └► http: a thread, to an address that was checked
//! ```
//! Nothing here knows of wasm, of worker processes or of jobs beyond whose namespace is meant.

mod http;
mod key_value;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use crate::executor::{Answer, Asker, Call, Outside, Refusal};
use crate::store::{Namespace, Store};
use http::Requests;
pub use http::{BadAuthorities, Lookup, SystemLookup};

/// Bounds of all jobs together.
#[derive(Clone, Debug)]
pub struct WorldConfig {
    /// HTTP requests under way at once; further ones wait.
    pub http_at_once: usize,
    /// Whether a grant may name addresses that are not on the public internet.
    pub http_private: bool,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self { http_at_once: 64, http_private: true }
    }
}

/// The world outside.
pub struct World {
    keys: Keys,
    requests: Requests,
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
        Self::new(&config, Keys::Kept(store), Arc::new(SystemLookup))
    }

    /// For attempts without a job: one namespace, empty at first, kept nowhere.
    pub fn passing(config: WorldConfig) -> Self {
        Self::new(&config, Keys::Passing(Mutex::default()), Arc::new(SystemLookup))
    }

    /// The same, with names looked up in another way.
    pub fn with_lookup(mut self, lookup: Arc<dyn Lookup>) -> Self {
        self.requests.lookup = lookup;
        self
    }

    /// The same, where TLS trusts these authorities (certificates in PEM) and not those of Mozilla.
    pub fn with_authorities(mut self, pem: &[u8]) -> Result<Self, BadAuthorities> {
        self.requests.authorities = http::authorities(pem)?;
        Ok(self)
    }

    fn new(config: &WorldConfig, keys: Keys, lookup: Arc<dyn Lookup>) -> Self {
        let requests = Requests::new(lookup, config.http_at_once, config.http_private);
        Self { keys, requests }
    }
}

#[async_trait]
impl Outside for World {
    async fn ask(&self, asker: &Asker, call: Call) -> Result<Answer, Refusal> {
        match call {
            Call::KeyValue(call) => self.key_value(asker, call).await,
            Call::Http(request) => self.requests.make(asker, *request).await,
        }
    }
}
