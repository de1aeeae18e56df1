//! A file system that panics where it is told to.
//!
//! It has one file, `data`, which is the beginning of the device. With the mount option
//! `panic=OPERATION` that operation panics, with a lock held that every operation needs. Looking up
//! one of these names does what it says, and fails once the mount has:
//!
//! - `wait` waits for an event that never comes,
//! - `hold` does so with a lock held,
//! - `lock` waits for that lock,
//! - `panic` panics.

extern crate alloc;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bento_api::{
    Attr, Counter, Created, DirEntry, Env, Errno, Event, FileKind, FileSystem, Ino, Mapping,
    MappingKind, MountOptions, Mutex, NewInode, RenameFlags, Renamed, Result, SetAttr, StatFs,
    Time, Unlinked, Written,
};

const ROOT: Ino = Ino(1);
const DATA: Ino = Ino(2);
const DATA_NAME: &[u8] = b"data";
const DATA_BYTES: u64 = 1 << 20;

/// The cookie behind the only entry; those below 3 are the back end's.
const END: u64 = 4;

/// One mounted instance.
pub(crate) struct Faulty<E: Env> {
    /// The operation that panics, if any.
    panics_in: String,
    /// What every operation needs; after a panic nobody gets it again.
    all: E::Mutex<()>,
    /// What `hold` holds.
    held: E::Mutex<()>,
    /// What nobody notifies.
    never: E::Event,
}

impl<E: Env> Faulty<E> {
    /// The beginning of every operation.
    fn enter(&self, operation: &str) {
        let _guard = self.all.lock();
        self.panic_if_told(operation);
    }

    fn panic_if_told(&self, operation: &str) {
        if self.panics_in == operation {
            panic!("told to panic in {operation}");
        }
    }

    fn wait(&self) {
        self.never.wait(self.never.ticket());
    }

    fn whole(offset_bytes: u64, len_bytes: u64) -> Result<Mapping> {
        Ok(Mapping {
            offset_bytes,
            len_bytes,
            kind: MappingKind::Mapped {
                address_bytes: offset_bytes,
            },
        })
    }
}

impl<E: Env> Drop for Faulty<E> {
    fn drop(&mut self) {
        self.enter("destroy");
    }
}

/// Attributes that never change.
fn attr(ino: Ino) -> Attr {
    let time = Time {
        seconds: 0,
        nanoseconds: 0,
    };
    let (mode, nlink, size_bytes) = match ino {
        ROOT => (FileKind::Directory.mode_bits() | 0o755, 2, 0),
        _ => (FileKind::Regular.mode_bits() | 0o644, 1, DATA_BYTES),
    };
    Attr {
        ino,
        generation: 0,
        mode,
        nlink,
        uid: 0,
        gid: 0,
        rdev: 0,
        size_bytes,
        sectors: size_bytes / 512,
        atime: time,
        mtime: time,
        ctime: time,
        btime: time,
    }
}

