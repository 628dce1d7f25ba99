//! The lateness of many jobs that are due in the same second: when the last of them starts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::clock::{Clock, System};
use crate::scheduler::Scheduler;
use crate::store::{Sqlite, SqliteOptions};

use super::durable::{add_jobs, burst, each_run, parts, push};
use super::{BenchError, Goal, Guest, Row};

const JOBS: usize = 10_000;

pub(super) async fn measure(guest: &Guest, folder: &Path) -> Result<Vec<Row>, BenchError> {
    let store = Arc::new(Sqlite::open(&folder.join("burst"), &SqliteOptions::default())?);
    push(&*store).await?;
    let due = System.now().saturating_add(SignedDuration::from_secs(3)).unwrap_or(Timestamp::MAX);
    add_jobs(&*store, JOBS, |_| format!("{{\"every\":\"1h\",\"start\":\"{due}\"}}")).await?;
    let scheduler = Scheduler::start(parts(guest, store.clone())?).await?;
    burst(&store, due).await?;
    scheduler.shutdown(Duration::from_secs(5)).await;
    let mut latest = 0;
    each_run(&store, |run| latest = latest.max(run.receipt.as_ref().map_or(0, |receipt| receipt.queue_us))).await?;
    let what = "10,000 due in the same second: the last one starts";
    Ok(vec![Row::new("5b", what, latest as f64 / 1_000.0, "ms").reach(&[Goal::AtMost(600.0)])])
}
