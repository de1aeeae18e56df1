//! Power cuts at all points of random workloads in the kernel.

use super::checks::Checks;
use super::machine::expect_success;
use super::subject::Subject;
use crate::counts::Counts;
use crate::deps::{self, Dependency, dependency};
use crate::kernel::Kernel;
use crate::vm::disk::Disk;
use crate::workspace::Workspace;
use anyhow::Result;
use std::time::Duration;

/// Workloads of a run.
const WORKLOADS: u32 = 20;

/// The disk that is worked on, and the one that keeps its writes.
const DISK_BYTES: u64 = 16 << 20;
const LOG_BYTES: u64 = 2 << 30;

const NEEDED: &[Dependency] = &[dependency("dmsetup", "dmsetup")];

pub(super) fn logfs_uml(workspace: &Workspace) -> Result<Counts> {
    deps::need(NEEDED)?;
    let mut machine = Subject::Logfs(Kernel::Uml).machine(workspace, Duration::from_secs(600))?;
    machine.disks = [DISK_BYTES, LOG_BYTES, DISK_BYTES]
        .map(|size_bytes| Disk::Temporary { size_bytes })
        .into();
    // A new one each time: what fails says which it was.
    let seed = fastrand::u32(..);
    let mut checks = Checks::default();
    checks.check(&format!("{WORKLOADS} workloads, seed {seed}"), || {
        let script =
            format!("crash-in-kernel $DISK0 $DISK1 $DISK2 --workloads {WORKLOADS} --seed {seed}");
        expect_success(workspace, &machine, &script).map(drop)
    });
    Ok(checks.counts())
}
