//! A worker process from the supervisor's side: what it was given, what it says, and its end.
//!
//! ```text
//! started ──Ready──► taking attempts ──worn──► draining ──► killed
//!    │                  │ died, hung, lied, overran              ▲
//!    └──Unfit, died─────┴──────────────────────► killed ─────────┘   its attempts are lost, each reported once
//! ```

use std::collections::HashMap;
use std::ffi::CString;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rustix::process::WaitIdStatus;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Interval, MissedTickBehavior};

use super::WorkersConfig;
use super::child::{Brief, GivenDirectory, SUBCOMMAND};
use super::keeper::Cancel;
use super::link::{self, Link};
use super::message::{FromWorker, Number, Order, ToWorker, Told};
use crate::component::Artefact;
use crate::executor::confine::{Given, Layer, Missing, Spawn, Spawned, spawn};
use crate::executor::directory::{Directory, Source};
use crate::executor::ending::Ending;
use crate::executor::host::shown;
use crate::executor::outside::{self, Asker, Call, Gate, Refusal};
use crate::executor::pulse::Pulse;
use crate::executor::replies::Replies;
use crate::executor::route::Unfinished;
use crate::executor::sandbox::{self, Asked, unstarted};
use crate::executor::signal::{GRACE, Signal};
use crate::executor::{AttemptReport, AttemptRequest};
use crate::job::{Digest, Outcome};

/// From its start to its first word.
const START_MAX: Duration = Duration::from_secs(10);
/// Bytes of a report besides what the guest wrote: its error, its receipt.
const REPORT_MAX: u64 = 256 << 10;
/// What a worker that answers late may have to do before, for each attempt it has: a guest computes so long, at most,
/// before others have their turn; with some room.
const TURN: Duration = Duration::from_millis(25);
/// Of what a worker wrote before it died, so much goes into the log.
const LAST_WORDS_MAX: usize = 2_000;
/// Bytes that a slot keeps warm beside its memory.
const SLOT_KEPT: u64 = 256 << 10;

/// An attempt on its way to a worker.
pub(super) struct Job {
    pub number: Number,
    /// Whose last owner is who asked, as of those in the pool.
    pub request: Arc<AttemptRequest>,
    /// Where its news goes.
    pub signal: Arc<Signal>,
    pub reply: oneshot::Sender<Answer>,
    pub unfinished: Unfinished,
}

#[allow(clippy::large_enum_variant, reason = "nearly every answer is a report, and a box would be freed by another thread than took it")]
pub(super) enum Answer {
    Report(AttemptReport),
    /// It was given to no worker, and may be to another.
    Unsent,
}

/// Why there is no worker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    #[error("a worker process cannot be started: {0}")]
    Spawn(String),
    #[error("this machine does not give a worker process the confinement that is demanded; it lacks {}", list(.0))]
    Confinement(Vec<Missing>),
    #[error("a worker process cannot start its engine: {0}")]
    Engine(String),
    #[error("a worker process ended before it was ready: {0}")]
    Died(String),
    #[error("a worker process was not ready within {} s", START_MAX.as_secs())]
    Slow,
}

