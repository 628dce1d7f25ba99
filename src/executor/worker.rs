//! A worker: one OS thread with an engine of its own, running many attempts at once.
//!
//! One engine shared by two threads is hardly faster than one thread (they meet in the kernel's memory-map lock), two
//! engines are 1.8 times as fast. So nothing of wasmtime is shared between workers but the artefacts' mapped pages.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{Notify, OnceCell, mpsc, oneshot};
use wasmtime::component::Linker;
use wasmtime::{Enabled, Engine, PoolingAllocationConfig};

use super::budget::Budget;
use super::crew::Crew;
use super::ending::Ending;
use super::folding::Folding;
use super::guest::Guest;
use super::outside::{Asker, Gate, Straight, Way};
use super::pulse::Pulse;
use super::replies::Replies;
use super::route::Unfinished;
use super::sandbox::{self, Around, Asked, Loaded, PoolFull, unstarted};
use super::signal::Signal;
use super::ticker::Ticked;
use super::turns::{self, Bell};
use super::{AttemptReport, AttemptRequest, confine, host};
use crate::component::{Artefact, EngineSettings, MEMORIES_MAX, TABLES_MAX, engine_config};
use crate::job::Digest;

/// Handed over at once at most, before the attempts that are there already go on.
const BATCH: usize = 64;
/// How many guests have a turn, at most, before timers, new attempts and reports to send are looked at. Those that compute have
/// theirs one at a time (`turns`), so these are short.
const TURNS: u32 = 64;
/// Bytes of a table and of a stack that stay with an unused slot, cleared, so that its next attempt takes no page faults
/// for them; of a memory, what the budget allows.
const TABLE_KEPT: usize = 64 << 10;
const STACK_KEPT: usize = 8 << 10;
/// So many pieces of memory of attempts that have ended are given back with one call, as a rule, before any other attempt may have them: of
/// each its stack, and its memory, of which nothing may be left to give back. Two threads that give memory back at the same time make
/// each other's processors forget all translations, at the cost of half an attempt.
pub(super) const CLEARED_AT_ONCE: usize = 32;
/// Memories and tables in the pool, per slot; components that have more share (and wait for each other).
const MEMORIES_PER_SLOT: u32 = 2;
const TABLES_PER_SLOT: u32 = 4;
const INSTANCE_SIZE_MAX: usize = 1 << 20;

/// An attempt on its way to a worker.
pub(super) struct Job {
    /// Whose last owner is who asked: memory is freed where it was taken, or the two threads wait for each other's allocator.
    pub request: Arc<AttemptRequest>,
    pub signal: Arc<Signal>,
    pub reply: oneshot::Sender<AttemptReport>,
    pub unfinished: Unfinished,
}

/// A handle on a worker; dropping it ends the thread.
pub(super) struct Worker {
    /// Whose owners outside are not counted where the thread counts its own.
    pub engine: Arc<Engine>,
    /// Attempts that were routed here and have not ended.
    pub in_flight: AtomicUsize,
    /// Those of them that the worker has yet to finish: what it has to do.
    pub unfinished: Arc<AtomicUsize>,
    pub replies: Arc<Replies<AttemptReport>>,
    bell: Arc<Bell>,
    /// `None` once it shall end.
    queue: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

pub(super) struct WorkerConfig<'a> {
    pub index: usize,
    /// Attempts at once.
    pub slots: u32,
    pub loaded_max: usize,
    pub engine: &'a EngineSettings,
    pub gate: Gate,
    /// Bytes that its guests may hold together.
    pub memory: u64,
    pub nice: u32,
}

impl Worker {
    pub fn start(config: WorkerConfig<'_>) -> Result<Self, super::PoolError> {
        let failed = |e: wasmtime::Error| super::PoolError::Engine(format!("{e:#}"));
        let mut settings = engine_config(config.engine);
        let budget = Budget::new(config.memory, config.slots.into());
        settings.allocation_strategy(pool(config.slots, config.engine, &budget));
        let engine = Engine::new(&settings).map_err(failed)?;
        let state = Arc::new(State {
            linker: host::linker(&engine).map_err(failed)?,
            engine: engine.clone(),
            gate: config.gate,
            budget: Arc::new(budget),
            loaded: Mutex::new(LoadedSet { max: config.loaded_max.max(1), asked: 0, by_digest: HashMap::default() }),
            ended: Notify::new(),
            done: Mutex::default(),
            is_done: Notify::new(),
            bell: Arc::new(bell(&engine, Arc::new(Pulse::new()))),
            replies: Arc::default(),
        });
        let (replies, bell) = (state.replies.clone(), state.bell.clone());
        let (queue, mut jobs) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new().name(format!("bellcage-wasm-{}", config.index)).spawn(move || {
            confine::stand_back(config.nice);
            // A panic outside of any attempt ends the runtime with what was on it; those still queued are served by the next.
            while std::panic::catch_unwind(AssertUnwindSafe(|| serve(&state, &mut jobs))).is_err() {
                tracing::error!("an executor's thread panicked; it goes on with a new runtime");
            }
        })?;
        Ok(Self {
            engine: Arc::new(engine),
            in_flight: AtomicUsize::new(0),
            unfinished: Arc::default(),
            replies,
            bell,
            queue: Some(queue),
            thread: Some(thread),
        })
    }

