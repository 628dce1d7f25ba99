//! Exclusion calendars: put, list, show, remove.

use std::sync::Arc;

use axum::extract::{Request, State};

use super::{App, Reply, json, reply};
use crate::job::CalendarName;
use crate::scheduler::Calendar;
use crate::server::auth::Identity;
use crate::server::body::parse_json;
use crate::server::params::{Id, Params};
use crate::wire;

/// Adds a calendar, or puts it in the place of the one of its name.
pub(in crate::server) async fn put(State(app): State<Arc<App>>, identity: Identity, Id(name): Id<CalendarName>, params: Params, request: Request) -> Reply {
    params.finish()?;
    let body = app.json_bytes(request).await?;
    let exclusions: wire::Exclusions = parse_json(&body)?;
    reply(json(&calendar(app.scheduler.put_calendar(&identity.tenant, &name, exclusions).await?))?)
}

pub(in crate::server) async fn list(State(app): State<Arc<App>>, identity: Identity, params: Params) -> Reply {
    let page = app.scheduler.calendars(&identity.tenant, params.page()?).await?.map(calendar);
    reply(json(&wire::CalendarList { calendars: page.items, next: page.next })?)
}

pub(in crate::server) async fn show(State(app): State<Arc<App>>, identity: Identity, Id(name): Id<CalendarName>, params: Params) -> Reply {
    params.finish()?;
    reply(json(&calendar(app.scheduler.calendar(&identity.tenant, &name).await?))?)
}

pub(in crate::server) async fn remove(State(app): State<Arc<App>>, identity: Identity, Id(name): Id<CalendarName>, params: Params) -> Reply {
    params.finish()?;
    app.scheduler.remove_calendar(&identity.tenant, &name).await?;
    reply(json(&wire::RemovedCalendar { removed: name })?)
}

fn calendar(Calendar { name, exclusions, updated_at, .. }: Calendar) -> wire::Calendar {
    wire::Calendar { name, exclusions, updated_at }
}
