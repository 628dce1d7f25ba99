//! Whether the server lives and can work, what it counts, and what its API is.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::{App, Reply, json, reply};
use crate::server::error::ApiError;
use crate::wire::Health;

/// How long the store may take to answer a server that calls itself ready.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// Kept by hand; a test holds it and the table of routes together.
pub(in crate::server) const OPENAPI: &str = include_str!("../openapi.json");

pub(in crate::server) async fn alive() -> Reply {
    reply(json(&health("ok"))?)
}

pub(in crate::server) async fn ready(State(app): State<Arc<App>>) -> Reply {
    match tokio::time::timeout(READY_WITHIN, app.scheduler.counts()).await {
        Ok(counts) => {
            counts?;
            reply(json(&health("ready"))?)
        }
        Err(_) => Err(ApiError::NotReady),
    }
}

fn health(status: &str) -> Health {
    Health { status: status.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

pub(in crate::server) async fn metrics(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let counts = app.scheduler.counts().await?;
    let subscribers = app.config.subscribers_max.saturating_sub(app.subscribers.available_permits());
    let waiters = app.config.waiters_max.saturating_sub(app.waiters.available_permits());
    let text = app.metrics.text(counts, subscribers, waiters);
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

pub(in crate::server) async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
