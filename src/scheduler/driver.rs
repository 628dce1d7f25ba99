//! The driver: the one task that carries out what `plan` decides, and the only file that sees both store and executor.
//!
//! ```text
//! wake (timer | call | ended attempt | shutdown)
//!   → fire      lease due jobs → plan::fire → commit, in one transaction a batch
//!   → lost      runs whose lease ended → plan::settle → finish
//!   → start     claim runs, at most as many as there are free slots → one task an attempt
//!   → sleep     until the store's next due instant
//! attempts end → collector: plan::settle → finish, in one transaction a batch → events
//! ```
//! A store that fails is tried again after a wait; nothing is dropped meanwhile: what was leased comes due again,
//! what has ended is kept by the collector until it is stored.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::executor::{AttemptReport, AttemptRequest};
use crate::job::{Attempt, AttemptLog, Job, JobKey, JobState, Outcome, Receipt, RunError};
use crate::plan::{self, Decision, Due};
use crate::store::{AttemptEnd, ClaimedRun, Fenced, FiringCommit, FiringStep, LeasedJob, Retention, Settled, StoreError};
use crate::trigger::Trigger;

use super::{EventKind, Inner, Phase};

/// The longest sleep without a look at the store.
const LONGEST_SLEEP: SignedDuration = SignedDuration::from_secs(10);
/// The wait after the store failed.
const STORE_WAIT: Duration = Duration::from_millis(500);
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_ROWS: u64 = 1_000;
/// Compiled triggers kept at most.
const TRIGGERS_MAX: usize = 20_000;

/// An attempt that ended, on its way to the store.
struct Ended {
    claimed: ClaimedRun,
    report: AttemptReport,
}

pub(super) async fn drive(inner: Arc<Inner>) {
    let (ended, collected) = mpsc::channel(inner.options.batch_max.max(1));
    let collector = tokio::spawn(collect(inner.clone(), collected));
    let renewer = tokio::spawn(renew(inner.clone()));
    let mut driver = Driver { inner: inner.clone(), ended, triggers: HashMap::new(), pruned: Instant::now() };
    while *inner.phase.borrow() == Phase::Running {
        match driver.turn().await {
            Ok(true) => {}
            Ok(false) => driver.sleep().await,
            Err(error) => {
                tracing::error!(%error, "the store failed; trying again");
                tokio::time::sleep(STORE_WAIT).await;
            }
        }
    }
    // Every attempt holds a sender: the collector ends when the last one has been stored.
    drop(driver);
    if collector.await.is_err() {
        tracing::error!("the collector of ended attempts failed; the next server settles what it held as lost");
    }
    renewer.abort();
    inner.stopped.send_replace(true);
}

struct Driver {
    inner: Arc<Inner>,
    ended: mpsc::Sender<Ended>,
    triggers: HashMap<JobKey, (u64, Trigger)>,
    pruned: Instant,
}

impl Driver {
    /// One look at everything that is due. True where there may be more at once.
    async fn turn(&mut self) -> Result<bool, StoreError> {
        let more_due = self.fire().await?;
        let more_lost = self.settle_lost().await?;
        let more_runs = self.start().await?;
        if self.pruned.elapsed() >= PRUNE_EVERY {
            self.pruned = Instant::now();
            self.prune().await?;
        }
        Ok(more_due || more_lost || more_runs)
    }

    async fn sleep(&self) {
        let Inner { store, clock, wake, .. } = &*self.inner;
        let due = match store.next_due().await {
            // With every slot taken, what is due waits for an attempt to end, which wakes us.
            Ok(due) if self.free_slots() > 0 => due,
            Ok(_) => None,
            Err(error) => {
                tracing::error!(%error, "the store failed; trying again");
                tokio::time::sleep(STORE_WAIT).await;
                return;
            }
        };
        let until = plan::wake(due, clock.now(), LONGEST_SLEEP);
        tokio::select! {
            () = clock.sleep_until(until) => {}
            () = wake.notified() => {}
        }
    }

    fn free_slots(&self) -> usize {
        self.inner.executor.slots().saturating_sub(self.inner.in_flight().len())
    }

