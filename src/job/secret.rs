//! Secrets: values that a guest is given and that nobody is shown.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::IdError;

/// The name of a secret, and of the environment variable that carries it: `[A-Za-z_][A-Za-z0-9_]{0,99}`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretName(Box<str>);

impl SecretName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = IdError;
    fn from_str(s: &str) -> Result<Self, IdError> {
        let fits = match s.as_bytes() {
            [first, rest @ ..] => {
                rest.len() < 100 && (first.is_ascii_alphabetic() || *first == b'_') && rest.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
            }
            [] => false,
        };
        if fits { Ok(Self(s.into())) } else { Err(IdError::SecretName { typed: s.chars().take(120).collect() }) }
    }
}

impl TryFrom<String> for SecretName {
    type Error = IdError;
    fn try_from(s: String) -> Result<Self, IdError> {
        s.parse()
    }
}

impl From<SecretName> for String {
    fn from(name: SecretName) -> String {
        name.0.into()
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// A secret's value. Its `Debug` form hides it and it has no `Display`; its serde form is the value, for the way to a server and
/// to a worker process.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// Bytes of a value at most.
    pub const BYTES_MAX: usize = 64 << 10;

    pub fn new(value: String) -> Self {
        Self(value)
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_as_a_variable_is() {
        for good in ["API_KEY", "_x", "a1", &"A".repeat(100)] {
            assert!(good.parse::<SecretName>().is_ok(), "{good}");
        }
        for bad in ["", "1A", "A-B", "A=B", "Ä", "A B", &"A".repeat(101)] {
            assert!(bad.parse::<SecretName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_debug_form_hides_the_value() {
        assert_eq!(format!("{:?}", ("API_KEY", SecretText::new("hush".to_owned()))), "(\"API_KEY\", (hidden))");
    }
}
