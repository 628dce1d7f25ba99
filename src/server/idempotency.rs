//! `Idempotency-Key`: a request that is repeated under its key is answered as the first one was, and not carried out again.
//!
//! Kept in memory, bounded, for this server process: it covers clients that repeat after a broken connection, not a
//! restart. Failures are not kept, so repeating one tries again. A repetition that comes while the first is still going
//! waits for it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use sha2::{Digest, Sha256};

use super::auth::TokenHash;
use super::error::ApiError;

const KEPT: usize = 10_000;
/// Bytes of all answers that are kept.
const KEPT_BYTES: usize = 32 << 20;
const KEY_BYTES_MAX: usize = 200;

/// Whose request, which, and to where.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    token: Option<TokenHash>,
    key: String,
    /// Method, path and query.
    route: String,
}

impl Key {
    /// The request's key, where it has one.
    pub fn of(headers: &HeaderMap, token: Option<TokenHash>, route: String) -> Result<Option<Self>, ApiError> {
        let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
        let key = value.to_str().ok().filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()));
        match key {
            Some(key) => Ok(Some(Self { token, key: key.to_owned(), route })),
            None => Err(ApiError::Header { name: "idempotency-key", detail: format!("it must be 1 to {KEY_BYTES_MAX} visible characters") }),
        }
    }
}

/// An answer as it can be given again. The headers are those that handlers set; the others are made anew.
#[derive(Clone)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(axum::http::HeaderName, HeaderValue)>,
    pub body: Bytes,
}

impl Answer {
    pub fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response
    }
}

/// The first request's body, and its answer once there is one. Locked while it is being carried out.
#[derive(Default)]
struct Slot {
    answered: tokio::sync::Mutex<Option<([u8; 32], Answer)>>,
}

#[derive(Default)]
pub(super) struct Idempotency {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    slots: HashMap<Key, Arc<Slot>>,
    /// Answered keys with the size of their answers, oldest first.
    order: VecDeque<(Key, usize)>,
    bytes: usize,
}

impl Idempotency {
    /// The answer of the first request under `key`, else that of `carry_out`.
    pub async fn once(&self, key: Key, body: &[u8], carry_out: impl Future<Output = Result<Answer, ApiError>>) -> Result<Answer, ApiError> {
        let hash: [u8; 32] = Sha256::digest(body).into();
        let slot = self.kept().slots.entry(key.clone()).or_default().clone();
        let mut answered = slot.answered.lock().await;
        match &*answered {
            Some((first, answer)) if *first == hash => Ok(answer.clone()),
            Some(_) => Err(ApiError::KeyReused),
            None => match carry_out.await {
                Ok(answer) => {
                    *answered = Some((hash, answer.clone()));
                    self.kept().keep(key, answer.body.len());
                    Ok(answer)
                }
                Err(error) => {
                    self.kept().slots.remove(&key);
                    Err(error)
                }
            },
        }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep(&mut self, key: Key, size: usize) {
        self.order.push_back((key, size));
        self.bytes += size;
        while self.order.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some((oldest, size)) = self.order.pop_front() else { return };
            self.bytes -= size;
            self.slots.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: &str) -> Key {
        Key { token: None, key: key.to_owned(), route: "POST /x".to_owned() }
    }

    async fn answer(body: &'static str) -> Result<Answer, ApiError> {
        Ok(Answer { status: StatusCode::OK, headers: Vec::new(), body: Bytes::from_static(body.as_bytes()) })
    }

    #[tokio::test]
    async fn a_repeated_request_gets_the_first_answer() {
        let kept = Idempotency::default();
        assert_eq!(kept.once(key("a"), b"body", answer("first")).await.unwrap().body, "first");
        assert_eq!(kept.once(key("a"), b"body", answer("second")).await.unwrap().body, "first");
        assert!(matches!(kept.once(key("a"), b"other", answer("third")).await, Err(ApiError::KeyReused)));
    }

    #[tokio::test]
    async fn a_failure_is_not_kept() {
        let kept = Idempotency::default();
        assert!(kept.once(key("a"), b"", async { Err(ApiError::NotReady) }).await.is_err());
        assert_eq!(kept.once(key("a"), b"", answer("second")).await.unwrap().body, "second");
    }

    #[tokio::test]
    async fn at_most_so_many_answers_are_kept() {
        let kept = Idempotency::default();
        for i in 0..=KEPT {
            kept.once(key(&i.to_string()), b"", answer("x")).await.unwrap();
        }
        assert_eq!(kept.kept().slots.len(), KEPT);
        assert_eq!(kept.once(key("0"), b"", answer("again")).await.unwrap().body, "again");
    }
}
