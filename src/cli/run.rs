//! `bellcage run`: one attempt, now, in this process, with every limit on; no server and no store.
//!
//! What was compiled is kept in the user's cache directory, authenticated as a server's is, so that a second run
//! compiles nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::clock::{Clock, System};
use crate::component::cache::Cache;
use crate::component::compile::{Compiler, CompilerConfig};
use crate::component::{EngineSettings, EntryError, Inspection};
use crate::config::{self, Config};
use crate::executor::{AttemptReport, AttemptRequest, Confinement, Determinism, Executor, Pool, PoolConfig, Reach};
use crate::job::{Entry, GrantError, Grants, Isolation, JobKey, JobSpec, LimitCaps, Outcome, RunId, RunResult, SpecError, Stdout, TenantId};
use crate::outside::{World, WorldConfig};
use crate::trigger::parse_instant;

use super::error::{CliError, Exit, Result};
use super::grants::GrantFlags;
use super::job::{StdoutFlag, arguments};
use super::limits::{LimitFlags, read_input};
use super::output::{Output, PATIENCE, escape};
use super::runs::receipt_text;
use super::serve::guests_memory;
use super::{Context, demo};

#[derive(Args)]
#[command(after_help = "Everything after FILE goes to the guest. The result goes to stdout as it is (on a terminal with control characters \
escaped), the log to stderr; the exit code says the outcome: 0 succeeded, 20 failed or trapped, 21 out of fuel, 22 out of memory, 23 timeout, \
24 cancelled, 25 another limit, 27 refused.")]
pub struct RunArgs {
    #[command(flatten)]
    limits: LimitFlags,
    /// The exported function to call [default: the command, else the typed job, else the only function]
    #[arg(long, value_name = "FUNCTION")]
    entry: Option<String>,
    /// The function's arguments in JSON: an object by name, or a list by position
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    #[command(flatten)]
    grants: GrantFlags,
    /// What the guest reads on standard input: a file, or - for this command's own
    #[arg(long, value_name = "FILE")]
    stdin: Option<String>,
    /// What a command prints: text, or one JSON document [default: text]
    #[arg(long, value_enum, value_name = "FORM")]
    stdout: Option<StdoutFlag>,
    /// Repeatable: fixed clocks (waits take no time), seeded random bytes, canonical NaN; twice the same result, log and fuel
    #[arg(long)]
    deterministic: bool,
    /// What the random bytes of a deterministic run follow from
    #[arg(long, value_name = "N", requires = "deterministic", default_value_t = 0)]
    seed: u64,
    /// What the wall clock of a deterministic run shows at first; 2026-01-01T00:00:00Z unless said
    #[arg(long, value_name = "TIME", requires = "deterministic")]
    at: Option<String>,
    /// What was used, against what was allowed, on stderr
    #[arg(long)]
    receipt: bool,
    /// A component's file, or a demo (hello, spin, hog); then the guest's arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["FILE|NAME", "ARG"], num_args = 1..)]
    guest: Vec<OsString>,
}

/// The most that a guest is given on standard input.
const STDIN_MAX: u64 = 64 << 20;

pub fn run(args: &RunArgs, context: &Context) -> Result {
    let [file, guest_args @ ..] = args.guest.as_slice() else { return Err(CliError::usage("no component was named")) };
    let config = &context.loaded.config;
    let guest_args = guest_args.iter().map(text).collect::<Result<Vec<_>>>()?;
    // What was typed is looked at before any file is.
    let (determinism, grants, limits) = (args.determinism()?, args.grants.grants()?, args.limits.spec()?.resolve(&config.limits, caps(config))?);
    let entry = args.entry.as_deref().map(str::parse).transpose()?;
    let reach = reach(&grants, config)?;
    let (program, bytes) = component(Path::new(file), config)?;
    let request = Request {
        determinism,
        program,
        entry,
        args: arguments(args.args.as_deref(), &guest_args)?.unwrap_or_default(),
        env: grants.env,
        reach,
        is_argv: !guest_args.is_empty(),
        stdout: StdoutFlag::form(args.stdout),
        stdin: args.stdin.as_deref().map(|typed| read_input(typed, STDIN_MAX)).transpose()?.unwrap_or_default(),
        limits,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| CliError::new(Exit::FAILED, "internal", e.to_string()))?;
    let report = runtime.block_on(attempt(&bytes, request, config, &context.out))?;
    tell(&report, args.receipt, context)?;
    Ok(Exit::of_outcome(report.outcome))
}

/// What runs here is what a server with this configuration would take of the tenant that is meant where none is named.
fn caps(config: &Config) -> LimitCaps<'_> {
    LimitCaps {
        server: &config.limit_caps,
        tenant: config.tenant.get_key_value(&TenantId::default()).map(|(tenant, own)| (tenant, &own.limits)),
        executor_memory: Some(guests_memory(config)),
    }
}

