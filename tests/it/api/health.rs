//! Health, metrics, the document of the API, and what is not there.

use serde_json::json;

use super::Server;
use super::http::Request;

#[test]
fn a_server_lives_and_is_ready() {
    let server = Server::start();
    let alive = Request::new(server.address, "GET", "/healthz").send().expect(200).json();
    assert_eq!(alive, json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }));
    assert_eq!(Request::new(server.address, "GET", "/readyz").send().expect(200).json()["status"], "ready");
}

#[test]
fn metrics_count_what_happened() {
    let server = Server::with_hello();
    server.manual_job("good", &["say", "x"]);
    server.manual_job("bad", &["fail", "3"]);
    let (_, mut events) = server.request("GET", "/api/v1/events").open();
    server.ended(&server.trigger("good"));
    server.ended(&server.trigger("bad"));
    // The counters follow the events, as this stream does.
    super::events::until(&mut events, "run-ended");
    super::events::until(&mut events, "run-ended");
    let wants = [
        "bellcage_runs_ended_total{outcome=\"succeeded\"} 1\n",
        "bellcage_runs_ended_total{outcome=\"failed\"} 1\n",
        "bellcage_runs_ended_total{outcome=\"timeout\"} 0\n",
        "bellcage_fuel_used_total 2000\n",
        "bellcage_jobs 2\n",
        "bellcage_runs_unfinished 0\n",
        "bellcage_event_subscribers 1\n",
        "bellcage_run_lateness_seconds_bucket{le=\"0.0025\"} 0\n",
        "bellcage_run_lateness_seconds_bucket{le=\"0.005\"} 2\n",
        "bellcage_run_lateness_seconds_sum 0.006\n",
    ];
    let mut text = String::new();
    for _ in 0..500 {
        text = String::from_utf8(server.get("/metrics").expect(200).body).unwrap();
        if wants.iter().all(|want| text.contains(want)) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{:?} is missing in\n{text}", wants.iter().find(|want| !text.contains(*want)));
}

#[test]
fn every_metric_has_help_and_type() {
    let server = Server::start();
    let text = String::from_utf8(server.get("/metrics").expect(200).body).unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        assert!(text.contains(&format!("# HELP {family} ")) && text.contains(&format!("# TYPE {family} ")), "{line}");
    }
}

#[test]
fn the_document_of_the_api_is_served() {
    let server = Server::start();
    let document = server.get("/api/openapi.json").expect(200).json();
    assert_eq!(document["openapi"], "3.1.0");
}

#[test]
fn an_unknown_path_is_a_problem() {
    let server = Server::start();
    for path in ["/", "/api", "/api/v2/jobs", "/api/v1/jobs/", "/api/v1/jobs/x/y", "/api/v1/jobs/a/b/c"] {
        let (detail, _) = server.get(path).problem(404, "no-such-route");
        assert_eq!(detail, format!("there is nothing at {path}"));
    }
}

#[test]
fn a_method_that_a_path_does_not_take_is_a_problem_that_names_those_it_takes() {
    let server = Server::start();
    let answer = server.request("PATCH", "/api/v1/jobs/x").send();
    assert_eq!(answer.header("allow"), Some("GET, PUT, DELETE"));
    let (detail, hint) = answer.problem(405, "method-not-allowed");
    assert_eq!(detail, "/api/v1/jobs/x does not take PATCH");
    assert_eq!(hint, "it takes GET, PUT, DELETE");
    server.delete("/api/v1/jobs").problem(405, "method-not-allowed");
}

/// Every field that an answer has is in the document, under the schema of that answer.
#[test]
fn what_is_answered_is_what_the_document_says() {
    let server = Server::with_hello();
    let document = server.get("/api/openapi.json").json();
    server.manual_job("documented", &["say", "x"]);
    let run = server.trigger("documented");
    server.ended(&run);
    let pause = server.post("/api/v1/jobs/documented/pause", &json!({ "reason": "why" })).json();
    for (schema, answer) in [
        ("Job", pause),
        ("JobList", server.get("/api/v1/jobs").json()),
        ("RunDetail", server.get(&format!("/api/v1/runs/{run}")).json()),
        ("RunList", server.get("/api/v1/runs").json()),
        ("ComponentDetail", server.get("/api/v1/components/hello").json()),
        ("ComponentList", server.get("/api/v1/components").json()),
        ("FiringList", server.get("/api/v1/firings").json()),
        ("Health", server.get("/healthz").json()),
        ("Problem", server.get("/api/v1/nothing").json()),
    ] {
        conforms(&document, &document["components"]["schemas"][schema], &answer, schema);
    }
}

/// Objects have the required fields and none that the schema lacks; as deep as schemas go.
fn conforms(document: &serde_json::Value, schema: &serde_json::Value, answer: &serde_json::Value, at: &str) {
    if let Some(path) = schema["$ref"].as_str() {
        return conforms(document, document.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("{path}")), answer, at);
    }
    if let Some(first) = schema["anyOf"].as_array().map(|any| &any[0]) {
        if !answer.is_null() {
            conforms(document, first, answer, at);
        }
        return;
    }
    if let (Some(properties), Some(fields)) = (schema["properties"].as_object(), answer.as_object()) {
        for (name, value) in fields {
            let property = properties.get(name).unwrap_or_else(|| panic!("{at}.{name} is not in the document"));
            conforms(document, property, value, &format!("{at}.{name}"));
        }
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(fields.contains_key(required.as_str().unwrap()), "{at} lacks {required}");
        }
    }
    if let (Some(allowed), false) = (schema["enum"].as_array(), answer.is_null()) {
        assert!(allowed.contains(answer), "{at}: {answer} is not one of {allowed:?}");
    }
    for item in answer.as_array().into_iter().flatten() {
        conforms(document, &schema["items"], item, at);
    }
}
