//! What is written of each run that starts and ends. A batch finds its statements once: looking one up by its text, for each
//! run, costs as much as a narrow row.

use std::borrow::Cow;

use rusqlite::{CachedStatement, params};

use super::live::Held;
use super::rows::{self, At, Code, Count, Json, Text, at};
use super::runs::Turn;
use super::writer::Db;
use crate::job::{Attempt, Cause, Job, Run, RunId, RunResult};
use crate::store::FiringCommit;

/// Bytes of a result that stands in the row of its attempt; longer ones are kept apart. (The bound is also in the schema.)
const SHORT_MAX: usize = 256;

/// Runs that come into being.
pub(super) struct NewRuns<'a> {
    run: CachedStatement<'a>,
}

/// Jobs that are moved to their next firing.
pub(super) struct MovedJobs<'a> {
    job: CachedStatement<'a>,
}

/// Runs that have been running, and end.
pub(super) struct EndedRuns<'a> {
    run: CachedStatement<'a>,
    attempt: CachedStatement<'a>,
    output: CachedStatement<'a>,
    job: CachedStatement<'a>,
}

impl Db {
    pub(super) fn new_runs(&self) -> rusqlite::Result<NewRuns<'_>> {
        let run = self.statement(
            "INSERT INTO run (tenant, id, job, scheduled_at, cause, firing, upstream, key, backfill_max, start_at, start_deadline, priority, state, turn, component, args, \
             attempt, lost, created_at, started_at, owner, token, lease_until) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        )?;
        Ok(NewRuns { run })
    }

    pub(super) fn moved_jobs(&self) -> rusqlite::Result<MovedJobs<'_>> {
        Ok(MovedJobs { job: self.statement("UPDATE job SET next_fire = ?, wake_at = ?, last_skip = ? WHERE id = ?")? })
    }

    pub(super) fn ended_runs(&self) -> rusqlite::Result<EndedRuns<'_>> {
        Ok(EndedRuns {
            run: self.statement(
                "UPDATE run SET state = 3, ended_at = ?, outcome = ?, error = ?, cancel = NULL, owner = NULL, token = NULL, lease_until = NULL \
                 WHERE tenant = ? AND id = ?",
            )?,
            attempt: self.statement(
                "INSERT OR REPLACE INTO attempt (run, number, started_at, ended_at, outcome, exit_code, error, result, fuel_used, fuel_limit, memory_peak_bytes, \
                 memory_limit_bytes, cpu_us, wall_us, instantiate_us, queue_us, host_calls, host_calls_by, log_bytes, log_bytes_dropped, result_bytes, digest, node, progress, short) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?,
            output: self.statement("INSERT OR REPLACE INTO output (run, number, result, log_head, log_dropped, log_tail) VALUES (?, ?, ?, ?, ?, ?)")?,
            job: self.statement("UPDATE job SET ended = ended + 1, last_outcome = ?, last_run_at = ?, failures = ? WHERE id = ?")?,
        })
    }
}

impl NewRuns<'_> {
    /// One that waits, or with its lease one that runs. False where the firing has one already, or the id is taken.
    pub(super) fn insert(&mut self, run: &Run, tenant: i64, job: i64, turn: Option<Turn>, held: Option<&Held>) -> rusqlite::Result<bool> {
        let inserted = self.run.execute(params![
            tenant,
            run.id,
            job,
            At(run.scheduled_at),
            Code(run.cause),
            run.cause.is_of_instant().then_some(1),
            (run.cause == Cause::After).then_some(Json(&run.upstream)),
            run.key.as_ref().map(Text),
            run.backfill_max,
            At(run.start_at),
            at(run.start_deadline),
            run.priority,
            Code(run.state),
            turn.map(|turn| turn as i64),
            Text(&run.component),
            run.args.as_ref().map(Json),
            run.attempt,
            run.lost_attempts,
            At(run.created_at),
            at(run.started_at),
            held.map(|held| &*held.owner.0),
            held.map(|held| Count(held.lease.token)),
            held.map(|held| At(held.lease.until))
        ])?;
        Ok(inserted > 0)
    }
}

impl MovedJobs<'_> {
    pub(super) fn put(&mut self, job: i64, firing: &FiringCommit, last_skip: Option<i64>) -> rusqlite::Result<()> {
        self.job.execute(params![at(firing.next_fire), at(firing.wake_at), last_skip, job])?;
        Ok(())
    }
}

impl EndedRuns<'_> {
    /// Writes what changes of a run that ran when it ends.
    pub(super) fn put(&mut self, run: &Run, tenant: i64) -> rusqlite::Result<()> {
        self.run.execute(params![at(run.ended_at), run.outcome.map(Code), run.error.as_ref().map(Json), tenant, run.id])?;
        Ok(())
    }

    /// One more run of the job has ended.
    pub(super) fn remember(&mut self, id: i64, job: &Job) -> rusqlite::Result<()> {
        self.job.execute(params![job.last_outcome.map(Code), at(job.last_run_at), job.failures_in_row, id])?;
        Ok(())
    }

    pub(super) fn insert_attempt(&mut self, run: RunId, attempt: &Attempt) -> rusqlite::Result<()> {
        let Attempt { number, started_at, ended_at, outcome, exit_code, error, receipt, result, log, progress } = attempt;
        let (kind, bytes) = match result {
            None => (None, Cow::Borrowed(&[][..])),
            Some(RunResult::Text(bytes)) => (Some(0), Cow::Borrowed(&bytes[..])),
            Some(RunResult::Value(value)) => (Some(1), Cow::Owned(value.to_string().into_bytes())),
        };
        let (short, long) = if bytes.len() <= SHORT_MAX { (kind.map(|_| &*bytes), &[][..]) } else { (None, &*bytes) };
        let by = &receipt.host_calls_by_interface;
        self.attempt.execute(params![
            run,
            number,
            At(*started_at),
            At(*ended_at),
            Code(*outcome),
            exit_code,
            error.as_ref().map(Json),
            kind,
            receipt.fuel_used.cast_signed(),
            receipt.fuel_limit.cast_signed(),
            receipt.memory_peak_bytes.cast_signed(),
            receipt.memory_limit_bytes.cast_signed(),
            receipt.cpu_us.cast_signed(),
            receipt.wall_us.cast_signed(),
            receipt.instantiate_us.cast_signed(),
            receipt.queue_us.cast_signed(),
            receipt.host_calls.cast_signed(),
            (!by.is_empty()).then_some(Json(by)),
            receipt.log_bytes.cast_signed(),
            receipt.log_bytes_dropped.cast_signed(),
            receipt.result_bytes.cast_signed(),
            rows::digest_column(&receipt.digest),
            receipt.node,
            progress.as_ref().map(Json),
            short
        ])?;
        if !long.is_empty() || !log.is_empty() || log.dropped > 0 {
            self.output.execute(params![run, number, long, log.head, Count(log.dropped), log.tail])?;
        }
        Ok(())
    }
}
