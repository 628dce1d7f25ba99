//! `bellcage dev`: a server on loopback with three demo jobs, and a line for each run that ends.
//!
//! What it shows is asked of its own server over HTTP, like any other command's.

use std::path::PathBuf;

use clap::Args;
use jiff::tz::TimeZone;

use crate::client::Client;
use crate::job::{Entry, Grants, JobId, JobSpec, LimitsSpec, Reference, Version};
use crate::trigger::TriggerSpec;
use crate::wire::{EventKind, EventQuery, OnConflict, PushQuery};

use super::Context;
use super::demo::{self, DEMOS, Demo};
use super::error::{CliError, Exit, Result};
use super::output::{Output, count, size};
use super::runs::event_line;
use super::serve::{self, ServeArgs, Server};
use super::watch::Watch;
use super::when::Zones;

#[derive(Args)]
pub struct DevArgs {
    /// Push each component file (*.wasm) in this folder, and again whenever it changes, under its file's name
    #[arg(long, value_name = "DIR")]
    watch: Option<PathBuf>,
    #[command(flatten)]
    pub server: ServeArgs,
}

pub fn run(args: &DevArgs, context: &Context) -> Result {
    let config = &context.loaded.config;
    if !config.server.listen.ip().is_loopback() {
        let message = format!("dev listens on loopback only, and {} can be reached from other machines", config.server.listen);
        return Err(CliError::usage(message).hint("use bellcage serve for that"));
    }
    // The events say what happens; the log only what is wrong, unless it was asked for.
    let level = if context.loaded.is_default("log.level") { "warn,bellcage::cli=info" } else { &config.log.level };
    serve::start_log(level, config.log.format, context)?;
    serve::until_signal(context, |server| {
        greet(server, &context.out)?;
        let client = Client::new(&server.file.address, Some(server.file.token.clone()))?;
        let out = context.out;
        if let Some(dir) = &args.watch {
            let watch = Watch::new(dir, client.clone(), out, config.server.component_max)?;
            std::thread::spawn(|| watch.run());
        }
        std::thread::spawn(move || {
            if let Err(error) = show(&client, &out) {
                out.message(error.render(out.stderr).trim_end());
            }
        });
        Ok(())
    })
}

fn greet(server: &Server, out: &Output) -> Result<()> {
    let bold = |text: &str| out.stdout.bold(text);
    let data = server.data.display();
    let mut text = format!("{} on {} (store and token in {data})\n\nThree demo jobs:\n", bold("bellcage dev"), server.file.address);
    for demo in &DEMOS {
        text.push_str(&format!("  {:6} every {}  {}{}\n", demo.name, demo.every, demo.about, stopped_by(demo)));
    }
    text.push_str("\nIn another terminal, in this directory:\n");
    for line in [
        "bellcage job list",
        "bellcage runs list --job spin",
        "bellcage trigger hello --arg hi --wait",
        "bellcage component push my.wasm",
        "bellcage job add my --component my --cron '*/5 * * * *' --timezone Europe/Stockholm",
    ] {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str("\nCtrl-C ends it.\n\n");
    out.data(&text)
}

fn stopped_by(demo: &Demo) -> String {
    match (demo.fuel, demo.memory) {
        (Some(fuel), _) => format!("; its fuel limit stops it ({})", count(fuel)),
        (_, Some(memory)) => format!("; its memory limit stops it ({})", size(memory)),
        _ => String::new(),
    }
}

/// Adds the demo jobs and prints events until the server ends.
fn show(client: &Client, out: &Output) -> Result {
    let events = client.events(EventQuery::default())?;
    let adding = {
        let (client, out) = (client.clone(), *out);
        std::thread::spawn(move || {
            for demo in &DEMOS {
                match add(&client, demo) {
                    Ok(()) => {}
                    // The server was told to end meanwhile.
                    Err(error) if error.exit == Exit::UNREACHABLE => return,
                    Err(error) => out.message(error.render(out.stderr).trim_end()),
                }
            }
        })
    };
    let mut zones = Zones::new(client);
    for event in events {
        // The end of the stream is the end of the server.
        let Ok(event) = event else { break };
        let own = |name: &str| demo::find(name).is_some();
        let dull = match &event.kind {
            EventKind::RunStarted { .. } => true,
            EventKind::JobAdded { job } => own(job.as_str()),
            EventKind::ComponentPushed { component, .. } => own(component.as_str()),
            _ => false,
        };
        if !dull {
            let zone = event.kind.job().map_or(TimeZone::UTC, |job| zones.of(job));
            out.line(&event_line(&event, &zone, out.stdout))?;
        }
    }
    // It cannot panic; its errors were printed.
    let _ = adding.join();
    Ok(Exit::OK)
}

/// A job of that name that is there already is kept as it is.
fn add(client: &Client, demo: &Demo) -> Result<()> {
    let name = demo.name.parse()?;
    client.push_component(&name, demo.bytes, PushQuery::default())?;
    let id: JobId = demo.name.parse()?;
    let trigger = TriggerSpec::from_json(&format!(r#"{{"every":"{}","first":"now"}}"#, demo.every))?;
    let spec = JobSpec {
        args: demo.args.iter().copied().collect(),
        limits: LimitsSpec { fuel: demo.fuel, memory: demo.memory, ..LimitsSpec::default() },
        grants: Grants { env: [("GREETING".to_owned(), "hello".to_owned())].into(), ..Grants::default() },
        ..JobSpec::new(Reference { name, version: Version::Newest, entry: Entry::Main }, trigger)
    };
    client.add_job(&id, &spec, OnConflict::Keep)?;
    Ok(())
}
