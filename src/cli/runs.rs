//! `bellcage runs …`.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::client::{Client, ClientErrorKind};
use crate::job::{Cause, JobId, Outcome, Receipt, RunId, RunState, SkipReason};
use crate::wire::{CancelFound, CancelRuns, CancelledRuns, Event, EventKind, EventQuery, Firing, FiringQuery, Page, Run, RunDetail, RunList, RunQuery};

use super::Context;
use super::component::{PageFlags, hint_more};
use super::error::{CliError, Exit, Result};
use super::output::{Column, Output, Style, Table, count, escape, escape_lines, fields, grouped, micros, size};
use super::when::{self, Zones};

#[derive(Subcommand)]
pub enum RunsCommand {
    /// Runs, newest first
    List(ListArgs),
    /// A run: its attempts, receipt and result
    Show { run: String },
    /// What the guest wrote to its log, as it is (control characters escaped on a terminal)
    Logs {
        run: String,
        /// Of this attempt [default: the last one that ended]
        #[arg(long, value_name = "N")]
        attempt: Option<u32>,
    },
    /// Follow what happens, until Ctrl-C
    Watch {
        /// Of this job only
        #[arg(long)]
        job: Option<String>,
        /// One JSON object a line
        #[arg(long)]
        jsonl: bool,
    },
    /// Cancel runs that have not ended
    Cancel {
        #[arg(required_unless_present = "job", value_name = "RUN")]
        runs: Vec<String>,
        /// All of this job instead
        #[arg(long, conflicts_with = "runs")]
        job: Option<String>,
        /// With --job: those of this cause alone: scheduled, on-demand, after or backfill
        #[arg(long, requires = "job")]
        cause: Option<String>,
        /// For whoever wonders later
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Args)]
pub struct ListArgs {
    /// Of this job
    #[arg(long)]
    job: Option<String>,
    /// queued, running, waiting-retry or ended
    #[arg(long)]
    state: Option<String>,
    /// succeeded, failed, trapped, out-of-fuel, out-of-memory, timeout, cancelled, limit, lost or refused
    #[arg(long)]
    outcome: Option<String>,
    /// scheduled, on-demand, after or backfill
    #[arg(long)]
    cause: Option<String>,
    /// Scheduled at this time (or so long ago) or later
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Scheduled before this time (or so long ago)
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Firings that made no run too, with their reasons
    #[arg(long, conflicts_with_all = ["state", "outcome", "cause"])]
    include_skipped: bool,
    #[command(flatten)]
    page: PageFlags,
}

pub fn run(command: &RunsCommand, context: &Context) -> Result {
    match command {
        RunsCommand::List(args) => list(args, context),
        RunsCommand::Show { run } => show(run, context),
        RunsCommand::Logs { run, attempt } => logs(run, *attempt, context),
        RunsCommand::Watch { job, jsonl } => watch(job.as_deref(), *jsonl || context.out.json, context),
        RunsCommand::Cancel { job: Some(job), cause, reason, .. } => cancel_all(job, cause.as_deref(), reason.as_deref(), context),
        RunsCommand::Cancel { runs, reason, .. } => cancel(runs, reason.as_deref(), context),
    }
}

fn list(args: &ListArgs, context: &Context) -> Result {
    let client = context.client()?;
    let query = query(args, &client, context)?;
    let list = client.runs(&query)?;
    let firings = if args.include_skipped { firings_between(&client, &query, &list)? } else { Vec::new() };
    let out = &context.out;
    if out.json {
        let mut document = json!({ "runs": list.runs, "next": list.next });
        if args.include_skipped {
            document["firings"] = json!(firings);
        }
        out.document(&document)?;
        return Ok(Exit::OK);
    }
    if list.runs.is_empty() && firings.is_empty() {
        out.hint("there is no such run: see when jobs fire with bellcage job list");
        return Ok(Exit::OK);
    }
    let mut zones = Zones::new(&client);
    let mut rows: Vec<(Timestamp, [String; 7])> = list.runs.iter().map(|run| (run.scheduled_at, run_row(run, &mut zones))).collect();
    rows.extend(firings.iter().map(|firing| (firing.last, firing_row(firing, &mut zones))));
    rows.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let mut table = Table::new([
        Column::whole("RUN"),
        Column::text("JOB"),
        Column::whole("SCHEDULED"),
        Column::whole("OUTCOME"),
        Column::figure("TOOK"),
        Column::figure("FUEL"),
        Column::figure("MEMORY"),
    ]);
    for (_, row) in rows {
        table.row(row);
    }
    out.data(&table.render(out))?;
    hint_more(context, list.next.as_ref());
    Ok(Exit::OK)
}

