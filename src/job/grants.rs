//! Grants: capabilities given to a job. Nothing is granted by default.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{DirectoryGrant, Origin, SecretName, bytes};

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
    /// A key-value namespace of the job's own: `true`, or with a quota of its own.
    #[serde(with = "kv", skip_serializing_if = "Option::is_none")]
    pub kv: Option<KvGrant>,
    /// Where it may send HTTP requests. At most 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub http: Vec<Origin>,
    /// Directories. With any, each run has a process of its own. At most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dirs: Vec<DirectoryGrant>,
}

/// A key-value namespace, kept until the job is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KvGrant {
    /// Bytes of keys and values together; `None`: the server's default.
    #[serde(with = "bytes::option", skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
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
    #[error("grants.kv.quota = {asked} is above this server's cap of {cap}")]
    Quota { asked: String, cap: String },
    #[error("grants.http = {origin:?} is not on the public internet, and this server lets no job reach such addresses")]
    PrivateAddress { origin: String },
}

impl GrantError {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Quota { .. } => "bad-limit",
            Self::PrivateAddress { .. } => "private-address",
        }
    }

    pub fn hint(&self) -> &'static str {
        match self {
            Self::Quota { .. } => "see the caps with: bellcage config show",
            Self::PrivateAddress { .. } => "its operator allows them with http.private = true",
        }
    }
}

impl KvGrant {
    /// The quota it means.
    pub fn quota(self, default: u64, cap: u64) -> Result<u64, GrantError> {
        match self.quota {
            Some(asked) if asked > cap => Err(GrantError::Quota { asked: bytes::format(asked), cap: bytes::format(cap) }),
            Some(asked) => Ok(asked),
            None => Ok(default.min(cap)),
        }
    }
}

/// `true`, `false`, or a table.
mod kv {
    use super::*;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    pub fn serialize<S: Serializer>(grant: &Option<KvGrant>, s: S) -> Result<S::Ok, S::Error> {
        match grant {
            Some(KvGrant { quota: None }) => s.serialize_bool(true),
            Some(grant) => grant.serialize(s),
            None => s.serialize_bool(false),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<KvGrant>, D::Error> {
        struct Typed;

        impl<'de> Visitor<'de> for Typed {
            type Value = Option<KvGrant>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a quota such as { quota = \"1MiB\" }")
            }

            fn visit_bool<E>(self, granted: bool) -> Result<Self::Value, E> {
                Ok(granted.then(KvGrant::default))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                KvGrant::deserialize(MapAccessDeserializer::new(map)).map(Some)
            }
        }
        d.deserialize_any(Typed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_granted_with_a_word_or_a_quota() {
        let grants = |text: &str| serde_json::from_str::<Grants>(text).map(|grants| (grants.kv, serde_json::to_string(&grants).unwrap()));
        assert_eq!(grants(r#"{"kv":true}"#).unwrap(), (Some(KvGrant { quota: None }), r#"{"kv":true}"#.to_owned()));
        let quota = r#"{"kv":{"quota":"64KiB"}}"#;
        assert_eq!(grants(quota).unwrap(), (Some(KvGrant { quota: Some(64 << 10) }), quota.to_owned()));
        assert_eq!(grants(r#"{"kv":false}"#).unwrap(), (None, "{}".to_owned()));
        assert!(grants(r#"{"kv":"yes"}"#).unwrap_err().to_string().contains("true, false or a quota"));
        assert!(grants(r#"{"kv":{"size":1}}"#).unwrap_err().to_string().contains("size"));
    }

    #[test]
    fn a_quota_above_the_cap_is_refused_and_a_default_above_it_is_lowered() {
        let quota = |asked| KvGrant { quota: asked }.quota(20, 10);
        assert_eq!((quota(None), quota(Some(9))), (Ok(10), Ok(9)));
        assert_eq!(quota(Some(11)).unwrap_err().to_string(), "grants.kv.quota = 11B is above this server's cap of 10B");
    }
}
