//! Ends of upstream runs, in the jobs that follow them.

use jiff::Timestamp;

use super::State;
use crate::job::{JobKey, Run, UpstreamEnd};
use crate::store::{ArrivedEnd, apply};
use crate::trigger::TriggerSpec;

pub(super) struct Arrived {
    end: UpstreamEnd,
    /// A committed firing has looked at it.
    seen: bool,
}

impl State {
    /// A job follows what `now` names, in place of what `former` did.
    pub(super) fn follow(&mut self, key: &JobKey, former: Option<&TriggerSpec>, now: Option<&TriggerSpec>) {
        let jobs = |trigger: Option<&TriggerSpec>| {
            let ids = trigger.map_or(&[][..], TriggerSpec::upstream).iter().filter_map(|id| id.parse().ok());
            ids.map(|id| JobKey { tenant: key.tenant.clone(), id }).collect::<Vec<_>>()
        };
        for upstream in jobs(former) {
            if let Some(followers) = self.downstream.get_mut(&upstream) {
                followers.remove(key);
            }
        }
        for upstream in jobs(now) {
            self.downstream.entry(upstream).or_default().insert(key.clone());
        }
    }

    /// Where a run has ended, the jobs that follow its job are told.
    pub(super) fn tell_downstream(&mut self, run: &Run) {
        let Some(end) = apply::RunEnd::of(run).and_then(|end| end.for_downstream(&run.job.id)) else { return };
        let followers: Vec<JobKey> = self.downstream.get(&run.job).into_iter().flatten().cloned().collect();
        for key in followers {
            self.records += 1;
            self.ends.entry(key.clone()).or_default().insert(self.records, Arrived { end: end.clone(), seen: false });
            self.change_job(&key, |stored| stored.job.wake_at = Some(apply::wake_for(stored.job.wake_at, end.ended_at)));
        }
    }

    pub(super) fn arrived(&self, key: &JobKey) -> impl Iterator<Item = ArrivedEnd> {
        self.ends.get(key).into_iter().flatten().map(|(&number, arrived)| ArrivedEnd { number, end: arrived.end.clone() })
    }

    /// A firing was committed that looked at all up to `seen` and needs these no more.
    pub(super) fn settle_ends(&mut self, key: &JobKey, consumed: &[u64], seen: u64) {
        let Some(ends) = self.ends.get_mut(key) else { return };
        ends.retain(|number, _| !consumed.contains(number));
        ends.range_mut(..=seen).for_each(|(_, arrived)| arrived.seen = true);
    }

    /// A job is due while there are ends that no firing has looked at.
    pub(super) fn wake_for_ends(&mut self, key: &JobKey) {
        if let Some(unseen) = self.unseen(key).into_iter().min() {
            self.change_job(key, |stored| stored.job.wake_at = Some(apply::wake_for(stored.job.wake_at, unseen)));
        }
    }

    fn unseen(&self, key: &JobKey) -> Vec<Timestamp> {
        self.ends.get(key).into_iter().flat_map(|ends| ends.values()).filter(|arrived| !arrived.seen).map(|arrived| arrived.end.ended_at).collect()
    }

    /// The trigger that the ends came in for goes.
    pub(super) fn drop_ends(&mut self, key: &JobKey, why: &str, now: Timestamp) {
        if let Some(skip) = apply::unseen(&self.unseen(key), why, now) {
            self.record_skip(key, skip);
        }
        self.ends.remove(key);
    }
}
