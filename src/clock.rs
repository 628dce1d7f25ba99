//! What time it is, as a thing that tests can set.
//!
//! `System` reads the wall clock. Waits use the monotonic clock and are cut to a second, so that a suspended
//! machine or a stepped clock is noticed soon.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Now, in whole microseconds.
    fn now(&self) -> Timestamp;
    /// Returns at `until`, or earlier: after a second at most, so that the caller looks at the clock again.
    async fn sleep_until(&self, until: Timestamp);
}

/// `t` cut to whole microseconds, the resolution of everything that is stored.
pub fn whole_micros(t: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(t.as_microsecond()).unwrap_or(t)
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

/// The longest wait without a look at the wall clock.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

#[async_trait]
impl Clock for System {
    fn now(&self) -> Timestamp {
        whole_micros(Timestamp::now())
    }

    async fn sleep_until(&self, until: Timestamp) {
        let wait = until.duration_since(Timestamp::now());
        let wait = Duration::try_from(wait).unwrap_or(Duration::ZERO);
        tokio::time::sleep(wait.min(LONGEST_WAIT)).await;
    }
}

/// A clock that stands still until it is told otherwise, for tests and simulations.
#[derive(Clone, Debug)]
pub struct Manual {
    now: Arc<Mutex<Timestamp>>,
    moved: watch::Sender<()>,
}

impl Manual {
    pub fn at(now: Timestamp) -> Self {
        Self { now: Arc::new(Mutex::new(whole_micros(now))), moved: watch::Sender::new(()) }
    }

    /// Moves the clock, forwards or backwards, and wakes who sleeps.
    pub fn set(&self, now: Timestamp) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = whole_micros(now);
        self.moved.send_replace(());
    }
}

#[async_trait]
impl Clock for Manual {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn sleep_until(&self, until: Timestamp) {
        let mut moved = self.moved.subscribe();
        while self.now() < until {
            // An error means that the last handle of the clock is gone, which `self` rules out.
            if moved.changed().await.is_err() {
                return;
            }
        }
    }
}
