//! What a component offers and needs.

use serde::{Deserialize, Serialize};

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
    /// Its WIT signature, such as `func(day: string) -> result<u32, string>`; empty for `main`.
    pub signature: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// `wasi:cli/run`.
    Command,
    Function,
}
