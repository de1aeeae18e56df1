//! `cargo xtask fuzz`: damaged disks, found by libFuzzer.

use crate::command::{self, cargo, step};
use crate::deps::{self, Dependency, dependency};
use crate::workspace::Workspace;
use anyhow::Result;
use clap::Args;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// libFuzzer is in C++.
const NEEDED: &[Dependency] = &[dependency("c++", "g++")];

const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// What makes the compiler count which code is reached, and tell libFuzzer of comparisons:
/// cargo-fuzz's flags.
const COVERAGE: &[&str] = &[
    "--cfg=fuzzing",
    "-Ccodegen-units=1",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Damage disks, mount and use and check and repair them, and learn which damage reaches new code.
///
/// Starts from tests/logfs/corpus and from what earlier runs have found. An input that ends in a
/// panic, or takes more than 20 seconds, is kept and named; name it as FILE to see it again.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Inputs that end badly, to be run once each
    files: Vec<PathBuf>,

    /// How many inputs to try
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    runs: u64,

    /// How many processes try them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,

    /// Where chance starts from [default: a new one each time, which is printed]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u32>,

    /// Replace tests/logfs/corpus by as few inputs as reach the same code, and try nothing
    #[arg(long)]
    distil: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    deps::need(NEEDED)?;
    let workspace = Workspace::find()?;
    let program = build(&workspace)?;
    let work = workspace.target().join("fuzz/corpus");
    let kept = workspace.root().join("tests/logfs/corpus");
    for dir in [&work, &kept] {
        fs::create_dir_all(dir)?;
    }
    let artifacts = workspace.target().join("fuzz/");
    let mut fuzzer = Command::new(program);
    fuzzer
        .arg("-timeout=20")
        .args(["-max_len=300", "-len_control=0"])
        .arg(format!("-artifact_prefix={}", artifacts.display()));
    if arguments.distil {
        for entry in fs::read_dir(&kept)? {
            fs::rename(
                entry?.path(),
                work.join(format!("kept-{}", fastrand::u64(..))),
            )?;
        }
        // Not how often code runs, only whether: else nearly every input counts for something.
        fuzzer
            .args(["-set_cover_merge=1", "-use_counters=0"])
            .arg(&kept)
            .arg(&work);
    } else if arguments.files.is_empty() {
        let seed = arguments.seed.unwrap_or_else(|| fastrand::u32(1..));
        fuzzer
            .arg(format!("-seed={seed}"))
            .arg(format!(
                "-runs={}",
                arguments.runs / u64::from(arguments.jobs)
            ))
            .args(["-print_final_stats=1", "-reload=30"]);
        if arguments.jobs > 1 {
            fuzzer.arg(format!("-fork={}", arguments.jobs));
        }
        fuzzer.arg(&work).arg(&kept);
    } else {
        fuzzer.args(&arguments.files);
    }
    Ok(if command::show(&mut fuzzer)? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn build(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.target().join("fuzz/build");
    step(
        "Building the fuzzer",
        cargo()
            .current_dir(workspace.root())
            .args(["build", "--release", "--package=logfs-tests"])
            .args(["--bin=hostile-fuzz", "--features=fuzz"])
            .args(["--target", TRIPLE])
            .arg("--target-dir")
            .arg(&target)
            // Sums that wrap and invariants that don't hold count as panics here.
            .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
            .env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\x1f")),
    )?;
    Ok(target.join(TRIPLE).join("release/hostile-fuzz"))
}
