//! The messages of the FUSE protocol, version 7.39, as in the kernel's `linux/fuse.h`.

use bytemuck::{Pod, Zeroable};

pub(crate) const MAJOR: u32 = 7;
pub(crate) const MINOR: u32 = 39;
/// Older kernels lack extended `SETXATTR` and `HANDLE_KILLPRIV_V2` (Linux 5.12).
pub(crate) const MINOR_MIN: u32 = 33;
/// The root directory's node id, whatever its inode number is.
pub(crate) const ROOT_ID: u64 = 1;

pub(crate) mod opcode {
    pub(crate) const LOOKUP: u32 = 1;
    pub(crate) const FORGET: u32 = 2;
    pub(crate) const GETATTR: u32 = 3;
    pub(crate) const SETATTR: u32 = 4;
    pub(crate) const READLINK: u32 = 5;
    pub(crate) const SYMLINK: u32 = 6;
    pub(crate) const MKNOD: u32 = 8;
    pub(crate) const MKDIR: u32 = 9;
    pub(crate) const UNLINK: u32 = 10;
    pub(crate) const RMDIR: u32 = 11;
    pub(crate) const RENAME: u32 = 12;
    pub(crate) const LINK: u32 = 13;
    pub(crate) const READ: u32 = 15;
    pub(crate) const WRITE: u32 = 16;
    pub(crate) const STATFS: u32 = 17;
    pub(crate) const FSYNC: u32 = 20;
    pub(crate) const SETXATTR: u32 = 21;
    pub(crate) const GETXATTR: u32 = 22;
    pub(crate) const LISTXATTR: u32 = 23;
    pub(crate) const REMOVEXATTR: u32 = 24;
    pub(crate) const INIT: u32 = 26;
    pub(crate) const READDIR: u32 = 28;
    pub(crate) const FSYNCDIR: u32 = 30;
    pub(crate) const CREATE: u32 = 35;
    pub(crate) const DESTROY: u32 = 38;
    pub(crate) const BATCH_FORGET: u32 = 42;
    pub(crate) const FALLOCATE: u32 = 43;
    pub(crate) const READDIRPLUS: u32 = 44;
    pub(crate) const RENAME2: u32 = 45;
    pub(crate) const LSEEK: u32 = 46;
    pub(crate) const SYNCFS: u32 = 50;
    pub(crate) const TMPFILE: u32 = 51;
    pub(crate) const STATX: u32 = 52;
}

/// Bits of `INIT`'s flags.
pub(crate) mod init {
    pub(crate) const ASYNC_READ: u32 = 1 << 0;
    pub(crate) const EXPORT_SUPPORT: u32 = 1 << 4;
    pub(crate) const BIG_WRITES: u32 = 1 << 5;
    pub(crate) const DONT_MASK: u32 = 1 << 6;
    pub(crate) const DO_READDIRPLUS: u32 = 1 << 13;
    pub(crate) const READDIRPLUS_AUTO: u32 = 1 << 14;
    pub(crate) const ASYNC_DIO: u32 = 1 << 15;
    pub(crate) const WRITEBACK_CACHE: u32 = 1 << 16;
    pub(crate) const NO_OPEN_SUPPORT: u32 = 1 << 17;
    pub(crate) const PARALLEL_DIROPS: u32 = 1 << 18;
    pub(crate) const POSIX_ACL: u32 = 1 << 20;
    pub(crate) const MAX_PAGES: u32 = 1 << 22;
    pub(crate) const CACHE_SYMLINKS: u32 = 1 << 23;
    pub(crate) const NO_OPENDIR_SUPPORT: u32 = 1 << 24;
    pub(crate) const HANDLE_KILLPRIV_V2: u32 = 1 << 28;
    pub(crate) const SETXATTR_EXT: u32 = 1 << 29;
}

/// Bits of [`SetattrIn::valid`].
pub(crate) mod fattr {
    pub(crate) const MODE: u32 = 1 << 0;
    pub(crate) const UID: u32 = 1 << 1;
    pub(crate) const GID: u32 = 1 << 2;
    pub(crate) const SIZE: u32 = 1 << 3;
    pub(crate) const ATIME: u32 = 1 << 4;
    pub(crate) const MTIME: u32 = 1 << 5;
    pub(crate) const ATIME_NOW: u32 = 1 << 7;
    pub(crate) const MTIME_NOW: u32 = 1 << 8;
    pub(crate) const CTIME: u32 = 1 << 10;
    pub(crate) const KILL_SUIDGID: u32 = 1 << 11;
}

/// Bits of [`WriteIn::write_flags`].
pub(crate) mod write {
    pub(crate) const CACHE: u32 = 1 << 0;
    pub(crate) const KILL_SUIDGID: u32 = 1 << 2;
}

/// Bit of [`SetxattrIn::setxattr_flags`].
pub(crate) const SETXATTR_ACL_KILL_SGID: u32 = 1 << 0;
/// Bit of [`GetattrIn::flags`]: asked for an open file.
pub(crate) const GETATTR_FH: u32 = 1 << 0;
/// Bit of [`FsyncIn::fsync_flags`].
pub(crate) const FSYNC_FDATASYNC: u32 = 1 << 0;

/// Defines messages: plain data without padding, all fields open to this crate.
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug, Pod, Zeroable)]
            pub(crate) struct $name { $(pub(crate) $field: $type,)* }
        )*
    };
}

