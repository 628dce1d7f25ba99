//! Runs: on demand, list, show and wait, log, cancel; and firings that made no run.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::HeaderName;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::response::{IntoResponse, Response};

use super::{App, Reply, json, reply};
use crate::job::{Cause, JobId, JobKey, Outcome, RunId, RunState, TenantId};
use crate::scheduler::{BackfillRequest, RunDetail, RunFilter, TriggerRequest, Triggered};
use crate::server::auth::Identity;
use crate::server::body::parse_json;
use crate::server::error::{ApiError, bad_expression};
use crate::server::idempotency::{Answer, Key};
use crate::server::params::{Id, Params};
use crate::wire;

/// The longest wait for a run's end in one request; a longer one is cut to this.
const WAIT_MAX: Duration = Duration::from_secs(60);
const REASON_CHARS_MAX: usize = 500;
/// Why, where no reason was given.
const CANCELLED: &str = "cancelled on request";

pub(in crate::server) async fn trigger(State(app): State<Arc<App>>, identity: Identity, Id(id): Id<JobId>, params: Params, request: Request) -> Reply {
    params.finish()?;
    let key = Key::of(request.headers(), identity.token, format!("POST {}", request.uri()))?;
    let body = app.json_bytes(request).await?;
    let work = async {
        let request = if body.is_empty() { wire::TriggerRun::default() } else { parse_json(&body)? };
        let job = JobKey { tenant: identity.tenant.clone(), id };
        let request = trigger_request(&app, &job, request).await?;
        let Triggered { run, new } = app.scheduler.trigger(&job, request).await?;
        let location = format!("/api/v1/runs/{}", run.id);
        let answer = json(&wire::TriggeredRun { run: run.into(), new })?;
        Ok::<Answer, ApiError>(if new { answer.created(&location) } else { answer.header(LOCATION, &location) })
    };
    reply(match key {
        Some(key) => app.idempotency.once(key, &body, work).await?,
        None => work.await?,
    })
}

pub(super) async fn trigger_request(app: &App, job: &JobKey, asked: wire::TriggerRun) -> Result<TriggerRequest, ApiError> {
    let wire::TriggerRun { args, at, key, key_window } = asked;
    if key_window.is_some() && key.is_none() {
        return Err(ApiError::Body { detail: "key_window says how long a key holds, and there is no key".to_owned() });
    }
    let at = match at {
        Some(typed) => {
            let zone = wire::Job::from(app.scheduler.job(job).await?).zone();
            Some(wire::parse_instant(&typed, Some(&zone)).map_err(bad_expression)?)
        }
        None => None,
    };
    let key_window = key_window.as_deref().map(wire::parse_duration).transpose().map_err(bad_expression)?;
    Ok(TriggerRequest { args, at, key, key_window })
}

pub(in crate::server) async fn list(State(app): State<Arc<App>>, identity: Identity, mut params: Params) -> Reply {
    let filter = RunFilter {
        tenant: identity.tenant,
        job: params.id("job")?,
        state: params.word("state", RunState::from_name, "queued, running, waiting-retry, ended")?,
        cause: params.word("cause", Cause::from_name, "scheduled, on-demand, after, backfill")?,
        outcome: params.word("outcome", Outcome::from_name, &Outcome::ALL.map(Outcome::as_str).join(", "))?,
        since: params.instant("since")?,
        until: params.instant("until")?,
    };
    let page = app.scheduler.runs(&filter, params.page()?).await?.map(wire::Run::from);
    reply(json(&wire::RunList { runs: page.items, next: page.next })?)
}

pub(in crate::server) async fn show(State(app): State<Arc<App>>, identity: Identity, Id(id): Id<RunId>, mut params: Params) -> Reply {
    let wait = params.duration("wait")?.unwrap_or_default().min(WAIT_MAX);
    params.finish()?;
    let detail = match wait {
        Duration::ZERO => app.scheduler.run(&identity.tenant, id).await?,
        wait => wait_run(&app, &identity.tenant, id, wait).await?,
    };
    reply(json(&wire::RunDetail {
        run: detail.run.into(),
        attempts: detail.attempts.into_iter().map(wire::Attempt::from).collect(),
        waiting_for: detail.waiting_for,
        progress: detail.progress,
        enough: detail.enough,
        job_now: detail.job.map(wire::Job::from),
    })?)
}

/// The run when it has ended, or as it is after `wait` or at the shutdown signal.
async fn wait_run(app: &App, tenant: &TenantId, id: RunId, wait: Duration) -> Result<RunDetail, ApiError> {
    let Ok(_waiter) = app.waiters.try_acquire() else {
        return Err(ApiError::Busy { what: "requests may wait for a run", cap: app.config.waiters_max });
    };
    tokio::select! {
        detail = app.scheduler.wait_run(tenant, id) => return Ok(detail?),
        () = tokio::time::sleep(wait) => {}
        () = app.closed() => {}
    }
    Ok(app.scheduler.run(tenant, id).await?)
}

