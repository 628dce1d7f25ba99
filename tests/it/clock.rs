//! The machine's clock steps, or the machine sleeps: no firing is lost, none is doubled.

use std::collections::BTreeSet;
use std::sync::Arc;

use bellcage::job::{JobKey, JobSpec, Outcome, Run, SkipReason, TenantId};
use bellcage::scheduler::simulate::{Assumed, Simulation, SimulationOptions};
use bellcage::scheduler::{OnConflict, PageRequest, RunFilter};
use bellcage::store::{Memory, Store};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).expect("in range")
}

fn key() -> JobKey {
    JobKey { tenant: TenantId::default(), id: "minutely".parse().expect("a job id") }
}

/// A job every minute, whose runs take a second, from `at(0)` to `at(600)`: ten firings, ten runs.
async fn ten_minutes(store: Arc<Memory>) -> Simulation {
    let assume = |_: &Run| Assumed { duration: SignedDuration::from_secs(1), outcome: Outcome::Succeeded };
    let mut simulation = Simulation::new(store, at(0), SimulationOptions::default(), Box::new(assume));
    let spec: JobSpec = serde_json::from_value(json!({ "component": "reports", "trigger": { "every": "1m", "start": at(60).to_string() } })).expect("a job");
    simulation.add_job(&key(), &spec, OnConflict::Error).await.expect("a good job");
    simulation.run_until(at(605), |_| {}).await.expect("the store answers");
    simulation
}

/// Minutes of the runs, each once, and what else is on record: reason, count, first and last minute.
async fn accounts(store: &Memory) -> (Vec<i64>, Vec<(SkipReason, u64, i64, i64)>) {
    let minute = |t: Timestamp| (t.as_second() - at(0).as_second()) / 60;
    let page = PageRequest { after: None, limit: 1_000 };
    let runs: Vec<_> = store.runs(&RunFilter::default(), page.clone()).await.expect("a list").items.iter().map(|r| minute(r.scheduled_at)).collect();
    let once: BTreeSet<_> = runs.iter().copied().collect();
    assert_eq!(once.len(), runs.len(), "a firing has two runs: {runs:?}");
    let records = store.skipped(&TenantId::default(), Some(&key()), page).await.expect("a list").items;
    (once.into_iter().collect(), records.into_iter().map(|(_, s)| (s.reason, s.count, minute(s.first), minute(s.last))).collect())
}

#[tokio::test]
async fn a_clock_that_steps_back_an_hour_repeats_nothing_and_goes_on_where_it_was() {
    let store = Arc::new(Memory::default());
    let mut simulation = ten_minutes(store.clone()).await;
    simulation.set_now(at(605 - 3_600));
    simulation.run_until(at(604), |_| {}).await.expect("the store answers");
    assert_eq!(accounts(&store).await, ((1..=10).collect(), vec![]), "the hour that comes twice");
    simulation.run_until(at(725), |_| {}).await.expect("the store answers");
    assert_eq!(accounts(&store).await, ((1..=12).collect(), vec![]));
}

#[tokio::test]
async fn a_clock_that_steps_forward_an_hour_and_a_machine_that_slept_are_a_downtime() {
    let store = Arc::new(Memory::default());
    let mut simulation = ten_minutes(store.clone()).await;
    simulation.set_now(at(605 + 3_600));
    simulation.run_until(at(605 + 3_600 + 60), |_| {}).await.expect("the store answers");
    let (runs, records) = accounts(&store).await;
    assert_eq!(runs, (1..=10).chain([70, 71]).collect::<Vec<_>>(), "the newest of the hour runs, and then the next");
    assert_eq!(records, [(SkipReason::Coalesced, 59, 11, 69)]);
}

#[tokio::test]
async fn a_run_that_is_going_while_the_clock_steps_either_way_ends_once() {
    for step in [-3_600, 3_600] {
        let store = Arc::new(Memory::default());
        let assume = |_: &Run| Assumed { duration: SignedDuration::from_secs(30), outcome: Outcome::Succeeded };
        let mut simulation = Simulation::new(store.clone(), at(0), SimulationOptions::default(), Box::new(assume));
        let spec: JobSpec = serde_json::from_value(json!({ "component": "reports", "trigger": { "at": at(60).to_string() } })).expect("a job");
        simulation.add_job(&key(), &spec, OnConflict::Error).await.expect("a good job");
        simulation.run_until(at(70), |_| {}).await.expect("the store answers");
        assert_eq!(simulation.going().count(), 1);
        simulation.set_now(at(70 + step));
        // What another server would take for dead, this one knows to be alive.
        simulation.settle_lost().await.expect("the store answers");
        simulation.run_until(at(8_000), |_| {}).await.expect("the store answers");
        let runs = store.runs(&RunFilter::default(), PageRequest { after: None, limit: 10 }).await.expect("a list").items;
        assert_eq!(runs.iter().map(|r| (r.attempt, r.outcome)).collect::<Vec<_>>(), [(1, Some(Outcome::Succeeded))], "a step of {step} s");
    }
}
