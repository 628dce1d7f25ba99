//! What an `after` trigger means: which jobs it follows, which of their outcomes count, and how ends make a firing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{JobId, Outcome, RunId, SpecError};
use crate::trigger::{Join, TriggerSpec};

/// An `after` trigger, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// The jobs that it follows, each once.
    pub upstream: Vec<JobId>,
    pub on: Vec<Outcome>,
    pub join: Join,
}

/// A run of an upstream job that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamEnd {
    pub job: JobId,
    pub run: RunId,
    pub outcome: Outcome,
    pub ended_at: Timestamp,
}

impl After {
    /// `None` for any other trigger.
    pub fn read(trigger: &TriggerSpec) -> Result<Option<Self>, SpecError> {
        let TriggerSpec::After(spec) = trigger else { return Ok(None) };
        let outcome = |typed: &String| Outcome::from_name(typed).ok_or_else(|| SpecError::AfterOutcome { typed: typed.chars().take(40).collect() });
        Ok(Some(Self {
            upstream: spec.after.iter().map(|id| id.parse()).collect::<Result<_, _>>()?,
            on: spec.on.iter().map(outcome).collect::<Result<_, _>>()?,
            join: spec.join,
        }))
    }

    /// Whether this end counts.
    pub fn counts(&self, end: &UpstreamEnd) -> bool {
        self.on.contains(&end.outcome) && self.upstream.contains(&end.job)
    }
}