messages! {
    InHeader {
        len: u32, opcode: u32, unique: u64, nodeid: u64, uid: u32, gid: u32, pid: u32,
        total_extlen: u16, padding: u16,
    }
    GetattrIn { flags: u32, dummy: u32, fh: u64, }
    OutHeader { len: u32, error: i32, unique: u64, }

    Attr {
        ino: u64, size: u64, blocks: u64, atime: u64, mtime: u64, ctime: u64,
        atimensec: u32, mtimensec: u32, ctimensec: u32, mode: u32, nlink: u32, uid: u32,
        gid: u32, rdev: u32, blksize: u32, flags: u32,
    }
    EntryOut {
        nodeid: u64, generation: u64, entry_valid: u64, attr_valid: u64,
        entry_valid_nsec: u32, attr_valid_nsec: u32, attr: Attr,
    }
    AttrOut { attr_valid: u64, attr_valid_nsec: u32, dummy: u32, attr: Attr, }
    OpenOut { fh: u64, open_flags: u32, backing_id: i32, }
    StatxTime { seconds: i64, nanoseconds: u32, reserved: i32, }
    Statx {
        mask: u32, blksize: u32, attributes: u64, nlink: u32, uid: u32, gid: u32, mode: u16,
        spare0: u16, ino: u64, size: u64, blocks: u64, attributes_mask: u64, atime: StatxTime,
        btime: StatxTime, ctime: StatxTime, mtime: StatxTime, rdev_major: u32, rdev_minor: u32,
        dev_major: u32, dev_minor: u32, spare2: [u64; 14],
    }
    StatxOut { attr_valid: u64, attr_valid_nsec: u32, flags: u32, spare: [u64; 2], stat: Statx, }
    StatfsOut {
        blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64, bsize: u32, namelen: u32,
        frsize: u32, padding: u32, spare: [u32; 6],
    }
    WriteOut { size: u32, padding: u32, }
    GetxattrOut { size: u32, padding: u32, }
    LseekOut { offset: u64, }
    Dirent { ino: u64, off: u64, namelen: u32, kind: u32, }
    InitOut {
        major: u32, minor: u32, max_readahead: u32, flags: u32, max_background: u16,
        congestion_threshold: u16, max_write: u32, time_gran: u32, max_pages: u16,
        map_alignment: u16, flags2: u32, max_stack_depth: u32, unused: [u32; 6],
    }

    InitIn { major: u32, minor: u32, max_readahead: u32, flags: u32, }
    ForgetIn { nlookup: u64, }
    ForgetOne { nodeid: u64, nlookup: u64, }
    BatchForgetIn { count: u32, dummy: u32, }
    SetattrIn {
        valid: u32, padding: u32, fh: u64, size: u64, lock_owner: u64, atime: u64, mtime: u64,
        ctime: u64, atimensec: u32, mtimensec: u32, ctimensec: u32, mode: u32, unused4: u32,
        uid: u32, gid: u32, unused5: u32,
    }
    MknodIn { mode: u32, rdev: u32, umask: u32, padding: u32, }
    MkdirIn { mode: u32, umask: u32, }
    RenameIn { newdir: u64, }
    Rename2In { newdir: u64, flags: u32, padding: u32, }
    LinkIn { oldnodeid: u64, }
    CreateIn { flags: u32, mode: u32, umask: u32, open_flags: u32, }
    /// Also that of `READDIR` and `READDIRPLUS`.
    ReadIn {
        fh: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32,
        padding: u32,
    }
    WriteIn {
        fh: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32,
        padding: u32,
    }
    FsyncIn { fh: u64, fsync_flags: u32, padding: u32, }
    SetxattrIn { size: u32, flags: u32, setxattr_flags: u32, padding: u32, }
    GetxattrIn { size: u32, padding: u32, }
    FallocateIn { fh: u64, offset: u64, length: u64, mode: u32, padding: u32, }
    LseekIn { fh: u64, offset: u64, whence: u32, padding: u32, }
}

/// The bytes that a request carries behind its header.
pub(crate) struct Args<'a>(pub(crate) &'a [u8]);

impl<'a> Args<'a> {
    /// The next structure; `EINVAL` if the message is too short for it.
    pub(crate) fn take<T: Pod>(&mut self) -> bento_api::Result<T> {
        let (bytes, rest) = self
            .0
            .split_at_checked(size_of::<T>())
            .ok_or(bento_api::Errno::EINVAL)?;
        self.0 = rest;
        Ok(bytemuck::pod_read_unaligned(bytes))
    }

    /// The next string, which a NUL ends.
    pub(crate) fn take_string(&mut self) -> bento_api::Result<&'a [u8]> {
        let end = self
            .0
            .iter()
            .position(|byte| *byte == 0)
            .ok_or(bento_api::Errno::EINVAL)?;
        let (string, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Ok(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_kernel() {
        assert_eq!((size_of::<InHeader>(), size_of::<OutHeader>()), (40, 16));
        assert_eq!(
            (
                size_of::<Attr>(),
                size_of::<EntryOut>(),
                size_of::<AttrOut>()
            ),
            (88, 128, 104)
        );
        assert_eq!((size_of::<Statx>(), size_of::<StatxOut>()), (256, 288));
        assert_eq!((size_of::<StatfsOut>(), size_of::<Dirent>()), (80, 24));
        assert_eq!((size_of::<InitOut>(), size_of::<SetattrIn>()), (64, 88));
        assert_eq!((size_of::<ReadIn>(), size_of::<WriteIn>()), (40, 40));
        assert_eq!(size_of::<FallocateIn>(), 32);
    }

    #[test]
    fn short_messages_are_errors() {
        let mut args = Args(b"name\0rest");
        assert_eq!(args.take_string(), Ok(b"name".as_slice()));
        assert!(args.take::<u64>().is_err());
        assert!(args.take_string().is_err());
    }
}
