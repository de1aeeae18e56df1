//! A file system in memory, for those who write their first one. It has no device, so the back
//! end keeps the contents of files (the kernel in its page cache) and tells only their size; all
//! else is a table of `Node`s behind one lock of the environment, be it kernel, FUSE or simulator.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{collections::BTreeMap, vec::Vec};
use bento_api::{
    Attr, Created, DirEntry, Env, Errno, FileKind, FileSystem, Ino, MountOptions, Mutex, NewInode,
    RenameFlags, Renamed, Result, SetAttr, SetTime, StatFs, Time, Unlinked, Written, mode,
};

/// The first number given: as cookies, those below are the back end's.
const ROOT: Ino = Ino(3);
const DIR: u16 = FileKind::Directory.mode_bits();

/// One mounted instance.
pub struct MemFs<E: Env> {
    env: E,
    /// A kernel mutex in the kernel, a user-space one over FUSE.
    nodes: E::Mutex<Nodes>,
}

/// An inode. It is in the table while it has a name (`attr.nlink`) or a pin.
struct Node {
    attr: Attr,
    pins: u64,
    /// Target of a symbolic link; else empty.
    target: Vec<u8>,
    /// The directory that a directory is in.
    parent: Ino,
    /// What is in a directory: name and inode by `readdir` cookie, oldest first.
    entries: BTreeMap<u64, (Vec<u8>, Ino)>,
}

struct Nodes {
    by_ino: BTreeMap<Ino, Node>,
    /// The last inode number or cookie given. None is used twice, so that cookies stay good.
    last_number: u64,
}

impl Nodes {
    /// An inode with one pin and no name yet; a directory counts itself.
    fn insert(&mut self, new: &NewInode<'_>, now: Time) -> Ino {
        self.last_number += 1;
        let attr = Attr {
            ino: Ino(self.last_number),
            mode: new.mode,
            nlink: if new.mode & mode::KIND_MASK == DIR { 2 } else { 0 },
            uid: new.uid,
            gid: new.gid,
            rdev: new.rdev,
            size_bytes: new.target.len() as u64,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            generation: 0,
            sectors: 0,
        };
        let (target, entries) = (new.target.to_vec(), BTreeMap::new());
        self.by_ino.insert(attr.ino, Node { attr, pins: 1, target, parent: ROOT, entries });
        attr.ino
    }

    fn get(&mut self, ino: Ino) -> Result<&mut Node> {
        self.by_ino.get_mut(&ino).ok_or(Errno::ESTALE)
    }

    fn attr(&mut self, ino: Ino) -> Result<Attr> {
        Ok(self.get(ino)?.attr)
    }

    fn dir(&mut self, ino: Ino) -> Result<&mut Node> {
        let node = self.get(ino)?;
        if node.attr.mode & mode::KIND_MASK == DIR { Ok(node) } else { Err(Errno::ENOTDIR) }
    }

    fn lookup(&mut self, dir: Ino, name: &[u8]) -> Result<Ino> {
        let mut entries = self.dir(dir)?.entries.values();
        entries.find(|entry| entry.0 == name).map(|entry| entry.1).ok_or(Errno::ENOENT)
    }

    /// Gives an inode a name.
    fn attach(&mut self, dir: Ino, name: &[u8], ino: Ino, now: Time) -> Result<Attr> {
        self.last_number += 1;
        let cookie = self.last_number;
        self.dir(dir)?.entries.insert(cookie, (name.to_vec(), ino));
        self.get(ino)?.parent = dir;
        self.count_name(dir, ino, 1, now)
    }

    /// Takes a name away.
    fn detach(&mut self, dir: Ino, name: &[u8], now: Time) -> Result<Attr> {
        let ino = self.lookup(dir, name)?;
        self.dir(dir)?.entries.retain(|_, entry| entry.0 != name);
        self.count_name(dir, ino, -1, now)
    }

