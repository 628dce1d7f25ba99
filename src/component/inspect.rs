//! What a component offers and needs, read from its type.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentInstance, ComponentItem};
use wasmtime::component::{Component, Type};

use super::signature::Signature;
use super::{ComponentError, as_shown};
use crate::job::{Digest, Entry};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    pub entries: Vec<EntryInfo>,
    /// Imported interfaces, by full name.
    pub imports: Vec<String>,
    /// Of the component that runs, where a core module was uploaded and made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapted: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryInfo {
    /// As in a reference: `main`, `func`, `interface.func`.
    pub name: String,
    pub kind: EntryKind,
    /// The interface that exports it, by full name; none for what is exported at the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Its WIT signature for people, such as `func(day: string) -> result<u32, string>`; empty for `main`.
    pub signature: String,
    /// The same for programs. None for `main` and a typed job, and past `SIGNATURES_MAX`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Signature>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// `wasi:cli/run`.
    Command,
    Function,
    /// `run` of `bellcage:job/entry`: takes any JSON.
    Job,
}

/// Why a reference's entry is none that can be called: what is to be said of the component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    #[error("has no entry {typed:?}")]
    Missing { typed: String, entries: Vec<String> },
    /// A short interface name that means several.
    #[error("has several entries {typed:?}: {}", .candidates.join(" and "))]
    Ambiguous { typed: String, candidates: Vec<String> },
    #[error("has an entry {typed:?} that cannot be called: its signature has {obstacle}, which cannot be given in JSON")]
    NotCallable { typed: String, obstacle: String },
}

/// Raised when inspection finds more or says it otherwise, so that what is cached is compiled and looked at anew.
pub(super) const INSPECTION_FORMAT: u32 = 4;
/// The package that typed jobs are written against, and the versions of it that are known here: compatible ones.
pub const JOB_PACKAGE: &str = "bellcage:job/";
pub const JOB_VERSIONS: &str = "0.1.";
/// What `run` of its `entry` is.
const JOB_SIGNATURE: &str = "func(context: record { job: string, run: string, attempt: u32, scheduled-at: string, scheduled-at-ms: u64, deadline-ms: u64 }, \
     input: string) -> result<string, variant { failed(string), retry-after(record { message: string, after-ms: u64 }), permanent(string) }>";
/// Characters of a signature that people are shown.
const SIGNATURE_SHOWN_MAX: usize = 2_000;
const JOB_ENTRY: &str = "bellcage:job/entry@";
const SCHEMA: &str = "https://json-schema.org/draft/2020-12/schema";
/// Bytes that all signatures of a component take as they are stored.
const SIGNATURES_MAX: usize = 4 << 20;

impl Inspection {
    /// What is called where no entry is named: `main`, else the typed job, else the only function.
    pub fn usual_entry(&self) -> Entry {
        let job = || self.entries.iter().find(|e| e.kind == EntryKind::Job);
        let only = || if let [only] = self.entries.as_slice() { Some(only) } else { None };
        match job().or_else(only) {
            Some(entry) if !self.entries.iter().any(|e| e.kind == EntryKind::Command) => Entry::Function(entry.full_name().into()),
            _ => Entry::Main,
        }
    }

    /// What `entry` means. A function of an interface may be named with the interface in short (`api.run`), without its
    /// version (`acme:reports/api.run`) or in full.
    pub fn entry(&self, entry: &Entry) -> Result<&EntryInfo, EntryError> {
        let typed = entry.to_string();
        let found: Vec<_> = match entry {
            Entry::Main => self.entries.iter().filter(|e| e.kind == EntryKind::Command).take(1).collect(),
            Entry::Function(name) => match self.entries.iter().find(|e| **name == *e.full_name()) {
                Some(exact) => vec![exact],
                None => self.entries.iter().filter(|e| e.is_called(name)).collect(),
            },
        };
        match *found {
            [] => Err(EntryError::Missing { typed, entries: self.entries.iter().map(|e| e.name.clone()).collect() }),
            [only] => only.obstacle().map_or(Ok(only), |obstacle| Err(EntryError::NotCallable { typed, obstacle })),
            _ => Err(EntryError::Ambiguous { typed, candidates: found.iter().map(|e| e.full_name()).collect() }),
        }
    }
}

