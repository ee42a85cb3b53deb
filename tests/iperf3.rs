//! iperf3's protocol against the iperf3 that Debian ships, in both roles, every mode: what the two ends report of a test
//! must agree to the byte.

mod lab;

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use lab::{Background, Done, Lab, eventually};
use netbench::{
    iperf::{
        Error, client,
        params::Params,
        server::{Options, Server},
        wire::{self, State},
    },
    report::iperf3::Session,
};
use serde_json::Value;

/// Arguments that stock iperf3 and `netbench stream --iperf3` share.
const MODES: &[&str] = &[
    "-t 1",
    "-t 1 -R",
    "-t 1 --bidir",
    "-t 1 -P 3",
    "-t 1 --bidir -P 2",
    "-t 1 -O 1",
    "-t 1 -R -O 1 -P 2",
    "-n 40M",
    "-n 40M -R",
    "-n 40M -P 3",
    "-k 64",
    "-k 64 -R",
    "-t 1 -l 8K -w 256K -M 1200 -C reno",
    "-t 1 -b 20M",
    "-t 1 -R -b 20M",
    "-t 1 -Z",
    "-u -t 1",
    "-u -t 1 -R -b 20M",
    "-u -t 1 --bidir -b 20M -l 1200",
    "-u -t 1 -P 2 -b 10M",
    "-u -t 1 -b 50M -l 1400 --udp-counters-64bit",
    "-u -t 1 -R -b 50M -l 1400 --udp-counters-64bit",
    "-u -t 1 -O 1 -b 20M",
    "-u -n 1M -b 100M",
    "-u -k 50 -b 50M -l 1000",
    "-u -t 1 -b 20M -l 1400 --dont-fragment --dscp 10",
    "-6 -t 1",
    "-6 -u -t 1 -b 20M",
];

fn host(mode: &str) -> &'static str {
    if mode.contains("-6") { "::1" } else { "127.0.0.1" }
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

/// A stock iperf3 in the lab.
fn iperf3(lab: &Lab, args: &str) -> Background {
    let mut command = lab.command("iperf3");
    command.args(words(args));
    lab.background(command)
}

fn netbench(lab: &Lab, args: &str) -> Background {
    lab.background(lab.netbench_command(&words(args)))
}

fn wait_for_port(lab: &Lab, port: u16) {
    let listens = || lab.sh("ss -ltnH").lines().any(|line| line.contains(&format!(":{port} ")));
    assert!(eventually(Duration::from_secs(20), listens), "nobody listens at port {port}");
}

fn documents(text: &str) -> Vec<Value> {
    serde_json::Deserializer::from_str(text)
        .into_iter()
        .map(|document| document.unwrap_or_else(|error| panic!("{error}\n{text}")))
        .collect()
}

fn number(value: &Value, path: &str) -> i64 {
    let found = value.pointer(path).unwrap_or_else(|| panic!("no {path} in {value}"));
    found.as_f64().unwrap_or_else(|| panic!("{path} is no number: {found}")) as i64
}

/// Intervals of ours sum up to its totals, stream by stream.
fn sums_hold(document: &Value, mode: &str) {
    let udp = mode.contains("-u");
    for (i, stream) in document["end"]["streams"].as_array().expect("as iperf3 prints it").iter().enumerate() {
        let pieces = document["intervals"]
            .as_array()
            .expect("as iperf3 prints it")
            .iter()
            .filter(|piece| piece["omitted"] != true);
        let mut sum = 0;
        let mut sends = false;
        for piece in pieces.map(|interval| &interval["streams"][i]).filter(|piece| piece["omitted"] == false) {
            sum += piece["bytes"].as_u64().expect("as iperf3 prints it");
            sends = piece["sender"].as_bool().expect("as iperf3 prints it");
        }
        let total = match (udp, sends) {
            (true, true) => &stream["udp"]["bytes"],
            // Of datagrams the row tells what was sent; what came is in the sums.
            (true, false) if document["end"]["streams"].as_array().expect("as iperf3 prints it").len() > 1 => continue,
            (true, false) => &document["end"]["sum_received"]["bytes"],
            (false, true) => &stream["sender"]["bytes"],
            (false, false) => &stream["receiver"]["bytes"],
        };
        assert_eq!(Some(sum), total.as_u64(), "{mode}: stream {i}\n{document:#}");
    }
}

