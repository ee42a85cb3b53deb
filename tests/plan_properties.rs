//! Properties of plans on a model of the kernel: order, completeness, and `undo(do(x)) = x`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod model;

use std::collections::BTreeMap;

use model::Model;
use netbench::{
    plan::{
        desired::Desired,
        diff::{Context, diff},
        lower::lower,
        step::Step,
    },
    topology::model::{
        BridgeOptions, Datapath, End, EndAt, Fabric, FailMode, FlowOutput, Host, MacvlanMode, Nic, Node, OvsOptions,
        Port, PortSettings, Route, Shaper, ShaperKind, Switch, SwitchFlow, SwitchKind, TestDefaults, Topology, Tunnel,
        TunnelEnd, TunnelKind, Wire,
    },
    units::{BitRate, IfName},
};
use proptest::prelude::*;

fn ifname(name: &str) -> IfName {
    name.parse().unwrap()
}

fn settings(segment: u8, host: u8, mtu: u32) -> PortSettings {
    PortSettings {
        mtu,
        addresses: vec![format!("198.18.{segment}.{host}/24").parse().unwrap()],
        ..PortSettings::default()
    }
}

/// What may vary from one topology to the next.
#[derive(Debug, Clone)]
struct Recipe {
    nodes: usize,
    mtu: u32,
    rate: Option<u64>,
    tso: Option<bool>,
    stp: bool,
    macvlan: bool,
    tunnel: bool,
    wire: bool,
    route: bool,
    sysctl: bool,
    static_fdb: bool,
    ovs: bool,
}

fn recipes() -> impl Strategy<Value = Recipe> {
    let numbers = (1..5_usize, prop_oneof![Just(1500_u32), Just(9000)], prop::option::of(1_000_000..1_000_000_000_u64));
    let words = (prop::option::of(any::<bool>()), any::<[bool; 8]>());
    (numbers, words).prop_map(
        |((nodes, mtu, rate), (tso, [stp, macvlan, tunnel, wire, route, sysctl, static_fdb, ovs]))| Recipe {
            nodes,
            mtu,
            rate,
            tso,
            stp,
            macvlan,
            tunnel,
            wire,
            route,
            sysctl,
            static_fdb,
            ovs,
        },
    )
}

fn node(name: &str, host: Option<&str>) -> Node {
    Node {
        name: name.into(),
        host: host.map(str::to_owned),
        attach: None,
        nic: None,
        cpus: None,
        numa: None,
        sysctl: BTreeMap::new(),
        routes: Vec::new(),
        addresses: Vec::new(),
    }
}

fn bridge(name: &str, host: Option<&str>, mtu: u32, stp: bool, ports: Vec<Port>) -> Switch {
    let kind = SwitchKind::Bridge(BridgeOptions { stp, ..BridgeOptions::default() });
    Switch { name: ifname(name), host: host.map(str::to_owned), kind, mtu, addresses: vec![], ports, uplinks: vec![] }
}

fn port(node: &str, eth: &str, settings: PortSettings) -> Port {
    Port { node: node.into(), ifname: ifname(eth), vlan: None, trunks: Vec::new(), qos: None, vf: None, settings }
}

fn build(recipe: &Recipe) -> Desired {
    let mut topology = Topology {
        name: "prop".into(),
        fabric: Fabric::Own,
        ipv6: false,
        nodes: Vec::new(),
        hosts: Vec::new(),
        switches: Vec::new(),
        links: Vec::new(),
        nics: Vec::new(),
        tunnels: Vec::new(),
        flows: Vec::new(),
        test: TestDefaults::default(),
    };
    let mut ports = Vec::new();
    for i in 0..recipe.nodes {
        let name = format!("n{i}");
        let mut settings = settings(0, i as u8 + 1, recipe.mtu);
        settings.rate = recipe.rate.map(|rate| Shaper { rate: BitRate(rate * 8), qdisc: ShaperKind::Tbf });
        settings.offload.extend(recipe.tso.map(|on| ("gro".to_owned(), on)));
        ports.push(port(&name, "eth0", settings));
        topology.nodes.push(node(&name, None));
    }
    topology.switches.push(bridge("br1", None, recipe.mtu, recipe.stp, ports));
    if recipe.sysctl {
        topology.nodes[0].sysctl.insert("net.ipv4.ip_forward".into(), "1".into());
        topology.nodes[0].sysctl.insert("net.ipv4.conf.eth0.rp_filter".into(), "2".into());
    }
    if recipe.route && recipe.nodes > 1 {
        let to = "198.19.0.0/16".parse().unwrap();
        topology.nodes[1].routes.push(Route { to, via: Some("198.18.0.1".parse().unwrap()), dev: None });
    }
    if recipe.wire {
        topology.nodes.push(node("w", None));
        let end = |name: &str, eth: &str, host| End {
            at: EndAt::Node(name.into()),
            ifname: ifname(eth),
            settings: settings(1, host, recipe.mtu),
        };
        topology.links.push(Wire { ends: [end("n0", "eth1", 1), end("w", "eth0", 2)], bond: None });
    }
    if recipe.macvlan {
        topology.nics.push(Nic {
            name: "up".into(),
            ifname: None,
            pci: None,
            sriov: None,
            cable: None,
            mtu: recipe.mtu,
            settings: PortSettings::default(),
        });
        let ports = (0..recipe.nodes)
            .map(|i| {
                let name = format!("m{i}");
                topology.nodes.push(node(&name, None));
                port(&name, "eth0", settings(2, i as u8 + 1, recipe.mtu))
            })
            .collect();
        let kind = SwitchKind::Macvlan { nic: "up".into(), mode: MacvlanMode::Bridge };
        topology.switches.push(Switch { kind, ..bridge("mv", None, recipe.mtu, false, ports) });
    }
    if recipe.tunnel {
        tunnel(&mut topology, recipe);
    }
    if recipe.ovs {
        topology.tunnels.iter_mut().for_each(|tunnel| tunnel.static_fdb = false);
        for switch in topology.switches.iter_mut().filter(|switch| matches!(switch.kind, SwitchKind::Bridge(_))) {
            let (datapath, fail_mode) = (Datapath::User, FailMode::Standalone);
            let tso = !(recipe.tunnel && switch.host.is_some());
            let flow = SwitchFlow {
                priority: 1,
                in_port: None,
                eth_dst: None,
                eth_type: Some(0x0806),
                output: FlowOutput::Normal,
            };
            let flows = if recipe.stp { vec![flow] } else { Vec::new() };
            switch.kind = SwitchKind::Ovs(OvsOptions {
                datapath,
                fail_mode,
                stp: false,
                rstp: recipe.stp,
                tso,
                system: false,
                flows,
            });
        }
    }
    lower(&topology).unwrap()
}

