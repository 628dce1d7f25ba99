//! Simulation: the scheduler's own steps under a clock that is set by hand, with attempts that only pretend.
//!
//! Answers "what would happen": every firing, run, retry and skip that the real scheduler would make of some jobs in
//! a period, whatever is assumed of how long their runs take and how they end. The tests of the scheduler use the same
//! machine: it can be stopped between any two steps, its clock jumps both ways, and it can be killed.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::broadcast::{self, error::TryRecvError};

use crate::job::{Attempt, AttemptLog, CalendarName, Cause, Job, JobKey, JobSpec, Outcome, Receipt, Run, RunError, RunId, RunKey, TenantId};
use crate::store::{AddedRun, Calendar, CancelFound, ClaimedRun, Memory, OnConflict, Owner, Store, StoreError};

use crate::trigger::Exclusions;

use super::backfill::Missing;
use super::runs::on_demand;
use super::steps::{Ended, Free, REPLACED, Steps};
use super::{BackfillRequest, Events, PauseRequest, ResumeFrom, SchedulerError, Triggered, compile};
pub use super::{Event, EventKind};

/// How a pretended attempt goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumed {
    pub duration: SignedDuration,
    pub outcome: Outcome,
}

/// What is assumed of each attempt.
pub type Assume = Box<dyn Fn(&Run) -> Assumed + Send + Sync>;

/// The bounds of a simulated server.
#[derive(Clone, Copy, Debug)]
pub struct SimulationOptions {
    /// Attempts at once.
    pub slots: usize,
    /// Jobs fired and runs claimed per step.
    pub batch_max: usize,
    /// How long a claimed run stays claimed after a crash.
    pub lease: SignedDuration,
}

impl Default for SimulationOptions {
    fn default() -> Self {
        Self { slots: 64, batch_max: 500, lease: SignedDuration::from_secs(15) }
    }
}

pub struct Simulation {
    steps: Steps,
    options: SimulationOptions,
    now: Timestamp,
    assume: Assume,
    /// Attempts that are going, by when they will end.
    going: BTreeMap<(Timestamp, RunId), (ClaimedRun, Outcome)>,
    /// Attempts of servers that were taken for dead and may not be.
    ghosts: Vec<(ClaimedRun, Outcome)>,
    happened: broadcast::Receiver<Arc<Event>>,
    incarnation: u32,
}

impl Simulation {
    /// A server that starts at `now` on what `store` holds.
    pub fn new(store: Arc<dyn Store>, now: Timestamp, options: SimulationOptions, assume: Assume) -> Self {
        let events = Events::default();
        let (_, happened) = events.subscribe(None);
        let steps = Steps::new(store, Owner("simulated-0".into()), options.lease, options.batch_max, events);
        Self { steps, options, now, assume, going: BTreeMap::new(), ghosts: Vec::new(), happened, incarnation: 0 }
    }

