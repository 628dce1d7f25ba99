//! `bellcage config show`.

use clap::Subcommand;
use serde_json::json;

use super::Context;
use super::error::{Exit, Result};
use super::output::{Column, Table};

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Every setting as it holds here, and where it came from
    Show {
        /// The commented reference of all settings with their defaults, to begin a bellcage.toml with
        #[arg(long)]
        defaults: bool,
    },
}

pub fn run(command: &ConfigCommand, context: &Context) -> Result {
    let ConfigCommand::Show { defaults } = command;
    let out = &context.out;
    for name in &context.loaded.unknown_variables {
        out.note(&format!("{name} is set and means nothing to bellcage"));
    }
    if *defaults {
        out.data(crate::config::DEFAULT_TOML)?;
        return Ok(Exit::OK);
    }
    let settings = context.loaded.settings();
    if out.json {
        let settings: Vec<_> = settings.iter().map(|s| json!({ "key": s.key, "value": s.value, "origin": s.origin.to_string() })).collect();
        out.document(&json!({ "settings": settings }))?;
        return Ok(Exit::OK);
    }
    let mut table = Table::new([Column::whole("SETTING"), Column::text("VALUE"), Column::text("FROM")]);
    for setting in settings {
        table.row([setting.key, setting.value.to_string(), setting.origin.to_string()]);
    }
    out.data(&table.render(out))?;
    Ok(Exit::OK)
}