/// Firings without a run that belong beside this page of runs: a page's cursor is one of runs, so time bounds them.
fn firings_between(client: &Client, query: &RunQuery, list: &RunList) -> Result<Vec<Firing>> {
    let newest = list.runs.first().map(|run| run.scheduled_at).filter(|_| query.page.after.is_some());
    let oldest = list.runs.last().map(|run| run.scheduled_at).filter(|_| list.next.is_some());
    let page = Page { limit: query.page.limit, after: None };
    let mut firings = client.firings(&FiringQuery { job: query.job.clone(), page })?.firings;
    firings.retain(|firing| {
        let within = |t: Timestamp| query.since.is_none_or(|since| t >= since) && query.until.is_none_or(|until| t < until);
        within(firing.last) && newest.is_none_or(|newest| firing.last <= newest) && oldest.is_none_or(|oldest| firing.last >= oldest)
    });
    Ok(firings)
}

fn query(args: &ListArgs, client: &Client, context: &Context) -> Result<RunQuery> {
    let job = args.job.as_deref().map(str::parse::<JobId>).transpose()?;
    let state =
        args.state.as_deref().map(|name| RunState::from_name(name).ok_or_else(|| unknown("state", name, &["queued", "running", "waiting-retry", "ended"])));
    let outcomes = Outcome::ALL.map(Outcome::as_str);
    let outcome = args.outcome.as_deref().map(|name| Outcome::from_name(name).ok_or_else(|| unknown("outcome", name, &outcomes)));
    let zone = job.as_ref().map_or(TimeZone::UTC, |job| Zones::new(client).of(job));
    let now = context.now();
    let time = |typed: &Option<String>| typed.as_deref().map(|typed| when::parse(typed, &zone, now)).transpose();
    let cause = args.cause.as_deref().map(parse_cause).transpose()?;
    Ok(RunQuery {
        cause,
        since: time(&args.since)?,
        until: time(&args.until)?,
        job,
        state: state.transpose()?,
        outcome: outcome.transpose()?,
        page: args.page.page(),
    })
}

fn parse_cause(typed: &str) -> Result<Cause> {
    Cause::from_name(typed).ok_or_else(|| unknown("cause", typed, &["scheduled", "on-demand", "after", "backfill"]))
}

/// All unfinished runs of a job, a thousand a call.
fn cancel_all(job: &str, cause: Option<&str>, reason: Option<&str>, context: &Context) -> Result {
    let job: JobId = job.parse()?;
    let request = CancelRuns { cause: cause.map(parse_cause).transpose()?, reason: reason.map(str::to_owned) };
    let client = context.client()?;
    let mut all = CancelledRuns::default();
    let cut_short = loop {
        match client.cancel_runs(&job, &request) {
            Err(error) => break Some(error),
            Ok(done) => {
                all.cancelled += done.cancelled;
                all.requested += done.requested;
                if !done.more {
                    break None;
                }
            }
        }
    };
    all.more = cut_short.is_some();
    let out = &context.out;
    match (&cut_short, out.json) {
        (None, true) => out.document(&all)?,
        (_, false) => out.line(&format!("{} cancelled, {} asked to stop", grouped(all.cancelled), grouped(all.requested)))?,
        (Some(_), true) => {}
    }
    cut_short.map_or(Ok(Exit::OK), |error| Err(error.into()))
}

