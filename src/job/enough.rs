//! How much of a limit would have been enough for a run that it ended, as far as that can be known.
//!
//! Two things are known, and neither always: what the guest asked for when it was refused, and what other runs needed.

use std::num::NonZeroU64;

use serde::{Deserialize, Serialize};

use super::{Receipt, Run};

/// Of the limit that ended a run's last attempt. Fuel is in its own units, times in microseconds, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enough {
    /// As in `limits.NAME`.
    pub limit: String,
    /// What it was, where the run's record says so.
    pub allowed: Option<u64>,
    /// What the guest asked for when the limit fired: no less would have been enough, though it might have asked for more.
    pub asked: Option<u64>,
    /// The most that one of the job's runs of the same component that succeeded has used, where receipts tell of this limit.
    pub most_used: Option<u64>,
    /// How many of those runs were looked at.
    pub succeeded_runs: u64,
}

/// A limit that fired.
#[derive(Clone, Copy)]
struct Fired {
    limit: &'static str,
    /// What a receipt tells of it.
    used: Option<fn(&Receipt) -> u64>,
}

impl Fired {
    fn of(code: &str) -> Option<Self> {
        let told = |limit, used: fn(&Receipt) -> u64| Some(Self { limit, used: Some(used) });
        let untold = |limit| Some(Self { limit, used: None });
        match code {
            "out-of-fuel" => told("fuel", |receipt| receipt.fuel_used),
            "out-of-memory" => told("memory", |receipt| receipt.memory_peak_bytes),
            "timeout" => told("timeout", |receipt| receipt.wall_us),
            "limit-result" => told("result", |receipt| receipt.result_bytes),
            "limit-host-calls" => told("host_calls", |receipt| receipt.host_calls),
            "limit-table-elements" => untold("table_elements"),
            "limit-instances" => untold("instances"),
            "limit-resources" => untold("resources"),
            "limit-host-call-bytes" => untold("host_call_bytes"),
            "limit-random" => untold("random"),
            "limit-kv-bytes" => untold("kv_bytes"),
            "limit-kv-keys" => untold("kv_keys"),
            "limit-http-body" => untold("http_body"),
            "limit-http-requests" => untold("http_requests"),
            _ => None,
        }
    }
}

impl Enough {
    /// Runs of the job that succeeded to look at, the newest first.
    pub const RUNS: usize = 100;

    /// Whether a limit ended the run, so that other runs are worth looking at.
    pub fn is_asked(run: &Run) -> bool {
        run.error.as_ref().is_some_and(|error| Fired::of(&error.code).is_some())
    }

    /// `succeeded` are runs of the same job. `None` where no limit ended `run`.
    pub fn of(run: &Run, succeeded: &[Run]) -> Option<Self> {
        let error = run.error.as_ref()?;
        let Fired { limit, used } = Fired::of(&error.code)?;
        let digest = run.receipt.as_ref().and_then(|receipt| receipt.digest);
        let same: Vec<_> = succeeded
            .iter()
            .filter_map(|run| run.receipt.as_ref())
            .filter(|receipt| receipt.is_known() && digest.is_some() && receipt.digest == digest)
            .collect();
        let most_used = used.and_then(|used| same.iter().map(|receipt| used(receipt)).max());
        let (asked, allowed) = (error.asked.map(NonZeroU64::get), error.allowed.map(NonZeroU64::get));
        Some(Self { limit: limit.to_owned(), allowed, asked, most_used, succeeded_runs: same.len() as u64 })
    }
}
