//! The module's unsafe calls.

use std::{
    ffi::c_int,
    io,
    os::fd::{AsFd, AsRawFd},
};

use rustix::thread::UnshareFlags;

/// Puts the calling thread into new namespaces. `FILES` is not among the flags it is called with.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    debug_assert!(!flags.contains(UnshareFlags::FILES));
    // SAFETY: unsafe only for CLONE_FILES, which would make descriptors of other threads invalid in this one.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(Into::into)
}

/// `setsockopt` of a C int, for options that no safe crate has.
pub(crate) fn set_int_option(socket: impl AsFd, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
    const { assert!(size_of::<c_int>() == 4) };
    // SAFETY: the pointer and length describe `value`, which lives through the call; the descriptor is borrowed.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
