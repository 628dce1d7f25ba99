//! The mixed run: the whole corpus in random order, 16 attacks at once, beside jobs that behave.
//!
//!     BELLCAGE_HOSTILE_RUNS=1000 cargo test --test it hostile::mixed
//!
//! 200 attacks where the variable is not set. Each run is in a process of its own, since it looks at what the process holds. It also
//! prints how late the well-behaved attempts began, with and without the hostile ones (`--nocapture`); times are not asserted.

use std::collections::HashMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bellcage::executor::{AttemptRequest, Executor, Workers};
use bellcage::job::{Outcome, RunId};

use super::chance::Chance;
use super::{ATTACKS, Attack, around};
use crate::support::{cage, wat};

const AT_ONCE: usize = 16;
const WELL_BEHAVED: usize = 4;
/// Set in the process in which a run is alone.
const ALONE: &str = "BELLCAGE_HOSTILE_ALONE";

/// What a mixed run found wrong, and by how many microseconds each well-behaved attempt began late.
struct Found {
    faults: Vec<String>,
    late: Vec<u64>,
}

impl Found {
    fn p99_ms(&mut self) -> f64 {
        self.late.sort_unstable();
        self.late[(self.late.len() - 1) * 99 / 100] as f64 / 1e3
    }
}

/// `count` attacks: the whole corpus in random order, again and again.
fn shuffled(count: usize, chance: &mut Chance) -> Vec<&'static Attack> {
    let mut order = Vec::new();
    while order.len() < count {
        let mut corpus: Vec<_> = ATTACKS.iter().collect();
        while !corpus.is_empty() {
            order.push(corpus.swap_remove(chance.below(corpus.len())));
        }
    }
    order.truncate(count);
    order
}

/// By reference and expected outcome.
type Requests = Arc<HashMap<(&'static str, Outcome), AttemptRequest>>;

/// The requests of all attacks, made before any is run: nobody shall compile text beside them.
async fn requests() -> Requests {
    let mut requests = HashMap::new();
    for attack in ATTACKS {
        requests.insert((attack.reference, attack.outcome), attack.request().await);
    }
    Arc::new(requests)
}

/// Until the attacks are over, and `at_least` so long.
async fn mix(executor: Arc<dyn Executor>, attacks: Vec<&'static Attack>, at_least: Duration) -> Found {
    let requests = requests().await;
    let began = Instant::now();
    let (queue, over) = (Arc::new(Mutex::new(attacks)), Arc::new(AtomicBool::new(false)));
    let attackers: Vec<_> = (0..AT_ONCE).map(|_| tokio::spawn(attack(executor.clone(), queue.clone(), requests.clone()))).collect();
    let probe = AttemptRequest { args: serde_json::json!(["count", "1000"]), ..cage::request(&cage::built_guest("probe")).await };
    let tiny = cage::request(&wat::tiny()).await;
    let behaved: Vec<_> = (0..WELL_BEHAVED).map(|n| tokio::spawn(behave(executor.clone(), [&probe, &tiny][n % 2].clone(), over.clone()))).collect();
    let mut found = Found { faults: Vec::new(), late: Vec::new() };
    for attacker in attackers {
        found.faults.extend(attacker.await.unwrap());
    }
    tokio::time::sleep(at_least.saturating_sub(began.elapsed())).await;
    over.store(true, Ordering::Release);
    for other in behaved {
        let (late, faults) = other.await.unwrap();
        found.late.extend(late);
        found.faults.extend(faults);
    }
    found
}

async fn attack(executor: Arc<dyn Executor>, queue: Arc<Mutex<Vec<&'static Attack>>>, requests: Requests) -> Vec<String> {
    let mut faults = Vec::new();
    loop {
        let Some(attack) = queue.lock().unwrap().pop() else { return faults };
        let request = AttemptRequest { run: RunId(uuid::Uuid::now_v7()), ..requests[&(attack.reference, attack.outcome)].clone() };
        faults.extend(attack.fault(&executor.run(request).await));
    }
}

/// One attempt after the other, at least one.
async fn behave(executor: Arc<dyn Executor>, request: AttemptRequest, over: Arc<AtomicBool>) -> (Vec<u64>, Vec<String>) {
    let (mut late, mut faults) = (Vec::new(), Vec::new());
    while late.is_empty() || !over.load(Ordering::Acquire) {
        let report = executor.run(AttemptRequest { due_at: Some(jiff::Timestamp::now()), ..request.clone() }).await;
        if report.outcome != Outcome::Succeeded {
            faults.push(format!("a well-behaved attempt was {}: {:?}", report.outcome, report.error));
        }
        late.push(report.receipt.queue_us);
    }
    (late, faults)
}

/// What these processes hold in memory, in bytes: pages that are theirs alone or shared.
fn resident(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has a VmRSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of kB") << 10
    };
    pids.iter().map(of).sum()
}

