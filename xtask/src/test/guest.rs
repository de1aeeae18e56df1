//! Scripts of checks that run in a machine (`scripts/*.sh`), and the parts that are made of one.

use super::checks::Checks;
use super::machine::run_script;
use crate::counts::Counts;
use crate::deps::{self, Dependency, dependency};
use crate::kernel::Kernel;
use crate::vm::disk::Disk;
use crate::vm::machine::{Machine, tail};
use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::time::Duration;

/// What every script begins with.
const CHECKS: &str = include_str!("scripts/checks.sh");

const TIME_LIMIT: Duration = Duration::from_secs(300);

/// Operations of a file system that are made to panic: in every kind of thread, and on every kind of
/// way into the file system.
const OPERATIONS: &[&str] = &[
    "mount",
    "show_options",
    "background",
    "lookup",
    "load",
    "getattr",
    "setattr",
    "readdir",
    "create",
    "listxattr",
    "statfs",
    "map",
    "reserve",
    "place",
    "written",
    "fsync",
    "sync",
    "remount",
    "counter",
    "shrink",
    "forget",
    "unmount",
    "destroy",
];

/// Those of them that an emulated CPU has the time for: in a system call, in a thread of the
/// kernel, and in memory reclaim.
const OPERATIONS_FEW: &[&str] = &["lookup", "written", "shrink"];

pub(super) fn panics_uml(workspace: &Workspace) -> Result<Counts> {
    panics(workspace, Kernel::Uml, OPERATIONS)
}

pub(super) fn panics_stock(workspace: &Workspace) -> Result<Counts> {
    panics(workspace, Kernel::Stock, OPERATIONS_FEW)
}

/// What the script for panics uses.
const PANICS_NEED: &[Dependency] = &[dependency("getfattr", "attr")];

fn panics(workspace: &Workspace, kernel: Kernel, operations: &[&str]) -> Result<Counts> {
    deps::need(PANICS_NEED)?;
    let machine = machine(workspace, kernel, &["faulty", "logfs", "memfs"], 3)?;
    let faulty = module(&machine, "faulty")?;
    let script = format!(
        "FAULTY={}\nOPERATIONS='{}'\n{}",
        faulty.display(),
        operations.join(" "),
        include_str!("scripts/panics.sh")
    );
    run_checks(workspace, &machine, &script)
}

/// What the script for mounting uses.
const MOUNTING_NEED: &[Dependency] = &[
    dependency("getfattr", "attr"),
    dependency("setpriv", "util-linux"),
];

pub(super) fn mounting_uml(workspace: &Workspace) -> Result<Counts> {
    deps::need(MOUNTING_NEED)?;
    let machine = machine(workspace, Kernel::Uml, &["logfs"], 1)?;
    run_checks(workspace, &machine, include_str!("scripts/mounting.sh"))
}

const WRITES_NEED: &[Dependency] = &[
    dependency("dmsetup", "dmsetup"),
    dependency("perl", "perl-base"),
];

pub(super) fn writes_uml(workspace: &Workspace) -> Result<Counts> {
    writes(workspace, Kernel::Uml)
}

/// User-mode Linux has no large folios.
pub(super) fn writes_stock(workspace: &Workspace) -> Result<Counts> {
    writes(workspace, Kernel::Stock)
}

fn writes(workspace: &Workspace, kernel: Kernel) -> Result<Counts> {
    deps::need(WRITES_NEED)?;
    let machine = machine(workspace, kernel, &["logfs"], 1)?;
    run_checks(workspace, &machine, include_str!("scripts/writes.sh"))
}

/// A device whose flushes take time.
const COUNTERS_NEED: &[Dependency] = &[dependency("dmsetup", "dmsetup")];

pub(super) fn counters_uml(workspace: &Workspace) -> Result<Counts> {
    deps::need(COUNTERS_NEED)?;
    let machine = machine(workspace, Kernel::Uml, &["logfs"], 1)?;
    run_checks(workspace, &machine, include_str!("scripts/counters.sh"))
}

const TRACING_NEED: &[Dependency] = &[dependency("perl", "perl-base")];

/// In Debian's kernel: UML is built without tracing.
pub(super) fn tracing_stock(workspace: &Workspace) -> Result<Counts> {
    deps::need(TRACING_NEED)?;
    let machine = machine(workspace, Kernel::Stock, &["logfs"], 1)?;
    run_checks(workspace, &machine, include_str!("scripts/tracing.sh"))
}

/// What the script for failing devices uses.
const FAULTS_NEED: &[Dependency] = &[
    dependency("dmsetup", "dmsetup"),
    dependency("filefrag", "e2fsprogs"),
    dependency("perl", "perl-base"),
];

pub(super) fn faults_uml(workspace: &Workspace) -> Result<Counts> {
    deps::need(FAULTS_NEED)?;
    let machine = machine(workspace, Kernel::Uml, &["logfs"], 1)?;
    run_checks(workspace, &machine, include_str!("scripts/faults.sh"))
}

