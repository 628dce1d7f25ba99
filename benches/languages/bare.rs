//! wasmtime alone: the same artefact in the same engine with the same allocator, fuel and epoch, each time in a fresh store and
//! instance. No other limit, no receipt, no log, no scheduler.

use std::path::Path;
use std::time::{Duration, Instant};

use ::bellcage::component::{EngineSettings, MEMORIES_MAX, TABLES_MAX, engine_config};
use wasmtime::component::{Component, ComponentExportIndex, HasSelf, InstancePre, Linker, ResourceTable, Val};
use wasmtime::{Enabled, Engine, PoolingAllocationConfig, Result, Store};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};

wasmtime::component::bindgen!({ path: "wit", world: "job", exports: { default: async } });

use self::bellcage::job as host;

const OUTPUT_MAX: usize = 1 << 20;
const FUEL: u64 = 10_000_000_000;
const FUEL_BETWEEN_YIELDS: u64 = 100_000;

/// What is called, and with what.
pub enum Call {
    Main { args: Vec<String>, stdin: Vec<u8> },
    Function { name: &'static str, args: Vec<Val> },
    Job { input: String },
}

pub struct Bare {
    engine: Engine,
    entry: Entry,
}

enum Entry {
    Main(CommandPre<Guest>),
    Function(InstancePre<Guest>, ComponentExportIndex),
    Job(JobPre<Guest>),
}

struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
}

/// What an attempt gave, how long it took to make its instance, and how long it took in all, until the call came back.
pub struct Done {
    pub result: String,
    pub instantiate: Duration,
    pub wall: Duration,
}

impl Bare {
    /// wasmtime refuses an artefact of an engine that is set up otherwise.
    ///
    /// # Safety
    /// The file is an artefact that bellcage's compiler wrote.
    pub unsafe fn load(artefact: &Path, call: &Call) -> Result<Self> {
        let settings = EngineSettings::default();
        let mut config = engine_config(&settings);
        config.allocation_strategy(pool(&settings));
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        Job::add_to_linker::<_, HasSelf<_>>(&mut linker, |guest: &mut Guest| guest)?;
        // SAFETY: the caller's promise.
        let component = unsafe { Component::deserialize_file(&engine, artefact) }?;
        let pre = linker.instantiate_pre(&component)?;
        let entry = match call {
            Call::Main { .. } => Entry::Main(CommandPre::new(pre)?),
            Call::Job { .. } => Entry::Job(JobPre::new(pre)?),
            Call::Function { name, .. } => {
                let export = component.get_export_index(None, name).ok_or_else(|| wasmtime::Error::msg("the function is not exported"))?;
                Entry::Function(pre, export)
            }
        };
        Ok(Self { engine, entry })
    }

    pub async fn run(&self, call: &Call) -> Result<Done> {
        let began = Instant::now();
        let stdout = MemoryOutputPipe::new(OUTPUT_MAX);
        let mut wasi = WasiCtx::builder();
        wasi.stdout(stdout.clone()).arg("guest");
        if let Call::Main { args, stdin } = call {
            wasi.args(args).stdin(MemoryInputPipe::new(stdin.clone()));
        }
        let mut store = Store::new(&self.engine, Guest { wasi: wasi.build(), table: ResourceTable::new() });
        store.set_fuel(FUEL)?;
        store.fuel_async_yield_interval(Some(FUEL_BETWEEN_YIELDS))?;
        store.set_epoch_deadline(1 << 60);
        match (&self.entry, call) {
            (Entry::Main(pre), _) => {
                let command = pre.instantiate_async(&mut store).await?;
                let instantiate = began.elapsed();
                match command.wasi_cli_run().call_run(&mut store).await {
                    Ok(answer) => answer.map_err(|()| wasmtime::Error::msg("the command failed"))?,
                    Err(error) if error.downcast_ref::<I32Exit>().is_some_and(|exit| exit.0 == 0) => {}
                    Err(error) => return Err(error),
                }
                let wall = began.elapsed();
                Ok(Done { result: String::from_utf8_lossy(&stdout.contents()).into_owned(), instantiate, wall })
            }
            (Entry::Job(pre), Call::Job { input }) => {
                let job = pre.instantiate_async(&mut store).await?;
                let instantiate = began.elapsed();
                let answer = job.bellcage_job_entry().call_run(&mut store, &context(), input).await?;
                let wall = began.elapsed();
                Ok(Done { result: answer.map_err(|failure| wasmtime::Error::msg(format!("{failure:?}")))?, instantiate, wall })
            }
            (Entry::Function(pre, export), Call::Function { args, .. }) => {
                let instance = pre.instantiate_async(&mut store).await?;
                let instantiate = began.elapsed();
                let function = instance.get_func(&mut store, export).ok_or_else(|| wasmtime::Error::msg("no function"))?;
                let mut results = [Val::Bool(false)];
                function.call_async(&mut store, args, &mut results).await?;
                let wall = began.elapsed();
                Ok(Done { result: format!("{results:?}"), instantiate, wall })
            }
            _ => Err(wasmtime::Error::msg("it was loaded for another call")),
        }
    }
}

/// The executor's, with one slot.
fn pool(settings: &EngineSettings) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(1).total_stacks(1).total_core_instances(settings.instances_max);
    pool.total_memories(MEMORIES_MAX).total_tables(TABLES_MAX);
    pool.max_memory_size(settings.memory_max as usize).table_elements(settings.table_elements_max as usize);
    pool.max_memories_per_component(MEMORIES_MAX).max_memories_per_module(MEMORIES_MAX);
    pool.max_tables_per_component(TABLES_MAX).max_tables_per_module(TABLES_MAX);
    pool.max_core_instances_per_component(settings.instances_max).max_core_instance_size(1 << 20).max_component_instance_size(1 << 20);
    pool.linear_memory_keep_resident(1 << 20).table_keep_resident(64 << 10).async_stack_keep_resident(64 << 10);
    pool.max_unused_warm_slots(1).decommit_batch_size(1).pagemap_scan(Enabled::Auto);
    pool
}

fn context() -> host::types::Context {
    host::types::Context {
        job: "guest".to_owned(),
        run: "00000000-0000-0000-0000-000000000000".to_owned(),
        attempt: 1,
        scheduled_at: "1970-01-01T00:00:00+00:00".to_owned(),
        scheduled_at_ms: 0,
        deadline_ms: 30_000,
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl host::types::Host for Guest {}

impl host::logging::Host for Guest {
    fn log(&mut self, _: host::logging::Level, _: String, _: String) {}
}

impl host::progress::Host for Guest {
    fn report(&mut self, _: Option<f64>, _: String) {}
}

impl host::cancellation::Host for Guest {
    fn is_cancelled(&mut self) -> bool {
        false
    }
}

impl host::checkpoint::Host for Guest {
    fn save(&mut self, _: Vec<u8>) -> std::result::Result<(), host::checkpoint::Error> {
        Ok(())
    }

    fn load(&mut self) -> Option<Vec<u8>> {
        None
    }
}
