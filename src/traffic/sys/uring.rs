//! Sends and receives of a connection by io_uring: several blocks a call, and one receive that stays in force.

use std::{
    io,
    mem::ManuallyDrop,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::{self, NonNull},
    sync::atomic::{AtomicU16, Ordering::Release},
};

use io_uring::{IoUring, cqueue, opcode, squeue, types};

/// Blocks that go to the kernel with one call.
const CHAIN: usize = 8;
/// How long a chain may wait for a slow receiver before its rest is taken back.
const PATIENCE_NS: u32 = 100_000_000;
/// Buffers of a receiver, a power of two, and their size.
const BUFFERS: u16 = 8;
const BUFFER: usize = 128 << 10;
/// Number of the group of buffers.
const GROUP: u16 = 0;
/// What completions are known by.
const TRANSFER: u64 = 1;
const CANCEL: u64 = 2;

/// A ring that only this thread uses. Kernels before 6.1 do not know how to make use of that.
fn ring() -> io::Result<IoUring> {
    let entries = 2 * CHAIN as u32;
    match IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(entries) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => IoUring::new(entries),
        made => made,
    }
}

/// Queues a request whose memory lives until its completion has been seen.
fn queue(ring: &mut IoUring, entry: &squeue::Entry) -> io::Result<()> {
    // SAFETY: the callers keep the memory and the socket of each request until it has completed: `SendRing` and `ReceiveRing` wait for
    // that, or give their memory up for good.
    unsafe { ring.submission().push(entry) }.map_err(|_| io::Error::other("the submission queue of io_uring is full"))
}

/// Takes back what waits, and waits until it is gone; `take` sees each completion of a transfer.
fn cancel(ring: &mut IoUring, take: &mut dyn FnMut(&cqueue::Entry) -> bool) -> io::Result<()> {
    queue(ring, &opcode::AsyncCancel::new(TRANSFER).build().user_data(CANCEL))?;
    loop {
        match ring.submit_and_wait(1) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let mut over = false;
        for done in ring.completion() {
            over |= done.user_data() == TRANSFER && take(&done);
        }
        if over {
            return Ok(());
        }
    }
}

/// Sends a block again and again, several at a call.
pub struct SendRing {
    ring: IoUring,
    /// Given up, and not freed, when requests could not be waited for.
    block: ManuallyDrop<Vec<u8>>,
    under_way: usize,
}

impl SendRing {
    /// A ring for this block.
    ///
    /// # Errors
    /// The kernel has no io_uring, or does not let this process use it.
    pub fn new(block: Vec<u8>) -> io::Result<Self> {
        Ok(Self { ring: ring()?, block: ManuallyDrop::new(block), under_way: 0 })
    }

    /// Sends a chain of blocks, at most so many bytes, each when the one before is gone; returns when all of them are, or after a tenth
    /// of a second with those that were. Nothing is under way afterwards.
    ///
    /// # Errors
    /// Those of `send`, when nothing was sent.
    pub fn send(&mut self, fd: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
        let Self { ring, block, under_way } = self;
        let mut left = most;
        while left > 0 && *under_way < CHAIN {
            let here = left.min(block.len());
            left -= here;
            let send = opcode::Send::new(types::Fd(fd.as_raw_fd()), block.as_ptr(), here as u32);
            let mut entry = send.flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL).build().user_data(TRANSFER);
            if left > 0 && *under_way + 1 < CHAIN {
                entry = entry.flags(squeue::Flags::IO_LINK);
            }
            queue(ring, &entry)?;
            *under_way += 1;
        }
        let patience = types::Timespec::new().nsec(PATIENCE_NS);
        match ring.submitter().submit_with_args(*under_way, &types::SubmitArgs::new().timespec(&patience)) {
            Ok(_) => {}
            Err(error) if matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
        let (mut sent, mut failed) = (0, None);
        let mut take = |done: &cqueue::Entry| {
            *under_way -= 1;
            match done.result() {
                bytes @ 0.. => sent += bytes as usize,
                error if error == -libc::ECANCELED || error == -libc::EINTR || error == -libc::EAGAIN => {}
                error => failed = Some(io::Error::from_raw_os_error(-error)),
            }
            *under_way == 0
        };
        let mut over = false;
        for done in ring.completion() {
            over |= done.user_data() == TRANSFER && take(&done);
        }
        if !over {
            cancel(ring, &mut take)?;
        }
        match failed {
            Some(error) if sent == 0 => Err(error),
            _ if sent == 0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(sent),
        }
    }
}

