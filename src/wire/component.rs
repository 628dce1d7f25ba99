//! Components over the wire.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ComponentName, Digest, GrantKind, JobId, TenantId};

/// One version of a component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Component {
    pub name: ComponentName,
    pub tenant: TenantId,
    /// From 1, one more at each push of other bytes.
    pub version: u32,
    pub digest: Digest,
    /// Bytes as uploaded.
    pub size: u64,
    pub pushed_at: Timestamp,
    /// What a job can call.
    pub entries: Vec<Entry>,
    /// Imported interfaces, by full name.
    pub imports: Vec<String>,
    /// Grants that it was written to use: `http`, `kv`.
    #[serde(default)]
    pub asks_for: Vec<GrantKind>,
    /// Grants that it may use: `env`, `dirs`. Most languages' standard libraries import these, whether the program uses them or not.
    #[serde(default)]
    pub may_use: Vec<GrantKind>,
    /// Digest of the component that runs, where a core module was uploaded: it was made one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapted: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// As in a reference: `main`, `func`, `interface.func`.
    pub name: String,
    /// `command`, `function` or `job`.
    pub kind: String,
    /// Its WIT signature; empty for `main`.
    #[serde(default)]
    pub signature: String,
    /// JSON Schema (2020-12) of its arguments, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
}

/// `GET /api/v1/components`: the newest version of each name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComponentList {
    pub components: Vec<Component>,
    pub next: Option<String>,
}

/// `GET /api/v1/components/{name}`; with `schema=true` each entry has its `schema`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComponentDetail {
    /// The version asked for, else the newest.
    #[serde(flatten)]
    pub component: Component,
    /// Newest first, at most 1,000.
    pub versions: Vec<ComponentSummary>,
    /// Jobs that refer to it, at most 1,000.
    pub jobs: Vec<JobId>,
}

/// A version in the list of a component's versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentSummary {
    pub version: u32,
    pub digest: Digest,
    pub size: u64,
    pub pushed_at: Timestamp,
}

/// What a push accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushQuery {
    /// Also a version that breaks jobs.
    pub force: bool,
    /// Also a version that asks for more grants than the one before.
    pub approve_grants: bool,
}

impl PushQuery {
    /// As query parameters.
    pub fn query(self) -> Vec<(&'static str, String)> {
        vec![("force", self.force.to_string()), ("approve_grants", self.approve_grants.to_string())]
    }
}

/// `PUT /api/v1/components/{name}` with a `PushQuery`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PushedComponent {
    /// False when the newest version had these bytes already.
    pub new: bool,
    pub component: Component,
    /// The jobs that it broke, by force.
    #[serde(default)]
    pub broken: Vec<BrokenJob>,
    /// Grants that it asks for, or may use, and the version before did not.
    #[serde(default)]
    pub new_grants: Vec<GrantKind>,
}

/// A job that cannot run a new version of its component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokenJob {
    pub job: JobId,
    /// For people.
    pub why: String,
}

/// `DELETE /api/v1/components/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedComponent {
    /// How many versions went.
    pub removed: u32,
}
