//! Real files to work on.

use crate::program::{program, run};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The same files in two forms.
pub(crate) struct Input {
    /// A tar archive.
    pub(crate) archive: PathBuf,
    /// A git repository with one commit.
    pub(crate) repository: PathBuf,
    /// The size of the archive.
    pub(crate) archive_bytes: u64,
}

/// Files in memory, which dropping caches does not touch: where they come from is not what is measured.
const COPY: &str = "/dev/shm/bench-input";

impl Input {
    /// Finds them, and copies them to memory.
    pub(crate) fn open(directory: &Path) -> Result<Input> {
        let copy = Path::new(COPY);
        if !copy.exists() {
            run(program("cp", ["-r"]).arg(directory).arg(copy))?;
        }
        let archive = copy.join("source.tar");
        let archive_bytes = fs::metadata(&archive)
            .with_context(|| format!("there is no {}", archive.display()))?
            .len();
        Ok(Input {
            archive,
            repository: copy.join("repository"),
            archive_bytes,
        })
    }

    /// How much it is, for people.
    pub(crate) fn amount(&self) -> String {
        format!("source tree, {} MiB", self.archive_bytes >> 20)
    }
}
