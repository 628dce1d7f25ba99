//! The same random history on both stores: every answer, and everything visible after it, must be the same.
//!
//! `BELLCAGE_HISTORIES=1000` plays more of them, `BELLCAGE_SEED=7` begins there; a failing one names its seed and its last step.

use bellcage::job::{Job, JobKey, Outcome, Pause, RateLimit, Run, RunId, RunState, SkipReason, Skipped, TenantId, Version};
use bellcage::store::{
    AttemptEnd, ClaimedRun, FiringCommit, FiringStep, JobFilter, KvBounds, KvOwner, LeasedJob, Memory, OnConflict, Retention, RunClaim, RunFilter, Settled,
    Sqlite, SqliteOptions, Store, StoreError,
};
use jiff::{SignedDuration, Timestamp};

use super::{at, attempt, commit, first_page, job_with, key, owner, run};

const STEPS: usize = 250;
const JOBS: u64 = 4;
/// Low enough to be reached.
const KEPT: KvBounds = KvBounds { bytes: 90, keys: 4 };

#[tokio::test]
async fn random_histories_are_the_same_on_both_stores() {
    let histories = std::env::var("BELLCAGE_HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let first = std::env::var("BELLCAGE_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for seed in first..=histories {
        play(seed).await;
    }
}

async fn play(seed: u64) {
    let directory = tempfile::tempdir().unwrap();
    let open = || Sqlite::open(directory.path(), &SqliteOptions::default()).unwrap();
    let memory = Memory::default();
    let mut sqlite = open();
    let mut plan = Plan { random: Random(seed), now: at(0), unique: 0 };
    let (mut left, mut right) = (World::default(), World::default());
    for n in 0..STEPS {
        let step = plan.next();
        if matches!(step, Step::Restart) {
            drop(sqlite);
            sqlite = open();
            // Nobody is left who holds a job.
            left.leased.clear();
            right.leased.clear();
        }
        let answers = (left.take(&memory, &step, plan.now).await, right.take(&sqlite, &step, plan.now).await);
        assert_eq!(answers.0, answers.1, "seed {seed}, step {n}: {step:?}");
        let seen = (visible(&memory, plan.now).await, visible(&sqlite, plan.now).await);
        // One line is enough to see, and easier to read than all.
        if let Some((line, other)) = seen.0.iter().zip(&seen.1).find(|(line, other)| line != other) {
            assert_eq!(line, other, "seed {seed}, after step {n}: {step:?}");
        }
        assert_eq!(seen.0.len(), seen.1.len(), "seed {seed}, after step {n}: {step:?}");
    }
    assert_eq!(sqlite.check().await.unwrap(), Vec::<String>::new(), "seed {seed}");
}

/// xorshift64*: the same numbers everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What is done next. Numbers that name a lease, a run or a remembered job are taken modulo how many there are.
#[derive(Clone, Debug)]
enum Step {
    Push(u64, u64),
    RemoveComponent(u64, Option<u32>),
    Add(Box<Job>, OnConflict),
    AddMany(Vec<Job>, OnConflict),
    Look(u64),
    /// From the job as it was last looked at.
    Update(u64, Box<Job>, Option<Skipped>),
    Remove(u64),
    Lease(u64, usize),
    /// The last number but one tells how many of the ends that the job was leased with are consumed; the last asks for runs at once.
    Commit(usize, Vec<FiringStep>, Option<Timestamp>, Option<u64>, usize, Option<usize>),
    AddRun(Box<Run>),
    Backfill(JobKey, Vec<Run>),
    Claim(u64, usize),
    Renew(u64, Vec<usize>),
    Finish(Vec<(usize, Ending)>),
    ClaimLost(u64, usize),
    Cancel(u64),
    Prune(Retention),
    /// What is set, added to or deleted, of which key of which job.
    Keep(Kept, u64, u64),
    EndOthers,
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum Kept {
    Set(usize),
    Add(u64),
    Delete,
}

#[derive(Clone, Debug)]
enum Ending {
    Ended(Outcome, Option<Pause>),
    Retry(Timestamp, bool),
    Missed(Skipped),
}

struct Plan {
    random: Random,
    now: Timestamp,
    unique: i64,
}

impl Plan {
    fn next(&mut self) -> Step {
        let r = self.random.below(100);
        if self.random.one_in(3) {
            self.now = self.later(20);
        }
        if self.random.one_in(12) {
            let what = [Kept::Set(self.random.below(40) as usize), Kept::Add(self.random.below(1_000)), Kept::Delete][self.random.below(3) as usize];
            return Step::Keep(what, self.random.below(5), self.random.below(JOBS));
        }
        match r {
            0..2 => Step::Push(self.random.below(2), self.random.below(3)),
            2..3 => Step::RemoveComponent(self.random.below(2), (!self.random.one_in(3)).then_some(1 + self.random.below(3) as u32)),
            3..13 => {
                let conflict = [OnConflict::Error, OnConflict::Replace, OnConflict::Keep][self.random.below(3) as usize];
                match self.random.below(4) {
                    0 => Step::AddMany((0..self.random.below(4)).map(|_| self.job()).collect(), conflict),
                    _ => Step::Add(Box::new(self.job()), conflict),
                }
            }
            13..17 => Step::Look(self.random.below(JOBS)),
            17..22 => {
                let skip = self.random.one_in(3).then(|| self.skip());
                let job = self.job();
                let of = match (job.spec.trigger.is_after(), job.spec.rate_limit) {
                    (true, _) => 3,
                    (_, Some(_)) => 1,
                    _ => self.random.below(JOBS),
                };
                Step::Update(of, Box::new(job), skip)
            }
            22..24 => Step::Remove(self.random.below(JOBS)),
            24..36 => Step::Lease(self.random.below(2), 1 + self.random.below(4) as usize),
            36..48 => {
                let steps = (0..self.random.below(4)).map(|_| self.step()).collect();
                let wake_at = (!self.random.one_in(5)).then(|| self.unique(30));
                let cancel = self.random.one_in(4).then(|| self.random.below(50));
                let claim = self.random.one_in(2).then(|| self.random.below(4) as usize);
                Step::Commit(self.random.below(50) as usize, steps, wake_at, cancel, self.random.below(4) as usize, claim)
            }
            48..51 => {
                // Backfills of one job that differ in how many may go at once wait for each other, longer in one store than in another.
                let (job, most) = if self.random.one_in(2) { (key("job-0"), 1) } else { (key("job-2"), 2) };
                let runs = (0..1 + self.random.below(5)).map(|_| self.backfill(&job, most)).collect();
                Step::Backfill(job, runs)
            }
            51..60 => Step::AddRun(Box::new(self.run())),
            60..74 => Step::Claim(self.random.below(2), 1 + self.random.below(4) as usize),
            74..77 => Step::Renew(self.random.below(2), (0..self.random.below(4)).map(|_| self.random.below(50) as usize).collect()),
            77..89 => Step::Finish((0..1 + self.random.below(3)).map(|_| (self.random.below(50) as usize, self.ending())).collect()),
            89..92 => Step::ClaimLost(self.random.below(2), 1 + self.random.below(3) as usize),
            92..95 => Step::Cancel(self.random.below(50)),
            95..97 => {
                let before = self.now.checked_sub(SignedDuration::from_secs(self.random.below(400) as i64)).unwrap();
                Step::Prune(Retention { before, runs_per_job_max: self.random.below(8), max: 10_000 })
            }
            97..99 => Step::EndOthers,
            _ => Step::Restart,
        }
    }

    fn later(&mut self, seconds: u64) -> Timestamp {
        self.now.checked_add(SignedDuration::from_secs(self.random.below(seconds) as i64)).unwrap()
    }

    /// An instant that no other job has: order among equals is nobody's promise.
    fn unique(&mut self, seconds: u64) -> Timestamp {
        self.unique += 1;
        self.later(seconds).checked_add(SignedDuration::from_micros(self.unique)).unwrap()
    }

    fn job(&mut self) -> Job {
        let (id, most, team) = (self.random.below(JOBS), self.random.below(4), self.random.below(2));
        // One job alone follows others: two would be woken at the same instant, and order among equals is nobody's promise.
        let (follows, upstream) = (id == 3 && !self.random.one_in(3), self.random.below(JOBS));
        // Backfills of a limited job may make a store look too soon.
        let (limited, limit) = (id == 1 && self.random.one_in(2), 1 + self.random.below(3));
        let component = ["reports", "reports@1", "other"][self.random.below(3) as usize];
        let wake_at = (!self.random.one_in(6)).then(|| self.unique(20));
        let job = job_with(&format!("job-{id}"), |spec| {
            spec.component = component.parse().unwrap();
            spec.overlap = bellcage::job::Overlap::Allow;
            spec.max_running = u32::try_from(most).ok().filter(|&most| most > 0);
            spec.labels = [("team".to_owned(), team.to_string())].into();
            spec.rate_limit = limited.then_some(RateLimit { runs: u32::try_from(limit).unwrap(), per: SignedDuration::from_secs(20) });
            if follows {
                let upstream = [format!("job-{upstream}"), "job-9".to_owned()];
                spec.trigger = serde_json::from_value(serde_json::json!({ "after": upstream })).unwrap();
            }
        });
        Job { next_fire: wake_at, wake_at, created_at: self.now, updated_at: self.now, ..job }
    }

    fn run(&mut self) -> Run {
        self.unique += 1;
        let made = run(&format!("job-{}", self.random.below(JOBS)), 0, self.unique as u64);
        let mut bytes = *made.id.0.as_bytes();
        bytes[..6].copy_from_slice(&(self.now.as_millisecond() as u64).to_be_bytes()[2..]);
        let start_at = if self.random.one_in(3) { self.later(15) } else { self.now };
        Run {
            id: RunId(uuid::Uuid::from_bytes(bytes)),
            scheduled_at: self.now,
            start_at,
            created_at: self.now,
            priority: self.random.below(3) as i32 - 1,
            ..made
        }
    }

    /// For one of the few instants that firings have too.
    fn backfill(&mut self, job: &JobKey, most: u32) -> Run {
        let scheduled_at = at(self.random.below(60) as i64);
        let cause = bellcage::job::Cause::Backfill;
        Run { job: job.clone(), cause, backfill_max: Some(most), priority: i32::MIN, scheduled_at, start_at: self.now, ..self.run() }
    }

    fn step(&mut self) -> FiringStep {
        if self.random.one_in(2) {
            return FiringStep::Skip(self.skip());
        }
        // Few instants, so that some firings have their run already.
        let scheduled_at = at(self.random.below(60) as i64);
        FiringStep::Run(Box::new(Run { cause: bellcage::job::Cause::Scheduled, scheduled_at, ..self.run() }))
    }

    fn skip(&mut self) -> Skipped {
        let reason = [SkipReason::Missed, SkipReason::Skipped][self.random.below(2) as usize];
        let detail = self.random.one_in(2).then(|| format!("run {} was in the way", self.random.below(9)));
        Skipped { reason, detail, count: 1 + self.random.below(3), exact: !self.random.one_in(4), first: self.now, last: self.now, recorded_at: self.now }
    }

    fn ending(&mut self) -> Ending {
        match self.random.below(6) {
            0 => Ending::Retry(self.later(20), self.random.one_in(3)),
            1 => Ending::Missed(self.skip()),
            2 => Ending::Ended(Outcome::Failed, Some(Pause { since: self.now, reason: None, by: None, until: self.random.one_in(2).then(|| self.unique(30)) })),
            n => Ending::Ended([Outcome::Succeeded, Outcome::Cancelled, Outcome::Trapped][n as usize - 3], None),
        }
    }
}

/// What a caller of one store holds.
#[derive(Default)]
struct World {
    leased: Vec<LeasedJob>,
    claimed: Vec<ClaimedRun>,
    looked_at: Vec<Job>,
}

fn show<T: std::fmt::Debug>(answer: Result<T, StoreError>) -> String {
    match answer {
        Ok(found) => format!("{found:?}"),
        Err(error) => format!("refused: {error}"),
    }
}

fn pick<T>(of: &[T], n: usize) -> Option<&T> {
    (!of.is_empty()).then(|| &of[n % of.len()])
}

async fn all_runs(store: &dyn Store) -> Vec<Run> {
    store.runs(&RunFilter::default(), first_page(1_000)).await.unwrap().items
}

impl World {
    /// Takes a step; the answer in words, without fencing tokens.
    async fn take(&mut self, store: &dyn Store, step: &Step, now: Timestamp) -> String {
        let tenant = TenantId::default();
        let until = now.checked_add(SignedDuration::from_secs(15)).unwrap();
        let name = |n: &u64| ["reports", "other"][*n as usize].parse().unwrap();
        let who = |n: &u64| owner(["a", "b"][*n as usize]);
        match step.clone() {
            Step::Push(n, bytes) => show(store.push_component(&tenant, &name(&n), bytes.to_le_bytes().to_vec(), serde_json::json!(bytes), now).await),
            Step::RemoveComponent(n, version) => show(store.remove_component(&tenant, &name(&n), version).await),
            Step::Add(job, conflict) => show(store.add_job(*job, conflict).await),
            Step::AddMany(jobs, conflict) => show(store.add_jobs(jobs.into(), conflict).await),
            Step::Look(n) => {
                let found = store.job(&key(&format!("job-{n}"))).await;
                self.looked_at.retain(|job| job.key.id.as_str() != format!("job-{n}"));
                self.looked_at.extend(found.as_ref().ok().cloned());
                show(found)
            }
            Step::Update(n, job, skip) => match self.looked_at.iter().find(|job| job.key.id.as_str() == format!("job-{n}")) {
                Some(seen) => show(store.update_job(Job { key: seen.key.clone(), ..*job }, seen, skip).await),
                None => String::new(),
            },
            Step::Remove(n) => show(store.remove_job(&key(&format!("job-{n}")), now).await),
            Step::Lease(n, max) => {
                let leased = store.lease_due(&who(&n), now, until, max).await.unwrap();
                let ends = |l: &LeasedJob| l.ends.iter().map(|e| e.end.clone()).collect::<Vec<_>>();
                let answer: Vec<_> = leased.iter().map(|l| (l.job.clone(), l.lease.until, l.unfinished.clone(), l.unfinished_count, ends(l))).collect();
                self.leased.extend(leased);
                format!("{answer:?}")
            }
            Step::Commit(n, steps, wake_at, cancel, consumed, claim) => {
                let Some(leased) = pick(&self.leased, n) else { return String::new() };
                let of_job = |mut run: Box<Run>| {
                    run.job = leased.job.key.clone();
                    FiringStep::Run(run)
                };
                let steps = steps
                    .into_iter()
                    .map(|step| match step {
                        FiringStep::Run(run) => of_job(run),
                        skip => skip,
                    })
                    .collect();
                let runs = all_runs(store).await;
                let cancel = cancel.and_then(|n| pick(&runs, n as usize)).map(|run| run.id).into_iter().collect();
                let consumed = leased.ends.iter().take(consumed).map(|end| end.number).collect();
                let ends_seen = leased.ends.last().map_or(0, |last| last.number);
                let firing = FiringCommit { next_fire: wake_at, wake_at, now, cancel, consumed, ends_seen, ..commit(leased, steps, 0) };
                let Some(max) = claim else { return show(store.commit_firings(vec![firing]).await) };
                let (answers, claimed) = store.commit_and_claim(vec![firing], RunClaim { owner: who(&0), now, until, max, alone: usize::MAX }).await.unwrap();
                format!("{answers:?} {}", self.remember(claimed))
            }
            Step::Backfill(job, runs) => show(store.add_backfill(&job, runs).await),
            Step::AddRun(run) => show(store.add_run(*run).await),
            Step::Claim(n, max) => {
                let claimed = store.claim_runs(RunClaim { owner: who(&n), now, until, max, alone: usize::MAX }).await.unwrap();
                self.remember(claimed)
            }
            Step::Renew(n, runs) => {
                let runs: Vec<_> = runs.into_iter().filter_map(|n| pick(&self.claimed, n)).map(|c| (c.run.id, c.lease.token)).collect();
                show(store.renew_runs(&who(&n), &runs, until).await)
            }
            Step::Finish(endings) => {
                let ends: Vec<_> = endings.into_iter().filter_map(|(n, ending)| Some(end(pick(&self.claimed, n)?, ending, now))).collect();
                show(store.finish_attempts(ends.into()).await)
            }
            Step::ClaimLost(n, max) => {
                let claimed = store.claim_lost(&who(&n), now, until, max).await.unwrap();
                self.remember(claimed)
            }
            Step::Cancel(n) => match pick(&all_runs(store).await, n as usize) {
                Some(run) => show(store.cancel_run(&tenant, run.id, "by hand", now).await),
                None => String::new(),
            },
            Step::Keep(what, name, job) => {
                let (of, name) = (kv_owner(store, &format!("job-{job}")).await, format!("key-{name}"));
                match what {
                    Kept::Set(bytes) => show(store.kv_set(&of, &name, vec![b'x'; bytes], KEPT).await),
                    Kept::Add(delta) => show(store.kv_add(&of, &name, delta, KEPT).await),
                    Kept::Delete => show(store.kv_delete(&of, &name).await),
                }
            }
            Step::Prune(retention) => show(store.prune(retention).await),
            Step::EndOthers => show(store.end_other_leases(&owner("a"), now).await),
            // How many leases there were is what a restart forgets.
            Step::Restart => store.end_other_leases(&owner("nobody"), now).await.map(|_| String::new()).unwrap(),
        }
    }

    fn remember(&mut self, claimed: Vec<ClaimedRun>) -> String {
        let answer: Vec<_> = claimed.iter().map(|c| (c.run.clone(), c.job.clone(), c.lease.until, c.checkpoint.clone())).collect();
        self.claimed.extend(claimed);
        format!("{answer:?}")
    }
}

fn end(claimed: &ClaimedRun, ending: Ending, now: Timestamp) -> AttemptEnd {
    let outcome = match ending {
        Ending::Ended(outcome, _) => outcome,
        Ending::Retry(..) | Ending::Missed(_) => Outcome::Failed,
    };
    let ended = attempt(claimed, 0, outcome);
    // Two of three save something.
    let saved = now.as_second().rem_euclid(3);
    let checkpoint = (saved > 0).then(|| vec![u8::try_from(saved).unwrap_or_default(); 2]);
    let (attempt, settled, pause_job) = match ending {
        Ending::Ended(_, pause) => (Some(ended.clone()), Settled::Ended { outcome, error: ended.error }, pause),
        Ending::Retry(at, lost) => ((!lost).then_some(ended), Settled::Retry { at, lost }, None),
        // Only a run that never ran is missed.
        Ending::Missed(skip) if claimed.run.attempt == 1 => (None, Settled::Missed(skip), None),
        Ending::Missed(_) => (None, Settled::Ended { outcome, error: None }, None),
    };
    AttemptEnd { run: claimed.run.id, token: claimed.lease.token, attempt, settled, checkpoint, pause_job, now }
}

/// Everything that a store shows, line by line.
/// The namespace of the job that is there now.
async fn kv_owner(store: &dyn Store, id: &str) -> KvOwner {
    let since = store.job(&key(id)).await.map_or(at(0), |job| job.created_at);
    KvOwner { job: key(id), since }
}

async fn visible(store: &dyn Store, now: Timestamp) -> Vec<String> {
    let tenant = TenantId::default();
    let mut lines = Vec::new();
    for job in store.jobs(&JobFilter::default(), first_page(1_000)).await.unwrap().items {
        lines.push(format!("{job:?} {:?} {:?}", store.arrived_ends(&job.key).await.unwrap(), store.rate_opens_at(&job.key).await.unwrap()));
    }
    for n in 0..JOBS {
        let of = kv_owner(store, &format!("job-{n}")).await;
        let keys = store.kv_list(&of, None).await.unwrap().keys;
        lines.push(format!("{keys:?} {:?}", store.kv_usage(&of).await.unwrap()));
        for name in keys {
            lines.push(format!("{:?}", store.kv_get(&of, &name).await.unwrap()));
        }
    }
    let labelled = JobFilter { labels: vec![("team".to_owned(), "1".to_owned())], ..JobFilter::default() };
    let ids = |jobs: Vec<Job>| jobs.into_iter().map(|job| job.key).collect::<Vec<JobKey>>();
    lines.push(format!("{:?}", ids(store.jobs(&labelled, first_page(2)).await.unwrap().items)));
    let runs = all_runs(store).await;
    for run in &runs {
        lines.push(format!("{run:?}"));
        if run.attempt > 0 {
            lines.push(format!("{:?}", store.attempts(&tenant, run.id).await.unwrap()));
        }
    }
    for state in [RunState::Queued, RunState::Running, RunState::WaitingRetry, RunState::Ended] {
        let filter = RunFilter { state: Some(state), job: Some(key("job-1").id), ..RunFilter::default() };
        let page = store.runs(&filter, first_page(3)).await.unwrap();
        lines.push(format!("{:?} {:?}", page.items.iter().map(|run| run.id).collect::<Vec<_>>(), page.next));
    }
    for (job, skip) in store.skipped(&tenant, None, first_page(1_000)).await.unwrap().items {
        lines.push(format!("{job:?} {skip:?}"));
    }
    for name in ["reports", "other"] {
        let name = name.parse().unwrap();
        lines.push(format!("{:?}", store.component_versions(&tenant, &name).await.unwrap()));
        lines.push(format!("{:?}", store.jobs_using(&tenant, &name).await.unwrap()));
        lines.push(show(store.component(&tenant, &name, Version::Number(1)).await));
    }
    lines.push(format!("{:?}", store.counts().await.unwrap()));
    // What is due already is due now.
    lines.push(format!("{:?}", store.next_due().await.unwrap().map(|due| due.max(now))));
    lines
}
