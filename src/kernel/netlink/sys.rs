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

/// `getsockopt` of a C int, for options that no safe crate has.
pub(crate) fn int_option(socket: impl AsFd, level: c_int, option: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut length = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the pointers describe `value` and `length`, which live through the call; the descriptor is borrowed.
    let result = unsafe {
        libc::getsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut length)
    };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Driver, its version, and firmware of a link in the calling thread's namespace (`SIOCETHTOOL` with `ETHTOOL_GDRVINFO`).
pub(crate) fn driver_info(name: &str) -> io::Result<[String; 3]> {
    const ETHTOOL_GDRVINFO: u32 = 3;
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    // `struct ethtool_drvinfo`: command, then texts: driver [32], version [32], firmware [32], and 96 bytes more.
    let mut info = [0u8; 4 + 32 * 6 + 20];
    info[..4].copy_from_slice(&ETHTOOL_GDRVINFO.to_ne_bytes());
    // SAFETY: all zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = info.as_mut_ptr().cast();
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: the kernel reads and writes `request`, and through it 196 bytes of `info`, which is longer; both live
    // through the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let text = |at: usize| {
        let bytes = info[at..at + 32].split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(bytes).trim().to_owned()
    };
    Ok([text(4), text(36), text(68)])
}
