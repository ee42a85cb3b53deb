//! As much OpenFlow 1.3 as static flows need, over a bridge's management socket: hello, flow_mod, barrier, errors.
//!
//! Numbers and layouts are those of the OpenFlow Switch Specification 1.3.5. Flows of ours carry our cookie.

mod decode;

use std::{path::Path, time::Duration};

use super::{
    Error, Result,
    wire::{Deadline, Wire},
};
use crate::facts::LinkCounters;

/// `OFP13_VERSION`
const VERSION: u8 = 4;
const HELLO: u8 = 0;
const ERROR: u8 = 1;
const ECHO_REQUEST: u8 = 2;
const ECHO_REPLY: u8 = 3;
const FLOW_MOD: u8 = 14;
const BARRIER_REQUEST: u8 = 20;
const BARRIER_REPLY: u8 = 21;
const MULTIPART_REQUEST: u8 = 18;
const MULTIPART_REPLY: u8 = 19;
/// `OFPMP_FLOW`
const FLOW_STATS: u16 = 1;
/// `OFPMP_PORT_STATS`
const PORT_STATS: u16 = 4;
/// `OFPMPF_REPLY_MORE`
const MORE: u16 = 1;
/// `OFPP_NORMAL`
const NORMAL: u32 = 0xffff_fffa;
/// `OFP_NO_BUFFER`, `OFPP_ANY`, `OFPG_ANY`
const NONE: u32 = 0xffff_ffff;
/// `OFPTT_ALL`
const ALL_TABLES: u8 = 0xff;

/// The cookie of our flows: "nb" and 32 bits of the topology.
pub const COOKIE: u64 = 0x6e62_0000_0000_0000;
/// Which bits of a cookie say that a flow is a topology's.
pub const COOKIE_MASK: u64 = 0xffff_0000_ffff_ffff;

/// The cookie of a topology's flows.
pub fn cookie(topology: &str) -> u64 {
    COOKIE | (crate::units::stable_hash(&[topology]) & 0xffff_ffff)
}

/// Where a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// A port by number.
    Port(u32),
    /// As a learning switch would (`OFPP_NORMAL`).
    Normal,
    /// Nowhere.
    Drop,
}

/// A flow as the switch holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dumped {
    /// The flow; `None` when it has a match or an action that none of ours has.
    pub flow: Option<Flow>,
    /// Packets that met it.
    pub packets: u64,
}

/// What a flow matches; everything where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Match {
    /// Port it comes in by.
    pub in_port: Option<u32>,
    /// Ethernet destination.
    pub eth_dst: Option<[u8; 6]>,
    /// Ethernet type.
    pub eth_type: Option<u16>,
}

/// A static flow of table 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Higher ones are looked at first.
    pub priority: u16,
    /// What it matches.
    pub matches: Match,
    /// What is done.
    pub output: Output,
}

/// A connection to a bridge.
#[derive(Debug)]
pub struct Connection {
    wire: Wire,
    bridge: String,
    buffer: Vec<u8>,
    next_id: u32,
    deadline: Deadline,
}

impl Connection {
    /// Connects and agrees on version 1.3; all that follows must be done within `patience`.
    pub fn open(socket: &Path, bridge: &str, patience: Duration) -> Result<Self> {
        let wire = Wire::connect("the bridge's management socket", socket)?;
        let deadline = Deadline::after(patience);
        let mut connection = Self { wire, bridge: bridge.to_owned(), buffer: Vec::new(), next_id: 1, deadline };
        connection.send(HELLO, &[])?;
        loop {
            let (kind, _, body) = connection.receive()?;
            match kind {
                // The lower of both versions is spoken (section 6.3.1); ours is the oldest that any switch still has.
                HELLO => return Ok(connection),
                ERROR => return Err(connection.refused(&body)),
                _ => {}
            }
        }
    }

    /// Adds flows with this cookie.
    pub fn add(&mut self, cookie: u64, flows: &[Flow]) -> Result<()> {
        for flow in flows {
            self.send(FLOW_MOD, &flow_mod(cookie, flow))?;
        }
        self.barrier()
    }

    /// Deletes all flows of this cookie, of every table.
    pub fn delete(&mut self, cookie: u64) -> Result<()> {
        self.send(FLOW_MOD, &flow_delete(cookie, COOKIE_MASK))?;
        self.barrier()
    }

