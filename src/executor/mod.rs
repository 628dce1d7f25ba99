//! Executors: where attempts run. An executor takes a request, gives a report, and remembers nothing.
//!
//! What crosses this seam is plain serialisable data, so that an executor may be threads of this process (`pool`)
//! or other processes. An executor never reads or writes jobs and runs, and decides nothing about them.
//! Every attempt gets a fresh instance in a fresh store with every limit on; it is dropped when the attempt ends,
//! however it ends.
//!
//! ```text
//! pool      slots, cancelling
//! route     which worker an attempt goes to
//! replies   how reports come back from …
//! worker    … a thread with an engine, which keeps components loaded and runs many attempts at once, …
//! crew      … on tasks that run one after the other, each in a …
//! sandbox   … fresh store: guest (what it is given), limiter, output, host (what it may import), signal (what stops it),
//!           news (what it tells while it runs)
//! budget    … who share what all guests may hold in memory
//! turns     … which give way to each other and to what arrives
//! pulse     … and what shows that none gives way just now
//! outside   the way out: what a guest may ask that somebody outside answers
//! ending    how it ended: one outcome, with the limit that fired
//! determinism   what is fixed in an attempt that can be repeated
//! ```

/// Not an executor, but what the benchmark holds against them.
#[path = "../../benches/limits/wasmtime.rs"]
pub mod bare;
mod budget;
mod confine;
mod crew;
mod determinism;
pub mod directory;
mod ending;
mod folding;
mod guest;
mod host;
mod limiter;
mod news;
mod output;
pub mod outside;
pub mod pool;
mod pulse;
mod replies;
mod route;
mod running;
mod sandbox;
mod signal;
mod ticker;
mod turns;
mod value;
mod worker;
pub mod workers;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::component::Artefact;
use crate::job::{Attempt, AttemptLog, Entry, Isolation, Limits, Outcome, Progress, Receipt, RetryAdvice, RunError, RunId, RunResult, SecretText};

pub use budget::{memory_there_is, usual_memory};
pub use confine::{Confinement, Layer, Missing, landlock_abi};
pub use determinism::Determinism;
pub use directory::Directory;
pub use outside::{Answer, Asker, Call, HttpRefusal, HttpRequest, HttpResponse, KeyValueCall, Network, Outside, Raw, Reach, Refusal, Space};
pub use pool::{Pool, PoolConfig, PoolError, compile_child_main, examine_upload};
pub use worker::pagemap_scan_is_offered;
pub use workers::{StartError, Workers, WorkersConfig, WorkersError, scratch_is_offered};

/// What a program that embeds bellcage calls first in its `main`: bellcage starts that program again as the child that compiles
/// a component, and as a worker. Where this is such a process, it does its work here and the exit code is returned.
pub fn process_main() -> Option<std::process::ExitCode> {
    match std::env::args_os().nth(1) {
        Some(first) if first == crate::component::compile::SUBCOMMAND => Some(compile_child_main()),
        Some(first) if first == workers::SUBCOMMAND => Some(workers::worker_main()),
        _ => None,
    }
}

/// Everything an attempt needs, and all it gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttemptRequest {
    pub run: RunId,
    /// From 1.
    pub attempt: u32,
    /// The job's id; without a job, the program's name.
    pub job: String,
    pub component: Artefact,
    pub entry: Entry,
    /// argv (without the program's name) for `main`: an array of strings; else by name or position. Null: none.
    pub args: serde_json::Value,
    /// The program's name as a command sees it (`argv[0]`).
    pub program: String,
    pub env: Vec<(String, String)>,
    /// Variables beside `env` whose values nobody else is shown.
    #[serde(default)]
    pub secrets: Vec<(String, SecretText)>,
    /// With any, the attempt runs in a process of its own, whatever `isolation` says.
    #[serde(default)]
    pub directories: Vec<Directory>,
    pub stdin: Vec<u8>,
    pub limits: Limits,
    /// What it may reach outside of its sandbox.
    #[serde(default)]
    pub reach: Reach,
    #[serde(default)]
    pub isolation: Isolation,
    pub scheduled_at: Timestamp,
    /// The same in RFC 3339, in the time zone of the job's trigger; `None`: in UTC.
    #[serde(default)]
    pub scheduled_local: Option<String>,
    /// What earlier attempts of the run saved last.
    #[serde(default)]
    pub checkpoint: Option<Vec<u8>>,
    /// Repeatable, from these. Refused by an executor whose engine is not (`EngineSettings::deterministic`).
    #[serde(default)]
    pub deterministic: Option<Determinism>,
    /// When the run could have started, for the receipt's lateness; `None`: no lateness is reported.
    pub due_at: Option<Timestamp>,
}

