//! Reading request bodies, each under a size cap, a time limit, and a budget over all connections.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::App;
use super::error::ApiError;
use crate::job::bytes;

/// What of a body past its cap is still read, so that the client gets to read the answer: a connection that is closed
/// with bytes unread is reset.
const DRAIN_BYTES: u64 = 8 << 20;
const DRAIN: Duration = Duration::from_secs(2);
/// What a component may take longer than other bodies.
const COMPONENT_TIME: u32 = 10;

impl App {
    /// The bytes of a pushed component.
    pub(super) async fn component_body(&self, request: Request) -> Result<Vec<u8>, ApiError> {
        let cap = Cap { what: "the component", bytes: self.config.component_max, within: self.config.body_timeout.saturating_mul(COMPONENT_TIME) };
        self.read(request, cap).await
    }

    /// A JSON body, which must be there.
    pub(super) async fn json_body<T: DeserializeOwned>(&self, request: Request) -> Result<T, ApiError> {
        let bytes = self.json_bytes(request).await?;
        parse_json(&bytes)
    }

    /// A JSON body; an empty one is the default.
    pub(super) async fn json_or_default<T: DeserializeOwned + Default>(&self, request: Request) -> Result<T, ApiError> {
        let bytes = self.json_bytes(request).await?;
        if bytes.is_empty() { Ok(T::default()) } else { parse_json(&bytes) }
    }

    /// The bytes of a body that says it is JSON, or of an empty one.
    pub(super) async fn json_bytes(&self, request: Request) -> Result<Vec<u8>, ApiError> {
        let kind = request.headers().get(CONTENT_TYPE).map(|kind| String::from_utf8_lossy(kind.as_bytes()).into_owned()).unwrap_or_default();
        let cap = Cap { what: "the body", bytes: self.config.body_max, within: self.config.body_timeout };
        let bytes = self.read(request, cap).await?;
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if bytes.is_empty() || essence.eq_ignore_ascii_case("application/json") { Ok(bytes) } else { Err(ApiError::NotJson { kind }) }
    }

    async fn read(&self, request: Request, cap: Cap) -> Result<Vec<u8>, ApiError> {
        let announced = content_length(request.headers());
        let expects = request.headers().contains_key("expect");
        let body = request.into_body();
        if announced.is_some_and(|length| length > cap.bytes) {
            // A client that asked first has sent nothing yet.
            if !expects {
                drain(body).await;
            }
            return Err(cap.exceeded());
        }
        let room = announced.unwrap_or(cap.bytes).div_ceil(1_024);
        let _room = self.reserve(room)?;
        match tokio::time::timeout(cap.within, collect(body, &cap)).await {
            Ok(bytes) => bytes,
            Err(_) => Err(ApiError::TooSlow { limit: cap.within }),
        }
    }

    fn reserve(&self, kib: u64) -> Result<tokio::sync::SemaphorePermit<'_>, ApiError> {
        let bodies: &Semaphore = &self.bodies;
        let permits = u32::try_from(kib).map_err(|_| ApiError::NoRoom)?;
        bodies.try_acquire_many(permits).map_err(|_| ApiError::NoRoom)
    }
}

struct Cap {
    what: &'static str,
    bytes: u64,
    within: Duration,
}

impl Cap {
    fn exceeded(&self) -> ApiError {
        ApiError::TooLarge { what: self.what, cap: bytes::format(self.bytes) }
    }
}

async fn collect(body: Body, cap: &Cap) -> Result<Vec<u8>, ApiError> {
    let mut stream = body.into_data_stream();
    let mut whole: Vec<u8> = Vec::new();
    while let Some(piece) = stream.next().await {
        let piece: Bytes = piece.map_err(|error| ApiError::Cut { detail: error.to_string() })?;
        if (whole.len() + piece.len()) as u64 > cap.bytes {
            drain_stream(&mut stream).await;
            return Err(cap.exceeded());
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}

async fn drain(body: Body) {
    drain_stream(&mut body.into_data_stream()).await;
}

async fn drain_stream(stream: &mut axum::body::BodyDataStream) {
    let mut left = DRAIN_BYTES;
    let read = async {
        while let Some(Ok(piece)) = stream.next().await {
            left = left.saturating_sub(piece.len() as u64);
            if left == 0 {
                break;
            }
        }
    };
    // Whether it was read whole or not, the request is refused.
    let _ = tokio::time::timeout(DRAIN, read).await;
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

pub(super) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => ApiError::Body { detail: error.to_string() },
        _ => ApiError::Json { detail: error.to_string() },
    })
}
