//! An Open vSwitch below the figures that it carried: version, settings, flows, what its ports counted.

use std::io::{self, Write};

use anstyle::Style;

use super::text::paragraph;
use crate::facts::{OvsFacts, PortCounters};

/// A paragraph each.
pub(super) fn section(switch: &OvsFacts, out: &mut impl Write) -> io::Result<()> {
    let tso = if switch.tso { "on" } else { "off" };
    let tc = if switch.hw_offload { format!("{} of them in tc, ", switch.tc_flows) } else { String::new() };
    let flows = format!("{} datapath flows, {tc}{} in hardware", switch.datapath_flows, switch.offloaded_flows);
    let own = if switch.system { " (the host's own)" } else { "" };
    let text = format!("{} in {}{own}: segmentation offload {tso}, {flows}", switch.version, switch.netns);
    writeln!(out)?;
    paragraph(out, Style::new(), "switch: ", &text, 8)?;
    for setting in settings(switch) {
        paragraph(out, Style::new(), "        set: ", &setting, 13)?;
    }
    for port in &switch.tunnels {
        let text = format!("{} ({})", carried(port), port.tunnel.as_deref().unwrap_or_default());
        paragraph(out, Style::new(), "        tunnel: ", &text, 16)?;
    }
    for port in &switch.ports {
        paragraph(out, Style::new(), "        port: ", &carried(port), 14)?;
    }
    Ok(())
}

/// The keys of `other_config`, but for what is said anyway of a switch that is netbench's own.
pub(crate) fn settings(switch: &OvsFacts) -> Vec<String> {
    let told = switch.settings.iter().filter(|one| switch.system || one.key != "userspace-tso-enable");
    told.map(|one| one.to_string()).collect()
}

fn carried(port: &PortCounters) -> String {
    let counted = &port.counters;
    let dropped = counted.rx_dropped + counted.tx_dropped;
    let agreed = match (&port.difference, &port.database) {
        (None, Some(_)) => "; the database says so too",
        _ => "",
    };
    format!(
        "{} carried {} packets out, {} in, {dropped} dropped{agreed}",
        port.port, counted.tx_packets, counted.rx_packets
    )
}