impl EntryInfo {
    /// With the full name of its interface: `acme:reports/api@1.0.0.run`.
    pub fn full_name(&self) -> String {
        match &self.interface {
            Some(interface) if self.kind != EntryKind::Command => format!("{interface}.{}", self.function()),
            _ => self.name.clone(),
        }
    }

    /// The function's own name: no function's name has a dot, versions of interfaces have.
    pub fn function(&self) -> &str {
        self.name.rsplit_once('.').map_or(&self.name, |(_, function)| function)
    }

    /// JSON Schema (2020-12) of its arguments.
    pub fn arguments_schema(&self) -> Value {
        match &self.types {
            Some(types) => types.json_schema(),
            None if self.kind == EntryKind::Job => json!({ "$schema": SCHEMA }),
            None => json!({ "$schema": SCHEMA, "type": "array", "items": { "type": "string" } }),
        }
    }

    fn is_called(&self, typed: &str) -> bool {
        let Some(interface) = &self.interface else { return self.kind == EntryKind::Function && self.name == typed };
        if self.kind == EntryKind::Job && self.name == typed {
            return true;
        }
        let unversioned = interface.split_once('@').map_or(&**interface, |(path, _)| path);
        typed.rsplit_once('.').is_some_and(|(typed, function)| function == self.function() && (typed == unversioned || typed == short(interface)))
    }

    fn obstacle(&self) -> Option<String> {
        match (&self.types, self.kind) {
            (Some(types), _) => types.obstacle().map(str::to_owned),
            (None, EntryKind::Function) => Some("more types than are kept of one component".to_owned()),
            (None, EntryKind::Command | EntryKind::Job) => None,
        }
    }
}

impl EntryError {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "no-such-entry",
            Self::Ambiguous { .. } => "ambiguous-entry",
            Self::NotCallable { .. } => "entry-not-callable",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::Missing { entries, .. } if entries.is_empty() => "the component has no entry at all".to_owned(),
            Self::Missing { entries, .. } => format!("it has: {}", entries.join(", ")),
            Self::Ambiguous { .. } => "name the interface in full".to_owned(),
            Self::NotCallable { .. } => "export a function of plain values (numbers, strings, lists, records, variants), or a command".to_owned(),
        }
    }
}

/// The export that makes a component a command, for any 0.2 version.
pub fn is_command_export(name: &str) -> bool {
    name.strip_prefix("wasi:cli/run@").is_some_and(|version| version.starts_with("0.2."))
}

pub fn inspect(component: &Component) -> Inspection {
    let engine = component.engine();
    let ty = component.component_type();
    let imports = ty.imports(engine).map(|(name, _)| name.to_owned()).collect();
    let interfaces: Vec<_> = ty.exports(engine).filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentInstance(_))).map(|(name, _)| name).collect();
    let mut entries = Vec::new();
    for (name, item) in ty.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(func) => entries.push(function(name.to_owned(), None, &func)),
            ComponentItem::ComponentInstance(ref instance) if is_command_export(name) && runs_as_command(instance, engine) => entries.push(EntryInfo {
                name: "main".to_owned(),
                kind: EntryKind::Command,
                interface: Some(name.to_owned()),
                signature: String::new(),
                types: None,
            }),
            ComponentItem::ComponentInstance(instance) => {
                // The short name where it can only mean one interface.
                if name.starts_with(JOB_ENTRY) {
                    entries.extend(instance.exports(engine).filter_map(|(func_name, item)| job_entry(name, func_name, &item.ty)));
                    continue;
                }
                let unique = interfaces.iter().filter(|other| short(other) == short(name)).count() == 1;
                let interface = if unique { short(name) } else { name };
                for (func_name, item) in instance.exports(engine) {
                    if let ComponentItem::ComponentFunc(func) = item.ty {
                        entries.push(function(format!("{interface}.{func_name}"), Some(name), &func));
                    }
                }
            }
            _ => {}
        }
    }
    name_jobs(&mut entries);
    // A resource's methods, as in `[method]counter.next`, cannot be called on their own.
    entries.retain(|entry| !entry.name.contains('['));
    forget_past(SIGNATURES_MAX, &mut entries);
    Inspection { entries, imports, adapted: None }
}

