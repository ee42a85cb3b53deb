//! A network card of software, right or wrong on purpose: two TAP devices, one in each namespace, joined by threads that do
//! what a card does: compute the checksums that the kernel left to it and cut super-packets into segments.

#![allow(dead_code, reason = "each test file uses its part")]

mod headers;

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use netbench::{
    kernel::Netns,
    packet::{
        Frame, Layers, VnetHeader,
        checksum::{complete, fold, pseudo, sum},
        frame::{DATA_VALID, NEEDS_CSUM},
        parse,
    },
};
use rustix::event::{PollFd, PollFlags, poll};

/// What the card does wrong, on the way from client to server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    PartialLeak,
    WrongChecksum,
    WrongInner,
    WrongOuter,
    Duplicate,
    Missing,
    Reorder,
    WrongIpId,
    PushOnEach,
    Oversize,
    TagLost,
    TagChanged,
    /// One in three of them goes nowhere.
    TaggedDropped,
    ValidOnCorrupt,
    FlippedBit,
    DropOneInThousand,
    OverMerge,
    /// The same of datagrams.
    OverMergeDatagrams,
    FinOnFirst,
    CwrOnEach,
    OptionsLost,
    /// Identifications stay, whether it may be fragmented or not.
    FixedIpId,
    /// They stay where it must not be fragmented, and the device does not say that it does so.
    FixedIpIdUnsaid,
    VniChanged,
    OuterPort,
    OuterEcnLost,
    /// A mark of congestion around a packet in a tunnel is lost on its way.
    MarkLost,
    OuterIpId,
    InnerIpId,
    InnerLength,
    /// A UDP checksum that is zero goes out as zero, which says that there is none.
    ZeroSum,
    /// It sums from where the transport header would be without IP options.
    NoOptions,
    /// It takes padding for a part of the packet, and refuses what is wrong then.
    PaddingSummed,
    /// It cuts no more than so many datagrams of a bundle.
    ShortBundle,
    /// It does not cut bundles.
    UncutBundle,
    /// It fills the last datagram of a bundle up.
    FilledBundle,
    /// It takes its time for each frame, and what its ring has no room for meanwhile is dropped.
    Slow,
    /// Packets of more bytes than this go nowhere, and nobody is told.
    Vanish(u16),
    /// Wrong checksums in the segments of super-packets that a router passes on.
    ForwardedGso,
    /// Of VLAN tags: the bit of those that may be dropped first is lost, the priority is, the two of a frame are swapped,
    /// 802.1ad becomes 802.1Q.
    DeiLost,
    PriorityLost,
    TagsSwapped,
    ServiceTag,
}

/// `struct virtio_net_hdr_v1_hash_tunnel`
const HEADER: usize = 24;
/// `TUN_F_CSUM | TSO4 | TSO6 | TSO_ECN | USO4 | USO6`, and with them `UDP_TUNNEL_GSO | UDP_TUNNEL_GSO_CSUM`.
const OFFLOADS: u64 = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40;
const TUNNEL: u64 = 0x80 | 0x100;

/// Both ends and what joins them; dropped, the devices are gone.
pub struct ModelNic {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Does the kernel hand tunnels over uncut?
    pub tunnels: bool,
}

impl ModelNic {
    /// `eth0` in both namespaces; they are down still.
    pub fn new(client: &Netns, server: &Netns, fault: Fault) -> std::io::Result<Self> {
        Self::both_ways(client, server, (fault, Fault::None))
    }

    /// The same with what it does wrong on the way from client to server, and back.
    pub fn both_ways(client: &Netns, server: &Netns, (there, back): (Fault, Fault)) -> std::io::Result<Self> {
        let (near, tunnels) = tap(client)?;
        let (far, _) = tap(server)?;
        let stop = Arc::new(AtomicBool::new(false));
        let threads = [(near.try_clone()?, far.try_clone()?, there), (far, near, back)]
            .map(|(from, to, fault)| relay(from, to, fault, stop.clone()))
            .into();
        Ok(Self { stop, threads, tunnels })
    }
}

