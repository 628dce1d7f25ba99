//! Guests: programs in nine languages, each built from source, each doing a small real job on real input.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bellcage::clock::Manual;
use bellcage::component::EngineSettings;
use bellcage::component::cache::Cache;
use bellcage::executor::{AttemptReport, AttemptRequest, Executor as _};
use bellcage::job::{Attempt, Entry, JobKey, Outcome, TenantId};
use bellcage::scheduler::{Accept, EventKind, OnConflict, Options, Parts, Scheduler};
use bellcage::store::Memory;
use serde_json::{Value, json};

use crate::support::cage::{self, ReportExt as _};

fn guests() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/guests"))
}

#[test]
fn every_guest_is_built() {
    let listed = Command::new(guests().join("build")).arg("--list").output().expect("guests/build runs");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).unwrap();
    let missing: BTreeSet<_> = listed.lines().filter(|name| !guests().join(format!("out/{name}.wasm")).is_file()).collect();
    assert!(missing.is_empty(), "not built: {missing:?}; run: guests/setup && guests/build");
    assert!(listed.lines().count() > 20, "guests/build lists: {listed}");
}

/// The demos are committed, so that the binary can be built without the guests' compilers.
#[tokio::test]
async fn the_committed_demos_are_what_their_sources_give() {
    let committed = |file: &str| std::fs::read(guests().join("demo").join(file)).unwrap();
    let same_compiler = committed("COMPILER") == std::fs::read(guests().join("out/COMPILER")).unwrap_or_default();
    for demo in ["hello", "spin", "hog"] {
        let built = cage::built_guest(&format!("demo-{demo}"));
        assert!(!same_compiler || built == committed(&format!("{demo}.wasm")), "demo/{demo}.wasm is stale; run: guests/build --demo");
    }
    let committed = cage::pool(1).run(cage::request(&committed("hello.wasm")).await).await;
    let without_clock = |stdout: String| stdout.lines().filter(|line| !line.starts_with("clock:")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(without_clock(committed.stdout()), without_clock(printed("demo-hello", b"", &[]).await));
}

async fn request(guest: &str) -> AttemptRequest {
    cage::request(&cage::compiled_guest(guest).await).await
}

/// A command on this standard input with these arguments.
async fn command(guest: &str, stdin: &[u8], args: &[&str]) -> AttemptReport {
    let request = request(guest).await;
    cage::pool(1).run(AttemptRequest { stdin: stdin.into(), args: args.into(), ..request }).await
}

/// What a command that succeeds prints.
async fn printed(guest: &str, stdin: &[u8], args: &[&str]) -> String {
    let report = command(guest, stdin, args).await;
    assert_eq!(report.outcome, Outcome::Succeeded, "{guest}: {:?}", report.error);
    report.stdout()
}

async fn printed_json(guest: &str, stdin: &[u8], args: &[&str]) -> Value {
    serde_json::from_str(&printed(guest, stdin, args).await).expect("the guest prints JSON")
}

fn logged(report: &AttemptReport) -> String {
    String::from_utf8_lossy(&report.log.head).into_owned()
}

/// A typed job that is pushed, added and run: what became of it, and the log of its attempt.
async fn job(guest: &str, args: Value) -> (Attempt, String) {
    // In the tests' cache, so that pushing it compiles nothing.
    let component = cage::compiled_guest(guest).await;
    // Before half past midnight in Tokyo, where it is the second of January already.
    let clock = Manual::at("2026-01-01T15:29:00Z".parse().expect("an instant"));
    let parts = Parts {
        store: Arc::new(Memory::default()),
        executor: Arc::new(cage::pool(1)),
        compiler: cage::compiler(),
        cache: Cache::open(&cage::artefacts(), &EngineSettings::default()).expect("the tests' cache"),
        clock: Arc::new(clock.clone()),
        options: Options::default(),
    };
    let scheduler = Scheduler::start(parts).await.expect("it starts");
    let tenant = TenantId::default();
    scheduler.push_component(&tenant, &guest.parse().expect("a name"), component, Accept::default()).await.expect("it is taken");
    let trigger = json!({ "at": "2026-01-02T00:30:00", "timezone": "Asia/Tokyo" });
    let spec = json!({ "component": format!("{guest}:run"), "args": args, "trigger": trigger });
    let key = JobKey { tenant: tenant.clone(), id: "nightly".parse().expect("an id") };
    let (_, mut events) = scheduler.events().subscribe(None);
    scheduler.add_job(key, serde_json::from_value(spec).expect("a job"), OnConflict::Error).await.expect("its arguments fit");
    clock.set("2026-01-01T15:30:00Z".parse().expect("an instant"));
    let run = loop {
        if let EventKind::RunStarted { run, .. } = events.recv().await.expect("an event").kind {
            break run;
        }
    };
    let mut detail = scheduler.wait_run(&tenant, run).await.expect("it ends");
    scheduler.shutdown(Duration::ZERO).await;
    let attempt = detail.attempts.remove(0);
    let log = attempt.log.to_text();
    (attempt, log)
}

/// What a typed job that succeeds returns, and its log.
async fn done(guest: &str, args: Value) -> (Value, String) {
    let (attempt, log) = job(guest, args).await;
    assert_eq!(attempt.outcome, Outcome::Succeeded, "{guest}: {:?}", attempt.error);
    (attempt.result.expect("a result").to_json(), log)
}

/// The message of one that fails for good.
async fn failure(guest: &str, args: Value) -> String {
    let (attempt, _) = job(guest, args).await;
    let error = attempt.error.expect("it fails");
    assert_eq!((attempt.outcome, error.code.as_str()), (Outcome::Failed, "returned-failure"), "{guest}: {error:?}");
    error.message
}

/// What an exported function that succeeds returns.
async fn returned(guest: &str, function: &str, args: Value) -> Value {
    let request = request(guest).await;
    let report = cage::pool(1).run(AttemptRequest { entry: Entry::Function(function.into()), args, ..request }).await;
    assert_eq!(report.outcome, Outcome::Succeeded, "{guest}: {:?}", report.error);
    report.result.expect("a result").to_json()
}

/// A binary PPM whose left half is black and right half is red.
fn picture(width: usize, height: usize) -> Vec<u8> {
    let row: Vec<_> = (0..width).flat_map(|x| [if 2 * x < width { 0 } else { 255 }, 0, 0]).collect();
    [format!("P6\n# made by a test\n{width} {height}\n255\n").into_bytes(), row.repeat(height)].concat()
}

#[tokio::test]
async fn rust_shrinks_a_picture() {
    let small = printed("thumbnail", &picture(400, 200), &["4"]).await;
    assert_eq!(small, "P3\n4 2\n255\n0 0 0 0 0 0 255 0 0 255 0 0\n0 0 0 0 0 0 255 0 0 255 0 0\n");
}

#[tokio::test]
async fn rust_refuses_what_is_no_picture() {
    let report = command("thumbnail", b"GIF89a", &["4"]).await;
    assert_eq!((report.outcome, report.exit_code), (Outcome::Failed, Some(1)));
    assert!(logged(&report).contains("stdin is not a binary PPM"), "{}", logged(&report));
}

#[tokio::test]
async fn python_adds_up_a_csv() {
    let csv = b"region,amount\nnorth,12.50\nsouth,3\nnorth,0.25\n";
    assert_eq!(printed_json("report", csv, &[]).await, json!({ "rows": 3, "totals": { "north": 12.75, "south": 3.0 } }));
}

#[tokio::test]
async fn javascript_hides_addresses() {
    let log = "från ada@example.org på 10.0.0.7: ok\n";
    assert_eq!(printed("redact", log.as_bytes(), &["<dold>"]).await, "från <dold> på <dold>: ok\n");
}

#[tokio::test]
async fn c_sums_what_it_reads() {
    let sums = printed_json("checksum", b"123456789", &[]).await;
    assert_eq!(sums, json!({ "bytes": 9, "crc32": "cbf43926", "adler32": "091e01de" }));
}

#[tokio::test]
async fn go_finds_what_matches() {
    let found = printed_json("scan", b"a=1\nb\nc=22\n", &[r"(\w)=(\d+)"]).await;
    assert_eq!(found, json!([{ "line": 1, "text": "a=1", "groups": ["a", "1"] }, { "line": 3, "text": "c=22", "groups": ["c", "22"] }]));
}

/// Enough that the Go runtime collects garbage and takes more memory, again and again.
#[tokio::test]
async fn go_keeps_its_memory_apart_from_its_adapters() {
    let text = "user@host and more than that on a line of some length\n".repeat(100_000) + "the end\n";
    let found = printed_json("scan", text.as_bytes(), &["^the"]).await;
    assert_eq!(found, json!([{ "line": 100_001, "text": "the" }]));
}

#[tokio::test]
async fn go_says_why_it_fails() {
    let report = command("scan", b"", &["("]).await;
    assert_eq!((report.outcome, report.exit_code), (Outcome::Failed, Some(1)));
    assert!(logged(&report).contains("missing closing )"), "{}", logged(&report));
}

#[tokio::test]
async fn zig_counts_what_it_reads() {
    let counts = json!({ "bytes": 20, "characters": 17, "words": 5, "lines": 3, "longest_line": 8 });
    assert_eq!(printed_json("textstats-command", "två ord\n\nå så vid".as_bytes(), &[]).await, counts);
}

#[tokio::test]
async fn zig_counts_what_it_is_given() {
    let counts = json!({ "bytes": 7, "characters": 6, "words": 2, "lines": 2, "longest-line": 3 });
    assert_eq!(returned("textstats", "analyse", json!({ "text": "två\nxy" })).await, counts);
}

#[tokio::test]
async fn assemblyscript_compares_words() {
    assert_eq!(returned("distance", "distance", json!(["kitten", "sitting"])).await, json!(3));
    let closest = returned("distance", "closest", json!({ "word": "schwan", "candidates": ["gås", "svan", "swan"] })).await;
    assert_eq!(closest, json!("swan"));
    assert_eq!(returned("distance", "closest", json!({ "word": "schwan", "candidates": [] })).await, Value::Null);
}

#[tokio::test]
async fn hand_written_text_checks_a_card_number() {
    for (number, valid) in [("4539 1488 0343 6467", true), ("8273 1232 7352 0569", false), ("", false)] {
        assert_eq!(returned("luhn", "valid", json!({ "number": number })).await, json!(valid), "{number:?}");
    }
}

#[tokio::test]
async fn hand_written_text_copies_its_input() {
    let text = "abc xyz å\n".repeat(20_000);
    assert_eq!(printed("upper", text.as_bytes(), &[]).await, text.replace("abc xyz", "ABC XYZ"));
}

#[tokio::test]
async fn rust_counts_words() {
    let documents = json!([{ "name": "a", "text": "to be or not to be" }]);
    let (counted, log) = done("wordcount", json!({ "documents": documents, "top": 2 })).await;
    assert_eq!(counted, json!({ "documents": 1, "words": 6, "distinct": 4, "top": [["be", 2], ["to", 2]], "attempt": 1 }));
    assert_eq!(log, "");
}

#[tokio::test]
async fn python_finds_what_stands_out() {
    let (found, log) = done("outliers", json!({ "series": { "mon": 12.0, "tue": 11.5, "wed": 48.0 }, "sigmas": 1.0 })).await;
    assert_eq!(found, json!({ "mean": 23.833, "deviation": 20.93, "outliers": { "wed": 48.0 } }));
    // The local day on which it was due.
    assert_eq!(log, "INFO outliers: nightly: 3 values for 2026-01-02\n");
    assert_eq!(failure("outliers", json!({ "series": {} })).await, "a series of 0 values has no outliers: two are needed");
}

#[tokio::test]
async fn javascript_groups_rows() {
    let rows = json!([{ "region": "north", "amount": 3 }, { "region": "south", "amount": 1 }, { "region": "north", "amount": 5 }]);
    let (grouped, log) = done("summarise", json!({ "rows": rows, "by": "region", "sum": "amount" })).await;
    let groups = json!({ "north": { "rows": 2, "sum": 8, "max": 5 }, "south": { "rows": 1, "sum": 1, "max": 1 } });
    assert_eq!(grouped, json!({ "date": "2026-01-02", "groups": groups }));
    assert_eq!(log, "INFO summarise: nightly, attempt 1: 3 rows\n");
    assert_eq!(failure("summarise", Value::Null).await, "args need rows, by and sum");
}

#[tokio::test]
async fn typescript_renders_markdown() {
    let (rendered, _) = done("markdown", json!({ "markdown": "# Today\n\n- *one* & two\n- `three`" })).await;
    assert_eq!(rendered["html"], "<h1>Today</h1>\n<ul><li><em>one</em> &amp; two</li><li><code>three</code></li></ul>");
}

#[tokio::test]
async fn c_sums_what_it_is_given() {
    let (sums, _) = done("checksum-job", json!({ "text": "123456789" })).await;
    assert_eq!((&sums["crc32"], &sums["adler32"]), (&json!("cbf43926"), &json!("091e01de")));
}

#[tokio::test]
async fn go_finds_what_matches_in_its_input() {
    let (found, log) = done("scan-job", json!({ "text": "a=1\nb\nc=22\n", "pattern": r"\d+" })).await;
    assert_eq!(found, json!({ "lines": 3, "matches": [{ "line": 1, "text": "1" }, { "line": 3, "text": "22" }] }));
    assert_eq!(log, "INFO scan: nightly: 2 matches in 3 lines\n");
    assert_eq!(failure("scan-job", json!({ "text": "" })).await, "args need a pattern");
}

#[tokio::test]
async fn new_projects_of_typed_jobs_greet() {
    for guest in ["template-rust", "template-python", "template-js"] {
        let (greeting, log) = done(guest, json!({ "name": "Ada" })).await;
        assert_eq!(greeting, json!({ "greeting": "hello Ada" }), "{guest}");
        assert!(log.starts_with("INFO run ") && log.ends_with(", attempt 1\n"), "{guest}: {log}");
        assert_eq!(failure(guest, json!({ "name": "" })).await, "there is nobody to greet", "{guest}");
    }
}

#[tokio::test]
async fn a_new_project_in_c_greets() {
    assert_eq!(printed("template-c", b"", &["Ada"]).await, "hello Ada\n");
    assert_eq!(command("template-c", b"", &[]).await.outcome, Outcome::Failed);
}

#[tokio::test]
async fn a_new_project_in_go_greets() {
    assert_eq!(printed_json("template-go", b"", &["Ada"]).await, json!({ "greeting": "hello Ada" }));
    assert_eq!(command("template-go", b"", &[]).await.outcome, Outcome::Failed);
}

/// The core modules that compilers give, pushed as they are.
#[tokio::test]
async fn core_modules_run_as_the_components_made_of_them_by_other_tools_do() {
    let core = |name: &str| std::fs::read(guests().join(format!("out/core/{name}.wasm"))).expect("guests/build keeps it");
    for (guest, stdin, args) in [
        ("checksum", &b"123456789"[..], &[][..]),
        ("textstats-command", "två ord\n".as_bytes(), &[]),
        ("scan", b"a=1\n", &["a"]),
        ("template-c", b"", &["Ada"]),
        ("template-go", b"", &["Ada"]),
    ] {
        let request = cage::request(&core(guest)).await;
        let report = cage::pool(1).run(AttemptRequest { stdin: stdin.into(), args: args.into(), ..request }).await;
        assert_eq!(report.outcome, Outcome::Succeeded, "{guest}: {:?}", report.error);
        assert_eq!(report.stdout(), printed(guest, stdin, args).await, "{guest}");
    }
    let request = cage::request(&core("checksum-job")).await;
    let report = cage::pool(1).run(AttemptRequest { entry: Entry::Function("run".into()), args: json!({ "text": "123456789" }), ..request }).await;
    assert_eq!(report.result.expect("a result").to_json()["crc32"], "cbf43926");
}

/// A guest as tools of another minor version of WASI would make it: versions only add, so it asks for the same by other names.
fn of_version(guest: &str, from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len(), "names in a component have their length before them");
    let mut bytes = cage::built_guest(guest);
    let found: Vec<_> = bytes.windows(from.len()).enumerate().filter(|(_, window)| *window == from.as_bytes()).map(|(at, _)| at).collect();
    assert!(found.len() > 5, "{guest} is of {from}");
    found.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to.as_bytes()));
    bytes
}

#[tokio::test]
async fn guests_of_older_and_newer_minor_versions_of_wasi_run() {
    for (guest, from, to, printed) in [
        ("checksum", "@0.2.12", "@0.2.10", r#"{"bytes":0,"crc32":"00000000","adler32":"00000001"}"#),
        ("checksum", "@0.2.12", "@0.2.99", r#"{"bytes":0,"crc32":"00000000","adler32":"00000001"}"#),
        ("probe", "@0.2.6", "@0.2.0", "guest"),
        ("probe", "@0.2.6", "@0.2.9", "guest"),
    ] {
        let request = cage::request(&of_version(guest, from, to)).await;
        let report = cage::pool(1).run(request).await;
        assert_eq!(report.outcome, Outcome::Succeeded, "{guest} of {to}: {:?}", report.error);
        assert_eq!(report.stdout().trim_end().replace(' ', ""), printed, "{guest} of {to}");
    }
}
