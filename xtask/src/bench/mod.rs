//! `cargo xtask bench`: logfs and its peers side by side, in the same kernel on the same disk.

mod html;
mod machine;
mod overview;
mod plot;
mod results;

use crate::counts::Counts;
use crate::deps::{self, Dependency, dependency};
use crate::input::Input;
use crate::kernel::Kernel;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use machine::Bench;
use results::{OURS, REFERENCE, Results, Row};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tempfile::TempDir;

/// Measure logfs beside other file systems: in the same kernel, on the same disk, in turns.
///
/// Writes DIR/samples.jsonl (every measurement), DIR/results.json (a row for each step of a workload on
/// each file system: all runs, their median, flushes, writes and bytes that reached the device, processor
/// time, and the ratio to ext4, above 1 = better than ext4), DIR/report.html, and of the rows that people
/// ask for first a table and a plot (DIR/overview.md, DIR/overview.svg). The disk is in memory;
/// workloads that wait for the device run again on one whose flushes take a millisecond, and on one whose
/// writes take 20 microseconds as well.
/// Nothing else should run on the host meanwhile.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The kernel to measure in
    #[arg(long, value_enum, default_value_t = Kernel::Uml)]
    kernel: Kernel,

    /// Which workloads
    #[arg(long, value_enum, default_value_t = Suite::Quick)]
    suite: Suite,

    /// The file systems [default: logfs,ext4, and one turn of all with the full suite in user-mode Linux]
    #[arg(long, value_delimiter = ',', value_name = "NAME", value_parser = ALL_FILE_SYSTEMS)]
    fs: Vec<String>,

    /// Only this workload (`bench --list` names them); can be given more than once
    #[arg(long, value_name = "NAME")]
    workload: Vec<String>,

    /// How many turns [default: 3 of logfs and ext4; of the quick suite 5, in the stock kernel 2]
    #[arg(long, value_name = "N")]
    runs: Option<u32>,

    /// Percentage of the work [default: 100, in the stock kernel 10]
    #[arg(long, value_name = "PERCENT")]
    scale: Option<u32>,

    /// The size of the disk [default: 8G, in the stock kernel 2G]
    #[arg(long, value_name = "SIZE", value_parser = crate::vm::disk::parse_size)]
    disk: Option<u64>,

    /// Where the results go; made if need be
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Keep what was measured into DIR before, and add to it: other workloads, or more turns
    #[arg(long)]
    add: bool,

    /// Measure nothing; make the report again from DIR/samples.jsonl
    #[arg(long, conflicts_with = "add")]
    report_only: bool,
}

/// A set of workloads, as the program that measures knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// A few of each kind, some minutes
    Quick,
    /// All, some hours
    Full,
}

/// What each flush and each write of a device costs beside the work itself, in microseconds.
#[derive(Clone, Copy, Debug)]
struct Cost {
    flush_us: u32,
    write_us: u32,
}

/// The disks: memory as it is; one that is slow only in making things durable; and one like a fast
/// disk, on which writes take their time as well.
const COSTS: &[Cost] = &[
    Cost {
        flush_us: 0,
        write_us: 0,
    },
    Cost {
        flush_us: 1000,
        write_us: 0,
    },
    Cost {
        flush_us: 1000,
        write_us: 20,
    },
];

/// What the program that measures knows to compare.
const ALL_FILE_SYSTEMS: [&str; 8] = [
    "logfs",
    "ext4",
    "ext4-journal",
    "xfs",
    "f2fs",
    "logfs-fuse",
    "tmpfs",
    "raw",
];

/// Files in the directory of the results.
const SAMPLES: &str = "samples.jsonl";
const MACHINE: &str = "machine.json";

const NEEDED: &[Dependency] = &[
    dependency("mkfs.ext4", "e2fsprogs"),
    dependency("mkfs.xfs", "xfsprogs"),
    dependency("mkfs.f2fs", "f2fs-tools"),
    dependency("dmsetup", "dmsetup"),
    dependency("fio", "fio"),
    dependency("sqlite3", "sqlite3"),
    dependency("perl", "perl"),
    dependency("/usr/bin/time", "time"),
];

/// PostgreSQL, whose server is not on PATH.
const NEEDED_IN_FULL: &[Dependency] = &[
    dependency("/usr/share/doc/postgresql", "postgresql"),
    dependency("pg_config", "libpq-dev"),
];

/// The file systems that a run is about, if no others are named.
const PAIR: [&str; 2] = [OURS, REFERENCE];

/// Turns of some file systems.
struct Turns {
    file_systems: Vec<String>,
    runs: u32,
}

impl Turns {
    fn new(file_systems: &[&str], runs: u32) -> Turns {
        let file_systems = file_systems.iter().map(|&name| name.to_owned()).collect();
        Turns { file_systems, runs }
    }
}

impl Arguments {
    /// Whether it is measured where the processor is emulated, but for hosts with KVM.
    fn is_slow(&self) -> bool {
        self.kernel == Kernel::Stock
    }

