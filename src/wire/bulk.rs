//! One verb for many jobs, over the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{JobId, PauseJob, Problem, ResumeJob, TriggerRun, TriggeredRun};

/// `POST /api/v1/bulk`: a page of the jobs that have all of these labels, each dealt with for itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bulk {
    /// At least one.
    pub labels: BTreeMap<String, String>,
    pub verb: BulkVerb,
    /// `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// 1 to 500; 100 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// What is done with each: `{"pause": {"reason": "stocktaking"}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BulkVerb {
    Pause(PauseJob),
    Resume(ResumeJob),
    Trigger(TriggerRun),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BulkDone {
    /// By id.
    pub jobs: Vec<BulkJob>,
    /// Set while there are more.
    pub next: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BulkJob {
    pub id: JobId,
    /// The run that was made, or found by its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<TriggeredRun>,
    /// Why it was refused for this job.
    pub problem: Option<Problem>,
}
