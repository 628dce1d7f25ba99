//! Every rule of the store's trait, one test each, held by every implementation.

mod backfill;
mod calendars;
mod claims;
mod components;
mod differ;
mod ends;
mod firing;
mod history;
mod jobs;
mod key_value;
mod runs;
mod secrets;
mod sqlite;
mod upgrade;

use bellcage::job::{
    Attempt, AttemptLog, Cause, Job, JobKey, JobSpec, JobState, Outcome, Overlap, Receipt, Run, RunError, RunId, RunState, SkipReason, Skipped, TenantId,
};
use bellcage::store::{
    AttemptEnd, ClaimedRun, Fenced, FiringCommit, FiringStep, LeasedJob, OnConflict, Owner, Page, PageRequest, RunClaim, RunFilter, Settled, Sqlite,
    SqliteOptions, Store,
};
use bellcage::trigger::TriggerSpec;
use jiff::Timestamp;

/// Functions from a store to nothing, each a test of every store.
macro_rules! rules {
    ($($(#[$doc:meta])* fn $name:ident($store:ident) $body:block)+) => {
        $($(#[$doc])* mod $name {
            #[allow(unused_imports)]
            use super::*;

            async fn rule($store: &dyn bellcage::store::Store) $body

            #[tokio::test]
            async fn memory() {
                rule(&bellcage::store::Memory::default()).await;
            }

            #[tokio::test]
            async fn sqlite() {
                let (_directory, store) = super::super::sqlite_store();
                rule(&store).await;
                assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
            }
        })+
    };
}
use rules;

fn sqlite_store() -> (tempfile::TempDir, Sqlite) {
    let directory = tempfile::tempdir().unwrap();
    let store = Sqlite::open(directory.path(), &SqliteOptions::default()).unwrap();
    (directory, store)
}

/// So many seconds after the tests' beginning, in 2026.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000 + seconds).unwrap()
}

fn owner(name: &str) -> Owner {
    Owner(name.into())
}

fn key(id: &str) -> JobKey {
    JobKey { tenant: TenantId::default(), id: id.parse().unwrap() }
}

/// A job that is due at `at(0)`.
fn job(id: &str) -> Job {
    job_with(id, |_| {})
}

fn job_with(id: &str, change: impl FnOnce(&mut JobSpec)) -> Job {
    let mut spec = JobSpec::new("reports:generate".parse().unwrap(), TriggerSpec::Manual);
    change(&mut spec);
    Job {
        key: key(id),
        spec: spec.into(),
        revision: 1,
        state: JobState::Active,
        pause: None,
        anchor: at(-100),
        next_fire: Some(at(0)),
        wake_at: Some(at(0)),
        failures_in_row: 0,
        created_at: at(-100),
        updated_at: at(-100),
        last_outcome: None,
        last_run_at: None,
    }
}

/// Without a firing to come, so that only its runs come due.
fn resting(job: Job) -> Job {
    Job { next_fire: None, wake_at: None, ..job }
}

/// With any number of runs side by side.
fn unbounded(id: &str) -> Job {
    job_with(id, |spec| spec.overlap = Overlap::Allow)
}

/// A queued run, made when it was scheduled. `n` tells runs of one instant apart.
fn run(id: &str, scheduled: i64, n: u64) -> Run {
    let scheduled_at = at(scheduled);
    let millis = u64::try_from(scheduled_at.as_millisecond()).unwrap();
    let mut random = [0; 10];
    random[1] = id.as_bytes()[0];
    random[2..].copy_from_slice(&n.to_be_bytes());
    Run {
        id: RunId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()),
        job: key(id),
        cause: Cause::OnDemand,
        upstream: Vec::new(),
        key: None,
        backfill_max: None,
        scheduled_at,
        start_at: scheduled_at,
        rate_limited: false,
        start_deadline: None,
        priority: 0,
        state: RunState::Queued,
        component: "reports@3:generate".parse().unwrap(),
        args: None,
        attempt: 0,
        lost_attempts: 0,
        created_at: scheduled_at,
        started_at: None,
        ended_at: None,
        outcome: None,
        cancel_requested: None,
        error: None,
        receipt: None,
    }
}

/// The run of a firing.
fn firing_run(id: &str, scheduled: i64, n: u64) -> Run {
    Run { cause: Cause::Scheduled, ..run(id, scheduled, n) }
}

fn skip(reason: SkipReason, detail: Option<&str>, first: i64, last: i64) -> Skipped {
    Skipped { reason, detail: detail.map(str::to_owned), count: 1, exact: true, first: at(first), last: at(last), recorded_at: at(last) }
}

