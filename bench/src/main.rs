//! Measures file systems side by side on one device. `cargo xtask bench` runs it in a kernel of its
//! own and makes a report of what it says; on a disk that may be overwritten it runs anywhere, as root.
#![forbid(unsafe_code)]

mod counters;
mod device;
mod file_system;
mod input;
mod memory;
mod program;
mod stage;
mod threads;
mod turns;
mod workload;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use file_system::FileSystem;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures file systems in turns on one device, which is OVERWRITTEN, and prints what each step of
/// each workload took as a line of JSON.
#[derive(Parser)]
#[command(name = "bench", version, max_term_width = 100)]
struct Arguments {
    /// List the workloads, and measure nothing
    #[arg(long)]
    list: bool,

    /// The device; all that is on it is lost
    #[arg(long, value_name = "DEVICE", required_unless_present = "list")]
    device: Option<PathBuf>,

    /// Read all of the device once before: the host of a virtual one takes longer for the first access
    #[arg(long)]
    read_first: bool,

    /// Let every file system practise before it is measured, not only one: an emulated processor
    /// translates code that it meets for the first time
    #[arg(long)]
    practise_each: bool,

    /// The file systems to compare
    #[arg(long, value_enum, value_delimiter = ',', default_value = "logfs,ext4")]
    fs: Vec<FileSystem>,

    /// Only this workload; can be given more than once [default: all of the suite]
    #[arg(long, value_name = "NAME")]
    workload: Vec<String>,

    /// Which workloads
    #[arg(long, value_enum, default_value_t = Suite::Quick)]
    suite: Suite,

    /// How many turns
    #[arg(long, value_name = "N", default_value_t = 3)]
    runs: u32,

    /// The number of the first turn: which file system is first depends on it
    #[arg(long, value_name = "N", default_value_t = 0)]
    first_run: u32,

    /// Percentage of the work that a workload is meant to do
    #[arg(long, value_name = "PERCENT", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    scale: u32,

    /// What each flush of the device's cache costs in addition, in microseconds (needs the module
    /// latency.ko)
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    flush_cost: u32,

    /// What each write to the device costs in addition, in microseconds
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0)]
    write_cost: u32,

    /// Directory with the files to work on: source.tar, and the same as a git repository in
    /// `repository`; workloads that need them are left out without it
    #[arg(long, value_name = "DIR")]
    input: Option<PathBuf>,
}

/// A set of workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Suite {
    /// A few of each kind
    Quick,
    /// All
    Full,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let is_slowed = arguments.flush_cost > 0 || arguments.write_cost > 0;
    let workloads = workload::chosen(&arguments.workload, arguments.suite, is_slowed)?;
    let Some(device) = arguments.device.as_ref().filter(|_| !arguments.list) else {
        for workload in workloads {
            println!("{:<24} {}", workload.name, workload.about);
        }
        return Ok(ExitCode::SUCCESS);
    };
    let device = device::Device::open(device, arguments.flush_cost, arguments.write_cost)?;
    memory::touch()?;
    if arguments.read_first {
        device.touch()?;
    }
    turns::take(&device, &workloads, arguments)
}