impl AttemptRequest {
    /// The first attempt of a new run that no job asked for: no arguments, nothing granted, the default limits.
    pub fn new(component: Artefact, entry: Entry) -> Self {
        Self {
            run: RunId(uuid::Uuid::now_v7()),
            attempt: 1,
            job: "guest".to_owned(),
            component,
            entry,
            args: serde_json::Value::Null,
            program: "guest".to_owned(),
            env: Vec::new(),
            secrets: Vec::new(),
            directories: Vec::new(),
            stdin: Vec::new(),
            limits: Limits::default(),
            reach: Reach::default(),
            isolation: Isolation::default(),
            scheduled_at: Timestamp::UNIX_EPOCH,
            scheduled_local: None,
            checkpoint: None,
            deterministic: None,
            due_at: None,
        }
    }

    /// `args` as a command takes them.
    pub(crate) fn argv(&self) -> Result<Vec<&str>, String> {
        let Self { args, .. } = self;
        let wrong = || format!("a command takes its arguments as an array of strings, not as {args}");
        match args {
            serde_json::Value::Null => Ok(Vec::new()),
            serde_json::Value::Array(items) => items.iter().map(|item| item.as_str().ok_or_else(wrong)).collect(),
            _ => Err(wrong()),
        }
    }

    /// Whether it runs in a process of its own.
    pub fn is_alone(&self) -> bool {
        self.isolation == Isolation::ProcessPerRun || !self.directories.is_empty()
    }
}

/// How an attempt ended and what it used.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttemptReport {
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    pub outcome: Outcome,
    pub exit_code: Option<i32>,
    pub error: Option<RunError>,
    pub result: Option<RunResult>,
    pub log: AttemptLog,
    pub receipt: Receipt,
    /// What the guest said of another attempt.
    #[serde(default)]
    pub retry: Option<RetryAdvice>,
    /// The last that it told of how far it was.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// What it saved last for later attempts, where it saved anything.
    #[serde(default)]
    pub checkpoint: Option<Vec<u8>>,
}

impl AttemptReport {
    /// Makes the result of a command the value that it printed in JSON. One that succeeded and printed anything else has
    /// failed; its result stays the text, and so does that of one that had failed already.
    pub fn read_stdout_as_json(&mut self) {
        let Some(RunResult::Text(text)) = &self.result else { return };
        match serde_json::from_slice(text) {
            Ok(value) => self.result = Some(RunResult::Value(value)),
            Err(_) if self.outcome != Outcome::Succeeded => {}
            Err(why) => {
                let message = format!("printed a result that is not one JSON document: {why}");
                self.outcome = Outcome::Failed;
                self.error = Some(RunError { code: "result-not-json".to_owned(), message, ..RunError::default() });
            }
        }
    }

    /// The record of attempt `number`, to be kept.
    pub fn into_attempt(self, number: u32) -> Attempt {
        let Self { started_at, ended_at, outcome, exit_code, error, result, log, receipt, retry: _, progress, checkpoint: _ } = self;
        Attempt { number, started_at, ended_at, outcome, exit_code, error, receipt, result, log, progress }
    }
}

/// Runs attempts.
#[async_trait]
pub trait Executor: Send + Sync + 'static {
    /// Runs one attempt to its end. Every failure of the guest, its limits or its artefact is an outcome in the report,
    /// never an error or a panic here. Waits for a free slot when there is none. Dropping the future cancels the attempt.
    async fn run(&self, request: AttemptRequest) -> AttemptReport;
    /// Slots for attempts, in all.
    fn slots(&self) -> usize;
    /// Of these, attempts that may have a process of their own at once (`AttemptRequest::is_alone`); 0: none may ever.
    fn processes(&self) -> usize {
        0
    }
    /// Bytes of memory that the guests of all attempts may hold together; `None`: not bounded.
    fn memory(&self) -> Option<u64> {
        None
    }
    /// Bytes of memory that the guest of one attempt can have at most, be it beside others or, `alone`, in a process of its own, where its
    /// scratch directory is of these bytes too, and half of them at most. `None`: not bounded.
    fn memory_of_one(&self, _alone: bool) -> Option<u64> {
        None
    }
    /// Asks that a running attempt of `run` end as cancelled, with this reason. Unknown runs are ignored.
    fn cancel(&self, run: RunId, reason: &str);
    /// What a running attempt of `run` last told of how far it is.
    fn progress(&self, _run: RunId) -> Option<Progress> {
        None
    }
    /// Waits until running attempts have told more, and gives the newest of each. For one caller, who decides how often to
    /// ask again: what is told in between is left out.
    async fn fresh_progress(&self) -> Vec<(RunId, Progress)> {
        std::future::pending().await
    }
}
