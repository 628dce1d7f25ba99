//! `bellcage bench`: what this machine can do with bellcage.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::bench::{self, BenchOptions, Row, figure};

use super::Context;
use super::error::{CliError, Exit, Result};
use super::output::{Column, Table};

#[derive(Args)]
pub struct BenchArgs {
    /// In under 40 seconds, and less sure
    #[arg(long)]
    quick: bool,
    /// Only this row (repeatable): 1, 2b, 3 …
    #[arg(long = "row", value_name = "ID")]
    rows: Vec<String>,
    /// Figures of other schedulers on this machine, by row, as benches/peers/ prints them
    #[arg(long, value_name = "FILE")]
    peers: Option<PathBuf>,
}

pub fn run(args: &BenchArgs, context: &Context) -> Result {
    let failed = |error: &dyn std::fmt::Display| CliError::new(Exit::FAILED, "bench-failed", error.to_string());
    if let Some(typed) = args.rows.iter().find(|typed| !bench::IDS.contains(&typed.as_str())) {
        return Err(CliError::usage(format!("there is no row {typed:?} to measure")).hint(format!("the rows are {}", bench::IDS.join(", "))));
    }
    let options = BenchOptions {
        quick: args.quick,
        only: args.rows.clone(),
        peers: args.peers.as_deref().map(peers).transpose()?.unwrap_or_default(),
        folder: context.loaded.config.store.data.clone(),
        program: std::env::current_exe().map_err(|e| failed(&e))?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| failed(&e))?;
    let out = &context.out;
    if !out.json {
        out.note("measuring; figures move with what else this machine does");
    }
    let measured = |row: &Row| out.progress(&format!("row {}: {}", row.id, shown(row.ours, row.unit)));
    let rows = runtime.block_on(bench::run(&options, measured)).map_err(|e| failed(&e))?;
    if out.json {
        out.document(&json!({ "rows": rows }))?;
        return Ok(Exit::OK);
    }
    let [row, what, reach, ok] = [Column::whole("ROW"), Column::text("WHAT"), Column::whole("REACH"), Column::whole("OK")];
    let [here, limit, peer, ratio] = ["HERE", "LIMIT", "PEER", "RATIO"].map(Column::figure);
    let mut table = Table::new([row, what, here, limit, peer, ratio, reach, ok]);
    for row in rows {
        let ok = row.ok.map_or("", |ok| if ok { "yes" } else { "no" });
        let what = match &row.note {
            Some(note) if row.ours.is_none() => format!("not measured: {note}"),
            Some(note) => format!("{} ({note})", row.what),
            None => row.what,
        };
        let ratio = row.ratio.map(figure).unwrap_or_default();
        let figures = [row.ours, row.limit, row.peer].map(|value| shown(value, row.unit));
        let [ours, limit, peer] = figures;
        table.row([row.id.to_owned(), what, ours, limit, peer, ratio, row.reach.to_string(), ok.to_owned()]);
    }
    out.data(&table.render(out))?;
    Ok(Exit::OK)
}

fn shown(value: Option<f64>, unit: &str) -> String {
    match (value, unit) {
        (None, _) => String::new(),
        (Some(value), "1/s") => format!("{}/s", figure(value)),
        (Some(value), unit) => format!("{} {unit}", figure(value)),
    }
}

fn peers(file: &Path) -> Result<HashMap<String, f64>> {
    const HINT: &str = "the programs in benches/peers/ print such a file: {\"3\": 111.0}";
    let text = std::fs::read(file).map_err(|e| CliError::file(file, &e).hint(HINT))?;
    serde_json::from_slice(&text).map_err(|e| {
        let message = format!("{}: these are no figures by row: {e}", file.display());
        CliError::new(Exit::USAGE, "file", message).hint(HINT)
    })
}
