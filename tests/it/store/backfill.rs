use bellcage::job::{Cause, Job, Outcome, Run, RunState};
use bellcage::store::{CancelFound, RunFilter, Store, StoreError};

use super::{add, at, claim, end, finish, fire, firing_run, get_job, ids, job, job_with, key, lease, resting, rules, run, runs, step};

/// A run of a backfill, made at `at(0)` for an instant before that.
fn backfill(id: &str, n: u64, most: u32) -> Run {
    let scheduled_at = at(-1_000 + i64::try_from(n).unwrap());
    Run { cause: Cause::Backfill, backfill_max: Some(most), priority: i32::MIN, scheduled_at, ..run(id, 0, n) }
}

async fn add_backfill(store: &dyn Store, id: &str, numbers: std::ops::RangeInclusive<u64>, most: u32) -> u64 {
    store.add_backfill(&key(id), numbers.map(|n| backfill(id, n, most)).collect()).await.unwrap()
}

rules! {
    fn an_instant_that_has_a_run_gets_no_other_from_a_backfill(store) {
        add(store, job("a")).await;
        fire(store, "a", 0, vec![step(Run { scheduled_at: at(-998), ..firing_run("a", 0, 77) })], 60).await;
        assert_eq!(add_backfill(store, "a", 1..=4, 1).await, 3);
        assert_eq!(add_backfill(store, "a", 1..=5, 1).await, 1, "asked for again, only what is new is made");
        let found = runs(store, RunFilter { cause: Some(Cause::Backfill), ..RunFilter::default() }).await;
        assert_eq!(found, [5, 4, 3, 1].map(|n| backfill("a", n, 1).id));
        assert!(matches!(store.add_backfill(&key("z"), vec![backfill("z", 1, 1)]).await, Err(StoreError::NotFound { .. })));
    }

    fn backfills_run_beside_the_jobs_own_runs_and_no_more_at_once_than_asked_for(store) {
        add(store, resting(job("a"))).await;
        add_backfill(store, "a", 1..=5, 2).await;
        store.add_run(run("a", 0, 9)).await.unwrap();
        let first = claim(store, 0, 10).await;
        assert_eq!(ids(&first), [run("a", 0, 9).id, backfill("a", 1, 2).id, backfill("a", 2, 2).id]);
        assert_eq!(claim(store, 0, 10).await.len(), 0);
        finish(store, end(&first[0], 1, Outcome::Succeeded)).await;
        assert_eq!(claim(store, 1, 10).await.len(), 0, "the place of the job's own run is not theirs");
        finish(store, end(&first[1], 2, Outcome::Succeeded)).await;
        assert_eq!(ids(&claim(store, 2, 10).await), [backfill("a", 3, 2).id]);
    }

    fn backfills_stand_in_no_firings_way(store) {
        add(store, job("a")).await;
        add_backfill(store, "a", 1..=3, 1).await;
        claim(store, 0, 1).await;
        let leased = lease(store, 0).await.remove(0);
        assert_eq!((leased.unfinished, leased.unfinished_count), (vec![], 0));
    }

    fn a_backfill_tells_nothing_of_how_its_job_does_nor_anything_to_those_that_follow(store) {
        add(store, resting(job("a"))).await;
        let follows = job_with("b", |spec| spec.trigger = serde_json::from_value(serde_json::json!({ "after": ["a"] })).unwrap());
        add(store, resting(follows)).await;
        add_backfill(store, "a", 1..=1, 1).await;
        let claimed = claim(store, 0, 1).await.remove(0);
        finish(store, end(&claimed, 1, Outcome::Failed)).await;
        assert_eq!(get_job(store, "a").await, Job { next_fire: None, wake_at: None, ..job("a") });
        assert_eq!(store.arrived_ends(&key("b")).await.unwrap(), []);
    }

    fn a_place_among_backfills_goes_on_when_one_is_cancelled_or_its_job_is_removed(store) {
        add(store, resting(job("a"))).await;
        add_backfill(store, "a", 1..=4, 1).await;
        let tenant = Default::default();
        assert_eq!(store.cancel_run(&tenant, backfill("a", 1, 1).id, "no", at(0)).await.unwrap(), CancelFound::Ended);
        assert_eq!(ids(&claim(store, 0, 10).await), [backfill("a", 2, 1).id]);
        let cancelled = store.remove_job(&key("a"), at(1)).await.unwrap();
        assert_eq!(cancelled, [3, 4].map(|n| backfill("a", n, 1).id));
        assert_eq!(store.run(&tenant, backfill("a", 2, 1).id).await.unwrap().state, RunState::Running);
    }
}
