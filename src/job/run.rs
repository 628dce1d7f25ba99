//! Runs, their attempts, and the firings that made no run.
//!
//! ```text
//! queued ──► running ──► ended
//!              │  ▲
//!              ▼  │ its time has come
//!          waiting-retry
//! ```
//! A queued or waiting run may also go to ended directly: cancelled, or its job removed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Job, JobKey, Outcome, Receipt, Reference, RunError, RunId, RunKey, UpstreamEnd};

/// One execution of a job for one firing, or on demand; of one or more attempts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub job: JobKey,
    pub cause: Cause,
    /// The runs that it follows, where the cause is `after`; in the order in which they ended.
    pub upstream: Vec<UpstreamEnd>,
    /// What a run on demand is known by.
    pub key: Option<RunKey>,
    /// Set where the cause is `backfill`: how many such runs of the job may run at once. They are counted for themselves.
    pub backfill_max: Option<u32>,
    /// The instant that the trigger named; when the last upstream run ended; for a run on demand, the time that it was asked for.
    pub scheduled_at: Timestamp,
    /// Not started before: `scheduled_at` and jitter, or the time of the next retry.
    pub start_at: Timestamp,
    /// Its job's rate limit moved `start_at`.
    pub rate_limited: bool,
    /// Started after this (`scheduled_at` + jitter + misfire grace), it is a missed firing instead.
    pub start_deadline: Option<Timestamp>,
    pub priority: i32,
    pub state: RunState,
    /// What the job referred to when the run was made.
    pub component: Reference,
    /// Arguments of this run only, in place of the job's.
    pub args: Option<serde_json::Value>,
    /// Attempts started so far, the running one included.
    pub attempt: u32,
    /// How many of them were lost with their node.
    pub lost_attempts: u32,
    pub created_at: Timestamp,
    /// Start of the first attempt.
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    /// Set exactly when `state` is ended.
    pub outcome: Option<Outcome>,
    /// Why a cancellation was asked for, while the run has not ended.
    pub cancel_requested: Option<String>,
    /// Of the last attempt that ended.
    pub error: Option<RunError>,
    /// Of the last attempt that ended.
    pub receipt: Option<Receipt>,
}

impl Run {
    /// A run of `job` as it is made `now`: due at once, not attempted yet.
    pub fn new(id: RunId, job: &Job, cause: Cause, now: Timestamp) -> Self {
        Self {
            id,
            job: job.key.clone(),
            cause,
            upstream: Vec::new(),
            key: None,
            backfill_max: None,
            scheduled_at: now,
            start_at: now,
            rate_limited: false,
            start_deadline: None,
            priority: job.spec.priority,
            state: RunState::Queued,
            component: job.spec.component.clone(),
            args: None,
            attempt: 0,
            lost_attempts: 0,
            created_at: now,
            started_at: None,
            ended_at: None,
            outcome: None,
            cancel_requested: None,
            error: None,
            receipt: None,
        }
    }

    /// Whether firings of its job reckon with it while it has not ended: not with one that was asked for at a time to come, nor
    /// with one of a backfill.
    pub fn is_in_the_way(&self, now: Timestamp) -> bool {
        match self.cause {
            Cause::Scheduled | Cause::After => true,
            Cause::OnDemand => self.state != RunState::Queued || self.start_at <= now,
            Cause::Backfill => false,
        }
    }
}

/// Why there is a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    Scheduled,
    OnDemand,
    /// Runs of the jobs that it follows ended.
    After,
    /// Somebody asked to make up for instants that had no run.
    Backfill,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::OnDemand => "on-demand",
            Self::After => "after",
            Self::Backfill => "backfill",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Scheduled, Self::OnDemand, Self::After, Self::Backfill].into_iter().find(|c| c.as_str() == name)
    }

    /// Whether there is at most one run of the job for the instant.
    pub fn is_of_instant(self) -> bool {
        matches!(self, Self::Scheduled | Self::Backfill)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    Queued,
    Running,
    WaitingRetry,
    Ended,
}

impl RunState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::WaitingRetry => "waiting-retry",
            Self::Ended => "ended",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Queued, Self::Running, Self::WaitingRetry, Self::Ended].into_iter().find(|s| s.as_str() == name)
    }
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
    pub receipt: Receipt,
    pub result: Option<RunResult>,
    pub log: AttemptLog,
    /// The last that it told of how far it was.
    #[serde(default)]
    pub progress: Option<Progress>,
}

/// How far an attempt is, in its guest's own words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The part done, from 0 to 1, where it is known.
    pub fraction: Option<f64>,
    /// One line, at most `MESSAGE_MAX` bytes; may be empty.
    #[serde(default)]
    pub message: String,
}

impl Progress {
    pub const MESSAGE_MAX: usize = 256;
}

/// What an attempt gave back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunResult {
    /// A command's stdout, as it came.
    Text(#[serde(with = "text")] Vec<u8>),
    /// An entry's returned value.
    Value(serde_json::Value),
}

impl RunResult {
    /// The value that users see: for a command, its stdout as a string (invalid UTF-8 replaced).
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(bytes) => String::from_utf8_lossy(bytes).into(),
            Self::Value(value) => value.clone(),
        }
    }
}

/// What a guest wrote to its log: the head and the tail, within the limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptLog {
    #[serde(with = "text")]
    pub head: Vec<u8>,
    /// Bytes between head and tail that were not kept.
    pub dropped: u64,
    #[serde(with = "text")]
    pub tail: Vec<u8>,
}

impl AttemptLog {
    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.tail.is_empty()
    }

    /// Head and tail as one text (invalid UTF-8 replaced), the gap marked.
    pub fn to_text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.head).into_owned();
        if self.dropped > 0 {
            text.push_str(&format!("\n[… {} bytes dropped …]\n", self.dropped));
        }
        text.push_str(&String::from_utf8_lossy(&self.tail));
        text
    }
}

/// Bytes that are mostly text, as a JSON string where they are UTF-8, else as an array of numbers.
mod text {
    use serde::{Deserialize, Deserializer, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Form {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => s.serialize_str(text),
            Err(_) => s.collect_seq(bytes),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        Ok(match Form::deserialize(d)? {
            Form::Text(text) => text.into_bytes(),
            Form::Bytes(bytes) => bytes,
        })
    }
}

/// Firings of one job that made no run, for one reason: consecutive ones fold into one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub reason: SkipReason,
    /// More about the reason, such as the run in the way.
    pub detail: Option<String>,
    /// How many firings.
    pub count: u64,
    /// Whether `count` was counted to the last one (else it is a lower bound).
    pub exact: bool,
    /// The first and the last of the instants, both inclusive.
    pub first: Timestamp,
    pub last: Timestamp,
    pub recorded_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SkipReason {
    /// Past the misfire grace, or past `catch_up_max`.
    Missed,
    /// Another run of the job was in the way, or the queue was full.
    Skipped,
    /// Several were due at once and another one ran for them.
    Coalesced,
    /// The job was paused.
    Paused,
}

impl SkipReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Skipped => "skipped",
            Self::Coalesced => "coalesced",
            Self::Paused => "paused",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Missed, Self::Skipped, Self::Coalesced, Self::Paused].into_iter().find(|s| s.as_str() == name)
    }
}
