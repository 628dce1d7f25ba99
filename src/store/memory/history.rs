//! What happened: lists of runs and of firings that made none, and what is forgotten of them.

use std::collections::BTreeMap;

use super::State;
use crate::job::{JobKey, Run, RunId, RunState, Skipped, TenantId};
use crate::store::{Page, PageRequest, Retention, RunFilter, StoreError};

impl State {
    pub(super) fn runs(&self, filter: &RunFilter, page: PageRequest) -> Result<Page<Run>, StoreError> {
        let after = page.after::<RunId>()?;
        let RunFilter { tenant, job, state, outcome, cause, since, until } = filter;
        let in_filter = |run: &&Run| {
            run.job.tenant == *tenant
                && job.as_ref().is_none_or(|job| run.job.id == *job)
                && state.is_none_or(|state| run.state == state)
                && outcome.is_none_or(|outcome| run.outcome == Some(outcome))
                && cause.is_none_or(|cause| run.cause == cause)
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
        let mut skips: Vec<_> = self.skipped.iter().map(|(id, (_, skip))| (skip.recorded_at, *id)).filter(|(recorded_at, _)| *recorded_at < before).collect();
        skips.sort_unstable();
        skips.truncate(most - runs.len());
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
        for (_, id) in &skips {
            self.skipped.remove(id);
        }
        (runs.len() + skips.len()) as u64
    }
}
