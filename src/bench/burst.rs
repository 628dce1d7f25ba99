//! The lateness of many jobs that are due in the same second: when the last of them starts.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::clock::{Clock, System};
use crate::job::TenantId;
use crate::scheduler::Scheduler;
use crate::store::{PageRequest, RunFilter, Sqlite, SqliteOptions, Store};

use super::durable::{add_jobs, parts, push};
use super::{BenchError, Goal, Guest, Row};

const JOBS: usize = 10_000;
const WAIT_MAX: u64 = 60;

pub(super) async fn measure(guest: &Guest, folder: &Path) -> Result<Vec<Row>, BenchError> {
    let store = Arc::new(Sqlite::open(&folder.join("burst"), &SqliteOptions::default())?);
    push(&*store).await?;
    let added = Instant::now();
    let due = System.now().saturating_add(SignedDuration::from_secs(3)).unwrap_or(Timestamp::MAX);
    add_jobs(&*store, JOBS, |_| format!("{{\"every\":\"1h\",\"start\":\"{due}\"}}")).await?;
    let scheduler = Scheduler::start(parts(guest, store.clone())?).await?;
    while System.now() < due || store.counts().await?.runs_unfinished > 0 || ended(&*store).await? < JOBS {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if added.elapsed() > Duration::from_secs(WAIT_MAX) {
            return Err(BenchError::TooSlow(WAIT_MAX));
        }
    }
    scheduler.shutdown(Duration::from_secs(5)).await;
    let mut latest = 0;
    let mut page = PageRequest { after: None, limit: 1_000 };
    loop {
        let runs = store.runs(&of_all(), page).await?;
        latest = runs.items.iter().filter_map(|run| Some(run.receipt.as_ref()?.queue_us)).fold(latest, u64::max);
        match runs.next {
            Some(next) => page = PageRequest { after: Some(next), limit: 1_000 },
            None => break,
        }
    }
    let what = "10,000 due in the same second: the last one starts";
    Ok(vec![Row::new("5b", what, latest as f64 / 1_000.0, "ms").reach(&[Goal::AtMost(600.0)])])
}

fn of_all() -> RunFilter {
    RunFilter { tenant: TenantId::default(), ..RunFilter::default() }
}

/// How many jobs have moved on: one that has not is due.
async fn ended(store: &dyn Store) -> Result<usize, BenchError> {
    let due = store.next_due().await?;
    Ok(if due.is_none_or(|due| due > System.now()) { JOBS } else { 0 })
}
