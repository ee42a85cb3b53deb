//! `--live` at a real terminal: what it shows, how it ends, and that the terminal is as before at every end.

mod lab;
mod pty;

use std::{
    process::Command,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use lab::{Lab, NETBENCH, eventually};
use pty::{Pty, Size};

const USUAL: Size = (100, 30);

/// netbench in a lab, at a terminal.
fn start(lab: &Lab, args: &[&str], size: Size) -> Pty {
    start_with(lab, args, size, |_| {})
}

fn start_with(lab: &Lab, args: &[&str], size: Size, change: impl FnOnce(&mut Command)) -> Pty {
    let mut command = lab.command("setsid");
    command.args(["--ctty", NETBENCH]).args(args);
    change(&mut command);
    Pty::start(command, size)
}

fn lab(name: &str) -> Option<Lab> {
    Lab::with(name, &["setsid"])
}

/// A throughput above zero.
fn has_rate(screen: &str) -> bool {
    let words: Vec<&str> = screen.split_whitespace().collect();
    words
        .windows(2)
        .any(|pair| ["Gbit/s", "Mbit/s"].contains(&pair[1]) && pair[0].parse::<f64>().is_ok_and(|rate| rate > 0.0))
}

#[test]
fn the_view_shows_the_run_and_gives_the_terminal_back() {
    let Some(lab) = lab("live-shows") else { return };
    let args = ["run", "veth", "--live", "--test", "tcp_stream", "--duration", "2s", "--rounds", "1", "--streams", "2"];
    let mut pty = start_with(&lab, &args, USUAL, |command| _ = command.env_remove("NO_COLOR"));
    let screen = pty.shows("all of it", |screen| {
        has_rate(screen) && screen.contains("CPU0") && screen.contains("/eth0 tx") && screen.contains("retr ")
    });
    assert!(screen.contains("client → server") && screen.contains("TCP_STREAM round 1 [1/1]"), "{screen}");
    assert!(screen.contains("rtt ") && screen.contains("0 dropped") && screen.contains(" of 2.0 s"), "{screen}");
    assert!(pty.is_taken(), "no lines, no echo, another screen");
    assert_eq!(pty.ends(), (Some(0), None));
    pty.is_given_back();
    // From nothing to something, several times a second.
    let screens = pty.screens();
    let of_round = |screen: &&String| screen.contains("TCP_STREAM round 1");
    let before: Vec<_> = screens.iter().filter(of_round).take_while(|screen| !has_rate(screen)).collect();
    assert!(before.iter().any(|screen| screen.contains('…')), "{before:?}");
    // Each screen is a whole one.
    let half = screens.iter().filter(of_round).find(|screen| !screen.contains("q or Ctrl-C"));
    assert_eq!(half, None, "a frame that was not drawn at once");
    let seen = screens.iter().filter(of_round).filter(|screen| has_rate(screen)).count();
    assert!(seen >= 6, "{seen} screens with a rate in two seconds");
    // The report comes after it, on the usual screen, and there are colors.
    let after = pty.screen();
    assert!(after.contains("path proved") && !after.contains("q or Ctrl-C"), "{after}");
    assert!(pty.raw().contains("\u{1b}[38;5;"), "no colors");
    assert_eq!(lab.namespaces(), Vec::<String>::new());
}

/// Packets that the view says a hop dropped.
fn drops(screen: &str, hop: &str) -> Option<u64> {
    let line = screen.lines().find(|line| line.contains(hop))?;
    line.split_once(" dropped")?.0.split_whitespace().last()?.parse().ok()
}

#[test]
fn drops_stand_at_the_hop_that_dropped_and_every_cpu_is_there() {
    let Some(lab) = lab("live-drops") else { return };
    let file = lab.file(
        "slow.toml",
        "name = \"slow\"\nmtu = 1500\n[node.a]\n[node.b]\n[[link]]\nends = [\"a\", \"b\"]\nrate = \"20mbit\"\n",
    );
    let cpus: Vec<String> = lab
        .sh("grep -o '^cpu[0-9]*' /proc/stat")
        .lines()
        .filter_map(|line| line.strip_prefix("cpu").filter(|number| !number.is_empty()).map(|n| format!("CPU{n:<3} ")))
        .collect();
    // A send buffer that holds more than the shaper's queue, so that the sender is not made to wait.
    let args = ["run", &file, "--live", "--test", "udp_stream", "--rate", "200mbit", "--sndbuf", "8m"];
    let more = ["--duration", "4s", "--rounds", "1"];
    let mut pty = start(&lab, &[&args[..], &more].concat(), (100, 30 + cpus.len() as u16));
    let of = |ns: &str| lab.namespaces().into_iter().find(|name| name.ends_with(ns)).expect("it is up");
    let counted = |ns: &str| -> u64 {
        let shown = lab.json_in(&of(ns), "tc -j -s qdisc show dev eth0");
        shown.as_array().unwrap().iter().filter_map(|qdisc| qdisc["drops"].as_u64()).sum()
    };
    let screen = pty.shows("drops at the sender's hop", |screen| {
        has_rate(screen) && drops(screen, "a/eth0 tx").is_some_and(|drops| drops > 100)
    });
    let (shown, kernel) = (drops(&screen, "a/eth0 tx").unwrap(), counted("a"));
    // What the view shows was counted a moment ago.
    assert!(shown <= kernel, "{shown} shown, the kernel counted {kernel}\n{screen}");
    assert_eq!((drops(&screen, "b/eth0 rx"), counted("b")), (Some(0), 0), "{screen}");
    let later = pty.shows("more drops", |screen| drops(screen, "a/eth0 tx").is_some_and(|now| now > shown + 100));
    for cpu in &cpus {
        assert!(later.contains(cpu.as_str()), "no {cpu:?}\n{later}");
    }
    assert_eq!(pty.ends(), (Some(0), None));
    pty.is_given_back();
    let report = pty.screen();
    assert!(report.contains("queueing discipline"), "{report}");
}

#[test]
fn no_color_is_honored() {
    let Some(lab) = lab("live-no-color") else { return };
    let mut pty =
        start(&lab, &["run", "veth", "--live", "--test", "udp_rr", "--duration", "1500ms", "--rounds", "1"], USUAL);
    pty.shows("transactions", |screen| screen.contains("trans/s") && screen.contains("CPU0"));
    assert_eq!(pty.ends(), (Some(0), None));
    let raw = pty.raw();
    let colors = ["\u{1b}[38;", "\u{1b}[48;", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"];
    assert!(!colors.iter().any(|color| raw.contains(color)), "{raw:?}");
}

/// Its name, and what it does.
type Way<'w> = (&'w str, &'w dyn Fn(&mut Pty));

/// However it is asked to end: what there is is printed, what was made is removed, the terminal is as before.
#[test]
fn every_way_to_end_gives_the_terminal_back() {
    let Some(lab) = lab("live-ends") else { return };
    let args = ["run", "veth", "--live", "--test", "tcp_stream", "--duration", "60s", "--rounds", "1"];
    let ways: [Way; 5] = [
        ("q", &|pty| pty.types("q")),
        ("Ctrl-C", &|pty| pty.types("\u{3}")),
        ("SIGTERM", &|pty| pty.signal("-TERM")),
        ("SIGINT", &|pty| pty.signal("-INT")),
        ("SIGHUP", &|pty| pty.signal("-HUP")),
    ];
    for (what, end) in ways {
        let mut pty = start(&lab, &args, USUAL);
        pty.shows("a rate", has_rate);
        end(&mut pty);
        assert_eq!(pty.ends(), (Some(130), None), "{what}");
        pty.is_given_back();
        let after = pty.screen();
        assert!(after.contains("TCP_STREAM") && after.contains("bit/s"), "{what}: nothing was printed\n{after}");
        assert_eq!(lab.namespaces(), Vec::<String>::new(), "{what}");
    }
}

/// The second one ends at once, as without the view, and still not before the terminal is given back.
#[test]
fn two_at_once_end_it_with_the_terminal_given_back() {
    let Some(lab) = lab("live-twice") else { return };
    let args = ["run", "veth", "--live", "--test", "tcp_stream", "--duration", "60s", "--rounds", "1"];
    for between in [Duration::ZERO, Duration::from_millis(5), Duration::from_millis(200)] {
        let mut pty = start(&lab, &args, USUAL);
        pty.shows("a rate", has_rate);
        pty.signal("-TERM");
        std::thread::sleep(between);
        // It may have ended by the first.
        Command::new("kill").args(["-INT", &pty.id().to_string()]).output().ok();
        assert_eq!(pty.ends(), (Some(130), None));
        pty.is_given_back();
        lab.netbench(&["topo", "destroy", "--all"]).ok();
    }
}

#[test]
fn a_quit_and_a_stop_give_it_back_too() {
    let Some(lab) = lab("live-stop") else { return };
    let args = ["run", "veth", "--live", "--test", "tcp_stream", "--duration", "60s", "--rounds", "1"];
    let mut pty = start(&lab, &args, USUAL);
    pty.shows("a rate", has_rate);
    let state = |id: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().and_then(|rest| rest.chars().next())
    };
    pty.signal("-TSTP");
    assert!(eventually(Duration::from_secs(10), || state(pty.id()) == Some('T')), "it does not stop");
    pty.is_given_back();
    pty.signal("-CONT");
    assert!(eventually(Duration::from_secs(10), || pty.is_taken()), "it does not come back");
    pty.shows("a rate again", |screen| has_rate(screen) && screen.contains("CPU0"));
    pty.signal("-QUIT");
    let (_, signal) = pty.ends();
    assert_eq!(signal, Some(3));
    pty.is_given_back();
    lab.netbench(&["topo", "destroy", "--all"]).ok();
    lab.netbench(&["topo", "gc"]).ok();
}

#[test]
fn a_worker_that_dies_and_a_step_that_fails_give_it_back() {
    let Some(lab) = lab("live-dies") else { return };
    let args = ["run", "veth", "--live", "--test", "tcp_stream", "--duration", "60s", "--rounds", "1"];
    let mut pty = start(&lab, &args, USUAL);
    pty.shows("a rate", has_rate);
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", pty.id())).unwrap();
    let worker = children.split_whitespace().next().expect("it has workers");
    assert!(Command::new("kill").args(["-KILL", worker]).status().unwrap().success());
    assert_eq!(pty.ends(), (Some(4), None));
    pty.is_given_back();
    assert!(pty.screen().replace("\n", " ").contains("was killed by"), "{}", pty.screen());
    assert_eq!(lab.namespaces(), Vec::<String>::new());

    let mut pty = start_with(&lab, &args, USUAL, |command| _ = command.env("NETBENCH_FAIL_AT", "3"));
    let (code, _) = pty.ends();
    assert!(code.is_some_and(|code| code != 0 && code != 130), "{code:?}");
    pty.is_given_back();
    assert!(pty.screen().contains("error: "), "{}", pty.screen());
}

#[test]
fn small_screens_and_new_sizes_do_no_harm() {
    let Some(lab) = lab("live-sizes") else { return };
    let args =
        ["run", "bridge", "--live", "--test", "tcp_stream", "--duration", "3s", "--rounds", "1", "--streams", "8"];
    let mut pty = start(&lab, &args, (40, 12));
    pty.shows("a rate on 40 columns", |screen| has_rate(screen) && screen.contains("client → server"));
    for size in [(10, 5), (1, 1), (200, 60), (3, 2), (10, 5), (40, 12)] {
        pty.resize(size);
        std::thread::sleep(Duration::from_millis(150));
        assert!(pty.is_taken(), "{size:?}: it is gone\n{}", pty.raw());
    }
    pty.resize(USUAL);
    pty.shows("all of it", |screen| has_rate(screen) && screen.contains("/eth0 tx") && screen.contains("CPU0"));
    assert_eq!(pty.ends(), (Some(0), None));
    pty.is_given_back();
    let mut tiny = start(&lab, &["run", "veth", "--live", "--duration", "200ms", "--rounds", "1"], (10, 5));
    assert_eq!(tiny.ends(), (Some(0), None));
    tiny.is_given_back();
}

#[test]
fn where_there_is_no_terminal_it_says_so_and_prints_data_only() {
    let Some(lab) = lab("live-piped") else { return };
    let args = ["run", "veth", "--live", "--test", "tcp_stream", "--duration", "100ms", "--rounds", "1", "--json"];
    let done = lab.netbench(&args).ok();
    assert_eq!(done.json()["flows"].as_array().map(Vec::len), Some(1));
    assert!(done.stderr.contains("no live view: stderr is no terminal"), "{done}");
    assert!(!done.text().contains('\u{1b}'), "{done}");
}

/// Without `--live` a person sees one line that is drawn anew, and none of it stays; a file or a pipe gets data only.
#[test]
fn without_it_a_terminal_has_a_line_of_progress_and_a_pipe_has_none() {
    let Some(lab) = lab("live-line") else { return };
    let args = ["run", "veth", "--test", "tcp_stream", "--duration", "1500ms", "--rounds", "1"];
    let mut pty = start(&lab, &args, USUAL);
    let line = "[1/1] client → server TCP_STREAM round 1: ";
    assert_eq!(pty.ends(), (Some(0), None));
    let is_line = |shown: &str| shown.trim_start().starts_with(line) && shown.contains(" Gbit/s") && has_rate(shown);
    let screens = pty.screens();
    assert!(screens.iter().any(|screen| screen.lines().any(is_line)), "{screens:?}");
    assert!(!pty.raw().contains("\u{1b}[?1049h"), "no other screen was asked for");
    let after = pty.screen();
    assert!(after.contains("path proved") && !after.contains(line), "{after}");

    let done = lab.netbench(&args).ok();
    assert!(!done.stderr.contains("round 1") && done.stdout.contains("TCP_STREAM"), "{done}");
    assert!(!done.text().contains(['\u{1b}', '\r']), "{done}");
}

#[test]
fn sweep_and_stream_have_it_too() {
    let Some(lab) = lab("live-others") else { return };
    let args = ["sweep", "veth", "--set", "mtu=1500,9000", "--duration", "500ms", "--rounds", "2", "--live"];
    let mut pty = start(&lab, &args, USUAL);
    pty.shows("a rate", |screen| has_rate(screen) && screen.contains("CPU0"));
    assert_eq!(pty.ends(), (Some(0), None));
    pty.is_given_back();
    assert!(pty.screen().contains("sweep of veth"), "{}", pty.screen());

    let _server = lab.background(lab.netbench_command(&["serve", "--port", "5999", "--open"]));
    assert!(eventually(Duration::from_secs(10), || lab.sh("ss -Hltn").contains(":5999")));
    let args =
        ["stream", "127.0.0.1", "-p", "5999", "--live", "--test", "tcp_stream", "-t", "2s", "--rounds", "1", "-P", "2"];
    let mut pty = start(&lab, &args, USUAL);
    let screen = pty.shows("both streams", |screen| {
        has_rate(screen) && screen.contains("CPU0") && screen.matches(" retr ").count() == 2
    });
    assert!(screen.contains("→ 127.0.0.1"), "{screen}");
    pty.types("q");
    assert_eq!(pty.ends(), (Some(130), None));
    pty.is_given_back();
}

/// A panic of any thread: the hook gives the terminal back before the message is written.
#[test]
fn a_panic_gives_it_back() {
    let Some(lab) = lab("live-panic") else { return };
    let mut command = lab.command("setsid");
    command.arg("--ctty").arg(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "panics_while_the_view_is_up", "--nocapture"]);
    let mut pty = Pty::start(command, USUAL);
    let (code, signal) = pty.ends();
    assert!(code != Some(0) && signal.is_none(), "{code:?} {signal:?}");
    assert!(pty.raw().contains("\u{1b}[?1049h"), "the view was never up\n{:?}", pty.raw());
    pty.is_given_back();
    let screen = pty.screen();
    assert!(screen.contains("panicked at") && screen.contains("the test asked for it"), "{screen}");
}

/// Not a test by itself: what [`a_panic_gives_it_back`] runs at a terminal.
#[test]
#[ignore = "a part of a_panic_gives_it_back"]
fn panics_while_the_view_is_up() {
    let signals = netbench::ui::live::Signals { flag: Arc::new(AtomicBool::new(false)), defer: || {}, resume: || {} };
    let view = netbench::ui::live::View::open(signals).expect("there is a terminal");
    view.model().say("waiting");
    std::thread::sleep(Duration::from_millis(300));
    let thread = std::thread::spawn(|| panic!("the test asked for it"));
    assert!(thread.join().is_err());
    // It is not drawn on again.
    std::thread::sleep(Duration::from_millis(400));
    std::process::exit(7);
}
