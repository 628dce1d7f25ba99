//! What starting a guest of each language costs: `cargo bench --bench languages`, after `guests/setup && guests/build`.
//!
//! ```text
//! push     compiling it, once, in the compile child: CPU time
//! cold     its first attempt in a fresh process: the stored artefact is authenticated, mapped, and run
//! start    later ones: from nothing to an instance whose entry is about to be called (`instantiate_us` of the receipt)
//! run      later ones, with the guest's work: until its entry has returned (`wall_us`)
//! ```
//! Beside start and run stands wasmtime alone (bare.rs), which has turns with the executor in this one process, on the same core: of the
//! round whose ratio is the median, both sides' medians. What the executor needs to hand an attempt to its thread is in the bench `executors`. Names on the command line select guests. What was compiled is kept for the next time (in
//! target/tmp/bench-languages), with what it took.

mod bare;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bellcage::bench::{median, middle};
use bellcage::component::cache::Cache;
use bellcage::component::compile::{Compiler, CompilerConfig};
use bellcage::component::{Artefact, EngineSettings};
use bellcage::executor::{AttemptReport, AttemptRequest, Executor as _, Pool, PoolConfig};
use bellcage::job::{Digest, Entry, Outcome};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};
use wasmtime::component::Val;

use bare::{Bare, Call};

/// Short ones: a machine that others use too may be half as fast from one second to the next.
const ROUNDS: usize = 70;
const ROUND: Duration = Duration::from_millis(10);
/// Fresh processes for the cold start.
const COLD: usize = 5;

struct Guest {
    language: &'static str,
    name: &'static str,
    call: Call,
    /// The same for the executor.
    entry: Entry,
    args: Value,
}

fn command(language: &'static str, name: &'static str, args: &[&str], stdin: &[u8]) -> Guest {
    let call = Call::Main { args: args.iter().map(|&arg| arg.to_owned()).collect(), stdin: stdin.to_vec() };
    Guest { language, name, call, entry: Entry::Main, args: args.into() }
}

fn function(language: &'static str, name: &'static str, export: &'static str, args: &[&str]) -> Guest {
    let call = Call::Function { name: export, args: args.iter().map(|&arg| Val::String(arg.to_owned())).collect() };
    Guest { language, name, call, entry: Entry::Function(export.into()), args: args.into() }
}

fn job(language: &'static str, name: &'static str, args: Value) -> Guest {
    Guest { language, name, call: Call::Job { input: args.to_string() }, entry: Entry::Function("run".into()), args }
}

fn guests() -> Vec<Guest> {
    let picture = [b"P6\n100 50\n255\n".as_slice(), &[100; 15_000]].concat();
    let rows = json!([{ "region": "north", "amount": 3 }, { "region": "south", "amount": 1 }]);
    vec![
        command("Rust", "thumbnail", &["4"], &picture),
        job("Rust", "wordcount", json!({ "documents": [{ "name": "a", "text": "to be or not to be" }], "top": 2 })),
        command("Python", "report", &[], b"region,amount\nnorth,12.50\nsouth,3\nnorth,0.25\n"),
        job("Python", "outliers", json!({ "series": { "mon": 12.0, "tue": 11.5, "wed": 48.0 }, "sigmas": 1.0 })),
        command("JavaScript", "redact", &["<hidden>"], b"from ada@example.org at 10.0.0.7: ok\n"),
        job("JavaScript", "summarise", json!({ "rows": rows, "by": "region", "sum": "amount" })),
        job("TypeScript", "markdown", json!({ "markdown": "# Today\n\n- *one* & two\n- `three`" })),
        command("C", "checksum", &[], b"123456789"),
        job("C", "checksum-job", json!({ "text": "123456789" })),
        command("Go", "scan", &[r"(\w)=(\d+)"], b"a=1\nb\nc=22\n"),
        job("Go", "scan-job", json!({ "text": "a=1\nb\nc=22\n", "pattern": r"\d+" })),
        command("Zig", "textstats-command", &[], b"two words\n"),
        function("Zig", "textstats", "analyse", &["two words\n"]),
        function("AssemblyScript", "distance", "distance", &["kitten", "sitting"]),
        command("text", "upper", &[], b"abc xyz\n"),
        function("text", "luhn", "valid", &["4539 1488 0343 6467"]),
    ]
}

fn built(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guests/out/{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}; run: guests/setup && guests/build", path.display()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-languages")
}

fn cache() -> Cache {
    Cache::open(&folder(), &EngineSettings::default()).expect("a cache")
}

fn executor() -> Pool {
    Pool::start(PoolConfig { workers: 1, slots: 1, ..PoolConfig::default() }).expect("an executor")
}

fn request(guest: &Guest, component: Artefact) -> AttemptRequest {
    AttemptRequest {
        args: guest.args.clone(),
        stdin: if let Call::Main { stdin, .. } = &guest.call { stdin.clone() } else { Vec::new() },
        ..AttemptRequest::new(component, guest.entry.clone())
    }
}

async fn attempt(pool: &Pool, request: &AttemptRequest) -> AttemptReport {
    let report = pool.run(request.clone()).await;
    assert_eq!(report.outcome, Outcome::Succeeded, "{:?}", report.error);
    report
}

/// What the child process of a cold start does: microseconds from the first look at the artefact to the report.
async fn cold_child(name: &str) {
    let guest = guests().into_iter().find(|guest| guest.name == name).expect("a guest");
    let digest = Digest::of(&built(name));
    let (pool, cache) = (executor(), cache());
    let began = Instant::now();
    let (artefact, _) = cache.find(&digest).expect("the cache answers").expect("it was compiled");
    attempt(&pool, &request(&guest, artefact)).await;
    println!("{}", began.elapsed().as_micros());
}

