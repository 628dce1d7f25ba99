//! `bellcage new`: a project to start from, written from the templates in `guests/templates`, which are in the binary.

use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::path::Path;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::Context;
use super::error::{CliError, Exit, Result};

#[derive(Args)]
pub struct NewArgs {
    /// What the job is written in
    #[arg(long, value_enum)]
    lang: Language,
    /// The project's name, and that of its folder and component: lower-case letters, digits and hyphens
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    Python,
    Js,
    C,
    Go,
}

/// A path in the project, and what is written there: `{{name}}` is the project's name.
type Template = (&'static str, &'static str);

macro_rules! template {
    ($folder:literal: $($path:literal $(as $written:literal)?),* $(,)?) => {
        &[$((template!(@written $path $($written)?), include_str!(concat!("../../guests/templates/", $folder, "/", $path)))),*]
    };
    (@written $path:literal $written:literal) => { $written };
    (@written $path:literal) => { $path };
}

// Files called Cargo.toml would be left out of the package that the templates ship in, and .gitignore would be heeded.
const RUST: &[Template] = template!("rust":
    "README.md", "gitignore" as ".gitignore", "manifest.toml" as "Cargo.toml", "src/lib.rs",
    "bellcage-job/README.md", "bellcage-job/manifest.toml" as "bellcage-job/Cargo.toml", "bellcage-job/src/lib.rs",
    "bellcage-job/src/context.rs", "bellcage-job/src/failure.rs", "bellcage-job/wit/job.wit",
);
const PYTHON: &[Template] = template!("python": "README.md", "gitignore" as ".gitignore", "requirements.txt", "app.py", "wit/job.wit");
const JS: &[Template] = template!("js": "README.md", "gitignore" as ".gitignore", "package.json", "job.js", "wit/job.wit");
const C: &[Template] = template!("c": "README.md", "gitignore" as ".gitignore", "main.c");
const GO: &[Template] = template!("go": "README.md", "gitignore" as ".gitignore", "go.mod", "main.go", "wasi.go", "wasi.s");

impl Language {
    fn files(self) -> &'static [Template] {
        match self {
            Self::Rust => RUST,
            Self::Python => PYTHON,
            Self::Js => JS,
            Self::C => C,
            Self::Go => GO,
        }
    }
}

const NAME_MAX: usize = 60;

pub fn run(args: &NewArgs, context: &Context) -> Result {
    let NewArgs { lang, name } = args;
    check(name)?;
    let folder = Path::new(name);
    let failed = |e: std::io::Error| CliError::new(Exit::FAILED, "not-written", format!("the project {name} could not be written: {e}"));
    // Made by this command alone, so that nothing that was there is overwritten.
    DirBuilder::new().create(folder).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => CliError::new(Exit::CONFLICT, "exists", format!("{name} is there already")).hint("choose another name"),
        _ => failed(e),
    })?;
    let mut written = Vec::new();
    for (path, text) in lang.files() {
        let path = folder.join(path);
        let parent = path.parent().unwrap_or(folder);
        DirBuilder::new().recursive(true).create(parent).map_err(failed)?;
        File::create_new(&path).and_then(|mut file| file.write_all(text.replace("{{name}}", name).as_bytes())).map_err(failed)?;
        written.push(path);
    }
    let next = next_commands(lang.files(), name);
    if context.out.json {
        context.out.document(&json!({ "folder": folder, "files": written, "next": next }))?;
        return Ok(Exit::OK);
    }
    context.out.line(&format!("made {name}/, {} files; README.md says what each command does. Next:", written.len()))?;
    for command in next {
        context.out.line(&format!("  {command}"))?;
    }
    Ok(Exit::OK)
}

/// A name that every language's tools take, and that a component may have.
fn check(name: &str) -> Result<()> {
    let good = name.len() <= NAME_MAX && name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-');
    if good && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
        return Ok(());
    }
    let hint = format!("use lower-case letters, digits and hyphens, a letter first, at most {NAME_MAX}: nightly-report");
    Err(CliError::new(Exit::USAGE, "bad-name", format!("{name:?} is not a name for a project")).hint(hint))
}

/// The commands of its README: what is needed once, then those of its blocks.
fn next_commands(files: &[Template], name: &str) -> Vec<String> {
    let readme = files.iter().find(|(path, _)| *path == "README.md").map_or("", |(_, text)| text).replace("{{name}}", name);
    let mut commands = vec![format!("cd {name}")];
    let once = readme.lines().find_map(|line| line.strip_prefix("Once: `")?.strip_suffix('`'));
    commands.extend(once.map(str::to_owned));
    let blocks = readme.split("```sh\n").skip(1).filter_map(|rest| rest.split_once("```")).flat_map(|(block, _)| block.lines());
    commands.extend(blocks.map(str::to_owned));
    commands
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn walk(folder: &Path, from: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path, from, found),
                false => {
                    let path = path.strip_prefix(from).unwrap().to_str().unwrap();
                    found.insert(path.replace("gitignore", ".gitignore").replace("manifest.toml", "Cargo.toml"));
                }
            }
        }
    }

    #[test]
    fn every_file_of_a_template_is_written() {
        for lang in Language::value_variants() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/templates").join(lang.to_possible_value().unwrap().get_name());
            let mut found = BTreeSet::new();
            walk(&folder, &folder, &mut found);
            let written: BTreeSet<_> = lang.files().iter().map(|(path, _)| (*path).to_owned()).collect();
            assert_eq!(written, found, "{lang:?}");
        }
    }

    #[test]
    fn names_that_some_tool_would_not_take_are_refused() {
        for bad in ["", "-a", "a-", "1a", "A", "a b", "a/b", "..", "é", "a_b", &"a".repeat(61)] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        assert!(check("nightly-report2").is_ok());
    }

    #[test]
    fn the_next_commands_are_those_of_the_readme() {
        let commands = next_commands(PYTHON, "greeter");
        assert_eq!(commands[..3], ["cd greeter", "pip install -r requirements.txt", "componentize-py -d wit -w job componentize app -o greeter.wasm"]);
        assert!(commands.contains(&"bellcage component push greeter.wasm".to_owned()), "{commands:?}");
    }
}
