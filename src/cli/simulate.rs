//! `bellcage simulate`: what the scheduler would do with jobs in a period of time, decided by its own code on a clock that runs
//! ahead. Nothing is run and nothing is stored.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::job::{JobId, JobKey, JobSpec, Outcome, Run, TenantId};
use crate::scheduler::simulate::{Assumed, Event, EventKind, Simulation, SimulationOptions};
use crate::trigger::parse_duration;
use crate::wire::{AddJob, JobQuery, Page};

use super::error::{CliError, Exit, Result};
use super::job::read_jobs;
use super::output::escape;
use super::{Context, when};

#[derive(Args)]
pub struct SimulateArgs {
    /// Where the period begins; a local time is one of --timezone
    #[arg(long, value_name = "TIME")]
    from: String,
    /// Where it ends
    #[arg(long, value_name = "TIME")]
    to: String,
    /// Only these jobs
    #[arg(long = "job", value_name = "ID")]
    jobs: Vec<String>,
    /// Jobs from a file as for `job apply`, instead of the server's
    #[arg(short, long)]
    file: Option<String>,
    /// The zone of --from and --to, and of the times that are shown [default: UTC, and each job's own]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// How long an attempt takes: 30s, or JOB=30s for one job [default: 1s]
    #[arg(long, value_name = "[JOB=]DURATION")]
    takes: Vec<String>,
    /// How attempts end: failed, or JOB=failed for one job [default: succeeded]
    #[arg(long, value_name = "[JOB=]OUTCOME")]
    ends: Vec<String>,
    /// Attempts at once
    #[arg(long, value_name = "N", default_value_t = 64)]
    slots: usize,
    /// At most so many lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1_000)]
    lines: usize,
}

/// Jobs that are simulated at once, at most.
const JOBS_MAX: usize = 10_000;

pub fn run(args: &SimulateArgs, context: &Context) -> Result {
    let zone = args.timezone.as_deref().map(crate::trigger::parse_timezone).transpose()?;
    let clock = zone.clone().unwrap_or(TimeZone::UTC);
    let (from, to) = (when::parse(&args.from, &clock, context.now())?, when::parse(&args.to, &clock, context.now())?);
    if from >= to {
        return Err(CliError::usage(format!("the period from {} to {} is empty", args.from, args.to)).hint("--to is where it ends"));
    }
    let jobs = jobs(args, context)?;
    let assumed = Assumptions::read(args)?;
    let mut zones = BTreeMap::new();
    for AddJob { id, spec } in &jobs {
        zones.insert(id.clone(), zone.clone().unwrap_or_else(|| zone_of(spec, id)));
    }
    let lines = play(Period { from, to }, &jobs, assumed, args, context)?;
    tell(&lines, &zones, args, context)
}

struct Period {
    from: Timestamp,
    to: Timestamp,
}

/// The jobs to simulate, by id.
fn jobs(args: &SimulateArgs, context: &Context) -> Result<Vec<AddJob>> {
    let wanted = args.jobs.iter().map(|typed| typed.parse()).collect::<std::result::Result<BTreeSet<JobId>, _>>()?;
    let mut jobs = match &args.file {
        Some(file) => read_jobs(file)?,
        None => of_server(&wanted, context)?,
    };
    jobs.retain(|job| wanted.is_empty() || wanted.contains(&job.id));
    if let Some(missing) = wanted.iter().find(|id| jobs.iter().all(|job| job.id != **id)) {
        return Err(CliError::new(Exit::NOT_FOUND, "not-found", format!("job \"{missing}\" does not exist")).hint("see all of them with: bellcage job list"));
    }
    if jobs.is_empty() {
        return Err(CliError::usage("there is no job to simulate").hint("add one, or name a file of jobs with --file jobs.toml"));
    }
    Ok(jobs)
}

