//! Durable scheduled runs per second, end to end: many jobs due at one instant, each leased, run in its own instance, recorded
//! and moved to its next firing, on SQLite with `synchronous=FULL`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::clock::{Clock, System};
use crate::job::{Job, JobKey, JobSpec, TenantId};
use crate::plan;
use crate::scheduler::{OnConflict, Options, Parts, Scheduler};
use crate::store::{Sqlite, SqliteOptions, Store};
use crate::trigger::{Salt, TriggerSpec};

use super::{BenchError, Goal, Guest, Row, TINY, limits};

const WAIT_MAX: u64 = 300;
/// How late the end is seen at most.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Jobs added at once.
const ADDING: usize = 512;

pub(super) async fn measure(guest: &Guest, folder: &Path, quick: bool) -> Result<Vec<Row>, BenchError> {
    let jobs = if quick { 10_000 } else { 50_000 };
    let store = Arc::new(Sqlite::open(&folder.join("durable"), &SqliteOptions::default())?);
    let start = System.now().saturating_add(SignedDuration::from_secs(if quick { 5 } else { 20 })).unwrap_or(Timestamp::MAX);
    push(&*store).await?;
    add_jobs(&*store, jobs, |_| format!("{{\"every\":\"1h\",\"start\":\"{start}\"}}")).await?;
    let scheduler = Scheduler::start(parts(guest, store.clone())?).await?;
    while System.now() < start {
        System.sleep_until(start).await;
    }
    let began = Instant::now();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // Nobody is asked for that; the store is asked for the rest once that may be true, as the limit is asked for nothing.
        if store.counts().await?.runs_unfinished == 0
            && store.next_due().await?.is_none_or(|next| next > start.saturating_add(SignedDuration::from_mins(30)).unwrap_or(start))
        {
            break;
        }
        if began.elapsed() > Duration::from_secs(WAIT_MAX) {
            return Err(BenchError::TooSlow(WAIT_MAX));
        }
    }
    let rate = jobs as f64 / began.elapsed().as_secs_f64();
    scheduler.shutdown(Duration::from_secs(5)).await;
    let row = Row::new("3", format!("durable scheduled runs, end to end, {jobs} due at once, SQLite FULL"), rate, "1/s");
    let limit = limits::durable(folder, jobs, Duration::from_secs(if quick { 2 } else { 6 })).await?;
    Ok(vec![row.limit(limit).reach(&[Goal::AtLeast(20_000.0), Goal::RatioAtLeast(0.4), Goal::TimesPeer(150.0)])])
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