impl<E: Env> FileSystem<E> for Faulty<E> {
    const NAME: &'static str = "faulty";
    const COUNTERS: &'static [Counter<Self>] = &[Counter::number("panics", |fs| {
        fs.enter("counter");
        0
    })];

    fn mount(_: E, options: &MountOptions<'_>) -> Result<Self> {
        let options = core::str::from_utf8(options.options).map_err(|_| Errno::EINVAL)?;
        let panics_in = options.strip_prefix("panic=").unwrap_or_default();
        let fs = Faulty {
            panics_in: panics_in.to_string(),
            all: Mutex::new(()),
            held: Mutex::new(()),
            never: Event::new(),
        };
        fs.enter("mount");
        Ok(fs)
    }

    fn unmount(&self) -> Result<()> {
        self.enter("unmount");
        Ok(())
    }

    fn remount(&self, _: &MountOptions<'_>) -> Result<()> {
        self.enter("remount");
        Ok(())
    }

    fn show_options(&self, _: &mut Vec<u8>) {
        self.enter("show_options");
    }

    fn root(&self) -> Ino {
        ROOT
    }

    fn statfs(&self) -> Result<StatFs> {
        self.enter("statfs");
        Ok(StatFs {
            block_bytes: 4096,
            name_max: 255,
            ..StatFs::default()
        })
    }

    fn sync(&self, _: bool) -> Result<()> {
        self.enter("sync");
        Ok(())
    }

    fn background(&self) -> u64 {
        self.enter("background");
        u64::MAX
    }

    fn shrink_count(&self) -> usize {
        1 << 20
    }

    fn shrink(&self, _: usize) -> usize {
        self.panic_if_told("shrink");
        0
    }

    fn load(&self, ino: Ino) -> Result<Attr> {
        if ino == DATA {
            self.enter("load");
        }
        Ok(attr(ino))
    }

    fn forget(&self, _: Ino) {
        self.enter("forget");
    }

    fn getattr(&self, ino: Ino) -> Result<Attr> {
        self.enter("getattr");
        Ok(attr(ino))
    }

    fn setattr(&self, ino: Ino, _: &SetAttr) -> Result<Attr> {
        self.enter("setattr");
        Ok(attr(ino))
    }

    fn lookup(&self, _: Ino, name: &[u8]) -> Result<Ino> {
        match name {
            DATA_NAME => {
                self.enter("lookup");
                return Ok(DATA);
            }
            b"wait" => self.wait(),
            b"hold" => {
                let _guard = self.held.lock();
                self.wait();
            }
            b"lock" => drop(self.held.lock()),
            b"panic" => panic!("told to panic by name"),
            _ => {}
        }
        Err(Errno::ENOENT)
    }

    fn parent(&self, _: Ino) -> Result<Ino> {
        Ok(ROOT)
    }

    fn create(&self, _: Ino, _: &[u8], _: &NewInode<'_>) -> Result<Created> {
        self.enter("create");
        Err(Errno::EPERM)
    }

    fn link(&self, _: Ino, _: Ino, _: &[u8]) -> Result<Created> {
        Err(Errno::EPERM)
    }

    fn unlink(&self, _: Ino, _: &[u8]) -> Result<Unlinked> {
        Err(Errno::EPERM)
    }

    fn rmdir(&self, _: Ino, _: &[u8]) -> Result<Unlinked> {
        Err(Errno::EPERM)
    }

    fn rename(&self, _: Ino, _: &[u8], _: Ino, _: &[u8], _: RenameFlags) -> Result<Renamed> {
        Err(Errno::EPERM)
    }

    fn readdir(
        &self,
        _: Ino,
        cookie: u64,
        emit: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()> {
        self.enter("readdir");
        if cookie < END {
            emit(&DirEntry {
                name: DATA_NAME,
                ino: DATA,
                dirent_type: FileKind::Regular.dirent_type(),
                next_cookie: END,
            });
        }
        Ok(())
    }

    fn readlink(&self, _: Ino, _: &mut Vec<u8>) -> Result<()> {
        Err(Errno::EINVAL)
    }

    fn listxattr(&self, _: Ino, _: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.enter("listxattr");
        Ok(())
    }

    fn map(&self, _: Ino, offset_bytes: u64, len_bytes: u64, _: bool) -> Result<Mapping> {
        self.enter("map");
        Self::whole(offset_bytes, len_bytes)
    }

    fn reserve(&self, _: Ino, offset_bytes: u64, len_bytes: u64) -> Result<Mapping> {
        self.enter("reserve");
        Self::whole(offset_bytes, len_bytes)
    }

    fn place(&self, _: Ino, offset_bytes: u64, len_bytes: u64) -> Result<Mapping> {
        self.enter("place");
        Self::whole(offset_bytes, len_bytes)
    }

    fn written(&self, _: Ino, _: &[Written<'_>], _: Option<Time>) -> Result<()> {
        self.enter("written");
        Ok(())
    }

    fn fsync(&self, _: Ino, _: bool) -> Result<()> {
        self.enter("fsync");
        Ok(())
    }
}