fn of_server(wanted: &BTreeSet<JobId>, context: &Context) -> Result<Vec<AddJob>> {
    let client = context.client()?;
    let mut jobs = Vec::new();
    let mut add = |job: crate::wire::Job| -> Result<()> {
        let spec = serde_json::from_value(job.spec).map_err(|e| CliError::new(Exit::FAILED, "bad-job", format!("job {}: {e}", job.id)))?;
        jobs.push(AddJob { id: job.id, spec });
        Ok(())
    };
    for id in wanted {
        add(client.job(id)?)?;
    }
    let mut page = Page { limit: Some(1_000), after: None };
    while wanted.is_empty() {
        let list = client.jobs(&JobQuery { page: page.clone(), ..JobQuery::default() })?;
        for job in list.jobs {
            add(job)?;
        }
        match list.next {
            Some(next) => page.after = Some(next),
            None => break,
        }
    }
    if jobs.len() > JOBS_MAX {
        return Err(CliError::usage(format!("{} jobs are more than can be simulated at once ({JOBS_MAX})", jobs.len())).hint("choose some with --job"));
    }
    Ok(jobs)
}

fn zone_of(spec: &JobSpec, id: &JobId) -> TimeZone {
    let salt = crate::trigger::Salt { tenant: "default", job: id.as_str() };
    spec.trigger.clone().anchored(Timestamp::UNIX_EPOCH).compile(salt).map_or(TimeZone::UTC, |trigger| trigger.timezone().clone())
}

/// What is assumed of attempts, by job.
#[derive(Clone, Default)]
struct Assumptions {
    takes: BTreeMap<Option<JobId>, SignedDuration>,
    ends: BTreeMap<Option<JobId>, Outcome>,
}

impl Assumptions {
    fn read(args: &SimulateArgs) -> Result<Self> {
        let mut assumptions = Self::default();
        for typed in &args.takes {
            let (job, value) = of_one(typed)?;
            assumptions.takes.insert(job, parse_duration(value)?);
        }
        for typed in &args.ends {
            let (job, value) = of_one(typed)?;
            let outcome = Outcome::from_name(value).ok_or_else(|| {
                let all = Outcome::ALL.map(Outcome::as_str).join(", ");
                CliError::usage(format!("{value:?} is not an outcome")).hint(format!("use one of {all}"))
            })?;
            assumptions.ends.insert(job, outcome);
        }
        Ok(assumptions)
    }

    fn of(&self, run: &Run) -> Assumed {
        let job = Some(run.job.id.clone());
        Assumed {
            duration: self.takes.get(&job).or(self.takes.get(&None)).copied().unwrap_or(SignedDuration::from_secs(1)),
            outcome: self.ends.get(&job).or(self.ends.get(&None)).copied().unwrap_or(Outcome::Succeeded),
        }
    }
}

/// `JOB=value`, or a value for every job.
fn of_one(typed: &str) -> Result<(Option<JobId>, &str)> {
    match typed.split_once('=') {
        Some((job, value)) => Ok((Some(job.parse()?), value)),
        None => Ok((None, typed)),
    }
}

