//! The driver with a real executor, on a clock that is set by hand.

use std::sync::Arc;
use std::time::Duration;

use bellcage::clock::Manual;
use bellcage::component::EngineSettings;
use bellcage::component::cache::Cache;
use bellcage::executor::Pool;
use bellcage::job::{Cause, Digest, Job, JobKey, JobSpec, JobState, LimitsSpec, Outcome, Run, RunId, RunState, TenantId};
use bellcage::outside::{World, WorldConfig};
use bellcage::scheduler::simulate::{Assumed, Simulation, SimulationOptions};
use bellcage::scheduler::{
    Accept, BackfillRequest, Event, EventKind, OnConflict, Options, PageRequest, Parts, RunDetail, RunFilter, Scheduler, TriggerRequest,
};
use bellcage::store::{Memory, Sqlite, SqliteOptions, Store};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::support::{cage, wat};

/// A started scheduler, and the means to move its world.
struct Rig {
    scheduler: Scheduler,
    store: Arc<Memory>,
    clock: Manual,
    events: broadcast::Receiver<Arc<Event>>,
    _folder: tempfile::TempDir,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
}

fn tenant() -> TenantId {
    TenantId::default()
}

fn key(id: &str) -> JobKey {
    JobKey { tenant: tenant(), id: id.parse().expect("a job id") }
}

impl Rig {
    /// At `at(0)`, with the components `tiny` and `spin`.
    async fn new(slots: usize) -> Self {
        Self::on(Arc::new(Memory::default()), slots).await
    }

    async fn on(store: Arc<Memory>, slots: usize) -> Self {
        Self::with(store, Arc::new(cage::pool(slots)), Options::default()).await
    }

