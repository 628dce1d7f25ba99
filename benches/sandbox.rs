//! How precisely the sandbox holds and what it costs: `cargo bench --bench sandbox [-- timeout sleeping metering bombs]`.
//!
//! * timeout: by how much a guest that spins, and one that sleeps, outlasts its limit
//! * sleeping: resident memory per sleeping guest (row 9 of `bellcage bench`)
//! * metering: what fuel and epochs cost, by the shape of the loop, against bare wasmtime without either
//! * bombs: the server's lateness (row 5 of `bellcage bench`) while two compile bombs compile

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bellcage::bench::{BenchOptions, Row};
use bellcage::component::EngineSettings;
use bellcage::component::cache::Cache;
use bellcage::component::compile::{Compiler, CompilerConfig};
use bellcage::executor::{AttemptRequest, Executor, Pool, PoolConfig, Workers, WorkersConfig};
use bellcage::job::{Entry, Limits, Outcome, RunId};
use jiff::SignedDuration;

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_bellcage"))
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let asked: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wants = |section: &str| asked.is_empty() || asked.iter().any(|one| one == section);
    if wants("timeout") {
        timeout().await;
    }
    if wants("sleeping") {
        for row in rows("9", true).await {
            println!("{}: {:.1} {} ({})", row.what, row.ours.unwrap_or_default(), row.unit, row.note.unwrap_or_default());
        }
    }
    if wants("metering") {
        metering();
    }
    if wants("bombs") {
        bombs().await;
    }
}

async fn rows(row: &str, quick: bool) -> Vec<Row> {
    let options = BenchOptions { quick, only: vec![row.to_owned()], peers: Default::default(), folder: folder().to_owned(), program: program() };
    bellcage::bench::run(&options, |_| {}).await.expect("it can be measured")
}

/// The `q`-quantile, 0 ≤ q ≤ 1.
fn quantile(figures: &mut [f64], q: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[(q * (figures.len() - 1) as f64).round() as usize]
}

// Timeouts.

async fn timeout() {
    let pool: Arc<dyn Executor> = Arc::new(Pool::start(PoolConfig { workers: 1, slots: 64, ..PoolConfig::default() }).expect("a pool"));
    let workers = WorkersConfig { workers: 1, slots: 64, ..WorkersConfig::new(program()) };
    let workers: Arc<dyn Executor> = Arc::new(Workers::start(workers).expect("a worker"));
    println!("by how much a guest outlasts its limit");
    for (name, executor) in [("pool", pool), ("workers", workers)] {
        for guest in ["spin", "sleep"] {
            let text = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guests/hostile/{guest}.wat"));
            let request = request(&wat::parse_file(text).expect("it is a component")).await;
            for (limit, times) in [(Duration::from_millis(50), 60), (Duration::from_secs(1), 8)] {
                let mut over = overshoots(&executor, &request, limit, times).await;
                let (median, most) = (quantile(&mut over, 0.5), quantile(&mut over, 0.99));
                println!("  {name:8} {guest:6} limit {limit:>5?}: median {median:6.2} ms, p99 {most:6.2} ms ({times} attempts)");
            }
        }
    }
}

/// Milliseconds, each of one attempt after the other.
async fn overshoots(executor: &Arc<dyn Executor>, request: &AttemptRequest, limit: Duration, times: usize) -> Vec<f64> {
    let timeout = SignedDuration::try_from(limit).expect("it is short");
    let limits = Limits { timeout, fuel: u64::MAX, ..Limits::default() };
    let mut over = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        let report = executor.run(AttemptRequest { run: RunId(uuid::Uuid::now_v7()), limits: limits.clone(), ..request.clone() }).await;
        assert_eq!(report.outcome, Outcome::Timeout);
        over.push((began.elapsed() - limit).as_secs_f64() * 1e3);
    }
    over
}

async fn request(component: &[u8]) -> AttemptRequest {
    let settings = EngineSettings::default();
    let cache = Cache::open(&folder().join("bench-artefacts"), &settings).expect("a cache");
    let (component, _) = cache.ensure(&Compiler::new(CompilerConfig::new(program()), settings), component).await.expect("it compiles");
    AttemptRequest::new(component, Entry::Main)
}

// Metering.

