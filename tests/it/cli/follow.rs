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
    assert_eq!((refused.code, refused.stderr.lines().next()), (2, Some("error[bad-job]: rate_limit.runs must be at least 1")));
}

#[test]
fn a_past_period_is_made_up_for_watched_and_cancelled() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    place.bellcage(&["job", "add", "nightly", "--component", "hello", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin"]).ok();
    let period = ["backfill", "nightly", "--from", "2026-01-01", "--to", "2026-01-31"];
    assert_eq!(place.bellcage(&[&period[..], &["--dry-run"]].concat()).ok(), "would make 31 runs of nightly for 31 instants\n");
    place.bellcage(&[&period[..], &["--limit", "30"]].concat()).refused(2, "the trigger named 31 instants in this period, more than the limit of 30", "take a");
    assert_eq!(place.bellcage(&period).ok(), "made 31 runs of nightly for 31 instants\n");
    let again = place.bellcage(&period).ok();
    assert_eq!(again, "made 0 runs of nightly for 31 instants, 31 of which have a run\n");
    let run = place.wait("a run that ended", || place.runs(&["--job", "nightly", "--cause", "backfill", "--outcome", "succeeded"]).pop());
    assert!(run["scheduled_at"].as_str().unwrap().ends_with("T01:30:00Z"), "{run}");
    let story = place.bellcage(&["explain", "run", run["id"].as_str().unwrap()]).ok();
    assert!(story.starts_with("A backfill makes up for the firing of job nightly at "), "{story}");
    place.bellcage(&["runs", "cancel", "--job", "nightly", "--cause", "backfill"]).ok();
    place.wait("all ended", || place.runs(&["--job", "nightly", "--state", "queued"]).is_empty().then_some(()));
    place.bellcage(&["backfill", "nightly", "--from", "2026-01-01", "--to", "2126-01-01"]).refused(2, "2025-12-31T23:00:00Z to", "let it begin before it ends");
}

#[test]
fn jobs_are_paused_resumed_and_triggered_by_label_and_each_is_told() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    for id in ["a", "b", "other"] {
        let team = format!("team={}", if id == "other" { "y" } else { "x" });
        place.bellcage(&["job", "add", id, "--component", "hello", "--every", "1h", "--label", &team]).ok();
    }
    assert_eq!(place.bellcage(&["job", "pause", "--label", "team=x", "--reason", "stocktaking"]).ok(), "paused a\npaused b\n2 paused, 0 refused\n");
    let paused: Vec<_> = place.json(&["job", "list"])["jobs"].as_array().unwrap().iter().map(|job| job["paused"].as_bool().unwrap()).collect();
    assert_eq!(paused, [true, true, false]);
    assert_eq!(place.json(&["job", "resume", "--label", "team=x"])["jobs"].as_array().unwrap().len(), 2);
    let triggered = place.bellcage(&["trigger", "--label", "team=x"]).ok();
    assert!(triggered.starts_with("triggered a: run ") && triggered.ends_with("\n2 triggered, 0 refused\n"), "{triggered}");
    let refused = place.bellcage(&["trigger", "--label", "team=x", "--args", "[1]"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (2, "0 triggered, 2 refused\n"));
    assert!(refused.stderr.contains("]: job a: ") && refused.stderr.contains("]: job b: "), "{refused:?}");
    assert_eq!(place.bellcage(&["job", "pause"]).code, 2, "a job or a label");
}
