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
    /// Bytes of memory that the guests of all tenants may hold together (`executor.memory`), where that is bounded.
    pub executor_memory: Option<u64>,
}
