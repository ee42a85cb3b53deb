//! `--iperf3` of `serve` and `stream`: the same commands, spoken to stock iperf3.

use std::{
    net::IpAddr,
    sync::{Mutex, atomic::AtomicBool},
    time::Duration,
};

use anyhow::bail;

use super::{Exit, ends::EndArgs, outcome::CannotHere, print, talk};
use crate::{
    iperf::{self, Error, client, params::Params, server},
    kernel,
    report::iperf3::{self, Session},
    ui,
    units::{BitRate, ByteSize, Span},
};

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// netbench's own record.
    Json,
    /// As `iperf3 -J` does.
    Iperf3,
}

/// Options of `stream` that only iperf3 has.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "iperf3")]
pub struct StreamArgs {
    /// Drive a stock iperf3 server (or `netbench serve --iperf3`) through one test, by its protocol; port 5201, 10 s.
    #[arg(long)]
    pub iperf3: bool,
    /// UDP; at 1 Mbit/s unless --rate says otherwise (`--rate 0` is as fast as it goes).
    #[arg(short, long, requires = "iperf3")]
    udp: bool,
    /// The server sends.
    #[arg(short = 'R', long, requires = "iperf3", conflicts_with = "bidir")]
    reverse: bool,
    /// Both ends send.
    #[arg(long, requires = "iperf3")]
    bidir: bool,
    /// Number datagrams with 64 bits.
    #[arg(long, requires = "iperf3")]
    udp_counters_64bit: bool,
    /// Send by `sendfile`, at both ends.
    #[arg(short = 'Z', long, requires = "iperf3")]
    zerocopy: bool,
    /// Receive without copying the payload, at both ends.
    #[arg(long, requires = "iperf3")]
    skip_rx_copy: bool,
    /// Datagrams that do not fit the path are an error instead of fragments.
    #[arg(long, requires = "iperf3")]
    dont_fragment: bool,
    /// Length of the report's intervals [default: 1s].
    #[arg(short = 'i', long, value_name = "TIME", requires = "iperf3")]
    interval: Option<Span>,
    /// Text that the reports of both ends repeat.
    #[arg(long, value_name = "TEXT", requires = "iperf3")]
    title: Option<String>,
    /// Show the server's own report, too.
    #[arg(long, requires = "iperf3")]
    get_server_output: bool,
}

/// What `stream` has of its own and iperf3 knows as well.
#[derive(Debug, Default)]
pub struct Common {
    /// The server.
    pub host: String,
    /// Its port.
    pub port: Option<u16>,
    /// Only IPv4, or only IPv6.
    pub family: Option<u8>,
    /// Length.
    pub duration: Option<Span>,
    /// Its end by an amount.
    pub ends: EndArgs,
    /// Warm-up.
    pub omit: Option<Span>,
    /// Streams of a direction.
    pub streams: Option<u32>,
    /// Block or datagram.
    pub length: Option<ByteSize>,
    /// Rate of each stream; of 0 it is none.
    pub rate: Option<BitRate>,
    /// Socket buffers.
    pub socket_buffer: Option<ByteSize>,
    /// Socket options.
    pub tuning: crate::measured::Tuning,
    /// How to print.
    pub format: Format,
}

/// iperf3's own rate for datagrams, bit/s.
const UDP_RATE: u64 = 1 << 20;
/// iperf3's own length of a test.
const SECONDS: u64 = 10;

/// Runs `stream --iperf3`.
pub fn stream(args: &StreamArgs, common: Common, stop: &AtomicBool) -> anyhow::Result<Exit> {
    let params = params(args, &common)?;
    params.check()?;
    if common.format == Format::Json {
        bail!("--json prints the record of netbench's own tests; of a test with iperf3 there is `--format iperf3`");
    }
    let options = client::Options {
        host: common.host.clone(),
        port: common.port.unwrap_or(iperf::PORT),
        family: common.family,
        params,
        every: args.interval.map_or(Duration::from_secs(1), |interval| interval.0),
        machine: kernel::machine(),
    };
    let mut line = ui::ProgressLine::default();
    line.say(&format!("connecting to {}", options.host));
    let outcome = client::run(&options, stop, |interval| {
        let bytes: u64 = interval.streams.iter().map(|piece| piece.bytes).sum();
        let seconds = (interval.end - interval.start).max(1e-9);
        line.say(&format!("{:.0} s: {:.2} Gbit/s", interval.end, bytes as f64 * 8e-9 / seconds));
    });
    line.clear();
    match outcome {
        Ok(session) => {
            show(&session, common.format)?;
            Ok(exit_of(&session, stop))
        }
        Err(error) => {
            if common.format == Format::Iperf3 {
                // As iperf3 does: who reads its reports finds the reason there.
                ui::text::data(
                    &serde_json::json!({ "start": {}, "intervals": [], "end": {}, "error": error.to_string() }),
                )?;
            }
            fail(error)
        }
    }
}

