//! The memory that all guests may hold together: who holds much is refused where there is no more, who holds little never is, and
//! whatever an attempt held is there for others when it has ended, however it did.

use std::sync::Arc;

use bellcage::executor::{AttemptReport, AttemptRequest, Directory, Executor, Pool, PoolConfig, Workers, WorkersConfig};
use bellcage::job::{Isolation, Limits, Outcome, RunId};
use jiff::SignedDuration;

use crate::support::cage::{self, ReportExt as _};
use crate::support::wat;

const MIB: u64 = 1 << 20;

/// Takes 28 MiB, says so, and then does `body`.
fn hog(body: &str) -> Vec<u8> {
    wat::component(&format!(
        r#"(component
            (import "bellcage:job/progress@0.1.0" (instance $progress
                (export "report" (func (param "fraction" (option f64)) (param "message" string)))))
            (core module $lib (memory (export "memory") 1))
            (core instance $lib (instantiate $lib))
            (alias core export $lib "memory" (core memory $memory))
            (core func $report (canon lower (func $progress "report") (memory $memory)))
            (core module $m
                (import "host" "memory" (memory 1))
                (import "host" "report" (func $report (param i32 f64 i32 i32)))
                (func (export "run") (result i32)
                    (if (i32.eq (memory.grow (i32.const 447)) (i32.const -1)) (then unreachable))
                    (call $report (i32.const 0) (f64.const 0) (i32.const 0) (i32.const 0))
                    {body}))
            (core instance $i (instantiate $m (with "host" (instance (export "memory" (memory $memory)) (export "report" (func $report))))))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $command (export "run" (func $run)))
            (export "wasi:cli/run@0.2.6" (instance $command)))"#
    ))
}

const SPIN: &str = "(loop (br 0)) (i32.const 0)";
const TRAP: &str = "unreachable";
const RETURN: &str = "(i32.const 0)";

async fn request(component: &[u8]) -> AttemptRequest {
    let limits = Limits { fuel: u64::MAX / 2, memory: 64 * MIB, timeout: SignedDuration::from_mins(5), ..Limits::default() };
    AttemptRequest { limits, run: RunId(uuid::Uuid::now_v7()), ..cage::request(component).await }
}

/// 4 MiB for each slot, and 32 MiB in common.
fn pool() -> Arc<dyn Executor> {
    Arc::new(Pool::start(PoolConfig { workers: 1, slots: 8, memory: 64 * MIB, ..PoolConfig::default() }).expect("a pool"))
}

/// The same; a quarter is for processes of single attempts.
fn workers() -> Arc<dyn Executor> {
    Arc::new(Workers::start(WorkersConfig { memory: 64 * MIB * 4 / 3, ..cage::workers_config(1, 8) }).expect("worker processes"))
}

