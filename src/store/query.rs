//! What lists can be asked for. A page is bounded; the next one begins after a cursor.

use crate::job::{JobId, Outcome, RunState, TenantId};
use jiff::Timestamp;

#[derive(Clone, Debug)]
pub struct PageRequest {
    /// From an earlier page of the same list.
    pub after: Option<String>,
    /// 1 to 1,000.
    pub limit: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Set when there is more.
    pub next: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    pub tenant: TenantId,
    /// Every one of these labels, with this value.
    pub labels: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    pub tenant: TenantId,
    pub job: Option<JobId>,
    pub state: Option<RunState>,
    pub outcome: Option<Outcome>,
    /// `scheduled_at >= since` (inclusive).
    pub since: Option<Timestamp>,
    /// `scheduled_at < until` (exclusive).
    pub until: Option<Timestamp>,
}

/// Sizes, for `/metrics` and `/readyz`. May be a moment old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounts {
    pub jobs: u64,
    pub runs_unfinished: u64,
}

impl<T> Page<T> {
    /// The same page of other items.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}
