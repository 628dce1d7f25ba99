//! Sandbox: what a guest is given, and that each limit stops it and is named. Attacks are in `hostile`.

use std::time::Duration;

use bellcage::executor::{AttemptReport, AttemptRequest};
use bellcage::job::{Entry, Limits, Outcome};
use jiff::SignedDuration;

use super::executor;
use crate::support::cage::{self, ReportExt as _};
use crate::support::wat;

fn short(timeout_ms: i64) -> Limits {
    Limits { timeout: SignedDuration::from_millis(timeout_ms), fuel: u64::MAX / 2, ..Limits::default() }
}

async fn run(component: &[u8], limits: Limits) -> AttemptReport {
    super::super::run(&*executor(2, 4), component, limits).await
}

async fn probe(args: &[&str], limits: Limits) -> AttemptReport {
    super::super::probe(&*executor(2, 4), args, limits).await
}

// What a command is given, and what it gives back.

#[tokio::test]
async fn a_command_that_returns_ok_succeeds() {
    let report = run(&wat::tiny(), Limits::default()).await;
    assert_eq!((report.outcome, report.exit_code, report.error), (Outcome::Succeeded, Some(0), None));
}

#[tokio::test]
async fn a_command_that_returns_err_fails_with_exit_code_1() {
    let report = run(&wat::command("", "(i32.const 1)"), Limits::default()).await;
    assert_eq!((report.outcome, report.exit_code, report.code()), (Outcome::Failed, Some(1), "exit-code"));
}

#[tokio::test]
async fn a_command_sees_its_arguments_environment_and_stdin() {
    let base = cage::request(&cage::built_guest("probe")).await;
    let pool = executor(2, 4);
    let args = AttemptRequest { args: serde_json::json!(["args", "a b", "ü"]), program: "reports".to_owned(), ..base.clone() };
    assert_eq!(pool.run(args).await.stdout(), "reports\nargs\na b\nü\n");
    let env = AttemptRequest { args: serde_json::json!(["env"]), env: vec![("MODE".into(), "prod".into())], ..base.clone() };
    assert_eq!(pool.run(env).await.stdout(), "MODE=prod\n");
    let stdin = AttemptRequest { args: serde_json::json!(["stdin"]), stdin: b"line\n".repeat(50_000), ..base };
    let report = pool.run(stdin).await;
    assert_eq!((report.outcome, report.receipt.result_bytes), (Outcome::Succeeded, 250_000));
}

#[tokio::test]
async fn a_command_has_no_files() {
    let report = probe(&["files"], Limits::default()).await;
    assert_eq!(report.outcome, Outcome::Succeeded);
    assert_eq!(report.stdout().matches("Err(").count(), 3, "{}", report.stdout());
}

#[tokio::test]
async fn an_exit_code_is_kept() {
    let report = probe(&["exit", "3"], Limits::default()).await;
    // WASI 0.2's exit says only whether all went well.
    assert_eq!((report.outcome, report.exit_code), (Outcome::Failed, Some(1)));
}

#[tokio::test]
async fn a_guest_that_is_stopped_by_a_limit_amid_its_code_has_a_backtrace() {
    let spins = wat::component(
        r#"(component
            (core module $m (func $deep (loop (br 0))) (func (export "run") (result i32) (call $deep) (i32.const 0)))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $command (export "run" (func $run)))
            (export "wasi:cli/run@0.2.6" (instance $command)))"#,
    );
    for (limits, outcome) in [(Limits { fuel: 1_000_000, ..Limits::default() }, Outcome::OutOfFuel), (short(50), Outcome::Timeout)] {
        let report = run(&spins, limits).await;
        assert_eq!((report.outcome, report.error.unwrap().backtrace.unwrap()), (outcome, vec!["m!deep".to_owned(), "m!func[1]".to_owned()]));
    }
}

#[tokio::test]
async fn a_trap_has_its_name_and_a_backtrace() {
    let report = run(&wat::command("(func $deep unreachable)", "(call $deep) (i32.const 0)"), Limits::default()).await;
    let error = report.error.unwrap();
    assert_eq!((report.outcome, error.code.as_str(), error.trap.as_deref()), (Outcome::Trapped, "trap", Some("unreachable")));
    assert_eq!(error.backtrace.unwrap(), ["m!deep", "m!func[1]"]);
}

