//! Values as columns, and back. A column that cannot be read is an error of the row, never a panic.

use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::job::{
    Attempt, AttemptLog, Cause, Digest, Job, JobId, JobKey, JobSpec, JobState, Outcome, Receipt, Reference, Run, RunId, RunResult, RunState, SkipReason,
    Skipped, TenantId, Version,
};
use crate::trigger::TriggerSpec;

/// An instant as microseconds since 1970, UTC.
pub(super) struct At(pub Timestamp);

impl ToSql for At {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.as_microsecond().into())
    }
}

impl FromSql for At {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Timestamp::from_microsecond(value.as_i64()?).map(Self).map_err(FromSqlError::other)
    }
}

pub(super) fn at(t: Option<Timestamp>) -> Option<At> {
    t.map(At)
}

/// A number that is not negative; one that SQLite's signed integers cannot hold is kept as the greatest they can.
pub(super) struct Count(pub u64);

impl ToSql for Count {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(i64::try_from(self.0).unwrap_or(i64::MAX).into())
    }
}

impl FromSql for Count {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

/// A value as JSON text.
pub(super) struct Json<T>(pub T);

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        serde_json::to_string(&self.0).map(ToSqlOutput::from).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

/// A value in its text form.
pub(super) struct Text<T>(pub T);

impl<T: std::fmt::Display> ToSql for Text<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.to_string().into())
    }
}

impl<T: FromStr<Err: std::error::Error + Send + Sync + 'static>> FromSql for Text<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Self).map_err(FromSqlError::other)
    }
}

/// One of a closed set, by its place in it: the numbers are in the schema's CHECKs, so a set only ever grows at its end.
pub(super) struct Code<T>(pub T);

pub(super) trait Coded: Copy + PartialEq + 'static {
    const ALL: &'static [Self];
}

/// Every value is in its set; −1, which no CHECK allows, would say that one is not.
pub(super) fn code<T: Coded>(value: T) -> i64 {
    T::ALL.iter().position(|known| *known == value).and_then(|place| i64::try_from(place).ok()).unwrap_or(-1)
}

impl Coded for RunState {
    const ALL: &'static [Self] = &[Self::Queued, Self::Running, Self::WaitingRetry, Self::Ended];
}

impl Coded for Cause {
    const ALL: &'static [Self] = &[Self::Scheduled, Self::OnDemand, Self::After, Self::Backfill];
}

impl Coded for Outcome {
    const ALL: &'static [Self] = &Outcome::ALL;
}

impl Coded for SkipReason {
    const ALL: &'static [Self] = &[Self::Missed, Self::Skipped, Self::Coalesced, Self::Paused];
}

impl<T: Coded> ToSql for Code<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(code(self.0).into())
    }
}

impl<T: Coded> FromSql for Code<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let code = value.as_i64()?;
        let known = usize::try_from(code).ok().and_then(|place| T::ALL.get(place));
        known.copied().map(Self).ok_or(FromSqlError::OutOfRange(code))
    }
}

impl ToSql for RunId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.0.as_bytes())))
    }
}

impl FromSql for RunId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 16]>::column_result(value).map(|bytes| Self(uuid::Uuid::from_bytes(bytes)))
    }
}

pub(super) fn key(row: &Row<'_>, tenant: usize, name: usize) -> rusqlite::Result<JobKey> {
    Ok(JobKey { tenant: row.get::<_, Text<TenantId>>(tenant)?.0, id: row.get::<_, Text<JobId>>(name)?.0 })
}

/// How a job's reference is pinned, as the column says it.
pub(super) fn pin(reference: &Reference) -> String {
    match &reference.version {
        Version::Newest => String::new(),
        Version::Number(n) => n.to_string(),
        Version::Digest(digest) => digest.to_string(),
    }
}

/// What `read_job` reads, from `job` joined with its `job_spec` and `tenant`.
pub(super) const JOB: &str = "job.id, tenant.name, job.name, revision, state, reason, pause, anchor, next_fire, wake_at, failures, \
     created_at, updated_at, last_outcome, last_run_at, last_skip, component, spec, ended, job.tenant \
     FROM job JOIN job_spec ON job_spec.job = job.id JOIN tenant ON tenant.id = job.tenant";

/// A job as it stands in its rows.
pub(super) struct JobRow {
    pub id: i64,
    pub tenant: i64,
    pub job: Job,
    pub rules: Rules,
    pub last_skip: Option<i64>,
    /// How many ended runs it has.
    pub ended: u64,
    /// Why its definition cannot be read; `job` then shows what is known of it, and says so in its state.
    pub unreadable: Option<String>,
}

