//! The limits that are enforced where a guest grows, and how a breach of any limit is told apart.
//!
//! A growth that is refused is legal wasm: the guest sees -1 and may cope. So a refusal is only remembered here;
//! whether the guest died of it is decided when the attempt has ended (`ending`).

use std::sync::Arc;
use std::time::Instant;

use wasmtime::ResourceLimiter;

use super::budget::{Budget, Held};
use super::signal::Signal;
use super::turns;
use crate::component::{MEMORIES_MAX, TABLES_MAX};
use crate::job::Limits;

/// A limit that stopped the guest inside a host call, or as it returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LimitHit {
    #[error("wrote more to stdout than limits.result allows")]
    Result { asked: u64 },
    #[error("returned more than limits.result allows")]
    Returned { asked: Option<u64> },
    #[error("asked for {asked} random bytes at once")]
    Random { asked: u64 },
}

/// The last growth that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The bytes that all memories together would have had.
    Memory { asked: u64 },
    /// The machine, or what wasm can express, had no more.
    MemoryOfMachine,
    /// The bytes that all memories together would have had; the guests beside it hold what this server gives them.
    MemoryOfServer { asked: u64, most: u64 },
    /// The elements that all tables together would have had.
    Table { asked: u64 },
}

/// What takes much time and little fuel, host calls and growth, lets others run as often as what computes: the guest is
/// asked to give way.
pub(super) struct Pace {
    signal: Arc<Signal>,
    steps: u32,
    /// When it was asked last.
    asked: Option<Instant>,
}

impl Pace {
    /// Between two looks at the clock.
    const STEPS: u32 = 4;

    pub fn step(&mut self) {
        self.steps += 1;
        if self.steps < Self::STEPS {
            return;
        }
        self.steps = 0;
        let now = Instant::now();
        if now.saturating_duration_since(*self.asked.get_or_insert(now)) >= turns::LEAST {
            self.asked = Some(now);
            self.signal.interrupt();
        }
    }
}

/// Sums what wasmtime asks for one by one.
pub(super) struct Limiter {
    memory_max: u64,
    table_elements_max: u64,
    instances_max: usize,
    memory: u64,
    held: Held,
    table_elements: u64,
    pub memory_peak: u64,
    pub refused: Option<Refused>,
    pub pace: Pace,
}

impl Limiter {
    pub fn new(limits: &Limits, signal: Arc<Signal>, budget: Arc<Budget>) -> Self {
        Self {
            pace: Pace { signal, steps: 0, asked: None },
            memory_max: limits.memory,
            table_elements_max: limits.table_elements,
            instances_max: usize::try_from(limits.instances).unwrap_or(usize::MAX),
            memory: 0,
            held: Held::of(budget),
            table_elements: 0,
            memory_peak: 0,
            refused: None,
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        self.pace.step();
        // Past a maximum of the guest's own: not our limit.
        if maximum.is_some_and(|max| desired > max) {
            return Ok(false);
        }
        let sum = self.memory.saturating_add((desired - current) as u64);
        if sum > self.memory_max {
            self.refused = Some(Refused::Memory { asked: sum });
            return Ok(false);
        }
        if !self.held.grow_to(sum) {
            self.refused = Some(Refused::MemoryOfServer { asked: sum, most: self.held.most() });
            return Ok(false);
        }
        self.memory = sum;
        self.memory_peak = self.memory_peak.max(sum);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = Some(Refused::MemoryOfMachine);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|max| desired > max) {
            return Ok(false);
        }
        let sum = self.table_elements.saturating_add((desired - current) as u64);
        if sum > self.table_elements_max {
            self.refused = Some(Refused::Table { asked: sum });
            return Ok(false);
        }
        self.table_elements = sum;
        Ok(true)
    }

    fn instances(&self) -> usize {
        self.instances_max
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX as usize
    }

    fn tables(&self) -> usize {
        TABLES_MAX as usize
    }
}
