//! A user's first hour: serve, push, add, look, stop.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::command::Place;

const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/demo/hello.wasm");
const SPIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/demo/spin.wasm");

#[test]
fn a_component_is_pushed_put_on_a_schedule_and_its_runs_can_be_read() {
    let place = Place::default();
    let _server = place.serve(&[]);
    let pushed = place.bellcage(&["component", "push", HELLO]).ok();
    assert!(pushed.starts_with("pushed hello@1 (103 KiB, sha256:"), "{pushed}");
    assert!(place.bellcage(&["component", "push", HELLO]).ok().starts_with("unchanged: hello@1"));
    assert_eq!(place.json(&["component", "list"])["components"][0]["name"], "hello");
    assert_eq!(place.json(&["component", "show", "hello"])["entries"][0]["name"], "main");

    let added = place.bellcage(&["job", "add", "greet", "--component", "hello", "--every", "1s", "--arg", "hi", "--env", "A=B", "--label", "team=x"]);
    assert_eq!(added.code, 0, "{added:?}");
    assert!(added.stdout.starts_with("added greet: every 1s\n"), "{added:?}");
    assert_eq!(added.stdout.lines().count(), 4, "the first three firings: {added:?}");

    let run = place.wait("a run that ended", || place.runs(&["--job", "greet", "--outcome", "succeeded"]).pop());
    let id = run["id"].as_str().unwrap();
    let shown = place.json(&["runs", "show", id]);
    let result = shown["attempts"][0]["result"].as_str().unwrap();
    assert!(result.contains("args: hi\nenv: A=B\n"), "{result}");
    assert_eq!(shown["receipt"]["fuel_limit"], 10_000_000_000_u64);
    assert_eq!(place.bellcage(&["runs", "logs", id]).ok(), "hello: started\nhello: done\n");
    let story = place.bellcage(&["explain", "run", id]).ok();
    assert!(story.contains("The trigger of job greet, which fires every 1s, named ") && story.contains("So it ended as succeeded."), "{story}");

    assert_eq!(place.bellcage(&["job", "pause", "greet", "--reason", "lunch"]).code, 0);
    let job = place.json(&["job", "show", "greet"]);
    assert_eq!((job["paused"].as_bool(), job["pause"]["reason"].as_str()), (Some(true), Some("lunch")));
    let missed = job["next_fire"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    place.wait("the time of a firing in the pause", || (jiff::Timestamp::now() > missed).then_some(()));
    assert_eq!(place.bellcage(&["job", "resume", "greet"]).code, 0);
    let list = place.json(&["runs", "list", "--job", "greet", "--include-skipped"]);
    assert!(list["firings"].as_array().unwrap().iter().any(|firing| firing["reason"] == "paused"), "{list}");
    assert!(place.bellcage(&["runs", "list", "--include-skipped"]).ok().contains("\nno run "), "a firing without a run has a row of its own");
    assert_eq!(place.json(&["job", "list", "--label", "team=x"])["jobs"].as_array().map(Vec::len), Some(1));
    assert_eq!(place.bellcage(&["job", "rm", "greet"]).code, 0);
    assert_eq!(place.bellcage(&["component", "rm", "hello"]).code, 0);
    place.bellcage(&["component", "show", "hello"]).refused(3, "component \"hello\" is not uploaded", "bellcage component push hello.wasm");
}

#[test]
fn a_version_that_would_break_a_job_needs_force() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    place.bellcage(&["job", "add", "greet", "--component", "hello", "--manual"]).ok();
    let function = r#"(component
        (core module $m (func (export "one") (result i32) i32.const 1))
        (core instance $i (instantiate $m))
        (func (export "one") (result u32) (canon lift (core func $i "one"))))"#;
    place.write("one.wasm", wat::parse_str(function).unwrap());
    let push = ["component", "push", "one.wasm", "--name", "hello"];
    let ran = place.bellcage(&push);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stderr.contains("greet"), "the job is named: {ran:?}");
    assert_eq!(place.json(&["component", "show", "hello"])["version"], 1, "nothing was stored");
    let forced = place.bellcage(&[&push[..], &["--force"]].concat());
    assert_eq!(forced.code, 0, "{forced:?}");
    assert!(forced.stderr.contains("note: job greet cannot run it: "), "{forced:?}");
    assert_eq!(place.bellcage(&["trigger", "greet", "--wait"]).code, 27);
}

