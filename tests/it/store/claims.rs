use bellcage::job::{Cause, Isolation, Job, Outcome, Overlap, RateLimit, Run, RunState, SkipReason};
use bellcage::store::{AttemptEnd, CancelFound, ClaimedRun, Fenced, OnConflict, Renewed, RunClaim, Settled, Store};
use jiff::SignedDuration;

use super::{
    add, at, claim, end, finish, firing_run, get_job, get_run, ids, job, job_with, key, lease, owner, resting, retry, rules, run, skip, skipped, unbounded,
};

async fn add_runs(store: &dyn Store, runs: impl IntoIterator<Item = Run>) {
    for run in runs {
        store.add_run(run).await.unwrap();
    }
}

fn bounded(id: &str, most: u32) -> Job {
    resting(job_with(id, |spec| (spec.overlap, spec.max_running) = (Overlap::Queue, Some(most))))
}

/// Each of its attempts has a process of its own.
fn alone(id: &str) -> Job {
    job_with(id, |spec| (spec.overlap, spec.isolation) = (Overlap::Allow, Isolation::ProcessPerRun))
}

async fn claim_alone(store: &dyn Store, now: i64, max: usize, alone: usize) -> Vec<ClaimedRun> {
    store.claim_runs(RunClaim { owner: owner("a"), now: at(now), until: at(now + 10), max, alone }).await.unwrap()
}

fn limit(runs: u32, seconds: i64) -> Option<RateLimit> {
    Some(RateLimit { runs, per: SignedDuration::from_secs(seconds) })
}

/// With so many starts in so many seconds, and no other bound.
fn limited(id: &str, runs: u32, seconds: i64) -> Job {
    resting(job_with(id, |spec| (spec.overlap, spec.rate_limit) = (Overlap::Allow, limit(runs, seconds))))
}

async fn lost(store: &dyn Store, by: &str, now: i64) -> Vec<bellcage::store::ClaimedRun> {
    store.claim_lost(&owner(by), at(now), at(now + 10), 100).await.unwrap()
}

