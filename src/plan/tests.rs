use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::job::{After, Cause, Job, JobKey, JobSpec, JobState, Outcome, Pause, RetryAdvice, Run, RunId, SkipReason, Skipped, TenantId, UpstreamEnd};
use crate::trigger::{Exclusions, Salt, Trigger};

const T0: i64 = 1_800_000_000;

/// `seconds` after the instant at which the jobs of these tests are added.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(T0 + seconds).unwrap()
}

fn key() -> JobKey {
    JobKey { tenant: TenantId::default(), id: "nightly".parse().unwrap() }
}

fn compile(spec: &JobSpec, anchor: Timestamp) -> Trigger {
    spec.trigger.clone().anchored(anchor).compile(Salt { tenant: "default", job: "nightly" }).unwrap()
}

/// A job added at `at(0)`, every 10 s from then on unless `fields` say otherwise, and its trigger.
fn job(fields: Value) -> (Job, Trigger) {
    let mut spec = json!({ "component": "reports", "trigger": { "every": "10s" } });
    spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let spec: JobSpec = serde_json::from_value(spec).unwrap();
    let trigger = compile(&spec, at(0));
    (create(key(), spec, &trigger, at(0)), trigger)
}

fn fire_with(job: &Job, trigger: &Trigger, unfinished: &[RunId], now: i64) -> Firing {
    fire(Due { job, trigger, calendars: &[], unfinished, unfinished_count: unfinished.len() as u64, after: None }, at(now))
}

fn runs(firing: &Firing) -> Vec<&Run> {
    firing.steps.iter().filter_map(|s| if let Step::Run(run) = s { Some(&**run) } else { None }).collect()
}

/// Scheduled instants of the runs, in seconds.
fn run_times(firing: &Firing) -> Vec<i64> {
    runs(firing).iter().map(|r| r.scheduled_at.as_second() - T0).collect()
}

/// Reason, count, first and last of each record.
fn skips(firing: &Firing) -> Vec<(SkipReason, u64, i64, i64)> {
    skipped(firing).iter().map(|s| (s.reason, s.count, s.first.as_second() - T0, s.last.as_second() - T0)).collect()
}

fn skipped(firing: &Firing) -> Vec<&Skipped> {
    firing.steps.iter().filter_map(|s| if let Step::Skip(skip) = s { Some(skip) } else { None }).collect()
}

fn run_id(n: u128) -> RunId {
    RunId(uuid::Uuid::from_u128(n))
}

// --- fire

#[test]
fn a_job_due_on_time_makes_one_run_and_moves_to_the_next_instant() {
    let (job, trigger) = job(json!({}));
    assert_eq!(job.next_fire, Some(at(10)), "the first firing is one interval after the job was added");
    let firing = fire_with(&job, &trigger, &[], 10);
    assert_eq!((run_times(&firing), skips(&firing)), (vec![10], vec![]));
    assert_eq!((firing.next_fire, firing.wake_at, firing.state), (Some(at(20)), Some(at(20)), JobState::Active));
}

#[test]
fn of_several_due_the_latest_runs_and_the_others_are_coalesced() {
    let (job, trigger) = job(json!({}));
    let firing = fire_with(&job, &trigger, &[], 47);
    assert_eq!((run_times(&firing), skips(&firing)), (vec![40], vec![(SkipReason::Coalesced, 3, 10, 30)]));
    assert_eq!(firing.next_fire, Some(at(50)));
}

#[test]
fn with_earliest_the_first_in_time_runs_for_the_others() {
    let (job, trigger) = job(json!({ "coalesce": "earliest" }));
    let firing = fire_with(&job, &trigger, &[], 47);
    assert_eq!((run_times(&firing), skips(&firing)), (vec![10], vec![(SkipReason::Coalesced, 3, 20, 40)]));
}

#[test]
fn with_all_each_runs_in_order_and_past_the_cap_the_oldest_are_missed() {
    let (job, trigger) = job(json!({ "coalesce": "all", "catch_up_max": 3 }));
    let firing = fire_with(&job, &trigger, &[], 30);
    assert_eq!((run_times(&firing), skips(&firing)), (vec![10, 20, 30], vec![]));
    let firing = fire_with(&job, &trigger, &[], 60);
    assert_eq!((run_times(&firing), skips(&firing)), (vec![40, 50, 60], vec![(SkipReason::Missed, 3, 10, 30)]));
}