impl Drop for SendRing {
    fn drop(&mut self) {
        if self.under_way == 0 {
            // SAFETY: dropped once, here; no request refers to it any more.
            unsafe { ManuallyDrop::drop(&mut self.block) };
        }
    }
}

/// The buffers of a receiver and the ring by which the kernel is given them.
struct Buffers {
    memory: Vec<u8>,
    /// A page with the entries.
    entries: NonNull<types::BufRingEntry>,
    tail: u16,
}

const PAGE: usize = 4096;

impl Buffers {
    fn new() -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: new anonymous memory at an address of the kernel's choice.
        let map =
            unsafe { libc::mmap(ptr::null_mut(), PAGE, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
        let map = if ptr::eq(map, libc::MAP_FAILED) { None } else { NonNull::new(map.cast::<types::BufRingEntry>()) };
        let entries = map.ok_or_else(io::Error::last_os_error)?;
        let mut buffers = Self { memory: vec![0; usize::from(BUFFERS) * BUFFER], entries, tail: 0 };
        (0..BUFFERS).for_each(|number| buffers.give(number));
        Ok(buffers)
    }

    /// Gives a buffer to the kernel, for the first time or again.
    fn give(&mut self, number: u16) {
        let place = usize::from(self.tail % BUFFERS);
        // SAFETY: the place is within the page, which is zeroed memory of entries; the kernel reads an entry only below the tail.
        unsafe {
            let entry = &mut *self.entries.as_ptr().add(place);
            entry.set_addr(self.memory.as_mut_ptr().add(usize::from(number) * BUFFER) as u64);
            entry.set_len(BUFFER as u32);
            entry.set_bid(number);
        }
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the tail is a field of the first entry, which is initialized, aligned, and written by nobody else.
        unsafe {
            let tail = types::BufRingEntry::tail(self.entries.as_ptr()).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Release);
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: the mapping is as it was made, and no reference to it is left.
        unsafe { libc::munmap(self.entries.as_ptr().cast(), PAGE) };
    }
}

/// Receives by one request that stays in force and takes buffer after buffer.
pub struct ReceiveRing {
    ring: ManuallyDrop<IoUring>,
    /// Given up, and not freed, when the request could not be ended.
    buffers: ManuallyDrop<Buffers>,
    in_force: bool,
    closed: bool,
}

// SAFETY: the buffers are this value's alone.
unsafe impl Send for ReceiveRing {}

impl ReceiveRing {
    /// A ring with its buffers.
    ///
    /// # Errors
    /// The kernel has no io_uring, does not let this process use it, or has no rings of buffers (before 5.19).
    pub fn new() -> io::Result<Self> {
        let (ring, buffers) = (ring()?, Buffers::new()?);
        // SAFETY: the page has room for the entries, and lives until the ring is gone (see Drop).
        unsafe {
            let address = buffers.entries.as_ptr() as u64;
            ring.submitter().register_buf_ring_with_flags(address, BUFFERS, GROUP, 0)?;
        }
        Ok(Self { ring: ManuallyDrop::new(ring), buffers: ManuallyDrop::new(buffers), in_force: false, closed: false })
    }

