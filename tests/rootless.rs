//! Working without root: a user namespace can be entered only by a process with one thread, so this test has a `main`.

#[path = "lab/skip.rs"]
mod skip;

use std::{collections::BTreeMap, error::Error, os::unix::process::CommandExt, path::Path, process::Command};

use netbench::kernel::{Netns, link, netns, rootless};
use netbench::plan::desired::{Link, LinkKind, LinkRef, NsId};

use skip::skip;

/// Set for the child that runs as nobody.
const CHILD: &str = "NETBENCH_TEST_ROOTLESS_CHILD";
const NOBODY: u32 = 65534;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        // nextest's protocol: the ignored ones are listed apart.
        if !arguments.iter().any(|argument| argument == "--ignored") {
            println!("works_without_root: test");
        }
        return;
    }
    if std::env::var_os(CHILD).is_some() {
        if let Err(error) = works_without_root() {
            eprintln!("{error}");
            std::process::exit(1);
        }
        return;
    }
    let mut command = Command::new(std::env::current_exe().expect("the test's own path"));
    command.env(CHILD, "1");
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    // Only starting it may be impossible (a folder closed to nobody); what it then does must succeed.
    match command.status() {
        Ok(status) => assert!(status.success(), "without root: {status}"),
        Err(error) => {
            skip(&format!("cannot start as nobody: {error}"));
        }
    }
}

fn works_without_root() -> Result<(), Box<dyn Error>> {
    let capabilities = rustix::thread::CapabilitySet::NET_ADMIN | rustix::thread::CapabilitySet::SYS_ADMIN;
    if rootless::can(capabilities) {
        return Err("it still has capabilities".into());
    }
    if let Err(error) = rootless::enter() {
        skip(&error.to_string());
        return Ok(());
    }
    if !rootless::can(capabilities) {
        return Err("no capabilities inside".into());
    }
    rootless::enter()?;
    let path = Path::new("/run/netns/a");
    let sysctl = BTreeMap::from([("net.ipv4.ip_forward".to_owned(), "1".to_owned())]);
    let ns = Netns::create(path, "a", "netbench:t:a", &sysctl)?;
    let bridge = Link {
        at: LinkRef { ns: NsId("a".into()), name: "br1".parse()? },
        kind: LinkKind::Bridge { stp: false, vlan_filtering: false, multicast_snooping: None },
        mtu: Some(9000),
        mac: None,
        master: None,
        vlan: None,
        addresses: Vec::new(),
        qdisc: None,
        features: BTreeMap::new(),
        ethtool: BTreeMap::new(),
        gso_max_size: None,
    };
    link::create(&ns, &bridge, None, &link::Marks::default(), None, &|_| {})?;
    let inside = ns.spawn(Command::new("true").env_remove(CHILD))?.wait()?;
    if !inside.success() || ns.sysctl("net.ipv4.ip_forward")?.as_deref() != Some("1") {
        return Err("the namespace does not work".into());
    }
    netns::remove(path)?;
    Ok(())
}
