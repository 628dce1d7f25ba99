//! Secrets, from standard input to the guest that was granted them, and to nobody else.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::support::cage;
use crate::support::command::{Place, Server};

const VALUE: &str = "hush-5f3a9c";

/// A place whose server has the component `probe`, which shows its environment where its argument is `env`.
fn place() -> (Place, Server) {
    let place = Place::default();
    let server = place.serve(&[]);
    let probe = place.write("probe.wasm", cage::built_guest("probe"));
    place.bellcage(&["component", "push", &probe.to_string_lossy()]).ok();
    (place, server)
}

fn set(place: &Place, name: &str) {
    let stored = place.bellcage_with_input(&["secret", "set", name], format!("{VALUE}\n").as_bytes());
    assert_eq!((stored.code, &*stored.stdout), (0, &*format!("stored secret {name} ({} bytes)\n", VALUE.len())), "{stored:?}");
}

fn holds(folder: &Path, wanted: &str) -> bool {
    std::fs::read_dir(folder).unwrap().flatten().any(|entry| {
        let path = entry.path();
        let found = |bytes: Vec<u8>| bytes.windows(wanted.len()).any(|part| part == wanted.as_bytes());
        if path.is_dir() { holds(&path, wanted) } else { std::fs::read(path).is_ok_and(found) }
    })
}

#[test]
fn a_secret_reaches_the_run_that_was_granted_it_and_is_shown_nowhere() {
    let (place, server) = place();
    set(&place, "API_KEY");
    place.bellcage(&["job", "add", "quiet", "--component", "probe", "--manual", "--arg", "args", "--secret", "API_KEY"]).ok();
    assert_eq!(place.bellcage(&["trigger", "quiet", "--wait"]).code, 0);
    for shown in [
        &["secret", "list", "--json"][..],
        &["job", "show", "quiet", "--json"],
        &["job", "list", "--json"],
        &["config", "show"],
        &["runs", "list", "--json"],
        &["runs", "list", "--job", "quiet"],
    ] {
        assert!(!place.bellcage(shown).ok().contains(VALUE), "{shown:?}");
    }
    assert!(!holds(&place.path(".bellcage"), VALUE), "the store has only what is sealed");
    assert!(!server.log().contains(VALUE));
    place.bellcage(&["job", "add", "loud", "--component", "probe", "--manual", "--arg", "env", "--env", "MODE=prod", "--secret", "API_KEY"]).ok();
    assert_eq!(place.bellcage(&["trigger", "loud", "--wait"]).ok(), format!("API_KEY={VALUE}\nMODE=prod\n"));
}

#[test]
fn a_secret_that_is_not_there_is_refused_when_the_job_is_added_and_one_that_went_when_it_runs() {
    let (place, _server) = place();
    let add = ["job", "add", "a", "--component", "probe", "--manual", "--secret", "API_KEY"];
    place.bellcage(&add).refused(3, "there is no secret \"API_KEY\"", "store it first: bellcage secret set API_KEY");
    set(&place, "API_KEY");
    let twice = place.bellcage(&[&add[..], &["--env", "API_KEY=x"]].concat());
    assert!(twice.code == 2 && twice.stderr.contains("the variable API_KEY is granted twice"), "{twice:?}");
    place.bellcage(&add).ok();
    place.bellcage(&["secret", "rm", "API_KEY"]).ok();
    assert_eq!(place.bellcage(&["trigger", "a", "--wait"]).code, 27);
    assert_eq!(place.json(&["runs", "list", "--job", "a"])["runs"][0]["error"]["code"], "no-such-secret");
    place.bellcage(&["secret", "rm", "API_KEY"]).refused(3, "secret \"API_KEY\" does not exist", "see what there is: ");
}

#[test]
fn under_another_key_a_secret_is_known_and_given_to_nobody() {
    let (place, server) = place();
    set(&place, "API_KEY");
    place.bellcage(&["job", "add", "a", "--component", "probe", "--manual", "--arg", "env", "--secret", "API_KEY"]).ok();
    server.stop();
    let made = place.path(".bellcage/secrets.key");
    assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    place.write("other.key", "5e".repeat(32));
    let server = place.serve(&["--set", "secrets.key_file=other.key"]);
    place.wait("what the log says of it", || {
        server.log().contains("stored under another key than this server has, and no run can be given them: API_KEY;").then_some(())
    });
    let add = place.bellcage(&["job", "add", "b", "--component", "probe", "--manual", "--secret", "API_KEY"]);
    add.refused(4, "secret \"API_KEY\" was stored under another key than this server has", "start the server with the key that it was stored under");
    assert_eq!(place.json(&["secret", "list"])["secrets"][0]["readable"], false);
    assert_eq!(place.bellcage(&["trigger", "a", "--wait"]).code, 27);
    assert_eq!(place.json(&["runs", "list", "--job", "a"])["runs"][0]["error"]["code"], "secrets-key-differs");
    server.stop();
    let _server = place.serve(&[]);
    assert_eq!(place.bellcage(&["trigger", "a", "--wait"]).ok(), format!("API_KEY={VALUE}\n"));
}

