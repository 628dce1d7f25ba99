//! Jobs: add, replace, apply, list, show, pause, resume, remove.

use serde_json::{Value, json};

use super::Server;

fn nightly() -> Value {
    json!({ "id": "nightly", "component": "hello", "trigger": { "cron": "30 2 * * mon-fri", "timezone": "Europe/Stockholm" }, "labels": { "team": "billing" } })
}

fn manual(id: &str) -> Value {
    json!({ "id": id, "component": "hello", "trigger": "manual" })
}

/// The definition without the id, as PUT takes it.
fn without_id(mut job: Value) -> Value {
    job.as_object_mut().unwrap().remove("id");
    job
}

#[test]
fn an_added_job_shows_where_it_stands_and_its_definition() {
    let server = Server::with_hello();
    let answer = server.post("/api/v1/jobs", &nightly()).expect(201);
    assert_eq!(answer.header("location"), Some("/api/v1/jobs/nightly"));
    assert_eq!(answer.header("etag"), Some("\"1\""));
    let added = answer.json();
    assert_eq!(added["next_fire"], "2026-01-01T01:30:00Z");
    assert_eq!(added["next_fire_local"], "2026-01-01T02:30:00+01:00[Europe/Stockholm]");
    assert_eq!(added["timezone"], "Europe/Stockholm");
    assert_eq!(added["fires"][1], "2026-01-02T02:30:00+01:00[Europe/Stockholm]");
    assert_eq!(added["fires"].as_array().unwrap().len(), 3);
    assert_eq!((&added["state"], &added["paused"], &added["last_outcome"]), (&json!("active"), &json!(false), &json!(null)));
    assert_eq!(added["trigger"], nightly()["trigger"]);
    assert_eq!(added["spec"]["trigger"], nightly()["trigger"]);
    assert_eq!(added["spec"]["overlap"], "skip");
    assert_eq!(added["labels"], json!({ "team": "billing" }));
    let shown = server.get("/api/v1/jobs/nightly").expect(200);
    assert_eq!(shown.header("etag"), Some("\"1\""));
    assert_eq!(shown.json()["revision"], 1);
}

#[test]
fn an_id_that_exists_is_a_conflict_unless_it_is_replaced_or_kept() {
    let server = Server::with_hello();
    server.post("/api/v1/jobs", &nightly()).expect(201);
    let (detail, hint) = server.post("/api/v1/jobs", &nightly()).problem(409, "job-exists");
    assert_eq!(detail, "job \"nightly\" exists already");
    assert!(hint.contains("--on-conflict replace"));
    let kept = server.post("/api/v1/jobs?on_conflict=keep", &manual("nightly")).expect(200).json();
    assert_eq!((&kept["revision"], &kept["trigger"]), (&json!(1), &nightly()["trigger"]));
    let replaced = server.post("/api/v1/jobs?on_conflict=replace", &manual("nightly")).expect(200).json();
    assert_eq!((&replaced["revision"], &replaced["next_fire"]), (&json!(2), &json!(null)));
    server.post("/api/v1/jobs?on_conflict=perhaps", &nightly()).problem(400, "bad-parameter");
}

#[test]
fn a_bad_cron_marks_the_place() {
    let server = Server::with_hello();
    let mut job = nightly();
    job["trigger"]["cron"] = json!("61 2 * * *");
    for answer in [server.post("/api/v1/jobs", &job), server.put("/api/v1/jobs/nightly", &without_id(job.clone()))] {
        let problem = answer.expect(400).json();
        assert_eq!(problem["code"], "bad-cron");
        assert_eq!(problem["span"], json!({ "source": "61 2 * * *", "start": 0, "end": 2 }));
    }
}

