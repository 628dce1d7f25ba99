//! Programs of every language on a real server: pushed, added as jobs, run by its worker processes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::support::cage;
use crate::support::command::Place;
use crate::support::wat;

/// What each guest is to do as a job, and what its attempt must be, as far as said here.
fn guests() -> Vec<(&'static str, Value, Value)> {
    let rows = json!([{ "region": "north", "amount": 3 }, { "region": "south", "amount": 1 }, { "region": "north", "amount": 5 }]);
    let picture = json!({ "base64": "UDYKMiAyCjI1NQoAAAD/AAAAAAD/AAA=" });
    let done = |result: Value| json!({ "outcome": "succeeded", "result": result });
    let printed = |result: Value| json!({ "outcome": "succeeded", "exit_code": 0, "result": result });
    let greet = |entry: &str| json!({ "entry": entry, "args": { "name": "Ada" } });
    let pay = json!({ "number": "4539 1488 0343 6467" });
    vec![
        ("demo-hello", json!({ "stdin": "four" }), json!({ "outcome": "succeeded", "exit_code": 0, "error": null })),
        ("demo-spin", json!({ "limits": { "fuel": 1_000_000 } }), json!({ "outcome": "out-of-fuel" })),
        ("demo-hog", json!({ "limits": { "memory": "8MiB" } }), json!({ "outcome": "out-of-memory" })),
        ("probe", json!({ "args": ["stdin"], "stdin": "två\n" }), printed(json!("två\n"))),
        ("echo", json!({ "entry": "types.echo-s64", "args": { "v": -3 } }), done(json!(-3))),
        ("thumbnail", json!({ "args": ["1"], "stdin": picture }), printed(json!("P3\n1 1\n255\n128 0 0\n"))),
        (
            "wordcount",
            json!({ "entry": "run", "args": { "documents": [{ "name": "a", "text": "to be or not to be" }], "top": 1 } }),
            done(json!({ "words": 6, "top": [["be", 2]] })),
        ),
        ("report", json!({ "stdin": "region,amount\nnorth,12.50\nsouth,3\n", "stdout": "json" }), printed(json!({ "rows": 2, "totals": { "north": 12.5 } }))),
        (
            "outliers",
            json!({ "entry": "run", "args": { "series": { "mon": 12.0, "tue": 11.5, "wed": 48.0 }, "sigmas": 1.0 } }),
            done(json!({ "mean": 23.833, "outliers": { "wed": 48.0 } })),
        ),
        (
            "summarise",
            json!({ "entry": "run", "args": { "rows": rows, "by": "region", "sum": "amount" } }),
            done(json!({ "groups": { "north": { "rows": 2, "sum": 8 } } })),
        ),
        ("redact", json!({ "args": ["<dold>"], "stdin": "från ada@example.org: ok\n" }), printed(json!("från <dold>: ok\n"))),
        ("markdown", json!({ "entry": "run", "args": { "markdown": "# Today" } }), done(json!({ "html": "<h1>Today</h1>" }))),
        ("checksum", json!({ "stdin": "123456789", "stdout": "json" }), printed(json!({ "crc32": "cbf43926" }))),
        ("checksum-job", json!({ "entry": "run", "args": { "text": "123456789" } }), done(json!({ "adler32": "091e01de" }))),
        ("scan", json!({ "args": [r"(\d+)"], "stdin": "b\nc=22\n", "stdout": "json" }), printed(json!([{ "line": 2, "text": "22", "groups": ["22"] }]))),
        (
            "scan-job",
            json!({ "entry": "run", "args": { "text": "a=1\nb\n", "pattern": r"\d+" } }),
            done(json!({ "lines": 2, "matches": [{ "line": 1, "text": "1" }] })),
        ),
        ("textstats", json!({ "entry": "analyse", "args": { "text": "två\nxy" } }), done(json!({ "characters": 6, "longest-line": 3 }))),
        ("textstats-command", json!({ "stdin": "två ord\n", "stdout": "json" }), printed(json!({ "words": 2 }))),
        ("distance", json!({ "entry": "distance", "args": ["kitten", "sitting"] }), done(json!(3))),
        ("luhn", json!({ "entry": "valid", "args": pay }), done(json!(true))),
        ("upper", json!({ "stdin": "abc å" }), printed(json!("ABC å"))),
        ("template-rust", greet("run"), done(json!({ "greeting": "hello Ada" }))),
        ("template-python", greet("run"), done(json!({ "greeting": "hello Ada" }))),
        ("template-js", greet("run"), done(json!({ "greeting": "hello Ada" }))),
        ("template-c", json!({ "args": ["Ada"] }), printed(json!("hello Ada\n"))),
        ("template-go", json!({ "args": ["Ada"], "stdout": "json" }), printed(json!({ "greeting": "hello Ada" }))),
    ]
}