#[tokio::test]
async fn control_characters_in_a_guests_names_are_escaped() {
    let report = run(&wat::command(r#"(func $f (@name "\1b[31mred") unreachable)"#, "(call $f) (i32.const 0)"), Limits::default()).await;
    assert_eq!(report.error.unwrap().backtrace.unwrap()[0], r"m!\u{1b}[31mred");
}

#[tokio::test]
async fn nothing_survives_from_one_attempt_to_the_next() {
    let guest = wat::command(
        "(memory 1) (global $g (mut i32) (i32.const 0))",
        "(if (i32.load (i32.const 64)) (then unreachable)) (if (global.get $g) (then unreachable))
         (i32.store (i32.const 64) (i32.const 7)) (global.set $g (i32.const 7)) (i32.const 0)",
    );
    let (pool, request) = (executor(2, 1), cage::request(&guest).await);
    for _ in 0..3 {
        assert_eq!(pool.run(request.clone()).await.outcome, Outcome::Succeeded);
    }
}

#[tokio::test]
async fn a_receipt_tells_what_was_used() {
    let receipt = probe(&["stdout", "1000"], Limits::default()).await.receipt;
    assert!(receipt.fuel_used > 1_000 && receipt.fuel_limit == 10_000_000_000, "{receipt:?}");
    assert!(receipt.memory_peak_bytes >= 1 << 20 && receipt.memory_limit_bytes == 128 << 20, "{receipt:?}");
    assert!(receipt.cpu_us > 0 && receipt.wall_us >= receipt.instantiate_us && receipt.instantiate_us > 0, "{receipt:?}");
    assert_eq!(receipt.host_calls, receipt.host_calls_by_interface.iter().map(|(_, calls)| calls).sum::<u64>());
    assert!(receipt.host_calls_by_interface.of("wasi:io/streams") > Some(0), "{receipt:?}");
    assert_eq!(receipt.digest, Some(cage::request(&cage::built_guest("probe")).await.component.digest));
}

// Each limit.

#[tokio::test]
async fn a_spinning_guest_is_stopped_by_its_fuel() {
    let report = run(&wat::spin(), Limits { fuel: 1_000_000, ..Limits::default() }).await;
    assert_eq!((report.outcome, report.code(), report.message()), (Outcome::OutOfFuel, "out-of-fuel", "used all its fuel (limits.fuel = 1000000)"));
    assert_eq!(report.receipt.fuel_used, 1_000_000);
}

#[tokio::test]
async fn fuel_is_the_same_in_every_repeat() {
    let guest = wat::command(
        "(memory 1)",
        "(local i32) (loop (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br_if 0 (i32.lt_u (local.get 0) (i32.const 100000)))) (i32.const 0)",
    );
    let (pool, request) = (executor(2, 4), cage::request(&guest).await);
    let mut used = Vec::new();
    for _ in 0..3 {
        used.push(pool.run(request.clone()).await.receipt.fuel_used);
    }
    assert!(used[0] > 100_000 && used.iter().all(|n| *n == used[0]), "{used:?}");
}

#[tokio::test]
async fn fuel_is_known_after_a_timeout_too() {
    let report = run(&wat::spin(), short(300)).await;
    assert_eq!(report.outcome, Outcome::Timeout);
    assert!(report.receipt.fuel_used >= 10_000_000, "{}", report.receipt.fuel_used);
}

#[tokio::test]
async fn a_spinning_guest_is_stopped_by_its_timeout() {
    let report = run(&wat::spin(), short(50)).await;
    assert_eq!((report.outcome, report.code(), report.message()), (Outcome::Timeout, "timeout", "ran longer than limits.timeout = 50ms allows"));
    assert!(report.receipt.cpu_us > 0 && report.receipt.wall_us >= 50_000, "{:?}", report.receipt);
}

#[tokio::test]
async fn a_sleeping_guest_is_stopped_by_its_timeout() {
    let report = probe(&["sleep", "60000"], short(50)).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Timeout, "timeout"));
}

#[tokio::test]
async fn many_sleepers_share_a_worker() {
    let pool = executor(2, 100);
    let request = AttemptRequest { args: serde_json::json!(["sleep", "100"]), ..cage::request(&cage::built_guest("probe")).await };
    let attempts: Vec<_> = (0..100)
        .map(|_| {
            tokio::spawn({
                let (pool, request) = (pool.clone(), request.clone());
                async move { pool.run(request).await }
            })
        })
        .collect();
    for attempt in attempts {
        assert_eq!(attempt.await.unwrap().outcome, Outcome::Succeeded);
    }
}

