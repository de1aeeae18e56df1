//! A mounted file system in memory, used by path.

use crate::{SimDisk, SimEnv};
use bento_api::{
    Attr, Env, Errno, FallocateMode, FileKind, FileSystem, Ino, MountOptions, NewInode,
    RenameFlags, Result, SetAttr, SetXattr, mode,
};
use bento_host::FileIo;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

const NAME_MAX: usize = 255;

/// A file system of type `FS` mounted on a [`SimDisk`].
///
/// Paths are bytes from the root; symbolic links are not followed. Everything is done as root.
/// As the file system may ask: the calls that change names are serialised, and pins are counted
/// exactly: unmounting while a [`File`] is open panics.
pub struct Sim<FS: FileSystem<SimEnv>> {
    disk: SimDisk,
    env: SimEnv,
    fs: Arc<FS>,
    io: FileIo<SimEnv, FS>,
    pins: Mutex<HashMap<Ino, u64>>,
    names: Mutex<()>,
    read_only: bool,
    options: Vec<u8>,
    /// Tells files of this mount from those of one before.
    mount_number: u64,
}

/// An open file; [`Sim::close`] ends it. One from before a crash answers `ESTALE`.
#[derive(Debug)]
#[must_use]
pub struct File {
    ino: Ino,
    mount_number: u64,
}

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

/// A pinned inode.
struct Pin<'a, FS: FileSystem<SimEnv>> {
    sim: &'a Sim<FS>,
    attr: Attr,
}

impl<FS: FileSystem<SimEnv>> Pin<'_, FS> {
    fn ino(&self) -> Ino {
        self.attr.ino
    }

    /// Hands the pin to an open file.
    fn into_file(self) -> File {
        let file = File {
            ino: self.ino(),
            mount_number: self.sim.mount_number,
        };
        std::mem::forget(self);
        file
    }
}

impl<FS: FileSystem<SimEnv>> Drop for Pin<'_, FS> {
    fn drop(&mut self) {
        self.sim.unpin(self.attr.ino);
    }
}

impl<FS: FileSystem<SimEnv>> Sim<FS> {
    /// Mounts what is on `disk`; clock and randomness start from `seed`.
    pub fn mount(disk: SimDisk, seed: u64) -> Result<Self> {
        Self::mount_with(disk, seed, &MountOptions::default())
    }

    /// Mounts with options.
    pub fn mount_with(disk: SimDisk, seed: u64, options: &MountOptions<'_>) -> Result<Self> {
        Self::mount_in(disk.clone(), SimEnv::new(disk, seed), options, 0)
    }

    fn mount_in(
        disk: SimDisk,
        env: SimEnv,
        options: &MountOptions<'_>,
        mount_number: u64,
    ) -> Result<Self> {
        let fs = Arc::new(FS::mount(env.clone(), options)?);
        Ok(Sim {
            disk,
            io: FileIo::new(env.clone(), Arc::clone(&fs))?,
            env,
            fs,
            pins: Mutex::default(),
            names: Mutex::default(),
            read_only: options.read_only,
            options: options.options.to_vec(),
            mount_number,
        })
    }

    /// Unmounts. Every file must have been closed.
    pub fn unmount(self) -> Result<SimDisk> {
        self.end()?;
        Ok(self.disk)
    }

    /// Unmounts and mounts again with the same options.
    pub fn remount(&mut self) -> Result<()> {
        self.end()?;
        self.start_on(self.disk.clone(), self.env.random())
    }

    /// Cuts the power and mounts what is left of the disk, see
    /// [`Recording::crash`](crate::Recording::crash). Open files are gone.
    pub fn crash(&mut self, seed: u64) -> Result<()> {
        let left = SimDisk::from_image(self.disk.crash_image(seed));
        self.start_on(left, seed)
    }

    fn end(&self) -> Result<()> {
        let pins = self.pins.lock();
        assert!(pins.is_empty(), "still pinned at unmount: {pins:?}");
        self.fs.unmount()
    }

    fn start_on(&mut self, disk: SimDisk, seed: u64) -> Result<()> {
        let options = MountOptions {
            read_only: self.read_only,
            options: &self.options,
        };
        let env = SimEnv::new(disk.clone(), seed);
        *self = Self::mount_in(disk, env, &options, self.mount_number + 1)?;
        Ok(())
    }

    /// The mounted file system.
    pub fn fs(&self) -> &FS {
        &self.fs
    }

    /// Its environment.
    pub fn env(&self) -> &SimEnv {
        &self.env
    }

    /// The disk that it is on.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Does what the file system wants done in the background. Calls that change something do it
    /// by themselves when it was asked for.
    pub fn background(&self) {
        self.env.take_background_due();
        self.fs.background();
    }

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
        let _names = self.names.lock();
        if self.fs.lookup(dir.ino(), name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.changed(self.fs.link(pin.ino(), dir.ino(), name))
            .map(drop)
    }

