//! The executor of worker processes: guests run in confined processes, and none in this one.
//!
//! ```text
//! this process (the supervisor)                          one worker process per core
//!   run ─► a free slot ─► route ─► keeper (a thread) ═socket═► one engine, one wasm thread, many attempts at once
//!                                     starts · pings · replaces          seccomp, Landlock, namespaces, no files
//! ```
//! A worker that crashes, hangs or is killed takes only its own attempts with it: each is reported, once, as lost; what
//! it had not been given yet goes to another. There is no engine in the supervisor. It opens and authenticates artefacts
//! and passes their descriptors; a worker's word is taken for nothing but the fate of the attempts it was given.
//! An attempt that asks for a process of its own gets a fresh one, confined as all are, which is killed after it.

mod child;
mod code;
#[cfg(debug_assertions)]
pub(in crate::executor) mod escape;
mod inbox;
mod keeper;
mod link;
mod message;
mod process;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, Semaphore, oneshot};

use super::budget::{Budget, usual_memory};
use super::confine::{self, Confinement, Missing};
use super::directory::Directory;
use super::ending::Ending;
use super::outside::{Gate, Nothing, Outside};
use super::pool::LOADED_MAX;
use super::route::{self, Unfinished};
use super::running::RunningSet;
use super::sandbox::{Asked, unstarted};
use super::{AttemptReport, AttemptRequest, Determinism, Executor};
use crate::component::EngineSettings;
use crate::job::{Digest, Outcome, Progress, RunId, bytes};

pub use child::{SUBCOMMAND, main as worker_main};
use keeper::{Cancel, Command, Keeper};
use message::{Haste, Number};
use process::{Answer, Job};
pub use process::{StartError, scratch_is_offered};

/// Every slot reserves some GiB of a worker's address space, and a process has 128 TiB.
const SLOTS_PER_WORKER_MAX: usize = 8_000;

#[derive(Clone, Debug)]
pub struct WorkersConfig {
    /// The bellcage binary, or another that answers `SUBCOMMAND`.
    pub program: PathBuf,
    /// Worker processes; default: one per core.
    pub workers: usize,
    /// Attempts at once, over all workers; at most 8,000 per worker.
    pub slots: usize,
    /// Of these, attempts in a process of their own; further ones wait.
    pub alone_max: usize,
    /// The compiler's, or no artefact loads.
    pub engine: EngineSettings,
    /// Components that each worker keeps loaded; the one that was run longest ago goes first.
    pub loaded_max: usize,
    /// Without these layers no worker starts.
    pub confinement: Confinement,
    /// A worker that says nothing for so long (and longer, the more attempts it has) is killed. Here and below, the time for which its
    /// thread waited for a core does not count.
    pub hang_after: Duration,
    /// A worker in which an attempt goes on for so long after it had to end is killed.
    pub overrun_max: Duration,
    /// Bytes of memory that all guests may hold together: three quarters in worker processes, each an equal part of them; a quarter in
    /// processes of their own, each for all that its attempt may ask for, or they wait.
    pub memory: u64,
    /// A worker is replaced after so many attempts …
    pub recycle_after: u64,
    /// … or when it holds so many bytes more than its attempts and its warm slots may.
    pub recycle_memory: u64,
    /// How far threads that run guests stand back for all others (`nice(2)`): 0 for not at all, up to 19; default: 10.
    pub nice: u32,
    /// Tests only: attempts whose program's name says so try to get out.
    #[cfg(debug_assertions)]
    #[doc(hidden)]
    pub escapes: bool,
    /// Tests only: as on a machine that makes no namespaces.
    #[cfg(debug_assertions)]
    #[doc(hidden)]
    pub no_namespaces: bool,
}

impl WorkersConfig {
    pub fn new(program: PathBuf) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        Self {
            program,
            workers: cores,
            slots: 512,
            alone_max: 4 * cores,
            engine: EngineSettings::default(),
            loaded_max: LOADED_MAX,
            confinement: Confinement::default(),
            hang_after: Duration::from_secs(5),
            overrun_max: Duration::from_secs(5),
            memory: usual_memory(),
            recycle_after: 1_000_000,
            recycle_memory: 512 << 20,
            nice: confine::NICE,
            #[cfg(debug_assertions)]
            escapes: false,
            #[cfg(debug_assertions)]
            no_namespaces: false,
        }
    }

    fn offers_namespaces(&self) -> bool {
        #[cfg(debug_assertions)]
        return !self.no_namespaces;
        #[cfg(not(debug_assertions))]
        true
    }

    /// Of all processes for single attempts.
    fn memory_alone(&self) -> u64 {
        self.memory / 4
    }

    /// Of each worker.
    fn memory_of_worker(&self) -> u64 {
        (self.memory - self.memory_alone()) / self.workers.max(1) as u64
    }

    /// `Executor::memory_of_one`.
    pub fn memory_of_one(&self, alone: bool) -> u64 {
        if alone { Budget::new(self.memory_alone(), 1).most_pages() } else { self.budget().most_pages() }
    }

    /// Of a worker.
    fn budget(&self) -> Budget {
        Budget::new(self.memory_of_worker(), self.slots_per_worker() as u64)
    }

    /// What is kept for an attempt in a process of its own: its guest's memory, and its scratch directories, which are in memory too.
    fn memory_of(&self, request: &AttemptRequest) -> Share {
        let scratch = scratch_bytes(request);
        let all = request.limits.memory.saturating_add(scratch).min(self.memory_alone());
        Share { all, guest: all.saturating_sub(scratch) }
    }

    /// Why an attempt cannot have a process of its own: its scratch directories would take more than half of what there is for one.
    fn refused_scratch(&self, request: &AttemptRequest) -> Option<Ending> {
        let (asked, most) = (scratch_bytes(request), self.memory_alone() / 2);
        let message = || {
            let (asked, most) = (bytes::format(asked), bytes::about(most));
            format!("a scratch directory of {asked} is above what one attempt can have of this server's executor.memory for that, which is {most}")
        };
        (asked > most).then(|| Ending::refused("scratch-too-large", message()))
    }

    fn slots_per_worker(&self) -> usize {
        self.slots.div_ceil(self.workers.max(1))
    }
}

