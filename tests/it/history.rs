//! Random histories of the whole scheduler against an independent simple model.
//!
//! Jobs are added, edited, paused, resumed (one by one and by label), triggered, backfilled and removed; the clock jumps
//! both ways; runs are slow, fail, are cancelled; the server is killed between any two steps, and a server that was taken for dead comes back with outcomes
//! of its own. After every step:
//!
//! * no firing is lost or doubled: what the model enumerates, one instant after the other, is what the store accounts for;
//! * overlap is never exceeded, nor the bound of a job's backfills;
//! * a backfill makes a run for each instant of its period that had none, and nothing else, wherever it was cut short;
//! * a run that ended stays ended, with the one outcome it got;
//! * of a job that follows another, each ended run of that one is in exactly one run, or on its way there.
//!
//! And in the end, when nothing more goes wrong, every run has ended.
//!
//! `BELLCAGE_HISTORIES=10000 tests/run -- --test it history` runs more of them; a failing one prints how to replay it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bellcage::job::{Cause, Job, JobKey, JobSpec, JobState, Outcome, Run, RunId, RunKey, RunState, TenantId};
use bellcage::scheduler::simulate::{Assumed, Simulation, SimulationOptions};
use bellcage::scheduler::{BackfillRequest, EventKind, JobFilter, OnConflict, PageRequest, PauseRequest, ResumeFrom, RunFilter};

use bellcage::store::{Memory, Sqlite, SqliteOptions, Store};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

const JOBS: usize = 4;
const STEPS: usize = 60;
/// The label by which many jobs are paused and resumed.
const TEAMS: [&str; 2] = ["red", "blue"];
/// Backfills of a job at once.
const BACKFILLS_AT_ONCE: u32 = 2;
/// The most instants that a backfill is allowed.
const BACKFILL_LIMIT: u64 = 300;
/// Jobs that follow another one, whatever comes of its runs: each end makes a run.
const FOLLOWERS: [(&str, &str); 2] = [("tail", "job-0"), ("end", "tail")];
/// A job that runs when both have ended.
const BOTH: (&str, [&str; 2]) = ("both", ["job-0", "job-1"]);
/// Half a second off the grid on which triggers fire, so that "at that very instant" never blurs the model.
const T0: i64 = 1_800_000_000_500_000;

#[test]
fn histories_on_the_memory_store_lose_and_double_nothing() {
    for_each_seed(200, |seed| {
        let store = Arc::new(Memory::default());
        block_on(History::new(store, seed).play());
    });
}

#[test]
fn histories_on_sqlite_lose_and_double_nothing() {
    for_each_seed(12, |seed| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Arc::new(Sqlite::open(folder.path(), &SqliteOptions::default()).expect("a new store"));
        block_on(History::new(store, seed).play());
    });
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future);
}

/// Plays the histories of `usually` seeds, or of `BELLCAGE_HISTORIES`, or the one of `BELLCAGE_SEED`.
fn for_each_seed(usually: u64, play: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let seeds = match number("BELLCAGE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("BELLCAGE_HISTORIES").unwrap_or(usually),
    };
    for seed in seeds {
        let replay = Replay(seed);
        play(seed);
        std::mem::forget(replay);
    }
}

/// Dropped by a panic, it says how to see that again.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        eprintln!("replay this history with: BELLCAGE_SEED={} tests/run -- --test it history", self.0);
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What the model knows of a job: which instants its triggers named, by plain enumeration.
#[derive(Clone, Debug)]
struct Modelled {
    /// Instants of former triggers, all of which are settled.
    former: BTreeSet<Timestamp>,
    every: i64,
    start: Timestamp,
    end: Option<Timestamp>,
    /// The trigger counts from here.
    from: Timestamp,
    team: &'static str,
}

