//! How soon the kernel lets a thread run that is woken while others compute, and how much of a core it gets beside them.
//!
//! A thread of the usual kind waits until whoever has its core has had its slice, some milliseconds. One with a short slice of
//! its own goes first (Linux 6.12 and later; earlier kernels take no notice). That needs no privileges, and gives it no more of
//! the core than before.

/// As short, and as long, as the kernel has them, in nanoseconds.
const SHORT: u64 = 100_000;
const LONG: u64 = 100_000_000;
/// How far threads that run guests stand back (`nice(2)`), where nobody says. Beside a busy thread of the usual kind, one of theirs has a
/// tenth of a core, …
pub(in crate::executor) const NICE: u32 = 10;
/// … which comes in slices of so many nanoseconds, or it would come late.
const GUESTS_SLICE: u64 = 300_000;
/// How far what compiles stands back: behind the server and guests, yet a quarter of a core beside a guest that is busy. The nicest (19)
/// would get an eighth, and honest components would run into the wall clock.
const COMPILER_NICE: u32 = 15;
/// The most that there is.
const NICEST: i32 = 19;

/// `struct sched_attr` of `sched_setattr(2)`, in its first version.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Has the kernel let this thread run soon when it is woken. For threads that never compute for long; where the kernel
/// does not, nothing is lost but that.
pub(in crate::executor) fn run_soon() {
    schedule(|this| this.runtime = SHORT);
}

/// Has this thread, which runs guests, stand back for those that decide and store, and for the rest of the machine. Amid a burst
/// the kernel otherwise gives guests the core that the one thread that writes waits for, and then no one has anything to do but that one.
pub(in crate::executor) fn stand_back(nice: u32) {
    schedule(|this| {
        this.nice = this.nice.saturating_add_unsigned(nice).min(NICEST);
        this.runtime = GUESTS_SLICE;
    });
}

/// Has this process, of one thread, which compiles, stand back for all else. It asks for long slices, so that whatever is woken on its core goes first:
/// its niceness counts among those of its control group or session only, and the kernel's threads, of which one ends each sync of a file that grows, belong to none.
pub(super) fn stand_far_back() {
    schedule(|this| {
        this.nice = this.nice.saturating_add_unsigned(COMPILER_NICE).min(NICEST);
        this.runtime = LONG;
    });
}

/// Changes how this thread is scheduled, where it is in the usual way or as a batch (`sched(7)`): the other ways know no niceness.
fn schedule(change: impl FnOnce(&mut Attributes)) {
    let size = size_of::<Attributes>();
    let mut attributes = Attributes::default();
    let usual = [libc::SCHED_OTHER, libc::SCHED_BATCH].map(|policy| policy as u32);
    // SAFETY: both calls are given this struct and its size, and concern this thread alone.
    unsafe {
        if libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) == 0 && usual.contains(&attributes.policy) {
            change(&mut attributes);
            libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0);
        }
    }
}
