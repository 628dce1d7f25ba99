//! Firings: leasing jobs that came due, and carrying out what was decided about them.

use jiff::Timestamp;

use super::State;
use crate::job::{RunId, RunState};
use crate::store::{ENDS_MAX, Fenced, FiringCommit, FiringStep, LeasedJob, Owner, UNFINISHED_MAX, Unfinished};

impl State {
    pub(super) fn lease_due(&mut self, owner: &Owner, now: Timestamp, until: Timestamp, max: usize) -> Vec<LeasedJob> {
        let due = self.due.iter().take_while(|(wake_at, _)| *wake_at <= now).map(|(_, key)| key);
        let free = due.filter(|key| self.jobs.get(key).is_some_and(|stored| stored.held.as_ref().is_none_or(|held| held.lease.until <= now)));
        let free: Vec<_> = free.take(max).cloned().collect();
        let mut leased = Vec::with_capacity(free.len());
        for key in free {
            let held = self.hold(owner, until);
            let Some(stored) = self.jobs.get_mut(&key) else { continue };
            stored.held = Some(held.clone());
            let runs = self.unfinished.get(&key).into_iter().flatten().filter_map(|id| self.runs.get(id)).map(|stored| &stored.run);
            let unfinished: Vec<_> =
                runs.filter(|run| run.is_in_the_way(now)).map(|run| Unfinished { run: run.id, running: run.state == RunState::Running }).collect();
            leased.push(LeasedJob {
                job: stored.job.clone(),
                lease: held.lease,
                unfinished_count: unfinished.len() as u64,
                unfinished: unfinished.into_iter().take(UNFINISHED_MAX).collect(),
                ends: self.arrived(&key).take(ENDS_MAX).collect(),
            });
        }
        leased
    }

    pub(super) fn commit_firing(&mut self, firing: FiringCommit) -> Fenced {
        let FiringCommit { job: key, token, steps, cancel, cancel_reason, consumed, ends_seen, next_fire, wake_at, state, pause, now } = firing;
        let held = self.jobs.get(&key).and_then(|stored| stored.held.as_ref());
        if held.is_none_or(|held| held.lease.token != token) {
            return Fenced::LeaseLost;
        }
        for step in steps {
            match step {
                FiringStep::Skip(skip) => self.record_skip(&key, skip),
                FiringStep::Run(run) => {
                    if self.insert_run(*run) {
                        self.change_job(&key, |stored| stored.last_skip = None);
                    }
                }
            }
        }
        for id in cancel {
            if self.runs.get(&id).is_some_and(|stored| stored.run.job == key) {
                self.cancel_run(id, cancel_reason.as_deref().unwrap_or("a later firing replaced it"), now);
            }
        }
        self.change_job(&key, |stored| {
            stored.held = None;
            let job = &mut stored.job;
            (job.next_fire, job.wake_at, job.state, job.pause) = (next_fire, wake_at, state, pause);
        });
        self.settle_ends(&key, &consumed, ends_seen);
        self.wake_for_ends(&key);
        Fenced::Done
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        let mut soonest: Vec<Timestamp> = Vec::new();
        for (wake_at, key) in &self.due {
            match self.jobs.get(key).and_then(|stored| stored.held.as_ref()) {
                Some(held) => soonest.push((*wake_at).max(held.lease.until)),
                None => {
                    soonest.push(*wake_at);
                    break;
                }
            }
        }
        let due = |(_, start_at, id): &(_, Timestamp, RunId)| {
            let run = &self.runs.get(id)?.run;
            let opens_at = self.rate_opens_at(&run.job).filter(|_| run.attempt == 0);
            let lacks_process = self.alone_held.contains(id) && self.jobs.get(&run.job).is_some_and(|stored| stored.job.spec.is_alone());
            (self.room(run) > 0 && !lacks_process).then(|| opens_at.map_or(*start_at, |opens_at| opens_at.max(*start_at)))
        };
        soonest.extend(self.waiting.iter().filter_map(due));
        soonest.extend(self.running_leases().map(|(until, _)| until));
        soonest.into_iter().min()
    }
}
