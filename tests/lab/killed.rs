//! An apply that kills itself with SIGKILL at one of its crash points, and the ways to clean up after it.

use super::Lab;

/// What ends a process that kills itself.
pub const SIGKILL: i32 = 9;

/// How a crash is cleaned up after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// `destroy` at once.
    Destroy,
    /// A new `apply` that must come to its end, `verify`, then `destroy`.
    ApplyAgain,
    /// `gc` after the state folder was lost.
    LoseStateAndCollect,
    /// `destroy` after the state folder was lost.
    LoseStateAndDestroy,
}

impl After {
    /// All ways.
    pub const ALL: [Self; 4] = [Self::Destroy, Self::ApplyAgain, Self::LoseStateAndCollect, Self::LoseStateAndDestroy];

    /// Cleans up; a second apply is made with these arguments, and `meanwhile` looks at what it made.
    #[track_caller]
    pub fn clean(self, lab: &Lab, topology: &str, apply: &[&str], meanwhile: impl FnOnce()) {
        // Where nothing was made yet there is nothing to destroy.
        let destroy = || {
            let done = lab.netbench(&["topo", "destroy", topology]);
            assert!(matches!(done.code, Some(0 | 2)), "{self:?}: {done}");
        };
        match self {
            Self::Destroy => destroy(),
            Self::ApplyAgain => {
                lab.netbench(&[&["topo", "apply"], apply].concat()).ok();
                meanwhile();
                lab.netbench(&["topo", "verify", apply.last().expect("a file")]).ok();
                lab.netbench(&["topo", "destroy", topology]).ok();
            }
            Self::LoseStateAndCollect => {
                lab.sh("rm -rf /run/netbench");
                lab.netbench(&["topo", "gc"]).ok();
            }
            Self::LoseStateAndDestroy => {
                lab.sh("rm -rf /run/netbench");
                destroy();
            }
        }
    }
}

impl Lab {
    /// Applies with these arguments, killed at the `k`-th crash point; true where it had fewer and came to its end.
    #[track_caller]
    pub fn survives_killed_at(&self, k: usize, apply: &[&str]) -> bool {
        let done = self.netbench_with(("NETBENCH_CRASH_AT", &k.to_string()), &[&["topo", "apply"], apply].concat());
        let survived = done.signal != Some(SIGKILL);
        if survived {
            done.ok();
        }
        survived
    }
}
