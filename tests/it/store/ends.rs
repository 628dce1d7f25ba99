use bellcage::job::{Job, JobSpec, Outcome, Pause, Run, SkipReason, UpstreamEnd};
use bellcage::store::{Fenced, FiringCommit, OnConflict, Store};
use bellcage::trigger::TriggerSpec;

use super::{add, at, claim, commit, end, finish, get_job, get_run, job, job_with, key, lease, resting, retry, rules, run, skip, skipped, step, unbounded};

fn after(upstream: &[&str]) -> TriggerSpec {
    serde_json::from_value(serde_json::json!({ "after": upstream })).unwrap()
}

/// A job that follows these, and is not due by itself.
fn follower(id: &str, upstream: &[&str]) -> Job {
    resting(job_with(id, |spec: &mut JobSpec| spec.trigger = after(upstream)))
}

fn told(run: &Run, outcome: Outcome, ended: i64) -> UpstreamEnd {
    UpstreamEnd { job: run.job.id.clone(), run: run.id, outcome, ended_at: at(ended) }
}

/// A run of `id` begins at `now` and ends at once.
async fn ran(store: &dyn Store, id: &str, now: i64, outcome: Outcome) -> UpstreamEnd {
    let made = run(id, now, 7);
    store.add_run(made.clone()).await.unwrap();
    let claimed = claim(store, now, 1).await.remove(0);
    assert_eq!(finish(store, end(&claimed, now, outcome)).await, Fenced::Done);
    told(&made, outcome, now)
}

async fn ends(store: &dyn Store, id: &str) -> Vec<UpstreamEnd> {
    store.arrived_ends(&key(id)).await.unwrap()
}

/// What is left of `commit`'s job when it looked at all ends.
fn rests(leased: &bellcage::store::LeasedJob, consumed: Vec<u64>) -> FiringCommit {
    let ends_seen = leased.ends.last().map_or(0, |last| last.number);
    FiringCommit { consumed, ends_seen, next_fire: None, wake_at: None, ..commit(leased, vec![], 0) }
}

