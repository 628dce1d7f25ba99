//! `bellcage limits suggest`: limits that fit what a job has used, from the receipts of its past runs.

use clap::{Args, Subcommand};
use jiff::SignedDuration;
use serde::Serialize;

use crate::job::{JobId, Limits, LimitsSpec, Outcome, Receipt, RunState, bytes, duration};
use crate::wire::{Page, Run, RunQuery};

use super::Context;
use super::error::{CliError, Exit, Result};
use super::output::{Column, Table, grouped, micros, size};

#[derive(Subcommand)]
pub enum LimitsCommand {
    /// Limits for a job, from what its past runs used
    Suggest(SuggestArgs),
}

#[derive(Args)]
pub struct SuggestArgs {
    job: String,
    /// Look at so many of its last runs
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Allow so many times the most that a run which succeeded has used
    #[arg(long, value_name = "FACTOR", default_value_t = 2.0, value_parser = margin)]
    margin: f64,
}

fn margin(typed: &str) -> std::result::Result<f64, String> {
    typed.parse().ok().filter(|factor| (0.1..=1000.0).contains(factor)).ok_or_else(|| "not a number from 0.1 to 1000".to_owned())
}

/// What was found, and what follows from it.
#[derive(Debug, PartialEq, Serialize)]
struct Suggestion {
    job: JobId,
    margin: f64,
    /// Ended runs that were looked at.
    runs: usize,
    /// Those of them that succeeded: what they used is what the job needs.
    succeeded: usize,
    most_used: Used,
    limits: LimitsSpec,
    /// Runs that used more than this, so that the suggested limits would have stopped them.
    would_have_stopped: usize,
    /// Those of them that succeeded.
    would_have_stopped_succeeded: usize,
}

/// The most of each that one run used.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Used {
    fuel: u64,
    memory_bytes: u64,
    wall_us: u64,
    result_bytes: u64,
    log_bytes: u64,
    host_calls: u64,
}

impl Used {
    fn with(self, receipt: &Receipt) -> Self {
        Self {
            fuel: self.fuel.max(receipt.fuel_used),
            memory_bytes: self.memory_bytes.max(receipt.memory_peak_bytes),
            wall_us: self.wall_us.max(receipt.wall_us),
            result_bytes: self.result_bytes.max(receipt.result_bytes),
            log_bytes: self.log_bytes.max(receipt.log_bytes),
            host_calls: self.host_calls.max(receipt.host_calls),
        }
    }

    /// As `times`, and no more than the job may ask for.
    fn within(&self, margin: f64, caps: &Limits) -> LimitsSpec {
        let limits = self.times(margin);
        LimitsSpec {
            fuel: limits.fuel.map(|fuel| fuel.min(caps.fuel)),
            memory: limits.memory.map(|memory| memory.min(caps.memory)),
            timeout: limits.timeout.map(|timeout| timeout.min(caps.timeout)),
            result: limits.result.map(|result| result.min(caps.result)),
            logs: limits.logs.map(|logs| logs.min(caps.logs)),
            host_calls: limits.host_calls.map(|calls| calls.min(caps.host_calls)),
            ..limits
        }
    }

    /// Rounded up to what people would write, and never so little that noise alone would stop a run.
    fn times(&self, margin: f64) -> LimitsSpec {
        let up = |used: u64, step: u64| (((used as f64 * margin) as u64).max(1)).div_ceil(step).saturating_mul(step);
        let timeout_ms = up(self.wall_us.div_ceil(1_000), 100).max(1_000);
        LimitsSpec {
            fuel: Some(two_digits(up(self.fuel, 1).max(100_000))),
            memory: Some(up(self.memory_bytes, 1 << 20)),
            timeout: Some(SignedDuration::from_millis(i64::try_from(timeout_ms).unwrap_or(i64::MAX))),
            result: Some(up(self.result_bytes, 1 << 10)),
            logs: Some(up(self.log_bytes, 1 << 10)),
            host_calls: Some(two_digits(up(self.host_calls, 1).max(1_000))),
            ..LimitsSpec::default()
        }
    }
}

