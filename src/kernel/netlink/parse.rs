//! Datagrams from the kernel, taken apart: a pure function over bytes.

use std::{io, time::Duration};

use super::nla::attributes;

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
/// The dump was interrupted by a change: it is not a consistent picture.
const NLM_F_DUMP_INTR: u16 = 0x10;
#[cfg(test)]
const NLM_F_MULTI: u16 = 0x2;
/// The request's body is not echoed in an acknowledgement.
const NLM_F_CAPPED: u16 = 0x100;
/// Attributes of the extended acknowledgement follow.
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;
const HEADER: usize = 16;

/// Why a request did not succeed, before it is known what it was for.
#[derive(Debug)]
pub enum Failure {
    /// The kernel answered with an error.
    Kernel {
        /// Positive errno.
        errno: i32,
        /// Extended acknowledgement text.
        extack: Option<String>,
    },
    /// A system call on the socket failed.
    Io(io::Error),
    /// Answers were lost.
    Overrun,
    /// All dumps were inconsistent.
    Torn {
        /// How many.
        tries: u32,
    },
    /// No answer in time.
    Timeout(Duration),
    /// Bytes that are no netlink message.
    Malformed(String),
}

impl Failure {
    /// The errno, if the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { errno, .. } => Some(*errno),
            Self::Io(error) => error.raw_os_error(),
            _ => None,
        }
    }
}

/// What has arrived so far for one request.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Message bodies, without their headers.
    pub bodies: Vec<Vec<u8>>,
    /// Some message said that the dump was interrupted.
    pub torn: bool,
    /// The acknowledgement or the end of the dump has been seen.
    pub complete: bool,
}

/// Takes one datagram apart; messages for other requests (a late answer to one that timed out) are passed over.
pub(super) fn read_datagram(bytes: &[u8], sequence: u32, port: u32, answer: &mut Answer) -> Result<(), Failure> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (length, kind, flags, number, to) = header(rest)?;
        let body = &rest[HEADER..length];
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        if kind == NLMSG_OVERRUN {
            return Err(Failure::Overrun);
        }
        if number != sequence || (to != port && to != 0) {
            continue;
        }
        // In a multi-part answer any part may carry the flag, the closing one too.
        answer.torn |= flags & NLM_F_DUMP_INTR != 0;
        match kind {
            NLMSG_NOOP => {}
            NLMSG_ERROR | NLMSG_DONE => {
                let code = match body.first_chunk::<4>() {
                    Some(code) => i32::from_ne_bytes(*code),
                    None if kind == NLMSG_DONE => 0,
                    None => return Err(Failure::Malformed("an acknowledgement without a code".into())),
                };
                if code < 0 {
                    return Err(Failure::Kernel { errno: -code, extack: extack(kind, flags, body) });
                }
                answer.complete = true;
            }
            _ => {
                answer.bodies.push(body.to_vec());
            }
        }
    }
    Ok(())
}

/// Length, type, flags, sequence and port of `struct nlmsghdr`; the length is known to fit.
fn header(bytes: &[u8]) -> Result<(usize, u16, u16, u32, u32), Failure> {
    let Some(head) = bytes.first_chunk::<HEADER>() else {
        return Err(Failure::Malformed(format!("{} bytes where a message header should be", bytes.len())));
    };
    let long = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let short = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
    let length = long(0) as usize;
    if length < HEADER || length > bytes.len() {
        return Err(Failure::Malformed(format!("a message of {length} bytes in {} bytes", bytes.len())));
    }
    Ok((length, short(4), short(6), long(8), long(12)))
}

