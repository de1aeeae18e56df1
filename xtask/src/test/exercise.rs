//! exercise: random operations on one file, through the page cache and past it, each read compared.

use super::checks::Checks;
use super::machine::{expect_success, run_script};
use super::subject::Subject;
use crate::counts::Counts;
use crate::kernel::Kernel;
use crate::vm::machine::Machine;
use crate::workspace::Workspace;
use anyhow::{Result, ensure};
use std::time::Duration;

/// Operations in a run, in one on the emulated CPU, and in one that shows that the program works.
const OPERATIONS: u32 = 100_000;
const OPERATIONS_SOME: u32 = 20_000;
const OPERATIONS_FEW: u32 = 5_000;

/// Seeds and sizes: small files meet themselves more often, large ones have more extents.
const RUNS: &[(u32, u64)] = &[(1, 256 << 10), (2, 4 << 20), (3, 16 << 20)];

pub(super) fn ext4(workspace: &Workspace) -> Result<Counts> {
    let subject = Subject::Ext4;
    let machine = subject.machine(workspace, Duration::from_secs(300))?;
    let mut checks = Checks::default();
    exercise(workspace, subject, &machine, OPERATIONS_FEW, &mut checks);
    checks.check("a byte changed behind its back is found", || {
        let change = "printf x | dd of=/mnt/file bs=1 seek=99 conv=notrunc status=none";
        let script = format!(
            "set -e; {}; exercise /mnt/file --operations 100 --seed 1 --remount '{change}'",
            subject.mount()
        );
        let outcome = run_script(workspace, &machine, &script)?;
        let stderr = String::from_utf8_lossy(&outcome.stderr);
        ensure!(
            outcome.code == 1 && stderr.contains("offset 99: "),
            "exit status {}: {stderr}",
            outcome.code
        );
        Ok(())
    });
    Ok(checks.counts())
}

pub(super) fn logfs_uml(workspace: &Workspace) -> Result<Counts> {
    logfs(workspace, Kernel::Uml, OPERATIONS)
}

/// Has large folios, and is emulated.
pub(super) fn logfs_stock(workspace: &Workspace) -> Result<Counts> {
    logfs(workspace, Kernel::Stock, OPERATIONS_SOME)
}

fn logfs(workspace: &Workspace, kernel: Kernel, operations: u32) -> Result<Counts> {
    let subject = Subject::Logfs(kernel);
    let machine = subject.machine(workspace, Duration::from_secs(1500))?;
    let mut checks = Checks::default();
    exercise(workspace, subject, &machine, operations, &mut checks);
    Ok(checks.counts())
}

/// Shares the operations out among the runs.
fn exercise(
    workspace: &Workspace,
    subject: Subject,
    machine: &Machine,
    operations: u32,
    checks: &mut Checks,
) {
    let each = operations / RUNS.len() as u32;
    for (seed, max_bytes) in RUNS {
        let name = format!("{subject:?}: {each} operations, up to {max_bytes} bytes, seed {seed}");
        checks.check(&name, || {
            let script = format!(
                "set -e; {}; exercise /mnt/file --operations {each} --seed {seed} \
                 --max-size {max_bytes} --remount 'umount /mnt; {}'\n{}",
                subject.mount(),
                subject.mount_again(),
                subject.unmount()
            );
            expect_success(workspace, machine, &script).map(drop)
        });
    }
}