/// The next number above with two digits that are not zero.
fn two_digits(n: u64) -> u64 {
    let step = 10_u64.pow(n.checked_ilog10().unwrap_or(0).saturating_sub(1));
    n.div_ceil(step).saturating_mul(step)
}

/// Of a long log the ends are kept: that stops no run.
fn stops(limits: &LimitsSpec, receipt: &Receipt) -> bool {
    let over = |used: u64, limit: Option<u64>| limit.is_some_and(|limit| used > limit);
    let wall = SignedDuration::from_micros(i64::try_from(receipt.wall_us).unwrap_or(i64::MAX));
    over(receipt.fuel_used, limits.fuel)
        || over(receipt.memory_peak_bytes, limits.memory)
        || over(receipt.result_bytes, limits.result)
        || over(receipt.host_calls, limits.host_calls)
        || limits.timeout.is_some_and(|timeout| wall > timeout)
}

impl Suggestion {
    /// From ended runs of `job`; `None` where none of them succeeded, so that nothing is known of what it needs.
    fn of(job: &JobId, runs: &[Run], margin: f64, caps: &Limits) -> Option<Self> {
        let receipts: Vec<_> = runs.iter().filter_map(|run| Some((run.outcome? == Outcome::Succeeded, run.receipt.as_ref()?))).collect();
        let good: Vec<_> = receipts.iter().filter(|(succeeded, _)| *succeeded).map(|(_, receipt)| *receipt).collect();
        if good.is_empty() {
            return None;
        }
        let most_used = good.iter().fold(Used::default(), |used, receipt| used.with(receipt));
        let limits = most_used.within(margin, caps);
        let stopped = |receipts: &[&Receipt]| receipts.iter().filter(|receipt| stops(&limits, receipt)).count();
        let all: Vec<_> = receipts.iter().map(|(_, receipt)| *receipt).collect();
        let (would_have_stopped, would_have_stopped_succeeded) = (stopped(&all), stopped(&good));
        Some(Self { job: job.clone(), margin, runs: all.len(), succeeded: good.len(), most_used, limits, would_have_stopped, would_have_stopped_succeeded })
    }
}

pub fn run(command: &LimitsCommand, context: &Context) -> Result {
    let LimitsCommand::Suggest(args) = command;
    let job: JobId = args.job.parse()?;
    let client = context.client()?;
    // A job that does not exist is told apart from one that has not run.
    client.job(&job)?;
    let page = Page { limit: Some(args.runs), after: None };
    let list = client.runs(&RunQuery { job: Some(job.clone()), state: Some(RunState::Ended), page, ..RunQuery::default() })?;
    let suggestion = Suggestion::of(&job, &list.runs, args.margin, &client.limits()?.caps).ok_or_else(|| {
        CliError::new(Exit::FAILED, "nothing-to-suggest-from", format!("no run of job {job} has succeeded yet, so nothing is known of what it needs"))
            .hint(format!("run it with generous limits first: bellcage trigger {job} --wait"))
    })?;
    let out = &context.out;
    if out.json {
        out.document(&suggestion)?;
        return Ok(Exit::OK);
    }
    let Suggestion { most_used, limits, .. } = &suggestion;
    let mut table = Table::new([Column::whole("LIMIT"), Column::figure("MOST USED"), Column::figure("SUGGESTED")]);
    let of_bytes = |limit: Option<u64>| limit.map(bytes::format).unwrap_or_default();
    table.row(["fuel".to_owned(), grouped(most_used.fuel), limits.fuel.map(grouped).unwrap_or_default()]);
    table.row(["memory".to_owned(), size(most_used.memory_bytes), of_bytes(limits.memory)]);
    table.row(["timeout".to_owned(), micros(most_used.wall_us), limits.timeout.map(duration::format).unwrap_or_default()]);
    table.row(["result".to_owned(), size(most_used.result_bytes), of_bytes(limits.result)]);
    table.row(["logs".to_owned(), size(most_used.log_bytes), of_bytes(limits.logs)]);
    table.row(["host_calls".to_owned(), grouped(most_used.host_calls), limits.host_calls.map(grouped).unwrap_or_default()]);
    out.data(&table.render(out))?;
    out.line(&verdict(&suggestion))?;
    out.hint(&format!("write it in the job's file: limits = {}", as_toml(limits)));
    Ok(Exit::OK)
}

