//! Many files: made, listed, looked at, renamed, removed.

use crate::input::Input;
use crate::stage::{Stage, Work};
use crate::threads;
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Files of a directory, where there are many directories; and directories of a directory.
const PER_DIRECTORY: usize = 100;

/// How the files lie and who makes them.
#[derive(Clone, Copy)]
struct Shape {
    file_bytes: usize,
    is_tree: bool,
    threads: usize,
    /// How many, at full scale.
    files: usize,
}

macro_rules! shape {
    ($name:ident, $bytes:expr, $is_tree:expr, $threads:expr) => {
        pub(super) fn $name(stage: &mut Stage<'_>, _: Option<&Input>) -> Result<()> {
            let shape = Shape {
                file_bytes: $bytes,
                is_tree: $is_tree,
                threads: $threads,
                files: 100_000,
            };
            shape.play(stage)
        }
    };
}

shape!(full_flat_1, 4096, false, 1);
shape!(full_flat_8, 4096, false, 8);
shape!(full_flat_32, 4096, false, 32);
shape!(full_tree_1, 4096, true, 1);
shape!(full_tree_8, 4096, true, 8);
shape!(full_tree_32, 4096, true, 32);
shape!(empty_flat_1, 0, false, 1);
shape!(empty_flat_8, 0, false, 8);
shape!(empty_flat_32, 0, false, 32);
shape!(empty_tree_1, 0, true, 1);
shape!(empty_tree_8, 0, true, 8);
shape!(empty_tree_32, 0, true, 32);

/// Files of 4 KiB in one directory; `files` at full scale.
pub(super) fn small(stage: &mut Stage<'_>, files: usize) -> Result<()> {
    let shape = Shape {
        file_bytes: 4096,
        is_tree: false,
        threads: 1,
        files: stage.scaled(files, 1000),
    };
    let amount = format!("{} files of 4096 bytes", shape.files);
    let work = Work::Operations(shape.files);
    stage.write("create", &*amount, work, |root| shape.create(root))?;
    stage.cold()?;
    stage.read("stat", &*amount, work, |root| shape.look(root))?;
    stage.write("rename", &*amount, work, |root| shape.rename(root))?;
    stage.write("unlink", &*amount, work, |root| shape.unlink(root))
}

impl Shape {
    fn play(self, stage: &mut Stage<'_>) -> Result<()> {
        let count = stage.scaled(self.files, 1000);
        let shape = Shape {
            files: count,
            ..self
        };
        let amount = format!("{count} files of {} bytes", self.file_bytes);
        let work = Work::Operations(count);
        stage.write("create", &*amount, work, |root| shape.create(root))?;
        stage.cold()?;
        let listings = if self.is_tree { 1 } else { self.threads };
        let listed = Work::Operations(count * listings);
        stage.read("readdir", &*amount, listed, |root| shape.list(root))?;
        stage.cold()?;
        stage.read("stat", &*amount, work, |root| shape.look(root))?;
        stage.write("rename", &*amount, work, |root| shape.rename(root))?;
        stage.write("unlink", &*amount, work, |root| shape.unlink(root))
    }

    fn look(self, root: &Path) -> Result<()> {
        self.each(|number| {
            let found = fs::metadata(self.path(root, "f", number))?;
            let is_whole = found.len() == self.file_bytes as u64;
            ensure!(is_whole, "a file has another size");
            Ok(())
        })
    }

    fn rename(self, root: &Path) -> Result<()> {
        self.each(|number| {
            let [from, to] = ["f", "g"].map(|prefix| self.path(root, prefix, number));
            fs::rename(from, to).context("rename")
        })
    }

    fn unlink(self, root: &Path) -> Result<()> {
        self.each(|number| fs::remove_file(self.path(root, "g", number)).context("unlink"))
    }

    /// Does something with every file; threads have directories of their own if there are many.
    fn each(self, action: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
        let unit = if self.is_tree { PER_DIRECTORY } else { 1 };
        let units = self.files.div_ceil(unit);
        threads::run(self.threads, |index| {
            let share = threads::share(units, index, self.threads);
            let files = share.start * unit..(share.end * unit).min(self.files);
            files.into_iter().try_for_each(&action)
        })
    }

    fn create(self, root: &Path) -> Result<()> {
        let contents = vec![0x61; self.file_bytes];
        if !self.is_tree {
            fs::create_dir(root.join("files"))?;
        }
        self.each(|number| {
            if self.is_tree && number % PER_DIRECTORY == 0 {
                fs::create_dir_all(self.directory(root, number))?;
            }
            let mut file = File::create_new(self.path(root, "f", number))?;
            file.write_all(&contents)?;
            Ok(())
        })
    }

    /// Each thread lists its share of a tree, or all of the one directory.
    fn list(self, root: &Path) -> Result<()> {
        let directories = self.files.div_ceil(PER_DIRECTORY);
        threads::run(self.threads, |index| {
            let share = match self.is_tree {
                true => threads::share(directories, index, self.threads),
                false => 0..1,
            };
            for directory in share {
                let number = directory * PER_DIRECTORY;
                let found = fs::read_dir(self.directory(root, number))?.count();
                ensure!(found > 0, "a directory is empty");
            }
            Ok(())
        })
    }

    fn directory(self, root: &Path, number: usize) -> PathBuf {
        if !self.is_tree {
            return root.join("files");
        }
        let directory = number / PER_DIRECTORY;
        root.join(format!("{}/{directory}", directory / PER_DIRECTORY))
    }

    fn path(self, root: &Path, prefix: &str, number: usize) -> PathBuf {
        self.directory(root, number)
            .join(format!("{prefix}{number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Shape;
    use std::sync::Mutex;

    #[test]
    fn threads_share_the_files_and_no_directory() {
        let shape = Shape {
            file_bytes: 0,
            is_tree: true,
            threads: 8,
            files: 1250,
        };
        let seen = Mutex::new(Vec::new());
        let note = |number| {
            seen.lock().expect("no panic").push(number);
            Ok(())
        };
        shape.each(note).expect("nothing fails");
        let mut seen = seen.into_inner().expect("no panic");
        seen.sort_unstable();
        assert_eq!(seen, (0..1250).collect::<Vec<_>>());
    }

    #[test]
    fn a_tree_and_a_flat_directory_are_made_and_listed() {
        for is_tree in [false, true] {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let shape = Shape {
                file_bytes: 10,
                is_tree,
                threads: 2,
                files: 301,
            };
            shape.create(dir.path()).expect("create");
            shape.list(dir.path()).expect("list");
            assert!(shape.path(dir.path(), "f", 300).exists());
        }
    }
}
