//! The in-process executor: workers, each with an engine of its own, and the slots over all of them.
//!
//! ```text
//! run ─► a free slot ─► route: the component's own worker, or an idle one ─► its queue ─► report
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot};

use super::budget::{Budget, usual_memory};
use super::ending::Ending;
use super::outside::{Gate, Nothing, Outside};
use super::route::{self, Unfinished};
use super::running::RunningSet;
use super::sandbox::{Asked, unstarted};
use super::ticker::Ticker;
use super::worker::{Job, Worker, WorkerConfig};
use super::{AttemptReport, AttemptRequest, Determinism, Executor, confine, host};
use crate::component::compile::{self, CompilerConfig, Lent};
use crate::component::{ComponentError, EngineSettings, Inspection};
use crate::job::{Digest, Progress, RunId};

/// Every slot reserves some GiB of address space, and a process has 128 TiB.
const SLOTS_MAX: usize = 8_000;

/// Components that a worker keeps loaded, unless it is told otherwise: some 100 KiB each for small ones, whose code is
/// shared between processes.
pub(super) const LOADED_MAX: usize = 1_024;

#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Worker threads, each with an engine of its own; default: one per core.
    pub workers: usize,
    /// Attempts at once, over all workers; at most 8,000.
    pub slots: usize,
    /// The compiler's, or no artefact loads.
    pub engine: EngineSettings,
    /// Components that each worker keeps loaded; the one that was run longest ago goes first. Each holds a descriptor, and all
    /// together at most half of the process's.
    pub loaded_max: usize,
    /// Bytes of memory that all guests may hold together, each worker's an equal part of it; default: half of what there is.
    pub memory: u64,
    /// How far threads that run guests stand back for all others (`nice(2)`): 0 for not at all, up to 19; default: 10.
    pub nice: u32,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, |n| n.get()),
            slots: 512,
            engine: EngineSettings::default(),
            loaded_max: LOADED_MAX,
            memory: usual_memory(),
            nice: confine::NICE,
        }
    }
}

/// Why a pool could not start.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("an executor has at most {SLOTS_MAX} slots, not {0}")]
    Slots(usize),
    #[error("cannot start the executor's engine: {0}")]
    Engine(String),
    #[error("cannot start the executor's threads: {0}")]
    Thread(#[from] std::io::Error),
}

/// Attempts on threads of this process.
pub struct Pool {
    engine: EngineSettings,
    workers: Arc<[Worker]>,
    slots: usize,
    memory: u64,
    slots_per_worker: usize,
    free: Semaphore,
    running: RunningSet,
    ticker: Ticker,
}

impl Pool {
    /// Guests can reach nothing outside of their sandbox.
    pub fn start(config: PoolConfig) -> Result<Self, PoolError> {
        Self::start_with(config, Arc::new(Nothing))
    }

    /// What guests were granted, they ask of `outside`.
    pub fn start_with(config: PoolConfig, outside: Arc<dyn Outside>) -> Result<Self, PoolError> {
        let gate = Gate::new(outside);
        let PoolConfig { workers, slots, engine, loaded_max, memory, nice } = config;
        let (workers, slots) = (workers.max(1), slots.max(1));
        let loaded_max = loaded_max.min(descriptors() / 2 / workers);
        if slots > SLOTS_MAX {
            return Err(PoolError::Slots(slots));
        }
        let slots_per_worker = slots.div_ceil(workers);
        let part = memory / workers as u64;
        let start =
            |index| Worker::start(WorkerConfig { index, slots: slots_per_worker as u32, loaded_max, engine: &engine, gate: gate.clone(), memory: part, nice });
        let workers: Arc<[Worker]> = (0..workers).map(start).collect::<Result<_, _>>()?;
        let ticker = Ticker::start(workers.clone())?;
        Ok(Self { engine, workers, slots, memory, slots_per_worker, free: Semaphore::new(slots), running: RunningSet::default(), ticker })
    }

    /// A worker with a slot reserved. There is one, since the semaphore has let in no more attempts than there are slots.
    fn route(&self, digest: &Digest) -> &Worker {
        let can_take = |worker: &Worker| worker.in_flight.load(Ordering::Acquire) < self.slots_per_worker;
        let load = |worker: &Worker| route::load(&worker.unfinished, worker.pulse());
        loop {
            let Some(chosen) = route::choose(&self.workers, digest, can_take, load) else { continue };
            if chosen.reserve(self.slots_per_worker) {
                return chosen;
            }
        }
    }