/// What is asked of a job's definition at each of its runs, side by side: the definition itself is large and seldom in the caches.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// `JobSpec::running_max`.
    pub running_max: Option<u32>,
    /// `JobSpec::is_alone`.
    pub alone: bool,
    pub rate_limited: bool,
    /// Its trigger is `after`.
    pub follows: bool,
}

impl Rules {
    pub(super) fn of(spec: &JobSpec) -> Self {
        Self { running_max: spec.running_max(), alone: spec.is_alone(), rate_limited: spec.rate_limit.is_some(), follows: spec.trigger.is_after() }
    }
}

impl JobRow {
    /// How many runs may start beside `running` others; of one that cannot be read, none.
    pub(super) fn room(&self, running: u32) -> u32 {
        match &self.unreadable {
            Some(_) => 0,
            None => self.rules.running_max.map_or(u32::MAX, |most| most.saturating_sub(running)),
        }
    }
}

pub(super) fn read_job(row: &Row<'_>) -> rusqlite::Result<JobRow> {
    read_job_with(row, |spec| serde_json::from_str(spec).map(Arc::new))
}

/// The same, where `read_spec` knows what a definition's text says.
pub(super) fn read_job_with(row: &Row<'_>, read_spec: impl FnOnce(&str) -> serde_json::Result<Arc<JobSpec>>) -> rusqlite::Result<JobRow> {
    let key = key(row, 1, 2)?;
    let spec = row.get_ref(17)?.as_str().map_err(|e| e.to_string()).and_then(|text| read_spec(text).map_err(|e| e.to_string()));
    let pause = row.get::<_, Option<Json<_>>>(6);
    let trouble = spec.as_ref().err().cloned().or_else(|| pause.as_ref().err().map(root_cause));
    let unreadable = trouble.map(|cause| format!("its stored definition cannot be read: {cause}"));
    let spec = match spec {
        Ok(spec) => spec,
        Err(_) => {
            let reference = row.get::<_, Text<Reference>>(16)?.0;
            Arc::new(JobSpec::new(reference, TriggerSpec::Manual))
        }
    };
    let state = match (&unreadable, row.get::<_, i64>(4)?) {
        (Some(reason), _) => JobState::Unresolved(reason.clone()),
        (None, 0) => JobState::Active,
        (None, 1) => JobState::Finished,
        (None, _) => JobState::Unresolved(row.get(5)?),
    };
    let job = Job {
        key,
        spec,
        revision: row.get::<_, Count>(3)?.0,
        state,
        pause: pause.ok().flatten().map(|Json(pause)| pause),
        anchor: row.get::<_, At>(7)?.0,
        next_fire: row.get::<_, Option<At>>(8)?.map(|t| t.0),
        wake_at: row.get::<_, Option<At>>(9)?.map(|t| t.0),
        failures_in_row: row.get(10)?,
        created_at: row.get::<_, At>(11)?.0,
        updated_at: row.get::<_, At>(12)?.0,
        last_outcome: row.get::<_, Option<Code<_>>>(13)?.map(|code| code.0),
        last_run_at: row.get::<_, Option<At>>(14)?.map(|t| t.0),
    };
    let (id, tenant, rules) = (row.get(0)?, row.get(19)?, Rules::of(&job.spec));
    Ok(JobRow { id, tenant, job, rules, last_skip: row.get(15)?, ended: row.get::<_, Count>(18)?.0, unreadable })
}

