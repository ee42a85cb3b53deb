//! Every mistake a topology can hold, with a stable code, a title and what to do about it.

use std::fmt;

/// Declares the codes once: the enum, its numbers, titles and explanations.
macro_rules! codes {
    ($($number:literal $name:ident $title:literal $text:literal)*) => {
        /// A kind of mistake; its number is stable between versions and never reused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $name = $number,)*
        }

        impl Code {
            /// Every code, in order of number.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// One line.
            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }

            /// The long explanation: why it is a mistake and how to mend it.
            pub fn explanation(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
        }
    };
}

codes! {
    1 Unreadable "the topology cannot be read"
    "The file is missing, is not a regular file, may not be read by this user, or is not UTF-8 text."
    2 UnknownTopology "no such file and no shipped topology of this name"
    "An argument that contains `/` or ends in `.toml` is a path. Anything else is a file of that name in this folder or,
failing that, one of the topologies inside the binary: `netbench topo new --list` names them."
    3 TooLarge "the file is too large"
    "A topology file has at most 1 MiB. `count = 500` on a node and a pattern such as `c*` in `ports` declare any number of
nodes in two lines."
    4 Syntax "not valid TOML"
    "The text breaks the rules of TOML 1.1 (https://toml.io): a missing quote or bracket, a key given twice, tables nested
more than 80 deep. The place is where the parser noticed; the cause can stand just before it."
    5 UnknownKey "unknown key"
    "The table has no key of this name. Unknown keys are refused rather than ignored, since a misspelt `vlan_filtering`
would otherwise change what is measured without a word. `topologies/netbench.schema.json` lists every key, and an editor
that knows JSON schemas completes them."
    6 WrongType "a value of the wrong type"
    "The key wants another type of value: `mtu = 9000` is a number, `mtu = \"9000\"` is a string; `ports = [\"a\"]` is a
list, `ports = \"a\"` is not."
    7 MissingKey "a required key is missing"
    "The table cannot be understood without this key: every file has a `name`, every switch a `kind`, every link two `ends`,
every tunnel a `kind`, a `vni` and two `ends`, every flow a `from` and a `to`."
    8 UnknownWord "not one of the allowed words"
    "The key takes one of a few words, which the message lists."
    9 OutOfRange "a number out of range"
    "MTU: 68 (RFC 791) to 65535. VLAN: 1 to 4094 (0 and 4095 are reserved by 802.1Q). VNI: 24 bits. `count`: 1 to 65536, and
65536 nodes in all."
    10 Malformed "a value that cannot be understood"
    "A rate is a number with a unit (`10gbit`), a delay likewise (`5ms`), a loss is a percentage (`0.1%`), a MAC address six
bytes (`02:00:00:00:00:01`), a CPU list numbers and ranges (`0,4-7`), a PCI address `0000:01:00.0`."
    11 BadName "a name that cannot be used"
    "Nodes, hosts, switches and NICs become names of namespaces and interfaces: lower-case letters, digits, `-` and `_`,
starting with a letter or digit, at most 15 bytes (the kernel's IFNAMSIZ less one), the number that `count` adds included.
`self` and `fabric` mean something else to netbench. The topology's own name has at most 32 bytes and no `_`. An interface
name has at most 15 bytes, no white space, no `/`, `:` or `%`, and is not `lo`."
    12 Dangling "a name that nothing declares"
    "The name is used here but no `[node.…]`, `[host.…]`, `[switch.…]` or `[nic.…]` of the right kind declares it. A node with
`count` is only known by its numbered names (`c0`) or a pattern (`c*`)."
    13 Duplicate "a name declared twice"
    "Nodes, hosts, switches and NICs share one space of names, because links and flows refer to them by name alone. Numbered
nodes count: `[node.c] count = 3` and `[node.c1]` clash."
    14 NotAvailable "known, but not available in this version"
    "The language has this word, this version of netbench cannot build it yet. Nothing else is used in its place."
    15 EmptyPattern "a pattern that matches no node"
    "`*` stands for any text, `?` for one character, in names of nodes. A pattern that matches nothing is most likely a
slip, so it is refused."
    16 BadAddress "not a usable address"
    "An address carries its prefix length: `192.0.2.1/24`, `2001:db8::1/64`. The network's own address, its broadcast
address, multicast, loopback and the unspecified address cannot be an interface's."
    17 AddressClash "an address given twice"
    "Every address (IP and MAC) may stand on one interface only, in the whole topology: otherwise one cannot say who answered.
For the same reason a node cannot be in one subnet on two segments."
    18 AddressOutside "an address outside its segment's subnet"
    "All that can reach each other without a router (a switch, switches joined by links or tunnels, a wire) share one subnet:
that of the first address written there. Further addresses of an interface, after the first, are free."
    19 MtuMismatch "ports of one medium with different MTU"
    "A bridge does not fragment: a frame larger than the outgoing port's MTU is dropped without an error to anybody. All
ports, wires and NICs of one bridge, and all bridges joined with it, therefore have one MTU."
    20 TunnelMtu "the tunnel's frames do not fit the wire below"
    "VXLAN and Geneve add 50 bytes over IPv4 and 70 over IPv6 to each packet of the overlay, GRE with its key 42. Inner MTU plus overhead must not exceed
the MTU of the wire, or large packets are fragmented or lost. Leave the switch's `mtu` out and it is derived."
    21 ParentMtu "MTU larger than that of the NIC below"
    "The kernel refuses a macvlan child whose MTU exceeds its parent's (EINVAL), and a NIC drops the frames of a virtual
function that are longer than its own MTU. Raise the NIC's `mtu` or lower the child's."
    22 NicTaken "a NIC with two uses"
    "A device has one receive handler: the port of a bridge cannot carry macvlan children (EBUSY), and a NIC that was moved
into a node is gone from everywhere else. Give each use a NIC of its own."
    23 TooManyPorts "more ports than a bridge can have"
    "The kernel's bridge has 10 bits for a port number and keeps 0 for itself: 1023 ports (BR_MAX_PORTS, net/bridge/br_private.h),
spanning tree or not; the 1024th fails with EXFULL. Use `kind = \"ovs\"`, or shard: several bridges joined by
links, each with at most 1022 nodes."
    24 ManyPorts "a bridge so large that broadcasts are lost"
    "With more than 1000 ports one broadcast overflows the per-CPU backlog (net.core.netdev_max_backlog, default 1000), and the
neighbour table, one for all namespaces, is full at net.ipv4.neigh.default.gc_thresh3 (default 1024): ARP fails at random.
Both are raised with `sysctl -w` in the initial namespace. A warning only."
    25 VlanUnfiltered "`vlan` on a switch that does not filter VLANs"
    "Without `vlan_filtering = true` a bridge ignores the VLANs of its ports and joins them all. Open vSwitch (`kind = \"ovs\"`) always filters."
    26 StpDelay "spanning tree delays the first packet by 30 seconds"
    "With STP a port listens for 15 s and learns for 15 s before it forwards (802.1D, forward delay). Measurements wait for
that. A warning only; `stp` is off unless asked."
    27 NoUnderlay "a tunnel without a wire below"
    "A tunnel joins switches on two different hosts, and its outer packets travel between these: the hosts need a `[[link]]`
(or a common switch) of their own, or there is nothing to measure an overlay on."
    28 Loop "a loop of switches"
    "Frames circle for ever in a loop without spanning tree: the first broadcast takes every CPU. Remove one of the links or
set `stp = true` on every switch of the loop; `rstp = true` does as well on Open vSwitch, and is up within seconds."
    29 NoPath "no path between the ends of a flow"
    "No switch, wire or router joins the two nodes. Put both on one switch, or let a node with `forward = true` stand between."
    30 NoRoute "a flow whose packets have no route"
    "The path exists, but a namespace on it has no route to the other end, so the packet (or the answer) is dropped there.
Give the node a route: `routes = [\"default via ROUTER\"]`."
    31 BadRoute "a route that cannot be understood or cannot work"
    "A route is `DEST via GATEWAY` or `DEST dev IFNAME`. DEST is `default`, a prefix, or a node (its subnet); GATEWAY is an
address or a node on a segment that the owner of the route is on too."
    32 BadSysctl "a sysctl that does not belong to a namespace"
    "Only `net.*` keys, with dots, are a network namespace's own. Everything else would change the whole machine."
    33 BadAttach "`attach` cannot be understood"
    "Write `docker:NAME`, `podman:NAME`, `pid:NUMBER`, `netns:/absolute/path` or `self`."
    34 Conflict "keys that do not go together"
    "Two keys of one table contradict each other, or a key belongs to another kind of switch. A key without effect is refused,
since it would let the reader believe in something that is not measured."
    35 InterfaceClash "two interfaces of one name in one namespace"
    "A namespace has each interface name once. Names are given by `ifname`, by `node:ifname` in a link, or as `eth0`, `eth1`,
… in order of declaration."
    36 UnknownTest "unknown test"
    "Tests are named as netperf names them, in lower case: `tcp_stream`, `tcp_maerts`, `tcp_bidir`, `tcp_sendfile`, `udp_stream`, `frame_stream`, `tcp_rr`, `udp_rr`, `tcp_crr`, `tcp_cc`."
    37 PortTwice "a node twice on one switch"
    "Patterns and names may overlap: `[\"c*\", \"c1\"]` lists `c1` twice. A node has one port on a switch."
    38 Ipv6Mtu "MTU too small for IPv6"
    "IPv6 needs 1280 bytes on every link (RFC 8200, section 5); below that the kernel removes IPv6 from the interface."
    39 AddressesExhausted "no free address left"
    "Addresses that are not written come from 198.18.0.0/15, or from the subnet of the segment's first written address. It is
full: write a shorter prefix or use fewer nodes."
    40 FlowToItself "a flow from a node to itself"
    "Traffic to oneself never leaves the namespace. For a loopback measurement declare two nodes with `attach = \"self\"`."
    41 BadEnd "an end that a wire cannot have"
    "A wire ends in a node, a host, or a bridge; its two ends are in different places."
    42 OtherHost "a node on a switch of another host"
    "The node says it runs on one host, the switch is on another. Join hosts with a `[[link]]` or a `[[tunnel]]`."
    43 SameVni "a VNI twice on one host"
    "A namespace has one VXLAN device for each VNI and UDP port; the kernel refuses the second (EEXIST). Give each tunnel of a
host its own `vni`."
    44 SpanningTreePorts "more ports than spanning tree of Open vSwitch takes"
    "Open vSwitch itself takes 65 thousand ports, its spanning tree 255 (STP_MAX_PORTS, lib/stp.h) and its rapid spanning tree
4095 (RSTP_MAX_PORTS, lib/rstp.h): ports beyond that take no part, and a loop through them is not broken. Leave `stp` and
`rstp` out (a tree without loops needs neither), or use several switches."
    45 MixedTunnel "a tunnel between switches of different kinds"
    "A tunnel's two ends speak the same protocol but are made in different ways: a device of the kernel in a bridge, a port in
Open vSwitch. A measurement of a mixture says nothing about either, so both ends have one `kind`."
    46 TunnelOffload "segmentation offload into a tunnel of the userspace datapath"
    "With `tso = true` nodes hand Open vSwitch packets of up to 64 KiB for segmentation later. Its userspace datapath cannot put
those into a tunnel and drops them (`Tunneling packets with HW offload flags is not supported`), so TCP does not pass. Leave
`tso` out: it is then on where there is no tunnel, and off with checksums computed in the nodes where there is one."
    47 TooFewFunctions "more ports than virtual functions"
    "Each port of a switch of kind `sriov` is one virtual function. Raise `vfs` of the NIC, or leave it out: as many are made as
there are ports. What the NIC can have at most is `sriov_totalvfs` (`netbench nic show`)."
    48 NoStandIn "SR-IOV without a real NIC"
    "Virtual functions are made by a NIC, and nothing can stand in for one: name it by `pci` or `ifname` (`netbench nic list`).
Without such a NIC, `scripts/vmlab` boots a machine that has two."
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("NB{:03}", *self as u16))
    }
}