/// Loops by shape: each takes how often, and gives something that depends on all of it.
const LOOPS: &[(&str, &str)] = &[
    (
        "empty loop",
        "(func (export \"run\") (param $n i32) (result i32)
            (loop $l (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (local.get $n))",
    ),
    (
        "arithmetic, 16 operations a turn",
        "(func (export \"run\") (param $n i32) (result i32) (local $x i32)
            (loop $l
                (local.set $x (i32.xor (i32.mul (i32.add (local.get $x) (local.get $n)) (i32.const 31)) (i32.shr_u (local.get $x) (i32.const 7))))
                (local.set $x (i32.xor (i32.mul (i32.add (local.get $x) (i32.const 17)) (i32.const 37)) (i32.shr_u (local.get $x) (i32.const 5))))
                (local.set $x (i32.xor (i32.mul (i32.add (local.get $x) (i32.const 3)) (i32.const 41)) (i32.shr_u (local.get $x) (i32.const 3))))
                (local.set $x (i32.xor (i32.mul (i32.add (local.get $x) (i32.const 9)) (i32.const 43)) (i32.shr_u (local.get $x) (i32.const 11))))
                (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (local.get $x))",
    ),
    (
        "sieve, memory",
        "(memory 4)
         (func (export \"run\") (param $n i32) (result i32) (local $p i32) (local $m i32)
            (loop $again
                (local.set $p (i32.const 2))
                (loop $outer
                    (local.set $m (i32.mul (local.get $p) (local.get $p)))
                    (loop $inner
                        (i32.store8 (local.get $m) (i32.add (i32.load8_u (local.get $m)) (i32.const 1)))
                        (br_if $inner (i32.lt_u (local.tee $m (i32.add (local.get $m) (local.get $p))) (i32.const 250000))))
                    (br_if $outer (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 1))) (i32.const 500))))
                (br_if $again (i32.gt_s (local.tee $n (i32.sub (local.get $n) (i32.const 1500000))) (i32.const 0))))
            (i32.load8_u (i32.const 249999)))",
    ),
    (
        "calls",
        "(func $fib (param $n i32) (result i32)
            (if (result i32) (i32.lt_u (local.get $n) (i32.const 2))
                (then (local.get $n))
                (else (i32.add (call $fib (i32.sub (local.get $n) (i32.const 1))) (call $fib (i32.sub (local.get $n) (i32.const 2)))))))
         (func (export \"run\") (param $n i32) (result i32) (local $x i32)
            (loop $l
                (local.set $x (i32.add (local.get $x) (call $fib (i32.const 20))))
                (br_if $l (i32.gt_s (local.tee $n (i32.sub (local.get $n) (i32.const 22000))) (i32.const 0))))
            (local.get $x))",
    ),
    (
        "floats",
        "(func (export \"run\") (param $n i32) (result i32) (local $x f64) (local $y f64) (local $t f64)
            (loop $l
                (local.set $t (f64.add (f64.sub (f64.mul (local.get $x) (local.get $x)) (f64.mul (local.get $y) (local.get $y))) (f64.const -0.5)))
                (local.set $y (f64.add (f64.mul (f64.mul (local.get $x) (local.get $y)) (f64.const 2)) (f64.const 0.3)))
                (local.set $x (local.get $t))
                (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
            (i32.trunc_sat_f64_s (f64.mul (local.get $x) (f64.const 1e6))))",
    ),
];

const METERS: [(&str, bool, bool); 4] = [("none", false, false), ("fuel", true, false), ("epoch", false, true), ("both", true, true)];
const TURNS: i32 = 20_000_000;
const ROUNDS: usize = 7;

fn metering() {
    println!("what metering costs, in times of the same loop without any (median of {ROUNDS} rounds in turns)");
    println!("  {:34} {:>9} {:>6} {:>6} {:>6}", "loop", "none", "fuel", "epoch", "both");
    for (name, body) in LOOPS {
        let module = wat::parse_str(format!("(module {body})")).expect("a module");
        let mut metered: Vec<_> = METERS.iter().map(|(_, fuel, epoch)| Metered::new(&module, *fuel, *epoch)).collect();
        let mut times = vec![Vec::new(); METERS.len()];
        for _ in 0..ROUNDS {
            for (one, times) in metered.iter_mut().zip(&mut times) {
                times.push(one.run());
            }
        }
        let medians: Vec<_> = times.iter_mut().map(|times| quantile(times, 0.5)).collect();
        let [none, fuel, epoch, both] = *medians else { unreachable!("there are four") };
        println!("  {name:34} {:>6.1} ms {:>6.2} {:>6.2} {:>6.2}", none * 1e3, fuel / none, epoch / none, both / none);
    }
}

struct Metered {
    store: wasmtime::Store<()>,
    run: wasmtime::TypedFunc<i32, i32>,
    fuel: bool,
}

impl Metered {
    fn new(module: &[u8], fuel: bool, epoch: bool) -> Self {
        let mut config = wasmtime::Config::new();
        config.consume_fuel(fuel).epoch_interruption(epoch);
        let engine = wasmtime::Engine::new(&config).expect("an engine");
        let module = wasmtime::Module::new(&engine, module).expect("it compiles");
        let mut store = wasmtime::Store::new(&engine, ());
        if fuel {
            store.set_fuel(u64::MAX).expect("it has fuel");
        }
        if epoch {
            store.set_epoch_deadline(u64::MAX / 2);
        }
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).expect("an instance");
        let run = instance.get_typed_func(&mut store, "run").expect("it is exported");
        Self { store, run, fuel }
    }

    /// Seconds.
    fn run(&mut self) -> f64 {
        if self.fuel {
            self.store.set_fuel(u64::MAX).expect("it has fuel");
        }
        let began = Instant::now();
        std::hint::black_box(self.run.call(&mut self.store, TURNS).expect("it returns"));
        began.elapsed().as_secs_f64()
    }
}

