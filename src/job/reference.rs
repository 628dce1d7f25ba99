//! `component:entry` references: what a job names instead of an import string into the host's own code.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ComponentName, Digest, IdError};

/// `name[@version|@sha256:…][:entry]`, for example `reports`, `reports@3`, `reports:generate`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    pub name: ComponentName,
    pub version: Version,
    pub entry: Entry,
}

/// Which version of a component a reference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// Follows each push.
    Newest,
    /// Pinned to the n-th push, from 1.
    Number(u32),
    /// Pinned to exact bytes.
    Digest(Digest),
}

/// What a job calls in a component.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Entry {
    /// `wasi:cli/run`: a command with arguments, environment and standard streams.
    Main,
    /// An exported function, `func` or `interface.func`.
    Function(Box<str>),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    #[error(transparent)]
    Name(#[from] IdError),
    #[error("{typed:?} is not a component version: use a number from 1, or sha256: and 64 hexadecimal digits")]
    Version { typed: String },
    #[error("{typed:?} is not an entry: use main, an exported function's name, or interface.function")]
    Entry { typed: String },
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(s: &str) -> Result<Self, ReferenceError> {
        let (name, rest) = s.split_at(s.find(['@', ':']).unwrap_or(s.len()));
        let (version, entry) = match rest.strip_prefix('@') {
            None => (Version::Newest, rest),
            Some(pinned) => {
                // A digest holds a colon of its own, so the entry's colon is looked for behind it.
                let from = if pinned.starts_with("sha256:") { "sha256:".len() } else { 0 };
                let end = pinned[from..].find(':').map_or(pinned.len(), |i| from + i);
                (parse_version(&pinned[..end])?, &pinned[end..])
            }
        };
        let entry = entry.strip_prefix(':').map_or(Ok(Entry::Main), str::parse)?;
        Ok(Self { name: name.parse()?, version, entry })
    }
}

fn parse_version(typed: &str) -> Result<Version, ReferenceError> {
    if typed.starts_with("sha256:") {
        return Ok(Version::Digest(typed.parse()?));
    }
    match typed.parse() {
        Ok(n) if n > 0 => Ok(Version::Number(n)),
        _ => Err(ReferenceError::Version { typed: typed.chars().take(120).collect() }),
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        match &self.version {
            Version::Newest => {}
            Version::Number(n) => write!(f, "@{n}")?,
            Version::Digest(d) => write!(f, "@{d}")?,
        }
        match &self.entry {
            Entry::Main => Ok(()),
            Entry::Function(name) => write!(f, ":{name}"),
        }
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;
    fn try_from(s: String) -> Result<Self, ReferenceError> {
        s.parse()
    }
}

impl From<Reference> for String {
    fn from(r: Reference) -> String {
        r.to_string()
    }
}

impl FromStr for Entry {
    type Err = ReferenceError;

    fn from_str(s: &str) -> Result<Self, ReferenceError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '/' | ':' | '@' | '_');
        match s {
            "main" => Ok(Self::Main),
            _ if !s.is_empty() && s.len() <= 200 && s.chars().all(allowed) => Ok(Self::Function(s.into())),
            _ => Err(ReferenceError::Entry { typed: s.chars().take(120).collect() }),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Main => f.write_str("main"),
            Self::Function(name) => f.write_str(name),
        }
    }
}

impl TryFrom<String> for Entry {
    type Error = ReferenceError;
    fn try_from(s: String) -> Result<Self, ReferenceError> {
        s.parse()
    }
}

impl From<Entry> for String {
    fn from(e: Entry) -> String {
        e.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_name_component_version_and_entry() {
        let digest = Digest::of(b"");
        for (text, version, entry) in [
            ("reports".to_owned(), Version::Newest, Entry::Main),
            ("reports@3".to_owned(), Version::Number(3), Entry::Main),
            ("reports:generate".to_owned(), Version::Newest, Entry::Function("generate".into())),
            ("reports@3:api.generate".to_owned(), Version::Number(3), Entry::Function("api.generate".into())),
            (format!("reports@{digest}"), Version::Digest(digest), Entry::Main),
            (format!("reports@{digest}:generate"), Version::Digest(digest), Entry::Function("generate".into())),
        ] {
            let parsed: Reference = text.parse().unwrap();
            assert_eq!((parsed.name.as_str(), parsed.version, &parsed.entry), ("reports", version, &entry));
            assert_eq!(parsed.to_string(), text);
        }
        assert_eq!("reports:main".parse::<Reference>().unwrap().to_string(), "reports");
    }

    #[test]
    fn a_bad_reference_says_which_part_is_wrong() {
        for (bad, part) in [
            ("", "component name"),
            ("a@0", "version"),
            ("a@", "version"),
            ("a@sha256:12", "digest"),
            ("a:", "entry"),
            ("a:b c", "entry"),
            ("A:b", "component name"),
        ] {
            let error = bad.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(part), "{bad:?}: {error}");
        }
    }
}
