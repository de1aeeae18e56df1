//! stress: threads that do everything to one tree while it is synced, frozen and remounted.

use super::checks::Checks;
use super::machine::{expect_success, run_script};
use super::subject::Subject;
use crate::counts::Counts;
use crate::kernel::Kernel;
use crate::vm::machine::Machine;
use crate::workspace::Workspace;
use anyhow::{Result, ensure};
use std::time::Duration;

/// What a run does besides its seed.
struct Load {
    seeds: &'static [u32],
    options: &'static str,
}

const LOAD: Load = Load {
    seeds: &[1, 2],
    options: "--threads 4 --rounds 2 --operations 2500",
};

/// Shows that the program works.
const LOAD_SMALL: Load = Load {
    seeds: &[1],
    options: "--threads 4 --rounds 1 --operations 1500",
};

const TIME_LIMIT: Duration = Duration::from_secs(600);

pub(super) fn ext4(workspace: &Workspace) -> Result<Counts> {
    let subject = Subject::Ext4;
    let machine = subject.machine(workspace, TIME_LIMIT)?;
    let mut checks = Checks::default();
    stress(workspace, subject, &machine, &LOAD_SMALL, &mut checks);
    checks.check("a byte changed behind its back is found", || {
        let change = "file=$(find /mnt/shared -type f -size +1 | head -n 1); \
                      printf x | dd of=$file bs=1 seek=99 conv=notrunc status=none";
        let script = format!(
            "set -e; {}; stress /mnt --rounds 1 --operations 300 --seed 1 --remount '{change}'",
            subject.mount()
        );
        let outcome = run_script(workspace, &machine, &script)?;
        let stderr = String::from_utf8_lossy(&outcome.stderr);
        ensure!(
            outcome.code == 1 && stderr.contains("not its own"),
            "exit status {}: {stderr}",
            outcome.code
        );
        Ok(())
    });
    Ok(checks.counts())
}

pub(super) fn logfs_uml(workspace: &Workspace) -> Result<Counts> {
    logfs(workspace, Kernel::Uml)
}

pub(super) fn logfs_stock(workspace: &Workspace) -> Result<Counts> {
    logfs(workspace, Kernel::Stock)
}

fn logfs(workspace: &Workspace, kernel: Kernel) -> Result<Counts> {
    let subject = Subject::Logfs(kernel);
    let machine = subject.machine(workspace, TIME_LIMIT)?;
    let mut checks = Checks::default();
    stress(workspace, subject, &machine, &LOAD, &mut checks);
    Ok(checks.counts())
}

fn stress(
    workspace: &Workspace,
    subject: Subject,
    machine: &Machine,
    load: &Load,
    checks: &mut Checks,
) {
    for seed in load.seeds {
        let options = load.options;
        let name = format!("{subject:?}: stress {options} --seed {seed}");
        checks.check(&name, || {
            let script = format!(
                "set -e; {}; stress /mnt --mount-point /mnt {options} --seed {seed} \
                 --remount 'umount /mnt; {}'\n{}",
                subject.mount(),
                subject.mount_again(),
                subject.unmount()
            );
            expect_success(workspace, machine, &script).map(drop)
        });
    }
}
