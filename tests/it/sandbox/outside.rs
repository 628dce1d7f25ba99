//! What guests reach outside of their sandbox, and what becomes of them where they may not.

use async_trait::async_trait;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellcage::executor::{Answer, Asker, AttemptReport, AttemptRequest, Call, Outside, Raw, Reach, Refusal, Space};
use bellcage::job::{JobKey, Limits, Outcome, TenantId};
use bellcage::outside::{World, WorldConfig};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use super::executor_with;
use crate::support::cage::{self, ReportExt as _};

fn granted() -> Reach {
    let job = JobKey { tenant: TenantId::default(), id: "guest".parse().unwrap() };
    Reach { kv: Some(Space { job, since: Timestamp::UNIX_EPOCH }), ..Reach::default() }
}

/// One attempt of the guest `keyvalue`, which does what its arguments say.
async fn keyvalue(outside: Arc<dyn Outside>, reach: Reach, args: &[&str]) -> AttemptReport {
    limited(outside, reach, Limits::default(), args).await
}

async fn limited(outside: Arc<dyn Outside>, reach: Reach, limits: Limits, args: &[&str]) -> AttemptReport {
    let request = cage::request(&cage::built_guest("keyvalue")).await;
    let limits = Limits { timeout: SignedDuration::from_secs(20), ..limits };
    executor_with(outside).run(AttemptRequest { args: args.into(), reach, limits, ..request }).await
}

fn world() -> Arc<dyn Outside> {
    Arc::new(World::passing(WorldConfig::default()))
}

fn bytes(kv_bytes: u64) -> Limits {
    Limits { kv_bytes, ..Limits::default() }
}

/// Answers nothing, ever; counts what waits.
#[derive(Default)]
struct Silence {
    asked: Notify,
    waiting: Arc<AtomicUsize>,
}

#[async_trait]
impl Outside for Silence {
    async fn ask(&self, _: &Asker, _: Call) -> Result<Answer, Refusal> {
        struct Waits(Arc<AtomicUsize>);
        impl Drop for Waits {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waits = Waits(self.waiting.clone());
        self.asked.notify_one();
        std::future::pending().await
    }
}

/// Waits until nobody waits, at the latest for half a minute.
async fn nobody_waits(silence: &Silence) {
    for _ in 0..3_000 {
        if silence.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a question outlived its attempt");
}

#[tokio::test]
async fn what_a_guest_sets_it_reads() {
    let report = keyvalue(world(), granted(), &["get:a", "set:a:1", "get:a", "exists:a", "exists:b", "list", "delete:a", "get:a", "delete:a"]).await;
    assert_eq!((report.outcome, report.message()), (Outcome::Succeeded, ""));
    assert_eq!(report.stdout(), "nothing\nset\n1\ntrue\nfalse\n1: a\ndeleted\nnothing\ndeleted\n");
}

#[tokio::test]
async fn numbers_are_added_to_by_the_keeper() {
    let report = keyvalue(world(), granted(), &["add:n:40", "add:n:2", "get:n", "set:n:x", "add:n:1"]).await;
    assert_eq!(report.stdout(), "40\n42\n42\nset\nrefused: the value of \"n\" is not a number that can be added to\n");
}

#[tokio::test]
async fn more_keys_than_one_answer_lists_are_all_listed() {
    let limits = Limits { kv_keys: 2_500, ..Limits::default() };
    let report = limited(world(), granted(), limits, &["fill:2500:1", "list", "set:another:1"]).await;
    let text = report.stdout();
    assert_eq!(text.lines().nth(1), Some("2500: key-0 key-1 key-2 key-3 key-4"), "{text}{}", report.message());
    assert_eq!(text.lines().nth(2), Some("refused: the namespace has as many keys as limits.kv_keys = 2500 allows"));
}

#[tokio::test]
async fn past_its_quota_a_guest_is_told_so_and_goes_on() {
    let report = limited(world(), granted(), bytes(1_000), &["fill:1:990", "set:b:12345", "get:b", "fill:1:10", "set:b:12345"]).await;
    let refused = "refused: the namespace would take 1001 bytes, more than limits.kv_bytes = 1000B allows";
    assert_eq!(report.stdout(), format!("filled\n{refused}\nnothing\nfilled\nset\n"));
    assert_eq!(report.outcome, Outcome::Succeeded);
}

/// The guest `keyvalue` panics at a word that it does not know.
#[tokio::test]
async fn one_that_fails_of_a_limit_is_told_so_and_one_that_coped_is_not() {
    let report = limited(world(), granted(), bytes(1_000), &["fill:1:990", "set:b:12345", "no-such-word"]).await;
    assert_eq!((report.outcome, report.code(), report.error.as_ref().and_then(|e| e.asked).map(u64::from)), (Outcome::Limit, "limit-kv-bytes", Some(1_001)));
    let begins = "the namespace would take 1001 bytes, more than limits.kv_bytes = 1000B allows; the guest then ";
    assert!(report.message().starts_with(begins), "{}", report.message());
    let report = limited(world(), granted(), bytes(1_000), &["fill:1:990", "set:b:12345", "delete:key-0", "set:b:12345", "no-such-word"]).await;
    assert!(matches!(report.outcome, Outcome::Failed | Outcome::Trapped), "{} {}", report.outcome, report.message());
}

#[tokio::test]
async fn a_value_of_a_mebibyte_comes_back_whole() {
    let mebibyte = Limits { host_call_bytes: 4 << 20, ..bytes(2 << 20) };
    let request = cage::request(&cage::built_guest("keyvalue")).await;
    let args = ["fill:1:1048576", "exists:key-0"];
    let report = executor_with(world()).run(AttemptRequest { args: args[..].into(), reach: granted(), limits: mebibyte, ..request }).await;
    assert_eq!((report.stdout().as_str(), report.message()), ("filled\ntrue\n", ""));
}

#[tokio::test]
async fn a_value_or_key_that_is_far_too_large_is_refused_and_hurts_nobody_beside() {
    let limits = Limits { host_call_bytes: 16 << 20, ..bytes(1_000) };
    let request = AttemptRequest { limits, ..cage::request(&cage::built_guest("keyvalue")).await };
    let executor = executor_with(world());
    let long = format!("get:{}", "k".repeat(5_000_000));
    let args = ["fill:1:15000000", &*long, "get:key-0"];
    let report = executor.run(AttemptRequest { args: args[..].into(), reach: granted(), ..request }).await;
    let refused = |bytes: u64| format!("refused: the namespace would take {bytes} bytes, more than limits.kv_bytes = 1000B allows\n");
    assert_eq!((report.stdout(), report.message()), (format!("{}{}nothing\n", refused(15_000_005), refused(5_000_000)), ""));
}

#[tokio::test]
async fn without_the_grant_nothing_opens_and_nobody_is_asked() {
    let silence = Arc::new(Silence::default());
    let report = keyvalue(silence, Reach::default(), &["set:a:1"]).await;
    assert_eq!((report.outcome, report.stdout().as_str()), (Outcome::Succeeded, "access denied\n"));
}

#[tokio::test]
async fn there_is_no_other_bucket_than_the_jobs_own() {
    let report = keyvalue(world(), granted(), &["open:default", "open:", "open:other-job"]).await;
    assert_eq!(report.stdout(), "opened\nopened\nno such store\n");
}

#[tokio::test]
async fn calls_are_counted_by_interface_and_limited() {
    let report = keyvalue(world(), granted(), &["set:a:1", "get:a"]).await;
    // To open it, to set and get, to drop it.
    assert_eq!(report.receipt.host_calls_by_interface.of("wasi:keyvalue/store"), Some(4));
    let request = cage::request(&cage::built_guest("keyvalue")).await;
    let limits = Limits { host_calls: 2_000, ..Limits::default() };
    let report = executor_with(world()).run(AttemptRequest { args: ["spin"][..].into(), reach: granted(), limits, ..request }).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Limit, "limit-host-calls"));
}

