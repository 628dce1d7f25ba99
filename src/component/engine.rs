//! The engine's configuration, one for who compiles and who runs.

#[derive(Clone, Debug, Default)]
pub struct EngineSettings {}

pub fn engine_config(_settings: &EngineSettings) -> wasmtime::Config {
    wasmtime::Config::new()
}
