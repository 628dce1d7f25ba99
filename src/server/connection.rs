//! Connections, as many as the cap allows, each with deadlines, so that clients that are slow or silent cannot use up
//! the server.
//!
//! ```text
//! opened ──head deadline──► request ──(no deadline: the handler has its own)──► answer ──head deadline──► next request
//!                                                   └─ each byte written moves the deadline on ─┘
//! ```
//! Bytes read do not move a deadline: a head that trickles in has as long as one that comes at once.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

use super::ServerConfig;

/// The wait after the system refused a connection (no descriptors left, say).
const ACCEPT_WAIT: Duration = Duration::from_millis(200);

pub(super) struct CappedListener {
    listener: TcpListener,
    slots: Arc<Semaphore>,
    head_timeout: Duration,
    write_timeout: Duration,
}

impl CappedListener {
    pub fn new(listener: TcpListener, config: &ServerConfig) -> Self {
        let slots = Arc::new(Semaphore::new(config.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
        Self { listener, slots, head_timeout: config.head_timeout, write_timeout: config.write_timeout }
    }
}

impl Listener for CappedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    /// With every slot taken, further clients wait in the system's queue.
    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let Ok(slot) = self.slots.clone().acquire_owned().await else { return std::future::pending().await };
            match self.listener.accept().await {
                Ok((io, address)) => {
                    // Without it answers may wait for the client's acknowledgement; the connection works all the same.
                    let _ = io.set_nodelay(true);
                    return (Connection::new(io, slot, self.head_timeout, self.write_timeout), address);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_WAIT).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

pub(super) struct Connection {
    io: TcpStream,
    activity: Activity,
    head_timeout: Duration,
    write_timeout: Duration,
    read_sleep: Pin<Box<Sleep>>,
    /// Set while the client reads nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    _slot: OwnedSemaphorePermit,
}

/// What a connection is doing, shared with the requests on it.
#[derive(Clone)]
pub(super) struct Activity {
    requests: Arc<AtomicUsize>,
    /// With no request being handled, the connection is closed then.
    deadline: Arc<Mutex<Instant>>,
    head_timeout: Duration,
}

/// A request being handled.
pub(super) struct Handling(Activity);

impl Activity {
    pub fn begin(&self) -> Handling {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Handling(self.clone())
    }

    fn deadline(&self) -> Instant {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn not_before(&self, deadline: Instant) {
        let mut current = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        *current = deadline.max(*current);
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        self.0.not_before(Instant::now() + self.0.head_timeout);
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, CappedListener>> for Activity {
    fn connect_info(stream: IncomingStream<'_, CappedListener>) -> Self {
        stream.io().activity.clone()
    }
}

impl Connection {
    fn new(io: TcpStream, slot: OwnedSemaphorePermit, head_timeout: Duration, write_timeout: Duration) -> Self {
        let deadline = Instant::now() + head_timeout;
        let activity = Activity { requests: Arc::default(), deadline: Arc::new(Mutex::new(deadline)), head_timeout };
        Self { io, activity, head_timeout, write_timeout, read_sleep: Box::pin(tokio::time::sleep_until(deadline)), stalled: None, _slot: slot }
    }

    /// Pending while the client may still be silent.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            // The connection is polled again when the handler has answered.
            if self.activity.requests.load(Ordering::Relaxed) > 0 {
                return Poll::Pending;
            }
            let deadline = self.activity.deadline();
            if Instant::now() >= deadline {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "no request came in time"));
            }
            self.read_sleep.as_mut().reset(deadline);
            if self.read_sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn wrote<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match result {
            Poll::Ready(result) => {
                self.stalled = None;
                self.activity.not_before(Instant::now() + self.head_timeout.max(self.write_timeout));
                Poll::Ready(result)
            }
            Poll::Pending => {
                let write_timeout = self.write_timeout;
                let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(write_timeout)));
                stalled.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")))
            }
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Ready(result) => match self.poll_silence(cx) {
                Poll::Ready(late) => Poll::Ready(Err(late)),
                Poll::Pending => Poll::Ready(result),
            },
            Poll::Pending => self.poll_silence(cx).map(Err),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(cx, result)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