    fn lease_end(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.inner.options.lease).unwrap_or(now)
    }

    async fn fire(&mut self) -> Result<bool, StoreError> {
        let inner = self.inner.clone();
        let now = inner.clock.now();
        let most = inner.options.batch_max;
        let leased = inner.store.lease_due(&inner.owner, now, self.lease_end(now), most).await?;
        if leased.is_empty() {
            return Ok(false);
        }
        let full = leased.len() == most;
        let firings: Vec<FiringCommit> = leased.into_iter().map(|job| self.decide(job, now)).collect();
        let answers = inner.store.commit_firings(firings.clone()).await?;
        for (firing, answer) in firings.into_iter().zip(answers) {
            if answer == Fenced::LeaseLost {
                tracing::warn!(job = %firing.job, "another node took this job's firing, or the job was changed meanwhile");
                continue;
            }
            for run in &firing.cancel {
                inner.executor.cancel(*run, "a later firing replaced it");
            }
            for step in firing.steps {
                if let FiringStep::Skip(skip) = step {
                    let kind = EventKind::FiringSkipped { job: firing.job.clone(), reason: skip.reason, count: skip.count, first: skip.first, last: skip.last };
                    inner.events.emit(now, &firing.job.tenant, kind);
                }
            }
            if firing.state == JobState::Finished {
                inner.events.emit(now, &firing.job.tenant, EventKind::JobFinished { job: firing.job.clone() });
            }
        }
        Ok(full)
    }

    fn decide(&mut self, leased: LeasedJob, now: Timestamp) -> FiringCommit {
        let LeasedJob { job, lease, unfinished, unfinished_count } = leased;
        let trigger = match self.trigger(&job) {
            Ok(trigger) => trigger,
            // It was checked when it was added, so the rules have changed since; that job rests, others go on.
            Err(reason) => {
                return FiringCommit {
                    job: job.key,
                    token: lease.token,
                    steps: Vec::new(),
                    cancel: Vec::new(),
                    cancel_reason: None,
                    next_fire: job.next_fire,
                    wake_at: None,
                    state: JobState::Unresolved(reason),
                    pause: job.pause,
                    now,
                };
            }
        };
        let unfinished: Vec<_> = unfinished.iter().map(|u| u.run).collect();
        let firing = plan::fire(Due { job: &job, trigger: &trigger, unfinished: &unfinished, unfinished_count }, now);
        FiringCommit {
            job: job.key,
            token: lease.token,
            steps: firing
                .steps
                .into_iter()
                .map(|step| match step {
                    plan::Step::Run(run) => FiringStep::Run(*run),
                    plan::Step::Skip(skip) => FiringStep::Skip(skip),
                })
                .collect(),
            cancel_reason: (!firing.cancel.is_empty()).then(|| "a later firing replaced it (overlap = cancel-running)".to_owned()),
            cancel: firing.cancel,
            next_fire: firing.next_fire,
            wake_at: firing.wake_at,
            state: firing.state,
            pause: firing.pause,
            now,
        }
    }

    fn trigger(&mut self, job: &Job) -> Result<Trigger, String> {
        match self.triggers.get(&job.key) {
            Some((revision, trigger)) if *revision == job.revision => Ok(trigger.clone()),
            _ => {
                let trigger = self.inner.compile(&job.key, &job.spec.trigger, job.anchor).map_err(|e| e.to_string())?;
                if self.triggers.len() >= TRIGGERS_MAX {
                    self.triggers.clear();
                }
                self.triggers.insert(job.key.clone(), (job.revision, trigger.clone()));
                Ok(trigger)
            }
        }
    }

    async fn settle_lost(&self) -> Result<bool, StoreError> {
        let inner = &self.inner;
        let now = inner.clock.now();
        let most = inner.options.batch_max;
        let lost = inner.store.claim_lost(&inner.owner, now, self.lease_end(now), most).await?;
        if lost.is_empty() {
            return Ok(false);
        }
        let full = lost.len() == most;
        let lost = lost.into_iter().map(|claimed| {
            let attempt = lost_attempt(&claimed, now);
            (claimed, Outcome::Lost, Some(attempt))
        });
        settle(inner, lost.collect(), now).await?;
        Ok(full)
    }

    async fn start(&self) -> Result<bool, StoreError> {
        let inner = &self.inner;
        let free = self.free_slots().min(inner.options.batch_max);
        if free == 0 {
            return Ok(false);
        }
        let now = inner.clock.now();
        let claimed = inner.store.claim_runs(&inner.owner, now, self.lease_end(now), free).await?;
        let full = claimed.len() == free;
        let (missed, claimed): (Vec<_>, Vec<_>) = claimed.into_iter().map(|c| (plan::start_missed(&c.run, now), c)).partition(|(missed, _)| missed.is_some());
        for (_, claimed) in claimed {
            inner.in_flight().insert(claimed.run.id, claimed.lease.token);
            let kind = EventKind::RunStarted {
                job: claimed.run.job.clone(),
                run: claimed.run.id,
                attempt: claimed.run.attempt,
                scheduled_at: claimed.run.scheduled_at,
            };
            inner.events.emit(now, &claimed.run.job.tenant, kind);
            tokio::spawn(attempt(inner.clone(), claimed, self.ended.clone()));
        }
        let missed: Vec<_> = missed
            .into_iter()
            .filter_map(|(skip, c)| {
                let settled = Settled::Missed(skip?);
                Some(AttemptEnd { run: c.run.id, token: c.lease.token, attempt: None, settled, pause_job: None, now })
            })
            .collect();
        if !missed.is_empty() {
            inner.store.finish_attempts(missed).await?;
        }
        Ok(full)
    }

    async fn prune(&self) -> Result<(), StoreError> {
        let Inner { options, store, clock, .. } = &*self.inner;
        let before = clock.now().saturating_sub(options.keep_for).unwrap_or(Timestamp::MIN);
        let gone = store.prune(Retention { before, runs_per_job_max: options.keep_runs_per_job, max: PRUNE_ROWS }).await?;
        if gone > 0 {
            tracing::debug!(rows = gone, "old runs and firings were removed");
        }
        Ok(())
    }
}

