//! What a component offers and needs, read from its type.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wasmtime::component::Component;
use wasmtime::component::types::{ComponentFunc, ComponentItem};

use super::signature::Signature;
use crate::job::Entry;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    pub entries: Vec<EntryInfo>,
    /// Imported interfaces, by full name.
    pub imports: Vec<String>,
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
    /// The same for programs. None for `main`, and past `SIGNATURES_MAX`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<Signature>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// `wasi:cli/run`.
    Command,
    Function,
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
pub(super) const INSPECTION_FORMAT: u32 = 2;
/// Characters of a signature that people are shown.
const SIGNATURE_SHOWN_MAX: usize = 2_000;
/// Bytes that all signatures of a component take as they are stored.
const SIGNATURES_MAX: usize = 4 << 20;

impl Inspection {
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
            Some(interface) if self.kind == EntryKind::Function => format!("{interface}.{}", self.function()),
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
            None => json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "array", "items": { "type": "string" } }),
        }
    }

    fn is_called(&self, typed: &str) -> bool {
        let Some(interface) = &self.interface else { return self.kind == EntryKind::Function && self.name == typed };
        let unversioned = interface.split_once('@').map_or(&**interface, |(path, _)| path);
        typed.rsplit_once('.').is_some_and(|(typed, function)| function == self.function() && (typed == unversioned || typed == short(interface)))
    }

    fn obstacle(&self) -> Option<String> {
        match (&self.types, self.kind) {
            (Some(types), _) => types.obstacle().map(str::to_owned),
            (None, EntryKind::Function) => Some("more types than are kept of one component".to_owned()),
            (None, EntryKind::Command) => None,
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
            ComponentItem::ComponentInstance(_) if is_command_export(name) => entries.push(EntryInfo {
                name: "main".to_owned(),
                kind: EntryKind::Command,
                interface: Some(name.to_owned()),
                signature: String::new(),
                types: None,
            }),
            ComponentItem::ComponentInstance(instance) => {
                // The short name where it can only mean one interface.
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
    // A resource's methods, as in `[method]counter.next`, cannot be called on their own.
    entries.retain(|entry| !entry.name.contains('['));
    forget_past(SIGNATURES_MAX, &mut entries);
    Inspection { entries, imports }
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
