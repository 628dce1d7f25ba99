//! The measurements behind `bellcage bench`: each row is one figure, measured on the machine at hand with a real store, a real
//! executor and a real component, in a folder that is removed afterwards.
//!
//! Rates and ratios move with the machine's other work; what is compared is measured in one run.

mod attempts;
mod durable;
mod lateness;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::component::cache::Cache;
use crate::component::compile::{Compiler, CompilerConfig};
use crate::component::{Artefact, EngineSettings};
use crate::executor::{Pool, PoolConfig};

/// The guest of every row: a command that writes one line.
const TINY: &[u8] = include_bytes!("../../guests/demo/tiny.wasm");

#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Shorter, and less sure.
    pub quick: bool,
    /// A folder on the disk that is to be measured; what is written into it is removed again.
    pub folder: PathBuf,
    /// The bellcage binary, for its compile child.
    pub program: PathBuf,
}

/// One figure. `limit`, `peer`, `ratio` and `reach` are absent where nothing is measured beside it.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub id: &'static str,
    pub what: String,
    pub ours: f64,
    pub limit: Option<f64>,
    pub peer: Option<f64>,
    pub ratio: Option<f64>,
    pub reach: Option<&'static str>,
    pub unit: &'static str,
}

impl Row {
    fn plain(id: &'static str, what: String, ours: f64, unit: &'static str) -> Self {
        Self { id, what, ours, limit: None, peer: None, ratio: None, reach: None, unit }
    }
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("cannot use {}: {source}", folder.display())]
    Folder { folder: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Component(#[from] crate::component::ComponentError),
    #[error(transparent)]
    Pool(#[from] crate::executor::PoolError),
    #[error(transparent)]
    Scheduler(#[from] crate::scheduler::SchedulerError),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error("a run ended as {outcome}: {message}")]
    Run { outcome: String, message: String },
    #[error("not all runs ended within {0} s")]
    TooSlow(u64),
}

/// Measures every row, one after the other; `measured` hears of each as it is known.
pub async fn run(options: &BenchOptions, mut measured: impl FnMut(&Row)) -> Result<Vec<Row>, BenchError> {
    let folder = Folder::new(&options.folder)?;
    let guest = Guest::compile(&folder.0, &options.program).await?;
    let mut rows = Vec::new();
    rows.push(attempts::measure(&guest, options.quick).await?);
    measured(&rows[0]);
    rows.push(durable::measure(&guest, &folder.0, options.quick).await?);
    measured(&rows[1]);
    for row in lateness::measure(&guest, &folder.0, options.quick).await? {
        measured(&row);
        rows.push(row);
    }
    Ok(rows)
}

/// The compiled guest, and what it was compiled with.
struct Guest {
    artefact: Artefact,
    engine: EngineSettings,
    cache: PathBuf,
    program: PathBuf,
}

impl Guest {
    async fn compile(folder: &Path, program: &Path) -> Result<Self, BenchError> {
        let guest = |artefact| Self { artefact, engine: EngineSettings::default(), cache: folder.join("cache"), program: program.to_owned() };
        let engine = EngineSettings::default();
        let cache = Cache::open(&folder.join("cache"), &engine)?;
        let (artefact, _) = cache.ensure(&Compiler::new(CompilerConfig::new(program.to_owned()), engine), TINY).await?;
        Ok(guest(artefact))
    }

    fn compiler(&self) -> Compiler {
        Compiler::new(CompilerConfig::new(self.program.clone()), self.engine.clone())
    }

    fn cache(&self) -> Result<Cache, BenchError> {
        Ok(Cache::open(&self.cache, &self.engine)?)
    }

    fn pool(&self, workers: Option<usize>) -> Result<Pool, BenchError> {
        let usual = PoolConfig::default();
        Ok(Pool::start(PoolConfig { workers: workers.unwrap_or(usual.workers), engine: self.engine.clone(), ..usual })?)
    }
}

/// A folder of our own, removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(parent: &Path) -> Result<Self, BenchError> {
        let folder = parent.join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|source| BenchError::Folder { folder: folder.clone(), source })?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left is the user's to see; there is nothing else to do about it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The `q`-quantile of sorted values, 0 ≤ q ≤ 1; 0 of none.
fn quantile(sorted: &[u64], q: f64) -> u64 {
    let last = sorted.len().saturating_sub(1);
    let index = (q * last as f64).round() as usize;
    sorted.get(index.min(last)).copied().unwrap_or(0)
}
