//! `bellcage doctor`: what this machine offers, what the configuration demands of it, and whether that fits.
//!
//! A problem is what would keep a server from starting or a guest from running; a warning is what makes it slower or
//! its walls fewer. What a process that runs guests gets is found by starting one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use rustix::fs::{StatVfsMountFlags, statfs, statvfs};
use serde::Serialize;

use crate::config::{Config, ExecutorKind};
use crate::executor::{Confinement, Layer, Missing, Workers, WorkersConfig, landlock_abi, memory_there_is, pagemap_scan_is_offered, scratch_is_offered};
use crate::job::{DirectoryName, bytes};

use super::Context;
use super::directories::{self, Trouble};
use super::error::{Exit, Result};
use super::output::{Column, Table, size};
use super::run::engine_settings;
use super::serve::{guests_memory, named_secrets_key, sqlite_version, workers_config};

#[derive(Args)]
pub struct DoctorArgs {}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Warning,
    Problem,
}

#[derive(Debug, Serialize)]
struct Check {
    id: &'static str,
    level: Level,
    /// What this machine has.
    found: String,
    /// What is wrong with it, and what to do.
    message: Option<String>,
}

#[derive(Serialize)]
struct Diagnosis {
    verdict: Level,
    confinement: Confinement,
    checks: Vec<Check>,
}

/// Mappings of a process that runs guests: for each slot, and besides.
const MAPS_PER_SLOT: usize = 4;
const MAPS_BESIDES: usize = 2_000;
/// Less free space than this is soon none.
const FREE_MIN: u64 = 1 << 30;

pub fn run(_: &DoctorArgs, context: &Context) -> Result {
    let config = &context.loaded.config;
    let mut checks = vec![kernel(), cores(config), memory(config), seccomp(), landlock()];
    checks.extend(layers(config)?);
    checks.push(scratch(config)?);
    checks.extend([pagemap_scan(), max_map_count(config), sqlite(), time_zones()]);
    checks.push(secrets_key(config));
    checks.push(listed_directories(config));
    checks.extend(data_directory(&config.store.data));
    let verdict = checks.iter().map(|check| check.level).max().unwrap_or(Level::Ok);
    let diagnosis = Diagnosis { verdict, confinement: config.executor.confinement, checks };
    tell(&diagnosis, context)?;
    Ok(if verdict == Level::Problem { Exit::FAILED } else { Exit::OK })
}

fn tell(diagnosis: &Diagnosis, context: &Context) -> Result<()> {
    let out = &context.out;
    if out.json {
        return out.document(diagnosis);
    }
    let shown = |level| match level {
        Level::Ok => out.stdout.green("ok"),
        Level::Warning => out.stdout.yellow("warning"),
        Level::Problem => out.stdout.red("problem"),
    };
    let mut table = Table::new([Column::whole("CHECK"), Column::whole("VERDICT"), Column::text("FOUND")]);
    for Check { id, level, found, .. } in &diagnosis.checks {
        table.row([(*id).to_owned(), shown(*level), found.clone()]);
    }
    let mut text = table.render(out);
    for Check { id, level, message, .. } in &diagnosis.checks {
        if let Some(message) = message {
            text.push_str(&format!("\n{} {id}: {message}\n", shown(*level)));
        }
    }
    let demanded = diagnosis.confinement.as_str();
    text.push_str(&match diagnosis.verdict {
        Level::Ok => format!("\nThis machine has all that bellcage can use (executor.confinement = {demanded:?}).\n"),
        Level::Warning => format!("\nA server will start here (executor.confinement = {demanded:?}); see the warnings.\n"),
        Level::Problem => format!("\nA server will not work here as it is configured (executor.confinement = {demanded:?}).\n"),
    });
    out.data(&text)
}

fn ok(id: &'static str, found: impl Into<String>) -> Check {
    Check { id, level: Level::Ok, found: found.into(), message: None }
}

impl Check {
    fn warn(self, message: impl Into<String>) -> Self {
        Self { level: Level::Warning, message: Some(message.into()), ..self }
    }

    fn problem(self, message: impl Into<String>) -> Self {
        Self { level: Level::Problem, message: Some(message.into()), ..self }
    }
}

fn kernel() -> Check {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    ok("kernel", format!("Linux {} on {}", release.trim(), std::env::consts::ARCH))
}

fn cores(config: &Config) -> Check {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let check = ok("cores", cores.to_string());
    match config.executor.workers {
        workers if workers > 4 * cores => check.warn(format!("executor.workers = {workers} is far more than there are cores; 0 makes one for each")),
        _ => check,
    }
}

