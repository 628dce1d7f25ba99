//! `/api/v1/events`: what happens, as server-sent events, with replay of the last ones.
//!
//! An event's id is `PROCESS-N`: `N` counts the events of one server process, `PROCESS` names it, so that an id of an
//! earlier process is recognised and answered with everything that is kept, behind a `gap`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::App;
use crate::job::{JobId, TenantId};
use crate::scheduler::{Event, EventKind};
use crate::server::auth::Identity;
use crate::server::error::ApiError;
use crate::server::params::Params;
use crate::wire;

/// What a subscriber had seen, from `Last-Event-ID`.
pub(in crate::server) struct LastEventId(Option<String>);

impl<S: Sync> FromRequestParts<S> for LastEventId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let headers: &HeaderMap = &parts.headers;
        Ok(Self(headers.get("last-event-id").map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned())))
    }
}

pub(in crate::server) async fn stream(
    State(app): State<Arc<App>>,
    identity: Identity,
    LastEventId(last): LastEventId,
    mut params: Params,
) -> Result<Response, ApiError> {
    let job: Option<JobId> = params.id("job")?;
    let after = params.take("after")?;
    params.finish()?;
    let Ok(permit) = app.subscribers.clone().try_acquire_owned() else {
        return Err(ApiError::Busy { what: "subscribers of events", cap: app.config.subscribers_max });
    };
    let after = last.or(after).map(|id| position(&id)).transpose()?;
    let (past, live) = subscribe(&app, &identity.tenant, after);

    let filter = Filter { tenant: identity.tenant, job };
    let heartbeat = app.config.heartbeat;
    let closing = app.clone();
    let events = stream::iter(past).chain(follow(app, filter.tenant.clone(), live));
    let events = events.filter(move |event| std::future::ready(filter.passes(event))).map(move |event| {
        let _held = &permit;
        Ok::<_, Infallible>(frame(&event))
    });
    let events = events.take_until(Box::pin(async move { closing.closed().await }));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(heartbeat)).into_response())
}

/// Process and number of an event's id.
fn position(id: &str) -> Result<(String, u64), ApiError> {
    let parsed = id.rsplit_once('-').and_then(|(process, n)| Some((process.to_owned(), n.parse().ok()?)));
    parsed.ok_or_else(|| ApiError::Header { name: "last-event-id", detail: format!("{:?} is not an event's id", id.chars().take(60).collect::<String>()) })
}

/// What is replayed, and the live events behind it.
fn subscribe(app: &App, tenant: &TenantId, after: Option<(String, u64)>) -> (Vec<wire::Event>, Receiver<Arc<Event>>) {
    let events = app.scheduler.events();
    let Some((process, n)) = after else {
        let (_, live) = events.subscribe(None);
        return (Vec::new(), live);
    };
    let known = process == app.epoch;
    let (past, live) = events.subscribe(Some(if known { n } else { 0 }));
    let missed = match past.first() {
        Some(first) if known && first.id > n + 1 => Some(Some(first.id - n - 1)),
        _ if known => None,
        _ => Some(None),
    };
    let gap = missed.map(|missed| app.gap(tenant, missed));
    (gap.into_iter().chain(past.iter().map(|event| app.wire_event(event))).collect(), live)
}

fn follow(app: Arc<App>, tenant: TenantId, live: Receiver<Arc<Event>>) -> impl Stream<Item = wire::Event> {
    stream::unfold((app, tenant, live), |(app, tenant, mut live)| async move {
        let event = match live.recv().await {
            Ok(event) => app.wire_event(&event),
            Err(RecvError::Lagged(missed)) => app.gap(&tenant, Some(missed)),
            Err(RecvError::Closed) => return None,
        };
        Some((event, (app, tenant, live)))
    })
}

struct Filter {
    tenant: TenantId,
    job: Option<JobId>,
}

impl Filter {
    fn passes(&self, event: &wire::Event) -> bool {
        let about_the_stream = matches!(event.kind, wire::EventKind::Gap { .. });
        event.tenant == self.tenant && (about_the_stream || self.job.is_none() || event.kind.job() == self.job.as_ref())
    }
}

fn frame(event: &wire::Event) -> sse::Event {
    // Events are plain data with string keys, which serde_json writes without fail and on one line.
    let data = serde_json::to_string(event).unwrap_or_default();
    let frame = sse::Event::default().event(event.kind.name()).data(data);
    match &event.id {
        Some(id) => frame.id(id),
        None => frame,
    }
}

impl App {
    fn gap(&self, tenant: &TenantId, missed: Option<u64>) -> wire::Event {
        wire::Event { id: None, at: self.scheduler.now(), tenant: tenant.clone(), kind: wire::EventKind::Gap { missed } }
    }

    fn wire_event(&self, event: &Event) -> wire::Event {
        wire::Event { id: Some(format!("{}-{}", self.epoch, event.id)), at: event.at, tenant: event.tenant.clone(), kind: kind(event.kind.clone()) }
    }
}

fn kind(kind: EventKind) -> wire::EventKind {
    use wire::EventKind as Wire;
    match kind {
        EventKind::ComponentPushed { name, version } => Wire::ComponentPushed { component: name, version },
        EventKind::JobAdded { job } => Wire::JobAdded { job: job.id },
        EventKind::JobPaused { job, reason } => Wire::JobPaused { job: job.id, reason },
        EventKind::JobResumed { job } => Wire::JobResumed { job: job.id },
        EventKind::JobRemoved { job } => Wire::JobRemoved { job: job.id },
        EventKind::JobFinished { job } => Wire::JobFinished { job: job.id },
        EventKind::RunStarted { job, run, attempt, scheduled_at } => Wire::RunStarted { job: job.id, run, attempt, scheduled_at },
        EventKind::RunProgress { job, run, attempt, progress } => {
            Wire::RunProgress { job: job.id, run, attempt, fraction: progress.fraction, message: progress.message }
        }
        EventKind::RunEnded { job, run, attempt, outcome, scheduled_at, message, receipt } => {
            Wire::RunEnded { job: job.id, run, attempt, outcome, scheduled_at, message, receipt }
        }
        EventKind::RunRetry { job, run, attempt, outcome, at } => Wire::RunRetry { job: job.id, run, attempt, outcome, retry_at: at },
        EventKind::FiringSkipped { job, reason, detail, count, first, last } => Wire::FiringSkipped { job: job.id, reason, detail, count, first, last },
    }
}
