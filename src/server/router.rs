//! The table of routes, and the gate that every request passes.

use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::extract::{ConnectInfo, Request, State};
use axum::handler::Handler;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Method};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter};

use super::App;
use super::api::{bulk, calendars, components, events, health, jobs, limits, runs, secrets};
use super::connection::Activity;
use super::error::ApiError;

struct Route {
    method: Method,
    path: &'static str,
    handler: MethodRouter<Arc<App>>,
}

fn get<T: 'static>(path: &'static str, handler: impl Handler<T, Arc<App>>) -> Route {
    Route { method: Method::GET, path, handler: routing::get(handler) }
}

fn post<T: 'static>(path: &'static str, handler: impl Handler<T, Arc<App>>) -> Route {
    Route { method: Method::POST, path, handler: routing::post(handler) }
}

fn put<T: 'static>(path: &'static str, handler: impl Handler<T, Arc<App>>) -> Route {
    Route { method: Method::PUT, path, handler: routing::put(handler) }
}

fn delete<T: 'static>(path: &'static str, handler: impl Handler<T, Arc<App>>) -> Route {
    Route { method: Method::DELETE, path, handler: routing::delete(handler) }
}

fn table() -> Vec<Route> {
    vec![
        get("/healthz", health::alive),
        get("/readyz", health::ready),
        get("/metrics", health::metrics),
        get("/api/openapi.json", health::openapi),
        get("/api/v1/components", components::list),
        get("/api/v1/components/{name}", components::show),
        put("/api/v1/components/{name}", components::push),
        delete("/api/v1/components/{name}", components::remove),
        get("/api/v1/calendars", calendars::list),
        get("/api/v1/calendars/{name}", calendars::show),
        put("/api/v1/calendars/{name}", calendars::put),
        delete("/api/v1/calendars/{name}", calendars::remove),
        get("/api/v1/secrets", secrets::list),
        put("/api/v1/secrets/{name}", secrets::put),
        delete("/api/v1/secrets/{name}", secrets::remove),
        get("/api/v1/limits", limits::show),
        get("/api/v1/jobs", jobs::list),
        post("/api/v1/jobs", jobs::add),
        get("/api/v1/jobs/{id}", jobs::show),
        put("/api/v1/jobs/{id}", jobs::replace),
        delete("/api/v1/jobs/{id}", jobs::remove),
        get("/api/v1/jobs/{id}/next", jobs::next_fires),
        post("/api/v1/jobs/{id}/pause", jobs::pause),
        post("/api/v1/jobs/{id}/resume", jobs::resume),
        post("/api/v1/jobs/{id}/runs", runs::trigger),
        post("/api/v1/jobs/{id}/backfill", runs::backfill),
        post("/api/v1/jobs/{id}/cancel", runs::cancel_many),
        post("/api/v1/apply", jobs::apply),
        post("/api/v1/bulk", bulk::carry_out),
        get("/api/v1/runs", runs::list),
        get("/api/v1/runs/{id}", runs::show),
        get("/api/v1/runs/{id}/log", runs::log),
        post("/api/v1/runs/{id}/cancel", runs::cancel),
        get("/api/v1/firings", runs::firings),
        get("/api/v1/events", events::stream),
    ]
}

/// Paths that say nothing of a tenant.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

pub(super) fn router(app: Arc<App>) -> IntoMakeServiceWithConnectInfo<Router, Activity> {
    let router = table().into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler));
    router
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(middleware::from_fn_with_state(app.clone(), gate))
        .with_state(app)
        .into_make_service_with_connect_info()
}

/// Checks where the request comes from and who asks, before anything of its body is read.
async fn gate(State(app): State<Arc<App>>, ConnectInfo(activity): ConnectInfo<Activity>, request: Request, next: Next) -> Response {
    let _handling = activity.begin();
    let mut response = match admit(&app, request) {
        Ok(request) => carry_out(request, next).await,
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}

fn admit(app: &App, mut request: Request) -> Result<Request, ApiError> {
    app.check_source(request.uri(), request.headers())?;
    let path = request.uri().path();
    let open = OPEN.contains(&path) || (path == "/metrics" && app.address.ip().is_loopback());
    if !open {
        let identity = app.identify(request.headers())?;
        request.extensions_mut().insert(identity);
    }
    Ok(request)
}

/// A request that may change something is a task of its own: a client that goes away does not stop it half-way.
async fn carry_out(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "the handling of a request failed");
            ApiError::Panicked.into_response()
        }
    }
}

async fn no_route(request: Request) -> ApiError {
    ApiError::NoRoute { path: shown(request.uri().path()) }
}

async fn no_method(request: Request) -> ApiError {
    let path = request.uri().path();
    let allowed: Vec<_> = table().iter().filter(|route| matches(route.path, path)).map(|route| route.method.to_string()).collect();
    ApiError::Method { method: request.method().clone(), path: shown(path), allowed: allowed.join(", ") }
}

fn shown(path: &str) -> String {
    path.chars().take(200).collect()
}

/// Whether a path is one of a template such as `/api/v1/jobs/{id}`.
fn matches(template: &str, path: &str) -> bool {
    let (mut expected, mut given) = (template.split('/'), path.split('/'));
    loop {
        match (expected.next(), given.next()) {
            (None, None) => return true,
            (Some(part), Some(typed)) if part == typed || (part.starts_with('{') && !typed.is_empty()) => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_openapi_document_and_the_table_name_the_same_routes() {
        let document: serde_json::Value = serde_json::from_str(health::OPENAPI).unwrap();
        let mut documented = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for method in operations.as_object().unwrap().keys().filter(|key| *key != "parameters") {
                documented.insert(format!("{} {path}", method.to_uppercase()));
            }
        }
        let routed: BTreeSet<_> = table().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
        assert_eq!(documented, routed);
    }

    #[test]
    fn a_path_is_matched_by_its_template() {
        assert!(matches("/api/v1/jobs/{id}", "/api/v1/jobs/x"));
        assert!(!matches("/api/v1/jobs/{id}", "/api/v1/jobs/"));
        assert!(!matches("/api/v1/jobs/{id}", "/api/v1/jobs/x/y"));
        assert!(!matches("/api/v1/jobs", "/api/v1/jobs/x"));
    }
}
