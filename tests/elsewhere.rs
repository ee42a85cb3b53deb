//! Children of devices of this machine in somebody else's namespaces: a crash at any instant leaves none, also where the journal is
//! lost, and nobody else's are touched.

mod lab;

use lab::{After, Background, Lab, PATIENCE, eventually, require};

/// A namespace without a file in `/run/netns`: a process is in it, as in a container.
fn container(lab: &Lab) -> Background {
    let mut command = lab.command("unshare");
    command.args(["-n", "sleep", "600"]);
    let sleeper = lab.background(command);
    let apart = |pid: u32| {
        let of = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        comm.trim() == "sleep" && of(&pid.to_string()) != of("self")
    };
    assert!(eventually(PATIENCE, || apart(sleeper.id())), "unshare makes a namespace");
    sleeper
}

/// A child in a namespace with a name, another in one without; a link called as theirs is where netbench is started, which Linux
/// before 6.15 takes for a clash.
fn topology(kind: &str, pid: u32) -> String {
    format!(
        "name = \"e\"\n[nic.up]\nifname = \"wire0\"\n\
         [node.a]\nattach = \"netns:/run/netns/theirs\"\naddress = \"198.18.7.1/24\"\n\
         [node.b]\nattach = \"pid:{pid}\"\naddress = \"198.18.7.2/24\"\n\
         [switch.mv]\nkind = \"{kind}\"\nnic = \"up\"\nports = [\"a\", \"b\"]\n"
    )
}

/// What is there, by name: in the process' namespace, in theirs, here, and of files.
fn links(lab: &Lab, pid: u32) -> String {
    lab.sh(&format!(
        "for of in 'nsenter -t {pid} -n' 'ip netns exec theirs' ''; do $of ip -br link | awk '{{ print $1 }}' | sort; $of ip -4 -br addr; done
         ls -d /run/netns/* /run/netbench/* 2>/dev/null || true"
    ))
}

/// Each way at each instant; in the lab, whose machine is emulated, by turns.
fn at_every_instant(name: &str, kind: &str) {
    if !require(&["unshare", "nsenter"]) {
        return;
    }
    let Some(lab) = Lab::new(name) else { return };
    lab.sh("ip link add wire0 type veth peer name wire1; ip link set wire0 up; ip link set wire1 up
            ip link add nb0 type bridge; ip netns add theirs; ip -n theirs link add keep0 type bridge");
    let sleeper = container(&lab);
    let (before, inside) = (lab.settled(), links(&lab, sleeper.id()));
    let file = lab.file("e.toml", &topology(kind, sleeper.id()));
    let up = lab.netbench(&["topo", "apply", "--no-prove", &file]);
    if up.code == Some(5) {
        // No such kind on this kernel; the error names it, and the lab's kernel has it.
        up.says(&format!("CONFIG_{}", kind.to_uppercase()));
        lab::also_in_lab();
        return;
    }
    up.ok();
    lab.netbench(&["topo", "destroy", "e"]).ok();
    lab.assert_as_before(&before, "destroy");
    for k in 1.. {
        let mut survived = true;
        let in_turn = std::env::var_os("VMLAB").is_some();
        for (_, way) in After::ALL.into_iter().enumerate().filter(|(number, _)| !in_turn || k % 4 == *number) {
            survived &= lab.survives_killed_at(k, &["--no-prove", &file]);
            way.clean(&lab, "e", &["--no-prove", &file], || {});
            // All that there is; in the lab at the end.
            if !in_turn {
                lab.assert_as_before(&before, &format!("killed at point {k}, then {way:?}"));
            }
            let left = || links(&lab, sleeper.id());
            assert!(eventually(PATIENCE, || left() == inside), "killed at point {k}, then {way:?}: {}", left());
        }
        if survived {
            assert!(k > 8, "the crash points were not reached: survived at {k}");
            lab.assert_as_before(&before, "after all crashes");
            return;
        }
    }
}

#[test]
fn children_of_macvlan_leave_nothing_in_namespaces_of_others() {
    at_every_instant("elsewhere-macvlan", "macvlan");
}

#[test]
fn children_of_ipvlan_leave_nothing_in_namespaces_of_others() {
    at_every_instant("elsewhere-ipvlan", "ipvlan");
}

/// A topology that is up is left alone there, and so is what somebody else made, whatever its mark says: another netbench, in the
/// container, has a journal that nobody here sees.
#[test]
fn what_is_up_stays_and_what_another_netbench_made() {
    let Some(lab) = Lab::new("elsewhere-others") else { return };
    lab.sh(
        "ip link add wire0 type veth peer name wire1; ip link set wire0 up; ip link set wire1 up; ip netns add theirs",
    );
    let sleeper = container(&lab);
    let pid = sleeper.id();
    lab.sh(&format!(
        "nsenter -t {pid} -n ip link add theirs0 group 1312948225 type bridge; nsenter -t {pid} -n ip link set theirs0 alias netbench:other:theirs0
         nsenter -t {pid} -n ip link add nb0123456789abc group 1312948225 type bridge"
    ));
    let file = lab.file("e.toml", &topology("macvlan", pid));
    lab.netbench(&["topo", "apply", "--no-prove", &file]).ok();
    let names = || {
        let of = |words: &str| lab.sh(&format!("{words} ip -br link | awk '{{ print $1 }}' | sort"));
        [of(""), of("ip netns exec theirs"), of(&format!("nsenter -t {pid} -n"))]
    };
    let up = names();
    lab.netbench(&["topo", "gc"]).ok().says("nothing of ours is here");
    lab.netbench(&["topo", "verify", &file]).ok();
    assert_eq!(names(), up, "gc");
    lab.netbench(&["topo", "destroy", "e"]).ok();
}
