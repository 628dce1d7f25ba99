//! The limit of a store: SQLite alone, which is told of each run once, when it has ended: a row of the run, a row of its
//! attempt, the job's next firing. Many in one transaction, each synced to the disk (WAL, `synchronous = FULL`). No leases,
//! no claims, no queue: a crash would run again what was not recorded yet.
//!
//! It is a part of bellcage's benchmark and not of its stores, which do not use it.

use std::path::Path;

pub use rusqlite::Error;
use rusqlite::{Connection, Result, params};

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 8192; PRAGMA cache_size = -32768;
    CREATE TABLE job (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, next_fire INTEGER, last_outcome INTEGER, last_run_at INTEGER) STRICT;
    CREATE INDEX job_due ON job (next_fire) WHERE next_fire IS NOT NULL;
    CREATE TABLE run (id BLOB PRIMARY KEY, job INTEGER NOT NULL, scheduled_at INTEGER NOT NULL, component TEXT NOT NULL, state INTEGER NOT NULL,
        started_at INTEGER, ended_at INTEGER, outcome INTEGER) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX run_firing ON run (job, scheduled_at);
    CREATE TABLE attempt (run BLOB NOT NULL, number INTEGER NOT NULL, started_at INTEGER NOT NULL, ended_at INTEGER NOT NULL,
        outcome INTEGER NOT NULL, result BLOB, fuel_used INTEGER, fuel_limit INTEGER, memory_peak_bytes INTEGER, memory_limit_bytes INTEGER,
        cpu_us INTEGER, wall_us INTEGER, queue_us INTEGER, host_calls INTEGER, host_calls_by TEXT, digest BLOB, node TEXT,
        PRIMARY KEY (run, number)) STRICT, WITHOUT ROWID;";
const HOST_CALLS: &str = r#"{"wasi:cli/stdout":1,"wasi:io/streams":2}"#;

pub struct Bare {
    connection: Connection,
    jobs: i64,
    recorded: i64,
}

impl Bare {
    /// A new file with so many jobs, each due.
    pub fn create(file: &Path, jobs: i64) -> Result<Self> {
        let mut connection = Connection::open(file)?;
        connection.execute_batch(SCHEMA)?;
        let transaction = connection.transaction()?;
        for job in 0..jobs {
            transaction.prepare_cached("INSERT INTO job (id, name, next_fire) VALUES (?, ?, 0)")?.execute(params![job, format!("bench-{job}")])?;
        }
        transaction.commit()?;
        Ok(Self { connection, jobs, recorded: 0 })
    }

    /// Records that a run of the next job ended, for each of `results`, in one transaction.
    pub fn record(&mut self, results: &[impl AsRef<[u8]>]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        for result in results {
            self.recorded += 1;
            let (job, at) = (self.recorded % self.jobs, 1_800_000_000_000_000 + self.recorded);
            // As unique as a random one, and nearly in order, as those of the real store are.
            let id = ((u128::from(at.unsigned_abs()) << 64) | (0x9E37_79B9 * u128::from(self.recorded.unsigned_abs()))).to_be_bytes();
            let run = "INSERT INTO run (id, job, scheduled_at, component, state, started_at, ended_at, outcome) VALUES (?, ?, ?, 'tiny:main', 3, ?, ?, 0)";
            transaction.prepare_cached(run)?.execute(params![id, job, at, at, at])?;
            let attempt = "INSERT INTO attempt VALUES (?, 1, ?, ?, 0, ?, 37, 10000000000, 65536, 134217728, 12, 14, 900, 3, ?, ?, 'node')";
            transaction.prepare_cached(attempt)?.execute(params![id, at, at, result.as_ref(), HOST_CALLS, [0_u8; 32]])?;
            let moved = "UPDATE job SET next_fire = ?, last_outcome = 0, last_run_at = ? WHERE id = ?";
            transaction.prepare_cached(moved)?.execute(params![at + 3_600_000_000, at, job])?;
        }
        transaction.commit()
    }
}
