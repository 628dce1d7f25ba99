//! Attempts that can be repeated: everything that a guest could tell two attempts apart by is fixed.
//!
//! ```text
//! wall clock        starts at a chosen instant
//! monotonic clock   starts at 0
//!                   both advance by 1 µs with each look at either, so that a guest that waits for time to pass gets on,
//!                   and to the end of a wait when all that the guest waits for are waits: no real time passes
//! random            SHA-256 in counter mode over a seed; one stream each for secure and insecure bytes
//! NaN               canonical, and no relaxed SIMD: settings of the engine (`EngineSettings::deterministic`)
//! ```
//! With the same component, arguments, input, limits and seed an attempt has the same result, log and fuel, unless its
//! timeout, which counts real time, ends it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use super::ending::Ending;
use crate::component::EngineSettings;

/// What a repeatable attempt starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Determinism {
    /// Of every random byte that the guest is given.
    pub seed: u64,
    /// What the wall clock shows at first; what is before 1970 counts as 1970, as WASI knows nothing earlier.
    pub at: Timestamp,
}

impl Determinism {
    /// 2026-01-01T00:00:00Z: what the wall clock shows where nobody chose.
    pub const AT: Timestamp = Timestamp::constant(1_767_225_600, 0);

    /// Why an attempt that asks for it cannot be had of an executor with these settings.
    pub(super) fn refused(asked: Option<Self>, settings: &EngineSettings) -> Option<Ending> {
        let message = "a deterministic attempt was asked for, and this executor's engine is not set so";
        (asked.is_some() && !settings.deterministic).then(|| Ending::refused("determinism-not-offered", message))
    }
}

/// By how much a look at a clock advances it.
const LOOK: u64 = 1_000;

/// The time of one attempt, in nanoseconds from its start. Only the guest's own calls move it.
pub(super) struct Timeline {
    /// Since 1970.
    start: Duration,
    time: Mutex<Time>,
}

#[derive(Default)]
struct Time {
    now: u64,
    /// The ends of the waits that the guest is in, and how many end then.
    waits: BTreeMap<u64, usize>,
}

impl Timeline {
    pub fn new(at: Timestamp) -> Self {
        Self { start: Duration::try_from(at.as_duration()).unwrap_or_default(), time: Mutex::default() }
    }

    fn look(&self) -> u64 {
        let mut time = self.time();
        let now = time.now;
        time.now = now.saturating_add(LOOK);
        now
    }

    fn time(&self) -> MutexGuard<'_, Time> {
        self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clock of an attempt, as wasmtime-wasi asks for one.
pub(super) struct Clock(pub Arc<Timeline>);

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(LOOK)
    }

    fn now(&self) -> Duration {
        self.0.start.saturating_add(Duration::from_nanos(self.0.look()))
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        LOOK
    }

    fn now(&self) -> u64 {
        self.0.look()
    }
}

/// A wait for an instant of the guest's own time. Where several are polled at once, the first to end moves the time.
pub(super) struct Wait {
    timeline: Arc<Timeline>,
    until: u64,
}

impl Wait {
    pub fn until(timeline: &Arc<Timeline>, until: u64) -> Self {
        Self { timeline: timeline.clone(), until }
    }

    pub fn lasting(timeline: &Arc<Timeline>, duration: u64) -> Self {
        let now = timeline.look();
        Self::until(timeline, now.saturating_add(duration))
    }
}