#[tokio::test]
async fn a_guest_that_dies_of_a_refused_growth_is_out_of_memory() {
    let report = probe(&["alloc", "64"], Limits { memory: 16 << 20, ..Limits::default() }).await;
    assert_eq!((report.outcome, report.code()), (Outcome::OutOfMemory, "out-of-memory"));
    assert!(report.message().ends_with("more than limits.memory = 16MiB allows"), "{}", report.message());
    assert!(report.receipt.memory_peak_bytes <= 16 << 20);
}

#[tokio::test]
async fn a_guest_that_copes_with_a_refused_growth_succeeds() {
    let guest = wat::command("(memory 1)", "(if (i32.ne (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable)) (i32.const 0)");
    assert_eq!(run(&guest, Limits { memory: 1 << 20, ..Limits::default() }).await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn memory_is_summed_over_all_memories() {
    let guest = wat::command(
        "(memory $a 1) (memory $b 1)",
        "(if (i32.eq (memory.grow $a (i32.const 9)) (i32.const -1)) (then (return (i32.const 1))))
         (if (i32.eq (memory.grow $b (i32.const 9)) (i32.const -1)) (then unreachable))
         (i32.const 0)",
    );
    let fits = run(&guest, Limits { memory: 20 << 16, ..Limits::default() }).await;
    assert_eq!((fits.outcome, fits.receipt.memory_peak_bytes), (Outcome::Succeeded, 20 << 16));
    let report = run(&guest, Limits { memory: 19 << 16, ..Limits::default() }).await;
    assert_eq!((report.outcome, report.receipt.memory_peak_bytes), (Outcome::OutOfMemory, 11 << 16));
    assert_eq!(report.message(), "needed 1.3MiB of memory, more than limits.memory = 1216KiB allows");
}

#[tokio::test]
async fn a_guest_with_more_initial_memory_than_its_limit_is_out_of_memory() {
    let report = run(&wat::command("(memory 100)", "(i32.const 0)"), Limits { memory: 1 << 20, ..Limits::default() }).await;
    assert_eq!((report.outcome, report.code()), (Outcome::OutOfMemory, "out-of-memory"));
    assert_eq!(report.message(), "needs at its start 6.3MiB of memory, more than limits.memory = 1MiB allows");
}

#[tokio::test]
async fn a_growing_memory_past_its_own_maximum_is_not_our_limit() {
    let report = run(&wat::command("(memory 1 2)", "(drop (memory.grow (i32.const 5))) unreachable"), Limits::default()).await;
    assert_eq!(report.outcome, Outcome::Trapped);
}

#[tokio::test]
async fn tables_are_limited() {
    let guest =
        wat::command("(table 10 funcref)", "(if (i32.eq (table.grow (ref.null func) (i32.const 1000)) (i32.const -1)) (then unreachable)) (i32.const 0)");
    let report = run(&guest, Limits { table_elements: 500, ..Limits::default() }).await;
    assert_eq!((report.outcome, report.code()), (Outcome::OutOfMemory, "limit-table-elements"));
    assert_eq!(report.message(), "needed 1010 table elements, more than limits.table_elements = 500 allows");
    assert_eq!(run(&guest, Limits { table_elements: 1010, ..Limits::default() }).await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn core_instances_are_limited() {
    let instances = "(core instance (instantiate $e))".repeat(5);
    let guest = wat::component(&format!(
        r#"(component (core module $e) {instances}
            (core module $m (func (export "run") (result i32) (i32.const 0))) (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $command (export "run" (func $run))) (export "wasi:cli/run@0.2.6" (instance $command)))"#
    ));
    let report = run(&guest, Limits { instances: 5, ..Limits::default() }).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Limit, "limit-instances"));
    assert_eq!(run(&guest, Limits { instances: 6, ..Limits::default() }).await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn host_calls_are_counted_and_limited() {
    let guest = wat::calling_command(
        wat::NOW,
        "(result i64)",
        "",
        "(local i32) (loop (drop (call $call)) (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br_if 0 (i32.lt_u (local.get 0) (i32.const 100)))) (i32.const 0)",
    );
    let fits = run(&guest, Limits { host_calls: 100, ..Limits::default() }).await;
    assert_eq!((fits.outcome, fits.receipt.host_calls), (Outcome::Succeeded, 100));
    assert_eq!(fits.receipt.host_calls_by_interface.of("wasi:clocks/monotonic-clock"), Some(100));
    let report = run(&guest, Limits { host_calls: 50, ..Limits::default() }).await;
    assert_eq!((report.outcome, report.code(), report.receipt.host_calls), (Outcome::Limit, "limit-host-calls", 51));
    assert_eq!(report.message(), "called the host more often than limits.host_calls = 50 allows");
}

#[tokio::test]
async fn open_handles_are_limited() {
    let guest = wat::calling_command(wat::SUBSCRIBE, "(param i64) (result i32)", "", "(loop (drop (call $call (i64.const 1))) (br 0)) (i32.const 0)");
    let report = run(&guest, Limits { resources: 20, ..Limits::default() }).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Limit, "limit-resources"));
    assert_eq!(report.message(), "had more handles open than limits.resources = 20 allows");
}

#[tokio::test]
async fn random_bytes_in_one_call_are_limited() {
    let guest = wat::component(
        r#"(component
            (import "wasi:random/random@0.2.6" (instance $random (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
            (core module $lib (memory (export "memory") 2) (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 64)))
            (core instance $l (instantiate $lib))
            (alias core export $l "memory" (core memory $memory))
            (alias core export $l "realloc" (core func $realloc))
            (core func $call (canon lower (func $random "get-random-bytes") (memory $memory) (realloc $realloc)))
            (core module $m (import "host" "call" (func $call (param i64 i32)))
                (func (export "run") (result i32) (call $call (i64.const 1001) (i32.const 0)) (i32.const 0)))
            (core instance $i (instantiate $m (with "host" (instance (export "call" (func $call))))))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $command (export "run" (func $run))) (export "wasi:cli/run@0.2.6" (instance $command)))"#,
    );
    assert_eq!(run(&guest, Limits { random: 1001, ..Limits::default() }).await.outcome, Outcome::Succeeded);
    let report = run(&guest, Limits { random: 1000, ..Limits::default() }).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Limit, "limit-random"));
    assert_eq!(report.message(), "asked for 1001 random bytes at once, more than limits.random = 1000B allows");
}

