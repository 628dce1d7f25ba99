//! Secrets: put, list, remove. There is no way to read one.

use std::sync::Arc;

use axum::extract::{Request, State};

use super::{App, Reply, json, reply};
use crate::job::SecretName;
use crate::scheduler::SecretInfo;
use crate::server::auth::Identity;
use crate::server::error::ApiError;
use crate::server::params::{Id, Params};
use crate::wire;

/// Adds a secret, or puts its value in the place of the one it has.
pub(in crate::server) async fn put(State(app): State<Arc<App>>, identity: Identity, Id(name): Id<SecretName>, params: Params, request: Request) -> Reply {
    params.finish()?;
    let body = app.json_bytes(request).await?;
    // What is wrong with it is not told in the parser's words, which may repeat the value.
    let refuse = |_| ApiError::Body { detail: "the body of a secret is one JSON object with its value: {\"value\": \"…\"}".to_owned() };
    let wire::PutSecret { value } = serde_json::from_slice(&body).map_err(refuse)?;
    reply(json(&secret(app.scheduler.put_secret(&identity.tenant, &name, value).await?))?)
}

pub(in crate::server) async fn list(State(app): State<Arc<App>>, identity: Identity, params: Params) -> Reply {
    let page = app.scheduler.secrets(&identity.tenant, params.page()?).await?.map(secret);
    reply(json(&wire::SecretList { secrets: page.items, next: page.next })?)
}

pub(in crate::server) async fn remove(State(app): State<Arc<App>>, identity: Identity, Id(name): Id<SecretName>, params: Params) -> Reply {
    params.finish()?;
    app.scheduler.remove_secret(&identity.tenant, &name).await?;
    reply(json(&wire::RemovedSecret { removed: name })?)
}

fn secret(SecretInfo { name, updated_at, readable, damaged }: SecretInfo) -> wire::Secret {
    wire::Secret { name, updated_at, readable, damaged }
}
