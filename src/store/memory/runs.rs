//! Runs: added, claimed, renewed, finished, cancelled.

use jiff::Timestamp;

use super::{State, StoredRun};
use crate::job::{JobKey, RateLimit, Run, RunId, RunState};
use crate::store::{AddedRun, AttemptEnd, CancelFound, ClaimedRun, Fenced, Owner, Renewed, RunClaim, Settled, StoreError, apply};

impl State {
    pub(super) fn add_run(&mut self, run: Run) -> Result<Run, StoreError> {
        self.stored_job(&run.job)?;
        self.insert_run(run.clone());
        Ok(run)
    }

    pub(super) fn add_run_once(&mut self, run: Run, since: Option<Timestamp>) -> Result<AddedRun, StoreError> {
        self.stored_job(&run.job)?;
        let same = |other: &&Run| other.job == run.job && run.key.is_some() && other.key == run.key && apply::is_current(other, since);
        match self.runs.values().rev().map(|stored| &stored.run).find(same) {
            Some(run) => Ok(AddedRun { run: run.clone(), new: false }),
            None => Ok(AddedRun { run: self.add_run(run)?, new: true }),
        }
    }

    /// How many runs like this one may start beside those that run.
    pub(super) fn room(&self, run: &Run) -> u32 {
        let Some(stored) = self.jobs.get(&run.job) else { return 0 };
        let (lane, most) = match run.backfill_max {
            Some(most) => (&self.backfilling, Some(most)),
            None => (&self.running, stored.job.spec.running_max()),
        };
        let running = lane.get(&run.job).copied().unwrap_or(0);
        most.map_or(u32::MAX, |most| most.saturating_sub(running))
    }

    fn rate_limit(&self, key: &JobKey) -> Option<RateLimit> {
        self.jobs.get(key)?.job.spec.rate_limit
    }

    /// When a job's rate limit allows one more start.
    pub(super) fn rate_opens_at(&self, key: &JobKey) -> Option<Timestamp> {
        self.starts.get(key)?.opens_at(self.rate_limit(key)?)
    }

    pub(super) fn claim_runs(&mut self, claim: &RunClaim) -> Vec<ClaimedRun> {
        let &RunClaim { ref owner, now, until, max, mut alone } = claim;
        let due: Vec<RunId> = self.waiting.iter().filter(|(_, start_at, _)| *start_at <= now).map(|(.., id)| *id).collect();
        let mut claimed = Vec::new();
        for id in due {
            if claimed.len() == max {
                break;
            }
            let Some(run) = self.runs.get(&id).map(|stored| &stored.run).filter(|run| self.room(run) > 0) else { continue };
            let (job, first) = (run.job.clone(), run.attempt == 0);
            let is_alone = self.jobs.get(&job).is_some_and(|stored| stored.job.spec.is_alone());
            if is_alone && alone == 0 {
                self.alone_held.insert(id);
                continue;
            }
            let mut opened = None;
            if let Some(limit) = self.rate_limit(&job).filter(|_| first) {
                let starts = self.starts.entry(job).or_default();
                if starts.room(limit, now) == 0 {
                    continue;
                }
                opened = starts.opens_at(limit);
                starts.add(limit, now);
            }
            alone -= usize::from(is_alone);
            self.alone_held.remove(&id);
            claimed.extend(self.claim(id, owner, until, |stored| {
                apply::allow(&mut stored.run, opened);
                apply::start(&mut stored.run, now);
            }));
        }
        claimed
    }

    fn claim(&mut self, id: RunId, owner: &Owner, until: Timestamp, change: impl FnOnce(&mut StoredRun)) -> Option<ClaimedRun> {
        let job = self.jobs.get(&self.runs.get(&id)?.run.job)?.job.clone();
        let held = self.hold(owner, until);
        let lease = held.lease;
        self.change_run(id, |stored| {
            change(stored);
            stored.held = Some(held);
        });
        let StoredRun { run, checkpoint, .. } = self.runs.get(&id)?;
        Some(ClaimedRun { run: Box::new(run.clone()), job, lease, checkpoint: checkpoint.clone() })
    }

