//! Payload that can be checked: pseudo-random blocks from a seed, each with a CRC32C at its end.
//!
//! A block is a pure function of seed, stream and number, so that the receiver knows every byte that must come and keeps
//! none. Its CRC begins with its number: a block that comes twice, or in the place of another, is corrupt too. The CRC is
//! what is looked at; only when it does not fit is the block made again and compared.

use std::time::Instant;

use crc32c::{crc32c, crc32c_append};

use crate::measured::{Corruption, Verified};

/// Bytes of the CRC at the end of a block.
pub const CRC: usize = 4;
/// Bytes that are shown of a corrupt block.
const SHOWN: usize = 16;
/// What a receiver reads at a time, at least, when blocks are short.
const READ: usize = 128 << 10;
/// Bytes by which the cost is measured.
const TRIAL: usize = 1 << 20;

/// What the words of a block are made from.
fn key(seed: u64, stream: u32, number: u64) -> u64 {
    mix(mix(seed ^ u64::from(stream).rotate_left(40)) ^ number)
}

/// The finalizer of splitmix64: every bit of the argument is in every bit of the result.
#[inline]
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Words of a block, without its CRC.
#[inline]
fn fill(key: u64, out: &mut [u8]) {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut at = key;
    let (words, rest) = out.as_chunks_mut::<8>();
    for word in words {
        at = at.wrapping_add(STEP);
        *word = mix(at).to_le_bytes();
    }
    let last = mix(at.wrapping_add(STEP)).to_le_bytes();
    rest.copy_from_slice(&last[..rest.len()]);
}

/// Makes a block of a byte stream.
fn make(seed: u64, stream: u32, number: u64, block: &mut [u8]) {
    let body = block.len() - CRC;
    fill(key(seed, stream, number), &mut block[..body]);
    let crc = crc32c_append(number as u32, &block[..body]);
    block[body..].copy_from_slice(&crc.to_le_bytes());
}

/// Nanoseconds a byte of what is done to a block again and again.
fn cost(length: usize, mut once: impl FnMut()) -> f64 {
    once();
    let (times, began) = (TRIAL.div_ceil(length), Instant::now());
    (0..times).for_each(|_| once());
    began.elapsed().as_nanos() as f64 / (times * length) as f64
}

/// The sender's blocks, one after the other.
pub struct Maker {
    seed: u64,
    stream: u32,
    block: Vec<u8>,
    number: u64,
    done: usize,
    ns_per_byte: f64,
}

impl Maker {
    /// With the first block made.
    pub fn new(seed: u64, stream: u32, length: usize) -> Self {
        let mut block = vec![0; length];
        let ns_per_byte = cost(length, || make(seed, stream, 0, std::hint::black_box(&mut block)));
        Self { seed, stream, block, number: 0, done: 0, ns_per_byte }
    }

    /// Bytes of a block.
    pub fn length(&self) -> usize {
        self.block.len()
    }

    /// What is left of the block.
    #[inline]
    pub fn rest(&self) -> &[u8] {
        &self.block[self.done..]
    }

    /// So much of it went; after the last byte the next block is made.
    #[inline]
    pub fn sent(&mut self, bytes: usize) {
        self.done += bytes;
        if self.done >= self.block.len() {
            self.done = 0;
            self.number += 1;
            make(self.seed, self.stream, self.number, &mut self.block);
        }
    }

    /// What was made and sent, in whole or in part.
    pub fn account(&self) -> Verified {
        let blocks = self.number + u64::from(self.done > 0);
        let bytes = self.number * self.block.len() as u64 + self.done as u64;
        Verified { blocks, bytes, ns_per_byte: self.ns_per_byte, ..Verified::default() }
    }
}

/// The receiver's check of a byte stream.
pub struct Checker {
    seed: u64,
    stream: u32,
    length: usize,
    /// Some blocks of room.
    buffer: Vec<u8>,
    filled: usize,
    account: Verified,
}

impl Checker {
    /// Before the first byte.
    pub fn new(seed: u64, stream: u32, length: usize) -> Self {
        let mut buffer = vec![0; length * (READ / length).max(1)];
        make(seed, stream, 0, &mut buffer[..length]);
        let ns_per_byte = cost(length, || _ = std::hint::black_box(is_whole(0, &buffer[..length])));
        let account = Verified { ns_per_byte, ..Verified::default() };
        Self { seed, stream, length, buffer, filled: 0, account }
    }

