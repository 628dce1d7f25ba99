//! `next`, `explain cron`, `explain error` and `config show`: what needs no server.

use crate::support::command::{Place, Ran};

/// Without how far away the firings are, which moves with the clock.
fn still(ran: &Ran) -> String {
    let cut = |line: &str| match line.rsplit_once("   ") {
        Some((instant, _)) if line.starts_with("  ") && line.contains("20") => format!("{}\n", instant.trim_end()),
        _ => format!("{line}\n"),
    };
    ran.seen().lines().map(cut).collect()
}

#[test]
fn next_prints_rfc_9557_in_the_triggers_zone_strictly_after_the_instant() {
    let place = Place::default();
    let cron = ["next", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin", "-n", "3", "--json", "--after"];
    let fires = place.bellcage(&[&cron[..], &["2026-03-28T02:30:00+01:00"]].concat()).json();
    let want = ["2026-03-29T03:00:00+02:00[Europe/Berlin]", "2026-03-30T02:30:00+02:00[Europe/Berlin]", "2026-03-31T02:30:00+02:00[Europe/Berlin]"];
    assert_eq!(fires, serde_json::json!({ "fires": want }));
}

#[test]
fn next_takes_every_kind_of_trigger() {
    let place = Place::default();
    let after = ["--after", "2026-01-01T00:00:00Z", "-n", "2", "--json"];
    for (args, want) in [
        (&["--every", "90s"][..], &["2026-01-01T00:01:30+00:00[UTC]", "2026-01-01T00:03:00+00:00[UTC]"][..]),
        (&["--at", "2026-01-02T12:00:00", "--timezone", "Asia/Kathmandu"], &["2026-01-02T12:00:00+05:45[Asia/Kathmandu]"]),
        (&["--at", "2025-01-01T00:00:00Z"], &[]),
        (&["--trigger", r#"{"cron":"0 0 1 * *"}"#], &["2026-02-01T00:00:00+00:00[UTC]", "2026-03-01T00:00:00+00:00[UTC]"]),
        (&["--trigger", r#"{"every":"1h","start":"2026-01-01T00:30:00Z"}"#], &["2026-01-01T00:30:00+00:00[UTC]", "2026-01-01T01:30:00+00:00[UTC]"]),
    ] {
        let ran = place.bellcage(&[&["next"], args, &after[..]].concat());
        assert_eq!(ran.json(), serde_json::json!({ "fires": want }), "{args:?}");
        assert_eq!(ran.code, 0);
    }
}

#[test]
fn next_for_people_names_the_weekday_the_zone_and_the_clock_change() {
    let place = Place::default();
    let ran = place.bellcage(&["next", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin", "--after", "2026-03-27T12:00:00", "-n", "4"]);
    insta::assert_snapshot!(still(&ran));
}

#[test]
fn a_refused_trigger_exits_2_with_a_document_under_json() {
    let place = Place::default();
    let ran = place.bellcage(&["next", "--json", "--cron", "61 * * * *"]);
    assert_eq!(ran.code, 2);
    let error = &ran.json()["error"];
    assert_eq!((error["code"].as_str(), error["message"].as_str()), (Some("bad-cron"), Some("61 is not a minute")));
    assert!(error["hint"].is_string());
    assert_eq!(ran.stderr, "");
}

#[test]
fn a_wrong_command_line_exits_2_with_a_document_under_json() {
    let place = Place::default();
    let ran = place.bellcage(&["next", "--json", "--corn", "1 * * * *"]);
    assert_eq!((ran.code, ran.json()["error"]["code"].as_str()), (2, Some("usage")));
    assert_eq!(place.bellcage(&["next", "--json"]).json()["error"]["code"], "usage");
}

#[test]
fn errors_in_expressions_have_carets_under_the_place() {
    let place = Place::default();
    let mut seen = String::new();
    for args in [
        &["--cron", "61 * * * *"][..],
        &["--cron", "0 0 * * mon-fri/x"],
        &["--cron", "0 0 30 2 *"],
        &["--cron", "* * * *"],
        &["--cron", "0 0 * * *", "--timezone", "Europe/Stokholm"],
        &["--every", "90"],
        &["--at", "tomorrow"],
        &["--at", "2026-01-01T00:00:00"],
        &["--trigger", r#"{"cron":"0 0 * * *","timezone":"UTC""#],
        &["--trigger", r#"{"corn":"0 0 * * *"}"#],
    ] {
        let ran = place.bellcage(&[&["next"], args].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{args:?}");
        seen.push_str(&format!("$ bellcage next {}\n{}\n", args.join(" "), ran.stderr));
    }
    insta::assert_snapshot!(seen);
}

#[test]
fn explain_cron_names_every_field() {
    let place = Place::default();
    let mut seen = String::new();
    for args in [&["*/15 9-17 * * mon-fri", "--timezone", "America/New_York"][..], &["0 30 6 13 */2 5"], &["@weekly"]] {
        let ran = place.bellcage(&[&["explain", "cron"], args].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        // Firings and clock changes follow the clock.
        let words: String = ran.stdout.lines().filter(|line| !line.starts_with("  ")).map(|line| format!("{line}\n")).collect();
        assert_eq!(ran.stdout.lines().filter(|line| line.starts_with("  ")).count(), 3, "three firings");
        seen.push_str(&format!("$ bellcage explain cron {}\n{words}\n", args.join(" ")));
    }
    insta::assert_snapshot!(seen);
}

#[test]
fn explain_error_knows_cause_and_remedy_and_suggests_the_nearest_code() {
    let place = Place::default();
    insta::assert_snapshot!(place.bellcage(&["explain", "error", "out-of-fuel"]).seen());
    place.bellcage(&["explain", "error", "out-of-fule"]).refused(3, "there is no error code \"out-of-fule\"", "did you mean out-of-fuel?");
    let all = place.json(&["explain", "error"]);
    assert!(all["codes"].as_array().is_some_and(|codes| codes.len() > 50));
}

#[test]
fn config_show_says_where_each_value_came_from() {
    let place = Place::default();
    place.write("bellcage.toml", "[limits]\nfuel = 5_000_000\n");
    let mut command = place.command(&["config", "show", "--json", "--set", "executor.slots=3"]);
    let output = command.env("BELLCAGE_LOG_LEVEL", "debug").output().unwrap();
    let settings: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let find = |key: &str| settings["settings"].as_array().unwrap().iter().find(|s| s["key"] == key).unwrap().clone();
    let pair = |key: &str| (find(key)["value"].clone(), find(key)["origin"].as_str().unwrap().to_owned());
    assert_eq!(pair("limits.fuel"), (5_000_000.into(), "bellcage.toml:2".to_owned()));
    assert_eq!(pair("log.level"), ("debug".into(), "BELLCAGE_LOG_LEVEL".to_owned()));
    assert_eq!(pair("executor.slots"), (3.into(), "--set".to_owned()));
    assert_eq!(pair("store.data"), (".bellcage".into(), "default".to_owned()));
    insta::assert_snapshot!(place.bellcage(&["config", "show"]).ok());
}

#[test]
fn a_configuration_with_an_unknown_key_stops_every_command() {
    let place = Place::default();
    place.write("bellcage.toml", "[server]\nlisen = \"127.0.0.1:1\"\n");
    place.bellcage(&["config", "show"]).refused(2, "bellcage.toml:2: there is no setting \"server.lisen\"", "did you mean server.listen?");
    assert_eq!(place.bellcage(&["serve"]).code, 2);
}

#[test]
fn a_command_without_its_server_exits_6_and_says_how_to_start_one() {
    let place = Place::default();
    // Port 1 is privileged and nobody's.
    place.bellcage(&["job", "list", "--server", "127.0.0.1:1"]).refused(6, "no server answers at http://127.0.0.1:1", "start one with bellcage dev");
}
