//! `bellcage secret …`: values that jobs are granted, and that nobody is shown.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Subcommand;
use jiff::tz::TimeZone;

use crate::job::{SecretName, SecretText};
use crate::wire::Secret;

use super::component::{PageFlags, hint_more};
use super::error::{CliError, Exit, Result};
use super::output::{Column, Table};
use super::{Context, limits, when};

#[derive(Subcommand)]
pub enum SecretCommand {
    /// Store a secret, or a new value of one; it is read from standard input, or from a file
    Set {
        /// Such as API_KEY: the environment variable that carries it
        name: String,
        /// Read the value from a file; a line end at its end is left out, as of standard input
        #[arg(short, long)]
        file: Option<PathBuf>,
    },
    /// The names of all secrets; no value is ever shown
    List {
        #[command(flatten)]
        page: PageFlags,
    },
    /// Remove a secret; attempts of jobs that are granted it are refused from then on
    Rm { name: String },
}

pub fn run(command: &SecretCommand, context: &Context) -> Result {
    match command {
        SecretCommand::Set { name, file } => set(&name.parse()?, file.as_ref(), context),
        SecretCommand::List { page } => list(page, context),
        SecretCommand::Rm { name } => rm(&name.parse()?, context),
    }
}

fn set(name: &SecretName, file: Option<&PathBuf>, context: &Context) -> Result {
    let from = file.map_or("-".to_owned(), |path| path.to_string_lossy().into_owned());
    if file.is_none() && std::io::stdin().is_terminal() {
        context.out.hint("type the value, a line end and Ctrl-D; whoever looks on sees it");
    }
    let bytes = limits::read_input(&from, SecretText::BYTES_MAX as u64 + 2)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| CliError::usage(format!("the value of {name} is not text in UTF-8")).hint("encode it, with base64 for example"))?;
    let text = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
    let stored = context.client()?.put_secret(name, SecretText::new(text.to_owned()))?;
    if context.out.json {
        context.out.document(&stored)?;
    } else {
        context.out.line(&format!("stored secret {name} ({} bytes)", text.len()))?;
        context.out.hint(&format!("let a job have it: bellcage job add … --secret {name}"));
    }
    Ok(Exit::OK)
}

fn list(page: &PageFlags, context: &Context) -> Result {
    let list = context.client()?.secrets(&page.page())?;
    let out = &context.out;
    if out.json {
        out.document(&list)?;
        return Ok(Exit::OK);
    }
    if list.secrets.is_empty() {
        out.hint("there is no secret yet: bellcage secret set API_KEY < FILE");
        return Ok(Exit::OK);
    }
    let mut table = Table::new([Column::whole("NAME"), Column::whole("UPDATED"), Column::text("")]);
    for secret in &list.secrets {
        let note = match secret {
            Secret { readable: true, .. } => "",
            Secret { damaged: true, .. } => "damaged: store it again",
            _ => "stored under another key than this server has",
        };
        table.row([secret.name.to_string(), when::local(secret.updated_at, &TimeZone::UTC), note.to_owned()]);
    }
    out.data(&table.render(out))?;
    hint_more(context, list.next.as_ref());
    Ok(Exit::OK)
}

fn rm(name: &SecretName, context: &Context) -> Result {
    let removed = context.client()?.remove_secret(name)?;
    if context.out.json {
        context.out.document(&removed)?;
    } else {
        context.out.line(&format!("removed secret {}", removed.removed))?;
    }
    Ok(Exit::OK)
}