fn memory(config: &Config) -> Check {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let of = |name: &str| -> Option<u64> {
        let line = meminfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
    };
    let (Some(total), Some(available)) = (of("MemTotal:"), of("MemAvailable:")) else { return ok("memory", "unknown") };
    let guests = guests_memory(config);
    let one = match config.executor.kind {
        ExecutorKind::Workers => workers_config(config).map_or(guests, |workers| workers.memory_of_one(false)),
        ExecutorKind::Pool => guests,
    };
    let check = ok("memory", format!("{}, {} available; guests may hold {} together", size(total), size(available), size(guests)));
    match config.limit_caps.memory {
        _ if guests > memory_there_is() => check.warn(format!("executor.memory = {} lets guests hold more than there is", bytes::format(guests))),
        _ if config.limits.memory > one => check.warn(format!(
            "limits.memory = {} is more than one attempt can have of executor.memory beside others, which is {}",
            bytes::format(config.limits.memory),
            bytes::format(one)
        )),
        cap if cap > total => check.warn(format!("limit_caps.memory = {} lets one job ask for more than there is", bytes::format(cap))),
        _ => check,
    }
}

fn seccomp() -> Check {
    match fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.contains("kill_process") => ok("seccomp", "filters that end a process"),
        Ok(actions) => ok("seccomp", actions.trim()).warn("the kernel cannot end a whole process for one system call (Linux 4.14 can)"),
        Err(_) => ok("seccomp", "none").warn("the kernel has no seccomp filters"),
    }
}

fn landlock() -> Check {
    match landlock_abi() {
        Ok(abi @ 4..) => ok("landlock", format!("version {abi}")),
        Ok(abi) => ok("landlock", format!("version {abi}")).warn("it denies files, but no TCP ports (version 4, Linux 6.7, does)"),
        Err(error) => ok("landlock", "none").warn(format!("the kernel does not offer it: {error}")),
    }
}

/// A process that runs guests is started, confined as far as the machine allows, and says what it lacks.
fn layers(config: &Config) -> Result<Vec<Check>> {
    let asked = WorkersConfig { workers: 1, slots: 1, confinement: Confinement::BestEffort, engine: engine_settings(config), ..workers_config(config)? };
    let began = Instant::now();
    let workers = match Workers::start(asked) {
        Ok(workers) => workers,
        Err(error) => return Ok(vec![ok("worker", "none").problem(format!("a process that runs guests cannot be started: {error}"))]),
    };
    let ready = began.elapsed();
    let mut checks = vec![ok("worker", format!("ready in {:.1} ms", ready.as_secs_f64() * 1e3))];
    let demanded = if config.executor.kind == ExecutorKind::Workers { config.executor.confinement.demands() } else { &[] };
    checks.extend(Layer::ALL.map(|layer| confined(layer, workers.missing(), demanded)));
    if config.executor.kind == ExecutorKind::Pool {
        let check = ok("executor", "pool");
        checks.push(check.warn("executor.kind = \"pool\" runs guests in the server's own process, with none of these layers around them"));
    }
    Ok(checks)
}

fn confined(layer: Layer, missing: &[Missing], demanded: &[Layer]) -> Check {
    let id = match layer {
        Layer::Privileges => "confined: privileges",
        Layer::Rlimits => "confined: rlimits",
        Layer::Namespaces => "confined: namespaces",
        Layer::Landlock => "confined: landlock",
        Layer::Seccomp => "confined: seccomp",
    };
    match missing.iter().find(|missing| missing.layer == layer) {
        None => ok(id, "yes"),
        Some(missing) if demanded.contains(&layer) => {
            ok(id, "no").problem(format!("{}; executor.confinement demands it, so no server starts: allow it on this machine, or demand less", missing.why))
        }
        Some(missing) => ok(id, "no").warn(format!("{}; guests run without this wall, the others stand", missing.why)),
    }
}

fn scratch(config: &Config) -> Result<Check> {
    if config.executor.kind == ExecutorKind::Pool {
        return Ok(ok("scratch", "no").warn("executor.kind = \"pool\" gives no directories: jobs that ask for any are refused"));
    }
    Ok(match scratch_is_offered(&workers_config(config)?) {
        Ok(()) => ok("scratch", "yes"),
        Err(why) => {
            ok("scratch", "no").warn(format!("{why}; attempts with a scratch directory are refused, which needs user namespaces and a file system in memory"))
        }
    })
}

