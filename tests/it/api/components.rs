//! Components: push, list, show, remove.

use std::io::Write;

use serde_json::json;

use super::http::connect;
use super::{HELLO, Server};
use crate::support::wat;

#[test]
fn a_pushed_component_is_inspected_and_has_a_version() {
    let server = Server::start();
    let answer = server.push("hello", HELLO).expect(201);
    assert_eq!(answer.header("location"), Some("/api/v1/components/hello"));
    let pushed = answer.json();
    assert_eq!(pushed["new"], true);
    assert_eq!(pushed["component"]["version"], 1);
    assert_eq!(pushed["component"]["size"], HELLO.len());
    assert_eq!(pushed["component"]["entries"], json!([{ "name": "main", "kind": "command", "signature": "" }]));
    assert!(pushed["component"]["digest"].as_str().unwrap().starts_with("sha256:"));
}

#[test]
fn the_same_bytes_again_are_no_new_version() {
    let server = Server::with_hello();
    let again = server.push("hello", HELLO).expect(200).json();
    assert_eq!((&again["new"], &again["component"]["version"]), (&json!(false), &json!(1)));
}

#[test]
fn components_are_listed_by_name_in_pages() {
    let server = Server::with_hello();
    server.push("another", HELLO).expect(201);
    let first = server.get("/api/v1/components?limit=1").expect(200).json();
    assert_eq!(first["components"][0]["name"], "another");
    let cursor = first["next"].as_str().unwrap();
    let second = server.get(&format!("/api/v1/components?limit=1&after={cursor}")).expect(200).json();
    assert_eq!((&second["components"][0]["name"], &second["next"]), (&json!("hello"), &json!(null)));
}

#[test]
fn a_component_is_shown_with_its_versions_and_jobs() {
    let server = Server::with_hello();
    server.manual_job("user", &[]);
    let shown = server.get("/api/v1/components/hello").expect(200).json();
    assert_eq!(shown["versions"].as_array().unwrap().len(), 1);
    assert_eq!(shown["jobs"], json!(["user"]));
    let digest = shown["digest"].as_str().unwrap();
    for version in ["1", digest] {
        assert_eq!(server.get(&format!("/api/v1/components/hello?version={version}")).expect(200).json()["version"], 1);
    }
}

#[test]
fn an_unknown_component_or_version_is_not_found() {
    let server = Server::with_hello();
    let (detail, hint) = server.get("/api/v1/components/nope").problem(404, "component-not-uploaded");
    assert_eq!((detail.as_str(), hint.as_str()), ("component \"nope\" is not uploaded", "bellcage component push nope.wasm"));
    server.get("/api/v1/components/hello?version=7").problem(404, "no-such-version");
    server.get("/api/v1/components/hello?version=x").problem(400, "bad-parameter");
    server.get("/api/v1/components/hello?version=1:main").problem(400, "bad-parameter");
}

#[test]
fn what_is_not_a_component_is_refused_and_not_stored() {
    let server = Server::start();
    let (detail, _) = server.push("text", b"this is not wasm").problem(400, "component-not-wasm");
    assert!(!detail.is_empty());
    let cut = server.push("cut", &HELLO[..HELLO.len() / 2]).expect(400).json();
    assert!(cut["code"].is_string(), "{cut}");
    assert_eq!(server.get("/api/v1/components").json()["components"], json!([]));
}

#[test]
fn a_component_over_the_cap_is_refused_and_names_the_cap() {
    let server = Server::with(|config| config.component_max = 1_024);
    let (detail, hint) = server.push("big", HELLO).problem(413, "body-too-large");
    assert_eq!(detail, "the component is larger than the cap of 1KiB");
    assert!(hint.contains("config show"));
}

#[test]
fn a_component_in_use_stays() {
    let server = Server::with_hello();
    server.manual_job("user", &[]);
    let (detail, _) = server.delete("/api/v1/components/hello").problem(409, "component-in-use");
    assert!(detail.contains("user"), "{detail}");
    server.delete("/api/v1/jobs/user").expect(200);
    assert_eq!(server.delete("/api/v1/components/hello").expect(200).json(), json!({ "removed": 1 }));
    server.delete("/api/v1/components/hello").problem(404, "component-not-uploaded");
}

#[test]
fn a_component_name_is_checked() {
    let server = Server::start();
    let (detail, _) = server.push("Bad%2Fname", HELLO).problem(400, "bad-id");
    assert!(detail.starts_with("component name \"Bad/name\" is not valid"), "{detail}");
}

