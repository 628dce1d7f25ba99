//! Typed jobs: what their host promises. The guest counts the words of documents, one at a time.

use std::time::Duration;

use bellcage::executor::{AttemptReport, AttemptRequest};
use bellcage::job::{Entry, Limits, Outcome, Progress, RetryAdvice, RunResult};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::executor;
use crate::support::cage::{self, ReportExt as _};

async fn request(args: Value) -> AttemptRequest {
    AttemptRequest { entry: Entry::Function("run".into()), args, ..cage::request(&cage::built_guest("wordcount")).await }
}

async fn run(request: AttemptRequest) -> AttemptReport {
    executor(1, 2).run(request).await
}

fn documents(texts: &[&str]) -> Value {
    texts.iter().enumerate().map(|(n, text)| json!({ "name": format!("{n}.txt"), "text": text })).collect()
}

fn saved(report: &AttemptReport) -> Value {
    serde_json::from_slice(report.checkpoint.as_ref().expect("it saved something")).expect("it saves JSON")
}

#[tokio::test]
async fn its_result_is_json_and_its_last_progress_and_checkpoint_stay() {
    let report = run(request(json!({ "documents": documents(&["a b a", "b a"]), "top": 1 })).await).await;
    assert_eq!((report.outcome, report.exit_code, &report.error), (Outcome::Succeeded, None, &None));
    let result = json!({ "documents": 2, "words": 5, "distinct": 2, "top": [["a", 3]], "attempt": 1 });
    assert_eq!(report.result, Some(RunResult::Value(result.clone())));
    assert_eq!(report.receipt.result_bytes, result.to_string().len() as u64);
    assert_eq!(report.progress, Some(Progress { fraction: Some(1.0), message: "1.txt".to_owned() }));
    assert_eq!(saved(&report), json!({ "documents": 2, "words": { "a": 3, "b": 2 } }));
    let calls = &report.receipt.host_calls_by_interface;
    assert_eq!(["checkpoint", "progress", "cancellation"].map(|interface| calls.of(&format!("bellcage:job/{interface}"))), [Some(3), Some(2), Some(2)]);
}

#[tokio::test]
async fn it_goes_on_from_what_an_earlier_attempt_saved_and_logs_with_levels() {
    let checkpoint = Some(json!({ "documents": 1, "words": { "a": 2 } }).to_string().into_bytes());
    let report = run(AttemptRequest { attempt: 2, checkpoint, ..request(json!({ "documents": documents(&["a a", "a"]) })).await }).await;
    assert_eq!(report.result, Some(RunResult::Value(json!({ "documents": 2, "words": 3, "distinct": 1, "top": [["a", 3]], "attempt": 2 }))));
    assert_eq!(report.log.to_text(), "INFO attempt 2 goes on after 1 documents\n");
}

#[tokio::test]
async fn a_failure_is_its_message_and_its_advice() {
    let report = run(request(json!({ "documents": documents(&["a", "b"]), "batch": 1 })).await).await;
    assert_eq!((report.outcome, report.code(), report.message()), (Outcome::Failed, "returned-failure", "1 of 2 documents counted"));
    assert_eq!(report.retry, Some(RetryAdvice::Again { after: Some(SignedDuration::from_secs(1)) }));
    assert_eq!(saved(&report), json!({ "documents": 1, "words": { "a": 1 } }));

    let report = run(request(json!({ "documents": documents(&[" "]) })).await).await;
    assert_eq!((report.message(), report.retry), ("document \"0.txt\" is empty", Some(RetryAdvice::Never)));

    let report = run(request(Value::Null).await).await;
    assert!(report.message().starts_with("the job's args do not fit"), "{}", report.message());
}

#[tokio::test]
async fn what_was_saved_stays_when_a_limit_stops_it() {
    let long = Limits { timeout: SignedDuration::from_millis(300), ..Limits::default() };
    let report = run(AttemptRequest { limits: long, ..request(json!({ "documents": documents(&["a"; 100]), "pause_ms": 100 })).await }).await;
    assert_eq!(report.outcome, Outcome::Timeout);
    assert_eq!(saved(&report)["words"]["a"], saved(&report)["documents"]);
    assert_eq!(report.progress.unwrap().fraction, Some(saved_documents(report.checkpoint.as_deref()) / 100.0));
}

fn saved_documents(checkpoint: Option<&[u8]>) -> f64 {
    serde_json::from_slice::<Value>(checkpoint.unwrap()).unwrap()["documents"].as_f64().unwrap()
}

#[tokio::test]
async fn a_checkpoint_over_its_limit_is_the_guests_to_know() {
    let limits = Limits { checkpoint: 31, ..Limits::default() };
    let report = run(AttemptRequest { limits, ..request(json!({ "documents": documents(&["a", "bbbbbbbb"]) })).await }).await;
    assert_eq!((report.outcome, report.message()), (Outcome::Failed, "a checkpoint of 44 bytes is over the limit of 31"));
    assert_eq!(saved(&report), json!({ "documents": 1, "words": { "a": 1 } }));
}

#[tokio::test]
async fn a_result_over_its_limit_is_named() {
    let limits = Limits { result: 10, ..Limits::default() };
    let report = run(AttemptRequest { limits, ..request(json!({ "documents": [] })).await }).await;
    assert_eq!((report.outcome, report.code()), (Outcome::Limit, "limit-result"));
}

/// Runs it until it has told progress, then cancels it.
async fn cancelled(args: Value) -> (AttemptReport, Vec<Progress>) {
    let executor = executor(1, 1);
    let long = Limits { timeout: SignedDuration::from_secs(60), ..Limits::default() };
    let request = AttemptRequest { limits: long, ..request(args).await };
    let run = request.run;
    let attempt = tokio::spawn({
        let executor = executor.clone();
        async move { executor.run(request).await }
    });
    let told = tokio::time::timeout(Duration::from_secs(30), executor.fresh_progress()).await.expect("it tells progress");
    assert!(executor.progress(run).is_some());
    executor.cancel(run, "asked by ada");
    let report = attempt.await.unwrap();
    assert_eq!((report.outcome, report.code(), report.message()), (Outcome::Cancelled, "cancelled", "cancelled: asked by ada"));
    assert_eq!(executor.progress(run), None);
    (report, told.into_iter().filter(|(of, _)| *of == run).map(|(_, progress)| progress).collect())
}

#[tokio::test]
async fn one_that_asks_whether_it_is_cancelled_may_end_by_itself() {
    let (report, told) = cancelled(json!({ "documents": documents(&["a"; 1_000]), "pause_ms": 20 })).await;
    let first = &told[0];
    assert!(first.message.ends_with(".txt") && first.fraction.is_some_and(|part| part > 0.0 && part < 1.0), "{first:?}");
    let documents = saved_documents(report.checkpoint.as_deref());
    assert!(report.log.to_text().ends_with(&format!("WARN cancelled after {documents} documents\n")), "{:?}", report.log);
}

#[tokio::test]
async fn one_that_asks_and_does_not_heed_the_answer_is_stopped_all_the_same() {
    let (report, _) = cancelled(json!({ "documents": documents(&["a"; 3]), "pause_ms": 40_000 })).await;
    assert!(report.receipt.wall_us < 40_000_000);
    assert_eq!(saved(&report)["documents"], 1);
}
