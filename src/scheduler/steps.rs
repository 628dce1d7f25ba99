//! The steps of a turn: each asks the store what there is, lets `plan` decide, stores the answer, and tells who watches.
//!
//! ```text
//! fire      due jobs → plan::fire → commit_and_claim, one transaction a batch: what comes due starts with it, as far as slots are free
//! lost      running runs whose lease ended → plan::settle → finish_attempts
//! claim     runs whose time has come, for as many free slots; one that is past its deadline becomes a missed firing
//! settle    ended attempts → plan::settle → finish_attempts, one transaction a batch
//! ```
//! A step does all or nothing and may be stopped between any two awaits: what it leased comes due again. It knows no
//! executor and no clock, so that the driver and a simulation take the same steps.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::job::{After, Attempt, AttemptLog, CalendarName, Job, JobKey, JobState, Outcome, Receipt, RetryAdvice, RunError, RunId, TenantId};
use crate::plan::{self, Decision, Due, Ends};
use crate::store::{AttemptEnd, ClaimedRun, Fenced, FiringCommit, FiringStep, LeasedJob, Owner, RunClaim, Settled, Store, StoreError};
use crate::trigger::{Excluded, Trigger};

use super::{EventKind, Events, compile};

/// Compiled triggers kept at most, of those that take long to compile.
const TRIGGERS_MAX: usize = 20_000;

pub(super) struct Steps {
    pub store: Arc<dyn Store>,
    pub owner: Owner,
    /// How long a lease lasts that a step takes.
    pub lease: SignedDuration,
    /// Jobs, or runs, per step.
    pub batch_max: usize,
    pub events: Events,
    triggers: Mutex<HashMap<JobKey, (Edition, Trigger)>>,
    /// Jobs that were leased ahead, while a batch before them was committed, in the order in which they are to be fired.
    ahead: Mutex<VecDeque<LeasedJob>>,
}

/// Compiled calendars by tenant and name, or why they are none.
type Calendars = HashMap<(TenantId, CalendarName), Result<Excluded, String>>;

/// Which definition a trigger was compiled from: a job removed and added again counts its revisions anew.
type Edition = (Timestamp, u64);

/// Attempts that may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Free {
    pub slots: usize,
    /// Of these, with a process of their own.
    pub alone: usize,
}

impl Free {
    const NONE: Self = Self { slots: 0, alone: 0 };
}

/// What was decided about jobs that came due, on its way to the store.
pub(super) struct Firings {
    leased: Vec<LeasedJob>,
    decided: Vec<FiringCommit>,
    calendars: Calendars,
    now: Timestamp,
    /// There may be more jobs that are due.
    more: bool,
}

impl Firings {
    /// Runs of one of the jobs have a process each.
    pub fn any_alone(&self) -> bool {
        self.leased.iter().any(|leased| leased.job.spec.is_alone())
    }
}

/// What `fire` did.
pub(super) struct Fired {
    /// There may be more at once.
    pub more: bool,
    /// Running runs to cancel: later firings replace them.
    pub cancel: Vec<RunId>,
    /// To be attempted now, each under its lease.
    pub started: Vec<ClaimedRun>,
}

/// What `claim` found.
pub(super) struct Claimed {
    pub more: bool,
    /// To be attempted now, each under its lease.
    pub runs: Vec<ClaimedRun>,
}

/// An attempt that ended, on its way to the store.
#[derive(Clone)]
pub(super) struct Ended {
    pub claimed: Box<ClaimedRun>,
    pub attempt: Attempt,
    /// What the guest said of another attempt.
    pub advice: Option<RetryAdvice>,
    /// What it saved for later attempts.
    pub checkpoint: Option<Vec<u8>>,
}

/// Why later firings cancel.
pub(super) const REPLACED: &str = "a later firing replaced it (overlap = cancel-running)";

