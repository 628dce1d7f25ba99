//! Runs, their attempts and logs, and firings that made no run.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Cause, Enough, Job, JobId, Outcome, Page, Progress, Receipt, RunError, RunId, RunKey, RunState, SkipReason, TenantId, UpstreamEnd};
use crate::job;

/// One execution of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub tenant: TenantId,
    pub job: JobId,
    /// The reference that the job had when the run was made.
    pub component: String,
    pub cause: Cause,
    /// The runs that it follows, where the cause is `after`.
    #[serde(default)]
    pub upstream: Vec<UpstreamEnd>,
    /// What a run on demand is known by.
    #[serde(default)]
    pub key: Option<RunKey>,
    pub state: RunState,
    /// Set exactly when `state` is ended.
    pub outcome: Option<Outcome>,
    /// The instant that the trigger named; when the last upstream run ended; for a run on demand, the time that it was asked for.
    pub scheduled_at: Timestamp,
    /// Not started before: `scheduled_at` and jitter, or the time of the next attempt.
    pub start_at: Timestamp,
    /// Its job's rate limit moved `start_at`.
    #[serde(default)]
    pub rate_limited: bool,
    /// Started after this, it is a missed firing instead.
    pub start_deadline: Option<Timestamp>,
    /// Start of the first attempt.
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Attempts started so far.
    pub attempt: u32,
    /// How many of them were lost with their node.
    pub lost_attempts: u32,
    pub priority: i32,
    /// Arguments of this run only, in place of the job's.
    pub args: Option<Value>,
    /// Why a cancellation was asked for, while the run has not ended.
    pub cancel_requested: Option<String>,
    /// Of the last attempt that ended.
    pub error: Option<RunError>,
    /// Of the last attempt that ended.
    pub receipt: Option<Receipt>,
    pub created_at: Timestamp,
}

impl From<job::Run> for Run {
    fn from(run: job::Run) -> Self {
        Self {
            id: run.id,
            tenant: run.job.tenant,
            job: run.job.id,
            component: run.component.to_string(),
            cause: run.cause,
            upstream: run.upstream,
            key: run.key,
            state: run.state,
            outcome: run.outcome,
            scheduled_at: run.scheduled_at,
            start_at: run.start_at,
            rate_limited: run.rate_limited,
            start_deadline: run.start_deadline,
            started_at: run.started_at,
            ended_at: run.ended_at,
            attempt: run.attempt,
            lost_attempts: run.lost_attempts,
            priority: run.priority,
            args: run.args,
            cancel_requested: run.cancel_requested,
            error: run.error,
            receipt: run.receipt.filter(Receipt::is_known),
            created_at: run.created_at,
        }
    }
}

/// `GET /api/v1/runs`: newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunList {
    pub runs: Vec<Run>,
    pub next: Option<String>,
}

/// What `GET /api/v1/runs` can be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunQuery {
    pub job: Option<JobId>,
    pub state: Option<RunState>,
    pub outcome: Option<Outcome>,
    pub cause: Option<Cause>,
    /// `scheduled_at >= since` (inclusive).
    pub since: Option<Timestamp>,
    /// `scheduled_at < until` (exclusive).
    pub until: Option<Timestamp>,
    pub page: Page,
}

impl RunQuery {
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        pairs.extend(self.job.as_ref().map(|job| ("job", job.to_string())));
        pairs.extend(self.state.map(|state| ("state", state.as_str().to_owned())));
        pairs.extend(self.outcome.map(|outcome| ("outcome", outcome.as_str().to_owned())));
        pairs.extend(self.cause.map(|cause| ("cause", cause.as_str().to_owned())));
        pairs.extend(self.since.map(|t| ("since", t.to_string())));
        pairs.extend(self.until.map(|t| ("until", t.to_string())));
        self.page.pairs(&mut pairs);
        pairs
    }
}

/// `GET /api/v1/runs/{id}`: everything that is known of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunDetail {
    #[serde(flatten)]
    pub run: Run,
    /// Those that ended, the first one first.
    pub attempts: Vec<Attempt>,
    /// What it waits for, where it has not started: for people.
    pub waiting_for: Option<String>,
    /// How far its running attempt is, as that told last.
    #[serde(default)]
    pub progress: Option<Progress>,
    /// Where a limit ended its last attempt: how much of it would have been enough, as far as that is known.
    #[serde(default)]
    pub enough: Option<Enough>,
    /// The job as it is now, where it still exists.
    pub job_now: Option<Job>,
}

/// One instance of the component for a run, after it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    pub outcome: Outcome,
    /// A command's exit code.
    pub exit_code: Option<i32>,
    pub error: Option<RunError>,
    /// What the entry returned; for a command its stdout as a string (invalid UTF-8 replaced).
    pub result: Option<Value>,
    /// Absent where nothing is known of what it used: its server died, or it never began.
    #[serde(default)]
    pub receipt: Option<Receipt>,
    /// The last that it told of how far it was.
    #[serde(default)]
    pub progress: Option<Progress>,
}

