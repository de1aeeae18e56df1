//! The file systems that are compared: how each is made and mounted.

use crate::program::{program, run};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use std::fmt;
use std::path::Path;

/// One of those compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileSystem {
    /// logfs as a kernel module
    Logfs,
    /// ext4 as mke2fs makes it, mounted with its defaults
    Ext4,
    /// The same with data=journal
    Ext4Journal,
    /// XFS as mkfs.xfs makes it
    Xfs,
    /// F2FS as mkfs.f2fs makes it
    F2fs,
    /// The code of logfs over FUSE
    LogfsFuse,
    /// No device: what the programs and the kernel above all file systems take
    Tmpfs,
    /// No file system: the device itself
    Raw,
}

impl FileSystem {
    /// Makes an empty one. Nothing is discarded, so that the memory behind a virtual disk stays where it
    /// is for all; what ext4 would otherwise initialise in the background after the mount is done here.
    pub(crate) fn make(self, device: &Path) -> Result<()> {
        let (name, options): (_, &[&str]) = match self {
            FileSystem::Tmpfs | FileSystem::Raw => return Ok(()),
            FileSystem::Logfs | FileSystem::LogfsFuse => ("mkfs.logfs", &["-q", "-F", "-K"]),
            FileSystem::Ext4 | FileSystem::Ext4Journal => (
                "mkfs.ext4",
                &[
                    "-q",
                    "-F",
                    "-E",
                    "nodiscard,lazy_itable_init=0,lazy_journal_init=0",
                ],
            ),
            FileSystem::Xfs => ("mkfs.xfs", &["-q", "-f", "-K"]),
            FileSystem::F2fs => ("mkfs.f2fs", &["-q", "-f", "-t", "0"]),
        };
        run(program(name, options).arg(device))?;
        Ok(())
    }

    /// Makes an empty one with nothing but defaults.
    pub(crate) fn make_as_users_do(self, image: &Path) -> Result<()> {
        let (name, options): (_, &[&str]) = match self {
            FileSystem::Tmpfs | FileSystem::Raw => return Ok(()),
            FileSystem::Logfs | FileSystem::LogfsFuse => ("mkfs.logfs", &["-q", "-F"]),
            FileSystem::Ext4 | FileSystem::Ext4Journal => ("mkfs.ext4", &["-q", "-F"]),
            FileSystem::Xfs => ("mkfs.xfs", &["-q", "-f"]),
            FileSystem::F2fs => ("mkfs.f2fs", &["-q", "-f"]),
        };
        run(program(name, options).arg(image))?;
        Ok(())
    }

    /// Mounts it.
    pub(crate) fn mount(self, device: &Path, directory: &Path) -> Result<()> {
        let mut command = match self {
            FileSystem::Raw => return Ok(()),
            FileSystem::Logfs => program("mount", ["-t", "logfs"]),
            FileSystem::Ext4 => program("mount", ["-t", "ext4"]),
            FileSystem::Ext4Journal => program("mount", ["-t", "ext4", "-o", "data=journal"]),
            FileSystem::Xfs => program("mount", ["-t", "xfs"]),
            FileSystem::F2fs => program("mount", ["-t", "f2fs", "-o", "nodiscard"]),
            FileSystem::LogfsFuse => program("logfs-fuse", [] as [&str; 0]),
            FileSystem::Tmpfs => program("mount", ["-t", "tmpfs", "-o", "size=90%"]),
        };
        run(command.arg(device).arg(directory))?;
        Ok(())
    }

    /// Whether files are there after it was unmounted and mounted again.
    pub(crate) fn keeps_files(self) -> bool {
        self != FileSystem::Tmpfs
    }

    /// The program that checks it.
    pub(crate) fn checker(self) -> Result<&'static str> {
        match self {
            FileSystem::Logfs | FileSystem::LogfsFuse => Ok("fsck.logfs"),
            FileSystem::Ext4 | FileSystem::Ext4Journal => Ok("e2fsck"),
            _ => bail!("{self} is not checked"),
        }
    }

    /// Checks it, while it is not mounted, and returns the most memory that took, in KiB; what the check
    /// finds is an error.
    pub(crate) fn check(self, device: &Path) -> Result<u64> {
        const MEMORY_FILE: &str = "/tmp/bench-memory";
        let mut timed = program("/usr/bin/time", ["-f", "%M", "-o", MEMORY_FILE]);
        timed.arg(self.checker()?);
        run(timed.args(["-f", "-n"]).arg(device))?;
        let memory = std::fs::read_to_string(MEMORY_FILE)?;
        memory.trim().parse().context("time(1) tells no memory")
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_possible_value() {
            Some(value) => f.write_str(value.get_name()),
            None => Ok(()),
        }
    }
}
