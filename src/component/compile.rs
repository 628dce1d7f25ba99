//! The compile child.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::EngineSettings;

/// The hidden subcommand of the binary that is the compile child. Whoever's `program` a compiler is must hand it to
/// `executor::compile_child_main` before any other start-up work.
pub const SUBCOMMAND: &str = "compile-component";

/// Where and with which caps components are compiled.
#[derive(Clone, Debug)]
pub struct CompilerConfig {
    /// The bellcage binary, or another that answers `SUBCOMMAND`.
    pub program: PathBuf,
    /// Of an uploaded component, in bytes.
    pub source_max: u64,
    /// Of a compiled one, in bytes.
    pub artefact_max: u64,
    /// Address space of the child, in bytes.
    pub memory: u64,
    /// CPU time of the child, in whole seconds, rounded up.
    pub cpu: Duration,
    /// From the child's start to its end.
    pub wall: Duration,
    /// Children at once; further ones wait.
    pub at_once: usize,
}

impl CompilerConfig {
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            source_max: 32 << 20,
            artefact_max: 256 << 20,
            memory: 1 << 30,
            cpu: Duration::from_secs(60),
            wall: Duration::from_secs(60),
            at_once: std::thread::available_parallelism().map_or(1, |n| n.get()),
        }
    }
}

/// Compiles components, each in a child process of its own.
pub struct Compiler {
    _config: CompilerConfig,
    _settings: EngineSettings,
}

impl Compiler {
    pub fn new(config: CompilerConfig, settings: EngineSettings) -> Self {
        Self { _config: config, _settings: settings }
    }
}

/// The compile child's whole life. `check` says which imports nothing here offers.
pub fn child_main(_check: fn(&wasmtime::component::Component) -> Result<(), String>) -> ExitCode {
    unimplemented!()
}
