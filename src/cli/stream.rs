//! `netbench stream`: the tests of a run between this host and one that runs `netbench serve`.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    time::Duration,
};

use super::{
    Exit,
    iperf3::{self, Format},
    keep::KeepArgs,
    run::{Rate, TestList, parse_rate, parse_tests},
    serve::TOKEN,
    talk,
    tuning::TuningArgs,
};
use crate::{
    agent::egress,
    apply::interrupt,
    experiment::{
        between::{self, Target},
        options::{Asked, Options},
    },
    kernel,
    measured::{Pacing, ReceiveMode, SendMode, Test},
    record::{RunRecord, TopologyRef},
    remote::{self, RemoteError, Secret},
    report,
    topology::model::{Flow, TestDefaults},
    ui::{self, Display},
    units::{BitRate, ByteSize, CpuList, Span},
};

/// Measure between this host and one that runs `netbench serve`, without a topology.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The server: a name or an address.
    host: String,
    /// Its port [default: 5210; with --iperf3 5201].
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,
    /// The token that it printed; NETBENCH_TOKEN in the environment does the same, and hides it from lists of processes.
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Use only IPv4.
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Use only IPv6.
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Tests, separated by commas: tcp_stream, tcp_maerts, tcp_bidir, tcp_sendfile, udp_stream, tcp_rr, udp_rr, tcp_crr, tcp_cc [default:
    /// tcp_stream,tcp_rr].
    #[arg(long, value_name = "TESTS", value_parser = parse_tests)]
    test: Option<TestList>,
    /// Length of one round, such as 3s or 500ms [default: 1s].
    #[arg(short = 't', long, value_name = "TIME")]
    duration: Option<Span>,
    #[command(flatten)]
    ends: super::ends::EndArgs,
    #[command(flatten)]
    rounds: super::rounds::RoundsArgs,
    /// Warm-up before each round, left out of every figure.
    #[arg(short = 'O', long, value_name = "TIME")]
    omit: Option<Span>,
    /// Parallel streams [default: 1].
    #[arg(short = 'P', long, value_name = "N")]
    streams: Option<u32>,
    /// Bytes of a block (streams), datagram or request [default: whole segments in 64k, a full packet, or 1; of iperf3 128k].
    #[arg(short = 'l', long, value_name = "SIZE")]
    length: Option<ByteSize>,
    /// Bytes of a response.
    #[arg(long, value_name = "SIZE")]
    response: Option<ByteSize>,
    /// Rate of each stream, such as 5gbit, or requests on a schedule, such as 20000/s; without it as fast as it goes.
    #[arg(short = 'b', long, value_name = "RATE", value_parser = parse_limit)]
    rate: Option<Rate>,
    /// SO_SNDBUF and SO_RCVBUF to ask for.
    #[arg(short = 'w', long, value_name = "SIZE")]
    socket_buffer: Option<ByteSize>,
    /// How streams send: write, sendfile, zerocopy, splice or uring (TCP), write, mmsg or gso (UDP).
    #[arg(long, value_name = "MODE")]
    send: Option<SendMode>,
    /// How they receive: recv, trunc or splice (nothing is copied), zerocopy (pages are mapped) or uring (TCP), recv, mmsg or gro (UDP).
    #[arg(long, value_name = "MODE")]
    recv: Option<ReceiveMode>,
    #[command(flatten)]
    load: super::load::LoadArgs,
    #[command(flatten)]
    tuning: TuningArgs,
    /// CPUs of this side's data threads, such as 2-5; stream i gets the i-th.
    #[arg(long, value_name = "LIST")]
    cpus: Option<CpuList>,
    /// Watch it on the whole terminal: throughput, round trips and retransmits of each stream, this host's CPUs; `q` ends it.
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    keep_it: KeepArgs,
    /// Print the record as JSON.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// How to print: text, json (the record), or iperf3, as `iperf3 -J` does (one document a round of a stream test).
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    #[command(flatten)]
    iperf3: iperf3::StreamArgs,
}

/// As `run`, and 0, which is as fast as it goes.
fn parse_limit(text: &str) -> Result<Rate, String> {
    if text == "0" { Ok(Rate::Bits(BitRate(0))) } else { parse_rate(text) }
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let interrupt = interrupt::watch();
    let format = if args.json { Format::Json } else { args.format.unwrap_or_default() };
    if args.iperf3.iperf3 {
        return iperf3::stream(&args.iperf3, common(&args, format)?, &interrupt);
    }
    let mut keeper = args.keep_it.open()?;
    let token = match args.token.clone().or_else(|| std::env::var(TOKEN).ok()) {
        Some(text) => Secret::from_text(&text).map_err(anyhow::Error::msg)?,
        None => Secret::NONE,
    };
    let mut options = options(&args)?;
    if args.live {
        options.look_on();
    }
    let machine = kernel::machine();
    let target = Target {
        addresses: addresses(&args)?,
        name: args.host.clone(),
        token,
        here: machine.hostname.clone(),
        cpus: args.cpus.clone(),
    };
    let sends = |test: &Test| Pacing::Fq.fits(*test) && !test.is_reverse();
    if options.tuning.pacer == Some(Pacing::Fq)
        && options.tests.iter().any(sends)
        && let Some(lacks) = target.addresses.first().and_then(|at| egress::without_fq(at.ip()))
    {
        return Err(super::pacing::no_fq(&lacks).into());
    }
    let topology = TopologyRef::none();
    let mut record = RunRecord::new(jiff::Timestamp::now(), command_line(), topology, machine);
    let mut line = if args.live { Display::live(super::signals()) } else { Display::default() };
    line.say(&format!("connecting to {}", args.host));
    let began = std::time::Instant::now();
    let measured = between::run(&mut record, &target, &mut options, &mut |progress| line.show(progress), &interrupt);
    line.clear();
    record.elapsed_s = began.elapsed().as_secs_f64();
    measured?;
    let is_empty = record.flows.iter().all(|flow| flow.tests.iter().all(|test| test.rounds.is_empty()));
    let kept = if is_empty { None } else { keeper.keep(&record) };
    ui::text::quiet_when_closed(|mut out| match format {
        Format::Json => report::json(&record, &mut out),
        Format::Iperf3 => report::iperf3::documents(&record, &mut out),
        Format::Text => report::text(&record, &mut out),
    })?;
    if let Some(kept) = kept {
        talk(&kept);
    }
    Ok(match (record.interrupted, record.is_valid()) {
        (true, _) => Exit::Interrupted,
        (false, _) if record.is_corrupt() => Exit::Corrupt,
        (false, false) => Exit::Invalid,
        (false, true) => Exit::Ok,
    })
}

