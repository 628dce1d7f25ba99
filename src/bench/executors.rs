//! Attempts per second by the executors alone, with every limit on and a fresh instance each, beside wasmtime alone.
//!
//! One core means that all of it, who asks and who runs, has one core; two cores, that all of it has two. What one core does
//! is counted per second of its time that was really used, so that what else the machine does is left out of it; what two
//! do against one, by the clock on the wall.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::component::Artefact;
use crate::executor::bare::Bare;
use crate::executor::{AttemptReport, AttemptRequest, Executor, Pool, PoolConfig, Reach, Workers, WorkersConfig};
use crate::job::{Entry, Isolation, Limits, Outcome, RunId};

use super::{BenchError, Goal, Guest, Row, TINY, middle};

/// Attempts of each core that wait for their turn, so that no worker ever does: two cores have twice as many, and each as much as one.
const IN_FLIGHT: usize = 64;

/// Of one side. A machine that others use too may be half as fast from one second to the next.
const TURN: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Bare,
    Pool,
    Workers,
}

pub(super) fn measure(guest: &Guest, quick: bool) -> Result<Vec<Row>, BenchError> {
    let rounds = if quick { 9 } else { 90 };
    let cores = cores();
    let two = cores.len() >= 2;
    let kinds: Vec<_> = [Side::Bare, Side::Pool, Side::Workers].into_iter().flat_map(|side| [(side, 1), (side, 2)]).filter(|(_, n)| two || *n == 1).collect();
    let mut sides = kinds.iter().map(|(side, n)| Measured::start(*side, &cores[..*n], guest)).collect::<Result<Vec<_>, _>>()?;
    // In short turns, so that what the machine does meanwhile falls on all of them. The first turn warms up.
    for round in 0..=rounds {
        for side in &mut sides {
            side.turn(TURN, round > 0)?;
        }
    }
    let rates = |side: Side, n: usize| kinds.iter().position(|kind| *kind == (side, n)).map_or(&[][..], |at| &sides[at].rates);
    let [bare, pool, workers] = [Side::Bare, Side::Pool, Side::Workers].map(|side| rates(side, 1));
    let what = "attempts of a tiny command, pool, per second of 1 core";
    let pairs = |ours: &[Rates], limit: &[Rates], of: fn(&Rates) -> f64| ours.iter().zip(limit).map(|(ours, limit)| (of(ours), of(limit))).collect();
    let (of_pool, of_bare) = middle(pairs(pool, bare, |rates| rates.of_cpu));
    let mut rows = vec![Row::new("1", what, of_pool, "1/s").limit(of_bare).reach(&[Goal::RatioAtLeast(0.7)])];
    let twice = |side: Side| {
        let (two, one) = middle(pairs(rates(side, 2), rates(side, 1), |rates| rates.of_wall));
        two / one
    };
    if two {
        rows.push(
            Row::new("2", "attempts on 2 cores against 1, pool; the limit is wasmtime's own", twice(Side::Pool), "×")
                .limit(twice(Side::Bare))
                .reach(&[Goal::AtLeast(1.7)]),
        );
        rows.push(
            Row::new("2-workers", "attempts on 2 cores against 1, worker processes", twice(Side::Workers), "×")
                .limit(twice(Side::Bare))
                .reach(&[Goal::AtLeast(1.85)]),
        );
    } else {
        rows.extend(["2", "2-workers"].map(|id| Row::missing(id, "there is one core here")));
    }
    let goals = [Goal::RatioAtLeast(0.5), Goal::AtLeast(40_000.0)];
    let (of_workers, of_pool) = middle(pairs(workers, pool, |rates| rates.of_cpu));
    let what = "attempts of a tiny command, worker process, per second of 1 core; the limit is the pool";
    rows.push(Row::new("2b", what, of_workers, "1/s").limit(of_pool).reach(&goals));
    Ok(rows)
}

/// One of the sides, on threads that have their cores and no others.
struct Measured {
    ask: std::sync::mpsc::Sender<Duration>,
    answer: std::sync::mpsc::Receiver<Result<Rates, BenchError>>,
    rates: Vec<Rates>,
}

/// Attempts per second …
#[derive(Clone, Copy)]
struct Rates {
    of_wall: f64,
    /// … of CPU time, of all threads and processes.
    of_cpu: f64,
}

