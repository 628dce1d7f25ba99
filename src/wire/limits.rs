//! Limits over the wire.

use serde::{Deserialize, Serialize};

use super::Limits;

/// `GET /api/v1/limits`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitBounds {
    /// Of an attempt whose job does not say.
    pub defaults: Limits,
    /// The most that a job may ask for.
    pub caps: Limits,
}