rules! {
    fn the_end_of_a_run_makes_the_jobs_that_follow_it_due_and_no_others(store) {
        add(store, resting(unbounded("a"))).await;
        for (id, upstream) in [("b", &["a", "x"][..]), ("c", &["a"]), ("d", &["x"])] {
            add(store, follower(id, upstream)).await;
        }
        let ended = ran(store, "a", 5, Outcome::Failed).await;
        let leased = lease(store, 5).await;
        assert_eq!(leased.iter().map(|l| l.job.key.id.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        for leased in &leased {
            assert_eq!(leased.ends.iter().map(|e| e.end.clone()).collect::<Vec<_>>(), std::slice::from_ref(&ended));
            assert_eq!(leased.job.wake_at, Some(at(5)));
        }
        assert_eq!(ends(store, "d").await, []);
    }

    fn an_attempt_that_is_tried_again_is_no_end(store) {
        add(store, resting(job("a"))).await;
        add(store, follower("b", &["a"])).await;
        store.add_run(run("a", 0, 1)).await.unwrap();
        let claimed = claim(store, 0, 1).await.remove(0);
        finish(store, retry(&claimed, 1, 4)).await;
        assert_eq!(ends(store, "b").await, []);
        assert_eq!(get_job(store, "b").await.wake_at, None);
    }

    fn a_cancelled_waiting_run_and_those_of_a_removed_job_are_ends_too(store) {
        add(store, resting(job("a"))).await;
        add(store, follower("b", &["a"])).await;
        let made = [run("a", 0, 1), run("a", 0, 2)];
        for run in &made {
            store.add_run(run.clone()).await.unwrap();
        }
        store.cancel_run(&Default::default(), made[1].id, "no", at(3)).await.unwrap();
        store.remove_job(&key("a"), at(4)).await.unwrap();
        assert_eq!(ends(store, "b").await, [told(&made[1], Outcome::Cancelled, 3), told(&made[0], Outcome::Cancelled, 4)]);
        assert_eq!(get_job(store, "b").await.wake_at, Some(at(3)));
    }

    fn a_run_that_outlives_its_job_tells_of_its_end(store) {
        add(store, resting(job("a"))).await;
        add(store, follower("b", &["a"])).await;
        store.add_run(run("a", 0, 1)).await.unwrap();
        let claimed = claim(store, 0, 1).await.remove(0);
        store.remove_job(&key("a"), at(1)).await.unwrap();
        finish(store, end(&claimed, 2, Outcome::Succeeded)).await;
        assert_eq!(ends(store, "b").await, [told(&claimed.run, Outcome::Succeeded, 2)]);
    }

    fn a_firing_takes_the_ends_that_it_consumed_and_leaves_the_others_seen(store) {
        add(store, resting(unbounded("a"))).await;
        add(store, follower("b", &["a", "x"])).await;
        ran(store, "a", 1, Outcome::Failed).await;
        let kept = ran(store, "a", 2, Outcome::Succeeded).await;
        let leased = lease(store, 2).await.remove(0);
        let firing = rests(&leased, vec![leased.ends[0].number]);
        assert_eq!(store.commit_firings(vec![firing]).await.unwrap(), [Fenced::Done]);
        assert_eq!(ends(store, "b").await, [kept]);
        assert_eq!(get_job(store, "b").await.wake_at, None, "it waits for another end");
        assert_eq!(store.next_due().await.unwrap(), None);
    }

    fn an_end_that_came_in_while_a_firing_was_decided_keeps_the_job_due(store) {
        add(store, resting(unbounded("a"))).await;
        add(store, follower("b", &["a"])).await;
        ran(store, "a", 1, Outcome::Succeeded).await;
        let leased = lease(store, 1).await.remove(0);
        let later = ran(store, "a", 2, Outcome::Succeeded).await;
        let firing = rests(&leased, vec![leased.ends[0].number]);
        assert_eq!(store.commit_firings(vec![firing]).await.unwrap(), [Fenced::Done]);
        let again = lease(store, 2).await.remove(0);
        assert_eq!(again.ends.iter().map(|e| e.end.clone()).collect::<Vec<_>>(), [later]);
    }

    fn a_firing_whose_lease_was_lost_consumes_nothing(store) {
        add(store, resting(unbounded("a"))).await;
        add(store, follower("b", &["a"])).await;
        let ended = ran(store, "a", 1, Outcome::Succeeded).await;
        let leased = lease(store, 1).await.remove(0);
        let stale = FiringCommit { token: leased.lease.token + 1, ..rests(&leased, vec![leased.ends[0].number]) };
        assert_eq!(store.commit_firings(vec![stale]).await.unwrap(), [Fenced::LeaseLost]);
        assert_eq!(ends(store, "b").await, [ended]);
        assert_eq!(lease(store, 11).await.len(), 1);
    }

    fn a_pause_does_not_hide_ends_from_the_scheduler(store) {
        add(store, resting(unbounded("a"))).await;
        add(store, follower("b", &["a"])).await;
        ran(store, "a", 1, Outcome::Succeeded).await;
        let seen = get_job(store, "b").await;
        let pause = Pause { since: at(2), reason: None, by: None, until: None };
        let paused = store.update_job(Job { pause: Some(pause), wake_at: None, ..seen.clone() }, &seen, None).await.unwrap();
        assert_eq!(paused.wake_at, Some(at(1)));
        assert_eq!(get_job(store, "b").await, paused);
    }

    fn a_job_that_follows_others_now_is_told_of_those_alone(store) {
        for id in ["a", "x"] {
            add(store, resting(unbounded(id))).await;
        }
        add(store, follower("b", &["a"])).await;
        store.add_job(follower("b", &["x"]), OnConflict::Replace).await.unwrap();
        ran(store, "a", 1, Outcome::Succeeded).await;
        let ended = ran(store, "x", 2, Outcome::Succeeded).await;
        assert_eq!(ends(store, "b").await, [ended]);
    }

    fn ends_that_no_firing_has_seen_are_on_record_when_their_trigger_goes(store) {
        add(store, resting(unbounded("a"))).await;
        add(store, follower("b", &["a"])).await;
        add(store, follower("c", &["a"])).await;
        ran(store, "a", 1, Outcome::Succeeded).await;
        ran(store, "a", 3, Outcome::Succeeded).await;
        let seen = get_job(store, "b").await;
        let changed = Job { spec: job("b").spec, next_fire: None, wake_at: None, updated_at: at(4), ..seen.clone() };
        assert_eq!(store.update_job(changed, &seen, None).await.unwrap().wake_at, None);
        store.remove_job(&key("c"), at(4)).await.unwrap();
        for (id, why) in [("b", "the trigger was changed"), ("c", "the job was removed")] {
            let detail = format!("upstream runs had ended when {why}");
            let expected = bellcage::job::Skipped { count: 2, exact: false, recorded_at: at(4), ..skip(SkipReason::Missed, Some(&detail), 1, 3) };
            assert_eq!(skipped(store, id).await, [expected]);
            assert_eq!(ends(store, id).await, []);
        }
    }

    fn a_run_knows_the_runs_that_it_follows(store) {
        add(store, resting(unbounded("a"))).await;
        add(store, follower("b", &["a"])).await;
        let upstream = vec![ran(store, "a", 1, Outcome::Succeeded).await];
        let leased = lease(store, 1).await.remove(0);
        let made = [1, 2].map(|n| Run { cause: bellcage::job::Cause::After, upstream: upstream.clone(), ..run("b", 1, n) });
        let firing = FiringCommit { steps: made.iter().cloned().map(step).collect(), ..rests(&leased, vec![leased.ends[0].number]) };
        store.commit_firings(vec![firing]).await.unwrap();
        for run in made {
            assert_eq!(get_run(store, run.id).await, run, "two of one instant are two");
        }
    }
}
