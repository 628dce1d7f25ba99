//! The driver: the one task that carries out what `plan` decides, and the only file that sees both store and executor.
//!
//! ```text
//! wake (timer | call | ended attempt | shutdown)
//!   → turn      the steps fire (which claims what it can), lost, claim; each claimed run is attempted at once.
//!               Amid a burst, as many are fired as there are slots, so that most runs need not be stored as waiting first
//!   → sleep     until the store's next due instant
//! attempts end → collector: the step settle, in batches
//! ```
//! All of that is one task of the runtime's: see `Hand`.
//!
//! A store that fails is tried again after a wait; nothing is dropped meanwhile: what was leased comes due again,
//! what has ended is kept by the collector until it is stored.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use crate::executor::{AttemptReport, AttemptRequest, Reach};
use crate::job::{AttemptLog, Entry, Outcome, Receipt, RunError, RunResult, Stdout};
use crate::plan;
use crate::store::{ClaimedRun, Retention, StoreError};

use super::steps::{Ended, Firings, Free, REPLACED, Settling};
use super::{EventKind, InFlight, Inner, Phase};

/// The longest sleep without a look at the store.
const LONGEST_SLEEP: SignedDuration = SignedDuration::from_secs(10);
/// The wait between two looks while every slot is taken.
const FULL_LOOK: SignedDuration = SignedDuration::from_millis(50);
/// How long jobs that are due wait for slots to become free before their runs are stored as waiting.
const SLOTS_WAIT: Duration = Duration::from_millis(20);
/// Amid a burst jobs are fired when a part of the slots is free, this of them. Few at a time keep the store and the guests busy at once.
const BATCH_PART: usize = 4;
/// Commits of firings on their way while another one is decided about.
const COMMITS_BESIDE: usize = 2;
/// How often, amid a burst, what comes due beside jobs is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The wait after the store failed.
const STORE_WAIT: Duration = Duration::from_millis(500);
/// How often the progress of a run is told at most, and the time that each telling takes of all others'.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
const PROGRESS_SHARE: Duration = Duration::from_millis(2);
/// Ended attempts that go to the collector together at most, and how often before it has to take them.
const HANDED_ON_MAX: usize = 64;
const HANDED_ON: usize = 64;
/// Bytes of JSON that are read between other things; more of it is read on a thread that may be kept.
const READ_HERE_MAX: usize = 64 << 10;
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_ROWS: u64 = 1_000;

pub(super) async fn drive(inner: Arc<Inner>) {
    let (ended, collected) = mpsc::channel(HANDED_ON);
    let (hand, handed) = Hand::new();
    hand.take_up(collect(inner.clone(), collected));
    let renewer = tokio::spawn(renew(inner.clone()));
    let teller = tokio::spawn(tell_progress(inner.clone()));
    let slots = Arc::new(Slots { batch: inner.executor.slots() / BATCH_PART, all: inner.executor.slots(), ..Slots::default() });
    let driver = Driver::new(Starter { inner: inner.clone(), hand: hand.clone(), ended, slots, alone: Arc::default() });
    hand.take_up(async move { driver.run().await });
    drop(hand);
    // Every attempt holds a sender, so that the collector ends when the last one has been stored.
    // Its parts give way where they wait; amid a batch of attempts the runtime would have it give way too, with what is to be stored unsent.
    tokio::task::unconstrained(handed.work()).await;
    renewer.abort();
    teller.abort();
    inner.stopped.send_replace(true);
}