    /// Where the next bytes go.
    #[inline]
    pub fn room(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..]
    }

    /// So many bytes came: every block that is whole now is checked.
    #[inline]
    pub fn took(&mut self, bytes: usize) {
        let unchecked = self.filled - self.filled % self.length;
        self.filled += bytes;
        let whole = self.filled - self.filled % self.length;
        for from in (unchecked..whole).step_by(self.length) {
            self.check(from, self.length);
        }
        if self.filled == self.buffer.len() {
            self.filled = 0;
        }
    }

    fn check(&mut self, from: usize, length: usize) {
        let found = &self.buffer[from..from + length];
        let (number, start) = (self.account.blocks, self.account.bytes);
        self.account.blocks += 1;
        self.account.bytes += length as u64;
        // The last block may have been cut off by the end of the window: without its CRC it is compared.
        if length == self.length && is_whole(number, found) {
            return;
        }
        let mut expected = vec![0; self.length];
        make(self.seed, self.stream, number, &mut expected);
        if let Some(corruption) = difference(number, start, &expected[..length], found) {
            self.account.corrupt += 1;
            self.account.first.get_or_insert(corruption);
        }
    }

    /// Checks the last and incomplete block; the account.
    pub fn close(mut self) -> Verified {
        let begun = self.filled % self.length;
        if begun > 0 {
            self.check(self.filled - begun, begun);
        }
        self.account
    }
}

/// Does the CRC fit?
#[inline]
fn is_whole(number: u64, block: &[u8]) -> bool {
    let (body, crc) = block.split_at(block.len() - CRC);
    crc32c_append(number as u32, body).to_le_bytes() == crc
}

/// Where `found`, which begins at byte `start`, is not as it should be; none when it is.
fn difference(number: u64, start: u64, expected: &[u8], found: &[u8]) -> Option<Corruption> {
    let at = expected.iter().zip(found).position(|(a, b)| a != b)?;
    let differing = expected.iter().zip(found).filter(|(a, b)| a != b).count() as u64;
    let from = (at - at % SHOWN).min(expected.len().saturating_sub(SHOWN));
    let shown = |bytes: &[u8]| {
        let words: Vec<String> =
            bytes[from..(from + SHOWN).min(bytes.len())].iter().map(|byte| format!("{byte:02x}")).collect();
        words.join(" ")
    };
    Some(Corruption {
        block: number,
        offset: start + at as u64,
        differing,
        shown_from: start + from as u64,
        expected: shown(expected),
        found: shown(found),
    })
}

/// Fills a datagram behind its header and puts the CRC of all of it at its end.
#[inline]
pub fn seal(seed: u64, stream: u32, number: u64, header: usize, datagram: &mut [u8]) {
    let body = datagram.len() - CRC;
    fill(key(seed, stream, number), &mut datagram[header..body]);
    let crc = crc32c(&datagram[..body]).to_le_bytes();
    datagram[body..].copy_from_slice(&crc);
}

/// The receiver's check of datagrams.
pub struct DatagramChecker {
    seed: u64,
    stream: u32,
    header: usize,
    account: Verified,
}

impl DatagramChecker {
    /// Of datagrams that begin with their number, little-endian, and have `length` bytes.
    pub fn new(seed: u64, stream: u32, header: usize, length: usize) -> Self {
        let mut datagram = vec![0; length];
        seal(seed, stream, 0, header, &mut datagram);
        let ns_per_byte = cost(length, || _ = std::hint::black_box(is_sealed(std::hint::black_box(&datagram))));
        Self { seed, stream, header, account: Verified { ns_per_byte, ..Verified::default() } }
    }

    /// Is it as it was sent?
    #[inline]
    pub fn check(&mut self, datagram: &[u8]) -> bool {
        self.account.blocks += 1;
        self.account.bytes += datagram.len() as u64;
        let is_fine = is_sealed(datagram);
        if !is_fine {
            self.account.corrupt += 1;
            if self.account.first.is_none() {
                self.account.first = self.look(datagram);
            }
        }
        is_fine
    }

