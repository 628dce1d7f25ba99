//! What a guest that got out of its sandbox might try, for tests of the confinement; not in a release.

use std::io;
use std::ptr;

/// Tries what `program` says. Comes back only from what is no escape, or from one that succeeded, which it then shows.
pub(super) async fn attempt(program: &str) {
    match program.strip_prefix("escape: ") {
        None | Some("none") => {}
        Some("overrun") => tokio::time::sleep(std::time::Duration::from_secs(3600)).await,
        Some(what) => now(what),
    }
}

/// Panics where it succeeded.
pub(in crate::executor) fn now(what: &str) {
    let path = c"/etc/passwd".as_ptr();
    let arguments = [ptr::null::<libc::c_char>()];
    // SAFETY: each is a system call with valid arguments, in a process that shall not survive it.
    let answer = unsafe {
        match what {
            "open" => libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, libc::O_RDONLY),
            "open beside" => match libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, libc::O_RDONLY) {
                -1 if io::Error::last_os_error().raw_os_error() == Some(libc::EACCES) => return,
                opened => opened,
            },
            "socket" => libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0),
            "connect" => libc::syscall(libc::SYS_connect, 0, ptr::null::<libc::sockaddr>(), 0),
            "ptrace" => libc::syscall(libc::SYS_ptrace, libc::PTRACE_ATTACH, 1, 0, 0),
            "clone" => libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0),
            "exec" => libc::syscall(libc::SYS_execve, c"/bin/true".as_ptr(), arguments.as_ptr(), arguments.as_ptr()),
            "kill" => libc::syscall(libc::SYS_kill, -1, libc::SIGKILL),
            "prctl" => libc::syscall(libc::SYS_prctl, libc::PR_SET_DUMPABLE, 1, 0, 0, 0),
            "write and execute" => libc::syscall(libc::SYS_mmap, 0, 4096, libc::PROT_WRITE | libc::PROT_EXEC, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0),
            "abort" => std::process::abort(),
            "hang" => loop {
                std::thread::sleep(std::time::Duration::from_secs(3600));
            },
            "panic" => panic!("as a test asked"),
            _ => return,
        }
    };
    panic!("{what} gave {answer}: {}", io::Error::last_os_error());
}
