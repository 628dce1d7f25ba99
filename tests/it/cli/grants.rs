//! `--grant`: what a guest is given beyond its sandbox, from the command line to the guest and back.

use std::io::Read as _;
use std::process::Stdio;

use crate::support::cage;
use crate::support::command::Place;
use crate::support::web::Web;

/// A directory with both guests in it.
fn place() -> Place {
    let place = Place::default();
    for guest in ["keyvalue", "fetch"] {
        place.write(&format!("{guest}.wasm"), cage::built_guest(guest));
    }
    place
}

#[test]
fn a_namespace_of_run_passes_with_it() {
    let place = place();
    let ran = place.bellcage(&["run", "--grant", "kv", "keyvalue.wasm", "add:n:1", "get:n"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "1\n1\n"), "{ran:?}");
    let ran = place.bellcage(&["run", "--grant", "kv", "--kv-bytes", "100B", "keyvalue.wasm", "get:n", "fill:1:100"]);
    assert_eq!(ran.stdout, "nothing\nrefused: the namespace would take 105 bytes, more than limits.kv_bytes = 100B allows\n", "{ran:?}");
    let ran = place.bellcage(&["run", "keyvalue.wasm", "get:n"]);
    assert_eq!(ran.stdout, "access denied\n", "{ran:?}");
    place.bellcage(&["run", "--grant", "kv", "--kv-bytes", "65MiB", "keyvalue.wasm"]).refused(
        2,
        "limits.kv_bytes = 65MiB is above this server's cap, which is 64MiB",
        "see the caps with: bellcage config show",
    );
}

#[test]
fn a_request_of_run_goes_where_it_was_granted_and_through_no_proxy() {
    let (place, web) = (place(), Web::start());
    let grant = format!("http={}", web.origin());
    let mut command = place.command(&["run", "--grant", &grant, "fetch.wasm", "get", &web.url("/"), "get", "http://127.0.0.1:9/"]);
    for variable in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(variable, "http://127.0.0.1:1");
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let (mut out, mut log) = (String::new(), String::new());
    child.stdout.take().expect("a pipe").read_to_string(&mut out).expect("text");
    child.stderr.take().expect("a pipe").read_to_string(&mut log).expect("text");
    assert!(child.wait().expect("it ends").success(), "{log}");
    assert_eq!(out, "200 hello\nHttpRequestDenied\n");
    assert!(log.contains("WARN bellcage: a request was denied: the job was not granted requests to http://127.0.0.1:9"), "{log}");
}

#[test]
fn a_grant_that_is_none_is_refused_with_what_there_is() {
    let place = place();
    place.bellcage(&["run", "--grant", "files", "fetch.wasm"]).refused(2, "--grant \"files\" is no grant", "use kv, or http=ORIGIN");
    place.bellcage(&["run", "--grant", "ftp=x", "none.wasm"]).refused(2, "--grant \"ftp=x\" is no grant", "use kv, or http=ORIGIN");
    place.bellcage(&["run", "--grant", "http=api.example.com", "fetch.wasm"]).refused(
        2,
        "--grant http: \"api.example.com\" is no origin: it begins with http:// or https://",
        "write it as https://api.example.com",
    );
}

#[test]
fn where_the_server_reaches_no_private_address_none_is_granted() {
    let (place, web) = (place(), Web::start());
    let own = ["--set", "http.private=false"];
    let grant = format!("http={}", web.origin());
    let message = format!("grants.http = \"{}\" is not on the public internet, and this server lets no job reach such addresses", web.origin());
    let hint = "its operator allows them with http.private = true";
    place.bellcage(&[&own[..], &["run", "--grant", &grant, "fetch.wasm", "get", &web.url("/")]].concat()).refused(2, &message, hint);
    let server = place.serve(&[]);
    place.bellcage(&["component", "push", "fetch.wasm"]).ok();
    let add = |id| place.bellcage(&["job", "add", id, "--component", "fetch", "--manual", "--grant", &grant, "--arg", "get", "--arg", &web.url("/")]);
    add("before").ok();
    server.stop();
    let _server = place.serve(&own);
    add("after").refused(2, &message, hint);
    let ran = place.bellcage(&["trigger", "before", "--wait"]);
    assert!(ran.stdout.contains("DestinationIpProhibited") && ran.stderr.contains("this server connects to no such address"), "{ran:?}");
    assert_eq!(web.heard().len(), 0);
}

