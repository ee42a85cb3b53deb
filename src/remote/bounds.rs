//! What a server lets a stranger's test do to its host. Pure, but for the list of congestion controls.

use std::time::Duration;

use crate::{
    measured::Test,
    traffic::Spec,
    units::{BitRate, ByteSize, CpuList, Span},
};

/// Bounds of a server, each with the flag that sets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// Window and warm-up of a test together (`--max-duration`).
    pub duration: Span,
    /// Parallel streams of a test (`--max-streams`).
    pub streams: u32,
    /// Clients at a time (`--max-clients`).
    pub clients: u32,
    /// A block, datagram, request or response (`--max-length`).
    pub length: ByteSize,
    /// `SO_SNDBUF` and `SO_RCVBUF` (`--max-socket-buffer`); more is cut.
    pub socket_buffer: ByteSize,
    /// Payload rate of a test, over its streams (`--max-rate`).
    pub rate: Option<BitRate>,
    /// CPUs of the data threads (`--cpus`).
    pub cpus: Option<CpuList>,
    /// Congestion controls that the kernel has ready: asking for another would have it load a module.
    pub congestion: Vec<String>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            duration: Span(Duration::from_secs(3600)),
            streams: 64,
            clients: 16,
            length: ByteSize(1 << 20),
            socket_buffer: ByteSize(16 << 20),
            rate: None,
            cpus: None,
            congestion: Vec::new(),
        }
    }
}

/// A job that is within the bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    /// As this host runs it.
    pub spec: Spec,
    /// What is not as it was asked for.
    pub notes: Vec<String>,
}

impl Bounds {
    /// The job as this host will run it; an error says which bound it passes, and whose flag that is.
    pub fn admit(&self, mut spec: Spec) -> Result<Admitted, String> {
        if spec.test == Test::FrameStream {
            return Err("FRAME_STREAM needs both ends on one link, by `netbench run`".to_owned());
        }
        spec.validate().map_err(|error| error.to_string())?;
        if spec.total() > self.duration.0 {
            let total = Span(spec.total());
            return Err(format!(
                "{total} of test and warm-up; at most {} (--max-duration of the server)",
                self.duration
            ));
        }
        if spec.streams > self.streams {
            return Err(format!("{} streams; at most {} (--max-streams of the server)", spec.streams, self.streams));
        }
        let longest = if spec.test.is_rr() { spec.length.max(spec.response) } else { spec.length };
        if longest > self.length {
            return Err(format!(
                "blocks or messages of {longest}; at most {} (--max-length of the server)",
                self.length
            ));
        }
        if let Some(most) = self.rate {
            self.check_rate(&spec, most)?;
        }
        let asked = spec.tuning.congestion.as_ref();
        if let Some(name) = asked.filter(|name| !self.congestion.iter().any(|known| known == *name)) {
            let known = self.congestion.join(", ");
            return Err(format!("congestion control {name}; the server's kernel has {known} ready"));
        }
        let mut notes = Vec::new();
        let tuning = &mut spec.tuning;
        for (what, size) in [
            ("socket buffers", &mut spec.socket_buffer),
            ("SO_SNDBUF", &mut tuning.sndbuf),
            ("SO_RCVBUF", &mut tuning.rcvbuf),
        ] {
            if let Some(size) = size.as_mut().filter(|size| **size > self.socket_buffer) {
                notes.push(format!("{what} of {size} are cut to {} (--max-socket-buffer)", self.socket_buffer));
                *size = self.socket_buffer;
            }
        }
        if std::mem::take(&mut tuning.spin) {
            notes.push("its threads do not spin".to_owned());
        }
        if tuning.busy_poll.take().is_some() {
            notes.push("its sockets do not busy-poll".to_owned());
        }
        // Which CPUs it gives is the server's to say.
        spec.cpus = self.cpus.as_ref().map(|cpus| cpus.0.clone());
        Ok(Admitted { spec, notes })
    }

