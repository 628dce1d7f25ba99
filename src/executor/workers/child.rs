//! The worker process: one engine, one thread that runs guests, many attempts at once, and one socket.
//!
//! It is confined before its first word. From then on it can use memory, time and its socket, and nothing else: a
//! component comes as a descriptor, and what it says goes to the supervisor, which believes little of it. It shares one page of memory
//! with it, for its pulse: a number that can make the supervisor prefer or avoid this worker, and no more.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot};
use wasmtime::Engine;
use wasmtime::component::Linker;

use super::code::Code;
use super::link::{self, Link};
use super::message::{FromWorker, Haste, Number, Order, ToWorker, Told};
use crate::component::{EngineSettings, engine_config};
use crate::executor::budget::Budget;
use crate::executor::confine::{self, Bounds, Confinement, Worn};
use crate::executor::crew::Crew;
use crate::executor::directory::{Directory, Source};
use crate::executor::ending::Ending;
use crate::executor::guest::Guest;
use crate::executor::host::Calls;
use crate::executor::news::News;
use crate::executor::outside::{Answer, Call, Refusal, Way};
use crate::executor::pulse::Pulse;
use crate::executor::sandbox::{self, Around, Asked, Loaded, PoolFull, unstarted};
use crate::executor::signal::Signal;
use crate::executor::ticker::{Ticked, Ticker};
use crate::executor::turns::{self, Bell};

use crate::executor::{AttemptReport, AttemptRequest, host, worker};
use crate::job::Progress;

/// The hidden subcommand of the binary that is a worker. Whoever's `program` an executor of worker processes is must hand
/// it to `main` before any other start-up work.
pub const SUBCOMMAND: &str = "run-worker";

/// What the worker is told, on its command line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Brief {
    pub engine: EngineSettings,
    /// Attempts at once.
    pub slots: u32,
    /// Bytes that they may hold together.
    pub memory: u64,
    pub loaded_max: usize,
    pub confinement: Confinement,
    pub nice: u32,
    /// Tests only: attempts whose program's name says so try to get out.
    pub escapes: bool,
    /// Which the process was started with, for the one attempt it has.
    #[serde(default)]
    pub directories: Vec<GivenDirectory>,
    /// Whether it was started with the descriptor of a pulse, after those of the directories.
    #[serde(default)]
    pub pulse: bool,
}

impl Brief {
    fn budget(&self) -> Budget {
        Budget::new(self.memory, self.slots.into())
    }
}

/// What the worker does with a directory.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GivenDirectory {
    pub at: String,
    pub write: bool,
    /// Of a scratch directory.
    pub scratch: Option<u64>,
}

/// Descriptors beside those of loaded components: standard streams, socket, runtime, page map.
const OWN_DESCRIPTORS: u64 = 64;
/// Memories of a component that have an image, each a descriptor.
const IMAGES: u64 = 8;
/// How often the news of attempts is told at most, and bytes of checkpoints each time: what is left is told the next time.
const NEWS_EVERY: Duration = Duration::from_millis(100);
const NEWS_BYTES: usize = 1 << 20;
/// As far as a process is concerned.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);