#[test]
fn later_than_its_grace_a_firing_is_missed() {
    let (job, trigger) = job(json!({ "misfire_grace": "15s" }));
    let firing = fire_with(&job, &trigger, &[], 47);
    assert_eq!((run_times(&firing), skips(&firing)), (vec![40], vec![(SkipReason::Missed, 3, 10, 30)]));
    assert_eq!(runs(&firing)[0].start_deadline, Some(at(55)));

    let (job, trigger) = self::job(json!({ "misfire_grace": "3s" }));
    let firing = fire_with(&job, &trigger, &[], 47);
    assert_eq!((run_times(&firing), skips(&firing)), (vec![], vec![(SkipReason::Missed, 4, 10, 40)]));
    assert_eq!(firing.next_fire, Some(at(50)), "what is missed is not looked at again");
}

#[test]
fn a_grace_of_zero_still_allows_the_schedulers_own_resolution() {
    let (job, trigger) = job(json!({ "misfire_grace": "0s" }));
    assert_eq!(run_times(&fire_with(&job, &trigger, &[], 11)), [10]);
    assert_eq!(skips(&fire_with(&job, &trigger, &[], 12)), [(SkipReason::Missed, 1, 10, 10)]);
}

#[test]
fn a_year_of_a_one_second_job_is_two_steps() {
    let (job, trigger) = job(json!({ "trigger": { "every": "1s" } }));
    let firing = fire_with(&job, &trigger, &[], 365 * 86_400);
    assert_eq!(firing.steps.len(), 2);
    assert_eq!(skips(&firing), [(SkipReason::Coalesced, 365 * 86_400 - 1, 1, 365 * 86_400 - 1)]);
}

#[test]
fn a_run_in_the_way_is_named_where_overlap_skips() {
    let (job, trigger) = job(json!({}));
    let firing = fire_with(&job, &trigger, &[run_id(7)], 10);
    assert_eq!((run_times(&firing), skips(&firing)), (vec![], vec![(SkipReason::Skipped, 1, 10, 10)]));
    assert_eq!(skipped(&firing)[0].detail.as_deref(), Some(format!("run {} was in the way", run_id(7)).as_str()));
}

#[test]
fn skip_with_max_running_looks_at_the_number() {
    let (job, trigger) = job(json!({ "max_running": 2 }));
    assert_eq!(run_times(&fire_with(&job, &trigger, &[run_id(7)], 10)), [10]);
    assert!(run_times(&fire_with(&job, &trigger, &[run_id(7), run_id(8)], 10)).is_empty());
}

#[test]
fn a_queue_is_filled_to_its_bound_and_the_rest_is_skipped() {
    let (job, trigger) = job(json!({ "overlap": "queue", "queue_max": 2, "coalesce": "all" }));
    let firing = fire_with(&job, &trigger, &[run_id(7), run_id(8)], 30);
    assert_eq!((run_times(&firing), skips(&firing)), (vec![10], vec![(SkipReason::Skipped, 2, 20, 30)]));
}

#[test]
fn cancel_running_cancels_what_is_unfinished_and_runs_the_newest() {
    let (job, trigger) = job(json!({ "overlap": "cancel-running", "coalesce": "all" }));
    let firing = fire_with(&job, &trigger, &[run_id(7)], 30);
    assert_eq!((run_times(&firing), firing.cancel.clone()), (vec![30], vec![run_id(7)]));
    assert_eq!(skips(&firing), [(SkipReason::Coalesced, 2, 10, 20)]);
}

#[test]
fn allow_lets_runs_go_side_by_side() {
    let (job, trigger) = job(json!({ "overlap": "allow" }));
    assert_eq!(run_times(&fire_with(&job, &trigger, &[run_id(7), run_id(8), run_id(9)], 10)), [10]);
}

#[test]
fn a_paused_job_makes_nothing_and_keeps_its_next_firing() {
    let (job, trigger) = job(json!({}));
    let paused = pause(&job, Pause { since: at(5), reason: None, by: None, until: Some(at(35)) }, at(5));
    assert_eq!((paused.wake_at, paused.next_fire), (Some(at(35)), Some(at(10))));
    let firing = fire_with(&paused, &trigger, &[], 20);
    assert_eq!((firing.steps, firing.next_fire, firing.wake_at), (vec![], Some(at(10)), Some(at(35))));
}

#[test]
fn a_pause_that_ended_is_accounted_for_up_to_its_end() {
    let (job, trigger) = job(json!({}));
    let paused = pause(&job, Pause { since: at(5), reason: Some("freeze".to_owned()), by: None, until: Some(at(35)) }, at(5));
    let firing = fire_with(&paused, &trigger, &[], 41);
    assert_eq!((run_times(&firing), skips(&firing)), (vec![40], vec![(SkipReason::Paused, 3, 10, 30)]));
    assert_eq!((firing.pause, firing.next_fire), (None, Some(at(50))));
}

