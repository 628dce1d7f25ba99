//! Whose component is compiled when: tenants take turns, and what waits is bounded for each.
//!
//! ```text
//! admit    bounded number and bytes per tenant, else refused
//!   turn   of one tenant at most `at_once` stand in the queue of all or compile, so that the queue of all is short: who
//!          comes next waits for one compilation of each other tenant at most, however many of these wait
//! ```

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::ComponentError;
use crate::job::{TenantId, bytes};

/// What a component is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A push, which is refused where too many wait.
    Push,
    /// Something that was taken on before: a run. There are only so many of these at once.
    Run,
}

/// Components of one tenant that wait to be compiled, or are.
const WAITING_MAX: usize = 100;
/// Their bytes together. One alone may have more.
const WAITING_BYTES_MAX: u64 = 128 << 20;

pub(super) struct Queue {
    at_once: usize,
    turns: Semaphore,
    lanes: Mutex<HashMap<TenantId, Lane>>,
}

/// What one tenant has waiting; there is none where it has nothing.
struct Lane {
    turns: Arc<Semaphore>,
    waiting: usize,
    bytes: u64,
}

/// A place in the queue, given up when it is dropped.
pub(super) struct Place<'a> {
    queue: &'a Queue,
    tenant: TenantId,
    bytes: u64,
    turns: Arc<Semaphore>,
}

/// The right to compile.
pub(super) struct Turn<'a> {
    _of_tenant: SemaphorePermit<'a>,
    _of_all: SemaphorePermit<'a>,
}

impl Queue {
    pub fn new(at_once: usize) -> Self {
        let at_once = at_once.clamp(1, Semaphore::MAX_PERMITS);
        Self { at_once, turns: Semaphore::new(at_once), lanes: Mutex::default() }
    }

    /// A place for a component of so many bytes. `TooManyWait` where its tenant has too much in the queue for another push.
    pub fn admit(&self, tenant: &TenantId, need: Need, bytes: u64) -> Result<Place<'_>, ComponentError> {
        let mut lanes = self.lanes();
        let new = || Lane { turns: Arc::new(Semaphore::new(self.at_once)), waiting: 0, bytes: 0 };
        let lane = lanes.entry(tenant.clone()).or_insert_with(new);
        if need == Need::Push && lane.waiting > 0 && (lane.waiting >= WAITING_MAX || lane.bytes.saturating_add(bytes) > WAITING_BYTES_MAX) {
            return Err(ComponentError::TooManyWait { waiting: lane.waiting, bytes: lane.bytes });
        }
        lane.waiting += 1;
        lane.bytes += bytes;
        Ok(Place { queue: self, tenant: tenant.clone(), bytes, turns: lane.turns.clone() })
    }

    fn lanes(&self) -> MutexGuard<'_, HashMap<TenantId, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Waits for the turn. Neither semaphore is ever closed.
    pub async fn turn(&self) -> Option<Turn<'_>> {
        let of_tenant = self.turns.acquire().await.ok()?;
        Some(Turn { _of_tenant: of_tenant, _of_all: self.queue.turns.acquire().await.ok()? })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut lanes = self.queue.lanes();
        if let Some(lane) = lanes.get_mut(&self.tenant) {
            lane.waiting -= 1;
            lane.bytes -= self.bytes;
            if lane.waiting == 0 {
                lanes.remove(&self.tenant);
            }
        }
    }
}

/// For a message.
pub(super) fn held(waiting: usize, held: u64) -> String {
    format!("{waiting} with {} together; at most {WAITING_MAX} with {} may", bytes::about(held), bytes::format(WAITING_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_tenant_with_a_long_queue_keeps_another_one_waiting_for_one_turn() {
        let queue = Queue::new(1);
        let (many, other) = (tenant("many"), tenant("other"));
        let places: Vec<_> = (0..10).map(|_| queue.admit(&many, Need::Push, 1).unwrap()).collect();
        let mut waiting: Vec<_> = places.iter().map(|place| Box::pin(place.turn())).collect();
        let first = waiting.iter_mut().find_map(|turn| poll(turn.as_mut())).unwrap();
        for turn in &mut waiting[1..] {
            assert!(poll(turn.as_mut()).is_none());
        }
        let place = queue.admit(&other, Need::Push, 1).unwrap();
        let mut theirs = pin!(place.turn());
        assert!(poll(theirs.as_mut()).is_none());
        drop(first);
        for turn in &mut waiting[1..] {
            assert!(poll(turn.as_mut()).is_none(), "the other tenant is next");
        }
        let theirs = poll(theirs.as_mut()).unwrap();
        drop(theirs);
        assert!(waiting[1..].iter_mut().find_map(|turn| poll(turn.as_mut())).is_some());
    }

    #[test]
    fn one_tenant_alone_has_every_turn() {
        let queue = Queue::new(2);
        let places: Vec<_> = (0..3).map(|_| queue.admit(&tenant("a"), Need::Push, 1).unwrap()).collect();
        let mut turns: Vec<_> = places.iter().map(|place| Box::pin(place.turn())).collect();
        let taken: Vec<_> = turns.iter_mut().filter_map(|turn| poll(turn.as_mut())).collect();
        assert_eq!(taken.len(), 2);
    }

    #[test]
    fn what_waits_of_a_tenant_is_bounded_by_number_and_bytes() {
        let queue = Queue::new(1);
        let (a, b) = (tenant("a"), tenant("b"));
        let places: Vec<_> = (0..WAITING_MAX).map(|_| queue.admit(&a, Need::Push, 1).unwrap()).collect();
        assert_eq!(queue.admit(&a, Need::Push, 1).err().unwrap().code(), "compiler-busy");
        assert!(queue.admit(&a, Need::Run, 1).is_ok(), "a run is not refused");
        let large = queue.admit(&b, Need::Push, WAITING_BYTES_MAX).unwrap();
        assert_eq!(queue.admit(&b, Need::Push, 1).err().unwrap().code(), "compiler-busy");
        drop(large);
        drop(places);
        assert!(queue.lanes().is_empty());
        assert!(queue.admit(&b, Need::Push, 2 * WAITING_BYTES_MAX).is_ok(), "one alone may have more");
    }
}