fn scratch_bytes(request: &AttemptRequest) -> u64 {
    request.directories.iter().filter_map(Directory::scratch_bytes).fold(0, u64::saturating_add)
}

/// Bytes of memory of an attempt in a process of its own.
#[derive(Clone, Copy)]
struct Share {
    all: u64,
    /// The guest's own.
    guest: u64,
}

/// Permits are for so many bytes.
const PERMIT: u64 = 64 << 10;

fn permits(bytes: u64) -> usize {
    usize::try_from(bytes / PERMIT).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

/// Why the executor could not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkersError {
    #[error("a worker has at most {SLOTS_PER_WORKER_MAX} slots, not {0}")]
    Slots(usize),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot start the executor's threads: {0}")]
    Thread(#[from] std::io::Error),
}

impl WorkersError {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Start(StartError::Confinement(_)) => "confinement-missing",
            Self::Slots(_) | Self::Start(_) | Self::Thread(_) => "executor",
        }
    }

    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Start(StartError::Confinement(_)) => {
                Some("see what this machine offers with: bellcage doctor; executor.confinement says what is demanded (strict, standard or best-effort)")
            }
            _ => None,
        }
    }
}

/// Attempts in worker processes.
pub struct Workers {
    engine: EngineSettings,
    keepers: Vec<Keeper>,
    slots: usize,
    slots_per_worker: usize,
    processes: usize,
    free: Semaphore,
    alone: Semaphore,
    memory_alone: Semaphore,
    config: WorkersConfig,
    running: RunningSet,
    next: AtomicU64,
    changed: Arc<Notify>,
    missing: Vec<Missing>,
}

impl Workers {
    /// Guests can reach nothing outside of their sandbox.
    pub fn start(config: WorkersConfig) -> Result<Self, WorkersError> {
        Self::start_with(config, Arc::new(Nothing))
    }

    /// Starts every worker and waits until all are ready, some milliseconds. What guests were granted, they ask of `outside`,
    /// which must not block: it is asked on the threads that talk to the workers.
    pub fn start_with(config: WorkersConfig, outside: Arc<dyn Outside>) -> Result<Self, WorkersError> {
        let gate = Gate::new(outside);
        let config = WorkersConfig { workers: config.workers.max(1), slots: config.slots.max(1), ..config };
        let slots_per_worker = config.slots_per_worker();
        if slots_per_worker > SLOTS_PER_WORKER_MAX {
            return Err(WorkersError::Slots(slots_per_worker));
        }
        let changed = Arc::new(Notify::new());
        let (first, answers) = std::sync::mpsc::channel();
        let start = |index| Keeper::start(index, config.clone(), gate.clone(), changed.clone(), first.clone());
        let keepers = (0..config.workers).map(start).collect::<Result<Vec<_>, _>>()?;
        drop(first);
        let mut missing = Vec::new();
        for _ in &keepers {
            missing = answers.recv().map_err(|_| StartError::Spawn("its keeper ended".to_owned()))??;
        }
        if !missing.is_empty() {
            let list: Vec<_> = missing.iter().map(ToString::to_string).collect();
            tracing::warn!("worker processes are confined without {}", list.join(", "));
        }
        let processes = config.alone_max.max(1);
        let (free, alone, memory_alone) = (Semaphore::new(config.slots), Semaphore::new(processes), Semaphore::new(permits(config.memory_alone())));
        Ok(Self {
            engine: config.engine.clone(),
            keepers,
            slots: config.slots,
            slots_per_worker,
            processes,
            free,
            alone,
            memory_alone,
            config,
            running: RunningSet::default(),
            next: AtomicU64::new(1),
            changed,
            missing,
        })
    }

    /// The layers of confinement that workers do without, since the machine does not offer them and nobody demanded them.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// Of the current worker processes.
    pub fn pids(&self) -> Vec<u32> {
        self.keepers.iter().map(|keeper| keeper.health.pid.load(Ordering::Acquire)).filter(|pid| *pid != 0).collect()
    }