fn pagemap_scan() -> Check {
    match pagemap_scan_is_offered() {
        true => ok("pagemap-scan", "yes"),
        false => ok("pagemap-scan", "no").warn("attempts take longer to clean up after; Linux 6.7 has it"),
    }
}

fn max_map_count(config: &Config) -> Check {
    let Some(max) = fs::read_to_string("/proc/sys/vm/max_map_count").ok().and_then(|text| text.trim().parse::<usize>().ok()) else {
        return ok("max-map-count", "unknown");
    };
    let workers = match config.executor.workers {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n,
    };
    // A pool has them all in one process.
    let processes = if config.executor.kind == ExecutorKind::Workers { workers } else { 1 };
    let needed = config.executor.slots.div_ceil(processes) * MAPS_PER_SLOT + MAPS_BESIDES;
    let check = ok("max-map-count", max.to_string());
    if needed <= max {
        return check;
    }
    check.warn(format!("executor.slots = {} may need {needed} mappings in a process: raise it with sysctl vm.max_map_count={needed}", config.executor.slots))
}

fn sqlite() -> Check {
    ok("sqlite", format!("{} (built in)", sqlite_version()))
}

fn time_zones() -> Check {
    match jiff::tz::TimeZone::get("Europe/Stockholm") {
        Ok(_) => ok("time-zones", "found"),
        Err(error) => ok("time-zones", "none").problem(error.to_string()),
    }
}

/// Where the key of the secrets comes from, and whether it is one.
fn secrets_key(config: &Config) -> Check {
    let found = match &config.secrets {
        secrets if !secrets.key.expose().is_empty() => "from the configuration".to_owned(),
        secrets if !secrets.key_file.as_os_str().is_empty() => secrets.key_file.display().to_string(),
        _ => "in the data directory".to_owned(),
    };
    match named_secrets_key(config) {
        Ok(_) => ok("secrets-key", found),
        Err(error) => ok("secrets-key", found).problem(error.message),
    }
}

/// Those that jobs may be granted.
fn listed_directories(config: &Config) -> Check {
    let names: Vec<_> = config.directories.keys().map(DirectoryName::as_str).collect();
    let check = ok("directories", if names.is_empty() { "none listed".to_owned() } else { names.join(", ") });
    let troubles = directories::troubles(config, &config.store.data);
    let message = troubles.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    match troubles {
        troubles if troubles.iter().any(|trouble| matches!(trouble, Trouble::Own { .. })) => check.problem(message),
        troubles if troubles.is_empty() => check,
        _ => check.warn(message),
    }
}

/// Of the directory, or of the nearest one above it that is there.
fn data_directory(data: &Path) -> Vec<Check> {
    let absolute = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
    let there: PathBuf = absolute.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned();
    let found = ok("data", absolute.display().to_string());
    let (Ok(fs), Ok(vfs)) = (statfs(&there), statvfs(&there)) else {
        return vec![found.problem(format!("{} cannot be looked at", there.display()))];
    };
    let mut checks = Vec::new();
    checks.push(match rustix::fs::access(&there, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK) {
        Ok(()) => found,
        Err(_) => found.problem(format!("{} cannot be written by this user", there.display())),
    });
    let (name, remote) = file_system(fs.f_type as u32);
    let check = ok("file-system", name);
    checks.push(if vfs.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        check.problem("it is mounted noexec, so compiled components cannot be run from it: use another data directory")
    } else if remote {
        check.problem("locks and syncing cannot be relied upon here: use a data directory on a local disk")
    } else if name == "tmpfs" || name == "ramfs" {
        check.warn("what is stored here does not survive a restart of the machine")
    } else {
        check
    });
    let free = vfs.f_bavail.saturating_mul(vfs.f_frsize);
    let check = ok("free-space", size(free));
    checks.push(if free < FREE_MIN { check.warn(format!("less than {} is free for runs, logs and components", size(FREE_MIN))) } else { check });
    checks
}

/// The file system's name by its magic number, and whether it is on another machine.
fn file_system(magic: u32) -> (&'static str, bool) {
    match magic {
        0xef53 => ("ext4", false),
        0x5846_5342 => ("xfs", false),
        0x9123_683e => ("btrfs", false),
        0x2fc1_2fc1 => ("zfs", false),
        0xf2f5_2010 => ("f2fs", false),
        0x794c_7630 => ("overlayfs", false),
        0x0102_1994 => ("tmpfs", false),
        0x8584_58f6 => ("ramfs", false),
        0x6969 => ("nfs", true),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => ("smb", true),
        0x0102_1997 => ("9p", true),
        0x6573_5546 => ("fuse", false),
        _ => ("other", false),
    }
}
