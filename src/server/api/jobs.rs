//! Jobs: add, replace, apply, list, show, pause, resume, remove, and when they fire.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{App, Reply, json, reply};
use crate::job::{JobId, JobKey, JobSpec};
use crate::scheduler::{AddedJob, JobFilter, OnConflict, PauseRequest, ResumeFrom};
use crate::server::auth::Identity;
use crate::server::body::parse_json;
use crate::server::error::{ApiError, bad_expression};
use crate::server::idempotency::{Answer, Key};
use crate::server::params::{Id, Params, refuse};
use crate::wire;

/// Definitions in one `apply`.
const APPLY_MAX: usize = 1_000;
/// Firings that can be asked for at once.
const FIRES_MAX: u64 = 1_000;
const FIRES_DEFAULT: u64 = 10;

pub(in crate::server) async fn add(State(app): State<Arc<App>>, identity: Identity, mut params: Params, request: Request) -> Reply {
    not_taken(&request, &[IF_MATCH, IF_NONE_MATCH])?;
    let on_conflict = params.word("on_conflict", wire::OnConflict::from_name, "error, replace, keep")?.unwrap_or_default();
    params.finish()?;
    let key = Key::of(request.headers(), identity.token, format!("POST {}", request.uri()))?;
    let body = app.json_bytes(request).await?;
    let work = async {
        let wire::AddJob { id, spec } = definition(parse_json(&body)?)?;
        add_one(&app, &identity, id, spec, on_conflict).await
    };
    reply(match key {
        Some(key) => app.idempotency.once(key, &body, work).await?,
        None => work.await?,
    })
}

async fn add_one(app: &App, identity: &Identity, id: JobId, spec: JobSpec, on_conflict: wire::OnConflict) -> Result<Answer, ApiError> {
    let key = JobKey { tenant: identity.tenant.clone(), id };
    let kept = on_conflict == wire::OnConflict::Keep && app.scheduler.job(&key).await.is_ok();
    let added = app.scheduler.add_job(key, spec, verb(on_conflict)).await?;
    answer_added(app, added, kept)
}

/// A job of revision 1 was made now, unless it was `kept`.
fn answer_added(app: &App, added: AddedJob, kept: bool) -> Result<Answer, ApiError> {
    let AddedJob { job, trigger, notes } = added;
    let (id, revision) = (job.key.id.clone(), job.revision);
    let answer = json(&wire::AddedJob::new(job, trigger.as_ref(), notes, app.scheduler.now()))?.etag(revision);
    Ok(if revision == 1 && !kept { answer.created(&format!("/api/v1/jobs/{id}")) } else { answer })
}

fn verb(on_conflict: wire::OnConflict) -> OnConflict {
    match on_conflict {
        wire::OnConflict::Error => OnConflict::Error,
        wire::OnConflict::Replace => OnConflict::Replace,
        wire::OnConflict::Keep => OnConflict::Keep,
    }
}

/// Adds or replaces; `If-Match` replaces only what it names, `If-None-Match: *` only adds.
pub(in crate::server) async fn replace(State(app): State<Arc<App>>, identity: Identity, Id(id): Id<JobId>, params: Params, request: Request) -> Reply {
    params.finish()?;
    let expected = expected_revisions(request.headers())?;
    let only_add = match request.headers().get(IF_NONE_MATCH).map(|value| value.as_bytes()) {
        None => false,
        Some(b"*") => true,
        Some(_) => return Err(ApiError::Header { name: "if-none-match", detail: "only * is taken here".to_owned() }),
    };
    let spec: JobSpec = definition(app.json_body(request).await?)?;
    let key = JobKey { tenant: identity.tenant.clone(), id };
    let added = match expected {
        None => app.scheduler.add_job(key, spec, if only_add { OnConflict::Error } else { OnConflict::Replace }).await?,
        Some(expected) => {
            let revision = app.scheduler.job(&key).await?.revision;
            if !expected.allow(revision) {
                return Err(ApiError::RevisionMoved { revision });
            }
            app.scheduler.replace_job(key, spec, revision).await?
        }
    };
    reply(answer_added(&app, added, false)?)
}

/// What `If-Match` names.
enum Expected {
    Any,
    Revisions(Vec<u64>),
}

