//! Compiling, in a child process with caps.
//!
//! ```text
//! parent                                   child (the same binary, hidden subcommand)
//!   caps and settings ─── argv ──────────►   process group of its own, dies with its parent, no new privileges, rlimits,
//!                                            Landlock without a rule, seccomp
//!   component ─────────── stdin ─────────►   adapt → validate → inspect → check imports → compile
//!   artefact's file ───── stdout ────────►   the artefact
//!   verdict (JSON) ◄───── stderr ─────────   what it is, or why it is refused
//! ```
//! The child has no environment and no other descriptor, and before it reads the component it gives up every file, the
//! network and all system calls but a few (`Lent::shut_in`). A panic, an abort, a signal or a breach of a cap is a refused
//! upload; the parent is never at risk. It runs our compiler, never the guest.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::adapt::adapt;
use super::engine::{MEMORIES_MAX, TABLES_MAX};
use super::error::CompileCap;
use super::inspect::{check_job, inspect};
use super::queue::{Need, Place, Queue};
use super::{ComponentError, EngineSettings, Inspection, as_shown, engine_config, upload};
use crate::job::{Digest, TenantId, bytes};

/// The hidden subcommand of the binary that is the compile child. Whoever's `program` a compiler is must hand it to
/// `executor::compile_child_main` before any other start-up work.
pub const SUBCOMMAND: &str = "compile-component";

/// Bytes of the child's verdict, and of whatever else it wrote before it died.
const VERDICT_MAX: u64 = 16 << 20;
const ENTRIES_MAX: usize = 1_000;
/// Bytes of an entry's full name.
const ENTRY_NAME_MAX: usize = 1_000;
/// Characters of what the validator says.
const DETAIL_MAX: usize = 1_000;

/// Where and with which caps components are compiled.
#[derive(Clone, Debug)]
pub struct CompilerConfig {
    /// The bellcage binary, or another that answers `SUBCOMMAND`.
    pub program: PathBuf,
    /// Of an uploaded component, in bytes.
    pub source_max: u64,
    /// Of a compiled one, in bytes.
    pub artefact_max: u64,
    /// Address space of the child, in bytes.
    pub memory: u64,
    /// CPU time of the child, in whole seconds, rounded up.
    pub cpu: Duration,
    /// From the child's start to its end. Much more than the CPU time: on a busy machine a compilation waits.
    pub wall: Duration,
    /// Children at once; further ones wait, and tenants take turns.
    pub at_once: usize,
    /// Nothing is compiled where the machine offers no Landlock or no seccomp. Otherwise they are used where there are any.
    pub confined: bool,
    /// Tests only: what the child tries before it compiles.
    #[cfg(debug_assertions)]
    #[doc(hidden)]
    pub escape: Option<String>,
}

impl CompilerConfig {
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            source_max: 32 << 20,
            artefact_max: 256 << 20,
            memory: 1 << 30,
            cpu: Duration::from_secs(60),
            wall: Duration::from_secs(300),
            at_once: std::thread::available_parallelism().map_or(1, |n| n.get()),
            confined: true,
            #[cfg(debug_assertions)]
            escape: None,
        }
    }
}

/// Compiles components, each in a child process of its own. A child lives no longer than the thread that started it,
/// which is a thread of the runtime that compilations are awaited on.
pub struct Compiler {
    config: CompilerConfig,
    settings: EngineSettings,
    queue: Queue,
}

/// What the child is told.
#[derive(Serialize, Deserialize)]
struct Brief {
    parent: u32,
    settings: EngineSettings,
    source_max: u64,
    artefact_max: u64,
    memory: u64,
    cpu_seconds: u64,
    confined: bool,
    #[cfg(debug_assertions)]
    escape: Option<String>,
}

impl Compiler {
    pub fn new(config: CompilerConfig, settings: EngineSettings) -> Self {
        let queue = Queue::new(config.at_once);
        Self { config, settings, queue }
    }

    /// Bytes of a component at most.
    pub fn source_max(&self) -> u64 {
        self.config.source_max
    }

