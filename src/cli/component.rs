//! `bellcage component …`.

use std::path::PathBuf;

use clap::Subcommand;
use jiff::tz::TimeZone;

use crate::job::{ComponentName, Entry, GrantKind, Reference, Version};
use crate::wire::{Component, ComponentDetail, Page, PushQuery};

use super::error::{CliError, Exit, Result};
use super::output::{Column, Table, fields, grouped, patience, size};
use super::{Context, limits, when};

#[derive(Subcommand)]
pub enum ComponentCommand {
    /// Upload a component; every job that follows its name runs it from then on
    Push {
        /// A WebAssembly component (wasip2), or a core module (a wasip1 program) to be made one
        file: PathBuf,
        /// The name to push it under [default: the file's name without .wasm]
        #[arg(long)]
        name: Option<String>,
        /// Also where jobs that follow its name cannot run this version: they are refused as they fire
        #[arg(long)]
        force: bool,
        /// Also where this version asks for grants that the one before did not ask for
        #[arg(long)]
        approve_grants: bool,
    },
    /// The newest version of every component
    List {
        #[command(flatten)]
        page: PageFlags,
    },
    /// What a component offers and needs, its versions, and the jobs that use it
    Show {
        /// NAME, NAME@VERSION or NAME@sha256:…; with --schema also NAME:ENTRY
        #[arg(value_name = "NAME[@VERSION]")]
        name: String,
        /// Only the JSON Schema of an entry's arguments; without ENTRY, of `main`, else of the typed job, else of the only one
        #[arg(long)]
        schema: bool,
    },
    /// Remove a component, or one version of it; refused while a job needs it
    Rm {
        /// NAME or NAME@VERSION
        #[arg(value_name = "NAME[@VERSION]")]
        name: String,
    },
}

/// Which part of a list.
#[derive(clap::Args)]
pub struct PageFlags {
    /// At most so many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// Go on behind the end of an earlier list: its `next`
    #[arg(long, value_name = "CURSOR")]
    after: Option<String>,
}

impl PageFlags {
    pub fn page(&self) -> Page {
        Page { limit: Some(self.limit), after: self.after.clone() }
    }
}

/// Says that a list has more.
pub fn hint_more(context: &Context, next: Option<&String>) {
    if let Some(next) = next {
        context.out.hint(&format!("there are more: --after {next}"));
    }
}

pub fn run(command: &ComponentCommand, context: &Context) -> Result {
    match command {
        ComponentCommand::Push { file, name, force, approve_grants } => {
            push(file, name.as_deref(), PushQuery { force: *force, approve_grants: *approve_grants }, context)
        }
        ComponentCommand::List { page } => list(page, context),
        ComponentCommand::Show { name, schema: true } => schema(name, context),
        ComponentCommand::Show { name, schema: false } => show(name, context),
        ComponentCommand::Rm { name } => rm(name, context),
    }
}

fn push(file: &std::path::Path, name: Option<&str>, accept: PushQuery, context: &Context) -> Result {
    let name = match name {
        Some(name) => name.parse::<ComponentName>()?,
        None => {
            let stem = file.file_stem().unwrap_or_default().to_string_lossy();
            stem.parse::<ComponentName>()
                .map_err(|e| CliError::from(e).hint(format!("give it a name: bellcage component push {} --name NAME", file.display())))?
        }
    };
    let bytes = limits::read_input(&file.to_string_lossy(), context.loaded.config.server.component_max)?;
    let client = context.client()?;
    let pushed = patience(&format!("{name}: the server is compiling it …"), || client.push_component(&name, &bytes, accept))?;
    let out = &context.out;
    if out.json {
        out.document(&pushed)?;
        return Ok(Exit::OK);
    }
    let component = &pushed.component;
    let what = if pushed.new { "pushed" } else { "unchanged:" };
    out.line(&format!("{what} {}@{} ({}, {})", component.name, component.version, size(component.size), component.digest))?;
    for broken in &pushed.broken {
        out.note(&format!("job {} cannot run it: {}", broken.job, broken.why));
    }
    if !pushed.new_grants.is_empty() {
        out.note(&format!("it asks for more than the version before: {}", GrantKind::list(&pushed.new_grants)));
    }
    let name = &component.name;
    match component.entries.iter().find(|entry| entry.name == "main").or(component.entries.first()) {
        Some(entry) if entry.name == "main" => out.hint(&format!("run it every minute: bellcage job add {name} --component {name} --every 1m")),
        Some(entry) => out.hint(&format!("run it every minute: bellcage job add {name} --component {name}:{} --args '…' --every 1m", entry.name)),
        None => {}
    }
    Ok(Exit::OK)
}

