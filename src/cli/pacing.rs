//! `--pacing fq` and `auto`: is there an fq queueing discipline where the payload of a run leaves?

use super::outcome::CannotHere;
use crate::{
    agent::egress,
    apply::{ApplyError, world::World},
    kernel,
    measured::{Pacing, Test, Tuning},
    plan::desired::FlowPath,
};

/// Looks at the egress of every flow: `fq` needs it there, `auto` takes it where all have it, and leaves the rest to the senders.
///
/// # Errors
/// `fq` was asked for and is not there.
pub fn settle(tuning: &mut Tuning, tests: &[Test], world: &World, flows: &[FlowPath]) -> anyhow::Result<()> {
    let Some(asked @ (Pacing::Fq | Pacing::Auto)) = tuning.pacer else { return Ok(()) };
    let paced = || tests.iter().filter(|test| asked.fits(**test));
    let forward = paced().any(|test| !test.is_reverse());
    let backward = paced().any(|test| test.is_reverse() || test.is_bidirectional());
    let ends = flows.iter().flat_map(|path| {
        [(forward, path, path.hops.first()), (backward, path, path.hops.last())]
            .into_iter()
            .filter(|(sends, ..)| *sends)
    });
    for (_, path, hop) in ends {
        let lacks = match hop {
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
                return Err(no_fq(&lacks).into());
            }
            Some(_) => return Ok(()),
            None => {}
        }
    }
    tuning.pacer = Some(Pacing::Fq);
    Ok(())
}

/// `fq` is not there: why, and what to do.
pub fn no_fq(lacks: &str) -> CannotHere {
    CannotHere(format!("--pacing fq: {lacks}, and only fq spaces datagrams by SO_MAX_PACING_RATE; {}", egress::INSTEAD))
}
