//! The confusion matrix: each fault, and the verdicts that are right for it. The tests take what they accept from here, and
//! docs/bottleneck.md shows it; a test compares the two.

use netbench::record::Limit::{self, *};

/// A fault of known kind.
#[derive(Debug)]
pub struct Fault {
    /// As the page says it.
    pub what: &'static str,
    /// Each of these is right; with more than one, `why` says why.
    pub accepted: &'static [Limit],
    /// What physics leaves open.
    pub why: &'static str,
    /// The verdict must say that it is inconclusive, since other programs or flows run by design.
    pub inconclusive: bool,
}

macro_rules! faults {
    ($($name:ident: $what:literal => [$($limit:ident),*] $(because $why:literal)? $(and $inconclusive:ident)?;)*) => {
        $(pub const $name: Fault = Fault {
            what: $what,
            accepted: &[$($limit),*],
            why: concat!($($why)?),
            inconclusive: faults!(@flag $($inconclusive)?),
        };)*
        /// All of them, in the order of the page, with the names that the tests use.
        pub const ALL: &[(&str, &Fault)] = &[$((stringify!($name), &$name)),*];
    };
    (@flag inconclusive) => { true };
    (@flag) => { false };
}

faults! {
    UNPACED: "none (veth, unpaced)" => [SenderCpu, ReceiverCpu]
        because "two threads share the work, and which of them is the busier is the scheduler's choice";
    KEPT_RATE: "`--rate 50mbit`, TCP and UDP" => [AskedRate];
    STOPPED_SENDER: "sending process stopped 90 of every 100 ms" => [SenderApp];
    SMALL_SNDBUF: "`--sndbuf 8k`, acknowledgements shaped to 1 Mbit/s" => [SendBuffer];
    SMALL_RCVBUF: "`--rcvbuf 4k`, acknowledgements shaped to 1 Mbit/s" => [ReceiveWindow];
    SMALL_UDP_RCVBUF: "UDP at 500 Mbit/s in bundles, `--rcvbuf 2k`" => [ReceiveWindow];
    STOPPED_READER: "reading process stopped 90 of every 100 ms, cubic" => [ReceiverApp];
    STOPPED_READER_BBR: "the same, BBR" => [ReceiverApp, Path, Congestion]
        because "it takes the pauses of the reader for those of a path, settles at its rate, and what the full socket drops is lost";
    HOGGED_RECEIVER: "four busy loops on the receiver's CPU, TCP and UDP" => [ReceiverCpu] and inconclusive;
    HOGGED_MACHINE: "three busy loops on every CPU" => [] and inconclusive;
    FULL_WIRE: "`tbf` at 200 Mbit/s, known to the plan" => [WireRate];
    FULL_WIRE_HOGGED: "`tbf` at 20 Mbit/s, known to the plan, three busy loops on every CPU" => [WireRate];
    SHAPER: "`tbf` at 200 Mbit/s with a long queue" => [Path];
    TINY_QUEUE: "`tbf` with a queue of 20 kB, TCP, and UDP at four times its rate" => [QdiscDrops];
    SHORT_QUEUE: "UDP at 400 Mbit/s into `tbf` at 100 Mbit/s" => [QdiscDrops];
    SLOW_CARD: "a card whose ring overflows: a TAP device, read once in 200 µs" => [PathDrops];
    RANDOM_LOSS: "a packet filter that drops 5 % of the segments" => [Congestion];
    UDP_LOSS: "a packet filter that drops 15 % of the datagrams, at 50 Mbit/s" => [Congestion];
    SLOW_FILTER: "50,000 rules of a packet filter, receive steering to a CPU of its own, TCP and UDP" => [Softirq];
    SMALL_FRAMES: "the same with UDP, and eight floods of small datagrams over another veth pair" => [Softirq] and inconclusive;
    NO_TIME_TO_SEND: "5 million requests/s (UDP, TCP), and 50 Gbit/s of 64-byte datagrams" => [Generator];
}

/// The columns, as the page orders them.
const COLUMNS: &[Limit] = &[
    AskedRate,
    SenderCpu,
    SenderApp,
    SendBuffer,
    ReceiveWindow,
    ReceiverCpu,
    ReceiverApp,
    WireRate,
    Path,
    QdiscDrops,
    PathDrops,
    Congestion,
    Softirq,
    Generator,
];

/// The table of the page.
pub fn table() -> String {
    let names = COLUMNS.iter().map(|limit| limit.name()).collect::<Vec<_>>().join(" | ");
    let mut text = format!("| fault | {names} | inconclusive |\n|---{}|\n", "|---".repeat(COLUMNS.len() + 1));
    for (_, fault) in ALL {
        let mark = |yes| if yes { "●" } else { "" };
        let cells: Vec<&str> = COLUMNS.iter().map(|limit| mark(fault.accepted.contains(limit))).collect();
        text +=
            &format!("| {} | {} | {} |\n", fault.what, cells.join(" | "), mark(fault.inconclusive)).replace("  ", " ");
    }
    for (_, fault) in ALL.iter().filter(|(_, fault)| !fault.why.is_empty()) {
        text += &format!("\n{}: {}.\n", fault.what, fault.why);
    }
    text
}
