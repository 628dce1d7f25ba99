//! `limits suggest`: from what a job used to what it may use.

use crate::support::command::Place;

const HELLO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/demo/hello.wasm");
const SPIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/demo/spin.wasm");

#[test]
fn suggested_limits_are_enough_for_the_job_that_they_come_from() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    place.bellcage(&["job", "add", "greet", "--component", "hello", "--manual"]).ok();
    for _ in 0..3 {
        place.bellcage(&["trigger", "greet", "--wait"]).ok();
    }
    let found = place.json(&["limits", "suggest", "greet"]);
    assert_eq!((found["runs"].as_u64(), found["succeeded"].as_u64(), found["would_have_stopped"].as_u64()), (Some(3), Some(3), Some(0)), "{found}");
    assert!(found["limits"]["fuel"].as_u64() >= found["most_used"]["fuel"].as_u64().map(|used| 2 * used), "{found}");
    let text = |name: &str| found["limits"][name].as_str().unwrap().to_owned();
    let fuel = found["limits"]["fuel"].to_string();
    let limits = ["--fuel", &fuel, "--memory", &text("memory"), "--timeout", &text("timeout"), "--result", &text("result"), "--logs", &text("logs")];
    place.bellcage(&[&["job", "add", "frugal", "--component", "hello", "--manual"], &limits[..]].concat()).ok();
    place.bellcage(&["trigger", "frugal", "--wait"]).ok();

    let tight = place.json(&["limits", "suggest", "greet", "--margin", "0.5"]);
    assert_eq!(tight["would_have_stopped_succeeded"], 3, "{tight}");
    let shown = place.bellcage(&["limits", "suggest", "greet", "--runs", "2"]);
    assert!(shown.stdout.contains("Of the last 2 runs, 2 succeeded; these limits would have stopped 0."), "{shown:?}");
    assert!(shown.stderr.contains("hint: write it in the job's file: limits = { fuel = "), "{shown:?}");
}

#[test]
fn of_a_job_that_never_succeeded_nothing_is_suggested() {
    let place = Place::default();
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", SPIN]).ok();
    place.bellcage(&["job", "add", "spinner", "--component", "spin", "--manual", "--fuel", "1M"]).ok();
    assert_eq!(place.bellcage(&["trigger", "spinner", "--wait"]).code, 21);
    let message = "no run of job spinner has succeeded yet, so nothing is known of what it needs";
    place.bellcage(&["limits", "suggest", "spinner"]).refused(1, message, "run it with generous limits first: bellcage trigger spinner --wait");
    assert_eq!(place.bellcage(&["limits", "suggest", "nobody"]).code, 3);
}

#[test]
fn runs_that_wait_for_a_process_of_their_own_keep_no_slot_from_others() {
    let place = Place::default();
    place.write("bellcage.toml", "[executor]\nslots = 4\nprocesses = 1\n");
    let _server = place.serve(&[]);
    let asleep = place.write("asleep.wasm", crate::support::wat::component(include_str!("../../../guests/hostile/sleep.wat")));
    place.bellcage(&["component", "push", &asleep.to_string_lossy()]).ok();
    let quick = place.write("quick.wasm", crate::support::wat::tiny());
    place.bellcage(&["component", "push", &quick.to_string_lossy()]).ok();
    let jobs = "[job.alone]\ncomponent = \"asleep\"\ntrigger = \"manual\"\noverlap = \"allow\"\nisolation = \"process-per-run\"\n[job.quick]\ncomponent = \"quick\"\ntrigger = \"manual\"\n";
    let jobs = place.write("jobs.toml", jobs);
    place.bellcage(&["job", "apply", "-f", &jobs.to_string_lossy()]).ok();
    for _ in 0..6 {
        place.bellcage(&["trigger", "alone"]).ok();
    }
    place.bellcage(&["trigger", "quick", "--wait"]).ok();
    let states = place.json(&["runs", "list", "--job", "alone"])["runs"].as_array().unwrap().iter().map(|run| run["state"].clone()).collect::<Vec<_>>();
    assert_eq!(states.iter().filter(|state| **state == "running").count(), 1, "{states:?}");
    assert_eq!(states.iter().filter(|state| **state == "queued").count(), 5, "{states:?}");
    let newest = place.json(&["runs", "list", "--job", "alone"])["runs"][0]["id"].as_str().unwrap().to_owned();
    let why = place.bellcage(&["explain", "run", &newest]).ok();
    assert!(why.contains("It waits for a process of its own (executor.processes: at most 1 at once)."), "{why}");
    place.bellcage(&["runs", "cancel", "--job", "alone"]).ok();
}

