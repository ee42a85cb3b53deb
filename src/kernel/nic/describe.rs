//! An interface as hardware, read from netlink, ethtool and sysfs; nothing of it needs root.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    facts::nic::{Function, Irq, Nic, Offload, Pci, Queues, Represented, Sriov},
    kernel::{
        Result,
        error::Operation,
        ethtool,
        netns::Netns,
        numa,
        observe::{LinkRow, rows},
        sriov,
    },
    units::IfName,
};

/// All interfaces of the namespace, by index.
///
/// # Errors
/// The links cannot be read.
pub fn describe_all(ns: &Netns) -> Result<Vec<Nic>> {
    let rows = rows(ns).map_err(|failure| Operation::of("read", "links", ns.label()).failed(failure))?;
    let interrupts = interrupts();
    Ok(rows.iter().map(|row| one(ns, row, &rows, &interrupts)).collect())
}

fn one(ns: &Netns, row: &LinkRow, rows: &[LinkRow], interrupts: &BTreeMap<u32, u64>) -> Nic {
    let name = &row.name;
    let folder = Path::new("/sys/class/net").join(name.as_str());
    let device = folder.join("device");
    let identity = ethtool::identity(ns, name).unwrap_or_default();
    let kind = Some(row.link.kind.clone()).filter(|kind| !kind.is_empty());
    let physical = row.parent.is_some();
    let features = ethtool::features(ns, name).unwrap_or_default();
    let address = row.link.pci.clone();
    let represents = row.represents().map(str::to_owned);
    // It has the address of the NIC, and is none.
    let own = address.as_deref().filter(|_| represents.is_none());
    let sriov = own.and_then(|address| functions(ns, name, address, rows));
    Nic {
        ifname: name.to_string(),
        altnames: row.link.altnames.clone(),
        driver: link_name(&device.join("driver")).or_else(|| identity.driver.clone()),
        firmware: identity.firmware,
        mac: row.link.mac,
        mtu: row.link.mtu,
        max_mtu: Some(row.link.max_mtu).filter(|&mtu| mtu > 0),
        up: row.link.up,
        carrier: row.link.carrier,
        speed_bits: ethtool::speed(ns, name).ok().flatten().filter(|_| physical).map(|rate| rate.0),
        pci: own.filter(|address| !address.contains('/')).map(pci),
        numa: numa::node_of(name),
        function_of: own.and_then(sriov::pf_of),
        open_vswitch: None,
        representor_of: address.clone().zip(represents).map(|(nic, port)| Represented { nic, port }),
        sriov,
        offloads: features
            .iter()
            .map(|(name, feature)| (name.clone(), Offload { on: feature.active, changeable: feature.changeable }))
            .collect(),
        parameters: ethtool::parameters(ns, name).unwrap_or_default(),
        queues: queues(&folder),
        irqs: irqs(&device, interrupts),
        ptp_clock: ethtool::ptp_clock(ns, name),
        tunnel_tables: ethtool::tunnel_ports(ns, name).ok().flatten().unwrap_or_default(),
        kind,
    }
}

fn link_name(path: &Path) -> Option<String> {
    fs::read_link(path).ok()?.file_name()?.to_str().map(str::to_owned)
}

fn read(path: PathBuf) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn pci(address: &str) -> Pci {
    let folder = Path::new("/sys/bus/pci/devices").join(address);
    let hex = |name: &str| read(folder.join(name)).map(|text| text.trim_start_matches("0x").to_owned());
    // `8.0 GT/s PCIe`; `Unknown` where the bridge above is no PCI Express port.
    let speed = |name: &str| read(folder.join(name))?.split_whitespace().next()?.parse::<f64>().ok();
    let width = |name: &str| read(folder.join(name))?.parse::<u32>().ok().filter(|&lanes| lanes > 0 && lanes < 255);
    let (gigatransfers, lanes) = (speed("current_link_speed"), width("current_link_width"));
    Pci {
        address: address.to_owned(),
        id: format!("{}:{}", hex("vendor").unwrap_or_default(), hex("device").unwrap_or_default()),
        gigatransfers,
        lanes,
        max_gigatransfers: speed("max_link_speed"),
        max_lanes: width("max_link_width"),
        bits_per_second: gigatransfers.zip(lanes).map(|(speed, lanes)| Pci::rate(speed, lanes).0),
    }
}

