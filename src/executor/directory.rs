//! Directories that an attempt is given. Who has any runs in a process of its own, confined to just these.
//!
//! ```text
//! supervisor   opens what the operator listed, and hands the descriptors to the process as it starts
//! process      makes scratch directories (a file system in memory, of its size in whole pages, in its own namespaces), before it
//!              becomes a worker; is confined by Landlock rules for these directories and no other; preopens them for the guest
//! ```
//! A scratch directory is in no place that has a name: it is gone with the last descriptor of it, however the process ends.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use wasmtime_wasi::filesystem::WasiFilesystemCtx;
use wasmtime_wasi::{FsPerms, WasiCtx};

use super::confine::Reachable;
use super::ending::Ending;
use crate::job::DirectoryName;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Directory {
    /// Where the guest finds it.
    pub at: String,
    pub source: Source,
    pub write: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Source {
    /// Fresh, empty, and gone after the attempt.
    Scratch { bytes: u64 },
    /// One of the operator's.
    Listed { name: DirectoryName, path: PathBuf },
    /// Either of these, in the process that runs the guest.
    #[serde(skip)]
    Opened { descriptor: Arc<OwnedFd>, scratch: bool },
}

impl Directory {
    pub fn scratch(at: String, bytes: u64) -> Self {
        Self { at, source: Source::Scratch { bytes }, write: true }
    }

    pub fn listed(at: String, name: DirectoryName, path: PathBuf, write: bool) -> Self {
        Self { at, source: Source::Listed { name, path }, write }
    }

    /// Of a scratch directory.
    pub(super) fn scratch_bytes(&self) -> Option<u64> {
        match self.source {
            Source::Scratch { bytes } => Some(bytes),
            Source::Listed { .. } | Source::Opened { .. } => None,
        }
    }

    /// What the process is confined to of it.
    pub(super) fn reachable(&self) -> Option<Reachable<'_>> {
        match &self.source {
            Source::Opened { descriptor, scratch } => Some(Reachable { directory: descriptor.as_fd(), write: self.write, links: *scratch }),
            Source::Scratch { .. } | Source::Listed { .. } => None,
        }
    }
}

/// The descriptors of those that the operator listed, each in its place. May wait for a disk.
pub(super) fn open(directories: &[Directory]) -> Result<Vec<Option<OwnedFd>>, Ending> {
    let opened = directories.iter().map(|directory| match &directory.source {
        Source::Scratch { .. } | Source::Opened { .. } => Ok(None),
        Source::Listed { name, path } => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let failed = |e| Ending::refused("directory-missing", format!("the directory {:?} of this server cannot be opened: {e}", name.as_str()));
            rustix::fs::open(path, flags, Mode::empty()).map(Some).map_err(failed)
        }
    });
    opened.collect()
}

/// What was opened, for a guest. The working directory of this process, which runs nothing else, is another then.
pub(super) fn preopened(directories: &[Directory]) -> io::Result<WasiFilesystemCtx> {
    if directories.is_empty() {
        return Ok(WasiFilesystemCtx::default());
    }
    let mut wasi = WasiCtx::builder();
    for Directory { at, write, source } in directories {
        let Source::Opened { descriptor, .. } = source else { return Err(io::Error::other("a directory was not opened")) };
        // By its descriptor: its name may mean another directory now, and a scratch directory has none.
        rustix::process::fchdir(descriptor)?;
        let permissions = if *write { FsPerms::ReadWrite } else { FsPerms::ReadOnly };
        wasi.preopened_dir(".", at, permissions).map_err(|e| io::Error::other(format!("{e:#}")))?;
    }
    Ok(wasi.build().filesystem().clone())
}
