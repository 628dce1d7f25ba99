//! Attempts of a tiny command per second, by executor, and what a process costs: `cargo bench --bench executors`.
//!
//! Every figure includes who asks (one thread, 256 attempts at once). Beside what went through in a second stands the CPU
//! time of all processes together: what one core does when it does nothing else, however busy the machine is.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bellcage::bench::median;
use bellcage::component::EngineSettings;
use bellcage::component::cache::Cache;
use bellcage::component::compile::{Compiler, CompilerConfig};
use bellcage::executor::{AttemptReport, AttemptRequest, Executor, Pool, PoolConfig, Workers, WorkersConfig};
use bellcage::job::{Entry, Isolation, Outcome, RunId};
use tokio::task::JoinSet;

const AT_ONCE: usize = 256;
const ROUND: Duration = Duration::from_millis(1_500);
/// The median of so many is shown.
const ROUNDS: usize = 5;

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_bellcage"))
}

/// An executor, and the processes that it has besides this one.
struct Row {
    name: &'static str,
    executor: Arc<dyn Executor>,
    pids: Vec<u32>,
    isolation: Isolation,
    at_once: usize,
}

fn workers(name: &'static str, workers: usize, isolation: Isolation, at_once: usize) -> Row {
    let workers = Workers::start(WorkersConfig { workers, slots: 512, recycle_after: u64::MAX, ..WorkersConfig::new(program()) }).expect("worker processes");
    Row { name, pids: workers.pids(), executor: Arc::new(workers), isolation, at_once }
}

fn pool(name: &'static str, workers: usize) -> Row {
    let pool = Pool::start(PoolConfig { workers, slots: 512, ..PoolConfig::default() }).expect("a pool");
    Row { name, executor: Arc::new(pool), pids: Vec::new(), isolation: Isolation::Shared, at_once: AT_ONCE }
}

/// CPU time, in seconds, of this process, of those that it has waited for, and of `pids`.
fn cpu(pids: &[u32]) -> f64 {
    let ticks = |stat: &str, fields: std::ops::Range<usize>| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{stat}/stat")).expect("the process is there");
        let after_name = text.rsplit(") ").next().unwrap_or_default();
        after_name.split(' ').skip(fields.start).take(fields.len()).filter_map(|field| field.parse::<u64>().ok()).sum()
    };
    let others: u64 = pids.iter().map(|pid| ticks(&pid.to_string(), 11..13)).sum();
    (ticks("self", 11..15) + others) as f64 / 100.0
}

async fn request() -> AttemptRequest {
    let settings = EngineSettings::default();
    let cache = Cache::open(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-artefacts"), &settings).expect("a cache");
    let tiny = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/demo/tiny.wasm")).expect("the tiny command");
    let (component, _) = cache.ensure(&Compiler::new(CompilerConfig::new(program()), settings), &tiny).await.expect("it compiles");
    AttemptRequest { program: "tiny".to_owned(), ..AttemptRequest::new(component, Entry::Main) }
}

/// Attempts in one round: per second, and per second of CPU time.
async fn rates(row: &Row, request: &AttemptRequest) -> (f64, f64) {
    let (began, cpu_before) = (Instant::now(), cpu(&row.pids));
    let mut askers = JoinSet::new();
    for _ in 0..row.at_once {
        let (executor, request) = (row.executor.clone(), AttemptRequest { isolation: row.isolation, ..request.clone() });
        askers.spawn(async move {
            let mut done = 0u64;
            while began.elapsed() < ROUND {
                let request = AttemptRequest { run: next_run(), ..request.clone() };
                assert_eq!(executor.run(request).await.outcome, Outcome::Succeeded);
                done += 1;
            }
            done
        });
    }
    let done = askers.join_all().await.into_iter().sum::<u64>() as f64;
    (done / began.elapsed().as_secs_f64(), done / (cpu(&row.pids) - cpu_before))
}

/// Distinct, which is all that an executor asks of a run's id.
fn next_run() -> RunId {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    RunId(uuid::Uuid::from_u128(NEXT.fetch_add(1, Ordering::Relaxed).into()))
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let request = request().await;
    let rows = [
        pool("pool, 1 worker", 1),
        pool("pool, 2 workers", 2),
        workers("workers, 1 process", 1, Isolation::Shared, AT_ONCE),
        workers("workers, 2 processes", 2, Isolation::Shared, AT_ONCE),
        workers("a process for each run", 1, Isolation::ProcessPerRun, 4),
    ];
    // In turn, so that what the machine does meanwhile falls on all of them.
    let mut figures = vec![(Vec::new(), Vec::new()); rows.len()];
    for _ in 0..ROUNDS {
        for (figures, row) in figures.iter_mut().zip(&rows) {
            let (wall, cpu) = rates(row, &request).await;
            figures.0.push(wall);
            figures.1.push(cpu);
        }
    }
    let figures: Vec<_> = figures.into_iter().map(|(wall, cpu)| (median(wall), median(cpu))).collect();
    for (row, (wall, cpu)) in rows.iter().zip(&figures) {
        let (walls, cpus) = (wall / figures[0].0, cpu / figures[0].1);
        println!("{:24} {wall:>8.0} attempts/s ({walls:.2} of the pool's one worker)   {cpu:>8.0} per second of CPU ({cpus:.2})", row.name);
    }
    println!("two processes are {:.2} times one", figures[3].0 / figures[2].0);
    println!("a request and a report as JSON, both ways: {:.1} us", json(&rows[0], &request).await);
    let started = (0..20).map(|_| {
        let began = Instant::now();
        drop(std::hint::black_box(Workers::start(WorkersConfig { workers: 1, slots: 256, ..WorkersConfig::new(program()) }).expect("a worker")));
        began.elapsed().as_secs_f64() * 1e3
    });
    println!("a worker with 256 slots is started and ended in {:.1} ms", median(started.collect()));
}

/// Microseconds that JSON would take in place of what travels between the processes.
async fn json(row: &Row, request: &AttemptRequest) -> f64 {
    let report = row.executor.run(request.clone()).await;
    let before = cpu(&[]);
    const TIMES: u32 = 50_000;
    for _ in 0..TIMES {
        let text = serde_json::to_vec(std::hint::black_box(request)).expect("it has a form");
        std::hint::black_box(serde_json::from_slice::<AttemptRequest>(&text).expect("it was one"));
        let text = serde_json::to_vec(std::hint::black_box(&report)).expect("it has a form");
        std::hint::black_box(serde_json::from_slice::<AttemptReport>(&text).expect("it was one"));
    }
    (cpu(&[]) - before) / f64::from(TIMES) * 1e6
}
