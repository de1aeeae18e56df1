//! All tests of the tree, in parts that can be run alone.

mod checks;
mod crash;
mod exercise;
mod fsx;
mod guest;
mod hostile;
mod machine;
mod pjdfstest;
mod power_cuts;
mod rust;
mod smoke;
mod stress;
mod subject;

use crate::bench;
use crate::counts::Counts;
use crate::demo;
use crate::deps;
use crate::instructions;
use crate::kmod;
use crate::workspace::Workspace;
use Length::{Asked, Long, Short};
use anyhow::{Result, bail};
use clap::Args;
use std::process::ExitCode;
use std::time::Instant;

/// Run the tests: all of them, or the parts that are named.
///
/// Ends with a line `N passed, N failed`; the exit status is 0 only if nothing failed.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The parts to run; `--list` names them all.
    parts: Vec<String>,

    /// Leave out the parts that boot a kernel or run long.
    #[arg(long, conflicts_with = "parts")]
    quick: bool,

    /// Boot the kernel with KASAN, lockdep and kmemleak wherever a part boots UML.
    #[arg(long)]
    debug_kernel: bool,

    /// List the parts and what each does, and run nothing.
    #[arg(long)]
    list: bool,
}

/// A set of tests that makes sense on its own.
struct Part {
    name: &'static str,
    about: &'static str,
    length: Length,
    /// Whether the tree has what the part tests.
    is_there: fn(&Workspace) -> bool,
    run: fn(&Workspace) -> Result<Counts>,
}

/// When a part runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    Short,
    /// `--quick` leaves it out.
    Long,
    /// Only if it is named: it takes long, or a kernel that is long in the making.
    Asked,
}

const fn part(
    name: &'static str,
    about: &'static str,
    length: Length,
    is_there: fn(&Workspace) -> bool,
    run: fn(&Workspace) -> Result<Counts>,
) -> Part {
    Part {
        name,
        about,
        length,
        is_there,
        run,
    }
}

/// Every part, in the order in which failure is cheapest to learn of.
#[rustfmt::skip]
const PARTS: &[Part] = &[
    part("fmt", "source is formatted as rustfmt has it", Short, anywhere, rust::fmt),
    part("tidy", "layers, unsafe code, file lengths, paths, manifests", Short, anywhere, rust::tidy),
    part("clippy", "no warnings from rustc and clippy", Short, anywhere, rust::clippy),
    part("doc", "rustdoc builds without warnings", Short, anywhere, rust::doc),
    part("unit", "unit, integration and documentation tests of all crates", Short, anywhere, rust::unit),
    part("instructions", "operations of logfs take as many instructions as agreed", Short, anywhere, instructions::compare),
    part("crash", "power cuts of logfs in the simulator, and bugs on purpose that must be found", Short, anywhere, crash::states_and_mutants),
    part("vm-uml", "`cargo xtask vm --kernel uml` keeps its promises", Long, anywhere, machine::uml),
    part("vm-stock", "`cargo xtask vm --kernel stock` keeps its promises", Long, anywhere, machine::stock),
    part("memfs-uml", "memfs in the UML kernel", Long, has_memfs, smoke::memfs_uml),
    part("memfs-stock", "memfs in Debian's kernel", Long, has_memfs, smoke::memfs_stock),
    part("logfs-uml", "mkfs, mount, use, umount, fsck in the UML kernel", Long, has_logfs, smoke::logfs_uml),
    part("logfs-stock", "mkfs, mount, use, umount, fsck in Debian's kernel", Long, has_logfs, smoke::logfs_stock),
    part("logfs-fuse", "mkfs, mount, use, umount, fsck over FUSE", Long, has_logfs_fuse, smoke::logfs_fuse),
    part("panics-uml", "a file system that panics in the UML kernel harms nobody else", Long, has_logfs, guest::panics_uml),
    part("panics-stock", "a file system that panics in Debian's kernel harms nobody else", Long, has_logfs, guest::panics_stock),
    part("mounting-uml", "what mount, umount and fsfreeze ask of logfs in the UML kernel, and what it refuses", Long, has_logfs, guest::mounting_uml),
    part("writes-uml", "writes whose memory cannot be read, or not at once, and direct ones, in the UML kernel", Long, has_logfs, guest::writes_uml),
    part("writes-stock", "the same in Debian's kernel, which has large folios", Long, has_logfs, guest::writes_stock),
    part("counters-uml", "counters in /sys/fs/logfs count what happens, in the UML kernel", Long, has_logfs, guest::counters_uml),
    part("tracing-stock", "tracepoints of logfs in Debian's kernel", Long, has_logfs, guest::tracing_stock),
    part("cleaner-uml", "the segment cleaner, discard and fstrim in the UML kernel", Long, has_logfs, guest::cleaner_uml),
    part("faults-uml", "devices that fail under logfs in the UML kernel, and errors=", Long, has_logfs, guest::faults_uml),
    part("demo-uml", "power cuts of logfs in the UML kernel lose nothing that was fsynced", Long, has_logfs, demo::power_cuts_uml),
    part("bench-uml", "the benchmarks run, and logfs keeps the device's work as low as promised", Long, has_logfs, bench::counted_uml),
    part("memory-uml", "logfs gives memory back, in a UML kernel with little of it", Long, has_logfs, guest::memory_uml),
    part("crash-uml", "crash states of random workloads in the UML kernel", Long, has_logfs, power_cuts::logfs_uml),
    part("pjdfstest-ext4", "pjdfstest on ext4: shows that the suite works here", Long, anywhere, pjdfstest::ext4),
    part("pjdfstest-uml", "pjdfstest on logfs in the UML kernel", Long, has_logfs, pjdfstest::logfs_uml),
    part("pjdfstest-fuse", "pjdfstest on logfs over FUSE", Long, has_logfs_fuse, pjdfstest::logfs_fuse),
    part("pjdfstest-stock", "a subset of pjdfstest on logfs in Debian's kernel", Long, has_logfs, pjdfstest::logfs_stock),
    part("fsx-ext4", "fsx on ext4: shows that the suite works here", Long, anywhere, fsx::ext4),
    part("fsx-uml", "fsx on logfs in the UML kernel, 300,000 operations", Long, has_logfs, fsx::logfs_uml),
    part("fsx-fuse", "fsx on logfs over FUSE, 300,000 operations", Long, has_logfs_fuse, fsx::logfs_fuse),
    part("fsx-stock", "fsx on logfs in Debian's kernel, 20,000 operations", Long, has_logfs, fsx::logfs_stock),
    part("exercise-ext4", "exercise on ext4: shows that the program works", Long, anywhere, exercise::ext4),
    part("exercise-uml", "buffered and direct operations on logfs in the UML kernel", Long, has_logfs, exercise::logfs_uml),
    part("exercise-stock", "exercise on logfs in Debian's kernel, which has large folios, 20,000 operations", Long, has_logfs, exercise::logfs_stock),
    part("stress-ext4", "stress on ext4: shows that the program works", Long, anywhere, stress::ext4),
    part("stress-uml", "threads in one tree of logfs, frozen and remounted, in the UML kernel", Long, has_logfs, stress::logfs_uml),
    part("stress-stock", "threads in one tree of logfs in Debian's kernel on two CPUs", Long, has_logfs, stress::logfs_stock),
    part("cleaner-stock", "the segment cleaner in Debian's kernel on two CPUs; only if named", Asked, has_logfs, guest::cleaner_stock),
    part("allocations", "allocations that fail under logfs, in the debug kernel; only if named", Asked, has_logfs, guest::allocations),
    part("hostile", "5000 damaged disks mounted and used in the debug kernel; only if named", Asked, has_logfs, hostile::logfs),
];