// Compile bombs.

/// A function whose loops each reach over all of its locals: small to send, long to compile. The number makes it another one.
fn bomb(number: usize) -> Vec<u8> {
    let (depth, locals) = (3_000, 300);
    let touch: String = (0..locals).map(|n| format!("(local.set {n} (i32.add (local.get {n}) (local.get {})))", (n + 1) % locals)).collect();
    let body = format!("{} {touch} (br_if 0 (local.get 0)) {}", "(loop ".repeat(depth), ")".repeat(depth));
    let text = format!(
        r#"(component
            (core module $m (func (export "run") (result i32) (local {}) {body} (i32.const {number})))
            (core instance $i (instantiate $m))
            (func (export "bomb") (result s32) (canon lift (core func $i "run"))))"#,
        "i32 ".repeat(locals)
    );
    wat::parse_str(text).expect("a component")
}

async fn bombs() {
    let p99 = |rows: &[Row]| rows.iter().find(|row| row.id == "5").and_then(|row| row.ours).expect("row 5 was measured");
    let usual = p99(&rows("5", false).await);
    let over = Arc::new(AtomicBool::new(false));
    let compiling: Vec<_> = (0..2).map(|lane| tokio::spawn(compile_bombs(lane, over.clone()))).collect();
    let beside = p99(&rows("5", false).await);
    over.store(true, Ordering::Release);
    let mut compiled = 0;
    for lane in compiling {
        compiled += lane.await.expect("it ends");
    }
    println!("lateness p99 at 1,000 firings/s: {usual:.2} ms; while two compile bombs compile: {beside:.2} ms, {:.2} times", beside / usual);
    println!("  ({compiled} bombs were refused for their CPU time or compiled meanwhile)");
}

/// One after the other; how many.
async fn compile_bombs(lane: usize, over: Arc<AtomicBool>) -> usize {
    let (settings, kept) = (EngineSettings::default(), folder().join(format!("bombs-{}-{lane}", std::process::id())));
    let cache = Cache::open(&kept, &settings).expect("a cache");
    let compiler = Compiler::new(CompilerConfig::new(program()), settings);
    let mut count = 0;
    while !over.load(Ordering::Acquire) {
        // To make one keeps a thread for some milliseconds, which are not the compiler's.
        let bomb = tokio::task::spawn_blocking(move || bomb(2 * count + lane)).await.expect("a component");
        // Refused or not: it is what it costs meanwhile that counts.
        let _ = tokio::time::timeout(Duration::from_secs(10), cache.ensure(&compiler, &bomb)).await;
        count += 1;
    }
    let _ = std::fs::remove_dir_all(kept);
    count
}