impl Modelled {
    /// Every instant named before `until` (exclusive; `None`: to the trigger's end).
    fn named(&self, until: Option<Timestamp>) -> BTreeSet<Timestamp> {
        assert!(until.is_some() || self.end.is_some(), "a trigger without an end has not ended");
        let mut named = self.former.clone();
        let mut t = self.start;
        while until.is_none_or(|until| t < until) && self.end.is_none_or(|end| t <= end) {
            if t >= self.from {
                named.insert(t);
            }
            t += SignedDuration::from_secs(self.every);
        }
        named
    }

    /// Every instant of the trigger in a period, both ends included, also from before it counts.
    fn in_period(&self, from: Timestamp, to: Timestamp) -> BTreeSet<Timestamp> {
        let instants = (0..).map(|k| self.start + SignedDuration::from_secs(k * self.every));
        instants.take_while(|&t| t <= to && self.end.is_none_or(|end| t <= end)).filter(|&t| t >= from).collect()
    }
}

struct History {
    simulation: Simulation,
    store: Arc<dyn Store>,
    dice: Dice,
    jobs: BTreeMap<JobKey, Modelled>,
    /// What jobs that are gone have left on record.
    removed: BTreeMap<JobKey, BTreeSet<Timestamp>>,
    /// The instants that have a run of a backfill…
    backfilled: BTreeMap<JobKey, BTreeSet<Timestamp>>,
    /// …and those of them that had not fired then: the firing may find its run there.
    early: BTreeMap<JobKey, BTreeSet<Timestamp>>,
    ended: HashMap<RunId, Outcome>,
    told_ended: HashMap<RunId, u32>,
    /// For a failing history.
    log: Vec<String>,
}

impl History {
    fn new(store: Arc<dyn Store>, seed: u64) -> Self {
        // How long a run takes and how it ends follows from its id and attempt, so that a history replays.
        let assume = move |run: &Run| {
            let mut dice = Dice(seed ^ run.scheduled_at.as_microsecond() as u64 ^ u64::from(run.attempt) << 50);
            let outcome = dice.pick(&[Outcome::Succeeded, Outcome::Succeeded, Outcome::Succeeded, Outcome::Failed, Outcome::Timeout, Outcome::OutOfFuel]);
            Assumed { duration: SignedDuration::from_millis(dice.pick(&[0, 1, 700, 4_000, 25_000, 90_000])), outcome }
        };
        let now = Timestamp::from_microsecond(T0).expect("in range");
        let mut dice = Dice(seed);
        let options = SimulationOptions { slots: dice.pick(&[1, 2, 64]), batch_max: dice.pick(&[1, 3, 500]), lease: SignedDuration::from_secs(15) };
        let simulation = Simulation::new(store.clone(), now, options, Box::new(assume));
        Self {
            simulation,
            store,
            dice,
            jobs: BTreeMap::new(),
            removed: BTreeMap::new(),
            backfilled: BTreeMap::new(),
            early: BTreeMap::new(),
            ended: HashMap::new(),
            told_ended: HashMap::new(),
            log: Vec::new(),
        }
    }

    async fn play(mut self) {
        for (id, upstream) in FOLLOWERS {
            self.add_follower(id, &[upstream]).await;
        }
        self.add_follower(BOTH.0, &BOTH.1).await;
        for _ in 0..STEPS {
            self.step().await;
            self.check().await;
        }
        self.quiesce().await;
    }

    fn key(&mut self) -> JobKey {
        let n = self.dice.below(JOBS as u64);
        key_of(&format!("job-{n}"))
    }

