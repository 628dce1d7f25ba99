//! `bellcage serve`: configuration → store → compiler and cache → executor → scheduler → HTTP server, and down again.
//!
//! The control plane has a tokio runtime of its own here; guests run on the executor's threads, so that guests which
//! burn CPU never delay the scheduler or the API.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, Rlimit, setrlimit};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::clock::System;
use crate::component::cache::Cache;
use crate::component::compile::Compiler;
use crate::config::{self, Config, ExecutorKind, FlagValue, LogFormat};
use crate::executor::{Executor, Pool, PoolConfig, Workers, WorkersConfig, usual_memory};
use crate::job::TenantId;
use crate::outside::World;
use crate::scheduler::{ErrorKind, ListedDirectory, Options, Parts, Scheduler, SchedulerError, SecretsKey};
use crate::server::{self, ServeError, ServerConfig, Serving};
use crate::store::StoreError;
use crate::store::{Sqlite, SqliteOptions, Store};

use super::Context;
use super::connect::{ServerFile, write_private};
use super::directories::{self, Trouble};
use super::error::{CliError, Exit, Result};
use super::run::{compiler_config, engine_settings, own_program, world_config};

/// Bytes of the file that holds the token.
const TOKEN_FILE_MAX: u64 = 4_096;

#[derive(Args)]
pub struct ServeArgs {
    /// Address and port; port 0 is any free one [default: 127.0.0.1:7878]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// The data directory [default: .bellcage]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// How long runs may go on after SIGTERM or Ctrl-C [default: 30s]
    #[arg(long, value_name = "DURATION")]
    drain: Option<String>,
    /// Processes that run guests; 0 is one per core [default: 0]
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Attempts that may go at once [default: 512]
    #[arg(long, value_name = "N")]
    slots: Option<String>,
}

impl ServeArgs {
    /// The flags that are settings.
    pub fn settings(&self) -> Vec<FlagValue> {
        let flags = [
            ("--listen", "server.listen", &self.listen),
            ("--data", "store.data", &self.data),
            ("--drain", "shutdown.drain", &self.drain),
            ("--workers", "executor.workers", &self.workers),
            ("--slots", "executor.slots", &self.slots),
        ];
        let given = flags.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value.clone()?)));
        given.map(|(flag, key, value)| FlagValue { flag: flag.to_owned(), key: key.to_owned(), value }).collect()
    }
}

pub fn run(context: &Context) -> Result {
    start_log(&context.loaded.config.log.level, context.loaded.config.log.format, context)?;
    for name in &context.loaded.unknown_variables {
        tracing::warn!("{name} is set and means nothing to bellcage");
    }
    if !context.loaded.config.server.listen.ip().is_loopback() {
        tracing::warn!(
            "HTTP is not encrypted: whoever is on the way to {} reads the token; put a proxy with TLS before it",
            context.loaded.config.server.listen
        );
    }
    until_signal(context, |server| {
        if context.out.json {
            context.out.document(&json!({ "address": server.file.address, "data": server.data, "pid": server.file.pid }))
        } else {
            context.out.line(&format!("serving on {} (data in {})", server.file.address, server.data.display()))
        }
    })
}

/// Starts a server, calls `started`, serves until a signal, and stops.
pub fn until_signal(context: &Context, started: impl FnOnce(&Server) -> Result<()>) -> Result {
    let config = &context.loaded.config;
    leave_no_core();
    // The scheduler and the API need little; the guests have the cores.
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(4);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_name("control").enable_all().build();
    let runtime = runtime.map_err(|e| CliError::new(Exit::FAILED, "internal", e.to_string()))?;
    let result = runtime.block_on(async {
        // From here on a signal is seen, also while the server starts.
        let mut signals = Signals::new()?;
        let mut starting = tokio::spawn({
            let config = config.clone();
            async move { Server::start(&config).await }
        });
        let server = tokio::select! {
            // One that has started is stopped as any other.
            biased;
            started = &mut starting => started.map_err(|e| CliError::new(Exit::FAILED, "internal", format!("the server could not start: {e}")))??,
            name = signals.next() => {
                starting.abort();
                tracing::info!("{name} while the server was starting: it ends at once");
                return Ok(Exit::OK);
            }
        };
        // Here, and not as a part of the start: what a signal ends, wherever it is, leaves no file.
        let told = server.file.write(&server.data).and_then(|()| started(&server));
        if told.is_ok() {
            let name = signals.next().await;
            tracing::info!("{name}: nothing new is started; runs that are going have {} to end", crate::job::duration::format(config.shutdown.drain));
        }
        let file = server.file.clone();
        tokio::select! {
            () = server.stop(config.shutdown.drain.unsigned_abs()) => told.map(|()| Exit::OK),
            name = signals.next() => {
                file.remove(&config.store.data);
                tracing::warn!("{name} again: ended at once; the next server settles what was running as lost");
                std::process::exit(Exit::FAILED.0.into());
            }
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(5));
    result
}

/// What is in this process's memory, secrets among it, is written to no file when it dies.
fn leave_no_core() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!("a core file of this process would hold secrets, and cannot be forbidden: {error}");
    }
}