/// One attempt: resolve, run, hand over.
async fn attempt(inner: Arc<Inner>, claimed: ClaimedRun, ended: mpsc::Sender<Ended>) {
    let report = match request(&inner, &claimed).await {
        Ok(request) => {
            let mut report = inner.executor.run(request).await;
            report.receipt.node.clone_from(&inner.options.node);
            report
        }
        Err(error) => refused(error, inner.clock.now()),
    };
    // The collector outlives every sender.
    let _ = ended.send(Ended { claimed, report }).await;
}

async fn request(inner: &Inner, claimed: &ClaimedRun) -> Result<AttemptRequest, RunError> {
    let ClaimedRun { run, job, .. } = claimed;
    let spec = &job.spec;
    let refuse = |error: super::SchedulerError| RunError { code: error.code().to_owned(), message: error.to_string(), ..RunError::default() };
    let limits = spec.limits.resolve(&inner.options.limits, &inner.options.limit_caps).map_err(|e| refuse(e.into()))?;
    let component = inner.artefact(&run.job.tenant, &run.component).await.map_err(refuse)?;
    Ok(AttemptRequest {
        run: run.id,
        attempt: run.attempt,
        component,
        entry: run.component.entry.clone(),
        args: run.args.clone().unwrap_or_else(|| spec.args.clone()),
        program: run.component.name.to_string(),
        env: spec.grants.env.clone().into_iter().collect(),
        stdin: spec.stdin.clone().unwrap_or_default().into_bytes(),
        limits,
        scheduled_at: run.scheduled_at,
        due_at: Some(run.start_at),
    })
}

fn refused(error: RunError, now: Timestamp) -> AttemptReport {
    AttemptReport {
        started_at: now,
        ended_at: now,
        outcome: Outcome::Refused,
        exit_code: None,
        error: Some(error),
        result: None,
        log: AttemptLog::default(),
        receipt: Receipt::default(),
    }
}

fn lost_attempt(claimed: &ClaimedRun, now: Timestamp) -> Attempt {
    let run = &claimed.run;
    let message = "the server that ran it died or lost its lease before it ended".to_owned();
    Attempt {
        number: run.attempt,
        started_at: run.started_at.unwrap_or(now),
        ended_at: now,
        outcome: Outcome::Lost,
        exit_code: None,
        error: Some(RunError { code: "lost".to_owned(), message, ..RunError::default() }),
        receipt: Receipt::default(),
        result: None,
        log: AttemptLog::default(),
    }
}

