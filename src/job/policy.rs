//! Policies: what a job wants when firings come late, several at once, or while a run is still going.

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use super::{Outcome, duration};

/// Which of several firings due at once (after downtime, a clock jump) becomes a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coalesce {
    /// The newest; the others are recorded as coalesced.
    #[default]
    Latest,
    /// The earliest that is still within the misfire grace; the others are recorded as coalesced.
    Earliest,
    /// Each, in order of time, at most `catch_up_max` (the newest of them); older ones are recorded as missed.
    All,
}

/// What happens to a firing whose job still has an unfinished run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// No run; recorded as skipped, with the run in the way.
    #[default]
    Skip,
    /// A run that waits for its turn, at most `queue_max` of them; past that it is recorded as skipped.
    Queue,
    /// The unfinished runs are cancelled; the new one starts when they are gone.
    CancelRunning,
    /// Runs side by side, at most `max_running`.
    Allow,
}

/// How often runs of a job may start: never more than `runs` in any stretch of time of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// 1 to 10,000. First attempts; a retry is not counted.
    pub runs: u32,
    /// A second to 366 days.
    #[serde(with = "duration")]
    pub per: SignedDuration,
}

impl std::fmt::Display for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} in {}", self.runs, if self.runs == 1 { "run" } else { "runs" }, duration::format(self.per))
    }
}

/// What an attempt shares its process with. Its instance and its memory are its own in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Other attempts, also of other tenants.
    #[default]
    Shared,
    /// Nothing: a confined process is started for the attempt and killed after it. Some milliseconds each.
    ProcessPerRun,
}

/// Whether, and how, a run that did not succeed is attempted again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all, the first included; 1 is no retry. An attempt lost with its node is not counted once.
    pub max_attempts: u32,
    pub backoff: Backoff,
    /// The wait before the second attempt.
    #[serde(with = "duration")]
    pub initial: SignedDuration,
    /// The longest wait.
    #[serde(with = "duration")]
    pub max: SignedDuration,
    /// The outcomes that are attempted again.
    pub on: Vec<Outcome>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backoff {
    /// Always `initial`.
    Fixed,
    /// `initial` doubled at each attempt, ± 10 %.
    #[default]
    Exponential,
}

/// What a guest says of another attempt, where it says anything. It cannot get more attempts than the job's policy allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RetryAdvice {
    /// Another attempt may help, after this wait or (absent) the policy's.
    Again {
        #[serde(with = "duration::option")]
        after: Option<SignedDuration>,
    },
    /// None will help.
    Never,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 1,
            backoff: Backoff::Exponential,
            initial: SignedDuration::from_secs(5),
            max: SignedDuration::from_mins(10),
            on: vec![Outcome::Failed, Outcome::Trapped, Outcome::Timeout, Outcome::Lost],
        }
    }
}