/// What commits a leased job's firing: `steps`, and the next firing at `next`.
fn commit(leased: &LeasedJob, steps: Vec<FiringStep>, next: i64) -> FiringCommit {
    FiringCommit {
        job: leased.job.key.clone(),
        token: leased.lease.token,
        steps,
        cancel: Vec::new(),
        cancel_reason: None,
        consumed: Vec::new(),
        ends_seen: 0,
        next_fire: Some(at(next)),
        wake_at: Some(at(next)),
        state: JobState::Active,
        pause: None,
        now: leased.job.wake_at.unwrap_or(at(0)),
    }
}

/// Leases all that is due at `now` to `a`, for 10 seconds.
async fn lease(store: &dyn Store, now: i64) -> Vec<LeasedJob> {
    store.lease_due(&owner("a"), at(now), at(now + 10), 1_000).await.unwrap()
}

/// Adds a job and fires it with `steps` at `now`; it is due again at `next`.
async fn fire(store: &dyn Store, id: &str, now: i64, steps: Vec<FiringStep>, next: i64) {
    let leased = lease(store, now).await;
    let leased = leased.iter().find(|leased| leased.job.key == key(id)).expect("the job is due");
    assert_eq!(store.commit_firings(vec![commit(leased, steps, next)]).await.unwrap(), [Fenced::Done]);
}

fn step(run: Run) -> FiringStep {
    FiringStep::Run(Box::new(run))
}

/// Claims for `a`, for 10 seconds.
async fn claim(store: &dyn Store, now: i64, max: usize) -> Vec<ClaimedRun> {
    store.claim_runs(RunClaim { owner: owner("a"), now: at(now), until: at(now + 10), max, alone: usize::MAX }).await.unwrap()
}

fn ids(claimed: &[ClaimedRun]) -> Vec<RunId> {
    claimed.iter().map(|claimed| claimed.run.id).collect()
}

fn receipt(n: u64) -> Receipt {
    Receipt {
        fuel_used: n,
        fuel_limit: u64::MAX,
        memory_peak_bytes: 65_536,
        host_calls: 2,
        host_calls_by_interface: [("wasi:io/streams".into(), 2)].into_iter().collect(),
        digest: Some(bellcage::job::Digest::of(b"wasm")),
        node: "local".to_owned(),
        ..Receipt::default()
    }
}

/// An attempt that left nothing behind but its receipt.
fn attempt(claimed: &ClaimedRun, now: i64, outcome: Outcome) -> Attempt {
    let error = RunError { code: outcome.to_string(), message: format!("it ended as {outcome}"), ..RunError::default() };
    Attempt {
        number: claimed.run.attempt,
        started_at: claimed.run.started_at.unwrap(),
        ended_at: at(now),
        outcome,
        exit_code: Some(i32::from(outcome != Outcome::Succeeded)),
        error: (outcome != Outcome::Succeeded).then_some(error),
        receipt: receipt(now.unsigned_abs()),
        result: None,
        log: AttemptLog::default(),
        progress: None,
    }
}

fn end(claimed: &ClaimedRun, now: i64, outcome: Outcome) -> AttemptEnd {
    let attempt = attempt(claimed, now, outcome);
    let settled = Settled::Ended { outcome, error: attempt.error.clone() };
    AttemptEnd { run: claimed.run.id, token: claimed.lease.token, attempt: Some(attempt), settled, checkpoint: None, pause_job: None, now: at(now) }
}

fn retry(claimed: &ClaimedRun, now: i64, again: i64) -> AttemptEnd {
    AttemptEnd { settled: Settled::Retry { at: at(again), lost: false }, ..end(claimed, now, Outcome::Failed) }
}

async fn finish(store: &dyn Store, ended: AttemptEnd) -> Fenced {
    store.finish_attempts([ended].into()).await.unwrap().remove(0)
}

async fn add(store: &dyn Store, job: Job) {
    store.add_job(job, OnConflict::Error).await.unwrap();
}

async fn get_run(store: &dyn Store, id: RunId) -> Run {
    store.run(&TenantId::default(), id).await.unwrap()
}

async fn get_job(store: &dyn Store, id: &str) -> Job {
    store.job(&key(id)).await.unwrap()
}

fn first_page(limit: usize) -> PageRequest {
    PageRequest { after: None, limit }
}

async fn runs(store: &dyn Store, filter: RunFilter) -> Vec<RunId> {
    let Page { items, next } = store.runs(&filter, first_page(1_000)).await.unwrap();
    assert_eq!(next, None);
    items.iter().map(|run| run.id).collect()
}

async fn skipped(store: &dyn Store, id: &str) -> Vec<Skipped> {
    let page = store.skipped(&TenantId::default(), Some(&key(id)), first_page(1_000)).await.unwrap();
    page.items.into_iter().map(|(_, skip)| skip).collect()
}
