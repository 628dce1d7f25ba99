use bellcage::job::{Isolation, Job, JobState, Outcome, Run, RunState, SkipReason, Skipped, TenantId};
use bellcage::store::{Fenced, FiringCommit, FiringStep, RunClaim, Unfinished};

use super::{
    add, at, claim, commit, end, finish, fire, firing_run, first_page, get_job, get_run, ids, job, job_with, key, lease, owner, resting, rules, run, runs,
    skip, skipped, step, unbounded,
};

/// For `a`, for 10 seconds.
fn claim_of(now: i64) -> RunClaim {
    RunClaim { owner: owner("a"), now: at(now), until: at(now + 10), max: 10, alone: 10 }
}

rules! {
    fn due_jobs_are_leased_soonest_first_and_no_others(store) {
        for (id, wake) in [("a", Some(3)), ("b", Some(1)), ("c", Some(11)), ("d", None), ("e", Some(10))] {
            add(store, Job { next_fire: wake.map(at), wake_at: wake.map(at), ..job(id) }).await;
        }
        let leased = lease(store, 10).await;
        assert_eq!(leased.iter().map(|l| l.job.key.id.as_str()).collect::<Vec<_>>(), ["b", "a", "e"]);
        assert_eq!(leased[0].job, Job { next_fire: Some(at(1)), wake_at: Some(at(1)), ..job("b") });
        assert_eq!(leased[0].lease.until, at(20));
    }

    fn no_more_than_asked_for_are_leased(store) {
        for (id, wake) in [("a", 3), ("b", 1)] {
            add(store, Job { wake_at: Some(at(wake)), ..job(id) }).await;
        }
        let leased = store.lease_due(&owner("a"), at(10), at(20), 1).await.unwrap();
        assert_eq!(leased.len(), 1);
        assert_eq!(leased[0].job.key, key("b"));
    }

    fn a_held_job_is_not_leased_again_until_its_lease_ends(store) {
        add(store, job("a")).await;
        let first = lease(store, 0).await.remove(0);
        assert_eq!(lease(store, 9).await.len(), 0);
        let second = lease(store, 10).await.remove(0);
        assert!(second.lease.token > first.lease.token);
        assert_eq!(store.commit_firings(vec![commit(&first, vec![step(run("a", 0, 1))], 60)]).await.unwrap(), [Fenced::LeaseLost]);
        assert_eq!(runs(store, Default::default()).await, []);
        assert_eq!(get_job(store, "a").await.next_fire, Some(at(0)));
    }

    fn a_leased_job_lists_its_unfinished_runs_oldest_first(store) {
        add(store, unbounded("a")).await;
        let made = [run("a", -3, 1), run("a", -2, 2), run("a", -1, 3)];
        store.add_run(made[0].clone()).await.unwrap();
        let claimed = claim(store, -3, 10).await.remove(0);
        finish(store, end(&claimed, -3, Outcome::Succeeded)).await;
        store.add_run(made[1].clone()).await.unwrap();
        claim(store, -2, 10).await;
        store.add_run(made[2].clone()).await.unwrap();
        let leased = lease(store, 0).await.remove(0);
        assert_eq!(leased.unfinished, [Unfinished { run: made[1].id, running: true }, Unfinished { run: made[2].id, running: false }]);
        assert_eq!(leased.unfinished_count, 2);
    }

    fn what_firings_make_is_claimed_with_them_best_first(store) {
        for id in ["a", "b", "c"] {
            add(store, job(id)).await;
        }
        let made = [run("a", 0, 1), Run { priority: 1, ..run("b", 0, 2) }, Run { start_at: at(5), ..run("c", 0, 3) }];
        let firings = lease(store, 0).await.iter().zip(&made).map(|(leased, run)| commit(leased, vec![step(run.clone())], 60)).collect();
        let (answers, claimed) = store.commit_and_claim(firings, claim_of(0)).await.unwrap();
        assert_eq!(answers, [Fenced::Done, Fenced::Done, Fenced::Done]);
        assert_eq!(ids(&claimed), [made[1].id, made[0].id]);
        for claimed in &claimed {
            assert_eq!((claimed.run.state, claimed.run.attempt, claimed.run.started_at, claimed.lease.until), (RunState::Running, 1, Some(at(0)), at(10)));
            assert_eq!((&get_run(store, claimed.run.id).await, claimed.job.next_fire), (&*claimed.run, Some(at(60))));
        }
        assert_eq!(get_run(store, made[2].id).await, made[2]);
        finish(store, end(&claimed[0], 1, Outcome::Succeeded)).await;
        assert_eq!(ids(&claim(store, 5, 10).await), [made[2].id]);
    }

    fn what_waited_before_is_claimed_before_what_firings_make(store) {
        add(store, resting(unbounded("a"))).await;
        add(store, job("b")).await;
        store.add_run(run("a", -1, 1)).await.unwrap();
        let leased = lease(store, 0).await.remove(0);
        let claim = RunClaim { max: 1, ..claim_of(0) };
        let (_, claimed) = store.commit_and_claim(vec![commit(&leased, vec![step(run("b", 0, 2))], 60)], claim.clone()).await.unwrap();
        assert_eq!(ids(&claimed), [run("a", -1, 1).id]);
        let (answers, claimed) = store.commit_and_claim(vec![commit(&leased, vec![step(run("b", 0, 3))], 60)], claim).await.unwrap();
        assert_eq!((answers, ids(&claimed)), (vec![Fenced::LeaseLost], vec![run("b", 0, 2).id]));
    }

    fn a_claim_with_firings_starts_no_more_with_a_process_of_their_own_than_it_may(store) {
        for id in ["a", "b", "c"] {
            add(store, job_with(id, |spec| spec.isolation = Isolation::ProcessPerRun)).await;
        }
        let runs: Vec<_> = ["a", "b", "c"].into_iter().zip(1..).map(|(id, n)| firing_run(id, 0, n)).collect();
        let firings = lease(store, 0).await.iter().zip(&runs).map(|(leased, run)| commit(leased, vec![step(run.clone())], 60)).collect();
        let (_, claimed) = store.commit_and_claim(firings, RunClaim { alone: 2, ..claim_of(0) }).await.unwrap();
        assert_eq!(ids(&claimed), [runs[0].id, runs[1].id]);
        add(store, job_with("d", |spec| spec.isolation = Isolation::ProcessPerRun)).await;
        let leased = lease(store, 0).await.remove(0);
        let (_, claimed) = store.commit_and_claim(vec![commit(&leased, vec![step(firing_run("d", 0, 4))], 60)], RunClaim { alone: 1, ..claim_of(0) }).await.unwrap();
        assert_eq!(ids(&claimed), [runs[2].id], "who waited goes first");
        let leased = { add(store, job("e")).await; lease(store, 0).await.remove(0) };
        let (_, claimed) = store.commit_and_claim(vec![commit(&leased, Vec::new(), 60)], claim_of(0)).await.unwrap();
        assert_eq!(ids(&claimed), [firing_run("d", 0, 4).id], "also where the firings make no runs");
    }

    fn a_claim_with_firings_starts_no_more_of_a_job_than_may_run(store) {
        add(store, job_with("a", |spec| spec.max_running = Some(1))).await;
        let leased = lease(store, 0).await.remove(0);
        let first = store.commit_and_claim(vec![commit(&leased, vec![step(run("a", 0, 1))], 1)], claim_of(0)).await.unwrap().1;
        let leased = lease(store, 1).await.remove(0);
        assert_eq!(store.commit_and_claim(vec![commit(&leased, vec![step(run("a", 1, 2))], 60)], claim_of(1)).await.unwrap().1.len(), 0);
        finish(store, end(&first[0], 2, Outcome::Succeeded)).await;
        assert_eq!(ids(&claim(store, 2, 10).await), [run("a", 1, 2).id]);
    }

    fn a_committed_firing_makes_runs_records_reasons_and_moves_the_job_on(store) {
        add(store, job("a")).await;
        let leased = lease(store, 0).await.remove(0);
        let missed = skip(SkipReason::Missed, Some("later than its misfire grace"), -30, -20);
        let firing = FiringCommit {
            state: JobState::Finished,
            next_fire: None,
            wake_at: None,
            ..commit(&leased, vec![FiringStep::Skip(missed.clone()), step(firing_run("a", 0, 1))], 60)
        };
        assert_eq!(store.commit_firings(vec![firing]).await.unwrap(), [Fenced::Done]);
        assert_eq!(get_run(store, firing_run("a", 0, 1).id).await, firing_run("a", 0, 1));
        assert_eq!(skipped(store, "a").await, [missed]);
        assert_eq!(get_job(store, "a").await, Job { state: JobState::Finished, next_fire: None, wake_at: None, ..job("a") });
        assert_eq!(store.next_due().await.unwrap(), Some(at(0)));
    }

    fn a_committed_firing_ends_its_lease(store) {
        add(store, job("a")).await;
        let leased = lease(store, 0).await.remove(0);
        let firing = commit(&leased, vec![], 0);
        assert_eq!(store.commit_firings(vec![firing.clone()]).await.unwrap(), [Fenced::Done]);
        assert_eq!(store.commit_firings(vec![firing]).await.unwrap(), [Fenced::LeaseLost]);
        assert_eq!(lease(store, 0).await.len(), 1);
    }

    fn a_stale_firing_in_a_batch_does_not_undo_the_others(store) {
        add(store, job("a")).await;
        add(store, Job { wake_at: Some(at(-1)), ..job("b") }).await;
        let leased = lease(store, 0).await;
        let stale = FiringCommit { token: leased[0].lease.token + 100, ..commit(&leased[0], vec![step(firing_run("b", 0, 1))], 60) };
        let good = commit(&leased[1], vec![step(firing_run("a", 0, 2))], 60);
        assert_eq!(store.commit_firings(vec![stale, good]).await.unwrap(), [Fenced::LeaseLost, Fenced::Done]);
        assert_eq!(runs(store, Default::default()).await, [firing_run("a", 0, 2).id]);
    }

    fn a_firing_that_has_its_run_already_makes_no_second(store) {
        add(store, job("a")).await;
        fire(store, "a", 0, vec![step(firing_run("a", 0, 1))], 0).await;
        fire(store, "a", 0, vec![step(firing_run("a", 0, 2))], 60).await;
        assert_eq!(runs(store, Default::default()).await, [firing_run("a", 0, 1).id]);
        assert_eq!(store.counts().await.unwrap().runs_unfinished, 1);
    }

    fn a_firing_that_a_removed_job_ran_is_not_run_by_its_namesake(store) {
        add(store, job("a")).await;
        fire(store, "a", 0, vec![step(firing_run("a", 0, 1))], 60).await;
        store.remove_job(&key("a"), at(1)).await.unwrap();
        add(store, job("a")).await;
        fire(store, "a", 1, vec![step(firing_run("a", 0, 2))], 60).await;
        assert_eq!(runs(store, Default::default()).await, [firing_run("a", 0, 1).id]);
    }

    fn runs_on_demand_may_share_an_instant(store) {
        add(store, job("a")).await;
        for n in 1..=3 {
            store.add_run(run("a", 0, n)).await.unwrap();
        }
        assert_eq!(runs(store, Default::default()).await.len(), 3);
    }

    fn records_of_one_reason_fold(store) {
        add(store, job("a")).await;
        let record = |run: &str, first, last| FiringStep::Skip(skip(SkipReason::Skipped, Some(&format!("run {run} was in the way")), first, last));
        fire(store, "a", 0, vec![record("01", 0, 0)], 10).await;
        fire(store, "a", 10, vec![record("02", 10, 12), record("03", 13, 13)], 20).await;
        let expected = Skipped { count: 3, ..skip(SkipReason::Skipped, Some("run 03 was in the way"), 0, 13) };
        assert_eq!(skipped(store, "a").await, [expected]);
    }

    fn records_of_another_reason_or_kind_of_detail_do_not_fold(store) {
        add(store, job("a")).await;
        let records = [
            skip(SkipReason::Skipped, Some("run 01 was in the way"), 0, 0),
            skip(SkipReason::Skipped, Some("the queue was full (queue_max = 10)"), 1, 1),
            skip(SkipReason::Missed, None, 2, 2),
            skip(SkipReason::Coalesced, None, 3, 3),
        ];
        fire(store, "a", 0, records.iter().cloned().map(FiringStep::Skip).collect(), 10).await;
        let newest_first: Vec<_> = records.into_iter().rev().collect();
        assert_eq!(skipped(store, "a").await, newest_first);
    }

    fn a_run_of_a_firing_keeps_records_apart(store) {
        add(store, job("a")).await;
        let record = |t| FiringStep::Skip(skip(SkipReason::Missed, None, t, t));
        fire(store, "a", 0, vec![record(0), step(firing_run("a", 1, 1)), record(2)], 10).await;
        assert_eq!(skipped(store, "a").await.len(), 2);
        store.add_run(run("a", 3, 2)).await.unwrap();
        fire(store, "a", 10, vec![record(4)], 20).await;
        assert_eq!(skipped(store, "a").await.iter().map(|s| s.count).collect::<Vec<_>>(), [2, 1]);
    }

    fn records_are_listed_newest_first_in_pages_of_one_job_or_of_all(store) {
        for id in ["a", "b"] {
            add(store, Job { wake_at: Some(at(i64::from(id == "b"))), ..job(id) }).await;
        }
        fire(store, "a", 0, vec![FiringStep::Skip(skip(SkipReason::Missed, None, 0, 0))], 60).await;
        fire(store, "b", 1, vec![FiringStep::Skip(skip(SkipReason::Missed, None, 1, 1)), FiringStep::Skip(skip(SkipReason::Paused, None, 2, 2))], 60).await;
        let tenant = TenantId::default();
        let page = store.skipped(&tenant, None, first_page(2)).await.unwrap();
        assert_eq!(page.items.iter().map(|(job, s)| (job.id.as_str(), s.first)).collect::<Vec<_>>(), [("b", at(2)), ("b", at(1))]);
        let page = store.skipped(&tenant, None, bellcage::store::PageRequest { after: page.next, limit: 2 }).await.unwrap();
        assert_eq!(page.items.iter().map(|(job, _)| job.id.as_str()).collect::<Vec<_>>(), ["a"]);
        assert_eq!(page.next, None);
        assert_eq!(skipped(store, "a").await.len(), 1);
        assert_eq!(store.skipped(&"other".parse().unwrap(), None, first_page(2)).await.unwrap().items, []);
        let bad = bellcage::store::PageRequest { after: Some("x".to_owned()), limit: 2 };
        assert!(matches!(store.skipped(&tenant, None, bad).await, Err(bellcage::store::StoreError::Cursor { .. })));
    }

    fn a_firing_cancels_the_unfinished_runs_it_replaces(store) {
        add(store, unbounded("a")).await;
        let (running, waiting) = (run("a", -2, 1), run("a", -1, 2));
        store.add_run(running.clone()).await.unwrap();
        let claimed = claim(store, -2, 1).await.remove(0);
        store.add_run(waiting.clone()).await.unwrap();
        let leased = lease(store, 0).await.remove(0);
        let firing = FiringCommit {
            cancel: vec![running.id, waiting.id],
            cancel_reason: Some("a later firing replaced it".to_owned()),
            ..commit(&leased, vec![step(firing_run("a", 0, 3))], 60)
        };
        store.commit_firings(vec![firing]).await.unwrap();
        let waiting = get_run(store, waiting.id).await;
        assert_eq!((waiting.state, waiting.outcome), (RunState::Ended, Some(Outcome::Cancelled)));
        assert_eq!(waiting.error.unwrap().message, "a later firing replaced it");
        let running = get_run(store, running.id).await;
        assert_eq!((running.state, running.cancel_requested.as_deref()), (RunState::Running, Some("a later firing replaced it")));
        assert_eq!(finish(store, end(&claimed, 1, Outcome::Cancelled)).await, Fenced::Done);
    }

    fn a_firing_cancels_no_other_jobs_runs(store) {
        add(store, resting(job("b"))).await;
        add(store, job("a")).await;
        store.add_run(run("b", 0, 1)).await.unwrap();
        let leased = lease(store, 0).await.remove(0);
        store.commit_firings(vec![FiringCommit { cancel: vec![run("b", 0, 1).id], ..commit(&leased, vec![], 60) }]).await.unwrap();
        assert_eq!(get_run(store, run("b", 0, 1).id).await.state, RunState::Queued);
    }

    fn the_next_due_instant_is_the_soonest_wake_up(store) {
        assert_eq!(store.next_due().await.unwrap(), None);
        for (id, wake) in [("a", Some(30)), ("b", Some(20)), ("c", None)] {
            add(store, Job { next_fire: wake.map(at), wake_at: wake.map(at), ..job(id) }).await;
        }
        assert_eq!(store.next_due().await.unwrap(), Some(at(20)));
    }

    fn a_leased_job_comes_due_again_when_its_lease_ends(store) {
        add(store, job("a")).await;
        lease(store, 0).await;
        assert_eq!(store.next_due().await.unwrap(), Some(at(10)));
    }

    fn the_next_due_instant_is_the_soonest_start(store) {
        add(store, resting(job("a"))).await;
        store.add_run(run("a", 40, 1)).await.unwrap();
        store.add_run(bellcage::job::Run { priority: 5, ..run("a", 50, 2) }).await.unwrap();
        assert_eq!(store.next_due().await.unwrap(), Some(at(40)));
    }

    fn runs_behind_a_full_job_do_not_come_due(store) {
        add(store, resting(job("a"))).await;
        for n in 1..=3 {
            store.add_run(run("a", 0, n)).await.unwrap();
        }
        let claimed = claim(store, 0, 10).await.remove(0);
        assert_eq!(store.next_due().await.unwrap(), Some(claimed.lease.until));
        store.add_run(run("a", 1, 4)).await.unwrap();
        assert_eq!(store.next_due().await.unwrap(), Some(claimed.lease.until));
        finish(store, end(&claimed, 2, Outcome::Succeeded)).await;
        assert_eq!(store.next_due().await.unwrap(), Some(at(0)));
    }
}
