//! The system calls of a process that runs guests; any other ends it at once.
//!
//! The list is what running, loading by descriptor and talking over one socket need, found by running the tests with
//! it. It has no call that opens, connects, starts, traces or signals anything.

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

const ALLOWED: &[libc::c_long] = &[
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
];

/// Allowed with these commands only, their second argument: sealing a file in memory, and asking whether a descriptor is
/// open; PAGEMAP_SCAN, on a descriptor that was opened before.
const COMMANDS: &[(libc::c_long, &[u32])] = &[(libc::SYS_fcntl, &[libc::F_ADD_SEALS as u32, libc::F_GETFD as u32]), (libc::SYS_ioctl, &[0xc060_6610])];

/// What `mmap` and `mprotect` may not give together: memory that can be written and run is what injected code needs.
const WRITE_AND_EXECUTE: u32 = (libc::PROT_WRITE | libc::PROT_EXEC) as u32;

/// For all threads of this process, for good.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) fn allow_only_running() -> io::Result<()> {
    let program = program();
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
pub(super) fn allow_only_running() -> io::Result<()> {
    Err(io::Error::other("bellcage has no list of system calls for this processor"))
}

fn program() -> Vec<Step> {
    let mut steps = vec![load(ARCHITECTURE), if_equal(THIS_ARCHITECTURE, 1, 0), give(KILL), load(NUMBER)];
    for number in ALLOWED {
        steps.extend([if_equal(*number as u32, 0, 1), give(ALLOW)]);
    }
    // The protection is the third argument of both.
    for number in [libc::SYS_mmap, libc::SYS_mprotect] {
        let masked = step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, WRITE_AND_EXECUTE, 0, 0);
        steps.extend([if_equal(number as u32, 0, 5), load(argument(2)), masked, if_equal(WRITE_AND_EXECUTE, 0, 1), give(KILL), give(ALLOW)]);
    }
    for (number, commands) in COMMANDS {
        steps.extend([if_equal(*number as u32, 0, 2 * commands.len() as u8 + 2), load(argument(1))]);
        steps.extend(commands.iter().flat_map(|command| [if_equal(*command, 0, 1), give(ALLOW)]));
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
