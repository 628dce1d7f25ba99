//! Events: what happened, for whoever watches (library callers, `/api/v1/events`, the terminal of `dev`).
//!
//! Events are a courtesy, not a record: the last ones are kept for late-comers, a slow subscriber loses old ones
//! and is told so. The record is the store.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::job::{ComponentName, JobKey, Outcome, Progress, Receipt, Run, RunError, RunId, SkipReason, Skipped, TenantId};

/// How many past events a late-comer can ask for.
const KEPT: usize = 1_024;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one with each event of this server process; one that is not kept has the id of the last that is.
    pub id: u64,
    pub at: Timestamp,
    pub tenant: TenantId,
    #[serde(flatten)]
    pub kind: EventKind,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum EventKind {
    ComponentPushed { name: ComponentName, version: u32 },
    JobAdded { job: JobKey },
    JobPaused { job: JobKey, reason: Option<String> },
    JobResumed { job: JobKey },
    JobRemoved { job: JobKey },
    JobFinished { job: JobKey },
    RunStarted { job: JobKey, run: RunId, attempt: u32, scheduled_at: Timestamp },
    RunProgress { job: JobKey, run: RunId, attempt: u32, progress: Progress },
    RunEnded { job: JobKey, run: RunId, attempt: u32, outcome: Outcome, scheduled_at: Timestamp, message: Option<String>, receipt: Option<Box<Receipt>> },
    RunRetry { job: JobKey, run: RunId, attempt: u32, outcome: Outcome, at: Timestamp },
    FiringSkipped { job: JobKey, reason: SkipReason, detail: Option<String>, count: u64, first: Timestamp, last: Timestamp },
}

/// The hub: senders and the events kept for replay.
#[derive(Clone)]
pub struct Events {
    kept: Arc<Mutex<VecDeque<Arc<Event>>>>,
    live: broadcast::Sender<Arc<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { kept: Arc::default(), live: broadcast::Sender::new(KEPT) }
    }
}

impl Events {
    pub(super) fn emit(&self, at: Timestamp, tenant: &TenantId, kind: EventKind) {
        self.emit_all(at, [(tenant.clone(), kind)]);
    }

    /// In their order, with no other's in between.
    pub(super) fn emit_all(&self, at: Timestamp, events: impl IntoIterator<Item = (TenantId, EventKind)>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let next = kept.back().map_or(1, |last| last.id + 1);
        for (id, (tenant, kind)) in (next..).zip(events) {
            let event = Arc::new(Event { id, at, tenant, kind });
            if kept.len() == KEPT {
                kept.pop_front();
            }
            kept.push_back(event.clone());
            // Sent under the lock, so that a subscriber's replay and its live events meet without a gap. Nobody listening is fine.
            let _ = self.live.send(event);
        }
    }

    /// For those who listen now: it is not kept, so that many of it push out nothing that is.
    pub(super) fn emit_passing(&self, at: Timestamp, tenant: &TenantId, kind: EventKind) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let id = kept.back().map_or(0, |last| last.id);
        let _ = self.live.send(Arc::new(Event { id, at, tenant: tenant.clone(), kind }));
    }

    /// The kept events after `id` (`None`: none of them), and the live ones from then on.
    pub fn subscribe(&self, after: Option<u64>) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let replay = after.map_or_else(Vec::new, |id| kept.iter().filter(|e| e.id > id).cloned().collect());
        (replay, self.live.subscribe())
    }
}

impl EventKind {
    pub(super) fn firing_skipped(job: &JobKey, skip: &Skipped) -> Self {
        let Skipped { reason, ref detail, count, first, last, .. } = *skip;
        Self::FiringSkipped { job: job.clone(), reason, detail: detail.clone(), count, first, last }
    }

    /// `error` and `receipt` are those of its last attempt.
    pub(super) fn run_ended(run: &Run, outcome: Outcome, error: Option<&RunError>, receipt: Option<Receipt>) -> Self {
        Self::RunEnded {
            job: run.job.clone(),
            run: run.id,
            attempt: run.attempt,
            outcome,
            scheduled_at: run.scheduled_at,
            message: error.map(|e| e.message.clone()),
            receipt: receipt.filter(Receipt::is_known).map(Box::new),
        }
    }
}
