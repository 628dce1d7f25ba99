//! What may end an attempt from outside its guest, and the metering of an attempt's polls.
//!
//! A guest is in one of three places, and each is reached by another way:
//! ```text
//! in wasm          the epoch of its engine is raised; its next function or loop head sees that it must stop
//! in a host call   the task is woken and drops the attempt's future
//! not started      the task is woken
//! ```
//! A guest that asks whether it is cancelled is not stopped at once when it is, but some time later (`GRACE`).

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::{ArcWake, AtomicWaker, WakerRef, waker_ref};
use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Engine, Trap};

use super::host::Calls;
use super::news::News;
use super::turns;

/// A reading of the thread's CPU clock that is no older is where the next poll's share is counted from; no longer poll is charged
/// by the clock on the wall.
const RECENT: Duration = turns::LEAST;
/// What is read one after the other differs by so much, though the thread was never interrupted.
const CLOCKS_DIFFER: Duration = Duration::from_micros(1);

/// How long a guest that asks whether it is cancelled may go on when it is.
pub(super) const GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stop {
    Cancelled = 1,
    Timeout = 2,
    HostCalls = 3,
}

impl Stop {
    fn from_bits(bits: u8) -> Option<Self> {
        [Self::Cancelled, Self::Timeout, Self::HostCalls].into_iter().find(|stop| *stop as u8 == bits)
    }
}

const IDLE: u8 = 0;
const POLLING: u8 = 1;
const WOKEN: u8 = 2;

/// Shared by who runs an attempt and who may end it.
pub(super) struct Signal {
    stop: AtomicU8,
    reason: OnceLock<String>,
    /// The guest has asked whether it is cancelled.
    asks: AtomicBool,
    /// When a cancelled guest that asks is stopped.
    grace_ends: OnceLock<Instant>,
    /// What the guest tells meanwhile.
    pub news: News,
    /// What it has called.
    pub calls: Calls,
    /// Whose epoch to raise, from when the attempt has a worker.
    engine: OnceLock<Arc<Engine>>,
    /// The task that waits for the attempt's start, and then the one that runs it.
    task: AtomicWaker,
    polling: AtomicU8,
}

impl Signal {
    pub fn new(news: News) -> Self {
        let (stop, reason, asks, grace_ends, calls, engine, task, polling) = Default::default();
        Self { stop, reason, asks, grace_ends, news, calls, engine, task, polling }
    }

    pub fn stopped(&self) -> Option<Stop> {
        Stop::from_bits(self.stop.load(Ordering::Acquire))
    }

    /// The first stop is the one that counts.
    pub fn stop(&self, stop: Stop) {
        if self.stop.compare_exchange(0, stop as u8, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.interrupt();
            self.task.wake();
        }
    }

    /// Has the guest look, at its next function or loop head, whether it must stop or give way.
    pub fn interrupt(&self) {
        if let Some(engine) = self.engine.get() {
            engine.increment_epoch();
        }
    }

    /// Ends the attempt; one whose guest asks for it, after some time.
    pub fn cancel(&self, reason: &str) {
        if !self.asks.load(Ordering::SeqCst) {
            return self.cancel_at_once(reason);
        }
        let _ = self.reason.set(reason.to_owned());
        if self.grace_ends.set(Instant::now() + GRACE).is_ok() {
            self.task.wake();
        }
    }

    pub fn cancel_at_once(&self, reason: &str) {
        let _ = self.reason.set(reason.to_owned());
        self.stop(Stop::Cancelled);
    }

    /// Whether the guest should stop by itself.
    pub fn asked_whether_cancelled(&self) -> bool {
        self.asks.store(true, Ordering::SeqCst);
        self.is_in_grace()
    }

    /// It was cancelled and given time.
    pub fn is_in_grace(&self) -> bool {
        self.grace_ends.get().is_some()
    }

    /// When it has to be stopped, of itself or for its `deadline`.
    fn due(&self, deadline: Instant) -> (Instant, Stop) {
        match self.grace_ends.get() {
            Some(ends) if *ends < deadline => (*ends, Stop::Cancelled),
            _ => (deadline, Stop::Timeout),
        }
    }

    pub fn stop_if_due(&self, deadline: Instant, now: Instant) {
        let (at, stop) = self.due(deadline);
        if now >= at {
            self.stop(stop);
        }
    }