#[test]
fn a_version_that_begins_to_ask_for_http_or_keys_is_held_until_it_is_approved() {
    let place = place();
    place.write("app.wasm", cage::built_guest("probe"));
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", "app.wasm"]).ok();
    place.bellcage(&["job", "add", "a", "--component", "app", "--manual", "--arg", "args"]).ok();
    for (guest, kind, before) in [("fetch", "http", 1), ("keyvalue", "kv", 2)] {
        place.write("app.wasm", cage::built_guest(guest));
        let held = place.bellcage(&["component", "push", "app.wasm"]);
        held.refused(
            4,
            &format!("this version of component \"app\" asks for more than version {before} did: {kind}"),
            "where that is as it should be, push it with --approve-grants",
        );
        assert_eq!(place.json(&["component", "show", "app"])["version"], before, "nothing was stored");
        let approved = place.bellcage(&["component", "push", "app.wasm", "--approve-grants"]);
        assert!(approved.code == 0 && approved.stderr.contains(&format!("it asks for more than the version before: {kind}")), "{approved:?}");
        assert_eq!(place.json(&["component", "show", "app"])["asks_for"], serde_json::json!([kind]));
        // The same again, and one that asks for less, are no question.
        assert_eq!(place.bellcage(&["component", "push", "app.wasm"]).code, 0);
    }
    // Approved or not, a job has what it was granted.
    assert!(place.bellcage(&["trigger", "a", "--wait"]).stdout.contains("access denied"));
    place.write("app.wasm", cage::built_guest("probe"));
    assert_eq!(place.bellcage(&["component", "push", "app.wasm"]).code, 0);
}

#[test]
fn a_jobs_grants_hold_on_a_server_and_its_component_says_what_it_asks_for() {
    let (place, web) = (place(), Web::start());
    let server = place.serve(&[]);
    for guest in ["keyvalue", "fetch"] {
        place.bellcage(&["component", "push", &format!("{guest}.wasm")]).ok();
    }
    let shown = place.bellcage(&["component", "show", "fetch"]).ok();
    assert!(shown.lines().any(|line| line.starts_with("asks for") && line.contains("http")), "{shown}");
    let grant = format!("http={}", web.origin());
    place.bellcage(&["job", "add", "count", "--component", "keyvalue", "--manual", "--grant", "kv", "--arg", "add:n:1"]).ok();
    place.bellcage(&["job", "add", "ask", "--component", "fetch", "--manual", "--grant", &grant, "--arg", "get", "--arg", &web.url("/")]).ok();
    place.bellcage(&["job", "add", "denied", "--component", "fetch", "--manual", "--arg", "get", "--arg", &web.url("/")]).ok();
    for (job, printed) in [("count", "1\n"), ("count", "2\n"), ("ask", "200 hello\n"), ("denied", "HttpRequestDenied\n")] {
        let ran = place.bellcage(&["trigger", job, "--wait"]);
        assert!(ran.stdout.contains(printed), "{job}: {ran:?}");
    }
    assert_eq!(web.heard().len(), 1);
    place.bellcage(&["job", "rm", "count"]).ok();
    place.bellcage(&["job", "add", "count", "--component", "keyvalue", "--manual", "--grant", "kv", "--arg", "add:n:1"]).ok();
    assert!(place.bellcage(&["trigger", "count", "--wait"]).stdout.contains("1\n"), "a removed job's namespace is gone");
    drop(server);
}