    /// What is measured, one after the other.
    fn turns(&self) -> Vec<Turns> {
        let is_slow = self.is_slow();
        let named: Vec<&str> = self.fs.iter().map(String::as_str).collect();
        match (self.suite, named.as_slice(), self.runs) {
            (Suite::Full, [], None) if !is_slow => {
                vec![Turns::new(&ALL_FILE_SYSTEMS, 1), Turns::new(&PAIR, 2)]
            }
            (Suite::Full, [], Some(runs)) if !is_slow => vec![Turns::new(&ALL_FILE_SYSTEMS, runs)],
            (suite, named, runs) => {
                let file_systems = if named.is_empty() { &PAIR } else { named };
                let usual = match suite {
                    _ if is_slow => 2,
                    Suite::Full => 3,
                    Suite::Quick => 5,
                };
                vec![Turns::new(file_systems, runs.unwrap_or(usual))]
            }
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    // A kernel that failed ends it; what was measured before is told all the same.
    let measured = match arguments.report_only {
        true => Ok(true),
        false => measure(&workspace, arguments),
    };
    match report(&arguments.out) {
        Ok(results) => {
            println!("{}", results.summary());
            println!("{}", arguments.out.join("report.html").display());
        }
        Err(error) if measured.is_ok() => return Err(error),
        Err(_) => (),
    }
    Ok(if measured? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Measures, and says whether all went well; what was measured is in the directory either way.
fn measure(workspace: &Workspace, arguments: &Arguments) -> Result<bool> {
    deps::need(NEEDED)?;
    if arguments.suite == Suite::Full {
        deps::need(NEEDED_IN_FULL)?;
    }
    fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot make {}", arguments.out.display()))?;
    let input = Input::prepare()?;
    let samples = arguments.out.join(SAMPLES);
    let machine = arguments.out.join(MACHINE);
    let bench = Bench::prepare(workspace, &input, arguments, &samples)?;
    let description = bench.description()?;
    if arguments.add && machine.exists() {
        machine::check_same(&description, &machine)?;
    } else {
        File::create(&samples).with_context(|| format!("cannot write {}", samples.display()))?;
    }
    fs::write(&machine, serde_json::to_string_pretty(&description)?)?;
    let mut all_worked = true;
    for turns in arguments.turns() {
        let first_run = results::runs_in(&samples)?;
        for &cost in COSTS {
            all_worked &= bench.measure(&turns, first_run, cost)?;
        }
    }
    Ok(all_worked)
}

/// Sums up what is in the directory, and writes the report there.
fn report(dir: &Path) -> Result<Results> {
    let results = Results::read(&dir.join(SAMPLES), &dir.join(MACHINE))?;
    if results.rows.is_empty() && results.failures.is_empty() {
        bail!("nothing was measured: no workload of these makes sense on these file systems");
    }
    results.write(&dir.join("results.json"))?;
    fs::write(dir.join("report.html"), html::report(&results)?)?;
    overview::write(&results, dir)?;
    Ok(results)
}

/// The quick suite with little work, as a test: every workload runs and is reported, and the device has
/// no more to do for durable writes than was promised. Counters decide, no clock.
pub(crate) fn counted_uml(workspace: &Workspace) -> Result<Counts> {
    let out = TempDir::with_prefix("logfs-bench-")?;
    let arguments = Arguments {
        kernel: Kernel::Uml,
        suite: Suite::Quick,
        fs: Vec::new(),
        workload: Vec::new(),
        runs: Some(1),
        scale: Some(1),
        disk: Some(1 << 30),
        out: out.path().to_owned(),
        add: false,
        report_only: false,
    };
    let mut counts = Counts::default();
    let mut check = |what: &str, holds: bool| {
        println!("{} {what}", if holds { "ok    " } else { "FAILED" });
        counts = [counts, Counts::one(holds)].into_iter().sum();
    };
    check(
        "every workload of the quick suite runs",
        measure(workspace, &arguments)?,
    );
    let results = report(out.path())?;
    for name in results.names() {
        let row = results.find(name, OURS);
        let is_compared = row
            .and_then(|row| row.ratio_to_ext4)
            .is_some_and(f64::is_finite);
        check(&format!("{name} is compared"), is_compared);
    }
    for (name, kib_max) in PROMISED {
        let per_operation = results.find(name, OURS).map(Row::per_operation);
        let holds = per_operation
            .is_some_and(|(flushes, kib)| flushes < 1.05 && kib < *kib_max && flushes > 0.95);
        check(
            &format!("{name}: 1 flush, at most {kib_max} KiB: {per_operation:?}"),
            holds,
        );
    }
    Ok(counts)
}

/// KiB that may reach the device for a durable operation.
const PROMISED: &[(&str, f64)] = &[
    ("append-1/append+fsync", 5.0),
    ("new-files/create+fsync", 8.0),
];