/// The other end counts what it knows, which is its own part; that is what ours must say of it.
fn agree(ours: &Value, stock: &Value, mode: &str, stock_is_client: bool) {
    assert!(ours.get("error").is_none() && stock.get("error").is_none(), "{mode}\n{ours:#}\n{stock:#}");
    for suffix in ["", "_bidir_reverse"] {
        for key in ["sum_sent", "sum_received"] {
            let path = format!("/end/{key}{suffix}/bytes");
            let Some(theirs) = stock.pointer(&path) else { continue };
            // A stock server never takes over what its client told: it shows 0.
            if !stock_is_client && theirs == 0 {
                continue;
            }
            assert_eq!(number(ours, &path), number(stock, &path), "{mode}: {path}\n{ours:#}\n{stock:#}");
            assert!(number(ours, &path) > 0, "{mode}: {path}");
        }
    }
    sums_hold(ours, mode);
    let (sent, received) = (number(ours, "/end/sum_sent/bytes"), number(ours, "/end/sum_received/bytes"));
    if mode.contains("-n 40M") {
        // A stock server that sends goes on until it hears the end; all else is exact.
        let exact = 40 << 20;
        let is_exact = stock_is_client || !mode.contains("-R");
        assert!(if is_exact { (sent, received) == (exact, exact) } else { sent >= exact }, "{mode}: {sent} {received}");
    }
    let cut =
        ["-O", "-u", "bidir"].iter().any(|option| mode.contains(option)) || stock_is_client && mode.contains("-R");
    if !cut {
        // Nothing is left behind at the end, which a stock client does when the server sends.
        assert_eq!(sent, received, "{mode}");
    }
}

/// Paths of all keys; a list counts as one of its elements.
fn keys(value: &Value, at: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = format!("{at}/{key}");
                keys(value, &path, into);
                into.insert(path);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| keys(value, &format!("{at}[]"), into)),
        _ => {}
    }
}

fn has_all_keys(ours: &Value, stock: &Value, mode: &str) {
    let (mut mine, mut theirs) = (BTreeSet::new(), BTreeSet::new());
    keys(ours, "", &mut mine);
    keys(stock, "", &mut theirs);
    let missing: Vec<_> = theirs.difference(&mine).collect();
    assert!(missing.is_empty(), "{mode}: iperf3 -J has these, and ours has not: {missing:?}\n{ours:#}");
}

#[test]
fn stock_clients_are_served_in_every_mode() {
    let Some(lab) = Lab::with("iperf3-server", &["iperf3", "ss"]) else { return };
    // To a file: nobody reads a pipe while the clients come.
    let mut command = lab.command("sh");
    command.args(["-c", "exec /mnt/netbench serve --iperf3 --bind any -p 5301 --format iperf3 > /mnt/ours.json"]);
    let server = lab.background(command);
    wait_for_port(&lab, 5301);
    let mut stock = Vec::new();
    for mode in MODES {
        let client = iperf3(&lab, &format!("-c {} -p 5301 -J {mode}", host(mode))).wait(mode).ok();
        stock.push(client.json());
    }
    server.signal("-INT");
    let server = server.wait("serve --iperf3").ok();
    let ours = documents(&lab.read("/mnt/ours.json").expect("as iperf3 prints it"));
    assert_eq!(ours.len(), MODES.len(), "{server}");
    for ((ours, stock), mode) in ours.iter().zip(&stock).zip(MODES) {
        agree(ours, stock, mode, true);
        assert_eq!(ours["start"]["cookie"], stock["start"]["cookie"], "{mode}");
    }
}