    /// Takes one of `slots`, if one is free.
    pub fn reserve(&self, slots: usize) -> bool {
        self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < slots).then_some(n + 1)).is_ok()
    }

    /// Of its thread.
    pub fn pulse(&self) -> &Pulse {
        &self.bell.pulse
    }

    /// The job back where the thread is gone.
    pub fn send(&self, job: Job) -> Result<(), Box<Job>> {
        let Some(queue) = &self.queue else { return Err(Box::new(job)) };
        queue.send(job).map_err(|unsent| Box::new(unsent.0))?;
        self.bell.ring();
        Ok(())
    }
}

impl Ticked for Worker {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn in_flight(&self) -> &AtomicUsize {
        &self.in_flight
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            self.engine.increment_epoch();
            let _ = thread.join();
        }
    }
}

/// Has a guest of `engine` give way to what comes.
pub(super) fn bell(engine: &Engine, pulse: Arc<Pulse>) -> Bell {
    let engine = engine.clone();
    Bell::new(pulse, move || engine.increment_epoch())
}

/// The allocator's bounds: every one is set, since every component must fit and none may take more than its share.
pub(super) fn pool(slots: u32, settings: &EngineSettings, budget: &Budget) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_stacks(slots)
        .total_core_instances(slots.saturating_mul(settings.instances_max))
        .total_memories(slots.saturating_mul(MEMORIES_PER_SLOT).max(MEMORIES_MAX))
        .total_tables(slots.saturating_mul(TABLES_PER_SLOT).max(TABLES_MAX))
        .max_memory_size(usize::try_from(settings.memory_max).unwrap_or(usize::MAX))
        .table_elements(usize::try_from(settings.table_elements_max).unwrap_or(usize::MAX))
        .max_memories_per_component(MEMORIES_MAX)
        .max_memories_per_module(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_tables_per_module(TABLES_MAX)
        .max_core_instances_per_component(settings.instances_max)
        .max_core_instance_size(INSTANCE_SIZE_MAX)
        .max_component_instance_size(INSTANCE_SIZE_MAX)
        .linear_memory_keep_resident(usize::try_from(budget.kept()).unwrap_or(0))
        .table_keep_resident(TABLE_KEPT)
        .async_stack_keep_resident(STACK_KEPT)
        .max_unused_warm_slots(slots)
        .decommit_batch_size(CLEARED_AT_ONCE)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// Whether the kernel says which pages an attempt has touched (PAGEMAP_SCAN), so that no others need be cleared.
pub fn pagemap_scan_is_offered() -> bool {
    PoolingAllocationConfig::is_pagemap_scan_available()
}

struct State {
    engine: Engine,
    linker: Linker<Guest>,
    gate: Gate,
    budget: Arc<Budget>,
    loaded: Mutex<LoadedSet>,
    /// An attempt has given back what it had of the pool.
    ended: Notify,
    /// Reports that were not sent yet.
    done: Mutex<Vec<(oneshot::Sender<AttemptReport>, AttemptReport)>>,
    is_done: Notify,
    bell: Arc<Bell>,
    replies: Arc<Replies<AttemptReport>>,
}

/// The components that are loaded or loading; the one that was asked for longest ago goes first.
struct LoadedSet {
    max: usize,
    /// How often any was asked for: the clock of `last_asked`.
    asked: u64,
    by_digest: HashMap<Digest, Kept, Folding>,
}

struct Kept {
    component: Arc<OnceCell<Arc<Loaded>>>,
    last_asked: u64,
}

impl LoadedSet {
    fn get(&mut self, digest: Digest) -> &Arc<OnceCell<Arc<Loaded>>> {
        self.asked += 1;
        let Self { max, asked, by_digest } = self;
        if by_digest.len() >= *max && !by_digest.contains_key(&digest) {
            let oldest = by_digest.iter().min_by_key(|(_, kept)| kept.last_asked).map(|(digest, _)| *digest);
            oldest.and_then(|oldest| by_digest.remove(&oldest));
        }
        let kept = by_digest.entry(digest).or_insert_with(|| Kept { component: Arc::default(), last_asked: 0 });
        kept.last_asked = *asked;
        &kept.component
    }
}

fn serve(state: &Arc<State>, jobs: &mut mpsc::UnboundedReceiver<Job>) {
    let pulse = state.bell.pulse.clone();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().event_interval(TURNS).max_blocking_threads(2).on_thread_park(move || pulse.rest());
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Dropping the queue tells those who wait.
            tracing::error!(%error, "an executor's thread cannot have a runtime");
            return;
        }
    };
    runtime.block_on(async {
        tokio::spawn(turns::give(state.bell.clone()));
        let (crew, mut batch) = (Arc::new(Crew::default()), Vec::with_capacity(BATCH));
        let run = {
            let state = state.clone();
            move |job| attempt(state.clone(), job)
        };
        loop {
            state.bell.answer();
            tokio::select! {
                received = jobs.recv_many(&mut batch, BATCH) => if received == 0 { return },
                () = state.is_done.notified() => {}
                () = state.replies.hand_on_late() => {}
            }
            state.send_replies();
            crew.put(batch.drain(..).inspect(|_| turns::to_begin()), &run);
        }
    });
}

