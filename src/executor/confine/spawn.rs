//! Starting a process in namespaces of its own.
//!
//! The standard library starts processes, but in the namespaces of their parent; a process can leave these later for
//! all but the pid namespace. So this is `clone` by hand: like `posix_spawn`, the child borrows the parent's memory
//! until it becomes the new program, and does nothing before that but move three descriptors.

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;

use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus};

/// The child calls three functions of the C library; this is plenty.
const STACK: usize = 64 << 10;

pub(crate) struct Spawn<'a> {
    pub program: CString,
    /// From `argv[0]` on. There is no environment.
    pub args: Vec<CString>,
    pub stdin: BorrowedFd<'a>,
    pub stdout: BorrowedFd<'a>,
    pub stderr: BorrowedFd<'a>,
}

pub(crate) struct Spawned {
    pub pid: Pid,
    /// Readable when the process has ended.
    pub fd: OwnedFd,
    /// Why it has no namespaces of its own, where it has none.
    pub namespaces: Result<(), String>,
}

impl Spawned {
    pub fn kill(&self) {
        // It may have ended, which is what was wanted.
        let _ = rustix::process::pidfd_send_signal(&self.fd, rustix::process::Signal::KILL);
    }

    /// How it ended, where it has; it is then gone for good.
    pub fn reap(&self) -> Option<WaitIdStatus> {
        rustix::process::waitid(WaitId::PidFd(self.fd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).ok().flatten()
    }

    /// Waits until it has ended.
    pub fn wait(&self) {
        let _ = rustix::process::waitid(WaitId::PidFd(self.fd.as_fd()), WaitIdOptions::EXITED);
    }
}

/// Starts a process in namespaces of its own; where the machine does not allow these, in the ones that are here.
pub(crate) fn spawn(what: &Spawn<'_>) -> io::Result<Spawned> {
    let own =
        libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
    match clone(what, own) {
        Ok((pid, fd)) => Ok(Spawned { pid, fd, namespaces: Ok(()) }),
        Err(refused) => clone(what, 0).map(|(pid, fd)| Spawned { pid, fd, namespaces: Err(refused.to_string()) }),
    }
}

/// What the child reads and writes in its parent's memory.
struct Child {
    program: *const c_char,
    argv: *const *const c_char,
    environment: *const *const c_char,
    descriptors: [c_int; 3],
    failed: c_int,
}

fn clone(what: &Spawn<'_>, namespaces: c_int) -> io::Result<(Pid, OwnedFd)> {
    // Above the three, so that moving one never overwrites another.
    let moved = [what.stdin, what.stdout, what.stderr].map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3));
    let [stdin, stdout, stderr] = moved;
    let (stdin, stdout, stderr) = (stdin?, stdout?, stderr?);
    let argv: Vec<_> = what.args.iter().map(|arg| arg.as_ptr()).chain([ptr::null()]).collect();
    let environment = [ptr::null()];
    let mut child = Child {
        program: what.program.as_ptr(),
        argv: argv.as_ptr(),
        environment: environment.as_ptr(),
        descriptors: [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()],
        failed: 0,
    };
    let mut stack = vec![0u128; STACK / size_of::<u128>()];
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD | namespaces;
    let blocked = SignalsBlocked::all()?;
    // SAFETY: the child runs `become_program` on a stack of its own while this thread waits (CLONE_VFORK), so all that it
    // borrows lives and nothing here changes meanwhile. Signals are blocked, so no handler runs in it. It calls only
    // functions that are safe between fork and exec. The stack's end is aligned to 16, as every machine wants it.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.len()).cast::<c_void>();
        libc::clone(become_program, top, flags, (&raw mut child).cast(), &raw mut pidfd)
    };
    let error = io::Error::last_os_error();
    drop(blocked);
    let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 0) else { return Err(error) };
    // SAFETY: the kernel has just made this descriptor for us (CLONE_PIDFD), and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    // Written by the child, behind the compiler's back.
    // SAFETY: a plain read of our own variable.
    match unsafe { (&raw const child.failed).read_volatile() } {
        0 => Ok((pid, fd)),
        errno => {
            let _ = rustix::process::waitid(WaitId::PidFd(fd.as_fd()), WaitIdOptions::EXITED);
            Err(io::Error::from_raw_os_error(errno))
        }
    }
}

extern "C" fn become_program(child: *mut c_void) -> c_int {
    let child = child.cast::<Child>();
    // SAFETY: `child` is the parent's, which waits; only system calls are made.
    unsafe {
        for (to, from) in (0..).zip((*child).descriptors) {
            if libc::dup2(from, to) < 0 {
                (*child).failed = *libc::__errno_location();
                libc::_exit(127);
            }
        }
        libc::execve((*child).program, (*child).argv, (*child).environment);
        (*child).failed = *libc::__errno_location();
        libc::_exit(127)
    }
}

/// Every signal of this thread held back until it is dropped.
struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    fn all() -> io::Result<Self> {
        // SAFETY: a signal set is plain data, and both sets live through the calls.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) {
                0 => Ok(Self { before }),
                errno => Err(io::Error::from_raw_os_error(errno)),
            }
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: restores the set that was read before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut()) };
    }
}

/// A program starts with the signals blocked that its parent had blocked, here all.
pub(super) fn unblock_signals() -> io::Result<()> {
    // SAFETY: a signal set is plain data, and it lives through the calls.
    let done = unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut())
    };
    if done == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(done)) }
}

/// Closes all but the first three descriptors, whoever left them open.
pub(super) fn close_inherited() -> io::Result<()> {
    // SAFETY: this process has one thread and has opened nothing yet, so nothing of it owns these descriptors.
    let done = unsafe { libc::syscall(libc::SYS_close_range, 3 as libc::c_uint, libc::c_uint::MAX, 0 as libc::c_uint) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
