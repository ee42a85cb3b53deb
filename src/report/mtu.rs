//! `mtu probe` at a terminal.

use std::io::{self, Write};

use super::wrap::wrapped;
use crate::record::mtu::{MtuMeans, MtuReport};

/// One block a direction: the verdict first, its evidence and cure below it.
pub fn mtu(report: &MtuReport, out: &mut impl Write) -> io::Result<()> {
    for (at, direction) in report.directions.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        let largest = direction.largest.map_or_else(|| "nothing passes".to_owned(), |mtu| format!("MTU {mtu}"));
        let declared = direction.declared.map(|mtu| format!(", declared {mtu}")).unwrap_or_default();
        let means = match direction.means {
            MtuMeans::Receiver => "",
            MtuMeans::Echo => " (by echo: both ways)",
            MtuMeans::ClosedPort => " (by a closed port)",
        };
        writeln!(out, "{} → {}  {largest}{declared}{means}", direction.from, direction.to)?;
        for finding in &direction.findings {
            let mark = if finding.fault { "✗" } else { "✓" };
            wrapped(out, &format!("  {mark} "), &format!("{}: {}", finding.verdict.word(), finding.text))?;
            for evidence in &finding.evidence {
                wrapped(out, "      ", evidence)?;
            }
            for fix in &finding.fix {
                wrapped(out, "      fix: ", fix)?;
            }
        }
        if let Some(tcp) = &direction.tcp {
            let line = format!(
                "TCP: MSS {} at a path MTU of {}, {} of {} KiB arrived",
                tcp.snd_mss,
                tcp.pmtu,
                tcp.carried / 1024,
                tcp.sent / 1024
            );
            wrapped(out, "    ", &line)?;
        }
    }
    Ok(())
}
