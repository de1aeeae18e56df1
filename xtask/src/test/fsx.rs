//! fsx: random reads, writes, mappings, truncations, holes on one file, each read compared.

use super::checks::Checks;
use super::machine::expect_success;
use super::subject::Subject;
use crate::cache::built_once;
use crate::command::{cargo, step};
use crate::counts::Counts;
use crate::kernel::Kernel;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

const VERSION: &str = "0.3.2";

/// Operations of all runs together, if the environment does not say another number; and on an
/// emulated CPU or of the harness alone.
const OPERATIONS_VARIABLE: &str = "FSX_OPERATIONS";
const OPERATIONS: u32 = 300_000;
const OPERATIONS_FEW: u32 = 20_000;

/// Operations in one go: fsx 0.3.2 keeps its mappings, so that it gets slower with each.
const OPERATIONS_MAX: u32 = 100_000;

/// One kind of runs.
struct Run {
    name: &'static str,
    /// Of the first run; each further one has a seed of its own.
    seed: u32,
    /// What differs from the tool's defaults.
    settings: &'static str,
    /// How often it allocates. With aligned operations fsx 0.3.2 makes empty allocations, which
    /// are invalid; so it does with others unless they have a smallest size.
    fallocate_weight: u32,
}

/// Larger files reach more of the extent tree; aligned operations are whole blocks.
const RUNS: &[Run] = &[
    Run {
        name: "small file",
        seed: 1,
        settings: "[opsize]\nmin = 1",
        fallocate_weight: 2,
    },
    Run {
        name: "large file",
        seed: 2,
        settings: "flen = 2097152\n[opsize]\nmin = 1",
        fallocate_weight: 2,
    },
    Run {
        name: "aligned",
        seed: 3,
        settings: "[opsize]\nalign = 4096",
        fallocate_weight: 0,
    },
];

/// Mapped reads and writes fault on every page, which is slow in user-mode Linux, and an fsync costs
/// as much as a thousand other operations: a few of each.
const WEIGHTS: &str = "[weights]\nclose_open = 1\nread = 10\nwrite = 10\nmapread = 2\n\
                       mapwrite = 2\ninvalidate = 1\ntruncate = 5\nfsync = 0.1\n\
                       fdatasync = 0.1\npunch_hole = 3\nsendfile = 1\nposix_fadvise = 1\n\
                       copy_file_range = 2\n";

pub(super) fn ext4(workspace: &Workspace) -> Result<Counts> {
    fsx(workspace, Subject::Ext4, OPERATIONS_FEW)
}

pub(super) fn logfs_uml(workspace: &Workspace) -> Result<Counts> {
    fsx(workspace, Subject::Logfs(Kernel::Uml), operations()?)
}

pub(super) fn logfs_stock(workspace: &Workspace) -> Result<Counts> {
    fsx(workspace, Subject::Logfs(Kernel::Stock), OPERATIONS_FEW)
}

pub(super) fn logfs_fuse(workspace: &Workspace) -> Result<Counts> {
    fsx(workspace, Subject::LogfsFuse, operations()?)
}

fn operations() -> Result<u32> {
    match env::var(OPERATIONS_VARIABLE) {
        Ok(number) => number
            .parse()
            .with_context(|| format!("{OPERATIONS_VARIABLE}={number} is no number of operations")),
        Err(_) => Ok(OPERATIONS),
    }
}

/// The program, built if this version has not been built before.
fn program() -> Result<PathBuf> {
    let dir = built_once(&format!("fsx-{VERSION}"), |dir| {
        let mut install = cargo();
        install.args(["install", "--locked", "fsx", "--version", VERSION, "--root"]);
        step("Building fsx (once)", install.arg(dir)).map(drop)
    })?;
    Ok(dir.join("bin/fsx"))
}

/// Shares the operations out among the kinds of runs.
fn fsx(workspace: &Workspace, subject: Subject, operations: u32) -> Result<Counts> {
    let program = program()?;
    let machine = subject.machine(workspace, Duration::from_secs(3000))?;
    let mut checks = Checks::default();
    for run in RUNS {
        let mut left = operations / RUNS.len() as u32;
        let mut seed = run.seed;
        while left > 0 {
            let count = left.min(OPERATIONS_MAX);
            let name = format!("{subject:?}: {}, {count} operations, seed {seed}", run.name);
            checks.check(&name, || {
                let script = run.script(&program, subject, count, seed);
                expect_success(workspace, &machine, &script).map(drop)
            });
            left -= count;
            seed += RUNS.len() as u32;
        }
    }
    Ok(checks.counts())
}

impl Run {
    fn script(&self, program: &Path, subject: Subject, operations: u32, seed: u32) -> String {
        let Run {
            settings,
            fallocate_weight,
            ..
        } = self;
        format!(
            "set -e; printf '%s\\n' '{settings}' '{WEIGHTS}' \
             'posix_fallocate = {fallocate_weight}' > /run/fsx.toml; {mount}\n\
             {program} -q -N {operations} -S {seed} -P /run -f /run/fsx.toml /mnt/file\n{unmount}",
            mount = subject.mount(),
            unmount = subject.unmount(),
            program = program.display()
        )
    }
}
