//! What a run shall do: command line over the file's `[test]` table over netbench's defaults.

use std::{collections::BTreeMap, time::Duration};

use super::{amounts::Amounts, profile::Profile};
use crate::{
    facts::CpuTopology,
    measured::{CHECK_SEQUENCE, ReceiveMode, SendMode, Test, Tuning, UnknownTest},
    plan::{ceiling::Rates, desired::FlowPath},
    record::Policy,
    stats::sequential::{AT_LEAST, Rule},
    topology::model::{Flow, TestDefaults},
    traffic::{self, Spec},
    units::{BitRate, ByteSize, CpuList, Span},
};

/// The longest that a test with an amount may take, when no time was said.
const LONGEST: Duration = Duration::from_secs(60);

/// What was said on the command line; `None` was not said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Asked {
    /// `--test`
    pub tests: Option<Vec<Test>>,
    /// `--duration`
    pub duration: Option<Span>,
    /// `--rounds`
    pub rounds: Option<u32>,
    /// `--rounds auto` or `--budget`
    pub rule: Option<Rule>,
    /// `--omit`
    pub omit: Option<Span>,
    /// `--interval`
    pub interval: Option<Span>,
    /// `--streams`
    pub streams: Option<u32>,
    /// `--length`
    pub length: Option<ByteSize>,
    /// `--response`
    pub response: Option<ByteSize>,
    /// `--rate`
    pub rate: Option<BitRate>,
    /// `--bytes`, `--blocks`, `--transactions`
    pub amounts: Amounts,
    /// `--rate` in transactions per second
    pub transactions: Option<u64>,
    /// `--burst`
    pub burst: u32,
    /// `--verify`
    pub verify: Option<u64>,
    /// `--under`
    pub under: Option<Test>,
    /// `--frame-size`
    pub frame_size: Option<u32>,
    /// `--socket-buffer`
    pub socket_buffer: Option<ByteSize>,
    /// `--send`
    pub send: Option<SendMode>,
    /// `--recv`
    pub receive: Option<ReceiveMode>,
    /// `--io auto`
    pub io_auto: bool,
    /// `--mss`, `--congestion` and the like.
    pub tuning: Tuning,
}

/// CPUs of the two ends, whatever the nodes.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Placed {
    /// As the file says.
    #[default]
    ByFile,
    /// `--cpus`, `--numa`: the client's and the server's, in turn.
    Sides(Vec<usize>, Vec<usize>),
    /// `--placement`: client's and server's CPU of each stream, in turn.
    Pairs(Policy, Vec<(usize, usize)>),
}

/// What a run does.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Tests in order.
    pub tests: Vec<Test>,
    /// Measured window of a round.
    pub duration: Span,
    /// What ends the streams of the tests that have it.
    pub amounts: Amounts,
    /// The longest that such a test may take.
    pub longest: Span,
    /// Rounds of each test.
    pub rounds: u32,
    /// Unless a number was said: when there are enough; `rounds` then does not count.
    pub rule: Option<Rule>,
    /// Warm-up before each window.
    pub omit: Span,
    /// Intervals of progress.
    pub interval: Span,
    /// Parallel streams.
    pub streams: u32,
    /// Block, datagram or request; `None` takes each test's default.
    pub length: Option<ByteSize>,
    /// Response; `None` takes each test's default.
    pub response: Option<ByteSize>,
    /// Rate of each stream (streams only).
    pub rate: Option<BitRate>,
    /// Transactions of each stream in a second, where the test has a schedule.
    pub transactions: Option<u64>,
    /// Requests that each stream keeps in flight beside the first, where the test can.
    pub burst: u32,
    /// Streams: make payload from this seed, and check it.
    pub verify: Option<u64>,
    /// Request/response tests: measure them beside this stream too.
    pub under: Option<Test>,
    /// FRAME_STREAM: bytes of a frame with its check sequence.
    pub frame_size: Option<u32>,
    /// Socket buffers to ask for.
    pub socket_buffer: Option<ByteSize>,
    /// How streams send, where the test can; `None` takes each test's usual way.
    pub send: Option<SendMode>,
    /// How they receive.
    pub receive: Option<ReceiveMode>,
    /// Choose the ways that were not asked for by a short measurement.
    pub io_auto: bool,
    /// Options of the sockets.
    pub tuning: Tuning,
    /// CPUs of a node's data threads, by node name, as the file has them.
    pub cpus: BTreeMap<String, CpuList>,
    /// What the command line says of CPUs; it wins over the file.
    pub placed: Placed,
    /// The CPUs of this host that may be used.
    pub cpu_topology: CpuTopology,
    /// Interfaces with a known rate.
    pub rates: Rates,
    /// `--profile`
    pub profile: Option<Profile>,
    /// All flows at the same time: `--pairs`, `--all-pairs`.
    pub together: bool,
    /// Somebody looks on: hops and CPUs are read while rounds run.
    pub live: bool,
}