    /// A file counts its names; a directory's name counts in its parent, for the `..` in it.
    fn count_name(&mut self, dir: Ino, ino: Ino, change: i32, now: Time) -> Result<Attr> {
        let counted = if self.dir(ino).is_ok() { dir } else { ino };
        let nlink = &mut self.get(counted)?.attr.nlink;
        *nlink = nlink.saturating_add_signed(change);
        let parent = &mut self.get(dir)?.attr;
        (parent.mtime, parent.ctime) = (now, now);
        self.get(ino)?.attr.ctime = now;
        self.attr(ino)
    }

    /// Takes a name away for good, from a directory or from something else as `is_dir` says.
    fn remove(&mut self, dir: Ino, name: &[u8], is_dir: bool, now: Time) -> Result<Unlinked> {
        let ino = self.lookup(dir, name)?;
        match self.dir(ino) {
            Ok(_) if !is_dir => return Err(Errno::EISDIR),
            Err(error) if is_dir => return Err(error),
            Ok(node) if !node.entries.is_empty() => return Err(Errno::ENOTEMPTY),
            // A directory has no other name: it goes.
            Ok(node) => node.attr.nlink = 0,
            Err(_) => {}
        }
        let inode = self.detach(dir, name, now)?;
        self.forget(ino, 0);
        Ok(Unlinked { inode, dir: self.attr(dir)? })
    }

    /// Ends pins. An inode without names ends with its last one.
    fn forget(&mut self, ino: Ino, pins: u64) {
        let Ok(node) = self.get(ino) else { return };
        node.pins = node.pins.saturating_sub(pins);
        if node.pins == 0 && node.attr.nlink == 0 {
            self.by_ino.remove(&ino);
        }
    }
}

impl<E: Env> FileSystem<E> for MemFs<E> {
    const NAME: &'static str = "memfs";
    const NEEDS_DEVICE: bool = false;

    fn mount(env: E, _options: &MountOptions<'_>) -> Result<Self> {
        let mut nodes = Nodes { by_ino: BTreeMap::new(), last_number: ROOT.0 - 1 };
        let root = NewInode { mode: 0o40755, uid: 0, gid: 0, rdev: 0, target: b"", xattrs: &[] };
        nodes.insert(&root, env.now());
        Ok(MemFs { env, nodes: E::Mutex::new(nodes) })
    }

    fn unmount(&self) -> Result<()> {
        Ok(())
    }

    fn root(&self) -> Ino {
        ROOT
    }

    /// Without limits there is nothing to count.
    fn statfs(&self) -> Result<StatFs> {
        Ok(StatFs { block_bytes: 4096, name_max: 255, ..StatFs::default() })
    }

    fn sync(&self, _wait: bool) -> Result<()> {
        Ok(())
    }

    fn load(&self, ino: Ino) -> Result<Attr> {
        let mut nodes = self.nodes.lock();
        nodes.get(ino)?.pins += 1;
        nodes.attr(ino)
    }

    fn forget(&self, ino: Ino) {
        self.nodes.lock().forget(ino, 1);
    }

    fn getattr(&self, ino: Ino) -> Result<Attr> {
        self.nodes.lock().attr(ino)
    }

    fn setattr(&self, ino: Ino, set: &SetAttr) -> Result<Attr> {
        let (mut nodes, now) = (self.nodes.lock(), self.env.now());
        let time = |set, old| match set {
            None => old,
            Some(SetTime::Now) => now,
            Some(SetTime::To(time)) => time,
        };
        let attr = &mut nodes.get(ino)?.attr;
        let mode = set.mode.unwrap_or(attr.mode) & mode::PERMISSION_MASK;
        attr.mode = attr.mode & mode::KIND_MASK | mode;
        attr.uid = set.uid.unwrap_or(attr.uid);
        attr.gid = set.gid.unwrap_or(attr.gid);
        attr.size_bytes = set.size_bytes.unwrap_or(attr.size_bytes);
        attr.atime = time(set.atime, attr.atime);
        attr.mtime = time(set.mtime, attr.mtime);
        attr.ctime = time(set.ctime, now);
        Ok(*attr)
    }

    fn lookup(&self, dir: Ino, name: &[u8]) -> Result<Ino> {
        self.nodes.lock().lookup(dir, name)
    }

    fn parent(&self, dir: Ino) -> Result<Ino> {
        Ok(self.nodes.lock().dir(dir)?.parent)
    }

