//! The parts that check virtual machines themselves: what `cargo xtask vm` promises.

use super::checks::Checks;
use crate::counts::Counts;
use crate::kernel::Kernel;
use crate::vm::disk::Disk;
use crate::vm::machine::{Machine, Outcome, tail};
use crate::workspace::Workspace;
use anyhow::{Result, ensure};
use std::time::Duration;

/// How long a single check may take.
const TIME_LIMIT: Duration = Duration::from_secs(120);

pub(super) fn uml(workspace: &Workspace) -> Result<Counts> {
    promises(workspace, Kernel::Uml)
}

pub(super) fn stock(workspace: &Workspace) -> Result<Counts> {
    promises(workspace, Kernel::Stock)
}

/// Runs a shell script in `machine`.
pub(super) fn run_script(
    workspace: &Workspace,
    machine: &Machine,
    script: &str,
) -> Result<Outcome> {
    machine.run(workspace, &["sh".into(), "-c".into(), script.into()])
}

/// Runs a shell script in `machine`; an error shows what it said if it failed or the kernel did.
pub(super) fn expect_success(
    workspace: &Workspace,
    machine: &Machine,
    script: &str,
) -> Result<String> {
    let outcome = run_script(workspace, machine, script)?;
    let stdout = String::from_utf8_lossy(&outcome.stdout).into_owned();
    ensure!(
        outcome.code == 0 && outcome.faults.is_empty(),
        "exit status {}, kernel faults: {:?}\n{stdout}{}\nconsole:\n{}",
        outcome.code,
        outcome.faults,
        String::from_utf8_lossy(&outcome.stderr),
        tail(&outcome.console)
    );
    Ok(stdout)
}

fn promises(workspace: &Workspace, kernel: Kernel) -> Result<Counts> {
    let mut machine = Machine::prepare(workspace, kernel)?;
    machine.time_limit = TIME_LIMIT;
    machine.capture = true;
    machine.disks = vec![Disk::Temporary {
        size_bytes: 64 << 20,
    }];
    let mut checks = Checks::default();
    checks.check("exit status and streams are the command's", || {
        let outcome = run_script(workspace, &machine, "echo out; echo err >&2; exit 7")?;
        ensure!(outcome.code == 7, "exit status {}", outcome.code);
        ensure!(outcome.stdout == b"out\n", "{:?}", outcome.stdout);
        ensure!(outcome.stderr == b"err\n", "{:?}", outcome.stderr);
        Ok(())
    });
    checks.check("the host's files are seen, and safe", || {
        let script = "set -e; test -f Cargo.toml; echo broken > Cargo.toml; touch /usr/vm-was-here; \
                      : > $EXCHANGE/vm-was-here; touch /tmp/x /run/x /mnt/x";
        expect_success(workspace, &machine, script)?;
        let manifest = std::fs::read_to_string(workspace.root().join("Cargo.toml"))?;
        ensure!(manifest.contains("[workspace]"), "the guest wrote to the host");
        ensure!(!std::path::Path::new("/usr/vm-was-here").exists(), "the guest wrote to the host");
        std::fs::remove_file(machine.exchange.join("vm-was-here"))?;
        Ok(())
    });
    checks.check("disks hold a file system", || {
        let script = "set -e; mkfs -t ext4 -q $DISK0; mount $DISK0 /mnt; echo x > /mnt/x; \
                      umount $DISK0; fsck.ext4 -fn $DISK0";
        expect_success(workspace, &machine, script).map(drop)
    });
    checks.check("a panic is a failure", || {
        let outcome = run_script(
            workspace,
            &machine,
            "echo c > /proc/sysrq-trigger; sleep 60",
        );
        ensure!(outcome.is_err(), "the panic went unnoticed");
        Ok(())
    });
    checks.check("a warning of the kernel is a fault", || {
        let script = "echo 'WARNING: CPU: 0 made up' > /dev/kmsg";
        let outcome = run_script(workspace, &machine, script)?;
        ensure!(
            outcome.code == 0 && !outcome.faults.is_empty(),
            "{:?}",
            outcome.faults
        );
        Ok(())
    });
    Ok(checks.counts())
}
