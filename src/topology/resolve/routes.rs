//! Routes as written (`DEST via GATEWAY`, `DEST dev IFNAME`) to addresses.

use std::{collections::HashMap, net::IpAddr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Code, Draft, Owner, Text, Thing};
use crate::topology::model::Route;

/// Interfaces by their owner.
pub fn by_owner(draft: &Draft<'_>) -> HashMap<Owner, Vec<usize>> {
    let mut all: HashMap<Owner, Vec<usize>> = HashMap::new();
    for (index, iface) in draft.ifaces.iter().enumerate() {
        all.entry(iface.owner).or_default().push(index);
    }
    all
}

/// Resolves the routes of every node and host.
pub fn resolve(draft: &mut Draft<'_>) {
    let owned = by_owner(draft);
    for node in 0..draft.nodes.len() {
        let written = &draft.names.nodes[node].ast.routes;
        let routes = written.iter().flat_map(|text| route(draft, &owned, Owner::Node(node), text)).collect();
        draft.nodes[node].space.routes = routes;
    }
    for host in 0..draft.hosts.len() {
        let written = &draft.names.hosts[host].1.routes;
        let routes = written.iter().flat_map(|text| route(draft, &owned, Owner::Host(host), text)).collect();
        draft.hosts[host].routes = routes;
    }
    // The nodes of one table say the same mistakes.
    let mut seen = std::collections::HashSet::new();
    draft.diagnostics.retain(|d| d.code != Code::BadRoute || seen.insert(d.span.clone().map(|span| span.start)));
}

type Owned = HashMap<Owner, Vec<usize>>;

fn route(draft: &mut Draft<'_>, owned: &Owned, owner: Owner, text: &Text) -> Vec<Route> {
    match read(draft, owned, owner, &text.value) {
        Ok(routes) => routes,
        Err((why, help)) => {
            let message = format!("`{}`: {why}", text.value.escape_debug());
            draft.error(Code::BadRoute, &text.span, message).help.extend(help);
            Vec::new()
        }
    }
}

type Mistake = (String, Option<String>);

fn read(draft: &Draft<'_>, owned: &Owned, owner: Owner, text: &str) -> Result<Vec<Route>, Mistake> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [to, word, target] = words[..] else { return Err(grammar()) };
    let destinations = destination(draft, owned, to)?;
    let mine = owned.get(&owner).map(Vec::as_slice).unwrap_or_default();
    match word {
        "dev" => {
            let dev = target.parse().map_err(|error| (format!("{error}"), None))?;
            let has = mine.iter().any(|&iface| draft.ifaces[iface].ifname.as_ref() == Some(&dev));
            let attached = matches!(owner, Owner::Node(node) if draft.nodes[node].attach.is_some());
            if !has && !attached {
                let names: Vec<String> =
                    mine.iter().filter_map(|&i| draft.ifaces[i].ifname.as_ref().map(|n| format!("`{n}`"))).collect();
                let why = format!("`{}` has no interface `{target}`", draft.owner_name(owner));
                return Err((why, Some(format!("its interfaces are {}", names.join(", ")))));
            }
            let families = destinations.iter().filter(|net| net.addr().is_ipv4() || draft.ipv6());
            Ok(families.map(|&to| Route { to, via: None, dev: Some(dev.clone()) }).collect())
        }
        "via" => {
            let gateways = gateways(draft, owned, owner, mine, target)?;
            let mut routes = Vec::new();
            for to in destinations {
                let same_family = |via: &&IpAddr| via.is_ipv4() == to.addr().is_ipv4();
                routes.extend(gateways.iter().find(same_family).map(|&via| Route { to, via: Some(via), dev: None }));
            }
            match routes.is_empty() {
                true => Err(("destination and gateway are not of one address family".into(), None)),
                false => Ok(routes),
            }
        }
        _ => Err(grammar()),
    }
}

fn grammar() -> Mistake {
    let help = "write `DEST via GATEWAY` or `DEST dev IFNAME`, such as `default via router`";
    ("not a route".into(), Some(help.into()))
}

/// `default`, a prefix, an address, or the subnet of a node.
fn destination(draft: &Draft<'_>, owned: &Owned, text: &str) -> Result<Vec<IpNet>, Mistake> {
    if text == "default" {
        return Ok(vec![Ipv4Net::default().into(), Ipv6Net::default().into()]);
    }
    if let Ok(net) = text.parse::<IpNet>() {
        return match net.trunc() == net {
            true => Ok(vec![net]),
            false => {
                Err((format!("{net} has bits set beyond its prefix"), Some(format!("the network is {}", net.trunc()))))
            }
        };
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(vec![address.into()]);
    }
    let owner = namespace(draft, text)?;
    let first = owned.get(&owner).and_then(|ifaces| ifaces.first());
    let addresses = first.map(|&iface| draft.ifaces[iface].settings.addresses.as_slice()).unwrap_or_default();
    let mut nets: Vec<IpNet> = Vec::new();
    for ipv4 in [true, false] {
        nets.extend(addresses.iter().find(|net| matches!(net, IpNet::V4(_)) == ipv4).map(IpNet::trunc));
    }
    match nets.is_empty() {
        true => Err((format!("`{text}` has no address"), None)),
        false => Ok(nets),
    }
}

fn namespace(draft: &Draft<'_>, name: &str) -> Result<Owner, Mistake> {
    match draft.names.get(name) {
        Some(Thing::Node(node)) => Ok(Owner::Node(node)),
        Some(Thing::Host(host)) => Ok(Owner::Host(host)),
        _ => Err((format!("there is no node or host `{}`", name.escape_debug()), None)),
    }
}

/// An address on a subnet of ours, or a node's addresses on a segment that we share.
fn gateways(
    draft: &Draft<'_>,
    owned: &Owned,
    owner: Owner,
    mine: &[usize],
    text: &str,
) -> Result<Vec<IpAddr>, Mistake> {
    if let Ok(address) = text.parse::<IpAddr>() {
        let near = mine.iter().flat_map(|&i| &draft.ifaces[i].settings.addresses).any(|net| net.contains(&address));
        let attached = matches!(owner, Owner::Node(node) if draft.nodes[node].attach.is_some());
        return match near || attached {
            true => Ok(vec![address]),
            false => Err((format!("{address} is on no subnet of `{}`", draft.owner_name(owner)), None)),
        };
    }
    let gateway = namespace(draft, text)?;
    let theirs = owned.get(&gateway).map(Vec::as_slice).unwrap_or_default();
    for &my in mine {
        let segment = draft.segments.find(draft.ifaces[my].point);
        let shared = theirs.iter().find(|&&their| draft.segments.find(draft.ifaces[their].point) == segment);
        if let (Some(&their), true) = (shared, gateway != owner) {
            let iface = &draft.ifaces[their];
            let families = [iface.address_of_family(true), iface.address_of_family(false)];
            return Ok(families.into_iter().flatten().map(|net| net.addr()).collect());
        }
    }
    let help = "a gateway stands on a switch or wire that the owner of the route is on too";
    Err((format!("`{}` and `{text}` share no segment", draft.owner_name(owner)), Some(help.into())))
}
