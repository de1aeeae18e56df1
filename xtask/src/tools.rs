//! The programs that come with logfs, under the names by which the system calls them, and those
//! that test it.

use crate::command::{cargo, step};
use crate::workspace::Workspace;
use anyhow::Result;
use std::path::PathBuf;

/// System names, and the programs of the workspace that they stand for (those that there are).
const TOOLS: &[(&str, &str)] = &[
    ("mkfs.logfs", "mkfs-logfs"),
    ("fsck.logfs", "fsck-logfs"),
    ("logfs-fuse", "logfs-fuse"),
    ("mount.fuse.logfs", "logfs-fuse"),
    ("memfs-fuse", "memfs-fuse"),
    ("mount.fuse.memfs", "memfs-fuse"),
    ("exercise", "exercise"),
    ("stress", "stress"),
    ("set-features", "set-features"),
    ("crash-in-kernel", "crash-in-kernel"),
    ("hostile-in-kernel", "hostile-in-kernel"),
];

/// The program that measures.
const BENCH: &str = "bench";

/// Programs that are linked statically are built for the same target, named.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A program and the name that it is installed under.
pub(crate) type Tool = (String, PathBuf);

/// Builds the programs, optimised.
pub(crate) fn build(workspace: &Workspace) -> Result<Vec<Tool>> {
    let programs = workspace.programs();
    let tools: Vec<_> = TOOLS
        .iter()
        .filter(|(_, program)| programs.contains(&(*program).to_owned()))
        .collect();
    if !tools.is_empty() {
        let mut build = cargo();
        build
            .current_dir(workspace.root())
            .args(["build", "--release"]);
        for (_, program) in &tools {
            build.args(["--bin", program]);
        }
        step("Building the tools", &mut build)?;
    }
    let release = workspace.target().join("release");
    let mut tools: Vec<_> = tools
        .into_iter()
        .map(|(name, program)| ((*name).to_owned(), release.join(program)))
        .collect();
    if programs.contains(&BENCH.to_owned()) {
        tools.push((BENCH.to_owned(), build_bench(workspace)?));
    }
    Ok(tools)
}

/// Builds the program that measures: linked statically, so that it measures the same everywhere.
pub(crate) fn build_bench(workspace: &Workspace) -> Result<PathBuf> {
    build_static(workspace, BENCH)
}

/// Builds the first process of virtual machines: linked statically, for it also runs where there
/// is nothing else.
pub(crate) fn build_init(workspace: &Workspace) -> Result<PathBuf> {
    build_static(workspace, "vm-init")
}

/// Builds the program of a package that has its name.
fn build_static(workspace: &Workspace, package: &str) -> Result<PathBuf> {
    let flags = r#"["-Ctarget-feature=+crt-static", "-Cstrip=symbols"]"#;
    step(
        &format!("Building {package}"),
        cargo()
            .current_dir(workspace.root())
            .args(["build", "--release", "--package", package])
            .args(["--target", TARGET])
            .arg(format!("--config=target.{TARGET}.rustflags={flags}")),
    )?;
    let release = workspace.target().join(TARGET).join("release");
    Ok(release.join(package))
}