/// The text of the extended acknowledgement (`netlink_ack()` in net/netlink/af_netlink.c): after the code come, in an
/// error, the header of the request and, unless capped, its body.
fn extack(kind: u16, flags: u16, body: &[u8]) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let skip = match kind {
        NLMSG_DONE => 4,
        _ if flags & NLM_F_CAPPED != 0 => 4 + HEADER,
        _ => 4 + (u32::from_ne_bytes(*body.get(4..8)?.first_chunk()?) as usize).next_multiple_of(4),
    };
    let (_, text) = attributes(body.get(skip..)?).find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)?;
    let text = String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::netlink::nla::Writer;

    fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut message = super::super::frame(kind, flags, sequence, body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    fn error_body(code: i32, text: &str) -> Vec<u8> {
        let mut body = code.to_ne_bytes().to_vec();
        body.extend(message(16, 5, 7, &[]));
        let mut attributes = Writer::default();
        attributes.u32(2, 60).text(NLMSGERR_ATTR_MSG, text);
        body.extend(attributes.finish());
        body
    }

    #[test]
    fn a_torn_dump_is_seen_in_any_part() {
        let mut answer = Answer::default();
        let mut bytes = message(16, NLM_F_MULTI, 7, &[1; 16]);
        bytes.extend(message(16, NLM_F_MULTI | NLM_F_DUMP_INTR, 7, &[2; 17]));
        bytes.extend(message(NLMSG_DONE, NLM_F_MULTI, 7, &0i32.to_ne_bytes()));
        read_datagram(&bytes, 7, 0, &mut answer).unwrap();
        assert!(answer.torn && answer.complete);
        assert_eq!(answer.bodies, [vec![1; 16], vec![2; 17]]);
    }

    #[test]
    fn the_kernels_words_are_read_from_capped_and_whole_acknowledgements() {
        for (flags, echoed) in [(NLM_F_CAPPED, 0), (0, 8)] {
            let mut body = (-libc::EINVAL).to_ne_bytes().to_vec();
            let mut request = message(16, 5, 7, &vec![9; echoed]);
            request[0] = 16 + echoed as u8;
            body.extend(request);
            body.extend(Writer::default().text(NLMSGERR_ATTR_MSG, "VXLAN ID must be lower than 16777216").finish());
            let bytes = message(NLMSG_ERROR, NLM_F_ACK_TLVS | flags, 7, &body);
            match read_datagram(&bytes, 7, 0, &mut Answer::default()) {
                Err(Failure::Kernel { errno: libc::EINVAL, extack: Some(text) }) => {
                    assert_eq!(text, "VXLAN ID must be lower than 16777216");
                }
                other => panic!("{other:?}"),
            }
        }
        let bytes = message(NLMSG_ERROR, NLM_F_CAPPED, 7, &error_body(-libc::ENODEV, "not to be read"));
        let result = read_datagram(&bytes, 7, 0, &mut Answer::default());
        assert!(matches!(result, Err(Failure::Kernel { errno: libc::ENODEV, extack: None })));
    }

    #[test]
    fn a_dump_that_ends_in_an_error_is_an_error() {
        let bytes = message(NLMSG_DONE, NLM_F_MULTI, 7, &(-libc::EINVAL).to_ne_bytes());
        let result = read_datagram(&bytes, 7, 0, &mut Answer::default());
        assert!(matches!(result, Err(Failure::Kernel { errno: libc::EINVAL, extack: None })));
    }

    #[test]
    fn overruns_and_nonsense_are_errors_and_foreign_answers_are_passed_over() {
        let mut answer = Answer::default();
        assert!(matches!(read_datagram(&message(NLMSG_OVERRUN, 0, 7, &[]), 7, 0, &mut answer), Err(Failure::Overrun)));
        read_datagram(&message(NLMSG_ERROR, 0, 6, &error_body(-1, "late")), 7, 0, &mut answer).unwrap();
        assert!(!answer.complete);
        for bad in [&[1, 2, 3][..], &message(16, 0, 7, &[0; 8])[..20], &[0; 16]] {
            assert!(matches!(read_datagram(bad, 7, 0, &mut answer), Err(Failure::Malformed(_))));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = read_datagram(&bytes, 0, 0, &mut Answer::default());
        }
    }
}
