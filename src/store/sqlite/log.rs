//! Carrying the write-ahead log over into the file, beside the writer, who would else stop for it.
//!
//! ```text
//! the log grew by PAGES_PER_PASS ──► a thread of its own copies what has been committed: at a quiet moment, or when it is PAGES_MAX
//! a pass ends, log ≥ PAGES_MAX   ──► the writer copies the little that came meanwhile: the log begins anew
//! ```
//! A pass writes pages all over the file, and while the disk is busy with them a commit waits long: so not amid a burst. The log
//! can begin anew only when nothing is left to copy, which a pass beside a busy writer never reaches by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;

use super::writer::Db;

/// Pages (of 4 KiB).
const PAGES_PER_PASS: u32 = 8_192;
const PAGES_MAX: u32 = 4 * PAGES_PER_PASS;
/// A moment without a commit that is long enough to be called quiet.
const QUIET: Duration = Duration::from_millis(20);
/// The log's file is cut to this when it begins anew.
pub(super) const FILE_BYTES_MAX: u32 = PAGES_MAX * 4_096;

/// The writer's side.
pub(super) struct Log {
    /// In the log after the last commit.
    pages: Arc<AtomicU32>,
    /// In the log when a pass was last asked for.
    asked_at: u32,
    /// A pass has ended that the writer has not seen yet.
    passed: Arc<AtomicBool>,
    passes: SyncSender<()>,
}

/// The other thread's side.
pub(super) struct Carrier {
    db: Db,
    asked: Receiver<()>,
    pages: Arc<AtomicU32>,
    passed: Arc<AtomicBool>,
}

/// `db` is the carrier's own connection.
pub(super) fn carried_by(writer: &mut Connection, db: Db) -> rusqlite::Result<(Log, Carrier)> {
    let (passes, asked) = mpsc::sync_channel(1);
    let (pages, passed) = (Arc::<AtomicU32>::default(), Arc::<AtomicBool>::default());
    let seen = pages.clone();
    writer.wal_hook(Some(move |_: &mut Wal, pages| {
        seen.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
        Ok(())
    }))?;
    let carrier = Carrier { db, asked, pages: pages.clone(), passed: passed.clone() };
    Ok((Log { pages, asked_at: 0, passed, passes }, carrier))
}

impl Log {
    /// After each commit of the writer's.
    pub(super) fn committed(&mut self, db: &Db) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.asked_at {
            self.asked_at = 0;
        }
        if self.passed.swap(false, Ordering::Acquire) && pages >= PAGES_MAX {
            carry_over(db);
        } else if pages >= self.asked_at + PAGES_PER_PASS && self.passes.try_send(()).is_ok() {
            self.asked_at = pages;
        }
    }
}

impl Carrier {
    /// Until the writer is gone.
    pub(super) fn run(self) {
        while self.asked.recv().is_ok() {
            self.wait_for_quiet();
            carry_over(&self.db);
            self.passed.store(true, Ordering::Release);
        }
    }

    fn wait_for_quiet(&self) {
        let mut before = u32::MAX;
        loop {
            let pages = self.pages.load(Ordering::Relaxed);
            if pages == before || pages >= PAGES_MAX {
                return;
            }
            before = pages;
            thread::sleep(QUIET);
        }
    }
}

/// As much as can be without waiting for anybody. What is left, or fails, is for the next pass.
fn carry_over(db: &Db) {
    if let Err(error) = db.connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE) {
        tracing::warn!(%error, "the store's log could not be carried over into its file; it grows until that can be done");
    }
}
