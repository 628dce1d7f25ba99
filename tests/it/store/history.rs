use bellcage::job::{Outcome, RunId, RunState, SkipReason};
use bellcage::store::{FiringStep, PageRequest, Retention, RunFilter, Store, StoreError};

use super::{add, at, claim, end, finish, fire, first_page, job, key, rules, run, runs, skip, skipped, unbounded};

/// Runs of a job, ended a second after they were made.
async fn ended(store: &dyn Store, id: &str, at: impl IntoIterator<Item = (i64, Outcome)>) -> Vec<RunId> {
    let mut made = Vec::new();
    for (second, outcome) in at {
        store.add_run(run(id, second, 0)).await.unwrap();
        let claimed = claim(store, second, 1).await.remove(0);
        finish(store, end(&claimed, second + 1, outcome)).await;
        made.push(claimed.run.id);
    }
    made
}

fn keep(before: i64, runs_per_job_max: u64, max: u64) -> Retention {
    Retention { before: at(before), runs_per_job_max, max }
}

rules! {
    fn runs_are_listed_newest_first_in_pages(store) {
        add(store, unbounded("a")).await;
        let made = ended(store, "a", (0..5).map(|n| (n, Outcome::Succeeded))).await;
        let newest_first: Vec<_> = made.into_iter().rev().collect();
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.runs(&RunFilter::default(), PageRequest { after, limit: 2 }).await.unwrap();
            seen.extend(page.items.iter().map(|run| run.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, newest_first);
        let bad = PageRequest { after: Some("yesterday".to_owned()), limit: 2 };
        assert!(matches!(store.runs(&RunFilter::default(), bad).await, Err(StoreError::Cursor { .. })));
    }

    fn runs_are_filtered_by_job_state_outcome_and_time(store) {
        for id in ["a", "b"] {
            add(store, unbounded(id)).await;
        }
        let of_a = ended(store, "a", [(0, Outcome::Succeeded), (10, Outcome::Failed)]).await;
        let of_b = ended(store, "b", [(5, Outcome::Failed)]).await;
        store.add_run(run("a", 20, 0)).await.unwrap();
        let queued = run("a", 20, 0).id;
        store.add_run(run("b", 15, 0)).await.unwrap();
        let running = claim(store, 15, 1).await[0].run.id;
        let id = |id: &str| Some(key(id).id);
        for (filter, expected) in [
            (RunFilter { job: id("a"), ..RunFilter::default() }, vec![queued, of_a[1], of_a[0]]),
            (RunFilter { job: id("c"), ..RunFilter::default() }, vec![]),
            (RunFilter { state: Some(RunState::Queued), ..RunFilter::default() }, vec![queued]),
            (RunFilter { state: Some(RunState::Running), job: id("b"), ..RunFilter::default() }, vec![running]),
            (RunFilter { state: Some(RunState::Running), job: id("a"), ..RunFilter::default() }, vec![]),
            (RunFilter { state: Some(RunState::Ended), ..RunFilter::default() }, vec![of_a[1], of_b[0], of_a[0]]),
            (RunFilter { outcome: Some(Outcome::Failed), ..RunFilter::default() }, vec![of_a[1], of_b[0]]),
            (RunFilter { outcome: Some(Outcome::Failed), job: id("a"), ..RunFilter::default() }, vec![of_a[1]]),
            (RunFilter { since: Some(at(5)), until: Some(at(15)), ..RunFilter::default() }, vec![of_a[1], of_b[0]]),
            (RunFilter { since: Some(at(10)), job: id("a"), ..RunFilter::default() }, vec![queued, of_a[1]]),
            (RunFilter { tenant: "other".parse().unwrap(), ..RunFilter::default() }, vec![]),
        ] {
            assert_eq!(runs(store, filter.clone()).await, expected, "{filter:?}");
        }
    }

    fn runs_and_records_older_than_the_bound_go(store) {
        add(store, job("a")).await;
        fire(store, "a", 0, vec![FiringStep::Skip(skip(SkipReason::Missed, None, 0, 3))], 5).await;
        fire(store, "a", 5, vec![FiringStep::Skip(skip(SkipReason::Paused, None, 5, 30))], 60).await;
        let made = ended(store, "a", [(0, Outcome::Succeeded), (8, Outcome::Failed), (9, Outcome::Failed)]).await;
        assert_eq!(store.prune(keep(10, 1_000, 100)).await.unwrap(), 3);
        assert_eq!(runs(store, RunFilter::default()).await, [made[2]]);
        assert!(store.attempts(&Default::default(), made[0]).await.is_err());
        assert_eq!(skipped(store, "a").await, [skip(SkipReason::Paused, None, 5, 30)]);
        assert_eq!(store.prune(keep(10, 1_000, 100)).await.unwrap(), 0);
    }

    fn unfinished_runs_do_not_go_however_old(store) {
        add(store, unbounded("a")).await;
        store.add_run(run("a", 0, 1)).await.unwrap();
        claim(store, 0, 1).await;
        store.add_run(run("a", 0, 2)).await.unwrap();
        assert_eq!(store.prune(keep(1_000, 0, 100)).await.unwrap(), 0);
        assert_eq!(runs(store, RunFilter::default()).await.len(), 2);
    }

    fn a_job_keeps_so_many_ended_runs_and_no_more(store) {
        for id in ["a", "b"] {
            add(store, unbounded(id)).await;
        }
        let of_a = ended(store, "a", (0..5).map(|n| (n, Outcome::Succeeded))).await;
        let of_b = ended(store, "b", (0..2).map(|n| (n, Outcome::Succeeded))).await;
        assert_eq!(store.prune(keep(-1_000, 3, 100)).await.unwrap(), 2);
        assert_eq!(runs(store, RunFilter { job: Some(key("a").id), ..RunFilter::default() }).await, [of_a[4], of_a[3], of_a[2]]);
        assert_eq!(store.prune(keep(-1_000, 1, 100)).await.unwrap(), 3);
        assert_eq!(runs(store, RunFilter { job: Some(key("b").id), ..RunFilter::default() }).await, [of_b[1]]);
    }

    fn no_more_rows_go_at_once_than_asked_for(store) {
        add(store, unbounded("a")).await;
        let made = ended(store, "a", (0..5).map(|n| (n, Outcome::Succeeded))).await;
        assert_eq!(store.prune(keep(1_000, 1_000, 2)).await.unwrap(), 2);
        assert_eq!(runs(store, RunFilter::default()).await, [made[4], made[3], made[2]]);
        assert_eq!(store.prune(keep(-1_000, 0, 2)).await.unwrap(), 2);
        assert_eq!(store.prune(keep(-1_000, 0, 2)).await.unwrap(), 1);
    }

    fn a_record_does_not_fold_into_one_that_is_gone(store) {
        add(store, job("a")).await;
        let record = |t| FiringStep::Skip(skip(SkipReason::Missed, None, t, t));
        fire(store, "a", 0, vec![record(0)], 10).await;
        store.prune(keep(5, 1_000, 100)).await.unwrap();
        fire(store, "a", 10, vec![record(10)], 20).await;
        assert_eq!(skipped(store, "a").await, [skip(SkipReason::Missed, None, 10, 10)]);
    }

    fn a_removed_job_is_forgotten_with_its_history(store) {
        add(store, unbounded("a")).await;
        ended(store, "a", [(0, Outcome::Succeeded)]).await;
        store.remove_job(&key("a"), at(2)).await.unwrap();
        assert_eq!(store.prune(keep(100, 1_000, 100)).await.unwrap(), 1);
        add(store, unbounded("a")).await;
        assert_eq!(store.runs(&RunFilter::default(), first_page(10)).await.unwrap().items, []);
    }
}
