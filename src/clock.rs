//! What time it is, as a thing that tests can set.
//!
//! `System` reads the wall clock. Waits use the monotonic clock, and the wall clock is looked at once a second, so that a suspended
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
    /// Returns at `until`, or earlier: after a minute at most, and where the clock was set back, so that the caller looks at it again.
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
/// The longest sleep of all: whoever sleeps until a later instant is woken early.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

#[async_trait]
impl Clock for System {
    fn now(&self) -> Timestamp {
        whole_micros(Timestamp::now())
    }

    async fn sleep_until(&self, until: Timestamp) {
        let missing = || Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO);
        // A clock that is set back does not make the wait longer.
        let end = tokio::time::Instant::now() + missing().min(LONGEST_SLEEP);
        loop {
            let wait = missing().min(end.saturating_duration_since(tokio::time::Instant::now())).min(LONGEST_WAIT);
            if wait.is_zero() {
                return;
            }
            tokio::time::sleep(wait).await;
        }
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use jiff::SignedDuration;

    use super::*;

    #[tokio::test]
    async fn an_instant_that_has_passed_is_not_waited_for() {
        assert_eq!(System.sleep_until(System.now()).now_or_never(), Some(()));
    }

    #[tokio::test]
    async fn what_is_due_soon_is_not_woken_for_early() {
        let until = System.now() + SignedDuration::from_millis(20);
        let began = tokio::time::Instant::now();
        System.sleep_until(until).await;
        // The other one holds where somebody sets the machine's clock back meanwhile.
        assert!(System.now() >= until || began.elapsed() >= Duration::from_millis(19));
    }
}
