//! What it costs to say when a job fires next.

use std::hint::black_box;
use std::time::Duration;

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use crate::trigger::{Salt, TriggerSpec};

use super::{BenchError, Goal, Row, median};

/// Usual expressions, from the densest to the sparsest, in a zone with daylight saving.
const EXPRESSIONS: [&str; 8] = ["* * * * * *", "* * * * *", "*/15 * * * *", "0 * * * *", "30 2 * * *", "0 9 * * mon-fri", "0 0 1 * *", "0 12 L * *"];
const ZONE: &str = "America/New_York";
/// Spread over a year so that no two are near.
const INSTANTS: i64 = 1_024;

pub(super) fn measure(quick: bool) -> Result<Vec<Row>, BenchError> {
    let rounds = if quick { 20 } else { 200 };
    let instants: Vec<_> = (0..INSTANTS).filter_map(|n| Timestamp::from_second(1_767_225_600 + n * 30_790 + n * n % 997).ok()).collect();
    let mut figures = Vec::new();
    for expression in EXPRESSIONS {
        let salt = Salt { tenant: "default", job: "bench" };
        let trigger = TriggerSpec::cron(expression, Some(ZONE)).compile(salt).map_err(crate::scheduler::SchedulerError::from)?;
        let round = || {
            let before = thread_cpu();
            for at in &instants {
                black_box(trigger.next_after(black_box(*at)));
            }
            thread_cpu().saturating_sub(before).as_secs_f64() * 1e6 / INSTANTS as f64
        };
        figures.push(median((0..rounds).map(|_| round()).collect()));
    }
    let what = format!("next firing of a usual cron expression in {ZONE}, median of {}", EXPRESSIONS.len());
    let note = "beside croner: cargo bench --bench trigger";
    Ok(vec![Row::new("8", what, median(figures), "µs").reach(&[Goal::AtMost(0.3)]).note(note)])
}

fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}
