//! The parts that show that a file system works at all in a kernel: the first thing to look at when
//! a suite fails.

use super::checks::Checks;
use super::machine::expect_success;
use super::subject::Subject;
use crate::counts::Counts;
use crate::kernel::Kernel;
use crate::workspace::Workspace;
use anyhow::Result;
use std::time::Duration;

const TIME_LIMIT: Duration = Duration::from_secs(300);

/// A tree with some of everything goes in, and comes out the same after a remount.
const COPY_TREE: &str = "cp -a xtask /mnt/tree; ln /mnt/tree/Cargo.toml /mnt/link; \
                         ln -s tree /mnt/symlink; mkfifo /mnt/fifo; sync; diff -r xtask /mnt/tree; \
                         diff -r xtask /mnt/symlink; rm -r /mnt/tree/src; test -e /mnt/link";

pub(super) fn memfs_uml(workspace: &Workspace) -> Result<Counts> {
    smoke(workspace, Subject::Memfs(Kernel::Uml))
}

pub(super) fn memfs_stock(workspace: &Workspace) -> Result<Counts> {
    smoke(workspace, Subject::Memfs(Kernel::Stock))
}

pub(super) fn logfs_uml(workspace: &Workspace) -> Result<Counts> {
    smoke(workspace, Subject::Logfs(Kernel::Uml))
}

pub(super) fn logfs_stock(workspace: &Workspace) -> Result<Counts> {
    smoke(workspace, Subject::Logfs(Kernel::Stock))
}

pub(super) fn logfs_fuse(workspace: &Workspace) -> Result<Counts> {
    smoke(workspace, Subject::LogfsFuse)
}

fn smoke(workspace: &Workspace, subject: Subject) -> Result<Counts> {
    let machine = subject.machine(workspace, TIME_LIMIT)?;
    let mut checks = Checks::default();
    checks.check(
        &format!("{subject:?}: a tree is copied, read back and removed"),
        || {
            let script = format!(
                "set -e; {}; {COPY_TREE}; {}",
                subject.mount(),
                subject.unmount()
            );
            expect_success(workspace, &machine, &script).map(drop)
        },
    );
    Ok(checks.counts())
}
