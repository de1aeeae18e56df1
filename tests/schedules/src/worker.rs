//! A thread that does what it likes to files of its own, and looks at them.

use crate::Stage;
use crate::promises::stamp;
use crate::stage::DIRS;
use bento_api::{Errno, FallocateMode, RenameFlags, Result, SetXattr};
use bento_sim::{File, Rng};
use std::collections::{BTreeMap, BTreeSet};

/// Names that a worker uses in each directory.
const NAMES: u64 = 2;

/// Files end before this.
const FILE_BYTES: u64 = 40_000;

/// So large that two such attributes do not fit into one transaction, and a few fill the log.
const XATTR_BYTES: usize = 60_000;

/// What a worker can do, with a file of its own unless said otherwise.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Write a range.
    Write,
    /// Set the size.
    Truncate,
    /// Set space aside, make a hole, or zeros.
    Fallocate,
    /// fsync, fdatasync, or all of the file system; then cut the power, or not.
    Sync,
    /// Take the name away.
    Unlink,
    /// Move it to another of its names.
    Rename,
    /// Give it a second name, and take one of both away.
    Link,
    /// Set an attribute that fills much of a transaction.
    SetXattr,
    /// Use a file that has no name (any more).
    UseUnnamed,
    /// Make, move, fill and remove a directory.
    MakeDirectory,
    /// Swap two names that all workers swap.
    Exchange,
    /// List the directories.
    List,
}

/// All of them.
pub const ALL_OPS: &[Op] = &[
    Op::Write,
    Op::Write,
    Op::Truncate,
    Op::Fallocate,
    Op::Sync,
    Op::Unlink,
    Op::Rename,
    Op::Link,
    Op::SetXattr,
    Op::UseUnnamed,
    Op::MakeDirectory,
    Op::Exchange,
    Op::List,
];

/// A thread of a scenario. What it owns begins with its number, which is a digit.
pub struct Worker<'a> {
    stage: &'a Stage,
    number: u8,
    rng: Rng,
    version: u8,
    files: BTreeMap<String, Vec<u8>>,
    /// Those of them whose name fdatasync need not make durable.
    moved: BTreeSet<String>,
}