    fn check_rate(&self, spec: &Spec, most: BitRate) -> Result<(), String> {
        let streams = u64::from(spec.streams);
        let asked = match (spec.test.is_rr(), spec.tuning.pacing.or(spec.rate), spec.transactions) {
            (false, Some(rate), _) => Some(rate.bits_per_second()),
            (true, _, Some(rate)) => Some(rate.saturating_mul(spec.length.0.max(spec.response.0)).saturating_mul(8)),
            _ => None,
        };
        let total = asked.map(|rate| rate.saturating_mul(streams));
        let flag = "(--max-rate of the server)";
        match total {
            Some(total) if total <= most.bits_per_second() => Ok(()),
            Some(total) => Err(format!("{} over all streams; at most {most} {flag}", BitRate(total))),
            None if spec.test.has_schedule() => Err(format!(
                "requests as fast as they go; ask for a rate, such as --rate 1000/s; at most {most} {flag}"
            )),
            None if spec.test.is_rr() => Err(format!("{} has no rate; at most {most} {flag}", spec.test)),
            None => Err(format!(
                "a stream as fast as it goes; ask for at most --rate {} {flag}",
                BitRate(most.bits_per_second() / streams)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::spec_example;

    fn bounds() -> Bounds {
        Bounds { congestion: vec!["cubic".into()], ..Bounds::default() }
    }

    #[test]
    fn every_bound_is_kept_and_names_its_flag() {
        let bounds = Bounds { rate: Some(BitRate(1_000_000)), ..bounds() };
        let example = || Spec { rate: Some(BitRate(1000)), ..spec_example(Test::TcpStream) };
        bounds.admit(example()).unwrap();
        let span = |seconds| Span(Duration::from_secs(seconds));
        let asked = |break_it: &dyn Fn(&mut Spec)| {
            let mut spec = example();
            break_it(&mut spec);
            bounds.admit(spec).unwrap_err()
        };
        for (why, error) in [
            ("--max-duration", asked(&|s| (s.duration, s.omit, s.interval) = (span(3000), span(700), span(60)))),
            ("--max-streams", asked(&|s| s.streams = 65)),
            ("ask for at most --rate 1mbit (--max-rate", asked(&|s| s.rate = None)),
            ("2mbit over all streams", asked(&|s| (s.streams, s.rate) = (2, Some(BitRate(1_000_000))))),
            ("streams: allowed are", asked(&|s| s.streams = 0)),
            ("cubic ready", asked(&|s| s.tuning.congestion = Some("evil".into()))),
        ] {
            assert!(error.contains(why), "{why}: {error}");
        }
        let short = Bounds { length: ByteSize(1000), rate: None, ..bounds.clone() };
        let long = Spec { response: ByteSize(1001), ..spec_example(Test::TcpRr) };
        assert!(short.admit(long).unwrap_err().contains("--max-length"));
        let closed = bounds.admit(spec_example(Test::TcpRr)).unwrap_err();
        assert!(closed.contains("--rate 1000/s"), "{closed}");
        assert!(bounds.admit(Spec { transactions: Some(10), ..spec_example(Test::TcpRr) }).is_ok());
        assert!(bounds.admit(spec_example(Test::TcpCrr)).is_err());
    }

    #[test]
    fn what_could_harm_the_host_is_not_done_and_that_is_said() {
        let mut spec = spec_example(Test::UdpRr);
        (spec.tuning.spin, spec.tuning.busy_poll, spec.cpus) = (true, Some(50), Some(vec![0]));
        (spec.socket_buffer, spec.tuning.rcvbuf) = (Some(ByteSize(1 << 30)), Some(ByteSize(4096)));
        let admitted = bounds().admit(spec).unwrap();
        let tuning = &admitted.spec.tuning;
        assert_eq!((tuning.spin, tuning.busy_poll, admitted.spec.cpus), (false, None, None));
        assert_eq!((admitted.spec.socket_buffer, tuning.rcvbuf), (Some(ByteSize(16 << 20)), Some(ByteSize(4096))));
        assert_eq!(admitted.notes.len(), 3);
    }
}