    /// Takes a name away from what is not a directory.
    pub fn unlink(&self, path: &[u8]) -> Result<()> {
        let (dir, name) = self.resolve_parent(path)?;
        let _pin = self.resolve(path)?;
        let _names = self.names.lock();
        self.changed(self.fs.unlink(dir.ino(), name)).map(drop)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, path: &[u8]) -> Result<()> {
        let (dir, name) = self.resolve_parent(path)?;
        let _pin = self.resolve(path)?;
        let _names = self.names.lock();
        self.changed(self.fs.rmdir(dir.ino(), name)).map(drop)
    }

    /// `renameat2(2)`, with the checks that the kernel makes before it asks a file system.
    pub fn rename(&self, from: &[u8], to: &[u8], flags: RenameFlags) -> Result<()> {
        let source = self.resolve(from)?;
        let (from_dir, from_name) = self.resolve_parent(from)?;
        let (to_dir, to_name) = self.resolve_parent(to)?;
        let target = match self.resolve(to) {
            Ok(target) => Some(target),
            Err(Errno::ENOENT) => None,
            Err(error) => return Err(error),
        };
        let _names = self.names.lock();
        let is_dir = |attr: &Attr| attr.kind() == FileKind::Directory;
        match (&target, flags) {
            (Some(_), RenameFlags::NoReplace) => return Err(Errno::EEXIST),
            (None, RenameFlags::Exchange) => return Err(Errno::ENOENT),
            _ => {}
        }
        if is_dir(&source.attr) && self.is_inside(to_dir.ino(), source.ino())? {
            return Err(Errno::EINVAL);
        }
        if let Some(target) = &target {
            if self.is_inside(from_dir.ino(), target.ino())? {
                let exchange = flags == RenameFlags::Exchange;
                return Err(if exchange {
                    Errno::EINVAL
                } else {
                    Errno::ENOTEMPTY
                });
            }
            if target.ino() == source.ino() {
                return Ok(());
            }
            match (flags, is_dir(&source.attr), is_dir(&target.attr)) {
                (RenameFlags::Replace, true, false) => return Err(Errno::ENOTDIR),
                (RenameFlags::Replace, false, true) => return Err(Errno::EISDIR),
                _ => {}
            }
        }
        self.changed(
            self.fs
                .rename(from_dir.ino(), from_name, to_dir.ino(), to_name, flags),
        )
        .map(drop)
    }

    /// All entries of a directory.
    pub fn readdir(&self, path: &[u8]) -> Result<Vec<Entry>> {
        self.readdir_from(path, 0, usize::MAX)
    }

