//! From paths to pinned inodes.

use crate::{File, Locks, Sim, SimEnv};
use bento_api::{Attr, Errno, FileKind, FileSystem, Ino, NewInode, Result, mode};

const NAME_MAX: usize = 255;

/// A pinned inode.
pub(crate) struct Pin<'a, FS: FileSystem<SimEnv<L>>, L: Locks> {
    sim: &'a Sim<FS, L>,
    pub(crate) attr: Attr,
}

impl<L: Locks, FS: FileSystem<SimEnv<L>>> Pin<'_, FS, L> {
    pub(crate) fn ino(&self) -> Ino {
        self.attr.ino
    }

    /// Hands the pin to an open file.
    pub(crate) fn into_file(self) -> File {
        let file = File {
            ino: self.ino(),
            mount_number: self.sim.mount_number,
        };
        std::mem::forget(self);
        file
    }
}

impl<L: Locks, FS: FileSystem<SimEnv<L>>> Drop for Pin<'_, FS, L> {
    fn drop(&mut self) {
        self.sim.unpin(self.attr.ino);
    }
}

impl<L: Locks, FS: FileSystem<SimEnv<L>>> Sim<FS, L> {
    pub(crate) fn ino(&self, file: &File) -> Result<Ino> {
        if file.mount_number == self.mount_number {
            Ok(file.ino)
        } else {
            Err(Errno::ESTALE)
        }
    }

    /// Background work that a change has asked for is done at once, so that a simulation does
    /// the same every time.
    pub(crate) fn changed<T>(&self, result: Result<T>) -> Result<T> {
        self.background_if_due();
        result
    }

    pub(crate) fn make(
        &self,
        path: &[u8],
        kind: FileKind,
        permissions: u16,
        rdev: u32,
        target: &[u8],
    ) -> Result<Pin<'_, FS, L>> {
        let (dir, name) = self.resolve_parent(path)?;
        let new = new_inode(kind, permissions, rdev, target);
        let _locked = self.names.exclude(&[dir.ino()]);
        self.check_named(&dir)?;
        let created = self.changed(self.fs.create(dir.ino(), name, &new))?;
        Ok(self.pinned(created.inode))
    }

    pub(crate) fn resolve(&self, path: &[u8]) -> Result<Pin<'_, FS, L>> {
        let mut at = self.pin(self.fs.root())?;
        for name in components(path) {
            at = self.step(&at, name)?;
        }
        Ok(at)
    }

    /// The directory that the last component of `path` is in, and that component.
    pub(crate) fn resolve_parent<'p>(&self, path: &'p [u8]) -> Result<(Pin<'_, FS, L>, &'p [u8])> {
        let mut names = components(path);
        let name = names.next_back().ok_or(Errno::EINVAL)?;
        check_name(name)?;
        let mut at = self.pin(self.fs.root())?;
        for name in names {
            at = self.step(&at, name)?;
        }
        if at.attr.kind() != FileKind::Directory {
            return Err(Errno::ENOTDIR);
        }
        Ok((at, name))
    }

    fn step(&self, at: &Pin<'_, FS, L>, name: &[u8]) -> Result<Pin<'_, FS, L>> {
        if at.attr.kind() != FileKind::Directory {
            return Err(Errno::ENOTDIR);
        }
        if name == b".." {
            return self.pin(self.fs.parent(at.ino())?);
        }
        self.child(at, name)
    }

    /// What stands under a name in a directory.
    pub(crate) fn child(&self, dir: &Pin<'_, FS, L>, name: &[u8]) -> Result<Pin<'_, FS, L>> {
        check_name(name)?;
        let _locked = self.names.share(dir.ino());
        self.pin(self.fs.lookup(dir.ino(), name)?)
    }

    /// Nothing is made in a directory that was removed. It must be locked.
    pub(crate) fn check_named(&self, dir: &Pin<'_, FS, L>) -> Result<()> {
        match self.fs.getattr(dir.ino())?.nlink {
            0 => Err(Errno::ENOENT),
            _ => Ok(()),
        }
    }

    /// Whether `dir` is `outer` or somewhere in it.
    pub(crate) fn is_inside(&self, dir: Ino, outer: Ino) -> Result<bool> {
        let mut at = self.pin(dir)?;
        loop {
            if at.ino() == outer {
                return Ok(true);
            }
            if at.ino() == self.fs.root() {
                return Ok(false);
            }
            at = self.pin(self.fs.parent(at.ino())?)?;
        }
    }

    fn pin(&self, ino: Ino) -> Result<Pin<'_, FS, L>> {
        Ok(self.pinned(self.fs.load(ino)?))
    }

    /// Counts a pin that the file system has given.
    pub(crate) fn pinned(&self, attr: Attr) -> Pin<'_, FS, L> {
        *self.pins.lock().entry(attr.ino).or_default() += 1;
        Pin { sim: self, attr }
    }

    pub(crate) fn unpin(&self, ino: Ino) {
        let mut pins = self.pins.lock();
        let count = pins.get_mut(&ino).expect("only what is pinned is unpinned");
        *count -= 1;
        if *count == 0 {
            pins.remove(&ino);
        }
        drop(pins);
        self.io.forget(ino);
    }
}

pub(crate) fn new_inode(
    kind: FileKind,
    permissions: u16,
    rdev: u32,
    target: &[u8],
) -> NewInode<'_> {
    let mode = kind.mode_bits() | permissions & mode::PERMISSION_MASK;
    NewInode {
        mode,
        uid: 0,
        gid: 0,
        rdev,
        target,
        xattrs: &[],
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
}

fn check_name(name: &[u8]) -> Result<()> {
    match name {
        b".." => Err(Errno::EINVAL),
        _ if name.len() > NAME_MAX => Err(Errno::ENAMETOOLONG),
        _ => Ok(()),
    }
}
