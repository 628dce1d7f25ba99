//! The way out of the sandbox: what a guest may ask that something outside of its executor answers.
//!
//! ```text
//! guest ─► host function ─► Way ─────────────────────────────► Gate ─► Outside
//!          (checks)         in the pool: straight to the gate   (checks,    (a store, the network:
//!                           in a worker: over the socket         bounds)     not the executor's business)
//! ```
//! Questions and answers are plain serialisable values, and every one passes the gate: what would be recorded, to be given
//! back later, would be recorded there. The gate goes by the request that the executor was given, and is never in a process
//! that runs guests under confinement: what a worker says of its grants counts for nothing.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use jiff::Timestamp;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::AttemptRequest;
use crate::component::as_shown;
use crate::job::{Grants, JobKey, Limits, Origin, RunId, Target, TenantId, bytes};

/// What an attempt may reach outside of its sandbox. Nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    pub kv: Option<Space>,
    pub http: Option<Network>,
}

/// Where requests may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Whose requests they are: of all that are made at once, one tenant has its share.
    pub tenant: TenantId,
    pub origins: Vec<Origin>,
}

/// A job's key-value namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    pub job: JobKey,
    /// When the job was added: one of the same id that came later has another.
    pub since: Timestamp,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Asker {
    pub run: RunId,
    pub attempt: u32,
    /// As the request named it.
    pub job: String,
    pub reach: Reach,
    pub limits: Limits,
    /// The attempt is ended then, if not before.
    pub deadline: Instant,
    /// The log was told that something was denied to this attempt.
    told: Arc<AtomicBool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    KeyValue(KeyValueCall),
    Http(Box<HttpRequest>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyValueCall {
    Get {
        key: String,
    },
    Set {
        key: String,
        value: Raw,
    },
    Delete {
        key: String,
    },
    /// Keys after where an earlier answer said to go on.
    List {
        after: Option<u64>,
    },
    /// To a number in decimal digits.
    Add {
        key: String,
        delta: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To `Get`.
    Value(Option<Raw>),
    /// To `Set` and `Delete`.
    Done,
    /// To `List`.
    Keys {
        keys: Vec<String>,
        next: Option<u64>,
    },
    /// To `Add`.
    Number(u64),
    Response(Box<HttpResponse>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// Host and port.
    pub authority: String,
    /// With the query.
    pub path: String,
    pub headers: Vec<(String, Raw)>,
    pub body: Raw,
    /// Bounds in time besides the attempt's own, as the guest set them.
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub between_bytes: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    pub status: u16,
    pub headers: Vec<(String, Raw)>,
    pub body: Raw,
}

impl KeyValueCall {
    /// Of its key and its value.
    fn bytes(&self) -> usize {
        match self {
            Self::Get { key } | Self::Delete { key } | Self::Add { key, .. } => key.len(),
            Self::Set { key, value } => key.len() + value.0.len(),
            Self::List { .. } => 0,
        }
    }
}

impl HttpRequest {
    /// Of all but its body, with what tells the headers apart.
    fn head_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.0.len() + 8).sum();
        self.method.len() + self.scheme.len() + self.authority.len() + self.path.len() + headers
    }

    /// `None` where no request can go there.
    pub fn target(&self) -> Option<Target> {
        Target::parse(&self.scheme, &self.authority)
    }
}

/// Bytes, which travel in one piece.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Raw(pub Vec<u8>);

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Pieces;

        impl<'de> Visitor<'de> for Pieces {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Raw, E> {
                Ok(Raw(bytes.to_vec()))
            }

            /// As formats without bytes have them.
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(Raw(bytes))
            }
        }
        d.deserialize_bytes(Pieces)
    }
}

/// Why a question has no answer. What the guest is told of it is the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum Refusal {
    #[error("the job was not granted this")]
    NotGranted,
    /// Not of a kind that is ever done.
    #[error("{0}")]
    Bound(String),
    #[error("the namespace would take {asked} bytes, more than limits.kv_bytes = {} allows", bytes::format(*max))]
    KvBytes { asked: u64, max: u64 },
    #[error("the namespace has as many keys as limits.kv_keys = {max} allows")]
    KvKeys { max: u64 },
    /// No fault of the guest's.
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Http(#[from] HttpRefusal),
}

