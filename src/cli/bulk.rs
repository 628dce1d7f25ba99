//! One verb for all jobs with given labels: what became of each, and how many; also where it was cut short.

use serde_json::{Value, json};

use crate::client::ClientError;
use crate::wire::{Bulk, BulkJob, BulkVerb};

use super::Context;
use super::error::{CliError, Exit, Result};
use super::limits::pairs;

/// `word` says what was done: `paused`. The exit code is that of the first job that was refused.
pub fn run(labels: &[String], verb: BulkVerb, word: &str, context: &Context) -> Result {
    let client = context.client()?;
    let mut request = Bulk { labels: pairs("--label", labels)?, verb, after: None, limit: None };
    let mut told = Told { word, exit: Exit::OK, done: 0, refused: 0, jobs: Vec::new() };
    let cut_short = loop {
        match client.bulk(&request) {
            Err(error) => break Some(CliError::from(error)),
            Ok(page) => {
                for job in page.jobs {
                    told.one(job, context)?;
                }
                request.after = page.next;
                if request.after.is_none() {
                    break None;
                }
            }
        }
    };
    told.end(cut_short, context)
}

struct Told<'a> {
    word: &'a str,
    exit: Exit,
    done: usize,
    refused: usize,
    /// With `--json`.
    jobs: Vec<BulkJob>,
}

impl Told<'_> {
    fn one(&mut self, job: BulkJob, context: &Context) -> Result<()> {
        let out = &context.out;
        if let Some(problem) = &job.problem {
            let mut error = CliError::from(ClientError::Problem(Box::new(problem.clone())));
            error.message = format!("job {}: {}", job.id, error.message);
            if self.refused == 0 {
                self.exit = error.exit;
            }
            self.refused += 1;
            if !out.json {
                out.message(error.render(out.stderr).trim_end());
            }
        } else {
            self.done += 1;
            if !out.json {
                let run = match &job.run {
                    Some(triggered) if triggered.new => format!(": run {}", triggered.run.id),
                    Some(triggered) => format!(": no run was made, {} is the one of its key", triggered.run.id),
                    None => String::new(),
                };
                out.line(&format!("{} {}{run}", self.word, job.id))?;
            }
        }
        if out.json {
            self.jobs.push(job);
        }
        Ok(())
    }

    fn end(self, cut_short: Option<CliError>, context: &Context) -> Result {
        let out = &context.out;
        if out.json {
            let mut document = cut_short.as_ref().map_or(json!({}), CliError::to_json);
            document["jobs"] = serde_json::to_value(&self.jobs).unwrap_or(Value::Null);
            out.document(&document)?;
            return Ok(cut_short.map_or(self.exit, |error| error.exit));
        }
        out.line(&format!("{} {}, {} refused", self.done, self.word, self.refused))?;
        if self.done + self.refused == 0 && cut_short.is_none() {
            out.hint("no job has these labels: see them with bellcage job list --json");
        }
        match cut_short {
            Some(error) => {
                out.note("that is not all: it was cut short");
                Err(error)
            }
            None => Ok(self.exit),
        }
    }
}