    /// Why it was cancelled.
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }

    pub fn runs_on(&self, engine: &Arc<Engine>) {
        let _ = self.engine.set(engine.clone());
        // A stop before this line raised no epoch; the attempt's first poll sees it.
    }

    /// What `future` gives, or `None` as soon as the attempt must stop.
    pub async fn or_stopped<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            if self.stopped().is_some() {
                return Poll::Ready(None);
            }
            // Most is there at once.
            if let Poll::Ready(found) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(found));
            }
            self.task.register(cx.waker());
            // A stop before that line woke nobody.
            if self.stopped().is_some() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }
}

/// Wakes from within a poll are held until its end, so that a guest that yields can be sent to the end of the queue.
impl ArcWake for Signal {
    fn wake_by_ref(this: &Arc<Self>) {
        if this.polling.compare_exchange(POLLING, WOKEN, Ordering::AcqRel, Ordering::Acquire) == Err(IDLE) {
            this.task.wake();
        }
    }
}

/// An attempt's future under its deadline and its signal, with the CPU time of its polls summed.
/// `None` where it had to be stopped; it is then dropped in the middle of whatever it did.
pub(super) struct Metered<'a, F> {
    future: Pin<&'a mut F>,
    signal: &'a Arc<Signal>,
    waker: WakerRef<'a>,
    /// From when the attempt began to the end of its first poll.
    first: Option<Share>,
    deadline: Instant,
    /// Made only when the future did not finish at once, as most do.
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    /// Its last poll ended with the guest giving way amid its own code, as a rule.
    computes: bool,
    used: &'a mut Used,
}

/// Time that an attempt took.
pub(super) struct Used {
    pub cpu: Duration,
    /// Of its longest piece: from where it could give way, or begin, to the next such place.
    pub longest: Duration,
    /// The end of its last poll.
    pub until: Instant,
}

impl Used {
    pub fn since(began: Instant) -> Self {
        Self { cpu: Duration::ZERO, longest: Duration::ZERO, until: began }
    }
}

impl<'a, T, F: Future<Output = wasmtime::Result<T>>> Metered<'a, F> {
    pub fn new(future: Pin<&'a mut F>, signal: &'a Arc<Signal>, first: Share, deadline: Instant, used: &'a mut Used) -> Self {
        Self { future, signal, waker: waker_ref(signal), first: Some(first), deadline, timer: None, computes: false, used }
    }

    /// The end of what was stopped between two polls. A guest that computes is let run to its next function or loop head, where it
    /// traps and so tells where it was; nothing else that comes of that counts.
    fn stopped(&mut self) -> Option<F::Output> {
        if !self.computes {
            self.used.until = Instant::now();
            return None;
        }
        self.signal.interrupt();
        let share = Share::begin();
        let polled = self.future.as_mut().poll(&mut Context::from_waker(&self.waker));
        self.used.until = Instant::now();
        self.used.cpu += share.until(self.used.until).0;
        match polled {
            Poll::Ready(Err(error)) if is_interrupt(&error) => Some(Err(error)),
            _ => None,
        }
    }
}

/// Whether a guest ended since it was told to at an epoch.
pub(super) fn is_interrupt(error: &wasmtime::Error) -> bool {
    matches!(error.downcast_ref(), Some(Trap::Interrupt))
}

