//! Resident memory per sleeping guest: a thousand at once in worker processes, beyond what these hold while they are idle. The
//! guest has no memory of its own, so that all of it is what an instance costs the host.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::component::cache::Cache;
use crate::executor::{AttemptRequest, Executor as _, Workers, WorkersConfig};
use crate::job::{Limits, RunId};

use super::executors::request;
use super::{BenchError, Goal, Guest, Row};

const ASLEEP: &[u8] = include_bytes!("../../guests/demo/asleep.wasm");
const GUESTS: usize = 1_000;
/// Until as many guests sleep as were asked for, and memory moves no more.
const SETTLING: Duration = Duration::from_secs(3);

pub(super) async fn measure(guest: &Guest) -> Result<Vec<Row>, BenchError> {
    let (asleep, _) = Cache::open(&guest.cache, &guest.engine)?.ensure(&guest.compiler(), ASLEEP).await?;
    let workers = Workers::start(WorkersConfig { slots: GUESTS, engine: guest.engine.clone(), ..WorkersConfig::new(guest.program.clone()) })?;
    let request = |timeout: Duration| AttemptRequest {
        run: RunId(uuid::Uuid::now_v7()),
        component: asleep.clone(),
        limits: Limits { timeout: timeout.try_into().unwrap_or_default(), ..Limits::default() },
        ..request(&guest.artefact)
    };
    // The component is loaded once, whoever runs it.
    for _ in 0..4 * workers.pids().len() {
        workers.run(request(Duration::from_millis(10))).await;
    }
    let pids = workers.pids();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let idle = resident(&pids);
    let mut sleeping: FuturesUnordered<_> = (0..GUESTS).map(|_| workers.run(request(Duration::from_secs(60)))).collect();
    if let Ok(Some(report)) = tokio::time::timeout(SETTLING, sleeping.next()).await {
        let message = report.error.unwrap_or_default().message;
        return Err(BenchError::Run { outcome: format!("{}, though it sleeps", report.outcome), message });
    }
    let busy = resident(&pids);
    let each = busy.saturating_sub(idle) as f64 / GUESTS as f64;
    let row = Row::new("9", format!("resident memory per sleeping guest, {GUESTS} at once"), each, "KiB").reach(&[Goal::AtMost(100.0)]);
    Ok(vec![row.note(format!("idle: {} KiB in this process and {} workers", idle, pids.len()))])
}

/// KiB that this process and these hold in memory.
fn resident(pids: &[u32]) -> u64 {
    let of = |process: String| -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().trim_end_matches(" kB").parse().ok()
    };
    std::iter::once("self".to_owned()).chain(pids.iter().map(u32::to_string)).filter_map(of).sum()
}