fn list(missing: &[Missing]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// A worker is of no use any more, and why.
#[derive(Debug)]
pub(super) enum Gone {
    /// By itself, or by somebody else's hand.
    Ended,
    /// It has to be ended.
    Because(String),
}

pub(super) struct Process {
    config: WorkersConfig,
    gate: Gate,
    link: Link,
    exit: AsyncFd<Child>,
    stderr: std::fs::File,
    /// What the machine did not give.
    pub missing: Vec<Missing>,
    attempts: HashMap<Number, InFlight>,
    components: Components,
    /// Reports that were not sent yet.
    done: Vec<(oneshot::Sender<Answer>, Answer)>,
    replies: Arc<Replies<Answer>>,
    pulse: Option<Arc<Pulse>>,
    opening: JoinSet<(Digest, Result<OwnedFd, Ending>)>,
    asking: JoinSet<Answered>,
    /// Attempts that were given to it.
    pub taken: u64,
    /// A sign of worry that is not its end: it should be replaced.
    pub worn: bool,
    began: Instant,
    /// How long its thread has waited for a core, as of the last look.
    waited: Duration,
    /// The first ping that was not answered yet, in the worker's time.
    pinged_at: Option<Duration>,
    ticks: Interval,
    reaped: bool,
}

struct InFlight {
    asked: Asked,
    asker: Arc<Asker>,
    questions: HashMap<u64, Question>,
    signal: Arc<Signal>,
    reply: oneshot::Sender<Answer>,
    _unfinished: Unfinished,
    sent_at: Timestamp,
    timeout: Duration,
    memory_max: u64,
    checkpoint_max: u64,
    /// In the worker's time; `None` while it waits for its share of the worker's pool.
    must_end: Option<Duration>,
}

/// The answer to a question, on its way to the worker.
type Answered = (Number, u64, Result<outside::Answer, Refusal>);

/// A question under way; dropped, it is not asked any more.
struct Question(AbortHandle);

impl Drop for Question {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a worker has loaded; the one that was asked for longest ago goes first.
#[derive(Default)]
struct Components {
    by_digest: HashMap<Digest, Component>,
    next: u32,
    /// How often any was asked for: the clock of `last_asked`.
    asked: u64,
}

struct Component {
    number: u32,
    last_asked: u64,
    /// Attempts that wait until its artefact is authenticated; `None` once it was sent.
    waiting: Option<Vec<Job>>,
}

struct Child(Spawned);

impl AsRawFd for Child {
    fn as_raw_fd(&self) -> RawFd {
        self.0.fd.as_raw_fd()
    }
}

/// What a worker is started with, beside what every one has.
pub(super) struct With<'a> {
    /// That its guests may hold together, in bytes.
    pub memory: u64,
    pub directories: &'a [Directory],
    /// Those that exist, each in its place.
    pub opened: &'a [Option<OwnedFd>],
    /// A shared one, which it beats.
    pub pulse: Option<Arc<Pulse>>,
}

impl Process {
    /// A worker that is ready. `slots` are the attempts it may have at once.
    pub async fn start(config: &WorkersConfig, gate: &Gate, slots: usize, replies: Arc<Replies<Answer>>, with: With<'_>) -> Result<Self, StartError> {
        let With { memory, directories, opened, pulse } = with;
        let failed = |e: io::Error| StartError::Spawn(e.to_string());
        let (ours, theirs) = link::pair().map_err(failed)?;
        let (words, stderr) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC | rustix::pipe::PipeFlags::NONBLOCK).map_err(|e| failed(e.into()))?;
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null").map_err(failed)?;
        let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|e| failed(e.into()));
        let program = text(std::os::unix::ffi::OsStrExt::as_bytes(config.program.as_os_str()).to_vec())?;
        let lent = pulse.as_ref().and_then(|pulse| pulse.descriptor());
        let brief = Brief { pulse: lent.is_some(), ..brief(config, slots, memory, directories) };
        let brief = serde_json::to_vec(&brief).map_err(|e| failed(e.into()))?;
        let args = vec![program.clone(), text(SUBCOMMAND.into())?, text(brief)?];
        let given = directories.iter().zip(opened).filter_map(|(directory, opened)| match (&directory.source, opened) {
            (Source::Scratch { bytes }, _) => Some(Given::Scratch(*bytes)),
            (_, Some(fd)) => Some(Given::Open(fd.as_fd())),
            (_, None) => None,
        });
        let given = given.chain(lent.map(Given::Open)).collect();
        let child =
            spawn(&Spawn { program, args, stdin: theirs.as_fd(), stdout: null.as_fd(), stderr: stderr.as_fd(), given, namespaces: config.offers_namespaces() })
                .map_err(failed)?;
        drop((theirs, stderr));
        // SAFETY: a `Child` owns its descriptor, which is never exchanged for another.
        let exit = unsafe { AsyncFd::register(Child(child)) }.map_err(|e| failed(e.into()))?;
        let mut ticks = tokio::time::interval(config.hang_after / 4);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut process = Self {
            config: config.clone(),
            gate: gate.clone(),
            link: Link::new(ours, REPORT_MAX as usize).map_err(failed)?,
            exit,
            stderr: words.into(),
            missing: Vec::new(),
            attempts: HashMap::new(),
            components: Components::default(),
            done: Vec::new(),
            replies,
            pulse,
            opening: JoinSet::new(),
            asking: JoinSet::new(),
            taken: 0,
            worn: false,
            began: Instant::now(),
            waited: Duration::ZERO,
            pinged_at: None,
            ticks,
            reaped: false,
        };
        match tokio::time::timeout(START_MAX, process.first_word()).await {
            Ok(Ok(missing)) => process.missing = missing,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(StartError::Slow),
        }
        Ok(process)
    }

    async fn first_word(&mut self) -> Result<Vec<Missing>, StartError> {
        loop {
            let there = match self.link.readable_or_writable().await {
                Ok(_) => self.link.fill().unwrap_or(false),
                Err(_) => false,
            };
            match self.link.take::<FromWorker>() {
                Ok(Some(FromWorker::Ready { missing })) => return Ok(self.with_reasons(missing)),
                Ok(Some(FromWorker::Unfit { missing, error: None })) => return Err(StartError::Confinement(self.with_reasons(missing))),
                Ok(Some(FromWorker::Unfit { error: Some(error), .. })) => return Err(StartError::Engine(error)),
                Ok(None) if there => {}
                _ => return Err(StartError::Died(self.how_it_ended().await)),
            }
        }
    }

    /// Why the kernel made no namespaces is known on this side only.
    fn with_reasons(&self, mut missing: Vec<Missing>) -> Vec<Missing> {
        if let Err(why) = &self.exit.get_ref().0.namespaces {
            missing.iter_mut().filter(|missing| missing.layer == Layer::Namespaces).for_each(|missing| missing.why.clone_from(why));
        }
        missing
    }

    pub fn pid(&self) -> i32 {
        self.exit.get_ref().0.pid.as_raw_nonzero().get()
    }

    /// Nothing is left that anybody waits for.
    pub fn is_idle(&self) -> bool {
        self.attempts.is_empty() && self.opening.is_empty()
    }

    /// Gives an attempt to the worker, its component first if need be.
    pub fn take(&mut self, job: Job) -> Result<(), Gone> {
        let digest = job.request.component.digest;
        match self.components.ask(digest) {
            Some(Component { waiting: None, number, .. }) => {
                let number = *number;
                self.send(number, job)
            }
            Some(Component { waiting: Some(waiting), .. }) => {
                waiting.push(job);
                Ok(())
            }
            None => {
                if let Some(evicted) = self.components.make_room(self.config.loaded_max) {
                    self.link.put(&ToWorker::Unload { component: evicted }).map_err(broken)?;
                }
                let artefact = job.request.component.clone();
                self.components.add(digest, job);
                self.opening.spawn_blocking(move || (digest, open(&artefact)));
                Ok(())
            }
        }
    }

    /// Asks that an attempt end. False where it is not here.
    pub fn cancel(&mut self, cancel: &Cancel) -> Result<bool, Gone> {
        let Cancel { number, reason, haste } = cancel;
        let (number, now) = (*number, self.time());
        if let Some(attempt) = self.attempts.get_mut(&number) {
            attempt.must_end = Some(now + GRACE + self.config.overrun_max);
            self.link.put(&ToWorker::Cancel { attempt: number, reason: reason.into(), haste: *haste }).map_err(broken)?;
            return Ok(true);
        }
        let Some(job) = self.components.take_waiting(number) else { return Ok(false) };
        let message = format!("cancelled: {reason}");
        let ending = Ending::new(Outcome::Cancelled, "cancelled", message);
        answer(job, ending);
        Ok(true)
    }

    /// Sends what is queued, waits for anything to happen, and deals with it. May be dropped while it waits.
    pub async fn turn(&mut self) -> Result<(), Gone> {
        self.link.flush().map_err(broken)?;
        tokio::select! {
            ready = self.link.readable_or_writable() => match ready {
                Ok(ready) if ready.is_readable() => self.hear(),
                Ok(_) => Ok(()),
                Err(error) => Err(broken(error)),
            },
            Some(opened) = self.opening.join_next() => match opened {
                Ok((digest, file)) => self.opened(digest, file),
                Err(error) => Err(Gone::Because(format!("opening a component failed: {error}"))),
            },
            Some(answered) = self.asking.join_next() => self.answered(answered.ok()),
            _ = self.ticks.tick() => self.look(),
            () = self.replies.hand_on_late() => Ok(()),
            _ = self.exit.readable() => {
                // What it said before is worth as much as before.
                let _ = self.hear();
                Err(Gone::Ended)
            }
        }
    }

    /// Reports every attempt that the worker still has as lost, hands back those it was never given, and ends it.
    pub async fn lose(mut self, gone: Gone) {
        let ended = self.how_it_ended().await;
        let how = match gone {
            Gone::Ended => ended,
            Gone::Because(why) => format!("{why}; {ended}"),
        };
        tracing::warn!(pid = self.pid(), attempts = self.attempts.len(), last_words = self.last_words(), "a worker process is gone: {how}");
        for (_, attempt) in self.attempts.drain() {
            let message = format!("the worker process that ran it is gone: {how}");
            let ending = Ending::new(Outcome::Lost, "worker-died", message);
            let report = AttemptReport { started_at: attempt.sent_at, ..unstarted(&attempt.asked, ending) };
            let _ = attempt.reply.send(Answer::Report(report));
        }
        for job in self.components.drain_waiting() {
            let _ = job.reply.send(Answer::Unsent);
        }
    }

    /// Ends it; it has nothing that anybody waits for.
    pub async fn end(mut self) {
        self.exit.get_ref().0.kill();
        self.how_it_ended().await;
    }

    fn send(&mut self, component: u32, job: Job) -> Result<(), Gone> {
        let Job { number, request, signal, reply, unfinished } = job;
        let limits = &request.limits;
        let guest_bytes = limits.result.saturating_add(limits.logs).saturating_add(limits.checkpoint).saturating_add(REPORT_MAX);
        let frame_max = guest_bytes.max(request.reach.question_max(&request.limits));
        self.link.frame_max = self.link.frame_max.max(usize::try_from(frame_max).unwrap_or(usize::MAX));
        self.link.put(&ToWorker::Run(Box::new(Order::new(number, component, &request)))).map_err(broken)?;
        let timeout = Duration::try_from(limits.timeout).unwrap_or_default();
        let must_end = (self.time() + self.config.overrun_max).checked_add(timeout);
        let in_flight = InFlight {
            asked: Asked::of(&request),
            asker: Arc::new(Asker::new(&request, sandbox::deadline(limits, Instant::now()))),
            questions: HashMap::new(),
            signal,
            reply,
            _unfinished: unfinished,
            sent_at: Timestamp::now(),
            timeout,
            memory_max: limits.memory,
            checkpoint_max: limits.checkpoint,
            must_end,
        };
        self.attempts.insert(number, in_flight);
        self.taken += 1;
        self.worn |= self.taken >= self.config.recycle_after;
        Ok(())
    }

    fn opened(&mut self, digest: Digest, file: Result<OwnedFd, Ending>) -> Result<(), Gone> {
        let Some((number, waiting)) = self.components.opened(&digest, file.is_ok()) else { return Ok(()) };
        match file {
            Ok(file) => {
                self.link.put_with(&ToWorker::Load { component: number }, file).map_err(broken)?;
                waiting.into_iter().try_for_each(|job| self.send(number, job))
            }
            Err(ending) => {
                waiting.into_iter().for_each(|job| answer(job, ending.clone()));
                Ok(())
            }
        }
    }

    fn hear(&mut self) -> Result<(), Gone> {
        let heard = self.hear_all();
        // Who asked may be gone.
        self.replies.send(&mut self.done);
        heard
    }

    fn hear_all(&mut self) -> Result<(), Gone> {
        let there = self.link.fill().map_err(broken)?;
        while let Some(message) = self.link.take::<FromWorker>().map_err(broken)? {
            self.pinged_at = None;
            match message {
                FromWorker::Report { attempt, report } => self.reported(attempt, *report)?,
                FromWorker::Waiting { attempt } => self.attempt(attempt)?.must_end = None,
                FromWorker::Started { attempt } => {
                    let overrun = self.time() + self.config.overrun_max;
                    let attempt = self.attempt(attempt)?;
                    attempt.must_end = overrun.checked_add(attempt.timeout);
                }
                FromWorker::Progress { attempt, fraction, message } => self.attempt(attempt)?.signal.news.progress(shown(fraction, &message)),
                FromWorker::Checkpoint { attempt, bytes } => {
                    let attempt = self.attempt(attempt)?;
                    if bytes.len() as u64 > attempt.checkpoint_max {
                        return Err(Gone::Because("it sent a checkpoint that is larger than any guest may save".to_owned()));
                    }
                    attempt.signal.news.checkpoint(bytes);
                }
                FromWorker::Ask { attempt, number, call } => self.ask(attempt, number, call)?,
                FromWorker::Forget { attempt, number } => drop(self.attempt(attempt)?.questions.remove(&number)),
                FromWorker::Pong => {}
                FromWorker::Ready { .. } | FromWorker::Unfit { .. } => return Err(Gone::Because("it said a first word again".to_owned())),
            }
        }
        if there { Ok(()) } else { Err(Gone::Ended) }
    }

    /// Asks what a guest asks. It is answered by `turn`.
    fn ask(&mut self, attempt: Number, number: u64, call: Call) -> Result<(), Gone> {
        let gate = self.gate.clone();
        let InFlight { asker, questions, .. } = self.attempts.get_mut(&attempt).ok_or_else(|| unknown(attempt))?;
        if questions.len() >= asker.reach.at_once(&asker.limits) || questions.contains_key(&number) {
            return Err(Gone::Because(format!("it asked more for attempt {attempt} than any guest may at once")));
        }
        let asker = asker.clone();
        let asked = self.asking.spawn(async move { (attempt, number, gate.ask(&asker, call).await) });
        questions.insert(number, Question(asked));
        Ok(())
    }

    /// `None`: the question was dropped.
    fn answered(&mut self, answered: Option<Answered>) -> Result<(), Gone> {
        let Some((attempt, number, answer)) = answered else { return Ok(()) };
        let Some(in_flight) = self.attempts.get_mut(&attempt) else { return Ok(()) };
        if in_flight.questions.remove(&number).is_none() {
            return Ok(());
        }
        self.link.put(&ToWorker::Answer { attempt, number, answer }).map_err(broken)
    }

    fn reported(&mut self, number: Number, told: Told) -> Result<(), Gone> {
        let Some(attempt) = self.attempts.remove(&number) else { return Err(unknown(number)) };
        match told.into_report(&attempt.asked) {
            Ok(ended) => {
                self.done.push((attempt.reply, Answer::Report(ended)));
                Ok(())
            }
            Err(error) => {
                self.attempts.insert(number, attempt);
                Err(Gone::Because(format!("what it reported cannot be read: {error}")))
            }
        }
    }

    fn attempt(&mut self, number: Number) -> Result<&mut InFlight, Gone> {
        self.attempts.get_mut(&number).ok_or_else(|| unknown(number))
    }

    /// Whether the worker lives, and whether it stays within bounds.
    fn look(&mut self) -> Result<(), Gone> {
        // What it said may have come while this thread did not run.
        self.hear()?;
        self.waited = self.waited_for_a_core().unwrap_or(self.waited);
        let now = self.time();
        let turns = TURN * u32::try_from(self.attempts.len()).unwrap_or(u32::MAX);
        if self.pinged_at.is_some_and(|at| now > at + self.config.hang_after + turns) {
            return Err(Gone::Because(format!("it did not answer for {:?}", self.config.hang_after + turns)));
        }
        if self.attempts.values().any(|attempt| attempt.must_end.is_some_and(|end| now > end + turns)) {
            return Err(Gone::Because("an attempt went on long after it had to end".to_owned()));
        }
        if self.pinged_at.is_none() {
            self.pinged_at = Some(now);
            self.link.put(&ToWorker::Ping).map_err(broken)?;
        }
        let asked: u64 = self.attempts.values().map(|attempt| attempt.memory_max).fold(0, u64::saturating_add);
        let allowed = asked.min(self.config.memory_of_worker());
        let kept = self.config.slots_per_worker() as u64 * (self.config.budget().kept() + SLOT_KEPT);
        if self.resident_bytes().is_some_and(|bytes| bytes > self.config.recycle_memory.saturating_add(allowed).saturating_add(kept)) {
            tracing::info!(pid = self.pid(), "a worker process has grown past {} bytes and is replaced", self.config.recycle_memory);
            self.worn = true;
        }
        Ok(())
    }

    /// The worker's time since its start: what passes while its thread waits for a core is not counted, so that none is ended since the
    /// machine has other things to do.
    fn time(&self) -> Duration {
        self.began.elapsed().saturating_sub(self.waited)
    }

    /// The second field of `/proc/PID/schedstat` (Documentation/scheduler/sched-stats.rst); `None` where the kernel does not count.
    fn waited_for_a_core(&self) -> Option<Duration> {
        self.second_number("schedstat").map(Duration::from_nanos)
    }

    fn resident_bytes(&self) -> Option<u64> {
        self.second_number("statm").map(|pages| pages * rustix::param::page_size() as u64)
    }

    /// Of a file that the kernel keeps on the process.
    fn second_number(&self, file: &str) -> Option<u64> {
        let numbers = std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).ok()?;
        numbers.split(' ').nth(1)?.parse().ok()
    }

    /// Ends it, where it has not ended, and says how it did.
    async fn how_it_ended(&mut self) -> String {
        // One that closes its socket is about to end by itself, and says more by that.
        let ended = tokio::time::timeout(Duration::from_millis(100), self.exit.readable()).await.is_ok();
        let child = &self.exit.get_ref().0;
        child.kill();
        if !ended {
            let _ = tokio::time::timeout(Duration::from_secs(5), self.exit.readable()).await;
        }
        let Some(status) = child.reap() else { return "it could not be ended".to_owned() };
        self.reaped = true;
        if ended { describe(&status) } else { "it was ended".to_owned() }
    }

    fn last_words(&mut self) -> String {
        let mut words = vec![0; LAST_WORDS_MAX];
        let n = self.stderr.read(&mut words).unwrap_or(0);
        String::from_utf8_lossy(&words[..n]).trim().escape_debug().to_string()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            let child = &self.exit.get_ref().0;
            child.kill();
            child.wait();
        }
        // It may have died amid a beat.
        self.pulse.iter().for_each(|pulse| pulse.rest());
    }
}

