//! The client's end of a path whose packets are counted at both ends.

use std::{
    net::SocketAddr,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use socket2::SockRef;

use super::{Connection, RemoteError};
use crate::{
    kernel::path_probe::{Prober, Sample},
    remote::{
        greeting::{Greeting, Purpose, Secret, WITH_PATHS, WITH_TTL},
        message::{FromClient, FromServer},
        path::{FILLER, FILLERS, PathAnswer, PathOrder},
    },
    traffic::{SegmentSizes, segment_sizes},
};

/// For bytes that TCP carries: a black hole costs this once each way.
const CARRY: Duration = Duration::from_millis(1500);
/// How long a packet is waited for before the server is asked what was said against it.
const ASKED_AGAIN: Duration = Duration::from_millis(50);

/// What TCP carried one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried {
    /// Segment sizes of the sender and of its peer before.
    pub first: (SegmentSizes, SegmentSizes),
    /// Of the sender, afterwards.
    pub last: SegmentSizes,
    /// Bytes that were to be carried.
    pub sent: u64,
    /// Bytes that arrived.
    pub carried: u64,
}

/// Both ends of a path: this host, and a server that tells what it sees.
pub struct FarPath<'c> {
    connection: &'c mut Connection,
    prober: Prober,
    first: Option<(SegmentSizes, SegmentSizes)>,
    interrupt: &'c AtomicBool,
}

impl Connection {
    /// Has the server send and receive single packets.
    pub fn path<'c>(&'c mut self, interrupt: &'c AtomicBool) -> Result<FarPath<'c>, RemoteError> {
        if self.protocol < WITH_PATHS {
            let what = format!(
                "its netbench {} knows no single packets; install the same version on both hosts",
                self.netbench
            );
            return Err(RemoteError::Declined(what));
        }
        let here = self.segment_sizes();
        self.say(&FromClient::Path(PathOrder::Open), "opening the path")?;
        let (cookie, there) = self.expect("open the path", None, interrupt, |message| match message {
            FromServer::Path(PathAnswer::Opened { cookie, sizes }) => Some((cookie, sizes)),
            _ => None,
        })?;
        let stranger = |what| RemoteError::Stranger { at: self.server, what: format!("its cookie: {what}") };
        let cookie = Secret::from_text(&cookie).map_err(stranger)?;
        let prober = Prober::connected(SocketAddr::new(self.local.ip(), 0), self.server)?;
        let greeting = Greeting::new(Purpose::Data { stream: 0 }, cookie).encode_datagram();
        let mut greet = || prober.greet(&greeting);
        self.expect("get a datagram", Some(&mut greet), interrupt, |message| {
            matches!(message, FromServer::Path(PathAnswer::Ready)).then_some(())
        })?;
        let first = here.zip(there);
        Ok(FarPath { connection: self, prober, first, interrupt })
    }

    fn segment_sizes(&self) -> Option<SegmentSizes> {
        segment_sizes(&SockRef::from(self.talk.socket()))
    }
}

impl FarPath<'_> {
    fn ask<T>(
        &mut self,
        order: PathOrder,
        patience: Duration,
        pick: impl Fn(PathAnswer) -> Option<T>,
    ) -> Result<T, RemoteError> {
        const DURING: &str = "probing the path";
        self.connection.say(&FromClient::Path(order), DURING)?;
        self.connection.expect_within(patience, "tell what it saw", None, self.interrupt, |message| match message {
            FromServer::Path(answer) => pick(answer),
            _ => None,
        })
    }

    /// A packet from here to the server.
    pub fn there(&mut self, size: u32, wait: Duration) -> Result<Sample, RemoteError> {
        let began = Instant::now();
        if let Some(sample) = self.prober.send_one(size)? {
            return Ok(sample);
        }
        let wait_ms = wait.as_millis().try_into().unwrap_or(u32::MAX);
        let arrived = self.ask(PathOrder::Arrived { size, wait_ms }, super::ANSWER, |answer| match answer {
            PathAnswer::Arrived { arrived } => Some(arrived),
            _ => None,
        })?;
        if arrived {
            return Ok(Sample::Arrived { after: began.elapsed() });
        }
        Ok(self.prober.objection(size)?.unwrap_or(Sample::Lost))
    }

    /// A packet from the server to here.
    pub fn back(&mut self, size: u32, wait: Duration) -> Result<Sample, RemoteError> {
        self.sent_back(size, None, wait, wait)
    }

    /// Does the server know of times to live? An older one would send as usual.
    pub fn has_ttl(&self) -> bool {
        self.connection.protocol >= WITH_TTL
    }

    /// The same with a time to live, for the sake of the router where it ends: the server is asked again and again.
    pub fn back_within(&mut self, size: u32, ttl: u8, wait: Duration) -> Result<Sample, RemoteError> {
        self.sent_back(size, Some(ttl), wait, ASKED_AGAIN)
    }

    fn sent_back(&mut self, size: u32, ttl: Option<u8>, wait: Duration, each: Duration) -> Result<Sample, RemoteError> {
        let began = Instant::now();
        let against = |answer| match answer {
            PathAnswer::Sent { against } => Some(against),
            _ => None,
        };
        if let Some(sample) = self.ask(PathOrder::Send { size, ttl }, super::ANSWER, against)? {
            return Ok(sample);
        }
        loop {
            if self.prober.received(size, each)? {
                return Ok(Sample::Arrived { after: began.elapsed() });
            }
            if let Some(sample) = self.ask(PathOrder::Objection { size }, super::ANSWER, against)? {
                return Ok(sample);
            }
            if began.elapsed() >= wait {
                return Ok(Sample::Lost);
            }
        }
    }

    /// What TCP carries, there and back, and nothing more afterwards: a connection that stalls has stalled for good.
    pub fn carry(mut self) -> Result<[Option<Carried>; 2], RemoteError> {
        let Some((here, there)) = self.first else { return Ok([None, None]) };
        let sent = (FILLER * FILLERS) as u64;
        let (mut forth, mut back, mut last_there) = (0, 0, there);
        for _ in 0..FILLERS {
            let order = PathOrder::Carry { filler: "z".repeat(FILLER) };
            match stalled(self.ask(order, CARRY, |answer| match answer {
                PathAnswer::Carried { bytes, sizes } => Some((bytes, sizes)),
                _ => None,
            }))? {
                Some((bytes, sizes)) => (forth, last_there) = (forth + bytes, sizes.unwrap_or(last_there)),
                None => break,
            }
        }
        let last_here = self.connection.segment_sizes().unwrap_or(here);
        let one = |first, last, carried| Some(Carried { first, last, sent, carried });
        if forth < sent {
            return Ok([one((here, there), last_here, forth), None]);
        }
        for _ in 0..FILLERS {
            match stalled(self.ask(PathOrder::CarryBack, CARRY, |answer| match answer {
                PathAnswer::Filler { filler } => Some(filler.len() as u64),
                _ => None,
            }))? {
                Some(bytes) => back += bytes,
                None => break,
            }
        }
        if back == sent {
            let close = FromClient::Path(PathOrder::Close);
            self.connection.say(&close, "closing the path")?;
        }
        Ok([one((here, there), last_here, forth), one((there, here), last_there, back)])
    }
}

/// `None` where nothing came in time.
fn stalled<T>(outcome: Result<T, RemoteError>) -> Result<Option<T>, RemoteError> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(RemoteError::Silent { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
