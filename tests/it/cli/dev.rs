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
