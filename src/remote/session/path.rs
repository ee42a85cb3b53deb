//! Single packets for a client that wants to know how large they may be.

use std::{
    net::SocketAddr,
    sync::PoisonError,
    time::{Duration, Instant},
};

use socket2::SockRef;

use super::{ATTACH, Next, Session, State};
use crate::{
    kernel::path_probe::Prober,
    remote::{
        greeting::Secret,
        message::FromServer,
        path::{FILLER, LONGEST_WAIT, MOST, PathAnswer, PathOrder},
        server::Awaited,
    },
    traffic::{SegmentSizes, segment_sizes},
};

/// All that a client may take for its packets.
const WHOLE: Duration = Duration::from_secs(300);
/// Longest pause after a packet that keeps the server's rate.
const PAUSE: Duration = Duration::from_secs(2);
/// The length field of IPv4.
const LARGEST: u32 = 65_535;

/// A client's packets.
pub struct Path {
    prober: Option<Box<Prober>>,
    since: Instant,
    sent: u32,
}

impl Path {
    /// Why it is to end now.
    pub fn late(&self, now: Instant) -> Option<String> {
        let past = |limit| now.duration_since(self.since) > limit;
        if self.prober.is_none() && past(ATTACH) {
            return Some(format!("no datagram came within {} s", ATTACH.as_secs()));
        }
        past(WHOLE).then(|| format!("the packets took more than {} s", WHOLE.as_secs()))
    }
}

impl Session {
    /// The first datagram: from now on there is a socket for packets.
    pub(super) fn path_from(&mut self, from: SocketAddr) -> Next {
        let State::Path(path) = &mut self.state else { return Next::On };
        if path.prober.is_some() || from.ip() != self.peer.ip() {
            return Next::On;
        }
        match Prober::connected(self.local, from) {
            Ok(prober) => {
                path.prober = Some(Box::new(prober));
                self.forget();
                self.answer(PathAnswer::Ready)
            }
            Err(error) => self.fail(error.to_string()),
        }
    }

    /// Does what a client asks for.
    pub(super) fn path(&mut self, order: PathOrder) -> Next {
        let answer = match order {
            PathOrder::Open => return self.open_path(),
            PathOrder::Close => {
                if matches!(self.state, State::Path(_)) {
                    self.tests += 1;
                }
                self.forget();
                self.state = State::Idle { since: Instant::now() };
                return Next::On;
            }
            PathOrder::Send { size, ttl } => self.send(size, ttl).map(|against| PathAnswer::Sent { against }),
            PathOrder::Objection { size } => self
                .prober()
                .and_then(|prober| said(prober.objection(size)))
                .map(|against| PathAnswer::Sent { against }),
            PathOrder::Arrived { size, wait_ms } => {
                let wait = Duration::from_millis(wait_ms.into()).min(LONGEST_WAIT);
                let arrived = self.prober().and_then(|prober| said(prober.received(size, wait)));
                arrived.map(|arrived| PathAnswer::Arrived { arrived })
            }
            PathOrder::Carry { filler } => {
                Ok(PathAnswer::Carried { bytes: filler.len() as u64, sizes: self.segment_sizes() })
            }
            PathOrder::CarryBack => Ok(PathAnswer::Filler { filler: "z".repeat(FILLER) }),
        };
        match answer {
            Ok(answer) => self.answer(answer),
            Err(what) => self.fail(what),
        }
    }

    fn answer(&mut self, answer: PathAnswer) -> Next {
        self.say(&FromServer::Path(answer));
        Next::On
    }

    fn prober(&mut self) -> Result<&mut Prober, String> {
        match &mut self.state {
            State::Path(Path { prober: Some(prober), .. }) => Ok(prober),
            _ => Err("no datagram has come yet".to_owned()),
        }
    }

    fn open_path(&mut self) -> Next {
        let cookie = match Secret::random() {
            Ok(cookie) => cookie,
            Err(error) => return self.fail(format!("make a cookie: {error}")),
        };
        self.tell("single packets, for the path's MTU");
        let awaited = Awaited { cookie: cookie.clone(), streams: 1, sender: self.events.clone() };
        self.house.awaited.lock().unwrap_or_else(PoisonError::into_inner).insert(self.number, awaited);
        self.state = State::Path(Path { prober: None, since: Instant::now(), sent: 0 });
        self.answer(PathAnswer::Opened { cookie: cookie.reveal(), sizes: self.segment_sizes() })
    }

    fn segment_sizes(&self) -> Option<SegmentSizes> {
        segment_sizes(&SockRef::from(self.talk.socket()))
    }

    fn send(&mut self, size: u32, ttl: Option<u8>) -> Result<Option<crate::kernel::path_probe::Sample>, String> {
        let (most, rate) = (self.house.bounds.length.0, self.house.bounds.rate);
        if size > LARGEST || u64::from(size) > most {
            return Err(format!(
                "a packet of {size} bytes; at most {} (--max-length of the server)",
                most.min(LARGEST.into())
            ));
        }
        if let State::Path(path) = &mut self.state {
            path.sent += 1;
            if path.sent > MOST {
                return Err(format!("more than {MOST} packets"));
            }
        }
        let prober = self.prober()?;
        said(prober.set_ttl(ttl))?;
        let against = said(prober.send_one(size))?;
        if let Some(rate) = rate {
            let seconds = f64::from(size) * 8.0 / rate.bits_per_second().max(1) as f64;
            std::thread::sleep(Duration::from_secs_f64(seconds.min(PAUSE.as_secs_f64())));
        }
        Ok(against)
    }
}

fn said<T>(outcome: crate::kernel::Result<T>) -> Result<T, String> {
    outcome.map_err(|error| error.to_string())
}