    /// Waits for payload and takes all that has come; 0 at the end of the connection.
    ///
    /// # Errors
    /// Those of `recv`, when nothing came.
    pub fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        if self.closed {
            return Ok(0);
        }
        if !self.in_force {
            let receive = opcode::RecvMulti::new(types::Fd(fd.as_raw_fd()), GROUP).build().user_data(TRANSFER);
            queue(&mut self.ring, &receive)?;
            self.in_force = true;
        }
        self.ring.submit_and_wait(1)?;
        let (mut received, mut failed) = (0, None);
        for done in self.ring.completion() {
            self.in_force = cqueue::more(done.flags());
            if let Some(number) = cqueue::buffer_select(done.flags()) {
                self.buffers.give(number);
            }
            match done.result() {
                0 => self.closed = true,
                bytes @ 1.. => received += bytes as usize,
                // All buffers are full: they have been given back, and the next turn asks again.
                error if error == -libc::ENOBUFS => {}
                error => failed = Some(io::Error::from_raw_os_error(-error)),
            }
        }
        match failed {
            Some(error) if received == 0 => Err(error),
            _ if received == 0 && !self.closed => Err(io::ErrorKind::Interrupted.into()),
            _ => Ok(received),
        }
    }
}

impl Drop for ReceiveRing {
    fn drop(&mut self) {
        let ended = !self.in_force || cancel(&mut self.ring, &mut |done| !cqueue::more(done.flags())).is_ok();
        // SAFETY: dropped once, here, the ring before the memory that it refers to; when a request may still be in force the memory
        // is not freed.
        unsafe {
            ManuallyDrop::drop(&mut self.ring);
            if ended {
                ManuallyDrop::drop(&mut self.buffers);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Shutdown, TcpListener, TcpStream},
        os::fd::AsFd,
        time::{Duration, Instant},
    };

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (sender, listener.accept().unwrap().0)
    }

    #[test]
    fn every_byte_of_a_chain_arrives_and_no_more() {
        let (sender, receiver) = pair();
        let mut sending = match SendRing::new(vec![5; 10_000]) {
            Ok(ring) => ring,
            Err(error) => panic!("io_uring: {error}"),
        };
        let thread = std::thread::spawn(move || {
            let (mut ring, mut all) = (ReceiveRing::new().unwrap(), 0);
            loop {
                match ring.receive(receiver.as_fd()) {
                    Ok(0) => return all,
                    Ok(bytes) => all += bytes,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted),
                }
            }
        });
        let mut left = 7_777_777;
        while left > 0 {
            left -= sending.send(sender.as_fd(), left).unwrap();
        }
        sender.shutdown(Shutdown::Write).unwrap();
        assert_eq!(thread.join().unwrap(), 7_777_777);
    }

    #[test]
    fn what_a_slow_receiver_does_not_take_is_taken_back_and_counted() {
        let (sender, receiver) = pair();
        let mut sending = SendRing::new(vec![5; 1 << 20]).unwrap();
        let began = Instant::now();
        let mut sent = 0;
        // Nobody reads: sooner or later nothing goes any more, and each call comes back all the same.
        while let Ok(bytes) = sending.send(sender.as_fd(), usize::MAX) {
            sent += bytes;
            assert!(began.elapsed() < Duration::from_secs(20));
        }
        drop(sending);
        sender.shutdown(Shutdown::Write).unwrap();
        let (mut ring, mut all) = (ReceiveRing::new().unwrap(), 0);
        while all < sent {
            all += ring.receive(receiver.as_fd()).unwrap_or(0);
        }
        assert_eq!(all, sent);
    }

    #[test]
    fn a_receiver_that_is_dropped_while_it_waits_takes_its_request_back() {
        let (sender, receiver) = pair();
        let mut ring = ReceiveRing::new().unwrap();
        std::io::Write::write_all(&mut &sender, &[1; 10]).unwrap();
        while ring.receive(receiver.as_fd()).unwrap_or(0) == 0 {}
        assert!(ring.in_force);
        drop(ring);
        std::io::Write::write_all(&mut &sender, &[2; 10]).unwrap();
        let mut bytes = [0; 10];
        std::io::Read::read_exact(&mut &receiver, &mut bytes).unwrap();
        assert_eq!(bytes, [2; 10]);
    }
}
