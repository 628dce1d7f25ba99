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
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::AttemptRequest;
use crate::job::{JobKey, RunId};

/// What an attempt may reach outside of its sandbox. Nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    pub kv: Option<Space>,
}

/// A job's key-value namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    pub job: JobKey,
    /// Bytes of keys and values together.
    pub quota: u64,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Asker {
    pub run: RunId,
    pub attempt: u32,
    /// As the request named it.
    pub job: String,
    pub reach: Reach,
    /// The attempt is ended then, if not before.
    pub deadline: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    KeyValue(KeyValueCall),
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
    Keys { keys: Vec<String>, next: Option<u64> },
    /// To `Add`.
    Number(u64),
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
    /// A bound of what was granted.
    #[error("{0}")]
    Bound(String),
    /// No fault of the guest's.
    #[error("{0}")]
    Failed(String),
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

impl Reach {
    pub fn is_empty(&self) -> bool {
        self.kv.is_none()
    }

    /// Whether it may be asked at all.
    pub(super) fn check(&self, call: &Call) -> Result<(), Refusal> {
        let granted = match call {
            Call::KeyValue(_) => self.kv.is_some(),
        };
        if granted { Ok(()) } else { Err(Refusal::NotGranted) }
    }

    /// Questions that an attempt may have under way at once: a guest waits for the answer of each.
    pub(super) fn at_once(&self) -> usize {
        usize::from(self.kv.is_some())
    }

    /// Bytes of the largest question that a guest may ask.
    pub(super) fn question_max(&self) -> u64 {
        self.kv.as_ref().map_or(0, |space| space.quota.saturating_add(QUESTION_EXTRA))
    }
}

/// Of a question besides its value.
const QUESTION_EXTRA: u64 = 64 << 10;

impl Asker {
    pub(super) fn new(request: &AttemptRequest, deadline: Instant) -> Self {
        let AttemptRequest { run, attempt, job, reach, .. } = request;
        Self { run: *run, attempt: *attempt, job: job.clone(), reach: reach.clone(), deadline }
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
        asker.reach.check(&call)?;
        let answered = AssertUnwindSafe(self.0.ask(asker, call)).catch_unwind().await;
        answered.unwrap_or_else(|_| {
            tracing::error!(run = %asker.run, "what answers a guest's questions panicked");
            Err(Refusal::Failed("a fault in bellcage itself".to_owned()))
        })
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
#[derive(Clone, Default)]
pub(super) struct Outwards {
    pub reach: Reach,
    pub way: Option<Arc<dyn Way>>,
}

impl Outwards {
    pub async fn ask(&self, call: Call) -> Result<Answer, Refusal> {
        self.reach.check(&call)?;
        match &self.way {
            Some(way) => way.ask(call).await,
            None => Err(Refusal::NotGranted),
        }
    }
}