#[test]
fn a_job_whose_trigger_ended_is_finished() {
    let (job, trigger) = job(json!({ "trigger": { "at": at(10).to_string() } }));
    let firing = fire_with(&job, &trigger, &[], 12);
    assert_eq!((run_times(&firing), firing.next_fire, firing.wake_at, firing.state), (vec![10], None, None, JobState::Finished));
}

#[test]
fn a_clock_that_stepped_back_fires_nothing_and_forgets_nothing() {
    let (job, trigger) = job(json!({}));
    let after = Job { next_fire: Some(at(20)), wake_at: Some(at(20)), ..job };
    let firing = fire_with(&after, &trigger, &[], -3590);
    assert_eq!((firing.steps, firing.next_fire), (vec![], Some(at(20))));
}

#[test]
fn the_same_decision_taken_twice_names_the_same_run() {
    let (job, trigger) = job(json!({}));
    assert_eq!(fire_with(&job, &trigger, &[], 10), fire_with(&job, &trigger, &[], 10));
    let other = Job { created_at: at(1), ..job.clone() };
    assert_ne!(runs(&fire_with(&job, &trigger, &[], 10))[0].id, runs(&fire_with(&other, &trigger, &[], 10))[0].id);
}

#[test]
fn jitter_moves_the_start_and_nothing_else() {
    let (job, trigger) = job(json!({ "jitter": "4s", "misfire_grace": "2s", "trigger": { "every": "3s" } }));
    let starts: Vec<_> = (1..50)
        .map(|n| {
            let due = Job { next_fire: Some(at(3 * n)), ..job.clone() };
            let firing = fire_with(&due, &trigger, &[], 3 * n);
            let run = runs(&firing)[0].clone();
            assert_eq!((run.scheduled_at, run.start_deadline), (at(3 * n), Some(at(3 * n + 6))));
            run.start_at.duration_since(run.scheduled_at)
        })
        .collect();
    let most = SignedDuration::from_secs(3);
    assert!(starts.iter().all(|&d| d >= SignedDuration::ZERO && d <= most), "never past the next firing: {starts:?}");
    assert!(starts.iter().any(|&d| d > SignedDuration::ZERO && d < most), "spread: {starts:?}");
}

fn fire_within(calendars: Value, job: &Job, trigger: &Trigger, now: i64) -> Firing {
    let named = calendars.as_object().unwrap().iter().map(|(name, exclude)| {
        let calendar: Exclusions = serde_json::from_value(json!({ "exclude": exclude })).unwrap();
        (name.clone(), calendar.compile().unwrap())
    });
    let calendars: Vec<_> = named.collect();
    fire(Due { job, trigger, calendars: &calendars, unfinished: &[], unfinished_count: 0, after: None }, at(now))
}

fn window(from: i64, to: i64) -> Value {
    json!({ "from": at(from).to_string(), "to": at(to).to_string() })
}

#[test]
fn a_firing_within_a_calendar_makes_no_run_and_says_whose() {
    let (job, trigger) = job(json!({}));
    let firing = fire_within(json!({ "holidays": [window(5, 15)] }), &job, &trigger, 10);
    assert_eq!((run_times(&firing), skips(&firing)), (vec![], vec![(SkipReason::Skipped, 1, 10, 10)]));
    assert_eq!(skipped(&firing)[0].detail.as_deref(), Some("calendar holidays"));
    assert_eq!(firing.next_fire, Some(at(20)), "the next one is looked at when it comes");
}

#[test]
fn a_window_ends_before_its_end() {
    let (job, trigger) = job(json!({}));
    assert_eq!(run_times(&fire_within(json!({ "freeze": [window(5, 10)] }), &job, &trigger, 10)), [10]);
    assert_eq!(run_times(&fire_within(json!({ "freeze": [window(10, 11)] }), &job, &trigger, 10)), Vec::<i64>::new());
}

#[test]
fn after_downtime_only_what_is_open_is_coalesced_or_run() {
    let (job, trigger) = job(json!({}));
    let firing = fire_within(json!({ "a": [window(15, 35)], "b": [window(30, 55)] }), &job, &trigger, 75);
    assert_eq!(run_times(&firing), [70]);
    // 10 and 60 are open, 20 and 30 fall into a, which is met first, 40 and 50 into what b goes on with.
    assert_eq!(skips(&firing), [(SkipReason::Coalesced, 2, 10, 60), (SkipReason::Skipped, 2, 20, 30), (SkipReason::Skipped, 2, 40, 50)]);
}