impl Steps {
    pub fn new(store: Arc<dyn Store>, owner: Owner, lease: SignedDuration, batch_max: usize, events: Events) -> Self {
        Self { store, owner, lease, batch_max: batch_max.max(1), events, triggers: Mutex::default(), ahead: Mutex::default() }
    }

    fn lease_end(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.lease).unwrap_or(now)
    }

    /// How many jobs have been leased ahead.
    pub fn waiting(&self) -> usize {
        self.ahead().len()
    }

    /// Fires at most `max` jobs that are due, and claims runs with them as far as these are free. Where nothing is due nothing is claimed.
    pub async fn fire(&self, now: Timestamp, max: usize, free: Free) -> Result<Fired, StoreError> {
        self.look(now).await?;
        match self.due(now, max).await? {
            Some(firings) => self.carry_out(firings, free).await,
            None => Ok(Fired { more: false, cancel: Vec::new(), started: Vec::new() }),
        }
    }

    /// Leases jobs that are due, where none wait that were leased before. True where more are due than one look finds.
    pub async fn look(&self, now: Timestamp) -> Result<bool, StoreError> {
        let waiting = self.waiting();
        if waiting > 0 {
            return Ok(true);
        }
        let leased = self.lease_due(now).await?;
        let many = leased.len() >= self.batch_max;
        self.put_ahead(leased);
        Ok(many)
    }

    /// Decides about at most `max` of the jobs that were leased, the most urgent first. `None` where none was.
    pub async fn due(&self, now: Timestamp, max: usize) -> Result<Option<Firings>, StoreError> {
        let (leased, more) = {
            let mut ahead = self.ahead();
            let found = ahead.len();
            let leased: Vec<_> = ahead.drain(..found.min(max.clamp(1, self.batch_max))).collect();
            (leased, found >= self.batch_max || !ahead.is_empty())
        };
        if leased.is_empty() {
            return Ok(None);
        }
        let calendars = self.calendars(&leased).await?;
        let decided = leased.iter().map(|job| self.decide(job, &calendars, now)).collect();
        Ok(Some(Firings { leased, decided, calendars, now, more }))
    }

    /// Stores what was decided, and claims runs with it as far as these are free.
    pub async fn carry_out(&self, firings: Firings, free: Free) -> Result<Fired, StoreError> {
        let Firings { leased, decided, calendars, now, more } = firings;
        let mut fired = Fired { more, cancel: Vec::new(), started: Vec::new() };
        let more = more && self.waiting() < self.batch_max;
        // The next batch is leased in the same breath: the store has work while it is decided about.
        let ahead = async { if more { self.lease_due(now).await } else { Ok(Vec::new()) } };
        let (committed, ahead) = tokio::join!(self.commit(decided, free, now, &mut fired), ahead);
        // Where that failed, the next turn finds out.
        self.put_ahead(ahead.unwrap_or_default());
        match committed {
            Err(StoreError::Refused(_)) => self.commit_each(&leased, &calendars, now, &mut fired).await?,
            done => done?,
        }
        Ok(fired)
    }

    /// Carries out the firings, claims runs as far as these are free, and tells who watches.
    async fn commit(&self, firings: Vec<FiringCommit>, free: Free, now: Timestamp, fired: &mut Fired) -> Result<(), StoreError> {
        let told: Vec<_> = firings.iter().map(Told::of).collect();
        let claim = self.run_claim(free, now);
        let (answers, claimed) = self.store.commit_and_claim(firings, claim).await?;
        fired.started.extend(self.in_time(claimed, now).await?);
        for (told, answer) in told.into_iter().zip(answers) {
            if answer == Fenced::LeaseLost {
                tracing::warn!(job = %told.job, "another node took this job's firing, or the job was changed meanwhile");
                continue;
            }
            if !told.events.is_empty() {
                self.events.emit_all(now, told.events.into_iter().map(|kind| (told.job.tenant.clone(), kind)));
            }
            fired.cancel.extend(told.cancel);
        }
        Ok(())
    }

    /// The same one by one, where the store refused something of a batch: the job that it is about rests, the others go on.
    async fn commit_each(&self, leased: &[LeasedJob], calendars: &Calendars, now: Timestamp, fired: &mut Fired) -> Result<(), StoreError> {
        for job in leased {
            match self.commit(vec![self.decide(job, calendars, now)], Free::NONE, now, fired).await {
                Err(StoreError::Refused(detail)) => {
                    tracing::error!(job = %job.job.key, detail, "the store refuses this job's firing; the job rests until it is changed");
                    let rests = rest(job, format!("the store refused its firing: {detail}"), now);
                    // Its ends of upstream runs may be what cannot be stored.
                    let rests = FiringCommit { steps: Vec::new(), consumed: Vec::new(), ..rests };
                    self.commit(vec![rests], Free::NONE, now, fired).await?;
                }
                done => done?,
            }
        }
        Ok(())
    }

    async fn lease_due(&self, now: Timestamp) -> Result<Vec<LeasedJob>, StoreError> {
        self.store.lease_due(&self.owner, now, self.lease_end(now), self.batch_max).await
    }

    /// Jobs that are to be fired later, the most urgent first.
    fn put_ahead(&self, leased: Vec<LeasedJob>) {
        let mut ahead = self.ahead();
        ahead.extend(leased);
        let urgency = |leased: &LeasedJob| std::cmp::Reverse(leased.job.spec.priority);
        if !ahead.iter().is_sorted_by_key(urgency) {
            ahead.make_contiguous().sort_by_key(urgency);
        }
    }

    fn ahead(&self) -> MutexGuard<'_, VecDeque<LeasedJob>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calendars that these jobs refer to, as they are now, or why one cannot be had.
    async fn calendars(&self, leased: &[LeasedJob]) -> Result<Calendars, StoreError> {
        let mut calendars = Calendars::new();
        for job in leased.iter().map(|l| &l.job) {
            for name in &job.spec.calendars {
                let key = (job.key.tenant.clone(), name.clone());
                if calendars.contains_key(&key) {
                    continue;
                }
                let compiled = match self.store.calendar(&key.0, name).await {
                    Ok(calendar) => calendar.exclusions.compile().map_err(|e| format!("calendar {:?}: {e}", name.as_str())),
                    Err(error @ StoreError::NotFound { .. }) => Err(error.to_string()),
                    Err(error) => return Err(error),
                };
                calendars.insert(key, compiled);
            }
        }
        Ok(calendars)
    }

    fn decide(&self, leased: &LeasedJob, calendars: &Calendars, now: Timestamp) -> FiringCommit {
        let LeasedJob { job, lease, unfinished, unfinished_count, ends } = leased;
        let ends_seen = ends.last().map_or(0, |last| last.number);
        let named = job.spec.calendars.iter().map(|name| match calendars.get(&(job.key.tenant.clone(), name.clone())) {
            Some(Ok(calendar)) => Ok((name.to_string(), calendar.clone())),
            Some(Err(reason)) => Err(reason.clone()),
            None => Err(format!("calendar {:?} was not looked up", name.as_str())),
        });
        let after = || After::read(&job.spec.trigger).map_err(|e| e.to_string());
        let known = named.collect::<Result<Vec<_>, _>>().and_then(|calendars| Ok((self.trigger(job)?, calendars, after()?)));
        let (trigger, calendars, after) = match known {
            Ok(known) => known,
            // It was checked when it was added, so the rules have changed since; that job rests, others go on.
            Err(reason) => return rest(leased, reason, now),
        };
        let unfinished: Vec<_> = unfinished.iter().map(|u| u.run).collect();
        let (numbers, arrived): (Vec<u64>, Vec<_>) = ends.iter().map(|e| (e.number, e.end.clone())).unzip();
        let after = after.as_ref().map(|after| Ends { after, arrived: &arrived });
        let firing =
            plan::fire(Due { job, trigger: &trigger, calendars: &calendars, unfinished: &unfinished, unfinished_count: *unfinished_count, after }, now);
        let step = |step| match step {
            plan::Step::Run(run) => FiringStep::Run(run),
            plan::Step::Skip(skip) => FiringStep::Skip(skip),
        };
        FiringCommit {
            job: job.key.clone(),
            token: lease.token,
            steps: firing.steps.into_iter().map(step).collect(),
            cancel_reason: (!firing.cancel.is_empty()).then(|| REPLACED.to_owned()),
            cancel: firing.cancel,
            consumed: firing.consumed.into_iter().filter_map(|place| numbers.get(place).copied()).collect(),
            ends_seen,
            next_fire: firing.next_fire,
            wake_at: firing.wake_at,
            state: firing.state,
            pause: firing.pause,
            now,
        }
    }

    fn trigger(&self, job: &Job) -> Result<Trigger, String> {
        let compiled = || compile(&job.key, &job.spec.trigger, job.anchor).map_err(|e| e.to_string());
        if job.spec.trigger.is_soon_compiled() {
            return compiled();
        }
        let mut triggers = self.triggers.lock().unwrap_or_else(PoisonError::into_inner);
        let edition = (job.created_at, job.revision);
        match triggers.get(&job.key) {
            Some((of, trigger)) if *of == edition => Ok(trigger.clone()),
            _ => {
                let trigger = compiled()?;
                if triggers.len() >= TRIGGERS_MAX {
                    triggers.clear();
                }
                triggers.insert(job.key.clone(), (edition, trigger.clone()));
                Ok(trigger)
            }
        }
    }

    /// `at` in RFC 3339, in the time zone of the job's trigger; UTC where that cannot be compiled.
    pub fn local(&self, job: &Job, at: Timestamp) -> String {
        let zone = self.trigger(job).map_or(TimeZone::UTC, |trigger| trigger.timezone().clone());
        at.display_with_offset(zone.to_offset(at)).to_string()
    }

    /// Settles runs whose lease ended: their server died. One that `goes_on` here was not lost (the clock stepped, the
    /// store was slow): it is ours under the new lease that `goes_on` is shown. True where there may be more at once.
    pub async fn settle_lost(&self, now: Timestamp, mut goes_on: impl FnMut(&ClaimedRun) -> bool) -> Result<bool, StoreError> {
        let claimed = self.store.claim_lost(&self.owner, now, self.lease_end(now), self.batch_max).await?;
        let more = claimed.len() == self.batch_max;
        let lost: Vec<_> = claimed
            .into_iter()
            .filter(|c| !goes_on(c))
            .map(|claimed| Ended { attempt: lost_attempt(&claimed, now), claimed: Box::new(claimed), advice: None, checkpoint: None })
            .collect();
        if !lost.is_empty() {
            self.settle(lost, now).await?;
        }
        Ok(more)
    }

    fn run_claim(&self, free: Free, now: Timestamp) -> RunClaim {
        RunClaim { owner: self.owner.clone(), now, until: self.lease_end(now), max: free.slots.min(self.batch_max), alone: free.alone }
    }

    /// Claims runs as far as these are free.
    pub async fn claim(&self, now: Timestamp, free: Free) -> Result<Claimed, StoreError> {
        let claim = self.run_claim(free, now);
        let max = claim.max;
        if max == 0 {
            return Ok(Claimed { more: false, runs: Vec::new() });
        }
        let claimed = self.store.claim_runs(claim).await?;
        let more = claimed.len() == max;
        Ok(Claimed { more, runs: self.in_time(claimed, now).await? })
    }

    /// The claimed runs that start now, which is told; those that are past their deadline become missed firings.
    async fn in_time(&self, claimed: Vec<ClaimedRun>, now: Timestamp) -> Result<Vec<ClaimedRun>, StoreError> {
        let (mut runs, mut missed) = (Vec::with_capacity(claimed.len()), Vec::new());
        for claimed in claimed {
            match plan::start_missed(&claimed.run, now) {
                Some(skip) => missed.push((claimed, skip)),
                None => runs.push(claimed),
            }
        }
        self.record_missed(missed, now).await?;
        let started = runs.iter().map(|ClaimedRun { run, .. }| {
            let kind = EventKind::RunStarted { job: run.job.clone(), run: run.id, attempt: run.attempt, scheduled_at: run.scheduled_at };
            (run.job.tenant.clone(), kind)
        });
        self.events.emit_all(now, started);
        Ok(runs)
    }

    /// Runs that were claimed after their start deadline: there are no such runs, but missed firings.
    async fn record_missed(&self, missed: Vec<(ClaimedRun, crate::job::Skipped)>, now: Timestamp) -> Result<(), StoreError> {
        if missed.is_empty() {
            return Ok(());
        }
        let told: Vec<_> = missed
            .iter()
            .map(|(c, skip)| {
                let kind = EventKind::firing_skipped(&c.run.job, skip);
                (c.run.job.tenant.clone(), kind)
            })
            .collect();
        let ends: Arc<[AttemptEnd]> = missed
            .into_iter()
            .map(|(c, skip)| AttemptEnd {
                run: c.run.id,
                token: c.lease.token,
                attempt: None,
                settled: Settled::Missed(skip),
                checkpoint: None,
                pause_job: None,
                now,
            })
            .collect();
        let answers = self.store.finish_attempts(ends).await?;
        self.tell(told, &answers, now);
        Ok(())
    }

    /// Decides what becomes of each run, stores that, and tells who watches.
    pub async fn settle(&self, ended: Vec<Ended>, now: Timestamp) -> Result<(), StoreError> {
        self.store_settled(&mut Settling::of(ended, now)).await
    }

    /// Stores what was decided and tells who watches. To be tried again where the store failed.
    pub async fn store_settled(&self, settling: &mut Settling) -> Result<(), StoreError> {
        let answers = self.store.finish_attempts(settling.ends.clone()).await?;
        settling.tell_receipts();
        let Settling { told, paused, now, .. } = settling;
        let paused: Vec<_> = paused
            .drain(..)
            .filter(|(index, _)| answers.get(*index) == Some(&Fenced::Done))
            .filter_map(|(index, kind)| Some((told.get(index)?.0.clone(), kind)))
            .collect();
        self.tell(std::mem::take(told), &answers, *now);
        self.events.emit_all(*now, paused);
        Ok(())
    }

    fn tell(&self, told: Vec<(TenantId, EventKind)>, answers: &[Fenced], now: Timestamp) {
        let done = told.into_iter().zip(answers).filter_map(|(told, answer)| match answer {
            Fenced::Done => Some(told),
            Fenced::LeaseLost => {
                tracing::warn!("an attempt ended after its lease; its outcome was refused, as its successor decides");
                None
            }
        });
        self.events.emit_all(now, done);
    }
}