impl Options {
    /// Merges what was asked for over the file's defaults.
    ///
    /// Without either: TCP_STREAM and TCP_RR, five rounds of half a second each, and more as [`Rule::quick`] has it.
    pub fn merge(asked: Asked, file: &TestDefaults) -> Result<Self, UnknownTest> {
        let tests = match asked.tests {
            Some(tests) => tests,
            None if file.tests.is_empty() => vec![Test::TcpStream, Test::TcpRr],
            None => Test::parse_list(&file.tests.join(","))?,
        };
        // A rule that was asked for is above the file's number.
        let rounds = asked.rounds.or(file.rounds.filter(|_| asked.rule.is_none()));
        let duration = asked.duration.or(file.duration).unwrap_or(Span(Duration::from_millis(500)));
        // A second, but at least ten intervals of a short window and at most a thousand of a long one.
        let interval =
            (duration.0 / 10).min(Duration::from_secs(1)).max(duration.0 / 1000).max(Duration::from_millis(10));
        Ok(Self {
            tests,
            duration,
            amounts: asked.amounts,
            longest: asked.duration.unwrap_or(Span(LONGEST)),
            rounds: rounds.unwrap_or(AT_LEAST),
            rule: asked.rule.or_else(|| rounds.is_none().then(Rule::quick)),
            omit: asked.omit.unwrap_or(Span(Duration::ZERO)),
            interval: asked.interval.unwrap_or(Span(interval)),
            streams: asked.streams.or(file.streams).unwrap_or(1),
            length: asked.length,
            response: asked.response,
            rate: asked.rate,
            transactions: asked.transactions,
            burst: asked.burst,
            verify: asked.verify,
            under: asked.under,
            frame_size: asked.frame_size,
            socket_buffer: asked.socket_buffer,
            send: asked.send,
            receive: asked.receive,
            io_auto: asked.io_auto,
            tuning: asked.tuning,
            cpus: BTreeMap::new(),
            placed: Placed::ByFile,
            cpu_topology: CpuTopology::default(),
            rates: Rates::new(),
            profile: None,
            together: false,
            live: false,
        })
    }

    /// Fewest rounds and most.
    pub fn all_rounds(&self) -> (u32, u32) {
        self.rule.map_or((self.rounds, self.rounds), |rule| (rule.at_least, rule.at_most))
    }

    /// For who looks on: hops and CPUs are read while rounds run, and intervals are told several times a second.
    pub fn look_on(&mut self) {
        self.live = true;
        self.interval.0 = self.interval.0.min(super::live::EVERY.max(self.duration.0 / 4000));
    }

