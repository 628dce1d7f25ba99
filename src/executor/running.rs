//! The runs that an executor has, so that they can be cancelled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::folding::Folding;
use super::news::News;
use super::signal::Signal;
use crate::job::{Progress, RunId};

#[derive(Default)]
pub(super) struct RunningSet {
    runs: Mutex<HashMap<RunId, Arc<Signal>, Folding>>,
    /// Some attempt has told something.
    news: Arc<Notify>,
}

/// A run's place in the set. Dropped before the attempt has ended, it cancels it.
pub(super) struct Running<'a> {
    set: &'a RunningSet,
    run: RunId,
    signal: Arc<Signal>,
    ended: bool,
}

impl RunningSet {
    pub fn enter(&self, run: RunId) -> Running<'_> {
        let signal = Arc::new(Signal::new(News::new(self.news.clone())));
        self.map().insert(run, signal.clone());
        Running { set: self, run, signal, ended: false }
    }

    /// Unknown runs are ignored.
    pub fn cancel(&self, run: RunId, reason: &str) {
        let signal = self.map().get(&run).cloned();
        if let Some(signal) = signal {
            signal.cancel(reason);
        }
    }

    pub fn progress(&self, run: RunId) -> Option<Progress> {
        self.map().get(&run)?.news.newest_progress()
    }

    /// Waits until attempts have told progress since this was last asked, and gives the newest of each.
    pub async fn fresh_progress(&self) -> Vec<(RunId, Progress)> {
        loop {
            self.news.notified().await;
            let fresh: Vec<_> = self.map().iter().filter_map(|(run, signal)| Some((*run, signal.news.fresh_progress()?))).collect();
            if !fresh.is_empty() {
                return fresh;
            }
        }
    }

    fn map(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Signal>, Folding>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running<'_> {
    pub fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// The attempt has ended by itself.
    pub fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.signal.cancel_at_once("nobody waits for it any more");
        }
        let mut map = self.set.map();
        // A later attempt of the same run may have taken the place.
        if map.get(&self.run).is_some_and(|signal| Arc::ptr_eq(signal, &self.signal)) {
            map.remove(&self.run);
        }
    }
}
