//! What a thread does in a directory that nobody else changes: all names and contents are known
//! exactly, at any time.

use crate::open::{PAGE_BYTES, list, open, read_all, write_direct};
use crate::pattern::FileId;
use anyhow::{Context, Result, ensure};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Mode, OFlags, RenameFlags, XattrFlags, fallocate, ftruncate,
    linkat, renameat_with,
};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

/// Names per directory.
const NAMES: usize = 8;
const DIRS: [&str; 2] = ["x", "y"];

/// Files without names that are kept open.
const UNNAMED_MAX: usize = 3;

/// What all attributes of a file fit into on every file system.
const XATTR_MAX: usize = 1500;

/// A file without a name.
struct Unnamed {
    file: File,
    id: FileId,
    contents: Vec<u8>,
}

/// See the module.
pub(crate) struct Own {
    dir: PathBuf,
    max_bytes: usize,
    chance: fastrand::Rng,
    names: BTreeMap<String, FileId>,
    contents: BTreeMap<FileId, Vec<u8>>,
    xattrs: BTreeMap<FileId, Vec<u8>>,
    unnamed: Vec<Unnamed>,
    version: u8,
}

impl Own {
    /// Starts with empty directories.
    pub(crate) fn new(dir: &Path, max_bytes: usize, seed: u64) -> Result<Own> {
        for sub in DIRS {
            fs::create_dir_all(dir.join(sub))?;
        }
        Ok(Own {
            dir: dir.to_path_buf(),
            max_bytes,
            chance: fastrand::Rng::with_seed(seed),
            names: BTreeMap::new(),
            contents: BTreeMap::new(),
            xattrs: BTreeMap::new(),
            unnamed: Vec::new(),
            version: 0,
        })
    }

    /// Does something, and says what.
    pub(crate) fn operate(&mut self, history: &mut Vec<String>) -> Result<()> {
        let name = self.draw_name();
        let Some(&id) = self.names.get(&name) else {
            history.push(format!("own: make {name}"));
            return self.make(&name);
        };
        let choice = self.chance.u8(0..20);
        history.push(format!("own: {choice} {name}"));
        match choice {
            0..=2 => self.write(&name, id),
            3 => self.write_past_cache(&name, id),
            4 => self.append(&name, id),
            5 => self.truncate(&name, id),
            6 | 7 => self.allocate(&name, id),
            8 => self.compare(&name, id, OFlags::DIRECT),
            9 | 10 => self.compare(&name, id, OFlags::empty()),
            11 => self.rename(&name, id),
            12 => self.exchange(&name, id),
            13 => self.link(&name, id),
            14 => self.unlink(&name, id),
            15 => self.set_xattr(&name, id),
            16 => self.make_and_remove(),
            17 => self.use_unnamed(),
            18 => self.compare_names(),
            _ => self.sync(&name),
        }
    }

    /// Closes all files and compares everything.
    pub(crate) fn verify(&mut self) -> Result<()> {
        for unnamed in self.unnamed.drain(..) {
            check(&unnamed.file, &unnamed.contents).context("a file without a name")?;
        }
        self.compare_names()?;
        for (name, &id) in &self.names {
            self.compare(name, id, OFlags::empty())?;
        }
        Ok(())
    }

    fn draw_name(&mut self) -> String {
        let dir = DIRS[self.chance.usize(0..DIRS.len())];
        format!("{dir}/f{}", self.chance.usize(0..NAMES))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn next_version(&mut self) -> u8 {
        self.version = self.version % u8::MAX + 1;
        self.version
    }

    fn make(&mut self, name: &str) -> Result<()> {
        let path = self.path(name);
        let file = if self.chance.bool() {
            File::create_new(&path)?
        } else {
            // Were it the last to hold it, fsfreeze could not end on what it has frozen.
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            let file = rustix::fs::open(&self.dir, flags, Mode::from(0o644))?;
            let by_descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, by_descriptor, CWD, &path, AtFlags::SYMLINK_FOLLOW)?;
            File::from(file)
        };
        let id = FileId::new();
        let mut contents = vec![0; self.chance.usize(0..self.max_bytes / 4)];
        id.fill(self.next_version(), 0, &mut contents);
        (&file).write_all(&contents)?;
        self.names.insert(name.to_owned(), id);
        self.contents.insert(id, contents);
        Ok(())
    }

    fn contents(&mut self, id: FileId) -> &mut Vec<u8> {
        self.contents.entry(id).or_default()
    }