/// The job cannot be scheduled, and is left alone until somebody changes it.
fn rest(leased: &LeasedJob, reason: String, now: Timestamp) -> FiringCommit {
    let LeasedJob { job, lease, ends, .. } = leased;
    FiringCommit {
        job: job.key.clone(),
        token: lease.token,
        steps: plan::unresolved(ends.iter().map(|e| &e.end), &reason, now).map(FiringStep::Skip).into_iter().collect(),
        cancel: Vec::new(),
        cancel_reason: None,
        consumed: ends.iter().map(|e| e.number).collect(),
        ends_seen: ends.last().map_or(0, |last| last.number),
        next_fire: job.next_fire,
        wake_at: None,
        state: JobState::Unresolved(reason),
        pause: job.pause.clone(),
        now,
    }
}

/// What was decided about ended attempts, on its way to the store.
pub(super) struct Settling {
    ends: Arc<[AttemptEnd]>,
    /// One for each end.
    told: Vec<(TenantId, EventKind)>,
    /// Jobs that an end pauses, by its place.
    paused: Vec<(usize, EventKind)>,
    now: Timestamp,
}

impl Settling {
    pub fn of(ended: Vec<Ended>, now: Timestamp) -> Self {
        let (mut told, mut paused) = (Vec::with_capacity(ended.len()), Vec::new());
        let mut end = |(index, Ended { claimed, attempt, advice, checkpoint }): (usize, Ended)| {
            let ClaimedRun { run, job, lease, .. } = *claimed;
            let outcome = attempt.outcome;
            let settlement = plan::settle(&job, &run, outcome, advice, now);
            let (settled, kind) = match settlement.decision {
                Decision::Ended => (
                    Settled::Ended { outcome, error: attempt.error.clone() },
                    // The receipt is on its way to the store.
                    EventKind::run_ended(&run, outcome, attempt.error.as_ref(), None),
                ),
                Decision::Retry { at, uncounted } => {
                    (Settled::Retry { at, lost: uncounted }, EventKind::RunRetry { job: run.job.clone(), run: run.id, attempt: run.attempt, outcome, at })
                }
            };
            if let Some(pause) = &settlement.pause_job {
                paused.push((index, EventKind::JobPaused { job: run.job.clone(), reason: pause.reason.clone() }));
            }
            told.push((run.job.tenant, kind));
            AttemptEnd { run: run.id, token: lease.token, attempt: Some(attempt), settled, checkpoint, pause_job: settlement.pause_job, now }
        };
        let ends = ended.into_iter().enumerate().map(&mut end).collect();
        Self { ends, told, paused, now }
    }

