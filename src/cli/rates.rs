//! Line rates of a run: which links have one, `--profile`, and `--emulate`, which gives one to links that have none.

use anyhow::bail;

use super::outcome::CannotHere;
use crate::{
    apply::{ApplyError, world::World},
    experiment::profile::Profile,
    kernel,
    plan::{
        ceiling::{self, LinkRate, RateSource, Rates},
        desired::{Desired, FlowPath, LinkKind, LinkRef, Qdisc},
    },
    topology::model::{Shaper, ShaperKind},
};

/// Options of rates on the command line.
#[derive(Debug, clap::Args)]
pub struct RateArgs {
    /// A line rate to be reached: 1g, 10g, 25g, 40g or 100g. Streams and tests are chosen for it, and the result says PASS
    /// (95 % of the path's ceiling) or FAIL (exit 1).
    #[arg(long, value_name = "SPEED")]
    pub profile: Option<Profile>,
    /// Emulate the profile's line rate on virtual links: a shaper at both ends of every flow.
    #[arg(long, requires = "profile")]
    pub emulate: bool,
}

/// Gives both ends of every flow a shaper that passes full packets as a wire of the profile would. It is part of the
/// desired state: journaled, verified, and gone with the topology.
pub fn emulate(desired: &mut Desired, flows: &[FlowPath], profile: Profile) -> anyhow::Result<()> {
    for path in flows {
        let ends = [path.hops.first(), path.hops.last()];
        for hop in ends.into_iter().flatten() {
            let name = format!("{} → {}", path.flow.from, path.flow.to);
            let Some(link) = desired.links.iter_mut().find(|link| link.at == hop.at).filter(|_| hop.mtu > 0) else {
                bail!(
                    "--emulate: {name} goes over {}, which is no link of the topology: nothing can be shaped",
                    hop.at
                );
            };
            let rate = ceiling::emulated(profile.line, hop.mtu);
            let shaper = Qdisc::Shaper(Shaper { rate, qdisc: ShaperKind::Tbf });
            match &link.qdisc {
                None => link.qdisc = Some(shaper),
                Some(there) if *there == shaper => {}
                Some(_) => {
                    bail!("--emulate: {} has a rate or netem in the file already; take out one of the two", hop.at)
                }
            }
        }
        if path.hops.is_empty() {
            bail!("--emulate: {} → {} crosses no link of the topology", path.flow.from, path.flow.to);
        }
    }
    Ok(())
}

/// Every rate that is known: declared shapers, and ports of physical devices.
pub fn known(world: &World, desired: &Desired) -> Result<Rates, ApplyError> {
    let mut rates = ceiling::shapers(desired);
    for link in desired.links.iter().filter(|link| matches!(link.kind, LinkKind::Borrowed { .. })) {
        let ns = world.get(&link.at.ns)?;
        if !kernel::nic::is_physical(ns, &link.at.name)? {
            continue;
        }
        if let Some(rate) = kernel::ethtool::speed(ns, &link.at.name)? {
            // The narrower of port and shaper bounds.
            let there = rates.get(&link.at).copied();
            if there.is_none_or(|there| there.rate > rate) {
                rates.insert(link.at.clone(), LinkRate { rate, source: RateSource::Port });
            }
        }
    }
    Ok(rates)
}

/// What a profile has against the paths: an error where a link is too slow for it, and a warning where none has a rate.
pub fn check(profile: Profile, flows: &[FlowPath], rates: &Rates) -> anyhow::Result<Vec<String>> {
    let mut warnings = Vec::new();
    for path in flows {
        let name = format!("{} → {}", path.flow.from, path.flow.to);
        let on_path = || path.hops.iter().filter_map(|hop| Some((hop, rates.get(&hop.at)?)));
        for (hop, found) in on_path() {
            too_slow(profile, &name, &hop.at, hop.mtu, *found)?;
        }
        if on_path().next().is_none() {
            warnings.push(format!(
                "--profile {profile}: all links of {name} are virtual and have no line rate, so nothing passes or fails; --emulate puts a shaper of {} at its ends",
                profile.line
            ));
        }
    }
    Ok(warnings)
}

fn too_slow(profile: Profile, flow: &str, at: &LinkRef, mtu: u32, found: LinkRate) -> anyhow::Result<()> {
    match found.source {
        RateSource::Port if found.rate < profile.line => Err(CannotHere(format!(
            "--profile {profile}: {flow} goes over {at}, whose port runs at {}: use a faster port, or the profile of its speed",
            found.rate
        ))
        .into()),
        RateSource::Shaper if found.rate < ceiling::emulated(profile.line, mtu) => bail!(
            "--profile {profile}: {flow} goes over {at}, which the file shapes to {}: take out its rate, or leave out the profile",
            found.rate
        ),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::BitRate;

    #[test]
    fn a_port_below_the_profile_is_this_hosts_and_a_shaper_the_files() {
        let profile: Profile = "10g".parse().unwrap();
        let at = LinkRef { ns: crate::plan::desired::NsId::new("a"), name: "eth0".parse().unwrap() };
        let rate = |megabits: u64, source| LinkRate { rate: BitRate(megabits * 1_000_000), source };
        let error = too_slow(profile, "a → b", &at, 1500, rate(1000, RateSource::Port)).unwrap_err();
        assert!(error.is::<CannotHere>() && error.to_string().contains("a/eth0, whose port runs at 1gbit"), "{error}");
        let error = too_slow(profile, "a → b", &at, 1500, rate(1000, RateSource::Shaper)).unwrap_err();
        assert!(!error.is::<CannotHere>() && error.to_string().contains("shapes to 1gbit"), "{error}");
        too_slow(profile, "a → b", &at, 1500, rate(40_000, RateSource::Port)).unwrap();
        let emulated = LinkRate { rate: ceiling::emulated(profile.line, 1500), source: RateSource::Shaper };
        too_slow(profile, "a → b", &at, 1500, emulated).unwrap();
    }
}
