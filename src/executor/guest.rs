//! What a guest is given: the data of its store.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use wasmtime::UpdateDeadline;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::clocks::WasiClocksCtxView;
use wasmtime_wasi::filesystem::{WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::sockets::WasiSocketsCtxView;
use wasmtime_wasi_http::WasiHttpCtxView;

use super::determinism::{Clock, Seeded, Timeline};
use super::host::entry::Types;
use super::host::http::Http;
use super::host::{Cancellation, Checkpoint, Cli, Given, Interface, KeyValue, Logging, MonotonicClock, Random, Reporting};
use super::limiter::Limiter;
use super::outside::{Outwards, Refusal};
use super::sandbox::Around;
use super::signal::{Signal, Stop};
use super::{AttemptRequest, directory};
use crate::job::{AttemptLog, Limits};

pub(super) struct Guest {
    given: Given,
    /// With the directories that were granted, and no other.
    filesystem: WasiFilesystemCtx,
    /// Made when the guest first asks for a clock, random bytes or a socket.
    wasi: Option<Box<WasiCtx>>,
    table: ResourceTable,
    pub limiter: Limiter,
    signal: Arc<Signal>,
    deadline: Instant,
    /// Of a deterministic attempt.
    timeline: Option<Arc<Timeline>>,
    seeded: Option<Box<Seeded>>,
    outwards: Outwards,
    /// Made when it is first used.
    http: Option<Box<Http>>,
    pub host_calls: u64,
    /// At an epoch, and was not asked since.
    gave_way: bool,
}

impl Guest {
    pub fn new(request: &Arc<AttemptRequest>, signal: Arc<Signal>, around: &Around, deadline: Instant) -> io::Result<Self> {
        let limits = &request.limits;
        let mut table = ResourceTable::new();
        table.set_max_capacity(usize::try_from(limits.resources).unwrap_or(usize::MAX));
        Ok(Self {
            given: Given::new(request.clone()),
            filesystem: directory::preopened(&request.directories)?,
            wasi: None,
            table,
            limiter: Limiter::new(limits, signal.clone(), around.budget.clone()),
            signal,
            deadline,
            timeline: request.deterministic.map(|determinism| Arc::new(Timeline::new(determinism.at))),
            seeded: request.deterministic.map(|determinism| Box::new(Seeded::new(determinism.seed))),
            outwards: Outwards::new(request, around.way.clone()),
            http: None,
            host_calls: 0,
            gave_way: false,
        })
    }

    /// Where every host call passes. The call past the limit is still made, since a getter cannot refuse it; the
    /// guest is stopped when it comes back to its own code.
    pub fn counted(&mut self, interface: Interface) -> &mut Self {
        self.host_calls += 1;
        self.signal.calls.count(interface);
        if self.host_calls > self.given.request.limits.host_calls {
            self.signal.stop(Stop::HostCalls);
        }
        self.limiter.pace.step();
        self
    }

    /// What the epoch asks whenever it was raised: stop, or let others run and go on. It asks again as soon as the guest goes on, since
    /// that may have been stopped meanwhile.
    pub fn at_epoch(&mut self) -> UpdateDeadline {
        if self.signal.stopped().is_none() {
            self.signal.stop_if_due(self.deadline, Instant::now());
        }
        let gave_way = std::mem::take(&mut self.gave_way);
        match self.signal.stopped() {
            Some(_) => UpdateDeadline::Interrupt,
            None if gave_way => UpdateDeadline::Continue(1),
            None => {
                self.gave_way = true;
                UpdateDeadline::Yield(0)
            }
        }
    }

    pub fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    #[allow(clippy::unused_self, reason = "as all views")]
    pub fn types(&mut self) -> Types {
        Types
    }

    /// What the guest has printed as its result.
    pub fn take_stdout(&self) -> Vec<u8> {
        self.given.take_stdout()
    }

    /// What a limit refused it outside of its sandbox, and it has not coped with.
    pub fn refused_outside(&self) -> Option<Refusal> {
        self.outwards.refusal()
    }

    pub fn take_log(&self) -> AttemptLog {
        self.given.take_log()
    }

    pub fn cli(&mut self) -> Cli<'_> {
        Cli { given: &mut self.given, table: &mut self.table }
    }

    pub fn filesystem(&mut self) -> WasiFilesystemCtxView<'_> {
        WasiFilesystemCtxView { ctx: &mut self.filesystem, table: &mut self.table }
    }

    pub fn clocks(&mut self) -> WasiClocksCtxView<'_> {
        WasiClocksCtxView { ctx: wasi(&mut self.wasi, self.timeline.as_ref(), &self.given.request.limits).clocks(), table: &mut self.table }
    }

    pub fn sockets(&mut self) -> WasiSocketsCtxView<'_> {
        WasiSocketsCtxView { ctx: wasi(&mut self.wasi, self.timeline.as_ref(), &self.given.request.limits).sockets(), table: &mut self.table }
    }

    pub fn logging(&mut self) -> Logging<'_> {
        Logging(self.given.stderr())
    }

    pub fn reporting(&mut self) -> Reporting<'_> {
        Reporting(&self.signal)
    }

    pub fn cancellation(&mut self) -> Cancellation<'_> {
        Cancellation(&self.signal)
    }

    pub fn checkpoint(&mut self) -> Checkpoint<'_> {
        let AttemptRequest { checkpoint, limits, .. } = &*self.given.request;
        Checkpoint { signal: &self.signal, kept: checkpoint.as_deref(), max: limits.checkpoint }
    }

    pub fn key_value(&mut self) -> KeyValue<'_> {
        KeyValue { outwards: &self.outwards, table: &mut self.table }
    }

    pub fn http(&mut self) -> WasiHttpCtxView<'_> {
        let Self { http, outwards, given, table, .. } = self;
        let Http { ctx, hooks } = &mut **http.get_or_insert_with(|| Box::new(Http::new(outwards, given.stderr())));
        WasiHttpCtxView { hooks, table, ctx }
    }

    pub fn random_capped(&mut self) -> Random<'_> {
        let ctx = wasi(&mut self.wasi, self.timeline.as_ref(), &self.given.request.limits).random();
        Random { ctx, max: self.given.request.limits.random, seeded: self.seeded.as_deref_mut() }
    }

    pub fn monotonic_clock(&mut self) -> MonotonicClock<'_> {
        let timeline = self.timeline.clone();
        MonotonicClock { clocks: self.clocks(), timeline }
    }
}

/// Nothing but clocks and random generators, and sockets that can do nothing.
fn wasi<'a>(made: &'a mut Option<Box<WasiCtx>>, timeline: Option<&Arc<Timeline>>, limits: &Limits) -> &'a mut WasiCtx {
    made.get_or_insert_with(|| {
        let mut wasi = WasiCtx::builder();
        wasi.max_random_size(limits.random).allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        if let Some(timeline) = timeline {
            wasi.wall_clock(Clock(timeline.clone())).monotonic_clock(Clock(timeline.clone()));
        }
        Box::new(wasi.build())
    })
}