impl<'a> Worker<'a> {
    /// A worker without files.
    pub fn new(stage: &'a Stage, number: u8, seed: u64) -> Worker<'a> {
        Worker {
            stage,
            number,
            rng: Rng::new(seed ^ u64::from(number) << 56),
            version: 0,
            files: BTreeMap::new(),
            moved: BTreeSet::new(),
        }
    }

    /// Does so many of these operations, then reads all that it has. At an error in `expected` it
    /// stops; on a full disk it goes on.
    ///
    /// # Panics
    /// If one does not do what it must.
    pub fn work(mut self, ops: &[Op], count: u64, expected: &[Errno]) {
        for _ in 0..count {
            let op = ops[self.rng.below(ops.len() as u64) as usize];
            let path = self.any_path();
            match self.operate(op, &path) {
                Ok(()) => {}
                Err(Errno::ENOSPC) => {}
                Err(errno) if expected.contains(&errno) => return,
                Err(errno) => panic!("{op:?} {path}: {errno}"),
            }
        }
        for (path, contents) in &self.files {
            let found = self.stage.sim().read_file(path.as_bytes());
            if found.as_ref().is_err_and(|errno| expected.contains(errno)) {
                return;
            }
            let is_as_written = found.as_ref() == Ok(contents);
            assert!(is_as_written, "{path} is not what was written");
        }
    }

    fn operate(&mut self, op: Op, path: &str) -> Result<()> {
        let is_there = self.files.contains_key(path);
        match op {
            Op::Write => self.change(path, Worker::write),
            Op::Truncate => self.change(path, Worker::truncate),
            Op::Fallocate => self.change(path, |worker, file, contents| {
                worker.fallocate(file, contents)
            }),
            Op::UseUnnamed => self.use_unnamed(),
            Op::MakeDirectory => self.make_directory(),
            Op::List => self.list(),
            Op::Exchange => self.stage.exchange(),
            // The others need a file.
            _ if !is_there => self.change(path, Worker::write),
            Op::Sync => self.sync(path),
            Op::Unlink => self.unlink(path),
            Op::Rename => self.rename(path),
            Op::Link => self.link(path),
            Op::SetXattr => self.set_xattr(path),
        }
    }

    fn any_path(&mut self) -> String {
        let dir = DIRS[self.rng.below(DIRS.len() as u64) as usize];
        format!("{dir}/{}file{}", self.number, self.rng.below(NAMES))
    }

    fn next_stamp(&mut self) -> u8 {
        self.version = self.version.wrapping_add(1);
        stamp(self.number, self.version)
    }

    /// Opens or makes a file of its own and changes its contents.
    fn change(
        &mut self,
        path: &str,
        change: impl FnOnce(&mut Self, &File, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        let sim = self.stage.sim();
        let mut contents = self.files.get(path).cloned();
        self.stage.promises().withdraw(path);
        let file = match contents {
            Some(_) => sim.open(path.as_bytes())?,
            None => sim.create(path.as_bytes(), 0o644)?,
        };
        let contents = contents.get_or_insert_default();
        let changed = change(self, &file, contents);
        self.files.insert(path.to_owned(), std::mem::take(contents));
        sim.close(file);
        changed
    }

    fn write(&mut self, file: &File, contents: &mut Vec<u8>) -> Result<()> {
        let offset = self.rng.below(FILE_BYTES / 2);
        let data = vec![self.next_stamp(); 1 + self.rng.below(FILE_BYTES / 2) as usize];
        let count = self.stage.sim().write(file, offset, &data)?;
        let (start, end) = (offset as usize, offset as usize + count);
        contents.resize(contents.len().max(end), 0);
        contents[start..end].copy_from_slice(&data[..count]);
        Ok(())
    }

    fn truncate(&mut self, file: &File, contents: &mut Vec<u8>) -> Result<()> {
        let size = self.rng.below(FILE_BYTES);
        self.stage.sim().truncate(file, size)?;
        contents.resize(size as usize, 0);
        Ok(())
    }

    fn fallocate(&mut self, file: &File, contents: &mut [u8]) -> Result<()> {
        let offset = self.rng.below(FILE_BYTES / 2);
        let len = 1 + self.rng.below(FILE_BYTES / 2);
        let mode = match self.rng.below(3) {
            0 => FallocateMode::Allocate { keep_size: true },
            1 => FallocateMode::Punch,
            _ => FallocateMode::Zero { keep_size: true },
        };
        self.stage.sim().fallocate(file, mode, offset, len)?;
        if !matches!(mode, FallocateMode::Allocate { .. }) {
            let end = contents.len().min((offset + len) as usize);
            let start = end.min(offset as usize);
            contents[start..end].fill(0);
        }
        Ok(())
    }

    fn sync(&mut self, path: &str) -> Result<()> {
        let sim = self.stage.sim();
        let file = sim.open(path.as_bytes())?;
        let how = self.rng.below(4);
        let synced = match how {
            0 => sim.fdatasync(&file),
            1 => sim.sync(),
            _ => sim.fsync(&file),
        };
        sim.close(file);
        synced?;
        if how > 0 {
            self.moved.remove(path);
        }
        if !self.moved.contains(path) {
            self.stage.promises().promise(path, &self.files[path]);
        }
        if self.rng.below(4) == 0 {
            self.stage.cut_power(self.rng.next_u64());
        }
        Ok(())
    }

    fn unlink(&mut self, path: &str) -> Result<()> {
        self.stage.promises().withdraw(path);
        let removed = self.stage.sim().unlink(path.as_bytes());
        assert_ne!(removed, Err(Errno::ENOSPC), "{path} could not be deleted");
        removed?;
        self.files.remove(path);
        Ok(())
    }

    fn rename(&mut self, from: &str) -> Result<()> {
        let to = self.any_path();
        self.stage.promises().withdraw(from);
        self.stage.promises().withdraw(&to);
        let flags = RenameFlags::Replace;
        let sim = self.stage.sim();
        sim.rename(from.as_bytes(), to.as_bytes(), flags)?;
        if let Some(contents) = self.files.remove(from) {
            self.moved.insert(to.clone());
            self.files.insert(to, contents);
        }
        Ok(())
    }

    fn link(&mut self, path: &str) -> Result<()> {
        let sim = self.stage.sim();
        let second = format!("/a/{}link", self.number);
        sim.link(path.as_bytes(), second.as_bytes())?;
        if self.rng.below(2) == 0 {
            return sim.unlink(second.as_bytes());
        }
        self.stage.promises().withdraw(path);
        self.moved.insert(path.to_owned());
        sim.unlink(path.as_bytes())?;
        sim.rename(second.as_bytes(), path.as_bytes(), RenameFlags::NoReplace)
    }

    fn set_xattr(&mut self, path: &str) -> Result<()> {
        let value = vec![self.next_stamp(); XATTR_BYTES];
        let (sim, name) = (self.stage.sim(), b"user.large");
        sim.setxattr(path.as_bytes(), name, Some(&value), SetXattr::Any)?;
        let found = sim.getxattr(path.as_bytes(), name)?;
        assert!(found == value, "{path}: the attribute is not what was set");
        Ok(())
    }

    /// A file that has lost its only name, or never had one, is used and goes.
    fn use_unnamed(&mut self) -> Result<()> {
        let sim = self.stage.sim();
        let file = if self.rng.below(2) == 0 {
            sim.tmpfile(b"/a", 0o600)?
        } else {
            let path = format!("/b/{}unnamed", self.number);
            let file = sim.create(path.as_bytes(), 0o600)?;
            if let Err(errno) = sim.unlink(path.as_bytes()) {
                sim.close(file);
                return Err(errno);
            }
            file
        };
        let mut contents = Vec::new();
        let written = self.write(&file, &mut contents);
        let found = sim.read(&file, 0, contents.len() + 1);
        sim.close(file);
        assert!(
            found? == contents,
            "a file without a name is not what was written"
        );
        written
    }

    /// A directory is moved and goes, with what is in it.
    fn make_directory(&mut self) -> Result<()> {
        let sim = self.stage.sim();
        let [from, to] = DIRS.map(|dir| format!("{dir}/{}dir", self.number));
        let inner = format!("{to}/{}file", self.number);
        sim.mkdir(from.as_bytes(), 0o755)?;
        let moved = sim
            .rename(from.as_bytes(), to.as_bytes(), RenameFlags::NoReplace)
            .and_then(|()| sim.symlink(b"target", inner.as_bytes()));
        if moved.is_ok() {
            match sim.rmdir(to.as_bytes()) {
                Err(Errno::ENOTEMPTY) => {}
                Err(errno) => return Err(errno),
                Ok(()) => panic!("{to} was removed with a name in it"),
            }
            sim.unlink(inner.as_bytes())?;
        }
        sim.rmdir(to.as_bytes())
            .or_else(|_| sim.rmdir(from.as_bytes()))?;
        moved
    }

    /// Whatever others do, its own names are listed, each once.
    fn list(&mut self) -> Result<()> {
        for dir in DIRS {
            let entries = self.stage.sim().readdir(dir.as_bytes())?;
            let mut listed: Vec<_> = entries
                .iter()
                .map(|entry| format!("{dir}/{}", String::from_utf8_lossy(&entry.name)))
                .filter(|path| path.starts_with(&format!("{dir}/{}file", self.number)))
                .collect();
            listed.sort();
            let own = self.files.keys().filter(|path| path.starts_with(dir));
            assert!(listed.iter().eq(own), "{dir} lists {listed:?}");
        }
        Ok(())
    }
}