    async fn attempt(&self, request: Arc<AttemptRequest>) -> AttemptReport {
        let asked = Asked::of(&request);
        if request.is_alone() {
            let message = "a process for each run, or a directory, was asked for, and this executor runs attempts in its own process";
            return unstarted(&asked, Ending::refused("isolation-not-offered", message));
        }
        if let Some(ending) = Determinism::refused(request.deterministic, &self.engine) {
            return unstarted(&asked, ending);
        }
        let running = self.running.enter(request.run);
        let signal = running.signal();
        let Some(Ok(_slot)) = signal.or_stopped(self.free.acquire()).await else {
            return unstarted(&asked, Ending::cancelled(signal));
        };
        let worker = self.route(&request.component.digest);
        let _reserved = Reserved(worker);
        signal.runs_on(&worker.engine);
        self.ticker.wake();
        let (reply, answer) = oneshot::channel();
        let sent = worker.send(Job { request: request.clone(), signal: signal.clone(), reply, unfinished: Unfinished::one_of(&worker.unfinished) });
        let ended = match sent {
            Ok(()) => answer.await.ok(),
            Err(_) => None,
        };
        let mut report = match ended {
            Some(mut report) => {
                report.receipt.host_calls_by_interface = host::by_interface(signal.calls.counts());
                report
            }
            None => unstarted(&asked, Ending::internal("its worker panicked")),
        };
        signal.news.complete(&mut report);
        running.end();
        report
    }
}

#[async_trait]
impl Executor for Pool {
    // What the macro makes of an `async fn`, whose future would have the whole request moved into it and out again.
    fn run<'life0, 'async_trait>(&'life0 self, request: AttemptRequest) -> BoxFuture<'async_trait, AttemptReport>
    where
        'life0: 'async_trait,
    {
        Box::pin(self.attempt(Arc::new(request)))
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn memory(&self) -> Option<u64> {
        Some(self.memory)
    }

    fn memory_of_one(&self, _alone: bool) -> Option<u64> {
        Some(Budget::new(self.memory / self.workers.len() as u64, self.slots_per_worker as u64).most_pages())
    }

    fn cancel(&self, run: RunId, reason: &str) {
        self.running.cancel(run, reason);
    }

    fn progress(&self, run: RunId) -> Option<Progress> {
        self.running.progress(run)
    }

    async fn fresh_progress(&self) -> Vec<(RunId, Progress)> {
        self.running.fresh_progress().await
    }
}

/// That this process may have open.
fn descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX)
}

struct Reserved<'a>(&'a Worker);

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.0.replies.hand_on();
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What the hidden subcommand `component::compile::SUBCOMMAND` of a binary does: the compile child's whole life.
pub fn compile_child_main() -> ExitCode {
    compile::child_main(Lent {
        check_imports: host::check_imports,
        shut_in: || confine::compiler().missing.iter().map(ToString::to_string).collect(),
        #[cfg(debug_assertions)]
        escape: super::workers::escape::now,
    })
}

/// What the compile child makes of an upload, in this process: see `compile::examine_here`.
pub fn examine_upload(source: &[u8]) -> Result<Option<Inspection>, ComponentError> {
    compile::examine_here(source, CompilerConfig::new(PathBuf::new()), &EngineSettings::default(), host::check_imports)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::Artefact;

    use crate::job::{Entry, Outcome};

    fn request(program: &str) -> AttemptRequest {
        AttemptRequest {
            job: program.to_owned(),
            program: program.to_owned(),
            ..AttemptRequest::new(Artefact { digest: Digest::of(b""), path: "/nonexistent/artefact.cwasm".into() }, Entry::Main)
        }
    }

    #[tokio::test]
    async fn a_panic_in_a_worker_is_an_outcome_and_the_worker_goes_on() {
        let pool = Pool::start(PoolConfig { workers: 1, slots: 1, ..PoolConfig::default() }).unwrap();
        for _ in 0..3 {
            let report = pool.run(request("panic in the worker")).await;
            assert_eq!((report.outcome, report.error.unwrap().code.as_str()), (Outcome::Lost, "executor-failed"));
            let report = pool.run(request("guest")).await;
            assert_eq!((report.outcome, report.error.unwrap().code.as_str()), (Outcome::Refused, "component-damaged"));
        }
    }

    #[test]
    fn more_slots_than_there_is_address_space_for_are_refused() {
        assert!(matches!(Pool::start(PoolConfig { slots: SLOTS_MAX + 1, ..PoolConfig::default() }), Err(PoolError::Slots(_))));
    }
}
