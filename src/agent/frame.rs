//! Frames: a 32-bit big-endian length, then that many bytes of JSON. Bounded, and never a panic on what comes in.

use std::io::{self, Read, Write};

use serde::{Serialize, de::DeserializeOwned};

/// Longest body, bytes.
pub const LONGEST: usize = 4 << 20;

/// Why a frame could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The pipe failed.
    #[error("the pipe: {0}")]
    Pipe(#[from] io::Error),
    /// Longer than allowed: garbage on the pipe, or a message that must be split.
    #[error("a frame of {0} bytes, which is not allowed")]
    Length(usize),
    /// The pipe ended inside a frame.
    #[error("the pipe ended inside a frame, after {got} of {wanted} bytes")]
    Truncated {
        /// Bytes that came.
        got: usize,
        /// Bytes that were announced.
        wanted: usize,
    },
    /// Not the JSON of a message.
    #[error("a frame that is no message: {0}")]
    Body(serde_json::Error),
}

/// Reads a frame; `None` when the pipe ended between two frames.
pub fn read<T: DeserializeOwned>(pipe: &mut impl Read) -> Result<Option<T>, FrameError> {
    read_within(pipe, LONGEST)
}

/// Reads a frame of at most so many bytes.
pub fn read_within<T: DeserializeOwned>(pipe: &mut impl Read, longest: usize) -> Result<Option<T>, FrameError> {
    let mut length = [0; 4];
    match fill(pipe, &mut length)? {
        0 => return Ok(None),
        4 => {}
        got => return Err(FrameError::Truncated { got, wanted: 4 }),
    }
    let wanted = u32::from_be_bytes(length) as usize;
    if wanted == 0 || wanted > longest.min(LONGEST) {
        return Err(FrameError::Length(wanted));
    }
    // Grows with what comes, so that an announced length alone takes no memory.
    let mut body = Vec::new();
    let got = pipe.take(wanted as u64).read_to_end(&mut body)?;
    if got < wanted {
        return Err(FrameError::Truncated { got, wanted });
    }
    serde_json::from_slice(&body).map(Some).map_err(FrameError::Body)
}

fn fill(pipe: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match pipe.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes a frame whole and flushes it.
pub fn write(pipe: &mut impl Write, message: &impl Serialize) -> Result<(), FrameError> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message).map_err(FrameError::Body)?;
    let length = frame.len() - 4;
    if length > LONGEST {
        return Err(FrameError::Length(length));
    }
    frame[..4].copy_from_slice(&(length as u32).to_be_bytes());
    pipe.write_all(&frame)?;
    pipe.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::agent::message::{FromDriver, FromWorker, PROTOCOL};

    fn hello(build: String) -> FromDriver {
        FromDriver::Hello { protocol: PROTOCOL, build }
    }

    #[test]
    fn frames_follow_each_other_and_end_cleanly() {
        let mut pipe = Vec::new();
        write(&mut pipe, &hello("a".into())).unwrap();
        write(&mut pipe, &FromDriver::Bye).unwrap();
        let mut reader = &pipe[..];
        assert_eq!(read::<FromDriver>(&mut reader).unwrap(), Some(hello("a".into())));
        assert_eq!(read::<FromDriver>(&mut reader).unwrap(), Some(FromDriver::Bye));
        assert_eq!(read::<FromDriver>(&mut reader).unwrap(), None);
    }

    #[test]
    fn an_announced_gigabyte_is_refused_unread() {
        for length in [0u32, LONGEST as u32 + 1, 1 << 30, u32::MAX] {
            let mut frame = length.to_be_bytes().to_vec();
            frame.extend(b"{}");
            assert!(matches!(read::<FromDriver>(&mut &frame[..]), Err(FrameError::Length(_))));
        }
        let long = hello("x".repeat(LONGEST));
        assert!(matches!(write(&mut Vec::new(), &long), Err(FrameError::Length(_))));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(build in ".{0,200}") {
            let mut pipe = Vec::new();
            write(&mut pipe, &hello(build.clone())).unwrap();
            prop_assert_eq!(read::<FromDriver>(&mut &pipe[..]).unwrap(), Some(hello(build)));
        }

        #[test]
        fn a_cut_frame_is_an_error(build in "[a-z]{0,50}", cut in 1usize..1000) {
            let mut pipe = Vec::new();
            write(&mut pipe, &hello(build)).unwrap();
            let cut = 1 + cut % (pipe.len() - 1);
            let was_truncated = matches!(read::<FromDriver>(&mut &pipe[..cut]), Err(FrameError::Truncated { .. }));
            prop_assert!(was_truncated);
        }

        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(Some(message)) = read::<FromWorker>(&mut &bytes[..]) {
                // Random bytes that are a message: then they must say so again.
                write(&mut Vec::new(), &message).unwrap();
            }
        }

        #[test]
        fn a_flipped_byte_never_panics(at in 0usize..1000, value in any::<u8>()) {
            let mut pipe = Vec::new();
            write(&mut pipe, &hello("0.1.0".into())).unwrap();
            let at = at % pipe.len();
            pipe[at] = value;
            let _ = read::<FromDriver>(&mut &pipe[..]);
        }
    }
}