/// The fields of an expected object are in the found one, and agree; anything else is equal.
fn agrees(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Object(found), Value::Object(expected)) => expected.iter().all(|(name, value)| found.get(name).is_some_and(|found| agrees(found, value))),
        _ => found == expected,
    }
}

fn list() -> BTreeSet<String> {
    let listed = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/build")).arg("--list").output().expect("guests/build runs");
    String::from_utf8(listed.stdout).expect("names").lines().map(str::to_owned).collect()
}

/// A server that finds what the tests have compiled, as if it had compiled it itself.
fn place_with_artefacts() -> Place {
    let place = Place::default();
    std::fs::create_dir(place.path(".bellcage")).unwrap();
    cage::cache();
    std::os::unix::fs::symlink(cage::artefacts(), place.path(".bellcage/cache")).unwrap();
    place
}

/// The detail of a run that was asked for and waited for, whatever became of it.
fn run(place: &Place, job: &str) -> Value {
    place.bellcage(&["trigger", job, "--wait", "--json"]).json()
}

#[tokio::test]
async fn every_guest_is_pushed_added_and_run_by_a_real_server() {
    let guests = guests();
    let named: BTreeSet<_> = guests.iter().map(|(guest, ..)| (*guest).to_owned()).collect();
    let built = list();
    assert!(named.is_subset(&built) && named.len() > 25, "not built by guests/build: {:?}", named.difference(&built));
    let place = place_with_artefacts();
    let _server = place.serve(&[]);
    let mut jobs = Map::new();
    for (guest, spec, _) in &guests {
        let file = place.write(&format!("{guest}.wasm"), cage::compiled_guest(guest).await);
        place.bellcage(&["component", "push", file.to_str().unwrap()]).ok();
        let mut spec = spec.clone();
        let entry = spec.as_object_mut().unwrap().remove("entry");
        spec["component"] = entry.map_or_else(|| json!(guest), |entry| json!(format!("{guest}:{}", entry.as_str().unwrap())));
        spec["trigger"] = json!("manual");
        jobs.insert((*guest).to_owned(), spec);
    }
    place.write("jobs.toml", toml::to_string(&json!({ "job": jobs })).unwrap());
    place.bellcage(&["job", "apply", "-f", "jobs.toml"]).ok();
    for (guest, _, expected) in &guests {
        let attempt = &run(&place, guest)["attempts"][0];
        assert!(agrees(attempt, expected), "{guest}: {expected} was expected of {attempt:#}");
        let receipt = &attempt["receipt"];
        assert!(receipt["fuel_used"].as_u64() > Some(0) && receipt["instantiate_us"].as_u64() > Some(0), "{guest}: {receipt}");
    }
}

