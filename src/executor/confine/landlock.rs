//! Landlock: everything that this kernel can handle is handled, and no rule allows any of it but what is given.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// `struct landlock_ruleset_attr`; older kernels know a shorter one.
#[repr(C)]
struct Ruleset {
    access_fs: u64,
    access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    parent: i32,
}

/// A directory that stays reachable, with all that is in it.
#[derive(Clone, Copy)]
pub(in crate::executor) struct Reachable<'a> {
    pub directory: BorrowedFd<'a>,
    pub write: bool,
    /// Symbolic links may be made: nobody but the guest ever follows them.
    pub links: bool,
}

const VERSION_QUERY: libc::c_ulong = 1;
const RULE_BENEATH: libc::c_ulong = 1;

const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SYM: u64 = 1 << 12;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;

impl Reachable<'_> {
    /// Never among them: to run a file, and to make or use devices, sockets and pipes.
    fn rights(self) -> u64 {
        let write = WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE;
        READ_FILE | READ_DIR | if self.write { write } else { 0 } | if self.links { MAKE_SYM } else { 0 }
    }
}

/// The version of Landlock that the kernel offers, from 1.
pub fn abi() -> io::Result<u32> {
    // SAFETY: with no attributes and this flag the call only answers a number.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Ruleset>(), 0usize, VERSION_QUERY) };
    u32::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// From now on this thread, and every thread it starts, can open, make, remove or run no file but in these directories, use no
/// TCP port, reach no abstract socket and signal no process, as far as this kernel can deny these.
pub(super) fn deny_all_but(reachable: &[Reachable<'_>]) -> io::Result<()> {
    let abi = abi()?;
    let bits = |n: u32| (1u64 << n) - 1;
    // Rights were added at their ends: refer in version 2, truncate in 3, device ioctl in 5; TCP in 4; scopes in 6.
    let access_fs = bits(match abi {
        1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    });
    let ruleset = Ruleset { access_fs, access_net: if abi >= 4 { bits(2) } else { 0 }, scoped: if abi >= 6 { bits(2) } else { 0 } };
    let size: usize = match abi {
        1..=3 => 8,
        4 | 5 => 16,
        _ => size_of::<Ruleset>(),
    };
    // SAFETY: the pointer is to `size` or more initialised bytes that live through the call.
    let fd = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size, 0 as libc::c_ulong) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just made this descriptor for us, and nothing else owns it.
    let fd = unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    for reachable in reachable {
        let rule = Beneath { allowed: reachable.rights() & access_fs, parent: reachable.directory.as_raw_fd() };
        // SAFETY: the pointer is to a rule that lives through the call; both descriptors are open.
        let done = unsafe { libc::syscall(libc::SYS_landlock_add_rule, fd.as_raw_fd(), RULE_BENEATH, &raw const rule, 0 as libc::c_ulong) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    // SAFETY: takes a descriptor and flags, and touches no memory.
    let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, fd.as_raw_fd(), 0 as libc::c_ulong) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
