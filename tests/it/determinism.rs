//! Deterministic attempts: twice the same result, log and fuel.

use std::path::Path;
use std::sync::Arc;

use bellcage::component::EngineSettings;
use bellcage::component::cache::Cache;
use bellcage::component::compile::Compiler;
use bellcage::executor::{AttemptReport, AttemptRequest, Determinism, Executor, Pool, PoolConfig, Workers, WorkersConfig};
use bellcage::job::Outcome;
use serde_json::{Value, json};

use crate::support::cage::{self, ReportExt as _};
use crate::support::command::Place;
use crate::support::wat;

/// `look` gives: wall seconds, monotonic nanoseconds before and after a sleep of an hour, a secure and an insecure random
/// number, the insecure seed, and the bits of a NaN that the guest computes.
const LOOK: &str = r#"(component
    (import "wasi:io/poll@0.2.6" (instance $poll
        (export "pollable" (type $p (sub resource)))
        (export "[method]pollable.block" (func (param "self" (borrow $p))))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock
        (alias outer 1 $pollable (type $outer))
        (export "pollable" (type $own (eq $outer)))
        (export "now" (func (result u64)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $own))))))
    (import "wasi:clocks/wall-clock@0.2.6" (instance $wall
        (type $plain (record (field "seconds" u64) (field "nanoseconds" u32)))
        (export "datetime" (type $datetime (eq $plain)))
        (export "now" (func (result $datetime)))))
    (import "wasi:random/random@0.2.6" (instance $random (export "get-random-u64" (func (result u64)))))
    (import "wasi:random/insecure@0.2.6" (instance $insecure (export "get-insecure-random-u64" (func (result u64)))))
    (import "wasi:random/insecure-seed@0.2.6" (instance $seed (export "insecure-seed" (func (result (tuple u64 u64))))))
    (core module $memory (memory (export "memory") 1))
    (core instance $memory (instantiate $memory))
    (alias core export $memory "memory" (core memory $bytes))
    (core func $subscribe (canon lower (func $clock "subscribe-duration")))
    (core func $block (canon lower (func $poll "[method]pollable.block")))
    (core func $now (canon lower (func $clock "now")))
    (core func $wall-now (canon lower (func $wall "now") (memory $bytes)))
    (core func $secure (canon lower (func $random "get-random-u64")))
    (core func $cheap (canon lower (func $insecure "get-insecure-random-u64")))
    (core func $seed (canon lower (func $seed "insecure-seed") (memory $bytes)))
    (core module $m
        (import "host" "memory" (memory 1))
        (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
        (import "host" "block" (func $block (param i32)))
        (import "host" "now" (func $now (result i64)))
        (import "host" "wall" (func $wall (param i32)))
        (import "host" "secure" (func $secure (result i64)))
        (import "host" "cheap" (func $cheap (result i64)))
        (import "host" "seed" (func $seed (param i32)))
        (global $zero (mut f64) (f64.const 0))
        (func (export "look") (result i32)
            (call $wall (i32.const 1024))
            (i64.store (i32.const 0) (i64.load (i32.const 1024)))
            (i64.store (i32.const 8) (call $now))
            (call $block (call $subscribe (i64.const 3_600_000_000_000)))
            (i64.store (i32.const 16) (call $now))
            (i64.store (i32.const 24) (call $secure))
            (i64.store (i32.const 32) (call $cheap))
            (call $seed (i32.const 40))
            (i64.store (i32.const 56) (i64.reinterpret_f64 (f64.div (global.get $zero) (global.get $zero))))
            (i32.const 0)))
    (core instance $i (instantiate $m (with "host" (instance
        (export "memory" (memory $bytes)) (export "subscribe" (func $subscribe)) (export "block" (func $block))
        (export "now" (func $now)) (export "wall" (func $wall-now)) (export "secure" (func $secure))
        (export "cheap" (func $cheap)) (export "seed" (func $seed))))))
    (func (export "look") (result (tuple u64 u64 u64 u64 u64 u64 u64 u64)) (canon lift (core func $i "look") (memory $bytes))))"#;

fn settings() -> EngineSettings {
    EngineSettings { deterministic: true, ..EngineSettings::default() }
}

async fn request(component: &[u8], seed: u64) -> AttemptRequest {
    let cache = Cache::open(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("artefacts"), &settings()).unwrap();
    let (artefact, _) = cache.ensure(&Compiler::new(cage::compiler_config(), settings()), component).await.unwrap();
    AttemptRequest { component: artefact, deterministic: Some(Determinism { seed, at: Determinism::AT }), ..cage::request(&wat::tiny()).await }
}

fn executors() -> [Arc<dyn Executor>; 2] {
    let pool = Pool::start(PoolConfig { workers: 1, slots: 2, engine: settings(), ..PoolConfig::default() }).unwrap();
    let workers = Workers::start(WorkersConfig { engine: settings(), ..cage::workers_config(1, 2) }).unwrap();
    [Arc::new(pool), Arc::new(workers)]
}

