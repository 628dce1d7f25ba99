use rustix::process::Signal;

use crate::support::command::Place;

#[test]
fn dev_shows_a_run_that_succeeds_one_out_of_fuel_and_one_out_of_memory_and_ends_cleanly() {
    let place = Place::default();
    let mut dev = place.start(&["dev", "--listen", "127.0.0.1:0"]);
    for (job, outcome, why) in
        [("hello", "succeeded", ""), ("spin", "out-of-fuel", "limits.fuel = 200000000"), ("hog", "out-of-memory", "limits.memory = 32MiB")]
    {
        dev.line(|line| line.contains(&format!(" {job} ")) && line.contains(outcome) && line.contains(why));
    }
    let jobs = place.json(&["job", "list"]);
    let ids: Vec<_> = jobs["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["hello", "hog", "spin"]);
    dev.signal(Signal::TERM);
    assert_eq!(dev.ended(), 0, "{}", dev.log());
    assert!(!place.path(".bellcage/server.json").exists());
}

#[test]
fn dev_finds_its_demo_jobs_again() {
    let place = Place::default();
    let mut dev = place.start(&["dev", "--listen", "127.0.0.1:0"]);
    dev.line(|line| line.contains("succeeded"));
    assert_eq!(place.bellcage(&["job", "pause", "hello"]).code, 0);
    assert_eq!(dev.stop(), 0);
    let mut dev = place.start(&["dev", "--listen", "127.0.0.1:0"]);
    dev.line(|line| line.contains("out-of-fuel"));
    assert_eq!(place.json(&["job", "show", "hello"])["paused"], true, "what a user changed stays");
}

#[test]
fn dev_refuses_a_public_address() {
    let place = Place::default();
    place.bellcage(&["dev", "--listen", "0.0.0.0:0"]).refused(2, "dev listens on loopback only", "use bellcage serve for that");
}

/// A command that prints nothing; `n` makes its bytes differ.
fn quiet(n: u32) -> Vec<u8> {
    crate::support::wat::command(&format!("(func (export \"other\") (result i32) i32.const {n})"), "(i32.const 0)")
}

#[test]
fn dev_pushes_what_changes_in_a_folder_and_its_jobs_follow() {
    let place = Place::default();
    std::fs::create_dir(place.path("built")).unwrap();
    place.write("built/quiet.wasm", quiet(1));
    let mut dev = place.start(&["dev", "--listen", "127.0.0.1:0", "--watch", "built"]);
    let version = || {
        let shown = place.bellcage(&["--json", "component", "show", "quiet"]);
        (shown.code == 0).then(|| shown.json()["version"].as_u64().unwrap())
    };
    place.wait("the first push", || version().filter(|version| *version == 1));
    assert_eq!(place.bellcage(&["job", "add", "follower", "--component", "quiet", "--manual"]).code, 0);

    place.write("built/quiet.wasm", quiet(2));
    place.wait("the second push", || version().filter(|version| *version == 2));
    let newest = place.json(&["component", "show", "quiet"])["digest"].clone();
    let run = place.json(&["trigger", "follower", "--wait"]);
    assert_eq!(run["receipt"]["digest"], newest);

    place.write("built/quiet.wasm", "no component");
    place.wait("the refusal", || dev.log().contains("built/quiet.wasm was not taken; what was pushed before it stays").then_some(()));
    assert!(dev.log().contains("this is not a WebAssembly component"), "{}", dev.log());
    assert_eq!(version(), Some(2));
    dev.signal(Signal::TERM);
    assert_eq!(dev.ended(), 0, "{}", dev.log());
}

#[test]
fn dev_refuses_to_watch_what_is_no_folder() {
    let place = Place::default();
    let refused = place.bellcage(&["dev", "--listen", "127.0.0.1:0", "--watch", "nowhere"]);
    assert!(refused.code != 0 && refused.stderr.contains("nowhere"), "{refused:?}");
}