/// Begins an attempt, and waits until it says that it holds its memory.
async fn holding(executor: &Arc<dyn Executor>, request: AttemptRequest) -> tokio::task::JoinHandle<AttemptReport> {
    let run = request.run;
    let running = tokio::spawn({
        let executor = executor.clone();
        async move { executor.run(request).await }
    });
    while executor.progress(run).is_none() {
        assert!(!running.is_finished(), "{:?}", running.await.map(|report| report.error));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    running
}

async fn hogs_are_refused_and_small_guests_are_not(executor: Arc<dyn Executor>) {
    let spins = request(&hog(SPIN)).await;
    let (run, first) = (spins.run, holding(&executor, spins).await);
    let second = executor.run(request(&hog(RETURN)).await).await;
    assert_eq!((second.outcome, second.code()), (Outcome::Lost, "executor-memory"), "{}", second.message());
    let told = "needed 28MiB of memory, which limits.memory = 64MiB allows; but of what this server's guests may hold (executor.memory) there was no more: one alone may have 36MiB";
    assert_eq!(second.message(), told);
    for _ in 0..20 {
        let small = executor.run(request(&wat::command("(memory 60)", "(i32.const 0)")).await).await;
        assert_eq!((small.outcome, small.message()), (Outcome::Succeeded, ""));
    }
    executor.cancel(run, "enough");
    assert_eq!(first.await.unwrap().outcome, Outcome::Cancelled);
}

async fn what_was_held_is_given_back(executor: Arc<dyn Executor>) {
    let limits = |limits: Limits, request: AttemptRequest| AttemptRequest { limits, ..request };
    let spins = || async { request(&hog(SPIN)).await };
    let base = spins().await.limits;
    let ends = [
        (request(&hog(RETURN)).await, Outcome::Succeeded),
        (request(&hog(TRAP)).await, Outcome::Trapped),
        (limits(Limits { fuel: 1_000_000, ..base.clone() }, spins().await), Outcome::OutOfFuel),
        (limits(Limits { timeout: SignedDuration::from_millis(200), ..base.clone() }, spins().await), Outcome::Timeout),
        (limits(Limits { memory: 20 * MIB, ..base }, spins().await), Outcome::OutOfMemory),
    ];
    for (request, outcome) in ends {
        // Each needs nearly all that there is in common: so what the one before held was given back.
        for _ in 0..3 {
            let report = executor.run(AttemptRequest { run: RunId(uuid::Uuid::now_v7()), ..request.clone() }).await;
            assert_eq!(report.outcome, outcome, "{}", report.message());
        }
    }
    let unwanted = holding(&executor, spins().await).await;
    unwanted.abort();
    // Nobody is told when it has ended.
    let mut last = None;
    for _ in 0..1_000 {
        let report = executor.run(request(&hog(RETURN)).await).await;
        let over = report.outcome == Outcome::Succeeded;
        last = Some(report);
        if over {
            break;
        }
    }
    let last = last.unwrap();
    assert_eq!((last.outcome, last.message()), (Outcome::Succeeded, ""));
}

#[tokio::test]
async fn in_the_pool_hogs_are_refused_and_small_guests_are_not() {
    hogs_are_refused_and_small_guests_are_not(pool()).await;
}

#[tokio::test]
async fn in_worker_processes_hogs_are_refused_and_small_guests_are_not() {
    hogs_are_refused_and_small_guests_are_not(workers()).await;
}

#[tokio::test]
async fn in_the_pool_what_an_attempt_held_is_given_back_however_it_ends() {
    what_was_held_is_given_back(pool()).await;
}

#[tokio::test]
async fn in_worker_processes_what_an_attempt_held_is_given_back_however_it_ends() {
    what_was_held_is_given_back(workers()).await;
}

#[tokio::test]
async fn attempts_in_processes_of_their_own_wait_until_there_is_memory_for_all_they_may_ask_for() {
    // 64 MiB for them: what one of these may ask for.
    let workers: Arc<dyn Executor> = Arc::new(Workers::start(WorkersConfig { memory: 256 * MIB, alone_max: 4, ..cage::workers_config(1, 8) }).unwrap());
    let alone = |request: AttemptRequest| AttemptRequest { isolation: Isolation::ProcessPerRun, ..request };
    let spins = alone(request(&hog(SPIN)).await);
    let (run, first) = (spins.run, holding(&workers, spins).await);
    let waits = alone(request(&hog(RETURN)).await);
    let second = tokio::spawn({
        let (workers, waits) = (workers.clone(), waits);
        async move { workers.run(waits).await }
    });
    // One that shares a worker does not wait for it.
    assert_eq!(workers.run(request(&hog(RETURN)).await).await.outcome, Outcome::Succeeded);
    assert!(!second.is_finished());
    workers.cancel(run, "enough");
    assert_eq!(first.await.unwrap().outcome, Outcome::Cancelled);
    let second = second.await.unwrap();
    assert_eq!((second.outcome, second.message()), (Outcome::Succeeded, ""));
}

#[tokio::test]
async fn a_scratch_directory_takes_no_more_than_half_of_what_there_is_for_attempts_in_processes_of_their_own() {
    let workers = Workers::start(WorkersConfig { memory: 64 * MIB, ..cage::workers_config(1, 8) }).unwrap();
    let with_scratch = |request: AttemptRequest, bytes: u64| AttemptRequest { directories: vec![Directory::scratch("/scratch".to_owned(), bytes)], ..request };
    let refused = workers.run(with_scratch(request(&hog(RETURN)).await, 8 * MIB + 1)).await;
    assert_eq!((refused.outcome, refused.code()), (Outcome::Refused, "scratch-too-large"), "{}", refused.message());
    // And its guest has what is left.
    let guest = workers.run(with_scratch(request(&hog(RETURN)).await, 8 * MIB)).await;
    assert_eq!((guest.outcome, guest.code()), (Outcome::Lost, "executor-memory"), "{}", guest.message());
    assert!(guest.message().ends_with("one alone may have 8MiB"), "{}", guest.message());
}