#[tokio::test]
async fn an_attempt_that_waits_for_an_answer_times_out_and_its_question_is_dropped() {
    let silence = Arc::new(Silence::default());
    let request = cage::request(&cage::built_guest("keyvalue")).await;
    let limits = Limits { timeout: SignedDuration::from_millis(200), ..Limits::default() };
    let report = executor_with(silence.clone()).run(AttemptRequest { args: ["get:a"][..].into(), reach: granted(), limits, ..request }).await;
    assert_eq!(report.outcome, Outcome::Timeout);
    nobody_waits(&silence).await;
}

#[tokio::test]
async fn an_attempt_that_waits_for_an_answer_can_be_cancelled() {
    let silence = Arc::new(Silence::default());
    let executor = executor_with(silence.clone());
    let request = AttemptRequest { args: ["get:a"][..].into(), reach: granted(), ..cage::request(&cage::built_guest("keyvalue")).await };
    let run = request.run;
    let (report, ()) = tokio::join!(executor.run(request), async {
        silence.asked.notified().await;
        executor.cancel(run, "enough");
    });
    assert_eq!((report.outcome, report.message()), (Outcome::Cancelled, "cancelled: enough"));
    nobody_waits(&silence).await;
}

/// Panics, or gives an answer of another kind.
struct Broken(bool);

#[async_trait]
impl Outside for Broken {
    async fn ask(&self, _: &Asker, _: Call) -> Result<Answer, Refusal> {
        assert!(!self.0, "as a test asked");
        Ok(Answer::Done)
    }
}

#[tokio::test]
async fn a_fault_outside_is_an_error_to_the_guest_and_no_more() {
    for (panics, told) in [(true, "refused: a fault in bellcage itself\n"), (false, "refused: the answer is none to this call\n")] {
        let report = keyvalue(Arc::new(Broken(panics)), granted(), &["get:a"]).await;
        assert_eq!((report.outcome, report.stdout().as_str()), (Outcome::Succeeded, told));
    }
}

/// Remembers who asked what.
#[derive(Default)]
struct Record(Mutex<Vec<(String, u32, Call)>>);

#[async_trait]
impl Outside for Record {
    async fn ask(&self, asker: &Asker, call: Call) -> Result<Answer, Refusal> {
        self.0.lock().unwrap().push((asker.job.clone(), asker.attempt, call));
        Ok(Answer::Value(Some(Raw(b"recorded".to_vec()))))
    }
}

#[tokio::test]
async fn every_question_passes_one_place_as_a_plain_value() {
    let record = Arc::new(Record::default());
    let report = keyvalue(record.clone(), granted(), &["get:a"]).await;
    assert_eq!(report.stdout(), "recorded\n");
    let asked = record.0.lock().unwrap();
    assert_eq!((asked[0].0.as_str(), asked[0].1), ("guest", 1));
    assert_eq!(serde_json::to_value(&asked[0].2).unwrap(), serde_json::json!({ "KeyValue": { "Get": { "key": "a" } } }));
}
