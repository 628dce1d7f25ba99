//! The in-process executor: one engine and pool per worker thread.
use std::process::ExitCode;

use async_trait::async_trait;

use super::{AttemptReport, AttemptRequest, Executor};
use crate::component::EngineSettings;
use crate::job::RunId;

pub struct Pool {}

#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Worker threads, each with an engine of its own; default: one per core.
    pub workers: usize,
    /// Attempts at once, over all workers.
    pub slots: usize,
    /// The compiler's, or no artefact loads.
    pub engine: EngineSettings,
    /// Components that each worker keeps loaded; the least recently run one goes first.
    pub loaded_max: usize,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self { workers: std::thread::available_parallelism().map_or(1, |n| n.get()), slots: 512, engine: EngineSettings::default(), loaded_max: 256 }
    }
}

/// Why a pool could not start.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("cannot start the executor's engine: {0}")]
    Engine(String),
    #[error("cannot start the executor's threads: {0}")]
    Thread(#[from] std::io::Error),
}

impl Pool {
    pub fn start(_config: PoolConfig) -> Result<Self, PoolError> {
        unimplemented!()
    }
}

/// What the hidden subcommand `component::compile::SUBCOMMAND` of a binary does: the compile child's whole life.
pub fn compile_child_main() -> ExitCode {
    crate::component::compile::child_main(|_| Ok(()))
}

#[async_trait]
impl Executor for Pool {
    async fn run(&self, _request: AttemptRequest) -> AttemptReport {
        unimplemented!()
    }
    fn slots(&self) -> usize {
        unimplemented!()
    }
    fn cancel(&self, _run: RunId, _reason: &str) {
        unimplemented!()
    }
}
