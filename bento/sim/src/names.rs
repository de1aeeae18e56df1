//! What is done by path.

use crate::walk::{Pin, new_inode};
use crate::{File, Locks, Sim, SimEnv};
use bento_api::{
    Attr, Errno, FileKind, FileSystem, Ino, RenameFlags, Result, SetAttr, SetXattr, Unlinked,
};

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: Vec<u8>,
    /// The inode.
    pub ino: Ino,
    /// What it is.
    pub kind: FileKind,
    /// Where reading goes on behind it.
    pub next_cookie: u64,
}

impl<L: Locks, FS: FileSystem<SimEnv<L>>> Sim<FS, L> {
    /// Attributes of what stands at `path`.
    pub fn stat(&self, path: &[u8]) -> Result<Attr> {
        Ok(self.resolve(path)?.attr)
    }

    /// Changes attributes of what stands at `path`.
    pub fn setattr(&self, path: &[u8], set: &SetAttr) -> Result<Attr> {
        let pin = self.resolve(path)?;
        self.changed(self.io.setattr(pin.ino(), set))
    }

    /// Makes an empty regular file and opens it.
    pub fn create(&self, path: &[u8], permissions: u16) -> Result<File> {
        Ok(self
            .make(path, FileKind::Regular, permissions, 0, b"")?
            .into_file())
    }

    /// Makes a directory.
    pub fn mkdir(&self, path: &[u8], permissions: u16) -> Result<()> {
        self.make(path, FileKind::Directory, permissions, 0, b"")
            .map(drop)
    }

    /// Makes a device node, pipe or socket.
    pub fn mknod(&self, path: &[u8], kind: FileKind, permissions: u16, rdev: u32) -> Result<()> {
        self.make(path, kind, permissions, rdev, b"").map(drop)
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, target: &[u8], path: &[u8]) -> Result<()> {
        self.make(path, FileKind::Symlink, 0o777, 0, target)
            .map(drop)
    }

    /// Makes a regular file without a name and opens it.
    pub fn tmpfile(&self, dir: &[u8], permissions: u16) -> Result<File> {
        let dir = self.resolve(dir)?;
        let new = new_inode(FileKind::Regular, permissions, 0, b"");
        self.check_named(&dir)?;
        let attr = self.changed(self.fs.tmpfile(dir.ino(), &new))?;
        Ok(self.pinned(attr).into_file())
    }

    /// The target of a symbolic link.
    pub fn readlink(&self, path: &[u8]) -> Result<Vec<u8>> {
        let pin = self.resolve(path)?;
        if pin.attr.kind() != FileKind::Symlink {
            return Err(Errno::EINVAL);
        }
        let mut target = Vec::new();
        self.fs.readlink(pin.ino(), &mut target)?;
        Ok(target)
    }