    /// Refuses what no worker would agree to, before anything is applied: a usage error.
    pub fn check(&self, flows: &[Flow]) -> Result<(), traffic::Error> {
        self.amounts.check(&self.tests)?;
        let idle = |fits: &dyn Fn(Test) -> bool| !self.tests.iter().any(|&test| fits(test));
        if self.transactions.is_some() && idle(&Test::has_schedule) {
            let what = "none of the tests has requests: a rate in requests per second is for tcp_rr and udp_rr";
            return Err(traffic::Error::Spec(what.to_owned()));
        }
        if self.tuning.flow_label.is_some()
            && let Some(flow) = flows.iter().find(|flow| flow.to_address.is_ipv4())
        {
            let what = format!("{} → {} is IPv4, which has no flow label", flow.from, flow.to);
            return Err(traffic::Error::Spec(what));
        }
        if self.verify.is_some() && idle(&Test::can_verify) {
            let what = "none of the tests carries payload that can be checked: --verify is for streams".to_owned();
            return Err(traffic::Error::Spec(what));
        }
        if let Some(pacer) = self.tuning.pacer {
            let by_kernel = pacer.fits(Test::TcpStream);
            let hint = match (idle(&|test| pacer.fits(test)), self.rate.map(drop).or(self.profile.map(drop))) {
                (true, _) if by_kernel => "is for udp_stream and TCP streams",
                (true, _) => "is for udp_stream (a TCP stream with --rate is paced by the kernel: fq or auto)",
                (false, None) => "keeps a rate: say which with --rate",
                (false, Some(_)) => "",
            };
            if !hint.is_empty() {
                return Err(traffic::Error::Spec(format!("--pacing {pacer} {hint}")));
            }
        }
        if let Some(load) = self.under {
            if load.is_rr() {
                return Err(traffic::Error::Spec(format!(
                    "{load} is no load: --under takes a stream, such as tcp_stream"
                )));
            }
            if idle(&Test::is_rr) {
                let what = "none of the tests has a latency: --under is for tcp_rr and udp_rr, tcp_crr and tcp_cc";
                return Err(traffic::Error::Spec(what.to_owned()));
            }
            flows.iter().map(|flow| self.spec(load, flow).validate()).find(Result::is_err).unwrap_or(Ok(()))?;
        }
        if self.burst > 0 && idle(&Test::has_schedule) {
            return Err(traffic::Error::Spec(
                "none of the tests keeps requests in flight: a burst is for tcp_rr and udp_rr".to_owned(),
            ));
        }
        if let Some(mode) = self.send.filter(|mode| idle(&|test| mode.fits(test))) {
            return Err(traffic::Error::Spec(format!("none of the tests can send by {mode}")));
        }
        if let Some(mode) = self.receive.filter(|mode| idle(&|test| mode.fits(test))) {
            return Err(traffic::Error::Spec(format!("none of the tests can receive by {mode}")));
        }
        let jobs = flows.iter().flat_map(|flow| self.tests.iter().map(move |&test| self.spec(test, flow)));
        jobs.map(|spec| spec.validate()).find(Result::is_err).unwrap_or(Ok(()))
    }

    /// The job of one test on one path, without CPUs: as [`Options::spec`], and datagrams of a profile at a rate that the path
    /// can carry.
    pub fn job(&self, test: Test, path: &FlowPath) -> Spec {
        let mut spec = self.spec(test, &path.flow);
        if test == Test::UdpStream && spec.rate.is_none() {
            let rate = |profile: Profile| profile.datagram_rate(path, &self.rates, spec.length.0, spec.streams);
            spec.rate = self.profile.and_then(rate);
        }
        spec
    }

    /// CPUs of client and server on a flow, in the order of its streams; the first stream is the `first`-th of all that run at
    /// the time.
    pub fn cpus_of(&self, flow: &Flow, first: usize) -> [Option<Vec<usize>>; 2] {
        let count = self.streams as usize;
        let turn = |cpus: &[usize]| (0..count).map(|i| cpus[(first + i) % cpus.len()]).collect();
        match &self.placed {
            Placed::ByFile => [&flow.from, &flow.to].map(|node| self.cpus.get(node).map(|cpus| turn(&cpus.0))),
            Placed::Sides(client, server) => [Some(turn(client)), Some(turn(server))],
            Placed::Pairs(_, pairs) => {
                let (client, server): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
                [Some(turn(&client)), Some(turn(&server))]
            }
        }
    }

    /// All CPUs that client and server of a flow may take from.
    pub fn cpu_lists(&self, flow: &Flow) -> [Option<CpuList>; 2] {
        match &self.placed {
            Placed::ByFile => [&flow.from, &flow.to].map(|node| self.cpus.get(node).cloned()),
            Placed::Sides(client, server) => [client, server].map(|cpus| Some(CpuList(cpus.clone()))),
            Placed::Pairs(..) => self.cpus_of(flow, 0).map(|cpus| {
                let mut cpus = cpus?;
                cpus.sort_unstable();
                cpus.dedup();
                Some(CpuList(cpus))
            }),
        }
    }

    /// `--placement`
    pub fn policy(&self) -> Option<Policy> {
        if let Placed::Pairs(policy, _) = self.placed { Some(policy) } else { None }
    }

