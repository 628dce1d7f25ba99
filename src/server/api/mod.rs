//! The handlers, one file a noun: parse, call one verb of the scheduler, shape the answer.

pub(super) mod bulk;
pub(super) mod calendars;
pub(super) mod components;
pub(super) mod events;
pub(super) mod health;
pub(super) mod jobs;
pub(super) mod limits;
pub(super) mod runs;
pub(super) mod secrets;

use axum::body::Bytes;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;

use super::App;
use super::error::ApiError;
use super::idempotency::Answer;

/// A JSON answer.
fn json(body: &impl Serialize) -> Result<Answer, ApiError> {
    let body = serde_json::to_vec(body).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        ApiError::Panicked
    })?;
    let kind = (CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(Answer { status: StatusCode::OK, headers: vec![kind], body: Bytes::from(body) })
}

impl Answer {
    /// Something was made; `location` is its path, of checked ids alone.
    fn created(mut self, location: &str) -> Self {
        self.status = StatusCode::CREATED;
        self.header(axum::http::header::LOCATION, location)
    }

    fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    fn etag(self, revision: u64) -> Self {
        self.header(axum::http::header::ETAG, &format!("\"{revision}\""))
    }
}

type Reply = Result<Response, ApiError>;

fn reply(answer: Answer) -> Reply {
    Ok(answer.into_response())
}