    async fn step(&mut self) {
        let now = self.simulation.now();
        match self.dice.below(22) {
            0..3 => self.add().await,
            3 => {
                let key = self.key();
                let until = self.dice.one_in(2).then(|| now + SignedDuration::from_secs(self.dice.below(200) as i64));
                self.note(format!("pause {key} until {until:?}"));
                let paused = self.simulation.pause_job(&key, PauseRequest { until, ..PauseRequest::default() }).await;
                assert_eq!(paused.is_ok(), self.jobs.contains_key(&key));
            }
            4 => {
                let key = self.key();
                let from = self.dice.pick(&[ResumeFrom::Now, ResumeFrom::Missed]);
                self.note(format!("resume {key} {from:?}"));
                let resumed = self.simulation.resume_job(&key, from).await;
                assert_eq!(resumed.is_ok(), self.jobs.contains_key(&key));
            }
            5 => {
                let key = self.key();
                if self.dice.one_in(2) {
                    self.trigger_once(&key).await;
                } else {
                    self.note(format!("trigger {key}"));
                    assert_eq!(self.simulation.trigger(&key).await.is_ok(), self.jobs.contains_key(&key));
                }
            }
            6 if self.dice.one_in(3) => self.remove().await,
            7 => self.cancel().await,
            8 => {
                let exclusive = self.dice.one_in(2);
                self.note(format!("crash, exclusive: {exclusive}"));
                self.simulation.crash(exclusive).await.expect("the store answers");
            }
            9 => {
                self.note("a server that was taken for dead comes back".to_owned());
                self.simulation.ghosts_return().await.expect("the store answers");
            }
            10 => {
                let by = self.dice.below(7_200) as i64 - 3_600;
                self.note(format!("the clock steps by {by} s"));
                self.simulation.set_now(now + SignedDuration::from_secs(by));
            }
            11 => self.take("fire").await,
            12 => self.take("start").await,
            13 => self.take("end").await,
            14 => self.take("lost").await,
            15..18 => {
                let by = self.dice.below(100) as i64;
                self.note(format!("{by} s pass"));
                self.simulation.set_now(now + SignedDuration::from_secs(by));
                self.simulation.turn().await.expect("the store answers");
            }
            18 => self.backfill().await,
            19 => self.bulk().await,
            _ => {
                let by = self.dice.below(300) as i64;
                self.note(format!("{by} s pass, one due instant after the other"));
                let told = &mut self.told_ended;
                let to = now + SignedDuration::from_secs(by);
                self.simulation.run_until(to, |event| count_ended(told, &event.kind)).await.expect("the store answers");
            }
        }
        for event in self.simulation.happened() {
            count_ended(&mut self.told_ended, &event.kind);
        }
    }

    /// One step, so that a crash may come before the next.
    async fn take(&mut self, step: &str) {
        self.note(format!("step: {step}"));
        let simulation = &mut self.simulation;
        let done = match step {
            "fire" => simulation.fire().await,
            "start" => simulation.start().await,
            "end" => simulation.end_attempts().await,
            _ => simulation.settle_lost().await,
        };
        done.expect("the store answers");
    }

    async fn add(&mut self) {
        let key = self.key();
        let now = self.simulation.now();
        let second = Timestamp::from_second(now.as_second()).expect("in range");
        let every = self.dice.pick(&[1, 2, 7, 30, 61]);
        let existing = match self.jobs.get(&key) {
            Some(_) => Some(self.store.job(&key).await.expect("the model has it, so the store has")),
            None => None,
        };
        // A new trigger names no instant that a former one of this id did, so that "once" is plain.
        let after = self.settled(&key, existing.as_ref()).last().copied();
        let start = (second + SignedDuration::from_secs(self.dice.below(90) as i64 - 40)).max(after.map_or(second, |t| t + SignedDuration::from_secs(1)));
        // A trigger that has ended is refused, so the first instant to come is at or before the end.
        let first = (0..).map(|k| start + SignedDuration::from_secs(k * every)).find(|t| *t >= now).expect("there is no last one");
        let end = self.dice.one_in(4).then(|| first + SignedDuration::from_secs(self.dice.below(400) as i64));
        let overlap = self.dice.pick(&["skip", "queue", "cancel-running", "allow"]);
        let team = self.dice.pick(&TEAMS);
        let mut spec = json!({
            "component": "reports",
            "trigger": { "every": format!("{every}s"), "start": start.to_string() },
            "overlap": overlap,
            "max_running": running_max(&key),
            "queue_max": self.dice.pick(&[1, 3]),
            "coalesce": self.dice.pick(&["latest", "earliest", "all"]),
            "catch_up_max": self.dice.pick(&[1, 4, 100]),
            "retry": { "max_attempts": self.dice.pick(&[1, 2, 3]), "initial": "3s" },
            "jitter": self.dice.pick(&["0s", "2s"]),
            "labels": { "team": team },
        });
        if let Some(end) = end {
            spec["trigger"]["end"] = end.to_string().into();
        }
        if self.dice.one_in(2) {
            spec["misfire_grace"] = self.dice.pick(&["0s", "5s", "60s"]).into();
        }
        if self.dice.one_in(6) {
            spec["pause_after_failures"] = 2.into();
        }
        let mut spec: JobSpec = serde_json::from_value(spec).expect("a job");
        if let Some(existing) = existing.as_ref().filter(|_| self.dice.one_in(2)) {
            spec.trigger = existing.spec.trigger.clone();
        }
        let same = existing.as_ref().is_some_and(|e| e.spec.trigger == spec.trigger);
        self.note(format!("add {key}: every {every} s from {start} to {end:?}, {overlap}, same trigger: {same}"));
        self.simulation.add_job(&key, &spec, OnConflict::Replace).await.expect("a good job");
        match self.jobs.get_mut(&key).filter(|_| same) {
            Some(model) => model.team = team,
            None => {
                let settled = self.settled(&key, existing.as_ref());
                self.jobs.insert(key, Modelled { former: settled, every, start, end, from: now, team });
            }
        }
    }

