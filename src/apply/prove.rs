//! After apply: the MTU of every declared path is proved with packets, what switches and NICs were told with frames, and the
//! quiet point is awaited.

mod settings;
mod spots;
mod vlans;

use std::time::{Duration, Instant};

use crate::{
    apply::{ApplyError, world::World},
    kernel::{
        df_probe,
        observe::{Wanted, observe},
        quiet,
    },
    plan::{
        desired::{Desired, FlowPath, LinkKind, LinkRef, NsId},
        proof::SettingProof,
    },
    topology::model::VfLinkState,
};

/// One function in ten of an emulated NIC takes nine seconds longer than the others.
const CARRIER_WITHIN: Duration = Duration::from_secs(30);
/// All paths are proved at once; this bounds the whole.
const PROOF_DEADLINE: Duration = Duration::from_secs(10);
/// After this the kernel is called busy, and the record says so.
const QUIET_DEADLINE: Duration = Duration::from_secs(5);

/// The proof of one path's MTU, both ways.
#[derive(Debug, Clone, PartialEq)]
pub struct MtuProof {
    /// Client.
    pub from: String,
    /// Server.
    pub to: String,
    /// Declared MTU in bytes of the IP packet.
    pub mtu: u32,
    /// Client to server.
    pub forward: df_probe::Direction,
    /// Server to client.
    pub backward: df_probe::Direction,
}

impl MtuProof {
    /// Did packets of exactly the MTU arrive both ways, and none above it?
    pub fn holds(&self) -> bool {
        self.forward.is_proved() && self.backward.is_proved()
    }

    /// What was seen, in a sentence.
    pub fn text(&self) -> String {
        if self.holds() {
            return format!("MTU {} proved {} ⇄ {}", self.mtu, self.from, self.to);
        }
        let one = |from: &str, to: &str, seen: &df_probe::Direction| {
            let fault = if seen.refused_at_mtu {
                format!("the sender's own stack refuses a packet of {} bytes", self.mtu)
            } else if !seen.arrived_at_mtu {
                format!("a DF packet of {} bytes did not arrive ({} tries)", self.mtu, seen.tries)
            } else {
                format!("a DF packet of more than {} bytes arrived: the path carries more than declared", self.mtu)
            };
            (!seen.is_proved()).then(|| format!("MTU {} NOT proved {from} → {to}: {fault}", self.mtu))
        };
        let both = [one(&self.from, &self.to, &self.forward), one(&self.to, &self.from, &self.backward)];
        both.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// Sends the probes of every declared path that is not loopback.
pub fn mtu(world: &World, desired: &Desired) -> Result<Vec<MtuProof>, ApplyError> {
    carrier(world, desired)?;
    paths(world, &desired.flows)
}

/// Tries with frames what switches and NICs were told: the VLANs of ports, the settings of virtual functions. Nothing where
/// none is declared. Sends frames of an EtherType for experiments, those of functions also out on the wire.
///
/// # Errors
/// A namespace or an interface is not there, packet sockets fail, or Ctrl-C.
pub fn enforcement(world: &World, desired: &Desired) -> Result<Vec<SettingProof>, ApplyError> {
    let mut proofs = vlans::vlans(world, desired)?;
    proofs.extend(settings::settings(world, desired)?);
    Ok(proofs)
}

/// Waits until the ports on the declared paths have a carrier: a NIC that has made virtual functions was reset, and the
/// driver of a function may need seconds until its NIC has answered. What has none in time is left to the proof.
pub fn carrier(world: &World, desired: &Desired) -> Result<(), ApplyError> {
    let physical = |at: &LinkRef| {
        desired.link(at).is_some_and(|link| match &link.kind {
            LinkKind::Vf(vf) => vf.set.link_state != Some(VfLinkState::Disable),
            LinkKind::Borrowed { .. } => !desired.sriov.is_empty(),
            _ => false,
        })
    };
    let mut waiting: Vec<&LinkRef> =
        desired.flows.iter().flat_map(|path| &path.hops).map(|hop| &hop.at).filter(|at| physical(at)).collect();
    let deadline = Instant::now() + CARRIER_WITHIN;
    while !waiting.is_empty() && Instant::now() < deadline {
        let mut still = Vec::new();
        for at in waiting {
            let seen = observe(world.get(&at.ns)?, &Wanted::links_only())?;
            if seen.links.get(&at.name).is_some_and(|link| !link.carrier) {
                still.push(at);
            }
        }
        waiting = still;
        if !waiting.is_empty() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// Sends the probes of these paths, but not of loopback (no UDP datagram fills its 65536 bytes).
pub fn paths(world: &World, flows: &[FlowPath]) -> Result<Vec<MtuProof>, ApplyError> {
    let mut paths = Vec::new();
    let mut proofs = Vec::new();
    for path in flows.iter().filter(|path| !path.flow.to_address.is_loopback()) {
        let flow = &path.flow;
        paths.push(df_probe::Path {
            from: (world.get(&path.from_ns)?, flow.from_address),
            to: (world.get(&path.to_ns)?, flow.to_address),
            mtu: flow.mtu,
        });
        proofs.push((flow.from.clone(), flow.to.clone(), flow.mtu));
    }
    let seen = df_probe::prove(&paths, Instant::now() + PROOF_DEADLINE)?;
    let proof = |((from, to, mtu), seen): ((String, String, u32), df_probe::Proof)| MtuProof {
        from,
        to,
        mtu,
        forward: seen.forward,
        backward: seen.backward,
    };
    Ok(proofs.into_iter().zip(seen).map(proof).collect())
}

/// How the quiet point came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quiet {
    /// Time waited in milliseconds.
    pub waited_ms: f64,
    /// Did it come before the deadline?
    pub reached: bool,
}

/// Waits until the kernel has digested the changes: links made or removed a moment ago stall others for a quarter of
/// a second (RTNL and RCU work), which no measurement may overlap.
pub fn quiet_point(world: &World) -> Result<Quiet, ApplyError> {
    let started = Instant::now();
    let Some((_, ns)) = world.handles().find(|(id, _)| id.0 != NsId::SELF).or_else(|| world.handles().next()) else {
        return Ok(Quiet { waited_ms: 0.0, reached: true });
    };
    let reached = match quiet::wait(ns, started + QUIET_DEADLINE) {
        Ok(_) => true,
        Err(crate::kernel::Error::Timeout { .. }) => false,
        Err(error) => return Err(error.into()),
    };
    Ok(Quiet { waited_ms: started.elapsed().as_secs_f64() * 1e3, reached })
}
