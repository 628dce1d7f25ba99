//! What lists can be asked for. A page is bounded; the next one begins after a cursor.

use jiff::Timestamp;

use crate::job::{Cause, JobId, Outcome, RunState, TenantId};

use super::StoreError;

#[derive(Clone, Debug)]
pub struct PageRequest {
    /// From an earlier page of the same list.
    pub after: Option<String>,
    /// 1 to 1,000.
    pub limit: usize,
}

impl PageRequest {
    /// At most this many items in a page.
    pub const LIMIT_MAX: usize = 1_000;

    pub(super) fn limit(&self) -> usize {
        self.limit.clamp(1, Self::LIMIT_MAX)
    }

    /// The cursor, read as what this list gives out.
    pub(super) fn after<T: std::str::FromStr>(&self) -> Result<Option<T>, StoreError> {
        let read = |typed: &String| typed.parse().map_err(|_| StoreError::Cursor { typed: typed.chars().take(120).collect() });
        self.after.as_ref().map(read).transpose()
    }
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
    pub cause: Option<Cause>,
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
    /// `items`, of which one more than `limit` was looked for to see whether there is a next page; `cursor` names the last one shown.
    pub(super) fn cut(mut items: Vec<T>, limit: usize, cursor: impl FnOnce(&T) -> String) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }

    /// The same page of other items.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(f).collect(), next: self.next }
    }
}
