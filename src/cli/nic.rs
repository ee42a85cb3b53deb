//! `netbench nic`: the interfaces of this host as hardware.

use clap::Subcommand;

use super::{Exit, data, print, table, talk};
use crate::{
    facts::nic::{Function, Nic as Facts, SwitchPort},
    kernel::{self, netns::Netns},
    ovs::{self, system::System},
    plan::desired::NsId,
    units::BitRate,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Nic {
    List(ListArgs),
    Show(ShowArgs),
}

/// List the interfaces: driver, PCI address, speed, NUMA node, SR-IOV. Needs no privilege.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Virtual interfaces too (veth, bridges, tunnels).
    #[arg(long)]
    all: bool,
    /// Print all that is known of each as JSON.
    #[arg(long)]
    json: bool,
}

/// Show all of one interface: bus and what it carries, offloads, queues, interrupts, SR-IOV, clock. Needs no privilege.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Its name, an alternative name, or its PCI address.
    interface: String,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

impl Nic {
    /// Runs the command.
    pub fn run(self) -> anyhow::Result<Exit> {
        let nics = kernel::nic::describe_all(&Netns::current(NsId::SELF)?)?;
        match self {
            Self::List(args) => list(nics, &args),
            Self::Show(args) => show(&nics, &args),
        }
    }
}

fn list(nics: Vec<Facts>, args: &ListArgs) -> anyhow::Result<Exit> {
    let hardware = |nic: &Facts| nic.kind.is_none() && nic.ifname != "lo";
    let shown: Vec<Facts> = nics.into_iter().filter(|nic| args.all || hardware(nic)).collect();
    if args.json {
        data(&shown)?;
    } else if shown.is_empty() {
        talk("no hardware interface here; --all lists virtual ones");
    } else {
        let head = ["interface", "driver", "pci", "link", "bus", "numa", "vfs"].map(str::to_owned);
        print(&table(&head, &shown.iter().map(row).collect::<Vec<_>>()))?;
        for nic in shown.iter().filter(|nic| nic.is_starved()) {
            talk(&starved(nic));
        }
    }
    Ok(Exit::Ok)
}

fn row(nic: &Facts) -> [String; 7] {
    let link = match (nic.up, nic.carrier, nic.speed_bits) {
        (false, ..) => "down".to_owned(),
        (true, false, _) => "no carrier".to_owned(),
        (true, true, Some(bits)) => BitRate(bits).to_string(),
        (true, true, None) => "up".to_owned(),
    };
    let pci = nic.pci.as_ref();
    let vfs = match (&nic.sriov, &nic.function_of) {
        (Some(sriov), _) => format!("{} of {}", sriov.functions.len(), sriov.total),
        (None, Some(pf)) => format!("of {pf}"),
        (None, None) => {
            nic.representor_of.as_ref().map_or_else(|| "-".into(), |of| format!("{} of {}", of.port, of.nic))
        }
    };
    [
        nic.ifname.clone(),
        nic.driver.clone().or_else(|| nic.kind.clone()).unwrap_or_else(|| "-".into()),
        pci.map_or_else(|| "-".into(), |pci| pci.address.clone()),
        link,
        pci.and_then(|pci| pci.bits_per_second).map_or_else(|| "-".into(), gigabits),
        nic.numa.map_or_else(|| "-".into(), |node| node.to_string()),
        vfs,
    ]
}

fn gigabits(bits: u64) -> String {
    format!("{:.1} Gb/s", bits as f64 / 1e9)
}

fn starved(nic: &Facts) -> String {
    let bus = nic.pci.as_ref().and_then(|pci| pci.bits_per_second).unwrap_or_default();
    let line = BitRate(nic.speed_bits.unwrap_or_default());
    format!(
        "{}: its PCI link carries {} each way, its line {line}: it cannot be filled; look for a slot with more lanes",
        nic.ifname,
        gigabits(bus)
    )
}

fn show(nics: &[Facts], args: &ShowArgs) -> anyhow::Result<Exit> {
    let is_it = |nic: &&Facts| {
        nic.ifname == args.interface
            || nic.altnames.contains(&args.interface)
            || nic.pci.as_ref().is_some_and(|pci| pci.address == args.interface)
    };
    let Some(mut nic) = nics.iter().find(is_it).cloned() else {
        talk(&format!(
            "error: no interface {:?} in this namespace; `netbench nic list --all` names them",
            args.interface
        ));
        return Ok(Exit::Usage);
    };
    nic.open_vswitch = port_of_host_switch(&nic.ifname);
    if args.json {
        data(&nic)?;
    } else {
        print(&text(&nic))?;
        if nic.is_starved() {
            talk(&starved(&nic));
        }
    }
    Ok(Exit::Ok)
}

