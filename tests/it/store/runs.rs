use bellcage::job::{AttemptLog, Job, Outcome, Pause, Run, RunError, RunResult, RunState, TenantId};
use bellcage::store::{AddedRun, AttemptEnd, CancelFound, Fenced, Settled, Store, StoreCounts, StoreError};

use super::{add, at, attempt, claim, commit, end, finish, firing_run, first_page, get_job, get_run, job, lease, resting, retry, rules, run, runs, unbounded};

async fn start(store: &dyn Store, job: Job) -> bellcage::store::ClaimedRun {
    let run = run(job.key.id.as_str(), 0, 1);
    add(store, job).await;
    store.add_run(run).await.unwrap();
    claim(store, 0, 1).await.remove(0)
}

rules! {
    fn a_run_comes_back_as_it_was_added(store) {
        add(store, job("a")).await;
        let run = Run {
            start_deadline: Some(at(77)),
            priority: -5,
            args: Some(serde_json::json!(["--day", "today"])),
            start_at: at(3),
            ..firing_run("a", 0, 1)
        };
        assert_eq!(store.add_run(run.clone()).await.unwrap(), run);
        assert_eq!(get_run(store, run.id).await, run);
    }

    fn a_run_of_a_job_that_is_gone_is_refused(store) {
        let error = store.add_run(run("a", 0, 1)).await.unwrap_err();
        assert_eq!(error.to_string(), "job \"a\" does not exist");
        assert_eq!(runs(store, Default::default()).await, []);
    }

    fn a_tenant_sees_no_other_tenants_run(store) {
        start(store, job("a")).await;
        let other: TenantId = "other".parse().unwrap();
        let id = run("a", 0, 1).id;
        for error in [
            store.run(&other, id).await.map(|_| ()).unwrap_err(),
            store.attempts(&other, id).await.map(|_| ()).unwrap_err(),
            store.cancel_run(&other, id, "", at(1)).await.map(|_| ()).unwrap_err(),
        ] {
            assert_eq!(error.to_string(), format!("run {id} does not exist"));
        }
    }

    fn an_ended_run_has_the_outcome_the_error_and_the_receipt_of_its_attempt(store) {
        let claimed = start(store, job("a")).await;
        let ended = end(&claimed, 3, Outcome::OutOfFuel);
        assert_eq!(finish(store, ended.clone()).await, Fenced::Done);
        let attempt = ended.attempt.unwrap();
        let expected = Run {
            state: RunState::Ended,
            outcome: Some(Outcome::OutOfFuel),
            ended_at: Some(at(3)),
            error: attempt.error.clone(),
            receipt: Some(attempt.receipt.clone()),
            ..*claimed.run
        };
        assert_eq!(get_run(store, expected.id).await, expected);
        assert_eq!(store.runs(&Default::default(), first_page(1)).await.unwrap().items, [expected]);
        assert_eq!(store.attempts(&TenantId::default(), run("a", 0, 1).id).await.unwrap(), [attempt]);
    }

    fn what_an_attempt_gave_back_and_wrote_is_kept(store) {
        add(store, unbounded("a")).await;
        let outputs = [
            (None, AttemptLog::default()),
            (Some(RunResult::Text(Vec::new())), AttemptLog::default()),
            (Some(RunResult::Text(vec![0xff, 0, b'x'])), AttemptLog { head: b"head".to_vec(), dropped: 7, tail: vec![0xfe] }),
            (Some(RunResult::Value(serde_json::json!({ "n": [1, 2.5, null] }))), AttemptLog::default()),
            (Some(RunResult::Value(serde_json::Value::Null)), AttemptLog { head: b"head".to_vec(), ..AttemptLog::default() }),
        ];
        for (n, (result, log)) in outputs.into_iter().enumerate() {
            store.add_run(run("a", 0, n as u64)).await.unwrap();
            let claimed = claim(store, 0, 1).await.remove(0);
            let kept = bellcage::job::Attempt { result, log, exit_code: None, ..attempt(&claimed, 1, Outcome::Succeeded) };
            finish(store, AttemptEnd { attempt: Some(kept.clone()), ..end(&claimed, 1, Outcome::Succeeded) }).await;
            assert_eq!(store.attempts(&TenantId::default(), claimed.run.id).await.unwrap(), [kept]);
        }
    }

    fn a_retried_run_waits_and_keeps_each_attempt(store) {
        let claimed = start(store, job("a")).await;
        let first = retry(&claimed, 3, 8);
        finish(store, first.clone()).await;
        let waiting = get_run(store, claimed.run.id).await;
        assert_eq!((waiting.state, waiting.start_at, waiting.attempt, waiting.outcome), (RunState::WaitingRetry, at(8), 1, None));
        assert_eq!(get_job(store, "a").await.last_outcome, None);
        let again = claim(store, 8, 1).await.remove(0);
        let second = end(&again, 9, Outcome::Succeeded);
        finish(store, second.clone()).await;
        let run = get_run(store, claimed.run.id).await;
        assert_eq!((run.error, run.receipt), (None, second.attempt.as_ref().map(|a| a.receipt.clone())));
        let attempts = store.attempts(&TenantId::default(), run.id).await.unwrap();
        assert_eq!(attempts, [first.attempt.unwrap(), second.attempt.unwrap()]);
    }

    fn what_an_attempt_saved_is_there_for_the_next_ones_until_the_run_ends(store) {
        let first = start(store, job("a")).await;
        assert_eq!(first.checkpoint, None);
        finish(store, AttemptEnd { checkpoint: Some(vec![0, 255]), ..retry(&first, 3, 8) }).await;
        let second = claim(store, 8, 1).await.remove(0);
        assert_eq!(second.checkpoint, Some(vec![0, 255]));
        // One that saves nothing leaves what there is, as does one that is lost.
        finish(store, retry(&second, 9, 10)).await;
        let third = claim(store, 10, 1).await.remove(0);
        let settled = Settled::Retry { at: at(12), lost: true };
        finish(store, AttemptEnd { attempt: None, settled, ..end(&third, 12, Outcome::Lost) }).await;
        let fourth = claim(store, 12, 1).await.remove(0);
        assert_eq!((third.checkpoint, fourth.checkpoint.clone()), (Some(vec![0, 255]), Some(vec![0, 255])));
        finish(store, AttemptEnd { checkpoint: Some(vec![1]), ..retry(&fourth, 13, 14) }).await;
        let fifth = claim(store, 14, 1).await.remove(0);
        assert_eq!(fifth.checkpoint, Some(vec![1]));
        finish(store, AttemptEnd { checkpoint: Some(vec![2]), ..end(&fifth, 15, Outcome::Succeeded) }).await;
    }

    fn a_run_that_is_cancelled_between_attempts_drops_what_was_saved(store) {
        let claimed = start(store, job("a")).await;
        finish(store, AttemptEnd { checkpoint: Some(vec![1]), ..retry(&claimed, 3, 8) }).await;
        store.cancel_run(&TenantId::default(), claimed.run.id, "enough", at(4)).await.unwrap();
        assert_eq!(get_run(store, claimed.run.id).await.outcome, Some(Outcome::Cancelled));
    }

    fn the_last_progress_of_an_attempt_is_kept(store) {
        let claimed = start(store, job("a")).await;
        let progress = Some(bellcage::job::Progress { fraction: Some(0.25), message: "1 of 4".to_owned() });
        let kept = bellcage::job::Attempt { progress, ..attempt(&claimed, 1, Outcome::Succeeded) };
        finish(store, AttemptEnd { attempt: Some(kept.clone()), ..end(&claimed, 1, Outcome::Succeeded) }).await;
        assert_eq!(store.attempts(&TenantId::default(), claimed.run.id).await.unwrap(), [kept]);
    }

    fn a_lost_attempt_without_a_record_is_counted(store) {
        let claimed = start(store, job("a")).await;
        let settled = Settled::Retry { at: at(20), lost: true };
        finish(store, AttemptEnd { attempt: None, settled, ..end(&claimed, 20, Outcome::Lost) }).await;
        let run = get_run(store, claimed.run.id).await;
        assert_eq!((run.attempt, run.lost_attempts, run.receipt, run.error), (1, 1, None, None));
        assert_eq!(store.attempts(&TenantId::default(), run.id).await.unwrap(), []);
    }

    fn an_attempt_ends_once(store) {
        let claimed = start(store, job("a")).await;
        let first = end(&claimed, 3, Outcome::Failed);
        let second = end(&claimed, 4, Outcome::Succeeded);
        assert_eq!(store.finish_attempts([first, second].into()).await.unwrap(), [Fenced::Done, Fenced::LeaseLost]);
        assert_eq!(get_run(store, claimed.run.id).await.outcome, Some(Outcome::Failed));
    }

    fn a_jobs_failures_in_a_row_end_with_a_success_and_ignore_cancellations(store) {
        add(store, unbounded("a")).await;
        let outcomes = [(Outcome::Failed, 1), (Outcome::Timeout, 2), (Outcome::Cancelled, 2), (Outcome::Lost, 3), (Outcome::Succeeded, 0)];
        for (n, (outcome, failures)) in outcomes.into_iter().enumerate() {
            store.add_run(run("a", n as i64, 0)).await.unwrap();
            let claimed = claim(store, n as i64, 1).await.remove(0);
            finish(store, end(&claimed, 50 + n as i64, outcome)).await;
            let job = get_job(store, "a").await;
            assert_eq!((job.failures_in_row, job.last_outcome, job.last_run_at), (failures, Some(outcome), Some(at(n as i64))));
        }
    }

    fn an_outcome_may_pause_its_job(store) {
        let claimed = start(store, job("a")).await;
        let leased = lease(store, 0).await.remove(0);
        let pause = Pause { since: at(3), reason: Some("too many".to_owned()), by: Some("bellcage".to_owned()), until: None };
        finish(store, AttemptEnd { pause_job: Some(pause.clone()), ..end(&claimed, 3, Outcome::Failed) }).await;
        let paused = get_job(store, "a").await;
        assert_eq!((paused.pause, paused.wake_at, paused.next_fire), (Some(pause), None, Some(at(0))));
        assert_eq!(store.commit_firings(vec![commit(&leased, vec![], 60)]).await.unwrap(), [Fenced::LeaseLost]);
    }

    fn an_outcome_does_not_change_a_pause(store) {
        let pause = Pause { since: at(0), reason: None, by: Some("eva".to_owned()), until: Some(at(40)) };
        let claimed = start(store, Job { pause: Some(pause.clone()), wake_at: Some(at(40)), ..job("a") }).await;
        let ours = Pause { since: at(3), reason: None, by: Some("bellcage".to_owned()), until: None };
        finish(store, AttemptEnd { pause_job: Some(ours), ..end(&claimed, 3, Outcome::Failed) }).await;
        let job = get_job(store, "a").await;
        assert_eq!((job.pause, job.wake_at), (Some(pause), Some(at(40))));
    }

    fn a_waiting_run_that_is_cancelled_has_ended(store) {
        add(store, job("a")).await;
        store.add_run(run("a", 0, 1)).await.unwrap();
        let id = run("a", 0, 1).id;
        assert_eq!(store.cancel_run(&TenantId::default(), id, "not needed", at(4)).await.unwrap(), CancelFound::Ended);
        let error = RunError { code: "cancelled".to_owned(), message: "not needed".to_owned(), ..RunError::default() };
        let expected = Run { state: RunState::Ended, outcome: Some(Outcome::Cancelled), ended_at: Some(at(4)), error: Some(error), ..run("a", 0, 1) };
        assert_eq!(get_run(store, id).await, expected);
        assert_eq!(store.cancel_run(&TenantId::default(), id, "again", at(5)).await.unwrap(), CancelFound::AlreadyEnded);
        assert_eq!(claim(store, 9, 1).await.len(), 0);
    }

    fn a_running_run_that_is_cancelled_is_asked_to_stop(store) {
        let claimed = start(store, job("a")).await;
        let id = claimed.run.id;
        assert_eq!(store.cancel_run(&TenantId::default(), id, "not needed", at(4)).await.unwrap(), CancelFound::Requested);
        let asked = get_run(store, id).await;
        assert_eq!((asked.state, asked.cancel_requested.as_deref()), (RunState::Running, Some("not needed")));
        finish(store, end(&claimed, 5, Outcome::Cancelled)).await;
        assert_eq!(get_run(store, id).await.cancel_requested, None);
    }

    fn a_run_asked_to_stop_is_not_retried(store) {
        let claimed = start(store, job("a")).await;
        store.cancel_run(&TenantId::default(), claimed.run.id, "not needed", at(4)).await.unwrap();
        finish(store, retry(&claimed, 5, 9)).await;
        let run = get_run(store, claimed.run.id).await;
        assert_eq!((run.state, run.outcome, run.error.unwrap().message.as_str()), (RunState::Ended, Some(Outcome::Cancelled), "not needed"));
        assert_eq!(store.attempts(&TenantId::default(), run.id).await.unwrap().len(), 1);
    }

    fn a_run_that_does_not_exist_is_not_cancelled(store) {
        assert!(matches!(store.cancel_run(&TenantId::default(), run("a", 0, 1).id, "", at(0)).await, Err(StoreError::NotFound { .. })));
    }

    fn counts_follow_what_is_added_and_what_ends(store) {
        let counts = |jobs, runs_unfinished| StoreCounts { jobs, runs_unfinished };
        assert_eq!(store.counts().await.unwrap(), counts(0, 0));
        let claimed = start(store, job("a")).await;
        add(store, job("b")).await;
        store.add_run(run("b", 0, 2)).await.unwrap();
        assert_eq!(store.counts().await.unwrap(), counts(2, 2));
        finish(store, end(&claimed, 1, Outcome::Succeeded)).await;
        assert_eq!(store.counts().await.unwrap(), counts(2, 1));
    }

    fn a_run_of_a_key_is_made_once_until_it_has_ended(store) {
        add(store, resting(unbounded("a"))).await;
        add(store, resting(unbounded("b"))).await;
        let keyed = |id: &str, n| Run { key: Some("once".parse().unwrap()), ..run(id, i64::try_from(n).unwrap(), n) };
        let first = keyed("a", 1);
        assert_eq!(store.add_run_once(first.clone(), None).await.unwrap(), AddedRun { run: first.clone(), new: true });
        let other = Run { key: Some("other".parse().unwrap()), ..run("a", 1, 9) };
        assert!(store.add_run_once(other, None).await.unwrap().new);
        assert!(store.add_run_once(keyed("b", 1), None).await.unwrap().new, "a key is the job's own");
        assert_eq!(store.add_run_once(keyed("a", 2), None).await.unwrap(), AddedRun { run: first.clone(), new: false });
        store.cancel_run(&TenantId::default(), first.id, "no", at(3)).await.unwrap();
        assert!(store.add_run_once(keyed("a", 4), None).await.unwrap().new);
        assert!(store.add_run_once(run("a", 1, 10), None).await.unwrap().new && store.add_run_once(run("a", 1, 11), None).await.unwrap().new);
    }

    fn a_run_of_a_key_is_made_once_within_its_window_ended_or_not(store) {
        add(store, resting(unbounded("a"))).await;
        let keyed = |n: u64| Run { key: Some("once".parse().unwrap()), ..run("a", i64::try_from(n).unwrap(), n) };
        store.add_run_once(keyed(1), None).await.unwrap();
        let claimed = claim(store, 2, 1).await.remove(0);
        finish(store, end(&claimed, 2, Outcome::Succeeded)).await;
        let found = store.add_run_once(keyed(3), Some(at(1))).await.unwrap();
        assert_eq!((found.run, found.new), (get_run(store, keyed(1).id).await, false));
        assert!(store.add_run_once(keyed(4), Some(at(2))).await.unwrap().new);
    }

    fn of_a_missing_job_no_run_is_made_once(store) {
        assert!(matches!(store.add_run_once(run("a", 0, 1), None).await, Err(StoreError::NotFound { .. })));
    }

    fn a_run_on_demand_at_a_time_to_come_is_in_no_firings_way(store) {
        add(store, unbounded("a")).await;
        let made = [Run { start_at: at(5), ..run("a", 0, 1) }, run("a", 0, 2), Run { start_at: at(5), ..firing_run("a", -5, 3) }];
        for run in &made {
            store.add_run(run.clone()).await.unwrap();
        }
        let leased = lease(store, 0).await.remove(0);
        assert_eq!((leased.unfinished.iter().map(|u| u.run).collect::<Vec<_>>(), leased.unfinished_count), (vec![made[2].id, made[1].id], 2));
    }
}
