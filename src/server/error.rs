//! Everything that can be wrong with a request, and the only place where failures get an HTTP status.

use std::time::Duration;

use axum::Json;
use axum::http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::job::IdError;
use crate::scheduler::{ErrorKind, SchedulerError};
use crate::wire::{Problem, Span, TriggerError};

#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(transparent)]
    Scheduler(SchedulerError),
    /// The job's revision is not the one that `If-Match` asked for.
    #[error("the job has been changed: its revision is {revision}, which If-Match does not name")]
    RevisionMoved { revision: u64 },
    #[error("{method} {path} does not take {name}")]
    HeaderNotTaken { name: &'static str, method: Method, path: String },
    #[error("the header {name} is not valid: {detail}")]
    Header { name: &'static str, detail: String },

    #[error("there is nothing at {path}")]
    NoRoute { path: String },
    #[error("{path} does not take {method}")]
    Method { method: Method, path: String, allowed: String },
    #[error("the path holds text that is not UTF-8")]
    PathText,

    #[error("no token was given")]
    TokenMissing,
    #[error("this token is not valid")]
    TokenWrong,
    #[error("the request names the host {host:?}, which is not this server")]
    Host { host: String },
    #[error("requests from pages of another origin ({origin:?}) are refused")]
    Origin { origin: String },

    #[error("the body is {kind:?}, where application/json was expected")]
    NotJson { kind: String },
    #[error("the body is not JSON: {detail}")]
    Json { detail: String },
    /// Well-formed, but not what this request takes.
    #[error("{detail}")]
    Body { detail: String },
    #[error("{what} is larger than the cap of {cap}")]
    TooLarge { what: &'static str, cap: String },
    #[error("the body did not come within {limit:?}")]
    TooSlow { limit: Duration },
    #[error("the body ended early: {detail}")]
    Cut { detail: String },

    #[error("there is no query parameter {name:?} here")]
    UnknownParameter { name: String, known: String },
    #[error("the query parameter {name:?} was given twice")]
    RepeatedParameter { name: String },
    #[error("the query parameter {name} = {typed:?} is not valid: {want}")]
    Parameter { name: &'static str, typed: String, want: String },
    #[error("the query is not valid: {detail}")]
    Query { detail: String },

    #[error("the idempotency key was used for another request")]
    KeyReused,
    #[error("at most {cap} {what} at once")]
    Busy { what: &'static str, cap: usize },
    #[error("the server has no room for this body now")]
    NoRoom,
    #[error("run {run} has no log{which}: {reason}")]
    NoLog { run: String, which: String, reason: &'static str },
    #[error("the store does not answer")]
    NotReady,
    #[error("the handling of this request failed")]
    Panicked,
}

/// What a failure is over HTTP: status, code, hint.
type Facts = (StatusCode, &'static str, Option<String>);

impl ApiError {
    fn facts(&self) -> Facts {
        let hint = |text: &str| Some(text.to_owned());
        match self {
            Self::Scheduler(error) => (status(error.kind()), error.code(), error.hint()),
            Self::RevisionMoved { .. } => (StatusCode::PRECONDITION_FAILED, "job-changed", hint("read the job again and repeat the change")),
            Self::HeaderNotTaken { .. } => (StatusCode::BAD_REQUEST, "bad-header", hint("PUT /api/v1/jobs/{id} takes If-Match")),
            Self::Header { .. } => (StatusCode::BAD_REQUEST, "bad-header", None),
            Self::NoRoute { .. } => (StatusCode::NOT_FOUND, "no-such-route", hint("what there is: /api/openapi.json")),
            Self::Method { allowed, .. } => (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", Some(format!("it takes {allowed}"))),
            Self::PathText => (StatusCode::BAD_REQUEST, "bad-id", None),
            Self::TokenMissing => (StatusCode::UNAUTHORIZED, "token-missing", hint("send it as: Authorization: Bearer TOKEN")),
            Self::TokenWrong => {
                (StatusCode::UNAUTHORIZED, "token-wrong", hint("the server keeps its token in its data directory, in the file token, unless it was given one"))
            }
            Self::Host { .. } => (
                StatusCode::MISDIRECTED_REQUEST,
                "wrong-host",
                hint("a server that listens on loopback is spoken to as localhost or 127.0.0.1; behind a proxy, name its host in server.hosts"),
            ),
            Self::Origin { .. } => (StatusCode::FORBIDDEN, "cross-origin", hint("call the API from a program, or from a page that this server serves")),
            Self::NotJson { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-json", hint("send it with: Content-Type: application/json")),
            Self::Json { .. } => (StatusCode::BAD_REQUEST, "bad-json", None),
            Self::Body { .. } => (StatusCode::BAD_REQUEST, "bad-body", hint("the fields of every request are in /api/openapi.json")),
            Self::TooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", hint("the caps are in the server's configuration: bellcage config show"))
            }
            Self::TooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, "body-too-slow", None),
            Self::Cut { .. } => (StatusCode::BAD_REQUEST, "body-cut", None),
            Self::UnknownParameter { known, .. } if known.is_empty() => (StatusCode::BAD_REQUEST, "unknown-parameter", hint("it takes none")),
            Self::UnknownParameter { known, .. } => (StatusCode::BAD_REQUEST, "unknown-parameter", Some(format!("it takes: {known}"))),
            Self::RepeatedParameter { .. } | Self::Parameter { .. } | Self::Query { .. } => (StatusCode::BAD_REQUEST, "bad-parameter", None),
            Self::KeyReused => {
                (StatusCode::CONFLICT, "idempotency-key-reused", hint("use a fresh key for each request, the same one only to repeat it unchanged"))
            }
            Self::Busy { .. } | Self::NoRoom => (StatusCode::SERVICE_UNAVAILABLE, "busy", hint("try again in a moment")),
            Self::NoLog { .. } => (StatusCode::NOT_FOUND, "no-log", hint("a log is kept when its attempt ends")),
            Self::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not-ready", None),
            Self::Panicked => (StatusCode::INTERNAL_SERVER_ERROR, "internal", hint("the server's log says more")),
        }
    }

    fn span(&self) -> Option<Span> {
        match self {
            Self::Scheduler(SchedulerError::Trigger(error)) => error.span.clone(),
            _ => None,
        }
    }

    /// What the client is told.
    pub fn problem(&self) -> Problem {
        let (status, code, hint) = self.facts();
        let detail = match self {
            // A fault of ours may name paths and rows: for the log alone.
            Self::Scheduler(error) if error.kind() == ErrorKind::Internal => {
                tracing::error!(%error, code, "a request failed");
                "the server failed; its log says why".to_owned()
            }
            other => other.to_string(),
        };
        Problem { hint, span: self.span(), ..Problem::new(status.as_u16(), code, detail) }
    }
}

fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match &self {
            Self::TokenMissing | Self::TokenWrong => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Method { allowed, .. } => {
                if let Ok(allowed) = HeaderValue::from_str(allowed) {
                    headers.insert(ALLOW, allowed);
                }
            }
            _ if status == StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

impl<E: Into<SchedulerError>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self::Scheduler(error.into())
    }
}

/// An id in a path or a query.
pub(super) fn bad_id(error: IdError) -> ApiError {
    ApiError::Scheduler(SchedulerError::Id(error))
}

/// An expression in a query.
pub(super) fn bad_expression(error: TriggerError) -> ApiError {
    ApiError::Scheduler(SchedulerError::Trigger(error))
}
