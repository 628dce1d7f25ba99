//! The hostile corpus: each file of `guests/hostile/` is one attack, and a table says how each must end.
//!
//! Every attempt of it has the same small limits, so that a breach is quick and a server of any size is shown.
//! A file without a row, a row without a file, and a limit that no attack proves fail the tests.

mod chance;
mod mixed;
mod uploads;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bellcage::executor::{Answer, Asker, AttemptReport, AttemptRequest, Call, Executor, Network, Outside, Pool, Reach, Refusal, Space, Workers};
use bellcage::job::{Entry, Isolation, JobKey, Limits, Outcome, TenantId};
use bellcage::outside::{World, WorldConfig};
use jiff::{SignedDuration, Timestamp};

use crate::support::cage::{self, ReportExt as _};
use crate::support::wat;

/// One call of one guest.
pub struct Attack {
    /// `FILE`, or `FILE:FUNCTION`.
    pub reference: &'static str,
    pub outcome: Outcome,
    /// The error's code; the trap's name where it is a trap.
    pub code: &'static str,
}

const fn row(reference: &'static str, outcome: Outcome, code: &'static str) -> Attack {
    Attack { reference, outcome, code }
}

const fn trap(reference: &'static str, name: &'static str) -> Attack {
    row(reference, Outcome::Trapped, name)
}

const fn harmless(reference: &'static str) -> Attack {
    row(reference, Outcome::Succeeded, "")
}

pub const ATTACKS: &[Attack] = &[
    // Time.
    row("spin", Outcome::OutOfFuel, "out-of-fuel"),
    row("spin", Outcome::Timeout, "timeout"),
    row("spin-in-start", Outcome::OutOfFuel, "out-of-fuel"),
    row("spin-in-start", Outcome::Timeout, "timeout"),
    row("spin-in-post-return", Outcome::OutOfFuel, "out-of-fuel"),
    row("spin-in-realloc", Outcome::OutOfFuel, "out-of-fuel"),
    row("fill-memory", Outcome::OutOfFuel, "out-of-fuel"),
    row("sleep", Outcome::Timeout, "timeout"),
    row("sleep-for-ever", Outcome::Timeout, "timeout"),
    row("sleep-in-poll", Outcome::Timeout, "timeout"),
    harmless("leave-work-behind"),
    // Stack.
    trap("recursion", "stack-overflow"),
    trap("recursion-with-large-frames", "stack-overflow"),
    trap("recursion-through-a-table", "stack-overflow"),
    trap("recursion-in-realloc", "stack-overflow"),
    // Memory.
    row("grow-memory", Outcome::OutOfMemory, "out-of-memory"),
    row("grow-memory-and-go-on", Outcome::OutOfFuel, "out-of-fuel"),
    row("grow-memory-to-4-gib", Outcome::OutOfMemory, "out-of-memory"),
    row("grow-many-memories", Outcome::OutOfMemory, "out-of-memory"),
    row("grow-memory-in-start", Outcome::OutOfMemory, "out-of-memory"),
    row("memory-at-start", Outcome::OutOfMemory, "out-of-memory"),
    row("grow-table", Outcome::OutOfMemory, "limit-table-elements"),
    row("grow-many-tables", Outcome::OutOfMemory, "limit-table-elements"),
    row("many-instances", Outcome::Limit, "limit-instances"),
    // What the host would hold, or do.
    row("flood-stdout", Outcome::Limit, "limit-result"),
    row("flood-log", Outcome::Limit, "limit-host-calls"),
    harmless("huge-log"),
    harmless("huge-checkpoint"),
    row("huge-write", Outcome::Limit, "limit-host-call-bytes"),
    row("poll-too-much", Outcome::Limit, "limit-host-call-bytes"),
    row("huge-string", Outcome::Limit, "limit-host-call-bytes"),
    row("flood-host-calls", Outcome::Limit, "limit-host-calls"),
    row("flood-handles", Outcome::Limit, "limit-resources"),
    row("flood-own-handles", Outcome::Limit, "limit-resources"),
    row("random-4-gib", Outcome::Limit, "limit-random"),
    row("insecure-random-4-gib", Outcome::Limit, "limit-random"),
    row("flood-random", Outcome::Limit, "limit-host-calls"),
    // What it was granted, to the last.
    row("fill-key-value", Outcome::Limit, "limit-kv-bytes"),
    row("endless-keys", Outcome::Limit, "limit-kv-keys"),
    row("huge-request", Outcome::Limit, "limit-http-body"),
    row("flood-requests", Outcome::Limit, "limit-http-requests"),
    row("results:large", Outcome::Limit, "limit-result"),
    row("results:many", Outcome::Limit, "limit-result"),
    // What no well-formed guest does.
    trap("write-from-nowhere", "host-error"),
    trap("write-zeroes", "host-error"),
    trap("false-handle", "host-error"),
    trap("poll-nothing", "host-error"),
    trap("realloc-nowhere", "host-error"),
    trap("exit-no-such-status", "host-error"),
    trap("results:nowhere", "host-error"),
    trap("results:endless", "host-error"),
    trap("results:not-utf8", "host-error"),
    trap("results:pointer-nowhere", "host-error"),
    trap("results:surrogate", "host-error"),
    trap("results:no-such-case", "host-error"),
    // Every trap.
    trap("traps:unreachable", "unreachable"),
    trap("traps:divide-by-zero", "integer-division-by-zero"),
    trap("traps:remainder-by-zero", "integer-division-by-zero"),
    trap("traps:overflow", "integer-overflow"),
    trap("traps:not-a-number", "bad-conversion-to-integer"),
    trap("traps:too-large-a-float", "integer-overflow"),
    trap("traps:load-nowhere", "memory-out-of-bounds"),
    trap("traps:store-nowhere", "memory-out-of-bounds"),
    trap("traps:copy-nowhere", "memory-out-of-bounds"),
    trap("traps:init-nowhere", "memory-out-of-bounds"),
    trap("traps:call-nowhere", "table-out-of-bounds"),
    trap("traps:call-null", "indirect-call-to-null"),
    trap("traps:call-another-type", "bad-signature"),
    trap("traps:table-nowhere", "table-out-of-bounds"),
    trap("trap-in-start", "unreachable"),
    // Leaving.
    row("exit", Outcome::Failed, "exit-code"),
    row("exit-in-start", Outcome::Failed, "exit-code"),
    harmless("exit-well"),
    // What nobody granted: each of these fails where it is given anything.
    harmless("block-on-stdin"),
    harmless("read-environment"),
    harmless("read-directories"),
    harmless("open-tcp-socket"),
    harmless("open-udp-socket"),
    harmless("resolve-a-name"),
];

