//! Random operations on one file, buffered and direct, every read compared with a model in memory.
#![forbid(unsafe_code)]

mod buffer;
mod disturbance;
mod exercise;
mod model;
mod operation;
mod subject;

use clap::Parser;
use exercise::Exercise;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exercise one file with random operations and compare every read with a model in memory.
///
/// Reads and writes go through the page cache and past it (O_DIRECT), between truncations,
/// allocations, holes, fsync and reopening; meanwhile a thread syncs, and drops the system's caches
/// if it may. In the end the whole file is compared. Mapped access is left to fsx. The exit status
/// is 1 if anything differs or fails; then the difference, the last operations and the seed are
/// printed.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// The file to work on; made, or emptied if it is there
    file: PathBuf,

    /// How many operations
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    operations: u64,

    /// Where chance starts from; the same number gives the same operations [default: a new one
    /// each time, which is printed]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// How large the file may get
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20,
          value_parser = clap::value_parser!(u64).range(65_536..=1 << 32))]
    max_size: u64,

    /// Do not sync and drop caches meanwhile: when that happens does not depend on the seed
    #[arg(long)]
    undisturbed: bool,

    /// When all is done and the file closed, run this in a shell, and compare the file once more
    #[arg(long, value_name = "COMMAND")]
    remount: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut exercise = match Exercise::new(&arguments.file, arguments.max_size, seed) {
        Ok(exercise) => exercise,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = disturbance::during(!arguments.undisturbed, || {
        exercise.run(arguments.operations)?;
        exercise.compare_all()
    });
    let outcome = outcome.and_then(|()| match &arguments.remount {
        Some(command) => exercise.remount(command),
        None => Ok(()),
    });
    match outcome {
        Ok(()) => {
            println!("{} operations, seed {seed}: ok", arguments.operations);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}", exercise.history());
            eprintln!("error: {error:#}; --seed {seed}");
            ExitCode::FAILURE
        }
    }
}
