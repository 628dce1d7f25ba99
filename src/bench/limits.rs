//! The limit that durable runs are held against: wasmtime alone and SQLite alone, together on the same cores.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use crate::executor::bare;
use crate::store::sqlite::bare as bare_store;

use super::{BenchError, TINY};

/// Runs recorded in one transaction; as many as one turn of the scheduler takes.
const GROUP: usize = 512;
/// Groups that wait for the disk.
const QUEUED: usize = 4;

/// Runs of the tiny command that are run and recorded, per second.
pub(super) fn durable(folder: &Path, jobs: usize, time: Duration) -> Result<f64, BenchError> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut store = bare_store::Bare::create(&folder.join("limit.db"), i64::try_from(jobs).unwrap_or(i64::MAX))?;
    let runners = (0..threads).map(|_| runner()).collect::<Result<Vec<_>, _>>()?;
    let (results, groups) = sync_channel::<Result<Vec<_>, bare::Error>>(QUEUED);
    std::thread::scope(|scope| {
        for runner in &runners {
            let results = results.clone();
            scope.spawn(move || while results.send(runner.run(GROUP)).is_ok() {});
        }
        drop(results);
        let (began, mut done) = (Instant::now(), 0);
        // Dropped at the end, which ends the runners.
        let groups = groups;
        while began.elapsed() < time {
            let group = groups.recv().map_err(|_| BenchError::Ended)??;
            store.record(&group)?;
            done += group.len();
        }
        Ok(done as f64 / began.elapsed().as_secs_f64())
    })
}

fn runner() -> Result<bare::Bare, bare::Error> {
    let mut runner = bare::Bare::new(GROUP as u32)?;
    let compiled = runner.compile(TINY)?;
    // SAFETY: this engine has just compiled it.
    unsafe { runner.add(&compiled) }?;
    Ok(runner)
}
