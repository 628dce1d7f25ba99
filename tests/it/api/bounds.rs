//! What a client can use of the server: bodies, connections, time; and the end of the server.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bellcage::server::{ServerConfig, serve};
use serde_json::json;

use super::http::{Answer, Request, connect};
use super::{HELLO, Server, TOKEN};

#[test]
fn a_body_over_the_cap_is_refused_whether_it_is_announced_or_not() {
    let server = Server::with(|config| config.body_max = 2_048);
    let large = vec![b' '; 100_000];
    let post = || server.request("POST", "/api/v1/jobs");
    let (detail, _) = post().body("application/json", &large).send().problem(413, "body-too-large");
    assert_eq!(detail, "the body is larger than the cap of 2KiB");
    let chunked = [format!("{:x}\r\n", large.len()).as_bytes(), &large, b"\r\n0\r\n\r\n"].concat();
    let mut stream = connect(server.address);
    let head = format!(
        "POST /api/v1/jobs HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&chunked).unwrap();
    Answer::read(&mut BufReader::new(stream)).problem(413, "body-too-large");
}

#[test]
fn a_client_that_asks_first_is_refused_before_it_sends() {
    let server = Server::with(|config| config.component_max = 1_024);
    let request = server.request("PUT", "/api/v1/components/big").header("content-length", "50000000").header("expect", "100-continue");
    request.send().problem(413, "body-too-large");
}

#[test]
fn bodies_have_a_budget_over_all_connections() {
    let server = Server::with(|config| config.bodies_max = 8 * 1_024);
    let mut slow = connect(server.address);
    let head = server.request("PUT", "/api/v1/components/slow").header("content-length", "8192").bytes();
    slow.write_all(&head).unwrap();
    let mut busy = None;
    for _ in 0..1_000 {
        let answer = server.push("other", HELLO);
        if answer.status == 503 {
            busy = Some(answer);
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    busy.unwrap().problem(503, "busy");
}

#[test]
fn a_body_that_trickles_is_refused() {
    let server = Server::with(|config| config.body_timeout = Duration::from_millis(100));
    let mut stream = connect(server.address);
    let head = server.request("POST", "/api/v1/jobs").header("content-type", "application/json").header("content-length", "100").bytes();
    stream.write_all(&head).unwrap();
    stream.write_all(b"{").unwrap();
    Answer::read(&mut BufReader::new(stream)).problem(408, "body-too-slow");
}

#[test]
fn a_body_that_is_cut_changes_nothing() {
    let server = Server::with_hello();
    let job = json!({ "id": "cut", "component": "hello", "trigger": "manual" }).to_string();
    let mut stream = connect(server.address);
    let longer = (job.len() + 1).to_string();
    let head = server.request("POST", "/api/v1/jobs").header("content-type", "application/json").header("content-length", &longer).bytes();
    stream.write_all(&head).unwrap();
    stream.write_all(job.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    server.get("/api/v1/jobs/cut").problem(404, "not-found");
}

#[test]
fn clients_that_say_nothing_or_too_little_lose_their_connections() {
    let server = Server::with(|config| {
        config.head_timeout = Duration::from_millis(200);
        config.connections_max = 4;
    });
    let slow: Vec<TcpStream> = (0..4)
        .map(|i| {
            let mut stream = connect(server.address);
            if i > 0 {
                stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: loc").unwrap();
            }
            stream
        })
        .collect();
    // All slots are taken: this one is served when they are given up.
    Request::new(server.address, "GET", "/healthz").send().expect(200);
    for mut stream in slow {
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }
}

#[test]
fn a_head_that_trickles_has_no_longer_than_one_that_comes_at_once() {
    let server = Server::with(|config| config.head_timeout = Duration::from_millis(200));
    let mut stream = connect(server.address);
    stream.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
    let mut fields = 0;
    while stream.write_all(b"x: y\r\n").is_ok() {
        fields += 1;
        assert!(fields < 3_000, "the server reads on and on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_client_that_reads_nothing_loses_its_connection() {
    let server = Server::with(|config| config.write_timeout = Duration::from_millis(200));
    let mut stream = connect(server.address);
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    let request = server.request("GET", "/api/openapi.json").bytes();
    // The answers fill the system's buffers, then the requests do, and then the server gives up.
    let error = loop {
        if let Err(error) = stream.write_all(&request) {
            break error;
        }
    };
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
}

#[test]
fn one_connection_takes_many_requests() {
    let server = Server::start();
    let stream = connect(server.address);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    for _ in 0..3 {
        stream.write_all(&server.request("GET", "/api/v1/jobs").bytes()).unwrap();
        Answer::read(&mut reader).expect(200);
    }
}

#[test]
fn a_request_that_is_going_is_finished_at_shutdown_and_no_new_one_is_taken() {
    let mut server = Server::with_hello();
    let job = json!({ "id": "last", "component": "hello", "trigger": "manual" }).to_string();
    let mut stream = connect(server.address);
    let request = server.request("POST", "/api/v1/jobs").header("content-type", "application/json");
    let head = request.header("content-length", &job.len().to_string()).header("expect", "100-continue").bytes();
    stream.write_all(&head).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    assert_eq!(Answer::read(&mut reader).status, 100);
    server.stop();
    stream.write_all(job.as_bytes()).unwrap();
    Answer::read(&mut reader).expect(201);
    server.stopped();
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn who_waits_for_a_run_is_answered_at_shutdown() {
    let mut server = Server::with_hello();
    server.manual_job("long", &["hold"]);
    let run = server.trigger("long");
    let wait = server.request("GET", &format!("/api/v1/runs/{run}?wait=60s"));
    let waiting = std::thread::spawn(move || wait.send());
    let begun = |text: Vec<u8>| String::from_utf8(text).unwrap().contains("bellcage_run_waiters 1\n");
    while !begun(server.get("/metrics").expect(200).body) {}
    server.stop();
    assert_ne!(waiting.join().unwrap().expect(200).json()["state"], "ended");
    server.stopped();
}

#[test]
fn an_address_that_is_taken_is_an_error_that_names_it() {
    let server = Server::start();
    let config = ServerConfig { listen: server.address, ..ServerConfig::default() };
    let refused = server.runtime.block_on(serve(server.scheduler.clone(), config, std::future::pending()));
    let error = refused.err().unwrap();
    assert_eq!(error.code(), "cannot-listen");
    assert!(error.to_string().starts_with(&format!("{} cannot be listened on", server.address)), "{error}");
}