rules! {
    fn a_claimed_run_is_running_with_its_attempt_counted(store) {
        add(store, job("a")).await;
        add_runs(store, [run("a", 0, 1)]).await;
        let claimed = claim(store, 3, 10).await.remove(0);
        let expected = Run { state: RunState::Running, attempt: 1, started_at: Some(at(3)), ..run("a", 0, 1) };
        assert_eq!((&*claimed.run, &claimed.job, claimed.lease.until), (&expected, &job("a"), at(13)));
        assert_eq!(get_run(store, expected.id).await, expected);
        assert_eq!(claim(store, 3, 10).await.len(), 0);
    }

    fn runs_are_claimed_by_priority_then_by_start(store) {
        add(store, resting(unbounded("a"))).await;
        let with = |priority, start: i64, n| Run { priority, start_at: at(start), ..run("a", 0, n) };
        let made = [with(0, 1, 1), with(0, 0, 2), with(7, 2, 3), with(-7, 0, 4), with(7, 1, 5), with(9, 99, 6)];
        add_runs(store, made.clone()).await;
        let order = [4, 2, 1, 0, 3].map(|n| made[n].id);
        assert_eq!(ids(&claim(store, 10, 2).await), order[..2]);
        assert_eq!(ids(&claim(store, 10, 100).await), order[2..]);
    }

    fn a_run_is_not_claimed_before_its_start(store) {
        add(store, job("a")).await;
        add_runs(store, [run("a", 5, 1)]).await;
        assert_eq!(claim(store, 4, 10).await.len(), 0);
        assert_eq!(claim(store, 5, 10).await.len(), 1);
    }

    fn no_more_of_a_job_run_than_it_allows(store) {
        add(store, bounded("a", 2)).await;
        add(store, resting(job("b"))).await;
        add_runs(store, (1..=4).map(|n| run("a", 0, n)).chain([run("b", 1, 5)])).await;
        let first = claim(store, 1, 10).await;
        assert_eq!(ids(&first), [run("a", 0, 1).id, run("a", 0, 2).id, run("b", 1, 5).id]);
        assert_eq!(claim(store, 1, 10).await.len(), 0);
        finish(store, end(&first[0], 2, Outcome::Succeeded)).await;
        assert_eq!(ids(&claim(store, 2, 10).await), [run("a", 0, 3).id]);
    }

    fn a_place_goes_to_the_best_of_those_held_back(store) {
        add(store, bounded("a", 1)).await;
        add_runs(store, [run("a", 0, 1)]).await;
        let first = claim(store, 0, 10).await.remove(0);
        add_runs(store, [run("a", 1, 2), Run { priority: 3, ..run("a", 2, 3) }, run("a", 1, 4)]).await;
        assert_eq!(claim(store, 5, 10).await.len(), 0);
        finish(store, end(&first, 5, Outcome::Succeeded)).await;
        assert_eq!(ids(&claim(store, 5, 10).await), [run("a", 2, 3).id]);
    }

    fn a_place_is_not_kept_for_a_run_that_was_cancelled(store) {
        add(store, bounded("a", 1)).await;
        add_runs(store, (1..=3).map(|n| run("a", 0, n))).await;
        let first = claim(store, 0, 10).await.remove(0);
        finish(store, end(&first, 1, Outcome::Succeeded)).await;
        let tenant = Default::default();
        assert_eq!(store.cancel_run(&tenant, run("a", 0, 2).id, "no", at(1)).await.unwrap(), CancelFound::Ended);
        assert_eq!(ids(&claim(store, 1, 10).await), [run("a", 0, 3).id]);
    }

    fn a_job_allowed_more_starts_what_was_held_back(store) {
        add(store, bounded("a", 1)).await;
        add_runs(store, (1..=4).map(|n| run("a", 0, n))).await;
        assert_eq!(claim(store, 0, 10).await.len(), 1);
        let raised = store.add_job(bounded("a", 3), OnConflict::Replace).await.unwrap();
        assert_eq!(claim(store, 0, 10).await.len(), 2);
        store.update_job(resting(unbounded("a")), &raised, None).await.unwrap();
        assert_eq!(claim(store, 0, 10).await.len(), 1);
    }

    fn a_job_allowed_less_starts_no_more_until_enough_have_ended(store) {
        add(store, bounded("a", 3)).await;
        add_runs(store, (1..=4).map(|n| run("a", 0, n))).await;
        let running = claim(store, 0, 10).await;
        store.add_job(bounded("a", 1), OnConflict::Replace).await.unwrap();
        for (ended, claimable) in running.iter().zip([0, 0, 1]) {
            finish(store, end(ended, 1, Outcome::Succeeded)).await;
            assert_eq!(claim(store, 1, 10).await.len(), claimable);
        }
    }

    fn a_run_waiting_for_its_retry_leaves_its_place_to_others(store) {
        add(store, bounded("a", 1)).await;
        add_runs(store, [run("a", 0, 1), run("a", 0, 2)]).await;
        let first = claim(store, 0, 10).await.remove(0);
        finish(store, retry(&first, 1, 4)).await;
        let second = claim(store, 1, 10).await.remove(0);
        assert_eq!(second.run.id, run("a", 0, 2).id);
        assert_eq!(claim(store, 5, 10).await.len(), 0);
        finish(store, end(&second, 6, Outcome::Succeeded)).await;
        let again = claim(store, 6, 10).await.remove(0);
        assert_eq!((again.run.id, again.run.attempt, again.run.started_at), (first.run.id, 2, Some(at(0))));
        assert!(again.lease.token > first.lease.token);
    }

    fn a_claimed_retry_knows_the_error_and_the_receipt_before_it(store) {
        add(store, job("a")).await;
        add_runs(store, [run("a", 0, 1)]).await;
        let first = claim(store, 0, 10).await.remove(0);
        let ended = retry(&first, 1, 4);
        finish(store, ended.clone()).await;
        let again = claim(store, 4, 10).await.remove(0);
        let attempt = ended.attempt.unwrap();
        assert_eq!((again.run.error, again.run.receipt), (attempt.error, Some(attempt.receipt)));
    }

    fn a_renewed_lease_lasts_longer(store) {
        add(store, job("a")).await;
        add_runs(store, [run("a", 0, 1)]).await;
        let claimed = claim(store, 0, 10).await.remove(0);
        let runs = [(claimed.run.id, claimed.lease.token)];
        assert_eq!(store.renew_runs(&owner("a"), &runs, at(20)).await.unwrap(), Renewed::default());
        assert_eq!(lost(store, "b", 19).await.len(), 0);
        assert_eq!(lost(store, "b", 20).await.len(), 1);
    }

    fn a_lease_that_is_not_ours_is_not_renewed(store) {
        add(store, resting(unbounded("a"))).await;
        add_runs(store, (1..=3).map(|n| run("a", 0, n))).await;
        let claimed = claim(store, 0, 10).await;
        finish(store, end(&claimed[2], 1, Outcome::Succeeded)).await;
        let mut runs: Vec<_> = claimed.iter().map(|c| (c.run.id, c.lease.token)).collect();
        let lost = vec![runs[0].0, runs[1].0, runs[2].0];
        assert_eq!(store.renew_runs(&owner("b"), &runs, at(20)).await.unwrap().lost, lost);
        runs[0].1 += 100;
        assert_eq!(store.renew_runs(&owner("a"), &runs, at(20)).await.unwrap().lost, [lost[0], lost[2]]);
    }

    fn a_renewal_tells_who_is_to_be_cancelled(store) {
        add(store, job("a")).await;
        add_runs(store, [run("a", 0, 1)]).await;
        let claimed = claim(store, 0, 10).await.remove(0);
        let id = claimed.run.id;
        for reason in ["the first reason", "the second"] {
            assert_eq!(store.cancel_run(&Default::default(), id, reason, at(1)).await.unwrap(), CancelFound::Requested);
        }
        let renewed = store.renew_runs(&owner("a"), &[(id, claimed.lease.token)], at(20)).await.unwrap();
        assert_eq!(renewed, Renewed { lost: vec![], cancel: vec![(id, "the first reason".to_owned())] });
    }

    fn a_run_whose_lease_ended_is_claimed_as_lost_with_a_new_token(store) {
        add(store, job("a")).await;
        add_runs(store, [run("a", 0, 1)]).await;
        let claimed = claim(store, 0, 10).await.remove(0);
        assert_eq!(lost(store, "b", 9).await.len(), 0);
        let found = lost(store, "b", 10).await.remove(0);
        assert_eq!((&found.run, &found.job, found.lease.until), (&claimed.run, &claimed.job, at(20)));
        assert!(found.lease.token > claimed.lease.token);
        assert_eq!(lost(store, "c", 19).await.len(), 0);
    }

    fn lost_runs_are_claimed_oldest_lease_first_and_no_more_than_asked_for(store) {
        add(store, resting(unbounded("a"))).await;
        add_runs(store, [run("a", 0, 1), run("a", 1, 2), run("a", 2, 3)]).await;
        for now in 0..3 {
            claim(store, now, 1).await;
        }
        let found = store.claim_lost(&owner("b"), at(60), at(70), 2).await.unwrap();
        assert_eq!(ids(&found), [run("a", 0, 1).id, run("a", 1, 2).id]);
    }

    fn who_was_taken_for_dead_cannot_overwrite_its_successor(store) {
        add(store, job("a")).await;
        add_runs(store, [run("a", 0, 1)]).await;
        let first = claim(store, 0, 10).await.remove(0);
        let second = lost(store, "b", 10).await.remove(0);
        assert_eq!(finish(store, end(&first, 11, Outcome::Succeeded)).await, Fenced::LeaseLost);
        assert_eq!(get_run(store, first.run.id).await.state, RunState::Running);
        assert_eq!(finish(store, AttemptEnd { attempt: None, ..end(&second, 12, Outcome::Lost) }).await, Fenced::Done);
        assert_eq!(finish(store, end(&first, 13, Outcome::Succeeded)).await, Fenced::LeaseLost);
        assert_eq!(get_run(store, first.run.id).await.outcome, Some(Outcome::Lost));
        assert_eq!(get_job(store, "a").await.failures_in_row, 1);
    }

    fn a_late_outcome_counts_while_nobody_else_has_the_run(store) {
        add(store, job("a")).await;
        add_runs(store, [run("a", 0, 1)]).await;
        let claimed = claim(store, 0, 10).await.remove(0);
        assert_eq!(finish(store, end(&claimed, 99, Outcome::Succeeded)).await, Fenced::Done);
    }

    fn a_lost_run_of_a_removed_job_ends_as_lost(store) {
        add(store, job("a")).await;
        add_runs(store, [run("a", 0, 1)]).await;
        let claimed = claim(store, 0, 10).await.remove(0);
        store.remove_job(&key("a"), at(1)).await.unwrap();
        assert_eq!(lost(store, "b", 10).await.len(), 0);
        let run = get_run(store, claimed.run.id).await;
        assert_eq!((run.state, run.outcome, run.ended_at), (RunState::Ended, Some(Outcome::Lost), Some(at(10))));
        assert_eq!(finish(store, end(&claimed, 11, Outcome::Succeeded)).await, Fenced::LeaseLost);
        assert_eq!(store.counts().await.unwrap().runs_unfinished, 0);
    }

    fn a_claim_takes_no_more_runs_with_a_process_of_their_own_than_it_may_and_all_others(store) {
        for id in ["a", "b"] {
            add(store, resting(alone(id))).await;
        }
        add(store, resting(unbounded("c"))).await;
        let urgent = Run { priority: 1, ..run("b", 2, 3) };
        add_runs(store, [run("a", 0, 1), run("a", 1, 2), run("c", 3, 4), run("c", 3, 5), urgent.clone()]).await;
        let first = claim_alone(store, 3, 10, 1).await;
        assert_eq!(ids(&first), [urgent.id, run("c", 3, 4).id, run("c", 3, 5).id]);
        assert_eq!((claim_alone(store, 3, 10, 0).await.len(), store.next_due().await.unwrap()), (0, Some(at(13))));
        add_runs(store, [run("b", 3, 6)]).await;
        assert_eq!(ids(&claim_alone(store, 3, 10, 2).await), [run("a", 0, 1).id, run("a", 1, 2).id]);
        assert_eq!(ids(&claim_alone(store, 3, 10, 9).await), [run("b", 3, 6).id]);
    }

    fn a_job_that_needs_no_process_of_its_own_any_more_waits_for_none(store) {
        let before = resting(alone("a"));
        add(store, before.clone()).await;
        add_runs(store, [run("a", 0, 1)]).await;
        let backfills = (2..=4).map(|n| Run { cause: Cause::Backfill, backfill_max: Some(2), scheduled_at: at(-(n as i64)), ..run("a", 0, n) });
        assert_eq!(store.add_backfill(&key("a"), backfills.collect()).await.unwrap(), 3);
        assert_eq!(claim_alone(store, 0, 10, 0).await.len(), 0);
        let shared = Job { revision: 2, ..resting(unbounded("a")) };
        store.update_job(shared, &before, None).await.unwrap();
        assert_eq!(claim_alone(store, 0, 10, 0).await.len(), 3, "the run, and two backfills at once");
    }

    fn backfills_wait_for_a_process_of_their_own_too(store) {
        add(store, resting(alone("a"))).await;
        let backfill = |n| Run { cause: Cause::Backfill, backfill_max: Some(3), ..run("a", 0, n) };
        let runs: Vec<_> = (1..=3).map(|n| Run { scheduled_at: at(-(n as i64)), ..backfill(n) }).collect();
        assert_eq!(store.add_backfill(&key("a"), runs).await.unwrap(), 3);
        assert_eq!(claim_alone(store, 0, 10, 0).await.len(), 0);
        assert_eq!(claim_alone(store, 0, 10, 2).await.len(), 2);
        assert_eq!(claim_alone(store, 0, 10, 2).await.len(), 1);
    }

    fn the_next_server_ends_all_leases_of_others(store) {
        add(store, resting(unbounded("a"))).await;
        add(store, job("b")).await;
        add_runs(store, [run("a", 0, 1), run("a", 0, 2)]).await;
        let ours = store.claim_runs(RunClaim { owner: owner("b"), now: at(0), until: at(10), max: 1, alone: 1 }).await.unwrap();
        claim(store, 0, 1).await;
        lease(store, 0).await;
        assert_eq!(store.end_other_leases(&owner("b"), at(1)).await.unwrap(), 2);
        assert_eq!(ids(&lost(store, "b", 1).await), [run("a", 0, 2).id]);
        assert_eq!(lease(store, 1).await.len(), 1);
        assert_eq!(store.renew_runs(&owner("b"), &[(ours[0].run.id, ours[0].lease.token)], at(20)).await.unwrap(), Renewed::default());
        assert_eq!(store.end_other_leases(&owner("a"), at(99)).await.unwrap(), 0);
    }

    fn a_run_claimed_too_late_is_a_missed_firing_and_no_run(store) {
        add(store, bounded("a", 1)).await;
        add_runs(store, [firing_run("a", 0, 1), run("a", 1, 2)]).await;
        let claimed = claim(store, 9, 1).await.remove(0);
        let missed = skip(SkipReason::Missed, Some("it waited for a free slot"), 0, 0);
        let settled = Settled::Missed(missed.clone());
        assert_eq!(finish(store, AttemptEnd { attempt: None, settled, ..end(&claimed, 9, Outcome::Succeeded) }).await, Fenced::Done);
        assert!(store.run(&Default::default(), claimed.run.id).await.is_err());
        assert_eq!(skipped(store, "a").await, [missed]);
        assert_eq!(store.counts().await.unwrap().runs_unfinished, 1);
        assert_eq!(ids(&claim(store, 9, 1).await), [run("a", 1, 2).id]);
    }

    fn no_more_runs_of_a_job_start_in_a_window_than_its_rate_limit_allows(store) {
        add(store, limited("a", 2, 10)).await;
        add(store, resting(job("b"))).await;
        add_runs(store, (1..=5).map(|n| run("a", 0, n)).chain([run("b", 0, 9)])).await;
        let first = claim(store, 0, 10).await;
        assert_eq!(ids(&first), [run("a", 0, 1).id, run("a", 0, 2).id, run("b", 0, 9).id]);
        for claimed in &first {
            finish(store, end(claimed, 1, Outcome::Succeeded)).await;
        }
        assert_eq!((claim(store, 9, 10).await.len(), store.next_due().await.unwrap()), (0, Some(at(10))));
        assert_eq!(store.rate_opens_at(&key("a")).await.unwrap(), Some(at(10)));
        let second = claim(store, 12, 10).await;
        assert_eq!(ids(&second), [run("a", 0, 3).id, run("a", 0, 4).id]);
        assert_eq!(*second[0].run, Run { start_at: at(10), rate_limited: true, ..Run { state: RunState::Running, attempt: 1, started_at: Some(at(12)), ..run("a", 0, 3) } });
        assert_eq!((claim(store, 21, 10).await.len(), claim(store, 22, 10).await.len()), (0, 1));
    }

    fn a_retry_is_not_counted_by_the_rate_limit_nor_kept_by_it(store) {
        add(store, resting(job_with("a", |spec| (spec.rate_limit, spec.max_running) = (limit(1, 60), Some(1))))).await;
        add_runs(store, [run("a", 0, 1), Run { priority: 1, ..run("a", 1, 2) }]).await;
        let first = claim(store, 0, 10).await.remove(0);
        finish(store, retry(&first, 1, 2)).await;
        let again = claim(store, 2, 10).await;
        assert_eq!((ids(&again), again[0].run.attempt), (vec![first.run.id], 2), "the run of a higher priority waits, and leaves it the place");
        finish(store, end(&again[0], 3, Outcome::Succeeded)).await;
        assert_eq!((claim(store, 59, 10).await.len(), claim(store, 60, 10).await.len()), (0, 1));
    }

    fn a_run_that_the_window_lets_in_too_late_for_its_deadline_takes_no_place_in_it(store) {
        add(store, limited("a", 1, 10)).await;
        add_runs(store, [firing_run("a", 0, 1), firing_run("a", 1, 2)]).await;
        let missed = claim(store, 5, 1).await.remove(0);
        let settled = Settled::Missed(skip(SkipReason::Missed, None, 0, 0));
        finish(store, AttemptEnd { attempt: None, settled, ..end(&missed, 5, Outcome::Succeeded) }).await;
        assert_eq!(ids(&claim(store, 5, 1).await), [firing_run("a", 1, 2).id]);
    }

    fn a_rate_limit_that_is_raised_or_goes_holds_at_once(store) {
        add(store, limited("a", 1, 60)).await;
        add_runs(store, (1..=4).map(|n| run("a", 0, n))).await;
        assert_eq!((claim(store, 0, 10).await.len(), claim(store, 1, 10).await.len()), (1, 0));
        let raised = store.add_job(limited("a", 2, 60), OnConflict::Replace).await.unwrap();
        assert_eq!(claim(store, 1, 10).await.len(), 1);
        store.update_job(resting(unbounded("a")), &raised, None).await.unwrap();
        assert_eq!(claim(store, 1, 10).await.len(), 2);
        assert_eq!(store.rate_opens_at(&key("a")).await.unwrap(), None);
    }
}