impl From<job::Attempt> for Attempt {
    fn from(attempt: job::Attempt) -> Self {
        Self {
            number: attempt.number,
            started_at: attempt.started_at,
            ended_at: attempt.ended_at,
            outcome: attempt.outcome,
            exit_code: attempt.exit_code,
            error: attempt.error,
            result: attempt.result.as_ref().map(job::RunResult::to_json),
            receipt: Some(attempt.receipt).filter(Receipt::is_known),
            progress: attempt.progress,
        }
    }
}

/// `POST /api/v1/jobs/{id}/runs`: a run on demand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TriggerRun {
    /// In place of the job's arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Value>,
    /// Not started before this time, which is to come; a local time is meant in the job's zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// As long as a run of this key has not ended, it is the answer, and no other is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<RunKey>,
    /// The same for so long after it was made, ended or not; a duration such as `1h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_window: Option<String>,
}

/// A run on demand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TriggeredRun {
    #[serde(flatten)]
    pub run: Run,
    /// False where there was a run of its key. A server that knows no keys makes each anew.
    #[serde(default = "TriggeredRun::always_new")]
    pub new: bool,
}

impl TriggeredRun {
    fn always_new() -> bool {
        true
    }
}

/// `POST /api/v1/jobs/{id}/backfill`: a run for each instant of a past period that has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backfill {
    /// Both inclusive; a local time, or a date, is meant in the job's zone, and a date as `to` includes its day.
    pub from: String,
    /// Now unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How many of the job's backfills may run at once; 1 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_running: Option<u32>,
    /// More instants than this are refused; 10,000 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Nothing is made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

impl Backfill {
    pub const MAX_RUNNING: u32 = 1;
    pub const LIMIT: u64 = 10_000;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfilled {
    /// The period.
    pub from: Timestamp,
    pub to: Timestamp,
    /// Instants that the trigger named in it.
    pub named: u64,
    /// Of them, those that fall into one of the job's calendars…
    pub excluded: u64,
    /// …and those that have a run.
    pub existing: u64,
    /// The runs that were made; with `dry_run`, those that would be.
    pub made: u64,
    pub dry_run: bool,
}

/// `POST /api/v1/jobs/{id}/cancel`: unfinished runs of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CancelRuns {
    /// Of this cause; of all unless said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelledRuns {
    /// They had not started.
    pub cancelled: u64,
    /// They run, and were asked to stop.
    pub requested: u64,
    /// There are others still: ask again.
    pub more: bool,
}

/// `GET /api/v1/runs/{id}/log`, which answers with the bytes as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunLog {
    /// Whose log it is.
    pub attempt: u32,
    /// Bytes of the middle that were not kept; a line in the text marks the place.
    pub dropped: u64,
    /// What the guest wrote: not to be sent to a terminal as it is.
    pub bytes: Vec<u8>,
}

/// `POST /api/v1/runs/{id}/cancel`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CancelRun {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CancelledRun {
    pub found: CancelFound,
    /// The run as it is now; one that was running ends a moment later.
    pub run: Run,
}

/// What a cancellation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CancelFound {
    /// It had not started: it has ended as cancelled.
    Ended,
    /// It is running and has been asked to stop.
    Requested,
    /// It had ended before; nothing changed.
    AlreadyEnded,
}

/// `GET /api/v1/firings`: firings that made no run; consecutive ones of one job and reason are one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiringList {
    pub firings: Vec<Firing>,
    pub next: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    pub job: JobId,
    pub tenant: TenantId,
    pub reason: SkipReason,
    pub detail: Option<String>,
    /// How many firings.
    pub count: u64,
    /// False where `count` is a lower bound.
    pub exact: bool,
    /// The first and the last of the instants, both inclusive.
    pub first: Timestamp,
    pub last: Timestamp,
    pub recorded_at: Timestamp,
}

impl From<(job::JobKey, job::Skipped)> for Firing {
    fn from((job, skipped): (job::JobKey, job::Skipped)) -> Self {
        let job::Skipped { reason, detail, count, exact, first, last, recorded_at } = skipped;
        Self { job: job.id, tenant: job.tenant, reason, detail, count, exact, first, last, recorded_at }
    }
}

/// What `GET /api/v1/firings` can be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FiringQuery {
    pub job: Option<JobId>,
    pub page: Page,
}

impl FiringQuery {
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let mut pairs: Vec<_> = self.job.iter().map(|job| ("job", job.to_string())).collect();
        self.page.pairs(&mut pairs);
        pairs
    }
}
