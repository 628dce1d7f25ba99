//! How a command finds its server, and how a server lets itself be found.
//!
//! A running server writes `server.json` into its data directory and removes it at the end. A command goes to
//! `--server` or `BELLCAGE_SERVER`, else to the server of this directory, else to the default address. The token is the
//! data directory's for that directory's own server, which it alone is sent, and `BELLCAGE_TOKEN` for every other one.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::client::{Client, ClientError, ClientErrorKind, DEFAULT_SERVER};

use super::error::{CliError, Exit, Result};

/// `server.json`: for clients of this machine's user only (0600).
#[derive(Clone, Serialize, Deserialize)]
pub struct ServerFile {
    /// `http://127.0.0.1:7878`.
    pub address: String,
    pub token: String,
    pub pid: u32,
}

impl ServerFile {
    const NAME: &str = "server.json";

    fn read(data: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(data.join(Self::NAME)).ok()?).ok()
    }

    /// Whether the process that wrote it still exists. One that was killed leaves the file behind, and then whoever
    /// listens at its port by now must not be sent the token.
    fn lives(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(Errno::SRCH)))
    }

    pub fn write(&self, data: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(|e| CliError::new(Exit::FAILED, "internal", e.to_string()))?;
        write_private(&data.join(Self::NAME), &text)
            .map_err(|e| e.hint("the server writes its address there, for commands to find: nothing else may be in its place"))
    }

    /// Removes the file, unless another server has written its own meanwhile.
    pub fn remove(&self, data: &Path) {
        if Self::read(data).is_some_and(|found| found.pid == self.pid) {
            // A file that stays behind does no harm: a client says that nobody answers there.
            let _ = fs::remove_file(data.join(Self::NAME));
        }
    }
}

/// Writes a file that only its owner can read, in one step: a reader sees the old text or the new, and what was written is still
/// there after the machine lost its power.
pub fn write_private(path: &Path, text: &[u8]) -> Result<()> {
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        fs::File::open(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|e| {
        // What is there is a part of a secret, or all of it.
        let _ = fs::remove_file(&beside);
        CliError::file(path, &e)
    })
}

pub fn client(named: Option<&str>, data: &Path) -> Result<Client> {
    let token = std::env::var("BELLCAGE_TOKEN").ok().filter(|token| !token.is_empty());
    let here = ServerFile::read(data).filter(ServerFile::lives);
    let (address, token) = server_and_token(named, token, here);
    Ok(Client::new(&address, token)?)
}

/// `token` is `BELLCAGE_TOKEN`. A `server.json` may have come with a directory of somebody else's, so the address in it
/// is sent the token in it and no other.
fn server_and_token(named: Option<&str>, token: Option<String>, here: Option<ServerFile>) -> (String, Option<String>) {
    match (named, here) {
        (Some(named), Some(here)) if same_server(named, &here.address) => (named.to_owned(), token.or(Some(here.token))),
        (Some(named), _) => (named.to_owned(), token),
        (None, Some(here)) => (here.address, Some(here.token)),
        (None, None) => (DEFAULT_SERVER.to_owned(), token),
    }
}

fn same_server(a: &str, b: &str) -> bool {
    let bare = |s: &str| s.trim().trim_start_matches("http://").trim_end_matches('/').to_owned();
    bare(a) == bare(b)
}

impl From<ClientError> for CliError {
    fn from(e: ClientError) -> Self {
        let exit = match e.kind() {
            ClientErrorKind::Invalid => Exit::USAGE,
            ClientErrorKind::NotFound => Exit::NOT_FOUND,
            ClientErrorKind::Conflict => Exit::CONFLICT,
            ClientErrorKind::Denied => Exit::DENIED,
            ClientErrorKind::Unreachable => Exit::UNREACHABLE,
            ClientErrorKind::Failed => Exit::FAILED,
        };
        let hint = match e.code() {
            // The server speaks of a header; who types a command sets a variable.
            "token-missing" => Some("set BELLCAGE_TOKEN to what the server's data directory holds in the file token"),
            _ => e.hint(),
        };
        let mut error = Self::new(exit, e.code().to_owned(), e.to_string()).maybe_hint(hint.map(str::to_owned));
        error.span = e.span().cloned();
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environments_token_is_not_sent_where_a_directorys_file_points() {
        let here = || Some(ServerFile { address: "http://127.0.0.1:1".to_owned(), token: "t0".to_owned(), pid: 1 });
        let secret = || Some("secret".to_owned());
        assert_eq!(server_and_token(None, secret(), here()), ("http://127.0.0.1:1".to_owned(), Some("t0".to_owned())));
        assert_eq!(server_and_token(None, secret(), None), (DEFAULT_SERVER.to_owned(), secret()));
        assert_eq!(server_and_token(Some("127.0.0.1:2"), secret(), here()), ("127.0.0.1:2".to_owned(), secret()));
        assert_eq!(server_and_token(Some("127.0.0.1:1"), secret(), here()), ("127.0.0.1:1".to_owned(), secret()));
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("server.json")).unwrap();
        let file = ServerFile { address: "http://127.0.0.1:1".to_owned(), token: "t0".to_owned(), pid: std::process::id() };
        let error = file.write(dir.path()).unwrap_err();
        assert!(error.to_string().ends_with("server.json: is a directory"));
        assert!(error.hint.unwrap().contains("nothing else may be in its place"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_server_of_another_directory_is_never_sent_this_ones_token() {
        let dir = tempfile::tempdir().unwrap();
        let file = ServerFile { address: "http://127.0.0.1:1".to_owned(), token: "t0".to_owned(), pid: std::process::id() };
        file.write(dir.path()).unwrap();
        let debug = |named: Option<&str>| format!("{:?}", client(named, dir.path()).unwrap());
        assert!(debug(None).contains("127.0.0.1:1\""));
        assert!(debug(Some("127.0.0.1:2")).contains("127.0.0.1:2"));
        assert!(same_server("127.0.0.1:1/", &file.address) && !same_server("127.0.0.1:12", &file.address));
        ServerFile { pid: 1, ..file.clone() }.remove(dir.path());
        assert!(dir.path().join("server.json").exists(), "another server's file stays");
        // The highest pid that Linux can give is 4,194,304.
        ServerFile { pid: 5_000_000, ..file }.write(dir.path()).unwrap();
        assert!(debug(None).contains(DEFAULT_SERVER), "a server that was killed is not asked");
    }
}
