//! The clock that computing guests see: it raises the epochs of engines with attempts, and sleeps while there are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::Engine;

use super::confine;

/// How often a computing guest looks at its deadline and lets others run.
const TICK: Duration = Duration::from_millis(2);

/// An engine, and how many attempts it has.
pub(super) trait Ticked: Send + Sync + 'static {
    fn engine(&self) -> &Engine;
    fn in_flight(&self) -> &AtomicUsize;
}

/// The thread; dropping it ends it.
pub(super) struct Ticker {
    state: Arc<TickerState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct TickerState {
    stop: AtomicBool,
    asleep: AtomicBool,
}

impl Ticker {
    pub fn start<T: Ticked>(ticked: Arc<[T]>) -> Result<Self, std::io::Error> {
        let state = Arc::new(TickerState::default());
        let shared = state.clone();
        let thread = std::thread::Builder::new().name("bellcage-ticker".to_owned()).spawn(move || {
            confine::run_soon();
            tick(&shared, &ticked);
        })?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// Returns when the thread has done all that a starting thread does, and sleeps. There must be no attempts.
    pub fn wait_until_asleep(&self) {
        while !self.state.asleep.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    /// Attempts are about to start.
    pub fn wake(&self) {
        if self.state.asleep.load(Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
    }
}

fn tick<T: Ticked>(state: &TickerState, ticked: &[T]) {
    let busy = |one: &&T| one.in_flight().load(Ordering::SeqCst) > 0;
    while !state.stop.load(Ordering::SeqCst) {
        if ticked.iter().any(|one| busy(&one)) {
            std::thread::sleep(TICK);
            ticked.iter().filter(busy).for_each(|one| one.engine().increment_epoch());
            continue;
        }
        // Whoever reserves a slot after this line sees it and wakes this thread.
        state.asleep.store(true, Ordering::SeqCst);
        if !ticked.iter().any(|one| busy(&one)) && !state.stop.load(Ordering::SeqCst) {
            std::thread::park();
        }
        state.asleep.store(false, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}
