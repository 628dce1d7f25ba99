//! Following a server's events (SSE), over broken connections.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use ureq::BodyReader;
use ureq::http::Method;

use super::{Call, Client, ClientError, ClientErrorKind, Limits};
use crate::wire::{Event, EventKind, EventQuery};

/// The server sends a sign of life every 15 seconds; after this long without one the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(45);
const LINE_BYTES_MAX: u64 = 1 << 20;
/// The waits before a broken connection is tried again; past the last one the iterator ends with an error.
const RETRY_WAITS: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// Events as they happen. Ends after an error.
pub struct Events {
    client: Client,
    /// `after` moves on with each event.
    query: EventQuery,
    stream: Option<BufReader<BodyReader<'static>>>,
    /// Connections in a row that failed or gave no sign of life.
    failures: usize,
    ended: bool,
}

impl Events {
    pub(super) fn open(client: Client, query: EventQuery) -> Result<Self, ClientError> {
        let mut events = Self { client, query, stream: None, failures: 0, ended: false };
        events.connect()?;
        Ok(events)
    }

    fn connect(&mut self) -> Result<(), ClientError> {
        let mut call = Call::new(Method::GET, "/api/v1/events").header("accept", "text/event-stream");
        call.query = EventQuery { after: None, ..self.query.clone() }.query();
        if let Some(id) = &self.query.after {
            call = call.header("last-event-id", id);
        }
        let answer = self.client.transmit(&call, Limits { whole: None, read: Some(SILENCE_MAX) })?;
        let answer = self.client.accept(answer)?;
        self.stream = Some(BufReader::new(answer.into_body().into_with_config().limit(u64::MAX).reader()));
        Ok(())
    }

    /// The next event of the connection; `None` where it has ended or broken.
    fn read(&mut self) -> Option<Result<Event, ClientError>> {
        let stream = self.stream.as_mut()?;
        let mut data = String::new();
        loop {
            let line = line(stream)?;
            if let Some(text) = line.strip_prefix("data:") {
                data.push_str(text.strip_prefix(' ').unwrap_or(text));
            } else if line.is_empty() && !data.is_empty() {
                return Some(serde_json::from_str(&data).map_err(|error| self.client.foreign(&format!("an event that cannot be read ({error})"))));
            }
            // A comment is a sign of life; `id` and `event` stand in the data too.
            self.failures = 0;
        }
    }
}

/// One line without its end; `None` at the end, after a broken connection, and where it is too long.
fn line(stream: &mut impl BufRead) -> Option<String> {
    let mut line = Vec::new();
    stream.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).ok()?;
    line.pop_if(|last| *last == b'\n')?;
    line.pop_if(|last| *last == b'\r');
    String::from_utf8(line).ok()
}

impl Iterator for Events {
    type Item = Result<Event, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.read() {
                Some(Ok(event)) => {
                    if event.id.is_some() {
                        self.query.after.clone_from(&event.id);
                    }
                    if event.kind == EventKind::Unknown {
                        continue;
                    }
                    return Some(Ok(event));
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                None => self.stream = None,
            }
            let Some(wait) = RETRY_WAITS.get(self.failures) else {
                self.ended = true;
                let reason = "it was tried again and again".to_owned();
                return Some(Err(ClientError::Broken { server: self.client.server.clone(), reason }));
            };
            self.failures += 1;
            std::thread::sleep(*wait);
            match self.connect() {
                Err(error) if error.kind() != ClientErrorKind::Unreachable => {
                    self.ended = true;
                    return Some(Err(error));
                }
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_either_kind_of_line_end_and_a_half_line_is_none() {
        let mut stream = BufReader::new(&b"data: a\r\n\nhalf"[..]);
        assert_eq!(line(&mut stream).as_deref(), Some("data: a"));
        assert_eq!(line(&mut stream).as_deref(), Some(""));
        assert_eq!(line(&mut stream), None);
    }
}
