//! A keeper: a thread of the supervisor that always has one worker process, and gives it attempts.
//!
//! It starts the process (which dies with this very thread), replaces it when it is gone or worn, and waits longer each
//! time when processes die before they did anything. Processes that drain, and those for a single attempt, are tasks of
//! the same thread.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::coop;

use super::inbox::Inbox;
use super::message::{Haste, Number};
use super::process::{Answer, Gone, Job, Process, StartError, With, answer};
use super::{WorkersConfig, no_worker};
use crate::executor::confine::{self, Missing};
use crate::executor::directory::{self, Source};
use crate::executor::ending::Ending;
use crate::executor::outside::Gate;
use crate::executor::pulse::Pulse;
use crate::executor::replies::Replies;

/// Handed over at once at most, before what the worker says is heard.
const BATCH: usize = 128;
/// After the first process that died at its start; doubled each time.
const WAIT_FIRST: Duration = Duration::from_millis(10);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Processes in a row that died at their start before attempts are told.
const FAILURES_MAX: u32 = 5;

pub(super) enum Command {
    Run(Job),
    Cancel(Cancel),
}

#[derive(Clone)]
pub(super) struct Cancel {
    pub number: Number,
    pub reason: String,
    pub haste: Haste,
}

/// A handle on a keeper; dropping it ends its processes.
pub(super) struct Keeper {
    /// Attempts that were routed here and have not ended.
    pub in_flight: AtomicUsize,
    /// Those of them that the process has yet to finish: what it has to do.
    pub unfinished: Arc<AtomicUsize>,
    pub replies: Arc<Replies<Answer>>,
    /// Of the process's thread that runs guests.
    pub pulse: Arc<Pulse>,
    pub health: Arc<Health>,
    /// Closed once it shall end.
    inbox: Arc<Inbox<Command>>,
    thread: Option<JoinHandle<()>>,
}

/// What others may know of a keeper's process.
pub(super) struct Health {
    ready: AtomicBool,
    failures: AtomicU32,
    failure: Mutex<String>,
    /// Of the current process; 0 where there is none.
    pub pid: AtomicU32,
    /// Some keeper's process is ready, or cannot be started.
    changed: Arc<Notify>,
}

/// How the first start went: what the machine does not give, or why there is no worker.
pub(super) type First = Result<Vec<Missing>, StartError>;

