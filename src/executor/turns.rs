//! Whose turn it is on a thread that runs guests.
//!
//! A guest that computes goes to the end of a queue after each slice of time, and between any two slices the thread looks at
//! its timers and begins what has arrived. So a new attempt waits for one slice, however many guests compute there; in the
//! runtime's own queue it would wait for a slice of each.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::task::{Poll, Waker};

#[derive(Default)]
struct Turns {
    waiting: VecDeque<Waker>,
    /// Who gives the turns, while nobody waits.
    giver: Option<Waker>,
}

thread_local! {
    /// `None` where nobody gives turns.
    static TURNS: RefCell<Option<Turns>> = const { RefCell::new(None) };
}

/// Gives turns on this thread, as long as this is polled: a task of its runtime.
pub(super) async fn give() {
    struct Given;
    impl Drop for Given {
        fn drop(&mut self) {
            TURNS.set(None);
        }
    }
    TURNS.set(Some(Turns::default()));
    let _given = Given;
    loop {
        next().await.wake();
        // Goes on once the runtime has looked at its timers and at what other threads sent.
        tokio::task::yield_now().await;
    }
}

/// Wakes `waker` when it is its turn. False where nobody gives turns on this thread.
pub(super) fn wait(waker: &Waker) -> bool {
    TURNS.with_borrow_mut(|turns| {
        let Some(turns) = turns else { return false };
        turns.waiting.push_back(waker.clone());
        if let Some(giver) = turns.giver.take() {
            giver.wake();
        }
        true
    })
}

async fn next() -> Waker {
    std::future::poll_fn(|context| {
        TURNS.with_borrow_mut(|turns| {
            let turns = turns.get_or_insert_default();
            match turns.waiting.pop_front() {
                Some(first) => Poll::Ready(first),
                None => {
                    turns.giver = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn what_arrives_waits_for_one_turn_however_many_compute() {
        let order: Arc<Mutex<Vec<&str>>> = Arc::default();
        tokio::spawn(give());
        tokio::task::yield_now().await;
        let note = |what: &'static str| order.lock().unwrap().push(what);
        for _ in 0..10 {
            let order = order.clone();
            tokio::spawn(std::future::poll_fn(move |context| {
                order.lock().unwrap().push("computes");
                if order.lock().unwrap().len() > 200 {
                    return Poll::Ready(());
                }
                assert!(wait(context.waker()));
                Poll::Pending
            }));
        }
        while order.lock().unwrap().len() < 50 {
            tokio::task::yield_now().await;
        }
        note("arrives");
        let newcomer = order.clone();
        tokio::spawn(async move { newcomer.lock().unwrap().push("begins") }).await.unwrap();
        let order = order.lock().unwrap();
        let at = |what: &str| order.iter().position(|noted| *noted == what).unwrap();
        assert!(at("begins") - at("arrives") <= 2, "{order:?}");
    }

    #[tokio::test]
    async fn where_nobody_gives_turns_nobody_waits_for_one() {
        assert!(!wait(Waker::noop()));
    }
}
