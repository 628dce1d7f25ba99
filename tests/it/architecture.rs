//! The layout's allowed edges, read off the sources. An arrow that is not in a table below does not exist: add the
//! arrow here and in ARCHITECTURE.md, or better, find where the code belongs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module → the modules of this crate that it may name.
const EDGES: &[(&str, &[&str])] = &[
    ("clock", &[]),
    ("trigger", &["clock::whole_micros", "job::duration"]),
    ("job", &["trigger"]),
    ("plan", &["job", "trigger"]),
    ("store", &["job", "trigger"]),
    ("component", &["job", "store"]),
    ("executor", &["job", "component"]),
    ("outside", &["executor", "job", "store"]),
    ("scheduler", &["plan", "store", "executor", "component", "clock", "job", "trigger"]),
    ("wire", &["job", "trigger"]),
    ("server", &["scheduler", "wire", "job", "component"]),
    ("client", &["wire"]),
    ("config", &["job", "executor::Confinement"]),
    ("bench", &["client", "clock", "component", "executor", "job", "plan", "scheduler", "store", "trigger", "wire"]),
    ("cli", &["bench", "client", "clock", "component", "config", "executor", "job", "outside", "plan", "scheduler", "server", "store", "trigger", "wire"]),
];

/// The only files of `cli` that put a store, an executor, a scheduler and a server together.
const WIRING: &[&str] = &["cli/serve.rs", "cli/dev.rs"];
const WIRED: &[&str] = &["store", "scheduler", "server"];
/// What any command may name of these: the scheduler that only pretends.
const SIMULATION: &str = "scheduler::simulate";

/// Crate → the places (path prefixes under src/) that may name it. A crate that is not listed may be named anywhere
/// but in the pure modules.
const CRATES: &[(&str, &[&str])] = &[
    ("wasmtime", &["component/", "executor/"]),
    ("wasmtime_wasi", &["component/", "executor/"]),
    ("rusqlite", &["store/sqlite/"]),
    ("axum", &["server/"]),
    ("clap", &["cli/"]),
    ("clap_complete", &["cli/"]),
    ("ureq", &["client", "outside/http"]),
    ("wasmtime_wasi_http", &["executor/"]),
    ("cron", &["trigger/"]),
    // System calls by hand, in the files that say why each is safe.
    ("libc", &["executor/confine/", "executor/workers/escape"]),
    ("postcard", &["executor/workers/"]),
];

/// Decisions only: no waiting, no clock, no input or output.
const PURE: &[&str] = &["trigger/", "job/", "plan/"];
const IMPURE: &[&str] =
    &["tokio", "std::fs", "std::net", "std::process", "std::thread", "std::env", "Timestamp::now", "SystemTime", "Instant::now", "Zoned::now", "rustix"];

#[test]
fn modules_name_only_what_they_may() {
    let mut wrong = Vec::new();
    for file in sources() {
        let module = file.path.split(['/', '.']).next().unwrap_or_default();
        if matches!(module, "lib" | "main") {
            continue;
        }
        let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("src/{}: module {module} has no entry in the table of edges", file.path));
            continue;
        };
        for (line, named) in file.names("crate::") {
            let target = named.split("::").next().unwrap_or_default();
            let may = target == module || allowed.iter().any(|a| *a == target || *a == named || named.starts_with(&format!("{a}::")));
            let wires = module == "cli" && WIRED.contains(&target) && !WIRING.contains(&file.path.as_str()) && named != SIMULATION;
            if !may || wires {
                wrong.push(format!("src/{}:{line}: {module} → {named} is not an allowed edge", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn third_party_crates_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for file in sources() {
        for (krate, places) in CRATES {
            if places.iter().any(|place| file.path.starts_with(place)) {
                continue;
            }
            for (line, _) in file.names(&format!("{krate}::")) {
                wrong.push(format!("src/{}:{line}: {krate} may be named only under {}", file.path, places.join(", ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn decisions_neither_wait_nor_look_at_the_world() {
    let mut wrong = Vec::new();
    for file in sources().into_iter().filter(|f| PURE.iter().any(|pure| f.path.starts_with(pure))) {
        for (number, line) in file.code() {
            for word in IMPURE.iter().filter(|word| line.contains(*word)) {
                wrong.push(format!("src/{}:{number}: {word} in a pure module", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_of_this_test_binary_is_forgotten() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let mut wrong = Vec::new();
    for path in rust_files(&root) {
        let relative = path.strip_prefix(&root).unwrap_or(&path);
        let (parent, name) = (path.parent().unwrap_or(&root), path.file_stem().unwrap_or_default().to_string_lossy());
        let doors = if name == "mod" {
            let folder = parent.file_name().unwrap_or_default().to_string_lossy().into_owned();
            vec![(parent.parent().unwrap_or(&root).join("main.rs"), folder.clone()), (parent.parent().unwrap_or(&root).join("mod.rs"), folder)]
        } else if name == "main" && parent == root {
            continue;
        } else {
            let name = name.into_owned();
            vec![(parent.join("main.rs"), name.clone()), (parent.join("mod.rs"), name.clone()), (parent.with_extension("rs"), name)]
        };
        let named = doors
            .iter()
            .any(|(door, name)| fs::read_to_string(door).is_ok_and(|text| text.lines().any(|l| l.trim().trim_start_matches("pub ") == format!("mod {name};"))));
        if !named {
            wrong.push(format!("tests/it/{}: no mod line names it, so it never runs", relative.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

struct Source {
    /// Under src/, with forward slashes.
    path: String,
    text: String,
}

impl Source {
    /// Lines of code with their numbers: comments, and a file's own tests at its end, left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let end = self.text.find("#[cfg(test)]\nmod tests").unwrap_or(self.text.len());
        self.text[..end].lines().enumerate().map(|(i, line)| (i + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// Paths that begin with `prefix` (`crate::`, `tokio::`), the prefix cut off; `{a, b::c}` counts as one path each.
    fn names(&self, prefix: &str) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (number, line) in self.code() {
            for (at, _) in line.match_indices(prefix) {
                let before = line[..at].chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '$') {
                    continue;
                }
                let rest = &line[at + prefix.len()..];
                match rest.strip_prefix('{') {
                    Some(group) => found.extend(
                        group
                            .split(['{', '}', ',', ';'])
                            .map(str::trim)
                            .filter(|p| p.chars().next().is_some_and(char::is_lowercase))
                            .map(|p| (number, p.to_owned())),
                    ),
                    None => {
                        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
                        found.push((number, rest[..end].trim_end_matches(':').to_owned()));
                    }
                }
            }
        }
        found
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: Vec<_> = rust_files(&root)
        .into_iter()
        .map(|path| Source {
            path: path.strip_prefix(&root).expect("it was found under the root").to_string_lossy().replace('\\', "/"),
            text: fs::read_to_string(&path).expect("a source file is readable"),
        })
        .collect();
    let modules: BTreeSet<_> = files.iter().filter_map(|f| f.path.split(['/', '.']).next()).collect();
    assert!(modules.len() > 5, "the sources were not found: {modules:?}");
    files
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder is readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