/// Where the host's own Open vSwitch has it, as far as we may read its database.
fn port_of_host_switch(ifname: &str) -> Option<SwitchPort> {
    let system = System::find().ok()?;
    let bridge = system.bridge_of(ifname).ok()??;
    Some(SwitchPort { bridge, settings: ovs::settings::read(&system.database()).ok()? })
}

fn text(nic: &Facts) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    let mut also = |name, value: Option<String>| lines.extend(value.map(|value| (name, value)));
    also("interface", Some([vec![nic.ifname.clone()], nic.altnames.clone()].concat().join(", ")));
    also("kind", nic.kind.clone());
    also("driver", nic.driver.clone());
    also("firmware", nic.firmware.clone());
    also("mac", nic.mac.map(|mac| mac.to_string()));
    also("mtu", Some(nic.max_mtu.map_or(nic.mtu.to_string(), |most| format!("{}, at most {most}", nic.mtu))));
    also("link", Some(row(nic)[3].clone()));
    if let Some(pci) = &nic.pci {
        also("pci", Some(format!("{} [{}]", pci.address, pci.id)));
        let width = |speed: Option<f64>, lanes: Option<u32>| Some(format!("{} GT/s x{}", speed?, lanes?));
        let most =
            width(pci.max_gigatransfers, pci.max_lanes).map_or(String::new(), |most| format!(", at most {most}"));
        let carries = pci.bits_per_second.map_or(String::new(), |bits| format!(": {} each way", gigabits(bits)));
        also("bus", width(pci.gigatransfers, pci.lanes).map(|now| format!("{now}{carries}{most}")));
    }
    also("numa node", nic.numa.map(|node| node.to_string()));
    also("ptp clock", nic.ptp_clock.map(|clock| format!("/dev/ptp{clock}")));
    also("queues", Some(format!("{} rx, {} tx", nic.queues.rx, nic.queues.tx)));
    if !nic.irqs.is_empty() {
        let cpus = nic.irq_cpus();
        let list = cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        also("interrupts", Some(format!("{} on {} CPUs ({list})", nic.irqs.len(), cpus.len())));
    }
    let group = |prefix: &str| {
        let of = nic.parameters.iter().filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value)));
        Some(of.map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>().join(", ")).filter(|t| !t.is_empty())
    };
    also("rings", group("rings."));
    also("channels", group("channels."));
    also("coalesce", group("coalesce."));
    let on: Vec<&str> = nic.offloads.iter().filter(|(_, o)| o.on).map(|(name, _)| name.as_str()).collect();
    let off: Vec<&str> =
        nic.offloads.iter().filter(|(_, o)| !o.on && o.changeable).map(|(name, _)| name.as_str()).collect();
    also("offloads on", Some(on.join(" ")).filter(|text| !text.is_empty()));
    also("offloads off", Some(off.join(" ")).filter(|text| !text.is_empty()));
    for table in &nic.tunnel_tables {
        also("tunnel ports", Some(table.to_string()));
    }
    if let Some(port) = &nic.open_vswitch {
        also("switch", Some(format!("port of {} of the host's own Open vSwitch", port.bridge)));
        for setting in &port.settings {
            also("  set", Some(setting.to_string()));
        }
    }
    also("function of", nic.function_of.clone());
    also("stands for", nic.representor_of.as_ref().map(|of| format!("{} of {}", of.port, of.nic)));
    if let Some(sriov) = &nic.sriov {
        let autoprobe = if sriov.autoprobe { "" } else { ", drivers are not bound to new ones" };
        let mode = sriov.eswitch.as_ref().map_or(String::new(), |mode| format!(", eswitch {mode}"));
        also("sr-iov", Some(format!("{} of {} functions{autoprobe}{mode}", sriov.functions.len(), sriov.total)));
        for (number, function) in sriov.functions.iter().enumerate() {
            also("  function", Some(format!("{number} {}", one_function(function))));
        }
    }
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    lines.into_iter().flat_map(|(name, value)| wrapped(name, &value, width)).collect()
}

fn one_function(function: &Function) -> String {
    let place = function.ifname.as_deref().unwrap_or("in no interface of this namespace");
    let driver = function.driver.as_deref().unwrap_or("no driver");
    let is = match function.address.as_str() {
        "" => "no PCI function".to_owned(),
        address => format!("{address} {driver}, {place}"),
    };
    let representor = function.representor.as_ref().map_or(String::new(), |name| format!(", represented by {name}"));
    let settings: Vec<String> = function.settings.iter().map(|(key, value)| format!("{key} {value}")).collect();
    format!("{is}{representor}; {}", settings.join(", "))
}

/// A line, or several of at most 80 columns.
fn wrapped(name: &str, value: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in value.split(' ') {
        let full = lines.last().is_some_and(|line| !line.is_empty() && width + 2 + line.len() + word.len() >= 80);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
    }
    let label = |at: usize| if at == 0 { name } else { "" };
    lines.iter().enumerate().map(|(at, line)| format!("{:width$}  {line}\n", label(at))).collect()
}
