//! Loops and trunks of Open vSwitch by frames: two links between two bridges under RSTP, and what a trunk lets through.

mod lab;

use std::time::Duration;

use lab::{Lab, eventually};

const PROGRAMS: &[&str] = &["ovs-vswitchd", "ovsdb-server", "ovs-vsctl", "ovs-appctl", "python3"];
/// Roles are settled in a few hello times of two seconds, each way of a link in a forward delay of 15 s at most.
const CONVERGED: Duration = Duration::from_secs(60);

/// Sends `count` frames of an EtherType for experiments out of eth0, with a VLAN tag or none; each has a number of its own.
const SEND: &str = "import socket,struct,sys
tag,count,start=int(sys.argv[1]),int(sys.argv[2]),int(sys.argv[3])
s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW); s.bind(('eth0',0))
head=b'\\xff'*6+bytes.fromhex('026e62000001')+(struct.pack('!HH',0x8100,tag) if tag else b'')+struct.pack('!H',0x88b5)
for n in range(count): s.send(head+struct.pack('!I',start+n)+bytes(60))";

/// Says `ready`, then a line for each such frame that comes in by eth0: VLAN (0 for none) and number. Ends with its input.
const LISTEN: &str = "import socket,struct,sys,select
s=socket.socket(socket.AF_PACKET,socket.SOCK_RAW,socket.htons(3)); s.setsockopt(263,8,1); s.bind(('eth0',3))
print('ready',flush=True)
while True:
    data,parts,_,at=s.recvmsg(2048,256)
    if at[2]==4: continue
    tag=0
    for level,kind,value in parts:
        if (level,kind)==(263,8):
            status,_,_,_,_,tci,_=struct.unpack('=IIIHHHH',value)
            if status&16: tag=tci&4095
    kind,rest=struct.unpack('!H',data[12:14])[0],data[14:]
    if kind==0x8100: tag,kind,rest=struct.unpack('!H',rest[:2])[0]&4095,struct.unpack('!H',rest[2:4])[0],rest[4:]
    if kind==0x88b5: print(tag,struct.unpack('!I',rest[:4])[0],flush=True)";

/// A listener in a namespace that writes what it hears into a file of the lab.
fn listen(lab: &Lab, ns: &str) -> lab::Background {
    let script = lab.file("listen.py", LISTEN);
    lab.sh(&format!("rm -f /mnt/{ns}.heard"));
    let mut command = lab.command("ip");
    command.args(["netns", "exec", ns, "sh", "-c", &format!("exec python3 {script} >/mnt/{ns}.heard 2>&1")]);
    let listener = lab.background(command);
    let ready = || lab.read(format!("/mnt/{ns}.heard")).is_ok_and(|text| text.contains("ready"));
    assert!(eventually(Duration::from_secs(20), ready), "a listener in {ns}");
    listener
}

fn send(lab: &Lab, ns: &str, tag: u16, count: u32, start: u32) {
    let script = lab.file("send.py", SEND);
    lab.sh(&format!("ip netns exec {ns} python3 {script} {tag} {count} {start}"));
}

