//! The client against a real server: the happy path of every verb, and its errors.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use bellcage::client::{Client, ClientError, ClientErrorKind};
use bellcage::wire::{
    AddJob, CancelFound, EventKind, EventQuery, FiringQuery, JobId, JobQuery, JobSpec, OnConflict, Outcome, Page, PauseJob, PushQuery, ResumeJob, RunQuery,
    RunState, TriggerRun,
};
use serde_json::json;

use super::{HELLO, Server, TOKEN};

fn client(server: &Server) -> Client {
    Client::new(&server.address.to_string(), Some(TOKEN.to_owned())).unwrap()
}

fn id(id: &str) -> JobId {
    id.parse().unwrap()
}

fn spec(args: &[&str]) -> JobSpec {
    serde_json::from_value(json!({ "component": "hello", "trigger": { "every": "1h" }, "args": args })).unwrap()
}

#[test]
fn components_are_pushed_listed_shown_and_removed() {
    let server = Server::start();
    let client = client(&server);
    let name = "hello".parse().unwrap();
    assert_eq!(client.health().unwrap().status, "ready");
    assert!(client.push_component(&name, HELLO, PushQuery::default()).unwrap().new);
    assert_eq!(client.components(&Page::default()).unwrap().components.len(), 1);
    let shown = client.component(&name, Some("1"), false).unwrap();
    assert_eq!((shown.component.version, shown.versions.len()), (1, 1));
    assert_eq!(client.remove_component(&name, None).unwrap().removed, 1);
}

#[test]
fn jobs_are_added_replaced_listed_paused_resumed_and_removed() {
    let server = Server::with_hello();
    let client = client(&server);
    let job = id("hourly");
    let added = client.add_job(&job, &spec(&[]), OnConflict::Error).unwrap();
    assert_eq!((added.job.revision, added.fires.len()), (1, 3));
    assert_eq!(client.put_job(&job, &spec(&["say", "x"]), Some(1)).unwrap().job.revision, 2);
    let stale = client.put_job(&job, &spec(&[]), Some(1)).unwrap_err();
    assert_eq!((stale.kind(), stale.code()), (ClientErrorKind::Conflict, "job-changed"));
    assert_eq!(client.job(&job).unwrap().trigger_text.as_deref(), Some("every 1h"));
    assert_eq!(client.next_fires(&job, None, 2).unwrap().fires.len(), 2);
    let query = JobQuery { labels: vec![("no".to_owned(), "such & label".to_owned())], ..JobQuery::default() };
    assert_eq!(client.jobs(&query).unwrap().jobs, []);
    assert!(client.pause_job(&job, &PauseJob { reason: Some("why".to_owned()), ..PauseJob::default() }).unwrap().paused);
    assert!(!client.resume_job(&job, ResumeJob::default()).unwrap().paused);
    let applied = client.apply(vec![AddJob { id: job.clone(), spec: spec(&[]) }], OnConflict::Replace).unwrap();
    assert_eq!(applied.jobs[0].added.as_ref().unwrap().id, job);
    assert_eq!(client.remove_job(&job, false).unwrap().cancelled, []);
    assert_eq!(client.job(&job).unwrap_err().kind(), ClientErrorKind::NotFound);
}

#[test]
fn any_number_of_definitions_is_applied_and_told_of_in_the_order_given() {
    let server = Server::with_hello();
    let mut follower = spec(&[]);
    follower.trigger = serde_json::from_value(json!({ "after": ["job-1100"] })).unwrap();
    let mut jobs = vec![AddJob { id: id("follower"), spec: follower }];
    jobs.extend((0..1_101).map(|n| AddJob { id: id(&format!("job-{n}")), spec: spec(&[]) }));
    // Together more than one body may have.
    let large = "x".repeat(200 << 10);
    jobs.extend((0..7).map(|n| AddJob { id: id(&format!("large-{n}")), spec: spec(&["say", &large]) }));
    jobs.push(AddJob { id: id("job-0"), spec: spec(&["say", "again"]) });
    let applied = client(&server).apply_all(&jobs, OnConflict::Keep).unwrap();
    assert!(applied.jobs.iter().map(|job| &*job.id).eq(jobs.iter().map(|job| job.id.as_str())));
    assert_eq!(applied.jobs.iter().filter_map(|job| job.problem.as_ref()).collect::<Vec<_>>(), Vec::<&bellcage::wire::Problem>::new());
}

#[test]
fn runs_are_made_waited_for_listed_read_and_cancelled() {
    let server = Server::with_hello();
    let client = client(&server);
    let job = id("hourly");
    client.add_job(&job, &spec(&["log", "written", "say", "x"]), OnConflict::Error).unwrap();
    let run = client.trigger(&job, &TriggerRun::default()).unwrap().run;
    let ended = client.wait_run(run.id, None).unwrap();
    assert_eq!((ended.run.outcome, ended.attempts[0].result.as_ref()), (Some(Outcome::Succeeded), Some(&json!("x"))));
    assert_eq!(client.run(run.id).unwrap(), ended);
    let log = client.run_log(run.id, None).unwrap();
    assert_eq!((log.attempt, log.dropped, log.bytes.as_slice()), (1, 0, b"written".as_slice()));
    let query = RunQuery { job: Some(job.clone()), state: Some(RunState::Ended), outcome: Some(Outcome::Succeeded), ..RunQuery::default() };
    assert_eq!(client.runs(&query).unwrap().runs, [ended.run]);
    let held = client.trigger(&job, &TriggerRun { args: Some(json!(["hold"])), ..TriggerRun::default() }).unwrap().run;
    assert_ne!(client.wait_run(held.id, Some(Duration::from_millis(20))).unwrap().run.state, RunState::Ended);
    server.in_state(&held.id.to_string(), "running");
    assert_eq!(client.cancel_run(held.id, Some("enough")).unwrap().found, CancelFound::Requested);
    assert_eq!(client.wait_run(held.id, None).unwrap().run.outcome, Some(Outcome::Cancelled));
    assert_eq!(client.firings(&FiringQuery { job: Some(job), ..FiringQuery::default() }).unwrap().firings, []);
}