#[async_trait]
impl Pollable for Wait {
    async fn ready(&mut self) {
        let waiting = Waiting::begin(&self.timeline, self.until);
        let mut others_asked = false;
        std::future::poll_fn(|context| {
            if waiting.is_over(others_asked) {
                return Poll::Ready(());
            }
            // Whatever else is polled with it is asked before any time passes: it may be ready.
            others_asked = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// A wait that the guest is in; it no longer is when this is dropped.
struct Waiting<'a> {
    timeline: &'a Timeline,
    until: u64,
}

impl<'a> Waiting<'a> {
    fn begin(timeline: &'a Timeline, until: u64) -> Self {
        timeline.look();
        *timeline.time().waits.entry(until).or_default() += 1;
        Self { timeline, until }
    }

    /// Whether its end has come. Where it `may_pass`, time goes to the end of the wait that ends first.
    fn is_over(&self, may_pass: bool) -> bool {
        let mut time = self.timeline.time();
        let first = time.waits.first_key_value().map(|(until, _)| *until);
        if may_pass && first == Some(self.until) {
            time.now = time.now.max(self.until);
        }
        time.now >= self.until
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut time = self.timeline.time();
        if let Some(count) = time.waits.get_mut(&self.until) {
            *count -= 1;
            if *count == 0 {
                time.waits.remove(&self.until);
            }
        }
    }
}

/// Random bytes that follow from a seed.
pub(super) struct Seeded {
    secure: Stream,
    insecure: Stream,
    seed: [u8; 16],
}

impl Seeded {
    pub fn new(seed: u64) -> Self {
        let mut first = [0; 16];
        Stream::new(seed, "seed").fill(&mut first);
        Self { secure: Stream::new(seed, "secure"), insecure: Stream::new(seed, "insecure"), seed: first }
    }

    pub fn secure(&mut self, length: u64) -> Vec<u8> {
        self.secure.bytes(length)
    }

    pub fn insecure(&mut self, length: u64) -> Vec<u8> {
        self.insecure.bytes(length)
    }

    pub fn secure_u64(&mut self) -> u64 {
        self.secure.number()
    }

    pub fn insecure_u64(&mut self) -> u64 {
        self.insecure.number()
    }

    /// The same whenever it is asked for.
    pub fn insecure_seed(&self) -> (u64, u64) {
        let seed = u128::from_le_bytes(self.seed);
        (seed as u64, (seed >> 64) as u64)
    }
}

/// SHA-256 over a seed, a name and a counter, block by block.
struct Stream {
    start: Sha256,
    counter: u64,
    block: [u8; 32],
    /// Of the block.
    used: usize,
}

impl Stream {
    fn new(seed: u64, name: &str) -> Self {
        Self { start: Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name), counter: 0, block: [0; 32], used: 32 }
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.fill(&mut bytes);
        bytes
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.used == self.block.len() {
                self.block = self.start.clone().chain_update(self.counter.to_le_bytes()).finalize().into();
                self.counter += 1;
                self.used = 0;
            }
            *byte = self.block[self.used];
            self.used += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of the waits are over once any is, polled together as `poll` does.
    async fn poll(waits: &mut [Wait]) -> Vec<usize> {
        let mut futures: Vec<_> = waits.iter_mut().map(Pollable::ready).collect();
        std::future::poll_fn(|context| {
            let mut ready = Vec::new();
            for (n, future) in futures.iter_mut().enumerate() {
                if future.as_mut().poll(context).is_ready() {
                    ready.push(n);
                }
            }
            if ready.is_empty() { Poll::Pending } else { Poll::Ready(ready) }
        })
        .await
    }

    #[tokio::test]
    async fn of_several_waits_the_shortest_ends_and_no_real_time_passes() {
        let timeline = Arc::new(Timeline::new(Determinism::AT));
        let hours = |n: u64| Wait::until(&timeline, n * 3_600_000_000_000);
        assert_eq!(poll(&mut [hours(3), hours(1), hours(2), hours(1)]).await, [1, 3]);
        assert_eq!(HostMonotonicClock::now(&Clock(timeline.clone())), 3_600_000_000_000);
        assert_eq!(poll(&mut [hours(3), hours(2)]).await, [1]);
        assert!(timeline.time().waits.is_empty(), "a wait that is polled no more is forgotten");
    }

    #[tokio::test]
    async fn a_wait_beyond_all_time_ends_too() {
        let timeline = Arc::new(Timeline::new(Determinism::AT));
        Wait::lasting(&timeline, u64::MAX).ready().await;
        assert_eq!(HostMonotonicClock::now(&Clock(timeline.clone())), u64::MAX);
        assert_eq!(HostWallClock::now(&Clock(timeline)).as_secs(), 1_767_225_600 + u64::MAX / 1_000_000_000);
    }

    #[test]
    fn each_look_at_either_clock_moves_both() {
        let clock = Clock(Arc::new(Timeline::new(Determinism::AT)));
        assert_eq!(HostMonotonicClock::now(&clock), 0);
        assert_eq!(HostWallClock::now(&clock), Duration::new(1_767_225_600, 1_000));
        assert_eq!(HostMonotonicClock::now(&clock), 2_000);
    }

    #[test]
    fn random_bytes_are_the_same_however_they_are_asked_for_and_other_for_another_seed() {
        let whole = Seeded::new(7).secure(100);
        let mut again = Seeded::new(7);
        assert_eq!([again.secure(33), again.secure_u64().to_le_bytes().to_vec(), again.secure(59)].concat(), whole);
        assert_ne!(Seeded::new(8).secure(100), whole);
        assert_ne!(Seeded::new(7).insecure(100), whole);
        assert_eq!(Seeded::new(7).insecure_seed(), again.insecure_seed());
    }
}
