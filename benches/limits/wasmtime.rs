//! The limit of an executor: wasmtime and WASI alone, one component in a loop, each time in a fresh store and instance, in
//! the best configuration that we know, with fuel as the only limit. No scheduler, no other limit, no receipt, no log.
//!
//! It is a part of bellcage's benchmark and not of its executors, which do not use it.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

pub use wasmtime::Error;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker, ResourceTable};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result, Store};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// Bytes that a guest may write.
const OUTPUT_MAX: usize = 64 << 10;
/// Between looks at the clock.
const BATCH: usize = 64;
const FUEL: u64 = 10_000_000_000;

/// An engine with components on it; not shared between threads, since one engine is hardly faster on two.
pub struct Bare {
    engine: Engine,
    linker: Linker<Guest>,
    commands: Vec<Command>,
}

struct Command {
    pre: InstancePre<Guest>,
    run: ComponentExportIndex,
}

struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl Bare {
    /// `slots` instances stay warm.
    pub fn new(slots: u32) -> Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(slots).total_stacks(slots).total_memories(2 * slots).total_tables(4 * slots).total_core_instances(16 * slots);
        pool.max_memory_size(1 << 30).table_elements(20_000).max_unused_warm_slots(slots);
        pool.max_core_instance_size(1 << 20).max_component_instance_size(1 << 20);
        pool.linear_memory_keep_resident(1 << 20).table_keep_resident(64 << 10).decommit_batch_size(1).pagemap_scan(Enabled::Auto);
        let mut config = Config::new();
        config.consume_fuel(true).concurrency_support(false).gc_support(false).max_wasm_stack(512 << 10).async_stack_size(1 << 20);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        Ok(Self { engine, linker, commands: Vec::new() })
    }

    /// Compiles a component, in this process: one that is trusted.
    pub fn compile(&self, component: &[u8]) -> Result<Vec<u8>> {
        self.engine.precompile_component(component)
    }

    /// Adds a command that `compile` gave.
    ///
    /// # Safety
    /// The bytes are those.
    pub unsafe fn add(&mut self, compiled: &[u8]) -> Result<()> {
        // SAFETY: the caller's promise.
        let component = unsafe { Component::deserialize(&self.engine, compiled) }?;
        let missing = || wasmtime::Error::msg("the component is no command");
        let ty = component.component_type();
        let name = ty.exports(&self.engine).map(|(name, _)| name).find(|name| name.starts_with("wasi:cli/run@")).ok_or_else(missing)?;
        let instance = component.get_export_index(None, name).ok_or_else(missing)?;
        let run = component.get_export_index(Some(&instance), "run").ok_or_else(missing)?;
        self.commands.push(Command { pre: self.linker.instantiate_pre(&component)?, run });
        Ok(())
    }

    /// Runs the commands in turn for some time; how often in all.
    pub fn run_for(&self, time: Duration) -> Result<u64> {
        let (began, mut done) = (Instant::now(), 0_u64);
        let mut commands = self.commands.iter().cycle();
        while began.elapsed() < time {
            for command in commands.by_ref().take(BATCH) {
                finish(self.call(command))?;
                done += 1;
            }
        }
        Ok(done)
    }

    /// One run of each command.
    pub fn turn(&self) -> Result<()> {
        self.commands.iter().try_for_each(|command| finish(self.call(command)).map(drop))
    }

    /// So many runs of the first command, and what each wrote.
    pub fn run(&self, times: usize) -> Result<Vec<bytes::Bytes>> {
        let command = self.commands.first().ok_or_else(|| wasmtime::Error::msg("there is no command"))?;
        (0..times).map(|_| finish(self.call(command))).collect()
    }

    /// What the command wrote.
    async fn call(&self, command: &Command) -> Result<bytes::Bytes> {
        let stdout = MemoryOutputPipe::new(OUTPUT_MAX);
        let wasi = WasiCtx::builder().stdout(stdout.clone()).build();
        let mut store = Store::new(&self.engine, Guest { wasi, table: ResourceTable::new() });
        store.set_fuel(FUEL)?;
        let instance = command.pre.instantiate_async(&mut store).await?;
        let run = instance.get_typed_func::<(), (Result<(), ()>,)>(&mut store, &command.run)?;
        match run.call_async(&mut store, ()).await?.0 {
            Ok(()) => Ok(stdout.contents()),
            Err(()) => Err(wasmtime::Error::msg("the command failed")),
        }
    }
}

/// Nothing that these guests do waits.
fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return output;
        }
    }
}
