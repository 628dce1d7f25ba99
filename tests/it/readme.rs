//! The README's transcripts, run as they stand: what a stranger types there gives what they read there.
//!
//! In a `console` block a line that begins with `$ ` is typed; the lines below are what it must print, stdout before stderr. `[..]`
//! stands for any text within a line, a line `...` for any lines, `? N` right below a command for its exit code (0 where it
//! does not stand). `bellcage dev` goes on for the rest of the README; the build's own commands are not run by a test of that build.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Commands that this very test run is the result of.
const BUILD: [&str; 2] = ["cargo run -- dev", "tests/run"];

struct Typed {
    command: String,
    exit: i32,
    expected: Vec<String>,
}

#[test]
fn the_readme_tells_what_happens() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let typed = transcript(&fs::read_to_string(root.join("README.md")).expect("the README is there"));
    assert!(typed.len() > 8, "the transcripts were not found");
    let stage = Stage::new(root);
    let mut server = None;
    for Typed { command, exit, expected } in typed {
        if BUILD.contains(&command.as_str()) {
            continue;
        }
        if command == "bellcage dev" {
            server = Some(Server::start(&stage, &expected));
            continue;
        }
        let output = stage.bash(&command).output().expect("bash runs");
        let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
        printed.push_str(&String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(exit), "$ {command}\n{printed}");
        assert!(matches(&expected, &lines(&printed)), "$ {command}\n--- the README says\n{}\n--- it printed\n{printed}", expected.join("\n"));
    }
    assert!(server.is_some(), "the README starts a server");
}

#[test]
fn wildcards_match_what_they_should_and_nothing_else() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let matches = |expected: &str, printed: &str| matches(&lines(expected), &lines(printed));
    assert!(matches("a [..] c", "a b c") && matches("a[..]", "a") && matches("a\n...\nd", "a\nb\nc\nd") && matches("...\na", "a"));
    assert!(!matches("a [..] c", "a b d") && !matches("a", "a\nb") && !matches("a\n...\nd", "a\nb") && !matches("a\nb", "a"));
}

fn transcript(text: &str) -> Vec<Typed> {
    let mut typed: Vec<Typed> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            typed.push(Typed { command: command.to_owned(), exit: 0, expected: Vec::new() });
        } else if let Some(last) = typed.last_mut().filter(|_| inside) {
            match line.strip_prefix("? ").filter(|_| last.expected.is_empty()) {
                Some(code) => last.exit = code.parse().expect("an exit code"),
                None => last.expected.push(line.to_owned()),
            }
        }
    }
    typed
}

fn lines(printed: &str) -> Vec<String> {
    printed.lines().map(|line| line.trim_end().to_owned()).collect()
}

fn matches(expected: &[String], printed: &[String]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((line, rest)) if line == "..." => (0..=printed.len()).any(|skip| matches(rest, &printed[skip..])),
        Some((line, rest)) => printed.split_first().is_some_and(|(first, others)| line_matches(line.trim_end(), first) && matches(rest, others)),
    }
}

fn line_matches(expected: &str, printed: &str) -> bool {
    let mut parts = expected.split("[..]");
    let Some(mut left) = printed.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<_> = parts.collect();
    let Some(last) = parts.pop() else { return left.is_empty() };
    for part in parts {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

/// A folder as the README has it: the project's own guests, a home that is nobody's, and `bellcage` on the path.
struct Stage {
    folder: tempfile::TempDir,
    path: String,
}

impl Stage {
    fn new(root: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::os::unix::fs::symlink(root.join("guests"), folder.path().join("guests")).expect("a link");
        let binary = Path::new(env!("CARGO_BIN_EXE_bellcage")).parent().expect("it is in a folder");
        Self { path: format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default()), folder }
    }

    fn bash(&self, command: &str) -> Command {
        let mut bash = Command::new("bash");
        bash.arg("-c").arg(command).current_dir(self.folder.path()).env_clear();
        bash.env("PATH", &self.path).env("HOME", self.folder.path()).env("LANG", "C.UTF-8").stdin(Stdio::null());
        bash
    }
}

/// `bellcage dev`, until it is dropped.
struct Server {
    child: Child,
}

impl Server {
    /// Returns when it has printed what the README says.
    fn start(stage: &Stage, expected: &[String]) -> Self {
        let log: PathBuf = stage.folder.path().join("dev.log");
        let file = File::create(&log).expect("the log can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bellcage"));
        // Any free port, so that a server of the user's is not in the way.
        command.args(["dev", "--listen", "127.0.0.1:0"]).current_dir(stage.folder.path()).env_clear();
        command.env("HOME", stage.folder.path()).stdin(Stdio::null()).stderr(file.try_clone().expect("a second handle")).stdout(file);
        let server = Self { child: command.spawn().expect("it starts") };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !matches(expected, &lines(&fs::read_to_string(&log).unwrap_or_default())) {
            assert!(
                Instant::now() < deadline,
                "--- the README says\n{}\n--- it printed\n{}",
                expected.join("\n"),
                fs::read_to_string(&log).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