fn params(args: &StreamArgs, common: &Common) -> anyhow::Result<Params> {
    let whole = |name: &str, span: Span| match span.0.subsec_nanos() {
        0 => Ok(span.0.as_secs()),
        _ => bail!("{name} {span}: iperf3 counts whole seconds"),
    };
    let by_amount = common.ends.bytes.is_some() || common.ends.blocks.is_some();
    if by_amount && common.duration.is_some() {
        bail!("--duration with --bytes or --blocks: iperf3 knows one end of a test");
    }
    let narrow = |name: &str, size: ByteSize| match u32::try_from(size.0) {
        Ok(size) => Ok(size),
        Err(_) => bail!("{name} {size} is more than iperf3 takes"),
    };
    let tuning = &common.tuning;
    let limit = match (common.rate, args.udp) {
        (Some(rate), _) => Some(rate.0).filter(|&rate| rate > 0),
        (None, true) => Some(UDP_RATE),
        (None, false) => None,
    };
    let time = match common.duration {
        _ if by_amount => 0,
        Some(duration) => whole("--duration", duration)?,
        None => SECONDS,
    };
    if time == 0 && !by_amount {
        bail!("--duration 0: a test needs an end; give a time, --bytes or --blocks");
    }
    Ok(Params {
        udp: args.udp,
        omit: common.omit.map_or(Ok(0), |omit| whole("--omit", omit))?,
        time,
        num: common.ends.bytes.map_or(0, |size| size.0),
        blockcount: common.ends.blocks.map_or(0, |count| count.0),
        mss: tuning.mss,
        nodelay: tuning.nodelay == Some(true),
        parallel: common.streams.unwrap_or(1),
        reverse: args.reverse,
        bidirectional: args.bidir,
        window: common.socket_buffer.map(|size| narrow("--socket-buffer", size)).transpose()?,
        len: common.length.map_or(Ok(0), |size| narrow("--length", size))?,
        bandwidth: limit,
        fqrate: tuning.pacing.map(|rate| rate.0),
        tos: tuning.dscp.map(|dscp| dscp << 2),
        congestion: tuning.congestion.clone(),
        title: args.title.clone(),
        get_server_output: args.get_server_output,
        udp_counters_64bit: args.udp_counters_64bit,
        zerocopy: args.zerocopy,
        dont_fragment: args.dont_fragment,
        skip_rx_copy: args.skip_rx_copy,
        ..Params::default()
    })
}

fn show(session: &Session, format: Format) -> std::io::Result<()> {
    match format {
        Format::Iperf3 => ui::text::data(&iperf3::document(session)),
        _ => {
            let server = match session.server_output.as_ref() {
                Some(serde_json::Value::String(text)) => format!("\nthe server's report:\n{text}"),
                Some(value) => format!("\nthe server's report:\n{value:#}\n"),
                None => String::new(),
            };
            print(&(iperf3::text(session) + &server))
        }
    }
}

fn exit_of(session: &Session, stop: &AtomicBool) -> Exit {
    match &session.error {
        None => Exit::Ok,
        Some(_) if stop.load(std::sync::atomic::Ordering::Relaxed) => Exit::Interrupted,
        Some(error) => {
            talk(&format!("error: {error}"));
            Exit::Invalid
        }
    }
}

fn fail(error: Error) -> anyhow::Result<Exit> {
    match error {
        Error::Interrupted => Ok(Exit::Interrupted),
        error @ (Error::Connect { .. } | Error::Os { .. }) => Err(CannotHere(error.to_string()).into()),
        Error::Stream(error) => Err(CannotHere(error.to_string()).into()),
        error => {
            talk(&format!("error: {error}"));
            Ok(Exit::Invalid)
        }
    }
}

/// What `serve --iperf3` takes over from `serve`.
pub struct Serve {
    /// Where to listen.
    pub bind: Vec<IpAddr>,
    /// Its port.
    pub port: Option<u16>,
    /// Longest test.
    pub max_duration: Span,
    /// Most streams of a direction.
    pub max_streams: u32,
    /// End after one test.
    pub once: bool,
    /// How to print each test.
    pub format: Format,
}

/// Runs `serve --iperf3`.
pub fn serve(args: Serve, stop: &AtomicBool) -> anyhow::Result<Exit> {
    let options = server::Options {
        bind: args.bind,
        port: args.port.unwrap_or(iperf::PORT),
        max_duration: args.max_duration.0,
        max_streams: args.max_streams,
        every: Duration::from_secs(1),
        once: args.once,
        machine: kernel::machine(),
    };
    let server = server::Server::bind(options).map_err(|error| CannotHere(error.to_string()))?;
    let at: Vec<String> = server.at().iter().map(ToString::to_string).collect();
    talk(&format!("listening for iperf3 clients on {}; Ctrl-C ends it", at.join(" and ")));
    if let Some(first) = server.at().first() {
        let host = if first.ip().is_unspecified() { kernel::machine().hostname } else { first.ip().to_string() };
        talk(&format!("on the other host: iperf3 -c {host} -p {}", first.port()));
    }
    // A test ends on its own thread; each is printed whole.
    let failed = Mutex::new(false);
    let told = |outcome: Result<Session, Error>| {
        let mut failed = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match outcome {
            Ok(session) => {
                if let Some(error) = &session.error {
                    *failed = true;
                    talk(&format!("error: {error}"));
                }
                let _ = show(&session, args.format); // nobody reads: serving goes on
            }
            Err(error) => {
                *failed = true;
                talk(&format!("error: {error}"));
            }
        }
    };
    server.run(stop, &told)?;
    let failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    Ok(if args.once && failed { Exit::Invalid } else { Exit::Ok })
}
