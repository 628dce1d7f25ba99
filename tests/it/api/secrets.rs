//! Secrets: values go in and none comes out.

use serde_json::json;

use super::Server;

#[test]
fn a_secret_is_stored_listed_by_name_and_removed() {
    let server = Server::start();
    let stored = server.put("/api/v1/secrets/API_KEY", &json!({ "value": "hush" })).expect(200).json();
    assert_eq!(stored, json!({ "name": "API_KEY", "updated_at": "2026-01-01T00:00:00Z", "readable": true, "damaged": false }));
    assert_eq!(server.get("/api/v1/secrets").expect(200).json(), json!({ "secrets": [stored], "next": null }));
    assert_eq!(server.get("/api/v1/secrets/API_KEY").status, 405);
    assert_eq!(server.delete("/api/v1/secrets/API_KEY").expect(200).json(), json!({ "removed": "API_KEY" }));
    server.delete("/api/v1/secrets/API_KEY").problem(404, "not-found");
}

#[test]
fn a_refusal_does_not_repeat_the_value() {
    let server = Server::start();
    for body in [json!({ "value": "hush\u{0}" }), json!({ "value": "hush", "more": 1 }), json!({ "value": ["hush"] }), json!("hush")] {
        let answer = server.put("/api/v1/secrets/API_KEY", &body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(!answer.json().to_string().contains("hush"), "{body}");
    }
    server.put("/api/v1/secrets/api-key", &json!({ "value": "x" })).problem(400, "bad-id");
}

#[test]
fn a_job_is_granted_secrets_by_name() {
    let server = Server::with_hello();
    let job = json!({ "id": "a", "component": "hello", "trigger": "manual", "grants": { "secrets": ["API_KEY"] } });
    let (detail, _) = server.post("/api/v1/jobs", &job).problem(404, "no-such-secret");
    assert_eq!(detail, "there is no secret \"API_KEY\"");
    server.put("/api/v1/secrets/API_KEY", &json!({ "value": "hush" })).expect(200);
    server.post("/api/v1/jobs", &job).expect(201);
    assert_eq!(server.get("/api/v1/jobs/a").expect(200).json()["spec"]["grants"], json!({ "secrets": ["API_KEY"] }));
    let twice = json!({ "id": "b", "component": "hello", "trigger": "manual", "grants": { "secrets": ["API_KEY", "API_KEY"] } });
    server.post("/api/v1/jobs", &twice).problem(400, "bad-job");
}
