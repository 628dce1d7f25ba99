//! Leases: time-bounded claims on jobs and runs.

use std::sync::Arc;

use jiff::Timestamp;

/// Who holds a lease: one server process, named anew at each start, so that a restarted server is never mistaken for its predecessor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Owner(pub Arc<str>);

/// A claim: void after `until` (exclusive), and after anybody else claims the same (then `token` is stale).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub token: u64,
    pub until: Timestamp,
}