fn options(args: &Args) -> anyhow::Result<Options> {
    let inside = [("--under", args.load.under.is_some()), ("--frame-size", args.load.frame_size.is_some())];
    if let Some((name, _)) = inside.iter().find(|(_, given)| *given) {
        anyhow::bail!("{name} is for `netbench run`: a server takes one test at a time and no raw frames");
    }
    let tuning = args.tuning.tuning();
    // Between hosts there may be a long way: a stream needs its time to become fast.
    let usual = TestDefaults { duration: Some(Span(Duration::from_secs(1))), ..TestDefaults::default() };
    let asked = Asked {
        tests: args.test.clone().map(|list| list.0),
        duration: args.duration,
        amounts: args.ends.amounts(),
        rounds: args.rounds.count(),
        rule: args.rounds.rule()?,
        omit: args.omit,
        streams: args.streams,
        length: args.length,
        response: args.response,
        rate: args
            .rate
            .and_then(|rate| if let Rate::Bits(bits) = rate { Some(bits).filter(|bits| bits.0 > 0) } else { None }),
        transactions: args.rate.and_then(|rate| if let Rate::Requests(count) = rate { Some(count) } else { None }),
        burst: args.load.burst.unwrap_or(0),
        verify: args.load.verify,
        socket_buffer: args.socket_buffer,
        send: args.send,
        receive: args.recv,
        tuning,
        ..Asked::default()
    };
    let options = Options::merge(asked, &usual)?;
    // What no engine would do is said before anybody is asked.
    let nowhere = IpAddr::from([0, 0, 0, 0]);
    let flow = Flow { from: String::new(), to: String::new(), from_address: nowhere, to_address: nowhere, mtu: 0 };
    options.check(&[flow])?;
    Ok(options)
}

fn addresses(args: &Args) -> Result<Vec<SocketAddr>, RemoteError> {
    let failed = |error| RemoteError::Resolve { host: args.host.clone(), error };
    // An address in brackets, as in a URL, is an address all the same.
    let host = args.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&args.host);
    let all: Vec<SocketAddr> = (host, args.port.unwrap_or(remote::PORT)).to_socket_addrs().map_err(failed)?.collect();
    let wanted: Vec<SocketAddr> =
        all.into_iter().filter(|at| !(args.ipv4 && at.is_ipv6() || args.ipv6 && at.is_ipv4())).collect();
    if wanted.is_empty() {
        let what = format!("it has no {} address", if args.ipv4 { "IPv4" } else { "IPv6" });
        return Err(failed(std::io::Error::other(what)));
    }
    Ok(wanted)
}

/// What of these options iperf3 knows; what it does not is refused, and not ignored.
fn common(args: &Args, format: Format) -> anyhow::Result<iperf3::Common> {
    let foreign = [
        ("--token", args.token.is_some()),
        ("--test", args.test.is_some()),
        ("--rounds", args.rounds.is_any()),
        ("--transactions", args.ends.transactions.is_some()),
        ("--response", args.response.is_some()),
        ("--send", args.send.is_some()),
        ("--recv", args.recv.is_some()),
        ("--cpus", args.cpus.is_some()),
        ("--live", args.live),
        ("--burst", args.load.burst.is_some()),
        ("--verify", args.load.verify.is_some()),
        ("--under", args.load.under.is_some()),
        ("--frame-size", args.load.frame_size.is_some()),
        ("--pacing", args.tuning.tuning().pacer.is_some()),
        ("--store", args.keep_it.is_named()),
        ("--rate with requests", matches!(args.rate, Some(Rate::Requests(_)))),
    ];
    if let Some((name, _)) = foreign.iter().find(|(_, given)| *given) {
        anyhow::bail!("{name} is of netbench's own protocol: leave it out, or leave out --iperf3");
    }
    Ok(iperf3::Common {
        host: args.host.clone(),
        port: args.port,
        family: if args.ipv4 { Some(4) } else { args.ipv6.then_some(6) },
        duration: args.duration,
        ends: args.ends,
        omit: args.omit,
        streams: args.streams,
        length: args.length,
        rate: args.rate.and_then(|rate| if let Rate::Bits(bits) = rate { Some(bits) } else { None }),
        socket_buffer: args.socket_buffer,
        tuning: args.tuning.tuning(),
        format,
    })
}

/// As it was typed, without the token: records are kept and passed on.
fn command_line() -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in std::env::args() {
        let is_token = words.last().is_some_and(|last| last == "--token");
        words.push(match word.strip_prefix("--token=") {
            _ if is_token => "…".to_owned(),
            Some(_) => "--token=…".to_owned(),
            None => word,
        });
    }
    words
}