#[test]
fn stock_servers_are_driven_in_every_mode() {
    let Some(lab) = Lab::with("iperf3-client", &["iperf3", "ss"]) else { return };
    for mode in MODES {
        let server = iperf3(&lab, "-s -1 -J -p 5302");
        wait_for_port(&lab, 5302);
        let args = format!("stream --iperf3 {} -p 5302 --format iperf3 {mode}", host(mode));
        let ours = lab.netbench(&words(&args)).ok().json();
        let stock = server.wait(mode).ok().json();
        agree(&ours, &stock, mode, false);
    }
}

#[test]
fn reports_have_every_field_of_iperf3s() {
    let Some(lab) = Lab::with("iperf3-keys", &["iperf3", "ss"]) else { return };
    for mode in ["-t 2", "-t 2 -R", "-t 2 --bidir", "-u -t 2", "-u -t 2 -R", "-u -t 2 --bidir"] {
        let stock_server = iperf3(&lab, "-s -1 -J -p 5303");
        wait_for_port(&lab, 5303);
        let stock_client = iperf3(&lab, &format!("-c 127.0.0.1 -p 5303 -J {mode}")).wait(mode).ok().json();
        let stock_server = stock_server.wait(mode).ok().json();
        let our_server = netbench(&lab, "serve --iperf3 -p 5304 --once --format iperf3");
        wait_for_port(&lab, 5304);
        let args = format!("stream --iperf3 127.0.0.1 -p 5304 --format iperf3 {mode}");
        let our_client = lab.netbench(&words(&args)).ok().json();
        let our_server = our_server.wait(mode).ok().json();
        has_all_keys(&our_client, &stock_client, mode);
        has_all_keys(&our_server, &stock_server, mode);
        assert_eq!(our_client["intervals"].as_array().expect("as iperf3 prints it").len(), 2, "{mode}");
        for path in ["/end/sum_sent/bytes", "/end/sum_received/bytes"] {
            assert_eq!(number(&our_client, path), number(&our_server, path), "{mode}: {path}");
        }
    }
}

#[test]
fn runs_are_told_in_iperf3s_shape_too() {
    let Some(lab) = Lab::with("iperf3-run", &["iperf3", "ss"]) else { return };
    let server = iperf3(&lab, "-s -1 -p 5305");
    wait_for_port(&lab, 5305);
    let stock = iperf3(&lab, "-c 127.0.0.1 -p 5305 -J -t 1").wait("iperf3").ok().json();
    drop(server);
    let tests = "tcp_stream,tcp_maerts,udp_stream,tcp_rr";
    let args = ["run", "veth", "--test", tests, "--rounds", "1", "--duration", "400ms", "--format", "iperf3"];
    let done = lab.netbench(&args).ok();
    let ours = documents(&done.stdout);
    let protocols: Vec<_> =
        ours.iter().map(|one| one["start"]["test_start"]["protocol"].as_str().expect("as iperf3 prints it")).collect();
    assert_eq!(protocols, ["TCP", "TCP", "UDP"]);
    assert_eq!(ours[1]["start"]["test_start"]["reverse"], 1);
    for one in &ours {
        let (sent, received) = (number(one, "/end/sum_sent/bytes"), number(one, "/end/sum_received/bytes"));
        assert!(sent > 0 && received > 0 && received <= sent, "{one:#}");
        sums_hold(one, if one["end"]["streams"][0].get("udp").is_some() { "-u" } else { "" });
    }
    let (mut mine, mut theirs) = (BTreeSet::new(), BTreeSet::new());
    keys(&ours[0], "", &mut mine);
    keys(&stock, "", &mut theirs);
    // What a record does not keep of each interval.
    let unknown = ["retransmits", "snd_cwnd", "snd_wnd", "rtt", "rttvar", "pmtu"];
    theirs.retain(|path| !(path.starts_with("/intervals") && unknown.iter().any(|key| path.ends_with(key))));
    let missing: Vec<_> = theirs.difference(&mine).collect();
    assert!(missing.is_empty(), "{missing:?}\n{:#}", ours[0]);
}

