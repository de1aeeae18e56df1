//! The command behind `cargo xtask crash`.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, anyhow};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use logfs_crash::base::Bases;
use logfs_crash::explore::{Case, Explorer};
use logfs_crash::search::{Limits, search};
use logfs_crash::shrink::shrink;
use logfs_crash::workload::{Catalogue, Class};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

/// Cut the power of logfs at every point, in memory, and judge what is left.
///
/// Runs workloads on logfs in the simulator and keeps every write. From those it makes the disks
/// that a power cut can leave: every prefix; what was not flushed lost in every combination or a
/// sample of them; writes torn between sectors. Each disk is checked by fsck, mounted, compared
/// with all that logfs has promised, and checked again. Ends with the first disk that does not pass,
/// made as small as it gets, and the command that shows it again; the exit status is 1 then.
#[derive(Parser)]
#[command(name = "cargo xtask crash", version, max_term_width = 100)]
struct Arguments {
    /// Judge so many states, no two of them alike
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    states: u64,

    /// Stop after so many minutes, even if there are fewer states
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,

    /// Where chance starts from: which workloads come when, and what is sampled
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// Only these: all sequences of one or two operations, a sample of three, long ones by chance,
    /// such as take and free space on full disks, the same while the segment cleaner is at work
    #[arg(long, value_enum)]
    workload: Option<ClassName>,

    /// Threads [default: one for each processor]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,

    /// Plant bugs in logfs, one after the other, and find each of them; 1 is the exit status if one
    /// is not found
    #[arg(long)]
    mutants: bool,

    /// Judge one case: a workload, or a workload, `@` and a crash state, as a failure is printed
    #[arg(long, value_name = "CASE", conflicts_with_all = ["states", "minutes", "workload", "mutants"])]
    replay: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ClassName {
    One,
    Two,
    Three,
    Long,
    Churn,
    Cleaned,
}

impl From<ClassName> for Class {
    fn from(name: ClassName) -> Class {
        match name {
            ClassName::One => Class::One,
            ClassName::Two => Class::Two,
            ClassName::Three => Class::Three,
            ClassName::Long => Class::Long,
            ClassName::Churn => Class::Churn,
            ClassName::Cleaned => Class::Cleaned,
        }
    }
}

fn main() -> ExitCode {
    run(&Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    // Panics are counted, not shown: the case that caused one is.
    std::panic::set_hook(Box::new(|_| {}));
    let bases = Arc::new(Bases::new().context("logfs fails without any crash")?);
    if arguments.mutants {
        return mutants(arguments, &bases);
    }
    let explorer = Explorer::new(bases);
    let found = match &arguments.replay {
        Some(case) => replay(&explorer, case)?,
        None => explore(arguments, &explorer),
    };
    Ok(match found {
        None => ExitCode::SUCCESS,
        Some(case) => {
            println!("{}: {}", case.violation.check, case.violation.detail);
            println!("  cargo xtask crash --replay '{case}'");
            ExitCode::FAILURE
        }
    })
}

fn replay(explorer: &Explorer, case: &str) -> Result<Option<Case>> {
    let (workload, state) = case
        .split_once('@')
        .map_or((case, None), |(workload, state)| (workload, Some(state)));
    let bad = |error: String| anyhow!("--replay: {error}");
    let workload = workload.trim().parse().map_err(bad)?;
    let state = state.map(|state| state.trim().parse()).transpose();
    let found = explorer.replay(&workload, state.map_err(bad)?.as_ref());
    if found.is_none() {
        println!("nothing is wrong with {workload}");
    }
    Ok(found)
}

fn limits(arguments: &Arguments) -> Limits {
    let seconds = arguments.minutes.map(|minutes| minutes * 60.0);
    let processors = || available_parallelism().map_or(1, usize::from);
    Limits {
        states: arguments.states,
        deadline: seconds.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds)),
        class: arguments.workload.map(Class::from),
        jobs: arguments.jobs.unwrap_or_else(processors),
    }
}

#[cfg(not(feature = "mutants"))]
fn mutants(_: &Arguments, _: &Arc<Bases>) -> Result<ExitCode> {
    anyhow::bail!("built without bugs to plant: use `cargo xtask crash --mutants`")
}

#[cfg(feature = "mutants")]
fn mutants(arguments: &Arguments, bases: &Arc<Bases>) -> Result<ExitCode> {
    let catalogue = Catalogue::new(arguments.seed);
    let limits = limits(arguments);
    println!("{:<24} {:<22} {:>8}  case", "bug", "found by", "states");
    let mut missed = 0;
    for outcome in logfs_crash::mutants::hunt(bases, &catalogue, &limits) {
        let name = format!("{:?}", outcome.mutant);
        let (check, case) = match &outcome.case {
            Some(case) => (case.violation.check.to_string(), case.to_string()),
            None => ("NOT FOUND".to_owned(), String::new()),
        };
        missed += u32::from(outcome.case.is_none());
        println!("{name:<24} {check:<22} {:>8}  {case:.100}", outcome.states);
    }
    Ok(ExitCode::from(u8::from(missed > 0)))
}

fn explore(arguments: &Arguments, explorer: &Explorer) -> Option<Case> {
    let started = Instant::now();
    let limits = limits(arguments);
    let catalogue = Catalogue::new(arguments.seed);
    let bar = progress_bar(limits.states);
    let progress = || bar.set_position(explorer.counters.states.load(Ordering::Relaxed));
    let found = search(explorer, &catalogue, &limits, &progress);
    bar.finish_and_clear();
    report(explorer, arguments.seed, &limits, started.elapsed());
    found.map(|case| {
        println!("found {case}; making it smaller");
        shrink(explorer, case)
    })
}

fn progress_bar(states: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(states);
    let template = "{bar:40} {human_pos}/{human_len} states, {per_sec}, {eta} left";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn report(explorer: &Explorer, seed: u64, limits: &Limits, elapsed: Duration) {
    let counters = &explorer.counters;
    let states = counters.states.load(Ordering::Relaxed);
    let seconds = elapsed.as_secs_f64();
    println!(
        "{states} crash states of {} workloads judged in {seconds:.0} s by {} threads: {:.0} a minute; \
         {} more were like one of them; seed {seed}",
        counters.workloads.load(Ordering::Relaxed),
        limits.jobs,
        states as f64 / seconds * 60.0,
        counters.alike.load(Ordering::Relaxed),
    );
}
