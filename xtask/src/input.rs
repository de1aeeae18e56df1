//! Real files to work with: parts of the kernel's source, as a directory, an archive, and a git
//! repository.

use crate::cache::built_once;
use crate::command::step;
use crate::deps::{self, Dependency, dependency};
use crate::kernel::uml;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

const PARTS: [&str; 3] = ["fs", "include", "kernel"];

/// What the guest's scripts use.
const NEEDED: &[Dependency] = &[dependency("git", "git")];

/// The same files in three forms.
pub(crate) struct Input {
    /// The whole source.
    pub(crate) source: PathBuf,
    /// Where the other two are.
    pub(crate) dir: PathBuf,
    pub(crate) archive: PathBuf,
    pub(crate) repository: PathBuf,
}

impl Input {
    /// Makes what is missing.
    pub(crate) fn prepare() -> Result<Input> {
        deps::need(NEEDED)?;
        let source = uml::source()?;
        let dir = built_once(&format!("demo-input-{}", source.version), |dir| {
            make(&source.dir, dir)
        })?;
        Ok(Input {
            source: source.dir,
            archive: dir.join("source.tar"),
            repository: dir.join("repository"),
            dir,
        })
    }
}

fn make(source: &Path, dir: &Path) -> Result<()> {
    let archive = dir.join("source.tar");
    step(
        "Packing files to work on",
        Command::new("tar")
            .arg("-C")
            .arg(source)
            .arg("-cf")
            .arg(&archive)
            .args(PARTS),
    )?;
    let repository = dir.join("repository");
    std::fs::create_dir(&repository)?;
    step(
        "Unpacking files to work on",
        tar_into(&repository).arg(&archive),
    )?;
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.current_dir(&repository)
            .args([
                "-c",
                "user.name=demo",
                "-c",
                "user.email=demo@localhost",
                "-c",
                "gc.auto=0",
            ])
            .args(arguments);
        step("Making a repository to work on", &mut git).map(drop)
    };
    git(&["init", "--quiet"])?;
    git(&["add", "--force", "."])?;
    git(&["commit", "--quiet", "--message", "Source"])
}

fn tar_into(dir: &Path) -> Command {
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(dir).arg("-xf");
    tar
}