/// A filter on the loopback drops datagrams: both ends tell the same of them, in both roles.
#[test]
fn lost_datagrams_are_told_alike_at_both_ends() {
    let Some(lab) = Lab::with("iperf3-loss", &["iperf3", "ss", "iptables-legacy"]) else { return };
    for port in [5311, 5312] {
        let filter = "env XTABLES_LOCKFILE=/dev/null iptables-legacy -A INPUT -p udp";
        lab.sh(&format!("{filter} --dport {port} -m statistic --mode nth --every 20 --packet 7 -j DROP"));
    }
    let seen = |document: &Value| ["lost_packets", "packets"].map(|key| number(document, &format!("/end/sum/{key}")));
    let server = netbench(&lab, "serve --iperf3 -p 5311 --once --format iperf3");
    wait_for_port(&lab, 5311);
    let stock = iperf3(&lab, "-c 127.0.0.1 -p 5311 -J -u -k 100 -b 4M -l 1000").wait("a stock client").ok().json();
    let ours = server.wait("serve --iperf3").ok().json();
    // The first packet is the hello: the 8th, 28th and so on are no datagrams at an end.
    assert_eq!((seen(&ours), seen(&stock)), ([5, 100], [5, 100]), "{ours:#}\n{stock:#}");

    let server = iperf3(&lab, "-s -1 -J -p 5312");
    wait_for_port(&lab, 5312);
    let args = "stream --iperf3 127.0.0.1 -p 5312 --format iperf3 -u -k 100 -b 4M -l 1000";
    let ours = lab.netbench(&words(args)).ok().json();
    let stock = server.wait("a stock server").ok().json();
    // What is late goes in a bundle, and is dropped as one; what is lost at the very end is none to the receiver.
    assert!(seen(&ours) == seen(&stock) && seen(&ours)[0] > 0, "{ours:#}\n{stock:#}");
}

#[test]
fn one_test_at_a_time_in_both_roles() {
    let Some(lab) = Lab::with("iperf3-busy", &["iperf3", "ss"]) else { return };
    let server = netbench(&lab, "serve --iperf3 -p 5306");
    wait_for_port(&lab, 5306);
    let first = iperf3(&lab, "-c 127.0.0.1 -p 5306 -t 3 -b 10M");
    let streams = || lab.sh("ss -tnH state established").matches(":5306").count() >= 4;
    assert!(eventually(Duration::from_secs(10), streams));
    iperf3(&lab, "-c 127.0.0.1 -p 5306 -t 1").wait("a second client").exits(1).says("busy");
    let busy = lab.netbench(&words("stream --iperf3 127.0.0.1 -p 5306 -t 1")).exits(4).says("busy with another test");
    assert!(busy.stdout.is_empty());
    first.wait("the first client").ok();
    // At once, when the first has gone.
    iperf3(&lab, "-c 127.0.0.1 -p 5306 -n 1M").wait("a third client").ok();
    drop(server);

    let _server = iperf3(&lab, "-s -p 5307");
    wait_for_port(&lab, 5307);
    let first = iperf3(&lab, "-c 127.0.0.1 -p 5307 -t 3 -b 10M");
    assert!(eventually(Duration::from_secs(10), || lab.sh("ss -tnH state established").matches(":5307").count() >= 4));
    let args = "stream --iperf3 127.0.0.1 -p 5307 -t 1 --format iperf3";
    let busy = lab.netbench(&words(args)).exits(4).says("busy with another test");
    assert!(busy.json()["error"].as_str().expect("as iperf3 prints it").contains("busy"));
    first.wait("the first client").ok();
}

