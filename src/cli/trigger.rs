//! `bellcage trigger JOB`: a run on demand.

use clap::Args;

use crate::job::JobId;
use crate::wire::{RunDetail, TriggerRun};

use super::Context;
use super::error::{Exit, Result};
use super::job::arguments;
use super::runs::tell_result;

#[derive(Args)]
pub struct TriggerArgs {
    /// The job to run, paused or not
    job: String,
    /// An argument of this run, in place of the job's; once for each
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true, conflicts_with = "args")]
    arg: Vec<String>,
    /// All arguments of this run in JSON
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    /// Wait for its end: the result on stdout, the log on stderr, the outcome as exit code
    #[arg(long)]
    wait: bool,
}

pub fn run(args: &TriggerArgs, context: &Context) -> Result {
    let job: JobId = args.job.parse()?;
    let request = TriggerRun { args: arguments(args.args.as_deref(), &args.arg)? };
    let client = context.client()?;
    let run = client.trigger(&job, &request)?;
    let out = &context.out;
    if !args.wait {
        if out.json {
            out.document(&run)?;
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