/// A component that exports a function and no command.
fn function() -> Vec<u8> {
    let text = r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m)) (func (export "f") (canon lift (core func $i "f"))))"#;
    wat::component(text)
}

#[test]
fn a_version_that_would_break_jobs_is_pushed_by_force_alone() {
    let server = Server::with_hello();
    server.manual_job("user", &[]);
    let (detail, _) = server.push("hello", &function()).problem(409, "breaks-jobs");
    assert!(detail.contains("user"), "{detail}");
    let forced = server.request("PUT", "/api/v1/components/hello?force=true").body("application/wasm", &function()).send().expect(201).json();
    assert_eq!((&forced["component"]["version"], &forced["broken"][0]["job"]), (&json!(2), &json!("user")));
}

/// A function that imports the preopened directories, as a program of most languages does.
fn looking_for_directories() -> Vec<u8> {
    wat::component(
        r#"(component
            (import "wasi:filesystem/types@0.2.0" (instance $types (export "descriptor" (type (sub resource)))))
            (alias export $types "descriptor" (type $descriptor))
            (import "wasi:filesystem/preopens@0.2.0" (instance
                (export "get-directories" (func (result (list (tuple (own $descriptor) string)))))))
            (core module $m (func (export "f")))
            (core instance $i (instantiate $m))
            (func (export "f") (canon lift (core func $i "f"))))"#,
    )
}

#[test]
fn what_a_component_asks_for_is_shown() {
    let server = Server::with_hello();
    server.push("function", &function()).expect(201);
    let asks = |name: &str| {
        let shown = server.get(&format!("/api/v1/components/{name}")).expect(200).json();
        (shown["asks_for"].clone(), shown["may_use"].clone())
    };
    assert_eq!(asks("hello"), (json!([]), json!(["env", "dirs"])));
    assert_eq!(asks("function"), (json!([]), json!([])));
}

#[test]
fn a_version_that_asks_for_more_than_the_one_before_is_held_until_it_is_approved() {
    let server = Server::start();
    assert_eq!(server.push("f", &looking_for_directories()).expect(201).json()["new_grants"], json!([]));
    server.push("f", &function()).expect(201);
    let (detail, hint) = server.push("f", &looking_for_directories()).problem(409, "asks-for-more");
    assert_eq!(detail, "this version of component \"f\" asks for more than version 2 did: dirs");
    assert!(hint.contains("--approve-grants"), "{hint}");
    assert_eq!(server.get("/api/v1/components/f").expect(200).json()["version"], 2);
    let approving = server.request("PUT", "/api/v1/components/f?approve_grants=true").body("application/wasm", &looking_for_directories());
    let approved = approving.send().expect(201).json();
    assert_eq!((&approved["component"]["version"], &approved["new_grants"]), (&json!(3), &json!(["dirs"])));
}

#[test]
fn a_push_is_carried_out_when_its_client_has_gone() {
    let server = Server::start();
    let mut stream = connect(server.address);
    stream.write_all(&server.request("PUT", "/api/v1/components/hello").body("application/wasm", HELLO).bytes()).unwrap();
    drop(stream);
    for _ in 0..3_000 {
        if server.get("/api/v1/components/hello").status == 200 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the component was not stored");
}

/// `add` takes two numbers, or another count of them.
fn adding(params: &[&str]) -> Vec<u8> {
    let typed: Vec<_> = params.iter().map(|name| format!("(param {name:?} u8)")).collect();
    let core = "(param i32)".repeat(params.len());
    wat::component(&format!(
        r#"(component
            (core module $m (func (export "add") {core} (result i32) (i32.const 0)))
            (core instance $i (instantiate $m))
            (func (export "add") {} (result u8) (canon lift (core func $i "add"))))"#,
        typed.join(" ")
    ))
}

#[test]
fn the_schema_of_an_entry_s_arguments_is_shown_where_it_is_asked_for() {
    let server = Server::with_hello();
    server.push("adder", &adding(&["left", "right"])).expect(201);
    assert_eq!(server.get("/api/v1/components/adder").expect(200).json()["entries"][0].get("schema"), None);
    let shown = server.get("/api/v1/components/adder?schema=true").expect(200).json();
    let schema = &shown["entries"][0]["schema"];
    assert_eq!((&schema["type"], &schema["required"]), (&json!("object"), &json!(["left", "right"])));
    assert_eq!(schema["properties"]["left"], json!({ "type": "integer", "minimum": 0, "maximum": 255 }));
    let command = server.get("/api/v1/components/hello?schema=true").expect(200).json();
    assert_eq!(command["entries"][0]["schema"]["items"], json!({ "type": "string" }));
}