#[test]
fn a_tenants_caps_hold_when_a_job_is_added_and_afterwards_and_for_what_is_run_by_hand() {
    let place = Place::default();
    place.write("bellcage.toml", "[tenant.default.limits]\nmemory = \"64MiB\"\nfuel = 1000000000\n");
    let server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    let add = |id: &str, flags: &[&str]| place.bellcage(&[&["job", "add", id, "--component", "hello", "--manual"], flags].concat());
    add("a", &["--memory", "65MiB"]).refused(2, "limits.memory = 65MiB is above the cap of tenant default, which is 64MiB", "see the caps");
    add("a", &["--fuel", "2G"]).refused(2, "limits.fuel = 2000000000 is above the cap of tenant default, which is 1000000000", "see the caps");
    add("asks", &["--memory", "64MiB"]).ok();
    add("asks-nothing", &[]).ok();
    place.bellcage(&["run", "--memory", "65MiB", HELLO]).refused(2, "limits.memory = 65MiB is above the cap of tenant default", "see the caps");
    drop(server);

    place.write("bellcage.toml", "[tenant.default.limits]\nmemory = \"32MiB\"\n");
    let _server = place.serve(&[]);
    let refused = place.bellcage(&["trigger", "asks", "--wait"]);
    assert!(refused.code == 27 && refused.stderr.contains("limits.memory = 64MiB is above the cap of tenant default, which is 32MiB"), "{refused:?}");
    place.bellcage(&["trigger", "asks-nothing", "--wait"]).ok();
    let run = place.json(&["runs", "list", "--job", "asks-nothing"])["runs"][0].clone();
    assert_eq!(run["receipt"]["memory_limit_bytes"], 32 << 20);
}

#[test]
fn what_is_suggested_is_within_the_tenants_caps() {
    let place = Place::default();
    place.write("bellcage.toml", "[tenant.default.limits]\nmemory = \"2MiB\"\n");
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    place.bellcage(&["job", "add", "greet", "--component", "hello", "--manual"]).ok();
    place.bellcage(&["trigger", "greet", "--wait"]).ok();
    assert_eq!(place.json(&["limits", "suggest", "greet", "--margin", "10"])["limits"]["memory"], "2MiB");
}

#[test]
fn of_fuel_what_other_runs_needed_is_told() {
    let place = Place::default();
    let _server = place.serve(&[]);
    let probe = place.write("probe.wasm", crate::support::cage::built_guest("probe"));
    place.bellcage(&["component", "push", &probe.to_string_lossy()]).ok();
    place.bellcage(&["job", "add", "count", "--component", "probe", "--manual", "--fuel", "5M"]).ok();
    let run = |n: &str| place.bellcage(&["trigger", "count", "--wait", "--arg", "count", "--arg", n]);
    let newest = || place.json(&["runs", "list", "--job", "count"])["runs"][0].clone();
    let explained = |id: &serde_json::Value| place.json(&["explain", "run", id.as_str().unwrap()])["enough"].clone();

    assert_eq!(run("100000000").code, 21);
    let (first, limit) = (newest(), serde_json::json!("fuel"));
    assert_eq!(explained(&first["id"]), serde_json::json!({ "limit": limit, "allowed": 5_000_000, "asked": null, "most_used": null, "succeeded_runs": 0 }));
    let story = |id: &serde_json::Value| place.bellcage(&["explain", "run", id.as_str().unwrap()]).ok();
    assert!(story(&first["id"]).contains("How much of limits.fuel would have been enough is not known: no run tells."));

    run("1000").ok();
    let needed = newest()["receipt"]["fuel_used"].clone();
    assert_eq!(explained(&first["id"]), serde_json::json!({ "limit": limit, "allowed": 5_000_000, "asked": null, "most_used": needed, "succeeded_runs": 1 }));
    assert!(story(&first["id"]).contains("The one run of this job that succeeded with this component used "));
    assert_eq!(explained(&newest()["id"]), serde_json::Value::Null, "no limit ended it");
}