impl Expected {
    fn allow(&self, revision: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Revisions(revisions) => revisions.contains(&revision),
        }
    }
}

fn expected_revisions(headers: &HeaderMap) -> Result<Option<Expected>, ApiError> {
    let refuse = || ApiError::Header { name: "if-match", detail: "use the ETag of the job, such as \"3\", or *".to_owned() };
    let Some(value) = headers.get(IF_MATCH) else { return Ok(None) };
    let value = value.to_str().map_err(|_| refuse())?.trim();
    if value == "*" {
        return Ok(Some(Expected::Any));
    }
    let revision = |tag: &str| tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok();
    let revisions = value.split(',').map(revision).collect::<Option<Vec<u64>>>().ok_or_else(refuse)?;
    Ok(Some(Expected::Revisions(revisions)))
}

/// A condition that is not looked at must not be taken for one that holds.
fn not_taken(request: &Request, names: &[HeaderName]) -> Result<(), ApiError> {
    match names.iter().find(|name| request.headers().contains_key(*name)) {
        None => Ok(()),
        Some(name) => Err(ApiError::HeaderNotTaken {
            name: if *name == IF_MATCH { "If-Match" } else { "If-None-Match" },
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
        }),
    }
}

/// `wire::Apply`, with each definition to be read for itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Apply {
    jobs: Vec<Value>,
    #[serde(default)]
    on_conflict: wire::OnConflict,
}

pub(in crate::server) async fn apply(State(app): State<Arc<App>>, identity: Identity, params: Params, request: Request) -> Reply {
    params.finish()?;
    let body = app.json_bytes(request).await?;
    let (definitions, on_conflict) = definitions(&body)?;
    if definitions.len() > APPLY_MAX {
        return Err(ApiError::Body { detail: format!("{} jobs are more than the {APPLY_MAX} that one request may apply", definitions.len()) });
    }
    let mut applied: Vec<Option<wire::AppliedJob>> = definitions.iter().map(|_| None).collect();
    let mut readable = Vec::with_capacity(definitions.len());
    for (place, definition) in definitions.into_iter().enumerate() {
        match definition {
            Ok(definition) => readable.push(Some((place, definition))),
            Err(refused) => applied[place] = Some(*refused),
        }
    }
    let order = wire::upstream_first(
        &readable,
        |job| job.as_ref().map_or("", |(_, (id, _))| id.as_str()),
        |job| job.as_ref().map_or(&[], |(_, (_, spec))| spec.trigger.upstream()),
    );
    let ordered = order.into_iter().filter_map(|at| readable[at].take());
    let (places, jobs): (Vec<(usize, JobId)>, Vec<_>) =
        ordered.map(|(place, (id, spec))| ((place, id.clone()), (JobKey { tenant: identity.tenant.clone(), id }, spec))).unzip();
    let added = app.scheduler.add_jobs(jobs, verb(on_conflict)).await;
    for ((place, id), added) in places.into_iter().zip(added) {
        let id = id.to_string();
        applied[place] = Some(match added {
            Ok(AddedJob { job, trigger, notes }) => wire::AppliedJob { id, added: Some(wire::AppliedTo::new(&job, trigger.as_ref(), notes)), problem: None },
            Err(error) => refused(id, error.into()),
        });
    }
    reply(json(&wire::Applied { jobs: applied.into_iter().flatten().collect() })?)
}

/// A definition, or the answer that says why it cannot be read.
type Definition = Result<(JobId, Arc<JobSpec>), Box<wire::AppliedJob>>;

/// Read in one go, as nearly all can be; where one cannot, each for itself, so that each of those says why.
fn definitions(body: &[u8]) -> Result<(Vec<Definition>, wire::OnConflict), ApiError> {
    if let Ok(wire::Apply { jobs, on_conflict }) = serde_json::from_slice(body) {
        return Ok((jobs.into_iter().map(|wire::AddJob { id, spec }| Ok((id, Arc::new(spec)))).collect(), on_conflict));
    }
    let Apply { jobs, on_conflict } = parse_json(body)?;
    let read = |job: Value| {
        let id = job.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        definition(job).map(|wire::AddJob { id, spec }| (id, Arc::new(spec))).map_err(|error| Box::new(refused(id, error)))
    };
    Ok((jobs.into_iter().map(read).collect(), on_conflict))
}