    /// Puts a write into the model and returns its bytes.
    fn draw_write(&mut self, id: FileId, offset: usize, len_bytes: usize) -> Vec<u8> {
        let version = self.next_version();
        let mut bytes = vec![0; len_bytes];
        id.fill(version, offset as u64, &mut bytes);
        let contents = self.contents(id);
        contents.resize(contents.len().max(offset + len_bytes), 0);
        contents[offset..offset + len_bytes].copy_from_slice(&bytes);
        bytes
    }

    fn draw_range(&mut self) -> (usize, usize) {
        let offset = self.chance.usize(0..self.max_bytes);
        // Mostly short ones: they leave the most pieces.
        let most = (self.max_bytes - offset).min(1 << self.chance.u32(4..=18));
        (offset, self.chance.usize(1..=most))
    }

    fn write(&mut self, name: &str, id: FileId) -> Result<()> {
        let (offset, len_bytes) = self.draw_range();
        let bytes = self.draw_write(id, offset, len_bytes);
        Ok(open(&self.path(name), OFlags::empty())?.write_all_at(&bytes, offset as u64)?)
    }

    fn write_past_cache(&mut self, name: &str, id: FileId) -> Result<()> {
        let page = self.chance.usize(0..self.max_bytes / PAGE_BYTES);
        let most = (self.max_bytes / PAGE_BYTES - page).min(16);
        let (offset, pages) = (page * PAGE_BYTES, self.chance.usize(1..=most));
        let bytes = self.draw_write(id, offset, pages * PAGE_BYTES);
        let fill = |memory: &mut [u8]| memory.copy_from_slice(&bytes);
        Ok(write_direct(&self.path(name), offset as u64, pages, fill)?)
    }

    fn append(&mut self, name: &str, id: FileId) -> Result<()> {
        let end = self.contents(id).len();
        let len_bytes = self.chance.usize(0..20_000).min(self.max_bytes - end);
        let bytes = self.draw_write(id, end, len_bytes);
        let mut file = File::options().append(true).open(self.path(name))?;
        Ok(file.write_all(&bytes)?)
    }

    fn truncate(&mut self, name: &str, id: FileId) -> Result<()> {
        let size = self.chance.usize(0..self.max_bytes);
        ftruncate(open(&self.path(name), OFlags::empty())?, size as u64)?;
        self.contents(id).resize(size, 0);
        Ok(())
    }

    fn allocate(&mut self, name: &str, id: FileId) -> Result<()> {
        let (offset, len_bytes) = self.draw_range();
        let keep_size = FallocateFlags::KEEP_SIZE;
        let mode = match self.chance.u8(0..5) {
            0 => FallocateFlags::empty(),
            1 => keep_size,
            2 => FallocateFlags::ZERO_RANGE,
            3 => FallocateFlags::ZERO_RANGE | keep_size,
            _ => FallocateFlags::PUNCH_HOLE | keep_size,
        };
        let file = open(&self.path(name), OFlags::empty())?;
        fallocate(file, mode, offset as u64, len_bytes as u64)?;
        let contents = self.contents(id);
        let end = offset + len_bytes;
        if !mode.contains(keep_size) {
            contents.resize(contents.len().max(end), 0);
        }
        if mode.intersects(FallocateFlags::ZERO_RANGE | FallocateFlags::PUNCH_HOLE) {
            let end = contents.len().min(end);
            contents[offset.min(end)..end].fill(0);
        }
        Ok(())
    }

    fn compare(&self, name: &str, id: FileId, flags: OFlags) -> Result<()> {
        let path = self.path(name);
        let contents = self.contents.get(&id).context("a name without a file")?;
        check(&open(&path, flags)?, contents).with_context(|| format!("{name}, {flags:?}"))?;
        if let Some(value) = self.xattrs.get(&id) {
            let mut found = [0; XATTR_MAX];
            let len_bytes = rustix::fs::getxattr(&path, "user.own", &mut found)?;
            ensure!(found[..len_bytes] == **value, "{name}: attribute");
        }
        Ok(())
    }

    /// Lets go of a file that has lost a name.
    fn forget(&mut self, id: FileId) -> Option<Vec<u8>> {
        if self.names.values().any(|named| *named == id) {
            return None;
        }
        self.xattrs.remove(&id);
        self.contents.remove(&id)
    }

    fn rename(&mut self, from: &str, id: FileId) -> Result<()> {
        let to = self.draw_name();
        fs::rename(self.path(from), self.path(&to))?;
        let replaced = self.names.get(&to).copied();
        // Nothing happens if both are names of one file.
        if replaced != Some(id) {
            self.names.remove(from);
            self.names.insert(to, id);
            replaced.and_then(|replaced| self.forget(replaced));
        }
        Ok(())
    }

