//! What programs do with a source tree.

use crate::input::Input;
use crate::program::{program, run, run_expecting};
use crate::stage::{Stage, Work};
use anyhow::{Context, Result};
use std::thread;
use std::time::Duration;

pub(super) fn all(stage: &mut Stage<'_>, input: Option<&Input>) -> Result<()> {
    let input = input.context("there are no files to work on")?;
    let amount = input.amount();
    let amount = amount.as_str();
    let both = format!("{amount}, unpacked and cloned");
    let part = "its directory fs";
    stage.write("unpack", amount, Work::Job, |root| {
        let mut tar = program("tar", ["-xf"]);
        run(tar.arg(&input.archive).arg("-C").arg(root)).map(drop)
    })?;
    stage.write("clone", amount, Work::Job, |root| {
        let mut git = program("git", ["clone", "--quiet", "--no-hardlinks"]);
        run(git.arg(&input.repository).arg(root.join("clone"))).map(drop)
    })?;
    settle_index(stage)?;
    cold(stage, "git")?;
    stage.read("git-status", amount, Work::Job, |root| {
        let mut git = program("git", ["-C"]);
        run(git.arg(root.join("clone")).args(["status", "--porcelain"])).map(drop)
    })?;
    cold(stage, "find")?;
    stage.read("find", &*both, Work::Job, |root| {
        run(program("find", [root]).args(["-newermt", "2100-01-01"])).map(drop)
    })?;
    cold(stage, "ls")?;
    stage.read("list", &*both, Work::Job, |root| {
        run(program("ls", ["-lR"]).arg(root)).map(drop)
    })?;
    cold(stage, "grep")?;
    stage.read("grep", part, Work::Job, |root| {
        let mut grep = program("grep", ["-r", "--fixed-strings", "no such words are there"]);
        // 1: nothing found.
        run_expecting(grep.arg(root.join("fs")), &[1]).map(drop)
    })?;
    cold(stage, "cp")?;
    stage.write("copy", part, Work::Job, |root| {
        run(program("cp", ["-a"])
            .arg(root.join("fs"))
            .arg(root.join("copy")))
        .map(drop)
    })?;
    cold(stage, "rm")?;
    stage.write(
        "remove",
        format!("{both}, and the copy"),
        Work::Job,
        |root| {
            let directories = ["fs", "kernel", "include", "clone", "copy"];
            let directories = directories.map(|name| root.join(name));
            run(program("rm", ["-r"]).args(directories)).map(drop)
        },
    )
}

/// Lets git write its index anew, later than all files: it compares the contents of those that are not
/// older by a second, of which there may be many or few.
fn settle_index(stage: &Stage<'_>) -> Result<()> {
    thread::sleep(Duration::from_millis(1100));
    let mut git = program("git", ["-C"]);
    run(git.arg(stage.directory().join("clone")).arg("status")).map(drop)
}

/// Forgets what is cached of the file system, but not the program that is measured next: it comes from
/// elsewhere.
fn cold(stage: &mut Stage<'_>, name: &str) -> Result<()> {
    stage.cold()?;
    run(&mut program(name, ["--version"])).map(drop)
}