    /// The job of one test on one flow, without CPUs (those differ between the sides).
    pub fn spec(&self, test: Test, flow: &Flow) -> Spec {
        let transactions = self.transactions.filter(|_| test.has_schedule());
        let burst = if test.has_schedule() { self.burst } else { 0 };
        // A datagram on a schedule, or one of several in flight, carries its number.
        let numbered = (transactions.is_some() || burst > 0) && test.is_udp();
        let length = self.length.filter(|_| test != Test::FrameStream).unwrap_or(ByteSize(match test {
            test if test.is_byte_stream() => Spec::BLOCK,
            Test::UdpStream => full_datagram(flow),
            // The device adds the check sequence.
            Test::FrameStream => u64::from(self.frame_size.unwrap_or(64)) - CHECK_SEQUENCE,
            _ if numbered => 8,
            _ => 1,
        }));
        let amount = self.amounts.of(test, length);
        Spec {
            test,
            streams: self.streams,
            duration: if amount.is_some() { self.longest } else { self.duration },
            amount,
            omit: self.omit,
            interval: self.interval,
            length,
            // A receiver that checks blocks, and an end after a number of them, must know how long they are.
            whole_segments: test.is_byte_stream()
                && self.length.is_none()
                && self.verify.is_none()
                && self.amounts.blocks.is_none(),
            response: self.response.unwrap_or(ByteSize(if numbered { 8 } else { 1 })),
            transactions,
            burst,
            verify: self.verify.filter(|_| test.is_byte_stream() || test == Test::UdpStream),
            rate: if test.is_rr() { None } else { self.rate },
            socket_buffer: self.socket_buffer,
            cpus: None,
            // Longer than the path on purpose: then fragments are what was asked for.
            dont_fragment: length.0 <= full_datagram(flow),
            send: self.send.filter(|mode| mode.fits(test)).unwrap_or(SendMode::usual(test, length.0)),
            receive: self.receive.filter(|mode| mode.fits(test)).unwrap_or(ReceiveMode::usual(test)),
            tuning: Tuning { pacer: self.tuning.pacer.filter(|pacer| pacer.fits(test)), ..self.tuning.clone() },
            frames: traffic::FrameEnds::default(),
        }
    }
}

/// UDP payload of a packet as long as the path's MTU: IPv4's header is 20 bytes, IPv6's 40, UDP's 8.
fn full_datagram(flow: &Flow) -> u64 {
    let headers = if flow.to_address.is_ipv4() { 28 } else { 48 };
    let mtu = if flow.mtu == 0 { 1500 } else { flow.mtu };
    u64::from(mtu).saturating_sub(headers).clamp(16, 65507)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_file_wins_over_defaults() {
        let file = TestDefaults {
            tests: vec!["udp_stream".into()],
            duration: Some(Span(Duration::from_secs(5))),
            rounds: None,
            streams: Some(4),
        };
        let asked = Asked { streams: Some(2), ..Asked::default() };
        let options = Options::merge(asked, &file).unwrap();
        assert_eq!((&options.tests[..], options.streams, options.rounds), (&[Test::UdpStream][..], 2, 5));
        assert_eq!(options.rule, Some(Rule::quick()));
        assert_eq!((options.duration.0.as_secs(), options.interval.0.as_millis()), (5, 500));
        assert_eq!(Options::merge(Asked::default(), &TestDefaults::default()).unwrap().tests.len(), 2);
        let wrong = TestDefaults { tests: vec!["tcp_steam".into()], ..TestDefaults::default() };
        assert_eq!(Options::merge(Asked::default(), &wrong).unwrap_err().nearest, Some(Test::TcpStream));
    }

    #[test]
    fn a_datagram_fills_the_paths_packet() {
        let options = Options::merge(Asked::default(), &TestDefaults::default()).unwrap();
        let mut flow = Flow {
            from: "a".into(),
            to: "b".into(),
            from_address: "198.18.0.1".parse().unwrap(),
            to_address: "198.18.0.2".parse().unwrap(),
            mtu: 9000,
        };
        assert_eq!(options.spec(Test::UdpStream, &flow).length.0, 8972);
        flow.to_address = "fd00::2".parse().unwrap();
        flow.mtu = 1500;
        assert_eq!(options.spec(Test::UdpStream, &flow).length.0, 1452);
        flow.mtu = 65536;
        assert_eq!(options.spec(Test::UdpStream, &flow).length.0, 65488);
        let long = Options { length: Some(ByteSize(4000)), ..options };
        flow.mtu = 1500;
        assert!(!long.spec(Test::UdpStream, &flow).dont_fragment);
        assert!(long.check(std::slice::from_ref(&flow)).is_ok());
        let asked = Options { transactions: Some(5), tests: vec![Test::TcpStream], ..long.clone() };
        assert!(asked.check(std::slice::from_ref(&flow)).unwrap_err().to_string().contains("requests per second"));
        let crowd = Options { streams: 1000, ..long };
        assert_eq!(crowd.check(&[flow]).unwrap_err().to_string(), "1000 streams: allowed are 1 to 256");
    }
}
