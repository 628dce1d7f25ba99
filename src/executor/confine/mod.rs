//! Confinement of a process that runs guests: layers that each hold on their own, from the kernel's side.
//!
//! ```text
//! at its start      namespaces of its own (user, pid, net, mount, ipc, uts, cgroup): made by who starts it (`spawn`)
//! before all else   no environment, no descriptors but its three; killed when its parent dies; no new privileges
//! after warm-up     rlimits · Landlock without a single rule · seccomp with a list of what running needs
//! ```
//! Nothing of a guest is in the process before the last layer is on, and none can be taken off again. A layer that the
//! machine does not offer is reported by name; whether that will do is the caller's configuration (`Confinement`).
//!
//! All `unsafe` of confining is here and in the files below, each block with its reason.

mod landlock;
mod seccomp;
mod spawn;
mod urgency;

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};

use crate::component::compile::offer_to_die_first;

pub(super) use landlock::Reachable;
pub use landlock::abi as landlock_abi;
pub(super) use spawn::{Given, Spawn, Spawned, spawn};
pub(super) use urgency::{NICE, run_soon, stand_back};

/// One thing that keeps a process in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// It can gain no privileges, leaves no core file, and cannot be traced.
    Privileges,
    /// Descriptors, processes and file sizes.
    Rlimits,
    /// User, pid, network, mount, ipc, host-name and cgroup namespaces of its own.
    Namespaces,
    /// No file, no TCP port, no abstract socket, no signal to others.
    Landlock,
    /// System calls outside a short list end the process.
    Seccomp,
}

impl Layer {
    pub const ALL: [Self; 5] = [Self::Privileges, Self::Rlimits, Self::Namespaces, Self::Landlock, Self::Seccomp];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Privileges => "privileges",
            Self::Rlimits => "rlimits",
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which layers are demanded: without them no guest is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confinement {
    /// Every one.
    Strict,
    /// All but namespaces, which many containers do not allow.
    #[default]
    Standard,
    /// None; what the machine offers is used.
    BestEffort,
}

impl Confinement {
    pub fn demands(self) -> &'static [Layer] {
        match self {
            Self::Strict => &Layer::ALL,
            Self::Standard => &[Layer::Privileges, Layer::Rlimits, Layer::Landlock, Layer::Seccomp],
            Self::BestEffort => &[],
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Standard => "standard",
            Self::BestEffort => "best-effort",
        }
    }
}

/// A layer that could not be put on, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    pub layer: Layer,
    pub why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.layer, self.why)
    }
}

/// What is known of the confinement of this process.
#[derive(Clone, Debug, Default)]
pub(super) struct Worn {
    pub missing: Vec<Missing>,
}

impl Worn {
    fn note(&mut self, layer: Layer, done: io::Result<()>) {
        if let Err(error) = done {
            self.missing.push(Missing { layer, why: error.to_string() });
        }
    }
}

/// What comes before anything else in the process: it has one thread and has opened nothing. It keeps the descriptors of so
/// many directories, which it was started with.
pub(super) fn at_start(given: usize) -> io::Result<Vec<OwnedFd>> {
    spawn::unblock_signals()?;
    spawn::ignore_file_size_signal()?;
    // A Ctrl-C at its parent's terminal is not for it. A process group says so, and not a session, which Linux schedules as a
    // group of its own: threads of the server that are woken would wait for it for milliseconds (`sched_autogroup_enabled`).
    rustix::process::setpgid(None, None)?;
    let given = spawn::close_inherited_but(given)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    offer_to_die_first();
    Ok(given)
}

/// Puts on what later threads inherit, and what would be in the way of warming up. The process still has one thread.
/// `own_namespaces` says whether it was started in some; of all files, those in `reachable` alone can be opened.
pub(super) fn before_threads(own_namespaces: Result<(), String>, reachable: &[Reachable<'_>]) -> Worn {
    let mut worn = Worn::default();
    worn.note(Layer::Privileges, privileges());
    worn.note(Layer::Namespaces, own_namespaces.map_err(io::Error::other));
    worn.note(Layer::Landlock, landlock::deny_all_but(reachable));
    worn
}

/// The last step, with every thread that the process will ever have: limits of what it may hold, then the list of
/// system calls, for all threads at once.
pub(super) fn after_warm_up(worn: &mut Worn, bounds: Bounds) {
    worn.note(Layer::Rlimits, rlimits(bounds));
    worn.note(Layer::Seccomp, seccomp::allow_only_running(bounds.files));
}

/// All that a process gives up which compiles components, before it reads the first. It has one thread and never another.
pub(super) fn compiler() -> Worn {
    urgency::stand_far_back();
    let mut worn = Worn::default();
    worn.note(Layer::Landlock, landlock::deny_all_but(&[]));
    worn.note(Layer::Seccomp, seccomp::allow_only_compiling());
    worn
}

/// What the process may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub descriptors: u64,
    /// Of one file: the image of a guest's initial memory, or one in a directory that was given.
    pub file_bytes: u64,
    /// Whether it may use files at all: such as Landlock lets it reach.
    pub files: bool,
}

fn privileges() -> io::Result<()> {
    if !rustix::thread::no_new_privs()? {
        return Err(io::Error::other("no_new_privs is off"));
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

fn rlimits(bounds: Bounds) -> io::Result<()> {
    let limit = |resource, n: u64| rustix::process::setrlimit(resource, Rlimit { current: Some(n), maximum: Some(n) });
    limit(Resource::Core, 0)?;
    limit(Resource::Nproc, 0)?;
    limit(Resource::Msgqueue, 0)?;
    limit(Resource::Fsize, bounds.file_bytes)?;
    let allowed = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    limit(Resource::Nofile, bounds.descriptors.min(allowed))?;
    Ok(())
}
