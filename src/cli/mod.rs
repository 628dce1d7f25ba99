//! The command line: one file for each noun or verb, each with its arguments and a `run`.
//!
//! Data goes to stdout, messages to stderr. With `--json` a command prints one document, also for an error. Only
//! `serve` and `dev` put a store, an executor and a scheduler together; `run` has an executor alone; all others ask a
//! server over HTTP, or nobody.

mod backfill;
mod bench;
mod bulk;
mod calendar;
mod completions;
mod component;
mod config;
mod connect;
mod demo;
mod dev;
mod directories;
mod doctor;
mod error;
mod explain;
mod grants;
mod job;
mod limits;
mod new;
mod next;
mod output;
mod run;
mod runs;
mod secret;
mod serve;
mod simulate;
mod suggest;
mod trigger;
mod watch;
mod when;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use jiff::Timestamp;

use crate::clock::{self, Clock};
use crate::config::{FlagValue, Loaded, Sources};

use error::{CliError, Exit, Result};
use output::Output;

/// A scheduler whose jobs are WebAssembly components: cron for untrusted code, with hard limits and a receipt for every run
#[derive(Parser)]
#[command(name = "bellcage", version, arg_required_else_help = true, disable_help_subcommand = true, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Environment: BELLCAGE_TOKEN is the token of a server that was not started in this directory; every setting is a variable too, such as \
BELLCAGE_LIMITS_FUEL; NO_COLOR is heeded.
Exit codes: 0 ok, 1 failed, 2 wrong use, 3 not found, 4 conflict, 5 denied, 6 no server; of a run that was waited for: 20 failed or trapped, \
21 out of fuel, 22 out of memory, 23 timeout, 24 cancelled, 25 another limit, 26 lost, 27 refused.";

#[derive(Args)]
struct Global {
    /// The server to ask [default: the one that was started in this directory, else http://127.0.0.1:7878]
    #[arg(long, global = true, env = "BELLCAGE_SERVER", hide_env_values = true, value_name = "URL", help_heading = "Everywhere")]
    server: Option<String>,
    /// Print one JSON document, errors too
    #[arg(long, global = true, help_heading = "Everywhere")]
    json: bool,
    /// Read this configuration file [default: bellcage.toml, where there is one]
    #[arg(long, global = true, env = "BELLCAGE_CONFIG", hide_env_values = true, value_name = "FILE", help_heading = "Everywhere")]
    config: Option<PathBuf>,
    /// Set one setting of the configuration for this command, such as executor.slots=64
    #[arg(long = "set", global = true, value_name = "KEY=VALUE", help_heading = "Everywhere")]
    set: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// A server with three demo jobs, to look at: one behaves, one spins, one hogs memory
    Dev(dev::DevArgs),
    /// The server: scheduler, executor and API over a store on disk
    Serve(serve::ServeArgs),
    /// Write a project to start a job from, in one of five languages
    New(new::NewArgs),
    /// Run a component once, now, in this process: no server, no store
    Run(Box<run::RunArgs>),
    /// Components: push, list, show, rm
    #[command(subcommand)]
    Component(component::ComponentCommand),
    /// Jobs: add, apply, list, show, pause, resume, rm
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Exclusion calendars, holidays and freeze windows: set, list, show, rm
    #[command(subcommand)]
    Calendar(calendar::CalendarCommand),
    /// Secrets that jobs are granted as environment variables: set, list, rm
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    /// Runs: list, show, logs, watch, cancel
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    /// Limits: what a job needs, from what it has used
    #[command(subcommand)]
    Limits(suggest::LimitsCommand),
    /// Run a job now
    Trigger(trigger::TriggerArgs),
    /// Make up for a past period of a job: a run for each instant that had none
    Backfill(backfill::BackfillArgs),
    /// When a job or an expression fires next
    Next(next::NextArgs),
    /// What the scheduler would do with jobs in a period: nothing is run
    Simulate(simulate::SimulateArgs),
    /// Say why: of a run, a firing, a cron expression, an error code
    #[command(subcommand)]
    Explain(explain::ExplainCommand),
    /// The configuration: what holds, and where each value came from
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// What this machine offers, what the configuration demands, and whether that fits
    Doctor(doctor::DoctorArgs),
    /// Measure what this machine can do with bellcage
    Bench(bench::BenchArgs),
    /// Completions for a shell, on stdout
    Completions(completions::CompletionsArgs),
}