#[tokio::test]
async fn bytes_in_one_host_call_are_limited() {
    let report = probe(&["stdout", "10000"], Limits { host_call_bytes: 100, ..Limits::default() }).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Limit, "limit-host-call-bytes"));
    assert_eq!(report.message(), "passed more bytes to the host in one call than limits.host_call_bytes = 100B allows");
}

#[tokio::test]
async fn a_result_past_its_limit_ends_the_attempt_and_is_kept_up_to_it() {
    let report = probe(&["stdout", "100000"], Limits { result: 10_000, ..Limits::default() }).await;
    assert_eq!((report.outcome, report.code(), report.receipt.result_bytes), (Outcome::Limit, "limit-result", 10_000));
    assert_eq!(report.message(), "wrote more to stdout than limits.result = 10000B allows");
}

#[tokio::test]
async fn of_a_long_log_head_and_tail_are_kept_and_the_middle_is_counted() {
    let report = probe(&["log", "5000"], Limits { logs: 1000, ..Limits::default() }).await;
    let written: u64 = (0..5000).map(|n| format!("line {n}\n").len() as u64).sum();
    assert_eq!(report.outcome, Outcome::Succeeded);
    assert_eq!((report.receipt.log_bytes, report.receipt.log_bytes_dropped), (written, written - 1000));
    assert!(report.log.head.starts_with(b"line 0\nline 1\n") && report.log.tail.ends_with(b"line 4998\nline 4999\n"));
    assert_eq!((report.log.head.len(), report.log.tail.len()), (500, 500));
}

// Cancelling.

/// Runs the guest, cancels it once `started`, and gives the report.
async fn cancelled(request: AttemptRequest) -> AttemptReport {
    let (pool, id) = (executor(2, 1), request.run);
    let attempt = tokio::spawn({
        let pool = pool.clone();
        async move { pool.run(request).await }
    });
    // Wherever the attempt is by now (queued, loading, in its guest): it must end.
    tokio::time::sleep(Duration::from_millis(100)).await;
    pool.cancel(id, "asked by ada");
    attempt.await.unwrap()
}

#[tokio::test]
async fn a_spinning_guest_can_be_cancelled() {
    let report = cancelled(AttemptRequest { limits: short(60_000), ..cage::request(&wat::spin()).await }).await;
    assert_eq!((report.outcome, report.code(), report.message()), (Outcome::Cancelled, "cancelled", "cancelled: asked by ada"));
}