    /// The same on a store of its own that keeps nothing.
    pub fn in_memory(now: Timestamp, options: SimulationOptions, assume: Assume) -> Self {
        Self::new(Arc::new(Memory::default()), now, options, assume)
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Sets the clock, forwards or backwards, without doing anything.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Runs that are being attempted.
    pub fn going(&self) -> impl Iterator<Item = &Run> {
        self.going.values().map(|(claimed, _)| &*claimed.run)
    }

    /// What happened since this was last asked, in order. Older ones than the last thousand are lost.
    pub fn happened(&mut self) -> Vec<Arc<Event>> {
        let mut events = Vec::new();
        loop {
            match self.happened.try_recv() {
                Ok(event) => events.push(event),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return events,
            }
        }
    }

    // Verbs, as the scheduler's, but for the components: here none is looked at.

    pub async fn add_job(&mut self, key: &JobKey, spec: &JobSpec, on_conflict: OnConflict) -> Result<Job, SchedulerError> {
        let trigger = compile(key, &spec.trigger, self.now)?;
        self.steps.add_job(key, &Arc::new(spec.clone()), &trigger, on_conflict, self.now).await
    }

    pub async fn put_calendar(&mut self, tenant: &TenantId, name: &CalendarName, exclusions: Exclusions) -> Result<(), SchedulerError> {
        exclusions.compile()?;
        let calendar = Calendar { tenant: tenant.clone(), name: name.clone(), exclusions, updated_at: self.now };
        Ok(self.steps.store.put_calendar(calendar).await?)
    }

    /// Adds a job whose id is not taken.
    pub async fn add_new_job(&mut self, key: &JobKey, spec: &JobSpec) -> Result<Job, SchedulerError> {
        self.add_job(key, spec, OnConflict::Error).await
    }

    pub async fn pause_job(&mut self, key: &JobKey, request: PauseRequest) -> Result<Job, SchedulerError> {
        self.steps.pause_job(key, request, self.now).await
    }

    pub async fn resume_job(&mut self, key: &JobKey, from: ResumeFrom) -> Result<Job, SchedulerError> {
        self.steps.resume_job(key, from, self.now).await
    }

    pub async fn remove_job(&mut self, key: &JobKey) -> Result<Vec<RunId>, SchedulerError> {
        self.steps.remove_job(key, self.now).await
    }

    pub async fn trigger(&mut self, key: &JobKey) -> Result<Run, SchedulerError> {
        let job = self.steps.store.job(key).await?;
        Ok(self.steps.store.add_run(on_demand(&job, None, self.now)).await?)
    }

    /// A run on demand, unless the job has an unfinished one of this key.
    pub async fn trigger_once(&mut self, key: &JobKey, of: RunKey) -> Result<Triggered, SchedulerError> {
        let job = self.steps.store.job(key).await?;
        let run = Run { key: Some(of), ..on_demand(&job, None, self.now) };
        let AddedRun { run, new } = self.steps.store.add_run_once(run, None).await?;
        Ok(Triggered { run, new })
    }

    /// Makes up for a past period, in transactions of a step's size, of which at most `batches` are carried out: as if the server
    /// died then. Returns how many runs were made.
    pub async fn backfill(&mut self, key: &JobKey, request: BackfillRequest, batches: usize) -> Result<u64, SchedulerError> {
        let Missing { runs, .. } = self.steps.missing(key, request, self.now).await?;
        let mut made = 0;
        for batch in runs.chunks(self.options.batch_max.max(1)).take(batches) {
            made += self.steps.store.add_backfill(key, batch.to_vec()).await?;
        }
        Ok(made)
    }

    pub async fn cancel_run(&mut self, run: &Run, reason: &str) -> Result<CancelFound, SchedulerError> {
        let found = self.steps.store.cancel_run(&run.job.tenant, run.id, reason, self.now).await?;
        if found == CancelFound::Requested {
            self.stop(run.id);
        }
        Ok(found)
    }

    // Steps, each all or nothing. True where there may be more at once.

    pub async fn fire(&mut self) -> Result<bool, StoreError> {
        let slots = self.options.slots.saturating_sub(self.going.len());
        let max = if slots == 0 { usize::MAX } else { slots };
        let fired = self.steps.fire(self.now, max, Free { slots, alone: usize::MAX }).await?;
        for run in fired.cancel {
            self.stop(run);
        }
        fired.started.into_iter().for_each(|claimed| self.begin(claimed));
        Ok(fired.more)
    }

    pub async fn settle_lost(&mut self) -> Result<bool, StoreError> {
        let going = &mut self.going;
        self.steps
            .settle_lost(self.now, |again| {
                let ours = going.values_mut().find(|(c, _)| c.run.id == again.run.id);
                ours.map(|(c, _)| c.lease = again.lease).is_some()
            })
            .await
    }

    /// Claims runs for the free slots and begins an attempt of each.
    pub async fn start(&mut self) -> Result<bool, StoreError> {
        let free = Free { slots: self.options.slots.saturating_sub(self.going.len()), alone: usize::MAX };
        let claimed = self.steps.claim(self.now, free).await?;
        claimed.runs.into_iter().for_each(|claimed| self.begin(claimed));
        Ok(claimed.more)
    }

    fn begin(&mut self, claimed: ClaimedRun) {
        let Assumed { duration, outcome } = (self.assume)(&claimed.run);
        let end = self.now.saturating_add(duration.max(SignedDuration::ZERO)).unwrap_or(Timestamp::MAX);
        self.going.insert((end, claimed.run.id), (claimed, outcome));
    }

    /// Ends the attempts whose time has come, and settles them.
    pub async fn end_attempts(&mut self) -> Result<bool, StoreError> {
        let mut ended = Vec::new();
        while let Some(entry) = self.going.first_entry().filter(|e| e.key().0 <= self.now) {
            let (claimed, outcome) = entry.remove();
            let attempt = pretended(&claimed.run, outcome, self.now);
            ended.push(Ended { claimed: Box::new(claimed), attempt, advice: None, checkpoint: None });
        }
        let any = !ended.is_empty();
        if any {
            self.steps.settle(ended, self.now).await?;
        }
        Ok(any)
    }

    /// Keeps the leases of what is going, as the server does all the while.
    pub async fn renew(&mut self) -> Result<(), StoreError> {
        let runs: Vec<_> = self.going.values().map(|(c, _)| (c.run.id, c.lease.token)).collect();
        let until = self.now.saturating_add(self.options.lease).unwrap_or(Timestamp::MAX);
        let renewed = self.steps.store.renew_runs(&self.steps.owner, &runs, until).await?;
        self.going.retain(|(_, run), _| !renewed.lost.contains(run));
        for (run, _) in renewed.cancel {
            self.stop(run);
        }
        Ok(())
    }

    /// The server dies, with everything it was attempting, and a new one starts on the same store. With `exclusive` it
    /// knows that it is alone, and settles at once what its predecessor left; else leases have to end, and the old one
    /// may turn out to be alive.
    pub async fn crash(&mut self, exclusive: bool) -> Result<(), StoreError> {
        let left = std::mem::take(&mut self.going).into_values();
        if exclusive {
            self.ghosts.clear();
        } else {
            self.ghosts.extend(left);
        }
        self.incarnation += 1;
        let owner = Owner(format!("simulated-{}", self.incarnation).into());
        let Steps { store, events, .. } = &self.steps;
        self.steps = Steps::new(store.clone(), owner, self.options.lease, self.options.batch_max, events.clone());
        if exclusive {
            self.steps.store.end_other_leases(&self.steps.owner, self.now).await?;
        }
        Ok(())
    }

    /// Servers that were taken for dead come back, and want to record how their attempts ended.
    pub async fn ghosts_return(&mut self) -> Result<(), StoreError> {
        let ghosts = std::mem::take(&mut self.ghosts).into_iter();
        let ended = ghosts.map(|(claimed, outcome)| Ended {
            attempt: pretended(&claimed.run, outcome, self.now),
            claimed: Box::new(claimed),
            advice: None,
            checkpoint: None,
        });
        self.steps.settle(ended.collect(), self.now).await
    }

    /// Everything that is due now.
    pub async fn turn(&mut self) -> Result<(), StoreError> {
        loop {
            let ended = self.end_attempts().await?;
            self.renew().await?;
            let fired = self.fire().await?;
            let lost = self.settle_lost().await?;
            let before = self.going.len();
            let started = self.start().await?;
            if !(ended || fired || lost || started || self.going.len() > before) {
                return Ok(());
            }
        }
    }

    /// The next instant after now at which something happens; `None` when nothing ever will.
    pub async fn next(&self) -> Result<Option<Timestamp>, StoreError> {
        let due = if self.going.len() < self.options.slots { self.steps.store.next_due().await? } else { None };
        let end = self.going.keys().next().map(|(end, _)| *end);
        Ok([due, end].into_iter().flatten().min())
    }

    /// Lets time pass until `to`, from one due instant to the next, and hands each event to `watch`.
    pub async fn run_until(&mut self, to: Timestamp, mut watch: impl FnMut(&Event)) -> Result<(), StoreError> {
        self.run_while(to, |event| {
            watch(event);
            true
        })
        .await
    }

    /// The same, but no further than `watch` wants to hear of.
    pub async fn run_while(&mut self, to: Timestamp, mut watch: impl FnMut(&Event) -> bool) -> Result<(), StoreError> {
        loop {
            self.turn().await?;
            if !self.happened().iter().all(|event| watch(event)) {
                return Ok(());
            }
            match self.next().await? {
                Some(next) if next <= to => self.now = next.max(self.now),
                _ => break,
            }
        }
        self.now = to.max(self.now);
        Ok(())
    }

    fn stop(&mut self, run: RunId) {
        if let Some(key) = self.going.keys().find(|(_, going)| *going == run).copied()
            && let Some((claimed, _)) = self.going.remove(&key)
        {
            self.going.insert((self.now, run), (claimed, Outcome::Cancelled));
        }
    }
}

fn pretended(run: &Run, outcome: Outcome, now: Timestamp) -> Attempt {
    let error = match outcome {
        Outcome::Succeeded => None,
        Outcome::Cancelled => Some((outcome.as_str(), REPLACED.to_owned())),
        _ => Some((outcome.as_str(), format!("assumed to end as {outcome}"))),
    };
    Attempt {
        number: run.attempt,
        started_at: run.started_at.unwrap_or(now),
        ended_at: now,
        outcome,
        exit_code: None,
        error: error.map(|(code, message)| RunError { code: code.to_owned(), message, ..RunError::default() }),
        receipt: Receipt::default(),
        result: None,
        log: AttemptLog::default(),
        progress: None,
    }
}

impl std::fmt::Debug for Simulation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let going: Vec<_> = self.going.iter().map(|((end, run), (c, outcome))| (end, run, c.run.cause == Cause::Scheduled, outcome)).collect();
        f.debug_struct("Simulation").field("now", &self.now).field("going", &going).finish_non_exhaustive()
    }
}