fn play(period: Period, jobs: &[AddJob], assumed: Assumptions, args: &SimulateArgs, context: &Context) -> Result<Vec<Event>> {
    let failed = |error: &dyn std::fmt::Display| CliError::new(Exit::FAILED, "simulation-failed", error.to_string());
    let options = SimulationOptions { slots: args.slots.max(1), ..SimulationOptions::default() };
    let mut simulation = Simulation::in_memory(period.from, options, Box::new(move |run| assumed.of(run)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|e| failed(&e))?;
    let tenant = TenantId::default();
    let calendars: BTreeSet<_> = jobs.iter().flat_map(|job| &job.spec.calendars).collect();
    let mut happened = Vec::new();
    for name in calendars {
        let exclusions = context.client()?.calendar(name)?.exclusions;
        runtime.block_on(simulation.put_calendar(&tenant, name, exclusions)).map_err(|e| failed(&e))?;
    }
    for AddJob { id, spec } in jobs {
        let key = JobKey { tenant: tenant.clone(), id: id.clone() };
        runtime.block_on(simulation.add_new_job(&key, spec)).map_err(|e| failed(&format!("job {id}: {e}")))?;
    }
    // What happened up to now is the adding of the jobs.
    simulation.happened();
    let most = args.lines.saturating_add(1);
    runtime
        .block_on(simulation.run_while(period.to, |event| {
            happened.push(event.clone());
            happened.len() < most
        }))
        .map_err(|e| failed(&e))?;
    Ok(happened)
}

fn tell(events: &[Event], zones: &BTreeMap<JobId, TimeZone>, args: &SimulateArgs, context: &Context) -> Result {
    let out = &context.out;
    let shown = &events[..events.len().min(args.lines)];
    if out.json {
        out.document(&serde_json::json!({ "events": shown, "complete": events.len() <= args.lines }))?;
        return Ok(Exit::OK);
    }
    let lines: Vec<_> = shown
        .iter()
        .filter_map(|event| {
            describe(&event.kind, zones).map(|(job, what)| (when::local(event.at, zones.get(job).unwrap_or(&TimeZone::UTC)), job.as_str(), what))
        })
        .collect();
    let at_width = lines.iter().map(|(at, ..)| at.chars().count()).max().unwrap_or(0);
    let job_width = lines.iter().map(|(_, job, _)| job.len()).max().unwrap_or(0);
    for (at, job, what) in &lines {
        out.line(&escape(&format!("{at:at_width$}  {job:job_width$}  {what}")))?;
    }
    if shown.is_empty() {
        out.line("nothing happens")?;
    }
    if events.len() > args.lines {
        out.note(&format!("cut after {} lines; more with -n", args.lines));
    }
    Ok(Exit::OK)
}

fn describe<'a>(kind: &'a EventKind, zones: &BTreeMap<JobId, TimeZone>) -> Option<(&'a JobId, String)> {
    let local = |job: &JobId, t: Timestamp| when::local(t, zones.get(job).unwrap_or(&TimeZone::UTC));
    let again = |attempt: u32| if attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
    Some(match kind {
        EventKind::RunStarted { job, attempt, scheduled_at, .. } => {
            (&job.id, format!("starts the run of {}{}", local(&job.id, *scheduled_at), again(*attempt)))
        }
        EventKind::RunEnded { job, attempt, outcome, scheduled_at, .. } => {
            (&job.id, format!("the run of {} ends as {outcome}{}", local(&job.id, *scheduled_at), again(*attempt)))
        }
        EventKind::RunRetry { job, attempt, outcome, at, .. } => {
            (&job.id, format!("attempt {attempt} ends as {outcome}; the next one at {}", local(&job.id, *at)))
        }
        EventKind::FiringSkipped { job, reason, detail, count, first, last } => {
            let calendar = detail.as_deref().filter(|detail| detail.starts_with("calendar ")).map(|detail| format!(" ({detail})")).unwrap_or_default();
            let reason = format!("{}{calendar}", reason.as_str());
            let what = match count {
                1 => format!("{reason}: the firing of {}", local(&job.id, *first)),
                n => format!("{reason}: {n} firings, {} to {}", local(&job.id, *first), local(&job.id, *last)),
            };
            (&job.id, what)
        }
        EventKind::JobPaused { job, reason } => (&job.id, format!("is paused{}", reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())),
        EventKind::JobResumed { job } => (&job.id, "goes on".to_owned()),
        EventKind::JobFinished { job } => (&job.id, "is finished: its trigger has ended".to_owned()),
        // Attempts here only pretend, and tell nothing.
        EventKind::RunProgress { .. } | EventKind::JobAdded { .. } | EventKind::JobRemoved { .. } | EventKind::ComponentPushed { .. } => return None,
    })
}
