//! The on-disk format of logfs: every structure, its layout and its checks.
//!
//! This crate is the one truth about the format: the file system, `mkfs.logfs` and `fsck.logfs` use
//! it. `docs/FORMAT.md` is the specification in words. All integers are little-endian, all
//! blocks 4 KiB, all addresses in blocks from the start of the device unless a name says
//! otherwise.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod block;
pub mod dir;
mod extent;
mod fault;
mod inode;
mod layout;
pub mod le;
pub mod log;
mod ondisk;
mod segment;
mod superblock;
pub mod tree;
pub mod xattr;

pub use block::{BLOCK_MAGIC, BlockHeader, BlockKind, HEADER_BYTES};
pub use extent::{EXTENTS_PER_NODE, Extent};
pub use fault::Fault;
pub use inode::{
    INLINE_BYTES, INLINE_EXTENTS, INODE_BYTES, INODES_PER_BLOCK, InoAddress, Inode, InodeBlockHead,
    InodeFlags, InodeHead, ORPHANS_PER_BLOCK, OrphanBlock, OrphanSlot, Timestamp,
};
pub use layout::{LOG_BLOCKS_MIN, Layout, LayoutError, MAX_BLOCKS, MIN_DEVICE_BYTES};
pub use log::Checkpoint;
pub use segment::{
    ENTRIES_PER_TABLE_BLOCK, MAX_SEGMENT_BLOCKS, MIN_SEGMENT_BLOCKS, SUMMARIES_PER_BLOCK,
    SegmentEntry, SegmentHeader, SegmentKind, SummaryEntry, header_blocks,
};
pub use superblock::{
    FORMAT_VERSION, INCOMPAT_KNOWN, LABEL_BYTES, RO_COMPAT_KNOWN, SIGNATURE, SUPERBLOCK_ADDRESS,
    Superblock,
};

/// Size of a block in bytes.
pub const BLOCK_BYTES: usize = 4096;

/// Longest file name in bytes.
pub const NAME_MAX: usize = 255;