impl std::str::FromStr for Code {
    type Err = String;

    /// Reads `NB012`, `nb12` or `12`.
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim().trim_start_matches(['N', 'n']).trim_start_matches(['B', 'b']);
        let number: u16 =
            digits.parse().map_err(|_| format!("`{}` is not a code; codes look like NB012", text.escape_debug()))?;
        Code::ALL.iter().copied().find(|&code| code as u16 == number).ok_or_else(|| {
            format!("there is no code NB{number:03}; they run from NB001 to {}", Code::ALL[Code::ALL.len() - 1])
        })
    }
}

/// `docs/errors.md`: all codes with their explanations.
pub fn reference() -> String {
    let mut page = String::from(
        "# Mistakes in a topology\n\nGenerated by `netbench explain --markdown`. `netbench explain NB012` prints one of them.\n",
    );
    for code in Code::ALL {
        page.push_str(&format!("\n## {code}: {}\n\n{}\n", code.title(), code.explanation()));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_run_without_a_gap_and_parse_back() {
        for (at, &code) in Code::ALL.iter().enumerate() {
            assert_eq!(code as usize, at + 1);
            assert_eq!(code.to_string().parse(), Ok(code));
        }
        assert_eq!("nb12".parse(), Ok(Code::Dangling));
        assert!("NB999".parse::<Code>().is_err());
        assert!("x".parse::<Code>().is_err());
    }
}