    /// A worker that is ready, with a slot reserved: the component's own, or one with less to do.
    fn route(&self, digest: &Digest) -> Option<&Keeper> {
        let has_room = |keeper: &Keeper| keeper.in_flight.load(Ordering::Acquire) < self.slots_per_worker;
        let can_take = |keeper: &Keeper| keeper.health.is_ready() && has_room(keeper);
        let load = |keeper: &Keeper| route::load(&keeper.unfinished, &keeper.pulse);
        loop {
            // Where all that are ready are full, those that are not may soon be.
            let chosen = route::choose(&self.keepers, digest, can_take, load)?;
            if chosen.reserve(self.slots_per_worker) {
                return Some(chosen);
            }
        }
    }

    /// Why no worker stays alive.
    fn failure(&self) -> Option<String> {
        self.keepers.iter().map(|keeper| keeper.health.failure()).collect::<Option<Vec<_>>>()?.pop()
    }

    async fn attempt(&self, request: Arc<AttemptRequest>) -> AttemptReport {
        let asked = Asked::of(&request);
        if let Some(ending) = Determinism::refused(request.deterministic, &self.engine) {
            return unstarted(&asked, ending);
        }
        let running = self.running.enter(request.run);
        let signal = running.signal();
        let cancelled = || unstarted(&asked, Ending::cancelled(signal));
        if let Some(ending) = self.config.refused_scratch(&request) {
            return unstarted(&asked, ending);
        }
        let share = request.is_alone().then(|| self.config.memory_of(&request));
        // Who waits for a process of its own keeps no slot from others.
        let _alone = match share {
            None => None,
            Some(_) => match signal.or_stopped(self.alone.acquire()).await {
                Some(Ok(permit)) => Some(permit),
                _ => return cancelled(),
            },
        };
        let _memory = match share {
            None => None,
            Some(Share { all, .. }) => match signal.or_stopped(self.memory_alone.acquire_many(u32::try_from(permits(all)).unwrap_or(u32::MAX))).await {
                Some(Ok(permit)) => Some(permit),
                _ => return cancelled(),
            },
        };
        let Some(Ok(_slot)) = signal.or_stopped(self.free.acquire()).await else { return cancelled() };
        loop {
            let changed = self.changed.notified();
            let Some(keeper) = self.route(&request.component.digest) else {
                if let Some(failure) = self.failure() {
                    return unstarted(&asked, no_worker(&failure));
                }
                let soon = tokio::time::timeout(LOOK_AGAIN, changed);
                match signal.or_stopped(soon).await {
                    Some(_) => continue,
                    None => return cancelled(),
                }
            };
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let (reply, mut answer) = oneshot::channel();
            let mut sent = Sent { keeper, number, ended: false };
            if keeper
                .send(Command::Run(Job { number, request: request.clone(), signal: signal.clone(), reply, unfinished: Unfinished::one_of(&keeper.unfinished) }))
                .is_err()
            {
                return unstarted(&asked, Ending::internal("its keeper ended"));
            }
            let answered = match signal.or_stopped(&mut answer).await {
                Some(answered) => answered,
                None => {
                    sent.cancel(signal.reason().unwrap_or("cancelled"), Haste::Cancelled);
                    answer.await
                }
            };
            sent.ended = true;
            match answered {
                Ok(Answer::Report(mut report)) => {
                    signal.news.complete(&mut report);
                    running.end();
                    return report;
                }
                Ok(Answer::Unsent) => {}
                Err(_) => return unstarted(&asked, Ending::internal("its keeper panicked")),
            }
        }
    }
}

#[async_trait]
impl Executor for Workers {
    // As the pool's.
    fn run<'life0, 'async_trait>(&'life0 self, request: AttemptRequest) -> BoxFuture<'async_trait, AttemptReport>
    where
        'life0: 'async_trait,
    {
        Box::pin(self.attempt(Arc::new(request)))
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn processes(&self) -> usize {
        self.processes
    }

    fn memory(&self) -> Option<u64> {
        Some(self.config.memory)
    }

    fn memory_of_one(&self, alone: bool) -> Option<u64> {
        Some(self.config.memory_of_one(alone))
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

impl Drop for Workers {
    fn drop(&mut self) {
        // All at once; then each is waited for.
        self.keepers.iter_mut().for_each(Keeper::close);
    }
}

/// With no worker ready: how long until that is looked at again without being told.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// An attempt that a keeper has. Dropped before its end, it is cancelled.
struct Sent<'a> {
    keeper: &'a Keeper,
    number: Number,
    ended: bool,
}

impl Sent<'_> {
    fn cancel(&self, reason: &str, haste: Haste) {
        // A keeper that is gone has no attempts.
        let _ = self.keeper.send(Command::Cancel(Cancel { number: self.number, reason: reason.to_owned(), haste }));
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.cancel("nobody waits for it any more", Haste::Unwanted);
        }
        self.keeper.replies.hand_on();
        self.keeper.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

fn no_worker(why: &str) -> Ending {
    let message = format!("no worker process could take it: {why}");
    Ending::new(Outcome::Lost, "no-worker", message)
}