impl Attack {
    pub fn file(&self) -> &'static str {
        self.reference.split_once(':').map_or(self.reference, |(file, _)| file)
    }

    /// The small limits. Where the wall time must stop it, nothing else may; elsewhere the wall time may not, however
    /// busy the machine is.
    pub fn limits(&self) -> Limits {
        let (fuel, timeout) = match self.outcome {
            Outcome::Timeout => (u64::MAX / 2, SignedDuration::from_millis(100)),
            _ => (20_000_000, SignedDuration::from_mins(2)),
        };
        Limits {
            fuel,
            timeout,
            memory: 16 << 20,
            result: 64 << 10,
            logs: 4 << 10,
            table_elements: 2_000,
            instances: 8,
            host_calls: 10_000,
            resources: 100,
            host_call_bytes: 64 << 10,
            random: 1_000,
            checkpoint: 1_000,
            kv_bytes: 16 << 10,
            kv_keys: 10,
            http_body: 64 << 10,
            http_requests: 4,
        }
    }

    pub async fn request(&self) -> AttemptRequest {
        let entry = self.reference.split_once(':').map_or(Entry::Main, |(_, function)| Entry::Function(function.into()));
        AttemptRequest { entry, limits: self.limits(), reach: self.reach(), ..cage::request(&component(self.file())).await }
    }

    /// Nothing, but for attacks on what was granted.
    fn reach(&self) -> Reach {
        let job = JobKey { tenant: TenantId::default(), id: "hostile".parse().unwrap() };
        match self.file() {
            "fill-key-value" | "endless-keys" => Reach { kv: Some(Space { job, since: Timestamp::UNIX_EPOCH }), http: None },
            "huge-request" | "flood-requests" => {
                Reach { kv: None, http: Some(Network { tenant: TenantId::default(), origins: vec!["https://nowhere.example".parse().unwrap()] }) }
            }
            _ => Reach::default(),
        }
    }

    /// What is wrong with how it ended; `None` where all is as the table says.
    pub fn fault(&self, report: &AttemptReport) -> Option<String> {
        let trap = report.error.as_ref().and_then(|error| error.trap.as_deref());
        let code = if self.outcome == Outcome::Trapped { trap.unwrap_or_default() } else { report.code() };
        let Attack { reference, outcome, code: expected } = self;
        (report.outcome != *outcome || code != *expected)
            .then(|| format!("{reference}: {outcome} {expected} was expected, it was {} {code}: {}", report.outcome, report.message()))
    }
}