    fn exchange(&mut self, first: &str, id: FileId) -> Result<()> {
        let second = self.draw_name();
        let paths = (self.path(first), self.path(&second));
        let Some(other) = self.names.get(&second).copied() else {
            renameat_with(CWD, paths.0, CWD, paths.1, RenameFlags::NOREPLACE)?;
            self.names.remove(first);
            self.names.insert(second, id);
            return Ok(());
        };
        renameat_with(CWD, paths.0, CWD, paths.1, RenameFlags::EXCHANGE)?;
        self.names.insert(first.to_owned(), other);
        self.names.insert(second, id);
        Ok(())
    }

    fn link(&mut self, name: &str, id: FileId) -> Result<()> {
        let second = self.draw_name();
        let linked = fs::hard_link(self.path(name), self.path(&second));
        if self.names.contains_key(&second) {
            ensure!(linked.is_err(), "{second} was there and was linked to");
            return Ok(());
        }
        linked?;
        self.names.insert(second, id);
        Ok(())
    }

    fn unlink(&mut self, name: &str, id: FileId) -> Result<()> {
        let path = self.path(name);
        let file = open(&path, OFlags::empty())?;
        fs::remove_file(&path)?;
        self.names.remove(name);
        if let Some(contents) = self.forget(id)
            && self.unnamed.len() < UNNAMED_MAX
        {
            self.unnamed.push(Unnamed { file, id, contents });
        }
        Ok(())
    }

    fn use_unnamed(&mut self) -> Result<()> {
        let Some(mut unnamed) = self.unnamed.pop() else {
            return Ok(());
        };
        let (offset, len_bytes) = self.draw_range();
        let mut bytes = vec![0; len_bytes];
        unnamed
            .id
            .fill(self.next_version(), offset as u64, &mut bytes);
        unnamed.file.write_all_at(&bytes, offset as u64)?;
        let size = unnamed.contents.len().max(offset + len_bytes);
        unnamed.contents.resize(size, 0);
        unnamed.contents[offset..offset + len_bytes].copy_from_slice(&bytes);
        check(&unnamed.file, &unnamed.contents).context("a file without a name")?;
        if self.chance.bool() {
            self.unnamed.insert(0, unnamed);
        }
        Ok(())
    }

    fn set_xattr(&mut self, name: &str, id: FileId) -> Result<()> {
        let mut value = vec![0; self.chance.usize(1..XATTR_MAX)];
        self.chance.fill(&mut value);
        rustix::fs::setxattr(self.path(name), "user.own", &value, XattrFlags::empty())?;
        self.xattrs.insert(id, value);
        Ok(())
    }

    /// A directory with a symbolic link in it comes, moves and goes.
    fn make_and_remove(&mut self) -> Result<()> {
        let [from, to] = DIRS.map(|dir| self.dir.join(dir).join("directory"));
        fs::create_dir(&from)?;
        symlink("target", from.join("link"))?;
        fs::rename(&from, &to)?;
        let link = to.join("link");
        ensure!(
            fs::read_link(&link)? == Path::new("target"),
            "a symbolic link"
        );
        ensure!(
            fs::remove_dir(&to).is_err(),
            "a directory with a name in it was removed"
        );
        fs::remove_file(link)?;
        Ok(fs::remove_dir(to)?)
    }

    fn compare_names(&self) -> Result<()> {
        for dir in DIRS {
            let prefix = format!("{dir}/");
            let expected: Vec<_> = self
                .names
                .keys()
                .filter_map(|name| name.strip_prefix(&prefix))
                .collect();
            let found = list(&self.dir.join(dir))?;
            ensure!(
                found == expected,
                "{dir} lists {found:?}, expected {expected:?}"
            );
        }
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<()> {
        let file = open(&self.path(name), OFlags::empty())?;
        match self.chance.u8(0..4) {
            0 => file.sync_all()?,
            1 => file.sync_data()?,
            2 => File::open(&self.dir)?.sync_all()?,
            _ => rustix::fs::syncfs(file)?,
        }
        Ok(())
    }
}

fn check(file: &File, contents: &[u8]) -> Result<()> {
    let size = file.metadata()?.len();
    ensure!(
        size == contents.len() as u64,
        "size {size}, expected {}",
        contents.len()
    );
    let found = read_all(file, contents.len())?;
    ensure!(
        found.len() == contents.len(),
        "{} bytes read of {size}",
        found.len()
    );
    let differs = found.iter().zip(contents).position(|(a, b)| a != b);
    if let Some(at) = differs {
        let end = contents.len().min(at + 16);
        let (found, contents) = (&found[at..end], &contents[at..end]);
        anyhow::bail!("at {at}: {found:02x?}, expected {contents:02x?}");
    }
    Ok(())
}
