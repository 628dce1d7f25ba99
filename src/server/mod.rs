//! The HTTP server: the API under `/api/v1`, health and metrics, over HTTP/1.1.
//!
//! ```text
//! connection (cap, head and write deadlines) → gate (host, origin, token) → router → api/<noun> → Scheduler
//! ```
//! A handler parses a request, calls one verb of the scheduler and shapes the answer; it decides nothing and never
//! touches the store. The tenant is the authenticated identity's, never the path's. Status codes of failures exist in
//! `error` alone. A request that changes something is carried out to its end, also when its client has gone.

mod api;
mod auth;
mod body;
mod connection;
mod error;
mod idempotency;
mod metrics;
mod params;
mod router;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::scheduler::Scheduler;

use connection::CappedListener;
use idempotency::Idempotency;
use metrics::Metrics;

/// How the server listens, and every bound on what a client can use of it.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Port 0: any free one.
    pub listen: SocketAddr,
    /// What clients must show. `None`: the API is open, which only a loopback address allows.
    pub token: Option<String>,
    /// Names that requests may use for this server besides its own address: for a proxy in front.
    pub hosts: Vec<String>,
    /// Bytes of a pushed component.
    pub component_max: u64,
    /// Bytes of any other body.
    pub body_max: u64,
    /// Bytes of bodies being received at once, over all connections.
    pub bodies_max: u64,
    pub connections_max: usize,
    /// Subscribers of events at once.
    pub subscribers_max: usize,
    /// Requests that wait for a run's end at once.
    pub waiters_max: usize,
    /// From the opening of a connection, or the end of an answer, to the end of the next request's head.
    pub head_timeout: Duration,
    /// From the head to the end of a body; a component gets ten times as long.
    pub body_timeout: Duration,
    /// The longest that a client may read nothing of an answer.
    pub write_timeout: Duration,
    /// Between two signs of life of an event stream.
    pub heartbeat: Duration,
    /// How long requests may go on after the shutdown signal.
    pub drain: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7878)),
            token: None,
            hosts: Vec::new(),
            component_max: 32 << 20,
            body_max: 1 << 20,
            bodies_max: 256 << 20,
            connections_max: 1_024,
            subscribers_max: 128,
            waiters_max: 256,
            head_timeout: Duration::from_secs(20),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            drain: Duration::from_secs(5),
        }
    }
}

/// The shortest token: shorter ones can be guessed.
pub const TOKEN_MIN: usize = 16;

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("{listen} can be reached from other machines, and there is no token")]
    PublicWithoutToken { listen: SocketAddr },
    #[error("the token has {length} characters, fewer than {TOKEN_MIN}")]
    TokenShort { length: usize },
    #[error("the token holds characters that an HTTP header cannot carry")]
    TokenCharacters,
    #[error("{listen} cannot be listened on: {reason}")]
    Listen { listen: SocketAddr, reason: std::io::Error },
}

impl ServeError {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PublicWithoutToken { .. } => "public-without-token",
            Self::TokenShort { .. } | Self::TokenCharacters => "bad-token",
            Self::Listen { .. } => "cannot-listen",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::PublicWithoutToken { .. } => Some("set server.token, or listen on 127.0.0.1"),
            Self::TokenShort { .. } | Self::TokenCharacters => {
                Some("use 16 or more letters, digits and signs without spaces, such as the output of: openssl rand -hex 24")
            }
            Self::Listen { .. } => Some("another server may have it: choose another port with --listen, or port 0 for any free one"),
        }
    }
}

impl ServerConfig {
    /// Refuses what would be unsafe: a public address without a token, a token that can be guessed.
    pub fn validate(&self) -> Result<(), ServeError> {
        match &self.token {
            None if !self.listen.ip().is_loopback() => Err(ServeError::PublicWithoutToken { listen: self.listen }),
            None => Ok(()),
            Some(token) if !token.bytes().all(|b| b.is_ascii_graphic()) => Err(ServeError::TokenCharacters),
            Some(token) if token.len() < TOKEN_MIN => Err(ServeError::TokenShort { length: token.len() }),
            Some(_) => Ok(()),
        }
    }
}

