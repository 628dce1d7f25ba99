//! What is written of each run that starts and ends. A batch finds its statements once: looking one up by its text, for each
//! run, costs as much as a narrow row.

use std::borrow::Cow;

use jiff::Timestamp;
use rusqlite::{CachedStatement, params};
use serde::Serialize;

use super::live::Held;
use super::rows::{At, Code, Count, Json, Text, at};
use super::runs::Turn;
use super::writer::Db;
use crate::job::{Attempt, Cause, Entry, Job, Outcome, Reference, Run, RunId, RunResult, RunState, Version};
use crate::store::{AttemptEnd, FiringCommit, Settled, StoreError};

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

/// The columns of an attempt's end that are texts made of something else: whoever asks makes them, and not the writer.
pub(super) struct EndTexts {
    /// Of the run, where it ends.
    pub run_error: Option<String>,
    error: Option<String>,
    value: Option<String>,
    host_calls_by: Option<String>,
    progress: Option<String>,
}

impl EndTexts {
    pub(super) fn of(end: &AttemptEnd) -> Result<Self, StoreError> {
        let attempt = end.attempt.as_ref();
        let by = attempt.map(|attempt| &attempt.receipt.host_calls_by_interface);
        let value = attempt.and_then(|attempt| match &attempt.result {
            Some(RunResult::Value(value)) => Some(value),
            _ => None,
        });
        let error = json(attempt.and_then(|attempt| attempt.error.as_ref()))?;
        let run_error = match &end.settled {
            Settled::Ended { error: Some(error), .. } => json(Some(error))?,
            Settled::Ended { error: None, .. } => error.clone(),
            Settled::Retry { .. } | Settled::Missed(_) => None,
        };
        Ok(Self {
            run_error,
            error,
            value: json(value)?,
            host_calls_by: json(by.filter(|by| !by.is_empty()))?,
            progress: json(attempt.and_then(|attempt| attempt.progress.as_ref()))?,
        })
    }
}

fn json<T: Serialize>(value: Option<T>) -> Result<Option<String>, StoreError> {
    value.map(|value| serde_json::to_string(&value)).transpose().map_err(|e| StoreError::Refused(e.to_string()))
}

/// A reference's text; most are a name alone.
fn reference(reference: &Reference) -> Cow<'_, str> {
    match (&reference.version, &reference.entry) {
        (Version::Newest, Entry::Main) => Cow::Borrowed(reference.name.as_str()),
        _ => Cow::Owned(reference.to_string()),
    }
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

/// Where a new run stands.
struct Stage<'a> {
    state: RunState,
    turn: Option<Turn>,
    attempt: u32,
    started_at: Option<Timestamp>,
    held: Option<&'a Held>,
}

impl NewRuns<'_> {
    /// One that waits. False where the firing has one already, or the id is taken.
    pub(super) fn insert(&mut self, run: &Run, tenant: i64, job: i64, turn: Turn) -> rusqlite::Result<bool> {
        self.put(run, tenant, job, Stage { state: run.state, turn: Some(turn), attempt: run.attempt, started_at: run.started_at, held: None })
    }

    /// The same, of one that starts at once.
    pub(super) fn insert_started(&mut self, run: &Run, tenant: i64, job: i64, held: &Held, going: (u32, Timestamp)) -> rusqlite::Result<bool> {
        let (attempt, started_at) = going;
        self.put(run, tenant, job, Stage { state: RunState::Running, turn: None, attempt, started_at: Some(started_at), held: Some(held) })
    }

    fn put(&mut self, run: &Run, tenant: i64, job: i64, stage: Stage<'_>) -> rusqlite::Result<bool> {
        let Stage { state, turn, attempt, started_at, held } = stage;
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
            Code(state),
            turn.map(|turn| turn as i64),
            reference(&run.component),
            run.args.as_ref().map(Json),
            attempt,
            run.lost_attempts,
            At(run.created_at),
            at(started_at),
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
    pub(super) fn put(&mut self, tenant: i64, run: RunId, outcome: Outcome, error: Option<&str>, now: Timestamp) -> rusqlite::Result<()> {
        self.run.execute(params![At(now), Code(outcome), error, tenant, run])?;
        Ok(())
    }

    /// One more run of the job has ended.
    pub(super) fn remember(&mut self, id: i64, job: &Job) -> rusqlite::Result<()> {
        self.job.execute(params![job.last_outcome.map(Code), at(job.last_run_at), job.failures_in_row, id])?;
        Ok(())
    }

    pub(super) fn insert_attempt(&mut self, run: RunId, attempt: &Attempt, texts: &EndTexts) -> rusqlite::Result<()> {
        let Attempt { number, started_at, ended_at, outcome, exit_code, receipt, result, log, .. } = attempt;
        let EndTexts { error, value, host_calls_by, progress, .. } = texts;
        let (kind, bytes) = match result {
            None => (None, &[][..]),
            Some(RunResult::Text(bytes)) => (Some(0), &bytes[..]),
            Some(RunResult::Value(_)) => (Some(1), value.as_deref().unwrap_or_default().as_bytes()),
        };
        let (short, long) = if bytes.len() <= SHORT_MAX { (kind.map(|_| bytes), &[][..]) } else { (None, bytes) };
        self.attempt.execute(params![
            run,
            number,
            At(*started_at),
            At(*ended_at),
            Code(*outcome),
            exit_code,
            error,
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
            host_calls_by,
            receipt.log_bytes.cast_signed(),
            receipt.log_bytes_dropped.cast_signed(),
            receipt.result_bytes.cast_signed(),
            receipt.digest.as_ref().map(|digest| &digest.0),
            receipt.node,
            progress,
            short
        ])?;
        if !long.is_empty() || !log.is_empty() || log.dropped > 0 {
            self.output.execute(params![run, number, long, log.head, Count(log.dropped), log.tail])?;
        }
        Ok(())
    }
}
