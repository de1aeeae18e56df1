//! Builds, boots, tests and shows logfs. Run it as `cargo xtask`.
#![forbid(unsafe_code)]

mod bench;
mod cache;
mod command;
mod counts;
mod crash;
mod demo;
mod deps;
mod fuzz;
mod input;
mod instructions;
mod kernel;
mod kmod;
mod test;
mod tools;
mod vm;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Builds, boots, tests and shows logfs.
///
/// What is missing (Debian packages, rustup components) is installed when it is needed, and named
/// when it is. Kernels and test programs that take long to build are kept in
/// $XDG_CACHE_HOME/logfs (by default ~/.cache/logfs), keyed by version.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Bench(bench::Arguments),
    Crash(crash::Arguments),
    Demo(demo::Arguments),
    Deps(deps::Arguments),
    Fuzz(fuzz::Arguments),
    Instructions(instructions::Arguments),
    Kmod(kmod::Arguments),
    Test(test::Arguments),
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Crash(arguments) => crash::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Deps(arguments) => deps::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Instructions(arguments) => instructions::run(&arguments),
        Task::Kmod(arguments) => kmod::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Vm(arguments) => vm::run(arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
