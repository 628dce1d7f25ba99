//! The pulse of a thread that runs guests: when it last could have begun something else.
//!
//! A guest that computes gives way at its next function or loop head. One operation on much memory, and a stack that overflows, is
//! a piece in which it comes to none. Whoever chooses who is given an attempt sees by the pulse that a thread is amid such a piece, and
//! gives it to another. A pulse is a hint: where it is wrong, as where a process lies, an attempt begins somewhat later.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds without a beat after which a thread is stuck: guests that give way when asked are never so long about it.
const STUCK: u64 = 80_000;

pub(super) struct Pulse {
    /// Of the last beat, in nanoseconds of the machine's clock that never jumps; 0 while the thread has nothing to do.
    beat: Place,
    /// The same moment by both clocks.
    moment: (Instant, u64),
}

enum Place {
    Here(AtomicU64),
    /// And the descriptor, where it is to be given away.
    Shared(Page, Option<OwnedFd>),
}

impl Pulse {
    pub fn new() -> Self {
        Self::at(Place::Here(AtomicU64::new(0)))
    }

    /// One that another process can beat, which is given the `descriptor`.
    pub fn shared() -> io::Result<Self> {
        let file = memfd_create("bellcage-pulse", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, Page::BYTES as u64)?;
        // Who has it cannot take the page from under the others.
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self::at(Place::Shared(Page::map(&file)?, Some(file))))
    }

    /// The one whose descriptor this is.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        Ok(Self::at(Place::Shared(Page::map(file)?, None)))
    }

    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.beat {
            Place::Shared(_, Some(file)) => Some(file.as_fd()),
            _ => None,
        }
    }

    fn at(beat: Place) -> Self {
        // The thread may be interrupted between two readings: of several pairs, the one that was read quickest.
        let read = |_| {
            let (instant, now) = (Instant::now(), clock_gettime(ClockId::Monotonic));
            (instant.elapsed(), instant, now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs())
        };
        let quickest = (1..8).map(read).fold(read(0), |best, other| if other.0 < best.0 { other } else { best });
        Self { beat, moment: (quickest.1, quickest.2) }
    }

    /// The thread could begin something else at `now`, and goes on.
    pub fn beat(&self, now: Instant) {
        self.cell().store(self.nanos(now), Ordering::Relaxed);
    }

    /// The thread has nothing to do.
    pub fn rest(&self) {
        self.cell().store(0, Ordering::Relaxed);
    }

    /// Whether what comes would wait for what nothing can interrupt.
    pub fn is_stuck(&self) -> bool {
        self.is_silent_for(STUCK)
    }

    /// Whether the thread has something to do and has not beaten for so long.
    pub fn is_silent(&self, duration: Duration) -> bool {
        self.is_silent_for(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    fn is_silent_for(&self, nanos: u64) -> bool {
        match self.cell().load(Ordering::Relaxed) {
            0 => false,
            beat => self.nanos(Instant::now()).saturating_sub(beat) > nanos,
        }
    }

    fn nanos(&self, at: Instant) -> u64 {
        let (moment, nanos) = self.moment;
        nanos + u64::try_from(at.saturating_duration_since(moment).as_nanos()).unwrap_or(u64::MAX / 2)
    }

    fn cell(&self) -> &AtomicU64 {
        match &self.beat {
            Place::Here(cell) => cell,
            Place::Shared(page, _) => page.cell(),
        }
    }
}

/// Memory of two processes.
struct Page(NonNull<AtomicU64>);

impl Page {
    const BYTES: usize = 4096;

    fn map(file: impl AsFd) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let start = unsafe { mmap(ptr::null_mut(), Self::BYTES, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, file, 0) }?;
        NonNull::new(start.cast()).map(Self).ok_or_else(|| io::Error::other("a page was mapped nowhere"))
    }

    fn cell(&self) -> &AtomicU64 {
        // SAFETY: mapped and aligned to a page; it stays mapped as long as this value is there, its file cannot shrink, and
        // whatever another process writes is a number.
        unsafe { self.0.as_ref() }
    }
}

// SAFETY: what it points to is an atomic, mapped until this is dropped.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and nothing borrows from it any more.
        let _ = unsafe { munmap(self.0.as_ptr().cast(), Self::BYTES) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_stuck_when_it_has_not_beaten_for_long_and_has_something_to_do() {
        let pulse = Pulse::new();
        assert!(!pulse.is_stuck(), "it has nothing to do");
        pulse.beat(pulse.moment.0);
        std::thread::sleep(Duration::from_nanos(2 * STUCK));
        assert!(pulse.is_stuck());
        pulse.beat(Instant::now() + Duration::from_secs(60));
        assert!(!pulse.is_stuck(), "it has just beaten");
        pulse.beat(pulse.moment.0);
        pulse.rest();
        assert!(!pulse.is_stuck());
    }

    #[test]
    fn who_has_the_descriptor_beats_the_same_pulse() {
        let ours = Pulse::shared().unwrap();
        let theirs = Pulse::of(ours.descriptor().unwrap()).unwrap();
        theirs.beat(theirs.moment.0);
        assert!(ours.is_silent(Duration::ZERO));
        drop(theirs);
        ours.rest();
        assert!(!ours.is_silent(Duration::ZERO));
    }

    #[test]
    fn who_has_the_descriptor_cannot_take_the_memory_from_under_the_other() {
        let pulse = Pulse::shared().unwrap();
        assert!(ftruncate(pulse.descriptor().unwrap(), 0).is_err());
    }
}