#[test]
fn ends_that_come_early_are_told_at_both_ends() {
    let Some(lab) = Lab::with("iperf3-early", &["iperf3", "ss"]) else { return };
    let server = netbench(&lab, "serve --iperf3 -p 5308 --max-duration 5s");
    wait_for_port(&lab, 5308);
    iperf3(&lab, "-c 127.0.0.1 -p 5308 -t 10").wait("too long").exits(1);
    let refused = lab.netbench(&words("stream --iperf3 127.0.0.1 -p 5308 -t 10")).exits(4);
    refused.says("longer than the server allows");
    // A client that is killed in the middle, and one that is asked to end.
    for signal in ["-KILL", "-INT"] {
        let client = iperf3(&lab, "-c 127.0.0.1 -p 5308 -t 4 -b 10M");
        assert!(
            eventually(Duration::from_secs(10), || lab.sh("ss -tnH state established").matches(":5308").count() >= 4)
        );
        client.signal(signal);
        client.wait(signal);
        iperf3(&lab, "-c 127.0.0.1 -p 5308 -n 1M").wait("the next client").ok();
    }
    // The server is asked to end: its client hears of it, with what it has.
    let client = netbench(&lab, "stream --iperf3 127.0.0.1 -p 5308 -t 4 -b 10M --format iperf3");
    assert!(eventually(Duration::from_secs(10), || lab.sh("ss -tnH state established").matches(":5308").count() >= 4));
    std::thread::sleep(Duration::from_millis(300));
    server.signal("-INT");
    let server = server.wait("serve").ok().says("it takes 10 s and 5 s are the limit");
    assert!(server.stderr.contains("closed the control connection"), "{server}");
    let client = client.wait("stream").exits(4).says("ended the test before its time");
    let document = client.json();
    assert!(document["error"].as_str().expect("as iperf3 prints it").contains("ended the test"));
    assert!(number(&document, "/end/sum_sent/bytes") > 0, "{document:#}");
    sums_hold(&document, "");
}

#[test]
fn what_is_no_iperf3_is_named() {
    let Some(lab) = Lab::with("iperf3-foreign", &["ss"]) else { return };
    lab.netbench(&words("stream --iperf3 127.0.0.1 -p 5309 -t 1")).exits(5).says("is `iperf3 -s`").says("refused");
    lab.netbench(&words("stream --iperf3 127.0.0.1 --test tcp_rr")).exits(2).says("--test is of netbench's own");
    lab.netbench(&words("stream --iperf3 127.0.0.1 -P 129")).exits(2).says("129 streams: allowed are 1 to 128");
    lab.netbench(&words("stream 127.0.0.1 --bidir")).exits(2).says("--iperf3");
}

/// A server of this process on loopback, and what it told.
fn with_server(max: u64, test: impl FnOnce(SocketAddr)) -> Vec<Result<Session, Error>> {
    let options = Options {
        bind: vec![Ipv4Addr::LOCALHOST.into()],
        port: 0,
        max_duration: Duration::from_secs(max),
        max_streams: 128,
        every: Duration::from_secs(1),
        once: false,
        machine: netbench::kernel::machine(),
    };
    let server = Server::bind(options).expect("as iperf3 prints it");
    let stop = AtomicBool::new(false);
    let told = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            server
                .run(&stop, &|outcome| told.lock().expect("as iperf3 prints it").push(outcome))
                .expect("as iperf3 prints it");
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(server.at()[0])));
        stop.store(true, Relaxed);
        serving.join().expect("as iperf3 prints it");
        if let Err(panic) = outcome {
            std::panic::resume_unwind(panic);
        }
    });
    told.into_inner().expect("as iperf3 prints it")
}

fn ask(at: SocketAddr, params: Params) -> Result<Session, Error> {
    let options = client::Options {
        host: at.ip().to_string(),
        port: at.port(),
        family: None,
        params,
        every: Duration::from_secs(1),
        machine: netbench::kernel::machine(),
    };
    client::run(&options, &AtomicBool::new(false), |_| ())
}

fn a_megabyte() -> Params {
    Params { num: 1 << 20, parallel: 1, ..Params::default() }
}