#[tokio::test]
async fn a_sleeping_guest_can_be_cancelled() {
    let sleeper = AttemptRequest { args: serde_json::json!(["sleep", "60000"]), limits: short(60_000), ..cage::request(&cage::built_guest("probe")).await };
    assert_eq!(cancelled(sleeper).await.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn a_queued_attempt_can_be_cancelled() {
    let pool = executor(2, 1);
    let spin = AttemptRequest { limits: short(60_000), ..cage::request(&wat::spin()).await };
    let queued = cage::request(&wat::tiny()).await;
    let (first, second) = (spin.run, queued.run);
    let spinning = tokio::spawn({
        let pool = pool.clone();
        async move { pool.run(spin).await }
    });
    tokio::task::yield_now().await;
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.run(queued).await }
    });
    tokio::task::yield_now().await;
    pool.cancel(second, "changed my mind");
    let report = waiting.await.unwrap();
    assert_eq!((report.outcome, report.receipt.fuel_used), (Outcome::Cancelled, 0));
    pool.cancel(first, "done");
    assert_eq!(spinning.await.unwrap().outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn an_attempt_that_nobody_waits_for_gives_its_slot_back() {
    let pool = executor(2, 1);
    let spin = AttemptRequest { limits: short(60_000), ..cage::request(&wat::spin()).await };
    assert!(tokio::time::timeout(Duration::from_millis(50), pool.run(spin)).await.is_err());
    assert_eq!(pool.run(cage::request(&wat::tiny()).await).await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn a_spinning_guest_leaves_its_worker_to_others() {
    let pool = executor(1, 8);
    let spin = AttemptRequest { limits: short(60_000), ..cage::request(&wat::spin()).await };
    let id = spin.run;
    let spinning = tokio::spawn({
        let pool = pool.clone();
        async move { pool.run(spin).await }
    });
    let tiny = cage::request(&wat::tiny()).await;
    for _ in 0..5 {
        assert_eq!(pool.run(tiny.clone()).await.outcome, Outcome::Succeeded);
    }
    assert!(!spinning.is_finished());
    pool.cancel(id, "done");
    assert_eq!(spinning.await.unwrap().outcome, Outcome::Cancelled);
}

// What cannot start.

#[tokio::test]
async fn a_function_that_the_component_does_not_export_is_refused() {
    let request = AttemptRequest { entry: Entry::Function("generate".into()), ..cage::request(&wat::tiny()).await };
    let report = executor(2, 1).run(request).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Refused, "entry-missing"));
}

#[tokio::test]
async fn a_command_with_arguments_that_are_no_strings_is_refused() {
    for args in [serde_json::json!({"a": 1}), serde_json::json!([1]), serde_json::json!("a")] {
        let report = executor(2, 1).run(AttemptRequest { args, ..cage::request(&wat::tiny()).await }).await;
        assert_eq!((report.outcome, report.code()), (Outcome::Refused, "args-not-argv"));
    }
}

#[tokio::test]
async fn a_component_without_main_is_refused() {
    let library = r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m)) (func (export "f") (canon lift (core func $i "f"))))"#;
    let report = run(&wat::component(library), Limits::default()).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Refused, "entry-missing"));
}

#[tokio::test]
async fn a_component_with_many_memories_waits_for_its_share_of_the_pool() {
    // Four memories, all that the pool has for two slots, and a sleeper has one of them.
    // It calls before it gets them, each time.
    let calls_first = r#"
        (core module $first (import "host" "call" (func $call (result i64))) (func $call_it (drop (call $call))) (start $call_it))
        (core instance (instantiate $first (with "host" (instance (export "call" (func $call))))))"#;
    let guest = wat::calling_command(&[wat::NOW, calls_first].concat(), "(result i64)", "(memory 1) (memory 1) (memory 1) (memory 1)", "(i32.const 0)");
    let sleeper = AttemptRequest { args: serde_json::json!(["sleep", "50"]), ..cage::request(&cage::built_guest("probe")).await };
    let pool = executor(1, 2);
    let many = cage::request(&guest).await;
    // Once both are loaded, they begin in their order.
    for request in [&sleeper, &many] {
        assert_eq!(pool.run(request.clone()).await.outcome, Outcome::Succeeded);
    }
    let attempts: Vec<_> = [sleeper, many]
        .into_iter()
        .map(|request| {
            tokio::spawn({
                let pool = pool.clone();
                async move { pool.run(request).await }
            })
        })
        .collect();
    let mut receipts = Vec::new();
    for attempt in attempts {
        let report = attempt.await.unwrap();
        assert_eq!(report.outcome, Outcome::Succeeded);
        receipts.push(report.receipt);
    }
    assert_eq!((receipts[1].host_calls, receipts[1].host_calls_by_interface.of("wasi:clocks/monotonic-clock")), (1, Some(1)));
}
