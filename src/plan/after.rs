//! What the ends of upstream runs become, in a job that follows other jobs.
//!
//! ```text
//! ends, in order of arrival ──► firings: one an end (any), one when each upstream has ended (all)
//!                                  └─► pause, calendars, grace, coalesce, overlap: as for firings of time
//! ```
//! A firing's instant is that at which its last upstream run ended. With `all`, an end whose fellows are still missing is
//! kept for a later firing; a newer one of the same job takes its place. What does not count is consumed without a trace.

use jiff::Timestamp;

use crate::job::{After, Coalesce, Job, JobState, SkipReason, Skipped, UpstreamEnd};
use crate::trigger::Join;

use super::fire::{Due, Ends, Firing, Named, Step, grace, overlap, skipped_named};

pub(super) fn fire(due: Due<'_>, ends: Ends<'_>, now: Timestamp) -> Firing {
    let job = due.job;
    let mut firing = Firing { next_fire: None, wake_at: None, state: JobState::Active, ..Firing::of(job) };
    let (mut named, consumed) = named(ends);
    firing.consumed = consumed;
    if let Some(pause) = &job.pause {
        let over = pause.until.filter(|&until| until <= now);
        let (paused, open) = named.into_iter().partition::<Vec<_>, _>(|n| over.is_none_or(|until| n.at <= until));
        firing.steps.extend(skipped_named(&paused, SkipReason::Paused, pause.reason.clone(), now));
        named = open;
        match over {
            Some(_) => firing.pause = None,
            None => firing.wake_at = job.wake_in_pause(pause),
        }
    }
    let open = open(due, named, now, &mut firing.steps);
    let chosen = choose(job, open, now, &mut firing.steps);
    if !chosen.is_empty() {
        overlap(due, chosen, now, &mut firing);
    }
    firing.sort();
    firing
}

/// The record of ends that came in for a job that cannot be scheduled; `None` where there are none.
pub fn unresolved<'a>(ends: impl Iterator<Item = &'a UpstreamEnd> + Clone, why: &str, now: Timestamp) -> Option<Skipped> {
    let instants = ends.map(|end| end.ended_at);
    let (first, last) = (instants.clone().min()?, instants.clone().max()?);
    let detail = Some(format!("upstream runs ended while it could not be scheduled: {why}"));
    Some(Skipped { reason: SkipReason::Missed, detail, count: instants.count() as u64, exact: false, first, last, recorded_at: now })
}

/// The firings, and the places of the ends that no later one needs.
fn named(Ends { after, arrived }: Ends<'_>) -> (Vec<Named>, Vec<usize>) {
    let mut named = Vec::new();
    // With `all`: the newest end of each upstream job since the last firing.
    let mut waiting: Vec<usize> = Vec::new();
    for (place, end) in arrived.iter().enumerate().filter(|(_, end)| after.counts(end)) {
        waiting.retain(|&w| arrived[w].job != end.job);
        waiting.push(place);
        if complete(after, waiting.len()) {
            let upstream: Vec<UpstreamEnd> = waiting.drain(..).map(|w| arrived[w].clone()).collect();
            named.push(Named { at: upstream.iter().map(|e| e.ended_at).max().unwrap_or(end.ended_at), upstream });
        }
    }
    (named, (0..arrived.len()).filter(|place| !waiting.contains(place)).collect())
}

fn complete(after: &After, ended: usize) -> bool {
    match after.join {
        Join::Any => ended > 0,
        Join::All => ended == after.upstream.len(),
    }
}

/// Those that fall into no calendar; the others are recorded.
fn open(due: Due<'_>, named: Vec<Named>, now: Timestamp, steps: &mut Vec<Step>) -> Vec<Named> {
    let closed = |n: &Named| due.calendars.iter().find(|(_, calendar)| calendar.covering(n.at).is_some()).map(|(name, _)| format!("calendar {name}"));
    let mut open = Vec::with_capacity(named.len());
    for n in named {
        match closed(&n) {
            Some(detail) => steps.extend(skipped_named(&[n], SkipReason::Skipped, detail, now)),
            None => open.push(n),
        }
    }
    open
}

/// Those that are to run, by misfire grace and coalesce; the others are pushed as skips.
fn choose(job: &Job, named: Vec<Named>, now: Timestamp, steps: &mut Vec<Step>) -> Vec<Named> {
    let spec = &job.spec;
    let mut skip = |named: &[Named], reason, detail: &str| steps.extend(skipped_named(named, reason, detail.to_owned(), now));
    let edge = grace(job).map(|grace| now.saturating_sub(spec.jitter.saturating_add(grace)).unwrap_or(Timestamp::MIN));
    let (missed, mut chosen) = named.into_iter().partition::<Vec<_>, _>(|n| edge.is_some_and(|edge| n.at < edge));
    skip(&missed, SkipReason::Missed, "later than its misfire grace");
    match spec.coalesce {
        Coalesce::Latest => {
            let latest = chosen.split_off(chosen.len().saturating_sub(1));
            skip(&chosen, SkipReason::Coalesced, "a later firing ran for it");
            latest
        }
        Coalesce::Earliest => {
            let others = chosen.split_off(chosen.len().min(1));
            skip(&others, SkipReason::Coalesced, "an earlier firing ran for it");
            chosen
        }
        Coalesce::All => {
            let newest = chosen.split_off(chosen.len().saturating_sub(spec.catch_up_max as usize));
            skip(&chosen, SkipReason::Missed, "past catch_up_max");
            newest
        }
    }
}