/// The server goes on, and is free within a short time.
fn serves(at: SocketAddr) {
    let mut last = None;
    let served = eventually(Duration::from_secs(10), || match ask(at, a_megabyte()) {
        Ok(session) if session.error.is_none() => session.bytes(true) == (1 << 20, 1 << 20),
        other => {
            last = Some(format!("{other:?}"));
            false
        }
    });
    assert!(served, "{last:?}");
}

fn begin(at: SocketAddr, cookie: u8) -> TcpStream {
    let mut stream = TcpStream::connect(at).expect("as iperf3 prints it");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("as iperf3 prints it");
    stream.write_all(&[cookie; wire::COOKIE]).expect("as iperf3 prints it");
    let mut state = [0];
    stream.read_exact(&mut state).expect("as iperf3 prints it");
    assert_eq!(State::of(state[0]), Some(State::ParamExchange));
    stream
}

#[test]
fn hostile_clients_do_not_stop_the_server() {
    let told = with_server(60, |at| {
        // Half a cookie, none at all, and a crowd that never speaks: nobody waits for them.
        let crowd: Vec<_> = (0..300).map(|_| TcpStream::connect(at).expect("as iperf3 prints it")).collect();
        let mut slow = TcpStream::connect(at).expect("as iperf3 prints it");
        slow.write_all(b"half a cookie").expect("as iperf3 prints it");
        serves(at);
        drop(crowd);
        // Lengths beyond all bounds, and JSON that is none.
        for bytes in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x05{oops", b"\0\0\0\x02[]", b"\0\0\x40\0"] {
            let mut client = begin(at, 7);
            client.write_all(bytes).expect("as iperf3 prints it");
            drop(client);
            serves(at);
        }
        // Refused with iperf3's numbers.
        let mut client = begin(at, 8);
        client
            .write_all(&wire::frame(&serde_json::json!({ "tcp": true, "parallel": 500 })))
            .expect("as iperf3 prints it");
        let mut answer = [0; 9];
        client.read_exact(&mut answer).expect("as iperf3 prints it");
        assert_eq!((State::of(answer[0]), answer[4]), (Some(State::ServerError), 6));
        serves(at);
        // Gone before its streams came, and after.
        let mut client = begin(at, 9);
        client
            .write_all(&wire::frame(&serde_json::json!({ "tcp": true, "time": 10, "parallel": 1 })))
            .expect("as iperf3 prints it");
        client.read_exact(&mut answer[..1]).expect("as iperf3 prints it");
        assert_eq!(State::of(answer[0]), Some(State::CreateStreams));
        drop(client);
        serves(at);
        let mut client = begin(at, 10);
        client
            .write_all(&wire::frame(&serde_json::json!({ "tcp": true, "time": 10, "parallel": 1 })))
            .expect("as iperf3 prints it");
        client.read_exact(&mut answer[..1]).expect("as iperf3 prints it");
        let mut data = TcpStream::connect(at).expect("as iperf3 prints it");
        data.write_all(&[10; wire::COOKIE]).expect("as iperf3 prints it");
        client.read_exact(&mut answer[..2]).expect("as iperf3 prints it");
        assert_eq!(&answer[..2], [1, 2]);
        // One stream too many is sent away.
        let mut more = TcpStream::connect(at).expect("as iperf3 prints it");
        more.set_read_timeout(Some(Duration::from_secs(2))).expect("as iperf3 prints it");
        more.write_all(&[11; wire::COOKIE]).expect("as iperf3 prints it");
        more.read_exact(&mut answer[..1]).expect("as iperf3 prints it");
        assert_eq!(State::of(answer[0]), Some(State::AccessDenied));
        drop((client, data));
        serves(at);
        // Says the end and then sends garbage for results.
        let mut client = begin(at, 12);
        client
            .write_all(&wire::frame(&serde_json::json!({ "tcp": true, "time": 10, "parallel": 1 })))
            .expect("as iperf3 prints it");
        client.read_exact(&mut answer[..1]).expect("as iperf3 prints it");
        let mut data = TcpStream::connect(at).expect("as iperf3 prints it");
        data.write_all(&[12; wire::COOKIE]).expect("as iperf3 prints it");
        client.read_exact(&mut answer[..2]).expect("as iperf3 prints it");
        data.write_all(b"some data").expect("as iperf3 prints it");
        client.write_all(&[State::TestEnd.byte()]).expect("as iperf3 prints it");
        client.read_exact(&mut answer[..1]).expect("as iperf3 prints it");
        assert_eq!(State::of(answer[0]), Some(State::ExchangeResults));
        client.write_all(b"\x7f\xff\xff\xff").expect("as iperf3 prints it");
        drop(client);
        serves(at);
    });
    let early = told.iter().filter_map(|outcome| outcome.as_ref().ok()?.error.clone()).count();
    assert!(early >= 2, "tests that ended early are told as such: {told:#?}");
}

