//! Lateness: from the instant a job came due to the instant its guest was started, at a steady 1,000 firings a second.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::clock::{Clock, System};
use crate::scheduler::{EventKind, Scheduler};
use crate::store::{Sqlite, SqliteOptions};

use super::durable::{add_jobs, parts, push};
use super::{BenchError, Goal, Guest, Row, quantile};

/// Jobs, each once a second, a millisecond apart.
const JOBS: usize = 1_000;

pub(super) async fn measure(guest: &Guest, folder: &Path, quick: bool) -> Result<Vec<Row>, BenchError> {
    // Seconds left out: the store's log grows at first, and its syncs take longer than when it begins anew in the same file, as it does from then on.
    let (seconds, growing) = if quick { (5, 1) } else { (30, 5) };
    let store = Arc::new(Sqlite::open(&folder.join("lateness"), &SqliteOptions::default())?);
    push(&*store).await?;
    let first = System.now().saturating_add(SignedDuration::from_secs(2)).unwrap_or(Timestamp::MAX);
    let start = |n: usize| first.saturating_add(SignedDuration::from_millis(n as i64)).unwrap_or(first);
    add_jobs(&*store, JOBS, |n| format!("{{\"every\":\"1s\",\"start\":\"{}\"}}", start(n))).await?;
    let scheduler = Scheduler::start(parts(guest, store)?).await?;
    let warm = start(1_000 * growing);
    let mut late = observe(&scheduler, Duration::from_secs((2 + growing + seconds) as u64), warm).await;
    scheduler.shutdown(Duration::from_secs(5)).await;
    late.sort_unstable();
    let what = |q: &str| format!("lateness {q}, 1,000 firings/s for {seconds} s ({} seen)", late.len());
    let row = |id, q: &str, value| Row::new(id, what(q), quantile(&late, value) as f64 / 1_000.0, "ms");
    Ok(vec![row("5-p50", "p50", 0.5), row("5", "p99", 0.99).reach(&[Goal::AtMost(5.0)])])
}

/// Microseconds of each run that ended, of those from `warm` on.
async fn observe(scheduler: &Scheduler, time: Duration, warm: Timestamp) -> Vec<u64> {
    let (_, mut events) = scheduler.events().subscribe(None);
    let end = Instant::now() + time;
    let mut late = Vec::new();
    loop {
        match tokio::time::timeout_at(end, events.recv()).await {
            Ok(Ok(event)) => {
                if let EventKind::RunEnded { scheduled_at, receipt: Some(receipt), .. } = &event.kind
                    && *scheduled_at >= warm
                {
                    late.push(receipt.queue_us);
                }
            }
            Ok(Err(RecvError::Lagged(_))) => {}
            Ok(Err(RecvError::Closed)) | Err(_) => return late,
        }
    }
}