#[test]
fn a_version_that_asks_for_more_needs_approval() {
    let place = Place::default();
    let _server = place.serve(&[]);
    let quiet = r#"(component
        (core module $m (func (export "one") (result i32) i32.const 1))
        (core instance $i (instantiate $m))
        (func (export "one") (result u32) (canon lift (core func $i "one"))))"#;
    place.write("quiet.wasm", wat::parse_str(quiet).unwrap());
    place.bellcage(&["component", "push", "quiet.wasm", "--name", "greeter"]).ok();
    let push = ["component", "push", HELLO, "--name", "greeter"];
    place.bellcage(&push).refused(
        4,
        "this version of component \"greeter\" asks for more than version 1 did: env, dirs",
        "where that is as it should be, push it with --approve-grants",
    );
    let approved = place.bellcage(&[&push[..], &["--approve-grants"]].concat());
    assert!(approved.stderr.contains("note: it asks for more than the version before: env, dirs"), "{approved:?}");
    let shown = place.bellcage(&["component", "show", "greeter"]).ok();
    assert!(shown.contains("may use: env, dirs (imported, as by most languages' libraries)"), "{shown}");
}

#[test]
fn a_run_on_demand_can_be_waited_for() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    place.bellcage(&["component", "push", SPIN]).ok();
    place.bellcage(&["job", "add", "greet", "--component", "hello", "--manual", "--arg", "usual"]).ok();
    place.bellcage(&["job", "add", "spin", "--component", "spin", "--manual", "--fuel", "1M"]).ok();
    let ran = place.bellcage(&["trigger", "greet", "--wait", "--arg", "special"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "hello: started\nhello: done\n"));
    assert!(ran.stdout.contains("args: special\n"), "{ran:?}");
    let ran = place.bellcage(&["trigger", "spin", "--wait"]);
    assert_eq!(ran.code, 21, "{ran:?}");
    assert!(ran.stderr.ends_with("out-of-fuel: used all its fuel (limits.fuel = 1000000)\n"), "{ran:?}");
    let page = place.bellcage(&["runs", "list", "-n", "1"]);
    let cursor = page.stderr.trim().strip_prefix("hint: there are more: --after ").unwrap_or_else(|| panic!("{page:?}")).to_owned();
    assert_eq!(place.json(&["runs", "list", "--after", &cursor])["runs"][0]["job"], "greet");
    let detail = place.bellcage(&["trigger", "spin", "--wait", "--json"]);
    assert_eq!((detail.code, detail.json()["cause"].as_str()), (21, Some("on-demand")));
}

#[test]
fn a_run_can_be_cancelled_and_watched() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", SPIN]).ok();
    place.bellcage(&["job", "add", "spin", "--component", "spin", "--manual", "--fuel", "900G", "--timeout", "10m"]).ok();
    let mut watch = place.start_beside(&["runs", "watch", "--job", "spin", "--jsonl"]);
    place.wait("the watcher's first event", || {
        place.bellcage(&["job", "pause", "spin"]).ok();
        watch.line_within(Duration::from_millis(100), |line| line.contains("job-paused"))
    });
    let id = place.bellcage(&["trigger", "spin"]).ok().trim().to_owned();
    watch.line(|line| line.contains("run-started") && line.contains(&id));
    assert!(place.bellcage(&["runs", "cancel", &id, "--reason", "enough"]).ok().contains("is being stopped"));
    let event: Value = serde_json::from_str(&watch.line(|line| line.contains("run-ended") && line.contains(&id))).unwrap();
    assert_eq!(event["outcome"], "cancelled");
    let run = place.json(&["runs", "show", &id]);
    assert!(run["error"]["message"].as_str().is_some_and(|message| message.contains("enough")), "{run}");
    assert!(place.bellcage(&["runs", "cancel", &id]).ok().contains("had ended before"));
}

