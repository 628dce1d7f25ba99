//! What would happen, what happened, and why not: `simulate`, `explain firing`, `calendar`.

use serde_json::Value;

use crate::support::command::Place;

const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/demo/hello.wasm");

const JOBS: &str = r#"
[job.nightly]
component = "reports"
trigger = { cron = "30 2 * * *", timezone = "Europe/Berlin" }
retry = { max_attempts = 2, initial = "5m", backoff = "fixed" }

[job.often]
component = "reports"
trigger = { every = "10m", start = "2026-03-28T00:00:00Z" }
"#;

#[test]
fn a_simulation_tells_what_the_scheduler_would_do_over_a_clock_change() {
    let place = Place::default();
    place.write("jobs.toml", JOBS);
    let args = ["simulate", "-f", "jobs.toml", "--from", "2026-03-28T00:00", "--to", "2026-03-30T12:00", "--timezone", "Europe/Berlin"];
    insta::assert_snapshot!(place.bellcage(&[&args[..], &["--job", "nightly", "--takes", "20m", "--ends", "nightly=failed"]].concat()).ok());
}

#[test]
fn a_simulation_shows_overlap_and_is_cut_where_it_is_asked_to() {
    let place = Place::default();
    place.write("jobs.toml", JOBS);
    let args = ["simulate", "-f", "jobs.toml", "--from", "2026-03-28T00:00:00Z", "--to", "2026-03-28T01:00:00Z", "--job", "often", "--takes", "25m"];
    insta::assert_snapshot!(place.bellcage(&[&args[..], &["-n", "5"]].concat()).seen());
    let told = place.json(&args);
    assert_eq!((told["complete"].as_bool(), told["events"].as_array().map(Vec::len)), (Some(true), Some(9)));
}

#[test]
fn a_simulation_of_nothing_or_of_nonsense_is_refused() {
    let place = Place::default();
    place.write("jobs.toml", JOBS);
    let with = |more: &[&str]| place.bellcage(&[&["simulate", "-f", "jobs.toml", "--from", "2026-03-28T00:00:00Z"], more].concat());
    with(&["--to", "2026-03-27T00:00:00Z"]).refused(2, "the period from 2026-03-28T00:00:00Z to 2026-03-27T00:00:00Z is empty", "--to is where it ends");
    with(&["--to", "2026-03-29T00:00:00Z", "--job", "nightlt"]).refused(3, "job \"nightlt\" does not exist", "see all of them with: bellcage job list");
    with(&["--to", "2026-03-29T00:00:00Z", "--ends", "broken"]).refused(2, "\"broken\" is not an outcome", "use one of succeeded");
}

#[test]
fn every_firing_can_be_explained() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    place.bellcage(&["calendar", "set", "always", "--window", "2020-01-01/2100-01-01"]).ok();
    place.bellcage(&["job", "add", "quiet", "--component", "hello", "--cron", "* * * * * *", "--calendar", "always"]).ok();
    place.bellcage(&["job", "add", "busy", "--component", "hello", "--cron", "* * * * * *"]).ok();

    let run = place.wait("a run that ended", || place.runs(&["--job", "busy", "--outcome", "succeeded"]).pop());
    let at = run["scheduled_at"].as_str().unwrap();
    let told = place.bellcage(&["explain", "firing", "busy", at]).ok();
    assert!(told.contains(run["id"].as_str().unwrap()) && told.contains("which ended as succeeded.\nMore: "), "{told}");

    let firings = |job: &str| place.json(&["runs", "list", "--job", job, "--include-skipped"])["firings"].clone();
    let skipped = place.wait("a firing that the calendar left out", || firings("quiet").as_array().and_then(|all| all.first().cloned()));
    let told = place.bellcage(&["explain", "firing", "quiet", skipped["first"].as_str().unwrap()]).ok();
    assert!(told.contains("made no run: skipped (calendar always)."), "{told}");

    let told = place.bellcage(&["explain", "firing", "busy", "2099-01-01T00:00:00Z"]).ok();
    assert!(told.contains("is still to come"), "{told}");
    let told = place.bellcage(&["explain", "firing", "busy", "2020-01-01T00:00:00Z"]).ok();
    assert!(told.starts_with("The job busy was added "), "{told}");

    place.bellcage(&["job", "add", "nightly", "--component", "hello", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin"]).ok();
    let told = place.bellcage(&["explain", "firing", "nightly", "2099-03-01T02:31"]).ok();
    assert!(told.contains("(at 02:30, every day, Europe/Berlin time) does not name Sun 2099-03-01 02:31:00 CET."), "{told}");
    assert!(told.contains("The next one that it names is Mon 2099-03-02 02:30:00 CET."), "{told}");
    place.bellcage(&["job", "pause", "nightly"]).ok();
    let next = place.json(&["job", "show", "nightly"])["next_fire"].as_str().unwrap().to_owned();
    assert_eq!(place.json(&["explain", "firing", "nightly", &next])["answer"], serde_json::json!({ "what": "pending", "paused": true }));
    place.bellcage(&["explain", "firing", "nobody", &next]).refused(3, "job \"nobody\" does not exist", "see what there is: bellcage job list");
}

#[test]
fn a_calendar_is_set_shown_and_removed_unless_jobs_refer_to_it() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    let set = ["calendar", "set", "holidays", "--timezone", "Europe/Berlin", "--yearly", "12-25", "--weekdays", "sat,sun", "--daily", "22:00-06:00"];
    assert_eq!(place.bellcage(&set).ok(), "calendar holidays leaves out 3 rules\n");
    let shown: Value = place.json(&["calendar", "show", "holidays"]);
    assert_eq!(shown["exclude"], serde_json::json!([{ "yearly": "12-25" }, { "weekdays": ["sat", "sun"] }, { "daily": "22:00-06:00" }]));
    assert!(place.bellcage(&["calendar", "list"]).ok().contains("12-25 each year, sat sun, 22:00-06:00 each day"));
    place.bellcage(&["calendar", "set", "bad", "--date", "2026-02-30"]).refused(2, "\"2026-02-30\" is not a date", "write it as 2026-12-24");
    assert_eq!(place.bellcage(&["calendar", "set", "Bad"]).code, 2);

    place.bellcage(&["job", "add", "nightly", "--component", "hello", "--manual", "--calendar", "holidays"]).ok();
    place.bellcage(&["job", "add", "other", "--component", "hello", "--manual", "--calendar", "freeze"]).refused(
        3,
        "calendar \"freeze\" does not exist",
        "see what there is",
    );
    place.bellcage(&["calendar", "rm", "holidays"]).refused(4, "calendar \"holidays\" is used by 1 job(s), among them \"nightly\"", "change these jobs first");
    place.bellcage(&["job", "rm", "nightly"]).ok();
    assert_eq!(place.bellcage(&["calendar", "rm", "holidays"]).ok(), "removed calendar holidays\n");
    place.bellcage(&["calendar", "show", "holidays"]).refused(3, "calendar \"holidays\" does not exist", "see what there is");
}
