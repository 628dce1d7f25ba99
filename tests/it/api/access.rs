//! Who is let in: token, host, origin.

use std::io::Write;

use super::http::{Answer, Request, connect};
use super::{Server, TOKEN};

#[test]
fn every_api_request_needs_the_token() {
    let server = Server::start();
    for (method, path) in
        [("GET", "/api/v1/jobs"), ("POST", "/api/v1/jobs"), ("GET", "/api/openapi.json"), ("GET", "/api/v1/events"), ("GET", "/api/v1/nothing")]
    {
        let answer = server.request(method, path).without("authorization").send();
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        answer.problem(401, "token-missing");
    }
}

#[test]
fn a_wrong_token_is_refused() {
    let server = Server::start();
    for wrong in ["Bearer wrong", &format!("Bearer {TOKEN}x"), &format!("bearer {}", &TOKEN[1..])] {
        server.request("GET", "/api/v1/jobs").header("authorization", wrong).send().problem(401, "token-wrong");
    }
    server.request("GET", "/api/v1/jobs").header("authorization", &format!("Basic {TOKEN}")).send().problem(401, "token-missing");
    server.request("GET", "/api/v1/jobs").header("authorization", &format!("bearer {TOKEN}")).send().expect(200);
}

#[test]
fn a_server_without_a_token_is_open_to_its_own_machine() {
    let server = Server::with(|config| config.token = None);
    server.request("GET", "/api/v1/jobs").without("authorization").send().expect(200);
}

#[test]
fn health_needs_no_token_and_metrics_none_on_loopback() {
    let server = Server::start();
    for path in ["/healthz", "/readyz", "/metrics"] {
        Request::new(server.address, "GET", path).send().expect(200);
    }
}

#[test]
fn a_host_that_is_not_this_server_is_refused() {
    let server = Server::start();
    for host in ["evil.example", "evil.example:7878", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", ""] {
        server.request("GET", "/healthz").header("host", host).send().problem(421, "wrong-host");
    }
    for host in ["localhost", "LOCALHOST:99", "127.0.0.1", "127.8.9.1:1", "[::1]:7878"] {
        server.request("GET", "/healthz").header("host", host).send().expect(200);
    }
}

#[test]
fn an_absolute_uri_counts_as_the_host() {
    let server = Server::start();
    server.request("GET", "http://evil.example/healthz").send().problem(421, "wrong-host");
}

#[test]
fn a_request_without_a_host_or_with_two_is_refused() {
    let server = Server::start();
    for head in ["GET /healthz HTTP/1.1\r\n\r\n", "GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n"] {
        let mut stream = connect(server.address);
        stream.write_all(head.as_bytes()).unwrap();
        Answer::read(&mut std::io::BufReader::new(stream)).expect(400);
    }
}

#[test]
fn a_configured_host_is_answered_to() {
    let server = Server::with(|config| config.hosts = vec!["bell.example".to_owned()]);
    server.request("GET", "/healthz").header("host", "bell.example").send().expect(200);
    server.request("GET", "/healthz").header("host", "other.example").send().problem(421, "wrong-host");
}

#[test]
fn pages_of_another_origin_are_refused() {
    let server = Server::start();
    for origin in ["http://evil.example", "null", "http://localhost:1", "https://127.0.0.1"] {
        server.request("POST", "/api/v1/jobs").header("origin", origin).send().problem(403, "cross-origin");
    }
    let own = format!("http://{}", server.address);
    server.request("GET", "/api/v1/jobs").header("origin", &own).send().expect(200);
}

#[test]
fn answers_are_neither_guessed_at_nor_kept_nor_framed() {
    let server = Server::start();
    let answer = server.get("/api/v1/jobs");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
}
