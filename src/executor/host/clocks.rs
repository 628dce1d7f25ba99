//! `wasi:clocks`: wasmtime-wasi's, but in a deterministic attempt waits are waits for the guest's own time.

use std::sync::Arc;

use wasmtime::component::{HasData, Resource};
use wasmtime_wasi::clocks::WasiClocksCtxView;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, subscribe};

use crate::executor::determinism::{Timeline, Wait};

pub(in crate::executor) struct MonotonicClock<'a> {
    pub clocks: WasiClocksCtxView<'a>,
    pub timeline: Option<Arc<Timeline>>,
}

impl HasData for MonotonicClock<'static> {
    type Data<'a> = MonotonicClock<'a>;
}

impl MonotonicClock<'_> {
    fn wait(&mut self, wait: Wait) -> wasmtime::Result<Resource<DynPollable>> {
        let wait = self.clocks.table.push(wait)?;
        subscribe(self.clocks.table, wait)
    }
}

impl monotonic_clock::Host for MonotonicClock<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        monotonic_clock::Host::now(&mut self.clocks)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        monotonic_clock::Host::resolution(&mut self.clocks)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match &self.timeline {
            Some(timeline) => self.wait(Wait::until(timeline, when)),
            None => self.clocks.subscribe_instant(when),
        }
    }

    fn subscribe_duration(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        match &self.timeline {
            Some(timeline) => self.wait(Wait::lasting(timeline, duration)),
            None => self.clocks.subscribe_duration(duration),
        }
    }
}