/// The artefact, and the seconds of CPU time that making it took, now or before.
async fn push(name: &str, component: &[u8], cache: &Cache, compiler: &Compiler) -> (Artefact, f64) {
    let note = folder().join(format!("{name}.push"));
    if let (Ok(Some((artefact, _))), Ok(took)) = (cache.find(&Digest::of(component)), std::fs::read_to_string(&note)) {
        return (artefact, took.trim().parse().expect("seconds"));
    }
    let before = children_cpu();
    let (artefact, _) = cache.ensure(compiler, component).await.expect("it compiles");
    let took = children_cpu() - before;
    std::fs::write(note, took.to_string()).expect("the folder can be written");
    (artefact, took)
}

/// Seconds of CPU time of the child processes that have ended.
fn children_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this process");
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    after_name.split(' ').skip(13).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn cold(name: &str) -> f64 {
    let child = || {
        let output = Command::new(std::env::current_exe().expect("this program")).args(["cold", name]).output().expect("it starts again");
        String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().expect("it prints a number")
    };
    median((0..COLD).map(|_| child()).collect())
}

/// Microseconds of each attempt of a turn.
#[derive(Default)]
struct Turn {
    start: Vec<f64>,
    run: Vec<f64>,
}

impl Turn {
    fn add(&mut self, start: Duration, run: Duration) {
        self.start.push(start.as_secs_f64() * 1e6);
        self.run.push(run.as_secs_f64() * 1e6);
    }
}

/// What this thread does, and those that it starts, has one core; dropped, this thread has those again that it had. (At a time one core may be
/// half as fast as another, where others use it too.)
struct OneCore(CpuSet);

impl OneCore {
    fn take() -> Self {
        let had = sched_getaffinity(None).expect("its cores");
        let mut one = CpuSet::new();
        one.set((0..CpuSet::MAX_CPU).find(|core| had.is_set(*core)).expect("a core"));
        sched_setaffinity(None, &one).expect("one of them");
        Self(had)
    }
}

impl Drop for OneCore {
    fn drop(&mut self) {
        sched_setaffinity(None, &self.0).expect("those it had");
    }
}

async fn measure(guest: &Guest, cache: &Cache, compiler: &Compiler) {
    let bytes = built(guest.name);
    let (artefact, push) = push(guest.name, &bytes, cache, compiler).await;
    let cold = cold(guest.name);

    let one_core = OneCore::take();
    let pool = executor();
    // SAFETY: it is in our cache, and nobody else writes there.
    let bare = unsafe { Bare::load(&artefact.path, &guest.call) }.unwrap_or_else(|e| panic!("{}: {e:#}", guest.name));
    let request = request(guest, artefact.clone());
    let ours_gave = attempt(&pool, &request).await;
    let bare_gave = bare.run(&guest.call).await.unwrap_or_else(|e| panic!("{}: {e:#}", guest.name));
    same_work(guest, &ours_gave, &bare_gave.result);

    let (mut starts, mut runs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (mut ours, mut alone) = (Turn::default(), Turn::default());
        let began = Instant::now();
        while began.elapsed() < ROUND {
            let receipt = attempt(&pool, &request).await.receipt;
            ours.add(Duration::from_micros(receipt.instantiate_us), Duration::from_micros(receipt.wall_us));
        }
        let began = Instant::now();
        while began.elapsed() < ROUND {
            let done = bare.run(&guest.call).await.expect("as before");
            alone.add(done.instantiate, done.wall);
        }
        starts.push((median(ours.start), median(alone.start)));
        runs.push((median(ours.run), median(alone.run)));
    }
    drop(one_core);
    let size = |bytes: u64| if bytes < 100_000 { format!("{:.1} KB", bytes as f64 / 1e3) } else { format!("{:.1} MB", bytes as f64 / 1e6) };
    let kind = match guest.call {
        Call::Main { .. } => "command",
        Call::Function { .. } => "function",
        Call::Job { .. } => "typed job",
    };
    let ((start, start_bare), (whole, whole_bare)) = (middle(starts), middle(runs));
    println!(
        "| {} | {} ({kind}) | {} | {} | {push:.2} s | {:.1} ms | {start:.0} | {start_bare:.0} | {:.2} | {whole:.0} | {whole_bare:.0} | {:.2} |",
        guest.language,
        guest.name,
        size(bytes.len() as u64),
        size(std::fs::metadata(&artefact.path).map_or(0, |about| about.len())),
        cold / 1e3,
        start / start_bare,
        whole / whole_bare,
    );
}

/// A comparison of two that do different things would mean nothing.
fn same_work(guest: &Guest, ours: &AttemptReport, bare: &str) {
    let result = ours.result.as_ref().expect("a result").to_json();
    match guest.call {
        Call::Main { .. } => assert_eq!(result.as_str(), Some(bare), "{}", guest.name),
        Call::Job { .. } => assert_eq!(result, serde_json::from_str::<Value>(bare).expect("JSON"), "{}", guest.name),
        // Both were told by the same artefact with the same arguments; the forms differ.
        Call::Function { .. } => assert!(!bare.is_empty()),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let asked: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if let [first, name] = asked.as_slice()
        && first == "cold"
    {
        return cold_child(name).await;
    }
    let cache = cache();
    let compiler = Compiler::new(CompilerConfig::new(PathBuf::from(env!("CARGO_BIN_EXE_bellcage"))), EngineSettings::default());
    println!("| language | guest | component | artefact | push | cold | start, µs | bare | ratio | run, µs | bare | ratio |");
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for guest in guests().iter().filter(|guest| asked.is_empty() || asked.iter().any(|name| name == guest.name)) {
        measure(guest, &cache, &compiler).await;
    }
}