    /// At most `count` entries of a directory from a cookie on.
    pub fn readdir_from(&self, path: &[u8], cookie: u64, count: usize) -> Result<Vec<Entry>> {
        let dir = self.resolve(path)?;
        let mut entries = Vec::new();
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

    /// Makes everything durable.
    pub fn sync(&self) -> Result<()> {
        self.fs.sync(true)
    }

    /// Opens the regular file at `path`.
    pub fn open(&self, path: &[u8]) -> Result<File> {
        let pin = self.resolve(path)?;
        match pin.attr.kind() {
            FileKind::Regular => Ok(pin.into_file()),
            FileKind::Directory => Err(Errno::EISDIR),
            FileKind::Symlink => Err(Errno::ELOOP),
            _ => Err(Errno::ENXIO),
        }
    }

    /// Closes a file.
    pub fn close(&self, file: File) {
        if file.mount_number == self.mount_number {
            self.unpin(file.ino);
        }
    }

    /// Attributes of an open file.
    pub fn fstat(&self, file: &File) -> Result<Attr> {
        self.fs.getattr(self.ino(file)?)
    }

    /// Up to `len` bytes from `offset_bytes` on.
    pub fn read(&self, file: &File, offset_bytes: u64, len: usize) -> Result<Vec<u8>> {
        let mut buffer = vec![0; len];
        let count = self.io.read(self.ino(file)?, offset_bytes, &mut buffer)?;
        buffer.truncate(count);
        Ok(buffer)
    }

    /// Writes, and returns how much there was space for.
    pub fn write(&self, file: &File, offset_bytes: u64, data: &[u8]) -> Result<usize> {
        let written = self
            .io
            .write(self.ino(file)?, offset_bytes, data, Some(self.env.now()));
        self.changed(written)
    }

    /// Sets the size of an open file.
    pub fn truncate(&self, file: &File, size_bytes: u64) -> Result<()> {
        let set = SetAttr {
            size_bytes: Some(size_bytes),
            ..SetAttr::default()
        };
        self.changed(self.io.setattr(self.ino(file)?, &set))
            .map(drop)
    }

    /// `fallocate(2)`.
    pub fn fallocate(
        &self,
        file: &File,
        mode: FallocateMode,
        offset_bytes: u64,
        len_bytes: u64,
    ) -> Result<()> {
        self.changed(
            self.io
                .fallocate(self.ino(file)?, mode, offset_bytes, len_bytes),
        )
    }

    /// `SEEK_DATA`.
    pub fn seek_data(&self, file: &File, offset_bytes: u64) -> Result<u64> {
        self.io.seek_data(self.ino(file)?, offset_bytes)
    }

    /// `SEEK_HOLE`.
    pub fn seek_hole(&self, file: &File, offset_bytes: u64) -> Result<u64> {
        self.io.seek_hole(self.ino(file)?, offset_bytes)
    }

    /// Makes an open file durable.
    pub fn fsync(&self, file: &File) -> Result<()> {
        self.changed(self.fs.fsync(self.ino(file)?, false))
    }

    /// Makes an open file's contents durable.
    pub fn fdatasync(&self, file: &File) -> Result<()> {
        self.changed(self.fs.fsync(self.ino(file)?, true))
    }

    /// Makes a directory, or anything else at `path`, durable.
    pub fn fsync_path(&self, path: &[u8]) -> Result<()> {
        let pin = self.resolve(path)?;
        self.changed(self.fs.fsync(pin.ino(), false))
    }

    /// All of the file at `path`.
    pub fn read_file(&self, path: &[u8]) -> Result<Vec<u8>> {
        let pin = self.resolve(path)?;
        let mut contents = vec![0; pin.attr.size_bytes as usize];
        let count = self.io.read(pin.ino(), 0, &mut contents)?;
        contents.truncate(count);
        Ok(contents)
    }

    /// Makes the file at `path`, or empties it, and writes `data`; `ENOSPC` if not all fits.
    pub fn write_file(&self, path: &[u8], data: &[u8]) -> Result<()> {
        let file = match self.open(path) {
            Err(Errno::ENOENT) => self.create(path, 0o644)?,
            opened => opened?,
        };
        let written = self
            .truncate(&file, 0)
            .and_then(|()| self.write(&file, 0, data));
        self.close(file);
        if written? < data.len() {
            Err(Errno::ENOSPC)
        } else {
            Ok(())
        }
    }

    fn ino(&self, file: &File) -> Result<Ino> {
        if file.mount_number == self.mount_number {
            Ok(file.ino)
        } else {
            Err(Errno::ESTALE)
        }
    }

    /// Background work that a change has asked for is done at once, so that a simulation does
    /// the same every time.
    fn changed<T>(&self, result: Result<T>) -> Result<T> {
        if self.env.take_background_due() {
            self.fs.background();
        }
        result
    }

    fn make(
        &self,
        path: &[u8],
        kind: FileKind,
        permissions: u16,
        rdev: u32,
        target: &[u8],
    ) -> Result<Pin<'_, FS>> {
        let (dir, name) = self.resolve_parent(path)?;
        let new = new_inode(kind, permissions, rdev, target);
        let _names = self.names.lock();
        let created = self.changed(self.fs.create(dir.ino(), name, &new))?;
        Ok(self.pinned(created.inode))
    }

    fn resolve(&self, path: &[u8]) -> Result<Pin<'_, FS>> {
        let mut at = self.pin(self.fs.root())?;
        for name in components(path) {
            at = self.step(&at, name)?;
        }
        Ok(at)
    }

    /// The directory that the last component of `path` is in, and that component.
    fn resolve_parent<'p>(&self, path: &'p [u8]) -> Result<(Pin<'_, FS>, &'p [u8])> {
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

    fn step(&self, at: &Pin<'_, FS>, name: &[u8]) -> Result<Pin<'_, FS>> {
        if at.attr.kind() != FileKind::Directory {
            return Err(Errno::ENOTDIR);
        }
        if name == b".." {
            return self.pin(self.fs.parent(at.ino())?);
        }
        check_name(name)?;
        self.pin(self.fs.lookup(at.ino(), name)?)
    }

    /// Whether `dir` is `outer` or somewhere in it.
    fn is_inside(&self, dir: Ino, outer: Ino) -> Result<bool> {
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

    fn pin(&self, ino: Ino) -> Result<Pin<'_, FS>> {
        Ok(self.pinned(self.fs.load(ino)?))
    }

    /// Counts a pin that the file system has given.
    fn pinned(&self, attr: Attr) -> Pin<'_, FS> {
        *self.pins.lock().entry(attr.ino).or_default() += 1;
        Pin { sim: self, attr }
    }

    fn unpin(&self, ino: Ino) {
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

fn new_inode(kind: FileKind, permissions: u16, rdev: u32, target: &[u8]) -> NewInode<'_> {
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
