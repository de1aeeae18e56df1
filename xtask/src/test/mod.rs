//! All tests of the tree, in parts that can be run alone.

mod checks;
mod machine;
mod rust;

use crate::counts::Counts;
use crate::deps;
use crate::workspace::Workspace;
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

    /// List the parts and what each does, and run nothing.
    #[arg(long)]
    list: bool,
}

/// A set of tests that makes sense on its own.
struct Part {
    name: &'static str,
    about: &'static str,
    /// Whether `--quick` leaves it out.
    is_long: bool,
    run: fn(&Workspace) -> Result<Counts>,
}

/// Every part, in the order in which failure is cheapest to learn of.
const PARTS: &[Part] = &[
    Part {
        name: "fmt",
        about: "source is formatted as rustfmt has it",
        is_long: false,
        run: rust::fmt,
    },
    Part {
        name: "tidy",
        about: "layers, unsafe code, file lengths, paths, manifests",
        is_long: false,
        run: rust::tidy,
    },
    Part {
        name: "clippy",
        about: "no warnings from rustc and clippy",
        is_long: false,
        run: rust::clippy,
    },
    Part {
        name: "doc",
        about: "rustdoc builds without warnings",
        is_long: false,
        run: rust::doc,
    },
    Part {
        name: "unit",
        about: "unit, integration and documentation tests of all crates",
        is_long: false,
        run: rust::unit,
    },
    Part {
        name: "vm-uml",
        about: "`cargo xtask vm --kernel uml` keeps its promises",
        is_long: true,
        run: machine::uml,
    },
    Part {
        name: "vm-stock",
        about: "`cargo xtask vm --kernel stock` keeps its promises",
        is_long: true,
        run: machine::stock,
    },
];

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let parts = select(arguments)?;
    if arguments.list {
        for part in &parts {
            println!("{:<16} {}", part.name, part.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    deps::need(deps::BUILD)?;
    deps::need_components()?;
    let workspace = Workspace::find()?;
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

fn select(arguments: &Arguments) -> Result<Vec<&'static Part>> {
    if let Some(unknown) = arguments
        .parts
        .iter()
        .find(|name| PARTS.iter().all(|part| part.name != **name))
    {
        bail!("there is no test part `{unknown}`; `cargo xtask test --list` names those there are");
    }
    let is_wanted = |part: &&Part| {
        if arguments.parts.is_empty() {
            !(arguments.quick && part.is_long)
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
