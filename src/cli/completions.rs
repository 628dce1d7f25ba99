//! `bellcage completions SHELL`.

use clap::Args;
use clap_complete::Shell;

use super::error::{Exit, Result};
use super::output::Output;

#[derive(Args)]
pub struct CompletionsArgs {
    shell: Shell,
}

pub fn run(args: &CompletionsArgs, command: &mut clap::Command, out: &Output) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "bellcage", &mut script);
    out.data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::OK)
}
