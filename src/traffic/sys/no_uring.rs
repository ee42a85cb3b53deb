//! In the place of io_uring where this build is without it: nothing can be made. [`Spec::validate`](crate::traffic::Spec::validate)
//! refuses the modes before.

use std::{convert::Infallible, io, os::fd::BorrowedFd};

/// A sender that there is not.
pub struct SendRing(Infallible);
/// A receiver that there is not.
pub struct ReceiveRing(Infallible);

impl SendRing {
    /// # Errors
    /// Always.
    pub fn new(_: Vec<u8>) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Never called.
    pub fn send(&mut self, _: BorrowedFd<'_>, _: usize) -> io::Result<usize> {
        match self.0 {}
    }
}

impl ReceiveRing {
    /// # Errors
    /// Always.
    pub fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Never called.
    pub fn receive(&mut self, _: BorrowedFd<'_>) -> io::Result<usize> {
        match self.0 {}
    }
}
