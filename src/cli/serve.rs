//! `netbench serve`: answers the tests of `netbench stream`, and the probes of `netbench mtu probe`, on other hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context;

use super::{
    Exit,
    iperf3::{self, Format},
    outcome::CannotHere,
    talk,
};
use crate::{
    apply::interrupt,
    kernel,
    remote::{self, Bounds, Secret, Served, Server},
    units::{BitRate, ByteSize, CpuList, Span},
};

/// Name of the variable that holds a token, so that it stands in no list of processes.
pub const TOKEN: &str = "NETBENCH_TOKEN";

/// Answer `netbench stream` and `netbench mtu probe` on other hosts, until Ctrl-C.
///
/// Listens on loopback unless --bind says otherwise, on one port number of TCP and UDP, and lets in whoever knows the token,
/// which is made afresh for every start and printed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 stopped by Ctrl-C or SIGTERM, or --once ended well; 4 with --once when it did not."
)]
pub struct Args {
    /// Address to listen on; may be repeated. `any` is every address of this host [default: loopback].
    #[arg(long, value_name = "ADDRESS", value_parser = parse_bind)]
    bind: Vec<Bind>,
    /// Port, TCP and UDP; 0 takes a free one [default: 5210; with --iperf3 5201].
    #[arg(short, long, value_name = "PORT")]
    port: Option<u16>,
    /// Answer stock iperf3 clients instead, one test at a time, by their protocol: it has no token.
    #[arg(long, conflicts_with_all = ["token", "open", "max_clients", "max_rate", "cpus"])]
    iperf3: bool,
    /// With --iperf3: how each test is printed, `text` or `iperf3` (as `iperf3 -s -J`).
    #[arg(long, value_name = "FORMAT", requires = "iperf3", default_value = "text", hide_default_value = true)]
    format: Format,
    /// Token that clients must give, instead of a new one; NETBENCH_TOKEN in the environment does the same, and hides it from
    /// lists of processes.
    #[arg(long, value_name = "TOKEN", conflicts_with = "open")]
    token: Option<String>,
    /// Let in everybody, without a token.
    #[arg(long)]
    open: bool,
    /// End when the first client has gone.
    #[arg(long)]
    once: bool,
    /// Longest test, warm-up included.
    #[arg(long, value_name = "TIME", default_value = "1h")]
    max_duration: Span,
    /// Most parallel streams of a client.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=256))]
    max_streams: u32,
    /// Most clients at a time.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    max_clients: u32,
    /// Longest block, request or response.
    #[arg(long, value_name = "SIZE", default_value = "1m")]
    max_length: ByteSize,
    /// Largest socket buffer; more is cut.
    #[arg(long, value_name = "SIZE", default_value = "16m")]
    max_socket_buffer: ByteSize,
    /// Highest payload rate of a client over its streams; a client must then ask for a rate [default: none].
    #[arg(long, value_name = "RATE")]
    max_rate: Option<BitRate>,
    /// CPUs of the data threads, such as 2-5; stream i gets the i-th.
    #[arg(long, value_name = "LIST")]
    cpus: Option<CpuList>,
}

/// What `--bind` takes.
#[derive(Debug, Clone, Copy)]
enum Bind {
    Any,
    One(IpAddr),
}

fn parse_bind(text: &str) -> Result<Bind, String> {
    match text {
        "any" => Ok(Bind::Any),
        text => {
            text.parse().map(Bind::One).map_err(|_| format!("`{}` is no address, and not `any`", text.escape_debug()))
        }
    }
}

/// Serves until it is told to end.
pub fn run(args: Args) -> anyhow::Result<Exit> {
    let interrupt = interrupt::watch();
    raise_file_limit();
    let addresses: Vec<IpAddr> = match &args.bind[..] {
        [] => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        asked => asked.iter().flat_map(|bind| bind.addresses()).collect(),
    };
    if args.iperf3 {
        let serve = iperf3::Serve {
            bind: addresses,
            port: args.port,
            max_duration: args.max_duration,
            max_streams: args.max_streams,
            once: args.once,
            format: args.format,
        };
        return iperf3::serve(serve, &interrupt);
    }
    let token = match (args.open, args.token.clone().or_else(|| std::env::var(TOKEN).ok())) {
        (true, _) => None,
        (false, Some(text)) => Some(Secret::from_text(&text).map_err(anyhow::Error::msg)?),
        (false, None) => Some(Secret::random().context("make a token from /dev/urandom")?),
    };
    let bounds = Bounds {
        duration: args.max_duration,
        streams: args.max_streams,
        clients: args.max_clients,
        length: args.max_length,
        socket_buffer: args.max_socket_buffer,
        rate: args.max_rate,
        cpus: args.cpus.clone(),
        congestion: kernel::congestion_controls(),
    };
    let tell = Box::new(|what: &str| talk(what));
    let server =
        Server::bind(&addresses, args.port.unwrap_or(remote::PORT), token.clone(), bounds, kernel::machine(), tell)
            .map_err(|(at, error)| CannotHere(refused(at, &error)))?;
    let at: Vec<String> = server.addresses().iter().map(SocketAddr::to_string).collect();
    talk(&format!("listening on {} (TCP and UDP); Ctrl-C ends it", at.join(" and ")));
    if let Some(first) = server.addresses().first() {
        let [stream, probe] = commands(*first, token.as_ref(), &kernel::machine().hostname);
        talk(&format!("on the other host: {stream}"));
        talk(&format!("   or for the MTU: {probe}"));
    }
    if token.is_none() && !addresses.iter().all(IpAddr::is_loopback) {
        talk("warning: --open: whoever reaches this port may make this host send and receive");
    }
    Ok(match server.run(args.once, &interrupt) {
        Served::Stopped | Served::Once => Exit::Ok,
        Served::OnceFailed => Exit::Invalid,
    })
}

impl Bind {
    fn addresses(self) -> Vec<IpAddr> {
        match self {
            Self::Any => vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            Self::One(address) => vec![address],
        }
    }
}

/// What to type on the other host.
fn commands(at: SocketAddr, token: Option<&Secret>, hostname: &str) -> [String; 2] {
    let host = if at.ip().is_unspecified() { hostname.to_owned() } else { at.ip().to_string() };
    let port = format!(" --port {}", at.port());
    let usual = at.port() == remote::PORT;
    let secret = token.map(|token| format!(" --token {}", token.reveal())).unwrap_or_default();
    let stream = format!("netbench stream {host}{}{secret}", if usual { "" } else { &port });
    // Without either of them a host is probed from one side.
    let probe = format!("netbench mtu probe {host}{}{secret}", if usual && token.is_some() { "" } else { &port });
    [stream, probe]
}

fn refused(at: SocketAddr, error: &std::io::Error) -> String {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => "; another program has it, choose one with --port",
        std::io::ErrorKind::AddrNotAvailable => "; no interface of this host has that address",
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        _ => "",
    };
    format!("listen on {at}: {error}{hint}")
}

/// A stream takes a file descriptor; the usual 1024 would be passed by a few clients.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    // A limit that stays is met by fewer clients at a time.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
}