fn unknown(what: &str, typed: &str, names: &[&str]) -> CliError {
    let nearest = crate::config::nearest(typed, names.iter().map(|name| (*name).to_owned()));
    let hint = nearest.map_or_else(|| format!("use one of {}", names.join(", ")), |name| format!("did you mean {name}?"));
    CliError::usage(format!("{typed:?} is not an {what}").replace("an state", "a state").replace("an cause", "a cause")).hint(hint)
}

fn run_row(run: &Run, zones: &mut Zones<'_>) -> [String; 7] {
    let receipt = run.receipt.as_ref();
    [
        run.id.to_string(),
        run.job.to_string(),
        when::local(run.scheduled_at, &zones.of(&run.job)),
        run.outcome.map_or(run.state.as_str(), Outcome::as_str).to_owned(),
        receipt.map_or(String::new(), |r| micros(r.wall_us)),
        receipt.map_or(String::new(), |r| count(r.fuel_used)),
        receipt.map_or(String::new(), |r| size(r.memory_peak_bytes)),
    ]
}

fn firing_row(firing: &Firing, zones: &mut Zones<'_>) -> [String; 7] {
    let several = if firing.count > 1 { format!(" ×{}{}", grouped(firing.count), if firing.exact { "" } else { " at least" }) } else { String::new() };
    [
        "no run".to_owned(),
        firing.job.to_string(),
        when::local(firing.last, &zones.of(&firing.job)),
        format!("{}{several}", firing.reason.as_str()),
        String::new(),
        String::new(),
        String::new(),
    ]
}

fn parse_run(typed: &str) -> Result<RunId> {
    Ok(typed.parse()?)
}

fn show(typed: &str, context: &Context) -> Result {
    let id = parse_run(typed)?;
    let client = context.client()?;
    let detail = client.run(id)?;
    let out = &context.out;
    if out.json {
        out.document(&detail)?;
        return Ok(Exit::OK);
    }
    let zone = detail.job_now.as_ref().map_or(TimeZone::UTC, |job| job.zone());
    out.data(&describe(&detail, &zone, out))?;
    Ok(Exit::OK)
}

fn describe(detail: &RunDetail, zone: &TimeZone, out: &Output) -> String {
    let run = &detail.run;
    let at = |t: Option<Timestamp>| t.map_or("-".to_owned(), |t| when::local(t, zone));
    let state = match (run.outcome, &detail.waiting_for) {
        (Some(outcome), _) => outcome.as_str().to_owned(),
        (None, Some(what)) => format!("{}, waiting for {what}", run.state.as_str()),
        (None, None) => run.state.as_str().to_owned(),
    };
    let mut rows = vec![
        ("run", run.id.to_string()),
        ("job", run.job.to_string()),
        ("component", run.component.clone()),
        ("cause", cause(run)),
        ("scheduled", at(Some(run.scheduled_at))),
        ("started", format!("{}{}", at(run.started_at), if run.rate_limited { ", when its job's rate limit allowed it" } else { "" })),
        ("ended", at(run.ended_at)),
        ("attempts", run.attempt.to_string()),
        ("outcome", state),
    ];
    let progress = detail.progress.as_ref().or_else(|| detail.attempts.last().and_then(|attempt| attempt.progress.as_ref()));
    rows.extend(progress.map(|progress| ("progress", progress_words(progress.fraction, &progress.message))));
    rows.extend(run.error.as_ref().map(|error| ("error", format!("{} ({})", error.message, error.code))));
    rows.extend(run.key.as_ref().map(|key| ("key", key.to_string())));
    rows.extend(run.args.as_ref().map(|args| ("args", args.to_string())));
    let mut text = fields(out, &rows);
    if let Some(receipt) = &run.receipt {
        text.push_str(&format!("\n{}\n", out.stdout.bold("receipt")));
        text.push_str(&receipt_text(receipt, out));
    }
    if let Some(result) = detail.attempts.last().and_then(|attempt| attempt.result.as_ref()) {
        let result = result.as_str().map_or_else(|| result.to_string(), str::to_owned);
        if !result.is_empty() {
            text.push_str(&format!("\n{}\n{}\n", out.stdout.bold("result"), escape_lines(result.trim_end())));
        }
    }
    text
}