fn runs() -> usize {
    std::env::var("BELLCAGE_HOSTILE_RUNS").map_or(200, |typed| typed.parse().expect("BELLCAGE_HOSTILE_RUNS is a number"))
}

async fn nobody_is_hurt(executor: Arc<dyn Executor>, pids: &[u32]) {
    let mut chance = Chance::of(5);
    // Until memory that is kept for the next attempt is there: several times as many attacks as are measured, since it is kept by slot.
    let warm = mix(executor.clone(), shuffled((4 * runs()).max(3 * ATTACKS.len()), &mut chance), Duration::ZERO).await;
    assert_eq!(warm.faults, [""; 0]);
    let mut alone = mix(executor.clone(), Vec::new(), Duration::from_secs(1)).await;
    assert_eq!(alone.faults, [""; 0]);
    let before = resident(pids);
    let mut mixed = mix(executor.clone(), shuffled(runs(), &mut chance), Duration::ZERO).await;
    assert_eq!(mixed.faults, [""; 0]);
    // As before the first reading.
    let alone_again = mix(executor, Vec::new(), Duration::from_secs(1)).await;
    assert_eq!(alone_again.faults, [""; 0]);
    let after = resident(pids);
    println!("{} attacks, {} well-behaved attempts; resident {} KiB before, {} KiB after", runs(), mixed.late.len(), before >> 10, after >> 10);
    let (alone, mixed) = (alone.p99_ms(), mixed.p99_ms());
    println!("well-behaved attempts began late by {alone:.2} ms alone, {mixed:.2} ms beside the attacks (p99), {:.2} times", mixed / alone);
    assert!(after <= before + before / 10, "{before} bytes were resident before the run, {after} after it");
}

/// Calls the test of this name again, in a process in which no other test runs. True in that process.
fn is_alone(test: &str) -> bool {
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("this test's own program");
    let ran = Command::new(program).args(["--exact", "--nocapture", &format!("hostile::mixed::{test}")]).env(ALONE, "1").output().expect("it starts again");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}\n{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("1 passed"), "{said}");
    println!("{said}");
    false
}

#[tokio::test]
async fn in_the_pool_nobody_is_hurt_and_nothing_is_left() {
    if is_alone("in_the_pool_nobody_is_hurt_and_nothing_is_left") {
        nobody_is_hurt(Arc::new(cage::pool_with(AT_ONCE + WELL_BEHAVED, around())), &[std::process::id()]).await;
    }
}

#[tokio::test]
async fn in_worker_processes_nobody_is_hurt_and_nothing_is_left() {
    if is_alone("in_worker_processes_nobody_is_hurt_and_nothing_is_left") {
        let workers = Arc::new(Workers::start_with(cage::workers_config(2, AT_ONCE + WELL_BEHAVED), around()).expect("worker processes"));
        let pids: Vec<_> = std::iter::once(std::process::id()).chain(workers.pids()).collect();
        nobody_is_hurt(workers.clone(), &pids).await;
        assert_eq!(pids[1..], workers.pids(), "no worker died of it");
    }
}