    async fn with(store: Arc<Memory>, executor: Arc<Pool>, options: Options) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let clock = Manual::at(at(0));
        let parts = Parts {
            store: store.clone(),
            executor,
            compiler: cage::compiler(),
            cache: Cache::open(folder.path(), &EngineSettings::default()).expect("a new cache"),
            clock: Arc::new(clock.clone()),
            options,
        };
        let scheduler = Scheduler::start(parts).await.expect("it starts");
        let (_, events) = scheduler.events().subscribe(None);
        for (name, bytes) in [("tiny", wat::tiny()), ("spin", wat::spin())] {
            scheduler.push_component(&tenant(), &name.parse().expect("a name"), bytes, Accept::default()).await.expect("it compiles");
        }
        Self { scheduler, store, clock, events, _folder: folder }
    }

    async fn add(&self, id: &str, fields: Value) -> Job {
        let mut spec = json!({ "component": "tiny", "trigger": { "every": "10s" } });
        spec.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        let spec: JobSpec = serde_json::from_value(spec).expect("a job");
        self.scheduler.add_job(key(id), spec, OnConflict::Error).await.expect("a good job").job
    }

    /// The next event that `wanted` finds something in.
    async fn next<T>(&mut self, wanted: impl Fn(&EventKind) -> Option<T>) -> T {
        let found = async {
            loop {
                match self.events.recv().await {
                    Ok(event) => {
                        if let Some(found) = wanted(&event.kind) {
                            return found;
                        }
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => panic!("the scheduler is gone"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), found).await.expect("the event comes within a minute")
    }

    async fn started(&mut self) -> RunId {
        self.next(|kind| if let EventKind::RunStarted { run, .. } = kind { Some(*run) } else { None }).await
    }

    async fn ended(&mut self) -> (RunId, Outcome) {
        self.next(|kind| if let EventKind::RunEnded { run, outcome, .. } = kind { Some((*run, *outcome)) } else { None }).await
    }

    async fn run(&self, id: RunId) -> RunDetail {
        self.scheduler.run(&tenant(), id).await.expect("the run is there")
    }

    async fn runs(&self) -> Vec<Run> {
        self.scheduler.runs(&RunFilter::default(), PageRequest { after: None, limit: 1_000 }).await.expect("a list").items
    }
}

#[tokio::test]
async fn a_job_that_comes_due_runs_its_component_and_moves_to_the_next_instant() {
    let mut rig = Rig::new(4).await;
    rig.add("nightly", json!({})).await;
    rig.clock.set(at(10));
    let (run, outcome) = rig.ended().await;
    assert_eq!(outcome, Outcome::Succeeded);
    let RunDetail { run, attempts, job, .. } = rig.run(run).await;
    assert_eq!((run.state, run.scheduled_at, run.attempt, attempts.len()), (RunState::Ended, at(10), 1, 1));
    assert!(attempts[0].receipt.fuel_used > 0);
    assert_eq!(attempts[0].receipt.digest, Some(Digest::of(&wat::tiny())));
    assert_eq!(job.expect("it is there").next_fire, Some(at(20)));
}

#[tokio::test]
async fn what_a_jobs_run_keeps_its_next_run_finds_and_no_other_job() {
    let store = Arc::new(Memory::default());
    let world = Arc::new(World::of_store(store.clone(), WorldConfig::default()));
    let mut rig = Rig::with(store, Arc::new(cage::pool_with(4, world)), Options::default()).await;
    rig.scheduler.push_component(&tenant(), &"keyvalue".parse().expect("a name"), cage::built_guest("keyvalue"), Accept::default()).await.expect("it compiles");
    let fields = json!({ "component": "keyvalue", "args": ["add:runs:1"], "trigger": "manual", "grants": { "kv": true } });
    for id in ["first", "second"] {
        rig.add(id, fields.clone()).await;
    }
    let mut counted = Vec::new();
    for id in ["first", "first", "second"] {
        rig.scheduler.trigger(&key(id), TriggerRequest::default()).await.expect("a run");
        let (run, _) = rig.ended().await;
        let result = rig.run(run).await.attempts[0].result.as_ref().map(|result| result.to_json());
        counted.push(result.and_then(|text| text.as_str().map(str::to_owned)).expect("a text"));
    }
    assert_eq!(counted, ["1\n", "2\n", "1\n"]);
}

#[tokio::test]
async fn a_namespace_above_the_servers_cap_is_refused_when_the_job_is_added() {
    let rig = Rig::new(1).await;
    let spec = serde_json::from_value(json!({ "component": "tiny", "trigger": "manual", "grants": { "kv": true }, "limits": { "kv_bytes": "65MiB" } }))
        .expect("a job");
    let refused = rig.scheduler.add_job(key("greedy"), spec, OnConflict::Error).await.expect_err("it is too much");
    assert_eq!((refused.code(), refused.to_string().as_str()), ("bad-limit", "limits.kv_bytes = 65MiB is above this server's cap, which is 64MiB"));
}

#[tokio::test]
async fn a_firing_within_a_calendar_is_recorded_and_an_unknown_calendar_is_refused() {
    let mut rig = Rig::new(4).await;
    let spec = |calendar: &str| serde_json::from_value(json!({ "component": "tiny", "trigger": { "every": "10s" }, "calendars": [calendar] })).expect("a job");
    let refused = rig.scheduler.add_job(key("nightly"), spec("freeze"), OnConflict::Error).await.expect_err("there is none of this name");
    assert_eq!((refused.code(), refused.to_string().as_str()), ("not-found", "calendar \"freeze\" does not exist"));

    let window = serde_json::from_value(json!({ "exclude": [{ "from": at(5).to_string(), "to": at(15).to_string() }] })).expect("a calendar");
    rig.scheduler.put_calendar(&tenant(), &"freeze".parse().expect("a name"), window).await.expect("a good calendar");
    rig.scheduler.add_job(key("nightly"), spec("freeze"), OnConflict::Error).await.expect("a good job");
    rig.clock.set(at(10));
    let skipped = rig.next(|kind| if let EventKind::FiringSkipped { first, count, .. } = kind { Some((*first, *count)) } else { None }).await;
    assert_eq!(skipped, (at(10), 1));
    rig.clock.set(at(20));
    let (run, _) = rig.ended().await;
    assert_eq!(rig.run(run).await.run.scheduled_at, at(20));
    let records = rig.scheduler.skipped(&tenant(), Some(&key("nightly")), PageRequest { after: None, limit: 10 }).await.expect("a list").items;
    assert_eq!(records[0].1.detail.as_deref(), Some("calendar freeze"));
}

#[tokio::test]
async fn a_cancelled_run_stops_a_guest_that_spins() {
    let mut rig = Rig::new(4).await;
    rig.add("spinner", json!({ "component": "spin", "trigger": "manual" })).await;
    rig.scheduler.trigger(&key("spinner"), TriggerRequest::default()).await.expect("it is made");
    let run = rig.started().await;
    rig.scheduler.cancel_run(&tenant(), run, "by hand").await.expect("it is there");
    assert_eq!(rig.ended().await, (run, Outcome::Cancelled));
    assert_eq!(rig.run(run).await.run.error.map(|e| e.code), Some("cancelled".to_owned()));
}

#[tokio::test]
async fn a_later_firing_replaces_a_running_one_though_every_slot_is_taken() {
    let mut rig = Rig::new(1).await;
    rig.add("spinner", json!({ "component": "spin", "overlap": "cancel-running" })).await;
    rig.clock.set(at(10));
    let first = rig.started().await;
    rig.clock.set(at(20));
    assert_eq!(rig.ended().await, (first, Outcome::Cancelled));
    let second = rig.started().await;
    assert_eq!(rig.run(second).await.run.scheduled_at, at(20));
}

#[tokio::test]
async fn a_clock_that_steps_past_a_lease_does_not_start_a_run_twice() {
    let mut rig = Rig::new(4).await;
    rig.add("spinner", json!({ "component": "spin", "trigger": "manual" })).await;
    rig.scheduler.trigger(&key("spinner"), TriggerRequest::default()).await.expect("it is made");
    let run = rig.started().await;
    rig.clock.set(at(3_600));
    // Something else that runs shows that the driver has looked at the new time.
    rig.add("nightly", json!({})).await;
    rig.clock.set(at(3_620));
    rig.ended().await;
    assert_eq!(rig.run(run).await.run.attempt, 1);
    rig.scheduler.cancel_run(&tenant(), run, "enough").await.expect("it is there");
    assert_eq!(rig.ended().await, (run, Outcome::Cancelled), "its outcome is still accepted");
}

#[tokio::test]
async fn shutdown_lets_attempts_end_and_starts_nothing_new() {
    let mut rig = Rig::new(4).await;
    rig.add("slow", json!({ "component": "spin", "trigger": "manual", "limits": { "timeout": "300ms" } })).await;
    rig.add("nightly", json!({})).await;
    rig.scheduler.trigger(&key("slow"), TriggerRequest::default()).await.expect("it is made");
    let run = rig.started().await;
    let scheduler = rig.scheduler.clone();
    let shutdown = tokio::spawn(async move { scheduler.shutdown(Duration::from_secs(30)).await });
    while !rig.scheduler.is_shutting_down() {
        tokio::task::yield_now().await;
    }
    rig.clock.set(at(10));
    shutdown.await.expect("it ends");
    assert_eq!(rig.run(run).await.run.outcome, Some(Outcome::Timeout));
    assert_eq!(rig.runs().await.len(), 1, "what came due meanwhile waits for the next server");
    assert_eq!(rig.store.job(&key("nightly")).await.expect("it is there").next_fire, Some(at(10)));
    assert!(matches!(rig.scheduler.trigger(&key("slow"), TriggerRequest::default()).await, Err(e) if e.code() == "shutting-down"));
}

#[tokio::test]
async fn past_the_drain_time_attempts_are_cancelled_and_recorded() {
    let mut rig = Rig::new(4).await;
    rig.add("spinner", json!({ "component": "spin", "trigger": "manual" })).await;
    rig.scheduler.trigger(&key("spinner"), TriggerRequest::default()).await.expect("it is made");
    let run = rig.started().await;
    rig.scheduler.shutdown(Duration::ZERO).await;
    let detail = rig.run(run).await;
    assert_eq!((detail.run.state, detail.run.outcome), (RunState::Ended, Some(Outcome::Cancelled)));
}

#[tokio::test]
async fn what_a_dead_server_left_running_is_attempted_again_and_then_lost() {
    let store = Arc::new(Memory::default());
    let mut rig = Rig::on(store.clone(), 4).await;
    rig.add("spinner", json!({ "component": "spin", "trigger": "manual", "limits": { "timeout": "1h" } })).await;
    rig.scheduler.trigger(&key("spinner"), TriggerRequest::default()).await.expect("it is made");
    let run = rig.started().await;
    // The first server is still there, but nothing tells it: to the store it is dead once another one starts.
    let mut second = Rig::on(store.clone(), 4).await;
    assert_eq!(second.started().await, run);
    assert_eq!(second.run(run).await.run.attempt, 2);
    let mut third = Rig::on(store, 4).await;
    assert_eq!(third.ended().await, (run, Outcome::Lost), "one lost attempt is free, the second is not");
    for rig in [&rig, &second] {
        rig.scheduler.shutdown(Duration::ZERO).await;
    }
    assert_eq!(third.run(run).await.run.outcome, Some(Outcome::Lost), "who comes back late changes nothing");
}

#[tokio::test]
async fn a_run_whose_component_is_gone_is_refused_and_says_so() {
    let mut rig = Rig::new(1).await;
    rig.add("spinner", json!({ "component": "spin", "trigger": "manual" })).await;
    rig.add("tidy", json!({ "trigger": "manual" })).await;
    let spinning = rig.scheduler.trigger(&key("spinner"), TriggerRequest::default()).await.expect("it is made").run;
    rig.started().await;
    let waiting = rig.scheduler.trigger(&key("tidy"), TriggerRequest::default()).await.expect("it is made").run;
    // The job moves on to another component, and nothing but the waiting run means the former one any more.
    let spec = serde_json::from_value(json!({ "component": "spin", "trigger": "manual" })).expect("a job");
    rig.scheduler.add_job(key("tidy"), spec, OnConflict::Replace).await.expect("a good job");
    rig.scheduler.remove_component(&tenant(), &"tiny".parse().expect("a name"), None).await.expect("no job uses it");
    rig.scheduler.cancel_run(&tenant(), spinning.id, "enough").await.expect("it is there");
    assert_eq!(rig.ended().await, (spinning.id, Outcome::Cancelled));
    assert_eq!(rig.ended().await, (waiting.id, Outcome::Refused));
    let error = rig.run(waiting.id).await.run.error.expect("it says why");
    assert_eq!((error.code.as_str(), error.message.as_str()), ("component-not-uploaded", "component \"tiny\" is not uploaded"));
}

#[tokio::test]
async fn a_chain_of_jobs_runs_one_after_the_other_and_each_run_names_the_one_before() {
    let mut rig = Rig::new(4).await;
    rig.add("load", json!({ "trigger": "manual" })).await;
    rig.add("clean", json!({ "trigger": { "after": ["load"] } })).await;
    rig.add("report", json!({ "trigger": { "after": ["clean"] } })).await;
    let first = rig.scheduler.trigger(&key("load"), TriggerRequest::default()).await.expect("it is made").run.id;
    let ended = [rig.ended().await.0, rig.ended().await.0, rig.ended().await.0];
    assert_eq!(ended[0], first);
    for (run, before) in [(ended[1], ended[0]), (ended[2], ended[1])] {
        let run = rig.run(run).await.run;
        assert_eq!((run.cause, run.upstream.iter().map(|end| end.run).collect::<Vec<_>>()), (Cause::After, vec![before]));
    }
    assert_eq!(rig.run(ended[2]).await.run.job, key("report"));
}

/// Jobs of the tenant may have so much memory, and those of others what the server allows.
fn capped_at(memory: u64) -> Options {
    let own = LimitsSpec { memory: Some(memory), ..LimitsSpec::default() };
    Options { tenant_caps: [(tenant(), own)].into(), ..Options::default() }
}

#[tokio::test]
async fn a_job_that_asks_for_more_than_its_tenant_may_is_refused_when_it_is_added() {
    let rig = Rig::with(Arc::default(), Arc::new(cage::pool(1)), capped_at(64 << 20)).await;
    let spec: JobSpec = serde_json::from_value(json!({ "component": "tiny", "trigger": "manual", "limits": { "memory": "65MiB" } })).expect("a job");
    let refused = rig.scheduler.add_job(key("nightly"), spec.clone(), OnConflict::Error).await.expect_err("it is above the cap");
    assert_eq!(refused.to_string(), "limits.memory = 65MiB is above the cap of tenant default, which is 64MiB");
    let others = JobKey { tenant: "acme".parse().expect("a name"), id: "nightly".parse().expect("a job id") };
    let refused = rig.scheduler.add_job(others, spec, OnConflict::Error).await.expect_err("its component is another tenant's");
    assert_eq!(refused.code(), "component-not-uploaded");
    rig.add("smaller", json!({ "limits": { "memory": "64MiB" } })).await;
}

#[tokio::test]
async fn a_cap_that_is_lowered_holds_from_the_next_attempt_on() {
    let store: Arc<Memory> = Arc::default();
    let rig = Rig::on(store.clone(), 1).await;
    rig.add("greedy", json!({ "limits": { "memory": "64MiB" } })).await;
    rig.add("modest", json!({})).await;
    rig.scheduler.shutdown(Duration::ZERO).await;
    let mut rig = Rig::with(store, Arc::new(cage::pool(1)), capped_at(32 << 20)).await;
    rig.clock.set(at(10));
    let mut ended = [rig.ended().await, rig.ended().await];
    ended.sort_by_key(|(_, outcome)| *outcome == Outcome::Succeeded);
    assert_eq!(ended.map(|(_, outcome)| outcome), [Outcome::Refused, Outcome::Succeeded]);
    let [greedy, modest] = [rig.run(ended[0].0).await, rig.run(ended[1].0).await];
    let error = greedy.attempts[0].error.as_ref().expect("it says why");
    assert_eq!((error.code.as_str(), error.message.as_str()), ("bad-limit", "limits.memory = 64MiB is above the cap of tenant default, which is 32MiB"));
    assert_eq!(modest.attempts[0].receipt.memory_limit_bytes, 32 << 20, "what nobody asked for is lowered to the cap");
}

#[tokio::test]
async fn jobs_that_would_follow_each_other_in_a_circle_are_refused_with_the_circle() {
    let rig = Rig::new(1).await;
    rig.add("a", json!({ "trigger": "manual" })).await;
    rig.add("b", json!({ "trigger": { "after": ["a"] } })).await;
    let change = |id: &'static str, after: &'static str| {
        let spec = serde_json::from_value(json!({ "component": "tiny", "trigger": { "after": [after] } })).expect("a job");
        rig.scheduler.add_job(key(id), spec, OnConflict::Replace)
    };
    let refused = change("a", "b").await.expect_err("a circle");
    assert_eq!((refused.code(), refused.to_string().as_str()), ("job-cycle", "these jobs would follow each other for ever: a → b → a"));
    assert_eq!(change("a", "a").await.expect_err("a circle").code(), "job-cycle");
    let refused = change("c", "z").await.expect_err("there is no z");
    assert_eq!((refused.code(), refused.to_string().as_str()), ("no-upstream", "job \"c\" cannot follow job \"z\", which does not exist"));
    let replaced =
        rig.scheduler.replace_job(key("a"), serde_json::from_value(json!({ "component": "tiny", "trigger": { "after": ["b"] } })).expect("a job"), 1);
    assert_eq!(replaced.await.expect_err("a circle").code(), "job-cycle");
}

#[tokio::test]
async fn a_job_tells_which_of_those_that_it_follows_have_ended_and_which_are_gone() {
    let mut rig = Rig::new(1).await;
    for id in ["a", "b"] {
        rig.add(id, json!({ "trigger": "manual" })).await;
    }
    let job = rig.add("both", json!({ "trigger": { "after": ["a", "b"] } })).await;
    let run = rig.scheduler.trigger(&key("a"), TriggerRequest::default()).await.expect("it is made").run.id;
    rig.ended().await;
    rig.scheduler.remove_job(&key("b"), false).await.expect("it is there");
    let waits_for = rig.scheduler.waits_for(&job).await.expect("it is read");
    let seen: Vec<_> = waits_for.iter().map(|w| (w.job.as_str(), w.exists, w.ended.as_ref().map(|end| end.run))).collect();
    assert_eq!(seen, [("a", true, Some(run)), ("b", false, None)]);
}

/// Adds the job `words`, which counts three documents, one an attempt, and pushes what it calls.
async fn words(rig: &Rig, fields: Value) {
    rig.scheduler
        .push_component(&tenant(), &"wordcount".parse().expect("a name"), cage::built_guest("wordcount"), Accept::default())
        .await
        .expect("it compiles");
    let documents: Vec<_> = ["a b", "a", "c"].iter().map(|text| json!({ "name": format!("{text}.txt"), "text": text })).collect();
    let mut job = json!({
        "component": "wordcount:run", "args": { "documents": documents, "batch": 1, "top": 1 },
        "trigger": { "every": "1h" }, "retry": { "max_attempts": 3, "on": [] },
    });
    job.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    rig.add("words", job).await;
}

/// As its guest asks: later attempts come a second later, though no outcome is attempted again, and go on where it was.
#[tokio::test]
async fn a_typed_job_goes_on_in_its_next_attempt_when_it_asks_for_one() {
    let mut rig = Rig::new(4).await;
    words(&rig, json!({})).await;
    rig.clock.set(at(3600));
    for attempt in 1..3 {
        let (retried, again) = rig.next(|kind| if let EventKind::RunRetry { attempt, at, .. } = kind { Some((*attempt, *at)) } else { None }).await;
        assert_eq!((retried, again), (attempt, at(3600 + i64::from(attempt))));
        rig.clock.set(again);
    }
    let (run, outcome) = rig.ended().await;
    assert_eq!(outcome, Outcome::Succeeded);
    let detail = rig.run(run).await;
    let result = detail.attempts[2].result.as_ref().expect("a result").to_json();
    assert_eq!(result, json!({ "documents": 3, "words": 4, "distinct": 3, "top": [["a", 2]], "attempt": 3 }));
    let told: Vec<_> = detail.attempts.iter().map(|attempt| attempt.progress.clone().expect("it told").message).collect();
    assert_eq!(told, ["a b.txt", "a.txt", "c.txt"]);
    assert_eq!(detail.attempts[0].error.as_ref().expect("it failed").message, "1 of 3 documents counted");
}

#[tokio::test]
async fn what_a_run_saved_is_not_there_for_the_next_run() {
    let mut rig = Rig::new(4).await;
    words(&rig, json!({ "retry": { "max_attempts": 1 } })).await;
    for hour in 1..3 {
        rig.clock.set(at(3600 * hour));
        let (run, outcome) = rig.ended().await;
        let error = rig.run(run).await.run.error.expect("it failed");
        assert_eq!((outcome, error.message.as_str()), (Outcome::Failed, "1 of 3 documents counted"));
    }
}

#[tokio::test]
async fn who_watches_is_told_how_far_a_run_is() {
    let mut rig = Rig::new(4).await;
    words(&rig, json!({})).await;
    let documents: Vec<_> = (0..1_000).map(|n| json!({ "name": format!("{n}.txt"), "text": "a" })).collect();
    let args = Some(json!({ "documents": documents, "pause_ms": 10 }));
    let run = rig.scheduler.trigger(&key("words"), TriggerRequest { args, ..TriggerRequest::default() }).await.expect("it is made").run.id;
    let (of, told) = rig.next(|kind| if let EventKind::RunProgress { run, progress, .. } = kind { Some((*run, progress.clone())) } else { None }).await;
    assert_eq!(of, run);
    assert!(told.message.ends_with(".txt") && told.fraction.is_some_and(|part| part > 0.0), "{told:?}");
    let now = rig.run(run).await.progress.expect("it runs");
    assert!(now.fraction >= told.fraction);
    rig.scheduler.cancel_run(&tenant(), run, "enough").await.expect("it is there");
    assert_eq!(rig.ended().await, (run, Outcome::Cancelled));
    assert_eq!(rig.run(run).await.progress, None);
}

#[tokio::test]
async fn a_run_asked_for_at_a_time_to_come_starts_then_and_stands_in_no_firings_way() {
    let mut rig = Rig::new(4).await;
    rig.add("nightly", json!({})).await;
    let request = TriggerRequest { at: Some(at(25)), ..TriggerRequest::default() };
    let asked = rig.scheduler.trigger(&key("nightly"), request).await.expect("it is made").run;
    assert_eq!((asked.scheduled_at, asked.start_at), (at(25), at(25)));
    assert_eq!(rig.run(asked.id).await.waiting_for.as_deref(), Some("its start time"));
    rig.clock.set(at(10));
    let (fired, _) = rig.ended().await;
    assert_eq!(rig.run(fired).await.run.scheduled_at, at(10));
    rig.clock.set(at(25));
    while rig.ended().await.0 != asked.id {}
    let past = TriggerRequest { at: Some(at(25)), ..TriggerRequest::default() };
    assert_eq!(rig.scheduler.trigger(&key("nightly"), past).await.expect_err("it is past").code(), "past-start");
}

#[tokio::test]
async fn a_run_over_its_jobs_rate_limit_says_so_and_starts_when_the_window_allows() {
    let mut rig = Rig::new(4).await;
    rig.add("mailer", json!({ "trigger": "manual", "overlap": "allow", "rate_limit": { "runs": 1, "per": "1m" } })).await;
    let first = rig.scheduler.trigger(&key("mailer"), TriggerRequest::default()).await.expect("it is made").run.id;
    assert_eq!(rig.ended().await.0, first);
    let second = rig.scheduler.trigger(&key("mailer"), TriggerRequest::default()).await.expect("it is made").run.id;
    let expected = format!("its job's rate limit (1 run in 1m), until {} at least", at(60));
    assert_eq!(rig.run(second).await.waiting_for, Some(expected));
    rig.clock.set(at(60));
    assert_eq!(rig.ended().await.0, second);
    let run = rig.run(second).await.run;
    assert_eq!((run.scheduled_at, run.start_at, run.rate_limited), (at(0), at(60), true));
}

#[tokio::test]
async fn a_backfill_makes_up_for_what_had_no_run_beside_the_schedule_and_can_be_cancelled() {
    let mut rig = Rig::new(4).await;
    rig.add("nightly", json!({})).await;
    rig.clock.set(at(100));
    rig.ended().await;
    let request = BackfillRequest { from: at(10), to: at(100), max_running: 1, limit: 10, dry_run: true };
    let found = rig.scheduler.backfill(&key("nightly"), request).await.expect("it is past");
    assert_eq!((found.named, found.existing, found.made, rig.runs().await.len()), (10, 1, 9, 1));
    let made = rig.scheduler.backfill(&key("nightly"), BackfillRequest { dry_run: false, ..request }).await.expect("it is past");
    assert_eq!(made.made, 9);
    let mut instants = Vec::new();
    for _ in 0..9 {
        let run = rig.ended().await.0;
        instants.push(rig.run(run).await.run.scheduled_at);
    }
    assert_eq!(instants, (1..10).map(|n| at(10 * n)).collect::<Vec<_>>(), "one after the other, in order of time");
    assert_eq!(rig.scheduler.backfill(&key("nightly"), BackfillRequest { dry_run: false, ..request }).await.expect("it is past").made, 0);

    let scheduler = &rig.scheduler;
    let refused = |request: BackfillRequest| async move { scheduler.backfill(&key("nightly"), request).await.expect_err("it is refused") };
    let error = refused(BackfillRequest { limit: 9, ..request }).await;
    assert_eq!((error.code(), error.to_string().as_str()), ("backfill-too-large", "the trigger named 10 instants in this period, more than the limit of 9"));
    assert_eq!(refused(BackfillRequest { to: at(101), ..request }).await.code(), "bad-backfill");
    assert_eq!(refused(BackfillRequest { max_running: 0, ..request }).await.code(), "bad-backfill");

    rig.add("spinner", json!({ "component": "spin", "trigger": { "every": "10s", "start": at(0).to_string() }, "limits": { "timeout": "1h" } })).await;
    rig.scheduler.backfill(&key("spinner"), BackfillRequest { to: at(90), dry_run: false, ..request }).await.expect("it is past");
    rig.started().await;
    let done = rig.scheduler.cancel_runs(&tenant(), &key("spinner").id, Some(Cause::Backfill), "enough").await.expect("it is done");
    assert_eq!((done.cancelled + done.requested, done.more), (9, false));
}

#[tokio::test]
async fn a_job_whose_firing_the_store_refuses_rests_and_the_others_go_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let open = || Sqlite::open(folder.path(), &SqliteOptions::default()).expect("a store");
    drop(open());
    let refusing =
        "CREATE TRIGGER no BEFORE INSERT ON run WHEN NEW.job = (SELECT id FROM job WHERE name = 'bad') BEGIN SELECT RAISE(ABORT, 'no such run'); END";
    rusqlite::Connection::open(folder.path().join("bellcage.db")).and_then(|db| db.execute_batch(refusing)).expect("a database");

    let store = Arc::new(open());
    let succeed = |_: &Run| Assumed { duration: SignedDuration::ZERO, outcome: Outcome::Succeeded };
    let mut simulation = Simulation::new(store.clone(), at(0), SimulationOptions::default(), Box::new(succeed));
    let spec: JobSpec = serde_json::from_value(json!({ "component": "reports", "trigger": { "every": "10s" } })).expect("a job");
    for id in ["a", "bad", "z"] {
        simulation.add_new_job(&key(id), &spec).await.expect("a good job");
    }
    simulation.run_until(at(25), |_| {}).await.expect("the store answers");

    let runs = store.runs(&RunFilter::default(), PageRequest { after: None, limit: 100 }).await.expect("the store answers").items;
    let of = |id: &str| runs.iter().filter(|run| run.job == key(id) && run.outcome == Some(Outcome::Succeeded)).count();
    assert_eq!((of("a"), of("bad"), of("z")), (2, 0, 2));
    let bad = store.job(&key("bad")).await.expect("it is kept");
    assert!(matches!(&bad.state, JobState::Unresolved(reason) if reason.contains("no such run")), "{:?}", bad.state);
    assert_eq!((bad.next_fire, bad.wake_at), (Some(at(10)), None), "what it owes is not forgotten");
}