    fn create(&self, dir: Ino, name: &[u8], new: &NewInode<'_>) -> Result<Created> {
        let (mut nodes, now) = (self.nodes.lock(), self.env.now());
        if nodes.lookup(dir, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let ino = nodes.insert(new, now);
        Ok(Created { inode: nodes.attach(dir, name, ino, now)?, dir: nodes.attr(dir)? })
    }

    fn link(&self, ino: Ino, dir: Ino, name: &[u8]) -> Result<Created> {
        let (mut nodes, now) = (self.nodes.lock(), self.env.now());
        if nodes.lookup(dir, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        Ok(Created { inode: nodes.attach(dir, name, ino, now)?, dir: nodes.attr(dir)? })
    }

    fn unlink(&self, dir: Ino, name: &[u8]) -> Result<Unlinked> {
        self.nodes.lock().remove(dir, name, false, self.env.now())
    }

    fn rmdir(&self, dir: Ino, name: &[u8]) -> Result<Unlinked> {
        self.nodes.lock().remove(dir, name, true, self.env.now())
    }

    fn rename(
        &self, from_dir: Ino, from: &[u8], to_dir: Ino, to: &[u8], flags: RenameFlags,
    ) -> Result<Renamed> {
        let (mut nodes, now, mut target) = (self.nodes.lock(), self.env.now(), None);
        let ino = nodes.lookup(from_dir, from)?;
        match (nodes.lookup(to_dir, to), flags) {
            (Ok(_), RenameFlags::NoReplace) => return Err(Errno::EEXIST),
            (Err(error), RenameFlags::Exchange) => return Err(error),
            // rename(2) leaves two names of one inode as they are.
            (Ok(other), _) if other == ino => target = Some(nodes.attr(ino)?),
            (Ok(other), RenameFlags::Exchange) => {
                nodes.detach(from_dir, from, now)?;
                nodes.detach(to_dir, to, now)?;
                nodes.attach(to_dir, to, ino, now)?;
                target = Some(nodes.attach(from_dir, from, other, now)?);
            }
            (other, _) => {
                if other.is_ok() {
                    let is_dir = nodes.dir(ino).is_ok();
                    target = Some(nodes.remove(to_dir, to, is_dir, now)?.inode);
                }
                nodes.detach(from_dir, from, now)?;
                nodes.attach(to_dir, to, ino, now)?;
            }
        }
        let (from_dir, to_dir) = (nodes.attr(from_dir)?, nodes.attr(to_dir)?);
        Ok(Renamed { from_dir, to_dir, inode: nodes.attr(ino)?, target })
    }

    /// Leaves the lock before each `emit`, which may sleep or ask this file system something.
    fn readdir(
        &self, dir: Ino, mut cookie: u64, emit: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        loop {
            let mut nodes = self.nodes.lock();
            let Some(entry) = nodes.dir(dir)?.entries.range(cookie..).next() else {
                return Ok(());
            };
            let (name, ino) = entry.1.clone();
            cookie = entry.0 + 1;
            let dirent_type = nodes.attr(ino)?.kind().dirent_type();
            drop(nodes);
            if !emit(&DirEntry { name: &name, ino, dirent_type, next_cookie: cookie }) {
                return Ok(());
            }
        }
    }

    fn readlink(&self, ino: Ino, target: &mut Vec<u8>) -> Result<()> {
        target.extend_from_slice(&self.nodes.lock().get(ino)?.target);
        Ok(())
    }

    /// The back end keeps the data; its size and the time of the change come here.
    fn written(&self, ino: Ino, parts: &[Written<'_>], mtime: Option<Time>) -> Result<()> {
        let mut nodes = self.nodes.lock();
        let attr = &mut nodes.get(ino)?.attr;
        for part in parts {
            attr.size_bytes = attr.size_bytes.max(part.size_bytes);
        }
        attr.mtime = mtime.unwrap_or(attr.mtime);
        attr.ctime = mtime.unwrap_or(attr.ctime);
        Ok(())
    }

    fn fsync(&self, _: Ino, _: bool) -> Result<()> {
        Ok(())
    }
}