fn root_cause(error: &rusqlite::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// `state` and `reason`.
pub(super) fn job_state(state: &JobState) -> (i64, Option<&str>) {
    match state {
        JobState::Active => (0, None),
        JobState::Finished => (1, None),
        JobState::Unresolved(reason) => (2, Some(reason)),
    }
}

/// The columns that `read_run` reads, in its order.
pub(super) const RUN: &str = "run.id, run.scheduled_at, run.cause, run.start_at, run.start_deadline, run.priority, run.state, run.component, run.args, \
     run.attempt, run.lost, run.created_at, run.started_at, run.ended_at, run.outcome, run.cancel, run.error, run.upstream, run.key, run.rate_limited, run.backfill_max";
/// How many they are.
pub(super) const RUN_COLUMNS: usize = 21;

/// A run without its receipt, which is its last attempt's.
pub(super) fn read_run(row: &Row<'_>, job: JobKey) -> rusqlite::Result<Run> {
    Ok(Run {
        id: row.get(0)?,
        job,
        scheduled_at: row.get::<_, At>(1)?.0,
        cause: row.get::<_, Code<_>>(2)?.0,
        upstream: row.get::<_, Option<Json<_>>>(17)?.map(|upstream| upstream.0).unwrap_or_default(),
        key: row.get::<_, Option<Text<_>>>(18)?.map(|key| key.0),
        start_at: row.get::<_, At>(3)?.0,
        backfill_max: row.get(20)?,
        rate_limited: row.get(19)?,
        start_deadline: row.get::<_, Option<At>>(4)?.map(|t| t.0),
        priority: row.get(5)?,
        state: row.get::<_, Code<_>>(6)?.0,
        component: row.get::<_, Text<_>>(7)?.0,
        args: row.get::<_, Option<Json<_>>>(8)?.map(|args| args.0),
        attempt: row.get(9)?,
        lost_attempts: row.get(10)?,
        created_at: row.get::<_, At>(11)?.0,
        started_at: row.get::<_, Option<At>>(12)?.map(|t| t.0),
        ended_at: row.get::<_, Option<At>>(13)?.map(|t| t.0),
        outcome: row.get::<_, Option<Code<_>>>(14)?.map(|code| code.0),
        cancel_requested: row.get(15)?,
        error: row.get::<_, Option<Json<_>>>(16)?.map(|error| error.0),
        receipt: None,
    })
}

/// The columns that `read_receipt` reads, in its order.
pub(super) const RECEIPT: &str = "fuel_used, fuel_limit, memory_peak_bytes, memory_limit_bytes, cpu_us, wall_us, instantiate_us, queue_us, \
     host_calls, host_calls_by, log_bytes, log_bytes_dropped, result_bytes, digest, node";

pub(super) fn read_receipt(row: &Row<'_>, from: usize) -> rusqlite::Result<Receipt> {
    let unsigned = |column: usize| row.get::<_, i64>(from + column).map(i64::cast_unsigned);
    let digest = match row.get_ref(from + 13)? {
        ValueRef::Null => None,
        ValueRef::Blob(bytes) => bytes.try_into().map(Digest).ok(),
        text => text.as_str()?.parse().ok(),
    };
    Ok(Receipt {
        fuel_used: unsigned(0)?,
        fuel_limit: unsigned(1)?,
        memory_peak_bytes: unsigned(2)?,
        memory_limit_bytes: unsigned(3)?,
        cpu_us: unsigned(4)?,
        wall_us: unsigned(5)?,
        instantiate_us: unsigned(6)?,
        queue_us: unsigned(7)?,
        host_calls: unsigned(8)?,
        host_calls_by_interface: row.get::<_, Option<Json<_>>>(from + 9)?.map(|by| by.0).unwrap_or_default(),
        log_bytes: unsigned(10)?,
        log_bytes_dropped: unsigned(11)?,
        result_bytes: unsigned(12)?,
        digest,
        node: row.get(from + 14)?,
    })
}

/// What `read_attempt` reads, from `attempt` joined with its `output`.
pub(super) const ATTEMPT: &str = "attempt.number, started_at, ended_at, outcome, exit_code, error, attempt.result, \
     coalesce(short, output.result), log_head, log_dropped, log_tail, progress";
/// How many they are.
pub(super) const ATTEMPT_COLUMNS: usize = 12;

/// The receipt's columns follow.
pub(super) fn read_attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let bytes: Option<Vec<u8>> = row.get(7)?;
    let bytes = bytes.unwrap_or_default();
    let result = match row.get(6)? {
        None => None,
        Some(0) => Some(RunResult::Text(bytes)),
        Some(code) => Some(RunResult::Value(serde_json::from_slice(&bytes).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(6, code))?)),
    };
    Ok(Attempt {
        number: row.get(0)?,
        started_at: row.get::<_, At>(1)?.0,
        ended_at: row.get::<_, At>(2)?.0,
        outcome: row.get::<_, Code<_>>(3)?.0,
        exit_code: row.get(4)?,
        error: row.get::<_, Option<Json<_>>>(5)?.map(|error| error.0),
        receipt: read_receipt(row, ATTEMPT_COLUMNS)?,
        result,
        log: AttemptLog {
            head: row.get::<_, Option<_>>(8)?.unwrap_or_default(),
            dropped: row.get::<_, Option<Count>>(9)?.map_or(0, |dropped| dropped.0),
            tail: row.get::<_, Option<_>>(10)?.unwrap_or_default(),
        },
        progress: row.get::<_, Option<Json<_>>>(11)?.map(|progress| progress.0),
    })
}

/// The columns that `read_skip` reads, in its order.
pub(super) const SKIP: &str = "skip.reason, skip.detail, skip.count, skip.exact, skip.first, skip.last, skip.recorded_at";

pub(super) fn read_skip(row: &Row<'_>, from: usize) -> rusqlite::Result<Skipped> {
    Ok(Skipped {
        reason: row.get::<_, Code<_>>(from)?.0,
        detail: row.get(from + 1)?,
        count: row.get::<_, Count>(from + 2)?.0,
        exact: row.get(from + 3)?,
        first: row.get::<_, At>(from + 4)?.0,
        last: row.get::<_, At>(from + 5)?.0,
        recorded_at: row.get::<_, At>(from + 6)?.0,
    })
}
