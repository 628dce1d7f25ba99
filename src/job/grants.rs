//! Grants: capabilities given to a job. Nothing is granted by default.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::SecretName;

/// Every kind of grant that a job can be given; a kind this version cannot enforce is not accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Environment variables, name to value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Secrets, each as the environment variable of its name. At most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretName>,
}

/// A kind of grant, as far as a component can ask for it: by importing what would use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrantKind {
    /// Environment variables.
    Env,
    /// Directories.
    Dirs,
    /// HTTP requests to others.
    Http,
    /// A key-value namespace.
    Kv,
}

impl GrantKind {
    /// As in a job's `grants`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Env => "env",
            Self::Dirs => "dirs",
            Self::Http => "http",
            Self::Kv => "kv",
        }
    }

    /// For people: `env, http`.
    pub fn list(kinds: &[Self]) -> String {
        kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Whether nearly every program imports it through its language's standard library, so that the import says only that it may
    /// use such a grant.
    pub fn is_imported_by_libraries(self) -> bool {
        matches!(self, Self::Env | Self::Dirs)
    }
}

impl fmt::Display for GrantKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Grants {
    /// Secrets that one job may be granted.
    pub const SECRETS_MAX: usize = 100;

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
