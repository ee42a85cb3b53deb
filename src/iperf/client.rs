//! The client: drives a stock iperf3 server through one test.

use std::{
    fs::File,
    io::Read,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use socket2::Socket;

use super::{
    Error, RELEASE,
    control::Control,
    course::{About, Closed, Course},
    os,
    params::Params,
    results::Results,
    streams,
    wire::{self, COOKIE, Cookie, State},
};
use crate::{
    facts::Machine,
    report::iperf3::{Interval, Session},
};

/// For the control connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For an answer on it.
const ANSWER: Duration = Duration::from_secs(15);
/// How long the last bytes may take to be acknowledged before the end is said.
const FLUSH: Duration = Duration::from_secs(1);
/// What a server gets to read them: an iperf3 server counts nothing that it reads after the end was said.
const GRACE: Duration = Duration::from_millis(10);
/// Silence after which a stream of the server is over, where it is not closed.
const QUIET: Duration = Duration::from_millis(500);
/// Beyond this a test by amount is given up.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// What to do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Only this family of addresses: 4 or 6.
    pub family: Option<u8>,
    /// The test. A length of 0 is the protocol's usual one.
    pub params: Params,
    /// Length of the intervals of the report.
    pub every: Duration,
    /// This machine, for the report.
    pub machine: Machine,
}

/// Runs one test. A test that ended early is a session with an error when data had flown, and an error before.
pub fn run(options: &Options, stop: &AtomicBool, mut watch: impl FnMut(&Interval)) -> Result<Session, Error> {
    let control = Control::new(dial(options)?, stop)?;
    let cookie = new_cookie()?;
    let mut params = options.params.clone();
    params.client_version = RELEASE.to_owned();
    if params.len == 0 {
        params.len = match params.udp {
            true => datagram_length(&control),
            false => streams::TCP_BLOCK,
        };
    }
    control.send(&cookie)?;
    control.expect(State::ParamExchange, ANSWER)?;
    control.tell(&params.to_json())?;
    control.expect(State::CreateStreams, ANSWER)?;
    let sockets = streams::connect(&params, &control, &cookie)?;
    control.expect(State::TestStart, ANSWER)?;
    control.expect(State::TestRunning, ANSWER)?;
    let mut course = Course::start(&params, false, sockets, options.every)?;
    let ran = drive(&control, &params, &mut course, &mut watch);
    let (closed, outcome) = finish(&control, course, ran);
    let about = About {
        params: &params,
        server: false,
        cookie: &cookie,
        peer: (options.host.clone(), options.port),
        machine: &options.machine,
        every: options.every,
    };
    let (remote, error) = match outcome {
        Ok(remote) => (Some(remote), None),
        Err(error) => (None, Some(error)),
    };
    Ok(closed.session(&about, remote.as_ref(), error.as_ref()))
}

fn dial(options: &Options) -> Result<TcpStream, Error> {
    let host = options.host.trim_start_matches('[').trim_end_matches(']');
    let failed = |source| Error::Connect { peer: format!("{host} port {}", options.port), source };
    let wanted = |address: &SocketAddr| match options.family {
        Some(4) => address.is_ipv4(),
        Some(_) => address.is_ipv6(),
        None => true,
    };
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "it has no address of the wanted family");
    for address in (host, options.port).to_socket_addrs().map_err(failed)?.filter(wanted) {
        let connected =
            Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, Some(socket2::Protocol::TCP))
                .and_then(|socket| socket.connect_timeout(&address.into(), CONNECT_TIMEOUT).map(|()| socket));
        match connected {
            Ok(socket) => return Ok(socket.into()),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn new_cookie() -> Result<Cookie, Error> {
    let mut random = [0; COOKIE - 1];
    let path = "/dev/urandom";
    File::open(path).and_then(|mut file| file.read_exact(&mut random)).map_err(os("read", path))?;
    Ok(wire::cookie(&random))
}

/// iperf3's rule: what fits a segment of the control connection.
fn datagram_length(control: &Control<'_>) -> u32 {
    let mss = socket2::SockRef::from(control.stream()).tcp_mss().unwrap_or(0);
    if (16..=65_507).contains(&mss) { mss } else { streams::DATAGRAM }
}

/// Watches the streams until the test is over by its own terms.
fn drive(
    control: &Control<'_>,
    params: &Params,
    course: &mut Course,
    watch: &mut impl FnMut(&Interval),
) -> Result<(), Error> {
    let sends = course.specs().iter().any(|spec| spec.sends);
    let receives = course.specs().iter().any(|spec| !spec.sends);
    let amount = match (params.num, params.blockcount) {
        (0, blocks) => blocks * u64::from(params.len),
        (bytes, _) => bytes,
    };
    loop {
        if let Some(interval) = course.tick() {
            watch(interval);
        }
        if control.is_ready(Duration::from_millis(5)) {
            let state = control.state(ANSWER)?;
            return Err(Error::Foreign { peer: control.peer(), what: format!("{state:?} while the test runs") });
        }
        if control.stopped() {
            // The server ends with us; it need not hear it to do so.
            let _ = control.say(State::ClientTerminate);
            return Err(Error::Interrupted);
        }
        let age = course.window_age().unwrap_or_default();
        let time_is_over = params.time > 0 && age >= Duration::from_secs(params.time);
        let has_amount = params.time == 0 && receives && amount > 0 && course.bytes().1 >= amount;
        // Streams that send keep the end themselves, to the byte.
        let over = if sends { course.guests().senders_done() } else { time_is_over };
        if over || has_amount || age > LONGEST {
            return Ok(());
        }
        if course.guests().all_done() {
            // All streams broke: the server says why, if it does.
            return match control.is_ready(Duration::from_secs(1)) {
                true => control.state(ANSWER).map(|_| ()),
                false => Ok(()),
            };
        }
    }
}

/// Ends the streams in good order and exchanges results.
fn finish(control: &Control<'_>, mut course: Course, ran: Result<(), Error>) -> (Closed, Result<Results, Error>) {
    if let Err(error) = ran {
        course.guests().stop();
        return (course.close(), Err(error));
    }
    course.guests().over();
    let is_tcp_sender = course.specs().iter().any(|spec| spec.sends && spec.udp.is_none());
    let began = Instant::now();
    while !course.guests().senders_done() || (is_tcp_sender && !course.guests().is_flushed()) {
        if began.elapsed() > FLUSH || control.stopped() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    if is_tcp_sender {
        std::thread::sleep(GRACE);
    }
    course.tick();
    let ended = control.say(State::TestEnd).and_then(|()| control.expect(State::ExchangeResults, ANSWER));
    course.guests().finish(QUIET);
    let closed = course.close();
    let exchange = ended.and_then(|()| {
        control.tell(&closed.results().to_json())?;
        let told = control.hear(wire::RESULTS, ANSWER)?;
        let remote = Results::from_json(&told, closed.results().streams.len()).ok_or_else(|| Error::Foreign {
            peer: control.peer(),
            what: "its results are no object with a list of streams".to_owned(),
        })?;
        control.expect(State::DisplayResults, ANSWER)?;
        control.say(State::IperfDone)?;
        control.close();
        Ok(remote)
    });
    (closed, exchange)
}