    /// What is wrong with a datagram. Its header is known to nobody but the sender: a single wrong bit there is found by
    /// trying which one makes the CRC fit.
    fn look(&self, found: &[u8]) -> Option<Corruption> {
        let number_of = |bytes: &[u8]| bytes.first_chunk().map(|number| u64::from_le_bytes(*number));
        let body = found.len().checked_sub(CRC).filter(|&body| body >= self.header)?;
        for bit in 0..self.header * 8 {
            let mut expected = found.to_vec();
            expected[bit / 8] ^= 1 << (bit % 8);
            if is_sealed(&expected) {
                return difference(number_of(&expected)?, 0, &expected, found);
            }
        }
        let number = number_of(found)?;
        let mut expected = found.to_vec();
        fill(key(self.seed, self.stream, number), &mut expected[self.header..body]);
        let crc = crc32c(&expected[..body]).to_le_bytes();
        expected[body..].copy_from_slice(&crc);
        difference(number, 0, &expected, found)
    }

    /// The account.
    pub fn close(self) -> Verified {
        self.account
    }
}

#[inline]
fn is_sealed(datagram: &[u8]) -> bool {
    let Some(body) = datagram.len().checked_sub(CRC) else { return false };
    crc32c(&datagram[..body]).to_le_bytes() == datagram[body..]
}

/// What sealing costs, nanoseconds a byte.
pub fn sealing_cost(seed: u64, header: usize, length: usize) -> f64 {
    let mut datagram = vec![0; length];
    cost(length, || seal(seed, 0, 0, header, std::hint::black_box(&mut datagram)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A stream of so many bytes, read in pieces, with one bit flipped or none.
    fn check(length: usize, bytes: usize, flip: Option<(usize, u8)>, pieces: &[usize]) -> Verified {
        let mut maker = Maker::new(7, 3, length);
        let mut stream = Vec::new();
        while stream.len() < bytes {
            let take = maker.rest().len().min(bytes - stream.len());
            stream.extend(&maker.rest()[..take]);
            maker.sent(take);
        }
        assert_eq!(maker.account().bytes, bytes as u64);
        if let Some((at, bit)) = flip {
            stream[at] ^= 1 << bit;
        }
        let mut checker = Checker::new(7, 3, length);
        let (mut from, mut pieces) = (0, pieces.iter().cycle());
        while from < bytes {
            let room = checker.room();
            let take = room.len().min(*pieces.next().unwrap()).min(bytes - from);
            room[..take].copy_from_slice(&stream[from..from + take]);
            checker.took(take);
            from += take;
        }
        checker.close()
    }

    proptest! {
        #[test]
        fn one_wrong_bit_is_found_where_it_is(
            length in 32usize..3000,
            bytes in 1usize..40_000,
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
            pieces in prop::collection::vec(1usize..70_000, 1..6),
        ) {
            let whole = check(length, bytes, None, &pieces);
            prop_assert_eq!((whole.bytes, whole.corrupt, whole.first), (bytes as u64, 0, None));
            let at = at.index(bytes);
            let broken = check(length, bytes, Some((at, bit)), &pieces);
            let first = broken.first.unwrap();
            prop_assert_eq!((broken.corrupt, first.offset, first.differing), (1, at as u64, 1));
            prop_assert_eq!(first.block, (at / length) as u64);
            prop_assert!(first.expected != first.found && first.shown_from <= first.offset);
        }

        #[test]
        fn a_datagrams_wrong_bit_is_found_in_header_body_and_sum(length in 32usize..2000, at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut datagram = vec![0; length];
            datagram[..8].copy_from_slice(&42u64.to_le_bytes());
            datagram[8..16].copy_from_slice(&777u64.to_le_bytes());
            seal(7, 3, 42, 16, &mut datagram);
            let mut checker = DatagramChecker::new(7, 3, 16, length);
            prop_assert!(checker.check(&datagram));
            let at = at.index(length);
            datagram[at] ^= 1 << bit;
            prop_assert!(!checker.check(&datagram));
            let first = checker.close().first.unwrap();
            prop_assert_eq!((first.block, first.offset, first.differing), (42, at as u64, 1));
        }
    }

    #[test]
    fn a_block_in_the_place_of_another_is_corrupt() {
        let mut block = vec![0; 64];
        make(7, 3, 5, &mut block);
        assert!(is_whole(5, &block) && !is_whole(6, &block));
    }
}