impl Components {
    fn ask(&mut self, digest: Digest) -> Option<&mut Component> {
        self.asked += 1;
        let component = self.by_digest.get_mut(&digest)?;
        component.last_asked = self.asked;
        Some(component)
    }

    /// The number of the component that has to go before another comes.
    fn make_room(&mut self, max: usize) -> Option<u32> {
        if self.by_digest.len() < max {
            return None;
        }
        let loaded = self.by_digest.iter().filter(|(_, component)| component.waiting.is_none());
        let oldest = loaded.min_by_key(|(_, component)| component.last_asked).map(|(digest, _)| *digest)?;
        self.by_digest.remove(&oldest).map(|component| component.number)
    }

    fn add(&mut self, digest: Digest, first: Job) {
        self.next += 1;
        self.by_digest.insert(digest, Component { number: self.next, last_asked: self.asked, waiting: Some(vec![first]) });
    }

    /// Its number, and who waited for it. One that could not be opened is forgotten, and opened again when asked for.
    fn opened(&mut self, digest: &Digest, usable: bool) -> Option<(u32, Vec<Job>)> {
        let component = self.by_digest.get_mut(digest)?;
        let (number, waiting) = (component.number, component.waiting.take().unwrap_or_default());
        if !usable {
            self.by_digest.remove(digest);
        }
        Some((number, waiting))
    }