/// Takes up what goes on beside the rest: commits, attempts, the collector. All of it is one task, on one thread at a time: two threads
/// wait for each other's allocator and locks, and wake each other for every batch.
#[derive(Clone)]
struct Hand(mpsc::UnboundedSender<BoxFuture<'static, ()>>);

/// What was taken up.
struct Handed(mpsc::UnboundedReceiver<BoxFuture<'static, ()>>);

impl Hand {
    fn new() -> (Self, Handed) {
        let (hand, handed) = mpsc::unbounded_channel();
        (Self(hand), Handed(handed))
    }

    /// Has this go on beside the rest, which a panic of it leaves alone.
    fn take_up(&self, work: impl Future<Output = ()> + Send + 'static) {
        // Where nobody works any more, the runtime is being shut down.
        let _ = self.0.send(Box::pin(work));
    }

    /// The same, but it is begun at once, and goes on there where it has to wait.
    fn take_up_at_once(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut work = Box::pin(work);
        match std::panic::catch_unwind(AssertUnwindSafe(|| work.as_mut().now_or_never())) {
            Ok(Some(())) => {}
            // Polled there, it says anew whom to wake.
            Ok(None) => _ = self.0.send(work),
            Err(_) => tell_of_panic(),
        }
    }
}

fn tell_of_panic() {
    tracing::error!("a part of the driver panicked; the next server settles what it held as lost");
}

impl Handed {
    /// Until all of it is done and nobody is left who could add to it.
    async fn work(mut self) {
        let mut going = FuturesUnordered::new();
        let mut open = true;
        while open || !going.is_empty() {
            tokio::select! {
                more = self.0.recv(), if open => match more {
                    Some(work) => going.push(AssertUnwindSafe(work).catch_unwind()),
                    None => open = false,
                },
                Some(done) = going.next() => if done.is_err() {
                    tell_of_panic();
                },
            }
        }
    }
}

struct Driver {
    starter: Starter,
    /// Firings on their way to the store.
    commits: FuturesUnordered<oneshot::Receiver<Result<bool, StoreError>>>,
    looked: Instant,
    pruned: Instant,
}

/// Lets attempts begin.
#[derive(Clone)]
struct Starter {
    inner: Arc<Inner>,
    hand: Hand,
    ended: mpsc::Sender<Vec<Ended>>,
    slots: Arc<Slots>,
    /// Those of attempts that have a process of their own, or wait for one.
    alone: Arc<Slots>,
}

/// The executor's slots, or some of them.
#[derive(Default)]
struct Slots {
    all: usize,
    /// As many as are worth a batch of firings; 0 where nobody waits for them.
    batch: usize,
    /// How many attempts are going that have not ended.
    taken: AtomicUsize,
    /// So many are free again, perhaps.
    freed: Notify,
}

/// So many slots, taken until this is dropped.
struct Taken {
    of: Arc<Slots>,
    n: usize,
}

impl Taken {
    fn from(slots: &Arc<Slots>, n: usize) -> Self {
        slots.taken.fetch_add(n, Ordering::AcqRel);
        Self { of: slots.clone(), n }
    }

    /// One of them, or where none is left, one more.
    fn one(&mut self) -> Self {
        match self.n.checked_sub(1) {
            Some(left) => self.n = left,
            None => return Self::from(&self.of, 1),
        }
        Self { of: self.of.clone(), n: 1 }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Slots { all, batch, taken, freed } = &*self.of;
        let enough = all - batch;
        let before = taken.fetch_sub(self.n, Ordering::AcqRel);
        if before > enough && before - self.n <= enough {
            freed.notify_one();
        }
    }
}

impl Starter {
    /// Stores what was decided about jobs; what starts with it begins, in the slots taken for it. True where there may be more at once.
    async fn fire(self, firings: Firings, free: Free, slots: Taken) -> Result<bool, StoreError> {
        let fired = self.inner.steps.carry_out(firings, free).await?;
        for run in &fired.cancel {
            self.inner.executor.cancel(*run, REPLACED);
        }
        self.begin(fired.started, slots);
        Ok(fired.more)
    }

    /// Lets attempts begin, in the slots that were taken for them. Those that end at about the same time are handed on together.
    fn begin(&self, started: Vec<ClaimedRun>, mut slots: Taken) {
        if started.is_empty() {
            return;
        }
        {
            let mut in_flight = self.inner.in_flight();
            for ClaimedRun { run, lease, .. } in &started {
                in_flight.insert(run.id, InFlight { token: lease.token, job: run.job.clone(), attempt: run.attempt });
            }
        }
        let attempts: FuturesUnordered<_> = started
            .into_iter()
            .map(|claimed| {
                let alone = claimed.job.spec.is_alone().then(|| Taken::from(&self.alone, 1));
                attempt(self.inner.clone(), Box::new(claimed), (slots.one(), alone))
            })
            .collect();
        let ended = self.ended.clone();
        self.hand.take_up(async move {
            let mut together = attempts.ready_chunks(HANDED_ON_MAX);
            while let Some(batch) = together.next().await {
                // The collector outlives every sender.
                let _ = ended.send(batch).await;
            }
        });
    }

    fn free(&self) -> Free {
        let alone = match self.inner.executor.processes() {
            // What asks for one is told that there are none.
            0 => usize::MAX,
            processes => processes.saturating_sub(self.alone.taken.load(Ordering::Acquire)),
        };
        Free { slots: self.free_slots(), alone }
    }

    /// Slots that no attempt has taken; fewer where attempts end faster than they can be stored.
    fn free_slots(&self) -> usize {
        let slots = self.inner.executor.slots();
        let unstored_max = slots + 2 * self.inner.steps.batch_max;
        let free = slots.saturating_sub(self.slots.taken.load(Ordering::Acquire));
        free.min(unstored_max.saturating_sub(self.inner.in_flight().len()))
    }
}

impl Driver {
    fn new(starter: Starter) -> Self {
        Self { starter, commits: FuturesUnordered::new(), looked: Instant::now(), pruned: Instant::now() }
    }

    /// Until the shutdown.
    async fn run(mut self) {
        let inner = self.starter.inner.clone();
        while *inner.phase.borrow() == Phase::Running {
            match self.turn().await {
                Ok(true) => {}
                Ok(false) => self.sleep().await,
                Err(error) => {
                    tracing::error!(%error, "the store failed; trying again");
                    tokio::time::sleep(STORE_WAIT).await;
                }
            }
        }
        // What was being committed is running when it is stored.
        while let Err(error) = self.committed(0).await {
            tracing::error!(%error, "the store failed; jobs that were being fired come due again");
        }
    }

    /// One look at everything that is due. True where there may be more at once.
    async fn turn(&mut self) -> Result<bool, StoreError> {
        let inner = self.starter.inner.clone();
        let many = inner.steps.look(inner.clock.now()).await?;
        let max = if many { self.room_to_fire().await? } else { usize::MAX };
        let mut more = match inner.steps.due(inner.clock.now(), max).await? {
            Some(firings) => self.fire(firings).await?,
            None => self.committed(0).await?,
        };
        if self.commits.is_empty() || self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            more |= self.look(&inner).await?;
        }
        Ok(more || inner.steps.waiting() > 0)
    }

    /// Amid a burst, the next batch is decided about while the store has one.
    async fn fire(&mut self, firings: Firings) -> Result<bool, StoreError> {
        let steps = &self.starter.inner.steps;
        let (any_alone, goes_on, batch_max) = (firings.any_alone(), steps.waiting() > 0, steps.batch_max);
        let more = any_alone && self.committed(0).await?;
        let mut free = self.starter.free();
        free.slots = free.slots.min(batch_max);
        // Processes are taken when attempts begin: only one commit at a time may count on them.
        if !self.commits.is_empty() {
            free.alone = 0;
        }
        let slots = Taken::from(&self.starter.slots, free.slots);
        let (tell, told) = oneshot::channel();
        let firing = self.starter.clone().fire(firings, free, slots);
        // The store has it at once, and not when attempts that are about to begin have had their turn: it may have nothing else to do.
        self.starter.hand.take_up_at_once(async move { _ = tell.send(firing.await) });
        self.commits.push(told);
        Ok(self.committed(if goes_on && !any_alone { COMMITS_BESIDE } else { 0 }).await? || more)
    }

    /// Waits until at most so many commits of firings are left. True where one of those that ended said that there may be more.
    async fn committed(&mut self, left: usize) -> Result<bool, StoreError> {
        let mut more = false;
        while self.commits.len() > left
            && let Some(committed) = self.commits.next().await
        {
            more |= outcome(committed)?;
        }
        Ok(more)
    }

    /// What comes due beside jobs: runs that were lost or wait, and history that is old enough to go.
    async fn look(&mut self, inner: &Inner) -> Result<bool, StoreError> {
        let Inner { steps, clock, .. } = inner;
        let goes_on = |again: &ClaimedRun| inner.in_flight().get_mut(&again.run.id).map(|ours| ours.token = again.lease.token).is_some();
        let more_lost = steps.settle_lost(clock.now(), goes_on).await?;
        let claimed = steps.claim(clock.now(), self.starter.free()).await?;
        let slots = Taken::from(&self.starter.slots, claimed.runs.len());
        self.starter.begin(claimed.runs, slots);
        if self.pruned.elapsed() >= PRUNE_EVERY {
            self.pruned = Instant::now();
            self.prune().await?;
        }
        Ok(more_lost || claimed.more)
    }

    /// How many jobs to fire at once amid a burst: a part of the slots, where so many become free soon, else all.
    async fn room_to_fire(&mut self) -> Result<usize, StoreError> {
        let Starter { inner, slots, .. } = self.starter.clone();
        let enough = inner.steps.waiting().min(slots.batch);
        if enough == 0 {
            return Ok(usize::MAX);
        }
        let mut began = Instant::now();
        loop {
            let free = self.starter.free_slots();
            if free >= enough {
                return Ok(free.min(slots.batch));
            }
            tokio::select! {
                () = slots.freed.notified() => {}
                () = inner.wake.notified() => {}
                // Slots were taken for what it starts, which begins now.
                Some(committed) = self.commits.next() => {
                    outcome(committed)?;
                    began = Instant::now();
                }
                () = tokio::time::sleep_until(began + SLOTS_WAIT), if self.commits.is_empty() => return Ok(usize::MAX),
            }
        }
    }

    async fn sleep(&self) {
        let Inner { store, clock, wake, .. } = &*self.starter.inner;
        let due = match store.next_due().await {
            Ok(due) => due,
            Err(error) => {
                tracing::error!(%error, "the store failed; trying again");
                tokio::time::sleep(STORE_WAIT).await;
                return;
            }
        };
        let now = clock.now();
        // With every slot taken, a run that is due waits for an attempt to end, which wakes us; jobs that come due meanwhile
        // are looked at often enough.
        let due = due.map(|due| if self.starter.free_slots() == 0 { due.max(now.saturating_add(FULL_LOOK).unwrap_or(now)) } else { due });
        let until = plan::wake(due, now, LONGEST_SLEEP);
        tokio::select! {
            () = clock.sleep_until(until) => {}
            () = wake.notified() => {}
        }
    }

    async fn prune(&self) -> Result<(), StoreError> {
        let Inner { options, store, clock, .. } = &*self.starter.inner;
        let before = clock.now().saturating_sub(options.keep_for).unwrap_or(Timestamp::MIN);
        let gone = store.prune(Retention { before, runs_per_job_max: options.keep_runs_per_job, max: PRUNE_ROWS }).await?;
        if gone > 0 {
            tracing::debug!(rows = gone, "old runs and firings were removed");
        }
        Ok(())
    }
}

/// `Closed` where nobody will say, since it panicked.
fn outcome(committed: Result<Result<bool, StoreError>, oneshot::error::RecvError>) -> Result<bool, StoreError> {
    committed.unwrap_or(Err(StoreError::Closed))
}

/// One attempt: resolve, run, hand over. A burst has hundreds of these under way, so that what is needed for a moment only is no part of it.
async fn attempt(inner: Arc<Inner>, mut claimed: Box<ClaimedRun>, slots: (Taken, Option<Taken>)) -> Ended {
    let going = async {
        match Box::pin(request(&inner, &mut claimed)).await.map(|request| inner.executor.run(request)) {
            Ok(going) => going.await,
            Err(error) => not_run(Outcome::Refused, error, inner.clock.now()),
        }
    };
    // Whatever goes wrong in there, the attempt ends: a run must not stay claimed by a server that does not know it any more.
    let mut report = AssertUnwindSafe(going).catch_unwind().await.unwrap_or_else(|_| fault(inner.clock.now()));
    drop(slots);
    if claimed.job.spec.stdout == Stdout::Json {
        report = Box::pin(with_json(report, &inner)).await;
    }
    report.receipt.node.clone_from(&inner.options.node);
    let advice = report.retry;
    let checkpoint = report.checkpoint.take();
    let attempt = report.into_attempt(claimed.run.attempt);
    Ended { claimed, attempt, advice, checkpoint }
}

/// The report with what was printed as JSON.
async fn with_json(mut report: AttemptReport, inner: &Inner) -> AttemptReport {
    match report.result {
        // The driver has more to do meanwhile.
        Some(RunResult::Text(ref text)) if text.len() > READ_HERE_MAX => {
            let read = tokio::task::spawn_blocking(move || {
                report.read_stdout_as_json();
                report
            });
            read.await.unwrap_or_else(|_| fault(inner.clock.now()))
        }
        _ => {
            report.read_stdout_as_json();
            report
        }
    }
}

async fn request(inner: &Inner, claimed: &mut ClaimedRun) -> Result<AttemptRequest, RunError> {
    let ClaimedRun { run, job, checkpoint, .. } = claimed;
    let spec = &job.spec;
    let refuse = |error: super::SchedulerError| RunError { code: error.code().to_owned(), message: error.to_string(), ..RunError::default() };
    let directories = inner.options.directories(&spec.grants.dirs).map_err(|e| refuse(e.into()))?;
    let limits = spec.limits.resolve(&inner.options.limits, inner.caps_of(&job.key.tenant, Some(spec))).map_err(|e| refuse(e.into()))?;
    let component = inner.artefact(&run.job.tenant, &run.component).await.map_err(refuse)?;
    let secrets = inner.open_secrets(&run.job.tenant, &spec.grants.secrets).await.map_err(refuse)?;
    Ok(AttemptRequest {
        run: run.id,
        attempt: run.attempt,
        job: job.key.id.to_string(),
        component,
        entry: run.component.entry.clone(),
        args: run.args.clone().unwrap_or_else(|| spec.args.clone()),
        program: run.component.name.to_string(),
        env: spec.grants.env.clone().into_iter().collect(),
        secrets,
        directories,
        stdin: spec.stdin.as_ref().map(|stdin| stdin.0.clone()).unwrap_or_default(),
        limits,
        reach: Reach::of(&spec.grants, &job.key, job.created_at),
        isolation: spec.isolation,
        scheduled_at: run.scheduled_at,
        // Commands are not told.
        scheduled_local: (run.component.entry != Entry::Main).then(|| inner.steps.local(job, run.scheduled_at)),
        checkpoint: checkpoint.take(),
        deterministic: None,
        due_at: Some(run.start_at),
    })
}

fn fault(now: Timestamp) -> AttemptReport {
    let message = "a fault in bellcage itself ended the attempt; the server's log has more".to_owned();
    not_run(Outcome::Lost, RunError { code: "internal".to_owned(), message, ..RunError::default() }, now)
}

/// The report of an attempt of which no guest code ran, as far as is known.
fn not_run(outcome: Outcome, error: RunError, now: Timestamp) -> AttemptReport {
    AttemptReport {
        started_at: now,
        ended_at: now,
        outcome,
        exit_code: None,
        error: Some(error),
        result: None,
        log: AttemptLog::default(),
        receipt: Receipt::default(),
        retry: None,
        progress: None,
        checkpoint: None,
    }
}

/// Stores ended attempts in batches until the last sender is gone.
async fn collect(inner: Arc<Inner>, mut ended: mpsc::Receiver<Vec<Ended>>) {
    let most = inner.steps.batch_max;
    while let Some(mut items) = ended.recv().await {
        while items.len() < most
            && let Ok(more) = ended.try_recv()
        {
            items.extend(more);
        }
        let runs: Vec<_> = items.iter().map(|e| e.claimed.run.id).collect();
        let now = inner.clock.now();
        {
            let in_flight = inner.in_flight();
            for Ended { claimed, .. } in &mut items {
                // The lease may have been renewed under another token meanwhile.
                claimed.lease.token = in_flight.get(&claimed.run.id).map_or(claimed.lease.token, |ours| ours.token);
            }
        }
        store_ended(&inner, items, now).await;
        let mut in_flight = inner.in_flight();
        for run in runs {
            in_flight.remove(&run);
        }
        drop(in_flight);
        inner.wake.notify_one();
    }
}

/// Stores ended attempts, however long that takes. One that the store refuses is given up: its lease ends, and it is settled as lost.
async fn store_ended(inner: &Inner, items: Vec<Ended>, now: Timestamp) {
    let mut batches = vec![Settling::of(items, now)];
    while let Some(mut settling) = batches.pop() {
        let runs = settling.runs();
        match inner.steps.store_settled(&mut settling).await {
            Ok(()) => {}
            Err(StoreError::Closed) => {
                tracing::error!(attempts = runs.len(), "the store was closed; the next server settles these attempts as lost");
                return;
            }
            Err(StoreError::Refused(detail)) if runs.len() == 1 => {
                tracing::error!(run = %runs[0], detail, "the store refuses an attempt's record; it will be settled as lost");
            }
            Err(StoreError::Refused(_)) => batches.extend(settling.one_by_one()),
            Err(error) => {
                tracing::error!(%error, attempts = runs.len(), "ended attempts could not be stored; trying again");
                tokio::time::sleep(STORE_WAIT).await;
                batches.push(settling);
            }
        }
    }
}

/// Tells who watches how far the running attempts are; what they told in between is left out.
async fn tell_progress(inner: Arc<Inner>) {
    loop {
        let fresh = inner.executor.fresh_progress().await;
        let wait = PROGRESS_EVERY.max(PROGRESS_SHARE * u32::try_from(fresh.len()).unwrap_or(u32::MAX));
        for (run, progress) in fresh {
            let Some(InFlight { job, attempt, .. }) = inner.in_flight().get(&run).cloned() else { continue };
            let tenant = job.tenant.clone();
            inner.events.emit_passing(inner.clock.now(), &tenant, EventKind::RunProgress { job, run, attempt, progress });
        }
        tokio::time::sleep(wait).await;
    }
}

/// Keeps the leases of running attempts, and stops those that are no longer ours or that somebody asked to cancel.
async fn renew(inner: Arc<Inner>) {
    let lease = inner.options.lease;
    let every = Duration::try_from(lease).unwrap_or(Duration::from_secs(15)) / 3;
    loop {
        tokio::time::sleep(every).await;
        let runs: Vec<_> = inner.in_flight().iter().map(|(run, ours)| (*run, ours.token)).collect();
        if runs.is_empty() {
            continue;
        }
        let until = inner.clock.now().saturating_add(lease).unwrap_or(Timestamp::MAX);
        match inner.store.renew_runs(&inner.steps.owner, &runs, until).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_begun_goes_on_beside_the_rest_and_its_panic_leaves_that_alone() {
        let ((hand, handed), (tell, mut told), (go_on, until)) = (Hand::new(), mpsc::unbounded_channel(), oneshot::channel::<()>());
        hand.take_up_at_once(async { panic!("as the test asked") });
        hand.take_up_at_once(async move {
            tell.send("begun").unwrap();
            until.await.unwrap();
            tell.send("ended").unwrap();
        });
        assert_eq!((told.try_recv().ok(), told.try_recv().ok()), (Some("begun"), None));
        go_on.send(()).unwrap();
        drop(hand);
        handed.work().await;
        assert_eq!(told.recv().await, Some("ended"));
    }
}