/// A key-value namespace, and hosts that never answer.
pub struct Around(World);

#[async_trait]
impl Outside for Around {
    async fn ask(&self, asker: &Asker, call: Call) -> Result<Answer, Refusal> {
        match call {
            Call::KeyValue(_) => self.0.ask(asker, call).await,
            Call::Http(_) => std::future::pending().await,
        }
    }
}

pub fn around() -> Arc<dyn Outside> {
    Arc::new(Around(World::passing(WorldConfig::default())))
}

fn pool() -> Pool {
    cage::pool_with(4, around())
}

fn workers() -> Workers {
    Workers::start_with(cage::workers_config(2, 4), around()).expect("worker processes")
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/hostile")
}

fn component(file: &str) -> Vec<u8> {
    wat::component(&std::fs::read_to_string(corpus().join(format!("{file}.wat"))).expect("a file of the corpus"))
}

fn files() -> BTreeSet<String> {
    let entries = std::fs::read_dir(corpus()).expect("guests/hostile").map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries.map(|name| name.strip_suffix(".wat").unwrap_or_else(|| panic!("{name} is no .wat")).to_owned()).collect()
}

#[test]
fn every_file_has_a_row_and_every_row_a_file() {
    let rows: BTreeSet<_> = ATTACKS.iter().map(|attack| attack.file().to_owned()).collect();
    assert_eq!(files(), rows);
}

/// What a file's first comment says: what it tries, and what must stop it.
fn comment(file: &str) -> Option<(String, String)> {
    let text = std::fs::read_to_string(corpus().join(format!("{file}.wat"))).expect("a file of the corpus");
    let comment: Vec<_> = text.lines().map_while(|line| line.strip_prefix(";; ")).collect();
    let (tries, stopped_by) = comment.join(" ").strip_prefix("Tries: ")?.split_once(" Stopped by: ").map(|(a, b)| (a.to_owned(), b.to_owned()))?;
    Some((tries, stopped_by))
}

#[test]
fn every_file_says_what_it_tries_and_what_must_stop_it() {
    let silent: Vec<_> = files().into_iter().filter(|file| comment(file).is_none()).collect();
    assert!(silent.is_empty(), "without \";; Tries: …\" and \";; Stopped by: …\" in front: {silent:?}");
}

#[test]
fn the_page_on_security_tells_of_every_attack() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md")).unwrap();
    let row = |file: String| {
        let (tries, stopped_by) = comment(&file).unwrap_or_default();
        let mut ends: Vec<_> = ATTACKS.iter().filter(|attack| attack.file() == file).map(|attack| attack.outcome.as_str()).collect();
        ends.dedup();
        format!("| {file} | {tries} | {stopped_by} | {} |", ends.join(", "))
    };
    let rows: Vec<_> = files().into_iter().map(row).collect();
    let told: Vec<_> = page.split("|---|---|---|---|\n").nth(1).unwrap_or_default().lines().take_while(|line| line.starts_with('|')).collect();
    let missing: Vec<_> = rows.iter().filter(|row| !told.contains(&row.as_str())).collect();
    assert!(missing.is_empty(), "not in the table of docs/security.md: {missing:#?}");
    assert_eq!(told.len(), rows.len(), "the table in docs/security.md has rows of no attack");
}