/// Stores ended attempts in batches until the last sender is gone.
async fn collect(inner: Arc<Inner>, mut ended: mpsc::Receiver<Ended>) {
    let most = inner.options.batch_max.max(1);
    let mut batch = Vec::with_capacity(most);
    while ended.recv_many(&mut batch, most).await > 0 {
        let runs: Vec<_> = batch.iter().map(|e| e.claimed.run.id).collect();
        let now = inner.clock.now();
        let items: Vec<_> = batch
            .drain(..)
            .map(|Ended { claimed, report }| {
                let attempt = report.into_attempt(claimed.run.attempt);
                (claimed, attempt.outcome, Some(attempt))
            })
            .collect();
        while let Err(error) = settle(&inner, items.clone(), now).await {
            tracing::error!(%error, attempts = items.len(), "ended attempts could not be stored; trying again");
            if matches!(error, StoreError::Closed) {
                break;
            }
            tokio::time::sleep(STORE_WAIT).await;
        }
        let mut in_flight = inner.in_flight();
        for run in runs {
            in_flight.remove(&run);
        }
        drop(in_flight);
        inner.wake.notify_one();
    }
}

/// Decides what becomes of each run, stores that, and tells who watches.
async fn settle(inner: &Inner, items: Vec<(ClaimedRun, Outcome, Option<Attempt>)>, now: Timestamp) -> Result<(), StoreError> {
    let mut told = Vec::with_capacity(items.len());
    let ends = items
        .into_iter()
        .map(|(claimed, outcome, attempt)| {
            let ClaimedRun { mut run, job, lease } = claimed;
            let settlement = plan::settle(&job, &run, outcome, now);
            run.error = attempt.as_ref().and_then(|a| a.error.clone());
            run.receipt = attempt.as_ref().map(|a| a.receipt.clone());
            let settled = match settlement.decision {
                Decision::Ended => Settled::Ended { outcome, error: run.error.clone() },
                Decision::Retry { at, uncounted } => Settled::Retry { at, lost: uncounted },
            };
            let kind = match settlement.decision {
                Decision::Ended => EventKind::run_ended(&run, outcome),
                Decision::Retry { at, .. } => EventKind::RunRetry { job: run.job.clone(), run: run.id, attempt: run.attempt, outcome, at },
            };
            let paused = settlement.pause_job.as_ref().map(|pause| EventKind::JobPaused { job: run.job.clone(), reason: pause.reason.clone() });
            told.push((run.job.tenant.clone(), kind, paused));
            AttemptEnd { run: run.id, token: lease.token, attempt, settled, pause_job: settlement.pause_job, now }
        })
        .collect();
    let answers = inner.store.finish_attempts(ends).await?;
    for ((tenant, kind, paused), answer) in told.into_iter().zip(answers) {
        match answer {
            Fenced::Done => {
                inner.events.emit(now, &tenant, kind);
                if let Some(paused) = paused {
                    inner.events.emit(now, &tenant, paused);
                }
            }
            Fenced::LeaseLost => tracing::warn!("an attempt ended after its lease; its outcome was refused, as its successor decides"),
        }
    }
    Ok(())
}

/// Keeps the leases of running attempts, and stops those that are no longer ours or that somebody asked to cancel.
async fn renew(inner: Arc<Inner>) {
    let lease = inner.options.lease;
    let every = Duration::try_from(lease).unwrap_or(Duration::from_secs(15)) / 3;
    loop {
        tokio::time::sleep(every).await;
        let runs: Vec<_> = inner.in_flight().iter().map(|(run, token)| (*run, *token)).collect();
        if runs.is_empty() {
            continue;
        }
        let until = inner.clock.now().saturating_add(lease).unwrap_or(Timestamp::MAX);
        match inner.store.renew_runs(&inner.owner, &runs, until).await {
            Ok(renewed) => {
                for run in renewed.lost {
                    inner.executor.cancel(run, "its lease was lost");
                }
                for (run, reason) in renewed.cancel {
                    inner.executor.cancel(run, &reason);
                }
            }
            Err(error) => tracing::error!(%error, "leases could not be renewed"),
        }
    }
}
