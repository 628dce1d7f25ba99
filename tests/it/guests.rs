//! Guests: programs in nine languages, each built from source, each doing a small real job on real input.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bellcage::component::EngineSettings;
use bellcage::component::compile::{Compiler, CompilerConfig};
use bellcage::executor::{AttemptReport, AttemptRequest, Executor as _};
use bellcage::job::{Entry, Outcome};
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

/// A request for a guest. The big ones compile for long on a busy machine: longer than a server allows.
async fn request(guest: &str) -> AttemptRequest {
    let bytes = cage::built_guest(guest);
    let patient = CompilerConfig { cpu: Duration::from_mins(5), wall: Duration::from_mins(10), ..cage::compiler_config() };
    cage::cache().ensure(&Compiler::new(patient, EngineSettings::default()), &bytes).await.expect("the guest compiles");
    cage::request(&bytes).await
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
async fn a_new_project_in_c_greets() {
    assert_eq!(printed("template-c", b"", &["Ada"]).await, "hello Ada\n");
    assert_eq!(command("template-c", b"", &[]).await.outcome, Outcome::Failed);
}

#[tokio::test]
async fn a_new_project_in_go_greets() {
    assert_eq!(printed_json("template-go", b"", &["Ada"]).await, json!({ "greeting": "hello Ada" }));
    assert_eq!(command("template-go", b"", &[]).await.outcome, Outcome::Failed);
}
