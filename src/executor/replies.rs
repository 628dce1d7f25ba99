//! Reports on their way back to who waits for them.
//!
//! Waking another thread for each report costs as much as a small attempt: a system call, and on a busy machine two switches
//! of threads. So reports that are ready at about the same time go in one batch: the first wakes the side that asked, and
//! whoever gets it there hands the others theirs, without leaving its thread. Where it does not soon, as a future that nobody
//! polls any more, the sender does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// How long whoever was woken may take.
const SOON: Duration = Duration::from_millis(1);
/// Replies that there is room for in memory that is kept.
const SPARE_MAX: usize = 512;

pub(super) struct Replies<T>(Mutex<Sent<T>>);

type Reply<T> = (oneshot::Sender<T>, T);

struct Sent<T> {
    /// To be handed on by who was woken.
    waiting: Vec<Reply<T>>,
    /// The memory of a batch that was handed on, for another: what one thread takes and another gives back, both wait for.
    spare: Vec<Reply<T>>,
}

impl<T> Default for Replies<T> {
    fn default() -> Self {
        Self(Mutex::new(Sent { waiting: Vec::new(), spare: Vec::new() }))
    }
}

impl<T> Replies<T> {
    /// Sends a batch. Everybody who waits for one of them must `hand_on` when they have it, and when they stop waiting.
    pub fn send(&self, batch: &mut Vec<Reply<T>>) {
        {
            let Sent { waiting, spare } = &mut *self.sent();
            if waiting.is_empty() {
                std::mem::swap(waiting, batch);
                std::mem::swap(batch, spare);
            } else {
                waiting.append(batch);
            }
        }
        // Who asked may be gone; then another is woken.
        loop {
            let Some((to, reply)) = self.sent().waiting.pop() else { return };
            if to.send(reply).is_ok() {
                return;
            }
        }
    }

    pub fn hand_on(&self) {
        let mut waiting = {
            let mut sent = self.sent();
            if sent.waiting.is_empty() {
                return;
            }
            std::mem::take(&mut sent.waiting)
        };
        for (to, reply) in waiting.drain(..) {
            let _ = to.send(reply);
        }
        let spare = &mut self.sent().spare;
        if spare.capacity() == 0 && waiting.capacity() <= SPARE_MAX {
            *spare = waiting;
        }
    }

    /// For the sender, between batches: hands on what nobody has.
    pub async fn hand_on_late(&self) {
        if self.sent().waiting.is_empty() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(SOON).await;
        self.hand_on();
    }

    fn sent(&self) -> MutexGuard<'_, Sent<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_woken_hands_the_others_theirs() {
        let replies = Replies::default();
        let (mut batch, mut asked) = (Vec::new(), Vec::new());
        for n in 0..3 {
            let (to, answer) = oneshot::channel();
            batch.push((to, n));
            asked.push(answer);
        }
        replies.send(&mut batch);
        let got = |asked: &mut Vec<oneshot::Receiver<i32>>| asked.iter_mut().filter_map(|answer| answer.try_recv().ok()).count();
        assert_eq!(got(&mut asked), 1);
        replies.hand_on();
        assert_eq!(got(&mut asked), 2);
    }

    #[tokio::test]
    async fn what_nobody_hands_on_is_sent_all_the_same() {
        let replies = Replies::default();
        let (to_first, first) = oneshot::channel();
        let (to_second, second) = oneshot::channel();
        replies.send(&mut vec![(to_first, 1), (to_second, 2)]);
        replies.hand_on_late().await;
        assert_eq!((first.await, second.await), (Ok(1), Ok(2)));
    }

    #[test]
    fn a_reply_that_nobody_waits_for_leaves_no_other_behind() {
        let replies = Replies::default();
        let (to_first, mut first) = oneshot::channel();
        let (to_second, second) = oneshot::channel();
        drop(second);
        replies.send(&mut vec![(to_first, 1), (to_second, 2)]);
        assert_eq!(first.try_recv(), Ok(1));
    }
}
