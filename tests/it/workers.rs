//! Worker processes: whatever becomes of one, each of its attempts is reported, others go on, and it is replaced.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bellcage::component::Artefact;
use bellcage::executor::{AttemptReport, AttemptRequest, Confinement, Executor, Layer, StartError, Workers, WorkersConfig, WorkersError};
use bellcage::job::{Isolation, Limits, Outcome, RunId};
use jiff::SignedDuration;
use rustix::process::{Pid, Signal, kill_process, setpriority_process, test_kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::task::JoinSet;

use crate::support::cage::{self, ReportExt as _};
use crate::support::wat;

fn start(config: WorkersConfig) -> Arc<Workers> {
    Arc::new(Workers::start(config).expect("worker processes"))
}

fn pid(n: u32) -> Pid {
    Pid::from_raw(n.cast_signed()).expect("a process has a number")
}

async fn sleeper(milliseconds: u32) -> AttemptRequest {
    let request = cage::request(&cage::built_guest("probe")).await;
    AttemptRequest { args: serde_json::json!(["sleep", milliseconds.to_string()]), ..request }
}

/// So many attempts at once; gives the reports as they come.
fn at_once(workers: &Arc<Workers>, request: &AttemptRequest, n: usize) -> JoinSet<AttemptReport> {
    (0..n)
        .map(|_| {
            let (workers, request) = (workers.clone(), request.clone());
            async move { workers.run(request).await }
        })
        .collect()
}

/// Waits until `known` shows, at the latest for half a minute.
async fn until(mut known: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if known() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come about");
}

fn how_many(reports: &[AttemptReport], outcome: Outcome) -> usize {
    reports.iter().filter(|report| report.outcome == outcome).count()
}

// What a process's end costs.

/// Sends `signal` to one of two workers with sleeping attempts, and gives what became of these.
async fn struck(workers: &Arc<Workers>, signal: Signal) -> Vec<AttemptReport> {
    let request = sleeper(1_500).await;
    // Both have it loaded, so that all are asleep soon.
    at_once(workers, &sleeper(0).await, 16).join_all().await;
    let attempts = at_once(workers, &request, 20);
    tokio::time::sleep(Duration::from_millis(300)).await;
    kill_process(pid(workers.pids()[0]), signal).unwrap();
    attempts.join_all().await
}

#[tokio::test]
async fn a_killed_worker_takes_only_its_own_attempts_with_it() {
    let workers = start(cage::workers_config(2, 64));
    let before = workers.pids();
    let reports = struck(&workers, Signal::KILL).await;
    let (succeeded, lost) = (how_many(&reports, Outcome::Succeeded), how_many(&reports, Outcome::Lost));
    assert!(succeeded > 0 && lost > 0 && succeeded + lost == 20, "{succeeded} succeeded, {lost} were lost");
    let report = reports.iter().find(|report| report.outcome == Outcome::Lost).unwrap();
    assert_eq!((report.code(), report.message()), ("worker-died", "the worker process that ran it is gone: it was ended by signal 9 (KILL)"));
    assert_eq!(report.receipt.digest, Some(sleeper(0).await.component.digest), "{report:?}");
    until(|| workers.pids().len() == 2).await;
    assert!(workers.pids()[0] != before[0] && workers.pids()[1] == before[1]);
}

#[tokio::test]
async fn a_worker_that_hangs_is_killed_and_replaced() {
    let workers = start(WorkersConfig { hang_after: Duration::from_millis(200), ..cage::workers_config(2, 64) });
    let reports = struck(&workers, Signal::STOP).await;
    let (succeeded, lost) = (how_many(&reports, Outcome::Succeeded), how_many(&reports, Outcome::Lost));
    assert!(succeeded > 0 && lost > 0 && succeeded + lost == 20, "{succeeded} succeeded, {lost} were lost");
    let report = reports.iter().find(|report| report.outcome == Outcome::Lost).unwrap();
    assert_eq!(report.code(), "worker-died");
    assert!(report.message().contains("it did not answer for"), "{}", report.message());
    until(|| workers.pids().len() == 2).await;
}

/// One core, of which a worker at the least urgency gets a hundredth beside three programs that compute.
#[tokio::test]
async fn a_worker_that_waits_for_a_core_is_not_taken_for_one_that_hangs() {
    let patience = Duration::from_millis(600);
    let workers = start(WorkersConfig { hang_after: patience, overrun_max: patience, ..cage::workers_config(1, 64) });
    let timeout = Limits { fuel: u64::MAX / 2, timeout: SignedDuration::from_millis(300), ..Limits::default() };
    let spin = AttemptRequest { limits: timeout, ..cage::request(&wat::spin()).await };
    assert_eq!(workers.run(spin.clone()).await.outcome, Outcome::Timeout, "it is loaded");
    let (worker, usual) = (pid(workers.pids()[0]), sched_getaffinity(None).unwrap());
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|core| usual.is_set(*core)).unwrap());
    let over = Arc::new(AtomicBool::new(false));
    let compute = || {
        let over = over.clone();
        std::thread::spawn(move || {
            sched_setaffinity(None, &one).unwrap();
            while !over.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        })
    };
    let beside: Vec<_> = (0..3).map(|_| compute()).collect();
    sched_setaffinity(Some(worker), &one).unwrap();
    setpriority_process(Some(worker), 19).unwrap();
    let reports = at_once(&workers, &spin, 8).join_all().await;
    over.store(true, Ordering::Relaxed);
    beside.into_iter().for_each(|thread| thread.join().unwrap());
    let ended: Vec<_> = reports.iter().map(|report| (report.outcome, report.message())).collect();
    assert!(reports.iter().all(|report| report.outcome == Outcome::Timeout), "{ended:?}");
    assert_eq!(pid(workers.pids()[0]), worker);
}

