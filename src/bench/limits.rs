//! The limit that durable runs are held against: wasmtime alone and SQLite alone, together on the same cores.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::clock::{Clock, System};
use crate::executor::bare;
use crate::store::sqlite::bare as bare_store;
use crate::store::{Sqlite, SqliteOptions};

use super::durable::{add_jobs, push};
use super::{BenchError, TINY};

/// Runs recorded in one transaction.
const GROUP: usize = 2_048;
/// Slots of a runner's engine.
const SLOTS: u32 = 512;
/// Groups that wait for the disk.
const QUEUED: usize = 4;

/// Runs of the tiny command that are run and recorded, in a store that has as many jobs as are due in ours.
pub(super) struct Durable {
    store: bare_store::Bare,
    runners: Vec<bare::Bare>,
}

impl Durable {
    pub async fn prepare(folder: &Path, jobs: usize) -> Result<Self, BenchError> {
        let file = folder.join("limit.db");
        prepare(&file, jobs, System.now().saturating_add(SignedDuration::from_hours(1)).unwrap_or(Timestamp::MAX)).await?;
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        Ok(Self { store: bare_store::Bare::open(&file)?, runners: (0..threads).map(|_| runner()).collect::<Result<_, _>>()? })
    }

    /// How many per second, over some time.
    pub fn rate(&mut self, time: Duration) -> Result<f64, BenchError> {
        let Self { store, runners } = self;
        let (results, groups) = sync_channel::<Result<Vec<_>, bare::Error>>(QUEUED);
        std::thread::scope(|scope| {
            for runner in &*runners {
                let results = results.clone();
                scope.spawn(move || while results.send(runner.run(GROUP)).is_ok() {});
            }
            drop(results);
            // Dropped at the end, which ends the runners.
            let groups = groups;
            let mut record = || -> Result<usize, BenchError> {
                let group = groups.recv().map_err(|_| BenchError::Ended)??;
                store.record(&group)?;
                Ok(group.len())
            };
            // The first takes longer, as it is waited for.
            record()?;
            let (began, mut done) = (Instant::now(), 0);
            while began.elapsed() < time {
                done += record()?;
            }
            Ok(done as f64 / began.elapsed().as_secs_f64())
        })
    }
}

/// A store with jobs that are due every hour from `start` on, which nobody has open.
async fn prepare(file: &Path, jobs: usize, start: Timestamp) -> Result<(), BenchError> {
    let store = Sqlite::open(file, &SqliteOptions::default())?;
    push(&store).await?;
    add_jobs(&store, jobs, |_| format!("{{\"every\":\"1h\",\"start\":\"{start}\"}}")).await
}