    fn take_waiting(&mut self, number: Number) -> Option<Job> {
        self.by_digest.values_mut().filter_map(|component| component.waiting.as_mut()).find_map(|waiting| {
            let at = waiting.iter().position(|job| job.number == number)?;
            Some(waiting.remove(at))
        })
    }

    fn drain_waiting(&mut self) -> Vec<Job> {
        self.by_digest.drain().flat_map(|(_, component)| component.waiting.unwrap_or_default()).collect()
    }
}

/// Whether this machine gives a process a scratch directory; why not, where it does not.
pub fn scratch_is_offered(config: &WorkersConfig) -> Result<(), String> {
    let offered = || -> io::Result<()> {
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        let program = CString::new(std::os::unix::ffi::OsStrExt::as_bytes(config.program.as_os_str()))?;
        // Without more arguments it ends by itself.
        let args = vec![program.clone(), CString::new(SUBCOMMAND)?];
        let (stdin, stdout, stderr) = (null.as_fd(), null.as_fd(), null.as_fd());
        let given = vec![Given::Scratch(rustix::param::page_size() as u64)];
        let process = spawn(&Spawn { program, args, stdin, stdout, stderr, given, namespaces: config.offers_namespaces() })?;
        process.kill();
        process.wait();
        Ok(())
    };
    offered().map_err(|e| e.to_string())
}

