//! The tasks of a guests' thread that run attempts, each one after the other.
//!
//! A task for each attempt would be a tenth of what a small one costs: a future of some kilobytes is moved into place, in memory that
//! has to be found for it. A task takes one attempt after the other instead.
//!
//! ```text
//! put ─► waiting ─► a free task, or a new one, takes the first and runs it ─┬─ it ended at once: the same task comes again for the next
//!                                                                          └─ it waits: another task is called for the next
//! ```
//! Of free tasks the one that was freed last is called, whose memory is warm. Between any two attempts that begin, the runtime gives
//! its other tasks their turns.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::Notify;

/// Tasks that are kept though there is nothing for them.
const FREE_MAX: usize = 16;

/// All of it happens on one thread.
pub(super) struct Crew<T> {
    state: Mutex<State<T>>,
    called: Notify,
}

struct State<T> {
    /// Nobody has begun them.
    waiting: VecDeque<T>,
    /// Tasks that wait to be called.
    free: usize,
    /// A task was called and has not come yet.
    coming: bool,
}

impl<T> Default for Crew<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { waiting: VecDeque::new(), free: 0, coming: false }), called: Notify::new() }
    }
}

impl<T: Send + 'static> Crew<T> {
    /// Has each of `attempts` run by `run`, on tasks of this runtime, begun in their order. `run` is the same each time.
    pub fn put<F, R>(self: &Arc<Self>, attempts: impl IntoIterator<Item = T>, run: &F)
    where
        F: Fn(T) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.state().waiting.extend(attempts);
        self.call(run);
    }

    fn call<F, R>(self: &Arc<Self>, run: &F)
    where
        F: Fn(T) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let mut state = self.state();
        if state.coming || state.waiting.is_empty() {
            return;
        }
        state.coming = true;
        match state.free.checked_sub(1) {
            Some(free) => {
                state.free = free;
                drop(state);
                self.called.notify_last();
            }
            None => {
                drop(state);
                tokio::spawn(work(self.clone(), run.clone()));
            }
        }
    }

    /// For a task that comes.
    fn take(&self) -> Option<T> {
        let mut state = self.state();
        state.coming = false;
        state.waiting.pop_front()
    }

    /// Waits until the task is to come: where attempts wait, until others have had their turn. False where enough tasks wait already.
    async fn is_called(&self) -> bool {
        let comes = {
            let mut state = self.state();
            let comes = !state.coming && !state.waiting.is_empty();
            match state.free {
                _ if comes => state.coming = true,
                free if free >= FREE_MAX => return false,
                _ => state.free += 1,
            }
            comes
        };
        if comes {
            give_way().await
        } else {
            self.called.notified().await
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To the end of the runtime's queue. (The runtime's own `yield_now` waits until it has looked at its timers.)
async fn give_way() {
    let mut gave_way = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut gave_way, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A task's whole life. One that panics is missed by nobody: it calls another.
async fn work<T, F, R>(crew: Arc<Crew<T>>, run: F)
where
    T: Send + 'static,
    F: Fn(T) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    loop {
        if let Some(taken) = crew.take() {
            let mut next = Next { crew: &crew, run: &run, is_called: false };
            // Made where it stays: what an `await` is given is moved there, all of its kilobytes.
            let mut attempt = pin!(run(taken));
            std::future::poll_fn(|context| {
                let polled = attempt.as_mut().poll(context);
                if polled.is_pending() {
                    next.call();
                }
                polled
            })
            .await;
        }
        if !crew.is_called().await {
            return;
        }
    }
}

/// The attempt after the one that a task has, as long as that has not ended.
struct Next<'a, T: Send + 'static, F, R>
where
    F: Fn(T) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    crew: &'a Arc<Crew<T>>,
    run: &'a F,
    is_called: bool,
}

impl<T: Send + 'static, F, R> Next<'_, T, F, R>
where
    F: Fn(T) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    fn call(&mut self) {
        if !std::mem::replace(&mut self.is_called, true) {
            self.crew.call(self.run);
        }
    }
}

impl<T: Send + 'static, F, R> Drop for Next<'_, T, F, R>
where
    F: Fn(T) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.call();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Arc<Mutex<Vec<(u32, tokio::task::Id)>>>;

    /// Notes what it is given, and which task ran it; waits once where that is odd, and panics at 100.
    fn noting(seen: &Seen) -> impl Fn(u32) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Clone + Send + Sync + 'static {
        let seen = seen.clone();
        move |n| {
            let seen = seen.clone();
            Box::pin(async move {
                assert_ne!(n, 100, "as the test asked");
                if n % 2 == 1 {
                    tokio::task::yield_now().await;
                }
                seen.lock().unwrap().push((n, tokio::task::id()));
            })
        }
    }

    async fn until_seen(seen: &Seen, n: usize) {
        while seen.lock().unwrap().len() < n {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn attempts_that_do_not_wait_begin_in_their_order_on_a_few_tasks() {
        let (crew, seen) = (Arc::new(Crew::default()), Seen::default());
        let run = noting(&seen);
        crew.put((0..40).map(|n| 2 * n), &run);
        until_seen(&seen, 40).await;
        let seen = seen.lock().unwrap();
        assert!(seen.iter().map(|(n, _)| *n).eq((0..40).map(|n| 2 * n)));
        let tasks: std::collections::HashSet<_> = seen.iter().map(|(_, task)| *task).collect();
        assert!(tasks.len() <= 2, "{tasks:?}");
    }

    #[tokio::test]
    async fn one_that_waits_keeps_no_other_waiting() {
        let (crew, seen) = (Arc::new(Crew::default()), Seen::default());
        let gate = Arc::new(Notify::new());
        let run = {
            let (gate, seen) = (gate.clone(), seen.clone());
            move |n: u32| {
                let (gate, seen) = (gate.clone(), seen.clone());
                async move {
                    if n < 50 {
                        gate.notified().await;
                    }
                    seen.lock().unwrap().push((n, tokio::task::id()));
                }
            }
        };
        crew.put(0..60, &run);
        until_seen(&seen, 10).await;
        assert!(seen.lock().unwrap().iter().all(|(n, _)| *n >= 50));
        for _ in 0..50 {
            gate.notify_one();
        }
        until_seen(&seen, 60).await;
        // Most of those tasks have ended; what comes now is run all the same.
        crew.put(60..80, &run);
        until_seen(&seen, 80).await;
    }

    #[tokio::test]
    async fn one_that_panics_takes_no_other_with_it() {
        let (crew, seen) = (Arc::new(Crew::default()), Seen::default());
        let run = noting(&seen);
        crew.put([1, 100, 2, 3, 100], &run);
        until_seen(&seen, 3).await;
        crew.put([4], &run);
        until_seen(&seen, 4).await;
    }
}