    /// A place in the queue for a component of a tenant. Errors: `TooManyWait`.
    pub(super) fn admit(&self, tenant: &TenantId, need: Need, component: &[u8]) -> Result<Place<'_>, ComponentError> {
        upload::check(component, self.config.source_max)?;
        self.queue.admit(tenant, need, component.len() as u64)
    }

    /// Compiles `component`, which has this place in the queue, into `artefact`, an empty file. What is in the file after an
    /// error means nothing.
    pub(super) async fn compile(&self, place: &Place<'_>, component: &[u8], artefact: File) -> Result<Inspection, ComponentError> {
        let _turn = place.turn().await;
        let wall = self.config.wall;
        // Dropping the child, as a timeout does, kills it.
        match tokio::time::timeout(wall, self.compile_in_child(component, artefact)).await {
            Ok(verdict) => verdict,
            Err(_) => Err(ComponentError::OverCap { cap: CompileCap::Wall, limit: format!("{wall:?}") }),
        }
    }

    async fn compile_in_child(&self, component: &[u8], artefact: File) -> Result<Inspection, ComponentError> {
        let CompilerConfig { program, .. } = &self.config;
        let cannot = |e: std::io::Error| ComponentError::machine(format!("cannot start the compiler {}", program.display()), e);
        let mut child = Command::new(program)
            .arg(SUBCOMMAND)
            .arg(serde_json::to_string(&self.brief()).map_err(|e| ComponentError::machine("cannot brief the compiler", e))?)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::from(artefact))
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        let (Some(mut stdin), Some(stderr)) = (child.stdin.take(), child.stderr.take()) else {
            return Err(ComponentError::machine("cannot start the compiler", "its pipes are missing"));
        };
        let send = async move {
            // A child that died early says why by its status.
            let _ = stdin.write_all(component).await;
        };
        let mut said = Vec::new();
        let hear = async {
            let _ = stderr.take(VERDICT_MAX).read_to_end(&mut said).await;
        };
        let ((), (), status) = tokio::join!(send, hear, child.wait());
        self.verdict(status.map_err(cannot)?, &said)
    }

    fn brief(&self) -> Brief {
        let CompilerConfig { source_max, artefact_max, memory, cpu, .. } = self.config;
        let cpu_seconds = cpu.as_secs() + u64::from(cpu.subsec_nanos() > 0);
        Brief {
            parent: std::process::id(),
            settings: self.settings.clone(),
            source_max,
            artefact_max,
            memory,
            cpu_seconds,
            confined: self.config.confined,
            #[cfg(debug_assertions)]
            escape: self.config.escape.clone(),
        }
    }

    fn verdict(&self, status: ExitStatus, said: &[u8]) -> Result<Inspection, ComponentError> {
        let over = |cap, limit| Err(ComponentError::OverCap { cap, limit });
        let CompilerConfig { memory, artefact_max, .. } = self.config;
        match status.signal().and_then(Signal::from_named_raw) {
            None if status.success() => {
                serde_json::from_slice(said).map_err(|e| ComponentError::machine("cannot read the compiler's verdict", e)).and_then(|verdict| verdict)
            }
            Some(Signal::XCPU) => over(CompileCap::Cpu, format!("{} s", self.brief().cpu_seconds)),
            Some(Signal::XFSZ) => over(CompileCap::ArtefactSize, bytes::format(artefact_max)),
            // What Rust's allocator says before it aborts.
            Some(Signal::ABORT) if contains(said, b"memory allocation of") => over(CompileCap::Memory, bytes::format(memory)),
            Some(signal) => Err(ComponentError::CompilerFailed { how: ended_by(signal) }),
            None => Err(ComponentError::CompilerFailed { how: format!("it ended with {status}") }),
        }
    }
}