impl RunArgs {
    fn determinism(&self) -> Result<Option<Determinism>> {
        let at = match &self.at {
            Some(typed) => parse_instant(typed, Some(&TimeZone::UTC))?,
            None => Determinism::AT,
        };
        if at < Timestamp::UNIX_EPOCH {
            return Err(CliError::usage(format!("--at {at}: guests know no time before 1970")));
        }
        Ok(self.deterministic.then_some(Determinism { seed: self.seed, at }))
    }
}

/// What the attempt is given besides the component.
struct Request {
    determinism: Option<Determinism>,
    program: String,
    /// `None`: the usual one.
    entry: Option<Entry>,
    args: Value,
    /// They were given one by one, behind the file.
    is_argv: bool,
    env: BTreeMap<String, String>,
    reach: Reach,
    stdin: Vec<u8>,
    stdout: Stdout,
    limits: crate::job::Limits,
}

fn text(arg: &OsString) -> Result<String> {
    arg.clone().into_string().map_err(|arg| CliError::usage(format!("the argument {:?} is not UTF-8, which no component can be given", arg.to_string_lossy())))
}

/// The program's name as the guest sees it, and its bytes.
fn component(file: &Path, config: &Config) -> Result<(String, Vec<u8>)> {
    let name = file.to_string_lossy();
    if let (false, Some(demo)) = (file.exists(), demo::find(&name)) {
        return Ok((demo.name.to_owned(), demo.bytes.to_vec()));
    }
    let bytes = read_input(&name, config.server.component_max).map_err(|e| match e.exit {
        Exit::NOT_FOUND => {
            let names: Vec<_> = demo::DEMOS.iter().map(|demo| demo.name).collect();
            e.hint(format!("name a component's file, or one of the demos: {}", names.join(", ")))
        }
        Exit::USAGE => e.hint("is it a component? The cap is server.component_max"),
        _ => e,
    })?;
    Ok((file.file_stem().unwrap_or_default().to_string_lossy().into_owned(), bytes))
}

async fn attempt(bytes: &[u8], request: Request, config: &Config, out: &Output) -> Result<AttemptReport> {
    let engine = EngineSettings { deterministic: request.determinism.is_some(), ..engine_settings(config) };
    let cache = open_cache(&engine)?;
    let digest = crate::job::Digest::of(bytes);
    let found = match cache.find(&digest)? {
        Some(found) => found,
        None => {
            // What somebody runs by hand is not refused for what the machine lacks.
            let compiler = Compiler::new(CompilerConfig { confined: false, ..compiler_config(config)? }, engine.clone());
            let compiling = cache.ensure(&compiler, bytes);
            tokio::pin!(compiling);
            match tokio::time::timeout(PATIENCE, &mut compiling).await {
                Ok(compiled) => compiled?,
                Err(_) => {
                    out.progress("compiling it, once …");
                    compiling.await?
                }
            }
        }
    };
    let (artefact, inspection) = found;
    let entry = request.entry.clone().unwrap_or_else(|| inspection.usual_entry());
    check(&request, &entry, &inspection)?;
    let stdout = request.stdout;
    let pool = Pool::start_with(
        PoolConfig { workers: 1, slots: 1, engine, memory: guests_memory(config), ..PoolConfig::default() },
        Arc::new(World::passing(world_config(config))),
    )?;
    // A typed job is told its run's id, so that this has to be the same each time too.
    let run = RunId(request.determinism.map_or_else(uuid::Uuid::now_v7, |determinism| uuid::Uuid::from_u64_pair(0, determinism.seed)));
    let pool = Arc::new(pool);
    let request = AttemptRequest {
        run,
        attempt: 1,
        job: request.program.clone(),
        component: artefact,
        entry,
        args: request.args,
        program: request.program,
        env: request.env.into_iter().collect(),
        secrets: Vec::new(),
        directories: Vec::new(),
        stdin: request.stdin,
        limits: request.limits,
        reach: request.reach,
        isolation: Isolation::Shared,
        scheduled_at: request.determinism.map_or_else(|| System.now(), |determinism| determinism.at),
        scheduled_local: None,
        checkpoint: None,
        deterministic: request.determinism,
        due_at: None::<Timestamp>,
    };
    tokio::spawn(cancel_on_signal(pool.clone(), run));
    let mut report = pool.run(request).await;
    if stdout == Stdout::Json {
        report.read_stdout_as_json();
    }
    Ok(report)
}

/// Refuses what the entry could not be given.
fn check(request: &Request, entry: &Entry, inspection: &Inspection) -> Result<()> {
    let info = inspection.entry(entry)?;
    if *entry != Entry::Main && request.is_argv {
        let message = format!("{} is a function, which is given its arguments with --args", info.name);
        return Err(CliError::usage(message).hint("for example --args '{\"day\":\"yesterday\"}' before FILE"));
    }
    if *entry != Entry::Main && request.stdout == Stdout::Json {
        return Err(SpecError::StdoutOfFunction.into());
    }
    JobSpec::validate_args(entry, &request.args)?;
    match &info.types {
        Some(types) => {
            types.check(&request.args).map_err(|e| CliError::new(Exit::USAGE, "bad-args", e.to_string()).hint(format!("it takes {}", info.signature)))
        }
        None => Ok(()),
    }
}

