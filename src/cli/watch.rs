//! What `dev --watch DIR` does: a component file that changes is pushed again under its file's name, and the jobs that
//! follow the name run it from then on. A file that is refused is told, and the version before it stays.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::client::Client;
use crate::job::{ComponentName, Digest, GrantKind};
use crate::wire::PushQuery;

use super::error::{CliError, Exit, Result};
use super::limits::read_input;
use super::output::Output;

const LOOK_EVERY: Duration = Duration::from_millis(300);
/// Components of one folder that are watched; further ones, by name, are not.
const FILES_MAX: usize = 200;

pub(super) struct Watch {
    dir: PathBuf,
    client: Client,
    out: Output,
    /// Bytes of a component.
    source_max: u64,
    files: BTreeMap<PathBuf, Seen>,
}

/// A file as it was when it was last looked at.
struct Seen {
    stamp: Stamp,
    /// Its bytes, as of `stamp`, were dealt with.
    done: bool,
    /// Of the bytes that were dealt with last.
    digest: Option<Digest>,
}

type Stamp = (SystemTime, u64);

impl Watch {
    pub fn new(dir: &Path, client: Client, out: Output, source_max: u64) -> Result<Self> {
        std::fs::read_dir(dir).map_err(|e| CliError::file(dir, &e).hint("--watch takes a folder with components"))?;
        Ok(Self { dir: dir.to_owned(), client, out, source_max, files: BTreeMap::new() })
    }

    /// Until the server is gone.
    pub fn run(mut self) {
        while self.look() {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Pushes what has changed and is not being written any more: what looks the same twice. False where there is no server.
    fn look(&mut self) -> bool {
        let found = components(&self.dir);
        self.files.retain(|path, _| found.contains_key(path));
        for (path, stamp) in found {
            let seen = self.files.entry(path.clone()).or_insert(Seen { stamp, done: false, digest: None });
            if seen.stamp != stamp {
                (seen.stamp, seen.done) = (stamp, false);
                continue;
            }
            if std::mem::replace(&mut seen.done, true) {
                continue;
            }
            let before = seen.digest;
            match self.push(&path, before) {
                Ok(digest) => {
                    self.files.entry(path).and_modify(|seen| seen.digest = Some(digest));
                }
                Err(error) if error.exit == Exit::UNREACHABLE => return false,
                Err(error) => {
                    self.out.message(error.render(self.out.stderr).trim_end());
                    self.out.note(&format!("{} was not taken; what was pushed before it stays", path.display()));
                }
            }
        }
        true
    }

    /// Pushes a file unless its bytes are those that were pushed last.
    fn push(&self, path: &Path, before: Option<Digest>) -> Result<Digest> {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name: ComponentName = stem.parse().map_err(|e| CliError::from(e).hint("a component is called after its file"))?;
        let bytes = read_input(&path.to_string_lossy(), self.source_max)?;
        let digest = Digest::of(&bytes);
        if before != Some(digest) {
            // Whoever writes the program approves of what it asks for.
            let pushed = self.client.push_component(&name, &bytes, PushQuery { approve_grants: true, ..PushQuery::default() })?;
            if pushed.new {
                let more = if pushed.new_grants.is_empty() { String::new() } else { format!(", and asks for {} too", GrantKind::list(&pushed.new_grants)) };
                self.out.note(&format!("{} is {}@{} now{more}", path.display(), name, pushed.component.version));
            }
        }
        Ok(digest)
    }
}

/// The component files of a folder. One that cannot be looked at any more is left out.
fn components(dir: &Path) -> BTreeMap<PathBuf, Stamp> {
    let stamp = |path: &Path| {
        let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    let mut paths: Vec<_> = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "wasm"));
    paths.sort();
    paths.into_iter().take(FILES_MAX).filter_map(|path| Some((path.clone(), stamp(&path)?))).collect()
}