impl Drop for ModelNic {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

fn tap(ns: &Netns) -> std::io::Result<(File, bool)> {
    ns.within(|| {
        let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
        let mut request = [0_u8; 40];
        request[..4].copy_from_slice(b"eth0");
        // IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
        request[16..18].copy_from_slice(&(0x0002_u16 | 0x1000 | 0x4000).to_ne_bytes());
        let size = HEADER as i32;
        let control = |number: u64, argument: usize| {
            // SAFETY: the requests are those of if_tun.h; pointers are to `request` and `size`, which live on.
            let done = unsafe { libc::ioctl(file.as_raw_fd(), number as _, argument) };
            if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
        };
        control(0x4004_54ca, request.as_mut_ptr() as usize)?;
        control(0x4004_54d8, &raw const size as usize)?;
        let tunnels = control(0x4004_54d0, (OFFLOADS | TUNNEL) as usize).is_ok();
        if !tunnels {
            control(0x4004_54d0, OFFLOADS as usize)?;
        }
        rustix::io::ioctl_fionbio(&file, true)?;
        Ok((file, tunnels))
    })
    .map_err(std::io::Error::other)?
}

fn relay(mut from: File, to: File, fault: Fault, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut card = Card { fault, to, count: 0, tagged: 0, held: None };
        let mut buffer = vec![0; 80 << 10];
        while !stop.load(Relaxed) {
            match from.read(&mut buffer) {
                Ok(length) => card.transmit(&buffer[..length]),
                Err(_) => {
                    let mut wait = [PollFd::new(&from, PollFlags::IN)];
                    let short = rustix::time::Timespec {
                        tv_sec: 0,
                        tv_nsec: if card.held.is_some() { 2_000_000 } else { 20_000_000 },
                    };
                    if poll(&mut wait, Some(&short)).unwrap_or(0) == 0 {
                        card.flush();
                    }
                }
            }
        }
    })
}

struct Card {
    fault: Fault,
    to: File,
    count: u64,
    tagged: u64,
    held: Option<Vec<u8>>,
}

impl Card {
    /// A frame from the kernel, with the virtio header before it.
    fn transmit(&mut self, bytes: &[u8]) {
        let Some(vnet) = VnetHeader::read(bytes) else { return };
        let frame = bytes[HEADER..].to_vec();
        let length = frame.len() as u32;
        let frame = Frame { bytes: frame, length, vnet, ..Frame::default() };
        self.count += 1;
        if self.fault == Fault::DropOneInThousand && self.count.is_multiple_of(1000) {
            return;
        }
        if let Fault::Vanish(most) = self.fault
            && !vnet.is_super()
            && frame.bytes.len() > 14 + usize::from(most)
        {
            return;
        }
        if self.fault == Fault::Slow {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        if vnet.is_super() { self.cut(&frame) } else { self.whole(&frame) }
    }

    fn whole(&mut self, frame: &Frame) {
        let mut bytes = frame.bytes.clone();
        if frame.vnet.needs_checksum() && self.fault != Fault::PartialLeak {
            bytes = complete(frame).expect("the kernel's offsets are within the frame");
        }
        headers::odd_sum(self.fault, &mut bytes, frame.vnet);
        headers::mark(self.fault, &mut bytes);
        if self.fault == Fault::WrongChecksum && frame.vnet.needs_checksum() {
            let at = usize::from(frame.vnet.csum_start + frame.vnet.csum_offset);
            bytes[at] ^= 0x55;
        }
        self.put(bytes);
    }

    /// Cuts a super-packet as its virtio header says.
    fn cut(&mut self, frame: &Frame) {
        let layers = parse(&frame.bytes);
        let Some(transport) = layers.innermost().transport.clone() else { return };
        let size = usize::from(frame.vnet.gso_size) * if self.fault == Fault::Oversize { 3 } else { 1 };
        let (header, payload) = frame.bytes.split_at(transport.payload.start);
        let size = if self.fault == Fault::UncutBundle && !transport.is_tcp() { payload.len() } else { size };
        let parts: Vec<&[u8]> = payload.chunks(size).collect();
        let parts = if self.fault == Fault::ShortBundle && !transport.is_tcp() {
            &parts[..parts.len().min(32)]
        } else {
            &parts[..]
        };
        let last = parts.len() - 1;
        let mut segments = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let mut bytes = [header, part].concat();
            if self.fault == Fault::FilledBundle && !transport.is_tcp() {
                bytes.resize(header.len() + size, 0);
            }
            if transport.is_tcp() {
                let seq = transport.seq.wrapping_add((at * size) as u32);
                bytes[transport.start + 4..transport.start + 8].copy_from_slice(&seq.to_be_bytes());
                let flags = &mut bytes[transport.start + 13];
                *flags = headers::flags(self.fault, *flags, at, last);
            }
            self.finish(&mut bytes, &layers, at as u16, 0);
            segments.push(bytes);
        }
        match self.fault {
            Fault::Duplicate if last > 0 => segments.insert(1, segments[1].clone()),
            Fault::Missing if last > 1 => drop(segments.remove(1)),
            Fault::Reorder if last > 1 => segments.swap(1, 2),
            _ => {}
        }
        segments.into_iter().for_each(|segment| self.put(segment));
    }