#[test]
fn a_test_by_amount_that_never_ends_is_ended() {
    let began = Instant::now();
    let told = with_server(1, |at| {
        let mut client = begin(at, 1);
        client
            .write_all(&wire::frame(&serde_json::json!({ "tcp": true, "num": 1u64 << 40, "parallel": 1 })))
            .expect("as iperf3 prints it");
        let mut answer = [0; 9];
        client.read_exact(&mut answer[..1]).expect("as iperf3 prints it");
        let mut data = TcpStream::connect(at).expect("as iperf3 prints it");
        data.write_all(&[1; wire::COOKIE]).expect("as iperf3 prints it");
        client.read_exact(&mut answer[..2]).expect("as iperf3 prints it");
        client.read_exact(&mut answer).expect("as iperf3 prints it");
        let number = i32::from_be_bytes(answer[1..5].try_into().expect("as iperf3 prints it"));
        assert_eq!((State::of(answer[0]), number), (Some(State::ServerError), 160));
    });
    assert!(matches!(&told[..], [Ok(session)] if session.error.is_some()), "{told:?}");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn odd_servers_are_named_and_waited_for_no_longer_than_they_deserve() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("as iperf3 prints it");
    let at = listener.local_addr().expect("as iperf3 prints it");
    let answers: [(&[u8], &str); 5] = [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak iperf3's protocol: byte 83"),
        (b"", "closed the control connection"),
        (b"\xff", "busy with another test"),
        (b"\xfe\0\0\0\x25", "longer than the server allows (iperf3 error 37"),
        (b"\x0a", "CreateStreams where ParamExchange is due"),
    ];
    for (answer, words) in answers {
        let server = std::thread::scope(|scope| {
            let serving = scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("as iperf3 prints it");
                stream.read_exact(&mut [0; wire::COOKIE]).expect("as iperf3 prints it");
                stream.write_all(answer).expect("as iperf3 prints it");
            });
            let error = ask(at, a_megabyte()).unwrap_err().to_string();
            serving.join().expect("as iperf3 prints it");
            error
        });
        assert!(server.contains(words), "{words}: {server}");
    }
}

#[test]
fn text_says_both_ends_and_the_servers_report() {
    let Some(lab) = Lab::with("iperf3-text", &["iperf3", "ss"]) else { return };
    let server = netbench(&lab, "serve --iperf3 -p 5310");
    wait_for_port(&lab, 5310);
    let args = "stream --iperf3 127.0.0.1 -p 5310 -t 1 -b 50M --title lab --get-server-output";
    let done: Done = lab.netbench(&words(args)).ok();
    let done = done
        .says("TCP client to server, 1 stream of 131072 B; server 127.0.0.1 port 5310")
        .says("the server's report:");
    assert_eq!(done.stdout.matches("received ").count(), 2, "{done}");
    let stock = iperf3(&lab, "-c 127.0.0.1 -p 5310 -t 1 -b 50M --get-server-output").wait("iperf3").ok();
    stock.says("Server output:").says("TCP client to server");
    drop(server);
}
