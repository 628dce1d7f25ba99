//! A scheduler inside a program of yours: no server, no files but compiled components, jobs from code, events as they happen.
//! Notice three things. The same program is started again as the child that compiles components, so `main` gives it way first.
//! Guests run on the executor's own threads; the runtime here is the scheduler's. And the job that never ends by itself does
//! end, by its fuel limit, without anybody's help.
//!
//! cargo run --example embedded

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bellcage::clock::System;
use bellcage::component::EngineSettings;
use bellcage::component::cache::Cache;
use bellcage::component::compile::{Compiler, CompilerConfig};
use bellcage::executor::{Pool, PoolConfig};
use bellcage::job::{JobKey, JobSpec, TenantId};
use bellcage::outside::{World, WorldConfig};
use bellcage::scheduler::{Accept, EventKind, OnConflict, Options, Parts, Scheduler};
use bellcage::store::Memory;
use serde_json::json;

fn main() -> ExitCode {
    if let Some(exit) = bellcage::executor::process_main() {
        return exit;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    match runtime.block_on(run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("bellcage-embedded-{}", std::process::id()));
    let engine = EngineSettings::default();
    let store = Arc::new(Memory::default());
    // What jobs with a grant may reach outside of their sandbox; with `Pool::start` there is nothing.
    let world = World::of_store(store.clone(), WorldConfig::default());
    let scheduler = Scheduler::start(Parts {
        store,
        executor: Arc::new(Pool::start_with(PoolConfig { engine: engine.clone(), ..PoolConfig::default() }, Arc::new(world))?),
        compiler: Compiler::new(CompilerConfig::new(std::env::current_exe()?), engine.clone()),
        cache: Cache::open(&folder, &engine)?,
        clock: Arc::new(System),
        options: Options::default(),
    })
    .await?;
    let (_, mut events) = scheduler.events().subscribe(None);

    let tenant = TenantId::default();
    for (name, bytes) in [("hello", &include_bytes!("../guests/demo/hello.wasm")[..]), ("spin", &include_bytes!("../guests/demo/spin.wasm")[..])] {
        scheduler.push_component(&tenant, &name.parse()?, bytes.to_vec(), Accept::default()).await?;
    }
    for (id, job) in [
        ("greet", json!({ "component": "hello", "args": ["from", "within"], "trigger": { "every": "1s", "first": "now" } })),
        ("spinner", json!({ "component": "spin", "trigger": { "every": "1s", "first": "now" }, "limits": { "fuel": 100_000_000 } })),
    ] {
        let spec: JobSpec = serde_json::from_value(job)?;
        scheduler.add_job(JobKey { tenant: tenant.clone(), id: id.parse()? }, spec, OnConflict::Error).await?;
    }

    let mut ended = 0;
    while ended < 4 {
        if let EventKind::RunEnded { job, run, outcome, .. } = &events.recv().await?.kind {
            println!("{} {outcome}", job.id);
            let detail = scheduler.run(&tenant, *run).await?;
            let result = detail.attempts.last().and_then(|attempt| attempt.result.as_ref()).map(|result| result.to_json());
            if let Some(text) = result.as_ref().and_then(|value| value.as_str()).filter(|text| !text.is_empty()) {
                println!("  {}", text.lines().take(2).collect::<Vec<_>>().join(" / "));
            }
            ended += 1;
        }
    }
    scheduler.shutdown(Duration::from_secs(5)).await;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
