//! The nouns that file systems and back ends exchange.

/// An inode number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ino(pub u64);

/// A point in time: seconds and nanoseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    /// Seconds; negative before 1970.
    pub seconds: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// Bits of the `mode` of an inode, as in `stat(2)`.
pub mod mode {
    /// The bits that hold the kind of a file.
    pub const KIND_MASK: u16 = 0o170000;
    /// Set user id on execution.
    pub const SETUID: u16 = 0o4000;
    /// Set group id on execution.
    pub const SETGID: u16 = 0o2000;
    /// Restricted deletion.
    pub const STICKY: u16 = 0o1000;
    /// Everything but the kind.
    pub const PERMISSION_MASK: u16 = 0o7777;
}

/// What an inode is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A named pipe.
    Fifo,
    /// A character device.
    CharDevice,
    /// A directory.
    Directory,
    /// A block device.
    BlockDevice,
    /// A regular file.
    Regular,
    /// A symbolic link.
    Symlink,
    /// A Unix domain socket.
    Socket,
}

impl FileKind {
    /// The kind in a `mode`, or `None` if its bits mean nothing.
    pub const fn from_mode(mode: u16) -> Option<FileKind> {
        Some(match mode & mode::KIND_MASK {
            0o010000 => FileKind::Fifo,
            0o020000 => FileKind::CharDevice,
            0o040000 => FileKind::Directory,
            0o060000 => FileKind::BlockDevice,
            0o100000 => FileKind::Regular,
            0o120000 => FileKind::Symlink,
            0o140000 => FileKind::Socket,
            _ => return None,
        })
    }

    /// The bits of a `mode` that say this kind.
    pub const fn mode_bits(self) -> u16 {
        match self {
            FileKind::Fifo => 0o010000,
            FileKind::CharDevice => 0o020000,
            FileKind::Directory => 0o040000,
            FileKind::BlockDevice => 0o060000,
            FileKind::Regular => 0o100000,
            FileKind::Symlink => 0o120000,
            FileKind::Socket => 0o140000,
        }
    }

    /// The `d_type` of `getdents(2)`: the mode's kind bits, shifted down.
    pub const fn dirent_type(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }

    /// The kind that a `d_type` names.
    pub const fn from_dirent_type(d_type: u8) -> Option<FileKind> {
        if d_type > 15 {
            return None;
        }
        FileKind::from_mode((d_type as u16) << 12)
    }
}

/// What `stat(2)` tells of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// The inode number.
    pub ino: Ino,
    /// Differs between two inodes that had the same number one after the other.
    pub generation: u32,
    /// Kind and permissions.
    pub mode: u16,
    /// Number of names (for a directory: 2 and one for each directory in it).
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, in the kernel's `new_encode_dev` form; else 0.
    pub rdev: u32,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Space taken, in 512-byte sectors, reserved space for unwritten data included.
    pub sectors: u64,
    /// Last read.
    pub atime: Time,
    /// Last change of the contents.
    pub mtime: Time,
    /// Last change of the inode.
    pub ctime: Time,
    /// Creation.
    pub btime: Time,
}

impl Attr {
    /// The kind of file, [`FileKind::Regular`] if the mode's bits mean nothing.
    pub fn kind(&self) -> FileKind {
        FileKind::from_mode(self.mode).unwrap_or(FileKind::Regular)
    }
}

/// How to set a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// To the present.
    Now,
    /// To this.
    To(Time),
}

/// Which attributes to change; `None` leaves one as it is.
///
/// Permission checks and the clearing of setuid bits are the caller's; a file system stores
/// what it is told. `ctime` becomes the present unless it is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// Permission bits; the kind of file never changes.
    pub mode: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes. Everything beyond goes, dirty ranges and reservations included; the back
    /// end has zeroed the rest of the last block before it asks.
    pub size_bytes: Option<u64>,
    /// Last read.
    pub atime: Option<SetTime>,
    /// Last change of the contents.
    pub mtime: Option<SetTime>,
    /// Last change of the inode.
    pub ctime: Option<SetTime>,
}

/// What a range of a file is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MappingKind {
    /// Nothing: reads as zeros.
    Hole,
    /// Data on the device at this byte address.
    Mapped {
        /// Byte address on the device of the range's first byte.
        address_bytes: u64,
    },
    /// Space set aside on the device at this byte address, which reads as zeros.
    Unwritten {
        /// Byte address on the device of the range's first byte.
        address_bytes: u64,
    },
    /// Space reserved for dirty data that has no address yet.
    Delayed,
}

/// A contiguous range of a file that is all of one kind. Block aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First byte in the file.
    pub offset_bytes: u64,
    /// Length in bytes; never 0.
    pub len_bytes: u64,
    /// What the range is made of.
    pub kind: MappingKind,
}

/// What `statfs(2)` tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatFs {
    /// Size of a block in bytes; the counts below are in blocks.
    pub block_bytes: u32,
    /// Blocks that the file system holds.
    pub blocks: u64,
    /// Blocks free.
    pub blocks_free: u64,
    /// Blocks free to those who are not root.
    pub blocks_available: u64,
    /// Inodes that there are or can be.
    pub inodes: u64,
    /// Inodes free.
    pub inodes_free: u64,
    /// Identifies the file system.
    pub fsid: u64,
    /// Longest name in bytes.
    pub name_max: u32,
}
