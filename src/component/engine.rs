//! The engine's configuration: one for who compiles and who runs, or artefacts are refused.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};
use wasmtime::{Config, OperatorCost, OptLevel, WasmBacktraceDetails};

/// What an engine's owner may choose. Part of every artefact's name: other settings, other artefacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSettings {
    /// The most that one linear memory may ever have, in bytes: the cap of every job's `limits.memory`.
    pub memory_max: u64,
    /// The most elements that one table may ever have: the cap of every job's `limits.table_elements`.
    pub table_elements_max: u64,
    /// The most core instances that one component may have: the cap of every job's `limits.instances`.
    pub instances_max: u32,
    /// Attempts can be repeated bit by bit: every NaN is the canonical one. Costs guests that compute with floats some speed.
    pub deterministic: bool,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self { memory_max: 1 << 30, table_elements_max: 20_000, instances_max: 32, deterministic: false }
    }
}

/// Memories and tables that one component may have, whatever its limits say.
pub const MEMORIES_MAX: u32 = 4;
pub const TABLES_MAX: u32 = 16;

/// Wasm frames have this much stack; the rest of `ASYNC_STACK` is for the host's frames.
const WASM_STACK: usize = 512 << 10;
const ASYNC_STACK: usize = 1 << 20;
/// Initial memories up to this size are mapped copy-on-write from the artefact, so that their size costs nothing per attempt.
const DENSE_IMAGE_MAX: u64 = 64 << 20;
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(10).unwrap();

/// All that shapes generated code. The allocator is the executor's choice and shapes none.
pub fn engine_config(settings: &EngineSettings) -> Config {
    let mut cost = OperatorCost::new();
    // Growing is host work; without a price a guest would have it for nothing.
    cost.variable.memory_grow_per_page = 255;
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .operator_cost(cost)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(ASYNC_STACK)
        // Defence in depth against what one attempt leaves on a pooled stack.
        .async_stack_zeroing(true)
        .concurrency_support(false)
        .gc_support(false)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .wasm_custom_page_sizes(false)
        .wasm_stack_switching(false)
        .wasm_wide_arithmetic(false)
        // Composed components need it: without it, wasmtime's adapters between them panic.
        .wasm_multi_memory(true)
        .memory_guaranteed_dense_image_size(DENSE_IMAGE_MAX)
        // Relaxed SIMD, the other instructions that may differ, is off altogether.
        .cranelift_nan_canonicalization(settings.deterministic)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES))
        .cranelift_opt_level(OptLevel::Speed);
    config
}