/// What every command is given.
struct Context {
    out: Output,
    server: Option<String>,
    loaded: Loaded,
}

impl Context {
    fn now(&self) -> Timestamp {
        clock::System.now()
    }

    /// The client of the server that this command speaks to.
    fn client(&self) -> Result<crate::client::Client> {
        connect::client(self.server.as_deref(), &self.loaded.config.store.data)
    }
}

/// The whole of the process after the compile child's subcommand was ruled out.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse_usage(&error),
    };
    let out = Output::new(cli.global.json);
    match dispatch(cli, out) {
        Ok(exit) => ExitCode::from(exit.0),
        Err(error) => {
            if out.json {
                // Where stdout is gone too there is nobody to tell.
                let _ = out.document(&error.to_json());
            } else {
                out.message(error.render(out.stderr).trim_end());
            }
            ExitCode::from(error.exit.0)
        }
    }
}

/// clap's own words; with `--json` as a document too, so that a script reads one form.
fn refuse_usage(error: &clap::Error) -> ExitCode {
    let json = std::env::args_os().take_while(|arg| arg != "--").any(|arg| arg == "--json");
    if error.use_stderr() && json {
        let text = error.to_string();
        let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let refused = CliError::usage(message).hint("see the arguments with --help");
        let _ = Output::new(true).document(&refused.to_json());
        return ExitCode::from(Exit::USAGE.0);
    }
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Exit::USAGE.0))
}

fn dispatch(cli: Cli, out: Output) -> Result {
    let Cli { global, command } = cli;
    if let Command::Completions(args) = &command {
        return completions::run(args, &mut Cli::command(), &out);
    }
    let loaded = Loaded::load(Sources { file: global.config, environment: environment(), flags: flags(&global.set, &command)? })?;
    let context = Context { out, server: global.server, loaded };
    match &command {
        Command::Dev(args) => dev::run(args, &context),
        Command::Serve(_) => serve::run(&context),
        Command::New(args) => new::run(args, &context),
        Command::Run(args) => run::run(args, &context),
        Command::Component(command) => component::run(command, &context),
        Command::Job(command) => job::run(command, &context),
        Command::Calendar(command) => calendar::run(command, &context),
        Command::Secret(command) => secret::run(command, &context),
        Command::Runs(command) => runs::run(command, &context),
        Command::Limits(command) => suggest::run(command, &context),
        Command::Trigger(args) => trigger::run(args, &context),
        Command::Backfill(args) => backfill::run(args, &context),
        Command::Next(args) => next::run(args, &context),
        Command::Simulate(args) => simulate::run(args, &context),
        Command::Explain(command) => explain::run(command, &context),
        Command::Bench(args) => bench::run(args, &context),
        Command::Config(command) => config::run(command, &context),
        Command::Doctor(args) => doctor::run(args, &context),
        // Answered above, before the configuration is read.
        Command::Completions(_) => Ok(Exit::OK),
    }
}

/// The environment's variables that are text.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

/// Flags that are settings: `--set` first, so that a flag with a name of its own wins.
fn flags(set: &[String], command: &Command) -> Result<Vec<FlagValue>> {
    let mut flags = Vec::new();
    for typed in set {
        let (key, value) =
            typed.split_once('=').ok_or_else(|| CliError::usage(format!("--set {typed:?} has no value")).hint("write it as --set executor.slots=64"))?;
        flags.push(FlagValue { flag: "--set".to_owned(), key: key.trim().to_owned(), value: value.trim().to_owned() });
    }
    match command {
        Command::Serve(args) => flags.extend(args.settings()),
        Command::Dev(args) => flags.extend(args.server.settings()),
        _ => {}
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }
}
