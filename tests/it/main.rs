//! The one integration-test binary: a file or folder a concern.

mod api;
mod architecture;
mod bench;
mod cli;
mod clock;
mod component;
mod determinism;
mod directories;
mod examples;
mod fuzz;
mod guests;
mod history;
mod hostile;
mod memory;
mod readme;
mod sandbox;
mod scheduler;
mod store;
mod support;
mod trigger;
mod value;
mod workers;
