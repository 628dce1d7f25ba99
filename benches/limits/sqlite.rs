//! The limit of a store: SQLite alone, which is told of each run once, when it has ended. It is given a store of bellcage's with
//! its jobs, and leaves it as bellcage would: in the same schema the same rows, of the same sizes, under the same indexes. For that
//! it needs three statements a run (the run, its attempt with the result, and the job, which moves to its next firing), in large
//! transactions, each synced to the disk (WAL, `synchronous = FULL`). No leases, no claims, no queue, nothing read: a crash
//! would run again what was not recorded yet.
//!
//! It is a part of bellcage's benchmark and not of its stores, which do not use it.

use std::path::Path;

pub use rusqlite::Error;
use rusqlite::{Connection, Result, params};

const SETTINGS: &str = "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; \
                        PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;";
const HOUR_US: i64 = 3_600_000_000;
/// What the executor says that the tiny command called.
const HOST_CALLS: &str = r#"{"wasi:cli/stdout":1,"wasi:io/streams":2}"#;

pub struct Bare {
    connection: Connection,
    /// Rows 1 to this, of one tenant.
    jobs: i64,
    tenant: i64,
    /// When all of them are due first.
    start: i64,
    recorded: i64,
}

impl Bare {
    /// On the file of a store that nobody has open, with jobs of the component `tiny` that are due every hour from one instant on.
    pub fn open(file: &Path) -> Result<Self> {
        let connection = Connection::open(file)?;
        connection.execute_batch(SETTINGS)?;
        let (jobs, tenant, start) =
            connection.query_row("SELECT count(*), min(tenant), min(next_fire) FROM job", (), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(Self { connection, jobs, tenant, start, recorded: 0 })
    }

    /// Records that a run of the next job ended, for each of `results`, in one transaction.
    pub fn record(&mut self, results: &[impl AsRef<[u8]>]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        {
            let mut run = transaction.prepare_cached(
                "INSERT INTO run (tenant, id, job, scheduled_at, cause, firing, start_at, priority, state, component, attempt, lost, created_at, started_at, \
                 ended_at, outcome) VALUES (?1, ?2, ?3, ?4, 0, 1, ?4, 0, 3, 'tiny', 1, 0, ?5, ?5, ?5, 0)",
            )?;
            let mut attempt = transaction.prepare_cached(
                "INSERT INTO attempt (run, number, started_at, ended_at, outcome, exit_code, result, fuel_used, fuel_limit, memory_peak_bytes, memory_limit_bytes, \
                 cpu_us, wall_us, instantiate_us, queue_us, host_calls, host_calls_by, log_bytes, log_bytes_dropped, result_bytes, digest, node, short) \
                 VALUES (?1, 1, ?2, ?2, 0, 0, 0, 12, 10000000000, 65536, 134217728, 14, 17, 5, 200000, 3, ?3, 0, 0, 5, ?4, 'local', ?5)",
            )?;
            let mut moved = transaction.prepare_cached(
                "UPDATE job SET next_fire = ?1, wake_at = ?1, last_skip = NULL, ended = ended + 1, last_outcome = 0, last_run_at = ?2, failures = 0 WHERE id = ?3",
            )?;
            for result in results {
                let (round, job) = (self.recorded / self.jobs, self.recorded % self.jobs + 1);
                self.recorded += 1;
                let (due, now) = (self.start + round * HOUR_US, self.start + self.recorded);
                // A millisecond, and bits that look random, as in the ids of runs.
                let mixed = self.recorded.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let id = ((u128::from(now.unsigned_abs() / 1_000) << 80) | u128::from(mixed)).to_be_bytes();
                run.execute(params![self.tenant, id, job, due, now])?;
                attempt.execute(params![id, now, HOST_CALLS, [0xab_u8; 32], result.as_ref()])?;
                moved.execute(params![due + HOUR_US, due, job])?;
            }
        }
        transaction.commit()
    }
}
