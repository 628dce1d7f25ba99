//! Components: what becomes of uploaded bytes before anything of them runs.
//!
//! ```text
//! bytes ──size cap──► child process: adapt (core modules) · validate · inspect · link · compile (memory, CPU, wall, file caps)
//!                        └─► artefact (.cwasm) ──HMAC──► our cache, by digest and engine compatibility hash
//! ```
//! Compiling never happens on the run path, and never in this process (compile-time denial of service is outside
//! wasmtime's promise: a 14 KiB component can cost seconds, a 371 KiB one gigabytes). An artefact is native code:
//! none is ever accepted from outside, and each is authenticated before it is mapped.

mod adapt;
mod asks;
pub mod cache;
pub mod compile;
mod engine;
mod error;
mod inspect;
mod queue;
pub mod signature;
mod upload;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::job::Digest;

pub use engine::{EngineSettings, MEMORIES_MAX, TABLES_MAX, engine_config};
pub use error::{CompileCap, ComponentError, as_shown};
pub use inspect::{EntryError, EntryInfo, EntryKind, Inspection, JOB_PACKAGE, JOB_VERSIONS, inspect, is_command_export};
pub use queue::Need;
pub use signature::{ArgError, Signature};

/// A compiled component: a file written by our own compiler, authenticated before it is mapped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Artefact {
    /// Of the component's bytes as uploaded: the key of every cache.
    pub digest: Digest,
    pub path: PathBuf,
}