fn refused(id: String, error: ApiError) -> wire::AppliedJob {
    wire::AppliedJob { id, added: None, problem: Some(error.problem()) }
}

/// A job's definition. Its trigger is read first and for itself, so that an error marks the place in an expression.
fn definition<T: DeserializeOwned>(job: Value) -> Result<T, ApiError> {
    if let Some(trigger) = job.get("trigger") {
        wire::TriggerSpec::from_value(trigger).map_err(bad_expression)?;
    }
    serde_json::from_value(job).map_err(|error| ApiError::Body { detail: error.to_string() })
}

pub(in crate::server) async fn list(State(app): State<Arc<App>>, identity: Identity, mut params: Params) -> Reply {
    let labels = params.take_all("label").into_iter().map(|typed| match typed.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(refuse("label", &typed, "use NAME=VALUE")),
    });
    let filter = JobFilter { tenant: identity.tenant, labels: labels.collect::<Result<_, _>>()? };
    let page = app.scheduler.jobs(&filter, params.page()?).await?.map(wire::Job::from);
    reply(json(&wire::JobList { jobs: page.items, next: page.next })?)
}

pub(in crate::server) async fn show(State(app): State<Arc<App>>, identity: Identity, Id(id): Id<JobId>, params: Params) -> Reply {
    params.finish()?;
    let job = app.scheduler.job(&JobKey { tenant: identity.tenant, id }).await?;
    let waits_for = app.scheduler.waits_for(&job).await?.into_iter().map(|w| wire::WaitsFor { job: w.job, exists: w.exists, ended: w.ended });
    let revision = job.revision;
    reply(json(&wire::Job { waits_for: waits_for.collect(), ..wire::Job::from(job) })?.etag(revision))
}

fn answer_job(job: crate::job::Job) -> Reply {
    let revision = job.revision;
    reply(json(&wire::Job::from(job))?.etag(revision))
}

pub(in crate::server) async fn next_fires(State(app): State<Arc<App>>, identity: Identity, Id(id): Id<JobId>, mut params: Params) -> Reply {
    let after = params.instant("after")?.unwrap_or_else(|| app.scheduler.now());
    let n = params.number("n", FIRES_MAX)?.unwrap_or(FIRES_DEFAULT);
    params.finish()?;
    let job = app.scheduler.job(&JobKey { tenant: identity.tenant, id }).await?;
    reply(json(&wire::Fires::of(&job, after, usize::try_from(n).unwrap_or_default()))?)
}

pub(in crate::server) async fn pause(State(app): State<Arc<App>>, identity: Identity, Id(id): Id<JobId>, params: Params, request: Request) -> Reply {
    params.finish()?;
    not_taken(&request, &[IF_MATCH])?;
    let wire::PauseJob { reason, by, until } = app.json_or_default(request).await?;
    let key = JobKey { tenant: identity.tenant, id };
    answer_job(app.scheduler.pause_job(&key, PauseRequest { reason, by, until }).await?)
}

pub(in crate::server) async fn resume(State(app): State<Arc<App>>, identity: Identity, Id(id): Id<JobId>, params: Params, request: Request) -> Reply {
    params.finish()?;
    not_taken(&request, &[IF_MATCH])?;
    let wire::ResumeJob { from } = app.json_or_default(request).await?;
    let key = JobKey { tenant: identity.tenant, id };
    answer_job(app.scheduler.resume_job(&key, resume_from(from)).await?)
}

pub(super) fn resume_from(from: wire::ResumeFrom) -> ResumeFrom {
    match from {
        wire::ResumeFrom::Now => ResumeFrom::Now,
        wire::ResumeFrom::Missed => ResumeFrom::Missed,
    }
}

pub(in crate::server) async fn remove(State(app): State<Arc<App>>, identity: Identity, Id(id): Id<JobId>, mut params: Params, request: Request) -> Reply {
    let cancel_running = params.flag("cancel_running")?;
    params.finish()?;
    not_taken(&request, &[IF_MATCH])?;
    let key = JobKey { tenant: identity.tenant, id };
    let cancelled = app.scheduler.remove_job(&key, cancel_running).await?;
    reply(json(&wire::RemovedJob { cancelled })?)
}