    /// Lengths, identifications and checksums of all layers of a segment.
    fn finish(&self, bytes: &mut Vec<u8>, layers: &Layers, at: u16, depth: usize) {
        let end = bytes.len();
        headers::spoil(self.fault, bytes, layers, at);
        let whole = layers.network.as_ref().is_some_and(|network| bytes[network.start + 6] & 0x40 != 0);
        let step = headers::step(self.fault, at, depth, layers.inner.is_some(), whole);
        let short = if self.fault == Fault::InnerLength && depth > 0 { 2 } else { 0 };
        let (Some(network), Some(transport)) = (&layers.network, &layers.transport) else { return };
        let start = network.start;
        if network.from.is_ipv4() {
            bytes[start + 2..start + 4].copy_from_slice(&((end - start - short) as u16).to_be_bytes());
            let id = network.id.unwrap_or(0).wrapping_add(step);
            bytes[start + 4..start + 6].copy_from_slice(&id.to_be_bytes());
            bytes[start + 10..start + 12].copy_from_slice(&[0, 0]);
            let header = !fold(sum(&bytes[start..transport.start]));
            bytes[start + 10..start + 12].copy_from_slice(&header.to_be_bytes());
        } else {
            bytes[start + 4..start + 6].copy_from_slice(&((end - start - 40 - short) as u16).to_be_bytes());
        }
        if !transport.is_tcp() {
            let length = (end - transport.start) as u16;
            bytes[transport.start + 4..transport.start + 6].copy_from_slice(&length.to_be_bytes());
        }
        if let Some(inner) = &layers.inner {
            self.finish(bytes, inner, at, depth + 1);
        }
        let at = transport.checksum_at;
        let is_outer = layers.inner.is_some();
        if is_outer && transport.checksum == 0 {
            return;
        }
        let header = pseudo(network, transport.protocol, end - transport.start);
        if self.fault == Fault::PartialLeak && !is_outer {
            bytes[at..at + 2].copy_from_slice(&fold(header).to_be_bytes());
            return;
        }
        bytes[at..at + 2].copy_from_slice(&[0, 0]);
        let mut checksum = !fold(header + sum(&bytes[transport.start..]));
        if checksum == 0 && !transport.is_tcp() {
            checksum = 0xffff;
        }
        let spoiled = match self.fault {
            Fault::WrongInner => depth > 0,
            Fault::WrongOuter => is_outer,
            Fault::WrongChecksum => depth == 0 && !is_outer,
            // Whose time to live is not a sender's any more.
            Fault::ForwardedGso => network.from.is_ipv4() && bytes[start + 8] == 63,
            _ => false,
        };
        let checksum = if spoiled { checksum ^ 0x5500 } else { checksum };
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
    }