fn ended_by(signal: Signal) -> String {
    match signal {
        Signal::SYS => "it was ended by signal 31 (SYS: it tried what compiling never needs)".to_owned(),
        other => format!("it was ended by signal {}", other.as_raw()),
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Says which imports of a component nothing here offers.
pub type CheckImports = fn(&Component) -> Result<(), ComponentError>;

/// What the child is lent by who knows the guests' imports and the kernel.
#[derive(Clone, Copy)]
pub struct Lent {
    pub check_imports: CheckImports,
    /// Gives up, for good, every file, the network, other processes, all system calls that compiling does not need, and most of its
    /// share of a core where others want it. What the machine does not offer for that is named.
    pub shut_in: fn() -> Vec<String>,
    /// Tests only: tries to get out in the way that is named.
    #[cfg(debug_assertions)]
    pub escape: fn(&str),
}

/// The compile child's whole life. It must come before any other start-up work of the program: before this, there is
/// neither a thread nor a descriptor of ours that the confinement would not cover.
pub fn child_main(lent: Lent) -> ExitCode {
    let Some(brief) = std::env::args().nth(2).and_then(|text| serde_json::from_str::<Brief>(&text).ok()) else {
        eprintln!("{SUBCOMMAND} is for bellcage itself: it compiles a component that its parent process sends");
        return ExitCode::from(2);
    };
    // The verdict says what panicked; the default hook would write into it.
    std::panic::set_hook(Box::new(|_| {}));
    let verdict = std::panic::catch_unwind(|| {
        confine(&brief).map_err(|e| ComponentError::machine("cannot confine the compiler", e))?;
        let missing = (lent.shut_in)();
        if brief.confined && !missing.is_empty() {
            return Err(ComponentError::Unconfined { missing: missing.join(", ") });
        }
        #[cfg(debug_assertions)]
        brief.escape.iter().for_each(|what| (lent.escape)(what));
        compile(&brief, lent.check_imports)
    });
    let verdict =
        verdict.unwrap_or_else(|panic| Err(ComponentError::CompilerFailed { how: format!("it panicked: {}", as_shown(panic_text(&*panic), DETAIL_MAX)) }));
    match serde_json::to_writer(std::io::stderr(), &verdict) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Gives up what compiling does not need. Nothing hostile has been read yet.
fn confine(brief: &Brief) -> std::io::Result<()> {
    // A Ctrl-C at its parent's terminal is not for it. A process group says so, and not a session: Linux schedules one as a group of its own,
    // with as large a share of a core as the server's, however nice it is (`sched_autogroup_enabled`).
    rustix::process::setpgid(None, None)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // A parent that died before that line sends no signal any more.
    if rustix::process::getppid().map(Pid::as_raw_nonzero).is_none_or(|pid| pid.get() as u32 != brief.parent) {
        return Err(std::io::Error::other("its parent is gone"));
    }
    rustix::thread::set_no_new_privs(true)?;
    close_inherited()?;
    let limit = |resource, soft: u64, hard: u64| rustix::process::setrlimit(resource, Rlimit { current: Some(soft), maximum: Some(hard) });
    limit(Resource::Core, 0, 0)?;
    offer_to_die_first();
    limit(Resource::Nofile, 8, 8)?;
    limit(Resource::As, brief.memory, brief.memory)?;
    limit(Resource::Fsize, brief.artefact_max, brief.artefact_max)?;
    // The soft limit sends SIGXCPU, which tells what happened; the hard one SIGKILL.
    limit(Resource::Cpu, brief.cpu_seconds, brief.cpu_seconds + 1)?;
    Ok(())
}

/// Where the machine has no memory left, the kernel ends this process rather than the server. Whoever has no right to say so
/// is no worse off than before.
pub fn offer_to_die_first() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "800");
}

/// Closes whatever else the parent's own parent may have left open in it.
fn close_inherited() -> std::io::Result<()> {
    let listed: Vec<i32> = std::fs::read_dir("/proc/self/fd")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    // The descriptor that listed the others is closed by now.
    let is_open = |fd: &i32| std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok();
    for fd in listed.into_iter().filter(|&fd| fd > 2).filter(is_open) {
        // SAFETY: this process has one thread and has opened nothing yet, so nothing of it owns this descriptor.
        unsafe { rustix::io::close(fd) };
    }
    Ok(())
}

fn compile(brief: &Brief, check_imports: CheckImports) -> Result<Inspection, ComponentError> {
    let machine = |what: &'static str| move |e: std::io::Error| ComponentError::machine(what, e);
    let mut source = Vec::new();
    std::io::stdin().lock().take(brief.source_max + 1).read_to_end(&mut source).map_err(machine("cannot read the component"))?;
    let (component, inspection) = examine(source, brief, check_imports)?;
    let artefact = component.serialize().map_err(|e| refused(&e, brief))?;
    let mut out = File::from(std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned().map_err(machine("cannot write the artefact"))?);
    out.write_all(&artefact).map_err(machine("cannot write the artefact"))?;
    Ok(inspection)
}

/// Everything that an upload must pass.
fn examine(source: Vec<u8>, brief: &Brief, check_imports: CheckImports) -> Result<(Component, Inspection), ComponentError> {
    // Again, since from here on its bytes are parsed.
    upload::check(&source, brief.source_max)?;
    let engine = Engine::new(&engine_config(&brief.settings)).map_err(|e| ComponentError::machine("cannot start the compiler's engine", e))?;
    let is_core_module = upload::is_core_module(&source);
    let source = if is_core_module { adapt(&source)? } else { source };
    let adapted = is_core_module.then(|| Digest::of(&source));
    let component = Component::from_binary(&engine, &source).map_err(|e| refused(&e, brief))?;
    drop(source);
    let inspection = Inspection { adapted, ..inspect(&component) };
    check_demands(&component, &inspection, &brief.settings)?;
    check_imports(&component)?;
    check_job(&component)?;
    if inspection.entries.is_empty() {
        return Err(ComponentError::NoEntry);
    }
    Ok((component, inspection))
}

/// What the compile child makes of an upload, in this process and with no caps but that on its size: for whoever fuzzes it.
/// A core module is made a component, which is validated and no more.
pub fn examine_here(
    source: &[u8],
    config: CompilerConfig,
    settings: &EngineSettings,
    check_imports: CheckImports,
) -> Result<Option<Inspection>, ComponentError> {
    upload::check(source, config.source_max)?;
    if upload::is_core_module(source) {
        return adapt(source).map(|_| None);
    }
    let brief = Compiler::new(config, settings.clone()).brief();
    examine(source.to_vec(), &brief, check_imports).map(|(_, inspection)| Some(inspection))
}

/// wasmtime says in words what is wrong; that memory ran out is known by the error's type.
fn refused(error: &wasmtime::Error, brief: &Brief) -> ComponentError {
    let out_of_memory = error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        let errno = cause.downcast_ref::<rustix::io::Errno>().map(|e| e.raw_os_error());
        io.or(errno) == Some(rustix::io::Errno::NOMEM.raw_os_error()) || cause.is::<wasmtime::error::OutOfMemory>()
    });
    match out_of_memory {
        true => ComponentError::OverCap { cap: CompileCap::Memory, limit: bytes::format(brief.memory) },
        false => ComponentError::Invalid { detail: as_shown(&format!("{error:#}"), DETAIL_MAX) },
    }
}

