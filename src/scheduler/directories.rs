//! Directories that jobs are granted, as the server's operator listed them.

use std::path::PathBuf;

use crate::executor::Directory;
use crate::job::{DirectoryGrant, DirectoryName, bytes};

use super::Options;

/// A directory of the server's machine that jobs may be granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedDirectory {
    pub path: PathBuf,
    /// Whether a job may write there.
    pub write: bool,
}

/// A directory that is not to be had here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryRefusal {
    #[error("this server lists no directory {:?}", .name.as_str())]
    NotListed { name: DirectoryName, listed: Vec<DirectoryName> },
    #[error("the directory {:?} is listed for reading only", .name.as_str())]
    ReadOnly { name: DirectoryName },
    #[error("a scratch directory of {} is above the most that is allowed, {}", bytes::format(*.asked), bytes::format(*.cap))]
    TooLarge { asked: u64, cap: u64 },
}

impl DirectoryRefusal {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotListed { .. } => "no-such-directory",
            Self::ReadOnly { .. } => "directory-read-only",
            Self::TooLarge { .. } => "scratch-too-large",
        }
    }

    pub(super) fn hint(&self) -> String {
        match self {
            Self::NotListed { listed, .. } if listed.is_empty() => {
                "its operator lists directories in the configuration: [directories.NAME] path = \"…\"".to_owned()
            }
            Self::NotListed { listed, .. } => format!("it lists: {}", listed.iter().map(DirectoryName::as_str).collect::<Vec<_>>().join(", ")),
            Self::ReadOnly { .. } => "leave write out, or let the operator list it with write = true".to_owned(),
            Self::TooLarge { .. } => "see the caps with: bellcage config show; an eighth of executor.memory is one, too".to_owned(),
        }
    }
}

impl Options {
    /// What an attempt is to be given.
    pub(super) fn directories(&self, grants: &[DirectoryGrant]) -> Result<Vec<Directory>, DirectoryRefusal> {
        grants.iter().map(|grant| self.directory(grant)).collect()
    }

    fn directory(&self, grant: &DirectoryGrant) -> Result<Directory, DirectoryRefusal> {
        match grant {
            DirectoryGrant::Scratch { bytes, .. } if *bytes > self.scratch_max => Err(DirectoryRefusal::TooLarge { asked: *bytes, cap: self.scratch_max }),
            DirectoryGrant::Scratch { bytes, at } => Ok(Directory::scratch(at.clone(), *bytes)),
            DirectoryGrant::Listed { name, at, write } => {
                let not_listed = || DirectoryRefusal::NotListed { name: name.clone(), listed: self.directories.keys().cloned().collect() };
                let listed = self.directories.get(name).ok_or_else(not_listed)?;
                if *write && !listed.write {
                    return Err(DirectoryRefusal::ReadOnly { name: name.clone() });
                }
                Ok(Directory::listed(at.clone(), name.clone(), listed.path.clone(), *write))
            }
        }
    }
}
