//! Isolation, oracles and small makers.

#[path = "../lab/skip.rs"]
mod skip;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use netbench::{
    kernel::{Netns, link::Marks},
    plan::desired::{Link, LinkKind, LinkRef, NsId},
    units::IfName,
};
use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::UnshareFlags,
};

pub use skip::also_in_lab;
use skip::skip;

/// Puts the calling thread into namespaces of its own; false, with the reason printed, where that is not allowed.
pub fn isolated() -> bool {
    // SAFETY: unsafe for CLONE_FILES only.
    let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) };
    if let Err(errno) = unshared {
        skip(&format!("cannot make namespaces: {errno}"));
        return false;
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    mount("tmpfs", "/run", "tmpfs", MountFlags::empty(), None).unwrap();
    let _ = mount("sysfs", "/sys", "sysfs", MountFlags::empty(), None);
    true
}

/// `/run/netns/NAME`
pub fn path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// A marked namespace.
pub fn namespace(name: &str) -> Netns {
    let sysctl = BTreeMap::from([
        ("net.ipv6.conf.all.disable_ipv6".to_owned(), "0".to_owned()),
        ("net.ipv6.conf.default.accept_dad".to_owned(), "0".to_owned()),
    ]);
    Netns::create(&path(name), name, &format!("netbench:t:{name}"), &sysctl).unwrap()
}

pub fn name(text: &str) -> IfName {
    IfName::from_str(text).unwrap()
}

pub fn at(ns: &Netns, ifname: &str) -> LinkRef {
    LinkRef { ns: NsId(ns.label().into()), name: name(ifname) }
}

pub fn link(ns: &Netns, ifname: &str, kind: LinkKind) -> Link {
    Link {
        at: at(ns, ifname),
        kind,
        mtu: None,
        mac: None,
        master: None,
        vlan: None,
        addresses: Vec::new(),
        qdisc: None,
        features: BTreeMap::new(),
        ethtool: BTreeMap::new(),
        gso_max_size: None,
    }
}

pub fn bridge(ns: &Netns, ifname: &str) -> Link {
    link(ns, ifname, LinkKind::Bridge { stp: false, vlan_filtering: false, multicast_snooping: Some(false) })
}

/// A veth pair `a` in one namespace, `b` in another, with an MTU.
pub fn veth(a: (&Netns, &str), b: (&Netns, &str), mtu: u32) {
    let mut first = link(a.0, a.1, LinkKind::Veth { peer: at(b.0, b.1) });
    let mut second = link(b.0, b.1, LinkKind::Veth { peer: at(a.0, a.1) });
    (first.mtu, second.mtu) = (Some(mtu), Some(mtu));
    netbench::kernel::link::create(a.0, &first, Some((b.0, &second)), &Marks::default(), None, &|_| {}).unwrap();
    let up = netbench::plan::step::LinkSet { up: Some(true), ..Default::default() };
    netbench::kernel::link::set(b.0, &second.at.name, &up).unwrap();
}

/// JSON of an oracle run inside a namespace.
pub fn oracle(ns: &Netns, command: &str) -> serde_json::Value {
    let text = run(ns, command);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command}: {error}: {text}"))
}

/// Output of a command run inside a namespace.
pub fn run(ns: &Netns, command: &str) -> String {
    let mut words = command.split_whitespace();
    let mut command_line = Command::new(words.next().unwrap());
    command_line.args(words).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let output = ns.spawn(&mut command_line).unwrap().wait_with_output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
