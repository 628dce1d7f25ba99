//! `bellcage next`: when would it fire. A job is asked of its server; an expression needs none.

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use crate::trigger::{Salt, Trigger, TriggerSpec, parse_instant, parse_timezone};

use super::error::{CliError, Exit, Result};
use super::{Context, when};

#[derive(Args)]
#[group(id = "what", required = true, multiple = false, args = ["job", "cron", "every", "at", "trigger"])]
pub struct NextArgs {
    /// A job of the server
    job: Option<String>,
    #[command(flatten)]
    trigger: TriggerFlags,
    /// The first instants after this one, itself not included [default: now]
    #[arg(long, value_name = "TIME")]
    after: Option<String>,
    /// At most so many
    #[arg(short = 'n', long = "number", value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    number: u32,
    /// The job id that H in a cron expression is spread by
    #[arg(long = "as", value_name = "JOB", default_value = "", hide_default_value = true, conflicts_with = "job")]
    as_job: String,
}

/// A trigger on a command line.
#[derive(Args, Default)]
pub struct TriggerFlags {
    /// A cron expression, such as "30 2 * * mon-fri"
    #[arg(long, value_name = "EXPR", allow_hyphen_values = true)]
    pub cron: Option<String>,
    /// An interval, such as 90s, 15m, 1h30m
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub every: Option<String>,
    /// One instant, such as 2026-03-29T03:30:00Z, or a local time with --timezone
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// A trigger in JSON, such as {"cron":"0 6 * * *","timezone":"Europe/Stockholm"}
    #[arg(long, value_name = "JSON")]
    pub trigger: Option<String>,
    /// The IANA time zone that times are meant in [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub timezone: Option<String>,
}

impl TriggerFlags {
    /// What the flags say; `None` where there is none of them.
    pub fn spec(&self) -> Result<Option<TriggerSpec>> {
        let zone = self.timezone.as_deref();
        if let Some(zone) = zone {
            parse_timezone(zone)?;
        }
        Ok(Some(match self {
            Self { cron: Some(expression), .. } => TriggerSpec::cron(expression, zone),
            Self { every: Some(duration), .. } => TriggerSpec::every(duration, zone),
            Self { at: Some(time), .. } => TriggerSpec::at(time, zone),
            Self { trigger: Some(json), .. } => TriggerSpec::from_json(json)?,
            _ => return Ok(None),
        }))
    }
}

pub fn run(args: &NextArgs, context: &Context) -> Result {
    match &args.job {
        Some(job) => of_job(job, args, context),
        None => of_trigger(args, context),
    }
}

fn of_trigger(args: &NextArgs, context: &Context) -> Result {
    if args.trigger.trigger.is_some() && args.trigger.timezone.is_some() {
        return Err(CliError::usage("--timezone does not go with --trigger").hint("say it inside: {\"cron\":\"…\",\"timezone\":\"Europe/Stockholm\"}"));
    }
    let spec = args.trigger.spec()?.ok_or_else(|| CliError::usage("no trigger was given"))?;
    let now = context.now();
    // Compiled first without knowing the zone of --after, which is the trigger's own.
    let salt = Salt { tenant: "default", job: &args.as_job };
    let zone = spec.clone().anchored(now).compile(salt)?.timezone().clone();
    let after = args.after.as_deref().map(|typed| parse_instant(typed, Some(&zone))).transpose()?.unwrap_or(now);
    let trigger = spec.anchored(after).compile(salt)?;
    let fires = fires(&trigger, after, args.number);
    if context.out.json {
        context.out.document(&json!({ "fires": fires.iter().map(|t| when::rfc9557(*t, &zone)).collect::<Vec<_>>() }))?;
    } else {
        context.out.line(&trigger.describe())?;
        context.out.data(&list(&fires, &zone, now))?;
        for note in trigger.notes(after) {
            context.out.note(&note);
        }
    }
    Ok(Exit::OK)
}

/// The first `n` firings strictly after `after`; fewer where the trigger ends.
pub fn fires(trigger: &Trigger, after: Timestamp, n: u32) -> Vec<Timestamp> {
    std::iter::successors(trigger.next_after(after), |&t| trigger.next_after(t)).take(n as usize).collect()
}

/// One firing a line, or that there is none.
pub fn list(fires: &[Timestamp], zone: &TimeZone, now: Timestamp) -> String {
    if fires.is_empty() {
        return "  no firing\n".to_owned();
    }
    let lines: Vec<_> = fires.iter().map(|&t| (when::local(t, zone), when::relative(t, now))).collect();
    let width = lines.iter().map(|(local, _)| local.chars().count()).max().unwrap_or(0);
    lines.iter().map(|(local, relative)| format!("  {local:width$}   {relative}\n")).collect()
}

fn of_job(id: &str, args: &NextArgs, context: &Context) -> Result {
    if args.trigger.timezone.is_some() {
        return Err(CliError::usage("--timezone does not go with a job: its trigger has its own"));
    }
    let client = context.client()?;
    let id = id.parse()?;
    let job = client.job(&id)?;
    let zone = job.zone();
    let now = context.now();
    let after = args.after.as_deref().map(|typed| parse_instant(typed, Some(&zone))).transpose()?.unwrap_or(now);
    let fires = client.next_fires(&id, Some(after), args.number)?;
    if context.out.json {
        context.out.document(&fires)?;
        return Ok(Exit::OK);
    }
    context.out.line(job.trigger_text.as_deref().unwrap_or("its trigger cannot be read"))?;
    context.out.data(&list(&instants(&fires.fires), &zone, now))?;
    let trigger = TriggerSpec::from_value(&job.trigger).and_then(|spec| spec.compile(Salt { tenant: job.tenant.as_str(), job: job.id.as_str() }));
    for note in trigger.iter().flat_map(|trigger| trigger.notes(after)) {
        context.out.note(&note);
    }
    let calendars: Vec<_> = job.spec["calendars"].as_array().into_iter().flatten().filter_map(|name| name.as_str()).collect();
    if !calendars.is_empty() {
        context.out.note(&format!("what falls into calendar {} makes no run: it is recorded as skipped", calendars.join(" or ")));
    }
    if job.paused {
        context.out.note("the job is paused: these firings will be recorded as paused until it is resumed");
    }
    Ok(Exit::OK)
}

/// Instants that the server sent, as RFC 9557; what this client cannot read is left out.
pub fn instants(fires: &[String]) -> Vec<Timestamp> {
    fires.iter().filter_map(|text| parse_instant(text, None).ok()).collect()
}