#[test]
fn what_was_asked_for_and_what_was_dropped_is_told() {
    let place = Place::default();
    let _server = place.serve(&[]);
    let story = |job: &str, component: &str, text: &str, limit: [&str; 2]| {
        let file = place.write(&format!("{component}.wasm"), crate::support::wat::component(text));
        place.bellcage(&["component", "push", &file.to_string_lossy()]).ok();
        place.bellcage(&[&["job", "add", job, "--component", component, "--manual"], &limit[..]].concat()).ok();
        place.bellcage(&["trigger", job, "--wait"]);
        let run = place.json(&["runs", "list", "--job", job])["runs"][0]["id"].as_str().unwrap().to_owned();
        (place.bellcage(&["explain", "run", &run]).ok(), place.json(&["explain", "run", &run]))
    };
    let (text, facts) = story("greedy", "grow", include_str!("../../../guests/hostile/grow-memory-to-4-gib.wat"), ["--memory", "16MiB"]);
    assert_eq!((&facts["enough"]["limit"], &facts["enough"]["asked"]), (&serde_json::json!("memory"), &serde_json::json!(4u64 << 30)));
    assert!(text.contains("It asked for 4 GiB (4_294_967_296 B): limits.memory has to be that, at least."), "{text}");
    let (text, facts) = story("talker", "talk", include_str!("../../../guests/hostile/huge-log.wat"), ["--logs", "1KiB"]);
    let receipt = &facts["attempts"][0]["receipt"];
    assert!(receipt["log_bytes_dropped"].as_u64() > Some(0), "{receipt}");
    assert!(text.contains(&format!("limits.logs = {} would have kept all.", receipt["log_bytes"])), "{text}");
}

#[test]
fn of_time_and_host_calls_what_other_runs_needed_is_told() {
    let place = Place::default();
    let _server = place.serve(&[]);
    let probe = place.write("probe.wasm", crate::support::cage::built_guest("probe"));
    place.bellcage(&["component", "push", &probe.to_string_lossy()]).ok();
    let cases = [
        ("sleeper", ["--timeout", "2s"], ["sleep", "1"], ["sleep", "600000"], 23, "timeout"),
        ("caller", ["--host-calls", "500"], ["args", ""], ["stdout", "3000000"], 25, "host_calls"),
    ];
    for (job, limit, enough, too_much, code, name) in cases {
        place.bellcage(&[&["job", "add", job, "--component", "probe", "--manual", "--result", "8MiB"], &limit[..]].concat()).ok();
        let run = |args: [&str; 2]| place.bellcage(&["trigger", job, "--wait", "--arg", args[0], "--arg", args[1]]);
        let newest = || place.json(&["runs", "list", "--job", job])["runs"][0].clone();
        run(enough).ok();
        let receipt = newest()["receipt"].clone();
        let used = if name == "timeout" { &receipt["wall_us"] } else { &receipt["host_calls"] };
        let stopped = run(too_much);
        assert_eq!(stopped.code, code, "{stopped:?}");
        let id = newest()["id"].as_str().unwrap().to_owned();
        let told = place.json(&["explain", "run", &id])["enough"].clone();
        assert_eq!((told["limit"].as_str(), &told["most_used"], told["succeeded_runs"].as_u64()), (Some(name), used, Some(1)), "{told}");
        assert_eq!(told["allowed"].as_u64(), Some(if name == "timeout" { 2_000_000 } else { 500 }));
        let story = place.bellcage(&["explain", "run", &id]).ok();
        assert!(story.contains("The one run of this job that succeeded with this component used "), "{story}");
    }
}

/// The runtime counts the bytes that pass to the host only as long as they are within the limit.
#[test]
fn where_nobody_can_know_how_much_would_have_been_enough_that_is_said_and_what_to_try() {
    let place = Place::default();
    let _server = place.serve(&[]);
    let push = |name: &str, text: &str| {
        let file = place.write(&format!("{name}.wasm"), crate::support::wat::component(text));
        place.bellcage(&["component", "push", &file.to_string_lossy()]).ok();
    };
    push("writer", include_str!("../../../guests/hostile/huge-write.wat"));
    push("results", include_str!("../../../guests/hostile/results.wat"));
    for (component, flag, limit, double) in [("writer", "--host-call-bytes", "host_call_bytes", "128KiB"), ("results:large", "--result", "result", "128KiB")] {
        let job = limit.replace('_', "-");
        place.bellcage(&["job", "add", &job, "--component", component, "--manual", flag, "64KiB"]).ok();
        assert_eq!(place.bellcage(&["trigger", &job, "--wait"]).code, 25);
        let id = place.json(&["runs", "list", "--job", &job])["runs"][0]["id"].as_str().unwrap().to_owned();
        let story = place.bellcage(&["explain", "run", &id]).ok();
        let told = format!(
            "How much of limits.{limit} would have been enough cannot be known, only that it was more. It was 64 KiB: try the double, limits.{limit} = \"{double}\"."
        );
        assert!(story.contains(&told), "{story}");
    }
}

