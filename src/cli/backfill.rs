//! `bellcage backfill JOB`: runs for a past period.

use clap::Args;

use crate::job::JobId;
use crate::wire::Backfill;

use super::Context;
use super::error::{Exit, Result};
use super::output::grouped;

#[derive(Args)]
pub struct BackfillArgs {
    /// The job whose trigger named the instants
    job: String,
    /// The first instant; a local time or a date is meant in the job's zone
    #[arg(long, value_name = "TIME")]
    from: String,
    /// The last instant, itself included; a date includes its day [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Backfills of the job at once, at most; its own schedule goes on beside them
    #[arg(long, value_name = "N", default_value_t = Backfill::MAX_RUNNING)]
    max_running: u32,
    /// Refuse more instants than this
    #[arg(long, value_name = "N", default_value_t = Backfill::LIMIT)]
    limit: u64,
    /// Say what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &BackfillArgs, context: &Context) -> Result {
    let job: JobId = args.job.parse()?;
    let request =
        Backfill { from: args.from.clone(), to: args.to.clone(), max_running: Some(args.max_running), limit: Some(args.limit), dry_run: args.dry_run };
    let done = context.client()?.backfill(&job, &request)?;
    let out = &context.out;
    if out.json {
        out.document(&done)?;
        return Ok(Exit::OK);
    }
    let runs = if done.made == 1 { "run" } else { "runs" };
    let made = if done.dry_run { "would make" } else { "made" };
    let instants = if done.named == 1 { "instant" } else { "instants" };
    let mut line = format!("{made} {} {runs} of {job} for {} {instants}", grouped(done.made), grouped(done.named));
    if done.existing > 0 {
        line.push_str(&format!(", {} of which have a run", grouped(done.existing)));
    }
    if done.excluded > 0 {
        line.push_str(&format!(", {} fall into a calendar", grouped(done.excluded)));
    }
    out.line(&line)?;
    if done.named == 0 {
        out.note(&format!(
            "the trigger of {job} names no instant in that period; manual and after never name one, and an interval without a start counts from when the job was added"
        ));
    }
    if done.made > 0 && !done.dry_run {
        out.hint(&format!("see how far it is: bellcage runs list --job {job} --cause backfill; stop it: bellcage runs cancel --job {job} --cause backfill"));
    }
    Ok(Exit::OK)
}
