//! Durable scheduled runs per second, end to end: many jobs due at one instant, each leased, run in its own instance, recorded
//! and moved to its next firing, on SQLite with `synchronous=FULL`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::clock::{Clock, System};
use crate::job::{Job, JobKey, JobSpec, Outcome, Run, TenantId};
use crate::plan;
use crate::scheduler::{OnConflict, Options, Parts, Scheduler};
use crate::store::{PageRequest, RunFilter, Sqlite, SqliteOptions, Store};
use crate::trigger::{Salt, TriggerSpec};

use super::{BenchError, Goal, Guest, Row, TINY, limits, middle};

/// Between two firings of a job.
const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// After a burst the store carries its log over into the file.
const QUIET: Duration = Duration::from_millis(400);
const WAIT_MAX: u64 = 300;
/// How late the end is seen at most.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Jobs added at once.
const ADDING: usize = 512;

pub(super) async fn measure(guest: &Guest, folder: &Path, quick: bool) -> Result<Vec<Row>, BenchError> {
    // Of each round a burst, and then the limit for so long.
    let (rounds, jobs, time) = if quick { (3, 10_000, Duration::from_millis(700)) } else { (5, 50_000, Duration::from_secs(2)) };
    let store = Arc::new(Sqlite::open(&folder.join("durable"), &SqliteOptions::default())?);
    let start = System.now().saturating_add(HOUR).unwrap_or(Timestamp::MAX);
    push(&*store).await?;
    add_jobs(&*store, jobs, |_| format!("{{\"every\":\"1h\",\"start\":\"{start}\"}}")).await?;
    let clock = Arc::new(Ahead::default());
    let scheduler = Scheduler::start(Parts { clock: clock.clone(), ..parts(guest, store.clone())? }).await?;
    let mut limit = limits::Durable::prepare(folder, jobs).await?;
    let mut measured = Vec::new();
    for round in 0..rounds {
        let due = start.saturating_add(HOUR * round).unwrap_or(Timestamp::MAX);
        tokio::time::sleep(QUIET).await;
        clock.set(due);
        let ours = jobs as f64 / burst(&store, due).await?.as_secs_f64();
        tokio::time::sleep(QUIET).await;
        let measuring = tokio::task::spawn_blocking(move || limit.rate(time).map(|rate| (rate, limit)));
        let rate;
        (rate, limit) = measuring.await.map_err(|_| BenchError::Ended)??;
        measured.push((ours, rate));
    }
    scheduler.shutdown(Duration::from_secs(5)).await;
    let (mut succeeded, of) = (0, jobs * measured.len());
    each_run(&store, |run| succeeded += usize::from(run.outcome == Some(Outcome::Succeeded))).await?;
    if succeeded != of {
        return Err(BenchError::Succeeded { succeeded, of });
    }
    let (ours, limit) = middle(measured);
    let row = Row::new("3", format!("durable scheduled runs, end to end, {jobs} due at once, SQLite FULL"), ours, "1/s");
    Ok(vec![row.limit(limit).reach(&[Goal::AtLeast(20_000.0), Goal::RatioAtLeast(0.4), Goal::TimesPeer(150.0)])])
}

/// How long it takes until everything that is `due` has run, and is due again in an hour.
pub(super) async fn burst(store: &Sqlite, due: Timestamp) -> Result<Duration, BenchError> {
    let began = Instant::now();
    // Nobody is asked for that; the store is asked for the rest once that may be true, as the limit is asked for nothing.
    while store.counts().await?.runs_unfinished > 0 || store.next_due().await?.is_some_and(|next| next <= due) {
        if began.elapsed() > Duration::from_secs(WAIT_MAX) {
            return Err(BenchError::TooSlow(WAIT_MAX));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(began.elapsed())
}

/// Shows every run that is stored.
pub(super) async fn each_run(store: &Sqlite, mut see: impl FnMut(&Run)) -> Result<(), BenchError> {
    let filter = RunFilter { tenant: TenantId::default(), ..RunFilter::default() };
    let mut after = None;
    loop {
        let page = store.runs(&filter, PageRequest { after, limit: 1_000 }).await?;
        page.items.iter().for_each(&mut see);
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// The machine's clock, set ahead.
struct Ahead(watch::Sender<SignedDuration>);

impl Default for Ahead {
    fn default() -> Self {
        Self(watch::Sender::new(SignedDuration::ZERO))
    }
}

impl Ahead {
    fn set(&self, now: Timestamp) {
        self.0.send_replace(now.duration_since(System.now()));
    }
}

#[async_trait]
impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        System.now().saturating_add(*self.0.borrow()).unwrap_or(Timestamp::MAX)
    }

    async fn sleep_until(&self, until: Timestamp) {
        let mut set = self.0.subscribe();
        let ahead = *set.borrow_and_update();
        tokio::select! {
            () = System.sleep_until(until.saturating_sub(ahead).unwrap_or(Timestamp::MIN)) => {}
            _ = set.changed() => {}
        }
    }
}

pub(super) fn parts(guest: &Guest, store: Arc<Sqlite>) -> Result<Parts, BenchError> {
    Ok(Parts {
        store,
        executor: Arc::new(guest.pool(None)?),
        compiler: guest.compiler(),
        cache: guest.cache()?,
        clock: Arc::new(System),
        options: Options { every_min: SignedDuration::from_millis(1), ..Options::default() },
    })
}

/// The guest as the component `tiny`.
pub(super) async fn push(store: &dyn Store) -> Result<(), BenchError> {
    let name = "tiny".parse().map_err(crate::scheduler::SchedulerError::from)?;
    store.push_component(&TenantId::default(), &name, TINY.to_vec(), serde_json::Value::Null, System.now()).await?;
    Ok(())
}

/// Adds jobs of `tiny`, the n-th with the trigger that `trigger` gives as JSON.
pub(super) async fn add_jobs(store: &dyn Store, jobs: usize, trigger: impl Fn(usize) -> String) -> Result<(), BenchError> {
    let component: crate::job::Reference = "tiny".parse().map_err(crate::scheduler::SchedulerError::from)?;
    let now = System.now();
    let mut wanted = Vec::with_capacity(jobs);
    for n in 0..jobs {
        let key = JobKey { tenant: TenantId::default(), id: format!("bench-{n}").parse().map_err(crate::scheduler::SchedulerError::from)? };
        let spec = JobSpec::new(component.clone(), TriggerSpec::from_json(&trigger(n)).map_err(crate::scheduler::SchedulerError::from)?);
        let salt = Salt { tenant: key.tenant.as_str(), job: key.id.as_str() };
        let compiled = spec.trigger.clone().anchored(now).compile(salt).map_err(crate::scheduler::SchedulerError::from)?;
        wanted.push(plan::create(key, spec, &compiled, now));
    }
    store_jobs(store, wanted).await
}

/// Adds jobs, each of a new id.
pub(super) async fn store_jobs(store: &dyn Store, jobs: impl IntoIterator<Item = Job>) -> Result<(), BenchError> {
    let mut jobs = jobs.into_iter().peekable();
    while jobs.peek().is_some() {
        let batch = jobs.by_ref().take(ADDING).collect();
        store.add_jobs(batch, OnConflict::Error).await?.into_iter().try_for_each(|added| added.map(drop))?;
    }
    Ok(())
}
