//! Directories that a job is granted: fresh ones, and such as the operator of the server listed.
//!
//! ```toml
//! dirs = ["scratch", "data"]
//! dirs = [{ scratch = "256MiB", at = "/tmp" }, { name = "data", at = "/in" }, { name = "out", write = true }]
//! ```

use serde::{Deserialize, Serialize};

use super::{DirectoryName, IdError, bytes};

/// A directory that each attempt is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub enum DirectoryGrant {
    /// Empty, writable, with room for so many bytes, and gone after the attempt.
    Scratch { bytes: u64, at: String },
    /// One that the operator listed under this name. For reading only unless `write`.
    Listed { name: DirectoryName, at: String, write: bool },
}

/// Why a list of directories was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    #[error("{typed:?} is no place for a directory: use an absolute path without . and .., of at most 200 bytes")]
    Place { typed: String },
    #[error("two directories are granted at {at:?}")]
    SamePlace { at: String },
    #[error("more than one scratch directory is granted")]
    TwoScratch,
    #[error("a scratch directory of no bytes is granted")]
    Empty,
}

impl DirectoryGrant {
    /// Of one job at most.
    pub const MAX: usize = 10;
    /// Bytes of a scratch directory that says nothing else.
    pub const SCRATCH_BYTES: u64 = 64 << 20;

    /// Where the guest finds it.
    pub fn at(&self) -> &str {
        match self {
            Self::Scratch { at, .. } | Self::Listed { at, .. } => at,
        }
    }

    /// Bytes of the scratch directories among these.
    pub fn scratch_bytes(grants: &[Self]) -> u64 {
        let bytes = |grant: &Self| if let Self::Scratch { bytes, .. } = grant { *bytes } else { 0 };
        grants.iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// Refuses places that are none, or not apart.
    pub fn validate(grants: &[Self]) -> Result<(), DirectoryError> {
        for (n, grant) in grants.iter().enumerate() {
            let at = grant.at();
            if !is_place(at) {
                return Err(DirectoryError::Place { typed: at.chars().take(100).collect() });
            }
            if grants[..n].iter().any(|other| other.at() == at) {
                return Err(DirectoryError::SamePlace { at: at.to_owned() });
            }
        }
        let scratch = || grants.iter().filter(|grant| matches!(grant, Self::Scratch { .. }));
        match scratch().count() {
            0 | 1 if grants.iter().any(|grant| matches!(grant, Self::Scratch { bytes: 0, .. })) => Err(DirectoryError::Empty),
            0 | 1 => Ok(()),
            _ => Err(DirectoryError::TwoScratch),
        }
    }
}

fn is_place(at: &str) -> bool {
    let parts = |rest: &str| rest.split('/').all(|part| !matches!(part, "" | "." | ".."));
    at.len() <= 200 && !at.contains(char::is_control) && at.strip_prefix('/').is_some_and(parts)
}

/// As it is written: a name alone, or a table.
#[derive(Clone, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a directory is \"scratch\", a listed name, { scratch = \"64MiB\", at = \"/scratch\" } or { name = \"data\", at = \"/data\", write = false }"
)]
enum Form {
    Name(String),
    Scratch(ScratchForm),
    Listed(ListedForm),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScratchForm {
    #[serde(with = "bytes")]
    scratch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedForm {
    name: DirectoryName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    write: bool,
}

const SCRATCH: &str = "scratch";

impl TryFrom<Form> for DirectoryGrant {
    type Error = IdError;

    fn try_from(form: Form) -> Result<Self, IdError> {
        let default = |name: &str| format!("/{name}");
        Ok(match form {
            Form::Name(name) if name == SCRATCH => Self::Scratch { bytes: Self::SCRATCH_BYTES, at: default(SCRATCH) },
            Form::Name(name) => Self::Listed { at: default(&name), name: name.parse()?, write: false },
            Form::Scratch(ScratchForm { scratch, at }) => Self::Scratch { bytes: scratch, at: at.unwrap_or_else(|| default(SCRATCH)) },
            Form::Listed(ListedForm { name, at, write }) => Self::Listed { at: at.unwrap_or_else(|| default(name.as_str())), name, write },
        })
    }
}

impl From<DirectoryGrant> for Form {
    fn from(grant: DirectoryGrant) -> Self {
        match grant {
            DirectoryGrant::Scratch { bytes, at } => Self::Scratch(ScratchForm { scratch: bytes, at: Some(at) }),
            DirectoryGrant::Listed { name, at, write } => Self::Listed(ListedForm { name, at: Some(at), write }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(form: serde_json::Value) -> Result<DirectoryGrant, String> {
        serde_json::from_value(form).map_err(|e| e.to_string())
    }

    #[test]
    fn a_name_alone_says_all_that_most_need() {
        assert_eq!(read(json!("scratch")), Ok(DirectoryGrant::Scratch { bytes: 64 << 20, at: "/scratch".to_owned() }));
        assert_eq!(read(json!("data")), Ok(DirectoryGrant::Listed { name: "data".parse().unwrap(), at: "/data".to_owned(), write: false }));
        assert_eq!(read(json!({ "scratch": "1MiB", "at": "/tmp" })), Ok(DirectoryGrant::Scratch { bytes: 1 << 20, at: "/tmp".to_owned() }));
        let written = DirectoryGrant::Listed { name: "out".parse().unwrap(), at: "/o".to_owned(), write: true };
        assert_eq!(read(json!({ "name": "out", "at": "/o", "write": true })), Ok(written));
    }

    #[test]
    fn what_is_written_is_read_again() {
        for form in [json!("scratch"), json!("data"), json!({ "name": "out", "write": true })] {
            let grant = read(form).unwrap();
            assert_eq!(read(serde_json::to_value(&grant).unwrap()), Ok(grant));
        }
    }

    #[test]
    fn what_names_no_directory_is_refused() {
        for form in [json!("/srv/data"), json!(".."), json!({ "path": "/srv" }), json!({ "name": "data", "mode": 1 }), json!({ "scratch": "much" }), json!(3)] {
            assert!(read(form.clone()).is_err(), "{form}");
        }
    }

    #[test]
    fn places_are_absolute_apart_and_have_no_dots() {
        let scratch = |at: &str| DirectoryGrant::Scratch { bytes: 1, at: at.to_owned() };
        let listed = |at: &str| DirectoryGrant::Listed { name: "data".parse().unwrap(), at: at.to_owned(), write: false };
        for bad in ["", "/", "data", "/a/../b", "/a//b", "/a/", "/.", "/a\0", &format!("/{}", "a".repeat(200))] {
            assert!(matches!(DirectoryGrant::validate(&[scratch(bad)]), Err(DirectoryError::Place { .. })), "{bad:?}");
        }
        assert_eq!(DirectoryGrant::validate(&[scratch("/a"), listed("/a")]), Err(DirectoryError::SamePlace { at: "/a".to_owned() }));
        assert_eq!(DirectoryGrant::validate(&[scratch("/a"), scratch("/b")]), Err(DirectoryError::TwoScratch));
        assert_eq!(DirectoryGrant::validate(&[DirectoryGrant::Scratch { bytes: 0, at: "/a".to_owned() }]), Err(DirectoryError::Empty));
        assert_eq!(DirectoryGrant::validate(&[scratch("/tmp/a"), listed("/tmp/b"), listed("/c")]), Ok(()));
    }
}