pub(super) fn allocations(workspace: &Workspace) -> Result<Counts> {
    deps::need(FAULTS_NEED)?;
    let machine = machine(workspace, Kernel::UmlDebug, &["logfs"], 1)?;
    run_checks(workspace, &machine, include_str!("scripts/allocations.sh"))
}

/// What the script for cleaning uses.
const CLEANER_NEED: &[Dependency] = &[
    dependency("fstrim", "util-linux"),
    dependency("setpriv", "util-linux"),
    dependency("dmsetup", "dmsetup"),
    dependency("xfs_io", "xfsprogs"),
    dependency("perl", "perl-base"),
];

/// Where the processor is emulated, the checks take more than five minutes.
const CLEANER_TIME_LIMIT: Duration = Duration::from_secs(20 * 60);

pub(super) fn cleaner_uml(workspace: &Workspace) -> Result<Counts> {
    cleaner(workspace, Kernel::Uml)
}

pub(super) fn cleaner_stock(workspace: &Workspace) -> Result<Counts> {
    cleaner(workspace, Kernel::Stock)
}

fn cleaner(workspace: &Workspace, kernel: Kernel) -> Result<Counts> {
    deps::need(CLEANER_NEED)?;
    let mut machine = machine(workspace, kernel, &["logfs"], 1)?;
    machine.disks = [128, 512]
        .map(|mib| Disk::Temporary {
            size_bytes: mib << 20,
        })
        .to_vec();
    machine.time_limit = CLEANER_TIME_LIMIT;
    run_checks(workspace, &machine, include_str!("scripts/cleaner.sh"))
}

/// Memory of which 50,000 files take a large part, with all that the kernel keeps of each.
const LITTLE_MEMORY_MIB: u64 = 192;

pub(super) fn memory_uml(workspace: &Workspace) -> Result<Counts> {
    let mut machine = machine(workspace, Kernel::Uml, &["logfs"], 1)?;
    machine.hardware.mem_bytes = LITTLE_MEMORY_MIB << 20;
    machine.disks = vec![Disk::Temporary {
        size_bytes: 2 << 30,
    }];
    let script = format!(
        "MEM_MIB={LITTLE_MEMORY_MIB}\n{}",
        include_str!("scripts/memory.sh")
    );
    run_checks(workspace, &machine, &script)
}

/// A machine with some modules, and disks that are big enough for every script.
fn machine(
    workspace: &Workspace,
    kernel: Kernel,
    modules: &[&str],
    disks: usize,
) -> Result<Machine> {
    const DISK_BYTES: u64 = 64 << 20;
    let mut machine = Machine::prepare(workspace, kernel)?;
    let modules: Vec<_> = modules.iter().map(|&name| name.to_owned()).collect();
    machine.load_modules(workspace, &modules)?;
    let disk = Disk::Temporary {
        size_bytes: DISK_BYTES,
    };
    machine.disks = vec![disk; disks];
    machine.time_limit = TIME_LIMIT;
    machine.capture = true;
    Ok(machine)
}

fn module<'a>(machine: &'a Machine, name: &str) -> Result<&'a Path> {
    let is_called = |file: &&std::path::PathBuf| file.file_stem().is_some_and(|stem| stem == name);
    let file = machine.modules.iter().find(is_called);
    file.map(|file| file.as_path())
        .with_context(|| format!("there is no module {name}"))
}

/// Runs a script and counts what it says of each of its checks. That it came to its end, and the
/// kernel had nothing to complain of, is one more.
fn run_checks(workspace: &Workspace, machine: &Machine, script: &str) -> Result<Counts> {
    let outcome = run_script(workspace, machine, &format!("{CHECKS}\n{script}"))?;
    let report = String::from_utf8_lossy(&outcome.stdout);
    print!("{report}");
    let mut checks = Checks::default();
    checks.check("the script ends and the kernel is well", || {
        ensure!(
            outcome.code == 0 && outcome.faults.is_empty(),
            "exit status {}, kernel faults: {:?}\n{}\nconsole:\n{}",
            outcome.code,
            outcome.faults,
            String::from_utf8_lossy(&outcome.stderr),
            tail(&outcome.console)
        );
        Ok(())
    });
    Ok([counts_of(&report), checks.counts()].into_iter().sum())
}

fn counts_of(report: &str) -> Counts {
    report.lines().filter_map(count_of).sum()
}

/// What a line says: `ok NAME`, `FAILED NAME`, or nothing of a check.
fn count_of(line: &str) -> Option<Counts> {
    match line.split_once(' ')?.0 {
        "ok" => Some(Counts::one(true)),
        "FAILED" => Some(Counts::one(false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::counts_of;

    #[test]
    fn lines_of_checks_are_counted_and_no_others() {
        let report = "ok a b\nFAILED c\n    ok within a log\n    + FAILED\nokay d\nok e\n";
        assert_eq!(counts_of(report).to_string(), "2 passed, 1 failed");
    }
}
