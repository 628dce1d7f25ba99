//! A compiler, a cache and a pool to run guests with. The cache is shared by all tests of all runs, so that nothing
//! is compiled twice.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bellcage::component::cache::Cache;
use bellcage::component::compile::{Compiler, CompilerConfig};
use bellcage::component::{Artefact, EngineSettings};
use bellcage::executor::{AttemptReport, AttemptRequest, Executor as _, Outside, Pool, PoolConfig, Workers, WorkersConfig};
use bellcage::job::{Entry, Limits};

pub fn compiler_config() -> CompilerConfig {
    CompilerConfig::new(PathBuf::from(env!("CARGO_BIN_EXE_bellcage")))
}

pub fn compiler() -> Compiler {
    Compiler::new(compiler_config(), EngineSettings::default())
}

/// The folder of the tests' cache.
pub fn artefacts() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("artefacts")
}

pub fn cache() -> &'static Cache {
    static CACHE: OnceLock<Cache> = OnceLock::new();
    CACHE.get_or_init(|| Cache::open(&artefacts(), &EngineSettings::default()).expect("the tests' cache"))
}

pub async fn artefact(component: &[u8]) -> Artefact {
    cache().ensure(&compiler(), component).await.expect("the guest compiles").0
}

pub fn pool(slots: usize) -> Pool {
    Pool::start(PoolConfig { workers: 2, slots, ..PoolConfig::default() }).expect("a pool")
}

pub fn pool_with(slots: usize, outside: Arc<dyn Outside>) -> Pool {
    Pool::start_with(PoolConfig { workers: 2, slots, ..PoolConfig::default() }, outside).expect("a pool")
}

pub fn workers_config(workers: usize, slots: usize) -> WorkersConfig {
    WorkersConfig { workers, slots, ..WorkersConfig::new(PathBuf::from(env!("CARGO_BIN_EXE_bellcage"))) }
}

pub fn workers(slots: usize) -> Workers {
    Workers::start(workers_config(2, slots)).expect("worker processes")
}

/// A guest of `guests/`, built from source.
pub fn built_guest(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guests/out/{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run: guests/setup && guests/build", path.display()))
}

/// A guest's bytes, once it is in the tests' cache. The big ones compile for long on a busy machine: longer than a server allows.
pub async fn compiled_guest(name: &str) -> Vec<u8> {
    let bytes = built_guest(name);
    let patient = CompilerConfig { cpu: Duration::from_mins(5), wall: Duration::from_mins(10), ..compiler_config() };
    cache().ensure(&Compiler::new(patient, EngineSettings::default()), &bytes).await.expect("the guest compiles");
    bytes
}

pub async fn request(component: &[u8]) -> AttemptRequest {
    AttemptRequest::new(artefact(component).await, Entry::Main)
}

/// One attempt of a component with these limits.
pub async fn run(component: &[u8], limits: Limits) -> AttemptReport {
    pool(4).run(AttemptRequest { limits, ..request(component).await }).await
}

pub trait ReportExt {
    fn code(&self) -> &str;
    fn message(&self) -> &str;
    fn stdout(&self) -> String;
}

impl ReportExt for AttemptReport {
    fn code(&self) -> &str {
        self.error.as_ref().map_or("", |e| &e.code)
    }

    fn message(&self) -> &str {
        self.error.as_ref().map_or("", |e| &e.message)
    }

    fn stdout(&self) -> String {
        self.result.as_ref().and_then(|r| r.to_json().as_str().map(str::to_owned)).unwrap_or_default()
    }
}
