//! What a server's end leaves behind, however it ends: every run has an outcome, no firing is lost, none is doubled.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::Value;

use crate::support::command::Place;

const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/demo/hello.wasm");
const SPIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/demo/spin.wasm");

fn push(place: &Place) {
    place.bellcage(&["component", "push", HELLO]).ok();
    place.bellcage(&["component", "push", SPIN]).ok();
}

/// A job whose runs spin until their fuel is gone.
fn add_spinner(place: &Place, fuel: &str) {
    place.bellcage(&["job", "add", "spin", "--component", "spin", "--manual", "--fuel", fuel, "--timeout", "10m"]).ok();
}

fn start_spinner(place: &Place) -> String {
    let id = place.bellcage(&["trigger", "spin"]).ok().trim().to_owned();
    place.wait("the run's start", || (place.json(&["runs", "show", &id])["state"] == "running").then_some(()));
    id
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

#[test]
fn kill_9_in_the_middle_of_runs_loses_no_firing_and_doubles_none() {
    let place = Place::default();
    let server = place.serve(&[]);
    push(&place);
    place.bellcage(&["job", "add", "tick", "--component", "hello", "--every", "1s"]).ok();
    add_spinner(&place, "20G");
    place.wait("two ticks", || (place.runs(&["--job", "tick", "--state", "ended"]).len() >= 2).then_some(()));
    let spinning = start_spinner(&place);
    server.kill();

    let _server = place.serve(&[]);
    let ended = place.wait("an outcome of the run that was killed", || Some(place.json(&["runs", "show", &spinning])).filter(|run| run["state"] == "ended"));
    // Attempted again, since a lost attempt is given one more, and then stopped by its own limit.
    assert_eq!((ended["outcome"].as_str(), ended["attempt"].as_u64(), ended["lost_attempts"].as_u64()), (Some("out-of-fuel"), Some(2), Some(1)), "{ended}");
    assert_eq!(ended["attempts"][0]["outcome"], "lost");
    let told = place.bellcage(&["explain", "run", ended["id"].as_str().unwrap()]).ok();
    assert!(told.contains("Attempt 1 was lost") && !told.contains("Attempt 1 took"), "nothing is known of what it used: {told}");

    let before = place.runs(&["--job", "tick"]).len();
    place.wait("two more ticks", || (place.runs(&["--job", "tick"]).len() >= before + 2).then_some(()));
    place.bellcage(&["job", "pause", "tick"]).ok();
    place.wait("the end of every run", || place.runs(&[]).iter().all(|run| run["outcome"].is_string()).then_some(()));
    every_firing_is_accounted_for_once(&place);
}

/// Each second of the job's grid is one run or lies within one record of firings that made none.
fn every_firing_is_accounted_for_once(place: &Place) {
    let runs: Vec<Timestamp> = place.runs(&["--job", "tick"]).iter().map(|run| time(&run["scheduled_at"])).collect();
    let distinct: BTreeSet<_> = runs.iter().copied().collect();
    assert_eq!(distinct.len(), runs.len(), "two runs of one firing");
    let list = place.json(&["runs", "list", "--job", "tick", "--include-skipped", "-n", "1000"]);
    let records: Vec<(Timestamp, Timestamp)> = list["firings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|record| record["reason"] != "paused")
        .map(|record| (time(&record["first"]), time(&record["last"])))
        .collect();
    let (first, last) = (*distinct.first().unwrap(), *distinct.last().unwrap());
    let mut at = first;
    while at <= last {
        let times = usize::from(distinct.contains(&at)) + records.iter().filter(|(first, last)| (*first..=*last).contains(&at)).count();
        assert_eq!(times, 1, "the firing at {at} is accounted for {times} times: {runs:?} {records:?}");
        at += SignedDuration::from_secs(1);
    }
}

#[test]
fn sigterm_lets_a_run_end_within_the_drain() {
    let place = Place::default();
    let mut server = place.serve(&["--drain", "5m"]);
    push(&place);
    add_spinner(&place, "30G");
    let id = start_spinner(&place);
    server.signal(Signal::TERM);
    place.wait("the drain", || server.log().contains("nothing new is started").then_some(()));
    let late = place.bellcage(&["trigger", "spin"]);
    // By then it may have drained and gone; while it drains it says so.
    assert!(late.code == 6 || late.stderr.contains("shutting down"), "{late:?}");
    assert_eq!(server.ended(), 0, "{}", server.log());
    let _again = place.serve(&[]);
    let run = place.json(&["runs", "show", &id]);
    assert_eq!((run["outcome"].as_str(), run["attempt"].as_u64()), (Some("out-of-fuel"), Some(1)), "{run}");
}

#[test]
fn a_run_that_outlasts_the_drain_is_cancelled_and_recorded() {
    let place = Place::default();
    let server = place.serve(&["--drain", "50ms"]);
    push(&place);
    add_spinner(&place, "900G");
    let id = start_spinner(&place);
    assert_eq!(server.stop(), 0);
    let _again = place.serve(&[]);
    let run = place.json(&["runs", "show", &id]);
    assert_eq!(run["outcome"], "cancelled", "{run}");
    assert!(run["error"]["message"].as_str().is_some_and(|message| message.contains("shutting down")), "{run}");
}

#[test]
fn a_second_signal_ends_at_once_and_the_next_server_settles_what_ran() {
    let place = Place::default();
    let mut server = place.serve(&["--drain", "1h"]);
    push(&place);
    add_spinner(&place, "20G");
    let id = start_spinner(&place);
    server.signal(Signal::INT);
    place.wait("the drain", || server.log().contains("nothing new is started").then_some(()));
    server.signal(Signal::INT);
    let code = server.ended();
    if code == 0 {
        // The run was faster than the second signal: there was nothing left to settle.
        return;
    }
    assert_eq!(code, 1, "{}", server.log());
    assert!(server.log().contains("ended at once"), "{}", server.log());
    assert!(!place.path(".bellcage/server.json").exists());
    let _again = place.serve(&[]);
    let run = place.wait("an outcome", || Some(place.json(&["runs", "show", &id])).filter(|run| run["state"] == "ended"));
    assert_eq!(run["attempts"][0]["outcome"], "lost", "{run}");
}
