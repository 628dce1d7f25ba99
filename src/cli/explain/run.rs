//! `bellcage explain run`: the story of a run, and what to do about its end.

use jiff::tz::TimeZone;

use crate::job::{Cause, Outcome, Receipt, RunError, bytes};
use crate::wire::{Attempt, Enough, RunDetail};

use super::super::error::{Exit, Result};
use super::super::output::{escape, grouped, micros, size};
use super::super::{Context, when};
use super::codes;

pub fn explain(typed: &str, context: &Context) -> Result {
    let id = typed.parse()?;
    let detail = context.client()?.run(id)?;
    if context.out.json {
        context.out.document(&detail)?;
        return Ok(Exit::OK);
    }
    context.out.data(&story(&detail))?;
    Ok(Exit::OK)
}

fn story(detail: &RunDetail) -> String {
    let run = &detail.run;
    let zone = detail.job_now.as_ref().map_or(TimeZone::UTC, |job| job.zone());
    let at = |t| when::local(t, &zone);
    let mut lines = vec![match run.cause {
        Cause::Scheduled => {
            let trigger = detail.job_now.as_ref().and_then(|job| job.trigger_text.as_deref());
            let trigger = trigger.map(|text| format!(", which fires {text}")).unwrap_or_default();
            format!("The trigger of job {}{trigger}, named {}.", run.job, at(run.scheduled_at))
        }
        Cause::After => {
            let ends: Vec<_> = run.upstream.iter().map(|end| format!("{} ended as {} (run {})", end.job, end.outcome, end.run)).collect();
            format!("Job {} follows others: {} at {}.", run.job, ends.join(" and "), at(run.scheduled_at))
        }
        Cause::Backfill => format!("A backfill makes up for the firing of job {} at {}.", run.job, at(run.scheduled_at)),
        Cause::OnDemand => format!("Somebody asked for a run of job {} at {}.", run.job, at(run.scheduled_at)),
    }];
    lines.push(format!("It runs {}.", run.component));
    match run.started_at {
        Some(started) => {
            let late = started.duration_since(run.scheduled_at).as_micros().max(0);
            lines.push(format!("It started {}, {} after that.", at(started), micros(u64::try_from(late).unwrap_or(u64::MAX))));
        }
        None => lines.push("It has not started.".to_owned()),
    }
    if run.rate_limited {
        lines.push(format!("Its job's rate limit did not allow it before {}.", at(run.start_at)));
    }
    for attempt in &detail.attempts {
        lines.extend(attempt_story(attempt, detail.attempts.len() > 1 || run.attempt > 1));
    }
    if let Some(what) = &detail.waiting_for {
        lines.push(format!("It waits for {what}."));
    }
    if let Some(reason) = &run.cancel_requested {
        lines.push(format!("It was asked to stop: {reason}."));
    }
    match run.outcome {
        Some(outcome) => lines.push(format!("So it ended as {outcome}.")),
        None => lines.push(format!("It is {} now.", run.state.as_str())),
    }
    if let Some(enough) = &detail.enough {
        lines.push(how_much(enough));
    }
    if let Some(advice) = run.outcome.and_then(|outcome| advice(outcome, run.error.as_ref(), run.receipt.as_ref())) {
        lines.push(String::new());
        lines.push(advice);
    }
    lines.iter().map(|line| format!("{}\n", escape(line))).collect()
}

fn attempt_story(attempt: &Attempt, several: bool) -> Vec<String> {
    let who = if several { format!("Attempt {}", attempt.number) } else { "It".to_owned() };
    let took = |r: &Receipt| format!("{who} took {}: {} of fuel and {} of memory.", micros(r.wall_us), grouped(r.fuel_used), size(r.memory_peak_bytes));
    let mut lines: Vec<_> = attempt.receipt.iter().map(took).collect();
    let cut = attempt.receipt.iter().filter(|r| r.log_bytes_dropped > 0);
    lines.extend(cut.map(|r| {
        format!("Of its log of {}, {} were dropped: limits.logs = {} would have kept all.", size(r.log_bytes), size(r.log_bytes_dropped), r.log_bytes)
    }));
    let Some(error) = &attempt.error else { return lines };
    lines.push(format!("{who} {}: {} ({}).", verb(attempt.outcome), error.message, error.code));
    if let Some(frames) = &error.backtrace {
        lines.push("The guest was in:".to_owned());
        lines.extend(frames.iter().map(|frame| format!("  {frame}")));
    }
    lines
}

/// How much of the limit would have been enough, as far as that is known.
fn how_much(enough: &Enough) -> String {
    let Enough { limit, allowed, asked, most_used, succeeded_runs } = enough;
    let is_size = matches!(limit.as_str(), "memory" | "result" | "host_call_bytes" | "random" | "kv_bytes" | "http_body");
    let of = |n: u64| match limit.as_str() {
        "timeout" => micros(n),
        _ if is_size => format!("{} ({} B)", size(n), grouped(n)),
        _ => grouped(n),
    };
    let asked = asked.map(|asked| format!("It asked for {}: limits.{limit} has to be that, at least.", of(asked)));
    let used = most_used.map(|most| match succeeded_runs {
        1 => format!("The one run of this job that succeeded with this component used {}.", of(most)),
        runs => format!("The last {runs} runs of this job that succeeded with this component used at most {}.", of(most)),
    });
    match (asked, used) {
        (Some(asked), Some(used)) => format!("{asked} {used}"),
        (Some(one), None) | (None, Some(one)) => one,
        // These are only ever found to be too small: whoever counts stops there.
        (None, None) if is_size => {
            let double = allowed.map(|n| format!(" It was {}: try the double, limits.{limit} = \"{}\".", size(n), bytes::format(n.saturating_mul(2))));
            format!("How much of limits.{limit} would have been enough cannot be known, only that it was more.{}", double.unwrap_or_default())
        }
        (None, None) => format!("How much of limits.{limit} would have been enough is not known: no run tells."),
    }
}

fn verb(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded => "succeeded",
        Outcome::Failed => "failed",
        Outcome::Trapped => "trapped",
        Outcome::OutOfFuel | Outcome::OutOfMemory | Outcome::Timeout | Outcome::Limit => "was stopped by a limit",
        Outcome::Cancelled => "was cancelled",
        Outcome::Lost => "was lost",
        Outcome::Refused => "could not start",
    }
}

/// What to do next, in terms of this run's own figures where they say more than the code's remedy.
fn advice(outcome: Outcome, error: Option<&RunError>, receipt: Option<&Receipt>) -> Option<String> {
    let own = receipt.and_then(|r| match outcome {
        Outcome::OutOfFuel => Some(format!("If it needs more, raise limits.fuel above {}; if it spins, mend it.", grouped(r.fuel_limit))),
        Outcome::OutOfMemory => Some(format!("If it needs more, raise limits.memory above {}.", size(r.memory_limit_bytes))),
        _ => None,
    });
    own.or_else(|| error.and_then(|e| codes::find(&e.code)).map(|code| format!("What to do: {}.", code.remedy)))
}
