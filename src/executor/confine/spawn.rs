//! Starting a process in namespaces of its own.
//!
//! The standard library starts processes, but in the namespaces of their parent; a process can leave these later for
//! all but the pid namespace. So this is `clone` by hand: like `posix_spawn`, the child borrows the parent's memory
//! until it becomes the new program, and does nothing before that but move three descriptors.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
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
    /// Directories, which it finds from the descriptor `FIRST_GIVEN` on.
    pub given: Vec<Given<'a>>,
    /// False in tests alone: as on a machine that makes no namespaces.
    pub namespaces: bool,
}

/// A directory for the new process.
pub(crate) enum Given<'a> {
    Open(BorrowedFd<'a>),
    /// Made for it: a file system in memory with room for so many bytes. Only in namespaces of its own.
    Scratch(u64),
}

/// The descriptor of the first directory.
pub(crate) const FIRST_GIVEN: c_int = 3;
/// Descriptors are made above all that are given, so that moving one never overwrites another.
const ABOVE: c_int = 64;
/// Files and directories in a scratch directory at most.
const SCRATCH_FILES_MAX: &CStr = c"10000";
/// A user that is nobody, within the namespaces of a process whose files would be root's.
const NOBODY: u32 = 65_534;

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

/// Starts a process in namespaces of its own; where the machine does not allow these, in the ones that are here, unless it
/// needs them for a scratch directory.
pub(crate) fn spawn(what: &Spawn<'_>) -> io::Result<Spawned> {
    let own =
        libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP;
    let made = if what.namespaces { clone(what, own) } else { Err(io::Error::from_raw_os_error(libc::EPERM)) };
    match made {
        Ok((pid, fd)) => Ok(Spawned { pid, fd, namespaces: Ok(()) }),
        Err(refused) if what.given.iter().any(|given| matches!(given, Given::Scratch(_))) => Err(refused),
        Err(refused) => clone(what, 0).map(|(pid, fd)| Spawned { pid, fd, namespaces: Err(refused.to_string()) }),
    }
}

/// What the child reads and writes in its parent's memory.
struct Child {
    program: *const c_char,
    argv: *const *const c_char,
    environment: *const *const c_char,
    descriptors: [c_int; 3],
    given: *const Place,
    given_count: usize,
    /// What the files of its user are mapped from, and of its group; empty without scratch directories.
    users: *const c_char,
    groups: *const c_char,
    failed: c_int,
}

/// A directory as the child makes or moves it.
struct Place {
    /// -1 where it is made.
    open: c_int,
    size: CString,
}

