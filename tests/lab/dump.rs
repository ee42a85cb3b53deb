//! The complete network state of a lab as sorted lines, read by the kernel's own tools, for before/after equality.

use std::fmt;

use serde_json::{Map, Value};

use super::{Done, Lab};

/// Reads one namespace. `@name` starts a section of JSON, `%name` one of plain lines.
const READ: &str = r#"
json() { echo "@$1"; shift; "$@" 2>/dev/null || true; echo; }
json link ip -j -d addr show
json vf ip -j link show
json route ip -j -4 route show table all
json route6 ip -j -6 route show table all
json rule ip -j -4 rule show
json rule6 ip -j -6 rule show
json nexthop ip -j nexthop show
json qdisc tc -j qdisc show
json fdb bridge -j fdb show
json vlan bridge -j vlan show
for dev in $(ip -o link show | cut -d: -f2 | cut -d@ -f1); do
    echo "%class $dev"; tc class show dev "$dev" 2>/dev/null || true
    echo "%filter $dev"; tc filter show dev "$dev" 2>/dev/null || true
    echo "%feature $dev"; ethtool -k "$dev" 2>/dev/null | tail -n +2 || true
    echo "%ring $dev"; ethtool -g "$dev" 2>/dev/null || true
    echo "%channel $dev"; ethtool -l "$dev" 2>/dev/null || true
    echo "%coalesce $dev"; ethtool -c "$dev" 2>/dev/null || true
done
echo "%sysctl"
cd /proc/sys/net && grep -rs . . || true
"#;

/// Reads what belongs to the machine and not to one namespace: names under /run/netns, files and mounts below /run.
const READ_SHARED: &str = r#"
echo "%netns"
for file in /run/netns/*; do
    [ -e "$file" ] || continue
    echo "$(basename "$file") $(stat -f -c %T "$file")"
done
echo "%file"
find /run -mindepth 1 -xdev -printf '%P %y %m %U:%G %s\n'
echo "%mount"
# Only what can be seen, on top of the last /run: what lies under it is the machine's, and comes and goes with its work.
awk '{ id[NR] = $1; parent[NR] = $2; line[NR] = $4 " " $5 } $5 == "/run" { run = $1 }
    END { seen[run] = 1; do { more = 0; for (i = 1; i <= NR; i++) if (!(id[i] in seen) && parent[i] in seen) { seen[id[i]] = 1; print line[i]; more = 1 } } while (more) }' \
    /proc/self/mountinfo
echo "%sriov"
for file in /sys/bus/pci/devices/*/sriov_numvfs; do
    [ -e "$file" ] || continue
    device=${file%/sriov_numvfs}
    echo "$device $(cat "$file") $(cat "$device/sriov_drivers_autoprobe")"
    for function in "$device"/virtfn*; do
        [ -e "$function" ] || continue
        echo "$function $(basename "$(readlink "$function/driver")")"
    done
