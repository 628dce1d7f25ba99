//! Adding jobs over HTTP: one at a time by some clients, and in bulk as `job apply` does.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::job::{JobId, JobSpec, Reference};
use crate::scheduler::SchedulerError;
use crate::trigger::TriggerSpec;
use crate::wire::{AddJob, OnConflict};

use super::server::ServerProcess;
use super::{BenchError, Goal, Guest, Row, TINY, median};

const CLIENTS: usize = 8;
/// In bulk.
const ROUNDS: usize = 5;

pub(super) async fn measure(guest: &Guest, folder: &Path, quick: bool) -> Result<Vec<Row>, BenchError> {
    let (program, data) = (guest.program.clone(), folder.join("adding"));
    let measured = tokio::task::spawn_blocking(move || both(&program, &data, quick)).await;
    measured.map_err(|e| BenchError::Server(e.to_string()))?
}

fn both(program: &Path, data: &Path, quick: bool) -> Result<Vec<Row>, BenchError> {
    std::fs::create_dir_all(data).map_err(|source| BenchError::Folder { folder: data.to_owned(), source })?;
    let server = ServerProcess::start(program, data)?;
    let client = server.client()?;
    let name = "tiny".parse().map_err(SchedulerError::from)?;
    client.push_component(&name, TINY, Default::default()).map_err(failed)?;

    let time = if quick { Duration::from_millis(800) } else { Duration::from_secs(5) };
    let began = Instant::now();
    let added = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|n| server.client().map(|client| scope.spawn(move || add(&client, n, time)))).collect();
        let added = clients.into_iter().map(|client| client?.join().unwrap_or_else(|_| Err(BenchError::Server("a client panicked".to_owned()))));
        added.sum::<Result<usize, _>>()
    })?;
    let single = added as f64 / began.elapsed().as_secs_f64();

    let jobs = if quick { 5_000 } else { 50_000 };
    let bulk = median((0..ROUNDS).map(|round| apply(&client, round, jobs)).collect::<Result<_, _>>()?);
    Ok(vec![
        Row::new("4", format!("jobs added over HTTP, one at a time by {CLIENTS} clients"), single, "1/s").reach(&[Goal::AtLeast(3_000.0)]),
        Row::new("4b", format!("jobs added in bulk as `job apply` does, {jobs} at a time"), bulk, "1/s").reach(&[Goal::AtLeast(50_000.0)]),
    ])
}

/// Adds jobs of `tiny` for so long.
fn add(client: &Client, who: usize, time: Duration) -> Result<usize, BenchError> {
    let (began, spec) = (Instant::now(), spec()?);
    let mut added = 0;
    while began.elapsed() < time {
        client.add_job(&id(&format!("client-{who}"), added)?, &spec, OnConflict::Error).map_err(failed)?;
        added += 1;
    }
    Ok(added)
}

/// Jobs of `tiny` per second, so many at a time.
fn apply(client: &Client, round: usize, jobs: usize) -> Result<f64, BenchError> {
    let prefix = format!("applied-{round}");
    let wanted = (0..jobs).map(|n| Ok(AddJob { id: id(&prefix, n)?, spec: spec()? })).collect::<Result<Vec<_>, BenchError>>()?;
    let began = Instant::now();
    let applied = client.apply_all(&wanted, OnConflict::Error).map_err(failed)?;
    if let Some(problem) = applied.jobs.into_iter().find_map(|job| job.problem) {
        return Err(BenchError::Server(problem.detail));
    }
    Ok(jobs as f64 / began.elapsed().as_secs_f64())
}

fn spec() -> Result<JobSpec, BenchError> {
    let component: Reference = "tiny".parse().map_err(SchedulerError::from)?;
    Ok(JobSpec::new(component, TriggerSpec::cron("30 2 * * mon-fri", Some("Europe/Stockholm"))))
}

fn id(prefix: &str, n: usize) -> Result<JobId, BenchError> {
    Ok(format!("{prefix}-{n}").parse().map_err(SchedulerError::from)?)
}

fn failed(error: impl std::fmt::Display) -> BenchError {
    BenchError::Server(error.to_string())
}
