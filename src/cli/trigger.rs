//! `bellcage trigger JOB`: a run on demand.

use clap::Args;

use crate::job::JobId;
use crate::trigger::parse_duration;
use crate::wire::{BulkVerb, RunDetail, TriggerRun};

use super::error::{Exit, Result};
use super::job::arguments;
use super::runs::tell_result;
use super::{Context, bulk};

#[derive(Args)]
pub struct TriggerArgs {
    /// The job to run, paused or not
    #[arg(required_unless_present = "labels")]
    job: Option<String>,
    /// Every job with this label instead
    #[arg(long = "label", value_name = "NAME=VALUE", conflicts_with_all = ["job", "wait"])]
    labels: Vec<String>,
    /// An argument of this run, in place of the job's; once for each
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true, conflicts_with = "args")]
    arg: Vec<String>,
    /// All arguments of this run in JSON
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// Start it at this time instead of now; a local time is meant in the job's zone
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Make no second run of this key while the first has not ended
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// With --key: nor for so long after the first was made, ended or not
    #[arg(long, value_name = "DURATION", requires = "key")]
    key_window: Option<String>,
    /// Wait for its end: the result on stdout, the log on stderr, the outcome as exit code
    #[arg(long)]
    wait: bool,
}

pub fn run(args: &TriggerArgs, context: &Context) -> Result {
    args.key_window.as_deref().map(parse_duration).transpose()?;
    let request = TriggerRun {
        args: arguments(args.args.as_deref(), &args.arg)?,
        at: args.at.clone(),
        key: args.key.as_deref().map(str::parse).transpose()?,
        key_window: args.key_window.clone(),
    };
    let Some(job) = &args.job else { return bulk::run(&args.labels, BulkVerb::Trigger(request), "triggered", context) };
    let job: JobId = job.parse()?;
    let client = context.client()?;
    let triggered = client.trigger(&job, &request)?;
    let run = &triggered.run;
    let out = &context.out;
    if !triggered.new && !out.json {
        out.note("no run was made: this is the one of its key");
    }
    if !args.wait {
        if out.json {
            out.document(&triggered)?;
        } else {
            out.line(&run.id.to_string())?;
            out.hint(&format!("see what becomes of it: bellcage runs show {}", run.id));
        }
        return Ok(Exit::OK);
    }
    let detail: RunDetail = client.wait_run(run.id, None)?;
    if out.json {
        out.document(&detail)?;
    } else {
        tell_result(&client, &detail, context)?;
    }
    Ok(detail.run.outcome.map_or(Exit::FAILED, Exit::of_outcome))
}