fn functions(ns: &Netns, name: &IfName, pci: &str, rows: &[LinkRow]) -> Option<Sriov> {
    if sriov::total(pci) == 0 {
        return None;
    }
    let seen = sriov::observe(pci, Some(ns)).ok()?;
    let settings = sriov::read(ns, name).unwrap_or_default();
    let stands_for = |row: &&LinkRow, index: usize| {
        let port = row.represents().filter(|_| row.link.pci.as_deref() == Some(pci)).unwrap_or_default();
        port.rsplit_once("vf").is_some_and(|(_, number)| number.parse() == Ok(index))
    };
    let name_of = |row: Option<&LinkRow>| row.map(|row| row.name.to_string());
    let function = |(index, vf): (usize, crate::plan::sriov::ObservedVf)| Function {
        ifname: name_of(rows.iter().find(|row| row.link.pci.as_ref() == Some(&vf.pci))),
        representor: name_of(rows.iter().find(|row| stands_for(row, index))),
        address: vf.pci,
        driver: vf.driver,
        settings: settings
            .get(index)
            .map(|set| set.words().into_iter().map(|(field, value)| (field.to_owned(), value)).collect())
            .unwrap_or_default(),
    };
    Some(Sriov {
        total: seen.total,
        functions: seen.functions.into_iter().enumerate().map(function).collect(),
        autoprobe: seen.autoprobe,
        eswitch: seen.eswitch.map(|mode| format!("{mode:?}").to_lowercase()),
    })
}

fn queues(folder: &Path) -> Queues {
    let mut queues = Queues::default();
    for entry in fs::read_dir(folder.join("queues")).into_iter().flatten().flatten() {
        match entry.file_name().to_str() {
            Some(name) if name.starts_with("rx-") => queues.rx += 1,
            Some(name) if name.starts_with("tx-") => queues.tx += 1,
            _ => {}
        }
    }
    queues
}

/// Numbers of the interrupts of a device, or of the one that carries it (virtio), in order.
fn numbers(device: &Path) -> Vec<u32> {
    let Ok(real) = fs::canonicalize(device) else { return Vec::new() };
    let folder = [real.join("msi_irqs"), real.join("../msi_irqs")].into_iter().find(|folder| folder.is_dir());
    let Some(folder) = folder else { return Vec::new() };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut numbers: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    numbers
}

/// The CPUs that each interrupt of a PCI function is bound to, by the place of the interrupt among them; none where there is no such
/// function, or nobody may read it.
pub fn affinities(pci: &str) -> BTreeMap<String, String> {
    let bound = |(place, number): (usize, u32)| {
        let cpus = read(format!("/proc/irq/{number}/smp_affinity_list").into())?;
        Some((format!("interrupt {place}"), cpus))
    };
    numbers(&Path::new("/sys/bus/pci/devices").join(pci)).into_iter().enumerate().filter_map(bound).collect()
}

fn irqs(device: &Path, interrupts: &BTreeMap<u32, u64>) -> Vec<Irq> {
    // One that the driver has reserved and does not use has no line.
    let numbers = numbers(device).into_iter().filter(|number| interrupts.contains_key(number));
    let irq = |number: u32| Irq {
        number,
        cpus: read(format!("/proc/irq/{number}/effective_affinity_list").into()).unwrap_or_default(),
        count: interrupts.get(&number).copied().unwrap_or_default(),
    };
    numbers.map(irq).collect()
}

/// Number and count, over all CPUs, of each line of `/proc/interrupts` that has a number.
fn interrupts() -> BTreeMap<u32, u64> {
    let text = fs::read_to_string("/proc/interrupts").unwrap_or_default();
    let line = |line: &str| {
        let (number, rest) = line.split_once(':')?;
        let counts = rest.split_whitespace().map_while(|word| word.parse::<u64>().ok());
        Some((number.trim().parse().ok()?, counts.sum()))
    };
    text.lines().filter_map(line).collect()
}
