//! `--pacing fq` and `auto`: is there an fq queueing discipline where the datagrams of a run leave?

use super::outcome::CannotHere;
use crate::{
    apply::{ApplyError, world::World},
    kernel,
    measured::{Pacing, Tuning},
    plan::desired::FlowPath,
};

/// Looks at the egress of every flow: `fq` needs it there, `auto` takes it where all have it, and leaves the rest to the senders.
///
/// # Errors
/// `fq` was asked for and is not there.
pub fn settle(tuning: &mut Tuning, world: &World, flows: &[FlowPath]) -> anyhow::Result<()> {
    let Some(asked @ (Pacing::Fq | Pacing::Auto)) = tuning.pacer else { return Ok(()) };
    for path in flows {
        let lacks = match path.hops.first() {
            None => Some(format!("{} → {} crosses no interface of the topology", path.flow.from, path.flow.to)),
            Some(hop) => {
                let kind = match world.get(&hop.at.ns) {
                    Ok(ns) => kernel::root_qdisc(ns, &hop.at.name).map_err(ApplyError::from)?,
                    Err(_) => None,
                };
                match kind.as_deref() {
                    Some("fq") => None,
                    kind => {
                        Some(format!("{} has the queueing discipline {}", hop.at, kind.unwrap_or("of nobody we see")))
                    }
                }
            }
        };
        match lacks {
            Some(lacks) if asked == Pacing::Fq => {
                return Err(CannotHere(format!(
                    "--pacing fq: {lacks}, and only fq spaces datagrams by SO_MAX_PACING_RATE; take timer, spin or auto, or \
                     give it fq (`tc qdisc replace dev … root fq`, needs CONFIG_NET_SCH_FQ)"
                ))
                .into());
            }
            Some(_) => return Ok(()),
            None => {}
        }
    }
    tuning.pacer = Some(Pacing::Fq);
    Ok(())
}