fn verdict(suggestion: &Suggestion) -> String {
    let Suggestion { runs, succeeded, would_have_stopped, would_have_stopped_succeeded, .. } = suggestion;
    let of_those = if *would_have_stopped > 0 { format!(", {would_have_stopped_succeeded} of them runs that succeeded") } else { String::new() };
    format!("Of the last {runs} runs, {succeeded} succeeded; these limits would have stopped {would_have_stopped}{of_those}.")
}

/// JSON's strings and numbers are TOML's too.
fn as_toml(limits: &LimitsSpec) -> String {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(limits) else { return String::new() };
    format!("{{ {} }}", fields.iter().map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(fuel: u64, memory: u64, wall_us: u64) -> Receipt {
        Receipt { fuel_used: fuel, memory_peak_bytes: memory, wall_us, result_bytes: 1_500, log_bytes: 10, ..Receipt::default() }
    }

    #[test]
    fn limits_are_the_most_used_times_the_margin_rounded_up() {
        let used = Used::default().with(&used(1_234_567, 3 << 20, 10)).with(&used(1_000, 1 << 20, 2_345_678));
        let limits = used.times(2.0);
        assert_eq!(as_toml(&limits), r#"{ fuel = 2500000, host_calls = 1000, logs = "1KiB", memory = "6MiB", result = "3KiB", timeout = "4s700ms" }"#);
    }

    #[test]
    fn no_more_is_suggested_than_a_job_may_ask_for() {
        let used = Used::default().with(&used(1_000_000, 40 << 20, 1_000_000));
        let caps = Limits { memory: 64 << 20, timeout: SignedDuration::from_millis(1_500), ..Limits::default() };
        let limits = used.within(2.0, &caps);
        assert_eq!((limits.memory, limits.timeout, limits.fuel), (Some(64 << 20), Some(SignedDuration::from_millis(1_500)), Some(2_000_000)));
    }

    #[test]
    fn a_job_that_uses_next_to_nothing_is_given_some_room() {
        let limits = Used::default().times(2.0);
        assert_eq!(as_toml(&limits), r#"{ fuel = 100000, host_calls = 1000, logs = "1KiB", memory = "1MiB", result = "1KiB", timeout = "1s" }"#);
    }

    #[test]
    fn a_run_that_used_more_of_anything_would_have_been_stopped() {
        let limits = Used::default().with(&used(1_000_000, 1 << 20, 2_000_000)).times(1.0);
        assert!(!stops(&limits, &used(1_000_000, 1 << 20, 2_000_000)));
        for more in [
            used(1_000_001, 0, 0),
            used(0, (1 << 20) + 1, 0),
            used(0, 0, 2_000_001),
            Receipt { result_bytes: 2_049, ..used(0, 0, 0) },
            Receipt { host_calls: 1_001, ..used(0, 0, 0) },
        ] {
            assert!(stops(&limits, &more), "{more:?}");
        }
        assert!(!stops(&limits, &Receipt { log_bytes: 1 << 30, ..used(0, 0, 0) }), "a log is cut, its run goes on");
    }

    #[test]
    fn a_margin_is_a_number_within_reason() {
        assert_eq!(margin("1.5"), Ok(1.5));
        for bad in ["", "x", "0", "-1", "NaN", "inf", "1001"] {
            assert!(margin(bad).is_err(), "{bad}");
        }
    }
}
