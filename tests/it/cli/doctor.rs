use std::collections::BTreeMap;

use bellcage::executor::{Confinement, Workers, WorkersConfig};
use serde_json::Value;

use crate::support::cage;
use crate::support::command::Place;

/// Each check's verdict, and the exit code.
fn checks(settings: &[&str]) -> (BTreeMap<String, String>, Value, i32) {
    let mut args = vec!["doctor", "--json"];
    settings.iter().for_each(|setting| args.extend(["--set", setting]));
    let ran = Place::default().bellcage(&args);
    let document = ran.json();
    let text = |check: &Value, key: &str| check[key].as_str().expect("a text").to_owned();
    let checks = document["checks"].as_array().expect("a list").iter().map(|check| (text(check, "id"), text(check, "level"))).collect();
    (checks, document["verdict"].clone(), ran.code)
}

#[test]
fn doctor_says_of_each_layer_what_a_worker_gets() {
    let (checks, ..) = checks(&[]);
    let missing = Workers::start(WorkersConfig { confinement: Confinement::BestEffort, ..cage::workers_config(1, 1) }).unwrap().missing().to_vec();
    for layer in bellcage::executor::Layer::ALL {
        let is_on = checks[&format!("confined: {layer}")] == "ok";
        assert_eq!(is_on, !missing.iter().any(|missing| missing.layer == layer), "{layer}");
    }
}

#[test]
fn doctor_fails_exactly_when_something_is_a_problem() {
    let (checks, verdict, code) = checks(&["executor.confinement=strict"]);
    let problem = checks.values().any(|level| level == "problem");
    assert_eq!((verdict == "problem", code), (problem, i32::from(problem)), "{checks:?}");
}

#[test]
fn doctor_warns_of_what_the_configuration_asks_too_much_of() {
    let (checks, verdict, _) = checks(&["executor.kind=pool", "executor.slots=100000", "executor.memory=1000000GiB"]);
    for id in ["executor", "max-map-count", "memory"] {
        assert_eq!(checks[id], "warning", "{id}");
    }
    assert_ne!(verdict, "ok");
}