#[test]
fn jobs_are_applied_from_a_file_and_a_refused_one_does_not_stop_the_others() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    let good = "[job.nightly]\ncomponent = \"hello\"\ntrigger = { cron = \"30 2 * * mon-fri\", timezone = \"Europe/Stockholm\" }\n";
    place.write("jobs.toml", format!("{good}\n[job.lost]\ncomponent = \"nobody\"\ntrigger = {{ every = \"1m\" }}\n"));
    let ran = place.bellcage(&["job", "apply", "-f", "jobs.toml"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.ends_with("1 applied, 1 refused\n"), "{ran:?}");
    assert!(ran.stderr.contains("error[component-not-uploaded]: job lost: component \"nobody\" is not uploaded"), "{ran:?}");
    assert_eq!(place.json(&["job", "show", "nightly"])["timezone"], "Europe/Stockholm");
    let next = place.json(&["next", "nightly", "--after", "2026-03-27T12:00:00", "-n", "1"]);
    assert_eq!(next["fires"][0], "2026-03-30T02:30:00+02:00[Europe/Stockholm]");
    let shown = place.bellcage(&["next", "nightly", "--after", "2026-03-27T12:00:00", "-n", "1"]);
    assert!(shown.stdout.contains("\n  Mon 2026-03-30 02:30:00 CEST "), "{shown:?}");

    place.write("jobs.toml", format!("{good}priorty = 3\n"));
    place.bellcage(&["job", "apply", "-f", "jobs.toml"]).refused(2, "jobs.toml:4: unknown field `priorty`", "each job is a table");
}

#[test]
fn times_are_shown_in_the_jobs_zone() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    place.bellcage(&["job", "add", "far", "--component", "hello", "--cron", "30 12 * * *", "--timezone", "Asia/Kathmandu"]).ok();
    place.bellcage(&["trigger", "far", "--wait"]).ok();
    assert!(place.bellcage(&["job", "list"]).ok().contains(" 12:30:00 +0545 "));
    assert!(place.bellcage(&["runs", "list"]).ok().contains(" +0545 "));
    let job = place.json(&["job", "show", "far"]);
    assert!(job["next_fire"].as_str().is_some_and(|t| t.ends_with("T06:45:00Z")), "{job}");
}

#[test]
fn what_the_server_writes_is_for_its_owner_alone_and_the_token_stays() {
    let place = Place::default();
    let server = place.serve(&[]);
    for (name, mode) in [("", 0o700), ("server.json", 0o600), ("token", 0o600), ("bellcage.db", 0o600)] {
        let found = std::fs::metadata(place.path(".bellcage").join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(format!("{found:o}"), format!("{mode:o}"), "{name}");
    }
    let token = std::fs::read_to_string(place.path(".bellcage/token")).unwrap();
    let file: Value = serde_json::from_slice(&std::fs::read(place.path(".bellcage/server.json")).unwrap()).unwrap();
    assert_eq!((file["pid"].as_u64(), file["token"].as_str()), (Some(server.pid().into()), Some(token.as_str())));
    assert_eq!(server.stop(), 0);
    assert!(!place.path(".bellcage/server.json").exists());
    let _again = place.serve(&[]);
    assert_eq!(std::fs::read_to_string(place.path(".bellcage/token")).unwrap(), token);
}

#[test]
fn a_server_that_cannot_listen_says_so() {
    let place = Place::default();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    place.bellcage(&["serve", "--listen", &address]).refused(1, &format!("{address} cannot be listened on: "), "another server may have it");
    place.bellcage(&["serve", "--set", "server.token=short"]).refused(2, "the token has 5 characters", "use 16 or more letters");
    assert!(!place.path(".bellcage/server.json").exists());
}

#[test]
fn a_token_that_is_refused_leaves_no_data_directory() {
    let place = Place::default();
    place.bellcage(&["serve", "--set", "server.token=short"]).refused(2, "the token has 5 characters", "use 16 or more letters");
    assert!(!place.path(".bellcage").exists());
}

#[test]
fn a_token_file_that_is_no_small_plain_file_is_refused_unread() {
    for make in [|path: &Path| std::fs::create_dir(path), |path: &Path| std::fs::write(path, "x".repeat(5_000))] {
        let place = Place::default();
        std::fs::create_dir(place.path(".bellcage")).unwrap();
        make(&place.path(".bellcage/token")).unwrap();
        place.bellcage(&["serve", "--listen", "127.0.0.1:0"]).refused(1, ".bellcage/token: not a plain file of 4096 bytes at most", "remove it");
    }
}

#[test]
fn a_data_directory_that_others_can_write_into_is_refused() {
    let place = Place::default();
    let data = place.path(".bellcage");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o770)).unwrap();
    place.bellcage(&["serve", "--listen", "127.0.0.1:0"]).refused(
        1,
        ".bellcage: other users of this machine can write into this directory",
        "take that right away: chmod go-w .bellcage",
    );
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "nothing is written there");
}

