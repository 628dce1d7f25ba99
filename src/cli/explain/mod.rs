//! `bellcage explain …`: why something is as it is.

mod codes;
mod expression;
mod firing;
mod run;

use clap::Subcommand;
use serde_json::json;

use super::Context;
use super::error::{CliError, Exit, Result};
use super::output::{Column, Table, fields};

#[derive(Subcommand)]
pub enum ExplainCommand {
    /// A run: why there is one, what became of it, and what to do about that
    Run { run: String },
    /// A firing: what became of an instant that a job's trigger named
    Firing(firing::FiringArgs),
    /// A cron expression, field by field
    Cron(expression::CronArgs),
    /// An error code: cause and remedy
    Error {
        /// The code, such as out-of-fuel; without one, all are listed
        code: Option<String>,
    },
}

pub fn run(command: &ExplainCommand, context: &Context) -> Result {
    match command {
        ExplainCommand::Run { run } => run::explain(run, context),
        ExplainCommand::Firing(args) => firing::explain(args, context),
        ExplainCommand::Cron(args) => expression::explain(args, context),
        ExplainCommand::Error { code: Some(code) } => error(code, context),
        ExplainCommand::Error { code: None } => errors(context),
    }
}

fn error(typed: &str, context: &Context) -> Result {
    let Some(code) = codes::find(typed) else {
        let nearest = crate::config::nearest(typed, codes::CODES.iter().map(|c| c.code.to_owned()));
        let hint = nearest.map_or_else(|| "see all of them with: bellcage explain error".to_owned(), |code| format!("did you mean {code}?"));
        return Err(CliError::new(Exit::NOT_FOUND, "unknown-code", format!("there is no error code {typed:?}")).hint(hint));
    };
    let out = &context.out;
    if out.json {
        out.document(&json!({ "code": code.code, "cause": code.cause, "remedy": code.remedy }))?;
    } else {
        out.data(&fields(out, &[("code", code.code.to_owned()), ("cause", code.cause.to_owned()), ("remedy", code.remedy.to_owned())]))?;
    }
    Ok(Exit::OK)
}

fn errors(context: &Context) -> Result {
    let out = &context.out;
    if out.json {
        let codes: Vec<_> = codes::CODES.iter().map(|c| json!({ "code": c.code, "cause": c.cause, "remedy": c.remedy })).collect();
        out.document(&json!({ "codes": codes }))?;
        return Ok(Exit::OK);
    }
    let mut table = Table::new([Column::whole("CODE"), Column::text("CAUSE")]);
    for code in codes::CODES {
        table.row([code.code.to_owned(), code.cause.to_owned()]);
    }
    out.data(&table.render(out))?;
    Ok(Exit::OK)
}
