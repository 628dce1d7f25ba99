//! The JSON shapes that server and client share: what `--json` prints and what the HTTP API speaks.
//!
//! A contract for scripts: fields may be added, never renamed or removed. Requests are strict (an unknown field is
//! refused by name), answers are read leniently (an unknown field is ignored), so that a client may be older than its
//! server. Times are RFC 3339 in UTC; a `…_local` twin is RFC 9557, in the job's zone, for people.
//!
//! Deliberately absent: HTTP (paths, headers, status codes) and every decision.

mod bulk;
mod calendar;
mod component;
mod event;
mod job;
mod limits;
mod problem;
mod run;
mod secret;

use serde::{Deserialize, Serialize};

pub use bulk::{Bulk, BulkDone, BulkJob, BulkVerb};
pub use calendar::{Calendar, CalendarList, RemovedCalendar};
pub use component::{BrokenJob, Component, ComponentDetail, ComponentList, ComponentSummary, Entry, PushQuery, PushedComponent, RemovedComponent};
pub use event::{Event, EventKind, EventQuery};
pub use job::{
    AddJob, AddedJob, Applied, AppliedJob, AppliedTo, Apply, Fires, Job, JobList, JobQuery, JobStatus, OnConflict, PauseJob, RemovedJob, ResumeFrom, ResumeJob,
    WaitsFor, upstream_first,
};
pub use limits::LimitBounds;
pub use problem::Problem;
pub use run::{
    Attempt, Backfill, Backfilled, CancelFound, CancelRun, CancelRuns, CancelledRun, CancelledRuns, Firing, FiringList, FiringQuery, Run, RunDetail, RunList,
    RunLog, RunQuery, TriggerRun, TriggeredRun,
};

pub use secret::{PutSecret, RemovedSecret, Secret, SecretList};

pub use crate::job::{
    CalendarName, Cause, ComponentName, Digest, Enough, GrantKind, IdError, JobId, JobSpec, Limits, Outcome, Pause, Progress, Receipt, RunError, RunId, RunKey,
    RunState, SecretName, SecretText, SkipReason, TenantId, UpstreamEnd,
};
pub use crate::trigger::{Exclusion, Exclusions, Span, TriggerError, TriggerSpec, parse_duration, parse_end, parse_instant};

/// Which part of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// 1 to 1,000; the server's default is 100.
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub after: Option<String>,
}

impl Page {
    fn pairs(&self, pairs: &mut Vec<(&'static str, String)>) {
        pairs.extend(self.limit.map(|n| ("limit", n.to_string())));
        pairs.extend(self.after.clone().map(|cursor| ("after", cursor)));
    }

    /// As query parameters.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        self.pairs(&mut pairs);
        pairs
    }
}

/// The answer of `/healthz` and `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`, or `ready`.
    pub status: String,
    /// Of the server.
    pub version: String,
}
