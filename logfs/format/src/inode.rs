//! Inodes, the blocks they live in, and the list of those to be reclaimed.

use crate::block::BlockHeader;
use crate::le::{Le16, Le32, Le64, Le64s};
use crate::{BLOCK_BYTES, Extent, HEADER_BYTES};
use bytemuck::{Pod, Zeroable};
use core::ops::{Deref, DerefMut};

/// Size of an inode in bytes.
pub const INODE_BYTES: usize = 256;

/// Inodes in a block: the sixteenth place is the header's.
pub const INODES_PER_BLOCK: usize = BLOCK_BYTES / INODE_BYTES - 1;

/// Bytes in an inode for a short symbolic link.
pub const INLINE_BYTES: usize = 128;

/// Extents in an inode.
pub const INLINE_EXTENTS: usize = INLINE_BYTES / size_of::<Extent>();

/// Where an inode lives: its number says it. The low four bits are the slot (1 to 15), the rest is
/// the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InoAddress {
    /// The inode block.
    pub block: u64,
    /// The slot in it, 1 to 15.
    pub slot: u8,
}

impl InoAddress {
    /// The address in an inode number; `None` for a number that no inode has.
    pub const fn from_ino(ino: u64) -> Option<InoAddress> {
        let slot = (ino & 15) as u8;
        if slot == 0 {
            None
        } else {
            Some(InoAddress {
                block: ino >> 4,
                slot,
            })
        }
    }

    /// The inode number.
    pub const fn ino(self) -> u64 {
        self.block << 4 | self.slot as u64
    }

    /// Byte offset of the inode in its block.
    pub const fn offset(self) -> usize {
        self.slot as usize * INODE_BYTES
    }
}

/// The first 256 bytes of an inode block.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct InodeBlockHead {
    /// Kind [`Inodes`](crate::BlockKind::Inodes).
    pub header: BlockHeader,
    /// Bit `n`: slot `n` holds an inode. Bit 0 is zero.
    pub used: Le16,
    /// Zero.
    pub reserved: [u8; 190],
}

impl InodeBlockHead {
    /// Byte offset of `used` in the block.
    pub const USED_OFFSET: usize = core::mem::offset_of!(InodeBlockHead, used);
    /// `used` when no slot is free.
    pub const ALL_USED: u16 = 0xfffe;
}

/// Seconds since 1970 and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Timestamp {
    /// Seconds; negative before 1970.
    pub seconds: Le64s,
    /// Nanoseconds, below 1,000,000,000.
    pub nanoseconds: Le32,
}

/// What [`InodeHead::flags`] can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InodeFlags;

impl InodeFlags {
    /// `inline` holds the `size_bytes` bytes of the target of a symbolic link.
    pub const INLINE: u16 = 1;
    /// `inline` holds the address of the root of an extent tree, not extents.
    pub const TREE: u16 = 2;
    /// All flags that this version knows.
    pub const KNOWN: u16 = 3;
}

/// What an inode says of its file, but for where the contents are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct InodeHead {
    /// Kind and permissions, as in `stat(2)`; 0 in a free slot.
    pub mode: Le16,
    /// [`InodeFlags`].
    pub flags: Le16,
    /// Names (of a directory: 2 and one per directory in it).
    pub nlink: Le32,
    /// Owner.
    pub uid: Le32,
    /// Group.
    pub gid: Le32,
    /// Device number of a device node, else 0.
    pub rdev: Le32,
    /// Counts the inodes that had this number. Stays when the inode is freed.
    pub generation: Le32,
    /// Size in bytes.
    pub size_bytes: Le64,
    /// Blocks that belong to the inode: data, unwritten, tree nodes, index, xattrs.
    pub blocks: Le64,
    /// Last read.
    pub atime: Timestamp,
    /// Last change of the contents.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Creation.
    pub btime: Timestamp,
    /// First block of the extended attributes, 0 if there are none.
    pub xattrs: Le64,
    /// Directories: the directory that this one is in.
    pub parent: Le64,
    /// Directories: root of the hash index, 0 if there is none.
    pub dir_index: Le64,
    /// Directories: number of entries.
    pub dir_entries: Le32,
    /// Extents in `inline` if there is no tree.
    pub extent_count: Le16,
    /// Zero.
    pub reserved: [u8; 2],
}

/// An inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Inode {
    /// All but the contents; its fields can be named as the inode's.
    pub head: InodeHead,
    /// Extents, or the address of a tree's root, or the target of a symbolic link.
    pub inline: [u8; INLINE_BYTES],
    /// Zero.
    pub reserved2: [u8; 8],
}

impl Deref for Inode {
    type Target = InodeHead;

    fn deref(&self) -> &InodeHead {
        &self.head
    }
}

impl DerefMut for Inode {
    fn deref_mut(&mut self) -> &mut InodeHead {
        &mut self.head
    }
}

impl From<InodeHead> for Inode {
    /// An inode without contents.
    fn from(head: InodeHead) -> Inode {
        Inode {
            head,
            ..Zeroable::zeroed()
        }
    }
}

/// Slots in an orphan block.
pub const ORPHANS_PER_BLOCK: usize = (BLOCK_BYTES - HEADER_BYTES - 8) / 8;

/// A block of the list of inodes that recovery has to finish with.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct OrphanBlock {
    /// Kind [`Orphans`](crate::BlockKind::Orphans).
    pub header: BlockHeader,
    /// The next block of the chain, 0 at its end.
    pub next: Le64,
    /// [`OrphanSlot`]s; 0 is an empty one.
    pub slots: [Le64; ORPHANS_PER_BLOCK],
}

impl OrphanBlock {
    /// Byte offset of a slot in the block.
    pub const fn slot_offset(slot: usize) -> usize {
        HEADER_BYTES + 8 + slot * 8
    }
}

/// An entry of the orphan list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrphanSlot {
    /// An inode without names: free it.
    Unlinked(u64),
    /// A truncation was under way: free everything beyond the inode's size.
    Truncating(u64),
}

impl OrphanSlot {
    const TRUNCATING: u64 = 1 << 63;

    /// What a slot says; `None` for an empty one.
    pub const fn decode(raw: u64) -> Option<OrphanSlot> {
        match raw {
            0 => None,
            _ if raw & Self::TRUNCATING != 0 => {
                Some(OrphanSlot::Truncating(raw & !Self::TRUNCATING))
            }
            _ => Some(OrphanSlot::Unlinked(raw)),
        }
    }

    /// What to store.
    pub const fn encode(self) -> u64 {
        match self {
            OrphanSlot::Unlinked(ino) => ino,
            OrphanSlot::Truncating(ino) => ino | Self::TRUNCATING,
        }
    }
}
