//! The system calls of a process that runs guests, and of one that compiles them; any other ends it at once.
//!
//! The lists are what running, loading by descriptor and talking over one socket need, and what compiling needs, found by
//! running the tests with them. They have no call that opens, connects, starts, traces or signals anything else.

use std::io;

/// A filter is a program of these; see `linux/filter.h`.
type Step = libc::sock_filter;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

/// Offsets in `struct seccomp_data`, which a filter reads.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The lower half of an argument.
const fn argument(n: u32) -> u32 {
    16 + 8 * n + if cfg!(target_endian = "big") { 4 } else { 0 }
}

#[cfg(target_arch = "x86_64")]
const THIS_ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const THIS_ARCHITECTURE: u32 = 0xc000_00b7;

/// Calls that are allowed.
struct List {
    always: &'static [libc::c_long],
    /// With these values of one argument, by its number, only.
    with: &'static [(libc::c_long, u32, &'static [u32])],
}

/// Of a process that runs guests.
const RUNNING: List = List {
    always: &[
        // The socket, and what came over it.
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_recvmsg,
        libc::SYS_close,
        libc::SYS_fstat,
        // Memory: the allocator's and the guests'.
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_process_madvise,
        libc::SYS_memfd_create,
        // Waiting, threads that exist, time.
        libc::SYS_futex,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_ctl,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_getcpu,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_restart_syscall,
        // Signals of this thread to itself: traps.
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigprocmask,
        libc::SYS_sigaltstack,
        libc::SYS_getrandom,
        // What a panic prints.
        libc::SYS_gettid,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ],
    // Sealing a file in memory, and asking whether a descriptor is open; PAGEMAP_SCAN, on a descriptor that was opened before.
    with: &[(libc::SYS_fcntl, 1, &[libc::F_ADD_SEALS as u32, libc::F_GETFD as u32]), (libc::SYS_ioctl, 1, &[0xc060_6610])],
};

/// Of the process that compiles a component: its three descriptors, memory, and dying in a way that says of what.
const COMPILING: List = List {
    always: &[
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_close,
        libc::SYS_fstat,
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_clock_gettime,
        libc::SYS_restart_syscall,
        // The engine's handlers of traps, which nothing here ever raises.
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigprocmask,
        libc::SYS_sigaltstack,
        // Where processors keep what they have read of code, they are told of new code.
        libc::SYS_membarrier,
        libc::SYS_getrandom,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ],
    // What an abort sends to itself; the standard library's care for descriptors.
    with: &[(libc::SYS_tgkill, 2, &[libc::SIGABRT as u32]), (libc::SYS_fcntl, 1, &[libc::F_DUPFD_CLOEXEC as u32, libc::F_GETFD as u32])],
};

/// Where directories were given: what Landlock lets it reach of files. None of these makes a device, changes an owner or a mode,
/// or runs a file.
const FILES: List = List {
    always: &[
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_newfstatat,
        libc::SYS_statx,
        libc::SYS_fstatfs,
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
        libc::SYS_getdents64,
        libc::SYS_readlinkat,
        libc::SYS_mkdirat,
        libc::SYS_unlinkat,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_linkat,
        libc::SYS_symlinkat,
        libc::SYS_lseek,
        libc::SYS_readv,
        libc::SYS_writev,
        libc::SYS_pread64,
        libc::SYS_pwrite64,
        libc::SYS_preadv,
        libc::SYS_pwritev,
        libc::SYS_preadv2,
        libc::SYS_pwritev2,
        libc::SYS_ftruncate,
        libc::SYS_fallocate,
        libc::SYS_fadvise64,
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_utimensat,
        libc::SYS_fchdir,
        // Of threads that exist: a file is waited for on another.
        libc::SYS_set_robust_list,
    ],
    // What a descriptor was opened for, and to copy one.
    with: &[(libc::SYS_fcntl, 1, &[libc::F_GETFL as u32, libc::F_SETFL as u32, libc::F_DUPFD_CLOEXEC as u32])],
};

/// What `mmap` and `mprotect` may not give together: memory that can be written and run is what injected code needs.
const WRITE_AND_EXECUTE: u32 = (libc::PROT_WRITE | libc::PROT_EXEC) as u32;

/// With `files`, also what Landlock lets it reach of them.
pub(super) fn allow_only_running(files: bool) -> io::Result<()> {
    allow_only(if files { &[&RUNNING, &FILES] } else { &[&RUNNING] })
}

pub(super) fn allow_only_compiling() -> io::Result<()> {
    allow_only(&[&COMPILING])
}

/// For all threads of this process, for good.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn allow_only(lists: &[&List]) -> io::Result<()> {
    let program = program(lists);
    let program = libc::sock_fprog { len: u16::try_from(program.len()).map_err(io::Error::other)?, filter: program.as_ptr().cast_mut() };
    // SAFETY: `program` points to `len` steps that live through the call, which copies them and changes none.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_TSYNC, &raw const program) };
    match done {
        0 => Ok(()),
        thread if thread > 0 => Err(io::Error::other("a thread has a filter of its own")),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn allow_only(_lists: &[&List]) -> io::Result<()> {
    Err(io::Error::other("bellcage has no list of system calls for this processor"))
}

fn program(lists: &[&List]) -> Vec<Step> {
    let mut steps = vec![load(ARCHITECTURE), if_equal(THIS_ARCHITECTURE, 1, 0), give(KILL), load(NUMBER)];
    for number in lists.iter().flat_map(|list| list.always) {
        steps.extend([if_equal(*number as u32, 0, 1), give(ALLOW)]);
    }
    // The protection is the third argument of both.
    for number in [libc::SYS_mmap, libc::SYS_mprotect] {
        let masked = step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, WRITE_AND_EXECUTE, 0, 0);
        steps.extend([if_equal(number as u32, 0, 5), load(argument(2)), masked, if_equal(WRITE_AND_EXECUTE, 0, 1), give(KILL), give(ALLOW)]);
    }
    let with = || lists.iter().flat_map(|list| list.with);
    for (n, (number, place, _)) in with().enumerate() {
        // Once for each call and argument: what is in no list of it ends the process.
        if with().take(n).any(|before| (before.0, before.1) == (*number, *place)) {
            continue;
        }
        let values: Vec<_> = with().filter(|other| (other.0, other.1) == (*number, *place)).flat_map(|other| other.2).collect();
        steps.extend([if_equal(*number as u32, 0, 2 * values.len() as u8 + 2), load(argument(*place))]);
        steps.extend(values.into_iter().flat_map(|value| [if_equal(*value, 0, 1), give(ALLOW)]));
        steps.push(give(KILL));
    }
    steps.push(give(KILL));
    steps
}

fn step(code: u32, k: u32, equal: u8, unequal: u8) -> Step {
    Step { code: code as u16, jt: equal, jf: unequal, k }
}

fn load(offset: u32) -> Step {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

/// Skips `equal` steps, or `unequal` ones.
fn if_equal(k: u32, equal: u8, unequal: u8) -> Step {
    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k, equal, unequal)
}

fn give(answer: u32) -> Step {
    step(libc::BPF_RET | libc::BPF_K, answer, 0, 0)
}
