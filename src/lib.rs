//! bellcage: a scheduler whose jobs are WebAssembly components.

pub mod bench;
#[doc(hidden)]
pub mod cli;
pub mod client;
pub mod clock;
pub mod component;
pub mod config;
pub mod executor;
pub mod job;
pub mod outside;
pub mod plan;
pub mod scheduler;
pub mod server;
pub mod store;
pub mod trigger;
pub mod wire;
