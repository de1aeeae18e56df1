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
    ("bench", "bench"),
];

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
    Ok(tools
        .into_iter()
        .map(|(name, program)| ((*name).to_owned(), release.join(program)))
        .collect())
}

/// Builds the first process of virtual machines: linked statically, for it also runs where there
/// is nothing else.
pub(crate) fn build_init(workspace: &Workspace) -> Result<PathBuf> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let flags = r#"["-Ctarget-feature=+crt-static", "-Cstrip=symbols"]"#;
    step(
        "Building the guest's first process",
        cargo()
            .current_dir(workspace.root())
            .args([
                "build",
                "--release",
                "--package=vm-init",
                "--target",
                TARGET,
            ])
            .arg(format!("--config=target.{TARGET}.rustflags={flags}")),
    )?;
    Ok(workspace.target().join(TARGET).join("release/vm-init"))
}
