//! bellcage: a scheduler whose jobs are WebAssembly components.

pub mod component;
pub mod executor;
pub mod job;
pub mod store;
pub mod trigger;