/// The bytes that the guest wrote, as they are.
pub(in crate::server) async fn log(State(app): State<Arc<App>>, identity: Identity, Id(id): Id<RunId>, mut params: Params) -> Result<Response, ApiError> {
    let asked = params.number("attempt", u32::MAX.into())?;
    params.finish()?;
    let detail = app.scheduler.run(&identity.tenant, id).await?;
    let attempt = match asked {
        None => detail.attempts.into_iter().next_back(),
        Some(n) => detail.attempts.into_iter().find(|attempt| u64::from(attempt.number) == n),
    };
    let Some(attempt) = attempt else {
        let which = asked.map(|n| format!(" of attempt {n}")).unwrap_or_default();
        return Err(ApiError::NoLog { run: id.to_string(), which, reason: "no such attempt has ended" });
    };
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (HeaderName::from_static("bellcage-attempt"), attempt.number.to_string()),
        (HeaderName::from_static("bellcage-log-dropped"), attempt.log.dropped.to_string()),
    ];
    let mut bytes = attempt.log.head;
    if attempt.log.dropped > 0 {
        bytes.extend_from_slice(format!("\n[… {} bytes dropped …]\n", attempt.log.dropped).as_bytes());
    }
    bytes.extend_from_slice(&attempt.log.tail);
    Ok((headers, bytes).into_response())
}

pub(in crate::server) async fn cancel(State(app): State<Arc<App>>, identity: Identity, Id(id): Id<RunId>, params: Params, request: Request) -> Reply {
    use crate::scheduler::CancelFound;
    params.finish()?;
    let wire::CancelRun { reason } = app.json_or_default(request).await?;
    let reason: String = reason.as_deref().unwrap_or(CANCELLED).chars().take(REASON_CHARS_MAX).collect();
    let found = match app.scheduler.cancel_run(&identity.tenant, id, &reason).await? {
        CancelFound::Ended => wire::CancelFound::Ended,
        CancelFound::Requested => wire::CancelFound::Requested,
        CancelFound::AlreadyEnded => wire::CancelFound::AlreadyEnded,
    };
    let run = app.scheduler.run(&identity.tenant, id).await?.run.into();
    reply(json(&wire::CancelledRun { found, run })?)
}

pub(in crate::server) async fn backfill(State(app): State<Arc<App>>, identity: Identity, Id(id): Id<JobId>, params: Params, request: Request) -> Reply {
    params.finish()?;
    let wire::Backfill { from, to, max_running, limit, dry_run } = app.json_body(request).await?;
    let key = JobKey { tenant: identity.tenant, id };
    let zone = wire::Job::from(app.scheduler.job(&key).await?).zone();
    let from = wire::parse_instant(&from, Some(&zone)).map_err(bad_expression)?;
    let to = to.map(|to| wire::parse_end(&to, Some(&zone)).map_err(bad_expression)).transpose()?.unwrap_or_else(|| app.scheduler.now());
    let max_running = max_running.unwrap_or(wire::Backfill::MAX_RUNNING);
    let request = BackfillRequest { from, to, max_running, limit: limit.unwrap_or(wire::Backfill::LIMIT), dry_run };
    let done = app.scheduler.backfill(&key, request).await?;
    let crate::scheduler::Backfilled { named, excluded, existing, made } = done;
    reply(json(&wire::Backfilled { from, to, named, excluded, existing, made, dry_run })?)
}

pub(in crate::server) async fn cancel_many(State(app): State<Arc<App>>, identity: Identity, Id(id): Id<JobId>, params: Params, request: Request) -> Reply {
    params.finish()?;
    let wire::CancelRuns { cause, reason } = app.json_or_default(request).await?;
    let reason: String = reason.as_deref().unwrap_or(CANCELLED).chars().take(REASON_CHARS_MAX).collect();
    let done = app.scheduler.cancel_runs(&identity.tenant, &id, cause, &reason).await?;
    reply(json(&wire::CancelledRuns { cancelled: done.cancelled, requested: done.requested, more: done.more })?)
}

pub(in crate::server) async fn firings(State(app): State<Arc<App>>, identity: Identity, mut params: Params) -> Reply {
    let job = params.id::<JobId>("job")?.map(|id| JobKey { tenant: identity.tenant.clone(), id });
    let page = app.scheduler.skipped(&identity.tenant, job.as_ref(), params.page()?).await?.map(wire::Firing::from);
    reply(json(&wire::FiringList { firings: page.items, next: page.next })?)
}
