//! Events: live, replayed, filtered, and their end.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;

use serde_json::{Value, json};

use super::Server;

/// The next event of a stream, with its SSE id and name; `None` where the stream has ended.
pub fn next(stream: &mut BufReader<TcpStream>) -> Option<(String, String, Value)> {
    let (mut id, mut name, mut data) = (String::new(), String::new(), Value::Null);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).unwrap() == 0 || line == "0\r\n" {
            return None;
        }
        // Between the fields stand the sizes of chunks and the signs of life.
        match line.trim_end().split_once(": ") {
            Some(("id", value)) => id = value.to_owned(),
            Some(("event", value)) => name = value.to_owned(),
            Some(("data", value)) => data = serde_json::from_str(value).unwrap(),
            _ if line == "\n" && !data.is_null() => return Some((id, name, data)),
            _ => {}
        }
    }
}

/// The next event of this type.
pub fn until(stream: &mut BufReader<TcpStream>, kind: &str) -> Value {
    loop {
        let (id, name, data) = next(stream).unwrap_or_else(|| panic!("the stream ended before {kind}"));
        assert_eq!(data["type"], name);
        if name == kind {
            assert_eq!(data["id"], id);
            return data;
        }
    }
}

#[test]
fn events_come_as_they_happen() {
    let server = Server::with_hello();
    let (head, mut stream) = server.request("GET", "/api/v1/events").open();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    server.manual_job("greet", &["fail", "3"]);
    assert_eq!(until(&mut stream, "job-added")["job"], "greet");
    let run = server.trigger("greet");
    assert_eq!(until(&mut stream, "run-started")["run"], run.as_str());
    let ended = until(&mut stream, "run-ended");
    assert_eq!((&ended["outcome"], &ended["message"], &ended["receipt"]["fuel_used"]), (&json!("failed"), &json!("it failed"), &json!(1_000)));
}

#[test]
fn events_of_one_job_can_be_asked_for() {
    let server = Server::with_hello();
    let (_, mut stream) = server.request("GET", "/api/v1/events?job=b").open();
    server.manual_job("a", &[]);
    server.manual_job("b", &[]);
    let (_, name, data) = next(&mut stream).unwrap();
    assert_eq!((name.as_str(), &data["job"]), ("job-added", &json!("b")));
}

#[test]
fn what_came_after_an_event_is_replayed() {
    let server = Server::with_hello();
    let (_, mut stream) = server.request("GET", "/api/v1/events").open();
    server.manual_job("a", &[]);
    let (id, ..) = next(&mut stream).unwrap();
    drop(stream);
    server.manual_job("b", &[]);
    for request in [server.request("GET", "/api/v1/events").header("last-event-id", &id), server.request("GET", &format!("/api/v1/events?after={id}"))] {
        let (_, mut stream) = request.open();
        let (_, name, data) = next(&mut stream).unwrap();
        assert_eq!((name.as_str(), &data["job"]), ("job-added", &json!("b")));
    }
}

#[test]
fn an_event_of_an_earlier_process_is_answered_with_a_gap_and_all_that_is_kept() {
    let server = Server::with_hello();
    let (_, mut stream) = server.request("GET", "/api/v1/events").header("last-event-id", "5e-400").open();
    let (id, name, data) = next(&mut stream).unwrap();
    assert_eq!((id.as_str(), name.as_str(), &data["missed"]), ("", "gap", &json!(null)));
    assert_eq!(until(&mut stream, "component-pushed")["component"], "hello");
}

#[test]
fn events_that_are_not_kept_any_more_are_a_gap_with_their_number() {
    let server = Server::with_hello();
    server.manual_job("a", &[]);
    let (_, mut stream) = server.request("GET", "/api/v1/events").open();
    server.post("/api/v1/jobs/a/pause", &json!({})).expect(200);
    let (first, ..) = next(&mut stream).unwrap();
    for _ in 0..1_030 {
        server.post("/api/v1/jobs/a/pause", &json!({})).expect(200);
    }
    let (_, mut stream) = server.request("GET", "/api/v1/events").header("last-event-id", &first).open();
    let (_, name, data) = next(&mut stream).unwrap();
    assert_eq!((name.as_str(), &data["missed"]), ("gap", &json!(6)));
    assert_eq!(next(&mut stream).unwrap().1, "job-paused");
}

#[test]
fn what_is_not_an_events_id_is_refused() {
    let server = Server::start();
    for id in ["7", "x", "a-b", ""] {
        server.request("GET", "/api/v1/events").header("last-event-id", id).send().problem(400, "bad-header");
    }
    server.get("/api/v1/events?jobs=x").problem(400, "unknown-parameter");
}

#[test]
fn at_most_so_many_subscribers_are_served() {
    let server = Server::with(|config| config.subscribers_max = 1);
    let (head, stream) = server.request("GET", "/api/v1/events").open();
    assert_eq!(head.status, 200);
    let refused = server.get("/api/v1/events");
    assert_eq!(refused.header("retry-after"), Some("1"));
    refused.problem(503, "busy");
    drop(stream);
    // The place is free again once the server has noticed.
    for _ in 0..1_000 {
        if server.request("GET", "/api/v1/events").open().0.status == 200 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the place of a subscriber that went away stays taken");
}

#[test]
fn a_quiet_stream_has_signs_of_life() {
    let server = Server::with(|config| {
        config.heartbeat = std::time::Duration::from_millis(20);
        // They also keep the connection past its deadlines.
        config.head_timeout = std::time::Duration::from_millis(50);
        config.write_timeout = std::time::Duration::from_millis(100);
    });
    let (_, stream) = server.request("GET", "/api/v1/events").open();
    let beats = stream.lines().map(Result::unwrap).filter(|line| line.starts_with(':')).take(20).count();
    assert_eq!(beats, 20);
}

#[test]
fn streams_end_at_shutdown() {
    let mut server = Server::start();
    let (_, mut stream) = server.request("GET", "/api/v1/events").open();
    server.stop();
    assert_eq!(next(&mut stream), None);
    server.stopped();
}
