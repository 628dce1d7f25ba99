//! What attempts of a tenant's jobs may use.

use std::sync::Arc;

use axum::extract::State;

use super::{App, Reply, json, reply};
use crate::server::auth::Identity;
use crate::server::params::Params;
use crate::wire;

pub(in crate::server) async fn show(State(app): State<Arc<App>>, identity: Identity, params: Params) -> Reply {
    params.finish()?;
    let (defaults, caps) = app.scheduler.limits(&identity.tenant);
    reply(json(&wire::LimitBounds { defaults, caps, executor_memory: app.scheduler.executor_memory() })?)
}