    /// The ends of running runs' leases.
    pub(super) fn running_leases(&self) -> impl Iterator<Item = (Timestamp, RunId)> {
        let unfinished = self.unfinished.values().flatten().filter_map(|id| self.runs.get(id));
        unfinished.filter_map(|stored| stored.held.as_ref().map(|held| (held.lease.until, stored.run.id)))
    }

    pub(super) fn renew_runs(&mut self, owner: &Owner, runs: &[(RunId, u64)], until: Timestamp) -> Renewed {
        let mut renewed = Renewed::default();
        for &(id, token) in runs {
            let Some(stored) = self.runs.get_mut(&id) else {
                renewed.lost.push(id);
                continue;
            };
            match &mut stored.held {
                Some(held) if held.lease.token == token && held.owner == *owner => {
                    held.lease.until = until;
                    renewed.cancel.extend(stored.run.cancel_requested.clone().map(|reason| (id, reason)));
                }
                _ => renewed.lost.push(id),
            }
        }
        renewed
    }

    pub(super) fn finish_attempt(&mut self, end: AttemptEnd) -> Fenced {
        let AttemptEnd { run: id, token, attempt, settled, checkpoint, pause_job, now } = end;
        let Some(key) = self.runs.get(&id).filter(|stored| stored.held.as_ref().is_some_and(|held| held.lease.token == token)).map(|s| s.run.job.clone())
        else {
            return Fenced::LeaseLost;
        };
        if let Settled::Missed(skip) = settled {
            if let (Some(starts), Some(at)) = (self.starts.get_mut(&key), self.runs.get(&id).and_then(|stored| stored.run.started_at)) {
                starts.take_back(at);
            }
            self.delete_run(id);
            self.record_skip(&key, skip);
            return Fenced::Done;
        }
        let job_exists = self.jobs.contains_key(&key);
        self.change_run(id, |stored| {
            stored.held = None;
            apply::settle(&mut stored.run, attempt.as_ref(), &settled, job_exists, now);
            stored.attempts.extend(attempt);
            stored.checkpoint = checkpoint.or(stored.checkpoint.take());
        });
        let ended = self.runs.get(&id).and_then(|stored| apply::RunEnd::of(&stored.run));
        self.change_job(&key, |stored| {
            if let Some(end) = ended {
                apply::remember(&mut stored.job, &end);
            }
            if pause_job.is_some_and(|pause| apply::pause(&mut stored.job, pause)) {
                stored.held = None;
            }
        });
        self.wake_for_ends(&key);
        Fenced::Done
    }

    pub(super) fn claim_lost(&mut self, owner: &Owner, now: Timestamp, until: Timestamp, max: usize) -> Vec<ClaimedRun> {
        let mut lost: Vec<_> = self.running_leases().filter(|(end, _)| *end <= now).collect();
        lost.sort_unstable();
        let mut claimed = Vec::new();
        for (_, id) in lost.into_iter().take(max) {
            match self.claim(id, owner, until, |_| {}) {
                Some(run) => claimed.push(ClaimedRun { checkpoint: None, ..run }),
                None => self.change_run(id, |stored| {
                    stored.held = None;
                    apply::lose(&mut stored.run, now);
                }),
            }
        }
        claimed
    }

    pub(super) fn end_other_leases(&mut self, owner: &Owner, now: Timestamp) -> u64 {
        let jobs = self.jobs.values_mut().map(|stored| &mut stored.held);
        let runs = self.runs.values_mut().map(|stored| &mut stored.held);
        let others = jobs.chain(runs).flatten().filter(|held| held.owner != *owner && held.lease.until > now);
        others.map(|held| held.lease.until = now).count() as u64
    }

    pub(super) fn cancel_run(&mut self, id: RunId, reason: &str, now: Timestamp) -> CancelFound {
        let mut found = CancelFound::AlreadyEnded;
        self.change_run(id, |stored| match stored.run.state {
            RunState::Ended => {}
            RunState::Running => {
                stored.run.cancel_requested.get_or_insert_with(|| reason.to_owned());
                found = CancelFound::Requested;
            }
            RunState::Queued | RunState::WaitingRetry => {
                apply::cancel(&mut stored.run, reason, now);
                found = CancelFound::Ended;
            }
        });
        found
    }
}