#[test]
fn bad_definitions_are_refused_by_name() {
    let server = Server::with_hello();
    let with = |field: &str, value: Value| {
        let mut job = nightly();
        job[field] = value;
        server.post("/api/v1/jobs", &job)
    };
    let (detail, _) = with("feul", json!(1)).problem(400, "bad-body");
    assert!(detail.contains("unknown field `feul`"), "{detail}");
    let (detail, _) = with("id", json!("a/b")).problem(400, "bad-body");
    assert!(detail.contains("job id \"a/b\" is not valid"), "{detail}");
    with("trigger", json!({ "cron": "* * * * *", "timezone": "Mars/Olympus" })).problem(400, "unknown-timezone");
    with("trigger", json!({ "every": "200ms" })).problem(400, "too-often");
    with("trigger", json!({ "at": "2020-01-01T00:00:00Z" })).problem(400, "trigger-ended");
    with("component", json!("nope")).problem(404, "component-not-uploaded");
    with("component", json!("hello@9")).problem(404, "no-such-version");
    with("component", json!("hello:other")).problem(400, "no-such-entry");
    with("limits", json!({ "memory": "2GiB" })).problem(400, "bad-limit");
    with("args", json!({ "a": 1 })).problem(400, "bad-job");
    assert_eq!(server.get("/api/v1/jobs").json()["jobs"], json!([]));
}

#[test]
fn a_body_must_be_json_and_say_so() {
    let server = Server::with_hello();
    let post = || server.request("POST", "/api/v1/jobs");
    let (detail, _) = post().body("application/json", b"{\"id\": }").send().problem(400, "bad-json");
    assert!(detail.contains("line 1"), "{detail}");
    post().body("application/json", b"[]").send().problem(400, "bad-body");
    post().body("text/plain", nightly().to_string().as_bytes()).send().problem(415, "not-json");
    post().body("application/json; charset=utf-8", nightly().to_string().as_bytes()).send().expect(201);
}

#[test]
fn an_unknown_job_is_not_found() {
    let server = Server::start();
    let (detail, _) = server.get("/api/v1/jobs/nope").problem(404, "not-found");
    assert!(detail.contains("nope"), "{detail}");
    for (method, path) in [
        ("DELETE", "/api/v1/jobs/nope"),
        ("POST", "/api/v1/jobs/nope/pause"),
        ("POST", "/api/v1/jobs/nope/resume"),
        ("POST", "/api/v1/jobs/nope/runs"),
        ("GET", "/api/v1/jobs/nope/next"),
    ] {
        server.request(method, path).send().problem(404, "not-found");
    }
}

#[test]
fn a_job_id_in_a_path_is_checked() {
    let server = Server::start();
    for (path, typed) in [("/api/v1/jobs/a%2Fb", "a/b"), ("/api/v1/jobs/Nightly", "Nightly"), ("/api/v1/jobs/..%2f..%2fetc", "../../etc")] {
        let (detail, _) = server.get(path).problem(400, "bad-id");
        assert!(detail.starts_with(&format!("job id {typed:?} is not valid")), "{detail}");
    }
    server.get("/api/v1/jobs/%ff").problem(400, "bad-id");
}