/// A running server.
pub struct Server {
    pub file: ServerFile,
    pub data: PathBuf,
    scheduler: Scheduler,
    serving: Serving,
    close: oneshot::Sender<()>,
}

/// Beside what the server does from its first moment on.
async fn compile_missing(scheduler: Scheduler) {
    match scheduler.compile_missing(&TenantId::default()).await {
        Ok(0) => {}
        Ok(n) => tracing::info!("{n} components were compiled anew for this server"),
        Err(error) => tracing::error!(%error, "components could not be looked through for those that have to be compiled anew"),
    }
}

/// Where guests run.
fn executor(config: &Config, world: Arc<World>) -> Result<Arc<dyn Executor>> {
    match config.executor.kind {
        ExecutorKind::Workers => Ok(Arc::new(Workers::start_with(workers_config(config)?, world)?)),
        ExecutorKind::Pool => {
            let default = PoolConfig::default();
            let workers = if config.executor.workers == 0 { default.workers } else { config.executor.workers };
            let nice = config.executor.nice;
            Ok(Arc::new(Pool::start_with(
                PoolConfig { workers, slots: config.executor.slots, engine: engine_settings(config), memory: guests_memory(config), nice, ..default },
                world,
            )?))
        }
    }
}

/// Of the store's own SQLite.
pub fn sqlite_version() -> &'static str {
    Sqlite::engine_version()
}

/// A worker process is this very program.
pub fn workers_config(config: &Config) -> Result<WorkersConfig> {
    let default = WorkersConfig::new(own_program()?);
    let or = |n: usize, default: usize| if n == 0 { default } else { n };
    let config::Executor { kind: _, workers, slots, processes, confinement, recycle_after, nice, memory: _, scratch_max: _ } = config.executor;
    let (workers, alone_max) = (or(workers, default.workers), or(processes, default.alone_max));
    Ok(WorkersConfig { workers, slots, alone_max, confinement, recycle_after, nice, memory: guests_memory(config), engine: engine_settings(config), ..default })
}

impl Server {
    async fn start(config: &Config) -> Result<Self> {
        let data = config.store.data.clone();
        if !config.server.token.is_empty() {
            // Before anything is written.
            server_config(config, &config.server.token).validate()?;
        }
        make_directory(&data)?;
        refuse_own_directories(config, &data)?;
        let store = Sqlite::open(&data, &SqliteOptions::default())?;
        let token = token(&data, &config.server.token)?;
        let server_config = server_config(config, &token);
        server_config.validate()?;
        let engine = engine_settings(config);
        let store: Arc<dyn Store> = Arc::new(store);
        let world = Arc::new(World::of_store(store.clone(), world_config(config)));
        let parts = Parts {
            store,
            cache: Cache::open(&data.join("cache"), &engine)?,
            compiler: Compiler::new(compiler_config(config)?, engine),
            executor: executor(config, world)?,
            clock: Arc::new(System),
            options: Options { secrets_key: Some(secrets_key(config, &data)?), ..options(config) },
        };
        let scheduler = Scheduler::start(parts).await?;
        let (close, closed) = oneshot::channel();
        let shutdown = async {
            // A dropped sender is a server that stops too.
            let _ = closed.await;
        };
        let serving = match server::serve(scheduler.clone(), server_config, shutdown).await {
            Ok(serving) => serving,
            Err(error) => {
                scheduler.shutdown(Duration::ZERO).await;
                return Err(error.into());
            }
        };
        let file = ServerFile { address: format!("http://{}", serving.address), token, pid: std::process::id() };
        tokio::spawn(compile_missing(scheduler.clone()));
        Ok(Self { file, data, scheduler, serving, close })
    }

    /// Nothing new is started; what runs has `drain` to end, then is cancelled and recorded. The API answers until then.
    async fn stop(self, drain: Duration) {
        self.scheduler.shutdown(drain).await;
        // The server may have ended by itself.
        let _ = self.close.send(());
        self.serving.ended().await;
        self.file.remove(&self.data);
    }
}