/// Why a request has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum HttpRefusal {
    #[error("the job was not granted requests to {target}")]
    NotGranted { target: String },
    #[error("{target} is at {address}, which is not on the public internet, and no grant names that address")]
    Address { target: String, address: String },
    #[error("{target} is at {address}, which is not on the public internet, and this server connects to no such address (http.private = false)")]
    PrivateAddress { target: String, address: String },
    /// Of all attempts together, or of the tenant's.
    #[error("too many requests at once")]
    TooMany,
    #[error("the attempt has more requests at once than limits.http_requests = {max} allows")]
    Requests { max: u64 },
    #[error("the request's body is larger than limits.http_body = {} allows", bytes::format(*max))]
    RequestBody { max: u64 },
    /// `asked`: the length that the response says it has.
    #[error("the response's body is larger than limits.http_body = {} allows", bytes::format(*max))]
    ResponseBody { asked: Option<u64>, max: u64 },
    #[error("the request has more or larger headers than are sent")]
    RequestHeaders,
    #[error("the response has more or larger headers than are taken")]
    ResponseHeaders,
    #[error("requests with the method {method} are not made")]
    Method { method: String },
    #[error("there is no such host")]
    NoSuchHost,
    #[error("the connection was refused")]
    Refused,
    #[error("no connection was made in time")]
    ConnectTimeout,
    #[error("no response came in time")]
    ResponseTimeout,
    #[error("the connection ended before the response did")]
    Incomplete,
    #[error("TLS failed: {why}")]
    Tls { why: String },
    #[error("the exchange failed: {why}")]
    Protocol { why: String },
}

impl HttpRefusal {
    /// Whether it was the job's grant that forbade it.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::NotGranted { .. } | Self::Address { .. } | Self::PrivateAddress { .. })
    }
}

/// Answers what guests ask of the world outside. The grant was checked; its bounds (a quota) are to be kept here.
/// The question is dropped when the attempt ends, and nobody may wait for the answer then.
#[async_trait]
pub trait Outside: Send + Sync + 'static {
    async fn ask(&self, asker: &Asker, call: Call) -> Result<Answer, Refusal>;
}

/// There is nothing outside: every question is refused.
pub struct Nothing;

#[async_trait]
impl Outside for Nothing {
    async fn ask(&self, _: &Asker, _: Call) -> Result<Answer, Refusal> {
        Err(Refusal::Failed("this program gives its guests nothing to reach".to_owned()))
    }
}

impl Refusal {
    fn is_denied(&self) -> bool {
        match self {
            Self::NotGranted => true,
            Self::Http(refusal) => refusal.is_denied(),
            _ => false,
        }
    }

    /// Whether a limit of the job's refused it, so that a higher one would have let it be.
    fn is_of_a_limit(&self) -> bool {
        use HttpRefusal::{RequestBody, Requests, ResponseBody};
        matches!(self, Self::KvBytes { .. } | Self::KvKeys { .. } | Self::Http(Requests { .. } | RequestBody { .. } | ResponseBody { .. }))
    }
}

impl Call {
    /// Whether an answer to this shows that the guest has coped with that refusal.
    fn makes_up_for(&self, refused: &Refusal) -> bool {
        match self {
            Self::Http(_) => matches!(refused, Refusal::Http(_)),
            Self::KeyValue(call) => !matches!(refused, Refusal::Http(_)) && !matches!(call, KeyValueCall::Get { .. } | KeyValueCall::List { .. }),
        }
    }
}

impl Reach {
    /// What these grants give the job that was added `since` then.
    pub fn of(grants: &Grants, job: &JobKey, since: Timestamp) -> Self {
        let network = || Network { tenant: job.tenant.clone(), origins: grants.http.clone() };
        Self { kv: grants.kv.then(|| Space { job: job.clone(), since }), http: (!grants.http.is_empty()).then(network) }
    }

    pub fn is_empty(&self) -> bool {
        self.kv.is_none() && self.http.is_none()
    }