#[test]
fn the_first_run_after_a_restart_compiles_nothing() {
    let place = Place::default();
    let server = place.serve(&[]);
    let kept = |extension: &str| {
        let files = std::fs::read_dir(place.path(".bellcage/cache")).unwrap();
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == extension)).count()
    };
    place.write("tiny.wasm", wat::tiny());
    place.bellcage(&["component", "push", "tiny.wasm"]).ok();
    assert_eq!(kept("cwasm"), 1, "a push compiles");
    place.bellcage(&["job", "add", "tiny", "--component", "tiny", "--manual"]).ok();
    server.kill();

    // No compiler can start with so little.
    let _server = place.serve(&["--set", "compile.memory=1MiB"]);
    let run = run(&place, "tiny");
    assert_eq!((&run["outcome"], kept("cwasm")), (&json!("succeeded"), 1), "{run:#}");
    let receipt = &run["attempts"][0]["receipt"];
    assert!(receipt["instantiate_us"].as_u64() > Some(0) && receipt["instantiate_us"].as_u64() <= receipt["wall_us"].as_u64(), "{receipt}");
    place.write("other.wasm", wat::spin());
    assert_ne!(place.bellcage(&["component", "push", "other.wasm"]).code, 0, "this server cannot compile");
}

#[test]
fn a_server_with_another_engine_compiles_what_was_pushed_before_any_run_asks_for_it() {
    let place = Place::default();
    let server = place.serve(&[]);
    place.write("tiny.wasm", wat::tiny());
    place.bellcage(&["component", "push", "tiny.wasm"]).ok();
    place.bellcage(&["job", "add", "tiny", "--component", "tiny", "--manual"]).ok();
    let artefacts = || {
        let files = std::fs::read_dir(place.path(".bellcage/cache")).unwrap();
        files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|e| e == "seal")).count()
    };
    assert_eq!((artefacts(), server.stop()), (1, 0));

    let _server = place.serve(&["--set", "limit_caps.memory=512MiB"]);
    place.wait("the second artefact", || (artefacts() == 2).then_some(()));
    assert_eq!(run(&place, "tiny")["outcome"], "succeeded");
}

/// A command that exits with 3 by `exit-with-code`, which knows more than well and not well.
fn exits_with_3() -> Vec<u8> {
    let exit = r#"(import "wasi:cli/exit@0.2.12" (instance $exits (export "exit-with-code" (func (param "status-code" u8)))))
        (core func $call (canon lower (func $exits "exit-with-code")))"#;
    wat::calling_command(exit, "(param i32)", "", "(call $call (i32.const 3)) unreachable")
}

#[test]
fn of_a_command_its_job_gives_arguments_environment_and_input_and_its_run_keeps_output_log_and_exit_code() {
    let place = place_with_artefacts();
    let _server = place.serve(&[]);
    let probe = place.write("probe.wasm", cage::built_guest("probe"));
    place.bellcage(&["component", "push", probe.to_str().unwrap()]).ok();
    let add = |id: &str, flags: &[&str]| place.bellcage(&[&["job", "add", id, "--component", "probe", "--manual"], flags].concat()).ok();
    let result = |id: &str| run(&place, id)["attempts"][0]["result"].clone();

    add("args", &["--arg", "args", "--arg", "a b", "--arg", "--ü"]);
    assert_eq!(result("args"), "probe\nargs\na b\n--ü\n");
    add("env", &["--arg", "env", "--env", "MODE=prod", "--env", "A="]);
    assert_eq!(result("env"), "A=\nMODE=prod\n");
    place.write("input", "två\n");
    add("stdin", &["--arg", "stdin", "--stdin", "input"]);
    assert_eq!(result("stdin"), "två\n");
    assert_eq!(place.bellcage(&["trigger", "stdin", "--wait"]).ok(), "två\n", "who waits gets the output as it is");
    add("none", &["--arg", "stdin"]);
    assert_eq!(result("none"), "");

    add("log", &["--arg", "log", "--arg", "2"]);
    let id = run(&place, "log")["id"].as_str().unwrap().to_owned();
    assert_eq!(place.bellcage(&["runs", "logs", &id]).ok(), "line 0\nline 1\n");

    place.write("exits.wasm", exits_with_3());
    place.bellcage(&["component", "push", "exits.wasm"]).ok();
    place.bellcage(&["job", "add", "exits", "--component", "exits", "--manual"]).ok();
    let exited = run(&place, "exits");
    assert_eq!((&exited["outcome"], &exited["attempts"][0]["exit_code"]), (&json!("failed"), &json!(3)), "{exited:#}");
    assert_eq!(place.bellcage(&["trigger", "exits", "--wait"]).code, 20);
}