    /// Gives what stands at `old` another name.
    pub fn link(&self, old: &[u8], new: &[u8]) -> Result<()> {
        let pin = self.resolve(old)?;
        if pin.attr.kind() == FileKind::Directory {
            return Err(Errno::EPERM);
        }
        let (dir, name) = self.resolve_parent(new)?;
        let _locked = self.names.exclude(&[dir.ino()]);
        self.check_named(&dir)?;
        if self.fs.lookup(dir.ino(), name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.changed(self.fs.link(pin.ino(), dir.ino(), name))
            .map(drop)
    }

    /// Takes a name away from what is not a directory.
    pub fn unlink(&self, path: &[u8]) -> Result<()> {
        self.remove(path, FS::unlink)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, path: &[u8]) -> Result<()> {
        self.remove(path, FS::rmdir)
    }

    fn remove(
        &self,
        path: &[u8],
        remove: impl Fn(&FS, Ino, &[u8]) -> Result<Unlinked>,
    ) -> Result<()> {
        let (dir, name) = self.resolve_parent(path)?;
        loop {
            let victim = self.child(&dir, name)?;
            let _locked = self.names.exclude(&[dir.ino(), victim.ino()]);
            if self.fs.lookup(dir.ino(), name) == Ok(victim.ino()) {
                return self.changed(remove(&self.fs, dir.ino(), name)).map(drop);
            }
        }
    }

    /// `renameat2(2)`, with the checks that the kernel makes before it asks a file system.
    pub fn rename(&self, from: &[u8], to: &[u8], flags: RenameFlags) -> Result<()> {
        let (from_dir, from_name) = self.resolve_parent(from)?;
        // If both paths are wrong, this one is what the caller is told of.
        drop(self.child(&from_dir, from_name)?);
        let (to_dir, to_name) = self.resolve_parent(to)?;
        let _renames = self.names.renames();
        loop {
            let source = self.child(&from_dir, from_name)?;
            let target = match self.child(&to_dir, to_name) {
                Ok(target) => Some(target),
                Err(Errno::ENOENT) => None,
                Err(error) => return Err(error),
            };
            let mut inos = vec![from_dir.ino(), to_dir.ino(), source.ino()];
            inos.extend(target.as_ref().map(Pin::ino));
            let _locked = self.names.exclude(&inos);
            let target_ino = target.as_ref().map(Pin::ino).ok_or(Errno::ENOENT);
            if self.fs.lookup(from_dir.ino(), from_name) != Ok(source.ino())
                || self.fs.lookup(to_dir.ino(), to_name) != target_ino
            {
                continue;
            }
            self.check_named(&to_dir)?;
            if self.must_rename(&source, &from_dir, target.as_ref(), &to_dir, flags)? {
                let (from_ino, to_ino) = (from_dir.ino(), to_dir.ino());
                self.changed(self.fs.rename(from_ino, from_name, to_ino, to_name, flags))?;
            }
            return Ok(());
        }
    }

    /// Whether there is anything to do: there is not if both names are those of one inode.
    fn must_rename(
        &self,
        source: &Pin<'_, FS, L>,
        from_dir: &Pin<'_, FS, L>,
        target: Option<&Pin<'_, FS, L>>,
        to_dir: &Pin<'_, FS, L>,
        flags: RenameFlags,
    ) -> Result<bool> {
        let is_dir = |attr: &Attr| attr.kind() == FileKind::Directory;
        match (target, flags) {
            (Some(_), RenameFlags::NoReplace) => return Err(Errno::EEXIST),
            (None, RenameFlags::Exchange) => return Err(Errno::ENOENT),
            _ => {}
        }
        if is_dir(&source.attr) && self.is_inside(to_dir.ino(), source.ino())? {
            return Err(Errno::EINVAL);
        }
        let Some(target) = target else {
            return Ok(true);
        };
        if self.is_inside(from_dir.ino(), target.ino())? {
            let exchange = flags == RenameFlags::Exchange;
            return Err(if exchange {
                Errno::EINVAL
            } else {
                Errno::ENOTEMPTY
            });
        }
        match (flags, is_dir(&source.attr), is_dir(&target.attr)) {
            _ if target.ino() == source.ino() => Ok(false),
            (RenameFlags::Replace, true, false) => Err(Errno::ENOTDIR),
            (RenameFlags::Replace, false, true) => Err(Errno::EISDIR),
            _ => Ok(true),
        }
    }

    /// All entries of a directory.
    pub fn readdir(&self, path: &[u8]) -> Result<Vec<Entry>> {
        self.readdir_from(path, 0, usize::MAX)
    }

    /// At most `count` entries of a directory from a cookie on.
    pub fn readdir_from(&self, path: &[u8], cookie: u64, count: usize) -> Result<Vec<Entry>> {
        let dir = self.resolve(path)?;
        let mut entries = Vec::new();
        let _locked = self.names.share(dir.ino());
        self.fs.readdir(dir.ino(), cookie, &mut |entry| {
            if entries.len() < count {
                assert!(entry.next_cookie > 2 && entry.next_cookie < 1 << 63);
                entries.push(Entry {
                    name: entry.name.to_vec(),
                    ino: entry.ino,
                    kind: FileKind::from_dirent_type(entry.dirent_type)
                        .expect("the file system names a kind that exists"),
                    next_cookie: entry.next_cookie,
                });
            }
            entries.len() < count
        })?;
        Ok(entries)
    }

    /// Sets an extended attribute; `None` removes it.
    pub fn setxattr(
        &self,
        path: &[u8],
        name: &[u8],
        value: Option<&[u8]>,
        how: SetXattr,
    ) -> Result<()> {
        let pin = self.resolve(path)?;
        self.changed(self.fs.setxattr(pin.ino(), name, value, how))
            .map(drop)
    }

    /// The value of an extended attribute.
    pub fn getxattr(&self, path: &[u8], name: &[u8]) -> Result<Vec<u8>> {
        let pin = self.resolve(path)?;
        let mut value = Vec::new();
        self.fs.getxattr(pin.ino(), name, &mut value)?;
        Ok(value)
    }

    /// The names of all extended attributes.
    pub fn listxattr(&self, path: &[u8]) -> Result<Vec<Vec<u8>>> {
        let pin = self.resolve(path)?;
        let mut names = Vec::new();
        self.fs
            .listxattr(pin.ino(), &mut |name| names.push(name.to_vec()))?;
        Ok(names)
    }
}