    /// Whether it may be asked at all. None may that is above `question_max`, which ends a worker: with it what others run there.
    pub(super) fn check(&self, call: &Call, limits: &Limits) -> Result<(), Refusal> {
        match call {
            Call::KeyValue(call) => match &self.kv {
                Some(_) if call.bytes() as u64 > limits.kv_bytes.saturating_add(TEXT_MAX) => {
                    Err(Refusal::KvBytes { asked: call.bytes() as u64, max: limits.kv_bytes })
                }
                Some(_) => Ok(()),
                None => Err(Refusal::NotGranted),
            },
            Call::Http(request) if request.head_bytes() as u64 > TEXT_MAX => Err(HttpRefusal::RequestHeaders.into()),
            Call::Http(request) => {
                let target = request.target();
                let origins = self.http.iter().flat_map(|network| &network.origins);
                match target {
                    Some(target) if origins.clone().any(|origin| origin.allows(&target)) => Ok(()),
                    Some(target) => Err(HttpRefusal::NotGranted { target: target.to_string() }.into()),
                    None => Err(HttpRefusal::NotGranted { target: as_shown(&format!("{}://{}", request.scheme, request.authority), TARGET_SHOWN_MAX) }.into()),
                }
            }
        }
    }

    /// Questions that an attempt may have under way at once: a guest waits for the answer of each.
    pub(super) fn at_once(&self, limits: &Limits) -> usize {
        usize::from(self.kv.is_some()) + self.http.as_ref().map_or(0, |_| usize::try_from(limits.http_requests).unwrap_or(usize::MAX))
    }

    /// Bytes of the largest question that a guest may ask.
    pub(super) fn question_max(&self, limits: &Limits) -> u64 {
        let value = self.kv.as_ref().map_or(0, |_| limits.kv_bytes);
        let body = self.http.as_ref().map_or(0, |_| limits.http_body);
        value.max(body).saturating_add(QUESTION_EXTRA)
    }
}

/// Of a question besides its value or body.
const QUESTION_EXTRA: u64 = 512 << 10;
/// What of that a guest may choose: keys, headers. The rest is for the form that it has on its way.
const TEXT_MAX: u64 = 256 << 10;
/// Characters of a target that cannot be one.
const TARGET_SHOWN_MAX: usize = 300;

impl Asker {
    pub(super) fn new(request: &AttemptRequest, deadline: Instant) -> Self {
        let AttemptRequest { run, attempt, job, reach, limits, .. } = request;
        Self { run: *run, attempt: *attempt, job: job.clone(), reach: reach.clone(), limits: limits.clone(), deadline, told: Arc::default() }
    }
}

/// The one place that every question passes on its way to what answers it.
#[derive(Clone)]
pub(super) struct Gate(Arc<dyn Outside>);

impl Gate {
    pub fn new(outside: Arc<dyn Outside>) -> Self {
        Self(outside)
    }

    pub async fn ask(&self, asker: &Asker, call: Call) -> Result<Answer, Refusal> {
        let answered = match asker.reach.check(&call, &asker.limits) {
            Ok(()) => AssertUnwindSafe(self.0.ask(asker, call)).catch_unwind().await.unwrap_or_else(|_| {
                tracing::error!(run = %asker.run, "what answers a guest's questions panicked");
                Err(Refusal::Failed("a fault in bellcage itself".to_owned()))
            }),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &answered
            && refusal.is_denied()
            && !asker.told.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(job = asker.job, run = %asker.run, "a guest asked for what it may not: {refusal}");
        }
        answered
    }
}

/// How one attempt's questions get to the gate.
#[async_trait]
pub(super) trait Way: Send + Sync {
    async fn ask(&self, call: Call) -> Result<Answer, Refusal>;
}

/// In the same process.
pub(super) struct Straight {
    pub gate: Gate,
    pub asker: Asker,
}

#[async_trait]
impl Way for Straight {
    async fn ask(&self, call: Call) -> Result<Answer, Refusal> {
        self.gate.ask(&self.asker, call).await
    }
}

/// A guest's side: what it may reach, and how. Without a way there is nothing that it may reach.
pub(super) struct Outwards {
    pub reach: Reach,
    pub limits: Limits,
    way: Option<Arc<dyn Way>>,
    /// The last refusal of a limit that the guest has not coped with since. Most guests are refused nothing: made when it is needed.
    refused: OnceLock<Arc<Mutex<Option<Refusal>>>>,
}

