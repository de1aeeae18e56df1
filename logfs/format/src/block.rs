//! The header that every metadata block starts with, and the check of it.

use crate::le::{Le16, Le32, Le64};
use crate::{BLOCK_BYTES, Fault};
use bytemuck::{Pod, Zeroable};

/// First four bytes of every metadata block: `LgFS`.
pub const BLOCK_MAGIC: u32 = u32::from_le_bytes(*b"LgFS");

/// What a metadata block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum BlockKind {
    /// [`Superblock`](crate::Superblock).
    Superblock = 1,
    /// [`Checkpoint`](crate::Checkpoint).
    Checkpoint = 2,
    /// A part of the segment table: [`SegmentEntry`](crate::SegmentEntry) records.
    SegmentTable = 3,
    /// First block of a segment: [`SegmentHeader`](crate::SegmentHeader).
    SegmentHeader = 4,
    /// Blocks behind a data segment's header: [`SummaryEntry`](crate::SummaryEntry) records.
    Summary = 5,
    /// Fifteen [`Inode`](crate::Inode)s.
    Inodes = 6,
    /// A node of a file's extent tree.
    ExtentNode = 7,
    /// A block of [directory entries](crate::dir).
    Directory = 8,
    /// A node of a directory's hash index.
    DirIndex = 9,
    /// A block of [extended attributes](crate::xattr).
    Xattr = 10,
    /// Inodes to be reclaimed: [`OrphanBlock`](crate::OrphanBlock).
    Orphans = 11,
    /// A part of the target of a symbolic link that is too long for the inode, from byte 64 on. The
    /// link's extents map these blocks.
    Symlink = 12,
}

impl BlockKind {
    /// What messages call a block of this kind.
    pub const fn name(self) -> &'static str {
        match self {
            BlockKind::Superblock => "superblock",
            BlockKind::Checkpoint => "checkpoint block",
            BlockKind::SegmentTable => "segment table block",
            BlockKind::SegmentHeader => "segment header",
            BlockKind::Summary => "segment summary block",
            BlockKind::Inodes => "inode block",
            BlockKind::ExtentNode => "extent tree node",
            BlockKind::Directory => "directory block",
            BlockKind::DirIndex => "directory index node",
            BlockKind::Xattr => "xattr block",
            BlockKind::Orphans => "orphan block",
            BlockKind::Symlink => "symbolic link block",
        }
    }
}

/// The first 64 bytes of every metadata block.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockHeader {
    /// [`BLOCK_MAGIC`].
    pub magic: Le32,
    /// CRC-32 (IEEE) of the whole block with this field zero. Set when the block is written
    /// home; the log has checksums of its own.
    pub checksum: Le32,
    /// A [`BlockKind`].
    pub kind: Le16,
    /// Of a tree node: distance from the leaves. Else 0.
    pub level: Le16,
    /// Number of records, for kinds that hold an array.
    pub count: Le32,
    /// The file system's uuid.
    pub uuid: [u8; 16],
    /// The block's own address.
    pub address: Le64,
    /// The inode that the block belongs to; 0 if it belongs to none.
    pub owner: Le64,
    /// Generation of that inode.
    pub owner_generation: Le32,
    /// Zero.
    pub reserved: [u8; 12],
}

/// Size of a [`BlockHeader`] in bytes.
pub const HEADER_BYTES: usize = 64;

/// Where the checksum lies in a metadata block.
pub const CHECKSUM_RANGE: core::ops::Range<usize> = 4..8;

impl BlockHeader {
    /// The header of a new block.
    pub fn new(kind: BlockKind, uuid: [u8; 16], address: u64) -> BlockHeader {
        BlockHeader {
            magic: BLOCK_MAGIC.into(),
            kind: (kind as u16).into(),
            uuid,
            address: address.into(),
            ..BlockHeader::zeroed()
        }
    }

    /// The same, for a block that belongs to an inode.
    pub fn owned(mut self, owner: u64, generation: u32) -> BlockHeader {
        self.owner = owner.into();
        self.owner_generation = generation.into();
        self
    }
}

/// The header of a block, `None` if the slice is shorter than one.
pub fn header(block: &[u8]) -> Option<&BlockHeader> {
    view(block, 0)
}

/// A structure inside a block, `None` if it does not fit.
pub fn view<T: Pod>(block: &[u8], offset: usize) -> Option<&T> {
    let end = offset.checked_add(size_of::<T>())?;
    bytemuck::try_from_bytes(block.get(offset..end)?).ok()
}

/// A structure inside a block to be changed, `None` if it does not fit.
pub fn view_mut<T: Pod>(block: &mut [u8], offset: usize) -> Option<&mut T> {
    let end = offset.checked_add(size_of::<T>())?;
    bytemuck::try_from_bytes_mut(block.get_mut(offset..end)?).ok()
}

/// `count` structures one after the other, `None` if they do not fit.
pub fn array<T: Pod>(block: &[u8], offset: usize, count: usize) -> Option<&[T]> {
    let end = count.checked_mul(size_of::<T>())?.checked_add(offset)?;
    bytemuck::try_cast_slice(block.get(offset..end)?).ok()
}

/// The checksum that a metadata block should carry.
pub fn checksum(block: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(block.get(..CHECKSUM_RANGE.start).unwrap_or(&[]));
    hasher.update(&[0; 4]);
    hasher.update(block.get(CHECKSUM_RANGE.end..).unwrap_or(&[]));
    hasher.finalize()
}

/// Puts the right checksum into a metadata block.
pub fn seal(block: &mut [u8]) {
    let sum = checksum(block).to_le_bytes();
    if let Some(field) = block.get_mut(CHECKSUM_RANGE) {
        field.copy_from_slice(&sum);
    }
}

/// Checks what a block's header says that it is, and nothing else of it.
pub fn check_kind(block: &[u8], kind: BlockKind) -> Result<(), Fault> {
    let found = header(block).ok_or(Fault::Length)?.kind.get();
    if found == kind as u16 {
        return Ok(());
    }
    Err(Fault::Kind {
        found,
        wanted: kind,
    })
}

/// Checks everything but the checksum that a block's header states.
pub fn check_header(
    block: &[u8],
    kind: BlockKind,
    uuid: &[u8; 16],
    address: u64,
) -> Result<(), Fault> {
    let header = header(block).ok_or(Fault::Length)?;
    if block.len() != BLOCK_BYTES {
        return Err(Fault::Length);
    }
    if header.magic.get() != BLOCK_MAGIC {
        return Err(Fault::Magic(header.magic.get()));
    }
    check_kind(block, kind)?;
    if header.uuid != *uuid {
        return Err(Fault::ForeignUuid);
    }
    if header.address.get() != address {
        return Err(Fault::Address {
            found: header.address.get(),
            wanted: address,
        });
    }
    Ok(())
}

/// Checks a metadata block that came from the device: header and checksum.
pub fn verify(block: &[u8], kind: BlockKind, uuid: &[u8; 16], address: u64) -> Result<(), Fault> {
    check_header(block, kind, uuid, address)?;
    verify_checksum(block)
}

/// Checks a metadata block's checksum alone.
pub fn verify_checksum(block: &[u8]) -> Result<(), Fault> {
    let stored = header(block).ok_or(Fault::Length)?.checksum.get();
    let computed = checksum(block);
    if stored != computed {
        return Err(Fault::Checksum { stored, computed });
    }
    Ok(())
}
