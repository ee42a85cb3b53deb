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

/// `SIOCETHTOOL` on a link in the calling thread's namespace: a command of which the kernel reads and writes at most this buffer.
///
/// # Safety
/// The kernel must not write beyond the buffer for this command.
unsafe fn ethtool(name: &str, buffer: &mut [u64]) -> io::Result<()> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    // SAFETY: all zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = buffer.as_mut_ptr().cast();
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    // SAFETY: the kernel reads and writes `request`, and through it the buffer, as far as the caller vouches for; both live through
    // the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A buffer of the command, of a second word, and of so many bytes of an answer.
fn ethtool_buffer(command: u32, second: u32, room: usize) -> Vec<u64> {
    let mut buffer = vec![0; 1 + room.div_ceil(8)];
    let [a, b, c, d] = command.to_ne_bytes();
    let [e, f, g, h] = second.to_ne_bytes();
    buffer[0] = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
    buffer
}

fn bytes_of(buffer: &[u64]) -> Vec<u8> {
    buffer.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).trim().to_owned()
}

/// The driver's own statistics of a link in the calling thread's namespace, by the driver's names; none where it has none.
/// `SIOCETHTOOL` with `ETHTOOL_GSSET_INFO`, `ETHTOOL_GSTRINGS` and `ETHTOOL_GSTATS`: ethtool's netlink has only those that are standard.
pub(crate) fn driver_statistics(name: &str) -> io::Result<Vec<(String, u64)>> {
    const ETHTOOL_GSTRINGS: u32 = 0x1b;
    const ETHTOOL_GSTATS: u32 = 0x1d;
    const ETHTOOL_GSSET_INFO: u32 = 0x37;
    const ETH_SS_STATS: u32 = 1;
    const STRING: usize = 32;
    // There may be more of them a moment later, when somebody adds queues.
    const MORE: usize = 1024;
    let count = || -> io::Result<usize> {
        // `struct ethtool_sset_info`: command, reserved, a mask of sets, a count for each set of the mask.
        let mut info = ethtool_buffer(ETHTOOL_GSSET_INFO, 0, 8 + 8);
        info[1] = 1 << ETH_SS_STATS;
        // SAFETY: one set is asked for, so one count of 4 bytes is written after the mask.
        unsafe { ethtool(name, &mut info) }?;
        let bytes = bytes_of(&info[2..]);
        let found = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        Ok(if info[1] == 0 { 0 } else { found })
    };
    let before = count()?;
    if before == 0 {
        return Ok(Vec::new());
    }
    // `struct ethtool_gstrings`: command, set, count, texts of 32 bytes.
    let mut strings = ethtool_buffer(ETHTOOL_GSTRINGS, ETH_SS_STATS, 4 + (before + MORE) * STRING);
    // SAFETY: the kernel writes as many texts as there are; there is room for `MORE` than there were just now.
    unsafe { ethtool(name, &mut strings) }?;
    // `struct ethtool_stats`: command, count, numbers.
    let mut numbers = ethtool_buffer(ETHTOOL_GSTATS, before as u32, (before + MORE) * 8);
    // SAFETY: as for the texts.
    unsafe { ethtool(name, &mut numbers) }?;
    if count()? != before {
        return Err(io::Error::from(io::ErrorKind::Interrupted));
    }
    let texts = bytes_of(&strings);
    let named = texts[12..].chunks_exact(STRING).map(text_of).zip(numbers[1..].iter().copied());
    Ok(named.take(before).collect())
}

/// Driver, its version, firmware, and place on its bus, of a link in the calling thread's namespace (`SIOCETHTOOL` with `ETHTOOL_GDRVINFO`).
pub(crate) fn driver_info(name: &str) -> io::Result<[String; 4]> {
    const ETHTOOL_GDRVINFO: u32 = 3;
    // `struct ethtool_drvinfo`: command, then texts: driver [32], version [32], firmware [32], bus [32], and 64 bytes more.
    let mut info = ethtool_buffer(ETHTOOL_GDRVINFO, 0, 32 * 6 + 20);
    // SAFETY: the kernel writes 196 bytes, and the buffer is longer.
    unsafe { ethtool(name, &mut info) }?;
    let info = bytes_of(&info);
    let text = |at: usize| text_of(&info[at..at + 32]);
    Ok([text(4), text(36), text(68), text(100)])
}