/// Refuses a directory that was there and that others may write into: whoever can put files beside the store can put
/// another key there, and compiled code that fits it.
fn make_directory(data: &Path) -> Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(data).and_then(|()| fs::metadata(data));
    let about = made.map_err(|e| CliError::file(data, &e).hint("name another data directory with --data"))?;
    if about.permissions().mode() & 0o022 != 0 {
        let message = format!("{}: other users of this machine can write into this directory", data.display());
        return Err(CliError::new(Exit::FAILED, "file", message).hint(format!("take that right away: chmod go-w {}", data.display())));
    }
    Ok(())
}

/// Refuses to list for jobs what is the server's own; tells of what is not there.
fn refuse_own_directories(config: &Config, data: &Path) -> Result<()> {
    for trouble in directories::troubles(config, data) {
        match trouble {
            Trouble::Missing { .. } => tracing::warn!("{trouble}; jobs that are granted it are refused until it is there"),
            Trouble::Own { .. } => {
                return Err(CliError::new(Exit::FAILED, "bad-config", trouble.to_string()).hint("list another directory, or keep the server's own elsewhere"));
            }
        }
    }
    Ok(())
}

/// The token that was given, else the data directory's, made at the first start.
fn token(data: &Path, given: &str) -> Result<String> {
    if !given.is_empty() {
        return Ok(given.to_owned());
    }
    let path = data.join("token");
    match read_small(&path) {
        Ok(token) if !token.trim().is_empty() => {
            if is_readable_by_others(&path)? {
                return Err(CliError::new(Exit::FAILED, "file", format!("{}: other users of this machine can read the server's token", path.display())).hint(
                    format!("make it yours alone: chmod 600 {0}; or, where somebody may have read it, remove it, and the server makes another", path.display()),
                ));
            }
            Ok(token.trim().to_owned())
        }
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(CliError::file(&path, &e).hint("remove it, and the server makes another, or name one with server.token"))
        }
        _ => {
            let token = random_token()?;
            write_private(&path, token.as_bytes())?;
            Ok(token)
        }
    }
}

/// Who can read the token, or the key of the secrets, can do all that its holder can.
fn is_readable_by_others(path: &Path) -> Result<bool> {
    let about = fs::metadata(path).map_err(|e| CliError::file(path, &e))?;
    Ok(about.permissions().mode() & 0o077 != 0)
}

/// The text of a plain file of `TOKEN_FILE_MAX` bytes at most: reading a pipe would never end.
fn read_small(path: &Path) -> std::io::Result<String> {
    let about = fs::metadata(path)?;
    if !about.is_file() || about.len() > TOKEN_FILE_MAX {
        return Err(std::io::Error::other(format!("not a plain file of {TOKEN_FILE_MAX} bytes at most")));
    }
    fs::read_to_string(path)
}

/// The key that was given, else a file's: the one that was named, or the data directory's, made at the first start.
fn secrets_key(config: &Config, data: &Path) -> Result<SecretsKey> {
    if let Some(key) = named_secrets_key(config)? {
        let file = &config.secrets.key_file;
        // What hands such files out may know no other way, and there may be nobody else.
        if config.secrets.key.expose().is_empty() && is_readable_by_others(file)? {
            tracing::warn!("{}: other users of this machine can read the key of the secrets", file.display());
        }
        return Ok(key);
    }
    let path = data.join("secrets.key");
    match read_small(&path) {
        Ok(_) if is_readable_by_others(&path)? => {
            let message = format!("{}: other users of this machine can read the key of the secrets", path.display());
            Err(CliError::new(Exit::FAILED, "file", message)
                .hint(format!("make it yours alone: chmod 600 {}; secrets that somebody may have read are to be changed where they are used", path.display())))
        }
        Ok(text) => SecretsKey::parse(&text).ok_or_else(|| bad_secrets_key(&path.display().to_string())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let key = SecretsKey::random().map_err(|e| CliError::file(Path::new("/dev/urandom"), &e))?;
            write_private(&path, key.to_hex().as_bytes())?;
            Ok(key)
        }
        Err(e) => Err(CliError::file(&path, &e).hint("it has the key of the secrets that were stored; put it back, or name another with secrets.key_file")),
    }
}

/// The key that the configuration names. None where it is to be the data directory's.
pub fn named_secrets_key(config: &Config) -> Result<Option<SecretsKey>> {
    let config::Secrets { key, key_file } = &config.secrets;
    if !key.expose().is_empty() {
        return SecretsKey::parse(key.expose()).map(Some).ok_or_else(|| bad_secrets_key("secrets.key"));
    }
    if key_file.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = read_small(key_file).map_err(|e| CliError::file(key_file, &e).hint("secrets.key_file names the file that has the key of the secrets"))?;
    SecretsKey::parse(&text).map(Some).ok_or_else(|| bad_secrets_key(&key_file.display().to_string()))
}

