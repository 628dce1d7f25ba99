//! Components: push, list, show, remove.

use std::sync::Arc;

use axum::extract::{Request, State};

use super::{App, Reply, json, reply};
use crate::component::{EntryKind, Inspection};
use crate::job::{ComponentName, Version};
use crate::scheduler::{Accept, ComponentVersion};
use crate::server::auth::Identity;
use crate::server::error::{ApiError, bad_id};
use crate::server::params::{Id, Params, refuse};
use crate::wire;

pub(in crate::server) async fn push(
    State(app): State<Arc<App>>,
    identity: Identity,
    Id(name): Id<ComponentName>,
    mut params: Params,
    request: Request,
) -> Reply {
    let accept = Accept { broken_jobs: params.flag("force")?, new_grants: params.flag("approve_grants")? };
    params.finish()?;
    let bytes = app.component_body(request).await?;
    let pushed = app.scheduler.push_component(&identity.tenant, &name, bytes, accept).await?;
    let broken = pushed.broken.into_iter().map(|broken| wire::BrokenJob { job: broken.job, why: broken.why }).collect();
    let new_grants = pushed.new_grants;
    let answer = json(&wire::PushedComponent { new: pushed.new, component: component(pushed.component, pushed.inspection, false), broken, new_grants })?;
    reply(if pushed.new { answer.created(&format!("/api/v1/components/{name}")) } else { answer })
}

pub(in crate::server) async fn list(State(app): State<Arc<App>>, identity: Identity, params: Params) -> Reply {
    let page = app.scheduler.components(&identity.tenant, params.page()?).await?;
    let page = page.map(|version| {
        // One that cannot be read any more is shown without what is in it; `show` says what is wrong.
        let inspection = serde_json::from_value(version.inspection.clone()).unwrap_or(Inspection { entries: Vec::new(), imports: Vec::new(), adapted: None });
        component(version, inspection, false)
    });
    reply(json(&wire::ComponentList { components: page.items, next: page.next })?)
}

pub(in crate::server) async fn show(State(app): State<Arc<App>>, identity: Identity, Id(name): Id<ComponentName>, mut params: Params) -> Reply {
    let version = match params.take("version")? {
        None => Version::Newest,
        Some(typed) => version(&typed)?,
    };
    let schema = params.flag("schema")?;
    params.finish()?;
    let detail = app.scheduler.component(&identity.tenant, &name, version).await?;
    let versions = detail.versions.into_iter().map(|v| wire::ComponentSummary { version: v.version, digest: v.digest, size: v.size, pushed_at: v.pushed_at });
    reply(json(&wire::ComponentDetail {
        component: component(detail.component, detail.inspection, schema),
        versions: versions.collect(),
        jobs: detail.jobs.into_iter().map(|key| key.id).collect(),
    })?)
}

pub(in crate::server) async fn remove(State(app): State<Arc<App>>, identity: Identity, Id(name): Id<ComponentName>, mut params: Params) -> Reply {
    let version = params.number("version", u32::MAX.into())?.and_then(|n| u32::try_from(n).ok());
    params.finish()?;
    let removed = app.scheduler.remove_component(&identity.tenant, &name, version).await?;
    reply(json(&wire::RemovedComponent { removed })?)
}

/// As in a reference: a number, or a digest.
fn version(typed: &str) -> Result<Version, ApiError> {
    if typed.starts_with("sha256:") {
        return typed.parse().map(Version::Digest).map_err(bad_id);
    }
    match typed.parse() {
        Ok(n) if n > 0 => Ok(Version::Number(n)),
        _ => Err(refuse("version", typed, "use a number from 1, or sha256: and 64 hexadecimal digits")),
    }
}

/// With the JSON Schema of each entry's arguments where `schema` is set: they may be long.
fn component(version: ComponentVersion, inspection: Inspection, schema: bool) -> wire::Component {
    let (may_use, asks_for) = inspection.asks().into_iter().partition(|kind| kind.is_imported_by_libraries());
    let entries = inspection.entries.into_iter().map(|entry| {
        let kind = match entry.kind {
            EntryKind::Command => "command",
            EntryKind::Function => "function",
            EntryKind::Job => "job",
        };
        let schema = schema.then(|| entry.arguments_schema());
        wire::Entry { schema, name: entry.name, kind: kind.to_owned(), signature: entry.signature }
    });
    wire::Component {
        name: version.name,
        tenant: version.tenant,
        version: version.version,
        digest: version.digest,
        size: version.size,
        pushed_at: version.pushed_at,
        entries: entries.collect(),
        imports: inspection.imports,
        asks_for,
        may_use,
        adapted: inspection.adapted,
    }
}