#[test]
fn a_token_that_others_can_read_is_refused() {
    let place = Place::default();
    let data = place.path(".bellcage");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
    place.write(".bellcage/token", "0123456789abcdef0123");
    std::fs::set_permissions(data.join("token"), std::fs::Permissions::from_mode(0o640)).unwrap();
    place.bellcage(&["serve", "--listen", "127.0.0.1:0"]).refused(
        1,
        ".bellcage/token: other users of this machine can read the server's token",
        "make it yours alone: chmod 600 .bellcage/token",
    );
}

#[test]
fn a_file_that_is_not_there_exits_3_and_names_its_code() {
    let place = Place::default();
    let ran = place.bellcage(&["run", "nothing.wasm"]);
    ran.refused(3, "nothing.wasm: no such file or directory", "name a component's file, or one of the demos");
    assert!(ran.stderr.starts_with("error[file]: "), "{ran:?}");
}

#[test]
fn a_backfill_without_an_end_is_up_to_now_and_says_why_it_found_nothing() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    place.bellcage(&["job", "add", "nightly", "--component", "hello", "--cron", "0 3 1 * *"]).ok();
    let found = place.json(&["backfill", "nightly", "--from", "2026-01-01", "--dry-run"]);
    assert!(found["named"].as_u64().is_some_and(|n| n >= 1) && found["made"] == found["named"], "{found}");
    place.bellcage(&["job", "add", "byhand", "--component", "hello", "--manual"]).ok();
    let none = place.bellcage(&["backfill", "byhand", "--from", "2026-01-01"]);
    assert!(none.code == 0 && none.stderr.contains("note: the trigger of byhand names no instant in that period"), "{none:?}");
}

#[test]
fn a_wrong_token_exits_5() {
    let place = Place::default();
    let _server = place.serve(&[]);
    let file: Value = serde_json::from_slice(&std::fs::read(place.path(".bellcage/server.json")).unwrap()).unwrap();
    let address = file["address"].as_str().unwrap();
    let ran = place.command(&["job", "list", "--server", address]).env("BELLCAGE_TOKEN", "0123456789abcdef0123").output().unwrap();
    assert_eq!(ran.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("error[token-wrong]: this token is not valid\nhint: "));
}

#[test]
fn a_server_that_is_asked_to_stop_while_it_starts_ends_at_once() {
    let place = Place::default();
    place.serve(&[]).stop();
    // Its start waits for whoever writes the key.
    let key = place.path(".bellcage/cache/artefact.key");
    let bytes = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &key, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR, 0).unwrap();
    let mut server = place.start_beside(&["serve", "--listen", "127.0.0.1:0"]);
    // That there is a reader means that it has come so far.
    let mut writer = place.wait("the start", || {
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
        rustix::fs::open(&key, flags, rustix::fs::Mode::empty()).ok().map(std::fs::File::from)
    });
    server.signal(rustix::process::Signal::TERM);
    place.wait("the word of its end", || server.log().contains("SIGTERM while the server was starting: it ends at once").then_some(()));
    std::io::Write::write_all(&mut writer, &bytes).unwrap();
    drop(writer);
    assert_eq!(server.ended(), 0);
    assert!(!place.path(".bellcage/server.json").exists());
}

/// To an address that no machine has, so that nothing is served.
#[test]
fn that_http_is_not_encrypted_is_told_where_it_leaves_the_machine() {
    let place = Place::default();
    let refused = place.bellcage(&["serve", "--listen", "192.0.2.1:0"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("HTTP is not encrypted: whoever is on the way to 192.0.2.1:0 reads the token"), "{refused:?}");
    let server = place.serve(&[]);
    assert!(!server.log().contains("not encrypted"), "{}", server.log());
}
