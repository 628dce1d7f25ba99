//! Runs: claimed, renewed, finished, cancelled, listed, pruned.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{State, StoredRun};
use crate::job::{JobKey, Run, RunId, RunState, Skipped, TenantId};
use crate::store::{AttemptEnd, CancelFound, ClaimedRun, Fenced, Owner, Page, PageRequest, Renewed, Retention, RunFilter, Settled, StoreError, apply};

impl State {
    pub(super) fn add_run(&mut self, run: Run) -> Result<Run, StoreError> {
        self.stored_job(&run.job)?;
        self.insert_run(run.clone());
        Ok(run)
    }

    /// How many runs of a job may start beside those that run.
    pub(super) fn room(&self, key: &JobKey) -> u32 {
        let running = self.running.get(key).copied().unwrap_or(0);
        let most = self.jobs.get(key).map_or(Some(0), |stored| stored.job.spec.running_max());
        most.map_or(u32::MAX, |most| most.saturating_sub(running))
    }

    pub(super) fn claim_runs(&mut self, owner: &Owner, now: Timestamp, until: Timestamp, max: usize) -> Vec<ClaimedRun> {
        let mut rooms: BTreeMap<&JobKey, u32> = BTreeMap::new();
        let mut chosen = Vec::new();
        for (_, start_at, id) in &self.waiting {
            if chosen.len() == max {
                break;
            }
            let Some(stored) = self.runs.get(id).filter(|_| *start_at <= now) else { continue };
            let room = rooms.entry(&stored.run.job).or_insert_with(|| self.room(&stored.run.job));
            if *room > 0 {
                *room -= 1;
                chosen.push(*id);
            }
        }
        let start = |stored: &mut StoredRun| apply::start(&mut stored.run, now);
        chosen.into_iter().filter_map(|id| self.claim(id, owner, until, start)).collect()
    }

    fn claim(&mut self, id: RunId, owner: &Owner, until: Timestamp, change: impl FnOnce(&mut StoredRun)) -> Option<ClaimedRun> {
        let job = self.jobs.get(&self.runs.get(&id)?.run.job)?.job.clone();
        let held = self.hold(owner, until);
        let lease = held.lease;
        self.change_run(id, |stored| {
            change(stored);
            stored.held = Some(held);
        });
        Some(ClaimedRun { run: self.runs.get(&id)?.run.clone(), job, lease })
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
        let AttemptEnd { run: id, token, attempt, settled, pause_job, now } = end;
        let Some(key) = self.runs.get(&id).filter(|stored| stored.held.as_ref().is_some_and(|held| held.lease.token == token)).map(|s| s.run.job.clone())
        else {
            return Fenced::LeaseLost;
        };
        if let Settled::Missed(skip) = settled {
            self.delete_run(id);
            self.record_skip(&key, skip);
            return Fenced::Done;
        }
        let job_exists = self.jobs.contains_key(&key);
        self.change_run(id, |stored| {
            stored.held = None;
            apply::settle(&mut stored.run, attempt.as_ref(), &settled, job_exists, now);
            stored.attempts.extend(attempt);
        });
        let ended = self.runs.get(&id).filter(|stored| stored.run.state == RunState::Ended).map(|stored| stored.run.clone());
        self.change_job(&key, |stored| {
            if let Some(run) = ended {
                apply::remember(&mut stored.job, &run);
            }
            if pause_job.is_some_and(|pause| apply::pause(&mut stored.job, pause)) {
                stored.held = None;
            }
        });
        Fenced::Done
    }

    pub(super) fn claim_lost(&mut self, owner: &Owner, now: Timestamp, until: Timestamp, max: usize) -> Vec<ClaimedRun> {
        let mut lost: Vec<_> = self.running_leases().filter(|(end, _)| *end <= now).collect();
        lost.sort_unstable();
        let mut claimed = Vec::new();
        for (_, id) in lost.into_iter().take(max) {
            match self.claim(id, owner, until, |_| {}) {
                Some(run) => claimed.push(run),
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

    pub(super) fn runs(&self, filter: &RunFilter, page: PageRequest) -> Result<Page<Run>, StoreError> {
        let after = page.after::<RunId>()?;
        let RunFilter { tenant, job, state, outcome, since, until } = filter;
        let in_filter = |run: &&Run| {
            run.job.tenant == *tenant
                && job.as_ref().is_none_or(|job| run.job.id == *job)
                && state.is_none_or(|state| run.state == state)
                && outcome.is_none_or(|outcome| run.outcome == Some(outcome))
                && since.is_none_or(|since| run.scheduled_at >= since)
                && until.is_none_or(|until| run.scheduled_at < until)
                && after.is_none_or(|after| run.id < after)
        };
        let items = self.runs.values().rev().map(|stored| &stored.run).filter(in_filter).take(page.limit() + 1).cloned().collect();
        Ok(Page::cut(items, page.limit(), |run| run.id.to_string()))
    }

    pub(super) fn skipped(&self, tenant: &TenantId, job: Option<&JobKey>, page: PageRequest) -> Result<Page<(JobKey, Skipped)>, StoreError> {
        let after = page.after::<u64>()?;
        let in_filter =
            |(id, (key, _)): &(&u64, &(JobKey, Skipped))| key.tenant == *tenant && job.is_none_or(|job| key == job) && after.is_none_or(|after| **id < after);
        let found: Vec<_> = self.skipped.iter().rev().filter(in_filter).take(page.limit() + 1).collect();
        let page = Page::cut(found, page.limit(), |(id, _)| id.to_string());
        Ok(page.map(|(_, record)| record.clone()))
    }

    pub(super) fn prune(&mut self, retention: Retention) -> u64 {
        let Retention { before, runs_per_job_max, max } = retention;
        let most = usize::try_from(max).unwrap_or(usize::MAX);
        let ended = || self.runs.values().map(|stored| &stored.run).filter(|run| run.state == RunState::Ended);
        let mut runs: Vec<RunId> = ended().filter(|run| run.ended_at.is_some_and(|at| at < before)).map(|run| run.id).take(most).collect();
        let skips: Vec<u64> = self.skipped.iter().filter(|(_, (_, skip))| skip.recorded_at < before).map(|(id, _)| *id).take(most - runs.len()).collect();
        let mut left: BTreeMap<&JobKey, Vec<RunId>> = BTreeMap::new();
        for run in ended().filter(|run| run.ended_at.is_none_or(|at| at >= before)) {
            left.entry(&run.job).or_default().push(run.id);
        }
        let surplus = left.into_values().flat_map(|ids| {
            let surplus = ids.len().saturating_sub(usize::try_from(runs_per_job_max).unwrap_or(usize::MAX));
            ids.into_iter().take(surplus)
        });
        let surplus: Vec<RunId> = surplus.take(most - runs.len() - skips.len()).collect();
        runs.extend(surplus);
        for &id in &runs {
            self.delete_run(id);
        }
        for id in &skips {
            self.skipped.remove(id);
        }
        (runs.len() + skips.len()) as u64
    }
}
