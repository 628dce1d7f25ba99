//! Many jobs stored: what a firing takes when there are more of them, and what a server takes to start and to do nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::clock::{Clock, System};
use crate::job::{JobKey, JobSpec, TenantId};
use crate::plan;
use crate::scheduler::{Scheduler, SchedulerError};
use crate::store::{Sqlite, SqliteOptions, Store};
use crate::trigger::{Salt, TriggerSpec};

use super::durable::{parts, push, store_jobs};
use super::server::ServerProcess;
use super::{BenchError, Goal, Guest, Row};

/// Jobs that fire in each measurement.
const FIRING: usize = 1_000;
/// Times that each of them fires; the median counts.
const ROUNDS: usize = 5;
/// A single one tells how long the disk took for one of its ten commits.
const QUICK_ROUNDS: usize = 3;
const ROUND_MAX: Duration = Duration::from_secs(30);
/// Jobs made at once: a million of them are not kept in memory.
const ADDING: usize = 10_000;

pub(super) async fn measure(guest: &Guest, folder: &Path, quick: bool) -> Result<Vec<Row>, BenchError> {
    let sizes: &[usize] = if quick { &[1_000, 30_000] } else { &[1_000, 10_000, 100_000, 1_000_000] };
    let rounds = if quick { QUICK_ROUNDS } else { ROUNDS };
    let data = folder.join("many");
    let mut took = Vec::new();
    {
        let store = Arc::new(Sqlite::open(&data, &SqliteOptions::default())?);
        push(&*store).await?;
        let mut stored = 0;
        for &size in sizes {
            add_resting(&*store, stored..size).await?;
            stored = size;
            took.push(firing(guest, &store, rounds).await?);
        }
        // The schedulers are gone, but for what they still drop; the server gets the file when nobody has it.
        let began = Instant::now();
        while Arc::strong_count(&store) > 1 && began.elapsed() < ROUND_MAX {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let size = sizes.last().copied().unwrap_or(0);
    let program = guest.program.clone();
    let idle_for = if quick { Duration::from_millis(500) } else { Duration::from_secs(30) };
    let idle = tokio::task::spawn_blocking(move || idle(&program, &data, idle_for)).await.map_err(|e| BenchError::Server(e.to_string()))??;
    let each: Vec<_> = sizes.iter().zip(&took).map(|(size, us)| format!("{size}: {us:.1}")).collect();
    let grows = took.last().copied().unwrap_or(0.0) / took.first().copied().unwrap_or(1.0);
    Ok(vec![
        Row::new("7", format!("µs a firing takes, the most jobs by the fewest (µs by jobs: {})", each.join(", ")), grows, "×").reach(&[Goal::AtMost(1.5)]),
        Row::new("6", format!("a server with {size} jobs: time to ready"), idle.ready.as_secs_f64() * 1_000.0, "ms").reach(&[Goal::AtMost(200.0)]),
        Row::new("6-rss", "its resident memory, workers included", idle.resident as f64 / f64::from(1 << 20), "MiB").reach(&[Goal::AtMost(100.0)]),
        Row::new("6-cpu", "its CPU time while nothing is due, of one core", idle.cpu * 100.0, "%").reach(&[Goal::AtMost(0.1)]),
    ])
}

struct Idle {
    ready: Duration,
    resident: u64,
    /// Of one core.
    cpu: f64,
}

fn idle(program: &Path, data: &Path, time: Duration) -> Result<Idle, BenchError> {
    let server = ServerProcess::start(program, data)?;
    // What is still done at the start does not count as doing nothing.
    std::thread::sleep(Duration::from_millis(500));
    let before = server.cpu();
    std::thread::sleep(time);
    let cpu = (server.cpu() - before).as_secs_f64() / time.as_secs_f64();
    Ok(Idle { ready: server.ready, resident: server.resident(), cpu })
}

/// Jobs that come due in a year.
async fn add_resting(store: &dyn Store, numbers: std::ops::Range<usize>) -> Result<(), BenchError> {
    let start = System.now().saturating_add(SignedDuration::from_hours(24 * 365)).unwrap_or(Timestamp::MAX);
    add(store, numbers.map(|n| (format!("rests-{n}"), start))).await
}

/// Microseconds from the instant that many jobs are due until the last of them has been run and recorded, for each of them.
async fn firing(guest: &Guest, store: &Arc<Sqlite>, rounds: usize) -> Result<f64, BenchError> {
    let mut took = Vec::new();
    for _ in 0..rounds {
        let due = System.now().saturating_add(SignedDuration::from_millis(700)).unwrap_or(Timestamp::MAX);
        add(&**store, (0..FIRING).map(|n| (format!("fires-{n}-{}", due.as_microsecond()), due))).await?;
        let scheduler = Scheduler::start(parts(guest, store.clone())?).await?;
        while System.now() < due {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        let began = Instant::now();
        while store.next_due().await?.is_some_and(|next| next < due.saturating_add(SignedDuration::from_mins(1)).unwrap_or(due)) {
            tokio::time::sleep(Duration::from_micros(500)).await;
            if began.elapsed() > ROUND_MAX {
                return Err(BenchError::TooSlow(ROUND_MAX.as_secs()));
            }
        }
        took.push(began.elapsed().as_secs_f64() * 1e6 / FIRING as f64);
        scheduler.shutdown(Duration::from_secs(5)).await;
    }
    took.sort_by(f64::total_cmp);
    Ok(took[took.len() / 2])
}

/// Adds jobs that fire every hour from an instant on.
async fn add(store: &dyn Store, jobs: impl Iterator<Item = (String, Timestamp)>) -> Result<(), BenchError> {
    let now = System.now();
    let wanted = jobs.map(|(id, start)| {
        let key = JobKey { tenant: TenantId::default(), id: id.parse().map_err(SchedulerError::from)? };
        let trigger = TriggerSpec::from_json(&format!("{{\"every\":\"1h\",\"start\":\"{start}\"}}")).map_err(SchedulerError::from)?;
        let spec = JobSpec::new("tiny".parse().map_err(SchedulerError::from)?, trigger);
        let salt = Salt { tenant: key.tenant.as_str(), job: key.id.as_str() };
        let compiled = spec.trigger.clone().anchored(now).compile(salt).map_err(SchedulerError::from)?;
        Ok::<_, BenchError>(plan::create(key, spec, &compiled, now))
    });
    let mut wanted = wanted.peekable();
    while wanted.peek().is_some() {
        let some = wanted.by_ref().take(ADDING).collect::<Result<Vec<_>, _>>()?;
        store_jobs(store, some).await?;
    }
    Ok(())
}