/// Refuses a typed job of a version or shape that no host here could call.
pub(super) fn check_job(component: &Component) -> Result<(), ComponentError> {
    let engine = component.engine();
    for (name, item) in component.component_type().exports(engine) {
        let (Some(version), ComponentItem::ComponentInstance(instance)) = (name.strip_prefix(JOB_ENTRY), item.ty) else { continue };
        if !version.starts_with(JOB_VERSIONS) {
            return Err(ComponentError::UnknownExport { export: name.to_owned() });
        }
        let run = instance.exports(engine).find_map(|(func, item)| match item.ty {
            ComponentItem::ComponentFunc(ty) if func == "run" => Some(Signature::of(&ty).to_string()),
            _ => None,
        });
        if run.as_deref() != Some(JOB_SIGNATURE) {
            let has = run.map_or_else(|| "no function run".to_owned(), |run| as_shown(&format!("run: {run}"), SIGNATURE_SHOWN_MAX));
            return Err(ComponentError::ExportMismatch { export: name.to_owned(), has });
        }
    }
    Ok(())
}

fn job_entry(interface: &str, function: &str, item: &ComponentItem) -> Option<EntryInfo> {
    let ComponentItem::ComponentFunc(func) = item else { return None };
    let signature = Signature::of(func).to_string();
    (function == "run").then(|| EntryInfo { name: function.to_owned(), kind: EntryKind::Job, interface: Some(interface.to_owned()), signature, types: None })
}

/// A typed job is called by its function's name, unless a function that is exported at the root has it.
fn name_jobs(entries: &mut [EntryInfo]) {
    let taken = entries.iter().any(|entry| entry.kind == EntryKind::Function && entry.name == "run");
    for entry in entries.iter_mut().filter(|entry| taken && entry.kind == EntryKind::Job) {
        entry.name = format!("entry.{}", entry.name);
    }
}

/// Whether an instance has what `wasi:cli/run` asks for: `run: func() -> result`. Under that name anything may be exported.
fn runs_as_command(instance: &ComponentInstance, engine: &Engine) -> bool {
    let Some(ComponentItem::ComponentFunc(run)) = instance.get_export(engine, "run").map(|export| export.ty) else { return false };
    let plain = |ty| matches!(ty, Type::Result(result) if result.ok().is_none() && result.err().is_none());
    run.params().len() == 0 && run.results().len() == 1 && run.results().all(plain)
}

/// Drops the types of the entries that come after `max` bytes of them.
fn forget_past(max: usize, entries: &mut [EntryInfo]) {
    let mut left = Some(max);
    for entry in entries {
        let bytes = serde_json::to_vec(&entry.types).map_or(usize::MAX, |text| text.len());
        left = left.and_then(|left| left.checked_sub(bytes));
        if left.is_none() {
            entry.types = None;
        }
    }
}

/// `api` of `acme:reports/api@1.0.0`.
fn short(interface: &str) -> &str {
    let path = interface.split_once('@').map_or(interface, |(path, _)| path);
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn function(name: String, interface: Option<&str>, func: &ComponentFunc) -> EntryInfo {
    let types = Signature::of(func);
    let text = types.to_string();
    let signature = match text.char_indices().nth(SIGNATURE_SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    };
    EntryInfo { name, kind: EntryKind::Function, interface: interface.map(str::to_owned), signature, types: Some(types) }
}
