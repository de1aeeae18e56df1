//! Damaged disks, mounted and used in a kernel that watches itself.

use super::checks::Checks;
use super::machine::expect_success;
use super::subject::Subject;
use crate::counts::Counts;
use crate::kernel::Kernel;
use crate::vm::disk::Disk;
use crate::workspace::Workspace;
use anyhow::Result;
use std::time::Duration;

/// How many disks a machine sees, and how many machines there are.
const DISKS: u64 = 500;
const MACHINES: u64 = 10;

const DISK_BYTES: u64 = 24 << 20;

pub(super) fn logfs(workspace: &Workspace) -> Result<Counts> {
    let subject = Subject::Logfs(Kernel::UmlDebug);
    let mut machine = subject.machine(workspace, Duration::from_secs(600))?;
    machine.disks = vec![Disk::Temporary {
        size_bytes: DISK_BYTES,
    }];
    let mut checks = Checks::default();
    for number in 0..MACHINES {
        let first = number * DISKS;
        checks.check(&format!("{DISKS} disks from number {first}"), || {
            let script = format!("hostile-in-kernel $DISK0 --images {DISKS} --first {first}");
            expect_success(workspace, &machine, &script).map(drop)
        });
    }
    Ok(checks.counts())
}
