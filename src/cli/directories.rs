//! The directories that an operator lists, as they are on this machine.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::job::DirectoryName;

/// What is wrong with a listed directory.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The server goes on: it may be there later.
    #[error("directories.{}: {} is no directory that can be opened: {why}", .name.as_str(), .path.display())]
    Missing { name: DirectoryName, path: PathBuf, why: String },
    /// Jobs would be granted the store, the token and the keys.
    /// Or, where they may write, the program that the server starts anew for guests.
    #[error("directories.{}: {} and {} are not apart: what is there is the server's own", .name.as_str(), .path.display(), .own.display())]
    Own { name: DirectoryName, path: PathBuf, own: PathBuf },
}

/// Of all that are listed. `data` is the data directory, where there is one yet.
pub fn troubles(config: &Config, data: &Path) -> Vec<Trouble> {
    let key_file = Some(&config.secrets.key_file).filter(|path| !path.as_os_str().is_empty());
    let own: Vec<PathBuf> = [Some(data), key_file.map(PathBuf::as_path)].into_iter().flatten().filter_map(|path| path.canonicalize().ok()).collect();
    let program = std::env::current_exe().and_then(|path| path.canonicalize()).ok();
    let trouble = |(name, listed): (&DirectoryName, &crate::config::Directory)| {
        let (name, path) = (name.clone(), listed.path.clone());
        // Without symbolic links on the way, or two names of one place would pass for two places.
        match path.canonicalize().and_then(|real| std::fs::read_dir(&real).map(|_| real)) {
            Err(error) => Some(Trouble::Missing { name, path, why: error.to_string() }),
            Ok(real) => {
                let mut own = own.iter().chain(program.iter().filter(|_| listed.write));
                own.find(|own| own.starts_with(&real) || real.starts_with(own)).map(|own| Trouble::Own { name, path, own: own.clone() })
            }
        }
    };
    config.directories.iter().filter_map(trouble).collect()
}
