//! Landlock: everything that this kernel can handle is handled, and no rule allows any of it.

use std::io;

/// `struct landlock_ruleset_attr`; older kernels know a shorter one.
#[repr(C)]
struct Ruleset {
    access_fs: u64,
    access_net: u64,
    scoped: u64,
}

const VERSION_QUERY: libc::c_ulong = 1;

/// The version of Landlock that the kernel offers, from 1.
pub fn abi() -> io::Result<u32> {
    // SAFETY: with no attributes and this flag the call only answers a number.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<Ruleset>(), 0usize, VERSION_QUERY) };
    u32::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// From now on this thread, and every thread it starts, can open, make, remove or run no file, use no TCP port, reach
/// no abstract socket and signal no process, as far as this kernel can deny these.
pub(super) fn deny_all() -> io::Result<()> {
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
    // SAFETY: takes a descriptor and flags, and touches no memory.
    let done = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, std::os::fd::AsRawFd::as_raw_fd(&fd), 0 as libc::c_ulong) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
