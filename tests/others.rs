//! What others do to the CPU that receives, between two plain hosts: each knows by which devices the other's packets come, and no more.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::duplicate_mod, reason = "both labs say why they skip")]

mod cables;
mod lab;
mod model_nic;
mod serving;

use std::{
    io::Write,
    net::UdpSocket,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use cables::Lab;
use lab::NETBENCH;
use model_nic::{Fault, ModelNic};
use netbench::{kernel::Netns, record::RoundRecord};
use serving::{Serve, TOKEN, done, record};

/// Receive work of the server on CPU 1: what comes by `others`, each packet held against 10,000 rules: many packets, and much work for each.
fn slow_receive_of_others(lab: &Lab) {
    let rules: String = (0..10_000).map(|n| format!("-A INPUT -s 192.0.{}.{} -j DROP\n", n / 250, n % 250)).collect();
    let text = format!("*filter\n-A INPUT -i eth0 -j ACCEPT\n{rules}COMMIT\n");
    let mut command = lab.command("server");
    // The lock is for a table of the whole machine; this one is the test's.
    command.args(["env", "XTABLES_LOCKFILE=/dev/null", "iptables-legacy-restore"]).stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let steer = "mount -t sysfs none /sys && echo 2 >/sys/class/net/others/queues/rx-0/rps_cpus";
    assert!(lab.command("server").args(["unshare", "-m", "sh", "-c", steer]).status().unwrap().success());
}

/// A stream between the hosts.
fn streamed(lab: &Lab, port: u16) -> RoundRecord {
    let mut command = lab.command("client");
    command.args([NETBENCH, "stream", "198.18.9.2", "--port", &port.to_string(), "--test", "tcp_stream", "--json"]);
    command.args(["--rounds", "1", "--duration", "1s", "--cpus", "0", "--no-store"]).env("NETBENCH_TOKEN", TOKEN);
    record(&done(command).ok()).flows.remove(0).tests.remove(0).rounds.remove(0)
}

/// Sets the flag when it is dropped: also when a test fails.
struct Ends<'f>(&'f AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_cpu_that_receives_for_others_is_told_between_plain_hosts() {
    if Command::new("iptables-legacy").arg("--version").output().is_err() {
        return cables::skip("iptables-legacy not installed");
    }
    if !lab::require_root("receive steering is set by the machine's root only") {
        return;
    }
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return cables::skip("one CPU: receive work has none to itself");
    }
    let Some(lab) = Lab::new(1) else { return };
    for end in ["client", "server"] {
        lab.ip(end, "link set eth0 down");
        lab.ip(end, "link set eth0 name others");
        lab.ip(end, "link set others up");
    }
    let [client, server] = ["client", "server"].map(|ns| Netns::of_pid(lab.pid(ns), ns).unwrap());
    let _card = match ModelNic::new(&client, &server, Fault::None) {
        Ok(card) => card,
        Err(error) => return cables::skip(&format!("no TAP device can be made here: {error}")),
    };
    for (ns, host) in [("client", 1), ("server", 2)] {
        lab.ip(ns, &format!("addr add 198.18.9.{host}/24 dev eth0"));
        lab.ip(ns, "link set eth0 up");
    }
    // The stream has few packets.
    lab.tc("client", "qdisc add dev eth0 root tbf rate 10mbit burst 16k limit 16m");
    slow_receive_of_others(&lab);
    let mut command = lab.command("server");
    command.args([NETBENCH, "serve", "--port", "0", "--bind", "198.18.9.2", "--cpus", "0"]);
    let serve = Serve::start(command);
    let over = AtomicBool::new(false);
    let sink = server.within(|| UdpSocket::bind("198.18.0.2:9").unwrap()).unwrap();
    std::thread::scope(|scope| {
        let _end = Ends(&over);
        for _ in 0..8 {
            let flood = client.within(|| UdpSocket::bind("198.18.0.1:0").unwrap()).unwrap();
            flood.connect(sink.local_addr().unwrap()).unwrap();
            scope.spawn(|| {
                let flood = flood;
                while !over.load(Relaxed) {
                    // A buffer that is full for now.
                    let _ = flood.send(&[0; 18]);
                }
            });
        }
        // On a busy machine that CPU may have had too little of it in a moment.
        let mut found = None;
        for _ in 0..10 {
            let round = streamed(&lab, serve.port);
            for (side, what) in [(&round.client, "client"), (&round.server, "server")] {
                assert!(side.arrived.is_some_and(|packets| packets > 100), "{what}: {:?}", side.arrived);
            }
            let verdict = round.bottleneck.unwrap();
            if verdict.text().contains("other traffic on CPU 1") {
                assert!(verdict.inconclusive.is_some());
                return;
            }
            eprintln!(
                "{verdict:?}, arrived {:?} and {:?} of {:?}",
                round.client.arrived, round.server.arrived, round.server.cpus
            );
            found = Some(verdict);
        }
        panic!("nothing was said of others: {found:?}");
    });
}
