//! Does one operation many times. `cargo xtask instructions` counts what that takes.
#![forbid(unsafe_code)]

use anyhow::Result;
use bench_micro::{OPERATIONS, Step, find};
use clap::Parser;

/// Does an operation of logfs many times on the simulator.
#[derive(Parser)]
#[command(name = "bench-micro", version, max_term_width = 100)]
struct Arguments {
    /// The operation; without one, all are listed
    operation: Option<String>,

    /// How many times
    #[arg(long, value_name = "N", default_value_t = 1000)]
    count: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let Some(name) = arguments.operation else {
        for operation in OPERATIONS {
            println!("{:<16} {}", operation.name, operation.about);
        }
        return Ok(());
    };
    let mut step = (find(&name)?.prepare)()?;
    counted(&mut step, arguments.count)?;
    // What comes after, taking everything down, is not of interest.
    std::mem::forget(step);
    Ok(())
}

/// What is counted: callgrind collects while this function runs.
#[inline(never)]
fn counted(step: &mut Step, count: u64) -> Result<()> {
    (0..count).try_for_each(step)
}
