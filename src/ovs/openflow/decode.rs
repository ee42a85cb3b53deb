//! Flow statistics (`ofp_flow_stats`) back to flows.

use super::{Dumped, Flow, Match, NORMAL, Output};
use crate::facts::LinkCounters;

/// `OFPIT_APPLY_ACTIONS`, `OFPIT_WRITE_ACTIONS`
const ACTIONS: [u16; 2] = [4, 3];
/// `OFPAT_OUTPUT`
const OUTPUT: u16 = 0;
/// `ofp_flow_stats` up to its match.
const HEAD: usize = 48;
/// `ofp_port_stats` of version 1.3.
const PORT: usize = 112;

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// The flows of one reply; `None` when a length in it is wrong.
pub(super) fn flows(mut bytes: &[u8]) -> Option<Vec<Dumped>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let length = usize::from(u16_at(bytes, 0)?);
        if length < HEAD + 8 {
            return None;
        }
        let one = bytes.get(..length)?;
        let (priority, table) = (u16_at(one, 12)?, one[2]);
        let match_length = usize::from(u16_at(one, HEAD + 2)?);
        let fields = one.get(HEAD + 4..HEAD + match_length)?;
        let instructions = one.get(HEAD + match_length.next_multiple_of(8)..)?;
        let flow = matches(fields).zip(output(instructions)).filter(|_| table == 0);
        let flow = flow.map(|(matches, output)| Flow { priority, matches, output });
        found.push(Dumped { flow, packets: u64_at(one, 32)? });
        bytes = &bytes[length..];
    }
    Some(found)
}

/// `ofp_port_stats`: a number, and counters of 64 bits each.
pub(super) fn ports(bytes: &[u8]) -> Option<Vec<(u32, LinkCounters)>> {
    if !bytes.len().is_multiple_of(PORT) {
        return None;
    }
    let one = |one: &[u8]| {
        let count = |index: usize| u64_at(one, 8 + 8 * index);
        let counters = LinkCounters {
            rx_packets: count(0)?,
            tx_packets: count(1)?,
            rx_bytes: count(2)?,
            tx_bytes: count(3)?,
            rx_dropped: known(count(4)?),
            tx_dropped: known(count(5)?),
            rx_errors: known(count(6)?),
            tx_errors: known(count(7)?),
            ..LinkCounters::default()
        };
        Some((u32_at(one, 0)?, counters))
    };
    bytes.chunks(PORT).map(one).collect()
}

/// A counter that the port does not have is all ones.
fn known(count: u64) -> u64 {
    if count == u64::MAX { 0 } else { count }
}

/// OXM fields without masks, of those that a [`Match`] has.
fn matches(mut fields: &[u8]) -> Option<Match> {
    let mut found = Match::default();
    while !fields.is_empty() {
        let (class, field, length) = (u16_at(fields, 0)?, *fields.get(2)?, usize::from(*fields.get(3)?));
        let value = fields.get(4..4 + length)?;
        match (class, field >> 1, field & 1) {
            (0x8000, 0, 0) => found.in_port = Some(u32_at(value, 0)?),
            (0x8000, 3, 0) => found.eth_dst = Some(value.try_into().ok()?),
            (0x8000, 5, 0) => found.eth_type = Some(u16_at(value, 0)?),
            _ => return None,
        }
        fields = &fields[4 + length..];
    }
    Some(found)
}

/// The one output of the instructions; none at all drops.
fn output(instructions: &[u8]) -> Option<Output> {
    if instructions.is_empty() {
        return Some(Output::Drop);
    }
    let (kind, length) = (u16_at(instructions, 0)?, usize::from(u16_at(instructions, 2)?));
    if !ACTIONS.contains(&kind) || length != instructions.len() {
        return None;
    }
    let actions = instructions.get(8..)?;
    if actions.is_empty() {
        return Some(Output::Drop);
    }
    let only = u16_at(actions, 0)? == OUTPUT && usize::from(u16_at(actions, 2)?) == actions.len();
    match u32_at(actions, 4)? {
        _ if !only => None,
        NORMAL => Some(Output::Normal),
        port => Some(Output::Port(port)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (flows(&bytes), ports(&bytes));
        }

        #[test]
        fn no_body_of_a_right_length_panics(mut bytes in prop::collection::vec(any::<u8>(), 56..200), inner in 0..80_u8) {
            let length = bytes.len() as u16;
            bytes[..2].copy_from_slice(&length.to_be_bytes());
            bytes[50..52].copy_from_slice(&[0, inner]);
            let _ = flows(&bytes);
        }
    }
}
