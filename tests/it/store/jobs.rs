use bellcage::job::{Job, JobState, Outcome, Pause, RunState, SkipReason, TenantId};
use bellcage::store::{Fenced, JobFilter, OnConflict, PageRequest, Store, StoreError};
use bellcage::trigger::TriggerSpec;

use super::{
    add, at, claim, commit, end, finish, fire, first_page, get_job, get_run, job, job_with, key, lease, retry, rules, run, runs, skip, skipped, step, unbounded,
};

fn pause() -> Pause {
    Pause { since: at(5), reason: Some("maintenance".to_owned()), by: Some("eva".to_owned()), until: Some(at(50)) }
}

async fn list(store: &dyn Store, labels: &[(&str, &str)], page: PageRequest) -> (Vec<String>, Option<String>) {
    let labels = labels.iter().map(|(label, value)| (label.to_string(), value.to_string())).collect();
    let page = store.jobs(&JobFilter { labels, ..JobFilter::default() }, page).await.unwrap();
    (page.items.iter().map(|job| job.key.id.to_string()).collect(), page.next)
}

rules! {
    fn a_job_comes_back_as_it_was_added(store) {
        let job = Job {
            state: JobState::Unresolved("a reason".to_owned()),
            pause: Some(pause()),
            failures_in_row: 3,
            last_outcome: Some(Outcome::OutOfFuel),
            last_run_at: Some(at(-7)),
            ..job_with("a", |spec| {
                spec.args = serde_json::json!({ "day": "yesterday", "n": [1, null, 2.5] });
                spec.labels = [("team".to_owned(), "billing".to_owned())].into();
                spec.trigger = TriggerSpec::Manual;
            })
        };
        assert_eq!(store.add_job(job.clone(), OnConflict::Error).await.unwrap(), job);
        assert_eq!(get_job(store, "a").await, job);
    }

    fn an_id_that_exists_is_refused(store) {
        add(store, job("a")).await;
        let error = store.add_job(unbounded("a"), OnConflict::Error).await.unwrap_err();
        assert!(matches!(error, StoreError::JobExists(taken) if taken == key("a")));
        assert_eq!(get_job(store, "a").await, job("a"));
    }

    fn an_id_that_exists_is_kept(store) {
        add(store, job("a")).await;
        assert_eq!(store.add_job(unbounded("a"), OnConflict::Keep).await.unwrap(), job("a"));
        assert_eq!(get_job(store, "a").await, job("a"));
    }

    fn many_jobs_are_added_each_for_itself(store) {
        add(store, job("b")).await;
        let labelled = job_with("c", |spec| spec.labels = [("team".to_owned(), "billing".to_owned())].into());
        let jobs = [job("a"), unbounded("b"), unbounded("a"), labelled.clone()];
        let added = store.add_jobs(jobs.into(), OnConflict::Error).await.unwrap();
        assert!(matches!(&added[..], [Ok(_), Err(StoreError::JobExists(b)), Err(StoreError::JobExists(a)), Ok(_)] if *b == key("b") && *a == key("a")), "{added:?}");
        assert_eq!((added[0].as_ref().unwrap(), added[3].as_ref().unwrap()), (&job("a"), &labelled));
        assert_eq!([get_job(store, "a").await, get_job(store, "b").await, get_job(store, "c").await], [job("a"), job("b"), labelled]);
        assert_eq!(list(store, &[("team", "billing")], first_page(10)).await.0, ["c"]);
        assert_eq!(store.counts().await.unwrap().jobs, 3);
        assert_eq!(lease(store, 0).await.len(), 3);
    }

    fn of_many_jobs_those_that_exist_are_kept_or_replaced(store) {
        add(store, job("a")).await;
        let kept = store.add_jobs([unbounded("a"), job("b")].into(), OnConflict::Keep).await.unwrap();
        assert!(matches!(&kept[..], [Ok(a), Ok(b)] if *a == job("a") && *b == job("b")), "{kept:?}");
        let replaced = store.add_jobs([unbounded("a"), job("a"), job("c")].into(), OnConflict::Replace).await.unwrap();
        assert_eq!(replaced.into_iter().map(|job| job.unwrap().revision).collect::<Vec<_>>(), [2, 3, 1]);
        assert_eq!(get_job(store, "a").await, Job { revision: 3, ..job("a") });
    }

    fn no_jobs_are_added_without_fail(store) {
        assert!(store.add_jobs([].into(), OnConflict::Error).await.unwrap().is_empty());
    }

    fn a_replaced_job_keeps_its_history_and_with_its_trigger_its_next_firing(store) {
        add(store, Job { failures_in_row: 2, last_outcome: Some(Outcome::Failed), ..job("a") }).await;
        let wanted = Job { created_at: at(3), next_fire: Some(at(99)), wake_at: Some(at(99)), anchor: at(3), updated_at: at(3), ..unbounded("a") };
        let replaced = store.add_job(wanted, OnConflict::Replace).await.unwrap();
        let expected = Job { revision: 2, failures_in_row: 2, last_outcome: Some(Outcome::Failed), updated_at: at(3), ..unbounded("a") };
        assert_eq!(replaced, expected);
        assert_eq!(get_job(store, "a").await, expected);
    }

    fn a_replaced_job_with_another_trigger_counts_anew(store) {
        add(store, job("a")).await;
        let mut wanted = Job { next_fire: Some(at(99)), wake_at: Some(at(99)), anchor: at(3), ..job("a") };
        std::sync::Arc::make_mut(&mut wanted.spec).trigger = serde_json::from_value(serde_json::json!({ "every": "90s" })).unwrap();
        let replaced = store.add_job(wanted.clone(), OnConflict::Replace).await.unwrap();
        assert_eq!(replaced, Job { revision: 2, ..wanted });
    }

    fn an_update_raises_the_revision(store) {
        add(store, job("a")).await;
        let changed = Job { pause: Some(pause()), wake_at: Some(at(50)), ..unbounded("a") };
        let updated = store.update_job(changed.clone(), &job("a"), None).await.unwrap();
        assert_eq!(updated, Job { revision: 2, ..changed });
        assert_eq!(get_job(store, "a").await, updated);
    }

    fn an_update_of_a_job_that_moved_is_refused(store) {
        add(store, job("a")).await;
        store.update_job(unbounded("a"), &job("a"), None).await.unwrap();
        let owed = skip(SkipReason::Paused, None, 0, 1);
        let error = store.update_job(job("a"), &job("a"), Some(owed)).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict(of) if of == key("a")));
        assert_eq!(skipped(store, "a").await, []);
    }

    fn an_update_decided_before_a_firing_is_refused(store) {
        add(store, job("a")).await;
        let seen = get_job(store, "a").await;
        fire(store, "a", 0, vec![], 60).await;
        let error = store.update_job(Job { pause: Some(pause()), ..seen.clone() }, &seen, None).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict(_)));
        assert_eq!(get_job(store, "a").await.next_fire, Some(at(60)));
    }

    fn an_update_keeps_what_a_run_left_meanwhile(store) {
        add(store, job("a")).await;
        let seen = get_job(store, "a").await;
        store.add_run(run("a", 0, 1)).await.unwrap();
        let claimed = claim(store, 0, 1).await.remove(0);
        finish(store, end(&claimed, 3, Outcome::Failed)).await;
        let updated = store.update_job(Job { updated_at: at(4), ..seen.clone() }, &seen, None).await.unwrap();
        assert_eq!((updated.failures_in_row, updated.last_outcome, updated.last_run_at), (1, Some(Outcome::Failed), Some(at(0))));
        let resumed = store.update_job(Job { failures_in_row: 0, ..updated.clone() }, &updated, None).await.unwrap();
        assert_eq!(resumed.failures_in_row, 0);
    }

    fn an_update_records_what_was_skipped(store) {
        add(store, job("a")).await;
        let owed = skip(SkipReason::Paused, Some("maintenance"), 0, 30);
        store.update_job(unbounded("a"), &job("a"), Some(owed.clone())).await.unwrap();
        assert_eq!(skipped(store, "a").await, [owed]);
    }

    fn an_update_ends_the_lease(store) {
        add(store, job("a")).await;
        let leased = lease(store, 0).await.remove(0);
        store.update_job(Job { wake_at: Some(at(50)), ..job("a") }, &leased.job, None).await.unwrap();
        assert_eq!(store.commit_firings(vec![commit(&leased, vec![], 60)]).await.unwrap(), [Fenced::LeaseLost]);
        assert_eq!(get_job(store, "a").await.wake_at, Some(at(50)));
    }

    fn an_update_of_a_job_that_is_gone_says_so(store) {
        let error = store.update_job(job("a"), &job("a"), None).await.unwrap_err();
        assert_eq!(error.to_string(), "job \"a\" does not exist");
    }

    fn jobs_are_listed_by_id_in_pages(store) {
        for id in ["c", "a", "d", "b"] {
            add(store, job(id)).await;
        }
        let (ids, next) = list(store, &[], first_page(3)).await;
        assert_eq!(ids, ["a", "b", "c"]);
        let (ids, next) = list(store, &[], PageRequest { after: next, limit: 3 }).await;
        assert_eq!((ids.as_slice(), next), (["d".to_owned()].as_slice(), None));
    }

    fn a_page_that_holds_the_last_job_has_no_next(store) {
        add(store, job("a")).await;
        assert_eq!(list(store, &[], first_page(1)).await, (vec!["a".to_owned()], None));
    }

    fn a_limit_of_nothing_gives_one(store) {
        add(store, job("a")).await;
        add(store, job("b")).await;
        assert_eq!(list(store, &[], first_page(0)).await.0, ["a"]);
    }

    fn a_cursor_that_is_none_is_refused(store) {
        let error = store.jobs(&JobFilter::default(), PageRequest { after: Some("../x".to_owned()), limit: 1 }).await.unwrap_err();
        assert!(matches!(error, StoreError::Cursor { typed } if typed == "../x"));
    }

    fn jobs_are_filtered_by_every_label(store) {
        for (id, labels) in [("a", vec![("team", "x"), ("env", "prod")]), ("b", vec![("team", "x")]), ("c", vec![("team", "y"), ("env", "prod")]), ("d", vec![])] {
            add(store, job_with(id, |spec| spec.labels = labels.iter().map(|(l, v)| (l.to_string(), v.to_string())).collect())).await;
        }
        assert_eq!(list(store, &[("team", "x")], first_page(10)).await.0, ["a", "b"]);
        assert_eq!(list(store, &[("team", "x"), ("env", "prod")], first_page(10)).await.0, ["a"]);
        assert_eq!(list(store, &[("team", "x"), ("team", "y")], first_page(10)).await.0, Vec::<String>::new());
        let (ids, next) = list(store, &[("env", "prod")], first_page(1)).await;
        assert_eq!(ids, ["a"]);
        assert_eq!(list(store, &[("env", "prod")], PageRequest { after: next, limit: 1 }).await, (vec!["c".to_owned()], None));
    }

    fn a_replaced_job_has_its_new_labels_only(store) {
        let labelled = |value: &str| job_with("a", |spec| spec.labels = [("team".to_owned(), value.to_owned())].into());
        add(store, labelled("x")).await;
        store.add_job(labelled("y"), OnConflict::Replace).await.unwrap();
        assert_eq!(list(store, &[("team", "x")], first_page(10)).await.0, Vec::<String>::new());
        assert_eq!(list(store, &[("team", "y")], first_page(10)).await.0, ["a"]);
    }

    fn a_tenant_sees_no_other_tenants_jobs(store) {
        add(store, job("a")).await;
        let other = JobFilter { tenant: "other".parse().unwrap(), ..JobFilter::default() };
        assert_eq!(store.jobs(&other, first_page(10)).await.unwrap().items, []);
    }

    fn removing_a_job_ends_its_waiting_runs_and_leaves_the_running_ones(store) {
        add(store, job_with("a", |spec| spec.max_running = Some(1))).await;
        let (running, waiting, later) = (run("a", 0, 1), run("a", 0, 2), run("a", 30, 3));
        for run in [&running, &waiting, &later] {
            store.add_run(run.clone()).await.unwrap();
        }
        let claimed = claim(store, 0, 10).await.remove(0);
        assert_eq!(store.remove_job(&key("a"), at(5)).await.unwrap(), [waiting.id, later.id]);
        let ended = get_run(store, waiting.id).await;
        assert_eq!((ended.state, ended.outcome, ended.ended_at), (RunState::Ended, Some(Outcome::Cancelled), Some(at(5))));
        assert_eq!(ended.error.unwrap().message, "its job was removed");
        assert_eq!(get_run(store, running.id).await.state, RunState::Running);
        assert_eq!(finish(store, end(&claimed, 6, Outcome::Succeeded)).await, Fenced::Done);
        assert_eq!(get_run(store, running.id).await.outcome, Some(Outcome::Succeeded));
    }

    fn removing_a_job_twice_says_that_it_is_gone(store) {
        add(store, job("a")).await;
        store.remove_job(&key("a"), at(5)).await.unwrap();
        assert!(matches!(store.remove_job(&key("a"), at(5)).await, Err(StoreError::NotFound { .. })));
        assert!(matches!(store.job(&key("a")).await, Err(StoreError::NotFound { .. })));
        assert_eq!(store.counts().await.unwrap().jobs, 0);
    }

    fn history_outlives_its_job(store) {
        add(store, job("a")).await;
        store.add_run(run("a", 0, 1)).await.unwrap();
        fire(store, "a", 0, vec![bellcage::store::FiringStep::Skip(skip(SkipReason::Missed, None, 0, 0))], 60).await;
        store.remove_job(&key("a"), at(5)).await.unwrap();
        assert_eq!(runs(store, Default::default()).await, [run("a", 0, 1).id]);
        assert_eq!(skipped(store, "a").await.len(), 1);
    }

    fn the_lease_of_a_removed_job_commits_nothing_of_its_namesake(store) {
        add(store, job("a")).await;
        let leased = lease(store, 0).await.remove(0);
        store.remove_job(&key("a"), at(1)).await.unwrap();
        add(store, job("a")).await;
        let again = lease(store, 1).await.remove(0);
        assert!(again.lease.token > leased.lease.token);
        assert_eq!(store.commit_firings(vec![commit(&leased, vec![step(run("a", 0, 1))], 60)]).await.unwrap(), [Fenced::LeaseLost]);
        assert_eq!(store.commit_firings(vec![commit(&again, vec![], 60)]).await.unwrap(), [Fenced::Done]);
    }

    fn a_namesake_begins_anew_and_counts_what_still_runs(store) {
        add(store, Job { failures_in_row: 4, ..job("a") }).await;
        store.add_run(run("a", 0, 1)).await.unwrap();
        let claimed = claim(store, 0, 10).await.remove(0);
        store.remove_job(&key("a"), at(1)).await.unwrap();
        add(store, Job { created_at: at(2), ..job("a") }).await;
        assert_eq!(get_job(store, "a").await, Job { created_at: at(2), ..job("a") });
        store.add_run(run("a", 2, 2)).await.unwrap();
        assert_eq!(claim(store, 2, 10).await.len(), 0);
        finish(store, end(&claimed, 3, Outcome::Succeeded)).await;
        assert_eq!(claim(store, 3, 10).await.len(), 1);
    }

    fn a_retry_of_a_removed_jobs_run_is_its_end(store) {
        add(store, job("a")).await;
        store.add_run(run("a", 0, 1)).await.unwrap();
        let claimed = claim(store, 0, 10).await.remove(0);
        store.remove_job(&key("a"), at(1)).await.unwrap();
        finish(store, retry(&claimed, 3, 8)).await;
        let ended = get_run(store, claimed.run.id).await;
        assert_eq!((ended.state, ended.outcome), (RunState::Ended, Some(Outcome::Cancelled)));
        assert_eq!(store.attempts(&TenantId::default(), ended.id).await.unwrap().len(), 1);
        assert_eq!(store.counts().await.unwrap().runs_unfinished, 0);
    }
}
