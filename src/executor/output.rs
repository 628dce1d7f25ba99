//! What a guest writes: stdout, kept whole up to its limit, and stderr, of which head and tail are kept.
//!
//! A guest's write is copied once, into a buffer that never outgrows its limit; so a stream is always ready.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::limiter::LimitHit;
use crate::job::AttemptLog;

/// Bytes that a guest may write in one call.
const WRITE_MAX: usize = 64 << 10;

pub(super) trait Sink: Send + 'static {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LimitHit>;
}

/// Everything, or the end of the guest.
pub(super) struct WholeSink {
    bytes: Vec<u8>,
    max: usize,
}

impl WholeSink {
    pub fn new(max: u64) -> Self {
        Self { bytes: Vec::new(), max: usize::try_from(max).unwrap_or(usize::MAX) }
    }

    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

impl Sink for WholeSink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LimitHit> {
        let asked = (self.bytes.len() as u64).saturating_add(bytes.len() as u64);
        let room = self.max - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room { Err(LimitHit::Result { asked }) } else { Ok(()) }
    }
}

/// The first half of the limit and the last; what lay between is counted.
pub(super) struct EndsSink {
    head: Vec<u8>,
    head_max: usize,
    tail: VecDeque<u8>,
    tail_max: usize,
    dropped: u64,
}

impl EndsSink {
    pub fn new(max: u64) -> Self {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        Self { head: Vec::new(), head_max: max / 2, tail: VecDeque::new(), tail_max: max - max / 2, dropped: 0 }
    }

    /// A line of its own, whatever was written before.
    pub fn line(&mut self, line: &[u8]) -> Result<(), LimitHit> {
        let last = self.tail.back().or(self.head.last());
        if last.is_some_and(|last| *last != b'\n') {
            self.write(b"\n")?;
        }
        self.write(line)
    }

    pub fn take(&mut self) -> AttemptLog {
        if self.dropped == 0 {
            // Nothing is missing between the halves, so no character may be cut there either.
            self.head.extend(std::mem::take(&mut self.tail));
        }
        AttemptLog { head: std::mem::take(&mut self.head), dropped: self.dropped, tail: std::mem::take(&mut self.tail).into() }
    }
}

impl Sink for EndsSink {
    fn write(&mut self, bytes: &[u8]) -> Result<(), LimitHit> {
        let (head, rest) = bytes.split_at(bytes.len().min(self.head_max - self.head.len()));
        self.head.extend_from_slice(head);
        // Of a write longer than the whole tail, only its end could stay.
        let (skipped, rest) = rest.split_at(rest.len().saturating_sub(self.tail_max));
        let pushed_out = (self.tail.len() + rest.len()).saturating_sub(self.tail_max);
        self.tail.drain(..pushed_out);
        self.tail.extend(rest);
        self.dropped += (skipped.len() + pushed_out) as u64;
        Ok(())
    }
}

/// A stream into a sink. Clones write to the same one.
pub(super) struct Output<S>(Arc<Mutex<S>>);

impl<S> Output<S> {
    pub fn new(sink: S) -> Self {
        Self(Arc::new(Mutex::new(sink)))
    }

    pub fn sink(&self) -> MutexGuard<'_, S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Clone for Output<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Sink> IsTerminal for Output<S> {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl<S: Sink> StdoutStream for Output<S> {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl<S: Sink> Pollable for Output<S> {
    async fn ready(&mut self) {}
}

#[async_trait]
impl<S: Sink> OutputStream for Output<S> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.sink().write(&bytes).map_err(|hit| StreamError::Trap(hit.into()))
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_MAX)
    }

    /// The caller has bounded `bytes`, and nothing here ever waits.
    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write(bytes)
    }
}

impl<S: Sink> AsyncWrite for Output<S> {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(self.sink().write(bytes).map(|()| bytes.len()).map_err(std::io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_the_first_and_the_last_half_stay_and_the_rest_is_counted() {
        let text: Vec<u8> = (0..100).collect();
        for step in [1, 3, 7, 30, 100] {
            let mut sink = EndsSink::new(21);
            text.chunks(step).for_each(|chunk| sink.write(chunk).unwrap());
            assert_eq!(sink.take(), AttemptLog { head: text[..10].into(), dropped: 79, tail: text[89..].into() }, "in steps of {step}");
        }
    }

    #[test]
    fn a_log_within_its_limit_stays_whole() {
        let mut sink = EndsSink::new(10);
        sink.write(b"12345678").unwrap();
        let log = sink.take();
        assert_eq!((log.to_text().as_str(), log.dropped), ("12345678", 0));
    }

    #[test]
    fn a_line_begins_behind_what_was_left_open() {
        let mut sink = EndsSink::new(100);
        sink.line(b"INFO one\n").unwrap();
        sink.write(b"half").unwrap();
        sink.line(b"INFO two\n").unwrap();
        assert_eq!(sink.take().to_text(), "INFO one\nhalf\nINFO two\n");
    }

    #[test]
    fn a_result_past_its_limit_is_kept_up_to_it_and_stops_the_guest() {
        let mut sink = WholeSink::new(5);
        assert_eq!(sink.write(b"1234"), Ok(()));
        assert_eq!(sink.write(b"5"), Ok(()));
        assert_eq!(sink.write(b"6"), Err(LimitHit::Result { asked: 6 }));
        assert_eq!(sink.take(), b"12345");
    }
}
