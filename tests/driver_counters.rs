//! Drops that stand in a driver's own statistics alone (`ethtool -S`) are found, charged and told.

mod lab;

use lab::Lab;

/// Attaches a program to a link by XDP that drops one of eight frames of this length, and no other.
const DROPPER: &str = r#"
import ctypes, os, platform, socket, struct, sys
name, length = sys.argv[1], int(sys.argv[2])
def insn(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("<BBhi", code, src << 4 | dst, off, imm)
program = b"".join([
    insn(0x61, 2, 1, 0),            # r2 = data
    insn(0x61, 3, 1, 4),            # r3 = data_end
    insn(0x07, 2, imm=length),      # r2 += length
    insn(0x2d, 2, 3, 6),            # shorter: pass
    insn(0x07, 2, imm=1),           # r2 += 1
    insn(0xbd, 2, 3, 4),            # longer: pass
    insn(0x85, imm=7),              # a random number
    insn(0x57, 0, imm=7),           # r0 &= 7
    insn(0x55, 0, off=1, imm=0),    # not zero: pass
    insn(0x05, off=2),              # zero: drop
    insn(0xb7, 0, imm=2), insn(0x95),   # XDP_PASS
    insn(0xb7, 0, imm=1), insn(0x95),   # XDP_DROP
])
code, licence, log = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"GPL"), ctypes.create_string_buffer(1 << 16)
attributes = struct.pack("<IIQQIIQ", 6, len(program) // 8, ctypes.addressof(code), ctypes.addressof(licence), 1, len(log), ctypes.addressof(log))
attributes = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)
program = libc.syscall(number, 5, attributes, 128)
if program < 0:
    sys.exit(f"load: {os.strerror(ctypes.get_errno())}\n{log.value.decode()}")
def attribute(kind, value):
    return (struct.pack("<HH", len(value) + 4, kind) + value).ljust((len(value) + 7) // 4 * 4, b"\0")
xdp = attribute(43 | 0x8000, attribute(1, struct.pack("<i", program)) + attribute(3, struct.pack("<I", 1 << 2)))
link = struct.pack("<BBHiII", 0, 0, 0, socket.if_nametoindex(name), 0, 0)
body = link + xdp
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
netlink.send(struct.pack("<IHHII", 16 + len(body), 19, 5, 1, 0) + body)
error = struct.unpack_from("<i", netlink.recv(4096), 16)[0]
if error:
    sys.exit(f"attach: {os.strerror(-error)}")
"#;

/// Payload of a datagram; its frame has 42 bytes more.
const LENGTH: u32 = 1200;

#[test]
fn what_only_the_driver_counts_is_a_place_of_loss() {
    if !lab::require_root("a program for XDP is loaded by root") {
        return;
    }
    let Some(lab) = Lab::with("driver-counters", &["python3", "ethtool"]) else { return };
    let file = lab.file(
        "pair.toml",
        "name = \"pair\"\nmtu = 1500\n[node.a]\n[node.b]\n[[link]]\nends = [\"a\", \"b\"]\n[[flow]]\nfrom = \"a\"\nto = \"b\"\n",
    );
    lab.file("dropper.py", DROPPER);
    lab.netbench(&["topo", "apply", &file]).ok();
    let b = lab.namespaces().into_iter().find(|name| name.ends_with('b')).expect("it is up");
    lab.sh_in(&b, &format!("python3 /mnt/dropper.py eth0 {}", LENGTH + 42));
    let length = LENGTH.to_string();
    let args = ["run", &file, "--test", "udp_stream", "--length", &length, "--rate", "20mbit", "--send", "mmsg"];
    let more = ["--recv", "mmsg", "--duration", "600ms", "--rounds", "1", "--no-store"];
    let record = lab.netbench(&[&args[..], &more, &["--json"]].concat()).ok().json();
    let test = &record["flows"][0]["tests"][0];
    let hop = &test["rounds"][0]["path"]["hops"][1];
    assert_eq!(hop["at"], "b/eth0", "{hop:#}");
    let dropped = hop["driver"]["rx_queue_0_xdp_drops"].as_u64().unwrap_or(0);
    assert!(dropped > 10, "of more than a thousand frames one in eight: {hop:#}");
    assert_eq!(hop["dropped"], dropped, "{hop:#}");
    assert_eq!(test["rounds"][0]["bottleneck"]["limit"], "path_drops", "{test:#}");
    // Where it was lost, exactly.
    let datagrams = &test["summary"]["datagrams"];
    let losses = datagrams["losses"].as_array().expect("there are losses");
    assert_eq!(losses.len(), 1, "{datagrams:#}");
    assert_eq!((&losses[0]["place"], &losses[0]["at"]), (&"interface".into(), &"b/eth0".into()), "{datagrams:#}");
    assert_eq!((&losses[0]["datagrams"], &losses[0]["counted"]), (&dropped.into(), &dropped.into()), "{datagrams:#}");
    assert_eq!(record["flows"][0]["tests"][0]["verdict"]["valid"], true, "{test:#}");
    // The driver's name for it stands in the text.
    let done = lab.netbench(&[&args[..], &more].concat()).ok();
    done.says("driver of b/eth0: rx_queue_0_xdp_drops").says("lost in the interface of b/eth0");
    lab.netbench(&["topo", "destroy", "pair"]).ok();
}

/// Statistics that did not rise are none.
#[test]
fn a_path_without_drops_has_none() {
    let Some(lab) = Lab::new("driver-nothing") else { return };
    let args = ["run", "veth", "--test", "udp_rr", "--duration", "100ms", "--rounds", "1", "--json"];
    let record = lab.netbench(&args).ok().json();
    let hops = record["flows"][0]["tests"][0]["rounds"][0]["path"]["hops"].as_array().expect("hops");
    assert!(!hops.is_empty() && hops.iter().all(|hop| hop.get("driver").is_none()), "{hops:#?}");
}