fn bad_secrets_key(place: &str) -> CliError {
    CliError::new(Exit::FAILED, "bad-secrets-key", format!("{place}: this is no key for secrets"))
        .hint("32 bytes in hexadecimal digits or base64, such as: openssl rand -hex 32")
}

fn random_token() -> Result<String> {
    let mut bytes = [0; 24];
    let path = Path::new("/dev/urandom");
    fs::File::open(path).and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes)).map_err(|e| CliError::file(path, &e))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn server_config(config: &Config, token: &str) -> ServerConfig {
    ServerConfig {
        listen: config.server.listen,
        token: Some(token.to_owned()),
        hosts: config.server.hosts.clone(),
        component_max: config.server.component_max,
        body_max: config.server.body_max,
        ..ServerConfig::default()
    }
}

/// Bytes that all guests may hold together.
pub fn guests_memory(config: &Config) -> u64 {
    if config.executor.memory == 0 { usual_memory() } else { config.executor.memory }
}

fn options(config: &Config) -> Options {
    Options {
        node: node_name(),
        limits: config.limits.clone(),
        limit_caps: config.limit_caps.clone(),
        http_private: config.http.private,
        tenant_caps: config.tenant.iter().map(|(tenant, of)| (tenant.clone(), of.limits.clone())).collect(),
        lease: config.scheduler.lease,
        batch_max: config.scheduler.batch_max,
        every_min: config.scheduler.every_min,
        exclusive_store: true,
        keep_for: config.store.keep_for,
        keep_runs_per_job: config.store.keep_runs_per_job,
        secrets_key: None,
        directories: config.directories.iter().map(|(name, directory)| (name.clone(), listed(directory))).collect(),
        scratch_max: config.executor.scratch_max,
    }
}

fn listed(directory: &config::Directory) -> ListedDirectory {
    ListedDirectory { path: directory.path.clone(), write: directory.write }
}

/// Names this server in receipts.
fn node_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "local".to_owned() } else { name.trim().to_owned() }
}

/// The log, on stderr.
pub fn start_log(level: &str, format: LogFormat, context: &Context) -> Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(level).map_err(|e| {
        CliError::new(Exit::USAGE, "bad-config", format!("log.level cannot be {level:?}: {e}"))
            .hint("use error, warn, info, debug or trace, also by module: info,bellcage::store=debug")
    })?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(context.out.stderr.has_colour());
    match format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// The signals that ask a server to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|e| CliError::new(Exit::FAILED, "internal", format!("signals cannot be received: {e}")));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

impl From<StoreError> for CliError {
    fn from(e: StoreError) -> Self {
        SchedulerError::from(e).into()
    }
}

impl From<SchedulerError> for CliError {
    fn from(e: SchedulerError) -> Self {
        let own = match &e {
            SchedulerError::Store(StoreError::Locked { .. }) => {
                Some((Exit::CONFLICT, "stop that server first, or give this one a directory of its own with --data"))
            }
            SchedulerError::Store(StoreError::Newer { .. }) => Some((Exit::FAILED, "use the bellcage that wrote it, or a newer one; nothing was changed")),
            SchedulerError::Store(StoreError::Corrupt { .. }) => Some((Exit::FAILED, "restore a backup, or move the file away to begin with an empty store")),
            SchedulerError::Store(StoreError::ReadOnly { .. }) => {
                Some((Exit::FAILED, "give this user the right to write there, or name another directory with --data"))
            }
            SchedulerError::Store(StoreError::Full) => Some((Exit::FAILED, "make room on the disk, or name another directory with --data")),
            _ => None,
        };
        let exit = own.map_or(
            match e.kind() {
                ErrorKind::Invalid => Exit::USAGE,
                ErrorKind::NotFound => Exit::NOT_FOUND,
                ErrorKind::Conflict => Exit::CONFLICT,
                ErrorKind::Unavailable | ErrorKind::Internal => Exit::FAILED,
            },
            |(exit, _)| exit,
        );
        Self::new(exit, e.code(), e.to_string()).maybe_hint(own.map(|(_, hint)| hint.to_owned()).or_else(|| e.hint()))
    }
}

impl From<ServeError> for CliError {
    fn from(e: ServeError) -> Self {
        let exit = match &e {
            ServeError::Listen { .. } => Exit::FAILED,
            _ => Exit::USAGE,
        };
        Self::new(exit, e.code(), e.to_string()).maybe_hint(e.hint().map(str::to_owned))
    }
}
