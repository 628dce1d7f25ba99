//! Grants: capabilities given to a job. Nothing is granted by default.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{DirectoryGrant, Origin, SecretName};

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
    /// A key-value namespace of the job's own, kept until the job is removed.
    #[serde(deserialize_with = "kv", skip_serializing_if = "std::ops::Not::not")]
    pub kv: bool,
    /// Where it may send HTTP requests. At most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<Origin>,
    /// Directories. With any, each run has a process of its own. At most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dirs: Vec<DirectoryGrant>,
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
    /// Origins that one job may be granted.
    pub const ORIGINS_MAX: usize = 100;
    /// Secrets that one job may be granted.
    pub const SECRETS_MAX: usize = 100;

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses origins of private networks and of this machine where the server connects to none.
    pub fn check_private(&self, allowed: bool) -> Result<(), GrantError> {
        match self.http.iter().find(|origin| !allowed && origin.is_private()) {
            Some(origin) => Err(GrantError::PrivateAddress { origin: origin.to_string() }),
            None => Ok(()),
        }
    }
}

/// A grant that this server does not give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("grants.http = {origin:?} is not on the public internet, and this server lets no job reach such addresses")]
    PrivateAddress { origin: String },
}

impl GrantError {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PrivateAddress { .. } => "private-address",
        }
    }

    pub fn hint(&self) -> &'static str {
        match self {
            Self::PrivateAddress { .. } => "its operator allows them with http.private = true",
        }
    }
}

/// `true` or `false`. How much a namespace holds is a limit, which is said of whoever looks for it here.
fn kv<'de, D: Deserializer<'de>>(d: D) -> Result<bool, D::Error> {
    struct Typed;

    impl<'de> Visitor<'de> for Typed {
        type Value = bool;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true or false")
        }

        fn visit_bool<E>(self, granted: bool) -> Result<bool, E> {
            Ok(granted)
        }

        fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<bool, A::Error> {
            Err(Error::custom("grants.kv is true or false; what a namespace holds is bounded by limits.kv_bytes and limits.kv_keys"))
        }
    }
    d.deserialize_any(Typed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_granted_with_a_word_and_its_size_is_a_limit() {
        let grants = |text: &str| serde_json::from_str::<Grants>(text).map(|grants| (grants.kv, serde_json::to_string(&grants).unwrap()));
        assert_eq!(grants(r#"{"kv":true}"#).unwrap(), (true, r#"{"kv":true}"#.to_owned()));
        assert_eq!(grants(r#"{"kv":false}"#).unwrap(), (false, "{}".to_owned()));
        assert!(grants(r#"{"kv":"yes"}"#).unwrap_err().to_string().contains("true or false"));
        assert!(grants(r#"{"kv":{"quota":"64KiB"}}"#).unwrap_err().to_string().contains("bounded by limits.kv_bytes and limits.kv_keys"));
    }
}