impl<T, F: Future<Output = wasmtime::Result<T>>> Future for Metered<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let signal = this.signal;
        signal.task.register(cx.waker());
        if signal.stopped().is_some() {
            return Poll::Ready(this.stopped());
        }
        let share = this.first.take().unwrap_or_else(Share::begin);
        let mut before = Duration::ZERO;
        let (polled, woken, (used, now)) = loop {
            signal.polling.store(POLLING, Ordering::Release);
            let polled = this.future.as_mut().poll(&mut Context::from_waker(&this.waker));
            this.used.until = Instant::now();
            let (used, now) = share.until(this.used.until);
            this.used.longest = this.used.longest.max(used.saturating_sub(before));
            before = used;
            let woken = signal.polling.swap(IDLE, Ordering::AcqRel) == WOKEN;
            if polled.is_ready() || !woken || signal.stopped().is_some() || !turns::goes_on(used, now) {
                break (polled, woken, (used, now));
            }
        };
        this.used.cpu += used;
        this.computes = woken;
        if used >= turns::LEAST {
            turns::over(now);
        }
        if let Poll::Ready(output) = polled {
            return Poll::Ready(Some(output));
        }
        let (at, stop) = signal.due(this.deadline);
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
        if timer.deadline() != at.into() {
            timer.as_mut().reset(at.into());
        }
        if timer.as_mut().poll(cx).is_ready() {
            signal.stop(stop);
        }
        if signal.stopped().is_some() {
            return Poll::Ready(this.stopped());
        }
        if woken && used >= turns::LEAST {
            // Woken only after the runtime has looked at its timers and at what other threads sent.
            if !turns::wait(cx.waker()) {
                let _ = pin!(tokio::task::yield_now()).poll(cx);
            }
        } else if woken {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// A poll's share of the thread's CPU time. Its clock is a system call that takes a lock, so it is not read for each poll.
///
/// ```text
/// a poll that took less than RECENT by the clock on the wall    is charged with that
/// a longer one                                                  from a reading before it, no older than RECENT, to one after it
/// ```
/// So a poll is never charged with too little, and where its thread was interrupted with at most RECENT too much.
pub(super) struct Share {
    pub began: Instant,
    since: Reading,
}

/// Both clocks at one moment.
#[derive(Clone, Copy)]
struct Reading {
    wall: Instant,
    cpu: Duration,
}

thread_local! {
    static LAST: Cell<Option<Reading>> = const { Cell::new(None) };
}

impl Reading {
    fn at(wall: Instant) -> Self {
        let reading = Self { wall, cpu: thread_cpu() };
        LAST.set(Some(reading));
        reading
    }
}

impl Share {
    pub fn begin() -> Self {
        let began = Instant::now();
        turns::beat(began);
        let recent = LAST.get().filter(|last| began.duration_since(last.wall) < RECENT);
        Self { began, since: recent.unwrap_or_else(|| Reading::at(began)) }
    }

    /// And the CPU time of the thread, which is exact where the share is no less than RECENT.
    fn until(&self, wall: Instant) -> (Duration, Duration) {
        turns::beat(wall);
        self.until_read(wall, Reading::at)
    }

    fn until_read(&self, wall: Instant, read: impl FnOnce(Instant) -> Reading) -> (Duration, Duration) {
        let Self { began, since } = *self;
        let (before, polled) = (began.duration_since(since.wall), wall.duration_since(began));
        if polled < RECENT {
            return (polled, since.cpu + before + polled);
        }
        let now = read(wall);
        (share(now.cpu.saturating_sub(since.cpu), before, polled), now.cpu)
    }
}

/// Of the `cpu` time that a thread had while something else took `before` and then a poll took `polled` by the clock on the wall.
/// Where the thread was never interrupted, all of `before` was its own. Where it was, nobody knows when, and the poll is charged
/// with what it may have used: at most `before` too much, and never too little.
fn share(cpu: Duration, before: Duration, polled: Duration) -> Duration {
    let interrupted = (before + polled).saturating_sub(cpu) > CLOCKS_DIFFER;
    if interrupted { cpu.min(polled) } else { cpu.saturating_sub(before) }
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn a_poll_is_charged_with_what_it_used_and_not_with_what_came_before() {
        assert_eq!(share(us(110), us(10), us(100)), us(100));
        // Its clock was read just before it.
        assert_eq!(share(us(100), us(0), us(100)), us(100));
        assert_eq!(share(us(70), us(0), us(100)), us(70));
    }

    #[test]
    fn the_clock_of_the_thread_is_read_only_after_a_poll_that_was_not_short() {
        let wall = Instant::now();
        let share = Share { began: wall + us(10), since: Reading { wall, cpu: us(1_000) } };
        assert_eq!(share.until_read(wall + us(49), |_| unreachable!("it was short")), (us(39), us(1_049)));
        // It was interrupted for 1 µs and more.
        let read = |wall| Reading { wall, cpu: us(1_035) };
        assert_eq!(share.until_read(wall + us(50), read), (us(35), us(1_035)));
    }

    #[test]
    fn a_poll_that_may_have_been_interrupted_is_charged_with_no_less_than_it_used_and_hardly_more() {
        let (before, polled) = (us(10), us(100));
        for (lost_before, lost_within) in [(5, 0), (10, 0), (0, 50), (5, 50), (0, 100)] {
            let used = polled - us(lost_within);
            let charged = share(before - us(lost_before) + used, before, polled);
            assert!(used <= charged && charged <= (used + before).min(polled), "{lost_before} {lost_within}: {charged:?}");
        }
    }
}