#[test]
fn a_secret_that_is_damaged_is_listed_as_such() {
    let (place, server) = place();
    set(&place, "API_KEY");
    set(&place, "OTHER");
    server.stop();
    let store = rusqlite::Connection::open(place.path(".bellcage/bellcage.db")).unwrap();
    assert_eq!(store.execute("UPDATE secret SET sealed = substr(sealed, 1, length(sealed) - 1) WHERE name = 'API_KEY'", []).unwrap(), 1);
    drop(store);
    let _server = place.serve(&[]);
    let listed = place.json(&["secret", "list"])["secrets"].clone();
    let about = |n: usize| (listed[n]["name"].as_str().unwrap(), listed[n]["readable"].as_bool().unwrap(), listed[n]["damaged"].as_bool().unwrap());
    assert_eq!((about(0), about(1)), (("API_KEY", false, true), ("OTHER", true, false)));
    assert!(place.bellcage(&["secret", "list"]).ok().contains("damaged: store it again"));
}

#[test]
fn of_a_run_that_never_began_there_is_no_receipt() {
    let (place, _server) = place();
    set(&place, "API_KEY");
    place.bellcage(&["job", "add", "a", "--component", "probe", "--manual", "--secret", "API_KEY"]).ok();
    place.bellcage(&["secret", "rm", "API_KEY"]).ok();
    assert_eq!(place.bellcage(&["trigger", "a", "--wait"]).code, 27);
    let run = place.json(&["runs", "list", "--job", "a"])["runs"][0].clone();
    assert_eq!((run["outcome"].as_str(), &run["receipt"]), (Some("refused"), &serde_json::Value::Null));
    let shown = place.json(&["runs", "show", run["id"].as_str().unwrap()]);
    assert_eq!(shown["attempts"][0]["receipt"], serde_json::Value::Null, "{shown}");
}

#[test]
fn a_key_that_others_can_read_starts_no_server_and_is_told_where_somebody_else_made_it() {
    let place = Place::default();
    place.serve(&[]).stop();
    let readable = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(place.path(".bellcage/secrets.key"), readable.clone()).unwrap();
    let refused = place.bellcage(&["serve", "--listen", "127.0.0.1:0"]);
    refused.refused(
        1,
        ".bellcage/secrets.key: other users of this machine can read the key of the secrets",
        "make it yours alone: chmod 600 .bellcage/secrets.key",
    );
    let own = place.write("own.key", "5e".repeat(32));
    std::fs::set_permissions(own, readable).unwrap();
    let server = place.serve(&["--set", "secrets.key_file=own.key"]);
    assert!(server.log().contains("own.key: other users of this machine can read the key of the secrets"), "{}", server.log());
}

#[test]
fn what_is_no_key_starts_no_server() {
    let place = Place::default();
    place.write("bad.key", "hush");
    let refused = place.bellcage(&["serve", "--listen", "127.0.0.1:0", "--set", "secrets.key_file=bad.key"]);
    refused.refused(1, "bad.key: this is no key for secrets", "32 bytes in hexadecimal digits or base64");
    assert!(!refused.stderr.contains("hush"));
    place.bellcage(&["serve", "--listen", "127.0.0.1:0", "--set", "secrets.key_file=none.key"]).refused(3, "none.key", "");
}

#[test]
fn values_that_no_variable_can_carry_are_refused() {
    let place = Place::default();
    let _server = place.serve(&[]);
    let set = |bytes: &[u8]| place.bellcage_with_input(&["secret", "set", "A"], bytes);
    set(b"\n").refused(2, "the value of secret \"A\" is empty", "");
    set(b"a\0b").refused(2, "the value of secret \"A\" contains a NUL character", "");
    set(b"\xff").refused(2, "the value of A is not text in UTF-8", "encode it");
    set(&[b'x'; (64 << 10) + 1]).refused(2, "the value of secret \"A\" has 65537 bytes", "");
    assert_eq!(set(&[b'x'; 64 << 10]).code, 0);
    place.bellcage_with_input(&["secret", "set", "a-b"], b"x").refused(2, "secret name \"a-b\" is not valid", "");
}

#[test]
fn a_server_leaves_no_core_file() {
    let place = Place::default();
    let _server = place.serve(&[]);
    let about: serde_json::Value = serde_json::from_slice(&std::fs::read(place.path(".bellcage/server.json")).unwrap()).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", about["pid"])).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
}