#[tokio::test]
async fn under_load_every_attempt_is_reported_whatever_kills_workers() {
    let workers = start(WorkersConfig { hang_after: Duration::from_millis(200), ..cage::workers_config(2, 64) });
    let mut attempts = at_once(&workers, &cage::request(&wat::tiny()).await, 2_000);
    let mut reports = Vec::new();
    while let Some(report) = attempts.join_next().await {
        reports.push(report.unwrap());
        if reports.len().is_multiple_of(400) {
            let signal = if reports.len().is_multiple_of(800) { Signal::STOP } else { Signal::KILL };
            let struck = workers.pids().first().map(|n| kill_process(pid(*n), signal));
            assert!(struck.is_none_or(|done| done.is_ok()));
        }
    }
    assert_eq!(reports.len(), 2_000);
    assert!(
        reports.iter().all(|report| report.outcome == Outcome::Succeeded || report.code() == "worker-died"),
        "{:?}",
        reports.iter().map(|r| r.code()).collect::<BTreeSet<_>>()
    );
    assert!(how_many(&reports, Outcome::Succeeded) > 1_000);
}

#[tokio::test]
async fn a_worker_is_replaced_after_so_many_attempts_and_loses_none() {
    let workers = start(WorkersConfig { recycle_after: 5, ..cage::workers_config(1, 8) });
    let before = workers.pids();
    let slow = at_once(&workers, &sleeper(300).await, 4);
    let tiny = cage::request(&wat::tiny()).await;
    for _ in 0..20 {
        assert_eq!(workers.run(tiny.clone()).await.outcome, Outcome::Succeeded);
    }
    assert_ne!(workers.pids(), before);
    assert_eq!(how_many(&slow.join_all().await, Outcome::Succeeded), 4);
}

#[tokio::test]
async fn an_attempt_in_a_process_that_drains_can_be_cancelled() {
    let workers = start(WorkersConfig { recycle_after: 2, ..cage::workers_config(1, 8) });
    let request = sleeper(60_000).await;
    let mut attempts = at_once(&workers, &request, 1);
    tokio::task::yield_now().await;
    let before = workers.pids();
    assert_eq!(workers.run(cage::request(&wat::tiny()).await).await.outcome, Outcome::Succeeded);
    until(|| workers.pids() != before && !workers.pids().is_empty()).await;
    workers.cancel(request.run, "enough");
    assert_eq!(attempts.join_next().await.unwrap().unwrap().message(), "cancelled: enough");
}

#[tokio::test]
async fn a_worker_that_holds_too_much_memory_is_replaced() {
    let config = WorkersConfig { recycle_memory: 0, hang_after: Duration::from_millis(100), ..cage::workers_config(1, 1) };
    let workers = start(config);
    let before = workers.pids();
    until(|| !workers.pids().is_empty() && workers.pids() != before).await;
}

#[tokio::test]
async fn no_process_outlives_the_executor() {
    let workers = start(cage::workers_config(2, 8));
    let pids = workers.pids();
    assert_eq!(pids.len(), 2);
    drop(workers);
    assert!(pids.into_iter().all(|n| test_kill_process(pid(n)).is_err()));
}