/// Every attack, one after the other.
async fn reports(executor: &dyn Executor) -> Vec<(&'static Attack, AttemptReport)> {
    let mut reports = Vec::new();
    for attack in ATTACKS {
        reports.push((attack, executor.run(attack.request().await).await));
    }
    reports
}

fn faults(reports: &[(&Attack, AttemptReport)]) -> Vec<String> {
    reports.iter().filter_map(|(attack, report)| attack.fault(report)).collect()
}

#[tokio::test]
async fn every_attack_ends_as_the_table_says_in_the_pool() {
    assert_eq!(faults(&reports(&pool()).await), [""; 0]);
}

#[tokio::test]
async fn every_attack_ends_as_the_table_says_in_worker_processes() {
    let workers = workers();
    let before = workers.pids();
    assert_eq!(faults(&reports(&workers).await), [""; 0]);
    assert_eq!(workers.pids(), before, "no worker died of it");
}

#[tokio::test]
async fn every_attack_ends_as_the_table_says_in_a_process_of_its_own() {
    let workers = workers();
    let mut reports = Vec::new();
    for attack in ATTACKS {
        reports.push((attack, workers.run(AttemptRequest { isolation: Isolation::ProcessPerRun, ..attack.request().await }).await));
    }
    assert_eq!(faults(&reports), [""; 0]);
}

/// Where it can be known how much would have been enough, the report says so: of the others only that it was more.
#[tokio::test]
async fn what_a_limit_refused_is_told_where_it_is_known() {
    let mut told: BTreeMap<&str, u64> = BTreeMap::new();
    for (attack, report) in reports(&pool()).await {
        let Some(asked) = report.error.as_ref().and_then(|error| error.asked) else { continue };
        told.insert(attack.reference, asked.get());
    }
    let of = |reference: &str| told.get(reference).copied();
    assert_eq!(of("grow-memory-to-4-gib").map(|asked| asked >> 32), Some(1), "{told:?}");
    assert_eq!(of("random-4-gib"), Some(4 << 30));
    assert_eq!(of("many-instances"), Some(9));
    assert_eq!(of("flood-handles"), Some(101));
    assert_eq!(of("flood-own-handles"), Some(101));
    assert!(of("flood-stdout") > Some(64 << 10), "{told:?}");
    assert!(of("grow-table") > Some(2_000), "{told:?}");
    for untold in ["spin", "flood-host-calls", "huge-write", "results:large", "sleep", "traps:unreachable"] {
        assert_eq!(of(untold), None, "{untold}");
    }
}

/// The message that a limit ends an attempt with names the limit. Those of log and checkpoint end nothing: they are seen
/// in what was kept.
#[tokio::test]
async fn every_limit_is_proved_by_an_attack() {
    let Ok(serde_json::Value::Object(limits)) = serde_json::to_value(Limits::default()) else { panic!("limits are an object") };
    let mut proofs: BTreeMap<_, BTreeSet<&str>> = limits.keys().map(|name| (name.as_str(), BTreeSet::new())).collect();
    for (attack, report) in reports(&pool()).await {
        let named = |name: &str| report.message().contains(&format!("limits.{name} = "));
        let logs = report.receipt.log_bytes_dropped > 0 && (report.log.head.len() + report.log.tail.len()) as u64 == attack.limits().logs;
        let checkpoint = report.checkpoint.as_ref().is_some_and(|kept| kept.len() as u64 == attack.limits().checkpoint);
        let kept = |name: &str| (name == "logs" && logs) || (name == "checkpoint" && checkpoint);
        proofs.iter_mut().filter(|(name, _)| named(name) || kept(name)).for_each(|(_, proof)| {
            proof.insert(attack.reference);
        });
    }
    let unproved: Vec<_> = proofs.iter().filter(|(_, proof)| proof.is_empty()).map(|(name, _)| name).collect();
    assert!(unproved.is_empty(), "no attack is stopped by {unproved:?}; add one to guests/hostile; proved: {proofs:?}");
}
