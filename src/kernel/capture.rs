//! Frames of an interface by AF_PACKET, with what the kernel knows of them; bounded in time and memory.
//!
//! `PACKET_VNET_HDR` tells what is left to do (checksum, segmentation), `PACKET_AUXDATA` whether somebody verified the
//! checksum and which VLAN tag was taken out. On the way out a frame is seen as the driver gets it, after the stack's own
//! segmentation; on the way in after GRO.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, poll};

use super::{
    Result,
    error::Operation,
    link,
    netlink::{packet, sys::set_int_option},
    netns::Netns,
};
use crate::{
    packet::{Frame, Tag, VnetHeader},
    units::IfName,
};

/// Bytes that a super-packet can have: `GSO_LEGACY_MAX_SIZE` with headers around it.
const FRAME: usize = 72 << 10;
/// What the socket may hold; without CAP_NET_ADMIN in the first user namespace `net.core.rmem_max` decides.
const BUFFER: i32 = 32 << 20;
/// `TP_STATUS_VLAN_VALID`, `TP_STATUS_VLAN_TPID_VALID`
const VLAN_VALID: u32 = 0x10;
const TPID_VALID: u32 = 0x40;

/// What a capture may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of all frames together.
    pub bytes: usize,
    /// Time, whether it is ended or not.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: 48 << 20, time: Duration::from_secs(20) }
    }
}

/// What was captured.
#[derive(Debug, Clone, Default)]
pub struct Captured {
    /// In order.
    pub frames: Vec<Frame>,
    /// Frames that the socket had no room for.
    pub dropped: u64,
    /// A bound was reached: later frames are not here.
    pub full: bool,
}

impl Captured {
    /// Is every frame here?
    pub fn is_complete(&self) -> bool {
        self.dropped == 0 && !self.full
    }
}

/// A capture that runs on a thread of its own.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Captured>>,
    socket: Arc<OwnedFd>,
    index: u32,
}

impl Capture {
    /// Starts to capture; frames that pass after this has returned are seen.
    ///
    /// # Errors
    /// The interface is not there, or packet sockets are not allowed (CAP_NET_RAW).
    pub fn start(ns: &Netns, name: &IfName, bounds: Bounds) -> Result<Self> {
        let operation = || Operation::on("capture frames", name, ns.label());
        let index = link::index(ns, name.as_str())?;
        let socket = Arc::new(ns.within(|| bound(index, true))?.map_err(|error| operation().io(error))?);
        let stop = Arc::new(AtomicBool::new(false));
        let (told, read_from) = (stop.clone(), socket.clone());
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || read(&read_from, bounds, &told))
            .map_err(|error| operation().io(error))?;
        Ok(Self { stop, thread: Some(thread), socket, index })
    }

    /// Makes the port promiscuous until the capture ends: it takes frames that it would filter. A port that may not be
    /// (a virtual function that is not trusted) stays as it is.
    pub fn everything(&mut self) {
        let _ = packet::join(&self.socket, self.index, packet::Membership::Promiscuous);
    }

    /// Takes what waits in the socket and ends.
    pub fn finish(mut self) -> Captured {
        self.stop.store(true, Relaxed);
        // A reader that has panicked has seen nothing that could be believed.
        let lost = || Captured { full: true, ..Captured::default() };
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_else(lost)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

fn bound(index: u32, all: bool) -> io::Result<OwnedFd> {
    let socket = packet::open()?;
    set_int_option(&socket, libc::SOL_PACKET, libc::PACKET_VNET_HDR, 1)?;
    if all {
        set_int_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        if set_int_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER).is_err() {
            set_int_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, BUFFER)?;
        }
    }
    packet::bind(&socket, index, all)?;
    Ok(socket)
}

fn read(socket: &OwnedFd, bounds: Bounds, stop: &AtomicBool) -> Captured {
    let deadline = Instant::now() + bounds.time;
    let mut captured = Captured::default();
    let mut buffer = vec![0; FRAME];
    let mut held = 0;
    loop {
        match packet::receive(socket, &mut buffer) {
            Ok(received) => {
                let Some(frame) = frame(&buffer[..received.bytes], received) else { continue };
                held += frame.bytes.len() + size_of::<Frame>();
                if held > bounds.bytes {
                    captured.full = true;
                    break;
                }
                captured.frames.push(frame);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if stop.load(Relaxed) {
                    break;
                }
                if Instant::now() > deadline {
                    captured.full = true;
                    break;
                }
                let mut wait = [PollFd::new(socket, PollFlags::IN)];
                let short = rustix::time::Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
                let _ = poll(&mut wait, Some(&short)); // a signal only shortens the wait
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The interface went down: what was seen is all there is.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
            Err(_) => {
                captured.full = true;
                break;
            }
        }
    }
    captured.dropped = packet::statistics(socket).map_or(0, |(_, dropped)| u64::from(dropped));
    captured
}

fn frame(bytes: &[u8], received: packet::Received) -> Option<Frame> {
    let vnet = VnetHeader::read(bytes)?;
    let auxdata = received.auxdata;
    let stripped = (auxdata.status & VLAN_VALID != 0).then_some(Tag {
        tpid: if auxdata.status & TPID_VALID != 0 { auxdata.tpid } else { 0x8100 },
        tci: auxdata.tci,
    });
    Some(Frame {
        bytes: bytes[VnetHeader::LENGTH..].to_vec(),
        length: auxdata.length,
        outgoing: received.outgoing,
        vnet,
        status: auxdata.status,
        stripped,
    })
}

/// A socket that sends frames of one's own making by an interface.
#[derive(Debug)]
pub struct Injector {
    socket: OwnedFd,
    text: Operation,
    /// A frame was dropped that had its time to find room.
    drops: AtomicBool,
}

impl Injector {
    /// For this interface.
    pub fn open(ns: &Netns, name: &IfName) -> Result<Self> {
        let text = Operation::on("send frames", name, ns.label());
        let index = link::index(ns, name.as_str())?;
        let socket = ns.within(|| bound(index, false))?.map_err(|error| text.clone().io(error))?;
        Ok(Self { socket, text, drops: AtomicBool::new(false) })
    }

    /// Sends a frame with what is left to do on it. A frame that the interface drops (ENOBUFS: a veth does where its peer's MTU
    /// is smaller) is gone, as one that is lost on the way; a queue that is full for a moment is waited for before.
    pub fn send(&self, vnet: VnetHeader, frame: &[u8]) -> Result<()> {
        let mut bytes = vnet.bytes().to_vec();
        bytes.extend(frame);
        let mut dropped = false;
        for _ in 0..if self.drops.load(Relaxed) { 3 } else { 100 } {
            match packet::send(&self.socket, &bytes) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS)) => {
                    dropped = error.raw_os_error() == Some(libc::ENOBUFS);
                    std::thread::sleep(Duration::from_millis(1));
                }
                other => return other.map_err(|error| self.text.clone().io(error)),
            }
        }
        if !dropped {
            return Err(self.text.clone().conflict("the interface takes no frames"));
        }
        self.drops.store(true, Relaxed);
        Ok(())
    }
}