done
for device in /sys/bus/netdevsim/devices/*; do
    [ -e "$device" ] || continue
    echo "$device $(cat "$device/sriov_numvfs") $(devlink dev eswitch show "netdevsim/$(basename "$device")")"
done
"#;

/// Sysctls that change by themselves: the number of tracked connections.
const VOLATILE_SYSCTLS: &[&str] = &["nf_conntrack_count"];

/// What `ip route` says of the hardware that holds a route.
const HARDWARE_FLAGS: &[&str] = &["offload", "trap", "rt_offload", "rt_trap", "rt_offload_failed"];

/// The state of a lab, one line an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump(Vec<String>);

impl Dump {
    /// Reads the lab's own namespace and every one under `/run/netns`.
    pub fn take(lab: &Lab) -> Self {
        let mut lines = Vec::new();
        sections(&lab.sh(READ_SHARED), "", &mut lines);
        sections(&lab.sh(READ), "self", &mut lines);
        for name in lab.namespaces() {
            let mut command = lab.command("nsenter");
            command.arg(format!("--net=/run/netns/{name}")).args(["--", "sh", "-ec", READ]);
            let done = Done::of(&mut command, "read a namespace");
            match done.code {
                Some(0) => sections(&done.stdout, &name, &mut lines),
                // A file that is no namespace, or one that is just going away: its name is in `netns` all the same.
                _ => lines.push(format!("{name} cannot be entered")),
            }
        }
        lines.sort();
        Self(lines)
    }

    /// Lines that one has and the other has not.
    pub fn difference(&self, after: &Self) -> String {
        let gone = self.0.iter().filter(|line| !after.0.contains(line)).map(|line| format!("- {line}\n"));
        let new = after.0.iter().filter(|line| !self.0.contains(line)).map(|line| format!("+ {line}\n"));
        gone.chain(new).collect()
    }

    /// Is there a line with all of these words?
    pub fn has(&self, words: &[&str]) -> bool {
        self.0.iter().any(|line| words.iter().all(|word| line.contains(word)))
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Cuts the output into sections and adds their normalised lines.
pub fn sections(text: &str, ns: &str, lines: &mut Vec<String>) {
    let mut section = "";
    let mut json = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('@') {
            (section, json) = (name, true);
        } else if let Some(name) = line.strip_prefix('%') {
            (section, json) = (name, false);
        } else if !json {
            lines.extend(plain(section, line).map(|line| format!("{ns} {section} {line}")));
        } else if let Ok(Value::Array(objects)) = serde_json::from_str(line) {
            lines.extend(objects.into_iter().filter_map(|object| normalised(section, object)).flat_map(|object| {
                let text = format!("{ns} {section} {object}");
                // `ip -j` prints an empty object for what it filtered out itself.
                (object != Value::Object(Map::new())).then_some(text)
            }));
        }
    }
}

/// A plain line without what changes by itself, or nothing.
fn plain(section: &str, line: &str) -> Option<String> {
    let line = line.trim();
    match section {
        "sysctl" if VOLATILE_SYSCTLS.iter().any(|name| line.contains(name)) => None,
        // /run/netns stays, as `ip netns` leaves it: other tools may have bound their namespaces below it. The empty
        // folder /run/netbench holds no state. Sizes of folders depend on the history of their entries.
        "file" if line.starts_with("netns d ") || line.starts_with("netbench d ") => None,
        "file" if line.split(' ').nth(1) == Some("d") => line.rsplit_once(' ').map(|(line, _)| line.to_owned()),
        // `ip netns` makes /run/netns a mount point of its own once and for all.
        "mount" if line.ends_with(" /run/netns") => None,
        "mount" if !line.contains(" /run") => None,
        // Inode numbers of namespaces differ with every one that is made.
        "mount" => Some(line.chars().filter(|c| !c.is_ascii_digit()).collect()),
        _ if line.is_empty() => None,
        _ => Some(line.to_owned()),
    }
}

/// An object without what changes by itself, or nothing where the object itself does.
fn normalised(section: &str, mut object: Value) -> Option<Value> {
    let map = object.as_object_mut()?;
    match section {
        "link" => link(map),
        "qdisc" => qdisc(map),
        // What NICs do for their virtual functions.
        "vf" => {
            map.remove("link_index");
            map.retain(|key, _| key == "ifname" || key == "vfinfo_list");
            if !map.contains_key("vfinfo_list") {
                return None;
            }
        }
        // Learned entries come and go with traffic; static and permanent ones are configuration.
        "fdb" if !matches!(map.get("state").and_then(Value::as_str), Some("permanent" | "static")) => return None,
        "route" | "route6" => route(map),
        _ => {}
    }
    sort_words(map);
    Some(object)
}

fn link(map: &mut Map<String, Value>) {
    // Indexes are the kernel's choice: a link that was in another namespace may come back under a new one. Namespace
    // ids are handed out on first sight and stay; that there is a peer elsewhere is what counts.
    for key in ["ifindex", "link_index", "stats", "stats64"] {
        map.remove(key);
    }
    if map.contains_key("link_netnsid") {
        map.insert("link_netnsid".to_owned(), Value::Bool(true));
    }
    for address in map.get_mut("addr_info").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(address) = address.as_object_mut() {
            // Lifetimes count down; duplicate address detection is over a second later.
            for key in ["valid_life_time", "preferred_life_time", "tentative", "optimistic"] {
                address.remove(key);
            }
            sort_words(address);
        }
    }
    let Some(info) = map.get_mut("linkinfo").and_then(Value::as_object_mut) else { return };
    for part in ["info_data", "info_slave_data"] {
        if let Some(data) = info.get_mut(part).and_then(Value::as_object_mut) {
            // Bridge timers run.
            data.retain(|key, _| !key.ends_with("timer"));
        }
    }
}

/// Which of two equal routes the hardware holds is its driver's choice, made anew when a port comes or goes.
fn route(map: &mut Map<String, Value>) {
    if let Some(flags) = map.get_mut("flags").and_then(Value::as_array_mut) {
        flags.retain(|flag| !HARDWARE_FLAGS.iter().any(|name| flag == name));
    }
}

fn qdisc(map: &mut Map<String, Value>) {
    // Handles of default qdiscs are numbered in the order of their making.
    map.remove("handle");
    map.remove("refcnt");
    if let Some(Value::String(parent)) = map.get_mut("parent")
        && let Some((_, minor)) = parent.split_once(':')
    {
        *parent = format!(":{minor}");
    }
}

/// Flags and alternative names are sets.
fn sort_words(map: &mut Map<String, Value>) {
    for key in ["flags", "altnames"] {
        if let Some(Value::Array(words)) = map.get_mut(key) {
            words.sort_by_key(|word| word.to_string());
        }
    }
}