/// What a listener has heard: VLAN and number, in order.
fn heard(lab: &Lab, ns: &str) -> Vec<(u16, u32)> {
    let text = lab.read(format!("/mnt/{ns}.heard")).expect("what was heard");
    let pair = |line: &str| {
        let (tag, number) = line.split_once(' ')?;
        Some((tag.parse().ok()?, number.parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

fn ofproto_port_states(lab: &Lab) -> String {
    lab.sh("for b in left right; do ovs-appctl -t /run/netbench/r/ovs-fabric/ovs-vswitchd.ctl rstp/show $b; done")
}

const LOOP: &str = "name = \"r\"\n[node.a]\n[node.b]\n\
    [switch.left]\nkind = \"ovs\"\nrstp = true\nports = [\"a\"]\n\
    [switch.right]\nkind = \"ovs\"\nrstp = true\nports = [\"b\"]\n\
    [[link]]\nends = [\"left:l0\", \"right:r0\"]\n\
    [[link]]\nends = [\"left:l1\", \"right:r1\"]\n";

#[test]
fn one_of_two_links_blocks_and_takes_over() {
    let Some(lab) = Lab::with("ovs-rstp", PROGRAMS) else { return };
    let before = lab.settled();
    let file = lab.file("r.toml", LOOP);
    lab.netbench(&["topo", "apply", "--no-prove", &file]).ok();
    lab.netbench(&["topo", "verify", &file]).ok();
    // Of four ends of links one discards, and the ends forward otherwise.
    let count = |word: &str| {
        let shown = ofproto_port_states(&lab);
        let of_links = shown.lines().filter(|line| ["l0", "l1", "r0", "r1"].iter().any(|end| line.contains(end)));
        of_links.filter(|line| line.contains(word)).count()
    };
    let settled = || (count("Forwarding"), count("Discarding")) == (3, 1);
    assert!(eventually(CONVERGED, settled), "{}", ofproto_port_states(&lab));

    // Broadcasts would go round for ever in a loop, and come twice over two links.
    let listener = listen(&lab, "nb-r-b");
    let came = |from: u32, number: u32| heard(&lab, "nb-r-b").iter().filter(|(_, n)| *n == from + number).count();
    // The ports of nodes forward a moment later than links do.
    let mut tries = 0;
    let reached = eventually(CONVERGED, || {
        tries += 1;
        send(&lab, "nb-r-a", 0, 1, 1_000_000 + tries);
        came(1_000_000, tries) > 0
    });
    assert!(reached, "{}", ofproto_port_states(&lab));
    send(&lab, "nb-r-a", 0, 50, 0);
    assert!(eventually(CONVERGED, || came(0, 49) > 0), "the last of 50 arrives");
    send(&lab, "nb-r-a", 0, 1, 100);
    assert!(eventually(CONVERGED, || came(0, 100) > 0), "and one that was sent after all of them");
    let numbers: Vec<u32> = heard(&lab, "nb-r-b").iter().map(|(_, number)| *number).filter(|n| *n < 50).collect();
    assert_eq!(numbers, (0..50).collect::<Vec<u32>>(), "each frame arrives once, in order");

    // The link that forwards at both ends goes down: the other takes over.
    let shown = ofproto_port_states(&lab);
    let blocked = shown.lines().find(|line| line.contains("Discarding")).expect("one end discards");
    let active = if blocked.contains("l0") || blocked.contains("r0") { "l1" } else { "l0" };
    lab.sh(&format!("ip -n nb-r-fabric link set {active} down"));
    let mut tries = 0;
    let moved = eventually(CONVERGED, || {
        tries += 1;
        send(&lab, "nb-r-a", 0, 1, 2_000_000 + tries);
        came(2_000_000, tries) > 0
    });
    assert!(moved, "traffic goes on over the other link: {}", ofproto_port_states(&lab));
    assert!(
        eventually(CONVERGED, || count("Discarding") == 0 || count("Forwarding") == 2),
        "{}",
        ofproto_port_states(&lab)
    );
    drop(listener);
    lab.netbench(&["topo", "destroy", "r"]).ok();
    lab.assert_as_before(&before, "destroy");
}

/// a is the trunk: 10 and 20 pass tagged, untagged frames are of the VLAN that the port says.
fn trunk(native: &str) -> String {
    format!(
        "name = \"k\"\n[node.all]\n[node.other]\n[node.a]\n[node.ten]\n[node.twenty]\n[node.thirty]\n[switch.s]\nkind = \"ovs\"\n\
         ports = [{{ node = \"a\", trunks = [10, 20]{native} }}, {{ node = \"ten\", vlan = 10 }}, \
         {{ node = \"twenty\", vlan = 20 }}, {{ node = \"thirty\", vlan = 30 }}, \"all\", \"other\"]\n"
    )
}

#[test]
fn a_trunk_passes_what_it_declares_and_drops_the_rest() {
    let Some(lab) = Lab::with("ovs-trunk", PROGRAMS) else { return };
    let before = lab.settled();
    lab.netbench(&["topo", "check", &lab.file("k.toml", &trunk(""))]).exits(2).says("drops the untagged frames");
    for (native, untagged) in [(", vlan = 5", Some(5)), (", vlan = 10", Some(10))] {
        let file = lab.file("k.toml", &trunk(native));
        lab.netbench(&["topo", "apply", "--no-prove", &file]).ok();
        let names = ["ten", "twenty", "thirty", "all"];
        let listeners: Vec<_> = names.iter().map(|node| listen(&lab, &format!("nb-k-{node}"))).collect();
        for (tag, start) in [(0, 0), (30, 300), (10, 100), (20, 200)] {
            send(&lab, "nb-k-a", tag, 3, start);
        }
        // What must arrive was sent last, and so came last.
        let of = |node: &str| heard(&lab, &format!("nb-k-{node}"));
        assert!(eventually(CONVERGED, || of("all").iter().any(|(_, number)| *number == 202)), "{:?}", of("all"));
        assert!(eventually(CONVERGED, || of("ten").len() >= 3 && of("twenty").len() >= 3), "{native}");
        let three = |tag: u16, start: u32| (0..3).map(move |n| (tag, start + n));
        let native = |vlan: u16| untagged.filter(|own| *own == vlan).into_iter().flat_map(move |_| three(0, 0));
        // An access port takes the tag away.
        assert_eq!(of("ten"), native(10).chain(three(0, 100)).collect::<Vec<_>>(), "{untagged:?}");
        assert_eq!(of("twenty"), three(0, 200).collect::<Vec<_>>(), "{untagged:?}");
        assert_eq!(of("thirty"), [], "{untagged:?}");
        // A port of all VLANs has what entered by the trunk, with its tag.
        let entered = untagged.into_iter().flat_map(|vlan| three(vlan, 0));
        assert_eq!(of("all"), entered.chain(three(10, 100)).chain(three(20, 200)).collect::<Vec<_>>(), "{untagged:?}");
        drop(listeners);

        // The other way: what leaves by the trunk carries its tag, but for what is its own VLAN; 30 does not leave.
        let listener = listen(&lab, "nb-k-a");
        for (node, start) in [("thirty", 300), ("ten", 100), ("twenty", 200)] {
            send(&lab, &format!("nb-k-{node}"), 0, 3, start);
        }
        assert!(eventually(CONVERGED, || of("a").iter().any(|(_, number)| *number == 202)), "{:?}", of("a"));
        let ten = if untagged == Some(10) { 0 } else { 10 };
        assert_eq!(of("a"), three(ten, 100).chain(three(20, 200)).collect::<Vec<_>>(), "{untagged:?}");
        drop(listener);
        lab.netbench(&["topo", "destroy", "k"]).ok();
        lab.assert_as_before(&before, "destroy");
    }
}