fn list(page: &PageFlags, context: &Context) -> Result {
    let list = context.client()?.components(&page.page())?;
    let out = &context.out;
    if out.json {
        out.document(&list)?;
        return Ok(Exit::OK);
    }
    if list.components.is_empty() {
        out.hint("there is no component yet: bellcage component push FILE.wasm");
        return Ok(Exit::OK);
    }
    let mut table = Table::new([Column::whole("NAME"), Column::figure("VERSION"), Column::figure("SIZE"), Column::whole("PUSHED"), Column::text("ENTRIES")]);
    for c in list.components {
        let entries = c.entries.iter().map(|e| e.name.as_str()).collect::<Vec<_>>().join(", ");
        table.row([c.name.to_string(), c.version.to_string(), size(c.size), when::local(c.pushed_at, &TimeZone::UTC), entries]);
    }
    out.data(&table.render(out))?;
    hint_more(context, list.next.as_ref());
    Ok(Exit::OK)
}

fn show(typed: &str, context: &Context) -> Result {
    let (name, version) = parse_name(typed)?;
    let detail = context.client()?.component(&name, version_text(version).as_deref(), false)?;
    let out = &context.out;
    if out.json {
        out.document(&detail)?;
        return Ok(Exit::OK);
    }
    out.data(&describe(&detail, context))?;
    Ok(Exit::OK)
}

fn version_text(version: Version) -> Option<String> {
    match version {
        Version::Newest => None,
        Version::Number(n) => Some(n.to_string()),
        Version::Digest(digest) => Some(digest.to_string()),
    }
}

fn schema(typed: &str, context: &Context) -> Result {
    let Reference { name, version, entry } = typed.parse()?;
    let detail = context.client()?.component(&name, version_text(version).as_deref(), true)?;
    let entries = &detail.component.entries;
    let usual = || {
        let job = entries.iter().find(|e| e.kind == "job");
        job.or(if let [only] = entries.as_slice() { Some(only) } else { None }).filter(|_| entry == Entry::Main)
    };
    let Some(found) = entries.iter().find(|e| e.name == entry.to_string()).or_else(usual) else {
        let names: Vec<_> = entries.iter().map(|e| e.name.as_str()).collect();
        let error = CliError::new(Exit::NOT_FOUND, "no-such-entry", format!("component \"{name}\" has no entry \"{entry}\""));
        return Err(error.hint(format!("it has: {}", names.join(", "))));
    };
    context.out.document(&found.schema)?;
    Ok(Exit::OK)
}

fn describe(detail: &ComponentDetail, context: &Context) -> String {
    let ComponentDetail { component, versions, jobs } = detail;
    let lines = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join("\n") };
    let entries =
        component.entries.iter().map(|e| if e.signature.is_empty() { format!("{}  {}", e.name, e.kind) } else { format!("{}  {}", e.name, e.signature) });
    let versions = versions.iter().map(|v| format!("{}  {}  {}", v.version, size(v.size), when::local(v.pushed_at, &TimeZone::UTC)));
    let runs_as = component.adapted.map_or_else(|| "uploaded".to_owned(), |digest| format!("{digest}, made of the core module that was uploaded"));
    fields(
        &context.out,
        &[
            ("name", component.name.to_string()),
            ("version", component.version.to_string()),
            ("digest", component.digest.to_string()),
            ("runs as", runs_as),
            ("size", format!("{} ({} bytes)", size(component.size), grouped(component.size))),
            ("pushed", when::local(component.pushed_at, &TimeZone::UTC)),
            ("entries", lines(entries.collect())),
            ("imports", lines(component.imports.clone())),
            ("asks for", asks(component)),
            ("versions", lines(versions.collect())),
            ("jobs", lines(jobs.iter().map(ToString::to_string).collect())),
        ],
    )
}

/// The grants that a job of it needs, as far as its imports tell.
fn asks(component: &Component) -> String {
    let mut lines: Vec<_> = component.asks_for.iter().map(ToString::to_string).collect();
    if !component.may_use.is_empty() {
        lines.push(format!("may use: {} (imported, as by most languages' libraries)", GrantKind::list(&component.may_use)));
    }
    if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n") }
}

fn rm(typed: &str, context: &Context) -> Result {
    let (name, version) = parse_name(typed)?;
    let version = match version {
        Version::Newest => None,
        Version::Number(n) => Some(n),
        Version::Digest(_) => {
            return Err(CliError::usage("a version is removed by its number").hint(format!("see its versions: bellcage component show {name}")));
        }
    };
    let removed = context.client()?.remove_component(&name, version)?;
    if context.out.json {
        context.out.document(&removed)?;
    } else {
        context.out.line(&format!("removed {typed} ({} version{})", removed.removed, if removed.removed == 1 { "" } else { "s" }))?;
    }
    Ok(Exit::OK)
}

/// `name[@version]`, without an entry.
fn parse_name(typed: &str) -> Result<(ComponentName, Version)> {
    let Reference { name, version, entry } = typed.parse()?;
    if entry != Entry::Main {
        return Err(CliError::usage(format!("{typed:?} names an entry, and a component is meant")).hint(format!("leave it out: {name}")));
    }
    Ok((name, version))
}