    /// The last faults, of frames that are cut already.
    fn put(&mut self, mut bytes: Vec<u8>) {
        let mut vnet = VnetHeader::default();
        let tagged = bytes[12..14] == [0x81, 0];
        self.tagged += u64::from(tagged);
        match self.fault {
            Fault::TaggedDropped if tagged && self.tagged.is_multiple_of(3) => return,
            Fault::PaddingSummed if headers::is_padded(&bytes) => return,
            Fault::TagLost if tagged => drop(bytes.drain(12..16)),
            Fault::TagChanged if tagged => bytes[15] ^= 1,
            Fault::DeiLost if has_tag(&bytes, 12) => bytes[14] &= !0x10,
            Fault::PriorityLost if has_tag(&bytes, 12) => bytes[14] &= 0x1f,
            Fault::ServiceTag if bytes[12..14] == [0x88, 0xa8] => bytes[12..14].copy_from_slice(&[0x81, 0]),
            Fault::TagsSwapped if has_tag(&bytes, 12) && has_tag(&bytes, 16) => bytes[12..20].rotate_left(4),
            // TAP listens to NEEDS_CSUM alone: either way the word is that the bytes are as they were sent.
            Fault::ValidOnCorrupt => vnet = valid(&bytes),
            Fault::FlippedBit => flip(&mut bytes),
            Fault::OverMerge | Fault::OverMergeDatagrams => return self.merge(bytes),
            _ => {}
        }
        self.write(vnet, &bytes);
    }

    /// Puts two small TCP segments of a connection together, or datagrams of a flow, whatever stands in their headers.
    fn merge(&mut self, bytes: Vec<u8>) {
        let Some(mut first) = self.held.take() else {
            self.held = Some(bytes);
            return;
        };
        let (one, two) = (parse(&first), parse(&bytes));
        let tcp = self.fault == Fault::OverMerge;
        let small = first.len() + bytes.len() < 1400;
        match (&one.transport, &two.transport) {
            (Some(a), Some(b))
                if small
                    && (a.is_tcp(), b.is_tcp()) == (tcp, tcp)
                    && (a.from, a.to) == (b.from, b.to)
                    && !a.payload.is_empty()
                    && !b.payload.is_empty() =>
            {
                first.truncate(a.payload.end);
                first.extend(&bytes[b.payload.clone()]);
                self.finish(&mut first, &one, 0, 0);
                self.write(VnetHeader::default(), &first);
            }
            _ => {
                self.write(VnetHeader::default(), &first);
                self.held = Some(bytes);
            }
        }
    }

    fn flush(&mut self) {
        if let Some(held) = self.held.take() {
            self.write(VnetHeader::default(), &held);
        }
    }

    fn write(&mut self, vnet: VnetHeader, bytes: &[u8]) {
        let mut whole = vec![0; HEADER];
        whole[..VnetHeader::LENGTH].copy_from_slice(&vnet.bytes());
        whole.extend(bytes);
        // A device that is down takes nothing: a cable that is not plugged in.
        let _ = self.to.write(&whole);
    }
}

/// Is there a VLAN tag at this place?
fn has_tag(bytes: &[u8], at: usize) -> bool {
    bytes.get(at..at + 2).is_some_and(|kind| kind == [0x81, 0] || kind == [0x88, 0xa8])
}

/// The word that a frame's checksum need not be looked at.
fn valid(bytes: &[u8]) -> VnetHeader {
    let Some(transport) = parse(bytes).transport else { return VnetHeader::default() };
    VnetHeader {
        flags: DATA_VALID | NEEDS_CSUM,
        csum_start: transport.start as u16,
        csum_offset: (transport.checksum_at - transport.start) as u16,
        ..VnetHeader::default()
    }
}

/// Flips a bit of the payload and mends the checksum: nobody but the reader of the payload can tell.
fn flip(bytes: &mut [u8]) {
    let layers = parse(bytes);
    let (Some(network), Some(transport)) = (&layers.network, &layers.transport) else { return };
    if transport.payload.len() < 100 {
        return;
    }
    bytes[transport.payload.start + 50] ^= 0x10;
    let at = transport.checksum_at;
    bytes[at..at + 2].copy_from_slice(&[0, 0]);
    let checksum = !fold(
        pseudo(network, transport.protocol, network.end - transport.start) + sum(&bytes[transport.start..network.end]),
    );
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}
