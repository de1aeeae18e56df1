//! The parts that cargo runs.

use crate::command::{self, cannot_run, cargo};
use crate::counts::Counts;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

pub(super) fn fmt(workspace: &Workspace) -> Result<Counts> {
    one(workspace, cargo().args(["fmt", "--all", "--check"]))
}

pub(super) fn clippy(workspace: &Workspace) -> Result<Counts> {
    let arguments = ["clippy", "--quiet", "--workspace", "--all-targets"];
    one(
        workspace,
        cargo().args(arguments).args(["--", "--deny=warnings"]),
    )
}

pub(super) fn doc(workspace: &Workspace) -> Result<Counts> {
    let arguments = ["doc", "--quiet", "--workspace", "--no-deps"];
    one(
        workspace,
        cargo()
            .args(arguments)
            .env("RUSTDOCFLAGS", "--deny=warnings"),
    )
}

pub(super) fn tidy(workspace: &Workspace) -> Result<Counts> {
    libtest(
        workspace,
        cargo().args(["test", "--quiet", "--package=tidy"]),
    )
}

pub(super) fn unit(workspace: &Workspace) -> Result<Counts> {
    let arguments = [
        "test",
        "--quiet",
        "--workspace",
        "--exclude=tidy",
        "--no-fail-fast",
    ];
    libtest(workspace, cargo().args(arguments))
}

fn one(workspace: &Workspace, command: &mut Command) -> Result<Counts> {
    command::show(command.current_dir(workspace.root())).map(Counts::one)
}

/// Runs `cargo test`, showing its output, and adds up the results of its test programs.
fn libtest(workspace: &Workspace, command: &mut Command) -> Result<Counts> {
    let mut child = command
        .current_dir(workspace.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| cannot_run(command))?;
    let output = child.stdout.take().context("the pipe from cargo is gone")?;
    let mut results = Vec::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("cannot read cargo's output")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        results.extend(Counts::from_libtest_line(&line));
    }
    let succeeded = child.wait()?.success();
    let mut counts: Counts = results.into_iter().sum();
    // A test program that died or did not compile counts nothing.
    if !succeeded && counts.failed == 0 {
        counts.failed = 1;
    }
    Ok(counts)
}
