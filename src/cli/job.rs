//! `bellcage job …`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;

use crate::job::{Coalesce, DirectoryGrant, DirectoryName, Grants, JobId, JobSpec, Overlap, RateLimit, Reference, Retry, Stdin, Stdout, bytes};
use crate::trigger::{Salt, TriggerSpec, parse_duration};
use crate::wire::{self, AddJob, AddedJob, Applied, BulkVerb, JobQuery, JobStatus, PauseJob, ResumeFrom, ResumeJob};

use super::component::{PageFlags, hint_more};
use super::error::{CliError, Exit, Result};
use super::grants::GrantFlags;
use super::limits::{LimitFlags, pairs, read_input};
use super::next::{TriggerFlags, instants, list as list_fires};
use super::output::{Column, Table, fields, patience};
use super::{Context, bulk, when};

#[derive(Subcommand)]
pub enum JobCommand {
    /// Add a job
    Add(Box<AddArgs>),
    /// Add or replace the jobs of a file: [job.ID] tables
    Apply(ApplyArgs),
    /// The jobs, by id
    List {
        /// Only jobs with this label
        #[arg(long = "label", value_name = "NAME=VALUE")]
        labels: Vec<String>,
        #[command(flatten)]
        page: PageFlags,
    },
    /// A job: its definition, where it stands, when it fires
    Show { id: String },
    /// Pause a job, or all jobs with a label; their firings are recorded as paused
    Pause {
        #[arg(required_unless_present = "labels")]
        id: Option<String>,
        /// Every job with this label instead
        #[arg(long = "label", value_name = "NAME=VALUE", conflicts_with = "id")]
        labels: Vec<String>,
        /// For whoever wonders later
        #[arg(long)]
        reason: Option<String>,
        /// Ends by itself at this time
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// Resume a paused job, or all jobs with a label
    Resume {
        #[arg(required_unless_present = "labels")]
        id: Option<String>,
        /// Every job with this label instead
        #[arg(long = "label", value_name = "NAME=VALUE", conflicts_with = "id")]
        labels: Vec<String>,
        /// What becomes of the firings meanwhile: now = nothing, missed = as after downtime
        #[arg(long, value_enum, value_name = "WHEN", default_value_t = From::Now)]
        from: From,
    },
    /// Remove a job; its waiting runs are cancelled, its history stays
    Rm {
        id: String,
        /// Cancel its running runs too
        #[arg(long)]
        cancel: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum From {
    Now,
    Missed,
}

#[derive(Args)]
#[group(id = "when", required = true, multiple = false, args = ["cron", "every", "at", "trigger", "after", "manual"])]
pub struct AddArgs {
    /// The job's id: a-z, 0-9, '.', '_' and '-'
    id: String,
    /// What it runs
    #[arg(long, value_name = "NAME[@VERSION][:ENTRY]")]
    component: String,
    #[command(flatten)]
    trigger: TriggerFlags,
    /// When a run of this job ended; once for each
    #[arg(long, value_name = "JOB")]
    after: Vec<String>,
    /// With --after: the outcomes that count; once for each [default: succeeded]
    #[arg(long, value_name = "OUTCOME", requires = "after")]
    on: Vec<String>,
    /// With --after: when all of the jobs have ended, or any one [default: all]
    #[arg(long, value_enum, value_name = "HOW", requires = "after")]
    join: Option<JoinFlag>,
    /// Never by itself: only with bellcage trigger
    #[arg(long)]
    manual: bool,
    /// An argument of the command; once for each
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true, conflicts_with = "args")]
    arg: Vec<String>,
    /// All arguments in JSON: a list of strings for a command
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// What it reads on standard input: a file, or - for this command's own
    #[arg(long, value_name = "FILE")]
    stdin: Option<String>,
    /// What a command prints: text, or one JSON document [default: text]
    #[arg(long, value_enum, value_name = "FORM")]
    stdout: Option<StdoutFlag>,
    #[command(flatten)]
    grants: GrantFlags,
    /// A secret, as the environment variable of its name: see bellcage secret
    #[arg(long = "secret", value_name = "NAME")]
    secrets: Vec<String>,
    /// A directory: scratch, scratch=SIZE, or NAME or NAME:write of one that the server lists; @/PATH behind it says where it is
    #[arg(long = "dir", value_name = "DIRECTORY")]
    dirs: Vec<String>,
    /// A label, to find it by
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Add it paused
    #[arg(long)]
    paused: bool,
    /// Where the id exists: refuse, replace it, or keep it
    #[arg(long, value_enum, value_name = "HOW", default_value_t = OnConflict::Error)]
    on_conflict: OnConflict,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    policy: PolicyFlags,
}

#[derive(Args)]
#[command(next_help_heading = "Policies")]
struct PolicyFlags {
    /// An exclusion calendar: a firing that falls into it makes no run
    #[arg(long = "calendar", value_name = "NAME")]
    calendars: Vec<String>,
    /// A firing later than this is recorded as missed [default: late is run]
    #[arg(long, value_name = "DURATION")]
    misfire_grace: Option<String>,
    /// Which runs when several are due at once [default: latest]
    #[arg(long, value_enum, value_name = "WHICH")]
    coalesce: Option<CoalesceFlag>,
    /// When a run is still going [default: skip]
    #[arg(long, value_enum, value_name = "HOW")]
    overlap: Option<OverlapFlag>,
    /// Runs of the job at once, at most
    #[arg(long, value_name = "N")]
    max_running: Option<u32>,
    /// Starts of the job, at most, such as 10/1m: no more in any minute
    #[arg(long, value_name = "N/DURATION")]
    rate_limit: Option<String>,
    /// Attempts of a run, at most [default: 1]
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// Each start is moved by 0 to this much, always the same for the same instant
    #[arg(long, value_name = "DURATION")]
    jitter: Option<String>,
    /// Higher starts first [default: 0]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    priority: Option<i32>,
    /// Pause the job after so many failed runs in a row
    #[arg(long, value_name = "N")]
    pause_after_failures: Option<u32>,
}

/// What a command's standard output is taken for.
#[derive(Clone, Copy, ValueEnum)]
pub enum StdoutFlag {
    Text,
    Json,
}

impl StdoutFlag {
    pub fn form(flag: Option<Self>) -> Stdout {
        match flag {
            None | Some(Self::Text) => Stdout::Text,
            Some(Self::Json) => Stdout::Json,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum JoinFlag {
    All,
    Any,
}

#[derive(Clone, Copy, ValueEnum)]
enum CoalesceFlag {
    Latest,
    Earliest,
    All,
}

#[derive(Clone, Copy, ValueEnum)]
enum OverlapFlag {
    Skip,
    Queue,
    CancelRunning,
    Allow,
}

#[derive(Clone, Copy, ValueEnum)]
enum OnConflict {
    Error,
    Replace,
    Keep,
}

impl OnConflict {
    fn wire(self) -> wire::OnConflict {
        match self {
            Self::Error => wire::OnConflict::Error,
            Self::Replace => wire::OnConflict::Replace,
            Self::Keep => wire::OnConflict::Keep,
        }
    }
}

#[derive(Args)]
pub struct ApplyArgs {
    /// A TOML file of [job.ID] tables, or - for standard input
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Where an id exists: replace it, keep it, or refuse
    #[arg(long, value_enum, value_name = "HOW", default_value_t = OnConflict::Replace)]
    on_conflict: OnConflict,
}

pub fn run(command: &JobCommand, context: &Context) -> Result {
    match command {
        JobCommand::Add(args) => add(args, context),
        JobCommand::Apply(args) => apply(args, context),
        JobCommand::List { labels, page } => list(labels, page, context),
        JobCommand::Show { id } => show(id, context),
        JobCommand::Pause { id, labels, reason, until } => pause(id.as_deref(), labels, reason.clone(), until.as_deref(), context),
        JobCommand::Resume { id, labels, from } => resume(id.as_deref(), labels, *from, context),
        JobCommand::Rm { id, cancel } => rm(id, *cancel, context),
    }
}

/// The most that a job's standard input may have.
const STDIN_MAX: u64 = 1 << 20;
const APPLY_FILE_MAX: u64 = 64 << 20;

fn add(args: &AddArgs, context: &Context) -> Result {
    let id: JobId = args.id.parse()?;
    let spec = spec(args)?;
    spec.validate()?;
    // A wrong expression is told with or without a server.
    spec.trigger.clone().compile(Salt { tenant: "default", job: id.as_str() })?;
    let added = context.client()?.add_job(&id, &spec, args.on_conflict.wire())?;
    if context.out.json {
        context.out.document(&added)?;
    } else {
        tell_added(&added, context)?;
    }
    Ok(Exit::OK)
}

/// `scratch`, `scratch=64MiB`, `data`, `data:write`, each with `@/path` behind it.
fn directory(typed: &str) -> Result<DirectoryGrant> {
    let (what, at) = typed.split_once('@').map_or((typed, None), |(what, at)| (what, Some(at.to_owned())));
    if what == "scratch" || what.starts_with("scratch=") {
        let bytes = what.strip_prefix("scratch=").map_or(Ok(DirectoryGrant::SCRATCH_BYTES), bytes::parse);
        let bytes = bytes.map_err(|_| CliError::usage(format!("--dir {typed:?} has no size")).hint("for example --dir scratch=64MiB"))?;
        return Ok(DirectoryGrant::Scratch { bytes, at: at.unwrap_or_else(|| "/scratch".to_owned()) });
    }
    let (name, write) = what.strip_suffix(":write").map_or((what, false), |name| (name, true));
    let name: DirectoryName = name.parse()?;
    Ok(DirectoryGrant::Listed { at: at.unwrap_or_else(|| format!("/{name}")), name, write })
}

fn spec(args: &AddArgs) -> Result<JobSpec> {
    let component: Reference = args.component.parse()?;
    if args.trigger.trigger.is_some() && args.trigger.timezone.is_some() {
        return Err(CliError::usage("--timezone does not go with --trigger").hint("say it inside: {\"cron\":\"…\",\"timezone\":\"Europe/Stockholm\"}"));
    }
    let trigger = match args.trigger.spec()? {
        Some(trigger) => trigger,
        None if args.after.is_empty() => TriggerSpec::Manual,
        None => after(args)?,
    };
    let duration = |typed: &Option<String>| typed.as_deref().map(parse_duration).transpose();
    let PolicyFlags { calendars, misfire_grace, coalesce, overlap, max_running, rate_limit, max_attempts, jitter, priority, pause_after_failures } =
        &args.policy;
    let default = JobSpec::new(component, trigger);
    Ok(JobSpec {
        args: arguments(args.args.as_deref(), &args.arg)?.unwrap_or_default(),
        stdin: args.stdin.as_deref().map(|typed| read_input(typed, STDIN_MAX)).transpose()?.map(Stdin),
        stdout: StdoutFlag::form(args.stdout),
        calendars: calendars.iter().map(|name| name.parse()).collect::<std::result::Result<_, _>>()?,
        jitter: duration(jitter)?.unwrap_or_default(),
        misfire_grace: duration(misfire_grace)?,
        coalesce: coalesce.map_or(Coalesce::default(), |flag| match flag {
            CoalesceFlag::Latest => Coalesce::Latest,
            CoalesceFlag::Earliest => Coalesce::Earliest,
            CoalesceFlag::All => Coalesce::All,
        }),
        overlap: overlap.map_or(Overlap::default(), |flag| match flag {
            OverlapFlag::Skip => Overlap::Skip,
            OverlapFlag::Queue => Overlap::Queue,
            OverlapFlag::CancelRunning => Overlap::CancelRunning,
            OverlapFlag::Allow => Overlap::Allow,
        }),
        max_running: *max_running,
        rate_limit: rate_limit.as_deref().map(self::rate_limit).transpose()?,
        retry: Retry { max_attempts: max_attempts.unwrap_or(1), ..Retry::default() },
        pause_after_failures: *pause_after_failures,
        priority: priority.unwrap_or(0),
        paused: args.paused,
        limits: args.limits.spec()?,
        grants: Grants {
            dirs: args.dirs.iter().map(|typed| directory(typed)).collect::<Result<_>>()?,
            secrets: args.secrets.iter().map(|name| name.parse()).collect::<std::result::Result<_, _>>()?,
            ..args.grants.grants()?
        },
        labels: pairs("--label", &args.labels)?,
        ..default
    })
}

fn rate_limit(typed: &str) -> Result<RateLimit> {
    let wrong = || CliError::usage(format!("--rate-limit {typed:?} is not a number of runs in a time")).hint("write it as 10/1m");
    let (runs, per) = typed.split_once('/').ok_or_else(wrong)?;
    Ok(RateLimit { runs: runs.trim().parse().map_err(|_| wrong())?, per: parse_duration(per.trim())? })
}

fn after(args: &AddArgs) -> Result<TriggerSpec> {
    if args.trigger.timezone.is_some() {
        return Err(CliError::usage("--timezone does not go with --after: it names no times"));
    }
    let join = args.join.map(|join| match join {
        JoinFlag::All => "all",
        JoinFlag::Any => "any",
    });
    let on = (!args.on.is_empty()).then_some(&args.on);
    Ok(TriggerSpec::from_value(&serde_json::json!({ "after": args.after, "on": on, "join": join }))?)
}

/// `--args JSON`, or each `--arg`; `None` where neither was given.
pub fn arguments(json: Option<&str>, each: &[String]) -> Result<Option<Value>> {
    match json {
        Some(text) => match serde_json::from_str(text) {
            Ok(value) => Ok(Some(value)),
            Err(e) => Err(CliError::usage(format!("--args is not JSON: {e}")).hint("write it as --args '[\"--limit\", \"10\"]'")),
        },
        None if each.is_empty() => Ok(None),
        None => Ok(Some(each.iter().map(String::as_str).collect())),
    }
}

fn tell_added(added: &AddedJob, context: &Context) -> Result<()> {
    let job = &added.job;
    context.out.line(&format!("{} {}: {}", added_word(job.revision), job.id, job.trigger_text.as_deref().unwrap_or("its trigger cannot be read")))?;
    if !added.fires.is_empty() {
        context.out.data(&list_fires(&instants(&added.fires), &job.zone(), context.now()))?;
    }
    for note in &added.notes {
        context.out.note(note);
    }
    if job.paused {
        context.out.note(&format!("it is paused: bellcage job resume {}", job.id));
    }
    Ok(())
}

/// A job of the first revision was added now, or kept as it was.
fn added_word(revision: u64) -> &'static str {
    if revision == 1 { "added" } else { "job is now" }
}

/// A file of jobs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JobsFile {
    #[serde(default)]
    job: BTreeMap<JobId, JobSpec>,
}

fn apply(args: &ApplyArgs, context: &Context) -> Result {
    let mut jobs = Vec::new();
    for file in &args.files {
        jobs.extend(read_jobs(file)?);
    }
    let order = wire::upstream_first(&jobs, |job| job.id.as_str(), |job| job.spec.trigger.upstream());
    let jobs: Vec<AddJob> = order.into_iter().map(|place| jobs[place].clone()).collect();
    let client = context.client()?;
    let message = format!("applying {} jobs …", jobs.len());
    let applied = patience(&message, || client.apply_all(&jobs, args.on_conflict.wire()))?;
    tell_applied(&applied, context)
}

pub fn read_jobs(file: &str) -> Result<Vec<AddJob>> {
    let text = String::from_utf8(read_input(file, APPLY_FILE_MAX)?).map_err(|_| CliError::usage(format!("{file}: it is not UTF-8 text")))?;
    let parsed: JobsFile = toml::from_str(&text).map_err(|e| {
        let line = e.span().map_or(1, |span| text.bytes().take(span.start).filter(|&b| b == b'\n').count() + 1);
        CliError::new(Exit::USAGE, "bad-jobs-file", format!("{file}:{line}: {}", e.message()))
            .hint("each job is a table: [job.nightly], with component and trigger")
    })?;
    parsed
        .job
        .into_iter()
        .map(|(id, spec)| match spec.validate() {
            Ok(()) => Ok(AddJob { id, spec }),
            Err(e) => {
                let error = CliError::from(e);
                let message = format!("{file}: job {id}: {}", error.message);
                Err(CliError { message, ..error })
            }
        })
        .collect()
}

/// A line for each job (its notes are told by `next JOB`); the exit code is that of the first one that was refused.
fn tell_applied(applied: &Applied, context: &Context) -> Result {
    let mut exit = Exit::OK;
    let refused = applied.jobs.iter().filter(|job| job.problem.is_some()).count();
    for job in &applied.jobs {
        if let Some(problem) = &job.problem {
            let mut error = CliError::from(crate::client::ClientError::Problem(Box::new(problem.clone())));
            error.message = format!("job {}: {}", job.id, error.message);
            if exit == Exit::OK {
                exit = error.exit;
            }
            if !context.out.json {
                context.out.message(error.render(context.out.stderr).trim_end());
            }
        } else if let Some(job) = &job.added
            && !context.out.json
        {
            let next = job.next_fire.filter(|_| !job.paused).map_or_else(|| "-".to_owned(), |t| when::local(t, &job.zone()));
            context.out.line(&format!("{} {}: {}; next {next}", added_word(job.revision), job.id, job.trigger_text.as_deref().unwrap_or("?")))?;
        }
    }
    if context.out.json {
        context.out.document(applied)?;
    } else {
        context.out.line(&format!("{} applied, {refused} refused", applied.jobs.len() - refused))?;
    }
    Ok(exit)
}

fn list(labels: &[String], page: &PageFlags, context: &Context) -> Result {
    let labels = pairs("--label", labels)?.into_iter().collect();
    let list = context.client()?.jobs(&JobQuery { labels, page: page.page() })?;
    let out = &context.out;
    if out.json {
        out.document(&list)?;
        return Ok(Exit::OK);
    }
    if list.jobs.is_empty() {
        out.hint("there is no job here: bellcage job add ID --component NAME --every 1m");
        return Ok(Exit::OK);
    }
    let now = context.now();
    let mut table =
        Table::new([Column::whole("ID"), Column::text("COMPONENT"), Column::text("FIRES"), Column::whole("NEXT"), Column::text(""), Column::whole("LAST")]);
    for job in list.jobs {
        let (next, away) = match (state(&job), job.next_fire) {
            (Some(state), _) => (state, String::new()),
            (None, Some(t)) => (when::local(t, &job.zone()), when::relative(t, now)),
            (None, None) => ("-".to_owned(), String::new()),
        };
        let last = job.last_outcome.map_or("-", |outcome| outcome.as_str()).to_owned();
        table.row([job.id.to_string(), job.component, job.trigger_text.unwrap_or_else(|| "?".to_owned()), next, away, last]);
    }
    out.data(&table.render(out))?;
    hint_more(context, list.next.as_ref());
    Ok(Exit::OK)
}

/// Why it does not fire, if so.
fn state(job: &wire::Job) -> Option<String> {
    match job.state {
        _ if job.paused => Some("paused".to_owned()),
        JobStatus::Active => None,
        JobStatus::Finished => Some("finished".to_owned()),
        JobStatus::Unresolved => Some("unresolved".to_owned()),
    }
}

fn show(id: &str, context: &Context) -> Result {
    let id: JobId = id.parse()?;
    let client = context.client()?;
    let job = client.job(&id)?;
    let out = &context.out;
    if out.json {
        out.document(&job)?;
        return Ok(Exit::OK);
    }
    let zone = job.zone();
    let now = context.now();
    let shown = |t: jiff::Timestamp| format!("{} ({})", when::local(t, &zone), when::relative(t, now));
    let state = match (&job.pause, job.state) {
        (Some(pause), _) => {
            let by = pause.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            let reason = pause.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let until = pause.until.map(|t| format!(", until {}", shown(t))).unwrap_or_default();
            format!("paused since {}{by}{reason}{until}", shown(pause.since))
        }
        (None, JobStatus::Active) => "active".to_owned(),
        (None, JobStatus::Finished) => "finished: its trigger has ended".to_owned(),
        (None, JobStatus::Unresolved) => {
            format!("unresolved: {}; bellcage job resume {} tries it again", job.state_reason.as_deref().unwrap_or("it cannot be scheduled"), job.id)
        }
    };
    let last = match (job.last_outcome, job.last_run_at) {
        (Some(outcome), Some(at)) => format!("{outcome}, {}", shown(at)),
        _ => "it has not run yet".to_owned(),
    };
    let mut rows = vec![
        ("id", job.id.to_string()),
        ("component", job.component.clone()),
        ("fires", job.trigger_text.clone().unwrap_or_else(|| "its trigger cannot be read".to_owned())),
        ("next", job.next_fire.map_or("-".to_owned(), shown)),
        ("state", state),
        ("last run", last),
    ];
    rows.extend(job.waits_for.iter().map(|upstream| {
        let what = match (&upstream.ended, upstream.exists) {
            (Some(end), _) => format!("{}, which {} in run {}", upstream.job, end.outcome, end.run),
            (None, true) => upstream.job.to_string(),
            (None, false) => format!("{}, which does not exist any more", upstream.job),
        };
        (if upstream.ended.is_some() { "has" } else { "waits for" }, what)
    }));
    if job.failures_in_row > 0 {
        rows.push(("failures", format!("{} in a row", job.failures_in_row)));
    }
    rows.push(("revision", format!("{}, of {}", job.revision, when::local(job.updated_at, &zone))));
    rows.push(("definition", serde_json::to_string_pretty(&job.spec).unwrap_or_default()));
    out.data(&fields(out, &rows))?;
    Ok(Exit::OK)
}

fn pause(id: Option<&str>, labels: &[String], reason: Option<String>, until: Option<&str>, context: &Context) -> Result {
    let by = std::env::var("USER").ok().filter(|user| !user.is_empty());
    let Some(id) = id else {
        // Jobs of many zones: a local time would mean many instants.
        let until = until.map(|typed| until_time(typed, None, context)).transpose()?;
        return bulk::run(labels, BulkVerb::Pause(PauseJob { reason, by, until }), "paused", context);
    };
    let id: JobId = id.parse()?;
    let client = context.client()?;
    let until = match until {
        Some(typed) => {
            let zone = client.job(&id)?.zone();
            Some(until_time(typed, Some(&zone), context)?)
        }
        None => None,
    };
    let job = client.pause_job(&id, &PauseJob { reason, by, until })?;
    tell_state(&job, &format!("paused {id}"), context)
}

/// An instant to come, or for how long.
fn until_time(typed: &str, zone: Option<&TimeZone>, context: &Context) -> Result<jiff::Timestamp> {
    if let Ok(duration) = parse_duration(typed) {
        return context.now().checked_add(duration).map_err(|e| CliError::usage(format!("--until {typed}: {e}")));
    }
    Ok(crate::trigger::parse_instant(typed, zone)?)
}

fn resume(id: Option<&str>, labels: &[String], from: From, context: &Context) -> Result {
    let from = match from {
        From::Now => ResumeFrom::Now,
        From::Missed => ResumeFrom::Missed,
    };
    let Some(id) = id else { return bulk::run(labels, BulkVerb::Resume(ResumeJob { from }), "resumed", context) };
    let id: JobId = id.parse()?;
    let job = context.client()?.resume_job(&id, ResumeJob { from })?;
    tell_state(&job, &format!("resumed {id}"), context)
}

fn tell_state(job: &wire::Job, what: &str, context: &Context) -> Result {
    if context.out.json {
        context.out.document(job)?;
        return Ok(Exit::OK);
    }
    let next = match job.next_fire {
        Some(t) if !job.paused => format!("; it fires next {} ({})", when::local(t, &job.zone()), when::relative(t, context.now())),
        _ => String::new(),
    };
    context.out.line(&format!("{what}{next}"))?;
    Ok(Exit::OK)
}

fn rm(id: &str, cancel: bool, context: &Context) -> Result {
    let id: JobId = id.parse()?;
    let removed = context.client()?.remove_job(&id, cancel)?;
    if context.out.json {
        context.out.document(&removed)?;
    } else {
        let runs = match removed.cancelled.len() {
            0 => String::new(),
            1 => ", 1 run was cancelled".to_owned(),
            n => format!(", {n} runs were cancelled"),
        };
        context.out.line(&format!("removed {id}{runs}"))?;
    }
    Ok(Exit::OK)
}