/// What the one is refused the other knows of.
impl Clone for Outwards {
    fn clone(&self) -> Self {
        let Self { reach, limits, way, .. } = self;
        Self { reach: reach.clone(), limits: limits.clone(), way: way.clone(), refused: OnceLock::from(self.refused.get_or_init(Arc::default).clone()) }
    }
}

impl Outwards {
    pub fn new(request: &AttemptRequest, way: Option<Arc<dyn Way>>) -> Self {
        Self { reach: request.reach.clone(), limits: request.limits.clone(), way, refused: OnceLock::new() }
    }

    /// Whether it may be asked at all.
    pub fn check(&self, call: &Call) -> Result<(), Refusal> {
        self.reach.check(call, &self.limits)
    }

    pub async fn ask(&self, call: Call) -> Result<Answer, Refusal> {
        let makes_up = self.refusal().is_some_and(|refused| call.makes_up_for(&refused));
        let answered = match (self.check(&call), &self.way) {
            (Err(refusal), _) => Err(refusal),
            (Ok(()), Some(way)) => way.ask(call).await,
            (Ok(()), None) => Err(Refusal::NotGranted),
        };
        match &answered {
            Ok(_) if makes_up => self.set_refusal(None),
            Ok(_) => {}
            Err(refusal) => self.remember(refusal),
        }
        answered
    }

    /// A limit may be what the guest dies of.
    pub fn remember(&self, refusal: &Refusal) {
        if refusal.is_of_a_limit() {
            self.set_refusal(Some(refusal.clone()));
        }
    }

    fn set_refusal(&self, refusal: Option<Refusal>) {
        *self.refused.get_or_init(Arc::default).lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    pub fn refusal(&self) -> Option<Refusal> {
        self.refused.get()?.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers whatever it is asked.
    struct Willing;

    #[async_trait]
    impl Outside for Willing {
        async fn ask(&self, _: &Asker, _: Call) -> Result<Answer, Refusal> {
            Ok(Answer::Done)
        }
    }

    async fn ask(reach: Reach, call: Call) -> Result<Answer, Refusal> {
        let (run, job, limits) = (RunId(uuid::Uuid::now_v7()), "guest".to_owned(), Limits::default());
        let asker = Asker { run, attempt: 1, job, reach, limits, deadline: Instant::now(), told: Arc::default() };
        Gate::new(Arc::new(Willing)).ask(&asker, call).await
    }

    fn request(url: &str) -> Call {
        let (scheme, authority) = url.split_once("://").unwrap();
        let (scheme, authority) = (scheme.to_owned(), authority.to_owned());
        Call::Http(Box::new(HttpRequest {
            method: "GET".to_owned(),
            scheme,
            authority,
            path: "/".to_owned(),
            headers: Vec::new(),
            body: Raw::default(),
            connect: None,
            first_byte: None,
            between_bytes: None,
        }))
    }

    #[tokio::test]
    async fn the_gate_checks_the_grant_whoever_says_that_it_was_checked() {
        let network = Network { tenant: TenantId::default(), origins: vec!["https://api.example.com".parse().unwrap()] };
        let reach = Reach { http: Some(network), ..Reach::default() };
        assert_eq!(ask(reach.clone(), request("https://api.example.com")).await, Ok(Answer::Done));
        for other in ["https://example.com", "http://api.example.com", "https://api.example.com:8443", "https://me@api.example.com", "gopher://api.example.com"]
        {
            let refusal = HttpRefusal::NotGranted { target: other.to_owned() };
            assert_eq!(ask(reach.clone(), request(other)).await, Err(refusal.into()), "{other}");
        }
        let get = Call::KeyValue(KeyValueCall::Get { key: "k".to_owned() });
        assert_eq!(ask(reach, get).await, Err(Refusal::NotGranted));
    }

    #[test]
    fn bytes_travel_in_compact_form_and_in_json() {
        let call = Call::KeyValue(KeyValueCall::Set { key: "k".to_owned(), value: Raw(vec![0, 255]) });
        assert_eq!(postcard_form(&call), call);
        assert_eq!(serde_json::from_str::<Call>(&serde_json::to_string(&call).unwrap()).unwrap(), call);
    }

    fn postcard_form(call: &Call) -> Call {
        postcard::from_bytes(&postcard::to_stdvec(call).unwrap()).unwrap()
    }
}
