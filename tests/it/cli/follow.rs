//! Jobs that follow jobs, and runs that are asked for, from the command line.

use crate::support::command::Place;

const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/demo/hello.wasm");

#[test]
fn a_job_follows_two_others_and_every_command_says_so() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    // In a file, an upstream job may stand behind the one that follows it.
    let file = "[job.both]\ncomponent = \"hello\"\ntrigger = { after = [\"x\", \"y\"] }\n\n\
                [job.x]\ncomponent = \"hello\"\ntrigger = \"manual\"\n\n[job.y]\ncomponent = \"hello\"\ntrigger = \"manual\"\n";
    std::fs::write(place.path("jobs.toml"), file).unwrap();
    let applied = place.bellcage(&["job", "apply", "-f", "jobs.toml"]).ok();
    assert!(applied.ends_with("3 applied, 0 refused\n"), "{applied}");
    place.bellcage(&["trigger", "x", "--wait"]).ok();
    let shown = place.bellcage(&["job", "show", "both"]).ok();
    assert!(shown.contains("after x and y succeeded") && shown.contains("waits for   y\n"), "{shown}");
    place.bellcage(&["trigger", "y", "--wait"]).ok();
    let run = place.wait("a run that ended", || place.runs(&["--job", "both", "--outcome", "succeeded"]).pop());
    assert_eq!((run["cause"].as_str(), run["upstream"][0]["job"].as_str(), run["upstream"][1]["job"].as_str()), (Some("after"), Some("x"), Some("y")));
    let id = run["id"].as_str().unwrap();
    let story = place.bellcage(&["explain", "run", id]).ok();
    assert!(story.starts_with("Job both follows others: x ended as succeeded (run "), "{story}");
    assert!(place.bellcage(&["runs", "show", id]).ok().contains("after: x succeeded in run "));

    let refused = place.bellcage(&["job", "add", "x", "--component", "hello", "--after", "both", "--on-conflict", "replace"]);
    refused.refused(2, "these jobs would follow each other for ever: x → both → x", "let one of them follow no other");
    place.bellcage(&["job", "add", "z", "--component", "hello", "--after", "nobody"]).refused(2, "job \"z\" cannot follow job \"nobody\"", "add it first");
    let added = place.bellcage(&["job", "add", "alarm", "--component", "hello", "--after", "x", "--after", "y", "--join", "any", "--on", "failed"]).ok();
    assert_eq!(added, "added alarm: after x or y ended as failed\n");
}

#[test]
fn a_run_on_demand_can_have_a_time_and_a_key() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    place.bellcage(&["job", "add", "greet", "--component", "hello", "--cron", "0 0 1 1 *", "--timezone", "Europe/Berlin"]).ok();
    let first = place.json(&["trigger", "greet", "--at", "2126-01-01T12:00:00", "--key", "order 7"]);
    assert_eq!((first["new"].as_bool(), first["start_at"].as_str(), first["key"].as_str()), (Some(true), Some("2126-01-01T11:00:00Z"), Some("order 7")));
    let again = place.bellcage(&["trigger", "greet", "--key", "order 7"]);
    assert_eq!((again.code, again.stdout.trim()), (0, first["id"].as_str().unwrap()));
    assert!(again.stderr.contains("no run was made: this is the one of its key"), "{again:?}");
    assert_eq!(place.json(&["trigger", "greet", "--key", "order 7", "--key-window", "1h"])["new"], false);
    place.bellcage(&["trigger", "greet", "--at", "2026-01-01T00:00:00Z"]).refused(2, "a run cannot be asked for at 2026-01-01T00:00:00Z", "leave the time out");
}

#[test]
fn a_rate_limit_is_given_and_told() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    place.bellcage(&["job", "add", "mailer", "--component", "hello", "--manual", "--overlap", "allow", "--rate-limit", "1/1h"]).ok();
    place.bellcage(&["trigger", "mailer", "--wait"]).ok();
    let waiting = place.json(&["trigger", "mailer"])["id"].as_str().unwrap().to_owned();
    let story = place.bellcage(&["explain", "run", &waiting]).ok();
    assert!(story.contains("It waits for its job's rate limit (1 run in 1h), until "), "{story}");
    place.bellcage(&["job", "add", "x", "--component", "hello", "--manual", "--rate-limit", "fast"]).refused(2, "--rate-limit \"fast\"", "write it as 10/1m");
    let refused = place.bellcage(&["job", "add", "x", "--component", "hello", "--manual", "--rate-limit", "0/1m"]);
    assert_eq!((refused.code, refused.stderr.lines().next()), (2, Some("error: rate_limit.runs must be at least 1")));
}