async fn attempt(state: Arc<State>, job: Job) {
    turns::begun();
    let Job { request, signal, reply, unfinished } = job;
    // Pinned, a future is made where it stays: what an `await` is given is moved there, all of its kilobytes.
    let ended = pin!(run(&state, &request, &signal)).await;
    drop((request, signal, unfinished));
    state.ended.notify_waiters();
    // Sent when others have had their turn.
    let first = {
        let mut done = state.done();
        done.push((reply, ended));
        done.len() == 1
    };
    if first {
        state.is_done.notify_one();
    }
}

async fn run(state: &Arc<State>, request: &Arc<AttemptRequest>, signal: &Arc<Signal>) -> AttemptReport {
    #[cfg(test)]
    assert_ne!(request.program, "panic in the worker", "as a test asked");
    let asked = &Asked::of(request);
    let loaded = match state.warm(request.component.digest) {
        Some(loaded) if signal.stopped().is_none() => loaded,
        _ => match signal.or_stopped(state.loaded(&request.component)).await {
            Some(Ok(loaded)) => loaded,
            Some(Err(ending)) => return unstarted(asked, ending),
            None => return unstarted(asked, Ending::cancelled(signal)),
        },
    };
    let around = Around { budget: state.budget.clone(), way: state.way(request) };
    loop {
        let freed = state.ended.notified();
        match pin!(sandbox::run(&loaded, request, signal, &around)).await {
            Ok(ended) => return ended,
            Err(PoolFull) => {
                if signal.or_stopped(freed).await.is_none() {
                    return unstarted(asked, Ending::cancelled(signal));
                }
            }
        }
    }
}

impl State {
    /// None where there is nothing to reach.
    fn way(&self, request: &AttemptRequest) -> Option<Arc<dyn Way>> {
        if request.reach.is_empty() {
            return None;
        }
        let asker = Asker::new(request, sandbox::deadline(&request.limits, Instant::now()));
        Some(Arc::new(Straight { gate: self.gate.clone(), asker }))
    }

    /// The component, where it is loaded.
    fn warm(&self, digest: Digest) -> Option<Arc<Loaded>> {
        self.kept().get(digest).get().cloned()
    }

    /// The component of `artefact`, loaded once: away from this thread, since a large one takes long to authenticate.
    async fn loaded(self: &Arc<Self>, artefact: &Artefact) -> Result<Arc<Loaded>, Ending> {
        let kept = self.kept().get(artefact.digest).clone();
        let load = || async {
            let (state, artefact) = (self.clone(), artefact.clone());
            let loaded = tokio::task::spawn_blocking(move || Loaded::load(&state.engine, &state.linker, &artefact));
            loaded.await.unwrap_or_else(|e| Err(Ending::internal(&format!("loading the component failed: {e}")))).map(Arc::new)
        };
        kept.get_or_try_init(load).await.cloned()
    }

    fn kept(&self) -> MutexGuard<'_, LoadedSet> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send_replies(&self) {
        let mut done = self.done();
        self.replies.send(&mut done);
    }

    fn done(&self) -> MutexGuard<'_, Vec<(oneshot::Sender<AttemptReport>, AttemptReport)>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
