//! The real binary in a directory of its own: nothing of the machine's environment, home or time zone reaches it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for a fact before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A working directory with a home of its own.
pub struct Place {
    dir: tempfile::TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// The document on stdout.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("not one JSON document ({e}): {self:?}"))
    }

    /// stdout of a command that succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// Everything a person sees, for a snapshot.
    pub fn seen(&self) -> String {
        format!("exit {}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }

    /// Code, hint and exit code of a refusal, in both its forms.
    #[track_caller]
    pub fn refused(&self, exit: i32, message: &str, hint: &str) {
        assert_eq!(self.code, exit, "{self:?}");
        let said = self.stderr.lines().find_map(|line| line.strip_prefix("error")?.split_once(": ")).map(|(_code, said)| said);
        assert!(said.is_some_and(|said| said.starts_with(message)), "{self:?}");
        assert!(self.stderr.contains(&format!("hint: {hint}")), "{self:?}");
        assert_eq!(self.stdout, "", "an error is not data");
    }
}

impl Default for Place {
    fn default() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        std::fs::create_dir(dir.path().join("home")).expect("a directory can be made in it");
        Self { dir }
    }
}

impl Place {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file can be written in a temporary directory");
        path
    }

    /// The binary with these arguments, not yet started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellcage"));
        command.args(args).current_dir(self.dir.path()).env_clear().env("HOME", self.path("home")).stdin(Stdio::null());
        // Compiled demos are shared by all tests: the cache is safe to share, and compiling is the slow part.
        command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-cache"));
        command
    }

    /// Runs a command to its end.
    pub fn bellcage(&self, args: &[&str]) -> Ran {
        finish(&mut self.command(args), &[])
    }

    pub fn bellcage_with_input(&self, args: &[&str], input: &[u8]) -> Ran {
        finish(self.command(args).stdin(Stdio::piped()), input)
    }

    /// `--json` put in front, the document read, success demanded.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let ran = self.bellcage(&[&["--json"], args].concat());
        assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
        ran.json()
    }

    /// Starts `serve` on a free port and returns once it answers.
    pub fn serve(&self, args: &[&str]) -> Server {
        self.start(&[&["serve", "--listen", "127.0.0.1:0"], args].concat())
    }

    /// Starts a command that prints a line when it is ready, and goes on.
    pub fn start(&self, args: &[&str]) -> Server {
        let mut server = self.spawn(args, "server.log");
        let _ready = server.line(|_| true);
        server
    }

    /// Starts a command that goes on, beside a server.
    pub fn start_beside(&self, args: &[&str]) -> Server {
        self.spawn(args, "beside.log")
    }

    fn spawn(&self, args: &[&str], log: &str) -> Server {
        let log = self.path(log);
        let stderr = std::fs::File::create(&log).expect("the log can be written");
        let mut child = self.command(args).stdout(Stdio::piped()).stderr(stderr).spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("its stdout is piped");
        Server { child, lines: follow(stdout), log }
    }

    /// Waits until `look` gives something.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            let log = || std::fs::read_to_string(self.path("server.log")).unwrap_or_default();
            assert!(Instant::now() < end, "{what} did not happen in {PATIENCE:?}; the server's log:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs of the server here that match `query`, newest first.
    #[track_caller]
    pub fn runs(&self, query: &[&str]) -> Vec<Value> {
        let list = self.json(&[&["runs", "list", "-n", "1000"], query].concat());
        assert_eq!(list["next"], Value::Null, "the test makes fewer runs than a page has");
        list["runs"].as_array().expect("runs is a list").clone()
    }
}

fn finish(command: &mut Command, input: &[u8]) -> Ran {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).expect("it reads its input");
    }
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("its output is UTF-8");
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A server of a test. Dropped, it is killed.
pub struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
    log: PathBuf,
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line on its stdout that `wanted` likes.
    #[track_caller]
    pub fn line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        self.line_within(PATIENCE, wanted).unwrap_or_else(|| panic!("the line did not come in {PATIENCE:?}; the log:\n{}", self.log()))
    }

    /// The same; `None` where it did not come in time.
    pub fn line_within(&mut self, time: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let end = Instant::now() + time;
        loop {
            let line = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())).ok()?;
            if wanted(&line) {
                return Some(line);
            }
        }
    }

    /// What it wrote on stderr so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("our own child can be signalled");
    }

    /// Its exit code once it has ended (-1 where a signal ended it).
    #[track_caller]
    pub fn ended(&mut self) -> i32 {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child can be waited for") {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "the server did not end in {PATIENCE:?}; its log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// As power loss would: no handler runs.
    pub fn kill(mut self) {
        self.signal(rustix::process::Signal::KILL);
        self.ended();
    }

    /// SIGTERM, and its exit code.
    #[track_caller]
    pub fn stop(mut self) -> i32 {
        self.signal(rustix::process::Signal::TERM);
        self.ended()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = String::new();
        while reader.by_ref().read_line(&mut line).is_ok_and(|n| n > 0) {
            let text = line.trim_end().to_owned();
            line.clear();
            if send.send(text).is_err() {
                return;
            }
        }
    });
    lines
}
