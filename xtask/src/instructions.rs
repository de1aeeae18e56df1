//! `cargo xtask instructions`: how many instructions operations of logfs take. Unlike time that is the
//! same on a busy machine, so that a change for the worse can be told from noise.

use crate::command::{cargo, step};
use crate::counts::Counts;
use crate::deps::{self, Dependency, dependency};
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const NEEDED: &[Dependency] = &[dependency("valgrind", "valgrind")];

/// How often each operation is done; what it takes is the mean.
const TIMES: u64 = 10_000;

/// The function of the program in which instructions are counted.
const COUNTED: &str = "bench_micro::counted";

/// The counts that are agreed upon.
const BASELINE: &str = "bench/micro/instructions.txt";

/// Percent by which a count may differ from that: libc's part depends on the machine.
const TOLERANCE_PERCENT: u64 = 3;

/// Count the instructions that operations of logfs take on the simulator, under valgrind.
///
/// Fails if they are not those in bench/micro/instructions.txt, by more than 3 %. A change that makes
/// logfs slower, or faster, comes with the new counts and says why.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Write the counts to bench/micro/instructions.txt
    #[arg(long)]
    update: bool,
}

type InstructionCounts = BTreeMap<String, u64>;

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    if arguments.update {
        let counts = count(&workspace)?;
        let path = baseline_path(&workspace);
        fs::write(&path, format_counts(&counts))
            .with_context(|| format!("cannot write {}", path.display()))?;
        print!("{}", format_counts(&counts));
        return Ok(ExitCode::SUCCESS);
    }
    let all_as_agreed = compare(&workspace)?.failed == 0;
    Ok(ExitCode::from(u8::from(!all_as_agreed)))
}

/// Compares all counts with the agreed ones.
pub(crate) fn compare(workspace: &Workspace) -> Result<Counts> {
    let path = baseline_path(workspace);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let baseline = parse_counts(&text).with_context(|| format!("{} is damaged", path.display()))?;
    let counts = count(workspace)?;
    let mut all_as_agreed = Counts::default();
    let names: BTreeSet<&String> = counts.keys().chain(baseline.keys()).collect();
    for name in names {
        let (count, agreed) = (counts.get(name), baseline.get(name));
        let holds = count.zip(agreed).is_some_and(|(&a, &b)| is_near(a, b));
        let verdict = if holds { "ok    " } else { "FAILED" };
        let [count, agreed] =
            [count, agreed].map(|it| it.map_or("none".to_owned(), u64::to_string));
        println!("{verdict} {name:<16} {count:>8} instructions, agreed {agreed}");
        all_as_agreed = [all_as_agreed, Counts::one(holds)].into_iter().sum();
    }
    if all_as_agreed.failed > 0 {
        println!(
            "If that is meant, `cargo xtask instructions --update` writes the new counts; \
             the commit says why they changed."
        );
    }
    Ok(all_as_agreed)
}

fn is_near(count: u64, agreed: u64) -> bool {
    count.abs_diff(agreed) * 100 <= agreed * TOLERANCE_PERCENT
}

fn baseline_path(workspace: &Workspace) -> PathBuf {
    workspace.root().join(BASELINE)
}

/// Counts what each operation takes.
fn count(workspace: &Workspace) -> Result<InstructionCounts> {
    deps::need(NEEDED)?;
    let mut build = cargo();
    build.current_dir(workspace.root()).args([
        "build",
        "--quiet",
        "--release",
        "--package=bench-micro",
    ]);
    step("Building what is counted", &mut build)?;
    let program = workspace.target().join("release/bench-micro");
    let list = step("Listing the operations", &mut Command::new(&program))?;
    let list = String::from_utf8(list.stdout)?;
    let names = list
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    names
        .map(|name| {
            let mut valgrind = Command::new("valgrind");
            valgrind
                .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
                .arg(format!("--toggle-collect={COUNTED}"))
                .arg(&program)
                .args([name, "--count", &TIMES.to_string()]);
            let output = step(&format!("Counting {name}"), &mut valgrind)?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let all = parse_collected(&text)
                .filter(|&all| all > 0)
                .with_context(|| format!("valgrind counted nothing in {COUNTED}: {text}"))?;
            Ok((name.to_owned(), all / TIMES))
        })
        .collect()
}

/// What callgrind says at its end: `==PID== Collected : INSTRUCTIONS`.
fn parse_collected(text: &str) -> Option<u64> {
    let value = |line: &str| line.split_once("Collected : ")?.1.trim().parse().ok();
    text.lines().find_map(value)
}

fn format_counts(counts: &InstructionCounts) -> String {
    let line = |(name, count): (&String, &u64)| format!("{name:<16} {count:>8}\n");
    counts.iter().map(line).collect()
}

fn parse_counts(text: &str) -> Option<InstructionCounts> {
    let line = |line: &str| {
        let (name, count) = line.split_once(' ')?;
        Some((name.to_owned(), count.trim().parse().ok()?))
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{format_counts, is_near, parse_collected, parse_counts};

    #[test]
    fn counts_are_written_as_they_are_read() {
        let counts = parse_counts("map   12\nchecksum 9645\n").expect("two counts");
        assert_eq!(parse_counts(&format_counts(&counts)), Some(counts));
        assert_eq!(parse_counts("map twelve\n"), None);
    }

    #[test]
    fn what_callgrind_has_counted_is_found() {
        let text = "==9== \n==9== Events    : Ir\n==9== Collected : 96450020\n";
        assert_eq!(parse_collected(text), Some(96_450_020));
        assert_eq!(parse_collected("==9== Collected :\n"), None);
    }

    #[test]
    fn faster_is_a_difference_too() {
        assert!(is_near(1029, 1000) && is_near(971, 1000));
        assert!(!is_near(1031, 1000) && !is_near(969, 1000));
    }
}
