//! `bellcage bench`: what this machine can do with bellcage.

use clap::Args;
use serde_json::json;

use crate::bench::{self, BenchOptions, Row};

use super::Context;
use super::error::{CliError, Exit, Result};
use super::output::{Column, Table};

#[derive(Args)]
pub struct BenchArgs {
    /// In under 40 seconds, and less sure
    #[arg(long)]
    quick: bool,
}

pub fn run(args: &BenchArgs, context: &Context) -> Result {
    let failed = |error: &dyn std::fmt::Display| CliError::new(Exit::FAILED, "bench-failed", error.to_string());
    let options =
        BenchOptions { quick: args.quick, folder: context.loaded.config.store.data.clone(), program: std::env::current_exe().map_err(|e| failed(&e))? };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| failed(&e))?;
    let out = &context.out;
    if !out.json {
        out.note("measuring; figures move with what else this machine does");
    }
    let rows = runtime.block_on(bench::run(&options, |_| {})).map_err(|e| failed(&e))?;
    if out.json {
        out.document(&json!({ "rows": rows }))?;
    } else {
        let mut table = Table::new([Column::whole("ROW"), Column::text("WHAT"), Column::figure("HERE")]);
        for Row { id, what, ours, unit, .. } in rows {
            let shown = if unit == "ms" { format!("{ours:.2} ms") } else { format!("{ours:.0} {unit}") };
            table.row([id.to_owned(), what, shown]);
        }
        out.data(&table.render(out))?;
    }
    Ok(Exit::OK)
}
