//! Whose turn it is on a thread that runs guests, and how long.
//!
//! A guest that computes goes to the end of a queue after each slice of time, and between any two slices the thread looks at
//! its timers and begins what has arrived. In the runtime's own queue what arrives would wait for a slice of each guest that computes.
//! It does not even wait for one: whoever sends something rings a bell, and the guest gives way at its next function or loop head.
//!
//! ```text
//! begins ──LEAST──► gives way when the bell is rung ──SLICE──► gives way
//! ```
//! The first part is its own whatever comes: however many attempts arrive, those that compute go on.
//!
//! Between two such heads nothing interrupts a guest. One whose like have held the thread for long that way (`Habit`) lets others begin first.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tokio::task::coop;

use super::pulse::Pulse;

/// CPU time that a guest's turn has, whoever waits.
pub(super) const LEAST: Duration = Duration::from_micros(40);
/// Of the time since the last turn of somebody who computes, a turn has at least such a part: so those that compute have a fifth
/// of the thread, however much comes.
const SHARE: u32 = 4;
/// CPU time after which others that compute have their turns.
const SLICE: Duration = Duration::from_millis(1);

/// CPU time without a place to give way that is long.
const LONG: Duration = Duration::from_micros(150);
/// Attempts of a component that are thought to be like the last that held the thread for so long.
const LIKE_IT: u8 = 50;

/// Whether attempts of a component hold the thread for long: what the last ones did.
#[derive(Default)]
pub(super) struct Habit(AtomicU8);

impl Habit {
    /// The longest piece that another attempt has computed in.
    pub fn note(&self, longest: Duration) {
        let left = if longest >= LONG { LIKE_IT } else { self.0.load(Ordering::Relaxed).saturating_sub(1) };
        self.0.store(left, Ordering::Relaxed);
    }