    pub fn runs(&self) -> Vec<RunId> {
        self.ends.iter().map(|end| end.run).collect()
    }

    /// What was stored goes with what is told of it; nobody else needs it any more.
    fn tell_receipts(&mut self) {
        let of = |end: &mut AttemptEnd| end.attempt.as_mut().map(|attempt| std::mem::take(&mut attempt.receipt));
        let mut receipts: Vec<_> = match Arc::get_mut(&mut self.ends) {
            Some(ends) => ends.iter_mut().map(of).collect(),
            None => self.ends.iter().map(|end| end.attempt.as_ref().map(|attempt| attempt.receipt.clone())).collect(),
        };
        for ((_, kind), known) in self.told.iter_mut().zip(&mut receipts) {
            if let EventKind::RunEnded { receipt, .. } = kind {
                *receipt = known.take().filter(Receipt::is_known).map(Box::new);
            }
        }
    }

    /// The same, to be stored each for itself.
    pub fn one_by_one(self) -> Vec<Self> {
        let Self { ends, told, mut paused, now } = self;
        let each = ends.iter().zip(told).enumerate().map(|(place, (end, told))| {
            let paused = paused.extract_if(.., |(of, _)| *of == place).map(|(_, kind)| (0, kind)).collect();
            Self { ends: Arc::new([end.clone()]), told: vec![told], paused, now }
        });
        each.collect()
    }
}

/// What a firing will have to tell, taken before it is handed to the store.
struct Told {
    job: JobKey,
    cancel: Vec<RunId>,
    events: Vec<EventKind>,
}

impl Told {
    fn of(firing: &FiringCommit) -> Self {
        let mut events: Vec<_> = firing
            .steps
            .iter()
            .filter_map(|step| match step {
                FiringStep::Run(_) => None,
                FiringStep::Skip(skip) => Some(EventKind::firing_skipped(&firing.job, skip)),
            })
            .collect();
        if firing.state == JobState::Finished {
            events.push(EventKind::JobFinished { job: firing.job.clone() });
        }
        Self { job: firing.job.clone(), cancel: firing.cancel.clone(), events }
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
        progress: None,
    }
}