/// A server that listens.
pub struct Serving {
    /// The address that it is bound to.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Serving {
    /// Returns when the server has ended: after the shutdown signal, and the requests that were going.
    pub async fn ended(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the server failed");
        }
    }
}

/// Listens, and serves until `shutdown` is ready. Returns as soon as connections are accepted.
/// After the signal nothing new is accepted, event streams end, and requests finish, for `drain` at most.
pub async fn serve(scheduler: Scheduler, config: ServerConfig, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<Serving, ServeError> {
    config.validate()?;
    let refuse = |reason| ServeError::Listen { listen: config.listen, reason };
    let listener = TcpListener::bind(config.listen).await.map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    let (close, closing) = watch::channel(false);
    let listener = CappedListener::new(listener, &config);
    let drain = config.drain;
    let router = router::router(Arc::new(App::new(scheduler, config, address, closing)));
    let task = tokio::spawn(async move {
        let signal = {
            let mut closed = close.subscribe();
            async move {
                // An error means that the sender is gone, and with it the server.
                let _ = closed.wait_for(|closed| *closed).await;
            }
        };
        let serving = axum::serve(listener, router).with_graceful_shutdown(signal);
        let mut serving = tokio::spawn(serving.into_future());
        shutdown.await;
        close.send_replace(true);
        if tokio::time::timeout(drain, &mut serving).await.is_err() {
            tracing::warn!("requests were still going {drain:?} after the shutdown signal; they are dropped");
            serving.abort();
        }
    });
    Ok(Serving { address, task })
}

/// What every handler shares.
struct App {
    scheduler: Scheduler,
    config: ServerConfig,
    address: SocketAddr,
    /// The token's hash.
    token: Option<auth::TokenHash>,
    /// Names this process in event ids.
    epoch: String,
    metrics: Arc<Metrics>,
    idempotency: Idempotency,
    subscribers: Arc<Semaphore>,
    waiters: Arc<Semaphore>,
    /// A permit a KiB of `bodies_max`.
    bodies: Arc<Semaphore>,
    /// True from the shutdown signal on.
    closing: watch::Receiver<bool>,
}

impl App {
    fn new(scheduler: Scheduler, config: ServerConfig, address: SocketAddr, closing: watch::Receiver<bool>) -> Self {
        let metrics = Metrics::follow(&scheduler, closing.clone());
        let permits = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            epoch: format!("{:x}", scheduler.now().as_microsecond()),
            token: config.token.as_deref().map(auth::TokenHash::of),
            metrics,
            idempotency: Idempotency::default(),
            subscribers: Arc::new(Semaphore::new(config.subscribers_max)),
            waiters: Arc::new(Semaphore::new(config.waiters_max)),
            bodies: Arc::new(Semaphore::new(permits(config.bodies_max / 1_024))),
            scheduler,
            config,
            address,
            closing,
        }
    }

    /// Ready once the shutdown signal has come.
    async fn closed(&self) {
        let mut closing = self.closing.clone();
        // An error means that the server is gone.
        let _ = closing.wait_for(|closing| *closing).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &str, token: Option<&str>) -> ServerConfig {
        ServerConfig { listen: listen.parse().unwrap(), token: token.map(str::to_owned), ..ServerConfig::default() }
    }

    #[test]
    fn a_public_address_needs_a_token() {
        for public in ["0.0.0.0:1", "[::]:1", "192.168.1.5:1"] {
            assert_eq!(config(public, None).validate().unwrap_err().code(), "public-without-token");
            assert!(config(public, Some("0123456789abcdef")).validate().is_ok());
        }
        assert!(config("127.0.0.1:1", None).validate().is_ok());
        assert!(config("[::1]:1", None).validate().is_ok());
    }

    #[test]
    fn a_token_that_is_short_or_that_no_header_can_carry_is_refused() {
        assert!(matches!(config("127.0.0.1:1", Some("short")).validate(), Err(ServeError::TokenShort { length: 5 })));
        assert!(matches!(config("127.0.0.1:1", Some("0123456789abcdef ö")).validate(), Err(ServeError::TokenCharacters)));
    }
}
