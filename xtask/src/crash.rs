//! `cargo xtask crash`: every crash state of logfs in the simulator.
//!
//! The work is done by `tests/crash`, a program of its own, which knows its options; only here is
//! known how it is built.

use crate::command::{self, cargo};
use crate::workspace::Workspace;
use anyhow::Result;
use clap::Args;
use std::ffi::OsString;
use std::process::{Command, ExitCode};

/// Cut the power of logfs in the simulator at every point, and judge what is left.
///
/// `cargo xtask crash --help` has the options.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Options of the program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<OsString>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let with_mutants = arguments.options.iter().any(|it| it == "--mutants");
    let mut program = program(&workspace, with_mutants);
    let succeeded = command::show(program.args(&arguments.options))?;
    Ok(if succeeded {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The program, built if need be; `with_mutants` from a logfs in which bugs can be planted.
pub(crate) fn program(workspace: &Workspace, with_mutants: bool) -> Command {
    let mut cargo = cargo();
    cargo.current_dir(workspace.root()).args([
        "run",
        "--quiet",
        "--release",
        "--package=logfs-crash",
    ]);
    if with_mutants {
        cargo.arg("--features=mutants");
    }
    cargo.arg("--");
    cargo
}