    pub fn is_long(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// Tells the thread that something has come for it.
pub(super) struct Bell {
    /// Has the guest that has its turn give way: raises the epoch of its engine.
    interrupt: Box<dyn Fn() + Send + Sync>,
    pub pulse: Arc<Pulse>,
    /// Something has come since the thread last looked.
    rung: AtomicBool,
    /// Whoever has the turn has had its least part of it.
    interruptible: AtomicBool,
    /// A thread that rings when it sees something come, and its sleep while nobody would hear it.
    listener: OnceLock<Thread>,
    listener_sleeps: AtomicBool,
}

impl Bell {
    pub fn new(pulse: Arc<Pulse>, interrupt: impl Fn() + Send + Sync + 'static) -> Self {
        let (rung, interruptible, listener, listener_sleeps) = Default::default();
        Self { interrupt: Box::new(interrupt), pulse, rung, interruptible, listener, listener_sleeps }
    }

    /// After something was sent. Costs next to nothing where nobody computes.
    pub fn ring(&self) {
        // Either this sees that there is somebody to interrupt, or they see that it was rung.
        if !self.rung.swap(true, Ordering::SeqCst) && (self.interruptible.load(Ordering::SeqCst) || self.pulse.is_silent(LEAST)) {
            (self.interrupt)();
        }
    }

    /// The thread is about to look at what has come.
    pub fn answer(&self) {
        if self.rung.load(Ordering::Relaxed) {
            self.rung.store(false, Ordering::SeqCst);
        }
    }

    /// Whether whoever has the turn may go on with it.
    fn lets_go_on(&self) -> bool {
        if !self.interruptible.swap(true, Ordering::SeqCst) && self.listener_sleeps.load(Ordering::SeqCst) {
            self.listener.get().inspect(|listener| listener.unpark());
        }
        !self.rung.load(Ordering::SeqCst)
    }

    fn turn_is_over(&self) {
        self.interruptible.store(false, Ordering::SeqCst);
    }

    /// Returns when the thread that listens has done all that a starting thread does.
    pub fn wait_until_listener_sleeps(&self) {
        while !self.listener_sleeps.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    /// Sleeps until somebody could be interrupted by a ring. For one thread.
    pub fn wait_until_heard(&self) {
        self.listener.get_or_init(std::thread::current);
        self.listener_sleeps.store(true, Ordering::SeqCst);
        while !self.interruptible.load(Ordering::SeqCst) || self.rung.load(Ordering::SeqCst) {
            std::thread::park();
        }
        self.listener_sleeps.store(false, Ordering::SeqCst);
    }
}

struct Turns {
    bell: Arc<Bell>,
    /// Attempts that the thread has, and that were not polled yet.
    to_begin: usize,
    /// CPU time of the thread at the end of the last turn of somebody who computes.
    last_over: Duration,
    waiting: VecDeque<Waker>,
    /// Who lets others begin.
    begin_late: VecDeque<Waker>,
    /// The last turn was one of theirs.
    began_late: bool,
    /// Who gives the turns, while nobody waits.
    giver: Option<Waker>,
}

thread_local! {
    /// `None` where nobody gives turns.
    static TURNS: RefCell<Option<Turns>> = const { RefCell::new(None) };
}

/// Gives turns on this thread, as long as this is polled: a task of its runtime. Who has one gives way to `bell`.
pub(super) async fn give(bell: Arc<Bell>) {
    struct Given;
    impl Drop for Given {
        fn drop(&mut self) {
            TURNS.set(None);
        }
    }
    TURNS.set(Some(Turns {
        bell,
        to_begin: 0,
        last_over: Duration::ZERO,
        waiting: VecDeque::new(),
        begin_late: VecDeque::new(),
        began_late: false,
        giver: None,
    }));
    let _given = Given;
    loop {
        next().await.wake();
        // Goes on once the runtime has looked at its timers and at what other threads sent.
        tokio::task::yield_now().await;
    }
}

/// Whether a guest that has computed for `used` in this turn, and could give way now, goes on instead. `now` is the CPU time
/// of the thread.
pub(super) fn goes_on(used: Duration, now: Duration) -> bool {
    // A guest that waits for what the runtime lets it have no more of now would wait in vain.
    if used >= SLICE || !coop::has_budget_remaining() {
        return false;
    }
    used < LEAST || TURNS.with_borrow(|turns| turns.as_ref().is_some_and(|turns| turns.lets_go_on(used, now)))
}

impl Turns {
    /// Whose turn it is: of who begins late and who computes each in turn, so that no burst of the former keeps the latter from theirs.
    fn first(&mut self) -> Option<Waker> {
        let is_late = !self.began_late || self.waiting.is_empty();
        let late = if is_late { self.begin_late.pop_front() } else { None };
        self.began_late = late.is_some();
        late.or_else(|| self.waiting.pop_front())
    }

    fn lets_go_on(&self, used: Duration, now: Duration) -> bool {
        let others_had = now.saturating_sub(used).saturating_sub(self.last_over);
        used < others_had / SHARE || (self.bell.lets_go_on() && self.to_begin == 0)
    }
}

/// The end of a turn that was longer than its least part.
pub(super) fn over(now: Duration) {
    TURNS.with_borrow_mut(|turns| {
        if let Some(turns) = turns {
            turns.last_over = now;
            turns.bell.turn_is_over();
        }
    });
}

/// The thread is about to let a guest go on, or has just done so.
pub(super) fn beat(now: Instant) {
    TURNS.with_borrow(|turns| {
        if let Some(turns) = turns {
            turns.bell.pulse.beat(now);
        }
    });
}

/// An attempt was put into the runtime's queue: who computes gives way to it. It says when it has `begun`.
pub(super) fn to_begin() {
    count(|to_begin| to_begin + 1);
}

/// An attempt has its first turn.
pub(super) fn begun() {
    count(|to_begin| to_begin.saturating_sub(1));
}

fn count(change: impl FnOnce(usize) -> usize) {
    TURNS.with_borrow_mut(|turns| {
        if let Some(turns) = turns {
            turns.to_begin = change(turns.to_begin);
        }
    });
}

/// Wakes `waker` when it is its turn. False where nobody gives turns on this thread.
pub(super) fn wait(waker: &Waker) -> bool {
    queue(|turns| turns.waiting.push_back(waker.clone()))
}

fn queue(push: impl FnOnce(&mut Turns)) -> bool {
    TURNS.with_borrow_mut(|turns| {
        let Some(turns) = turns else { return false };
        push(turns);
        if let Some(giver) = turns.giver.take() {
            giver.wake();
        }
        true
    })
}

/// Returns when all attempts that have come so far have begun, and between any two who wait for that one who computes has had a turn; those that compute give way to it as to any that has not.
pub(super) async fn let_others_begin() {
    struct ToBegin;
    impl Drop for ToBegin {
        fn drop(&mut self) {
            begun();
        }
    }
    to_begin();
    let _to_begin = ToBegin;
    let mut waited = false;
    std::future::poll_fn(|context| {
        let ready = waited || !queue(|turns| turns.begin_late.push_back(context.waker().clone()));
        waited = true;
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

async fn next() -> Waker {
    std::future::poll_fn(|context| {
        TURNS.with_borrow_mut(|turns| {
            let Some(turns) = turns else { return Poll::Pending };
            match turns.first() {
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
    use std::sync::Mutex;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test]
    async fn what_arrives_waits_for_one_turn_however_many_compute() {
        let order: Arc<Mutex<Vec<&str>>> = Arc::default();
        tokio::spawn(give(Arc::new(Bell::new(Arc::new(Pulse::new()), || {}))));
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
        let_others_begin().await;
    }

    #[tokio::test]
    async fn who_lets_others_begin_comes_after_them_and_before_those_that_compute() {
        let order: Arc<Mutex<Vec<&str>>> = Arc::default();
        tokio::spawn(give(Arc::new(Bell::new(Arc::new(Pulse::new()), || {}))));
        tokio::task::yield_now().await;
        for _ in 0..3 {
            let (order, mut has_begun) = (order.clone(), false);
            tokio::spawn(std::future::poll_fn(move |context| {
                if std::mem::replace(&mut has_begun, true) {
                    order.lock().unwrap().push("computes");
                    return Poll::Ready(());
                }
                assert!(wait(context.waker()));
                Poll::Pending
            }));
        }
        let spawn = |what: &'static str, lets_others: bool| {
            let order = order.clone();
            tokio::spawn(async move {
                if lets_others {
                    let_others_begin().await;
                    assert!(goes_on(LEAST, LEAST), "it has begun");
                }
                order.lock().unwrap().push(what);
            })
        };
        let (long, short) = (spawn("long", true), spawn("short", false));
        let observer = tokio::spawn(async { assert!(!goes_on(LEAST, LEAST), "who computes gives way to it") });
        observer.await.unwrap();
        long.await.unwrap();
        short.await.unwrap();
        assert_eq!(order.lock().unwrap()[..2], ["short", "long"]);
    }

    #[tokio::test]
    async fn between_any_two_who_let_others_begin_one_who_computes_has_a_turn() {
        let order: Arc<Mutex<Vec<u32>>> = Arc::default();
        tokio::spawn(give(Arc::new(Bell::new(Arc::new(Pulse::new()), || {}))));
        tokio::task::yield_now().await;
        for n in 1..=6 {
            let order = order.clone();
            tokio::spawn(async move {
                let_others_begin().await;
                order.lock().unwrap().push(n);
            });
        }
        let (noted, mut left) = (order.clone(), 6);
        tokio::spawn(std::future::poll_fn(move |context| {
            if left < 6 {
                noted.lock().unwrap().push(0);
            }
            left -= 1;
            if left == 0 {
                return Poll::Ready(());
            }
            assert!(wait(context.waker()));
            Poll::Pending
        }))
        .await
        .unwrap();
        assert_eq!(order.lock().unwrap()[..], [1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
    }

    #[test]
    fn a_component_is_taken_for_long_until_many_attempts_of_it_were_short() {
        let habit = Habit::default();
        habit.note(LONG - Duration::from_nanos(1));
        assert!(!habit.is_long());
        habit.note(LONG);
        (1..LIKE_IT).for_each(|_| habit.note(Duration::ZERO));
        assert!(habit.is_long());
        habit.note(Duration::ZERO);
        assert!(!habit.is_long());
    }

    /// A bell on this thread, and how often it interrupted.
    async fn bell() -> (Arc<Bell>, Arc<AtomicUsize>) {
        let interrupted: Arc<AtomicUsize> = Arc::default();
        let count = interrupted.clone();
        let bell = Arc::new(Bell::new(Arc::new(Pulse::new()), move || {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        tokio::spawn(give(bell.clone()));
        tokio::task::yield_now().await;
        (bell, interrupted)
    }

    #[tokio::test]
    async fn who_computes_gives_way_when_the_bell_is_rung_and_not_before() {
        let (bell, interrupted) = bell().await;
        assert!(goes_on(LEAST, LEAST));
        bell.ring();
        assert_eq!(interrupted.load(Ordering::SeqCst), 1);
        assert!(!goes_on(LEAST, LEAST));
        over(LEAST);
        bell.answer();
        assert!(goes_on(LEAST, 2 * LEAST));
    }

    #[tokio::test]
    async fn who_has_come_to_no_place_to_give_way_for_longer_than_its_least_part_is_interrupted_too() {
        let (bell, interrupted) = bell().await;
        let now = Instant::now();
        beat(now + Duration::from_secs(60));
        bell.ring();
        assert_eq!(interrupted.load(Ordering::SeqCst), 0, "its least part is its own");
        bell.answer();
        beat(now.checked_sub(Duration::from_secs(60)).unwrap_or(now));
        std::thread::sleep(2 * LEAST);
        bell.ring();
        assert_eq!(interrupted.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_bell_that_was_rung_before_is_heard_at_the_end_of_the_least_part() {
        let (bell, interrupted) = bell().await;
        bell.ring();
        assert!(goes_on(LEAST - Duration::from_nanos(1), LEAST), "its least part is its own");
        assert!(!goes_on(LEAST, LEAST));
        assert_eq!(interrupted.load(Ordering::SeqCst), 0, "there was nobody to interrupt");
    }

    #[tokio::test]
    async fn who_computes_gives_way_to_those_that_have_not_begun() {
        let (_bell, _) = bell().await;
        to_begin();
        assert!(!goes_on(LEAST, LEAST));
        begun();
        assert!(goes_on(LEAST, LEAST));
    }

    #[tokio::test]
    async fn those_that_compute_have_a_fifth_of_the_time_however_much_comes() {
        let (bell, _) = bell().await;
        over(Duration::ZERO);
        bell.ring();
        let others_had = 40 * LEAST;
        assert!(goes_on(9 * LEAST, others_had + 9 * LEAST));
        assert!(!goes_on(10 * LEAST, others_had + 10 * LEAST));
    }

    #[tokio::test]
    async fn a_bell_interrupts_once_until_it_is_answered() {
        let (bell, interrupted) = bell().await;
        assert!(goes_on(LEAST, LEAST));
        (0..100).for_each(|_| bell.ring());
        assert_eq!(interrupted.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn nobody_has_more_than_a_slice() {
        let _bell = bell().await;
        assert!(goes_on(SLICE - Duration::from_nanos(1), SLICE));
        assert!(!goes_on(SLICE, SLICE));
    }

    #[tokio::test]
    async fn a_listener_sleeps_until_it_would_be_heard() {
        let (bell, interrupted) = bell().await;
        let listener = std::thread::spawn({
            let bell = bell.clone();
            move || {
                bell.wait_until_heard();
                bell.ring();
            }
        });
        bell.wait_until_listener_sleeps();
        assert_eq!(interrupted.load(Ordering::SeqCst), 0);
        goes_on(LEAST, LEAST);
        listener.join().unwrap();
        assert_eq!(interrupted.load(Ordering::SeqCst), 1);
    }
}
