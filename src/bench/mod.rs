//! The measurements behind `bellcage bench`: each row is one figure, measured on the machine at hand with a real store, a real
//! executor and a real component, in a folder that is removed afterwards.
//!
//! Rates move with the machine's other work, so what is compared is measured in one run, in turns: bellcage beside the least
//! program that does the same with wasmtime and SQLite alone (`benches/limits/`). What other schedulers do (`benches/peers/`)
//! is measured by their own programs and handed in.

mod adding;
mod burst;
mod components;
mod density;
mod durable;
mod executors;
mod lateness;
mod limits;
mod many;
mod server;
mod table;
mod trigger;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::component::cache::Cache;
use crate::component::compile::{Compiler, CompilerConfig};
use crate::component::{Artefact, EngineSettings};
use crate::executor::{Pool, PoolConfig};

use table::Table;
pub use table::{Goal, Reach, Row, figure};

/// The guest of every row: a command that writes one line.
const TINY: &[u8] = include_bytes!("../../guests/demo/tiny.wasm");

#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Shorter, and less sure.
    pub quick: bool,
    /// The rows to measure, each one of `IDS`, with those that say more of the same (`6-rss` of `6`); empty for all.
    pub only: Vec<String>,
    /// What other schedulers reached on this machine, by row.
    pub peers: HashMap<String, f64>,
    /// A folder on the disk that is to be measured; what is written into it is removed again.
    pub folder: PathBuf,
    /// The bellcage binary, for its compile child and its workers.
    pub program: PathBuf,
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
    Workers(#[from] crate::executor::WorkersError),
    #[error(transparent)]
    BareExecutor(#[from] crate::executor::bare::Error),
    #[error("SQLite alone: {0}")]
    BareStore(#[from] crate::store::sqlite::bare::Error),
    #[error(transparent)]
    Scheduler(#[from] crate::scheduler::SchedulerError),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    #[error("the server: {0}")]
    Server(String),
    #[error("a run ended as {outcome}: {message}")]
    Run { outcome: String, message: String },
    #[error("of {of} runs {succeeded} succeeded")]
    Succeeded { succeeded: usize, of: usize },
    #[error("not all runs ended within {0} s")]
    TooSlow(u64),
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    #[error("a measurement ended before it was done")]
    Ended,
}

/// Ids of rows, in the order in which they are measured.
pub const IDS: [&str; 19] = ["1", "2", "2-workers", "2b", "3", "4", "4b", "5-p50", "5", "5b", "7", "6", "6-rss", "6-cpu", "9", "8", "10", "11", "12"];

/// Measures the rows, one measurement after the other; `measured` hears of each row as it is known.
pub async fn run(options: &BenchOptions, mut measured: impl FnMut(&Row)) -> Result<Vec<Row>, BenchError> {
    let folder = Folder::new(&options.folder)?;
    let folder = &*folder.0;
    let guest = Guest::compile(folder, &options.program).await?;
    let quick = options.quick;
    let mut table = Table { only: &options.only, peers: &options.peers, rows: Vec::new(), measured: &mut measured };
    table.measure(&["1", "2", "2-workers", "2b"], async { executors::measure(&guest, quick) }).await;
    table.measure(&["3"], durable::measure(&guest, folder, quick)).await;
    table.measure(&["4", "4b"], adding::measure(&guest, folder, quick)).await;
    table.measure(&["5-p50", "5"], lateness::measure(&guest, folder, quick)).await;
    table.measure(&["5b"], burst::measure(&guest, folder)).await;
    table.measure(&["7", "6", "6-rss", "6-cpu"], many::measure(&guest, folder, quick)).await;
    table.measure(&["9"], density::measure(&guest)).await;
    table.measure(&["8"], async { trigger::measure(quick) }).await;
    let elsewhere = Row::missing("10", "the languages' guests have to be built: guests/build, then cargo bench --bench languages");
    table.measure(&["10"], async { Ok(vec![elsewhere]) }).await;
    table.measure(&["11"], components::measure(&guest, quick)).await;
    let elsewhere = Row::missing("12", "what metering costs, by the shape of a loop, is compiled in several ways: cargo bench --bench sandbox");
    table.measure(&["12"], async { Ok(vec![elsewhere]) }).await;
    Ok(table.rows)
}

/// The compiled guest, and what it was compiled with.
#[derive(Clone)]
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

/// Of rounds, what we did and what the limit did: the one whose ratio is the median; NaN of none.
pub fn middle(mut rounds: Vec<(f64, f64)>) -> (f64, f64) {
    rounds.sort_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
    rounds.get(rounds.len() / 2).copied().unwrap_or((f64::NAN, f64::NAN))
}

/// NaN of none.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_round_is_the_one_whose_ratio_is() {
        assert_eq!(middle(vec![(9.0, 10.0), (1.0, 2.0), (40.0, 50.0)]), (40.0, 50.0));
        assert!(middle(Vec::new()).0.is_nan());
    }
}