#[test]
fn bytes_that_are_no_text_can_be_a_commands_input() {
    let place = place_with_artefacts();
    let _server = place.serve(&[]);
    for guest in ["thumbnail", "probe"] {
        let file = place.write(&format!("{guest}.wasm"), cage::built_guest(guest));
        place.bellcage(&["component", "push", file.to_str().unwrap()]).ok();
    }
    let picture = [b"P6\n2 1\n255\n", &[255; 6][..]].concat();
    place.write("picture.ppm", &picture);
    place.bellcage(&["job", "add", "shrink", "--component", "thumbnail", "--manual", "--stdin", "picture.ppm", "--arg", "1"]).ok();
    assert_eq!(run(&place, "shrink")["attempts"][0]["result"], "P3\n1 1\n255\n255 255 255\n");
    let stdin = place.json(&["job", "show", "shrink"])["spec"]["stdin"].clone();
    assert_eq!(stdin, json!({ "base64": "UDYKMiAxCjI1NQr///////8=" }));
    place.write("large", vec![b'x'; (1 << 20) + 1]);
    let refused = place.bellcage(&["job", "add", "large", "--component", "probe", "--manual", "--stdin", "large"]);
    assert!(refused.code == 2 && refused.stderr.contains("large"), "{refused:?}");
}

#[test]
fn what_a_command_prints_is_a_text_unless_its_job_says_that_it_is_json() {
    let place = place_with_artefacts();
    let _server = place.serve(&[]);
    let probe = place.write("probe.wasm", cage::built_guest("probe"));
    place.bellcage(&["component", "push", probe.to_str().unwrap()]).ok();
    let add = |id: &str, printed: &str, flags: &[&str]| {
        place.write("input", printed);
        place.bellcage(&[&["job", "add", id, "--component", "probe", "--manual", "--arg", "stdin", "--stdin", "input"], flags].concat()).ok();
    };
    let printed = "{\"total\": 3}\n";
    add("text", printed, &[]);
    assert_eq!(run(&place, "text")["attempts"][0]["result"], printed);
    add("json", printed, &["--stdout", "json"]);
    let value = run(&place, "json");
    assert_eq!((&value["outcome"], &value["attempts"][0]["result"]), (&json!("succeeded"), &json!({ "total": 3 })));
    let shown = place.bellcage(&["runs", "show", value["id"].as_str().unwrap()]).ok();
    assert!(shown.ends_with("\nresult\n{\"total\":3}\n"), "{shown}");

    add("neither", "3 rows\n", &["--stdout", "json"]);
    let failed = run(&place, "neither");
    let attempt = &failed["attempts"][0];
    assert_eq!((&failed["outcome"], &attempt["exit_code"], &attempt["result"]), (&json!("failed"), &json!(0), &json!("3 rows\n")));
    let error = &attempt["error"];
    assert_eq!(error["code"], "result-not-json");
    assert!(error["message"].as_str().is_some_and(|m| m.starts_with("printed a result that is not one JSON document: ")), "{error}");

    let here = |input: &str| place.bellcage(&["run", "--json", "--stdout", "json", "--stdin", input, probe.to_str().unwrap(), "stdin"]);
    assert_eq!((here("input").code, &here("input").json()["error"]["code"]), (20, &json!("result-not-json")));
    place.write("input", printed);
    assert_eq!(here("input").json()["result"], json!({ "total": 3 }));
}

#[test]
fn a_functions_output_cannot_be_said_to_be_json() {
    let place = Place::default();
    let message = "stdout = \"json\" is for commands (entry main): a function returns its result";
    let refused = place.bellcage(&["job", "add", "sum", "--component", "luhn:valid", "--manual", "--stdout", "json"]);
    assert_eq!((refused.code, refused.stderr.trim_end()), (2, format!("error[bad-job]: {message}").as_str()));
}