#[tokio::test]
async fn without_a_worker_attempts_are_told_why() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("bellcage");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bellcage"), &program).unwrap();
    let workers = start(WorkersConfig { program: program.clone(), ..cage::workers_config(1, 8) });
    let tiny = cage::request(&wat::tiny()).await;
    assert_eq!(workers.run(tiny.clone()).await.outcome, Outcome::Succeeded);
    std::fs::remove_file(&program).unwrap();
    kill_process(pid(workers.pids()[0]), Signal::KILL).unwrap();
    until(|| workers.pids().is_empty()).await;
    let report = workers.run(tiny.clone()).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Lost, "no-worker"));
    assert!(report.message().contains("No such file"), "{}", report.message());
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bellcage"), &program).unwrap();
    until(|| !workers.pids().is_empty()).await;
    assert_eq!(workers.run(tiny).await.outcome, Outcome::Succeeded);
}

#[test]
fn a_program_that_is_no_worker_is_refused_at_the_start() {
    let error = Workers::start(WorkersConfig { program: "/bin/false".into(), ..cage::workers_config(1, 1) }).err().unwrap();
    assert_eq!(error.to_string(), "a worker process ended before it was ready: it exited with code 1");
}

#[tokio::test]
async fn more_components_than_a_worker_keeps_take_turns() {
    let workers = start(WorkersConfig { loaded_max: 2, ..cage::workers_config(1, 4) });
    let mut guests = Vec::new();
    for n in 0..4 {
        guests.push(cage::request(&wat::command("(memory 1) (data (i32.const 0) \"x\")", &format!("(i32.sub (i32.const {n}) (i32.const {n}))"))).await);
    }
    for request in guests.iter().cycle().take(40) {
        let report = workers.run(request.clone()).await;
        assert_eq!((report.outcome, report.message()), (Outcome::Succeeded, ""));
    }
}

#[tokio::test]
async fn an_artefact_that_cannot_be_authenticated_is_refused() {
    let tiny = cage::request(&wat::tiny()).await;
    let component = Artefact { path: PathBuf::from("/nonexistent/artefact.cwasm"), ..tiny.component };
    let report = cage::workers(1).run(AttemptRequest { component, ..tiny }).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Refused, "component-damaged"));
}

// Confinement.

#[test]
fn a_layer_that_is_demanded_is_on_or_the_start_names_it() {
    match Workers::start(WorkersConfig { confinement: Confinement::Strict, ..cage::workers_config(1, 1) }) {
        Ok(workers) => {
            assert_eq!(workers.missing(), []);
            for namespace in ["user", "pid", "net", "mnt", "ipc", "uts", "cgroup"] {
                let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/{namespace}")).unwrap();
                assert_ne!(of(&workers.pids()[0].to_string()), of("self"), "{namespace}");
            }
        }
        Err(WorkersError::Start(StartError::Confinement(missing))) => assert!(missing.iter().all(|missing| missing.layer == Layer::Namespaces), "{missing:?}"),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_worker_has_no_environment_no_privileges_and_no_descriptor_of_its_parent() {
    let listening = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::io::fcntl_setfd(&listening, rustix::io::FdFlags::empty()).unwrap();
    let workers = Workers::start(cage::workers_config(1, 1)).unwrap();
    let of = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", workers.pids()[0])).unwrap();
    let status = of("status");
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "Threads:\t2"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert_eq!(of("environ"), "");
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", workers.pids()[0])).unwrap();
    let open: Vec<_> = descriptors.map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap().display().to_string()).collect();
    let inode = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&listening))).unwrap();
    assert!(!open.contains(&inode.display().to_string()), "{open:?}");
}

/// What becomes of a worker whose guest got out of its sandbox and tries this.
#[cfg(debug_assertions)]
async fn escaping(what: &str, isolation: Isolation) -> (AttemptReport, Arc<Workers>) {
    let config = WorkersConfig { escapes: true, hang_after: Duration::from_millis(300), overrun_max: Duration::from_millis(100), ..cage::workers_config(1, 4) };
    let (workers, request) = (start(config), cage::request(&wat::tiny()).await);
    let limits = Limits { timeout: if what == "overrun" { SignedDuration::from_millis(100) } else { Limits::default().timeout }, ..Limits::default() };
    (workers.run(AttemptRequest { program: format!("escape: {what}"), limits, isolation, ..request }).await, workers)
}

#[cfg(debug_assertions)]
macro_rules! an_escaped_guest_that {
    ($($name:ident: $what:literal)*) => {$(
        #[tokio::test]
        async fn $name() {
            let (report, workers) = escaping($what, Isolation::Shared).await;
            assert_eq!((report.outcome, report.code()), (Outcome::Lost, "worker-died"));
            assert!(report.message().contains("signal 31 (SYS"), "{}", report.message());
            assert_eq!(workers.run(cage::request(&wat::tiny()).await).await.outcome, Outcome::Succeeded);
        }
    )*};
}