    /// Runs for a past period, all of them or only the first few, as if the server had died then.
    async fn backfill(&mut self) {
        let key = self.key();
        let now = self.simulation.now();
        let to = now - SignedDuration::from_secs(self.dice.below(60) as i64);
        let from = to - SignedDuration::from_secs(self.dice.below(200) as i64);
        let batches = if self.dice.one_in(3) { 2 } else { usize::MAX };
        self.note(format!("backfill {key} from {from} to {to}, at most {batches} batches"));
        let request = BackfillRequest { from, to, max_running: BACKFILLS_AT_ONCE, limit: BACKFILL_LIMIT, dry_run: false };
        let there = self.instants_with_runs(&key).await;
        let made = self.simulation.backfill(&key, request, batches).await;
        let Some(model) = self.jobs.get(&key) else {
            assert!(made.is_err(), "{}", self.told());
            return;
        };
        let missing: BTreeSet<_> = model.in_period(from, to).difference(&there).copied().collect();
        let made = made.expect("a good request");
        assert!(made as usize == missing.len() || batches < usize::MAX && (made as usize) < missing.len(), "{made} of {missing:?}\n{}", self.told());
        // The oldest come first.
        let new: BTreeSet<_> = missing.into_iter().take(made as usize).collect();
        let next = self.store.job(&key).await.expect("the model has it, so the store has").next_fire;
        let fired = model.named(next);
        self.early.entry(key.clone()).or_default().extend(new.difference(&fired));
        self.backfilled.entry(key).or_default().extend(new);
    }

    /// One verb for all jobs with a label.
    async fn bulk(&mut self) {
        let team = self.dice.pick(&TEAMS);
        let pause = self.dice.one_in(2);
        self.note(format!("{} all of team {team}", if pause { "pause" } else { "resume" }));
        let filter = JobFilter { labels: vec![("team".to_owned(), team.to_owned())], ..JobFilter::default() };
        let found: Vec<_> = self.store.jobs(&filter, PageRequest { after: None, limit: 100 }).await.expect("the store answers").items;
        let of_team = self.jobs.iter().filter(|(_, model)| model.team == team).map(|(key, _)| key);
        assert!(found.iter().map(|job| &job.key).eq(of_team), "{}", self.told());
        for job in found {
            let done = if pause {
                self.simulation.pause_job(&job.key, PauseRequest::default()).await
            } else {
                self.simulation.resume_job(&job.key, ResumeFrom::Missed).await
            };
            done.expect("the job is there");
        }
    }

