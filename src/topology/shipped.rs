//! The topologies inside the binary.

/// A topology that ships with netbench.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// Its name, as in `netbench run NAME`.
    pub name: &'static str,
    /// The file.
    pub text: &'static str,
}

impl Shipped {
    /// The first line of its opening comment: what it shows.
    pub fn summary(&self) -> &'static str {
        let comment = self.text.lines().find(|line| line.starts_with("# "));
        comment.map_or("", |line| line.trim_start_matches("# "))
    }
}

macro_rules! shipped {
    ($($name:literal)*) => {
        &[$(Shipped { name: $name, text: include_str!(concat!("../../topologies/", $name, ".toml")) },)*]
    };
}

const ALL: &[Shipped] = shipped!["baseline" "veth" "bridge" "macvlan" "vxlan-kernel" "ovs" "vxlan" "ovs-vlan" "routed" "passthrough" "sriov" "scale" "ovs-scale"];

/// All of them, from the simplest on.
pub fn all() -> &'static [Shipped] {
    ALL
}

/// One by name.
pub fn find(name: &str) -> Option<Shipped> {
    ALL.iter().copied().find(|shipped| shipped.name == name)
}
