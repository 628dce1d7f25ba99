//! Attempts per second, by the executor alone: one worker, every limit on, a fresh instance each.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;

use crate::executor::{AttemptReport, AttemptRequest, Executor, Pool, Reach};
use crate::job::{Entry, Isolation, Limits, Outcome, RunId};

use super::{BenchError, Goal, Guest, Row};

/// Attempts that wait for their turn, so that the worker never does.
const IN_FLIGHT: usize = 64;

pub(super) async fn measure(guest: &Guest, quick: bool) -> Result<Vec<Row>, BenchError> {
    let pool = guest.pool(Some(1))?;
    rate(&pool, guest, Duration::from_millis(300)).await?;
    let (rounds, round) = if quick { (3, Duration::from_millis(700)) } else { (7, Duration::from_secs(2)) };
    let mut rates = Vec::new();
    for _ in 0..rounds {
        rates.push(rate(&pool, guest, round).await?);
    }
    rates.sort_by(f64::total_cmp);
    let row = Row::new("1", "attempts of a tiny command, executor only, one worker", rates[rates.len() / 2], "1/s");
    Ok(vec![row.reach(&[Goal::RatioAtLeast(0.7)])])
}

async fn rate(pool: &Pool, guest: &Guest, time: Duration) -> Result<f64, BenchError> {
    let began = Instant::now();
    let mut going: FuturesUnordered<_> = (0..IN_FLIGHT).map(|_| pool.run(request(guest))).collect();
    let mut ended = 0_u64;
    while let Some(report) = going.next().await {
        check(&report)?;
        ended += 1;
        if began.elapsed() < time {
            going.push(pool.run(request(guest)));
        }
    }
    Ok(ended as f64 / began.elapsed().as_secs_f64())
}

fn check(report: &AttemptReport) -> Result<(), BenchError> {
    match report.outcome {
        Outcome::Succeeded => Ok(()),
        outcome => Err(BenchError::Run { outcome: outcome.to_string(), message: report.error.clone().unwrap_or_default().message }),
    }
}

pub(super) fn request(guest: &Guest) -> AttemptRequest {
    AttemptRequest {
        run: RunId(uuid::Uuid::now_v7()),
        attempt: 1,
        job: "tiny".to_owned(),
        component: guest.artefact.clone(),
        entry: Entry::Main,
        args: serde_json::Value::Null,
        program: "tiny".to_owned(),
        env: Vec::new(),
        secrets: Vec::new(),
        stdin: Vec::new(),
        limits: Limits::default(),
        reach: Reach::default(),
        scheduled_at: Timestamp::UNIX_EPOCH,
        scheduled_local: None,
        checkpoint: None,
        deterministic: None,
        due_at: None,
        isolation: Isolation::Shared,
    }
}