impl Measured {
    fn start(side: Side, cores: &[usize], guest: &Guest) -> Result<Self, BenchError> {
        let ((ask, asked), (reply, answer)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
        let (cores, guest) = (cores.to_vec(), guest.clone());
        std::thread::Builder::new().name("bellcage-bench".to_owned()).spawn(move || {
            // Whoever is started from here stays there too. Where that is not allowed, the machine decides.
            let _ = sched_setaffinity(None, &set(&cores));
            let mut rate = match side.rate(cores.len(), &guest) {
                Ok(rate) => rate,
                Err(error) => return drop(reply.send(Err(error))),
            };
            asked.into_iter().for_each(|time| drop(reply.send(rate(time))));
        })?;
        Ok(Self { ask, answer, rates: Vec::new() })
    }

    fn turn(&mut self, time: Duration, counts: bool) -> Result<(), BenchError> {
        let _ = self.ask.send(time);
        let rate = self.answer.recv().unwrap_or(Err(BenchError::Ended))?;
        if counts {
            self.rates.push(rate);
        }
        Ok(())
    }
}

type Rate = Box<dyn FnMut(Duration) -> Result<Rates, BenchError>>;

/// Counts what `attempts` gives in a time, in `pids` and this process.
fn counted(pids: &[u32], attempts: impl FnOnce() -> Result<u64, BenchError>) -> Result<Rates, BenchError> {
    let (began, cpu) = (Instant::now(), cpu(pids));
    let done = attempts()? as f64;
    Ok(Rates { of_wall: done / began.elapsed().as_secs_f64(), of_cpu: done / self::cpu(pids).saturating_sub(cpu).as_secs_f64() })
}

/// CPU time so far of this process and of others.
pub(super) fn cpu(pids: &[u32]) -> Duration {
    let ours = clock_gettime(ClockId::ProcessCPUTime);
    let ours = Duration::new(ours.tv_sec.unsigned_abs(), u32::try_from(ours.tv_nsec).unwrap_or(0));
    let threads = pids.iter().flat_map(|pid| std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten());
    let nanos = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok();
    ours + Duration::from_nanos(threads.filter_map(nanos).sum())
}

impl Side {
    fn rate(self, workers: usize, guest: &Guest) -> Result<Rate, BenchError> {
        let engine = guest.engine.clone();
        let (executor, pids): (Arc<dyn Executor>, _) = match self {
            Self::Bare => return bare(workers),
            Self::Pool => (Arc::new(Pool::start(PoolConfig { workers, engine, ..PoolConfig::default() })?), Vec::new()),
            Self::Workers => {
                let workers = Workers::start(WorkersConfig { workers, engine, recycle_after: u64::MAX, ..WorkersConfig::new(guest.program.clone()) })?;
                let pids = workers.pids();
                (Arc::new(workers), pids)
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let artefact = guest.artefact.clone();
        Ok(Box::new(move |time| counted(&pids, || runtime.block_on(attempts_for(time, &*executor, &artefact, IN_FLIGHT * workers)))))
    }
}

fn bare(threads: usize) -> Result<Rate, BenchError> {
    let bare = || {
        let mut bare = Bare::new(IN_FLIGHT as u32)?;
        let compiled = bare.compile(TINY)?;
        // SAFETY: this engine has just compiled it.
        unsafe { bare.add(&compiled) }?;
        Ok(bare)
    };
    let bares = (0..threads).map(|_| bare()).collect::<Result<Vec<_>, crate::executor::bare::Error>>()?;
    Ok(Box::new(move |time| {
        counted(&[], || {
            let done = std::thread::scope(|scope| {
                let threads: Vec<_> = bares.iter().map(|bare| scope.spawn(move || bare.run_for(time))).collect();
                threads.into_iter().map(|thread| thread.join().map_err(|_| BenchError::Ended)).collect::<Result<Vec<_>, _>>()
            })?;
            Ok(done.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().sum())
        })
    }))
}

/// Of one component, for some time; how many.
async fn attempts_for(time: Duration, executor: &dyn Executor, component: &Artefact, in_flight: usize) -> Result<u64, BenchError> {
    let began = Instant::now();
    let (asked, in_time) = (Cell::new(0_u64), Cell::new(true));
    let next = || {
        if asked.get().is_multiple_of(IN_FLIGHT as u64) {
            in_time.set(began.elapsed() < time);
        }
        in_time.get().then(|| {
            asked.set(asked.get() + 1);
            request(component)
        })
    };
    attempts(executor, in_flight, next).await?;
    Ok(asked.get())
}

/// Attempts of what `next` gives, by so many who ask for one after the other.
pub(super) async fn attempts(executor: &dyn Executor, in_flight: usize, next: impl Fn() -> Option<AttemptRequest>) -> Result<(), BenchError> {
    let ask = || async {
        while let Some(request) = next() {
            check(&executor.run(request).await)?;
        }
        Ok::<_, BenchError>(())
    };
    let going: FuturesUnordered<_> = (0..in_flight).map(|_| ask()).collect();
    going.try_collect::<()>().await
}

/// What `work` gives on a thread that has one core, as have those that it starts.
pub(super) fn on_one_core<T: Send>(work: impl FnOnce() -> Result<T, BenchError> + Send) -> Result<T, BenchError> {
    std::thread::scope(|scope| {
        let work = || {
            let _ = sched_setaffinity(None, &set(&cores().into_iter().take(1).collect::<Vec<_>>()));
            work()
        };
        let thread = std::thread::Builder::new().name("bellcage-bench".to_owned()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or(Err(BenchError::Ended))
    })
}

fn check(report: &AttemptReport) -> Result<(), BenchError> {
    match report.outcome {
        Outcome::Succeeded => Ok(()),
        outcome => Err(BenchError::Run { outcome: outcome.to_string(), message: report.error.clone().unwrap_or_default().message }),
    }
}

pub(super) fn request(component: &Artefact) -> AttemptRequest {
    AttemptRequest {
        run: next_run(),
        attempt: 1,
        job: "tiny".to_owned(),
        component: component.clone(),
        entry: Entry::Main,
        args: serde_json::Value::Null,
        program: "tiny".to_owned(),
        env: Vec::new(),
        secrets: Vec::new(),
        directories: Vec::new(),
        stdin: Vec::new(),
        limits: Limits::default(),
        reach: Reach::default(),
        scheduled_at: Timestamp::UNIX_EPOCH,
        scheduled_local: None,
        checkpoint: None,
        deterministic: None,
        due_at: None,
        isolation: Isolation::Shared,
    }
}

/// Distinct, which is all that an executor asks of a run's id.
fn next_run() -> RunId {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    RunId(uuid::Uuid::from_u128(NEXT.fetch_add(1, Ordering::Relaxed).into()))
}

/// The cores that this process may use.
fn cores() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap_or_else(|_| set(&[0]));
    (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect()
}

fn set(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    set
}