#[cfg(debug_assertions)]
an_escaped_guest_that! {
    an_escaped_guest_that_opens_a_file_is_killed: "open"
    an_escaped_guest_that_makes_a_socket_is_killed: "socket"
    an_escaped_guest_that_connects_is_killed: "connect"
    an_escaped_guest_that_traces_is_killed: "ptrace"
    an_escaped_guest_that_forks_is_killed: "clone"
    an_escaped_guest_that_runs_a_program_is_killed: "exec"
    an_escaped_guest_that_kills_is_killed: "kill"
    an_escaped_guest_that_loosens_its_confinement_is_killed: "prctl"
    an_escaped_guest_that_makes_code_is_killed: "write and execute"
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn a_worker_whose_thread_is_blocked_is_killed() {
    let (report, _workers) = escaping("hang", Isolation::Shared).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Lost, "worker-died"));
    assert!(report.message().contains("it did not answer for"), "{}", report.message());
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn a_worker_in_which_an_attempt_outlasts_its_timeout_is_killed_although_it_answers() {
    let (report, _workers) = escaping("overrun", Isolation::Shared).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Lost, "worker-died"));
    assert!(report.message().contains("an attempt went on long after it had to end"), "{}", report.message());
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn a_worker_that_asks_for_an_attempt_that_is_not_its_own_or_without_a_grant_is_killed() {
    for (what, why) in [("ask for another attempt", "which it does not have"), ("ask without a grant", "than any guest may")] {
        let (report, workers) = escaping(what, Isolation::Shared).await;
        assert_eq!((report.outcome, report.code()), (Outcome::Lost, "worker-died"), "{what}");
        assert!(report.message().contains(why), "{what}: {}", report.message());
        assert_eq!(workers.run(cage::request(&wat::tiny()).await).await.outcome, Outcome::Succeeded);
    }
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn a_panic_in_a_worker_costs_its_attempt_and_no_more() {
    let (report, workers) = escaping("panic", Isolation::Shared).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Lost, "executor-failed"));
    let before = workers.pids();
    assert_eq!(workers.run(cage::request(&wat::tiny()).await).await.outcome, Outcome::Succeeded);
    assert_eq!(workers.pids(), before);
}

#[cfg(debug_assertions)]
#[tokio::test]
async fn an_escape_from_a_process_of_its_own_reaches_nobody_else() {
    let (report, workers) = escaping("open", Isolation::ProcessPerRun).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Lost, "worker-died"));
    assert!(!workers.pids().is_empty());
    assert_eq!(workers.run(cage::request(&wat::tiny()).await).await.outcome, Outcome::Succeeded);
}

#[tokio::test]
async fn a_pool_has_no_process_for_each_run() {
    let request = AttemptRequest { isolation: Isolation::ProcessPerRun, ..cage::request(&wat::tiny()).await };
    let report = cage::pool(1).run(request).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Refused, "isolation-not-offered"));
}

#[tokio::test]
async fn where_memory_runs_out_a_worker_goes_before_the_server() {
    let workers = cage::workers(1);
    for pid in workers.pids() {
        assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), "800");
    }
}

/// How nice the threads of this process are whose name begins so.
fn niceness(pid: u32, named: &str) -> Vec<i32> {
    let stats = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
    let named = stats.filter_map(|stat| {
        let (name, rest) = stat.split_once(" (")?.1.rsplit_once(") ")?;
        name.starts_with(named).then(|| rest.split(' ').nth(16)?.parse().ok()).flatten()
    });
    named.collect()
}

#[tokio::test]
async fn threads_that_run_guests_stand_back_for_those_that_decide_and_store() {
    let own = rustix::process::getpriority_process(None).unwrap();
    let (behind, workers, pool) = ((own + 10).min(19), cage::workers(8), cage::pool(8));
    for executor in [&workers as &dyn Executor, &pool] {
        assert_eq!(executor.run(cage::request(&wat::tiny()).await).await.outcome, Outcome::Succeeded);
    }
    // Others of this process may have only just begun.
    assert!(niceness(std::process::id(), "bellcage-wasm").contains(&behind));
    let worker = workers.pids()[0];
    assert_eq!(niceness(worker, "bellcage-listen"), [own], "what hears the server does not");
    assert_eq!(niceness(worker, "").into_iter().filter(|nice| *nice == behind).count(), 1);
    let as_others = start(WorkersConfig { nice: 0, ..cage::workers_config(1, 8) });
    assert!(niceness(as_others.pids()[0], "").into_iter().all(|nice| nice == own));
}

