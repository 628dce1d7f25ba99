//! What becomes of a run after an attempt.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};

use crate::job::{Backoff, Cause, Job, Outcome, Pause, Retry, RetryAdvice, Run, SkipReason, Skipped};

/// Attempts lost with their node that do not count against `max_attempts`: a run is not given up because of one crash.
const LOST_UNCOUNTED: u32 = 1;

#[derive(Clone, Debug, PartialEq)]
pub struct Settlement {
    pub decision: Decision,
    /// The job is to be paused: too many runs in a row did not succeed.
    pub pause_job: Option<Pause>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    Ended,
    /// Another attempt, not before `at`. `uncounted`: the ended attempt does not count against `max_attempts`.
    Retry {
        at: Timestamp,
        uncounted: bool,
    },
}

/// The longest wait that a guest can ask for.
const ADVICE_MAX: SignedDuration = SignedDuration::from_hours(24);

/// `run.attempt` is the number of the attempt that just ended, with `outcome`; `advice` is what its guest asked for. A guest
/// may ask for another attempt (whatever the outcome, within `max_attempts`), as late as a day from now, or forbid one.
pub fn settle(job: &Job, run: &Run, outcome: Outcome, advice: Option<RetryAdvice>, now: Timestamp) -> Settlement {
    let retry = &job.spec.retry;
    let counted = run.attempt.saturating_sub(run.lost_attempts);
    let decision = if run.cancel_requested.is_some() || matches!(outcome, Outcome::Succeeded | Outcome::Cancelled) {
        Decision::Ended
    } else if outcome == Outcome::Lost && run.lost_attempts < LOST_UNCOUNTED {
        Decision::Retry { at: now, uncounted: true }
    } else {
        let wait = match advice {
            _ if counted >= retry.max_attempts => None,
            Some(RetryAdvice::Never) => None,
            Some(RetryAdvice::Again { after: Some(after) }) => Some(after.clamp(SignedDuration::ZERO, ADVICE_MAX)),
            Some(RetryAdvice::Again { after: None }) => Some(backoff(retry, run, counted)),
            None if retry.on.contains(&outcome) => Some(backoff(retry, run, counted)),
            None => None,
        };
        wait.map_or(Decision::Ended, |wait| Decision::Retry { at: now.saturating_add(wait).unwrap_or(Timestamp::MAX), uncounted: false })
    };
    let failed = decision == Decision::Ended && !matches!(outcome, Outcome::Succeeded | Outcome::Cancelled);
    let failures = job.failures_in_row.saturating_add(1);
    let pause_job =
        job.spec.pause_after_failures.filter(|&most| failed && run.cause != Cause::Backfill && failures >= most && job.pause.is_none()).map(|_| Pause {
            since: now,
            reason: Some(format!("{failures} runs in a row did not succeed; the last one: {outcome}")),
            by: Some("bellcage".to_owned()),
            until: None,
        });
    Settlement { decision, pause_job }
}

/// The firing record that takes the place of a run claimed after its start deadline; `None` when it is in time.
pub fn start_missed(run: &Run, now: Timestamp) -> Option<Skipped> {
    let deadline = run.start_deadline.filter(|&deadline| now > deadline && run.attempt <= 1)?;
    Some(Skipped {
        reason: SkipReason::Missed,
        detail: Some(format!("it waited for a free slot until its start deadline of {deadline} was past")),
        count: 1,
        exact: true,
        first: run.scheduled_at,
        last: run.scheduled_at,
        recorded_at: now,
    })
}

/// The wait before the attempt after the `counted`-th.
fn backoff(retry: &Retry, run: &Run, counted: u32) -> SignedDuration {
    if retry.backoff == Backoff::Fixed {
        return retry.initial.min(retry.max);
    }
    let doubled = 1_i32.checked_shl(counted.saturating_sub(1)).filter(|&n| n > 0).unwrap_or(i32::MAX);
    let wait = retry.initial.checked_mul(doubled).unwrap_or(retry.max).min(retry.max);
    // ± 10 % by a stable hash, so that runs that failed together do not come back together, and a replay waits the same.
    let hash = Sha256::new().chain_update(run.id.0.as_bytes()).chain_update(counted.to_be_bytes()).finalize();
    let per_mille = 900 + i32::from(u16::from_be_bytes([hash[0], hash[1]])) * 200 / i32::from(u16::MAX);
    wait.checked_mul(per_mille).map_or(wait, |w| w / 1000)
}
