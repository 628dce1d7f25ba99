//! One verb for all jobs with given labels, page by page; each for itself, so that one that is refused does not undo others.

use std::sync::Arc;

use axum::extract::{Request, State};
use futures_util::{StreamExt, stream};

use super::runs::trigger_request;
use super::{App, Reply, json, reply};
use crate::job::JobKey;
use crate::scheduler::{JobFilter, PageRequest, PauseRequest};
use crate::server::auth::Identity;
use crate::server::error::ApiError;
use crate::server::params::Params;
use crate::wire;

const PAGE_DEFAULT: u32 = 100;
const PAGE_MAX: u32 = 500;
/// Jobs that are dealt with at the same time.
const AT_ONCE: usize = 128;

pub(in crate::server) async fn carry_out(State(app): State<Arc<App>>, identity: Identity, params: Params, request: Request) -> Reply {
    params.finish()?;
    let wire::Bulk { labels, verb, after, limit } = app.json_body(request).await?;
    if labels.is_empty() {
        return Err(ApiError::Body { detail: "labels must name at least one label: this is not for all jobs there are".to_owned() });
    }
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(ApiError::Body { detail: format!("limit must be 1 to {PAGE_MAX}") });
    }
    let filter = JobFilter { tenant: identity.tenant, labels: labels.into_iter().collect() };
    let page = app.scheduler.jobs(&filter, PageRequest { after, limit: limit as usize }).await?;
    let done = stream::iter(page.items).map(|job| {
        let (app, verb) = (&app, &verb);
        async move {
            let id = job.key.id.clone();
            match one(app, &job.key, verb).await {
                Ok(run) => wire::BulkJob { id, run, problem: None },
                Err(error) => wire::BulkJob { id, run: None, problem: Some(error.problem()) },
            }
        }
    });
    let jobs = done.buffered(AT_ONCE).collect().await;
    reply(json(&wire::BulkDone { jobs, next: page.next })?)
}

/// The run, where the verb makes one.
async fn one(app: &App, key: &JobKey, verb: &wire::BulkVerb) -> Result<Option<wire::TriggeredRun>, ApiError> {
    match verb.clone() {
        wire::BulkVerb::Pause(wire::PauseJob { reason, by, until }) => {
            app.scheduler.pause_job(key, PauseRequest { reason, by, until }).await?;
            Ok(None)
        }
        wire::BulkVerb::Resume(wire::ResumeJob { from }) => {
            app.scheduler.resume_job(key, super::jobs::resume_from(from)).await?;
            Ok(None)
        }
        wire::BulkVerb::Trigger(asked) => {
            let request = trigger_request(app, key, asked).await?;
            let triggered = app.scheduler.trigger(key, request).await?;
            Ok(Some(wire::TriggeredRun { run: triggered.run.into(), new: triggered.new }))
        }
    }
}