fn clone(what: &Spawn<'_>, namespaces: c_int) -> io::Result<(Pid, OwnedFd)> {
    let moved = [what.stdin, what.stdout, what.stderr].map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, ABOVE));
    let [stdin, stdout, stderr] = moved;
    let (stdin, stdout, stderr) = (stdin?, stdout?, stderr?);
    let argv: Vec<_> = what.args.iter().map(|arg| arg.as_ptr()).chain([ptr::null()]).collect();
    let environment = [ptr::null()];
    let mut kept = Vec::new();
    let mut places = Vec::new();
    for given in &what.given {
        let (open, size) = match given {
            Given::Open(fd) => {
                kept.push(rustix::io::fcntl_dupfd_cloexec(fd, ABOVE)?);
                (kept.last().map_or(-1, |fd| fd.as_raw_fd()), CString::default())
            }
            Given::Scratch(bytes) => (-1, CString::new(bytes.to_string())?),
        };
        places.push(Place { open, size });
    }
    let inside = |outside: u32| if outside == 0 { NOBODY } else { outside };
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let users = CString::new(format!("{} {user} 1", inside(user)))?;
    let groups = CString::new(format!("{} {group} 1", inside(group)))?;
    let mut child = Child {
        program: what.program.as_ptr(),
        argv: argv.as_ptr(),
        environment: environment.as_ptr(),
        descriptors: [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd()],
        given: places.as_ptr(),
        given_count: places.len(),
        users: users.as_ptr(),
        groups: groups.as_ptr(),
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
        if !give(child) {
            (*child).failed = *libc::__errno_location();
            libc::_exit(127);
        }
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

/// Puts the directories where the program looks for them. False with `errno` where one cannot be had.
///
/// # Safety
/// As for `become_program`, whose part it is.
unsafe fn give(child: *mut Child) -> bool {
    // SAFETY: the places and texts are the parent's, which waits; only system calls are made.
    unsafe {
        let mut mapped = false;
        for n in 0..(*child).given_count {
            let place = (*child).given.add(n);
            let mut from = (*place).open;
            if from < 0 {
                // Files can be made only by users that the namespace knows.
                mapped = mapped
                    || (write(c"/proc/self/setgroups", c"deny".as_ptr())
                        && write(c"/proc/self/gid_map", (*child).groups)
                        && write(c"/proc/self/uid_map", (*child).users));
                from = if mapped { scratch((*place).size.as_ptr()) } else { -1 };
            }
            if from < 0 || libc::dup2(from, FIRST_GIVEN + n as c_int) < 0 {
                return false;
            }
        }
        true
    }
}

/// Writes a file of the kernel's.
///
/// # Safety
/// `text` is a text that lives through the call.
unsafe fn write(path: &CStr, text: *const c_char) -> bool {
    // SAFETY: both texts live through the calls, and the descriptor is our own.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        let length = libc::strlen(text);
        // What is open here is closed when the child becomes its program.
        file >= 0 && libc::write(file, text.cast(), length) == length as isize
    }
}

/// The descriptor of a new file system in memory, which is mounted nowhere; -1 with `errno` where there is none.
///
/// # Safety
/// `size` is a text that lives through the call.
unsafe fn scratch(size: *const c_char) -> c_int {
    const SET_STRING: c_int = 1;
    const CREATE: c_int = 6;
    const CLOEXEC: c_int = 1;
    // No set-user-id, no devices, nothing to be run.
    const ATTRIBUTES: c_int = 2 | 4 | 8;
    // SAFETY: all texts live through the calls, which take what `fsopen(2)`, `fsconfig(2)` and `fsmount(2)` say.
    unsafe {
        let system = libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), CLOEXEC) as c_int;
        if system < 0 {
            return -1;
        }
        for (name, value) in [(c"size".as_ptr(), size), (c"nr_inodes".as_ptr(), SCRATCH_FILES_MAX.as_ptr()), (c"mode".as_ptr(), c"0700".as_ptr())] {
            if libc::syscall(libc::SYS_fsconfig, system, SET_STRING, name, value, 0) != 0 {
                return -1;
            }
        }
        if libc::syscall(libc::SYS_fsconfig, system, CREATE, ptr::null::<c_char>(), ptr::null::<c_char>(), 0) != 0 {
            return -1;
        }
        let made = libc::syscall(libc::SYS_fsmount, system, CLOEXEC, ATTRIBUTES) as c_int;
        if made < 0 { -1 } else { libc::fcntl(made, libc::F_DUPFD_CLOEXEC, ABOVE) }
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

/// A file that grows past what it may is refused to grow, and does not end the process.
pub(super) fn ignore_file_size_signal() -> io::Result<()> {
    // SAFETY: to ignore a signal runs no code of ours.
    let before = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Closes all but the first three descriptors and those of so many directories, whoever left them open.
pub(super) fn close_inherited_but(given: usize) -> io::Result<Vec<OwnedFd>> {
    let first_other = FIRST_GIVEN + c_int::try_from(given).map_err(io::Error::other)?;
    // SAFETY: this process has one thread and has opened nothing yet, so nothing of it owns these descriptors.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first_other as libc::c_uint, libc::c_uint::MAX, 0 as libc::c_uint) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: who started this process left these open for it, and nothing else owns them.
    let given: Vec<_> = (FIRST_GIVEN..first_other).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect();
    // One that is not open would be another file soon.
    given.iter().try_for_each(|fd| rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::CLOEXEC))?;
    Ok(given)
}