    /// A run of one of two keys, of which no job has two unfinished ones.
    async fn trigger_once(&mut self, key: &JobKey) {
        let run_key: RunKey = self.dice.pick(&["red", "blue"]).parse().expect("a key");
        let open = self.runs(Some(key), None).await.into_iter().find(|run| run.key.as_ref() == Some(&run_key) && run.state != RunState::Ended);
        self.note(format!("trigger {key} once as {run_key}: {:?} has not ended", open.as_ref().map(|run| run.id)));
        let triggered = self.simulation.trigger_once(key, run_key).await;
        assert_eq!(triggered.is_ok(), self.jobs.contains_key(key));
        if let Ok(triggered) = triggered {
            assert_eq!(triggered.new, open.is_none(), "{}", self.told());
            assert!(open.is_none_or(|open| open.id == triggered.run.id), "{}", self.told());
        }
    }

    async fn add_follower(&mut self, id: &str, upstream: &[&str]) {
        let every: Vec<_> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
        let spec = json!({
            "component": "reports",
            "trigger": { "after": upstream, "on": every },
            "overlap": "allow",
            "coalesce": "all",
            "catch_up_max": 10_000,
        });
        let spec: JobSpec = serde_json::from_value(spec).expect("a job");
        self.simulation.add_job(&key_of(id), &spec, OnConflict::Error).await.expect("a good job");
    }

    /// The instants of the job's former triggers, all of which are on record once the trigger goes: what was accounted
    /// for before `next_fire`, and what was owed up to now.
    fn settled(&self, key: &JobKey, last: Option<&Job>) -> BTreeSet<Timestamp> {
        match (self.jobs.get(key), last) {
            (Some(model), Some(job)) => model.named(job.next_fire.map(|next| next.max(self.simulation.now()))),
            _ => self.removed.get(key).cloned().unwrap_or_default(),
        }
    }

    async fn remove(&mut self) {
        let key = self.key();
        self.note(format!("remove {key}"));
        let last = self.store.job(&key).await.ok();
        assert_eq!(self.simulation.remove_job(&key).await.is_ok(), self.jobs.contains_key(&key));
        let settled = self.settled(&key, last.as_ref());
        self.jobs.remove(&key);
        self.removed.insert(key, settled);
    }

    async fn cancel(&mut self) {
        let runs = self.runs(None, None).await;
        let open: Vec<_> = runs.iter().filter(|r| r.state != RunState::Ended).collect();
        if !open.is_empty() {
            let run = open[self.dice.below(open.len() as u64) as usize].clone();
            self.note(format!("cancel {}", run.id));
            self.simulation.cancel_run(&run, "by hand").await.expect("the run is there");
        }
    }

    fn note(&mut self, what: String) {
        self.log.push(format!("{} {what}", self.simulation.now()));
    }

    async fn runs(&self, job: Option<&JobKey>, state: Option<RunState>) -> Vec<Run> {
        self.all_runs(RunFilter { job: job.map(|key| key.id.clone()), state, ..RunFilter::default() }).await
    }

