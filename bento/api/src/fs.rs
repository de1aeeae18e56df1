//! The operations of a file system.

use crate::{Attr, Counter, Env, Errno, Ino, Mapping, Result, SetAttr, StatFs, Time};
use alloc::vec::Vec;
use core::ops::Range;

/// How to mount.
#[derive(Clone, Copy, Debug, Default)]
pub struct MountOptions<'a> {
    /// Nothing may be changed. Recovering a log changes nothing that applications see: a file system
    /// may do that if the device is writable.
    pub read_only: bool,
    /// The file system's own options: `name` or `name=value`, comma-separated. Those of the VFS
    /// are taken out before.
    pub options: &'a [u8],
}

/// An inode to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewInode<'a> {
    /// Kind and permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node; else 0.
    pub rdev: u32,
    /// Target of a symbolic link; else empty.
    pub target: &'a [u8],
    /// Extended attributes that the inode is born with, in one transaction: name and value.
    pub xattrs: &'a [(&'a [u8], &'a [u8])],
}

/// What creating (or linking) changed.
#[derive(Clone, Copy, Debug)]
pub struct Created {
    /// The inode that got the name.
    pub inode: Attr,
    /// The directory.
    pub dir: Attr,
}

/// What unlinking changed.
#[derive(Clone, Copy, Debug)]
pub struct Unlinked {
    /// The inode that lost the name; `nlink` 0 if it was the last one.
    pub inode: Attr,
    /// The directory.
    pub dir: Attr,
}

/// What renaming changed.
#[derive(Clone, Copy, Debug)]
pub struct Renamed {
    /// The directory that the name was in.
    pub from_dir: Attr,
    /// The directory that the name is in now.
    pub to_dir: Attr,
    /// The inode that was renamed.
    pub inode: Attr,
    /// The inode that stood under the new name: replaced, or exchanged.
    pub target: Option<Attr>,
}

/// What `renameat2(2)` is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameFlags {
    /// Replace what stands under the new name.
    Replace,
    /// Fail with `EEXIST` if something stands under the new name.
    NoReplace,
    /// Swap the two.
    Exchange,
}

/// Whether the attribute may, must or must not exist already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetXattr {
    /// Create or replace.
    Any,
    /// `EEXIST` if it exists.
    Create,
    /// `ENODATA` if it doesn't.
    Replace,
}

/// What `fallocate(2)` is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallocateMode {
    /// Set space aside; the file grows to the end of the range unless `keep_size`.
    Allocate {
        /// Leave the size as it is.
        keep_size: bool,
    },
    /// Make the range a hole. The size stays.
    Punch,
    /// Make the range read as zeros, with space set aside.
    Zero {
        /// Leave the size as it is.
        keep_size: bool,
    },
}

/// A directory entry.
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// The name's bytes: anything but `/` and NUL.
    pub name: &'a [u8],
    /// The inode.
    pub ino: Ino,
    /// Its `d_type`.
    pub dirent_type: u8,
    /// Where a later call goes on, behind this entry. Stable as long as the directory exists.
    /// Above 2 and below 2^63: 0, 1 and 2 are the back end's for the start, `.` and `..`.
    pub next_cookie: u64,
}

/// The end of data I/O to a range that [`FileSystem::place`] has given addresses.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// First byte in the file, block aligned.
    pub offset_bytes: u64,
    /// Length in bytes, block aligned.
    pub len_bytes: u64,
    /// How the I/O ended. After an error the range keeps its old contents.
    pub result: Result<()>,
    /// The file's size is at least this from now on (the end of the data, cut to the file's size
    /// in memory); 0 says nothing.
    pub size_bytes: u64,
    /// CRC-32C of each block of the range as it was sent to the device, or empty if unknown
    /// (direct I/O from memory that the application may still change).
    pub checksums: &'a [u32],
}

/// A part of a file whose data lies elsewhere now, though its contents are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The file, which need not be pinned.
    pub ino: Ino,
    /// First byte, block aligned.
    pub offset_bytes: u64,
    /// Length in bytes, block aligned.
    pub len_bytes: u64,
}

/// Parts of files that one call of [`FileSystem::clean`] moves at most.
pub const MOVED_MAX: usize = 256;

