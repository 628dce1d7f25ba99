//! What an attempt tells while it runs: the newest of its progress, and its newest checkpoint. Nothing is queued, so a
//! guest may tell as often as it likes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::AttemptReport;
use crate::job::Progress;

#[derive(Default)]
pub(super) struct News {
    told: Mutex<Told>,
    /// Notified when there is something fresh.
    came: Arc<Notify>,
}

#[derive(Default)]
struct Told {
    progress: Option<Progress>,
    checkpoint: Option<Vec<u8>>,
    /// Not taken yet.
    fresh_progress: bool,
    fresh_checkpoint: bool,
}

impl News {
    pub fn new(came: Arc<Notify>) -> Self {
        Self { told: Mutex::default(), came }
    }

    pub fn progress(&self, progress: Progress) {
        let mut told = self.told();
        told.progress = Some(progress);
        if !std::mem::replace(&mut told.fresh_progress, true) {
            self.came.notify_one();
        }
    }

    pub fn checkpoint(&self, bytes: Vec<u8>) {
        let mut told = self.told();
        told.checkpoint = Some(bytes);
        if !std::mem::replace(&mut told.fresh_checkpoint, true) {
            self.came.notify_one();
        }
    }

    pub fn newest_progress(&self) -> Option<Progress> {
        self.told().progress.clone()
    }

    /// What this attempt saved last.
    pub fn saved(&self) -> Option<Vec<u8>> {
        self.told().checkpoint.clone()
    }

    /// The newest progress, where it came since this was last asked.
    pub fn fresh_progress(&self) -> Option<Progress> {
        let mut told = self.told();
        if std::mem::take(&mut told.fresh_progress) { told.progress.clone() } else { None }
    }

    /// The newest checkpoint, where it came since this was last asked.
    pub fn fresh_checkpoint(&self) -> Option<Vec<u8>> {
        let mut told = self.told();
        if std::mem::take(&mut told.fresh_checkpoint) { told.checkpoint.clone() } else { None }
    }

    /// Gives an attempt's report what stays of its news.
    pub fn complete(&self, report: &mut AttemptReport) {
        let told = &mut *self.told();
        (report.progress, report.checkpoint) = (told.progress.take(), told.checkpoint.take());
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