fn cause(run: &Run) -> String {
    let ends: Vec<_> = run.upstream.iter().map(|end| format!("{} {} in run {}", end.job, end.outcome, end.run)).collect();
    if ends.is_empty() { run.cause.as_str().to_owned() } else { format!("{}: {}", run.cause.as_str(), ends.join(", ")) }
}

/// What was used, against what was allowed.
pub fn receipt_text(r: &Receipt, out: &Output) -> String {
    let share = |used: u64, limit: u64| if limit == 0 { 0.0 } else { used as f64 * 100.0 / limit as f64 };
    let mut rows = vec![
        ("fuel", format!("{} of {} ({:.1} %)", grouped(r.fuel_used), grouped(r.fuel_limit), share(r.fuel_used, r.fuel_limit))),
        ("memory", format!("{} of {} ({:.1} %)", size(r.memory_peak_bytes), size(r.memory_limit_bytes), share(r.memory_peak_bytes, r.memory_limit_bytes))),
        ("time", format!("{} (cpu {}, instantiation {})", micros(r.wall_us), micros(r.cpu_us), micros(r.instantiate_us))),
    ];
    if r.queue_us > 0 {
        rows.push(("late by", micros(r.queue_us)));
    }
    rows.push(("host calls", grouped(r.host_calls)));
    let dropped = if r.log_bytes_dropped > 0 { format!(", {} of them dropped", size(r.log_bytes_dropped)) } else { String::new() };
    rows.push(("log", format!("{}{dropped}", size(r.log_bytes))));
    rows.push(("result", size(r.result_bytes)));
    rows.push(("component", r.digest.map(|digest| digest.to_string()).unwrap_or_default()));
    fields(out, &rows)
}

/// The log of a run that was waited for on stderr, its result on stdout, and why it did not succeed.
pub fn tell_result(client: &Client, detail: &RunDetail, context: &Context) -> Result<()> {
    let out = &context.out;
    match client.run_log(detail.run.id, None) {
        Ok(log) => out.guest_log(&log.bytes),
        Err(e) if e.kind() == ClientErrorKind::NotFound => {}
        Err(e) => return Err(e.into()),
    }
    if let Some(result) = detail.attempts.last().and_then(|attempt| attempt.result.as_ref()) {
        match result.as_str() {
            Some(text) => out.guest(text.as_bytes())?,
            None => out.document(result)?,
        }
    }
    if let Some(outcome) = detail.run.outcome.filter(|outcome| *outcome != Outcome::Succeeded) {
        out.message(&out.stderr.outcome_line(outcome.as_str(), detail.run.error.as_ref().map(|e| e.message.as_str())));
    }
    Ok(())
}

fn logs(typed: &str, attempt: Option<u32>, context: &Context) -> Result {
    let id = parse_run(typed)?;
    let log = context.client()?.run_log(id, attempt)?;
    let out = &context.out;
    if out.json {
        out.document(&json!({ "run": id, "attempt": log.attempt, "log": String::from_utf8_lossy(&log.bytes), "dropped": log.dropped }))?;
    } else {
        out.guest(&log.bytes)?;
    }
    Ok(Exit::OK)
}

fn cancel(typed: &[String], reason: Option<&str>, context: &Context) -> Result {
    let runs = typed.iter().map(|run| parse_run(run)).collect::<Result<Vec<_>>>()?;
    let client = context.client()?;
    let mut found = Vec::with_capacity(runs.len());
    for run in runs {
        let cancelled = client.cancel_run(run, reason)?;
        if !context.out.json {
            let what = match cancelled.found {
                CancelFound::Ended => "cancelled",
                CancelFound::Requested => "is being stopped",
                CancelFound::AlreadyEnded => "had ended before",
            };
            context.out.line(&format!("{run} {what}"))?;
        }
        found.push(cancelled);
    }
    if context.out.json {
        context.out.document(&json!({ "cancelled": found }))?;
    }
    Ok(Exit::OK)
}