/// The artefact, authenticated through the very descriptor that the worker maps.
fn open(artefact: &Artefact) -> Result<OwnedFd, Ending> {
    artefact.open().map(|(file, _)| file.into()).map_err(|e| Ending::refused(e.code(), e.to_string()))
}

fn brief(config: &WorkersConfig, slots: usize, memory: u64, directories: &[Directory]) -> Brief {
    Brief {
        memory,
        engine: config.engine.clone(),
        slots: u32::try_from(slots).unwrap_or(u32::MAX),
        loaded_max: config.loaded_max,
        confinement: config.confinement,
        nice: config.nice,
        #[cfg(debug_assertions)]
        escapes: config.escapes,
        #[cfg(not(debug_assertions))]
        escapes: false,
        directories: directories.iter().map(GivenDirectory::of).collect(),
        pulse: false,
    }
}

/// The report of a job that no guest was started for.
pub(super) fn answer(job: Job, ending: Ending) {
    let report = unstarted(&Asked::of(&job.request), ending);
    let _ = job.reply.send(Answer::Report(report));
}

fn broken(error: io::Error) -> Gone {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Gone::Ended,
        _ => Gone::Because(format!("its socket failed: {error}")),
    }
}

fn unknown(number: Number) -> Gone {
    Gone::Because(format!("it spoke of attempt {number}, which it does not have"))
}

fn describe(status: &WaitIdStatus) -> String {
    if let Some(signal) = status.terminating_signal() {
        let name = match rustix::process::Signal::from_named_raw(signal) {
            Some(rustix::process::Signal::SYS) => " (SYS: it made a system call that is not allowed)",
            Some(rustix::process::Signal::KILL) => " (KILL)",
            Some(rustix::process::Signal::SEGV) => " (SEGV)",
            Some(rustix::process::Signal::BUS) => " (BUS)",
            Some(rustix::process::Signal::ABORT) => " (ABRT)",
            Some(rustix::process::Signal::ILL) => " (ILL)",
            _ => "",
        };
        return format!("it was ended by signal {signal}{name}");
    }
    format!("it exited with code {}", status.exit_status().unwrap_or(-1))
}
