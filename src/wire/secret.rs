//! Secrets over the wire: values go to the server and never come back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{SecretName, SecretText};

/// `PUT /api/v1/secrets/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutSecret {
    /// 1 byte to 64 KiB of text.
    pub value: SecretText,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    pub name: SecretName,
    pub updated_at: Timestamp,
    /// False where no run can be given it: it is damaged, or was stored under another key than the server has.
    pub readable: bool,
    /// What is stored of it was changed or cut off.
    #[serde(default)]
    pub damaged: bool,
}

/// By name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretList {
    pub secrets: Vec<Secret>,
    pub next: Option<String>,
}

/// What became of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedSecret {
    pub removed: SecretName,
}
