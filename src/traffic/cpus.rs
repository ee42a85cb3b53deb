//! What every CPU of the machine did while a window was open: `/proc/stat` and `/proc/net/softnet_stat`.

use crate::measured::CpuLoad;

/// Counters of all CPUs at some moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot(Vec<Row>);

/// Ticks by kind, and the backlog's counters, of a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Row {
    cpu: u32,
    user: u64,
    system: u64,
    softirq: u64,
    irq: u64,
    idle: u64,
    steal: u64,
    processed: u64,
    dropped: u64,
    squeezed: u64,
    mhz: Option<f64>,
}

impl Snapshot {
    /// Reads both files. What cannot be read is left out: the verdict has less evidence then.
    pub fn take() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let mut taken = Self::parse(&text("/proc/stat"), &text("/proc/net/softnet_stat"));
        for row in &mut taken.0 {
            // In kHz; guests and many virtual machines have no such file.
            let file = format!("/sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq", row.cpu);
            row.mhz = text(&file).trim().parse::<f64>().ok().map(|khz| khz / 1e3);
        }
        taken
    }

    /// proc_pid_stat(5) has the columns of the first; those of the second are in net/core/net-procfs.c: processed is the first, dropped the
    /// second, time_squeeze the third, the CPU's number the thirteenth (since 5.14; before that, rows are CPUs in order).
    fn parse(stat: &str, softnet: &str) -> Self {
        let mut rows: Vec<Row> = stat.lines().filter_map(stat_row).collect();
        for (cpu, processed, dropped, squeezed) in backlogs(softnet) {
            if let Some(row) = rows.iter_mut().find(|row| u64::from(row.cpu) == cpu) {
                (row.processed, row.dropped, row.squeezed) = (processed, dropped, squeezed);
            }
        }
        Self(rows)
    }

    /// Number of CPUs.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What each CPU did since an earlier snapshot, as shares of that time.
    pub fn since(&self, before: &Self) -> Vec<CpuLoad> {
        let load = |now: &Row| {
            let then = before.0.iter().find(|row| row.cpu == now.cpu)?;
            let parts = [
                now.user.saturating_sub(then.user),
                now.system.saturating_sub(then.system),
                now.softirq.saturating_sub(then.softirq),
                now.irq.saturating_sub(then.irq),
                now.idle.saturating_sub(then.idle),
                now.steal.saturating_sub(then.steal),
            ];
            let all = parts.iter().sum::<u64>();
            let [user, system, softirq, irq, idle, steal] = parts.map(|part| part as f64 / all.max(1) as f64);
            // The kernel counts in 32 bits, and this one goes around.
            let softnet_processed = u64::from((now.processed as u32).wrapping_sub(then.processed as u32));
            let softnet_dropped = now.dropped.saturating_sub(then.dropped);
            let softnet_squeezed = now.squeezed.saturating_sub(then.squeezed);
            (all > 0).then_some(CpuLoad {
                cpu: now.cpu,
                user,
                system,
                softirq,
                irq,
                idle,
                steal,
                softnet_processed,
                softnet_dropped,
                softnet_squeezed,
                mhz: now.mhz,
            })
        };
        self.0.iter().filter_map(load).collect()
    }
}

/// Of each row: the CPU, packets that it received, packets that found its backlog full, and how often its time for them was over.
fn backlogs(softnet: &str) -> impl Iterator<Item = (u64, u64, u64, u64)> {
    softnet.lines().enumerate().filter_map(|(i, line)| {
        let fields: Vec<u64> =
            line.split_whitespace().filter_map(|field| u64::from_str_radix(field, 16).ok()).collect();
        let [processed, dropped, squeezed, ..] = fields[..] else { return None };
        Some((fields.get(12).copied().unwrap_or(i as u64), processed, dropped, squeezed))
    })
}

/// Packets of all traffic of the machine that found a CPU's backlog full.
pub fn backlog_drops() -> u64 {
    let text = std::fs::read_to_string("/proc/net/softnet_stat").unwrap_or_default();
    backlogs(&text).map(|(_, _, dropped, _)| dropped).sum()
}

fn stat_row(line: &str) -> Option<Row> {
    let mut words = line.split_whitespace();
    let cpu = words.next()?.strip_prefix("cpu")?.parse().ok()?;
    let ticks: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
    let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = ticks[..] else { return None };
    Some(Row { cpu, user: user + nice, system, softirq, irq, idle: idle + iowait, steal, ..Row::default() })
}

/// How long the calling thread has been ready to run and did not, nanoseconds; absent in kernels without scheduler
/// statistics.
pub fn thread_waited() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_time_between_two_snapshots() {
        let before = Snapshot::parse(
            "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 100 0 50 800 0 0 10 0 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\nintr 5\n",
            "ffffffff 00000001 00000002 00000000\n0000000a 00000000 00000000 00000000\n",
        );
        let after = Snapshot::parse(
            "cpu0 110 0 80 830 10 0 30 0 0 0\ncpu1 1 1 1 1 1 1 1 1 0 0\n",
            "0000000a 00000005 00000003 00000000\n",
        );
        let loads = after.since(&before);
        assert_eq!(loads.len(), 1, "a CPU without a tick has no shares");
        let load = &loads[0];
        assert_eq!((load.cpu, load.user, load.system, load.softirq, load.idle), (0, 0.1, 0.3, 0.2, 0.4));
        assert_eq!((load.softnet_processed, load.softnet_dropped, load.softnet_squeezed), (11, 4, 1));
    }

    #[test]
    fn nonsense_is_no_cpu() {
        assert_eq!(Snapshot::parse("cpu0 1 2\ncpux 1 2 3 4 5 6 7 8\n\n", "zz\n\n"), Snapshot::default());
    }

    #[test]
    fn this_machine_is_read() {
        assert!(!Snapshot::take().0.is_empty());
        assert!(thread_waited().is_some());
    }
}