fn watch(job: Option<&str>, jsonl: bool, context: &Context) -> Result {
    let client = context.client()?;
    let job = job.map(str::parse::<JobId>).transpose()?;
    if let Some(job) = &job {
        client.job(job)?;
    }
    let mut zones = Zones::new(&client);
    for event in client.events(EventQuery { job, ..EventQuery::default() })? {
        let event = event?;
        if jsonl {
            context.out.jsonl(&event)?;
        } else {
            let zone = event.kind.job().map_or(TimeZone::UTC, |job| zones.of(job));
            context.out.line(&event_line(&event, &zone, context.out.stdout))?;
        }
    }
    Ok(Exit::OK)
}

/// `40 %, 12 of 30 files`.
fn progress_words(fraction: Option<f64>, message: &str) -> String {
    let part = fraction.map(|part| format!("{:.0} %", part * 100.0));
    let words: Vec<_> = part.into_iter().chain((!message.is_empty()).then(|| escape(message).to_string())).collect();
    if words.is_empty() { "under way".to_owned() } else { words.join(", ") }
}

/// One event on one line: when, which job, what.
pub fn event_line(event: &Event, zone: &TimeZone, style: Style) -> String {
    let at = event.at.to_zoned_datetime(zone.clone()).strftime("%H:%M:%S %Z").to_string();
    let job = event.kind.job().map_or_else(|| "-".to_owned(), ToString::to_string);
    let head = format!("{} {:12}", style.dim(&format!("{at:13}")), job);
    let what = match &event.kind {
        EventKind::RunEnded { outcome, message, receipt, .. } => return format!("{head} {}", ended(*outcome, message.as_deref(), receipt.as_deref(), style)),
        EventKind::RunProgress { fraction, message, .. } => style.dim(&progress_words(*fraction, message)),
        EventKind::RunStarted { attempt: 1, .. } => style.dim("started"),
        EventKind::RunStarted { attempt, .. } => style.dim(&format!("started, attempt {attempt}")),
        EventKind::RunRetry { outcome, attempt, retry_at, .. } => {
            format!("{} in attempt {attempt}; the next one is {}", style.outcome(outcome.as_str()), when::relative(*retry_at, event.at))
        }
        EventKind::FiringSkipped { reason, detail, count, .. } => format!("{} {}", style.yellow("no run:"), skip_words(*reason, detail.as_deref(), *count)),
        EventKind::JobAdded { .. } => "added".to_owned(),
        EventKind::JobPaused { reason, .. } => format!("paused{}", reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default()),
        EventKind::JobResumed { .. } => "resumed".to_owned(),
        EventKind::JobRemoved { .. } => "removed".to_owned(),
        EventKind::JobFinished { .. } => "finished: its trigger has ended".to_owned(),
        EventKind::ComponentPushed { component, version } => format!("component {component}@{version} was pushed"),
        EventKind::Gap { missed: Some(n) } => style.yellow(&format!("{n} events were missed")),
        EventKind::Gap { missed: None } => style.yellow("events were missed"),
        EventKind::Unknown => "something that this version does not know".to_owned(),
    };
    format!("{head} {what}")
}

fn ended(outcome: Outcome, message: Option<&str>, receipt: Option<&Receipt>, style: Style) -> String {
    let name = outcome.as_str();
    let mut line = format!("{}{}", style.outcome(name), " ".repeat(13_usize.saturating_sub(name.len())));
    if let Some(r) = receipt {
        line.push_str(&format!(
            " {:>8}  fuel {} of {}  memory {} of {}",
            micros(r.wall_us),
            count(r.fuel_used),
            count(r.fuel_limit),
            size(r.memory_peak_bytes),
            size(r.memory_limit_bytes)
        ));
    }
    if let Some(message) = message {
        line.push_str(&format!("  {}", style.dim(&escape(message))));
    }
    line
}

/// Why firings made no run.
fn skip_words(reason: SkipReason, detail: Option<&str>, count: u64) -> String {
    let what = match reason {
        SkipReason::Missed => detail.unwrap_or("missed"),
        SkipReason::Skipped => detail.unwrap_or("the run before is still going"),
        SkipReason::Coalesced => "a later firing ran for it",
        SkipReason::Paused => "the job is paused",
    };
    if count > 1 { format!("{} ({} firings)", escape(what), grouped(count)) } else { escape(what).into_owned() }
}
