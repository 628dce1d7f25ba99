//! What a guest is given: the data of its store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::UpdateDeadline;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::clocks::WasiClocksView as _;
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::AttemptRequest;
use super::determinism::{Clock, Seeded, Timeline};
use super::host::entry::Types;
use super::host::{Cancellation, Checkpoint, Interface, KeyValue, Logging, MonotonicClock, NAMES, Random, Reporting};
use super::limiter::Limiter;
use super::output::{EndsSink, Output, WholeSink};
use super::outside::{Outwards, Way};
use super::signal::{Signal, Stop};
use crate::job::Entry;

pub(super) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    pub limiter: Limiter,
    pub stdout: Output<WholeSink>,
    pub stderr: Output<EndsSink>,
    signal: Arc<Signal>,
    deadline: Instant,
    random_max: u64,
    /// Of a deterministic attempt.
    timeline: Option<Arc<Timeline>>,
    seeded: Option<Seeded>,
    /// What earlier attempts of the run saved.
    checkpoint: Option<Vec<u8>>,
    checkpoint_max: u64,
    outwards: Outwards,
    host_calls_left: u64,
    host_calls: [u64; NAMES.len()],
}

impl Guest {
    pub fn new(request: &AttemptRequest, args: &[String], signal: Arc<Signal>, way: Option<Arc<dyn Way>>, deadline: Instant) -> Self {
        let limits = &request.limits;
        let stdout = Output::new(WholeSink::new(limits.result));
        let stderr = Output::new(EndsSink::new(limits.logs));
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(limits.resources).unwrap_or(usize::MAX));
        let secrets: Vec<_> = request.secrets.iter().map(|(name, value)| (name, value.expose())).collect();
        // Everything else a WasiCtx starts without: directories, stdin, environment, arguments.
        let mut wasi = WasiCtx::builder();
        match request.entry {
            Entry::Main => wasi.stdout(stdout.clone()),
            // A function returns its result, so what it prints is for the log.
            Entry::Function(_) => wasi.stdout(stderr.clone()),
        };
        wasi.stderr(stderr.clone())
            .arg(&request.program)
            .args(args)
            .envs(&request.env)
            .envs(&secrets)
            .max_random_size(limits.random)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        if !request.stdin.is_empty() {
            wasi.stdin(MemoryInputPipe::new(request.stdin.clone()));
        }
        let timeline = request.deterministic.map(|determinism| Arc::new(Timeline::new(determinism.at)));
        if let Some(timeline) = &timeline {
            wasi.wall_clock(Clock(timeline.clone())).monotonic_clock(Clock(timeline.clone()));
        }
        Self {
            wasi: wasi.build(),
            table,
            limiter: Limiter::new(limits),
            stdout,
            stderr,
            signal,
            deadline,
            random_max: limits.random,
            timeline,
            seeded: request.deterministic.map(|determinism| Seeded::new(determinism.seed)),
            checkpoint: request.checkpoint.clone(),
            checkpoint_max: limits.checkpoint,
            outwards: Outwards { reach: request.reach.clone(), way },
            host_calls_left: limits.host_calls,
            host_calls: [0; NAMES.len()],
        }
    }

    /// Where every host call passes. The call past the limit is still made, since a getter cannot refuse it; the
    /// guest is stopped when it comes back to its own code.
    pub fn counted(&mut self, interface: Interface) -> &mut Self {
        self.host_calls[interface as usize] += 1;
        match self.host_calls_left.checked_sub(1) {
            Some(left) => self.host_calls_left = left,
            None => self.signal.stop(Stop::HostCalls),
        }
        self
    }

    pub fn host_calls(&self) -> u64 {
        self.host_calls.iter().sum()
    }

    pub fn host_calls_by_interface(&self) -> BTreeMap<String, u64> {
        self.host_calls.iter().zip(NAMES).filter(|(count, _)| **count > 0).map(|(count, name)| ((*name).to_owned(), *count)).collect()
    }

    /// What the epoch asks whenever it was raised: stop, or let others run and go on.
    pub fn at_epoch(&self) -> UpdateDeadline {
        if self.signal.stopped().is_none() {
            self.signal.stop_if_due(self.deadline, Instant::now());
        }
        match self.signal.stopped() {
            Some(_) => UpdateDeadline::Interrupt,
            None => UpdateDeadline::Yield(1),
        }
    }

    pub fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    #[allow(clippy::unused_self, reason = "as all views")]
    pub fn types(&mut self) -> Types {
        Types
    }

    pub fn logging(&mut self) -> Logging<'_> {
        Logging(&self.stderr)
    }

    pub fn reporting(&mut self) -> Reporting<'_> {
        Reporting(&self.signal)
    }

    pub fn cancellation(&mut self) -> Cancellation<'_> {
        Cancellation(&self.signal)
    }

    pub fn checkpoint(&mut self) -> Checkpoint<'_> {
        Checkpoint { signal: &self.signal, kept: self.checkpoint.as_deref(), max: self.checkpoint_max }
    }

    pub fn key_value(&mut self) -> KeyValue<'_> {
        KeyValue { outwards: &self.outwards, table: &mut self.table }
    }

    pub fn random_capped(&mut self) -> Random<'_> {
        Random { ctx: self.wasi.random(), max: self.random_max, seeded: self.seeded.as_mut() }
    }

    pub fn monotonic_clock(&mut self) -> MonotonicClock<'_> {
        let timeline = self.timeline.clone();
        MonotonicClock { clocks: self.clocks(), timeline }
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}