#[test]
fn a_long_downtime_with_a_calendar_of_nights_is_looked_at_within_bounds() {
    let (job, trigger) = job(json!({ "trigger": { "every": "1h" } }));
    let firing = fire_within(json!({ "nights": [{ "daily": "22:00-06:00" }] }), &job, &trigger, 10 * 365 * 86_400);
    let count = |reason| skipped(&firing).iter().filter(|s| s.reason == reason).map(|s| s.count).sum::<u64>();
    assert_eq!(count(SkipReason::Missed) + count(SkipReason::Skipped) + count(SkipReason::Coalesced) + runs(&firing).len() as u64, 10 * 365 * 24);
    assert!(firing.steps.len() <= 1_010, "{}", firing.steps.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// The first promise: whatever the policies, every instant that came due is a run or is counted in a record, once.
    #[test]
    fn every_instant_that_came_due_is_accounted_for_once(
        every in 1_i64..40,
        late in 0_i64..3_000,
        coalesce in prop::sample::select(vec!["latest", "earliest", "all"]),
        overlap in prop::sample::select(vec!["skip", "queue", "cancel-running", "allow"]),
        grace in prop::option::of(0_i64..200),
        jitter in 0_i64..20,
        cap in 1_u32..12,
        queue_max in 1_u32..5,
        unfinished in 0_usize..8,
        pause_until in prop::option::of(0_i64..4_000),
        windows in prop::collection::vec((0_i64..3_000, 1_i64..300), 0..6),
    ) {
        let mut fields = json!({
            "trigger": { "every": format!("{every}s") }, "coalesce": coalesce, "overlap": overlap, "catch_up_max": cap, "queue_max": queue_max, "jitter": format!("{jitter}s"),
        });
        if let Some(grace) = grace {
            fields["misfire_grace"] = format!("{grace}s").into();
        }
        let (mut job, trigger) = job(fields);
        job.pause = pause_until.map(|until| Pause { since: at(0), reason: None, by: None, until: Some(at(until)) });
        let unfinished: Vec<_> = (0..unfinished as u128).map(run_id).collect();
        let now = every + late;
        let exclude: Vec<_> = windows.iter().map(|(from, length)| window(*from, from + length)).collect();
        let calendar: Exclusions = serde_json::from_value(json!({ "exclude": exclude })).unwrap();
        let calendars = [("freeze".to_owned(), calendar.compile().unwrap())];
        let firing = fire(Due { job: &job, trigger: &trigger, calendars: &calendars, unfinished: &unfinished, unfinished_count: unfinished.len() as u64, after: None }, at(now));

        for run in runs(&firing) {
            let second = run.scheduled_at.as_second() - T0;
            prop_assert!(!windows.iter().any(|(from, length)| (*from..from + length).contains(&second)), "{second} is left out");
        }
        let accounted = runs(&firing).len() as u64 + skipped(&firing).iter().map(|s| s.count).sum::<u64>();
        let still_paused = pause_until.is_some_and(|until| until > now);
        let due = if still_paused { 0 } else { (now / every) as u64 };
        prop_assert_eq!(accounted, due);
        prop_assert!(runs(&firing).len() <= cap.max(1) as usize);
        let next = if still_paused { Some(at(every)) } else { trigger.next_after(at(now)) };
        prop_assert_eq!(firing.next_fire, next);
        // In order of time.
        let firsts: Vec<_> = firing.steps.iter().map(|step| match step {
            Step::Run(run) => run.scheduled_at,
            Step::Skip(skip) => skip.first,
        }).collect();
        prop_assert!(firsts.is_sorted());
    }
}

// --- fire, after other jobs

/// A job that follows these, and the firing of what came in: job, outcome, second.
fn follow(fields: Value, arrived: &[(&str, Outcome, i64)], now: i64) -> Firing {
    let (job, trigger) = job(fields);
    fire_after(&job, &trigger, &[], arrived, now)
}

fn fire_after(job: &Job, trigger: &Trigger, unfinished: &[RunId], arrived: &[(&str, Outcome, i64)], now: i64) -> Firing {
    let after = After::read(&job.spec.trigger).unwrap().unwrap();
    let end =
        |(n, &(job, outcome, t)): (usize, &(&str, Outcome, i64))| UpstreamEnd { job: job.parse().unwrap(), run: run_id(n as u128), outcome, ended_at: at(t) };
    let arrived: Vec<_> = arrived.iter().enumerate().map(end).collect();
    let after = Some(Ends { after: &after, arrived: &arrived });
    fire(Due { job, trigger, calendars: &[], unfinished, unfinished_count: unfinished.len() as u64, after }, at(now))
}

/// The upstream runs of each run, by their numbers.
fn upstream(firing: &Firing) -> Vec<Vec<u128>> {
    runs(firing).iter().map(|run| run.upstream.iter().map(|end| end.run.0.as_u128()).collect()).collect()
}

const OK: Outcome = Outcome::Succeeded;

#[test]
fn a_job_after_another_runs_when_that_has_succeeded_and_names_the_run() {
    let firing = follow(json!({ "trigger": { "after": ["a"] } }), &[("a", OK, 5)], 6);
    let run = runs(&firing)[0];
    assert_eq!((run.cause, run.scheduled_at, run.start_at), (Cause::After, at(5), at(5)));
    assert_eq!((upstream(&firing), firing.consumed), (vec![vec![0]], vec![0]));
    assert_eq!((firing.next_fire, firing.wake_at, firing.state), (None, None, JobState::Active), "it never finishes");
}

#[test]
fn an_end_that_does_not_count_is_consumed_without_a_trace() {
    let firing = follow(json!({ "trigger": { "after": ["a"], "on": ["failed", "timeout"] } }), &[("a", OK, 5), ("z", Outcome::Failed, 6)], 6);
    assert_eq!((firing.steps, firing.consumed), (vec![], vec![0, 1]));
}

#[test]
fn with_all_each_upstream_job_must_have_ended_since_the_last_firing() {
    let all = json!({ "trigger": { "after": ["a", "b"] }, "coalesce": "all" });
    let firing = follow(all.clone(), &[("a", OK, 1), ("a", OK, 2), ("b", OK, 3), ("b", OK, 4)], 5);
    assert_eq!((upstream(&firing), run_times(&firing)), (vec![vec![1, 2]], vec![3]));
    assert_eq!(firing.consumed, [0, 1, 2], "the second end of b waits for the next of a");
    let firing = follow(all, &[("b", OK, 4), ("a", Outcome::Failed, 5), ("a", OK, 6)], 7);
    assert_eq!((upstream(&firing), run_times(&firing)), (vec![vec![0, 2]], vec![6]));
}

#[test]
fn with_any_each_end_is_a_firing_and_they_coalesce_like_others() {
    let arrived = [("a", OK, 1), ("b", OK, 2), ("a", OK, 3)];
    let fired = |coalesce: &str| follow(json!({ "trigger": { "after": ["a", "b"], "join": "any" }, "coalesce": coalesce }), &arrived, 5);
    assert_eq!(run_times(&fired("all")), [1, 2, 3]);
    let firing = fired("latest");
    assert_eq!((run_times(&firing), skips(&firing)), (vec![3], vec![(SkipReason::Coalesced, 2, 1, 2)]));
    let firing = fired("earliest");
    assert_eq!((run_times(&firing), skips(&firing)), (vec![1], vec![(SkipReason::Coalesced, 2, 2, 3)]));
}

#[test]
fn a_firing_after_another_job_obeys_grace_overlap_and_calendars() {
    let firing = follow(json!({ "trigger": { "after": ["a"] }, "misfire_grace": "10s" }), &[("a", OK, 1), ("a", OK, 55)], 60);
    assert_eq!((run_times(&firing), skips(&firing)), (vec![55], vec![(SkipReason::Missed, 1, 1, 1)]));
    assert_eq!(runs(&firing)[0].start_deadline, Some(at(65)));
    let (job, trigger) = job(json!({ "trigger": { "after": ["a"] } }));
    let firing = fire_after(&job, &trigger, &[run_id(99)], &[("a", OK, 5)], 6);
    assert_eq!(skips(&firing), [(SkipReason::Skipped, 1, 5, 5)]);
}

#[test]
fn ends_in_a_pause_are_recorded_as_paused_and_halves_wait() {
    let (job, trigger) = job(json!({ "trigger": { "after": ["a", "b"] }, "coalesce": "all" }));
    let request = Pause { since: at(0), reason: Some("stocktaking".to_owned()), by: None, until: Some(at(10)) };
    let paused = pause(&job, request, at(0));
    assert_eq!(paused.wake_at, Some(at(10)), "the pause ends by itself");
    let arrived = [("a", OK, 1), ("b", OK, 2), ("a", OK, 3), ("b", OK, 12)];
    let firing = fire_after(&paused, &trigger, &[], &arrived[..3], 5);
    assert_eq!((skips(&firing), firing.consumed), (vec![(SkipReason::Paused, 1, 2, 2)], vec![0, 1]));
    assert_eq!((firing.wake_at, firing.pause.is_some()), (Some(at(10)), true));
    let firing = fire_after(&paused, &trigger, &[], &arrived, 12);
    assert_eq!((skips(&firing), run_times(&firing), firing.pause), (vec![(SkipReason::Paused, 1, 2, 2)], vec![12], None));
}

#[test]
fn the_same_ends_name_the_same_run_and_others_another() {
    let fields = json!({ "trigger": { "after": ["a"] }, "coalesce": "all" });
    let (job, trigger) = job(fields);
    let fired = |arrived: &[_]| runs(&fire_after(&job, &trigger, &[], arrived, 9)).iter().map(|run| run.id).collect::<Vec<_>>();
    let both = fired(&[("a", OK, 5), ("a", OK, 5)]);
    assert_eq!(both, fired(&[("a", OK, 5), ("a", OK, 5)]));
    assert_ne!(both[0], both[1], "two runs may have ended at one instant");
}

// --- backfill

#[test]
fn a_backfill_makes_a_run_for_each_open_instant_in_order_behind_everything_else() {
    let (job, trigger) = job(json!({ "jitter": "5s", "misfire_grace": "1s", "priority": 7 }));
    let window: Exclusions = serde_json::from_value(json!({ "exclude": [{ "from": at(25).to_string(), "to": at(35).to_string() }] })).unwrap();
    let calendars = [("freeze".to_owned(), window.compile().unwrap())];
    let past = Past { job: &job, trigger: &trigger, calendars: &calendars, from: at(10), to: at(50), most: 100 };
    let made = backfill(past, 2, at(1_000));
    let times: Vec<_> = made.runs.iter().map(|run| run.scheduled_at.as_second() - T0).collect();
    assert_eq!((times, made.excluded), (vec![10, 20, 40, 50], 1));
    assert!(made.runs.is_sorted_by_key(|run| run.start_at));
    for run in &made.runs {
        assert_eq!((run.cause, run.backfill_max, run.priority, run.start_deadline), (Cause::Backfill, Some(2), i32::MIN, None));
        assert!(!run.is_in_the_way(at(1_000)));
    }
    assert_eq!(backfill(Past { most: 2, ..past }, 2, at(1_000)).runs.len(), 2);
}

#[test]
fn backfills_that_fail_do_not_pause_their_job() {
    let (job, trigger) = job(json!({ "pause_after_failures": 1 }));
    let past = Past { job: &job, trigger: &trigger, calendars: &[], from: at(10), to: at(10), most: 1 };
    let mut run = backfill(past, 1, at(100)).runs.remove(0);
    run.attempt = 1;
    assert_eq!(settle(&job, &run, Outcome::Failed, None, at(101)).pause_job, None);
}

// --- settle

fn run_of(job: &Job, attempt: u32, lost_attempts: u32) -> Run {
    let firing = fire_with(job, &compile(&job.spec, job.anchor), &[], 10);
    Run { attempt, lost_attempts, ..runs(&firing)[0].clone() }
}

fn decided(fields: Value, attempt: u32, lost: u32, outcome: Outcome) -> Decision {
    let (job, _) = job(fields);
    settle(&job, &run_of(&job, attempt, lost), outcome, None, at(100)).decision
}

#[test]
fn without_a_retry_policy_a_failure_is_the_end() {
    assert_eq!(decided(json!({}), 1, 0, Outcome::Failed), Decision::Ended);
    assert_eq!(decided(json!({ "retry": { "max_attempts": 3 } }), 1, 0, Outcome::Succeeded), Decision::Ended);
}

#[test]
fn retries_wait_twice_as_long_each_time_up_to_the_most() {
    let retry = json!({ "retry": { "max_attempts": 10, "initial": "10s", "max": "30s" } });
    for (attempt, wait) in [(1, 10), (2, 20), (3, 30), (4, 30), (9, 30)] {
        let Decision::Retry { at: when, uncounted: false } = decided(retry.clone(), attempt, 0, Outcome::Failed) else {
            panic!("attempt {attempt} is not the last")
        };
        let waited = when.duration_since(at(100)).as_millis();
        assert!((wait * 900..=wait * 1100).contains(&waited), "attempt {attempt}: {waited} ms");
    }
    assert_eq!(decided(retry, 10, 0, Outcome::Failed), Decision::Ended);
}

#[test]
fn a_fixed_backoff_is_exact() {
    let retry = json!({ "retry": { "max_attempts": 3, "initial": "7s", "backoff": "fixed" } });
    assert_eq!(decided(retry, 2, 0, Outcome::Trapped), Decision::Retry { at: at(107), uncounted: false });
}

#[test]
fn only_the_named_outcomes_are_attempted_again() {
    let retry = json!({ "retry": { "max_attempts": 3, "on": ["timeout"] } });
    assert_eq!(decided(retry.clone(), 1, 0, Outcome::Failed), Decision::Ended);
    assert!(matches!(decided(retry, 1, 0, Outcome::Timeout), Decision::Retry { .. }));
}

#[test]
fn one_lost_attempt_is_free_and_the_second_is_not() {
    assert_eq!(decided(json!({}), 1, 0, Outcome::Lost), Decision::Retry { at: at(100), uncounted: true });
    assert_eq!(decided(json!({}), 2, 1, Outcome::Lost), Decision::Ended);
    assert!(matches!(decided(json!({ "retry": { "max_attempts": 2 } }), 2, 1, Outcome::Lost), Decision::Retry { uncounted: false, .. }));
}

#[test]
fn a_guest_may_ask_for_another_attempt_or_forbid_one_within_the_policy() {
    let settled = |fields: Value, advice| {
        let (job, _) = job(fields);
        settle(&job, &run_of(&job, 1, 0), Outcome::Failed, Some(advice), at(100)).decision
    };
    let after = |seconds| RetryAdvice::Again { after: Some(SignedDuration::from_secs(seconds)) };
    let policy = |on: Value| json!({ "retry": { "max_attempts": 2, "initial": "5s", "backoff": "fixed", "max": "60s", "on": on } });
    assert_eq!(settled(policy(json!(["failed"])), RetryAdvice::Never), Decision::Ended);
    assert_eq!(settled(policy(json!([])), after(30)), Decision::Retry { at: at(130), uncounted: false });
    assert_eq!(settled(policy(json!([])), after(3600)), Decision::Retry { at: at(3700), uncounted: false }, "it may be longer than the policy's longest wait");
    assert_eq!(settled(policy(json!([])), after(i64::MAX)), Decision::Retry { at: at(100 + 24 * 3600), uncounted: false });
    assert_eq!(settled(policy(json!([])), RetryAdvice::Again { after: None }), Decision::Retry { at: at(105), uncounted: false });
    assert_eq!(settled(json!({}), after(30)), Decision::Ended, "max_attempts = 1 is not a guest's to change");
}

#[test]
fn a_cancelled_run_is_not_attempted_again() {
    let (job, _) = job(json!({ "retry": { "max_attempts": 3, "on": ["cancelled", "failed"] } }));
    let run = Run { cancel_requested: Some("by hand".to_owned()), ..run_of(&job, 1, 0) };
    assert_eq!(settle(&job, &run, Outcome::Failed, None, at(100)).decision, Decision::Ended);
    assert_eq!(settle(&job, &run_of(&job, 1, 0), Outcome::Cancelled, None, at(100)).decision, Decision::Ended);
}

#[test]
fn too_many_failures_in_a_row_pause_the_job() {
    let (job, _) = job(json!({ "pause_after_failures": 3 }));
    let after = |failures_in_row| settle(&Job { failures_in_row, ..job.clone() }, &run_of(&job, 1, 0), Outcome::Failed, None, at(100)).pause_job;
    assert_eq!(after(1), None);
    let reason = after(2).and_then(|pause| pause.reason).unwrap();
    assert_eq!(reason, "3 runs in a row did not succeed; the last one: failed");
}

#[test]
fn a_run_claimed_after_its_deadline_is_a_missed_firing_but_a_retry_is_not() {
    let (job, _) = job(json!({ "misfire_grace": "5s" }));
    let run = run_of(&job, 1, 0);
    assert_eq!(start_missed(&run, at(15)), None);
    let skip = start_missed(&run, at(16)).unwrap();
    assert_eq!((skip.reason, skip.count, skip.first, skip.last), (SkipReason::Missed, 1, at(10), at(10)));
    assert_eq!(start_missed(&Run { attempt: 2, ..run }, at(16)), None);
}

// --- change

#[test]
fn a_job_added_again_with_the_same_trigger_keeps_its_next_firing() {
    let (job, _) = job(json!({}));
    let again = JobSpec { priority: 3, ..(*job.spec).clone() };
    let (replaced, owed) = replace(&job, again, at(8), |anchor| Ok::<_, ()>(compile(&job.spec, anchor))).unwrap();
    assert_eq!((replaced.next_fire, replaced.anchor, replaced.spec.priority, owed), (Some(at(10)), at(0), 3, None));
}

#[test]
fn a_changed_trigger_counts_from_now_and_what_was_owed_is_recorded() {
    let (job, _) = job(json!({}));
    let spec: JobSpec = serde_json::from_value(json!({ "component": "reports", "trigger": { "every": "60s" } })).unwrap();
    let (replaced, owed) = replace(&job, spec.clone(), at(35), |anchor| Ok::<_, ()>(compile(&spec, anchor))).unwrap();
    assert_eq!(replaced.next_fire, Some(at(95)));
    let owed = owed.unwrap();
    assert_eq!((owed.reason, owed.count, owed.first, owed.last), (SkipReason::Missed, 3, at(10), at(30)));
}

#[test]
fn resumed_from_now_what_came_due_meanwhile_is_recorded_as_paused() {
    let (job, trigger) = job(json!({}));
    let paused = pause(&job, Pause { since: at(5), reason: Some("freeze".to_owned()), by: None, until: None }, at(5));
    assert_eq!(paused.wake_at, None);
    let (resumed, owed) = resume(&paused, &trigger, false, at(35));
    let owed = owed.unwrap();
    assert_eq!((owed.reason, owed.count, owed.detail.as_deref()), (SkipReason::Paused, 3, Some("freeze")));
    assert_eq!((resumed.next_fire, resumed.wake_at, resumed.pause), (Some(at(40)), Some(at(40)), None));
}

#[test]
fn resumed_from_what_was_missed_it_catches_up_as_after_downtime() {
    let (job, trigger) = job(json!({}));
    let paused = pause(&job, Pause { since: at(5), reason: None, by: None, until: None }, at(5));
    let (resumed, owed) = resume(&paused, &trigger, true, at(35));
    assert_eq!((resumed.next_fire, resumed.wake_at, owed), (Some(at(10)), Some(at(10)), None));
    assert_eq!(run_times(&fire_with(&resumed, &trigger, &[], 35)), [30]);
}

#[test]
fn a_parked_job_that_is_resumed_is_tried_again_with_all_that_it_owes() {
    let (job, trigger) = job(json!({}));
    let parked = Job { state: JobState::Unresolved("its calendar is gone".to_owned()), wake_at: None, ..job };
    let (resumed, owed) = resume(&parked, &trigger, false, at(35));
    assert_eq!((resumed.state.clone(), resumed.next_fire, resumed.wake_at, owed), (JobState::Active, Some(at(10)), Some(at(10)), None));
    assert_eq!(run_times(&fire_with(&resumed, &trigger, &[], 35)), [30]);
}

#[test]
fn a_job_whose_search_is_given_up_is_parked_and_not_finished() {
    // The members agree at their start, and again in thousands of years.
    let every = |seconds: u32| json!({ "every": format!("{seconds}s"), "start": at(10).to_string() });
    let (job, trigger) = job(json!({ "trigger": { "all": [every(9_973), every(9_967), every(9_949)] } }));
    let firing = fire_with(&job, &trigger, &[], 20);
    assert_eq!((run_times(&firing), firing.next_fire, firing.wake_at), (vec![10], None, None));
    assert!(matches!(&firing.state, JobState::Unresolved(why) if why.contains("no next firing was found")), "{:?}", firing.state);
}

#[test]
fn what_a_job_owes_when_it_is_removed_is_recorded() {
    let (job, trigger) = job(json!({}));
    let (retired, owed) = retire(&job, &trigger, at(25));
    let owed = owed.unwrap();
    assert_eq!((owed.reason, owed.count, owed.first, owed.last), (SkipReason::Missed, 2, at(10), at(20)));
    assert_eq!((retired.next_fire, retired.wake_at, retired.state), (None, None, JobState::Finished));
    assert_eq!(retire(&job, &trigger, at(5)).1, None);
}

#[test]
fn a_job_added_paused_does_not_wake_by_itself() {
    let (job, _) = job(json!({ "paused": true }));
    assert_eq!((job.wake_at, job.next_fire), (None, Some(at(10))));
    assert!(job.pause.is_some());
}

#[test]
fn a_run_on_demand_is_told_from_a_scheduled_one() {
    let (job, trigger) = job(json!({}));
    assert_eq!(runs(&fire_with(&job, &trigger, &[], 10))[0].cause, Cause::Scheduled);
}