    /// The flows of this cookie, in table 0 and every other; what cannot be said as a [`Flow`] counts as changed by somebody.
    pub fn dump(&mut self, cookie: u64) -> Result<Vec<Dumped>> {
        let mut body = vec![ALL_TABLES, 0, 0, 0];
        body.extend(NONE.to_be_bytes());
        body.extend(NONE.to_be_bytes());
        body.extend([0; 4]);
        body.extend(cookie.to_be_bytes());
        body.extend(COOKIE_MASK.to_be_bytes());
        body.extend(encode_match(&Match::default()));
        self.ask(FLOW_STATS, &body, decode::flows)
    }

    /// What each port counted, by number.
    pub fn ports(&mut self) -> Result<Vec<(u32, LinkCounters)>> {
        let mut body = Vec::from(NONE.to_be_bytes());
        body.extend([0; 4]);
        self.ask(PORT_STATS, &body, decode::ports)
    }

    /// A multipart request and all parts of its answer.
    fn ask<T>(&mut self, what: u16, body: &[u8], decode: fn(&[u8]) -> Option<Vec<T>>) -> Result<Vec<T>> {
        let mut request = Vec::from(what.to_be_bytes());
        request.extend([0; 6]);
        request.extend_from_slice(body);
        let id = self.send(MULTIPART_REQUEST, &request)?;
        let mut found = Vec::new();
        loop {
            let (kind, answers, body) = self.receive()?;
            match kind {
                MULTIPART_REPLY if answers == id => {
                    let flags = decode::u16_at(&body, 2);
                    let parsed = decode(body.get(8..).unwrap_or_default());
                    found.extend(parsed.ok_or_else(|| {
                        let (path, why) = (self.wire.path().to_owned(), "statistics of a wrong length".into());
                        Error::Malformed { path, during: "OpenFlow".into(), why }
                    })?);
                    if flags.is_none_or(|flags| flags & MORE == 0) {
                        return Ok(found);
                    }
                }
                ERROR => return Err(self.refused(&body)),
                ECHO_REQUEST => self.reply(ECHO_REPLY, answers, &body)?,
                _ => {}
            }
        }
    }

    /// Waits until the switch has done everything before; the first error of it is returned.
    fn barrier(&mut self) -> Result<()> {
        let id = self.send(BARRIER_REQUEST, &[])?;
        let mut first = None;
        loop {
            let (kind, answers, body) = self.receive()?;
            match kind {
                BARRIER_REPLY if answers == id => return first.map_or(Ok(()), Err),
                ERROR => first = first.or_else(|| Some(self.refused(&body))),
                ECHO_REQUEST => {
                    self.reply(ECHO_REPLY, answers, &body)?;
                }
                _ => {}
            }
        }
    }

    fn send(&mut self, kind: u8, body: &[u8]) -> Result<u32> {
        let id = self.next_id;
        self.next_id += 1;
        self.reply(kind, id, body)?;
        Ok(id)
    }

    fn reply(&mut self, kind: u8, id: u32, body: &[u8]) -> Result<()> {
        self.wire.send(&message(kind, id, body), "OpenFlow", self.deadline)
    }

    /// The next message: type, transaction, body.
    fn receive(&mut self) -> Result<(u8, u32, Vec<u8>)> {
        loop {
            if self.buffer.len() >= 8 {
                let length = usize::from(u16::from_be_bytes([self.buffer[2], self.buffer[3]]));
                if length < 8 {
                    let path = self.wire.path().to_owned();
                    let why = format!("a message of {length} bytes");
                    return Err(Error::Malformed { path, during: "OpenFlow".into(), why });
                }
                if self.buffer.len() >= length {
                    let rest = self.buffer.split_off(length);
                    let whole = std::mem::replace(&mut self.buffer, rest);
                    let id = u32::from_be_bytes([whole[4], whole[5], whole[6], whole[7]]);
                    return Ok((whole[1], id, whole[8..].to_vec()));
                }
            }
            let mut chunk = [0; 4096];
            let count = self.wire.receive(&mut chunk, "OpenFlow", self.deadline, self.buffer.len())?;
            self.buffer.extend_from_slice(&chunk[..count]);
        }
    }

    fn refused(&self, body: &[u8]) -> Error {
        let number = |at: usize| body.get(at..at + 2).map_or(u16::MAX, |b| u16::from_be_bytes([b[0], b[1]]));
        let (kind, code) = (number(0), number(2));
        // `ofp_error_type`
        let meaning = match kind {
            0 => "no common version",
            1 => "bad request",
            2 => "bad action",
            3 => "bad instruction",
            4 => "bad match",
            5 => "the flow cannot be changed",
            _ => "see the OpenFlow specification",
        };
        Error::Flow { bridge: self.bridge.clone(), kind, code, meaning }
    }
}