#[test]
fn jobs_are_listed_by_id_in_pages() {
    let server = Server::with_hello();
    for id in ["c", "a", "b"] {
        server.post("/api/v1/jobs", &manual(id)).expect(201);
    }
    let first = server.get("/api/v1/jobs?limit=2").expect(200).json();
    let ids = |list: &Value| list["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&first), ["a", "b"]);
    let second = server.get(&format!("/api/v1/jobs?limit=2&after={}", first["next"].as_str().unwrap())).expect(200).json();
    assert_eq!((ids(&second), &second["next"]), (vec!["c".to_owned()], &json!(null)));
}

#[test]
fn jobs_are_found_by_labels() {
    let server = Server::with_hello();
    server.post("/api/v1/jobs", &nightly()).expect(201);
    server.post("/api/v1/jobs", &manual("bare")).expect(201);
    let found = server.get("/api/v1/jobs?label=team%3Dbilling").expect(200).json();
    assert_eq!(found["jobs"].as_array().unwrap().len(), 1);
    assert_eq!(server.get("/api/v1/jobs?label=team%3Dbilling&label=x%3Dy").json()["jobs"], json!([]));
    server.get("/api/v1/jobs?label=team").problem(400, "bad-parameter");
}

#[test]
fn bad_parameters_are_refused_by_name() {
    let server = Server::start();
    let (detail, hint) = server.get("/api/v1/jobs?limt=3").problem(400, "unknown-parameter");
    assert_eq!(detail, "there is no query parameter \"limt\" here");
    assert_eq!(hint, "it takes: label, limit, after");
    for limit in ["0", "1001", "x", "-1", ""] {
        server.get(&format!("/api/v1/jobs?limit={limit}")).problem(400, "bad-parameter");
    }
    server.get("/api/v1/jobs?limit=1&limit=2").problem(400, "bad-parameter");
    server.get("/api/v1/runs?after=nonsense").problem(400, "bad-cursor");
}

#[test]
fn put_adds_and_then_replaces() {
    let server = Server::with_hello();
    let created = server.put("/api/v1/jobs/nightly", &without_id(nightly())).expect(201);
    assert_eq!(created.header("etag"), Some("\"1\""));
    let replaced = server.put("/api/v1/jobs/nightly", &without_id(manual("x"))).expect(200);
    assert_eq!(replaced.header("etag"), Some("\"2\""));
    let (detail, _) = server.put("/api/v1/jobs/nightly", &nightly()).problem(400, "bad-body");
    assert!(detail.contains("unknown field `id`"), "{detail}");
}

#[test]
fn if_match_replaces_only_what_it_names() {
    let server = Server::with_hello();
    server.post("/api/v1/jobs", &nightly()).expect(201);
    let put = |tag: &str| server.request("PUT", "/api/v1/jobs/nightly").json(&without_id(manual("x"))).header("if-match", tag).send();
    assert_eq!(put("\"1\"").expect(200).header("etag"), Some("\"2\""));
    let (detail, _) = put("\"1\"").problem(412, "job-changed");
    assert!(detail.contains("its revision is 2"), "{detail}");
    put("W/\"2\"").problem(400, "bad-header");
    put("2").problem(400, "bad-header");
    put("\"9\", \"2\"").expect(200);
    put("*").expect(200);
    assert_eq!(server.get("/api/v1/jobs/nightly").json()["revision"], 4);
    server.request("PUT", "/api/v1/jobs/other").json(&without_id(manual("x"))).header("if-match", "*").send().problem(404, "not-found");
}

#[test]
fn if_none_match_only_adds() {
    let server = Server::with_hello();
    let put = |tag: &str| server.request("PUT", "/api/v1/jobs/nightly").json(&without_id(nightly())).header("if-none-match", tag).send();
    put("*").expect(201);
    put("*").problem(409, "job-exists");
    put("\"1\"").problem(400, "bad-header");
}

#[test]
fn a_condition_is_refused_where_it_would_not_be_looked_at() {
    let server = Server::with_hello();
    server.manual_job("x", &[]);
    for (method, path) in [("DELETE", "/api/v1/jobs/x"), ("POST", "/api/v1/jobs/x/pause"), ("POST", "/api/v1/jobs/x/resume")] {
        server.request(method, path).header("if-match", "\"1\"").send().problem(400, "bad-header");
    }
    assert_eq!(server.get("/api/v1/jobs/x").json()["paused"], false);
}

#[test]
fn apply_adds_each_for_itself() {
    let server = Server::with_hello();
    let mut bad = nightly();
    bad["trigger"]["cron"] = json!("x");
    bad["id"] = json!("bad");
    let applied =
        server.post("/api/v1/apply", &json!({ "jobs": [bad, nightly(), { "id": "A", "component": "hello", "trigger": "manual" }], "on_conflict": "replace" }));
    let applied = applied.expect(200).json();
    assert_eq!(applied["jobs"][0]["problem"]["code"], "bad-cron");
    assert_eq!(applied["jobs"][0]["added"], json!(null));
    assert_eq!(applied["jobs"][1]["added"]["revision"], 1);
    assert_eq!((&applied["jobs"][2]["id"], &applied["jobs"][2]["problem"]["code"]), (&json!("A"), &json!("bad-body")));
    let text = applied["jobs"][1]["added"]["trigger_text"].as_str();
    assert_eq!(text, server.get("/api/v1/jobs/nightly").json()["trigger_text"].as_str());
    server.post("/api/v1/apply", &json!({ "jobs": [], "extra": 1 })).problem(400, "bad-body");
    let many: Vec<_> = (0..1_001).map(|i| manual(&format!("j{i}"))).collect();
    server.post("/api/v1/apply", &json!({ "jobs": many })).problem(400, "bad-body");
}

#[test]
fn apply_refuses_what_is_there_or_replaces_or_keeps_it() {
    let server = Server::with_hello();
    let apply = |on_conflict: &str| {
        let mut changed = nightly();
        changed["priority"] = json!(7);
        let body = json!({ "jobs": [manual(&format!("new-{on_conflict}")), changed], "on_conflict": on_conflict });
        server.post("/api/v1/apply", &body).expect(200).json()["jobs"].clone()
    };
    let priority = || server.get("/api/v1/jobs/nightly").json()["spec"]["priority"].clone();
    server.post("/api/v1/jobs", &nightly()).expect(201);
    let refused = apply("error");
    assert_eq!((&refused[0]["added"]["revision"], &refused[1]["problem"]["code"], priority()), (&json!(1), &json!("job-exists"), json!(0)));
    let kept = apply("keep");
    assert_eq!((&kept[0]["added"]["revision"], &kept[1]["added"]["revision"], priority()), (&json!(1), &json!(1), json!(0)));
    let replaced = apply("replace");
    assert_eq!((&replaced[0]["added"]["revision"], &replaced[1]["added"]["revision"], priority()), (&json!(1), &json!(2), json!(7)));
}

#[test]
fn apply_tells_of_a_job_that_it_kept_when_that_one_fires() {
    let server = Server::with_hello();
    let every = |interval: &str| json!({ "id": "a", "component": "hello", "trigger": { "every": interval } });
    let applied = server.post("/api/v1/apply", &json!({ "jobs": [every("1h"), every("2h")], "on_conflict": "keep" })).expect(200).json();
    let told = |n: usize| applied["jobs"][n]["added"]["trigger_text"].as_str().unwrap();
    assert_eq!([told(0), told(1)], ["every 1h"; 2]);
}

#[test]
fn apply_says_of_each_definition_that_cannot_be_read_why() {
    let server = Server::with_hello();
    let bodies = [
        json!({ "id": "a", "component": "hello", "trigger": "manual", "colour": "red" }),
        json!({ "component": "hello", "trigger": "manual" }),
        json!({ "id": "c", "component": "hello" }),
        json!("d"),
        json!({ "id": "e", "component": "hello", "trigger": { "cron": "* * *" } }),
        json!({ "id": "f", "component": "nowhere", "trigger": "manual" }),
    ];
    let applied = server.post("/api/v1/apply", &json!({ "jobs": bodies })).expect(200).json();
    let told = |n: usize| (applied["jobs"][n]["id"].as_str().unwrap(), applied["jobs"][n]["problem"]["code"].as_str().unwrap());
    let expected = [("a", "bad-body"), ("", "bad-body"), ("c", "bad-body"), ("", "bad-body"), ("e", "bad-cron"), ("f", "component-not-uploaded")];
    assert_eq!([told(0), told(1), told(2), told(3), told(4), told(5)], expected);
    assert!(applied["jobs"][0]["problem"]["detail"].as_str().unwrap().contains("colour"), "{applied}");
    assert!(applied["jobs"][1]["problem"]["detail"].as_str().unwrap().contains("id"), "{applied}");
}

#[test]
fn a_job_is_paused_and_resumed() {
    let server = Server::with_hello();
    server.post("/api/v1/jobs", &nightly()).expect(201);
    let paused = server.post("/api/v1/jobs/nightly/pause", &json!({ "reason": "holidays", "by": "ada" })).expect(200).json();
    assert_eq!((&paused["paused"], &paused["pause"]["reason"], &paused["pause"]["by"]), (&json!(true), &json!("holidays"), &json!("ada")));
    server.at("2026-01-04T00:00:00Z");
    let resumed = server.request("POST", "/api/v1/jobs/nightly/resume").send().expect(200).json();
    assert_eq!((&resumed["paused"], &resumed["pause"]), (&json!(false), &json!(null)));
    assert_eq!(resumed["next_fire"], "2026-01-05T01:30:00Z");
    server.post("/api/v1/jobs/nightly/resume", &json!({ "from": "yesterday" })).problem(400, "bad-body");
    server.post("/api/v1/jobs/nightly/pause", &json!({ "resaon": "x" })).problem(400, "bad-body");

    let firings = server.get("/api/v1/firings?job=nightly").expect(200).json();
    let firing = &firings["firings"][0];
    assert_eq!((&firing["reason"], &firing["count"], &firing["exact"]), (&json!("paused"), &json!(2), &json!(true)));
    assert_eq!((&firing["first"], &firing["last"]), (&json!("2026-01-01T01:30:00Z"), &json!("2026-01-02T01:30:00Z")));
    assert_eq!(server.get("/api/v1/firings?job=other").json(), json!({ "firings": [], "next": null }));
    server.get("/api/v1/firings?job=A").problem(400, "bad-id");
}

#[test]
fn a_job_says_when_it_fires() {
    let server = Server::with_hello();
    server.post("/api/v1/jobs", &nightly()).expect(201);
    let fires = server.get("/api/v1/jobs/nightly/next?n=2&after=2026-03-27T12:00:00Z").expect(200).json();
    assert_eq!(fires, json!({ "fires": ["2026-03-30T02:30:00+02:00[Europe/Stockholm]", "2026-03-31T02:30:00+02:00[Europe/Stockholm]"] }));
    assert_eq!(server.get("/api/v1/jobs/nightly/next").json()["fires"].as_array().unwrap().len(), 10);
    server.get("/api/v1/jobs/nightly/next?after=tomorrow").problem(400, "bad-instant");
    server.get("/api/v1/jobs/nightly/next?n=1001").problem(400, "bad-parameter");
}

#[test]
fn removing_a_job_cancels_what_is_running_when_asked() {
    let server = Server::with_hello();
    server.manual_job("long", &["hold"]);
    let run = server.trigger("long");
    server.in_state(&run, "running");
    let removed = server.delete("/api/v1/jobs/long?cancel_running=true").expect(200).json();
    assert_eq!(removed["cancelled"], json!([run]));
    assert_eq!(server.ended(&run)["outcome"], "cancelled");
    server.get("/api/v1/jobs/long").problem(404, "not-found");
    server.delete("/api/v1/jobs/long?cancel_running=perhaps").problem(400, "bad-parameter");
}

#[test]
fn a_job_that_was_sent_twice_under_one_key_is_added_once() {
    let server = Server::with_hello();
    let post = |body: &Value, path: &str| server.request("POST", path).json(body).header("idempotency-key", "k-1").send();
    let first = post(&nightly(), "/api/v1/jobs").expect(201);
    let again = post(&nightly(), "/api/v1/jobs").expect(201);
    assert_eq!(first.body, again.body);
    assert_eq!((again.header("etag"), again.header("location")), (Some("\"1\""), Some("/api/v1/jobs/nightly")));
    post(&manual("other"), "/api/v1/jobs").problem(409, "idempotency-key-reused");
    // Another route is another request.
    assert_eq!(post(&nightly(), "/api/v1/jobs?on_conflict=keep").expect(200).json()["revision"], 1);
    server.request("POST", "/api/v1/jobs").json(&nightly()).header("idempotency-key", &"k".repeat(201)).send().problem(400, "bad-header");
}