/// What two attempts must have in common.
fn seen(report: &AttemptReport) -> (Outcome, Option<i32>, Option<Value>, Vec<u8>, u64) {
    let result = report.result.as_ref().map(bellcage::job::RunResult::to_json);
    (report.outcome, report.exit_code, result, report.log.to_text().into_bytes(), report.receipt.fuel_used)
}

#[tokio::test]
async fn clocks_random_bytes_and_nan_are_the_same_each_time_and_on_every_executor() {
    let component = wat::component(LOOK);
    let look = AttemptRequest { entry: "look".parse().unwrap(), ..request(&component, 7).await };
    let mut all = Vec::new();
    for executor in executors() {
        for _ in 0..2 {
            all.push(seen(&executor.run(look.clone()).await));
        }
    }
    assert_eq!(all[0].0, Outcome::Succeeded, "{:?}", all[0]);
    assert!(all.iter().all(|other| *other == all[0]), "{all:#?}");
    let numbers = all[0].2.clone().unwrap();
    assert_eq!(numbers[0], 1_767_225_600, "2026-01-01T00:00:00Z");
    let (before, after) = (numbers[1].as_u64().unwrap(), numbers[2].as_u64().unwrap());
    assert!(before < 1_000_000 && after - before == 3_600_000_000_000 + 1_000, "the sleep, and the look at the clock before it: {numbers}");
    assert_eq!(numbers[7], 0x7ff8_0000_0000_0000_u64.to_string(), "the canonical NaN");
}

#[tokio::test]
async fn another_seed_gives_other_random_bytes_and_nothing_else() {
    let component = wat::component(LOOK);
    let [pool, _] = executors();
    let mut looks = Vec::new();
    for seed in [1, 2] {
        let report = pool.run(AttemptRequest { entry: "look".parse().unwrap(), ..request(&component, seed).await }).await;
        looks.push(seen(&report));
    }
    let (one, two) = (looks[0].2.as_ref().unwrap(), looks[1].2.as_ref().unwrap());
    let differ: Vec<_> = (0..8).filter(|n| one[n] != two[n]).collect();
    assert_eq!(differ, [3, 4, 5, 6], "{one} {two}");
    assert_eq!(looks[0].4, looks[1].4, "the fuel");
}

#[tokio::test]
async fn without_it_the_same_guest_sees_other_times_and_bytes() {
    let look = "(component".to_owned() + LOOK.trim_start_matches("(component").replace("3_600_000_000_000", "1").as_str();
    let request = AttemptRequest { entry: "look".parse().unwrap(), ..cage::request(&wat::component(&look)).await };
    let pool = cage::pool(1);
    let (one, two) = (pool.run(request.clone()).await, pool.run(request).await);
    let (one, two) = (seen(&one).2.unwrap(), seen(&two).2.unwrap());
    assert!([3, 4, 5, 6].iter().all(|n| one[n] != two[n]), "{one} {two}");
}

#[tokio::test]
async fn a_program_in_javascript_does_the_same_to_the_unit_of_fuel() {
    let request = AttemptRequest { stdin: b"mail dold@example.com from 10.0.0.1\n".to_vec(), ..request(&cage::built_guest("redact"), 0).await };
    for executor in executors() {
        let (one, two) = (executor.run(request.clone()).await, executor.run(request.clone()).await);
        assert_eq!(one.stdout(), "mail [hidden] from [hidden]\n");
        assert_eq!(seen(&one), seen(&two));
    }
}

#[tokio::test]
async fn an_executor_whose_engine_is_not_set_so_refuses_it() {
    let request = AttemptRequest { deterministic: Some(Determinism { seed: 0, at: Determinism::AT }), ..cage::request(&wat::tiny()).await };
    let executors: [Arc<dyn Executor>; 2] = [Arc::new(cage::pool(1)), Arc::new(cage::workers(1))];
    for executor in executors {
        let report = executor.run(request.clone()).await;
        assert_eq!((report.outcome, report.code()), (Outcome::Refused, "determinism-not-offered"));
    }
}

#[test]
fn the_command_line_runs_a_guest_twice_alike_and_in_no_time() {
    let place = Place::default();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/guests/out/probe.wasm");
    let run = |flags: &[&str], args: &[&str]| place.json(&[&["run"], flags, &[file], args].concat());
    let same = |document: &Value| json!([document["outcome"], document["result"], document["logs"], document["receipt"]["fuel_used"]]);
    let (one, two) = (run(&["--deterministic"], &["sleep", "3600000"]), run(&["--deterministic"], &["sleep", "3600000"]));
    assert_eq!(one["result"], "slept 3600000 ms\n");
    assert_eq!(same(&one), same(&two));
    let clock = run(&["--deterministic", "--at", "2000-01-01T00:00:00Z", "--seed", "9"], &["clock"]);
    assert_eq!(clock["result"], "946684800\n");
    let refused = place.bellcage(&["run", "--seed", "1", file]);
    assert_eq!(refused.code, 2, "a seed is for a deterministic run: {refused:?}");
}
