//! Bad input, each with its message, its hint and its exit code; nothing is half-written.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;

use crate::support::command::Place;

const HELLO: &[u8] = include_bytes!("../../../guests/demo/hello.wasm");

/// The server knows no component: nothing was half-written.
fn is_empty(place: &Place) {
    assert_eq!(place.json(&["component", "list"])["components"].as_array().map(Vec::len), Some(0));
    assert_eq!(place.json(&["job", "list"])["jobs"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_file_that_is_not_wasm_is_refused() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.write("note.wasm", "not a component\n");
    let hint = "push a compiled component, such as what `cargo build --target wasm32-wasip2` writes";
    place.bellcage(&["component", "push", "note.wasm"]).refused(2, "this is not a WebAssembly component", hint);
    place.bellcage(&["run", "note.wasm"]).refused(2, "this is not a WebAssembly component", hint);
    is_empty(&place);
}

#[test]
fn a_truncated_component_is_refused() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.write("half.wasm", &HELLO[..HELLO.len() / 2]);
    place.bellcage(&["component", "push", "half.wasm"]).refused(
        2,
        "the component ends too early: it is cut off at byte ",
        "was it copied or downloaded to its end?",
    );
    is_empty(&place);
}

#[test]
fn a_component_that_imports_what_is_not_offered_is_refused_by_the_imports_name() {
    let place = Place::default();
    let _server = place.serve(&[]);
    let text = r#"(component (import "acme:rockets/launch@1.0.0" (instance (export "go" (func)))))"#;
    place.write("rocket.wasm", wat::parse_str(text).unwrap());
    place.bellcage(&["component", "push", "rocket.wasm"]).refused(
        2,
        "the component imports \"acme:rockets/launch@1.0.0\", which bellcage does not offer",
        "bellcage offers bellcage:job 0.1 and WASI 0.2",
    );
    is_empty(&place);
}

#[test]
fn a_row_that_bench_does_not_measure_or_a_file_without_figures_is_refused() {
    let place = Place::default();
    place.bellcage(&["bench", "--row", "8", "--peers", "nope.json"]).refused(
        3,
        "nope.json: no such file or directory",
        "the programs in benches/peers/ print such a file",
    );
    std::fs::write(place.path("peers.json"), "[3]").unwrap();
    place.bellcage(&["bench", "--row", "8", "--peers", "peers.json"]).refused(2, "peers.json: these are no figures by row: ", "the programs in benches/peers/");
    place.bellcage(&["bench", "--row", "3", "--row", "99"]).refused(2, "there is no row \"99\" to measure", "the rows are 1, 2, 2-workers, 2b, 3, ");
}

#[test]
fn a_job_of_an_unknown_component_is_refused() {
    let place = Place::default();
    let _server = place.serve(&[]);
    let ran = place.bellcage(&["job", "add", "nightly", "--component", "reports", "--every", "1m"]);
    ran.refused(3, "component \"reports\" is not uploaded", "bellcage component push reports.wasm");
    is_empty(&place);
}

#[test]
fn a_bad_cron_expression_is_refused_with_its_place_marked() {
    let place = Place::default();
    let ran = place.bellcage(&["job", "add", "nightly", "--component", "hello", "--cron", "0 25 * * *"]);
    // Whatever the server is: a wrong expression is told first.
    ran.refused(2, "25 is not a", "");
    assert!(ran.stderr.contains("\n  0 25 * * *\n    ^^\n"), "{ran:?}");
}

#[test]
fn a_bad_timezone_is_refused_with_the_nearest_name() {
    let place = Place::default();
    let ran = place.bellcage(&["job", "add", "nightly", "--component", "hello", "--cron", "0 2 * * *", "--timezone", "Europe/Stokholm"]);
    ran.refused(2, "\"Europe/Stokholm\" is not a time zone", "did you mean Europe/Stockholm?");
}

#[test]
fn a_job_id_with_a_slash_is_refused() {
    let place = Place::default();
    let message = "job id \"a/b\" is not valid: use 1 to 100 of a-z, 0-9, '.', '_' and '-'";
    for args in [&["job", "add", "a/b", "--component", "hello", "--every", "1m"][..], &["job", "show", "a/b"], &["trigger", "a/b"]] {
        place.bellcage(args).refused(2, message, "for example a-b");
    }
}

#[test]
fn a_component_over_the_servers_cap_is_refused() {
    let place = Place::default();
    let _server = place.serve(&["--set", "server.component_max=64KiB"]);
    place.write("hello.wasm", HELLO);
    let ran = place.bellcage(&["component", "push", "hello.wasm", "--json"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    let error = &ran.json()["error"];
    assert_eq!(error["code"], "body-too-large", "{error}");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("64KiB")) && error["hint"].is_string(), "{error}");
    // The command's own cap says so before anything is sent.
    let ran = place.bellcage(&["component", "push", "hello.wasm", "--set", "server.component_max=64KiB"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    is_empty(&place);
}

#[test]
fn a_second_server_on_one_store_is_refused_and_names_the_first() {
    let place = Place::default();
    let server = place.serve(&[]);
    let ran = place.bellcage(&["serve", "--listen", "127.0.0.1:0"]);
    ran.refused(4, "the store in ", "stop that server first");
    assert!(ran.stderr.contains(&format!("(pid {})", server.pid())), "{ran:?}");
    is_empty(&place);
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_as_it_is() {
    let place = Place::default();
    assert_eq!(place.serve(&[]).stop(), 0);
    let path = place.path(".bellcage/bellcage.db");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 9_999).unwrap();
    let before = std::fs::read(&path).unwrap();
    let ran = place.bellcage(&["serve", "--listen", "127.0.0.1:0"]);
    ran.refused(1, "the store ", "use the bellcage that wrote it, or a newer one");
    assert!(ran.stderr.contains("was written by a newer bellcage (schema 9999"), "{ran:?}");
    assert!(std::fs::read(&path).unwrap() == before, "nothing was changed");
}

#[test]
fn a_store_that_is_no_database_is_refused_and_left_as_it_is() {
    let place = Place::default();
    std::fs::create_dir(place.path(".bellcage")).unwrap();
    let path = place.write(".bellcage/bellcage.db", "a love letter, and rather long at that; certainly no database of any kind\n".repeat(20));
    let before = std::fs::read(&path).unwrap();
    place.bellcage(&["serve", "--listen", "127.0.0.1:0"]).refused(1, "the store ", "restore a backup");
    assert!(std::fs::read(&path).unwrap() == before, "nothing was changed");
}

#[test]
fn a_store_that_cannot_be_written_is_refused() {
    let place = Place::default();
    assert_eq!(place.serve(&[]).stop(), 0);
    let set = |mode| std::fs::set_permissions(place.path(".bellcage"), PermissionsExt::from_mode(mode)).unwrap();
    std::fs::set_permissions(place.path(".bellcage/bellcage.db"), PermissionsExt::from_mode(0o444)).unwrap();
    set(0o555);
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0", "--json"]);
    if rustix::process::getuid().is_root() {
        // Rights do not bind root, so another user tries it, who can reach neither target/ nor a 0700 directory.
        std::fs::set_permissions(place.path(""), PermissionsExt::from_mode(0o755)).unwrap();
        let copy = place.path("bellcage");
        // Copied by another process: a file that this one has open for writing, and a fork of another test's with it, cannot be started.
        assert!(std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_bellcage")).arg(&copy).status().unwrap().success());
        std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).unwrap();
        command = std::process::Command::new(copy);
        command.args(["serve", "--listen", "127.0.0.1:0", "--json"]).current_dir(place.path("")).env_clear().uid(65_534).gid(65_534);
    }
    let output = command.output().unwrap();
    set(0o755);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = &serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["error"];
    assert_eq!(error["code"], "store-read-only", "{error}");
    assert!(error["hint"].as_str().is_some_and(|hint| hint.starts_with("give this user the right to write there")), "{error}");
}
