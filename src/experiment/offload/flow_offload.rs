//! Does hardware do the flows of an Open vSwitch, where it was told to have them done? Pure.

use crate::{
    facts::OvsFacts,
    record::{OffloadCheck, OffloadVerdict},
};

/// Name of the check.
pub const NAME: &str = "flow-offload";
/// The feature by which a device takes the flows of tc.
const FEATURE: &str = "hw-tc-offload";

/// The row of a switch, from what it says right after traffic went through it.
pub fn row(switch: &OvsFacts) -> OffloadCheck {
    let (verdict, evidence) = judge(switch);
    let cure = (verdict == OffloadVerdict::NotActive).then(|| {
        format!("`ethtool -K DEVICE {FEATURE} on` at ports that have it, and no `other_config:tc-policy=skip_hw`; a veth cannot")
    });
    OffloadCheck {
        features: vec![FEATURE.to_owned()],
        cure,
        ..OffloadCheck::new(&format!("Open vSwitch in {}", switch.netns), NAME, verdict, evidence)
    }
}

fn judge(switch: &OvsFacts) -> (OffloadVerdict, String) {
    let OvsFacts { datapath_flows: all, tc_flows, offloaded_flows: done, .. } = switch;
    if !switch.hw_offload {
        let why = format!("other_config:hw-offload is not true: the CPU does all {all} flows of the datapath");
        return (OffloadVerdict::Skip, why);
    }
    match (all, tc_flows, done) {
        (0, ..) => (OffloadVerdict::Inconclusive, "the datapath has no flow".to_owned()),
        (_, _, 1..) => (OffloadVerdict::Pass, format!("hardware does {done} of {all} flows")),
        (_, 0, _) => {
            (OffloadVerdict::NotActive, format!("none of {all} flows was handed to tc, and none is in hardware"))
        }
        _ => {
            let evidence = format!("{tc_flows} of {all} flows were handed to tc, and none is in hardware");
            (OffloadVerdict::NotActive, evidence)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switch(hw_offload: bool, datapath_flows: u64, tc_flows: u64, offloaded_flows: u64) -> OvsFacts {
        let (netns, version) = ("fabric".to_owned(), "ovs-vswitchd (Open vSwitch) 3.1.0".to_owned());
        let (settings, tunnels, ports) = (Vec::new(), Vec::new(), Vec::new());
        OvsFacts {
            netns,
            version,
            tso: false,
            hw_offload,
            system: false,
            settings,
            datapath_flows,
            tc_flows,
            offloaded_flows,
            tunnels,
            ports,
        }
    }

    #[test]
    fn flows_that_nobody_took_are_named() {
        for (facts, verdict, says, cure) in [
            (switch(false, 4, 0, 0), OffloadVerdict::Skip, "hw-offload is not true", false),
            (switch(true, 0, 0, 0), OffloadVerdict::Inconclusive, "no flow", false),
            (switch(true, 4, 0, 0), OffloadVerdict::NotActive, "none of 4 flows was handed to tc", true),
            (switch(true, 4, 3, 0), OffloadVerdict::NotActive, "3 of 4 flows were handed to tc, and none", true),
            (switch(true, 4, 3, 2), OffloadVerdict::Pass, "hardware does 2 of 4 flows", false),
        ] {
            let row = row(&facts);
            assert_eq!((row.verdict, row.cure.is_some()), (verdict, cure), "{row:?}");
            assert!(row.evidence.contains(says), "{row:?}");
        }
    }
}
