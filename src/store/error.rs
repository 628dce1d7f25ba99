//! What can go wrong in a store, as facts that callers branch on.

use std::path::PathBuf;

use super::KvRefused;
use crate::job::JobKey;

#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// `what` names it in full, such as `job "nightly"`.
    #[error("{what} does not exist")]
    NotFound { what: String },
    #[error("job {:?} exists already", .0.id)]
    JobExists(JobKey),
    #[error("job {:?} was changed by somebody else meanwhile", .0.id)]
    Conflict(JobKey),
    #[error("component {name:?} is used by {} job(s), among them {:?}", jobs.len(), jobs[0].id)]
    InUse { name: String, jobs: Vec<JobKey> },
    #[error("calendar {name:?} is used by {} job(s), among them {:?}", jobs.len(), jobs[0].id)]
    CalendarInUse { name: String, jobs: Vec<JobKey> },
    #[error(transparent)]
    KeyValue(#[from] KvRefused),
    #[error("the cursor {typed:?} is not one that this server gave")]
    Cursor { typed: String },
    #[error("the store in {} is in use by another server (pid {pid})", path.display())]
    Locked { path: PathBuf, pid: String },
    #[error("the store {} was written by a newer bellcage (schema {found}, this one knows up to {known})", path.display())]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("the store {} is damaged: {detail}", path.display())]
    Corrupt { path: PathBuf, detail: String },
    #[error("the store {} cannot be written: {detail}", path.display())]
    ReadOnly { path: PathBuf, detail: String },
    #[error("the disk is full, nothing was written")]
    Full,
    #[error("the store has been closed")]
    Closed,
    /// The database takes no such value: the same would be refused again.
    #[error("the store refused a value: {0}")]
    Refused(String),
    /// Anything else the database said.
    #[error("the store failed: {0}")]
    Backend(String),
}
