//! Grants: capabilities given to a job. Nothing is granted by default.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Every kind of grant that a job can be given; a kind this version cannot enforce is not accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// Environment variables, name to value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

impl Grants {
    pub fn is_empty(&self) -> bool {
        self.env.is_empty()
    }
}