/// The worker's whole life.
pub fn main() -> ExitCode {
    let Some(brief) = std::env::args().nth(2).and_then(|text| serde_json::from_str::<Brief>(&text).ok()) else {
        eprintln!("{SUBCOMMAND} is for bellcage itself: it runs attempts that its parent process sends");
        return ExitCode::from(2);
    };
    match work(&brief) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn work(brief: &Brief) -> io::Result<()> {
    let mut given = confine::at_start(brief.directories.len() + usize::from(brief.pulse))?;
    let pulse = match given.pop_if(|_| brief.pulse) {
        Some(shared) => Pulse::of(shared)?,
        None => Pulse::new(),
    };
    let pulse = Arc::new(pulse);
    let socket = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
    // What waits for a file does so on a thread of its own, which is there before the process is confined.
    let listened = socket.try_clone()?;
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let rests = pulse.clone();
    let runtime = runtime.on_thread_park(move || rests.rest()).enable_io().enable_time().max_blocking_threads(1).thread_keep_alive(FOR_EVER).build()?;
    let link = {
        let _inside = runtime.enter();
        // Whoever is at the other end started this process.
        Link::new(socket, u32::MAX as usize)?
    };
    let code = Code::new();
    let warm = warm_up(brief, &code);
    let own_namespaces = if std::process::id() == 1 { Ok(()) } else { Err("the kernel made none".to_owned()) };
    let directories: Vec<_> = brief.directories.iter().zip(given).map(|(directory, fd)| directory.opened(fd)).collect();
    let mut worn = confine::before_threads(own_namespaces, &directories.iter().filter_map(Directory::reachable).collect::<Vec<_>>());
    if !directories.is_empty() {
        runtime.block_on(runtime.spawn_blocking(|| {})).map_err(io::Error::other)?;
    }
    let first = match warm {
        Ok((engine, linker)) => {
            let bell = Arc::new(worker::bell(&engine, pulse));
            let running = Arc::new(Running { engine: Arc::new(engine), bell, in_flight: AtomicUsize::new(0) });
            let ticker = Ticker::start(Arc::from([running.clone()]))?;
            ticker.wait_until_asleep();
            // One attempt gives way to nobody.
            if brief.slots > 1 {
                listen(listened, running.bell.clone())?;
                running.bell.wait_until_listener_sleeps();
            }
            // This thread alone: the others were there before.
            confine::stand_back(brief.nice);
            let descriptors = OWN_DESCRIPTORS + brief.loaded_max as u64 * IMAGES;
            let scratch = brief.directories.iter().filter_map(|directory| directory.scratch).max().unwrap_or(0);
            confine::after_warm_up(&mut worn, Bounds { descriptors, file_bytes: brief.engine.memory_max.max(scratch), files: !directories.is_empty() });
            let ready = verdict(worn, brief.confinement);
            match ready {
                FromWorker::Ready { .. } => Ok((Worker { directories, ..Worker::new(brief, code, linker, running, ticker) }, ready)),
                unfit => Err(unfit),
            }
        }
        Err(error) => Err(FromWorker::Unfit { missing: Vec::new(), error: Some(format!("{error:#}")) }),
    };
    runtime.block_on(async {
        match first {
            Ok((worker, ready)) => Arc::new(worker).serve(link, &ready).await,
            Err(unfit) => last_word(link, &unfit).await,
        }
    })
}

/// A thread that sees what the supervisor says while a guest computes, when nobody reads it, and rings. It reads nothing.
fn listen(socket: OwnedFd, bell: Arc<Bell>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let listen = async move {
        let socket = UnixStream::from_std(socket.into())?;
        loop {
            // Nothing else is on this thread.
            bell.wait_until_heard();
            if socket.async_io(Interest::READABLE, || link::has_come(&socket)).await? {
                bell.ring();
            } else {
                return io::Result::Ok(());
            }
        }
    };
    std::thread::Builder::new().name("bellcage-listener".to_owned()).spawn(move || {
        confine::run_soon();
        runtime.block_on(listen)
    })?;
    Ok(())
}

impl GivenDirectory {
    pub fn of(directory: &Directory) -> Self {
        Self { at: directory.at.clone(), write: directory.write, scratch: directory.scratch_bytes() }
    }

    fn opened(&self, descriptor: OwnedFd) -> Directory {
        Directory { at: self.at.clone(), write: self.write, source: Source::Opened { descriptor: Arc::new(descriptor), scratch: self.scratch.is_some() } }
    }
}

fn warm_up(brief: &Brief, code: &Code) -> wasmtime::Result<(Engine, Linker<Guest>)> {
    let mut settings = engine_config(&brief.engine);
    settings.allocation_strategy(worker::pool(brief.slots, &brief.engine, &brief.budget())).with_custom_code_memory(Some(code.memory()));
    let engine = Engine::new(&settings)?;
    let linker = host::linker(&engine)?;
    Ok((engine, linker))
}

/// Ready, unless a layer that is demanded is missing.
fn verdict(worn: Worn, confinement: Confinement) -> FromWorker {
    let demanded = confinement.demands();
    if worn.missing.iter().any(|missing| demanded.contains(&missing.layer)) {
        let missing = worn.missing.into_iter().filter(|missing| demanded.contains(&missing.layer)).collect();
        return FromWorker::Unfit { missing, error: None };
    }
    FromWorker::Ready { missing: worn.missing }
}

async fn last_word(mut link: Link, unfit: &FromWorker) -> io::Result<()> {
    link.put(unfit)?;
    link.flush()
}

struct Running {
    engine: Arc<Engine>,
    bell: Arc<Bell>,
    in_flight: AtomicUsize,
}

impl Ticked for Arc<Running> {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn in_flight(&self) -> &AtomicUsize {
        &self.in_flight
    }
}

struct Worker {
    code: Code,
    linker: Linker<Guest>,
    running: Arc<Running>,
    ticker: Ticker,
    crew: Arc<Crew<Begin>>,
    attempts: Mutex<HashMap<Number, Arc<Signal>>>,
    /// What guests wait for an answer to, by attempt and number.
    asked: Mutex<HashMap<(Number, u64), oneshot::Sender<Answered>>>,
    questions: AtomicU64,
    /// Frames to send, gathered by the attempts.
    said: Mutex<Vec<u8>>,
    has_said: Notify,
    /// An attempt has given back what it had of the pool.
    ended: Notify,
    /// An attempt has told something.
    news: Arc<Notify>,
    budget: Arc<Budget>,
    directories: Vec<Directory>,
    #[cfg(debug_assertions)]
    escapes: bool,
}

type Answered = Result<Answer, Refusal>;

/// By the supervisor's number; or why one cannot be run.
type Components = HashMap<u32, Result<Arc<Loaded>, Ending>>;

impl Worker {
    fn new(brief: &Brief, code: Code, linker: Linker<Guest>, running: Arc<Running>, ticker: Ticker) -> Self {
        let (crew, attempts, asked, questions, said, has_said, ended, news) = Default::default();
        Self {
            code,
            linker,
            running,
            ticker,
            crew,
            attempts,
            asked,
            questions,
            said,
            has_said,
            ended,
            news,
            budget: Arc::new(brief.budget()),
            directories: Vec::new(),
            #[cfg(debug_assertions)]
            escapes: brief.escapes,
        }
    }

    /// Until the supervisor is gone.
    async fn serve(self: &Arc<Self>, mut link: Link, ready: &FromWorker) -> io::Result<()> {
        let mut components = Components::new();
        tokio::spawn(self.clone().tell_news());
        tokio::spawn(turns::give(self.running.bell.clone()));
        link.put(ready)?;
        loop {
            self.running.bell.answer();
            link.put_frames(&std::mem::take(&mut *lock(&self.said)));
            link.flush()?;
            tokio::select! {
                () = self.has_said.notified() => {}
                ready = link.readable_or_writable() => {
                    if ready?.is_readable() && !self.hear(&mut link, &mut components)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn hear(self: &Arc<Self>, link: &mut Link, components: &mut Components) -> io::Result<bool> {
        if !link.fill()? {
            return Ok(false);
        }
        loop {
            let load = match link.take()? {
                None => return Ok(true),
                Some(ToWorker::Run(order)) => {
                    self.run(*order, components)?;
                    continue;
                }
                Some(ToWorker::Cancel { attempt, reason, haste }) => {
                    let signal = lock(&self.attempts).get(&attempt).cloned();
                    if let Some(signal) = signal {
                        match haste {
                            Haste::Cancelled => signal.cancel(&reason),
                            Haste::Unwanted => signal.cancel_at_once(&reason),
                        }
                    }
                    continue;
                }
                Some(ToWorker::Unload { component }) => {
                    components.remove(&component);
                    continue;
                }
                Some(ToWorker::Answer { attempt, number, answer }) => {
                    // Who asked may have gone.
                    if let Some(asked) = lock(&self.asked).remove(&(attempt, number)) {
                        let _ = asked.send(answer);
                    }
                    continue;
                }
                Some(ToWorker::Ping) => {
                    self.say(&FromWorker::Pong);
                    continue;
                }
                Some(ToWorker::Load { component }) => component,
            };
            let file = link.descriptor().ok_or_else(|| io::Error::other("no descriptor came with a component"))?;
            // SAFETY: the supervisor has authenticated it and sends only what our compiler wrote; the engine has this
            // very `code`; components live on this thread alone.
            let loaded = unsafe { self.code.load(&self.running.engine, file) };
            let loaded = loaded.and_then(|component| Loaded::new(&self.linker, &component));
            components.insert(load, loaded.map(Arc::new).map_err(|e| sandbox::unusable(&e)));
        }
    }

    fn run(self: &Arc<Self>, order: Order<'_>, components: &Components) -> io::Result<()> {
        let (attempt, component) = (order.attempt, order.component);
        let request = AttemptRequest { directories: self.directories.clone(), ..order.into_request() };
        let loaded = match components.get(&component) {
            Some(Ok(loaded)) => loaded.clone(),
            Some(Err(unusable)) => {
                let report = unstarted(&Asked::of(&request), unusable.clone());
                self.say(&FromWorker::Report { attempt, report: Box::new(Told::new(report, &Calls::default())) });
                return Ok(());
            }
            None => return Err(io::Error::other("an attempt of a component that was not loaded came")),
        };
        let signal = Arc::new(Signal::new(News::new(self.news.clone())));
        signal.runs_on(&self.running.engine);
        lock(&self.attempts).insert(attempt, signal.clone());
        self.running.in_flight.fetch_add(1, Ordering::SeqCst);
        self.ticker.wake();
        turns::to_begin();
        let worker = self.clone();
        self.crew.put([Begin { attempt, loaded, request: Arc::new(request), signal }], &move |begin| Going::run(worker.clone(), begin));
        Ok(())
    }

    /// Tells the newest of what attempts tell, and leaves out what came in between.
    async fn tell_news(self: Arc<Self>) {
        loop {
            self.news.notified().await;
            let attempts: Vec<_> = lock(&self.attempts).iter().map(|(number, signal)| (*number, signal.clone())).collect();
            let mut told = 0;
            for (number, signal) in attempts {
                told += self.tell(number, &signal);
                if told > NEWS_BYTES {
                    self.news.notify_one();
                    break;
                }
            }
            tokio::time::sleep(NEWS_EVERY).await;
        }
    }

    /// Says what is fresh of an attempt's news. Returns the bytes of its checkpoint.
    fn tell(&self, attempt: Number, signal: &Signal) -> usize {
        if let Some(Progress { fraction, message }) = signal.news.fresh_progress() {
            self.say(&FromWorker::Progress { attempt, fraction, message });
        }
        let Some(bytes) = signal.news.fresh_checkpoint() else { return 0 };
        let length = bytes.len();
        self.say(&FromWorker::Checkpoint { attempt, bytes });
        length
    }

    /// Sent when the attempts that can go on have had their turn.
    fn say(&self, message: &FromWorker) {
        // Into memory, and every value has a form.
        let _ = link::put(&mut lock(&self.said), message);
        self.has_said.notify_one();
    }
}

/// An attempt that has come.
struct Begin {
    attempt: Number,
    loaded: Arc<Loaded>,
    request: Arc<AttemptRequest>,
    signal: Arc<Signal>,
}

/// An attempt that runs; dropped, as by a panic, it says how it ended all the same.
struct Going {
    worker: Arc<Worker>,
    attempt: Number,
    asked: Asked,
    signal: Arc<Signal>,
    ended: Option<AttemptReport>,
}

impl Going {
    async fn run(worker: Arc<Worker>, begin: Begin) {
        turns::begun();
        let Begin { attempt, loaded, request, signal } = begin;
        let mut going = Self { worker, attempt, asked: Asked::of(&request), signal, ended: None };
        let Self { worker, signal, .. } = &going;
        #[cfg(debug_assertions)]
        if worker.escapes {
            super::escape::attempt(&request.program).await;
            going.ask_what_no_guest_may(&request.program);
        }
        let way = (!request.reach.is_empty()).then(|| Arc::new(Asks { worker: worker.clone(), attempt }) as Arc<dyn Way>);
        let around = Around { budget: worker.budget.clone(), way };
        going.ended = Some(loop {
            let freed = worker.ended.notified();
            match pin!(sandbox::run(&loaded, &request, signal, &around)).await {
                Ok(ended) => break ended,
                Err(PoolFull) => {
                    worker.say(&FromWorker::Waiting { attempt });
                    if signal.or_stopped(freed).await.is_none() {
                        break unstarted(&going.asked, Ending::cancelled(signal));
                    }
                    worker.say(&FromWorker::Started { attempt });
                }
            }
        });
    }
}

#[cfg(debug_assertions)]
impl Going {
    /// As a guest could that got out of its sandbox and speaks for the worker.
    fn ask_what_no_guest_may(&self, program: &str) {
        let attempt = match program.strip_prefix("escape: ") {
            Some("ask for another attempt") => self.attempt + 1,
            Some("ask without a grant") => self.attempt,
            _ => return,
        };
        let key = "secret".to_owned();
        self.worker.say(&FromWorker::Ask { attempt, number: 0, call: Call::KeyValue(crate::executor::KeyValueCall::Get { key }) });
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let worker = &self.worker;
        let told = match self.ended.take() {
            Some(report) => Told::new(report, &self.signal.calls),
            None => Told::new(unstarted(&self.asked, Ending::internal("its worker panicked")), &Calls::default()),
        };
        worker.running.in_flight.fetch_sub(1, Ordering::SeqCst);
        lock(&worker.attempts).remove(&self.attempt);
        worker.ended.notify_waiters();
        worker.tell(self.attempt, &self.signal);
        worker.say(&FromWorker::Report { attempt: self.attempt, report: Box::new(told) });
    }
}

/// The way out of an attempt here: over the socket.
struct Asks {
    worker: Arc<Worker>,
    attempt: Number,
}

#[async_trait]
impl Way for Asks {
    async fn ask(&self, call: Call) -> Answered {
        let Self { worker, attempt } = self;
        let number = worker.questions.fetch_add(1, Ordering::Relaxed);
        let (to, answer) = oneshot::channel();
        lock(&worker.asked).insert((*attempt, number), to);
        let _asked = Waiting { worker, question: (*attempt, number) };
        worker.say(&FromWorker::Ask { attempt: *attempt, number, call });
        answer.await.unwrap_or_else(|_| Err(Refusal::Failed("nobody answered".to_owned())))
    }
}

/// A question under way. Where the guest stops waiting while its attempt goes on, the supervisor is told.
struct Waiting<'a> {
    worker: &'a Worker,
    question: (Number, u64),
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Self { worker, question } = self;
        let (attempt, number) = *question;
        let unanswered = lock(&worker.asked).remove(question).is_some();
        if unanswered && lock(&worker.attempts).contains_key(&attempt) {
            worker.say(&FromWorker::Forget { attempt, number });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