fn anywhere(_: &Workspace) -> bool {
    true
}

fn has_memfs(workspace: &Workspace) -> bool {
    kmod::is_there(workspace) && workspace.package_names().any(|name| name == "memfs-module")
}

fn has_logfs(workspace: &Workspace) -> bool {
    let programs = workspace.programs();
    kmod::is_there(workspace)
        && workspace.package_names().any(|name| name == "logfs-module")
        && ["mkfs-logfs", "fsck-logfs"]
            .iter()
            .all(|tool| programs.iter().any(|it| it == tool))
}

fn has_logfs_fuse(workspace: &Workspace) -> bool {
    has_logfs(workspace)
        && workspace
            .programs()
            .iter()
            .any(|program| program == "logfs-fuse")
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut workspace = Workspace::find()?;
    if arguments.debug_kernel {
        workspace = workspace.with_debug_kernel();
    }
    let parts = select(arguments, &workspace)?;
    if arguments.list {
        for part in &parts {
            println!("{:<16} {}", part.name, part.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    deps::need(deps::BUILD)?;
    deps::need_components()?;
    let results: Vec<_> = parts
        .into_iter()
        .map(|part| (part.name, run_part(part, &workspace)))
        .collect();
    println!();
    for (name, counts) in &results {
        println!("{name:<16} {counts}");
    }
    let sum: Counts = results.into_iter().map(|(_, counts)| counts).sum();
    println!("{sum}");
    let is_good = sum.failed == 0 && sum.passed > 0;
    Ok(if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn select(arguments: &Arguments, workspace: &Workspace) -> Result<Vec<&'static Part>> {
    if let Some(unknown) = arguments
        .parts
        .iter()
        .find(|name| PARTS.iter().all(|part| part.name != **name))
    {
        bail!("there is no test part `{unknown}`; `cargo xtask test --list` names those there are");
    }
    let is_wanted = |part: &&Part| {
        if arguments.parts.is_empty() {
            let is_due = match part.length {
                Short => true,
                Long => !arguments.quick,
                Asked => arguments.list,
            };
            is_due && (part.is_there)(workspace)
        } else {
            arguments.parts.iter().any(|name| name == part.name)
        }
    };
    Ok(PARTS.iter().filter(is_wanted).collect())
}

/// Runs a part. One that breaks instead of counting is a failure too.
fn run_part(part: &Part, workspace: &Workspace) -> Counts {
    println!("\n== {}: {}", part.name, part.about);
    let started = Instant::now();
    let counts = (part.run)(workspace).unwrap_or_else(|error| {
        println!("{error:#}");
        Counts::one(false)
    });
    let seconds = started.elapsed().as_secs_f64();
    println!("== {}: {counts} in {seconds:.0} s", part.name);
    counts
}