#[test]
fn a_refused_job_carries_code_hint_and_place() {
    let server = Server::with_hello();
    let mut spec = spec(&[]);
    spec.trigger = bellcage::wire::TriggerSpec::cron("61 * * * *", None);
    let error = client(&server).add_job(&id("bad"), &spec, OnConflict::Error).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ClientErrorKind::Invalid, "bad-cron"));
    let span = error.span().unwrap();
    assert_eq!((span.source.as_str(), span.start, span.end), ("61 * * * *", 0, 2));
}

#[test]
fn a_wrong_token_is_denied_also_where_much_is_sent() {
    let server = Server::start();
    let client = Client::new(&server.address.to_string(), Some("wrong".to_owned())).unwrap();
    assert_eq!(client.jobs(&JobQuery::default()).unwrap_err().kind(), ClientErrorKind::Denied);
    let error = client.push_component(&"big".parse().unwrap(), &vec![0; 20 << 20], PushQuery::default()).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ClientErrorKind::Denied, "token-wrong"));
}

#[test]
fn a_component_over_the_cap_is_refused_by_the_server() {
    let server = Server::with(|config| config.component_max = 1 << 20);
    let error = client(&server).push_component(&"big".parse().unwrap(), &vec![0; 40 << 20], PushQuery::default()).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ClientErrorKind::Invalid, "body-too-large"));
}

#[test]
fn where_no_server_is_the_error_names_the_address_and_how_to_start_one() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = Client::new(&free.to_string(), None).unwrap().health().unwrap_err();
    assert_eq!(error.kind(), ClientErrorKind::Unreachable);
    assert_eq!(error.to_string(), format!("no server answers at http://{free}: connection refused"));
    assert!(error.hint().unwrap().contains("bellcage dev"));
}

/// Answers each connection with these bytes, and closes it.
fn impostor(answers: Vec<&'static [u8]>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4_096]);
            let _ = stream.write_all(answer);
        }
    });
    address.to_string()
}

#[test]
fn another_kind_of_server_is_recognised() {
    for answer in [
        &b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
    ] {
        let error = Client::new(&impostor(vec![answer]), None).unwrap().jobs(&JobQuery::default()).unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
    }
}

#[test]
fn a_broken_connection_is_not_taken_for_an_answer() {
    let error = Client::new(&impostor(vec![b""]), None).unwrap().job(&id("x")).unwrap_err();
    assert!(matches!(error, ClientError::Broken { .. }), "{error:?}");
}

#[test]
fn a_run_whose_answer_was_lost_is_asked_for_again_under_the_same_key() {
    let run = json!({
        "id": "01932f6c-7d1e-7cc3-a1f0-5b8e6c1d2e3f", "tenant": "default", "job": "x", "component": "hello", "cause": "on-demand", "state": "queued",
        "scheduled_at": "2026-01-01T00:00:00Z", "start_at": "2026-01-01T00:00:00Z", "attempt": 0, "lost_attempts": 0, "priority": 0,
        "created_at": "2026-01-01T00:00:00Z", "a_field_of_a_later_version": 1
    });
    let body = run.to_string();
    let answer = format!("HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let client = Client::new(&impostor(vec![b"", answer.leak().as_bytes()]), None).unwrap();
    assert_eq!(client.trigger(&id("x"), &TriggerRun::default()).unwrap().run.job, id("x"));
}

#[test]
fn events_are_followed_and_resumed() {
    let server = Server::with_hello();
    let client = client(&server);
    let job = id("hourly");
    let mut events = client.events(EventQuery { job: Some(job.clone()), after: None }).unwrap();
    client.add_job(&job, &spec(&[]), OnConflict::Error).unwrap();
    let added = events.next().unwrap().unwrap();
    assert_eq!(added.kind, EventKind::JobAdded { job: job.clone() });
    drop(events);
    client.remove_job(&job, false).unwrap();
    let mut events = client.events(EventQuery { job: None, after: added.id }).unwrap();
    assert_eq!(events.next().unwrap().unwrap().kind, EventKind::JobRemoved { job });
}

#[test]
fn a_stream_goes_on_after_a_broken_connection() {
    const FIRST: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nid: a-1\ndata: {\"id\":\"a-1\",\"at\":\"2026-01-01T00:00:00Z\",\"tenant\":\"default\",\"type\":\"job-added\",\"job\":\"one\"}\n\ndata: {\"half";
    const SECOND: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {\"id\":\"a-2\",\"at\":\"2026-01-01T00:00:00Z\",\"tenant\":\"default\",\"type\":\"news-of-later\"}\n\ndata: {\"id\":\"a-3\",\"at\":\"2026-01-01T00:00:00Z\",\"tenant\":\"default\",\"type\":\"job-added\",\"job\":\"two\"}\n\n";
    let client = Client::new(&impostor(vec![FIRST, SECOND]), None).unwrap();
    let mut events = client.events(EventQuery::default()).unwrap();
    assert_eq!(events.next().unwrap().unwrap().kind, EventKind::JobAdded { job: id("one") });
    assert_eq!(events.next().unwrap().unwrap().kind, EventKind::JobAdded { job: id("two") });
}
