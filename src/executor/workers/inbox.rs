//! What a keeper is told to do, on its way there.
//!
//! A thread that is woken costs both sides as much as a small attempt, and a keeper that is woken for each of many attempts that
//! one task asks for does little each time. So it is woken when that task has asked for all it wants now, or for many.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::runtime::Handle;

/// Commands that are not kept from a keeper that sleeps until whoever sends them pauses.
const MANY: usize = 32;

pub(super) struct Inbox<T>(Mutex<State<T>>);

struct State<T> {
    waiting: VecDeque<T>,
    /// The keeper's, while it sleeps.
    sleeper: Option<Waker>,
    /// Somebody will wake it soon.
    call_comes: bool,
    closed: bool,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        Self(Mutex::new(State { waiting: VecDeque::new(), sleeper: None, call_comes: false, closed: false }))
    }
}

impl<T: Send + 'static> Inbox<T> {
    /// The keeper has it at the latest when the task that calls this gives way. The command back where nobody takes it any more.
    pub fn put(self: &Arc<Self>, command: T) -> Result<(), T> {
        let mut state = self.state();
        if state.closed {
            return Err(command);
        }
        state.waiting.push_back(command);
        // A keeper that is awake looks before it sleeps.
        if state.sleeper.is_none() {
            return Ok(());
        }
        match Handle::try_current() {
            Ok(runtime) if state.waiting.len() < MANY => {
                if !std::mem::replace(&mut state.call_comes, true) {
                    drop(state);
                    let call = Call(self.clone());
                    // On this thread, as a rule, after the task that is polled now. Where the runtime ends, it is dropped, which is as good.
                    runtime.spawn(async move { drop(call) });
                }
            }
            _ => wake(state),
        }
        Ok(())
    }

    /// Waits for commands, and appends `max` of them, at most, to `batch`; false where it was closed. For one keeper.
    pub async fn take(&self, batch: &mut Vec<T>, max: usize) -> bool {
        std::future::poll_fn(|context| {
            let mut state = self.state();
            if state.closed {
                return Poll::Ready(false);
            }
            if state.waiting.is_empty() {
                state.sleeper = Some(context.waker().clone());
                return Poll::Pending;
            }
            state.sleeper = None;
            let n = state.waiting.len().min(max);
            batch.extend(state.waiting.drain(..n));
            Poll::Ready(true)
        })
        .await
    }
}

impl<T> Inbox<T> {
    /// The keeper does something else, after which it looks.
    pub fn keeper_is_awake(&self) {
        self.state().sleeper = None;
    }

    /// Nothing more can be put; what waits is dropped.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let dropped = std::mem::take(&mut state.waiting);
        wake(state);
        drop(dropped);
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the keeper, if it sleeps, once others can have the lock.
fn wake<T>(mut state: MutexGuard<'_, State<T>>) {
    let sleeper = state.sleeper.take();
    drop(state);
    if let Some(sleeper) = sleeper {
        sleeper.wake();
    }
}

/// Dropped, it wakes the keeper where something waits for it.
struct Call<T>(Arc<Inbox<T>>);

impl<T> Drop for Call<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.call_comes = false;
        if !state.waiting.is_empty() {
            wake(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// Whether somebody was woken.
    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }

    /// Lets the keeper fall asleep.
    fn sleeping(inbox: &Inbox<u32>) -> Arc<Woken> {
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(woken.clone());
        let mut batch = Vec::new();
        let mut take = std::pin::pin!(inbox.take(&mut batch, 8));
        assert!(take.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
        woken
    }

    fn is_woken(woken: &Woken) -> bool {
        woken.0.load(std::sync::atomic::Ordering::SeqCst)
    }

    #[tokio::test]
    async fn a_keeper_is_woken_once_the_task_that_asked_gives_way() {
        let inbox = Arc::new(Inbox::default());
        let woken = sleeping(&inbox);
        inbox.put(1).unwrap();
        inbox.put(2).unwrap();
        assert!(!is_woken(&woken));
        tokio::task::yield_now().await;
        assert!(is_woken(&woken));
        let mut batch = Vec::new();
        assert!(inbox.take(&mut batch, 8).await);
        assert_eq!(batch, [1, 2]);
    }

    #[tokio::test]
    async fn a_keeper_is_woken_at_once_where_many_wait() {
        let inbox = Arc::new(Inbox::default());
        let woken = sleeping(&inbox);
        (0..31).for_each(|n| inbox.put(n).unwrap());
        assert!(!is_woken(&woken));
        inbox.put(31).unwrap();
        assert!(is_woken(&woken));
    }

    #[test]
    fn outside_of_a_runtime_a_keeper_is_woken_at_once() {
        let inbox = Arc::new(Inbox::default());
        let woken = sleeping(&inbox);
        inbox.put(1).unwrap();
        assert!(is_woken(&woken));
    }

    #[test]
    fn a_runtime_that_ends_wakes_the_keeper() {
        let inbox = Arc::new(Inbox::default());
        let woken = sleeping(&inbox);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        {
            let _inside = runtime.enter();
            inbox.put(1).unwrap();
        }
        assert!(!is_woken(&woken));
        drop(runtime);
        assert!(is_woken(&woken));
    }

    #[test]
    fn a_closed_inbox_gives_commands_back_and_drops_those_that_wait() {
        let inbox = Arc::new(Inbox::default());
        let waits = Arc::new(());
        inbox.put(waits.clone()).unwrap();
        inbox.close();
        assert_eq!(Arc::strong_count(&waits), 1);
        assert!(inbox.put(waits).is_err());
        assert_eq!(inbox.take(&mut Vec::new(), 8).now_or_never(), Some(false));
    }

    #[test]
    fn more_than_fits_stays_for_the_next_time() {
        let inbox = Arc::new(Inbox::default());
        (0..3).for_each(|n| inbox.put(n).unwrap());
        let mut batch = Vec::new();
        assert_eq!(inbox.take(&mut batch, 2).now_or_never(), Some(true));
        assert_eq!(inbox.take(&mut batch, 2).now_or_never(), Some(true));
        assert_eq!(batch, [0, 1, 2]);
    }
}