/// What the grants let it reach. Without a job its namespace is nobody's, and passes with this command.
fn reach(grants: &Grants, config: &Config) -> Result<Reach> {
    grants.check_private(config.http.private)?;
    let job = JobKey { tenant: TenantId::default(), id: "run".parse()? };
    Ok(Reach::of(grants, &job, Timestamp::UNIX_EPOCH))
}

pub fn world_config(config: &Config) -> WorldConfig {
    WorldConfig { http_at_once: config.http.at_once, http_private: config.http.private }
}

async fn cancel_on_signal(pool: Arc<Pool>, run: RunId) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else { return };
    tokio::select! {
        _ = interrupt.recv() => pool.cancel(run, "Ctrl-C"),
        _ = terminate.recv() => pool.cancel(run, "SIGTERM"),
    }
}

/// What shapes compiled code follows from the caps: other caps, other artefacts.
pub fn engine_settings(config: &Config) -> EngineSettings {
    let caps = &config.limit_caps;
    EngineSettings {
        memory_max: caps.memory,
        table_elements_max: caps.table_elements,
        instances_max: u32::try_from(caps.instances).unwrap_or(u32::MAX),
        deterministic: false,
    }
}

pub fn own_program() -> Result<PathBuf> {
    std::env::current_exe().map_err(|e| CliError::new(Exit::FAILED, "internal", format!("this program's own file cannot be found: {e}")))
}

/// The compile child is this very program.
pub fn compiler_config(config: &Config) -> Result<CompilerConfig> {
    let program = own_program()?;
    let config::Compile { memory, cpu, wall, artefact, at_once } = &config.compile;
    let default = CompilerConfig::new(program);
    Ok(CompilerConfig {
        source_max: config.server.component_max,
        artefact_max: *artefact,
        memory: *memory,
        cpu: cpu.unsigned_abs(),
        wall: wall.unsigned_abs(),
        confined: config.executor.confinement != Confinement::BestEffort,
        at_once: if *at_once == 0 { default.at_once } else { *at_once },
        ..default
    })
}

/// The user's cache directory; where that cannot be used, one beside the working directory's store.
fn open_cache(engine: &EngineSettings) -> Result<Cache> {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")).filter(|path| path.is_absolute()));
    if let Some(cache) = home.and_then(|home| Cache::open(&home.join("bellcage"), engine).ok()) {
        return Ok(cache);
    }
    Ok(Cache::open(Path::new(".bellcage/cache"), engine)?)
}

fn tell(report: &AttemptReport, receipt: bool, context: &Context) -> Result<()> {
    let out = &context.out;
    if out.json {
        return out.document(&document(report));
    }
    out.guest_log(report.log.to_text().as_bytes());
    match &report.result {
        Some(RunResult::Text(bytes)) => out.guest(bytes)?,
        Some(RunResult::Value(value)) => out.document(value)?,
        None => {}
    }
    if report.outcome != Outcome::Succeeded {
        out.message(&out.stderr.outcome_line(report.outcome.as_str(), report.error.as_ref().map(|e| e.message.as_str())));
        for frame in report.error.iter().flat_map(|e| e.backtrace.iter().flatten()) {
            out.message(&format!("  {}", escape(frame)));
        }
    }
    if receipt {
        out.message(receipt_text(&report.receipt, &out.for_stderr()).trim_end());
    }
    Ok(())
}

/// The contract for scripts.
fn document(report: &AttemptReport) -> serde_json::Value {
    json!({
        "outcome": report.outcome,
        "result": report.result.as_ref().map(RunResult::to_json),
        "exit_code": report.exit_code,
        "error": report.error,
        "logs": report.log.to_text(),
        "receipt": report.receipt,
    })
}

impl From<EntryError> for CliError {
    fn from(e: EntryError) -> Self {
        Self::new(Exit::USAGE, e.code(), format!("the component {e}")).hint(e.hint())
    }
}

impl From<GrantError> for CliError {
    fn from(e: GrantError) -> Self {
        Self::new(Exit::USAGE, e.code(), e.to_string()).hint(e.hint())
    }
}

impl From<crate::executor::pool::PoolError> for CliError {
    fn from(e: crate::executor::pool::PoolError) -> Self {
        Self::new(Exit::FAILED, "executor", e.to_string())
    }
}

impl From<crate::executor::WorkersError> for CliError {
    fn from(e: crate::executor::WorkersError) -> Self {
        Self::new(Exit::FAILED, e.code(), e.to_string()).maybe_hint(e.hint().map(str::to_owned))
    }
}
