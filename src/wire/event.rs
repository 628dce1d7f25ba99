//! Events as `/api/v1/events` sends them, one JSON object each.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ComponentName, JobId, Outcome, Receipt, RunId, SkipReason, TenantId};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// To go on after this event; absent from events about the stream itself. Names the server process too, so that an
    /// id of an earlier one is never mistaken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub at: Timestamp,
    pub tenant: TenantId,
    #[serde(flatten)]
    pub kind: EventKind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum EventKind {
    ComponentPushed {
        component: ComponentName,
        version: u32,
    },
    JobAdded {
        job: JobId,
    },
    JobPaused {
        job: JobId,
        reason: Option<String>,
    },
    JobResumed {
        job: JobId,
    },
    JobRemoved {
        job: JobId,
    },
    JobFinished {
        job: JobId,
    },
    RunStarted {
        job: JobId,
        run: RunId,
        attempt: u32,
        scheduled_at: Timestamp,
    },
    /// How far a running attempt is, as it tells itself; the newest, some ten times a second at most. Not replayed.
    RunProgress {
        job: JobId,
        run: RunId,
        attempt: u32,
        /// From 0 to 1, where it is known.
        fraction: Option<f64>,
        message: String,
    },
    RunEnded {
        job: JobId,
        run: RunId,
        attempt: u32,
        outcome: Outcome,
        scheduled_at: Timestamp,
        /// Why it did not succeed.
        message: Option<String>,
        receipt: Option<Box<Receipt>>,
    },
    /// An attempt ended with `outcome`; another one follows at `retry_at`.
    RunRetry {
        job: JobId,
        run: RunId,
        attempt: u32,
        outcome: Outcome,
        retry_at: Timestamp,
    },
    FiringSkipped {
        job: JobId,
        reason: SkipReason,
        /// For people: the run in the way, the calendar.
        #[serde(default)]
        detail: Option<String>,
        count: u64,
        first: Timestamp,
        last: Timestamp,
    },
    /// Events were lost to this subscriber: it was too slow, was away too long, or the server was started anew.
    Gap {
        /// How many, where that is known.
        missed: Option<u64>,
    },
    /// A kind that this client does not know yet.
    #[serde(other)]
    Unknown,
}

impl EventKind {
    /// As in the JSON's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ComponentPushed { .. } => "component-pushed",
            Self::JobAdded { .. } => "job-added",
            Self::JobPaused { .. } => "job-paused",
            Self::JobResumed { .. } => "job-resumed",
            Self::JobRemoved { .. } => "job-removed",
            Self::JobFinished { .. } => "job-finished",
            Self::RunStarted { .. } => "run-started",
            Self::RunProgress { .. } => "run-progress",
            Self::RunEnded { .. } => "run-ended",
            Self::RunRetry { .. } => "run-retry",
            Self::FiringSkipped { .. } => "firing-skipped",
            Self::Gap { .. } => "gap",
            Self::Unknown => "unknown",
        }
    }

    /// The job it is about.
    pub fn job(&self) -> Option<&JobId> {
        match self {
            Self::JobAdded { job }
            | Self::JobPaused { job, .. }
            | Self::JobResumed { job }
            | Self::JobRemoved { job }
            | Self::JobFinished { job }
            | Self::RunStarted { job, .. }
            | Self::RunProgress { job, .. }
            | Self::RunEnded { job, .. }
            | Self::RunRetry { job, .. }
            | Self::FiringSkipped { job, .. } => Some(job),
            Self::ComponentPushed { .. } | Self::Gap { .. } | Self::Unknown => None,
        }
    }
}

/// What `/api/v1/events` can be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Events of this job only.
    pub job: Option<JobId>,
    /// Replay what came after this event's id, as far as the server still has it.
    pub after: Option<String>,
}

impl EventQuery {
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        pairs.extend(self.job.as_ref().map(|job| ("job", job.to_string())));
        pairs.extend(self.after.clone().map(|id| ("after", id)));
        pairs
    }
}