fn message(kind: u8, id: u32, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + body.len()).expect("our messages are a hundred bytes");
    let mut bytes = vec![VERSION, kind];
    bytes.extend(length.to_be_bytes());
    bytes.extend(id.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// `ofp_flow_mod` up to its match.
fn flow_mod_head(cookie: u64, mask: u64, table: u8, command: u8, priority: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(80);
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(mask.to_be_bytes());
    bytes.extend([table, command]);
    bytes.extend([0; 4]); // idle and hard timeout: none
    bytes.extend(priority.to_be_bytes());
    for any in [NONE; 3] {
        bytes.extend(any.to_be_bytes()); // buffer, output port, output group
    }
    bytes.extend([0; 4]); // flags, padding
    bytes
}

fn flow_mod(cookie: u64, flow: &Flow) -> Vec<u8> {
    const ADD: u8 = 0;
    let mut bytes = flow_mod_head(cookie, 0, 0, ADD, flow.priority);
    bytes.extend(encode_match(&flow.matches));
    let port = match flow.output {
        Output::Port(port) => port,
        Output::Normal => NORMAL,
        Output::Drop => return bytes,
    };
    // One instruction, `OFPIT_APPLY_ACTIONS`, of one action, `OFPAT_OUTPUT`.
    bytes.extend([0, 4, 0, 24, 0, 0, 0, 0]);
    bytes.extend([0, 0, 0, 16]);
    bytes.extend(port.to_be_bytes());
    bytes.extend([0; 8]); // max_len, padding
    bytes
}

fn flow_delete(cookie: u64, mask: u64) -> Vec<u8> {
    const DELETE: u8 = 3;
    let mut bytes = flow_mod_head(cookie, mask, ALL_TABLES, DELETE, 0);
    bytes.extend(encode_match(&Match::default()));
    bytes
}

/// `ofp_match` of type OXM, padded to eight bytes.
fn encode_match(matches: &Match) -> Vec<u8> {
    let mut fields = Vec::new();
    // `OFPXMC_OPENFLOW_BASIC`, field number and no mask, length of the value.
    let mut field = |number: u8, value: &[u8]| {
        fields.extend([0x80, 0x00, number << 1, value.len() as u8]);
        fields.extend_from_slice(value);
    };
    if let Some(port) = matches.in_port {
        field(0, &port.to_be_bytes());
    }
    if let Some(mac) = matches.eth_dst {
        field(3, &mac);
    }
    if let Some(kind) = matches.eth_type {
        field(5, &kind.to_be_bytes());
    }
    let length = 4 + fields.len() as u16;
    let mut bytes = vec![0, 1];
    bytes.extend(length.to_be_bytes());
    bytes.extend(fields);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_those_of_the_specification() {
        let everything = encode_match(&Match::default());
        assert_eq!(everything, [0, 1, 0, 4, 0, 0, 0, 0]);
        let one = encode_match(&Match { in_port: Some(7), ..Match::default() });
        assert_eq!(one, [0, 1, 0, 12, 0x80, 0, 0, 4, 0, 0, 0, 7, 0, 0, 0, 0]);
        let flow = Flow { priority: 10, matches: Match::default(), output: Output::Normal };
        let bytes = message(FLOW_MOD, 1, &flow_mod(COOKIE, &flow));
        // Header 8, flow_mod 40, match 8, instruction 24.
        assert_eq!(bytes.len(), 80);
        assert_eq!(&bytes[..8], [4, 14, 0, 80, 0, 0, 0, 1]);
        assert_eq!(&bytes[8..16], COOKIE.to_be_bytes());
        assert_eq!(bytes[message(FLOW_MOD, 1, &flow_mod_head(0, 0, 0, 0, 0)).len()..][..2], [0, 1]);
        let delete = message(FLOW_MOD, 2, &flow_delete(COOKIE, COOKIE_MASK));
        assert_eq!((delete.len(), delete[24], delete[25]), (56, ALL_TABLES, 3));
    }

    #[test]
    fn a_cookie_names_us_and_the_topology() {
        assert_eq!(cookie("a") & COOKIE_MASK, cookie("a"));
        assert_ne!(cookie("a"), cookie("b"));
        assert_eq!(cookie("a") >> 48, 0x6e62);
    }
}