    async fn all_runs(&self, filter: RunFilter) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.runs(&filter, PageRequest { after, limit: 1_000 }).await.expect("the store answers");
            runs.extend(page.items);
            after = page.next;
            if after.is_none() {
                return runs;
            }
        }
    }

    /// The instants that have a run, of a firing or a backfill.
    async fn instants_with_runs(&self, key: &JobKey) -> BTreeSet<Timestamp> {
        self.runs(Some(key), None).await.into_iter().filter(|run| run.cause.is_of_instant()).map(|run| run.scheduled_at).collect()
    }

    /// Scheduled instants of a job's runs, and its records (count, first, last).
    async fn recorded(&self, key: &JobKey) -> (Vec<Timestamp>, Vec<(u64, Timestamp, Timestamp)>) {
        let runs = self.runs(Some(key), None).await.into_iter().filter(|r| r.cause == Cause::Scheduled).map(|r| r.scheduled_at).collect();
        let mut records = Vec::new();
        let mut after = None;
        loop {
            let page = self.store.skipped(&key.tenant, Some(key), PageRequest { after, limit: 1_000 }).await.expect("the store answers");
            records.extend(page.items.into_iter().map(|(_, s)| {
                assert!(s.exact, "counted to the last one");
                (s.count, s.first, s.last)
            }));
            after = page.next;
            if after.is_none() {
                return (runs, records);
            }
        }
    }

    async fn check(&mut self) {
        let mut jobs = self.store.jobs(&JobFilter::default(), PageRequest { after: None, limit: 1_000 }).await.expect("the store answers").items;
        jobs.retain(|job| !job.spec.trigger.is_after());
        assert_eq!(jobs.iter().map(|j| &j.key).collect::<BTreeSet<_>>(), self.jobs.keys().collect(), "{}", self.told());
        for job in &jobs {
            self.check_accounts(job).await;
        }
        for (id, upstream) in FOLLOWERS {
            self.check_follower(id, upstream).await;
        }
        self.check_both().await;
        self.check_overlap().await;
        self.check_outcomes().await;
    }

    async fn check_accounts(&self, job: &Job) {
        let model = &self.jobs[&job.key];
        assert_eq!(job.next_fire.is_none(), job.state == JobState::Finished, "{}: {:?}\n{}", job.key, job.state, self.told());
        let named = model.named(job.next_fire);
        let (runs, records) = self.recorded(&job.key).await;
        let ran: BTreeSet<_> = runs.iter().copied().collect();
        assert_eq!(ran.len(), runs.len(), "{}: a firing has two runs\n{}", job.key, self.told());
        let skipped: u64 = records.iter().map(|(count, ..)| count).sum();
        let stray: Vec<_> = ran.difference(&named).collect();
        assert!(stray.is_empty(), "{}: runs of instants that no trigger named: {stray:?}\n{}", job.key, self.told());
        let early = self.early.get(&job.key).map_or(0, |early| named.intersection(early).count() as u64);
        let accounted = ran.len() as u64 + skipped;
        assert!(
            (named.len() as u64 - early..=named.len() as u64).contains(&accounted),
            "{}: {} runs and {skipped} skipped {records:?}, {early} made early, of {} named before {:?}\n{}",
            job.key,
            ran.len(),
            named.len(),
            job.next_fire,
            self.told()
        );
        self.check_backfills(&job.key, &ran).await;
        for (_, first, last) in records {
            assert!(named.contains(&first) && named.contains(&last), "{}: a record of {first} to {last}, which no trigger named\n{}", job.key, self.told());
        }
    }

    async fn check_backfills(&self, key: &JobKey, fired: &BTreeSet<Timestamp>) {
        let filter = RunFilter { job: Some(key.id.clone()), cause: Some(Cause::Backfill), ..RunFilter::default() };
        let runs: Vec<_> = self.all_runs(filter).await.into_iter().map(|run| run.scheduled_at).collect();
        let made: BTreeSet<_> = runs.iter().copied().collect();
        assert_eq!(made.len(), runs.len(), "{key}: an instant was made up for twice\n{}", self.told());
        assert!(made.is_disjoint(fired), "{key}: an instant has a run of its firing and one of a backfill\n{}", self.told());
        assert_eq!(&made, self.backfilled.get(key).unwrap_or(&BTreeSet::new()), "{key}: backfilled\n{}", self.told());
    }

    async fn check_follower(&self, id: &str, upstream: &str) {
        let ended = self.runs(Some(&key_of(upstream)), Some(RunState::Ended)).await;
        let ended: BTreeSet<_> = ended.iter().filter(|run| run.cause != Cause::Backfill).map(|run| run.id).collect();
        let mut followed: Vec<_> = self.runs(Some(&key_of(id)), None).await.into_iter().flat_map(|run| run.upstream).map(|end| end.run).collect();
        followed.extend(self.store.arrived_ends(&key_of(id)).await.expect("the store answers").iter().map(|end| end.run));
        followed.sort_unstable();
        assert_eq!(followed, ended.into_iter().collect::<Vec<_>>(), "{id} follows each end of {upstream} once\n{}", self.told());
    }

    async fn check_both(&self) {
        let runs = self.runs(Some(&key_of(BOTH.0)), None).await;
        let mut used = BTreeSet::new();
        for end in runs.iter().flat_map(|run| &run.upstream) {
            assert!(used.insert(end.run), "the end of run {} made two runs\n{}", end.run, self.told());
        }
        for run in runs {
            let of: BTreeSet<_> = run.upstream.iter().map(|end| end.job.as_str()).collect();
            assert_eq!((of, run.upstream.len()), (BTreeSet::from(BOTH.1), 2), "{}", self.told());
        }
    }

    async fn check_overlap(&self) {
        // Backfills go beside the others.
        let lane = |run: &Run| (run.job.clone(), run.cause == Cause::Backfill);
        let mut running: HashMap<_, usize> = HashMap::new();
        for run in self.runs(None, Some(RunState::Running)).await {
            *running.entry(lane(&run)).or_default() += 1;
        }
        let mut going: HashMap<_, usize> = HashMap::new();
        for run in self.simulation.going() {
            *going.entry(lane(run)).or_default() += 1;
        }
        for ((key, backfill), n) in running.iter().chain(&going) {
            let most = if *backfill { BACKFILLS_AT_ONCE as usize } else { running_max(key) };
            assert!(*n <= most, "{key}: {n} at once, at most {most}, backfill: {backfill}\n{}", self.told());
        }
    }

    async fn check_outcomes(&mut self) {
        let runs: HashMap<_, _> = self.runs(None, None).await.into_iter().map(|r| (r.id, r)).collect();
        for (id, outcome) in &self.ended {
            let now = runs.get(id).map(|r| (r.state, r.outcome));
            assert_eq!(now, Some((RunState::Ended, Some(*outcome))), "run {id} had ended\n{}", self.told());
        }
        for (id, run) in &runs {
            assert_eq!(run.outcome.is_some(), run.state == RunState::Ended);
            if let Some(outcome) = run.outcome {
                self.ended.insert(*id, outcome);
            }
        }
        for (id, times) in &self.told_ended {
            assert_eq!(*times, 1, "the end of run {id} was told {times} times\n{}", self.told());
        }
    }

    /// Nothing goes wrong any more: everything comes to its end.
    async fn quiesce(mut self) {
        self.note("quiet from now on".to_owned());
        self.simulation.crash(true).await.expect("the store answers");
        for key in self.jobs.keys().cloned().collect::<Vec<_>>() {
            self.simulation.pause_job(&key, PauseRequest::default()).await.expect("the job is there");
        }
        let far = self.simulation.now().max(Timestamp::from_microsecond(T0).expect("in range")) + SignedDuration::from_hours(24);
        let told = &mut self.told_ended;
        self.simulation.run_until(far, |event| count_ended(told, &event.kind)).await.expect("the store answers");
        self.check().await;
        for run in self.runs(None, None).await {
            assert_eq!(run.state, RunState::Ended, "run {} of {} never ended\n{}", run.id, run.job, self.told());
        }
    }

    fn told(&self) -> String {
        self.log.join("\n")
    }
}

/// One bound for each id, whatever becomes of its job, so that "never exceeded" is plain.
fn running_max(key: &JobKey) -> usize {
    match key.id.as_str() {
        "job-0" => 3,
        "job-1" => 2,
        "job-2" | "job-3" => 1,
        _ => usize::MAX,
    }
}

fn key_of(id: &str) -> JobKey {
    JobKey { tenant: TenantId::default(), id: id.parse().expect("a job id") }
}

fn count_ended(told: &mut HashMap<RunId, u32>, kind: &EventKind) {
    if let EventKind::RunEnded { run, .. } = kind {
        *told.entry(*run).or_default() += 1;
    }
}