fn runner() -> Result<bare::Bare, bare::Error> {
    let mut runner = bare::Bare::new(SLOTS)?;
    let compiled = runner.compile(TINY)?;
    // SAFETY: this engine has just compiled it.
    unsafe { runner.add(&compiled) }?;
    Ok(runner)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::job::{Attempt, AttemptLog, Digest, Outcome, Receipt, RunResult};
    use crate::plan;
    use crate::store::{AttemptEnd, Fenced, FiringCommit, FiringStep, LeasedJob, Owner, RunClaim, Settled, Store};
    use crate::trigger::Salt;

    const JOBS: usize = 2_000;

    /// As the executor reports the tiny command.
    fn attempt(now: Timestamp) -> Attempt {
        Attempt {
            number: 1,
            started_at: now,
            ended_at: now,
            outcome: Outcome::Succeeded,
            exit_code: Some(0),
            error: None,
            receipt: Receipt {
                fuel_used: 12,
                fuel_limit: 10_000_000_000,
                memory_peak_bytes: 65_536,
                memory_limit_bytes: 134_217_728,
                cpu_us: 14,
                wall_us: 17,
                instantiate_us: 5,
                queue_us: 200_000,
                host_calls: 3,
                host_calls_by_interface: [("wasi:cli/stdout".into(), 1), ("wasi:io/streams".into(), 2)].into_iter().collect(),
                log_bytes: 0,
                log_bytes_dropped: 0,
                result_bytes: 5,
                digest: Some(Digest::of(TINY)),
                node: "local".to_owned(),
            },
            result: Some(RunResult::Text(b"done\n".to_vec())),
            log: AttemptLog::default(),
            progress: None,
        }
    }

    /// What the scheduler does with a job that is due.
    fn decide(LeasedJob { job, lease, .. }: &LeasedJob, now: Timestamp) -> FiringCommit {
        let salt = Salt { tenant: job.key.tenant.as_str(), job: job.key.id.as_str() };
        let trigger = job.spec.trigger.clone().anchored(job.anchor).compile(salt).expect("the job was added");
        let due = plan::Due { job, trigger: &trigger, calendars: &[], unfinished: &[], unfinished_count: 0, after: None };
        let plan::Firing { steps, next_fire, wake_at, state, pause, .. } = plan::fire(due, now);
        let step = |step| match step {
            plan::Step::Run(run) => FiringStep::Run(run),
            plan::Step::Skip(skip) => FiringStep::Skip(skip),
        };
        let steps = steps.into_iter().map(step).collect();
        let (cancel, cancel_reason, consumed) = Default::default();
        let (job, token) = (job.key.clone(), lease.token);
        FiringCommit { job, token, steps, cancel, cancel_reason, consumed, ends_seen: 0, next_fire, wake_at, state, pause, now }
    }

    /// Each job's run, through every verb that the scheduler uses.
    async fn run_all(file: &Path, now: Timestamp) {
        let store = Sqlite::open(file, &SqliteOptions::default()).unwrap();
        let (owner, until) = (Owner("local".into()), now.saturating_add(SignedDuration::from_secs(15)).unwrap());
        let mut done = 0;
        while done < JOBS {
            let leased = store.lease_due(&owner, now, until, 500).await.unwrap();
            let firings = leased.iter().map(|job| decide(job, now)).collect();
            let claim = RunClaim { owner: owner.clone(), now, until, max: 500, alone: 500 };
            let (_, claimed) = store.commit_and_claim(firings, claim).await.unwrap();
            let ends = claimed.iter().map(|claimed| AttemptEnd {
                run: claimed.run.id,
                token: claimed.lease.token,
                attempt: Some(attempt(now)),
                settled: Settled::Ended { outcome: Outcome::Succeeded, error: None },
                checkpoint: None,
                pause_job: None,
                now,
            });
            let finished = store.finish_attempts(ends.collect()).await.unwrap();
            done += finished.iter().filter(|answer| **answer == Fenced::Done).count();
        }
    }

    /// Every table's rows: how many, and of each column, its types and the sum of its lengths.
    fn shape(file: &Path) -> Vec<(String, Vec<String>)> {
        let connection = Connection::open(file).unwrap();
        let rows = |sql: &str| {
            let mut statement = connection.prepare(sql).unwrap();
            let columns = statement.column_count();
            let rows = statement.query_map((), |row| (0..columns).map(|n| row.get::<_, String>(n)).collect::<Result<Vec<_>, _>>()).unwrap();
            rows.map(|row| row.unwrap().join(" ")).collect::<Vec<_>>()
        };
        let tables = rows("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('tally') ORDER BY name");
        let mut shapes = vec![("schema".to_owned(), rows("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name"))];
        for table in tables {
            let columns = rows(&format!("SELECT name FROM pragma_table_info('{table}')"));
            let of = |column: &String| {
                format!(
                    "SELECT '{column} ' || typeof({column}) || ' ' || count(*) || ' of ' || coalesce(length(CAST({column} AS BLOB)), 0) FROM {table} GROUP BY typeof({column}), length(CAST({column} AS BLOB))"
                )
            };
            shapes.push((table.clone(), columns.iter().flat_map(|column| rows(&of(column))).collect()));
        }
        shapes
    }

    #[tokio::test]
    async fn the_limit_leaves_the_rows_that_bellcage_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let start = Timestamp::from_second(1_900_000_000).unwrap();
        let [ours, limit] = ["ours.db", "limit.db"].map(|name| folder.path().join(name));
        prepare(&ours, JOBS, start).await.unwrap();
        prepare(&limit, JOBS, start).await.unwrap();
        run_all(&ours, start).await;
        {
            let mut bare = bare_store::Bare::open(&limit).unwrap();
            for group in vec![b"done\n"; JOBS].chunks(700) {
                bare.record(group).unwrap();
            }
        }
        for (ours, limit) in shape(&ours).into_iter().zip(shape(&limit)) {
            assert_eq!(ours, limit);
        }
        let [ours, limit] = [ours, limit].map(|file| std::fs::metadata(file).unwrap().len() as f64);
        assert!((0.95..1.05).contains(&(limit / ours)), "{limit} bytes against {ours}");
    }
}
