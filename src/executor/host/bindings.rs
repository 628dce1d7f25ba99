//! What is generated from WIT: `wit/`, the `bellcage:job` package, and the proposal that has no host crate here.

wasmtime::component::bindgen!({
    path: "wit",
    world: "job",
    imports: { default: trappable },
});

pub(in crate::executor) use self::bellcage::job::{cancellation, checkpoint, logging, progress, types};

pub(in crate::executor) mod keyvalue {
    wasmtime::component::bindgen!({
        path: "src/executor/host/keyvalue.wit",
        world: "imports",
        imports: { default: async | trappable },
        with: { "wasi:keyvalue/store.bucket": crate::executor::host::keyvalue::Bucket },
    });

    pub(in crate::executor) use self::wasi::keyvalue::{atomics, store};
}
