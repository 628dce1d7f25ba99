//! Jobs that call functions: what is checked when they are added, and when their component changes.

use std::sync::Arc;

use bellcage::clock::Manual;
use bellcage::component::EngineSettings;
use bellcage::component::cache::Cache;
use bellcage::job::{JobKey, JobSpec, Outcome, RunResult, TenantId, Version};
use bellcage::scheduler::{Accept, BrokenJob, ErrorKind, OnConflict, Options, Parts, PushReport, RunDetail, Scheduler, SchedulerError, TriggerRequest};
use bellcage::store::Memory;
use serde_json::{Value, json};

use crate::support::{cage, wat};

/// `generate` takes `params`, each a `u8` or an `option<u8>`, and returns the sum of all that is given.
fn reports(params: &[(&str, &str)]) -> Vec<u8> {
    let component: Vec<_> = params.iter().map(|(name, ty)| format!("(param {name:?} {ty})")).collect();
    // An option is two core values: whether it is there, and the value, which is 0 where it is not.
    let core = "(param i32)".repeat(params.iter().map(|(_, ty)| if *ty == "u8" { 1 } else { 2 }).sum());
    let mut at = 0;
    let sum = params.iter().fold("(i32.const 0)".to_owned(), |sum, (_, ty)| {
        at += if *ty == "u8" { 1 } else { 2 };
        format!("(i32.add {sum} (local.get {}))", at - 1)
    });
    wat::component(&format!(
        r#"(component
            (core module $m (func (export "generate") {core} (result i32) {sum}))
            (core instance $i (instantiate $m))
            (func (export "generate") {} (result u32) (canon lift (core func $i "generate"))))"#,
        component.join(" ")
    ))
}

fn day() -> Vec<u8> {
    reports(&[("day", "u8"), ("limit", "(option u8)")])
}

struct Rig {
    scheduler: Scheduler,
    _folder: tempfile::TempDir,
}

fn key(id: &str) -> JobKey {
    JobKey { tenant: TenantId::default(), id: id.parse().expect("a job id") }
}

impl Rig {
    /// With version 1 of `reports`, which takes `day` and perhaps `limit`.
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let parts = Parts {
            store: Arc::new(Memory::default()),
            executor: Arc::new(cage::pool(4)),
            compiler: cage::compiler(),
            cache: Cache::open(folder.path(), &EngineSettings::default()).expect("a new cache"),
            clock: Arc::new(Manual::at(jiff::Timestamp::UNIX_EPOCH)),
            options: Options::default(),
        };
        let rig = Self { scheduler: Scheduler::start(parts).await.expect("it starts"), _folder: folder };
        rig.push(day(), false).await.expect("it compiles");
        rig
    }

    async fn push(&self, bytes: Vec<u8>, force: bool) -> Result<PushReport, SchedulerError> {
        self.scheduler
            .push_component(&TenantId::default(), &"reports".parse().expect("a name"), bytes, Accept { broken_jobs: force, ..Accept::default() })
            .await
    }

    async fn add(&self, id: &str, component: &str, args: Value) -> Result<(), SchedulerError> {
        let spec: JobSpec = serde_json::from_value(json!({ "component": component, "args": args, "trigger": "manual" })).expect("a job");
        self.scheduler.add_job(key(id), spec, OnConflict::Error).await.map(|_| ())
    }

    async fn run(&self, id: &str, args: Option<Value>) -> RunDetail {
        let run = self.scheduler.trigger(&key(id), TriggerRequest { args, ..TriggerRequest::default() }).await.expect("it is made").run;
        self.scheduler.wait_run(&TenantId::default(), run.id).await.expect("it ends")
    }

    async fn newest(&self) -> u32 {
        self.scheduler.component(&TenantId::default(), &"reports".parse().expect("a name"), Version::Newest).await.expect("it is there").component.version
    }
}

fn result(detail: &RunDetail) -> Option<&Value> {
    match detail.attempts.last()?.result.as_ref()? {
        RunResult::Value(value) => Some(value),
        RunResult::Text(_) => None,
    }
}