impl Keeper {
    /// The first start's answer comes through `first`.
    pub fn start(index: usize, config: WorkersConfig, gate: Gate, changed: Arc<Notify>, first: std::sync::mpsc::Sender<First>) -> std::io::Result<Self> {
        let inbox = Arc::<Inbox<Command>>::default();
        let (ready, failures, failure, pid) = Default::default();
        let health = Arc::new(Health { ready, failures, failure, pid, changed });
        let replies: Arc<Replies<Answer>> = Arc::default();
        let pulse = Arc::new(Pulse::shared()?);
        let mut keep = Keep { config, gate, health: health.clone(), replies: replies.clone(), pulse: pulse.clone(), inbox: inbox.clone(), apart: Vec::new() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(2).build()?;
        let thread = std::thread::Builder::new().name(format!("bellcage-keeper-{index}")).spawn(move || {
            confine::run_soon();
            let mut first = Some(first);
            // A fault of ours costs the attempts that the process had, and no more.
            while std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(keep.keep(&mut first)))).is_err() {
                tracing::error!("a keeper of worker processes panicked; it goes on with a new process");
            }
        })?;
        Ok(Self { in_flight: AtomicUsize::new(0), unfinished: Arc::default(), replies, pulse, health, inbox, thread: Some(thread) })
    }

    /// Takes one of `slots`, if one is free.
    pub fn reserve(&self, slots: usize) -> bool {
        self.in_flight.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| (n < slots).then_some(n + 1)).is_ok()
    }

    /// The command back where the thread is gone.
    pub fn send(&self, command: Command) -> Result<(), Box<Command>> {
        self.inbox.put(command).map_err(Box::new)
    }

    /// Begins its end; dropping it waits for that.
    pub fn close(&mut self) {
        self.inbox.close();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Health {
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Why no process stays alive, where that has been so for some time.
    pub fn failure(&self) -> Option<String> {
        (self.failures.load(Ordering::Acquire) >= FAILURES_MAX).then(|| self.last_failure().clone())
    }

    fn last_failure(&self) -> MutexGuard<'_, String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn started(&self, process: &Process) {
        self.pid.store(process.pid().unsigned_abs(), Ordering::Release);
        self.ready.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    fn stopped(&self) {
        self.ready.store(false, Ordering::Release);
        self.pid.store(0, Ordering::Release);
    }

    /// How long to wait before the next start.
    fn failed(&self, why: String) -> Duration {
        *self.last_failure() = why;
        let before = self.failures.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
        WAIT_FIRST.saturating_mul(1 << before.min(10)).min(WAIT_MAX)
    }

    fn recovered(&self) {
        self.failures.store(0, Ordering::Release);
    }
}

/// The thread's own part.
struct Keep {
    config: WorkersConfig,
    gate: Gate,
    health: Arc<Health>,
    replies: Arc<Replies<Answer>>,
    pulse: Arc<Pulse>,
    inbox: Arc<Inbox<Command>>,
    /// Processes that drain, and those of single attempts: they hear what is cancelled.
    apart: Vec<mpsc::UnboundedSender<Cancel>>,
}

impl Drop for Keep {
    fn drop(&mut self) {
        self.inbox.close();
    }
}

/// Why a process takes no more attempts.
enum Until {
    Closed,
    Worn(Process),
    Gone(Process, Gone),
}

impl Keep {
    async fn keep(&mut self, first: &mut Option<std::sync::mpsc::Sender<First>>) {
        loop {
            let with = With { memory: self.config.memory_of_worker(), directories: &[], opened: &[], pulse: Some(self.pulse.clone()) };
            let process = match Process::start(&self.config, &self.gate, self.config.slots_per_worker(), self.replies.clone(), with).await {
                Ok(process) => process,
                Err(error) => {
                    if let Some(first) = first.take() {
                        let _ = first.send(Err(error));
                        return;
                    }
                    if !self.wait_after(error.to_string()).await {
                        return;
                    }
                    continue;
                }
            };
            self.health.started(&process);
            if let Some(first) = first.take() {
                let _ = first.send(Ok(process.missing.clone()));
            }
            let until = self.serve(process).await;
            self.health.stopped();
            match until {
                Until::Closed => return,
                Until::Worn(process) => {
                    self.health.recovered();
                    let cancels = self.cancels_apart();
                    tokio::spawn(drain(process, cancels));
                }
                Until::Gone(process, gone) => {
                    let untried = process.taken == 0;
                    process.lose(gone).await;
                    if untried && !self.wait_after("a worker process ended before it was given anything".to_owned()).await {
                        return;
                    }
                    if !untried {
                        self.health.recovered();
                    }
                }
            }
        }
    }

    async fn serve(&mut self, mut process: Process) -> Until {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let done = tokio::select! {
                taken = self.inbox.take(&mut batch, BATCH) => match taken {
                    false => return Until::Closed,
                    true => self.carry_out(&mut batch, &mut process),
                },
                turned = process.turn() => {
                    self.inbox.keeper_is_awake();
                    turned
                }
            };
            match done {
                Err(gone) => return Until::Gone(process, gone),
                Ok(()) if process.worn => return Until::Worn(process),
                Ok(()) => coop::consume_budget().await,
            }
        }
    }

    fn carry_out(&mut self, batch: &mut Vec<Command>, process: &mut Process) -> Result<(), Gone> {
        let mut done = Ok(());
        for command in batch.drain(..) {
            match command {
                // What was not given to the process can be given to another.
                Command::Run(job) if done.is_err() => hand_back(job),
                Command::Run(job) if job.request.is_alone() => {
                    let (config, gate, replies, cancels) = (self.config.clone(), self.gate.clone(), self.replies.clone(), self.cancels_apart());
                    tokio::spawn(alone(config, gate, replies, job, cancels));
                }
                Command::Run(job) => done = process.take(job),
                Command::Cancel(cancel) => match process.cancel(&cancel) {
                    Ok(true) => {}
                    Ok(false) => self.cancel_apart(&cancel),
                    Err(gone) => done = Err(gone),
                },
            }
        }
        done
    }

    fn cancels_apart(&mut self) -> mpsc::UnboundedReceiver<Cancel> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.apart.retain(|sender| !sender.is_closed());
        self.apart.push(sender);
        receiver
    }

    fn cancel_apart(&self, cancel: &Cancel) {
        for sender in &self.apart {
            let _ = sender.send(cancel.clone());
        }
    }

    /// Waits before another start; what comes meanwhile is handed back. False where the keeper shall end.
    async fn wait_after(&mut self, why: String) -> bool {
        tracing::error!("{why}");
        let wait = tokio::time::sleep(self.health.failed(why));
        tokio::pin!(wait);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                () = &mut wait => return true,
                taken = self.inbox.take(&mut batch, BATCH) => if !taken { return false },
            }
            for command in batch.drain(..) {
                match command {
                    Command::Run(job) => hand_back(job),
                    Command::Cancel(cancel) => self.cancel_apart(&cancel),
                }
            }
        }
    }
}

fn hand_back(job: Job) {
    let _ = job.reply.send(Answer::Unsent);
}

/// Lets a process end what it has; it gets nothing more.
async fn drain(mut process: Process, mut cancels: mpsc::UnboundedReceiver<Cancel>) {
    while !process.is_idle() {
        let done = tokio::select! {
            Some(cancel) = cancels.recv() => process.cancel(&cancel).map(|_| ()),
            turned = process.turn() => turned,
        };
        if let Err(gone) = done {
            return process.lose(gone).await;
        }
    }
    process.end().await;
}

/// One attempt in a process of its own.
async fn alone(config: WorkersConfig, gate: Gate, replies: Arc<Replies<Answer>>, job: Job, cancels: mpsc::UnboundedReceiver<Cancel>) {
    let directories = job.request.directories.clone();
    let opening = tokio::task::spawn_blocking(move || directory::open(&directories).map(|opened| (directories, opened)));
    let (directories, opened) = match opening.await {
        Ok(Ok(opened)) => opened,
        Ok(Err(ending)) => return answer(job, ending),
        Err(error) => return answer(job, no_worker(&error.to_string())),
    };
    let memory = config.memory_of(&job.request).guest;
    let with = With { memory, directories: &directories, opened: &opened, pulse: None };
    let mut process = match Process::start(&config, &gate, 1, replies, with).await {
        Ok(process) => process,
        Err(StartError::Spawn(why)) if directories.iter().any(|directory| matches!(directory.source, Source::Scratch { .. })) => {
            let message = format!("a scratch directory needs namespaces of its own and a file system in memory, and the process got none: {why}");
            return answer(job, Ending::refused("scratch-unavailable", message));
        }
        Err(error) => return answer(job, no_worker(&error.to_string())),
    };
    drop(opened);
    match process.take(job) {
        Ok(()) => drain(process, cancels).await,
        Err(gone) => process.lose(gone).await,
    }
}
