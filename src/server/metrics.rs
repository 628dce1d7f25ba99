//! `/metrics`: what this process has seen happen, as Prometheus text, in base units.
//!
//! Counters are fed by the events, so they begin at zero with each process and cost the scheduler nothing.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

use crate::job::{Outcome, SkipReason};
use crate::scheduler::{EventKind, Scheduler, StoreCounts};

const BUCKETS: usize = 12;
/// Upper bounds of the lateness buckets, in seconds.
const LATENESS: [f64; BUCKETS] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0, 600.0];
const DURATION: [f64; BUCKETS] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 600.0, 3_600.0];

#[derive(Default)]
pub(super) struct Metrics {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    runs: BTreeMap<&'static str, u64>,
    retries: u64,
    skipped: BTreeMap<&'static str, u64>,
    fuel: u64,
    cpu_us: u64,
    lateness: Histogram,
    duration: Histogram,
    missed: u64,
}

/// Observations in microseconds.
#[derive(Default)]
struct Histogram {
    buckets: [u64; BUCKETS],
    count: u64,
    sum_us: u64,
}

impl Histogram {
    fn observe(&mut self, us: u64, bounds: &[f64; BUCKETS]) {
        if let Some(i) = bounds.iter().position(|bound| us as f64 <= bound * 1e6) {
            self.buckets[i] += 1;
        }
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    fn write(&self, text: &mut String, name: &str, help: &str, bounds: &[f64; BUCKETS]) {
        head(text, name, "histogram", help);
        let mut below = 0;
        for (bound, n) in bounds.iter().zip(self.buckets) {
            below += n;
            line(text, &format!("{name}_bucket{{le=\"{bound}\"}}"), below);
        }
        line(text, &format!("{name}_bucket{{le=\"+Inf\"}}"), self.count);
        line(text, &format!("{name}_sum"), seconds(self.sum_us));
        line(text, &format!("{name}_count"), self.count);
    }
}

impl Metrics {
    /// Counts what happens from now on, until the server closes.
    pub fn follow(scheduler: &Scheduler, mut closing: watch::Receiver<bool>) -> Arc<Self> {
        let metrics = Arc::new(Self::default());
        let (_, mut events) = scheduler.events().subscribe(None);
        let counting = metrics.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    event = events.recv() => match event {
                        Ok(event) => counting.seen().count(&event.kind),
                        Err(RecvError::Lagged(missed)) => counting.seen().missed += missed,
                        Err(RecvError::Closed) => return,
                    },
                    _ = closing.wait_for(|closing| *closing) => return,
                }
            }
        });
        metrics
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn text(&self, counts: StoreCounts, subscribers: usize, waiters: usize) -> String {
        let mut text = String::with_capacity(4_096);
        let out = &mut text;
        head(out, "bellcage_build_info", "gauge", "The version of this server.");
        line(out, concat!("bellcage_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1);
        head(out, "bellcage_jobs", "gauge", "Jobs in the store.");
        line(out, "bellcage_jobs", counts.jobs);
        head(out, "bellcage_runs_unfinished", "gauge", "Runs that are queued, running or waiting for a retry.");
        line(out, "bellcage_runs_unfinished", counts.runs_unfinished);
        head(out, "bellcage_event_subscribers", "gauge", "Open event streams.");
        line(out, "bellcage_event_subscribers", subscribers);
        head(out, "bellcage_run_waiters", "gauge", "Requests that wait for a run's end.");
        line(out, "bellcage_run_waiters", waiters);
        self.seen().write(out);
        text
    }
}

impl Seen {
    fn count(&mut self, kind: &EventKind) {
        let outcome = |outcome: &Outcome| outcome.as_str();
        match kind {
            EventKind::RunEnded { outcome: ended, receipt, .. } => {
                *self.runs.entry(outcome(ended)).or_default() += 1;
                if let Some(receipt) = receipt {
                    self.fuel = self.fuel.saturating_add(receipt.fuel_used);
                    self.cpu_us = self.cpu_us.saturating_add(receipt.cpu_us);
                    self.lateness.observe(receipt.queue_us, &LATENESS);
                    self.duration.observe(receipt.wall_us, &DURATION);
                }
            }
            EventKind::RunRetry { .. } => self.retries += 1,
            EventKind::FiringSkipped { reason, count, .. } => *self.skipped.entry(reason.as_str()).or_default() += count,
            _ => {}
        }
    }

    fn write(&self, out: &mut String) {
        head(out, "bellcage_runs_ended_total", "counter", "Runs that ended, by outcome.");
        for outcome in Outcome::ALL {
            let n = self.runs.get(outcome.as_str()).copied().unwrap_or(0);
            line(out, &format!("bellcage_runs_ended_total{{outcome=\"{outcome}\"}}"), n);
        }
        head(out, "bellcage_attempts_retried_total", "counter", "Attempts that are followed by another one.");
        line(out, "bellcage_attempts_retried_total", self.retries);
        head(out, "bellcage_firings_skipped_total", "counter", "Firings that made no run, by reason.");
        for reason in [SkipReason::Missed, SkipReason::Skipped, SkipReason::Coalesced, SkipReason::Paused] {
            let n = self.skipped.get(reason.as_str()).copied().unwrap_or(0);
            line(out, &format!("bellcage_firings_skipped_total{{reason=\"{}\"}}", reason.as_str()), n);
        }
        head(out, "bellcage_fuel_used_total", "counter", "Fuel used by the last attempts of runs that ended.");
        line(out, "bellcage_fuel_used_total", self.fuel);
        head(out, "bellcage_run_cpu_seconds_total", "counter", "CPU time of the last attempts of runs that ended.");
        line(out, "bellcage_run_cpu_seconds_total", seconds(self.cpu_us));
        self.lateness.write(out, "bellcage_run_lateness_seconds", "From the instant a run could start to its start.", &LATENESS);
        self.duration.write(out, "bellcage_run_duration_seconds", "Wall time of a run's last attempt.", &DURATION);
        head(out, "bellcage_events_missed_total", "counter", "Events that came too fast to be counted here.");
        line(out, "bellcage_events_missed_total", self.missed);
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(text, "{name} {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_cumulative_and_in_seconds() {
        let mut histogram = Histogram::default();
        for us in [500, 1_000, 1_001, 700_000_000] {
            histogram.observe(us, &LATENESS);
        }
        let mut text = String::new();
        histogram.write(&mut text, "x_seconds", "X.", &LATENESS);
        for want in
            ["x_seconds_bucket{le=\"0.001\"} 2\n", "{le=\"0.0025\"} 3\n", "{le=\"600\"} 3\n", "{le=\"+Inf\"} 4\n", "x_seconds_sum 700.002501\n", "_count 4\n"]
        {
            assert!(text.contains(want), "{want} in {text}");
        }
    }
}