#[tokio::test]
async fn a_job_calls_its_function_with_its_arguments_or_the_run_s_own() {
    let rig = Rig::new().await;
    rig.add("nightly", "reports:generate", json!({ "day": 2, "limit": 40 })).await.unwrap();
    let detail = rig.run("nightly", None).await;
    assert_eq!((detail.run.outcome, result(&detail)), (Some(Outcome::Succeeded), Some(&json!(42))));
    let detail = rig.run("nightly", Some(json!([7]))).await;
    assert_eq!((detail.run.outcome, result(&detail)), (Some(Outcome::Succeeded), Some(&json!(7))));
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused_when_the_job_is_added() {
    let rig = Rig::new().await;
    for (args, message) in [
        (json!({ "day": 300 }), "args.day: 300 does not fit u8 (0 to 255)"),
        (json!({ "day": 1, "limti": 1 }), r#"args: unknown parameter "limti" (did you mean limit?)"#),
        (Value::Null, "args: missing day: u8"),
    ] {
        let error = rig.add("nightly", "reports:generate", args).await.unwrap_err();
        assert_eq!((error.kind(), error.code(), error.to_string().as_str()), (ErrorKind::Invalid, "bad-args", message));
        assert_eq!(error.hint().as_deref(), Some("generate is func(day: u8, limit: option<u8>) -> u32"));
    }
    assert!(rig.scheduler.job(&key("nightly")).await.is_err());
}

#[tokio::test]
async fn arguments_that_do_not_fit_are_refused_when_a_run_is_asked_for() {
    let rig = Rig::new().await;
    rig.add("nightly", "reports:generate", json!([1])).await.unwrap();
    let error = rig.scheduler.trigger(&key("nightly"), TriggerRequest { args: Some(json!([-1])), ..TriggerRequest::default() }).await.unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), ("bad-args", "args[0]: -1 does not fit u8 (0 to 255)"));
}

#[tokio::test]
async fn an_entry_that_is_not_there_is_refused_with_those_that_are() {
    let rig = Rig::new().await;
    for entry in ["reports:genarate", "reports"] {
        let error = rig.add("nightly", entry, json!([])).await.unwrap_err();
        assert_eq!((error.code(), error.hint().as_deref()), ("no-such-entry", Some("it has: generate")), "{error}");
    }
}

#[tokio::test]
async fn a_version_that_would_break_jobs_is_refused_and_names_them() {
    let rig = Rig::new().await;
    rig.add("nightly", "reports:generate", json!({ "day": 1, "limit": 1 })).await.unwrap();
    rig.add("weekly", "reports:generate", json!({ "day": 1 })).await.unwrap();
    let error = rig.push(reports(&[("day", "u8")]), false).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "breaks-jobs"));
    let message = r#"this version of component "reports" would break 1 job: nightly (args: unknown parameter "limit" (there is day))"#;
    assert_eq!(error.to_string(), message);
    assert_eq!(rig.newest().await, 1);
}

#[tokio::test]
async fn a_version_without_a_job_s_entry_would_break_it() {
    let rig = Rig::new().await;
    rig.add("nightly", "reports:generate", json!([1])).await.unwrap();
    let error = rig.push(wat::tiny(), false).await.unwrap_err();
    assert!(error.to_string().ends_with(r#"would break 1 job: nightly (component "reports" has no entry "generate")"#), "{error}");
}

#[tokio::test]
async fn a_version_pushed_by_force_refuses_the_runs_of_the_jobs_it_broke() {
    let rig = Rig::new().await;
    rig.add("nightly", "reports:generate", json!([1])).await.unwrap();
    let report = rig.push(reports(&[("day", "u8"), ("month", "u8")]), true).await.unwrap();
    assert_eq!(report.component.version, 2);
    assert_eq!(report.broken, [BrokenJob { job: "nightly".parse().unwrap(), why: "args: missing month: u8".to_owned() }]);
    let RunDetail { run, .. } = rig.run("nightly", None).await;
    assert_eq!((run.outcome, run.error.map(|e| e.code)), (Some(Outcome::Refused), Some("bad-args".to_owned())));
}

#[tokio::test]
async fn jobs_that_do_not_follow_the_name_or_do_not_run_today_hold_no_push_up() {
    let rig = Rig::new().await;
    rig.add("pinned", "reports@1:generate", json!([1])).await.unwrap();
    assert_eq!(rig.push(reports(&[("month", "u8"), ("day", "u8")]), false).await.unwrap().component.version, 2);
    rig.add("nightly", "reports:generate", json!([1, 2])).await.unwrap();
    rig.push(reports(&[]), true).await.unwrap();
    // It is broken already, and by this no more.
    assert_eq!(rig.push(reports(&[("year", "u8")]), false).await.unwrap().component.version, 4);
}

#[tokio::test]
async fn a_version_whose_new_parameters_are_optional_breaks_nothing() {
    let rig = Rig::new().await;
    rig.add("nightly", "reports:generate", json!({ "day": 1 })).await.unwrap();
    let report = rig.push(reports(&[("limit", "(option u8)"), ("day", "u8"), ("month", "(option u8)")]), false).await.unwrap();
    assert_eq!((report.component.version, report.broken), (2, vec![]));
    assert_eq!(rig.run("nightly", None).await.run.outcome, Some(Outcome::Succeeded));
}