/// A file system. All methods may be called from many threads at once, but for one inode the
/// back end serialises those that change a directory, and truncation, `fallocate` and direct
/// writes against all other changes of the same file.
///
/// Names are bytes without `/` and NUL, 1 to 255 of them, never `.` or `..`: the back end
/// checks. Methods with a default body are optional.
///
/// Without a device ([`NEEDS_DEVICE`](FileSystem::NEEDS_DEVICE) false) the back end keeps the
/// contents of files itself. It calls none of [`map`](FileSystem::map),
/// [`reserve`](FileSystem::reserve), [`unreserve`](FileSystem::unreserve) and
/// [`place`](FileSystem::place), and tells a file's size by [`written`](FileSystem::written) and
/// [`setattr`](FileSystem::setattr).
///
/// # Inodes in memory
/// [`load`](FileSystem::load), [`create`](FileSystem::create) and
/// [`tmpfile`](FileSystem::tmpfile) pin an inode; each pin ends with
/// [`forget`](FileSystem::forget). Every other method that takes an [`Ino`] is called with a pinned
/// one only. An inode without names lives until its last pin goes.
pub trait FileSystem<E: Env>: Send + Sync + Sized + 'static {
    /// The name for `mount -t`.
    const NAME: &'static str;
    /// Whether it lives on a block device.
    const NEEDS_DEVICE: bool = true;
    /// What can be read of a mount at any time, for whoever watches it: in the kernel a file each in
    /// `/sys/fs/NAME/DEVICE`, if there is a device.
    const COUNTERS: &'static [Counter<Self>] = &[];

    /// Mounts: recovers what is to be recovered and gets ready.
    fn mount(env: E, options: &MountOptions<'_>) -> Result<Self>;

    /// Writes everything out and leaves the device clean. The last call on this instance.
    fn unmount(&self) -> Result<()>;

    /// Changes options of a mounted file system. Going read-only first makes everything durable.
    fn remount(&self, options: &MountOptions<'_>) -> Result<()> {
        let _ = options;
        Ok(())
    }

    /// The options in force, as [`MountOptions::options`] would take them, for `/proc/mounts`.
    fn show_options(&self, out: &mut Vec<u8>) {
        let _ = out;
    }

    /// The root directory.
    fn root(&self) -> Ino;

    /// Space and limits.
    fn statfs(&self) -> Result<StatFs>;

    /// Makes all metadata durable (the back end has written the data). With `wait` false it may
    /// merely be started.
    fn sync(&self, wait: bool) -> Result<()>;

    /// Makes everything durable and leaves the device as a clean unmount would, until
    /// [`thaw`](FileSystem::thaw). The back end lets nothing change in between.
    fn freeze(&self) -> Result<()> {
        self.sync(true)
    }

    /// Ends [`freeze`](FileSystem::freeze). That can't be refused: a file system whose device fails
    /// now shuts down.
    fn thaw(&self) {}

    /// Does what is due in the background (commits, checkpoints) and returns in how many
    /// milliseconds it wants to be called again.
    fn background(&self) -> u64 {
        u64::MAX
    }

    /// Moves data together to make room, a bounded piece of work, or names what was overwritten while
    /// there were [`reads_under_way`](Env::reads_under_way). Returns in how many milliseconds it wants
    /// to be called again; `u64::MAX` if there is nothing to do now, and then it is called with
    /// [`background`](FileSystem::background) again. Of what it has added to `moved`,
    /// at most [`MOVED_MAX`], the old addresses may be used for something else from the next call on:
    /// before that, the back end waits until no read is under way that got its address before this
    /// call was over, and forgets addresses that it keeps. Calls do not overlap, and none comes while
    /// frozen.
    fn clean(&self, moved: &mut Vec<Moved>) -> u64 {
        let _ = moved;
        u64::MAX
    }

    /// Tells the device that what is free in a range of its bytes holds nothing of worth, as far as
    /// that is for good, and in runs of at least `min_bytes`. Returns how many bytes it was.
    fn trim(&self, range_bytes: Range<u64>, min_bytes: u64) -> Result<u64> {
        let _ = (range_bytes, min_bytes);
        Err(Errno::EOPNOTSUPP)
    }

    /// How many cached objects could be given back now.
    fn shrink_count(&self) -> usize {
        0
    }

    /// Gives up to `count` cached objects back and returns how many it was. Must not wait for I/O.
    fn shrink(&self, count: usize) -> usize {
        let _ = count;
        0
    }

    /// From now on everything fails with `EIO` and nothing more is written.
    fn shutdown(&self) {}

    /// Pins an inode. `ENOENT` or `ESTALE` if there is none of this number.
    fn load(&self, ino: Ino) -> Result<Attr>;

    /// Ends a pin. The last one of an inode without names frees it.
    fn forget(&self, ino: Ino);

    /// The inode's attributes now. `sectors` counts reserved space too.
    fn getattr(&self, ino: Ino) -> Result<Attr>;

    /// Changes attributes and returns all of them.
    fn setattr(&self, ino: Ino, set: &SetAttr) -> Result<Attr>;

    /// The inode that stands under a name; `ENOENT` if none does.
    fn lookup(&self, dir: Ino, name: &[u8]) -> Result<Ino>;

    /// The directory that `dir` is in (the root for the root).
    fn parent(&self, dir: Ino) -> Result<Ino>;

    /// Makes a file of any kind and pins it. `EEXIST` if the name is taken.
    fn create(&self, dir: Ino, name: &[u8], new: &NewInode<'_>) -> Result<Created>;

    /// Makes a regular file without a name and pins it.
    fn tmpfile(&self, dir: Ino, new: &NewInode<'_>) -> Result<Attr> {
        let _ = (dir, new);
        Err(Errno::EOPNOTSUPP)
    }

    /// Gives an inode one more name.
    fn link(&self, ino: Ino, dir: Ino, name: &[u8]) -> Result<Created>;

    /// Takes a name from something that is not a directory (`EISDIR`).
    fn unlink(&self, dir: Ino, name: &[u8]) -> Result<Unlinked>;

    /// Removes an empty directory (`ENOTDIR`, `ENOTEMPTY`).
    fn rmdir(&self, dir: Ino, name: &[u8]) -> Result<Unlinked>;

    /// Moves a name. The back end has made sure that no directory moves into itself.
    fn rename(
        &self,
        from_dir: Ino,
        from_name: &[u8],
        to_dir: Ino,
        to_name: &[u8],
        flags: RenameFlags,
    ) -> Result<Renamed>;

    /// Hands entries from `cookie` on (0: the first) to `emit` until it answers false. `.` and
    /// `..` are the back end's.
    fn readdir(
        &self,
        dir: Ino,
        cookie: u64,
        emit: &mut dyn FnMut(&DirEntry<'_>) -> bool,
    ) -> Result<()>;

    /// Appends the target of a symbolic link to `target`.
    fn readlink(&self, ino: Ino, target: &mut Vec<u8>) -> Result<()>;

    /// Appends the value of an extended attribute to `value`; `ENODATA` if there is none. Names
    /// carry their prefix (`user.`, `trusted.`, `security.`, `system.`).
    fn getxattr(&self, ino: Ino, name: &[u8], value: &mut Vec<u8>) -> Result<()> {
        let _ = (ino, name, value);
        Err(Errno::EOPNOTSUPP)
    }

    /// Sets an extended attribute; `None` removes it.
    fn setxattr(&self, ino: Ino, name: &[u8], value: Option<&[u8]>, how: SetXattr) -> Result<Attr> {
        let _ = (ino, name, value, how);
        Err(Errno::EOPNOTSUPP)
    }

    /// Hands the name of each extended attribute to `emit`.
    fn listxattr(&self, ino: Ino, emit: &mut dyn FnMut(&[u8])) -> Result<()> {
        let _ = (ino, emit);
        Ok(())
    }

    /// What the file is made of at `offset_bytes`: one mapping that starts at or before it, holds
    /// it, and need not go further than `len_bytes`. Reserved ranges, and placed ones that are not
    /// written yet, show as [`Delayed`](crate::MappingKind::Delayed) if `with_delayed`, else as
    /// what lies on the device.
    fn map(
        &self,
        ino: Ino,
        offset_bytes: u64,
        len_bytes: u64,
        with_delayed: bool,
    ) -> Result<Mapping> {
        let _ = (ino, offset_bytes, len_bytes, with_delayed);
        Err(Errno::EOPNOTSUPP)
    }

    /// Reserves space for a write into the blocks of this range (`ENOSPC` if there is none), so
    /// that [`place`](FileSystem::place) can't fail for want of space, and returns what lies on
    /// the device there now, like [`map`](FileSystem::map): the blocks of that mapping which are in
    /// the range are now reserved. Blocks that are reserved already are not reserved again.
    fn reserve(&self, ino: Ino, offset_bytes: u64, len_bytes: u64) -> Result<Mapping> {
        let _ = (ino, offset_bytes, len_bytes);
        Err(Errno::EOPNOTSUPP)
    }

    /// Gives back reservations in a range whose data will not be written after all.
    fn unreserve(&self, ino: Ino, offset_bytes: u64, len_bytes: u64) {
        let _ = (ino, offset_bytes, len_bytes);
    }

    /// Gives reserved blocks from `offset_bytes` on, at most `len_bytes`, an address to be written
    /// to: always a [`Mapped`](crate::MappingKind::Mapped) range that starts at `offset_bytes`.
    /// Readers see the old contents until [`written`](FileSystem::written).
    fn place(&self, ino: Ino, offset_bytes: u64, len_bytes: u64) -> Result<Mapping> {
        let _ = (ino, offset_bytes, len_bytes);
        Err(Errno::EOPNOTSUPP)
    }

    /// The I/O to placed blocks has ended in these parts of a file, which do not overlap: makes the new
    /// blocks the file's contents where it went well, and stores `mtime` (as `ctime` too) with them. An
    /// error is the first of doing so; other parts may have become the contents all the same. Those of
    /// the I/O are known to the caller.
    fn written(&self, ino: Ino, parts: &[Written<'_>], mtime: Option<Time>) -> Result<()>;

    /// Sets space aside, punches holes, zeroes. The blocks that the range touches are set aside,
    /// those that lie wholly inside are unmapped or unwritten; the back end zeroes the rest of a
    /// partial block itself. Unless the size is to be kept, it becomes at least the range's end.
    fn fallocate(
        &self,
        ino: Ino,
        mode: FallocateMode,
        offset_bytes: u64,
        len_bytes: u64,
    ) -> Result<Attr> {
        let _ = (ino, mode, offset_bytes, len_bytes);
        Err(Errno::EOPNOTSUPP)
    }

    /// Makes an inode durable: what is mapped, its size, and unless `data_only` everything else.
    /// The back end has written the data. Costs nothing if nothing changed.
    fn fsync(&self, ino: Ino, data_only: bool) -> Result<()>;
}