fn tunnel(topology: &mut Topology, recipe: &Recipe) {
    let inner = recipe.mtu - 50;
    let wire = |host: &str, number| End {
        at: EndAt::Host(host.into()),
        ifname: ifname("wire"),
        settings: settings(3, number, recipe.mtu),
    };
    topology.links.push(Wire { ends: [wire("a", 1), wire("b", 2)], bond: None });
    for (number, (host, switch, end)) in [("a", "left", "ta"), ("b", "right", "tb")].into_iter().enumerate() {
        topology.hosts.push(Host { name: host.into(), sysctl: BTreeMap::new(), routes: Vec::new() });
        topology.nodes.push(node(end, Some(host)));
        let ports = vec![port(end, "eth0", settings(4, number as u8 + 1, inner))];
        topology.switches.push(bridge(switch, Some(host), inner, false, ports));
    }
    let end = |switch: &str, number| TunnelEnd {
        switch: switch.into(),
        ifname: ifname("vx42"),
        local: format!("198.18.3.{number}").parse().unwrap(),
        dev: ifname("wire"),
        mtu: inner,
    };
    topology.tunnels.push(Tunnel {
        kind: TunnelKind::Vxlan,
        vni: 42,
        port: 4789,
        ends: [end("left", 1), end("right", 2)],
        udp_checksum: None,
        udp6_zero_checksum: None,
        gbp: false,
        learning: None,
        static_fdb: recipe.static_fdb,
    });
}

fn steps(desired: &Desired, model: &Model, before: Option<&Desired>) -> Vec<Step> {
    diff(desired, &model.state, Context { before, ..Context::default() }).unwrap()
}

fn texts(steps: &[Step]) -> Vec<String> {
    steps.iter().map(Step::to_string).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// On an empty kernel the plan is accepted in its order and leads to a state in which nothing is left to do.
    #[test]
    fn a_plan_is_in_order_and_complete(recipe in recipes()) {
        let desired = build(&recipe);
        let mut model = Model::new("prop");
        let plan = steps(&desired, &model, None);
        model.run(&plan).unwrap();
        prop_assert_eq!(texts(&steps(&desired, &model, Some(&desired))), Vec::<String>::new());
    }

    /// From any topology to any other: nothing is left to do after it, and what both declare alike is not touched.
    #[test]
    fn an_edit_changes_only_what_differs(from in recipes(), to in recipes()) {
        let (before, after) = (build(&from), build(&to));
        let mut model = Model::new("prop");
        model.run(&steps(&before, &model, None)).unwrap();
        let edit = steps(&after, &model, Some(&before));
        for step in &edit {
            if let Step::DeleteLink { link, .. } = step {
                prop_assert!(after.link(&link.at).is_none_or(|now| now.kind != link.kind), "needlessly: {step}");
            }
        }
        model.run(&edit).unwrap();
        prop_assert_eq!(texts(&steps(&after, &model, Some(&after))), Vec::<String>::new());
    }

    /// Whatever part of a fresh plan was carried out, its undo leaves nothing.
    #[test]
    fn the_undo_of_any_part_of_a_fresh_plan_leaves_nothing(recipe in recipes(), part in 0.0..1.0_f64) {
        let desired = build(&recipe);
        let mut model = Model::new("prop");
        let empty = model.comparable();
        let plan = steps(&desired, &model, None);
        let done = &plan[..(plan.len() as f64 * part) as usize];
        model.run(done).unwrap();
        for step in done.iter().rev() {
            model.undo(step).unwrap();
        }
        prop_assert_eq!(model.comparable(), empty);
    }

    /// Whatever part of an edit was carried out, its undo restores the state before.
    #[test]
    fn the_undo_of_any_part_of_an_edit_restores(from in recipes(), to in recipes(), part in 0.0..1.0_f64) {
        let (before, after) = (build(&from), build(&to));
        let mut model = Model::new("prop");
        model.run(&steps(&before, &model, None)).unwrap();
        let start = model.comparable();
        let edit = steps(&after, &model, Some(&before));
        let done = &edit[..(edit.len() as f64 * part) as usize];
        model.run(done).unwrap();
        for step in done.iter().rev() {
            model.undo(step).unwrap();
        }
        // What a link lost besides itself comes back by the plan for the earlier state.
        model.run(&steps(&before, &model, Some(&after))).unwrap();
        prop_assert_eq!(model.comparable(), start);
    }
}