// Recycling, attacked.

/// Takes so many pages, touches all of them, and ends.
fn toucher(pages: u32) -> Vec<u8> {
    wat::command(
        "(memory 1)",
        &format!("(drop (memory.grow (i32.const {pages}))) (memory.fill (i32.const 0) (i32.const 1) (i32.const {})) (i32.const 0)", pages << 16),
    )
}

fn resident(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("it lives");
    statm.split(' ').nth(1).expect("a second field").parse::<u64>().expect("a number") * rustix::param::page_size() as u64
}

#[tokio::test]
async fn what_hogs_held_is_the_machines_again_when_they_have_ended() {
    let workers = start(cage::workers_config(1, 64));
    let before = workers.pids();
    let (own, probe) = (cage::request(&toucher(1_000)).await, cage::request(&cage::built_guest("probe")).await);
    let probe = AttemptRequest { args: serde_json::json!(["alloc", "60"]), ..probe };
    for n in 0..8 {
        let report = workers.run([&own, &probe][n % 2].clone()).await;
        assert_eq!((report.outcome, report.message()), (Outcome::Succeeded, ""));
        let resident = resident(before[0]);
        assert!(resident < 128 << 20, "{} MiB are resident in the worker after {} times 62", resident >> 20, n + 1);
    }
    assert_eq!(workers.pids(), before);
}

/// Workers are replaced all the time, as after so many attempts and for what they hold in memory; while one drains, what is sent to it is
/// cancelled, traps, is stopped by limits, or waits for its slot.
#[tokio::test]
async fn however_often_workers_are_replaced_no_attempt_is_lost_and_nobody_elses_fails() {
    let config = WorkersConfig { recycle_after: 7, recycle_memory: 16 << 20, hang_after: Duration::from_millis(400), ..cage::workers_config(2, 6) };
    let workers = start(config);
    let limits = Limits { fuel: 50_000_000, memory: 64 << 20, ..Limits::default() };
    let (fuel, memory, time) = (Limits { fuel: 1_000_000, ..limits.clone() }, Limits { memory: 8 << 20, ..limits.clone() }, SignedDuration::from_millis(100));
    let hostile = [
        (toucher(500), limits.clone(), Outcome::Succeeded),
        (wat::spin(), fuel, Outcome::OutOfFuel),
        (wat::spin(), Limits { fuel: u64::MAX / 2, timeout: time, ..limits.clone() }, Outcome::Timeout),
        (
            wat::command("(memory 1)", "(if (i32.eq (memory.grow (i32.const 900)) (i32.const -1)) (then unreachable)) (i32.const 0)"),
            memory,
            Outcome::OutOfMemory,
        ),
        (wat::command("", "unreachable"), limits, Outcome::Trapped),
    ];
    let (mut attempts, mut pids) = (JoinSet::new(), BTreeSet::from_iter(workers.pids()));
    let send = |attempts: &mut JoinSet<(Outcome, AttemptReport)>, request: AttemptRequest, outcome| {
        let workers = workers.clone();
        attempts.spawn(async move { (outcome, workers.run(request).await) });
    };
    let (tiny, sleeper) = (cage::request(&wat::tiny()).await, sleeper(50).await);
    for round in 0..200 {
        let (component, limits, outcome) = &hostile[round % hostile.len()];
        send(&mut attempts, AttemptRequest { limits: limits.clone(), ..cage::request(component).await }, *outcome);
        send(&mut attempts, [&tiny, &sleeper][round % 2].clone(), Outcome::Succeeded);
        pids.extend(workers.pids());
        if round % 20 == 0 {
            // Has begun, or waits still.
            let unwanted = AttemptRequest { run: RunId(uuid::Uuid::now_v7()), ..sleeper.clone() };
            let run = unwanted.run;
            send(&mut attempts, unwanted, Outcome::Cancelled);
            tokio::task::yield_now().await;
            workers.cancel(run, "enough");
        }
    }
    let mut ended = 0;
    while let Some(done) = attempts.join_next().await {
        let (outcome, report) = done.unwrap();
        assert_eq!(report.outcome, outcome, "{} {}", report.code(), report.message());
        pids.extend(workers.pids());
        ended += 1;
    }
    assert_eq!(ended, 410);
    // Those that were seen: there were many more.
    assert!(pids.len() > 5, "{} processes", pids.len());
}
