//! The host's own Open vSwitch in a lab, with a bridge `theirs` of somebody else.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use crate::lab::Lab;

/// Its database, as `ovs-vsctl` takes it.
pub const DATABASE: &str = "unix:/run/openvswitch/db.sock";

/// A topology with a bridge of its own in it.
pub const TOPOLOGY: &str = r#"
name = "y"
fabric = "host"
[node.a]
[node.b]
[switch.y1]
kind = "ovs"
ovs = "system"
ports = ["a", "b"]
"#;

/// `ovs-vsctl` on it.
#[track_caller]
pub fn vsctl(lab: &Lab, arguments: &str) -> String {
    lab.sh(&format!("ovs-vsctl --timeout=10 --db={DATABASE} {arguments}"))
}

/// An Open vSwitch as a distribution's service starts it, in the lab's own `/run`; `setting` goes on with the words of
/// `ovs-vsctl` after `set bridge theirs`.
#[track_caller]
pub fn start(lab: &Lab, setting: &str) {
    start_with(lab, setting, "");
}

/// The same with more arguments for the switch.
#[track_caller]
pub fn start_with(lab: &Lab, setting: &str, arguments: &str) {
    lab.sh("mkdir -p /run/openvswitch /mnt/system && \
         ovsdb-tool create /mnt/system/conf.db /usr/share/openvswitch/vswitch.ovsschema");
    start_daemon(lab, "ovsdb-server", "");
    vsctl(lab, &format!("--no-wait init -- add-br theirs -- set bridge theirs datapath_type=netdev {setting}"));
    start_daemon(lab, "ovs-vswitchd", arguments);
}

/// One of its daemons, on the database that is there. Its pid file is as long as any, so that dumps can be compared.
#[track_caller]
pub fn start_daemon(lab: &Lab, program: &str, arguments: &str) {
    let what = match program {
        "ovsdb-server" => {
            "/mnt/system/conf.db --remote=punix:/run/openvswitch/db.sock --unixctl=/run/openvswitch/ovsdb-server.ctl"
        }
        _ => DATABASE,
    };
    lab.sh(&format!(
        "rm -f /run/openvswitch/{program}*.ctl; PATH=$PATH:/usr/sbin OVS_RUNDIR=/run/openvswitch {program} {what} {arguments} \
         --pidfile=/run/openvswitch/{program}.pid --detach --no-chdir -vconsole:off -vsyslog:off \
         --log-file=/mnt/system/{program}.log; \
         pid=$(cat /run/openvswitch/{program}.pid); printf '%-15s\n' $pid >/run/openvswitch/{program}.pid"
    ));
}

/// Ends it, and takes away what it leaves.
pub fn stop(lab: &Lab) {
    lab.sh("kill $(cat /run/openvswitch/ovs-vswitchd.pid) $(cat /run/openvswitch/ovsdb-server.pid); \
            while [ -e /run/openvswitch/ovs-vswitchd.pid ] || [ -e /run/openvswitch/ovsdb-server.pid ]; do sleep 0.05; done; \
            rm -r /run/openvswitch; ip -o link | sed -n 's/^[0-9]*: \\(theirs\\|ovs-netdev\\|y1\\)[:@].*/\\1/p' | while read l; do ip link del $l; done; true");
}