/// What no executor with these settings could ever give.
fn check_demands(component: &Component, inspection: &Inspection, settings: &EngineSettings) -> Result<(), ComponentError> {
    let demand = |fits: bool, asked: String, max: String| if fits { Ok(()) } else { Err(ComponentError::NeedsTooMuch { asked, max }) };
    let entries = inspection.entries.len();
    demand(entries <= ENTRIES_MAX, format!("{entries} exported functions"), ENTRIES_MAX.to_string())?;
    let longest = inspection.entries.iter().map(|entry| entry.full_name().len()).max().unwrap_or(0);
    demand(longest <= ENTRY_NAME_MAX, format!("a name of {longest} bytes for what it exports"), ENTRY_NAME_MAX.to_string())?;
    // None where a core module is imported, which no linker of ours offers.
    let Some(needs) = component.resources_required() else { return Ok(()) };
    demand(needs.num_memories <= MEMORIES_MAX, format!("{} memories", needs.num_memories), MEMORIES_MAX.to_string())?;
    demand(needs.num_tables <= TABLES_MAX, format!("{} tables", needs.num_tables), TABLES_MAX.to_string())?;
    // In wasm pages.
    let memory = needs.max_initial_memory_size.unwrap_or(0).saturating_mul(64 << 10);
    demand(memory <= settings.memory_max, format!("a memory of {}", bytes::about(memory)), bytes::format(settings.memory_max))?;
    let elements = needs.max_initial_table_size.unwrap_or(0);
    demand(elements <= settings.table_elements_max, format!("a table of {elements} elements"), settings.table_elements_max.to_string())
}
