//! Runs: on demand, list, show, wait, log, cancel.

use serde_json::{Value, json};

use super::Server;

const UNKNOWN: &str = "01932f6c-7d1e-7cc3-a1f0-5b8e6c1d2e3f";

#[test]
fn a_run_on_demand_is_made_and_can_be_waited_for() {
    let server = Server::with_hello();
    server.manual_job("greet", &["say", "hi", "log", "written"]);
    let answer = server.request("POST", "/api/v1/jobs/greet/runs").send().expect(201);
    let made = answer.json();
    let id = made["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), Some(format!("/api/v1/runs/{id}").as_str()));
    assert_eq!((&made["job"], &made["cause"], &made["component"], &made["tenant"]), (&json!("greet"), &json!("on-demand"), &json!("hello"), &json!("default")));
    let run = server.ended(id);
    assert_eq!((&run["outcome"], &run["attempt"], &run["error"]), (&json!("succeeded"), &json!(1), &json!(null)));
    assert_eq!(run["receipt"]["fuel_used"], 1_000);
    assert_eq!(run["scheduled_at"], "2026-01-01T00:00:00Z");
    assert_eq!(run["attempts"][0]["result"], "hi");
    assert_eq!(run["attempts"][0]["exit_code"], 0);
    assert_eq!(run["job_now"]["last_outcome"], "succeeded");
}

#[test]
fn a_run_can_have_its_own_arguments() {
    let server = Server::with_hello();
    server.manual_job("greet", &["say", "hi"]);
    let run = server.post("/api/v1/jobs/greet/runs", &json!({ "args": ["say", "ho"] })).expect(201).json();
    assert_eq!(run["args"], json!(["say", "ho"]));
    assert_eq!(server.ended(run["id"].as_str().unwrap())["attempts"][0]["result"], "ho");
    server.post("/api/v1/jobs/greet/runs", &json!({ "args": 3 })).problem(400, "bad-job");
    server.post("/api/v1/jobs/greet/runs", &json!({ "arg": [] })).problem(400, "bad-body");
}

#[test]
fn a_run_that_was_asked_for_twice_under_one_key_is_one() {
    let server = Server::with_hello();
    server.manual_job("greet", &["say", "hi"]);
    let post = |body: &Value| server.request("POST", "/api/v1/jobs/greet/runs").json(body).header("idempotency-key", "once").send();
    let first = post(&json!({})).expect(201);
    let again = post(&json!({})).expect(201);
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_eq!(first.header("location"), again.header("location"));
    post(&json!({ "args": [] })).problem(409, "idempotency-key-reused");
    assert_eq!(server.get("/api/v1/runs").json()["runs"].as_array().unwrap().len(), 1);
}

#[test]
fn a_key_whose_request_failed_can_be_used_again() {
    let server = Server::with_hello();
    let post = || server.request("POST", "/api/v1/jobs/late/runs").json(&json!({})).header("idempotency-key", "once").send();
    post().problem(404, "not-found");
    server.manual_job("late", &[]);
    post().expect(201);
}

#[test]
fn runs_are_listed_newest_first_and_filtered() {
    let server = Server::with_hello();
    server.manual_job("good", &[]);
    server.manual_job("bad", &["fail", "3"]);
    let good = server.trigger("good");
    server.ended(&good);
    server.at("2026-01-01T01:00:00Z");
    let bad = server.trigger("bad");
    server.ended(&bad);
    let ids = |query: &str| {
        let list = server.get(&format!("/api/v1/runs{query}")).expect(200).json();
        list["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(""), [bad.as_str(), &good]);
    assert_eq!(ids("?job=good"), [good.as_str()]);
    assert_eq!(ids("?outcome=failed"), [bad.as_str()]);
    assert_eq!(ids("?state=running"), [""; 0]);
    assert_eq!(ids("?since=2026-01-01T01:00:00Z"), [bad.as_str()]);
    assert_eq!(ids("?until=2026-01-01T01:00:00Z"), [good.as_str()]);
    let first = server.get("/api/v1/runs?limit=1").json();
    assert_eq!(ids(&format!("?limit=1&after={}", first["next"].as_str().unwrap())), [good]);
    for query in ["?state=going", "?outcome=nice", "?since=x", "?job=A"] {
        server.get(&format!("/api/v1/runs{query}")).expect(400);
    }
}

#[test]
fn an_unknown_run_is_not_found_and_a_bad_id_is_refused() {
    let server = Server::start();
    for path in [format!("/api/v1/runs/{UNKNOWN}"), format!("/api/v1/runs/{UNKNOWN}?wait=1s"), format!("/api/v1/runs/{UNKNOWN}/log")] {
        server.get(&path).problem(404, "not-found");
    }
    server.post(&format!("/api/v1/runs/{UNKNOWN}/cancel"), &json!({})).problem(404, "not-found");
    let (detail, _) = server.get("/api/v1/runs/nope").problem(400, "bad-id");
    assert!(detail.starts_with("\"nope\" is not a run id"), "{detail}");
}

#[test]
fn a_wait_ends_with_the_run_as_it_is() {
    let server = Server::with_hello();
    server.manual_job("long", &["hold"]);
    let run = server.trigger("long");
    let waited = server.get(&format!("/api/v1/runs/{run}?wait=20ms")).expect(200).json();
    assert_ne!(waited["state"], "ended");
    server.get(&format!("/api/v1/runs/{run}?wait=soon")).problem(400, "bad-duration");
}

#[test]
fn at_most_so_many_requests_wait() {
    let server = Server::with(|config| config.waiters_max = 0);
    let (detail, _) = server.get(&format!("/api/v1/runs/{UNKNOWN}?wait=1s")).problem(503, "busy");
    assert_eq!(detail, "at most 0 requests may wait for a run at once");
}

#[test]
fn a_log_is_given_as_it_was_written() {
    let server = Server::with_hello();
    server.manual_job("chatty", &["log", "one\ntwo\u{1b}[31m"]);
    let run = server.trigger("chatty");
    server.ended(&run);
    let log = server.get(&format!("/api/v1/runs/{run}/log")).expect(200);
    assert_eq!(log.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!((log.header("bellcage-attempt"), log.header("bellcage-log-dropped")), (Some("1"), Some("0")));
    assert_eq!(log.body, "one\ntwo\u{1b}[31m".as_bytes());
    let (detail, _) = server.get(&format!("/api/v1/runs/{run}/log?attempt=2")).problem(404, "no-log");
    assert!(detail.contains("of attempt 2"), "{detail}");
}

#[test]
fn a_log_marks_what_was_dropped() {
    let server = Server::with_hello();
    server.manual_job("chatty", &["log", "head", "drop", "12"]);
    let run = server.trigger("chatty");
    server.ended(&run);
    let log = server.get(&format!("/api/v1/runs/{run}/log")).expect(200);
    assert_eq!(log.header("bellcage-log-dropped"), Some("12"));
    assert_eq!(String::from_utf8(log.body).unwrap(), "head\n[… 12 bytes dropped …]\n");
}

#[test]
fn a_run_that_has_not_ended_has_no_log_yet() {
    let server = Server::with_hello();
    server.manual_job("long", &["hold"]);
    let run = server.trigger("long");
    server.get(&format!("/api/v1/runs/{run}/log")).problem(404, "no-log");
}

#[test]
fn a_running_run_is_cancelled_with_a_reason() {
    let server = Server::with_hello();
    server.manual_job("long", &["hold"]);
    let run = server.trigger("long");
    server.in_state(&run, "running");
    let found = server.post(&format!("/api/v1/runs/{run}/cancel"), &json!({ "reason": "enough" })).expect(200).json();
    assert_eq!(found["found"], "requested");
    let ended = server.ended(&run);
    assert_eq!((&ended["outcome"], &ended["error"]["message"]), (&json!("cancelled"), &json!("enough")));
    let again = server.request("POST", &format!("/api/v1/runs/{run}/cancel")).send().expect(200).json();
    assert_eq!((&again["found"], &again["run"]["outcome"]), (&json!("already-ended"), &json!("cancelled")));
}

#[test]
fn a_waiting_run_says_what_it_waits_for_and_ends_when_it_is_cancelled() {
    let server = Server::with_hello();
    server.manual_job("long", &["hold"]);
    let first = server.trigger("long");
    server.in_state(&first, "running");
    let second = server.trigger("long");
    let waiting = server.get(&format!("/api/v1/runs/{second}")).json();
    assert_eq!(waiting["state"], "queued");
    assert!(waiting["waiting_for"].as_str().unwrap().contains("at most 1 at once"), "{waiting}");
    assert_eq!(server.post(&format!("/api/v1/runs/{second}/cancel"), &json!({})).expect(200).json()["found"], "ended");
}
