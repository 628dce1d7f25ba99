//! What is generated from `wit/`, the `bellcage:job` package.

wasmtime::component::bindgen!({
    path: "wit",
    world: "job",
    imports: { default: trappable },
});

pub(in crate::executor) use self::bellcage::job::{cancellation, checkpoint, logging, progress, types};