#[test]
fn what_a_job_may_keep_and_ask_of_others_is_capped_like_every_limit() {
    let place = Place::default();
    place.write("bellcage.toml", "[limit_caps]\nhttp_requests = 8\n[tenant.default.limits]\nkv_bytes = \"2MiB\"\n");
    let _server = place.serve(&[]);
    place.bellcage(&["component", "push", HELLO]).ok();
    let add = |flags: &[&str]| place.bellcage(&[&["job", "add", "a", "--component", "hello", "--manual", "--grant", "kv"], flags].concat());
    add(&["--kv-bytes", "3MiB"]).refused(2, "limits.kv_bytes = 3MiB is above the cap of tenant default, which is 2MiB", "see the caps");
    add(&["--http-requests", "9"]).refused(2, "limits.http_requests = 9 is above this server's cap, which is 8", "see the caps");
    add(&["--kv-keys", "0"]).refused(2, "limits.kv_keys must be more than zero", "");
    add(&["--http-body", "1KiB", "--kv-keys", "5"]).ok();
    place.bellcage(&["job", "add", "b", "--component", "hello", "--manual", "--grant", "kv=4MiB"]).refused(
        2,
        "--grant \"kv=4MiB\" is no grant: how much a namespace holds is a limit",
        "write --grant kv --kv-bytes 4MiB",
    );
}

#[test]
fn a_job_may_ask_for_what_one_attempt_can_ever_have_of_the_servers_memory_and_no_more() {
    let place = Place::default();
    // 16 MiB for processes of single attempts; of the other 48 the one worker keeps 1.5 for each slot, and has 24 in common.
    place.write("bellcage.toml", "[executor]\nmemory = \"64MiB\"\nworkers = 1\nslots = 16\n");
    let _server = place.serve(&[]);
    let grows = crate::support::wat::command("(memory 1)", "(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable");
    let file = place.write("grows.wasm", grows);
    place.bellcage(&["component", "push", &file.to_string_lossy()]).ok();
    let add = |id: &str, flags: &[&str]| place.bellcage(&[&["job", "add", id, "--component", "grows", "--manual"], flags].concat());
    let above =
        |asked: &str, most: &str| format!("limits.memory = {asked} is above what one attempt can have of this server's executor.memory, which is {most}");
    add("a", &["--memory", "26MiB"]).refused(2, &above("26MiB", "26112KiB"), "see the caps");
    add("a", &["--memory", "9MiB", "--dir", "scratch=8MiB"]).refused(2, &above("9MiB", "8MiB"), "see the caps");
    add("a", &["--dir", "scratch=9MiB"]).refused(2, "a scratch directory of 9MiB is above the most that is allowed, 8MiB", "see the caps");
    for (id, flags, limit) in [("beside", &[][..], 26112 << 10), ("alone", &["--dir", "scratch=8MiB"][..], 8 << 20)] {
        add(id, flags).ok();
        let ran = place.bellcage(&["trigger", id, "--wait"]);
        assert!(ran.code == 22 && ran.stderr.contains("more than limits.memory"), "{ran:?}");
        assert_eq!(place.json(&["runs", "list", "--job", id])["runs"][0]["receipt"]["memory_limit_bytes"], limit);
    }
    let doctor = place.bellcage(&["doctor"]).ok();
    assert!(doctor.contains("limits.memory = 128MiB is more than one attempt can have of executor.memory beside others, which is 26112KiB"), "{doctor}");
    place.bellcage(&["run", "--memory", "65MiB", HELLO]).refused(2, &above("65MiB", "64MiB"), "see the caps");
}

#[test]
fn the_memory_of_all_guests_is_what_the_configuration_says_and_the_api_tells() {
    let place = Place::default();
    place.bellcage(&["serve", "--set", "executor.memory=1MiB"]).refused(
        2,
        "--set: executor.memory cannot be \"1MiB\": the least is 16MiB",
        "the default is executor.memory = 0",
    );
    let _server = place.serve(&["--set", "executor.memory=1GiB"]);
    let about: serde_json::Value = serde_json::from_slice(&std::fs::read(place.path(".bellcage/server.json")).unwrap()).unwrap();
    let text = |name: &str| about[name].as_str().unwrap().to_owned();
    let told = bellcage::client::Client::new(&text("address"), Some(text("token"))).unwrap().limits().unwrap();
    assert_eq!((told.executor_memory, told.defaults.http_body, told.caps.kv_keys), (Some(1 << 30), 8 << 20, 100_000));
}
