//! `bellcage explain firing JOB TIME`: what became of an instant that a job's trigger named, or why it named none.

use clap::Args;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::json;

use crate::client::Client;
use crate::job::JobId;
use crate::wire::{Firing, FiringQuery, Job, Page, Run, RunQuery};

use super::super::error::{Exit, Result};
use super::super::output::{escape, escape_lines};
use super::super::{Context, when};

#[derive(Args)]
pub struct FiringArgs {
    job: String,
    /// The instant; a local time is one of the job's zone
    time: String,
}

/// Pages of records that are looked through, newest first.
const PAGES_MAX: usize = 20;
/// A time that a person types is meant to the second.
const SECOND: SignedDuration = SignedDuration::from_secs(1);

#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
enum Answer {
    /// There is a run.
    Run { run: Box<Run> },
    /// There is a record of why there is none; `count` firings are in it.
    Skipped { firing: Firing },
    /// It came due, or will, and has not been looked at.
    Pending { paused: bool },
    /// The trigger does not name it; the next instant that it does name.
    NotNamed { next: Option<String> },
    /// Before the job was there.
    BeforeJob,
    /// It is not on record any more.
    Forgotten,
}

pub fn explain(args: &FiringArgs, context: &Context) -> Result {
    let id: JobId = args.job.parse()?;
    let client = context.client()?;
    let job = client.job(&id)?;
    let zone = job.zone();
    let at = when::parse(&args.time, &zone, context.now())?;
    let answer = find(&client, &job, at)?;
    if context.out.json {
        context.out.document(&json!({ "job": id, "at": when::rfc9557(at, &zone), "answer": answer }))?;
    } else {
        context.out.data(&format!("{}\n", escape_lines(&story(&job, at, &zone, &answer))))?;
    }
    Ok(Exit::OK)
}

fn find(client: &Client, job: &Job, at: Timestamp) -> Result<Answer> {
    let end = at.saturating_add(SECOND).unwrap_or(at);
    let page = Page { limit: Some(100), after: None };
    let runs = client.runs(&RunQuery { job: Some(job.id.clone()), since: Some(at), until: Some(end), page, ..RunQuery::default() })?;
    if let Some(run) = runs.runs.into_iter().find(|run| run.cause != crate::job::Cause::OnDemand) {
        return Ok(Answer::Run { run: Box::new(run) });
    }
    let before = at.saturating_sub(SignedDuration::from_micros(1)).unwrap_or(at);
    let next = client.next_fires(&job.id, Some(before), 1)?.fires.into_iter().next();
    let named = next.as_deref().and_then(instant).is_some_and(|next| next < end);
    if !named {
        return Ok(Answer::NotNamed { next });
    }
    if job.next_fire.is_some_and(|next| at >= next) {
        return Ok(Answer::Pending { paused: job.paused });
    }
    if end <= job.created_at {
        return Ok(Answer::BeforeJob);
    }
    Ok(record(client, job, at, end)?.map_or(Answer::Forgotten, |firing| Answer::Skipped { firing }))
}

/// The narrowest record that the instant falls into.
fn record(client: &Client, job: &Job, at: Timestamp, end: Timestamp) -> Result<Option<Firing>> {
    let mut page = Page { limit: Some(1_000), after: None };
    let mut found: Option<Firing> = None;
    for _ in 0..PAGES_MAX {
        let list = client.firings(&FiringQuery { job: Some(job.id.clone()), page: page.clone() })?;
        for firing in list.firings.into_iter().filter(|f| f.first < end && f.last >= at) {
            let length = |f: &Firing| f.last.duration_since(f.first);
            if found.as_ref().is_none_or(|known| length(&firing) < length(known)) {
                found = Some(firing);
            }
        }
        match list.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    Ok(found)
}

fn instant(rfc9557: &str) -> Option<Timestamp> {
    crate::trigger::parse_instant(rfc9557, None).ok()
}

fn story(job: &Job, at: Timestamp, zone: &TimeZone, answer: &Answer) -> String {
    let local = |t| when::local(t, zone);
    let (id, at) = (&job.id, local(at));
    match answer {
        Answer::Run { run } => {
            let state = run.outcome.map_or_else(|| format!("is {}", run.state.as_str()), |outcome| format!("ended as {outcome}"));
            let backfill = if run.cause == crate::job::Cause::Backfill { " of a backfill" } else { "" };
            format!("The firing of {id} at {at} is run {}{backfill}, which {state}.\nMore: bellcage explain run {}", run.id, run.id)
        }
        Answer::Skipped { firing } => {
            let detail = firing.detail.as_deref().map(|d| format!(" ({})", escape(d))).unwrap_or_default();
            let among = match firing.count {
                1 => String::new(),
                n => {
                    format!("\nIt is one of {n}{} firings from {} to {}.", if firing.exact { "" } else { " or more" }, local(firing.first), local(firing.last))
                }
            };
            format!("The firing of {id} at {at} made no run: {}{detail}.\nThat was recorded {}.{among}", firing.reason.as_str(), local(firing.recorded_at))
        }
        Answer::Pending { paused: true } => {
            format!(
                "The firing of {id} at {at} has not been looked at: the job is paused.\nResumed, it is recorded as paused, or caught up with: bellcage job resume {id} --from missed"
            )
        }
        Answer::Pending { paused: false } => format!("The firing of {id} at {at} is still to come."),
        Answer::NotNamed { next } => {
            let trigger = escape(job.trigger_text.as_deref().unwrap_or("which cannot be read"));
            let next = next
                .as_deref()
                .and_then(instant)
                .map_or_else(|| "It names none after that.".to_owned(), |t| format!("The next one that it names is {}.", local(t)));
            format!("The trigger of {id} ({trigger}) does not name {at}.\n{next}")
        }
        Answer::BeforeJob => format!("The job {id} was added {}, after {at}.", local(job.created_at)),
        Answer::Forgotten => format!("Nothing is on record any more of {id} at {at}: it is older than what is kept, or the trigger was changed since."),
    }
}
