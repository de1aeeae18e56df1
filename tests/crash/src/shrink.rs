//! The smallest case of a violation: fewest operations, then fewest writes lost or torn.

use crate::explore::{Case, Explorer};
use crate::state::CrashState;
use crate::workload::Workload;
use std::time::{Duration, Instant};

/// Shrinking takes no longer than this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Leaves out of a case what it does not need to fail the same check.
pub fn shrink(explorer: &Explorer, case: Case) -> Case {
    let deadline = Instant::now() + PATIENCE;
    let mut best = case;
    best.workload.is_strict = false;
    // First the longer stretches, so that long workloads become short soon.
    let mut len = best.workload.ops.len() / 2;
    while len > 0 && Instant::now() < deadline {
        let mut at = 0;
        while at + len <= best.workload.ops.len() && Instant::now() < deadline {
            match without_ops(explorer, &best, at, len) {
                Some(smaller) => best = smaller,
                None => at += len,
            }
        }
        len /= 2;
    }
    while let Some(smaller) = without_a_fate(explorer, &best) {
        best = smaller;
    }
    best
}

fn without_ops(explorer: &Explorer, case: &Case, at: usize, len: usize) -> Option<Case> {
    let mut ops = case.workload.ops.clone();
    ops.drain(at..at + len);
    let workload = Workload {
        ops,
        ..case.workload.clone()
    };
    let found = explorer.replay(&workload, None)?;
    (found.violation.check == case.violation.check).then_some(found)
}

fn without_a_fate(explorer: &Explorer, case: &Case) -> Option<Case> {
    let state = case.state.as_ref()?;
    let smaller = |index: usize| {
        let mut fates = state.fates.clone();
        fates.remove(index);
        let smaller = CrashState {
            cut: state.cut,
            fates,
        };
        let found = explorer.replay(&case.workload, Some(&smaller))?;
        (found.violation.check == case.violation.check).then_some(found)
    };
    (0..state.fates.len()).find_map(smaller)
}
